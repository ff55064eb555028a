//! ICMP errors: each belongs to the flow whose packet it quotes (RFC 5508 section 4).

use std::net::{IpAddr, Ipv4Addr};

use multihome_common::verdict::Verdict;

use super::{
    gateway::{Fate, Gateway, Stop},
    lan::steered,
    packet::{Packet, be, number, v4},
    rewrite::{End, Out},
    site::RESERVED,
    tables::{Ends, Number},
};

/// What an ICMP error quotes.
struct Quoted {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    /// Source and destination port; of a query its identifier, twice.
    ports: (u16, u16),
}

impl Quoted {
    /// RFC 792: an IP header, options included, and eight bytes behind it.
    fn read(packet: &Packet<'_>) -> Option<Self> {
        let message = packet.payload();
        if !matches!(message.first()?, 3 | 11 | 12) {
            return None;
        }
        let inner = message.get(8..)?;
        let header = inner.get(..20)?;
        let header_len = usize::from(header[0] & 15) * 4;
        if header[0] >> 4 != 4 || header_len < 20 || be(&header[6..]) & 0x1fff != 0 {
            return None;
        }
        let address =
            |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let ports = match header[9] {
            number::TCP | number::UDP => {
                let ports = inner.get(header_len..header_len + 4)?;
                (be(ports), be(&ports[2..]))
            }
            number::ICMP => {
                let query = inner.get(header_len..header_len + 8)?;
                (be(&query[4..]), be(&query[4..]))
            }
            _ => {
                inner.get(..header_len)?;
                (0, 0)
            }
        };
        Some(Self {
            source: address(12),
            destination: address(16),
            protocol: header[9],
            ports,
        })
    }

    /// The flow of a quoted packet that was on its way to a LAN host.
    fn to_host(&self) -> Ends {
        let query = self.protocol == number::ICMP;
        Ends {
            inside: IpAddr::V4(self.destination),
            remote: IpAddr::V4(self.source),
            protocol: self.protocol,
            inside_port: self.ports.1,
            remote_port: if query { 0 } else { self.ports.0 },
        }
    }
}

impl Gateway {
    /// About a packet that came from the internet.
    pub(super) fn error_from_lan(&mut self, packet: &Packet<'_>) -> Result<Fate, Stop> {
        let quoted = if packet.is_v6() {
            None
        } else {
            Quoted::read(packet)
        };
        if let Some(quoted) = &quoted
            && self.site.tracked()
            && let Some(flow) = self.tables.flows.get(&quoted.to_host())
        {
            let record = flow.record;
            if self.words.alive >> record.uplink & 1 == 0 {
                return Err(Verdict::DropUnknownError.into());
            }
            if packet.len() > usize::from(self.mtu(record.uplink)) {
                return Err(Verdict::DropTooBig.into());
            }
            let out = Out::unchanged(packet.frame)
                .translate_quoted(
                    packet.transport,
                    packet.end,
                    End::Destination,
                    (record.outside, record.port),
                )
                .translate(
                    packet.at,
                    packet.end,
                    End::Source,
                    (record.outside, 0),
                    false,
                );
            return Ok(self.leave(packet, out, record.uplink));
        }
        let about = match quoted {
            Some(quoted) => {
                let ports = matches!(quoted.protocol, number::TCP | number::UDP);
                Ends {
                    inside: IpAddr::V4(quoted.destination),
                    remote: IpAddr::V4(quoted.source),
                    protocol: quoted.protocol,
                    inside_port: if ports { quoted.ports.1 } else { 0 },
                    remote_port: if ports { quoted.ports.0 } else { 0 },
                }
            }
            None => about6(packet).unwrap_or_else(|| steered(packet)),
        };
        let id = self.owner(&about, packet)?;
        if !packet.is_v6() && self.translates(id) {
            return Err(Verdict::DropUnknownError.into());
        }
        self.send(packet, id)
    }

