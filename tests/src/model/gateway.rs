//! The model of the gateway: a packet and what the programs did with it in, what they had to do out.
//!
//! Where the programs are free to choose (an uplink for a new flow, an outside port), the model takes
//! their choice, and checks that it is one that they may make.

use std::net::Ipv4Addr;

use multihome_common::{
    address::Class,
    fault::Share,
    verdict::{Disposition, Verdict},
};

use super::{
    packet::{Packet, flag},
    rewrite::{self, End, Out},
    site::{Host, Port, Site, Words, next_hop, uplink_mac},
    tables::{Ends, Mapping, Number, Record, Tables},
};

/// What the programs did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The verdict.
    pub verdict: Option<Verdict>,
    /// The uplink that the packet was forwarded to.
    pub uplink: Option<u8>,
    /// The packet afterwards.
    pub output: Vec<u8>,
    /// Flows that began.
    pub opened: Vec<Record>,
    /// Flows that ended.
    pub closed: Vec<Record>,
}

/// What becomes of a packet.
#[derive(Clone, Debug)]
pub struct Fate {
    /// The verdict.
    pub verdict: Verdict,
    /// What leaves.
    pub out: Out,
    /// The uplink that it is forwarded to.
    pub uplink: Option<u8>,
}

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// For this reason.
    Verdict(Verdict),
    /// It is larger than this.
    TooBig(u16),
}

impl From<Verdict> for Stop {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}

/// The model.
pub struct Gateway {
    /// Where it stands.
    pub site: Site,
    /// What changes while packets flow.
    pub words: Words,
    /// What it remembers.
    pub tables: Tables,
    /// What the programs did with the packet in hand.
    pub(super) seen: Seen,
    /// It was sent, and the line has lost it.
    lost: bool,
    pub(super) opened: Vec<Ends>,
    pub(super) closed: Vec<Ends>,
    pub(super) faults: Vec<String>,
    /// Pins of which it is not known which of several uplinks they name.
    pub(super) doubts: Vec<(Ends, Vec<u8>)>,
    /// Uplinks that may have been chosen, when nothing told which.
    pub(super) unsure: Vec<u8>,
    /// How often one of several uplinks was remembered, and nothing told which.
    pub ambiguous: u64,
    /// Datagrams that the programs had forgotten.
    pub forgotten: u64,
    /// Flows that gave way to others.
    pub displaced: u64,
    /// Far ends whose number is that of another: sixteen bits stand for an address and a protocol.
    pub collisions: u64,
}

impl Gateway {
    /// A gateway without flows.
    pub fn new(site: Site, words: Words) -> Self {
        let mut tables = Tables::default();
        if site.tracked() {
            // Forwards lead in from every outside address.
            for address in site.uplinks.iter().flat_map(|uplink| &uplink.outside) {
                for (outside, inside, port) in super::site::FORWARDS {
                    for number in [Number::Tcp(outside), Number::Udp(outside)] {
                        let mapping = Mapping {
                            inside,
                            port,
                            flows: 0,
                            forward: true,
                        };
                        tables.numbers.insert((*address, number), mapping);
                    }
                }
            }
        }
        Self {
            site,
            words,
            tables,
            seen: Seen::default(),
            lost: false,
            opened: Vec::new(),
            closed: Vec::new(),
            faults: Vec::new(),
            unsure: Vec::new(),
            doubts: Vec::new(),
            ambiguous: 0,
            forgotten: 0,
            displaced: 0,
            collisions: 0,
        }
    }

    /// Judges what the programs did with a packet.
    ///
    /// # Errors
    /// What they should have done.
    pub fn judge(&mut self, port: Port, frame: &[u8], seen: Seen) -> Result<Verdict, String> {
        self.lost = seen.verdict == Some(Verdict::DropFaultOut);
        self.seen = seen;
        if self.lost && port == Port::Lan {
            // What was chosen for it is as for any packet that is sent.
            self.seen.verdict = Some(Verdict::Forwarded);
        }
        if self.doubts.is_empty() {
            return self.judge_once(port, frame);
        }
        let before = self.tables.clone();
        let judged = self.judge_once(port, frame);
        if judged.is_ok() {
            return judged;
        }
        // Perhaps a pin is another than was thought.
        for (at, (ends, candidates)) in self.doubts.clone().into_iter().enumerate() {
            for uplink in candidates {
                self.tables = before.clone();
                if let Some(pin) = self.tables.pins.get_mut(&ends) {
                    pin.uplink = uplink;
                }
                if let Ok(verdict) = self.judge_once(port, frame) {
                    self.doubts.remove(at);
                    return Ok(verdict);
                }
            }
        }
        judged
    }

