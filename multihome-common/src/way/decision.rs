//! What was decided about a packet: a verdict with its particulars, or which stage comes next.

use crate::{
    counters,
    limits::MAX_SLOTS,
    port::SLOT_FRAMED,
    verdict::{Disposition, Verdict},
};

/// What was decided about a packet.
///
/// One word, so that the kernel's copy lives in a register: the verdict's number in bits 0 to 7,
/// the egress slot in bits 8 to 14, the family of what is forwarded in bit 16, whether the egress has a
/// framing of its own in bit 23, the MTU in bits 32 to 63. Numbers from [`Decision::LAST_VERDICT`] on are no
/// verdicts, but name the stage that goes on; see [`super::stages`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Decision(u64);

impl Decision {
    /// The packet is an ICMP error that goes the way of [`super::errors::outward`].
    pub const QUOTED: Self = Self(0xff);
    /// The packet goes the way of [`super::outward`].
    pub const OUTWARD: Self = Self(0xfe);
    /// The packet is a later fragment, and goes the way of [`super::fragments`].
    pub const FRAGMENT: Self = Self(0xfd);
    /// The packet is for an outside address, from the LAN, and goes the way of [`super::hairpin`].
    pub const HAIRPIN: Self = Self(0xfc);
    /// The flow that was prepared is to be opened, and the stage run again with its slot.
    pub const OPEN: Self = Self(0xfb);
    const INWARD: u64 = 0xfa;
    const INWARD_ERROR: u64 = 0xf9;
    /// Verdicts have smaller numbers.
    const LAST_VERDICT: u64 = 0xf0;
    const FAMILY_SHIFT: u32 = 16;
    const FRAMED: u64 = (SLOT_FRAMED as u64) << 8;

    /// Leaves by the port of this slot, [`SLOT_FRAMED`] included, as a packet of this family.
    #[inline(always)]
    pub(crate) const fn forward(slot: u16, family: usize) -> Self {
        let slot = (slot as u64 & ((MAX_SLOTS as u64 - 1) | SLOT_FRAMED as u64)) << 8;
        Self(Verdict::Forwarded as u64 | slot | (family as u64 & 1) << Self::FAMILY_SHIFT)
    }

    /// The packet is for the outside address of this part of the port table, of the uplink of this
    /// id, and goes the way of [`super::inward`].
    #[inline(always)]
    pub(crate) const fn inward(id: u8, pool: u16) -> Self {
        Self(Self::INWARD | (id as u64) << 8 | (pool as u64) << 32)
    }

    /// The same for an ICMP error, which goes the way of [`super::errors::inward`].
    #[inline(always)]
    pub(crate) const fn inward_error(id: u8, pool: u16) -> Self {
        Self(Self::INWARD_ERROR | (id as u64) << 8 | (pool as u64) << 32)
    }

    /// Whether a packet that is forwarded gets the framing of the port that it leaves by.
    #[inline(always)]
    pub const fn is_framed(self) -> bool {
        self.0 & Self::FRAMED != 0
    }

    /// Was forwarded, and lost by the line behind the device.
    #[cfg(any(test, feature = "user"))]
    #[inline(always)]
    pub(crate) const fn lost(self) -> Self {
        Self(self.0 & !0xff | Verdict::DropFaultOut as u64)
    }

    /// Is larger than the way out, whose MTU this is.
    #[inline(always)]
    pub(crate) const fn too_big(mtu: u32) -> Self {
        Self(Verdict::ReplyTooBig as u64 | (mtu as u64) << 32)
    }

    /// Whether another stage goes on.
    #[inline(always)]
    pub const fn is_stage(self) -> bool {
        self.0 & 0xff >= Self::LAST_VERDICT
    }

    /// Whether that stage is the one of [`super::inward`].
    #[inline(always)]
    pub const fn is_inward(self) -> bool {
        self.0 & 0xff == Self::INWARD
    }

    /// Whether that stage is the one of [`super::errors::inward`].
    #[inline(always)]
    pub const fn is_inward_error(self) -> bool {
        self.0 & 0xff == Self::INWARD_ERROR
    }

    /// The part of the port table; meaningful for those two stages alone.
    #[inline(always)]
    pub const fn pool(self) -> u16 {
        (self.0 >> 32) as u16
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

    /// The slot of the device that the packet leaves by, for [`Verdict::Forwarded`]; the uplink's id
    /// for the two stages of packets from outside.
    #[inline(always)]
    pub const fn egress(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The MTU of the way out in bytes; meaningful for [`Verdict::ReplyTooBig`] alone.
    #[inline(always)]
    pub const fn mtu(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The family of a packet that is forwarded.
    #[inline(always)]
    pub const fn family(self) -> usize {
        (self.0 >> Self::FAMILY_SHIFT) as usize & 1
    }

    /// The column of the [counter table](counters) that this decision counts in.
    #[inline(always)]
    pub const fn counter_column(self) -> u32 {
        let number = self.verdict_number();
        if number == Verdict::Forwarded as u8 {
            counters::forwarded(self.family(), self.egress())
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
