//! The rules in force, which depend on the prefixes that are uplinks' own (BCP 84), and on the tags of LAN ports.

use multihome_common::{framing::Framing, limits::MAX_UPLINKS, state::IPV6};

use super::{Action, Controller, Treatment, Uplink};
use crate::{
    config::{Ipv6Prefix, UplinkPrefix},
    policy::{self, Own},
};

/// What the rules in force are made of, besides the configuration.
#[derive(Debug)]
pub(super) struct Basis {
    /// The tags of LAN ports, by their numbers in rules.
    tags: Vec<(u8, Framing)>,
    /// Prefixes that are uplinks' own.
    own: Vec<Own>,
}

impl Controller {
    /// Compares the own prefixes of uplinks and the tags of LAN ports with what was told; the rules are told
    /// once in any case.
    pub(super) fn refresh_rules(&mut self) -> Option<Action> {
        let uplinks = self.uplinks.iter();
        let own: Vec<Own> = uplinks
            .filter_map(|uplink| Some((uplink.own_prefix()?, uplink.id)))
            .collect();
        let tags = self.lan_tags();
        // Rules are not placed to be compared: this stands before the words that move flows.
        if let Some(told) = &self.applied.rules
            && told.own == own
            && (told.tags == tags || !policy::asks_vlans(&self.rules))
        {
            return None;
        }
        let rules = policy::place(&self.rules, &tags);
        self.applied.rules = Some(Basis {
            tags,
            own: own.clone(),
        });
        Some(Action::SetRules(rules, own))
    }

    /// The tags of each LAN port, by its number in rules: those that it had last, if it is gone.
    fn lan_tags(&self) -> Vec<(u8, Framing)> {
        let told = self.applied.framings.range(MAX_UPLINKS as u32..);
        told.map(|(slot, tags)| (policy::lan_number(*slot), *tags))
            .collect()
    }
}

impl Uplink {
    /// The prefix whose addresses LAN hosts bear themselves, and that the provider takes by this uplink alone;
    /// `None` when it is translated, or there is none.
    pub fn own_prefix(&self) -> Option<Ipv6Prefix> {
        match (&self.treatments[IPV6], self.config.prefix?) {
            (Treatment::Routed, UplinkPrefix::Fixed(prefix)) => Some(prefix),
            (Treatment::Routed, UplinkPrefix::Delegated) => self.delegated,
            (Treatment::Nptv6(..) | Treatment::Nat44(_), _) => None,
        }
    }
}
