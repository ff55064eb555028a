//! Which flows begin and end, and the outside ports that they may have.

use std::net::Ipv4Addr;

use multihome_common::verdict::Verdict;

use super::{
    gateway::{Gateway, Stop},
    packet::{number, v4},
    site::{Host, RESERVED},
    tables::{Ends, Flow, Mapping, Number, Record},
};

impl Gateway {
    /// Which flows began and ended, and whether they had to.
    pub(super) fn compare_flows(&mut self) {
        let mut began: Vec<Ends> = self.seen.opened.iter().map(|record| record.ends).collect();
        began.sort_unstable();
        self.opened.sort_unstable();
        if began != self.opened {
            self.faults.push(format!(
                "flows began: {began:?} instead of {:?}",
                self.opened
            ));
        }
        self.displace();
        for ends in std::mem::take(&mut self.closed) {
            if !self.seen.closed.iter().any(|record| record.ends == ends) {
                self.faults.push(format!("did not end: {ends:?}"));
            }
        }
    }

    /// Ends flows that gave way to others: only where it is crowded, and never one whose
    /// ends have both spoken.
    fn displace(&mut self) {
        let ended = self.seen.closed.iter().map(|record| record.ends);
        let ended: Vec<Ends> = ended.filter(|ends| !self.closed.contains(ends)).collect();
        for ends in ended {
            let answered = self
                .tables
                .flows
                .get(&ends)
                .is_some_and(|flow| flow.asked && flow.answered);
            if self.opened.is_empty() || answered || self.tables.flows.len() < 16 {
                self.faults.push(format!("ended without need: {ends:?}"));
            }
            self.close(&ends);
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
        // When two begin, the model cannot tell for which of them another gave way.
        if self.opened.len() == self.seen.opened.len() {
            self.displace();
        }
        self.tables.flows.insert(
            ends,
            Flow {
                record,
                host,
                inbound: must.is_some(),
                asked: false,
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
        if must.is_none() {
            let paired = *self
                .tables
                .paired
                .entry((inside, uplink))
                .or_insert(record.outside);
            check(
                paired == record.outside,
                "another outside address than before",
            )?;
        }
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
        let pair = matches!(
            Number::of(ends.protocol, 0, v4(ends.remote)),
            Number::Pair(..)
        );
        if self.seen.verdict == Some(Verdict::DropNoPort) && !full && pair {
            self.collisions += 1;
            return Verdict::DropNoPort.into();
        }
        if self.seen.verdict == Some(Verdict::DropNoPort) && full {
            return Verdict::DropNoPort.into();
        }
        self.faults
            .push(format!("did not begin: {ends:?} by uplink {uplink}"));
        Verdict::DropInternal.into()
    }
}
