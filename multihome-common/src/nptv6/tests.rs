//! RFC 6296's own example, and for all lengths what makes a translation: one address for one, back
//! again, and no checksum changed.

use std::{format, net::Ipv6Addr, string::ToString, vec::Vec};

use proptest::prelude::*;

use super::*;

fn address(text: &str) -> Address6 {
    Address6::from_bytes(text.parse::<Ipv6Addr>().unwrap().octets())
}

fn prefix(text: &str) -> Prefix {
    let (start, length) = text.split_once('/').unwrap();
    Prefix {
        address: address(start),
        length: length.parse().unwrap(),
    }
}

fn translation(inside: &str, outside: &str) -> Translation {
    Translation::new(prefix(inside), prefix(outside)).unwrap()
}

/// The ones' complement sum of an address's words modulo 0xffff, so that both zeroes are one.
///
/// By division and over words, not as the code under test does it.
fn checksum_of(address: Address6) -> u32 {
    let words = address.bytes();
    let words = words
        .chunks(2)
        .map(|w| u32::from(w[0]) * 256 + u32::from(w[1]));
    words.sum::<u32>() % 0xffff
}

/// Asserts that the two addresses are each other's translation.
#[track_caller]
fn assert_pair(translation: &Translation, inside: &str, outside: &str) {
    let (inside, outside) = (address(inside), address(outside));
    assert_eq!(translation.outward(inside), Some(outside));
    assert_eq!(translation.inward(outside), Some(inside));
    assert_eq!(checksum_of(inside), checksum_of(outside));
}

/// Asserts that neither direction translates the address, although it is in that prefix.
#[track_caller]
fn assert_no_mapping(translation: &Translation, inside: &str, outside: &str) {
    let (inside, outside) = (address(inside), address(outside));
    assert!(translation.is_inside(inside) && translation.is_outside(outside));
    assert_eq!(translation.outward(inside), None);
    assert_eq!(translation.inward(outside), None);
}

/// RFC 6296 section 3.6, with erratum 3033.
#[test]
fn the_example_of_rfc_6296() {
    let translation = translation("fd01:203:405::/48", "2001:db8:1::/48");
    assert_eq!(translation.adjustment, 0xd54f);
    assert_eq!(translation.length(), 48);
    assert_pair(
        &translation,
        "fd01:203:405:1::1234",
        "2001:db8:1:d550::1234",
    );
}

/// Section 3.2 and appendix B: where the sum is 0xffff, the subnet becomes 0.
#[test]
fn a_sum_of_all_ones_becomes_zero() {
    let translation = translation("fd01:203:405::/48", "2001:db8:1::/48");
    let complement = !0xd54f_u16;
    let inside = format!("fd01:203:405:{complement:x}::1");
    assert_pair(&translation, &inside, "2001:db8:1::1");
    assert_pair(&translation, "fd01:203:405::1", "2001:db8:1:d54f::1");
}

/// Section 3.2: subnet 0xffff has no mapping, for no pair of prefixes.
#[test]
fn subnet_ffff_has_no_mapping() {
    for outside in ["2001:db8:1::", "fd01:203:405::", "fd01:405:203::"] {
        let translation = translation("fd01:203:405::/48", &format!("{outside}/48"));
        let outside = outside.replace("::", ":ffff::1");
        assert_no_mapping(&translation, "fd01:203:405:ffff::1", &outside);
    }
}

/// Section 3.4: all 65535 other subnets of a /48 are translated, no two to one.
#[test]
fn all_subnets_of_a_48_are_translated_one_to_one() {
    let translation = translation("fd01:203:405::/48", "2001:db8:1::/48");
    let mut seen = Vec::from([false; 0x1_0000]);
    for subnet in 0..0xffff_u64 {
        let mut inside = address("fd01:203:405::42");
        inside.high |= subnet;
        let outside = translation.outward(inside).unwrap();
        assert_eq!(outside.high >> 16, 0x2001_0db8_0001);
        assert_eq!(outside.low, inside.low);
        assert_eq!(checksum_of(outside), checksum_of(inside));
        assert_eq!(translation.inward(outside), Some(inside));
        let slot = &mut seen[usize::from(outside.high as u16)];
        assert!(!*slot, "two subnets have the same outside");
        *slot = true;
    }
    assert!(!seen[0xffff], "0xffff is never an outside subnet");
}

