//! Queries that wait for their answer: bounded, and not for long.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{Answer, Message, Query};

/// Queries that are remembered at a time.
const MOST: usize = 4096;
/// How long an answer is waited for: what resolvers take at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Queries that wait for their answer.
#[derive(Debug, Default)]
pub struct Queries {
    /// When each was seen last.
    waiting: HashMap<Query, Instant>,
    /// The same in the order of time; what was seen again since is not the newest of its kind.
    order: VecDeque<(Instant, Query)>,
}

impl Queries {
    /// Takes a message; the answer, if it is one to a query that was seen.
    pub fn take(&mut self, message: Message, now: Instant) -> Option<Answer> {
        self.forget(now);
        match message {
            Message::Query(query) => {
                self.order.push_back((now, query.clone()));
                self.waiting.insert(query, now);
                None
            }
            // Further answers to it may be forged.
            Message::Answer(answer) => self.waiting.remove(&answer.query).map(|_| answer),
        }
    }

    /// Forgets queries whose time is up, and the oldest when there are too many.
    fn forget(&mut self, now: Instant) {
        while let Some((then, _)) = self.order.front() {
            let is_over = now.saturating_duration_since(*then) >= PATIENCE;
            if !is_over && self.order.len() < MOST {
                return;
            }
            if let Some((then, query)) = self.order.pop_front()
                && self.waiting.get(&query) == Some(&then)
            {
                self.waiting.remove(&query);
            }
        }
    }
}
