//! The packet's way through the gateway, readable top-down: from a LAN port, and from an uplink.

pub mod errors;
pub mod lan;
#[cfg(test)]
mod tests;
pub mod translated;
pub mod uplink;

use crate::{
    icmp_error,
    limits::{FORWARDED_COLUMNS, MAX_SLOTS, MAX_UPLINKS},
    packet::Packet,
    parse::{self, Parsed},
    port::PortEntry,
    reset,
    state::SharedState,
    tables::Tables,
    uplink::UplinkEntry,
    verdict::{Disposition, Verdict},
};

/// What was decided about a packet.
///
/// One word, so that the kernel's copy lives in a register: the verdict's number in bits 0 to 7,
/// the egress slot in bits 8 to 15, the MTU in bits 32 to 63.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Decision(u64);

impl Decision {
    /// Leaves by the device of this slot.
    #[inline(always)]
    const fn forward(slot: u8) -> Self {
        Self(Verdict::Forwarded as u64 | (slot as u64 & (MAX_SLOTS as u64 - 1)) << 8)
    }

    /// No decision yet: the packet is an ICMP error that goes the way of [`errors`].
    pub const QUOTED: Self = Self(0xff);

    /// Is larger than the way out, whose MTU this is.
    #[inline(always)]
    pub(crate) const fn too_big(mtu: u32) -> Self {
        Self(Verdict::ReplyTooBig as u64 | (mtu as u64) << 32)
    }

    /// The same decision as the word that [`Decision::from_word`] takes.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The decision that [`Decision::word`] gave.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The verdict's number.
    #[inline(always)]
    pub const fn verdict_number(self) -> u8 {
        self.0 as u8
    }

    /// What was done and why.
    pub fn verdict(self) -> Verdict {
        Verdict::from_number(self.verdict_number()).unwrap_or(Verdict::DropInternal)
    }

    /// What happens to the frame.
    #[inline(always)]
    pub const fn disposition(self) -> Disposition {
        Disposition::of_number(self.verdict_number())
    }

    /// The slot of the device that the packet leaves by; meaningful for [`Verdict::Forwarded`]
    /// alone.
    #[inline(always)]
    pub const fn egress(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The MTU of the way out in bytes; meaningful for [`Verdict::ReplyTooBig`] alone.
    #[inline(always)]
    pub const fn mtu(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The column of the counter table that this decision counts in.
    ///
    /// Packets forwarded to an uplink count under that uplink, so that one count serves both the
    /// port's total and the uplink's share.
    #[inline(always)]
    pub const fn counter_column(self) -> u32 {
        let number = self.verdict_number();
        if number == Verdict::Forwarded as u8 && (self.egress() as usize) < MAX_UPLINKS {
            FORWARDED_COLUMNS + self.egress() as u32
        } else {
            number as u32
        }
    }
}

impl From<Verdict> for Decision {
    #[inline(always)]
    fn from(verdict: Verdict) -> Self {
        Self(u64::from(verdict.number()))
    }
}

impl core::fmt::Debug for Decision {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{} (egress {}, mtu {})",
            self.verdict().name(),
            self.egress(),
            self.mtu()
        )
    }
}

/// The whole way of a packet that came in on a LAN port, its answer included.
pub fn from_lan<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &mut T,
    port: &PortEntry,
) -> Decision {
    let mut parsed = Parsed::default();
    let mut decision = match parse::headers(packet, port, &mut parsed) {
        Ok(()) => lan::decide(packet, tables, port, &parsed),
        Err(verdict) => verdict.into(),
    };
    if decision == Decision::QUOTED {
        decision = errors::outward(packet, tables, &parsed).unwrap_or_else(Decision::from);
    }
    finish(packet, tables, port, decision)
}

/// The whole way of a packet that came in on an uplink, its answer included.
pub fn from_uplink<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &mut T,
    port: &PortEntry,
) -> Decision {
    let mut parsed = Parsed::default();
    let mut decision = match parse::headers(packet, port, &mut parsed) {
        Ok(()) => uplink::decide(packet, tables, port, &parsed),
        Err(verdict) => verdict.into(),
    };
    if decision == Decision::QUOTED {
        decision = errors::inward(packet, tables, port, &parsed).unwrap_or_else(Decision::from);
    }
    finish(packet, tables, port, decision)
}

/// The second half of the way: answers the packets that `decide` said are to be answered.
///
/// The kernel runs it in a function of its own, off the way of what is forwarded, because an
/// answer needs more stack than the rest of the path.
#[inline(always)]
pub fn finish<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &mut T,
    port: &PortEntry,
    decision: Decision,
) -> Decision {
    match decision.disposition() {
        Disposition::Reply if decision.verdict_number() == Verdict::ReplyReset.number() => {
            reset::answer(packet, tables).into()
        }
        Disposition::Reply => icmp_error::answer(packet, tables, port, decision),
        Disposition::Forward | Disposition::Pass | Disposition::Drop => decision,
    }
}

/// The entry of an uplink, the copy that is in force.
#[inline(always)]
fn uplink_entry<'t, T: Tables>(
    tables: &'t T,
    state: &SharedState,
    id: u8,
) -> Result<&'t UplinkEntry, Verdict> {
    let entry = u32::from(id) * 2 + state.uplink_copy(id);
    tables.uplink(entry).ok_or(Verdict::DropInternal)
}
