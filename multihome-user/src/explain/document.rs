//! The answer, as it is printed in JSON.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    Reason,
    query::{Query, WhatIf},
};

/// The version of [`Explanation`]: it changes when a field changes its meaning or goes away, not when one
/// is added.
pub const SCHEMA_VERSION: u32 = 1;

/// What the gateway would do with a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// [`SCHEMA_VERSION`] of the command.
    pub schema_version: u32,
    /// The packet.
    pub packet: PacketShown,
    /// What was taken to be otherwise, as `down=fiber`.
    pub what_if: Vec<String>,
    /// The rule that it matches; `None` where none does.
    pub rule: Option<RuleShown>,
    /// The group that it belongs to.
    pub group: String,
    /// What of the packet is hashed: `5-tuple`, `src-dst` or `src`.
    pub hash: String,
    /// The bucket that the hash falls into, 0 to 16383.
    pub bucket: u32,
    /// The uplinks that the bucket ranks, at most eight, the best first.
    pub ranking: Vec<String>,
    /// Uplinks that take new flows of the group.
    pub eligible: Word,
    /// What serves while none is eligible.
    pub last_good: Word,
    /// Uplinks that can carry packets at all.
    pub alive: Word,
    /// What is remembered of the flow: the uplinks that it is on.
    pub kept: Kept,
    /// The verdict's name.
    pub verdict: String,
    /// What the verdict means.
    pub meaning: String,
    /// The uplink that it would leave by.
    pub uplink: Option<String>,
    /// Why by that one.
    pub because: Option<Reason>,
    /// What its addresses and ports would become; `None` where they stay.
    pub translation: Option<Translation>,
    /// Where it would be sent.
    pub next_hop: Option<NextHop>,
    /// The largest MSS that its connection may open with, where there is a limit.
    pub mss: Option<u16>,
    /// A fault may be in the uplink's line, which loses some or all that is sent.
    pub line_has_fault: bool,
    /// It is for a LAN host that only the kernel's routes may know, and those were not asked.
    pub depends_on_kernel_routes: bool,
}

/// The first rule that a packet matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleShown {
    /// Its place among the rules, from 1.
    pub number: u32,
    /// Its name, when it has one and the controller runs, which knows it.
    #[serde(default)]
    pub name: Option<String>,
    /// It drops the packet.
    pub drop: bool,
}

/// The packet that was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketShown {
    /// Its source address.
    pub source: IpAddr,
    /// Its source port, where it has one.
    pub source_port: Option<u16>,
    /// Its destination address.
    pub destination: IpAddr,
    /// Its destination port, where it has one.
    pub destination_port: Option<u16>,
    /// The source port was not given.
    pub source_port_assumed: bool,
    /// The destination port was not given.
    pub destination_port_assumed: bool,
    /// Its protocol: a name or a number.
    pub protocol: String,
    /// Its differentiated services code point.
    pub dscp: u8,
    /// The LAN's device that it comes in on.
    pub lan: String,
    /// The VLAN id of its tag.
    pub vlan: Option<u16>,
}

impl PacketShown {
    /// The packet of a question, on this LAN device.
    pub fn new(query: &Query, lan: &str) -> Self {
        let has_ports = query.protocol.has_ports();
        let (from, to) = query.ports();
        Self {
            source: query.source.address,
            source_port: has_ports.then_some(from),
            destination: query.destination.address,
            destination_port: has_ports.then_some(to),
            source_port_assumed: has_ports && query.source.port.is_none(),
            destination_port_assumed: has_ports && query.destination.port.is_none(),
            protocol: query.protocol.to_string(),
            dscp: query.dscp,
            lan: lan.to_owned(),
            vlan: query.vlan,
        }
    }
}

/// What was taken to be otherwise.
pub fn otherwise(what_if: &WhatIf) -> String {
    let WhatIf::Down(name) = what_if;
    format!("down={name}")
}

/// A word, bit n = uplink n, and the names of its uplinks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// In hexadecimal.
    pub word: String,
    /// The names.
    pub uplinks: Vec<String>,
}

/// What is remembered of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The uplink of its record, for a flow that is translated.
    pub flow: Option<String>,
    /// The uplink that it is pinned to.
    pub pin: Option<String>,
    /// The uplink that its hosts' flows are on.
    pub relation: Option<String>,
}

/// What a packet's addresses become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translation {
    /// `nat44`, `nptv6`, or `hairpin` for what goes back to the LAN.
    pub mode: String,
    /// The source afterwards.
    pub source: IpAddr,
    /// The source port afterwards, or an echo request's identifier; `None` where there is none.
    pub source_port: Option<u16>,
    /// The destination afterwards.
    pub destination: IpAddr,
    /// The destination port afterwards, where there is one.
    pub destination_port: Option<u16>,
}

/// Where a packet is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// The device that it leaves by; `None` when it is not there any more.
    pub device: Option<String>,
    /// The MAC of the next station.
    pub mac: String,
    /// The addresses of the packet's family that the kernel knows to have this MAC; none from another network
    /// namespace than the gateway's.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

impl NextHop {
    /// The next station of a frame that leaves by the device of this number.
    pub fn new(frame: &[u8], ifindex: Option<u32>) -> Self {
        let name = ifindex.and_then(|ifindex| nix::net::if_::if_indextoname(ifindex).ok());
        let mac = frame.get(..6).unwrap_or_default().iter();
        let mac: Vec<String> = mac.map(|byte| format!("{byte:02x}")).collect();
        Self {
            device: name.map(|name| name.to_string_lossy().into_owned()),
            mac: mac.join(":"),
            addresses: Vec::new(),
        }
    }
}
