//! The flow table as a gateway has pinned it, to be looked at whether or not a controller runs.
//! Nothing is changed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::{Array, Map, MapData, MapError};
use multihome_common::{
    abi::{self, SlotName},
    flow::{lifetime::Timeouts, slot::FlowSlot, table::FlowMemory, tag::TagLine},
    limits::MAX_UPLINKS,
    state::SharedState,
};
use thiserror::Error;

use super::{DataplaneError, load::refused, names, pins, read_only::ReadOnlyArray};
use crate::exit::{Classify, ExitClass};

/// Why what is pinned cannot be looked at.
#[derive(Debug, Error)]
pub enum PinnedError {
    /// No gateway has left anything in the run directory.
    #[error("no flow table below {}: nothing is attached", .0.display())]
    NothingAttached(PathBuf),
    /// The run directory is root's.
    #[error("not enough privilege to look into {}", .0.display())]
    Denied(PathBuf),
    /// The maps are laid out in another way.
    #[error("what is pinned below {} is another version's", .0.display())]
    OtherVersion(PathBuf),
    /// Gateways of several network namespaces share the run directory, and none is this one's.
    #[error(
        "several gateways are pinned below {}, none of them of this network namespace",
        .0.display()
    )]
    Several(PathBuf),
    /// The kernel refused something else.
    #[error(transparent)]
    Kernel(#[from] DataplaneError),
}

impl Classify for PinnedError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Denied(_) | Self::Several(_) => ExitClass::Input,
            Self::NothingAttached(_) | Self::OtherVersion(_) => ExitClass::Runtime,
            Self::Kernel(error) => error.exit_class(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NothingAttached(_) => {
                Some("was `multihome run` started, with the same --run-dir?".into())
            }
            Self::Denied(_) => Some("run as root".into()),
            Self::OtherVersion(_) => {
                Some("use the `multihome` that the running gateway was started with".into())
            }
            Self::Several(_) => Some("run it there: ip netns exec NAME multihome ...".into()),
            Self::Kernel(error) => error.help(),
        }
    }
}

/// The flow table, in memory that the programs share and this process cannot write to.
///
/// It can be read through [`FlowMemory`]; whoever claims a slot ends this process.
#[derive(Debug)]
pub struct PinnedFlows {
    tags: ReadOnlyArray<TagLine>,
    flows: ReadOnlyArray<FlowSlot>,
    /// How long flows may be idle, in ticks.
    pub timeouts: Timeouts,
    /// The uplinks' names by id; `None` where there is no such uplink.
    pub uplinks: Vec<Option<String>>,
    /// What the tables take of the kernel's memory.
    pub bytes: TableBytes,
}

/// What the tables behind flows take of the kernel's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableBytes {
    /// The flow table, tags and slots.
    pub flows: u64,
    /// The port table.
    pub ports: u64,
    /// The pins.
    pub pins: u64,
}

impl PinnedFlows {
    /// Opens what is pinned below this run directory: for this network namespace, or for another
    /// one if there is only one.
    ///
    /// # Errors
    /// When nothing is pinned there, or it may not be read.
    pub fn open(run_dir: &Path) -> Result<Self, PinnedError> {
        let pins = Pins::find(run_dir)?;
        let open = |name| pins.open(name);
        let (tags, flows) = (open(abi::FLOW_TAGS)?, open(abi::FLOWS)?);
        let bytes = TableBytes {
            flows: size(&tags, abi::FLOW_TAGS)? + size(&flows, abi::FLOWS)?,
            ports: size(&open(abi::NAT_PORTS)?, abi::NAT_PORTS)?,
            pins: size(&open(abi::PINS)?, abi::PINS)?,
        };
        let state: Array<MapData, SharedState> = Map::Array(open(abi::STATE)?)
            .try_into()
            .map_err(refused(abi::STATE))?;
        Ok(Self {
            tags: ReadOnlyArray::map(&tags, abi::FLOW_TAGS)?,
            flows: ReadOnlyArray::map(&flows, abi::FLOWS)?,
            timeouts: state.get(&0, 0).map_err(refused(abi::STATE))?.timeouts,
            uplinks: pins.uplinks()?,
            bytes,
        })
    }

    /// Buckets of the flow table.
    pub fn buckets(&self) -> u32 {
        self.tags.len() as u32
    }
}

impl FlowMemory for PinnedFlows {
    fn tags(&self, bucket: u32) -> Option<&TagLine> {
        self.tags.get(bucket)
    }

    fn flow(&self, index: u32) -> Option<&FlowSlot> {
        self.flows.get(index)
    }
}

/// What a gateway has pinned below its run directory.
pub(super) struct Pins<'a> {
    run_dir: &'a Path,
    folder: PathBuf,
}

impl<'a> Pins<'a> {
    /// The pins of this network namespace's gateway, or of another one's if there is only one.
    pub fn find(run_dir: &'a Path) -> Result<Self, PinnedError> {
        let folder = directory(run_dir)?;
        Ok(Self { run_dir, folder })
    }

