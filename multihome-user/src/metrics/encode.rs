//! Metric families that are made anew at each scrape, from values that somebody else counts.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// A family of counters with the values that they have now.
pub fn counters(
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Vec<LabelPair>, f64)>,
) -> MetricFamily {
    let metrics = values.into_iter().map(|(labels, value)| {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = Metric::from_label(labels);
        metric.set_counter(counter);
        metric
    });
    family(name, help, MetricType::COUNTER, metrics.collect())
}

/// How values are distributed.
pub struct Distribution {
    /// The upper bound of each bucket, rising, and the values of that bucket by itself.
    pub buckets: Vec<(f64, u64)>,
    /// All values, also those above the last bound.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

/// A family of histograms with the values that they have now.
pub fn histograms(
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Vec<LabelPair>, Distribution)>,
) -> MetricFamily {
    let metrics = values.into_iter().map(|(labels, distribution)| {
        let mut below = 0;
        let buckets = distribution.buckets.into_iter().map(|(bound, count)| {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(distribution.count);
        histogram.set_sample_sum(distribution.sum);
        let mut metric = Metric::from_label(labels);
        metric.set_histogram(histogram);
        metric
    });
    family(name, help, MetricType::HISTOGRAM, metrics.collect())
}

/// A gauge with the value that it has now.
pub fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    family(
        name,
        help,
        MetricType::GAUGE,
        vec![Metric::from_gauge(gauge)],
    )
}

/// A label with its value.
pub fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value.into());
    pair
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
