//! Hooks are told what happens, and whatever they do, the gateway goes on: a command, a web server, both
//! good and bad.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use multihome::events::{Kind, Record};
use multihome_tests::{
    binary::binary,
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan},
    },
};
use nix::sys::signal::Signal;
use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// How long anything is waited for.
const LIMIT: Duration = Duration::from_secs(30);

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !holds()? {
        ensure!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn script(dir: &Path, name: &str, body: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::write(
        &path,
        format!("#!/bin/sh\ncd '{}'\n{body}\n", dir.display()),
    )?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    Ok(path)
}

/// A gateway with these hooks; in their TOML, DIR stands for the lab's directory.
fn start<'lab>(lab: &'lab GatewayLab, hooks: &str) -> Result<Gateway<'lab>> {
    start_in(lab, hooks, &[])
}

fn start_in<'lab>(
    lab: &'lab GatewayLab,
    hooks: &str,
    environment: &[(&str, &Path)],
) -> Result<Gateway<'lab>> {
    let dir = lab.lab.dir();
    let dir = dir.to_str().context("UTF-8")?;
    let file = format!("{dir}/hooks.toml");
    fs::write(&file, hooks.replace("DIR", dir))?;
    let mut settings = Settings::from_environment()?;
    settings.options.extend(["--config".to_owned(), file]);
    for (name, value) in environment {
        let value = value.to_str().context("UTF-8")?;
        settings
            .environment
            .push(((*name).to_owned(), value.to_owned()));
    }
    Gateway::start(lab, settings)
}

fn told(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.collect()
}

fn runs(gateway: &Gateway<'_>, hook: &str, result: &str) -> Result<u64> {
    let (_, metrics) = gateway.fetch("/metrics")?;
    let start = format!("multihome_hook_runs_total{{hook=\"{hook}\",result=\"{result}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
    Ok(line.with_context(|| start.clone())?.parse()?)
}

/// Reads a request and gives its body; answers that all is well.
fn answer(stream: impl Read + Write) -> Result<String> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(given) = line.strip_prefix("content-length: ") {
            length = given.parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    reader
        .get_mut()
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    reader.get_mut().flush()?;
    Ok(String::from_utf8(body)?)
}

/// A web server in the gateway's namespace, and the bodies that were posted to it. It ends with the test.
fn serve(
    lab: &GatewayLab,
    port: u16,
    serve_one: impl Fn(TcpStream) -> Result<String> + Send + 'static,
) -> Result<Arc<Mutex<Vec<Record>>>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = lab.gateway.enter(|| TcpListener::bind(address))??;
    let records: Arc<Mutex<Vec<Record>>> = Arc::default();
    let posted = Arc::clone(&records);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(body) = serve_one(stream)
                && let Ok(record) = serde_json::from_str(&body)
                && let Ok(mut posted) = posted.lock()
            {
                posted.push(record);
            }
        }
    });
    Ok(records)
}

/// A key and a certificate for 127.0.0.1 that vouches for itself.
fn certificate(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let [config, key, certificate] =
        ["openssl.cnf", "key.pem", "cert.pem"].map(|name| dir.join(name));
    fs::write(
        &config,
        "[req]\ndistinguished_name = name\nprompt = no\nx509_extensions = more\n\
         [name]\nCN = hooks\n\
         [more]\nsubjectAltName = IP:127.0.0.1\nbasicConstraints = critical,CA:FALSE\n",
    )?;
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-config"])
        .arg(&config)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .context("starting openssl")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((key, certificate))
}

