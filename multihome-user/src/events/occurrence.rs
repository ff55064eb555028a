//! What the controller says happened: no names, no clock time, so that a test can compare it.

use std::time::Instant;

use super::Kind;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// What.
    pub kind: Kind,
    /// To which uplink, by its id.
    pub uplink: Option<u8>,
    /// In which family, by its index.
    pub family: Option<usize>,
    /// In which group, by its name.
    pub group: Option<String>,
    /// Why, for people.
    pub cause: String,
    /// When the first sign of it was there, such as when the first of the lost probes was sent.
    pub sign: Option<Instant>,
}

impl Occurrence {
    /// Something that happened to the gateway as a whole.
    pub fn new(kind: Kind, cause: impl Into<String>) -> Self {
        Self {
            kind,
            uplink: None,
            family: None,
            group: None,
            cause: cause.into(),
            sign: None,
        }
    }

    /// It happened to this uplink.
    #[must_use]
    pub fn uplink(mut self, id: u8) -> Self {
        self.uplink = Some(id);
        self
    }

    /// It happened in this family only.
    #[must_use]
    pub fn family(mut self, family: usize) -> Self {
        self.family = Some(family);
        self
    }

    /// It happened in this group only.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = Some(name.into());
        self
    }

    /// The first sign of it was there at this time, if that is known.
    #[must_use]
    pub fn sign(mut self, at: impl Into<Option<Instant>>) -> Self {
        self.sign = at.into();
        self
    }
}
