//! Every map, with who writes it and who reads it.
//!
//! Names, sizes and meanings stand in `multihome_common::abi`; the controller pins each map under
//! its name.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MMAPABLE, xdp_action::XDP_DROP, xdp_md},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_xdp_load_bytes},
    macros::map,
    maps::{Array, DevMap, HashMap, PerCpuArray, ProgramArray, RingBuf},
    programs::XdpContext,
};
use multihome_common::{
    abi::{MemberTiers, SAMPLE_BYTES, SIZED_AT_START, Sample, Scratch, SlotName, owner_of},
    address::{Address4, Address6, AddressTable, Class},
    fault::Fault,
    flow::{
        FlowKey,
        fragment::{Course, Datagram, FragmentMemory, FragmentSlot},
        lifetime::Timeouts,
        pin::{Pin, PinLine, PinMemory, Place},
        slot::FlowSlot,
        table::{Claim, FlowMemory},
        tag::TagLine,
    },
    framing::Framing,
    hash::FlowHash,
    limits::{
        FRAGMENT_SLOTS, MAX_DOMAIN_ADDRESSES, MAX_DOMAIN_CLASSES, MAX_GROUPS, MAX_HOSTS, MAX_NAMES,
        MAX_OUTSIDES, MAX_ROWS, MAX_SLOTS, MAX_UPLINKS, PORT_TABLE_PROBES, PORT_TABLE_SIZE,
    },
    nat44::ports::{Found, PortLine, PortMemory},
    opaque::opaque,
    packet::Packet,
    port::{self, NO_SLOT, PORT_KERNEL, PORT_TRUNK, PortEntry},
    rank::RankRow,
    rate_limit::TokenBucket,
    rules::{DomainKey, RuleCounts, RuleSet, Rulebook},
    state::SharedState,
    tables::{Answer, Tables},
    tcp::{
        Segment, TcpMemory,
        counts::{self, TcpCounts},
        handshake, sequence,
    },
    uplink::{HostEntry, UplinkEntry},
    verdict::Verdict,
    way::steer::{Ask, Ends},
    word::Word,
};

use crate::{flows, route, steer};

mod arrived;
mod classes;
mod tables;

pub use arrived::{arrived, note_port, port, port_in};
pub use tables::Maps;

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

/// Two copies of the rulebook. Written by the controller: the copy not in force.
#[map]
static RULES: Array<Rulebook> = Array::with_max_entries(2, 0);

/// Which class of domains an address belongs to; the third word of the key is the side. Written by the controller.
#[map]
static DOMAINS: HashMap<[u64; 3], u64> =
    HashMap::with_max_entries(2 * MAX_DOMAIN_ADDRESSES as u32, 0);

/// The rules that packets of each class of domains may match, for both sides. Written by the controller, where no
/// address is of that class yet.
#[map]
static DOMAIN_SETS: Array<RuleSet> = Array::with_max_entries(2 * MAX_DOMAIN_CLASSES as u32, 0);

/// Messages of DNS, for the controller. Written by the programs while it asks for them.
#[map]
static SAMPLES: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// What each rule has matched, for each CPU. Written by the programs, read by the controller through memory it
/// maps.
#[map]
static RULE_COUNTS: Array<RuleCounts> =
    Array::with_max_entries(SIZED_AT_START as u32, BPF_F_MMAPABLE);

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

/// The rate limits of what the gateway makes itself, for each CPU and kind of answer. Written by
/// the programs alone.
#[map]
static REPLY_BUCKET: PerCpuArray<TokenBucket> = PerCpuArray::with_max_entries(2, 0);

/// The names behind the slots. Written and read by controllers: a restarted one gives each uplink
/// the id that it had.
#[map]
static NAMES: Array<SlotName> = Array::with_max_entries(MAX_NAMES as u32, 0);

/// The tiers of the groups' members. Written by the controller, for who wants to know what it would do
/// without an uplink.
#[map]
static MEMBERS: Array<MemberTiers> = Array::with_max_entries(MAX_GROUPS as u32, 0);

/// What is known of the packet in hand. Written and read by the programs alone.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// The flow table's tags. Written by the programs, and by the controller that sweeps it through
/// memory it maps; the tags' protocol keeps them apart.
#[map]
static FLOW_TAGS: Array<TagLine> = Array::with_max_entries(SIZED_AT_START as u32, BPF_F_MMAPABLE);

