//! A remote probe target: an address to ping, or a service of it to ask.
//!
//! In a text, what belongs to a URL follows it after blanks (`https://example.net/ status=204`); in a
//! table of the file each has a key. Both are read by the same code from [`Parts`].

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
    str::FromStr,
    sync::Arc,
};

use super::value::ValueError;
use crate::probe::{
    Family, Method, TargetId,
    service::{DnsQuestion, HttpRequest, Question, RecordType, Service},
};

mod url;

use url::{Host, Url};

/// Bytes of the longest target: more would not fit a label or a line.
const MAX_LEN: usize = 512;

/// An address beyond the next hop that is asked whether it can still be reached, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    address: IpAddr,
    /// `None` is a ping.
    service: Option<Arc<Service>>,
}

impl Target {
    /// An address to ping.
    pub const fn ping(address: IpAddr) -> Self {
        Self {
            address,
            service: None,
        }
    }

    /// The address that is asked.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The family of its address.
    pub const fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// What is asked; `None` is a ping.
    pub const fn service(&self) -> Option<&Arc<Service>> {
        self.service.as_ref()
    }

    /// How it is asked, as the target with this place in its uplink's list.
    pub fn method(&self, number: u8) -> Method {
        let Some(service) = &self.service else {
            return Method::Echo;
        };
        let port = service.port;
        match &service.question {
            Question::Tcp => Method::Tcp { port },
            Question::Dns(_) => Method::Dns { port, number },
            Question::Http(HttpRequest { tls: false, .. }) => Method::Http { port, number },
            Question::Http(HttpRequest { tls: true, .. }) => Method::Https { port, number },
        }
    }

    /// Its identity as the target with this place in the list of `uplink`.
    pub fn id(&self, uplink: u8, number: u8) -> TargetId {
        TargetId::remote(uplink, self.address, self.method(number))
    }

    /// Whether a certificate must be verified.
    pub fn verifies(&self) -> bool {
        self.service.as_ref().is_some_and(|service| {
            matches!(&service.question, Question::Http(request) if request.tls && request.verify)
        })
    }

    /// What tells it from the uplink's other targets: the text without what is expected of the
    /// answer. It is the label of its metrics.
    pub fn label(&self) -> String {
        let Some(service) = &self.service else {
            return self.address.to_string();
        };
        let host = Host::Address(self.address);
        let port = |usual: u16| Some(service.port).filter(|&port| port != usual);
        match &service.question {
            Question::Tcp => format!("tcp://{}", host.with_port(Some(service.port))),
            Question::Dns(DnsQuestion { name, record }) => {
                let name = if name.is_empty() { "." } else { name };
                format!("dns://{}/{name}?type={record}", host.with_port(port(53)))
            }
            Question::Http(request) => {
                let scheme = if request.tls { "https" } else { "http" };
                let url = format!("{scheme}://{}{}", request.authority, request.path);
                match url::host_of(&request.host) {
                    Some(Host::Address(_)) => url,
                    Some(Host::Name(_)) | None => format!("{url} address={}", self.address),
                }
            }
        }
    }
}

impl fmt::Display for Target {
    /// The text that reads back to the same target.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())?;
        let Some(Question::Http(request)) = self.service.as_ref().map(|service| &service.question)
        else {
            return Ok(());
        };
        if request.status != HttpRequest::STATUS {
            write!(f, " status={}", StatusText(&request.status))?;
        }
        if request.tls && !request.verify {
            f.write_str(" verify=false")?;
        }
        Ok(())
    }
}

struct StatusText<'r>(&'r RangeInclusive<u16>);

impl fmt::Display for StatusText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}

impl FromStr for Target {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason: String| ValueError::Target {
            given: text.into(),
            reason,
        };
        let mut words = text.split_ascii_whitespace();
        let mut parts = Parts {
            url: words.next().unwrap_or_default().into(),
            ..Parts::default()
        };
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| wrong(format!("{word:?} is not of the form KEY=VALUE")))?;
            let slot = parts.slot(key).ok_or_else(|| {
                wrong(format!(
                    "unknown key {key:?}; what may follow is {}",
                    Parts::KEYS[1..].join(", ")
                ))
            })?;
            if slot.replace(value.into()).is_some() {
                return Err(wrong(format!("{key} is given twice")));
            }
        }
        parts.read(text)
    }
}

