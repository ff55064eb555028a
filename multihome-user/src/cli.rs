//! The command line: subcommands, flags and their help.

use std::{net::Ipv4Addr, path::PathBuf, time::SystemTime};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{
        Burst, DEFAULT_RUN_DIR, DrainTime, EventName, Failback, FailbackAfter, Flags, HashPolicy,
        Hold, Interval, Ipv6Prefix, LanPort, Listen, MaxHold, OnUplinkLoss, ProbeCount, ProbeRate,
        Quorum, SeedValue, Suspicion, Timeout, UplinkArg, UplinkName, XdpMode,
    },
    delegation::Delegation,
    events::{EventQuery, Since},
    flows::Query,
};

mod explain;
mod fault;

pub use explain::ExplainArgs;
pub use fault::FaultArgs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "multihome",
    version,
    about = "Steers a LAN's traffic over several uplinks with XDP, and around those that fail",
    after_help = "\
Exit codes: 0 done, 1 failed while running, 2 asked for what cannot be done (nothing was changed).",
    max_term_width = 100,
    propagate_version = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attach the programs, follow the uplinks' health and steer traffic, until stopped
    Run(Box<RunArgs>),
    /// Show every uplink: state, since when, round-trip time, loss, share of traffic, next hop
    Status(StatusArgs),
    /// List the translated flows: both ends, uplink, state, how long they last, what they carried
    Flows(FlowsArgs),
    /// Tell what would become of a packet, and why: rule, group, uplink, translation, next hop
    Explain(ExplainArgs),
    /// Show what happened, and on demand what happens: each transition with its cause and timings
    Events(EventsArgs),
    /// Tell the IPv6 prefix that a provider delegates now, or show those in force
    Prefix(PrefixArgs),
    /// Have new flows take other uplinks, and let those of one end, before work on it
    Drain(DrainArgs),
    /// Give an uplink new flows again
    Undrain(UndrainArgs),
    /// Put a fault into an uplink's line for a drill: lose all or some packets for a time
    Fault(FaultArgs),
    /// Take everything off the devices and end the controller, if one runs
    Detach(DetachArgs),
}

