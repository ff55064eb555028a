//! The demo shows what it promises to, and leaves nothing behind.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::lab::controller::Settings;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn demo() -> Result<Command> {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.arg("--binary")
        .arg(Settings::from_environment()?.binary);
    Ok(demo)
}

/// Fails if a namespace or a file of that process remains.
fn ensure_nothing_of(pid: u32) -> Result<()> {
    for place in ["/run/netns", "/tmp"] {
        for entry in fs::read_dir(place)? {
            let name = entry?.file_name();
            let own = name.to_string_lossy().starts_with(&format!("mh{pid}-"));
            ensure!(!own, "{place} still has {name:?}");
        }
    }
    Ok(())
}

/// The last line of `demo --json` is the results, in agreement with the exit code; nothing is
/// lost on other uplinks, and TCP survives.
#[test]
fn the_demo_ends_with_its_results_as_json() -> Result<()> {
    let child = demo()?
        .args(["--json", "--trials", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines = String::from_utf8(output.stdout)?;
    ensure!(
        lines.lines().count() == 1,
        "stdout has more than the results:\n{lines}\n{told}"
    );
    let report: serde_json::Value = serde_json::from_str(&lines)?;
    for kind in ["carrier_failover_ms", "blackhole_failover_ms"] {
        ensure!(report[kind]["trials"] == 1, "{report}");
        for percentile in ["p50", "p99", "max"] {
            ensure!(
                report[kind][percentile].as_f64().is_some_and(|ms| ms > 0.0),
                "{report}"
            );
        }
    }
    let shares = report["shares"].as_object().context("shares by uplink")?;
    let sum: f64 = shares.values().filter_map(serde_json::Value::as_f64).sum();
    ensure!(shares.len() == 3 && (sum - 1.0).abs() < 0.001, "{report}");
    ensure!(report["lost_on_other_uplinks"] == 0, "{report}\n{told}");
    ensure!(report["tcp_survived"] == true, "{report}\n{told}");
    ensure!(
        output.status.success() == (report["ok"] == true),
        "{} {report}",
        output.status
    );
    ensure_nothing_of(pid)
}

/// An interrupted demo removes its lab before it ends.
#[test]
fn an_interrupted_demo_leaves_nothing_behind() -> Result<()> {
    let mut child = demo()?
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    let running = lines.any(|line| line.is_ok_and(|line| line.contains("the gateway runs")));
    ensure!(
        running,
        "the demo did not get to where it is to be interrupted"
    );
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(130), "{status}");
    ensure_nothing_of(child.id())
}

/// Without the gateway's program, or with another one, the demo says so and fails.
#[test]
fn a_demo_without_the_gateways_program_fails() -> Result<()> {
    for (binary, said) in [("/nonexistent", "/nonexistent"), ("/bin/false", "ended")] {
        let output = Command::new(env!("CARGO_BIN_EXE_demo"))
            .args(["--binary", binary])
            .output()?;
        ensure!(
            output.status.code() == Some(1),
            "{binary}: {}",
            output.status
        );
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(told.contains(said), "{binary}: {told}");
    }
    Ok(())
}
