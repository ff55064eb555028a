//! Bad input to `multihome run`, in a gateway whose devices are real: each gets a message that
//! names the culprit, exit code 2, and nothing is attached or left behind.

use std::{
    fs, io,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use multihome_tests::{
    binary::binary,
    lab::{
        Lab, Namespace,
        controller::{Gateway, Settings},
        link::FACING_XDP,
        topology::{GatewayLab, Plan},
    },
};

/// The devices that a gateway could use.
const DEVICES: [&str; 3] = ["lan0", "eth1", "eth2"];

/// A namespace with devices that are up, and a bridge, which has no native XDP.
struct Bench {
    // Before the lab, which removes it.
    gateway: Namespace,
    lab: Lab,
}

impl Bench {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let [gateway] = lab.namespaces(["gw"])?;
        let mut script = String::new();
        for device in DEVICES {
            script.push_str(&format!(
                "link add {device} type veth peer name {device}-far\n"
            ));
            script.push_str(&format!("link set {device} up\nlink set {device}-far up\n"));
        }
        script.push_str("link add br0 type bridge\nlink set br0 up\n");
        gateway.batch(&script)?;
        for device in DEVICES {
            gateway.offloads(&format!("{device}-far"), &FACING_XDP)?;
        }
        Ok(Self { gateway, lab })
    }

    fn run_dir(&self) -> PathBuf {
        self.lab.dir().join("run")
    }

    /// `multihome run` with these words, in the namespace.
    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.gateway.command(binary()?);
        command
            .arg("run")
            .arg("--run-dir")
            .arg(self.run_dir())
            .args(words)
            .stdin(Stdio::null());
        Ok(command)
    }

    fn run(&self, words: &[&str]) -> Result<Output> {
        Ok(self.command(words)?.output()?)
    }

    /// A file of the lab's own.
    fn file(&self, text: &str) -> Result<PathBuf> {
        let path = self.lab.dir().join("gw.toml");
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Fails unless the program refused, named all of `culprits`, and left nothing.
    fn ensure_refused(&self, output: &Output, culprits: &[&str]) -> Result<()> {
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2),
            "{}\n{stderr}",
            output.status
        );
        ensure!(
            output.stdout.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        ensure!(stderr.contains("error: "), "{stderr}");
        ensure!(!stderr.contains("panicked"), "{stderr}");
        for culprit in culprits {
            ensure!(stderr.contains(culprit), "{culprit:?} is not in: {stderr}");
        }
        self.ensure_nothing_attached()?;
        let run_dir = self.run_dir();
        ensure!(!run_dir.exists(), "{} was left", run_dir.display());
        Ok(())
    }

    fn ensure_nothing_attached(&self) -> Result<()> {
        let links = self
            .gateway
            .output(&["ip", "-details", "-json", "link", "show"])?;
        let links: serde_json::Value = serde_json::from_str(&links)?;
        for link in links.as_array().context("ip prints a list")? {
            ensure!(link.get("xdp").is_none(), "a program is attached: {link}");
        }
        let mounts = fs::read_to_string("/proc/1/mountinfo")?;
        let run_dir = self.run_dir();
        ensure!(
            !mounts.contains(&run_dir.display().to_string()),
            "a mount was left"
        );
        Ok(())
    }
}

