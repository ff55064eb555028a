//! The words of the shared state that translation and the keeping of flows depend on.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use multihome_common::{flow::lifetime::Timeouts, nat44::ports::PortRanges, state::SharedState};

use super::Dataplane;
use crate::flows::clock;

impl Dataplane {
    /// Tells the programs how large the tables are that the configuration sizes.
    ///
    /// Tables that were adopted have the sizes that they had, so a program that runs already sees no
    /// change.
    pub fn tell_sizes(&self) {
        let buckets = u64::from(self.flows.buckets());
        self.state.flow_buckets().store(buckets, SeqCst);
        let lines = u64::from(self.flows.pin_lines());
        self.state.pin_lines().store(lines, SeqCst);
    }

    /// Says which outside ports may be given out; the port table must agree.
    pub fn set_port_ranges(&self, ranges: PortRanges) {
        self.state.port_ranges().store(ranges.0, SeqCst);
    }

    /// Sets the idle times of flows.
    pub fn set_timeouts(&self, timeouts: &Timeouts) {
        self.state.set_timeouts(timeouts);
    }

    /// Which families' flows are looked up; bit n = family n.
    pub fn tracked(&self) -> u64 {
        self.state.tracked().load(Relaxed)
    }

    /// Stores which families' flows are looked up.
    pub fn set_tracked(&self, word: u64) {
        self.change(self.state.tracked(), word);
    }

    /// Stores what of a group's flows is hashed, and its flags.
    pub fn set_conduct(&self, group: usize, word: u64) {
        self.change(self.state.conduct(group), word);
    }

    /// A group's settled word for a family.
    pub fn settled(&self, group: usize, family: usize) -> u64 {
        self.state.settled(group, family).load(Relaxed)
    }

    /// Stores to which uplinks flows of a group go back.
    pub fn set_settled(&self, group: usize, family: usize, word: u64) {
        self.change(self.state.settled(group, family), word);
    }

    /// Stores a word that the short way of known flows does not look at.
    pub(super) fn change(&self, place: &AtomicU64, word: u64) {
        // What is as it was would send all flows the full way for nothing.
        if place.load(Relaxed) != word {
            self.unsettle();
            place.store(word, SeqCst);
            self.unsettle();
        }
    }

    /// Makes the programs look at all flows anew: called before and after each change of what the short
    /// way of known flows does not look at.
    ///
    /// Afterwards, so that what was found just before the change does not hold any more; and before,
    /// so that this is so as well when the controller dies in between.
    pub(super) fn unsettle(&self) {
        let until = SharedState::calm_after(clock::now());
        self.state.changed().store(until, SeqCst);
    }
}
