//! The packet path in the kernel, by BPF_PROG_TEST_RUN.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues, ProgramArray, xdp::DevMap},
    programs::Xdp,
    util::nr_cpus,
};
use multihome::dataplane::{OBJECT, PROGRAM_LAN, PROGRAM_TRUNK, PROGRAM_UPLINK, Snapshot};
use multihome_common::{
    abi::{self, MemberTiers, SlotName},
    address::{Address4, Address6, AddressTable},
    counters::{self, COLUMNS, CounterTable},
    fault::Fault,
    flow::{
        fragment::FragmentSlot,
        pin::PinLine,
        slot::FlowSlot,
        tag::{TagLine, WAYS},
    },
    framing::Framing,
    limits::{BUCKETS as RANK_BUCKETS, FRAGMENT_SLOTS, MAX_SLOTS, MAX_UPLINKS},
    nat44::ports::{LINES, PortLine, SPACES},
    port::{self, PortEntry},
    rules::{RuleCounts, RuleSet, Rulebook},
    state::{RULES_OBSERVE_DNS, SharedState},
    uplink::{HostEntry, UplinkEntry},
    verdict::Verdict,
};

use super::{
    BUCKETS, Bench, IFINDEX, LAN_SLOT, PIN_LINES, POOLS, Ran, host_entry, port_entry, port_words,
    rank_row, segments4, segments6, uplink_entry, write_faults, write_state,
};
use crate::{
    model::{
        links::Links,
        ruled::{GROUPS, Group, Policy},
        site::{Port, Site, Words},
    },
    prog_run::{kernel::enter_programs, shared::Shared, wire::Wire, world::domain_key},
};

/// Room for what a program makes of a packet.
const OUTPUT: usize = 4096;
/// The uplinks' names, by id.
pub const UPLINKS: [&str; 3] = ["fiber", "cable", "mobile"];
/// The groups' names, by id.
pub const GROUP_NAMES: [&str; GROUPS + 1] = ["default", "one", "two", "three"];
/// Their tiers in each group.
pub const TIERS: [u8; 3] = [1, 1, 2];
/// Packets after which the rate limit's bucket is filled again: fewer than it has room for.
const REFILL: u64 = 50;

/// The loaded programs and their maps.
pub struct InKernel {
    ebpf: Ebpf,
    state: Array<MapData, SharedState>,
    uplinks: Array<MapData, UplinkEntry>,
    ports: Array<MapData, PortEntry>,
    classes4: Array<MapData, AddressTable<Address4>>,
    classes6: Array<MapData, AddressTable<Address6>>,
    hosts4: HashMap<MapData, u32, HostEntry>,
    hosts6: HashMap<MapData, [u64; 2], HostEntry>,
    outsides: HashMap<MapData, u32, u64>,
    bucket: PerCpuArray<MapData, u64>,
    rules: Array<MapData, Rulebook>,
    domains: HashMap<MapData, [u64; 3], u64>,
    domain_sets: Array<MapData, RuleSet>,
    rule_counts: Shared,
    counters: Shared,
    faults: Shared,
    /// Packets that lines have lost outward.
    lost: u64,
    tags: Shared,
    flows: Shared,
    nat_ports: Shared,
    pins: Shared,
    fragments: Shared,
    port: Option<Port>,
    /// Places of the port table that are taken.
    places: Vec<u32>,
    links: Links,
    framings: Shared,
    /// What the program of trunks goes on with: closed, the kernel would empty it.
    #[expect(dead_code, reason = "it is held, not used")]
    programs: ProgramArray<MapData>,
    /// What is known of the counters, by slot and column.
    known: std::collections::HashMap<(u32, u32), u64>,
    /// Columns, those that counted last first.
    columns: Vec<u32>,
    cpus: usize,
    runs: u64,
    /// The maps' ids, by their names.
    ids: BTreeMap<&'static str, u32>,
    /// Maps that no program holds.
    _unused: (Array<MapData, SlotName>, Array<MapData, MemberTiers>),
}

