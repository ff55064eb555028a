//! Which uplink a flow takes: the one it is pinned to, else that of its relation, else the one that
//! its bucket ranks first among the eligible.

use super::uplink_entry;
use crate::{
    family::Family,
    flow::{
        pin::{self, Pin},
        slot::Direction,
    },
    hash::FlowHash,
    limits::MAX_GROUPS,
    packet::Packet,
    parse::Network,
    rank::{self, RankRow},
    rules::Judged,
    state::{GroupWords, Policy, SharedState},
    tables::Tables,
    verdict::Verdict,
    wire::{protocol, tcp},
};

/// What no rule leads elsewhere belongs to this group.
pub const DEFAULT_GROUP: usize = 0;

/// What a flow is told by, as seen from inside.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends<A> {
    /// The LAN host.
    pub inside: A,
    /// The far end.
    pub remote: A,
    /// The protocol.
    pub protocol: u8,
    /// Inside port << 16 | remote port; 0 for protocols without, and for fragments.
    pub ports: u32,
}

impl<A: Copy> Ends<A> {
    /// Of a packet from the LAN.
    #[inline(always)]
    pub const fn outward(network: &Network<A>) -> Self {
        Self {
            inside: network.source,
            remote: network.destination,
            protocol: network.protocol,
            ports: network.ports,
        }
    }

    /// Of a packet to the LAN host `inside`.
    #[inline(always)]
    pub const fn inward(network: &Network<A>, inside: A) -> Self {
        Self {
            inside,
            remote: network.source,
            protocol: network.protocol,
            ports: network.ports.rotate_left(16),
        }
    }
}

/// TCP's flags of a packet; 0 for other protocols and where they are not there.
#[inline(always)]
pub fn tcp_flags<P: Packet, A>(packet: &P, network: &Network<A>) -> u8 {
    let at = network.transport_at + tcp::FLAGS_AT;
    if network.protocol != protocol::TCP || network.later_fragment || at >= network.end {
        return 0;
    }
    match packet.bytes::<1>(at) {
        Some(flags) => flags[0],
        None => 0,
    }
}

/// What is asked about a flow's uplink.
///
/// One word, so that the kernel can hand it to a function of its own: the kind in bits 0 to 7, TCP's
/// flags in bits 8 to 15, an uplink's id in bits 16 to 21, in bit 22 whether the flow must take that, in bit 24
/// whether it is answered, and the id of its group in bits 25 to 30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask(u32);

impl Ask {
    const PINNED: u32 = 0;
    const OWNER: u32 = 1;
    const NOTE: u32 = 2;
    const TOUCH: u32 = 3;
    const OWN: u32 = 1 << 22;

    /// See [`pinned`].
    #[inline(always)]
    pub const fn pinned(tcp_flags: u8) -> Self {
        Self(Self::PINNED | (tcp_flags as u32) << 8)
    }

    /// See [`owner`].
    #[inline(always)]
    pub const fn owner() -> Self {
        Self(Self::OWNER)
    }

    /// See [`note_inward`].
    #[inline(always)]
    pub const fn note_inward(id: u8, tcp_flags: u8) -> Self {
        Self(Self::NOTE | (tcp_flags as u32) << 8 | (id as u32) << 16)
    }

    /// See [`touch`].
    #[inline(always)]
    pub const fn touch(id: u8, answered: bool) -> Self {
        Self(Self::TOUCH | (id as u32) << 16 | (answered as u32) << 24)
    }

    /// The same about a flow of which the rules say this.
    ///
    /// For the first two kinds, whose answer is sought, an uplink whose own prefix the source is under is
    /// the only one that it can be.
    #[inline(always)]
    #[must_use]
    pub const fn of(self, judged: Judged) -> Self {
        let group = (judged.group() as u32) << 25;
        let own = match judged.own() {
            Some(id) if self.seeks() => Self::OWN | (id as u32) << 16,
            Some(_) | None => 0,
        };
        Self(self.0 | group | own)
    }

