//! What the demo prints: a timeline that can be read at a glance.

use super::{clients::Survival, report::Report, trial::Trial};
use crate::{
    lab::{cut::Cut, topology::Plan},
    traffic::clock,
};

/// Columns that the longest bar takes.
const BAR: f64 = 40.0;

/// Where the timeline is printed to, and when it began.
pub(super) struct Screen {
    json: bool,
    start: u64,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            start: clock::now(),
        }
    }

    /// The network, drawn.
    pub(super) fn network(&self, plan: &Plan) {
        self.line("");
        let hosts = usize::from(plan.hosts);
        let rows = plan.uplinks.len();
        for (row, uplink) in plan.uplinks.iter().enumerate() {
            let (left, right) = match row {
                0 => ("┐            ┌", "┐"),
                last if last == rows - 1 => ("┘            └", "┘"),
                middle if middle == rows / 2 => ("├── gateway ──┼", "┼── internet ── server"),
                _ => ("│            ├", "┤"),
            };
            // As many hosts as there are rows but the middle one.
            let host = row - usize::from(row > rows / 2);
            let host = match row == rows / 2 || host >= hosts {
                true => String::from("     "),
                false => format!("h{host} ──"),
            };
            let left = if row == rows / 2 {
                left.to_owned()
            } else {
                left.replacen("  ", "   ", 1)
            };
            self.line(&format!(
                "  {host}{left}─ {:<7} weight {} ── isp{row} ─{right}",
                uplink.name, uplink.weight
            ));
        }
        self.line("");
    }

    /// Something happens now.
    pub(super) fn event(&self, what: &str) {
        let now = clock::milliseconds(self.start, clock::now()) / 1e3;
        self.line(&format!("{now:6.1} s  {what}"));
    }

    /// More about what has just happened.
    pub(super) fn detail(&self, what: &str) {
        self.line(&format!("          {what}"));
    }

    /// The shares of all uplinks, as bars.
    pub(super) fn shares(&self, plan: &Plan, shares: &[f64]) {
        let all: u32 = plan.uplinks.iter().map(|uplink| uplink.weight).sum();
        let most = shares.iter().copied().fold(0.0, f64::max);
        for (uplink, share) in plan.uplinks.iter().zip(shares) {
            let wanted = 100.0 * f64::from(uplink.weight) / f64::from(all);
            let bar = "█".repeat((share / most * BAR).round() as usize);
            self.detail(&format!(
                "{:<7} {:5.1} %  {bar}  (by weight {wanted:.0} %)",
                uplink.name,
                share * 100.0
            ));
        }
    }

    /// A kind of cut begins.
    pub(super) fn cut(&self, plan: &Plan, uplink: usize, cut: Cut) {
        let name = plan.uplinks[uplink].name;
        self.line("");
        self.event(&match cut {
            Cut::Carrier => format!("CUT: the cable of {name}, the busiest uplink, is pulled"),
            Cut::Blackhole => format!(
                "CUT: the ISP of {name} silently stops forwarding; the link stays up and the \
                 next hop answers"
            ),
            Cut::Lossy(percent) => {
                format!("CUT: the ISP of {name} loses {percent} % of the packets")
            }
        });
    }

    /// A trial has ended: the first of a kind is told in full, the others in a line each.
    pub(super) fn trial(&self, plan: &Plan, trial: &Trial, number: u32) {
        if number == 1 {
            self.detail(&format!(
                "{:>8.1} ms  noticed by the gateway",
                trial.noticed_ms
            ));
            self.detail(&format!(
                "{:>8.1} ms  all {} watched flows go by another uplink",
                trial.failover_ms, trial.flows
            ));
            self.detail(&format!(
                "{:>8} lost  of the packets that each of these flows sends every millisecond",
                trial.lost
            ));
            self.detail(&format!(
                "{:>8} lost  on {} watched flows of the other uplinks",
                trial.lost_on_others, trial.other_flows
            ));
            self.detail(&format!(
                "    shares  {}",
                shares(plan, &trial.shares_during)
            ));
            self.detail("BACK: the uplink works again");
            self.detail(&format!(
                "{:>8.1} ms  all flows are back on it, {} packets lost",
                trial.back_ms, trial.lost_on_return
            ));
            self.detail(&format!(
                "    shares  {}, {} flows not as before",
                shares(plan, &trial.shares_after),
                trial.moved
            ));
            return;
        }
        if number == 2 {
            self.detail(
                "again   noticed     moved      lost   others lost   back on it   not as before",
            );
        }
        self.event(&format!(
            "{number:5} {:>7.1} ms {:>6.1} ms {:>9} {:>13} {:>9.0} ms {:>15}",
            trial.noticed_ms,
            trial.failover_ms,
            trial.lost,
            trial.lost_on_others,
            trial.back_ms,
            trial.moved
        ));
    }

    /// What became of the clients that ran through all cuts.
    pub(super) fn survival(&self, survival: &Survival) {
        self.line("");
        self.event(&format!(
            "{} of {} downloads came to their end unharmed ({:.1} MB); {} of all had started on \
             the uplink that was cut",
            survival.downloads - survival.failures.len(),
            survival.downloads,
            survival.bytes as f64 / 1e6,
            survival.on_cut_uplink
        ));
        let [v4, v6] = survival.pings;
        self.detail(&format!(
            "ping every 100 ms: {} of {} answered by IPv4, {} of {} by IPv6",
            v4.received, v4.sent, v6.received, v6.sent
        ));
    }

    /// The results; as JSON to stdout, if that was asked for.
    pub(super) fn end(&self, report: &Report) {
        for (what, times) in [
            ("pulled cable", report.carrier_failover_ms),
            ("silent loss", report.blackhole_failover_ms),
        ] {
            self.detail(&format!(
                "{what}: traffic moved after {} ms (p50), {} ms (p99), {} ms (max) in {} trials",
                times.p50, times.p99, times.max, times.trials
            ));
        }
        self.line("");
        for broken in &report.broken {
            self.line(&format!("NOT OK: {broken}"));
        }
        if report.ok {
            self.line("OK: all promises were kept");
        }
    }

    fn line(&self, line: &str) {
        if self.json {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }
}

/// The shares of all uplinks, in a line.
fn shares(plan: &Plan, shares: &[f64]) -> String {
    let each = plan.uplinks.iter().zip(shares);
    each.map(|(uplink, share)| format!("{} {:.1} %", uplink.name, share * 100.0))
        .collect::<Vec<_>>()
        .join(", ")
}
