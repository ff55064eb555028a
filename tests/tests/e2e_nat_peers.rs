//! Real clients and servers through translation of both families: web, file transfer, shell, names, and
//! what a STUN server finds out about the gateway.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::Gateway,
        topology::{GatewayLab, Plan, SERVER4, UplinkPlan},
        translated::Translated,
    },
    traffic::{
        flows::Family,
        iperf,
        peers::{self, in_url},
    },
};

const BOTH: [Family; 2] = [Family::V4, Family::V6];

/// What a program of the first LAN host prints, which must end well.
fn host(lab: &GatewayLab, words: &[&str]) -> Result<String> {
    lab.hosts[0].namespace.output(words)
}

/// Files of several megabytes arrive unchanged over HTTP/1.1 and HTTP/2 from nginx.
#[test]
fn curl_downloads_by_both_versions_of_http() -> Result<()> {
    let Translated { lab, settings } = Translated::new(&Plan::private(), "")?;
    let _gateway = Gateway::start(&lab, settings)?;
    let (_nginx, data) = peers::nginx(&lab, 4_000_000)?;
    let file = lab.lab.dir().join("downloaded");
    let path = file.to_str().context("a path")?;
    for v6 in [false, true] {
        for (scheme, option, version) in [
            ("http", "--http1.1", "1.1"),
            ("https", "--http1.1", "1.1"),
            ("https", "--http2", "2"),
        ] {
            let url = format!("{scheme}://{}/data", in_url(v6));
            let said = host(
                &lab,
                &[
                    "curl",
                    "--silent",
                    "--show-error",
                    "--insecure",
                    option,
                    "--max-time",
                    "20",
                    "--output",
                    path,
                    "--write-out",
                    "%{http_version}",
                    &url,
                ],
            )?;
            ensure!(said == version, "{url}: HTTP/{said}");
            ensure!(fs::read(&file)? == data, "{url}: not as it was sent");
        }
    }
    Ok(())
}

/// iperf3 in one direction, in the other, in both, and over UDP.
#[test]
fn iperf_moves_data_in_all_directions() -> Result<()> {
    let Translated { lab, settings } = Translated::new(&Plan::private(), "")?;
    let _gateway = Gateway::start(&lab, settings)?;
    let _server = iperf::Server::start(&lab)?;
    for family in BOTH {
        for (options, least) in [
            (&["-P", "2"][..], 50.0),
            (&["-R"], 50.0),
            (&["--bidir"], 20.0),
            (&["-u", "-b", "20M", "-l", "1200"], 19.0),
        ] {
            let client = iperf::Client::start(&lab, 0, family, Duration::from_secs(1), options)?;
            let throughput = client.finish()?;
            ensure!(
                throughput.mbit_per_second > least,
                "{family:?} {options:?}: {throughput:?}"
            );
        }
    }
    Ok(())
}

/// Commands over SSH, and what FTP's passive mode opens beside its first connection.
#[test]
fn ssh_and_passive_ftp_work() -> Result<()> {
    let Translated { lab, settings } = Translated::new(&Plan::private(), "")?;
    let _gateway = Gateway::start(&lab, settings)?;
    let ftp = peers::vsftpd(&lab)?;
    let content = vec![b'f'; 300_000];
    fs::write(ftp.dir.join("files/data"), &content)?;
    for v6 in [false, true] {
        let url = format!("ftp://{}/data", in_url(v6));
        let got = host(
            &lab,
            &["curl", "--silent", "--show-error", "--max-time", "20", &url],
        )?;
        ensure!(got.as_bytes() == content, "{url}: {} bytes", got.len());
    }

    // An exchange of keys is proof enough: that nobody may log in here is said over the encrypted
    // connection.
    let _ssh = peers::dropbear(&lab)?;
    for family in BOTH {
        let mut command = lab.hosts[0].namespace.command("ssh");
        command
            .args(["-v", "-F", "/dev/null", "-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"])
            .args([
                "-o",
                "ConnectTimeout=10",
                "-o",
                "PreferredAuthentications=none",
            ])
            .arg(format!("nobody@{}", family.server()))
            .arg("true");
        let output = command.output().context("ssh")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            said.contains("SSH2_MSG_NEWKEYS received") && said.contains("Permission denied"),
            "{family:?}:\n{said}"
        );
    }
    Ok(())
}

/// Answers of DNS, also one of several kilobytes, which comes in fragments.
#[test]
fn dig_gets_small_and_large_answers() -> Result<()> {
    let Translated { lab, settings } = Translated::new(&Plan::private(), "")?;
    let _gateway = Gateway::start(&lab, settings)?;
    let _dns = peers::dnsmasq(&lab)?;
    for family in BOTH {
        let at = format!("@{}", family.server());
        let small = host(
            &lab,
            &[
                "dig",
                "+short",
                "+time=3",
                "+tries=1",
                &at,
                "small.test",
                "A",
            ],
        )?;
        ensure!(small.trim() == "192.0.2.77", "{family:?}: {small}");
        let large = host(
            &lab,
            &[
                "dig",
                "+time=3",
                "+tries=1",
                "+bufsize=8192",
                "+ignore",
                "+short",
                &at,
                "large.test",
                "TXT",
            ],
        )?;
        ensure!(
            large.lines().count() == 14 && large.len() > 14 * 240,
            "{family:?}:\n{large}"
        );
    }
    Ok(())
}

/// What RFC 5780's tests find: one mapping for all far ends, and by default a filter that lets in only
/// whom the host has sent to.
#[test]
fn a_stun_server_finds_the_nat_that_was_configured() -> Result<()> {
    for (more, filter) in [
        ("", "Address and Port Dependent Filtering"),
        (
            "[nat]\nfiltering = \"endpoint-independent\"",
            "Endpoint Independent Filtering",
        ),
    ] {
        // A mapping belongs to an uplink, and two servers may be reached by two.
        let plan = Plan {
            uplinks: vec![UplinkPlan::new("fiber", 1)],
            ..Plan::private()
        };
        let Translated { lab, settings } = Translated::new(&plan, more)?;
        let _gateway = Gateway::start(&lab, settings)?;
        let _stun = peers::turnserver(&lab)?;
        let said = host(
            &lab,
            &["turnutils_natdiscovery", "-m", "-f", &SERVER4.to_string()],
        )?;
        ensure!(
            said.contains("NAT with Endpoint Independent Mapping"),
            "{said}"
        );
        ensure!(said.contains(filter), "{said}");
    }
    Ok(())
}
