//! The network that the gateway stands in: LAN hosts, the gateway, its ISPs, the internet that
//! joins them, and a server behind it.
//!
//! ```text
//! h0 10.1.0.10 --- lan0 \            / wan0 --- isp0 \
//!                        gw (gateway) - wan1 --- isp1 -- inet --- srv 203.0.113.10
//! h1 10.1.1.10 --- lan1 /            \ wan2 --- isp2 /
//! ```
//!
//! Each name is a namespace. LAN addresses are valid in the whole network, as they are where a
//! gateway announces a prefix of its own. The internet sends what belongs to a connection back by
//! the ISP that the connection's last packet came through, and by another one while that ISP does
//! not reach the LAN.

mod addressing;
mod internet;

use std::time::Duration;

use anyhow::{Context as _, Result};

pub use addressing::{HostAddresses, LAN6, NEXT_HOP6, SERVER4, SERVER6, UplinkAddresses};

use super::{
    Lab, Namespace,
    cut::Switch,
    ip_batch,
    link::{End, FACING_XDP, Mac, pair},
};
use internet::Internet;

/// What can differ between labs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of LAN ports, each with one host.
    pub hosts: u8,
    /// The uplinks, in the order of their devices.
    pub uplinks: Vec<UplinkPlan>,
    /// Nobody but the gateway knows a way to the LANs' IPv4 addresses, as it is with private ones.
    pub private: bool,
}

/// An uplink of the plan.
#[derive(Clone, Debug)]
pub struct UplinkPlan {
    /// The name that the gateway's configuration uses.
    pub name: &'static str,
    /// The weight that the gateway's configuration uses.
    pub weight: u32,
    /// Bytes of the longest packet of the link between gateway and ISP.
    pub mtu: u32,
    /// What the ISP adds to the way back, where the kernel can delay packets.
    pub delay: Duration,
}

impl UplinkPlan {
    /// An uplink with the usual MTU and no delay.
    pub const fn new(name: &'static str, weight: u32) -> Self {
        Self {
            name,
            weight,
            mtu: 1500,
            delay: Duration::ZERO,
        }
    }
}

impl Plan {
    /// One host and two uplinks of equal weight, with IPv4 addresses of the LAN that nobody else has a
    /// way to.
    pub fn private() -> Self {
        Self {
            hosts: 1,
            uplinks: [("fiber", 1), ("cable", 1)]
                .map(|(name, weight)| UplinkPlan::new(name, weight))
                .into(),
            private: true,
        }
    }
}

impl Default for Plan {
    /// Two hosts and three uplinks with weights 5:3:2.
    fn default() -> Self {
        let uplinks = [("fiber", 5), ("cable", 3), ("mobile", 2)];
        Self {
            hosts: 2,
            uplinks: uplinks
                .map(|(name, weight)| UplinkPlan::new(name, weight))
                .into(),
            private: false,
        }
    }
}

/// A LAN host.
pub struct Host {
    /// Its namespace.
    pub namespace: Namespace,
    /// The gateway's device that leads to it.
    pub port: String,
    /// Its addresses and the gateway's.
    pub addresses: HostAddresses,
}

/// An uplink: the gateway's device, and the ISP at its other end.
pub struct Uplink {
    /// What the plan says of it.
    pub plan: UplinkPlan,
    /// The gateway's device.
    pub device: String,
    /// The ISP's namespace. Its devices are `gw` and `inet`.
    pub isp: Namespace,
    /// The addresses of the ISP's links.
    pub addresses: UplinkAddresses,
    pub(super) switch: Switch,
}

/// The whole network.
pub struct GatewayLab {
    /// The LAN hosts.
    pub hosts: Vec<Host>,
    /// The gateway.
    pub gateway: Namespace,
    /// The uplinks.
    pub uplinks: Vec<Uplink>,
    /// Where the ISPs meet. Its devices are `isp0` and so on, and `srv`.
    pub internet: Namespace,
    /// The server, at [`SERVER4`] and [`SERVER6`].
    pub server: Namespace,
    /// True when the kernel can delay packets, so that the plan's delays are in force.
    pub has_delay: bool,
    pub(super) routing: Internet,
    private: bool,
    /// The lab that all of this lies in; last, as it is removed when dropped.
    pub lab: Lab,
}

