//! The benchmark command as a user runs it, made short: that each row measures what it says, and finds no fault.
//! How fast it is does not matter here.
#![allow(missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A folder that is gone when the test is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("snorri-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn bench(folder: &Path, args: &[&str]) -> (String, Value) {
    let out = folder.join("bench.json");
    let output = Command::new(env!("CARGO_BIN_EXE_snorri"))
        .args(["bench", "--seconds", "1", "--in-flight", "16", "--out"])
        .arg(&out)
        .args(args)
        .output()
        .expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let json = std::fs::read_to_string(&out).expect("the JSON file");
    let tables = String::from_utf8(output.stdout).expect("text");
    (tables, serde_json::from_str(&json).expect("JSON"))
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report["rows"].as_array().expect("rows");
    let found = rows.iter().find(|row| row["name"].as_str().is_some_and(|found| found.starts_with(name)));
    found.unwrap_or_else(|| panic!("no row {name}: {report}"))
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

#[test]
fn the_floor_and_the_hard_rows_measure_and_find_no_fault() {
    let folder = Folder::new("bench");
    let (tables, report) = bench(
        &folder.0,
        &[
            "--rows",
            "throughput,floor,kill-one-of-three,overload",
            "--overload-rate",
            "3000",
            "--overload-seconds",
            "2",
        ],
    );

    let ours = row(&report, "16 in flight");
    let floor = row(&report, "16 in flight, bare I/O");
    assert_eq!(floor["floor_in_flight"], 16);
    assert_eq!(floor["in_flight"], Value::Null, "the floor is no row of ours");
    assert!(count(&floor["compensated"]) > 0, "{floor}");
    assert_eq!(
        count(&floor["completed"]) + count(&floor["compensated"]),
        count(&floor["accepted"]),
        "{floor}"
    );
    let rate = |row: &Value| row["sagas_per_s"].as_f64().expect("a rate");
    let share = ours["share_of_floor"]["sagas_per_s"].as_f64().expect("a share");
    assert!((share - rate(ours) / rate(floor)).abs() < 0.001, "{share}");

    let takeover = &row(&report, "kill -9 of one of three")["takeover"];
    assert!(count(&takeover["sagas"]) > 0, "{takeover}");
    let announced = takeover["announced_s"].as_f64().expect("all were announced");
    let silent = takeover["silent_before_s"].as_f64().expect("it had a heartbeat");
    let dead_after = takeover["dead_after_s"].as_f64().expect("a limit");
    // Counted from its last heartbeat, however late on a busy machine that was; less what one that was on its way
    // at the kill, and the two clocks of one machine, can make of it.
    assert!(announced + silent > dead_after - 0.05, "nobody may take over from the living: {takeover}");

    let overloaded = row(&report, "overload");
    let overload = &overloaded["overload"];
    assert!(count(&overloaded["accepted"]) > 0, "{overloaded}");
    assert_eq!(count(&overload["refused_without_retry_after"]), 0);
    assert!(overload["all_ended_after_s"].is_number(), "{overload}");

    assert_eq!(report["sagas_not_ended"], 0);
    assert!(report.get("runs").is_none());
    for words in ["share of the floor", "had all been announced", "without Retry-After"] {
        assert!(tables.contains(words), "{words} is not in\n{tables}");
    }
}

#[test]
fn two_runs_are_put_together() {
    let folder = Folder::new("bench-runs");
    let (tables, report) = bench(&folder.0, &["--rows", "throughput", "--runs", "2"]);
    let runs = report["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 2);
    let rates: Vec<f64> =
        runs.iter().map(|run| row(run, "16 in flight")["sagas_per_s"].as_f64().expect("a rate")).collect();
    let together = row(&report, "16 in flight");
    let middle = f64::midpoint(rates[0], rates[1]);
    assert!((together["sagas_per_s"].as_f64().expect("a rate") - middle).abs() < 0.001);
    let spread = &together["spread"]["sagas_per_s"];
    assert_eq!(spread[0].as_f64(), Some(rates[0].min(rates[1])));
    assert_eq!(spread[1].as_f64(), Some(rates[0].max(rates[1])));
    assert!(tables.contains("Medians of 2 runs"), "{tables}");
}
