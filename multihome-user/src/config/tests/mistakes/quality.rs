//! What is refused of SLAs, capacities and quotas.

use super::*;

#[test]
fn mistakes_in_slas_capacities_and_quotas_are_explained() {
    let top = |keys: &str| format!("{keys}\n{LEAST}");
    let group = |keys: &str| format!("{LEAST}[[group]]\nname = \"g\"\n{keys}\n");
    let uplink = |keys: &str| format!("{LEAST}{keys}\n");
    let cases = [
        ("sla of nothing", top("sla = {}")),
        ("sla of times alone", group("sla = { well_after = \"1s\" }")),
        ("unknown key", top("sla = { los = \"2%\" }")),
        ("loss without a unit", top("sla = { loss = \"2\" }")),
        ("loss as a number", top("sla = { loss = 2 }")),
        ("no loss at all", top("sla = { loss = \"0%\" }")),
        ("all lost", top("sla = { loss = \"100%\" }")),
        ("more than all", top("sla = { loss = \"101%\" }")),
        (
            "leave alone",
            top("sla = { latency = \"1s\", jitter_leave = \"1ms\" }"),
        ),
        (
            "leave above",
            group("sla = { loss = \"2%\", loss_leave = \"3%\" }"),
        ),
        (
            "latency leave above",
            group("sla = { latency = \"10ms\", latency_leave = \"10.5ms\" }"),
        ),
        ("latency too long", top("sla = { latency = \"2m\" }")),
        (
            "late judgement",
            top("sla = { latency = \"2s\", sick_after = \"2h\" }"),
        ),
        ("another word", group("sla = \"none\"")),
        ("an sla as a number", group("sla = 2")),
        ("short window", top("quality.window = \"100ms\"")),
        ("unknown quality", top("quality.windows = \"10s\"")),
        ("capacity of nothing", uplink("capacity = {}")),
        (
            "capacity without a unit",
            uplink("capacity = { up = \"100\" }"),
        ),
        ("capacity as a text", uplink("capacity = \"100mbit\"")),
        ("spill without capacity", uplink("spill_at = \"90%\"")),
        (
            "spilling at nothing",
            uplink("capacity = { up = \"1mbit\" }\nspill_at = \"0.5%\""),
        ),
        (
            "spilling for ever",
            uplink("capacity = { up = \"1mbit\" }\nspill_until = \"95%\""),
        ),
        ("quota without a period", uplink("quota = \"200GB\"")),
        ("quota of a year", uplink("quota = \"200GB/year\"")),
        ("quota without a unit", uplink("quota = \"200/month\"")),
        ("small quota", uplink("quota = \"1kB/day\"")),
        (
            "day of no month",
            uplink("quota = \"1GB/month\"\nquota_from = 31"),
        ),
        (
            "day of a week",
            uplink("quota = \"1GB/week\"\nquota_from = 2"),
        ),
        ("day of nothing", uplink("quota_from = 2")),
        ("state_dir is empty", top("state_dir = \"\"")),
    ];
    insta::assert_snapshot!(explained(&cases));
}
