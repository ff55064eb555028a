//! The port table: who owns each outside port.
//!
//! One word for each port, found by the port's number, so a port can have one owner only, and a
//! mapping cannot be half there. A mapping is independent of the remote end (RFC 4787 REQ-1): all
//! flows of one inside address and port share one word, which counts them.
//!
//! ```text
//! 63             32 31         16 15        0
//! | inside address | inside port | flows     |
//! ```
//!
//! No flows: the port is free, and remembers its last owner. [`PERMANENT`] flows: the port is not
//! given out. Then an inside address of zero means that it is the kernel's, any other that it is a
//! forward.

use crate::{
    branchless,
    flow::FlowKey,
    limits::CLAIM_ATTEMPTS,
    wire::protocol,
    word::{Word, Words},
};

/// Ports in one cache line, which are neighbours.
pub const LINE: usize = 8;
/// Lines for each protocol of each outside address.
pub const LINES: u32 = 65_536 / LINE as u32;
/// Protocols that have ports of their own, as [`Space`] numbers them.
pub const SPACES: u32 = 4;
/// Lines that are searched for a port.
pub const SEARCHED_LINES: u32 = 4;
/// The number of flows of a port that is not given out.
pub const PERMANENT: u16 = u16::MAX;
/// The word of a port that is the kernel's own.
pub const RESERVED: u64 = PERMANENT as u64;
/// Flows that one mapping can have at once.
pub const MAX_FLOWS: u16 = PERMANENT - 1;

/// Eight neighbouring ports.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct PortLine(pub [Word; LINE]);

// SAFETY: `repr(C)`, words only.
unsafe impl Words for PortLine {}

/// Where the port table lies.
///
/// The kernel runs each of the steps in a function of its own, which the verifier walks once.
pub trait PortMemory: Sized {
    /// A line; see [`line_of`].
    fn port_line(&self, index: u32) -> Option<&PortLine>;

    /// Counts one flow more of the port in this line that belongs to `owner`.
    fn join_line(&self, line: u32, owner: u64) -> Found {
        join_line(self, line, owner)
    }

    /// Takes a free port of this line, with one flow: the first from place `start` on, going round,
    /// in steps of one or two.
    fn take_line(&self, line: u32, owner: u64, start: u32, step: u32) -> Found {
        take_line(self, line, owner, start, step)
    }
}

/// What was found in a line: a place of it and how, as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found(pub u32);

impl Found {
    const NOTHING: Self = Self(0x10);
    /// The mapping is here, and has as many flows as it can count.
    const FULL: Self = Self(0x20);
    /// Another CPU took the port that was free.
    const RACED: Self = Self(0x50);
    const FORWARD: u32 = 8;

    /// The place in the line.
    #[inline(always)]
    const fn place(self) -> u32 {
        self.0 & (LINE as u32 - 1)
    }

    #[inline(always)]
    const fn is_nothing(self) -> bool {
        self.0 & Self::NOTHING.0 != 0
    }

    #[inline(always)]
    const fn is_full(self) -> bool {
        self.0 & Self::FULL.0 != 0
    }

    #[inline(always)]
    const fn is_forward(self) -> bool {
        self.0 & Self::FORWARD != 0
    }
}

/// What kind of number a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Space {
    /// TCP ports.
    Tcp = 0,
    /// UDP ports.
    Udp = 1,
    /// Identifiers of ICMP queries.
    Query = 2,
    /// Protocols without ports: numbers made from the remote address and the protocol.
    Pair = 3,
}

impl Space {
    /// The space of a protocol.
    #[inline(always)]
    pub const fn of(number: u8) -> Self {
        match number {
            protocol::TCP => Self::Tcp,
            protocol::UDP => Self::Udp,
            protocol::ICMP => Self::Query,
            _ => Self::Pair,
        }
    }
}

/// The line that a port stands in.
#[inline(always)]
pub const fn line_of(pool: u16, space: Space, port: u16) -> u32 {
    (pool as u32 * SPACES + space as u32) * LINES + port as u32 / LINE as u32
}

/// A port's entry, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortWord(pub u64);

impl PortWord {
    /// The entry of a forward to this inside address and port.
    #[inline(always)]
    pub const fn forward(inside: u32, port: u16) -> Self {
        Self((inside as u64) << 32 | (port as u64) << 16 | PERMANENT as u64)
    }

