//! BFD speakers of other projects at an ISP: FRR's bfdd, and BIRD. Their configurations are those of
//! the guide, with the lab's addresses.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::lab::{Process, topology::GatewayLab};

/// The longest time that a daemon may take to start.
const START: Duration = Duration::from_secs(20);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// FRR's bfdd, with zebra, which tells it of devices.
    Frr,
    /// BIRD 2.
    Bird,
}

/// How a speaker is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The program.
    pub program: Program,
    /// The interval in both directions, in milliseconds.
    pub interval: u32,
    /// The detection multiplier.
    pub multiplier: u8,
    /// It waits for the gateway's first packet.
    pub passive: bool,
}

impl Setup {
    /// 10 ms x3, as fast as either goes here.
    pub const fn fast(program: Program) -> Self {
        Self {
            program,
            interval: 10,
            multiplier: 3,
            passive: false,
        }
    }
}

/// A session as the speaker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The gateway's address.
    pub gateway: IpAddr,
    /// The state, in lower case: `up`, `down`, `init`, `shutdown` or `admindown`.
    pub state: String,
    /// All that the program says of it.
    pub text: String,
}

/// A BFD speaker at an ISP, with a session for each family.
pub struct Speaker<'lab> {
    lab: &'lab GatewayLab,
    uplink: usize,
    setup: Setup,
    dir: PathBuf,
    /// The gateway's addresses as the ISP sees them.
    gateways: [IpAddr; 2],
    /// What speaks BFD comes last.
    processes: Vec<Process>,
}

impl<'lab> Speaker<'lab> {
    /// Starts a speaker at the ISP of an uplink.
    pub fn start(lab: &'lab GatewayLab, uplink: usize, setup: Setup) -> Result<Self> {
        let name = format!("bfd-{uplink}-{:?}", setup.program).to_lowercase();
        let dir = lab.lab.dir().join(name);
        fs::create_dir_all(&dir)?;
        let gateways = [
            lab.uplinks[uplink].addresses.gateway4.into(),
            link_local(lab, uplink)?.into(),
        ];
        let mut speaker = Self {
            lab,
            uplink,
            setup,
            dir,
            gateways,
            processes: Vec::new(),
        };
        speaker.launch()?;
        Ok(speaker)
    }

    /// Starts it again, after it has ended.
    pub fn launch(&mut self) -> Result<()> {
        self.processes.clear();
        match self.setup.program {
            Program::Frr => self.launch_frr(),
            Program::Bird => self.launch_bird(),
        }
    }

