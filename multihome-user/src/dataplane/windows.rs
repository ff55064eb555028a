//! Map memory that is looked at in passing: mapped where it is asked for, piece by piece, and given back.
//!
//! The kernel maps an array's memory whole, and what is mapped counts as the process's own. The tables of a
//! gateway with many uplinks are hundreds of megabytes, of which the controller needs a little at a time.

use std::{
    io,
    marker::PhantomData,
    mem,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

use aya::maps::{Map, MapError};
use multihome_common::word::Words;

use super::{DataplaneError, flows, load::refused};

/// Bytes of one piece, a whole number of pages and of entries.
const PIECE: usize = 1 << 20;
/// Pieces that may stay mapped when nobody uses them.
const KEPT: usize = 2;

/// The memory of an array map of `T`, created with `BPF_F_MMAPABLE`, in pieces that are mapped on demand.
#[derive(Debug)]
pub struct WindowedArray<T> {
    map: OwnedFd,
    entries: usize,
    /// Where each piece is mapped; null where it is not.
    pieces: Box<[AtomicPtr<u8>]>,
    mapped: AtomicUsize,
    _entries: PhantomData<T>,
}

impl<T: Words> WindowedArray<T> {
    /// The array of this name.
    ///
    /// # Errors
    /// When the map is none that can be mapped.
    pub fn new(map: &Map, name: &'static str) -> Result<Self, DataplaneError> {
        const { assert!(PIECE.is_multiple_of(size_of::<T>())) };
        let Map::Array(data) = map else {
            return Err(DataplaneError::Missing(name));
        };
        let entries = flows::entries(data).ok_or(DataplaneError::Missing(name))?;
        let clone = data.fd().as_fd().try_clone_to_owned();
        let pieces = (entries * size_of::<T>()).div_ceil(PIECE);
        let array = Self {
            map: clone.map_err(|error| refused(name)(MapError::IoError(error)))?,
            entries,
            pieces: (0..pieces).map(|_| AtomicPtr::default()).collect(),
            mapped: AtomicUsize::new(0),
            _entries: PhantomData,
        };
        // What the kernel refuses, it should refuse now.
        array
            .piece(0)
            .map_err(|error| refused(name)(MapError::IoError(error)))?;
        Ok(array)
    }

    /// Entries of the array.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// One entry; `None` behind the last one, and where the kernel does not map it.
    pub fn get(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        if index >= self.entries {
            return None;
        }
        let at = index * size_of::<T>();
        let piece = self.piece(at / PIECE).ok()?;
        // SAFETY: the piece has the whole entry, since its size is a multiple of the entry's; it stays
        // mapped while `self` is borrowed, and is aligned to a page. A type of words is read and
        // written by atomic accesses alone.
        unsafe { piece.add(at % PIECE).cast::<T>().as_ref() }
    }

    /// Gives most of the memory back to the kernel, which keeps it for the programs.
    pub fn give_back(&mut self) {
        if *self.mapped.get_mut() <= KEPT {
            return;
        }
        self.unmap_all();
    }

    fn piece(&self, number: usize) -> io::Result<*mut u8> {
        let place = &self.pieces[number];
        let known = place.load(Ordering::Acquire);
        if !known.is_null() {
            return Ok(known);
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                self.size(number),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                self.map.as_raw_fd(),
                (number * PIECE) as libc::off_t,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.cast::<u8>();
        match place.compare_exchange(ptr::null_mut(), start, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.mapped.fetch_add(1, Ordering::Relaxed);
                Ok(start)
            }
            // Another thread was first.
            Err(theirs) => {
                unmap(start, self.size(number));
                Ok(theirs)
            }
        }
    }
}

impl<T> WindowedArray<T> {
    /// Bytes of a piece: the last one may be shorter.
    fn size(&self, number: usize) -> usize {
        (self.entries * size_of::<T>() - number * PIECE).min(PIECE)
    }

    fn unmap_all(&mut self) {
        for number in 0..self.pieces.len() {
            let start = mem::replace(self.pieces[number].get_mut(), ptr::null_mut());
            if !start.is_null() {
                unmap(start, self.size(number));
            }
        }
        *self.mapped.get_mut() = 0;
    }
}

impl<T> Drop for WindowedArray<T> {
    fn drop(&mut self) {
        self.unmap_all();
    }
}

/// Ends a mapping that nothing refers to any more.
fn unmap(start: *mut u8, size: usize) {
    // SAFETY: the range is one that `piece` got, and nobody has a reference into it: those are bound to a
    // borrow of the array, which its owner has exclusively now, or it was never handed out. A failure
    // would leave the memory mapped, which harms nothing.
    unsafe { libc::munmap(start.cast(), size) };
}
