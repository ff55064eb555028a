//! What the packet path asks of the maps.

use crate::{
    address::{Address4, Address6, Class},
    family::{V4, V6},
    fault::Fault,
    flow::{
        FlowKey,
        fragment::{self, Course, Datagram, FragmentMemory},
        pin::PinMemory,
        table,
        table::FlowMemory,
    },
    framing::Framing,
    nat44::{open, open::Opening, ports::PortMemory},
    port::PortEntry,
    rank::RankRow,
    rules::{DomainKey, RuleSet, Rulebook},
    state::SharedState,
    tcp::TcpMemory,
    uplink::{HostEntry, UplinkEntry},
    verdict::Verdict,
    way::steer::{self, Ask, Ends},
};

/// What the gateway makes itself; each kind has a rate limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Answer {
    /// An ICMP error.
    Error = 0,
    /// A TCP reset: never larger than what it answers, and as many may be due at once as an uplink
    /// had connections.
    Reset = 1,
}

/// The maps as the packet path sees them: BPF maps in the kernel, plain memory on the host.
///
/// `None` from a lookup by index means an index past the map's end, which is a defect; `None` from
/// a lookup by address means that nothing is known.
pub trait Tables: FlowMemory + PortMemory + PinMemory + FragmentMemory + TcpMemory + Sized {
    /// The shared state.
    fn state(&self) -> Option<&SharedState>;
    /// A place of the port table.
    fn port(&self, place: u32) -> Option<&PortEntry>;
    /// The class of an address, by a copy (0 or 1) of the IPv4 address table.
    fn class4(&self, copy: u32, address: Address4) -> Option<Class>;
    /// The class of an address, by a copy (0 or 1) of the IPv6 address table.
    fn class6(&self, copy: u32, address: Address6) -> Option<Class>;
    /// A copy (0 or 1) of the rulebook.
    fn rulebook(&self, copy: u32) -> Option<&Rulebook>;
    /// The value of a source in a copy of the rulebook.
    fn by_source4(&self, copy: u32, address: Address4) -> Option<u32> {
        Some(self.rulebook(copy)?.sources4.value(address))
    }
    /// The value of a destination in a copy of the rulebook.
    fn by_destination4(&self, copy: u32, address: Address4) -> Option<u32> {
        Some(self.rulebook(copy)?.destinations4.value(address))
    }
    /// The value of a source in a copy of the rulebook.
    fn by_source6(&self, copy: u32, address: Address6) -> Option<u32> {
        Some(self.rulebook(copy)?.sources6.value(address))
    }
    /// The value of a destination in a copy of the rulebook.
    fn by_destination6(&self, copy: u32, address: Address6) -> Option<u32> {
        Some(self.rulebook(copy)?.destinations6.value(address))
    }
    /// The class of the domains that an address belongs to, on a side (0 or 1) of that table; 0 = none.
    fn domain(&self, side: u32, key: DomainKey) -> u32;
    /// The rules that packets of a class may match: index = side x
    /// [`MAX_DOMAIN_CLASSES`](crate::limits::MAX_DOMAIN_CLASSES) + class.
    fn domain_set(&self, index: u32) -> Option<&RuleSet>;
    /// Counts a packet for the rule that matched it, or for [`RuleCounts::NO_RULE`].
    ///
    /// [`RuleCounts::NO_RULE`]: crate::rules::RuleCounts::NO_RULE
    fn note_rule(&self, rule: u32);
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
    /// The clock for flows, in [ticks](crate::flow::ticks).
    fn now(&self) -> u32;
    /// The time in nanoseconds of CLOCK_MONOTONIC; it costs more than [`Tables::now`].
    fn nanoseconds(&self) -> u64;
    /// What frames that are sent for this slot get before them.
    fn framing(&self, slot: u8) -> Option<Framing>;
    /// The fault of an uplink's line.
    fn fault(&self, id: u8) -> Option<&Fault>;
    /// The slot of a live flow.
    fn find_flow(&self, state: &SharedState, key: &FlowKey) -> Option<u32> {
        table::find(self, state, key, key.hash(state.seed), self.now())
    }
    /// Which uplink an IPv4 flow takes.
    ///
    /// # Errors
    /// See [`steer::answer`].
    fn steer4(&self, state: &SharedState, ends: &Ends<Address4>, ask: Ask) -> Result<u8, Verdict> {
        steer::answer::<V4, Self>(self, state, ends, ask)
    }
    /// Which uplink an IPv6 flow takes.
    ///
    /// # Errors
    /// See [`steer::answer`].
    fn steer6(&self, state: &SharedState, ends: &Ends<Address6>, ask: Ask) -> Result<u8, Verdict> {
        steer::answer::<V6, Self>(self, state, ends, ask)
    }
    /// Prepares a flow to be opened by uplink `id`, with this outside end if it is not 0
    /// ([`Outside::word`]), else with one that is sought.
    ///
    /// [`Outside::word`]: crate::flow::slot::Outside::word
    ///
    /// # Errors
    /// When there is no place to keep it.
    fn prepare_flow(
        &self,
        key: &FlowKey,
        host: &HostEntry,
        id: u8,
        outside: u64,
    ) -> Result<(), Verdict>;
    /// Opens this flow; the slot's index.
    ///
    /// # Errors
    /// The verdict of a packet whose flow cannot be opened.
    fn open_flow(&self, state: &SharedState, opening: &Opening) -> Result<u32, Verdict> {
        let id = opening.uplink as u8 & 63;
        let entry = u32::from(id) * 2 + state.uplink_copy(id);
        let uplink = self.uplink(entry).ok_or(Verdict::DropInternal)?;
        open::open(self, state, uplink, opening, self.now())
    }
    /// Whose outside address this is: the uplink's id, and the address's part of the port table.
    fn outside(&self, address: Address4) -> Option<(u8, u16)>;
    /// What was done with the first fragment of a datagram.
    fn find_fragment(&self, state: &SharedState, datagram: &Datagram) -> Option<Course> {
        fragment::find(self, state.seed, datagram, self.now())
    }
    /// Remembers what was done with the first fragment of a datagram.
    fn remember_fragment(&self, state: &SharedState, datagram: &Datagram, course: &Course) {
        fragment::remember(self, state.seed, datagram, course, self.now());
    }
    /// Ends a flow.
    fn close_flow(&self, index: u32) {
        open::close(self, index);
    }
    /// Takes one token of the rate limit for packets of this kind that the gateway makes itself.
    fn may_answer(&mut self, answer: Answer) -> bool;
}
