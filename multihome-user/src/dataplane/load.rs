//! Loading the programs over new maps, or over those that an earlier controller left.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::Ordering::Relaxed,
};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{Array, HashMap, MapData, ProgramArray, xdp::DevMap},
    programs::{SchedClassifier, Xdp},
};
use multihome_common::{
    abi::{self, MemberTiers, SlotName},
    address::{Address4, Address6, AddressTable},
    limits::MAX_UPLINKS,
    port::PortEntry,
    rules::{RuleSet, Rulebook},
    state::SharedState,
    uplink::{HostEntry, UplinkEntry},
    word::Word,
};

use super::{
    CounterReader, DataplaneError, Faults, FlowTables, Sizes, Undo,
    attach::{self, Attached},
    counters, egress,
    grace::Grace,
    names, pins, redirect,
    shared::SharedArray,
    windows::WindowedArray,
};
use crate::config::XdpMode;

/// The object with the programs, as the kernel's loader takes it.
pub static OBJECT: &[u8] = include_bytes_aligned!(env!("MULTIHOME_OBJECT"));

/// Name of the program for LAN ports.
pub const PROGRAM_LAN: &str = "multihome_lan";
/// Name of the program for uplinks.
pub const PROGRAM_UPLINK: &str = "multihome_uplink";
/// Name of the program for devices whose ports are told apart by their framing.
pub const PROGRAM_TRUNK: &str = "multihome_trunk";

/// Name of the tc program for what the kernel itself sends.
pub const PROGRAM_EGRESS: &str = "multihome_egress";

/// What runs on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// The program of a LAN port.
    Lan,
    /// The program of an uplink.
    Uplink,
    /// The program that tells the device's ports apart, and goes on with one of the others.
    Trunk,
}

/// Whose tags the frames of a device have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// None that matter to a port.
    None,
    /// Those of ports for which the kernel has VLAN devices.
    Kernel,
    /// Also those of a port for which it has none.
    Own,
}

impl Runs {
    const fn program(self) -> &'static str {
        match self {
            Self::Lan => PROGRAM_LAN,
            Self::Uplink => PROGRAM_UPLINK,
            Self::Trunk => PROGRAM_TRUNK,
        }
    }
}

/// The loaded programs and their maps.
///
/// Dropping it leaves all that is attached and pinned as it is: see [`super::detach`].
pub struct Dataplane {
    ebpf: Ebpf,
    pins: PathBuf,
    mode: XdpMode,
    adopted: bool,
    pub(super) state: SharedArray<SharedState>,
    pub(super) rows: WindowedArray<Word>,
    pub(super) framings: SharedArray<u64>,
    pub(super) rules: Array<MapData, Rulebook>,
    pub(super) domains: HashMap<MapData, [u64; 3], u64>,
    pub(super) domain_sets: Array<MapData, RuleSet>,
    /// The side of both that this controller fills.
    pub(super) domain_side: u64,
    pub(super) ports: Array<MapData, PortEntry>,
    pub(super) addresses4: Array<MapData, AddressTable<Address4>>,
    pub(super) addresses6: Array<MapData, AddressTable<Address6>>,
    pub(super) uplinks: Array<MapData, UplinkEntry>,
    pub(super) hosts4: HashMap<MapData, u32, HostEntry>,
    pub(super) hosts6: HashMap<MapData, [u64; 2], HostEntry>,
    pub(super) outsides: HashMap<MapData, u32, u64>,
    pub(super) devices: DevMap<MapData>,
    pub(super) names: Array<MapData, SlotName>,
    pub(super) members: Array<MapData, MemberTiers>,
    /// The faults in the uplinks' lines.
    pub faults: Faults,
    /// The flow and port tables.
    pub flows: FlowTables,
    /// For copies that were in force until a moment ago, which a program may still be reading.
    pub(super) grace: Grace,
}

