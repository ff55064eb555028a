//! Probe targets in a file: a text, a table, or a list of both.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use toml::{Spanned, Table, Value};

use super::super::{
    error::ConfigError,
    origin::{Located, Source},
    suggest,
    target::{Parts, Target},
};

/// What stands behind `probe =`. What it means is read later, so that an error has its element's place.
pub struct Targets(Vec<Spanned<TextOrTable>>);

/// One target.
pub struct TextOrTable(Value);

/// Reads all targets.
pub fn locate_targets(
    source: &Source<'_>,
    targets: Option<Spanned<Targets>>,
) -> Result<Vec<Located<Target>>, ConfigError> {
    let Some(targets) = targets else {
        return Ok(Vec::new());
    };
    let whole = targets.span();
    let read = |target: Spanned<TextOrTable>| {
        // A single one has no place of its own.
        let span = Some(target.span()).filter(|span| !span.is_empty());
        let origin = source.origin(span.unwrap_or_else(|| whole.clone()));
        let value = read(target.into_inner().0).map_err(|mistake| mistake.at(origin.clone()))?;
        Ok(Located { value, origin })
    };
    targets.into_inner().0.into_iter().map(read).collect()
}

/// What is wrong with a target.
enum Mistake {
    UnknownKey(String),
    Other(String),
}

impl Mistake {
    fn at(self, origin: super::super::Origin) -> ConfigError {
        match self {
            Self::UnknownKey(key) => ConfigError::UnknownKey {
                origin,
                suggestion: suggest::closest(&key, Parts::KEYS),
                key,
                known: Parts::KEYS.map(str::to_owned).to_vec(),
            },
            Self::Other(message) => ConfigError::File { origin, message },
        }
    }
}

fn read(value: Value) -> Result<Target, Mistake> {
    let table = match value {
        Value::String(text) => {
            return text
                .parse()
                .map_err(|error: super::super::ValueError| Mistake::Other(error.to_string()));
        }
        Value::Table(table) => table,
        other @ (Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)) => {
            return Err(Mistake::Other(format!(
                "a probe target is a string or a table, not {}",
                kind(&other)
            )));
        }
    };
    read_table(table)
}

fn read_table(table: Table) -> Result<Target, Mistake> {
    let mut parts = Parts::default();
    let mut has_url = false;
    for (key, value) in table {
        if !Parts::KEYS.contains(&key.as_str()) {
            return Err(Mistake::UnknownKey(key));
        }
        let text = text(&key, value).map_err(Mistake::Other)?;
        if key == "url" {
            parts.url = text;
            has_url = true;
        } else if let Some(slot) = parts.slot(&key) {
            *slot = Some(text);
        }
    }
    if !has_url {
        return Err(Mistake::Other(
            "the key \"url\" is missing in this table".into(),
        ));
    }
    let given = parts.url.clone();
    parts
        .read(&given)
        .map_err(|error| Mistake::Other(error.to_string()))
}

/// A value as the text that would stand behind a URL.
fn text(key: &str, value: Value) -> Result<String, String> {
    match (key, value) {
        (_, Value::String(text)) if key != "verify" => Ok(text),
        ("verify", Value::Boolean(verify)) => Ok(verify.to_string()),
        ("verify", _) => Err("verify is either true or false".into()),
        ("status", Value::Integer(status)) => Ok(status.to_string()),
        (_, other) => Err(format!("{key} cannot be {}", kind(&other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

impl<'de> Deserialize<'de> for TextOrTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetsVisitor)
    }
}

struct TargetsVisitor;

impl<'de> de::Visitor<'de> for TargetsVisitor {
    type Value = Targets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a probe target or a list of such: strings, or tables with a url")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Targets, E> {
        Ok(one(Value::String(text.into())))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Targets, A::Error> {
        let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(one(Value::Table(table)))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Targets, A::Error> {
        let mut targets = Vec::new();
        while let Some(target) = seq.next_element()? {
            targets.push(target);
        }
        Ok(Targets(targets))
    }
}

fn one(value: Value) -> Targets {
    Targets(vec![Spanned::new(0..0, TextOrTable(value))])
}
