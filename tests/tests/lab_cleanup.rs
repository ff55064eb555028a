//! A lab leaves nothing behind, however the program that made it ends.
//!
//! The programs that end badly are this test binary itself, started again to run one of the
//! ignored tests, which are no tests of their own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    panic,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::lab::{self, Lab, Namespace, Process};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// What a lab has when it ends.
struct Remains {
    prefix: String,
    dir: PathBuf,
    /// Processes that run in its namespaces.
    processes: Vec<u32>,
}

/// Makes a lab with all that may remain of one: namespaces, a device, a process, a mount, a file.
fn furnish() -> Result<(Lab, [Namespace; 2], Process, Remains)> {
    let lab = Lab::new()?;
    let [one, other] = lab.namespaces(["one", "other"])?;
    one.batch(&format!(
        "link add left type veth peer right netns {}",
        other.full_name()
    ))?;
    let mut sleep = one.command("sleep");
    sleep.arg("1000");
    let process = lab.spawn("sleep", sleep)?;
    let mounted = lab.dir().join("run/bpf");
    fs::create_dir_all(&mounted)?;
    mount(
        Some("bpf"),
        &mounted,
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )?;
    fs::write(lab.dir().join("file"), "some text")?;
    let remains = Remains {
        prefix: lab.prefix().to_owned(),
        dir: lab.dir().to_owned(),
        processes: vec![process.id()],
    };
    ensure!(remains.anything(), "a furnished lab was not found");
    Ok((lab, [one, other], process, remains))
}

impl Remains {
    fn anything(&self) -> bool {
        !self.found().is_empty()
    }

    /// What there is, in words.
    fn found(&self) -> Vec<String> {
        let namespaces = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let mut found: Vec<String> = namespaces
            .map(|name| name.file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with(&self.prefix))
            .map(|name| format!("the namespace {name}"))
            .collect();
        if self.dir.exists() {
            found.push(format!("the directory {}", self.dir.display()));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounted = |line: &&str| line.contains(&*self.dir.to_string_lossy());
        found.extend(mounts.lines().filter(mounted).map(str::to_owned));
        for pid in &self.processes {
            if let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
                found.push(format!("the process {pid}: {status}"));
            }
        }
        found
    }

    fn assert_gone_within(&self, time: Duration) {
        let deadline = Instant::now() + time;
        loop {
            let found = self.found();
            if found.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "there remain {found:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_lab_is_gone_after_it_was_dropped() -> Result<()> {
    let (lab, namespaces, process, remains) = furnish()?;
    drop((process, namespaces, lab));
    assert!(!remains.anything());
    Ok(())
}

#[test]
fn a_lab_is_gone_after_a_panic() {
    let mut remains = None;
    let panicked = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let (_lab, _namespaces, _process, made) = furnish().expect("a lab can be made");
        remains = Some(made);
        panic!("on purpose");
    }));
    panicked.expect_err("it panics");
    assert!(!remains.expect("the lab was made").anything());
}

#[test]
fn a_lab_is_gone_after_its_owner_was_interrupted() -> Result<()> {
    end_badly(Signal::SIGINT, false)
}

#[test]
fn a_lab_is_gone_after_kill_9_of_its_owner() -> Result<()> {
    end_badly(Signal::SIGKILL, false)
}

#[test]
fn the_next_lab_removes_what_remains_after_kill_9_of_owner_and_guard() -> Result<()> {
    end_badly(Signal::SIGKILL, true)
}

/// Has another process make a lab, ends it with a signal, if wanted together with the guard, and
/// checks that nothing remains.
fn end_badly(signal: Signal, kill_the_guard: bool) -> Result<()> {
    let (mut owner, remains) = owner()?;
    if kill_the_guard {
        let guards = Command::new("pgrep")
            .args(["--full", &format!("lab-guard {} ", remains.prefix)])
            .output()?;
        let guard: i32 = String::from_utf8(guards.stdout)?
            .trim()
            .parse()
            .context("one guard")?;
        kill(Pid::from_raw(guard), Signal::SIGKILL)?;
    }
    kill(Pid::from_raw(i32::try_from(owner.id())?), signal)?;
    owner.wait()?;
    if kill_the_guard {
        thread::sleep(Duration::from_millis(500));
        assert!(
            remains.anything(),
            "nothing was left for the next lab to remove"
        );
        Lab::new()?.remove()?;
    }
    // The kernel takes namespaces apart one after the other, those of labs before this one too.
    remains.assert_gone_within(Duration::from_secs(30));
    Ok(())
}

/// Starts a process that owns a lab.
fn owner() -> Result<(Child, Remains)> {
    let mut owner = Command::new(std::env::current_exe()?)
        .args([
            "--ignored",
            "--exact",
            "own_a_lab_until_killed",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(owner.stdout.take().context("stdout is a pipe")?).lines();
    let told = lines
        .find_map(|line| {
            line.ok()?
                .split_once("LAB ")
                .map(|(_, told)| told.to_owned())
        })
        .context("the owner did not make a lab")?;
    let mut words = told.split(' ').map(str::to_owned);
    let mut word = || words.next().context("too few words");
    let remains = Remains {
        prefix: word()?,
        dir: word()?.into(),
        processes: vec![word()?.parse()?],
    };
    Ok((owner, remains))
}

#[test]
#[ignore = "run by other tests, in a process that they kill"]
fn own_a_lab_until_killed() -> Result<()> {
    let (_lab, _namespaces, _process, remains) = furnish()?;
    println!(
        "LAB {} {} {}",
        remains.prefix,
        remains.dir.display(),
        remains.processes[0]
    );
    // Longer than the tests that kill it wait.
    thread::sleep(Duration::from_secs(60));
    Ok(())
}

#[test]
fn what_a_living_run_owns_is_not_swept_away() -> Result<()> {
    let (lab, _namespaces, _process, remains) = furnish()?;
    lab::sweep()?;
    assert!(remains.anything());
    lab.remove()?;
    Ok(())
}
