//! What is settled before the controller exists: slots, parts of the port table, the seed, the rank
//! rows, and the words that do not change while the controller runs.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use multihome_common::{
    hash::{FlowHash, Seed},
    limits::MAX_SLOTS,
    uplink::UplinkEntry,
};
use rand::{TryRng, rngs::SysRng};

use super::{
    RunError, groups, pools,
    report::{Names, RuleName},
    slots::{self, Slots},
    upkeep,
};
use crate::{
    config::Config,
    controller::{Adopted, FAMILIES, GroupSettings, Settings, Translation},
    dataplane::Dataplane,
    delegation::file::Prefixes,
    health::HealthSettings,
    kernel_ports, policy,
    probe::{ProbeError, ProbeSettings},
    quality::quota::Ledger,
    suspicion::SuspicionSettings,
};

/// What is settled before the controller exists.
pub struct Prepared {
    /// Which slots the devices have.
    pub slots: Slots,
    /// The first part of the port table of each uplink, with its id, in the order of the
    /// configuration.
    pub pools: Vec<(u8, u16)>,
    /// The names behind the slots.
    pub names: Names,
    /// An earlier controller's maps were taken over.
    pub adopted: bool,
    words: Adopted,
    groups: Vec<GroupSettings>,
    entries: BTreeMap<u8, UplinkEntry>,
}

impl Prepared {
    /// Gives slots, the seed, the rank rows and constant words to the kernel side; `ports` are those
    /// that flows may get.
    ///
    /// # Errors
    /// When a map cannot be read or written, the port table has no room, or the system has no random
    /// numbers.
    pub fn new(
        config: &Config,
        ports: &[RangeInclusive<u16>],
        dataplane: &mut Dataplane,
    ) -> Result<Self, RunError> {
        let mut before = dataplane.names()?;
        let groups_before = before.split_off(MAX_SLOTS.min(before.len()));
        let uplinks: Vec<&str> = config
            .uplinks
            .iter()
            .map(|uplink| uplink.name.as_str())
            .collect();
        let lan: Vec<&str> = config.lan.iter().map(|port| port.name.as_str()).collect();
        let slots = slots::assign(&before, &uplinks, &lan)?;
        let known = slots::known(&before, &uplinks, &slots);
        let pools = find_pools(config, &slots.uplinks, known, dataplane)?;
        // The words' other bits are of uplinks that are gone, and a new one may have the place.
        let words = Adopted {
            known,
            alive: FAMILIES.map(|family| dataplane.alive(family) & known),
            tracked: dataplane.tracked(),
        };
        let mut entries = BTreeMap::new();
        if dataplane.adopted() {
            for &id in slots.uplinks.iter().filter(|&&id| known >> id & 1 == 1) {
                entries.insert(id, dataplane.uplink(id)?);
            }
        }
        for family in FAMILIES {
            dataplane.set_alive(family, words.alive[family]);
        }
        dataplane.tell_sizes();
        dataplane.set_port_ranges(kernel_ports::word(ports));
        dataplane.set_timeouts(&upkeep::timeouts(&config.nat.timeouts));
        let seed = seed(config, dataplane.seed())?;
        dataplane.set_seed(seed);
        let ids = slots.uplinks.iter().copied();
        let names = config.uplinks.iter().map(|uplink| uplink.name.clone());
        let uplinks: Vec<(u8, String)> = ids.zip(names).collect();
        let groups = groups::take_over(config, &uplinks, &groups_before, known, dataplane)?;
        groups::rank(&groups, &uplinks, seed, dataplane);
        let names = Names {
            uplinks,
            lan: slots
                .lan
                .iter()
                .copied()
                .zip(config.lan.iter().map(|port| port.name.clone()))
                .collect(),
            rules: RuleName::all(config),
        };
        for (slot, old) in before.iter().enumerate() {
            let slot = slot as u32;
            let new = names.of(slot).unwrap_or_default();
            if old.as_deref().unwrap_or_default() != new {
                // A fault is of the uplink that had the place.
                dataplane.faults.clear(slot as u8);
                dataplane.set_name(slot, new)?;
            }
        }
        Ok(Self {
            slots,
            pools,
            names,
            adopted: dataplane.adopted(),
            words,
            groups,
            entries,
        })
    }

