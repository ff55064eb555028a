//! Measurements that a busy machine spoils are made again.

use anyhow::Result;

/// How often a measurement may be spoilt.
const ATTEMPTS: usize = 5;

/// Measures until it succeeds: where packets were lost because somebody else needed the processor, the
/// figure would be of that, and not of the programs.
///
/// # Errors
/// Of the last attempt.
pub fn patient<T>(mut measure: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempt = 1;
    loop {
        match measure() {
            Err(error) if attempt < ATTEMPTS => {
                eprintln!("measured again, since {error:#}");
                attempt += 1;
            }
            measured => return measured,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn what_fails_each_time_fails() {
        let mut left = ATTEMPTS;
        let mut until = |good: usize| {
            left -= 1;
            if left > good {
                bail!("{left} are lost");
            }
            Ok(left)
        };
        assert_eq!(patient(|| until(2)).expect("the third succeeds"), 2);
        let error = patient(|| -> Result<()> { bail!("all are lost") });
        assert_eq!(
            error.expect_err("it never succeeds").to_string(),
            "all are lost"
        );
    }
}