/// Mistakes in flags.
#[test]
fn bad_flags_are_refused() -> Result<()> {
    let bench = Bench::new()?;
    let rows: [(&[&str], &[&str]); 17] = [
        (&[], &["no LAN device is given", "--lan DEV"]),
        (
            &["--lan", "lan0"],
            &["no uplink is given", "--uplink NAME=DEV"],
        ),
        (
            &["--lan", "nosuch", "--uplink", "a=eth1"],
            &["--lan nosuch", "no device \"nosuch\""],
        ),
        (
            &["--lan", "lan0", "--uplink", "a=nosuch,weight=2"],
            &["--uplink a=nosuch,weight=2", "no device \"nosuch\""],
        ),
        (
            &["--lan", "lan0", "--uplink", "a=eth1", "--uplink", "b=eth1"],
            &[
                "--uplink b=eth1",
                "\"eth1\" is already uplink \"a\" (--uplink a=eth1)",
            ],
        ),
        (
            &["--lan", "lan0", "eth1", "--uplink", "a=eth1"],
            &["\"eth1\" is already a LAN device (--lan eth1)"],
        ),
        (
            &["--lan", "lan0", "lan0", "--uplink", "a=eth1"],
            &["--lan lan0", "\"lan0\" is already a LAN device"],
        ),
        (
            &["--lan", "lan0", "--uplink", "a=eth1", "--uplink", "a=eth2"],
            &["--uplink a=eth2", "already an uplink \"a\""],
        ),
        (
            &["--lan", "lan0", "--uplink", "a=eth1,weight=0"],
            &[
                "--uplink",
                "a=eth1,weight=0",
                "the weight is \"0\"",
                "from 1 to 1000000",
            ],
        ),
        (
            &["--lan", "lan0", "--uplink", "a=eth1,wieght=2"],
            &["unknown key \"wieght\"", "did you mean \"weight\"?"],
        ),
        (
            &["--lan", "lan0", "--uplink", "a=eth1,mode=nptv6"],
            &[
                "uplink \"a\" has mode nptv6 and no prefix",
                "--uplink a,prefix=",
            ],
        ),
        (
            &["--lan", "lan0", "--uplink", "a=eth1,gateway=224.0.0.1"],
            &["224.0.0.1 cannot be a gateway", "multicast"],
        ),
        (
            &[
                "--lan",
                "lan0",
                "--uplink",
                "a=eth1",
                "--probe-interval",
                "500",
            ],
            &["--probe-interval", "\"500ms\""],
        ),
        (
            &[
                "--lan",
                "lan0",
                "--uplink",
                "a=eth1",
                "--metrics-listen",
                "127.0.0.1",
            ],
            &["--metrics-listen", "\"127.0.0.1:9750\""],
        ),
        (
            &[
                "--lan",
                "lan0",
                "--uplink",
                "a=eth1",
                "--metrics-listen",
                "192.0.2.1:9750",
            ],
            &[
                "cannot serve metrics on 192.0.2.1:9750",
                "--metrics-listen off",
            ],
        ),
        (
            &["--lan", "lan0", "--uplink", "a=eth1", "--log", "x=y=z"],
            &["--log \"x=y=z\""],
        ),
        (
            &["--lan", "lan0", "--uplik", "a=eth1"],
            &["--uplik", "--uplink"],
        ),
    ];
    for (words, culprits) in rows {
        let output = bench.run(words)?;
        bench
            .ensure_refused(&output, culprits)
            .with_context(|| format!("run {words:?}"))?;
    }
    Ok(())
}

/// Mistakes in the file: the message has the file's name, the line and the column.
#[test]
fn bad_files_are_refused() -> Result<()> {
    let bench = Bench::new()?;
    let good = "lan = \"lan0\"\n[[uplink]]\nname = \"a\"\ndevice = \"eth1\"\n";
    let rows = [
        (
            format!("{good}wieght = 3\n"),
            ":5:1: unknown key \"wieght\" (did you mean \"weight\"?)",
        ),
        (
            format!("metric_listen = \"off\"\n{good}"),
            ":1:1: unknown key \"metric_listen\"",
        ),
        (format!("{good}weight = 0\n"), ":5:10: the weight is \"0\""),
        (
            good.replace("eth1", "nosuch"),
            ":4:10: there is no device \"nosuch\"",
        ),
        (
            good.replace("lan0", "nosuch"),
            ":1:7: there is no device \"nosuch\"",
        ),
        (
            format!("{good}[[uplink]]\nname = \"b\"\ndevice = \"eth1\"\n"),
            ":7:10: device \"eth1\" is already uplink \"a\"",
        ),
        (good.replace("[[", "(("), ":2:"),
        ("lan = \"lan0\"\n".into(), "no uplink is given"),
    ];
    for (text, message) in rows {
        let path = bench.file(&text)?;
        let path = path.to_str().context("a path of the lab's own")?;
        let whole = match message.starts_with(':') {
            true => format!("{path}{message}"),
            false => message.to_owned(),
        };
        let output = bench.run(&["--config", path])?;
        bench
            .ensure_refused(&output, &[&whole])
            .with_context(|| text.clone())?;
    }
    let output = bench.run(&["--config", "/nonexistent/gw.toml"])?;
    bench.ensure_refused(
        &output,
        &["/nonexistent/gw.toml", "No such file or directory"],
    )
}

