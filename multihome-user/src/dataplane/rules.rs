//! The rulebook, which is replaced as a whole, and what each rule has matched.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd as _},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use aya::maps::{Map, MapData, RingBuf};
use multihome_common::{
    abi,
    limits::MAX_DOMAIN_CLASSES,
    rules::{DomainKey, RuleCounts, RuleSet, Rulebook},
    state::RULES_OBSERVE_DNS,
};

use super::{
    Dataplane, DataplaneError,
    grace::Copied,
    load::{refused, take},
    shared::SharedArray,
    tables::or_absent,
};

impl Dataplane {
    /// Replaces all rules as one; `None` = there are none.
    ///
    /// A packet is judged by the copy that was in force when it was first asked for, and by no other.
    ///
    /// # Errors
    /// When the map cannot be written: the rules from before stay in force.
    pub fn set_rules(&mut self, book: Option<&Rulebook>) -> Result<(), DataplaneError> {
        let in_force = self.state.rules().load(Relaxed) & COPY;
        let word = match book {
            None => 0,
            Some(book) => {
                let spare = u32::from(in_force == 1);
                self.grace.end(Copied::Rules);
                self.rules
                    .set(spare, book, 0)
                    .map_err(refused(abi::RULES))?;
                let observe = if book.asks_domains != 0 {
                    RULES_OBSERVE_DNS
                } else {
                    0
                };
                (u64::from(spare) + 1) | self.domain_side << SIDE | observe
            }
        };
        self.change(self.state.rules(), word);
        self.grace.begin(Copied::Rules);
        Ok(())
    }

    /// The side of the tables of domains that this controller fills: not the one that rules of an earlier one
    /// may still ask.
    pub(super) fn free_side(rules: u64) -> u64 {
        !rules >> SIDE & 1
    }

    /// Says which rules packets to addresses of a class of domains may match. No address may be of that class
    /// yet, and class 0 is that of all others.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_domain_class(&mut self, class: u32, rules: &RuleSet) -> Result<(), DataplaneError> {
        let index = self.domain_side as u32 * MAX_DOMAIN_CLASSES as u32 + class;
        self.domain_sets
            .set(index, rules, 0)
            .map_err(refused(abi::DOMAIN_SETS))
    }

    /// Says which class of domains an address belongs to; `None` is that of none.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_domain(
        &mut self,
        address: IpAddr,
        class: Option<u32>,
    ) -> Result<(), DataplaneError> {
        let [high, low] = key(address);
        let key = [high, low, self.domain_side];
        let result = match class {
            Some(class) => self.domains.insert(key, u64::from(class), 0),
            None => self.domains.remove(&key),
        };
        or_absent(result, class.is_none()).map_err(refused(abi::DOMAINS))
    }

    /// Forgets what another controller has told of domains on the side that this one fills, and not put in force:
    /// before this one tells any.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn clear_domains(&mut self) -> Result<(), DataplaneError> {
        self.forget_side(self.domain_side)
    }

    /// Forgets what an earlier controller has told of domains, when the rules of this one are in force.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn forget_domains(&mut self) -> Result<(), DataplaneError> {
        self.grace.end(Copied::Rules);
        self.forget_side(1 - self.domain_side)
    }

    fn forget_side(&mut self, side: u64) -> Result<(), DataplaneError> {
        let keys: Result<Vec<[u64; 3]>, _> = self.domains.keys().collect();
        let keys = keys.map_err(refused(abi::DOMAINS))?;
        for key in keys.iter().filter(|key| key[2] == side) {
            or_absent(self.domains.remove(key), true).map_err(refused(abi::DOMAINS))?;
        }
        Ok(())
    }

    /// The ring of messages of DNS; may be called once.
    ///
    /// # Errors
    /// When the object has none, or the kernel refuses.
    pub fn samples(&mut self) -> Result<RingBuf<MapData>, DataplaneError> {
        take(self.ebpf_mut(), abi::SAMPLES)?
            .try_into()
            .map_err(refused(abi::SAMPLES))
    }
}

/// In the word of rules: which copy.
const COPY: u64 = 3;
/// Where the side of the tables of domains stands in it.
const SIDE: u64 = 2;

/// See [`DomainKey`].
fn key(address: IpAddr) -> DomainKey {
    let bits = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

/// A copy of the rulebook, which is too large for a stack.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn read(rules: &MapData, copy: u32) -> io::Result<Box<Rulebook>> {
    /// `BPF_MAP_LOOKUP_ELEM` of enum bpf_cmd (linux/bpf.h).
    const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
    /// The part of `union bpf_attr` (linux/bpf.h) that the command takes.
    #[repr(C)]
    struct Lookup {
        map_fd: u32,
        _padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let size = rules.info().map_err(io::Error::other)?.value_size();
    if size as usize != size_of::<Rulebook>() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut book = Rulebook::empty();
    let attr = Lookup {
        map_fd: rules.fd().as_fd().as_raw_fd() as u32,
        _padding: 0,
        key: &raw const copy as u64,
        value: &raw mut *book as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads the attribute and the key, and writes one value of the map, whose size is that of
    // the book; all outlive the call, and a book is numbers alone, of which any will do.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_ELEM,
            &raw const attr,
            size_of::<Lookup>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(book)
    }
}

/// Reads what each rule has matched.
#[derive(Clone, Debug)]
pub struct RuleReader(Arc<SharedArray<RuleCounts>>);

impl RuleReader {
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn map(counts: &Map) -> Result<Self, DataplaneError> {
        Ok(Self(Arc::new(SharedArray::map(counts, abi::RULE_COUNTS)?)))
    }

    /// How many packets the rule of this number has matched on the full way, since the counts began;
    /// [`RuleCounts::NO_RULE`] for those that none has.
    pub fn matched(&self, rule: u32) -> u64 {
        self.cpus().map(|counts| counts.place(rule).load()).sum()
    }

    /// Begins all counts anew: what they meant is no more.
    pub fn clear(&self) {
        for counts in self.cpus() {
            for rule in 0..=RuleCounts::NO_RULE {
                counts.place(rule).store(0);
            }
        }
    }

    fn cpus(&self) -> impl Iterator<Item = &RuleCounts> {
        (0..self.0.len() as u32).filter_map(|cpu| self.0.get(cpu))
    }
}
