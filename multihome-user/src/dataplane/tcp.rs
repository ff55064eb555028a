//! What the programs have counted of TCP, added up over CPUs.

use std::time::Duration;

use multihome_common::tcp::counts::{BOUNDS, Handshakes, TcpCounts};

/// How long handshakes took over one uplink in one family: from a SYN that left by it to the SYN-ACK that
/// came in by it, which is the network's round trip as users have it. Handshakes whose SYN was sent again
/// are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HandshakeTimes {
    /// Handshakes of each bucket by itself: those of at most the same place of [`BOUNDS`] and more than
    /// the one before it; the last are those that took longer.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// What they took together.
    pub sum: Duration,
}

impl HandshakeTimes {
    fn add(&mut self, counted: &Handshakes) {
        for (bucket, more) in self.buckets.iter_mut().zip(&counted.buckets) {
            *bucket += more.load();
        }
        self.sum += Duration::from_nanos(counted.sum.load());
    }
}

/// What is counted of the TCP of one uplink, since the maps were made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TcpMeasure {
    /// How long handshakes took, by family.
    pub handshakes: [HandshakeTimes; 2],
    /// SYNs that LAN hosts sent again by it.
    pub syn: u64,
    /// Segments with data that passed by it again, in either direction, of a sample of flows.
    pub data: u64,
    /// Segments with data of that sample.
    pub sampled: u64,
}

impl TcpMeasure {
    /// What all CPUs have counted.
    pub fn sum<'c>(counts: impl IntoIterator<Item = &'c TcpCounts>) -> Self {
        let mut measure = Self::default();
        for of_cpu in counts {
            for (times, counted) in measure.handshakes.iter_mut().zip(&of_cpu.handshakes) {
                times.add(counted);
            }
            measure.syn += of_cpu.syn.load();
            // Before all that was looked at: a part is never more than the whole.
            measure.data += of_cpu.data.load();
            measure.sampled += of_cpu.sampled.load();
        }
        measure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cpus_are_added_up() {
        let cpus = [TcpCounts::default(), TcpCounts::default()];
        cpus[0].handshakes[1].count(3_000_000);
        cpus[1].handshakes[1].count(4_000_000);
        cpus[1].handshakes[0].count(60_000_000_000);
        cpus[0].syn.add(2);
        cpus[1].data.add(3);
        cpus[1].sampled.add(5);
        let measure = TcpMeasure::sum(&cpus);
        let [v4, v6] = measure.handshakes;
        assert_eq!((v6.buckets[2], v6.sum), (2, Duration::from_millis(7)));
        assert_eq!((v4.buckets[12], v4.sum), (1, Duration::from_secs(60)));
        assert_eq!((measure.syn, measure.data, measure.sampled), (2, 3, 5));
    }
}
