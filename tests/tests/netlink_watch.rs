//! The mirror of the kernel's links, addresses and neighbours against a real kernel.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome::netlink::{NeighbourState, NetEvent, NetState};
use multihome_tests::lab::Lab;

mod follow;

use follow::{Follower, inside, two_uplinks};

#[test]
fn links_are_followed() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = two_uplinks(&lab)?;
    inside(&here, async |here| {
        let mut follower = Follower::start().await?;
        follower
            .state("carrier", |state| state.links[&10].carrier)
            .await?;
        let link = follower.state.link_by_name("wan0").context("wan0")?;
        ensure!(link.ifindex == 10 && link.mtu == 1500, "{link:?}");

        here.batch("link set wan0 mtu 1400 address 02:00:00:00:00:42")?;
        follower
            .state("MTU and MAC", |state| {
                let link = &state.links[&10];
                link.mtu == 1400 && link.mac == Some([2, 0, 0, 0, 0, 0x42])
            })
            .await?;

        there.batch("link set isp0 down")?;
        follower
            .state("carrier lost", |state| !state.links[&10].carrier)
            .await?;
        ensure!(
            follower.state.links[&10].admin_up,
            "it is still switched on"
        );
        there.batch("link set isp0 up")?;
        follower
            .state("carrier back", |state| state.links[&10].carrier)
            .await?;

        here.batch("link set wan0 down")?;
        follower
            .state("switched off", |state| {
                !state.links[&10].admin_up && !state.links[&10].carrier
            })
            .await?;
        here.batch("link set wan0 name isp\nlink set isp up")?;
        follower
            .state("renamed", |state| state.link_by_name("isp").is_some())
            .await?;
        follower
            .state("up again", |state| state.links[&10].carrier)
            .await?;
        ensure!(follower.state.link_by_name("wan0").is_none());

        here.batch("link del isp")?;
        follower
            .event(|event, _| *event == NetEvent::LinkGone(10))
            .await?;
        ensure!(follower.state.link_by_name("isp").is_none());
        here.batch(&format!(
            "link add wan0 index 30 type veth peer name isp0 index 31 netns {}\nlink set wan0 up",
            there.full_name()
        ))?;
        follower
            .state("back under another index", |state| {
                state
                    .link_by_name("wan0")
                    .is_some_and(|link| link.ifindex == 30 && link.admin_up)
            })
            .await
    })
}

#[test]
fn a_device_may_move_between_namespaces() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = two_uplinks(&lab)?;
    inside(&here, async |here| {
        here.batch("addr add 192.0.2.2/24 dev wan0\nroute add default via 192.0.2.1 dev wan0")?;
        let mut follower = Follower::start().await?;
        ensure!(!follower.state.default_routes(10).is_empty());
        here.batch(&format!("link set wan0 netns {}", there.full_name()))?;
        follower
            .event(|event, _| *event == NetEvent::LinkGone(10))
            .await?;
        ensure!(follower.state.addresses_of(10).count() == 0);
        ensure!(follower.state.default_routes(10).is_empty());
        there.batch(&format!("link set wan0 netns {}", here.full_name()))?;
        follower
            .state("moved back", |state| state.link_by_name("wan0").is_some())
            .await
    })
}

#[test]
fn a_bridge_port_that_leaves_stays_a_device() -> Result<()> {
    let lab = Lab::new()?;
    let [here, _there] = two_uplinks(&lab)?;
    inside(&here, async |here| {
        here.batch("link add br0 index 40 type bridge\nlink set wan0 master br0")?;
        let mut follower = Follower::start().await?;
        here.batch("link set wan0 nomaster\nlink set wan0 mtu 1300")?;
        let gone = NetEvent::LinkGone(10);
        let event = follower
            .event(|event, state| *event == gone || state.links[&10].mtu == 1300)
            .await?;
        ensure!(
            event != gone,
            "the kernel said that the bridge lost a port, not that it is gone"
        );
        Ok(())
    })
}

