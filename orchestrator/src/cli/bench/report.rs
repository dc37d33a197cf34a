//! What was measured, as it stands in the JSON file. The tables are made of it in [`super::table`].

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::one_of_three::Takeover;
use super::overload::Overload;
use super::say;
use super::soak::Soak;
use super::table::append;

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) cores: usize,
    pub(super) processor: String,
    pub(super) postgres: String,
    pub(super) nats_server: String,
    /// Of several runs the medians.
    pub(super) rows: Vec<RowReport>,
    /// Of all rows together: what Postgres has, and what of it has not ended.
    pub(super) sagas_in_postgres: u64,
    pub(super) sagas_not_ended: u64,
    /// Each run by itself, if there were several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) runs: Vec<Report>,
}

/// One row.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RowReport {
    pub(super) name: String,
    /// Of a plain closed loop.
    pub(super) in_flight: Option<usize>,
    /// Of any closed loop through the product.
    pub(super) loop_in_flight: Option<usize>,
    /// Of a closed loop through the floor.
    pub(super) floor_in_flight: Option<usize>,
    pub(super) share_of_floor: Option<Share>,
    pub(super) is_open_loop: bool,
    pub(super) sagas_per_s: Option<f64>,
    pub(super) end_to_end: Option<Latency>,
    pub(super) start: Option<Latency>,
    pub(super) usage: Vec<Usage>,
    pub(super) cores_used: Option<f64>,
    /// What other programs of this machine used meanwhile: much of it spoils the row.
    pub(super) cores_used_by_others: Option<f64>,
    /// From the restart until the last end was announced.
    pub(super) all_ended_s: Option<f64>,
    /// From the restart until the last end was committed.
    pub(super) all_committed_s: Option<f64>,
    pub(super) under_way_at_kill: Option<usize>,
    pub(super) accepted: u64,
    pub(super) completed: u64,
    pub(super) compensated: u64,
    pub(super) refused: u64,
    pub(super) takeover: Option<Takeover>,
    pub(super) overload: Option<Overload>,
    pub(super) soak: Option<Soak>,
    /// How far apart several runs were.
    pub(super) spread: Option<Spread>,
    pub(super) problems: Vec<String>,
}

/// A row beside the floor at the same number in flight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Share {
    /// Its sagas a second, as a share of the floor's.
    pub(super) sagas_per_s: Option<f64>,
    /// The floor's processor time, as a share of its own.
    pub(super) cpu: Option<f64>,
}

/// The lowest and the highest of several runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) sagas_per_s: Option<[f64; 2]>,
    pub(super) end_to_end_p50: Option<[f64; 2]>,
    pub(super) end_to_end_p99: Option<[f64; 2]>,
    pub(super) start_p50: Option<[f64; 2]>,
    pub(super) start_p99: Option<[f64; 2]>,
    pub(super) cpu_s_per_1000: Option<[f64; 2]>,
    /// After a kill.
    pub(super) recovered_s: Option<[f64; 2]>,
}

/// A latency in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// What one process, or several under one name, used.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Usage {
    pub(super) process: String,
    pub(super) cpu_s_per_1000: Option<f64>,
    pub(super) memory_mb: Option<u64>,
}

impl Latency {
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50: ms(histogram.value_at_quantile(0.5)),
            p99: ms(histogram.value_at_quantile(0.99)),
            max: ms(histogram.max()),
        }
    }
}

impl Usage {
    pub(super) fn new(process: &str, cpu: Option<Duration>, sagas: u64, memory_mb: Option<u64>) -> Self {
        let cpu_s_per_1000 = cpu.filter(|_| sagas > 0).map(|cpu| cpu.as_secs_f64() * 1000.0 / float(sagas));
        Self { process: process.to_owned(), cpu_s_per_1000, memory_mb }
    }
}

/// Microseconds as milliseconds.
fn ms(micros: u64) -> f64 {
    float(micros) / 1000.0
}

/// How many a second.
pub(super) fn per_second(count: u64, span: Duration) -> f64 {
    float(count) / span.as_secs_f64()
}

/// A count as a float.
#[allow(clippy::cast_precision_loss, reason = "counts and bytes, far below what a float holds exactly")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

impl RowReport {
    pub(super) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// The processor time of all processes but the load generator.
    pub(super) fn cpu_together(&self) -> Option<f64> {
        let own = self.usage.iter().filter(|usage| usage.process != "load generator");
        let all: Option<Vec<f64>> = own.map(|usage| usage.cpu_s_per_1000).collect();
        all.filter(|all| !all.is_empty()).map(|all| all.iter().sum())
    }

    /// How long it took until all had ended after a kill.
    pub(super) fn recovered_s(&self) -> Option<f64> {
        self.all_ended_s.or(self.takeover.as_ref().and_then(|takeover| takeover.announced_s))
    }

    pub(super) fn cpu_of(&self, process: &str) -> Option<f64> {
        self.usage.iter().find(|usage| usage.process == process)?.cpu_s_per_1000
    }

    pub(super) fn memory_of(&self, process: &str) -> Option<u64> {
        self.usage.iter().find(|usage| usage.process == process)?.memory_mb
    }

