//! What happens is told to those who follow it: what, why, and how long it took; and those who do not
//! listen are in nobody's way.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use multihome::events::{Kind, Record};
use multihome_tests::lab::{
    Process,
    controller::{Gateway, Settings},
    cut::Cut,
    topology::{GatewayLab, Plan},
};
use nix::sys::signal::Signal;

/// How long anything is waited for.
const LIMIT: Duration = Duration::from_secs(30);

/// The events in lines of JSON; a line that is still being written is left out.
fn records(text: &str) -> Vec<Record> {
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn follow<'lab>(
    lab: &'lab GatewayLab,
    gateway: &Gateway<'lab>,
    options: &[&str],
) -> Result<Process> {
    let mut command = gateway.command("events");
    command.args(["--follow", "--json"]).args(options);
    lab.lab.spawn("events", command)
}

/// The next event of a kind and an uplink that a follower has shown after one of this number.
fn wait_for(follower: &mut Process, kind: Kind, uplink: &str, after: u64) -> Result<Record> {
    let find = |follower: &Process| {
        records(&follower.stdout()).into_iter().find(|record| {
            record.kind == kind && record.uplink.as_deref() == Some(uplink) && record.seq > after
        })
    };
    follower.wait_until(&format!("showing {kind} of {uplink}"), LIMIT, |follower| {
        find(follower).is_some()
    })?;
    find(follower).context("it was there a moment ago")
}

/// Issue by issue as an operator sees it: a pulled cable, a silent loss, their end, a restart.
#[test]
fn cuts_are_told_with_causes_and_timings_and_outlive_the_controller() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let mut all = follow(&lab, &gateway, &["--last", "1000"])?;
    let mut cable = follow(&lab, &gateway, &["--last", "0", "--uplink", "cable"])?;
    wait_for(&mut all, Kind::UplinkUp, "mobile", 0)?;
    let first = records(&all.stdout());
    ensure!(first[0].kind == Kind::ControllerStarted, "{first:#?}");
    ensure!(
        first.iter().all(|record| record.schema_version == 1),
        "{first:#?}"
    );

    lab.cut(0, Cut::Carrier)?;
    let down = wait_for(&mut all, Kind::UplinkDown, "fiber", 0)?;
    ensure!(!down.initial && down.cause == "no carrier", "{down:?}");
    let moved = down.moved_ms.context("it has moved flows")?;
    ensure!(moved > 0.0 && moved < 30e3, "{down:?}");
    ensure!(
        down.noticed_ms.is_some_and(|noticed| noticed < 30e3),
        "{down:?}"
    );
    lab.restore(0, Cut::Carrier)?;
    let up = wait_for(&mut all, Kind::UplinkUp, "fiber", down.seq)?;
    ensure!(up.cause.contains("answered"), "{up:?}");

    lab.cut(1, Cut::Blackhole)?;
    let down = wait_for(&mut all, Kind::UplinkDown, "cable", up.seq)?;
    ensure!(down.cause.contains("lost"), "{down:?}");
    // Three probes that are sent every 100 ms, each up to a tenth earlier, have to be lost, and the last one
    // is waited for.
    let noticed = down.noticed_ms.context("its first sign is known")?;
    ensure!((150.0..30e3).contains(&noticed), "{down:?}");
    let of_path = records(&all.stdout())
        .into_iter()
        .find(|record| record.kind == Kind::PathDown && record.uplink.as_deref() == Some("cable"));
    ensure!(
        of_path.is_some_and(|path| path.family.is_some()),
        "no family"
    );
    lab.restore(1, Cut::Blackhole)?;
    wait_for(&mut all, Kind::UplinkUp, "cable", down.seq)?;
    wait_for(&mut cable, Kind::UplinkUp, "cable", down.seq)?;
    let others = records(&cable.stdout());
    ensure!(
        others
            .iter()
            .all(|record| record.uplink.as_deref() == Some("cable")),
        "{others:#?}"
    );

    let (_, metrics) = gateway.fetch("/metrics")?;
    for sample in [
        "multihome_events_total{kind=\"uplink_down\",uplink=\"fiber\"} 1\n",
        "multihome_events_total{kind=\"uplink_down\",uplink=\"cable\"} 1\n",
        "multihome_events_total{kind=\"uplink_down\",uplink=\"mobile\"} 0\n",
        "multihome_failover_noticed_seconds_count{uplink=\"cable\"} 1\n",
        "multihome_failover_duration_seconds_count{uplink=\"cable\"} 1\n",
    ] {
        ensure!(metrics.contains(sample), "no {sample} in {metrics}");
    }
    let log = gateway.process()?.stderr();
    ensure!(
        log.contains(&down.line()),
        "the log has not {:?}",
        down.line()
    );

    // The controller ends: followers are told, and what it left is shown.
    gateway.process()?.signal(Signal::SIGTERM)?;
    for follower in [&mut all, &mut cable] {
        follower.finish(LIMIT)?;
        ensure!(
            follower.stderr().contains("the controller has ended"),
            "{}",
            follower.said()
        );
    }
    let told = records(&all.stdout());
    let last = told.last().context("there were some")?;
    ensure!(last.kind == Kind::ControllerStopped, "{last:?}");
    for pair in told.windows(2) {
        ensure!(pair[1].seq == pair[0].seq + 1, "one is missing: {pair:?}");
    }
    gateway.process()?.wait(LIMIT)?;
    let left = gateway.run("events", &["--json"])?;
    ensure!(left.status.success(), "{left:?}");
    ensure!(
        records(&String::from_utf8(left.stdout)?) == told,
        "other events were left"
    );

    gateway.launch()?;
    gateway.wait_until_all_up()?;
    let again = gateway.run("events", &["--json", "--kind", "controller_started"])?;
    let again = records(&String::from_utf8(again.stdout)?);
    ensure!(
        again.len() == 2 && again[1].seq == last.seq + 1,
        "{again:#?}"
    );
    let lines = gateway.run("events", &["--last", "1000", "--uplink", "fiber"])?;
    let lines = String::from_utf8(lines.stdout)?;
    ensure!(
        lines.contains(" uplink_down        uplink fiber is down: no carrier"),
        "{lines}"
    );
    let gone = gateway.run("detach", &[])?;
    ensure!(gone.status.success(), "{gone:?}");
    let nothing = gateway.run("events", &[])?;
    ensure!(nothing.status.code() == Some(1), "{nothing:?}");
    ensure!(
        !lab.lab.dir().join("run").exists(),
        "the run directory is left"
    );
    Ok(())
}

