//! Addresses of the configuration: next hops, outside addresses, and where metrics are served.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    str::FromStr,
};

use super::ValueError;

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway(pub IpAddr);

impl FromStr for Gateway {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        host_address("a gateway", text).map(Self)
    }
}

/// A neighbour that speaks BFD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdNeighbour(pub IpAddr);

impl FromStr for BfdNeighbour {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        host_address("a BFD peer", text).map(Self)
    }
}

/// An address that inside IPv4 addresses are translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside(pub Ipv4Addr);

impl FromStr for Outside {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        host_address4("an outside address", text).map(Self)
    }
}

/// A host of the LAN and a port of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside(pub SocketAddrV4);

impl FromStr for Inside {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inside: SocketAddrV4 = text
            .parse()
            .ok()
            .filter(|inside: &SocketAddrV4| inside.port() != 0)
            .ok_or_else(|| ValueError::Inside(text.into()))?;
        host_address4("the inside of a forward", &inside.ip().to_string())?;
        Ok(Self(inside))
    }
}

/// An IPv4 address that one host can have.
fn host_address4(what: &'static str, text: &str) -> Result<Ipv4Addr, ValueError> {
    let address = text
        .parse()
        .map_err(|_| ValueError::Address4(text.into()))?;
    host_address(what, text)?;
    Ok(address)
}

/// An address that one host can have and that can be asked over an uplink.
pub fn host_address(what: &'static str, text: &str) -> Result<IpAddr, ValueError> {
    let address: IpAddr = text.parse().map_err(|_| ValueError::Address(text.into()))?;
    let reason = match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ if address.is_loopback() => Some("a loopback address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("in 0.0.0.0/8, \"this network\""),
        IpAddr::V4(v4) if v4.octets()[0] >= 240 => Some("in the reserved 240.0.0.0/4"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Some("an IPv4 address in IPv6 form; write it as IPv4")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    match reason {
        Some(reason) => Err(ValueError::UnusableAddress {
            what,
            address,
            reason,
        }),
        None => Ok(address),
    }
}

/// Where metrics are served; `None` is "off".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl FromStr for Listen {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|address| Self(Some(address)))
            .map_err(|_| ValueError::Listen {
                given: text.into(),
                example: listen_example(text),
            })
    }
}

/// What somebody may have meant who wrote a port alone, or an address alone.
fn listen_example(text: &str) -> String {
    let address = text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let port = text.trim_start_matches(['*', ':']).parse::<u16>().ok();
    match (address, port) {
        (Some(address), _) => {
            format!(
                "with a port it is {:?}",
                SocketAddr::new(address, 9750).to_string()
            )
        }
        (None, Some(port)) => format!(
            "for this machine alone write \"127.0.0.1:{port}\", for all addresses \"[::]:{port}\""
        ),
        (None, None) => "an example is \"127.0.0.1:9750\"".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_must_be_of_one_host() {
        for good in [
            "192.0.2.1",
            "10.0.0.1",
            "fe80::1",
            "2001:db8::1",
            "169.254.1.1",
        ] {
            assert!(good.parse::<Gateway>().is_ok(), "{good}");
        }
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.5",
            "255.255.255.255",
            "250.0.0.1",
            "::",
            "::1",
            "ff02::1",
            "::ffff:192.0.2.1",
        ] {
            let error = bad.parse::<Gateway>().expect_err(bad).to_string();
            assert!(error.contains(" cannot be a gateway: it is "), "{error}");
        }
        for bad in ["", "192.0.2", "192.0.2.0/24", "gw.example", "fe80::1%eth0"] {
            assert_eq!(bad.parse::<Gateway>(), Err(ValueError::Address(bad.into())));
        }
    }

    #[test]
    fn an_outside_address_is_ipv4() {
        let address = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!("192.0.2.1".parse(), Ok(Outside(address)));
        for bad in ["", "2001:db8::1", "192.0.2.0/24"] {
            assert_eq!(
                bad.parse::<Outside>(),
                Err(ValueError::Address4(bad.into()))
            );
        }
        assert_eq!(
            "224.0.0.1".parse::<Outside>().unwrap_err().to_string(),
            "224.0.0.1 cannot be an outside address: it is a multicast address"
        );
    }

    #[test]
    fn an_inside_is_a_host_and_a_port() {
        let inside = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 10), 80);
        assert_eq!("192.168.1.10:80".parse(), Ok(Inside(inside)));
        for bad in [
            "",
            "192.168.1.10",
            "192.168.1.10:0",
            "192.168.1.10:65536",
            "[fd12::1]:80",
            "host:80",
        ] {
            assert_eq!(bad.parse::<Inside>(), Err(ValueError::Inside(bad.into())));
        }
        assert_eq!(
            "127.0.0.1:80".parse::<Inside>().unwrap_err().to_string(),
            "127.0.0.1 cannot be the inside of a forward: it is a loopback address"
        );
    }

    #[test]
    fn the_metrics_address_needs_a_port() {
        assert_eq!("off".parse(), Ok(Listen(None)));
        assert_eq!(
            "[::1]:80".parse(),
            Ok(Listen(Some(([0, 0, 0, 0, 0, 0, 0, 1], 80).into())))
        );
        for (bad, help) in [
            ("127.0.0.1", "\"127.0.0.1:9750\""),
            ("::1", "\"[::1]:9750\""),
            ("[::]", "\"[::]:9750\""),
            (":9100", "\"127.0.0.1:9100\""),
            ("9100", "\"127.0.0.1:9100\""),
            ("localhost:9750", "\"127.0.0.1:9750\""),
            ("", "\"127.0.0.1:9750\""),
        ] {
            let error = bad.parse::<Listen>().expect_err(bad).to_string();
            assert!(error.contains(help), "{error}");
        }
    }
}
