//! One 64-bit word of a table that several CPUs, and the controller, read and change at once.

use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU64, Ordering},
};

/// A word that is always read and written whole, and claimed by compare-and-exchange.
///
/// Loads and stores order nothing else: what a word's owner wrote beforehand is published by a
/// compare-and-exchange or by [`Word::publish`].
#[repr(transparent)]
pub struct Word(UnsafeCell<u64>);

// SAFETY: every access is atomic, see the methods.
unsafe impl Sync for Word {}

impl Word {
    /// A word with this value.
    pub const fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    #[inline(always)]
    const fn atomic(&self) -> &AtomicU64 {
        // SAFETY: the pointer is valid and aligned for as long as `self` is borrowed, and all
        // accesses go through the atomic, or are single machine accesses of eight bytes.
        unsafe { AtomicU64::from_ptr(self.0.get()) }
    }

    /// The value now.
    #[inline(always)]
    pub fn load(&self) -> u64 {
        if cfg!(target_arch = "bpf") {
            // SAFETY: valid and aligned; one load of eight bytes is atomic on every architecture
            // that BPF runs on, and BPF has no instruction for a relaxed load.
            unsafe { core::ptr::read_volatile(self.0.get()) }
        } else {
            self.atomic().load(Ordering::Relaxed)
        }
    }

    /// Sets the value.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        if cfg!(target_arch = "bpf") {
            // SAFETY: as in `load`.
            unsafe { core::ptr::write_volatile(self.0.get(), value) }
        } else {
            self.atomic().store(value, Ordering::Relaxed)
        }
    }

    /// Sets the value from `old` to `new`; whether it was `old`. A full barrier.
    #[inline(always)]
    pub fn change(&self, old: u64, new: u64) -> bool {
        // SAFETY: the pointer is valid, aligned, and only accessed atomically.
        unsafe { exchange::compare(self.0.get(), old, new) }
    }

    /// Sets the value after all that was written before it.
    #[inline(always)]
    pub fn publish(&self, value: u64) {
        // SAFETY: as in `change`.
        unsafe { exchange::swap(self.0.get(), value) }
    }

    /// Takes one from the value.
    #[inline(always)]
    pub fn subtract_one(&self) {
        // SAFETY: as in `change`.
        unsafe { exchange::add(self.0.get(), u64::MAX) }
    }

    /// Adds to the value; additions by two CPUs at once may lose one.
    #[inline(always)]
    pub fn add(&self, value: u64) {
        self.store(self.load().wrapping_add(value));
    }
}

/// A type that consists of [`Word`]s and nothing else.
///
/// # Safety
/// Any bytes are a valid value, and all access is by the words' atomic methods, so that the memory
/// may be shared with other processes and the kernel.
pub unsafe trait Words {}

// SAFETY: it is one.
unsafe impl Words for Word {}

impl Default for Word {
    fn default() -> Self {
        Self::new(0)
    }
}

impl core::fmt::Debug for Word {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.load())
    }
}

/// What BPF can do (its atomic instructions are all full barriers) and the library does not offer
/// for it, because the oldest BPF machines cannot.
#[cfg(target_arch = "bpf")]
mod exchange {
    use core::intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg, atomic_xadd, atomic_xchg};

    /// # Safety
    /// The pointer is valid for an atomic access of eight bytes, as in the other functions here.
    #[inline(always)]
    pub unsafe fn compare(word: *mut u64, old: u64, new: u64) -> bool {
        // SAFETY: the caller's.
        unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(word, old, new).1 }
    }

    /// # Safety
    /// As in [`compare`].
    #[inline(always)]
    pub unsafe fn swap(word: *mut u64, value: u64) {
        // SAFETY: the caller's.
        unsafe { atomic_xchg::<u64, { SeqCst }>(word, value) };
    }

    /// # Safety
    /// As in [`compare`].
    #[inline(always)]
    pub unsafe fn add(word: *mut u64, value: u64) {
        // SAFETY: the caller's.
        unsafe { atomic_xadd::<u64, u64, { SeqCst }>(word, value) };
    }
}

#[cfg(not(target_arch = "bpf"))]
mod exchange {
    use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

    /// # Safety
    /// The pointer is valid for an atomic access of eight bytes, as in the other functions here.
    pub unsafe fn compare(word: *mut u64, old: u64, new: u64) -> bool {
        // SAFETY: the caller's.
        let word = unsafe { AtomicU64::from_ptr(word) };
        word.compare_exchange(old, new, SeqCst, SeqCst).is_ok()
    }

    /// # Safety
    /// As in [`compare`].
    pub unsafe fn swap(word: *mut u64, value: u64) {
        // SAFETY: the caller's.
        unsafe { AtomicU64::from_ptr(word) }.swap(value, SeqCst);
    }

    /// # Safety
    /// As in [`compare`].
    pub unsafe fn add(word: *mut u64, value: u64) {
        // SAFETY: the caller's.
        unsafe { AtomicU64::from_ptr(word) }.fetch_add(value, SeqCst);
    }
}