impl InKernel {
    /// Loads both programs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load() -> Result<Self> {
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(abi::COUNTERS, cpus as u32)
            .map_max_entries(abi::RULE_COUNTS, cpus as u32)
            .map_max_entries(abi::TCP_COUNTS, (cpus * MAX_UPLINKS) as u32)
            .map_max_entries(abi::FLOW_TAGS, BUCKETS[0])
            .map_max_entries(abi::FLOWS, BUCKETS[0] * WAYS as u32)
            .map_max_entries(abi::NAT_PORTS, POOLS * SPACES * LINES)
            .map_max_entries(abi::PINS, PIN_LINES)
            .load(OBJECT)
            .context("cannot load the object")?;
        for name in [PROGRAM_LAN, PROGRAM_UPLINK, PROGRAM_TRUNK] {
            let program: &mut Xdp = ebpf.program_mut(name).context(name)?.try_into()?;
            program
                .load()
                .with_context(|| format!("the kernel refused {name}"))?;
        }
        let ids = ids(&ebpf)?;
        let programs = enter_programs(&mut ebpf)?;
        let mut take = |name: &str| {
            ebpf.take_map(name)
                .with_context(|| format!("no map {name}"))
        };
        let mut names: Array<_, SlotName> = take(abi::NAMES)?.try_into()?;
        let groups = (MAX_SLOTS as u32..).zip(GROUP_NAMES);
        let slots = (0..).zip(UPLINKS).chain([(LAN_SLOT, "lan0")]);
        for (slot, name) in slots.chain(groups) {
            let mut padded = SlotName::default();
            padded[..name.len()].copy_from_slice(name.as_bytes());
            names.set(slot, padded, 0)?;
        }
        let mut members: Array<_, MemberTiers> = take(abi::MEMBERS)?.try_into()?;
        let mut tiers = [0; MAX_UPLINKS];
        tiers[..TIERS.len()].copy_from_slice(&TIERS);
        let mut rows: Array<_, u64> = take(abi::ROWS)?.try_into()?;
        for group in 0..=GROUPS {
            members.set(group as u32, tiers, 0)?;
            for bucket in 0..RANK_BUCKETS {
                // Of each group others come first.
                let row = rank_row(bucket + group);
                rows.set((group * RANK_BUCKETS + bucket) as u32, row.0, 0)?;
            }
        }
        let mut devices: DevMap<_> = take(abi::DEVICES)?.try_into()?;
        for slot in [0, 1, 2, LAN_SLOT] {
            devices.set(slot, IFINDEX, None, 0)?;
        }
        Ok(Self {
            state: take(abi::STATE)?.try_into()?,
            uplinks: take(abi::UPLINKS)?.try_into()?,
            ports: take(abi::PORTS)?.try_into()?,
            classes4: take(abi::ADDRESSES4)?.try_into()?,
            classes6: take(abi::ADDRESSES6)?.try_into()?,
            hosts4: take(abi::HOSTS4)?.try_into()?,
            hosts6: take(abi::HOSTS6)?.try_into()?,
            outsides: take(abi::OUTSIDES)?.try_into()?,
            bucket: take(abi::REPLY_BUCKET)?.try_into()?,
            rules: take(abi::RULES)?.try_into()?,
            domains: take(abi::DOMAINS)?.try_into()?,
            domain_sets: take(abi::DOMAIN_SETS)?.try_into()?,
            rule_counts: Shared::of(&take(abi::RULE_COUNTS)?, cpus * size_of::<RuleCounts>())?,
            faults: Shared::of(&take(abi::FAULTS)?, MAX_UPLINKS * size_of::<Fault>())?,
            lost: 0,
            counters: Shared::of(&take(abi::COUNTERS)?, cpus * size_of::<CounterTable>())?,
            tags: Shared::of(
                &take(abi::FLOW_TAGS)?,
                BUCKETS[0] as usize * size_of::<TagLine>(),
            )?,
            flows: Shared::of(
                &take(abi::FLOWS)?,
                BUCKETS[0] as usize * WAYS * size_of::<FlowSlot>(),
            )?,
            nat_ports: Shared::of(
                &take(abi::NAT_PORTS)?,
                (POOLS * SPACES * LINES) as usize * size_of::<PortLine>(),
            )?,
            pins: Shared::of(&take(abi::PINS)?, PIN_LINES as usize * size_of::<PinLine>())?,
            fragments: Shared::of(
                &take(abi::FRAGMENTS)?,
                FRAGMENT_SLOTS * size_of::<FragmentSlot>(),
            )?,
            port: None,
            places: Vec::new(),
            links: Links::PLAIN,
            framings: Shared::of(&take(abi::FRAMINGS)?, MAX_SLOTS * size_of::<Framing>())?,
            programs,
            known: std::collections::HashMap::new(),
            columns: (0..COLUMNS as u32)
                .filter(|&column| counters::meaning(column).is_some())
                .collect(),
            cpus,
            runs: 0,
            ids,
            _unused: (names, members),
            ebpf,
        })
    }

    /// The maps as they are now, to be looked at for a packet from the LAN.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        self.stand_at(Port::Lan, &[])?;
        Snapshot::of(|name| Ok(MapData::from_id(self.ids[name])?))
    }

    /// Leads packets by these rules, or by none, from now on. What is known of flows must not be taken to hold:
    /// either there are none, or [`Bench::change`] follows.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn lead(&mut self, policy: Option<&Policy>) -> Result<()> {
        let mut state = self.state.get(&0, 0)?;
        state.rules = match policy {
            None => 0,
            Some(policy) => {
                let book = policy.book();
                for (class, rules) in (0..).zip(policy.domain_sets()) {
                    self.domain_sets.set(class, rules, 0)?;
                }
                for address in &policy.named {
                    let [high, low] = domain_key(*address);
                    self.domains.insert([high, low, 0], 1, 0)?;
                }
                // By reference: it is too large for a stack.
                let book: &Rulebook = &book;
                self.rules.set(0, book, 0)?;
                if book.asks_domains != 0 {
                    1 | RULES_OBSERVE_DNS
                } else {
                    1
                }
            }
        };
        Ok(self.state.set(0, state, 0)?)
    }

    /// Tells the words of the groups beside the default one.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn tell_groups(&mut self, groups: &[Group]) -> Result<()> {
        let mut state = self.state.get(&0, 0)?;
        for (id, group) in (1..).zip(groups) {
            state.groups[id] = group.words(id);
        }
        Ok(self.state.set(0, state, 0)?)
    }

    /// What each rule has matched; the last number is that of packets that none has.
    pub fn matched(&self) -> Vec<u64> {
        let cpus = self.rule_counts.slice::<RuleCounts>();
        let count = |rule| cpus.iter().map(|counts| counts.place(rule).load()).sum();
        (0..=RuleCounts::NO_RULE).map(count).collect()
    }

    /// Makes the device that this frame comes in on this port; its entry.
    fn stand_at(&mut self, port: Port, frame: &[u8]) -> Result<PortEntry> {
        let entry = port_entry(port);
        if self.port != Some(port) || self.links.of(port).session.is_some() {
            for place in self.places.drain(..) {
                self.ports.set(place, PortEntry::default(), 0)?;
            }
            for entry in self.links.entries(port, entry, frame) {
                let place = port::places(&entry)
                    .find(|place| !self.places.contains(place))
                    .context("no place")?;
                self.ports.set(place, entry, 0)?;
                self.places.push(place);
            }
            self.port = Some(port);
        }
        Ok(entry)
    }

    /// Whether the line has lost the last packet that was sent.
    fn was_lost(&mut self) -> bool {
        let column = Verdict::DropFaultOut.number().into();
        let mut lost = 0;
        for slot in 0..3 {
            let count = self.count(slot, column);
            // It is not what came in by the uplink.
            self.known.insert((slot, column), count);
            lost += count;
        }
        lost != std::mem::replace(&mut self.lost, lost)
    }

    fn count(&self, slot: u32, column: u32) -> u64 {
        counters::sum(self.counters.slice(), slot, column).packets
    }

    /// The column that the last packet counted in.
    fn column(&mut self, slot: u32) -> Result<u32> {
        for place in 0..self.columns.len() {
            let column = self.columns[place];
            let now = self.count(slot, column);
            let known = self.known.entry((slot, column)).or_default();
            if now != *known {
                ensure!(now == *known + 1, "counted {} times", now - *known);
                *known = now;
                self.columns[..=place].rotate_right(1);
                return Ok(column);
            }
        }
        bail!("not counted")
    }

    /// Tells the words, and when they last changed.
    fn tell(&mut self, site: &Site, words: &Words, changed: u64) -> Result<()> {
        let mut state = self.state.get(&0, 0)?;
        write_state(site, words, changed, &mut state);
        write_faults(words, self.faults.slice());
        Ok(self.state.set(0, state, 0)?)
    }
}

