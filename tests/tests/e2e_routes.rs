//! The gateway's own traffic: it follows the uplinks' health, keeps to the uplink of its source or mark,
//! whatever others do to the kernel's routes, and nothing is left of it.

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, NEXT_HOP6, Plan, SERVER4, SERVER6},
    },
    traffic::{flows::Family, http},
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(15);

fn wait_for(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > PATIENCE {
            bail!("not {what} within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// All rules and routes of the gateway, as iproute2 shows them; in the order of the text, since the
/// kernel's own changes when links flap.
fn everything(lab: &GatewayLab) -> Result<Vec<String>> {
    let mut all = String::new();
    for family in ["-4", "-6"] {
        for what in [&["rule", "show"][..], &["route", "show", "table", "all"]] {
            let words: Vec<&str> = [&["ip", "-details", family], what].concat();
            all += &lab.gateway.output(&words)?;
        }
    }
    let mut lines: Vec<String> = all.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.sort_unstable();
    Ok(lines)
}

fn ours(lines: &[String]) -> usize {
    let of_ours = |line: &&String| line.contains("proto 77");
    lines.iter().filter(of_ours).count()
}

/// The device by which the gateway sends to the server, by these further words of `ip route get`.
fn device(lab: &GatewayLab, to: IpAddr, words: &[&str]) -> Result<String> {
    let to = to.to_string();
    let get: Vec<&str> = [&["ip", "route", "get", &to], words].concat();
    let route = lab.gateway.output(&get)?;
    let (_, rest) = route.split_once(" dev ").context(route.clone())?;
    Ok(rest.split(' ').next().unwrap_or_default().to_owned())
}

/// Waits until the gateway's own traffic goes by this device, in both families.
fn wait_until_by(lab: &GatewayLab, wanted: &str) -> Result<()> {
    for server in [SERVER4.into(), SERVER6.into()] {
        wait_for(&format!("to {server} by {wanted}"), || {
            Ok(device(lab, server, &[])? == wanted)
        })?;
    }
    Ok(())
}

/// Has the gateway itself ask the server once, which must answer.
fn ping(lab: &GatewayLab, to: IpAddr, options: &[&str]) -> Result<()> {
    let to = to.to_string();
    let words: Vec<&str> = [
        &["ping", "-n", "-c", "1", "-W", "2"],
        options,
        &[to.as_str()],
    ]
    .concat();
    lab.gateway.output(&words).map(drop)
}

/// Has the gateway itself download from the server, with nothing said of the way.
fn download(lab: &GatewayLab, from: IpAddr) -> Result<()> {
    let url = format!("http://{}/100000", SocketAddr::new(from, http::PORT));
    let words = [
        "curl",
        "--silent",
        "--show-error",
        "--fail",
        "--noproxy",
        "*",
        "--max-time",
        "5",
    ];
    let words = [&words[..], &["--output", "/dev/null", url.as_str()]].concat();
    lab.gateway.output(&words).map(drop)
}

/// Each ISP drops what the gateway sends there from another ISP's address, as RFC 2827 asks them to.
fn filter_sources(lab: &GatewayLab) -> Result<()> {
    for uplink in &lab.uplinks {
        let addresses = &uplink.addresses;
        uplink.isp.nft(&format!(
            "table inet bcp38 {{ chain in {{ type filter hook prerouting priority raw; policy accept;\n\
             iifname gw ip saddr 192.0.2.0/24 ip saddr != {}/30 drop\n\
             iifname gw ip6 saddr 2001:db8:f000::/36 ip6 saddr != {}/64 drop\n }}\n}}\n",
            addresses.gateway4, addresses.gateway6
        ))?;
    }
    Ok(())
}

fn status(gateway: &Gateway<'_>) -> Result<Value> {
    gateway.json("status", &[])
}

fn detach(gateway: &Gateway<'_>) -> Result<()> {
    let output = gateway.run("detach", &[])?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// The gateway's DNS, NTP and the like: by the best uplink, by the next best when that fails, and no
/// further when it returns.
#[test]
fn the_gateways_own_traffic_follows_its_uplinks() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    filter_sources(&lab)?;
    let _server = http::Server::start(&lab)?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    wait_until_by(&lab, "wan0")?;
    for (uplink, cut, next) in [
        (0, Cut::Blackhole, "wan1"),
        (1, Cut::Carrier, "wan0"),
        (0, Cut::Carrier, "wan1"),
    ] {
        lab.cut(uplink, cut)?;
        wait_until_by(&lab, next)?;
        for family in [Family::V4, Family::V6] {
            ping(&lab, family.server(), &[])?;
            download(&lab, family.server())?;
        }
        lab.restore(uplink, cut)?;
        gateway.wait_until_all_up()?;
        // It has no reason to go back.
        for family in [Family::V4, Family::V6] {
            ensure!(device(&lab, family.server(), &[])? == next);
            ping(&lab, family.server(), &[])?;
        }
        let status = status(&gateway)?;
        let names = [
            &status["own_traffic"]["ipv4"],
            &status["own_traffic"]["ipv6"],
        ];
        let name = if next == "wan0" { "fiber" } else { "cable" };
        ensure!(names.iter().all(|it| **it == name), "{names:?}");
    }
    let metrics = gateway.fetch("/metrics")?.1;
    for line in [
        "multihome_own_traffic_uplink{family=\"ipv4\",uplink=\"cable\"} 1",
        "multihome_own_traffic_uplink{family=\"ipv6\",uplink=\"fiber\"} 0",
    ] {
        ensure!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    Ok(())
}

/// The server asks each of the gateway's addresses; an answer by another uplink would be dropped there.
#[test]
fn answers_leave_by_the_uplink_of_the_address_that_was_asked() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    filter_sources(&lab)?;
    let asked = |lab: &GatewayLab| -> Result<Vec<bool>> {
        let mut answers = Vec::new();
        for uplink in &lab.uplinks {
            let addresses = &uplink.addresses;
            for to in [
                addresses.gateway4.to_string(),
                addresses.gateway6.to_string(),
            ] {
                let words = ["ping", "-n", "-c", "1", "-W", "1", &to];
                answers.push(lab.server.output(&words).is_ok());
            }
        }
        Ok(answers)
    };
    let mut settings = Settings::from_environment()?;
    let alone = asked(&lab)?;
    ensure!(
        alone.contains(&false),
        "the kernel needs no help: {alone:?}"
    );
    let gateway = Gateway::start(&lab, settings.clone())?;
    wait_until_by(&lab, "wan0")?;
    let led = asked(&lab)?;
    ensure!(led == [true; 6], "{led:?}");
    // Also while the uplink that all else takes is another one.
    lab.cut(0, Cut::Blackhole)?;
    wait_until_by(&lab, "wan1")?;
    let led = asked(&lab)?;
    ensure!(led[2..] == [true; 4], "{led:?}");
    lab.restore(0, Cut::Blackhole)?;
    gateway.wait_until_all_up()?;
    detach(&gateway)?;
    drop(gateway);
    settings.options.push("--manage-routes=false".into());
    let _gateway = Gateway::start(&lab, settings)?;
    let left_alone = asked(&lab)?;
    ensure!(left_alone == alone, "{left_alone:?}");
    Ok(())
}

/// A mark, a device or an address that a program binds to chooses the uplink.
#[test]
fn programs_choose_an_uplink_by_mark_device_or_address() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    filter_sources(&lab)?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    wait_until_by(&lab, "wan0")?;
    let status = status(&gateway)?;
    for (n, uplink) in lab.uplinks.iter().enumerate() {
        let mark = status["uplinks"][n]["table"]
            .as_u64()
            .context("it has a table")?;
        let mark = mark.to_string();
        let wan = uplink.device.as_str();
        for family in [Family::V4, Family::V6] {
            let server = family.server();
            let address = match family {
                Family::V4 => uplink.addresses.gateway4.to_string(),
                Family::V6 => uplink.addresses.gateway6.to_string(),
            };
            for words in [["mark", mark.as_str()], ["oif", wan], ["from", &address]] {
                let by = device(&lab, server, &words)?;
                ensure!(by == wan, "{words:?}: by {by}");
            }
            for options in [["-m", mark.as_str()], ["-I", wan], ["-I", &address]] {
                ping(&lab, server, &options).with_context(|| format!("{wan}: {options:?}"))?;
            }
        }
    }
    // It does not slip to another one when that one is gone.
    lab.gateway.batch("link set wan1 down")?;
    gateway.wait_for_state(1, "down")?;
    wait_for("refused", || {
        Ok(device(&lab, SERVER4.into(), &["mark", "7701"]).is_err()
            && device(&lab, SERVER6.into(), &["mark", "7701"]).is_err())
    })
}

/// <https://github.com/vyos/vyos-1x/pull/4818>: the uplink's route is gone after a link flap.
#[test]
fn vyos_4818_the_uplinks_route_is_back_after_a_link_flap() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    filter_sources(&lab)?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    wait_until_by(&lab, "wan0")?;
    let UplinkTable { before, .. } = UplinkTable::of(&lab, 7700)?;
    for _ in 0..3 {
        lab.gateway.batch("link set wan0 down")?;
        wait_until_by(&lab, "wan1")?;
        let addresses = &lab.uplinks[0].addresses;
        lab.gateway.batch(&format!(
            "link set wan0 up\naddr replace {}/64 dev wan0\n",
            addresses.gateway6
        ))?;
        gateway.wait_until_all_up()?;
        // The kernel has taken the operator's default routes over it, and nobody has set them again.
        let main = lab
            .gateway
            .output(&["ip", "route", "show", "default", "dev", "wan0"])?;
        ensure!(main.trim().is_empty(), "{main}");
        wait_for("the same routes", || {
            Ok(UplinkTable::of(&lab, 7700)?.before == before)
        })?;
        for (server, own) in [
            (SERVER4.into(), addresses.gateway4.to_string()),
            (SERVER6.into(), addresses.gateway6.to_string()),
        ] {
            wait_for("by its own address", || {
                Ok(ping(&lab, server, &["-I", &own]).is_ok())
            })?;
        }
        lab.cut(1, Cut::Carrier)?;
        wait_until_by(&lab, "wan0")?;
        ping(&lab, SERVER4.into(), &[])?;
        lab.restore(1, Cut::Carrier)?;
        gateway.wait_until_all_up()?;
    }
    // Its successor finds no default route over it either, and knows its next hop all the same.
    gateway.process()?.kill()?;
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    let next_hop = status(&gateway)?["uplinks"][0]["next_hop"].clone();
    ensure!(
        next_hop == lab.uplinks[0].addresses.isp4.to_string(),
        "{next_hop}"
    );
    Ok(())
}

/// What iproute2 shows of one table.
struct UplinkTable {
    before: [String; 2],
}

impl UplinkTable {
    fn of(lab: &GatewayLab, table: u32) -> Result<Self> {
        let table = table.to_string();
        let mut before = [String::new(), String::new()];
        for (family, shown) in ["-4", "-6"].iter().zip(&mut before) {
            let words = ["ip", family, "route", "show", "table", &table];
            // A table that nothing was ever put in does not exist.
            *shown = lab.gateway.output(&words).unwrap_or_default();
        }
        Ok(Self { before })
    }
}

/// A DHCP client or NetworkManager sets the main default route as it likes, over a dead uplink too: it
/// stays as they set it, and the gateway's own traffic goes by one that works.
#[test]
fn whatever_others_set_in_the_main_table_stays_and_does_not_lead_into_a_dead_uplink() -> Result<()>
{
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    wait_until_by(&lab, "wan0")?;
    lab.cut(0, Cut::Blackhole)?;
    wait_until_by(&lab, "wan1")?;
    let dead = lab.uplinks[0].addresses.isp4;
    for script in [
        format!("route replace default via {dead} dev wan0 proto dhcp metric 1"),
        format!(
            "route del default dev wan0 metric 1\nroute add default via {dead} dev wan0 proto dhcp metric 2"
        ),
        format!("route add default via {NEXT_HOP6} dev wan0 proto ra metric 1"),
    ] {
        lab.gateway.batch(&script)?;
        for family in [Family::V4, Family::V6] {
            ensure!(device(&lab, family.server(), &[])? == "wan1");
            ping(&lab, family.server(), &[])?;
        }
    }
    let main = lab.gateway.output(&["ip", "route", "show", "default"])?;
    ensure!(
        main.contains(&format!("default via {dead} dev wan0 proto dhcp metric 2")),
        "{main}"
    );
    // A route that says where something lies is the operator's word.
    lab.gateway
        .batch(&format!("route add {SERVER4}/32 via {dead} dev wan0"))?;
    ensure!(device(&lab, SERVER4.into(), &[])? == "wan0");
    Ok(())
}

/// IPv6 with a next hop that a router has advertised, as most providers do it.
#[test]
fn a_next_hop_that_a_router_advertises_is_followed() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    wait_until_by(&lab, "wan0")?;
    lab.gateway.sysctl(&["net.ipv6.conf.wan0.accept_ra=2"])?;
    let router = "fe80::77";
    lab.uplinks[0]
        .isp
        .batch(&format!("addr add {router}/64 dev gw"))?;
    lab.gateway
        .output(&["ip", "-6", "route", "del", "default", "dev", "wan0"])?;
    let advertise = |lifetime: u16| lab.uplinks[0].isp.enter(|| advertise(router, lifetime))?;
    advertise(1800)?;
    wait_for("advertised", || {
        let table = lab
            .gateway
            .output(&["ip", "-6", "route", "show", "table", "7700"])?;
        Ok(table.contains(&format!("default via {router} dev wan0")))
    })?;
    gateway.wait_until_all_up()?;
    ping(&lab, SERVER6.into(), &["-m", "7700"])?;
    // The router withdraws, and the kernel's route with it: a network manager may set that anew, and if none has,
    // the router's word counts.
    advertise(0)?;
    wait_for("withdrawn", || {
        let main = lab
            .gateway
            .output(&["ip", "-6", "route", "show", "default", "dev", "wan0"])?;
        Ok(main.trim().is_empty())
    })?;
    ping(&lab, SERVER6.into(), &["-m", "7700"])?;
    gateway.wait_for("left by IPv6", Duration::from_secs(10), |status| {
        !status.uplinks[0].family_is_up("ipv6") && status.uplinks[0].family_is_up("ipv4")
    })?;
    ping(&lab, SERVER6.into(), &[])
}

