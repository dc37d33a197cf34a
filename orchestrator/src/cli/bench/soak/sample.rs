//! One look at everything.

use std::time::Duration;

use crate::cli::bench::Error;
use crate::cli::bench::load::Load;
use crate::cli::bench::questions::Table;
use crate::cli::bench::report::{Latency, float};
use crate::cli::bench::stage::{Stage, streams};

/// What is there at one moment; the latencies are of the time since the last look.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// Since the beginning.
    pub(super) at: Duration,
    pub(super) accepted: u64,
    pub(super) ended: u64,
    pub(super) memory_mb: Vec<(&'static str, Option<f64>)>,
    pub(super) tables: Vec<Table>,
    pub(super) wal_bytes: u64,
    pub(super) streams: Vec<Stream>,
    pub(super) end_to_end: Option<Latency>,
    pub(super) start: Option<Latency>,
}

/// What is in a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) messages: u64,
}

impl Sample {
    pub(super) async fn take(stage: &Stage, load: &Load, at: Duration) -> Result<Self, Error> {
        let (end_to_end, start) = load.take_latencies();
        let latency = |histogram: &hdrhistogram::Histogram<u64>| {
            (!histogram.is_empty()).then(|| Latency::of(histogram))
        };
        let mut in_streams = Vec::new();
        for name in streams(&stage.subjects) {
            let held = stage.stream_state(&name).await?;
            in_streams.push(Stream { name, bytes: held.bytes, messages: held.messages });
        }
        Ok(Self {
            at,
            accepted: load.read(|tally| tally.accepted),
            ended: super::ended(load),
            memory_mb: stage.processes().into_iter().map(|(name, who)| (name, who.resident_mb())).collect(),
            tables: stage.tables().await?,
            wal_bytes: stage.wal_bytes().await?,
            streams: in_streams,
            end_to_end: latency(&end_to_end),
            start: latency(&start),
        })
    }

    /// All tables with their indexes.
    pub(super) fn table_bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }

    /// The names of the columns.
    pub(super) fn header(&self) -> String {
        let mut columns: Vec<String> =
            ["seconds", "accepted_per_s", "ended_per_s", "wal_bytes_per_s"].map(str::to_owned).into();
        for (name, _) in &self.memory_mb {
            columns.push(format!("{}_mb", name.replace(['-', ' '], "_")));
        }
        for table in &self.tables {
            for what in ["bytes", "index_bytes", "live", "dead"] {
                columns.push(format!("{}_{what}", table.name));
            }
        }
        for stream in &self.streams {
            for what in ["bytes", "messages"] {
                columns.push(format!("{}_{what}", stream.name.to_lowercase()));
            }
        }
        for of in ["end_to_end", "start"] {
            for what in ["p50", "p99", "max"] {
                columns.push(format!("{of}_{what}_ms"));
            }
        }
        columns.join(",")
    }

    /// Its line, with rates since the sample before.
    pub(super) fn line(&self, before: &Self) -> String {
        let seconds = (self.at.saturating_sub(before.at)).as_secs_f64().max(0.001);
        let rate = |now: u64, then: u64| float(now.saturating_sub(then)) / seconds;
        let mut cells = vec![
            format!("{:.1}", self.at.as_secs_f64()),
            format!("{:.1}", rate(self.accepted, before.accepted)),
            format!("{:.1}", rate(self.ended, before.ended)),
            format!("{:.0}", rate(self.wal_bytes, before.wal_bytes)),
        ];
        let optional = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
        cells.extend(self.memory_mb.iter().map(|(_, mb)| optional(*mb)));
        for table in &self.tables {
            cells.extend([table.bytes, table.index_bytes, table.live, table.dead].map(|n| n.to_string()));
        }
        for stream in &self.streams {
            cells.extend([stream.bytes, stream.messages].map(|n| n.to_string()));
        }
        for latency in [self.end_to_end, self.start] {
            cells.extend(
                [latency.map(|l| l.p50), latency.map(|l| l.p99), latency.map(|l| l.max)].map(optional),
            );
        }
        cells.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_cell_for_each_column() {
        let latency = Some(Latency { p50: 1.0, p99: 2.0, max: 3.0 });
        let table = Table { name: "journal".to_owned(), bytes: 9, index_bytes: 4, live: 3, dead: 1 };
        let sample = Sample {
            at: Duration::from_secs(10),
            ended: 50,
            memory_mb: vec![("load generator", Some(12.5)), ("postgres", None)],
            tables: vec![table],
            streams: vec![Stream { name: "S".to_owned(), bytes: 1, messages: 2 }],
            end_to_end: latency,
            ..Sample::default()
        };
        let (header, line) = (sample.header(), sample.line(&Sample::default()));
        assert_eq!(header.split(',').count(), line.split(',').count());
        assert!(header.starts_with("seconds,accepted_per_s,ended_per_s,wal_bytes_per_s,load_generator_mb"));
        assert!(line.starts_with("10.0,0.0,5.0,0,12.5,,9,4,3,1,1,2,1.0,2.0,3.0,,,"), "{line}");
    }
}
