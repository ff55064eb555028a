//! Which parts of the port table each uplink has: those that it had under an earlier controller,
//! because flows remember them, else free ones.

use multihome_common::uplink::UplinkEntry;

use super::RunError;
use crate::config::{Config, Mode4, UplinkConfig};

/// The number of no part: that of an uplink that never translates IPv4.
pub const NO_POOL: u16 = u16::MAX;

/// How many parts of the port table an uplink needs: one for each address that it may have.
pub fn needed(uplink: &UplinkConfig) -> u16 {
    match uplink.mode.ipv4() {
        Mode4::Routed => 0,
        Mode4::Auto | Mode4::Nat44 => uplink.outside.len().max(1) as u16,
    }
}

/// How many parts all uplinks need.
pub fn all(config: &Config) -> u16 {
    config.uplinks.iter().map(needed).sum()
}

/// The first part that an uplink has, by the entry that an earlier controller left of it.
pub fn left(entry: &UplinkEntry) -> Option<u16> {
    // No entry that was ever written has an MTU of zero.
    (entry.mtu != 0 && entry.pool != NO_POOL).then_some(entry.pool)
}

/// What one uplink asks for.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'c> {
    /// Its name.
    pub name: &'c str,
    /// How many parts it needs.
    pub needed: u16,
    /// The first of those that it had.
    pub kept: Option<u16>,
}

/// The first part of each uplink, of `room` parts; [`NO_POOL`] for uplinks that need none.
///
/// # Errors
/// When there is no room, or an uplink needs more parts than it had and what follows is another's:
/// its flows could not be told apart if it moved.
pub fn assign(claims: &[Claim<'_>], room: u16) -> Result<Vec<u16>, RunError> {
    let mut taken: Vec<(u16, u16)> = Vec::new();
    let mut firsts = vec![NO_POOL; claims.len()];
    let no_room = |claim: &Claim<'_>| RunError::NoPool {
        name: claim.name.to_owned(),
        needed: claims.iter().map(|claim| claim.needed).sum(),
        room,
    };
    // Those that are kept come first.
    for keeps in [true, false] {
        for (claim, first) in claims.iter().zip(&mut firsts) {
            if claim.needed == 0 || claim.kept.is_some() != keeps {
                continue;
            }
            let fits = |&at: &u16| {
                let end = at.saturating_add(claim.needed);
                end <= room && taken.iter().all(|&(a, b)| end <= a || b <= at)
            };
            let place = match claim.kept {
                Some(kept) => Some(kept).filter(fits),
                None => (0..room).find(fits),
            };
            *first = place.ok_or_else(|| no_room(claim))?;
            taken.push((*first, *first + claim.needed));
        }
    }
    Ok(firsts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, needed: u16, kept: Option<u16>) -> Claim<'_> {
        Claim { name, needed, kept }
    }

    #[test]
    fn at_a_first_start_parts_follow_each_other() {
        let claims = [
            claim("fiber", 1, None),
            claim("routed", 0, None),
            claim("dsl", 3, None),
            claim("lte", 1, None),
        ];
        assert_eq!(assign(&claims, 5).unwrap(), [0, NO_POOL, 1, 4]);
    }

    #[test]
    fn an_uplink_keeps_its_parts_and_a_new_one_takes_those_of_one_that_is_gone() {
        // "dsl" had part 0 and is gone.
        let claims = [
            claim("new", 1, None),
            claim("lte", 1, Some(2)),
            claim("fiber", 1, Some(1)),
        ];
        assert_eq!(assign(&claims, 3).unwrap(), [0, 2, 1]);
    }

    #[test]
    fn an_uplink_that_has_fewer_addresses_than_before_leaves_parts_free() {
        let claims = [claim("fiber", 1, Some(0)), claim("new", 2, None)];
        assert_eq!(assign(&claims, 3).unwrap(), [0, 1]);
    }

    #[test]
    fn without_room_the_start_is_refused() {
        for claims in [
            &[claim("fiber", 1, Some(0)), claim("new", 1, None)][..],
            &[claim("fiber", 2, Some(0))],
            &[claim("fiber", 1, Some(7))],
        ] {
            let error = assign(claims, 1).unwrap_err().to_string();
            assert!(error.contains("multihome detach"), "{error}");
        }
        let grown = [claim("fiber", 2, Some(0)), claim("lte", 1, Some(1))];
        assert!(assign(&grown, 8).is_err(), "what follows is another's");
    }

    #[test]
    fn an_entry_that_was_never_written_keeps_no_part() {
        let written = UplinkEntry {
            mtu: 1500,
            pool: 4,
            ..UplinkEntry::default()
        };
        assert_eq!(left(&written), Some(4));
        assert_eq!(left(&UplinkEntry::default()), None);
        let routed = UplinkEntry {
            pool: NO_POOL,
            ..written
        };
        assert_eq!(left(&routed), None);
    }
}
