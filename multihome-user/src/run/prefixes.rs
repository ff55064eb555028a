//! Delegated prefixes while the controller runs: of which uplinks they may be told, which are in
//! force, and keeping them for the next controller.

use std::collections::BTreeMap;

use multihome_common::{nptv6, state::IPV6};
use thiserror::Error;

use crate::{
    config::{Config, Ipv6Prefix, Origin, UplinkPrefix},
    control::protocol::PrefixInForce,
    controller::{Controller, Treatment, translation},
    delegation::{
        Delegation,
        file::{self, PrefixFileError, Prefixes},
    },
    run_dir::RunDir,
};

/// Why a prefix cannot be told, or not be shown.
#[derive(Debug, Error)]
pub enum PrefixRefusal {
    /// No uplink has this name.
    #[error("there is no uplink {name:?}; the uplinks are {known}")]
    UnknownUplink {
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// The configuration says which prefix it is.
    #[error(
        "the prefix of uplink {name} is fixed ({origin}); write prefix = \"delegated\" there to have it \
         told"
    )]
    Fixed {
        /// The uplink.
        name: String,
        /// Where its prefix stands.
        origin: Origin,
    },
    /// The uplink leaves IPv6 addresses as they are.
    #[error(
        "uplink {0} does not translate IPv6 prefixes; give it prefix = \"delegated\", and not the mode \
         routed"
    )]
    NotTranslated(String),
    /// No address of one prefix can become one of the other.
    #[error("{inside} cannot become {outside}: {reason}")]
    Untranslatable {
        /// The LAN's prefix.
        inside: Ipv6Prefix,
        /// The prefix that was told.
        outside: Ipv6Prefix,
        /// What speaks against it.
        reason: nptv6::Error,
    },
    /// An address would be one of two prefixes.
    #[error("{outside} overlaps {other}")]
    Overlaps {
        /// The prefix that was told.
        outside: Ipv6Prefix,
        /// The other one, in words.
        other: String,
    },
}

/// Where the prefix of an uplink comes from.
#[derive(Debug)]
enum Source {
    /// It is told.
    Told,
    /// It stands there.
    Fixed(Origin),
    /// It has none that is in use.
    Nowhere,
}

/// The prefixes of all uplinks.
pub struct DelegatedPrefixes {
    inside: Option<Ipv6Prefix>,
    sources: BTreeMap<String, Source>,
    fixed: Prefixes,
    told: Prefixes,
}

impl DelegatedPrefixes {
    /// Those that were told before this controller began.
    pub fn read(run_dir: &RunDir, config: &Config) -> Self {
        let sources: BTreeMap<String, Source> = config
            .uplinks
            .iter()
            .map(|uplink| {
                let source = match uplink.prefix {
                    None => Source::Nowhere,
                    Some(UplinkPrefix::Delegated) => Source::Told,
                    Some(UplinkPrefix::Fixed(_)) => {
                        let origin = config.origins.prefixes.get(&uplink.name);
                        Source::Fixed(origin.cloned().unwrap_or(Origin::Default))
                    }
                };
                (uplink.name.clone(), source)
            })
            .collect();
        let mut told = file::read(run_dir.path()).unwrap_or_else(|error| {
            // The provider is asked again some time, and traffic has other uplinks until then.
            tracing::warn!("prefixes that were told before are not known any more: {error}");
            Prefixes::new()
        });
        told.retain(|name, prefix| {
            let wanted = matches!(sources.get(name), Some(Source::Told));
            if !wanted {
                tracing::warn!(
                    "the prefix {prefix} was told of an uplink {name}, and none of this name takes \
                     one; forgotten"
                );
            }
            wanted
        });
        let fixed = config.uplinks.iter().filter_map(|uplink| {
            let Some(UplinkPrefix::Fixed(prefix)) = uplink.prefix else {
                return None;
            };
            Some((uplink.name.clone(), prefix))
        });
        Self {
            inside: config.inside_prefix,
            fixed: fixed.collect(),
            sources,
            told,
        }
    }

    /// Those that were told, by the uplink's name.
    pub fn told(&self) -> &Prefixes {
        &self.told
    }

