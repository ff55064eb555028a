//! What the packet path asks of the maps.

use crate::{
    address::{Address4, Address6, Class},
    port::PortEntry,
    rank::RankRow,
    state::SharedState,
    uplink::{HostEntry, UplinkEntry},
};

/// The maps as the packet path sees them: BPF maps in the kernel, plain memory on the host.
///
/// `None` from a lookup by index means an index past the map's end, which is a defect; `None` from
/// a lookup by address means that nothing is known.
pub trait Tables {
    /// The shared state.
    fn state(&self) -> Option<&SharedState>;
    /// A place of the port table.
    fn port(&self, place: u32) -> Option<&PortEntry>;
    /// The class of an address, by a copy (0 or 1) of the IPv4 address table.
    fn class4(&self, copy: u32, address: Address4) -> Option<Class>;
    /// The class of an address, by a copy (0 or 1) of the IPv6 address table.
    fn class6(&self, copy: u32, address: Address6) -> Option<Class>;
    /// A rank row by its index.
    fn row(&self, index: u32) -> Option<RankRow>;
    /// An uplink's entry: index = 2 x id + copy.
    fn uplink(&self, index: u32) -> Option<&UplinkEntry>;
    /// The LAN host of this address.
    fn host4(&self, address: Address4) -> Option<&HostEntry>;
    /// The LAN host of this address.
    fn host6(&self, address: Address6) -> Option<&HostEntry>;
    /// What the kernel's own routes and neighbours say of the way to a LAN host.
    fn kernel_route4(
        &self,
        ingress: u32,
        source: Address4,
        destination: Address4,
    ) -> Option<HostEntry>;
    /// What the kernel's own routes and neighbours say of the way to a LAN host.
    fn kernel_route6(
        &self,
        ingress: u32,
        source: Address6,
        destination: Address6,
    ) -> Option<HostEntry>;
    /// Takes one token of the rate limit for packets that the gateway makes itself.
    fn may_reply(&mut self) -> bool;
}
