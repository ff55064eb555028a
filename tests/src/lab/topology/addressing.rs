//! The addresses and routes of the network, as lines of iproute2's batch language.
//!
//! All are documentation prefixes, but for the LAN's IPv4 prefix: no other is large enough.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The server's IPv4 address.
pub const SERVER4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The server's IPv6 address.
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xd000, 0, 0, 0, 0, 0x10);
/// All LANs, IPv4.
pub const LAN4: &str = "10.1.0.0/16";
/// All LANs, IPv6.
pub const LAN6: &str = "2001:db8:1::/48";

/// The addresses of a LAN: the host's end and the gateway's.
#[derive(Clone, Copy, Debug)]
pub struct HostAddresses {
    /// The host's, with prefix length 24.
    pub host4: Ipv4Addr,
    /// The host's, with prefix length 64.
    pub host6: Ipv6Addr,
    /// The gateway's.
    pub gateway4: Ipv4Addr,
    /// The gateway's.
    pub gateway6: Ipv6Addr,
}

impl HostAddresses {
    pub(super) fn new(n: u8) -> Self {
        let v6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 1, u16::from(n), 0, 0, 0, last);
        Self {
            host4: Ipv4Addr::new(10, 1, n, 10),
            host6: v6(0x10),
            gateway4: Ipv4Addr::new(10, 1, n, 1),
            gateway6: v6(1),
        }
    }

    pub(super) fn at_host(&self) -> String {
        let Self {
            host4,
            host6,
            gateway4,
            gateway6,
        } = self;
        format!(
            "addr add {host4}/24 dev eth0\n\
             addr add {host6}/64 dev eth0\n\
             link set eth0 up\n\
             route add default via {gateway4}\n\
             route add default via {gateway6}\n"
        )
    }

    pub(super) fn at_gateway(&self, device: &str) -> String {
        let Self {
            gateway4, gateway6, ..
        } = self;
        format!(
            "addr add {gateway4}/24 dev {device}\n\
             addr add {gateway6}/64 dev {device}\n\
             link set {device} up\n"
        )
    }
}

/// The addresses of an uplink, and of the ISP's link to the internet.
#[derive(Clone, Copy, Debug)]
pub struct UplinkAddresses {
    /// The gateway's, with prefix length 30.
    pub gateway4: Ipv4Addr,
    /// The gateway's, with prefix length 64.
    pub gateway6: Ipv6Addr,
    /// The ISP's, the gateway's next hop.
    pub isp4: Ipv4Addr,
    /// The ISP's, by which it does not route: the gateway's next hop is [`NEXT_HOP6`].
    pub isp6: Ipv6Addr,
    /// The ISP's on its link to the internet, with prefix length 30.
    pub transit4: Ipv4Addr,
    /// The ISP's on its link to the internet, with prefix length 64.
    pub transit6: Ipv6Addr,
    /// The other end of that link.
    pub internet4: Ipv4Addr,
    /// The other end of that link.
    pub internet6: Ipv6Addr,
}

/// The gateway's next hop of IPv6, at each ISP: a link-local address, as routers announce it.
pub const NEXT_HOP6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

impl UplinkAddresses {
    pub(super) fn new(n: u8) -> Self {
        let v6 =
            |net: u16, last| Ipv6Addr::new(0x2001, 0xdb8, net + u16::from(n), 0, 0, 0, 0, last);
        Self {
            isp4: Ipv4Addr::new(192, 0, 2, 4 * n + 1),
            gateway4: Ipv4Addr::new(192, 0, 2, 4 * n + 2),
            isp6: v6(0xf000, 1),
            gateway6: v6(0xf000, 2),
            transit4: Ipv4Addr::new(198, 51, 100, 4 * n + 1),
            internet4: Ipv4Addr::new(198, 51, 100, 4 * n + 2),
            transit6: v6(0xe000, 1),
            internet6: v6(0xe000, 2),
        }
    }

    pub(super) fn at_gateway(&self, device: &str, metric: usize) -> String {
        let Self {
            gateway4,
            gateway6,
            isp4,
            ..
        } = self;
        format!(
            "addr add {gateway4}/30 dev {device}\n\
             addr add {gateway6}/64 dev {device}\n\
             link set {device} up\n\
             route add default via {isp4} dev {device} metric {metric}\n\
             route add default via {NEXT_HOP6} dev {device} metric {metric}\n"
        )
    }

    /// May be repeated.
    pub(super) fn at_isp(&self, private: bool) -> String {
        let Self {
            gateway4,
            gateway6,
            isp4,
            isp6,
            ..
        } = self;
        let to_lan4 = if private {
            String::new()
        } else {
            format!("route replace {LAN4} via {gateway4}\n")
        };
        format!(
            "link set gw up\n\
             addr replace {isp4}/30 dev gw\n\
             addr replace {isp6}/64 dev gw\n\
             addr replace {NEXT_HOP6}/64 dev gw\n\
             route replace {LAN6} via {gateway6}\n"
        ) + &to_lan4
    }

    pub(super) fn at_isp_transit(&self) -> String {
        let Self {
            isp4,
            isp6,
            transit4,
            transit6,
            internet4,
            internet6,
            ..
        } = self;
        // Where the link to the gateway is down, what is meant for it must not take the default
        // route back to where it came from.
        format!(
            "addr add {transit4}/30 dev inet\n\
             addr add {transit6}/64 dev inet\n\
             link set inet up\n\
             route add default via {internet4}\n\
             route add default via {internet6}\n\
             route add blackhole {LAN4} metric 9999\n\
             route add blackhole {LAN6} metric 9999\n\
             route add blackhole {}/30 metric 9999\n\
             route add blackhole {}/64 metric 9999\n",
            Ipv4Addr::from_bits(isp4.to_bits() & !3),
            Ipv6Addr::from_bits(isp6.to_bits() & (!0 << 64)),
        )
    }

    /// The prefixes of the link between the gateway and the ISP, for the internet's routes.
    fn uplink_prefixes(&self) -> [String; 2] {
        let (v4, v6) = (self.isp4.to_bits() & !3, self.isp6.to_bits() & (!0 << 64));
        [
            format!("{}/30", Ipv4Addr::from_bits(v4)),
            format!("{}/64", Ipv6Addr::from_bits(v6)),
        ]
    }
}

/// The internet's own addresses, and its routes to the links between the gateway and the ISPs.
pub(super) fn internet_script(uplinks: usize) -> String {
    let mut script = String::from(
        "addr add 203.0.113.1/24 dev srv\naddr add 2001:db8:d000::1/64 dev srv\nlink set srv up\n",
    );
    for n in 0..uplinks {
        let addresses = UplinkAddresses::new(super::id(n));
        let UplinkAddresses {
            transit4,
            transit6,
            internet4,
            internet6,
            ..
        } = addresses;
        let [v4, v6] = addresses.uplink_prefixes();
        script += &format!(
            "addr add {internet4}/30 dev isp{n}\n\
             addr add {internet6}/64 dev isp{n}\n\
             link set isp{n} up\n\
             route add {v4} via {transit4}\n\
             route add {v6} via {transit6}\n"
        );
    }
    script + &format!("route add blackhole {LAN4}\nroute add blackhole {LAN6}\n")
}

/// The server's address and routes.
pub(super) fn server_script() -> String {
    format!(
        "addr add {SERVER4}/24 dev eth0\n\
         addr add {SERVER6}/64 dev eth0\n\
         link set eth0 up\n\
         route add default via 203.0.113.1\n\
         route add default via 2001:db8:d000::1\n"
    )
}
