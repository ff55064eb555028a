//! Which uplink a flow takes, and what is kept of it, asked of global functions for each family: the verifier
//! walks each once, on its own, and not once for each way that leads to it.

use multihome_common::{
    address::{Address4, Address6},
    family::{V4, V6},
    verdict::Verdict,
    way::steer::{self, Ask, Ends},
};

use crate::maps::{Maps, scratch, state};

/// What the functions add to a verdict's number.
const REFUSED: u64 = 1 << 32;

/// The uplink of the IPv4 flow in the scratch memory, or a verdict with [`REFUSED`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_steer4(ask: u32) -> u64 {
    let (Some(state), Some(scratch)) = (state(), scratch()) else {
        return answer(Err(Verdict::DropInternal));
    };
    let (maps, ask) = (&Maps::without_context(), Ask::from_word(ask));
    answer(steer::seek::<V4, Maps>(maps, state, &scratch.ends4, ask))
}

/// The uplink of the IPv6 flow in the scratch memory, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_steer6(ask: u32) -> u64 {
    let (Some(state), Some(scratch)) = (state(), scratch()) else {
        return answer(Err(Verdict::DropInternal));
    };
    let (maps, ask) = (&Maps::without_context(), Ask::from_word(ask));
    answer(steer::seek::<V6, Maps>(maps, state, &scratch.ends6, ask))
}

/// Keeps what is known of the IPv4 flow in the scratch memory. Apart from what seeks an uplink: that needs more
/// stack than those have left who ask this.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_keep4(ask: u32) -> u64 {
    let (Some(state), Some(scratch)) = (state(), scratch()) else {
        return answer(Err(Verdict::DropInternal));
    };
    let (maps, ask) = (&Maps::without_context(), Ask::from_word(ask));
    u64::from(steer::keep::<V4, Maps>(maps, state, &scratch.ends4, ask))
}

/// Keeps what is known of the IPv6 flow in the scratch memory, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_keep6(ask: u32) -> u64 {
    let (Some(state), Some(scratch)) = (state(), scratch()) else {
        return answer(Err(Verdict::DropInternal));
    };
    let (maps, ask) = (&Maps::without_context(), Ask::from_word(ask));
    u64::from(steer::keep::<V6, Maps>(maps, state, &scratch.ends6, ask))
}

#[inline(always)]
fn answer(result: Result<u8, Verdict>) -> u64 {
    match result {
        Ok(id) => id.into(),
        Err(verdict) => REFUSED | u64::from(verdict.number()),
    }
}

#[inline(always)]
fn result(answer: u64) -> Result<u8, Verdict> {
    if answer & REFUSED != 0 {
        return Err(Verdict::from_number(answer as u8).unwrap_or(Verdict::DropInternal));
    }
    Ok(answer as u8 & 63)
}

/// Answers a question about an IPv4 flow.
#[inline(always)]
pub fn ask4(ends: &Ends<Address4>, ask: Ask) -> Result<u8, Verdict> {
    scratch().ok_or(Verdict::DropInternal)?.ends4 = *ends;
    result(if ask.seeks() {
        multihome_steer4(ask.word())
    } else {
        multihome_keep4(ask.word())
    })
}

/// Answers a question about an IPv6 flow.
#[inline(always)]
pub fn ask6(ends: &Ends<Address6>, ask: Ask) -> Result<u8, Verdict> {
    scratch().ok_or(Verdict::DropInternal)?.ends6 = *ends;
    result(if ask.seeks() {
        multihome_steer6(ask.word())
    } else {
        multihome_keep6(ask.word())
    })
}
