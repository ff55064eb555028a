//! The world that rows happen in: one LAN port, three uplinks, one LAN host of each family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multihome::policy::{self, Own, Rule};
use multihome_common::{
    address::{Address4, Address6, AddressTable, Class},
    fault::{Effect, Fault},
    flow::lifetime::Timeouts,
    framing::Framing,
    limits::{BUCKETS, MAX_UPLINKS},
    nat44::ports::{LINE, PortRanges, PortWord, Space, line_of},
    nptv6::{Prefix, Translation},
    port::{NO_SLOT, PORT_FRAMED, PORT_KERNEL, PORT_RESTORE, PORT_TRUNK, PortEntry, SLOT_FRAMED},
    rank::RankRow,
    rules::{DomainKey, RuleSet, Rulebook},
    sim::SimTables,
    state::{GroupWords, IPV4, IPV6, RULES_OBSERVE_DNS, SharedState},
    uplink::{Hop, HostEntry, MODE_NAT44, MODE_NPTV6, UPLINK_FRAMED, UplinkEntry},
};

use super::wire::Wire;

/// The device that test runs come in on: the loopback device, which is always there.
pub const IFINDEX: u32 = 1;
/// The slot of the LAN port.
pub const LAN_SLOT: u32 = MAX_UPLINKS as u32;
/// All slots that there are.
pub const SLOTS: [u32; 4] = [0, 1, 2, LAN_SLOT];

/// The gateway's MAC, on whatever side the packet comes in.
pub const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The LAN host's MAC.
pub const HOST: [u8; 6] = [2, 0, 0, 0, 1, 2];
/// The gateway's MAC on the LAN port, as hosts see it.
pub const LAN_PORT: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// The gateway on the LAN.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The LAN host.
pub const HOST4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
/// A LAN host that is not entered.
pub const STRANGER4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 77);
/// A server in the internet.
pub const SERVER4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// The gateway on the LAN.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// The LAN host.
pub const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
/// A server in the internet.
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 9);

/// MTU of uplink 1; the others have 1500.
pub const SMALL_MTU: u16 = 1400;

/// Which program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The program of LAN ports.
    Lan,
    /// The program of uplinks; the packet comes in on uplink 0.
    Uplink,
}

/// All that the programs are told.
#[derive(Clone, Debug)]
pub struct World {
    /// The hash's seed.
    pub seed: [u64; 2],
    /// The words of the default group.
    pub group: GroupWords,
    /// The words of other groups, with their ids.
    pub groups: Vec<(u8, GroupWords)>,
    /// The rules.
    pub rules: Vec<Rule>,
    /// Prefixes that are uplinks' own.
    pub own: Vec<Own>,
    /// Addresses that belong to domains, with their class; the class's rules stand in `domain_sets`.
    pub domains: Vec<(IpAddr, u32)>,
    /// The rules that packets of each class may match.
    pub domain_sets: Vec<RuleSet>,
    /// The port that the packet comes in on, but for its slot.
    pub port: PortEntry,
    /// The LAN host's MTU.
    pub host_mtu: u16,
    /// The largest MSS of connections by the uplinks, by family; 0 for any.
    pub mss: [u16; 2],
    /// How the uplinks translate IPv4 addresses, if they do.
    pub nat: Option<Nat>,
    /// The uplinks translate the LAN's IPv6 prefix, each to one of its own.
    pub nptv6: bool,
    /// They translate the prefixes of RFC 6296's example instead.
    pub rfc6296: bool,
    /// The alive word of both families.
    pub alive: u64,
    /// The fault of all uplinks' lines, and when it ends, in nanoseconds of CLOCK_MONOTONIC.
    pub fault: Option<(Effect, u64)>,
    /// Lines of the pin table that the programs are told of.
    pub pin_lines: u32,
    /// What stands between MACs and IP packets on the LAN, and on every uplink.
    pub framings: [Wire; 2],
    /// The station that the PPPoE session of the port is with.
    pub peer: [u8; 6],
    /// The kernel has VLAN devices for the tags.
    pub vlan_devices: bool,
    /// The MTU of the uplinks but one.
    pub mtu: u16,
    /// When something last changed, in ticks; [`u64::MAX`] = no packet takes the short way.
    pub changed: u64,
}

