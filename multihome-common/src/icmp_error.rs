//! ICMP errors that the program itself answers with: time exceeded, too big, unreachable.
//!
//! The frame that caused the error becomes the answer: its head grows by an IP and an ICMP header,
//! its tail is cut to what may be quoted, and it leaves by the port it came in on.

use crate::{
    address::{Address4, Address6},
    checksum,
    family::{V4, V6},
    ip_header::IpHeader,
    limits::{ICMP4_ERROR_MAX, ICMP6_ERROR_MAX},
    packet::Packet,
    parse::{self, Network},
    port::PortEntry,
    tables::{Answer, Tables},
    verdict::Verdict,
    way::Decision,
    wire::{ethernet, icmp, ipv4, ipv6, protocol},
};

#[cfg(test)]
mod tests;

/// The verdict when the sender that `decision` would answer must not be answered, or not now.
#[inline(always)]
const fn silent(decision: Decision) -> Verdict {
    if decision.verdict_number() == Verdict::ReplyTimeExceeded as u8 {
        Verdict::DropHopLimit
    } else if decision.verdict_number() == Verdict::ReplyTooBig as u8 {
        Verdict::DropTooBig
    } else if decision.verdict_number() == Verdict::ReplyProhibited as u8 {
        Verdict::DropProhibited
    } else if decision.verdict_number() == Verdict::ReplyWrongSource as u8 {
        Verdict::DropWrongSource
    } else {
        Verdict::DropNoUplink
    }
}

/// The part of an ICMP error that differs between the families.
pub trait ErrorFormat: IpHeader {
    /// Bytes of the IP and ICMP headers that are put before the quoted packet.
    const HEADERS: usize;
    /// Bytes of the whole answer, from its IP header on, at most.
    const MAX: usize;

    /// Writes both headers at `at`, the quoted packet of `quoted` bytes standing behind.
    fn write<P: Packet>(
        packet: &mut P,
        at: usize,
        decision: Decision,
        from: Self::Address,
        to: Self::Address,
        quoted: usize,
    ) -> Option<()>;
}

/// Turns the packet into the answer that `decision` calls for, if one is allowed: then the decision
/// stands, else it becomes a drop.
#[inline(always)]
pub fn answer<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &mut T,
    port: &PortEntry,
    decision: Decision,
) -> Decision {
    let answered = match parse::link(packet) {
        Ok(link) if link.ethertype == ethernet::IPV4 => {
            try_answer::<V4, P, T>(packet, tables, port, link.len, decision)
        }
        Ok(link) => try_answer::<V6, P, T>(packet, tables, port, link.len, decision),
        Err(verdict) => Err(verdict),
    };
    match answered {
        Ok(()) => decision,
        Err(verdict) => verdict.into(),
    }
}

#[inline(always)]
fn try_answer<F: ErrorFormat, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &mut T,
    port: &PortEntry,
    network_at: usize,
    decision: Decision,
) -> Result<(), Verdict> {
    let network = F::parse(packet, network_at)?;
    let from = F::port_address(port).ok_or(silent(decision))?;
    if !F::may_answer(packet, &network) || !tables.may_answer(Answer::Error) {
        return Err(silent(decision));
    }
    build::<F, P>(packet, network_at, &network, decision, from).ok_or(Verdict::DropInternal)
}

#[inline(always)]
fn build<F: ErrorFormat, P: Packet>(
    packet: &mut P,
    network_at: usize,
    network: &Network<F::Address>,
    decision: Decision,
    from: F::Address,
) -> Option<()> {
    let quoted = if network.len < F::MAX - F::HEADERS {
        network.len
    } else {
        F::MAX - F::HEADERS
    };
    packet.grow_front(F::HEADERS)?;
    move_link_header(packet, network_at, F::HEADERS)?;
    packet.truncate(network_at + F::HEADERS + quoted)?;
    F::write(packet, network_at, decision, from, network.source, quoted)
}

