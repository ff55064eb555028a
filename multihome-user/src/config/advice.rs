//! What is allowed in a configuration and had better be otherwise.

use super::{Config, NamedGroup, RuleAction, UplinkConfig, group::DEFAULT_GROUP, origin::Origin};
use crate::{policy, probe::Family};

/// What an operator had better know, a sentence each.
pub fn advice(config: &Config) -> Vec<String> {
    let uplinks = config.uplinks.iter().flat_map(of_uplink);
    uplinks
        .chain(of_rules(config))
        .chain(of_groups(config))
        .collect()
}

/// Rules that no packet reaches.
fn of_rules(config: &Config) -> Vec<String> {
    let named = |at: usize| {
        format!(
            "rule {} ({})",
            config.rules[at].label(at),
            config.rule_origin(at)
        )
    };
    policy::covered(&config.rules, &config.lan)
        .into_iter()
        .map(|(at, by)| {
            let (rule, earlier) = (named(at), named(by));
            format!("{rule} never matches: {earlier} before it takes all of its packets")
        })
        .collect()
}

/// Groups that get no packet.
fn of_groups(config: &Config) -> Vec<String> {
    let is_named = |group: &NamedGroup| {
        let mut rules = config.rules.iter();
        rules.any(|rule| rule.action == RuleAction::Group(group.name.clone()))
    };
    config
        .groups
        .iter()
        .filter(|group| group.name != DEFAULT_GROUP && !is_named(group))
        .map(|group| {
            let name = &group.name;
            let origin = config.origins.groups.get(name).unwrap_or(&Origin::Default);
            format!("group {name} ({origin}): no rule names it, so it gets no traffic")
        })
        .collect()
}

fn of_uplink(uplink: &UplinkConfig) -> Vec<String> {
    let name = &uplink.name;
    if uplink.probe.is_empty() {
        return vec![format!(
            "uplink {name}: no probe= target given, so only its next hop is watched: a failure beyond \
             that is not seen"
        )];
    }
    let alone = |family: &Family| {
        let of_family = uplink
            .probe
            .iter()
            .filter(|target| target.family() == *family);
        of_family.count() == 1
    };
    [Family::Ipv4, Family::Ipv6]
        .into_iter()
        .filter(alone)
        .map(|family| {
            format!(
                "uplink {name}: one probe target alone decides whether {family} is up, and a fault of \
                 its own takes the uplink out: give three of different networks, and quorum=2"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn advised(probe: &str) -> Vec<String> {
        let text = format!(
            "lan = \"lan0\"\n[[uplink]]\nname = \"a\"\ndevice = \"eth0\"\nprobe = {probe}\n"
        );
        advice(&Config::from_toml(Path::new("gw.toml"), &text).expect("the file is right"))
    }

    #[test]
    fn nobody_is_to_be_judged_by_one_address() {
        let [alone] = &advised("\"9.9.9.9\"")[..] else {
            panic!("one sentence")
        };
        assert!(alone.starts_with("uplink a: one probe target alone decides whether IPv4 is up"));
        assert_eq!(advised("[]").len(), 1);
        assert_eq!(advised("[\"9.9.9.9\", \"2620:fe::fe\"]").len(), 2);
        let several = "[\"9.9.9.9\", \"tcp://9.9.9.9:443\"]";
        assert_eq!(advised(several), [] as [String; 0]);
    }
}
