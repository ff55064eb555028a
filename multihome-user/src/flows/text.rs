//! Flows as rows of text under a heading, aligned without knowing the rows to come.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
};

use super::record::{End, Flow, Number};
use crate::human::{bytes, grouped, seconds};

/// A column: its heading, whether its cells stand at the right, and how wide they are but for rare
/// ones. An IPv4 address and port are 21 characters at most.
const COLUMNS: [(&str, bool, usize); 14] = [
    ("PROTOCOL", false, 8),
    ("INSIDE", false, 21),
    ("OUTSIDE", false, 21),
    ("REMOTE", false, 21),
    UPLINK,
    ("STATE", false, 11),
    ("AGE", true, 7),
    ("IDLE", true, 7),
    ("LEFT", true, 7),
    ("PACKETS OUT", true, 11),
    ("BYTES OUT", true, 9),
    ("PACKETS IN", true, 11),
    ("BYTES IN", true, 9),
    ("FORWARD", false, 7),
];

/// As wide as the longest name.
const UPLINK: (&str, bool, usize) = ("UPLINK", false, 0);

/// Writes rows.
#[derive(Debug)]
pub struct Rows {
    uplink_width: usize,
    /// The row in hand, kept for its memory.
    line: String,
}

impl Rows {
    /// Rows for flows of uplinks of these names.
    pub fn new<'a>(uplinks: impl Iterator<Item = &'a str>) -> Self {
        let names = uplinks.map(|name| name.chars().count());
        Self {
            uplink_width: names.chain([UPLINK.0.len()]).max().unwrap_or_default(),
            line: String::new(),
        }
    }

    /// Writes the headings.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn headings(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.write(out, COLUMNS.map(|(heading, ..)| heading))
    }

    /// Writes one flow; `uplink` is its uplink's name, if that is still known.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn row(
        &mut self,
        out: &mut impl Write,
        flow: &Flow,
        uplink: Option<&str>,
    ) -> io::Result<()> {
        let carried = &flow.carried;
        let cells: [&dyn fmt::Display; COLUMNS.len()] = [
            &flow.protocol_name(),
            &flow.inside,
            &flow.outside,
            &flow.remote,
            &uplink.unwrap_or("-"),
            &flow.state.name(),
            &seconds(flow.age.as_secs()),
            &seconds(flow.idle.as_secs()),
            &seconds(flow.left.as_secs()),
            &grouped(carried.packets_out),
            &bytes(carried.bytes_out),
            &grouped(carried.packets_in),
            &bytes(carried.bytes_in),
            &if flow.forward { "yes" } else { "-" },
        ];
        self.write(out, cells)
    }

    /// Writes a line of these cells, two spaces apart.
    fn write(
        &mut self,
        out: &mut impl Write,
        cells: [impl fmt::Display; COLUMNS.len()],
    ) -> io::Result<()> {
        self.line.clear();
        for (cell, (heading, right, width)) in cells.iter().zip(COLUMNS) {
            let width = if heading == UPLINK.0 {
                self.uplink_width
            } else {
                width
            };
            let start = self.line.len();
            // Writing to a string does not fail.
            let _ = write!(self.line, "{cell}");
            let room = width.saturating_sub(self.line[start..].chars().count());
            let at = if right { start } else { self.line.len() };
            self.line.insert_str(at, &SPACES[..room.min(SPACES.len())]);
            self.line.push_str("  ");
        }
        out.write_all(self.line.trim_end().as_bytes())?;
        out.write_all(b"\n")
    }
}

/// As many as the widest column may need.
const SPACES: &str = "                                        ";

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match self.number {
            Number::Port(number) | Number::Identifier(number) => write!(f, "{address}:{number}"),
            Number::None => write!(f, "{address}"),
        }
    }
}
