//! Faults in the uplinks' lines: set, ended and looked at in memory that the programs share, by the
//! controller and by commands that need none.

use std::{path::Path, sync::atomic::Ordering::SeqCst};

use aya::maps::Map;
use multihome_common::{
    abi,
    fault::{Effect, Fault},
    limits::MAX_UPLINKS,
    state::SharedState,
};

use super::{
    DataplaneError,
    pinned::{self, PinnedError},
    shared::SharedArray,
};

/// A fault that has not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultInForce {
    /// The uplink's id.
    pub id: u8,
    /// What it does.
    pub effect: Effect,
    /// When it ends, in nanoseconds of CLOCK_MONOTONIC.
    pub until: u64,
}

/// The faults of all uplinks.
#[derive(Debug)]
pub struct Faults {
    state: SharedArray<SharedState>,
    lines: SharedArray<Fault>,
}

impl Faults {
    pub(super) fn map(state: &Map, faults: &Map) -> Result<Self, DataplaneError> {
        Ok(Self {
            state: SharedArray::map(state, abi::STATE)?,
            lines: SharedArray::map(faults, abi::FAULTS)?,
        })
    }

    /// Sets the fault of an uplink, in force until this moment of CLOCK_MONOTONIC in nanoseconds.
    pub fn set(&self, id: u8, effect: Effect, until: u64) {
        let Some(line) = self.lines.get(id.into()) else {
            return;
        };
        line.set(effect, until);
        // From here on the programs look at it.
        self.state.faulty().fetch_or(bit(id), SeqCst);
    }

    /// Ends the fault of an uplink; a LAN port has none.
    pub fn clear(&self, id: u8) {
        if let Some(line) = self.lines.get(id.into()) {
            line.clear();
            self.tidy(id, 0);
        }
    }

    /// The faults that are in force `now`, a moment of CLOCK_MONOTONIC in nanoseconds, by uplink.
    pub fn in_force(&self, now: u64) -> Vec<FaultInForce> {
        let word = self.state.faulty().load(SeqCst);
        let of = |id| {
            let (effect, until) = self.lines.get(u32::from(id))?.in_force(now)?;
            Some(FaultInForce { id, effect, until })
        };
        (0..MAX_UPLINKS as u8)
            .filter(|id| word & bit(*id) != 0)
            .filter_map(of)
            .collect()
    }

    /// Spares the programs the look at faults that are over.
    pub fn tidy_all(&self, now: u64) {
        let word = self.state.faulty().load(SeqCst);
        (0..MAX_UPLINKS as u8)
            .filter(|id| word & bit(*id) != 0)
            .for_each(|id| self.tidy(id, now));
    }

    fn tidy(&self, id: u8, now: u64) {
        let holds = || {
            self.lines
                .get(id.into())
                .is_some_and(|line| line.holds(now))
        };
        if holds() {
            return;
        }
        self.state.faulty().fetch_and(!bit(id), SeqCst);
        // Another process may have set one meanwhile, and its bit before it was taken away here.
        if holds() {
            self.state.faulty().fetch_or(bit(id), SeqCst);
        }
    }
}

const fn bit(id: u8) -> u64 {
    1 << (id & 63)
}

/// The faults of a gateway that has pinned its maps, whether or not a controller runs.
#[derive(Debug)]
pub struct PinnedFaults {
    /// The faults.
    pub faults: Faults,
    /// The uplinks' names by id; `None` where there is no such uplink.
    pub uplinks: Vec<Option<String>>,
}

impl PinnedFaults {
    /// Opens what is pinned below this run directory: for this network namespace, or for another
    /// one if there is only one.
    ///
    /// # Errors
    /// When nothing is pinned there, or it may not be used.
    pub fn open(run_dir: &Path) -> Result<Self, PinnedError> {
        let pins = pinned::Pins::find(run_dir)?;
        let state = Map::Array(pins.open(abi::STATE)?);
        let faults = Map::Array(pins.open(abi::FAULTS)?);
        Ok(Self {
            faults: Faults::map(&state, &faults)?,
            uplinks: pins.uplinks()?,
        })
    }
}
