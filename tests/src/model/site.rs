//! The gateway that the model and the programs both are told of: three uplinks, a handful of hosts
//! and servers, so that flows meet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multihome_common::{address::Class, fault::Effect};

use super::links::Links;

/// The gateway's MAC on every device that packets come in on.
pub const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The gateway's MAC as the table of hosts has it.
pub const LAN_PORT: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// The gateway on the LAN.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The gateway on the LAN.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// MTU of the LAN port and of every device that answers.
pub const LAN_MTU: u16 = 1500;
/// The LAN's IPv6 prefix, a /48.
pub const INSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
/// Ports of a LAN host that are reached from outside: outside port, host, its port.
pub const FORWARDS: [(u16, Ipv4Addr, u16); 2] = [
    (8080, Ipv4Addr::new(10, 1, 0, 2), 80),
    (2022, Ipv4Addr::new(10, 1, 0, 6), 2022),
];
/// A port of each outside address that is the gateway's own.
pub const RESERVED: u16 = 1005;

/// The device that a packet comes in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// The LAN port.
    Lan,
    /// An uplink.
    Uplink(u8),
}

/// An uplink.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// The largest packet; no two uplinks have the same, so that an answer names its uplink.
    pub mtu: u16,
    /// The largest MSS of its connections, by family; 0 for any.
    pub mss: [u16; 2],
    /// Outside IPv4 addresses; none where nothing is translated.
    pub outside: Vec<Ipv4Addr>,
    /// Number of the first one's part of the port table.
    pub pool: u16,
    /// The outside IPv6 prefix and its length, where there is one.
    pub prefix: Option<(Ipv6Addr, u8)>,
}

/// How a site treats traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conduct {
    /// Any host may answer to a mapped port.
    pub open_filter: bool,
    /// What comes unasked is dropped.
    pub drop_unasked: bool,
    /// Flows wait for a dead uplink.
    pub hold: bool,
    /// All that a LAN host does takes one uplink.
    pub by_source: bool,
    /// The last uplink translates no IPv4.
    pub mixed: bool,
    /// No uplink translates anything.
    pub routed: bool,
    /// The flow table is too small.
    pub crowded: bool,
}

/// What may change while packets flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// Uplinks that carry packets at all, of either family.
    pub alive: u64,
    /// Uplinks that take new flows.
    pub eligible: u64,
    /// What serves while none is eligible.
    pub last_good: u64,
    /// Uplinks that flows go back to.
    pub settled: u64,
    /// The uplink whose line has a fault, and what that does.
    pub fault: Option<(u8, Effect)>,
}

/// The whole site.
#[derive(Clone, Debug)]
pub struct Site {
    /// The uplinks, by id.
    pub uplinks: Vec<Uplink>,
    /// How it treats traffic.
    pub conduct: Conduct,
    /// What its links are like.
    pub links: Links,
}

/// A LAN host's place on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its MAC.
    pub mac: [u8; 6],
    /// The gateway's MAC that it is sent from.
    pub from: [u8; 6],
    /// The largest packet it takes.
    pub mtu: u16,
}

