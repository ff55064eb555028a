//! What goes over the control socket: requests and responses, each one line of JSON.

use serde::{Deserialize, Serialize};

use crate::{config::Ipv6Prefix, status::Status};

/// The longest request that the controller reads, in bytes with the line's end.
pub const MAX_REQUEST: usize = 64 * 1024;
/// The longest response that a client reads, in bytes with the line's end: many times the status
/// of 64 uplinks.
pub const MAX_RESPONSE: usize = 4 * 1024 * 1024;

/// What a client asks of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How everything stands.
    Status {},
    /// Take everything off the devices and end.
    Detach {},
    /// The provider of an uplink leads this IPv6 prefix to the gateway; without one, what is
    /// configured holds.
    Prefix {
        /// The uplink's name.
        uplink: String,
        /// The prefix.
        prefix: Option<Ipv6Prefix>,
    },
}

/// What the controller answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// How everything stands.
    Status(Box<Status>),
    /// Everything was taken off the devices; the controller ends now.
    Detached,
    /// The request was carried out.
    Done,
    /// The request asks for what cannot be done.
    Unfit(String),
    /// The request was not carried out.
    Error(String),
}

/// One line of JSON with its end.
pub(super) fn line(message: &impl Serialize) -> Vec<u8> {
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
                Request::Prefix {
                    uplink: "fibre".into(),
                    prefix: "2001:db8:1::/48".parse().ok(),
                },
                "{\"command\":\"prefix\",\"uplink\":\"fibre\",\"prefix\":\"2001:db8:1::/48\"}\n",
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
            (Response::Done, "\"done\"\n"),
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
            "{\"command\":\"drain\"}",
            "{\"command\":5}",
            "{}",
            "\"status\"",
            "[]",
        ] {
            assert!(serde_json::from_str::<Request>(wire).is_err(), "{wire}");
        }
    }
}
