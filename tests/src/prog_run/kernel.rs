//! The programs in the kernel, over maps of their own, run packet by packet.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues, ProgramArray, xdp::DevMap},
    programs::Xdp,
    util::nr_cpus,
};
use multihome::{
    dataplane::{OBJECT, PROGRAM_LAN, PROGRAM_TRUNK, PROGRAM_UPLINK},
    policy::{Own, Rule},
};
use multihome_common::{
    abi::{self, Count},
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
    limits::{BUCKETS, FRAGMENT_SLOTS, MAX_SLOTS, MAX_UPLINKS},
    nat44::ports::{LINE, LINES, PortLine, SPACES},
    port::{self, PortEntry},
    rules::{RuleCounts, RuleSet, Rulebook},
    state::SharedState,
    tcp::counts::TcpCounts,
    uplink::{HostEntry, UplinkEntry},
    verdict::Verdict,
};

use super::{
    memory,
    shared::Shared,
    tables::FlowView,
    wire::Wire,
    world::{
        self, FLOW_BUCKETS, HOST4, HOST6, IFINDEX, LAN_SLOT, OUTSIDE, PIN_LINES, RFC6296_HOST,
        SLOTS, Side, World,
    },
};

/// Room for what a program makes of a packet: an answer grows by its headers.
const OUTPUT: usize = 16 * 1024;

/// What a program did with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The XDP action that it returned (linux/bpf.h).
    pub action: u32,
    /// The verdict that it counted; `None` when it counted nothing or more than once.
    pub verdict: Option<Verdict>,
    /// The uplink that it forwarded to, if that is what it counted.
    pub uplink: Option<u8>,
    /// The bytes that it counted.
    pub bytes: u64,
    /// The packet afterwards.
    pub output: Vec<u8>,
}

/// The loaded programs and their maps.
pub struct Kernel {
    ebpf: Ebpf,
    state: Array<MapData, SharedState>,
    uplinks: Array<MapData, UplinkEntry>,
    rules: Array<MapData, Rulebook>,
    domains: HashMap<MapData, [u64; 3], u64>,
    domain_sets: Array<MapData, RuleSet>,
    rule_counts: Shared,
    /// What the rulebook in the map was made of.
    ruled: Option<(Vec<Rule>, Vec<Own>)>,
    memory: Vec<(&'static str, u64)>,
    flow_tags: Shared,
    flows: Shared,
    nat_ports: Shared,
    pins: Shared,
    fragments: Shared,
    ports: Array<MapData, PortEntry>,
    hosts4: HashMap<MapData, u32, HostEntry>,
    hosts6: HashMap<MapData, [u64; 2], HostEntry>,
    bucket: PerCpuArray<MapData, u64>,
    counters: Shared,
    tcp: Shared,
    faults: Shared,
    framings: Shared,
    /// What the program of trunks goes on with: closed, the kernel would empty it.
    #[expect(dead_code, reason = "it is held, not used")]
    programs: ProgramArray<MapData>,
    /// The port that packets come in on has a framing.
    trunk: bool,
    /// Places of the port table that are taken.
    places: Vec<u32>,
    /// Packets that lines have lost outward, after the last run.
    lost: u64,
    /// What the counters said after the last run, by side.
    last: [Option<Vec<Count>>; 2],
    cpus: usize,
}

impl Kernel {
    /// Loads both programs, and fills the tables that no row changes.
    ///
    /// # Errors
    /// When the kernel refuses; the verifier's words are in the error.
    pub fn load() -> Result<Self> {
        Self::load_sized(FLOW_BUCKETS, PIN_LINES)
    }

