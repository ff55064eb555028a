//! Traffic through a lab, and what happened to it: which uplink each flow took, when it moved to
//! another, and what was lost.

pub mod bfd;
pub mod capture;
pub mod clock;
pub mod flows;
pub mod http;
pub mod iperf;
pub mod payload;
pub mod peers;
pub mod ping;
pub mod story;
pub mod stream;
