//! The shared state: every word that the controller changes while packets flow.
//!
//! It is one value of a memory-mappable array, so that the controller changes a word by one atomic
//! 8-byte store and the programs see all of it through one lookup. Tables too large for one store
//! have two copies, and a bit here says which copy is in force.

use crate::{
    flow::{lifetime::Timeouts, pin},
    hash::Seed,
    limits::{MAX_GROUPS, MAX_UPLINKS},
    nat44::ports::PortRanges,
};

/// Index of IPv4 in every pair of words.
pub const IPV4: usize = 0;
/// Index of IPv6 in every pair of words.
pub const IPV6: usize = 1;

/// The words of one group; one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct GroupWords {
    /// Eligible word for each family: bit n = uplink n may take new flows.
    pub eligible: [u64; 2],
    /// The last eligible word for each family that was not zero: what serves when every probe
    /// fails at once.
    pub last_good: [u64; 2],
    /// Index of the rank row of this group's bucket 0.
    pub rows: u64,
    /// What of a flow is hashed, and a set of `GROUP_*` flags: see [`GroupWords::conduct`].
    pub conduct: u64,
    /// Settled word for each family: bit n = flows that rank uplink n first go back to it from
    /// others, because it has been up for long enough. Zero where flows stay where they are.
    pub settled: [u64; 2],
}

/// Translated flows keep to their uplink when it dies, and wait.
pub const GROUP_HOLD: u64 = 1 << 16;

/// What of a flow is hashed to choose its uplink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum Policy {
    /// Addresses, protocol and ports.
    #[default]
    FiveTuple = 0,
    /// Both addresses: all of one host's connections to a server take one uplink.
    SourceDestination = 1,
    /// The source address: all that one host does takes one uplink.
    Source = 2,
}

impl GroupWords {
    /// A group without uplinks.
    pub const ZERO: Self = Self {
        eligible: [0; 2],
        last_good: [0; 2],
        rows: 0,
        conduct: 0,
        settled: [0; 2],
    };

    /// The word that says what of the flows of each family is hashed, and which `GROUP_*` flags are
    /// set: the policies of IPv4 and IPv6 in bits 0 to 7 and 8 to 15, flags from bit 16 on.
    pub const fn conduct(policies: [Policy; 2], flags: u64) -> u64 {
        policies[IPV4] as u64 | (policies[IPV6] as u64) << 8 | flags
    }

    /// The eligible word of a family, read once.
    #[inline(always)]
    pub fn eligible(&self, family: usize) -> u64 {
        // SAFETY: a reference is valid for a read; volatile because the controller stores to the
        // word while a program runs, and it must not be read twice with two results.
        unsafe { core::ptr::read_volatile(&self.eligible[family & 1]) }
    }

    /// The last known good uplinks of a family, read once.
    #[inline(always)]
    pub fn last_good(&self, family: usize) -> u64 {
        // SAFETY: as in `eligible`.
        unsafe { core::ptr::read_volatile(&self.last_good[family & 1]) }
    }

    /// Uplinks of a family that flows go back to, read once.
    #[inline(always)]
    pub fn settled(&self, family: usize) -> u64 {
        // SAFETY: as in `eligible`.
        unsafe { core::ptr::read_volatile(&self.settled[family & 1]) }
    }

    /// Whether translated flows wait for their uplink.
    #[inline(always)]
    pub const fn holds(&self) -> bool {
        self.conduct & GROUP_HOLD != 0
    }

    /// What of a family's flows is hashed.
    #[inline(always)]
    pub const fn policy(&self, family: usize) -> Policy {
        match self.conduct >> (8 * (family & 1)) & 0xff {
            1 => Policy::SourceDestination,
            2 => Policy::Source,
            _ => Policy::FiveTuple,
        }
    }

    /// Index of the rank row of this group's bucket 0, read once.
    #[inline(always)]
    pub fn rows(&self) -> u64 {
        // SAFETY: as in `eligible`.
        unsafe { core::ptr::read_volatile(&self.rows) }
    }
}

/// In [`SharedState::rules`]: DNS is observed.
pub const RULES_OBSERVE_DNS: u64 = 1 << 3;