/// The flow table's slots. Written by whoever holds the slot's tag.
#[map]
static FLOWS: Array<FlowSlot> = Array::with_max_entries(SIZED_AT_START as u32, BPF_F_MMAPABLE);

/// The owners of outside ports. Written like the tags; reserved ports and forwards by the
/// controller.
#[map]
static NAT_PORTS: Array<PortLine> = Array::with_max_entries(SIZED_AT_START as u32, BPF_F_MMAPABLE);

/// Which uplinks flows keep to. Written by the programs; the controller takes expired ones away.
#[map]
static PINS: Array<PinLine> = Array::with_max_entries(SIZED_AT_START as u32, BPF_F_MMAPABLE);

/// What was done with the first fragments of datagrams. Written by the programs alone.
#[map]
static FRAGMENTS: Array<FragmentSlot> =
    Array::with_max_entries(FRAGMENT_SLOTS as u32, BPF_F_MMAPABLE);

/// Whose outside addresses are: uplink id << 16 | part of the port table. Written by the controller.
#[map]
static OUTSIDES: HashMap<u32, u64> = HashMap::with_max_entries(MAX_OUTSIDES as u32, 0);

/// Outstanding TCP handshakes. Written by the programs alone.
#[map]
static HANDSHAKES: Array<Word> = Array::with_max_entries(handshake::PLACES as u32, 0);

/// How far TCP flows of the sample have come. Written by the programs alone.
#[map]
static SEQUENCES: Array<Word> = Array::with_max_entries(sequence::PLACES as u32, 0);

/// What is counted of TCP, for each CPU and uplink. Written by the programs, read by the controller
/// through memory it maps.
#[map]
static TCP_COUNTS: Array<TcpCounts> =
    Array::with_max_entries(SIZED_AT_START as u32, BPF_F_MMAPABLE);

/// Faults of the uplinks' lines. Written by whoever sets one, through mapped memory; the programs count
/// their draws in it.
#[map]
static FAULTS: Array<Fault> = Array::with_max_entries(MAX_UPLINKS as u32, BPF_F_MMAPABLE);

/// What frames that are sent for a slot get before them. Written by the controller through memory it maps.
#[map]
static FRAMINGS: Array<Framing> = Array::with_max_entries(MAX_SLOTS as u32, BPF_F_MMAPABLE);

/// The programs that go on behind the one of devices with several ports. Written by the controller.
#[map]
static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// Goes on with another program; comes back only if there is none.
#[inline(always)]
pub fn go_on(context: &XdpContext, program: u32) {
    // SAFETY: the programs are XDP programs, which the kernel has checked when they were entered.
    unsafe { PROGRAMS.tail_call(context, program) };
}

/// Sends the packet out of the device of this slot.
#[inline(always)]
pub fn redirect(slot: u8) -> u32 {
    match DEVICES.redirect(u32::from(slot), u64::from(XDP_DROP)) {
        Ok(action) | Err(action) => action,
    }
}

/// Copies the packet, from byte `from` on, for the controller. One that is too long, and one for which there
/// is no room, is left out: the next answer teaches the same.
#[inline(always)]
pub fn copy_sample(context: *mut xdp_md, from: u32, len: u32) {
    // The helper's length must be seen to be at least one.
    let more = opaque(u64::from(len).wrapping_sub(1)) & 0xffff;
    if more >= SAMPLE_BYTES as u64 {
        return;
    }
    let len = more + 1;
    let Some(mut entry) = SAMPLES.reserve::<Sample>(0) else {
        return;
    };
    let sample = entry.as_mut_ptr();
    // SAFETY: the entry is as large as a sample and ours until it is submitted; the helper writes at most the
    // length that was compared above.
    let copied = unsafe {
        (*sample).len = len;
        let bytes = (&raw mut (*sample).bytes).cast();
        bpf_xdp_load_bytes(context, from, bytes, len as u32)
    };
    if copied == 0 {
        // Who waits is woken by the kernel.
        entry.submit(0);
    } else {
        entry.discard(0);
    }
}

/// This CPU's scratch memory.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the element is this CPU's own, XDP programs on one CPU do not interrupt each other,
    // and each function of a program is done with its reference before it calls another.
    Some(unsafe { &mut *scratch })
}

/// The shared state.
#[inline(always)]
pub fn state() -> Option<&'static SharedState> {
    STATE.get(0)
}

/// An uplink's entry.
#[inline(always)]
pub fn uplink(index: u32) -> Option<&'static UplinkEntry> {
    UPLINKS.get(index)
}
