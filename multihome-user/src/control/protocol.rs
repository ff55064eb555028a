//! What goes over the control socket: requests and responses, each one line of JSON.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    delegation::Delegation,
    drain::Drain,
    events::{EventQuery, Record},
    status::Status,
};

/// The longest request that the controller reads, in bytes with the line's end.
pub const MAX_REQUEST: usize = 64 * 1024;
/// The longest response that a client reads, in bytes with the line's end: many times the status
/// of 64 uplinks.
pub const MAX_RESPONSE: usize = 4 * 1024 * 1024;

/// The longest response that is one of many, in bytes with the line's end.
pub const MAX_EVENT: usize = 64 * 1024;

/// What a client asks of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How everything stands.
    Status {},
    /// Which prefixes are in force, of all uplinks or of one.
    Prefixes {
        /// The uplink's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uplink: Option<String>,
    },
    /// This is delegated to an uplink now.
    SetPrefix {
        /// The uplink's name.
        uplink: String,
        /// The prefix, or that there is none any more.
        prefix: Delegation,
    },
    /// What happened, and on demand what happens: many responses, the last one [`Response::End`].
    Events(EventQuery),
    /// Drain an uplink from now on.
    Drain {
        /// The uplink's name.
        uplink: String,
        /// Until when; left out, until it is told to end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Drain an uplink no longer.
    Undrain {
        /// The uplink's name.
        uplink: String,
    },
    /// Take everything off the devices and end.
    Detach {},
}

/// What the controller answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// How everything stands.
    Status(Box<Status>),
    /// The prefixes in force.
    Prefixes(Vec<PrefixInForce>),
    /// Something that happened.
    Event(Box<Record>),
    /// So many events are left out here: the client was too slow for them.
    Skipped(u64),
    /// There are no more events.
    End,
    /// How an uplink is drained now.
    Drain(DrainAnswer),
    /// Everything was taken off the devices; the controller ends now.
    Detached,
    /// What was asked cannot be done as it was asked; nothing was changed.
    Refused(String),
    /// The request was not carried out.
    Error(String),
}

/// The prefix that an uplink translates the LAN's to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixInForce {
    /// The uplink's name.
    pub uplink: String,
    /// The prefix; none while none is delegated.
    pub prefix: Option<String>,
    /// It is told, and not configured.
    pub delegated: bool,
    /// What may surprise about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// How an uplink is drained now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainAnswer {
    /// The uplink's name.
    pub uplink: String,
    /// Since when it is drained, and until when; none when it is not.
    pub drain: Option<Drain>,
    /// The same before the request.
    pub before: Option<Drain>,
    /// What may surprise about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// One line of JSON with its end.
pub(crate) fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("maps with text keys are always JSON");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_what_is_documented() {
        for (request, wire) in [
            (Request::Status {}, "{\"command\":\"status\"}\n"),
            (Request::Detach {}, "{\"command\":\"detach\"}\n"),
            (
                Request::Events(EventQuery {
                    follow: true,
                    uplink: Some("fibre".into()),
                    ..EventQuery::default()
                }),
                "{\"command\":\"events\",\"follow\":true,\"uplink\":\"fibre\"}\n",
            ),
            (
                Request::Prefixes { uplink: None },
                "{\"command\":\"prefixes\"}\n",
            ),
            (
                Request::Drain {
                    uplink: "fibre".into(),
                    until: None,
                },
                "{\"command\":\"drain\",\"uplink\":\"fibre\"}\n",
            ),
            (
                Request::Drain {
                    uplink: "fibre".into(),
                    until: "2026-01-02T03:04:05Z".parse().ok(),
                },
                "{\"command\":\"drain\",\"uplink\":\"fibre\",\"until\":\"2026-01-02T03:04:05Z\"}\n",
            ),
            (
                Request::Undrain {
                    uplink: "fibre".into(),
                },
                "{\"command\":\"undrain\",\"uplink\":\"fibre\"}\n",
            ),
            (
                Request::SetPrefix {
                    uplink: "fibre".into(),
                    prefix: "2001:db8:1::/48".parse().expect("a prefix"),
                },
                "{\"command\":\"set_prefix\",\"uplink\":\"fibre\",\"prefix\":\"2001:db8:1::/48\"}\n",
            ),
        ] {
            assert_eq!(line(&request), wire.as_bytes());
            assert_eq!(
                serde_json::from_str::<Request>(wire).expect("it is a request"),
                request
            );
        }
        for (response, wire) in [
            (Response::Detached, "\"detached\"\n"),
            (Response::Skipped(3), "{\"skipped\":3}\n"),
            (Response::End, "\"end\"\n"),
            (Response::Refused("no".into()), "{\"refused\":\"no\"}\n"),
            (Response::Error("no".into()), "{\"error\":\"no\"}\n"),
        ] {
            assert_eq!(line(&response), wire.as_bytes());
            assert_eq!(
                serde_json::from_str::<Response>(wire).expect("an answer"),
                response
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_not_half_done() {
        for wire in [
            "{\"command\":\"status\",\"since\":5}",
            "{\"command\":\"events\",\"folow\":true}",
            "{\"command\":\"events\",\"kinds\":[\"no_such_kind\"]}",
            "{\"command\":\"drain\"}",
            "{\"command\":\"drain\",\"uplink\":\"fibre\",\"until\":\"30m\"}",
            "{\"command\":\"undrain\",\"uplink\":\"fibre\",\"until\":\"2026-01-02T03:04:05Z\"}",
            // What is left out must not be taken for none.
            "{\"command\":\"set_prefix\",\"uplink\":\"fibre\"}",
            "{\"command\":\"set_prefix\",\"uplink\":\"fibre\",\"prefix\":null}",
            "{\"command\":\"set_prefix\",\"uplink\":\"fibre\",\"prefix\":\"fe80::/64\"}",
            "{\"command\":5}",
            "{}",
            "\"status\"",
            "[]",
        ] {
            assert!(serde_json::from_str::<Request>(wire).is_err(), "{wire}");
        }
    }
}