    /// Whether this may be told of this uplink.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, uplink: &str, delegation: Delegation) -> Result<(), PrefixRefusal> {
        match self.source(uplink)? {
            Source::Told => {}
            Source::Fixed(origin) => {
                return Err(PrefixRefusal::Fixed {
                    name: uplink.into(),
                    origin: origin.clone(),
                });
            }
            Source::Nowhere => return Err(PrefixRefusal::NotTranslated(uplink.into())),
        }
        if let (Some(inside), Some(outside)) = (self.inside, delegation.prefix()) {
            translation(inside, outside).map_err(|reason| PrefixRefusal::Untranslatable {
                inside,
                outside,
                reason,
            })?;
        }
        match delegation.prefix() {
            Some(outside) => self.check_apart(uplink, outside),
            None => Ok(()),
        }
    }

    /// Checks that no other prefix has addresses of this one.
    fn check_apart(&self, uplink: &str, outside: Ipv6Prefix) -> Result<(), PrefixRefusal> {
        let inside = self
            .inside
            .map(|inside| (inside, format!("the LAN's prefix {inside}")));
        let others = self.fixed.iter().chain(&self.told);
        let others = others
            .filter(|(name, _)| *name != uplink)
            .map(|(name, prefix)| (*prefix, format!("{prefix} of uplink {name}")));
        match inside
            .into_iter()
            .chain(others)
            .find(|(other, _)| other.overlaps(outside))
        {
            Some((_, other)) => Err(PrefixRefusal::Overlaps { outside, other }),
            None => Ok(()),
        }
    }

    /// Takes what was told of an uplink; whether it is something new.
    pub fn take(&mut self, uplink: &str, delegation: Delegation) -> bool {
        let before = match delegation {
            Delegation::Prefix(prefix) => self.told.insert(uplink.into(), prefix),
            Delegation::Withdrawn => self.told.remove(uplink),
        };
        before != delegation.prefix()
    }

    /// Keeps all for the next controller.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, run_dir: &RunDir) -> Result<(), PrefixFileError> {
        file::write(run_dir, &self.told)
    }

    /// The prefixes in force: of all uplinks that have one, or of the one that is named.
    ///
    /// # Errors
    /// When there is no uplink of this name, or it translates to no prefix.
    pub fn in_force(
        &self,
        uplink: Option<&str>,
        controller: &Controller,
    ) -> Result<Vec<PrefixInForce>, PrefixRefusal> {
        if let Some(name) = uplink
            && matches!(self.source(name)?, Source::Nowhere)
        {
            return Err(PrefixRefusal::NotTranslated(name.into()));
        }
        let rows = controller.uplinks().iter().filter_map(|of| {
            let name = &of.config.name;
            let asked = uplink.is_none_or(|uplink| uplink == name);
            let delegated = match self.sources.get(name)? {
                Source::Told => true,
                Source::Fixed(_) => false,
                Source::Nowhere => return None,
            };
            let treatment = &of.treatments[IPV6];
            asked.then(|| PrefixInForce {
                uplink: name.clone(),
                prefix: treatment
                    .prefix()
                    .or(of.own_prefix())
                    .map(|prefix| prefix.to_string()),
                delegated,
                remark: remark(treatment),
            })
        });
        Ok(rows.collect())
    }

    fn source(&self, uplink: &str) -> Result<&Source, PrefixRefusal> {
        self.sources.get(uplink).ok_or_else(|| {
            let known: Vec<&str> = self.sources.keys().map(String::as_str).collect();
            PrefixRefusal::UnknownUplink {
                name: uplink.into(),
                known: known.join(", "),
            }
        })
    }
}

/// What may surprise about two prefixes of different lengths.
fn remark(treatment: &Treatment) -> Option<String> {
    let Treatment::Nptv6(inside, Some(outside)) = treatment else {
        return None;
    };
    (outside.length() > inside.length()).then(|| {
        format!(
            "of {inside} only {}/{} has room in it; LAN hosts beyond that cannot use it",
            inside.network(),
            outside.length()
        )
    })
}
