//! The wire's test vectors, as far as they concern headers: the same files that snorri-saga checks for its types.

use serde_json::{Value, json};
use snorri_bus::HeaderMap;
use snorri_bus::headers::{
    BadReply, CommandHeaders, command_body, command_headers, parse_command, parse_reply, reply,
};
use snorri_saga::ids::Name;
use snorri_saga::json::Json;
use snorri_saga::time::Millis;
use snorri_saga::wire::Subjects;

fn vectors(file: &str) -> Value {
    let path = format!("{}/../../sagas/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the vectors are there");
    serde_json::from_str(&text).expect("the vectors are JSON")
}

fn each<'a>(vectors: &'a Value, which: &str) -> impl Iterator<Item = &'a Value> {
    vectors[which].as_array().expect("a list").iter()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().expect("a text")
}

fn headers(vector: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in vector["headers"].as_object().expect("headers") {
        headers.insert(name.as_str(), value.as_str().expect("a text"));
    }
    headers
}

fn body(vector: &Value) -> String {
    if let Some(text) = vector["body_text"].as_str() {
        return text.to_owned();
    }
    let repeat = &vector["body_repeat"];
    if let Some(part) = repeat["repeat"].as_str() {
        let times = usize::try_from(repeat["times"].as_u64().expect("a number")).expect("a number");
        return text(repeat, "before").to_owned() + &part.repeat(times) + text(repeat, "after");
    }
    vector["body"].to_string()
}

fn value(json: Option<&Json>) -> Value {
    json.map_or(Value::Null, Json::to_value)
}

fn as_json(headers: &HeaderMap) -> Value {
    headers.iter().map(|(name, values)| (name.to_string(), json!(values[0].as_str()))).collect()
}

#[test]
fn commands_are_read_as_the_vectors_say() {
    let (vectors, subjects) = (vectors("command"), Subjects::default());
    let participant = Name::new(text(&vectors, "participant")).expect("a name");
    for vector in each(&vectors, "valid") {
        let (name, parsed) = (text(vector, "name"), &vector["parsed"]);
        let headers = headers(vector);
        let command = parse_command(
            &subjects,
            &participant,
            text(vector, "subject"),
            Some(&headers),
            body(vector).as_bytes(),
        )
        .expect(name);
        let effect = command.effect();
        let told = json!({
            "participant": participant, "operation": command.operation, "saga": effect.saga,
            "step": effect.step, "direction": effect.direction, "attempt": command.id.attempt,
            "sending": command.id.sending, "budget_ms": command.budget.0, "reply_to": command.reply_to,
            "replies_max": command.replies_max,
            "input": command.body.input.to_value(),
            "result": value(command.body.result.as_ref()),
            "saga_input": value(command.body.saga_input.as_ref()),
        });
        for (field, told) in told.as_object().expect("an object") {
            assert_eq!(told, &parsed[field], "{name}: {field}");
        }
        let traceparent = vector["headers"].get("traceparent").and_then(Value::as_str);
        assert_eq!(command.traceparent.as_deref(), traceparent, "{name}");
    }
}

#[test]
fn commands_are_written_as_the_vectors_say() {
    let (vectors, subjects) = (vectors("command"), Subjects::default());
    let participant = Name::new(text(&vectors, "participant")).expect("a name");
    for vector in
        each(&vectors, "valid").filter(|vector| vector["headers"].get("Snorri-Replies-Max").is_some())
    {
        let (name, headers) = (text(vector, "name"), headers(vector));
        let subject = text(vector, "subject");
        let command =
            parse_command(&subjects, &participant, subject, Some(&headers), body(vector).as_bytes())
                .expect(name);
        let written = command_headers(&CommandHeaders {
            id: &command.id,
            budget: command.budget,
            reply_to: &command.reply_to,
            traceparent: command.traceparent.as_deref(),
        });
        assert_eq!(as_json(&written), vector["headers"], "{name}");
        let written: Value = serde_json::from_slice(&command_body(&command.body)).expect("json");
        assert_eq!(written, vector["body"], "{name}");
    }
}

#[test]
fn what_is_no_command_is_refused_with_its_reason() {
    let (vectors, subjects) = (vectors("command"), Subjects::default());
    let participant = Name::new(text(&vectors, "participant")).expect("a name");
    for vector in each(&vectors, "invalid") {
        let (name, headers) = (text(vector, "name"), headers(vector));
        let subject = text(vector, "subject");
        let bad = parse_command(&subjects, &participant, subject, Some(&headers), body(vector).as_bytes())
            .expect_err(name);
        assert_eq!(bad.reason, text(vector, "reason"), "{name}: {bad}");
    }
}

#[test]
fn replies_are_read_and_written_as_the_vectors_say() {
    let (vectors, subjects) = (vectors("reply"), Subjects::default());
    for vector in each(&vectors, "valid") {
        let (name, parsed, headers) = (text(vector, "name"), &vector["parsed"], headers(vector));
        let subject = text(vector, "subject");
        let read = parse_reply(&subjects, subject, Some(&headers), body(vector).as_bytes()).expect(name);
        assert_eq!(read.command.to_string(), text(parsed, "command"), "{name}");
        assert_eq!(read.outcome.word(), text(parsed, "outcome"), "{name}");
        let written = reply(subject, &read.command, &read.outcome);
        assert_eq!(as_json(written.headers.as_ref().expect("headers")), vector["headers"], "{name}");
        let again = parse_reply(&subjects, &written.subject, written.headers.as_ref(), &written.payload);
        assert_eq!(again.expect(name), read, "{name}");
    }
}

#[test]
fn what_is_no_reply_is_refused_with_its_reason() {
    let (vectors, subjects) = (vectors("reply"), Subjects::default());
    for vector in each(&vectors, "invalid") {
        let (name, headers) = (text(vector, "name"), headers(vector));
        let bad = parse_reply(&subjects, text(vector, "subject"), Some(&headers), body(vector).as_bytes())
            .expect_err(name);
        assert_eq!(bad.reason(), text(vector, "reason"), "{name}: {bad}");
        assert!(bad.to_string().starts_with(bad.reason()), "{bad}");
        // What is too large is still known to answer its command.
        assert!(!matches!(bad, BadReply::TooLarge { .. }) || bad.command().is_some());
    }
}

#[test]
fn a_line_break_never_makes_a_second_header() {
    let id = "01936d3e-7f0a-7000-8000-000000000001.reserve.action.1.0".parse().expect("an id");
    let headers = command_headers(&CommandHeaders {
        id: &id,
        budget: Millis(1),
        reply_to: "a\r\nNats-Msg-Id: b",
        traceparent: Some("x\ny"),
    });
    for (_, values) in headers.iter() {
        assert!(values.iter().all(|value| !value.as_str().contains(['\r', '\n'])));
    }
}
