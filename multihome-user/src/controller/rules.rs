//! The rules in force, which depend on the prefixes that are uplinks' own (BCP 84).

use multihome_common::state::IPV6;

use super::{Action, Controller, Treatment, Uplink};
use crate::{
    config::{Ipv6Prefix, UplinkPrefix},
    policy::Own,
};

impl Controller {
    /// Compares the own prefixes of uplinks with what was told; the rules are told once in any case.
    pub(super) fn refresh_rules(&mut self) -> Option<Action> {
        let uplinks = self.uplinks.iter();
        let own: Vec<Own> = uplinks
            .filter_map(|uplink| Some((uplink.own_prefix()?, uplink.id)))
            .collect();
        if self.applied.own.as_ref() == Some(&own) {
            return None;
        }
        self.applied.own = Some(own.clone());
        Some(Action::SetRules(self.rules.clone(), own))
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