/// Ports that the kernel gives to sockets of its own, which only the machine can tell: also when the
/// file is only checked.
#[test]
fn ports_of_the_kernels_own_are_refused_with_their_place() -> Result<()> {
    let bench = Bench::new()?;
    bench
        .gateway
        .sysctl(&["net.ipv4.ip_local_port_range=40000 50000"])?;
    let good = "lan = \"lan0\"\n[[uplink]]\nname = \"a\"\ndevice = \"eth1\"\n";
    let rows = [
        (
            format!("{good}[nat]\nports = [\"1024-2047\", \"39000-40000\"]\n"),
            ":6:23: the ports 39000-40000 overlap 40000-50000",
        ),
        (
            format!(
                "{good}[[forward]]\nprotocol = \"tcp\"\ninside = \"10.0.0.5:80\"\n\
                 outside = 45000\n"
            ),
            ":8:11: the ports 45000 overlap 40000-50000",
        ),
    ];
    for (text, message) in rows {
        let path = bench.file(&text)?;
        let path = path.to_str().context("a path of the lab's own")?;
        for words in [&["--config", path][..], &["--config", path, "--check"]] {
            let output = bench.run(words)?;
            bench
                .ensure_refused(
                    &output,
                    &[&format!("{path}{message}"), "ip_local_port_range"],
                )
                .with_context(|| format!("{words:?} of\n{text}"))?;
        }
    }
    bench
        .gateway
        .sysctl(&["net.ipv4.ip_local_port_range=1024 65535"])?;
    let output = bench.run(&["--lan", "lan0", "--uplink", "a=eth1"])?;
    bench.ensure_refused(&output, &["leaves no port above 1023"])
}

/// A device that is there and cannot be used. The uplink is named last, so that another device
/// would have got its program before.
#[test]
fn unfit_devices_are_refused() -> Result<()> {
    let bench = Bench::new()?;
    let output = bench.run(&["--lan", "lan0", "--uplink", "a=eth1", "b=br0"])?;
    bench.ensure_refused(&output, &["br0", "no native XDP", "--xdp-mode generic"])?;
    let output = bench.run(&["--lan", "br0", "--uplink", "a=eth1"])?;
    bench.ensure_refused(&output, &["br0", "no native XDP", "--xdp-mode generic"])
}

/// Another program listens where metrics are to be served.
#[test]
fn a_port_in_use_is_refused() -> Result<()> {
    let bench = Bench::new()?;
    let other = bench
        .gateway
        .enter(|| TcpListener::bind("127.0.0.1:9750"))??;
    let output = bench.run(&["--lan", "lan0", "--uplink", "a=eth1"])?;
    bench.ensure_refused(
        &output,
        &["cannot serve metrics on 127.0.0.1:9750: another program listens there"],
    )?;
    drop(other);
    Ok(())
}

const CAP_NET_ADMIN: libc::c_ulong = 12;
const CAP_SYS_ADMIN: libc::c_ulong = 21;
/// CAP_CHECKPOINT_RESTORE, the last one that every supported kernel has.
const LAST_CAPABILITY: libc::c_ulong = 40;

