//! The model of the gateway: a packet and what the programs did with it in, what they had to do out.
//!
//! Where the programs are free to choose (an uplink for a new flow, an outside port), the model takes
//! their choice, and checks that it is one that they may make.

use std::net::Ipv4Addr;

use multihome_common::verdict::{Disposition, Verdict};

use super::{
    packet::{Packet, flag, number, v4},
    rewrite::{self, End, Out},
    site::{Host, Port, RESERVED, Site, Words, next_hop, uplink_mac},
    tables::{Ends, Flow, Mapping, Number, Record, Tables},
};

/// What the programs did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The verdict.
    pub verdict: Option<Verdict>,
    /// The uplink that the packet was forwarded to.
    pub uplink: Option<u8>,
    /// The packet afterwards.
    pub output: Vec<u8>,
    /// Flows that began.
    pub opened: Vec<Record>,
    /// Flows that ended.
    pub closed: Vec<Record>,
}

/// What becomes of a packet.
#[derive(Clone, Debug)]
pub struct Fate {
    /// The verdict.
    pub verdict: Verdict,
    /// What leaves.
    pub out: Out,
    /// The uplink that it is forwarded to.
    pub uplink: Option<u8>,
}

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// For this reason.
    Verdict(Verdict),
    /// It is larger than this.
    TooBig(u16),
}

impl From<Verdict> for Stop {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}

/// The model.
pub struct Gateway {
    /// Where it stands.
    pub site: Site,
    /// What changes while packets flow.
    pub words: Words,
    /// What it remembers.
    pub tables: Tables,
    /// What the programs did with the packet in hand.
    pub(super) seen: Seen,
    opened: Vec<Ends>,
    closed: Vec<Ends>,
    faults: Vec<String>,
    /// Uplinks that may have been chosen, when nothing told which.
    unsure: Vec<u8>,
    /// How often one of several uplinks was remembered, and nothing told which.
    pub ambiguous: u64,
    /// Datagrams that the programs had forgotten.
    pub forgotten: u64,
    /// Flows that gave way to others.
    pub displaced: u64,
}

impl Gateway {
    /// A gateway without flows.
    pub fn new(site: Site, words: Words) -> Self {
        let mut tables = Tables::default();
        if site.tracked() {
            // Forwards lead in from every outside address.
            for address in site.uplinks.iter().flat_map(|uplink| &uplink.outside) {
                for (outside, inside, port) in super::site::FORWARDS {
                    for number in [Number::Tcp(outside), Number::Udp(outside)] {
                        let mapping = Mapping {
                            inside,
                            port,
                            flows: 0,
                            forward: true,
                        };
                        tables.numbers.insert((*address, number), mapping);
                    }
                }
            }
        }
        Self {
            site,
            words,
            tables,
            seen: Seen::default(),
            opened: Vec::new(),
            closed: Vec::new(),
            faults: Vec::new(),
            unsure: Vec::new(),
            ambiguous: 0,
            forgotten: 0,
            displaced: 0,
        }
    }

    /// Judges what the programs did with a packet.
    ///
    /// # Errors
    /// What they should have done.
    pub fn judge(&mut self, port: Port, frame: &[u8], seen: Seen) -> Result<Verdict, String> {
        self.seen = seen;
        self.opened.clear();
        self.closed.clear();
        self.unsure.clear();
        let fate = match Packet::read(frame) {
            Ok(packet) => {
                let fate = match port {
                    Port::Lan => self.from_lan(&packet),
                    Port::Uplink(id) => self.from_uplink(&packet, id),
                };
                fate.unwrap_or_else(|stop| stopped(&packet, stop))
            }
            Err(verdict) => Fate {
                verdict,
                out: Out::unchanged(frame),
                uplink: None,
            },
        };
        self.compare_flows();
        if self.seen.verdict != Some(fate.verdict) {
            self.faults.push(format!(
                "verdict {:?} instead of {:?}",
                self.seen.verdict, fate.verdict
            ));
        } else if self.seen.uplink != fate.uplink {
            self.faults.push(format!(
                "uplink {:?} instead of {:?}",
                self.seen.uplink, fate.uplink
            ));
        } else if fate.verdict.disposition() != Disposition::Drop && !fate.out.is(&self.seen.output)
        {
            self.faults.push(format!(
                "out\n  {:02x?}\ninstead of\n  {:02x?}",
                self.seen.output, fate.out.bytes
            ));
        }
        if self.faults.is_empty() {
            Ok(fate.verdict)
        } else {
            Err(self.faults.join("; "))
        }
    }

