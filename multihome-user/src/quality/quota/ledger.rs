//! The accounts of all uplinks with a quota, and what is kept of them for the next controller: no I/O and no
//! clock of its own.

use std::collections::BTreeMap;

use jiff::Zoned;

use super::{
    account::{Account, Change},
    file::{Document, MAX_ENTRIES, Row, VERSION},
};
use crate::{config::QuotaConfig, quality::meter::Carried};

/// An uplink with a quota.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Its id, and the place of its counters.
    pub id: u8,
    /// Its name, by which its account is kept.
    pub name: String,
    /// What it may carry.
    pub quota: QuotaConfig,
}

/// All accounts.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Which counters are read: others say nothing about what was carried since these were read.
    counters: String,
    accounts: BTreeMap<u8, (String, Account)>,
    /// What is kept of uplinks that have no quota now.
    others: BTreeMap<String, Row>,
}

impl Ledger {
    /// Goes on with what was kept. `counters` names the counters that are read; `fresh` tells that they
    /// were made for this start, and nothing is counted in them.
    pub fn open(
        owners: Vec<Owner>,
        kept: Document,
        counters: String,
        fresh: bool,
        now: &Zoned,
    ) -> Self {
        let mut others = kept.uplinks;
        let same = kept.counters == counters;
        let accounts = owners.into_iter().map(|Owner { id, name, quota }| {
            let mut account = match others.remove(&name) {
                Some(row) => Account::resume(quota, row.account, same && row.slot == id, now),
                None => Account::new(quota, now),
            };
            if fresh {
                account.from_zero();
            }
            (id, (name, account))
        });
        Self {
            counters,
            accounts: accounts.collect(),
            others,
        }
    }

    /// Whether there is an account at all.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The account of an uplink.
    pub fn account(&self, id: u8) -> Option<&Account> {
        self.accounts.get(&id).map(|(_, account)| account)
    }

    /// The uplinks whose quota is used up; bit n = uplink n.
    pub fn spent(&self) -> u64 {
        self.accounts
            .iter()
            .filter(|(_, (_, account))| account.is_spent())
            .fold(0, |word, (id, _)| word | 1 << id)
    }

    /// Takes a reading of an uplink's counters.
    pub fn read(&mut self, id: u8, carried: Carried, now: &Zoned) -> Option<Change> {
        let (_, account) = self.accounts.get_mut(&id)?;
        account.read(carried.total(), now)
    }

    /// What is to be kept.
    pub fn document(&self) -> Document {
        let mut uplinks: BTreeMap<String, Row> = self
            .accounts
            .iter()
            .map(|(id, (name, account))| {
                let row = Row {
                    slot: *id,
                    account: account.kept(),
                };
                (name.clone(), row)
            })
            .collect();
        for (name, row) in &self.others {
            if uplinks.len() < MAX_ENTRIES {
                uplinks.entry(name.clone()).or_insert(*row);
            }
        }
        Document {
            version: VERSION,
            counters: self.counters.clone(),
            uplinks,
        }
    }
}
