//! Groups whose members have weights and tiers of their own: the words and rank rows that stand in the
//! kernel, as uplinks are lost and return.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use multihome::ranking::{Member, rank_rows};
use multihome_common::{
    abi,
    limits::BUCKETS,
    rank::RankRow,
    state::{GROUP_HOLD, GroupWords, Policy, SharedState},
};
use multihome_tests::lab::{
    controller::{CONFIG, Gateway, Settings, Status},
    cut::Cut,
    topology::{GatewayLab, Plan},
};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(20);

const GROUPS: &str = "\
[[group]]
name = \"voice\"
members = [{ uplink = \"cable\", weight = 1, tier = 2 }, { uplink = \"mobile\", weight = 7, tier = 1 }]
hash = \"src\"
on_uplink_loss = \"hold\"
failback = \"sticky\"

[[group]]
name = \"bulk\"
members = [\"mobile\", { uplink = \"fiber\", weight = 1 }]
hash = \"src-dst\"
";

/// A map that the gateway has pinned.
fn pinned(lab: &GatewayLab, name: &str) -> Result<MapData> {
    let root = lab.lab.dir().join("run").join("bpf");
    let folders = fs::read_dir(&root).with_context(|| root.display().to_string())?;
    let folders: Vec<PathBuf> = folders
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    let folder = folders.iter().find(|path| path.join(name).exists());
    let folder = folder.with_context(|| format!("{name} is not pinned: {folders:?}"))?;
    Ok(MapData::from_pin(folder.join(name))?)
}

fn state(lab: &GatewayLab) -> Result<SharedState> {
    let state: Array<MapData, SharedState> = Map::Array(pinned(lab, abi::STATE)?).try_into()?;
    Ok(state.get(&0, 0)?)
}

/// The rank rows that are in force for a group.
fn rows(lab: &GatewayLab, group: &GroupWords) -> Result<Vec<RankRow>> {
    let rows: Array<MapData, u64> = Map::Array(pinned(lab, abi::ROWS)?).try_into()?;
    let first = u32::try_from(group.rows)?;
    (first..first + BUCKETS as u32)
        .map(|index| Ok(RankRow(rows.get(&index, 0)?)))
        .collect()
}

fn member(id: u8, name: &str, weight: u32, tier: u8) -> Member {
    Member {
        id,
        name: name.to_owned(),
        weight,
        tier,
    }
}

fn eligible(status: &Status, group: &str) -> Vec<String> {
    let found = status.groups.iter().find(|it| it.name == group);
    found.map_or_else(Vec::new, |group| group.ipv4.eligible.clone())
}

#[test]
fn each_group_has_rank_rows_and_words_of_its_own() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let settings = Settings::with_file(&lab, GROUPS)?;
    let mut gateway = Gateway::start(&lab, settings)?;

    let seed = state(&lab)?.seed;
    let members = [
        vec![
            member(0, "fiber", 5, 1),
            member(1, "cable", 3, 1),
            member(2, "mobile", 2, 1),
        ],
        vec![member(1, "cable", 1, 2), member(2, "mobile", 7, 1)],
        vec![member(2, "mobile", 2, 1), member(0, "fiber", 1, 1)],
    ];
    for (id, members) in members.iter().enumerate() {
        let found = rows(&lab, &state(&lab)?.groups[id])?;
        ensure!(found == rank_rows(members, seed), "the rows of group {id}");
    }
    let words = state(&lab)?.groups;
    let of = |policy, flags| GroupWords::conduct([policy; 2], flags);
    let conduct = [
        of(Policy::FiveTuple, 0),
        of(Policy::Source, GROUP_HOLD),
        of(Policy::SourceDestination, 0),
    ];
    ensure!(words[..3].iter().map(|it| it.conduct).eq(conduct));

    // Eligible: all, the better tier of two, both.
    let eligible_words = |lab: &GatewayLab| -> Result<Vec<[u64; 2]>> {
        Ok(state(lab)?.groups[..4]
            .iter()
            .map(|it| it.eligible)
            .collect())
    };
    ensure!(eligible_words(&lab)? == [[0b111; 2], [0b100; 2], [0b101; 2], [0; 2]]);
    gateway.wait_for("settled", PATIENCE, |_| {
        // Flows return to uplinks in all groups but the sticky one.
        state(&lab).is_ok_and(|state| {
            let settled = state.groups[..3].iter().map(|it| it.settled);
            settled.eq([[0b111; 2], [0; 2], [0b101; 2]])
        })
    })?;

    lab.cut(2, Cut::Carrier)?;
    gateway.wait_for_state(2, "down")?;
    ensure!(eligible_words(&lab)? == [[0b011; 2], [0b010; 2], [0b001; 2], [0; 2]]);
    let status = gateway.status()?;
    ensure!(eligible(&status, "voice") == ["cable"], "{status:?}");
    ensure!(eligible(&status, "bulk") == ["fiber"], "{status:?}");
    lab.restore(2, Cut::Carrier)?;
    gateway.wait_until_all_up()?;
    ensure!(eligible_words(&lab)? == [[0b111; 2], [0b100; 2], [0b101; 2], [0; 2]]);

    let status: serde_json::Value = gateway.json("status", &[])?;
    let voice = &status["groups"][1];
    let shown = serde_json::json!({
        "name": "voice",
        "members": ["cable", "mobile"],
        "weights": { "cable": 1, "mobile": 7 },
        "tiers": { "cable": 2, "mobile": 1 },
        "on_uplink_loss": "hold",
        "failback": "sticky",
        "failback_after_seconds": 0.0,
        "obey_quota": true,
    });
    for (key, value) in shown.as_object().context("it is one")? {
        ensure!(voice[key] == *value, "{key}: {voice:#}");
    }
    ensure!(voice["ipv4"]["hash"] == "src", "{voice:#}");

    // Other weights and another order: a restart writes the rows anew, under the ids that groups had.
    gateway.process()?.signal(Signal::SIGTERM)?;
    gateway.process()?.wait(PATIENCE)?;
    let swapped =
        "[[group]]\nname = \"bulk\"\nmembers = [{ uplink = \"mobile\", tier = 2 }, \"fiber\"]\n";
    fs::write(lab.lab.dir().join(CONFIG), swapped)?;
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    ensure!(eligible_words(&lab)? == [[0b111; 2], [0; 2], [0b001; 2], [0; 2]]);
    let members = [member(2, "mobile", 2, 2), member(0, "fiber", 5, 1)];
    let found = rows(&lab, &state(&lab)?.groups[2])?;
    ensure!(
        found == rank_rows(&members, seed),
        "the rows after the restart"
    );
    Ok(())
}
