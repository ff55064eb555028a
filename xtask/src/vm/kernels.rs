//! Debian's kernels, downloaded from the machine's own mirror into the project's cache.
//!
//! The "cloud" build boots fastest and is the smallest; its XDP and BPF are those of the others. The full one
//! has all modules.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    bpf_linker,
    debian::{self, Archive},
};

/// A line of kernels.
#[derive(Clone, Copy)]
pub enum Series {
    /// The long-term kernel of Debian 12, the oldest supported.
    V6_1,
    /// The long-term kernel of Debian 13.
    V6_12,
    /// The newest that Debian offers to users of its stable release.
    Newest,
    /// The long-term kernel of Debian 13 with all its modules: VLAN devices, PPP, WireGuard, netem.
    Full,
}

impl Series {
    /// The series as it is named on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
            Self::Full => "6.12-full",
        }
    }

    /// The suites that have it, the first to be asked first.
    fn suites(self) -> &'static [&'static str] {
        match self {
            Self::V6_1 => &["bookworm"],
            Self::V6_12 | Self::Full => &["trixie", "bookworm-backports"],
            Self::Newest => &["trixie-backports", "sid"],
        }
    }

    /// The names of its packages, as an extended regular expression.
    fn pattern(self) -> &'static str {
        match self {
            Self::V6_1 => r"^linux-image-6\.1\.[^-]*-([0-9]+-)?cloud-amd64(-unsigned)?$",
            Self::V6_12 => r"^linux-image-6\.12\.[^-]*-([0-9]+-)?cloud-amd64(-unsigned)?$",
            // From 6.19 on the image has a package of its own.
            Self::Newest => r"^linux-binary-[0-9][^-]*-([0-9]+-)?cloud-amd64$",
            Self::Full => r"^linux-image-6\.12\.[^-]*-([0-9]+-)?amd64(-unsigned)?$",
        }
    }
}

/// A kernel in the cache.
pub struct Kernel {
    /// What it was asked for as.
    pub series: Series,
    /// Its release, as `uname -r` would print it.
    pub release: String,
    /// The image that qemu boots.
    pub image: PathBuf,
}

impl Kernel {
    /// Finds a kernel in the cache, or downloads it there.
    pub fn get(series: Series) -> Result<Self> {
        let cache = bpf_linker::cache_dir().context("neither XDG_CACHE_HOME nor HOME is set")?;
        let dir = cache.join("kernels").join(series.name());
        if let Some(kernel) = Self::in_dir(series, &dir)? {
            println!(
                "vm: kernel {}: already there ({})",
                series.name(),
                kernel.release
            );
            return Ok(kernel);
        }
        let archive = Archive::of_this_machine()?;
        let mut tried = String::new();
        for suite in series.suites() {
            match download(&archive, suite, series) {
                Ok(package) => {
                    fs::create_dir_all(cache.join("kernels"))?;
                    debian::unpack(&package, &dir)?;
                    fs::remove_file(&package).with_context(|| package.display().to_string())?;
                    let kernel = Self::in_dir(series, &dir)?;
                    return kernel.with_context(|| format!("no kernel in {}", dir.display()));
                }
                Err(error) => tried += &format!("; {suite}: {error:#}"),
            }
        }
        Err(anyhow!("no suite of this machine's mirror has it{tried}"))
    }

    /// The directory of its modules.
    pub fn modules(&self) -> Result<PathBuf> {
        let root = self
            .image
            .ancestors()
            .find(|dir| dir.ends_with(self.series.name()));
        let root = root.with_context(|| self.image.display().to_string())?;
        let places = ["lib/modules", "usr/lib/modules"];
        let mut places = places
            .map(|place| root.join(place).join(&self.release))
            .into_iter();
        places
            .find(|place| place.join("kernel").is_dir())
            .with_context(|| format!("no modules of {} in {}", self.release, root.display()))
    }

    /// The kernel that was unpacked there, if one was: boot/vmlinuz-RELEASE, or from 6.19 on
    /// usr/lib/modules/RELEASE/vmlinuz.
    fn in_dir(series: Series, dir: &Path) -> Result<Option<Self>> {
        for file in entries(&dir.join("boot"))? {
            if let Some(release) = name(&file).and_then(|name| name.strip_prefix("vmlinuz-")) {
                return Ok(Some(Self {
                    series,
                    release: release.to_owned(),
                    image: file,
                }));
            }
        }
        for modules in entries(&dir.join("usr/lib/modules"))? {
            let image = modules.join("vmlinuz");
            if let Some(release) = name(&modules).filter(|_| image.is_file()) {
                return Ok(Some(Self {
                    series,
                    release: release.to_owned(),
                    image,
                }));
            }
        }
        Ok(None)
    }
}

/// What is in a directory; nothing when it does not exist.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()
    });
    entries.with_context(|| dir.display().to_string())
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// Downloads the newest package of the series that the suite has.
fn download(archive: &Archive, suite: &str, series: Series) -> Result<PathBuf> {
    println!(
        "vm: kernel {}: looking in Debian's suite {suite}",
        series.name()
    );
    let suite = archive.suite(suite)?;
    let mut newest: Option<(String, String)> = None;
    for name in suite.names(series.pattern())? {
        for version in suite.versions(&name)? {
            let later = match &newest {
                Some((_, known)) => debian::is_later(&version, known)?,
                None => true,
            };
            if later {
                newest = Some((name.clone(), version));
            }
        }
    }
    let (name, version) = newest.context("has no such kernel")?;
    println!("vm: kernel {}: downloading {name} {version}", series.name());
    suite.download(&name, &version)
}
