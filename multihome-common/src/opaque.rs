//! Values of which the compiler forgets how they came about, at no cost.
//!
//! What the compiler knows it uses: it turns arithmetic back into branches, and leaves out comparisons
//! that the kernel's verifier wants to see. `core::hint::black_box` would do, but it stores the value on
//! the stack and loads it again, which is slower than most of what it is used for.

/// The same value, as far as the compiler can tell any number.
#[inline(always)]
pub fn opaque(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: the value is moved to the register that it is in. With no instruction at all, two
        // lines of the source would stand at one place, which the kernel refuses.
        unsafe {
            core::arch::asm!("{0} |= 0", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}
