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
    port::{self, PORT_TRUNK, PortEntry},
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

/// What the functions below answer when there is no such copy of the rulebook.
const NO_RULEBOOK: u64 = u64::MAX;

/// The value of an IPv4 source in a copy of the rulebook.
///
/// A global function, like its siblings and for the same reason as [`multihome_class4`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_by_source4(copy: u32, address: u32) -> u64 {
    match RULES.get(copy) {
        Some(book) => book.sources4.value(Address4(address)).into(),
        None => NO_RULEBOOK,
    }
}

/// The value of an IPv4 destination in a copy of the rulebook.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_by_destination4(copy: u32, address: u32) -> u64 {
    match RULES.get(copy) {
        Some(book) => book.destinations4.value(Address4(address)).into(),
        None => NO_RULEBOOK,
    }
}

/// The value of an IPv6 source in a copy of the rulebook.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_by_source6(copy: u32, high: u64, low: u64) -> u64 {
    match RULES.get(copy) {
        Some(book) => book.sources6.value(Address6 { high, low }).into(),
        None => NO_RULEBOOK,
    }
}

/// The value of an IPv6 destination in a copy of the rulebook.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_by_destination6(copy: u32, high: u64, low: u64) -> u64 {
    match RULES.get(copy) {
        Some(book) => book.destinations6.value(Address6 { high, low }).into(),
        None => NO_RULEBOOK,
    }
}

#[inline(always)]
fn value_of(answer: u64) -> Option<u32> {
    (answer != NO_RULEBOOK).then_some(answer as u32)
}

/// This CPU's scratch memory.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the element is this CPU's own, XDP programs on one CPU do not interrupt each other,
    // and each function of a program is done with its reference before it calls another.
    Some(unsafe { &mut *scratch })
}

/// The port of the packet in hand, as [`note_port`] was told.
#[inline(always)]
pub fn port() -> Option<&'static PortEntry> {
    port_in(scratch()?)
}

/// The same, for whoever has the scratch memory at hand.
#[inline(always)]
pub fn port_in(scratch: &Scratch) -> Option<&'static PortEntry> {
    PORTS.get(scratch.port as u32)
}

/// Tells the functions that the program calls which port the packet in hand came in on.
#[inline(always)]
pub fn note_port(context: &XdpContext) {
    multihome_note_port(context.ctx);
}

/// See [`note_port`]; beside the program, whose own memory has no room for the port's place. That of a port
/// which another program has found is noted already.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_note_port(context: *mut xdp_md) -> u64 {
    if context.is_null() {
        return 1;
    }
    let context = XdpContext::new(context);
    let maps = Maps::new(&context);
    let found = port::find_placed(&maps, context.ingress_ifindex() as u32);
    if let (Some((place, entry)), Some(scratch)) = (found, scratch())
        && entry.flags & PORT_TRUNK == 0
    {
        scratch.port = place.into();
    }
    0
}

/// The port that a packet came in on: the device itself, or what the program before this one has found on it.
/// `None` when the controller is just about to enter the device or to have it run another program, or has given
/// it up.
///
/// A function of its own, because the program's own stack is full.
#[inline(never)]
pub fn arrived(context: &XdpContext) -> Option<&'static PortEntry> {
    let ifindex = context.ingress_ifindex() as u32;
    for probe in 0..PORT_TABLE_PROBES as u32 {
        let entry = PORTS.get(port::plain_place(ifindex, probe))?;
        if entry.ifindex == ifindex && entry.framing == 0 {
            if entry.flags & PORT_TRUNK != 0 {
                return entered();
            }
            return Some(entry);
        }
    }
    None
}