    /// From one LAN host to another, about what came by an outside address (RFC 5508 REQ-7).
    pub(super) fn error_between(&mut self, packet: &Packet<'_>, id: u8) -> Result<Fate, Stop> {
        let gateway = Stop::Verdict(Verdict::PassGateway);
        let quoted = Quoted::read(packet).ok_or(gateway)?;
        let record = self
            .tables
            .flows
            .get(&quoted.to_host())
            .ok_or(gateway)?
            .record;
        if record.uplink != id {
            return Err(Verdict::DropUnknownError.into());
        }
        let out = Out::unchanged(packet.frame)
            .translate_quoted(
                packet.transport,
                packet.end,
                End::Destination,
                (record.outside, record.port),
            )
            .translate(
                packet.at,
                packet.end,
                End::Source,
                (record.outside, 0),
                false,
            );
        // From here on it is one from outside, but that nobody would know it any more.
        let inner = Packet::read(&out.bytes).map_err(Stop::Verdict)?;
        match self.error_from_uplink(&inner, id, v4(packet.destination)) {
            Err(Stop::Verdict(Verdict::PassGateway)) => Err(Verdict::DropNoNeighbour.into()),
            fate => fate,
        }
    }

    /// About a packet that left with an outside address.
    pub(super) fn error_from_uplink(
        &mut self,
        packet: &Packet<'_>,
        id: u8,
        outside: Ipv4Addr,
    ) -> Result<Fate, Stop> {
        let gateway = Stop::Verdict(Verdict::PassGateway);
        let quoted = Quoted::read(packet).ok_or(gateway)?;
        let port = quoted.ports.0;
        let with_ports = matches!(quoted.protocol, number::TCP | number::UDP);
        let number = Number::of(quoted.protocol, port, quoted.destination);
        let to = self
            .tables
            .numbers
            .get(&(outside, number))
            .copied()
            .ok_or(gateway)?;
        if quoted.source != outside || port == RESERVED && with_ports {
            return Err(gateway);
        }
        let ends = Ends {
            inside: IpAddr::V4(to.inside),
            remote: IpAddr::V4(quoted.destination),
            protocol: quoted.protocol,
            inside_port: to.port,
            remote_port: if with_ports { quoted.ports.1 } else { 0 },
        };
        let unknown = Stop::Verdict(Verdict::DropUnknownError);
        let flow = *self.tables.flows.get(&ends).ok_or(unknown)?;
        let pair = matches!(number, Number::Pair(..));
        if flow.record.uplink != id
            || flow.record.outside != outside
            || !pair && flow.record.port != port
        {
            return Err(unknown);
        }
        if packet.ttl <= 1 {
            return Err(Verdict::DropHopLimit.into());
        }
        if packet.len() > usize::from(flow.host.mtu) {
            return Err(Verdict::DropTooBig.into());
        }
        let out = Out::unchanged(packet.frame)
            .translate_quoted(
                packet.transport,
                packet.end,
                End::Source,
                (to.inside, to.port),
            )
            .translate(
                packet.at,
                packet.end,
                End::Destination,
                (to.inside, 0),
                false,
            );
        Ok(Self::hand_over(packet, out, flow.host))
    }
}

/// The flow of the packet that an ICMPv6 error, or what might be one, quotes.
fn about6(packet: &Packet<'_>) -> Option<Ends> {
    if !packet.is_v6() {
        return None;
    }
    let inner = packet.payload().get(8..)?;
    let header = inner.get(..40)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |at: usize| {
        IpAddr::from(<[u8; 16]>::try_from(&header[at..at + 16]).expect("sixteen bytes"))
    };
    let (inside_port, remote_port) = match header[6] {
        number::TCP | number::UDP => {
            let ports = inner.get(40..44)?;
            (be(&ports[2..]), be(ports))
        }
        _ => (0, 0),
    };
    Some(Ends {
        inside: address(24),
        remote: address(8),
        protocol: header[6],
        inside_port,
        remote_port,
    })
}
