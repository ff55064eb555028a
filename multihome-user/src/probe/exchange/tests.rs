//! Exchanges with servers of all kinds, honest and hostile, over a simulated wire.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use proptest::prelude::*;
use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::*;
use crate::probe::Family;

mod server;

use server::{Behaviour, Server};

const PLAIN: HttpRequest = HttpRequest {
    tls: false,
    host: String::new(),
    authority: String::new(),
    path: String::new(),
    status: 200..=399,
    verify: true,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ends(six: bool) -> Ends {
    let address = |last: u8| -> IpAddr {
        if six {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into()
        } else {
            Ipv4Addr::new(192, 0, 2, last).into()
        }
    };
    Ends {
        source: SocketAddr::new(address(1), 40_000),
        target: SocketAddr::new(address(2), 443),
    }
}

fn http(path: &str) -> Question {
    Question::Http(HttpRequest {
        host: "example.net".into(),
        authority: "example.net".into(),
        path: path.into(),
        ..PLAIN
    })
}

fn https(host: &str) -> Question {
    Question::Http(HttpRequest {
        tls: true,
        host: host.into(),
        authority: host.into(),
        path: "/".into(),
        ..PLAIN
    })
}

/// What became of an exchange, and how many packets were sent to the server.
struct Story {
    answer: Option<Answer>,
    sent: usize,
    began: Instant,
}

/// Runs an exchange against a server that is 10 ms away, for ten seconds at most.
fn run(question: &Question, server: &mut Server, tls: Option<&Arc<ClientConfig>>) -> Story {
    let six = server.ends().target.is_ipv6();
    let family = if six { Family::Ipv6 } else { Family::Ipv4 };
    let began = Instant::now();
    let mut exchange = Exchange::begin(question, server.ends(), tls, 7, began);
    let mut story = Story {
        answer: None,
        sent: 0,
        began,
    };
    let mut now = began;
    let end = began + Duration::from_secs(10);
    while now < end && story.answer.is_none() {
        let mut packets = Vec::new();
        story.answer = exchange.poll(now, &mut packets);
        story.sent += packets.len();
        let mut arrivals = Vec::new();
        for packet in packets {
            assert!(Received::parse(family, &packet, true).is_some(), "whole");
            assert!(packet.len() <= 1280, "{}", packet.len());
            arrivals.extend(server.take(&packet, now + ms(5)));
        }
        arrivals.extend(server.go_on(now + ms(5)));
        if !arrivals.is_empty() {
            now += ms(10);
            for packet in &arrivals {
                let packet = Received::parse(family, packet, true).expect("whole");
                exchange.take(&packet, now);
                let mut packets = Vec::new();
                if story.answer.is_none() {
                    story.answer = exchange.poll(now, &mut packets);
                }
                story.sent += packets.len();
                for packet in packets {
                    arrivals_later(server, &packet, now);
                }
            }
            continue;
        }
        let wake = exchange.wake(now).unwrap_or(now + ms(50));
        now = wake.max(now + ms(1)).min(now + ms(50));
    }
    story
}

/// What the server says to a packet comes with its next turn.
fn arrivals_later(server: &mut Server, packet: &[u8], now: Instant) {
    let answers = server.take(packet, now + ms(5));
    server.later(answers);
}

#[test]
fn a_connection_that_opens_is_answered_by_its_handshake_and_ended_at_once() {
    for six in [false, true] {
        let mut server = Server::new(ends(six), Behaviour::Silent);
        let story = run(&Question::Tcp, &mut server, None);
        let answer = story.answer.expect("it opens");
        assert_eq!(answer.result, Ok(ms(10)));
        assert_eq!(answer.received, story.began + ms(10));
        // SYN, reset.
        assert_eq!(story.sent, 2);
        assert!(server.is_closed(), "the server knows that it is over");
    }
}

#[test]
fn a_reset_is_a_refusal_and_nothing_is_sent_after_it() {
    let mut server = Server::new(ends(false), Behaviour::Refuse);
    let story = run(&Question::Tcp, &mut server, None);
    let answer = story.answer.expect("it is refused");
    assert_eq!(answer.result, Err(Failure::Refused));
    assert_eq!(story.sent, 1);
}

#[test]
fn silence_is_no_answer() {
    let mut server = Server::new(ends(false), Behaviour::Dead);
    let story = run(&Question::Tcp, &mut server, None);
    assert!(story.answer.is_none());
    assert!(story.sent < 10, "{} SYNs in ten seconds", story.sent);
}

#[test]
fn the_status_is_the_answer() {
    for (text, result) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ok(ms(10))),
        ("HTTP/1.1 503 No\r\n\r\n", Err(Failure::Status(503))),
        ("220 mail.example ESMTP\r\n", Err(Failure::NotHttp)),
    ] {
        for six in [false, true] {
            let mut server = Server::new(ends(six), Behaviour::Say(text.into()));
            let story = run(&http("/health"), &mut server, None);
            assert_eq!(story.answer.expect("answered").result, result, "{text}");
            let expected = crate::probe::Method::Http {
                port: 80,
                number: 0,
            }
            .packets();
            assert!(story.sent as u32 <= expected, "{} packets", story.sent);
            assert!(server.heard().starts_with(b"GET /health HTTP/1.1\r\n"));
        }
    }
}

#[test]
fn a_server_that_hangs_up_has_not_answered() {
    let mut server = Server::new(ends(false), Behaviour::HangUp);
    let story = run(&http("/"), &mut server, None);
    assert_eq!(story.answer.expect("closed").result, Err(Failure::Closed));
}

