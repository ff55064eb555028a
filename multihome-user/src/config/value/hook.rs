//! What a hook is made of: words of its command, the address of a web server, kinds of events.

use std::str::FromStr;

use hyper::{Uri, http::uri::Scheme};

use super::ValueError;
use crate::{config::suggest, events::Kind};

/// A hook's name: a label in metrics, a word in logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookName(pub String);

impl FromStr for HookName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match super::is_label(text) {
            true => Ok(Self(text.into())),
            false => Err(ValueError::HookName(text.into())),
        }
    }
}

/// A program or an argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandWord(pub String);

impl FromStr for CommandWord {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.contains('\0') {
            false => Ok(Self(text.into())),
            true => Err(ValueError::CommandWord(text.into())),
        }
    }
}

/// The name of a kind of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventName(pub Kind);

impl FromStr for EventName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| {
            let names = || Kind::ALL.iter().map(|kind| kind.name());
            ValueError::Word {
                what: "the event",
                given: text.into(),
                allowed: names().collect::<Vec<_>>().join(", "),
                suggestion: suggest::closest(text, names()),
            }
        })
    }
}

/// Where events are posted: an `http` or `https` URL with a host, and without a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookUrl {
    text: String,
    uri: Uri,
    host: String,
    shown: String,
}

impl HookUrl {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Scheme and authority: what may be shown, since secrets are often in the rest.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether it is `https`.
    pub fn is_tls(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        let default = if self.is_tls() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(default)
    }

    /// Host and port as they were written.
    pub fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// What is asked of the server: path and query.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl FromStr for HookUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |reason: &str| ValueError::Url {
            given: text.into(),
            reason: reason.into(),
        };
        let uri: Uri = text.parse().map_err(|_| refused("it is no URL"))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(_) => return Err(refused("only http and https are spoken")),
            None => return Err(refused("it has no scheme")),
        }
        let Some(authority) = uri.authority() else {
            return Err(refused("it has no host"));
        };
        if authority.as_str().contains('@') {
            return Err(refused("a user and a password in it are not supported"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(refused("it has no host"));
        }
        let has_port = authority.as_str().len() > authority.host().len();
        if has_port && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(refused("its port is not from 1 to 65535"));
        }
        let shown = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        Ok(Self {
            text: text.into(),
            host,
            shown,
            uri,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, tls, host, port, path) in [
            ("http://192.0.2.1", false, "192.0.2.1", 80, "/"),
            (
                "https://alerts.example/hook?key=1",
                true,
                "alerts.example",
                443,
                "/hook?key=1",
            ),
            (
                "http://[2001:db8::1]:8080/a",
                false,
                "2001:db8::1",
                8080,
                "/a",
            ),
        ] {
            let url: HookUrl = text.parse().expect(text);
            assert_eq!(
                (url.is_tls(), url.host(), url.port(), url.path(), url.text()),
                (tls, host, port, path, text)
            );
            assert!(!url.shown().contains("key"), "{}", url.shown());
        }
    }

    #[test]
    fn what_is_no_url_of_a_web_server_is_refused() {
        for (text, reason) in [
            ("", "it is no URL"),
            ("alerts.example/hook", "it is no URL"),
            ("/hook", "it has no scheme"),
            ("ftp://alerts.example/", "only http and https are spoken"),
            (
                "http://me:secret@alerts.example/",
                "a user and a password in it are not supported",
            ),
            (
                "http://alerts.example:0/",
                "its port is not from 1 to 65535",
            ),
            (
                "http://alerts.example:70000/",
                "its port is not from 1 to 65535",
            ),
            ("http://a b/", "it is no URL"),
        ] {
            let error = text.parse::<HookUrl>().expect_err(text);
            let expected = ValueError::Url {
                given: text.into(),
                reason: reason.into(),
            };
            assert_eq!(error, expected, "{text}");
        }
    }

    #[test]
    fn an_event_that_is_nearly_one_is_suggested() {
        let error = "uplink-down"
            .parse::<EventName>()
            .expect_err("it has a dash");
        assert!(
            error
                .to_string()
                .ends_with("(did you mean \"uplink_down\"?)"),
            "{error}"
        );
        assert_eq!("uplink_down".parse(), Ok(EventName(Kind::UplinkDown)));
    }
}
