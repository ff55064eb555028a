//! Groups before the controller exists: their ids, the words that an earlier controller left them, and
//! their rank rows.

use multihome_common::{
    hash::Seed,
    limits::{MAX_GROUPS, MAX_SLOTS, MAX_UPLINKS},
};

use super::{RunError, slots};
use crate::{
    config::{Config, NamedGroup},
    controller::{FAMILIES, GroupSettings, LeftWords},
    dataplane::Dataplane,
    ranking::{Draws, Member},
};

/// Gives groups their ids and names, and takes their words over. Those of groups that are gone stay for
/// [`forget`]: the rules in force may name them.
///
/// `uplinks` has the names of all uplinks by their ids, `before` the names by id that an earlier controller left, and
/// `known` the uplinks that it had: the words' other bits are of uplinks that are gone, and a new one may
/// have the place.
///
/// # Errors
/// When a map cannot be read or written.
pub fn take_over(
    config: &Config,
    uplinks: &[(u8, String)],
    before: &[Option<String>],
    known: u64,
    dataplane: &mut Dataplane,
) -> Result<Vec<GroupSettings>, RunError> {
    let names: Vec<&str> = config.groups.iter().map(|g| g.name.as_str()).collect();
    let ids = slots::groups(before, &names)?;
    let mut groups = Vec::new();
    for (group, &id) in config.groups.iter().zip(&ids) {
        let NamedGroup {
            name,
            members,
            config,
        } = group;
        let had = before.get(usize::from(id)).and_then(Option::as_deref) == Some(name);
        let members = members.iter().filter_map(|member| {
            let (id, name) = uplinks.iter().find(|(_, name)| *name == member.uplink)?;
            Some(Member {
                id: *id,
                name: name.clone(),
                weight: member.weight,
                tier: member.tier,
            })
        });
        let members: Vec<Member> = members.collect();
        let kept = members.iter().fold(0, |word, it| word | 1u64 << it.id) & known;
        groups.push(GroupSettings {
            id,
            name: name.clone(),
            members,
            config: *config,
            left: if had {
                left(usize::from(id), kept, dataplane)
            } else {
                LeftWords::default()
            },
        });
    }
    for group in &groups {
        let id = usize::from(group.id);
        set_words(id, group.left, dataplane);
        let mut tiers = [0; MAX_UPLINKS];
        for member in &group.members {
            tiers[usize::from(member.id)] = member.tier;
        }
        dataplane.set_tiers(id as u32, tiers)?;
        if before.get(id).and_then(Option::as_deref) != Some(&group.name) {
            dataplane.set_name((MAX_SLOTS + id) as u32, &group.name)?;
        }
    }
    Ok(groups)
}

/// Clears the words, tiers and names of groups that are gone, when no rule in force names them any more.
///
/// # Errors
/// When a map cannot be written.
pub fn forget(groups: &[GroupSettings], dataplane: &mut Dataplane) -> Result<(), RunError> {
    for id in 0..MAX_GROUPS {
        if groups.iter().all(|group| usize::from(group.id) != id) {
            set_words(id, LeftWords::default(), dataplane);
            dataplane.set_tiers(id as u32, [0; MAX_UPLINKS])?;
            dataplane.set_name((MAX_SLOTS + id) as u32, "")?;
        }
    }
    Ok(())
}

fn set_words(id: usize, words: LeftWords, dataplane: &Dataplane) {
    for family in FAMILIES {
        // An eligible word of zero must find it in place.
        dataplane.set_last_good(id, family, words.last_good[family]);
        dataplane.set_eligible(id, family, words.eligible[family]);
        dataplane.set_settled(id, family, words.settled[family]);
    }
}

fn left(id: usize, kept: u64, dataplane: &Dataplane) -> LeftWords {
    LeftWords {
        had: kept,
        eligible: FAMILIES.map(|family| dataplane.eligible(id, family) & kept),
        last_good: FAMILIES.map(|family| dataplane.last_good(id, family) & kept),
        settled: FAMILIES.map(|family| dataplane.settled(id, family) & kept),
    }
}

/// Writes the rank rows of every group.
pub fn rank(
    groups: &[GroupSettings],
    uplinks: &[(u8, String)],
    seed: Seed,
    dataplane: &mut Dataplane,
) {
    let draws = Draws::new(uplinks.iter().map(|(_, name)| name.clone()).collect(), seed);
    for group in groups {
        dataplane.set_rows(usize::from(group.id), &draws.rows(&group.members));
    }
}
