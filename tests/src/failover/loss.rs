//! The kinds of loss, and what is promised of each.

use std::time::Duration;

use clap::ValueEnum;

use crate::lab::cut::Cut;

/// A way in which an uplink is lost, and what uses it meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Loss {
    /// The link to the ISP goes down.
    Carrier,
    /// The BFD peer at the ISP and everything behind it fall silent.
    Bfd,
    /// The ISP silently forwards nothing any more, while flows use the uplink.
    Blackhole,
    /// The same while nothing uses the uplink.
    Idle,
    /// The ISP loses 30 % of what it is to forward.
    Lossy,
    /// The link goes down under a translated TCP connection, which begins anew.
    Connection,
}

/// All of them, in the order of the table.
pub const ALL: [Loss; 6] = [
    Loss::Carrier,
    Loss::Bfd,
    Loss::Blackhole,
    Loss::Idle,
    Loss::Lossy,
    Loss::Connection,
];

/// How many of a hundred packets a lossy ISP loses.
pub const LOST_PERCENT: u8 = 30;

impl Loss {
    /// Its name in options and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Carrier => "carrier",
            Self::Bfd => "bfd",
            Self::Blackhole => "blackhole",
            Self::Idle => "idle",
            Self::Lossy => "lossy",
            Self::Connection => "connection",
        }
    }

    /// What it is, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Carrier => "carrier lost",
            Self::Bfd => "BFD session of 10 ms x 3 falls silent",
            Self::Blackhole => "ISP silently forwards nothing, flows in use",
            Self::Idle => "ISP silently forwards nothing, nothing in use",
            Self::Lossy => "ISP loses 30 %, against an SLA of 5 %",
            Self::Connection => "carrier lost, translated TCP: reset, and connected anew",
        }
    }

    /// The 99th percentile that is promised, in milliseconds.
    pub const fn target_ms(self) -> f64 {
        match self {
            Self::Carrier => 5.0,
            Self::Bfd => 60.0,
            Self::Blackhole => 500.0,
            Self::Idle => 3500.0,
            Self::Lossy => 3000.0,
            // As soon as carrier is noticed, the next packet: the client here sends one each millisecond.
            Self::Connection => 10.0,
        }
    }

    /// What is done at the ISP.
    pub const fn cut(self) -> Cut {
        match self {
            Self::Carrier | Self::Connection => Cut::Carrier,
            Self::Bfd | Self::Blackhole | Self::Idle => Cut::Blackhole,
            Self::Lossy => Cut::Lossy(LOST_PERCENT),
        }
    }

    /// Whether addresses are translated.
    pub const fn translates(self) -> bool {
        matches!(self, Self::Connection)
    }

    /// Whether the kernel's routes with a script could notice: the script speaks no BFD, and an uplink
    /// without flows is to it the same as one with.
    pub const fn concerns_kernel(self) -> bool {
        !matches!(self, Self::Bfd | Self::Idle)
    }

    /// Whether flows that use the uplinks are watched.
    pub const fn has_flows(self) -> bool {
        matches!(self, Self::Carrier | Self::Bfd | Self::Blackhole)
    }

    /// How many losses there are in one gateway's life, each of another uplink: a connection chooses its
    /// uplink itself, and is only sure to be on another one after the first loss.
    pub const fn losses_in_a_life(self, uplinks: usize) -> usize {
        match self {
            Self::Connection => 2,
            Self::Carrier | Self::Bfd | Self::Blackhole | Self::Idle | Self::Lossy => uplinks,
        }
    }

    /// How long multihome has at most; a trial that takes longer has failed.
    pub const fn patience(self) -> Duration {
        Duration::from_millis(4 * self.target_ms() as u64 + 10_000)
    }
}
