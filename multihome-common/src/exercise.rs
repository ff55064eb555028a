//! The packet path exercised by bytes: a fuzzer's input becomes a small world and packets on both its
//! sides, and what must hold whatever they are is checked.
//!
//! An input is three bytes of world (see [`World`]), then packets: a byte that says how the packet
//! comes in (see [`Arrival`]), its length as two bytes, little-endian, and the frame from its EtherType
//! on.

use std::{collections::BTreeSet, prelude::v1::*, vec};

use crate::{
    address::{Address4, Address6, AddressTable, Class},
    fault::{Effect, Share},
    flow::{
        fragment::FragmentSlot,
        tag::{Tag, WAYS},
    },
    limits::{FRAGMENT_SLOTS, MAX_UPLINKS},
    nat44::ports::{LINE, PortWord, Space, line_of},
    nptv6::{Prefix, Translation},
    port::PortEntry,
    rank::RankRow,
    sim::{Frame, SimTables},
    state::{GROUP_HOLD, GroupWords, IPV4, IPV6, Policy},
    uplink::{
        Hop, HostEntry, MODE_NAT44, MODE_NPTV6, UPLINK_DROP_UNASKED, UPLINK_OPEN_FILTER,
        UplinkEntry,
    },
    way,
};

mod checks;
mod edge;
#[cfg(test)]
mod talks;
#[cfg(test)]
mod tests;

const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
const STATION: [u8; 6] = [2, 0, 0, 0, 1, 2];
const LAN_SLOT: u32 = MAX_UPLINKS as u32;
/// Buckets of a flow table with room, and of one that is soon full.
const BUCKETS: [u32; 2] = [16, 1];
const PIN_LINES: u32 = 16;
/// Uplinks, and outside addresses of each.
const UPLINKS: u8 = 2;
/// A forwarded port, and the LAN host's.
const FORWARD: (u16, u16) = (8080, 80);
/// Packets of one input.
const MOST_PACKETS: usize = 64;

/// What the first three bytes say.
///
/// Bits of the first: uplinks translate IPv4; IPv6; any host may answer; what nobody asked for is
/// dropped; flows wait for their uplink; the flow table is small; nothing may be answered; flows of a
/// host keep together. The second and third hold words of two bits: alive, settled, and whose lines have
/// a fault; eligible, last known good, and what the fault does: it spares the link, and loses half.
#[derive(Clone, Copy, Debug)]
struct World {
    switches: u8,
    words: [u8; 2],
}

impl World {
    const fn has(self, bit: u32) -> bool {
        self.switches >> bit & 1 == 1
    }

    fn word(self, byte: usize, shift: u32) -> u64 {
        u64::from(self.words[byte] >> shift & 3)
    }
}

/// What the byte before a packet says: the port in bits 0 and 1 (0 = LAN), in bit 2 that the IPv4
/// header's checksum is to be made right, in bit 3 that the world's words are exchanged first, and in
/// the others by how much the clock goes on.
#[derive(Clone, Copy, Debug)]
struct Arrival(u8);

impl Arrival {
    fn slot(self) -> u32 {
        match self.0 & 3 {
            0 | 3 => LAN_SLOT,
            id => u32::from(id) - 1,
        }
    }

    const fn mends(self) -> bool {
        self.0 & 4 != 0
    }

    const fn exchanges(self) -> bool {
        self.0 & 8 != 0
    }

    fn ticks(self) -> u32 {
        (1 << (self.0 >> 4)) >> 1
    }
}

/// A gateway that inputs are tried on, one after the other.
pub struct Exercise {
    tables: SimTables,
    /// Ports that flows have had since the input began.
    used: BTreeSet<(u16, u8, u16)>,
    /// Packets that could take the short way, IPv4 and IPv6: from the LAN, and from an uplink.
    short: [u64; 4],
}

impl Default for Exercise {
    fn default() -> Self {
        let mut tables = SimTables::default();
        tables.track(BUCKETS[0], u32::from(UPLINKS));
        tables.pin(PIN_LINES);
        tables.rows.fill(RankRow::new([1, 0]));
        tables.rows[..8192].fill(RankRow::new([0, 1]));
        *tables.addresses4 = AddressTable::new(&classes4()).expect("it has room");
        *tables.addresses6 = AddressTable::new(&classes6()).expect("it has room");
        edge::enter_ports(&mut tables);
        let host = HostEntry {
            hop: Hop::new(STATION, GATEWAY),
            mtu: 1500,
            slot: LAN_SLOT as u16,
        };
        for last in 2..5u8 {
            let address = Address4::from_bytes([10, 1, 0, last]);
            tables.hosts4.insert(address, host);
            let address = Address6 {
                high: INSIDE,
                low: last.into(),
            };
            tables.hosts6.insert(address, host);
        }
        for id in 0..UPLINKS {
            let outside = Address4::from_bytes(outside(id));
            tables.outsides.insert(outside, (id, id.into()));
        }
        Self {
            tables,
            used: BTreeSet::new(),
            short: [0; 4],
        }
    }
}