/// How the uplinks translate, all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// A set of `UPLINK_*` flags.
    pub flags: u8,
    /// How many outside addresses there are: 0 or 1.
    pub addresses: u8,
    /// Buckets of the flow table that the programs are told of.
    pub buckets: u32,
    /// A port that is forwarded to the LAN host, and which of its ports.
    pub forward: Option<(u16, u16)>,
    /// It is forwarded to a host that is not known instead.
    pub stranger: bool,
}

impl Default for Nat {
    fn default() -> Self {
        Self {
            flags: 0,
            addresses: 1,
            buckets: FLOW_BUCKETS,
            forward: None,
            stranger: false,
        }
    }
}

/// Buckets of the flow table.
pub const FLOW_BUCKETS: u32 = 64;
/// Lines of the pin table.
pub const PIN_LINES: u32 = 16;
/// The outside address of every uplink.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

impl Default for World {
    fn default() -> Self {
        Self {
            seed: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
            group: GroupWords {
                eligible: [1, 1],
                ..GroupWords::ZERO
            },
            groups: Vec::new(),
            rules: Vec::new(),
            own: Vec::new(),
            domains: Vec::new(),
            domain_sets: Vec::new(),
            port: PortEntry {
                ifindex: IFINDEX,
                mtu: 1500,
                mac: GATEWAY,
                address4: GATEWAY4.octets(),
                address6: GATEWAY6.octets(),
                ..PortEntry::default()
            },
            host_mtu: 1500,
            mss: [0; 2],
            nat: None,
            nptv6: false,
            rfc6296: false,
            alive: 0b111,
            fault: None,
            pin_lines: PIN_LINES,
            framings: [Wire::PLAIN; 2],
            peer: [0; 6],
            vlan_devices: false,
            mtu: 1500,
            changed: 0,
        }
    }
}

/// The LAN's IPv6 prefix, which uplinks translate.
pub const INSIDE_PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);

/// The prefixes and the host of RFC 6296's example.
pub const RFC6296_INSIDE: Ipv6Addr = Ipv6Addr::new(0xfd01, 0x203, 0x405, 0, 0, 0, 0, 0);
/// The same, outside.
pub const RFC6296_OUTSIDE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
/// The host inside.
pub const RFC6296_HOST: Ipv6Addr = Ipv6Addr::new(0xfd01, 0x203, 0x405, 1, 0, 0, 0, 0x1234);

/// An uplink's IPv6 prefix.
pub const fn outside_prefix(id: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xb0 + id as u16, 0, 0, 0, 0, 0)
}

fn prefix(address: Ipv6Addr) -> Prefix {
    Prefix {
        address: Address6::from_bytes(address.octets()),
        length: 48,
    }
}

/// An address as the key of the table of domains.
pub fn domain_key(address: IpAddr) -> DomainKey {
    match address {
        IpAddr::V4(v4) => [0, 0xffff << 32 | u64::from(u32::from(v4))],
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            [(bits >> 64) as u64, bits as u64]
        }
    }
}

/// The MAC of an uplink's next hop, for a family.
pub fn next_hop(id: u8, family: usize) -> [u8; 6] {
    [2, 0, 0, 9, family as u8, id]
}

/// The gateway's MAC on an uplink.
pub fn uplink_mac(id: u8) -> [u8; 6] {
    [2, 0, 0, 8, 0, id]
}

/// The rank row of a bucket: the three uplinks, each first in a third of the buckets.
pub fn row(bucket: usize) -> RankRow {
    RankRow::new((0..3).map(|place| ((bucket + place) % 3) as u8))
}

/// The classes of IPv4 addresses.
pub fn segments4() -> Vec<(Address4, Class)> {
    let at = |a: [u8; 4], class| (Address4(u32::from_be_bytes(a)), class);
    vec![
        at([0, 0, 0, 0], Class::Special),
        at([1, 0, 0, 0], Class::Internet),
        at([10, 1, 0, 0], Class::Special),
        at([10, 1, 0, 1], Class::Gateway),
        at([10, 1, 0, 2], Class::Lan),
        at([10, 1, 0, 255], Class::Special),
        at([10, 1, 1, 0], Class::Internet),
        at([127, 0, 0, 0], Class::Special),
        at([128, 0, 0, 0], Class::Internet),
        at([169, 254, 0, 0], Class::Special),
        at([169, 255, 0, 0], Class::Internet),
        at([192, 0, 2, 0], Class::OnLink),
        at([192, 0, 2, 2], Class::Gateway),
        at([192, 0, 2, 3], Class::OnLink),
        at([192, 0, 2, 4], Class::Internet),
        at([224, 0, 0, 0], Class::Special),
    ]
}