impl GatewayLab {
    /// Builds the network of a plan.
    pub fn new(plan: &Plan) -> Result<Self> {
        let lab = Lab::new()?;
        let count = |name: &str, number: usize| -> Vec<String> {
            (0..number).map(|n| format!("{name}{n}")).collect()
        };
        let [gateway, internet, server] = lab.namespaces(["gw", "inet", "srv"])?;
        let host_names = lab.namespace_list(&count("h", usize::from(plan.hosts)))?;
        let isps = lab.namespace_list(&count("isp", plan.uplinks.len()))?;
        for namespace in host_names
            .iter()
            .chain(&isps)
            .chain([&gateway, &internet, &server])
        {
            namespace.sysctl(&EVERYWHERE)?;
        }
        for namespace in isps.iter().chain([&gateway, &internet]) {
            namespace.sysctl(&ROUTER)?;
        }
        gateway.sysctl(&[
            "net.ipv4.conf.all.rp_filter=2",
            "net.ipv4.conf.default.rp_filter=2",
        ])?;

        let mut hosts = Vec::new();
        for (n, namespace) in (0..).zip(host_names) {
            hosts.push(Host {
                namespace,
                port: format!("lan{n}"),
                addresses: HostAddresses::new(n),
            });
        }
        let mut uplinks = Vec::new();
        for ((n, isp), plan) in (0..).zip(isps).zip(&plan.uplinks) {
            isp.sysctl(&["net.ipv6.conf.default.keep_addr_on_down=1"])?;
            uplinks.push(Uplink {
                plan: plan.clone(),
                device: format!("wan{n}"),
                switch: Switch::open(&isp)?,
                isp,
                addresses: UplinkAddresses::new(n),
            });
        }
        let routing = Internet::new(&internet, uplinks.len(), plan.private)?;
        let mut lab = Self {
            hosts,
            gateway,
            uplinks,
            internet,
            server,
            has_delay: false,
            routing,
            private: plan.private,
            lab,
        };
        lab.connect()?;
        lab.has_delay = lab.delay()?;
        Ok(lab)
    }

    /// The names of the gateway's LAN ports.
    pub fn ports(&self) -> Vec<&str> {
        self.hosts.iter().map(|host| host.port.as_str()).collect()
    }

    /// Makes all devices, and gives them addresses and routes.
    fn connect(&self) -> Result<()> {
        let mut links = String::new();
        for n in 0..self.hosts.len() {
            links += &self.host_link(n);
        }
        for n in 0..self.uplinks.len() {
            links += &self.uplink_link(n);
            links += &self.transit_link(n);
        }
        links += &self.server_link();
        ip_batch(&["-batch", "-"], &links)?;

        let mut at_gateway = String::new();
        for host in &self.hosts {
            let addresses = &host.addresses;
            host.namespace.batch(&addresses.at_host())?;
            host.namespace.offloads("eth0", &FACING_XDP)?;
            at_gateway += &addresses.at_gateway(&host.port);
        }
        for (n, uplink) in self.uplinks.iter().enumerate() {
            at_gateway += &self.gateway_script(n);
            uplink.isp.batch(&uplink.addresses.at_isp_transit())?;
            self.configure_isp(n)?;
        }
        self.gateway.batch(&at_gateway)?;
        self.internet
            .batch(&addressing::internet_script(self.uplinks.len()))?;
        self.server.batch(&addressing::server_script())?;
        self.server.offloads("eth0", &["tx", "off"])?;
        (0..self.uplinks.len()).try_for_each(|n| self.routing.announce(n))
    }

    /// What the gateway's end of an uplink is given: addresses, and default routes that are the
    /// less preferred the higher the uplink's number is.
    pub fn gateway_script(&self, uplink: usize) -> String {
        let metric = 100 * (uplink + 1);
        let Uplink {
            device, addresses, ..
        } = &self.uplinks[uplink];
        addresses.at_gateway(device, metric)
    }

    /// Gives the ISP's end of an uplink its addresses and routes, and brings it up. To be repeated
    /// after the device was down, as the kernel forgets routes then.
    pub fn configure_isp(&self, uplink: usize) -> Result<()> {
        let Uplink { isp, addresses, .. } = &self.uplinks[uplink];
        isp.sysctl(&["net.ipv6.conf.gw.addr_gen_mode=1"])?;
        isp.batch(&addresses.at_isp(self.private))?;
        isp.offloads("gw", &FACING_XDP)
    }

