//! multihome's programs, whole and cut short after their parts, loaded over the maps of a gateway and fed
//! with packets of a ring of flows, without a device.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod, TestRun as _, TestRunOptions,
    maps::{Array, MapData, PerCpuArray, PerCpuValues, ProgramArray},
    programs::{ProgramFd, Xdp},
    util::nr_cpus,
};
use bench_traffic::{
    HEADERS6,
    ring::{Listed, MAX_LISTED, Ring},
};
use multihome::dataplane::{OBJECT, PROGRAM_LAN, PROGRAM_UPLINK};
use multihome_common::{
    abi,
    counters::{self, COLUMNS, CounterTable},
    flow,
    state::SharedState,
    verdict::Verdict,
};
use nix::time::{ClockId, clock_gettime};

use crate::prog_run::shared::Shared;

/// The object of the parts and of what feeds them: built by this package's build script.
static PARTS: &[u8] = aya::include_bytes_aligned!(env!("PARTS_OBJECT"));

/// What does nothing with the packets that it is fed with.
pub const NOTHING: &str = "nothing";
/// The program of LAN ports.
pub const WHOLE_OUT: &str = PROGRAM_LAN;
/// The program of uplinks.
pub const WHOLE_IN: &str = PROGRAM_UPLINK;

/// Programs of [`PARTS`] that are fed; their places among what may be fed follow those of multihome's own.
const FED: [&str; 11] = [
    NOTHING,
    "until_parsed",
    "until_class",
    "until_pin",
    "until_host",
    "until_owner",
    "until_flow",
    "until_sent_out",
    "until_sent_in",
    "full_out",
    "full_in",
];

/// Frames have the length of IPv6 and UDP headers, so that both families fit.
const LEN: usize = HEADERS6;

/// `Ring` as the map's value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Fed(Ring);

// SAFETY: `repr(C)`, integers and byte arrays without padding: 4 x 8 + 5 x 4 + 12.
unsafe impl Pod for Fed {}

const _: () = assert!(size_of::<Ring>() == 64);

/// What many runs of a program gave.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// The mean of one run, with the feeding.
    pub each: Duration,
    /// What the last run returned (linux/bpf.h).
    pub action: u32,
}

/// The loaded programs.
pub struct Parts {
    feeder: Ebpf,
    /// The programs that may be fed stay loaded as long as this lives.
    _whole: Ebpf,
    /// The kernel empties the array when nobody has it open any more.
    _next: ProgramArray<MapData>,
    names: Vec<&'static str>,
    ring: Array<MapData, Fed>,
    list: Array<MapData, u64>,
    places: PerCpuArray<MapData, [u64; 2]>,
    told: Ring,
    counters: Shared,
    state: Array<MapData, SharedState>,
}

impl Parts {
    /// Loads all over the maps that the gateway of this run directory has pinned.
    ///
    /// # Errors
    /// When there is no such gateway, or the kernel refuses a program.
    pub fn over(run_dir: &Path) -> Result<Self> {
        let pins = pins(run_dir)?;
        let load = |object| {
            let mut loader = EbpfLoader::new();
            for map in abi::MAPS {
                loader.map_pin_path(map.name, pins.join(map.name));
            }
            loader.load(object)
        };
        let mut whole = load(OBJECT).context("cannot load the gateway's programs again")?;
        let mut feeder = load(PARTS).context("cannot load the parts")?;
        program(&mut feeder, "feed")?
            .load()
            .context("the kernel refused feed")?;
        let mut names = Vec::new();
        let mut files: Vec<ProgramFd> = Vec::new();
        for name in [WHOLE_OUT, WHOLE_IN] {
            files.push(loaded(&mut whole, name)?);
            names.push(name);
        }
        for name in FED {
            files.push(loaded(&mut feeder, name)?);
            names.push(name);
        }
        let mut next: ProgramArray<_> =
            feeder.take_map("NEXT").context("no map NEXT")?.try_into()?;
        for (place, file) in (0..).zip(&files) {
            next.set(place, file, 0)
                .with_context(|| format!("{} cannot be fed", names[place as usize]))?;
        }
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        Ok(Self {
            ring: feeder.take_map("RING").context("no map RING")?.try_into()?,
            list: feeder.take_map("LIST").context("no map LIST")?.try_into()?,
            places: feeder
                .take_map("PLACE")
                .context("no map PLACE")?
                .try_into()?,
            counters: Shared::of(
                &whole.take_map(abi::COUNTERS).context("no counters")?,
                cpus * size_of::<CounterTable>(),
            )?,
            state: whole.take_map(abi::STATE).context("no state")?.try_into()?,
            told: Ring::default(),
            names,
            _next: next,
            feeder,
            _whole: whole,
        })
    }

