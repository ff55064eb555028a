//! Packets from the LAN, and those that LAN hosts send each other by an outside address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multihome_common::{address::Class, verdict::Verdict};

use super::{
    gateway::{Fate, Gateway, Stop, unknown_connection},
    packet::{Packet, be, flag, number, v4},
    rewrite::{End, Out},
    site::{GATEWAY, Host, INSIDE6, LAN_MTU, Port, RESERVED},
    tables::{Course, Datagram, Ends, Mapping, Number},
};

/// What steering knows of a packet from the LAN.
pub fn steered(packet: &Packet<'_>) -> Ends {
    let (inside_port, remote_port) = packet.steering_ports();
    Ends {
        inside: packet.source,
        remote: packet.destination,
        protocol: packet.protocol,
        inside_port,
        remote_port,
    }
}

/// What steering knows of a packet where flows are looked up: also a first fragment has its ports.
pub fn steered_flow(packet: &Packet<'_>) -> Result<Ends, Stop> {
    let mut ends = steered(packet);
    if packet.fragment && matches!(packet.protocol, number::TCP | number::UDP) {
        (ends.inside_port, ends.remote_port) = numbers(packet)?;
    }
    Ok(ends)
}

/// The flow of a packet from the LAN, and nothing where its transport header is not whole: what
/// translation must change has to be there.
pub fn ends_of(packet: &Packet<'_>) -> Result<Ends, Stop> {
    let (inside_port, remote_port) = numbers(packet)?;
    let remote_port = if packet.protocol == number::ICMP {
        0
    } else {
        remote_port
    };
    Ok(Ends {
        inside_port,
        remote_port,
        ..steered(packet)
    })
}

/// Source and destination port, or the identifier twice.
pub fn numbers(packet: &Packet<'_>) -> Result<(u16, u16), Stop> {
    let header = packet.payload();
    let needed = match packet.protocol {
        number::TCP => 18,
        number::UDP | number::ICMP => 8,
        _ => return Ok((0, 0)),
    };
    if header.len() < needed {
        return Err(Verdict::DropTruncated.into());
    }
    if packet.protocol == number::ICMP {
        return Ok((be(&header[4..]), be(&header[4..])));
    }
    Ok((be(header), be(&header[2..])))
}

/// RFC 1812 section 5.3.7, RFC 3927 section 2.7; RFC 4291 sections 2.5 and 2.7.
pub fn is_martian(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            matches!(address.octets(), [0 | 127 | 224.., ..] | [169, 254, ..])
        }
        IpAddr::V6(address) => {
            u128::from(address) < 2
                || address.is_multicast()
                || address.segments()[0] >> 6 == 0xfe80 >> 6
        }
    }
}

/// Whether an ICMP message asks for an answer, and keeps its identifier (RFC 792).
fn is_query(packet: &Packet<'_>) -> bool {
    matches!(packet.payload().first(), Some(8 | 13))
}

impl Gateway {
    pub(super) fn outbound(&mut self, packet: &Packet<'_>) -> Result<Fate, Stop> {
        let tracked = !packet.is_v6() && self.site.tracked();
        match self.site.class(packet.destination) {
            Class::Internet => {}
            Class::Gateway if tracked => return self.hairpin(packet),
            Class::Gateway => return Err(Verdict::PassGateway.into()),
            Class::Outside => return self.hairpin6(packet),
            Class::OnLink | Class::Lan => return Err(Verdict::PassOnLink.into()),
            Class::Special => return Err(Verdict::PassSpecial.into()),
        }
        if is_martian(packet.source) {
            return Err(Verdict::DropMartianSource.into());
        }
        if packet.ttl <= 1 {
            return Err(Verdict::ReplyTimeExceeded.into());
        }
        if tracked && packet.later {
            return self.later(packet, Port::Lan);
        }
        if !packet.later && packet.is_error() {
            return self.error_from_lan(packet);
        }
        if tracked {
            return self.translate(packet);
        }
        let id = self.pinned(&steered(packet), packet)?;
        self.send(packet, id)
    }

