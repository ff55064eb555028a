//! What the gateway would do with a packet that a LAN host sends, and why: the packet path's own code over
//! the maps that the kernel's programs read. Nothing is changed, and no controller is needed.

use std::{net::IpAddr, path::Path};

use crate::{
    config::HashPolicy,
    control::{
        client::{self, ControlError},
        protocol::{Request, Response},
    },
    dataplane::Snapshot,
    status::Status,
};
use multihome_common::{
    abi::MemberTiers,
    address::{Address4, Address6},
    family::{Family, V4, V6},
    limits::{MAX_GROUPS, MAX_UPLINKS},
    parse::{self, Parsed},
    port::{PORT_KERNEL, PortEntry},
    rules::Judged,
    sim::Frame,
    state::Policy,
    tables::Tables as _,
    uplink::UplinkEntry,
    verdict::Verdict,
    way::{self, steer::Ends},
    wire::protocol,
};

mod against;
mod choice;
mod document;
mod error;
mod frame;
mod neighbours;
pub mod query;
mod question;
mod text;
mod translation;
pub mod what_if;

pub use choice::Reason;
pub use document::{Explanation, NextHop, PacketShown, RuleShown, Translation, Word};
pub use error::ExplainError;
use query::Query;
use question::{check, downs, families, lan_port};

/// Answers the question of the gateway of this run directory.
///
/// # Errors
/// See [`ExplainError`].
pub fn of_gateway(run_dir: &Path, query: &Query) -> Result<Explanation, ExplainError> {
    // What contradicts itself is told before anything is looked at.
    check(query)?;
    let mut snapshot = Snapshot::open(run_dir)?;
    let status = if query.what_if.is_empty() {
        None
    } else {
        // Only it knows what speaks against uplinks. Without a controller that is inferred.
        asked(run_dir).ok()
    };
    let known = (status.as_ref()).map(|status| against::table(status, &snapshot));
    let known = |group: usize, family: usize| *known.as_ref()?.get(group)?.get(family)?;
    let Trace {
        mut explanation,
        after,
        ifindex,
        ..
    } = trace(&mut snapshot, query, &known)?;
    if let Some(rule) = &mut explanation.rule {
        // Rules have no names in the maps.
        rule.name = (status.or_else(|| asked(run_dir).ok()))
            .and_then(|status| status.rules.get(rule.number as usize - 1).cloned())
            .map(|rule| rule.name)
            .filter(|name| *name != rule.number.to_string());
    }
    if let (Some(hop), Some(ifindex), Some(mac)) =
        (&mut explanation.next_hop, ifindex, after.first_chunk())
    {
        hop.addresses = neighbours::with_mac(ifindex, *mac, query.source.address.is_ipv6());
    }
    Ok(explanation)
}

fn asked(run_dir: &Path) -> Result<Status, ControlError> {
    let Response::Status(status) = client::request(run_dir, &Request::Status {})? else {
        return Err(ControlError::NoAnswer(run_dir.into()));
    };
    Ok(*status)
}

/// The answer as a text for people.
pub fn render(explanation: &Explanation) -> String {
    text::render(explanation)
}

/// A packet's way through the maps.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What is told of it.
    pub explanation: Explanation,
    /// The frame that comes in.
    pub before: Vec<u8>,
    /// What the path has made of it.
    pub after: Vec<u8>,
    /// The device that the kernel would send it by, of this network namespace.
    pub ifindex: Option<u32>,
}

/// Answers a question from these maps; `known` says what speaks against uplinks, by group and family.
///
/// # Errors
/// When the question contradicts itself, or names what is not there.
pub fn trace(
    snapshot: &mut Snapshot,
    query: &Query,
    known: &what_if::Known<'_>,
) -> Result<Trace, ExplainError> {
    check(query)?;
    let devices = snapshot.devices();
    let port = lan_port(snapshot, &devices, query)?;
    let down = downs(snapshot, query)?;
    if down != 0 {
        let tiers: Vec<MemberTiers> = (0..MAX_GROUPS).map(|id| snapshot.tiers(id)).collect();
        what_if::take_down(&mut snapshot.state, down, &tiers, known);
    }
    Ok(match (query.source.address, query.destination.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let ends = [source, destination].map(|it| Address4::from_bytes(it.octets()));
            family::<V4>(snapshot, query, &devices, &port, ends)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ends = [source, destination].map(|it| Address6::from_bytes(it.octets()));
            family::<V6>(snapshot, query, &devices, &port, ends)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            return Err(families(query));
        }
    })
}

