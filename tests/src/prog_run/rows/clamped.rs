//! What connections by an uplink are opened with: the MSS that a segment states, lowered to the uplink's.

use std::net::IpAddr;

use etherparse::{Ipv4Header, TcpHeader};
use multihome_common::verdict::Verdict::Forwarded;

use super::prefixed;
use crate::prog_run::{
    frames::{IPV4, IPV6, ethernet, extension, forwarded, fragment, ipv4, ipv6},
    row::Row,
    world::{
        GATEWAY, HOST, HOST4, HOST6, LAN_PORT, Nat, OUTSIDE, SERVER4, SERVER6, Side, next_hop,
        uplink_mac,
    },
};

/// What the uplinks of these rows take, by family.
const MSS: [u16; 2] = [1400, 1300];

/// A segment that opens a connection.
#[derive(Clone)]
struct Opening {
    from: IpAddr,
    to: IpAddr,
    hops: u8,
    /// It is the answer, SYN-ACK.
    answer: bool,
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl Opening {
    fn new(from: impl Into<IpAddr>, to: impl Into<IpAddr>, hops: u8, options: &[u8]) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            hops,
            answer: false,
            options: options.to_vec(),
            payload: Vec::new(),
        }
    }

    fn answer(self) -> Self {
        Self {
            answer: true,
            ..self
        }
    }

    /// The TCP segment with its checksum, made by etherparse from all that it covers.
    fn segment(&self) -> Vec<u8> {
        let ports = if self.answer {
            (443, 1234)
        } else {
            (1234, 443)
        };
        let mut header = TcpHeader::new(ports.0, ports.1, 7, 64_000);
        header.syn = true;
        header.ack = self.answer;
        header
            .set_options_raw(&self.options)
            .expect("at most forty");
        header.checksum = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &self.payload)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &self.payload)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                unreachable!("both addresses are of one family")
            }
        }
        .expect("it is short");
        [&header.to_bytes()[..], &self.payload].concat()
    }

    fn frame(&self, macs: ([u8; 6], [u8; 6])) -> Vec<u8> {
        let (kind, packet) = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let packet = ipv4((from, to), self.hops, 6, &self.segment(), |_| {});
                (IPV4, packet)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                (IPV6, ipv6((from, to), self.hops, 6, &self.segment()))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                unreachable!("both addresses are of one family")
            }
        };
        ethernet(macs.0, macs.1, &[], kind, &packet)
    }
}

/// The option for an MSS.
fn mss(value: u16) -> Vec<u8> {
    [&[2, 4], &value.to_be_bytes()[..]].concat()
}

fn from_host() -> ([u8; 6], [u8; 6]) {
    (GATEWAY, HOST)
}

fn from_isp(family: usize) -> ([u8; 6], [u8; 6]) {
    (GATEWAY, next_hop(0, family))
}

fn to_isp(family: usize) -> ([u8; 6], [u8; 6]) {
    (next_hop(0, family), uplink_mac(0))
}

fn to_host() -> ([u8; 6], [u8; 6]) {
    (HOST, LAN_PORT)
}

fn clamps(row: Row) -> Row {
    row.within(|world| world.mss = MSS)
}

/// From the LAN: options in, options out.
fn outward(shows: &str, v6: bool, options: &[u8], left: &[u8]) -> Row {
    let (from, to): (IpAddr, IpAddr) = if v6 {
        (HOST6.into(), SERVER6.into())
    } else {
        (HOST4.into(), SERVER4.into())
    };
    let input = Opening::new(from, to, 64, options).frame(from_host());
    let output = Opening::new(from, to, 63, left).frame(to_isp(v6.into()));
    clamps(Row::changed(shows, Side::Lan, input, Forwarded, output))
}