/// `multihome run`.
#[derive(Debug, Args)]
#[command(after_long_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// A device whose hosts are served; several may follow, and the flag may be repeated
    ///
    /// DEV:VLAN, such as trunk0:20 or trunk0:200.100, is a tagged port of it. Given at all, it replaces
    /// the list of the file.
    #[arg(long, value_name = "DEV", num_args = 1.., help_heading = "Devices")]
    pub lan: Vec<LanPort>,

    /// An uplink: NAME=DEV[,vlan=ID][,pppoe=DEV][,weight=N][,tier=N][,gateway=ADDR][,mode=MODE]
    /// [,outside=ADDR][,prefix=PREFIX][,mss_clamp=MSS][,quorum=N][,probe=TARGET][,bfd=WORD]
    ///
    /// vlan is the id of the uplink's tag, or of two tags as OUTER.INNER; the outer of two is an 802.1ad one
    /// unless outer_tag=802.1q is given. pppoe is the device of a PPPoE session over DEV, such as ppp0,
    /// which pppd keeps up.
    ///
    /// weight (1 to 1000000, default 1) is its share relative to the others of its tier. tier (1
    /// to 16, default 1): a higher one carries traffic only when none of the lower can. gateway is
    /// the next hop, one of each family at most; without it the routing table is asked. quorum is the
    /// number of targets that must answer in place of --probe-quorum.
    ///
    /// probe is a remote target, up to 8; with none the next hop alone says whether the uplink is up. It
    /// is an address that answers pings, or tcp://ADDR:PORT (a connection must come about),
    /// dns://ADDR/NAME?type=TYPE (the answer must have such a record), http://HOST/PATH or
    /// https://HOST/PATH. A HOST that is a name is not looked up: say where it is by a blank and
    /// address=ADDR behind the URL. status=200 or status=200-299 may follow (default 200-399), and
    /// verify=false to accept any certificate.
    ///
    /// bfd speaks BFD with the next hops: true (every 300 ms, down after 3 lost packets), or an interval
    /// and a multiplier such as 10msx3.
    ///
    /// mode is auto (default), routed, nat44 or nptv6; mode=nat44,mode=nptv6 translates both
    /// families. auto translates IPv4 when the LAN's prefixes are private, and IPv6 when a prefix
    /// is given. outside is an IPv4 address to translate to, up to 8, in place of the device's own.
    /// prefix is the IPv6 prefix that --inside-prefix is translated to, or "delegated" when `multihome
    /// prefix` tells it.
    ///
    /// mss_clamp is the largest MSS that TCP connections open with, in IPv4 (20 less in IPv6): auto (default:
    /// what fits the uplink's MTU, where that is smaller than the LAN's), a number of bytes, or off.
    ///
    /// A name that the file has too replaces the keys given here; =DEV may then be left out.
    #[arg(long = "uplink", value_name = "UPLINK", num_args = 1.., help_heading = "Devices")]
    pub uplinks: Vec<UplinkArg>,

    /// Read this TOML file; flags stand over it
    #[arg(long, short = 'c', value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<PathBuf>,

    /// Check the configuration, print it in full and stop; nothing is touched
    #[arg(long, help_heading = "Configuration")]
    pub check: bool,

    /// Time from one probe of a target to the next, 10ms to 60s [default: 500ms]
    #[arg(long, value_name = "TIME", help_heading = "Probes")]
    pub probe_interval: Option<Interval>,

    /// Wait this long for an answer, 10ms to 60s [default: adapts to the round-trip time]
    #[arg(long, value_name = "TIME", help_heading = "Probes")]
    pub probe_timeout: Option<Timeout>,

    /// Probes lost in a row after which a target is dead, 1 to 100 [default: 3]
    #[arg(long, value_name = "N", help_heading = "Probes")]
    pub fall: Option<ProbeCount>,

    /// Probes answered in a row after which it is alive again, 1 to 100 [default: 3]
    #[arg(long, value_name = "N", help_heading = "Probes")]
    pub rise: Option<ProbeCount>,

    /// Suspect an uplink by which packets leave and none come back for so long, 50ms to 10s, or "off"
    /// [default: 200ms]
    #[arg(long, value_name = "TIME", help_heading = "Probes")]
    pub suspicion: Option<Suspicion>,

    /// Time from one probe of a target to the next when a suspicion is settled, 10ms to 1s, or "off"
    /// [default: 25ms]
    #[arg(long, value_name = "TIME", help_heading = "Probes")]
    pub burst: Option<Burst>,

    /// Targets of an address family that must answer for an uplink to be up, 1 to 8 [default: 1]
    #[arg(long, value_name = "N", help_heading = "Probes")]
    pub probe_quorum: Option<Quorum>,

    /// Packets a second to all remote targets of one uplink, at most, when all is well, 1 to 10000, or
    /// "off" [default: 5; off when the interval is given]
    #[arg(long, value_name = "N|off", help_heading = "Probes")]
    pub probe_rate: Option<ProbeRate>,

    /// What of a packet chooses its uplink [default: src-dst when addresses are translated, else
    /// 5-tuple]
    #[arg(long, value_name = "5-tuple|src-dst|src", help_heading = "Flows")]
    pub hash: Option<HashPolicy>,

    /// End translated flows whose uplink is lost, or keep them for its return [default: reset]
    #[arg(long, value_name = "reset|hold", help_heading = "Flows")]
    pub on_uplink_loss: Option<OnUplinkLoss>,

    /// Leave flows where they are when their uplink returns, or move them back [default: sticky]
    #[arg(long, value_name = "sticky|immediate", help_heading = "Flows")]
    pub failback: Option<Failback>,

    /// Time that an uplink must be up before flows go back to it, 0s to 1h [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = "Flows")]
    pub failback_after: Option<FailbackAfter>,

    /// Time that an uplink which has come back must stay up before it takes new flows, 0s to 1h
    /// [default: 5s]
    #[arg(long, value_name = "TIME", help_heading = "Flows")]
    pub damping_hold: Option<Hold>,

    /// The same at most, after several failures, each of which doubles it, up to 1d [default: 5m]
    #[arg(long, value_name = "TIME", help_heading = "Flows")]
    pub damping_max_hold: Option<MaxHold>,

    /// Serve Prometheus metrics here, or "off" [default: 127.0.0.1:9750]
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Gateway")]
    pub metrics_listen: Option<Listen>,

    /// Attach in the driver (native) or in the slow path that every driver has (generic)
    /// [default: native]
    #[arg(long, value_name = "native|generic", help_heading = "Gateway")]
    pub xdp_mode: Option<XdpMode>,

    /// Seed of the flow hash; gateways with the same seed and uplinks choose alike [default:
    /// random]
    #[arg(long, value_name = "N", help_heading = "Gateway")]
    pub seed: Option<SeedValue>,

    /// The LAN's own IPv6 prefix, such as fd12:3456:789a::/48, which uplinks with a prefix
    /// translate to theirs
    #[arg(long, value_name = "PREFIX", help_heading = "Gateway")]
    pub inside_prefix: Option<Ipv6Prefix>,

    /// Keep the control socket and what is pinned here; two gateways need two [default:
    /// /run/multihome]
    #[arg(long, value_name = "DIR", help_heading = "Gateway")]
    pub run_dir: Option<PathBuf>,

    /// Keep here what must outlive a reboot, such as what uplinks have used of their quotas [default:
    /// /var/lib/multihome]
    #[arg(long, value_name = "DIR", help_heading = "Gateway")]
    pub state_dir: Option<PathBuf>,

    /// Take the programs off the devices when stopped; without it they go on as last told
    #[arg(long, help_heading = "Gateway")]
    pub detach_on_exit: bool,

    /// Switch off what hides VLAN tags from the programs on devices of ports with tags
    ///
    /// Without it such a device is refused. What is switched off stays off: rx-vlan-hw-parse and
    /// rx-vlan-stag-hw-parse, and where the kernel has no VLAN device rx-vlan-filter and
    /// rx-vlan-stag-filter.
    #[arg(long, help_heading = "Gateway")]
    pub fix_offloads: bool,

    /// Lead the gateway's own traffic by routes and rules of its own, or leave the kernel's routing alone
    /// [default: true]
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = "Gateway"
    )]
    pub manage_routes: Option<bool>,

    /// Log more; repeat for still more
    #[arg(long, short, action = clap::ArgAction::Count, help_heading = "Logging")]
    pub verbose: u8,

    /// Log what this filter lets through, such as "warn" or "info,multihome::probe=trace"
    #[arg(
        long,
        visible_alias = "log-level",
        value_name = "FILTER",
        help_heading = "Logging"
    )]
    pub log: Option<String>,
}

