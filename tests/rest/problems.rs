//! Every error is a problem document, also those that no handler of ours sees.

use reqwest::Method;

use crate::desk::{Desk, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_not_there_is_a_problem_document() {
    let desk = Desk::open("rest_routes").await;
    for path in ["/", "/v1", "/v1/saga", "/v1/sagas/", "/v1/sagas/a/b/c", "/V1/sagas"] {
        assert!(desk.get(path).await.problem(404, "unknown-route").contains(path), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_not_there_is_told_which_are() {
    let desk = Desk::open("rest_methods").await;
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/sagas", "POST"),
        (Method::PUT, "/v1/definitions", "POST"),
        (Method::PATCH, "/v1/sagas/1", "GET"),
        (Method::GET, "/v1/sagas/1/cancel", "POST"),
        (Method::POST, "/v1/dead-letters", "GET"),
    ] {
        let answer = send(desk.http().request(method, desk.url(path))).await;
        answer.problem(405, "method-not-allowed");
        assert!(answer.header("allow").contains(allowed), "{path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_is_a_problem_document() {
    let desk = Desk::open("rest_decode").await;
    for path in ["/v1/sagas/%ff", "/v1/definitions/%ff", "/v1/definitions/%ff/1"] {
        desk.get(path).await.problem(400, "bad-request");
    }
    let long = desk.get(&format!("/v1/sagas?cause={}", "x".repeat(601))).await;
    long.problem(400, "bad-parameter");
    let many = vec!["tag=a:b"; 65].join("&");
    desk.get(&format!("/v1/sagas?{many}")).await.problem(400, "bad-request");
    let short =
        "POST /v1/sagas HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{}{}{}[}]";
    assert!(desk.raw(short).await.contains("urn:snorri:problem:bad-request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_not_taken_is_refused_everywhere() {
    let desk = Desk::open("rest_queries").await;
    let id = "01936d3e-7f0a-7000-8000-000000000001";
    for path in [
        "/v1/sagas".to_owned(),
        "/v1/definitions".to_owned(),
        "/v1/definitions/order".to_owned(),
        "/v1/definitions/order/1".to_owned(),
        "/v1/dead-letters".to_owned(),
        format!("/v1/sagas/{id}"),
        format!("/v1/sagas/{id}/journal"),
        format!("/v1/sagas/{id}/wait"),
    ] {
        let answer = desk.get(&format!("{path}?verbose=1")).await;
        assert!(answer.problem(400, "bad-parameter").contains("`verbose`: not known here"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused_by_the_server_underneath() {
    let desk = Desk::open("rest_no_http").await;
    let many = format!("GET /v1/sagas HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(150));
    for (request, status) in [("NONSENSE\r\n\r\n", "400"), (many.as_str(), "431")] {
        let answer = desk.raw(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
}
