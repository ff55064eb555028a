//! What is counted of TCP, as metrics.

use multihome_common::{
    state::{IPV4, IPV6},
    tcp::counts::BOUNDS,
};
use prometheus::proto::MetricFamily;

use super::{CounterSnapshot, Shown};
use crate::metrics::encode::{Distribution, counters, histograms, label};

const FAMILIES: [(usize, &str); 2] = [(IPV4, "ipv4"), (IPV6, "ipv6")];

pub(super) fn handshakes(shown: &Shown, now: &CounterSnapshot) -> MetricFamily {
    let values = now.tcp.iter().flat_map(|(uplink, measure)| {
        FAMILIES.map(|(family, name)| {
            let times = &measure.handshakes[family];
            let bounds = BOUNDS.iter().map(|&bound| bound as f64 / 1e9);
            let distribution = Distribution {
                buckets: bounds.zip(times.buckets).collect(),
                count: times.buckets.iter().sum(),
                sum: times.sum.as_secs_f64(),
            };
            let labels = vec![label("family", name), label("uplink", uplink)];
            (labels, distribution)
        })
    });
    histograms(shown.name, shown.help, values)
}

pub(super) fn retransmissions(shown: &Shown, now: &CounterSnapshot) -> MetricFamily {
    let values = now.tcp.iter().flat_map(|(uplink, measure)| {
        [("data", measure.data), ("syn", measure.syn)].map(|(kind, count)| {
            let labels = vec![label("kind", kind), label("uplink", uplink)];
            (labels, count as f64)
        })
    });
    counters(shown.name, shown.help, values)
}

pub(super) fn sampled(shown: &Shown, now: &CounterSnapshot) -> MetricFamily {
    let values = now
        .tcp
        .iter()
        .map(|(uplink, measure)| (vec![label("uplink", uplink)], measure.sampled as f64));
    counters(shown.name, shown.help, values)
}
