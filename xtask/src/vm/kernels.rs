//! Debian's kernels, downloaded from the machine's own mirror into the project's cache.
//!
//! The "cloud" build boots fastest and is the smallest; its XDP and BPF are those of the others.

use std::{
    fs,
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
    /// The newest that Debian has.
    Newest,
}

impl Series {
    /// The series as it is named on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    /// The suites that have it, the first to be asked first.
    fn suites(self) -> &'static [&'static str] {
        match self {
            Self::V6_1 => &["bookworm"],
            Self::V6_12 => &["trixie", "bookworm-backports"],
            Self::Newest => &["sid", "forky", "trixie-backports"],
        }
    }

    /// The names of its packages, as an extended regular expression.
    fn pattern(self) -> &'static str {
        match self {
            Self::V6_1 => r"^linux-image-6\.1\.[^-]*-([0-9]+-)?cloud-amd64-unsigned$",
            Self::V6_12 => r"^linux-image-6\.12\.[^-]*-([0-9]+-)?cloud-amd64-unsigned$",
            Self::Newest => r"^linux-image-[0-9][^-]*-([0-9]+-)?cloud-amd64-unsigned$",
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

    /// The kernel that was unpacked there, if one was.
    fn in_dir(series: Series, dir: &Path) -> Result<Option<Self>> {
        let boot = dir.join("boot");
        if !boot.is_dir() {
            return Ok(None);
        }
        for file in fs::read_dir(&boot).with_context(|| boot.display().to_string())? {
            let image = file?.path();
            let name = image.file_name().and_then(|name| name.to_str());
            if let Some(release) = name.and_then(|name| name.strip_prefix("vmlinuz-")) {
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
