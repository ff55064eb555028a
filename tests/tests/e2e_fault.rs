//! Faults that `multihome fault` puts into a running gateway: what is lost, what is not, and until when.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        topology::{GatewayLab, Plan},
    },
    traffic::{
        flows,
        stream::{ECHO_PORT, Stream},
    },
};
use nix::sys::signal::Signal;

/// What a command says when it succeeds.
fn said(gateway: &Gateway<'_>, options: &[&str]) -> Result<String> {
    let output = gateway.run("fault", options)?;
    ensure!(
        output.status.success(),
        "multihome fault {options:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits until something holds.
fn wait(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < Duration::from_secs(15), "not {what}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn metric(gateway: &Gateway<'_>, line: &str) -> Result<Option<f64>> {
    let (_, text) = gateway.fetch("/metrics")?;
    let value = text.lines().find_map(|found| found.strip_prefix(line));
    Ok(value.map(|value| value.trim().parse()).transpose()?)
}

/// The uplink's probes are lost like all that passes, so its flows move; when the fault is ended they
/// may come back.
#[test]
fn flows_leave_an_uplink_whose_line_is_a_blackhole() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let name = lab.uplinks[0].plan.name;
    let flows = flows::find(&lab, 2, ECHO_PORT)?;
    let stream = Stream::start(&lab, &flows, Duration::from_millis(1))?;
    wait("all seen", || {
        Ok(stream.uplinks_now().iter().all(Option::is_some))
    })?;
    let set = said(&gateway, &[name, "--blackhole", "--for", "1h"])?;
    ensure!(
        set == format!("{name}: everything is lost for 1h\n"),
        "{set}"
    );
    gateway.wait_for_state(0, "down")?;
    wait("off the faulty uplink", || {
        Ok(stream.uplinks_now().iter().all(|on| *on != Some(0)))
    })?;
    ensure!(gateway.status()?.is(&["down", "up", "up"]), "others suffer");
    let table = String::from_utf8(gateway.run("status", &[])?.stdout)?;
    let told = format!("FAULT in the line of {name}: everything is lost for another ");
    ensure!(table.contains(&told), "{table}");
    let shown = said(&gateway, &[])?;
    ensure!(
        shown.starts_with(&format!("{name}: everything is lost for another 35")),
        "{shown}"
    );
    let labels = format!("{{uplink=\"{name}\"}}");
    let gauge = format!("multihome_uplink_fault{labels}");
    wait("in the metrics", || {
        Ok(metric(&gateway, &gauge)? == Some(1.0))
    })?;
    for verdict in ["drop_fault_in", "drop_fault_out"] {
        let line =
            format!("multihome_xdp_packets_total{{uplink=\"{name}\",verdict=\"{verdict}\"}}");
        ensure!(metric(&gateway, &line)?.is_some_and(|n| n > 0.0), "{line}");
    }
    let ended = said(&gateway, &[name, "--clear"])?;
    ensure!(ended == format!("{name}: the fault is over\n"), "{ended}");
    gateway.wait_until_all_up()?;
    wait("in the metrics", || {
        Ok(metric(&gateway, &gauge)? == Some(0.0))
    })?;
    let again = said(&gateway, &[name, "--clear"])?;
    ensure!(again == format!("{name}: there was no fault\n"), "{again}");
    for kind in ["fault_set", "fault_ended"] {
        let line = format!("multihome_events_total{{kind=\"{kind}\",uplink=\"{name}\"}}");
        ensure!(metric(&gateway, &line)? == Some(1.0), "{line}");
    }
    Ok(())
}

/// The deadline is the programs': nobody is there to end the fault.
#[test]
fn a_fault_ends_on_time_without_a_controller() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let name = lab.uplinks[0].plan.name;
    let flows = flows::find(&lab, 2, ECHO_PORT)?;
    let stream = Stream::start(&lab, &flows, Duration::from_millis(1))?;
    let on_first = || {
        let on = stream.uplinks_now();
        on.iter().filter(|on| **on == Some(0)).count()
    };
    wait("all seen", || {
        Ok(stream.uplinks_now().iter().all(Option::is_some))
    })?;
    ensure!(on_first() > 0, "no flow is on {name}");
    gateway.process()?.signal(Signal::SIGKILL)?;
    gateway.process()?.wait(Duration::from_secs(5))?;
    let began = Instant::now();
    // No controller is needed to set one either, and none moves flows now.
    said(&gateway, &[name, "--blackhole", "--for", "3s"])?;
    let set = began.elapsed();
    ensure!(said(&gateway, &[])?.contains(name), "it is not shown");
    wait("over", || Ok(said(&gateway, &[])? == "no faults\n"))?;
    let lasted = began.elapsed();
    ensure!(
        lasted >= Duration::from_secs(3),
        "ended after {lasted:?}, set within {set:?}"
    );
    // What was lost was lost in the middle of the story: the flows go on where they were.
    thread::sleep(Duration::from_millis(500));
    let story = stream.stop()?;
    let mut silent = 0;
    for flow in &story.flows {
        let on = flow.first_uplink().context("a flow was never seen")?;
        if on == 0 {
            // Some for each millisecond that the sender had the CPU in.
            ensure!(
                flow.lost() > 300,
                "packets passed a blackhole: {}",
                flow.lost()
            );
            ensure!(flow.moves().is_empty(), "moved without a controller");
            silent += 1;
        } else {
            flow.ensure_undisturbed()?;
        }
    }
    ensure!(silent > 0, "no flow was on {name}");
    Ok(())
}

