//! The translated flows, as `multihome flows` lists them: read from the pinned maps while packets
//! pass, and written one by one, so that a table of millions takes no memory.

use std::{
    io::{self, BufWriter, Write},
    net::Ipv4Addr,
    path::Path,
};

use multihome_common::flow::{lifetime::Timeouts, table::FlowMemory};
use thiserror::Error;

use crate::{
    dataplane::{PinnedError, PinnedFlows, TableBytes},
    exit::{Classify, ExitClass},
};

pub(crate) mod clock;
mod filter;
mod json;
mod reader;
mod record;
mod summary;
mod text;

pub use filter::{Filter, UnknownUplink};
pub use record::{End, Flow, Number, State};
use summary::Summary;
use text::Rows;

/// What is written at once, in bytes.
const BUFFER: usize = 64 * 1024;

/// What is to be listed, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// Only flows of the uplink of this name.
    pub uplink: Option<&'a str>,
    /// Only flows with this inside or remote address.
    pub host: Option<Ipv4Addr>,
    /// JSON Lines, not text.
    pub json: bool,
}

/// Why flows cannot be listed.
#[derive(Debug, Error)]
pub enum FlowsError {
    /// There is nothing to read.
    #[error(transparent)]
    Pinned(#[from] PinnedError),
    /// No uplink has the name that was asked for.
    #[error(transparent)]
    UnknownUplink(#[from] UnknownUplink),
    /// Nobody takes the list.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl Classify for FlowsError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Pinned(error) => error.exit_class(),
            Self::UnknownUplink(error) => error.exit_class(),
            Self::Output(_) => ExitClass::Runtime,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Pinned(error) => error.help(),
            Self::UnknownUplink(error) => error.help(),
            Self::Output(_) => None,
        }
    }
}

/// Lists the flows of the gateway of this run directory. A reader that closes early has what it
/// wanted.
///
/// # Errors
/// See [`FlowsError`].
pub fn list(run_dir: &Path, query: &Query<'_>, out: impl Write) -> Result<(), FlowsError> {
    let pinned = PinnedFlows::open(run_dir)?;
    let filter = Filter::new(query.uplink, query.host, &pinned.uplinks)?;
    let table = Table {
        memory: &pinned,
        buckets: pinned.buckets(),
        timeouts: &pinned.timeouts,
        uplinks: &pinned.uplinks,
        bytes: pinned.bytes,
    };
    let out = BufWriter::with_capacity(BUFFER, out);
    let written = if query.json {
        table.json(&filter, clock::now, out)
    } else {
        table.text(&filter, clock::now, out)
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(FlowsError::Output(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A flow table, and what gives it its meaning.
struct Table<'a, M> {
    memory: &'a M,
    buckets: u32,
    timeouts: &'a Timeouts,
    /// Names by id.
    uplinks: &'a [Option<String>],
    bytes: TableBytes,
}

impl<M: FlowMemory> Table<'_, M> {
    fn text(&self, filter: &Filter, now: impl Fn() -> u32, mut out: impl Write) -> io::Result<()> {
        let mut rows = Rows::new(self.uplinks.iter().flatten().map(String::as_str));
        rows.headings(&mut out)?;
        let (mut live, mut shown) = (0, 0);
        for flow in reader::flows(self.memory, self.buckets, self.timeouts, now) {
            live += 1;
            if filter.wants(&flow) {
                shown += 1;
                rows.row(&mut out, &flow, self.uplink(&flow))?;
            }
        }
        out.write_all(b"\n")?;
        let summary = Summary {
            shown,
            live,
            buckets: self.buckets,
            bytes: self.bytes,
        };
        summary.write(&mut out)?;
        out.flush()
    }

    fn json(&self, filter: &Filter, now: impl Fn() -> u32, mut out: impl Write) -> io::Result<()> {
        reader::flows(self.memory, self.buckets, self.timeouts, now)
            .filter(|flow| filter.wants(flow))
            .try_for_each(|flow| json::row(&mut out, &flow, self.uplink(&flow)))?;
        out.flush()
    }

    /// The name of a flow's uplink; `None` when there is no such uplink any more.
    fn uplink(&self, flow: &Flow) -> Option<&str> {
        self.uplinks.get(usize::from(flow.uplink))?.as_deref()
    }
}

#[cfg(test)]
mod tests;
