//! PPPoE sessions, as the kernel tells them: pppd makes them and keeps them up, and the gateway's programs
//! put the packets of an uplink into one.

use std::{fs, io};

/// Where the kernel lists the sessions of this network namespace (drivers/net/ppp/pppoe.c).
const SESSIONS: &str = "/proc/net/pppoe";

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// Its id.
    pub id: u16,
    /// The MAC of the provider's access concentrator.
    pub peer: [u8; 6],
    /// The Ethernet or VLAN device that it runs over.
    pub device: String,
}

/// The sessions that there are now; none where the kernel has no PPPoE.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn read() -> io::Result<Vec<Session>> {
    match fs::read_to_string(SESSIONS) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Reads the kernel's list: a line of titles, then for each session its id, the peer's MAC and the device.
/// The id is the field of the packet, printed as if it were a number of this machine: a little-endian one
/// shows its bytes exchanged. A line that says anything else is no session.
fn parse(text: &str) -> Vec<Session> {
    let mut sessions: Vec<Session> = text.lines().filter_map(session).collect();
    sessions.sort();
    sessions
}

fn session(line: &str) -> Option<Session> {
    let mut words = line.split_ascii_whitespace();
    let id = u32::from_str_radix(words.next()?, 16).ok()?;
    let id = u16::from_be(u16::try_from(id).ok()?);
    let mut bytes = words.next()?.split(':');
    let mut peer = [0; 6];
    for byte in &mut peer {
        *byte = u8::from_str_radix(bytes.next()?, 16).ok()?;
    }
    let device = words.next()?.to_owned();
    (bytes.next().is_none() && words.next().is_none()).then_some(Session { id, peer, device })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.12 prints it on a little-endian machine.
    const LISTED: &str = "\
Id       Address              Device
00000100 02:00:00:00:00:09     wan0
00003412 02:00:00:00:00:0a   wan0.7
";

    #[test]
    fn sessions_are_read_as_the_kernel_lists_them() {
        let expected =
            [(0x0001_u16, 9, "wan0"), (0x1234, 10, "wan0.7")].map(|(id, last, device)| Session {
                id: if cfg!(target_endian = "little") {
                    id
                } else {
                    id.swap_bytes()
                },
                peer: [2, 0, 0, 0, 0, last],
                device: device.into(),
            });
        assert_eq!(parse(LISTED), expected);
    }

    #[test]
    fn what_is_no_session_is_passed_over() {
        for text in [
            "",
            "Id       Address              Device\n",
            "00000100 02:00:00:00:00 wan0\n",
            "00000100 02:00:00:00:00:09:0a wan0\n",
            "00000100 02:00:00:00:00:zz wan0\n",
            "00010000 02:00:00:00:00:09 wan0\n",
            "00000100 02:00:00:00:00:09\n",
            "00000100 02:00:00:00:00:09 wan0 more\n",
        ] {
            assert_eq!(parse(text), [], "{text:?}");
        }
    }
}
