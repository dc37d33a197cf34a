//! `snorri check`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const GOOD: &str = "name: order\nsteps: [{name: pay, participant: payments, compensation: refund}]\n";
const WARNED: &str =
    "name: order\ndescription:\nsteps: [{name: pay, participant: payments, compensation: refund}]\n";
const BROKEN: &str = "name: order\nsteps: [{name: pay, participant: payments, compensaton: refund}]\n";

/// A folder of its own for each test.
fn folder(test: &str) -> PathBuf {
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("check-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn snorri(folder: &std::path::Path, args: &[&str], stdin: &str) -> Output {
    command("check", folder, args, stdin)
}

fn command(name: &str, folder: &std::path::Path, args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_snorri"))
        .arg(name)
        .args(args)
        .current_dir(folder)
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("snorri");
    child.stdin.take().expect("stdin").write_all(stdin.as_bytes()).expect("written");
    child.wait_with_output().expect("an end")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_is_right_exits_with_0_and_shows_its_worst_case() {
    let folder = folder("right");
    std::fs::write(folder.join("order.yaml"), GOOD).expect("written");
    let output = snorri(&folder, &["order.yaml"], "");
    let said = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(said.contains("worst case 40s720ms of the window's 5m, 4m19s280ms to spare"), "{said}");
    assert!(said.ends_with("0 errors, 0 warnings in 1 file\n"), "{said}");
}

#[test]
fn what_is_wrong_exits_with_1_and_is_shown_in_its_place() {
    let folder = folder("wrong");
    std::fs::write(folder.join("order.yaml"), GOOD).expect("written");
    std::fs::write(folder.join("wrong.yaml"), BROKEN).expect("written");
    let output = snorri(&folder, &["order.yaml", "wrong.yaml"], "");
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error[unknown-field]: a step has no field `compensaton`"), "{said}");
    assert!(said.contains("--> wrong.yaml:2:44"), "{said}");
    assert!(said.contains("mend: did you mean `compensation`?"), "{said}");
    assert!(!said.contains('\u{1b}'), "a pipe is no terminal: {said:?}");
}

#[test]
fn warnings_are_to_be_mended_where_that_is_asked_for() {
    let folder = folder("warned");
    let allowed = snorri(&folder, &["-"], WARNED);
    assert_eq!(allowed.status.code(), Some(0), "{}", text(&allowed.stdout));
    assert!(text(&allowed.stdout).contains("warning[no-value]"));
    assert_eq!(snorri(&folder, &["--deny-warnings", "-"], WARNED).status.code(), Some(1));
    assert_eq!(snorri(&folder, &["--deny-warnings", "-"], GOOD).status.code(), Some(0));
}

#[test]
fn machines_get_one_document() {
    let folder = folder("machines");
    let output = snorri(&folder, &["--format", "json", "-"], BROKEN);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["errors"], &report["files"][0]["file"]), (&json!(1), &json!("stdin")));
    let expected = json!({
        "severity": "error", "code": "unknown-field", "file": "stdin", "line": 2, "column": 44,
        "end": {"line": 2, "column": 55}, "pointer": "/steps/0/compensaton",
        "message": "a step has no field `compensaton`", "mend": "did you mean `compensation`?"
    });
    assert_eq!(report["files"][0]["diagnostics"], json!([expected]));
    let good = snorri(&folder, &["--format", "json", "-"], GOOD);
    let report: Value = serde_json::from_slice(&good.stdout).expect("JSON");
    assert_eq!(report["files"][0]["worst_case"]["total"], "40s720ms");
}

#[test]
fn what_cannot_be_checked_exits_with_2() {
    let folder = folder("unreadable");
    std::fs::write(folder.join("latin.yaml"), b"name: caf\xe9\n").expect("written");
    for (args, said) in [
        (&["nowhere.yaml"][..], "nowhere.yaml: "),
        (&["."], ".: "),
        (&["latin.yaml"], "latin.yaml: the text is not UTF-8 from byte 9 on"),
        (&[], "required arguments"),
        (&["--colour", "-"], "--colour"),
    ] {
        let output = snorri(&folder, args, "");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{args:?}");
    }
}

