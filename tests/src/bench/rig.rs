//! multihome's controller over its own kernel side, without devices: what it decides and keeps up is the
//! product's own code and stands in the kernel's own maps, and nothing else disturbs what is timed.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bench_traffic::ring::Ring;
use multihome::{
    config::Config,
    controller::{Controller, Event},
    dataplane::{Dataplane, PortPlan, Sizes, Undo},
    kernel_ports,
    netlink::{Address, ETHERNET, Link, Neighbour, NeighbourState, NetEvent, NetState},
    probe::{Outcome, ProbeEvent, TargetId},
    run::{executor::Executor, prepared::Prepared, upkeep::Upkeep},
};
use multihome_common::limits::MAX_OUTSIDE;
use tokio::runtime::{Builder, Runtime};

use super::{
    parts::{Parts, WHOLE_OUT},
    throughput::stay_on,
};

/// The LAN port's device: the one that every network namespace has.
const LAN: u32 = 1;
/// The index of the first uplink's device, which is nowhere; none of them has the LAN port's place in the
/// table of devices.
const FIRST: u32 = 1040;
/// The gateway's MAC on each device.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Parts of the port table that there are at least: enough for a million flows.
const POOLS: u32 = 32;
/// Flows that are opened.
const MILLION: u64 = 1 << 20;
/// Probe outcomes that change a path's health at the latest.
const ENOUGH: u32 = 1000;

/// A controller, and what carries out what it decides.
pub struct Rig {
    /// What it decides.
    pub controller: Controller,
    /// What carries that out.
    pub executor: Executor,
    upkeep: Upkeep,
    targets: Vec<TargetId>,
    undo: Undo,
    runtime: Runtime,
}

impl Rig {
    /// Makes a gateway of so many uplinks, all of them up, with room for so many flows, that keeps its
    /// maps below `run_dir`; for the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(run_dir: &Path, uplinks: u8, flows: u32) -> Result<Self> {
        let config = config(uplinks, flows)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let pools = config.uplinks.iter().map(|uplink| uplink.outside.len());
        let sizes = Sizes {
            flows,
            pools: u16::try_from(pools.sum::<usize>())?,
        };
        let (mut dataplane, undo) = Dataplane::open(run_dir, config.xdp_mode, sizes)?;
        let ports = kernel_ports::for_flows(&config.nat.ports, &kernel_ports::read()?);
        let prepared = Prepared::new(&config, &ports, &mut dataplane)?;
        let plan = PortPlan {
            ranges: ports,
            ..PortPlan::default()
        };
        let upkeep = Upkeep::new(&config, &prepared.pools, &plan, None, &dataplane.flows);
        let now = Instant::now();
        let settings = prepared.settings(&config, &Default::default(), Default::default());
        let mut controller = Controller::new(settings, net(uplinks), now);
        let mut executor = Executor::new(dataplane, false)?;
        let actions = controller.begin(now);
        let done = executor.carry_out(actions, now)?;
        let plans = done.plans.context("no uplink is probed")?;
        let targets = plans.iter().flat_map(|plan| &plan.targets);
        let targets = targets.map(|target| target.id).collect();
        drop(entered);
        let mut rig = Self {
            controller,
            executor,
            upkeep,
            targets,
            undo,
            runtime,
        };
        rig.sweep();
        Ok(rig)
    }

    /// Opens a million flows; how many of them are open then.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn open_a_million(&mut self, run_dir: &Path) -> Result<u64> {
        let mut parts = Parts::over(run_dir)?;
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&MAC);
        let ring = Ring {
            len: MILLION,
            family: 4,
            macs,
            ..Ring::default()
        };
        parts.feed(&ring, &[])?;
        // Each core begins with the ring's first flow.
        stay_on(0)?;
        parts.run(WHOLE_OUT, MILLION as u32, LAN)?;
        Ok(self.sweep())
    }

    /// Takes away what is over in all tables and counts what is left, as the gateway does it: how many
    /// flows are left.
    pub fn sweep(&mut self) -> u64 {
        let tables = &mut self.executor.dataplane.flows;
        self.upkeep.all(tables, &self.controller).all()
    }

    /// Tells of probes of an uplink that were all answered, or all lost, until it changes the eligible
    /// word; how long after the last one that word was stored.
    ///
    /// # Errors
    /// When no number of probes does it.
    pub fn probed(&mut self, uplink: u8, answered: bool) -> Result<Duration> {
        let target = self.targets.iter().find(|target| target.uplink == uplink);
        let target = *target.context("the uplink has no target")?;
        let outcome = if answered {
            Outcome::Reply {
                rtt: Duration::from_millis(1),
            }
        } else {
            Outcome::Lost
        };
        let _entered = self.runtime.enter();
        for _ in 0..ENOUGH {
            let noticed = Instant::now();
            let event = Event::Probe(ProbeEvent {
                id: target,
                outcome,
                sent: noticed,
            });
            let actions = self.controller.handle(event, noticed);
            let done = self.executor.carry_out(actions, noticed)?;
            if let Some(after) = done.moved_after {
                return Ok(after);
            }
        }
        anyhow::bail!("uplink {uplink} is as it was after {ENOUGH} probes")
    }

    /// Takes all back from the kernel.
    pub fn remove(self) {
        drop(self.executor);
        drop(self.undo);
    }
}

