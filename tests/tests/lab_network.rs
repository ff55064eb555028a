//! The lab's network is what tests take it for: with the kernel's own routing in place of the
//! gateway, each tool of measurement finds what was done to the network, and nothing else.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        cut::Cut,
        topology::{GatewayLab, Plan, UplinkPlan},
    },
    traffic::{
        flows::{self, Family},
        http, iperf, ping,
        stream::Stream,
    },
};

const BOTH: [Family; 2] = [Family::V4, Family::V6];

/// Makes the gateway's kernel send everything by one uplink.
fn route_by(lab: &GatewayLab, uplink: usize) -> Result<()> {
    let device = format!("wan{uplink}");
    let next_hop = lab.uplinks[uplink].addresses.isp4;
    lab.gateway.batch(&format!(
        "route replace default via {next_hop} dev {device} metric 10\n\
         route replace default via fe80::1 dev {device} metric 10\n"
    ))
}

/// Makes the gateway's kernel spread flows over three uplinks, 5:3:2.
fn route_by_all(lab: &GatewayLab) -> Result<()> {
    lab.gateway.sysctl(&[
        "net.ipv4.fib_multipath_hash_policy=1",
        "net.ipv6.fib_multipath_hash_policy=1",
    ])?;
    let hops = |address: fn(&GatewayLab, usize) -> String| -> String {
        [(0, 5), (1, 3), (2, 2)]
            .map(|(n, weight)| {
                format!(
                    " nexthop via {} dev wan{n} weight {weight}",
                    address(lab, n)
                )
            })
            .concat()
    };
    let v4 = hops(|lab, n| lab.uplinks[n].addresses.isp4.to_string());
    let v6 = hops(|_, _| String::from("fe80::1"));
    lab.gateway
        .output(&[
            "sh",
            "-c",
            &format!(
                "ip route add default metric 10 {v4} && ip -6 route add default metric 10 {v6}"
            ),
        ])
        .map(drop)
}

#[test]
fn hosts_reach_the_server_and_each_router_by_each_uplink() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    for uplink in 0..3 {
        route_by(&lab, uplink)?;
        for family in BOTH {
            let flows = flows::many(20, 2, family);
            let taken = flows::uplinks_of(&lab, &flows)?;
            ensure!(
                taken.iter().all(|taken| *taken == Some(uplink)),
                "{family:?}: {taken:?}"
            );
            for host in 0..2 {
                ping::ping(&lab, host, family.server(), &[])?;
            }
        }
        let addresses = lab.uplinks[uplink].addresses;
        for router in [
            addresses.isp4.into(),
            addresses.isp6.into(),
            addresses.internet4.into(),
            addresses.internet6.into(),
        ] {
            ping::ping(&lab, 0, router, &[])?;
        }
    }
    Ok(())
}

#[test]
fn replies_come_back_by_the_uplink_of_the_request() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    // What each ISP sends to the gateway is counted there.
    lab.gateway.nft(
        "table inet count {\n chain in {\n  type filter hook prerouting priority raw;\n\
         iifname wan0 ip protocol icmp counter\niifname wan1 ip protocol icmp counter\n\
         iifname wan2 ip protocol icmp counter\n }\n}\n",
    )?;
    for uplink in [2, 0, 1] {
        route_by(&lab, uplink)?;
        ping::ping(&lab, 0, Family::V4.server(), &[])?;
    }
    let counted = lab.gateway.output(&["nft", "list", "ruleset"])?;
    ensure!(
        counted.matches("counter packets 3 ").count() == 3,
        "{counted}"
    );
    Ok(())
}

#[test]
fn ten_thousand_flows_are_each_seen_once_on_their_uplink() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    route_by_all(&lab)?;
    for family in BOTH {
        let flows = flows::many(10_000, 2, family);
        let first = flows::uplinks_of(&lab, &flows)?;
        ensure!(
            first.iter().all(Option::is_some),
            "packets were lost: {:?}",
            flows::shares(&first, 3)
        );
        let second = flows::uplinks_of(&lab, &flows)?;
        ensure!(
            first == second,
            "the kernel's hash gives each flow the same uplink each time"
        );
        for (share, expected) in flows::shares(&first, 3).into_iter().zip([0.5, 0.3, 0.2]) {
            ensure!(
                (share - expected).abs() < 0.02,
                "{share} instead of {expected}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_blackhole_is_silent_and_spares_the_isp_itself() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let isp = lab.uplinks[0].addresses;
    let silent = |host: usize, to: std::net::IpAddr| -> Result<()> {
        let output = lab.hosts[host]
            .namespace
            .command("ping")
            .args(["-n", "-c", "3", "-i", "0.1", "-W", "1", &to.to_string()])
            .output()?;
        let said = String::from_utf8(output.stdout)?;
        ensure!(
            said.contains(" 0 received") && !said.contains("errors"),
            "not silent:\n{said}"
        );
        Ok(())
    };
    for _ in 0..2 {
        lab.cut(0, Cut::Blackhole)?;
        for family in BOTH {
            silent(0, family.server())?;
        }
        ping::ping(&lab, 0, isp.isp4.into(), &[])?;
        lab.gateway
            .output(&["ping", "-c", "1", "-W", "1", "fe80::1%wan0"])?;
        lab.restore(0, Cut::Blackhole)?;
        for family in BOTH {
            ping::ping(&lab, 0, family.server(), &[])?;
        }
    }
    Ok(())
}

#[test]
fn a_pulled_cable_is_seen_by_the_gateway_and_can_be_plugged_in_again() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let carrier = || -> Result<bool> {
        Ok(lab
            .gateway
            .output(&["ip", "link", "show", "wan0"])?
            .contains("LOWER_UP"))
    };
    for _ in 0..3 {
        ensure!(carrier()?);
        let moment = lab.cut(0, Cut::Carrier)?;
        let start = Instant::now();
        while carrier()? {
            ensure!(
                start.elapsed() < Duration::from_secs(5),
                "the carrier's loss is not seen"
            );
        }
        eprintln!(
            "the request took {} us",
            (moment.after - moment.before) / 1000
        );
        lab.restore(0, Cut::Carrier)?;
        for family in BOTH {
            ping::ping(&lab, 0, family.server(), &[])?;
        }
    }
    Ok(())
}

#[test]
fn a_stream_counts_what_a_blackhole_swallows() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let flows: Vec<_> = BOTH
        .into_iter()
        .flat_map(|family| flows::many(3, 2, family))
        .collect();
    let stream = Stream::start(&lab, &flows, Duration::from_millis(1))?;
    thread::sleep(Duration::from_millis(300));
    ensure!(
        stream.uplinks_now() == [Some(0); 6],
        "{:?}",
        stream.uplinks_now()
    );
    let cut = lab.cut(0, Cut::Blackhole)?;
    thread::sleep(Duration::from_millis(200));
    route_by(&lab, 1)?;
    thread::sleep(Duration::from_millis(200));
    ensure!(
        stream.uplinks_now() == [Some(1); 6],
        "{:?}",
        stream.uplinks_now()
    );
    let back = lab.restore(0, Cut::Blackhole)?;
    thread::sleep(Duration::from_millis(200));
    let story = stream.stop()?;
    ensure!(back.after - back.before < 5_000_000, "{back:?}");
    for flow in &story.flows {
        ensure!(flow.moves().len() == 1, "{:?}", flow.moves());
        let failover = flow.failover_ms(cut.before).context("it has moved")?;
        ensure!(
            (200.0..260.0).contains(&failover),
            "moved after {failover} ms"
        );
        let lost = flow.lost() as f64;
        ensure!(
            (lost - failover).abs() < 10.0,
            "{lost} packets lost in {failover} ms"
        );
        ensure!(
            flow.lost_either_way() < flow.lost() + 5,
            "{} on both ways",
            flow.lost_either_way()
        );
    }
    Ok(())
}

