//! The list of a table that the packet path itself has filled: its two forms, which others rely on,
//! and that its length does not matter.

use std::cell::Cell;

use multihome_common::{
    flow::{
        FlowKey,
        slot::{Direction, FlowSlot, Outside},
        tag::{Tag, TagLine, WAYS},
    },
    nat44::{
        open::{self, Opening},
        ports::{LINE, PortMemory as _, PortWord, Space, line_of},
    },
    sim::SimTables,
    uplink::UplinkEntry,
    wire::{protocol, tcp},
};

use super::*;

/// The far end of the flows.
const REMOTE: u32 = u32::from_be_bytes([203, 0, 113, 7]);

/// Tables in plain memory, with one outside address for each of three uplinks.
pub(super) struct Gateway {
    pub tables: SimTables,
}

impl Gateway {
    pub fn new(buckets: u32) -> Self {
        let mut tables = SimTables::default();
        tables.track(buckets, 3);
        tables.now = 10_000;
        Self { tables }
    }

    /// Opens a flow by this uplink; its slot.
    pub fn open(&self, key: FlowKey, uplink: u8) -> &FlowSlot {
        let mut entry = UplinkEntry {
            pool: uplink.into(),
            outside_count: 1,
            ..UplinkEntry::default()
        };
        entry.outside[0] = u32::from_be_bytes([198, 51, 100, uplink + 1]);
        let opening = Opening {
            key,
            uplink: uplink.into(),
            ..Opening::default()
        };
        self.opened(&entry, &opening)
            .expect("there is room for the flow")
    }

    fn opened(&self, entry: &UplinkEntry, opening: &Opening) -> Option<&FlowSlot> {
        let tables = &self.tables;
        let index = open::open(tables, &tables.state, entry, opening, tables.now);
        tables.flow(index.ok()?)
    }

    fn table<'a>(&'a self, uplinks: &'a [Option<String>]) -> Table<'a, SimTables> {
        Table {
            memory: &self.tables,
            buckets: self.tables.state.flow_buckets(),
            timeouts: &self.tables.state.timeouts,
            uplinks,
            bytes: TableBytes {
                flows: 20_480,
                ports: 6_291_456,
                pins: 4_096,
            },
        }
    }

    fn text(&self, filter: &Filter) -> String {
        let mut out = Vec::new();
        self.table(&names())
            .text(filter, || self.tables.now, &mut out)
            .expect("memory takes it");
        String::from_utf8(out).expect("it is text")
    }
}

fn names() -> Vec<Option<String>> {
    vec![Some("fibre".into()), Some("mobile-backup".into()), None]
}

fn inside(last: u8) -> u32 {
    u32::from_be_bytes([192, 168, 1, last])
}

/// One flow of every kind.
fn example() -> Gateway {
    let mut gateway = Gateway::new(16);
    // A port forward: 198.51.100.1:8443 is 192.168.1.5:443.
    let line = gateway.tables.port_line(line_of(0, Space::Tcp, 8443));
    line.expect("there is such a port").0[8443 % LINE].store(PortWord::forward(inside(5), 443).0);
    let begin = gateway.tables.now;
    let note = |slot: &FlowSlot, direction, later: u32, flags, times: u32| {
        for _ in 0..times {
            slot.note(direction, begin + later, flags, 1_000, false);
        }
    };
    use Direction::{Inward, Outward};

    let key = FlowKey::v4(inside(2), REMOTE, 40_000 << 16 | 443, protocol::TCP);
    let established = gateway.open(key, 0);
    note(established, Outward, 0, tcp::SYN, 1);
    note(established, Inward, 0, tcp::SYN | tcp::ACK, 1);
    note(established, Outward, 3500, tcp::ACK, 1_234);
    note(established, Inward, 3500, tcp::ACK, 23_456);

    let key = FlowKey::v4(inside(2), REMOTE, 40_001 << 16 | 443, protocol::TCP);
    let closing = gateway.open(key, 0);
    note(closing, Outward, 3490, tcp::SYN | tcp::FIN, 4);
    note(closing, Inward, 3490, tcp::SYN | tcp::FIN, 3);

    let key = FlowKey::v4(inside(3), REMOTE, 40_000 << 16 | 443, protocol::TCP);
    note(gateway.open(key, 1), Outward, 3499, tcp::SYN, 1);

    let key = FlowKey::v4(inside(3), REMOTE, 5_353 << 16 | 53, protocol::UDP);
    let answered = gateway.open(key, 1);
    note(answered, Outward, 3400, 0, 1);
    note(answered, Inward, 3401, 0, 1);

    let key = FlowKey::v4(inside(4), REMOTE, 77 << 16 | 77, protocol::ICMP);
    note(gateway.open(key, 0), Outward, 3500, 0, 1);

    let key = FlowKey::v4(inside(4), REMOTE, 0, 47);
    note(gateway.open(key, 2), Outward, 3300, 0, 10);

    let key = FlowKey::v4(inside(4), REMOTE, 0, 253);
    note(gateway.open(key, 2), Outward, 3300, 0, 1);

    let key = FlowKey::v4(inside(5), REMOTE, 443 << 16 | 50_000, protocol::TCP);
    let outside = Outside {
        address: u32::from_be_bytes([198, 51, 100, 1]),
        port: 8443,
        pool: 0,
    };
    let opening = Opening {
        key,
        outside: outside.word(),
        ..Opening::default()
    };
    let forwarded = gateway
        .opened(&UplinkEntry::default(), &opening)
        .expect("the port is forwarded");
    note(forwarded, Inward, 3480, tcp::SYN, 1);
    note(forwarded, Outward, 3481, tcp::ACK, 1);

    // Its time is up.
    let key = FlowKey::v4(inside(9), REMOTE, 9 << 16 | 9, protocol::UDP);
    gateway.open(key, 0);
    gateway.tables.now = begin + 3500;
    gateway
}

