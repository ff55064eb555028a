//! The classic BPF program that lets DNS messages of the gateway's own resolver through to a packet socket: queries
//! that this host receives, and answers that it sends.
//!
//! What others send as an answer does not count, so a forged one cannot get in by this way. The filter spares the
//! queue and our time; [`super::message`] checks all but the direction again.

use socket2::SockFilter;

use crate::probe::filter::{
    ACCEPT, JUMP_ANY_BIT, JUMP_EQUAL, LOAD_BYTE, LOAD_HALF, LOAD_HALF_INDEXED, LOAD_HEADER_LEN,
    LOAD_WORD, PACKET_TYPE, RETURN,
};

const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;

const UDP: u32 = libc::IPPROTO_UDP as u32;
/// The port of DNS servers.
const PORT: u32 = 53;
/// Where the ports stand in a UDP header.
const SOURCE: u32 = 0;
const DESTINATION: u32 = 2;

/// Accepts queries to this host, and answers from it.
pub fn own_resolver() -> Vec<SockFilter> {
    let queries = of_port(DESTINATION);
    let past = queries.len() as u8;
    let mut program = vec![
        SockFilter::new(LOAD_WORD, 0, 0, PACKET_TYPE),
        SockFilter::new(JUMP_EQUAL, 1 + past, 0, libc::PACKET_OUTGOING.into()),
        // The last instruction of the next part refuses.
        SockFilter::new(JUMP_EQUAL, 0, past - 1, libc::PACKET_HOST.into()),
    ];
    program.extend(queries);
    program.extend(of_port(SOURCE));
    program
}

/// Accepts unfragmented UDP datagrams of either family with DNS's port at this place of their header.
fn of_port(at: u32) -> Vec<SockFilter> {
    vec![
        SockFilter::new(LOAD_BYTE, 0, 0, 0),
        SockFilter::new(AND, 0, 0, 0xf0),
        SockFilter::new(JUMP_EQUAL, 0, 7, 0x40),
        SockFilter::new(LOAD_BYTE, 0, 0, 9),
        SockFilter::new(JUMP_EQUAL, 0, 11, UDP),
        SockFilter::new(LOAD_HALF, 0, 0, 6),
        SockFilter::new(JUMP_ANY_BIT, 9, 0, 0x3fff),
        SockFilter::new(LOAD_HEADER_LEN, 0, 0, 0),
        SockFilter::new(LOAD_HALF_INDEXED, 0, 0, at),
        SockFilter::new(JUMP_EQUAL, 5, 6, PORT),
        SockFilter::new(JUMP_EQUAL, 0, 5, 0x60),
        SockFilter::new(LOAD_BYTE, 0, 0, 6),
        SockFilter::new(JUMP_EQUAL, 0, 3, UDP),
        SockFilter::new(LOAD_HALF, 0, 0, 40 + at),
        SockFilter::new(JUMP_EQUAL, 0, 1, PORT),
        SockFilter::new(RETURN, 0, 0, ACCEPT),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read as _, Write as _},
        os::{fd::OwnedFd, unix::net::UnixDatagram},
    };

    use socket2::Socket;

    use super::*;

    /// Whether the kernel lets a packet through to a socket with this filter.
    fn passes(filter: &[SockFilter], packet: &[u8]) -> bool {
        let (near, far) = UnixDatagram::pair().expect("a pair");
        near.set_nonblocking(true).expect("it is a socket");
        let [mut near, mut far] = [near, far].map(|socket| Socket::from(OwnedFd::from(socket)));
        near.attach_filter(filter).expect("the filter is valid");
        far.write_all(packet).expect("there is room");
        match near.read(&mut [0; 100]) {
            Ok(len) => len == packet.len(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn ipv4(options: usize, protocol: u8, fragment: u16, ports: [u16; 2]) -> Vec<u8> {
        let mut packet = vec![0; 20 + 4 * options];
        packet[0] = 0x45 + options as u8;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet.extend(ports.map(u16::to_be_bytes).concat());
        packet.extend([0; 20]);
        packet
    }

    fn ipv6(next: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[6] = next;
        packet.extend(ports.map(u16::to_be_bytes).concat());
        packet.extend([0; 20]);
        packet
    }

    #[test]
    fn only_dns_of_the_right_direction_passes() {
        // Such sockets' packets are ones that this host receives.
        for (what, packet, expected) in [
            ("query", ipv4(0, 17, 0, [40_000, 53]), true),
            (
                "query with options",
                ipv4(3, 17, 0x4000, [40_000, 53]),
                true,
            ),
            ("IPv6 query", ipv6(17, [40_000, 53]), true),
            ("a stranger's answer", ipv4(0, 17, 0, [53, 40_000]), false),
            ("a stranger's IPv6 answer", ipv6(17, [53, 40_000]), false),
            ("TCP", ipv4(0, 6, 0, [40_000, 53]), false),
            ("TCP by IPv6", ipv6(6, [40_000, 53]), false),
            ("fragment", ipv4(0, 17, 0x2000, [40_000, 53]), false),
            ("other port", ipv4(0, 17, 0, [40_000, 54]), false),
            ("no IP", vec![0x15; 60], false),
            ("cut", ipv4(0, 17, 0, [40_000, 53])[..21].to_vec(), false),
            ("nothing", vec![1], false),
        ] {
            assert_eq!(passes(&own_resolver(), &packet), expected, "{what}");
        }
        for (packet, expected) in [
            (ipv4(0, 17, 0, [53, 40_000]), true),
            (ipv6(17, [53, 40_000]), true),
            (ipv4(0, 17, 0, [40_000, 53]), false),
            (ipv6(17, [40_000, 53]), false),
        ] {
            assert_eq!(passes(&of_port(SOURCE), &packet), expected, "{packet:?}");
        }
    }
}
