//! `multihome explain` beside the real gateway: it names the uplink that a flow then takes, also that of a
//! failure that has not happened yet, and needs no controller for it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan},
        translated::Translated,
    },
    traffic::flows::{self, DISCARD_PORT, Family, Flow},
};
use nix::sys::signal::Signal;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// The two ends of a flow, as the command takes them.
fn ends(lab: &GatewayLab, flow: &Flow) -> [String; 2] {
    let addresses = lab.hosts[flow.host].addresses;
    let host = match flow.family {
        Family::V4 => addresses.host4.into(),
        Family::V6 => addresses.host6.into(),
    };
    [
        SocketAddr::new(host, flow.port).to_string(),
        SocketAddr::new(flow.family.server(), DISCARD_PORT).to_string(),
    ]
}

/// What is said of a flow.
fn explained(
    gateway: &Gateway<'_>,
    lab: &GatewayLab,
    flow: &Flow,
    options: &[&str],
) -> Result<Value> {
    let [source, destination] = ends(lab, flow);
    let mut words = vec![source.as_str(), &destination, "udp"];
    words.extend(options);
    gateway.json("explain", &words)
}

/// The uplinks that are named for flows, by their place in the lab.
fn named(
    gateway: &Gateway<'_>,
    lab: &GatewayLab,
    flows: &[Flow],
    options: &[&str],
) -> Result<Vec<Option<usize>>> {
    let place = |said: &Value| {
        let name = said["uplink"].as_str()?;
        lab.uplinks.iter().position(|it| it.plan.name == name)
    };
    flows
        .iter()
        .map(|flow| Ok(place(&explained(gateway, lab, flow, options)?)))
        .collect()
}

#[test]
fn it_names_the_uplinks_that_flows_take_now_and_in_a_failure() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let mut flows = Vec::new();
    for family in [Family::V4, Family::V6] {
        flows.extend(flows::many(12, lab.hosts.len(), family));
    }
    let said = named(&gateway, &lab, &flows, &[])?;
    let first = explained(&gateway, &lab, &flows[0], &[])?;
    ensure!(
        first["because"] == "rank" && first["kept"]["pin"].is_null(),
        "{first:#}"
    );
    let taken = flows::uplinks_of(&lab, &flows)?;
    ensure!(said == taken, "said {said:?}, took {taken:?}");
    let first = explained(&gateway, &lab, &flows[0], &[])?;
    ensure!(first["because"] == "pin", "it is known now: {first:#}");
    let place = taken[0].context("it has arrived")?;
    ensure!(
        first["next_hop"]["device"] == *lab.uplinks[place].device,
        "{first:#}"
    );

    // Without a controller, all of it.
    gateway.process()?.signal(Signal::SIGTERM)?;
    gateway.process()?.wait(PATIENCE)?;
    let again = named(&gateway, &lab, &flows, &[])?;
    ensure!(again == taken, "said {again:?}, took {taken:?}");
    let lost = lab.uplinks[0].plan.name;
    let what_if = format!("down={lost}");
    let alone = named(&gateway, &lab, &flows, &["--what-if", &what_if])?;
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    let said = named(&gateway, &lab, &flows, &["--what-if", &what_if])?;
    ensure!(said == alone, "{said:?}; without a controller {alone:?}");
    lab.cut(0, Cut::Carrier)?;
    gateway.wait_for_state(0, "down")?;
    let taken = flows::uplinks_of(&lab, &flows)?;
    ensure!(said == taken, "said {said:?}, took {taken:?}");
    ensure!(!taken.contains(&Some(0)), "{taken:?}");
    Ok(())
}

/// What is draining is passed over in a failure, which only the controller knows of.
#[test]
fn a_failure_leads_past_what_is_drained_to_the_next_tier() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let members =
        "[\"fiber\", { uplink = \"cable\", tier = 2 }, { uplink = \"mobile\", tier = 3 }]";
    let group = format!("[[group]]\nname = \"default\"\nmembers = {members}\n");
    let settings = Settings::with_file(&lab, &group)?;
    let gateway = Gateway::start(&lab, settings)?;
    let flows = flows::many(1, 1, Family::V4);
    let what_if = |names: &[&str]| -> Result<Value> {
        let down: Vec<String> = names.iter().map(|name| format!("down={name}")).collect();
        let options = down.iter().flat_map(|down| ["--what-if", down]);
        let options: Vec<&str> = options.collect();
        Ok(explained(&gateway, &lab, &flows[0], &options)?["uplink"].clone())
    };
    ensure!(what_if(&[])? == "fiber");
    ensure!(what_if(&["fiber"])? == "cable");
    ensure!(what_if(&["fiber", "cable"])? == "mobile");
    ensure!(what_if(&["fiber", "cable", "mobile"])?.is_null());
    let output = gateway.run("drain", &["cable"])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(what_if(&["fiber"])? == "mobile");
    Ok(())
}

