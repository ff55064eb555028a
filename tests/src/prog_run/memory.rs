//! What the maps of flows take of the kernel's memory.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use multihome_common::abi;

/// The maps that there are because of flows.
const MAPS: [&str; 5] = [
    abi::FLOW_TAGS,
    abi::FLOWS,
    abi::NAT_PORTS,
    abi::PINS,
    abi::FRAGMENTS,
];

/// The memory of each map of flows in bytes, as the kernel tells it.
///
/// # Errors
/// When it does not.
pub fn of_maps(ebpf: &Ebpf) -> Result<Vec<(&'static str, u64)>> {
    MAPS.iter()
        .map(|&name| {
            let Some(Map::Array(data)) = ebpf.map(name) else {
                anyhow::bail!("no array {name}");
            };
            let data: &MapData = data;
            let file: BorrowedFd<'_> = data.fd().as_fd();
            let path = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
            let text = fs::read_to_string(&path).context("no information about a map")?;
            let bytes = text
                .lines()
                .find_map(|line| line.strip_prefix("memlock:"))
                .context("no memory told")?;
            Ok((name, bytes.trim().parse()?))
        })
        .collect()
}