impl Dataplane {
    /// Loads the programs. Maps that an earlier controller pinned below `run_dir` are adopted,
    /// with all that they say. Nothing is attached yet. Dropping what comes with it takes back
    /// what was not adopted.
    ///
    /// # Errors
    /// When the kernel refuses, or the run directory cannot be used.
    pub fn open(
        run_dir: &Path,
        mode: XdpMode,
        sizes: Sizes,
    ) -> Result<(Self, Undo), DataplaneError> {
        let pins = pins::open(run_dir)?;
        let adopted = pins.join(abi::STATE).exists();
        let undo = Undo::new(run_dir, &pins, !adopted);
        Ok((Self::load(pins, mode, adopted, sizes)?, undo))
    }

    fn load(
        pins: PathBuf,
        mode: XdpMode,
        adopted: bool,
        sizes: Sizes,
    ) -> Result<Self, DataplaneError> {
        let mut loader = EbpfLoader::new();
        sizes.apply(&mut loader);
        let cpus = counters::cpus()?;
        loader
            .map_max_entries(abi::COUNTERS, cpus)
            .map_max_entries(abi::RULE_COUNTS, cpus)
            .map_max_entries(abi::TCP_COUNTS, cpus * MAX_UPLINKS as u32);
        for map in abi::MAPS {
            loader.map_pin_path(map.name, pins.join(map.name));
        }
        let mut ebpf = loader.load(OBJECT).map_err(DataplaneError::Load)?;
        for program in [PROGRAM_LAN, PROGRAM_UPLINK, PROGRAM_TRUNK] {
            xdp(&mut ebpf, program)?
                .load()
                .map_err(|source| DataplaneError::Program { program, source })?;
        }
        egress(&mut ebpf)?
            .load()
            .map_err(|source| DataplaneError::Program {
                program: PROGRAM_EGRESS,
                source,
            })?;
        let mut programs: ProgramArray<MapData> = typed(&mut ebpf, abi::PROGRAMS)?;
        for (place, program) in [
            (abi::PROGRAM_LAN, PROGRAM_LAN),
            (abi::PROGRAM_UPLINK, PROGRAM_UPLINK),
        ] {
            let refused = |source| DataplaneError::Program { program, source };
            let fd = xdp(&mut ebpf, program)?.fd().map_err(refused)?;
            let entered = programs.set(place, fd, 0);
            entered.map_err(self::refused(abi::PROGRAMS))?;
        }
        let mut grace = Grace::new()?;
        // An earlier controller may have changed something just now.
        grace.begin_all();
        let state = take(&mut ebpf, abi::STATE)?;
        let faults = Faults::map(&state, &take(&mut ebpf, abi::FAULTS)?)?;
        let state = SharedArray::map(&state, abi::STATE)?;
        let domain_side = Self::free_side(state.rules().load(Relaxed));
        Ok(Self {
            faults,
            state,
            rows: WindowedArray::new(&take(&mut ebpf, abi::ROWS)?, abi::ROWS)?,
            framings: SharedArray::map(&take(&mut ebpf, abi::FRAMINGS)?, abi::FRAMINGS)?,
            rules: typed(&mut ebpf, abi::RULES)?,
            domains: typed(&mut ebpf, abi::DOMAINS)?,
            domain_sets: typed(&mut ebpf, abi::DOMAIN_SETS)?,
            domain_side,
            ports: typed(&mut ebpf, abi::PORTS)?,
            addresses4: typed(&mut ebpf, abi::ADDRESSES4)?,
            addresses6: typed(&mut ebpf, abi::ADDRESSES6)?,
            uplinks: typed(&mut ebpf, abi::UPLINKS)?,
            hosts4: typed(&mut ebpf, abi::HOSTS4)?,
            hosts6: typed(&mut ebpf, abi::HOSTS6)?,
            outsides: typed(&mut ebpf, abi::OUTSIDES)?,
            devices: typed(&mut ebpf, abi::DEVICES)?,
            names: typed(&mut ebpf, abi::NAMES)?,
            members: typed(&mut ebpf, abi::MEMBERS)?,
            flows: FlowTables::map(&mut ebpf)?,
            ebpf,
            pins,
            mode,
            adopted,
            grace,
        })
    }

