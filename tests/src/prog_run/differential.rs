//! The kernel's programs against the same path on the host, and against what must always hold.

use anyhow::{Result, ensure};
use multihome_common::{
    sim::{Frame, SimTables},
    verdict::{Disposition, Verdict},
    way::{self, Decision},
};

use super::{
    all_rows,
    frames::forwarded,
    kernel::Kernel,
    row::{Row, XDP_PASS, action},
    wire::Wire,
    world::{IFINDEX, Side},
};

/// A small generator of its own, so that a run can be repeated from its seed anywhere (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Runs `count` mutated packets through both; each is a golden row's packet with bytes changed, cut
/// or added.
///
/// # Errors
/// At the first packet that they disagree on; the text has the packet and the seed.
pub fn run(kernel: &mut Kernel, seed: u64, count: usize) -> Result<()> {
    let rows = all_rows();
    let mut random = Random(seed);
    for n in 0..count {
        let row = &rows[random.below(rows.len())];
        let packet = mutated(&row.input, &mut random);
        compare(kernel, row, &packet).map_err(|error| {
            error.context(format!(
                "seed {seed}, packet {n}, from {:?}: {packet:02x?}",
                row.shows
            ))
        })?;
    }
    Ok(())
}

fn mutated(packet: &[u8], random: &mut Random) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for _ in 0..random.below(4) {
        // Mostly in the headers, where it matters.
        let reach = if random.below(4) == 0 {
            packet.len()
        } else {
            packet.len().min(64)
        };
        let at = random.below(reach);
        packet[at] = match random.below(3) {
            0 => random.next() as u8,
            1 => packet[at] ^ 1 << random.below(8),
            _ => [0, 1, 0xff, 0x80][random.below(4)],
        };
    }
    match random.below(8) {
        0 => packet.truncate(14 + random.below(packet.len() - 13)),
        1 => packet.resize(packet.len() + random.below(64), 0xa5),
        _ => {}
    }
    packet
}

fn compare(kernel: &mut Kernel, row: &Row, packet: &[u8]) -> Result<()> {
    row.enter(kernel)?;
    let run = kernel.run(row.side, packet)?;
    let before = row.earlier.as_ref().unwrap_or(&row.world);
    let mut tables = before.simulated(row.side);
    for (side, packet) in &row.before {
        on_host(&mut tables, row, *side, packet);
    }
    row.world.tell(&mut tables, row.side);
    let (decision, frame) = on_host(&mut tables, row, row.side, packet);
    let Some(decision) = decision else {
        ensure!(run.verdict.is_none(), "kernel {:?}, host none", run.verdict);
        ensure!(run.action == XDP_PASS, "action {}", run.action);
        ensure!(run.output == packet, "changed, and no port's");
        return Ok(());
    };
    let verdict = decision.verdict();
    ensure!(
        run.verdict == Some(verdict),
        "kernel {:?}, host {verdict:?}",
        run.verdict
    );
    ensure!(run.action == action(verdict), "action {}", run.action);
    ensure!(
        run.output == frame.as_slice(),
        "kernel {:02x?}, host {:02x?}",
        run.output,
        frame.as_slice()
    );
    // What is put on and taken off is told by the golden rows.
    if row.world.framings != [Wire::PLAIN; 2] {
        return Ok(());
    }
    match verdict.disposition() {
        // The MSS of connections changes too, and so do addresses and ports: the golden rows and the
        // model say how.
        Disposition::Forward if row.world.mss != [0; 2] => return Ok(()),
        Disposition::Forward if row.world.nat.is_some() || row.world.nptv6 => return Ok(()),
        // The kernel looks for a LAN host by its inside address.
        Disposition::Pass if row.world.nptv6 && verdict == Verdict::PassNoNeighbour => {
            return Ok(());
        }
        // On its way from one LAN host to another a packet may be dropped half-way.
        Disposition::Drop if row.world.nat.is_some() => return Ok(()),
        // It was on its way.
        Disposition::Drop if verdict == Verdict::DropFaultOut => return Ok(()),
        Disposition::Forward | Disposition::Pass | Disposition::Reply | Disposition::Drop => {}
    }
    invariants(verdict, packet, &run.output)
}

/// Sends a packet through the path on the host; no decision when it is no port's.
fn on_host(
    tables: &mut SimTables,
    row: &Row,
    side: Side,
    packet: &[u8],
) -> (Option<Decision>, Frame) {
    let port = row.world.port_of(side);
    let mut frame = Frame::new(packet);
    if row.world.framing_of(side) != Wire::PLAIN {
        tables.add_port(port);
        tables.add_port(row.world.trunk(row.side));
        let decision = way::from_trunk(&mut frame, tables, IFINDEX);
        return (decision, frame);
    }
    let decision = match side {
        Side::Lan => way::from_lan(&mut frame, tables, &port),
        Side::Uplink => way::from_uplink(&mut frame, tables, &port),
    };
    (Some(decision), frame)
}

/// What holds for every packet, told without multihome's own code.
fn invariants(verdict: Verdict, before: &[u8], after: &[u8]) -> Result<()> {
    match verdict.disposition() {
        Disposition::Pass | Disposition::Drop => ensure!(before == after, "changed, and not sent"),
        Disposition::Forward => {
            let macs: [&[u8]; 2] = [&after[..6], &after[6..12]];
            let (destination, source) = (macs[0].try_into()?, macs[1].try_into()?);
            ensure!(
                forwarded(before, destination, source) == after,
                "more than a hop was changed"
            );
        }
        Disposition::Reply => {
            let headers = etherparse::PacketHeaders::from_ethernet_slice(after)
                .map_err(|error| anyhow::anyhow!("an answer that is no packet: {error}"))?;
            if let Some(etherparse::NetHeaders::Ipv4(ip, _)) = &headers.net {
                ensure!(
                    ip.header_checksum == ip.calc_header_checksum(),
                    "the answer's checksum"
                );
            }
        }
    }
    Ok(())
}
