//! How much an uplink carries, and whether that is near its capacity: with hysteresis, no I/O, and the
//! clock is passed in.
//!
//! The rates are means over the last second of what the dataplane has counted. An uplink is full as soon as
//! one direction carries `spill_at` of its capacity, and has room again when both have carried no more
//! than `spill_until` for [`CALM`]: flows that are on it stay, so what it carries falls only as they end,
//! and a pause of theirs is no room.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::percent;
use crate::config::{CapacityConfig, Rate};

/// How often the counters are to be read.
pub const SAMPLE: Duration = Duration::from_millis(200);
/// What the rates are a mean over.
const WINDOW: Duration = Duration::from_secs(1);
/// What must have been seen before a mean is one.
const ENOUGH: Duration = Duration::from_millis(600);
/// How long an uplink must carry little before it has room.
const CALM: Duration = Duration::from_secs(5);

/// What the dataplane has counted for an uplink since its counters were made, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Sent out of it.
    pub up: u64,
    /// Come in on it.
    pub down: u64,
}

impl Carried {
    /// Both ways.
    pub fn total(self) -> u64 {
        self.up.saturating_add(self.down)
    }
}

/// What an uplink carries, in bit/s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Towards the internet.
    pub up: f64,
    /// From the internet.
    pub down: f64,
}

/// An uplink became full, or has room again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filling {
    /// It is full; else it has room.
    pub full: bool,
    /// Why, with figures.
    pub cause: String,
}

/// Measures one uplink.
#[derive(Clone, Debug)]
pub struct Meter {
    capacity: CapacityConfig,
    samples: VecDeque<(Instant, Carried)>,
    full: bool,
    calm_since: Option<Instant>,
}

impl Meter {
    /// An uplink that nothing is known of, or one that was full when an earlier controller looked.
    pub fn new(capacity: CapacityConfig, full: bool) -> Self {
        Self {
            capacity,
            samples: VecDeque::new(),
            full,
            calm_since: None,
        }
    }

    /// Whether the uplink is full.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// What it is believed to be able to carry.
    pub fn capacity(&self) -> &CapacityConfig {
        &self.capacity
    }

    /// What it carries now; `None` before that is known.
    pub fn rates(&self) -> Option<Rates> {
        let (first, before) = self.samples.front()?;
        let (last, now) = self.samples.back()?;
        let time = last.saturating_duration_since(*first);
        (time >= ENOUGH).then(|| {
            let rate = |before: u64, now: u64| (now - before) as f64 * 8.0 / time.as_secs_f64();
            Rates {
                up: rate(before.up, now.up),
                down: rate(before.down, now.down),
            }
        })
    }

    /// The share of its capacity that each direction uses, up first; `None` for one that has none.
    pub fn used(&self) -> Option<[Option<f64>; 2]> {
        let rates = self.rates()?;
        let share = |rate: f64, capacity: Option<Rate>| capacity.map(|of| rate / of.0 as f64);
        Some([
            share(rates.up, self.capacity.up),
            share(rates.down, self.capacity.down),
        ])
    }

    /// Takes a reading of the counters.
    pub fn read(&mut self, carried: Carried, now: Instant) -> Option<Filling> {
        if let Some((last, before)) = self.samples.back()
            && (carried.up < before.up || carried.down < before.down || now < *last)
        {
            // Counters that were made anew begin at zero.
            self.samples.clear();
        }
        self.samples.push_back((now, carried));
        while self
            .samples
            .get(1)
            .is_some_and(|(then, _)| now.saturating_duration_since(*then) >= WINDOW)
        {
            self.samples.pop_front();
        }
        self.judge(now)
    }