/// Sends a router advertisement (RFC 4861 section 4.2) to all nodes of the link.
fn advertise(router: &str, lifetime: u16) -> Result<()> {
    use socket2::{Domain, Protocol, SockAddr, Socket, Type};
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    let index = nix::net::if_::if_nametoindex("gw")?;
    socket.set_multicast_hops_v6(255)?;
    socket.set_multicast_if_v6(index)?;
    let from = std::net::SocketAddrV6::new(router.parse()?, 0, 0, index);
    socket.bind(&SockAddr::from(from))?;
    let [high, low] = lifetime.to_be_bytes();
    // Type, code, checksum (the kernel's task), hop limit, flags, lifetime, two timers.
    let message = [134, 0, 0, 0, 64, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0];
    let all_nodes = std::net::SocketAddrV6::new("ff02::1".parse()?, 0, 0, index);
    socket.send_to(&message, &SockAddr::from(all_nodes))?;
    Ok(())
}

/// Somebody flushes what is not theirs, as systemd-networkd does when it starts.
#[test]
fn what_somebody_removes_is_set_again() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    wait_until_by(&lab, "wan0")?;
    let before = everything(&lab)?;
    for (n, family) in ["-4", "-6"].into_iter().enumerate() {
        lab.gateway
            .output(&["ip", family, "rule", "flush", "protocol", "77"])?;
        for table in ["7700", "7701", "7764"] {
            lab.gateway
                .output(&["ip", family, "route", "flush", "table", table])?;
        }
        wait_for("as before", || Ok(everything(&lab)? == before))?;
        wait_for("told", || {
            Ok(status(&gateway)?["own_traffic"]["restored"].as_u64() > Some(n as u64))
        })?;
    }
    Ok(())
}

