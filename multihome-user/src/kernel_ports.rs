//! Which ports the kernel gives to sockets of this machine, and which are left for flows.

use std::{fs, io, ops::RangeInclusive, path::Path};

use multihome_common::nat44::ports::PortRanges;

use crate::{
    config::PortRange,
    exit::{Classify, ExitClass},
};

/// Where the kernel says it, for the network namespace of whoever reads it.
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Ports below are those of services (RFC 6335), and never given to flows unless configured.
const FIRST: u16 = 1024;

/// Why the kernel's ports are not known.
#[derive(Debug, thiserror::Error)]
pub enum KernelPortsError {
    /// The kernel does not tell.
    #[error("cannot read {RANGE}")]
    Read(#[source] io::Error),
    /// The kernel tells something else.
    #[error("{RANGE} says {0:?}, which is no range of ports")]
    Strange(String),
}

impl Classify for KernelPortsError {
    fn exit_class(&self) -> ExitClass {
        ExitClass::Runtime
    }
}

/// The ports that the kernel gives to sockets: `net.ipv4.ip_local_port_range`.
///
/// # Errors
/// When the kernel does not tell.
pub fn read() -> Result<RangeInclusive<u16>, KernelPortsError> {
    let text = fs::read_to_string(Path::new(RANGE)).map_err(KernelPortsError::Read)?;
    parse(&text).ok_or_else(|| KernelPortsError::Strange(text.trim().to_owned()))
}

fn parse(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    let (first, last) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    numbers.next().is_none().then_some(first..=last)
}

/// The ports that flows may get: as configured, else all above 1023 that the kernel leaves. At most
/// two ranges; none when the kernel takes all.
pub fn for_flows(
    configured: &[PortRange],
    kernel: &RangeInclusive<u16>,
) -> Vec<RangeInclusive<u16>> {
    if !configured.is_empty() {
        return configured
            .iter()
            .map(|range| range.low()..=range.high())
            .collect();
    }
    if kernel.is_empty() {
        return vec![FIRST..=u16::MAX];
    }
    let below = kernel.start().checked_sub(1).map(|last| FIRST..=last);
    let above = kernel.end().checked_add(1);
    let above = above.map(|first| first.max(FIRST)..=u16::MAX);
    let mut ranges: Vec<_> = below.into_iter().chain(above).collect();
    ranges.retain(|range| !range.is_empty());
    ranges
}

/// The same ranges as the programs read them.
pub fn word(ranges: &[RangeInclusive<u16>]) -> PortRanges {
    let ends = |n: usize| {
        ranges
            .get(n)
            .map_or((0, 0), |range| (*range.start(), *range.end()))
    };
    PortRanges::new(ends(0), ends(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_get_what_the_kernel_leaves() {
        for (kernel, left) in [
            (32_768..=60_999, vec![1024..=32_767, 61_000..=65_535]),
            (1024..=60_999, vec![61_000..=65_535]),
            (500..=60_999, vec![61_000..=65_535]),
            (500..=600, vec![1024..=65_535]),
            (32_768..=65_535, vec![1024..=32_767]),
            (1024..=65_535, vec![]),
            (0..=0, vec![1024..=65_535]),
        ] {
            assert_eq!(for_flows(&[], &kernel), left, "{kernel:?}");
        }
        let (high, low) = (60_999, 32_768);
        assert_eq!(for_flows(&[], &(high..=low)), vec![1024..=65_535]);
    }

    #[test]
    fn what_is_configured_stands() {
        let configured = ["2000-2999", "80"].map(|text| text.parse().expect("ports"));
        let ranges = for_flows(&configured, &(32_768..=60_999));
        assert_eq!(ranges, [2000..=2999, 80..=80]);
        assert_eq!(word(&ranges), PortRanges::new((2000, 2999), (80, 80)));
        assert_eq!(word(&ranges[..1]), PortRanges::new((2000, 2999), (0, 0)));
    }

    #[test]
    fn the_kernels_line_is_read() {
        assert_eq!(parse("32768\t60999\n"), Some(32_768..=60_999));
        for bad in ["", "1", "a b", "1 2 3", "1 70000"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert!(read().is_ok_and(|range| !range.is_empty()));
    }
}