    /// Whether an uplink is sought; else what is known of the flow is kept alone.
    #[inline(always)]
    pub const fn seeks(self) -> bool {
        self.0 & 0xff <= Self::OWNER
    }

    /// The id of the group.
    #[inline(always)]
    const fn group(self) -> u8 {
        (self.0 >> 25) as u8 & (MAX_GROUPS as u8 - 1)
    }

    /// The uplink that the question names.
    #[inline(always)]
    const fn named(self) -> u8 {
        (self.0 >> 16) as u8 & 63
    }

    /// The uplink that the flow must take.
    #[inline(always)]
    const fn own(self) -> Option<u8> {
        if self.0 & Self::OWN != 0 {
            Some(self.named())
        } else {
            None
        }
    }

    /// The question as the word that [`Ask::from_word`] takes.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The question that [`Ask::word`] gave.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }
}

/// Answers what is asked about a flow: its uplink.
///
/// # Errors
/// The verdict of a packet that ends with its flow, or that no uplink can carry.
#[inline(always)]
pub fn answer<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    ends: &Ends<F::Address>,
    ask: Ask,
) -> Result<u8, Verdict> {
    if ask.seeks() {
        seek::<F, T>(tables, state, ends, ask)
    } else {
        Ok(keep::<F, T>(tables, state, ends, ask))
    }
}

/// Answers a question that [seeks](Ask::seeks) an uplink.
///
/// # Errors
/// As for [`answer`].
#[inline(always)]
pub fn seek<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    ends: &Ends<F::Address>,
    ask: Ask,
) -> Result<u8, Verdict> {
    if ask.0 & 0xff == Ask::PINNED {
        pinned::<F, T>(tables, state, ends, ask, (ask.0 >> 8) as u8)
    } else {
        owner::<F, T>(tables, state, ends, ask)
    }
}

/// Answers any other question: the uplink that was named.
#[inline(always)]
pub fn keep<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    ends: &Ends<F::Address>,
    ask: Ask,
) -> u8 {
    let id = ask.named();
    if ask.0 & 0xff == Ask::NOTE {
        note_inward::<F, T>(tables, state, ends, id, (ask.0 >> 8) as u8);
    } else {
        let answered = ask.0 >> 24 & 1 != 0;
        touch::<F, T>(tables, state, ends, ask.group(), (id, answered));
    }
    id
}

/// The words of the group that decides.
#[inline(always)]
pub fn group(state: &SharedState, id: u8) -> &GroupWords {
    &state.groups[usize::from(id) & (MAX_GROUPS - 1)]
}

