//! What the kernel lists is known again as what was asked for, and nothing else is.

use proptest::prelude::*;

use super::*;
use crate::netlink::own::encode;

fn any_rule() -> impl Strategy<Value = Rule> {
    let address = |family: usize, bits: u128| {
        if family == IPV4 {
            (IpAddr::from((bits as u32).to_be_bytes()), 32)
        } else {
            (IpAddr::from(bits.to_be_bytes()), 128)
        }
    };
    (
        0..2_usize,
        any::<(u32, u32, u128)>(),
        "[a-z0-9.]{1,15}",
        0..4_u8,
        proptest::option::of(0..129_u32),
    )
        .prop_map(
            move |(family, (priority, number, bits), device, kind, suppress)| Rule {
                family,
                priority: priority.max(1),
                selector: match kind {
                    0 => Selector::All,
                    1 => Selector::Mark(number),
                    2 => Selector::Device(device),
                    _ => {
                        let (address, length) = address(family, bits);
                        Selector::Source(address, length)
                    }
                },
                table: number.max(1),
                suppress,
            },
        )
}

/// The payload of a request, as the kernel would list it.
fn payload(request: &encode::Request) -> Vec<u8> {
    request.bytes(1, 0)[16..].to_vec()
}

proptest! {
    #[test]
    fn a_rule_is_known_again(rule in any_rule()) {
        let mut listing = Listing::default();
        super::rule(&payload(&encode::add_rule(&rule)), &mut listing);
        prop_assert_eq!(listing.rules[0].is.as_ref(), Some(&rule));
    }

    #[test]
    fn a_route_is_known_again(
        family in 0..2_usize,
        (table, metric, bits) in any::<(u32, u32, u128)>(),
        ifindex in proptest::option::of(1..99_u32),
    ) {
        let gateway = if family == IPV4 {
            IpAddr::from((bits as u32).to_be_bytes())
        } else {
            IpAddr::from(bits.to_be_bytes())
        };
        let hop = ifindex.map(|ifindex| Hop { ifindex, gateway });
        let route = Route { family, table, metric, hop };
        let mut listing = Listing::default();
        super::route(&payload(&encode::set_route(&route)), &mut listing);
        prop_assert_eq!(listing.routes[0].is.as_ref(), Some(&route));
    }

    #[test]
    fn no_message_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut listing = Listing::default();
        rule(&bytes, &mut listing);
        route(&bytes, &mut listing);
    }
}

/// An attribute, padded.
fn with(mut message: Vec<u8>, kind: u16, value: &[u8]) -> Vec<u8> {
    message.extend((4 + value.len() as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

#[test]
fn a_rule_that_says_more_than_ours_do_is_not_taken_for_one() {
    let rule = Rule {
        family: IPV4,
        priority: 7703,
        selector: Selector::Mark(7700),
        table: 7700,
        suppress: None,
    };
    let plain = payload(&encode::add_rule(&rule));
    let mask = |mask: u32| with(plain.clone(), FRA_FWMASK, &mask.to_ne_bytes());
    let mut inverted = plain.clone();
    inverted[8] = FIB_RULE_INVERT as u8;
    for (message, known) in [
        (mask(u32::MAX), true),
        (mask(0xff), false),
        (
            with(plain.clone(), FRA_SUPPRESS_PREFIXLEN, &[0xff; 4]),
            true,
        ),
        (with(plain.clone(), 99, &[1]), false),
        (with(plain.clone(), FRA_OIFNAME, b"wan0\0"), false),
        (inverted, false),
    ] {
        let mut listing = Listing::default();
        super::rule(&message, &mut listing);
        let is = listing.rules[0].is.as_ref();
        assert_eq!(is == Some(&rule), known, "{is:?}");
    }
}

#[test]
fn what_others_have_put_among_ours_is_told_and_not_listed() {
    let rule = Rule {
        family: IPV6,
        priority: 7703,
        selector: Selector::All,
        table: 254,
        suppress: None,
    };
    let mut message = payload(&encode::add_rule(&rule));
    let at = message
        .windows(4)
        .position(|bytes| bytes == [5, 0, FRA_PROTOCOL as u8, 0])
        .expect("its origin is told");
    message[at + 4] = 3;
    let mut listing = Listing::default();
    super::rule(&message, &mut listing);
    assert!(listing.rules.is_empty());
    assert_eq!(listing.strangers.len(), 1);
}
