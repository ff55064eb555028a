//! The uplinks of the gateway, found by their ids without looking at all of them.

use std::ops::{Deref, DerefMut};

use multihome_common::limits::MAX_UPLINKS;

use super::Uplink;

/// No uplink has this id.
const NONE: u8 = u8::MAX;

/// The uplinks in the order of the configuration.
#[derive(Debug)]
pub(super) struct Uplinks {
    list: Vec<Uplink>,
    /// Where each id's uplink stands.
    places: [u8; MAX_UPLINKS],
}

impl Uplinks {
    /// The uplink of this id.
    pub fn of(&self, id: u8) -> Option<&Uplink> {
        self.list.get(self.place(id)?)
    }

    /// The uplink of this id.
    pub fn of_mut(&mut self, id: u8) -> Option<&mut Uplink> {
        let place = self.place(id)?;
        self.list.get_mut(place)
    }

    fn place(&self, id: u8) -> Option<usize> {
        let place = self.places.get(usize::from(id)).copied()?;
        (place != NONE).then_some(place.into())
    }
}

impl FromIterator<Uplink> for Uplinks {
    fn from_iter<I: IntoIterator<Item = Uplink>>(uplinks: I) -> Self {
        let list: Vec<Uplink> = uplinks.into_iter().collect();
        let mut places = [NONE; MAX_UPLINKS];
        for (place, uplink) in (0u8..).zip(&list) {
            places[usize::from(uplink.id)] = place;
        }
        Self { list, places }
    }
}

impl Deref for Uplinks {
    type Target = [Uplink];

    fn deref(&self) -> &[Uplink] {
        &self.list
    }
}

impl DerefMut for Uplinks {
    fn deref_mut(&mut self) -> &mut [Uplink] {
        &mut self.list
    }
}

impl<'u> IntoIterator for &'u Uplinks {
    type Item = &'u Uplink;
    type IntoIter = std::slice::Iter<'u, Uplink>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl<'u> IntoIterator for &'u mut Uplinks {
    type Item = &'u mut Uplink;
    type IntoIter = std::slice::IterMut<'u, Uplink>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter_mut()
    }
}
