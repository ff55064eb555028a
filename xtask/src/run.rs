//! Running other programs: what is run is said, and what fails says which command it was.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where cargo leaves what it builds: `CARGO_TARGET_DIR`, by default `target` in the workspace.
pub fn target_dir() -> PathBuf {
    let dir = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    // A relative one is meant from where cargo was started; xtask starts it in the workspace.
    normal(&workspace().join(dir))
}

/// The path without the `xtask/..` that [`workspace`] ends with, where it exists.
fn normal(path: &Path) -> PathBuf {
    let existing = path
        .ancestors()
        .find_map(|dir| Some((dir, dir.canonicalize().ok()?)));
    match existing {
        Some((dir, real)) => match path.strip_prefix(dir) {
            Ok(rest) if rest.as_os_str().is_empty() => real,
            Ok(rest) => real.join(rest),
            Err(_) => path.to_owned(),
        },
        None => path.to_owned(),
    }
}

/// A command of the cargo that runs xtask, in the workspace.
pub fn cargo(subcommand: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace())
        .arg(subcommand)
        .env("PATH", tool_path());
    forget_package(&mut cargo);
    cargo
}

/// Takes from a command's environment what the running cargo says of xtask's own package.
pub fn forget_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let own =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(own) {
            command.env_remove(name);
        }
    }
}

/// `PATH` with what setup keeps in the project's cache before it, and with the directories of
/// system tools after it, which Debian leaves out for everyone but root.
pub fn tool_path() -> OsString {
    let cached = crate::bpf_linker::cache_dir().map(|cache| cache.join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let own: Vec<PathBuf> = env::split_paths(&path).collect();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from).into_iter();
    let missing = system.filter(|dir| !own.contains(dir));
    let all: Vec<PathBuf> = cached
        .into_iter()
        .filter(|dir| !own.contains(dir))
        .chain(own.iter().cloned())
        .chain(missing)
        .collect();
    env::join_paths(all).unwrap_or(path)
}

/// Where a tool lies in [`tool_path`].
pub fn find_tool(name: &str) -> Option<PathBuf> {
    env::split_paths(&tool_path())
        .map(|dir| dir.join(name))
        .find(|tool| tool.is_file())
}

/// Says the command, runs it with its output going where ours goes, and fails when it fails.
pub fn step(command: &mut Command) -> Result<()> {
    println!("+ {}", shown(command));
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs a command quietly and returns what it wrote to standard output, without the line's end.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        let program = Path::new(command.get_program()).display();
        let reason = reason(&output.stderr);
        bail!("{program} failed ({}): {reason}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}

/// The line that says why a program failed: the first that calls itself an error, else the first.
fn reason(errors: &[u8]) -> String {
    let errors = String::from_utf8_lossy(errors);
    let mut lines = errors
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let is_error = |line: &str| line.starts_with("E: ") || line.starts_with("error");
    let first = lines.clone().next();
    lines
        .find(|line| is_error(line))
        .or(first)
        .unwrap_or("it did not say why")
        .to_owned()
}

/// The command as it would be typed, without its environment.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let words = program.into_iter().chain(command.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=./:,+@%~".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_they_would_be_typed() {
        let mut command = Command::new("/usr/bin/apt-get");
        command.args([
            "-o",
            "Dir::Etc::SourceParts=/dev/null",
            "install",
            "a b",
            "it's",
            "",
        ]);
        assert_eq!(
            shown(&command),
            r"apt-get -o Dir::Etc::SourceParts=/dev/null install 'a b' 'it'\''s' ''"
        );
    }

    #[test]
    fn the_reason_of_a_failure_is_one_line() {
        let apt = b"W: The repository has no keys\nE: Failed to fetch it\nE: Some failed\n";
        assert_eq!(reason(apt), "E: Failed to fetch it");
        assert_eq!(reason(b"\n  no such file\nusage: x\n"), "no such file");
        assert_eq!(reason(b""), "it did not say why");
    }

    #[test]
    fn a_path_that_is_not_there_yet_loses_its_detours() {
        let root = workspace().canonicalize().expect("the workspace exists");
        assert_eq!(
            normal(&workspace().join("not-there/yet")),
            root.join("not-there/yet")
        );
        assert_eq!(normal(workspace()), root);
    }
}
