//! A group: its members by tier, what speaks against them, and its words for both families.

use std::{collections::BTreeMap, time::Instant};

use super::{
    FAMILIES, GroupSettings,
    eligible::{Against, Common, Impediments},
    settled::Settled,
    words::{Health, Words},
};
use crate::{config::GroupConfig, ranking::Member};

/// One group as the controller sees it now.
#[derive(Debug)]
pub struct Group {
    /// Its id: the place of its words in the shared state.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// How its flows are spread, and moved.
    pub(super) config: GroupConfig,
    /// Its members with their weights and tiers, in the order of the configuration.
    ranked: Vec<Member>,
    /// The members of each tier, best tier first.
    tiers: Vec<u64>,
    /// What speaks against members in this group alone, by family.
    here: [Impediments; 2],
    /// Its words, by family.
    pub(super) words: [Words; 2],
    /// Its settled words, by family.
    pub(super) settled: [Settled; 2],
    /// What was told of its conduct.
    pub(super) conduct_told: Option<u64>,
}

impl Group {
    /// A group with the words that an earlier controller left it.
    pub(super) fn new(settings: GroupSettings, settle: std::time::Duration, now: Instant) -> Self {
        let left = settings.left;
        let mut tiers: BTreeMap<u8, u64> = BTreeMap::new();
        for member in &settings.members {
            *tiers.entry(member.tier).or_default() |= 1 << member.id;
        }
        Self {
            id: settings.id,
            name: settings.name,
            tiers: tiers.into_values().collect(),
            here: Default::default(),
            words: FAMILIES.map(|f| Words::new(left.eligible[f], left.last_good[f], settle, now)),
            settled: FAMILIES.map(|f| Settled::new(&settings.config, left.settled[f], now)),
            config: settings.config,
            ranked: settings.members,
            conduct_told: None,
        }
    }

    /// Its members; bit n = uplink n.
    pub fn members(&self) -> u64 {
        self.tiers.iter().fold(0, |members, tier| members | tier)
    }

    /// Its members with their weights and tiers, in the order of the configuration.
    pub fn ranked(&self) -> &[Member] {
        &self.ranked
    }

    /// How its flows are spread, and moved.
    pub fn config(&self) -> &GroupConfig {
        &self.config
    }

    /// Whether members whose quota is used up get no new flows of it.
    pub fn obeys_quota(&self) -> bool {
        self.config.obey_quota
    }

    /// Its eligible word of a family.
    pub fn eligible(&self, family: usize) -> u64 {
        self.words[family].eligible
    }

    /// What serves while its eligible word of a family is zero.
    pub fn last_good(&self, family: usize) -> u64 {
        self.words[family].last_good
    }

    /// What speaks against members in this group alone.
    pub fn impediments(&self, family: usize) -> Impediments {
        self.here[family]
    }

    /// Says what speaks against members in this group alone. Takes effect with the next
    /// `Controller::refresh_words`.
    pub fn impede(&mut self, family: usize, here: Impediments) {
        self.here[family] = here;
    }

    /// All that speaks against members, given what speaks against uplinks in all groups.
    pub fn against(&self, family: usize, common: Common) -> Against {
        Against {
            here: self.here[family],
            common,
        }
    }

    /// Makes the words of a family anew.
    pub(super) fn update(&mut self, family: usize, health: Health, common: Common, now: Instant) {
        let against = self.against(family, common);
        self.words[family].update(health, &against, &self.tiers, now);
    }

    /// Makes the settled word of a family anew.
    pub(super) fn settle(&mut self, family: usize, up: u64, common: Common, now: Instant) {
        let against = self.against(family, common);
        self.settled[family].update(up & self.members(), against.any(), now);
    }
}
