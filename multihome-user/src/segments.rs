//! From the kernel's addresses and routes to address classes: which destinations are the gateway's
//! own, a LAN's, or the kernel's to route.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use multihome_common::{
    address::{Address4, Address6, AddressTable, Class},
    limits::MAX_SEGMENTS,
};

use crate::{
    config::Ipv6Prefix,
    netlink::{MAIN_TABLE, NetState, Route},
};

/// Routes and addresses tell more ranges apart than the table has segments for.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the {family} routes and addresses of this machine split its addresses into more than \
     {MAX_SEGMENTS} ranges ({lan} routes over LAN ports, {other} over other devices in the main \
     table): {}",
    self.advice()
)]
pub struct TooManySegments {
    /// IPv4 or IPv6.
    family: &'static str,
    /// Routes over LAN ports.
    lan: usize,
    /// Routes over other devices, without default routes.
    other: usize,
}

impl TooManySegments {
    fn advice(&self) -> &'static str {
        if self.lan > self.other {
            "use fewer, larger LAN prefixes"
        } else {
            "have the routing daemon import a default route only, or keep the others in a table \
             of their own"
        }
    }
}

/// Addresses that are never steered, whatever the routes say: first address, prefix length.
/// RFC 1122 section 3.2.1.3, RFC 3927, RFC 5771, RFC 1112; RFC 4291 sections 2.5.2 to 2.7.
const SPECIAL: &[(IpAddr, u8)] = &[
    (v4([0, 0, 0, 0]), 8),
    (v4([127, 0, 0, 0]), 8),
    (v4([169, 254, 0, 0]), 16),
    (v4([224, 0, 0, 0]), 4),
    (v4([240, 0, 0, 0]), 4),
    (v6([0, 0, 0, 0, 0, 0, 0, 0]), 128),
    (v6([0, 0, 0, 0, 0, 0, 0, 1]), 128),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0]), 10),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0]), 8),
];

const fn v4(octets: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))
}

const fn v6(s: [u16; 8]) -> IpAddr {
    IpAddr::V6(std::net::Ipv6Addr::new(
        s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7],
    ))
}

/// The classes of one family's addresses: ascending starts, each with the class from there on.
pub type Segments = Vec<(u128, Class)>;

/// The IPv4 table of these segments; `None` when they are too many.
pub fn table4(segments: &Segments) -> Option<Box<AddressTable<Address4>>> {
    table(segments, |start| Address4(start as u32))
}

/// The IPv6 table of these segments; `None` when they are too many.
pub fn table6(segments: &Segments) -> Option<Box<AddressTable<Address6>>> {
    table(segments, |start| Address6 {
        high: (start >> 64) as u64,
        low: start as u64,
    })
}

fn table<A: Copy + Ord + Default>(
    segments: &Segments,
    address: impl Fn(u128) -> A,
) -> Option<Box<AddressTable<A>>> {
    let typed: Vec<_> = segments
        .iter()
        .map(|&(start, class)| (address(start), class))
        .collect();
    AddressTable::new(&typed).map(Box::new)
}

/// What LAN hosts' addresses are translated to.
#[derive(Clone, Debug, Default)]
pub struct Outsides {
    /// Addresses, which need not be on a device.
    pub addresses: Vec<Ipv4Addr>,
    /// Prefixes.
    pub prefixes: Vec<Ipv6Prefix>,
}

/// A range of addresses, both ends included.
struct Range {
    first: u128,
    last: u128,
    class: Class,
}

/// The classes that routes and addresses give; `bits` is the family's address length, 32 or 128.
///
/// # Errors
/// When they are more than [`MAX_SEGMENTS`]: a table of them would have no room.
pub fn segments(
    net: &NetState,
    is_lan: impl Fn(u32) -> bool,
    outsides: &Outsides,
    bits: u8,
) -> Result<Segments, TooManySegments> {
    let ranges = ranges(net, &is_lan, outsides, bits);
    // Where ranges begin and where they have ended, in the order of addresses.
    let mut edges: Vec<(u128, usize, bool)> = Vec::with_capacity(ranges.len() * 2);
    for (n, range) in ranges.iter().enumerate() {
        edges.push((range.first, n, true));
        let next = range.last.checked_add(1);
        let next = next.filter(|&next| bits == 128 || next >> bits == 0);
        edges.extend(next.map(|next| (next, n, false)));
    }
    edges.sort_unstable();
    let mut here = BTreeSet::new();
    let mut segments: Segments = vec![(0, Class::Internet)];
    for (n, &(start, range, begins)) in edges.iter().enumerate() {
        if begins {
            here.insert(range);
        } else {
            here.remove(&range);
        }
        if edges.get(n + 1).is_some_and(|next| next.0 == start) {
            continue;
        }
        // Later ranges are laid over earlier ones.
        let class = here.last().map_or(Class::Internet, |&n| ranges[n].class);
        if start == 0 {
            segments[0].1 = class;
        } else if segments.last().is_none_or(|&(_, before)| before != class) {
            if segments.len() == MAX_SEGMENTS {
                return Err(too_many(net, is_lan, bits));
            }
            segments.push((start, class));
        }
    }
    Ok(segments)
}

