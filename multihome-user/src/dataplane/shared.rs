//! Map memory shared with the kernel: words are changed by single atomic stores, without a system
//! call.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{Map, MapData};
use multihome_common::{flow::lifetime::Timeouts, state::SharedState, word::Words};

use super::{DataplaneError, flows};

/// The memory of an array map of `T`, created with `BPF_F_MMAPABLE`.
#[derive(Debug)]
pub struct SharedArray<T> {
    start: NonNull<T>,
    entries: usize,
    _entries: PhantomData<T>,
}

// SAFETY: the memory belongs to the map and lives until `drop`; all access is atomic.
unsafe impl<T> Send for SharedArray<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for SharedArray<T> {}

impl<T> SharedArray<T> {
    /// Maps the array of this name.
    ///
    /// # Errors
    /// When the kernel refuses; the map's name and sizes are those of [`abi::MAPS`].
    pub fn map(map: &Map, name: &'static str) -> Result<Self, DataplaneError> {
        let refused = |source| DataplaneError::Map { map: name, source };
        let io_error = |call, io_error| {
            refused(aya::maps::MapError::SyscallError(aya::sys::SyscallError {
                call,
                io_error,
            }))
        };
        let Map::Array(data) = map else {
            return Err(DataplaneError::Missing(name));
        };
        let data: &MapData = data;
        let entries = flows::entries(data).ok_or(DataplaneError::Missing(name))?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<T>() * entries,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        match NonNull::new(start.cast::<T>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Self {
                start,
                entries,
                _entries: PhantomData,
            }),
            _ => Err(io_error("mmap", io::Error::last_os_error())),
        }
    }
}

impl SharedArray<u64> {
    /// Replaces one word, so that programs see either the old or the new one; nothing behind the last.
    pub fn store(&self, index: u32, value: u64) {
        if (index as usize) < self.entries {
            // SAFETY: the index is checked; the mapping lives as long as `self`, and kernel and user access
            // its words only as a whole.
            let word = unsafe { AtomicU64::from_ptr(self.start.add(index as usize).as_ptr()) };
            word.store(value, Ordering::Relaxed);
        }
    }
}

impl<T: Words> SharedArray<T> {
    /// Entries of the array.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// One entry.
    pub fn get(&self, index: u32) -> Option<&T> {
        // SAFETY: the index is checked, the mapping lives as long as `self` and is aligned to a page,
        // and a type of words is read and written by atomic accesses alone.
        ((index as usize) < self.entries)
            .then(|| unsafe { self.start.add(index as usize).as_ref() })
    }
}

impl<T> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the range is the one that `map` got, and nothing refers to it any more. A failure
        // would leave the memory mapped, which harms nothing.
        unsafe { libc::munmap(self.start.as_ptr().cast(), size_of::<T>() * self.entries) };
    }
}

/// Names one word of the shared state.
macro_rules! word {
    ($shared:expr, $($field:tt)+) => {
        // SAFETY: the mapping holds one whole `SharedState`, aligned to a page; kernel and user
        // access its words only as a whole.
        unsafe { AtomicU64::from_ptr(&raw mut (*$shared.start.as_ptr()).$($field)+) }
    };
}

impl SharedArray<SharedState> {
    /// The hash's seed.
    pub fn seed(&self) -> [u64; 2] {
        [0, 1].map(|n| word!(self, seed[n]).load(Ordering::Relaxed))
    }

    /// Sets the hash's seed.
    pub fn set_seed(&self, seed: [u64; 2]) {
        for (n, half) in seed.into_iter().enumerate() {
            word!(self, seed[n]).store(half, Ordering::Relaxed);
        }
    }

    /// When a controller last looked after the maps, in nanoseconds of CLOCK_MONOTONIC.
    pub fn heartbeat(&self) -> &AtomicU64 {
        word!(self, heartbeat)
    }

    /// Which copies of the address tables are in force.
    pub fn address_copies(&self) -> &AtomicU64 {
        word!(self, address_copies)
    }

    /// Which copies of the uplinks' entries are in force.
    pub fn uplink_copies(&self) -> &AtomicU64 {
        word!(self, uplink_copies)
    }

    /// Whose lines have, or had, a fault.
    pub fn faulty(&self) -> &AtomicU64 {
        word!(self, faulty)
    }

    /// The alive word of a family.
    pub fn alive(&self, family: usize) -> &AtomicU64 {
        word!(self, alive[family])
    }

    /// Which families' flows are looked up.
    pub fn tracked(&self) -> &AtomicU64 {
        word!(self, tracked)
    }

    /// Buckets of the flow table.
    pub fn flow_buckets(&self) -> &AtomicU64 {
        word!(self, flow_buckets)
    }

    /// Outside ports that may be given out.
    pub fn port_ranges(&self) -> &AtomicU64 {
        word!(self, port_ranges.0)
    }

    /// Which copy of the rulebook is in force, as its number + 1; 0 = none.
    pub fn rules(&self) -> &AtomicU64 {
        word!(self, rules)
    }

    /// Lines of the pin table.
    pub fn pin_lines(&self) -> &AtomicU64 {
        word!(self, pin_lines)
    }

    /// What of a group's flows is hashed, and its flags.
    pub fn conduct(&self, group: usize) -> &AtomicU64 {
        word!(self, groups[group].conduct)
    }

    /// A group's settled word of a family.
    pub fn settled(&self, group: usize, family: usize) -> &AtomicU64 {
        word!(self, groups[group].settled[family])
    }

    /// Until when known flows are looked at anew.
    pub fn changed(&self) -> &AtomicU64 {
        word!(self, changed)
    }

    /// Sets the idle times of flows.
    pub fn set_timeouts(&self, timeouts: &Timeouts) {
        for (n, pair) in timeouts.0.chunks(2).enumerate() {
            let value = u64::from(pair[0]) | u64::from(pair[1]) << 32;
            // SAFETY: as for `word`: eight words of four bytes, aligned to eight, are four of eight.
            let word = unsafe {
                let first = &raw mut (*self.start.as_ptr()).timeouts.0;
                AtomicU64::from_ptr(first.cast::<u64>().add(n))
            };
            word.store(value, Ordering::Relaxed);
        }
    }

    /// A group's eligible word of a family.
    pub fn eligible(&self, group: usize, family: usize) -> &AtomicU64 {
        word!(self, groups[group].eligible[family])
    }

    /// A group's last known good word of a family.
    pub fn last_good(&self, group: usize, family: usize) -> &AtomicU64 {
        word!(self, groups[group].last_good[family])
    }

    /// The index of a group's first rank row.
    pub fn rows(&self, group: usize) -> &AtomicU64 {
        word!(self, groups[group].rows)
    }
}