    /// Whether they are of this network namespace's gateway.
    pub fn are_here(&self) -> bool {
        pins::own_directory().is_ok_and(|own| self.folder.ends_with(own))
    }

    /// Opens the map of this name.
    pub fn open(&self, name: &'static str) -> Result<MapData, PinnedError> {
        open(self.run_dir, &self.folder, name)
    }

    /// The uplinks' names by id; `None` where there is no such uplink.
    pub fn uplinks(&self) -> Result<Vec<Option<String>>, PinnedError> {
        let names: Array<MapData, SlotName> = Map::Array(self.open(abi::NAMES)?)
            .try_into()
            .map_err(refused(abi::NAMES))?;
        let mut uplinks = names::read(&names)?;
        uplinks.truncate(MAX_UPLINKS);
        Ok(uplinks)
    }
}

/// The pin directory below this run directory.
fn directory(run_dir: &Path) -> Result<PathBuf, PinnedError> {
    let root = pins::root(run_dir);
    let unreadable = |source: io::Error| {
        missing(run_dir, source.kind()).unwrap_or_else(|| {
            PinnedError::Kernel(DataplaneError::Path {
                action: "read",
                path: root.clone(),
                source,
            })
        })
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(&root).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.path().is_dir() {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    if !pins::is_bpf_fs(&root) {
        return Err(PinnedError::NothingAttached(run_dir.into()));
    }
    match choose(&found, &pins::own_directory()?, &pins::directory_prefix()) {
        Chosen::One(name) => Ok(root.join(name)),
        Chosen::Nothing => Err(PinnedError::NothingAttached(run_dir.into())),
        Chosen::OtherVersion => Err(PinnedError::OtherVersion(run_dir.into())),
        Chosen::Several => Err(PinnedError::Several(run_dir.into())),
    }
}

/// Which of the pin directories is meant.
#[derive(Debug, PartialEq, Eq)]
enum Chosen<'a> {
    One(&'a str),
    Nothing,
    OtherVersion,
    Several,
}

/// This network namespace's directory, else the only one of this version.
fn choose<'a>(found: &'a [String], own: &str, prefix: &str) -> Chosen<'a> {
    if let Some(name) = found.iter().find(|name| *name == own) {
        return Chosen::One(name);
    }
    let mut readable = found.iter().filter(|name| name.starts_with(prefix));
    match (readable.next(), readable.next()) {
        (Some(name), None) => Chosen::One(name),
        (Some(_), Some(_)) => Chosen::Several,
        (None, _) if found.is_empty() => Chosen::Nothing,
        (None, _) => Chosen::OtherVersion,
    }
}

/// What it means that a file below the run directory cannot be opened.
fn missing(run_dir: &Path, kind: io::ErrorKind) -> Option<PinnedError> {
    if kind == io::ErrorKind::PermissionDenied {
        Some(PinnedError::Denied(run_dir.into()))
    } else if kind == io::ErrorKind::NotFound {
        // Also when it is just being detached.
        Some(PinnedError::NothingAttached(run_dir.into()))
    } else {
        None
    }
}

fn open(run_dir: &Path, pins: &Path, name: &'static str) -> Result<MapData, PinnedError> {
    MapData::from_pin(pins.join(name)).map_err(|error| {
        let known = if let MapError::SyscallError(error) = &error {
            missing(run_dir, error.io_error.kind())
        } else {
            None
        };
        known.unwrap_or_else(|| refused(name)(error).into())
    })
}

/// What an array takes, in bytes: whole pages.
fn size(data: &MapData, name: &'static str) -> Result<u64, DataplaneError> {
    const PAGE: u64 = 4096;
    let info = data.info().map_err(refused(name))?;
    let bytes = u64::from(info.max_entries()) * u64::from(info.value_size());
    Ok(bytes.next_multiple_of(PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_network_namespace_comes_first_and_another_one_must_be_alone() {
        let found = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        for (names, expected) in [
            (
                &["abi-1-net-5", "abi-1-net-7"][..],
                Chosen::One("abi-1-net-7"),
            ),
            (&["abi-1-net-5", "abi-2-net-7"], Chosen::One("abi-1-net-5")),
            (&["abi-1-net-5", "abi-1-net-6"], Chosen::Several),
            (&["abi-2-net-7"], Chosen::OtherVersion),
            (&[], Chosen::Nothing),
        ] {
            assert_eq!(choose(&found(names), "abi-1-net-7", "abi-1-net-"), expected);
        }
    }

    #[test]
    fn a_directory_without_pins_is_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let missing = folder.path().join("none");
        for path in [folder.path(), &missing] {
            let error = PinnedFlows::open(path).expect_err("nothing is there");
            assert!(matches!(error, PinnedError::NothingAttached(_)), "{error}");
            assert_eq!(error.exit_class(), ExitClass::Runtime);
        }
        fs::create_dir(folder.path().join("bpf")).expect("room for a folder");
        let error = PinnedFlows::open(folder.path()).expect_err("it is no BPF file system");
        assert!(matches!(error, PinnedError::NothingAttached(_)), "{error}");
    }
}
