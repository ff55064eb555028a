//! One BFD session (RFC 5880 section 6): its state, its timers and its packets, without I/O and
//! without a clock of its own.
//!
//! The caller hands over what it receives ([`Session::receive`]), calls [`Session::poll`] whenever
//! [`Session::next_deadline`] has come, and sends the packets that both return. It says up to which
//! moment it has handed over everything that came in, so that its own lateness is never taken for
//! the peer's silence.

use std::{
    fmt,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{BfdSettings, ControlPacket, Diagnostic, Discard, State};

/// The least interval of packets while the session is not up (RFC 5880 section 6.8.3).
pub const SLOW: Duration = Duration::from_secs(1);
/// Polls that follow each other faster are not all answered: nobody polls at such a rate who means
/// it, and an answer is a packet that somebody else makes us send.
const BETWEEN_FINALS: Duration = Duration::from_millis(1);

/// What made a session take its present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was made.
    Created,
    /// The peer was heard.
    PeerHeard,
    /// Both ends hear each other.
    Established,
    /// The peer was not heard for the detection time.
    DetectionTimeExpired,
    /// The peer said that its end is down, and why.
    NeighborSignaledDown(Diagnostic),
    /// The peer said that its end is held down.
    NeighborAdminDown,
    /// This end is held down.
    AdminDown,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("nothing heard yet"),
            Self::PeerHeard => f.write_str("peer heard"),
            Self::Established => f.write_str("established"),
            Self::DetectionTimeExpired => Diagnostic::DETECTION_TIME_EXPIRED.fmt(f),
            Self::NeighborSignaledDown(Diagnostic::NONE) => {
                Diagnostic::NEIGHBOR_SIGNALED_DOWN.fmt(f)
            }
            Self::NeighborSignaledDown(why) => {
                write!(f, "{}: {why}", Diagnostic::NEIGHBOR_SIGNALED_DOWN)
            }
            Self::NeighborAdminDown => f.write_str("neighbor signaled administratively down"),
            Self::AdminDown => f.write_str("administratively down at this end"),
        }
    }
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    /// The state of this end (bfd.SessionState).
    pub state: State,
    /// The state of the peer's end as it last told (bfd.RemoteSessionState).
    pub remote_state: State,
    /// Why this end took its state.
    pub cause: Cause,
    /// When it did.
    pub since: Instant,
    /// When the first sign of that was there: of silence, when the peer was last heard.
    pub sign: Instant,
    /// What this end tells of that (bfd.LocalDiag).
    pub diagnostic: Diagnostic,
    /// What the peer told of its own.
    pub remote_diagnostic: Diagnostic,
    /// Our name for the session (bfd.LocalDiscr).
    pub discriminator: u32,
    /// The peer's (bfd.RemoteDiscr), zero while it is not known.
    pub remote_discriminator: u32,
    /// The time from one packet of ours to the next, before jitter; `None` while nothing is to be
    /// sent periodically.
    pub transmit_interval: Option<Duration>,
    /// How long the peer may be silent; `None` while nothing was heard of it.
    pub detection_time: Option<Duration>,
}

/// One session.
pub struct Session {
    settings: BfdSettings,
    random: StdRng,
    state: State,
    cause: Cause,
    since: Instant,
    sign: Instant,
    diagnostic: Diagnostic,
    discriminator: u32,
    /// bfd.DesiredMinTxInterval.
    desired_min_tx: Duration,
    /// A Poll Sequence is under way: packets bear the poll bit until a final one comes.
    polling: bool,
    remote: Remote,
    /// When the last valid packet came in, unless so long ago that it is forgotten.
    heard: Option<Instant>,
    /// When the last packet was sent, and what part of the interval the next one waits.
    sent: Option<(Instant, f64)>,
    last_final: Option<Instant>,
}

/// What the peer has told.
#[derive(Clone, Copy, Debug)]
struct Remote {
    state: State,
    diagnostic: Diagnostic,
    /// bfd.RemoteDiscr.
    discriminator: u32,
    demand: bool,
    detect_mult: u8,
    desired_min_tx: Duration,
    /// bfd.RemoteMinRxInterval; zero asks for no periodic packets.
    min_rx: Duration,
}

impl Remote {
    /// What is believed of a peer that has told nothing (RFC 5880 section 6.8.1).
    const UNKNOWN: Self = Self {
        state: State::Down,
        diagnostic: Diagnostic::NONE,
        discriminator: 0,
        demand: false,
        detect_mult: 0,
        desired_min_tx: Duration::ZERO,
        min_rx: Duration::from_micros(1),
    };
}

