//! What is refused of groups.

use super::*;

#[test]
fn mistakes_in_groups_are_explained() {
    let group = |keys: &str| format!("{LEAST}[[group]]\n{keys}\n");
    let cases = [
        ("no name", group("members = \"a\"")),
        ("bad name", group("name = \"a b\"")),
        ("single brackets", format!("{LEAST}[group]\nname = \"g\"\n")),
        ("unknown key", group("name = \"g\"\nmember = \"a\"")),
        ("no members", group("name = \"g\"\nmembers = []")),
        ("unknown member", group("name = \"g\"\nmembers = [\"b\"]")),
        (
            "member twice",
            group("name = \"g\"\nmembers = [\"a\", \"a\"]"),
        ),
        (
            "member without a name",
            group("name = \"g\"\nmembers = [{ weight = 2 }]"),
        ),
        (
            "unknown key of a member",
            group("name = \"g\"\nmembers = [\"a\", { uplink = \"a\", wieght = 2 }]"),
        ),
        (
            "unknown member with a weight",
            group("name = \"g\"\nmembers = { uplink = \"b\", weight = 2 }"),
        ),
        (
            "member twice, once with a tier",
            group("name = \"g\"\nmembers = [{ uplink = \"a\", tier = 2 }, \"a\"]"),
        ),
        (
            "weight of nothing",
            group("name = \"g\"\nmembers = [{ uplink = \"a\", weight = 0 }]"),
        ),
        (
            "tier too far",
            group("name = \"g\"\nmembers = [{ uplink = \"a\", tier = 17 }]"),
        ),
        ("member as a number", group("name = \"g\"\nmembers = [1]")),
        ("members as a number", group("name = \"g\"\nmembers = 1")),
        ("unknown hash", group("name = \"g\"\nhash = \"6-tuple\"")),
        (
            "late failback",
            group("name = \"g\"\nfailback_after = \"2h\""),
        ),
        ("name twice", group("name = \"g\"\n[[group]]\nname = \"g\"")),
        (
            "default twice",
            group("name = \"default\"\n[[group]]\nname = \"default\""),
        ),
    ];
    insta::assert_snapshot!(explained(&cases));
}
