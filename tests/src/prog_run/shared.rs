//! The memory of a map that programs and tests share: cleared between rows, and read.

use std::{
    num::NonZeroUsize,
    os::fd::{AsFd as _, BorrowedFd},
    ptr::NonNull,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData};
use multihome_common::word::Words;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A mapped array.
pub struct Shared {
    start: NonNull<core::ffi::c_void>,
    len: usize,
}

// SAFETY: the memory belongs to the value, which alone writes to it while no program runs.
unsafe impl Send for Shared {}
// SAFETY: what is shared is read by atomic accesses alone.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps `len` bytes of an array that was made to be mapped.
    ///
    /// # Errors
    /// When it is no such array.
    pub fn of(map: &Map, len: usize) -> Result<Self> {
        let Map::Array(data) = map else {
            bail!("not an array");
        };
        let data: &MapData = data;
        let file: BorrowedFd<'_> = data.fd().as_fd();
        let size = NonZeroUsize::new(len).context("an empty map")?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            mmap(
                None,
                size,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                file,
                0,
            )
        };
        Ok(Self {
            start: start.context("mapping an array")?,
            len,
        })
    }

    /// The memory as an array of words of some kind.
    pub fn slice<T: Words>(&self) -> &[T] {
        // SAFETY: the mapping is aligned to a page and `len` bytes long, and a type of words may be
        // read while programs write to it.
        unsafe {
            std::slice::from_raw_parts(self.start.cast::<T>().as_ptr(), self.len / size_of::<T>())
        }
    }

    /// Sets a word, by its number.
    pub fn set(&mut self, at: usize, word: u64) {
        assert!((at + 1) * 8 <= self.len, "behind the map's end");
        // SAFETY: the place is within the mapping, which is aligned to a page.
        unsafe { self.start.cast::<u64>().add(at).write_volatile(word) };
    }

    /// Fills it with zeroes.
    pub fn clear(&mut self) {
        // SAFETY: the mapping is `len` bytes long, and no program runs meanwhile.
        unsafe { self.start.cast::<u8>().write_bytes(0, self.len) };
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the range is the one that was mapped, and nothing refers to it any more.
        let unmapped = unsafe { munmap(self.start, self.len) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
