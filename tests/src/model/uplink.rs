//! Packets from an uplink.

use std::net::{IpAddr, Ipv4Addr};

use multihome_common::{address::Class, verdict::Verdict};

use super::{
    gateway::{Fate, Gateway, Stop},
    lan::{datagram, is_martian, numbers, quoted6},
    packet::{Packet, number, v4},
    rewrite::{End, Out},
    site::{Host, INSIDE6, LAN_MTU, Port},
    tables::{Ends, Mapping, Number, Pin},
};

impl Gateway {
    pub(super) fn inbound(&mut self, packet: &Packet<'_>, id: u8) -> Result<Fate, Stop> {
        if let IpAddr::V4(destination) = packet.destination
            && self.site.owner_of(destination) == Some(id)
        {
            return if packet.later {
                self.later(packet, Port::Uplink(id))
            } else if packet.is_error() {
                self.error_from_uplink(packet, id, destination)
            } else {
                self.inward(packet, id, destination)
            };
        }
        self.deliver(packet, id)
    }

    /// For an outside address: to the LAN host whose port it is.
    fn inward(&mut self, packet: &Packet<'_>, id: u8, outside: Ipv4Addr) -> Result<Fate, Stop> {
        let (remote_port, port) = numbers(packet)?;
        let answers = matches!(packet.payload().first(), Some(0 | 14));
        if packet.protocol == number::ICMP && !answers {
            return Err(Verdict::PassGateway.into());
        }
        let own =
            super::site::RESERVED == port && matches!(packet.protocol, number::TCP | number::UDP);
        let number = Number::of(packet.protocol, port, v4(packet.source));
        let Some(to) = self
            .tables
            .numbers
            .get(&(outside, number))
            .copied()
            .filter(|_| !own)
        else {
            let pair = matches!(number, Number::Pair(..));
            if pair && self.seen.verdict == Some(Verdict::DropFiltered) {
                self.collisions += 1;
                return Err(Verdict::DropFiltered.into());
            }
            let unasked = self.site.conduct.drop_unasked && !own;
            return Err(if unasked {
                Verdict::DropUnasked
            } else {
                Verdict::PassGateway
            }
            .into());
        };
        self.check_source(packet)?;
        let with_ports = matches!(packet.protocol, number::TCP | number::UDP);
        let ends = Ends {
            inside: IpAddr::V4(to.inside),
            remote: packet.source,
            protocol: packet.protocol,
            inside_port: to.port,
            remote_port: if with_ports { remote_port } else { 0 },
        };
        let host = self.accept(packet, &ends, id, &to, (outside, port))?;
        if packet.fragment {
            let addresses = (v4(packet.source), to.inside);
            self.remember(packet, Port::Uplink(id), addresses, None, Some(host));
        }
        let out = Self::translated(packet, End::Destination, (to.inside, to.port));
        Ok(Self::hand_over(packet, out, host))
    }

    /// RFC 2827: nobody out there has a LAN's or the gateway's address, nor one that nobody has.
    fn check_source(&self, packet: &Packet<'_>) -> Result<(), Stop> {
        let inside = matches!(self.site.class(packet.source), Class::Lan | Class::Gateway);
        if inside || is_martian(packet.source) {
            return Err(Verdict::DropMartianSource.into());
        }
        Ok(())
    }

    /// Whether a packet to a mapped port is let in (RFC 4787 REQ-8), and to which host.
    pub(super) fn accept(
        &mut self,
        packet: &Packet<'_>,
        ends: &Ends,
        id: u8,
        to: &Mapping,
        (outside, port): (Ipv4Addr, u16),
    ) -> Result<Host, Stop> {
        match self.tables.flows.get(ends) {
            Some(flow) => {
                let record = flow.record;
                let pair = matches!(Number::of(ends.protocol, 0, outside), Number::Pair(..));
                if record.uplink != id || record.outside != outside || !pair && record.port != port
                {
                    return Err(Verdict::DropFiltered.into());
                }
            }
            None => {
                if !to.forward && !self.site.conduct.open_filter {
                    return Err(Verdict::DropFiltered.into());
                }
                let host = self.host(ends.inside).ok_or(Verdict::DropNoNeighbour)?;
                self.open(*ends, id, host, Some((outside, port)))?;
            }
        }
        if packet.ttl <= 1 {
            return Err(Verdict::ReplyTimeExceeded.into());
        }
        let flow = self
            .tables
            .flows
            .get_mut(ends)
            .expect("it is known or was opened");
        if packet.len() > usize::from(flow.host.mtu) {
            return Err(Stop::TooBig(flow.host.mtu));
        }
        flow.answered = true;
        Ok(flow.host)
    }