/// The ids of all maps that this object has, by their names.
fn ids(ebpf: &Ebpf) -> Result<BTreeMap<&'static str, u32>> {
    let mut ids = BTreeMap::new();
    for map in abi::MAPS {
        if let Some(Map::Array(data) | Map::HashMap(data)) = ebpf.map(map.name) {
            ids.insert(map.name, data.info()?.id());
        }
    }
    Ok(ids)
}

impl Bench for InKernel {
    fn enter(&mut self, site: &Site, words: &Words) -> Result<()> {
        for map in [
            &mut self.tags,
            &mut self.flows,
            &mut self.nat_ports,
            &mut self.pins,
            &mut self.fragments,
        ] {
            map.clear();
        }
        let (four, six) = (segments4(site), segments6(site));
        self.classes4
            .set(0, AddressTable::new(&four).context("too many")?, 0)?;
        self.classes6
            .set(0, AddressTable::new(&six).context("too many")?, 0)?;
        for (address, host) in site.hosts() {
            let entry = host_entry(site, &host);
            match address {
                IpAddr::V4(address) => {
                    self.hosts4
                        .insert(Address4::from_bytes(address.octets()).key(), entry, 0)?;
                }
                IpAddr::V6(address) => {
                    self.hosts6
                        .insert(Address6::from_bytes(address.octets()).key(), entry, 0)?;
                }
            }
        }
        for key in self.outsides.keys().collect::<Result<Vec<_>, _>>()? {
            self.outsides.remove(&key)?;
        }
        for (id, uplink) in (0u8..).zip(&site.uplinks) {
            self.uplinks
                .set(u32::from(id) * 2, uplink_entry(site, id), 0)?;
            for (place, address) in (0..).zip(&uplink.outside) {
                let word = abi::owner_word(id, uplink.pool + place);
                self.outsides.insert(u32::from(*address), word, 0)?;
            }
        }
        for (place, word) in port_words(site) {
            self.nat_ports.set(place, word);
        }
        for (slot, uplink) in [
            (0, Some(0)),
            (1, Some(1)),
            (2, Some(2)),
            (LAN_SLOT as usize, None),
        ] {
            self.framings.set(slot, site.links.framing(uplink).0);
        }
        self.links = site.links;
        self.port = None;
        self.tell(site, words, 0)
    }

