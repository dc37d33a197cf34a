//! The tables, as Markdown.

use std::fmt::Write as _;

use super::one_of_three::Takeover;
use super::overload::Overload;
use super::report::{Latency, Report, RowReport, Share, float};
use super::soak::Soak;

impl Report {
    /// The tables as Markdown: the short one to compare with, then every row.
    pub(super) fn table(&self) -> String {
        let mut out = format!(
            "snorri {}, Postgres {}, nats-server {}, {} cores ({})\n\n",
            self.version, self.postgres, self.nats_server, self.cores, self.processor
        );
        if !self.runs.is_empty() {
            append(&mut out, format_args!("Medians of {} runs (lowest-highest)\n\n", self.runs.len()));
        }
        out += "| peak sagas/s | p50 / p99 ms at 16 in flight | open loop: p99 ms | CPU s per 1,000 sagas \
                | all ended after kill -9 | after kill -9 of one of three | share of the floor: sagas/s | CPU |\n\
                | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
        let best = self.best();
        let sixteen = self.rows.iter().find(|row| row.in_flight == Some(16)).and_then(|row| row.end_to_end);
        let open = self.rows.iter().find(|row| row.is_open_loop).and_then(|row| row.end_to_end);
        let killed = self.rows.iter().find_map(|row| row.all_ended_s);
        let taken_over = self.rows.iter().find_map(|row| row.takeover.as_ref()?.announced_s);
        let share: Option<Share> = best.and_then(|row| row.share_of_floor);
        append(
            &mut out,
            format_args!(
                "| {} | {} | {} | {} | {} | {} | {} | {} |\n\n",
                cell(best.and_then(|row| row.sagas_per_s), 0),
                pair(sixteen),
                cell(open.map(|latency| latency.p99), 1),
                cell(best.and_then(RowReport::cpu_together), 2),
                seconds(killed),
                seconds(taken_over),
                percent(share.and_then(|share| share.sagas_per_s)),
                percent(share.and_then(|share| share.cpu)),
            ),
        );
        out += "| row | sagas/s | end to end p50 / p99 ms | start p50 / p99 ms | CPU s per 1,000: \
                orchestrator | participants | nats-server | postgres | together | load generator \
                | MB: orchestrator | participants | nats-server | postgres | ended / accepted \
                | compensated | others' cores | share of the floor: sagas/s | CPU |\n\
                | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: \
                | ---: | ---: | ---: | ---: | ---: | ---: |\n";
        for row in &self.rows {
            let ended = row.completed + row.compensated;
            let share = if ended == 0 { None } else { Some(float(row.compensated) * 100.0 / float(ended)) };
            let mut cells =
                vec![row.name.clone(), rate(row), pair_of(row, Of::EndToEnd), pair_of(row, Of::Start)];
            for process in ["orchestrator", "participants", "nats-server", "postgres"] {
                cells.push(cell(row.cpu_of(process), 3));
            }
            let spread = row.spread.and_then(|spread| spread.cpu_s_per_1000);
            cells.push(cell(row.cpu_together(), 3) + &range(spread, 3));
            cells.push(cell(row.cpu_of("load generator"), 3));
            for process in ["orchestrator", "participants", "nats-server", "postgres"] {
                cells.push(row.memory_of(process).map_or_else(|| "-".to_owned(), |mb| mb.to_string()));
            }
            cells.push(format!("{ended} / {}", row.accepted));
            cells.push(share.map_or_else(|| "-".to_owned(), |share| format!("{share:.1} %")));
            cells.push(cell(row.cores_used_by_others, 2));
            let share = row.share_of_floor;
            cells.push(percent(share.and_then(|share| share.sagas_per_s)));
            cells.push(percent(share.and_then(|share| share.cpu)));
            append(&mut out, format_args!("| {} |\n", cells.join(" | ")));
        }
        for row in &self.rows {
            if let Some(seconds) = row.all_ended_s {
                let spread = range(row.spread.and_then(|spread| spread.recovered_s), 1);
                append(
                    &mut out,
                    format_args!("\n{}: all announced {seconds:.1} s after the restart{spread}\n", row.name),
                );
            }
            if let Some(found) = &row.takeover {
                let spread = range(row.spread.and_then(|spread| spread.recovered_s), 1);
                append(&mut out, format_args!("\n{}: {}{spread}\n", row.name, takeover(found)));
            }
            if let Some(found) = &row.overload {
                append(&mut out, format_args!("\n{}: {}\n", row.name, overload(found)));
            }
            if let Some(found) = &row.soak {
                soak(&mut out, &row.name, found);
            }
        }
        out
    }
}