/// From uplink 0.
fn inward(shows: &str, v6: bool, answer: bool, options: &[u8], left: &[u8]) -> Row {
    let (from, to): (IpAddr, IpAddr) = if v6 {
        (SERVER6.into(), HOST6.into())
    } else {
        (SERVER4.into(), HOST4.into())
    };
    let of = |hops, options| Opening {
        answer,
        ..Opening::new(from, to, hops, options)
    };
    let input = of(60, options).frame(from_isp(v6.into()));
    let output = of(59, left).frame(to_host());
    clamps(Row::changed(shows, Side::Uplink, input, Forwarded, output))
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        outward(
            "the MSS of an IPv4 SYN is lowered to the uplink's",
            false,
            &mss(1460),
            &mss(1400),
        ),
        outward(
            "the MSS of an IPv6 SYN is lowered to the uplink's",
            true,
            &mss(1440),
            &mss(1300),
        ),
        inward(
            "the MSS of an IPv4 SYN-ACK is lowered",
            false,
            true,
            &mss(1460),
            &mss(1400),
        ),
        inward(
            "the MSS of an IPv6 SYN-ACK is lowered",
            true,
            true,
            &mss(1440),
            &mss(1300),
        ),
        inward(
            "the MSS of a SYN from outside is lowered",
            false,
            false,
            &mss(8960),
            &mss(1400),
        ),
        outward(
            "an MSS of the uplink's stays",
            false,
            &mss(1400),
            &mss(1400),
        ),
        outward("a smaller MSS is not raised", true, &mss(1299), &mss(1299)),
        outward("no MSS is added", false, &[4, 2, 1, 1], &[4, 2, 1, 1]),
        outward("a SYN without options is left alone", false, &[], &[]),
        outward(
            "all forty bytes of options are looked at",
            false,
            &[&[1; 36][..], &mss(1460)].concat(),
            &[&[1; 36][..], &mss(1400)].concat(),
        ),
        outward(
            "an MSS at an odd place is lowered, checksum right",
            false,
            &[&[1][..], &mss(1460), &[1, 4, 2]].concat(),
            &[&[1][..], &mss(1400), &[1, 4, 2]].concat(),
        ),
        outward(
            "each of several is lowered, so that none that a host may take is left",
            true,
            &[mss(9000), mss(1000), mss(1440)].concat(),
            &[mss(1300), mss(1000), mss(1300)].concat(),
        ),
        outward(
            "options as Linux sends them",
            false,
            &[
                2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
            ],
            &[
                2, 4, 5, 0x78, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
            ],
        ),
    ];
    for (what, options) in [
        (
            "an option without a length",
            &[3, 0, 2, 4, 5, 0xb4, 0, 0][..],
        ),
        (
            "an option of one byte that needs two",
            &[3, 1, 2, 4, 5, 0xb4, 0, 0],
        ),
        (
            "an option that goes on behind the header",
            &[3, 9, 2, 4, 5, 0xb4, 0, 0],
        ),
        (
            "an MSS of another length",
            &[2, 3, 0xff, 1, 2, 5, 0xff, 0xff, 0xff, 0, 0, 0],
        ),
        ("an MSS that the header ends in", &[1, 2, 4, 5]),
        (
            "what stands behind the end of the options",
            &[0, 1, 1, 1, 2, 4, 5, 0xb4],
        ),
    ] {
        let shows = format!("{what} is left as it is");
        rows.push(outward(&shows, false, options, options));
    }
    rows.extend(other_headers());
    rows.extend(translated());
    rows
}