    /// The process that speaks BFD.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.processes.last_mut().context("it does not run")
    }

    /// Stops it as a lack of CPU would, or lets it go on.
    pub fn freeze(&mut self, frozen: bool) -> Result<()> {
        let signal = if frozen {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        self.process()?.signal(signal)
    }

    /// Holds FRR's sessions down administratively, or no more. BIRD has no such thing.
    pub fn hold_down(&self, held: bool) -> Result<()> {
        let word = if held { "shutdown" } else { "no shutdown" };
        for gateway in self.gateways {
            let peer = self.frr_peer(gateway);
            self.bfdd(&["configure terminal", "bfd", &peer, word])?;
        }
        Ok(())
    }

    /// Its sessions.
    pub fn sessions(&self) -> Result<Vec<Seen>> {
        match self.setup.program {
            Program::Frr => {
                let peers = self.bfdd(&["show bfd peers json"])?;
                let peers: Vec<serde_json::Value> =
                    serde_json::from_str(&peers).with_context(|| format!("bfdd says {peers}"))?;
                let seen = peers.iter().filter_map(|peer| {
                    Some(Seen {
                        gateway: peer["peer"].as_str()?.parse().ok()?,
                        state: peer["status"].as_str()?.to_owned(),
                        text: peer.to_string(),
                    })
                });
                Ok(seen.collect())
            }
            Program::Bird => {
                let table = self.birdc(&["show", "bfd", "sessions"])?;
                let seen = table.lines().filter_map(|line| {
                    let mut words = line.split_whitespace();
                    Some(Seen {
                        gateway: words.next()?.parse().ok()?,
                        state: words.nth(1)?.to_lowercase(),
                        text: line.to_owned(),
                    })
                });
                Ok(seen.collect())
            }
        }
    }

    /// Waits until all of its sessions are as wanted.
    pub fn wait_for(
        &self,
        what: &str,
        at_most: Duration,
        wanted: impl Fn(&Seen) -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            let sessions = self.sessions()?;
            if sessions.len() == self.gateways.len() && sessions.iter().all(&wanted) {
                return Ok(());
            }
            if start.elapsed() > at_most {
                bail!(
                    "{:?}: not {what} within {at_most:?}: {sessions:#?}",
                    self.setup.program
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn frr_peer(&self, gateway: IpAddr) -> String {
        let isp = &self.lab.uplinks[self.uplink].addresses;
        match gateway {
            IpAddr::V4(gateway) => {
                format!("peer {gateway} local-address {} interface gw", isp.isp4)
            }
            IpAddr::V6(gateway) => format!(
                "peer {gateway} local-address {} interface gw",
                crate::lab::topology::NEXT_HOP6
            ),
        }
    }

    fn launch_frr(&mut self) -> Result<()> {
        let Setup {
            interval,
            multiplier,
            passive,
            ..
        } = self.setup;
        let mut config = String::from("bfd\n");
        for gateway in self.gateways {
            config += &format!(
                " {}\n  receive-interval {interval}\n  transmit-interval {interval}\n  \
                 detect-multiplier {multiplier}\n{}  no shutdown\n !\n",
                self.frr_peer(gateway),
                if passive { "  passive-mode\n" } else { "" }
            );
        }
        fs::write(self.dir.join("bfdd.conf"), config)?;
        fs::write(self.dir.join("zebra.conf"), "")?;
        let zserv = self.dir.join("zserv.api");
        for (daemon, listens) in [("zebra", &zserv), ("bfdd", &self.dir.join("bfdd.vty"))] {
            // A socket of an earlier process would be taken for this one's.
            let _ = fs::remove_file(listens);
            let dir = self.dir.display();
            let mut words = vec![
                daemon.to_owned(),
                "--user=root".into(),
                "--group=root".into(),
                "--vty_port=0".into(),
                format!("--vty_socket={dir}"),
                format!("--socket={dir}/zserv.api"),
                format!("--config_file={dir}/{daemon}.conf"),
                format!("--pid_file={dir}/{daemon}.pid"),
                "--log=stdout".into(),
            ];
            if daemon == "bfdd" {
                words.push(format!("--bfdctl={dir}/bfdd.sock"));
            }
            self.run(daemon, &words)?;
            let process = self.processes.last_mut().context("just started")?;
            process.wait_until("listening", START, |_| listens.exists())?;
        }
        let start = Instant::now();
        while self.sessions().map_or(0, |sessions| sessions.len()) < self.gateways.len() {
            let process = self.processes.last().context("just started")?;
            if start.elapsed() > START {
                bail!(
                    "bfdd has no sessions: {:?}\n{}",
                    self.sessions(),
                    process.said()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn launch_bird(&mut self) -> Result<()> {
        let Setup {
            interval,
            multiplier,
            passive,
            ..
        } = self.setup;
        let neighbors: String = self
            .gateways
            .iter()
            .map(|gateway| {
                let local = match gateway {
                    IpAddr::V4(_) => IpAddr::from(self.lab.uplinks[self.uplink].addresses.isp4),
                    IpAddr::V6(_) => crate::lab::topology::NEXT_HOP6.into(),
                };
                format!("  neighbor {gateway} dev \"gw\" local {local};\n")
            })
            .collect();
        let config = format!(
            "router id 192.0.2.1;\nprotocol device {{ }}\nprotocol bfd {{\n  interface \"gw\" {{\n    \
             interval {interval} ms;\n    multiplier {multiplier};\n    passive {};\n  \
             }};\n{neighbors}}}\n",
            if passive { "yes" } else { "no" }
        );
        fs::write(self.dir.join("bird.conf"), config)?;
        let socket = self.dir.join("bird.ctl");
        let _ = fs::remove_file(&socket);
        let dir = self.dir.display();
        let words = [
            "bird".to_owned(),
            "-f".into(),
            "-c".into(),
            format!("{dir}/bird.conf"),
            "-s".into(),
            format!("{dir}/bird.ctl"),
            "-P".into(),
            format!("{dir}/bird.pid"),
        ];
        self.run("bird", &words)?;
        let process = self.processes.last_mut().context("just started")?;
        process.wait_until("listening", START, |_| socket.exists())
    }

    /// Starts a daemon at the ISP, before other programs where the machine allows it: what is tested is
    /// the gateway, not whether this machine has time for its neighbour.
    fn run(&mut self, label: &str, words: &[String]) -> Result<()> {
        let program = find(&words[0])?;
        let isp = &self.lab.uplinks[self.uplink].isp;
        // A mount namespace of its own: files that FRR leaves in /var/tmp go with it, and the group that
        // it insists on, which an installed package would have made, is there.
        let groups = self.dir.join("group");
        let known = fs::read_to_string("/etc/group").context("/etc/group")?;
        fs::write(&groups, format!("{known}frrvty:x:64999:root\n"))?;
        let script = "mount -t tmpfs none /var/tmp && mount --bind \"$1\" /etc/group || exit 1; shift; \
                      priority='chrt --fifo 20'; $priority true || priority=; exec $priority \"$@\"";
        let mut command = isp.command("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(&groups)
            .arg(&program)
            .args(&words[1..]);
        if let Some(libraries) = program.parent() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let process = self.lab.lab.spawn(label, command)?;
        self.processes.push(process);
        Ok(())
    }

    /// Says lines to bfdd as its own shell does (lib/vty.c of FRR): each ends with a zero byte, and so
    /// does the answer, followed by two more and the line's outcome.
    fn bfdd(&self, lines: &[&str]) -> Result<String> {
        let mut vty = UnixStream::connect(self.dir.join("bfdd.vty")).context("asking bfdd")?;
        vty.set_read_timeout(Some(START))?;
        let mut answer = Vec::new();
        for line in ["enable"].iter().chain(lines) {
            vty.write_all(line.as_bytes())?;
            vty.write_all(&[0])?;
            answer.clear();
            while answer.len() < 4 || answer[answer.len() - 4..answer.len() - 1] != [0; 3] {
                let mut byte = [0];
                vty.read_exact(&mut byte).context("bfdd does not answer")?;
                answer.push(byte[0]);
            }
            let outcome = answer.split_off(answer.len() - 4)[3];
            ensure!(
                outcome == 0,
                "bfdd says {outcome} to {line:?}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn birdc(&self, words: &[&str]) -> Result<String> {
        let mut command = self.lab.uplinks[self.uplink].isp.command(find("birdc")?);
        command.arg("-s").arg(self.dir.join("bird.ctl")).args(words);
        said(&mut command)
    }
}

/// What a command writes to stdout; fails when it fails.
fn said(command: &mut std::process::Command) -> Result<String> {
    let output = command.output().context("asking a BFD daemon")?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {stdout}{stderr}", output.status);
    }
    Ok(stdout)
}

/// A program on PATH.
fn find(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&path).map(|dir| dir.join(name));
    places
        .find(|place: &PathBuf| Path::is_file(place))
        .with_context(|| format!("{name} is not on PATH; `cargo xtask setup` gets it"))
}

/// The gateway's link-local address on an uplink.
pub fn link_local(lab: &GatewayLab, uplink: usize) -> Result<Ipv6Addr> {
    let device = &lab.uplinks[uplink].device;
    let words = [
        "ip", "-6", "-oneline", "address", "show", "dev", device, "scope", "link",
    ];
    let text = lab.gateway.output(&words)?;
    let address = text
        .split_whitespace()
        .skip_while(|word| *word != "inet6")
        .nth(1)
        .and_then(|address| address.split('/').next());
    let address = address.with_context(|| format!("{device} has no link-local address: {text}"))?;
    Ok(address.parse()?)
}