/// The LAN's prefix.
const INSIDE: u64 = 0x2001_0db8_0001_0000;
const INSIDE_PREFIX: Prefix = Prefix {
    address: Address6 {
        high: INSIDE,
        low: 0,
    },
    length: 48,
};

const fn outside(id: u8) -> [u8; 4] {
    [192, 0, 2, 2 + id]
}

fn classes4() -> Vec<(Address4, Class)> {
    let at = |octets, class| (Address4::from_bytes(octets), class);
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
        at([192, 0, 2, 0], Class::OnLink),
        at(outside(0), Class::Gateway),
        at([192, 0, 2, 2 + UPLINKS], Class::OnLink),
        at([192, 0, 2, 16], Class::Internet),
        at([224, 0, 0, 0], Class::Special),
    ]
}

fn classes6() -> Vec<(Address6, Class)> {
    let at = |high, low, class| (Address6 { high, low }, class);
    vec![
        at(0, 0, Class::Special),
        at(0, 2, Class::Internet),
        at(INSIDE, 0, Class::Gateway),
        at(INSIDE, 2, Class::Lan),
        at(INSIDE + 0x1_0000, 0, Class::Internet),
        at(prefix(0).address.high, 0, Class::Outside),
        at(prefix(UPLINKS).address.high, 0, Class::Internet),
        at(0xfe80 << 48, 0, Class::Special),
        at(0xfec0 << 48, 0, Class::Internet),
        at(0xff00 << 48, 0, Class::Special),
    ]
}

/// An uplink's prefix: a /48 of the first, a /64 of the second.
const fn prefix(id: u8) -> Prefix {
    Prefix {
        address: Address6 {
            high: 0x2001_0db8_00b0_0000 + ((id as u64) << 16),
            low: 0,
        },
        length: 48 + 16 * id as u32,
    }
}

impl Exercise {
    /// Runs one input, and checks what must hold.
    ///
    /// # Panics
    /// When it does not.
    pub fn run(&mut self, input: &[u8]) {
        let Some((&[switches, a, b], mut rest)) = input.split_first_chunk::<3>() else {
            return;
        };
        let mut world = World {
            switches,
            words: [a, b],
        };
        self.begin(world);
        for _ in 0..MOST_PACKETS {
            let Some((&[how, low, high], after)) = rest.split_first_chunk::<3>() else {
                break;
            };
            let len = usize::from(u16::from_le_bytes([low, high])).min(after.len());
            let (body, after) = after.split_at(len);
            rest = after;
            let arrival = Arrival(how);
            if arrival.exchanges() {
                world.words.swap(0, 1);
                self.tell(world);
                self.tables.unsettle();
            }
            self.tables.now += arrival.ticks();
            self.packet(world, arrival, body);
        }
        self.check_tables();
    }

    /// Empties the tables, and fills them for this world.
    fn begin(&mut self, world: World) {
        self.used.clear();
        self.tables.state.changed = 0;
        let tables = &mut self.tables;
        tables.now = 1000;
        tables.may_reply = !world.has(6);
        // What earlier inputs had has been checked to be all that there is.
        for flow in 0..tables.flows.len() {
            let (line, way) = (flow / WAYS, flow % WAYS);
            if Tag(tables.tags[line].0[way].load()).is_live() {
                crate::nat44::open::close(&*tables, flow as u32);
            }
            tables.tags[line].0[way].store(0);
        }
        for line in &tables.pins {
            line.0.iter().for_each(|word| word.store(0));
        }
        tables.fragments.clear();
        tables
            .fragments
            .resize_with(FRAGMENT_SLOTS, FragmentSlot::default);
        for id in 0..UPLINKS {
            tables.uplinks[usize::from(id) * 2] = uplink(world, id);
            for space in [Space::Tcp, Space::Udp] {
                let line = line_of(id.into(), space, FORWARD.0) as usize;
                let host = u32::from_be_bytes([10, 1, 0, 2]);
                let word = PortWord::forward(host, FORWARD.1);
                tables.port_lines[line].0[usize::from(FORWARD.0) % LINE].store(word.0);
            }
        }
        let half = Share::of_million(500_000).unwrap_or(Share::ALL);
        let effect = Effect {
            loss: if world.word(1, 4) & 2 == 0 {
                Share::ALL
            } else {
                half
            },
            beyond_next_hop: world.word(1, 4) & 1 == 1,
        };
        for fault in &self.tables.faults {
            fault.rewind();
            fault.set(effect, u64::MAX);
        }
        self.tell(world);
    }