fn too_many(net: &NetState, is_lan: impl Fn(u32) -> bool, bits: u8) -> TooManySegments {
    let routes = || telling(net, bits);
    let lan = routes().filter(|route| is_lan(route.ifindex)).count();
    TooManySegments {
        family: if bits == 32 { "IPv4" } else { "IPv6" },
        lan,
        other: routes().count() - lan,
    }
}

fn is_of_family(address: IpAddr, bits: u8) -> bool {
    (if address.is_ipv4() { 32 } else { 128 }) == bits
}

/// The routes that say what an address is: those of the main table, but for default routes, which
/// lead to the internet, and their halves (as VPN clients set them).
fn telling(net: &NetState, bits: u8) -> impl Iterator<Item = &Route> {
    net.routes.iter().filter(move |route| {
        route.table == MAIN_TABLE && is_of_family(route.destination, bits) && route.prefix_len > 1
    })
}

/// All ranges, the more particular later: routes by prefix length, what is never steered, and the
/// gateway's own addresses.
fn ranges(
    net: &NetState,
    is_lan: impl Fn(u32) -> bool,
    outsides: &Outsides,
    bits: u8,
) -> Vec<Range> {
    let of_family = |address| is_of_family(address, bits);
    let mut routes: Vec<&Route> = telling(net, bits).collect();
    routes.sort_by_key(|route| (route.prefix_len, std::cmp::Reverse(route.metric)));
    let mut ranges: Vec<Range> = routes
        .into_iter()
        .map(|route| {
            let class = if is_lan(route.ifindex) {
                Class::Lan
            } else {
                Class::OnLink
            };
            prefix(route.destination, route.prefix_len, class)
        })
        .collect();
    ranges.extend(
        SPECIAL
            .iter()
            .filter(|(address, _)| of_family(*address))
            .map(|&(address, len)| prefix(address, len, Class::Special)),
    );
    if bits == 128 {
        let translated = |under: &Ipv6Prefix| {
            let network = under.network().into();
            prefix(network, under.length(), Class::Outside)
        };
        ranges.extend(outsides.prefixes.iter().map(translated));
    }
    for address in net
        .addresses
        .values()
        .flatten()
        .filter(|a| of_family(a.address))
    {
        let whole = prefix(address.address, address.prefix_len, Class::Special);
        // RFC 1122 section 3.2.1.3: the subnet's broadcast addresses, old and new. RFC 4291
        // section 2.6.1: the subnet-router anycast address is every router's own.
        if bits == 32 && address.prefix_len < 31 {
            ranges.push(Range {
                first: whole.last,
                ..whole
            });
            ranges.push(Range {
                first: whole.first,
                last: whole.first,
                class: Class::Special,
            });
        } else if bits == 128 && address.prefix_len < 127 {
            ranges.push(Range {
                first: whole.first,
                last: whole.first,
                class: Class::Gateway,
            });
        }
        if let Some(broadcast) = address.broadcast {
            ranges.push(prefix(broadcast.into(), bits, Class::Special));
        }
        ranges.push(prefix(address.address, bits, Class::Gateway));
    }
    if bits == 32 {
        let own = |&address: &Ipv4Addr| prefix(address.into(), bits, Class::Gateway);
        ranges.extend(outsides.addresses.iter().map(own));
    }
    ranges
}

