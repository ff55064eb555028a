//! Probes of services through the real kernel: TCP, HTTP, HTTPS and DNS by both families, over a device
//! that no route leads to and past strict reverse path filtering; wrong, forged and endless answers.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use multihome::{
    config::Target,
    probe::{
        Failure, Outcome, ProbeEvent, ProbePlan, ProbeReport, ProbeSettings, ProbeTarget, Prober,
        TargetId,
    },
};
use multihome_tests::{
    lab::{Lab, Namespace},
    traffic::peers,
};

#[expect(dead_code, reason = "targets that are pinged are planned otherwise")]
mod uplink;

use uplink::{
    DEVICE, OURS4, OURS6, PATIENCE, PEER_MAC, REMOTE4, REMOTE6, UPLINK, inside, outcome, outcomes,
    uplink,
};

const FAST: ProbeSettings = ProbeSettings {
    interval: Duration::from_millis(200),
    timeout: None,
    rate: None,
};

/// A plan to probe these targets.
fn plan(targets: &[String]) -> Result<(Vec<ProbePlan>, BTreeMap<TargetId, String>)> {
    let mut names = BTreeMap::new();
    let mut planned = Vec::new();
    for (number, text) in (0..).zip(targets) {
        let target: Target = text.parse()?;
        let id = target.id(UPLINK, number);
        names.insert(id, text.clone());
        planned.push(ProbeTarget {
            id,
            service: target.service().cloned(),
            source: if target.address().is_ipv4() {
                OURS4
            } else {
                OURS6
            },
            next_hop_mac: Some(PEER_MAC),
        });
    }
    let plan = ProbePlan {
        uplink: UPLINK,
        ifindex: DEVICE,
        targets: planned,
    };
    Ok((vec![plan], names))
}

fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Has all routes of a namespace lead to a device where nobody is, and count what its own stack says in
/// answer to packets that it does not know.
fn mislead(lab: &Lab, here: &Namespace) -> Result<()> {
    let [nowhere] = lab.namespaces(["nowhere"])?;
    here.batch(&format!(
        "link add wrong type veth peer name end netns {}\n\
         link set wrong up\n\
         addr add 192.0.3.2/24 dev wrong\n\
         addr add 2001:db8:3::2/64 dev wrong nodad\n\
         route add default via 192.0.3.1\n\
         route add default via 2001:db8:3::1\n\
         route add {REMOTE4}/32 via 192.0.3.1\n\
         route add {REMOTE6}/128 via 2001:db8:3::1\n",
        nowhere.full_name()
    ))?;
    nowhere.batch("link set end up")?;
    here.nft(
        "table inet said {\n counter said { }\n chain out {\n type filter hook output priority 0;\n\
         tcp flags rst counter name said\n icmp type destination-unreachable counter name said\n\
         icmpv6 type destination-unreachable counter name said\n }\n}\n",
    )
}

/// Packets that a named counter has counted.
fn counted(namespace: &Namespace, table: &str, counter: &str) -> Result<u64> {
    let text = namespace.output(&["nft", "list", "counter", "inet", table, counter])?;
    let number = text.split("packets ").nth(1).context("no counter")?;
    let number = number.split_whitespace().next().context("no number")?;
    Ok(number.parse()?)
}