    fn change(&mut self, site: &Site, words: &Words) -> Result<()> {
        self.tell(site, words, u64::MAX)
    }

    fn run(&mut self, port: Port, frame: &[u8]) -> Result<Ran> {
        if self.runs.is_multiple_of(REFILL) {
            self.bucket
                .set(0, PerCpuValues::try_from(vec![0; self.cpus])?, 0)?;
        }
        self.runs += 1;
        let entry = self.stand_at(port, frame)?;
        let wire = self.links.of(port);
        let name = match port {
            _ if wire != Wire::PLAIN => PROGRAM_TRUNK,
            Port::Lan => PROGRAM_LAN,
            Port::Uplink(_) => PROGRAM_UPLINK,
        };
        let program: &Xdp = self.ebpf.program(name).context(name)?.try_into()?;
        let mut output = vec![0; OUTPUT];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut output);
        let result = program
            .test_run(options)
            .context("cannot run the program")?;
        output.truncate(result.data_size_out as usize);
        let column = self.column(entry.slot)?;
        let (mut verdict, uplink) = counters::meaning(column).context("an unknown column")?;
        if self.was_lost() {
            verdict = Verdict::DropFaultOut;
        }
        let action = crate::prog_run::row::action(verdict);
        ensure!(
            action == result.return_value,
            "action {}",
            result.return_value
        );
        Ok(Ran {
            verdict: Some(verdict),
            uplink: uplink.map(|(id, _)| id),
            output,
        })
    }

    fn tags(&self) -> &[TagLine] {
        self.tags.slice()
    }

    fn flows(&self) -> &[FlowSlot] {
        self.flows.slice()
    }

    fn ports(&self) -> &[PortLine] {
        self.nat_ports.slice()
    }
}