    /// Notes that something is not as it must be.
    pub(super) fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    /// Which flows began and ended, and whether they had to.
    fn compare_flows(&mut self) {
        let mut began: Vec<Ends> = self.seen.opened.iter().map(|record| record.ends).collect();
        began.sort_unstable();
        self.opened.sort_unstable();
        if began != self.opened {
            self.faults.push(format!(
                "flows began: {began:?} instead of {:?}",
                self.opened
            ));
        }
        let mut ended: Vec<Ends> = self.seen.closed.iter().map(|record| record.ends).collect();
        for ends in std::mem::take(&mut self.closed) {
            match ended.iter().position(|other| *other == ends) {
                Some(at) => drop(ended.swap_remove(at)),
                None => self.faults.push(format!("did not end: {ends:?}")),
            }
        }
        for ends in ended {
            // Only for another, where it is crowded, and never one that was answered.
            let answered = self
                .tables
                .flows
                .get(&ends)
                .is_some_and(|flow| flow.answered);
            if self.opened.is_empty() || answered || self.tables.flows.len() < 16 {
                self.faults.push(format!("ended without need: {ends:?}"));
            }
            self.forget_flow(&ends);
            self.displaced += 1;
        }
    }

    /// Ends a flow, as the programs must.
    pub(super) fn close(&mut self, ends: &Ends) {
        self.closed.push(*ends);
        self.forget_flow(ends);
    }

    fn forget_flow(&mut self, ends: &Ends) {
        let Some(flow) = self.tables.flows.remove(ends) else {
            self.faults.push(format!("ended, but never was: {ends:?}"));
            return;
        };
        let record = flow.record;
        let number = Number::of(ends.protocol, record.port, v4(ends.remote));
        let key = (record.outside, number);
        if record.forward {
            return;
        }
        match self.tables.numbers.get_mut(&key) {
            Some(mapping) if mapping.flows > 1 => mapping.flows -= 1,
            _ => drop(self.tables.numbers.remove(&key)),
        }
    }

    /// Opens a flow as the programs did, if they might; by the outside end that it must have, or any
    /// of its uplink's.
    pub(super) fn open(
        &mut self,
        ends: Ends,
        uplink: u8,
        host: Host,
        must: Option<(Ipv4Addr, u16)>,
    ) -> Result<(), Stop> {
        let Some(record) = self
            .seen
            .opened
            .iter()
            .find(|record| record.ends == ends)
            .copied()
        else {
            return Err(self.unopened(&ends, uplink));
        };
        self.opened.push(ends);
        let inside = v4(ends.inside);
        let number = Number::of(ends.protocol, record.port, v4(ends.remote));
        let key = (record.outside, number);
        let old = self.tables.numbers.get(&key).copied();
        if let Err(why) = self.may_open(&ends, uplink, &record, must, old) {
            self.faults.push(format!("{why}: {record:?}"));
        }
        let fresh = Mapping {
            inside,
            port: ends.inside_port,
            flows: 0,
            forward: false,
        };
        let mapping = self.tables.numbers.entry(key).or_insert(fresh);
        if !mapping.forward {
            mapping.flows += 1;
        }
        self.tables.flows.insert(
            ends,
            Flow {
                record,
                host,
                answered: false,
            },
        );
        Ok(())
    }

