//! Whether the mirror can be relied on: any changes, lost events, and how fast a lost carrier is
//! told.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome::netlink::{NetEvent, NetState, Watcher};
use multihome_tests::lab::{Lab, Namespace};

mod follow;

use follow::{Follower, PATIENCE, inside, two_uplinks};

/// A number generator whose seed a failure can name (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }

    /// A line of iproute2's batch language that may well fail.
    fn line(&mut self) -> String {
        let device = format!("wan{}", self.below(2));
        let net = self.below(2);
        let (host, metric) = (2 + self.below(3), self.below(2));
        match self.below(14) {
            0 => format!("link set {device} down"),
            1 | 2 => format!("link set {device} up"),
            3 => format!("link set {device} mtu {}", 1300 + self.below(3) * 100),
            4 | 5 => format!("addr add 10.{net}.0.{host}/24 dev {device}"),
            6 => format!("addr del 10.{net}.0.{host}/24 dev {device}"),
            7 => format!("addr add fd0{net}::{host}/64 dev {device} nodad"),
            8 => format!("addr del fd0{net}::{host}/64 dev {device}"),
            9 => format!("route add default via 10.{net}.0.1 metric {metric}"),
            10 => format!("route append default via 10.{net}.0.9 metric {metric}"),
            11 => format!("route replace default via 10.{net}.0.{host} metric {metric}"),
            12 => format!("route append ::/0 via fd0{net}::9 metric {}", metric + 1),
            _ => format!("route del default metric {metric}"),
        }
    }
}

/// Whatever happens to the tables, the followed state ends as what a new listing says.
#[test]
fn after_any_changes_the_mirror_is_what_the_kernel_says() -> Result<()> {
    const ROUNDS: u64 = 12;
    let lab = Lab::new()?;
    let [here, _there] = two_uplinks(&lab)?;
    inside(&here, async |here| {
        let mut follower = Follower::start().await?;
        for seed in 0..ROUNDS {
            let mut random = Random(seed);
            let script: Vec<String> = (0..60).map(|_| random.line()).collect();
            // -force: lines that make no sense at that moment are skipped.
            let mut child = here
                .command("ip")
                .args(["-force", "-batch", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            child
                .stdin
                .take()
                .context("stdin")?
                .write_all(script.join("\n").as_bytes())?;
            child.wait()?;
            // Neighbours change by themselves, so they are left out.
            let same = |one: &NetState, other: &NetState| {
                one.links == other.links
                    && one.addresses == other.addresses
                    && one.routes == other.routes
            };
            let deadline = Instant::now() + PATIENCE;
            loop {
                let settled = Instant::now() + Duration::from_millis(250);
                while let Ok(event) = tokio::time::timeout_at(settled.into(), follower.next()).await
                {
                    event?;
                }
                let (_, truth) = Watcher::start().await?;
                if same(&truth, &follower.state) {
                    break;
                }
                ensure!(
                    Instant::now() < deadline,
                    "seed {seed}: followed {:#?}\nthe kernel says {truth:#?}\nafter {script:#?}",
                    follower.state
                );
            }
        }
        Ok(())
    })
}

/// Runs lines for `ip` one at a time, without starting a program for each.
struct Ip(Child);

impl Ip {
    fn start(namespace: &Namespace) -> Result<Self> {
        let child = Command::new("ip")
            .args(["-netns", namespace.full_name(), "-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .context("starting ip")?;
        Ok(Self(child))
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let stdin = self.0.stdin.as_mut().context("stdin")?;
        writeln!(stdin, "{line}")?;
        Ok(stdin.flush()?)
    }
}

impl Drop for Ip {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn a_lost_carrier_is_told_at_once() -> Result<()> {
    const TRIALS: usize = 30;
    let lab = Lab::new()?;
    let [here, there] = two_uplinks(&lab)?;
    let mut times = inside(&here, async |_| {
        let mut ip = Ip::start(&there)?;
        let mut follower = Follower::start().await?;
        let mut times = Vec::new();
        for _ in 0..TRIALS {
            follower
                .state("carrier", |state| state.links[&10].carrier)
                .await?;
            // The kernel reports what comes within a second of other news of links a little late.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let cut = Instant::now();
            ip.line("link set isp0 down")?;
            follower
                .state("no carrier", |state| !state.links[&10].carrier)
                .await?;
            times.push(cut.elapsed());
            ip.line("link set isp0 up")?;
        }
        Ok(times)
    })?;
    times.sort_unstable();
    let (median, worst) = (times[TRIALS / 2], times[TRIALS - 1]);
    println!(
        "from the command that takes the peer down to the event: median {median:?}, worst {worst:?}"
    );
    ensure!(
        median < Duration::from_millis(500),
        "median {median:?} of {times:?}"
    );
    Ok(())
}

#[test]
fn lost_events_are_made_up_for() -> Result<()> {
    const ROUTES: u32 = 120_000;
    let lab = Lab::new()?;
    let [here, _there] = two_uplinks(&lab)?;
    inside(&here, async |here| {
        here.batch("addr add 192.0.2.2/24 dev wan0")?;
        let mut follower = Follower::start().await?;
        // Far more than all queues hold, while nobody fetches an event.
        let lines = |how: &str, suffix: &str| {
            (0..ROUTES).fold(String::new(), |mut script, route| {
                let [_, a, b, c] = route.to_be_bytes();
                script.push_str(&format!("route {how} 10.{a}.{b}.{c}/32 {suffix}\n"));
                script
            })
        };
        here.batch(&lines("add", "via 192.0.2.1 dev wan0"))?;
        here.batch("link set wan1 name renamed mtu 1234")?;
        let mut resyncs = 0;
        let complete = |state: &NetState| {
            state.routes.iter().filter(|it| it.prefix_len == 32).count() == ROUTES as usize
                && state.links[&11].name == "renamed"
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while resyncs == 0 || !complete(&follower.state) {
            let event = tokio::time::timeout_at(deadline.into(), follower.next())
                .await
                .with_context(|| format!("{resyncs} resyncs, state incomplete"))??;
            resyncs += u32::from(matches!(event, NetEvent::Resynced(_)));
        }
        // And it still follows, with a long table, without delay.
        let cut = Instant::now();
        here.batch("link set renamed mtu 1235")?;
        follower
            .state("an event after it", |state| state.links[&11].mtu == 1235)
            .await?;
        println!(
            "{resyncs} resyncs; an event after them took {:?}",
            cut.elapsed()
        );
        Ok(())
    })
}