    /// The inside address.
    #[inline(always)]
    pub const fn inside(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The inside port.
    #[inline(always)]
    pub const fn inside_port(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// How many flows the mapping has.
    #[inline(always)]
    pub const fn flows(self) -> u16 {
        self.0 as u16
    }

    /// The port may be given out.
    #[inline(always)]
    pub const fn is_free(self) -> bool {
        self.flows() == 0
    }

    /// The port is the kernel's own.
    #[inline(always)]
    pub const fn is_reserved(self) -> bool {
        self.0 == RESERVED
    }

    /// The port is a forward.
    #[inline(always)]
    pub const fn is_forward(self) -> bool {
        self.flows() == PERMANENT && !self.is_reserved()
    }

    /// Whether the port belongs to this inside address and port.
    #[inline(always)]
    const fn belongs_to(self, owner: u64) -> bool {
        self.0 >> 16 == owner && self.flows() != 0
    }
}

/// Which outside ports may be given out: one or two ranges, first and last port of each, as one
/// word. A second range of 0 to 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRanges(pub u64);

impl PortRanges {
    /// These ranges, by first and last port.
    pub const fn new(first: (u16, u16), second: (u16, u16)) -> Self {
        Self(
            (first.0 as u64) << 48
                | (first.1 as u64) << 32
                | (second.0 as u64) << 16
                | second.1 as u64,
        )
    }

    #[inline(always)]
    const fn line_at(self, shift: u32) -> u32 {
        (self.0 >> shift) as u16 as u32 / LINE as u32
    }

    /// The line, within a space, at a place of the ranges that `random` chooses.
    #[inline(always)]
    const fn line(self, random: u32) -> u32 {
        let (first, first_end) = (self.line_at(48), self.line_at(32) + 1);
        let (second, second_end) = (self.line_at(16), self.line_at(0) + 1);
        let first_len = first_end.wrapping_sub(first);
        let second_len = if self.0 as u32 == 0 {
            0
        } else {
            second_end.wrapping_sub(second)
        };
        let place = ((random as u64 * (first_len + second_len) as u64) >> 32) as u32;
        let line = if place < first_len {
            first + place
        } else {
            second + (place - first_len)
        };
        line % LINES
    }
}

/// What a mapping is sought for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The part of the port table of the outside address.
    pub pool: u16,
    /// The kind of port.
    pub space: Space,
    /// The inside address.
    pub inside: u32,
    /// The inside port, which the outside port shall be if it can.
    pub port: u16,
    /// Ports that may be given out.
    pub ranges: PortRanges,
    /// A hash of seed, inside address and port: where other ports are sought.
    pub hash: u64,
}

/// A mapping that has one flow more than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The outside port.
    pub port: u16,
    /// The port is a forward: the flow is not counted.
    pub forward: bool,
}

impl Request {
    #[inline(always)]
    const fn owner(&self) -> u64 {
        (self.inside as u64) << 16 | self.port as u64
    }

    /// The `n`th line that is searched: first that of the inside port itself.
    #[inline(always)]
    const fn line(&self, n: u32) -> u32 {
        if n == 0 {
            return line_of(self.pool, self.space, self.port);
        }
        let random = (self.hash.rotate_left(n * 16) >> 32) as u32 ^ n;
        let base = line_of(self.pool, self.space, 0);
        base + self.ranges.line(random)
    }

    /// Finds the mapping of this inside address and port, or makes one; `None` when no port is free
    /// among those that are searched, or the mapping has as many flows as it can count.
    ///
    /// Two CPUs that make the mapping at once try the same ports in the same order, so the second
    /// finds what the first has made.
    #[inline(always)]
    pub fn map<M: PortMemory>(&self, memory: &M) -> Option<Mapping> {
        // A number in place of a port is found by what it is made from, so it has one place only.
        let pair = self.space as u8 == Space::Pair as u8;
        let lines = if pair { 1 } else { SEARCHED_LINES };
        for n in 0..lines {
            let line = self.line(n);
            let found = memory.join_line(line, self.owner());
            if !found.is_nothing() {
                return (!found.is_full()).then_some(self.mapping(line, found));
            }
        }
        // RFC 4787 REQ-4: an even port for an even one, because RTP and RTCP are pairs.
        let step = match self.space {
            Space::Udp => 2,
            Space::Tcp | Space::Query => 1,
            Space::Pair => 0,
        };
        for n in 0..lines {
            let line = self.line(n);
            // RFC 4787 section 4.2.1: the same port if it can be had.
            let start = u32::from(self.port) % LINE as u32;
            let mut found = memory.take_line(line, self.owner(), start, step);
            if found.0 == Found::RACED.0 {
                // Perhaps the other CPU has made the very same mapping; else there are more lines.
                found = memory.join_line(line, self.owner());
            }
            if !found.is_nothing() && !found.is_full() {
                return Some(self.mapping(line, found));
            }
        }
        None
    }

    #[inline(always)]
    const fn mapping(&self, line: u32, found: Found) -> Mapping {
        Mapping {
            port: ((line % LINES) * LINE as u32 + found.place()) as u16,
            forward: found.is_forward(),
        }
    }
}

