//! The measurements' own XDP programs: loaded, told which traffic to make, asked what arrived.

use std::{io, time::Duration};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader, Pod, TestRun as _, TestRunOptions,
    maps::{Array, MapData, PerCpuArray, xdp::DevMap},
    programs::{TestRunAttrs, Xdp, XdpMode},
};
use bench_traffic::Traffic;

use crate::lab::Namespace;

/// The object: built by this package's build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("BENCH_OBJECT"));

/// Frames that are made before the kernel hands them on.
const BATCH: u32 = 64;

/// `Traffic` as the map's value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Told(Traffic);

// SAFETY: `repr(C)`, integers and byte arrays without padding: 3 x 8 + 3 x 4 + 12.
unsafe impl Pod for Told {}

const _: () = assert!(size_of::<Traffic>() == 48);

/// What has arrived at a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Packets whose source was translated.
    pub translated: u64,
    /// Packets with a LAN host's own address.
    pub untranslated: u64,
}

impl Arrived {
    /// All packets.
    pub fn packets(self) -> u64 {
        self.translated + self.untranslated
    }
}

/// The loaded programs.
pub struct Programs {
    ebpf: Ebpf,
    traffic: Array<MapData, Told>,
    arrived: PerCpuArray<MapData, [u64; 2]>,
}

impl Programs {
    /// Loads the programs, each over maps of this instance.
    pub fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .context("cannot load the measurements' programs")?;
        for name in ["generate", "sink", "bare"] {
            program(&mut ebpf, name)?
                .load()
                .with_context(|| format!("the kernel refused {name}"))?;
        }
        let mut take = |name: &str| {
            ebpf.take_map(name)
                .with_context(|| format!("no map {name}"))
        };
        Ok(Self {
            traffic: take("TRAFFIC")?.try_into()?,
            arrived: take("ARRIVED")?.try_into()?,
            ebpf,
        })
    }

    /// Attaches the program that counts to a device, in native mode.
    pub fn count_at(&mut self, namespace: &Namespace, device: &str) -> Result<()> {
        attach(&mut self.ebpf, "sink", namespace, device)
    }

    /// Has all that comes in on a device forwarded to two others in turn.
    pub fn forward_bare(
        &mut self,
        namespace: &Namespace,
        device: &str,
        out: [u32; 2],
    ) -> Result<()> {
        let map = self.ebpf.map_mut("OUT").context("no map OUT")?;
        let mut devices: DevMap<_> = map.try_into()?;
        // The kernel looks devices up in the namespace of whoever asks.
        namespace.enter(|| -> Result<()> {
            for (place, ifindex) in (0..).zip(out) {
                devices.set(place, ifindex, None, 0)?;
            }
            Ok(())
        })??;
        attach(&mut self.ebpf, "bare", namespace, device)
    }

    /// Sets which traffic is made.
    pub fn tell(&mut self, traffic: &Traffic) -> Result<()> {
        Ok(self.traffic.set(0, Told(*traffic), 0)?)
    }

    /// Makes packets of this length, without the check sequence, on the CPU and in the network
    /// namespace of the calling thread; the kernel forwards them before this returns. Returns how long
    /// that took, without what the kernel needs to begin and to end, which is more than a packet's time
    /// and no matter of packets.
    pub fn make(&self, packets: u32, len: usize) -> Result<Duration> {
        let generator: &Xdp = self
            .ebpf
            .program("generate")
            .context("no program generate")?
            .try_into()?;
        let frame = vec![0; len];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        options.repeat = packets;
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        let made = generator.test_run(options).context("making packets")?;
        // The kernel gives the mean of one packet.
        Ok(made.duration * packets)
    }

    /// What has arrived at the device of this index so far.
    pub fn arrived(&self, ifindex: u32) -> Result<Arrived> {
        let mut sum = Arrived::default();
        for [translated, untranslated] in self.arrived.get(&(ifindex & 0xff), 0)?.iter() {
            sum.translated += translated;
            sum.untranslated += untranslated;
        }
        Ok(sum)
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("no program {name}"))?;
    Ok(program.try_into()?)
}

/// Attaches a program to a device, for as long as the programs are loaded.
fn attach(ebpf: &mut Ebpf, name: &str, namespace: &Namespace, device: &str) -> Result<()> {
    let program = program(ebpf, name)?;
    namespace
        .enter(|| -> Result<()> {
            program
                .attach(device, XdpMode::Driver)
                .map_err(io::Error::other)?;
            Ok(())
        })?
        .with_context(|| format!("attaching {name} to {device}"))
}
