//! What is written about the program is true of it: the reference, the example configuration, the
//! alerts and the dashboard. What they leave out or invent fails here.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};
use multihome::{
    bfd::{BfdSettings, Session, SessionCounters, Snapshot},
    config::Config,
    dataplane::TcpMeasure,
    events::{Kind, Occurrence, Record, Recorder, Timing, Tone},
    heartbeat::Heartbeat,
    metrics::{CounterSnapshot, DampingMeasure, Metrics, PathMeasure, Traffic, UplinkTraffic},
    probe::{Family, Outcome, TargetId},
};
use multihome_common::verdict::Verdict;
use multihome_tests::binary::binary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// What the program writes to stdout.
fn stdout(arguments: &[&str]) -> Result<String> {
    let output = Command::new(binary()?)
        .args(arguments)
        // The width of help texts when there is no terminal.
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        bail!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The words of a text that start so, up to the end of the identifier.
fn words_with(text: &str, prefix: &str) -> BTreeSet<String> {
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(prefix)
        .filter(|(at, _)| !text[..*at].ends_with(part_of_word))
        .map(|(at, _)| {
            text[at..]
                .chars()
                .take_while(|c| part_of_word(*c))
                .collect()
        })
        .collect()
}

#[test]
fn the_reference_shows_the_help_as_it_is() -> Result<()> {
    let reference = read("docs/reference/cli.md")?;
    for subcommand in [
        "run", "status", "flows", "explain", "events", "prefix", "drain", "undrain", "fault",
        "detach",
    ] {
        let help = stdout(&[subcommand, "--help"])?;
        let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        let block = format!(
            "```text\n$ multihome {subcommand} --help\n{}\n```\n",
            lines.join("\n")
        );
        ensure!(
            reference.contains(&block),
            "docs/reference/cli.md should have:\n{block}"
        );
    }
    Ok(())
}

/// The keys that a table of the file may have, as the program itself names them.
fn keys(text: &str) -> Result<Vec<String>> {
    let Err(error) = Config::from_toml(Path::new("x.toml"), text) else {
        bail!("a key that does not exist was taken: {text}")
    };
    let error = error.to_string();
    let (_, keys) = error
        .split_once("the keys here are ")
        .context(error.clone())?;
    Ok(keys.split(", ").map(str::to_owned).collect())
}

#[test]
fn the_reference_has_every_key() -> Result<()> {
    let reference = read("docs/reference/config.md")?;
    let mut known = keys("nothing_like_it = 1")?;
    let tables = [
        "[probe]",
        "[damping]",
        "[quality]",
        "[sla]",
        "[nat]",
        "[nat.timeout]",
        "[[uplink]]",
        "[[forward]]",
        "[[group]]",
        "[[rule]]",
        "[[hook]]",
    ];
    // Tables have headings, not rows.
    known.retain(|key| {
        !tables
            .iter()
            .any(|table| table.trim_matches(['[', ']']) == key)
    });
    for table in tables {
        known.extend(keys(&format!("{table}\nnothing_like_it = 1"))?);
    }
    let within = "[[uplink]]\nname = \"u\"\n[uplink.capacity]\nnothing_like_it = 1";
    known.extend(keys(within)?);
    let bfd = "[[uplink]]\nname = \"u\"\n[uplink.bfd]\nnothing_like_it = 1";
    known.extend(keys(bfd)?);
    known.extend(keys("lan = [{ device = \"a\", nothing_like_it = 1 }]")?);
    for key in &known {
        ensure!(
            reference.contains(&format!("\n| `{key}` | ")),
            "config.md lacks {key}"
        );
    }
    // The other way round: rows that begin with a key.
    for line in reference.lines() {
        let Some((key, _)) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split_once('`'))
        else {
            continue;
        };
        ensure!(
            known.iter().any(|known| known == key),
            "config.md invents {key}"
        );
    }
    Ok(())
}

#[test]
fn the_example_configuration_is_right() -> Result<()> {
    let path = root().join("deploy/multihome.toml");
    let path = path.to_str().context("a path of text")?;
    let shown = stdout(&["run", "--check", "--config", path])?;
    ensure!(shown.contains("name = \"mobile\""), "{shown}");
    Ok(())
}

