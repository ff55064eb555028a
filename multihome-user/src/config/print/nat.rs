//! Prints what is configured of translated flows.

use serde::Serialize;

use super::super::{NatConfig, NatTimeouts, duration::TextDuration, value::PortRange};

/// The table `[nat]`.
#[derive(Serialize)]
pub struct PrintedNat {
    flows: u32,
    filtering: &'static str,
    unasked: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<String>,
    timeout: PrintedTimeouts,
}

#[derive(Serialize)]
struct PrintedTimeouts {
    tcp_established: String,
    tcp_transitory: String,
    tcp_unanswered: String,
    udp: String,
    udp_unanswered: String,
    icmp: String,
    other: String,
}

impl PrintedNat {
    /// The table as it would be written.
    pub fn new(config: &NatConfig) -> Self {
        Self {
            flows: config.flows,
            filtering: config.filtering.name(),
            unasked: config.unasked.name(),
            ports: config.ports.iter().map(PortRange::to_string).collect(),
            timeout: printed_timeouts(config.timeouts),
        }
    }
}

fn printed_timeouts(timeouts: NatTimeouts) -> PrintedTimeouts {
    let text = |duration| TextDuration(duration).to_string();
    PrintedTimeouts {
        tcp_established: text(timeouts.tcp_established),
        tcp_transitory: text(timeouts.tcp_transitory),
        tcp_unanswered: text(timeouts.tcp_unanswered),
        udp: text(timeouts.udp),
        udp_unanswered: text(timeouts.udp_unanswered),
        icmp: text(timeouts.icmp),
        other: text(timeouts.other),
    }
}
