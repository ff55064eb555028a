//! Every map, with who writes it and who reads it.
//!
//! Names, sizes and meanings stand in `multihome_common::abi`; the controller pins each map under
//! its name.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MMAPABLE, xdp_action::XDP_DROP, xdp_md},
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, DevMap, HashMap, PerCpuArray},
    programs::XdpContext,
};
use multihome_common::{
    abi::SlotName,
    address::{Address4, Address6, AddressTable, Class},
    limits::{MAX_HOSTS, MAX_ROWS, MAX_SLOTS, MAX_UPLINKS, PORT_TABLE_SIZE},
    port::PortEntry,
    rank::RankRow,
    rate_limit::TokenBucket,
    state::SharedState,
    tables::Tables,
    uplink::{HostEntry, UplinkEntry},
};

use crate::route;

/// Every word that changes by one store. Written by the controller through memory it maps.
#[map]
static STATE: Array<SharedState> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The devices by ifindex. Written by the controller.
#[map]
static PORTS: Array<PortEntry> = Array::with_max_entries(PORT_TABLE_SIZE as u32, 0);

/// Two copies of the IPv4 address classes. Written by the controller: the copy not in force.
#[map]
static ADDRESSES4: Array<AddressTable<Address4>> = Array::with_max_entries(2, 0);

/// Two copies of the IPv6 address classes. Written by the controller: the copy not in force.
#[map]
static ADDRESSES6: Array<AddressTable<Address6>> = Array::with_max_entries(2, 0);

/// Rank rows of all groups, two copies of each. Written by the controller, through memory it maps,
/// where no group's `rows` points.
#[map]
static ROWS: Array<u64> = Array::with_max_entries(MAX_ROWS as u32, BPF_F_MMAPABLE);

/// Two copies of each uplink's entry. Written by the controller: the copy not in force.
#[map]
static UPLINKS: Array<UplinkEntry> = Array::with_max_entries(2 * MAX_UPLINKS as u32, 0);

/// LAN hosts with a known MAC. Written by the controller, from the kernel's neighbour table.
#[map]
static HOSTS4: HashMap<u32, HostEntry> = HashMap::with_max_entries(MAX_HOSTS as u32, 0);

/// LAN hosts with a known MAC. Written by the controller, from the kernel's neighbour table.
#[map]
static HOSTS6: HashMap<[u64; 2], HostEntry> = HashMap::with_max_entries(MAX_HOSTS as u32, 0);

/// The devices by slot, to send from. Written by the controller; the kernel removes a device that
/// goes away.
#[map]
static DEVICES: DevMap = DevMap::with_max_entries(MAX_SLOTS as u32, 0);

/// The rate limit of ICMP errors, for each CPU. Written by the programs alone.
#[map]
static REPLY_BUCKET: PerCpuArray<TokenBucket> = PerCpuArray::with_max_entries(1, 0);

/// The names behind the slots. Written and read by controllers: a restarted one gives each uplink
/// the id that it had.
#[map]
static NAMES: Array<SlotName> = Array::with_max_entries(MAX_SLOTS as u32, 0);

/// Sends the packet out of the device of this slot.
#[inline(always)]
pub fn redirect(slot: u8) -> u32 {
    match DEVICES.redirect(u32::from(slot), u64::from(XDP_DROP)) {
        Ok(action) | Err(action) => action,
    }
}

/// What the functions below answer when there is no such table.
const NO_TABLE: u64 = 0xff;

/// The number of an IPv4 address's class.
///
/// A global function, like its sibling: the verifier walks the search once, on its own, and not
/// once for each way that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_class4(copy: u32, address: u32) -> u64 {
    match ADDRESSES4.get(copy) {
        Some(table) => table.class(Address4(address)) as u64,
        None => NO_TABLE,
    }
}

/// The number of an IPv6 address's class.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_class6(copy: u32, high: u64, low: u64) -> u64 {
    match ADDRESSES6.get(copy) {
        Some(table) => table.class(Address6 { high, low }) as u64,
        None => NO_TABLE,
    }
}

#[inline(always)]
fn class_of(number: u64) -> Option<Class> {
    (number != NO_TABLE).then_some(Class::from_number(number as u8))
}

/// The maps as the packet path sees them.
pub struct Maps {
    context: *mut xdp_md,
}

impl Maps {
    /// The maps, for a program that runs in this context.
    #[inline(always)]
    pub fn new(context: &XdpContext) -> Self {
        Self::of(context.as_ptr().cast())
    }

    /// The maps, for a program that runs in the context behind this pointer.
    #[inline(always)]
    pub fn of(context: *mut xdp_md) -> Self {
        Self { context }
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn state(&self) -> Option<&SharedState> {
        STATE.get(0)
    }

    #[inline(always)]
    fn port(&self, place: u32) -> Option<&PortEntry> {
        PORTS.get(place)
    }

    #[inline(always)]
    fn class4(&self, copy: u32, address: Address4) -> Option<Class> {
        class_of(multihome_class4(copy, address.0))
    }

    #[inline(always)]
    fn class6(&self, copy: u32, address: Address6) -> Option<Class> {
        class_of(multihome_class6(copy, address.high, address.low))
    }

    #[inline(always)]
    fn row(&self, index: u32) -> Option<RankRow> {
        ROWS.get(index).map(|row| RankRow(*row))
    }

    #[inline(always)]
    fn uplink(&self, index: u32) -> Option<&UplinkEntry> {
        UPLINKS.get(index)
    }

    #[inline(always)]
    fn host4(&self, address: Address4) -> Option<&HostEntry> {
        // SAFETY: the controller replaces whole elements and never writes into one; a preallocated
        // element that is reused meanwhile gives another host's MAC for this one packet at worst.
        unsafe { HOSTS4.get(address.key()) }
    }

    #[inline(always)]
    fn host6(&self, address: Address6) -> Option<&HostEntry> {
        // SAFETY: as for IPv4.
        unsafe { HOSTS6.get(address.key()) }
    }

    #[inline(always)]
    fn kernel_route4(
        &self,
        ingress: u32,
        source: Address4,
        destination: Address4,
    ) -> Option<HostEntry> {
        route::host4(self.context, ingress, source, destination)
    }

    #[inline(always)]
    fn kernel_route6(
        &self,
        ingress: u32,
        source: Address6,
        destination: Address6,
    ) -> Option<HostEntry> {
        route::host6(self.context, ingress, source, destination)
    }

    #[inline(always)]
    fn may_reply(&mut self) -> bool {
        let Some(bucket) = REPLY_BUCKET.get_ptr_mut(0) else {
            return false;
        };
        // SAFETY: the element is this CPU's own, and XDP programs on one CPU do not interrupt each
        // other.
        unsafe { (*bucket).take(bpf_ktime_get_ns()) }
    }
}
