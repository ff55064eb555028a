//! The tables of flows as the programs left them, and whether they are whole.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use multihome_common::{
    flow::{
        slot::FlowSlot,
        tag::{Tag, TagLine, WAYS},
    },
    nat44::ports::{LINE, LINES, PERMANENT, PortLine, PortWord, SPACES, Space},
};

/// The tables in memory that the programs share.
pub struct FlowView<'m> {
    /// The flow table's tags.
    pub tags: &'m [TagLine],
    /// Its slots.
    pub flows: &'m [FlowSlot],
    /// The port table.
    pub ports: &'m [PortLine],
}

impl FlowView<'_> {
    /// The live flows.
    pub fn live(&self) -> impl Iterator<Item = &FlowSlot> {
        let tags = self.tags.iter().flat_map(|line| &line.0);
        let live = tags
            .zip(self.flows)
            .filter(|(tag, _)| Tag(tag.load()).is_live());
        live.map(|(_, slot)| slot)
    }

    /// Checks that every slot is free or live, that no flow stands twice, and that each port counts the
    /// flows that use it.
    ///
    /// # Errors
    /// What is not whole.
    pub fn check(&self) -> Result<()> {
        ensure!(self.tags.len() * WAYS == self.flows.len(), "sizes");
        for tag in self.tags.iter().flat_map(|line| &line.0) {
            ensure!(!Tag(tag.load()).is_busy(), "a slot that nobody finished");
        }
        let mut users: BTreeMap<usize, u64> = BTreeMap::new();
        let mut keys = std::collections::HashSet::new();
        for slot in self.live() {
            ensure!(
                keys.insert(slot.key()),
                "a flow stands twice: {:?}",
                slot.key()
            );
            if slot.is_forward() {
                continue;
            }
            let outside = slot.outside();
            let space = Space::of(slot.protocol());
            let port =
                (outside.pool as usize * SPACES as usize + space as usize) * LINES as usize * LINE
                    + usize::from(outside.port);
            *users.entry(port).or_default() += 1;
            let owner = PortWord(self.ports[port / LINE].0[port % LINE].load());
            ensure!(
                owner.inside() == slot.key().inside4(),
                "a port of another host"
            );
        }
        for (at, word) in self.ports.iter().flat_map(|line| &line.0).enumerate() {
            let counted = PortWord(word.load()).flows();
            if counted != PERMANENT {
                let used = users.get(&at).copied().unwrap_or_default();
                ensure!(
                    u64::from(counted) == used,
                    "port {at} counts {counted} flows of {used}"
                );
            }
        }
        Ok(())
    }
}
