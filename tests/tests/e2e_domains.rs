//! Domains in rules with a real name server: learned from answers that pass, from those of the gateway's own
//! resolver, and kept over a restart.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use multihome_tests::{
    lab::{
        Process,
        controller::{Gateway, Settings},
        namespace::Namespace,
        topology::{GatewayLab, Plan},
    },
    traffic::flows::{self, Family, Flow},
};
use nix::sys::signal::Signal;

const FILES: &str = r#"
hash = "5-tuple"

[[group]]
name = "cheap"
members = ["cable"]

[[rule]]
name = "downloads"
domain = "*.files.example.net"
group = "cheap"
"#;

/// The line that the rule leads to, of the two that there are.
const CHEAP: usize = 1;

/// New flows of the host to the server, on ports that none of its others had.
struct Flows<'lab> {
    lab: &'lab GatewayLab,
    port: u16,
}

impl Flows<'_> {
    /// How they are spread over the lines.
    fn shares(&mut self, family: Family) -> Result<Vec<f64>> {
        self.port += 200;
        let flows: Vec<Flow> = (self.port..self.port + 200)
            .map(|port| Flow {
                host: 0,
                family,
                port,
            })
            .collect();
        Ok(flows::shares(&flows::uplinks_of(self.lab, &flows)?, 2))
    }

    fn ensure_spread(&mut self, family: Family) -> Result<()> {
        let shares = self.shares(family)?;
        let all = shares.iter().all(|share| *share > 0.2);
        ensure!(all, "{family:?}: {shares:?}");
        Ok(())
    }

    /// Waits until the rule leads them.
    fn wait_for_rule(&mut self, family: Family) -> Result<()> {
        let started = Instant::now();
        loop {
            let shares = self.shares(family)?;
            if shares[CHEAP] == 1.0 {
                return Ok(());
            }
            ensure!(
                started.elapsed() < Duration::from_secs(5),
                "{family:?}: {shares:?}"
            );
        }
    }
}

/// What a name that rules ask for resolves to goes by the rule from then on, by both families, also through
/// translation; nothing does before, nor what other names resolve to.
#[test]
fn a_domain_is_learned_from_the_answers_that_pass() -> Result<()> {
    for mode in ["routed", "auto"] {
        let lab = GatewayLab::new(&Plan::private())?;
        let mut settings = Settings::with_file(&lab, FILES)?;
        settings.mode = mode;
        let _gateway = Gateway::start(&lab, settings)?;
        let _dns = name_server(&lab, &lab.server)?;
        let families: &[Family] = if mode == "routed" {
            &[Family::V6]
        } else {
            &[Family::V4, Family::V6]
        };
        let mut flows = Flows {
            lab: &lab,
            port: 3000,
        };
        for &family in families {
            resolve(&lab, family.server(), family, "www.other.example.net")?;
            flows.ensure_spread(family)?;
            resolve(&lab, family.server(), family, "cdn.files.example.net")?;
            flows.wait_for_rule(family)?;
        }
    }
    Ok(())
}

/// A resolver on the gateway itself, which LAN hosts ask instead, teaches the same; and a controller that is
/// started anew knows what the one before has learned, before anybody asks again.
#[test]
fn the_gateways_own_resolver_teaches_and_a_restart_forgets_nothing() -> Result<()> {
    let lab = GatewayLab::new(&Plan::private())?;
    let mut settings = Settings::with_file(&lab, FILES)?;
    settings.mode = "auto";
    let mut gateway = Gateway::start(&lab, settings)?;
    let dns = name_server(&lab, &lab.gateway)?;
    let addresses = lab.hosts[0].addresses;
    let mut flows = Flows {
        lab: &lab,
        port: 3000,
    };
    for (family, resolver) in [
        (Family::V4, IpAddr::from(addresses.gateway4)),
        (Family::V6, addresses.gateway6.into()),
    ] {
        resolve(&lab, resolver, family, "www.other.example.net")?;
        flows.ensure_spread(family)?;
        resolve(&lab, resolver, family, "cdn.files.example.net")?;
        flows.wait_for_rule(family)?;
    }
    drop(dns);
    gateway.process()?.signal(Signal::SIGTERM)?;
    gateway.process()?.wait(Duration::from_secs(5))?;
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    for family in [Family::V4, Family::V6] {
        let shares = flows.shares(family)?;
        ensure!(
            shares[CHEAP] == 1.0,
            "after the restart, {family:?}: {shares:?}"
        );
    }
    Ok(())
}

/// A name server in this namespace, for which all names are the server's.
fn name_server(lab: &GatewayLab, on: &Namespace) -> Result<Process> {
    let mut command = on.command("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--user=root",
        "--pid-file=",
    ]);
    for family in [Family::V4, Family::V6] {
        command.arg(format!(
            "--host-record=cdn.files.example.net,{}",
            family.server()
        ));
        command.arg(format!(
            "--host-record=www.other.example.net,{}",
            family.server()
        ));
    }
    lab.lab.spawn("dnsmasq", command)
}

/// Asks a name server from the LAN for the addresses of a family, until it answers.
fn resolve(lab: &GatewayLab, server: IpAddr, family: Family, name: &str) -> Result<()> {
    let server = format!("@{server}");
    let kind = if family == Family::V4 { "A" } else { "AAAA" };
    let words = ["dig", "+short", "+tries=5", "+time=1", &server, name, kind];
    let answer = lab.hosts[0].namespace.output(&words)?;
    ensure!(
        answer.trim() == family.server().to_string(),
        "{name}: {answer}"
    );
    Ok(())
}
