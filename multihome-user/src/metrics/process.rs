//! What the controller's process uses, under the names that all of Prometheus's clients share.

use std::{collections::HashMap, fs};

use prometheus::{
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::encode::{counters, gauge};

const CPU: (&str, &str) = (
    "process_cpu_seconds_total",
    "CPU time used, user and system.",
);
const RESIDENT: (&str, &str) = ("process_resident_memory_bytes", "Memory in use.");
const VIRTUAL: (&str, &str) = ("process_virtual_memory_bytes", "Address space in use.");
const START: (&str, &str) = (
    "process_start_time_seconds",
    "Unix time of the process's start.",
);
const OPEN_FILES: (&str, &str) = ("process_open_fds", "Open file descriptors.");

/// Reads `/proc/self` at each scrape.
pub struct ProcessCollector {
    descs: Vec<Desc>,
    ticks_per_second: f64,
    page_size: f64,
    /// Unix time of the machine's start, in seconds.
    boot: Option<f64>,
}

impl ProcessCollector {
    /// A collector for this process.
    pub fn new() -> Result<Self, prometheus::Error> {
        let descs = [CPU, RESIDENT, VIRTUAL, START, OPEN_FILES]
            .map(|(name, help)| Desc::new(name.into(), help.into(), Vec::new(), HashMap::new()));
        Ok(Self {
            descs: descs.into_iter().collect::<Result<_, _>>()?,
            ticks_per_second: system(libc::_SC_CLK_TCK),
            page_size: system(libc::_SC_PAGESIZE),
            boot: fs::read_to_string("/proc/stat")
                .ok()
                .and_then(|text| boot_time(&text)),
        })
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    /// What cannot be read is left out.
    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        let stat = fs::read_to_string("/proc/self/stat").ok();
        if let Some(stat) = stat.and_then(|text| Stat::read(&text)) {
            let seconds = stat.cpu_ticks / self.ticks_per_second;
            families.push(counters(CPU.0, CPU.1, [(Vec::new(), seconds)]));
            families.push(gauge(
                RESIDENT.0,
                RESIDENT.1,
                stat.resident_pages * self.page_size,
            ));
            families.push(gauge(VIRTUAL.0, VIRTUAL.1, stat.virtual_bytes));
            if let Some(boot) = self.boot {
                let start = boot + stat.start_ticks / self.ticks_per_second;
                families.push(gauge(START.0, START.1, start));
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is the open directory itself.
            let count = open.count().saturating_sub(1);
            families.push(gauge(OPEN_FILES.0, OPEN_FILES.1, count as f64));
        }
        families
    }
}

/// A value of sysconf(3).
fn system(name: libc::c_int) -> f64 {
    // SAFETY: sysconf takes any number and has no effect.
    (unsafe { libc::sysconf(name) }) as f64
}

/// When the machine was started, from the text of `/proc/stat`.
fn boot_time(text: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

/// What is taken from `/proc/PID/stat`, see proc_pid_stat(5).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    fn read(text: &str) -> Option<Self> {
        // The second field is the program's name in brackets, which may contain anything.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // The first of these is field 3 of the manual.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_lines() {
        let text = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 7 3 0 0 20 0 2 0 1234 5000000 \
                    250 18446744073709551615 0 0\n";
        assert_eq!(
            Stat::read(text),
            Some(Stat {
                cpu_ticks: 10.0,
                start_ticks: 1234.0,
                virtual_bytes: 5_000_000.0,
                resident_pages: 250.0,
            })
        );
        assert_eq!(Stat::read("42 (x) S 1"), None);
        assert_eq!(Stat::read(""), None);
        assert_eq!(
            boot_time("cpu 1 2\nbtime 1700000000\n"),
            Some(1_700_000_000.0)
        );
    }
}
