//! The classic BPF programs that keep everything but echo replies to our own probes out of a
//! probe socket's queue.
//!
//! A packet socket of type `SOCK_DGRAM` runs its filter on the packet from the IP header on. The
//! filter only spares the queue and our time; [`super::echo`] checks all of it again.

use socket2::SockFilter;

use super::Family;

/// Where the kernel answers with the packet's type instead of packet bytes (linux/filter.h).
pub(crate) const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
/// Accepts the whole packet.
pub(crate) const ACCEPT: u32 = u32::MAX;

pub(crate) const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(crate) const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
pub(crate) const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
pub(crate) const LOAD_HALF_INDEXED: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
/// X = four times the low nibble: the length of an IPv4 header.
pub(crate) const LOAD_HEADER_LEN: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
pub(crate) const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(crate) const JUMP_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const JUMP_ALWAYS: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(crate) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// One step: load something, then go on only if it passes.
pub(crate) enum Step {
    /// X = the IPv4 header's length.
    HeaderLen,
    /// The loaded value must be this.
    Equals { load: u16, at: u32, value: u32 },
    /// The loaded value must have none of these bits.
    NoneOf { load: u16, at: u32, bits: u32 },
}

/// Accepts unfragmented echo replies of `family` with this identifier that were sent to this host
/// itself.
pub fn echo_replies(family: Family, ident: u16) -> Vec<SockFilter> {
    let ident = u32::from(ident);
    let to_us = to_us();
    let steps = match family {
        Family::Ipv4 => vec![
            to_us,
            Step::Equals {
                load: LOAD_BYTE,
                at: 9,
                value: 1,
            },
            Step::NoneOf {
                load: LOAD_HALF,
                at: 6,
                bits: 0x3fff,
            },
            Step::HeaderLen,
            // Type and code as one.
            Step::Equals {
                load: LOAD_HALF_INDEXED,
                at: 0,
                value: 0,
            },
            Step::Equals {
                load: LOAD_HALF_INDEXED,
                at: 4,
                value: ident,
            },
        ],
        Family::Ipv6 => vec![
            to_us,
            Step::Equals {
                load: LOAD_BYTE,
                at: 6,
                value: 58,
            },
            Step::Equals {
                load: LOAD_HALF,
                at: 40,
                value: 129 << 8,
            },
            Step::Equals {
                load: LOAD_HALF,
                at: 44,
                value: ident,
            },
        ],
    };
    assemble(&steps)
}

/// Only packets that were sent to this host itself.
pub(crate) fn to_us() -> Step {
    Step::Equals {
        load: LOAD_WORD,
        at: PACKET_TYPE,
        value: u32::from(libc::PACKET_HOST),
    }
}

/// The most ports that one filter lets through (BPF_MAXINSNS in linux/bpf_common.h is 4096).
const MAX_PORTS: usize = 2000;

