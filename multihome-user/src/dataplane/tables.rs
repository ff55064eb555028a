//! Writing the tables: single entries where an entry may change alone, and the copy not in force
//! where it must change as a whole.

use std::{
    net::IpAddr,
    sync::atomic::Ordering::{Relaxed, SeqCst},
};

use aya::maps::MapError;
use multihome_common::{
    abi::{self, MemberTiers},
    address::{Address4, Address6, AddressTable},
    framing::Framing,
    limits::{BUCKETS, MAX_GROUPS, MAX_UPLINKS, PORT_TABLE_SIZE},
    port::{self, PortEntry},
    rank::RankRow,
    state::{IPV4, IPV6},
    uplink::{HostEntry, UplinkEntry},
};

use super::{Dataplane, DataplaneError, grace::Copied, load::refused};

impl Dataplane {
    /// The flow hash's seed; zeroes when none was set yet.
    pub fn seed(&self) -> [u64; 2] {
        self.state.seed()
    }

    /// Sets the flow hash's seed. Done under traffic, all flows are assigned anew.
    pub fn set_seed(&self, seed: [u64; 2]) {
        self.state.set_seed(seed);
    }

    /// A group's eligible word for a family.
    pub fn eligible(&self, group: usize, family: usize) -> u64 {
        self.state.eligible(group, family).load(Relaxed)
    }

    /// A group's last-known-good word for a family.
    pub fn last_good(&self, group: usize, family: usize) -> u64 {
        self.state.last_good(group, family).load(Relaxed)
    }

    /// Stores a group's eligible word for a family: this is what moves flows.
    pub fn set_eligible(&self, group: usize, family: usize, word: u64) {
        self.state.eligible(group, family).store(word, SeqCst);
    }

    /// Stores which uplinks serve a group when none is eligible.
    pub fn set_last_good(&self, group: usize, family: usize, word: u64) {
        self.state.last_good(group, family).store(word, SeqCst);
    }

    /// The alive word of a family.
    pub fn alive(&self, family: usize) -> u64 {
        self.state.alive(family).load(Relaxed)
    }

    /// Stores which uplinks can carry packets of a family at all.
    pub fn set_alive(&self, family: usize, word: u64) {
        self.state.alive(family).store(word, SeqCst);
    }

    /// Notes that the controller looked after the maps at this time of CLOCK_MONOTONIC.
    pub fn set_heartbeat(&self, nanoseconds: u64) {
        self.state.heartbeat().store(nanoseconds, Relaxed);
    }

    /// Replaces all rank rows of a group as one.
    ///
    /// # Panics
    /// When there are not exactly [`BUCKETS`] rows, or no such group.
    pub fn set_rows(&mut self, group: usize, rows: &[RankRow]) {
        assert!(
            rows.len() == BUCKETS && group < MAX_GROUPS,
            "one row for each bucket of a group"
        );
        let first = (group * BUCKETS) as u64;
        let other = first + (MAX_GROUPS * BUCKETS) as u64;
        let in_force = self.state.rows(group).load(Relaxed);
        let spare = if in_force == first { other } else { first };
        self.grace.end(Copied::Rows(group));
        for (place, row) in (spare as u32..).zip(rows) {
            let word = self.rows.get(place);
            word.expect("the kernel maps memory that it has")
                .store(row.0);
        }
        self.rows.give_back();
        self.change(self.state.rows(group), spare);
        self.grace.begin(Copied::Rows(group));
    }