    /// A packet of a flow that is followed, or that must be from now on.
    fn translate(&mut self, packet: &Packet<'_>) -> Result<Fate, Stop> {
        let ends = ends_of(packet)?;
        let mut known = self.tables.flows.get(&ends).copied();
        if let Some(flow) = known
            && self.lost(&flow, packet)?
        {
            known = None;
        }
        if known.is_none() {
            let mut id = self.owner(&steered_flow(packet)?, packet)?;
            if !self.translates(id) {
                id = self.pinned(&steered_flow(packet)?, packet)?;
            }
            if !self.translates(id) {
                if packet.fragment && packet.len() <= usize::from(self.mtu(id)) {
                    let addresses = (v4(packet.source), v4(packet.destination));
                    self.remember(packet, Port::Lan, addresses, Some(id), None);
                }
                return self.send(packet, id);
            }
            may_open(packet)?;
            self.open(ends, id, sender(packet), None)?;
        }
        let id = self.tables.flows[&ends].record.uplink;
        if packet.len() > usize::from(self.mtu(id)) {
            return Err(Stop::TooBig(self.mtu(id)));
        }
        let out = self.note_outward(packet, &ends);
        if packet.fragment {
            let outside = self.tables.flows[&ends].record.outside;
            self.remember(
                packet,
                Port::Lan,
                (outside, v4(packet.destination)),
                Some(id),
                None,
            );
        }
        Ok(self.leave(packet, out, id))
    }

    /// Whether an uplink gives IPv4 packets an outside address: without it none may leave there.
    pub(super) fn translates(&self, id: u8) -> bool {
        !self.site.uplinks[usize::from(id)].outside.is_empty()
    }

    /// Translates the source of a packet of a known flow.
    fn note_outward(&mut self, packet: &Packet<'_>, ends: &Ends) -> Out {
        let flow = self.tables.flows.get_mut(ends).expect("a known flow");
        flow.host = sender(packet);
        flow.asked = true;
        Self::translated(packet, End::Source, (flow.record.outside, flow.record.port))
    }

    /// From one LAN host to another by an outside address (RFC 4787 REQ-9).
    fn hairpin(&mut self, packet: &Packet<'_>) -> Result<Fate, Stop> {
        let gateway = Stop::Verdict(Verdict::PassGateway);
        let destination = v4(packet.destination);
        let id = self.site.owner_of(destination).ok_or(gateway)?;
        if !packet.later && packet.is_error() {
            return self.error_between(packet, id);
        }
        if packet.later {
            return self.later(packet, Port::Lan);
        }
        if !matches!(packet.protocol, number::TCP | number::UDP) {
            return Err(gateway);
        }
        let ends = ends_of(packet)?;
        let to = self
            .mapping(destination, packet.protocol, ends.remote_port)
            .ok_or(gateway)?;
        if packet.ttl <= 1 {
            return Err(Verdict::ReplyTimeExceeded.into());
        }
        if !self.tables.flows.contains_key(&ends) {
            may_open(packet)?;
            self.open(ends, id, sender(packet), None)?;
        }
        if self.tables.flows[&ends].record.uplink != id {
            return Err(Verdict::DropFiltered.into());
        }
        if self
            .mapping(destination, packet.protocol, ends.remote_port)
            .is_none()
        {
            // The new flow has displaced the one that this was for.
            let unasked = self.site.conduct.drop_unasked;
            return Err(if unasked {
                Verdict::DropUnasked
            } else {
                Verdict::DropNoNeighbour
            }
            .into());
        }
        let out = self.note_outward(packet, &ends);
        let record = self.tables.flows[&ends].record;
        let back = Ends {
            inside: IpAddr::V4(to.inside),
            remote: IpAddr::V4(record.outside),
            protocol: packet.protocol,
            inside_port: to.port,
            remote_port: record.port,
        };
        // What cannot go on is dropped: its source is translated already.
        let host = match self.accept(packet, &back, id, &to, (destination, ends.remote_port)) {
            Ok(host) => host,
            Err(Stop::TooBig(_)) => return Err(Verdict::DropTooBig.into()),
            Err(stop) => return Err(stop),
        };
        if packet.fragment {
            let addresses = (record.outside, to.inside);
            self.remember(packet, Port::Lan, addresses, None, Some(host));
        }
        let out = out.translate(
            packet.at,
            packet.end,
            End::Destination,
            (to.inside, to.port),
            true,
        );
        Ok(Self::hand_over(packet, out, host))
    }

    /// From one LAN host to another by an address under an uplink's prefix (RFC 6296 section 4.3).
    fn hairpin6(&mut self, packet: &Packet<'_>) -> Result<Fate, Stop> {
        let IpAddr::V6(destination) = packet.destination else {
            unreachable!("IPv4 has no prefixes");
        };
        let (id, prefix, length) = self
            .site
            .is_under_prefix(destination)
            .expect("its class says so");
        let back = |address| super::prefix::translate(address, prefix, INSIDE6, length);
        let inside = back(destination).ok_or(Verdict::DropNoPrefix)?;
        if self.site.class(inside.into()) != Class::Lan {
            return Err(Verdict::PassOnLink.into());
        }
        if is_martian(packet.source) {
            return Err(Verdict::DropMartianSource.into());
        }
        if packet.ttl <= 1 {
            return Err(Verdict::ReplyTimeExceeded.into());
        }
        let host = self.host(inside.into());
        if let Some(host) = host
            && packet.len() > usize::from(host.mtu)
        {
            return Err(Stop::TooBig(host.mtu));
        }
        let mut out = self.under_prefix(packet, id)?;
        if let Some((source, _, at)) = quoted6(packet)
            && super::prefix::has(source, prefix, length)
            && let Some(inside) = back(source)
        {
            out = out.set6(at + 8, inside);
        }
        let out = out.set6(packet.at + 24, inside);
        Ok(match host {
            Some(host) => Self::hand_over(packet, out, host),
            None => Self::to_kernel(out),
        })
    }

