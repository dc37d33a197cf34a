//! One trace a saga, with the participants' spans inside it.

use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snorri::Orchestrator;
use snorri_participant::{
    BusOptions, CancellationToken, Ctx, Fail, Participant, Subjects, Undo, connect_pool,
};
use snorri_stack::TestStack;

use crate::receiver::{Receiver, Seen, hex};
use crate::support::{Place, Rest, eventually};

const SECRET: &str = "secret-4111-1111";
const CALLER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER_SPAN: &str = "b7ad6b7169203331";

#[derive(Debug, Deserialize)]
struct Wish {
    fails: String,
    card: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Done {
    card: String,
}

/// Does what the wish says: fails once, says no, at once or late, or succeeds.
async fn act(cx: Ctx, wish: Wish) -> Result<Done, Fail> {
    let step = cx.step().as_str();
    if wish.fails == format!("{step} once") && cx.attempt() == 1 {
        return Err(Fail::failed(format!("not with {}", wish.card)));
    }
    if wish.fails == "ship late" && step == "ship" {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    if wish.fails == step || (wish.fails == "ship late" && step == "ship") {
        return Err(Fail::rejected("declined", format!("not with {}", wish.card)));
    }
    Ok(Done { card: wish.card })
}

async fn undo(_: Ctx, _: Undo<Wish, Done>) -> Result<(), Fail> {
    Ok(())
}

/// A participant through the SDK, with its own database.
async fn participant(place: &Place) -> CancellationToken {
    let database = || TestStack::get().unwrap().database("stock").unwrap();
    let database = tokio::task::spawn_blocking(database).await.unwrap();
    let pool = connect_pool(&database, 4).await.unwrap();
    let participant = ["reserve", "charge", "ship"]
        .into_iter()
        .fold(Participant::new("stock").unwrap().database(pool), |participant, step| {
            participant.action(step, act).compensation(&format!("undo-{step}"), undo)
        });
    let options = BusOptions {
        subjects: Subjects::new(place.prefix.clone()),
        ..BusOptions::new(&place.nats_url, "stock")
    };
    let stop = CancellationToken::new();
    let until = stop.clone();
    tokio::spawn(async move { participant.run(options, until).await.unwrap() });
    stop
}

fn order() -> Value {
    let step = |name: &str| {
        json!({
            "name": name, "participant": "stock", "compensation": format!("undo-{name}"),
            "retry": {"attempts": 3, "backoff": "50ms"}
        })
    };
    json!({"name": "order", "steps": [step("reserve"), step("charge"), step("ship")]})
}

/// Starts a saga as a caller that is traced itself, sees it end, and returns its id.
async fn run(rest: &Rest, fails: &str, status: &str) -> String {
    let body = json!({"definition": "order", "input": {"fails": fails, "card": SECRET}});
    let answer = rest
        .http
        .post(format!("{}/v1/sagas", rest.base))
        .header("traceparent", format!("00-{CALLER_TRACE}-{CALLER_SPAN}-01"))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let started: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let id = started["id"].as_str().unwrap().to_owned();
    assert_eq!(rest.ended(&id).await["status"], status);
    id
}

/// The trace of an ended saga, once that many spans of it are there; none too many comes after.
async fn trace(id: &str, spans: usize) -> Vec<Seen> {
    let trace_id = id.replace('-', "");
    eventually(&format!("{spans} spans of {id}"), async || {
        (Receiver::get().trace(&trace_id).len() >= spans).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let trace = Receiver::get().trace(&trace_id);
    assert_eq!(trace.len(), spans, "{:#?}", shape(&trace));
    check(id, &trace);
    trace
}

/// What holds of every trace of an ended saga.
fn check(id: &str, trace: &[Seen]) {
    let names: Vec<_> = trace.iter().map(|seen| seen.span.name.as_str()).collect();
    let ids: HashSet<String> = trace.iter().map(Seen::id).collect();
    assert_eq!(ids.len(), trace.len(), "two spans have one id: {names:?}");
    let roots: Vec<_> = trace.iter().filter(|seen| seen.span.parent_span_id.is_empty()).collect();
    assert_eq!(roots.len(), 1, "{names:?}");
    assert_eq!(roots[0].span.name, "saga order");
    for seen in trace {
        let span = &seen.span;
        assert!(span.parent_span_id.is_empty() || ids.contains(&seen.parent()), "{} is an orphan", span.name);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{}", span.name);
        assert_eq!(seen.text("saga.id"), id, "{}", span.name);
        let shown = format!("{span:?}");
        assert!(!shown.contains(SECRET), "a payload is in {shown}");
    }
}

/// Name, parent's name, service and outcome of each span, sorted.
fn shape(trace: &[Seen]) -> Vec<String> {
    let names: HashMap<String, &str> =
        trace.iter().map(|seen| (seen.id(), seen.span.name.as_str())).collect();
    let mut lines: Vec<String> = trace
        .iter()
        .map(|seen| {
            let parent = names.get(&seen.parent()).copied().unwrap_or("-");
            let attempt = seen.text("saga.attempt");
            let outcome = seen.text("saga.outcome");
            // The subject begins with the test's own word.
            let name = seen.span.name.rsplit('.').next().unwrap_or_default();
            let name = if seen.span.name.starts_with("process") {
                format!("process {name}")
            } else {
                name.to_owned()
            };
            format!("{}: {name} < {parent} {attempt} {outcome}", seen.service).trim_end().to_owned()
        })
        .collect();
    lines.sort();
    lines
}

fn find<'a>(trace: &'a [Seen], name: &str) -> &'a Seen {
    trace.iter().find(|seen| seen.span.name == name).unwrap_or_else(|| panic!("no span `{name}`"))
}

fn status(seen: &Seen) -> StatusCode {
    seen.span.status.as_ref().map_or(StatusCode::Unset, opentelemetry_proto::tonic::trace::v1::Status::code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_saga_is_one_trace_with_its_participants_in_it() {
    let place = Place::shared("traces").await;
    let mut config = place.config("a-1");
    config.otlp_endpoint = Some(Receiver::get().endpoint.clone());
    let orchestrator = Orchestrator::start(config).await.unwrap();
    let rest = Rest::of(&orchestrator);
    rest.submit(&order()).await;
    let stop = participant(&place).await;

    let completed = run(&rest, "nothing", "completed").await;
    let compensated = run(&rest, "ship", "compensated").await;
    let retried = run(&rest, "charge once", "completed").await;

    let trace_of = trace(&completed, 8).await;
    let expected = [
        "snorri: saga order < -",
        "snorri: saga started < saga order",
        "snorri: step charge < saga order 1 ok",
        "snorri: step reserve < saga order 1 ok",
        "snorri: step ship < saga order 1 ok",
        "stock: process charge < step charge 1 ok",
        "stock: process reserve < step reserve 1 ok",
        "stock: process ship < step ship 1 ok",
    ];
    assert_eq!(shape(&trace_of), expected);
    let root = find(&trace_of, "saga order");
    assert_eq!((status(root), root.text("saga.status").as_str()), (StatusCode::Ok, "completed"));
    assert_eq!(root.text("saga.definition.version"), "1");
    for name in ["saga order", "saga started"] {
        let links = &find(&trace_of, name).span.links;
        assert_eq!(links.len(), 1, "{name}");
        assert_eq!(
            (hex(&links[0].trace_id), hex(&links[0].span_id)),
            (CALLER_TRACE.into(), CALLER_SPAN.into())
        );
    }
    let charge = find(&trace_of, "step charge");
    assert_eq!(charge.span.kind(), SpanKind::Producer);
    assert_eq!(charge.text("messaging.system"), "nats");
    assert_eq!(charge.text("messaging.destination.name"), format!("{}.command.stock.charge", place.prefix));
    assert_eq!(charge.text("messaging.message.conversation_id"), completed);
    assert!(charge.text("messaging.message.id").starts_with(&format!("{completed}.charge.action")));
    for seen in &trace_of {
        // Three clocks, of one machine: inside, give or take what they are read apart.
        let slack = 50_000_000;
        assert!(
            seen.span.start_time_unix_nano + slack >= root.span.start_time_unix_nano,
            "{}",
            seen.span.name
        );
        assert!(seen.span.end_time_unix_nano <= root.span.end_time_unix_nano + slack, "{}", seen.span.name);
    }

    let trace_of = trace(&compensated, 13).await;
    let expected = [
        "snorri: compensate < saga order",
        "snorri: saga order < -",
        "snorri: saga started < saga order",
        "snorri: step charge < saga order 1 ok",
        "snorri: step reserve < saga order 1 ok",
        "snorri: step ship < saga order 1 rejected",
        "snorri: undo charge < compensate 1 ok",
        "snorri: undo reserve < compensate 1 ok",
        "stock: process charge < step charge 1 ok",
        "stock: process reserve < step reserve 1 ok",
        "stock: process ship < step ship 1 rejected",
        "stock: process undo-charge < undo charge 1 ok",
        "stock: process undo-reserve < undo reserve 1 ok",
    ];
    assert_eq!(shape(&trace_of), expected);
    let root = find(&trace_of, "saga order");
    assert_eq!((status(root), root.text("saga.cause").as_str()), (StatusCode::Error, "declined"));
    assert_eq!(root.span.status.as_ref().unwrap().message, "declined at ship");
    let ship = find(&trace_of, "step ship");
    assert_eq!((status(ship), ship.text("error.type").as_str()), (StatusCode::Error, "declined"));
    let compensate = &find(&trace_of, "compensate").span;
    for name in ["undo charge", "undo reserve"] {
        let undo = &find(&trace_of, name).span;
        assert!(compensate.start_time_unix_nano <= undo.start_time_unix_nano, "{name}");
        assert!(undo.end_time_unix_nano <= compensate.end_time_unix_nano, "{name}");
    }
    assert_eq!(compensate.start_time_unix_nano, ship.span.end_time_unix_nano);

    let trace_of = trace(&retried, 10).await;
    let shape = shape(&trace_of);
    for line in [
        "snorri: step charge < saga order 1 failed",
        "snorri: step charge < saga order 2 ok",
        "stock: process charge < step charge 1 failed",
        "stock: process charge < step charge 2 ok",
    ] {
        assert!(shape.iter().any(|found| found == line), "no `{line}` in {shape:#?}");
    }
    // Each of the participant's spans is in the attempt that it belongs to.
    for process in trace_of.iter().filter(|seen| seen.service == "stock") {
        let attempt = trace_of.iter().find(|seen| seen.id() == process.parent()).unwrap();
        assert_eq!(attempt.text("saga.attempt"), process.text("saga.attempt"));
        assert_eq!(attempt.text("saga.step"), process.text("saga.step"));
    }
    assert_eq!(status(find(&trace_of, "saga order")), StatusCode::Ok);
    stop.cancel();
    orchestrator.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_exported_by_the_shutdown_that_follows_it() {
    let place = Place::shared("last").await;
    let mut config = place.config("a-1");
    config.otlp_endpoint = Some(Receiver::get().endpoint.clone());
    let orchestrator = Orchestrator::start(config).await.unwrap();
    let rest = Rest::of(&orchestrator);
    rest.submit(&order()).await;
    let stop = participant(&place).await;
    let id = run(&rest, "nothing", "completed").await;
    orchestrator.shut_down().await;
    let trace = Receiver::get().trace(&id.replace('-', ""));
    assert!(trace.iter().any(|seen| seen.span.name == "saga order"), "{trace:?}");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_that_another_replica_ends_is_one_trace_still() {
    let place = Place::shared("handed").await;
    let config = |name: &str| {
        let mut config = place.config(name);
        config.otlp_endpoint = Some(Receiver::get().endpoint.clone());
        config
    };
    let first = Orchestrator::start(config("a-1")).await.unwrap();
    let rest = Rest::of(&first);
    rest.submit(&order()).await;
    let stop = participant(&place).await;
    let id = rest.start("order", &json!({"fails": "ship late", "card": SECRET})).await;
    eventually("ship is under way", async || {
        (rest.saga(&id).await["steps"].as_array().is_some_and(|steps| steps.len() == 3)).then_some(())
    })
    .await;
    let second = Orchestrator::start(config("b-1")).await.unwrap();
    first.shut_down().await;
    assert_eq!(Rest::of(&second).ended(&id).await["status"], "compensated");
    let trace_id = id.replace('-', "");
    // The command to ship was sent by both; what the participant made of the second is its own affair.
    let trace = eventually("the whole trace", async || {
        let trace = Receiver::get().trace(&trace_id);
        let has = |name: &str| trace.iter().any(|seen| seen.span.name.contains(name));
        let is_whole = has("saga order") && has("command.stock.ship") && has("command.stock.undo-reserve");
        is_whole.then_some(trace)
    })
    .await;
    check(&id, &trace);
    let ship = find(&trace, "step ship");
    assert_eq!((ship.text("saga.outcome"), ship.text("saga.attempt")), ("rejected".into(), "1".into()));
    assert!(ship.text("saga.sent.again").parse::<u32>().is_ok_and(|again| again >= 1), "{ship:?}");
    // The saga turned round here, so it is known exactly when.
    assert_eq!(find(&trace, "compensate").span.start_time_unix_nano, ship.span.end_time_unix_nano);
    stop.cancel();
    second.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = Place::shared("away").await;
    let mut config = place.config("a-1");
    config.otlp_endpoint = Some(format!("http://{nobody}"));
    let orchestrator = Orchestrator::start(config).await.unwrap();
    let rest = Rest::of(&orchestrator);
    rest.submit(&order()).await;
    let stop = participant(&place).await;
    for _ in 0..5 {
        run(&rest, "nothing", "completed").await;
    }
    let admin = orchestrator.admin_address;
    eventually("lost spans are counted", async || {
        let scrape = crate::metrics::scrape(admin).await;
        (scrape.value("snorri_spans_lost_total", &[]) >= Some(25.0)).then_some(())
    })
    .await;
    stop.cancel();
    let began = std::time::Instant::now();
    orchestrator.shut_down().await;
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_wrong_endpoint_is_said_at_the_start() {
    let place = Place::shared("wrong").await;
    for (endpoint, why) in [
        ("jaeger:4318", "http://jaeger:4318"),
        ("https://me:secret@jaeger", "without TLS"),
        ("http://", "empty host"),
    ] {
        let mut config = place.config("a-1");
        config.otlp_endpoint = Some(endpoint.to_owned());
        let error = Orchestrator::start(config).await.expect_err(endpoint).to_string();
        assert!(error.contains("traces cannot be exported") && error.contains(why), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_is_a_span_and_a_part_is_a_trace_that_is_linked_to_its_step() {
    let place = Place::shared("waittraces").await;
    let mut config = place.config("a-1");
    config.otlp_endpoint = Some(Receiver::get().endpoint.clone());
    let orchestrator = Orchestrator::start(config).await.unwrap();
    let rest = Rest::of(&orchestrator);
    let charge = json!({"name": "charge", "participant": "stock", "compensation": "undo-charge"});
    rest.submit(&json!({"name": "parcel", "window": "1m", "steps": [charge]})).await;
    let steps = json!([
        {"name": "payment", "signal": {"name": "paid", "timeout": "1h"}},
        {"name": "pause", "delay": "50ms"},
        {"name": "part", "saga": "parcel"},
        {"name": "review", "approval": {"timeout": "1h"}}
    ]);
    rest.submit(&json!({"name": "order", "window": "4h", "steps": steps})).await;
    let stop = participant(&place).await;
    let id = rest.start("order", &json!({"fails": "nothing", "card": SECRET})).await;
    let (code, body) = rest.post(&format!("/v1/sagas/{id}/signals/paid"), &json!({"payload": SECRET})).await;
    assert_eq!(code, 200, "{body}");
    let no = json!({"approve": false, "by": SECRET, "comment": SECRET});
    eventually("it waits for a person", async || {
        (rest.post(&format!("/v1/sagas/{id}/approvals/review"), &no).await.0 == 200).then_some(())
    })
    .await;
    let saga = rest.ended(&id).await;
    assert_eq!(saga["status"], "compensated");

    let trace_of = trace(&id, 8).await;
    let expected = [
        "snorri: compensate < saga order",
        "snorri: saga order < -",
        "snorri: saga started < saga order",
        "snorri: step part < saga order 1 ok",
        "snorri: undo part < compensate 1 ok",
        "snorri: wait pause < saga order 0 ok",
        "snorri: wait payment < saga order 0 ok",
        "snorri: wait review < saga order 0 rejected",
    ];
    assert_eq!(shape(&trace_of), expected);
    let review = find(&trace_of, "wait review");
    assert_eq!((status(review), review.text("error.type").as_str()), (StatusCode::Error, "not_approved"));
    for name in ["wait payment", "step part"] {
        let span = find(&trace_of, name);
        assert_eq!(span.span.kind(), SpanKind::Internal, "{name}: no message went out");
        assert_eq!(
            (span.text("messaging.system"), span.text("saga.participant")),
            (String::new(), String::new())
        );
    }
    let pause = &find(&trace_of, "wait pause").span;
    assert!(
        pause.end_time_unix_nano - pause.start_time_unix_nano >= 50_000_000,
        "it lasts as long as the wait"
    );

    let child = saga["steps"][2]["child"].as_str().unwrap();
    assert_eq!(find(&trace_of, "step part").text("saga.child"), child);
    let child = child.replace('-', "");
    let part = eventually("the part's trace", async || {
        let part = Receiver::get().trace(&child);
        part.iter().any(|seen| seen.span.name == "saga parcel").then_some(part)
    })
    .await;
    let links = &find(&part, "saga parcel").span.links;
    let of_step = find(&trace_of, "step part");
    assert_eq!(links.len(), 1);
    assert_eq!((hex(&links[0].trace_id), hex(&links[0].span_id)), (id.replace('-', ""), of_step.id()));
    stop.cancel();
    orchestrator.shut_down().await;
}
