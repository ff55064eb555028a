use std::{string::ToString as _, vec, vec::Vec};

use proptest::prelude::*;

use super::{
    Framing,
    edge::{self, Entered, Removed},
};
use crate::{
    packet::Packet as _,
    port::{NO_SLOT, PORT_FRAMED, PORT_KERNEL, PORT_TRUNK, PortEntry},
    sim::{Frame, SimTables},
    wire::ethernet::{IPV4, IPV6, PPPOE_SESSION, SERVICE_VLAN, VLAN},
};

const TRUNK: u32 = 7;
const STATION: [u8; 6] = [2, 0, 0, 0, 0, 9];
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// An IP packet of this family with so many bytes of payload; only its length says anything.
fn ip(ethertype: u16, payload: usize) -> Vec<u8> {
    let mut packet = if ethertype == IPV4 {
        let mut header = vec![0x45, 0];
        header.extend((20 + payload as u16).to_be_bytes());
        header.resize(20, 0x11);
        header
    } else {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((payload as u16).to_be_bytes());
        header.resize(40, 0x22);
        header
    };
    packet.extend((0..payload).map(|n| n as u8));
    packet
}

/// A frame, its parts given one by one.
fn frame(between: &[u8], payload: &[u8]) -> Vec<u8> {
    [&OWN[..], &STATION, between, payload].concat()
}

fn plain(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    frame(&ethertype.to_be_bytes(), payload)
}

/// A trunk with a port of this framing in the place that `add_port` chose for slot 5.
fn trunk(framing: Framing) -> SimTables {
    let mut tables = SimTables::default();
    let device = PortEntry {
        ifindex: TRUNK,
        slot: NO_SLOT,
        flags: PORT_TRUNK | PORT_KERNEL,
        ..PortEntry::default()
    };
    assert!(tables.add_port(device));
    assert!(tables.add_port(port(framing)));
    tables
}

fn port(framing: Framing) -> PortEntry {
    PortEntry {
        ifindex: TRUNK,
        framing: framing.key(),
        session: framing.session().unwrap_or_default().into(),
        peer: if framing.has_session() {
            STATION
        } else {
            PortEntry::ANY
        },
        slot: 5,
        flags: PORT_FRAMED,
        ..PortEntry::default()
    }
}

/// The slot of the port that the frame belongs to, what is left of it, and what was taken off.
fn enter(tables: &SimTables, bytes: &[u8]) -> (Option<u32>, Frame, Removed) {
    let mut frame = Frame::new(bytes);
    let mut removed = Removed::default();
    let slot = match edge::enter(&mut frame, tables, TRUNK, &mut removed) {
        Entered::Port(place) => Some(tables.ports[place as usize].slot),
        Entered::Kernel | Entered::Stray(_) => None,
    };
    (slot, frame, removed)
}

fn any_framing() -> impl Strategy<Value = Framing> {
    let tags = prop_oneof![
        Just(Framing::PLAIN),
        (any::<bool>(), 1u16..4095).prop_map(|(service, id)| {
            Framing::PLAIN.tagged(if service { SERVICE_VLAN } else { VLAN }, id)
        }),
        (any::<bool>(), 1u16..4095, 1u16..4095).prop_map(|(service, outer, inner)| {
            let kind = if service { SERVICE_VLAN } else { VLAN };
            Framing::PLAIN.tagged(kind, outer).tagged(VLAN, inner)
        }),
    ];
    (tags, proptest::option::of(any::<u16>())).prop_map(|(tags, session)| match session {
        Some(session) => tags.in_session(session),
        None => tags,
    })
}

