//! The real gateway program in a lab: started, asked and stopped by its command line, as an
//! operator does it.

use std::{
    collections::BTreeMap,
    env, fs,
    path::PathBuf,
    process::Output,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use multihome::events::{Kind, Record};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Process, patience,
    topology::{GatewayLab, Uplink},
};
use crate::traffic::{clock, flows::Family};

/// The configuration file of [`Settings::with_file`], in the lab's folder.
pub const CONFIG: &str = "gw.toml";
/// The port of metrics and health.
pub const METRICS: &str = "127.0.0.1:9750";

/// How a gateway is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program.
    pub binary: PathBuf,
    /// More options of `multihome run`.
    pub options: Vec<String>,
    /// Variables of its environment, beyond this process's own.
    pub environment: Vec<(String, String)>,
    /// Addresses that each uplink probes, beyond its next hop.
    pub probe: Vec<String>,
    /// Names of the plan's uplinks that the options above configure in another way.
    pub leave_out: Vec<&'static str>,
    /// What each uplink does with addresses, as its option `mode` has it.
    pub mode: &'static str,
    /// More keys of each uplink's option, each with a comma before it.
    pub more: String,
}

impl Settings {
    /// Probes that notice a silent loss in three tenths of a second, as the demo has them: to the
    /// server, by both families. An uplink that returns takes new flows and its old ones at once, without
    /// having to show that it stays; and addresses stay as they are, since the lab's network knows the way to its LANs.
    pub fn new(binary: PathBuf) -> Self {
        Self {
            binary,
            options: [
                ["--probe-interval", "100ms"],
                ["--fall", "3"],
                ["--failback", "immediate"],
                ["--failback-after", "0s"],
                ["--damping-hold", "0s"],
            ]
            .concat()
            .into_iter()
            .map(String::from)
            .collect(),
            environment: Vec::new(),
            probe: [Family::V4, Family::V6]
                .map(|family| family.server().to_string())
                .into(),
            leave_out: Vec::new(),
            mode: "routed",
            more: String::new(),
        }
    }

    /// As [`Settings::new`], with the program that `MULTIHOME_BINARY` names.
    pub fn from_environment() -> Result<Self> {
        let binary = env::var_os("MULTIHOME_BINARY").context(
            "MULTIHOME_BINARY does not name the gateway's program; `cargo xtask test e2e` builds \
             it and sets it",
        )?;
        let binary = PathBuf::from(binary);
        ensure!(
            binary.is_file(),
            "MULTIHOME_BINARY: {} is no file",
            binary.display()
        );
        Ok(Self::new(binary))
    }

    /// As [`Settings::from_environment`], with a configuration file of this text in the lab's folder.
    pub fn with_file(lab: &GatewayLab, text: &str) -> Result<Self> {
        let mut settings = Self::from_environment()?;
        settings.add_file(lab, text)?;
        Ok(settings)
    }

    /// Adds a configuration file of this text, which is put into the lab's folder.
    pub fn add_file(&mut self, lab: &GatewayLab, text: &str) -> Result<()> {
        let file = lab.lab.dir().join(CONFIG);
        fs::write(&file, text)?;
        let file = file.to_str().context("a path of the lab's own")?;
        self.options.extend(["--config", file].map(String::from));
        Ok(())
    }
}

/// The gateway of a lab, running or not.
pub struct Gateway<'lab> {
    lab: &'lab GatewayLab,
    settings: Settings,
    process: Option<Process>,
}

/// What `multihome status --json` says.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// 1
    pub schema_version: u32,
    /// The controller's process id.
    pub pid: u32,
    /// The uplinks, in the order of the configuration.
    pub uplinks: Vec<UplinkStatus>,
    /// The groups, the default one first.
    pub groups: Vec<GroupStatus>,
}

/// What `multihome status --json` says of a group.
#[derive(Clone, Debug, Deserialize)]
pub struct GroupStatus {
    /// The configured name.
    pub name: String,
    /// How it stands in IPv4.
    pub ipv4: GroupFamilyStatus,
    /// How it stands in IPv6.
    pub ipv6: GroupFamilyStatus,
}

/// What `multihome status --json` says of a group in one family: names of uplinks.
#[derive(Clone, Debug, Deserialize)]
pub struct GroupFamilyStatus {
    /// They take new flows.
    pub eligible: Vec<String>,
    /// They are up.
    pub alive: Vec<String>,
    /// What speaks against giving them new flows.
    pub impediments: BTreeMap<String, Vec<String>>,
}

/// What `multihome status --json` says of an uplink that is drained: times as RFC 3339 has them.
#[derive(Clone, Debug, Deserialize)]
pub struct DrainStatus {
    /// Since when.
    pub since: String,
    /// Until when, if it has an end.
    pub until: Option<String>,
}

