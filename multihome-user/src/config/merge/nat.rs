//! Fills in what a file leaves out about translated flows, and checks their ports.

use std::time::Duration;

use super::super::{
    MAX_NAT_PORTS, NatConfig, NatTimeouts,
    error::ConfigError,
    layer::{NatLayer, NatTimeoutLayer},
    origin::{Located, Origin},
    value::{NatTimeout, PortRange},
};

/// The configuration, and where each of its ranges of ports stands.
pub fn check(given: NatLayer) -> Result<(NatConfig, Vec<Origin>), ConfigError> {
    let default = NatConfig::default();
    let (ports, origins) = check_ports(given.ports)?;
    let config = NatConfig {
        flows: given.flows.map_or(default.flows, |flows| flows.0),
        filtering: given.filtering.unwrap_or_default(),
        unasked: given.unasked.unwrap_or_default(),
        ports,
        timeouts: timeouts(given.timeout),
    };
    Ok((config, origins))
}

/// At most two ranges, without a port in common.
fn check_ports(
    given: Vec<Located<PortRange>>,
) -> Result<(Vec<PortRange>, Vec<Origin>), ConfigError> {
    if let Some(extra) = given.get(MAX_NAT_PORTS) {
        return Err(ConfigError::TooManyPortRanges {
            origin: extra.origin.clone(),
        });
    }
    for (at, second) in given.iter().enumerate() {
        let overlaps = |first: &&Located<PortRange>| first.value.overlaps(second.value);
        if let Some(first) = given[..at].iter().find(overlaps) {
            return Err(ConfigError::PortsTwice {
                origin: second.origin.clone(),
                ports: second.value,
                first: first.value,
            });
        }
    }
    Ok(given
        .into_iter()
        .map(|range| (range.value, range.origin))
        .unzip())
}

fn timeouts(given: NatTimeoutLayer) -> NatTimeouts {
    let default = NatTimeouts::default();
    let or = |given: Option<NatTimeout>, default: Duration| given.map_or(default, |value| value.0);
    NatTimeouts {
        tcp_established: given
            .tcp_established
            .map_or(default.tcp_established, |value| value.0),
        tcp_transitory: or(given.tcp_transitory, default.tcp_transitory),
        tcp_unanswered: or(given.tcp_unanswered, default.tcp_unanswered),
        udp: or(given.udp, default.udp),
        udp_unanswered: or(given.udp_unanswered, default.udp_unanswered),
        icmp: or(given.icmp, default.icmp),
        other: or(given.other, default.other),
    }
}