/// The hash by which the relation of a flow of this group is known, of the hash that its bucket is chosen by:
/// each group has relations of its own.
#[inline(always)]
pub const fn relation(hash: FlowHash, group: u8) -> FlowHash {
    FlowHash(hash.0 ^ (group as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The uplink whose own prefix the source is under, if it is up, or nothing is: any other would drop the
/// packet (BCP 38), so that the sender had better take another source (RFC 8678 section 3).
#[inline(always)]
fn own<F: Family>(state: &SharedState, ask: Ask, id: u8) -> Result<u8, Verdict> {
    if state.is_alive(F::INDEX, id) || group(state, ask.group()).eligible(F::INDEX) == 0 {
        Ok(id)
    } else {
        Err(Verdict::ReplyWrongSource)
    }
}

/// The uplink of a flow that has no record, for a packet from inside; the flow is pinned to it.
///
/// # Errors
/// The verdict of a packet that ends with its flow, or that no uplink can carry.
#[inline(always)]
fn pinned<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    ends: &Ends<F::Address>,
    ask: Ask,
    tcp_flags: u8,
) -> Result<u8, Verdict> {
    let now = pin::time(tables.now());
    let hash = F::hash(state.seed, Policy::FiveTuple, ends);
    let old = live(tables, state, hash, now);
    let stays = match ask.own() {
        Some(id) => old.uplink() == own::<F>(state, ask, id)?,
        None => old.is_some() && stays::<F, T>(tables, state, ends, ask.group(), (old, tcp_flags))?,
    };
    if old.is_some() && stays {
        let new = old
            .used(now, Direction::Outward, tcp_flags)
            .passed(Direction::Outward);
        if new != old {
            put(tables, state, hash, new, now);
            if new.time() != old.time() {
                let touched = (new.uplink(), new.is_answered());
                touch::<F, T>(tables, state, ends, ask.group(), touched);
            }
        }
        return Ok(old.uplink());
    }
    let id = match ask.own() {
        Some(id) => id,
        None => chosen::<F, T>(tables, state, ends, ask.group())?,
    };
    let new = Pin::new(hash, id, now)
        .used(now, Direction::Outward, tcp_flags)
        .passed(Direction::Outward);
    put(tables, state, hash, new, now);
    Ok(id)
}

/// The uplink of a flow, without a packet of the flow itself: the one it is pinned to, or would be.
///
/// # Errors
/// The verdict when no uplink serves.
#[inline(always)]
fn owner<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    ends: &Ends<F::Address>,
    ask: Ask,
) -> Result<u8, Verdict> {
    if let Some(id) = ask.own() {
        return own::<F>(state, ask, id);
    }
    let group = ask.group();
    let hash = F::hash(state.seed, Policy::FiveTuple, ends);
    let pin = live(tables, state, hash, pin::time(tables.now()));
    // As in `stays`: with nothing eligible no uplink is better.
    let stays =
        state.is_alive(F::INDEX, pin.uplink()) || self::group(state, group).eligible(F::INDEX) == 0;
    if pin.is_some() && stays {
        return Ok(pin.uplink());
    }
    chosen::<F, T>(tables, state, ends, group)
}

/// Notes a packet from the internet, by uplink `id`: a flow that nobody inside has begun leaves by the
/// uplink that it came in by.
#[inline(always)]
fn note_inward<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    ends: &Ends<F::Address>,
    id: u8,
    tcp_flags: u8,
) {
    let now = pin::time(tables.now());
    let hash = F::hash(state.seed, Policy::FiveTuple, ends);
    let old = live(tables, state, hash, now);
    let known = if old.is_some() {
        old
    } else {
        Pin::new(hash, id, now).inbound()
    };
    let used = known.used(now, Direction::Inward, tcp_flags);
    // What holds for a packet by this uplink need not for one by another, to another address.
    let new = if used.uplink() == id {
        used.passed(Direction::Inward)
    } else {
        used
    };
    if new != old {
        put(tables, state, hash, new, now);
    }
}

/// Whether a pinned flow stays where it is.
///
/// # Errors
/// The verdict of a packet that ends with its flow.
#[inline(always)]
fn stays<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    ends: &Ends<F::Address>,
    number: u8,
    (pin, tcp_flags): (Pin, u8),
) -> Result<bool, Verdict> {
    let (group, id) = (group(state, number), pin.uplink());
    if state.is_alive(F::INDEX, id) {
        let settled = group.settled(F::INDEX);
        if settled == 0 || pin.is_inbound() || !returns::<F, T>(tables, state, ends, number, id)? {
            return Ok(true);
        }
    } else if group.eligible(F::INDEX) == 0 {
        // Nothing is better.
        return Ok(true);
    }
    if !F::has_prefix(uplink_entry(tables, state, id)?, ends.inside) {
        return Ok(false);
    }
    // With the uplink goes the address that the far end knows.
    if group.holds() && !state.is_alive(F::INDEX, id) {
        return Ok(true);
    }
    if ends.protocol == protocol::TCP && tcp_flags & (tcp::SYN | tcp::RST) == 0 && tcp_flags != 0 {
        return Err(Verdict::ReplyReset);
    }
    Ok(false)
}