/// Nothing of ours is left, and nothing of others' is changed, however it ends.
#[test]
fn detaching_leaves_rules_and_routes_as_they_were() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    // Others have rules and tables of their own, also between ours.
    lab.gateway.batch(
        "rule add pref 100 from 10.9.0.0/24 lookup 99\n\
         rule add pref 7703 from 10.9.1.0/24 lookup 99\n\
         route add default via 192.0.2.1 dev wan0 table 99\n\
         rule add pref 30000 fwmark 0x5 lookup 99 protocol static\n",
    )?;
    let before = everything(&lab)?;
    let mut settings = Settings::from_environment()?;
    let mut gateway = Gateway::start(&lab, settings.clone())?;
    wait_until_by(&lab, "wan0")?;
    ensure!(ours(&everything(&lab)?) > 20);
    detach(&gateway)?;
    ensure!(
        everything(&lab)? == before,
        "after a detach:\n{:#?}",
        everything(&lab)?
    );

    gateway.launch()?;
    wait_until_by(&lab, "wan0")?;
    gateway.wait_until_all_up()?;
    gateway.process()?.kill()?;
    ensure!(
        ours(&everything(&lab)?) > 20,
        "they did not outlive the controller"
    );
    detach(&gateway)?;
    ensure!(
        everything(&lab)? == before,
        "after a crash:\n{:#?}",
        everything(&lab)?
    );
    drop(gateway);

    settings.options.push("--detach-on-exit".into());
    let mut gateway = Gateway::start(&lab, settings)?;
    wait_until_by(&lab, "wan0")?;
    gateway.process()?.signal(Signal::SIGTERM)?;
    gateway.process()?.wait(Duration::from_secs(5))?;
    ensure!(
        everything(&lab)? == before,
        "after a stop:\n{:#?}",
        everything(&lab)?
    );
    Ok(())
}

