//! Which flows are wanted.

use std::net::Ipv4Addr;

use thiserror::Error;

use super::record::Flow;
use crate::exit::{Classify, ExitClass};

/// No uplink has the name that was given.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no uplink is named {name}")]
pub struct UnknownUplink {
    name: String,
    known: Vec<String>,
}

impl UnknownUplink {
    /// The id of the uplink of this name; `names` has the uplinks' names by id.
    ///
    /// # Errors
    /// When no uplink has the name.
    pub fn find(name: &str, names: &[Option<String>]) -> Result<u8, Self> {
        let place = names
            .iter()
            .position(|known| known.as_deref() == Some(name));
        place.map(|id| id as u8).ok_or_else(|| Self {
            name: name.to_owned(),
            known: names.iter().flatten().cloned().collect(),
        })
    }
}

impl Classify for UnknownUplink {
    fn exit_class(&self) -> ExitClass {
        ExitClass::Input
    }

    fn help(&self) -> Option<String> {
        Some(if self.known.is_empty() {
            "there are no uplinks".into()
        } else {
            format!("the uplinks are {}", self.known.join(", "))
        })
    }
}

/// Which flows are wanted; all, unless something is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    uplink: Option<u8>,
    host: Option<Ipv4Addr>,
}

impl Filter {
    /// Flows of the uplink of this name, if one is given, with this inside or remote address, if one
    /// is given; `names` has the uplinks' names by id.
    ///
    /// # Errors
    /// When no uplink has the name.
    pub fn new(
        uplink: Option<&str>,
        host: Option<Ipv4Addr>,
        names: &[Option<String>],
    ) -> Result<Self, UnknownUplink> {
        let id = |name| UnknownUplink::find(name, names);
        Ok(Self {
            uplink: uplink.map(id).transpose()?,
            host,
        })
    }

    /// Whether this flow is wanted.
    pub fn wants(&self, flow: &Flow) -> bool {
        self.uplink.is_none_or(|id| flow.uplink == id)
            && self
                .host
                .is_none_or(|host| flow.inside.address == host || flow.remote.address == host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[test]
    fn an_unknown_uplink_is_told_with_those_there_are() {
        let names = [Some("fibre".to_owned()), None, Some("cable".to_owned())];
        let cable = Filter::new(Some("cable"), None, &names).expect("there is one");
        assert_eq!(cable.uplink, Some(2));
        let error = Filter::new(Some("fiber"), None, &names).expect_err("there is none");
        assert_eq!(error.exit_class(), ExitClass::Input);
        assert_eq!(
            exit::message(&error),
            "error: no uplink is named fiber\n  help: the uplinks are fibre, cable"
        );
        let error = Filter::new(Some("x"), None, &[None]).expect_err("there is none");
        assert_eq!(error.help(), Some("there are no uplinks".to_owned()));
    }
}
