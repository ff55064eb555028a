//! What connections by an uplink may open with, by its MTU. No I/O.

use super::{Controller, Uplink};
use crate::config::MssClamp;

/// Bytes of a packet that are no payload: IP and TCP header without options, by family.
const HEADERS: [u16; 2] = [40, 60];
/// Every IPv6 path takes packets of 1280 bytes (RFC 8200 section 5).
const LEAST_IPV6: u16 = 1280 - HEADERS[1];

impl Controller {
    /// The largest MSS of connections by an uplink that takes packets of `mtu` bytes, by family; 0 for any.
    pub(super) fn mss(&self, uplink: &Uplink, mtu: u16) -> [u16; 2] {
        clamp(uplink.config.mss_clamp, mtu, self.lan_mtu())
    }

    /// The largest packet that any LAN port takes; 0 while none is there.
    fn lan_mtu(&self) -> u32 {
        let lan = self.lan.iter();
        let links = lan.filter_map(|(_, port)| self.net.link_by_name(&port.device));
        links.map(|link| link.mtu).max().unwrap_or_default()
    }
}

/// See [`Controller::mss`].
fn clamp(clamp: MssClamp, mtu: u16, lan_mtu: u32) -> [u16; 2] {
    let fits = HEADERS.map(|headers| mtu.saturating_sub(headers));
    let [v4, v6] = match clamp {
        MssClamp::Off => return [0; 2],
        MssClamp::Auto if u32::from(mtu) >= lan_mtu => return [0; 2],
        MssClamp::Auto => fits,
        MssClamp::At(mss) => {
            let longer = HEADERS[1] - HEADERS[0];
            [mss.min(fits[0]), mss.saturating_sub(longer).min(fits[1])]
        }
    };
    [v4, v6.max(LEAST_IPV6)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_itself_it_follows_an_mtu_that_is_smaller_than_the_lans() {
        assert_eq!(clamp(MssClamp::Auto, 1500, 1500), [0, 0]);
        assert_eq!(clamp(MssClamp::Auto, 1492, 1500), [1452, 1432]);
        assert_eq!(clamp(MssClamp::Auto, 1500, 9000), [1460, 1440]);
        assert_eq!(clamp(MssClamp::Auto, 9000, 1500), [0, 0]);
        assert_eq!(
            clamp(MssClamp::Auto, 1500, 0),
            [0, 0],
            "no LAN port is there"
        );
    }

    #[test]
    fn a_number_makes_packets_of_one_size_in_both_families() {
        assert_eq!(clamp(MssClamp::At(1400), 1500, 1500), [1400, 1380]);
        assert_eq!(clamp(MssClamp::At(1460), 1492, 1500), [1452, 1432]);
        assert_eq!(clamp(MssClamp::Off, 1280, 1500), [0, 0]);
    }

    #[test]
    fn every_ipv6_host_may_send_packets_of_1280_bytes() {
        assert_eq!(clamp(MssClamp::At(536), 1500, 1500), [536, 1220]);
        assert_eq!(clamp(MssClamp::Auto, 1000, 1500), [960, 1220]);
    }
}
