//! What can go wrong between the controller and the kernel's BPF side.

use std::{io, path::PathBuf};

use aya::{
    EbpfError,
    maps::{MapError, xdp::XdpMapError},
    pin::PinError,
    programs::{ProgramError, links::LinkError},
};

use crate::{
    exit::{Classify, ExitClass},
    offloads::OffloadError,
};

/// What can go wrong between the controller and the kernel's BPF side.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// A directory or file of the run directory could not be used.
    #[error("cannot {action} {}", path.display())]
    Path {
        /// What was tried: "create", "mount a BPF file system on", ...
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The object with the programs was refused.
    #[error("cannot load the XDP programs; they need a kernel from 6.1 on with BTF")]
    Load(#[source] EbpfError),
    /// One program was refused.
    #[error("the kernel refused the program {program}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// Why, with the verifier's words.
        #[source]
        source: ProgramError,
    },
    /// The object lacks a map or program that this binary expects.
    #[error("the object has no {0}; this binary is damaged, build it anew")]
    Missing(&'static str),
    /// The thread that waits for running programs could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A map could not be read or written.
    #[error("cannot use the map {map}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// Why not.
        #[source]
        source: MapError,
    },
    /// A device could not be entered to send to.
    #[error("cannot send to the device with ifindex {ifindex} (slot {slot})")]
    Device {
        /// The slot.
        slot: u32,
        /// The device.
        ifindex: u32,
        /// Why not.
        #[source]
        source: XdpMapError,
    },
    /// The driver has no native XDP.
    #[error(
        "{device}: its driver has no native XDP; use another device, or --xdp-mode generic, which \
         works everywhere and is slow"
    )]
    NotNative {
        /// The device.
        device: String,
        /// The kernel's answer.
        #[source]
        source: ProgramError,
    },
    /// The device would drop what is redirected to it.
    #[error(
        "{device}: the driver does not send what XDP redirects, so it can be neither LAN port nor \
         uplink; use another device, or --xdp-mode generic. Of a veth pair, the peer must have GRO \
         on, switched on while both ends are up (ethtool -K PEER gro off gro on)"
    )]
    NotRedirectable {
        /// The device.
        device: String,
    },
    /// Another XDP program is on the device.
    #[error(
        "{device}: another XDP program is attached; take it off (ip link set dev {device} xdp off) \
         or leave the device out"
    )]
    Busy {
        /// The device.
        device: String,
        /// The kernel's answer.
        #[source]
        source: ProgramError,
    },
    /// The kernel refused to attach.
    #[error(
        "{device}: cannot attach the XDP program; an MTU above about 3500 bytes or LRO may forbid \
         it (ip link set dev {device} mtu 1500; ethtool -K {device} lro off)"
    )]
    Attach {
        /// The device.
        device: String,
        /// The kernel's answer.
        #[source]
        source: ProgramError,
    },
    /// The kernel attached without a link, which a restarted controller could not adopt.
    #[error("{device}: the kernel gave no BPF link for XDP, which needs Linux 5.9 or newer")]
    NoLink {
        /// The device.
        device: String,
    },
    /// A link could not be pinned or adopted.
    #[error("{device}: cannot keep the attachment beyond this process")]
    Pin {
        /// The device.
        device: String,
        /// Why not.
        #[source]
        source: PinError,
    },
    /// A pinned link could not be opened.
    #[error("cannot open the pinned attachment of {device}")]
    Link {
        /// The device.
        device: String,
        /// Why not.
        #[source]
        source: LinkError,
    },
    /// The kernel's own frames cannot be given tags.
    #[error(
        "{device}: cannot tag what the kernel itself sends: {reason}; it needs CONFIG_NET_CLS_BPF and the \
         clsact qdisc (modules cls_bpf and sch_ingress), or a VLAN device of the kernel in place of vlan="
    )]
    Egress {
        /// The device.
        device: String,
        /// Why not.
        reason: String,
    },
    /// A device hides tags from the programs.
    #[error(transparent)]
    Offloads(#[from] OffloadError),
    /// More devices have colliding numbers than the port table can tell apart.
    #[error(
        "{device}: no room in the port table for ifindex {ifindex}: too many devices, VLANs and sessions \
         have the same place in it; a device that is made anew has another ifindex and other places"
    )]
    PortTable {
        /// The device.
        device: String,
        /// Its ifindex.
        ifindex: u32,
    },
}

impl Classify for DataplaneError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::NotNative { .. }
            | Self::NotRedirectable { .. }
            | Self::Busy { .. }
            | Self::Offloads(_)
            | Self::Egress { .. } => ExitClass::Input,
            Self::Path { .. }
            | Self::Load(_)
            | Self::Program { .. }
            | Self::Missing(_)
            | Self::Thread(_)
            | Self::Map { .. }
            | Self::Device { .. }
            | Self::Attach { .. }
            | Self::NoLink { .. }
            | Self::Pin { .. }
            | Self::Link { .. }
            | Self::PortTable { .. } => ExitClass::Runtime,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Offloads(error) => error.help(),
            Self::Path { .. }
            | Self::Load(_)
            | Self::Program { .. }
            | Self::Missing(_)
            | Self::Thread(_)
            | Self::Map { .. }
            | Self::Device { .. }
            | Self::NotNative { .. }
            | Self::NotRedirectable { .. }
            | Self::Busy { .. }
            | Self::Attach { .. }
            | Self::NoLink { .. }
            | Self::Pin { .. }
            | Self::Link { .. }
            | Self::Egress { .. }
            | Self::PortTable { .. } => None,
        }
    }
}
