//! Members of a group in a file: a name, a table with a name, or a list of both.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use toml::{Spanned, Table, Value};

use super::{
    super::{
        error::ConfigError,
        layer::MemberLayer,
        origin::{Located, Source},
        value::{Tier, UplinkName, ValueError, Weight},
    },
    explain_at,
};

/// What stands behind `members =`. What it means is read later, so that an error has its element's place.
pub struct Members(Vec<Spanned<Value>>);

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "the name of an uplink, or a table such as { uplink = \"lte\", weight = 2, tier = 2 }"
)]
struct FileMember {
    uplink: UplinkName,
    weight: Option<Weight>,
    tier: Option<Tier>,
}

/// Reads all members.
pub fn locate_members(
    source: &Source<'_>,
    members: Spanned<Members>,
) -> Result<Vec<Located<MemberLayer>>, ConfigError> {
    let whole = members.span();
    let read = |member: Spanned<Value>| {
        // A single one has no place of its own.
        let span = Some(member.span()).filter(|span| !span.is_empty());
        let origin = source.origin(span.unwrap_or_else(|| whole.clone()));
        let value = member.into_inner();
        let value = if let Value::String(name) = &value {
            MemberLayer {
                uplink: name
                    .parse()
                    .map_err(|error: ValueError| ConfigError::File {
                        origin: origin.clone(),
                        message: error.to_string(),
                    })?,
                weight: None,
                tier: None,
            }
        } else {
            let FileMember {
                uplink,
                weight,
                tier,
            } = FileMember::deserialize(value)
                .map_err(|error| explain_at(origin.clone(), None, error.message()))?;
            MemberLayer {
                uplink,
                weight,
                tier,
            }
        };
        Ok(Located { value, origin })
    };
    members.into_inner().0.into_iter().map(read).collect()
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> de::Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an uplink or a list of members: names, or tables with an uplink")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Members, E> {
        Ok(one(Value::String(text.into())))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Members, A::Error> {
        let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(one(Value::Table(table)))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = seq.next_element()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

fn one(value: Value) -> Members {
    Members(vec![Spanned::new(0..0, value)])
}