#[test]
fn the_bytes_on_the_wire_are_those_of_the_standards() {
    let packet = ip(IPV4, 3);
    let tagged = Framing::PLAIN.tagged(VLAN, 100);
    let qinq = Framing::PLAIN.tagged(SERVICE_VLAN, 200).tagged(VLAN, 100);
    let session = Framing::PLAIN.in_session(0x1234);
    for (framing, ethertype, between) in [
        (Framing::PLAIN, IPV4, &[8, 0][..]),
        (tagged, IPV4, &[0x81, 0, 0, 100, 8, 0]),
        (qinq, IPV4, &[0x88, 0xa8, 0, 200, 0x81, 0, 0, 100, 8, 0]),
        // RFC 2516 section 4: version and type 1, code 0, session, length with PPP's two bytes.
        (
            session,
            IPV4,
            &[0x88, 0x64, 0x11, 0, 0x12, 0x34, 0, 25, 0, 0x21],
        ),
        (
            Framing::PLAIN.tagged(VLAN, 7).in_session(1),
            IPV4,
            &[0x81, 0, 0, 7, 0x88, 0x64, 0x11, 0, 0, 1, 0, 25, 0, 0x21],
        ),
    ] {
        let mut sent = Frame::new(&plain(ethertype, &packet));
        edge::put_on(&mut sent, framing).expect("there is room");
        assert_eq!(sent.as_slice(), frame(between, &packet), "{framing}");
        assert_eq!(framing.link_len(), 12 + between.len());
    }
    let mut sent = Frame::new(&plain(IPV6, &ip(IPV6, 3)));
    edge::put_on(&mut sent, session).expect("there is room");
    let between = [0x88, 0x64, 0x11, 0, 0x12, 0x34, 0, 45, 0, 0x57];
    assert_eq!(sent.as_slice(), frame(&between, &ip(IPV6, 3)));
}

#[test]
fn a_framing_is_told_as_the_operator_writes_it() {
    let qinq = Framing::PLAIN.tagged(SERVICE_VLAN, 200).tagged(VLAN, 100);
    for (framing, text) in [
        (Framing::PLAIN, "untagged"),
        (Framing::PLAIN.tagged(VLAN, 100), "VLAN 100"),
        (qinq, "VLAN 200 (802.1ad), 100"),
        (
            qinq.in_session(9),
            "VLAN 200 (802.1ad), 100, PPPoE session 9",
        ),
        (Framing::PLAIN.in_session(9), "PPPoE session 9"),
    ] {
        assert_eq!(framing.to_string(), text);
    }
}

proptest! {
    /// Whatever is put on comes off again, and is put back as it was; padding of short frames is none of it.
    #[test]
    fn what_is_put_on_is_what_comes_off(
        framing in any_framing(), v6 in any::<bool>(), payload in 0usize..1461, padding in 0usize..40
    ) {
        let ethertype = if v6 { IPV6 } else { IPV4 };
        let packet = plain(ethertype, &ip(ethertype, payload));
        let mut sent = Frame::new(&packet);
        edge::put_on(&mut sent, framing).expect("there is room");
        prop_assert_eq!(sent.len(), packet.len() - 14 + framing.link_len());
        let on_wire = [sent.as_slice(), &vec![0xa5; padding]].concat();

        if framing.is_plain() {
            return Ok(());
        }
        let (slot, mut frame, removed) = enter(&trunk(framing), &on_wire);
        prop_assert_eq!(slot, Some(5));
        prop_assert_eq!(removed.bytes as usize, on_wire.len() - frame.len(), "as it came");
        let left = if framing.has_session() { packet.len() } else { packet.len() + padding };
        prop_assert_eq!(&frame.as_slice()[..packet.len()], &packet[..]);
        prop_assert_eq!(frame.len(), left);
        let plain = frame.clone();
        edge::put_back(&mut frame, &removed, true).expect("there is room");
        prop_assert_eq!(frame.as_slice(), &on_wire[..frame.len()]);

        // A kernel without a device for the tags gets what is behind them.
        let mut frame = plain;
        edge::put_back(&mut frame, &removed, false).expect("there is room");
        let session = match framing.session() {
            Some(session) => Framing::PLAIN.in_session(session),
            None => Framing::PLAIN,
        };
        let mut expected = Frame::new(&packet);
        edge::put_on(&mut expected, session).expect("there is room");
        prop_assert_eq!(&frame.as_slice()[..expected.len()], expected.as_slice());
    }

    /// Another framing than a port's is not the port's.
    #[test]
    fn a_port_gets_frames_of_its_own_framing_alone(own in any_framing(), other in any_framing()) {
        prop_assume!(own != other && !own.is_plain() && !other.is_plain());
        let mut sent = Frame::new(&plain(IPV4, &ip(IPV4, 10)));
        edge::put_on(&mut sent, other).expect("there is room");
        let (slot, frame, _) = enter(&trunk(own), sent.as_slice());
        // A session in a port's VLAN is not IP to the port, which leaves it to the kernel.
        if other.tags() == own && other.has_session() {
            prop_assert_eq!(slot, Some(5));
            prop_assert_eq!(&frame.as_slice()[12..14], &PPPOE_SESSION.to_be_bytes());
        } else {
            prop_assert_eq!(slot, None);
            prop_assert_eq!(frame.as_slice(), sent.as_slice(), "untouched");
        }
    }

    #[test]
    fn no_bytes_make_it_stumble(
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
        kinds in proptest::collection::vec(
            prop_oneof![Just(VLAN), Just(SERVICE_VLAN), Just(PPPOE_SESSION), any::<u16>()], 0..5),
        framing in any_framing(),
    ) {
        let mut bytes = bytes;
        for (place, kind) in kinds.iter().enumerate() {
            let at = 12 + place * 4;
            if let Some(field) = bytes.get_mut(at..at + 2) {
                field.copy_from_slice(&kind.to_be_bytes());
            }
        }
        let (slot, mut frame, removed) = enter(&trunk(framing), &bytes);
        if slot.is_some() {
            let _ = edge::put_back(&mut frame, &removed, true);
            prop_assert_eq!(frame.as_slice(), &bytes[..frame.len()]);
        } else if removed.bytes == 0 {
            prop_assert_eq!(frame.as_slice(), &bytes[..]);
        }
        let _ = edge::put_on(&mut Frame::new(&bytes), framing);
    }
}