/// Section 3.5: the adjustment goes to the first word of the identifier that is not 0xffff, in this
/// order, and the subnet stays.
#[test]
fn a_longer_prefix_adjusts_the_identifiers_first_word_that_is_not_all_ones() {
    let translation = translation("fd01:203:405::/56", "2001:db8:1::/56");
    for (inside, outside) in [
        ("fd01:203:405:7:0001::1", "2001:db8:1:7:d550::1"),
        ("fd01:203:405:7:ffff:1::1", "2001:db8:1:7:ffff:d550::1"),
        (
            "fd01:203:405:7:ffff:ffff:1:1",
            "2001:db8:1:7:ffff:ffff:d550:1",
        ),
        (
            "fd01:203:405:7:ffff:ffff:ffff:1",
            "2001:db8:1:7:ffff:ffff:ffff:d550",
        ),
        ("fd01:203:405:ff:1::", "2001:db8:1:ff:d550::"),
    ] {
        assert_pair(&translation, inside, outside);
    }
}

/// Section 3.7 has an identifier of zeroes dropped; one of all ones has no word to adjust.
#[test]
fn identifiers_of_zeroes_and_of_ones_have_no_mapping() {
    let translation = translation("fd01:203:405:6::/64", "2001:db8:1:8::/64");
    assert_no_mapping(&translation, "fd01:203:405:6::", "2001:db8:1:8::");
    let ones = "ffff:ffff:ffff:ffff";
    assert_no_mapping(
        &translation,
        &format!("fd01:203:405:6:{ones}"),
        &format!("2001:db8:1:8:{ones}"),
    );
    // What would become zeroes: its answers would be dropped.
    let first = !translation.adjustment as u16;
    let becomes_zero = address(&format!("fd01:203:405:6:{first:x}::"));
    assert_eq!(translation.outward(becomes_zero), None);
    let first = translation.adjustment;
    let becomes_zero = address(&format!("2001:db8:1:8:{first:x}::"));
    assert_eq!(translation.inward(becomes_zero), None);
    // A /48 does not touch identifiers, whatever they are.
    let short = self::translation("fd01:203:405::/48", "2001:db8:1::/48");
    assert_pair(&short, "fd01:203:405:1::", "2001:db8:1:d550::");
}

/// Sections 3.1 and 3.7: the shorter prefix is extended with zeroes, and the subnets of it that
/// this leaves out have no mapping.
#[test]
fn the_shorter_prefix_is_extended_with_zeroes() {
    let translation = translation("fd01:203:405::/48", "2001:db8:1:5500::/56");
    assert_eq!(translation.length(), 56);
    assert_eq!(
        translation,
        self::translation("fd01:203:405::/56", "2001:db8:1:5500::/56")
    );
    let inside = address("fd01:203:405:42::1");
    let outside = translation.outward(inside).unwrap();
    assert_eq!(outside.high, address("2001:db8:1:5542::").high);
    assert_eq!(translation.inward(outside), Some(inside));
    let left_out = address("fd01:203:405:142::1");
    assert!(!translation.is_inside(left_out));
    assert_eq!(translation.outward(left_out), None);

    let other_way = self::translation("fd01:203:405:1000::/52", "2001:db8::/32");
    assert_eq!(other_way.length(), 52);
    assert!(other_way.is_outside(address("2001:db8::1")));
    assert!(!other_way.is_outside(address("2001:db8:1::1")));
}

/// Whoever reads an entry that was never written translates nothing.
#[test]
fn zeroes_translate_nothing() {
    let none = Translation::default();
    assert_eq!(none.length(), 0);
    for any in ["::", "::1", "2001:db8::1"] {
        let any = address(any);
        assert!(!none.is_inside(any) && !none.is_outside(any));
        assert_eq!(none.outward(any), None);
        assert_eq!(none.inward(any), None);
    }
}

#[test]
fn what_cannot_be_translated_is_refused() {
    let good = prefix("2001:db8:1::/48");
    let length = |length| Error::Length {
        side: Side::Inside,
        length,
    };
    let (host_bits, not_routed) = (
        Error::HostBits { side: Side::Inside },
        Error::NotRouted { side: Side::Inside },
    );
    for (text, error) in [
        ("::/0", length(0)),
        ("fd00::/65", length(65)),
        ("fd00::/128", length(128)),
        ("fd00:0:0:1::/63", host_bits),
        ("fd00:0:0:1::1/64", host_bits),
        ("ff0e::/16", not_routed),
        ("fe80::/64", not_routed),
        // All of link-local and multicast is in it.
        ("8000::/1", not_routed),
    ] {
        assert_eq!(Translation::new(prefix(text), good), Err(error), "{text}");
    }
    let outside = Translation::new(good, prefix("fd00::/65")).unwrap_err();
    assert_eq!(
        outside.to_string(),
        "the outside prefix is a /65; give one of /1 to /64"
    );
    for accepted in ["4000::/2", "fd00::/8", "fec0::/10", "2001:db8::/64"] {
        assert!(Translation::new(prefix(accepted), good).is_ok());
    }
}

