//! A virtual machine that has the files of its host: what its first program does to get them, and to run
//! one program with them.
//!
//! The host's file system is mounted by 9p, read only, below a file system in memory that takes all that is
//! written (overlayfs). So the machine has each program, library and test that the host has, and can change
//! nothing of the host's.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::{
        stat::{Mode, SFlag, makedev, mknod},
        utsname::uname,
        wait::{WaitStatus, wait},
    },
    unistd::{chdir, chroot},
};

use super::job::{BOOT_MODULES, Job, SHARE};

/// Runs the job with the host's files around it. Returns its exit code, or 128 and the signal that ended it.
///
/// Only the first process of a machine may call this, and once.
pub fn run(job: &Job) -> Result<i32> {
    load_boot_modules()?;
    take_host_files(job)?;
    make_modules_known(job).context("making the kernel's modules known")?;
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    up.context("starting `ip` (package iproute2)")?;
    let child = Command::new(&job.words[0])
        .args(&job.words[1..])
        .env_clear()
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&job.directory)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}", job.words[0]))?;
    let child = i32::try_from(child.id())?;
    // The first process inherits those whose parents have ended, and must let them go.
    loop {
        let ended = wait().context("waiting for the job")?;
        if ended.pid().is_some_and(|pid| pid.as_raw() == child) {
            if let WaitStatus::Exited(_, code) = ended {
                return Ok(code);
            }
            if let WaitStatus::Signaled(_, signal, _) = ended {
                return Ok(128 + signal as i32);
            }
        }
    }
}

/// Loads what the kernel needs to see the host's files.
fn load_boot_modules() -> Result<()> {
    let entries = fs::read_dir(BOOT_MODULES).context(BOOT_MODULES)?;
    let mut modules = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()?;
    modules.sort();
    for module in modules {
        let file = File::open(&module).with_context(|| module.display().to_string())?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => bail!("loading {}: {error}", module.display()),
        }
    }
    Ok(())
}

/// Makes the host's files the root, with what the kernel offers mounted in them.
fn take_host_files(job: &Job) -> Result<()> {
    let no_device =
        |kind: &'static str, place: &str, options: &str, flags: MsFlags| -> Result<()> {
            let options = (!options.is_empty()).then_some(options);
            mount(Some(kind), Path::new(place), Some(kind), flags, options)
                .with_context(|| format!("mounting {kind} on {place}"))
        };
    for place in ["/host", "/memory", "/root"] {
        fs::create_dir_all(place).context(place)?;
    }
    mount(
        Some(SHARE),
        "/host",
        Some("9p"),
        MsFlags::MS_RDONLY,
        // Nothing else in the machine changes the host's files, so what was read once holds.
        Some("trans=virtio,version=9p2000.L,cache=loose,msize=512000"),
    )
    .context("mounting the host's files")?;
    no_device("tmpfs", "/memory", "", MsFlags::empty())?;
    for place in ["/memory/upper", "/memory/work"] {
        fs::create_dir(place).context(place)?;
    }
    let layers = "lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work";
    no_device("overlay", "/root", layers, MsFlags::empty())?;
    let places = [
        ("proc", "/root/proc"),
        ("sysfs", "/root/sys"),
        ("devtmpfs", "/root/dev"),
        ("devpts", "/root/dev/pts"),
        ("tmpfs", "/root/dev/shm"),
        ("tmpfs", "/root/run"),
        ("tmpfs", "/root/tmp"),
    ];
    for (kind, place) in places {
        if place == "/root/tmp" && job.host_tmp {
            continue;
        }
        fs::create_dir_all(place).with_context(|| place.to_owned())?;
        no_device(kind, place, "", MsFlags::empty())?;
    }
    // As switch_root(8) does: the kernel's first root cannot be left by pivot_root(2).
    chdir("/root").context("entering the new root")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .context("moving the new root to /")?;
    chroot(".").context("changing the root")?;
    chdir("/").context("entering the root")
}

/// Puts the kernel's modules where modprobe looks for them, and makes the devices whose opening loads one, as
/// `kmod static-nodes` lists them.
fn make_modules_known(job: &Job) -> Result<()> {
    let kernel = uname().context("uname")?;
    let place = Path::new("/lib/modules").join(kernel.release());
    if !place.exists() {
        fs::create_dir_all("/lib/modules")?;
        symlink(&job.modules, &place).with_context(|| place.display().to_string())?;
    }
    let list = place.join("modules.devname");
    let list = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    for node in list.lines().filter_map(node) {
        let path = Path::new("/dev").join(node.name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        if !path.exists() {
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            mknod(&path, node.kind, mode, makedev(node.major, node.minor))
                .with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// A device that stands in modules.devname.
#[derive(Debug, PartialEq, Eq)]
struct Node<'text> {
    name: &'text str,
    kind: SFlag,
    major: u64,
    minor: u64,
}

/// Reads a line such as `tun net/tun c10:200`: module, name, kind and numbers.
fn node(line: &str) -> Option<Node<'_>> {
    let mut fields = line.split_whitespace();
    let (_module, name, device) = (fields.next()?, fields.next()?, fields.next()?);
    let kind = match device.get(..1)? {
        "c" => SFlag::S_IFCHR,
        "b" => SFlag::S_IFBLK,
        _ => return None,
    };
    let (major, minor) = device[1..].split_once(':')?;
    Some(Node {
        name,
        kind,
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_from_the_kernels_list_and_comments_are_not() {
        assert_eq!(
            node("# Device nodes to trigger on-demand module loading."),
            None
        );
        let expected = Node {
            name: "net/tun",
            kind: SFlag::S_IFCHR,
            major: 10,
            minor: 200,
        };
        assert_eq!(node("tun net/tun c10:200"), Some(expected));
    }
}