#[test]
fn it_tells_translation_and_what_is_not_steered() -> Result<()> {
    let Translated { lab, settings } = Translated::new(&Plan::private(), "")?;
    let gateway = Gateway::start(&lab, settings)?;
    for family in [Family::V4, Family::V6] {
        let flow = flows::many(1, 1, family)[0];
        let said = explained(&gateway, &lab, &flow, &[])?;
        let name = said["uplink"].as_str().context("an uplink")?;
        let place = lab.uplinks.iter().position(|it| it.plan.name == name);
        let uplink = &lab.uplinks[place.context("one of ours")?];
        let translation = &said["translation"];
        let source: std::net::IpAddr = translation["source"]
            .as_str()
            .context("a source")?
            .parse()?;
        match source {
            std::net::IpAddr::V4(v4) => {
                ensure!(v4 == uplink.addresses.gateway4, "{said:#}");
                ensure!(translation["mode"] == "nat44", "{said:#}");
            }
            std::net::IpAddr::V6(v6) => {
                let place = place.context("one of ours")?;
                let is_under = multihome_tests::lab::translated::is_under(v6, place);
                ensure!(is_under && translation["mode"] == "nptv6", "{said:#}");
            }
        }
    }
    let host = lab.hosts[0].addresses;
    let (source, own) = (host.host4.to_string(), host.gateway4.to_string());
    let output = gateway.run("explain", &[&source, &own, "icmp"])?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        text.contains("pass_gateway") && !text.contains("uplink  "),
        "{text}"
    );
    Ok(())
}

#[test]
fn what_contradicts_itself_or_is_not_there_is_refused() -> Result<()> {
    let lab = GatewayLab::new(&Plan::private())?;
    let mut settings = Settings::from_environment()?;
    settings.mode = "auto";
    settings.probe.clear();
    let gateway = Gateway::start(&lab, settings)?;
    let rows: [(&[&str], &str); 9] = [
        (
            &["10.1.0.10", "2001:db8::1", "tcp"],
            "10.1.0.10 and 2001:db8::1 are of two address families",
        ),
        (
            &["10.1.0.10", "192.0.2.1", "icmpv6"],
            "icmpv6 is not what 10.1.0.10 speaks; icmp is",
        ),
        (&["10.1.0.10:5", "192.0.2.1", "gre"], "gre has no ports"),
        (
            &["10.1.0.10", "192.0.2.1", "tcp", "--what-if", "down=fibre"],
            "there is no uplink \"fibre\" (did you mean \"fiber\"?); there are: fiber, cable",
        ),
        (
            &["10.1.0.10", "192.0.2.1", "tcp", "--lan", "wan0"],
            "\"wan0\" is no LAN device of the gateway (did you mean \"lan0\"?); there are: lan0",
        ),
        (
            &["10.1.0.10", "192.0.2.1", "icpm"],
            "(did you mean \"icmp\"?)",
        ),
        (
            &["10.1.0.300", "192.0.2.1", "tcp"],
            "\"10.1.0.300\" is no address",
        ),
        (
            &["10.1.0.10", "192.0.2.1", "tcp", "--what-if", "fiber"],
            "give down=UPLINK",
        ),
        (&["10.1.0.10", "192.0.2.1", "tcp", "--dscp", "64"], "0..=63"),
    ];
    for (words, message) in rows {
        let output = gateway.run("explain", words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2) && said.contains(message),
            "{words:?}: {:?}\n{said}",
            output.status
        );
    }
    let output = gateway.run("detach", &[])?;
    ensure!(output.status.success(), "{output:?}");
    let output = gateway.run("explain", &["10.1.0.10", "192.0.2.1", "tcp"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && said.contains("nothing is attached"),
        "{:?}\n{said}",
        output.status
    );
    Ok(())
}
