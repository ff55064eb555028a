//! What a virtual machine that has this machine's files is told to run: one program, with its words,
//! environment and directory.
//!
//! The host writes a [`Job`] with `Display` into the machine's first file system, and the guest parses
//! it. This file is compiled into both, as the report is.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where the job lies in the machine's first file system. Without it, the machine checks its kernel.
pub const PLACE: &str = "/job";

/// Where the modules lie in the machine's first file system that it needs before it has other files; their
/// names sort in the order in which they are to be loaded.
pub const BOOT_MODULES: &str = "/modules";

/// The name under which the machine finds the host's files.
pub const SHARE: &str = "host";

/// One program to run. No part of it has line breaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// The program's path and its words.
    pub words: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// The directory that it starts in.
    pub directory: PathBuf,
    /// The kernel's modules: what `/lib/modules/RELEASE` is to be.
    pub modules: PathBuf,
    /// Whether `/tmp` is the host's, as something that the job needs lies there; else it is empty.
    pub host_tmp: bool,
}

/// The text is no job; this is the line that is none of one, or nothing when no line names a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoJob(pub String);

impl FromStr for Job {
    type Err = NoJob;

    fn from_str(text: &str) -> Result<Self, NoJob> {
        let mut job = Self::default();
        for line in text.lines() {
            let no_job = || NoJob(line.to_owned());
            let (kind, value) = line.split_once(' ').ok_or_else(no_job)?;
            match kind {
                "word" => job.words.push(value.to_owned()),
                "environment" => {
                    let (name, value) = value.split_once('=').ok_or_else(no_job)?;
                    job.environment.push((name.to_owned(), value.to_owned()));
                }
                "directory" => job.directory = PathBuf::from(value),
                "modules" => job.modules = PathBuf::from(value),
                "host_tmp" => job.host_tmp = value.parse().map_err(|_| no_job())?,
                _ => return Err(no_job()),
            }
        }
        match job.words.is_empty() {
            true => Err(NoJob(String::new())),
            false => Ok(job),
        }
    }
}

impl fmt::Display for NoJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no job: {:?}", self.0)
    }
}

impl std::error::Error for NoJob {}

impl Job {
    /// True when a path that the job needs lies below `/tmp`.
    pub fn needs_host_tmp<'a>(paths: impl IntoIterator<Item = &'a Path>) -> bool {
        paths.into_iter().any(|path| path.starts_with("/tmp"))
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in &self.words {
            writeln!(f, "word {word}")?;
        }
        for (name, value) in &self.environment {
            writeln!(f, "environment {name}={value}")?;
        }
        writeln!(f, "directory {}", self.directory.display())?;
        writeln!(f, "modules {}", self.modules.display())?;
        writeln!(f, "host_tmp {}", self.host_tmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_writes_is_what_the_guest_reads() {
        let job = Job {
            words: ["/target/debug/deps/vm_x-1", "a test", ""]
                .map(String::from)
                .to_vec(),
            environment: vec![
                ("PATH".to_owned(), "/a b:/c".to_owned()),
                ("EMPTY".to_owned(), String::new()),
                ("OPTION".to_owned(), "x=y".to_owned()),
            ],
            directory: PathBuf::from("/work/tests"),
            modules: PathBuf::from("/cache/lib/modules/6.12.1"),
            host_tmp: true,
        };
        assert_eq!(job.to_string().parse(), Ok(job));
    }

    #[test]
    fn what_names_no_program_is_no_job() {
        for (text, line) in [
            ("", ""),
            ("directory /x\n", ""),
            ("word\n", "word"),
            ("word a\nother b\n", "other b"),
            ("word a\nhost_tmp b\n", "host_tmp b"),
        ] {
            assert_eq!(text.parse::<Job>(), Err(NoJob(line.to_owned())), "{text:?}");
        }
    }

    #[test]
    fn only_paths_below_tmp_need_the_hosts() {
        assert!(Job::needs_host_tmp([
            Path::new("/x"),
            Path::new("/tmp/clone/target")
        ]));
        assert!(!Job::needs_host_tmp([
            Path::new("/tmpx"),
            Path::new("/x/tmp")
        ]));
    }
}
