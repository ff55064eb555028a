//! How good an uplink is, and how much it carries: what takes new flows off an uplink that is alive.
//!
//! - [`window`] keeps what the probes of a path have measured lately: loss, latency, jitter.
//! - [`loss`] tests whether a path loses more than it may.
//! - [`sla`] judges a path by what a group asks for, with hysteresis.
//! - [`meter`] tells how near an uplink is to its capacity.
//! - [`quota`] counts what an uplink carries in a day, a week or a month, and keeps the count.
//!
//! All but the file of the quotas is pure: the clock is passed in.

pub mod loss;
pub mod meter;
pub mod quota;
pub mod sla;
pub mod window;

pub use meter::Meter;
pub use sla::Judge;
pub use window::{Measure, Window};

/// A share for people: 31 %, 0.4 %, 12.5 %.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 || percent == percent.round() {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.1} %")
    }
}
