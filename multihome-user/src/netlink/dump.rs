//! Lists the kernel's tables: one request each, answered in parts.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
};

use super::{
    NetlinkError,
    message::{self, Malformed, Message},
    mirror::Mirror,
    socket::{DATAGRAM_LEN, NetlinkSocket, Received},
    state::NetState,
};

/// How often a listing that a change interrupted is begun anew before it is taken as it is.
const ATTEMPTS: usize = 5;
/// Leaves the counters out of the list of links (linux/rtnetlink.h).
const SKIP_STATISTICS: u32 = libc::RTEXT_FILTER_SKIP_STATS as u32;

/// All tables at about one moment.
#[derive(Debug)]
pub(super) struct Listing {
    pub state: NetState,
    /// No change interrupted it, and all of it could be read.
    pub complete: bool,
}

/// One table of the kernel's.
#[derive(Clone, Copy, Debug)]
enum Table {
    Links,
    Addresses,
    Routes { family: i32 },
    Neighbours { family: i32 },
}

/// In an order in which what hangs on something comes after it.
const TABLES: [Table; 6] = [
    Table::Links,
    Table::Addresses,
    Table::Routes {
        family: libc::AF_INET,
    },
    Table::Routes {
        family: libc::AF_INET6,
    },
    Table::Neighbours {
        family: libc::AF_INET,
    },
    Table::Neighbours {
        family: libc::AF_INET6,
    },
];

/// How reading one table ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Interrupted,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Addresses => "addresses",
            Self::Routes { .. } => "routes",
            Self::Neighbours { .. } => "neighbours",
        }
    }

    /// The request's type, and the header and attributes behind the netlink header.
    fn request(self) -> (u16, Vec<u8>) {
        let header = |family: i32, len: usize| {
            let mut header = vec![0; len];
            header[0] = family as u8;
            header
        };
        match self {
            Self::Links => {
                let mut payload = header(libc::AF_UNSPEC, 16);
                payload.extend(8_u16.to_ne_bytes());
                payload.extend(libc::IFLA_EXT_MASK.to_ne_bytes());
                payload.extend(SKIP_STATISTICS.to_ne_bytes());
                (libc::RTM_GETLINK, payload)
            }
            Self::Addresses => (libc::RTM_GETADDR, header(libc::AF_UNSPEC, 8)),
            Self::Routes { family } => (libc::RTM_GETROUTE, header(family, 12)),
            Self::Neighbours { family } => (libc::RTM_GETNEIGH, header(family, 12)),
        }
    }
}

/// Lists everything. Only one listing at a time may use a socket, and must be driven to its end.
pub(super) async fn list(socket: Arc<NetlinkSocket>) -> Result<Listing, NetlinkError> {
    let mut mirror = Mirror::default();
    let mut complete = true;
    let mut seq = 0;
    for table in TABLES {
        let mut end = End::Interrupted;
        for _ in 0..ATTEMPTS {
            seq += 1;
            end = read(&socket, table, seq, &mut mirror)
                .await
                .map_err(|source| NetlinkError::Dump {
                    table: table.name(),
                    source,
                })?;
            if end == End::Complete {
                break;
            }
        }
        complete &= end == End::Complete;
    }
    complete &= !mirror.take_doubt();
    Ok(Listing {
        state: mirror.into_state(),
        complete,
    })
}

/// Reads one table into the mirror. What an interrupted attempt left there is refreshed by the
/// next one; what it should not have left is found by comparing with the events.
async fn read(
    socket: &NetlinkSocket,
    table: Table,
    seq: u32,
    mirror: &mut Mirror,
) -> io::Result<End> {
    let (kind, payload) = table.request();
    socket.send(&request(kind, seq, &payload))?;
    let mut buffer = vec![0; DATAGRAM_LEN];
    let mut end = End::Complete;
    let mut events = Vec::new();
    loop {
        let len = match socket.receive(&mut buffer).await? {
            Received::Datagram(len) => len,
            Received::Overflow | Received::Nothing => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "part of the answer is lost",
                ));
            }
        };
        for message in message::messages(&buffer[..len]) {
            let message = message.map_err(invalid)?;
            // Left over from an earlier request that failed.
            if message.seq != seq {
                continue;
            }
            if message.flags & libc::NLM_F_DUMP_INTR as u16 != 0 {
                end = End::Interrupted;
            }
            if is_last(&message)? {
                return Ok(end);
            }
            match message.change() {
                Ok(change) => {
                    if let Some(change) = change {
                        mirror.absorb(&change, &mut events);
                        events.clear();
                    }
                }
                Err(Malformed) => {
                    tracing::warn!(table = table.name(), kind = message.kind, "{Malformed}");
                    mirror.raise_doubt();
                }
            }
        }
        // A long table must not keep events waiting.
        tokio::task::yield_now().await;
    }
}

/// Whether the answer ends with this message.
fn is_last(message: &Message<'_>) -> io::Result<bool> {
    match i32::from(message.kind) {
        libc::NLMSG_DONE | libc::NLMSG_ERROR => match message::error_code(message.payload) {
            code if code < 0 => Err(io::Error::from_raw_os_error(-code)),
            _ => Ok(true),
        },
        _ => Ok(false),
    }
}

fn request(kind: u16, seq: u32, payload: &[u8]) -> Vec<u8> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut request = Vec::with_capacity(16 + payload.len());
    request.extend((16 + payload.len() as u32).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend(seq.to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    request.extend(payload);
    request
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
