//! One trial: an uplink is cut and brought back, while packets of known flows pass in short
//! distances.

use std::{thread, time::Duration, time::Instant};

use anyhow::{Context as _, Result, bail};

use super::shares::Sample;
use crate::{
    lab::{
        controller::Gateway,
        cut::{Cut, Moment},
        topology::GatewayLab,
    },
    traffic::{
        clock, flows,
        story::Story,
        stream::{ECHO_PORT, Stream},
    },
};

/// How far apart the packets of a flow are.
const INTERVAL: Duration = Duration::from_millis(1);

/// Flows of each family on each uplink.
const FLOWS: usize = 2;

/// The longest time that is waited for a flow to move. Promised is less than a tenth of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was measured in a trial.
pub(super) struct Trial {
    /// What was done.
    pub(super) cut: Cut,
    /// Milliseconds from the cut to the gateway's decision that the uplink is down.
    pub(super) noticed_ms: f64,
    /// Milliseconds from the cut to the first packet on another uplink, of the slowest flow.
    pub(super) failover_ms: f64,
    /// Flows of the cut uplink that were watched.
    pub(super) flows: usize,
    /// The most packets, one each millisecond, that one of them lost, both ways.
    pub(super) lost: usize,
    /// Flows of other uplinks that were watched.
    pub(super) other_flows: usize,
    /// Packets that they lost, both ways.
    pub(super) lost_on_others: usize,
    /// Milliseconds from the end of the cut until all flows were back.
    pub(super) back_ms: f64,
    /// Packets that the flows lost, both ways, when they went back.
    pub(super) lost_on_return: usize,
    /// The shares of ten thousand flows during the cut.
    pub(super) shares_during: Vec<f64>,
    /// Their shares afterwards.
    pub(super) shares_after: Vec<f64>,
    /// Of these and of those that were watched, the flows of other uplinks that moved, and those
    /// not as before afterwards.
    pub(super) moved: usize,
}

impl Trial {
    /// Cuts an uplink, brings it back, and measures what happens.
    pub(super) fn run(
        lab: &GatewayLab,
        gateway: &Gateway<'_>,
        uplink: usize,
        cut: Cut,
        before: &Sample,
    ) -> Result<Self> {
        let flows = flows::find(lab, FLOWS, ECHO_PORT)?;
        let stream = Stream::start(lab, &flows, INTERVAL)?;
        // Long enough for the first packets to have come back.
        thread::sleep(Duration::from_millis(200));
        let at_start = stream.uplinks_now();

        let cut_at = lab.cut(uplink, cut)?;
        wait(&stream, "left the uplink", |now| {
            now.iter().all(|on| *on != Some(uplink))
        })?;
        let during = Sample::take(lab)?;
        // Whole milliseconds, rounded down.
        let noticed_ms = clock::milliseconds(cut_at.before, gateway.down_at(uplink)?).max(0.0);

        let restored_at = lab.restore(uplink, cut)?;
        wait(&stream, "come back", |now| *now == at_start)?;
        let back_ms = clock::milliseconds(restored_at.before, clock::now());
        gateway.wait_for_state(uplink, "up")?;
        let after = Sample::take(lab)?;
        let story = stream.stop()?;

        let count = Counts::new(&story, uplink, cut_at, restored_at)?;
        Ok(Self {
            cut,
            noticed_ms,
            failover_ms: count.failover_ms,
            flows: story.started_on(uplink).count(),
            lost: count.lost,
            other_flows: story.not_started_on(uplink).count(),
            lost_on_others: count.lost_on_others,
            back_ms,
            lost_on_return: count.lost_on_return,
            shares_during: during.shares(),
            shares_after: after.shares(),
            moved: count.moved
                + during.moved_since(before, Some(uplink))
                + after.moved_since(before, None),
        })
    }
}

/// What the story of a trial's stream says.
struct Counts {
    failover_ms: f64,
    lost: usize,
    lost_on_others: usize,
    lost_on_return: usize,
    moved: usize,
}

impl Counts {
    fn new(story: &Story, uplink: usize, cut: Moment, restored: Moment) -> Result<Self> {
        let mut counts = Self {
            failover_ms: 0.0,
            lost: 0,
            lost_on_others: 0,
            lost_on_return: 0,
            moved: 0,
        };
        for flow in story.started_on(uplink) {
            let failover = flow
                .failover_ms(cut.before)
                .context("a flow did not move")?;
            counts.failover_ms = counts.failover_ms.max(failover);
            counts.lost = counts.lost.max(flow.lost_between(0, restored.before));
            counts.lost_on_return += flow.lost_between(restored.before, u64::MAX);
            counts.moved += usize::from(flow.last_uplink() != Some(uplink));
        }
        for flow in story.not_started_on(uplink) {
            counts.lost_on_others += flow.lost_either_way();
            counts.moved += usize::from(!flow.moves().is_empty());
        }
        Ok(counts)
    }
}

/// Waits until the flows of a stream are on the uplinks that they should be on.
fn wait(stream: &Stream, what: &str, are: impl Fn(&Vec<Option<usize>>) -> bool) -> Result<()> {
    let start = Instant::now();
    loop {
        let now = stream.uplinks_now();
        if are(&now) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            bail!("the flows have not {what} in {PATIENCE:?}; now on uplinks {now:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}
