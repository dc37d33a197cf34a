//! The chaos command as a user runs it: a short run is clean, leaves a report that says so, and nothing else.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// A minute and a half of chaos, its heal window, and the way up and down on a slow machine.
const LIMIT: Duration = Duration::from_mins(8);

fn place(hint: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{hint}-{}", std::process::id()))
}

async fn chaos(args: &[&str], place: &Path) -> std::process::Output {
    let child = Command::new(env!("CARGO_BIN_EXE_snorri"))
        .arg("chaos")
        .args(args)
        .arg("--dir")
        .arg(place.join("data"))
        .arg("--report")
        .arg(place.join("report"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    timeout(LIMIT, child.wait_with_output()).await.expect("it ends").expect("it can be waited for")
}

/// Other suites run beside this one, so the load is small: what is judged is what happens, not how fast. But not so small that
/// a fault finds nothing to hurt, of which one in ten may: half of the orders take 0.7 s and more on a quiet machine, so
/// that at 8 a second at least five are under way, and none in less than one of a hundred moments.
#[tokio::test(flavor = "multi_thread")]
async fn a_smoke_of_90_seconds_is_clean() {
    let place = place("smoke");
    let output = chaos(&["--seconds", "90", "--rate", "8", "--seed", "1179"], &place).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let report = std::fs::read(place.join("report/chaos.json")).expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(report["outcome"], "clean", "{report:#}");
    assert_eq!(report["setting"]["seed"], 1179);
    let faults = report["faults"].as_array().expect("faults");
    assert!(faults.len() >= 11, "{} faults", faults.len());
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    assert!(number("/counts/compensated") > 0 && number("/counts/completed") > 0, "{report:#}");
    let good = (number("/counts/good"), number("/counts/completed"));
    assert!(good.0 > 0 && good.1 * 10 >= good.0 * 8, "most good orders are completed: {report:#}");
    for invariant in report["invariants"].as_array().expect("invariants") {
        // As the verdict has it: whether there are dead letters depends on what the loss of a store left of them.
        let may_be_idle = invariant["id"] == "I14";
        assert!(may_be_idle || invariant["checked"].as_u64() > Some(0), "not checked: {invariant}");
    }
    let page = std::fs::read_to_string(place.join("report/chaos.md")).expect("a page");
    assert!(page.starts_with("# Chaos run 1179: clean"), "{page}");
    assert!(!place.join("data").exists(), "a clean run leaves no data");
    std::fs::remove_dir_all(&place).expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_none_is_refused_before_anything_starts() {
    let place = place("no-build");
    let output = chaos(&["--previous", "no/such/file"], &place).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--previous no/such/file"), "{said}");
    std::fs::remove_dir_all(&place).expect("deleted");
}