/// The classes of IPv6 addresses.
pub fn segments6() -> Vec<(Address6, Class)> {
    let at = |text: &str, class| {
        let address: Ipv6Addr = text.parse().expect("a constant");
        (Address6::from_bytes(address.octets()), class)
    };
    vec![
        at("::", Class::Special),
        at("::2", Class::Internet),
        at("2001:db8:1::", Class::Gateway),
        at("2001:db8:1::2", Class::Lan),
        at("2001:db8:1:1::", Class::Internet),
        at("2001:db8:b0::", Class::Outside),
        at("2001:db8:b3::", Class::Internet),
        at("2001:db8:aaaa::", Class::OnLink),
        at("2001:db8:aaab::", Class::Internet),
        at("fd01:203:405::", Class::Lan),
        at("fd01:203:406::", Class::Internet),
        at("fe80::", Class::Special),
        at("fec0::", Class::Internet),
        at("ff00::", Class::Special),
    ]
}

impl World {
    /// The port's entry for a side.
    pub fn port_of(&self, side: Side) -> PortEntry {
        let slot = match side {
            Side::Lan => LAN_SLOT,
            Side::Uplink => 0,
        };
        let wire = self.framing_of(side);
        let framing = wire.framing();
        let mut flags = self.port.flags;
        if wire != Wire::PLAIN {
            flags |= PORT_FRAMED;
        }
        if self.vlan_devices {
            flags |= PORT_RESTORE;
        }
        PortEntry {
            slot,
            flags,
            framing: framing.key(),
            session: wire.session.unwrap_or_default().into(),
            peer: if wire.session.is_some() {
                self.peer
            } else {
                PortEntry::ANY
            },
            ..self.port
        }
    }

    /// The entry of the device that a port with a framing stands on.
    pub fn trunk(&self, side: Side) -> PortEntry {
        let wire = self.framing_of(side);
        let own = !self.vlan_devices && wire.session.is_none();
        PortEntry {
            slot: NO_SLOT,
            flags: PORT_TRUNK | PORT_KERNEL,
            kernel_tags: if own { wire.framing().key() } else { 0 },
            ..self.port
        }
    }

    /// What stands between MACs and IP packets on a side.
    pub fn framing_of(&self, side: Side) -> Wire {
        self.framings[side as usize]
    }

    /// What frames get that are sent for a slot.
    pub fn framing_of_slot(&self, slot: u32) -> Framing {
        let side = if slot == LAN_SLOT {
            Side::Lan
        } else {
            Side::Uplink
        };
        self.framing_of(side).framing()
    }

    /// The entry of an uplink.
    pub fn uplink(&self, id: u8) -> UplinkEntry {
        let mut entry = UplinkEntry {
            mtu: if id == 1 { SMALL_MTU } else { self.mtu },
            mss: self.mss,
            next_hop: [0, 1].map(|family| Hop::new(next_hop(id, family), uplink_mac(id))),
            ..UplinkEntry::default()
        };
        if let Some(nat) = self.nat {
            entry.mode[IPV4] = MODE_NAT44;
            entry.flags = nat.flags;
            entry.outside_count = nat.addresses;
            entry.outside[0] = OUTSIDE.into();
        }
        if self.framings[1] != Wire::PLAIN {
            entry.flags |= UPLINK_FRAMED;
        }
        if self.nptv6 {
            entry.mode[IPV6] = MODE_NPTV6;
            let (inside, outside) = if self.rfc6296 {
                (RFC6296_INSIDE, RFC6296_OUTSIDE)
            } else {
                (INSIDE_PREFIX, outside_prefix(id))
            };
            entry.prefix = Translation::new(prefix(inside), prefix(outside))
                .expect("prefixes that can be translated");
        }
        entry
    }

