//! Prints forwards.

use serde::Serialize;

use super::super::{ForwardConfig, value::PortRange};

/// A table `[[forward]]`.
#[derive(Serialize)]
pub struct PrintedForward<'c> {
    protocol: &'static str,
    outside: PrintedPorts,
    inside: String,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    uplinks: &'c [String],
}

/// One port is a number, several are a text.
#[derive(Serialize)]
#[serde(untagged)]
pub enum PrintedPorts {
    One(u16),
    Range(String),
}

impl<'c> PrintedForward<'c> {
    /// The table as it would be written.
    pub fn new(forward: &'c ForwardConfig) -> Self {
        Self {
            protocol: forward.protocol.name(),
            outside: printed_ports(forward.outside),
            inside: forward.inside.to_string(),
            uplinks: &forward.uplinks,
        }
    }
}

/// Ports as they would be written.
pub fn printed_ports(ports: PortRange) -> PrintedPorts {
    if ports.low() == ports.high() {
        PrintedPorts::One(ports.low())
    } else {
        PrintedPorts::Range(ports.to_string())
    }
}