/// Accepts unfragmented TCP and UDP packets of `family` to these ports that were sent to this host
/// itself; of more than 2000 ports only the last ones count.
pub fn to_ports(family: Family, tcp: &[u16], udp: &[u16]) -> Vec<SockFilter> {
    let load = |kind, at| SockFilter::new(kind, 0, 0, at);
    let refuse = || SockFilter::new(RETURN, 0, 0, 0);
    let latest = |ports: &[u16]| ports[ports.len().saturating_sub(MAX_PORTS / 2)..].to_vec();
    let mut program = vec![
        load(LOAD_WORD, PACKET_TYPE),
        SockFilter::new(JUMP_EQUAL, 1, 0, libc::PACKET_HOST.into()),
        refuse(),
    ];
    let (protocol_at, load_port) = match family {
        Family::Ipv4 => {
            program.extend([
                load(LOAD_HALF, 6),
                SockFilter::new(JUMP_ANY_BIT, 0, 1, 0x3fff),
                refuse(),
                load(LOAD_HEADER_LEN, 0),
            ]);
            (9, (LOAD_HALF_INDEXED, 2))
        }
        Family::Ipv6 => (6, (LOAD_HALF, 42)),
    };
    let of_protocol = |ports: &[u16]| {
        let mut part = vec![load(load_port.0, load_port.1)];
        for port in latest(ports) {
            part.push(SockFilter::new(JUMP_EQUAL, 0, 1, port.into()));
            part.push(SockFilter::new(RETURN, 0, 0, ACCEPT));
        }
        part.push(refuse());
        part
    };
    let tcp = of_protocol(tcp);
    program.extend([
        load(LOAD_BYTE, protocol_at),
        SockFilter::new(JUMP_EQUAL, 0, 1, libc::IPPROTO_UDP as u32),
        // Past the next two instructions and the part of TCP.
        load(JUMP_ALWAYS, 2 + tcp.len() as u32),
        SockFilter::new(JUMP_EQUAL, 1, 0, libc::IPPROTO_TCP as u32),
        refuse(),
    ]);
    program.extend(tcp);
    program.extend(of_protocol(udp));
    program
}

