//! Whether a device can send what XDP redirects to it: asked of the kernel's "netdev" family of
//! generic netlink (linux/netdev.h, Linux 6.3 and newer).
//!
//! A driver may run XDP programs and still lack this, and then every redirected packet is dropped
//! without a word.

use std::{io, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};

/// `NETDEV_XDP_ACT_NDO_XMIT`.
const SENDS_REDIRECTED: u64 = 4;

/// `GENL_ID_CTRL` and its command and attributes (linux/genetlink.h).
const CONTROL: u16 = 0x10;
const CONTROL_GET_FAMILY: u8 = 3;
const CONTROL_FAMILY_ID: u16 = 1;
const CONTROL_FAMILY_NAME: u16 = 2;

/// `NETDEV_CMD_DEV_GET` and its attributes (linux/netdev.h).
const DEVICE_GET: u8 = 1;
const DEVICE_IFINDEX: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;

/// Lengths of `struct nlmsghdr` and `struct genlmsghdr`.
const NETLINK_HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;

/// Whether the device sends what is redirected to it; `None` when this kernel cannot tell.
pub fn sends_redirected(ifindex: u32) -> Option<bool> {
    // An older kernel has no such family, and a container may forbid the socket.
    features(ifindex)
        .ok()
        .flatten()
        .map(|features| features & SENDS_REDIRECTED != 0)
}

fn features(ifindex: u32) -> io::Result<Option<u64>> {
    let family = Protocol::from(libc::NETLINK_GENERIC);
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(family))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0; 8192];
    let name = (CONTROL_FAMILY_NAME, b"netdev\0".as_slice());
    let answer = exchange(&socket, CONTROL, CONTROL_GET_FAMILY, name, &mut buffer)?;
    let Some(id) = attribute(answer, CONTROL_FAMILY_ID).and_then(|value| value.first_chunk())
    else {
        return Ok(None);
    };
    let id = u16::from_ne_bytes(*id);
    let device = (DEVICE_IFINDEX, ifindex.to_ne_bytes());
    let answer = exchange(&socket, id, DEVICE_GET, (device.0, &device.1), &mut buffer)?;
    let features = attribute(answer, DEVICE_XDP_FEATURES).and_then(|value| value.first_chunk());
    Ok(features.map(|features| u64::from_ne_bytes(*features)))
}

/// Sends one request with one attribute, and gives back the attributes of the answer.
fn exchange<'b>(
    mut socket: &Socket,
    family: u16,
    command: u8,
    (kind, value): (u16, &[u8]),
    buffer: &'b mut [u8],
) -> io::Result<&'b [u8]> {
    let padded = value.len().next_multiple_of(4);
    let len = NETLINK_HEADER + GENERIC_HEADER + 4 + padded;
    let mut request = Vec::with_capacity(len);
    request.extend((len as u32).to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Sequence number and port: one request at a time on a socket of our own needs neither.
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend((4 + value.len() as u16).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(value);
    request.resize(len, 0);
    socket.send(&request)?;
    let received = io::Read::read(&mut socket, buffer)?;
    let answer = &buffer[..received];
    // An error comes as a message of type NLMSG_ERROR.
    let error = (libc::NLMSG_ERROR as u16).to_ne_bytes();
    if answer.get(4..6) == Some(error.as_slice()) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    answer
        .get(NETLINK_HEADER + GENERIC_HEADER..)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The value of the first attribute of this kind.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    /// Without the flags for nested values and byte order (linux/netlink.h).
    const KIND_MASK: u16 = 0x3fff;
    loop {
        let header: &[u8; 4] = attributes.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = attributes.get(4..len)?;
        if u16::from_ne_bytes([header[2], header[3]]) & KIND_MASK == kind {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_broken_ones_end_the_search() {
        let list = [
            8, 0, 1, 0, 7, 0, 0, 0, 5, 0, 3, 0, 9, 0, 0, 0, 6, 0, 4, 0, 1, 2,
        ];
        assert_eq!(attribute(&list, 1), Some([7, 0, 0, 0].as_slice()));
        assert_eq!(attribute(&list, 3), Some([9].as_slice()));
        assert_eq!(attribute(&list, 4), Some([1, 2].as_slice()));
        assert_eq!(attribute(&list, 2), None);
        for len in 0..list.len() {
            let _ = attribute(&list[..len], 9);
        }
        assert_eq!(attribute(&[0, 0, 1, 0, 1, 0, 0, 0], 1), None);
    }

    #[test]
    fn the_loopback_device_is_no_place_to_redirect_to() {
        // Kernels before 6.3 cannot tell.
        assert_ne!(sends_redirected(1), Some(true));
    }
}