/// Each service is asked over its uplink alone, and answers; the kernel, which knows nothing of these
/// connections, neither resets them nor refuses datagrams. No probe sends more packets than the pacing
/// counts for it.
#[test]
fn every_kind_of_service_answers_whatever_the_routing_table_says() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = uplink(&lab)?;
    mislead(&lab, &here)?;
    let _nginx = peers::nginx_of_statuses(&lab, &there)?;
    let _dns = peers::dnsmasq_in(&lab, &there)?;
    let ports = [("tcp", 7000), ("http", 80), ("https", 443)];
    let _listener = there.enter(|| TcpListener::bind("[::]:7000"))??;
    let mut ruleset = String::from("table inet seen {\n");
    for (name, port) in ports {
        ruleset += &format!(
            " counter to_{name} {{ }}\n chain c{port} {{\n type filter hook input priority 0;\n tcp dport {port} counter name to_{name}\n }}\n"
        );
    }
    there.nft(&(ruleset + "}\n"))?;
    let mut targets = Vec::new();
    for address in [REMOTE4, REMOTE6].map(in_url) {
        targets.extend([
            format!("tcp://{address}:7000"),
            format!("http://{address}/204 status=204"),
            format!("https://{address}/302 verify=false"),
            format!("dns://{address}/small.test?type=A"),
        ]);
    }
    let asked = inside(&here, async |_| {
        let (plans, names) = plan(&targets)?;
        let mut prober = Prober::start(FAST)?;
        prober.set_plans(plans);
        let (mut asked, mut answered) = (BTreeMap::new(), BTreeMap::new());
        let until = Instant::now() + PATIENCE;
        while answered.len() < names.len() || answered.values().any(|&count| count < 5) {
            ensure!(
                Instant::now() < until,
                "answered: {answered:?} of {asked:?}"
            );
            let next = tokio::time::timeout(PATIENCE, prober.next()).await?;
            match next.context("the prober has ended")? {
                ProbeReport::Sent(id) => *asked.entry(names[&id].clone()).or_insert(0_u64) += 1,
                ProbeReport::Event(ProbeEvent { id, outcome, .. }) => {
                    let Outcome::Reply { rtt } = outcome else {
                        bail!("{}: {outcome:?}", names[&id])
                    };
                    ensure!(rtt < Duration::from_secs(1), "{rtt:?}");
                    *answered.entry(names[&id].clone()).or_insert(0_u64) += 1;
                }
                ProbeReport::Overdue(_) => {}
                ProbeReport::Error { error, .. } => return Err(error.into()),
            }
        }
        let mut by_kind: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (id, name) in &names {
            let kind = name.split(':').next().unwrap_or_default();
            let kind = ports.iter().find(|(known, _)| *known == kind);
            if let Some((kind, _)) = kind {
                let (probes, packets) = by_kind.entry(kind).or_default();
                *probes += asked[name];
                *packets += asked[name] * u64::from(id.method.packets());
            }
        }
        Ok(by_kind)
    })?;
    for (kind, (probes, at_most)) in asked {
        let packets = counted(&there, "seen", &format!("to_{kind}"))?;
        println!("{kind}: {probes} probes sent {packets} packets, {at_most} are counted for them");
        ensure!(packets >= probes && packets <= at_most, "{kind}: {packets}");
    }
    ensure!(counted(&here, "said", "said")? == 0, "the kernel answered");
    Ok(())
}

/// What is wrong with an answer is told, and at once.
#[test]
fn wrong_answers_are_failures_that_say_what_is_wrong() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = uplink(&lab)?;
    let _nginx = peers::nginx_of_statuses(&lab, &there)?;
    let _dns = peers::dnsmasq_in(&lab, &there)?;
    for address in [REMOTE4, REMOTE6].map(in_url) {
        let expected = [
            (format!("tcp://{address}:7001"), Failure::Refused),
            (format!("http://{address}/503"), Failure::Status(503)),
            (
                format!("http://{address}/302 status=200"),
                Failure::Status(302),
            ),
            (format!("https://{address}/"), Failure::Certificate),
            (format!("https://{address}:80/ verify=false"), Failure::Tls),
            (format!("dns://{address}/unknown.test"), Failure::DnsCode(3)),
            (
                format!("dns://{address}/noted.test?type=AAAA"),
                Failure::NoRecord,
            ),
        ];
        let targets: Vec<String> = expected.iter().map(|(text, _)| text.clone()).collect();
        inside(&here, async |_| {
            let (plans, names) = plan(&targets)?;
            let mut prober = Prober::start(FAST)?;
            prober.set_plans(plans);
            let mut found: BTreeMap<String, Failure> = BTreeMap::new();
            while found.len() < names.len() {
                let ProbeEvent { id, outcome, .. } = outcome(&mut prober).await?;
                let Outcome::Failed(failure) = outcome else {
                    bail!("{}: {outcome:?}", names[&id])
                };
                found.insert(names[&id].clone(), failure);
            }
            for (text, failure) in &expected {
                ensure!(
                    found.get(text) == Some(failure),
                    "{text}: {:?}",
                    found.get(text)
                );
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Takes connections until it is told to stop, and serves each on a thread of its own.
fn serve(listener: &TcpListener, stop: &AtomicBool, each: fn(TcpStream)) {
    thread::scope(|scope| {
        for stream in listener.incoming() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let Ok(stream) = stream else { return };
            scope.spawn(move || each(stream));
        }
    });
}

/// Runs a story beside a server on this port of the remote address.
fn beside<T: Send>(
    there: &Namespace,
    port: u16,
    each: fn(TcpStream),
    story: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let address = SocketAddr::new(REMOTE4, port);
    let listener = there.enter(|| TcpListener::bind(address))??;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| serve(&listener, &stop, each));
        let result = story();
        stop.store(true, Ordering::Relaxed);
        // A connection wakes the server up.
        drop(there.enter(|| TcpStream::connect(address)));
        result
    })
}

