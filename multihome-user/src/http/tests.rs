//! The HTTP server over loopback, with good clients and bad ones.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream as StdStream},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::{
    config::Config,
    metrics::{Traffic, UplinkTraffic},
};

struct Setup {
    address: SocketAddr,
    heartbeat: Heartbeat,
    _server: HttpServer,
}

/// A server whose kernel counter goes up by one with each scrape.
fn setup() -> Setup {
    let text = "lan = \"lan0\"\n[[uplink]]\nname = \"a\"\ndevice = \"eth0\"\n";
    let config = Config::from_toml(Path::new("test.toml"), text).expect("it is right");
    let heartbeat = Heartbeat::new(Instant::now());
    let metrics = Metrics::new(&config, heartbeat.clone()).expect("no name is used twice");
    let bound = bind(([127, 0, 0, 1], 0).into()).expect("some port is free");
    let address = bound.address();
    let scrapes = AtomicU64::new(0);
    let counters = move || {
        let packets = scrapes.fetch_add(1, Ordering::Relaxed) + 1;
        let sent = Traffic {
            packets,
            bytes: packets,
        };
        let traffic = UplinkTraffic {
            sent,
            ..UplinkTraffic::default()
        };
        CounterSnapshot {
            uplinks: [("a".into(), traffic)].into(),
            ..CounterSnapshot::default()
        }
    };
    let server = serve(bound, Arc::new(metrics), heartbeat.clone(), counters)
        .expect("a thread can be started");
    Setup {
        address,
        heartbeat,
        _server: server,
    }
}

/// Sends bytes and reads until the server closes.
fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = StdStream::connect(address).expect("somebody listens");
    // The server may close before it has read all of it.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: SocketAddr, path: &str) -> String {
    send(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
    )
}

#[test]
fn every_scrape_reads_the_kernel_anew() {
    let setup = setup();
    for scrape in 1..=3 {
        let answer = get(setup.address, "/metrics");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("content-type: text/plain; version=0.0.4"),
            "{answer}"
        );
        let line = format!("\nmultihome_uplink_transmit_packets_total{{uplink=\"a\"}} {scrape}\n");
        assert!(answer.contains(&line), "{answer}");
    }
}

#[test]
fn health_follows_the_control_loop() {
    let setup = setup();
    assert!(get(setup.address, "/healthz").ends_with("\r\n\r\nok\n"));
    // A heart that last beat in the past.
    let now = Instant::now();
    let Some(long_ago) = now.checked_sub(STALE + Duration::from_secs(2)) else {
        panic!("the machine was started less than {STALE:?} ago")
    };
    let stale = Heartbeat::new(long_ago);
    let served = Served {
        metrics: Arc::new(
            Metrics::new(
                &Config::from_toml(
                    Path::new("test.toml"),
                    "lan = \"l\"\n[[uplink]]\nname = \"a\"\ndevice = \"e\"\n",
                )
                .expect("it is right"),
                stale.clone(),
            )
            .expect("no name is used twice"),
        ),
        heartbeat: stale.clone(),
        counters: Box::new(CounterSnapshot::default),
    };
    let served = Arc::new(served);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let answer = runtime.block_on(health(State(served.clone())));
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    stale.beat(now);
    assert_eq!(
        runtime.block_on(health(State(served))).status(),
        StatusCode::OK
    );
    setup.heartbeat.beat(Instant::now());
    assert!(get(setup.address, "/healthz").ends_with("\r\n\r\nok\n"));
}

#[test]
fn other_paths_and_methods_are_refused() {
    let setup = setup();
    assert!(get(setup.address, "/").contains("/metrics for Prometheus"));
    assert!(get(setup.address, "/metrics/x").starts_with("HTTP/1.1 404 "));
    assert!(get(setup.address, "/../etc/passwd").starts_with("HTTP/1.1 404 "));
    let post = send(
        setup.address,
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
    );
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    let head = send(setup.address, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn garbage_is_cut_off() {
    let setup = setup();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n\r\n",
        &[b'A'; 100_000],
        &[0; 100_000],
    ] {
        let mut stream = StdStream::connect(setup.address).expect("somebody listens");
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    assert!(get(setup.address, "/healthz").ends_with("ok\n"));
}

#[test]
fn one_connection_carries_one_request() {
    let setup = setup();
    let twice = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = send(setup.address, twice);
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
}

#[test]
fn slow_clients_are_shown_the_door() {
    let setup = setup();
    let start = Instant::now();
    // More than have a place, each of which says half a word.
    let slow: Vec<_> = (0..MAX_CONNECTIONS + 8)
        .map(|_| {
            let mut stream = StdStream::connect(setup.address).expect("somebody listens");
            stream
                .write_all(b"GET /met")
                .expect("there is room for a few bytes");
            stream
        })
        .collect();
    // Behind them all, a client that does as it should is served in the end.
    assert!(get(setup.address, "/").starts_with("HTTP/1.1 200 "));
    let waited = start.elapsed();
    assert!(waited >= HEAD / 2 && waited < HEAD * 3, "{waited:?}");
    drop(slow);
}

#[test]
fn a_port_in_use_is_told() {
    let first = bind(([127, 0, 0, 1], 0).into()).expect("some port is free");
    let error = bind(first.address()).expect_err("the port is taken");
    assert_eq!(error.exit_class(), ExitClass::Input);
    assert_eq!(
        crate::exit::message(&error),
        format!(
            "error: cannot serve metrics on {}: another program listens there\n  help: give \
             another address with --metrics-listen ADDR:PORT, or --metrics-listen off",
            first.address()
        )
    );
    let elsewhere = bind(([192, 0, 2, 1], 9750).into()).expect_err("not an address of ours");
    assert!(matches!(elsewhere, HttpError::Bind { .. }), "{elsewhere}");
}

#[test]
fn dropped_it_ends_and_frees_the_port() {
    let setup = setup();
    let idle = StdStream::connect(setup.address).expect("somebody listens");
    let address = setup.address;
    let start = Instant::now();
    drop(setup);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert!(StdStream::connect(address).is_err());
    drop(idle);
}