/// A stop leaves the routes in force, as it does the programs; who then has them left alone has them
/// removed.
#[test]
fn a_stop_leaves_routes_and_a_start_that_leaves_them_alone_removes_them() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let before = everything(&lab)?;
    let mut settings = Settings::from_environment()?;
    let mut gateway = Gateway::start(&lab, settings.clone())?;
    wait_until_by(&lab, "wan0")?;
    let led = everything(&lab)?;
    gateway.process()?.signal(Signal::SIGTERM)?;
    gateway.process()?.wait(Duration::from_secs(5))?;
    ensure!(everything(&lab)? == led, "a stop changed routes");
    drop(gateway);
    settings.options.push("--manage-routes=false".into());
    let gateway = Gateway::start(&lab, settings)?;
    wait_for("gone", || Ok(everything(&lab)? == before))?;
    lab.cut(0, Cut::Carrier)?;
    gateway.wait_for_state(0, "down")?;
    lab.restore(0, Cut::Carrier)?;
    gateway.wait_until_all_up()?;
    ensure!(ours(&everything(&lab)?) == 0, "they came back");
    let status = status(&gateway)?;
    ensure!(status["own_traffic"]["managed"] == false, "{status}");
    ensure!(status["uplinks"][0]["table"].is_null(), "{status}");
    Ok(())
}

