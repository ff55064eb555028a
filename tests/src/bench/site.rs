//! One contender's network: a LAN side that makes traffic, a gateway with two uplinks, and the
//! providers' side that counts what arrives.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_common::limits::{MAX_OUTSIDE, MAX_RULES};

use super::{
    conntrack,
    programs::{Arrived, Programs},
};
use crate::lab::{
    Lab, Namespace, Process,
    controller::{Status, UplinkStatus},
    link::{FACING_XDP, Mac},
};

/// What multihome logs when it has attached everything and packets pass.
const RUNS: &str = "gateway runs";
/// How many uplinks a gateway has.
const UPLINKS: u32 = 2;
/// Device indices of one site; those of all sites differ.
const INDICES: u32 = 8;

/// What forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An XDP program that looks at nothing.
    Bare,
    /// The kernel, with a route of two next hops.
    Ecmp,
    /// The same, and nftables' masquerade.
    Masquerade,
    /// multihome, addresses as they are, and room for the flows that it has by default.
    Routed,
    /// The same, with room for a million flows.
    RoutedLarge,
    /// multihome with NAT44 and NPTv6, and room for the flows that it has by default.
    Translated,
    /// The same, with room for a million flows.
    TranslatedLarge,
    /// As `Translated`, with a thousand rules, of which the last one matches all packets.
    Ruled,
}

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Ecmp => "ecmp",
            Self::Masquerade => "masq",
            Self::Routed => "routed",
            Self::RoutedLarge => "routedbig",
            Self::Translated => "nat",
            Self::TranslatedLarge => "natbig",
            Self::Ruled => "ruled",
        }
    }

    /// The rest of multihome's configuration; `None` when something else forwards.
    fn config(self) -> Option<String> {
        let uplinks = |keys: &dyn Fn(u32) -> String| -> String {
            (0..UPLINKS)
                .map(|k| {
                    format!(
                        "[[uplink]]\nname = \"wan{k}\"\ndevice = \"wan{k}\"\n\
                         gateway = [\"{}\", \"{}\"]\n{}\n",
                        isp4(k),
                        isp6(k),
                        keys(k)
                    )
                })
                .collect()
        };
        // A host stays with one of an uplink's addresses, and the few hosts that there are do not spread evenly:
        // with fewer addresses, one of them may get more flows than it has ports.
        let outside = |k: u32| -> String {
            let list: Vec<String> = (1..=MAX_OUTSIDE as u32)
                .map(|n| format!("\"{}\"", outside4(k, n)))
                .collect();
            format!(
                "mode = [\"nat44\", \"nptv6\"]\noutside = [{}]\nprefix = \"{}/64\"",
                list.join(", "),
                Ipv6Addr::from(u128::from(outside6(k)) << 64)
            )
        };
        let inside = "inside_prefix = \"fd00:65:0:1::/64\"\n";
        match self {
            Self::Bare | Self::Ecmp | Self::Masquerade => None,
            Self::Routed => Some(uplinks(&|_| "mode = \"routed\"".to_owned())),
            Self::RoutedLarge => Some(format!(
                "[nat]\nflows = 1500000\n{}",
                uplinks(&|_| "mode = \"routed\"".to_owned())
            )),
            Self::Translated => Some(inside.to_owned() + &uplinks(&outside)),
            Self::Ruled => Some(inside.to_owned() + &uplinks(&outside) + &rules()),
            Self::TranslatedLarge => Some(format!(
                "{inside}[nat]\nflows = 1500000\n{}",
                uplinks(&outside)
            )),
        }
    }
}

/// Rules that packets do not match, each by another of several things that it asks for, and a last one that they
/// all do: the program has to look through all.
fn rules() -> String {
    let mut text = String::new();
    for n in 0..MAX_RULES - 1 {
        let (high, low) = (n / 256, n % 256);
        text += &match n % 4 {
            // Hosts of the LAN, and not its servers.
            0 => format!(
                "[[rule]]\nsource = [\"10.64.{high}.{low}\", \"fd00:65:0:1::{n:x}\"]\n\
                 destination = \"198.18.{high}.{low}\"\n"
            ),
            1 => format!("[[rule]]\ndestination = [\"198.19.{high}.{low}\", \"3fff::{n:x}\"]\n"),
            2 => format!("[[rule]]\nprotocol = \"tcp\"\nport = {}\n", 1000 + n),
            _ => format!("[[rule]]\nsource_port = {}\ndscp = \"ef\"\n", 1000 + n),
        };
        text += "group = \"default\"\n";
    }
    text + "[[rule]]\ngroup = \"default\"\n"
}

/// An uplink's n-th outside address, counted from one.
pub fn outside4(uplink: u32, n: u32) -> String {
    format!("198.51.100.{}", 16 * uplink + n)
}

/// The first half of an uplink's IPv6 prefix, in host order.
pub const fn outside6(uplink: u32) -> u64 {
    0x2001_0db8_00b0_0001 + ((uplink as u64) << 16)
}

fn isp4(k: u32) -> String {
    format!("192.0.2.{}", 4 * k + 1)
}

