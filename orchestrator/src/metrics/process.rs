//! What the process uses, read from `/proc` when somebody scrapes. Other systems have no such numbers here.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::LostSpans;

/// The kernel tells CPU time to programs in hundredths of a second, whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Read at each scrape.
#[derive(Debug)]
pub(super) struct Process {
    lost_spans: Arc<LostSpans>,
}

impl Process {
    pub(super) fn new(lost_spans: Arc<LostSpans>) -> Self {
        Self { lost_spans }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(bytes) = std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident) {
            let gauge = ConstGauge::new(bytes);
            let help = "Memory of this process that is in RAM";
            gauge.encode(encoder.encode_descriptor(
                "process_resident_memory_bytes",
                help,
                None,
                gauge.metric_type(),
            )?)?;
        }
        if let Some(spent) = std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu) {
            let counter = ConstCounter::new(spent);
            let help = "CPU time that this process spent, in user mode and in the kernel";
            counter.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        let lost = ConstCounter::new(self.lost_spans.get());
        let help = "Spans that were not exported: the collector was away or too slow";
        lost.encode(encoder.encode_descriptor("snorri_spans_lost", help, None, lost.metric_type())?)
    }
}

/// In bytes. `statm` would have it in pages, whose size differs between machines.
fn resident(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// In seconds.
fn cpu(stat: &str) -> Option<f64> {
    // The program's name stands in brackets and may contain anything, blanks and brackets included.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let kernel: f64 = fields.next()?.parse().ok()?;
    Some((user + kernel) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_brackets_and_blanks_in_its_name_is_read_right() {
        let stat = "7 (a (b) c d) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(cpu("7 (a) S"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 * 1024 * 1024));
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