    pub(super) fn host(&self, address: IpAddr) -> Option<Host> {
        let hosts = self.site.hosts();
        hosts
            .into_iter()
            .find(|(known, _)| *known == address)
            .map(|(_, host)| host)
    }

    /// For a LAN host's own address, or one under the uplink's prefix.
    fn deliver(&mut self, packet: &Packet<'_>, id: u8) -> Result<Fate, Stop> {
        let mut inside = packet.destination;
        let mut class = self.site.class(inside);
        if let (IpAddr::V6(outside), Some((prefix, length))) =
            (inside, self.site.uplinks[usize::from(id)].prefix)
            && super::prefix::has(outside, prefix, length)
            && !matches!(class, Class::Gateway | Class::Special)
        {
            let address = super::prefix::translate(outside, prefix, INSIDE6, length);
            inside = IpAddr::V6(address.ok_or(Verdict::DropNoPrefix)?);
            class = self.site.class(inside);
        }
        match class {
            Class::Lan => {}
            Class::Gateway => return Err(Verdict::PassGateway.into()),
            Class::OnLink | Class::Internet | Class::Outside => {
                return Err(Verdict::PassNotOurs.into());
            }
            Class::Special => return Err(Verdict::PassSpecial.into()),
        }
        self.check_source(packet)?;
        if packet.ttl <= 1 {
            return Err(Verdict::ReplyTimeExceeded.into());
        }
        if packet.may_be_answered() {
            let (remote_port, inside_port) = packet.steering_ports();
            let ends = Ends {
                inside,
                remote: packet.source,
                protocol: packet.protocol,
                inside_port,
                remote_port,
            };
            // A flow that nobody inside has begun leaves by the uplink that it came in by.
            self.tables.pins.entry(ends).or_insert(Pin {
                uplink: id,
                inbound: true,
            });
        }
        let host = self.host(inside);
        if let Some(host) = host
            && packet.len() > usize::from(host.mtu)
        {
            return Err(Stop::TooBig(host.mtu));
        }
        let mut out = Out::unchanged(packet.frame);
        if let (IpAddr::V6(address), true) = (inside, inside != packet.destination) {
            let (prefix, length) = self.site.uplinks[usize::from(id)]
                .prefix
                .expect("it was translated");
            if let Some((source, _, at)) = quoted6(packet)
                && super::prefix::has(source, prefix, length)
                && let Some(inside) = super::prefix::translate(source, prefix, INSIDE6, length)
            {
                out = out.set6(at + 8, inside);
            }
            out = out.set6(packet.at + 24, address);
        }
        Ok(match host {
            Some(host) => Self::hand_over(packet, out, host),
            None => Self::to_kernel(out),
        })
    }

    /// A later fragment of IPv4, which goes the way of the first.
    pub(super) fn later(&mut self, packet: &Packet<'_>, port: Port) -> Result<Fate, Stop> {
        // What is for an address of the gateway may be its own.
        let unknown = match self.site.owner_of(v4(packet.destination)) {
            None => Verdict::DropEarlyFragment,
            Some(_) => Verdict::PassFragment,
        };
        let key = datagram(packet, port);
        let course = *self.tables.datagrams.get(&key).ok_or(unknown)?;
        if self.seen.verdict == Some(unknown)
            && course
                .uplink
                .is_none_or(|id| self.words.alive >> id & 1 == 1)
        {
            // The table is small and forgets, also when another first fragment of the same
            // identification was refused since; the test says how often it may.
            self.forgotten += 1;
            return Err(unknown.into());
        }
        let mtu = match (course.uplink, course.host) {
            (Some(id), _) => self.mtu(id),
            (None, Some(host)) => host.mtu,
            (None, None) => LAN_MTU,
        };
        if packet.len() > usize::from(mtu) {
            return Err(Verdict::DropTooBig.into());
        }
        if packet.ttl <= 1 {
            return Err(Verdict::DropHopLimit.into());
        }
        if let Some(id) = course.uplink
            && self.words.alive >> id & 1 == 0
            && self.words.eligible != 0
        {
            return Err(Verdict::DropEarlyFragment.into());
        }
        let mut out = Out::unchanged(packet.frame);
        for (side, old, new) in [
            (End::Source, packet.source, course.source),
            (End::Destination, packet.destination, course.destination),
        ] {
            if old != IpAddr::V4(new) {
                out = out.translate(packet.at, packet.end, side, (new, 0), false);
            }
        }
        Ok(match (course.uplink, course.host) {
            (Some(id), _) => self.leave(packet, out, id),
            (None, Some(host)) => Self::hand_over(packet, out, host),
            (None, None) => unreachable!("a fragment leaves, or goes to a host"),
        })
    }
}
