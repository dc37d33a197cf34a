//! Pictures and the schema: over REST and by the commands, which must say the same.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::desk::Desk;

fn definitions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sagas/definitions")
}

fn snorri(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_snorri"))
        .current_dir(definitions())
        .args(args)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// A file of its own, deleted at the end.
struct Own(PathBuf);

impl Own {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("snorri-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_shown_as_a_picture() {
    let desk = Desk::open("rest_graph").await;
    let order = std::fs::read_to_string(definitions().join("order.yaml")).expect("a file");
    desk.post_text("/v1/definitions", "application/yaml", order.clone()).await.ok(201);
    let changed = order.replace("window: 5m", "window: 6m");
    desk.post_text("/v1/definitions", "application/yaml", changed).await.ok(201);

    let svg = desk.get("/v1/definitions/order/1/graph?format=svg").await;
    assert_eq!((svg.status, svg.header("content-type")), (200, "image/svg+xml"));
    assert_eq!(svg.header("content-security-policy"), "default-src 'none'; style-src 'unsafe-inline'");
    assert_eq!(svg.header("x-content-type-options"), "nosniff");
    assert!(svg.text.starts_with("<svg ") && svg.text.contains("version 1 · window 5m"), "{}", svg.text);
    assert!(svg.text.contains("id=\"step-capture\""));

    let newest = desk.get("/v1/definitions/order/graph").await;
    assert!(newest.text.contains("version 2 · window 6m"), "{}", newest.text);
    let mermaid = desk.get("/v1/definitions/order/2/graph?format=mermaid").await;
    assert_eq!(mermaid.header("content-type"), "text/vnd.mermaid; charset=utf-8");
    assert!(mermaid.text.starts_with("flowchart TB\n"), "{}", mermaid.text);

    desk.get("/v1/definitions/order/3/graph").await.problem(404, "unknown-definition");
    desk.get("/v1/definitions/other/graph").await.problem(404, "unknown-definition");
    desk.get("/v1/definitions/order/x/graph").await.problem(400, "bad-parameter");
    let refused = desk.get("/v1/definitions/order/graph?format=png").await;
    assert!(refused.problem(400, "bad-parameter").contains("svg or mermaid"));

    // The command draws the same; it knows no version.
    let drawn = snorri(&["graph", "order.yaml"]);
    let first = svg.text.replace("version 1 · ", "");
    assert!(drawn.status.success());
    assert_eq!(text(&drawn.stdout), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_the_published_one_everywhere() {
    let desk = Desk::open("rest_schema").await;
    let published = std::fs::read_to_string(definitions().join("../definition.schema.json")).expect("a file");
    let answer = desk.get("/v1/definitions/schema").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/schema+json"));
    assert_eq!(answer.text, published);
    let printed = snorri(&["schema"]);
    assert!(printed.status.success());
    assert_eq!(text(&printed.stdout), published);
    let own = Own::new("schema.json");
    assert!(snorri(&["schema", "-o", own.path()]).status.success());
    assert_eq!(std::fs::read_to_string(&own.0).expect("a file"), published);
    assert_eq!(snorri(&["schema", "-o", "/nowhere/at/all"]).status.code(), Some(1));
}

#[test]
fn the_outputs_name_says_the_format() {
    for (name, starts) in [("picture.svg", "<svg "), ("picture.mmd", "flowchart")] {
        let own = Own::new(name);
        let drawn = snorri(&["graph", "travel.yaml", "-o", own.path()]);
        assert!(drawn.status.success() && drawn.stdout.is_empty(), "{drawn:?}");
        assert!(std::fs::read_to_string(&own.0).expect("a file").starts_with(starts), "{name}");
    }
    // What cannot be drawn is not promised by a name.
    let own = Own::new("picture.png");
    let drawn = snorri(&["graph", "travel.yaml", "-o", own.path()]);
    assert_eq!(drawn.status.code(), Some(2), "{drawn:?}");
    assert!(text(&drawn.stderr).contains("name the file `.svg` or `.mmd`") && !own.0.exists(), "{drawn:?}");
    assert!(snorri(&["graph", "travel.yaml", "--format", "svg", "-o", own.path()]).status.success());
    let drawn = snorri(&["graph", "travel.yaml", "--format", "mermaid"]);
    assert!(text(&drawn.stdout).starts_with("flowchart"));
}

#[test]
fn a_file_that_is_no_definition_is_told_with_its_places() {
    let own = Own::new("bad.yaml");
    std::fs::write(&own.0, "name: x\nsteps:\n  - name: a\n    participant: p\n").expect("written");
    let refused = snorri(&["graph", own.path()]);
    assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(2), ""));
    assert!(text(&refused.stderr).contains("bad.yaml:3:"), "{}", text(&refused.stderr));
    assert_eq!(snorri(&["graph", "no-such-file.yaml"]).status.code(), Some(2));
    assert_eq!(snorri(&["graph"]).status.code(), Some(2));
    // Sub-sagas are in files of their own.
    assert_eq!(snorri(&["graph", "holiday.yaml"]).status.code(), Some(2));
    let drawn = snorri(&["graph", "holiday.yaml", "--with", "trip.yaml", "--with", "payment.yaml"]);
    assert!(drawn.status.success(), "{}", text(&drawn.stderr));
}

#[test]
fn files_are_compared_and_the_exit_code_says_so_if_asked_for() {
    let own = Own::new("next.yaml");
    let order = std::fs::read_to_string(definitions().join("order.yaml")).expect("a file");
    std::fs::write(&own.0, order.replace("window: 5m", "window: 4m")).expect("written");
    let told = snorri(&["diff", "order.yaml", own.path()]);
    assert_eq!(told.status.code(), Some(0));
    assert!(text(&told.stdout).starts_with("order\n    window: 5m -> 4m\n"), "{}", text(&told.stdout));
    assert_eq!(snorri(&["diff", "order.yaml", own.path(), "--exit-code"]).status.code(), Some(1));
    assert_eq!(snorri(&["diff", "order.yaml", "order.yaml", "--exit-code"]).status.code(), Some(0));
    let json: Value =
        serde_json::from_slice(&snorri(&["diff", "order.yaml", own.path(), "--format", "json"]).stdout)
            .expect("JSON");
    assert_eq!((&json["changes"][0]["field"], &json["same"]), (&"window".into(), &false.into()));
    assert_eq!(snorri(&["diff", "order.yaml", "no-such-file.yaml", "--exit-code"]).status.code(), Some(2));
}
