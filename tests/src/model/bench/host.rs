//! The packet path in plain memory.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use multihome_common::{
    address::{Address4, Address6, AddressTable},
    flow::{slot::FlowSlot, tag::TagLine},
    limits::{BUCKETS as RANK_BUCKETS, MAX_UPLINKS},
    nat44::ports::{LINE, PortLine},
    port::PortEntry,
    sim::{Frame, SimTables},
    verdict::Verdict,
    way,
};

use super::{
    BUCKETS, Bench, IFINDEX, LAN_SLOT, PIN_LINES, POOLS, Ran, host_entry, port_entry, port_words,
    rank_row, segments4, segments6, uplink_entry, write_faults, write_state,
};
use crate::{
    model::{
        links::Links,
        site::{Port, Site, Words},
    },
    prog_run::wire::Wire,
};

/// The packet path over tables in plain memory.
#[derive(Default)]
pub struct OnHost {
    tables: SimTables,
    links: Option<Links>,
    runs: u32,
}

/// Packets in one tick of the clock: few enough that there are older flows, and so many that no
/// datagram in fragments is forgotten.
const PACKETS_PER_TICK: u32 = 128;

impl Bench for OnHost {
    fn enter(&mut self, site: &Site, words: &Words) -> Result<()> {
        let mut tables = SimTables::default();
        tables.track(BUCKETS[0], POOLS);
        tables.pin(PIN_LINES);
        tables.rows = (0..RANK_BUCKETS).map(rank_row).collect();
        let (four, six) = (segments4(site), segments6(site));
        *tables.addresses4 = AddressTable::new(&four).expect("it has room");
        *tables.addresses6 = AddressTable::new(&six).expect("it has room");
        for (address, host) in site.hosts() {
            match address {
                IpAddr::V4(address) => {
                    tables.hosts4.insert(
                        Address4::from_bytes(address.octets()),
                        host_entry(site, &host),
                    );
                }
                IpAddr::V6(address) => {
                    tables.hosts6.insert(
                        Address6::from_bytes(address.octets()),
                        host_entry(site, &host),
                    );
                }
            }
        }
        for (id, uplink) in site.uplinks.iter().enumerate() {
            tables.uplinks[id * 2] = uplink_entry(site, id as u8);
            for (place, address) in uplink.outside.iter().enumerate() {
                let owner = (id as u8, uplink.pool + place as u16);
                tables
                    .outsides
                    .insert(Address4::from_bytes(address.octets()), owner);
            }
        }
        for (place, word) in port_words(site) {
            tables.port_lines[place / LINE].0[place % LINE].store(word);
        }
        for (slot, uplink) in [
            (0, Some(0)),
            (1, Some(1)),
            (2, Some(2)),
            (LAN_SLOT as usize, None),
        ] {
            tables.framings[slot] = site.links.framing(uplink);
        }
        self.links = Some(site.links);
        self.tables = tables;
        write_state(site, words, 0, &mut self.tables.state);
        write_faults(words, &self.tables.faults);
        Ok(())
    }

    fn change(&mut self, site: &Site, words: &Words) -> Result<()> {
        write_state(site, words, u64::MAX, &mut self.tables.state);
        write_faults(words, &self.tables.faults);
        Ok(())
    }

    fn run(&mut self, port: Port, bytes: &[u8]) -> Result<Ran> {
        self.runs += 1;
        if self.runs.is_multiple_of(PACKETS_PER_TICK) {
            self.tables.now += 1;
        }
        let entry = port_entry(port);
        let mut frame = Frame::new(bytes);
        let links = self.links.unwrap_or(Links::PLAIN);
        let decision = if links.of(port) == Wire::PLAIN {
            match port {
                Port::Lan => way::from_lan(&mut frame, &mut self.tables, &entry),
                Port::Uplink(_) => way::from_uplink(&mut frame, &mut self.tables, &entry),
            }
        } else {
            self.tables.ports.fill(PortEntry::default());
            for entry in links.entries(port, entry, bytes) {
                self.tables.add_port(entry);
            }
            way::from_trunk(&mut frame, &mut self.tables, IFINDEX).context("no port's")?
        };
        let verdict = decision.verdict();
        let sent = matches!(verdict, Verdict::Forwarded | Verdict::DropFaultOut);
        let leaves = sent && port == Port::Lan && usize::from(decision.egress()) < MAX_UPLINKS;
        Ok(Ran {
            verdict: Some(verdict),
            uplink: leaves.then(|| decision.egress()),
            output: frame.as_slice().to_vec(),
        })
    }

    fn tags(&self) -> &[TagLine] {
        &self.tables.tags
    }

    fn flows(&self) -> &[FlowSlot] {
        &self.tables.flows
    }

    fn ports(&self) -> &[PortLine] {
        &self.tables.port_lines
    }
}
