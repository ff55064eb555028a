//! When a quota begins anew: by the calendar, in local time. No clock of its own.

use jiff::{Span, Timestamp, Zoned, civil::Date};

use crate::config::Every;

/// A stretch of time that a quota holds for: `begin` is in it, `end` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// When it began.
    pub begin: Timestamp,
    /// When the next one begins.
    pub end: Timestamp,
}

impl Period {
    /// The period that a moment lies in, in the time zone that the moment is given in.
    ///
    /// A day begins at its first moment, which is not midnight where the clocks are set forward then.
    pub fn of(every: Every, now: &Zoned) -> Self {
        let (first, length) = match every {
            Every::Day => (now.date(), Span::new().days(1)),
            Every::Week => {
                let days = now.weekday().to_monday_zero_offset();
                let monday = now.date().checked_sub(Span::new().days(days));
                (monday.unwrap_or(now.date()), Span::new().days(7))
            }
            Every::Month(day) => (month(now.date(), day), Span::new().months(1)),
        };
        let zone = now.time_zone();
        let moment = |date: Date| {
            let begin = zone
                .to_zoned(date.at(0, 0, 0, 0))
                .and_then(|at| at.start_of_day());
            begin.map_or(now.timestamp(), |at| at.timestamp())
        };
        Self {
            begin: moment(first),
            end: moment(first.checked_add(length).unwrap_or(first)),
        }
    }
}

/// The last date with this day of the month, up to this date.
fn month(date: Date, day: u8) -> Date {
    // From 1 to 28, so each month has it.
    let day = day.clamp(1, 28) as i8;
    let of = |date: Date| Date::new(date.year(), date.month(), day).unwrap_or(date);
    let here = of(date);
    if here <= date {
        here
    } else {
        here.checked_sub(Span::new().months(1)).unwrap_or(here)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    /// Central Europe, by its rule: clocks are set on the last Sundays of March and October.
    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule")
    }

    /// Clocks are set forward at midnight.
    fn forward_at_midnight() -> TimeZone {
        TimeZone::posix("<-04>4<-03>,M9.1.6/24,M4.1.6/24").expect("a rule")
    }

    fn period(every: Every, now: &str, zone: TimeZone) -> [String; 2] {
        let now: jiff::civil::DateTime = now.parse().expect("a time");
        let now = now.to_zoned(zone.clone()).expect("it exists");
        let Period { begin, end } = Period::of(every, &now);
        [begin, end].map(|at| at.to_zoned(zone.clone()).strftime("%F %T %:z").to_string())
    }

    #[test]
    fn periods_are_of_the_calendar() {
        for (every, now, begin, end) in [
            (
                Every::Day,
                "2026-11-29T20:24",
                "2026-11-29 00:00:00 +01:00",
                "2026-11-30 00:00:00 +01:00",
            ),
            (
                Every::Week,
                "2026-11-29T20:24",
                "2026-11-23 00:00:00 +01:00",
                "2026-11-30 00:00:00 +01:00",
            ),
            (
                Every::Week,
                "2026-11-30T00:00",
                "2026-11-30 00:00:00 +01:00",
                "2026-12-07 00:00:00 +01:00",
            ),
            (
                Every::Month(1),
                "2026-12-31T23:59",
                "2026-12-01 00:00:00 +01:00",
                "2027-01-01 00:00:00 +01:00",
            ),
            (
                Every::Month(15),
                "2026-03-14T12:00",
                "2026-02-15 00:00:00 +01:00",
                "2026-03-15 00:00:00 +01:00",
            ),
            (
                Every::Month(15),
                "2026-03-15T00:00",
                "2026-03-15 00:00:00 +01:00",
                "2026-04-15 00:00:00 +02:00",
            ),
            (
                Every::Month(28),
                "2027-01-05T00:00",
                "2026-12-28 00:00:00 +01:00",
                "2027-01-28 00:00:00 +01:00",
            ),
        ] {
            assert_eq!(
                period(every, now, berlin()),
                [begin, end],
                "{every:?} {now}"
            );
        }
    }

    #[test]
    fn days_of_summer_time_are_shorter_or_longer() {
        let day = |now| period(Every::Day, now, berlin());
        assert_eq!(
            day("2026-03-29T12:00"),
            ["2026-03-29 00:00:00 +01:00", "2026-03-30 00:00:00 +02:00"]
        );
        assert_eq!(
            day("2026-10-25T12:00"),
            ["2026-10-25 00:00:00 +02:00", "2026-10-26 00:00:00 +01:00"]
        );
        // The first moment of that day is one o'clock.
        let [begin, _] = period(Every::Day, "2026-09-06T12:00", forward_at_midnight());
        assert_eq!(begin, "2026-09-06 01:00:00 -03:00");
    }

    proptest! {
        /// Each moment lies in its period, and the end of one is the beginning of the next.
        #[test]
        fn periods_leave_no_gap(second in 0_i64..4_000_000_000, day in 1_u8..=28, kind in 0_usize..3, south: bool) {
            let zone = if south { forward_at_midnight() } else { berlin() };
            let every = [Every::Day, Every::Week, Every::Month(day)][kind];
            let now = Timestamp::from_second(second).expect("it is in range").to_zoned(zone.clone());
            let here = Period::of(every, &now);
            prop_assert!(here.begin <= now.timestamp() && now.timestamp() < here.end, "{here:?} {now}");
            let next = Period::of(every, &here.end.to_zoned(zone.clone()));
            prop_assert_eq!(next.begin, here.end);
            prop_assert_eq!(Period::of(every, &here.begin.to_zoned(zone)), here);
        }
    }
}
