//! iperf3 between a LAN host and the server.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::flows::Family;
use crate::lab::{Process, topology::GatewayLab};

/// A running server; it takes one client at a time.
pub struct Server {
    _process: Process,
}

/// What a client has measured.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// Megabits per second that the receiver got.
    pub mbit_per_second: f64,
    /// Segments that were sent again.
    pub retransmits: u64,
}

/// A running client.
pub struct Client {
    process: Process,
    duration: Duration,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub fn start(lab: &GatewayLab) -> Result<Self> {
        let mut command = lab.server.command("iperf3");
        command.args(["--server", "--forceflush"]);
        let mut process = lab.lab.spawn("iperf3-server", command)?;
        process.wait_until("listening", Duration::from_secs(5), |server| {
            server.stdout().contains("listening")
        })?;
        Ok(Self { _process: process })
    }
}

impl Client {
    /// Starts a client with more options of iperf3.
    pub fn start(
        lab: &GatewayLab,
        host: usize,
        family: Family,
        duration: Duration,
        options: &[&str],
    ) -> Result<Self> {
        let mut command = lab.hosts[host].namespace.command("iperf3");
        command.args(["--json", "--client", &family.server().to_string()]);
        command
            .args(["--time", &duration.as_secs().to_string()])
            .args(options);
        Ok(Self {
            process: lab.lab.spawn("iperf3-client", command)?,
            duration,
        })
    }

    /// Waits for the end. Fails when a connection did not live to it.
    pub fn finish(mut self) -> Result<Throughput> {
        let status = self.process.wait(self.duration + Duration::from_secs(20))?;
        let report: Value = serde_json::from_str(&self.process.stdout())
            .with_context(|| format!("what iperf3 has printed\n{}", self.process.said()))?;
        if let Some(error) = report["error"].as_str() {
            bail!("iperf3: {error}");
        }
        if !status.success() {
            bail!("iperf3: {status}\n{}", self.process.said());
        }
        let end = &report["end"];
        let bits = end["sum_received"]["bits_per_second"]
            .as_f64()
            .or_else(|| end["sum"]["bits_per_second"].as_f64())
            .context("iperf3 has printed no throughput")?;
        Ok(Throughput {
            mbit_per_second: bits / 1e6,
            retransmits: end["sum_sent"]["retransmits"].as_u64().unwrap_or(0),
        })
    }
}
