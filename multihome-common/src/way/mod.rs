//! The packet's way through the gateway, readable top-down: from a LAN port, and from an uplink.

pub mod lan;
pub mod uplink;

use crate::{
    limits::MAX_SLOTS,
    parse,
    port::{self, PortEntry},
    verdict::Verdict,
};

/// What was decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What was done and why.
    pub verdict: Verdict,
    /// The slot of the device that the packet leaves by; meaningful for [`Verdict::Forwarded`]
    /// alone.
    pub egress: u8,
}

impl Decision {
    /// Leaves by the device of this slot.
    #[inline(always)]
    const fn forward(slot: u8) -> Self {
        Self {
            verdict: Verdict::Forwarded,
            egress: slot & (MAX_SLOTS as u8 - 1),
        }
    }

    /// The column of the counter table that this decision counts in.
    ///
    /// Packets forwarded to an uplink count under that uplink, so that one count serves both the
    /// port's total and the uplink's share.
    #[inline(always)]
    pub const fn counter_column(self) -> u32 {
        if self.verdict as u8 == Verdict::Forwarded as u8
            && (self.egress as usize) < crate::limits::MAX_UPLINKS
        {
            64 + self.egress as u32
        } else {
            self.verdict.number() as u32
        }
    }
}

impl From<Verdict> for Decision {
    #[inline(always)]
    fn from(verdict: Verdict) -> Self {
        Self { verdict, egress: 0 }
    }
}

/// Checks that a frame is for this port at all.
#[inline(always)]
fn accept(link: &parse::Link, port: &PortEntry) -> Result<(), Verdict> {
    // A promiscuous port sees frames for other stations; forwarding them would double them.
    if link.destination != port.mac {
        return Err(Verdict::PassOtherHost);
    }
    if link.vlan && port.flags & port::PORT_VLAN_DEVICES != 0 {
        return Err(Verdict::PassVlanDevice);
    }
    Ok(())
}
