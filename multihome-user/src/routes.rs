//! The gateway's own traffic: routing tables and rules of ours in the kernel, for what the kernel
//! itself sends and routes.
//!
//! What should be there is made from the controller's state without I/O ([`desired`]), compared
//! with what is there ([`plan`]), and carried out by a thread of its own ([`keeper`]): a change of
//! routes waits for the kernel's routing lock, and no word may wait behind that.

pub mod choice;
pub mod desired;
pub mod keeper;
pub mod model;
pub mod plan;
mod turn;

use std::ops::RangeInclusive;

pub use keeper::{Keeper, remove_all};
pub use model::{Hop, Route, Rule, Selector};

/// What our routes and rules bear as their origin (`rtm_protocol`, `FRA_PROTOCOL`): a number that
/// nobody else has (linux/rtnetlink.h, iproute2's `rt_protos`).
pub const PROTOCOL: u8 = 77;
/// The table of the uplink with id 0; the others' follow. It is also the mark that chooses the
/// uplink.
pub const FIRST_TABLE: u32 = 7700;
/// The table of the gateway's default route, behind those of all uplinks.
pub const DEFAULT_TABLE: u32 = FIRST_TABLE + multihome_common::limits::MAX_UPLINKS as u32;
/// All tables of ours.
pub const TABLES: RangeInclusive<u32> = FIRST_TABLE..=DEFAULT_TABLE;

/// The priorities of our rules (`ip rule`; lower ones are asked first), in the order in which they are
/// asked.
pub mod priority {
    use std::ops::RangeInclusive;

    /// The main table's routes that say where a destination lies: for these nothing changes. Default
    /// routes, and their halves as VPN clients set them, are left out.
    pub const MAIN: u32 = 7700;
    /// A mark chooses an uplink.
    pub const MARK: u32 = 7701;
    /// A socket that is bound to an uplink's device sends by that uplink.
    pub const DEVICE: u32 = 7702;
    /// An uplink's own address as the source chooses it.
    pub const SOURCE: u32 = 7703;
    /// The main table's routes but default routes: the halves too, which lead into a VPN.
    pub const HALVES: u32 = 7704;
    /// The default route of all else.
    pub const DEFAULT: u32 = 7705;
    /// All of them.
    pub const ALL: RangeInclusive<u32> = MAIN..=DEFAULT;
}

/// The table of an uplink, which is its mark as well.
pub fn table_of(uplink: u8) -> u32 {
    FIRST_TABLE + u32::from(uplink)
}
