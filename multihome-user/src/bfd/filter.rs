//! The classic BPF program that keeps everything but the peer's control packets out of a session's
//! queue.
//!
//! It spares the queue and our time, above all under a flood; [`super::datagram`] checks all of it
//! again.

use std::net::IpAddr;

use socket2::SockFilter;

use super::ports::CONTROL;
use crate::probe::{
    Family,
    filter::{LOAD_BYTE, LOAD_HALF, LOAD_HALF_INDEXED, LOAD_WORD, Step, assemble, to_us},
};

const PROTOCOL_UDP: u32 = 17;

/// Accepts unfragmented UDP datagrams from `peer` to port 3784 that were sent to this host itself.
///
/// The TTL is not looked at, so that packets which came over a router are counted.
pub fn control_packets(peer: IpAddr) -> Vec<SockFilter> {
    let equals = |load, at, value| Step::Equals { load, at, value };
    let word = |octets: &[u8]| {
        octets
            .iter()
            .fold(0, |word, &octet| word << 8 | u32::from(octet))
    };
    let mut steps = vec![to_us()];
    let (octets, source_at) = match peer {
        IpAddr::V4(peer) => (peer.octets().to_vec(), 12),
        IpAddr::V6(peer) => (peer.octets().to_vec(), 8),
    };
    for (n, octets) in (0..).zip(octets.chunks(4)) {
        steps.push(equals(LOAD_WORD, source_at + 4 * n, word(octets)));
    }
    match Family::of(peer) {
        Family::Ipv4 => steps.extend([
            equals(LOAD_BYTE, 9, PROTOCOL_UDP),
            Step::NoneOf {
                load: LOAD_HALF,
                at: 6,
                bits: 0x3fff,
            },
            Step::HeaderLen,
            equals(LOAD_HALF_INDEXED, 2, u32::from(CONTROL)),
        ]),
        Family::Ipv6 => steps.extend([
            equals(LOAD_BYTE, 6, PROTOCOL_UDP),
            equals(LOAD_HALF, 42, u32::from(CONTROL)),
        ]),
    }
    assemble(&steps)
}

/// Accepts nothing: for a socket that only holds its port.
pub fn nothing() -> Vec<SockFilter> {
    vec![SockFilter::new(
        (libc::BPF_RET | libc::BPF_K) as u16,
        0,
        0,
        0,
    )]
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read as _, Write as _},
        os::{fd::OwnedFd, unix::net::UnixDatagram},
    };

    use socket2::Socket;

    use super::*;
    use crate::bfd::datagram;

    /// Lets the kernel itself run the filter: a UNIX datagram's payload stands for the packet.
    fn accepts(filter: &[SockFilter], packet: &[u8]) -> bool {
        let (sender, receiver) = UnixDatagram::pair().expect("a socket pair");
        receiver.set_nonblocking(true).expect("nonblocking");
        let mut receiver = Socket::from(OwnedFd::from(receiver));
        receiver
            .attach_filter(filter)
            .expect("the kernel takes the filter");
        let mut sender = Socket::from(OwnedFd::from(sender));
        // The sender is told of a refused datagram by EPERM or not at all, depending on the kernel.
        let _ = sender.write(packet);
        match receiver.read(&mut [0; 256]) {
            Ok(len) => {
                assert_eq!(len, packet.len(), "the filter must not cut the packet");
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn only_control_packets_of_the_peer_pass() {
        for (peer, other, ours) in [
            ("192.0.2.1", "192.0.2.3", "192.0.2.2"),
            ("fe80::1", "fe81::1", "fe80::2"),
            ("2001:db8::1", "2001:db8::1:0:1", "2001:db8::2"),
        ] {
            let address = |text: &str| text.parse::<IpAddr>().expect("an address");
            let (peer, other, ours) = (address(peer), address(other), address(ours));
            let filter = control_packets(peer);
            let from = |source, port| {
                datagram::build((source, 50_000), (ours, port), &[0; 24]).expect("one family")
            };
            let good = from(peer, CONTROL);
            assert!(accepts(&filter, &good), "{peer}");
            assert!(!accepts(&nothing(), &good));
            assert!(!accepts(&filter, &from(other, CONTROL)), "{other}");
            assert!(!accepts(&filter, &from(peer, CONTROL + 1)), "another port");
            let mut changed = good.clone();
            let at = if peer.is_ipv4() { 9 } else { 6 };
            changed[at] = 6;
            assert!(!accepts(&filter, &changed), "TCP");
            // Padding, and a TTL that is counted rather than hidden.
            let mut changed = good.clone();
            changed[if peer.is_ipv4() { 8 } else { 7 }] = 254;
            changed.extend([0; 10]);
            assert!(accepts(&filter, &changed), "TTL 254");
            assert!(!accepts(&filter, &good[..20]), "the packet ends early");
            if peer.is_ipv4() {
                let mut fragment = good.clone();
                fragment[6] = 0x20;
                assert!(!accepts(&filter, &fragment), "a fragment");
                let mut options = good[..20].to_vec();
                options[0] = 0x46;
                options.extend([1; 4]);
                options.extend(&good[20..]);
                assert!(accepts(&filter, &options), "with options");
            }
        }
    }
}
