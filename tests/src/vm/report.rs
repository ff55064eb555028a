//! What a virtual machine of the kernel matrix tells its host, line by line over its console.
//!
//! The guest writes a [`Line`] with `Display`, and the host reads it with [`Line::read`]. This file
//! is compiled into both: into the guest's first program, and into xtask, which starts the machine.

use std::fmt;

/// What each line starts with; whatever else stands on the console is the kernel's.
const MARK: &str = "multihome-vm: ";

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The kernel that runs, as `uname -r` prints it.
    Kernel(String),
    /// A program that the kernel's verifier accepted.
    Program {
        /// The program's name.
        name: String,
        /// How many instructions the verifier processed, over all paths that it followed.
        instructions: u32,
    },
    /// The rows of the golden tables.
    Golden {
        /// How many rows had the verdict and the packet that they should.
        passed: u32,
        /// How many had not.
        failed: u32,
    },
    /// The job that the machine was given has ended, with this exit code.
    Done(i32),
    /// Something went wrong; the text says what.
    Error(String),
    /// The report is complete. A report without this line is of a machine that died.
    End,
}

impl Line {
    /// Reads a line of the console; `None` when it is not part of a report.
    pub fn read(console: &str) -> Option<Self> {
        // The kernel's own messages may stand before it, on the same line.
        let (_, line) = console.trim_end().split_once(MARK)?;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "kernel" => Some(Self::Kernel(rest.to_owned())),
            "program" => {
                let (name, instructions) = rest.split_once(' ')?;
                let instructions = instructions.parse().ok()?;
                Some(Self::Program {
                    name: name.to_owned(),
                    instructions,
                })
            }
            "golden" => {
                let (passed, failed) = rest.split_once(' ')?;
                Some(Self::Golden {
                    passed: passed.parse().ok()?,
                    failed: failed.parse().ok()?,
                })
            }
            "done" => Some(Self::Done(rest.parse().ok()?)),
            "error" => Some(Self::Error(rest.to_owned())),
            "end" => Some(Self::End),
            _ => None,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)?;
        match self {
            Self::Kernel(release) => write!(f, "kernel {release}"),
            Self::Program { name, instructions } => write!(f, "program {name} {instructions}"),
            Self::Golden { passed, failed } => write!(f, "golden {passed} {failed}"),
            Self::Done(code) => write!(f, "done {code}"),
            // The text of an error may have several lines, a report's line is one.
            Self::Error(text) => write!(f, "error {}", text.replace(['\n', '\r'], " ")),
            Self::End => f.write_str("end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn what_the_guest_writes_is_what_the_host_reads() {
        for line in [
            Line::Kernel("6.1.0-44-cloud-amd64".to_owned()),
            Line::Program {
                name: "multihome_lan".to_owned(),
                instructions: 123_456,
            },
            Line::Golden {
                passed: 70,
                failed: 2,
            },
            Line::Done(101),
            Line::Error("no such map: RANKS".to_owned()),
            Line::End,
        ] {
            assert_eq!(Line::read(&line.to_string()), Some(line.clone()));
            assert_eq!(
                Line::read(&format!("[    1.2] random: crng {line}\r\n")),
                Some(line)
            );
        }
    }

    #[test]
    fn what_is_not_a_report_is_not_read_as_one() {
        for console in [
            "",
            "end",
            "multihome-vm:",
            "multihome-vm: golden 3",
            "multihome-vm: x y",
        ] {
            assert_eq!(Line::read(console), None, "{console:?}");
        }
        let error = Line::Error("first\nsecond".to_owned());
        assert_eq!(
            Line::read(&error.to_string()),
            Some(Line::Error("first second".to_owned()))
        );
    }
}
