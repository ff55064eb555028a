//! Where addresses fall: their classes, and their values for rules, each search a global function.

use super::*;

/// What the functions below answer when there is no such table.
const NO_TABLE: u64 = 0xff;

/// The number of an IPv4 address's class.
///
/// A global function, like its sibling: the verifier walks the search once, on its own, and not
/// once for each way that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn multihome_class4(copy: u32, address: u32) -> u64 {
    match ADDRESSES4.get(copy) {
        Some(table) => table.class(Address4(address)) as u64,
        None => NO_TABLE,
    }
}

/// The number of an IPv6 address's class.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn multihome_class6(copy: u32, high: u64, low: u64) -> u64 {
    match ADDRESSES6.get(copy) {
        Some(table) => table.class(Address6 { high, low }) as u64,
        None => NO_TABLE,
    }
}

/// What the functions below answer when there is no such copy of the rulebook.
const NO_RULEBOOK: u64 = u64::MAX;

/// The value of an IPv4 source in a copy of the rulebook.
///
/// A global function, like its siblings and for the same reason as [`multihome_class4`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn multihome_by_source4(copy: u32, address: u32) -> u64 {
    match RULES.get(copy) {
        Some(book) => book.sources4.value(Address4(address)).into(),
        None => NO_RULEBOOK,
    }
}

/// The value of an IPv4 destination in a copy of the rulebook.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn multihome_by_destination4(copy: u32, address: u32) -> u64 {
    match RULES.get(copy) {
        Some(book) => book.destinations4.value(Address4(address)).into(),
        None => NO_RULEBOOK,
    }
}

/// The value of an IPv6 source in a copy of the rulebook.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn multihome_by_source6(copy: u32, high: u64, low: u64) -> u64 {
    match RULES.get(copy) {
        Some(book) => book.sources6.value(Address6 { high, low }).into(),
        None => NO_RULEBOOK,
    }
}

/// The value of an IPv6 destination in a copy of the rulebook.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn multihome_by_destination6(copy: u32, high: u64, low: u64) -> u64 {
    match RULES.get(copy) {
        Some(book) => book.destinations6.value(Address6 { high, low }).into(),
        None => NO_RULEBOOK,
    }
}

#[inline(always)]
pub(super) fn value_of(answer: u64) -> Option<u32> {
    (answer != NO_RULEBOOK).then_some(answer as u32)
}

#[inline(always)]
pub(super) fn class_of(number: u64) -> Option<Class> {
    (number != NO_TABLE).then_some(Class::from_number(number as u8))
}
