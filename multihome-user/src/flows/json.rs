//! Flows as JSON Lines: one object on a line of its own for each.

use std::{
    borrow::Cow,
    io::{self, Write},
    net::Ipv4Addr,
};

use serde::Serialize;

use super::record::Flow;

/// The fields are kept: one may be added, none goes away or changes its meaning.
#[derive(Serialize)]
struct Line<'a> {
    protocol: Cow<'static, str>,
    protocol_number: u8,
    inside: Ipv4Addr,
    inside_port: Option<u16>,
    inside_identifier: Option<u16>,
    outside: Ipv4Addr,
    outside_port: Option<u16>,
    outside_identifier: Option<u16>,
    remote: Ipv4Addr,
    remote_port: Option<u16>,
    uplink: Option<&'a str>,
    state: &'static str,
    forward: bool,
    age_s: u64,
    idle_s: u64,
    left_s: u64,
    packets_out: u64,
    bytes_out: u64,
    packets_in: u64,
    bytes_in: u64,
}

/// Writes one flow; `uplink` is its uplink's name, if that is still known.
///
/// # Errors
/// When nothing can be written.
pub fn row(out: &mut impl Write, flow: &Flow, uplink: Option<&str>) -> io::Result<()> {
    let line = Line {
        protocol: flow.protocol_name(),
        protocol_number: flow.protocol,
        inside: flow.inside.address,
        inside_port: flow.inside.number.port(),
        inside_identifier: flow.inside.number.identifier(),
        outside: flow.outside.address,
        outside_port: flow.outside.number.port(),
        outside_identifier: flow.outside.number.identifier(),
        remote: flow.remote.address,
        remote_port: flow.remote.number.port(),
        uplink,
        state: flow.state.name(),
        forward: flow.forward,
        age_s: flow.age.as_secs(),
        idle_s: flow.idle.as_secs(),
        left_s: flow.left.as_secs(),
        packets_out: flow.carried.packets_out,
        bytes_out: flow.carried.bytes_out,
        packets_in: flow.carried.packets_in,
        bytes_in: flow.carried.bytes_in,
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}