/// What `multihome status --json` says of an uplink.
#[derive(Clone, Debug, Deserialize)]
pub struct UplinkStatus {
    /// The configured name.
    pub name: String,
    /// The device.
    pub device: String,
    /// `up` or `down`
    pub state: String,
    /// When that state began, as RFC 3339 has it.
    pub since: String,
    /// The smoothed round-trip time of its probes.
    pub rtt_ms: Option<f64>,
    /// The share of its last probes that were lost, 0 to 1.
    pub loss: f64,
    /// The share of the traffic that it carries, 0 to 1.
    pub share: f64,
    /// Packets since the start, both ways.
    pub packets: u64,
    /// Bytes since the start, both ways.
    pub bytes: u64,
    /// The router that it sends to.
    pub next_hop: Option<String>,
    /// How it is drained, if it is.
    pub draining: Option<DrainStatus>,
    /// What is known of `ipv4` and `ipv6`; none of a family that the uplink does not have.
    pub families: BTreeMap<String, Option<FamilyStatus>>,
}

/// What `multihome status --json` says of an uplink's address family.
#[derive(Clone, Debug, Deserialize)]
pub struct FamilyStatus {
    /// `up` or `down`
    pub state: String,
    /// `routed`, `nat44` or `nptv6`
    pub mode: String,
    /// What inside IPv4 addresses are translated to.
    pub outside: Vec<String>,
    /// What the LAN's IPv6 prefix is translated to.
    pub prefix: Option<String>,
    /// Until when it is held back from new flows, if it is, as RFC 3339 has it.
    pub held_until: Option<String>,
    /// Its failures that are not forgotten.
    pub failures: u32,
    /// Its BFD session.
    pub bfd: Option<BfdStatus>,
}

/// What `multihome status --json` says of a BFD session.
#[derive(Clone, Debug, Deserialize)]
pub struct BfdStatus {
    /// The neighbour.
    pub peer: std::net::IpAddr,
    /// `up`, `init`, `down` or `admin_down`
    pub state: String,
    /// The same at the neighbour's end.
    pub remote_state: String,
    /// What made it so.
    pub cause: String,
    /// The negotiated time from one packet to the next.
    pub transmit_interval_ms: Option<f64>,
    /// How long the neighbour may be silent.
    pub detection_time_ms: Option<f64>,
}

impl Status {
    /// True when the default group has exactly these eligible uplinks in both families, in the order of the
    /// configuration.
    pub fn has_eligible(&self, names: &[&str]) -> bool {
        self.groups.first().is_some_and(|group| {
            [&group.ipv4, &group.ipv6]
                .iter()
                .all(|family| family.eligible == names)
        })
    }

    /// True when each uplink has this state, in order.
    pub fn is(&self, states: &[&str]) -> bool {
        self.uplinks
            .iter()
            .map(|uplink| uplink.state.as_str())
            .eq(states.iter().copied())
    }
}

impl UplinkStatus {
    /// True when it is up, with both families.
    pub fn is_up(&self) -> bool {
        let up = |family: &String| self.family_is_up(family);
        self.state == "up" && self.families.len() == 2 && self.families.keys().all(up)
    }

    /// True when `ipv4` or `ipv6` is up.
    pub fn family_is_up(&self, family: &str) -> bool {
        let family = self.families.get(family).and_then(Option::as_ref);
        family.is_some_and(|family| family.state == "up")
    }
}

impl<'lab> Gateway<'lab> {
    /// Starts the program, and waits until all uplinks are up.
    pub fn start(lab: &'lab GatewayLab, settings: Settings) -> Result<Self> {
        let gateway = Self::start_down(lab, settings)?;
        gateway.wait_until_all_up()?;
        Ok(gateway)
    }

    /// Starts the program, whether its uplinks are up or not.
    pub fn start_down(lab: &'lab GatewayLab, settings: Settings) -> Result<Self> {
        let mut gateway = Self {
            lab,
            settings,
            process: None,
        };
        gateway.launch()?;
        Ok(gateway)
    }

