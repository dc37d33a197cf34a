//! Messages that no participant should send. Each is kept aside with its reason, and the saga goes on.

use serde_json::{Value, json};
use snorri_bus::{Bytes, HeaderMap, Outgoing};
use snorri_saga::wire::header;

use crate::support::{Hand, Place, Rest, definition, eventually, ok};

async fn dead_letter(rest: &Rest, reason: &str) -> Value {
    eventually(&format!("a dead letter {reason}"), async || {
        let (_, page) = rest.get("/v1/dead-letters").await;
        let letters = page["dead_letters"].as_array().cloned().unwrap_or_default();
        letters.into_iter().find(|letter| letter["reason"] == reason)
    })
    .await
}

/// Starts a saga whose only step is answered once `answer` has been sent on the command's behalf.
async fn saga_with_a_bad_answer(
    hint: &'static str,
    reason: &str,
    bad: impl Fn(&snorri_bus::headers::ReceivedCommand) -> Outgoing,
) {
    let place = Place::shared(hint).await;
    let orchestrator = place.replica("one").await;
    // The first attempt goes unanswered here: the test answers it badly. The second is answered well.
    let hand =
        Hand::play(&place, "hand", |command| if command.id.attempt == 1 { vec![] } else { vec![ok()] }).await;
    let rest = Rest::of(&orchestrator);
    rest.submit(&definition("one", &["a"])).await;
    let id = rest.start("one", &json!({})).await;
    let command = eventually("the command", async || hand.seen().into_iter().next()).await;
    hand.bus.publish_all(vec![bad(&command)]).await;
    let letter = dead_letter(&rest, reason).await;
    assert!(!letter["detail"].as_str().unwrap_or_default().is_empty(), "{letter}");
    assert_eq!(rest.ended(&id).await["status"], "completed", "the saga is not harmed");
    orchestrator.shut_down().await;
}

fn headers(command: &snorri_bus::headers::ReceivedCommand) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::COMMAND, command.id.to_string());
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_reply_is_kept_aside_and_the_step_is_tried_again() {
    saga_with_a_bad_answer("malformed", "malformed_body", |command| Outgoing {
        subject: command.reply_to.clone(),
        headers: Some(headers(command)),
        payload: Bytes::from_static(b"{\"outcome\": \"perhaps\""),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_names_no_command_is_kept_aside() {
    saga_with_a_bad_answer("nameless", "malformed_header", |command| Outgoing {
        subject: command.reply_to.clone(),
        headers: None,
        payload: Bytes::from_static(b"{\"outcome\": \"ok\"}"),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_from_the_wrong_participant_is_kept_aside() {
    saga_with_a_bad_answer("forged", "wrong_participant", |command| Outgoing {
        subject: command.reply_to.replace(".hand.", ".mallory."),
        headers: Some(headers(command)),
        payload: Bytes::from_static(b"{\"outcome\": \"ok\"}"),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_for_a_saga_that_never_was_is_kept_aside() {
    saga_with_a_bad_answer("orphan", "unknown_saga", |command| {
        let mut headers = HeaderMap::new();
        headers.insert(header::COMMAND, "01936d3e-7f0a-7000-8000-000000000001.a.action.1.0");
        Outgoing {
            subject: command.reply_to.clone(),
            headers: Some(headers),
            payload: Bytes::from_static(b"{\"outcome\": \"ok\"}"),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e19_an_answer_that_is_too_large_rejects_its_step_alone_and_the_step_is_undone() {
    let place = Place::shared("large").await;
    let orchestrator = place.replica("one").await;
    let hand = Hand::play(&place, "hand", |command| match command.effect().direction {
        snorri_saga::ids::Direction::Action => vec![],
        snorri_saga::ids::Direction::Compensation => vec![ok()],
    })
    .await;
    let rest = Rest::of(&orchestrator);
    rest.submit(&definition("one", &["a"])).await;
    let id = rest.start("one", &json!({})).await;
    let command = eventually("the command", async || hand.seen().into_iter().next()).await;
    let body = json!({"outcome": "ok", "output": "x".repeat(500_000)}).to_string();
    let large = Outgoing {
        subject: command.reply_to.clone(),
        headers: Some(headers(&command)),
        payload: Bytes::from(body),
    };
    hand.bus.publish_all(vec![large]).await;
    let saga = rest.ended(&id).await;
    assert_eq!(saga["status"], "compensated", "{saga}");
    assert_eq!(saga["cause"]["code"], "too_large");
    assert_eq!(hand.order("compensation"), ["a"], "it happened, so it is undone");
    orchestrator.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_can_be_started_over_nats_and_the_answer_comes_after_the_commit() {
    use futures::StreamExt as _;
    let place = Place::shared("natsstart").await;
    let orchestrator = place.replica("one").await;
    let hand = Hand::play(&place, "hand", |_| vec![ok()]).await;
    let rest = Rest::of(&orchestrator);
    rest.submit(&definition("one", &["a"])).await;
    let inbox = hand.bus.client().unwrap().new_inbox();
    let mut answers = hand.bus.client().unwrap().subscribe(inbox.clone()).await.unwrap();
    let start = |key: &str, body: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::KEY, key);
        headers.insert(header::REPLY_TO, inbox.as_str());
        Outgoing {
            subject: hand.bus.subjects().start(&"one".parse().unwrap()),
            headers: Some(headers),
            payload: Bytes::from(body.to_owned()),
        }
    };
    let mut answer = async |message: Outgoing| {
        for result in hand.bus.publish_all(vec![message]).await {
            result.expect("taken by the stream");
        }
        let answer = tokio::time::timeout(crate::support::SOON, answers.next()).await.unwrap().unwrap();
        serde_json::from_slice::<Value>(&answer.payload).unwrap()
    };
    let first = answer(start("k1", r#"{"input": {"n": 1}}"#)).await;
    let again = answer(start("k1", r#"{"input": {"n": 1}}"#)).await;
    assert_eq!(first["saga_id"], again["saga_id"], "the same key is the same saga");
    assert_eq!(again["replayed"], true);
    let other = answer(start("k1", r#"{"input": {"n": 2}}"#)).await;
    assert_eq!(other["type"], "urn:snorri:problem:key-reused", "{other}");
    let broken = answer(start("k2", r#"{"input": "#)).await;
    assert_eq!(broken["status"], 400, "{broken}");
    let id = first["saga_id"].as_str().unwrap();
    assert_eq!(rest.ended(id).await["status"], "completed");
    orchestrator.shut_down().await;
}
