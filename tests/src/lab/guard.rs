//! What removes a lab: a shell that waits for the end of its input, which comes when the lab's
//! owner lets go of it or dies, and then kills, unmounts and deletes.
//!
//! The same script removes a lab in the regular case, after a panic, after Ctrl-C, after `kill -9`
//! and, run by the next lab, after the guard itself was killed. So no way of ending is rarer
//! tested than another.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, bail};

use super::PREFIX;

/// `$1` is the prefix of the namespaces, `$2` the lab's directory.
///
/// A namespace's processes are killed before it is deleted, as they would keep it. Mounts go
/// before the directory: bpffs instances that the gateway made there keep its programs attached.
///
/// Nobody may read what is written to stderr, as the owner is dead: that must end nothing here. And
/// namespaces are found by their files, because `ip netns list` complains of those that other labs
/// delete meanwhile.
const SCRIPT: &str = r#"
trap '' PIPE
read -r _
names() { for file in /run/netns/"$1"*; do if [ -e "$file" ]; then echo "${file##*/}"; fi; done; }
for name in $(names "$1"); do
    for pid in $(ip netns pids "$name"); do kill -KILL "$pid" 2>/dev/null; done
done
while read -r _ _ _ _ place _; do
    case $place in "$2"/*) echo "$place";; esac
done < /proc/self/mountinfo | sort -r | while read -r place; do umount -l "$place"; done
for name in $(names "$1"); do ip netns del "$name"; done
rm -rf --one-file-system "$2"
"#;

/// Where labs have their directories. Not below TMPDIR: all labs of a machine must find each
/// other.
pub(super) const BASE_DIR: &str = "/tmp";

/// The guards of this process, by process id, with what they wait for.
static GUARDS: Mutex<BTreeMap<u32, Child>> = Mutex::new(BTreeMap::new());

fn guards() -> MutexGuard<'static, BTreeMap<u32, Child>> {
    GUARDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lab's end of the guard: letting go of it removes the lab.
pub(super) struct Guard {
    id: u32,
}

impl Guard {
    /// Starts the guard of a lab that has nothing yet.
    pub(super) fn start(prefix: &str, dir: &Path) -> Result<Self> {
        let mut command = remover(prefix, dir);
        command.stdin(Stdio::piped());
        let child = command.spawn().context("starting the lab's guard")?;
        let id = child.id();
        guards().insert(id, child);
        Ok(Self { id })
    }

    /// Has the lab removed, and waits until it is.
    pub(super) fn release(&mut self) -> Result<()> {
        let guard = guards().remove(&self.id);
        guard.map_or(Ok(()), finish)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            eprintln!("the lab was not removed cleanly: {error:#}");
        }
    }
}

/// Removes all labs of this process: what a signal's handler thread does before it ends the
/// process, as no destructor will run.
pub fn remove_all() -> Result<()> {
    let all = std::mem::take(&mut *guards());
    all.into_values().try_for_each(finish)
}

/// Removes what runs that no longer live have left.
pub fn sweep() -> Result<()> {
    for prefix in leftovers()? {
        let dir = Path::new(BASE_DIR).join(format!("{prefix}lab"));
        let removed = remover(&prefix, &dir)
            .stdin(Stdio::null())
            .spawn()
            .map(finish)?;
        // The dead run's own guard may be at work too, and win the race for one thing or another;
        // what counts is that nothing remains.
        if leftovers()?.contains(&prefix) {
            removed.with_context(|| format!("removing what is left of the lab {prefix}"))?;
        }
    }
    Ok(())
}

/// The prefixes of labs whose owners no longer live.
fn leftovers() -> Result<Vec<String>> {
    let mut prefixes: Vec<String> = Vec::new();
    for place in ["/run/netns", BASE_DIR] {
        let Ok(entries) = fs::read_dir(place) else {
            continue;
        };
        for entry in entries {
            let name = entry.context(place)?.file_name();
            if let Some(prefix) = name.to_str().and_then(dead_prefix) {
                prefixes.push(prefix);
            }
        }
    }
    prefixes.sort();
    prefixes.dedup();
    Ok(prefixes)
}

/// The lab's prefix in a name such as `mh1234-0-gw`, when no process 1234 lives.
fn dead_prefix(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
    let pid: u32 = parts.next()?.parse().ok()?;
    let number: u32 = parts.next()?.parse().ok()?;
    parts.next()?;
    let lives = Path::new(&format!("/proc/{pid}")).exists();
    (!lives).then(|| format!("{PREFIX}{pid}-{number}-"))
}

fn remover(prefix: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "lab-guard", prefix]).arg(dir);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    // A group of its own: Ctrl-C in a terminal ends the owner, and must not end the guard.
    command.process_group(0);
    command
}

/// Lets go of a guard, and waits until it has removed its lab.
fn finish(mut guard: Child) -> Result<()> {
    drop(guard.stdin.take());
    let mut said = String::new();
    if let Some(stderr) = &mut guard.stderr {
        stderr.read_to_string(&mut said)?;
    }
    let status = guard.wait()?;
    if !status.success() || !said.trim().is_empty() {
        bail!("{status}: {}", said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_living_and_of_others_are_left_alone() {
        let own = format!("mh{}-0-gw", std::process::id());
        assert_eq!(dead_prefix(&own), None);
        for name in [
            "mhx-0-gw",
            "mh12",
            "tmp.x",
            "docker-1",
            "mh4294967295-gw",
            "xmh1-0-gw",
        ] {
            assert_eq!(dead_prefix(name), None, "{name}");
        }
    }

    #[test]
    fn a_dead_runs_prefix_is_found_in_its_names() {
        // Above the kernel's highest possible process id, 2^22.
        for name in [
            "mh4294967295-3-gw",
            "mh4294967295-3-lab",
            "mh4294967295-3-a-b",
        ] {
            assert_eq!(
                dead_prefix(name).as_deref(),
                Some("mh4294967295-3-"),
                "{name}"
            );
        }
    }
}
