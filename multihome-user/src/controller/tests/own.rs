//! What the kernel's settings and the gateway's own routes depend on.

use super::*;
use crate::netlink::Address;

/// Which of the two uplinks' devices share a subnet, with these addresses of the second one's.
fn sharing(of_lte: &[Address]) -> [bool; 2] {
    let mut net = kernel();
    net.apply(&NetEvent::AddressGone(11, address(LTE)));
    for address in of_lte {
        net.apply(&NetEvent::AddressAdded(11, address.clone()));
    }
    let story = Story::begin_on(net, 1, None);
    let (devices, _) = story.controller.watched_devices();
    [devices[0].shares_subnet, devices[1].shares_subnet]
}

fn ipv4(last: u8, prefix_len: u8) -> Address {
    Address {
        address: IpAddr::from([192, 0, 2, last]),
        prefix_len,
        ..address(LTE)
    }
}

/// Two lines of one ISP, in one subnet: the kernel would answer ARP for either on both.
#[test]
fn a_subnet_is_shared_when_another_uplinks_address_is_in_it() {
    // The first one's address is 192.0.2.2/30.
    assert_eq!(sharing(&[ipv4(6, 30)]), [false, false]);
    assert_eq!(sharing(&[ipv4(1, 30)]), [true, true]);
    assert_eq!(sharing(&[ipv4(4, 32)]), [false, false]);
    assert_eq!(sharing(&[ipv4(3, 32)]), [true, false]);
    assert_eq!(sharing(&[ipv4(129, 24)]), [false, true]);
    assert_eq!(sharing(&[ipv4(6, 30), ipv4(2, 32)]), [true, true]);
    assert_eq!(sharing(&[]), [false, false]);
}
