//! Whether this process may do what a gateway needs, asked before anything is touched.

use std::{fs, io};

use thiserror::Error;

use crate::exit::{Classify, ExitClass};

/// What the kernel must grant: numbers of `linux/capability.h`, with what each is needed for.
///
/// CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON, which would do for loading. They do not for
/// mounting the BPF file system that keeps programs and maps beyond the process.
const NEEDED: [Need; 3] = [
    Need {
        bit: 12,
        name: "CAP_NET_ADMIN",
        purpose: "attach programs to devices",
    },
    Need {
        bit: 13,
        name: "CAP_NET_RAW",
        purpose: "send probes",
    },
    Need {
        bit: 21,
        name: "CAP_SYS_ADMIN",
        purpose: "load programs and keep them",
    },
];

struct Need {
    bit: u8,
    name: &'static str,
    purpose: &'static str,
}

/// The inode number of the first user namespace (`PROC_USER_INIT_INO`).
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// Why this process cannot run a gateway.
#[derive(Debug, Error)]
pub enum MissingPrivilege {
    /// Capabilities are missing.
    #[error("not enough privilege: {0} missing")]
    Capabilities(String),
    /// The capabilities are those of a user namespace, which the kernel does not accept for BPF.
    #[error(
        "not enough privilege: inside a user namespace capabilities do not reach the kernel's BPF"
    )]
    UserNamespace,
    /// The kernel does not say what this process may do.
    #[error("cannot read this process's capabilities from /proc/self/status")]
    Unknown(#[source] io::Error),
}

impl Classify for MissingPrivilege {
    fn exit_class(&self) -> ExitClass {
        ExitClass::Input
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Capabilities(_) => Some(
                "run as root, or grant the capabilities (systemd: AmbientCapabilities=)".into(),
            ),
            Self::UserNamespace => Some("run as the machine's root".into()),
            Self::Unknown(_) => Some("is /proc mounted?".into()),
        }
    }
}

/// Fails, naming what is missing, unless this process may load and attach programs and send probes.
pub fn check() -> Result<(), MissingPrivilege> {
    let status = fs::read_to_string("/proc/self/status").map_err(MissingPrivilege::Unknown)?;
    let effective = effective(&status).ok_or_else(|| {
        MissingPrivilege::Unknown(io::Error::new(io::ErrorKind::InvalidData, "no CapEff line"))
    })?;
    let missing = missing(effective);
    if !missing.is_empty() {
        return Err(MissingPrivilege::Capabilities(missing.join(", ")));
    }
    let namespace = fs::read_link("/proc/self/ns/user").map_err(MissingPrivilege::Unknown)?;
    if namespace.as_os_str() != FIRST_USER_NAMESPACE {
        return Err(MissingPrivilege::UserNamespace);
    }
    Ok(())
}

/// The effective capabilities in the text of `/proc/PID/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// What a process with these capabilities lacks.
fn missing(effective: u64) -> Vec<String> {
    NEEDED
        .iter()
        .filter(|need| effective & (1 << need.bit) == 0)
        .map(|need| format!("{} (to {})", need.name, need.purpose))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        assert_eq!(
            missing(0),
            [
                "CAP_NET_ADMIN (to attach programs to devices)",
                "CAP_NET_RAW (to send probes)",
                "CAP_SYS_ADMIN (to load programs and keep them)",
            ]
        );
        assert_eq!(missing(1 << 12 | 1 << 13 | 1 << 21), [""; 0]);
        assert_eq!(missing(!(1 << 13)), ["CAP_NET_RAW (to send probes)"]);
    }

    #[test]
    fn reads_the_kernels_line() {
        let status = "Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t000001fffeffffff\n";
        assert_eq!(effective(status), Some(0x1ff_feff_ffff));
        assert_eq!(effective("Name:\tx\n"), None);
        assert_eq!(effective("CapEff:\tzz\n"), None);
    }
}
