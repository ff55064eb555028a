//! A routing daemon fills the kernel's tables and empties them again, and the gateway does its work
//! meanwhile.

use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan},
    },
    traffic::{
        flows,
        stream::{ECHO_PORT, Stream},
    },
};

/// As many routes as make a control loop stand still that compares each with each.
const ROUTES: u32 = 10_000;
/// The longest time that a fail-over may take here; on an idle machine it is a few milliseconds.
const SOON_MS: f64 = 500.0;

/// A script that adds or deletes routes over the second uplink, no two next to each other.
fn routes(lab: &GatewayLab, how: &str, count: u32) -> Result<String> {
    let isp = lab.uplinks[1].addresses.isp4;
    let first = Ipv4Addr::new(198, 18, 0, 0).to_bits();
    let mut script = String::new();
    for n in 0..count {
        let destination = Ipv4Addr::from_bits(first + n * 2);
        writeln!(script, "route {how} {destination}/32 via {isp} dev wan1")?;
    }
    Ok(script)
}

/// Adds and deletes all routes until told to stop; returns how often.
fn churn(lab: &GatewayLab, stop: &AtomicBool) -> Result<u32> {
    let (add, delete) = (routes(lab, "add", ROUTES)?, routes(lab, "del", ROUTES)?);
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        lab.gateway.batch(&add)?;
        lab.gateway.batch(&delete)?;
        rounds += 1;
    }
    Ok(rounds)
}

/// Pulls a cable in the middle of the churn, and gives it back.
fn pull_a_cable(lab: &GatewayLab, gateway: &Gateway<'_>) -> Result<()> {
    let flows = flows::find(lab, 2, ECHO_PORT)?;
    let stream = Stream::start(lab, &flows, Duration::from_millis(1))?;
    thread::sleep(Duration::from_secs(1));
    let moment = lab.cut(0, Cut::Carrier)?;
    let asked = Instant::now();
    let down = gateway.status()?.uplinks[0].state == "down";
    let answered = asked.elapsed();
    thread::sleep(Duration::from_secs(1));
    ensure!(gateway.fetch("/healthz")?.0 == 200, "not healthy");
    lab.restore(0, Cut::Carrier)?;
    gateway.wait_until_all_up()?;
    let mut longest: f64 = 0.0;
    for flow in stream.stop()?.flows {
        if flow.first_uplink() == Some(0) {
            let failover = flow
                .failover_ms(moment.before)
                .context("it has not moved")?;
            longest = longest.max(failover);
        } else {
            flow.ensure_undisturbed()?;
        }
    }
    eprintln!("flows moved after {longest:.1} ms; status after {answered:?}, down: {down}");
    ensure!(longest < SOON_MS, "flows moved after {longest} ms");
    ensure!(
        answered < Duration::from_secs(10),
        "status after {answered:?}"
    );
    Ok(())
}

/// Ten thousand routes are added and deleted again and again. Flows leave a pulled cable as soon as
/// ever, and the status is told.
#[test]
fn a_cable_pulled_amid_ten_thousand_routes_moves_its_flows_at_once() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let worker = scope.spawn(|| churn(&lab, &stop));
        let result = (0..2).try_for_each(|_| pull_a_cable(&lab, &gateway));
        stop.store(true, Ordering::Relaxed);
        let rounds = worker.join().expect("the churn does not panic")?;
        eprintln!("{rounds} rounds of {ROUTES} routes");
        result
    })?;
    // The table is followed again: a prefix over an uplink is the kernel's to route.
    lab.gateway.batch(&routes(&lab, "add", 10)?)?;
    gateway.wait_until_all_up()?;
    Ok(())
}

/// Too many routes at the start are an error that names them, and nothing is left on the machine.
#[test]
fn too_many_routes_at_the_start_are_named_and_leave_nothing_behind() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    lab.gateway.batch(&routes(&lab, "add", 1100)?)?;
    let mut command = lab.gateway.command(Settings::from_environment()?.binary);
    let run = lab.lab.dir().join("run");
    command.arg("run").arg("--run-dir").arg(&run);
    command.arg("--lan").args(lab.ports());
    command.args(["--metrics-listen", "off", "--uplink", "fiber=wan0"]);
    let mut process = lab.lab.spawn("multihome", command)?;
    let status = process.wait(Duration::from_secs(15))?;
    ensure!(status.code() == Some(2), "{status}\n{}", process.said());
    ensure!(
        process.stderr().contains("import a default route only"),
        "{}",
        process.said()
    );
    let mounts = fs::read_to_string("/proc/1/mountinfo")?;
    let place = run.to_str().context("a path of the lab's own")?;
    ensure!(!mounts.contains(place), "the BPF file system is left");
    ensure!(!run.join("bpf").exists(), "the pins' place is left");
    Ok(())
}
