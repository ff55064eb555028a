//! Judges a path by what a group asks of its uplinks, with hysteresis: no I/O, and the clock is passed
//! in.
//!
//! A path is sick when one limit is exceeded for `sick_after`, and well again when all of them are kept,
//! down to their values for leaving, for `well_after` without a break. Between the two values nothing
//! changes. Loss needs evidence to count ([`super::loss`]); latency and jitter are looked at as they are
//! measured. What is not known, because nothing answers, makes no path sick and none well.

use std::time::{Duration, Instant};

use super::{
    loss::{Found, Patient, Quick, quick},
    percent,
    window::{Measure, Window},
};
use crate::config::SlaConfig;

/// Outcomes that are needed before a loss can be called low.
const ENOUGH: u32 = 5;

/// A change of the judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The path is sick from now on; else it is well.
    pub sick: bool,
    /// Why, with figures.
    pub cause: String,
}

/// The judgement on one path for one group.
#[derive(Clone, Debug)]
pub struct Judge {
    sla: SlaConfig,
    sick: bool,
    patient: Patient,
    /// The evidence that it loses too much, until that is plainly over.
    losing: Option<Found>,
    /// Since when a limit is exceeded.
    over_since: Option<Instant>,
    /// Since when all limits are kept down to their values for leaving.
    under_since: Option<Instant>,
    /// More probes would tell whether it loses too much.
    open: bool,
}

impl Judge {
    /// A path that is well, or was sick when an earlier controller looked.
    pub fn new(sla: SlaConfig, sick: bool) -> Self {
        Self {
            sla,
            sick,
            patient: Patient::default(),
            losing: None,
            over_since: None,
            under_since: None,
            open: false,
        }
    }

    /// Whether the path is sick.
    pub fn is_sick(&self) -> bool {
        self.sick
    }

    /// Whether it is well, and would be sick if it lost too much.
    pub fn limits_loss(&self) -> bool {
        self.sla.loss.is_some() && !self.sick
    }

    /// Whether it may be losing too much, and more probes would tell.
    pub fn wants_probes(&self) -> bool {
        self.open && !self.sick
    }

    /// The probes' targets or the path's way are others now, or nothing is known of it any more: what was
    /// judged stays, and its evidence is gathered anew.
    pub fn pause(&mut self) {
        let sick = self.sick;
        *self = Self::new(self.sla, sick);
    }

    /// An outcome has entered the window, of a target whose losses can be the path's if it `tells`.
    pub fn probed<K: Copy + PartialEq>(
        &mut self,
        window: &Window<K>,
        lost: bool,
        tells: bool,
        now: Instant,
    ) -> Option<Verdict> {
        let limit = self.sla.loss?.enter.fraction();
        if tells && let Some(found) = self.patient.add(lost, limit, now) {
            self.patient.clear();
            self.losing = Some(found);
        }
        // Evidence of more loss only grows when something is lost.
        if lost {
            match quick(window, limit, now) {
                Quick::Over(found) => {
                    self.losing = Some(found);
                    self.open = false;
                }
                Quick::Open => self.open = true,
                Quick::Fine => self.open = false,
            }
        }
        if self.losing.is_some() && !self.sick {
            return self.judge(window.measure(now), window.length(), now);
        }
        None
    }

    /// Looks at the window anew, as time passes.
    pub fn look<K: Copy + PartialEq>(
        &mut self,
        window: &Window<K>,
        now: Instant,
    ) -> Option<Verdict> {
        if self.open
            && let Some(limit) = self.sla.loss
        {
            self.open = quick(window, limit.enter.fraction(), now) == Quick::Open;
        }
        self.judge(window.measure(now), window.length(), now)
    }

    fn judge(&mut self, measure: Measure, window: Duration, now: Instant) -> Option<Verdict> {
        if let Some(limit) = self.sla.loss
            && measure.loss.ratio() <= limit.leave.fraction()
        {
            self.losing = None;
        }
        if self.sick {
            self.over_since = None;
            if !self.kept(measure) {
                self.under_since = None;
                return None;
            }
            let since = *self.under_since.get_or_insert(now);
            if now.saturating_duration_since(since) < self.sla.well_after {
                return None;
            }
            self.sick = false;
            self.under_since = None;
            self.patient.clear();
            let cause = self.good(measure, window);
            return Some(Verdict { sick: false, cause });
        }
        let Some(cause) = self.bad(measure, window) else {
            self.over_since = None;
            return None;
        };
        let since = *self.over_since.get_or_insert(now);
        if now.saturating_duration_since(since) < self.sla.sick_after {
            return None;
        }
        self.sick = true;
        self.over_since = None;
        self.open = false;
        Some(Verdict { sick: true, cause })
    }

    /// Whether all limits are kept, down to their values for leaving.
    fn kept(&self, measure: Measure) -> bool {
        let loss = self.sla.loss.is_none_or(|limit| {
            measure.loss.probes >= ENOUGH && measure.loss.ratio() <= limit.leave.fraction()
        });
        let latency = self
            .sla
            .latency
            .is_none_or(|limit| measure.latency.is_some_and(|is| is <= limit.leave));
        let jitter = self
            .sla
            .jitter
            .is_none_or(|limit| measure.jitter.is_some_and(|is| is <= limit.leave));
        loss && latency && jitter
    }

    /// What exceeds its limit, in words.
    fn bad(&self, measure: Measure, window: Duration) -> Option<String> {
        let mut causes = Vec::new();
        if let (Some(found), Some(limit)) = (self.losing, self.sla.loss) {
            causes.push(format!(
                "loss {} over {} exceeds {}",
                percent(found.loss.ratio()),
                seconds(found.over),
                percent(limit.enter.fraction())
            ));
        }
        let times = [
            ("latency", measure.latency, self.sla.latency),
            ("jitter", measure.jitter, self.sla.jitter),
        ];
        for (name, is, limit) in times {
            if let (Some(is), Some(limit)) = (is, limit)
                && is > limit.enter
            {
                causes.push(format!(
                    "{name} {} over {} exceeds {}",
                    millis(is),
                    seconds(window),
                    millis(limit.enter)
                ));
            }
        }
        (!causes.is_empty()).then(|| causes.join(", "))
    }

    /// What is good again, in words.
    fn good(&self, measure: Measure, window: Duration) -> String {
        let mut causes = Vec::new();
        if self.sla.loss.is_some() {
            causes.push(format!("loss {}", percent(measure.loss.ratio())));
        }
        if let (Some(latency), Some(_)) = (measure.latency, self.sla.latency) {
            causes.push(format!("latency {}", millis(latency)));
        }
        if let (Some(jitter), Some(_)) = (measure.jitter, self.sla.jitter) {
            causes.push(format!("jitter {}", millis(jitter)));
        }
        format!("{} over {}", causes.join(", "), seconds(window))
    }
}

/// A time in seconds, to the tenth.
fn seconds(time: Duration) -> String {
    let tenths = (time.as_secs_f64() * 10.0).round() / 10.0;
    format!("{tenths} s")
}

/// A time in milliseconds, to the tenth below ten.
fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 10.0 {
        format!("{:.1} ms", millis)
    } else {
        format!("{millis:.0} ms")
    }
}

#[cfg(test)]
mod tests;
