//! Windows of ten minutes, and whether the later ones are like the second. The first is the time in which caches,
//! streams and memory fill.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sample::Sample;
use crate::cli::bench::median::median;
use crate::cli::bench::report::{Latency, float};

/// A window's medians over its samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::cli::bench) struct Window {
    pub(in crate::cli::bench) from_minute: f64,
    pub(in crate::cli::bench) to_minute: f64,
    pub(in crate::cli::bench) sagas_per_s: f64,
    /// By process, in their order.
    pub(in crate::cli::bench) memory_mb: Vec<Memory>,
    /// At the window's end.
    pub(in crate::cli::bench) table_mb: f64,
    pub(in crate::cli::bench) index_mb: f64,
    /// How much tables and indexes grew for each saga that ended.
    pub(in crate::cli::bench) bytes_per_saga: Option<f64>,
    pub(in crate::cli::bench) wal_bytes_per_saga: Option<f64>,
    /// Of the table of sagas, whose rows change: dead ones, and how many there are to a live one.
    pub(in crate::cli::bench) dead_rows: f64,
    pub(in crate::cli::bench) dead_share: Option<f64>,
    pub(in crate::cli::bench) stream_mb: f64,
    pub(in crate::cli::bench) end_to_end: Option<Latency>,
    pub(in crate::cli::bench) start: Option<Latency>,
}

/// The memory of one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::cli::bench) struct Memory {
    pub(in crate::cli::bench) process: String,
    pub(in crate::cli::bench) mb: Option<f64>,
}

/// Whether one thing stays as it was in the second window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::cli::bench) struct Judgement {
    pub(in crate::cli::bench) what: String,
    /// In the second window.
    pub(in crate::cli::bench) reference: f64,
    /// The highest of the later windows.
    pub(in crate::cli::bench) highest: f64,
    /// How high it may be.
    pub(in crate::cli::bench) bound: f64,
    pub(in crate::cli::bench) has_drifted: bool,
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.has_drifted { "drifts" } else { "is flat" };
        let Self { what, reference, highest, bound, .. } = self;
        write!(f, "{what} {word}: {reference:.2} in the second window, then {highest:.2} at most ")?;
        write!(f, "(allowed: {bound:.2})")
    }
}

/// Sorts the samples into windows. A rest that is shorter than half a window belongs to the last one.
pub(super) fn windows(base: &Sample, samples: &[Sample], length: Duration) -> Vec<Window> {
    let end = samples.last().map(|sample| sample.at).unwrap_or_default();
    let whole = (end.as_secs_f64() / length.as_secs_f64().max(0.001)).round().max(1.0);
    let place = |sample: &Sample| {
        // A sample belongs to the time before it, and is never quite on time.
        let at = sample.at.saturating_sub(super::SAMPLE_EVERY / 2).as_secs_f64();
        (at / length.as_secs_f64().max(0.001)).floor().clamp(0.0, whole - 1.0)
    };
    let (mut before, mut found) = (base, Vec::new());
    for group in samples.chunk_by(|one, other| place(one).total_cmp(&place(other)).is_eq()) {
        if let Some(last) = group.last() {
            found.push(window(before, group, last));
            before = last;
        }
    }
    found
}

