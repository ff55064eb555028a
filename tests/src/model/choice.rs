//! Which uplink a packet takes: the one that its flow keeps to, else one that may rank first.

use std::{collections::BTreeSet, net::IpAddr};

use multihome_common::verdict::Verdict;

use super::{
    gateway::{Gateway, Stop, unknown_connection},
    lan::steered_flow,
    packet::{Packet, be, flag, number},
    site::{Uplink, Words},
    tables::{Ends, Flow, Pin},
};

impl Gateway {
    /// The uplink that what was seen speaks of.
    fn hint(&self, packet: &Packet<'_>) -> Option<u8> {
        if let Some(record) = self.seen.opened.first() {
            return Some(record.uplink);
        }
        match self.seen.verdict {
            Some(Verdict::Forwarded) => self.seen.uplink,
            Some(Verdict::ReplyTooBig) => {
                let at = packet.at + if packet.is_v6() { 46 } else { 26 };
                let mtu = be(self.seen.output.get(at..at + 2)?);
                let is = |uplink: &Uplink| uplink.mtu == mtu;
                self.site.uplinks.iter().position(is).map(|id| id as u8)
            }
            // No address has no counterpart under both prefixes.
            Some(Verdict::DropNoPrefix) => match packet.source {
                IpAddr::V6(source) => Some(u8::from(source.segments()[3] != 0xffff)),
                IpAddr::V4(_) => None,
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

    /// Which uplinks fit what was seen: that a packet was too big says that its uplink is too small,
    /// but not which it is.
    fn plausible(&self, packet: &Packet<'_>) -> [bool; 3] {
        [0, 1, 2].map(|id| {
            let small = usize::from(self.mtu(id)) < packet.len();
            let small = small && (packet.is_v6() || !self.translates(id));
            small || self.seen.verdict != Some(Verdict::DropTooBig)
        })
    }

    /// The uplink that ranks first for a flow.
    fn first(&mut self, ends: &Ends, packet: &Packet<'_>) -> Result<u8, Stop> {
        let (hashed, word) = (self.hashed(ends), self.word());
        let plausible = self.plausible(packet);
        if plausible != [true; 3] {
            self.tables
                .learn(&hashed, word, |first| plausible[usize::from(first)]);
        }
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
    /// enough. The one that it is on counts whether or not it takes new flows.
    fn returns(&mut self, ends: &Ends, id: u8, seen: bool) -> Result<bool, Stop> {
        let settled = self.words.settled;
        if settled == 0 {
            return Ok(false);
        }
        let (hashed, word) = (self.hashed(ends), self.words.eligible | 1 << id);
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

    pub(super) fn is_alive(&self, id: u8) -> bool {
        self.words.alive >> id & 1 == 1
    }

    /// The uplink for a new flow.
    fn choose(&mut self, ends: &Ends, packet: &Packet<'_>) -> Result<u8, Stop> {
        if self.site.conduct.by_source {
            return self.related(ends, packet);
        }
        self.first(ends, packet)
    }

    /// The uplink of all that a LAN host does, while that is eligible and none that is better has been
    /// up for long enough; as far as it is known.
    fn related(&mut self, ends: &Ends, packet: &Packet<'_>) -> Result<u8, Stop> {
        let (hashed, word) = (self.hashed(ends), self.word());
        let Words {
            eligible, settled, ..
        } = self.words;
        let firsts = self.tables.firsts(&hashed, word);
        if firsts.is_empty() {
            return Err(Verdict::ReplyUnreachable.into());
        }
        let related = self.tables.related(ends.inside);
        let mut options = BTreeSet::new();
        for &id in &related {
            if eligible >> id & 1 == 0 {
                options.extend(&firsts);
                continue;
            }
            let moves = |first: &u8| settled >> first & 1 == 1;
            options.extend(firsts.iter().filter(|first| moves(first)));
            if !firsts.iter().all(moves) {
                options.insert(id);
            }
        }
        if !self.tables.relations.contains_key(&ends.inside) {
            options.extend(&firsts);
        }
        let plausible = self.plausible(packet);
        options.retain(|&id| plausible[usize::from(id)]);
        let hint = self.hint(packet).filter(|id| options.contains(id));
        if let Some(id) = hint {
            options = BTreeSet::from([id]);
        } else if options.len() > 1 {
            self.unsure.extend(&options);
        }
        if related.is_empty() && hint.is_some() {
            self.tables
                .learn(&hashed, word, |first| options.contains(&first));
        }
        let Some(&id) = options.first() else {
            self.fault(format!("no uplink explains {ends:?}"));
            return Err(Verdict::DropInternal.into());
        };
        self.tables.relations.insert(ends.inside, options);
        Ok(id)
    }

    /// The uplink of a flow without a packet of its own.
    pub(super) fn owner(&mut self, ends: &Ends, packet: &Packet<'_>) -> Result<u8, Stop> {
        match self.tables.pins.get(ends) {
            // With nothing else to take, it stays where it is.
            Some(pin) if self.is_alive(pin.uplink) || self.words.eligible == 0 => Ok(pin.uplink),
            _ => self.choose(ends, packet),
        }
    }

    /// The uplink of a flow without a record.
    pub(super) fn pinned(&mut self, ends: &Ends, packet: &Packet<'_>) -> Result<u8, Stop> {
        if let Some(pin) = self.tables.pins.get(ends).copied()
            && self.stays(ends, pin, packet)?
        {
            return Ok(pin.uplink);
        }
        let uplink = self.choose(ends, packet)?;
        if !self.unsure.is_empty() {
            self.ambiguous += 1;
            self.doubts.push((*ends, self.unsure.clone()));
        }
        self.tables.pins.insert(
            *ends,
            Pin {
                uplink,
                inbound: false,
            },
        );
        Ok(uplink)
    }

    fn stays(&mut self, ends: &Ends, pin: Pin, packet: &Packet<'_>) -> Result<bool, Stop> {
        let (id, alive) = (pin.uplink, self.is_alive(pin.uplink));
        if alive {
            // Only where flows are opened, or end, is any of this said.
            let elsewhere = matches!(
                self.seen.verdict,
                Some(
                    Verdict::ReplyReset
                        | Verdict::DropUnknownConnection
                        | Verdict::DropUnknownError
                        | Verdict::DropTruncated
                        | Verdict::DropNoPort
                        | Verdict::DropNoFlow
                )
            );
            let moved = elsewhere || self.hint(packet).is_some_and(|hint| hint != id);
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
            let steered = steered_flow(packet)?;
            let stays = flow.record.forward || flow.inbound;
            if stays || !self.returns(&steered, id, ended)? {
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
}
