//! The table and the JSON file.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::say;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    cores: usize,
    processor: String,
    postgres: String,
    nats_server: String,
    rows: Vec<RowReport>,
    /// Of all rows together: what Postgres has, and what of it has not ended.
    sagas_in_postgres: u64,
    sagas_not_ended: u64,
}

/// One row.
#[derive(Debug, Default, Serialize)]
pub(super) struct RowReport {
    pub(super) name: String,
    /// Of a plain closed loop.
    pub(super) in_flight: Option<usize>,
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
    pub(super) problems: Vec<String>,
}

/// A latency in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// What one process, or several under one name, used.
#[derive(Debug, Serialize)]
pub(super) struct Usage {
    pub(super) process: &'static str,
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
    pub(super) fn new(
        process: &'static str,
        cpu: Option<Duration>,
        sagas: u64,
        memory_mb: Option<u64>,
    ) -> Self {
        let cpu_s_per_1000 = cpu.filter(|_| sagas > 0).map(|cpu| cpu.as_secs_f64() * 1000.0 / float(sagas));
        Self { process, cpu_s_per_1000, memory_mb }
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

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl RowReport {
    pub(super) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// The processor time of all processes but the load generator.
    fn cpu_together(&self) -> Option<f64> {
        let own = self.usage.iter().filter(|usage| usage.process != "load generator");
        let all: Option<Vec<f64>> = own.map(|usage| usage.cpu_s_per_1000).collect();
        all.filter(|all| !all.is_empty()).map(|all| all.iter().sum())
    }

    fn cpu_of(&self, process: &str) -> Option<f64> {
        self.usage.iter().find(|usage| usage.process == process)?.cpu_s_per_1000
    }

    fn memory_of(&self, process: &str) -> Option<u64> {
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
            rows: Vec::new(),
            sagas_in_postgres: 0,
            sagas_not_ended: 0,
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

    fn best(&self) -> Option<&RowReport> {
        let rate = |row: &RowReport| row.sagas_per_s.unwrap_or(0.0);
        self.rows
            .iter()
            .filter(|row| row.in_flight.is_some())
            .max_by(|one, other| rate(one).total_cmp(&rate(other)))
    }

    /// The closed loop that went best.
    pub(super) fn best_in_flight(&self) -> Option<usize> {
        self.best().and_then(|row| row.in_flight)
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

    /// The tables as Markdown: the short one to compare with, then every row.
    pub(super) fn table(&self) -> String {
        let mut out = format!(
            "snorri {}, Postgres {}, nats-server {}, {} cores ({})\n\n",
            self.version, self.postgres, self.nats_server, self.cores, self.processor
        );
        out += "| peak sagas/s | p50 / p99 ms at 16 in flight | open loop: p99 ms | CPU s per 1,000 sagas \
                | all ended after kill -9 |\n| ---: | ---: | ---: | ---: | ---: |\n";
        let best = self.best();
        let sixteen = self.rows.iter().find(|row| row.in_flight == Some(16)).and_then(|row| row.end_to_end);
        let open = self.rows.iter().find(|row| row.is_open_loop).and_then(|row| row.end_to_end);
        let killed = self.rows.iter().find_map(|row| row.all_ended_s);
        append(
            &mut out,
            format_args!(
                "| {} | {} | {} | {} | {} |\n\n",
                cell(best.and_then(|row| row.sagas_per_s), 0),
                pair(sixteen),
                cell(open.map(|latency| latency.p99), 1),
                cell(best.and_then(RowReport::cpu_together), 2),
                killed.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s")),
            ),
        );
        out += "| row | sagas/s | end to end p50 / p99 ms | start p50 / p99 ms | CPU s per 1,000: \
                orchestrator | participants | nats-server | postgres | together | load generator \
                | MB: orchestrator | participants | nats-server | postgres | ended / accepted \
                | compensated | others' cores |\n\
                | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: \
                | ---: | ---: | ---: | ---: |\n";
        for row in &self.rows {
            let ended = row.completed + row.compensated;
            let share = if ended == 0 { None } else { Some(float(row.compensated) * 100.0 / float(ended)) };
            let mut cells =
                vec![row.name.clone(), cell(row.sagas_per_s, 0), pair(row.end_to_end), pair(row.start)];
            for process in ["orchestrator", "participants", "nats-server", "postgres"] {
                cells.push(cell(row.cpu_of(process), 3));
            }
            cells.push(cell(row.cpu_together(), 3));
            cells.push(cell(row.cpu_of("load generator"), 3));
            for process in ["orchestrator", "participants", "nats-server", "postgres"] {
                cells.push(row.memory_of(process).map_or_else(|| "-".to_owned(), |mb| mb.to_string()));
            }
            cells.push(format!("{ended} / {}", row.accepted));
            cells.push(share.map_or_else(|| "-".to_owned(), |share| format!("{share:.1} %")));
            cells.push(cell(row.cores_used_by_others, 2));
            append(&mut out, format_args!("| {} |\n", cells.join(" | ")));
        }
        out
    }
}

fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = text.write_fmt(what);
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn pair(latency: Option<Latency>) -> String {
    latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.1} / {:.1}", latency.p50, latency.p99))
}
