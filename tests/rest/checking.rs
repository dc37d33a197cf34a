//! Definitions are checked: without being stored, and at every submission.

use serde_json::{Value, json};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::desk::Desk;
use crate::support::eventually;

const BROKEN: &str =
    "name: order\nsteps:\n  - name: pay\n    participant: payments\n    when: input.total >\n";
const CHILD: &str = "name: shipment\nwindow: 1m\nsteps:\n  - name: book\n    participant: shipping\n    compensation: \
                     cancel\n    timeout: 1s\n";
const PARENT: &str = "name: parent\nwindow: 10m\nsteps:\n  - name: ship\n    saga: shipment\n";

fn codes(report: &Value) -> Vec<&str> {
    let found = report["files"][0]["diagnostics"].as_array().expect("a list");
    found.iter().map(|found| found["code"].as_str().expect("a code")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_everything_and_stores_nothing() {
    let desk = Desk::open("rest_check").await;
    let report = desk.post_text("/v1/definitions/check", "application/yaml", BROKEN).await.ok(200);
    assert_eq!((&report["errors"], &report["files"][0]["worst_case"]), (&json!(2), &Value::Null));
    assert_eq!(codes(&report), ["no-compensation", "bad-expression"]);
    let second = &report["files"][0]["diagnostics"][1];
    assert_eq!(
        (&second["line"], &second["column"], &second["pointer"]),
        (&json!(5), &json!(24), &json!("/steps/0/when"))
    );

    let report = desk.post_text("/v1/definitions/check", "application/yaml", CHILD).await.ok(200);
    assert_eq!((&report["errors"], &report["files"][0]["name"]), (&json!(0), &json!("shipment")));
    assert_eq!(report["files"][0]["worst_case"]["window"], "1m");
    desk.get("/v1/definitions/shipment").await.problem(404, "unknown-definition");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_takes_what_a_submission_takes() {
    let desk = Desk::open("rest_check_bodies").await;
    let as_json = json!({"name": "a", "steps": [{"name": "b", "participant": "c", "compensation": "d"}]});
    assert_eq!(desk.post("/v1/definitions/check", &as_json).await.ok(200)["errors"], 0);
    let form = desk.post_text("/v1/definitions/check", "application/x-www-form-urlencoded", CHILD).await;
    form.problem(415, "unsupported-media-type");
    let large = "#".repeat(1024 * 1024 + 1);
    desk.post_text("/v1/definitions/check", "application/yaml", large).await.problem(413, "too-large");
    let deep = "[".repeat(100_000);
    desk.post_text("/v1/definitions/check", "application/json", deep).await.problem(400, "too-deep");
    let unreadable = desk.post_text("/v1/definitions/check", "application/yaml", "name: [").await.ok(200);
    assert_eq!(codes(&unreadable), ["syntax"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_submission_has_the_lines_and_an_accepted_one_its_warnings() {
    let desk = Desk::open("rest_check_submit").await;
    let answer = desk.post_text("/v1/definitions", "application/yaml", BROKEN).await;
    answer.problem(422, "invalid-definition");
    let first = &answer.body["violations"][0];
    assert_eq!(
        (&first["code"], &first["line"], &first["column"], &first["pointer"]),
        (&json!("no-compensation"), &json!(3), &json!(11), &json!("/steps/0/compensation"))
    );
    assert!(first["mend"].as_str().is_some_and(|said| said.contains("compensation: none")), "{first}");
    // Its shape is wrong: it is not known what it says.
    let unknown = CHILD.replace("timeout", "timout");
    let answer = desk.post_text("/v1/definitions", "application/yaml", unknown).await;
    let detail = answer.problem(400, "unreadable-definition");
    assert!(detail.starts_with("line 7, column 5: a step has no field `timout`: did you mean"), "{detail}");
    assert_eq!(answer.body["violations"][0]["code"], "unknown-field");

    let doubtful = CHILD.replace("window: 1m", "window: 1m\ndescription:");
    let accepted = desk.post_text("/v1/definitions", "application/yaml", doubtful).await.ok(201);
    assert_eq!(accepted["warnings"][0]["code"], "no-value");
    assert_eq!(accepted["warnings"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_sagas_are_those_that_were_submitted() {
    let desk = Desk::open("rest_check_children").await;
    let check = async || desk.post_text("/v1/definitions/check", "application/yaml", PARENT).await.ok(200);
    assert_eq!(codes(&check().await), ["unknown-sub-saga"]);
    desk.post_text("/v1/definitions", "application/yaml", CHILD).await.ok(201);
    let report = check().await;
    assert_eq!(report["errors"], 0, "{report}");
    // The sub-saga's window, then the longest that undoing it may take.
    assert_eq!(report["files"][0]["worst_case"]["before"]["total"], "1m");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_the_interface_are_no_names_of_definitions() {
    let desk = Desk::open("rest_check_name").await;
    for name in ["check", "schema"] {
        let text = CHILD.replace("shipment", name);
        let refused = desk.post_text("/v1/definitions", "application/yaml", text).await;
        refused.problem(422, "invalid-definition");
        let violation = &refused.body["violations"][0];
        assert_eq!(
            (&violation["code"], &violation["pointer"], &violation["line"]),
            (&json!("reserved-name"), &json!("/name"), &json!(1))
        );
        let near = CHILD.replace("shipment", &format!("{name}s"));
        desk.post_text("/v1/definitions", "application/yaml", near).await.ok(201);
    }
    // Of one from before they were reserved there may be versions.
    desk.get("/v1/definitions/check").await.problem(404, "unknown-definition");
    desk.get("/v1/definitions/check?x=1").await.problem(400, "bad-parameter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_says_how_far_it_was_explored_and_is_counted() {
    let desk = Desk::open("rest_explored").await;
    let taken = desk.post_text("/v1/definitions", "application/yaml", CHILD).await.ok(201);
    let explored = &taken["explored"];
    assert!(explored["complete_faults"].as_u64().is_some(), "{taken}");
    assert!(explored["states"].as_u64().is_some_and(|states| states > 1), "{taken}");
    assert!(["faults", "time"].contains(&explored["stopped"].as_str().expect("a word")), "{taken}");
    // All orders of so many steps are too many.
    let steps: Vec<Value> = (0..40)
        .map(|n| json!({"name": format!("s{n}"), "participant": "p", "compensation": "u", "needs": []}))
        .collect();
    let wide = desk.post("/v1/definitions", &json!({"name": "wide", "steps": steps})).await.ok(201);
    assert_eq!(wide["explored"]["complete_faults"], Value::Null, "{wide}");
    desk.post_text("/v1/definitions", "application/yaml", CHILD).await.ok(200);
    desk.post_text("/v1/definitions", "application/yaml", BROKEN).await.problem(422, "invalid-definition");
    desk.post_text("/v1/definitions", "text/html", CHILD).await.problem(415, "unsupported-media-type");
    let metrics = desk.admin("/metrics").await.text;
    for line in [
        r#"snorri_submissions_total{outcome="new"} 2"#,
        r#"snorri_submissions_total{outcome="same"} 1"#,
        r#"snorri_submissions_total{outcome="invalid"} 1"#,
        r#"snorri_submissions_total{outcome="bad_request"} 1"#,
        r#"snorri_submissions_total{outcome="overloaded"} 0"#,
        r#"snorri_exploration_seconds_count{covered="nothing"} 1"#,
        r#"snorri_exploration_seconds_count{covered="violation"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

/// Who sends definitions, many and slowly, keeps nobody from starting sagas, and is told to come again.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_send_many_definitions_are_turned_away_before_anybody_else_is() {
    let desk = Desk::open("rest_check_many").await;
    desk.post_text("/v1/definitions", "application/yaml", CHILD).await.ok(201);
    let mut slow = Vec::new();
    let refused = eventually("there is no place left", async || {
        // Some more each time: the one that asks had a place itself when others were turned away.
        for _ in 0..40 {
            let mut stream = TcpStream::connect(desk.replica.address).await.expect("a connection");
            let head = "POST /v1/definitions/check HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nname: ";
            stream.write_all(head.as_bytes()).await.expect("sent");
            slow.push(stream);
        }
        let answer = desk.post_text("/v1/definitions/check", "application/yaml", CHILD).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!(refused.problem(503, "overloaded"), "the limit of `definitions` is reached");
    desk.post_text("/v1/definitions", "application/yaml", PARENT).await.problem(503, "overloaded");
    desk.get("/v1/definitions/shipment/graph").await.problem(503, "overloaded");
    desk.get("/v1/definitions/shipment/diff?from=1").await.problem(503, "overloaded");
    desk.post("/v1/sagas", &json!({"definition": "shipment"})).await.ok(201);

    drop(slow);
    let report = eventually("a place is free again", async || {
        let answer = desk.post_text("/v1/definitions/check", "application/yaml", PARENT).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(report.ok(200)["errors"], 0);
}
