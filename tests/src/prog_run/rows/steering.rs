//! Packets of LAN hosts that are steered to an uplink.

use etherparse::Ipv4Options;
use multihome_common::{state::Policy, verdict::Verdict::Forwarded};

use super::{OUT4, OUT6, from_host, out4, out6};
use crate::prog_run::{
    frames::{IPV4, IPV6, ethernet, extension, forwarded, fragment, icmp, ipv4, ipv6, tcp, udp},
    row::Row,
    world::{GATEWAY, HOST, SMALL_MTU, Side, next_hop, uplink_mac},
};

/// Steered to an uplink, which is the only eligible one.
fn steered(shows: &str, input: Vec<u8>, family: usize, id: u8) -> Row {
    let output = forwarded(&input, next_hop(id, family), uplink_mac(id));
    Row::changed(shows, Side::Lan, input, Forwarded, output)
        .within(|world| world.group.eligible = [1 << id; 2])
        .to_uplink(id)
}

/// The rows.
pub fn rows() -> Vec<Row> {
    [protocols(), framing(), headers(), fragments(), words()].concat()
}

fn protocols() -> Vec<Row> {
    let payload = [0xab; 100];
    vec![
        steered(
            "IPv4 TCP is steered",
            out4(6, &tcp((40000, 443), &payload)),
            0,
            0,
        ),
        steered(
            "IPv4 UDP is steered",
            out4(17, &udp((40000, 53), &payload)),
            0,
            2,
        ),
        steered(
            "IPv4 ICMP echo is steered",
            out4(1, &icmp(8, &payload)),
            0,
            0,
        ),
        steered("IPv4 GRE is steered", out4(47, &payload), 0, 2),
        steered("IPv4 ESP is steered", out4(50, &payload), 0, 0),
        steered(
            "an IPv4 protocol without payload is steered",
            out4(253, &[]),
            0,
            0,
        ),
        steered(
            "IPv6 TCP is steered",
            out6(6, &tcp((40000, 443), &payload)),
            1,
            0,
        ),
        steered(
            "IPv6 UDP is steered",
            out6(17, &udp((40000, 53), &payload)),
            1,
            2,
        ),
        steered(
            "IPv6 ICMP echo is steered",
            out6(58, &icmp(128, &payload)),
            1,
            0,
        ),
        steered("IPv6 GRE is steered", out6(47, &payload), 1, 2),
        steered("IPv6 with no next header is steered", out6(59, &[]), 1, 0),
        steered(
            "UDP with nothing but ports and no payload is steered",
            out4(17, &udp((1, 2), &[])),
            0,
            0,
        ),
    ]
}

fn framing() -> Vec<Row> {
    let packet4 = ipv4(OUT4, 64, 17, &udp((1000, 2000), b"tagged"), |_| {});
    let packet6 = ipv6(OUT6, 64, 17, &udp((1000, 2000), b"tagged"));
    let mut rows = Vec::new();
    for (shows, tags) in [
        ("a priority tag", vec![(0x8100, 0x6000)]),
        ("two priority tags", vec![(0x88a8, 0), (0x8100, 0x6000)]),
    ] {
        let frame4 = ethernet(GATEWAY, HOST, &tags, IPV4, &packet4);
        let frame6 = ethernet(GATEWAY, HOST, &tags, IPV6, &packet6);
        rows.push(steered(
            &format!("IPv4 behind {shows} is steered, tags kept"),
            frame4,
            0,
            0,
        ));
        rows.push(steered(
            &format!("IPv6 behind {shows} is steered, tags kept"),
            frame6,
            1,
            0,
        ));
    }
    let mut padded = out4(17, &udp((7, 7), b"x"));
    padded.resize(60, 0);
    rows.push(steered("padding of a short frame is kept", padded, 0, 0));
    rows
}

