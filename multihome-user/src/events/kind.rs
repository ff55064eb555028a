//! The kinds of events: one list for the log, programs, metrics and hooks.
//!
//! Names are append-only, since other people's programs know them: a kind that no longer happens
//! keeps its name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// What an event means to whoever watches the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Something got worse; logged as a warning.
    Bad,
    /// Something got better.
    Good,
    /// Something changed.
    Plain,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $tone:ident, $phrase:literal;)+) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Kind {
            /// Every kind there is.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant),+];

            /// The name for programs: snake case, never changed once released.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)+ }
            }

            /// What it means to whoever watches.
            pub const fn tone(self) -> Tone {
                match self { $(Kind::$variant => Tone::$tone,)+ }
            }

            /// What the log says between whom it happened to and why.
            pub(super) const fn phrase(self) -> &'static str {
                match self { $(Kind::$variant => $phrase,)+ }
            }

            /// What it means, in sentences.
            pub const fn meaning(self) -> &'static str {
                match self { $(Kind::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

kinds! {
    /// A family of an uplink takes traffic again.
    PathUp = "path_up", Good, " up";
    /// A family of an uplink cannot carry traffic.
    PathDown = "path_down", Bad, " down";
    /// An uplink takes traffic again: the first of its families came up.
    UplinkUp = "uplink_up", Good, " is up";
    /// An uplink cannot carry traffic: the last of its families went down.
    UplinkDown = "uplink_down", Bad, " is down";
    /// Packets go out and nothing comes back; the uplink's targets are asked in quick succession.
    Suspected = "suspected", Plain, " is suspected";
    /// A suspicion proved wrong.
    Cleared = "cleared", Plain, " is no longer suspected";
    /// An uplink is worse than the SLA of a group, whose new flows avoid it.
    Sick = "sick", Bad, " is sick";
    /// An uplink meets the SLA of a group again.
    Well = "well", Good, " is well again";
    /// An uplink carries so much that new flows avoid it.
    Full = "full", Bad, " is full";
    /// An uplink has room for new flows again.
    Spare = "spare", Good, " has room again";
    /// Most of an uplink's quota is used up.
    QuotaLow = "quota_low", Bad, " has used most of its quota";
    /// An uplink's quota is used up.
    QuotaSpent = "quota_spent", Bad, " has spent its quota";
    /// An uplink's quota begins anew.
    QuotaRenewed = "quota_renewed", Good, " has its quota renewed";
    /// An uplink that works is held back, because it failed lately.
    Held = "held", Plain, " is held back";
    /// An uplink is no longer held back.
    Released = "released", Good, " is released";
    /// An uplink is being drained: new flows avoid it.
    Draining = "draining", Plain, " is being drained";
    /// An uplink is no longer drained.
    Undrained = "undrained", Plain, " is no longer drained";
    /// A BFD session of an uplink came up.
    BfdUp = "bfd_up", Good, ": BFD session up";
    /// A BFD session of an uplink went down.
    BfdDown = "bfd_down", Bad, ": BFD session down";
    /// A fault was put into the dataplane, for a drill.
    FaultSet = "fault_set", Bad, ": a fault is set";
    /// A fault that was put into the dataplane is over.
    FaultEnded = "fault_ended", Good, ": the fault is over";
    /// The gateway's own routes or rules were changed.
    RoutesChanged = "routes_changed", Plain, ": routes changed";
    /// Something is odd about a family of an uplink that may work all the same.
    PathRemark = "path_remark", Bad, "";
    /// What an uplink does with the addresses of a family changed.
    TranslationChanged = "translation_changed", Plain, "";
    /// Another prefix was told of an uplink, or none any more.
    PrefixChanged = "prefix_changed", Plain, ": prefix changed";
    /// The kernel dropped messages, and its tables were read anew.
    NetlinkResynced = "netlink_resynced", Bad, "netlink events were lost";
    /// The controller has started.
    ControllerStarted = "controller_started", Plain, "gateway runs";
    /// The controller ends; the dataplane goes on unless the cause says otherwise.
    ControllerStopped = "controller_stopped", Plain, "the controller ends";
}

/// No kind has this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no event {0:?}")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.iter().find(|kind| kind.name() == name);
        found.copied().ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(de::Error::custom)
    }
}
