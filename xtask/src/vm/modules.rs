//! The modules that a kernel needs before it sees the files of its host: found by depmod's list, in the order
//! in which they are to be loaded, and unpacked.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::run;

/// What mounts the host's files: 9p over virtio, and the layer above them that takes what is written.
const NEEDED: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// Makes the lists by which modprobe finds modules, if they are not there. `modules` is a kernel's directory
/// `lib/modules/RELEASE`.
pub fn index(modules: &Path) -> Result<()> {
    if modules.join("modules.devname").is_file() {
        return Ok(());
    }
    let release = modules.file_name().context("a kernel without a release")?;
    let base = modules.ancestors().nth(3).context("no lib/modules")?;
    run::output(
        Command::new(run::find_tool("depmod").context("depmod is not on PATH")?)
            .arg("--basedir")
            .arg(base)
            .arg(release),
    )
    .map(drop)
}

/// The modules in the order of loading, each with its file's name and its unpacked content. What is built into
/// the kernel is left out.
pub fn boot(modules: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let read = |name: &str| {
        let list = modules.join(name);
        fs::read_to_string(&list).with_context(|| list.display().to_string())
    };
    let order = order(&read("modules.dep")?, &read("modules.builtin")?)?;
    let unpacked = |file: PathBuf| {
        Ok((
            module_name(&file).to_owned(),
            unpacked(&modules.join(&file))?,
        ))
    };
    order.into_iter().map(unpacked).collect()
}

/// The files of the needed modules and of those that they depend on, the ones to load first before the others.
fn order(dependencies: &str, built_in: &str) -> Result<Vec<PathBuf>> {
    let rows = dependencies.lines().filter_map(|row| row.split_once(':'));
    let files: BTreeMap<&str, (&str, &str)> = rows
        .map(|(file, needs)| (module_name(Path::new(file)), (file, needs)))
        .collect();
    let built_in = |name: &str| {
        built_in
            .lines()
            .any(|file| module_name(Path::new(file)) == name)
    };
    let mut order = Vec::new();
    for name in NEEDED {
        let Some((file, needs)) = files.get(name) else {
            if built_in(name) {
                continue;
            }
            bail!("the kernel has no module {name}");
        };
        // In a row of modules.dep, the last is to be loaded first.
        for file in needs.split_whitespace().rev().chain([*file]) {
            let file = PathBuf::from(file);
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    Ok(order)
}

/// `9pnet_virtio` of `kernel/net/9p/9pnet_virtio.ko.xz`.
fn module_name(file: &Path) -> &str {
    let name = file.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.split('.').next())
        .unwrap_or_default()
}

fn unpacked(file: &Path) -> Result<Vec<u8>> {
    let packed = file.extension().is_some_and(|kind| kind == "xz");
    if !packed {
        return fs::read(file).with_context(|| file.display().to_string());
    }
    let mut xz = Command::new(run::find_tool("xz").context("xz is not on PATH")?);
    let output = xz
        .arg("--decompress")
        .arg("--stdout")
        .arg(file)
        .stderr(Stdio::inherit())
        .output()
        .context("starting xz")?;
    if !output.status.success() {
        bail!("xz cannot unpack {} ({})", file.display(), output.status);
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT_IN: &str = "kernel/drivers/virtio/virtio_pci.ko\nkernel/lib/crc16.ko\n";

    #[test]
    fn modules_come_after_those_that_they_need_and_each_once() {
        let dependencies = "kernel/net/9p/9pnet.ko.xz:\n\
             kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/virtio.ko.xz\n\
             kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs.ko.xz kernel/fs/cache.ko.xz\n\
             kernel/fs/overlayfs/overlay.ko.xz:\n";
        let found = order(dependencies, BUILT_IN).expect("all are there");
        let expected = [
            "kernel/virtio.ko.xz",
            "kernel/net/9p/9pnet.ko.xz",
            "kernel/net/9p/9pnet_virtio.ko.xz",
            "kernel/fs/cache.ko.xz",
            "kernel/fs/netfs.ko.xz",
            "kernel/fs/9p/9p.ko.xz",
            "kernel/fs/overlayfs/overlay.ko.xz",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn a_kernel_without_a_needed_module_is_refused_by_its_name() {
        let error = order("", BUILT_IN).expect_err("only virtio_pci is built in");
        assert_eq!(error.to_string(), "the kernel has no module 9pnet_virtio");
    }
}