/// With its first tags taken off, the next one would lead the kernel to a VLAN that the frame is not of.
#[test]
fn a_frame_with_one_more_tag_than_is_read_is_left_as_it_is() {
    let qinq = Framing::PLAIN.tagged(SERVICE_VLAN, 200).tagged(VLAN, 100);
    let tag = Framing::PLAIN.tagged(VLAN, 20);
    for (framing, between) in [
        (
            qinq,
            &[0x88, 0xa8, 0, 200, 0x81, 0, 0, 100, 0x81, 0, 0, 30, 8, 0][..],
        ),
        // A priority without a VLAN counts as a tag.
        (
            tag,
            &[0x81, 0, 0, 20, 0x88, 0xa8, 0xe0, 0, 0x81, 0, 0, 30, 8, 0],
        ),
    ] {
        let bytes = frame(between, &ip(IPV4, 10));
        let (slot, left, _) = enter(&trunk(framing), &bytes);
        assert_eq!(slot, None, "{framing}");
        assert_eq!(left.as_slice(), bytes, "{framing}");
    }
}

#[test]
fn what_a_session_says_besides_ip_is_left_to_the_kernel() {
    let session = Framing::PLAIN.in_session(1);
    let tables = trunk(session);
    let packet = ip(IPV4, 10);
    let header = |edit: &dyn Fn(&mut [u8; 10])| {
        let mut header = [0x88, 0x64, 0x11, 0, 0, 1, 0, 32, 0, 0x21];
        edit(&mut header);
        frame(&header, &packet)
    };
    assert_eq!(enter(&tables, &header(&|_| {})).0, Some(5));
    for (shows, bytes) in [
        ("LCP", header(&|h| h[8..].copy_from_slice(&[0xc0, 0x21]))),
        ("discovery", header(&|h| h[1] = 0x63)),
        ("another version", header(&|h| h[2] = 0x21)),
        ("another code", header(&|h| h[3] = 0xa7)),
        ("longer than the frame", header(&|h| h[7] = 33)),
        ("shorter than PPP's protocol number", header(&|h| h[7] = 1)),
        ("another session", header(&|h| h[5] = 2)),
    ] {
        let (slot, frame, _) = enter(&tables, &bytes);
        assert_eq!(slot, None, "{shows}");
        assert_eq!(frame.as_slice(), bytes, "{shows}");
    }
    // Another station may have a session of the same id.
    let mut strange = header(&|_| {});
    strange[11] ^= 1;
    assert_eq!(enter(&tables, &strange).0, None);
}