fn window(before: &Sample, group: &[Sample], last: &Sample) -> Window {
    const MB: f64 = 1024.0 * 1024.0;
    let ended = last.ended.saturating_sub(before.ended);
    let per_saga = |now: u64, then: u64| (ended > 0).then(|| float(now.saturating_sub(then)) / float(ended));
    let seconds = last.at.saturating_sub(before.at).as_secs_f64().max(0.001);
    let of_sagas = |sample: &Sample| sample.tables.iter().find(|table| table.name == "sagas").cloned();
    let memory = last.memory_mb.iter().enumerate().map(|(place, (process, _))| Memory {
        process: (*process).to_owned(),
        mb: median(group.iter().filter_map(|sample| sample.memory_mb.get(place)?.1)),
    });
    let latency = |of: fn(&Sample) -> Option<Latency>| {
        Some(Latency {
            p50: median(group.iter().filter_map(of).map(|latency| latency.p50))?,
            p99: median(group.iter().filter_map(of).map(|latency| latency.p99))?,
            max: group.iter().filter_map(of).map(|latency| latency.max).fold(0.0, f64::max),
        })
    };
    Window {
        from_minute: before.at.as_secs_f64() / 60.0,
        to_minute: last.at.as_secs_f64() / 60.0,
        sagas_per_s: float(ended) / seconds,
        memory_mb: memory.collect(),
        table_mb: float(last.table_bytes()) / MB,
        index_mb: float(last.tables.iter().map(|table| table.index_bytes).sum()) / MB,
        bytes_per_saga: per_saga(last.table_bytes(), before.table_bytes()),
        wal_bytes_per_saga: per_saga(last.wal_bytes, before.wal_bytes),
        dead_rows: median(group.iter().filter_map(of_sagas).map(|table| float(table.dead)))
            .unwrap_or_default(),
        dead_share: median(
            group
                .iter()
                .filter_map(of_sagas)
                .filter(|table| table.live > 0)
                .map(|table| float(table.dead) / float(table.live)),
        ),
        stream_mb: float(last.streams.iter().map(|stream| stream.bytes).sum()) / MB,
        end_to_end: latency(|sample| sample.end_to_end),
        start: latency(|sample| sample.start),
    }
}

/// The latencies of all windows: the medians of their medians and of their 99th percentiles, and the slowest of all.
pub(super) fn latencies(windows: &[Window]) -> (Option<Latency>, Option<Latency>) {
    let all = |of: fn(&Window) -> Option<Latency>| {
        Some(Latency {
            p50: median(windows.iter().filter_map(of).map(|latency| latency.p50))?,
            p99: median(windows.iter().filter_map(of).map(|latency| latency.p99))?,
            max: windows.iter().filter_map(of).map(|latency| latency.max).fold(0.0, f64::max),
        })
    };
    (all(|window| window.end_to_end), all(|window| window.start))
}

/// How far something may rise above the second window: by a share, and by an amount that is noise.
#[derive(Debug, Clone, Copy)]
struct Bound {
    share: f64,
    amount: f64,
}

const MEMORY: Bound = Bound { share: 0.15, amount: 16.0 };
const LATENCY: Bound = Bound { share: 0.3, amount: 2.0 };
const BYTES_PER_SAGA: Bound = Bound { share: 0.1, amount: 50.0 };
/// Autovacuum begins at 2 % of the table: the share is a saw's teeth, and the number grows with the table.
const DEAD_SHARE: Bound = Bound { share: 0.5, amount: 0.01 };

