//! The last hundred outcomes of probes, one bit each.

/// How many outcomes count.
const LEN: u32 = 100;
const MASK: u128 = (1 << LEN) - 1;

/// A sliding window over outcomes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LossWindow {
    /// Bit 0 is the latest outcome; a set bit is a loss.
    lost: u128,
    /// How many outcomes there are yet, up to `LEN`.
    count: u32,
}

impl LossWindow {
    pub fn add(&mut self, answered: bool) {
        self.lost = (self.lost << 1 | u128::from(!answered)) & MASK;
        self.count = (self.count + 1).min(LEN);
    }

    /// The share that was lost, 0 to 1.
    pub fn loss(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        f64::from(self.lost.count_ones()) / f64::from(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_hundred_count() {
        let mut window = LossWindow::default();
        assert_eq!(window.loss(), 0.0);
        window.add(false);
        assert_eq!(window.loss(), 1.0);
        for _ in 0..3 {
            window.add(true);
        }
        assert_eq!(window.loss(), 0.25);
        for _ in 0..96 {
            window.add(true);
        }
        assert_eq!(window.loss(), 0.01);
        window.add(true);
        assert_eq!(window.loss(), 0.0, "the loss left the window");
        for _ in 0..500 {
            window.add(false);
        }
        assert_eq!(window.loss(), 1.0);
    }
}