#[test]
fn addresses_are_followed() -> Result<()> {
    let lab = Lab::new()?;
    let [here, _there] = two_uplinks(&lab)?;
    here.sysctl(&[
        "net.ipv6.conf.wan0.accept_dad=1",
        "net.ipv6.conf.wan0.dad_transmits=1",
    ])?;
    inside(&here, async |here| {
        let mut follower = Follower::start().await?;
        let usable = |state: &NetState, address: &str| {
            let address: IpAddr = address.parse().expect("an address");
            state
                .addresses_of(10)
                .find(|it| it.address == address)
                .map(|it| it.usable)
        };
        here.batch("addr add 192.0.2.2/24 broadcast + dev wan0\naddr add 192.0.2.3/24 dev wan0")?;
        follower
            .state("two addresses", |state| {
                usable(state, "192.0.2.2") == Some(true) && usable(state, "192.0.2.3") == Some(true)
            })
            .await?;
        let first = follower
            .state
            .addresses_of(10)
            .next()
            .context("an address")?
            .clone();
        ensure!(first.broadcast == Some([192, 0, 2, 255].into()) && first.prefix_len == 24);

        here.batch("addr add 192.0.2.9 peer 198.51.100.9/32 dev wan0")?;
        follower
            .state("point to point", |state| {
                usable(state, "192.0.2.9").is_some()
            })
            .await?;

        here.batch("addr add 2001:db8::2/64 dev wan0")?;
        follower
            .event(|_, state| usable(state, "2001:db8::2") == Some(false))
            .await
            .context("tentative while duplicates are looked for")?;
        follower
            .state("no duplicate", |state| {
                usable(state, "2001:db8::2") == Some(true)
            })
            .await?;
        here.batch("addr change 2001:db8::2/64 dev wan0 preferred_lft 0")?;
        follower
            .state("deprecated", |state| {
                let address: IpAddr = "2001:db8::2".parse().expect("an address");
                let mut addresses = state.addresses_of(10);
                // Still good for packets that are under way, and where there is no other.
                addresses.any(|it| it.address == address && it.deprecated && it.usable)
            })
            .await?;

        here.batch("addr del 192.0.2.3/24 dev wan0")?;
        follower
            .state("removed", |state| usable(state, "192.0.2.3").is_none())
            .await?;
        here.batch("addr flush dev wan0")?;
        follower
            .state("all removed", |state| state.addresses_of(10).count() == 0)
            .await
    })
}

#[test]
fn an_address_that_another_host_has_is_not_usable() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = two_uplinks(&lab)?;
    here.sysctl(&[
        "net.ipv6.conf.wan0.accept_dad=1",
        "net.ipv6.conf.wan0.dad_transmits=1",
    ])?;
    there.batch("addr add 2001:db8::2/64 dev isp0 nodad")?;
    inside(&here, async |here| {
        let mut follower = Follower::start().await?;
        here.batch("addr add 2001:db8::2/64 dev wan0")?;
        let address: IpAddr = "2001:db8::2".parse()?;
        // Tentative, then a duplicate: never usable.
        let deadline = Instant::now() + Duration::from_secs(3);
        let mut messages = 0;
        while let Ok(event) = tokio::time::timeout_at(deadline.into(), follower.next()).await {
            if let NetEvent::AddressAdded(10, added) = event?
                && added.address == address
            {
                ensure!(!added.usable, "{added:?}");
                messages += 1;
            }
        }
        ensure!(messages >= 1, "nothing was said of the address");
        let shown = here.output(&["ip", "-6", "addr", "show", "dev", "wan0"])?;
        ensure!(
            shown.contains("dadfailed"),
            "the kernel found no duplicate: {shown}"
        );
        Ok(())
    })
}

#[test]
fn neighbours_are_followed() -> Result<()> {
    let lab = Lab::new()?;
    let [here, _there] = two_uplinks(&lab)?;
    inside(&here, async |here| {
        let mut follower = Follower::start().await?;
        let address: IpAddr = [192, 0, 2, 1].into();
        here.batch("neigh add 192.0.2.1 lladdr 02:00:00:00:00:07 dev wan0 nud reachable")?;
        follower
            .state("added", |state| {
                state.neighbour(10, address).is_some_and(|it| {
                    it.valid
                        && it.mac == Some([2, 0, 0, 0, 0, 7])
                        && it.state == NeighbourState::Reachable
                })
            })
            .await?;
        here.batch("neigh change 192.0.2.1 lladdr 02:00:00:00:00:08 dev wan0 nud stale")?;
        follower
            .state("changed", |state| {
                state
                    .neighbour(10, address)
                    .is_some_and(|it| it.mac == Some([2, 0, 0, 0, 0, 8]))
            })
            .await?;
        here.batch("neigh del 192.0.2.1 dev wan0")?;
        follower
            .state("gone or failed", |state| {
                state.neighbour(10, address).is_none_or(|it| !it.valid)
            })
            .await?;
        here.batch("neigh add 192.0.2.1 lladdr 02:00:00:00:00:07 dev wan0 nud permanent")?;
        follower
            .state("again", |state| {
                state.neighbour(10, address).is_some_and(|it| it.valid)
            })
            .await?;
        here.batch("link set wan0 down")?;
        follower
            .state("purged with the device", |state| {
                state.neighbour(10, address).is_none_or(|it| !it.valid)
            })
            .await
    })
}