/// Packets with more than the shortest headers, and those that open nothing.
fn other_headers() -> Vec<Row> {
    let options4 = |segment: &[u8]| {
        let packet = ipv4(
            (HOST4, SERVER4),
            64,
            6,
            segment,
            |header: &mut Ipv4Header| {
                header.options = [1; 8].into();
            },
        );
        ethernet(GATEWAY, HOST, &[], IPV4, &packet)
    };
    let extended6 = |segment: &[u8]| {
        let body = [&extension(60, 1)[..], &extension(6, 3), segment].concat();
        ethernet(
            GATEWAY,
            HOST,
            &[],
            IPV6,
            &ipv6((HOST6, SERVER6), 64, 0, &body),
        )
    };
    let first6 = |segment: &[u8]| {
        let body = [&fragment(6, 0, true)[..], segment].concat();
        ethernet(
            GATEWAY,
            HOST,
            &[],
            IPV6,
            &ipv6((HOST6, SERVER6), 64, 44, &body),
        )
    };
    let of = |v6: bool, value: u16| {
        let opening = if v6 {
            Opening::new(HOST6, SERVER6, 64, &mss(value))
        } else {
            Opening::new(HOST4, SERVER4, 64, &mss(value))
        };
        Opening {
            payload: b"fast".to_vec(),
            ..opening
        }
    };
    let sent = |frame: &[u8], family| forwarded(frame, next_hop(0, family), uplink_mac(0));
    let lan = |shows: &str, input: Vec<u8>, output: Vec<u8>| {
        clamps(Row::changed(shows, Side::Lan, input, Forwarded, output))
    };
    // The same segment without its SYN.
    let quiet = |mut segment: Vec<u8>| {
        segment[13] = 0x10;
        segment
    };
    let acknowledgement = options4(&quiet(of(false, 1460).segment()));
    let tagged = {
        let packet = ipv4((HOST4, SERVER4), 64, 6, &of(false, 1460).segment(), |_| {});
        ethernet(GATEWAY, HOST, &[(0x8100, 0x6000)], IPV4, &packet)
    };
    let tagged_out = {
        let packet = ipv4((HOST4, SERVER4), 64, 6, &of(false, 1400).segment(), |_| {});
        ethernet(GATEWAY, HOST, &[(0x8100, 0x6000)], IPV4, &packet)
    };
    let (part, mut other) = (first6(&of(true, 1440).segment()), of(true, 1440));
    // Padding that looks like an option, behind a header that says that it is longer.
    other.options = Vec::new();
    other.payload = Vec::new();
    let mut padded = other.segment();
    padded[12] = 0x60;
    let mut padded = ethernet(
        GATEWAY,
        HOST,
        &[],
        IPV6,
        &ipv6((HOST6, SERVER6), 64, 6, &padded),
    );
    padded.extend(mss(1440));
    vec![
        lan(
            "an MSS behind options of IPv4 is lowered, and data stays",
            options4(&of(false, 1460).segment()),
            sent(&options4(&of(false, 1400).segment()), 0),
        ),
        lan(
            "an MSS behind extension headers is lowered",
            extended6(&of(true, 1440).segment()),
            sent(&extended6(&of(true, 1300).segment()), 1),
        ),
        lan(
            "an MSS behind a priority tag is lowered",
            tagged.clone(),
            sent(&tagged_out, 0),
        ),
        lan(
            "a segment that opens nothing keeps what looks like an MSS",
            acknowledgement.clone(),
            sent(&acknowledgement, 0),
        ),
        lan("a fragment is left alone", part.clone(), sent(&part, 1)),
        lan(
            "padding behind the packet is not taken for options",
            padded.clone(),
            sent(&padded, 1),
        ),
        Row::changed(
            "an uplink without a limit changes nothing",
            Side::Lan,
            tagged.clone(),
            Forwarded,
            sent(&tagged, 0),
        ),
    ]
}

/// Where addresses are translated too.
fn translated() -> Vec<Row> {
    let nat = |row: Row| clamps(row).within(|world| world.nat = Some(Nat::default()));
    let prefixed = |row: Row| clamps(row).within(|world| world.nptv6 = true);
    let syn = Opening::new(HOST4, SERVER4, 64, &mss(1460)).frame(from_host());
    let outside6 = prefixed::outside(0);
    vec![
        nat(Row::changed(
            "the MSS of a SYN whose source is translated is lowered",
            Side::Lan,
            syn.clone(),
            Forwarded,
            Opening::new(OUTSIDE, SERVER4, 63, &mss(1400)).frame(to_isp(0)),
        )),
        nat(Row::changed(
            "the MSS of a SYN-ACK whose destination is translated back is lowered",
            Side::Uplink,
            Opening::new(SERVER4, OUTSIDE, 60, &mss(1460))
                .answer()
                .frame(from_isp(0)),
            Forwarded,
            Opening::new(SERVER4, HOST4, 59, &mss(1400))
                .answer()
                .frame((HOST, GATEWAY)),
        ))
        .after(Side::Lan, syn),
        prefixed(Row::changed(
            "the MSS of a SYN that leaves under another prefix is lowered",
            Side::Lan,
            Opening::new(HOST6, SERVER6, 64, &mss(1440)).frame(from_host()),
            Forwarded,
            Opening::new(outside6, SERVER6, 63, &mss(1300)).frame(to_isp(1)),
        )),
        prefixed(Row::changed(
            "the MSS of a SYN-ACK to an address under another prefix is lowered",
            Side::Uplink,
            Opening::new(SERVER6, outside6, 60, &mss(1440))
                .answer()
                .frame(from_isp(1)),
            Forwarded,
            Opening::new(SERVER6, HOST6, 59, &mss(1300))
                .answer()
                .frame(to_host()),
        )),
    ]
}