    /// One line while it goes on.
    pub(super) fn say(&self) {
        let mut line = format!("  {}:", self.name);
        if let (Some(rate), Some(latency)) = (self.sagas_per_s, self.end_to_end) {
            append(&mut line, format_args!(" {rate:.0} sagas/s, p50 {:.1} ms", latency.p50));
            append(&mut line, format_args!(", p99 {:.1} ms", latency.p99));
        }
        if let Some(cpu) = self.cpu_together() {
            append(&mut line, format_args!(", {cpu:.2} CPU s per 1,000"));
        }
        if let Some(others) = self.cores_used_by_others {
            append(&mut line, format_args!(" (others used {others:.2} cores)"));
        }
        if let Some(seconds) = self.all_ended_s {
            append(&mut line, format_args!(" all announced {seconds:.1} s after the restart"));
        }
        if let Some(seconds) = self.all_committed_s {
            append(&mut line, format_args!(", all committed after {seconds:.1} s"));
        }
        if let Some(takeover) = &self.takeover {
            append(&mut line, format_args!(" {}", super::table::takeover(takeover)));
        }
        if let Some(overload) = &self.overload {
            append(&mut line, format_args!("; {}", super::table::overload(overload)));
        }
        for problem in &self.problems {
            append(&mut line, format_args!("; PROBLEM: {problem}"));
        }
        say(line);
    }
}

impl Report {
    pub(super) fn new(postgres: String, nats_server: String) -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
            postgres,
            nats_server,
            ..Self::default()
        }
    }

    /// What stands above the rows.
    pub(super) fn heading(&self) -> Self {
        Self {
            version: self.version,
            cores: self.cores,
            processor: self.processor.clone(),
            postgres: self.postgres.clone(),
            nats_server: self.nats_server.clone(),
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, row: RowReport) {
        self.rows.push(row);
    }

    /// What Postgres says in the end.
    pub(super) fn audit(&mut self, all: u64, live: u64) {
        self.sagas_in_postgres = all;
        self.sagas_not_ended = live;
    }

    /// The plain closed loop that went best.
    pub(super) fn best(&self) -> Option<&RowReport> {
        let rate = |row: &RowReport| row.sagas_per_s.unwrap_or(0.0);
        self.rows
            .iter()
            .filter(|row| row.in_flight.is_some())
            .max_by(|one, other| rate(one).total_cmp(&rate(other)))
    }

    /// Its number in flight.
    pub(super) fn best_in_flight(&self) -> Option<usize> {
        self.best().and_then(|row| row.in_flight)
    }

    /// Its sagas a second.
    pub(super) fn best_rate(&self) -> Option<f64> {
        self.best().and_then(|row| row.sagas_per_s)
    }

    /// Sets each closed loop beside the floor at the same number in flight.
    pub(super) fn compare_with_floor(&mut self) {
        type Floor = (Option<usize>, Option<f64>, Option<f64>);
        let floors: Vec<Floor> = self
            .rows
            .iter()
            .filter(|row| row.floor_in_flight.is_some())
            .map(|row| (row.floor_in_flight, row.sagas_per_s, row.cpu_together()))
            .collect();
        for row in self.rows.iter_mut().filter(|row| row.loop_in_flight.is_some()) {
            let Some((_, rate, cpu)) = floors.iter().find(|(floor, ..)| *floor == row.loop_in_flight) else {
                continue;
            };
            let share = |part: Option<f64>, whole: Option<f64>| {
                part.zip(whole).filter(|(_, whole)| *whole > 0.0).map(|(part, whole)| part / whole)
            };
            row.share_of_floor = Some(Share {
                sagas_per_s: share(row.sagas_per_s, *rate),
                cpu: share(*cpu, row.cpu_together()),
            });
        }
    }

    /// What went wrong, of all rows.
    pub(super) fn problems(&self) -> Vec<String> {
        let rows = self.rows.iter();
        let mut all: Vec<String> = rows
            .flat_map(|row| row.problems.iter().map(move |problem| format!("{}: {problem}", row.name)))
            .collect();
        if self.sagas_not_ended > 0 {
            all.push(format!("{} sagas never ended", self.sagas_not_ended));
        }
        all
    }

    pub(super) fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self).unwrap_or_else(|error| format!("\"{error}\""));
        text + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, rate: f64, cpu: f64) -> RowReport {
        let mut row = RowReport::new(name.to_owned());
        row.sagas_per_s = Some(rate);
        row.usage.push(Usage { process: "postgres".to_owned(), cpu_s_per_1000: Some(cpu), memory_mb: None });
        // The load generator's does not count.
        row.usage.push(Usage {
            process: "load generator".to_owned(),
            cpu_s_per_1000: Some(9.0),
            memory_mb: None,
        });
        row
    }

    #[test]
    fn a_closed_loop_is_set_beside_the_floor_of_its_own_number_in_flight() {
        let mut report = Report::default();
        for (rate, in_flight) in [(1000.0, 16), (4000.0, 256)] {
            report.add(RowReport {
                in_flight: Some(in_flight),
                loop_in_flight: Some(in_flight),
                ..row("ours", rate, 0.4)
            });
        }
        report.add(RowReport { floor_in_flight: Some(256), ..row("floor", 8000.0, 0.1) });
        report.compare_with_floor();
        let shares: Vec<Option<Share>> = report.rows.iter().map(|row| row.share_of_floor).collect();
        assert_eq!(shares, [None, Some(Share { sagas_per_s: Some(0.5), cpu: Some(0.25) }), None]);
        // The floor is not the best closed loop.
        assert_eq!((report.best_in_flight(), report.best_rate()), (Some(256), Some(4000.0)));
    }
}
