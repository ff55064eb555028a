//! Lists in a file: of texts, each with its place, and of tables.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};
use toml::Spanned;

use super::super::{
    error::ConfigError,
    origin::{Located, Source},
    value::ValueError,
};

/// Says where a value stands.
pub fn locate<T>(source: &Source<'_>, value: Spanned<T>) -> Located<T> {
    let origin = source.origin(value.span());
    Located {
        value: value.into_inner(),
        origin,
    }
}

/// Reads one text or a list of such.
pub fn locate_all<T: FromStr<Err = ValueError>>(
    source: &Source<'_>,
    list: Option<Spanned<OneOrMany>>,
) -> Result<Vec<Located<T>>, ConfigError> {
    let Some(list) = list else {
        return Ok(Vec::new());
    };
    let span = list.span();
    let texts = match list.into_inner() {
        OneOrMany::One(text) => vec![Spanned::new(span, text)],
        OneOrMany::Many(texts) => texts,
    };
    texts
        .into_iter()
        .map(|text| {
            let Located { value, origin } = locate(source, text);
            match value.parse::<T>() {
                Ok(value) => Ok(Located { value, origin }),
                Err(error) => Err(ConfigError::File {
                    origin,
                    message: error.to_string(),
                }),
            }
        })
        .collect()
}

/// One text, or a list of such. What the texts mean is read later: the TOML reader gives an error
/// in a list the place of the list, not of the element.
pub enum OneOrMany {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

struct OneOrManyVisitor;

impl<'de> de::Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(OneOrMany::One(text.into()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(OneOrMany::Many(values))
    }
}

/// The tables under lines such as `[[uplink]]`. A type of its own, because `[uplink]` is an easy
/// mistake and serde would say "expected a sequence".
pub struct Tables<T>(pub Vec<T>);

/// One such table.
pub trait Table: DeserializeOwned {
    /// The name between the brackets.
    const NAME: &'static str;
}

impl<T> Default for Tables<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Table> Deserialize<'de> for Tables<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(TablesVisitor(PhantomData))
            .map(Self)
    }
}

struct TablesVisitor<T>(PhantomData<T>);

impl<'de, T: Table> de::Visitor<'de> for TablesVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = T::NAME;
        write!(f, "one table for each {name}, under a line [[{name}]]")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut tables = Vec::new();
        while let Some(table) = seq.next_element()? {
            tables.push(table);
        }
        Ok(tables)
    }
}
