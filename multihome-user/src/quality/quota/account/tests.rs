//! Accounts over borders of periods, restarts, and clocks that jump.

use jiff::{Span, tz::TimeZone};
use proptest::prelude::*;

use super::*;
use crate::config::Volume;

fn at(text: &str) -> Zoned {
    let time: jiff::civil::DateTime = text.parse().expect("a time");
    time.to_zoned(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule"))
        .expect("it exists")
}

/// 1 GB a month, from its first day on.
const MONTHLY: QuotaConfig = QuotaConfig {
    limit: Volume(1_000_000_000),
    every: Every::Month(1),
};
const MB: u64 = 1_000_000;

#[test]
fn it_is_low_then_spent_then_renewed() {
    let mut account = Account::new(MONTHLY, &at("2026-11-10T10:00"));
    assert_eq!(account.read(5 * MB, &at("2026-11-10T10:00")), None);
    assert_eq!(
        account.used(),
        0,
        "what was counted before the account is not its own"
    );
    assert_eq!(account.read(804 * MB, &at("2026-11-12T10:00")), None);
    assert_eq!(
        account.read(805 * MB, &at("2026-11-12T10:01")),
        Some(Change::Low)
    );
    assert_eq!(account.read(900 * MB, &at("2026-11-13T10:00")), None);
    assert_eq!(
        account.read(1005 * MB, &at("2026-11-20T10:00")),
        Some(Change::Spent)
    );
    assert!(account.is_spent());
    assert_eq!(account.read(1100 * MB, &at("2026-11-30T23:59:59.9")), None);
    assert_eq!(
        account.read(1100 * MB, &at("2026-12-01T00:00")),
        Some(Change::Renewed)
    );
    assert_eq!((account.used(), account.is_spent()), (0, false));
}

#[test]
fn a_counter_that_begins_anew_loses_nothing() {
    let mut account = Account::new(MONTHLY, &at("2026-11-10T10:00"));
    account.read(100 * MB, &at("2026-11-10T10:00"));
    account.read(150 * MB, &at("2026-11-10T10:01"));
    account.read(20 * MB, &at("2026-11-10T10:02"));
    assert_eq!(account.used(), 70 * MB);
}

#[test]
fn a_restart_goes_on_with_the_same_counter_and_not_with_another() {
    let before = at("2026-11-10T10:00");
    let mut account = Account::new(MONTHLY, &before);
    account.from_zero();
    account.read(100 * MB, &before);
    let kept = account.kept();
    let later = at("2026-11-11T10:00");
    let mut same = Account::resume(MONTHLY, kept, true, &later);
    same.read(130 * MB, &later);
    assert_eq!(same.used(), 130 * MB, "what was carried meanwhile counts");
    let mut other = Account::resume(MONTHLY, kept, false, &later);
    other.read(130 * MB, &later);
    assert_eq!(other.used(), 100 * MB, "whose those bytes are is not known");
    let mut fresh = Account::resume(MONTHLY, kept, false, &later);
    fresh.from_zero();
    fresh.read(3 * MB, &later);
    assert_eq!(
        fresh.used(),
        103 * MB,
        "counters that were made for this start began at zero"
    );
    let daily = QuotaConfig {
        every: Every::Day,
        ..MONTHLY
    };
    let other_kind = Account::resume(daily, kept, true, &later);
    assert_eq!(other_kind.used(), 0, "a month's count is not a day's");
}

#[test]
fn what_was_carried_over_a_border_is_divided_by_time() {
    let mut account = Account::new(MONTHLY, &at("2026-11-30T18:00"));
    account.read(0, &at("2026-11-30T18:00"));
    account.read(80 * MB, &at("2026-12-01T02:00"));
    assert_eq!(account.used(), 20 * MB, "two of eight hours");
    // Nobody looked for months.
    account.read(180 * MB, &at("2027-03-11T00:00"));
    assert!(
        (9 * MB..11 * MB).contains(&account.used()),
        "{}",
        account.used()
    );
}

#[test]
fn a_clock_set_back_gives_nothing_back() {
    let mut account = Account::new(MONTHLY, &at("2026-11-10T10:00"));
    account.read(0, &at("2026-11-10T10:00"));
    account.read(500 * MB, &at("2026-11-11T10:00"));
    // A machine without a clock of its own begins in 1970, until it is told the time.
    account.read(510 * MB, &at("1970-01-01T01:00"));
    assert_eq!(account.used(), 510 * MB);
    account.read(520 * MB, &at("2026-11-11T10:05"));
    assert_eq!(account.used(), 520 * MB);
    // Set forward by mistake, and back.
    account.read(530 * MB, &at("2031-05-05T10:00"));
    assert!(account.used() <= 10 * MB);
    account.read(540 * MB, &at("2026-11-11T10:10"));
    assert_eq!(account.used(), 540 * MB, "the mistake is undone");
    account.read(550 * MB, &at("2026-12-02T10:10"));
    assert!(
        account.used() <= 10 * MB,
        "and the next period begins in its time"
    );
}

#[test]
fn another_time_zone_ends_no_period_early() {
    let mut account = Account::new(MONTHLY, &at("2026-11-01T00:00"));
    account.read(0, &at("2026-11-01T00:00"));
    account.read(500 * MB, &at("2026-11-01T00:30"));
    let west = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").expect("a rule");
    let moved = at("2026-11-01T00:45").with_time_zone(west.clone());
    account.read(510 * MB, &moved);
    assert_eq!(account.used(), 510 * MB);
    let month_later = at("2026-12-01T00:30").with_time_zone(west);
    account.read(510 * MB, &month_later);
    assert_eq!(account.used(), 0);
    assert!(account.renews() > month_later.timestamp());
}

proptest! {
    /// However often is looked, over whatever borders and changes of clocks: nothing is counted twice, nothing
    /// is lost, and as long as the clock goes forward each byte is in one period.
    #[test]
    fn every_byte_is_counted_once(
        steps in proptest::collection::vec((0_u64..500 * MB, 0_i64..20 * 86_400, any::<bool>()), 1..60),
        kind in 0_usize..3,
    ) {
        let every = [Every::Day, Every::Week, Every::Month(15)][kind];
        let quota = QuotaConfig { every, ..MONTHLY };
        let mut now = at("2026-01-10T10:00");
        let mut account = Account::new(quota, &now);
        account.read(0, &now);
        let (mut counter, mut all, mut over) = (0, 0, 0);
        for (bytes, seconds, anew) in steps {
            now = now.checked_add(Span::new().seconds(seconds)).expect("it is in range");
            // A counter that was made anew shows less than before.
            let anew = anew && bytes < counter;
            counter = if anew { bytes } else { counter + bytes };
            let before = account.kept().now;
            all += bytes;
            account.read(counter, &now);
            let after = account.kept();
            if after.now.begin != before.begin {
                over += after.before.expect("one is over").bytes;
            }
            prop_assert_eq!(over + account.used(), all);
            prop_assert!(after.now.begin <= now.timestamp() && now.timestamp() < after.now.end);
            let read = serde_json::to_string(&after).expect("it is plain");
            prop_assert_eq!(serde_json::from_str::<Kept>(&read).expect("it reads back"), after);
        }
    }

    /// A clock that jumps anywhere makes nothing panic, and takes nothing from what was carried.
    #[test]
    fn any_clock_is_survived(
        times in proptest::collection::vec(-2_000_000_000_i64..5_000_000_000, 1..40),
    ) {
        let zone = TimeZone::UTC;
        let time = |second| Timestamp::from_second(second).expect("in range").to_zoned(zone.clone());
        let mut account = Account::new(MONTHLY, &time(1_700_000_000));
        account.read(0, &time(1_700_000_000));
        for (n, second) in times.into_iter().enumerate() {
            account.read((n as u64 + 1) * MB, &time(second));
            prop_assert!(account.used() <= (n as u64 + 1) * MB);
        }
    }
}
