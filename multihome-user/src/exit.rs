//! How the binary ends: exit codes, and errors told as one message with what to do about them.

use std::{error::Error, fmt::Write as _, process::ExitCode};

/// What kind of failure ended the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitClass {
    /// Something failed that was asked for rightly: exit code 1.
    Runtime,
    /// What was asked for cannot be done as it was asked, or not by this user or on this
    /// machine: exit code 2. Nothing was changed.
    Input,
}

impl ExitClass {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Runtime => 1,
            Self::Input => 2,
        }
    }
}

impl From<ExitClass> for ExitCode {
    fn from(class: ExitClass) -> Self {
        class.code().into()
    }
}

/// An error that can end the program.
pub trait Classify: Error {
    /// What kind of failure it is.
    fn exit_class(&self) -> ExitClass;

    /// What the reader can do about it, where the message does not say so.
    fn help(&self) -> Option<String> {
        None
    }
}

/// The message for people: the error, its causes, and what to do.
///
/// A cause that its parent's message already ends with is not said twice.
pub fn message(error: &dyn Classify) -> String {
    let mut text = format!("error: {error}");
    tell_causes(&mut text, error.source());
    if let Some(help) = error.help() {
        let _ = write!(text, "\n  help: {help}");
    }
    text
}

/// The error and its causes on one line, for the log.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    tell_causes(&mut text, error.source());
    text
}

fn tell_causes(text: &mut String, mut cause: Option<&dyn Error>) {
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            // Writing to a string does not fail.
            let _ = write!(text, ": {said}");
        }
        cause = error.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use thiserror::Error;

    #[derive(Debug, Error)]
    #[error("cannot attach to {device}")]
    struct AttachError {
        device: &'static str,
        source: InnerError,
    }

    #[derive(Debug, Error)]
    #[error("the kernel refused: {0}")]
    struct InnerError(#[source] io::Error);

    impl Classify for AttachError {
        fn exit_class(&self) -> ExitClass {
            ExitClass::Input
        }

        fn help(&self) -> Option<String> {
            Some("use another device".into())
        }
    }

    #[test]
    fn tells_the_whole_chain_once() {
        let error = AttachError {
            device: "eth0",
            source: InnerError(io::Error::other("not supported")),
        };
        assert_eq!(
            message(&error),
            "error: cannot attach to eth0: the kernel refused: not supported\n  help: use another \
             device"
        );
    }

    #[test]
    fn codes_are_those_of_the_manual() {
        assert_eq!((ExitClass::Runtime.code(), ExitClass::Input.code()), (1, 2));
    }
}
