//! Percentiles of what was measured.

use serde::Serialize;

/// Percentiles of trials, each of which is a value that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the trials took at most this.
    pub p50: f64,
    /// Of a hundred trials, ninety-nine took at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// The number of trials.
    pub trials: usize,
}

impl Percentiles {
    /// By nearest rank: a percentile is one of the values. There must be at least one.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            round(values[rank - 1], 2)
        };
        Self {
            p50: rank(50),
            p99: rank(99),
            max: rank(100),
            trials: values.len(),
        }
    }
}

/// A value with so many digits after the point.
pub fn round(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let values = |count: u32| (1..=count).rev().map(f64::from).collect();
        let few = Percentiles {
            p50: 3.0,
            p99: 5.0,
            max: 5.0,
            trials: 5,
        };
        assert_eq!(Percentiles::new(values(5)), few);
        let many = Percentiles {
            p50: 100.0,
            p99: 198.0,
            max: 200.0,
            trials: 200,
        };
        assert_eq!(Percentiles::new(values(200)), many);
        let one = Percentiles {
            p50: 1.0,
            p99: 1.0,
            max: 1.0,
            trials: 1,
        };
        assert_eq!(Percentiles::new(values(1)), one);
    }
}
