//! Packages from suites of Debian that this machine does not itself use, by its own apt source
//! with the suite's name replaced. Nothing on the system changes: the lists, the sources and the
//! packages lie in the project's cache. apt checks the signatures as always.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{bpf_linker, run};

/// The keys that every Debian release is signed with, as Debian's own package installs them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The Debian mirror that this machine uses.
pub struct Archive {
    uri: String,
}

impl Archive {
    /// Finds the mirror in the machine's apt sources.
    ///
    /// Fails on a machine without apt, and on one that is not Debian (as Ubuntu): another
    /// distribution's mirror has other packages.
    pub fn of_this_machine() -> Result<Self> {
        if run::find_tool("apt-get").is_none() {
            bail!("this machine has no apt-get");
        }
        let indexes = run::output(apt("apt-get").args([
            "indextargets",
            "--format",
            "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)",
            "Created-By: Packages",
        ]))?;
        let uri = debian_mirror(&indexes).context(
            "no apt source of this machine is known to be a Debian mirror (on Debian, \
             `apt-get update` as root makes it known)",
        )?;
        Ok(Self {
            uri: uri.to_owned(),
        })
    }

    /// Fetches the lists of a suite, such as `trixie-backports`.
    pub fn suite(&self, name: &str) -> Result<Suite> {
        let cache = bpf_linker::cache_dir().context("neither XDG_CACHE_HOME nor HOME is set")?;
        let dir = cache.join("apt").join(name);
        for needed in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(dir.join(needed)).with_context(|| dir.display().to_string())?;
        }
        let signed_by = match Path::new(KEYRING).is_file() {
            true => format!("[signed-by={KEYRING}] "),
            false => String::new(),
        };
        let source = format!("deb {signed_by}{} {name} main\n", self.uri);
        // An empty status file: what is installed here has nothing to do with the suite.
        for (file, content) in [("sources.list", source.as_str()), ("status", "")] {
            fs::write(dir.join(file), content).with_context(|| dir.display().to_string())?;
        }
        let suite = Suite { dir };
        run::output(suite.apt("apt-get").args(["update", "--error-on=any"]))
            .with_context(|| format!("cannot fetch the lists of Debian's suite {name}"))?;
        Ok(suite)
    }
}

/// A suite of Debian whose lists were fetched.
pub struct Suite {
    dir: PathBuf,
}

impl Suite {
    /// The versions that the suite has of a package, the newest first.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let rows = run::output(self.apt("apt-cache").args(["madison", package]))?;
        Ok(rows
            .lines()
            .filter_map(|row| row.split('|').nth(1))
            .map(|v| v.trim().into())
            .collect())
    }

    /// The names of packages that match an extended regular expression.
    pub fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let rows = run::output(
            self.apt("apt-cache")
                .args(["search", "--names-only", pattern]),
        )?;
        let name = |row: &str| row.split_once(" - ").map(|(name, _)| name.to_owned());
        Ok(rows.lines().filter_map(name).collect())
    }

    /// Downloads a package into the cache and returns the file.
    pub fn download(&self, package: &str, version: &str) -> Result<PathBuf> {
        let apt = self.apt("apt-get");
        download(
            apt,
            &self.dir.join("archives"),
            package,
            &format!("{package}={version}"),
        )
    }

    /// apt for this suite alone.
    fn apt(&self, program: &str) -> Command {
        let mut apt = apt(program);
        for (option, value) in [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::State::Lists", "lists"),
            ("Dir::State::Status", "status"),
            ("Dir::Cache", ""),
        ] {
            let mut argument = std::ffi::OsString::from(format!("{option}="));
            argument.push(self.dir.join(value));
            apt.arg("-o").arg(argument);
        }
        for option in [
            "Dir::Etc::SourceParts=/dev/null",
            // Pins of this machine speak of its own suites.
            "Dir::Etc::Preferences=/dev/null",
            "Dir::Etc::PreferencesParts=/dev/null",
            "Acquire::Languages=none",
            // apt's own user may not look into this user's cache.
            "APT::Sandbox::User=root",
        ] {
            apt.args(["-o", option]);
        }
        apt
    }
}

