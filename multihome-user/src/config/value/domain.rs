//! Domains, as rules name them.

use std::{fmt, str::FromStr};

use super::ValueError;

/// A domain name, or with `*.` before it all names below it. In lower case, without the dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainPattern {
    name: String,
    below: bool,
}

impl DomainPattern {
    /// Whether a name, in lower case and without the dot at the end, is meant.
    pub fn matches(&self, name: &str) -> bool {
        if self.below {
            name.strip_suffix(&self.name)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            name == self.name
        }
    }

    /// Whether every name that another pattern means is meant by this one.
    pub fn covers(&self, other: &Self) -> bool {
        if other.below {
            self.below && (self.name == other.name || self.matches(&other.name))
        } else {
            self.matches(&other.name)
        }
    }
}

impl FromStr for DomainPattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let (name, below) = match lower.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_label = |label: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len())
                && label.bytes().all(allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A name has at most 255 bytes on the wire (RFC 1035 section 3.1).
        if name.len() <= 253 && name.split('.').all(is_label) {
            let name = name.to_owned();
            Ok(Self { name, below })
        } else {
            Err(ValueError::Domain(text.into()))
        }
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.below {
            write!(f, "*.{}", self.name)
        } else {
            f.write_str(&self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> DomainPattern {
        text.parse().expect(text)
    }

    #[test]
    fn a_star_means_all_names_below() {
        for (text, meant, other) in [
            (
                "example.net",
                &["example.net"][..],
                &["www.example.net", "example.org", "net"][..],
            ),
            (
                "*.Example.NET.",
                &["www.example.net", "a.b.example.net"],
                &[
                    "example.net",
                    "badexample.net",
                    ".example.net",
                    "example.net.org",
                ],
            ),
        ] {
            let pattern = pattern(text);
            assert!(meant.iter().all(|name| pattern.matches(name)), "{text}");
            assert!(!other.iter().any(|name| pattern.matches(name)), "{text}");
            assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
        for bad in [
            "",
            "*",
            "*.",
            "a..b",
            "-a.net",
            "a b.net",
            "*.*.net",
            "ä.net",
            "www.*.net",
        ] {
            assert_eq!(
                bad.parse::<DomainPattern>(),
                Err(ValueError::Domain(bad.into()))
            );
        }
    }

    #[test]
    fn a_pattern_covers_what_lies_below_it() {
        let covers = |a: &str, b: &str| pattern(a).covers(&pattern(b));
        assert!(covers("*.net", "www.example.net") && covers("*.net", "*.example.net"));
        assert!(covers("a.net", "a.net") && covers("*.a.net", "*.a.net"));
        assert!(!covers("a.net", "*.a.net") && !covers("*.a.net", "a.net"));
        assert!(!covers("*.a.net", "*.net"));
    }
}
