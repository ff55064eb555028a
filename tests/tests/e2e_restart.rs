//! The controller dies, is stopped, restarted and detached, while packets pass every millisecond.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan},
    },
    traffic::{
        flows::{self, Family},
        ping,
        story::Story,
        stream::{ECHO_PORT, Stream},
    },
};
use nix::sys::signal::Signal;

fn start_stream(lab: &GatewayLab) -> Result<Stream> {
    let flows = flows::find(lab, 2, ECHO_PORT)?;
    let stream = Stream::start(lab, &flows, Duration::from_millis(1))?;
    thread::sleep(Duration::from_millis(300));
    Ok(stream)
}

fn ensure_undisturbed(story: &Story) -> Result<()> {
    for flow in &story.flows {
        flow.ensure_undisturbed()?;
    }
    Ok(())
}

/// Devices of the gateway that have an XDP program.
fn with_xdp(lab: &GatewayLab) -> Result<usize> {
    let links = lab
        .gateway
        .output(&["ip", "-details", "-json", "link", "show"])?;
    let links: serde_json::Value = serde_json::from_str(&links)?;
    let links = links.as_array().context("ip prints a list")?;
    Ok(links
        .iter()
        .filter(|link| link["xdp"]["prog"]["id"].is_u64())
        .count())
}

/// The XDP modes of the devices that have one (XDP_ATTACHED_* of linux/if_link.h).
fn modes(lab: &GatewayLab) -> Result<Vec<u64>> {
    let links = lab.gateway.output(&["ip", "-json", "link", "show"])?;
    let links: serde_json::Value = serde_json::from_str(&links)?;
    let links = links.as_array().context("ip prints a list")?;
    Ok(links
        .iter()
        .filter_map(|link| link["xdp"]["mode"].as_u64())
        .collect())
}

/// True if anything of the gateway is left in its run directory, mounts included.
fn leaves_state(lab: &GatewayLab) -> Result<bool> {
    let run = lab.lab.dir().join("run");
    let mounts = fs::read_to_string("/proc/1/mountinfo")?;
    if mounts.contains(run.to_str().context("a path of the lab's own")?) {
        return Ok(true);
    }
    match fs::read_dir(run.join("bpf")) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(_) => Ok(false),
    }
}

/// kill -9 of the controller loses no packet; a restarted one adopts what runs without losing one
/// either, and then fails over as before.
#[test]
fn a_killed_controller_and_its_successor_lose_no_packet() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let stream = start_stream(&lab)?;
    let first = gateway.status()?.pid;
    gateway.process()?.kill()?;
    thread::sleep(Duration::from_secs(1));
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    ensure!(gateway.status()?.pid != first, "it is the same process");
    thread::sleep(Duration::from_secs(1));
    ensure_undisturbed(&stream.stop()?)?;

    let stream = start_stream(&lab)?;
    lab.cut(0, Cut::Carrier)?;
    gateway.wait_for_state(0, "down")?;
    thread::sleep(Duration::from_millis(100));
    ensure!(
        stream.uplinks_now().iter().all(|on| *on != Some(0)),
        "no fail-over after a restart"
    );
    Ok(())
}

/// A controller that is stopped by a signal leaves the programs at work, ends with 0, and is
/// followed by another without a lost packet.
#[test]
fn a_stopped_controller_leaves_the_packets_flowing() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let stream = start_stream(&lab)?;
        gateway.process()?.signal(signal)?;
        let status = gateway.process()?.wait(Duration::from_secs(5))?;
        ensure!(status.success(), "{signal}: {status}");
        ensure!(with_xdp(&lab)? == 5, "{signal}: programs were detached");
        thread::sleep(Duration::from_millis(500));
        gateway.launch()?;
        gateway.wait_until_all_up()?;
        ensure_undisturbed(&stream.stop()?)?;
    }
    Ok(())
}

/// A controller that starts while an uplink is dead keeps to what its predecessor had found out:
/// flows do not go back to the dead uplink in between.
#[test]
fn a_restart_does_not_try_a_dead_uplink_on_real_traffic() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    lab.cut(0, Cut::Blackhole)?;
    gateway.wait_for_state(0, "down")?;
    let flows = flows::many(6, 2, Family::V4);
    let stream = Stream::start(&lab, &flows, Duration::from_millis(1))?;
    thread::sleep(Duration::from_millis(300));
    gateway.process()?.kill()?;
    gateway.launch()?;
    thread::sleep(Duration::from_secs(1));
    ensure!(
        gateway.status()?.is(&["down", "up", "up"]),
        "{:?}",
        gateway.status()?
    );
    ensure_undisturbed(&stream.stop()?)
}

