//! The kernel's table of connections of a namespace: how many there are, and a way to be rid of them.

use std::{fs, io, io::Read as _};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::Namespace;

/// Delete, of the subsystem for connections (linux/netfilter/nfnetlink_conntrack.h); one that names no
/// connection deletes them all.
const DELETE: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | 2;
/// The header of every netlink message.
const HEADER: usize = size_of::<libc::nlmsghdr>();
/// The header and the one of netfilter's messages: address family (0 for any), version, number.
const LEN: usize = HEADER + 4;

/// How many connections the namespace's kernel knows.
pub fn count(namespace: &Namespace) -> Result<u64> {
    let path = "/proc/sys/net/netfilter/nf_conntrack_count";
    let text = namespace.enter(|| fs::read_to_string(path))?;
    Ok(text.context(path)?.trim().parse()?)
}

/// Has the namespace's kernel forget all connections; none is left when this returns.
pub fn forget_all(namespace: &Namespace) -> Result<()> {
    let mut socket = namespace
        .enter(|| {
            Socket::new(
                Domain::from(libc::AF_NETLINK),
                Type::RAW,
                Some(Protocol::from(libc::NETLINK_NETFILTER)),
            )
        })?
        .context("opening a netfilter socket")?;
    let mut request = [0; LEN];
    request[0..4].copy_from_slice(&(LEN as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&DELETE.to_ne_bytes());
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    socket.send(&request)?;

    let mut answer = [0; 256];
    let len = socket.read(&mut answer)?;
    let Some(code) = answer[..len].get(HEADER..HEADER + 4) else {
        bail!("the kernel answered with {len} bytes");
    };
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let code = i32::from_ne_bytes(code.try_into()?);
    ensure!(
        i32::from(kind) == libc::NLMSG_ERROR && code == 0,
        "forgetting connections: {}",
        io::Error::from_raw_os_error(-code)
    );
    let left = count(namespace)?;
    ensure!(left < 100, "{left} connections are left");
    Ok(())
}