fn isp6(k: u32) -> String {
    format!("2001:db8:a{k}::1")
}

/// One contender's network.
pub struct Site {
    /// What forwards.
    pub kind: Kind,
    /// Where traffic is made.
    pub lan: Namespace,
    /// Where it is forwarded.
    pub gateway: Namespace,
    /// The index of the device that traffic leaves the LAN by.
    pub out: u32,
    /// The frames' destination and source MAC.
    pub macs: [u8; 12],
    sinks: [u32; UPLINKS as usize],
    /// The first of its devices' indices, and what their MACs have in common.
    first: u32,
    ordinal: u8,
    /// The program that forwards without looking.
    _bare: Option<Programs>,
    process: Option<Process>,
    label: String,
    run_dir: PathBuf,
    binary: PathBuf,
}

impl Site {
    /// Makes the network, the `ordinal`-th of the lab, with `queues` queues for each device, and starts
    /// what forwards in it.
    pub fn new(
        lab: &Lab,
        programs: &mut Programs,
        binary: &Path,
        kind: Kind,
        ordinal: u32,
        queues: usize,
    ) -> Result<Self> {
        let mut label = kind.label().to_owned();
        if queues > 1 {
            label += &queues.to_string();
        }
        let [lan, gateway, isp] = lab
            .namespace_list(&["l", "g", "i"].map(|end| format!("{label}{end}")))?
            .try_into()
            .map_err(|_| anyhow::anyhow!("three namespaces were made"))?;
        let index = |n: u32| 16 + ordinal * INDICES + n;
        let mac = |n: u8| Mac::local(ordinal as u8 + 1, n);
        let end = |namespace: &Namespace, device: &str, n: u32| {
            format!(
                "name {device} index {} address {} numtxqueues {queues} numrxqueues {queues} netns {}",
                index(n),
                mac(n as u8),
                namespace.full_name()
            )
        };
        let mut script = format!(
            "link add {} type veth peer {}\n",
            end(&lan, "h0", 0),
            end(&gateway, "lan0", 1)
        );
        for k in 0..UPLINKS {
            script += &format!(
                "link add {} type veth peer {}\n",
                end(&gateway, &format!("wan{k}"), 2 + 2 * k),
                end(&isp, &format!("isp{k}"), 3 + 2 * k)
            );
        }
        crate::lab::ip_batch(&["-batch", "-"], &script)?;
        lan.batch("link set h0 up\n")?;
        gateway.sysctl(&[
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1",
            "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.default.rp_filter=0",
            "net.ipv4.fib_multipath_hash_policy=1",
        ])?;
        let mut ours = String::from(
            "link set lan0 up\naddress add 10.64.0.1/15 dev lan0\n\
             address add fd00:65:0:1:ffff::1/64 dev lan0 nodad\n",
        );
        let mut hops = [String::new(), String::new()];
        for k in 0..UPLINKS {
            let (isp4, isp6) = (isp4(k), isp6(k));
            ours += &format!(
                "link set wan{k} up\naddress add 192.0.2.{}/30 dev wan{k}\n\
                 address add 2001:db8:a{k}::2/64 dev wan{k} nodad\n\
                 neighbour add {isp4} lladdr {hop} dev wan{k} nud permanent\n\
                 neighbour add {isp6} lladdr {hop} dev wan{k} nud permanent\n",
                4 * k + 2,
                hop = mac(3 + 2 * k as u8)
            );
            hops[0] += &format!(" nexthop via {isp4} dev wan{k}");
            hops[1] += &format!(" nexthop via {isp6} dev wan{k}");
            isp.batch(&format!(
                "link set isp{k} up\naddress add {isp4}/30 dev isp{k}\n\
                 address add {isp6}/64 dev isp{k} nodad\n"
            ))?;
        }
        ours += &format!("route add default{}\nroute add ::/0{}\n", hops[0], hops[1]);
        gateway.batch(&ours)?;
        for (namespace, device) in [(&lan, "h0"), (&gateway, "lan0")] {
            namespace.offloads(device, &FACING_XDP)?;
        }
        for k in 0..UPLINKS {
            gateway.offloads(&format!("wan{k}"), &FACING_XDP)?;
            programs.count_at(&isp, &format!("isp{k}"))?;
        }
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&mac(1).0);
        macs[6..].copy_from_slice(&mac(0).0);
        let mut site = Self {
            kind,
            out: index(0),
            macs,
            sinks: [index(3), index(5)],
            first: index(0),
            ordinal: ordinal as u8 + 1,
            _bare: None,
            process: None,
            run_dir: lab.dir().join(format!("run-{label}")),
            label,
            binary: binary.to_owned(),
            lan,
            gateway,
        };
        match kind {
            Kind::Bare => {
                let mut bare = Programs::load()?;
                bare.forward_bare(&site.gateway, "lan0", [index(2), index(4)])?;
                site._bare = Some(bare);
            }
            Kind::Ecmp => {}
            Kind::Masquerade => site.gateway.nft(
                "table inet nat {\n chain post {\n  type nat hook postrouting priority srcnat;\n  \
                 oifname \"wan*\" masquerade\n }\n}\n",
            )?,
            Kind::Routed
            | Kind::RoutedLarge
            | Kind::Translated
            | Kind::TranslatedLarge
            | Kind::Ruled => {
                site.start(lab)?;
            }
        }
        Ok(site)
    }

    /// Starts multihome, and waits until its uplinks are up; how long it took until it said that it runs.
    fn start(&mut self, lab: &Lab) -> Result<Duration> {
        let label = &self.label;
        let config = lab.dir().join(format!("{label}.toml"));
        let text = self.kind.config().context("multihome forwards here")?;
        fs::write(&config, format!("lan = [\"lan0\"]\n{text}"))?;
        let mut command = self.command("run");
        command
            .arg("--config")
            .arg(&config)
            .args(["--metrics-listen", "127.0.0.1:9750"]);
        let began = Instant::now();
        let mut process = lab.spawn(&format!("multihome-{label}"), command)?;
        while !process.stderr().contains(RUNS) && process.is_running()? {
            thread::sleep(Duration::from_millis(1));
        }
        let took = began.elapsed();
        process.wait_until("up", Duration::from_secs(20), |_| {
            self.status()
                .is_ok_and(|status| status.uplinks.iter().all(UplinkStatus::is_up))
        })?;
        self.process = Some(process);
        Ok(took)
    }

    /// Has the gateway know no flow: multihome is detached and starts with new tables, the kernel
    /// forgets its connections.
    pub fn forget_flows(&mut self, lab: &Lab) -> Result<()> {
        match self.kind {
            Kind::Bare | Kind::Ecmp => Ok(()),
            Kind::Masquerade => conntrack::forget_all(&self.gateway),
            Kind::Routed
            | Kind::RoutedLarge
            | Kind::Translated
            | Kind::TranslatedLarge
            | Kind::Ruled => self.restart(lab).map(drop),
        }
    }

    /// Detaches multihome and starts it anew; how long that took until it said that it runs.
    pub fn restart(&mut self, lab: &Lab) -> Result<Duration> {
        let output = self.command("detach").output()?;
        ensure!(
            output.status.success(),
            "multihome detach: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        if let Some(mut process) = self.process.take() {
            process.wait(Duration::from_secs(10))?;
        }
        self.start(lab)
    }

    /// How many translated flows the gateway's own table has.
    pub fn open_flows(&self) -> Result<u64> {
        match self.kind {
            Kind::Bare | Kind::Ecmp | Kind::Routed | Kind::RoutedLarge => Ok(0),
            Kind::Masquerade => conntrack::count(&self.gateway),
            Kind::Translated | Kind::TranslatedLarge | Kind::Ruled => {
                Ok(self.flows()?.lines().count() as u64)
            }
        }
    }

    /// What `multihome flows --json` says: a line for each flow.
    pub fn flows(&self) -> Result<String> {
        let output = self.command("flows").arg("--json").output()?;
        ensure!(output.status.success(), "multihome flows failed");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = self.gateway.command(&self.binary);
        command.arg(subcommand).arg("--run-dir").arg(&self.run_dir);
        command
    }

    fn status(&self) -> Result<Status> {
        let output = self.command("status").arg("--json").output()?;
        ensure!(output.status.success(), "multihome status failed");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The gateway's LAN port: its index, and the frames' destination and source MAC.
    pub fn lan_port(&self) -> (u32, [u8; 12]) {
        (self.first + 1, self.macs)
    }

    /// A device of the gateway's uplink, in the same way.
    pub fn uplink_port(&self, uplink: u32) -> (u32, [u8; 12]) {
        let own = 2 + 2 * uplink;
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&self.mac(own).0);
        macs[6..].copy_from_slice(&self.mac(own + 1).0);
        (self.first + own, macs)
    }

    /// Has the gateway know the first `count` LAN hosts, all of them at the LAN's device.
    pub fn add_hosts(&self, count: u32) -> Result<()> {
        let mut script = String::new();
        let mac = self.mac(0);
        for host in 0..count {
            let host4 = Ipv4Addr::from(bench_traffic::HOSTS4 + host);
            let host6 = u128::from(bench_traffic::HOSTS6) << 64 | u128::from(host + 1);
            for address in [IpAddr::V4(host4), IpAddr::V6(host6.into())] {
                script +=
                    &format!("neighbour replace {address} lladdr {mac} dev lan0 nud permanent\n");
            }
        }
        self.gateway.batch(&script)
    }

    /// The MAC of the device of this number.
    fn mac(&self, n: u32) -> Mac {
        Mac::local(self.ordinal, n as u8)
    }

    /// Where multihome keeps what outlives it.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// multihome's process, where it is what forwards.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Whether all of multihome's uplinks are up.
    pub fn is_up(&self) -> Result<bool> {
        Ok(self.status()?.uplinks.iter().all(UplinkStatus::is_up))
    }

    /// What has arrived by both uplinks so far.
    pub fn arrived(&self, programs: &Programs) -> Result<[Arrived; UPLINKS as usize]> {
        let [one, other] = self.sinks;
        Ok([programs.arrived(one)?, programs.arrived(other)?])
    }
}
