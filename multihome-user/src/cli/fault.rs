//! `multihome fault`: its flags and help.

use std::path::PathBuf;

use clap::Args;
use multihome_common::fault::{Effect, Share};

use crate::{
    config::{DEFAULT_RUN_DIR, UplinkName},
    fault::{Asked, FaultTime, Loss},
};

/// `multihome fault`.
#[derive(Debug, Args)]
#[command(after_help = "\
The programs lose packets in both directions, the controller's own probes included, as a fault on
the provider's side would. They end it on time, whatever becomes of the controller; none is needed.
A new fault takes the place of the uplink's old one. Without --beyond-next-hop it strikes the whole
line, with ARP, neighbour discovery and BFD.

Examples:
  multihome fault fibre --blackhole --for 10s
  multihome fault fibre --loss 30% --for 1m
  multihome fault fibre --blackhole --beyond-next-hop --for 10s
  multihome fault
  multihome fault fibre --clear")]
pub struct FaultArgs {
    /// The uplink's name; without a fault, the one in force is shown, and without a name those of all
    pub uplink: Option<UplinkName>,

    /// Lose every packet
    #[arg(long, requires_all = ["uplink", "time"], conflicts_with_all = ["loss", "clear"])]
    pub blackhole: bool,

    /// Lose this share of the packets in each direction, such as 30% or 0.5%
    #[arg(long, value_name = "PERCENT", requires_all = ["uplink", "time"], conflicts_with = "clear")]
    pub loss: Option<Loss>,

    /// How long the fault lasts, 1ms to 1h
    #[arg(long = "for", id = "time", value_name = "TIME", requires = "uplink")]
    pub time: Option<FaultTime>,

    /// Spare the link itself: what the next hop says gets through, all that is beyond it does not
    #[arg(long, requires = "time")]
    pub beyond_next_hop: bool,

    /// End the fault now
    #[arg(long, requires = "uplink", conflicts_with = "time")]
    pub clear: bool,

    /// The run directory that was given to `multihome run`
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub run_dir: PathBuf,
}

impl FaultArgs {
    /// What is asked for; `None` for a time without a fault.
    pub fn asked(&self) -> Option<Asked<'_>> {
        let loss = self.loss.map(|loss| loss.0);
        let loss = loss.or(self.blackhole.then_some(Share::ALL));
        match (&self.uplink, loss, self.time) {
            (Some(uplink), Some(loss), Some(time)) => {
                let effect = Effect {
                    loss,
                    beyond_next_hop: self.beyond_next_hop,
                };
                Some(Asked::Set(uplink, effect, time.0))
            }
            (_, _, Some(_)) => None,
            (Some(uplink), ..) if self.clear => Some(Asked::Clear(uplink)),
            (uplink, ..) => Some(Asked::Show(uplink.as_ref())),
        }
    }
}