impl RunArgs {
    /// The part that is configuration.
    pub fn flags(&self) -> Flags {
        Flags {
            lan: self.lan.clone(),
            uplinks: self.uplinks.clone(),
            probe_interval: self.probe_interval,
            probe_timeout: self.probe_timeout,
            fall: self.fall,
            rise: self.rise,
            probe_quorum: self.probe_quorum,
            probe_rate: self.probe_rate,
            damping_hold: self.damping_hold,
            damping_max_hold: self.damping_max_hold,
            suspicion: self.suspicion,
            burst: self.burst,
            metrics_listen: self.metrics_listen,
            run_dir: self.run_dir.clone(),
            state_dir: self.state_dir.clone(),
            xdp_mode: self.xdp_mode,
            seed: self.seed,
            hash: self.hash,
            on_uplink_loss: self.on_uplink_loss,
            failback: self.failback,
            failback_after: self.failback_after,
            inside_prefix: self.inside_prefix,
            detach_on_exit: self.detach_on_exit,
            fix_offloads: self.fix_offloads,
            manage_routes: self.manage_routes,
        }
    }
}

/// `multihome status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  multihome status
  multihome status --json | jq '.uplinks[] | {name, state, share}'")]
pub struct StatusArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// The run directory that was given to `multihome run`
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub run_dir: PathBuf,
}

