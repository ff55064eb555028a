//! The last step of a forwarded packet: one hop less, and the next station's MAC.

use crate::{family::Family, packet::Packet, uplink::Hop};

/// Rewrites the packet, whose IP header stands at `network_at`, for its next hop.
#[inline(always)]
pub fn forward<F: Family, P: Packet>(packet: &mut P, network_at: usize, hop: &Hop) -> Option<()> {
    F::decrement_hop_limit(packet, network_at)?;
    let macs = packet.bytes_mut::<12>(0)?;
    for (place, piece) in macs.as_chunks_mut::<4>().0.iter_mut().zip(hop.pieces()) {
        *place = piece;
    }
    Some(())
}