    /// Sets which packets are fed, from the first one on; those of a ring that has a list are in the
    /// order of the list.
    ///
    /// # Errors
    /// When the list is too long, or a map cannot be written.
    pub fn feed(&mut self, ring: &Ring, list: &[Listed]) -> Result<()> {
        ensure!(list.len() <= MAX_LISTED as usize, "too long a list");
        for (place, listed) in (0..).zip(list) {
            self.list.set(place, listed.word(), 0)?;
        }
        self.told = *ring;
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        let zeroes = PerCpuValues::try_from(vec![[0; 2]; cpus])?;
        Ok(self.places.set(0, zeroes, 0)?)
    }

    /// Feeds a program with so many packets, that come in on a device of the calling thread's network
    /// namespace.
    ///
    /// # Errors
    /// When there is no such program or device.
    pub fn run(&mut self, name: &str, packets: u32, ifindex: u32) -> Result<Ran> {
        self.choose(name)?;
        self.test_run(packets, ifindex, None)
            .with_context(|| format!("feeding {name}"))
    }

    /// Feeds a program with so many packets, one by one; `each` is told what the program made of each.
    ///
    /// # Errors
    /// As for [`Parts::run`], or what `each` fails with.
    pub fn run_each(
        &mut self,
        name: &str,
        packets: u32,
        ifindex: u32,
        mut each: impl FnMut(u32, Ran, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.choose(name)?;
        let mut output = [0; LEN];
        for packet in 0..packets {
            let ran = self
                .test_run(1, ifindex, Some(&mut output))
                .with_context(|| format!("feeding {name}"))?;
            each(packet, ran, &output)?;
        }
        Ok(())
    }

    /// Chooses the program that is fed.
    fn choose(&mut self, name: &str) -> Result<()> {
        let place = self.names.iter().position(|known| *known == name);
        let place = place.with_context(|| format!("no program {name} to be fed"))?;
        let ring = Ring {
            next: place as u32,
            ..self.told
        };
        Ok(self.ring.set(0, Fed(ring), 0)?)
    }

    fn test_run(&self, packets: u32, ifindex: u32, output: Option<&mut [u8]>) -> Result<Ran> {
        let feeder: &Xdp = self
            .feeder
            .program("feed")
            .context("no program feed")?
            .try_into()?;
        let frame = [0; LEN];
        // struct xdp_md (linux/bpf.h): data, data_end, data_meta, ingress_ifindex, rx_queue_index,
        // egress_ifindex.
        let mut context = [0; 24];
        for (bytes, word) in context
            .chunks_exact_mut(4)
            .zip([0, LEN as u32, 0, ifindex, 0, 0])
        {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        options.data_out = output;
        options.ctx_in = Some(&context);
        options.repeat = packets;
        let ran = feeder.test_run(options)?;
        Ok(Ran {
            each: ran.duration,
            action: ran.return_value,
        })
    }

    /// Packets that came in on a slot and were forwarded, as multihome's counters have it.
    pub fn forwarded(&self, slot: u32) -> u64 {
        let forwards = |column: &u32| {
            counters::meaning(*column).is_some_and(|(verdict, _)| verdict == Verdict::Forwarded)
        };
        (0..COLUMNS as u32)
            .filter(forwards)
            .map(|column| counters::sum(self.counters.slice(), slot, column).packets)
            .sum()
    }

    /// Whether nothing has changed lately that the short way depends on.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn is_calm(&self) -> Result<bool> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let ticks = flow::ticks(u64::try_from(now.as_nanos())?);
        Ok(self.state.get(&0, 0)?.is_calm(ticks))
    }
}

/// The folder of a gateway's pins: those of its network namespace, the only one of its run directory.
fn pins(run_dir: &Path) -> Result<PathBuf> {
    let root = run_dir.join("bpf");
    let folders = fs::read_dir(&root).with_context(|| root.display().to_string())?;
    for folder in folders {
        let path = folder?.path();
        if path.join(abi::STATE).exists() {
            return Ok(path);
        }
    }
    anyhow::bail!("nothing is pinned below {}", root.display())
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    let program = ebpf.program_mut(name);
    Ok(program
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}

fn loaded(ebpf: &mut Ebpf, name: &str) -> Result<ProgramFd> {
    let program = program(ebpf, name)?;
    program
        .load()
        .with_context(|| format!("the kernel refused {name}"))?;
    Ok(program.fd()?.try_clone()?)
}