#[test]
fn the_reference_has_every_event() -> Result<()> {
    let reference = read("docs/reference/events.md")?;
    let (_, kinds) = reference.split_once("\n## Kinds\n").context("a heading")?;
    for kind in Kind::ALL {
        let worse = if kind.tone() == Tone::Bad { "yes" } else { "" };
        let row = format!("\n| `{kind}` | {worse} | {} |\n", kind.meaning().trim());
        ensure!(kinds.contains(&row), "events.md lacks {row}");
    }
    let rows = kinds.lines().filter(|line| line.starts_with("| `"));
    ensure!(rows.count() == Kind::ALL.len(), "events.md invents a kind");
    // The example is a record, and the table has all of its fields.
    let example = reference
        .lines()
        .find(|line| line.starts_with("{\"schema_version\""))
        .context("an example")?;
    let record: Record = serde_json::from_str(example)?;
    ensure!(serde_json::to_string(&record)? == example, "{record:?}");
    let fields: serde_json::Map<_, _> = serde_json::from_str(example)?;
    for field in fields.keys() {
        let row = format!("\n| `{field}` | ");
        ensure!(reference.contains(&row), "events.md lacks {field}");
    }
    Ok(())
}

/// The command that the guide begins with, with a `mail` that only writes down what it gets.
#[test]
fn the_example_hook_sends_a_mail() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mail = dir.path().join("mail");
    fs::write(
        &mail,
        "#!/bin/sh\n{ printf '%s\\n' \"$@\"; cat; } > \"$0.sent\"\n",
    )?;
    fs::set_permissions(&mail, fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    let mut child = Command::new(root().join("deploy/hooks/notify"))
        .arg("ops@example.net")
        .env_clear()
        .env("PATH", path)
        .env("MULTIHOME_KIND", "uplink_down")
        .env("MULTIHOME_UPLINK", "fibre")
        .env("MULTIHOME_CAUSE", "no carrier")
        .stdin(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("a pipe")?.write_all(b"{}\n")?;
    ensure!(child.wait()?.success());
    let sent = fs::read_to_string(dir.path().join("mail.sent"))?;
    let expected = "-s\nmultihome: fibre: uplink_down\n--\nops@example.net\nno carrier\n\n{}\n";
    ensure!(sent == expected, "{sent}");
    Ok(())
}

#[test]
fn the_reference_has_every_verdict() -> Result<()> {
    let reference = read("docs/reference/metrics.md")?;
    for verdict in Verdict::ALL {
        let row = format!(
            "\n| `{}` | {} |\n",
            verdict.name(),
            verdict.meaning().trim()
        );
        ensure!(reference.contains(&row), "metrics.md lacks {row}");
    }
    let rows = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(name, _)| !name.starts_with("multihome_") && !name.starts_with("process_"));
    ensure!(
        rows.count() == Verdict::ALL.len(),
        "metrics.md invents a verdict"
    );
    Ok(())
}

/// Metrics in which everything has happened once.
fn scrape() -> Result<String> {
    let text = "lan = \"l\"
[[uplink]]
name = \"u\"
device = \"d\"
bfd = true
\
                [[hook]]
name = \"h\"
command = \"/bin/true\"
";
    let config = Config::from_toml(Path::new("x.toml"), text)?;
    let metrics = Metrics::new(&config, Heartbeat::new(Instant::now()))?;
    metrics.uplink_up("u", true);
    metrics.uplink_share("u", 1.0);
    metrics.prefix_changed("u");
    metrics.capacity_used("u", [Some(0.5); 2]);
    metrics.quota("u", 1, 2);
    metrics.impeded([["default", "u", "ipv4", "sick"].map(str::to_owned)].into());
    for kind in [Kind::UplinkUp, Kind::UplinkDown] {
        let noticed = Instant::now();
        let timing = Timing {
            noticed,
            moved: Some(Duration::from_millis(1)),
            wall: SystemTime::now(),
        };
        let occurrence = Occurrence::new(kind, "").sign(noticed);
        let record = Recorder::new(0).record(occurrence, Some("u"), None, timing, false);
        metrics.event(&record);
    }
    let rtt = Duration::from_millis(1);
    let target = TargetId::next_hop(0, IpAddr::from([192, 0, 2, 1]));
    let probes = metrics.probes("u", target).expect("it is configured");
    probes.sent();
    probes.outcome(Outcome::Reply { rtt });
    probes.outcome(Outcome::Lost);
    for family in [Family::Ipv4, Family::Ipv6] {
        metrics.path(
            "u",
            family,
            Some(PathMeasure {
                up: true,
                rtt: Some(rtt),
                loss: 0.0,
                latency: Some(rtt),
                jitter: Some(rtt),
            }),
        );
        metrics.eligible_uplinks("default", family, 1);
        let damping = DampingMeasure {
            held_until: Some(SystemTime::now()),
            failures: 1,
        };
        metrics.damping("u", family, Some(damping));
        metrics.lan_hosts(family, 1);
    }
    let settings = BfdSettings {
        interval: Duration::from_millis(10),
        multiplier: 3,
        passive: false,
    };
    let fresh = Session::new(settings, 1, [0; 32], Instant::now()).snapshot();
    let heard = Snapshot {
        detection_time: Some(Duration::from_millis(30)),
        ..fresh
    };
    metrics.bfd("u", Family::Ipv4, Some(&heard), &SessionCounters::default());
    let verdicts: std::collections::BTreeMap<_, _> = Verdict::ALL
        .iter()
        .map(|verdict| (verdict.name(), Traffic::default()))
        .collect();
    let traffic = UplinkTraffic {
        received: verdicts.clone(),
        sent: Traffic::default(),
    };
    metrics.set_counters(CounterSnapshot {
        rules: [("guests".into(), 1)].into(),
        uplinks: [("u".into(), traffic)].into(),
        tcp: [("u".into(), TcpMeasure::default())].into(),
        ports: [("l".into(), verdicts)].into(),
    });
    Ok(metrics.render()?)
}