/// The answer, once it is known which family the packet is of.
fn family<F: Family>(
    snapshot: &mut Snapshot,
    query: &Query,
    devices: &[PortEntry],
    port: &PortEntry,
    [source, destination]: [F::Address; 2],
) -> Trace {
    let ports = query.ports();
    let ends = Ends {
        inside: source,
        remote: destination,
        protocol: query.protocol.0,
        ports: u32::from(ports.0) << 16 | u32::from(ports.1),
    };
    let sender = F::host(snapshot, source).map_or(SENDER, |host| host.hop.destination());
    let framed = |established| {
        let bytes = frame::frame(query, port, sender, established);
        bytes.unwrap_or_default()
    };
    // What rules ask for is in the first packet of a flow as in all others.
    let judged = judged(snapshot, port, &framed(false));
    let chosen = choice::look::<F>(snapshot, judged, &ends, query);
    let bytes = framed(chosen.is_known());
    let mut frame = Frame::new(&bytes);
    let decision = way::whole::from_lan_anew(&mut frame, snapshot, port);
    let verdict = decision.verdict();
    let is_forwarded = verdict == Verdict::Forwarded;
    let egress = decision.egress();
    let uplink = (is_forwarded && usize::from(egress) < MAX_UPLINKS).then_some(egress);
    let entry = uplink.and_then(|id| entry(snapshot, id));
    let word = |word: u64| Word {
        word: format!("{word:#x}"),
        uplinks: names(snapshot, word),
    };
    let group = usize::from(judged.group());
    let words = &snapshot.state.groups[group];
    let ifindex = ifindex(snapshot, devices, egress).filter(|_| is_forwarded);
    let explanation = Explanation {
        schema_version: document::SCHEMA_VERSION,
        packet: PacketShown::new(query, snapshot.name(port.slot as u8).unwrap_or("?")),
        what_if: query.what_if.iter().map(document::otherwise).collect(),
        rule: judged.rule().map(|rule| RuleShown {
            number: rule + 1,
            name: None,
            drop: judged.is_drop(),
        }),
        group: snapshot.group_name(group).unwrap_or("?").to_owned(),
        hash: policy_name(words.policy(F::INDEX)).to_owned(),
        bucket: chosen.bucket,
        ranking: (chosen.ranking.iter())
            .map(|&id| name(snapshot, id))
            .collect(),
        eligible: word(words.eligible(F::INDEX)),
        last_good: word(words.last_good(F::INDEX)),
        alive: word(snapshot.state.alive[F::INDEX]),
        kept: chosen.kept(|id| name(snapshot, id)),
        verdict: verdict.name().to_owned(),
        meaning: verdict.meaning().trim().to_owned(),
        uplink: uplink.map(|id| name(snapshot, id)),
        because: uplink.and_then(|id| chosen.reason(id)),
        translation: is_forwarded
            .then(|| translation::found(&bytes, frame.as_slice(), entry.as_ref(), F::INDEX))
            .flatten(),
        next_hop: is_forwarded.then(|| NextHop::new(frame.as_slice(), ifindex)),
        mss: entry
            .map(|entry| entry.mss[F::INDEX])
            .filter(|&mss| mss != 0 && query.protocol.0 == protocol::TCP),
        line_has_fault: uplink.is_some_and(|id| snapshot.state.is_faulty(id.into())),
        depends_on_kernel_routes: snapshot.kernel_was_asked(),
    };
    Trace {
        explanation,
        ifindex,
        after: frame.as_slice().to_vec(),
        before: bytes,
    }
}

/// What the rules in force say of a frame; nothing where the path asks none.
fn judged(snapshot: &Snapshot, port: &PortEntry, bytes: &[u8]) -> Judged {
    let (frame, mut parsed) = (Frame::new(bytes), Parsed::default());
    let asked = parse::headers(&frame, port, &mut parsed).and_then(|()| {
        let in_force = snapshot.state.rulebook();
        in_force.map_or(Ok(()), |in_force| {
            way::policy::judge(&frame, snapshot, port, &mut parsed, in_force)
        })
    });
    // What is not understood is not judged, and the whole way says so.
    asked.map_or(Judged::DEFAULT, |()| parsed.judged)
}

/// The number of the device that the kernel knows a slot's hosts by, if it is one of this network namespace.
fn ifindex(snapshot: &Snapshot, devices: &[PortEntry], slot: u8) -> Option<u32> {
    let mut devices = devices.iter().filter(|_| snapshot.is_here);
    // Besides the port itself, a device may have an entry for what of its frames is the kernel's.
    let found = devices.find(|it| it.slot == u32::from(slot) && it.flags & PORT_KERNEL == 0);
    found.map(|entry| match entry.layer3 {
        0 => entry.ifindex,
        layer3 => layer3,
    })
}

/// A MAC for hosts that the gateway does not know.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn entry(snapshot: &Snapshot, id: u8) -> Option<UplinkEntry> {
    let copy = snapshot.state.uplink_copy(id);
    snapshot.uplink(u32::from(id) * 2 + copy).copied()
}

/// An uplink's name, or its id where it has none.
fn name(snapshot: &Snapshot, id: u8) -> String {
    let named = snapshot.name(id).map(str::to_owned);
    named.unwrap_or_else(|| format!("uplink {id}"))
}

/// The names of the uplinks in a word.
fn names(snapshot: &Snapshot, word: u64) -> Vec<String> {
    let ids = (0..MAX_UPLINKS as u8).filter(|id| word >> id & 1 == 1);
    ids.map(|id| name(snapshot, id)).collect()
}

/// The word of the configuration for what is hashed.
const fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::FiveTuple => HashPolicy::FiveTuple,
        Policy::SourceDestination => HashPolicy::SrcDst,
        Policy::Source => HashPolicy::Src,
    }
    .name()
}
