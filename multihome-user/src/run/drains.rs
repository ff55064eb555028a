//! Drains while the controller runs: which uplinks are drained until when, and keeping that for the next
//! controller.

use std::collections::BTreeMap;

use jiff::Timestamp;
use multihome_common::state::IPV4;
use thiserror::Error;

use super::report::Names;
use crate::{
    config::suggest,
    controller::Controller,
    drain::{
        Drain,
        file::{self, DrainFileError, Drains as ByName},
    },
    run_dir::RunDir,
};

/// No uplink has this name.
#[derive(Debug, Error)]
#[error("there is no uplink {name:?}{}; the uplinks are {known}", suggest::hint(.suggestion.as_deref()))]
pub struct UnknownUplink {
    name: String,
    known: String,
    suggestion: Option<String>,
}

/// The drains of all uplinks.
#[derive(Debug, Default)]
pub struct Drains {
    by_name: ByName,
}

impl Drains {
    /// Those that were begun before this controller, of uplinks that it knows, and are not over.
    pub fn read(run_dir: &RunDir, names: &Names, now: Timestamp) -> Self {
        let mut by_name = file::read(run_dir.path()).unwrap_or_else(|error| {
            // An uplink that is worked on goes down, and its flows then move.
            tracing::warn!("which uplinks were being drained is not known any more: {error}");
            ByName::new()
        });
        by_name.retain(|name, drain| {
            if !names.uplinks.iter().any(|(_, known)| known == name) {
                tracing::warn!("{name} was to be drained, and no uplink has this name; forgotten");
                return false;
            }
            if drain.is_over(now) {
                tracing::info!(
                    "uplink {name} was drained {drain}; that ended while no controller ran"
                );
                return false;
            }
            true
        });
        Self { by_name }
    }

    /// What the controller is told of them at the start, by the uplink's id.
    pub fn told(&self, names: &Names) -> BTreeMap<u8, String> {
        let told = names.uplinks.iter().filter_map(|(id, name)| {
            let drain = self.by_name.get(name)?;
            Some((*id, format!("{drain}, since {:.0}", drain.since)))
        });
        told.collect()
    }

    /// The drain of an uplink.
    pub fn of(&self, uplink: &str) -> Option<Drain> {
        self.by_name.get(uplink).copied()
    }

    /// Begins the drain of an uplink, or changes its end; what was before.
    pub fn begin(
        &mut self,
        uplink: &str,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Drain> {
        let before = self.of(uplink);
        let since = before.map_or(now, |before| before.since);
        self.by_name
            .insert(uplink.to_owned(), Drain { since, until })
    }

    /// Ends the drain of an uplink; what was before.
    pub fn end(&mut self, uplink: &str) -> Option<Drain> {
        self.by_name.remove(uplink)
    }

    /// The uplinks whose drain is over.
    pub fn over(&self, now: Timestamp) -> Vec<String> {
        let over = self.by_name.iter().filter(|(_, drain)| drain.is_over(now));
        over.map(|(name, _)| name.clone()).collect()
    }

    /// Keeps all for the next controller.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, run_dir: &RunDir) -> Result<(), DrainFileError> {
        file::write(run_dir, &self.by_name)
    }
}

/// The id of an uplink.
///
/// # Errors
/// When there is none of this name.
pub fn find(names: &Names, uplink: &str) -> Result<u8, UnknownUplink> {
    let found = names.uplinks.iter().find(|(_, name)| name == uplink);
    found.map(|(id, _)| *id).ok_or_else(|| {
        let known: Vec<&str> = names
            .uplinks
            .iter()
            .map(|(_, name)| name.as_str())
            .collect();
        UnknownUplink {
            name: uplink.to_owned(),
            suggestion: suggest::closest(uplink, known.iter().copied()),
            known: known.join(", "),
        }
    })
}

/// What may surprise about the drain of an uplink: where it goes on taking new flows.
pub fn remark(controller: &Controller, id: u8) -> Option<String> {
    let places = controller.takes_new_flows(id);
    if places.is_empty() {
        return None;
    }
    let places: Vec<String> = places
        .iter()
        .map(|(group, family)| {
            let family = if *family == IPV4 { "IPv4" } else { "IPv6" };
            format!("{family} of group {group}")
        })
        .collect();
    Some(format!(
        "no better uplink is up for {}, so it goes on to take new flows there until one is",
        places.join(" and ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            uplinks: vec![(0, "fibre".into()), (3, "lte".into())],
            lan: Vec::new(),
            rules: Vec::new(),
        }
    }

    fn moment(text: &str) -> Timestamp {
        text.parse().expect("it is RFC 3339")
    }

    #[test]
    fn drains_of_known_uplinks_go_on_over_a_restart_until_their_time_is_up() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run_dir = RunDir::take(&folder.path().join("run")).expect("nobody has it");
        let (begin, end) = (
            moment("2026-01-02T03:00:00Z"),
            moment("2026-01-02T03:30:00Z"),
        );
        let mut drains = Drains::default();
        assert_eq!(drains.begin("fibre", Some(end), begin), None);
        assert_eq!(drains.begin("gone", None, begin), None);
        drains.keep(&run_dir).expect("it is written");
        let meanwhile = moment("2026-01-02T03:29:59Z");
        let mut read = Drains::read(&run_dir, &names(), meanwhile);
        assert_eq!(
            read.told(&names()),
            [(
                0,
                "until 2026-01-02T03:30:00Z, since 2026-01-02T03:00:00Z".to_owned()
            )]
            .into()
        );
        assert_eq!(read.over(meanwhile), Vec::<String>::new());
        assert_eq!(read.over(end), ["fibre"]);
        let before = read
            .begin("fibre", None, meanwhile)
            .expect("it was drained");
        assert_eq!(before.until, Some(end));
        assert_eq!(read.of("fibre").map(|drain| drain.since), Some(begin));
        assert_eq!(read.over(end), Vec::<String>::new());
        assert!(read.end("fibre").is_some() && read.end("fibre").is_none());
        let late = Drains::read(&run_dir, &names(), end);
        assert_eq!(late.told(&names()), BTreeMap::new());
    }

    #[test]
    fn an_uplink_that_is_not_there_is_told_with_those_that_are() {
        assert_eq!(find(&names(), "lte").ok(), Some(3));
        let error = find(&names(), "fiber").expect_err("there is none");
        assert_eq!(
            error.to_string(),
            "there is no uplink \"fiber\" (did you mean \"fibre\"?); the uplinks are fibre, lte"
        );
    }
}
