//! What is left of a run: a page for people and a file for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use snorri_demo::{Findings, Invariant};

use super::super::private::{Error, io};
use super::nemesis::Carried;
use super::plan::{Kind, Planned};
use super::streams::Held;
use super::watch::Memory;

/// The most violations of one invariant that the report shows.
const EXAMPLES_MAX: usize = 10;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// All that was promised was kept.
    Clean,
    /// Something that was promised was not kept.
    Violated,
    /// Nothing was found, and the run does not prove that there is nothing.
    Invalid,
}

/// With what a run was made.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Setting {
    pub(super) seed: u64,
    pub(super) window_seconds: u64,
    pub(super) heal_seconds: u64,
    pub(super) rate: u64,
    pub(super) orchestrators: usize,
    pub(super) participants: usize,
    pub(super) snorri: String,
    pub(super) previous: Option<String>,
    pub(super) postgres: String,
    pub(super) nats: String,
}

/// What was counted.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Counts {
    pub(super) begun: u64,
    pub(super) accepted: u64,
    pub(super) repeated: u64,
    pub(super) held_back: u64,
    pub(super) sagas: u64,
    pub(super) completed: u64,
    pub(super) compensated: u64,
    /// Orders that a healthy system completes, and those of them that a trouble undid, by the kind of cause.
    pub(super) good: u64,
    pub(super) good_undone: BTreeMap<String, u64>,
    pub(super) missed_window: u64,
    pub(super) journal_rows: u64,
    pub(super) effects: u64,
    pub(super) undone: u64,
    pub(super) dead_letters: BTreeMap<String, u64>,
    /// Those of them that are messages of several replies which a downgraded orchestrator could not read.
    pub(super) unread_batches: u64,
    pub(super) processes_ended_by_themselves: BTreeMap<String, u64>,
    pub(super) median_seconds: f64,
    pub(super) p99_seconds: f64,
    pub(super) slowest_seconds: f64,
    pub(super) slowest: Option<String>,
    /// From the last order, which comes some seconds after the last fault, to the end of the last saga; nothing if not all ended.
    pub(super) ended_after_last_order_seconds: Option<f64>,
}

/// What the installation used.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Used {
    pub(super) memory_before: Vec<Memory>,
    /// The most of each process at any moment of the run.
    pub(super) memory_max: Vec<Memory>,
    pub(super) connections_max: u64,
    pub(super) dead_rows: Option<i64>,
    pub(super) streams: Vec<Held>,
}

/// One invariant's result.
#[derive(Debug, Clone, Serialize)]
struct Line {
    id: &'static str,
    says: &'static str,
    checked: u64,
    violations: usize,
    examples: Vec<String>,
}

/// The report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    outcome: Outcome,
    /// Why it is not clean.
    why: Vec<String>,
    setting: Setting,
    counts: Counts,
    used: Used,
    invariants: Vec<Line>,
    planned: usize,
    faults: Vec<Carried>,
}

/// What a report is made of.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) setting: Setting,
    pub(super) counts: Counts,
    pub(super) used: Used,
    pub(super) findings: &'a Findings,
    /// What is wrong and belongs to no invariant.
    pub(super) failures: Vec<String>,
    pub(super) invalid_because: Vec<String>,
    pub(super) plan: &'a [Planned],
    pub(super) faults: Vec<Carried>,
}

