//! What stands between a frame's MACs and its IP packet, byte by byte, without multihome's own code.

use multihome_common::framing::Framing;

use super::frames::{IPV4, IPV6};

/// The tags of a link, as (type, VLAN id), and its PPPoE session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The outer tag first.
    pub tags: &'static [(u16, u16)],
    /// The PPPoE session's id.
    pub session: Option<u16>,
}

impl Wire {
    /// Ethernet alone.
    pub const PLAIN: Self = Self::tagged(&[]);

    /// Behind these tags.
    pub const fn tagged(tags: &'static [(u16, u16)]) -> Self {
        Self {
            tags,
            session: None,
        }
    }

    /// In this session, behind these tags.
    pub const fn session(tags: &'static [(u16, u16)], session: u16) -> Self {
        Self {
            tags,
            session: Some(session),
        }
    }

    /// As multihome is told.
    pub fn framing(self) -> Framing {
        let tags = self
            .tags
            .iter()
            .fold(Framing::PLAIN, |framing, &(kind, id)| {
                framing.tagged(kind, id)
            });
        match self.session {
            Some(session) => tags.in_session(session),
            None => tags,
        }
    }

    /// A plain frame, as it stands on this link, padding and all: a session's data, too.
    pub fn wrap_all(self, frame: &[u8]) -> Vec<u8> {
        let mut out = self.wrap(frame, true);
        if self.session.is_some() {
            let at = 12 + 4 * self.tags.len() + 6;
            let len = (frame.len() - 14 + 2) as u16;
            out[at..at + 2].copy_from_slice(&len.to_be_bytes());
        }
        out
    }

    /// The plain frame of one that stands on this link; `None` if it is another link's.
    pub fn unwrap(self, frame: &[u8]) -> Option<Vec<u8>> {
        let mut out = frame.get(..12)?.to_vec();
        let mut rest = frame.get(12..)?;
        for (kind, id) in self.tags {
            let (tag, behind) = rest.split_at_checked(4)?;
            if tag != [kind.to_be_bytes(), id.to_be_bytes()].concat() {
                return None;
            }
            rest = behind;
        }
        let Some(session) = self.session else {
            out.extend(rest);
            return Some(out);
        };
        let (header, packet) = rest.split_at_checked(10)?;
        let is_own = header[..4] == [0x88, 0x64, 0x11, 0] && header[4..6] == session.to_be_bytes();
        let len = usize::from(header[6]) << 8 | usize::from(header[7]);
        if !is_own || len != packet.len() + 2 {
            return None;
        }
        out.extend(match header[8..] {
            [0, 0x21] => IPV4.to_be_bytes(),
            [0, 0x57] => IPV6.to_be_bytes(),
            _ => return None,
        });
        out.extend(packet);
        Some(out)
    }

    /// A plain frame, as it stands on this link; one in a session must be IP, and loses its padding if
    /// `padded` does not say that it stays behind the session's data.
    pub fn wrap(self, frame: &[u8], padded: bool) -> Vec<u8> {
        let (macs, rest) = frame.split_at(12);
        let mut out = macs.to_vec();
        for (kind, id) in self.tags {
            out.extend(kind.to_be_bytes());
            out.extend(id.to_be_bytes());
        }
        let Some(session) = self.session else {
            out.extend(rest);
            return out;
        };
        let (kind, packet) = rest.split_at(2);
        let len = ip_len(frame).unwrap_or(packet.len());
        out.extend([0x88, 0x64, 0x11, 0]);
        out.extend(session.to_be_bytes());
        out.extend((len as u16 + 2).to_be_bytes());
        out.extend(if kind == IPV4.to_be_bytes() {
            [0, 0x21]
        } else {
            [0, 0x57]
        });
        out.extend(&packet[..if padded { packet.len() } else { len }]);
        out
    }
}

/// Length of a plain frame's IP packet, if the frame is that long.
fn ip_len(frame: &[u8]) -> Option<usize> {
    let field = |at: usize| {
        frame
            .get(at..at + 2)
            .map(|b| usize::from(b[0]) << 8 | usize::from(b[1]))
    };
    let len = match field(12)? as u16 {
        IPV4 => field(14 + 2)?,
        IPV6 => field(14 + 4)? + 40,
        _ => return None,
    };
    (14 + len <= frame.len()).then_some(len)
}

/// A plain frame without what stands behind its IP packet.
pub fn unpadded(frame: &[u8]) -> &[u8] {
    &frame[..ip_len(frame).map_or(frame.len(), |len| 14 + len)]
}