/// What became of a replica's sagas, in words.
pub(super) fn takeover(of: &Takeover) -> String {
    let after = |time: Option<f64>| time.map_or_else(|| "never".to_owned(), |time| format!("{time:.1} s"));
    format!(
        "the {} sagas that it had had all been announced {} after the kill (committed: {}), of which {:.1} s is the \
         time after which a replica counts as dead; {} beyond it",
        of.sagas,
        after(of.announced_s),
        after(of.committed_s),
        of.dead_after_s,
        after(of.beyond_dead_after_s),
    )
}

/// What became of an overload, in words.
pub(super) fn overload(of: &Overload) -> String {
    let mut text = format!(
        "offered {:.0} starts a second of {:.0} planned on {} connections, accepted {:.0} a second; refused {} (503) \
         and {} (429), {} of them without Retry-After; {} not answered; all that was accepted had ended {} after the \
         last start",
        of.offered_per_s,
        of.planned_per_s,
        of.connections,
        of.accepted_per_s,
        of.refused_503,
        of.refused_429,
        of.refused_without_retry_after,
        of.unanswered,
        seconds(of.all_ended_after_s),
    );
    if of.load_generator_was_the_brake {
        text += "; the load generator was the brake";
    }
    text
}

fn soak(out: &mut String, name: &str, of: &Soak) {
    let memories = of.windows.first().map(|window| window.memory_mb.as_slice()).unwrap_or_default();
    let processes: Vec<&str> = memories.iter().map(|memory| memory.process.as_str()).collect();
    append(out, format_args!("\n{name} (samples: {})\n\n", of.samples.display()));
    append(
        out,
        format_args!(
            "| minutes | sagas/s | end to end p50 / p99 ms | start p50 / p99 ms | MB: {} | tables MB | indexes MB \
             | bytes per saga | WAL bytes per saga | dead rows of sagas | to a live one | streams MB |\n|{}\n",
            processes.join(" | "),
            " ---: |".repeat(11 + processes.len()),
        ),
    );
    for window in &of.windows {
        let mut cells = vec![
            format!("{:.1}-{:.1}", window.from_minute, window.to_minute),
            format!("{:.0}", window.sagas_per_s),
            pair(window.end_to_end),
            pair(window.start),
        ];
        cells.extend(window.memory_mb.iter().map(|memory| cell(memory.mb, 0)));
        cells.extend([
            format!("{:.0}", window.table_mb),
            format!("{:.0}", window.index_mb),
            cell(window.bytes_per_saga, 0),
            cell(window.wal_bytes_per_saga, 0),
            format!("{:.0}", window.dead_rows),
            cell(window.dead_share, 4),
            format!("{:.0}", window.stream_mb),
        ]);
        append(out, format_args!("| {} |\n", cells.join(" | ")));
    }
    out.push('\n');
    for judgement in &of.judgements {
        append(out, format_args!("- {judgement}\n"));
    }
}
/// Writes to the end of a text.
pub(super) fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = text.write_fmt(what);
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

fn seconds(time: Option<f64>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1} s"))
}

/// How far apart several runs were; nothing for one.
fn range(range: Option<[f64; 2]>, digits: usize) -> String {
    range.map_or_else(String::new, |[low, high]| format!(" ({low:.digits$}-{high:.digits$})"))
}

fn rate(row: &RowReport) -> String {
    cell(row.sagas_per_s, 0) + &range(row.spread.and_then(|spread| spread.sagas_per_s), 0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    EndToEnd,
    Start,
}

fn pair_of(row: &RowReport, of: Of) -> String {
    let latency = if of == Of::Start { row.start } else { row.end_to_end };
    let spread = row.spread.unwrap_or_default();
    let (p50, p99) = match of {
        Of::EndToEnd => (spread.end_to_end_p50, spread.end_to_end_p99),
        Of::Start => (spread.start_p50, spread.start_p99),
    };
    match latency {
        None => "-".to_owned(),
        Some(latency) => format!("{:.1}{} / {:.1}{}", latency.p50, range(p50, 1), latency.p99, range(p99, 1)),
    }
}

fn pair(latency: Option<Latency>) -> String {
    latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.1} / {:.1}", latency.p50, latency.p99))
}
