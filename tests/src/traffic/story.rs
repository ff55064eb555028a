//! What happened to the packets of a stream: the uplink of each, what was lost, and how long a
//! flow was without one.

use anyhow::{Result, bail, ensure};

use super::{capture::Seen, clock, flows::Flow, payload::Stamp};

/// What happened to all flows of a stream.
#[derive(Debug)]
pub struct Story {
    /// One for each flow, in the order of the flows.
    pub flows: Vec<FlowStory>,
}

/// What happened to one flow.
#[derive(Debug)]
pub struct FlowStory {
    /// The flow.
    pub flow: Flow,
    /// Its packets, in the order in which they were sent.
    pub packets: Vec<Packet>,
}

/// What happened to one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it was sent, in nanoseconds of [`clock::now`].
    pub sent: u64,
    /// When it came to the internet, in nanoseconds of [`clock::now`], and the index of the uplink
    /// that it took; none if it was lost before.
    pub arrived: Option<(u64, usize)>,
    /// True if it came back to the host that sent it.
    pub returned: bool,
}

/// A flow's change from one uplink to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// When the first packet came by the new uplink, in nanoseconds of [`clock::now`].
    pub at: u64,
    /// The uplink before.
    pub from: usize,
    /// The uplink after.
    pub to: usize,
}

impl Story {
    /// Puts together what was seen with when packets were sent, one each time on each flow. Fails
    /// when a packet was seen twice.
    pub(super) fn new(
        flows: Vec<Flow>,
        sent: &[u64],
        out: &[Seen<Stamp>],
        back: &[Seen<Stamp>],
    ) -> Result<Self> {
        let unseen = |sent: &u64| Packet {
            sent: *sent,
            arrived: None,
            returned: false,
        };
        let mut flows: Vec<FlowStory> = flows
            .into_iter()
            .map(|flow| FlowStory {
                flow,
                packets: sent.iter().map(unseen).collect(),
            })
            .collect();
        for Seen { point, at, what } in out {
            let packet = &mut flows[what.flow as usize].packets[what.sequence as usize];
            ensure!(packet.arrived.is_none(), "{what:?} arrived twice");
            packet.arrived = Some((*at, *point));
        }
        for Seen { what, .. } in back {
            let packet = &mut flows[what.flow as usize].packets[what.sequence as usize];
            ensure!(!packet.returned, "{what:?} returned twice");
            packet.returned = true;
        }
        Ok(Self { flows })
    }

    /// The flows that took this uplink first.
    pub fn started_on(&self, uplink: usize) -> impl Iterator<Item = &FlowStory> {
        self.flows
            .iter()
            .filter(move |flow| flow.first_uplink() == Some(uplink))
    }

    /// The flows that took another uplink than this one first.
    pub fn not_started_on(&self, uplink: usize) -> impl Iterator<Item = &FlowStory> {
        self.flows
            .iter()
            .filter(move |flow| flow.first_uplink() != Some(uplink))
    }
}

impl FlowStory {
    /// The uplink of the first packet that arrived.
    pub fn first_uplink(&self) -> Option<usize> {
        self.arrivals().next().map(|(_, uplink)| uplink)
    }

    /// The uplink of the last packet that arrived.
    pub fn last_uplink(&self) -> Option<usize> {
        self.arrivals().last().map(|(_, uplink)| uplink)
    }

    /// The number of packets that did not come to the internet.
    pub fn lost(&self) -> usize {
        self.packets
            .iter()
            .filter(|packet| packet.arrived.is_none())
            .count()
    }

    /// The number of packets that did not come back to the sender.
    pub fn lost_either_way(&self) -> usize {
        self.lost_between(0, u64::MAX)
    }

    /// The number of packets that were sent from one time on and before another, and that did not
    /// come back to the sender.
    pub fn lost_between(&self, from: u64, to: u64) -> usize {
        let lost = |packet: &&Packet| !packet.returned && (from..to).contains(&packet.sent);
        self.packets.iter().filter(lost).count()
    }