/// What a target is written with, each part still a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// An address or a URL.
    pub url: String,
    /// Where to ask the host that the URL names.
    pub address: Option<String>,
    /// The statuses of HTTP that are expected.
    pub status: Option<String>,
    /// Whether the certificate is verified.
    pub verify: Option<String>,
    /// The type of DNS record that is expected.
    pub record: Option<String>,
}

impl Parts {
    /// The keys of a target's table.
    pub const KEYS: [&'static str; 5] = ["url", "address", "status", "verify", "type"];

    /// The place of an optional part.
    pub fn slot(&mut self, key: &str) -> Option<&mut Option<String>> {
        Some(match key {
            "address" => &mut self.address,
            "status" => &mut self.status,
            "verify" => &mut self.verify,
            "type" => &mut self.record,
            _ => return None,
        })
    }

    /// Reads the whole; `given` is what is named in an error.
    ///
    /// # Errors
    /// When it is no target.
    pub fn read(self, given: &str) -> Result<Target, ValueError> {
        let wrong = |reason: String| ValueError::Target {
            given: given.into(),
            reason,
        };
        if given.len() > MAX_LEN {
            return Err(wrong(format!("it is longer than {MAX_LEN} bytes")));
        }
        let whole = self.url.clone();
        let Some((scheme, rest)) = whole.split_once("://") else {
            self.allow(&[]).map_err(wrong)?;
            let bare = self
                .url
                .strip_prefix('[')
                .and_then(|url| url.strip_suffix(']'));
            let address = match bare.map(str::parse::<Ipv6Addr>) {
                Some(Ok(address)) => remote(&address.to_string())?,
                Some(Err(_)) | None => remote(&self.url)?,
            };
            return Ok(Target::ping(address));
        };
        let url = Url::parse(rest).map_err(wrong)?;
        match scheme {
            "tcp" => self.tcp(&url, wrong),
            "dns" => self.dns(&url, wrong),
            "http" => self.http(false, &url, wrong),
            "https" => self.http(true, &url, wrong),
            _ => Err(wrong(format!(
                "{scheme:?} is not one of tcp, dns, http, https; an address alone is pinged"
            ))),
        }
    }

    /// Fails if an optional part is given that is not one of these.
    fn allow(&self, allowed: &[&str]) -> Result<(), String> {
        let given = [
            ("address", &self.address),
            ("status", &self.status),
            ("verify", &self.verify),
            ("type", &self.record),
        ];
        match given
            .iter()
            .find(|(key, value)| value.is_some() && !allowed.contains(key))
        {
            Some((key, _)) => Err(format!("{key} means nothing here")),
            None => Ok(()),
        }
    }

    fn tcp(
        self,
        url: &Url<'_>,
        wrong: impl Fn(String) -> ValueError,
    ) -> Result<Target, ValueError> {
        self.allow(&[]).map_err(&wrong)?;
        let address = address_of(url, &wrong)?;
        if !url.path.is_empty() || url.query.is_some() {
            return Err(wrong("nothing follows the port of a tcp target".into()));
        }
        let Some(port) = url.port else {
            return Err(wrong(format!(
                "the port is missing, as in \"tcp://{}\"",
                Host::Address(address).with_port(Some(443))
            )));
        };
        Ok(target(address, port, Question::Tcp))
    }

    fn dns(
        self,
        url: &Url<'_>,
        wrong: impl Fn(String) -> ValueError,
    ) -> Result<Target, ValueError> {
        self.allow(&["type"]).map_err(&wrong)?;
        let address = address_of(url, &wrong)?;
        let name = url.path.trim_start_matches('/');
        let Some(name) = url::dns_name(name) else {
            return Err(wrong(format!("{name:?} is not a name of the DNS")));
        };
        let in_url = match url.query.map(|query| query.split_once('=')) {
            None => None,
            Some(Some((key, record))) if key.eq_ignore_ascii_case("type") => {
                Some(record.to_owned())
            }
            Some(_) => return Err(wrong("only ?type=TYPE may follow the name".into())),
        };
        if in_url.is_some() && self.record.is_some() {
            return Err(wrong("type is given twice".into()));
        }
        // The root's name servers are what every resolver knows.
        let usual = if name.is_empty() {
            RecordType::Ns
        } else {
            RecordType::A
        };
        let record = match in_url.or(self.record) {
            None => usual,
            Some(record) => record.parse().map_err(|()| {
                let known: Vec<&str> = RecordType::ALL.iter().map(|known| known.name()).collect();
                wrong(format!(
                    "the type {record:?} is not one of {}",
                    known.join(", ")
                ))
            })?,
        };
        let name = name.to_owned();
        let question = Question::Dns(DnsQuestion { name, record });
        Ok(target(address, url.port.unwrap_or(53), question))
    }

    fn http(
        self,
        tls: bool,
        url: &Url<'_>,
        wrong: impl Fn(String) -> ValueError,
    ) -> Result<Target, ValueError> {
        let allowed: &[&str] = if tls {
            &["address", "status", "verify"]
        } else {
            &["address", "status"]
        };
        self.allow(allowed).map_err(&wrong)?;
        let (host, address) = match (&url.host, &self.address) {
            (Host::Address(address), None) => (address.to_string(), remote(&address.to_string())?),
            (Host::Address(_), Some(_)) => {
                return Err(wrong("the URL has the address already".into()));
            }
            (Host::Name(name), Some(address)) => ((*name).to_owned(), remote(address)?),
            (Host::Name(name), None) => {
                return Err(wrong(format!(
                    "the address of {name:?} is missing: a name is not looked up, since the answer \
                     could come by another uplink; add address=ADDRESS"
                )));
            }
        };
        let status = match &self.status {
            None => HttpRequest::STATUS,
            Some(status) => statuses(status).ok_or_else(|| {
                wrong(format!(
                    "the status {status:?} is neither a number from 200 to 599 nor a range such as \
                     \"200-299\""
                ))
            })?,
        };
        let verify = match self.verify.as_deref() {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(wrong("verify is either true or false".into())),
        };
        let usual = if tls { 443 } else { 80 };
        let port = url.port.unwrap_or(usual);
        let path = match (url.path, url.query) {
            ("", None) => "/".to_owned(),
            ("", Some(query)) => format!("/?{query}"),
            (path, None) => path.to_owned(),
            (path, Some(query)) => format!("{path}?{query}"),
        };
        let authority = url.host.with_port(Some(port).filter(|&port| port != usual));
        let request = HttpRequest {
            tls,
            host,
            authority,
            path,
            status,
            verify,
        };
        Ok(target(address, port, Question::Http(request)))
    }
}

fn target(address: IpAddr, port: u16, question: Question) -> Target {
    Target {
        address,
        service: Some(Arc::new(Service { port, question })),
    }
}

/// The address of a URL whose host must be one.
fn address_of(url: &Url<'_>, wrong: &impl Fn(String) -> ValueError) -> Result<IpAddr, ValueError> {
    match &url.host {
        Host::Address(address) => remote(&address.to_string()),
        Host::Name(name) => Err(wrong(format!(
            "{name:?} is not an IPv4 address or an IPv6 address in brackets, and names are not \
             looked up"
        ))),
    }
}

/// An address that lies beyond the next hop.
fn remote(text: &str) -> Result<IpAddr, ValueError> {
    let address = super::value::host_address("a probe target", text)?;
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if link_local {
        return Err(ValueError::UnusableAddress {
            what: "a probe target",
            address,
            reason: "link-local, which no router passes on (the next hop is probed anyway)",
        });
    }
    Ok(address)
}

/// One status, or a range of them.
fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: u16 = text.parse().ok().filter(|_| digits)?;
        (200..=599).contains(&number).then_some(number)
    };
    let range = number(first)?..=number(last)?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests;
