//! The packet's way through the gateway, readable top-down: from a LAN port, and from an uplink.

pub mod decision;
pub mod errors;
pub mod fragments;
pub mod hairpin;
pub mod inward;
pub mod known;
pub mod lan;
pub mod line;
pub mod mss;
pub mod outward;
pub mod policy;
pub mod stages;
pub mod steer;
#[cfg(test)]
mod tests;
pub mod uplink;
pub mod watch;
#[cfg(any(test, feature = "user"))]
pub mod whole;

pub use decision::Decision;
#[cfg(any(test, feature = "user"))]
pub use whole::{from_lan, from_trunk, from_uplink};

use crate::{state::SharedState, tables::Tables, uplink::UplinkEntry, verdict::Verdict};

/// The entry of an uplink, the copy that is in force.
#[inline(always)]
fn uplink_entry<'t, T: Tables>(
    tables: &'t T,
    state: &SharedState,
    id: u8,
) -> Result<&'t UplinkEntry, Verdict> {
    let entry = u32::from(id) * 2 + state.uplink_copy(id);
    tables.uplink(entry).ok_or(Verdict::DropInternal)
}