/// Everything that the controller changes by single stores.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct SharedState {
    /// The flow hash's seed; set before the programs are attached, then constant.
    pub seed: Seed,
    /// Bit n: the line of uplink n has, or had, a [fault](crate::fault).
    pub faulty: u64,
    /// Bit 0: which copy of the IPv4 address table is in force; bit 1: of the IPv6 one.
    pub address_copies: u64,
    /// Bit n: which copy of uplink n's entry is in force.
    pub uplink_copies: u64,
    /// Alive word for each family: bit n = uplink n can carry packets at all.
    pub alive: [u64; 2],
    /// Bit n: uplinks of family n translate addresses, so flows are looked up.
    pub tracked: u64,
    /// Buckets of the flow table.
    pub flow_buckets: u64,
    /// Outside ports that may be given out.
    pub port_ranges: PortRanges,
    /// Idle times of flows.
    pub timeouts: Timeouts,
    /// Lines of the pin table.
    pub pin_lines: u64,
    /// When something last changed that the way of known flows depends on, and that the short way does
    /// not look at: see [`SharedState::is_calm`]. In ticks.
    pub changed: u64,
    /// When the controller last looked after the maps, in nanoseconds of CLOCK_MONOTONIC; 0 =
    /// never. In a cache line that no packet reads.
    pub heartbeat: u64,
    /// In bits 0 and 1 which copy of the rulebook is in force, as its number + 1, or 0 when there are no rules; in
    /// bit 2 which side of the tables of domains is its; and in bit 3 whether DNS is observed.
    pub rules: u64,
    /// Room for later words; zero.
    pub reserved: [u64; 6],
    /// The groups' words, by group number.
    pub groups: [GroupWords; MAX_GROUPS],
}

impl SharedState {
    /// Which copy of the address table of `family` is in force: 0 or 1.
    #[inline(always)]
    pub fn address_copy(&self, family: usize) -> u32 {
        // SAFETY: a reference is valid for a read; volatile as in `GroupWords::eligible`.
        let copies = unsafe { core::ptr::read_volatile(&self.address_copies) };
        (copies >> family) as u32 & 1
    }

    /// Which copy of uplink `id`'s entry is in force: 0 or 1.
    #[inline(always)]
    pub fn uplink_copy(&self, id: u8) -> u32 {
        // SAFETY: a reference is valid for a read; volatile as in `GroupWords::eligible`.
        let copies = unsafe { core::ptr::read_volatile(&self.uplink_copies) };
        (copies >> (id & 63)) as u32 & 1
    }

    /// Whether the line of the device of this slot may have a fault; LAN ports have none.
    #[inline(always)]
    pub fn is_faulty(&self, slot: u32) -> bool {
        // SAFETY: a reference is valid for a read; volatile as in `GroupWords::eligible`.
        let word = unsafe { core::ptr::read_volatile(&self.faulty) };
        (word >> (slot & 63)) & 1 == 1 && (slot as usize) < MAX_UPLINKS
    }

    /// Whether flows of `family` are looked up.
    #[inline(always)]
    pub const fn is_tracked(&self, family: usize) -> bool {
        (self.tracked >> family) & 1 == 1
    }

    /// Whether, at `now`, all that was looked up in this unit of the [pins' clock](pin::time) holds: the
    /// address tables, the rules, the uplinks' entries, the groups' settled words and conduct are what they were
    /// when the unit began.
    #[inline(always)]
    pub fn is_calm(&self, now: u32) -> bool {
        // SAFETY: a reference is valid for a read; volatile as in `GroupWords::eligible`.
        let changed = unsafe { core::ptr::read_volatile(&self.changed) };
        u64::from(now) >= changed
    }

    /// The value of [`SharedState::changed`] for a change that is made at `now`: the unit after the next
    /// one's beginning, so that neither two CPUs' clocks nor a controller that is held up between
    /// writing this and the change itself count.
    pub const fn calm_after(now: u32) -> u64 {
        (pin::time_unit(now) + 2) * pin::TICKS as u64
    }

    /// Which copy of the rulebook is in force (bit 0), and which side of the tables of domains is its (bit 1), if
    /// there are rules. To be asked once for a packet, so that one policy judges it alone.
    #[inline(always)]
    pub fn rulebook(&self) -> Option<u32> {
        // SAFETY: a reference is valid for a read; volatile as in `GroupWords::eligible`.
        let word = unsafe { core::ptr::read_volatile(&self.rules) };
        match word & 3 {
            0 => None,
            number => Some((number - 1) as u32 & 1 | (word >> 1) as u32 & 2),
        }
    }

    /// Whether messages of DNS are copied for the controller, so that they take the full way.
    #[inline(always)]
    pub fn observes_dns(&self) -> bool {
        // SAFETY: a reference is valid for a read; volatile as in `GroupWords::eligible`.
        unsafe { core::ptr::read_volatile(&self.rules) & RULES_OBSERVE_DNS != 0 }
    }

    /// Buckets of the flow table.
    #[inline(always)]
    pub const fn flow_buckets(&self) -> u32 {
        self.flow_buckets as u32
    }

    /// Whether uplink `id` can carry packets of `family` at all.
    #[inline(always)]
    pub fn is_alive(&self, family: usize, id: u8) -> bool {
        // SAFETY: a reference is valid for a read; volatile as in `GroupWords::eligible`.
        let word = unsafe { core::ptr::read_volatile(&self.alive[family & 1]) };
        (word >> (id & 63)) & 1 == 1
    }
}

const _: () = assert!(size_of::<GroupWords>() == 64);
const _: () = assert!(size_of::<SharedState>() == 192 + 64 * MAX_GROUPS);

// SAFETY: `repr(C)`, only words of 8 and 4 bytes, no padding: any bytes are a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for SharedState {}