    /// Loads both programs, with so many buckets of the flow table and lines of the pin table.
    ///
    /// # Errors
    /// As for [`Kernel::load`].
    pub fn load_sized(buckets: u32, pin_lines: u32) -> Result<Self> {
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(abi::COUNTERS, cpus as u32)
            .map_max_entries(abi::RULE_COUNTS, cpus as u32)
            .map_max_entries(abi::TCP_COUNTS, (cpus * MAX_UPLINKS) as u32)
            .map_max_entries(abi::FLOW_TAGS, buckets)
            .map_max_entries(abi::FLOWS, buckets * WAYS as u32)
            .map_max_entries(abi::NAT_PORTS, SPACES * LINES)
            .map_max_entries(abi::PINS, pin_lines)
            .load(OBJECT)
            .context("cannot load the object")?;
        let memory = memory::of_maps(&ebpf)?;
        for name in [PROGRAM_LAN, PROGRAM_UPLINK, PROGRAM_TRUNK] {
            let program: &mut Xdp = ebpf.program_mut(name).context(name)?.try_into()?;
            program
                .load()
                .with_context(|| format!("the kernel refused {name}"))?;
        }
        let programs = enter_programs(&mut ebpf)?;
        let mut take = |name: &str| {
            ebpf.take_map(name)
                .with_context(|| format!("no map {name}"))
        };
        let mut rows: Array<_, u64> = take(abi::ROWS)?.try_into()?;
        for bucket in 0..BUCKETS {
            rows.set(bucket as u32, world::row(bucket).0, 0)?;
        }
        let mut classes: Array<_, AddressTable<Address4>> = take(abi::ADDRESSES4)?.try_into()?;
        classes.set(
            0,
            AddressTable::new(&world::segments4()).context("too many")?,
            0,
        )?;
        let mut classes: Array<_, AddressTable<Address6>> = take(abi::ADDRESSES6)?.try_into()?;
        classes.set(
            0,
            AddressTable::new(&world::segments6()).context("too many")?,
            0,
        )?;
        let mut devices: DevMap<_> = take(abi::DEVICES)?.try_into()?;
        for slot in SLOTS {
            devices.set(slot, IFINDEX, None, 0)?;
        }
        let mut outsides: HashMap<_, u32, u64> = take(abi::OUTSIDES)?.try_into()?;
        outsides.insert(u32::from(OUTSIDE), 0, 0)?;
        Ok(Self {
            state: take(abi::STATE)?.try_into()?,
            uplinks: take(abi::UPLINKS)?.try_into()?,
            rules: take(abi::RULES)?.try_into()?,
            domains: take(abi::DOMAINS)?.try_into()?,
            domain_sets: take(abi::DOMAIN_SETS)?.try_into()?,
            rule_counts: Shared::of(&take(abi::RULE_COUNTS)?, cpus * size_of::<RuleCounts>())?,
            ruled: None,
            memory,
            flow_tags: Shared::of(
                &take(abi::FLOW_TAGS)?,
                buckets as usize * size_of::<TagLine>(),
            )?,
            flows: Shared::of(
                &take(abi::FLOWS)?,
                buckets as usize * WAYS * size_of::<FlowSlot>(),
            )?,
            nat_ports: Shared::of(
                &take(abi::NAT_PORTS)?,
                (SPACES * LINES) as usize * size_of::<PortLine>(),
            )?,
            pins: Shared::of(&take(abi::PINS)?, PIN_LINES as usize * size_of::<PinLine>())?,
            fragments: Shared::of(
                &take(abi::FRAGMENTS)?,
                FRAGMENT_SLOTS * size_of::<FragmentSlot>(),
            )?,
            ports: take(abi::PORTS)?.try_into()?,
            hosts4: take(abi::HOSTS4)?.try_into()?,
            hosts6: take(abi::HOSTS6)?.try_into()?,
            bucket: take(abi::REPLY_BUCKET)?.try_into()?,
            tcp: Shared::of(
                &take(abi::TCP_COUNTS)?,
                cpus * MAX_UPLINKS * size_of::<TcpCounts>(),
            )?,
            faults: Shared::of(&take(abi::FAULTS)?, MAX_UPLINKS * size_of::<Fault>())?,
            framings: Shared::of(&take(abi::FRAMINGS)?, MAX_SLOTS * size_of::<Framing>())?,
            programs,
            trunk: false,
            places: Vec::new(),
            lost: 0,
            counters: Shared::of(&take(abi::COUNTERS)?, cpus * size_of::<CounterTable>())?,
            cpus,
            last: [None, None],
            ebpf,
        })
    }

    /// The kernel's memory that each map of flows takes, in bytes.
    pub fn memory(&self) -> &[(&'static str, u64)] {
        &self.memory
    }

    /// The tables of flows as they are now.
    pub fn flow_tables(&self) -> FlowView<'_> {
        FlowView {
            tags: self.flow_tags.slice(),
            flows: self.flows.slice(),
            ports: self.nat_ports.slice(),
        }
    }

    /// Runs `count` packets of a side, whatever becomes of them; `edit` makes each from the one
    /// before. The verdicts stand in [`Kernel::totals`].
    ///
    /// # Errors
    /// When a program cannot be run.
    pub fn pour(
        &self,
        side: Side,
        packet: &mut [u8],
        count: u64,
        mut edit: impl FnMut(&mut [u8], u64),
    ) -> Result<()> {
        let program = self.program(side)?;
        let mut output = vec![0; OUTPUT];
        for n in 0..count {
            edit(packet, n);
            let mut options = TestRunOptions::new();
            options.data_in = Some(packet);
            options.data_out = Some(&mut output);
            program
                .test_run(options)
                .context("cannot run the program")?;
        }
        Ok(())
    }