    /// Starts the program, and waits until the status is as wanted.
    pub fn start_until(
        lab: &'lab GatewayLab,
        settings: Settings,
        what: &str,
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Self> {
        let mut gateway = Self {
            lab,
            settings,
            process: None,
        };
        gateway.launch()?;
        gateway.wait_for(what, Duration::from_secs(60), wanted)?;
        Ok(gateway)
    }

    /// The command line that it was started with, for people to read.
    pub fn command_line(&self) -> String {
        let mut words = vec![
            String::from("multihome run --lan"),
            self.lab.ports().join(" "),
        ];
        words.extend(
            self.uplink_options()
                .map(|value| format!("--uplink {value}")),
        );
        words.extend(self.settings.options.iter().cloned());
        words.join(" ")
    }

    fn uplink_options(&self) -> impl Iterator<Item = String> {
        let configured = |uplink: &&Uplink| !self.settings.leave_out.contains(&uplink.plan.name);
        self.lab.uplinks.iter().filter(configured).map(|uplink| {
            let plan = &uplink.plan;
            let probe = self
                .settings
                .probe
                .iter()
                .map(|address| format!(",probe={address}"));
            let Settings { mode, more, .. } = &self.settings;
            let (name, device, weight) = (plan.name, &uplink.device, plan.weight);
            let probes = probe.collect::<String>();
            format!("{name}={device},weight={weight},mode={mode}{probes}{more}")
        })
    }

    /// Gives an option that has been given another value, from the next start on.
    pub fn set_option(&mut self, name: &str, value: &str) -> Result<()> {
        let options = &mut self.settings.options;
        let at = options.iter().position(|option| option == name);
        let given = at.and_then(|at| options.get_mut(at + 1));
        value.clone_into(given.with_context(|| format!("{name} was not given"))?);
        Ok(())
    }

    /// Starts the program again, after it has ended, and waits until it answers.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = self.command("run");
        command.envs(self.settings.environment.iter().cloned());
        command.arg("--lan").args(self.lab.ports());
        for value in self.uplink_options() {
            command.args(["--uplink", &value]);
        }
        command
            .args(["--metrics-listen", METRICS])
            .args(&self.settings.options);
        let mut process = self.lab.lab.spawn("multihome", command)?;
        process.wait_until("answering", Duration::from_secs(15), |_| {
            self.status().is_ok()
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// A command of the program in the gateway's namespace, with the same run directory.
    pub fn command(&self, subcommand: &str) -> std::process::Command {
        let mut command = self.lab.gateway.command(&self.settings.binary);
        command
            .arg(subcommand)
            .arg("--run-dir")
            .arg(self.lab.lab.dir().join("run"));
        command
    }

    /// Runs a command of the program to its end.
    pub fn run(&self, subcommand: &str, options: &[&str]) -> Result<Output> {
        let mut command = self.command(subcommand);
        command
            .args(options)
            .output()
            .with_context(|| format!("multihome {subcommand}"))
    }

    /// What `multihome status --json` says.
    pub fn status(&self) -> Result<Status> {
        self.json("status", &[])
    }

    /// The one object that a command prints with `--json` and these options.
    pub fn json<T: DeserializeOwned>(&self, subcommand: &str, options: &[&str]) -> Result<T> {
        let mut words = options.to_vec();
        words.push("--json");
        let output = self.run(subcommand, &words)?;
        if !output.status.success() {
            bail!(
                "multihome {subcommand} {words:?}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "multihome {subcommand} {words:?}: {}",
                String::from_utf8_lossy(&output.stdout)
            )
        })
    }

    /// Waits until the status is as wanted, and returns how long that took.
    pub fn wait_for(
        &self,
        what: &str,
        at_most: Duration,
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Duration> {
        let at_most = patience(at_most);
        let start = Instant::now();
        loop {
            let status = self.status()?;
            if wanted(&status) {
                return Ok(start.elapsed());
            }
            if start.elapsed() > at_most {
                bail!("not {what} within {at_most:?}: {status:#?}");
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until all uplinks are up, with both families.
    pub fn wait_until_all_up(&self) -> Result<Duration> {
        self.wait_for("all uplinks up", Duration::from_secs(15), |status| {
            status.uplinks.iter().all(UplinkStatus::is_up)
        })
    }

    /// Waits until one uplink has a state.
    pub fn wait_for_state(&self, uplink: usize, state: &str) -> Result<Duration> {
        let name = self.lab.uplinks[uplink].plan.name;
        self.wait_for(
            &format!("{name} {state}"),
            Duration::from_secs(15),
            |status| {
                status
                    .uplinks
                    .get(uplink)
                    .is_some_and(|uplink| uplink.state == state)
            },
        )
    }

    /// When an uplink went down, by what the status says, in nanoseconds of [`clock::now`] rounded down to
    /// milliseconds; waits until it is down.
    pub fn down_at(&self, uplink: usize) -> Result<u64> {
        self.wait_for_state(uplink, "down")?;
        let status = self.status()?;
        let since = &status
            .uplinks
            .get(uplink)
            .context("the status lacks an uplink")?
            .since;
        let since: jiff::Timestamp = since.parse().context("the status has no RFC 3339 time")?;
        let wall = u64::try_from(since.as_nanosecond())?;
        Ok(wall.wrapping_add_signed(clock::offset_of_wall_clock()))
    }

    /// When an event of this kind happened to an uplink, in nanoseconds of [`clock::now`], if one has
    /// since that time.
    pub fn event_since(&self, uplink: usize, kind: Kind, since: u64) -> Result<Option<u64>> {
        let name = self.lab.uplinks[uplink].plan.name;
        let words = ["--json", "--uplink", name, "--kind", kind.name()];
        let output = self.run("events", &words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "multihome events: {said}");
        let offset = clock::offset_of_wall_clock();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let record: Record = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let wall = u64::try_from(record.time.as_nanosecond())?;
            let at = wall.wrapping_add_signed(offset);
            if at >= since {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Fetches a path from the listener of metrics and health: the HTTP status and the body.
    pub fn fetch(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("http://{METRICS}{path}");
        let output = self.lab.gateway.output(&[
            "curl",
            "--silent",
            "--noproxy",
            "*",
            "--max-time",
            "5",
            "--write-out",
            "\n%{http_code}",
            &url,
        ])?;
        let (body, code) = output
            .rsplit_once('\n')
            .context("curl has printed no code")?;
        Ok((code.parse()?, body.to_owned()))
    }

    /// The running program.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process
            .as_mut()
            .context("the gateway's program does not run")
    }
}
