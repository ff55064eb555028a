//! Where maps and links are pinned: a BPF file system of the gateway's own below its run directory.
//!
//! What is pinned outlives the process, but a mount lives only as long as its mount namespace. A
//! controller in a namespace of its own (`ip netns exec`, a hardened service) therefore mounts in
//! the namespace of PID 1 as well, or of its topmost ancestor that may be looked at, and shares
//! that very mount.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
    thread,
};

use multihome_common::abi;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::DataplaneError;

/// Opens the run directory's BPF file system, mounted if need be, and the pin directory of this
/// ABI and network namespace in it.
pub fn open(run_dir: &Path) -> Result<PathBuf, DataplaneError> {
    create_private(run_dir)?;
    let root = root(run_dir);
    create_private(&root)?;
    if !is_bpf_fs(&root) {
        mount_everywhere(&root)?;
    }
    let pins = root.join(own_directory()?);
    create_private(&pins)?;
    Ok(pins)
}

/// The BPF file system's place in a run directory.
pub fn root(run_dir: &Path) -> PathBuf {
    run_dir.join("bpf")
}

/// Whether a BPF file system is mounted here.
pub fn is_bpf_fs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// Unmounts the BPF file system here and in the outer namespace; what was pinned must be gone.
pub fn unmount_everywhere(root: &Path) {
    // Not being mounted there is no error: the other namespace may have been left long ago.
    let unmount = |root: &Path| umount2(root, MntFlags::MNT_DETACH).map_err(io::Error::from);
    let _ = in_outer_namespace(root, move |root| {
        if is_bpf_fs(root) {
            unmount(root)
        } else {
            Ok(())
        }
    });
    if is_bpf_fs(root) {
        let _ = unmount(root);
    }
}

/// What the names of the pin directories of this ABI begin with; a network namespace's number follows.
pub fn directory_prefix() -> String {
    format!("abi-{:016x}-net-", abi::HASH)
}

/// The name of this network namespace's pin directory. Another one's devices are other devices: its
/// pins are left alone.
pub fn own_directory() -> Result<String, DataplaneError> {
    let path = Path::new("/proc/thread-self/ns/net");
    let inode = fs::metadata(path)
        .map_err(|source| DataplaneError::Path {
            action: "read",
            path: path.into(),
            source,
        })?
        .ino();
    Ok(format!("{}{inode}", directory_prefix()))
}

fn create_private(path: &Path) -> Result<(), DataplaneError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| DataplaneError::Path {
            action: "create",
            path: path.into(),
            source,
        })
}

fn mount_everywhere(root: &Path) -> Result<(), DataplaneError> {
    let shared = in_outer_namespace(root, |root| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)?;
        if !is_bpf_fs(root) {
            mount_bpf(root)?;
        }
        open_tree(root)
    });
    let private = |why: &dyn std::fmt::Display| {
        tracing::warn!(
            "cannot mount {} for the whole system ({why}): when this process ends, the programs \
             may leave the devices with it",
            root.display()
        );
        mount_bpf(root)
    };
    let mounted = match shared {
        Elsewhere::Done(Ok(tree)) => move_mount(&tree, root),
        Elsewhere::Done(Err(error)) => private(&error),
        Elsewhere::Unknown => private(&"no process above this one may be looked at"),
        Elsewhere::Here => mount_bpf(root),
    };
    mounted.map_err(|source| DataplaneError::Path {
        action: "mount a BPF file system on",
        path: root.into(),
        source,
    })
}

fn mount_bpf(root: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), root, Some("bpf"), flags, Some("mode=0700")).map_err(io::Error::from)
}

/// What came of work in the outer mount namespace.
enum Elsewhere<R> {
    /// The work was tried there.
    Done(io::Result<R>),
    /// This process is in it: nothing was done.
    Here,
    /// Which one it is cannot be told: nothing was done.
    Unknown,
}

