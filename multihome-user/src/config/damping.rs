//! How an uplink that has come back must show that it stays, before it takes new flows.

use std::time::Duration;

/// How long paths are held back that have failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DampingConfig {
    /// How long a path that has come back must stay up before it takes new flows: at most 1 hour; zero
    /// holds nothing back, whatever the others say.
    pub hold: Duration,
    /// The longest that it is held back, after several failures: at least `hold`, at most 1 day.
    pub max_hold: Duration,
    /// After so long without a failure one failure is forgotten: 1 second to 1 day.
    pub forget: Duration,
}

impl DampingConfig {
    /// What `max_hold` is when only `hold` is given: this, or `hold` if that is longer.
    pub const USUAL_MAX_HOLD: Duration = Duration::from_secs(5 * 60);

    /// How long a path is held back after so many failures in a row.
    pub fn hold_after(&self, failures: u32) -> Duration {
        let doubled = |hold: Duration| hold.checked_mul(2).unwrap_or(self.max_hold);
        let mut hold = self.hold.min(self.max_hold);
        for _ in 1..failures {
            if hold.is_zero() || hold >= self.max_hold {
                break;
            }
            hold = doubled(hold).min(self.max_hold);
        }
        hold
    }
}

impl Default for DampingConfig {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(5),
            max_hold: Self::USUAL_MAX_HOLD,
            forget: Duration::from_secs(10 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_hold_up_to_the_longest() {
        let seconds = |config: DampingConfig, failures| config.hold_after(failures).as_secs();
        let usual = DampingConfig::default();
        let holds: Vec<u64> = (1..9).map(|n| seconds(usual, n)).collect();
        assert_eq!(holds, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(seconds(usual, u32::MAX), 300);
        let off = DampingConfig {
            hold: Duration::ZERO,
            ..usual
        };
        assert_eq!(seconds(off, u32::MAX), 0);
    }
}