    /// Packets of a side by verdict, since the programs were loaded.
    ///
    /// # Errors
    /// When a column was counted in that has no meaning.
    pub fn totals(&self, side: Side) -> Result<BTreeMap<Verdict, u64>> {
        let counts = self.counts(slot_of(side));
        let mut totals = BTreeMap::new();
        for (column, count) in counts
            .iter()
            .enumerate()
            .filter(|(_, count)| count.packets > 0)
        {
            let (verdict, _) = counters::meaning(column as u32).context("an unknown column")?;
            *totals.entry(verdict).or_default() += count.packets;
        }
        Ok(totals)
    }

    /// Sets the idle times of flows, in ticks, all alike.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_timeouts(&mut self, ticks: u32) -> Result<()> {
        let mut state = self.state.get(&0, 0)?;
        state.timeouts.0 = [ticks; 8];
        Ok(self.state.set(0, state, 0)?)
    }

    /// How many instructions the verifier processed for a side's program.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn verified_instructions(&self, side: Side) -> Result<u32> {
        self.program(side)?
            .info()?
            .verified_instruction_count()
            .context("not counted")
    }

    /// How many instructions the verifier processed for the program of trunks.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn verified_instructions_of_trunk(&self) -> Result<u32> {
        let program: &Xdp = self
            .ebpf
            .program(PROGRAM_TRUNK)
            .context(PROGRAM_TRUNK)?
            .try_into()?;
        program
            .info()?
            .verified_instruction_count()
            .context("not counted")
    }

    /// Makes the world what it says, without any flow.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn enter(&mut self, world: &World, side: Side) -> Result<()> {
        self.pins.clear();
        if world.nat.is_some() {
            self.flow_tags.clear();
            self.flows.clear();
            self.nat_ports.clear();
            self.fragments.clear();
            for (line, place, word) in world.port_words() {
                self.nat_ports.set(line * LINE + place, word);
            }
        }
        self.change(world, side)
    }

    /// Makes the world what it says, with the flows that there are, and the rate limit's bucket full.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn change(&mut self, world: &World, side: Side) -> Result<()> {
        if world.has_rules() {
            let ruled = (world.rules.clone(), world.own.clone());
            // It is large, and rows that follow each other have the same.
            if self.ruled.as_ref() != Some(&ruled) {
                // By reference: it is too large for a stack.
                let book: &Rulebook = &world.rulebook();
                self.rules.set(0, book, 0)?;
                self.ruled = Some(ruled);
            }
        }
        for (class, rules) in (0..).zip(&world.domain_sets) {
            self.domain_sets.set(class, rules, 0)?;
        }
        for (address, class) in &world.domains {
            let [high, low] = world::domain_key(*address);
            self.domains.insert([high, low, 0], u64::from(*class), 0)?;
        }
        let mut state = self.state.get(&0, 0)?;
        world.write(&mut state);
        self.state.set(0, state, 0)?;
        world.set_faults(self.faults.slice());
        for id in 0..3 {
            self.uplinks.set(u32::from(id) * 2, world.uplink(id), 0)?;
        }
        self.enter_port(world, side)?;
        for slot in SLOTS {
            self.framings
                .set(slot as usize, world.framing_of_slot(slot).0);
        }
        self.hosts4
            .insert(Address4::from_bytes(HOST4.octets()).key(), world.host(), 0)?;
        for host in [HOST6, RFC6296_HOST] {
            let address = Address6::from_bytes(host.octets());
            self.hosts6.insert(address.key(), world.host(), 0)?;
        }
        self.refill()
    }

    /// Forgets which uplinks flows keep to.
    pub fn forget_pins(&mut self) {
        self.pins.clear();
    }

    /// Fills the rate limit's bucket.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn refill(&mut self) -> Result<()> {
        let zeroes = PerCpuValues::try_from(vec![0; self.cpus])?;
        Ok(self.bucket.set(0, zeroes, 0)?)
    }

    /// Runs a side's program on one packet.
    ///
    /// # Errors
    /// When the kernel cannot run it, or what was counted is not one packet.
    pub fn run(&mut self, side: Side, packet: &[u8]) -> Result<Run> {
        let slot = slot_of(side);
        let before = match self.last[side as usize].take() {
            Some(counts) => counts,
            None => self.counts(slot),
        };
        let mut output = vec![0; OUTPUT];
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut output);
        let program = if self.trunk {
            self.ebpf
                .program(PROGRAM_TRUNK)
                .context(PROGRAM_TRUNK)?
                .try_into()?
        } else {
            self.program(side)?
        };
        let result = program
            .test_run(options)
            .context("cannot run the program")?;
        output.truncate(result.data_size_out as usize);
        let after = self.counts(slot);
        let changed: Vec<usize> = (0..COLUMNS).filter(|&n| before[n] != after[n]).collect();
        let (verdict, uplink, bytes) = match changed[..] {
            [] => (None, None, 0),
            [column] => {
                ensure!(
                    after[column].packets == before[column].packets + 1,
                    "counted twice"
                );
                let bytes = after[column].bytes - before[column].bytes;
                let (verdict, uplink) =
                    counters::meaning(column as u32).context("an unknown column")?;
                (Some(verdict), uplink.map(|(id, _)| id), bytes)
            }
            _ => bail!("counted in several columns: {changed:?}"),
        };
        self.last[side as usize] = Some(after);
        // What a line has lost was sent before.
        let lost = self.lost();
        let verdict = if side == Side::Lan && lost != std::mem::replace(&mut self.lost, lost) {
            // It was counted where the uplink's own packets are.
            self.last[Side::Uplink as usize] = None;
            Some(Verdict::DropFaultOut)
        } else {
            verdict
        };
        Ok(Run {
            action: result.return_value,
            verdict,
            uplink,
            bytes,
            output,
        })
    }

    /// Makes the device that packets come in on a LAN port or an uplink, or makes one with a framing
    /// stand on it.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn enter_port(&mut self, world: &World, side: Side) -> Result<()> {
        for place in self.places.drain(..) {
            self.ports.set(place, PortEntry::default(), 0)?;
        }
        self.trunk = world.framing_of(side) != Wire::PLAIN;
        let trunk = self.trunk.then(|| world.trunk(side));
        for entry in [world.port_of(side)].into_iter().chain(trunk) {
            let place = port::places(&entry)
                .find(|place| !self.places.contains(place))
                .context("no place")?;
            self.ports.set(place, entry, 0)?;
            self.places.push(place);
        }
        Ok(())
    }

    /// Runs packets that only prepare what follows, whatever becomes of them.
    ///
    /// # Errors
    /// As for [`Kernel::run`].
    pub fn prepare(&mut self, before: &[(Side, Vec<u8>)], world: &World) -> Result<()> {
        for (side, packet) in before {
            self.enter_port(world, *side)?;
            self.run(*side, packet)?;
        }
        Ok(())
    }

    fn program(&self, side: Side) -> Result<&Xdp> {
        let name = match side {
            Side::Lan => PROGRAM_LAN,
            Side::Uplink => PROGRAM_UPLINK,
        };
        Ok(self.ebpf.program(name).context(name)?.try_into()?)
    }

    /// The tables of the counters, one for each CPU.
    pub fn counter_tables(&self) -> &[CounterTable] {
        self.counters.slice()
    }

    /// How many packets a rule has matched, or none ([`RuleCounts::NO_RULE`]).
    pub fn matched(&self, rule: u32) -> u64 {
        let counts = self.rule_counts.slice::<RuleCounts>();
        counts.iter().map(|counts| counts.place(rule).load()).sum()
    }

    /// What is counted of TCP: for each CPU, by uplink.
    pub fn tcp_counts(&self) -> &[TcpCounts] {
        self.tcp.slice()
    }

    /// What the lines of the three uplinks have lost of what was sent.
    fn lost(&self) -> u64 {
        let column = Verdict::DropFaultOut.number().into();
        let of = |slot| counters::sum(self.counter_tables(), slot, column).packets;
        (0..3).map(of).sum()
    }

    fn counts(&self, slot: u32) -> Vec<Count> {
        let count = |column| counters::sum(self.counter_tables(), slot, column);
        (0..COLUMNS as u32).map(count).collect()
    }
}

/// Enters the programs of both sides where that of trunks finds them. As long as what this gives is there,
/// they stay.
///
/// # Errors
/// When they are not loaded, or the kernel refuses.
pub fn enter_programs(ebpf: &mut Ebpf) -> Result<ProgramArray<MapData>> {
    let map = ebpf.take_map(abi::PROGRAMS).context(abi::PROGRAMS)?;
    let mut programs: ProgramArray<_> = map.try_into()?;
    for (place, name) in [
        (abi::PROGRAM_LAN, PROGRAM_LAN),
        (abi::PROGRAM_UPLINK, PROGRAM_UPLINK),
    ] {
        let program: &Xdp = ebpf.program(name).context(name)?.try_into()?;
        programs.set(place, program.fd()?, 0)?;
    }
    Ok(programs)
}

/// The slot that packets of a side come in on.
fn slot_of(side: Side) -> u32 {
    match side {
        Side::Lan => LAN_SLOT,
        Side::Uplink => 0,
    }
}
