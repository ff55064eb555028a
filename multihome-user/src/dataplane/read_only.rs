//! Map memory that is only looked at: the kernel lets nobody write through it.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
};

use aya::{
    maps::{MapData, MapError},
    sys::SyscallError,
};
use multihome_common::word::{Word, Words};

use super::{DataplaneError, load::refused};

/// The memory of an array map of `T`, created with `BPF_F_MMAPABLE`, to be read.
///
/// Only loads may be done on the entries: a store ends the process.
#[derive(Debug)]
pub(super) struct ReadOnlyArray<T> {
    start: NonNull<T>,
    entries: usize,
    _entries: PhantomData<T>,
}

// SAFETY: the memory belongs to the map and lives until `drop`; all access is by atomic loads.
unsafe impl<T: Words> Send for ReadOnlyArray<T> {}
// SAFETY: as above.
unsafe impl<T: Words> Sync for ReadOnlyArray<T> {}

impl<T: Words> ReadOnlyArray<T> {
    /// Maps the array of this name.
    ///
    /// # Errors
    /// When the kernel refuses, or the entries are not of this type.
    pub fn map(data: &MapData, name: &'static str) -> Result<Self, DataplaneError> {
        let info = data.info().map_err(refused(name))?;
        let size = info.value_size() as usize;
        if size != size_of::<T>() {
            let expected = size_of::<T>();
            return Err(refused(name)(MapError::InvalidValueSize { size, expected }));
        }
        let entries = info.max_entries() as usize;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<T>() * entries,
                libc::PROT_READ,
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
            _ => Err(refused(name)(MapError::SyscallError(SyscallError {
                call: "mmap",
                io_error: io::Error::last_os_error(),
            }))),
        }
    }

    /// Entries of the array.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// One entry.
    pub fn get(&self, index: u32) -> Option<&T> {
        // SAFETY: the index is checked, the mapping lives as long as `self` and is aligned to a page,
        // and a type of words is read by relaxed atomic loads of eight bytes alone, which memory
        // that cannot be written to allows (std::sync::atomic).
        ((index as usize) < self.entries)
            .then(|| unsafe { self.start.add(index as usize).as_ref() })
    }
}

impl<T: Words + Default> ReadOnlyArray<T> {
    /// A copy of an entry, word by word; what others write meanwhile is in it or not, for each word.
    pub fn copy(&self, index: u32) -> Option<T> {
        const { assert!(size_of::<T>().is_multiple_of(size_of::<Word>())) };
        let from = std::ptr::from_ref(self.get(index)?).cast::<Word>();
        let to = T::default();
        let words = std::ptr::from_ref(&to).cast::<Word>();
        for at in 0..size_of::<T>() / size_of::<Word>() {
            // SAFETY: both are values of a type of words, of which this is one; the one that is written to is
            // ours alone, and the other is read by relaxed atomic loads.
            unsafe { (*words.add(at)).store((*from.add(at)).load()) };
        }
        Some(to)
    }
}

impl<T> Drop for ReadOnlyArray<T> {
    fn drop(&mut self) {
        // SAFETY: the range is the one that `map` got, and nothing refers to it any more. A failure
        // would leave the memory mapped, which harms nothing.
        unsafe { libc::munmap(self.start.as_ptr().cast(), size_of::<T>() * self.entries) };
    }
}
