//! What a target that answered can have answered wrongly, for people to read.

use std::fmt;

/// Why an answer is not the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The host refused the connection by a reset.
    Refused,
    /// The connection ended before the answer was complete.
    Closed,
    /// The certificate is not one of the target, or nobody trusted vouches for it.
    Certificate,
    /// TLS failed otherwise.
    Tls,
    /// What came is not HTTP.
    NotHttp,
    /// An HTTP status that is not expected.
    Status(u16),
    /// A DNS response code other than NOERROR (RFC 1035 section 4.1.1).
    DnsCode(u8),
    /// The DNS answer has no record of the expected type.
    NoRecord,
    /// What came is not a DNS answer.
    NotDns,
    /// More came than any answer needs.
    TooLong,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the connection was refused",
            Self::Closed => "the connection was closed before an answer",
            Self::Certificate => "the certificate is not accepted",
            Self::Tls => "TLS failed",
            Self::NotHttp => "the answer is not HTTP",
            Self::Status(status) => return write!(f, "the HTTP status is {status}"),
            Self::DnsCode(code) => {
                return match dns_code(*code) {
                    Some(name) => write!(f, "the DNS answer is {name}"),
                    None => write!(f, "the DNS answer has code {code}"),
                };
            }
            Self::NoRecord => "the DNS answer has no record of the expected type",
            Self::NotDns => "the answer is not DNS",
            Self::TooLong => "the answer does not end",
        })
    }
}

/// The names that operators know (RFC 1035, RFC 2136).
const fn dns_code(code: u8) -> Option<&'static str> {
    match code {
        1 => Some("FORMERR"),
        2 => Some("SERVFAIL"),
        3 => Some("NXDOMAIN"),
        4 => Some("NOTIMP"),
        5 => Some("REFUSED"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_codes_have_their_names() {
        assert_eq!(
            Failure::DnsCode(2).to_string(),
            "the DNS answer is SERVFAIL"
        );
        assert_eq!(Failure::DnsCode(9).to_string(), "the DNS answer has code 9");
        assert_eq!(Failure::Status(503).to_string(), "the HTTP status is 503");
    }
}