/// Downloads a package of this machine's own release into `dir` and returns the file.
pub fn download_here(dir: &Path, package: &str) -> Result<PathBuf> {
    let mut apt = apt("apt-get");
    apt.args(["-o", "APT::Sandbox::User=root"]);
    download(apt, dir, package, package)
}

/// Unpacks a package's files into `dir`, replacing what is there.
pub fn unpack(package: &Path, dir: &Path) -> Result<()> {
    // First beside it, so that a run that is interrupted leaves nothing that looks complete.
    let partial = dir.with_extension("partial");
    for old in [&partial, &dir.to_owned()] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| old.display().to_string())?;
        }
    }
    run::output(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(package)
            .arg(&partial),
    )?;
    fs::rename(&partial, dir).with_context(|| dir.display().to_string())
}

/// The libraries that a package file depends on.
pub fn libraries_of(package: &Path) -> Result<Vec<String>> {
    let depends = run::output(
        Command::new("dpkg-deb")
            .arg("--field")
            .arg(package)
            .arg("Depends"),
    )?;
    Ok(libraries(&depends))
}

/// The libraries among dependencies such as `libc6 (>= 2.34), adduser, libssl3 | libssl1.1`.
fn libraries(depends: &str) -> Vec<String> {
    let first = |dependency: &str| {
        let name = dependency.trim().split([' ', '|', ':']).next()?;
        name.starts_with("lib").then(|| name.to_owned())
    };
    depends.split(',').filter_map(first).collect()
}

/// Whether Debian version `a` is later than `b`.
pub fn is_later(a: &str, b: &str) -> Result<bool> {
    let mut dpkg = Command::new("dpkg");
    let status = dpkg
        .args(["--compare-versions", a, "gt", b])
        .status()
        .context("dpkg")?;
    Ok(status.success())
}

/// apt with output that does not depend on the user's language.
fn apt(program: &str) -> Command {
    let mut apt = Command::new(program);
    apt.env("LC_ALL", "C").arg("--quiet");
    apt
}

/// Downloads what `selection` names into `dir`, and returns the one file of `package` there.
fn download(mut apt: Command, dir: &Path, package: &str, selection: &str) -> Result<PathBuf> {
    let start = format!("{package}_");
    let files = || -> Result<Vec<PathBuf>> {
        let files = fs::read_dir(dir)?
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let named = |file: &fs::DirEntry| file.file_name().to_string_lossy().starts_with(&start);
        Ok(files.filter(named).map(|file| file.path()).collect())
    };
    for old in files().with_context(|| dir.display().to_string())? {
        fs::remove_file(&old).with_context(|| old.display().to_string())?;
    }
    run::output(apt.current_dir(dir).arg("download").arg(selection))?;
    let new = files()?.pop();
    new.with_context(|| format!("apt-get left no {package} in {}", dir.display()))
}

/// The mirror of Debian's main archive among rows of `origin|label|component|uri`.
fn debian_mirror(indexes: &str) -> Option<&str> {
    indexes
        .lines()
        .find_map(|row| row.strip_prefix("Debian|Debian|main|"))
}

#[cfg(test)]
mod tests {
    use super::{debian_mirror, libraries};

    #[test]
    fn libraries_are_told_from_other_dependencies() {
        let depends = "adduser, libc6 (>= 2.34), libssl3 | libssl1.1, libz1:any, sysvinit-utils";
        assert_eq!(libraries(depends), ["libc6", "libssl3", "libz1"]);
        assert!(libraries("").is_empty());
    }

    #[test]
    fn only_the_main_archive_of_debian_is_taken() {
        let rows = "nodistro|nodistro|main|https://node.invalid/\n\
                    Debian|Debian-Security|main|http://mirror.invalid/debian-security/\n\
                    Debian|Debian|contrib|http://mirror.invalid/contrib/\n\
                    Debian|Debian|main|http://mirror.invalid/debian/\n";
        assert_eq!(debian_mirror(rows), Some("http://mirror.invalid/debian/"));
        assert_eq!(
            debian_mirror("Ubuntu|Ubuntu|main|http://mirror.invalid/ubuntu/\n"),
            None
        );
    }
}