/// The port that the program before this one has found for the packet, and notes it.
#[inline(always)]
fn entered() -> Option<&'static PortEntry> {
    let scratch = scratch()?;
    // Zero when this program was run by the device itself.
    let place = core::mem::take(&mut scratch.entered).checked_sub(1)?;
    scratch.port = place;
    PORTS.get(place as u32)
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

    /// The maps of flows and ports, which ask the kernel nothing that needs a context.
    #[inline(always)]
    pub fn without_context() -> Self {
        Self::of(core::ptr::null_mut())
    }

    /// The maps, for a program that runs in the context behind this pointer.
    #[inline(always)]
    pub fn of(context: *mut xdp_md) -> Self {
        Self { context }
    }
}

impl FlowMemory for Maps {
    #[inline(always)]
    fn tags(&self, bucket: u32) -> Option<&TagLine> {
        FLOW_TAGS.get(bucket)
    }

    #[inline(always)]
    fn flow(&self, index: u32) -> Option<&FlowSlot> {
        FLOWS.get(index)
    }

    #[inline(always)]
    fn find_in(
        &self,
        bucket: u32,
        _: &FlowKey,
        hash: FlowHash,
        now: u32,
        _: &Timeouts,
    ) -> Option<u32> {
        flows::find_in(bucket, hash, now)
    }

    #[inline(always)]
    fn known_by_tag(&self, count: u32, hash: FlowHash) -> u32 {
        flows::known_by_tag(count, hash)
    }

    #[inline(always)]
    fn claim_in(&self, bucket: u32, signature: u32, preferred: u32) -> Claim {
        flows::claim_in(bucket, signature, preferred)
    }

    #[inline(always)]
    fn age(&self, index: u32, now: u32, _: &Timeouts) -> u32 {
        flows::age(index, now)
    }

    #[inline(always)]
    fn displace(&self, buckets: [u32; 2], signature: u32, now: u32, _: &Timeouts) -> Claim {
        flows::displace(buckets, signature, now)
    }
}

impl PortMemory for Maps {
    #[inline(always)]
    fn port_line(&self, index: u32) -> Option<&PortLine> {
        NAT_PORTS.get(index)
    }

    #[inline(always)]
    fn join_line(&self, line: u32, owner: u64) -> Found {
        flows::join_line(line, owner)
    }

    #[inline(always)]
    fn take_line(&self, line: u32, owner: u64, start: u32, step: u32) -> Found {
        flows::take_line(line, owner, start, step)
    }
}

impl PinMemory for Maps {
    #[inline(always)]
    fn pin_line(&self, index: u32) -> Option<&PinLine> {
        PINS.get(index)
    }

    #[inline(always)]
    fn find_pin(&self, line: u32, signature: u32) -> Pin {
        flows::find_pin(line, signature)
    }

    #[inline(always)]
    fn best_place(&self, line: u32, hash: FlowHash, now: u16, _: &Timeouts) -> Place {
        flows::best_place(line, hash, now)
    }
}

impl FragmentMemory for Maps {
    #[inline(always)]
    fn fragment(&self, index: u32) -> Option<&FragmentSlot> {
        FRAGMENTS.get(index)
    }
}

impl TcpMemory for Maps {
    #[inline(always)]
    fn handshake(&self, index: u32) -> Option<&Word> {
        HANDSHAKES.get(index)
    }

    #[inline(always)]
    fn sequence(&self, index: u32) -> Option<&Word> {
        SEQUENCES.get(index)
    }

    #[inline(always)]
    fn tcp_counts(&self, id: u8) -> Option<&TcpCounts> {
        // SAFETY: the helper has no arguments and no failure.
        TCP_COUNTS.get(counts::place(unsafe { bpf_get_smp_processor_id() }, id))
    }

    #[inline(always)]
    fn tcp_clock(&self) -> u64 {
        self.nanoseconds()
    }

    #[inline(always)]
    fn note_segment(&self, hash: FlowHash, segment: Segment) {
        flows::note_segment(hash, segment);
    }

