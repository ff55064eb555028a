//! The stages of a packet's way, and which follows which.
//!
//! The kernel runs each in a function of its own, which has a stack of its own depth and which the
//! verifier walks once; plain memory runs them one after the other. The order is the same code.

use super::Decision;
use crate::verdict::{Disposition, Verdict};

/// The slot that a stage is told before its flow is known.
pub const UNKNOWN: u32 = u32::MAX;

/// What runs the stages.
pub trait Stages {
    /// [`super::outward::outward`].
    fn outward(&mut self, flow: u32) -> Decision;
    /// [`super::hairpin::outward`].
    fn hairpin(&mut self, flow: u32) -> Decision;
    /// [`super::inward::inward`], with the decision that led there.
    fn inward(&mut self, decision: Decision, flow: u32) -> Decision;
    /// [`super::errors::outward`].
    fn outward_error(&mut self) -> Decision;
    /// [`super::errors::inward`], with the decision that led there.
    fn inward_error(&mut self, decision: Decision) -> Decision;
    /// [`super::fragments::later`].
    fn fragment(&mut self) -> Decision;
    /// [`Tables::open_flow`](crate::tables::Tables::open_flow).
    fn open(&mut self) -> Result<u32, Verdict>;
    /// [`crate::reset::answer`].
    fn reset(&mut self) -> Decision;
    /// [`crate::icmp_error::answer`].
    fn error(&mut self, decision: Decision) -> Decision;
}

/// The rest of the way of a packet from the LAN.
#[inline(always)]
pub fn after_lan<S: Stages>(stages: &mut S, mut decision: Decision) -> Decision {
    if decision == Decision::OUTWARD {
        decision = opening(stages, |stages, flow| stages.outward(flow));
    } else if decision == Decision::HAIRPIN {
        decision = opening(stages, |stages, flow| stages.hairpin(flow));
        if decision.is_inward() {
            let there = decision;
            decision = turned_round(opening(stages, |stages, flow| stages.inward(there, flow)));
        } else if decision.is_inward_error() {
            decision = turned_round(stages.inward_error(decision));
        }
    } else if decision == Decision::QUOTED {
        decision = stages.outward_error();
    }
    after_both(stages, decision)
}

/// The rest of the way of a packet from an uplink.
#[inline(always)]
pub fn after_uplink<S: Stages>(stages: &mut S, mut decision: Decision) -> Decision {
    if decision.is_inward() {
        let there = decision;
        decision = opening(stages, |stages, flow| stages.inward(there, flow));
    } else if decision.is_inward_error() {
        decision = stages.inward_error(decision);
    }
    after_both(stages, decision)
}

#[inline(always)]
fn after_both<S: Stages>(stages: &mut S, mut decision: Decision) -> Decision {
    if decision == Decision::FRAGMENT {
        decision = stages.fragment();
    }
    match decision.disposition() {
        Disposition::Reply if decision.verdict_number() == Verdict::ReplyReset.number() => {
            stages.reset()
        }
        Disposition::Reply => stages.error(decision),
        Disposition::Forward | Disposition::Pass | Disposition::Drop => decision,
    }
}

/// Runs a stage that may need a flow opened.
#[inline(always)]
fn opening<S: Stages>(stages: &mut S, mut stage: impl FnMut(&mut S, u32) -> Decision) -> Decision {
    let decision = stage(stages, UNKNOWN);
    if decision != Decision::OPEN {
        return decision;
    }
    match stages.open() {
        Ok(flow) => stage(stages, flow),
        Err(verdict) => verdict.into(),
    }
}

/// What becomes of a packet whose source is translated already, so that neither the kernel nor its
/// sender would know it any more.
#[inline(always)]
fn turned_round(decision: Decision) -> Decision {
    match decision.disposition() {
        Disposition::Forward | Disposition::Drop => decision,
        Disposition::Pass => Verdict::DropNoNeighbour.into(),
        Disposition::Reply => Verdict::DropTooBig.into(),
    }
}
