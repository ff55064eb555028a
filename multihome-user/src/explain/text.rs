//! The answer as a text for people.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, SocketAddr},
};

use super::{Explanation, Reason, Translation, Word, document::Kept};

/// The width of the names on the left.
const WIDTH: usize = 12;

/// The whole answer, a line for each thing that there is to say.
pub fn render(answer: &Explanation) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, answer);
    text
}

fn write(text: &mut String, answer: &Explanation) -> fmt::Result {
    headline(text, answer)?;
    let mut line = |name: &str, value: &dyn fmt::Display| writeln!(text, "  {name:WIDTH$} {value}");
    if !answer.what_if.is_empty() {
        line("what if", &answer.what_if.join(", "))?;
    }
    match &answer.rule {
        None => line("rule", &"none matches")?,
        Some(rule) => {
            let what = if rule.drop { ", which drops it" } else { "" };
            let number = rule.number;
            match &rule.name {
                Some(name) => line("rule", &format_args!("{name} (number {number}){what}"))?,
                None => line("rule", &format_args!("number {number}{what}"))?,
            }
        }
    }
    line(
        "group",
        &format_args!("{}, hashed by {}", answer.group, answer.hash),
    )?;
    let ranking = list(&answer.ranking);
    line(
        "bucket",
        &format_args!("{}, which ranks {ranking}", answer.bucket),
    )?;
    line("eligible", &word(&answer.eligible))?;
    if answer.eligible.uplinks.is_empty() {
        line("last good", &word(&answer.last_good))?;
    }
    line("alive", &word(&answer.alive))?;
    if let Some(kept) = kept(&answer.kept) {
        line("known", &kept)?;
    }
    line(
        "verdict",
        &format_args!("{}: {}", answer.verdict, answer.meaning),
    )?;
    if let Some(uplink) = &answer.uplink {
        match answer.because {
            Some(reason) => line("uplink", &format_args!("{uplink}, {}", because(reason)))?,
            None => line("uplink", uplink)?,
        }
    }
    if let Some(translation) = &answer.translation {
        line("translation", &translated(answer, translation))?;
    } else if answer.uplink.is_some() {
        line("translation", &"none")?;
    }
    if let Some(hop) = &answer.next_hop {
        let device = hop.device.as_deref().unwrap_or("a device that is not here");
        let mut who: Vec<String> = hop.addresses.iter().map(IpAddr::to_string).collect();
        who.push(hop.mac.clone());
        line("next hop", &format_args!("{} by {device}", who.join(", ")))?;
    }
    if let Some(mss) = answer.mss {
        line("MSS", &format_args!("at most {mss}"))?;
    }
    if answer.line_has_fault {
        line(
            "note",
            &"a fault may be in the line of this uplink: see multihome fault",
        )?;
    }
    if answer.depends_on_kernel_routes {
        let note = "the host is not in the table of hosts; the kernel's routes, which the programs ask then, \
                    were not asked";
        line("note", &note)?;
    }
    Ok(())
}

fn headline(text: &mut String, answer: &Explanation) -> fmt::Result {
    let packet = &answer.packet;
    let from = end(packet.source, packet.source_port);
    let to = end(packet.destination, packet.destination_port);
    write!(
        text,
        "{} {from} -> {to}, from {}",
        packet.protocol, packet.lan
    )?;
    if let Some(vlan) = packet.vlan {
        write!(text, ", VLAN {vlan}")?;
    }
    if packet.dscp != 0 {
        write!(text, ", DSCP {}", packet.dscp)?;
    }
    match (packet.source_port_assumed, packet.destination_port_assumed) {
        (false, false) => {}
        (true, true) => write!(text, " (ports assumed)")?,
        (true, false) => write!(text, " (source port assumed)")?,
        (false, true) => write!(text, " (destination port assumed)")?,
    }
    text.write_char('\n')
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn word(word: &Word) -> String {
    format!("{} ({})", list(&word.uplinks), word.word)
}

fn kept(kept: &Kept) -> Option<String> {
    let parts = [
        ("translated by", &kept.flow),
        ("pinned to", &kept.pin),
        ("its hosts' flows are on", &kept.relation),
    ];
    let parts = parts
        .iter()
        .filter_map(|(what, uplink)| Some(format!("{what} {}", uplink.as_ref()?)));
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

const fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::Flow => "which its flow's record names",
        Reason::Pin => "which its flow is pinned to",
        Reason::Own => "whose own prefix its source is under",
        Reason::Relation => "which its hosts' other flows are on",
        Reason::Rank => "the first of the bucket's that serves",
        Reason::Spread => "chosen among those that serve, since none of the bucket's does",
    }
}

fn translated(answer: &Explanation, translation: &Translation) -> String {
    let packet = &answer.packet;
    let mut changes = Vec::new();
    let before = end(packet.source, packet.source_port);
    let after = end(
        translation.source,
        packet.source_port.and(translation.source_port),
    );
    if before != after {
        changes.push(format!("source {before} becomes {after}"));
    }
    let before = end(packet.destination, packet.destination_port);
    let after = end(translation.destination, translation.destination_port);
    if before != after {
        changes.push(format!("destination {before} becomes {after}"));
    }
    format!("{}: {}", translation.mode, changes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::{NextHop, PacketShown, document::SCHEMA_VERSION};
    use super::*;

    fn answer() -> Explanation {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let word = |word: &str, all: &[&str]| Word {
            word: word.to_owned(),
            uplinks: names(all),
        };
        Explanation {
            schema_version: SCHEMA_VERSION,
            packet: PacketShown {
                source: [10, 1, 0, 10].into(),
                source_port: Some(50_000),
                destination: [203, 0, 113, 10].into(),
                destination_port: Some(443),
                source_port_assumed: true,
                destination_port_assumed: false,
                protocol: "tcp".to_owned(),
                dscp: 46,
                lan: "lan0".to_owned(),
                vlan: None,
            },
            what_if: names(&["down=cable"]),
            rule: None,
            group: "default".to_owned(),
            hash: "src-dst".to_owned(),
            bucket: 4711,
            ranking: names(&["cable", "fiber"]),
            eligible: word("0x1", &["fiber"]),
            last_good: word("0x0", &[]),
            alive: word("0x1", &["fiber"]),
            kept: Kept {
                flow: Some("cable".to_owned()),
                ..Kept::default()
            },
            verdict: "forwarded".to_owned(),
            meaning: "Steered to an uplink, or sent to its LAN host.".to_owned(),
            uplink: Some("fiber".to_owned()),
            because: Some(Reason::Rank),
            translation: Some(Translation {
                mode: "nat44".to_owned(),
                source: [192, 0, 2, 2].into(),
                source_port: Some(50_000),
                destination: [203, 0, 113, 10].into(),
                destination_port: Some(443),
            }),
            next_hop: Some(NextHop {
                device: Some("wan0".to_owned()),
                mac: "02:00:00:00:00:09".to_owned(),
                addresses: vec![[192, 0, 2, 1].into()],
            }),
            mss: Some(1452),
            line_has_fault: false,
            depends_on_kernel_routes: false,
        }
    }

    #[test]
    fn the_answer_is_told_line_by_line() {
        insta::assert_snapshot!(render(&answer()));
    }

    #[test]
    fn the_document_has_its_form() {
        let text = serde_json::to_string_pretty(&answer()).expect("it is plain data");
        insta::assert_snapshot!(text);
        let back: Explanation = serde_json::from_str(&text).expect("as it was written");
        assert_eq!(back, answer());
    }
}
