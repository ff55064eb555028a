//! Flows that stay on their uplink, and when they leave it.

use std::net::Ipv4Addr;

use multihome_common::{
    state::{GROUP_HOLD, GroupWords, Policy},
    verdict::Verdict::Forwarded,
};

use super::{from_host, in4, in6, out4, out6};
use crate::prog_run::{
    frames::{IPV4, ethernet, forwarded, icmp, ipv4, tcp, udp},
    row::Row,
    world::{
        GATEWAY, HOST, HOST4, LAN_PORT, SERVER4, STRANGER4, Side, World, next_hop, uplink_mac,
    },
};

const HTTPS: (u16, u16) = (4000, 443);
const BACK: (u16, u16) = (443, 4000);

/// A row whose packet must leave by uplink `id`.
fn leaves(shows: &str, input: &[u8], id: u8) -> Row {
    let family = usize::from(input[12] == 0x86);
    let output = forwarded(input, next_hop(id, family), uplink_mac(id));
    Row::changed(shows, Side::Lan, input.to_vec(), Forwarded, output).to_uplink(id)
}

/// Uplink 0 serves alone while the packets before pass; then these words hold.
fn after_uplink_0(row: Row, alive: u64, eligible: u64, settled: u64) -> Row {
    row.when_before(|world| world.group.eligible = [1; 2])
        .within(|world| {
            world.alive = alive;
            world.group.eligible = [eligible; 2];
            world.group.settled = [settled; 2];
        })
}

fn policy(row: Row, policy: Policy) -> Row {
    let edit = |world: &mut World| world.group.conduct = GroupWords::conduct([policy; 2], 0);
    let earlier = row.earlier.clone().map(|mut world| {
        edit(&mut world);
        world
    });
    Row { earlier, ..row }.within(edit)
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let (v4, v6) = (out4(6, &tcp(HTTPS, &[])), out6(6, &tcp(HTTPS, &[])));
    let mut rows = Vec::new();
    // The uplink that each flow's bucket ranks before 0 and 1, or before 1 only.
    for (family, packet, answer, home) in [
        ("IPv4", &v4, in4(6, &tcp(BACK, &[])), 2),
        ("IPv6", &v6, in6(6, &tcp(BACK, &[])), 0),
    ] {
        let to = |shows: &str, id| leaves(&format!("{family}: {shows}"), packet, id);
        rows.extend([
            after_uplink_0(
                to("a flow stays on its uplink while that is alive", 0)
                    .after(Side::Lan, packet.clone()),
                0b111,
                0b110,
                0,
            ),
            after_uplink_0(
                to("a flow leaves an uplink that is dead", 2).after(Side::Lan, packet.clone()),
                0b110,
                0b100,
                0,
            ),
            after_uplink_0(
                to("a flow stays on a dead uplink when no other serves", 0)
                    .after(Side::Lan, packet.clone()),
                0b000,
                0b000,
                0,
            )
            .within(|world| world.group.last_good = [0b111; 2]),
            after_uplink_0(
                to("a flow goes back to an uplink that has settled", home)
                    .after(Side::Lan, packet.clone()),
                0b111,
                1 << home,
                1 << home,
            )
            .when_before(|world| world.group.eligible = [0b010; 2]),
            after_uplink_0(
                to("a flow stays at home while that takes no new flows", 0)
                    .after(Side::Lan, packet.clone()),
                0b111,
                0b010,
                0b010,
            ),
            after_uplink_0(
                to("a flow does not go to one that has not", 0).after(Side::Lan, packet.clone()),
                0b111,
                0b100,
                0b010,
            ),
            to("what came in by an uplink is answered by it", 0)
                .after(Side::Uplink, answer.clone())
                .within(|world| world.group.eligible = [0b110; 2]),
            to(
                "what came in by an uplink stays there when another has settled",
                0,
            )
            .after(Side::Uplink, answer.clone())
            .within(|world| {
                world.group.eligible = [0b110; 2];
                world.group.settled = [0b110; 2];
            }),
            to(
                "an answer by another uplink does not draw a flow to itself",
                2,
            )
            .after(Side::Lan, packet.clone())
            .after(Side::Uplink, answer)
            .within(|world| world.group.eligible = [0b100; 2]),
        ]);
    }
    rows.extend(relations());
    rows.extend(errors());
    rows.push(from_a_stranger());
    rows
}

/// The kernel delivers the first packet to a host whose MAC is not known yet.
fn from_a_stranger() -> Row {
    let asked = ethernet(
        GATEWAY,
        next_hop(0, 0),
        &[],
        IPV4,
        &ipv4((SERVER4, STRANGER4), 60, 6, &tcp(BACK, &[]), |_| {}),
    );
    let answer = from_host(
        IPV4,
        &ipv4((STRANGER4, SERVER4), 64, 6, &tcp(HTTPS, &[]), |_| {}),
    );
    leaves(
        "what came in for a host that was not known is answered by its uplink too",
        &answer,
        0,
    )
    .after(Side::Uplink, asked)
    .within(|world| world.group.eligible = [0b110; 2])
}

/// Flows that keep together.
fn relations() -> Vec<Row> {
    let first = out4(6, &tcp(HTTPS, &[]));
    let sibling = out4(6, &tcp((4001, 443), &[]));
    let to = |server: [u8; 4]| {
        let ends = (HOST4, Ipv4Addr::from(server));
        from_host(IPV4, &ipv4(ends, 64, 17, &udp((53, 53), &[]), |_| {}))
    };
    let other_server = to([203, 0, 113, 77]);
    vec![
        policy(
            after_uplink_0(
                leaves(
                    "by addresses: another connection of the same hosts leaves by the same uplink",
                    &sibling,
                    0,
                )
                .after(Side::Lan, first.clone()),
                0b111,
                0b111,
                0,
            ),
            Policy::SourceDestination,
        ),
        policy(
            after_uplink_0(
                leaves(
                    "by addresses: new connections leave an uplink that takes none any more",
                    &sibling,
                    2,
                )
                .after(Side::Lan, first.clone()),
                0b111,
                0b100,
                0,
            ),
            Policy::SourceDestination,
        ),
        policy(
            after_uplink_0(
                leaves(
                    "by source: all that a host does leaves by the same uplink",
                    &other_server,
                    0,
                )
                .after(Side::Lan, first.clone()),
                0b111,
                0b111,
                0,
            ),
            Policy::Source,
        ),
        after_uplink_0(
            leaves(
                "translated flows that hold out do not bind routed ones",
                &first,
                2,
            )
            .after(Side::Lan, first.clone()),
            0b110,
            0b100,
            0,
        )
        .within(|world| {
            world.group.conduct = GroupWords::conduct([Policy::FiveTuple; 2], GROUP_HOLD)
        }),
    ]
}

/// ICMP errors from the LAN go with the flow that they are about.
fn errors() -> Vec<Row> {
    let query = in4(17, &udp(BACK, &[]));
    let about = ipv4((SERVER4, HOST4), 59, 17, &udp(BACK, &[]), |_| {});
    let unreachable = out4(1, &icmp(3, &about));
    let delivered = ethernet(HOST, LAN_PORT, &[], IPV4, &about);
    debug_assert_ne!(delivered[..6], GATEWAY);
    vec![
        leaves(
            "an error about what came in by an uplink leaves by it",
            &unreachable,
            0,
        )
        .after(Side::Uplink, query)
        .within(|world| world.group.eligible = [0b110; 2]),
    ]
}
