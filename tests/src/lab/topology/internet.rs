//! How the internet finds its way back to the LAN.
//!
//! Real networks choose the way back by their own routing, and leave an ISP that no longer reaches
//! the LAN when its announcement is withdrawn. Here, to keep that half of the way out of what is
//! measured, the internet follows the gateway's choice packet by packet, and a withdrawal takes
//! no time.

use anyhow::Result;

use super::{
    Namespace, UplinkAddresses,
    addressing::{LAN4, LAN6},
};
use crate::lab::ip_batch;

/// Table 101 holds the way to the LAN through ISP 0, and so on.
const FIRST_TABLE: usize = 101;

pub(in crate::lab) struct Internet {
    namespace: Namespace,
    /// It has no way to the LAN's IPv4 addresses.
    private: bool,
}

impl Internet {
    pub(super) fn new(namespace: &Namespace, uplinks: usize, private: bool) -> Result<Self> {
        let mut ruleset = String::from(
            "table inet internet {\n chain follow {\n  type filter hook prerouting priority mangle;\n",
        );
        let mut rules = String::new();
        for n in 0..uplinks {
            let (mark, table) = (n + 1, FIRST_TABLE + n);
            // The packet's own mark serves answers that this router itself gives.
            ruleset += &format!("  iifname isp{n} ct mark set {mark} meta mark set {mark}\n");
            rules += &format!("rule add pref {} fwmark {mark} lookup {table}\n", 100 + n);
            // What has no mark, or whose ISP does not reach the LAN, takes the first that does.
            rules += &format!("rule add pref {} lookup {table}\n", 200 + n);
        }
        ruleset += "  iifname srv meta mark set ct mark\n }\n}\n";
        namespace.nft(&ruleset)?;
        for family in ["-4", "-6"] {
            ip_batch(
                &["-netns", namespace.full_name(), family, "-batch", "-"],
                &rules,
            )?;
        }
        namespace.sysctl(&[
            "net.ipv4.fwmark_reflect=1",
            "net.ipv6.fwmark_reflect=1",
            // What was lost on the way must not make the connection's packets lose their mark.
            "net.netfilter.nf_conntrack_tcp_be_liberal=1",
        ])?;
        Ok(Self {
            namespace: namespace.clone(),
            private,
        })
    }

    /// This ISP reaches the LAN from now on.
    pub(in crate::lab) fn announce(&self, uplink: usize) -> Result<()> {
        let UplinkAddresses {
            transit4, transit6, ..
        } = UplinkAddresses::new(super::id(uplink));
        let table = FIRST_TABLE + uplink;
        let mut script = format!("route replace {LAN6} via {transit6} table {table}\n");
        if !self.private {
            script += &format!("route replace {LAN4} via {transit4} table {table}\n");
        }
        self.namespace.batch(&script)
    }

    /// This ISP no longer reaches the LAN.
    pub(in crate::lab) fn withdraw(&self, uplink: usize) -> Result<()> {
        let table = FIRST_TABLE + uplink;
        if !self.private {
            self.namespace
                .batch(&format!("route flush table {table}\n"))?;
        }
        ip_batch(
            &["-netns", self.namespace.full_name(), "-6", "-batch", "-"],
            &format!("route flush table {table}\n"),
        )
    }
}