fn next_hop(uplink: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, uplink * 4 + 1)
}

fn config(uplinks: u8, flows: u32) -> Result<Config> {
    let outside = (POOLS / u32::from(uplinks)).clamp(1, MAX_OUTSIDE as u32);
    // What is timed goes up and down all the time; it should serve at once, not be held back for that.
    let mut text = format!("lan = [\"lan0\"]\n[damping]\nhold = \"0s\"\n[nat]\nflows = {flows}\n");
    for uplink in 0..uplinks {
        let first = u32::from(Ipv4Addr::new(198, 51, 100, 0)) + u32::from(uplink) * outside;
        let addresses: Vec<String> = (first..first + outside)
            .map(|address| format!("\"{}\"", Ipv4Addr::from(address)))
            .collect();
        text += &format!(
            "[[uplink]]\nname = \"wan{uplink}\"\ndevice = \"wan{uplink}\"\ngateway = \"{}\"\n\
             mode = \"nat44\"\noutside = [{}]\n",
            next_hop(uplink),
            addresses.join(", ")
        );
    }
    Config::from_toml(Path::new("bench.toml"), &text).context("the rig's configuration")
}

/// The kernel's tables as they would be.
fn net(uplinks: u8) -> NetState {
    let mut net = NetState::default();
    let mut add = |ifindex, name: String, address, prefix_len| {
        net.apply(&NetEvent::Link(Link {
            ifindex,
            name,
            mac: Some(MAC),
            mtu: 1500,
            admin_up: true,
            carrier: true,
            vlan_of: None,
            hardware: ETHERNET,
        }));
        let own = Address {
            address: IpAddr::V4(address),
            prefix_len,
            usable: true,
            deprecated: false,
            broadcast: None,
            peer: None,
        };
        net.apply(&NetEvent::AddressAdded(ifindex, own));
    };
    add(LAN, "lan0".to_owned(), Ipv4Addr::new(10, 64, 0, 1), 15);
    for uplink in 0..uplinks {
        let ifindex = FIRST + u32::from(uplink);
        let own = u32::from(next_hop(uplink)) + 1;
        add(ifindex, format!("wan{uplink}"), own.into(), 30);
    }
    for uplink in 0..uplinks {
        net.apply(&NetEvent::Neighbour {
            ifindex: FIRST + u32::from(uplink),
            address: IpAddr::V4(next_hop(uplink)),
            neighbour: Neighbour {
                mac: Some([2, 0, 0, 0, 1, uplink]),
                valid: true,
                state: NeighbourState::Reachable,
            },
        });
    }
    net
}

/// Fails when a million flows are not nearly all open.
///
/// # Errors
/// When they are not.
pub fn check_a_million(open: u64) -> Result<()> {
    ensure!(open >= 950_000, "of a million flows {open} are open");
    Ok(())
}
