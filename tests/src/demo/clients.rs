//! Real clients that run all the time while uplinks are cut: downloads by curl, iperf3 and ping.

use std::{thread, time::Duration};

use anyhow::Result;

use crate::{
    lab::topology::{GatewayLab, Plan},
    traffic::{
        flows::Family,
        http::{self, Download, Size},
        ping::{Count, Ping},
    },
};

/// Downloads of each host and family.
const DOWNLOADS: u16 = 4;

/// Bytes a second of a download.
const RATE: usize = 20_000;

/// Running clients.
pub(super) struct Clients {
    server: http::Server,
    downloads: Vec<Download>,
    on_each_uplink: Vec<usize>,
    pings: [Ping; 2],
    busiest: usize,
}

/// What became of the clients.
pub(super) struct Survival {
    /// Downloads that were started.
    pub(super) downloads: usize,
    /// Downloads among them that began on the uplink that was cut.
    pub(super) on_cut_uplink: usize,
    /// What was wrong with those that did not end as they should.
    pub(super) failures: Vec<String>,
    /// Bytes that were downloaded.
    pub(super) bytes: u64,
    /// What ping has counted, by IPv4 and IPv6.
    pub(super) pings: [Count; 2],
}

impl Survival {
    /// True when downloads lost their uplink, and all went on to their end.
    pub(super) fn all(&self) -> bool {
        self.failures.is_empty() && self.on_cut_uplink > 0
    }
}

impl Clients {
    /// Starts the clients, and waits until they all get something.
    pub(super) fn start(lab: &GatewayLab, busiest: usize) -> Result<Self> {
        let server = http::Server::start(lab)?;
        let opened = http::connections(lab, http::PORT)?;
        let mut downloads = Vec::new();
        let mut port = 40_000;
        for host in 0..lab.hosts.len() {
            for family in [Family::V4, Family::V6] {
                for _ in 0..DOWNLOADS {
                    downloads.push(Download::start(
                        lab,
                        host,
                        family,
                        port,
                        Size::Steady(RATE),
                    )?);
                    port += 1;
                }
            }
        }
        let ping =
            |family: Family| Ping::start(lab, 0, family.server(), Duration::from_millis(100));
        let pings = [ping(Family::V4)?, ping(Family::V6)?];
        while downloads.iter().any(|download| download.received() == 0) {
            for download in &mut downloads {
                download.check()?;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let mut on_each_uplink = vec![0; lab.uplinks.len()];
        for connection in opened.stop()? {
            on_each_uplink[connection.point] += 1;
        }
        Ok(Self {
            server,
            downloads,
            on_each_uplink,
            pings,
            busiest,
        })
    }

    /// What runs, in words.
    pub(super) fn introduction(&self, plan: &Plan) -> String {
        let on_each: Vec<String> = plan
            .uplinks
            .iter()
            .zip(&self.on_each_uplink)
            .map(|(uplink, count)| format!("{count} on {}", uplink.name))
            .collect();
        format!(
            "{} downloads by curl, started once and to live through all that follows: {}",
            self.downloads.len(),
            on_each.join(", ")
        )
    }

    /// Lets the downloads come to their end, and tells how they fared.
    pub(super) fn stop(self) -> Result<Survival> {
        self.server.complete();
        let mut survival = Survival {
            downloads: self.downloads.len(),
            on_cut_uplink: self.on_each_uplink[self.busiest],
            failures: Vec::new(),
            bytes: 0,
            pings: [Count {
                sent: 0,
                received: 0,
            }; 2],
        };
        for download in self.downloads {
            let port = download.port;
            match download.finish(Duration::from_secs(10)) {
                Ok(bytes) => survival.bytes += bytes,
                Err(error) => survival
                    .failures
                    .push(format!("from port {port}: {error:#}")),
            }
        }
        let [v4, v6] = self.pings;
        survival.pings = [v4.stop()?, v6.stop()?];
        Ok(survival)
    }
}
