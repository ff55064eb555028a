//! Faults that are put into the line of an uplink, for tests and drills: all or some of what passes is
//! lost, until a deadline that the programs keep by themselves.
//!
//! Who sets a fault fills the uplink's entry and then sets its bit in
//! [`SharedState::faulty`](crate::state::SharedState::faulty), the one thing that a packet looks at where
//! there is no fault. A bit that is left set after the deadline costs time and loses nothing.

use crate::{
    hash::{FlowHash, Seed},
    word::{Word, Words},
};

/// A share of packets, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// Every packet.
    pub const ALL: Self = Self(1_000_000);

    /// This many of a million packets; `None` for none and for more than all.
    pub const fn of_million(parts: u32) -> Option<Self> {
        if parts == 0 || parts > Self::ALL.0 {
            return None;
        }
        Some(Self(parts))
    }

    /// How many of a million packets: 1 to 1 000 000.
    pub const fn per_million(self) -> u32 {
        self.0
    }
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// How much is lost, in each direction by itself.
    pub loss: Share,
    /// Only what comes from beyond the link and what is sent beyond it is lost: ARP, neighbour
    /// discovery and what the next hop itself says get through.
    pub beyond_next_hop: bool,
}

/// The fault of one uplink's line; one cache line.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Fault {
    /// When it ends, in nanoseconds of CLOCK_MONOTONIC.
    until: Word,
    /// The loss in millionths in bits 0 to 31, then [`BEYOND`].
    effect: Word,
    /// Packets for which it was drawn whether they are lost.
    drawn: Word,
    reserved: [Word; 5],
}

// SAFETY: `repr(C)`, words only.
unsafe impl Words for Fault {}

const BEYOND: u64 = 1 << 32;

impl Fault {
    /// Sets the fault, in force until this moment of CLOCK_MONOTONIC in nanoseconds.
    pub fn set(&self, effect: Effect, until: u64) {
        // Not in force while it is neither the old one nor the new one.
        self.until.publish(0);
        let beyond = if effect.beyond_next_hop { BEYOND } else { 0 };
        self.effect.store(u64::from(effect.loss.0) | beyond);
        self.until.publish(until);
    }

    /// Ends the fault.
    pub fn clear(&self) {
        self.until.publish(0);
    }

    /// Begins the series of draws anew, so that the same packets are lost again.
    pub fn rewind(&self) {
        self.drawn.store(0);
    }

    /// What the fault does, and when it ends, if it has not ended `now`.
    pub fn in_force(&self, now: u64) -> Option<(Effect, u64)> {
        let until = self.until.load();
        let word = self.effect.load();
        let effect = Effect {
            loss: Share::of_million(word as u32)?,
            beyond_next_hop: word & BEYOND != 0,
        };
        (until > now).then_some((effect, until))
    }

    /// Whether the fault has not ended at this moment of CLOCK_MONOTONIC, in nanoseconds.
    #[inline(always)]
    pub fn holds(&self, now: u64) -> bool {
        self.until.load() > now
    }

    /// Whether what is of the link itself gets through.
    #[inline(always)]
    pub fn spares_link(&self) -> bool {
        self.effect.load() & BEYOND != 0
    }

    /// Draws whether the next packet is lost.
    ///
    /// The draws are a hash of their number: nobody without the seed can tell which packets will be
    /// lost, and a test can have them again. Two CPUs that draw at once may have the same draw.
    #[inline(always)]
    pub fn loses(&self, seed: Seed) -> bool {
        let number = self.drawn.load();
        self.drawn.store(number.wrapping_add(1));
        let draw = FlowHash::new(seed, [number]).0 >> 32;
        (draw * u64::from(Share::ALL.0)) >> 32 < self.effect.load() & 0xffff_ffff
    }
}

const _: () = assert!(size_of::<Fault>() == 64);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEED: Seed = [0x0123_4567_89ab_cdef, 42];

    proptest! {
        #[test]
        fn as_many_packets_are_lost_as_was_said(parts in 1u32..=1_000_000, seed in any::<[u64; 2]>()) {
            let fault = Fault::default();
            let loss = Share::of_million(parts).expect("in range");
            fault.set(Effect { loss, beyond_next_hop: false }, 1);
            let count = 20_000;
            let lost = (0..count).filter(|_| fault.loses(seed)).count();
            let (lost, share) = (lost as f64 / f64::from(count), f64::from(parts) / 1e6);
            // Seven standard deviations at most.
            prop_assert!((lost - share).abs() < 0.025, "{lost} of {share}");
        }
    }

    #[test]
    fn all_is_all_and_the_draws_can_be_had_again() {
        let fault = Fault::default();
        let mut effect = Effect {
            loss: Share::ALL,
            beyond_next_hop: true,
        };
        fault.set(effect, 100);
        assert!((0..10_000).all(|_| fault.loses(SEED)));
        effect.loss = Share::of_million(500_000).expect("in range");
        fault.set(effect, 100);
        let draws = || {
            fault.rewind();
            core::array::from_fn::<bool, 64, _>(|_| fault.loses(SEED))
        };
        assert_eq!(draws(), draws());
    }

    #[test]
    fn a_fault_ends_at_its_deadline_or_when_it_is_cleared() {
        let fault = Fault::default();
        assert_eq!(fault.in_force(0), None);
        let effect = Effect {
            loss: Share::of_million(300_000).expect("in range"),
            beyond_next_hop: true,
        };
        fault.set(effect, 1000);
        assert_eq!(fault.in_force(999), Some((effect, 1000)));
        assert!(fault.holds(999) && !fault.holds(1000) && fault.spares_link());
        assert_eq!(fault.in_force(1000), None);
        fault.clear();
        assert_eq!(fault.in_force(0), None);
        assert_eq!(Share::of_million(0), None);
        assert_eq!(Share::of_million(1_000_001), None);
    }
}