    fn judge(&mut self, now: Instant) -> Option<Filling> {
        let [up, down] = self.used()?;
        let (way, most, capacity) = match (up, down) {
            (Some(up), Some(down)) if up < down => ("down", down, self.capacity.down),
            (Some(up), _) => ("up", up, self.capacity.up),
            (None, Some(down)) => ("down", down, self.capacity.down),
            (None, None) => return None,
        };
        let calm = most <= self.capacity.spill_until.fraction();
        let cause = |limit: f64, word: &str| {
            format!(
                "{} of {} {way} {word} {}",
                percent(most),
                capacity.unwrap_or(Rate(0)),
                percent(limit)
            )
        };
        if !self.full {
            let limit = self.capacity.spill_at.fraction();
            if most < limit {
                return None;
            }
            self.full = true;
            self.calm_since = None;
            let cause = cause(limit, "reaches");
            return Some(Filling { full: true, cause });
        }
        if !calm {
            self.calm_since = None;
            return None;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now.saturating_duration_since(since) < CALM {
            return None;
        }
        self.full = false;
        self.calm_since = None;
        let cause = cause(self.capacity.spill_until.fraction(), "is not above");
        Some(Filling { full: false, cause })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 100 Mbit/s up, 200 Mbit/s down.
    fn capacity() -> CapacityConfig {
        CapacityConfig {
            up: Some(Rate(100_000_000)),
            down: Some(Rate(200_000_000)),
            spill_at: CapacityConfig::SPILL_AT,
            spill_until: CapacityConfig::SPILL_AT.times(CapacityConfig::SPILL_UNTIL),
        }
    }

    struct Uplink {
        meter: Meter,
        carried: Carried,
        now: Instant,
    }

    impl Uplink {
        fn new() -> Self {
            Self {
                meter: Meter::new(capacity(), false),
                carried: Carried::default(),
                now: Instant::now(),
            }
        }

        /// Carries these shares of its capacity for so long; what was said.
        fn carry(&mut self, up: f64, down: f64, time: Duration) -> Vec<Filling> {
            let mut said = Vec::new();
            for _ in 0..(time.as_millis() / SAMPLE.as_millis()) {
                self.now += SAMPLE;
                let seconds = SAMPLE.as_secs_f64();
                self.carried.up += (up * 100e6 / 8.0 * seconds) as u64;
                self.carried.down += (down * 200e6 / 8.0 * seconds) as u64;
                said.extend(self.meter.read(self.carried, self.now));
            }
            said
        }
    }

    const SECONDS: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn each_direction_can_fill_an_uplink() {
        let mut uplink = Uplink::new();
        assert_eq!(uplink.carry(0.5, 0.5, SECONDS(5)), []);
        let said = uplink.carry(0.1, 0.95, SECONDS(2));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].full && said[0].cause.ends_with("of 200mbit down reaches 90 %"),
            "{said:?}"
        );
        assert_eq!(uplink.carry(0.1, 0.5, SECONDS(5)), [], "a pause is no room");
        let said = uplink.carry(0.1, 0.5, SECONDS(2));
        assert_eq!(
            said,
            [Filling {
                full: false,
                cause: "50 % of 200mbit down is not above 75 %".into()
            }]
        );
        let said = uplink.carry(1.2, 0.1, SECONDS(2));
        assert!(
            said[0].full && said[0].cause.contains("of 100mbit up"),
            "{said:?}"
        );
    }

    #[test]
    fn counters_that_begin_anew_are_no_traffic() {
        let mut uplink = Uplink::new();
        uplink.carry(0.5, 0.5, SECONDS(3));
        uplink.carried = Carried::default();
        assert_eq!(uplink.carry(0.5, 0.5, SECONDS(3)), []);
        let rates = uplink.meter.rates().expect("it is known");
        assert!((rates.up - 50e6).abs() < 1e5, "{rates:?}");
    }

    proptest! {
        /// Between the two values nothing changes, whatever was before.
        #[test]
        fn nothing_changes_between_the_two_values(
            full: bool,
            shares in proptest::collection::vec(0.76..0.89, 1..40),
        ) {
            let mut uplink = Uplink::new();
            uplink.carry(if full { 0.99 } else { 0.2 }, 0.1, SECONDS(3));
            prop_assert_eq!(uplink.meter.is_full(), full);
            uplink.carry(0.8, 0.1, SECONDS(1));
            for share in shares {
                prop_assert_eq!(uplink.carry(share, 0.1, SECONDS(1)), []);
            }
        }
    }
}