    fn may_open(
        &mut self,
        ends: &Ends,
        uplink: u8,
        record: &Record,
        must: Option<(Ipv4Addr, u16)>,
        old: Option<Mapping>,
    ) -> Result<(), String> {
        let check = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        let inside = v4(ends.inside);
        check(record.uplink == uplink, "another uplink")?;
        check(
            self.site.owner_of(record.outside) == Some(uplink),
            "an address of another uplink",
        )?;
        check(
            self.site.pool_of(record.outside) == Some(record.pool),
            "another part of the ports",
        )?;
        // RFC 4787 REQ-2: paired.
        let paired = *self
            .tables
            .paired
            .entry((inside, uplink))
            .or_insert(record.outside);
        check(
            paired == record.outside || must.is_some(),
            "another outside address than before",
        )?;
        if let Number::Pair(remote, protocol) = Number::of(ends.protocol, 0, v4(ends.remote)) {
            let number = *self
                .tables
                .pairs
                .entry((remote, protocol))
                .or_insert(record.port);
            check(number == record.port, "another number for the far end")?;
        } else {
            check(
                record.port != RESERVED || ends.protocol == number::ICMP,
                "the gateway's own port",
            )?;
        }
        if let Some(old) = old {
            check(
                old.inside == inside && old.port == ends.inside_port,
                "the port is another host's",
            )?;
            return check(old.forward == record.forward, "a forward or not");
        }
        check(!record.forward, "no forward")?;
        if let Some(must) = must {
            return check(must == (record.outside, record.port), "another outside end");
        }
        // RFC 4787 REQ-1: the mapping does not depend on the far end.
        let elsewhere = self
            .tables
            .numbers
            .iter()
            .any(|((address, number), mapping)| {
                let same = std::mem::discriminant(number)
                    == std::mem::discriminant(&Number::of(ends.protocol, 0, inside));
                let pair = matches!(number, Number::Pair(..));
                *address == record.outside
                    && same
                    && !pair
                    && !mapping.forward
                    && mapping.inside == inside
                    && mapping.port == ends.inside_port
            });
        check(!elsewhere, "a second mapping of one inside port")?;
        if ends.protocol == number::UDP {
            // RFC 4787 REQ-4.
            check((record.port ^ ends.inside_port) & 1 == 0, "another parity")?;
        }
        if matches!(ends.protocol, number::TCP | number::UDP | number::ICMP)
            && record.port != ends.inside_port
        {
            let own = self.is_free(record.outside, ends, ends.inside_port);
            check(!own, "the same port was free")?;
            let near = record.port / 8 == ends.inside_port / 8;
            let range = matches!(record.port, 1024..=32_767 | 61_000..=65_535);
            check(near || range, "a port that is not given out")?;
        }
        Ok(())
    }

    fn is_free(&self, outside: Ipv4Addr, ends: &Ends, port: u16) -> bool {
        let reserved = port == RESERVED && ends.protocol != number::ICMP;
        let number = Number::of(ends.protocol, port, v4(ends.remote));
        !reserved && !self.tables.numbers.contains_key(&(outside, number))
    }

    /// Why a flow did not begin.
    fn unopened(&mut self, ends: &Ends, uplink: u8) -> Stop {
        let crowded = self.tables.flows.len() >= 16;
        if self.seen.verdict == Some(Verdict::DropNoFlow) && crowded {
            return Verdict::DropNoFlow.into();
        }
        let step = if ends.protocol == number::UDP { 2 } else { 1 };
        let first = ends.inside_port & !7 | ends.inside_port & (step - 1);
        let uplinks = if self.unsure.is_empty() {
            &[uplink][..]
        } else {
            &self.unsure
        };
        let mut addresses = uplinks
            .iter()
            .flat_map(|id| &self.site.uplinks[usize::from(*id)].outside);
        let full = addresses.any(
            |&address| match Number::of(ends.protocol, 0, v4(ends.remote)) {
                number @ Number::Pair(..) => self.tables.numbers.contains_key(&(address, number)),
                Number::Tcp(_) | Number::Udp(_) | Number::Query(_) => (first..first | 8)
                    .step_by(step.into())
                    .take(8)
                    .all(|port| port > first | 7 || !self.is_free(address, ends, port)),
            },
        );
        if self.seen.verdict == Some(Verdict::DropNoPort) && full {
            return Verdict::DropNoPort.into();
        }
        self.faults
            .push(format!("did not begin: {ends:?} by uplink {uplink}"));
        Verdict::DropInternal.into()
    }

    /// The uplink that what was seen speaks of.
    fn hint(&self, packet: &Packet<'_>) -> Option<u8> {
        if let Some(record) = self.seen.opened.first() {
            return Some(record.uplink);
        }
        match self.seen.verdict {
            Some(Verdict::Forwarded) => self.seen.uplink,
            Some(Verdict::ReplyTooBig) => {
                let at = packet.at + if packet.is_v6() { 46 } else { 26 };
                let mtu = super::packet::be(self.seen.output.get(at..at + 2)?);
                let is = |uplink: &super::site::Uplink| uplink.mtu == mtu;
                self.site.uplinks.iter().position(is).map(|id| id as u8)
            }
            // No address has no counterpart under both prefixes.
            Some(Verdict::DropNoPrefix) => match packet.source {
                std::net::IpAddr::V6(source) => Some(u8::from(source.segments()[3] != 0xffff)),
                std::net::IpAddr::V4(_) => None,
            },
            _ => None,
        }
    }

