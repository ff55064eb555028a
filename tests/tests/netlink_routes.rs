//! The mirror of the kernel's routes against a real kernel, which does not say everything.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use multihome::netlink::{MAIN_TABLE, NetState, Route};
use multihome_tests::lab::Lab;

mod follow;

use follow::{Follower, inside, two_uplinks};

/// The routes over a device whose destination is this, as `gateway metric table`.
fn routes(
    follower: &Follower,
    ifindex: u32,
    destination: &str,
) -> Result<Vec<(Option<IpAddr>, u32, u32)>> {
    let (address, len) = destination.split_once('/').context("a prefix")?;
    let (address, len): (IpAddr, u8) = (address.parse()?, len.parse()?);
    let of = |route: &&Route| {
        route.ifindex == ifindex && route.destination == address && route.prefix_len == len
    };
    let routes = follower.state.routes.iter().filter(of);
    Ok(routes
        .map(|route| (route.gateway, route.metric, route.table))
        .collect())
}

#[test]
fn routes_are_followed() -> Result<()> {
    let lab = Lab::new()?;
    let [here, _there] = two_uplinks(&lab)?;
    inside(&here, async |here| {
        here.batch("addr add 192.0.2.2/24 dev wan0\naddr add 198.51.100.2/24 dev wan1")?;
        let mut follower = Follower::start().await?;
        let (gateway0, gateway1) = (Some([192, 0, 2, 1].into()), Some([198, 51, 100, 1].into()));
        ensure!(routes(&follower, 10, "192.0.2.0/24")? == [(None, 0, MAIN_TABLE)]);

        here.batch("route add default via 192.0.2.1 dev wan0 metric 10")?;
        follower
            .state("added", |state| state.default_routes(10).len() == 1)
            .await?;
        ensure!(routes(&follower, 10, "0.0.0.0/0")? == [(gateway0, 10, MAIN_TABLE)]);

        here.batch("route replace default via 198.51.100.1 dev wan1 metric 10")?;
        follower
            .state("replaced", |state| state.default_routes(11).len() == 1)
            .await?;
        ensure!(
            follower.state.default_routes(10).is_empty(),
            "the kernel removes it silently"
        );

        here.batch(
            "route replace default metric 10 nexthop via 192.0.2.1 dev wan0 \
             nexthop via 198.51.100.1 dev wan1",
        )?;
        follower
            .state("multipath", |state| {
                state.default_routes(10).len() == 1 && state.default_routes(11).len() == 1
            })
            .await?;
        ensure!(routes(&follower, 11, "0.0.0.0/0")? == [(gateway1, 10, MAIN_TABLE)]);
        here.batch("route del default metric 10")?;
        follower
            .state("deleted", |state| {
                state.default_routes(10).is_empty() && state.default_routes(11).is_empty()
            })
            .await?;

        here.batch(
            "route add default via 192.0.2.1 dev wan0 table 100\n\
             addr add 2001:db8::2/64 dev wan0 nodad\n\
             route add ::/0 via 2001:db8::1 dev wan0 metric 5\n\
             route append ::/0 via 2001:db8::9 dev wan0 metric 5\n\
             route add 203.0.113.0/24 via inet6 fe80::1 dev wan0\n\
             route add blackhole 203.0.113.0/25",
        )?;
        follower
            .state("IPv6", |state| state.default_routes(10).len() == 3)
            .await?;
        ensure!(routes(&follower, 10, "0.0.0.0/0")? == [(gateway0, 0, 100)]);
        let first: IpAddr = "2001:db8::1".parse()?;
        let second: IpAddr = "2001:db8::9".parse()?;
        let expected = [(Some(first), 5, MAIN_TABLE), (Some(second), 5, MAIN_TABLE)];
        ensure!(routes(&follower, 10, "::/0")? == expected);
        follower
            .state("IPv4 over IPv6", |state| {
                state
                    .routes
                    .iter()
                    .any(|it| it.gateway == "fe80::1".parse().ok())
            })
            .await?;
        here.batch("route del ::/0 via 2001:db8::1 dev wan0 metric 5")?;
        follower
            .state("one of two next hops", |state| {
                state
                    .default_routes(10)
                    .iter()
                    .filter(|it| it.destination.is_ipv6())
                    .count()
                    == 1
            })
            .await?;
        ensure!(
            follower
                .state
                .routes
                .iter()
                .all(|route| route.prefix_len != 25),
            "a blackhole"
        );
        Ok(())
    })
}

#[test]
fn next_hop_objects_are_followed_through_the_routes_that_use_them() -> Result<()> {
    let lab = Lab::new()?;
    let [here, _there] = two_uplinks(&lab)?;
    inside(&here, async |here| {
        here.batch(
            "addr add 192.0.2.2/24 dev wan0\naddr add 198.51.100.2/24 dev wan1\n\
             nexthop add id 1 via 192.0.2.1 dev wan0\nroute add default nhid 1",
        )?;
        let mut follower = Follower::start().await?;
        ensure!(follower.state.default_routes(10).len() == 1);
        here.batch("nexthop replace id 1 via 198.51.100.1 dev wan1")?;
        follower
            .state("the object moved", |state| {
                state.default_routes(10).is_empty() && state.default_routes(11).len() == 1
            })
            .await?;
        here.batch("nexthop del id 1")?;
        follower
            .state("the object is gone", |state| {
                state.default_routes(11).is_empty()
            })
            .await
    })
}

#[test]
fn what_the_kernel_purges_silently_is_noticed() -> Result<()> {
    let lab = Lab::new()?;
    let [here, _there] = two_uplinks(&lab)?;
    inside(&here, async |here| {
        let set_up = "addr replace 192.0.2.2/24 dev wan0\n\
                      route replace default via 192.0.2.1 dev wan0 metric 10\n\
                      route replace 203.0.113.0/24 via 192.0.2.1 dev wan0";
        here.batch(set_up)?;
        let mut follower = Follower::start().await?;
        ensure!(follower.state.default_routes(10).len() == 1);

        here.batch("link set wan0 down")?;
        follower
            .state("switched off", |state| !state.links[&10].admin_up)
            .await?;
        ensure!(follower.state.default_routes(10).is_empty(), "at once");
        here.batch("link set wan0 up")?;
        follower
            .state("the connected route is back", |state| {
                state
                    .routes
                    .iter()
                    .any(|it| it.ifindex == 10 && it.destination.is_ipv4())
            })
            .await?;
        ensure!(
            follower.state.default_routes(10).is_empty(),
            "the kernel does not bring it back"
        );

        here.batch(set_up)?;
        follower
            .state("set up again", |state| state.default_routes(10).len() == 1)
            .await?;
        here.batch("addr del 192.0.2.2/24 dev wan0")?;
        follower
            .state("the last address took the routes", |state| {
                state.default_routes(10).is_empty()
                    && state.addresses_of(10).all(|it| it.address.is_ipv6())
            })
            .await?;

        // Routes with a preferred source go with that address, on whatever device.
        here.batch(
            "addr add 192.0.2.2/24 dev wan0\naddr add 198.51.100.2/24 dev wan1\n\
             route add 203.0.113.0/24 via 192.0.2.1 dev wan0 src 198.51.100.2",
        )?;
        let has = |state: &NetState| {
            state
                .routes
                .iter()
                .any(|it| it.destination == IpAddr::from([203, 0, 113, 0]))
        };
        follower.state("with a source", has).await?;
        here.batch("addr del 198.51.100.2/24 dev wan1")?;
        follower.state("without", |state| !has(state)).await
    })
}
