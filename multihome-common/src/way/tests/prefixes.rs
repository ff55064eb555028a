//! The way of IPv6 packets while prefixes are translated, as far as RFC 6296 asks to drop them.

use std::prelude::v1::*;

use etherparse::{IpNumber, Ipv6Header};

use super::*;
use crate::{
    nptv6::{Prefix, Translation},
    state::IPV6,
    uplink::MODE_NPTV6,
};

/// In the half of all addresses that is the LAN's, as the uplink's prefix is in the other.
const INSIDE: u64 = 0x2001_0db8_0001_0000;
const OUTSIDE: u64 = 0xa001_0db8_0001_0000;
const REMOTE: Address6 = Address6 {
    high: 0xb001_0db8_0000_0000,
    low: 1,
};

fn prefixed(length: u32) -> SimTables {
    let mut tables = testing::tables();
    let prefix = |high| Prefix {
        address: Address6 { high, low: 0 },
        length,
    };
    for uplink in &mut tables.uplinks {
        uplink.mode[IPV6] = MODE_NPTV6;
        uplink.prefix = Translation::new(prefix(INSIDE), prefix(OUTSIDE)).expect("prefixes");
    }
    tables
}

fn frame(source: Address6, destination: Address6) -> Vec<u8> {
    let header = Ipv6Header {
        next_header: IpNumber(254),
        hop_limit: 64,
        source: source.bytes(),
        destination: destination.bytes(),
        ..Ipv6Header::default()
    };
    let link = [&GATEWAY[..], &[2, 0, 0, 0, 0, 2], &[0x86, 0xdd]].concat();
    [&link[..], &header.to_bytes()].concat()
}

/// RFC 6296 section 3.2: a subnet without a mapping; section 3.7: an identifier of zeroes.
#[test]
fn addresses_without_a_counterpart_are_dropped_in_both_directions_without_an_answer() {
    for (length, subnet, low) in [(48, 0xffff, 5), (64, 0, 0)] {
        let mut tables = prefixed(length);
        let [inside, outside] = [INSIDE, OUTSIDE].map(|prefix| Address6 {
            high: prefix | subnet,
            low,
        });
        for (slot, frame) in [
            (LAN, frame(inside, REMOTE)),
            (UPLINK, frame(REMOTE, outside)),
        ] {
            let (decision, after) = run(&mut tables, slot, &frame);
            assert_eq!(
                (decision.verdict(), &after),
                (Verdict::DropNoPrefix, &frame)
            );
        }
        assert_eq!(tables.asked, 0);
    }
}

/// RFC 6296 section 6: one address for one, and nothing else of the packet changes.
#[test]
fn an_address_is_all_that_changes() {
    let mut tables = prefixed(48);
    let inside = Address6 {
        high: INSIDE | 7,
        low: 5,
    };
    let sent = frame(inside, REMOTE);
    let (decision, left) = run(&mut tables, LAN, &sent);
    assert_eq!(decision.verdict(), Verdict::Forwarded);
    // The hop limit, and behind it the source.
    assert_eq!(left[14..21], sent[14..21]);
    assert_eq!(left[21], 63);
    let translated = Address6::from_bytes(*left[22..].first_chunk().expect("an address"));
    assert_eq!((translated.high >> 16, translated.low), (OUTSIDE >> 16, 5));
    assert_eq!(left[38..], sent[38..]);
    tables.hosts6.insert(inside, testing::host());
    let (decision, back) = run(&mut tables, UPLINK, &frame(REMOTE, translated));
    assert_eq!(decision.verdict(), Verdict::Forwarded);
    assert_eq!(back[38..54], inside.bytes());
}