    /// Fails, with what is known of the losses and moves, unless each packet went out and came
    /// back, and all took the same uplink.
    pub fn ensure_undisturbed(&self) -> Result<()> {
        let start = self.packets.first().map_or(0, |packet| packet.sent);
        let mut lost = self
            .packets
            .iter()
            .filter(|packet| !packet.returned)
            .map(|packet| packet.sent);
        if let Some(first) = lost.next() {
            bail!(
                "{:?} on uplink {:?}: of {} packets {} did not arrive and {} did not come back, \
                 from {:.1} ms to {:.1} ms after the first; {:?}",
                self.flow,
                self.first_uplink(),
                self.packets.len(),
                self.lost(),
                self.lost_either_way(),
                clock::milliseconds(start, first),
                clock::milliseconds(start, lost.next_back().unwrap_or(first)),
                self.moves()
            );
        }
        ensure!(
            self.moves().is_empty(),
            "{:?} moved: {:?}",
            self.flow,
            self.moves()
        );
        Ok(())
    }

    /// Each change to another uplink.
    pub fn moves(&self) -> Vec<Move> {
        let arrivals: Vec<(u64, usize)> = self.arrivals().collect();
        arrivals
            .windows(2)
            .filter(|pair| pair[0].1 != pair[1].1)
            .map(|pair| Move {
                at: pair[1].0,
                from: pair[0].1,
                to: pair[1].1,
            })
            .collect()
    }

    /// Milliseconds from a cut of the flow's uplink to the first packet that came by another one;
    /// none if no such packet came.
    pub fn failover_ms(&self, cut_at: u64) -> Option<f64> {
        let from = self.first_uplink()?;
        let first = self
            .arrivals()
            .filter(|(at, uplink)| *at >= cut_at && *uplink != from)
            .map(|(at, _)| at);
        first.min().map(|at| clock::milliseconds(cut_at, at))
    }

    fn arrivals(&self) -> impl Iterator<Item = (u64, usize)> {
        self.packets.iter().filter_map(|packet| packet.arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::flows::Family;

    const FLOW: Flow = Flow {
        host: 0,
        family: Family::V4,
        port: 1,
    };

    fn seen(sequence: u32, at: u64, point: usize) -> Seen<Stamp> {
        Seen {
            point,
            at,
            what: Stamp {
                flow: 0,
                sequence,
                sent: 0,
            },
        }
    }

    #[test]
    fn losses_moves_and_fail_over_are_counted_per_flow() {
        let out = [
            seen(0, 1_000_000, 2),
            seen(3, 4_000_000, 1),
            seen(4, 5_000_000, 2),
        ];
        let back = [seen(0, 0, 0), seen(4, 0, 0)];
        let story = Story::new(vec![FLOW], &[1, 2, 3, 4, 5, 6], &out, &back)
            .expect("no packet was seen twice");
        let flow = &story.flows[0];
        assert_eq!(
            (flow.first_uplink(), flow.last_uplink()),
            (Some(2), Some(2))
        );
        assert_eq!((flow.lost(), flow.lost_either_way()), (3, 4));
        assert_eq!((flow.lost_between(1, 3), flow.lost_between(3, 6)), (1, 2));
        let moves = [
            Move {
                at: 4_000_000,
                from: 2,
                to: 1,
            },
            Move {
                at: 5_000_000,
                from: 1,
                to: 2,
            },
        ];
        assert_eq!(flow.moves(), moves);
        assert_eq!(flow.failover_ms(1_500_000), Some(2.5));
        assert_eq!(flow.failover_ms(4_500_000), None);
        flow.ensure_undisturbed().expect_err("packets were lost");
        assert_eq!(story.started_on(2).count(), 1);
        assert_eq!(story.not_started_on(2).count(), 0);
    }

    #[test]
    fn a_packet_that_arrives_twice_is_an_error() {
        let out = [seen(0, 1, 0), seen(0, 2, 1)];
        Story::new(vec![FLOW], &[1], &out, &[]).expect_err("it was seen twice");
    }
}
