//! The names behind the slots and the groups' ids, as a controller left them in the maps.

use aya::maps::{Array, MapData};
use multihome_common::{
    abi::{self, SlotName},
    limits::MAX_NAMES,
};

use super::{DataplaneError, load::refused};

/// The names by slot, then the groups' by id; `None` where there is none.
///
/// # Errors
/// When the map cannot be read.
pub(super) fn read(map: &Array<MapData, SlotName>) -> Result<Vec<Option<String>>, DataplaneError> {
    (0..MAX_NAMES as u32)
        .map(|slot| Ok(text(&map.get(&slot, 0).map_err(refused(abi::NAMES))?)))
        .collect()
}

fn text(name: &SlotName) -> Option<String> {
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    (end > 0).then(|| String::from_utf8_lossy(&name[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_where_the_zeroes_begin() {
        let padded = |name: &[u8]| {
            let mut slot = SlotName::default();
            slot[..name.len()].copy_from_slice(name);
            text(&slot)
        };
        assert_eq!(padded(b""), None);
        assert_eq!(padded(b"fibre"), Some("fibre".to_owned()));
        assert_eq!(padded(&[b'x'; 32]), Some("x".repeat(32)));
    }
}
