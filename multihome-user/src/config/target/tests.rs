//! Probe targets as texts: what they mean, how they are printed, and what is refused.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Target {
    text.parse()
        .unwrap_or_else(|error: ValueError| panic!("{text}: {error}"))
}

fn request(text: &str) -> HttpRequest {
    let target = read(text);
    let Question::Http(request) = &target.service().expect("a service").question else {
        panic!("{text} is no request")
    };
    request.clone()
}

#[test]
fn an_address_alone_is_pinged() {
    for text in ["9.9.9.9", "2620:fe::fe", "[2620:fe::fe]"] {
        let target = read(text);
        assert_eq!(target.service(), None);
        assert_eq!(target.method(3), Method::Echo);
        assert_eq!(target.to_string(), text.trim_matches(['[', ']']));
    }
}

#[test]
fn each_form_has_its_meaning() {
    let tcp = read("tcp://[2620:fe::fe]:443");
    assert_eq!(tcp.method(0), Method::Tcp { port: 443 });
    assert_eq!(tcp.address(), "2620:fe::fe".parse::<IpAddr>().expect("it"));

    let dns = read("dns://9.9.9.9/example.net?type=aaaa");
    assert_eq!(
        dns.method(1),
        Method::Dns {
            port: 53,
            number: 1
        }
    );
    let question = |target: &Target| {
        let Question::Dns(question) = &target.service().expect("a service").question else {
            panic!("{target} is no question")
        };
        question.clone()
    };
    assert_eq!(
        question(&dns),
        DnsQuestion {
            name: "example.net".into(),
            record: RecordType::Aaaa
        }
    );
    assert_eq!(
        question(&read("dns://9.9.9.9/a.example")).record,
        RecordType::A
    );
    let root = question(&read("dns://[2620:fe::fe]:5353"));
    assert_eq!((root.name.as_str(), root.record), ("", RecordType::Ns));

    let https =
        request("https://example.net/health?x=1 address=203.0.113.7 status=204 verify=false");
    assert_eq!(
        https,
        HttpRequest {
            tls: true,
            host: "example.net".into(),
            authority: "example.net".into(),
            path: "/health?x=1".into(),
            status: 204..=204,
            verify: false,
        }
    );
    let http = request("http://[2001:db8::1]:8080");
    assert_eq!(http.host, "2001:db8::1");
    assert_eq!(http.authority, "[2001:db8::1]:8080");
    assert_eq!((http.path.as_str(), http.status), ("/", 200..=399));
    assert_eq!(
        read("http://192.0.2.1:80").method(2),
        Method::Http {
            port: 80,
            number: 2
        }
    );
    assert!(read("https://192.0.2.1").verifies());
    assert!(!read("https://192.0.2.1 verify=false").verifies());
}

#[test]
fn what_is_expected_is_no_part_of_the_label() {
    for (text, label) in [
        ("9.9.9.9", "9.9.9.9"),
        ("tcp://9.9.9.9:443", "tcp://9.9.9.9:443"),
        (
            "dns://9.9.9.9:53/example.net",
            "dns://9.9.9.9/example.net?type=A",
        ),
        ("dns://9.9.9.9", "dns://9.9.9.9/.?type=NS"),
        ("https://192.0.2.1:443 status=204", "https://192.0.2.1/"),
        (
            "http://example.net:8080/x address=192.0.2.1 status=200-299",
            "http://example.net:8080/x address=192.0.2.1",
        ),
    ] {
        assert_eq!(read(text).label(), label);
    }
}

