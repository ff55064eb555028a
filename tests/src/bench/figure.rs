//! A figure: one quantity, measured in several rounds.

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

/// One quantity, measured in several rounds.
///
/// Rounds of figures that are compared are taken in turn, so that what disturbs the machine for a
/// while disturbs both.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its name, in lower case with underscores: `throughput_nat44_64k`.
    pub name: String,
    /// What it is counted in.
    pub unit: Unit,
    /// What each round gave, in the order of the rounds; never empty.
    pub rounds: Vec<f64>,
}

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Packets that arrived at the far end in a second.
    PacketsPerSecond,
    /// New flows in a second.
    FlowsPerSecond,
    /// Nanoseconds.
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// A ratio of two quantities of the same unit.
    Ratio,
}

impl Figure {
    /// A figure of the rounds that were taken.
    ///
    /// # Panics
    /// When there is no round, or one that is no number: nothing was measured then.
    pub fn new(name: impl Into<String>, unit: Unit, rounds: Vec<f64>) -> Self {
        let name = name.into();
        assert!(!rounds.is_empty(), "{name}: no round was taken");
        assert!(
            rounds.iter().all(|round| round.is_finite()),
            "{name}: a round is no number: {rounds:?}"
        );
        Self { name, unit, rounds }
    }

    /// This figure against another, round by round: each ratio is of two values taken one shortly
    /// after the other.
    pub fn against(&self, other: &Self, name: impl Into<String>) -> Self {
        let pairs = self.rounds.iter().zip(&other.rounds);
        Self::new(
            name,
            Unit::Ratio,
            pairs.map(|(own, other)| own / other).collect(),
        )
    }

    /// The middle of the rounds.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        }
    }

    /// The value that 99 of 100 rounds do not exceed: one that was measured.
    pub fn p99(&self) -> f64 {
        let sorted = self.sorted();
        sorted[(sorted.len() * 99).div_ceil(100) - 1]
    }

    /// The smallest and the greatest round.
    pub fn spread(&self) -> (f64, f64) {
        let sorted = self.sorted();
        (sorted[0], sorted[sorted.len() - 1])
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.rounds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (least, most) = self.spread();
        let mut fields = serializer.serialize_struct("Figure", 7)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("unit", &self.unit)?;
        fields.serialize_field("median", &self.median())?;
        fields.serialize_field("p99", &self.p99())?;
        fields.serialize_field("min", &least)?;
        fields.serialize_field("max", &most)?;
        fields.serialize_field("rounds", &self.rounds.len())?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_99th_of_rounds_in_any_order() {
        let figure = Figure::new("f", Unit::Nanoseconds, vec![3.0, 1.0, 2.0, 10.0]);
        assert_eq!(figure.median(), 2.5);
        assert_eq!(figure.p99(), 10.0);
        assert_eq!(figure.spread(), (1.0, 10.0));
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let own = Figure::new("own", Unit::PacketsPerSecond, vec![1.0, 4.0, 9.0]);
        let limit = Figure::new("limit", Unit::PacketsPerSecond, vec![2.0, 4.0, 10.0]);
        let ratio = own.against(&limit, "own_of_limit");
        assert_eq!(ratio.rounds, [0.5, 1.0, 0.9]);
        assert_eq!(ratio.median(), 0.9);
    }
}
