//! The demo: what the gateway does, shown on real traffic in a lab, and measured.
//!
//! Two hosts, a gateway with three uplinks, servers behind them. Ten thousand flows show the split
//! over the uplinks; then the busiest uplink is cut, again and again, in two ways, while downloads
//! run. What is printed and what decides over success come from the same measurements.

mod clients;
mod report;
mod screen;
mod shares;
mod trial;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;

pub use report::Report;

use crate::{
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan},
    },
    traffic::{flows::Family, iperf},
};
use clients::Clients;
use screen::Screen;
use shares::Sample;
use trial::Trial;

/// Shows the gateway at work in a lab of network namespaces, and measures how fast it fails over.
#[derive(Parser)]
#[command(name = "demo")]
pub struct Options {
    /// The gateway's program
    #[arg(long, value_name = "PATH", env = "MULTIHOME_BINARY")]
    binary: PathBuf,
    /// How often each kind of failure is tried
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    trials: u32,
    /// Print the results as one line of JSON to stdout, and all else to stderr
    #[arg(long)]
    pub json: bool,
    /// Keep the lab at the end, until Ctrl-C, to look around in it
    #[arg(long)]
    keep: bool,
}

/// Runs the demo. An error means that it could not be shown; a promise that was not kept is in
/// the report.
pub fn run(options: &Options) -> Result<Report> {
    let screen = Screen::new(options.json);
    let mut plan = Plan::default();
    for (uplink, delay) in plan.uplinks.iter_mut().zip([4, 10, 25]) {
        uplink.delay = Duration::from_millis(delay);
    }
    screen.network(&plan);
    let lab = GatewayLab::new(&plan)?;
    screen.event("the lab is up: network namespaces with the kernel's own routing and TCP");
    if !lab.has_delay {
        screen.detail("this kernel cannot delay packets (no netem): all ISPs are equally near");
    }
    let settings = Settings::new(options.binary.clone());
    let gateway = Gateway::start(&lab, settings).context("starting the gateway")?;
    screen.event("the gateway runs, attached to its five devices; all uplinks are up:");
    screen.detail(&gateway.command_line());

    let before = Sample::take(&lab)?;
    screen.event(&format!(
        "{} UDP flows, half IPv4 and half IPv6, take these uplinks:",
        before.len()
    ));
    screen.shares(&plan, &before.shares());
    let busiest = before.busiest();

    let throughput = throughput(&lab)?;
    screen.event(&format!(
        "iperf3, TCP through the gateway: {:.1} Gbit/s",
        throughput / 1e3
    ));
    let clients = Clients::start(&lab, busiest)?;
    screen.event(&clients.introduction(&plan));

    let mut trials = Vec::new();
    for cut in [Cut::Carrier, Cut::Blackhole] {
        screen.cut(&plan, busiest, cut);
        for number in 1..=options.trials {
            let trial = Trial::run(&lab, &gateway, busiest, cut, &before)
                .with_context(|| format!("trial {number} of {cut:?}"))?;
            screen.trial(&plan, &trial, number);
            trials.push(trial);
        }
    }
    let survival = clients.stop()?;
    screen.survival(&survival);
    let report = Report::new(&plan, &before, &trials, &survival);
    screen.end(&report);
    if options.keep {
        screen.event(&format!(
            "kept until Ctrl-C: ip netns exec {}gw bash",
            lab.lab.prefix()
        ));
        loop {
            std::thread::park();
        }
    }
    drop(gateway);
    lab.lab.remove()?;
    Ok(report)
}

/// Megabits per second of TCP through the gateway while nothing else happens.
fn throughput(lab: &GatewayLab) -> Result<f64> {
    let _server = iperf::Server::start(lab)?;
    let client = iperf::Client::start(lab, 0, Family::V4, Duration::from_secs(1), &[])?;
    Ok(client.finish()?.mbit_per_second)
}
