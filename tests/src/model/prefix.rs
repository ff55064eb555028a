//! Prefix translation by the letter of RFC 6296, in words of sixteen bits.

use std::net::Ipv6Addr;

/// Adds in ones' complement.
fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// The words of a prefix, added up.
fn sum(prefix: Ipv6Addr) -> u16 {
    prefix.segments()[..4]
        .iter()
        .fold(0, |sum, &word| add(sum, word))
}

/// Whether an address has a prefix.
pub fn has(address: Ipv6Addr, prefix: Ipv6Addr, length: u8) -> bool {
    (u128::from(address) ^ u128::from(prefix)) >> (128 - u32::from(length)) == 0
}

/// The address under the prefix `to` instead of `from`, both of `length` bits; `None` when it has no
/// counterpart.
pub fn translate(address: Ipv6Addr, from: Ipv6Addr, to: Ipv6Addr, length: u8) -> Option<Ipv6Addr> {
    let keep = u128::MAX >> u32::from(length);
    let mut words = Ipv6Addr::from(u128::from(address) & keep | u128::from(to)).segments();
    // Section 3.1: what the new prefix adds to the sum, the adjusted word takes away.
    let adjustment = add(sum(from), !sum(to));
    let place = if length <= 48 {
        // Sections 3.2 and 3.4: the subnet; 0xffff cannot be mapped.
        (words[3] != 0xffff).then_some(3)
    } else {
        // Section 3.5: the first word of the identifier that is not 0xffff.
        (4..8).find(|&place| words[place] != 0xffff)
    }?;
    // Section 3.7: an identifier of zeroes is not mapped, in neither direction.
    let empty = |words: [u16; 8]| length > 48 && words[4..] == [0; 4];
    if empty(words) {
        return None;
    }
    words[place] = match add(words[place], adjustment) {
        0xffff => 0,
        word => word,
    };
    (!empty(words)).then(|| Ipv6Addr::from(words))
}