    #[inline(always)]
    fn note_plain<P: Packet>(&self, _: &P, hash: FlowHash, place: u32) {
        flows::note_plain(self.context, hash, place);
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn now(&self) -> u32 {
        flows::now()
    }

    #[inline(always)]
    fn nanoseconds(&self) -> u64 {
        // SAFETY: the helper has no arguments and no failure.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn framing(&self, slot: u8) -> Option<Framing> {
        FRAMINGS.get(slot.into()).copied()
    }

    #[inline(always)]
    fn fault(&self, id: u8) -> Option<&Fault> {
        FAULTS.get(id.into())
    }

    #[inline(always)]
    fn find_flow(&self, _: &SharedState, key: &FlowKey) -> Option<u32> {
        flows::find(key, self.now())
    }

    #[inline(always)]
    fn steer4(&self, _: &SharedState, ends: &Ends<Address4>, ask: Ask) -> Result<u8, Verdict> {
        steer::ask4(ends, ask)
    }

    #[inline(always)]
    fn steer6(&self, _: &SharedState, ends: &Ends<Address6>, ask: Ask) -> Result<u8, Verdict> {
        steer::ask6(ends, ask)
    }

    #[inline(always)]
    fn prepare_flow(
        &self,
        key: &FlowKey,
        host: &HostEntry,
        id: u8,
        outside: u64,
    ) -> Result<(), Verdict> {
        flows::prepare(key, host, id, outside)
    }

    #[inline(always)]
    fn outside(&self, address: Address4) -> Option<(u8, u16)> {
        // SAFETY: an element is one word, which is read whole.
        let word = unsafe { OUTSIDES.get(address.0) }?;
        Some(owner_of(*word))
    }

    #[inline(always)]
    fn find_fragment(&self, _: &SharedState, datagram: &Datagram) -> Option<Course> {
        flows::find_fragment(datagram)
    }

    #[inline(always)]
    fn remember_fragment(&self, _: &SharedState, datagram: &Datagram, course: &Course) {
        flows::remember_fragment(datagram, course);
    }

    #[inline(always)]
    fn close_flow(&self, index: u32) {
        flows::close(index);
    }

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
    fn rulebook(&self, copy: u32) -> Option<&Rulebook> {
        RULES.get(copy)
    }

    #[inline(always)]
    fn by_source4(&self, copy: u32, address: Address4) -> Option<u32> {
        value_of(multihome_by_source4(copy, address.0))
    }

    #[inline(always)]
    fn by_destination4(&self, copy: u32, address: Address4) -> Option<u32> {
        value_of(multihome_by_destination4(copy, address.0))
    }

    #[inline(always)]
    fn by_source6(&self, copy: u32, address: Address6) -> Option<u32> {
        value_of(multihome_by_source6(copy, address.high, address.low))
    }

    #[inline(always)]
    fn by_destination6(&self, copy: u32, address: Address6) -> Option<u32> {
        value_of(multihome_by_destination6(copy, address.high, address.low))
    }

    #[inline(always)]
    fn domain(&self, side: u32, key: DomainKey) -> u32 {
        // SAFETY: an element is one word, which is read whole.
        match unsafe { DOMAINS.get([key[0], key[1], side.into()]) } {
            Some(class) => *class as u32,
            None => 0,
        }
    }

    #[inline(always)]
    fn domain_set(&self, index: u32) -> Option<&RuleSet> {
        DOMAIN_SETS.get(index)
    }

    #[inline(always)]
    fn note_rule(&self, rule: u32) {
        // SAFETY: the helper has no arguments and no failure.
        if let Some(counts) = RULE_COUNTS.get(unsafe { bpf_get_smp_processor_id() }) {
            counts.place(rule).add(1);
        }
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
    fn may_answer(&mut self, answer: Answer) -> bool {
        let Some(bucket) = REPLY_BUCKET.get_ptr_mut(answer as u32) else {
            return false;
        };
        // SAFETY: the element is this CPU's own, and XDP programs on one CPU do not interrupt each
        // other.
        unsafe { (*bucket).take(answer, bpf_ktime_get_ns()) }
    }
}
