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
        ("name twice", group("name = \"g\"\n[[group]]\nname = \"g\"")),
        (
            "default twice",
            group("name = \"default\"\n[[group]]\nname = \"default\""),
        ),
    ];
    insta::assert_snapshot!(explained(&cases));
}