/// Time that this process loses between the steps of an exchange does not count as the network's.
#[test]
fn our_own_lateness_is_no_loss_of_an_exchange() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = uplink(&lab)?;
    // Slower than the grace that all probes get, which would hide what is shown here.
    let slow = |mut stream: TcpStream| {
        let _ = stream.read(&mut [0; 512]);
        thread::sleep(Duration::from_millis(80));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    };
    let story = async |_: &Namespace| {
        let (plans, _) = plan(&[format!("http://{REMOTE4}:8003/")])?;
        let mut prober = Prober::start(FAST)?;
        prober.set_plans(plans);
        // Timeouts adapt, down to the interval.
        let mut answered = 0;
        while answered < 20 {
            answered += u32::from(outcome(&mut prober).await?.outcome.is_reply());
        }
        for _ in 0..5 {
            // When the first packet of an exchange has left, the whole runtime stands still, longer
            // than the timeout: the answer waits, and all other steps are to come.
            let until = tokio::time::Instant::now() + PATIENCE;
            while !matches!(
                tokio::time::timeout_at(until, prober.next()).await?,
                Some(ProbeReport::Sent(_))
            ) {}
            thread::sleep(Duration::from_millis(350));
            for event in outcomes(&mut prober, Duration::from_millis(600)).await? {
                let Outcome::Reply { rtt } = event.outcome else {
                    bail!("a loss that was none: {event:?}")
                };
                ensure!(rtt < Duration::from_millis(300), "{rtt:?}");
            }
        }
        Ok(())
    };
    beside(&there, 8003, slow, || inside(&here, story))
}

/// A host that says nothing has lost the probe, whatever the kind.
#[test]
fn silence_is_a_loss() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = uplink(&lab)?;
    there.nft(&format!(
        "table inet cut {{\n chain in {{\n type filter hook input priority 0;\n\
         ip daddr {REMOTE4} drop; ip6 daddr {REMOTE6} drop\n }}\n}}\n"
    ))?;
    let mut targets = Vec::new();
    for address in [REMOTE4, REMOTE6].map(in_url) {
        targets.extend([
            format!("tcp://{address}:7000"),
            format!("http://{address}/"),
            format!("https://{address}/ verify=false"),
            format!("dns://{address}/small.test"),
        ]);
    }
    inside(&here, async |_| {
        let (plans, names) = plan(&targets)?;
        let settings = ProbeSettings {
            timeout: Some(Duration::from_millis(300)),
            ..FAST
        };
        let mut prober = Prober::start(settings)?;
        prober.set_plans(plans);
        let mut lost: BTreeMap<TargetId, u32> = BTreeMap::new();
        while lost.len() < names.len() || lost.values().any(|&count| count < 3) {
            let ProbeEvent { id, outcome, .. } = outcome(&mut prober).await?;
            ensure!(outcome == Outcome::Lost, "{}: {outcome:?}", names[&id]);
            *lost.entry(id).or_default() += 1;
        }
        Ok(())
    })
}

/// What is done to a true DNS answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgery {
    Identifier,
    Name,
    Type,
    IsQuery,
    OtherPort,
    /// Nothing: this one must count, or the others prove nothing.
    None,
}

