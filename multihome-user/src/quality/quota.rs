//! What an uplink may carry in a day, a week or a month: counting it over restarts, reboots and clocks
//! that jump.

pub mod account;
pub mod file;
pub mod ledger;
pub mod period;

pub use account::{Account, Change};
pub use file::{Document, QuotaFileError};
pub use ledger::Ledger;