/// Compares the later windows with the second.
pub(super) fn judge(windows: &[Window]) -> Vec<Judgement> {
    let Some((reference, later)) = windows.get(1..).and_then(<[Window]>::split_first) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let mut add = |what: &str, bound: Bound, of: &dyn Fn(&Window) -> Option<f64>| {
        let highest = later.iter().filter_map(of).fold(None, |highest: Option<f64>, value| {
            Some(highest.map_or(value, |highest| highest.max(value)))
        });
        let (Some(reference), Some(highest)) = (of(reference), highest) else { return };
        let bound = reference * (1.0 + bound.share) + bound.amount;
        let has_drifted = highest > bound;
        all.push(Judgement { what: what.to_owned(), reference, highest, bound, has_drifted });
    };
    for (place, memory) in reference.memory_mb.iter().enumerate() {
        add(&format!("memory of {}, MB", memory.process), MEMORY, &|window| window.memory_mb.get(place)?.mb);
    }
    add("end to end p50, ms", LATENCY, &|window| window.end_to_end.map(|latency| latency.p50));
    add("end to end p99, ms", LATENCY, &|window| window.end_to_end.map(|latency| latency.p99));
    add("start p99, ms", LATENCY, &|window| window.start.map(|latency| latency.p99));
    add("tables and indexes, bytes per saga", BYTES_PER_SAGA, &|window| window.bytes_per_saga);
    add("dead rows of sagas to a live one", DEAD_SHARE, &|window| window.dead_share);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::questions::Table;

    /// A sample each ten seconds for six minutes: 100 sagas a second of 2,000 bytes each.
    fn steady(change: impl Fn(&mut Sample)) -> Vec<Sample> {
        let sample = |number: u64| {
            let ended = number * 1000;
            let table = |name: &str, bytes: u64| Table {
                name: name.to_owned(),
                bytes,
                index_bytes: bytes / 4,
                live: ended.max(1),
                dead: ended / 100,
            };
            let mut sample = Sample {
                at: Duration::from_secs(number * 10) + Duration::from_millis(3),
                accepted: ended,
                ended,
                memory_mb: vec![("orchestrator", Some(40.0)), ("postgres", None)],
                tables: vec![table("journal", ended * 1500), table("sagas", ended * 500)],
                wal_bytes: ended * 3000,
                streams: Vec::new(),
                end_to_end: Some(Latency { p50: 5.0, p99: 10.0, max: 20.0 }),
                start: Some(Latency { p50: 2.0, p99: 3.0, max: 4.0 }),
            };
            change(&mut sample);
            sample
        };
        (1..=36).map(sample).collect()
    }

    fn drifts(change: impl Fn(&mut Sample)) -> Vec<String> {
        let windows = windows(&Sample::default(), &steady(change), Duration::from_mins(1));
        assert_eq!(windows.len(), 6);
        let judgements = judge(&windows);
        judgements.into_iter().filter(|one| one.has_drifted).map(|one| one.what).collect()
    }

    #[test]
    fn a_sample_that_is_a_little_late_is_of_the_window_before_it() {
        let windows = windows(&Sample::default(), &steady(|_| {}), Duration::from_mins(1));
        let ends: Vec<f64> = windows.iter().map(|window| window.to_minute.round()).collect();
        assert_eq!(ends, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert!(windows.iter().all(|window| (window.to_minute - window.to_minute.round()).abs() < 0.01));
    }

    #[test]
    fn a_window_has_its_growth_for_each_saga() {
        let windows = windows(&Sample::default(), &steady(|_| {}), Duration::from_mins(1));
        let second = windows.get(1).expect("a second window");
        assert!((second.sagas_per_s - 100.0).abs() < 0.1, "{second:?}");
        assert_eq!((second.bytes_per_saga, second.wal_bytes_per_saga), (Some(2000.0), Some(3000.0)));
        assert_eq!(second.dead_share, Some(0.01));
        assert_eq!(second.memory_mb[0].mb, Some(40.0));
        assert_eq!(latencies(&windows).0, Some(Latency { p50: 5.0, p99: 10.0, max: 20.0 }));
    }

    #[test]
    fn what_is_steady_is_flat_and_so_is_what_grows_with_the_ended_sagas() {
        assert_eq!(drifts(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn what_happens_in_the_first_window_does_not_count() {
        let filling = |sample: &mut Sample| {
            if sample.at < Duration::from_secs(61) {
                sample.memory_mb[0].1 = Some(400.0);
            }
        };
        assert_eq!(drifts(filling), Vec::<String>::new());
    }

    #[test]
    fn a_leak_is_a_drift() {
        let leak = |sample: &mut Sample| {
            sample.memory_mb[0].1 = Some(40.0 + sample.at.as_secs_f64() / 5.0);
        };
        assert_eq!(drifts(leak), ["memory of orchestrator, MB"]);
    }

    #[test]
    fn slower_and_slower_is_a_drift() {
        let slower = |sample: &mut Sample| {
            let p99 = 10.0 + sample.at.as_secs_f64() / 30.0;
            sample.end_to_end = Some(Latency { p50: 5.0, p99, max: p99 });
        };
        assert_eq!(drifts(slower), ["end to end p99, ms"]);
    }

    #[test]
    fn bloat_and_dead_rows_beyond_the_tables_growth_are_drifts() {
        let bloat = |sample: &mut Sample| {
            let seconds = sample.at.as_secs();
            if let Some(table) = sample.tables.get_mut(1) {
                table.bytes += seconds * seconds * 1000;
                table.dead = table.live * seconds / 1000;
            }
        };
        assert_eq!(drifts(bloat), ["tables and indexes, bytes per saga", "dead rows of sagas to a live one"]);
    }

    #[test]
    fn two_windows_are_too_few_for_a_verdict() {
        let samples = steady(|_| {});
        let few = windows(&Sample::default(), &samples, Duration::from_mins(3));
        assert_eq!((few.len(), judge(&few)), (2, Vec::new()));
    }
}
