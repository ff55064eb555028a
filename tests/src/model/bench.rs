//! What the model is compared with: the packet path in the kernel and in plain memory, told of the
//! same site.

pub mod host;
pub mod kernel;

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use multihome_common::{
    address::{Address4, Address6, Class},
    fault::Fault,
    flow::{
        lifetime::Timeouts,
        slot::FlowSlot,
        tag::{Tag, TagLine, WAYS},
    },
    framing::Framing,
    limits::MAX_UPLINKS,
    nat44::ports::{
        LINE, PortLine, PortRanges, PortWord, RESERVED as RESERVED_WORD, Space, line_of,
    },
    nptv6::{Prefix, Translation},
    port::{PortEntry, SLOT_FRAMED},
    rank::RankRow,
    state::{GROUP_HOLD, GroupWords, IPV4, IPV6, Policy, SharedState},
    uplink::{
        Hop, HostEntry, MODE_NAT44, MODE_NPTV6, UPLINK_DROP_UNASKED, UPLINK_FRAMED,
        UPLINK_OPEN_FILTER, UplinkEntry,
    },
    verdict::Verdict,
};

use super::{
    site::{
        FORWARDS, GATEWAY, GATEWAY4, GATEWAY6, Host, INSIDE6, LAN_MTU, Port, RESERVED, Site, Words,
        next_hop, uplink_mac,
    },
    tables::{Ends, Record},
};

/// Buckets of a flow table with room for all, and of one that is crowded.
pub const BUCKETS: [u32; 2] = [128, 4];
/// Lines of the pin table: so many that no pin gives way.
pub const PIN_LINES: u32 = 4096;
/// Outside addresses of all uplinks.
pub const POOLS: u32 = 4;
/// The slot of the LAN port.
pub const LAN_SLOT: u32 = MAX_UPLINKS as u32;
/// The device that packets come in on.
pub const IFINDEX: u32 = 1;

/// What was done with a packet.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The verdict.
    pub verdict: Option<Verdict>,
    /// The uplink that it was forwarded to.
    pub uplink: Option<u8>,
    /// The packet afterwards.
    pub output: Vec<u8>,
}

/// Something that runs the packet path.
pub trait Bench {
    /// Begins anew at a site, without flows.
    ///
    /// # Errors
    /// When a table cannot be written.
    fn enter(&mut self, site: &Site, words: &Words) -> Result<()>;

    /// Changes what may change while packets flow.
    ///
    /// # Errors
    /// When a table cannot be written.
    fn change(&mut self, site: &Site, words: &Words) -> Result<()>;

    /// Runs a packet that comes in on a port.
    ///
    /// # Errors
    /// When it cannot be run.
    fn run(&mut self, port: Port, frame: &[u8]) -> Result<Ran>;

    /// The tags of the flow table.
    fn tags(&self) -> &[TagLine];
    /// Its slots.
    fn flows(&self) -> &[FlowSlot];
    /// The table of outside ports.
    fn ports(&self) -> &[PortLine];
}

/// A live flow's record in a slot.
pub fn record(bench: &dyn Bench, index: usize) -> (u64, Option<Record>) {
    let tag = Tag(bench.tags()[index / WAYS].0[index % WAYS].load());
    if !tag.is_live() {
        return (tag.0, None);
    }
    let slot = &bench.flows()[index];
    let (key, outside) = (slot.key(), slot.outside());
    let record = Record {
        ends: Ends {
            inside: IpAddr::V4(Ipv4Addr::from(key.inside4())),
            remote: IpAddr::V4(Ipv4Addr::from(key.remote4())),
            protocol: key.protocol(),
            inside_port: key.inside_port(),
            remote_port: key.remote_port(),
        },
        uplink: slot.uplink(),
        outside: Ipv4Addr::from(outside.address),
        port: outside.port,
        pool: outside.pool,
        forward: slot.is_forward(),
    };
    (tag.0, Some(record))
}

/// The words that the programs read, and when they [changed](SharedState::changed).
pub(super) fn write_state(site: &Site, words: &Words, changed: u64, state: &mut SharedState) {
    state.changed = changed;
    let policy = if site.conduct.by_source {
        Policy::Source
    } else {
        Policy::FiveTuple
    };
    let flags = if site.conduct.hold { GROUP_HOLD } else { 0 };
    state.seed = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
    state.groups[0] = GroupWords {
        eligible: [words.eligible; 2],
        last_good: [words.last_good; 2],
        settled: [words.settled; 2],
        conduct: GroupWords::conduct([policy; 2], flags),
        ..GroupWords::ZERO
    };
    state.tracked = u64::from(site.tracked());
    state.flow_buckets = BUCKETS[usize::from(site.conduct.crowded)].into();
    state.alive = [words.alive; 2];
    state.faulty = words.fault.map_or(0, |(id, _)| 1 << id);
    state.pin_lines = PIN_LINES.into();
    state.port_ranges = PortRanges::new((1024, 32_767), (61_000, 65_535));
    // The kernel's clock cannot be moved, so time must not matter.
    state.timeouts = Timeouts([u32::MAX; 8]);
}