/// Turns steps into instructions: any step that fails jumps to the last one, which refuses.
pub(crate) fn assemble(steps: &[Step]) -> Vec<SockFilter> {
    let len: usize = steps
        .iter()
        .map(|step| match step {
            Step::HeaderLen => 1,
            Step::Equals { .. } | Step::NoneOf { .. } => 2,
        })
        .sum();
    let mut program = Vec::with_capacity(len + 2);
    for step in steps {
        // A jump counts from the instruction behind it; `len` is the accepting instruction's place.
        let refuse = (len + 1).saturating_sub(program.len() + 2) as u8;
        match *step {
            Step::HeaderLen => program.push(SockFilter::new(LOAD_HEADER_LEN, 0, 0, 0)),
            Step::Equals { load, at, value } => {
                program.push(SockFilter::new(load, 0, 0, at));
                program.push(SockFilter::new(JUMP_EQUAL, 0, refuse, value));
            }
            Step::NoneOf { load, at, bits } => {
                program.push(SockFilter::new(load, 0, 0, at));
                program.push(SockFilter::new(JUMP_ANY_BIT, refuse, 0, bits));
            }
        }
    }
    program.push(SockFilter::new(RETURN, 0, 0, ACCEPT));
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read, Write},
        net::{Ipv4Addr, Ipv6Addr},
        os::{fd::OwnedFd, unix::net::UnixDatagram},
    };

    use socket2::Socket;

    use super::*;
    use crate::probe::echo::Echo;

    const IDENT: u16 = 0x1234;

    fn accepts(family: Family, packet: &[u8]) -> bool {
        passes(&echo_replies(family, IDENT), packet)
    }

    /// Lets the kernel itself run the filter: a UNIX datagram's payload stands for the packet.
    fn passes(filter: &[SockFilter], packet: &[u8]) -> bool {
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

    fn packet(family: Family, ident: u16) -> Vec<u8> {
        let (source, destination) = match family {
            Family::Ipv4 => (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()),
            Family::Ipv6 => (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()),
        };
        let echo = Echo {
            source,
            destination,
            ident,
            seq: 1,
            cookie: 2,
        };
        let mut packet = echo.request().expect("one family");
        let at = packet.len() - 16;
        packet[at] = match family {
            Family::Ipv4 => 0,
            Family::Ipv6 => 129,
        };
        packet
    }

    #[test]
    fn our_replies_pass() {
        assert!(accepts(Family::Ipv4, &packet(Family::Ipv4, IDENT)));
        assert!(accepts(Family::Ipv6, &packet(Family::Ipv6, IDENT)));
    }

    #[test]
    fn another_pinger_s_replies_do_not() {
        assert!(!accepts(Family::Ipv4, &packet(Family::Ipv4, IDENT + 1)));
        assert!(!accepts(Family::Ipv6, &packet(Family::Ipv6, IDENT + 1)));
    }

    #[test]
    fn other_types_codes_and_protocols_do_not() {
        for family in [Family::Ipv4, Family::Ipv6] {
            let good = packet(family, IDENT);
            let message = good.len() - 16;
            let protocol = match family {
                Family::Ipv4 => 9,
                Family::Ipv6 => 6,
            };
            for (at, value) in [
                (message, 8),
                (message, 128),
                (message + 1, 1),
                (protocol, 17),
            ] {
                let mut bad = good.clone();
                bad[at] = value;
                assert!(!accepts(family, &bad), "{family}: byte {at} is {value}");
            }
        }
    }

    #[test]
    fn a_reply_behind_ipv4_options_passes() {
        let mut packet = packet(Family::Ipv4, IDENT);
        packet[0] = 0x47;
        packet.splice(20..20, [1; 8]);
        assert!(accepts(Family::Ipv4, &packet));
        packet[28 + 5] ^= 1;
        assert!(!accepts(Family::Ipv4, &packet));
    }

    #[test]
    fn fragments_do_not_pass() {
        for (at, value) in [(6, 0x20), (7, 1), (6, 0x1f)] {
            let mut packet = packet(Family::Ipv4, IDENT);
            packet[at] = value;
            assert!(!accepts(Family::Ipv4, &packet), "byte {at} is {value:#x}");
        }
        let mut packet = packet(Family::Ipv4, IDENT);
        packet[6] = 0x40;
        assert!(
            accepts(Family::Ipv4, &packet),
            "don't-fragment is no fragment"
        );
    }

    #[test]
    fn truncated_packets_do_not_pass() {
        for family in [Family::Ipv4, Family::Ipv6] {
            let good = packet(family, IDENT);
            // The identifier ends six bytes into the message.
            for len in 0..good.len() - 16 + 6 {
                assert!(!accepts(family, &good[..len]), "{family} cut to {len}");
            }
        }
    }

    #[test]
    fn packets_to_open_ports_pass_and_no_others() {
        let packet = |six: bool, tcp: bool, port: u16| {
            let builder = if six {
                let (from, to) = (Ipv6Addr::LOCALHOST.octets(), Ipv6Addr::LOCALHOST.octets());
                etherparse::PacketBuilder::ipv6(from, to, 64)
            } else {
                etherparse::PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            };
            let mut bytes = Vec::new();
            if tcp {
                let segment = builder.tcp(443, port, 1, 1000);
                segment.write(&mut bytes, b"x").expect("written");
            } else {
                builder
                    .udp(53, port)
                    .write(&mut bytes, b"x")
                    .expect("written");
            }
            bytes
        };
        let many: Vec<u16> = (10_000..14_000).collect();
        for (family, six) in [(Family::Ipv4, false), (Family::Ipv6, true)] {
            let filter = to_ports(family, &[40_000, 40_001], &[50_000]);
            for (tcp, port, pass) in [
                (true, 40_000, true),
                (true, 40_001, true),
                (true, 40_002, false),
                (true, 50_000, false),
                (false, 50_000, true),
                (false, 40_000, false),
            ] {
                let bytes = packet(six, tcp, port);
                assert_eq!(passes(&filter, &bytes), pass, "{family} {tcp} {port}");
                assert!(!passes(&to_ports(family, &[], &[]), &bytes));
            }
            assert!(!passes(&filter, &packet(!six, true, 40_000)), "{family}");
            let filter = to_ports(family, &many, &many);
            assert!(passes(&filter, &packet(six, false, 13_999)));
            assert!(passes(&filter, &packet(six, true, 13_999)));
            assert!(!passes(&filter, &packet(six, true, 10_000)), "too many");
        }
        let mut fragment = packet(false, true, 40_000);
        fragment[7] = 1;
        assert!(!passes(&to_ports(Family::Ipv4, &[40_000], &[]), &fragment));
    }
}