impl Session {
    /// A session that is down. `discriminator` must be unique on this machine, and neither it (RFC
    /// 5880 section 6.3) nor `seed`, from which jitter comes, should be guessable.
    pub fn new(settings: BfdSettings, discriminator: u32, seed: [u8; 32], now: Instant) -> Self {
        Self {
            settings: BfdSettings {
                multiplier: settings.multiplier.max(1),
                ..settings
            },
            random: StdRng::from_seed(seed),
            state: State::Down,
            cause: Cause::Created,
            since: now,
            sign: now,
            diagnostic: Diagnostic::NONE,
            // Zero is no name for a session.
            discriminator: discriminator.max(1),
            desired_min_tx: settings.interval.max(SLOW),
            polling: false,
            remote: Remote::UNKNOWN,
            heard: None,
            sent: None,
            last_final: None,
        }
    }

    /// How it stands.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            state: self.state,
            remote_state: self.remote.state,
            cause: self.cause,
            since: self.since,
            sign: self.sign,
            diagnostic: self.diagnostic,
            remote_diagnostic: self.remote.diagnostic,
            discriminator: self.discriminator,
            remote_discriminator: self.remote.discriminator,
            transmit_interval: self.sends_periodically().then(|| self.transmit_interval()),
            detection_time: self.heard.map(|_| self.detection_time()),
        }
    }

    /// The state of this end.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Takes a packet that passed the checks of [`ControlPacket::decode`], and came in from the
    /// session's peer at `received`. What is returned is to be sent at once.
    ///
    /// # Errors
    /// Why the packet is discarded; then it has changed nothing, but for what is known of the state of a
    /// peer whose session is held down here.
    pub fn receive(
        &mut self,
        packet: &ControlPacket,
        received: Instant,
        now: Instant,
    ) -> Result<Option<ControlPacket>, Discard> {
        // The order is that of RFC 5880 section 6.8.6.
        if packet.your_discriminator == 0 {
            if !matches!(packet.state, State::Down | State::AdminDown) {
                return Err(Discard::NoDiscriminator);
            }
        } else if packet.your_discriminator != self.discriminator {
            return Err(Discard::UnknownSession);
        }
        if packet.authentication {
            return Err(Discard::Authentication);
        }
        if self.state == State::AdminDown {
            // What the peer says of its own end tells whether it knows of this one.
            self.remote.state = packet.state;
            return Err(Discard::AdminDown);
        }
        self.remote = Remote {
            state: packet.state,
            diagnostic: packet.diagnostic,
            discriminator: packet.my_discriminator,
            demand: packet.demand,
            detect_mult: packet.detect_mult,
            desired_min_tx: micros(packet.desired_min_tx),
            min_rx: micros(packet.required_min_rx),
        };
        if packet.final_ {
            self.polling = false;
        }
        // Packets may be handed over in another order than they came in.
        self.heard = self.heard.max(Some(received));
        let changed = self.follow(packet, now);
        let final_ = packet.poll && self.may_answer(now);
        if final_ {
            self.last_final = Some(now);
        }
        Ok(((changed && self.may_send()) || final_).then(|| self.packet(final_, now)))
    }

    /// Notices silence and sends what is due. Everything that came in before `heard_until` must have
    /// been handed over.
    pub fn poll(&mut self, heard_until: Instant, now: Instant) -> Option<ControlPacket> {
        let silent = self
            .silence_at()
            .is_some_and(|deadline| deadline <= heard_until);
        let mut changed = false;
        if silent {
            // RFC 5880 sections 6.8.1 and 6.8.4. With the peer's name all else that it told is
            // forgotten: it may come back as another.
            let heard = self.heard.take();
            self.remote = Remote::UNKNOWN;
            self.polling = false;
            if matches!(self.state, State::Init | State::Up) {
                self.enter(State::Down, Cause::DetectionTimeExpired, now);
                self.sign = heard.unwrap_or(now);
                changed = true;
            }
        }
        let due = self.due().is_some_and(|due| due <= now);
        (due || changed && self.may_send()).then(|| self.packet(false, now))
    }

    /// Holds this end down (RFC 5880 section 6.8.16), and returns a packet that says so.
    pub fn hold_down(&mut self, now: Instant) -> Option<ControlPacket> {
        if self.state != State::AdminDown {
            self.enter(State::AdminDown, Cause::AdminDown, now);
            self.polling = false;
        }
        self.may_send().then(|| self.packet(false, now))
    }

    /// Whether the session is held down here and the peer is not known to have noticed.
    pub fn is_unheard_farewell(&self) -> bool {
        self.state == State::AdminDown
            && self.remote.discriminator != 0
            && matches!(self.remote.state, State::Init | State::Up)
    }

    /// When [`Self::poll`] wants to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        match (self.silence_at(), self.due()) {
            (Some(silence), Some(due)) => Some(silence.min(due)),
            (silence, due) => silence.or(due),
        }
    }

    /// When the peer has been silent for too long.
    pub fn silence_at(&self) -> Option<Instant> {
        self.heard.map(|heard| heard + self.detection_time())
    }

    /// Follows the peer's state; whether that changed this end's.
    fn follow(&mut self, packet: &ControlPacket, now: Instant) -> bool {
        let before = self.state;
        match (self.state, packet.state) {
            (State::Init | State::Up, State::AdminDown) => {
                self.enter(State::Down, Cause::NeighborAdminDown, now);
            }
            (State::Down, State::Down) => self.enter(State::Init, Cause::PeerHeard, now),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.enter(State::Up, Cause::Established, now);
            }
            (State::Up, State::Down) => {
                let cause = Cause::NeighborSignaledDown(packet.diagnostic);
                self.enter(State::Down, cause, now);
            }
            (State::Down, State::AdminDown | State::Up)
            | (State::Init, State::Down)
            | (State::Up, State::Init | State::Up)
            | (State::AdminDown, _) => {}
        }
        self.state != before
    }

    fn enter(&mut self, state: State, cause: Cause, now: Instant) {
        self.diagnostic = match cause {
            Cause::Created | Cause::PeerHeard | Cause::Established => Diagnostic::NONE,
            Cause::DetectionTimeExpired => Diagnostic::DETECTION_TIME_EXPIRED,
            Cause::NeighborSignaledDown(_) | Cause::NeighborAdminDown => {
                Diagnostic::NEIGHBOR_SIGNALED_DOWN
            }
            Cause::AdminDown => Diagnostic::ADMINISTRATIVELY_DOWN,
        };
        (self.state, self.cause) = (state, cause);
        (self.since, self.sign) = (now, now);
        let wished = if state == State::Up {
            self.settings.interval
        } else {
            self.settings.interval.max(SLOW)
        };
        if wished != self.desired_min_tx {
            self.desired_min_tx = wished;
            // Section 6.8.3: the peer is to confirm that it knows; one that is not known cannot.
            self.polling = self.remote.discriminator != 0;
        }
    }

    /// The time from one packet of ours to the next, before jitter (RFC 5880 section 6.8.2).
    fn transmit_interval(&self) -> Duration {
        self.desired_min_tx.max(self.remote.min_rx)
    }

    /// How long the peer may be silent (RFC 5880 section 6.8.4).
    fn detection_time(&self) -> Duration {
        let interval = self.settings.interval.max(self.remote.desired_min_tx);
        interval * u32::from(self.remote.detect_mult)
    }

    /// Whether any packet may be sent (RFC 5880 section 6.8.7).
    fn may_send(&self) -> bool {
        !(self.settings.passive && self.remote.discriminator == 0)
    }

    /// Whether packets are sent again and again (RFC 5880 section 6.8.7).
    fn sends_periodically(&self) -> bool {
        let demanded = self.remote.demand
            && self.state == State::Up
            && self.remote.state == State::Up
            && !self.polling;
        self.may_send()
            && !self.remote.min_rx.is_zero()
            && !demanded
            && self.state != State::AdminDown
    }

    /// When the next periodic packet is due. It moves with the interval, so that a shorter one holds
    /// at once.
    fn due(&self) -> Option<Instant> {
        if !self.sends_periodically() {
            return None;
        }
        Some(match self.sent {
            Some((sent, part)) => sent + self.transmit_interval().mul_f64(part),
            None => self.since,
        })
    }

    fn may_answer(&self, now: Instant) -> bool {
        self.last_final
            .is_none_or(|last| now.saturating_duration_since(last) >= BETWEEN_FINALS)
    }

    /// The packet to send now, with the jitter of the one after it (RFC 5880 section 6.8.7).
    fn packet(&mut self, final_: bool, now: Instant) -> ControlPacket {
        let longest = if self.settings.multiplier == 1 {
            0.9
        } else {
            1.0
        };
        self.sent = Some((now, self.random.random_range(0.75..longest)));
        ControlPacket {
            diagnostic: self.diagnostic,
            state: self.state,
            // A packet has one of both bits at most.
            poll: self.polling && !final_,
            final_,
            // The session ends with the controller's process, although packets are forwarded on.
            control_plane_independent: false,
            authentication: false,
            demand: false,
            detect_mult: self.settings.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: as_micros(self.desired_min_tx),
            required_min_rx: as_micros(self.settings.interval),
            required_min_echo_rx: 0,
        }
    }
}

const fn micros(interval: u32) -> Duration {
    Duration::from_micros(interval as u64)
}

fn as_micros(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
