//! Conditions as numbers.
//!
//! The kernel's verifier walks every branch there is, and a loop of ten comparisons has a thousand
//! ways through it. Arithmetic has one, and the CPU does not have to guess either.

/// A value of which the compiler forgets how it came about: it would turn what follows back into
/// branches.
#[inline(always)]
fn opaque(value: u64) -> u64 {
    if cfg!(target_arch = "bpf") {
        core::hint::black_box(value)
    } else {
        value
    }
}

/// 1 if `a < b`, else 0.
#[inline(always)]
pub fn less(a: u64, b: u64) -> u64 {
    // The borrow of `a - b` (Hacker's Delight, section 2-13).
    opaque(((!a & b) | ((!a | b) & a.wrapping_sub(b))) >> 63)
}

/// 1 if `a == b`, else 0.
#[inline(always)]
pub fn equal(a: u64, b: u64) -> u64 {
    let difference = a ^ b;
    opaque(opaque(difference | difference.wrapping_neg()) >> 63) ^ 1
}

/// 1 if `a`, which is less than 2^63, is 0, else 0.
#[inline(always)]
pub fn is_zero(a: u64) -> u64 {
    opaque(a).wrapping_sub(1) >> 63
}

/// `a` if `condition` is 1, `b` if it is 0.
#[inline(always)]
pub fn choose(condition: u64, a: u64, b: u64) -> u64 {
    let mask = opaque(condition).wrapping_neg();
    a & mask | b & !mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn conditions_are_as_with_branches(a in any::<u64>(), b in any::<u64>(), near in 0u64..3) {
            for (a, b) in [(a, b), (a, a), (a, a.wrapping_add(near)), (0, a), (u64::MAX, a)] {
                prop_assert_eq!(less(a, b), u64::from(a < b));
                prop_assert_eq!(equal(a, b), u64::from(a == b));
                prop_assert_eq!(is_zero(a >> 1), u64::from(a >> 1 == 0));
                prop_assert_eq!(choose(less(a, b), a, b), a.min(b));
            }
        }
    }
}
