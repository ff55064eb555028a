//! The classic BPF programs that keep everything but echo replies to our own probes out of a
//! probe socket's queue.
//!
//! A packet socket of type `SOCK_DGRAM` runs its filter on the packet from the IP header on. The
//! filter only spares the queue and our time; [`super::echo`] checks all of it again.

use socket2::SockFilter;

use super::Family;

/// Where the kernel answers with the packet's type instead of packet bytes (linux/filter.h).
const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
/// Accepts the whole packet.
const ACCEPT: u32 = u32::MAX;

pub(crate) const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(crate) const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
pub(crate) const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
pub(crate) const LOAD_HALF_INDEXED: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
/// X = four times the low nibble: the length of an IPv4 header.
const LOAD_HEADER_LEN: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

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

    /// Lets the kernel itself run the filter: a UNIX datagram's payload stands for the packet.
    fn accepts(family: Family, packet: &[u8]) -> bool {
        let (sender, receiver) = UnixDatagram::pair().expect("a socket pair");
        receiver.set_nonblocking(true).expect("nonblocking");
        let mut receiver = Socket::from(OwnedFd::from(receiver));
        receiver
            .attach_filter(&echo_replies(family, IDENT))
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
}
