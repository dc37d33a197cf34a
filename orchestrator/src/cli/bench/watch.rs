//! Watching processes and a load for a while.

use std::time::Duration;

use tokio::time::Instant;

use super::load::{Load, Tally};
use super::process::{Who, machine_cpu};
use super::report::{Latency, RowReport, Usage, per_second};

/// What was there when the watching began.
pub(super) struct Watch {
    processes: Vec<(&'static str, Who)>,
    load: Load,
    cpu: Vec<Option<Duration>>,
    machine: Option<Duration>,
    ended: u64,
    began: Instant,
}

impl Watch {
    /// From now on latencies count, and so does what the processes use.
    pub(super) fn begin(processes: Vec<(&'static str, Who)>, load: &Load) -> Self {
        for (_, who) in &processes {
            who.forget_peak();
        }
        let watch = Self {
            cpu: processes.iter().map(|(_, who)| who.cpu()).collect(),
            processes,
            load: load.clone(),
            machine: machine_cpu(),
            ended: load.read(Tally::ended),
            began: Instant::now(),
        };
        load.measure(true);
        watch
    }

    /// What was measured since.
    pub(super) fn end(self) -> RowReport {
        let load = &self.load;
        load.measure(false);
        let span = self.began.elapsed();
        let after: Vec<Option<Duration>> = self.processes.iter().map(|(_, who)| who.cpu()).collect();
        let machine = machine_cpu().zip(self.machine).map(|(after, before)| after.saturating_sub(before));
        let ended = load.read(Tally::ended) - self.ended;
        let mut row = RowReport::new(String::new());
        row.sagas_per_s = Some(per_second(ended, span));
        row.end_to_end = Some(load.read(|tally| Latency::of(&tally.end_to_end)));
        row.start = Some(load.read(|tally| Latency::of(&tally.start)));
        let mut own = Duration::ZERO;
        for ((name, who), (before, after)) in self.processes.into_iter().zip(self.cpu.into_iter().zip(after))
        {
            let cpu = after.zip(before).map(|(after, before)| after.saturating_sub(before));
            own += cpu.unwrap_or_default();
            row.usage.push(Usage::new(name, cpu, ended, who.memory_mb()));
        }
        row.cores_used = Some(own.as_secs_f64() / span.as_secs_f64());
        row.cores_used_by_others =
            machine.map(|all| all.saturating_sub(own).as_secs_f64() / span.as_secs_f64());
        row
    }
}
