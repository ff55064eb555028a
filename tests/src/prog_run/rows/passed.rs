//! Packets that are left to the kernel.

use std::net::{Ipv4Addr, Ipv6Addr};

use multihome_common::verdict::Verdict::{
    self, PassGateway, PassNotIp, PassNotOurs, PassOnLink, PassOtherHost, PassSpecial,
    PassVlanDevice,
};

use super::{from_host, from_uplink};
use crate::prog_run::{
    frames::{IPV4, IPV6, ethernet, icmp, ipv4, ipv6, udp},
    row::Row,
    world::{GATEWAY, GATEWAY4, HOST, HOST4, HOST6, SERVER4, SERVER6, STRANGER4, Side},
};

/// The rows.
pub fn rows() -> Vec<Row> {
    [by_address(), by_frame()].concat()
}

fn by_address() -> Vec<Row> {
    let lan4 = |shows: &str, to: [u8; 4], verdict| {
        let packet = ipv4(
            (HOST4, Ipv4Addr::from(to)),
            64,
            17,
            &udp((68, 67), b""),
            |_| {},
        );
        Row::unchanged(shows, Side::Lan, from_host(IPV4, &packet), verdict)
    };
    let lan6 = |shows: &str, to: &str, verdict: Verdict| {
        let to: Ipv6Addr = to.parse().expect("a constant");
        let packet = ipv6((HOST6, to), 64, 58, &icmp(128, b""));
        Row::unchanged(shows, Side::Lan, from_host(IPV6, &packet), verdict)
    };
    let up4 = |shows: &str, to: Ipv4Addr, verdict| {
        let packet = ipv4((SERVER4, to), 64, 1, &icmp(8, b""), |_| {});
        Row::unchanged(shows, Side::Uplink, from_uplink(IPV4, &packet), verdict)
    };
    let up6 = |shows: &str, to: &str, verdict| {
        let to: Ipv6Addr = to.parse().expect("a constant");
        let packet = ipv6((SERVER6, to), 64, 58, &icmp(128, b""));
        Row::unchanged(shows, Side::Uplink, from_uplink(IPV6, &packet), verdict)
    };
    vec![
        lan4(
            "the gateway's LAN address is the kernel's",
            GATEWAY4.octets(),
            PassGateway,
        ),
        lan4(
            "the gateway's address on an uplink is the kernel's",
            [192, 0, 2, 2],
            PassGateway,
        ),
        lan4(
            "another LAN host is the kernel's",
            STRANGER4.octets(),
            PassOnLink,
        ),
        lan4(
            "a host on an uplink's own link is the kernel's",
            [192, 0, 2, 1],
            PassOnLink,
        ),
        lan4("multicast is the kernel's", [224, 0, 0, 251], PassSpecial),
        lan4(
            "the limited broadcast is the kernel's",
            [255; 4],
            PassSpecial,
        ),
        lan4(
            "a subnet's broadcast is the kernel's",
            [10, 1, 0, 255],
            PassSpecial,
        ),
        lan4(
            "IPv4 link-local is the kernel's",
            [169, 254, 1, 1],
            PassSpecial,
        ),
        lan4("loopback is the kernel's", [127, 0, 0, 1], PassSpecial),
        lan6(
            "the gateway's IPv6 address is the kernel's",
            "2001:db8:1::1",
            PassGateway,
        ),
        lan6(
            "another IPv6 LAN host is the kernel's",
            "2001:db8:1::77",
            PassOnLink,
        ),
        lan6(
            "an IPv6 host on an uplink's link is the kernel's",
            "2001:db8:aaaa::1",
            PassOnLink,
        ),
        lan6("IPv6 multicast is the kernel's", "ff02::fb", PassSpecial),
        lan6(
            "IPv6 link-local, and with it neighbour discovery, is the kernel's",
            "fe80::1",
            PassSpecial,
        ),
        lan6(
            "a solicited-node group is the kernel's",
            "ff02::1:ff00:1",
            PassSpecial,
        ),
        up4(
            "from outside, the gateway's address is the kernel's",
            GATEWAY4,
            PassGateway,
        ),
        up4(
            "from outside, what is not behind the gateway is the kernel's",
            SERVER4,
            PassNotOurs,
        ),
        up4(
            "from outside, multicast is the kernel's",
            Ipv4Addr::new(224, 0, 0, 5),
            PassSpecial,
        ),
        up6(
            "from outside, the gateway's IPv6 address is the kernel's",
            "2001:db8:1::1",
            PassGateway,
        ),
        up6(
            "from outside, IPv6 not behind the gateway is the kernel's",
            "2001:db8:9::1",
            PassNotOurs,
        ),
        up6(
            "from outside, IPv6 link-local is the kernel's",
            "fe80::2",
            PassSpecial,
        ),
    ]
}

fn by_frame() -> Vec<Row> {
    let packet = ipv4((HOST4, SERVER4), 64, 17, &udp((1, 2), b""), |_| {});
    let tagged = |id| ethernet(GATEWAY, HOST, &[(0x8100, id)], IPV4, &packet);
    let arp = ethernet([0xff; 6], HOST, &[], 0x0806, &[0; 28]);
    let arp_to_us = ethernet(GATEWAY, HOST, &[], 0x0806, &[0; 28]);
    let three_tags = [(0x88a8, 0), (0x8100, 0), (0x8100, 3)];
    let lan = |shows: &str, frame, verdict| Row::unchanged(shows, Side::Lan, frame, verdict);
    vec![
        lan(
            "a broadcast ARP request is the kernel's",
            arp,
            PassOtherHost,
        ),
        lan(
            "ARP to the gateway is the kernel's",
            arp_to_us.clone(),
            PassNotIp,
        ),
        Row::unchanged(
            "ARP on an uplink is the kernel's",
            Side::Uplink,
            arp_to_us,
            PassNotIp,
        ),
        lan(
            "LLDP is the kernel's",
            ethernet(GATEWAY, HOST, &[], 0x88cc, &[0; 46]),
            PassNotIp,
        ),
        lan(
            "a frame for another station is not touched",
            ethernet([2, 9, 9, 9, 9, 9], HOST, &[], IPV4, &packet),
            PassOtherHost,
        ),
        lan(
            "an IP packet in a broadcast frame is not steered",
            ethernet([0xff; 6], HOST, &[], IPV4, &packet),
            PassOtherHost,
        ),
        lan(
            "a frame with three tags is not looked into",
            ethernet(GATEWAY, HOST, &three_tags, IPV4, &packet),
            PassNotIp,
        ),
        lan(
            "a VLAN that no port has is the kernel's",
            tagged(100),
            PassVlanDevice,
        ),
        lan(
            "a priority tag is no VLAN",
            tagged(0x2000),
            Verdict::Forwarded,
        )
        .forwarded_to(0),
    ]
}

impl Row {
    /// The same row, its packet leaving by an uplink.
    fn forwarded_to(mut self, id: u8) -> Self {
        use crate::prog_run::{
            frames::forwarded,
            world::{next_hop, uplink_mac},
        };
        self.output = forwarded(&self.input, next_hop(id, 0), uplink_mac(id));
        self.to_uplink(id)
    }
}
