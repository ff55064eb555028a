//! A controller that gets no processor for a while must not take its own lateness for the
//! network's.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan},
    },
    traffic::{
        flows,
        stream::{ECHO_PORT, Stream},
    },
};
use nix::sys::signal::Signal;

mod counter;

use counter::counter;

/// For how long the controller is stopped, and then runs, in milliseconds, again and again.
const STALLS: [(u64, u64); 14] = [
    (300, 200),
    (300, 50),
    (300, 10),
    (1000, 500),
    (300, 700),
    (700, 30),
    (400, 90),
    (3000, 400),
    (500, 120),
    (300, 300),
    (350, 25),
    (900, 75),
    (300, 5),
    (600, 250),
];

fn starve(options: &[&str]) -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut settings = Settings::from_environment()?;
    settings.options = options.iter().copied().map(String::from).collect();
    let mut gateway = Gateway::start(&lab, settings)?;
    let flows = flows::find(&lab, 1, ECHO_PORT)?;
    let stream = Stream::start(&lab, &flows, Duration::from_millis(5))?;
    // Round-trip times are known, and timeouts are as tight as they get.
    thread::sleep(Duration::from_secs(3));
    let process = gateway.process()?;
    for (stopped, running) in STALLS {
        process.signal(Signal::SIGSTOP)?;
        thread::sleep(Duration::from_millis(stopped));
        process.signal(Signal::SIGCONT)?;
        thread::sleep(Duration::from_millis(running));
    }
    // What may have been called lost is judged by now.
    thread::sleep(Duration::from_secs(3));
    for uplink in &lab.uplinks {
        let name = uplink.plan.name;
        let labels = [("kind", "path_down"), ("uplink", name)];
        let down = counter(&gateway, "multihome_events_total", &labels)?;
        ensure!(down == 0.0, "{name} went down {down} times");
    }
    // It still notices what is none of its own doing.
    let cut = Instant::now();
    lab.cut(0, Cut::Blackhole)?;
    gateway.wait_for_state(0, "down")?;
    println!("a true loss is noticed after {:?}", cut.elapsed());
    stream.stop()?;
    Ok(())
}

#[test]
fn a_starved_controller_raises_no_alarm_with_default_options() -> Result<()> {
    starve(&[])
}

#[test]
fn a_starved_controller_raises_no_alarm_with_fast_probes() -> Result<()> {
    starve(&["--probe-interval", "50ms", "--suspicion", "100ms"])
}