/// Moves the link header of `len` bytes forward by `by`, its MACs exchanged: the answer goes back
/// to the station that the packet came from.
#[inline(always)]
fn move_link_header<P: Packet>(packet: &mut P, len: usize, by: usize) -> Option<()> {
    let old = *packet.bytes::<12>(by)?;
    let mut tail = [0u8; 4 * 2 + 2];
    // Type first, then what tags there are before it: 14, 18 or 22 bytes in all.
    let words = (len - ethernet::TYPE_AT) / 4;
    let mut kept = 0;
    for word in 0..2 {
        if word < words {
            let bytes = packet.bytes::<4>(by + ethernet::TYPE_AT + word * 4)?;
            tail[word * 4..word * 4 + 4].copy_from_slice(bytes);
            kept = word + 1;
        }
    }
    let ethertype = *packet.bytes::<2>(by + ethernet::TYPE_AT + kept * 4)?;

    let macs = packet.bytes_mut::<12>(0)?;
    macs[..6].copy_from_slice(&old[6..]);
    macs[6..].copy_from_slice(&old[..6]);
    for word in 0..2 {
        if word < kept {
            let to = packet.bytes_mut::<4>(ethernet::TYPE_AT + word * 4)?;
            to.copy_from_slice(&tail[word * 4..word * 4 + 4]);
        }
    }
    *packet.bytes_mut::<2>(ethernet::TYPE_AT + kept * 4)? = ethertype;
    Some(())
}

impl ErrorFormat for V4 {
    const HEADERS: usize = ipv4::LEN + icmp::LEN;
    const MAX: usize = ICMP4_ERROR_MAX;

    #[inline(always)]
    fn write<P: Packet>(
        packet: &mut P,
        at: usize,
        decision: Decision,
        from: Address4,
        to: Address4,
        quoted: usize,
    ) -> Option<()> {
        let (kind, code) = if decision.verdict_number() == Verdict::ReplyTimeExceeded as u8 {
            (icmp::V4_TIME_EXCEEDED, 0)
        } else if decision.verdict_number() == Verdict::ReplyTooBig as u8 {
            (icmp::V4_UNREACHABLE, icmp::V4_FRAGMENTATION_NEEDED)
        } else if decision.verdict_number() == Verdict::ReplyProhibited as u8 {
            (icmp::V4_UNREACHABLE, icmp::V4_PROHIBITED)
        } else {
            (icmp::V4_UNREACHABLE, icmp::V4_NET)
        };
        // RFC 1191: the low 16 bits; zero in the other messages.
        let rest = decision.mtu() & 0xffff;
        V4::write_header(packet, at, protocol::ICMP, from, to, icmp::LEN + quoted)?;
        write_icmp(packet, at + ipv4::LEN, kind, code, rest, 0)
    }
}

impl ErrorFormat for V6 {
    const HEADERS: usize = ipv6::LEN + icmp::LEN;
    const MAX: usize = ICMP6_ERROR_MAX;

    #[inline(always)]
    fn write<P: Packet>(
        packet: &mut P,
        at: usize,
        decision: Decision,
        from: Address6,
        to: Address6,
        quoted: usize,
    ) -> Option<()> {
        let (kind, code) = if decision.verdict_number() == Verdict::ReplyTimeExceeded as u8 {
            (icmp::V6_TIME_EXCEEDED, 0)
        } else if decision.verdict_number() == Verdict::ReplyTooBig as u8 {
            (icmp::V6_TOO_BIG, 0)
        } else if decision.verdict_number() == Verdict::ReplyProhibited as u8 {
            (icmp::V6_UNREACHABLE, icmp::V6_PROHIBITED)
        } else if decision.verdict_number() == Verdict::ReplyWrongSource as u8 {
            (icmp::V6_UNREACHABLE, icmp::V6_SOURCE_POLICY)
        } else {
            (icmp::V6_UNREACHABLE, 0)
        };
        // Zero in all but packet too big.
        let rest = decision.mtu();
        let payload = icmp::LEN + quoted;
        let pseudo = V6::write_header(packet, at, protocol::ICMP6, from, to, payload)?;
        write_icmp(packet, at + ipv6::LEN, kind, code, rest, pseudo)
    }
}

/// Writes the ICMP header at `at`, its checksum over all that follows and `pseudo`.
#[inline(always)]
fn write_icmp<P: Packet>(
    packet: &mut P,
    at: usize,
    kind: u8,
    code: u8,
    rest: u32,
    pseudo: u64,
) -> Option<()> {
    let rest = rest.to_be_bytes();
    let mut header = [kind, code, 0, 0, rest[0], rest[1], rest[2], rest[3]];
    let sum = pseudo + checksum::sum_bytes(&header) + packet.sum_from(at + icmp::LEN);
    let sum = checksum::finish(sum).to_be_bytes();
    header[2] = sum[0];
    header[3] = sum[1];
    *packet.bytes_mut(at)? = header;
    Some(())
}
