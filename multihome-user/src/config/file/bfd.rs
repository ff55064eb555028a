//! The key `bfd` of an uplink: `true`, `false` or a table.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};
use toml::Spanned;

use super::{
    super::{error::ConfigError, layer::BfdLayer, origin::Source},
    list::{OneOrMany, locate_all},
};
use crate::config::value::{BfdInterval, BfdMultiplier};

/// What the file says of BFD.
pub enum FileBfd {
    Word(bool),
    Table(FileBfdTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileBfdTable {
    interval: Option<BfdInterval>,
    multiplier: Option<BfdMultiplier>,
    passive: Option<bool>,
    peer: Option<Spanned<OneOrMany>>,
    families: Option<Spanned<OneOrMany>>,
}

impl<'de> Deserialize<'de> for FileBfd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FileBfdVisitor)
    }
}

struct FileBfdVisitor;

impl<'de> de::Visitor<'de> for FileBfdVisitor {
    type Value = FileBfd;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false or a table such as { interval = \"300ms\", multiplier = 3 }")
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<FileBfd, E> {
        Ok(FileBfd::Word(on))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<FileBfd, A::Error> {
        FileBfdTable::deserialize(MapAccessDeserializer::new(map)).map(FileBfd::Table)
    }
}

/// The layer that the file's value is.
pub fn layer(source: &Source<'_>, bfd: FileBfd) -> Result<BfdLayer, ConfigError> {
    Ok(match bfd {
        FileBfd::Word(on) => BfdLayer {
            on,
            ..BfdLayer::default()
        },
        FileBfd::Table(table) => BfdLayer {
            on: true,
            interval: table.interval,
            multiplier: table.multiplier,
            passive: table.passive,
            peers: locate_all(source, table.peer)?,
            families: locate_all(source, table.families)?,
        },
    })
}