impl Site {
    /// The site of this conduct, with links like these.
    pub fn new(conduct: Conduct, links: Links) -> Self {
        let v6 = |third, length| Some((Ipv6Addr::new(0x2001, 0xdb8, third, 0, 0, 0, 0, 0), length));
        let uplink = |mtu, mss, outside: &[Ipv4Addr], pool, prefix| Uplink {
            mtu,
            mss,
            outside: outside.to_vec(),
            pool,
            prefix,
        };
        let mut uplinks = vec![
            uplink(
                1500,
                [0; 2],
                &[Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 3)],
                0,
                v6(0xb0, 48),
            ),
            uplink(
                1400,
                [1360, 1340],
                &[Ipv4Addr::new(198, 51, 100, 2)],
                2,
                v6(0xb1, 64),
            ),
            uplink(1480, [1001, 0], &[Ipv4Addr::new(203, 0, 113, 2)], 3, None),
        ];
        for (id, uplink) in uplinks.iter_mut().enumerate() {
            if conduct.routed || conduct.mixed && id == 2 {
                uplink.outside.clear();
            }
            if conduct.routed {
                uplink.prefix = None;
            }
        }
        Self {
            uplinks,
            conduct,
            links,
        }
    }

    /// Whether IPv4 flows are followed: some uplink translates.
    pub const fn tracked(&self) -> bool {
        !self.conduct.routed
    }

    /// Which uplink an outside address belongs to.
    pub fn owner_of(&self, address: Ipv4Addr) -> Option<u8> {
        let has = |uplink: &Uplink| uplink.outside.contains(&address);
        self.uplinks.iter().position(has).map(|id| id as u8)
    }

    /// The part of the port table of an outside address.
    pub fn pool_of(&self, address: Ipv4Addr) -> Option<u16> {
        self.uplinks.iter().find_map(|uplink| {
            let place = uplink
                .outside
                .iter()
                .position(|outside| *outside == address)?;
            Some(uplink.pool + place as u16)
        })
    }

    /// What an address means here.
    pub fn class(&self, address: IpAddr) -> Class {
        match address {
            IpAddr::V4(address) => self.class4(address),
            IpAddr::V6(address) => self.class6(address),
        }
    }

    fn class4(&self, address: Ipv4Addr) -> Class {
        let [a, b, c, d] = address.octets();
        match (a, b, c, d) {
            (10, 1, 0, 1) | (192, 0, 2, 2 | 3) | (198, 51, 100, 2) | (203, 0, 113, 2) => {
                Class::Gateway
            }
            (10, 1, 0, 2..=254) => Class::Lan,
            (10, 1, 0, _) | (0 | 127 | 224..=255, ..) | (169, 254, ..) => Class::Special,
            (192, 0, 2, 0..16) | (198, 51, 100, 0..16) | (203, 0, 113, 0..16) => Class::OnLink,
            _ => Class::Internet,
        }
    }

    fn class6(&self, address: Ipv6Addr) -> Class {
        let word = address.segments();
        if address == GATEWAY6 || address == Ipv6Addr::new(0x2001, 0xdb8, 0xb0, 0xfffe, 0, 0, 0, 1)
        {
            Class::Gateway
        } else if word[..3] == INSIDE6.segments()[..3] {
            Class::Lan
        } else if word[..3] == [0x2001, 0xdb8, 0xaaaa] {
            Class::OnLink
        } else if u128::from(address) < 2 || word[0] >> 6 == 0xfe80 >> 6 || word[0] >> 8 == 0xff {
            Class::Special
        } else if self.is_under_prefix(address).is_some() {
            Class::Outside
        } else {
            Class::Internet
        }
    }

    /// Which uplink's prefix an address has, the prefix, and its length.
    pub fn is_under_prefix(&self, address: Ipv6Addr) -> Option<(u8, Ipv6Addr, u8)> {
        (0..).zip(&self.uplinks).find_map(|(id, uplink)| {
            let (prefix, length) = uplink.prefix?;
            super::prefix::has(address, prefix, length).then_some((id, prefix, length))
        })
    }

    /// The lowest address of each stretch of one class, of IPv4.
    pub fn borders4(&self) -> Vec<Ipv4Addr> {
        let mut borders: Vec<u32> = vec![0];
        for (first, last) in [
            ([0, 0, 0, 0], [0, 255, 255, 255]),
            ([10, 1, 0, 0], [10, 1, 0, 0]),
            ([10, 1, 0, 1], [10, 1, 0, 1]),
            ([10, 1, 0, 2], [10, 1, 0, 254]),
            ([10, 1, 0, 255], [10, 1, 0, 255]),
            ([127, 0, 0, 0], [127, 255, 255, 255]),
            ([169, 254, 0, 0], [169, 254, 255, 255]),
            ([192, 0, 2, 0], [192, 0, 2, 1]),
            ([192, 0, 2, 2], [192, 0, 2, 3]),
            ([192, 0, 2, 4], [192, 0, 2, 15]),
            ([198, 51, 100, 0], [198, 51, 100, 1]),
            ([198, 51, 100, 2], [198, 51, 100, 2]),
            ([198, 51, 100, 3], [198, 51, 100, 15]),
            ([203, 0, 113, 0], [203, 0, 113, 1]),
            ([203, 0, 113, 2], [203, 0, 113, 2]),
            ([203, 0, 113, 3], [203, 0, 113, 15]),
            ([224, 0, 0, 0], [255, 255, 255, 254]),
        ] {
            borders.push(u32::from_be_bytes(first));
            borders.push(u32::from_be_bytes(last) + 1);
        }
        borders.retain(|&border| border != u32::MAX);
        borders.sort_unstable();
        borders.dedup();
        borders.into_iter().map(Ipv4Addr::from).collect()
    }

    /// The lowest address of each stretch of one class, of IPv6.
    pub fn borders6(&self) -> Vec<Ipv6Addr> {
        [
            "::",
            "::2",
            "2001:db8:1::",
            "2001:db8:1::1",
            "2001:db8:1::2",
            "2001:db8:2::",
            "2001:db8:b0::",
            "2001:db8:b0:fffe::1",
            "2001:db8:b0:fffe::2",
            "2001:db8:b1::",
            "2001:db8:b1:1::",
            "2001:db8:aaaa::",
            "2001:db8:aaab::",
            "fe80::",
            "fec0::",
            "ff00::",
        ]
        .iter()
        .map(|text| text.parse().expect("a constant"))
        .collect()
    }

    /// LAN hosts that the gateway knows, by address.
    pub fn hosts(&self) -> Vec<(IpAddr, Host)> {
        let mut hosts = Vec::new();
        for last in 2..=6u8 {
            let mtu = if last == 4 { 1300 } else { LAN_MTU };
            let (mac, from) = (host_mac(last), LAN_PORT);
            let host = Host { mac, from, mtu };
            hosts.push((IpAddr::V4(host4(last)), host));
            for subnet in SUBNETS {
                hosts.push((IpAddr::V6(host6(subnet, last)), host));
            }
        }
        hosts
    }
}

/// IPv6 subnets that hosts live in.
pub const SUBNETS: [u16; 3] = [0, 5, 0xffff];

/// A LAN host's MAC.
pub const fn host_mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 2, last]
}

/// A LAN host's address; those with 2 to 6 are known.
pub const fn host4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, last)
}

/// A LAN host's address.
pub const fn host6(subnet: u16, last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, subnet, 0, 0, 0, last as u16)
}

/// The MAC of an uplink's next hop.
pub const fn next_hop(id: u8, v6: bool) -> [u8; 6] {
    [2, 0, 0, 9, v6 as u8, id]
}

/// The gateway's MAC on an uplink, as the uplink's entry has it.
pub const fn uplink_mac(id: u8) -> [u8; 6] {
    [2, 0, 0, 8, 0, id]
}