/// See [`PortMemory::join_line`].
#[inline(always)]
pub fn join_line<M: PortMemory>(memory: &M, line: u32, owner: u64) -> Found {
    let Some(line) = memory.port_line(line) else {
        return Found::NOTHING;
    };
    let found = own_place(line, owner);
    if found == NO_PLACE {
        return Found::NOTHING;
    }
    match join_word(&line.0[found as usize & (LINE - 1)], owner) {
        Joined::Yes => Found(found),
        Joined::Forward => Found(found | Found::FORWARD),
        Joined::Full => Found::FULL,
        // Its last flow ended this moment.
        Joined::Gone => Found::NOTHING,
    }
}

/// See [`PortMemory::take_line`].
#[inline(always)]
pub fn take_line<M: PortMemory>(memory: &M, line: u32, owner: u64, start: u32, step: u32) -> Found {
    let Some(line) = memory.port_line(line) else {
        return Found::NOTHING;
    };
    let place = free_place(line, start, step);
    // Looked at after the places: another CPU may have made this very mapping since it was sought.
    if own_place(line, owner) != NO_PLACE {
        return Found::RACED;
    }
    if place == NO_PLACE {
        return Found::NOTHING;
    }
    let found = Found(place & (LINE as u32 - 1));
    let word = &line.0[found.0 as usize];
    let old = PortWord(word.load());
    if old.is_free() && word.change(old.0, owner << 16 | 1) {
        return found;
    }
    Found::RACED
}

const NO_PLACE: u32 = LINE as u32;

/// The place of this owner's port; [`NO_PLACE`] when there is none.
#[inline(always)]
fn own_place(line: &PortLine, owner: u64) -> u32 {
    let mut found = u64::from(NO_PLACE);
    for place in (0..LINE).rev() {
        let word = PortWord(line.0[place].load());
        let own = branchless::equal(word.0 >> 16, owner);
        let free = branchless::equal(word.flows().into(), 0);
        found = branchless::choose(own & (free ^ 1), place as u64, found);
    }
    found as u32
}

/// The first free place from `start` on, going round in steps; [`NO_PLACE`] when there is none.
#[inline(always)]
fn free_place(line: &PortLine, start: u32, step: u32) -> u32 {
    let mut found = u64::from(NO_PLACE);
    for n in (0..LINE as u32).rev() {
        let place = start.wrapping_add(n * step) & (LINE as u32 - 1);
        let flows = PortWord(line.0[place as usize].load()).flows();
        let free = branchless::is_zero(flows.into());
        found = branchless::choose(free, u64::from(place), found);
    }
    found as u32
}

enum Joined {
    Yes,
    Forward,
    Full,
    Gone,
}

/// Counts one flow more of this owner.
///
/// Never inlined: the verifier would walk its loop anew for each place that the port may stand at.
#[inline(never)]
fn join_word(word: &Word, owner: u64) -> Joined {
    for _ in 0..CLAIM_ATTEMPTS {
        let old = PortWord(word.load());
        if !old.belongs_to(owner) {
            return Joined::Gone;
        }
        if old.flows() == PERMANENT {
            return Joined::Forward;
        }
        if old.flows() >= MAX_FLOWS {
            return Joined::Full;
        }
        if word.change(old.0, old.0 + 1) {
            return Joined::Yes;
        }
    }
    Joined::Full
}

/// Counts one flow more of a port that belongs to the flow's inside end; whether it is a forward.
/// `None` when the port has another owner by now, or as many flows as it can count.
#[inline(always)]
pub fn join<M: PortMemory>(
    memory: &M,
    pool: u16,
    space: Space,
    port: u16,
    key: &FlowKey,
) -> Option<bool> {
    let line = memory.port_line(line_of(pool, space, port))?;
    let owner = u64::from(key.inside4()) << 16 | u64::from(key.inside_port());
    match join_word(&line.0[usize::from(port) % LINE], owner) {
        Joined::Yes => Some(false),
        Joined::Forward => Some(true),
        Joined::Full | Joined::Gone => None,
    }
}

/// Takes one flow off a port that is not permanent; the last one frees it.
#[inline(always)]
pub fn release<M: PortMemory>(memory: &M, pool: u16, space: Space, port: u16) {
    if let Some(line) = memory.port_line(line_of(pool, space, port)) {
        line.0[usize::from(port) % LINE].subtract_one();
    }
}

/// The entry of a port.
#[inline(always)]
pub fn look<M: PortMemory>(memory: &M, pool: u16, space: Space, port: u16) -> Option<PortWord> {
    let line = memory.port_line(line_of(pool, space, port))?;
    Some(PortWord(line.0[usize::from(port) % LINE].load()))
}