    /// Whose an outside port is; nothing where it is the gateway's own, or nobody's.
    pub(super) fn mapping(&self, address: Ipv4Addr, protocol: u8, port: u16) -> Option<Mapping> {
        if port == RESERVED && matches!(protocol, number::TCP | number::UDP) {
            return None;
        }
        let number = Number::of(protocol, port, address);
        self.tables.numbers.get(&(address, number)).copied()
    }

    /// Sends a packet whose IPv4 addresses stay as they are.
    pub(super) fn send(&mut self, packet: &Packet<'_>, id: u8) -> Result<Fate, Stop> {
        if packet.len() > usize::from(self.mtu(id)) {
            return Err(Stop::TooBig(self.mtu(id)));
        }
        let out = self.under_prefix(packet, id)?;
        Ok(self.leave(packet, out, id))
    }

    /// The packet with its source under the uplink's prefix, if that has one for it.
    fn under_prefix(&self, packet: &Packet<'_>, id: u8) -> Result<Out, Stop> {
        let mut out = Out::unchanged(packet.frame);
        if let IpAddr::V6(source) = packet.source
            && self.is_prefixed(id, packet.source)
        {
            let under = |address| self.outward6(id, address);
            let outside = under(source).ok_or(Verdict::DropNoPrefix)?;
            if let Some((_, destination, at)) = quoted6(packet)
                && let Some(outside) = under(destination)
            {
                out = out.set6(at + 24, outside);
            }
            out = out.set6(packet.at + 8, outside);
        }
        Ok(out)
    }

    /// Whether an uplink gives a LAN address another prefix.
    pub(super) fn is_prefixed(&self, id: u8, address: IpAddr) -> bool {
        let prefix = self.site.uplinks[usize::from(id)].prefix;
        match (address, prefix) {
            (IpAddr::V6(address), Some((_, length))) => {
                super::prefix::has(address, INSIDE6, length.max(48))
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _) => false,
        }
    }

    fn outward6(&self, id: u8, address: Ipv6Addr) -> Option<Ipv6Addr> {
        let (prefix, length) = self.site.uplinks[usize::from(id)].prefix?;
        if !super::prefix::has(address, INSIDE6, length) {
            return None;
        }
        super::prefix::translate(address, INSIDE6, prefix, length)
    }

    pub(super) fn remember(
        &mut self,
        packet: &Packet<'_>,
        port: Port,
        (source, destination): (Ipv4Addr, Ipv4Addr),
        uplink: Option<u8>,
        host: Option<Host>,
    ) {
        let course = Course {
            source,
            destination,
            uplink,
            host,
        };
        self.tables.datagrams.insert(datagram(packet, port), course);
    }
}

/// The datagram of a fragment.
pub fn datagram(packet: &Packet<'_>, port: Port) -> Datagram {
    Datagram {
        port,
        source: v4(packet.source),
        destination: v4(packet.destination),
        protocol: packet.protocol,
        identification: packet.identification,
    }
}

/// What an ICMPv6 error quotes: source, destination, and where it stands. Only what is there whole.
pub fn quoted6(packet: &Packet<'_>) -> Option<(Ipv6Addr, Ipv6Addr, usize)> {
    let message = packet.payload();
    if packet.protocol != number::ICMP6 || packet.later || *message.first()? >= 128 {
        return None;
    }
    let header = message.get(8..48)?;
    let address = |at: usize| {
        Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).expect("sixteen bytes"))
    };
    Some((address(8), address(24), packet.transport + 8))
}

/// Whether a packet may be a flow's first (RFC 5382 REQ-4, RFC 5508 REQ-1).
fn may_open(packet: &Packet<'_>) -> Result<(), Stop> {
    if packet.protocol == number::TCP && packet.tcp_flags() & flag::SYN == 0 {
        return Err(unknown_connection(packet));
    }
    if packet.protocol == number::ICMP && !is_query(packet) {
        return Err(Verdict::DropUnknownError.into());
    }
    Ok(())
}

/// Where the station is that sent a frame.
fn sender(packet: &Packet<'_>) -> Host {
    Host {
        mac: packet.sender(),
        from: GATEWAY,
        mtu: LAN_MTU,
    }
}
