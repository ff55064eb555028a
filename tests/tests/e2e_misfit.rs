//! Devices without Ethernet headers: refused with what they are and what to do, and left alone when one takes the
//! name of an uplink's device under way.

use std::{fs, process::Output, time::Duration};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        topology::{GatewayLab, Plan},
    },
    traffic::flows::{self, Family},
};

/// What each refusal of a tunnel says.
const ADVICE: [&str; 3] = [
    "a tunnel that carries bare IP packets",
    "veth",
    "docs/guide.md",
];

fn ensure_refused(output: &Output, place: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "{output:?}");
    for words in ADVICE.iter().chain(&[place]) {
        ensure!(said.contains(words), "{words:?} is not in: {said}");
    }
    Ok(())
}

/// By flag and by file, at a start and by `--check`: exit code 2, the place, and what to do.
#[test]
fn a_tunnel_as_an_uplink_is_refused_with_what_to_do() -> Result<()> {
    let lab = GatewayLab::new(&Plan {
        hosts: 1,
        ..Plan::private()
    })?;
    let settings = Settings::from_environment()?;
    lab.gateway
        .batch("tuntap add dev tun9 mode tun\nlink set tun9 up\n")?;
    let run = |words: &[&str]| {
        let mut command = lab.gateway.command(&settings.binary);
        command
            .args(["run", "--run-dir"])
            .arg(lab.lab.dir().join("run"))
            .args(words);
        command.output().context("multihome run")
    };
    let by_flag = [
        "--lan",
        "lan0",
        "--uplink",
        "vpn=tun9",
        "--uplink",
        "cable=wan1",
    ];
    ensure_refused(&run(&by_flag)?, "--uplink vpn=tun9")?;
    ensure_refused(
        &run(&[&by_flag[..], &["--check"]].concat())?,
        "--uplink vpn=tun9",
    )?;
    let file = lab.lab.dir().join("vpn.toml");
    fs::write(
        &file,
        "lan = [\"lan0\"]\n\n[[uplink]]\nname = \"cable\"\ndevice = \"wan1\"\n\n\
         [[uplink]]\nname = \"vpn\"\ndevice = \"tun9\"\n",
    )?;
    let path = file.to_str().context("a path of the lab's own")?;
    ensure_refused(&run(&["--config", path])?, &format!("{path}:9"))?;
    ensure_refused(&run(&["--config", path, "--check"])?, &format!("{path}:9"))?;
    // Nothing was attached, and what can be used is not refused.
    let links = lab.gateway.output(&["ip", "link"])?;
    ensure!(!links.contains("xdp"), "{links}");
    let right = run(&["--lan", "lan0", "--uplink", "cable=wan1", "--check"])?;
    ensure!(right.status.success(), "{right:?}");
    // Of another machine's devices nothing can be known.
    let elsewhere = run(&["--lan", "lan7", "--uplink", "cable=wan7", "--check"])?;
    ensure!(elsewhere.status.success(), "{elsewhere:?}");
    Ok(())
}

/// An uplink's device goes, and a tunnel gets its name: the uplink stays down, says why, and takes no flow. With a
/// device of Ethernet it is used again.
#[test]
fn a_tunnel_that_takes_the_name_of_an_uplinks_device_is_left_alone() -> Result<()> {
    let lab = GatewayLab::new(&Plan {
        hosts: 1,
        ..Plan::default()
    })?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let flows = flows::many(200, 1, Family::V4);
    let before = flows::uplinks_of(&lab, &flows)?;
    lab.replug(0, || {
        lab.gateway
            .batch("tuntap add dev wan0 mode tun\nlink set wan0 up\n")?;
        gateway.wait_for_state(0, "down")?;
        let said = |words: &str| {
            let shown = gateway.run("status", &[]);
            shown.is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).contains(words))
        };
        gateway.wait_for("told why", Duration::from_secs(5), |_| said(ADVICE[0]))?;
        let during = flows::uplinks_of(&lab, &flows)?;
        ensure!(
            during
                .iter()
                .all(|taken| taken.is_some_and(|uplink| uplink != 0)),
            "flows are lost"
        );
        for (before, during) in before.iter().zip(&during) {
            ensure!(
                *before == Some(0) || before == during,
                "a flow of another uplink moved"
            );
        }
        lab.gateway.batch("link del wan0\n")
    })?;
    gateway.wait_until_all_up()?;
    ensure!(
        flows::uplinks_of(&lab, &flows)? == before,
        "flows are not as before"
    );
    Ok(())
}