    /// The words of the shared state that this world needs.
    pub fn write(&self, state: &mut SharedState) {
        let nat = self.nat.unwrap_or_default();
        state.seed = self.seed;
        state.groups[0] = self.group;
        for (id, words) in &self.groups {
            state.groups[usize::from(*id)] = *words;
        }
        state.rules = u64::from(self.has_rules());
        if !self.domains.is_empty() {
            state.rules |= RULES_OBSERVE_DNS;
        }
        state.tracked = u64::from(self.nat.is_some());
        state.flow_buckets = nat.buckets.into();
        state.alive = [self.alive; 2];
        state.faulty = if self.fault.is_some() { 0b111 } else { 0 };
        state.pin_lines = self.pin_lines.into();
        state.port_ranges = PortRanges::new((1024, 32_767), (61_000, 65_535));
        state.timeouts = Timeouts::default();
        state.changed = self.changed;
    }

    /// Whether there is a rulebook, in the first copy.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty() || !self.own.is_empty()
    }

    /// The rulebook.
    pub fn rulebook(&self) -> Box<Rulebook> {
        policy::compile(&self.rules, &self.own).expect("the rules fit")
    }

    /// Puts the fault into the lines, or takes it away.
    pub fn set_faults(&self, faults: &[Fault]) {
        for fault in faults {
            fault.rewind();
            match self.fault {
                Some((effect, until)) => fault.set(effect, until),
                None => fault.clear(),
            }
        }
    }

    /// Tells tables in plain memory what this world has other than another.
    pub fn tell(&self, tables: &mut SimTables, side: Side) {
        self.write(&mut tables.state);
        if self.has_rules() {
            tables.rulebooks[0] = Some(self.rulebook());
        }
        tables.domain_sets.clone_from(&self.domain_sets);
        for (address, class) in &self.domains {
            tables.domains.insert((0, domain_key(*address)), *class);
        }
        self.set_faults(&tables.faults);
        tables.add_port(self.port_of(side));
        if self.framing_of(side) != Wire::PLAIN {
            tables.add_port(self.trunk(side));
        }
        for slot in SLOTS {
            tables.framings[slot as usize] = self.framing_of_slot(slot);
        }
        for id in 0..3 {
            tables.uplinks[usize::from(id) * 2] = self.uplink(id);
        }
    }

    /// Words of the port table that the controller has written: line, place in it, and word.
    pub fn port_words(&self) -> Vec<(usize, usize, u64)> {
        let nat = self.nat.unwrap_or_default();
        let host = if nat.stranger { STRANGER4 } else { HOST4 };
        let words = nat.forward.map(|(outside, inside)| {
            let word = PortWord::forward(host.into(), inside).0;
            [Space::Tcp, Space::Udp].map(|space| {
                let line = line_of(0, space, outside) as usize;
                (line, usize::from(outside) % LINE, word)
            })
        });
        words.into_iter().flatten().collect()
    }

    /// The LAN host's entry.
    pub fn host(&self) -> HostEntry {
        let framed = if self.framings[0] == Wire::PLAIN {
            0
        } else {
            SLOT_FRAMED
        };
        HostEntry {
            hop: Hop::new(HOST, LAN_PORT),
            mtu: self.host_mtu,
            slot: LAN_SLOT as u16 | framed,
        }
    }

    /// The same world in plain memory.
    pub fn simulated(&self, side: Side) -> SimTables {
        let mut tables = SimTables::default();
        tables.track(FLOW_BUCKETS, 1);
        tables.pin(self.pin_lines);
        if self.nat.is_some() {
            tables.outsides.insert(Address4(OUTSIDE.into()), (0, 0));
        }
        for (line, place, word) in self.port_words() {
            tables.port_lines[line].0[place].store(word);
        }
        self.tell(&mut tables, side);
        *tables.addresses4 = AddressTable::new(&segments4()).expect("it has room");
        *tables.addresses6 = AddressTable::new(&segments6()).expect("it has room");
        tables.rows = (0..BUCKETS).map(row).collect();
        tables
            .hosts4
            .insert(Address4::from_bytes(HOST4.octets()), self.host());
        for host in [HOST6, RFC6296_HOST] {
            tables
                .hosts6
                .insert(Address6::from_bytes(host.octets()), self.host());
        }
        tables
    }
}