/// An uplink that fails while no controller runs is found by the next one.
#[test]
fn what_happened_while_no_controller_ran_is_found_out() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    for cut in [Cut::Carrier, Cut::Blackhole] {
        gateway.process()?.kill()?;
        lab.cut(0, cut)?;
        gateway.launch()?;
        gateway.wait_for_state(0, "down")?;
        gateway.process()?.kill()?;
        lab.restore(0, cut)?;
        gateway.launch()?;
        gateway.wait_until_all_up()?;
    }
    Ok(())
}

/// `multihome detach` ends a running controller and removes programs and pinned state; the
/// kernel's own forwarding then serves the hosts.
#[test]
fn detach_leaves_nothing_behind() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    ensure!(with_xdp(&lab)? == 5, "not all five devices have a program");
    let detach = gateway.run("detach", &[])?;
    ensure!(
        detach.status.success(),
        "{}",
        String::from_utf8_lossy(&detach.stderr)
    );
    let status = gateway.process()?.wait(Duration::from_secs(5))?;
    ensure!(status.success(), "{status}");
    ensure!(with_xdp(&lab)? == 0, "programs are still attached");
    ensure!(!leaves_state(&lab)?, "pinned state is left");
    for family in [Family::V4, Family::V6] {
        ping::ping(&lab, 0, family.server(), &[])?;
    }
    // And all works again after that.
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    ensure!(with_xdp(&lab)? == 5, "not all five devices have a program");
    Ok(())
}

/// `multihome detach` also removes what a killed controller has left.
#[test]
fn detach_works_without_a_controller() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    gateway.process()?.kill()?;
    ensure!(
        with_xdp(&lab)? == 5,
        "the programs did not outlive the controller"
    );
    let detach = gateway.run("detach", &[])?;
    ensure!(
        detach.status.success(),
        "{}",
        String::from_utf8_lossy(&detach.stderr)
    );
    ensure!(with_xdp(&lab)? == 0, "programs are still attached");
    ensure!(!leaves_state(&lab)?, "pinned state is left");
    Ok(())
}

/// With --detach-on-exit a controller removes everything when it is stopped.
#[test]
fn detach_on_exit_leaves_nothing_behind() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut settings = Settings::from_environment()?;
    settings.options.push(String::from("--detach-on-exit"));
    let mut gateway = Gateway::start(&lab, settings)?;
    gateway.process()?.signal(Signal::SIGTERM)?;
    let status = gateway.process()?.wait(Duration::from_secs(5))?;
    ensure!(status.success(), "{status}");
    ensure!(with_xdp(&lab)? == 0, "programs are still attached");
    ensure!(!leaves_state(&lab)?, "pinned state is left");
    Ok(())
}

/// A controller that starts with another XDP mode attaches in that one, to every device.
#[test]
fn another_xdp_mode_is_taken_up_at_a_restart() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut settings = Settings::from_environment()?;
    settings
        .options
        .extend(["--xdp-mode", "generic"].map(String::from));
    let mut gateway = Gateway::start(&lab, settings)?;
    ensure!(modes(&lab)? == [2; 5], "not generic: {:?}", modes(&lab)?);
    for (mode, number) in [("native", 1), ("generic", 2)] {
        gateway.process()?.signal(Signal::SIGTERM)?;
        gateway.process()?.wait(Duration::from_secs(5))?;
        gateway.set_option("--xdp-mode", mode)?;
        gateway.launch()?;
        gateway.wait_until_all_up()?;
        ensure!(
            modes(&lab)? == [number; 5],
            "not {mode}: {:?}",
            modes(&lab)?
        );
    }
    let output = gateway.run("detach", &[])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(with_xdp(&lab)? == 0, "programs are left");
    Ok(())
}

/// A start that fails at its last step has brought nothing up, so it says of no uplink that it is;
/// and the next start finds nothing that it could take for an earlier controller's.
#[test]
fn a_start_that_fails_at_the_end_tells_of_no_uplink_and_leaves_nothing() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    // The last uplink's device cannot send what is redirected to it.
    lab.uplinks[2].isp.offloads("gw", &["gro", "off"])?;
    let mut command = lab.gateway.command(Settings::from_environment()?.binary);
    let run = lab.lab.dir().join("run");
    command.arg("run").arg("--run-dir").arg(&run);
    command.arg("--lan").args(lab.ports());
    command.args(["--metrics-listen", "off"]);
    command.args(["--uplink", "fiber=wan0", "--uplink", "mobile=wan2"]);
    let mut process = lab.lab.spawn("multihome", command)?;
    let status = process.wait(Duration::from_secs(15))?;
    ensure!(status.code() == Some(2), "{status}\n{}", process.said());
    let said = process.said();
    ensure!(said.contains("wan2: the driver does not send"), "{said}");
    ensure!(!said.contains("next hop found"), "{said}");
    ensure!(with_xdp(&lab)? == 0, "programs are left");
    ensure!(!leaves_state(&lab)?, "pins or a mount are left");
    Ok(())
}