    /// What the controller is to look after, with the prefixes that were told before, and what was used of
    /// quotas.
    pub fn settings(&self, config: &Config, told: &Prefixes, ledger: Ledger) -> Settings {
        let probe = &config.probe;
        Settings {
            // Of fewer probes nothing can be said.
            window: config.quality.window.max(probe.interval * 10),
            ledger,
            uplinks: self
                .slots
                .uplinks
                .iter()
                .copied()
                .zip(config.uplinks.iter().cloned())
                .collect(),
            lan: (self.slots.lan.iter().copied())
                .zip(config.lan.iter().cloned())
                .collect(),
            health: HealthSettings {
                fall: probe.fall,
                rise: probe.rise,
                quorum: probe.quorum,
            },
            suspicion: SuspicionSettings {
                silence: probe.suspicion,
                step: probe.burst,
            },
            // Twice what it takes to notice: two uplinks that fail of one cause are noticed within
            // that of each other.
            settle: (slowest(config) * probe.fall + probe.timeout.unwrap_or(probe.interval)) * 2,
            adopted: self.adopted.then_some(self.words),
            entries: self.entries.clone(),
            damping: config.damping,
            draining: BTreeMap::new(),
            groups: self.groups.clone(),
            rules: self.rules(config).into(),
            sessions: Vec::new(),
            known: Vec::new(),
            forwards: config
                .forwards
                .iter()
                .map(|forward| *forward.inside.ip())
                .collect(),
            translation: Translation {
                pools: self.pools.iter().copied().collect(),
                inside_prefix: config.inside_prefix,
                delegated: self
                    .names
                    .uplinks
                    .iter()
                    .filter_map(|(id, name)| Some((*id, *told.get(name)?)))
                    .collect(),
                filtering: config.nat.filtering,
                unasked: config.nat.unasked,
            },
        }
    }
}

impl Prepared {
    /// Clears what is left of groups that are gone, once the rules are in force.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn forget_groups(&self, dataplane: &mut Dataplane) -> Result<(), RunError> {
        groups::forget(&self.groups, dataplane)
    }

    /// The rules with numbers for names.
    fn rules(&self, config: &Config) -> Vec<policy::Rule> {
        let groups = self.groups.iter();
        let groups: Vec<(&str, u8)> = groups
            .map(|group| (group.name.as_str(), group.id))
            .collect();
        let ports = self.names.lan.iter();
        let lan: Vec<(&str, u8)> = ports
            .map(|(slot, name)| (name.as_str(), policy::lan_number(*slot)))
            .collect();
        policy::resolve(&config.rules, &groups, &lan)
    }
}

/// The longest time between two probes of any target.
fn slowest(config: &Config) -> Duration {
    let settings = probe_settings(config);
    let intervals = config.uplinks.iter().flat_map(|uplink| {
        let targets = uplink.probe.len() as u32;
        let numbered = (0..).zip(&uplink.probe);
        numbered.map(move |(number, target)| settings.interval_of(target.id(0, number), targets))
    });
    intervals.fold(config.probe.interval, Duration::max)
}

/// How uplinks are probed.
pub fn probe_settings(config: &Config) -> ProbeSettings {
    ProbeSettings {
        interval: config.probe.interval,
        timeout: config.probe.timeout,
        rate: config.probe.rate,
    }
}

/// The parts of the port table of all uplinks, in their order, with their ids; `known` names the
/// uplinks that an earlier controller had.
fn find_pools(
    config: &Config,
    ids: &[u8],
    known: u64,
    dataplane: &Dataplane,
) -> Result<Vec<(u8, u16)>, RunError> {
    let mut claims = Vec::new();
    for (uplink, &id) in config.uplinks.iter().zip(ids) {
        let is_known = dataplane.adopted() && known >> id & 1 == 1;
        claims.push(pools::Claim {
            name: &uplink.name,
            needed: pools::needed(uplink),
            kept: if is_known {
                pools::left(&dataplane.uplink(id)?)
            } else {
                None
            },
        });
    }
    let firsts = pools::assign(&claims, dataplane.flows.pools())?;
    Ok(ids.iter().copied().zip(firsts).collect())
}

/// The seed: what the operator gave, else what is there, else a random one.
fn seed(config: &Config, present: Seed) -> Result<Seed, RunError> {
    let random =
        |error: rand::rngs::SysError| RunError::Probe(ProbeError::Random(error.to_string()));
    Ok(match config.seed {
        // Both halves come from the one number, alike on every gateway.
        Some(seed) => [0, 1].map(|half| FlowHash::new([seed, half], [half]).0),
        None if present != [0; 2] => present,
        None => [
            SysRng.try_next_u64().map_err(random)?,
            SysRng.try_next_u64().map_err(random)? | 1,
        ],
    })
}
