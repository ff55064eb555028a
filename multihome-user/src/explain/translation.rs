//! What the path has made of a packet's addresses: read from the packet before and after.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use multihome_common::{
    state::IPV4,
    uplink::{MODE_NAT44, MODE_NPTV6, UplinkEntry},
};

use super::Translation;

/// The ends of a packet: addresses, and ports where it has some.
#[derive(PartialEq, Eq)]
struct Ends {
    source: IpAddr,
    destination: IpAddr,
    ports: (Option<u16>, Option<u16>),
}

/// What became of a packet's ends; `None` when they stayed. `uplink` is the entry of the one it leaves by.
pub fn found(
    before: &[u8],
    after: &[u8],
    uplink: Option<&UplinkEntry>,
    family: usize,
) -> Option<Translation> {
    let (before, after) = (ends(before)?, ends(after)?);
    if before == after {
        return None;
    }
    let mode = match uplink.map(|entry| entry.mode[family]) {
        None => "hairpin",
        Some(MODE_NAT44) => "nat44",
        Some(MODE_NPTV6) => "nptv6",
        Some(_) if family == IPV4 => "nat44",
        Some(_) => "nptv6",
    };
    Some(Translation {
        mode: mode.to_owned(),
        source: after.source,
        source_port: after.ports.0,
        destination: after.destination,
        destination_port: after.ports.1,
    })
}

fn ends(frame: &[u8]) -> Option<Ends> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let (source, destination): (IpAddr, IpAddr) = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
            )
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
            )
        }
        LaxNetSlice::Arp(_) => return None,
    };
    let ports = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (Some(tcp.source_port()), Some(tcp.destination_port())),
        Some(TransportSlice::Udp(udp)) => (Some(udp.source_port()), Some(udp.destination_port())),
        Some(TransportSlice::Icmpv4(icmp)) => {
            let bytes = icmp.bytes5to8();
            (Some(u16::from_be_bytes([bytes[0], bytes[1]])), None)
        }
        Some(TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_)) | None => (None, None),
    };
    Some(Ends {
        source,
        destination,
        ports,
    })
}