    fn word(&self) -> u64 {
        if self.words.eligible == 0 {
            self.words.last_good
        } else {
            self.words.eligible
        }
    }

    /// What of a flow is hashed.
    fn hashed(&self, ends: &Ends) -> Ends {
        if self.site.conduct.by_source {
            return Ends {
                remote: ends.inside,
                protocol: 0,
                inside_port: 0,
                remote_port: 0,
                ..*ends
            };
        }
        *ends
    }

    /// The uplink that ranks first for a flow.
    fn first(&mut self, ends: &Ends, packet: &Packet<'_>) -> Result<u8, Stop> {
        let (hashed, word) = (self.hashed(ends), self.word());
        let firsts = self.tables.firsts(&hashed, word);
        let hint = self.hint(packet).filter(|id| firsts.contains(id));
        let Some(id) = hint.or_else(|| firsts.first().copied()) else {
            if word != 0 {
                self.fault(format!("no order of uplinks explains {ends:?}"));
            }
            return Err(Verdict::ReplyUnreachable.into());
        };
        if firsts.len() > 1 {
            if hint.is_some() {
                self.tables.learn(&hashed, word, |first| first == id);
            } else {
                self.unsure.extend(&firsts);
            }
        }
        Ok(id)
    }

    /// Whether a flow goes back to the uplink that ranks first, because that has been up for long
    /// enough.
    fn returns(&mut self, ends: &Ends, id: u8, seen: bool) -> Result<bool, Stop> {
        let settled = self.words.settled;
        if settled == 0 {
            return Ok(false);
        }
        let (hashed, word) = (self.hashed(ends), self.word());
        let goes = |first: u8| first != id && settled >> first & 1 == 1;
        let firsts = self.tables.firsts(&hashed, word);
        if firsts.is_empty() {
            return Err(Verdict::ReplyUnreachable.into());
        }
        let decided = if firsts
            .iter()
            .all(|&first| goes(first) == goes(*firsts.first().expect("one")))
        {
            goes(*firsts.first().expect("one"))
        } else {
            self.tables
                .learn(&hashed, word, |first| goes(first) == seen);
            seen
        };
        Ok(decided)
    }

    fn is_alive(&self, id: u8) -> bool {
        self.words.alive >> id & 1 == 1
    }

    /// The uplink for a new flow.
    fn choose(&mut self, ends: &Ends, packet: &Packet<'_>) -> Result<u8, Stop> {
        if !self.site.conduct.by_source {
            return self.first(ends, packet);
        }
        if let Some(&id) = self.tables.relations.get(&ends.inside)
            && self.words.eligible >> id & 1 == 1
        {
            let (hashed, word, settled) = (self.hashed(ends), self.word(), self.words.settled);
            let stays = |first: u8| first == id || settled >> first & 1 == 0;
            let firsts = self.tables.firsts(&hashed, word);
            let seen = self.hint(packet) == Some(id);
            if firsts.iter().all(|&first| stays(first))
                || seen && firsts.iter().any(|&first| stays(first))
            {
                self.tables.learn(&hashed, word, stays);
                return Ok(id);
            }
        }
        let id = self.first(ends, packet)?;
        self.ambiguous += u64::from(!self.unsure.is_empty());
        self.tables.relations.insert(ends.inside, id);
        Ok(id)
    }

    /// The uplink of a flow without a packet of its own.
    pub(super) fn owner(&mut self, ends: &Ends, packet: &Packet<'_>) -> Result<u8, Stop> {
        match self.tables.pins.get(ends) {
            Some(pin) if self.is_alive(pin.uplink) => Ok(pin.uplink),
            _ => self.choose(ends, packet),
        }
    }

    /// The uplink of a flow without a record.
    pub(super) fn pinned(&mut self, ends: &Ends, packet: &Packet<'_>) -> Result<u8, Stop> {
        if let Some(pin) = self.tables.pins.get(ends).copied() {
            if self.stays(ends, pin, packet)? {
                return Ok(pin.uplink);
            }
        }
        let uplink = self.choose(ends, packet)?;
        self.ambiguous += u64::from(!self.unsure.is_empty());
        self.tables.pins.insert(
            *ends,
            super::tables::Pin {
                uplink,
                inbound: false,
            },
        );
        Ok(uplink)
    }

