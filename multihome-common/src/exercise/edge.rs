//! The same frames on devices with tags and sessions: whatever comes in there is left as it is, or can be given
//! back as it came.

use crate::{
    framing::{
        Framing,
        edge::{self, Entered, Removed},
    },
    parse,
    port::{NO_SLOT, PORT_FRAMED, PORT_KERNEL, PORT_RESTORE, PORT_TRUNK, PortEntry},
    sim::{Frame, SimTables},
    wire::ethernet::{IPV4, IPV6, SERVICE_VLAN, VLAN},
};

use super::STATION;

/// A device that stands for a VLAN itself, and one whose VLANs the kernel knows.
const OWN: u32 = 100;
const KNOWN: u32 = 200;

/// Enters the devices' ports: behind a tag, behind two, and in a session on the line of each.
pub fn enter_ports(tables: &mut SimTables) {
    let one = Framing::PLAIN.tagged(VLAN, 20);
    let two = Framing::PLAIN.tagged(SERVICE_VLAN, 200).tagged(VLAN, 100);
    let port = |ifindex, framing: Framing, slot, flags| PortEntry {
        ifindex,
        framing: framing.key(),
        slot,
        flags: PORT_FRAMED | flags,
        ..PortEntry::default()
    };
    let session = |ifindex, tags: Framing, slot, flags| PortEntry {
        session: 1,
        peer: STATION,
        ..port(ifindex, tags.in_session(1), slot, flags)
    };
    let trunk = |ifindex, kernel_tags: Framing| PortEntry {
        ifindex,
        slot: NO_SLOT,
        flags: PORT_TRUNK | PORT_KERNEL,
        kernel_tags: kernel_tags.key(),
        ..PortEntry::default()
    };
    for entry in [
        trunk(OWN, one),
        port(OWN, one, 0, PORT_KERNEL),
        session(OWN, one, 0, 0),
        trunk(KNOWN, Framing::PLAIN),
        port(KNOWN, one, 64, PORT_RESTORE),
        port(KNOWN, two, 1, PORT_RESTORE),
        session(KNOWN, two, 2, PORT_RESTORE),
    ] {
        assert!(tables.add_port(entry), "there is room");
    }
}

/// Checks what must hold of a frame on each of them.
///
/// # Panics
/// When it does not.
pub fn check(tables: &SimTables, bytes: &[u8]) {
    for ifindex in [OWN, KNOWN] {
        let (mut frame, mut removed) = (Frame::new(bytes), Removed::default());
        let entered = edge::enter(&mut frame, tables, ifindex, &mut removed);
        if removed.bytes == 0 {
            assert_eq!(frame.as_slice(), bytes, "{entered:?}");
        }
        let taken = frame.as_slice().len() as u64 + removed.bytes;
        assert_eq!(taken, bytes.len() as u64, "{entered:?}");
        let Entered::Port(place) = entered else {
            continue;
        };
        let port = tables.ports[place as usize];
        assert_eq!(port.ifindex, ifindex);
        let mut back = frame.clone();
        edge::put_back(&mut back, &removed, true).expect("it had the room");
        assert_eq!(back.as_slice(), &bytes[..back.as_slice().len()]);

        // Sent on the link that it came by, it is the same port's.
        let is_ip = parse::link(&frame).is_ok_and(|link| [IPV4, IPV6].contains(&link.ethertype));
        let tags = Framing(port.framing.into()).tags();
        let framing = match port.session {
            0 => tags,
            id => tags.in_session(id as u16),
        };
        if is_ip && edge::put_on(&mut frame, framing).is_some() {
            let again = edge::enter(&mut frame, tables, ifindex, &mut removed);
            assert_eq!(again, entered);
        }
    }
}