fn headers() -> Vec<Row> {
    let options = |len: usize| {
        move |header: &mut etherparse::Ipv4Header| {
            let bytes = vec![1; len];
            header.options = Ipv4Options::try_from(bytes.as_slice()).expect("a length that fits");
        }
    };
    let udp = udp((1000, 2000), b"behind");
    let with = |len| from_host(IPV4, &ipv4(OUT4, 64, 17, &udp, options(len)));
    let behind = |number: u8, header: Vec<u8>| out6(number, &[header.as_slice(), &udp].concat());
    let ah = {
        // RFC 4302: length in units of four bytes, less two.
        let mut header = vec![0; 24];
        (header[0], header[1]) = (17, 4);
        header
    };
    let chain = [extension(60, 1), extension(43, 2), extension(17, 3)].concat();
    let deep = [extension(60, 1).repeat(7), extension(17, 1)].concat();
    let mut rows = vec![
        steered("the smallest IPv4 options are stepped over", with(4), 0, 0),
        steered("the largest IPv4 options are stepped over", with(40), 0, 0),
        steered(
            "hop-by-hop options are stepped over",
            behind(0, extension(17, 1)),
            1,
            0,
        ),
        steered(
            "destination options are stepped over",
            behind(60, extension(17, 4)),
            1,
            0,
        ),
        steered(
            "a routing header is stepped over",
            behind(43, extension(17, 2)),
            1,
            0,
        ),
        steered(
            "an authentication header is stepped over",
            behind(51, ah),
            1,
            0,
        ),
        steered(
            "a chain of extension headers is stepped over",
            behind(0, chain),
            1,
            0,
        ),
        steered(
            "a chain that is too long is hashed by addresses",
            behind(60, deep),
            1,
            0,
        ),
        steered(
            "the longest extension header is stepped over",
            behind(60, extension(17, 150)),
            1,
            0,
        ),
    ];
    // Each identification gives another checksum, among them those next to the wrap-around.
    for id in (0..=u16::MAX).step_by(4099) {
        let edit = move |header: &mut etherparse::Ipv4Header| header.identification = id;
        let frame = from_host(IPV4, &ipv4(OUT4, 64, 17, &udp, edit));
        rows.push(steered(
            "the IPv4 checksum is right after the hop",
            frame,
            0,
            0,
        ));
    }
    for ttl in [2, 3, 128, 255] {
        let frame = from_host(IPV4, &ipv4(OUT4, ttl, 17, &udp, |_| {}));
        rows.push(steered("TTL is one less", frame, 0, 0));
        let frame = from_host(IPV6, &ipv6(OUT6, ttl, 17, &udp));
        rows.push(steered("hop limit is one less", frame, 1, 0));
    }
    let full = udp_of(1500 - 20);
    rows.push(steered(
        "an IPv4 packet of the MTU passes",
        out4(17, &full),
        0,
        0,
    ));
    let full = udp_of(SMALL_MTU as usize - 20);
    rows.push(steered(
        "an IPv4 packet of a smaller MTU passes",
        out4(17, &full),
        0,
        1,
    ));
    let full = udp_of(SMALL_MTU as usize - 40);
    rows.push(steered(
        "an IPv6 packet of a smaller MTU passes",
        out6(17, &full),
        1,
        1,
    ));
    rows
}

fn udp_of(len: usize) -> Vec<u8> {
    udp((5000, 6000), &vec![7; len - 8])
}

fn fragments() -> Vec<Row> {
    let part = |offset: u16, more: bool, payload: &[u8]| {
        from_host(
            IPV4,
            &ipv4(OUT4, 64, 17, payload, |header| {
                header.more_fragments = more;
                header.fragment_offset =
                    etherparse::IpFragOffset::try_new(offset).expect("13 bits");
            }),
        )
    };
    let part6 = |offset, more, payload: &[u8]| {
        out6(
            44,
            &[fragment(17, offset, more).as_slice(), payload].concat(),
        )
    };
    let first = udp((1000, 2000), &[1; 64]);
    vec![
        steered(
            "a first IPv4 fragment is steered",
            part(0, true, &first),
            0,
            0,
        ),
        steered(
            "a later IPv4 fragment is steered",
            part(9, false, &[2; 3]),
            0,
            0,
        ),
        steered(
            "a later IPv4 fragment in the middle is steered",
            part(9, true, &[2; 72]),
            0,
            2,
        ),
        steered(
            "a first IPv6 fragment is steered",
            part6(0, true, &first),
            1,
            0,
        ),
        steered(
            "a later IPv6 fragment is steered",
            part6(9, false, &[2; 3]),
            1,
            2,
        ),
        steered(
            "an atomic IPv6 fragment is steered",
            part6(0, false, &first),
            1,
            0,
        ),
    ]
}

fn words() -> Vec<Row> {
    let frame = || out4(17, &udp((1000, 2000), b"words"));
    let to = |shows: &str, id: u8, eligible: u64, last_good: u64| {
        let output = forwarded(&frame(), next_hop(id, 0), uplink_mac(id));
        Row::changed(shows, Side::Lan, frame(), Forwarded, output)
            .within(|world| {
                world.group.eligible = [eligible, 0];
                world.group.last_good = [last_good, 0];
            })
            .to_uplink(id)
    };
    vec![
        to("the only eligible uplink is taken", 1, 0b010, 0b111),
        to(
            "with none eligible the last known good is taken",
            2,
            0,
            0b100,
        ),
        to(
            "an eligible uplink wins over the last known good",
            0,
            0b001,
            0b110,
        ),
        to(
            "of two, the one that the bucket ranks first is taken",
            ranked(&frame(), 0b110),
            0b110,
            0,
        ),
        to(
            "of all, the one that the bucket ranks first is taken",
            ranked(&frame(), 0b111),
            0b111,
            0,
        ),
    ]
}

/// Which uplink the world's ranking gives this frame's flow: the bucket's remainder by three, and
/// from there on the next one in the word.
fn ranked(frame: &[u8], word: u64) -> u8 {
    use multihome_common::{
        family::{Family, V4},
        sim::Frame,
        way::steer::Ends,
    };
    // The hash has no independent twin: its properties are tested beside it. What the row shows is
    // that kernel and host agree on it, and that the row of the bucket decides.
    let network = V4::parse(&Frame::new(frame), 14).expect("a good packet");
    let bucket = V4::hash(
        crate::prog_run::world::World::default().seed,
        Policy::FiveTuple,
        &Ends::outward(&network),
    )
    .bucket();
    (0..3)
        .map(|place| ((bucket + place) % 3) as u8)
        .find(|id| word >> id & 1 == 1)
        .expect("one is set")
}
