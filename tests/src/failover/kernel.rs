//! What multihome is compared with: a multipath route of the kernel, and a script that pings over each
//! uplink and takes the ones that do not answer out of the route, with the defaults that mwan3 documents.

use std::{
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{connection, loss::Loss, report::Outcome, watch};
use crate::lab::{
    Namespace, ip_batch,
    topology::{GatewayLab, NEXT_HOP6, SERVER4, Uplink},
};

/// Time from one ping to the next, after its answer or timeout (mwan3: `interval`).
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long an answer is waited for, in seconds (mwan3: `timeout`).
const PING_TIMEOUT: &str = "4";
/// Lost pings in a row that take an uplink out (mwan3: `down`).
const DOWN: u32 = 5;
/// Answered ones in a row that bring it back (mwan3: `up`).
const UP: u32 = 5;
/// How long a loss may take to be noticed; longer than the script can need.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long an uplink may take to be back.
const BACK: Duration = Duration::from_secs(120);
/// How far apart the packets of a watched flow are: there are many of them until a script notices.
const INTERVAL: Duration = Duration::from_millis(10);

/// A gateway of the kernel's own, with the script's threads.
pub(super) struct Kernel<'lab> {
    lab: &'lab GatewayLab,
    shared: Arc<Shared>,
    scripts: Vec<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    /// Which uplinks are in the route.
    online: Mutex<Vec<bool>>,
    gateway: Namespace,
    /// What names each uplink's next hop in a multipath route, by family, with its weight.
    next_hops: Vec<[String; 2]>,
}

impl<'lab> Kernel<'lab> {
    /// Sets the kernel up as such a gateway, and starts the script.
    pub(super) fn start(lab: &'lab GatewayLab, masquerade: bool) -> Result<Self> {
        lab.gateway.sysctl(&[
            "net.ipv4.fib_multipath_hash_policy=1",
            "net.ipv6.fib_multipath_hash_policy=1",
            // In the kernel's favour: by default it goes on using links without a carrier.
            "net.ipv4.conf.all.ignore_routes_with_linkdown=1",
            "net.ipv6.conf.all.ignore_routes_with_linkdown=1",
        ])?;
        if masquerade {
            lab.gateway.nft(
                "table ip nat { chain out { type nat hook postrouting priority srcnat; \
                 oifname \"wan*\" masquerade; }; }",
            )?;
        }
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            online: Mutex::new(vec![true; lab.uplinks.len()]),
            gateway: lab.gateway.clone(),
            next_hops: lab.uplinks.iter().map(next_hops).collect(),
        });
        shared.route()?;
        let script = |n: usize| {
            let (shared, device) = (Arc::clone(&shared), lab.uplinks[n].device.clone());
            thread::spawn(move || shared.follow(n, &device))
        };
        let scripts = (0..lab.uplinks.len()).map(script).collect();
        Ok(Self {
            lab,
            shared,
            scripts,
        })
    }

    /// Loses an uplink, and waits until all that used it has left it.
    pub(super) fn trial(&self, loss: Loss) -> Result<Outcome> {
        let (lab, cut) = (self.lab, loss.cut());
        let (uplink, took) = if loss == Loss::Connection {
            connection::trial(lab, PATIENCE)?
        } else {
            let flows = watch::find(lab)?;
            let took = watch::moved(lab, &flows, INTERVAL, 0, PATIENCE, || lab.cut(0, cut))?;
            (0, took)
        };
        lab.restore(uplink, cut)?;
        self.shared.wait_until_all_online()?;
        Ok(match took {
            Some(took) => Outcome::After(took),
            None => Outcome::NotWithin(PATIENCE),
        })
    }
}

impl Drop for Kernel<'_> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for script in self.scripts.drain(..) {
            // It has nothing more to say.
            drop(script.join());
        }
    }
}

impl Shared {
    /// Pings over one uplink until told to stop, and keeps the route as the answers are.
    fn follow(&self, n: usize, device: &str) {
        let (mut lost, mut answered) = (0, 0);
        while !self.stop.load(Ordering::Relaxed) {
            if self.answers(device) {
                (lost, answered) = (0, answered + 1);
            } else {
                (lost, answered) = (lost + 1, 0);
            }
            let is_online = self.online()[n];
            let wanted = if is_online {
                lost < DOWN
            } else {
                answered >= UP
            };
            if wanted != is_online {
                self.online()[n] = wanted;
                if let Err(error) = self.route() {
                    eprintln!("the script could not replace the route: {error:#}");
                }
            }
            self.pause();
        }
    }

    fn answers(&self, device: &str) -> bool {
        let target = SERVER4.to_string();
        self.gateway
            .command("ping")
            .args(["-I", device, "-c", "1", "-W", PING_TIMEOUT, &target])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    fn pause(&self) {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = PING_INTERVAL;
        while !left.is_zero() && !self.stop.load(Ordering::Relaxed) {
            thread::sleep(STEP);
            left = left.saturating_sub(STEP);
        }
    }

    fn online(&self) -> std::sync::MutexGuard<'_, Vec<bool>> {
        self.online.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the multipath routes by ones of the uplinks that are online.
    fn route(&self) -> Result<()> {
        let online = self.online().clone();
        for (family, flag) in ["-4", "-6"].into_iter().enumerate() {
            let hops: Vec<&str> = self
                .next_hops
                .iter()
                .zip(&online)
                .filter(|(_, online)| **online)
                .map(|(hops, _)| hops[family].as_str())
                .collect();
            if hops.is_empty() {
                continue;
            }
            let script = format!("route replace default metric 10 {}\n", hops.join(" "));
            let namespace = self.gateway.full_name();
            ip_batch(&["-netns", namespace, flag, "-batch", "-"], &script)?;
        }
        Ok(())
    }

    fn wait_until_all_online(&self) -> Result<()> {
        let start = std::time::Instant::now();
        while !self.online().iter().all(|online| *online) {
            anyhow::ensure!(
                start.elapsed() < BACK,
                "the script has not brought an uplink back in {BACK:?}"
            );
            thread::sleep(Duration::from_millis(100));
        }
        // A link that was down has taken its part of the route along.
        self.route().context("restoring the route")
    }
}

fn next_hops(uplink: &Uplink) -> [String; 2] {
    let (device, weight) = (&uplink.device, uplink.plan.weight);
    let of = |next_hop: &str| format!("nexthop via {next_hop} dev {device} weight {weight}");
    [
        of(&uplink.addresses.isp4.to_string()),
        of(&NEXT_HOP6.to_string()),
    ]
}
