//! A rule as it stands in a file.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::{
    super::{
        error::ConfigError,
        layer::{List, RuleLayer},
        origin::Source,
        value::{GroupName, RuleName, ValueError},
    },
    list::{OneOrMany, Table, locate, locate_all},
};

/// A table `[[rule]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    name: Option<Spanned<RuleName>>,
    source: Option<Spanned<OneOrMany>>,
    destination: Option<Spanned<OneOrMany>>,
    protocol: Option<Spanned<Values>>,
    source_port: Option<Spanned<Values>>,
    port: Option<Spanned<Values>>,
    dscp: Option<Spanned<Values>>,
    lan: Option<Spanned<OneOrMany>>,
    vlan: Option<Spanned<Values>>,
    domain: Option<Spanned<OneOrMany>>,
    group: Option<Spanned<GroupName>>,
    drop: Option<Spanned<bool>>,
}

impl Table for Spanned<FileRule> {
    const NAME: &'static str = "rule";
}

/// The rule as a layer has it.
pub fn locate_rule(source: &Source<'_>, rule: Spanned<FileRule>) -> Result<RuleLayer, ConfigError> {
    let origin = source.origin(rule.span());
    let rule = rule.into_inner();
    Ok(RuleLayer {
        origin,
        name: rule.name.map(|name| locate(source, name)),
        source: list(source, rule.source)?,
        destination: list(source, rule.destination)?,
        protocol: values(source, rule.protocol)?,
        source_port: values(source, rule.source_port)?,
        port: values(source, rule.port)?,
        dscp: values(source, rule.dscp)?,
        lan: list(source, rule.lan)?,
        vlan: values(source, rule.vlan)?,
        domain: list(source, rule.domain)?,
        group: rule.group.map(|group| locate(source, group)),
        drop: rule.drop.map(|drop| locate(source, drop)),
    })
}

fn list<T: FromStr<Err = ValueError>>(
    source: &Source<'_>,
    list: Option<Spanned<OneOrMany>>,
) -> Result<List<T>, ConfigError> {
    let is_given = list.is_some();
    let list = locate_all(source, list)?;
    Ok(is_given.then_some(list))
}

fn values<T: FromStr<Err = ValueError>>(
    source: &Source<'_>,
    values: Option<Spanned<Values>>,
) -> Result<List<T>, ConfigError> {
    let texts = values.map(|values| {
        let span = values.span();
        Spanned::new(span, values.into_inner().0)
    });
    list(source, texts)
}

/// One value or a list of such, each a text or a number.
struct Values(OneOrMany);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor)
    }
}

struct ValuesVisitor;

impl<'de> de::Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a string, or a list of such")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Values, E> {
        Ok(Values(OneOrMany::One(number.to_string())))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Values, E> {
        Ok(Values(OneOrMany::One(text.into())))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Values, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element::<Spanned<Value>>()? {
            let span = value.span();
            values.push(Spanned::new(span, value.into_inner().0));
        }
        Ok(Values(OneOrMany::Many(values)))
    }
}

/// One of them.
struct Value(String);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl de::Visitor<'_> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a string")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value(number.to_string()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value(text.into()))
    }
}