/// kill -9: its successor goes on with the uplink that it finds chosen, and changes no route.
#[test]
fn a_killed_controllers_routes_are_taken_over_as_they_are() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    wait_until_by(&lab, "wan0")?;
    lab.cut(0, Cut::Blackhole)?;
    wait_until_by(&lab, "wan1")?;
    lab.restore(0, Cut::Blackhole)?;
    gateway.wait_until_all_up()?;
    let before = everything(&lab)?;
    let mut monitor = lab.gateway.command("ip");
    monitor.args(["monitor", "route", "rule"]);
    let mut monitor = lab.lab.spawn("monitor", monitor)?;
    // It hears of changes from now on.
    wait_for("heard", || {
        lab.gateway.batch(
            "route replace 203.0.113.254/32 dev wan2\nroute del 203.0.113.254/32 dev wan2",
        )?;
        Ok(monitor.stdout().contains("203.0.113.254"))
    })?;
    gateway.process()?.kill()?;
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    wait_for("taken over", || {
        let own = &status(&gateway)?["own_traffic"];
        Ok(own["ipv4"] == "cable" && own["ipv6"] == "cable")
    })?;
    // It still leads them.
    lab.cut(1, Cut::Carrier)?;
    gateway.wait_for_state(1, "down")?;
    let heard = monitor.stdout();
    let taken_over: Vec<&str> = heard
        .lines()
        .filter(|line| line.contains("proto 77"))
        .collect();
    lab.restore(1, Cut::Carrier)?;
    gateway.wait_until_all_up()?;
    monitor.kill()?;
    let changes = |line: &&&str| !line.contains("table 7764");
    ensure!(
        taken_over.iter().filter(changes).count() == 0,
        "changed at the restart: {taken_over:#?}"
    );
    ensure!(everything(&lab)?.len() == before.len());
    Ok(())
}

/// A setting that stands in the way is named with the command that sets it right, as long as it does.
#[test]
fn kernel_settings_that_are_wrong_are_named_until_they_are_right() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    lab.gateway.sysctl(&[
        "net.ipv4.conf.all.rp_filter=0",
        "net.ipv4.conf.wan1.rp_filter=1",
        "net.ipv4.conf.wan2.rp_filter=0",
    ])?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let commands = |gateway: &Gateway<'_>| -> Result<Vec<String>> {
        let status = status(gateway)?;
        let settings = status["settings"].as_array().context("a list")?;
        let of = |setting: &Value| setting["command"].as_str().unwrap_or_default().to_owned();
        Ok(settings.iter().map(of).collect())
    };
    let strict = ["sysctl -w net.ipv4.conf.wan1.rp_filter=2"];
    wait_for("named", || Ok(commands(&gateway)? == strict))?;
    let said = gateway.process()?.said();
    ensure!(
        said.contains("net.ipv4.conf.wan1.rp_filter is 1: strict"),
        "{said}"
    );
    let table = gateway.run("status", &[])?;
    let table = String::from_utf8(table.stdout)?;
    ensure!(
        table.contains("WARNING: net.ipv4.conf.wan1.rp_filter is 1"),
        "{table}"
    );
    lab.gateway.sysctl(&["net.ipv4.conf.wan1.rp_filter=2"])?;
    wait_for("right", || Ok(commands(&gateway)?.is_empty()))?;
    lab.gateway.sysctl(&["net.ipv4.ip_forward=0"])?;
    wait_for("named", || {
        Ok(commands(&gateway)? == ["sysctl -w net.ipv4.ip_forward=1"])
    })
}