    /// Deletes an uplink's pair of devices and makes it anew, as when a USB modem is unplugged and
    /// plugged in again. Between the two, `meanwhile` is called.
    pub fn replug(&self, uplink: usize, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        let device = &self.uplinks[uplink].device;
        self.gateway.batch(&format!("link del {device}"))?;
        meanwhile()?;
        ip_batch(&["-batch", "-"], &self.uplink_link(uplink))?;
        self.configure_isp(uplink)?;
        self.gateway.batch(&self.gateway_script(uplink))
    }

    fn host_link(&self, n: usize) -> String {
        let Host {
            namespace, port, ..
        } = &self.hosts[n];
        let id = id(n);
        pair(
            End {
                namespace: &self.gateway,
                device: port,
                index: 10 + u32::from(id),
                mac: Mac::local(1, id),
            },
            End {
                namespace,
                device: "eth0",
                index: 100,
                mac: Mac::local(2, id),
            },
            1500,
        )
    }

    fn uplink_link(&self, n: usize) -> String {
        let Uplink {
            plan, device, isp, ..
        } = &self.uplinks[n];
        let id = id(n);
        pair(
            End {
                namespace: &self.gateway,
                device,
                index: 20 + u32::from(id),
                mac: Mac::local(3, id),
            },
            End {
                namespace: isp,
                device: "gw",
                index: ISP_GATEWAY_INDEX,
                mac: isp_mac(n),
            },
            plan.mtu,
        )
    }

    fn transit_link(&self, n: usize) -> String {
        let id = id(n);
        pair(
            End {
                namespace: &self.uplinks[n].isp,
                device: "inet",
                index: 300,
                mac: Mac::local(5, id),
            },
            End {
                namespace: &self.internet,
                device: &format!("isp{n}"),
                index: 20 + u32::from(id),
                mac: Mac::local(6, id),
            },
            1500,
        )
    }

    fn server_link(&self) -> String {
        pair(
            End {
                namespace: &self.internet,
                device: "srv",
                index: 10,
                mac: Mac::local(7, 0),
            },
            End {
                namespace: &self.server,
                device: "eth0",
                index: 100,
                mac: Mac::local(8, 0),
            },
            1500,
        )
    }

    /// Puts the plan's delays in force. Returns false where the kernel cannot delay packets.
    fn delay(&self) -> Result<bool> {
        let slow = self
            .uplinks
            .iter()
            .filter(|uplink| !uplink.plan.delay.is_zero());
        for Uplink { plan, isp, .. } in slow {
            let delay = format!("{}us", plan.delay.as_micros());
            // On the way back only: a delay on the way out would be taken for a slow fail-over.
            let words = [
                "tc", "qdisc", "add", "dev", "gw", "root", "netem", "delay", &delay, "limit",
                "100000",
            ];
            let output = isp
                .command(words[0])
                .args(&words[1..])
                .output()
                .context("starting tc")?;
            let said = String::from_utf8_lossy(&output.stderr);
            if said.contains("qdisc kind is unknown") {
                return Ok(false);
            }
            anyhow::ensure!(output.status.success(), "{}: {said}", words.join(" "));
        }
        Ok(true)
    }
}

/// The index of an ISP's device to the gateway.
pub(super) const ISP_GATEWAY_INDEX: u32 = 200;

/// Kernel parameters of each namespace, set before it has devices.
const EVERYWHERE: [&str; 11] = [
    // Replies may come by another way than the request went: that is what the lab is about.
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    // Addresses can be used at once, and nothing but what tests send is on the wires.
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.default.accept_ra=0",
    "net.ipv6.conf.default.router_solicitations=0",
    // Answers are what is tested, not how many of them the kernel is ready to give.
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv6.icmp.ratelimit=0",
    // A new hardware address is announced, as a router that takes over from another does.
    "net.ipv4.conf.default.arp_notify=1",
    "net.ipv6.conf.default.ndisc_notify=1",
    // One connection must not start with what another has learned.
    "net.ipv4.tcp_no_metrics_save=1",
];

/// Kernel parameters of what forwards.
const ROUTER: [&str; 2] = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];

/// The hardware address of an ISP's device to the gateway.
pub fn isp_mac(uplink: usize) -> Mac {
    Mac::local(4, id(uplink))
}

/// A small number as a part of addresses.
fn id(n: usize) -> u8 {
    u8::try_from(n).expect("a lab has few hosts and uplinks")
}
