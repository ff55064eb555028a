//! HTTP/1.1 as far as a probe needs it: a request, and the status of its answer (RFC 9112).

use std::ops::RangeInclusive;

use crate::probe::{Failure, service::HttpRequest};

/// The longest status line, with its end.
const MAX_LINE: usize = 1024;
/// The longest that interim answers may be together.
const MAX_HEADS: usize = 8 * 1024;

/// A request as it is sent.
pub fn request(request: &HttpRequest) -> Vec<u8> {
    // The server may be asked by name where it is reached by address, and need not keep the connection.
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: multihome/{}\r\nAccept: */*\r\nConnection: \
         close\r\n\r\n",
        request.path,
        request.authority,
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes()
}

/// The beginning of an answer, of which the status is all that counts.
pub struct Head {
    expected: RangeInclusive<u16>,
    received: Vec<u8>,
    /// Bytes of interim answers that were passed over.
    passed: usize,
}

impl Head {
    /// An answer of which nothing has come.
    pub const fn new(expected: RangeInclusive<u16>) -> Self {
        Self {
            expected,
            received: Vec::new(),
            passed: 0,
        }
    }

    /// Takes what came next; the result when the final status is known.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Result<(), Failure>> {
        self.received.extend_from_slice(bytes);
        loop {
            let Some(end) = self.received.iter().position(|&byte| byte == b'\n') else {
                let hopeless = self.received.len() > MAX_LINE || !may_be_status(&self.received);
                return hopeless.then_some(Err(Failure::NotHttp));
            };
            let status = match status(&self.received[..=end]) {
                Some(status) if end < MAX_LINE => status,
                Some(_) | None => return Some(Err(Failure::NotHttp)),
            };
            // Interim answers come before the final one (RFC 9110 section 15.2); nobody asked for
            // another protocol.
            if !(100..=199).contains(&status) || status == 101 {
                let expected = self.expected.contains(&status);
                return Some(if expected {
                    Ok(())
                } else {
                    Err(Failure::Status(status))
                });
            }
            let head = self
                .received
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            match head {
                Some(at) => {
                    self.passed += at + 4;
                    self.received.drain(..at + 4);
                }
                None if self.passed + self.received.len() > MAX_HEADS => {
                    return Some(Err(Failure::TooLong));
                }
                None => return None,
            }
            if self.passed > MAX_HEADS {
                return Some(Err(Failure::TooLong));
            }
        }
    }
}

/// Whether bytes without a line's end may become a status line.
fn may_be_status(bytes: &[u8]) -> bool {
    let begin = b"HTTP/1.";
    let len = bytes.len().min(begin.len());
    bytes[..len] == begin[..len]
}

/// The status of a status line.
fn status(line: &[u8]) -> Option<u16> {
    // The reader wants a whole head.
    let mut head = line.trim_ascii_end().to_vec();
    head.extend(b"\r\n\r\n");
    let mut response = httparse::Response::new(&mut []);
    let complete = response.parse(&head).ok()?.is_complete();
    response
        .code
        .filter(|code| complete && (100..=599).contains(code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(text: &str) -> Option<Result<(), Failure>> {
        Head::new(200..=399).take(text.as_bytes())
    }

    #[test]
    fn the_status_decides_as_soon_as_it_is_known() {
        for (text, result) in [
            ("HTTP/1.1 200 OK\r\n", Some(Ok(()))),
            ("HTTP/1.0 204 \r\n", Some(Ok(()))),
            ("HTTP/1.1 302\r\nLocation: /\r\n\r\n", Some(Ok(()))),
            (
                "HTTP/1.1 503 Login first\r\n",
                Some(Err(Failure::Status(503))),
            ),
            ("HTTP/1.1 101 Other\r\n", Some(Err(Failure::Status(101)))),
            ("HTTP/1.1 200", None),
            ("HT", None),
            ("", None),
            ("SSH-2.0-OpenSSH\r\n", Some(Err(Failure::NotHttp))),
            ("SSH-2.0", Some(Err(Failure::NotHttp))),
            ("HTTP/2 200\r\n", Some(Err(Failure::NotHttp))),
            ("HTTP/1.1 abc\r\n", Some(Err(Failure::NotHttp))),
            ("HTTP/1.1 999 x\r\n", Some(Err(Failure::NotHttp))),
            ("\r\n", Some(Err(Failure::NotHttp))),
        ] {
            assert_eq!(answer(text), result, "{text:?}");
        }
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        assert_eq!(answer(early), None);
        assert_eq!(answer(&format!("{early}HTTP/1.1 200 OK\r\n")), Some(Ok(())));
        assert_eq!(answer(&early.repeat(300)), Some(Err(Failure::TooLong)));
        let endless = format!("HTTP/1.1 100 Continue\r\nA: {}", "b".repeat(MAX_HEADS));
        assert_eq!(answer(&endless), Some(Err(Failure::TooLong)));
    }

    #[test]
    fn a_line_that_does_not_end_is_given_up() {
        let long = format!("HTTP/1.1 200 {}", "x".repeat(MAX_LINE));
        assert_eq!(answer(&long), Some(Err(Failure::NotHttp)));
    }

    #[test]
    fn the_request_names_the_host() {
        let asked = HttpRequest {
            tls: false,
            host: "example.net".into(),
            authority: "example.net:8080".into(),
            path: "/health?x=1".into(),
            status: 200..=399,
            verify: true,
        };
        let text = String::from_utf8(request(&asked)).expect("text");
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut parsed = httparse::Request::new(&mut headers);
        assert!(parsed.parse(text.as_bytes()).expect("HTTP").is_complete());
        assert_eq!(
            (parsed.method, parsed.path),
            (Some("GET"), Some("/health?x=1"))
        );
        assert_eq!(parsed.headers[0].value, b"example.net:8080");
    }

    proptest! {
        /// However an answer is cut into pieces, it means the same.
        #[test]
        fn pieces_mean_what_the_whole_means(
            text in "(HTTP/1.1 (103|200|503) [a-z\r\n :]{0,30}){0,3}",
            cut: proptest::sample::Index,
        ) {
            let mut pieces = Head::new(200..=399);
            let cut = cut.index(text.len() + 1);
            let first = pieces.take(&text.as_bytes()[..cut]);
            let both = first.or_else(|| pieces.take(&text.as_bytes()[cut..]));
            prop_assert_eq!(both, answer(&text));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Head::new(200..=399).take(&bytes);
        }
    }
}