    /// Replaces an uplink's entry as one.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_uplink(&mut self, id: u8, entry: UplinkEntry) -> Result<(), DataplaneError> {
        let bit = 1u64 << id;
        let spare = u32::from(self.state.uplink_copies().load(Relaxed) & bit == 0);
        self.grace.end(Copied::Uplink(id));
        self.uplinks
            .set(u32::from(id) * 2 + spare, entry, 0)
            .map_err(refused(abi::UPLINKS))?;
        let copies = self.state.uplink_copies();
        self.change(copies, copies.load(Relaxed) ^ bit);
        self.grace.begin(Copied::Uplink(id));
        Ok(())
    }

    /// The entry of an uplink that is in force; zeroes when none was ever written.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn uplink(&self, id: u8) -> Result<UplinkEntry, DataplaneError> {
        let copy = self.state.uplink_copies().load(Relaxed) >> id & 1;
        self.uplinks
            .get(&(u32::from(id) * 2 + copy as u32), 0)
            .map_err(refused(abi::UPLINKS))
    }

    /// Replaces the IPv4 address classes as one.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_addresses4(&mut self, table: &AddressTable<Address4>) -> Result<(), DataplaneError> {
        let spare = self.spare_addresses(IPV4);
        self.addresses4
            .set(spare, table, 0)
            .map_err(refused(abi::ADDRESSES4))?;
        self.flip_addresses(IPV4);
        Ok(())
    }

    /// Replaces the IPv6 address classes as one.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_addresses6(&mut self, table: &AddressTable<Address6>) -> Result<(), DataplaneError> {
        let spare = self.spare_addresses(IPV6);
        self.addresses6
            .set(spare, table, 0)
            .map_err(refused(abi::ADDRESSES6))?;
        self.flip_addresses(IPV6);
        Ok(())
    }

    fn spare_addresses(&mut self, family: usize) -> u32 {
        self.grace.end(Copied::Addresses(family));
        u32::from(self.state.address_copies().load(Relaxed) >> family & 1 == 0)
    }

    fn flip_addresses(&mut self, family: usize) {
        let copies = self.state.address_copies();
        self.change(copies, copies.load(Relaxed) ^ 1 << family);
        self.grace.begin(Copied::Addresses(family));
    }

    /// Enters a port into the port table, or replaces its entry.
    ///
    /// # Errors
    /// When all places where the port may stand are taken by others.
    pub fn set_port(&mut self, device: &str, entry: PortEntry) -> Result<(), DataplaneError> {
        let mut free = None;
        for place in port::places(&entry) {
            let found = self.ports.get(&place, 0).map_err(refused(abi::PORTS))?;
            if found.is_same(&entry) {
                free = Some(place);
                break;
            }
            if found.ifindex == 0 && free.is_none() {
                free = Some(place);
            }
        }
        let place = free.ok_or_else(|| DataplaneError::PortTable {
            device: device.to_owned(),
            ifindex: entry.ifindex,
        })?;
        self.ports.set(place, entry, 0).map_err(refused(abi::PORTS))
    }

    /// Removes ports from the port table, all but those that `keep` wants.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn retain_ports(
        &mut self,
        keep: impl Fn(&PortEntry) -> bool,
    ) -> Result<(), DataplaneError> {
        for place in 0..PORT_TABLE_SIZE as u32 {
            let found = self.ports.get(&place, 0).map_err(refused(abi::PORTS))?;
            if found.ifindex != 0 && !keep(&found) {
                self.ports
                    .set(place, PortEntry::default(), 0)
                    .map_err(refused(abi::PORTS))?;
            }
        }
        Ok(())
    }

    /// Says what frames get that are sent for a slot.
    pub fn set_framing(&self, slot: u32, framing: Framing) {
        self.framings.store(slot, framing.0);
    }

    /// Says which device the programs send to for a slot.
    ///
    /// # Errors
    /// When the kernel has no such device.
    pub fn set_device(&mut self, slot: u32, ifindex: u32) -> Result<(), DataplaneError> {
        self.devices
            .set(slot, ifindex, None, 0)
            .map_err(|source| DataplaneError::Device {
                slot,
                ifindex,
                source,
            })
    }

    /// Notes the name behind a slot, or behind a group's id counted from [`MAX_SLOTS`] on, for the next
    /// controller; the empty name frees it.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_name(&mut self, slot: u32, name: &str) -> Result<(), DataplaneError> {
        let mut padded = [0; 32];
        for (place, byte) in padded.iter_mut().zip(name.bytes()) {
            *place = byte;
        }
        self.names.set(slot, padded, 0).map_err(refused(abi::NAMES))
    }

    /// Notes the tiers of a group's members by their ids, 0 for uplinks that are none.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_tiers(&mut self, group: u32, tiers: MemberTiers) -> Result<(), DataplaneError> {
        let set = self.members.set(group, tiers, 0);
        set.map_err(refused(abi::MEMBERS))
    }

    /// Enters a LAN host, or removes it.
    ///
    /// # Errors
    /// When the table is full: the host is then found by the kernel's own tables.
    pub fn set_host(
        &mut self,
        address: IpAddr,
        entry: Option<HostEntry>,
    ) -> Result<(), DataplaneError> {
        let result = match (address, entry) {
            (IpAddr::V4(a), Some(entry)) => {
                self.hosts4
                    .insert(Address4::from_bytes(a.octets()).key(), entry, 0)
            }
            (IpAddr::V4(a), None) => self.hosts4.remove(&Address4::from_bytes(a.octets()).key()),
            (IpAddr::V6(a), Some(entry)) => {
                self.hosts6
                    .insert(Address6::from_bytes(a.octets()).key(), entry, 0)
            }
            (IpAddr::V6(a), None) => self.hosts6.remove(&Address6::from_bytes(a.octets()).key()),
        };
        let map = if address.is_ipv4() {
            abi::HOSTS4
        } else {
            abi::HOSTS6
        };
        or_absent(result, entry.is_none()).map_err(refused(map))
    }

    /// Enters whose an outside address is, as [`abi::owner_word`] has it, or removes
    /// it; the address is in host order.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_outside(&mut self, address: u32, owner: Option<u64>) -> Result<(), DataplaneError> {
        self.unsettle();
        let result = match owner {
            Some(owner) => self.outsides.insert(address, owner, 0),
            None => self.outsides.remove(&address),
        };
        self.unsettle();
        or_absent(result, owner.is_none()).map_err(refused(abi::OUTSIDES))
    }

    /// The outside addresses that are entered, in host order.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn outsides(&self) -> Result<Vec<u32>, DataplaneError> {
        let keys = self.outsides.keys();
        keys.map(|key| key.map_err(refused(abi::OUTSIDES)))
            .collect()
    }

    /// The LAN hosts that are entered.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn hosts(&self) -> Result<Vec<IpAddr>, DataplaneError> {
        let mut hosts = Vec::new();
        for key in self.hosts4.keys() {
            hosts.push(IpAddr::from(
                key.map_err(refused(abi::HOSTS4))?.to_ne_bytes(),
            ));
        }
        for key in self.hosts6.keys() {
            let [high, low] = key.map_err(refused(abi::HOSTS6))?;
            let address = u128::from(u64::from_be(high)) << 64 | u128::from(u64::from_be(low));
            hosts.push(IpAddr::from(address.to_be_bytes()));
        }
        Ok(hosts)
    }
}

/// A removal of what is not there has succeeded.
pub(super) fn or_absent(result: Result<(), MapError>, removed: bool) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        // A delete of what is not there comes back as the system call's own error.
        Err(MapError::SyscallError(error))
            if removed && error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        result => result,
    }
}

const _: () = assert!(MAX_UPLINKS <= 64, "an uplink is a bit of a word");
