//! Pairs of virtual Ethernet devices between namespaces, set up so that XDP can use them.

use std::fmt;

use super::Namespace;

/// One end of a pair.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// Its name.
    pub device: &'a str,
    /// Its index.
    ///
    /// It must differ from the other end's index: the kernel takes a device whose peer has the
    /// same index for one without a peer, and reports the loss of its carrier up to a second
    /// late. In namespaces of their own, devices would often get the same index.
    pub index: u32,
    /// Its hardware address.
    pub mac: Mac,
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A locally administered address with these last two bytes.
    pub const fn local(high: u8, low: u8) -> Self {
        Self([2, 0, 0, 0, high, low])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The line of iproute2's batch language that makes a pair.
pub fn pair(one: End<'_>, other: End<'_>, mtu: u32) -> String {
    let end = |end: End<'_>| {
        format!(
            "name {} index {} address {} mtu {mtu} netns {}",
            end.device,
            end.index,
            end.mac,
            end.namespace.full_name()
        )
    };
    format!("link add {} type veth peer {}\n", end(one), end(other))
}

/// Offloads of a device whose frames meet an XDP program at the other end, or that is to receive
/// frames that one has redirected to it.
///
/// Checksums must be in the packets, as the program changes them incrementally; segments must have
/// their size on the wire. A veth device receives redirected frames only while it polls, which
/// `gro on` makes it do.
pub const FACING_XDP: [&str; 8] = ["tx", "off", "tso", "off", "gso", "off", "gro", "on"];
