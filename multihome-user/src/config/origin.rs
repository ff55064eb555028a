//! Where a value was written, so that an error can point at it.

use std::{collections::BTreeMap, fmt, ops::Range, path::Path, sync::Arc};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a flag of the command line.
    Flag {
        /// The flag with its dashes.
        flag: &'static str,
        /// What was given with it.
        value: Arc<str>,
    },
    /// In the configuration file.
    File {
        /// The file as it was named.
        path: Arc<Path>,
        /// The line, from 1.
        line: u32,
        /// The column in characters, from 1.
        column: u32,
    },
    /// Nowhere: it is a default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag { flag, value } => write!(f, "{flag} {value}"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Where it was written what only shows to be wrong when the machine is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// Where each device was named.
    pub devices: BTreeMap<String, Origin>,
    /// Where each range of the ports for translated flows stands, in their order.
    pub nat_ports: Vec<Origin>,
    /// Where the outside ports of each forward stand, in their order.
    pub forwards: Vec<Origin>,
    /// Where each group's name stands, by that name.
    pub groups: BTreeMap<String, Origin>,
    /// Where each rule stands, in their order.
    pub rules: Vec<Origin>,
    /// Where the command of each hook stands, or its name if it has none, in their order.
    pub hooks: Vec<Origin>,
    /// Where the prefix of each uplink that has one stands, by the uplink's name.
    pub prefixes: BTreeMap<String, Origin>,
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub origin: Origin,
}

/// A configuration file's name and text, which turn byte offsets into lines and columns.
pub struct Source<'t> {
    path: Arc<Path>,
    text: &'t str,
}

impl<'t> Source<'t> {
    /// The text of a file.
    pub fn new(path: &Path, text: &'t str) -> Self {
        Self {
            path: path.into(),
            text,
        }
    }

    /// Where a span of the text begins.
    pub fn origin(&self, span: Range<usize>) -> Origin {
        let (line, column) = position(self.text, span.start);
        Origin::File {
            path: self.path.clone(),
            line,
            column,
        }
    }

    /// The text of a span.
    pub fn slice(&self, span: Range<usize>) -> Option<&'t str> {
        self.text.get(span)
    }
}

/// Line and column, both from 1, of a byte offset. One past the end is where the end is.
fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    let line = before.iter().filter(|b| **b == b'\n').count();
    let column = String::from_utf8_lossy(&before[line_start..])
        .chars()
        .count();
    (count_from_one(line), count_from_one(column))
}

/// A file is limited to far less than this can count.
fn count_from_one(before: usize) -> u32 {
    u32::try_from(before).map_or(u32::MAX, |count| count.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "a = 1\nä = \"é\" # x\n";
        for (offset, place) in [
            (0, (1, 1)),
            (4, (1, 5)),
            (6, (2, 1)),
            (8, (2, 2)),
            (text.len(), (3, 1)),
        ] {
            assert_eq!(position(text, offset), place, "{offset}");
        }
        assert_eq!(position("", 0), (1, 1));
        assert_eq!(position("abc", 99), (1, 4));
    }
}
