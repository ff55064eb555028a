//! Golden tables: packets through the real programs by BPF_PROG_TEST_RUN, and what must come out.
//!
//! A row says what it shows, the packet in, the verdict and the packet out. Expected packets are
//! built with etherparse, never with multihome's own code. Nothing here needs a network: the rows
//! run as the first process of a virtual machine too.

pub mod differential;
pub mod frames;
pub mod kernel;
pub mod memory;
pub mod policy;
pub mod row;
pub mod rows;
pub(crate) mod shared;
pub mod tables;
pub mod wire;
pub mod world;

use anyhow::Result;

use kernel::Kernel;
use row::Row;

/// What came of all rows.
#[derive(Debug, Default)]
pub struct Report {
    /// Rows that held.
    pub passed: u32,
    /// What the others show, and what came out instead.
    pub failures: Vec<String>,
}

/// Every row of the golden tables, also behind tags and in PPPoE sessions.
pub fn all_rows() -> Vec<Row> {
    let plain = plain_rows();
    let framed = rows::framed::rows(&plain);
    [plain, framed].concat()
}

/// The rows of ports without a framing.
fn plain_rows() -> Vec<Row> {
    [
        rows::steering::rows(),
        rows::delivery::rows(),
        rows::passed::rows(),
        rows::answers::rows(),
        rows::clamped::rows(),
        rows::dropped::rows(),
        rows::faults::rows(),
        rows::translated::rows(),
        rows::quoted::rows(),
        rows::fragments::rows(),
        rows::forwarded_ports::rows(),
        rows::guarded::rows(),
        rows::pinned::rows(),
        rows::prefixed::rows(),
        rows::ruled::rows(),
    ]
    .concat()
}

/// Runs every row on this kernel.
///
/// # Errors
/// When the programs cannot be loaded or run at all.
pub fn run_all() -> Result<Report> {
    let mut kernel = Kernel::load()?;
    let mut report = Report::default();
    for row in all_rows() {
        let mut checked = row.check(&mut kernel)?;
        // A packet that others went before may have taken the short way, which must not be seen.
        if checked.is_ok() && !row.before.is_empty() {
            checked = row.anew().check(&mut kernel)?;
        }
        match checked {
            Ok(()) => report.passed += 1,
            Err(reason) => report.failures.push(format!("{}: {reason}", row.shows)),
        }
    }
    Ok(report)
}
