//! Runs a command for an event: without a shell, in a process group of its own, with a deadline.

use std::{process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    task::JoinSet,
    time::timeout,
};

use super::{Failure, output::Output};
use crate::{config::HookConfig, events::Record};

/// Where a command finds others; nothing else of the controller's environment is handed on.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long the output is read on when the command has ended: what it left running may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs the command of a hook, which has one; its output goes to the log.
pub async fn run(config: &HookConfig, record: &Record) -> Result<(), Failure> {
    let (program, arguments) = config
        .command
        .split_first()
        .expect("the caller has seen a command");
    let failed = |error: std::io::Error| Failure::Failed(error.to_string());
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(environment(record))
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let group = Group::of(&child);
    let output = Output::default();
    let mut readers = JoinSet::new();
    if let Some(stream) = child.stdout.take() {
        readers.spawn(output.clone().read(stream));
    }
    if let Some(stream) = child.stderr.take() {
        readers.spawn(output.clone().read(stream));
    }
    let mut input = child.stdin.take();
    let json = serde_json::to_vec(record).expect("maps with text keys are always JSON");
    let ended = timeout(config.timeout, async {
        if let Some(input) = &mut input {
            // A command need not read it.
            let _ = input.write_all(&json).await;
            let _ = input.write_all(b"\n").await;
        }
        drop(input.take());
        child.wait().await
    })
    .await;
    let told = match ended {
        Ok(status) => {
            group.ended();
            let _ = timeout(LAST_WORDS, async {
                while readers.join_next().await.is_some() {}
            })
            .await;
            match status.map_err(failed)? {
                status if status.success() => Ok(()),
                status => Err(Failure::Failed(status.to_string())),
            }
        }
        Err(_) => {
            drop(group);
            // It was killed, so this does not take long.
            let _ = child.wait().await;
            Err(Failure::Timeout)
        }
    };
    for line in output.lines() {
        tracing::info!("hook {}: {line}", config.name);
    }
    told
}

/// What a command is told of an event, besides the JSON on its standard input. What does not apply is
/// empty, so that scripts can count on each variable.
fn environment(record: &Record) -> Vec<(&'static str, String)> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let number = |number: Option<f64>| number.map(|n| n.to_string()).unwrap_or_default();
    vec![
        ("MULTIHOME_KIND", record.kind.name().to_owned()),
        ("MULTIHOME_SEQ", record.seq.to_string()),
        ("MULTIHOME_TIME", record.time.to_string()),
        ("MULTIHOME_INITIAL", record.initial.to_string()),
        ("MULTIHOME_UPLINK", text(&record.uplink)),
        ("MULTIHOME_FAMILY", text(&record.family)),
        ("MULTIHOME_GROUP", text(&record.group)),
        ("MULTIHOME_CAUSE", record.cause.clone()),
        ("MULTIHOME_NOTICED_MS", number(record.noticed_ms)),
        ("MULTIHOME_MOVED_MS", number(record.moved_ms)),
    ]
}

/// A process group that is killed when this is dropped, unless its leader has ended and was waited for:
/// from then on its number may be another's.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(
            child
                .id()
                .and_then(|id| id.try_into().ok())
                .map(Pid::from_raw),
        )
    }

    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error says that nobody is left in it.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}