    fn judge_once(&mut self, port: Port, frame: &[u8]) -> Result<Verdict, String> {
        self.faults.clear();
        self.opened.clear();
        self.closed.clear();
        self.unsure.clear();
        let read = Packet::read(frame);
        let exposed = self.is_exposed(port, read.as_ref().ok());
        let fate = match read {
            _ if exposed && self.is_lost(Verdict::DropFaultIn) => Fate {
                verdict: Verdict::DropFaultIn,
                out: Out::unchanged(frame),
                uplink: None,
            },
            Ok(packet) => {
                let fate = match port {
                    Port::Lan => self.outbound(&packet),
                    Port::Uplink(id) => self.inbound(&packet, id),
                };
                let fate = fate.map(|fate| self.clamped(port, &packet, fate));
                fate.unwrap_or_else(|stop| stopped(&packet, stop))
            }
            Err(verdict) => Fate {
                verdict,
                out: Out::unchanged(frame),
                uplink: None,
            },
        };
        let fate = self.behind_the_device(port, exposed, fate);
        self.compare_flows();
        let verdict = if self.lost {
            Some(Verdict::DropFaultOut)
        } else {
            self.seen.verdict
        };
        if verdict != Some(fate.verdict) {
            self.faults.push(format!(
                "verdict {:?} ({:?}) instead of {:?}",
                verdict, self.seen.uplink, fate.verdict
            ));
        } else if self.seen.uplink != fate.uplink {
            self.faults.push(format!(
                "uplink {:?} instead of {:?}",
                self.seen.uplink, fate.uplink
            ));
        } else if fate.verdict.disposition() != Disposition::Drop && !fate.out.is(&self.seen.output)
        {
            self.faults.push(format!(
                "out\n  {:02x?}\ninstead of\n  {:02x?}",
                self.seen.output, fate.out.bytes
            ));
        }
        if self.faults.is_empty() {
            Ok(fate.verdict)
        } else {
            Err(self.faults.join("; "))
        }
    }

    /// Whether a packet that comes in may be lost in the line of its uplink.
    fn is_exposed(&self, port: Port, packet: Option<&Packet<'_>>) -> bool {
        let (Port::Uplink(id), Some((faulty, effect))) = (port, self.words.fault) else {
            return false;
        };
        let is_beyond =
            packet.is_some_and(|packet| self.site.class(packet.source) == Class::Internet);
        id == faulty && (is_beyond || !effect.beyond_next_hop)
    }

    /// Whether a packet in a line that has a fault is lost. If some are, chance chooses.
    fn is_lost(&self, verdict: Verdict) -> bool {
        let all = self
            .words
            .fault
            .is_some_and(|(_, effect)| effect.loss == Share::ALL);
        let lost = if verdict == Verdict::DropFaultOut {
            self.lost
        } else {
            self.seen.verdict == Some(verdict)
        };
        all || lost
    }

    /// What the line makes of what is sent to an uplink.
    fn behind_the_device(&self, port: Port, exposed: bool, fate: Fate) -> Fate {
        let faulty = self.words.fault.map(|(id, _)| id);
        let sent = match port {
            Port::Lan => fate.uplink.is_some() && fate.uplink == faulty,
            Port::Uplink(_) => exposed && fate.verdict.disposition() == Disposition::Reply,
        };
        if sent && self.is_lost(Verdict::DropFaultOut) {
            return Fate {
                verdict: Verdict::DropFaultOut,
                ..fate
            };
        }
        fate
    }

    /// Notes that something is not as it must be.
    pub(super) fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    /// Sends a packet by an uplink.
    pub(super) fn leave(&self, packet: &Packet<'_>, out: Out, id: u8) -> Fate {
        let out = out.hop(packet.at, next_hop(id, packet.is_v6()), uplink_mac(id));
        Fate {
            verdict: Verdict::Forwarded,
            out,
            uplink: Some(id),
        }
    }

    /// Hands a packet to a LAN host.
    pub(super) fn hand_over(packet: &Packet<'_>, out: Out, host: Host) -> Fate {
        let out = out.hop(packet.at, host.mac, host.from);
        Fate {
            verdict: Verdict::Forwarded,
            out,
            uplink: None,
        }
    }

    /// Leaves a packet for a LAN host that nobody knows yet to the kernel, with its inside address.
    pub(super) fn to_kernel(out: Out) -> Fate {
        Fate {
            verdict: Verdict::PassNoNeighbour,
            out,
            uplink: None,
        }
    }

    /// Translates one end of a packet and what follows its header.
    pub(super) fn translated(packet: &Packet<'_>, side: End, to: (Ipv4Addr, u16)) -> Out {
        Out::unchanged(packet.frame).translate(packet.at, packet.end, side, to, !packet.later)
    }

    /// The largest packet of an uplink.
    pub(super) fn mtu(&self, id: u8) -> u16 {
        self.site.uplinks[usize::from(id)].mtu
    }
}

/// What is said to a segment whose connection nobody knows.
pub(super) fn unknown_connection(packet: &Packet<'_>) -> Stop {
    if packet.tcp_flags() & flag::RST != 0 {
        Verdict::DropUnknownConnection.into()
    } else {
        Verdict::ReplyReset.into()
    }
}

/// What becomes of a packet that goes no further.
fn stopped(packet: &Packet<'_>, stop: Stop) -> Fate {
    let (verdict, mtu) = match stop {
        Stop::Verdict(verdict) => (verdict, 0),
        Stop::TooBig(mtu) => (Verdict::ReplyTooBig, mtu),
    };
    let silent = [
        (Verdict::ReplyTimeExceeded, Verdict::DropHopLimit),
        (Verdict::ReplyTooBig, Verdict::DropTooBig),
        (Verdict::ReplyUnreachable, Verdict::DropNoUplink),
    ];
    let silent = silent.iter().find(|(answer, _)| *answer == verdict);
    let silent = silent.map(|(_, silent)| *silent);
    let (verdict, out) = match silent {
        Some(silent) if !packet.may_be_answered() => (silent, Out::unchanged(packet.frame)),
        Some(_) => (verdict, rewrite::error(packet, verdict, mtu)),
        None if verdict == Verdict::ReplyReset => {
            if packet.payload().len() < 20 {
                (Verdict::DropTruncated, Out::unchanged(packet.frame))
            } else {
                (verdict, rewrite::reset(packet))
            }
        }
        None => (verdict, Out::unchanged(packet.frame)),
    };
    Fate {
        verdict,
        out,
        uplink: None,
    }
}
