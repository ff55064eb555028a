//! What is refused of hooks.

use super::*;

#[test]
fn mistakes_in_hooks_are_explained() {
    let hook = |rest: &str| format!("{LEAST}[[hook]]\nname = \"pager\"\n{rest}\n");
    let command = "command = \"/bin/true\"\n";
    let many = many(17, &|n| format!("[[hook]]\nname = \"h{n}\"\n{command}"));
    let cases = [
        ("hook without name", format!("{LEAST}[[hook]]\n{command}")),
        ("hook that does nothing", hook("")),
        ("empty command", hook("command = []")),
        ("relative program", hook("command = [\"notify\", \"all\"]")),
        ("a shell's line", hook("command = \"notify-send $KIND\"")),
        (
            "zero byte",
            hook("command = [\"/bin/true\", \"a\\u0000b\"]"),
        ),
        (
            "unknown event",
            hook(&format!(
                "{command}events = [\"uplink_up\", \"uplink_dwon\"]"
            )),
        ),
        (
            "event twice",
            hook(&format!("{command}events = [\"sick\", \"well\", \"sick\"]")),
        ),
        ("unknown key", hook(&format!("{command}event = \"sick\""))),
        ("URL without scheme", hook("url = \"alerts.example/hook\"")),
        (
            "URL of another kind",
            hook("url = \"ftp://alerts.example/hook\""),
        ),
        (
            "URL with a password",
            hook("url = \"https://me:secret@alerts.example/\""),
        ),
        (
            "timeout too short",
            hook(&format!("{command}timeout = \"99ms\"")),
        ),
        (
            "timeout too long",
            hook(&format!("{command}timeout = \"11m\"")),
        ),
        (
            "timeout without unit",
            hook(&format!("{command}timeout = 10")),
        ),
        (
            "name with space",
            hook(command).replace("\"pager\"", "\"a b\""),
        ),
        (
            "name twice",
            format!("{}[[hook]]\nname = \"pager\"\n{command}", hook(command)),
        ),
        (
            "hook in single brackets",
            hook(command).replace("[[hook]]", "[hook]"),
        ),
        ("17 hooks", format!("{LEAST}{many}")),
    ];
    insta::assert_snapshot!(explained(&cases));
}