/// The names and types of the metrics in a scrape.
fn families(scrape: &str) -> BTreeSet<(String, String)> {
    scrape
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

#[test]
fn the_reference_has_every_metric() -> Result<()> {
    let reference = read("docs/reference/metrics.md")?;
    let mut documented = BTreeSet::new();
    for line in reference.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        for prefix in ["multihome_", "process_"] {
            for name in words_with(cells[0], prefix) {
                documented.insert((name, cells[1].to_owned()));
            }
        }
    }
    let scrape = scrape()?;
    let shown = families(&scrape);
    let lacking: Vec<_> = shown.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&shown).collect();
    ensure!(lacking.is_empty(), "metrics.md lacks {lacking:?}");
    ensure!(invented.is_empty(), "metrics.md invents {invented:?}");
    Ok(())
}

#[test]
fn alerts_and_dashboard_use_metrics_that_exist() -> Result<()> {
    let scrape = scrape()?;
    let mut shown: BTreeSet<String> = families(&scrape)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for histogram in ["duration", "noticed"] {
        shown.insert(format!("multihome_failover_{histogram}_seconds_bucket"));
    }
    let verdicts: BTreeSet<&str> = Verdict::ALL.iter().map(|verdict| verdict.name()).collect();
    for path in [
        "deploy/prometheus/multihome.rules.yml",
        "deploy/grafana/multihome.json",
    ] {
        let text = read(path)?;
        let used = words_with(&text, "multihome_");
        ensure!(used.len() > 5, "{path}: {used:?}");
        let unknown: Vec<_> = used.difference(&shown).collect();
        ensure!(unknown.is_empty(), "{path}: {unknown:?}");
        for verdict in words_with(&text, "drop_").union(&words_with(&text, "reply_")) {
            // A pattern over all drops ends where its wildcard begins.
            let whole = verdicts.contains(verdict.as_str());
            ensure!(whole || verdict.ends_with('_'), "{path}: {verdict}");
        }
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/grafana/multihome.json")?)?;
    ensure!(
        dashboard["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() > 5)
    );
    Ok(())
}

/// The alerts' own stories, and what promtool finds in the rules and in a scrape.
#[test]
fn promtool_approves() -> Result<()> {
    let folder = root().join("deploy/prometheus");
    for arguments in [
        &["check", "rules", "multihome.rules.yml"][..],
        &["test", "rules", "multihome.rules.test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output()
            .context("starting promtool (package prometheus; `cargo xtask setup` gets it)")?;
        ensure!(
            output.status.success(),
            "promtool {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let scrape_file = tempfile::NamedTempFile::new()?;
    fs::write(scrape_file.path(), scrape()?)?;
    let output = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(scrape_file.path())?)
        .output()?;
    let told = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success() && told.is_empty(),
        "{}",
        String::from_utf8_lossy(&told)
    );
    Ok(())
}
