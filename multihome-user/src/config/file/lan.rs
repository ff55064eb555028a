//! LAN ports in a file: one text, or a list of texts and tables.

use std::fmt;

use serde::{Deserialize, Deserializer, de, de::value::MapAccessDeserializer};
use toml::Spanned;

use super::{
    super::{
        OuterTag,
        error::ConfigError,
        layer::LanLayer,
        origin::{Located, Source},
        value::{Device, LanName, LanPort, Vlan},
    },
    list::locate,
};

/// A table of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileLan {
    device: Device,
    vlan: Option<Vlan>,
    outer_tag: Option<OuterTag>,
    name: Option<LanName>,
}

/// An element of the list.
enum Entry {
    Text(String),
    Table(FileLan),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> de::Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a device's name, or a table such as { device = \"trunk0\", vlan = 20 }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry::Text(text.into()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
        FileLan::deserialize(MapAccessDeserializer::new(map)).map(Entry::Table)
    }
}

/// All LAN ports.
pub struct FileLans(Vec<Spanned<Entry>>);

impl<'de> Deserialize<'de> for FileLans {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LansVisitor)
    }
}

struct LansVisitor;

impl<'de> de::Visitor<'de> for LansVisitor {
    type Value = FileLans;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a device's name, or a list of names and of tables such as { device = \"trunk0\", vlan = 20 }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<FileLans, E> {
        // The place of the only one is that of the list, which whoever asks for it knows.
        Ok(FileLans(vec![Spanned::new(0..0, Entry::Text(text.into()))]))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<FileLans, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = seq.next_element()? {
            entries.push(entry);
        }
        Ok(FileLans(entries))
    }
}

/// Reads the LAN ports, each with its place.
pub fn locate_lans(
    source: &Source<'_>,
    lans: Option<Spanned<FileLans>>,
) -> Result<Vec<Located<LanLayer>>, ConfigError> {
    let Some(lans) = lans else {
        return Ok(Vec::new());
    };
    let list = lans.span();
    let mut located = Vec::new();
    for entry in lans.into_inner().0 {
        let span = if entry.span().is_empty() {
            list.clone()
        } else {
            entry.span()
        };
        let Located { value, origin } = locate(source, Spanned::new(span, entry.into_inner()));
        let value = match value {
            Entry::Table(table) => LanLayer {
                device: table.device,
                vlan: table.vlan,
                outer_tag: table.outer_tag,
                name: table.name,
            },
            Entry::Text(text) => match text.parse::<LanPort>() {
                Ok(port) => port.into(),
                Err(error) => {
                    let message = error.to_string();
                    return Err(ConfigError::File { origin, message });
                }
            },
        };
        located.push(Located { value, origin });
    }
    Ok(located)
}
