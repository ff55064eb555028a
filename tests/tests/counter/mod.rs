//! One value out of what the gateway's metrics say.

use anyhow::{Context as _, Result};
use multihome_tests::lab::controller::Gateway;

/// The value of a metric with these labels, which are in the order of their names.
pub fn counter(gateway: &Gateway<'_>, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
    let (_, text) = gateway.fetch("/metrics")?;
    let labels: Vec<String> = labels
        .iter()
        .map(|(label, value)| format!("{label}=\"{value}\""))
        .collect();
    let start = format!("{name}{{{}}} ", labels.join(","));
    text.lines()
        .find_map(|line| line.strip_prefix(&start))
        .with_context(|| format!("no {start}in the metrics"))?
        .parse()
        .with_context(|| start)
}