/// `multihome flows`.
#[derive(Debug, Args)]
#[command(after_help = "\
The table is read as it is, whether or not a controller runs; rows come in no order. Only IPv4 flows
whose addresses are translated have a row. FORWARD tells whether the outside port is one of a port
forward. In place of ports, ICMP queries show their identifier.

Examples:
  multihome flows --uplink fibre --host 192.168.1.20
  multihome flows --json | jq 'select(.idle_s > 60)'")]
pub struct FlowsArgs {
    /// Only flows of this uplink
    #[arg(long, value_name = "NAME")]
    pub uplink: Option<String>,

    /// Only flows whose inside or remote address is this IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<Ipv4Addr>,

    /// Print one JSON object for each flow, each on a line of its own
    #[arg(long)]
    pub json: bool,

    /// The run directory that was given to `multihome run`
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub run_dir: PathBuf,
}

impl FlowsArgs {
    /// What is asked for.
    pub fn query(&self) -> Query<'_> {
        Query {
            uplink: self.uplink.as_deref(),
            host: self.host,
            json: self.json,
        }
    }
}

/// `multihome events`.
#[derive(Debug, Args)]
#[command(after_help = "\
The last 1024 events are kept, over restarts of the controller until `multihome detach`. While no
controller runs, those that the last one left are shown.

Examples:
  multihome events --since 1h
  multihome events --follow --uplink fibre
  multihome events --follow --json | jq 'select(.kind == \"uplink_down\")'")]
pub struct EventsArgs {
    /// Go on with what happens from now on, until the controller ends
    #[arg(long, short)]
    pub follow: bool,

    /// Print one JSON object for each event, each on a line of its own
    #[arg(long)]
    pub json: bool,

    /// Only events of this uplink
    #[arg(long, value_name = "NAME")]
    pub uplink: Option<String>,

    /// Only events of this kind; may be repeated
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<EventName>,

    /// Only events since then: a time, such as 2026-01-31T08:00:00Z, or so long ago, such as 30m
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Since>,

    /// At most so many of those that are kept [default: all; 10 with --follow]
    #[arg(long, short = 'n', value_name = "N")]
    pub last: Option<usize>,

    /// The run directory that was given to `multihome run`
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub run_dir: PathBuf,
}

/// Earlier events that are shown first when others are waited for.
const LAST_BEFORE_FOLLOWING: usize = 10;

impl EventsArgs {
    /// What is asked for at this time.
    pub fn query(&self, now: SystemTime) -> EventQuery {
        // Who says since when wants all of it.
        let few = self.follow && self.since.is_none();
        EventQuery {
            follow: self.follow,
            last: self.last.or(few.then_some(LAST_BEFORE_FOLLOWING)),
            uplink: self.uplink.clone(),
            since: self.since.map(|since| since.at(now)),
            kinds: self.kind.iter().map(|kind| kind.0).collect(),
        }
    }
}

/// `multihome prefix`.
#[derive(Debug, Args)]
#[command(after_help = "\
For the hook of a DHCPv6 client, and uplinks with prefix = \"delegated\". What is told takes effect at
once and is kept over restarts, until `multihome detach`; while no controller runs, it is kept for the
next one. Telling again what is known changes nothing.

Examples:
  multihome prefix
  multihome prefix fibre 2001:db8:1::/48
  multihome prefix fibre none")]
pub struct PrefixArgs {
    /// The uplink's name; without it, the prefixes of all uplinks are shown
    pub uplink: Option<UplinkName>,

    /// The prefix that is delegated now, or "none"; without it, the one in force is shown
    #[arg(requires = "uplink")]
    pub prefix: Option<Delegation>,

    /// The run directory that was given to `multihome run`
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub run_dir: PathBuf,
}

