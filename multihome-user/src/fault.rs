//! Faults that are put into the line of an uplink, for drills: what `multihome fault` does, and how it is
//! written.

mod command;
mod value;

use multihome_common::fault::{Effect, Share};

pub use command::{Asked, FaultError, run};
pub use value::{FaultTime, Loss, LossError};

/// What a fault does, in words.
pub fn describe(effect: Effect) -> String {
    let lost = if effect.loss == Share::ALL {
        "everything is lost".to_owned()
    } else {
        format!(
            "{} of the packets are lost in each direction",
            Loss(effect.loss)
        )
    };
    if effect.beyond_next_hop {
        format!("{lost} beyond the next hop")
    } else {
        lost
    }
}