/// The faults of the lines, of which the programs look at the one that the state names.
pub(super) fn write_faults(words: &Words, faults: &[Fault]) {
    for fault in faults {
        match words.fault {
            Some((_, effect)) => fault.set(effect, u64::MAX),
            None => fault.clear(),
        }
    }
}

/// An uplink's entry.
pub(super) fn uplink_entry(site: &Site, id: u8) -> UplinkEntry {
    let uplink = &site.uplinks[usize::from(id)];
    let mut entry = UplinkEntry {
        mtu: uplink.mtu,
        mss: uplink.mss,
        pool: uplink.pool,
        next_hop: [false, true].map(|v6| Hop::new(next_hop(id, v6), uplink_mac(id))),
        ..UplinkEntry::default()
    };
    if !uplink.outside.is_empty() {
        entry.mode[IPV4] = MODE_NAT44;
        entry.outside_count = uplink.outside.len() as u8;
        for (place, address) in entry.outside.iter_mut().zip(&uplink.outside) {
            *place = (*address).into();
        }
    }
    if site.links.framing(Some(id)) != Framing::PLAIN {
        entry.flags |= UPLINK_FRAMED;
    }
    for (set, flag) in [
        (site.conduct.open_filter, UPLINK_OPEN_FILTER),
        (site.conduct.drop_unasked, UPLINK_DROP_UNASKED),
    ] {
        entry.flags |= if set { flag } else { 0 };
    }
    if let Some((address, length)) = uplink.prefix {
        let prefix = |address: std::net::Ipv6Addr, length: u8| Prefix {
            address: Address6::from_bytes(address.octets()),
            length: length.into(),
        };
        entry.mode[IPV6] = MODE_NPTV6;
        entry.prefix = Translation::new(prefix(INSIDE6, 48), prefix(address, length))
            .expect("prefixes that can be translated");
    }
    entry
}

/// A port's entry.
pub(super) fn port_entry(port: Port) -> PortEntry {
    PortEntry {
        ifindex: IFINDEX,
        slot: match port {
            Port::Lan => LAN_SLOT,
            Port::Uplink(id) => id.into(),
        },
        mtu: LAN_MTU.into(),
        mac: GATEWAY,
        address4: GATEWAY4.octets(),
        address6: GATEWAY6.octets(),
        ..PortEntry::default()
    }
}

/// A LAN host's entry.
pub(super) fn host_entry(site: &Site, host: &Host) -> HostEntry {
    let framed = if site.links.framing(None) == Framing::PLAIN {
        0
    } else {
        SLOT_FRAMED
    };
    HostEntry {
        hop: Hop::new(host.mac, host.from),
        mtu: host.mtu,
        slot: LAN_SLOT as u16 | framed,
    }
}

/// The classes of IPv4 addresses.
pub(super) fn segments4(site: &Site) -> Vec<(Address4, Class)> {
    let borders = site.borders4().into_iter();
    merged(borders.map(|first| {
        let class = site.class(first.into());
        (Address4::from_bytes(first.octets()), class)
    }))
}

/// The classes of IPv6 addresses.
pub(super) fn segments6(site: &Site) -> Vec<(Address6, Class)> {
    let borders = site.borders6().into_iter();
    merged(borders.map(|first| {
        let class = site.class(first.into());
        (Address6::from_bytes(first.octets()), class)
    }))
}

fn merged<A: Copy>(segments: impl Iterator<Item = (A, Class)>) -> Vec<(A, Class)> {
    let mut merged: Vec<(A, Class)> = Vec::new();
    for (first, class) in segments {
        if merged.last().is_none_or(|last| last.1 != class) {
            merged.push((first, class));
        }
    }
    merged
}

/// The words of the port table that no flow has written: number of the word, and word.
pub(super) fn port_words(site: &Site) -> Vec<(usize, u64)> {
    let mut words = Vec::new();
    for address in site.uplinks.iter().flat_map(|uplink| &uplink.outside) {
        let pool = site
            .pool_of(*address)
            .expect("an outside address has a pool");
        for space in [Space::Tcp, Space::Udp] {
            let place =
                |port: u16| line_of(pool, space, port) as usize * LINE + usize::from(port) % LINE;
            words.push((place(RESERVED), RESERVED_WORD));
            for (outside, inside, port) in FORWARDS {
                words.push((place(outside), PortWord::forward(inside.into(), port).0));
            }
        }
    }
    words
}

/// The rank row of a bucket: the three uplinks, each first in a third of the buckets.
pub(super) fn rank_row(bucket: usize) -> RankRow {
    RankRow::new((0..3).map(|place| ((bucket + place) % 3) as u8))
}