/// `multihome events --follow | head -1` ends by itself, though nothing happens any more.
#[test]
fn a_pipe_that_is_closed_ends_the_follower() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let run_dir = lab.lab.dir().join("run");
    let binary = Settings::from_environment()?.binary;
    let mut shell = lab.gateway.command("sh");
    shell.args([
        "-c",
        "\"$0\" events --follow --run-dir \"$1\" | head -1; echo ended",
        binary.to_str().context("UTF-8")?,
        run_dir.to_str().context("UTF-8")?,
    ]);
    let mut shell = lab.lab.spawn("pipe", shell)?;
    let shown = shell.finish(LIMIT)?;
    ensure!(
        shown.lines().count() == 2 && shown.ends_with("ended\n"),
        "{shown}"
    );
    ensure!(shell.stderr().is_empty(), "{}", shell.said());
    // Ctrl-C ends one without a word.
    let mut follower = follow(&lab, &gateway, &[])?;
    wait_for(&mut follower, Kind::UplinkUp, "mobile", 0)?;
    follower.signal(Signal::SIGINT)?;
    follower.wait(LIMIT)?;
    ensure!(follower.stderr().is_empty(), "{}", follower.said());
    Ok(())
}

/// Followers that are stopped hold up neither the gateway nor those who read.
#[test]
fn followers_that_never_read_are_in_nobodys_way() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let socket = lab.lab.dir().join("run/control.sock");
    let ask = || -> Result<UnixStream> {
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(b"{\"command\":\"events\",\"follow\":true}\n")?;
        Ok(stream)
    };
    let mut follower = follow(&lab, &gateway, &[])?;
    wait_for(&mut follower, Kind::UplinkUp, "mobile", 0)?;
    let mut idle = Vec::new();
    for _ in 0..15 {
        let stream = ask()?;
        // It has been let in when it is answered; from then on it reads nothing.
        let mut first = [0];
        std::io::Read::read_exact(&mut &stream, &mut first)?;
        idle.push(stream);
    }
    let mut refused = String::new();
    BufReader::new(ask()?).read_line(&mut refused)?;
    ensure!(
        refused.contains("16 others read events already"),
        "{refused}"
    );
    let mut last = 0;
    for _ in 0..3 {
        lab.cut(0, Cut::Carrier)?;
        gateway.wait_for_state(0, "down")?;
        last = wait_for(&mut follower, Kind::UplinkDown, "fiber", last)?.seq;
        lab.restore(0, Cut::Carrier)?;
        gateway.wait_until_all_up()?;
        last = wait_for(&mut follower, Kind::UplinkUp, "fiber", last)?.seq;
    }
    Ok(())
}
