//! Smoothed round-trip time and its variation, as in RFC 6298 section 2.

use std::time::Duration;

/// A running estimate of a round-trip time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmoothedRtt {
    smoothed: Duration,
    variation: Duration,
}

impl SmoothedRtt {
    /// The estimate after the first measurement.
    pub fn new(first: Duration) -> Self {
        Self {
            smoothed: first,
            variation: first / 2,
        }
    }

    /// Adds one measurement, weighed 1/8 for the mean and 1/4 for the variation.
    pub fn add(&mut self, rtt: Duration) {
        // The variation takes the mean from before this measurement (RFC 6298 section 2.3).
        self.variation = (self.variation * 3 + self.smoothed.abs_diff(rtt)) / 4;
        self.smoothed = (self.smoothed * 7 + rtt) / 8;
    }

    /// Adds one measurement to an estimate that may not exist yet.
    pub fn update(estimate: &mut Option<Self>, rtt: Duration) {
        match estimate {
            Some(estimate) => estimate.add(rtt),
            None => *estimate = Some(Self::new(rtt)),
        }
    }

    /// The mean.
    pub const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// The mean deviation from the mean.
    pub const fn variation(&self) -> Duration {
        self.variation
    }

    /// How long a reply may take before it is an outlier: mean and four times the variation.
    pub fn upper_bound(&self) -> Duration {
        self.smoothed + self.variation * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_measurement_is_the_mean_and_half_of_it_the_variation() {
        let rtt = SmoothedRtt::new(ms(40));
        assert_eq!((rtt.smoothed(), rtt.variation()), (ms(40), ms(20)));
        assert_eq!(rtt.upper_bound(), ms(120));
    }

    #[test]
    fn rfc_6298_weights() {
        let mut rtt = SmoothedRtt::new(ms(40));
        rtt.add(ms(80));
        assert_eq!(rtt.smoothed(), ms(45));
        assert_eq!(rtt.variation(), ms(25));
    }

    #[test]
    fn a_steady_path_converges() {
        let mut rtt = SmoothedRtt::new(ms(500));
        for _ in 0..100 {
            rtt.add(ms(20));
        }
        assert!(
            rtt.smoothed() < ms(21) && rtt.upper_bound() < ms(25),
            "{rtt:?}"
        );
    }
}