/// Runs `work` in the outer mount namespace, if this process is not in it already.
fn in_outer_namespace<R: Send + 'static>(
    root: &Path,
    work: impl FnOnce(&Path) -> io::Result<R> + Send + 'static,
) -> Elsewhere<R> {
    let identity = |path: &str| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let place = |process: u32| format!("/proc/{process}/ns/mnt");
    let found = ancestors()
        .into_iter()
        .map(|process| (process, identity(&place(process))));
    let path = match outer(identity("/proc/self/ns/mnt"), found) {
        Outer::Of(process) => place(process),
        Outer::Own => return Elsewhere::Here,
        Outer::Unknown => return Elsewhere::Unknown,
    };
    let root = root.to_path_buf();
    // A thread of its own, because it cannot come back.
    let worker = thread::spawn(move || {
        let namespace = fs::File::open(path)?;
        unshare(CloneFlags::CLONE_FS)?;
        setns(namespace, CloneFlags::CLONE_NEWNS)?;
        work(&root)
    });
    Elsewhere::Done(
        worker
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked"))),
    )
}

/// Which mount namespace is the outer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outer {
    /// That of this process.
    Own,
    /// That of an ancestor.
    Of(u32),
    /// None can be looked at.
    Unknown,
}

/// The namespace of the topmost ancestor that may be looked at; `ancestors` has the parent first,
/// each with its namespace's identity if that could be read.
fn outer<I: PartialEq>(
    own: Option<I>,
    ancestors: impl DoubleEndedIterator<Item = (u32, Option<I>)>,
) -> Outer {
    let topmost = ancestors
        .rev()
        .find_map(|(process, found)| Some((process, found?)));
    match (own, topmost) {
        (Some(own), Some((_, found))) if own == found => Outer::Own,
        (Some(_), Some((process, _))) => Outer::Of(process),
        (None, _) | (_, None) => Outer::Unknown,
    }
}

/// This process's ancestors, the parent first, PID 1 last.
fn ancestors() -> Vec<u32> {
    let parent = |process: u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // proc_pid_stat(5): the name in parentheses may hold anything; state and parent follow.
        let (_, fields) = stat.rsplit_once(')')?;
        fields
            .split_ascii_whitespace()
            .nth(1)?
            .parse()
            .ok()
            .filter(|&parent: &u32| parent != 0)
    };
    std::iter::successors(parent(std::process::id()), |&process| parent(process)).collect()
}

/// A detached copy of the mount at `path`, to be moved into another namespace (linux/mount.h).
fn open_tree(path: &Path) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: libc::c_uint = 1;
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a string that ends in zero and outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a detached mount at `path`.
fn move_mount(tree: &OwnedFd, path: &Path) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: both paths are strings that end in zero and outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_ancestor_that_may_be_looked_at_tells_the_outer_namespace() {
        let above = |found: [Option<u32>; 3]| [30, 20, 1].into_iter().zip(found);
        for (own, found, expected) in [
            (Some(7), [Some(7), Some(7), Some(7)], Outer::Own),
            (Some(7), [Some(7), Some(5), Some(5)], Outer::Of(1)),
            (Some(7), [Some(7), Some(5), None], Outer::Of(20)),
            (Some(7), [Some(7), None, None], Outer::Own),
        ] {
            assert_eq!(outer(own, above(found)), expected, "{found:?}");
        }
    }

    /// That the outer namespace is this one, and that none can be looked at, were one and the same:
    /// a mount was private without a word, and the programs ended with the controller.
    #[test]
    fn a_namespace_that_cannot_be_told_is_not_taken_for_the_own_one() {
        assert_eq!(outer(Some(7), [(1, None)].into_iter()), Outer::Unknown);
        assert_eq!(outer(Some(7), [].into_iter()), Outer::Unknown);
        assert_eq!(outer(None, [(1, Some(7))].into_iter()), Outer::Unknown);
    }
}