    /// Whether an earlier controller's maps were adopted.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// A reader of the counters; may be called once.
    ///
    /// # Errors
    /// When the object has no counters, or the kernel refuses.
    pub fn counters(&mut self) -> Result<CounterReader, DataplaneError> {
        let counters = take(&mut self.ebpf, abi::COUNTERS)?;
        let tcp = take(&mut self.ebpf, abi::TCP_COUNTS)?;
        let rules = take(&mut self.ebpf, abi::RULE_COUNTS)?;
        CounterReader::map(&counters, &tcp, &rules)
    }

    /// Takes the programs' log, for [`aya_log::EbpfLogger`].
    pub fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Makes a device run a program.
    ///
    /// # Errors
    /// When the driver has no native XDP or does not send what is redirected, something else is
    /// attached, or the kernel refuses. What was attached before the error stays attached.
    pub fn attach(
        &mut self,
        device: &str,
        ifindex: u32,
        runs: Runs,
    ) -> Result<Attached, DataplaneError> {
        let program = xdp(&mut self.ebpf, runs.program())?;
        let attached = attach::attach(program, &self.pins, device, ifindex, self.mode)?;
        // Asked after attaching, because some drivers send redirected packets only then.
        let native = self.mode == XdpMode::Native;
        if native && redirect::sends_redirected(ifindex) == Some(false) {
            return Err(DataplaneError::NotRedirectable {
                device: device.to_owned(),
            });
        }
        Ok(attached)
    }

    /// Gives tags to what the kernel itself sends by a device, or no longer.
    ///
    /// # Errors
    /// When the kernel lacks what that needs, or the file system refuses.
    pub fn tag_kernel_frames(
        &mut self,
        device: &str,
        ifindex: u32,
        tags: bool,
    ) -> Result<(), DataplaneError> {
        if tags {
            egress::attach(egress(&mut self.ebpf)?, &self.pins, device, ifindex)
        } else {
            egress::release(&self.pins, ifindex)
        }
    }

    /// Takes the programs off a device. A device that is gone took its programs along.
    ///
    /// # Errors
    /// When the kernel or the file system refuses.
    pub fn release(&mut self, ifindex: u32) -> Result<(), DataplaneError> {
        egress::release(&self.pins, ifindex)?;
        attach::links(&self.pins, ifindex).try_for_each(|path| attach::detach(&path))
    }

    /// The devices whose links are pinned, by ifindex.
    ///
    /// # Errors
    /// When the pin directory cannot be read.
    pub fn attached(&self) -> Result<Vec<u32>, DataplaneError> {
        let unreadable = |source: io::Error| DataplaneError::Path {
            action: "read",
            path: self.pins.clone(),
            source,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.pins).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            found.extend(name.to_str().and_then(attach::ifindex_of));
        }
        Ok(found)
    }

    /// The names behind the slots, then those of the groups, as an earlier controller left them.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn names(&self) -> Result<Vec<Option<String>>, DataplaneError> {
        names::read(&self.names)
    }
}

/// Turns a map's error into one that names the map.
pub(super) fn refused(map: &'static str) -> impl FnOnce(aya::maps::MapError) -> DataplaneError {
    move |source| DataplaneError::Map { map, source }
}

fn egress(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, DataplaneError> {
    ebpf.program_mut(PROGRAM_EGRESS)
        .ok_or(DataplaneError::Missing(PROGRAM_EGRESS))?
        .try_into()
        .map_err(|source| DataplaneError::Program {
            program: PROGRAM_EGRESS,
            source,
        })
}

fn xdp<'e>(ebpf: &'e mut Ebpf, program: &'static str) -> Result<&'e mut Xdp, DataplaneError> {
    ebpf.program_mut(program)
        .ok_or(DataplaneError::Missing(program))?
        .try_into()
        .map_err(|source| DataplaneError::Program { program, source })
}

pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, DataplaneError> {
    ebpf.take_map(name).ok_or(DataplaneError::Missing(name))
}

fn typed<M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, DataplaneError> {
    take(ebpf, name)?.try_into().map_err(refused(name))
}