/// `multihome drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Flows that are on the uplink stay there until they end; `multihome flows --uplink NAME` lists the
translated ones that are left. While no better uplink is up, it takes new flows as before. Drained
once more, it has the new end. A drain goes on over restarts of the controller, until `multihome
detach`; while no controller runs, it is kept for the next one.

Examples:
  multihome drain fibre
  multihome drain fibre --for 30m")]
pub struct DrainArgs {
    /// The uplink's name
    pub uplink: UplinkName,

    /// End it by itself after this time, 1s to 366d [default: when `multihome undrain` says so]
    #[arg(long = "for", value_name = "TIME")]
    pub time: Option<DrainTime>,

    /// The run directory that was given to `multihome run`
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub run_dir: PathBuf,
}

/// `multihome undrain`.
#[derive(Debug, Args)]
pub struct UndrainArgs {
    /// The uplink's name
    pub uplink: UplinkName,

    /// The run directory that was given to `multihome run`
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub run_dir: PathBuf,
}

/// `multihome detach`.
#[derive(Debug, Args)]
#[command(after_help = "\
A running controller is asked to detach and to end. Without one, what an earlier one left pinned
is removed. Traffic then takes the kernel's own way.")]
pub struct DetachArgs {
    /// The run directory that was given to `multihome run`
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub run_dir: PathBuf,
}

const RUN_EXAMPLES: &str = "\
Examples:
  Two uplinks, the first with three quarters of the traffic:
    multihome run --lan lan0 \\
      --uplink fibre=eth1,weight=3,probe=9.9.9.9 --uplink cable=eth2,probe=149.112.112.112

  A mobile uplink that is used only when the fibre is down, noticed within half a second:
    multihome run --lan lan0 --uplink fibre=eth1,probe=9.9.9.9 \\
      --uplink mobile=eth3,tier=2,probe=9.9.9.9 --probe-interval 100ms

  From a file, with one change:
    multihome run --config /etc/multihome/multihome.toml --uplink cable,weight=2

  See whether a file is right, and what all the defaults are:
    multihome run --config /etc/multihome/multihome.toml --check

A stop (SIGTERM, Ctrl-C) ends the controller and leaves the programs steering as last told; the
next run takes them over without losing a packet. `multihome detach` takes them off.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_the_defaults_in_force() {
        let help = Cli::command()
            .find_subcommand_mut("run")
            .expect("there is a run subcommand")
            .render_long_help()
            .to_string();
        let text = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for default in [
            "[default: 500ms]".to_owned(),
            "[default: 3]".to_owned(),
            format!("[default: {DEFAULT_RUN_DIR}]"),
            format!("[default: {}]", crate::config::DEFAULT_STATE_DIR),
            format!("[default: {}]", crate::config::DEFAULT_METRICS_LISTEN),
            format!("[default: {}]", XdpMode::default().name()),
            format!("[default: {}]", OnUplinkLoss::default().name()),
            format!("[default: {}]", Failback::default().name()),
            "[default: 10s]".to_owned(),
            "[default: 5s]".to_owned(),
            "[default: 5m]".to_owned(),
        ] {
            assert!(text.contains(&default), "{default} is not in: {text}");
        }
        let probe = crate::config::ProbeConfig::default();
        assert_eq!(
            (probe.interval.as_millis(), probe.fall, probe.rise),
            (500, 3, 3)
        );
        let damping = crate::config::DampingConfig::default();
        assert_eq!(
            (damping.hold.as_secs(), damping.max_hold.as_secs()),
            (5, 300)
        );
        let group = crate::config::GroupConfig::default();
        assert_eq!(group.failback_after.as_secs(), 10);
    }

    #[test]
    fn lists_and_repeats_are_one() {
        let args = [
            "multihome",
            "run",
            "--lan",
            "a",
            "b",
            "--lan",
            "c",
            "--uplink",
            "x=d",
            "y=e",
            "--uplink",
            "z=f",
        ];
        let Command::Run(run) = Cli::try_parse_from(args).expect("valid flags").command else {
            panic!("run was asked for")
        };
        assert_eq!((run.lan.len(), run.uplinks.len()), (3, 3));
    }
}
