//! That the program, the chart and the manual mean the same: every metric that an alert or a dashboard asks
//! for is there, and every alert has its page in the runbook.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A sample of each metric, by name.
pub const ALL: &[&str] = &[
    "snorri_sagas_started_total",
    "snorri_sagas_ended_total",
    "snorri_saga_causes_total",
    "snorri_sagas_live",
    "snorri_saga_duration_seconds_bucket",
    "snorri_step_attempts_total",
    "snorri_step_duration_seconds_bucket",
    "snorri_sagas_blocked",
    "snorri_sagas_resting",
    "snorri_signals_total",
    "snorri_decisions_total",
    "snorri_saga_windows_at_risk_total",
    "snorri_saga_windows_missed_total",
    "snorri_dead_letters_total",
    "snorri_replies_ignored_total",
    "snorri_late_replies_total",
    "snorri_commit_seconds_bucket",
    "snorri_commit_batch_size_bucket",
    "snorri_publish_seconds_bucket",
    "snorri_publish_failures_total",
    "snorri_http_requests_seconds_bucket",
    "snorri_starts_refused_total",
    "snorri_takeovers_total",
    "snorri_sagas_taken_over_total",
    "snorri_races_lost_total",
    "snorri_quarantined_total",
    "snorri_postgres_up",
    "snorri_nats_up",
    "snorri_announcements_owed_seconds",
    "snorri_spans_lost_total",
    "snorri_build_info",
    "snorri_submissions_total",
    "snorri_exploration_seconds_bucket",
    "snorri_letters_waiting",
    "snorri_letters_dropped_total",
    "snorri_sub_sagas_held_back_total",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The words of a text that begin as a metric of ours does.
fn metrics(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("snorri_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

fn alerts() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("helm/templates/_alerts.tpl")).unwrap();
    text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

fn manual() -> String {
    fs::read_to_string(root().join("docs/observability.md")).unwrap()
}

/// The name without what a histogram's samples add to it.
fn stem(name: &str) -> String {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
}

fn stems<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(stem).collect()
}

#[test]
fn every_metric_of_the_chart_is_in_the_program() {
    let mut asked = BTreeSet::new();
    for file in files(&root().join("helm")) {
        asked.extend(metrics(&fs::read_to_string(file).unwrap_or_default()));
    }
    assert!(asked.len() > 10, "{asked:?}");
    // That each of them is in the program is what the scrape's test shows.
    let known = stems(ALL.iter().copied());
    let missing: Vec<_> = stems(asked.iter().map(String::as_str)).difference(&known).cloned().collect();
    assert!(missing.is_empty(), "the chart asks for what is not there: {missing:?}");
}

#[test]
fn the_manual_has_every_metric_and_no_other() {
    let manual = metrics(&manual());
    assert_eq!(stems(manual.iter().map(String::as_str)), stems(ALL.iter().copied()));
}

#[test]
fn every_alert_has_its_page() {
    let (manual, alerts) = (manual(), alerts());
    assert!(alerts.len() > 10, "{alerts:?}");
    let pages: BTreeSet<String> = manual
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|heading| heading.starts_with("Snorri"))
        .map(str::to_owned)
        .collect();
    assert_eq!(pages, alerts);
}
