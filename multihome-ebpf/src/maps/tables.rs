//! The tables of the shared packet path, as maps.

use super::{
    classes::{
        class_of, multihome_by_destination4, multihome_by_destination6, multihome_by_source4,
        multihome_by_source6, multihome_class4, multihome_class6, value_of,
    },
    *,
};

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