    fn stays(
        &mut self,
        ends: &Ends,
        pin: super::tables::Pin,
        packet: &Packet<'_>,
    ) -> Result<bool, Stop> {
        let (id, alive) = (pin.uplink, self.is_alive(pin.uplink));
        if alive {
            let moved = self.seen.verdict == Some(Verdict::ReplyReset)
                || self.seen.verdict == Some(Verdict::DropUnknownConnection)
                || self.hint(packet).is_some_and(|hint| hint != id);
            if pin.inbound || !self.returns(ends, id, moved)? {
                return Ok(true);
            }
        } else if self.words.eligible == 0 {
            return Ok(true);
        }
        if !self.is_prefixed(id, ends.inside) {
            return Ok(false);
        }
        if self.site.conduct.hold && !alive {
            return Ok(true);
        }
        let flags = packet.tcp_flags();
        if packet.protocol == number::TCP && flags != 0 && flags & (flag::SYN | flag::RST) == 0 {
            return Err(Verdict::ReplyReset.into());
        }
        Ok(false)
    }

    /// Whether a known flow has lost its uplink and must begin anew.
    pub(super) fn lost(&mut self, flow: &Flow, packet: &Packet<'_>) -> Result<bool, Stop> {
        let (ends, id) = (flow.record.ends, flow.record.uplink);
        if self.is_alive(id) {
            let ended = self.seen.closed.iter().any(|record| record.ends == ends);
            let steered = super::lan::steered(packet);
            if flow.record.forward || !self.returns(&steered, id, ended)? {
                return Ok(false);
            }
        } else if self.words.eligible == 0 || self.site.conduct.hold {
            return Ok(false);
        }
        self.close(&ends);
        if packet.protocol == number::TCP && packet.tcp_flags() & flag::SYN == 0 {
            return Err(unknown_connection(packet));
        }
        Ok(true)
    }

    /// Sends a packet by an uplink.
    pub(super) fn leave(&self, packet: &Packet<'_>, out: Out, id: u8) -> Fate {
        let out = out.hop(packet.at, next_hop(id, packet.is_v6()), uplink_mac(id));
        Fate {
            verdict: Verdict::Forwarded,
            out,
            uplink: Some(id),
        }
    }

    /// Hands a packet to a LAN host.
    pub(super) fn hand_over(packet: &Packet<'_>, out: Out, host: Host) -> Fate {
        let out = out.hop(packet.at, host.mac, host.from);
        Fate {
            verdict: Verdict::Forwarded,
            out,
            uplink: None,
        }
    }

    /// Translates one end of a packet and what follows its header.
    pub(super) fn translated(packet: &Packet<'_>, side: End, to: (Ipv4Addr, u16)) -> Out {
        Out::unchanged(packet.frame).translate(packet.at, packet.end, side, to, !packet.later)
    }

    /// The largest packet of an uplink.
    pub(super) fn mtu(&self, id: u8) -> u16 {
        self.site.uplinks[usize::from(id)].mtu
    }
}

/// What is said to a segment whose connection nobody knows.
pub(super) fn unknown_connection(packet: &Packet<'_>) -> Stop {
    if packet.tcp_flags() & flag::RST != 0 {
        Verdict::DropUnknownConnection.into()
    } else {
        Verdict::ReplyReset.into()
    }
}

/// What becomes of a packet that goes no further.
fn stopped(packet: &Packet<'_>, stop: Stop) -> Fate {
    let (verdict, mtu) = match stop {
        Stop::Verdict(verdict) => (verdict, 0),
        Stop::TooBig(mtu) => (Verdict::ReplyTooBig, mtu),
    };
    let silent = match verdict {
        Verdict::ReplyTimeExceeded => Some(Verdict::DropHopLimit),
        Verdict::ReplyTooBig => Some(Verdict::DropTooBig),
        Verdict::ReplyUnreachable => Some(Verdict::DropNoUplink),
        _ => None,
    };
    let (verdict, out) = match silent {
        Some(silent) if !packet.may_be_answered() => (silent, Out::unchanged(packet.frame)),
        Some(_) => (verdict, rewrite::error(packet, verdict, mtu)),
        None if verdict == Verdict::ReplyReset => {
            if packet.payload().len() < 20 {
                (Verdict::DropTruncated, Out::unchanged(packet.frame))
            } else {
                (verdict, rewrite::reset(packet))
            }
        }
        None => (verdict, Out::unchanged(packet.frame)),
    };
    Fate {
        verdict,
        out,
        uplink: None,
    }
}
