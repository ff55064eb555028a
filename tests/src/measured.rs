//! Documents with measured parts: between their marks stands what a measurement writes, around them what
//! people write, so a figure in the text is always one that was measured.

use std::fs;

use anyhow::{Context as _, Result};
use nix::sys::utsname;

/// The text with another body between the marks of a part.
///
/// # Errors
/// When the text lacks a mark of the part.
pub fn replaced(text: &str, part: &str, body: &str) -> Result<String> {
    let begin = format!("<!-- measured: {part} -->\n");
    let end = "<!-- end of measured -->";
    let (before, rest) = text
        .split_once(&begin)
        .with_context(|| format!("no mark {}", begin.trim()))?;
    let (_, after) = rest
        .split_once(end)
        .with_context(|| format!("no end of {part}"))?;
    Ok(format!("{before}{begin}{}\n{end}{after}", body.trim_end()))
}

/// The machine in words.
///
/// # Errors
/// When the kernel does not tell.
pub fn machine() -> Result<String> {
    let field = |path: &str, name: &str| -> Result<String> {
        let text = fs::read_to_string(path).context(path.to_owned())?;
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        let (_, value) = value.with_context(|| format!("{path} has no {name}"))?;
        Ok(value.trim().to_owned())
    };
    let model = field("/proc/cpuinfo", "model name")?;
    let memory = field("/proc/meminfo", "MemTotal")?;
    let kib = memory.trim_end_matches("kB").trim().parse::<f64>()?;
    let hypervisor = field("/proc/cpuinfo", "flags")?
        .split(' ')
        .any(|flag| flag == "hypervisor");
    let kernel = utsname::uname()?;
    Ok(format!(
        "{}{model}, {} cores, {:.0} GiB of memory, Linux {}.",
        if hypervisor {
            "A virtual machine: "
        } else {
            ""
        },
        std::thread::available_parallelism()?,
        kib / 1024.0 / 1024.0,
        kernel.release().to_string_lossy(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let text = "by hand\n<!-- measured: a -->\nold\n<!-- end of measured -->\nmore\n";
        let new = replaced(text, "a", "new\n").expect("the marks are there");
        assert_eq!(new, text.replace("old", "new"));
        assert!(replaced(text, "b", "new").is_err());
    }
}