/// Prefixes of this length from any bits, that are routed.
fn prefixes(length: u32) -> impl Strategy<Value = Prefix> {
    (0x2000..0xfe00_u64, any::<u64>()).prop_map(move |(first, rest)| {
        Prefix::of((first << 48 | rest >> 16) & mask(length), length)
    })
}

/// Four words as they come, and often those at the arithmetic's edges.
fn words() -> impl Strategy<Value = u64> {
    let word = prop_oneof![
        2 => Just(0xffff_u64),
        2 => Just(0_u64),
        1 => Just(1_u64),
        3 => 0..=0xffff_u64,
    ];
    proptest::collection::vec(word, 4)
        .prop_map(|words| words.iter().fold(0, |all, w| all << 16 | w))
}

/// Two prefixes of /16 to /64, as often of one length as of two, and what an address has behind
/// them.
fn cases() -> impl Strategy<Value = (Prefix, Prefix, Address6)> {
    let lengths = prop_oneof![
        (16..=64_u32).prop_map(|length| (length, length)),
        (16..=64_u32, 16..=64_u32),
    ];
    lengths.prop_flat_map(|(inside, outside)| {
        let address = (words(), words()).prop_map(|(high, low)| Address6 { high, low });
        (prefixes(inside), prefixes(outside), address)
    })
}

/// RFC 6296 once more, by words and by division: the address with its first `length` bits replaced
/// by those of `to`, and one word changed so that the sum of all stays.
fn expected(before: Address6, to: Prefix, length: u32) -> Option<Address6> {
    let mut after = before;
    after.high = before.high & !mask(length) | to.address.high;
    let mut words: Vec<u16> = after
        .bytes()
        .chunks(2)
        .map(|w| u16::from_be_bytes([w[0], w[1]]))
        .collect();
    let candidates = if length <= 48 { 3..4 } else { 4..8 };
    let place = candidates.into_iter().find(|&at| words[at] != 0xffff)?;
    let missing = checksum_of(before) + 0xffff - checksum_of(after);
    words[place] = ((u32::from(words[place]) + missing) % 0xffff) as u16;
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
    let after = Address6::from_bytes(*bytes.first_chunk().unwrap());
    (length <= 48 || (before.low != 0 && after.low != 0)).then_some(after)
}

type Way = fn(&Translation, Address6) -> Option<Address6>;

proptest! {
    /// For prefixes of /16 to /64: what RFC 6296 says, there and back, the other prefix, and the
    /// same checksum.
    #[test]
    fn a_translation_is_undone_and_changes_no_checksum((inside, outside, any) in cases()) {
        let translation = Translation::new(inside, outside).unwrap();
        let length = inside.length.max(outside.length);
        prop_assert_eq!(translation.length(), length);
        let ways: [(Prefix, Prefix, Way, Way); 2] = [
            (inside, outside, Translation::outward, Translation::inward),
            (outside, inside, Translation::inward, Translation::outward),
        ];
        for (from, to, there, back) in ways {
            let high = from.address.high | any.high & !mask(length);
            let before = Address6 { high, ..any };
            let after = there(&translation, before);
            prop_assert_eq!(after, expected(before, to, length));
            if let Some(after) = after {
                prop_assert_eq!(back(&translation, after), Some(before));
                prop_assert_eq!(checksum_of(after), checksum_of(before));
                prop_assert_eq!(after.high & mask(length), to.address.high);
            }
        }
    }

    /// What is in neither prefix has no translation; one other bit is enough.
    #[test]
    fn addresses_of_other_prefixes_are_left_alone((inside, outside, any) in cases()) {
        let translation = Translation::new(inside, outside).unwrap();
        for bit in 64 - translation.length()..64 {
            let high = inside.address.high ^ 1 << bit;
            let beside = Address6 { high, ..any };
            prop_assert_eq!(translation.outward(beside), None);
            prop_assert!(!translation.is_inside(beside));
            let high = outside.address.high ^ 1 << bit;
            let beside = Address6 { high, ..any };
            prop_assert_eq!(translation.inward(beside), None);
            prop_assert!(!translation.is_outside(beside));
        }
    }
}
