//! The settled word: to which uplinks flows go back, because they have been up for long enough. No
//! I/O; the clock is passed in.

use std::time::{Duration, Instant};

use multihome_common::limits::MAX_UPLINKS;

use crate::config::{Failback, GroupConfig};

/// The settled word of one family, and since when each uplink is up.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The word in force; bit n = flows that rank uplink n first go back to it.
    pub word: u64,
    /// How long an uplink must be up; `None` when flows stay where they are.
    after: Option<Duration>,
    up: u64,
    since: [Instant; MAX_UPLINKS],
}

impl Settled {
    /// The word that an earlier controller left, or zero.
    pub fn new(group: &GroupConfig, word: u64, now: Instant) -> Self {
        Self {
            word,
            after: match group.failback {
                Failback::Sticky => None,
                Failback::Immediate => Some(group.failback_after),
            },
            // What was settled is taken for up until it is seen to be down.
            up: word,
            since: [now; MAX_UPLINKS],
        }
    }

    /// The new word, with these uplinks up, and an impediment to those of `impeded`: an uplink that is not
    /// to take new flows draws none back to it either. That it is up counts all the same.
    pub fn update(&mut self, up: u64, impeded: u64, now: Instant) {
        let each = |mut word: u64| {
            std::iter::from_fn(move || {
                let id = word.trailing_zeros();
                word &= word.checked_sub(1)?;
                Some(id as usize)
            })
        };
        for id in each(up & !self.up) {
            self.since[id] = now;
        }
        self.up = up;
        let Some(after) = self.after else {
            self.word = 0;
            return;
        };
        let may = up & !impeded;
        self.word &= may;
        for id in each(may & !self.word) {
            if now.saturating_duration_since(self.since[id]) >= after {
                self.word |= 1 << id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(failback: Failback, after: u64) -> GroupConfig {
        GroupConfig {
            failback,
            failback_after: Duration::from_secs(after),
            ..GroupConfig::default()
        }
    }

    /// The words after each of these steps: seconds that pass, and who is up then.
    fn words(group: GroupConfig, left: u64, steps: &[(u64, u64)]) -> Vec<u64> {
        let mut now = Instant::now();
        let mut settled = Settled::new(&group, left, now);
        let step = |&(seconds, up): &(u64, u64)| {
            now += Duration::from_secs(seconds);
            settled.update(up, 0, now);
            settled.word
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn by_default_flows_stay_where_they_are() {
        let steps = [(0, 0b11), (100, 0b11), (0, 0b10), (100, 0b11)];
        assert_eq!(words(group(Failback::default(), 0), 0, &steps), [0; 4]);
        assert_eq!(words(group(Failback::Sticky, 0), 0b11, &steps), [0; 4]);
    }

    #[test]
    fn an_uplink_settles_when_it_has_been_up_for_long_enough() {
        let steps = [
            (0, 0b11),
            (9, 0b11),
            (1, 0b11),
            (1, 0b10),
            (1, 0b11),
            (9, 0b11),
            (1, 0b11),
        ];
        let words = words(group(Failback::Immediate, 10), 0, &steps);
        assert_eq!(words, [0, 0, 0b11, 0b10, 0b10, 0b10, 0b11]);
    }

    #[test]
    fn a_flap_begins_the_time_anew() {
        let steps = [(0, 1), (9, 0), (0, 1), (9, 1), (1, 1)];
        let words = words(group(Failback::Immediate, 10), 0, &steps);
        assert_eq!(words, [0, 0, 0, 0, 1]);
    }

    #[test]
    fn without_a_time_to_wait_an_uplink_is_settled_when_it_is_up() {
        let steps = [(0, 0b01), (0, 0b10), (0, 0b11)];
        let words = words(group(Failback::Immediate, 0), 0, &steps);
        assert_eq!(words, [0b01, 0b10, 0b11]);
    }

    #[test]
    fn a_restart_keeps_what_was_settled_and_is_still_up() {
        let steps = [(0, 0b101), (9, 0b111), (1, 0b111)];
        let words = words(group(Failback::Immediate, 10), 0b011, &steps);
        assert_eq!(words, [0b001, 0b001, 0b101]);
    }

    #[test]
    fn an_uplink_with_an_impediment_draws_nothing_back_and_does_again_without() {
        let start = Instant::now();
        let mut settled = Settled::new(&group(Failback::Immediate, 10), 0b11, start);
        settled.update(0b11, 0b01, start);
        assert_eq!(settled.word, 0b10);
        let later = start + Duration::from_secs(5);
        settled.update(0b11, 0, later);
        assert_eq!(settled.word, 0b10, "it has not been up for long enough");
        settled.update(0b11, 0b01, start + Duration::from_secs(20));
        assert_eq!(settled.word, 0b10);
        settled.update(0b11, 0, start + Duration::from_secs(21));
        assert_eq!(settled.word, 0b11, "the time that it was up counts");
    }
}
