//! Definitions: submitted, refused with everything that is wrong, listed and read.

use std::collections::BTreeSet;

use serde_json::json;

use crate::desk::{Desk, send};

const YAML: &str = "
name: order
window: 2m
steps:
  - name: reserve
    participant: inventory
    compensation: release
  - name: charge
    participant: payments
    kind: pivot
";

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_versioned_by_its_content_and_not_by_its_spelling() {
    let desk = Desk::open("rest_versions").await;
    let first = desk.post_text("/v1/definitions", "application/yaml", YAML).await;
    assert_eq!(first.header("location"), "/v1/definitions/order/1");
    let first = first.ok(201);
    assert_eq!(
        (&first["name"], &first["version"], &first["new"]),
        (&json!("order"), &json!(1), &json!(true))
    );
    assert_eq!(first["digest"].as_str().map(str::len), Some(64));

    // The same as JSON, its fields in another order.
    let same = json!({"steps": [
        {"participant": "inventory", "compensation": "release", "name": "reserve"},
        {"kind": "pivot", "name": "charge", "participant": "payments"},
    ], "window": "2m", "name": "order"});
    let again = desk.post("/v1/definitions", &same).await.ok(200);
    assert_eq!(
        (&again["version"], &again["new"], &again["digest"]),
        (&json!(1), &json!(false), &first["digest"])
    );

    let changed = YAML.replace("2m", "3m");
    let second = desk.post_text("/v1/definitions", "application/yaml", changed).await.ok(201);
    assert_eq!(second["version"], 2);

    let newest = desk.get("/v1/definitions/order").await.ok(200);
    assert_eq!((&newest["version"], &newest["definition"]["window"]), (&json!(2), &json!("3m")));
    let old = desk.get("/v1/definitions/order/1").await.ok(200);
    assert_eq!((&old["version"], &old["definition"]["window"]), (&json!(1), &json!("2m")));
    assert_eq!(old["definition"]["steps"][0]["name"], "reserve");
    let list = desk.get("/v1/definitions").await.ok(200);
    assert_eq!(list["definitions"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&list["definitions"][0]["name"], &list["definitions"][0]["version"]),
        (&json!("order"), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn content_types_are_taken_or_refused_by_name() {
    let desk = Desk::open("rest_kinds").await;
    for kind in ["application/yaml", "application/x-yaml", "text/yaml; charset=utf-8"] {
        let answer = desk.post_text("/v1/definitions", kind, YAML).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }
    let none = send(desk.http().post(desk.url("/v1/definitions")).body(YAML)).await;
    assert_eq!(none.status, 200, "{none:?}");
    let form = desk.post_text("/v1/definitions", "application/x-www-form-urlencoded", YAML).await;
    let detail = form.problem(415, "unsupported-media-type");
    assert!(detail.contains("application/yaml or application/json"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_said_at_once_with_its_place() {
    let desk = Desk::open("rest_invalid").await;
    let wrong = json!({"name": "Bad Name", "steps": [
        {"name": "a", "participant": "inventory"},
        {"name": "a", "participant": "pay.ments", "compensation": "undo"},
    ]});
    let answer = desk.post("/v1/definitions", &wrong).await;
    answer.problem(422, "invalid-definition");
    let pointers: BTreeSet<&str> = answer.body["violations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|violation| {
            assert!(violation["message"].as_str().is_some_and(|message| message.len() > 10), "{violation}");
            violation["pointer"].as_str().expect("a pointer")
        })
        .collect();
    let expected = ["/name", "/steps/0/compensation", "/steps/1/name", "/steps/1/participant"];
    assert_eq!(pointers, BTreeSet::from(expected));

    let as_yaml = "name: x\nsteps: []\n";
    let answer = desk.post_text("/v1/definitions", "application/yaml", as_yaml).await;
    answer.problem(422, "invalid-definition");
    assert_eq!(answer.body["violations"][0]["pointer"], "/steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_with_its_line() {
    let desk = Desk::open("rest_unreadable").await;
    for (kind, text, parts) in [
        ("application/json", "{\"name\": \"x\",\n \"steps\": [}", &["line 2", "column 12"][..]),
        ("application/json", "", &["line 1"]),
        ("application/json", r#"{"name":"x","steps":[],"colour":"red"}"#, &["no field `colour`", "line 1"]),
        ("application/yaml", "name: x\nsteps: [a, b\nwindow: 5m\n", &["line"]),
        ("application/yaml", "name: x\nsteps: []\ncolour: red\n", &["colour", "line 3"]),
        (
            "application/yaml",
            "name: x\nsteps:\n  - name: a\n    participant: p\n    retries: 3\n",
            &["retries", "line 5"],
        ),
        ("application/yaml", "name: x\nwindow: fast\nsteps: []\n", &["fast", "line 2"]),
        (
            "application/yaml",
            "name: x\ndescription: \"a\\0b\"\nsteps: [{name: a, participant: p, kind: read}]\n",
            &["U+0000"],
        ),
    ] {
        let answer = desk.post_text("/v1/definitions", kind, text).await;
        let detail = answer.problem(400, "unreadable-definition");
        for part in parts {
            assert!(detail.contains(part), "{part} is not in {detail}");
        }
    }
    let answer = desk.post_text("/v1/definitions", "application/yaml", vec![b'a', 0xff]).await;
    assert!(answer.problem(400, "unreadable-definition").contains("UTF-8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_and_the_replica_lives_on() {
    let desk = Desk::open("rest_bombs").await;
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    let head = r#"{"name":"x","steps":[{"name":"a","participant":"p","compensation":"none","input":"#;
    let bomb = format!("{head}{}}}]}}", deep("[", "]"));
    desk.post_text("/v1/definitions", "application/json", bomb.clone()).await.problem(400, "too-deep");
    desk.post_text("/v1/definitions", "application/yaml", bomb).await.problem(400, "unreadable-definition");
    let nested = format!("name: x\nsteps: {}a\n", "- ".repeat(100_000));
    desk.post_text("/v1/definitions", "application/yaml", nested).await.problem(400, "unreadable-definition");
    let mut laughs = String::from("a0: &a0 [lol]\n");
    for level in 1..30 {
        let six = vec![format!("*a{}", level - 1); 6].join(", ");
        laughs = format!("{laughs}a{level}: &a{level} [{six}]\n");
    }
    let laughs = format!(
        "name: x\nsteps:\n- name: a\n  participant: p\n  input:\n    {}",
        laughs.replace('\n', "\n    ")
    );
    desk.post_text("/v1/definitions", "application/yaml", laughs).await.problem(400, "unreadable-definition");
    // Deep, but within the parser's limit: the definition's own limit has the word.
    let forty = format!("{head}{}1{}}}]}}", "[".repeat(40), "]".repeat(40));
    desk.post_text("/v1/definitions", "application/json", forty).await.problem(422, "invalid-definition");
    desk.post_text("/v1/definitions", "application/yaml", YAML).await.ok(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_has_at_most_one_mebibyte() {
    let desk = Desk::open("rest_large").await;
    let padded = |bytes: usize| format!("{YAML}#{}", "x".repeat(bytes - YAML.len() - 1));
    desk.post_text("/v1/definitions", "application/yaml", padded(1024 * 1024)).await.ok(201);
    for bytes in [1024 * 1024 + 1, 2_000_000] {
        let answer = desk.post_text("/v1/definitions", "application/yaml", padded(bytes)).await;
        assert!(answer.problem(413, "too-large").contains(&bytes.to_string()));
        assert_eq!(answer.body["bytes_max"], 1024 * 1024);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_text_comes_back_as_it_was_sent() {
    let desk = Desk::open("rest_text").await;
    let text = "{\"name\":\"x\",\"description\":\"\\ud83d\\ude00 \\\"\\/\\u007f é\",\
                \"steps\":[{\"name\":\"a\",\"participant\":\"p\",\"kind\":\"read\",\"timeout\":\"1s\"}]}";
    desk.post_text("/v1/definitions", "application/json", text).await.ok(201);
    let read = desk.get("/v1/definitions/x").await.ok(200);
    assert_eq!(read["definition"]["description"], "😀 \"/\u{7f} é");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_submitted_is_not_found() {
    let desk = Desk::open("rest_no_definition").await;
    desk.post_text("/v1/definitions", "application/yaml", YAML).await.ok(201);
    for path in
        ["/v1/definitions/other", "/v1/definitions/order/2", "/v1/definitions/A*", "/v1/definitions/a%00b"]
    {
        desk.get(path).await.problem(404, "unknown-definition");
    }
    for path in ["/v1/definitions/order/0", "/v1/definitions/order/-1", "/v1/definitions/order/newest"] {
        let answer = desk.get(path).await;
        answer.problem(400, "bad-parameter");
        assert_eq!(answer.body["parameter"], "version");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_listed_by_name_page_by_page() {
    let desk = Desk::open("rest_definition_pages").await;
    for name in ["e", "a", "d", "b", "c"] {
        desk.post_text("/v1/definitions", "application/yaml", YAML.replace("order", name)).await.ok(201);
    }
    let mut names = Vec::new();
    let mut path = "/v1/definitions?limit=2".to_owned();
    loop {
        let page = desk.get(&path).await.ok(200);
        let listed = page["definitions"].as_array().expect("a list");
        names.extend(listed.iter().map(|listed| listed["name"].as_str().expect("a name").to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/definitions?limit=2&cursor={cursor}");
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}