/// The next hop answers for itself, as when the provider's line is cut behind it.
#[test]
fn a_fault_beyond_the_next_hop_spares_the_link() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let (name, next_hop) = (lab.uplinks[0].plan.name, lab.uplinks[0].addresses.isp4);
    let ping = |address: std::net::Ipv4Addr| {
        let address = address.to_string();
        let command = ["ping", "-c", "1", "-W", "1", &address];
        Ok::<bool, anyhow::Error>(lab.gateway.output(&command).is_ok())
    };
    said(
        &gateway,
        &[name, "--blackhole", "--beyond-next-hop", "--for", "1m"],
    )?;
    gateway.wait_for_state(0, "down")?;
    ensure!(ping(next_hop)?, "the next hop is silent");
    said(&gateway, &[name, "--blackhole", "--for", "1m"])?;
    ensure!(!ping(next_hop)?, "the whole line is to be dead");
    said(&gateway, &[name, "--clear"])?;
    ensure!(ping(next_hop)?, "the fault is over");
    Ok(())
}

#[test]
fn what_is_no_fault_is_refused_and_changes_nothing() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let name = lab.uplinks[0].plan.name;
    for (options, culprit) in [
        (&["nobody", "--blackhole", "--for", "1s"][..], "nobody"),
        (&["nobody", "--clear"], "nobody"),
        (&["nobody"], "nobody"),
        (&[name, "--blackhole", "--for", "0s"], "from 1ms to 1h"),
        (&[name, "--blackhole", "--for", "61m"], "from 1ms to 1h"),
        (&[name, "--loss", "0%", "--for", "1s"], "0%"),
        (&[name, "--loss", "101%", "--for", "1s"], "101%"),
        (&[name, "--blackhole"], "--for"),
        (&[name, "--for", "1s"], "--blackhole"),
        (&["--blackhole", "--for", "1s"], "UPLINK"),
        (
            &[name, "--blackhole", "--loss", "3%", "--for", "1s"],
            "--loss",
        ),
        (&[name, "--clear", "--for", "1s"], "--clear"),
    ] {
        let output = gateway.run("fault", options)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{options:?}: {error}");
        ensure!(error.contains(culprit), "{options:?}: {error}");
    }
    ensure!(said(&gateway, &[])? == "no faults\n", "something was set");
    Ok(())
}
