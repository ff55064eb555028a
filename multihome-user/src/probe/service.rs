//! Services that are asked in place of a ping: what is asked, and which answer is expected.

use std::{fmt, ops::RangeInclusive, str::FromStr};

/// A service of a target's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its TCP or UDP port, not 0.
    pub port: u16,
    /// What it is asked.
    pub question: Question,
}

/// What a service is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether a TCP connection comes about. A reset is a refusal: the host answers, but not the
    /// service that was named.
    Tcp,
    /// A DNS query by UDP with recursion desired.
    Dns(DnsQuestion),
    /// An HTTP/1.1 request.
    Http(HttpRequest),
}

/// A DNS question. The answer must have code NOERROR and a record of this type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsQuestion {
    /// The name without the dot at its end; empty for the root.
    pub name: String,
    /// The record's type.
    pub record: RecordType,
}

/// An HTTP request by GET. The status of the answer must be an expected one; redirections are not
/// followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// By TLS.
    pub tls: bool,
    /// Name or address of the server, without port: what its certificate must be of.
    pub host: String,
    /// Host and, unless it is the scheme's own, port (RFC 9112 section 3.2).
    pub authority: String,
    /// Path and query, beginning with a slash.
    pub path: String,
    /// The statuses that are expected.
    pub status: RangeInclusive<u16>,
    /// The certificate must be valid for `host`, at this time, by the system's authorities.
    pub verify: bool,
}

impl HttpRequest {
    /// The statuses that are expected unless told otherwise: all but errors.
    pub const STATUS: RangeInclusive<u16> = 200..=399;
}

macro_rules! record_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)+) => {
        /// The type of a DNS record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum RecordType { $($(#[$doc])* $name,)+ }

        impl RecordType {
            /// All that can be asked for.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its number (RFC 1035 section 3.2.2, and the RFC of each newer one).
            pub const fn code(self) -> u16 {
                match self { $(Self::$name => $code,)+ }
            }

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

record_types! {
    /// IPv4 address.
    A = 1, "A";
    /// Name server.
    Ns = 2, "NS";
    /// Another name.
    Cname = 5, "CNAME";
    /// Start of a zone.
    Soa = 6, "SOA";
    /// Name of an address.
    Ptr = 12, "PTR";
    /// Mail server.
    Mx = 15, "MX";
    /// Text.
    Txt = 16, "TXT";
    /// IPv6 address.
    Aaaa = 28, "AAAA";
    /// Place of a service.
    Srv = 33, "SRV";
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RecordType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let named = |record: &&Self| record.name().eq_ignore_ascii_case(text);
        Self::ALL.iter().find(named).copied().ok_or(())
    }
}
