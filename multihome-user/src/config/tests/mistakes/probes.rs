//! What is refused of probe targets, quorum and rate.

use super::*;

#[test]
fn mistakes_in_probes_are_explained() {
    let targets = |text: &str| format!("{LEAST}probe = [\n  \"9.9.9.9\",\n  {text},\n]\n");
    let second = "[[uplink]]\nname = \"b\"\ndevice = \"eth1\"\nprobe = [\"9.9.9.9\"]\n";
    let cases = [
        ("no address", targets("\"example.net\"")),
        ("number", targets("9")),
        ("list in the list", targets("[\"9.9.9.9\"]")),
        ("no list", format!("{LEAST}probe = 9\n")),
        ("unknown scheme", targets("\"ping://9.9.9.9\"")),
        ("tcp without port", targets("\"tcp://9.9.9.9\"")),
        ("name without address", targets("\"https://example.net/\"")),
        ("table without url", targets("{ address = \"9.9.9.9\" }")),
        (
            "unknown key of a target",
            targets("{ url = \"http://9.9.9.9/\", stauts = 204 }"),
        ),
        (
            "status out of range",
            targets("{ url = \"http://9.9.9.9/\", status = 99 }"),
        ),
        (
            "status of a wrong type",
            targets("{ url = \"http://9.9.9.9/\", status = [200] }"),
        ),
        (
            "verify in quotes",
            targets("{ url = \"https://9.9.9.9/\", verify = \"no\" }"),
        ),
        (
            "verify without TLS",
            targets("{ url = \"http://9.9.9.9/\", verify = false }"),
        ),
        (
            "address as a name",
            targets("{ url = \"http://example.net/\", address = \"example.net\" }"),
        ),
        (
            "unknown type of record",
            targets("{ url = \"dns://9.9.9.9/example.net\", type = \"AXFR\" }"),
        ),
        (
            "one table that is wrong",
            format!("{LEAST}probe = {{ url = \"tcp://9.9.9.9\" }}\n"),
        ),
        (
            "the same but for what is expected",
            targets("\"http://9.9.9.9/ status=200\", \"http://9.9.9.9/ status=204\""),
        ),
        ("quorum 0", format!("{LEAST}[probe]\nquorum = 0\n")),
        ("quorum 9", format!("{LEAST}quorum = 9\n")),
        (
            "quorum of more than there are",
            format!("{LEAST}quorum = 2\nprobe = [\"9.9.9.9\", \"2620:fe::fe\"]\n"),
        ),
        (
            "quorum of all, and one has fewer",
            format!(
                "{LEAST}probe = [\"9.9.9.9\", \"tcp://9.9.9.9:53\"]\n{second}[probe]\nquorum = 2\n"
            ),
        ),
        ("rate 0", format!("{LEAST}[probe]\nrate = 0\n")),
        (
            "rate as a word",
            format!("{LEAST}[probe]\nrate = \"none\"\n"),
        ),
        (
            "rate with a fraction",
            format!("{LEAST}[probe]\nrate = 0.5\n"),
        ),
    ];
    insta::assert_snapshot!(explained(&cases));
}

#[test]
fn a_quorum_counts_only_where_there_are_targets() {
    for text in [
        format!("{LEAST}quorum = 3\n"),
        format!("{LEAST}[probe]\nquorum = 8\n"),
        format!("{LEAST}quorum = 1\nprobe = \"9.9.9.9\"\n[probe]\nquorum = 8\n"),
    ] {
        assert!(read(&text).is_ok(), "{text}");
    }
}
