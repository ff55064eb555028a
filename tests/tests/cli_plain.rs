//! The command line by itself: help, version, checking a configuration, and who is told what when
//! no controller runs. Nothing here touches a device.

use std::{
    fs,
    io::Read as _,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::binary::binary;
use tempfile::TempDir;

fn run(arguments: &[&str]) -> Result<Output> {
    let output = Command::new(binary()?)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    Ok(output)
}

/// What it wrote to stdout. Fails when it failed or wrote to stderr.
fn stdout(arguments: &[&str]) -> Result<String> {
    let output = run(arguments)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{arguments:?}: {}\n{stderr}",
        output.status
    );
    ensure!(stderr.is_empty(), "{arguments:?}: {stderr}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn help_and_version_are_there() -> Result<()> {
    ensure!(stdout(&["--version"])?.trim() == concat!("multihome ", env!("CARGO_PKG_VERSION")));
    let help = stdout(&["--help"])?;
    for subcommand in ["run", "status", "flows", "prefix", "detach"] {
        ensure!(help.contains(&format!("\n  {subcommand} ")), "{help}");
        let own = stdout(&[subcommand, "--help"])?;
        ensure!(own.contains("--run-dir <DIR>"), "{own}");
    }
    ensure!(
        help.contains("Exit codes: 0 done, 1 failed while running, 2 "),
        "{help}"
    );
    let examples = stdout(&["run", "--help"])?;
    ensure!(
        examples.contains("--uplink fibre=eth1,weight=3,probe=9.9.9.9"),
        "{examples}"
    );
    Ok(())
}

/// Each example of the help is a command line that works, as far as that shows without devices.
#[test]
fn the_examples_of_the_help_are_right() -> Result<()> {
    let help = stdout(&["run", "--help"])?;
    let folder = TempDir::new()?;
    let file = folder.path().join("multihome.toml");
    fs::write(
        &file,
        "lan = \"lan0\"\n[[uplink]]\nname = \"cable\"\ndevice = \"eth2\"\n",
    )?;
    let joined = help.replace("\\\n", " ");
    let examples: Vec<&str> = joined
        .lines()
        .filter_map(|line| line.trim().strip_prefix("multihome run "))
        .collect();
    ensure!(examples.len() == 4, "{examples:?}");
    for example in examples {
        let own_file = file.to_str().context("a path of this test's own")?;
        let mut words: Vec<&str> = example
            .split_whitespace()
            .map(|word| {
                if word.starts_with("/etc/") {
                    own_file
                } else {
                    word
                }
            })
            .collect();
        words.insert(0, "run");
        if !words.contains(&"--check") {
            words.push("--check");
        }
        stdout(&words).context(example.to_owned())?;
    }
    Ok(())
}

/// What `--check` prints is a configuration that means the same.
#[test]
fn check_prints_the_configuration_in_full() -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("multihome.toml");
    let path = file.to_str().context("a path of this test's own")?;
    let first = stdout(&[
        "run",
        "--check",
        "--lan",
        "lan0",
        "lan1",
        "--uplink",
        "fibre=eth1,weight=5,quorum=2,probe=9.9.9.9,probe=tcp://9.9.9.9:853,\
         probe=https://example.net/ address=203.0.113.7 verify=false",
        "--uplink",
        "lte=wwan0,tier=2,gateway=192.0.2.1,gateway=fe80::1",
        "--probe-interval",
        "100ms",
        "--fall",
        "4",
        "--metrics-listen",
        "off",
        "--seed",
        "42",
        "--run-dir",
        "/run/b",
        "--xdp-mode",
        "generic",
        "--detach-on-exit",
        "--manage-routes=false",
    ])?;
    for line in [
        "lan = [\"lan0\", \"lan1\"]",
        "metrics_listen = \"off\"",
        "interval = \"100ms\"",
        "fall = 4",
        "rise = 3",
        "manage_routes = false",
        "quorum = 1",
        "rate = \"off\"",
        "probe = [\"9.9.9.9\", \"tcp://9.9.9.9:853\", \"https://example.net/ address=203.0.113.7 \
         verify=false\"]",
        "# Warning: uplink lte: no probe= target given, so only its next hop is watched: a failure \
         beyond that is not seen.",
        "gateway = [\"192.0.2.1\", \"fe80::1\"]",
    ] {
        ensure!(
            first.lines().any(|own| own == line),
            "{line} is not in\n{first}"
        );
    }
    fs::write(&file, &first)?;
    let again = stdout(&["run", "--check", "--config", path])?;
    ensure!(again == first, "{first}\nbecame\n{again}");
    let changed = stdout(&[
        "run",
        "--check",
        "--config",
        path,
        "--uplink",
        "lte,weight=9",
    ])?;
    ensure!(
        changed == first.replacen("weight = 1\n", "weight = 9\n", 1),
        "{changed}"
    );
    Ok(())
}