/// A neighbour that sees no query can guess much of the answer; what it cannot guess is looked at.
#[test]
fn forged_dns_answers_do_not_count() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = uplink(&lab)?;
    let socket = there.enter(|| UdpSocket::bind(SocketAddr::new(REMOTE4, 53)))??;
    let other = there.enter(|| UdpSocket::bind(SocketAddr::new(REMOTE4, 5353)))??;
    socket.set_nonblocking(true)?;
    inside(&here, async |_| {
        let timeout = Duration::from_millis(150);
        let settings = ProbeSettings {
            interval: Duration::from_millis(20),
            timeout: Some(timeout),
            rate: None,
        };
        let mut prober = Prober::start(settings)?;
        prober.set_plans(plan(&[format!("dns://{REMOTE4}/a.test")])?.0);
        for forgery in [
            Forgery::Identifier,
            Forgery::Name,
            Forgery::Type,
            Forgery::IsQuery,
            Forgery::OtherPort,
            Forgery::None,
        ] {
            let (mut answers, mut events) = (0, Vec::new());
            while answers < 20 {
                events.extend(outcomes(&mut prober, Duration::from_millis(5)).await?);
                let mut query = [0; 512];
                while let Ok((len, from)) = socket.recv_from(&mut query) {
                    let answer = answer(&query[..len], forgery)?;
                    let from_socket = if forgery == Forgery::OtherPort {
                        &other
                    } else {
                        &socket
                    };
                    from_socket.send_to(&answer, from)?;
                    answers += 1;
                }
            }
            events.extend(outcomes(&mut prober, timeout * 2).await?);
            let counted = events
                .iter()
                .filter(|event| event.outcome.is_reply())
                .count();
            println!("{forgery:?}: {answers} answers, {counted} counted");
            if forgery == Forgery::None {
                ensure!(counted >= 3, "true answers do not count");
            } else {
                ensure!(
                    counted == 0 && !events.is_empty(),
                    "{forgery:?}: {events:?}"
                );
                let lost = |event: &ProbeEvent| event.outcome == Outcome::Lost;
                ensure!(events.iter().all(lost), "{forgery:?}: {events:?}");
            }
        }
        Ok(())
    })
}

/// An answer with an address to a query for `a.test`, more or less.
fn answer(query: &[u8], forgery: Forgery) -> Result<Vec<u8>> {
    // Header, 1 a 4 test 0, type, class.
    ensure!(query.len() == 12 + 8 + 4, "{query:?}");
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer[7] = 1;
    match forgery {
        Forgery::Identifier => answer[1] ^= 1,
        Forgery::Name => answer[13] = b'b',
        Forgery::Type => answer[21] = 28,
        Forgery::IsQuery => answer[2] &= 0x7f,
        Forgery::OtherPort | Forgery::None => {}
    }
    // A pointer to the name, type A, class IN, a minute, an address.
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 77]);
    Ok(answer)
}

/// Servers that never end, that say nonsense, or that open and say nothing hold up nobody else's
/// probes, and have failed or are lost.
#[test]
fn hostile_servers_hold_nobody_up() -> Result<()> {
    let lab = Lab::new()?;
    let [here, there] = uplink(&lab)?;
    let _silent = there.enter(|| TcpListener::bind(SocketAddr::new(REMOTE4, 8002)))??;
    let endless = |mut stream: TcpStream| {
        let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
        let _ = stream.read(&mut [0; 512]);
        let interim = b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n".repeat(100);
        // Until the prober has had enough.
        while stream.write_all(&interim).is_ok() {}
    };
    beside(&there, 8001, endless, || {
        inside(&here, async |_| {
            let targets = [
                format!("http://{REMOTE4}:8001/"),
                format!("https://{REMOTE4}:8001/ verify=false"),
                format!("http://{REMOTE4}:8002/"),
                REMOTE4.to_string(),
            ];
            let (plans, names) = plan(&targets)?;
            let settings = ProbeSettings {
                timeout: Some(Duration::from_millis(400)),
                ..FAST
            };
            let mut prober = Prober::start(settings)?;
            prober.set_plans(plans);
            let mut seen: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
            let enough = |seen: &BTreeMap<String, Vec<Outcome>>| {
                seen.len() == 4 && seen.values().all(|outcomes| outcomes.len() >= 5)
            };
            while !enough(&seen) {
                let ProbeEvent { id, outcome, .. } = outcome(&mut prober).await?;
                seen.entry(names[&id].clone()).or_default().push(outcome);
            }
            for (target, expected) in targets.iter().zip([
                Some(Outcome::Failed(Failure::TooLong)),
                Some(Outcome::Failed(Failure::Tls)),
                Some(Outcome::Lost),
                None,
            ]) {
                let outcomes = &seen[target];
                let fits = |outcome: &Outcome| match expected {
                    Some(expected) => *outcome == expected,
                    None => outcome.is_reply(),
                };
                ensure!(outcomes.iter().all(fits), "{target}: {outcomes:?}");
            }
            Ok(())
        })
    })
}