#[test]
fn mistakes_are_explained() {
    for (text, reason) in [
        (
            "icmp://9.9.9.9",
            "\"icmp\" is not one of tcp, dns, http, https",
        ),
        (
            "tcp://9.9.9.9",
            "the port is missing, as in \"tcp://9.9.9.9:443\"",
        ),
        ("tcp://[2620:fe::fe]", "as in \"tcp://[2620:fe::fe]:443\""),
        (
            "tcp://2620:fe::fe:443",
            "an IPv6 address stands in brackets",
        ),
        (
            "tcp://9.9.9.9:0",
            "the port \"0\" is not a number from 1 to 65535",
        ),
        ("tcp://9.9.9.9:+1", "the port \"+1\" is not a number"),
        ("tcp://9.9.9.9:443/x", "nothing follows the port"),
        ("tcp://example.net:443", "names are not looked up"),
        ("tcp://9.9.9.9:443 status=200", "status means nothing here"),
        ("dns://9.9.9.9/ex..ample", "is not a name of the DNS"),
        (
            "dns://9.9.9.9/a?type=HINFO",
            "the type \"HINFO\" is not one of A, NS",
        ),
        ("dns://9.9.9.9/a?class=IN", "only ?type=TYPE may follow"),
        ("dns://9.9.9.9/a?type=A type=A", "type is given twice"),
        (
            "http://example.net/",
            "the address of \"example.net\" is missing",
        ),
        (
            "http://192.0.2.1/ address=192.0.2.2",
            "has the address already",
        ),
        (
            "http://192.0.2.1/ verify=false",
            "verify means nothing here",
        ),
        (
            "https://192.0.2.1/ verify=no",
            "verify is either true or false",
        ),
        (
            "http://192.0.2.1/ status=20",
            "the status \"20\" is neither",
        ),
        ("http://192.0.2.1/ status=299-200", "the status \"299-200\""),
        (
            "http://192.0.2.1/ status=200 status=201",
            "status is given twice",
        ),
        ("http://192.0.2.1/ stauts=200", "unknown key \"stauts\""),
        (
            "http://192.0.2.1/ fast",
            "\"fast\" is not of the form KEY=VALUE",
        ),
        (
            "http://user@192.0.2.1/",
            "user and password are not supported",
        ),
        ("http://192.0.2.1/#top", "a fragment (#) is never sent"),
        ("http://192.0.2.1/\u{e4}", "cannot stand in a URL"),
        ("http://[2001:db8::1", "has no closing bracket"),
        ("http://[192.0.2.1]/", "is not an IPv6 address"),
        ("http://[2001:db8::1]x/", "\"x\" cannot follow an address"),
        ("http://ex_ample/ address=192.0.2.1", "nor a name"),
        ("http://1.2.3/ address=192.0.2.1", "nor a name"),
        ("http:///x", "nor a name"),
    ] {
        let error = text.parse::<Target>().expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
        assert!(error.contains(" cannot be a probe target: "), "{error}");
    }
    for (text, message) in [
        ("", "\"\" is not an IPv4 or IPv6 address"),
        (
            "example.net",
            "\"example.net\" is not an IPv4 or IPv6 address",
        ),
        ("[9.9.9.9]", "\"[9.9.9.9]\" is not an IPv4 or IPv6 address"),
    ] {
        let error = text.parse::<Target>().expect_err(text).to_string();
        assert_eq!(error, message);
    }
    for text in [
        "fe80::1",
        "169.254.1.1",
        "tcp://[fe80::1]:80",
        "http://127.0.0.1/",
        "http://a.example/ address=224.0.0.1",
        "dns://0.0.0.0/a",
    ] {
        let error = text.parse::<Target>().expect_err(text).to_string();
        assert!(error.contains("cannot be a probe target: it is"), "{error}");
    }
    let long = format!("http://192.0.2.1/{}", "a".repeat(MAX_LEN));
    assert!(long.parse::<Target>().is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(tcp|dns|http|https|x)?(://)?[\\[\\]a-z0-9.:/?#@= äö\u{0}-\u{7f}]{0,60}") {
        let _ = text.parse::<Target>();
    }

    /// What is printed is read as the same.
    #[test]
    fn print_and_read_are_inverse(
        scheme in "tcp|dns|http|https",
        host in "192\\.0\\.2\\.[1-9]|\\[2001:db8::[1-9]\\]",
        port in proptest::option::of(1_u16..),
        path in "(/[a-z0-9.]{1,8}){0,2}",
        query in proptest::option::of("type=(A|TXT|NS)"),
        status in proptest::option::of("[1-5][0-9][0-9]"),
        verify in proptest::option::of("true|false"),
    ) {
        let mut text = format!("{scheme}://{host}");
        if let Some(port) = port {
            text += &format!(":{port}");
        }
        text += &path;
        if let Some(query) = query {
            text += &format!("?{query}");
        }
        for (key, value) in [("status", status), ("verify", verify)] {
            if let Some(value) = value {
                text += &format!(" {key}={value}");
            }
        }
        if let Ok(target) = text.parse::<Target>() {
            prop_assert_eq!(read(&target.to_string()), target);
        }
    }
}