#[test]
fn nothing_is_lost_while_nothing_is_cut() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    route_by_all(&lab)?;
    let flows: Vec<_> = BOTH
        .into_iter()
        .flat_map(|family| flows::many(12, 2, family))
        .collect();
    // The first packets may have to wait for a neighbour's address, and not all would.
    flows::uplinks_of(&lab, &flows)?;
    let stream = Stream::start(&lab, &flows, Duration::from_millis(1))?;
    thread::sleep(Duration::from_secs(3));
    let story = stream.stop()?;
    for flow in &story.flows {
        ensure!(
            flow.packets.len() > 2500,
            "only {} packets were sent",
            flow.packets.len()
        );
        flow.ensure_undisturbed()?;
    }
    Ok(())
}

#[test]
fn a_slow_download_lives_through_a_change_of_uplink() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let server = http::Server::start(&lab)?;
    let opened = http::connections(&lab, http::PORT)?;
    let mut downloads = Vec::new();
    for (family, port) in [(Family::V4, 5000), (Family::V6, 5001)] {
        let size = http::Size::Steady(200_000);
        downloads.push(http::Download::start(&lab, 0, family, port, size)?);
    }
    thread::sleep(Duration::from_secs(1));
    lab.cut(0, Cut::Blackhole)?;
    thread::sleep(Duration::from_millis(300));
    route_by(&lab, 2)?;
    let before: Vec<u64> = downloads.iter().map(http::Download::received).collect();
    thread::sleep(Duration::from_secs(2));
    server.complete();
    for (download, before) in downloads.into_iter().zip(before) {
        let received = download.finish(Duration::from_secs(10))?;
        ensure!(
            received > before + 100_000,
            "{received} bytes, {before} before the change"
        );
    }
    let mut opened: Vec<_> = opened
        .stop()?
        .iter()
        .map(|seen| (seen.what, seen.point))
        .collect();
    opened.sort_unstable();
    ensure!(opened == [(5000, 0), (5001, 0)], "{opened:?}");
    Ok(())
}

#[test]
fn iperf_runs_by_both_families() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _server = iperf::Server::start(&lab)?;
    for family in BOTH {
        let client = iperf::Client::start(&lab, 1, family, Duration::from_secs(1), &[])?;
        let throughput = client.finish()?;
        ensure!(throughput.mbit_per_second > 50.0, "{throughput:?}");
    }
    Ok(())
}

#[test]
fn an_unplugged_device_can_be_plugged_in_again() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    lab.replug(0, || {
        let gone = lab.gateway.output(&["ip", "link", "show", "wan0"]);
        ensure!(gone.is_err(), "wan0 is still there");
        Ok(())
    })?;
    for family in BOTH {
        ping::ping(&lab, 0, family.server(), &[])?;
        ensure!(flows::uplinks_of(&lab, &flows::many(2, 2, family))? == [Some(0); 2]);
    }
    Ok(())
}

#[test]
fn a_kernel_that_cannot_delay_packets_says_so() -> Result<()> {
    let slow = UplinkPlan {
        delay: Duration::from_millis(20),
        ..UplinkPlan::new("slow", 1)
    };
    let lab = GatewayLab::new(&Plan {
        hosts: 1,
        uplinks: vec![slow],
        private: false,
    })?;
    let start = Instant::now();
    ping::ping(&lab, 0, Family::V4.server(), &["-c", "1"])?;
    let rtt = start.elapsed();
    ensure!(
        lab.has_delay == (rtt > Duration::from_millis(20)),
        "can delay: {}, one ping takes {rtt:?}",
        lab.has_delay
    );
    Ok(())
}