#[test]
fn one_file_that_cannot_be_read_keeps_nobody_from_hearing_of_the_others() {
    let folder = folder("one-unread");
    std::fs::write(folder.join("wrong.yaml"), BROKEN).expect("written");
    let files = ["nowhere.yaml", "wrong.yaml"];
    let output = snorri(&folder, &files, "");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("error: nowhere.yaml: "), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("error[unknown-field]"), "{}", text(&output.stdout));
    let output = snorri(&folder, &["--format", "json", files[0], files[1]], "");
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["errors"], &report["files"][0]["file"]), (&json!(1), &json!("wrong.yaml")));
    assert!(report["unread"][0].as_str().is_some_and(|said| said.starts_with("nowhere.yaml: ")), "{report}");
}

#[test]
fn all_that_look_at_files_take_the_standard_input_and_say_the_same_of_trouble() {
    let folder = folder("looks");
    std::fs::write(folder.join("order.yaml"), GOOD).expect("written");
    // A character of two bytes over the end of what is read.
    let large = format!("#{}", "\u{e9}".repeat(600_000));
    std::fs::write(folder.join("large.yaml"), &large).expect("written");
    let graph = command("graph", &folder, &["-"], GOOD);
    assert_eq!(graph.status.code(), Some(0), "{}", text(&graph.stderr));
    assert!(text(&graph.stdout).contains("<svg"));
    assert_eq!(command("diff", &folder, &["--exit-code", "-", "order.yaml"], GOOD).status.code(), Some(0));
    for (name, args) in [
        ("graph", &["nowhere.yaml"][..]),
        ("graph", &["large.yaml"]),
        ("graph", &["-"]),
        ("diff", &["nowhere.yaml", "order.yaml"]),
        ("diff", &["-", "order.yaml"]),
    ] {
        let output = command(name, &folder, args, BROKEN);
        assert_eq!(output.status.code(), Some(2), "{name} {args:?}");
        assert!(text(&output.stderr).contains("error"), "{name} {args:?}");
        assert!(!text(&output.stderr).contains("not UTF-8"), "{name} {args:?}: {}", text(&output.stderr));
    }
    let check = snorri(&folder, &["large.yaml"], "");
    assert_eq!(check.status.code(), Some(1));
    assert!(text(&check.stdout).contains("error[too-large]"), "{}", text(&check.stdout));
}

#[test]
fn colours_are_there_when_they_are_asked_for() {
    let folder = folder("colours");
    let said = |args: &[&str]| text(&snorri(&folder, args, BROKEN).stdout);
    assert!(said(&["--color", "always", "-"]).contains("\u{1b}[1;31merror"));
    assert!(!said(&["--color", "never", "-"]).contains('\u{1b}'));
}

#[test]
fn sub_sagas_are_found_among_the_files_in_any_order() {
    let folder = folder("sub-sagas");
    std::fs::write(folder.join("child.yaml"), GOOD).expect("written");
    std::fs::write(folder.join("parent.yaml"), "name: parent\nwindow: 1h\nsteps: [{name: a, saga: order}]\n")
        .expect("written");
    let alone = snorri(&folder, &["parent.yaml"], "");
    assert!(text(&alone.stdout).contains("error[unknown-sub-saga]: there is no definition `order`"));
    let both = snorri(&folder, &["--no-explore", "parent.yaml", "child.yaml"], "");
    assert_eq!(both.status.code(), Some(0), "{}", text(&both.stdout));
    // The child's window forwards, the child's compensation back.
    assert!(text(&both.stdout).contains("worst case 5m30s720ms"), "{}", text(&both.stdout));
}