/// Makes the report's folder and clears it of an earlier run's report and dump, before anything is begun: a run that cannot
/// keep its report is none, and what is old must not be taken for what is new.
pub(super) fn prepare(dir: &Path, data: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(dir).map_err(io(format!("cannot make {}", dir.display())))?;
    let full = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if full(dir).starts_with(full(data)) {
        let dir = dir.display();
        return Err(Error::Api(format!(
            "the report's folder {dir} is in the folder of the data, which is deleted at the end: give it another by --report"
        )));
    }
    let probe = dir.join("chaos.md");
    std::fs::write(&probe, "# Chaos run: not over\n")
        .map_err(io(format!("cannot write {}", probe.display())))?;
    for old in [dir.join("chaos.json"), dir.join("dump")] {
        let gone = if old.is_dir() { std::fs::remove_dir_all(&old) } else { std::fs::remove_file(&old) };
        match gone {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(format!("cannot delete {}", old.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Report {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let Parts { setting, counts, used, findings, failures, invalid_because, plan, faults } = parts;
        let invariants: Vec<Line> = Invariant::ALL
            .into_iter()
            .map(|invariant| Line {
                id: invariant.id(),
                says: invariant.says(),
                checked: findings.count(invariant),
                violations: findings.of(invariant).count(),
                examples: findings.of(invariant).take(EXAMPLES_MAX).map(str::to_owned).collect(),
            })
            .collect();
        let broken = invariants.iter().filter(|checked| checked.violations > 0);
        let mut why: Vec<String> = broken
            .map(|checked| format!("{} ({}): {} violations", checked.id, checked.says, checked.violations))
            .collect();
        why.extend(failures);
        let is_violated = !why.is_empty();
        let outcome = match (is_violated, invalid_because.is_empty()) {
            (true, _) => Outcome::Violated,
            (false, true) => Outcome::Clean,
            (false, false) => Outcome::Invalid,
        };
        why.extend(invalid_because.into_iter().map(|reason| format!("invalid: {reason}")));
        Self { outcome, why, setting, counts, used, invariants, planned: plan.len(), faults }
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Writes both files, and tells which.
    pub(super) fn write(&self, dir: &Path) -> Result<[PathBuf; 2], Error> {
        let json = serde_json::to_string_pretty(self).map_err(|error| Error::Api(error.to_string()))?;
        let files = [dir.join("chaos.md"), dir.join("chaos.json")];
        for (file, text) in files.iter().zip([self.page(), json]) {
            std::fs::write(file, text).map_err(io(format!("cannot write {}", file.display())))?;
        }
        Ok(files)
    }

    /// The page for people.
    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = self.fill(&mut page);
        page
    }

    fn fill(&self, page: &mut String) -> std::fmt::Result {
        let Self { setting, counts, used, .. } = self;
        let outcome = match self.outcome {
            Outcome::Clean => "clean",
            Outcome::Violated => "VIOLATED",
            Outcome::Invalid => "INVALID",
        };
        // What the outcome is worth is said with it: a short run has few faults.
        let kinds = self.faults.iter().filter(|fault| fault.evidence.is_some()).map(|fault| fault.kind);
        let (kinds, all) = (kinds.collect::<BTreeSet<_>>().len(), Kind::SHARES.len());
        writeln!(page, "# Chaos run {}: {outcome}\n", setting.seed)?;
        if kinds < all {
            writeln!(page, "Only {kinds} of the {all} kinds of faults happened; a longer run has more.\n")?;
        }
        for why in &self.why {
            writeln!(page, "- {why}")?;
        }
        if !self.why.is_empty() {
            writeln!(page)?;
        }
        writeln!(
            page,
            "{} s of chaos at {} orders/s; {} orchestrators, {} participants; {}; Postgres {}, nats-server {}.",
            setting.window_seconds,
            setting.rate,
            setting.orchestrators,
            setting.participants,
            setting.previous.as_ref().map_or_else(
                || setting.snorri.clone(),
                |previous| format!("{} mixed with {previous}", setting.snorri)
            ),
            setting.postgres,
            setting.nats
        )?;
        let evidenced = self.faults.iter().filter(|fault| fault.evidence.is_some()).count();
        writeln!(page, "{} faults planned, {evidenced} evidenced.\n", self.planned)?;
        writeln!(page, "## Sagas\n")?;
        writeln!(
            page,
            "- {} accepted (of {} orders; {} requests repeated, the load held back {} times)",
            counts.accepted, counts.begun, counts.repeated, counts.held_back
        )?;
        writeln!(
            page,
            "- {} completed, {} compensated, {} missed their window",
            counts.completed, counts.compensated, counts.missed_window
        )?;
        let undone: u64 = counts.good_undone.values().sum();
        let causes: Vec<String> =
            counts.good_undone.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let causes = if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) };
        writeln!(page, "- {undone} of {} good orders were undone by troubles{causes}", counts.good)?;
        writeln!(
            page,
            "- half ended within {:.2} s, 99 of 100 within {:.2} s, the slowest within {:.1} s ({})",
            counts.median_seconds,
            counts.p99_seconds,
            counts.slowest_seconds,
            counts.slowest.as_deref().unwrap_or("none")
        )?;
        match counts.ended_after_last_order_seconds {
            Some(seconds) => writeln!(
                page,
                "- the last one ended {seconds:.1} s after the last order, which came after the last fault"
            )?,
            None => writeln!(page, "- not all of them ended")?,
        }
        writeln!(
            page,
            "- {} effects, {} undone; {} journal rows",
            counts.effects, counts.undone, counts.journal_rows
        )?;
        let letters: u64 = counts.dead_letters.values().sum();
        let own: u64 = counts.processes_ended_by_themselves.values().sum();
        writeln!(
            page,
            "- {letters} dead letters, {} of them several replies in one message that a downgraded orchestrator could not \
             read; {own} processes ended by themselves and were started anew\n",
            counts.unread_batches
        )?;
        writeln!(
            page,
            "## Invariants\n\n| | what must hold | checked | violations |\n| --- | --- | ---: | ---: |"
        )?;
        for Line { id, says, checked, violations, .. } in &self.invariants {
            writeln!(page, "| {id} | {says} | {checked} | {violations} |")?;
        }
        for Line { id, examples, .. } in &self.invariants {
            for example in examples {
                writeln!(page, "\n- {id}: {example}")?;
            }
        }
        writeln!(page, "\n## Use\n")?;
        let memory = |all: &[Memory]| {
            let words: Vec<String> =
                all.iter().map(|of| format!("{} {}", of.process, of.megabytes)).collect();
            words.join(", ")
        };
        writeln!(page, "- memory before the chaos, MB: {}", memory(&used.memory_before))?;
        writeln!(page, "- memory at most, MB: {}", memory(&used.memory_max))?;
        writeln!(
            page,
            "- at most {} connections to Postgres; {} dead rows of sagas",
            used.connections_max,
            used.dead_rows.map_or("?".to_owned(), |rows| rows.to_string())
        )?;
        let streams: Vec<String> = used
            .streams
            .iter()
            .map(|held| format!("{} {} kB of {} kB", held.stream, held.bytes / 1024, held.bytes_max / 1024))
            .collect();
        writeln!(page, "- streams: {}\n", streams.join(", "))?;
        self.fill_faults(page)
    }

    fn fill_faults(&self, page: &mut String) -> std::fmt::Result {
        writeln!(
            page,
            "## Faults\n\n| kind | carried out | evidenced | sagas under way, least |\n| --- | ---: | ---: | ---: |"
        )?;
        let mut kinds: BTreeMap<Kind, Vec<&Carried>> = BTreeMap::new();
        for fault in &self.faults {
            kinds.entry(fault.kind).or_default().push(fault);
        }
        for (kind, faults) in kinds {
            let evidenced = faults.iter().filter(|fault| fault.evidence.is_some()).count();
            let least = faults.iter().map(|fault| fault.in_flight).min().unwrap_or(0);
            writeln!(page, "| {} | {} | {evidenced} | {least} |", kind.word(), faults.len())?;
        }
        writeln!(
            page,
            "\n| # | s | fault | at | under way | evidence |\n| ---: | --- | --- | --- | ---: | --- |"
        )?;
        for fault in &self.faults {
            let Carried { number, kind, at_whom, what, from, to, in_flight, evidence } = fault;
            let what =
                if what.is_empty() { kind.word().to_owned() } else { format!("{}: {what}", kind.word()) };
            let evidence = evidence.as_deref().unwrap_or("**none**");
            writeln!(
                page,
                "| {number} | {from:.1}–{to:.1} | {what} | {at_whom} | {in_flight} | {evidence} |"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: &Findings, failures: &[&str], invalid: &[&str]) -> Report {
        let setting = Setting {
            seed: 7,
            window_seconds: 90,
            heal_seconds: 120,
            rate: 25,
            orchestrators: 3,
            participants: 8,
            snorri: "0.1.0".to_owned(),
            previous: None,
            postgres: "15".to_owned(),
            nats: "2.9.10".to_owned(),
        };
        let text = |of: &[&str]| of.iter().map(|text| (*text).to_owned()).collect();
        Report::new(Parts {
            setting,
            counts: Counts::default(),
            used: Used::default(),
            findings,
            failures: text(failures),
            invalid_because: text(invalid),
            plan: &[],
            faults: Vec::new(),
        })
    }

    #[test]
    fn a_violation_outweighs_an_invalid_run_and_stands_in_the_page_with_an_example() {
        let mut findings = Findings::default();
        findings.checked(Invariant::OneEffect, 3);
        assert_eq!(report(&findings, &[], &[]).outcome(), Outcome::Clean);
        assert_eq!(report(&findings, &[], &["idle"]).outcome(), Outcome::Invalid);
        assert_eq!(report(&findings, &["it panicked"], &[]).outcome(), Outcome::Violated);
        findings.wrong(Invariant::OneEffect, "a step twice");
        let report = report(&findings, &[], &["idle"]);
        assert_eq!(report.outcome(), Outcome::Violated);
        let page = report.page();
        for words in ["VIOLATED", "| I3 |", "| 3 | 1 |", "I3: a step twice", "invalid: idle"] {
            assert!(page.contains(words), "{words} not in {page}");
        }
    }
}
