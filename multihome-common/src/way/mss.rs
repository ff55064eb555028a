//! MSS clamping: what a connection by an uplink opens with fits through the uplink, also where nobody
//! answers that a packet is too big (RFC 2923 section 2.1, RFC 8900 section 3.5).
//!
//! Each end of a TCP connection says in its first segment how much the other may put into one (RFC 9293
//! section 3.7.1). In SYN and SYN-ACK, of both directions, a larger value is lowered to the uplink's. A smaller one
//! stays, and where there is no option none is added: without it a sender takes 536 bytes (IPv6: 1220),
//! and no value that is set here is smaller.
//!
//! The packet is as it left, and parsed as it came.

use crate::{
    checksum::Difference,
    family::{Family, V4, V6},
    limits::MAX_UPLINKS,
    opaque::opaque,
    packet::Packet,
    parse::Parsed,
    tables::Tables,
    way::uplink_entry,
    wire::{ethernet, protocol, tcp},
};

/// Lowers what a forwarded packet that passes the uplink of this id says; numbers of LAN ports clamp
/// nothing.
#[inline(always)]
pub fn clamp<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, id: u8) {
    let found = if parsed.ethertype == ethernet::IPV4 {
        limit::<V4, P, T>(packet, tables, parsed, id)
    } else {
        limit::<V6, P, T>(packet, tables, parsed, id)
    };
    if let Some(Limit { at, end, most }) = found {
        lower(packet, at, end, most);
    }
}

/// The TCP header of a segment that opens a connection, and what its MSS may be.
struct Limit {
    /// Where the header stands, from the frame's start.
    at: usize,
    /// Where it ends, from its own start.
    end: usize,
    most: u16,
}

#[inline(always)]
fn limit<F: Family, P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &Parsed,
    id: u8,
) -> Option<Limit> {
    let network = F::network(parsed);
    if id as usize >= MAX_UPLINKS || network.protocol != protocol::TCP || network.fragment {
        return None;
    }
    let at = network.transport_at;
    let header: &[u8; tcp::LEN] = packet.bytes(at)?;
    if header[tcp::FLAGS_AT] & tcp::SYN == 0 {
        return None;
    }
    // Nothing is changed in a header that goes on behind the packet.
    let end = tcp::header_len(header).min(network.end.saturating_sub(at));
    let most = uplink_entry(tables, tables.state()?, id).ok()?.mss[F::INDEX];
    (most != 0).then_some(Limit { at, end, most })
}

/// Lowers each MSS in a TCP header at `transport_at`, of `end` bytes, that is larger than `most`, and the
/// checksum with it.
///
/// What is no list of options ends the walk; what was lowered before it stays so.
#[inline(always)]
pub fn lower<P: Packet>(packet: &mut P, transport_at: usize, end: usize, most: u16) {
    let mut at = tcp::LEN;
    let mut change = Difference::default();
    for _ in 0..tcp::MAX_LEN - tcp::LEN {
        // Less than this has no room for what is sought.
        if opaque((at + tcp::OPTION_MSS_LEN) as u64) > opaque(end as u64) {
            break;
        }
        // The verifier, which knows nothing of where it stands, walks each round once, and not once for
        // each way through the rounds before.
        at = opaque(at as u64) as usize & 63;
        let Some(option) = packet.bytes_mut::<{ tcp::OPTION_MSS_LEN }>(transport_at + at) else {
            break;
        };
        let [kind, len, high, low] = *option;
        let old = u16::from_be_bytes([high, low]);
        if kind == tcp::OPTION_MSS && len as usize == tcp::OPTION_MSS_LEN && old > most {
            [option[2], option[3]] = most.to_be_bytes();
            // At an odd place the first byte is the low one of its word, and the second the high one of the
            // next.
            let turn = (at as u32 & 1) * 8;
            let lowered = Difference::of_u16(old.rotate_left(turn), most.rotate_left(turn));
            change = change.and(lowered);
        }
        let is_nop = kind == tcp::OPTION_NOP;
        if kind == tcp::OPTION_END || len < 2 && !is_nop {
            break;
        }
        at += if is_nop { 1 } else { len as usize };
    }
    if change != Difference::default()
        && let Some(sum) = packet.bytes_mut::<2>(transport_at + tcp::CHECKSUM_AT)
    {
        *sum = change.apply(*sum);
    }
}

#[cfg(test)]
mod tests;
