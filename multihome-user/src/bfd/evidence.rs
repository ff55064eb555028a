//! What a BFD session says of its path (RFC 5882 section 3).

use super::{Cause, Snapshot, State};

/// What a session says of its path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evidence {
    /// Nothing: it never was up, or one of its ends holds it down. The path's other evidence judges.
    ///
    /// A session that never was up may have a peer that does not speak BFD; one that is held down
    /// says nothing of the path (RFC 5882 section 3.2).
    #[default]
    None,
    /// The session is up.
    Up,
    /// The session was up, and went down: the path has failed.
    Down(Cause),
}

impl Evidence {
    /// What is to be thought when the session stands so now.
    ///
    /// A session that is down stays evidence until it is up again, or until the peer says that it was
    /// taken down on purpose: nobody may be kept off a path for ever because its neighbour stopped to
    /// use BFD.
    #[must_use]
    pub fn after(self, snapshot: &Snapshot) -> Self {
        let held = snapshot.state == State::AdminDown || snapshot.remote_state == State::AdminDown;
        match (self, snapshot.state) {
            (_, State::Up) => Self::Up,
            (Self::Up | Self::Down(_), _) if held => Self::None,
            (Self::Up, State::AdminDown | State::Down | State::Init) => Self::Down(snapshot.cause),
            (Self::None | Self::Down(_), State::AdminDown | State::Down | State::Init) => self,
        }
    }

    /// Why the path cannot be used, if the session says so.
    pub fn failure(self) -> Option<Cause> {
        match self {
            Self::Down(cause) => Some(cause),
            Self::None | Self::Up => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{
        super::{BfdSettings, Diagnostic, Session},
        *,
    };

    fn snapshot(state: State, remote_state: State, cause: Cause) -> Snapshot {
        let settings = BfdSettings {
            interval: Duration::from_millis(300),
            multiplier: 3,
            passive: false,
        };
        let fresh = Session::new(settings, 1, [0; 32], Instant::now()).snapshot();
        Snapshot {
            state,
            remote_state,
            cause,
            ..fresh
        }
    }

    const EXPIRED: Cause = Cause::DetectionTimeExpired;
    const SIGNALED: Cause = Cause::NeighborSignaledDown(Diagnostic::DETECTION_TIME_EXPIRED);

    #[test]
    fn a_session_that_never_was_up_says_nothing() {
        let mut evidence = Evidence::default();
        for (state, remote) in [
            (State::Down, State::Down),
            (State::Init, State::Down),
            (State::Down, State::Down),
            (State::Down, State::AdminDown),
        ] {
            evidence = evidence.after(&snapshot(state, remote, EXPIRED));
            assert_eq!(evidence, Evidence::None, "{state}");
        }
    }

    #[test]
    fn a_session_that_went_down_is_a_failure_until_it_is_up_again() {
        let mut evidence =
            Evidence::None.after(&snapshot(State::Up, State::Up, Cause::Established));
        assert_eq!(evidence, Evidence::Up);
        for state in [State::Down, State::Init, State::Down] {
            evidence = evidence.after(&snapshot(state, State::Down, SIGNALED));
            assert_eq!(evidence.failure(), Some(SIGNALED), "{state}");
        }
        evidence = evidence.after(&snapshot(State::Up, State::Init, Cause::Established));
        assert_eq!(evidence, Evidence::Up);
    }

    #[test]
    fn a_session_that_is_held_down_says_nothing() {
        for before in [Evidence::Up, Evidence::Down(EXPIRED)] {
            for (state, remote) in [
                (State::Down, State::AdminDown),
                (State::AdminDown, State::Up),
            ] {
                let held = before.after(&snapshot(state, remote, Cause::NeighborAdminDown));
                assert_eq!(held, Evidence::None, "{before:?} {state} {remote}");
                let later = held.after(&snapshot(State::Down, State::Down, EXPIRED));
                assert_eq!(later, Evidence::None);
            }
        }
    }
}
