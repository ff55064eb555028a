//! SYNs with options of every kind, and what is left of them.

use std::{prelude::v1::*, vec};

use proptest::prelude::*;

use super::*;
use crate::sim::Frame;

/// Where the TCP header of the tests stands: odd places in the frame do no harm.
const AT: usize = 34;

/// A TCP segment of a connection that is opened, with these options and this payload, its checksum right for
/// a pseudo header that adds up to nothing.
fn segment(options: &[u8], payload: &[u8]) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4) && options.len() <= 40);
    let mut segment = vec![0x30, 0x39, 0x01, 0xbb, 1, 2, 3, 4, 0, 0, 0, 0, 0, tcp::SYN];
    segment[12] = (5 + options.len() as u8 / 4) << 4;
    segment.extend([0xfa, 0xf0, 0, 0, 0, 0]);
    segment.extend(options);
    segment.extend(payload);
    let sum = crate::checksum::finish(words(&segment));
    segment[tcp::CHECKSUM_AT..][..2].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// The sum of all 16-bit words.
fn words(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&b| u64::from(b));
    bytes.chunks(2).map(word).sum()
}

/// The segment with its values lowered.
fn lowered(segment: &[u8], end: usize, most: u16) -> Vec<u8> {
    let mut frame = Frame::new(&[&[7; AT], segment].concat());
    lower(&mut frame, AT, end, most);
    assert_eq!(frame.as_slice()[..AT], [7; AT]);
    frame.as_slice()[AT..].to_vec()
}

/// The options with each larger MSS lowered, told by taking the list apart from the front.
fn expected(options: &[u8], most: u16) -> Vec<u8> {
    match options {
        [] => Vec::new(),
        [0, ..] => options.to_vec(),
        [1, rest @ ..] => [&[1], &expected(rest, most)[..]].concat(),
        [2, 4, high, low, rest @ ..] => {
            let value = u16::from_be_bytes([*high, *low]).min(most).to_be_bytes();
            [&[2, 4], &value[..], &expected(rest, most)].concat()
        }
        [_, len, ..] if *len >= 2 && usize::from(*len) <= options.len() => {
            let (this, rest) = options.split_at(usize::from(*len));
            [this, &expected(rest, most)].concat()
        }
        broken => broken.to_vec(),
    }
}

#[test]
fn a_larger_value_is_lowered_and_a_smaller_one_stays() {
    for (value, left) in [(1460, 1400), (1401, 1400), (1400, 1400), (536, 536), (0, 0)] {
        let options = |value: u16| [&[2, 4], &value.to_be_bytes()[..]].concat();
        let found = lowered(&segment(&options(value), b""), 24, 1400);
        assert_eq!(found, segment(&options(left), b""), "{value}");
    }
}

#[test]
fn none_is_added_where_there_is_none() {
    for options in [&[][..], &[1, 1, 1, 0], &[4, 2, 1, 3, 3, 7, 0, 0]] {
        let before = segment(options, b"data");
        assert_eq!(lowered(&before, 20 + options.len(), 88), before);
    }
}

/// As Linux, Windows and others order them, and with the value at an odd place.
#[test]
fn the_value_is_found_wherever_it_stands() {
    let linux = [
        2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
    ];
    let odd = [1, 2, 4, 5, 0xb4, 4, 2, 0];
    let last = [8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 1, 2, 4, 5, 0xb4];
    for options in [&linux[..], &odd, &last] {
        let found = lowered(&segment(options, b"x"), 20 + options.len(), 1000);
        let at = options.windows(2).position(|pair| pair == [5, 0xb4]);
        let mut wanted = options.to_vec();
        wanted[at.expect("it is there")..][..2].copy_from_slice(&1000u16.to_be_bytes());
        assert_eq!(found, segment(&wanted, b"x"), "{options:?}");
    }
}

#[test]
fn what_is_no_list_of_options_is_left_alone() {
    for options in [
        // No length, a length of nothing, one that is too long, an MSS of another length.
        &[1, 1, 1, 2][..],
        &[3, 0, 2, 4, 5, 0xb4, 0, 0],
        &[3, 1, 2, 4, 5, 0xb4, 0, 0],
        &[3, 9, 2, 4, 5, 0xb4, 0, 0],
        &[2, 6, 5, 0xb4, 5, 0xb4, 0, 0],
        // Behind the end.
        &[0, 1, 1, 1, 2, 4, 5, 0xb4],
    ] {
        let before = segment(options, b"");
        assert_eq!(lowered(&before, 20 + options.len(), 1000), before);
    }
}

#[test]
fn nothing_behind_the_header_is_taken_for_an_option() {
    let before = segment(&[], &[2, 4, 5, 0xb4]);
    assert_eq!(lowered(&before, 20, 1000), before);
    // A header that says that it is longer than its packet is cut off there.
    let long = segment(&[1, 1, 1, 1, 2, 4, 5, 0xb4], b"");
    assert_eq!(lowered(&long, 24, 1000), long);
    assert_eq!(lowered(&long, 27, 1000), long);
}

/// Pieces of option lists, broken ones too.
fn option() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<u16>().prop_map(|mss| [&[2, 4], &mss.to_be_bytes()[..]].concat()),
        4 => Just(vec![1]),
        1 => Just(vec![0]),
        4 => (3u8.., proptest::collection::vec(any::<u8>(), 0..10)).prop_map(|(kind, data)| {
            [&[kind, data.len() as u8 + 2], &data[..]].concat()
        }),
        1 => proptest::collection::vec(any::<u8>(), 1..6),
    ]
}

proptest! {
    /// The checksum is right for any options, each MSS is as it should be, and nothing else has changed.
    #[test]
    fn any_options(
        pieces in proptest::collection::vec(option(), 0..14),
        payload in proptest::collection::vec(any::<u8>(), 0..30),
        most in 1u16..,
    ) {
        let mut options = pieces.concat();
        options.truncate(40);
        options.resize(options.len().next_multiple_of(4), 0);
        let found = lowered(&segment(&options, &payload), 20 + options.len(), most);
        prop_assert_eq!(crate::checksum::fold(words(&found)), 0xffff);
        let wanted = segment(&expected(&options, most), &payload);
        // Zero has two forms in a checksum.
        let sum = tcp::CHECKSUM_AT..tcp::CHECKSUM_AT + 2;
        prop_assert_eq!(&found[..sum.start], &wanted[..sum.start]);
        prop_assert_eq!(&found[sum.end..], &wanted[sum.end..]);
    }

    #[test]
    fn no_bytes_make_it_panic_or_go_beyond_the_frame(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        at in 0usize..80,
        end in 0usize..64,
        most in any::<u16>(),
    ) {
        let mut frame = Frame::new(&bytes);
        lower(&mut frame, at, end, most);
        prop_assert_eq!(frame.as_slice().len(), bytes.len());
    }
}
