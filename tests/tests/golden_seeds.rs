//! Writes the golden rows' packets as inputs for the fuzzer, to begin a corpus with.

use std::{env, fs, path::PathBuf};

use multihome_tests::prog_run::{all_rows, row::Row, world::Side};

/// Run by hand: `MULTIHOME_SEEDS=DIRECTORY cargo test --test golden_seeds -- --ignored`.
#[test]
#[ignore = "writes files, and only when the fuzzer's corpus is begun anew"]
fn the_golden_rows_become_seeds() {
    let directory = PathBuf::from(env::var_os("MULTIHOME_SEEDS").expect("MULTIHOME_SEEDS"));
    fs::create_dir_all(&directory).expect("a directory");
    for (n, row) in all_rows().iter().enumerate() {
        let path = directory.join(format!("golden-{n:03}"));
        fs::write(path, input(row)).expect("it can be written");
    }
}

/// The row in the form that `multihome_common::exercise` reads.
fn input(row: &Row) -> Vec<u8> {
    let world = &row.world;
    let nat = world.nat.unwrap_or_default();
    let switches = u8::from(world.nat.is_some()) | u8::from(world.nptv6) << 1 | nat.flags << 2;
    let word = |word: u64| word as u8 & 3;
    let mut bytes = vec![
        switches,
        word(world.alive) | word(world.group.settled[0]) << 2,
        word(world.group.eligible[0]) | word(world.group.last_good[0]) << 2,
    ];
    let last = (row.side, row.input.clone());
    for (side, packet) in row.before.iter().chain([&last]) {
        let from_ethertype = packet.get(12..).unwrap_or_default();
        bytes.push(u8::from(*side == Side::Uplink));
        bytes.extend((from_ethertype.len() as u16).to_le_bytes());
        bytes.extend(from_ethertype);
    }
    bytes
}