#[test]
fn the_table_lines_up() {
    insta::assert_snapshot!(example().text(&Filter::default()));
}

#[test]
fn the_lines_have_their_form() {
    let gateway = example();
    let mut out = Vec::new();
    gateway
        .table(&names())
        .json(&Filter::default(), || gateway.tables.now, &mut out)
        .expect("memory takes it");
    let text = String::from_utf8(out).expect("it is text");
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(20));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn filters_take_uplink_and_address() {
    let gateway = example();
    let shown = |uplink, host: Option<[u8; 4]>| {
        let filter = Filter::new(uplink, host.map(Ipv4Addr::from), &names()).expect("it exists");
        let text = gateway.text(&filter);
        let rows = text.lines().skip(1).take_while(|line| !line.is_empty());
        let count = rows.count();
        assert!(text.contains(&format!("\n{count} of 8 flows; ")), "{text}");
        count
    };
    assert_eq!(shown(None, None), 8);
    assert_eq!(shown(Some("mobile-backup"), None), 2);
    assert_eq!(shown(None, Some([192, 168, 1, 4])), 3);
    assert_eq!(shown(None, Some([203, 0, 113, 7])), 8);
    // An outside address is the gateway's own.
    assert_eq!(shown(None, Some([198, 51, 100, 1])), 0);
    assert_eq!(shown(Some("fibre"), Some([192, 168, 1, 4])), 1);
}

#[test]
fn an_empty_table_is_told() {
    let text = Gateway::new(1).text(&Filter::default());
    let last = text.lines().last();
    assert_eq!(last, Some("0 of 0 flows; no uplink translates IPv4"));
}

/// A table that seems to be as large as one likes: its buckets are those of a small one, over and
/// over.
struct Endless<'a> {
    tables: &'a SimTables,
    read: Cell<u64>,
}

impl<'a> Endless<'a> {
    /// All of the small table's slots have a flow.
    fn new(gateway: &'a Gateway) -> Self {
        let tables = &gateway.tables;
        let mut entry = UplinkEntry {
            outside_count: 1,
            ..UplinkEntry::default()
        };
        entry.outside[0] = u32::from_be_bytes([198, 51, 100, 1]);
        let tags = || tables.tags.iter().flat_map(|line| &line.0);
        let mut remote = REMOTE;
        while tags().any(|tag| Tag(tag.load()).is_free()) {
            remote += 1;
            let key = FlowKey::v4(inside(2), remote, 5000 << 16 | 443, protocol::TCP);
            let opening = Opening {
                key,
                ..Opening::default()
            };
            // Answered flows are not displaced; both buckets of this one may be full of them.
            if let Some(slot) = gateway.opened(&entry, &opening) {
                slot.note(Direction::Inward, tables.now, tcp::SYN, 60, false);
            }
        }
        Self {
            tables: &gateway.tables,
            read: Cell::new(0),
        }
    }

    fn table<'b>(&'b self, flows: u32, uplinks: &'b [Option<String>]) -> Table<'b, Self> {
        Table {
            memory: self,
            buckets: flows / WAYS as u32,
            timeouts: &self.tables.state.timeouts,
            uplinks,
            bytes: TableBytes::default(),
        }
    }
}

impl FlowMemory for Endless<'_> {
    fn tags(&self, bucket: u32) -> Option<&TagLine> {
        self.tables.tags(bucket % self.tables.state.flow_buckets())
    }

    fn flow(&self, index: u32) -> Option<&FlowSlot> {
        self.read.set(self.read.get() + 1);
        self.tables.flow(index % self.tables.flows.len() as u32)
    }
}

/// Counts what is written, and closes after so many bytes.
#[derive(Default)]
struct Counting {
    bytes: u64,
    largest: usize,
    open_for: u64,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes >= self.open_for {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.bytes += bytes.len() as u64;
        self.largest = self.largest.max(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_million_flows_are_written_as_they_are_read() {
    let gateway = Gateway::new(2);
    let endless = Endless::new(&gateway);
    let (names, all) = (names(), Filter::default());
    // JSON is slow in unoptimised code.
    for (json, flows) in [(false, 1_000_000), (true, 100_000)] {
        let table = endless.table(flows, &names);
        let mut out = Counting {
            open_for: u64::MAX,
            ..Counting::default()
        };
        let buffered = BufWriter::with_capacity(BUFFER, &mut out);
        let written = if json {
            table.json(&all, || 10_000, buffered)
        } else {
            table.text(&all, || 10_000, buffered)
        };
        written.expect("it is taken");
        assert_eq!(endless.read.replace(0), u64::from(flows));
        assert!(out.bytes > 100 * u64::from(flows), "{} bytes", out.bytes);
        assert!(out.largest <= BUFFER, "{} bytes at once", out.largest);
    }
}

/// Nothing is read ahead: a reader that has seen enough ends the reading.
#[test]
fn a_reader_that_closes_early_ends_the_list() {
    let gateway = Gateway::new(2);
    let endless = Endless::new(&gateway);
    let (names, all) = (names(), Filter::default());
    let table = endless.table(100_000_000, &names);
    for json in [false, true] {
        let mut out = Counting {
            open_for: 1,
            ..Counting::default()
        };
        endless.read.set(0);
        let buffered = BufWriter::with_capacity(BUFFER, &mut out);
        let written = if json {
            table.json(&all, || 10_000, buffered)
        } else {
            table.text(&all, || 10_000, buffered)
        };
        let kind = written.map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::BrokenPipe));
        // Two buffers' worth of lines of more than a hundred bytes.
        assert!(endless.read.get() < 2 * BUFFER as u64 / 100);
    }
}