#[test]
fn an_answer_that_does_not_end_is_given_up() {
    let interim = "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n".repeat(4000);
    let mut server = Server::new(ends(false), Behaviour::Say(interim));
    let story = run(&http("/"), &mut server, None);
    assert_eq!(
        story.answer.expect("given up").result,
        Err(Failure::TooLong)
    );
}

/// A certificate for example.net, and who vouches for it.
fn certified(
    alter: impl FnOnce(&mut rcgen::CertificateParams),
) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["example.net".to_owned()]).expect("a name");
    alter(&mut params);
    let certificate = params.self_signed(&key).expect("a certificate");
    let der = certificate.der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![der.clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .expect("a server");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der).expect("a root");
    let client =
        tls::finished(|builder| builder.with_root_certificates(roots).with_no_client_auth());
    (Arc::new(server), client)
}

#[test]
fn https_is_asked_for_its_status_and_its_certificate() {
    let (server, client) = certified(|_| {});
    let ok = "HTTP/1.1 200 OK\r\n\r\n".to_owned();
    for six in [false, true] {
        let behaviour = Behaviour::SayByTls(Arc::clone(&server), ok.clone());
        let mut machine = Server::new(ends(six), behaviour);
        let story = run(&https("example.net"), &mut machine, Some(&client));
        let answer = story.answer.expect("answered");
        assert_eq!(
            answer.result,
            Ok(ms(10)),
            "the round trip of the handshake of TCP"
        );
        assert!(
            answer.received >= story.began + ms(30),
            "after three of them"
        );
        let expected = crate::probe::Method::Https {
            port: 443,
            number: 0,
        }
        .packets();
        assert!(story.sent as u32 <= expected, "{} packets", story.sent);
        assert!(
            machine
                .heard()
                .starts_with(b"GET / HTTP/1.1\r\nHost: example.net\r\n")
        );
    }
}

#[test]
fn a_certificate_of_another_name_or_time_or_of_nobody_is_refused_unless_any_will_do() {
    let ok = || "HTTP/1.1 200 OK\r\n\r\n".to_owned();
    let (good, client) = certified(|_| {});
    let (expired, of_expired) = certified(|params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let blind = super::client(false).expect("it needs nobody");
    for (server, host, client, result) in [
        (&good, "example.org", &client, Err(Failure::Certificate)),
        (&good, "192.0.2.2", &client, Err(Failure::Certificate)),
        (&good, "example.net", &of_expired, Err(Failure::Certificate)),
        (
            &expired,
            "example.net",
            &of_expired,
            Err(Failure::Certificate),
        ),
        (&expired, "example.org", &blind, Ok(ms(10))),
        (&good, "example.net", &client, Ok(ms(10))),
    ] {
        let behaviour = Behaviour::SayByTls(Arc::clone(server), ok());
        let mut machine = Server::new(ends(false), behaviour);
        let story = run(&https(host), &mut machine, Some(client));
        assert_eq!(story.answer.expect("answered").result, result, "{host}");
    }
}

#[test]
fn a_server_without_tls_fails_it() {
    let (_, client) = certified(|_| {});
    for text in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}",
    ] {
        let mut machine = Server::new(ends(false), Behaviour::Say(text.into()));
        let story = run(&https("example.net"), &mut machine, Some(&client));
        assert_eq!(story.answer.expect("answered").result, Err(Failure::Tls));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a server says, by TLS or not: an end within ten seconds or silence, and no panic.
    #[test]
    fn nothing_that_a_server_says_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), secure: bool) {
        let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        let mut machine = Server::new(ends(false), Behaviour::Say(text));
        let question = if secure { https("example.net") } else { http("/") };
        let client = client(false).expect("it needs nobody");
        let story = run(&question, &mut machine, Some(&client));
        prop_assert!(story.sent < 100);
    }

    /// Whatever packets come for our port, before and after the true ones: no panic, and no answer to
    /// believe unless it has the numbers of the connection.
    #[test]
    fn no_packet_makes_it_panic(
        segments in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<u8>(), 0_usize..100, any::<u16>()), 1..20),
    ) {
        let ends = ends(false);
        let began = Instant::now();
        let mut exchange = Exchange::begin(&http("/"), ends, None, 7, began);
        let mut packets = Vec::new();
        exchange.poll(began, &mut packets);
        for (seq, ack, flags, len, window) in segments {
            let (IpAddr::V4(from), IpAddr::V4(to)) = (ends.target.ip(), ends.source.ip()) else {
                unreachable!("IPv4")
            };
            let mut builder = etherparse::PacketBuilder::ipv4(from.octets(), to.octets(), 64)
                .tcp(ends.target.port(), ends.source.port(), seq, window);
            if flags & 1 != 0 { builder = builder.fin(); }
            if flags & 2 != 0 { builder = builder.syn(); }
            if flags & 4 != 0 { builder = builder.rst(); }
            if flags & 8 != 0 { builder = builder.psh(); }
            if flags & 16 != 0 { builder = builder.ack(ack); }
            let mut bytes = Vec::new();
            builder.write(&mut bytes, &vec![b'x'; len]).expect("written");
            let packet = Received::parse(Family::Ipv4, &bytes, true).expect("whole");
            exchange.take(&packet, began + ms(10));
            let answer = exchange.poll(began + ms(10), &mut packets);
            prop_assert!(answer.is_none_or(|answer| answer.result.is_err()));
        }
        exchange.give_up(began + ms(20), &mut packets);
    }
}