/// Without a controller, status fails with what to look at, and detach has nothing to do. Flows are
/// listed without one, but not without tables.
#[test]
fn without_a_controller_it_is_said_so() -> Result<()> {
    let folder = TempDir::new()?;
    let run_dir = folder.path().join("run");
    let path = run_dir.to_str().context("a path of this test's own")?;
    for json in [&[][..], &["--json"]] {
        let output = run(&[&["status", "--run-dir", path], json].concat())?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{}", output.status);
        ensure!(output.stdout.is_empty());
        let told = format!(
            "error: no controller answers on {path}/control.sock\n  help: is `multihome run` \
             running, with the same --run-dir?\n"
        );
        ensure!(stderr == told, "{stderr}");
    }
    for form in [&[][..], &["--json"], &["--uplink", "fibre"]] {
        let output = run(&[&["flows", "--run-dir", path], form].concat())?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{}", output.status);
        ensure!(output.stdout.is_empty());
        let told = format!(
            "error: no flow table below {path}: nothing is attached\n  help: was `multihome run` \
             started, with the same --run-dir?\n"
        );
        ensure!(stderr == told, "{stderr}");
    }
    for form in [&[][..], &["fibre"]] {
        let output = run(&[&["prefix", "--run-dir", path], form].concat())?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{}", output.status);
        ensure!(
            stderr.starts_with("error: no controller answers on "),
            "{stderr}"
        );
    }
    let told = stdout(&["detach", "--run-dir", path])?;
    ensure!(
        told == format!("nothing was attached: there is no {path}\n"),
        "{told}"
    );
    ensure!(!run_dir.exists(), "asking made a run directory");
    Ok(())
}

/// What a DHCPv6 client's hook tells while no controller runs is kept for the next one, and only what
/// can be a prefix of an uplink.
#[test]
fn a_prefix_is_kept_for_the_next_controller() -> Result<()> {
    let folder = TempDir::new()?;
    let run_dir = folder.path().join("run");
    let path = run_dir.to_str().context("a path of this test's own")?;
    let tell = |words: &[&str]| run(&[&["prefix", "--run-dir", path], words].concat());
    for (words, culprit) in [
        (["fibre", "2001:db8:1::1/48"], "bits set beyond its length"),
        (["fibre", "fe80::/64"], "link-local addresses"),
        (["fibre", "2001:db8::/80"], "its length is 1 to 64"),
        (["fi bre", "2001:db8:1::/48"], "uplink name"),
    ] {
        let output = tell(&words)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{}", output.status);
        ensure!(stderr.contains(culprit), "{culprit:?} is not in: {stderr}");
        ensure!(!run_dir.exists(), "{words:?} left something");
    }
    let kept = "fibre: no controller runs; 2001:db8:1::/48 is kept for the next one\n";
    for _ in 0..2 {
        let told = stdout(&["prefix", "--run-dir", path, "fibre", "2001:db8:1::/48"])?;
        ensure!(told == kept, "{told}");
    }
    stdout(&["prefix", "--run-dir", path, "lte", "2001:db8:2::/56"])?;
    let file = fs::read_to_string(run_dir.join("prefixes"))?;
    ensure!(
        file == "fibre 2001:db8:1::/48\nlte 2001:db8:2::/56\n",
        "{file}"
    );
    stdout(&["prefix", "--run-dir", path, "lte", "none"])?;
    stdout(&["detach", "--run-dir", path])?;
    ensure!(!run_dir.exists(), "detach has left something");
    Ok(())
}

/// A reader that wants only the first line is no error.
#[test]
fn a_reader_may_close_early() -> Result<()> {
    let mut child = Command::new(binary()?)
        .args(["run", "--check", "--lan", "lan0"])
        .args((0..64).flat_map(|n| ["--uplink".to_owned(), format!("uplink-{n}=eth{n}")]))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let status = child.wait()?;
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .context("it is piped")?
        .read_to_string(&mut stderr)?;
    ensure!(status.success() && stderr.is_empty(), "{status}: {stderr}");
    Ok(())
}
