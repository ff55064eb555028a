//! The part of a probe target's URL behind the scheme: host, port, path and query (RFC 3986).

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

/// Bytes of the longest name (RFC 1035 section 2.3.4), in the form with dots.
const MAX_NAME: usize = 253;
/// Bytes of the longest label.
const MAX_LABEL: usize = 63;

/// A URL without its scheme.
#[derive(Debug, PartialEq, Eq)]
pub struct Url<'t> {
    pub host: Host<'t>,
    pub port: Option<u16>,
    /// Empty, or beginning with a slash.
    pub path: &'t str,
    /// What stands behind the question mark.
    pub query: Option<&'t str>,
}

/// Who is asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Host<'t> {
    Address(IpAddr),
    Name(&'t str),
}

impl Host<'_> {
    /// As it stands in a URL, with the port if one is given.
    pub fn with_port(&self, port: Option<u16>) -> String {
        match (self, port) {
            (Self::Address(address), Some(port)) => SocketAddr::new(*address, port).to_string(),
            (Self::Name(name), Some(port)) => format!("{name}:{port}"),
            (Self::Address(_) | Self::Name(_), None) => self.to_string(),
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl<'t> Url<'t> {
    /// Takes a URL apart that begins behind "://".
    pub fn parse(text: &'t str) -> Result<Self, String> {
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(format!("{odd:?} cannot stand in a URL"));
        }
        if text.contains('#') {
            return Err("a fragment (#) is never sent".into());
        }
        let end = text.find(['/', '?']).unwrap_or(text.len());
        let (authority, rest) = text.split_at(end);
        if authority.contains('@') {
            return Err("user and password are not supported".into());
        }
        let (host, port) = split_port(authority)?;
        let port = port.map(read_port).transpose()?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let host = host_of(host).ok_or_else(|| {
            format!("{host:?} is neither an address (IPv6 in brackets) nor a name")
        })?;
        Ok(Self {
            host,
            port,
            path,
            query,
        })
    }
}

/// Splits host and port; an IPv6 address has brackets.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest
            .split_once(']')
            .ok_or_else(|| format!("{authority:?} has no closing bracket"))?;
        return match (address.parse::<Ipv6Addr>(), port.strip_prefix(':')) {
            (Err(_), _) => Err(format!("{address:?} is not an IPv6 address")),
            (Ok(_), Some(port)) => Ok((address, Some(port))),
            (Ok(_), None) if port.is_empty() => Ok((address, None)),
            (Ok(_), None) => Err(format!("{port:?} cannot follow an address")),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            Err(format!("{authority:?}: an IPv6 address stands in brackets"))
        }
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

fn read_port(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if port != 0 && digits => Ok(port),
        _ => Err(format!("the port {text:?} is not a number from 1 to 65535")),
    }
}

/// What a host's text is, without brackets.
pub fn host_of(text: &str) -> Option<Host<'_>> {
    if let Ok(address) = text.parse() {
        return Some(Host::Address(address));
    }
    // A name whose last label is a number would be taken for an address (RFC 3696 section 2).
    let last = text.rsplit('.').next()?;
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    let fits = |label: &str| {
        is_label(label) && !label.contains('_') && !label.starts_with('-') && !label.ends_with('-')
    };
    (text.len() <= MAX_NAME && !is_number && text.split('.').all(fits)).then_some(Host::Name(text))
}

/// A name to ask the DNS for, without the dot at its end; empty for the root.
pub fn dns_name(text: &str) -> Option<&str> {
    let name = text.strip_suffix('.').unwrap_or(text);
    (name.is_empty() || name.len() <= MAX_NAME && name.split('.').all(is_label)).then_some(name)
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
