//! Taking uplinks away and giving them back, at known moments.

use anyhow::{Context as _, Result};

pub use super::netlink::Moment;
use super::{
    Namespace,
    netlink::Netlink,
    topology::{GatewayLab, ISP_GATEWAY_INDEX},
};

/// A way in which an uplink fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The link to the ISP goes down, as when a cable is pulled: the gateway's device loses its
    /// carrier.
    Carrier,
    /// The ISP goes on answering for itself, and forwards nothing any more, in either direction.
    Blackhole,
}

/// Where an ISP is cut.
pub(super) struct Switch {
    netlink: Netlink,
}

impl Switch {
    pub(super) fn open(isp: &Namespace) -> Result<Self> {
        Ok(Self {
            netlink: Netlink::open(isp)?,
        })
    }
}

impl GatewayLab {
    /// Cuts an uplink. The internet stops sending by it, too.
    ///
    /// The moment is that of the cut at the ISP alone.
    pub fn cut(&self, uplink: usize, cut: Cut) -> Result<Moment> {
        let moment = self.cut_here(uplink, cut, true)?;
        self.routing.withdraw(uplink)?;
        Ok(moment)
    }

    /// Brings an uplink back. The moment is that from which the ISP forwards again; for
    /// [`Cut::Carrier`] it starts when the link comes up and ends when the ISP knows its routes.
    pub fn restore(&self, uplink: usize, cut: Cut) -> Result<Moment> {
        let mut moment = self.cut_here(uplink, cut, false)?;
        if cut == Cut::Carrier {
            self.configure_isp(uplink)?;
            moment.after = crate::traffic::clock::now();
        }
        self.routing.announce(uplink)?;
        Ok(moment)
    }

    fn cut_here(&self, uplink: usize, cut: Cut, is_cut: bool) -> Result<Moment> {
        let netlink = &self.uplinks[uplink].switch.netlink;
        match cut {
            Cut::Carrier => netlink.set_link(ISP_GATEWAY_INDEX, !is_cut),
            Cut::Blackhole => netlink.blackhole(&["gw", "inet"], is_cut),
        }
        .with_context(|| format!("uplink {}", self.uplinks[uplink].plan.name))
    }
}