fn prefix(address: IpAddr, len: u8, class: Class) -> Range {
    let (number, bits) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let host_bits = u32::from(bits - len.min(bits));
    let mask = match host_bits {
        128 => u128::MAX,
        n => (1u128 << n) - 1,
    };
    Range {
        first: number & !mask,
        last: number | mask,
        class,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::{Address, NetEvent};

    fn net() -> NetState {
        let mut net = NetState::default();
        let address = |text: &str, prefix_len| Address {
            address: text.parse().unwrap(),
            prefix_len,
            usable: true,
            deprecated: false,
            broadcast: None,
            peer: None,
        };
        let route = |text: &str, prefix_len, ifindex, gateway: Option<&str>| Route {
            destination: text.parse().unwrap(),
            prefix_len,
            table: MAIN_TABLE,
            metric: 0,
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            ifindex,
            advertised: false,
        };
        for event in [
            NetEvent::AddressAdded(1, address("10.1.0.1", 24)),
            NetEvent::AddressAdded(1, address("2001:db8:1::1", 64)),
            NetEvent::AddressAdded(2, address("192.0.2.2", 30)),
            NetEvent::RouteAdded(route("10.1.0.0", 24, 1, None)),
            NetEvent::RouteAdded(route("10.2.0.0", 16, 1, Some("10.1.0.9"))),
            NetEvent::RouteAdded(route("192.0.2.0", 30, 2, None)),
            NetEvent::RouteAdded(route("0.0.0.0", 0, 2, Some("192.0.2.1"))),
            NetEvent::RouteAdded(route("2001:db8:1::", 64, 1, None)),
        ] {
            net.apply(&event);
        }
        net
    }

    fn class(text: &str) -> Class {
        let is_lan = |ifindex| ifindex == 1;
        match text.parse().unwrap() {
            IpAddr::V4(a) => table4(&segments(&net(), is_lan, &Outsides::default(), 32).unwrap())
                .unwrap()
                .class(Address4::from_bytes(a.octets())),
            IpAddr::V6(a) => table6(&segments(&net(), is_lan, &Outsides::default(), 128).unwrap())
                .unwrap()
                .class(Address6::from_bytes(a.octets())),
        }
    }

    #[test]
    fn classes_follow_routes_and_addresses() {
        for (address, expected) in [
            ("10.1.0.1", Class::Gateway),
            ("10.1.0.0", Class::Special),
            ("10.1.0.2", Class::Lan),
            ("10.1.0.254", Class::Lan),
            ("10.1.0.255", Class::Special),
            ("10.1.1.0", Class::Internet),
            ("10.2.255.255", Class::Lan),
            ("192.0.2.1", Class::OnLink),
            ("192.0.2.2", Class::Gateway),
            ("192.0.2.3", Class::Special),
            ("192.0.2.4", Class::Internet),
            ("8.8.8.8", Class::Internet),
            ("224.0.0.1", Class::Special),
            ("255.255.255.255", Class::Special),
            ("127.0.0.1", Class::Special),
            ("0.0.0.0", Class::Special),
            ("2001:db8:1::", Class::Gateway),
            ("2001:db8:1::1", Class::Gateway),
            ("2001:db8:1::2", Class::Lan),
            ("2001:db8:2::2", Class::Internet),
            ("fe80::1", Class::Special),
            ("ff02::1", Class::Special),
            ("::", Class::Special),
            ("::2", Class::Internet),
        ] {
            assert_eq!(class(address), expected, "{address}");
        }
    }

    /// An address of a provider's that is routed to the gateway, not put on its device.
    #[test]
    fn outside_addresses_are_the_gateways_wherever_they_lie() {
        let outsides = Outsides {
            addresses: vec![Ipv4Addr::new(198, 51, 100, 7)],
            prefixes: vec!["2001:db8:b0::/48".parse().unwrap()],
        };
        let segments = segments(&net(), |ifindex| ifindex == 1, &outsides, 32).unwrap();
        let table = table4(&segments).unwrap();
        for (last, class) in [
            (6, Class::Internet),
            (7, Class::Gateway),
            (8, Class::Internet),
        ] {
            assert_eq!(
                table.class(Address4::from_bytes([198, 51, 100, last])),
                class
            );
        }
    }

    /// A delegated prefix has a route of the kernel's to nowhere, and one of its networks may be a
    /// device's.
    #[test]
    fn outside_prefixes_are_told_but_for_the_gateways_own_addresses() {
        let mut net = net();
        net.apply(&NetEvent::RouteAdded(Route {
            destination: "2001:db8:b0::".parse().unwrap(),
            prefix_len: 48,
            table: MAIN_TABLE,
            ifindex: 1,
            gateway: None,
            metric: 1024,
            advertised: false,
        }));
        let outsides = Outsides {
            prefixes: vec!["2001:db8:b0::/48".parse().unwrap()],
            ..Outsides::default()
        };
        let segments = segments(&net, |ifindex| ifindex == 1, &outsides, 128).unwrap();
        let table = table6(&segments).unwrap();
        for (address, class) in [
            ("2001:db8:af:ffff::1", Class::Internet),
            ("2001:db8:b0::1", Class::Outside),
            ("2001:db8:b0:ffff::1", Class::Outside),
            ("2001:db8:b1::", Class::Internet),
        ] {
            let octets = address.parse::<std::net::Ipv6Addr>().unwrap().octets();
            assert_eq!(
                table.class(Address6::from_bytes(octets)),
                class,
                "{address}"
            );
        }
    }

    /// `count` routes of length 24 over one device, none next to another.
    fn scattered(count: u32, ifindex: u32) -> NetState {
        let mut net = NetState::default();
        for n in 0..count {
            net.apply(&NetEvent::RouteAdded(Route {
                destination: IpAddr::from((0x0a00_0000 + n * 512).to_be_bytes()),
                prefix_len: 24,
                table: MAIN_TABLE,
                metric: 0,
                gateway: None,
                ifindex,
                advertised: false,
            }));
        }
        net
    }

    #[test]
    fn too_many_ranges_are_refused_with_their_cause() {
        let is_lan = |ifindex| ifindex == 1;
        let said = |net: &NetState| {
            segments(net, is_lan, &Outsides::default(), 32)
                .unwrap_err()
                .to_string()
        };
        let lan = said(&scattered(600, 1));
        assert!(lan.contains("600 routes over LAN ports, 0 over"), "{lan}");
        assert!(lan.ends_with("larger LAN prefixes"), "{lan}");
        let daemon = said(&scattered(600, 2));
        assert!(daemon.contains("import a default route only"), "{daemon}");
        assert!(segments(&scattered(500, 1), is_lan, &Outsides::default(), 32).is_ok());
    }

    /// A routing daemon's 20 000 routes were compared each with each: a minute of a core.
    #[test]
    fn many_routes_are_told_apart_in_no_time() {
        let mut net = scattered(20_000, 2);
        let all = NetEvent::RouteAdded(Route {
            destination: IpAddr::from([10, 0, 0, 0]),
            prefix_len: 6,
            table: MAIN_TABLE,
            metric: 0,
            gateway: None,
            ifindex: 3,
            advertised: false,
        });
        net.apply(&all);
        let start = std::time::Instant::now();
        // All are of one class, so that they need few segments and none can be left out.
        assert!(
            segments(&net, |_| false, &Outsides::default(), 32)
                .is_ok_and(|segments| segments.len() < 20)
        );
        assert!(start.elapsed() < std::time::Duration::from_secs(2));
    }

    fn range() -> impl Strategy<Value = Route> {
        (0u32..64, 24u8..=32, 0u32..3, 1u32..4).prop_map(|(n, prefix_len, metric, ifindex)| {
            let mask = u32::MAX << (32 - u32::from(prefix_len));
            Route {
                destination: IpAddr::from(((0x0a00_0000 + n * 37) & mask).to_be_bytes()),
                prefix_len,
                table: MAIN_TABLE,
                metric,
                gateway: None,
                ifindex,
                advertised: false,
            }
        })
    }

    proptest! {
        /// The longest prefix wins, of those the lowest metric: as by asking each route.
        #[test]
        fn the_sweep_finds_what_a_search_of_all_ranges_finds(
            routes in proptest::collection::btree_set(range(), 0..40),
            probes in proptest::collection::vec(0x09ff_fff0u32..0x0a00_0a00, 50),
        ) {
            let mut net = NetState::default();
            for route in routes {
                net.apply(&NetEvent::RouteAdded(route));
            }
            let is_lan = |ifindex| ifindex == 1;
            let table = table4(&segments(&net, is_lan, &Outsides::default(), 32).unwrap()).unwrap();
            let all = ranges(&net, is_lan, &Outsides::default(), 32);
            for probe in probes {
                let over = all.iter().rev().find(|range| {
                    (range.first..=range.last).contains(&u128::from(probe))
                });
                let expected = over.map_or(Class::Internet, |range| range.class);
                prop_assert_eq!(table.class(Address4(probe)), expected);
            }
        }
    }
}
