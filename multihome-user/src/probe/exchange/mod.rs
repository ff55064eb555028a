//! One exchange with a service: what to send, what came back, how it ended. No I/O: packets go in and
//! out as bytes from the IP header on, and the clock is passed in.
//!
//! TCP is a small stack of its own (smoltcp) with one connection, because the kernel's would follow the
//! kernel's routes, and its reverse path filter would have a say. Ports, sequence numbers and DNS
//! identifiers are random, so a stranger who does not see the packets cannot answer in the target's
//! name. Whatever a target sends, an exchange holds at most [`MAX_RECEIVED`] bytes of it at a time and
//! ends by [`Exchange::deadline`].

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::ClientConfig;

use super::{
    Failure,
    service::{HttpRequest, Question},
};

mod dns;
mod http;
pub mod packet;
mod stream;
mod tls;

use dns::Query;
use http::Head;
pub use packet::{Received, Transport};
use stream::{Progress, Stream};
use tls::Session;
pub use tls::{AuthoritiesError, authorities, client};

/// The most that a server may send before its answer is judged: certificates and headers fit many
/// times over.
pub const MAX_RECEIVED: usize = 64 * 1024;
/// What is read at once.
const CHUNK: usize = 4096;
/// Window of a connection over which certificates come.
const LARGE_WINDOW: usize = 16 * 1024;
/// Window of any other one.
const SMALL_WINDOW: usize = 4096;

/// Both ends of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Our address on the uplink, and a port that is ours alone.
    pub source: SocketAddr,
    /// The service, of the same family.
    pub target: SocketAddr,
}

/// An answer, complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The network's round-trip time: SYN to SYN-ACK, query to answer. `Err` when the answer is not
    /// the expected one.
    pub result: Result<Duration, Failure>,
    /// When the packet that completed it came in.
    pub received: Instant,
}

/// One exchange.
pub struct Exchange {
    began: Instant,
    /// When the last packet came in, and when the first.
    last: Instant,
    first: Option<Instant>,
    talk: Talk,
}

enum Talk {
    Dns(Query),
    Stream(Box<Stream>, Speech),
}

/// What is said over a connection.
enum Speech {
    /// Nothing: that it opens is the answer.
    Open,
    Plain(Plain),
    Secure(Box<Session>),
    /// TLS could not even begin.
    Failed(Failure),
}

/// HTTP without TLS.
struct Plain {
    head: Head,
    unsent: Option<Vec<u8>>,
    received: usize,
}

impl Exchange {
    /// Begins; nothing is sent before [`Self::poll`]. `tls` must be given for a request by TLS.
    pub fn begin(
        question: &Question,
        ends: Ends,
        tls: Option<&Arc<ClientConfig>>,
        random: u64,
        now: Instant,
    ) -> Self {
        let stream = |window| Box::new(Stream::connect(ends, random, window, now));
        let talk = match question {
            Question::Tcp => Talk::Stream(stream(SMALL_WINDOW), Speech::Open),
            Question::Dns(question) => Talk::Dns(Query::new(question, ends, random as u16)),
            Question::Http(request) => {
                let window = if request.tls {
                    LARGE_WINDOW
                } else {
                    SMALL_WINDOW
                };
                Talk::Stream(stream(window), speech(request, tls))
            }
        };
        Self {
            began: now,
            last: now,
            first: None,
            talk,
        }
    }

    /// Takes a packet from the target to our end, with the kernel's receive time.
    pub fn take(&mut self, packet: &Received<'_>, at: Instant) {
        self.last = at;
        match &mut self.talk {
            Talk::Dns(query) => query.take(packet.payload()),
            Talk::Stream(stream, _) => {
                stream.take(packet.bytes());
                let progress = stream.read_packets(self.last);
                if self.first.is_none() && progress != Progress::Opening {
                    self.first = Some(at);
                }
            }
        }
    }

    /// Goes as far as it can; packets to send are added to `packets`. The answer when it is complete:
    /// then the exchange is over.
    pub fn poll(&mut self, now: Instant, packets: &mut Vec<Vec<u8>>) -> Option<Answer> {
        let result = match &mut self.talk {
            Talk::Dns(query) => query.poll(packets),
            Talk::Stream(stream, speech) => {
                let result = talk(stream, speech);
                if result.is_some() {
                    // The server need not wait for an end that is of no interest.
                    stream.reset();
                }
                stream.write_packets(now, packets);
                result
            }
        }?;
        let first = self.first.unwrap_or(self.last);
        Some(Answer {
            result: result.map(|()| first.saturating_duration_since(self.began)),
            received: self.last,
        })
    }

    /// Ends it without an answer; what tells the server is added to `packets`.
    pub fn give_up(&mut self, now: Instant, packets: &mut Vec<Vec<u8>>) {
        match &mut self.talk {
            Talk::Dns(_) => {}
            Talk::Stream(stream, _) => {
                // A server that has said nothing has nothing to forget.
                if stream.progress() == Progress::Open {
                    stream.reset();
                    stream.write_packets(now, packets);
                }
            }
        }
    }

    /// When [`Self::poll`] has something to do, unless a packet comes before.
    pub fn wake(&mut self, now: Instant) -> Option<Instant> {
        match &mut self.talk {
            Talk::Dns(_) => None,
            Talk::Stream(stream, _) => stream.wake(now),
        }
    }

    /// When it began.
    pub const fn began(&self) -> Instant {
        self.began
    }
}

fn speech(request: &HttpRequest, tls: Option<&Arc<ClientConfig>>) -> Speech {
    if !request.tls {
        return Speech::Plain(Plain {
            head: Head::new(request.status.clone()),
            unsent: Some(http::request(request)),
            received: 0,
        });
    }
    match tls.map(|config| Session::new(config, request)) {
        Some(Ok(session)) => Speech::Secure(Box::new(session)),
        Some(Err(failure)) => Speech::Failed(failure),
        None => Speech::Failed(Failure::Tls),
    }
}

/// Goes on with what is said; the result when it is known.
fn talk(stream: &mut Stream, speech: &mut Speech) -> Option<Result<(), Failure>> {
    let progress = stream.progress();
    match (progress, &mut *speech) {
        (_, Speech::Failed(failure)) => return Some(Err(*failure)),
        (Progress::Opening, _) => return None,
        (Progress::Refused, _) => return Some(Err(Failure::Refused)),
        (Progress::Open | Progress::Ended, Speech::Open) => return Some(Ok(())),
        (Progress::Open | Progress::Ended, Speech::Plain(plain)) => {
            if let Some(request) = plain.unsent.take() {
                stream.send(&request);
            }
            let mut chunk = [0; CHUNK];
            loop {
                let len = stream.receive(&mut chunk);
                if len == 0 {
                    break;
                }
                plain.received += len;
                if let Some(result) = plain.head.take(&chunk[..len]) {
                    return Some(result);
                }
                if plain.received > MAX_RECEIVED {
                    return Some(Err(Failure::TooLong));
                }
            }
        }
        (Progress::Open | Progress::Ended, Speech::Secure(session)) => {
            if let Some(result) = session.go_on(stream) {
                return Some(result);
            }
        }
    }
    // What the server had sent before it ended has been read by now.
    (stream.progress() == Progress::Ended).then_some(Err(Failure::Closed))
}

#[cfg(test)]
mod tests;
