//! Why the controller did not start, or ended.

use std::io;

use multihome_common::framing::Framing;

use crate::{
    bfd::BfdError,
    config::{ConfigError, Origin},
    control::server::BindError,
    dataplane::DataplaneError,
    delegation::file::PrefixFileError,
    domains::file::DomainFileError,
    drain::file::DrainFileError,
    events::HubError,
    exit::{Classify, ExitClass},
    http::HttpError,
    kernel_ports::KernelPortsError,
    netlink::{Misfit, NetlinkError},
    privilege::MissingPrivilege,
    probe::{ProbeError, exchange::AuthoritiesError},
    quality::quota::QuotaFileError,
    run_dir::RunDirError,
    segments::TooManySegments,
    state_dir::StateDirError,
};

/// Why the controller did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// This process may not do what a gateway does.
    #[error(transparent)]
    Privilege(#[from] MissingPrivilege),
    /// The run directory cannot be used, or another controller has it.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The state directory cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// What was used of quotas cannot be read.
    #[error(transparent)]
    Quota(#[from] QuotaFileError),
    /// No thread can be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The control socket cannot be opened.
    #[error(transparent)]
    Control(#[from] BindError),
    /// Metrics cannot be served.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Two metrics have one name.
    #[error("the metrics contradict each other; this binary is damaged, build it anew")]
    Metrics(#[from] prometheus::Error),
    /// The kernel's tables cannot be followed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The kernel side failed.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// Probes cannot be sent.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Certificates of probe targets cannot be verified.
    #[error(
        "the certificate of the probe target {target} cannot be verified: {source}; install the package \
         ca-certificates, or give the target verify = false"
    )]
    NoAuthorities {
        /// The first such target.
        target: String,
        /// Why.
        source: AuthoritiesError,
    },
    /// BFD cannot be spoken.
    #[error(transparent)]
    Bfd(#[from] BfdError),
    /// There are too many routes or prefixes.
    #[error(transparent)]
    Segments(#[from] TooManySegments),
    /// Events cannot be told.
    #[error(transparent)]
    Events(#[from] HubError),
    /// Events cannot be forgotten.
    #[error("cannot remove the journal of events")]
    Journal(#[source] io::Error),
    /// Answers of DNS cannot be observed.
    #[error("cannot start the thread that observes answers of DNS")]
    Observer(#[source] io::Error),
    /// Told prefixes cannot be forgotten.
    #[error(transparent)]
    Prefixes(#[from] PrefixFileError),
    /// Drains cannot be forgotten.
    #[error(transparent)]
    Drains(#[from] DrainFileError),
    /// What was learned of domains cannot be forgotten.
    #[error(transparent)]
    Domains(#[from] DomainFileError),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signal(#[source] io::Error),
    /// A port has the frames of another device.
    #[error("{origin}: frames of {tags} that come in for {device} are those of {other}")]
    SameFrames {
        /// Where the port was named.
        origin: Origin,
        /// Its device.
        device: String,
        /// Its tags.
        tags: Framing,
        /// The other device.
        other: String,
    },
    /// A device that was named does not exist.
    #[error("{origin}: there is no device {device:?}; `ip link` lists those there are")]
    UnknownDevice {
        /// Where it was named.
        origin: Origin,
        /// The name.
        device: String,
    },
    /// A device that was named has frames without an Ethernet header.
    #[error("{origin}: {device}: {misfit}")]
    NotEthernet {
        /// Where it was named.
        origin: Origin,
        /// The name.
        device: String,
        /// What it is instead, and what to do.
        misfit: Misfit,
    },
    /// Tags are configured for a device that stands for tags itself.
    #[error("{origin}: {device} is a VLAN device of the kernel, which says the tags itself")]
    VlanOnVlan {
        /// Where the device was named.
        origin: Origin,
        /// The device.
        device: String,
    },
    /// What is configured does not go together with what this machine says.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Which ports are the kernel's own is not known.
    #[error(transparent)]
    KernelPorts(#[from] KernelPortsError),
    /// The kernel takes all ports for sockets of its own.
    #[error(
        "net.ipv4.ip_local_port_range leaves no port above 1023 for translated flows; give the \
         kernel less, such as sysctl -w net.ipv4.ip_local_port_range='32768 60999'"
    )]
    NoPorts,
    /// The port table, which was made at the first start, has no room for all outside addresses.
    #[error(
        "no room for the outside addresses of uplink {name}: {needed} are configured for all \
         uplinks, and the tables of the gateway that runs were made for {room}; run `multihome \
         detach`, which ends its flows, and start again"
    )]
    NoPool {
        /// The uplink.
        name: String,
        /// What all uplinks need.
        needed: u16,
        /// What there is.
        room: u16,
    },
    /// An earlier controller left names for all slots, and none is free.
    #[error("no slot is free for {name}; run `multihome detach` and start again")]
    NoSlot {
        /// The uplink or LAN port.
        name: String,
    },
}

impl Classify for RunError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Privilege(error) => error.exit_class(),
            Self::RunDir(error) => error.exit_class(),
            Self::StateDir(error) => error.exit_class(),
            Self::Quota(error) => error.exit_class(),
            Self::Control(error) => error.exit_class(),
            Self::Http(error) => error.exit_class(),
            Self::Dataplane(error) => error.exit_class(),
            Self::Config(error) => error.exit_class(),
            Self::KernelPorts(error) => error.exit_class(),
            Self::Prefixes(error) => error.exit_class(),
            Self::Events(error) => error.exit_class(),
            Self::Drains(error) => error.exit_class(),
            Self::Domains(error) => error.exit_class(),
            Self::UnknownDevice { .. }
            | Self::NotEthernet { .. }
            | Self::VlanOnVlan { .. }
            | Self::SameFrames { .. }
            | Self::Segments(_)
            | Self::NoPorts
            | Self::NoAuthorities { .. }
            | Self::NoPool { .. } => ExitClass::Input,
            Self::Netlink(_)
            | Self::Metrics(_)
            | Self::Thread(_)
            | Self::Probe(_)
            | Self::Journal(_)
            | Self::Observer(_)
            | Self::Bfd(_)
            | Self::Signal(_)
            | Self::NoSlot { .. } => ExitClass::Runtime,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Privilege(error) => error.help(),
            Self::RunDir(error) => error.help(),
            Self::StateDir(error) => error.help(),
            Self::Quota(error) => error.help(),
            Self::Control(error) => error.help(),
            Self::Http(error) => error.help(),
            Self::Dataplane(error) => error.help(),
            Self::Config(error) => error.help(),
            Self::KernelPorts(error) => error.help(),
            Self::Prefixes(error) => error.help(),
            Self::Events(error) => error.help(),
            Self::Drains(error) => error.help(),
            Self::Domains(error) => error.help(),
            Self::VlanOnVlan { .. } => Some(
                "name the device below and leave vlan= to say all tags, or make a VLAN device for all of them"
                    .into(),
            ),
            Self::SameFrames { .. } => Some(
                "name the VLAN device alone, without vlan=, or take it away".into(),
            ),
            Self::UnknownDevice { .. }
            | Self::NotEthernet { .. }
            | Self::NoPorts
            | Self::NoAuthorities { .. }
            | Self::NoPool { .. }
            | Self::Netlink(_)
            | Self::Metrics(_)
            | Self::Thread(_)
            | Self::Probe(_)
            | Self::Bfd(_)
            | Self::Segments(_)
            | Self::Journal(_)
            | Self::Observer(_)
            | Self::Signal(_)
            | Self::NoSlot { .. } => None,
        }
    }
}