/// Whether a flow of a group that is on uplink `id` goes back to the one that ranks first, because that has been up for
/// long enough.
///
/// Its own uplink counts as one of those that may rank first also while it takes no new flows, as when it
/// is drained: such a flow is at home where it is, and stays until it ends. Nor has one a home to go back to
/// of whose eight ranked uplinks none is there.
#[inline(always)]
pub fn returns<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    ends: &Ends<F::Address>,
    number: u8,
    id: u8,
) -> Result<bool, Verdict> {
    let group = group(state, number);
    let settled = group.settled(F::INDEX);
    if settled == 0 {
        return Ok(false);
    }
    let hash = F::hash(state.seed, group.policy(F::INDEX), ends);
    let row = row::<T>(tables, group, hash)?;
    Ok(
        match row.first_in(group.eligible(F::INDEX) | 1 << (id & 63)) {
            Some(first) => first != id && (settled >> (first & 63)) & 1 == 1,
            None => false,
        },
    )
}

/// The uplink for a new flow: its relation's, else the one that its bucket ranks first.
#[inline(always)]
fn chosen<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    ends: &Ends<F::Address>,
    number: u8,
) -> Result<u8, Verdict> {
    let group = group(state, number);
    let policy = group.policy(F::INDEX);
    let hash = F::hash(state.seed, policy, ends);
    let first = ranked::<F, T>(tables, group, hash)?;
    // Each flow is a relation of its own.
    if policy as u64 == Policy::FiveTuple as u64 {
        return Ok(first);
    }
    let now = pin::time(tables.now());
    let hash = relation(hash, number);
    let relation = live(tables, state, hash, now);
    let serves = (group.eligible(F::INDEX) >> relation.uplink()) & 1 == 1
        && (group.settled(F::INDEX) >> (first & 63)) & 1 == 0;
    if relation.is_some() && serves {
        return Ok(relation.uplink());
    }
    put(tables, state, hash, Pin::new(hash, first, now), now);
    Ok(first)
}

/// Keeps the relation of a flow that is in use; called now and then, not for each packet.
#[inline(always)]
fn touch<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    ends: &Ends<F::Address>,
    number: u8,
    (id, answered): (u8, bool),
) {
    let policy = group(state, number).policy(F::INDEX);
    if policy as u64 == Policy::FiveTuple as u64 {
        return;
    }
    let now = pin::time(tables.now());
    let hash = relation(F::hash(state.seed, policy, ends), number);
    let old = live(tables, state, hash, now);
    // Of two flows that are apart the one whose uplink serves the relation now keeps it.
    if old.is_some() && old.uplink() != id {
        return;
    }
    let direction = if answered {
        Direction::Inward
    } else {
        Direction::Outward
    };
    let new = Pin::new(hash, id, now).used(now, direction, 0);
    if new != old {
        put(tables, state, hash, new, now);
    }
}

#[inline(always)]
fn ranked<F: Family, T: Tables>(
    tables: &T,
    group: &GroupWords,
    hash: FlowHash,
) -> Result<u8, Verdict> {
    let row = row::<T>(tables, group, hash)?;
    rank::choose(row, group, F::INDEX, hash).ok_or(Verdict::ReplyUnreachable)
}

/// The rank row of a hash's bucket.
#[inline(always)]
fn row<T: Tables>(tables: &T, group: &GroupWords, hash: FlowHash) -> Result<RankRow, Verdict> {
    tables
        .row(group.rows() as u32 + hash.bucket())
        .ok_or(Verdict::DropInternal)
}

/// The pin of this hash, if its time is not up.
#[inline(always)]
fn live<T: Tables>(tables: &T, state: &SharedState, hash: FlowHash, now: u16) -> Pin {
    let pin = pin::find(tables, state.pin_lines as u32, hash);
    if pin.is_expired(now, &state.timeouts) {
        return Pin::NONE;
    }
    pin
}

#[inline(always)]
fn put<T: Tables>(tables: &T, state: &SharedState, hash: FlowHash, pin: Pin, now: u16) {
    let lines = state.pin_lines as u32;
    pin::put(tables, lines, &state.timeouts, hash, pin, now);
}
