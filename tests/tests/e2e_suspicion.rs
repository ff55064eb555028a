//! Traffic that stays unanswered has the uplink's targets asked at once: an uplink that swallows
//! packets is left long before its usual probes have noticed, and traffic that nobody answers
//! takes no uplink down.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        cut::{Cut, Moment},
        topology::{GatewayLab, Plan},
    },
    traffic::{
        clock,
        flows::{self, DISCARD_PORT},
        stream::{ECHO_PORT, Stream},
    },
};

mod counter;

use counter::counter;

/// The longest that noticing may take here: how long it does take is measured elsewhere, on an idle
/// machine.
const SOON: Duration = Duration::from_secs(3);
/// How often the uplink is cut.
const TRIALS: usize = 5;

/// The gateway as its options are when none are given, but that flows go back at once, so that
/// the next trial finds them.
fn defaults() -> Result<Settings> {
    let mut settings = Settings::from_environment()?;
    settings.options = [
        "--failback",
        "immediate",
        "--failback-after",
        "0s",
        "--damping-hold",
        "0s",
    ]
    .map(String::from)
    .into();
    Ok(settings)
}

fn wait(stream: &Stream, what: &str, are: impl Fn(&[Option<usize>]) -> bool) -> Result<()> {
    let start = Instant::now();
    while !are(&stream.uplinks_now()) {
        ensure!(
            start.elapsed() < Duration::from_secs(20),
            "the flows are not {what}; now on uplinks {:?}",
            stream.uplinks_now()
        );
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// From the cut to the time that the status gives for the uplink's state.
fn noticed(gateway: &Gateway<'_>, uplink: usize, cut: Moment) -> Result<Duration> {
    gateway.wait_for_state(uplink, "down")?;
    let status = gateway.status()?;
    let uplink = status.uplinks.get(uplink).context("the uplink is there")?;
    let since: jiff::Timestamp = uplink.since.parse()?;
    let wall = u64::try_from(since.as_nanosecond())?;
    let at = wall.wrapping_add_signed(clock::offset_of_wall_clock());
    Ok(Duration::from_nanos(at.saturating_sub(cut.before)))
}

#[test]
fn a_provider_that_silently_drops_under_traffic_is_left_at_once_with_default_options() -> Result<()>
{
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, defaults()?)?;
    let flows = flows::find(&lab, 2, ECHO_PORT)?;
    let stream = Stream::start(&lab, &flows, Duration::from_millis(2))?;
    wait(&stream, "all there", |now| now.iter().all(Option::is_some))?;
    let before = stream.uplinks_now();
    let mut times = Vec::new();
    for _ in 0..TRIALS {
        // Long enough for the round-trip times to be known.
        thread::sleep(Duration::from_secs(2));
        let cut = lab.cut(0, Cut::Blackhole)?;
        wait(&stream, "off the cut uplink", |now| {
            now.iter().all(|on| *on != Some(0))
        })?;
        times.push(noticed(&gateway, 0, cut)?);
        lab.restore(0, Cut::Blackhole)?;
        wait(&stream, "back", |now| *now == before)?;
        gateway.wait_until_all_up()?;
    }
    times.sort_unstable();
    println!("noticed after {times:?}");
    ensure!(
        times[0] >= Duration::from_millis(200),
        "too early: {times:?}"
    );
    ensure!(times[TRIALS / 2] < SOON, "too late: {times:?}");
    let name = lab.uplinks[0].plan.name;
    let suspicions: f64 = ["silence", "loss"]
        .into_iter()
        .map(|sign| {
            let labels = [("sign", sign), ("uplink", name)];
            counter(&gateway, "multihome_suspicions_total", &labels)
        })
        .sum::<Result<f64>>()?;
    ensure!(suspicions >= TRIALS as f64, "{suspicions} suspicions");
    for uplink in &lab.uplinks[1..] {
        let labels = [("to", "down"), ("uplink", uplink.plan.name)];
        let down = counter(&gateway, "multihome_uplink_transitions_total", &labels)?;
        ensure!(down == 0.0, "{} went down", uplink.plan.name);
    }
    Ok(())
}

/// Nobody sends anything, so only the probes can tell: the first that is lost has a burst follow.
#[test]
fn an_idle_provider_that_silently_drops_is_left_soon_after_the_first_lost_probe() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, defaults()?)?;
    let mut times = Vec::new();
    for _ in 0..TRIALS {
        thread::sleep(Duration::from_secs(2));
        let cut = lab.cut(0, Cut::Blackhole)?;
        times.push(noticed(&gateway, 0, cut)?);
        lab.restore(0, Cut::Blackhole)?;
        gateway.wait_until_all_up()?;
    }
    times.sort_unstable();
    println!("noticed after {times:?}");
    ensure!(times[TRIALS / 2] < SOON, "too late: {times:?}");
    let labels = [("sign", "loss"), ("uplink", lab.uplinks[0].plan.name)];
    let suspicions = counter(&gateway, "multihome_suspicions_total", &labels)?;
    ensure!(suspicions >= TRIALS as f64, "{suspicions} suspicions");
    Ok(())
}

/// Flow export, syslog: packets leave for ever, and nobody answers them.
#[test]
fn traffic_that_nobody_answers_takes_no_uplink_down_and_is_soon_no_longer_suspected() -> Result<()>
{
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, defaults()?)?;
    // Both kinds of flows on every uplink.
    let answered = flows::find(&lab, 1, ECHO_PORT)?;
    let unanswered = flows::find(&lab, 1, DISCARD_PORT)?;
    let stream = Stream::start(&lab, &answered, Duration::from_millis(5))?;
    wait(&stream, "all there", |now| now.iter().all(Option::is_some))?;
    thread::sleep(Duration::from_millis(500));
    stream.stop()?;

    let _silent = flows::server_socket(&lab, DISCARD_PORT)?;
    let sockets = unanswered
        .iter()
        .map(|flow| {
            let namespace = &lab.hosts[flow.host].namespace;
            Ok((namespace.enter(|| flows::socket(*flow))??, *flow))
        })
        .collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(6) {
        for (socket, flow) in &sockets {
            socket.send_to(b"one way", (flow.family.server(), DISCARD_PORT))?;
            sent += 1;
        }
        thread::sleep(Duration::from_millis(5));
    }
    ensure!(sent > 1000, "only {sent} packets were sent");
    let mut suspicions = 0.0;
    for uplink in &lab.uplinks {
        let name = uplink.plan.name;
        let labels = [("to", "down"), ("uplink", name)];
        let down = counter(&gateway, "multihome_uplink_transitions_total", &labels)?;
        ensure!(down == 0.0, "{name} went down");
        let labels = [("sign", "silence"), ("uplink", name)];
        let own = counter(&gateway, "multihome_suspicions_total", &labels)?;
        // One for each family; a few more if the machine was held up while there were answers.
        ensure!(own <= 6.0, "{name} was suspected {own} times");
        suspicions += own;
    }
    ensure!(suspicions > 0.0, "nobody looked at the traffic");
    ensure!(
        gateway
            .status()?
            .uplinks
            .iter()
            .all(|uplink| uplink.is_up())
    );
    Ok(())
}
