//! Devices whose frames have no Ethernet header: which they are, and what to do instead.
//!
//! The programs read and write Ethernet headers, and redirect frames from device to device as they are. A device
//! of another kind carries bare IP packets, or headers of its own, so that what is redirected to it would be read
//! as something else; most have no XDP at all.

use std::{fmt, io};

use super::state::{ETHERNET, Link};

/// Hardware types of linux/if_arp.h that are told from others.
const PPP: u16 = 512;
const RAW_IP: u16 = 519;
const LOOPBACK: u16 = 772;
const NONE: u16 = 0xfffe;
/// IPIP, IPv6 in IPv6, SIT, GRE, GRE over IPv6.
const TUNNELS: [u16; 5] = [768, 769, 776, 778, 823];

/// Why a device can be neither LAN port nor uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ppp,
    Tunnel,
    Modem,
    Loopback,
    Other(u16),
    NoMac,
}

impl Misfit {
    /// What a device of this hardware type is, if it is not Ethernet.
    pub fn of(hardware: u16) -> Option<Self> {
        let kind = match hardware {
            ETHERNET => return None,
            PPP => Kind::Ppp,
            RAW_IP => Kind::Modem,
            LOOPBACK => Kind::Loopback,
            tunnel if tunnel == NONE || TUNNELS.contains(&tunnel) => Kind::Tunnel,
            other => Kind::Other(other),
        };
        Some(Self(kind))
    }
}

impl Link {
    /// Why this device can be neither LAN port nor uplink, if it cannot.
    pub fn misfit(&self) -> Option<Misfit> {
        let without_mac = self.mac.is_none().then_some(Misfit(Kind::NoMac));
        Misfit::of(self.hardware).or(without_mac)
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the device is no Ethernet device: ")?;
        match self.0 {
            Kind::Ppp => f.write_str(
                "it is one of PPP. For PPPoE name the Ethernet device below it, and `pppoe = \"ppp0\"`; any \
                 other PPP belongs into a network namespace of its own, joined by a veth pair (docs/guide.md, \
                 Tunnels)",
            ),
            Kind::Tunnel => f.write_str(
                "it is a tunnel that carries bare IP packets, such as WireGuard, tun, GRE or IPIP. Put it into a \
                 network namespace of its own, joined by a veth pair, and name the veth device \
                 (docs/guide.md, Tunnels)",
            ),
            Kind::Modem => f.write_str(
                "it is a modem that carries bare IP packets. Have its driver emulate Ethernet (qmi_wwan: raw_ip N), \
                 or put it into a network namespace of its own, joined by a veth pair (docs/guide.md, Tunnels)",
            ),
            Kind::Loopback => f.write_str("it is the loopback device"),
            Kind::Other(hardware) => write!(f, "its hardware type is {hardware} (linux/if_arp.h)"),
            Kind::NoMac => f.write_str("it has no MAC address"),
        }
    }
}

/// The hardware type of a device in this process's network namespace; `None` when there is no such device.
///
/// Needs no privilege.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn hardware_of(device: &str) -> io::Result<Option<u16>> {
    // SAFETY: the call takes no memory.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else's.
    let socket = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(socket) };
    // SAFETY: all of it is integers and an array of them, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = device.as_bytes();
    // The last byte ends the name.
    if name.len() >= request.ifr_name.len() {
        return Ok(None);
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name) {
        *place = libc::c_char::from_ne_bytes([*byte]);
    }
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: the request is a whole `ifreq` with a name that ends, and outlives the call.
    let answer = unsafe { libc::ioctl(descriptor, libc::SIOCGIFHWADDR, &raw mut request) };
    if answer == 0 {
        // SAFETY: SIOCGIFHWADDR fills this member of the union.
        return Ok(Some(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family }));
    }
    match io::Error::last_os_error() {
        gone if gone.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_device_is_told_what_to_do() {
        for (hardware, advice) in [
            (512, "`pppoe = \"ppp0\"`"),
            (0xfffe, "a veth pair"),
            (768, "a veth pair"),
            (778, "a veth pair"),
            (519, "raw_ip N"),
            (772, "loopback"),
            (32, "hardware type is 32"),
        ] {
            let misfit = Misfit::of(hardware).map(|misfit| misfit.to_string());
            assert!(
                misfit.as_ref().is_some_and(|it| it.contains(advice)),
                "{misfit:?}"
            );
        }
        assert_eq!(Misfit::of(ETHERNET), None);
    }

    #[test]
    fn the_kernel_tells_what_a_device_is() {
        assert_eq!(hardware_of("lo").expect("it can be asked"), Some(LOOPBACK));
        assert_eq!(
            hardware_of("no-such-device").expect("it can be asked"),
            None
        );
        assert_eq!(
            hardware_of("a-name-that-is-too-long-for-a-device").expect("it can be asked"),
            None
        );
    }
}