    /// Tells the words that may change while packets flow.
    fn tell(&mut self, world: World) {
        let policy = if world.has(7) {
            Policy::Source
        } else {
            Policy::FiveTuple
        };
        let flags = if world.has(4) { GROUP_HOLD } else { 0 };
        let state = &mut self.tables.state;
        state.tracked = u64::from(world.has(0));
        state.flow_buckets = BUCKETS[usize::from(world.has(5))].into();
        state.alive = [world.word(0, 0); 2];
        state.faulty = world.word(0, 4);
        state.groups[0] = GroupWords {
            settled: [world.word(0, 2); 2],
            eligible: [world.word(1, 0); 2],
            last_good: [world.word(1, 2); 2],
            conduct: GroupWords::conduct([policy; 2], flags),
            ..GroupWords::ZERO
        };
    }

    fn packet(&mut self, world: World, arrival: Arrival, body: &[u8]) {
        let mut bytes = [&GATEWAY[..], &STATION, body].concat();
        if arrival.mends() {
            checks::mend_header(&mut bytes);
        }
        edge::check(&self.tables, &bytes);
        let slot = arrival.slot();
        let port = PortEntry {
            ifindex: 1,
            slot,
            mtu: 1500,
            mac: GATEWAY,
            address4: [10, 1, 0, 1],
            address6: Address6 {
                high: INSIDE,
                low: 1,
            }
            .bytes(),
            ..PortEntry::default()
        };
        let fate = way::whole::comes_in(&Frame::new(&bytes), &self.tables, &port);
        let (mut frame, mut shortly) = (Frame::new(&bytes), Frame::new(&bytes));
        let (known, decision) = if slot == LAN_SLOT {
            (
                way::known::from_lan(&mut shortly, &self.tables, &port),
                way::whole::from_lan_anew(&mut frame, &mut self.tables, &port),
            )
        } else {
            (
                way::known::from_uplink(&mut shortly, &self.tables, &port),
                way::whole::from_uplink_anew(&mut frame, &mut self.tables, &port),
            )
        };
        if let Some(known) = known {
            self.short[usize::from(slot != LAN_SLOT) * 2 + usize::from(bytes[12] == 0x86)] += 1;
            assert_eq!(known, decision, "the short way and the full one");
            assert_eq!(shortly.as_slice(), frame.as_slice(), "and their packets");
        }
        assert!(!decision.is_stage(), "{decision:?} is no end");
        checks::packet(&bytes, frame.as_slice(), decision);
        checks::source(world.has(0), frame.as_slice(), decision);
        checks::line(&self.tables, &port, &bytes, fate, decision);
        self.note_ports();
    }

    fn note_ports(&mut self) {
        for (flow, slot) in self.tables.flows.iter().enumerate() {
            let tag = Tag(self.tables.tags[flow / WAYS].0[flow % WAYS].load());
            assert!(tag.is_free() || tag.is_live(), "a slot was left busy");
            if tag.is_live() && !slot.is_forward() {
                let outside = slot.outside();
                let space = Space::of(slot.protocol()) as u8;
                self.used.insert((outside.pool, space, outside.port));
            }
        }
    }
}

/// An uplink's entry.
fn uplink(world: World, id: u8) -> UplinkEntry {
    let mut entry = UplinkEntry {
        mtu: 1500 - 100 * u16::from(id),
        pool: id.into(),
        next_hop: [Hop::new(STATION, GATEWAY); 2],
        ..UplinkEntry::default()
    };
    if world.has(0) {
        entry.mode[IPV4] = MODE_NAT44;
        entry.outside_count = 1;
        entry.outside[0] = u32::from_be_bytes(outside(id));
    }
    if world.has(1) {
        entry.mode[IPV6] = MODE_NPTV6;
        entry.prefix = Translation::new(INSIDE_PREFIX, prefix(id)).expect("they can be translated");
    }
    for (bit, flag) in [(2, UPLINK_OPEN_FILTER), (3, UPLINK_DROP_UNASKED)] {
        entry.flags |= if world.has(bit) { flag } else { 0 };
    }
    entry
}

/// Runs one input on a gateway of its own.
///
/// # Panics
/// When something does not hold that must.
pub fn packet_path(input: &[u8]) {
    Exercise::default().run(input);
}
