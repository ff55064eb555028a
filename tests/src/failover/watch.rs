//! Flows of known uplinks that send all the time, watched until they have left one.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    lab::{cut::Moment, topology::GatewayLab},
    traffic::{
        flows::{self, Flow},
        story::Story,
        stream::{ECHO_PORT, Stream},
    },
};

/// Flows of each family on each uplink.
const FLOWS: usize = 2;
/// Long enough for the first packets to have come back.
const BEGINNING: Duration = Duration::from_millis(300);

/// Flows that take each of the uplinks.
pub(super) fn find(lab: &GatewayLab) -> Result<Vec<Flow>> {
    flows::find_answered(lab, FLOWS, ECHO_PORT)
}

/// Sends on all flows in this distance while an uplink is lost, and returns how many milliseconds later
/// the slowest of its flows had left it; none when that has not happened in time.
pub(super) fn moved(
    lab: &GatewayLab,
    flows: &[Flow],
    interval: Duration,
    uplink: usize,
    patience: Duration,
    lose: impl FnOnce() -> Result<Moment>,
) -> Result<Option<f64>> {
    let stream = Stream::start(lab, flows, interval)?;
    thread::sleep(BEGINNING);
    let lost = lose()?;
    let start = Instant::now();
    let left = loop {
        if stream.uplinks_now().iter().all(|on| *on != Some(uplink)) {
            break true;
        }
        if start.elapsed() > patience {
            break false;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let story = stream.stop()?;
    if !left {
        return Ok(None);
    }
    slowest(&story, uplink, lost).map(Some)
}

fn slowest(story: &Story, uplink: usize, lost: Moment) -> Result<f64> {
    let mut slowest: Option<f64> = None;
    for flow in story.started_on(uplink) {
        let took = flow
            .failover_ms(lost.before)
            .context("a flow that has moved did not arrive")?;
        slowest = Some(slowest.unwrap_or(0.0).max(took));
    }
    slowest.context("no flow had begun on the uplink")
}
