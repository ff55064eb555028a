//! `multihome explain`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    config::DEFAULT_RUN_DIR,
    explain::query::{Endpoint, Protocol, Query, WhatIf},
};

/// `multihome explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
The answer comes from the packet path's own code, run on such a packet over the maps that the programs in
the kernel read, whether or not a controller runs. Nothing is sent, and nothing is changed: a new flow is
not opened, a known one does not count as used.

Without ports, 50000 and 443 are taken for those of TCP and UDP. What is asked about is a connection's first
segment, or its next one when the gateway knows the flow. Without --lan, the packet comes in on the device that
its source is known at, else on the first one.

Examples:
  multihome explain 192.168.1.20 203.0.113.7:443 tcp
  multihome explain [2001:db8:1::20]:5060 2001:db8:5::1 udp --dscp 46 --what-if down=fibre
  multihome explain 192.168.1.20 203.0.113.7 icmp --json | jq -r .uplink")]
pub struct ExplainArgs {
    /// The LAN host: an address, with a port or without, as 192.0.2.1:80 or [2001:db8::1]:80
    #[arg(value_name = "SRC[:PORT]")]
    pub source: Endpoint,

    /// The far end, likewise
    #[arg(value_name = "DST[:PORT]")]
    pub destination: Endpoint,

    /// The protocol: tcp, udp, icmp, icmpv6, gre, esp, ah, sctp or a number
    #[arg(value_name = "PROTO")]
    pub protocol: Protocol,

    /// The VLAN id of the frame's tag, 1 to 4094
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub vlan: Option<u16>,

    /// The packet's DSCP, 0 to 63
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=63))]
    pub dscp: u8,

    /// The LAN's device that it comes in on
    #[arg(long, value_name = "DEV")]
    pub lan: Option<String>,

    /// Answer as if this uplink were down; may be repeated
    #[arg(long, value_name = "down=NAME")]
    pub what_if: Vec<WhatIf>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// The run directory that was given to `multihome run`
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub run_dir: PathBuf,
}

impl ExplainArgs {
    /// What is asked.
    pub fn query(&self) -> Query {
        Query {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            dscp: self.dscp,
            vlan: self.vlan,
            lan: self.lan.clone(),
            what_if: self.what_if.clone(),
        }
    }
}
