//! ping from a LAN host.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::flows::Family;
use crate::lab::{Process, patience, topology::GatewayLab};

/// What ping has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Requests sent.
    pub sent: u32,
    /// Replies received.
    pub received: u32,
}

/// A ping that runs until it is stopped.
pub struct Ping {
    process: Process,
}

impl Ping {
    /// Starts to ping once in each interval.
    pub fn start(lab: &GatewayLab, host: usize, to: IpAddr, interval: Duration) -> Result<Self> {
        let mut command = lab.hosts[host].namespace.command("ping");
        command.args([
            "-n",
            "-i",
            &interval.as_secs_f64().to_string(),
            &to.to_string(),
        ]);
        Ok(Self {
            process: lab.lab.spawn("ping", command)?,
        })
    }

    /// Stops and tells what was counted.
    pub fn stop(mut self) -> Result<Count> {
        self.process.signal(Signal::SIGINT)?;
        self.process.wait(Duration::from_secs(5))?;
        count(&self.process.stdout())
    }
}

/// Pings a few times, and fails unless each request is answered.
pub fn ping(lab: &GatewayLab, host: usize, to: IpAddr, options: &[&str]) -> Result<()> {
    let to = to.to_string();
    let wait = patience(Duration::from_secs(2)).as_secs().to_string();
    let mut words = vec!["ping", "-n", "-c", "3", "-i", "0.2", "-W", &wait];
    words.extend(options);
    words.push(&to);
    let count = count(&lab.hosts[host].namespace.output(&words)?)?;
    ensure!(
        count.sent == count.received,
        "host {host}: ping {to} {options:?}: {count:?}"
    );
    Ok(())
}

/// Pings the server and the gateway from each host, by both families; the server also with packets as large as
/// the LAN takes.
pub fn reach(lab: &GatewayLab) -> Result<()> {
    for (number, host) in lab.hosts.iter().enumerate() {
        for (family, size) in [(Family::V4, "1472"), (Family::V6, "1452")] {
            ping(lab, number, family.server(), &[])?;
            ping(lab, number, family.server(), &["-M", "do", "-s", size])?;
        }
        ping(lab, number, host.addresses.gateway4.into(), &[])?;
        ping(lab, number, host.addresses.gateway6.into(), &[])?;
    }
    Ok(())
}

/// The counts in ping's last lines.
fn count(output: &str) -> Result<Count> {
    let line = output
        .lines()
        .find(|line| line.contains("packets transmitted"))
        .with_context(|| format!("ping has printed no count:\n{output}"))?;
    let mut numbers = line.split([' ', ',']).filter_map(|word| word.parse().ok());
    let mut next = || {
        numbers
            .next()
            .with_context(|| format!("ping's counts: {line}"))
    };
    Ok(Count {
        sent: next()?,
        received: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_found_in_pings_output() {
        let output = "--- 10.0.0.1 ping statistics ---\n\
             30 packets transmitted, 29 received, +1 errors, 3.33333% packet loss, time 2915ms\n";
        assert_eq!(
            count(output).expect("it has counts"),
            Count {
                sent: 30,
                received: 29
            }
        );
        count("PING 10.0.0.1").expect_err("it has no counts");
    }
}
