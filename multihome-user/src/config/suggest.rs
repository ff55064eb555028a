//! "Did you mean": finds the known word that is nearest to a mistyped one.

/// How alike two words must be, from 0 to 1, for one to be suggested for the other.
const ALIKE: f64 = 0.75;

/// The word of `known` that is most like `word`, if any is alike enough.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Keys in a file are often written with the other kind of dash.
    let word = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| {
            let plain = candidate.to_lowercase().replace('-', "_");
            (strsim::jaro_winkler(&word, &plain), candidate)
        })
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate.to_owned())
}

/// The suggestion as the end of a sentence, or nothing.
pub fn hint(suggestion: Option<&str>) -> String {
    suggestion
        .map(|word| format!(" (did you mean {word:?}?)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 5] = ["name", "device", "weight", "tier", "metrics_listen"];

    #[test]
    fn finds_what_was_meant() {
        for (typed, meant) in [
            ("wieght", "weight"),
            ("weights", "weight"),
            ("Tier", "tier"),
            ("devcie", "device"),
            ("metrics-listen", "metrics_listen"),
            ("metric_listen", "metrics_listen"),
        ] {
            assert_eq!(closest(typed, KEYS).as_deref(), Some(meant), "{typed}");
        }
    }

    #[test]
    fn stays_silent_when_nothing_is_near() {
        for typed in ["", "zzz", "probe_interval", "\u{1f980}"] {
            assert_eq!(closest(typed, KEYS), None, "{typed}");
        }
    }
}
