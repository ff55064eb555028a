//! The site's links: behind tags and in PPPoE sessions, each port another. The model itself knows of none of
//! that: what comes in is put on the link's frames here, and what goes out is taken off them, without
//! multihome's own code.

use anyhow::{Context as _, Result, ensure};
use multihome_common::{
    framing::Framing,
    port::{NO_SLOT, PORT_FRAMED, PORT_KERNEL, PORT_RESTORE, PORT_TRUNK, PortEntry},
    verdict::{Disposition, Verdict},
};

use super::site::{Port, uplink_mac};
use crate::prog_run::wire::{Wire, unpadded};

/// What stands on the LAN and on the uplinks, by id.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    /// The LAN.
    pub lan: Wire,
    /// The uplinks.
    pub uplinks: [Wire; 3],
}

impl Links {
    /// Ethernet alone, everywhere.
    pub const PLAIN: Self = Self {
        lan: Wire::PLAIN,
        uplinks: [Wire::PLAIN; 3],
    };
    /// Each uplink of another kind, behind a tagged LAN.
    pub const MIXED: Self = Self {
        lan: Wire::tagged(&[(0x8100, 20)]),
        uplinks: [
            Wire::tagged(&[(0x88a8, 200), (0x8100, 100)]),
            Wire::session(&[(0x8100, 7)], 0x1234),
            Wire::PLAIN,
        ],
    };

    /// What stands on a port's link.
    pub fn of(&self, port: Port) -> Wire {
        match port {
            Port::Lan => self.lan,
            Port::Uplink(id) => self.uplinks[usize::from(id)],
        }
    }

    /// What frames get that are sent for an uplink, or for the LAN.
    pub fn framing(&self, uplink: Option<u8>) -> Framing {
        self.of(uplink.map_or(Port::Lan, Port::Uplink)).framing()
    }

    /// The entries of a port: its own, and that of the device that it stands on, if it has a framing. A session
    /// is with the station that has sent the frame.
    pub fn entries(&self, port: Port, plain: PortEntry, frame: &[u8]) -> Vec<PortEntry> {
        let wire = self.of(port);
        if wire == Wire::PLAIN {
            return vec![plain];
        }
        let framing = wire.framing();
        let station = frame.get(6..12).and_then(|mac| mac.try_into().ok());
        let own = PortEntry {
            framing: framing.key(),
            session: wire.session.unwrap_or_default().into(),
            peer: match wire.session {
                Some(_) => station.unwrap_or_default(),
                None => PortEntry::ANY,
            },
            flags: plain.flags | PORT_FRAMED | PORT_RESTORE,
            ..plain
        };
        let trunk = PortEntry {
            slot: NO_SLOT,
            flags: PORT_TRUNK | PORT_KERNEL,
            ..plain
        };
        vec![own, trunk]
    }

    /// The frame as it comes in by a port; `None` for what cannot come in there.
    pub fn arriving(&self, port: Port, frame: &[u8]) -> Option<Vec<u8>> {
        let wire = self.of(port);
        let kind = frame.get(12..14)?;
        let is_ip = kind == [0x08, 0x00] || kind == [0x86, 0xdd];
        let is_tagged = kind == [0x81, 0x00] || kind == [0x88, 0xa8];
        let stands = wire == Wire::PLAIN || !is_tagged && (wire.session.is_none() || is_ip);
        stands.then(|| wire.wrap_all(frame))
    }

    /// A frame that was sent or passed, without what its link put on it; `frame` is as it came in, without.
    ///
    /// # Errors
    /// When its link is another than the one that it should have left by.
    pub fn departed(
        &self,
        port: Port,
        frame: &[u8],
        verdict: Verdict,
        output: &[u8],
    ) -> Result<Vec<u8>> {
        let link = match verdict.disposition() {
            Disposition::Forward => self.leaves_by(output)?,
            Disposition::Drop if verdict == Verdict::DropFaultOut => self.leaves_by(output)?,
            Disposition::Reply | Disposition::Pass => self.of(port),
            Disposition::Drop => return Ok(output.to_vec()),
        };
        let mut plain = link
            .unwrap(output)
            .with_context(|| format!("not a frame of {}: {output:02x?}", link.framing()))?;
        // A session's frame ends with its packet; behind others, padding stays.
        if link.session.is_some() && verdict.disposition() == Disposition::Forward {
            let whole = unpadded(&plain).len() == plain.len();
            ensure!(whole, "padding in a session");
            plain.extend(&frame[unpadded(frame).len()..]);
        }
        Ok(plain)
    }

    fn leaves_by(&self, output: &[u8]) -> Result<Wire> {
        let sender = output.get(6..12).context("no MACs")?;
        let uplink = (0..3).find(|&id| sender == uplink_mac(id));
        Ok(self.of(uplink.map_or(Port::Lan, Port::Uplink)))
    }
}
