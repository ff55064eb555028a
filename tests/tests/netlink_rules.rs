//! Routes and rules of ours against a real kernel: set, listed, changed, kept, and taken away without a
//! trace.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use multihome::{
    netlink::{MAIN_TABLE, OwnTables},
    routes::{
        DEFAULT_TABLE, FIRST_TABLE, Hop, Keeper, Route, Rule, Selector,
        desired::{Designer, Desired, View},
        keeper::Wanted,
        plan::plan,
        priority, remove_all,
    },
};
use multihome_common::state::{IPV4, IPV6};
use multihome_tests::lab::{Lab, Namespace};

mod follow;

use follow::{Follower, PATIENCE, inside, two_uplinks};

/// Two uplinks with addresses, and default routes of the operator's own.
fn site(lab: &Lab) -> Result<Namespace> {
    let [here, _there] = two_uplinks(lab)?;
    here.batch(
        "addr add 192.0.2.2/24 dev wan0\naddr add 198.51.100.2/24 dev wan1\n\
         addr add 2001:db8::2/64 dev wan0 nodad\n\
         route add default via 192.0.2.1 dev wan0 metric 100\n\
         route add default via 198.51.100.1 dev wan1 metric 200\n\
         route add 203.0.113.0/24 via 198.51.100.1 dev wan1\n\
         route add default via fe80::1 dev wan0 metric 100\n\
         rule add pref 5000 from 192.0.2.77 lookup 99\n",
    )?;
    Ok(here)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The two uplinks, the first of which carries IPv6 too.
fn views() -> Vec<View> {
    let hop = |ifindex, gateway| {
        Some(Hop {
            ifindex,
            gateway: ip(gateway),
        })
    };
    let view = |id: u8, hops: [Option<Hop>; 2], sources: &[(&str, u8)]| View {
        id,
        tier: 1,
        weight: 1,
        device: format!("wan{id}"),
        hops,
        exists: hops.map(|hop| hop.is_some()),
        sources: sources.iter().map(|&(text, n)| (ip(text), n)).collect(),
    };
    vec![
        view(
            0,
            [hop(10, "192.0.2.1"), hop(10, "fe80::1")],
            &[
                ("192.0.2.2", 32),
                ("2001:db8::2", 128),
                ("2001:db8:5::", 48),
            ],
        ),
        view(1, [hop(11, "198.51.100.1"), None], &[("198.51.100.2", 32)]),
    ]
}

fn desired(serving: u64) -> Desired {
    Designer::default().design(&views(), [serving; 2])
}

/// All rules and routes of the namespace, as iproute2 shows them, but for those that the kernel makes by
/// itself when duplicate address detection ends.
fn everything(here: &Namespace) -> Result<String> {
    let mut all = String::new();
    for family in ["-4", "-6"] {
        all += &here.output(&["ip", "-details", family, "rule", "show"])?;
        all += &here.output(&["ip", "-details", family, "route", "show", "table", "all"])?;
    }
    let mut lines: Vec<&str> = all
        .lines()
        .filter(|line| !line.contains("local fe80::"))
        .collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

async fn bring_about(tables: &mut OwnTables, desired: &Desired) -> Result<usize> {
    let steps = plan(desired, &tables.list().await?);
    for step in &steps {
        tables.carry_out(step).await.context(format!("{step:?}"))?;
    }
    Ok(steps.len())
}

#[test]
fn what_is_wanted_is_set_and_found_again_and_taken_away_without_a_trace() -> Result<()> {
    let lab = Lab::new()?;
    let here = site(&lab)?;
    inside(&here, async |here| {
        let before = everything(here)?;
        let mut tables = OwnTables::open()?;
        ensure!(tables.list().await?.is_empty());
        let wanted = desired(0b11);
        bring_about(&mut tables, &wanted).await?;
        let listing = tables.list().await?;
        let rules: BTreeSet<Rule> = listing
            .rules
            .iter()
            .filter_map(|it| it.is.clone())
            .collect();
        let routes: BTreeSet<Route> = listing
            .routes
            .iter()
            .filter_map(|it| it.is.clone())
            .collect();
        ensure!(rules == wanted.rules, "{rules:#?}\nof\n{:#?}", wanted.rules);
        ensure!(
            routes == wanted.routes,
            "{routes:#?}\nof\n{:#?}",
            wanted.routes
        );
        ensure!(
            bring_about(&mut tables, &wanted).await? == 0,
            "it is not at rest"
        );
        ensure!(listing.strangers.is_empty(), "{:?}", listing.strangers);
        let shown = here.output(&["ip", "rule", "show"])?;
        ensure!(
            shown.contains("7703:\tfrom 192.0.2.2 lookup 7700 proto 77"),
            "{shown}"
        );
        for (words, device) in [
            ("192.0.2.99 from 198.51.100.2", "wan0"),
            ("9.9.9.9 from 198.51.100.2", "wan1"),
            ("9.9.9.9 from 192.0.2.2", "wan0"),
            ("9.9.9.9 mark 7701", "wan1"),
            ("9.9.9.9 oif wan1", "wan1"),
            ("9.9.9.9", "wan0"),
            ("203.0.113.9", "wan1"),
            ("203.0.113.9 from 192.0.2.2", "wan1"),
            ("2001:db8:7::1 from 2001:db8:5::9", "wan0"),
        ] {
            let get: Vec<&str> = "ip route get".split(' ').chain(words.split(' ')).collect();
            let route = match here.output(&get) {
                Ok(route) => route,
                // An address of a prefix need not be on a device.
                Err(_) if words.contains("db8:5") => continue,
                Err(error) => return Err(error),
            };
            ensure!(
                route.contains(&format!("dev {device} ")),
                "{words}: {route}"
            );
        }
        // A mark is not left by another uplink, where its own does not carry the family.
        let refused = here.output(&["ip", "route", "get", "2001:db8:7::1", "mark", "7701"]);
        ensure!(refused.is_err(), "{refused:?}");

        bring_about(&mut tables, &Desired::default()).await?;
        ensure!(tables.list().await?.is_empty());
        let after = everything(here)?;
        ensure!(after == before, "{before}\nbecame\n{after}");
        Ok(())
    })
}

#[test]
fn a_default_route_moves_without_a_gap() -> Result<()> {
    let lab = Lab::new()?;
    let here = site(&lab)?;
    inside(&here, async |here| {
        let mut tables = OwnTables::open()?;
        let mut wanted = desired(0b11);
        bring_about(&mut tables, &wanted).await?;
        for (family, gateway, flag) in [(IPV4, "192.0.2.9", "-4"), (IPV6, "fe80::9", "-6")] {
            let old = wanted
                .routes
                .iter()
                .find(|route| route.table == DEFAULT_TABLE && route.family == family);
            let mut route = old.context("there is a default route")?.clone();
            wanted.routes.remove(&route);
            route.hop = Some(Hop {
                ifindex: 10,
                gateway: ip(gateway),
            });
            wanted.routes.insert(route);
            // One step, so there is no moment without.
            ensure!(bring_about(&mut tables, &wanted).await? == 1);
            let table = DEFAULT_TABLE.to_string();
            let shown = here.output(&["ip", flag, "route", "show", "table", &table])?;
            ensure!(
                shown.lines().count() == 1 && shown.contains(gateway),
                "{shown}"
            );
        }
        Ok(())
    })
}

#[test]
fn what_others_have_is_left_alone_and_told() -> Result<()> {
    let lab = Lab::new()?;
    let here = site(&lab)?;
    inside(&here, async |here| {
        here.batch(
            "rule add pref 7703 from 192.0.2.50 lookup 200\n\
             route add 203.0.113.64/26 via 192.0.2.1 dev wan0 table 7700\n",
        )?;
        let before = everything(here)?;
        let mut tables = OwnTables::open()?;
        bring_about(&mut tables, &desired(0b11)).await?;
        let told = tables.list().await?.strangers.join("\n");
        ensure!(told.contains("IPv4 rule with priority 7703"), "{told}");
        ensure!(told.contains("IPv4 table 7700 has a route"), "{told}");
        bring_about(&mut tables, &Desired::default()).await?;
        let after = everything(here)?;
        ensure!(after == before, "{before}\nbecame\n{after}");
        Ok(())
    })
}

#[test]
fn leftovers_of_no_known_form_go() -> Result<()> {
    let lab = Lab::new()?;
    let here = site(&lab)?;
    inside(&here, async |here| {
        let before = everything(here)?;
        here.batch(
            "route add 203.0.113.64/26 via 192.0.2.1 dev wan0 table 7700 proto 77\n\
             route add default table 7701 metric 9 proto 77 nexthop via 192.0.2.1 dev wan0 \
             nexthop via 198.51.100.1 dev wan1\n\
             route add prohibit 2001:db8:9::/48 table 7764 proto 77\n\
             rule add pref 7703 from 192.0.2.50 to 203.0.113.0/24 lookup 7700 protocol 77\n\
             rule add pref 90 not fwmark 0x5/0xff lookup 7700 protocol 77\n\
             rule add pref 91 blackhole protocol 77\n",
        )?;
        here.output(&[
            "ip", "-6", "rule", "add", "pref", "7700", "lookup", "7700", "protocol", "77",
        ])?;
        let mut tables = OwnTables::open()?;
        let wanted = desired(0b11);
        bring_about(&mut tables, &wanted).await?;
        let listing = tables.list().await?;
        ensure!(
            listing.rules.len() == wanted.rules.len(),
            "{:#?}",
            listing.rules
        );
        ensure!(
            listing.routes.len() == wanted.routes.len(),
            "{:#?}",
            listing.routes
        );
        bring_about(&mut tables, &Desired::default()).await?;
        let after = everything(here)?;
        ensure!(after == before, "{before}\nbecame\n{after}");
        Ok(())
    })
}

/// Nobody learns a next hop from a route of ours.
#[test]
fn our_own_routes_are_not_taken_for_the_operators() -> Result<()> {
    let lab = Lab::new()?;
    let here = site(&lab)?;
    inside(&here, async |here| {
        let mut tables = OwnTables::open()?;
        let mut follower = Follower::start().await?;
        bring_about(&mut tables, &desired(0b11)).await?;
        // What comes after them has come through.
        here.batch("route add 203.0.113.128/25 via 192.0.2.1 dev wan0")?;
        follower
            .state("the last route", |state| {
                state.routes.iter().any(|it| it.prefix_len == 25)
            })
            .await?;
        let listed_now = Follower::start().await?;
        for state in [&follower.state, &listed_now.state] {
            ensure!(state.routes.iter().all(|route| route.table == MAIN_TABLE));
            ensure!(state.default_routes(10).len() == 2);
        }
        Ok(())
    })
}

fn wait_for(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > PATIENCE {
            bail!("not {what} in ten seconds");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn wanted() -> Wanted {
    Wanted {
        desired: Some(desired(0b11)),
        ..Wanted::default()
    }
}

/// How many of our rules and routes iproute2 shows.
fn ours(here: &Namespace) -> Result<usize> {
    Ok(everything(here)?.matches("proto 77").count())
}

#[test]
fn what_somebody_removes_is_set_again() -> Result<()> {
    let lab = Lab::new()?;
    let here = site(&lab)?;
    let before = everything(&here)?;
    here.enter(|| {
        let keeper = Keeper::start(wanted())?;
        wait_for("set", || Ok(keeper.report().in_force))?;
        let all = ours(&here)?;
        ensure!(all == desired(0b11).rules.len() + desired(0b11).routes.len());
        for what in [
            "route flush table 7700",
            "rule del pref 7705",
            "rule del pref 7700",
            "link set wan0 down\nlink set wan0 up",
            "addr del 192.0.2.2/24 dev wan0\naddr add 192.0.2.2/24 dev wan0",
        ] {
            let restored = keeper.report().restored;
            here.batch(what)?;
            wait_for(what, || {
                Ok(keeper.report().restored > restored && ours(&here)? == all)
            })?;
        }
        // The kernel has taken those with the device, and nobody else has set them again.
        here.batch(
            "addr replace 2001:db8::2/64 dev wan0 nodad\n\
             route replace default via 192.0.2.1 dev wan0 metric 100\n\
             route replace default via fe80::1 dev wan0 metric 100\n",
        )?;
        ensure!(keeper.remove()? == all);
        let after = everything(&here)?;
        ensure!(after == before, "{before}\nbecame\n{after}");
        Ok(())
    })?
}

#[test]
fn a_keeper_that_leaves_is_followed_by_one_that_changes_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let here = site(&lab)?;
    here.enter(|| {
        let keeper = Keeper::start(wanted())?;
        wait_for("set", || Ok(keeper.report().in_force))?;
        keeper.leave();
        let left = everything(&here)?;
        let keeper = Keeper::start(wanted())?;
        wait_for("looked at", || Ok(keeper.report().in_force))?;
        ensure!(everything(&here)? == left);
        drop(keeper);
        // Nothing is wanted any more, and all goes.
        let keeper = Keeper::start(Wanted::default())?;
        wait_for("gone", || Ok(ours(&here)? == 0))?;
        drop(keeper);
        Ok(())
    })?
}

#[test]
fn two_gateways_of_one_namespace_do_not_quarrel() -> Result<()> {
    let lab = Lab::new()?;
    let here = site(&lab)?;
    here.enter(|| {
        let first = Keeper::start(wanted())?;
        wait_for("set", || Ok(first.report().in_force))?;
        let all = everything(&here)?;
        let second = Keeper::start(Wanted {
            desired: Some(Desired::default()),
            ..Wanted::default()
        })?;
        wait_for("refused", || Ok(!second.report().problems.is_empty()))?;
        let told = second.report().problems.join("\n");
        ensure!(
            told.contains("another gateway in this network namespace"),
            "{told}"
        );
        ensure!(remove_all()? == 0, "another's were removed");
        ensure!(second.remove()? == 0, "another's were removed");
        ensure!(everything(&here)? == all);
        drop(first);
        ensure!(remove_all()? > 0);
        Ok(())
    })?
}

/// A user without privilege takes the name by which gateways know of each other.
#[test]
fn a_name_that_a_user_holds_stops_nobody() -> Result<()> {
    let lab = Lab::new()?;
    let here = site(&lab)?;
    here.enter(|| {
        let name = SocketAddr::from_abstract_name("multihome-routes")?;
        let held = thread::scope(|scope| {
            scope
                .spawn(|| {
                    // SAFETY: numbers alone are passed, and of the process only this thread changes.
                    unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
                    std::os::unix::net::UnixListener::bind_addr(&name)
                })
                .join()
                .expect("the thread binds a socket")
        })?;
        let keeper = Keeper::start(wanted())?;
        wait_for("set", || Ok(keeper.report().in_force && ours(&here)? > 0))?;
        ensure!(keeper.report().problems.is_empty());
        drop(held);
        Ok(())
    })?
}

/// The selector of each kind of rule goes through the kernel and back, at the ends of its range.
#[test]
fn rules_at_the_ends_of_their_ranges_are_found_again() -> Result<()> {
    let lab = Lab::new()?;
    let here = site(&lab)?;
    inside(&here, async |_| {
        let mut tables = OwnTables::open()?;
        let mut wanted = Desired::default();
        for selector in [
            Selector::All,
            Selector::Mark(1),
            Selector::Mark(u32::MAX),
            Selector::Device("a-device-of-15b".into()),
            Selector::Source(ip("0.0.0.0"), 1),
            Selector::Source(ip("255.255.255.255"), 32),
        ] {
            wanted.rules.insert(Rule {
                family: IPV4,
                priority: priority::SOURCE,
                selector,
                table: FIRST_TABLE,
                suppress: Some(0),
            });
        }
        wanted.rules.insert(Rule {
            family: IPV6,
            priority: priority::SOURCE,
            selector: Selector::Source(ip("8000::"), 1),
            table: FIRST_TABLE,
            suppress: None,
        });
        bring_about(&mut tables, &wanted).await?;
        ensure!(
            bring_about(&mut tables, &wanted).await? == 0,
            "it is not at rest"
        );
        Ok(())
    })
}
