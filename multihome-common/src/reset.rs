//! TCP resets that the program itself answers with, in the name of the far end: to a LAN host whose
//! connection has lost its outside address, so that it opens another at once and does not wait.

use crate::{
    checksum,
    family::{V4, V6},
    ip_header::IpHeader,
    packet::Packet,
    parse::{self, Network},
    tables::{Answer, Tables},
    verdict::Verdict,
    wire::{ethernet, protocol, tcp},
};

/// Turns the packet into the reset, if one is allowed: then the verdict stands, else it becomes a
/// drop.
#[inline(always)]
pub fn answer<P: Packet, T: Tables>(packet: &mut P, tables: &mut T) -> Verdict {
    let answered = match parse::link(packet) {
        Ok(link) if link.ethertype == ethernet::IPV4 => {
            try_answer::<V4, P, T>(packet, tables, link.len)
        }
        Ok(link) => try_answer::<V6, P, T>(packet, tables, link.len),
        Err(verdict) => Err(verdict),
    };
    match answered {
        Ok(()) => Verdict::ReplyReset,
        Err(verdict) => verdict,
    }
}

#[inline(always)]
fn try_answer<F: IpHeader, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &mut T,
    at: usize,
) -> Result<(), Verdict> {
    let network = F::parse(packet, at)?;
    if network.protocol != protocol::TCP || !tables.may_answer(Answer::Reset) {
        return Err(Verdict::DropUnknownConnection);
    }
    if network.transport_at + tcp::LEN > network.end {
        return Err(Verdict::DropTruncated);
    }
    let header = *packet
        .bytes::<{ tcp::LEN }>(network.transport_at)
        .ok_or(Verdict::DropTruncated)?;
    build::<F, P>(packet, at, &network, &header).ok_or(Verdict::DropInternal)
}

#[inline(always)]
fn build<F: IpHeader, P: Packet>(
    packet: &mut P,
    at: usize,
    network: &Network<F::Address>,
    header: &[u8; tcp::LEN],
) -> Option<()> {
    let headers = network.transport_at - at + tcp::header_len(header);
    let payload = network.len.saturating_sub(headers);
    let flags = header[tcp::FLAGS_AT];
    let ends = [header[2], header[3], header[0], header[1]];
    // RFC 9293 section 3.10.7.1: with an acknowledgement the reset takes its number as its own,
    // without one it acknowledges all that the segment took up.
    let (sequence, acknowledgement, flags) = if flags & tcp::ACK != 0 {
        let number = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        (number, 0, tcp::RST)
    } else {
        let number = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let taken = payload as u32 + u32::from(flags >> 1 & 1) + u32::from(flags & 1);
        (0, number.wrapping_add(taken), tcp::RST | tcp::ACK)
    };
    packet.truncate(at + F::HEADER_LEN + tcp::LEN)?;
    swap_stations(packet)?;
    let (from, to) = (network.destination, network.source);
    let pseudo = F::write_header(packet, at, protocol::TCP, from, to, tcp::LEN)?;
    let (s, a) = (sequence.to_be_bytes(), acknowledgement.to_be_bytes());
    let mut reset = [
        ends[0], ends[1], ends[2], ends[3], s[0], s[1], s[2], s[3], a[0], a[1], a[2], a[3], 0x50,
        flags, 0, 0, 0, 0, 0, 0,
    ];
    let sum = checksum::finish(pseudo + checksum::sum_bytes(&reset)).to_be_bytes();
    reset[tcp::CHECKSUM_AT] = sum[0];
    reset[tcp::CHECKSUM_AT + 1] = sum[1];
    *packet.bytes_mut(at + F::HEADER_LEN)? = reset;
    Some(())
}

/// Sends the frame back to the station that it came from.
#[inline(always)]
fn swap_stations<P: Packet>(packet: &mut P) -> Option<()> {
    let macs = packet.bytes_mut::<12>(0)?;
    let old = *macs;
    macs[..6].copy_from_slice(&old[6..]);
    macs[6..].copy_from_slice(&old[..6]);
    Some(())
}