#[test]
fn what_is_no_session_of_a_tagged_line_reaches_the_kernel_without_tags() {
    let tags = Framing::PLAIN.tagged(VLAN, 7);
    let mut tables = trunk(tags.in_session(1));
    assert!(tables.add_port(PortEntry {
        flags: PORT_FRAMED | PORT_KERNEL,
        ..port(tags)
    }));
    let discovery = frame(&[0x81, 0, 0, 7, 0x88, 0x63], &[0x11, 9, 0, 0, 0, 0]);
    let (slot, left, _) = enter(&tables, &discovery);
    assert_eq!(slot, None);
    assert_eq!(
        left.as_slice(),
        frame(&[0x88, 0x63], &[0x11, 9, 0, 0, 0, 0])
    );
}

#[test]
fn a_priority_without_a_vlan_is_no_framing() {
    let tags = Framing::PLAIN.tagged(VLAN, 0x6000).tagged(VLAN, 0x2064);
    assert_eq!(tags, Framing::PLAIN.tagged(VLAN, 100));
    let bytes = frame(&[0x81, 0, 0x60, 0, 0x81, 0, 0x20, 100, 8, 0], &ip(IPV4, 4));
    let (slot, mut frame, removed) = enter(&trunk(tags), &bytes);
    assert_eq!(slot, Some(5));
    assert_eq!(frame.as_slice(), plain(IPV4, &ip(IPV4, 4)));
    edge::put_back(&mut frame, &removed, true).expect("there is room");
    assert_eq!(frame.as_slice(), bytes, "with its priorities");
}

#[test]
fn a_priority_ends_with_the_link_that_it_came_by() {
    let bytes = frame(&[0x81, 0, 0x60, 0, 8, 0], &ip(IPV4, 4));
    for (framing, between) in [
        (Framing::PLAIN, &[8, 0][..]),
        (Framing::PLAIN.tagged(VLAN, 5), &[0x81, 0, 0, 5, 8, 0]),
        (
            Framing::PLAIN.in_session(1),
            &[0x88, 0x64, 0x11, 0, 0, 1, 0, 26, 0, 0x21],
        ),
    ] {
        let mut sent = Frame::new(&bytes);
        edge::put_on(&mut sent, framing).expect("there is room");
        assert_eq!(sent.as_slice(), frame(between, &ip(IPV4, 4)));
    }
}

#[test]
fn a_trunk_without_a_port_of_its_own_leaves_plain_frames_to_the_kernel() {
    let mut tables = trunk(Framing::PLAIN.tagged(VLAN, 5));
    let bytes = plain(IPV4, &ip(IPV4, 4));
    assert_eq!(enter(&tables, &bytes).0, None);
    assert!(tables.add_port(PortEntry {
        ifindex: TRUNK,
        slot: 64,
        flags: PORT_TRUNK,
        ..PortEntry::default()
    }));
    let (slot, frame, removed) = enter(&tables, &bytes);
    assert_eq!((slot, removed.bytes), (Some(64), 0));
    assert_eq!(frame.as_slice(), bytes);
}

#[test]
fn a_frame_without_room_before_it_is_not_sent() {
    let mut sent = Frame::new(&plain(IPV4, &ip(IPV4, 4)));
    while sent.grow_front(1).is_some() {}
    let bytes = plain(IPV4, &ip(IPV4, 4));
    for (at, byte) in bytes.into_iter().enumerate() {
        *sent.bytes_mut(at).expect("it is longer") = [byte];
    }
    assert_eq!(
        edge::put_on(&mut sent, Framing::PLAIN.tagged(VLAN, 5)),
        None
    );
}
