//! What can be wrong with an SLA, a capacity or a quota.

use thiserror::Error;

use super::super::origin::Origin;

/// Why an SLA, a capacity or a quota cannot be used.
#[derive(Debug, Error)]
pub enum QualityError {
    /// An SLA that asks for nothing.
    #[error("{0}: this sla asks for nothing; give it loss, latency or jitter")]
    AsksNothing(Origin),
    /// A value for coming back without the one for leaving.
    #[error("{origin}: {key}_leave stands without {key}")]
    LeaveAlone {
        /// Where the SLA stands.
        origin: Origin,
        /// Of what.
        key: &'static str,
    },
    /// A value for coming back that is above the one for leaving.
    #[error(
        "{origin}: {key}_leave is {leave}, above {key}, which is {enter}: the uplink would leave and come \
         back at once"
    )]
    LeaveAbove {
        /// Where the SLA stands.
        origin: Origin,
        /// Of what.
        key: &'static str,
        /// What makes an uplink sick.
        enter: String,
        /// What lets it be well again.
        leave: String,
    },
    /// A loss that is always or never exceeded.
    #[error("{origin}: loss is {given}; it must be more than 0% and less than 100%")]
    LossRange {
        /// Where the SLA stands.
        origin: Origin,
        /// What was given.
        given: String,
    },
    /// A capacity of no direction.
    #[error("{0}: this capacity says nothing; give it up, down or both")]
    CapacityEmpty(Origin),
    /// A key that only means something with another.
    #[error("{origin}: {key} stands without {needs}")]
    Without {
        /// Where the key stands.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// New flows would go and come at once, or never.
    #[error("{origin}: spill_at is {at} and spill_until is {until}; {reason}")]
    Spill {
        /// Where the later of them stands.
        origin: Origin,
        /// Where new flows begin to go elsewhere.
        at: String,
        /// Where they come back.
        until: String,
        /// What is wrong.
        reason: &'static str,
    },
}
