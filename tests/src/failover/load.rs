//! What a gateway with as many uplinks as there may be takes of the machine while all is well.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_common::limits::MAX_UPLINKS;
use serde::Serialize;

use crate::lab::{
    Lab, Namespace, ip_batch,
    link::{End, FACING_XDP, Mac, pair},
};

/// Remote targets of each uplink.
const TARGETS: [&str; 4] = ["198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.0.4"];
/// How long the gateway has run before it is looked at.
const SETTLED: Duration = Duration::from_secs(10);
/// How long all uplinks may take to be up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The share of one core that is promised.
pub const CPU_TARGET: f64 = 0.03;
/// The memory that is promised, in bytes.
pub const RSS_TARGET: u64 = 40_000_000;

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    /// Uplinks, each with four remote targets.
    pub uplinks: usize,
    /// The share of one core that the process took.
    pub cpu: f64,
    /// What it has in memory, in bytes, the tables that it shares with the kernel among it.
    pub rss: u64,
    /// Over how many seconds.
    pub seconds: u64,
}

/// Starts a gateway with 64 uplinks of four targets each, and looks at it for so many seconds.
pub(super) fn measure(binary: &Path, seconds: u64) -> Result<Load> {
    let lab = Lab::new()?;
    let [gateway, far] = lab.namespaces(["gw", "far"])?;
    let config = connect(&lab, &gateway, &far)?;
    if thread::available_parallelism()?.get() > 1 {
        receive_elsewhere(&[&far, &gateway])?;
    }
    let mut command = gateway.command("taskset");
    command.args(["--cpu-list", "0"]).arg(binary);
    command.arg("run").arg("--config").arg(&config);
    let mut process = lab.spawn("multihome", command)?;
    let run_dir = lab.dir().join("run");
    let up = || -> Result<usize> {
        let output = gateway
            .command(binary)
            .args(["status", "--json", "--run-dir"])
            .arg(&run_dir)
            .output()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let uplinks = status["uplinks"].as_array().context("no uplinks")?;
        // An answer that was timed shows that probes are answered, not only hoped for.
        let is_up =
            |uplink: &&serde_json::Value| uplink["state"] == "up" && !uplink["rtt_ms"].is_null();
        Ok(uplinks.iter().filter(is_up).count())
    };
    process.wait_until("all uplinks are up", PATIENCE, |_| {
        up().is_ok_and(|up| up == MAX_UPLINKS)
    })?;
    thread::sleep(SETTLED);
    let before = cpu_time(process.id())?;
    let start = Instant::now();
    thread::sleep(Duration::from_secs(seconds));
    let took = cpu_time(process.id())? - before;
    let elapsed = start.elapsed().as_secs_f64();
    let up = up()?;
    ensure!(up == MAX_UPLINKS, "only {up} uplinks are up at the end");
    let load = Load {
        uplinks: MAX_UPLINKS,
        cpu: took / elapsed,
        rss: rss(process.id())?,
        seconds,
    };
    process.kill()?;
    let mut detach = gateway.command(binary);
    detach.arg("detach").arg("--run-dir").arg(&run_dir);
    ensure!(detach.output()?.status.success(), "multihome detach");
    lab.remove()?;
    Ok(load)
}

/// Has the kernel take what comes in on all devices to core 1, while the gateway runs on core 0. With veth, it
/// would otherwise do so, and answer for the other side, within the very system call that sends a probe, and
/// that would count as the gateway's time.
fn receive_elsewhere(namespaces: &[&Namespace]) -> Result<()> {
    let steer = "mount -t sysfs none /sys && \
                 for queue in /sys/class/net/*/queues/rx-0/rps_cpus; do echo 2 > $queue; done";
    for namespace in namespaces {
        // A mount namespace of its own: /sys shows the devices of whoever mounts it.
        namespace.output(&["unshare", "--mount", "sh", "-ec", steer])?;
    }
    Ok(())
}

/// Makes the devices, and returns the path of the configuration.
fn connect(lab: &Lab, gateway: &Namespace, far: &Namespace) -> Result<std::path::PathBuf> {
    for namespace in [gateway, far] {
        namespace.sysctl(&[
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.all.rp_filter=2",
            "net.ipv4.conf.default.rp_filter=2",
            "net.ipv4.icmp_ratelimit=0",
            "net.ipv4.icmp_msgs_per_sec=100000",
            "net.ipv6.conf.all.disable_ipv6=1",
            "net.ipv6.conf.default.disable_ipv6=1",
        ])?;
    }
    let names: Vec<(String, String)> = (0..MAX_UPLINKS)
        .map(|n| (format!("wan{n}"), format!("isp{n}")))
        .chain([("lan0".into(), "host".into())])
        .collect();
    let mut links = String::new();
    for (n, (near, other)) in (0u8..).zip(&names) {
        let near = End {
            namespace: gateway,
            device: near,
            index: 100 + u32::from(n),
            mac: Mac::local(3, n),
        };
        let other = End {
            namespace: far,
            device: other,
            index: 100 + u32::from(n),
            mac: Mac::local(4, n),
        };
        links += &pair(near, other, 1500);
    }
    ip_batch(&["-batch", "-"], &links)?;
    let mut at_gateway = String::from("addr add 10.1.0.1/24 dev lan0\nlink set lan0 up\n");
    let mut at_far = String::from("link set host up\n");
    for target in TARGETS {
        at_far += &format!("addr add {target}/32 dev lo\n");
    }
    let path = lab.dir().join("load.toml");
    let run_dir = lab.dir().join("run");
    let mut text = format!(
        "lan = [\"lan0\"]\nmetrics_listen = \"off\"\nrun_dir = {:?}\n",
        run_dir.display().to_string()
    );
    for n in 0..MAX_UPLINKS {
        at_gateway += &format!(
            "addr add 10.64.{n}.2/30 dev wan{n}\nlink set wan{n} up\n\
             route add default via 10.64.{n}.1 dev wan{n} metric {}\n",
            n + 100
        );
        at_far += &format!("addr add 10.64.{n}.1/30 dev isp{n}\nlink set isp{n} up\n");
        text += &format!("[[uplink]]\nname = \"u{n}\"\ndevice = \"wan{n}\"\nprobe = {TARGETS:?}\n");
    }
    far.batch(&at_far)?;
    for (_, other) in &names {
        far.offloads(other, &FACING_XDP)?;
    }
    gateway.batch(&at_gateway)?;
    fs::write(&path, text)?;
    Ok(path)
}

/// Seconds of processor time that a process has taken.
fn cpu_time(id: u32) -> Result<f64> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).context(path)?;
    // The name may have spaces; what follows its bracket has none.
    let (_, rest) = text.rsplit_once(')').context("a process has a name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks =
        |at: usize| -> Result<f64> { Ok(fields.get(at).context("too few fields")?.parse()?) };
    // SAFETY: the call takes no memory.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    // utime and stime, fields 14 and 15 of proc_pid_stat(5).
    Ok((ticks(11)? + ticks(12)?) / per_second)
}

fn rss(id: u32) -> Result<u64> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).context(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(kib.parse::<u64>()? * 1024)
}