/// Two uplinks are lost and come back: a command, a server and a server with TLS are told all of it, once
/// and in order.
#[test]
fn commands_and_servers_are_told_what_happens() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let dir = lab.lab.dir();
    script(
        dir,
        "hook",
        "cat >> told\nnice > niceness\ngrep ^Sig /proc/self/status > signals\n\
         echo \"$MULTIHOME_KIND $MULTIHOME_UPLINK $1\" >> words\necho \"told of $MULTIHOME_SEQ\"",
    )?;
    let posted = serve(&lab, 8080, answer)?;
    let (key, certificate) = certificate(dir)?;
    let chain = vec![CertificateDer::from_pem_file(&certificate)?];
    let key = PrivateKeyDer::from_pem_file(&key)?;
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let tls = Arc::new(tls);
    let posted_by_tls = serve(&lab, 8443, move |stream| {
        let connection = ServerConnection::new(Arc::clone(&tls))?;
        answer(StreamOwned::new(connection, stream))
    })?;
    let hooks = "
        [[hook]]
        name = \"command\"
        command = [\"DIR/hook\", \"one word\"]
        events = [\"uplink_down\", \"uplink_up\", \"controller_stopped\"]
        [[hook]]
        name = \"server\"
        url = \"http://127.0.0.1:8080/hook\"
        events = [\"uplink_down\", \"uplink_up\"]
        [[hook]]
        name = \"tls\"
        url = \"https://127.0.0.1:8443/hook\"
        events = [\"uplink_down\", \"uplink_up\"]
    ";
    let mut gateway = start_in(&lab, hooks, &[("SSL_CERT_FILE", &certificate)])?;
    lab.cut(0, Cut::Carrier)?;
    gateway.wait_for_state(0, "down")?;
    lab.cut(1, Cut::Blackhole)?;
    gateway.wait_for_state(1, "down")?;
    lab.restore(0, Cut::Carrier)?;
    lab.restore(1, Cut::Blackhole)?;
    gateway.wait_until_all_up()?;
    let output = gateway.run(
        "events",
        &["--json", "--kind", "uplink_down", "--kind", "uplink_up"],
    )?;
    let expected: Vec<Record> = String::from_utf8(output.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    // What the start has found in order is no news.
    let expected: Vec<Record> = expected
        .into_iter()
        .filter(|record| !record.initial)
        .collect();
    ensure!(expected.len() >= 4, "{expected:#?}");
    let file = dir.join("told");
    wait_until("the command is told", || Ok(told(&file) == expected))?;
    for (what, posted) in [
        ("the server", &posted),
        ("the server with TLS", &posted_by_tls),
    ] {
        wait_until(what, || {
            Ok(posted.lock().is_ok_and(|posted| *posted == expected))
        })?;
    }
    let words = fs::read_to_string(dir.join("words"))?;
    ensure!(
        words.starts_with("uplink_down fiber one word\nuplink_down cable one word\n"),
        "{words}"
    );
    for hook in ["command", "server", "tls"] {
        wait_until(hook, || {
            Ok(runs(&gateway, hook, "ok")? == expected.len() as u64)
        })?;
    }
    let log = gateway.process()?.stderr();
    let line = format!("hook command: told of {}", expected[0].seq);
    ensure!(log.contains(&line), "no {line:?} in {log}");

    // The control loop is favoured by the scheduler, and its hooks are not.
    let own = Command::new("nice").output()?;
    let niceness = fs::read_to_string(dir.join("niceness"))?;
    ensure!(
        niceness == String::from_utf8(own.stdout)?,
        "niceness {niceness}"
    );
    let stat = fs::read_to_string(format!("/proc/{}/stat", gateway.process()?.id()))?;
    let field = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.split(' ').nth(16));
    ensure!(field == Some("-15"), "{stat}");
    let signals = fs::read_to_string(dir.join("signals"))?;
    let mask = |name: &str| -> Result<u64> {
        let line = signals.lines().find_map(|line| line.strip_prefix(name));
        let digits = line.with_context(|| signals.clone())?.trim();
        Ok(u64::from_str_radix(digits, 16)?)
    };
    ensure!(mask("SigBlk:")? == 0, "{signals}");
    let pipe = 1 << (libc::SIGPIPE - 1);
    ensure!(mask("SigIgn:")? & pipe == 0, "{signals}");

    gateway.process()?.signal(Signal::SIGTERM)?;
    gateway.process()?.wait(LIMIT)?;
    let last = told(&file);
    ensure!(
        last.last()
            .is_some_and(|record| record.kind == Kind::ControllerStopped),
        "{last:#?}"
    );
    Ok(())
}

fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.contains(") Z "))
}

/// A hook that never ends, one that is killed at its deadline with what it has started, and a server that never
/// answers: flows move, the status is told, and other hooks are told.
#[test]
fn hooks_that_hang_hold_up_neither_the_gateway_nor_other_hooks() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let dir = lab.lab.dir();
    let hang = "trap '' TERM INT HUP\nsleep 1000 &\necho $$ $! > $1.new\nmv $1.new $1\nsleep 1000";
    script(dir, "hang", hang)?;
    script(dir, "well", "cat >> well-told")?;
    let (arrived, arrivals) = std::sync::mpsc::channel();
    let silent = Mutex::new(Vec::new());
    serve(&lab, 8080, move |stream| {
        arrived.send(())?;
        // It is kept open, and never read.
        let Ok(mut silent) = silent.lock() else {
            bail!("a panic")
        };
        silent.push(stream);
        bail!("nothing is read")
    })?;
    let hooks = "
        [[hook]]
        name = \"endless\"
        command = [\"DIR/hang\", \"endless\"]
        events = \"uplink_down\"
        timeout = \"10m\"
        [[hook]]
        name = \"limited\"
        command = [\"DIR/hang\", \"limited\"]
        events = \"uplink_down\"
        timeout = \"500ms\"
        [[hook]]
        name = \"silent\"
        url = \"http://127.0.0.1:8080/\"
        events = \"uplink_down\"
        timeout = \"500ms\"
        [[hook]]
        name = \"well\"
        command = \"DIR/well\"
        events = \"uplink_down\"
    ";
    let mut gateway = start(&lab, hooks)?;
    lab.cut(0, Cut::Carrier)?;
    wait_until("the endless one runs", || Ok(dir.join("endless").exists()))?;
    arrivals.recv_timeout(LIMIT).context("nothing is posted")?;
    let endless = fs::read_to_string(dir.join("endless"))?;
    // Meanwhile: another loss, noticed, and told to who listens.
    lab.cut(1, Cut::Blackhole)?;
    gateway.wait_for_state(1, "down")?;
    lab.restore(0, Cut::Carrier)?;
    lab.restore(1, Cut::Blackhole)?;
    gateway.wait_until_all_up()?;
    wait_until("the good one is told", || {
        Ok(told(&dir.join("well-told")).len() >= 2)
    })?;
    let pids: Vec<&str> = endless.split_whitespace().collect();
    ensure!(
        pids.len() == 2 && pids.iter().all(|pid| is_alive(pid)),
        "it was to hang meanwhile"
    );

    wait_until("the limited one is killed", || {
        Ok(runs(&gateway, "limited", "timeout")? >= 2)
    })?;
    let limited = fs::read_to_string(dir.join("limited"))?;
    for pid in limited.split_whitespace() {
        wait_until("all of it is killed", || Ok(!is_alive(pid)))?;
    }
    wait_until("the silent server is left", || {
        Ok(runs(&gateway, "silent", "timeout")? >= 1)
    })?;
    // At the end the endless one is not waited for, and nothing is left of it.
    gateway.process()?.signal(Signal::SIGTERM)?;
    gateway.process()?.wait(LIMIT)?;
    for pid in pids {
        wait_until("nothing is left of it", || Ok(!is_alive(pid)))?;
    }
    Ok(())
}

/// A mistake in a hook is found before anything is touched, and named with its place.
#[test]
fn a_command_that_cannot_be_run_is_refused_with_its_place() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let program = dir.path().join("hook");
    let file = dir.path().join("gw.toml");
    fs::write(
        &file,
        format!(
            "lan = \"lan0\"\n[[uplink]]\nname = \"a\"\ndevice = \"eth0\"\n\
             [[hook]]\nname = \"pager\"\ncommand = [\"{}\", \"x\"]\n",
            program.display()
        ),
    )?;
    let check = |mode: &[&str], expected: &str| -> Result<()> {
        let mut command = Command::new(binary()?);
        let output = command
            .arg("run")
            .args(mode)
            .arg("--config")
            .arg(&file)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let place = format!(
            "{}:7:12: the program {program:?} of a hook {expected}",
            file.display()
        );
        ensure!(
            output.status.code() == Some(2) && said.contains(&place),
            "{place}: {output:?}"
        );
        Ok(())
    };
    check(&["--check"], "cannot be run: No such file")?;
    check(&[], "cannot be run: No such file")?;
    fs::write(&program, "#!/bin/sh\n")?;
    check(&["--check"], "is not executable")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777))?;
    check(&["--check"], "could be changed by other users")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let output = Command::new(binary()?)
        .args(["run", "--check", "--config"])
        .arg(&file)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout)?;
    ensure!(shown.contains("timeout = \"10s\""), "{shown}");
    Ok(())
}