/// Without privilege the message names what is missing, and only that.
#[test]
fn missing_privilege_is_named() -> Result<()> {
    let bench = Bench::new()?;
    for (keep, missing) in [
        (
            &[][..],
            "CAP_NET_ADMIN (to attach programs to devices), CAP_NET_RAW (to send probes), \
             CAP_SYS_ADMIN (to load programs and keep them)",
        ),
        (
            &[CAP_NET_ADMIN, CAP_SYS_ADMIN],
            "CAP_NET_RAW (to send probes)",
        ),
    ] {
        let mut command = bench.command(&["--lan", "lan0", "--uplink", "a=eth1"])?;
        // SAFETY: between fork and exec only async-signal-safe functions may be called. prctl(2)
        // is one system call, and nothing is allocated: the error holds a number.
        unsafe {
            command.pre_exec(move || {
                for capability in (0..=LAST_CAPABILITY).filter(|c| !keep.contains(c)) {
                    if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let told = format!("error: not enough privilege: {missing} missing\n  help: run as root,");
        bench.ensure_refused(&command.output()?, &[&told])?;
    }
    Ok(())
}

/// A directory that others can write to is no place for a socket that takes orders.
#[test]
fn a_run_directory_of_others_is_refused() -> Result<()> {
    let bench = Bench::new()?;
    let run_dir = bench.run_dir();
    fs::create_dir(&run_dir)?;
    fs::set_permissions(&run_dir, fs::Permissions::from_mode(0o777))?;
    let output = bench.run(&["--lan", "lan0", "--uplink", "a=eth1"])?;
    ensure!(is_empty(&run_dir)?, "something was put there");
    fs::remove_dir(&run_dir)?;
    bench.ensure_refused(&output, &["can be written to by others", "chmod 700"])
}

fn is_empty(directory: &Path) -> Result<bool> {
    Ok(fs::read_dir(directory)?.next().is_none())
}

/// A second controller with the same run directory is refused, and the first does not notice.
#[test]
fn a_second_controller_is_refused() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::new(binary()?))?;
    let first = gateway.status()?;
    for uplink in ["a=wan0", "other=wan1"] {
        let output = gateway.run("run", &["--lan", "lan0", "--uplink", uplink])?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2),
            "{}\n{stderr}",
            output.status
        );
        let told = format!(
            "a controller is already running with {}",
            lab.lab.dir().display()
        );
        ensure!(stderr.contains(&told), "{stderr}");
        ensure!(
            stderr.contains(&format!(", process {}\n", first.pid)),
            "{stderr}"
        );
    }
    let now = gateway.status()?;
    ensure!(now.pid == first.pid, "another controller answers");
    for (before, after) in first.uplinks.iter().zip(&now.uplinks) {
        ensure!(
            (&before.state, &before.since) == (&after.state, &after.since),
            "{after:?}"
        );
    }
    Ok(())
}

/// The program is taken off again where a later device turns out not to be there for it: an
/// uplink in use by another program.
#[test]
fn a_device_with_another_program_is_refused() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::new(binary()?))?;
    let before = attached(&lab.gateway)?;
    // Another gateway, with a run directory of its own, wants a device of the first.
    let run_dir = lab.lab.dir().join("second");
    let output = lab
        .gateway
        .command(binary()?)
        .args([
            "run",
            "--metrics-listen",
            "off",
            "--lan",
            "lan0",
            "--uplink",
            "a=wan0",
        ])
        .arg("--run-dir")
        .arg(&run_dir)
        .stdin(Stdio::null())
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2),
        "{}\n{stderr}",
        output.status
    );
    ensure!(
        stderr.contains("another XDP program is attached"),
        "{stderr}"
    );
    ensure!(
        attached(&lab.gateway)? == before,
        "the first gateway's programs changed"
    );
    ensure!(!run_dir.exists(), "{} was left", run_dir.display());
    ensure!(
        gateway.process()?.is_running()?,
        "the first controller has ended"
    );
    Ok(())
}

/// The ids of the XDP programs by device.
fn attached(namespace: &Namespace) -> Result<Vec<(String, u64)>> {
    let links = namespace.output(&["ip", "-details", "-json", "link", "show"])?;
    let links: serde_json::Value = serde_json::from_str(&links)?;
    let Some(links) = links.as_array() else {
        bail!("ip prints a list")
    };
    Ok(links
        .iter()
        .filter_map(|link| {
            let id = link["xdp"]["prog"]["id"].as_u64()?;
            Some((link["ifname"].as_str()?.to_owned(), id))
        })
        .collect())
}
