//! The wire's test vectors, as far as they concern this crate's types: ids, subjects and bodies. Headers are checked
//! where they are read, in snorri-bus, from the same files.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use snorri_saga::ids::{CommandId, Name};
use snorri_saga::json::{Json, deeper_than};
use snorri_saga::trace;
use snorri_saga::wire::{
    CommandBody, EndedBody, Outcome, ReplyBody, SignalBody, StartBody, Subjects, header, limit,
};

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).expect("the vectors are JSON")
}

fn each<'a>(vectors: &'a Value, which: &str) -> impl Iterator<Item = &'a Value> {
    let list = vectors[which].as_array().expect("a list");
    assert!(!list.is_empty(), "no {which} vectors");
    list.iter()
}

fn body(vector: &Value) -> String {
    if let Some(text) = vector["body_text"].as_str() {
        return text.to_owned();
    }
    let repeat = &vector["body_repeat"];
    if let Some(part) = repeat["repeat"].as_str() {
        let times = usize::try_from(repeat["times"].as_u64().expect("a number")).expect("a number");
        let text = |name: &str| repeat[name].as_str().expect("a text").to_owned();
        return text("before") + &part.repeat(times) + &text("after");
    }
    vector["body"].to_string()
}

fn value(json: Option<&Json>) -> Value {
    json.map_or(Value::Null, Json::to_value)
}

/// What the types of this crate have against a body, in the order in which a reader must look.
fn complaint<T: DeserializeOwned>(body: &str) -> Option<&'static str> {
    if deeper_than(body.as_bytes(), limit::JSON_DEPTH_MAX + 1) {
        return Some("too_deep");
    }
    serde_json::from_str::<T>(body).err().map(|_| "malformed_body")
}

#[test]
fn command_ids() {
    let vectors = vectors(include_str!("../vectors/command_id.json"));
    for vector in each(&vectors, "valid") {
        let text = vector["text"].as_str().expect("a text");
        let id: CommandId = text.parse().expect(text);
        let parsed = json!({
            "saga": id.effect.saga, "step": id.effect.step, "direction": id.effect.direction,
            "attempt": id.attempt, "sending": id.sending, "effect": id.effect.to_string(),
        });
        assert_eq!(parsed, vector["parsed"], "{text}");
        assert_eq!(id.to_string(), text);
    }
    for text in each(&vectors, "invalid") {
        let text = text.as_str().expect("a text");
        assert!(text.parse::<CommandId>().is_err(), "{text}");
    }
}

#[test]
fn commands() {
    let (vectors, subjects) = (vectors(include_str!("../vectors/command.json")), Subjects::default());
    for vector in each(&vectors, "valid") {
        let (name, parsed) = (&vector["name"], &vector["parsed"]);
        let id: CommandId =
            vector["headers"][header::MESSAGE_ID].as_str().expect("an id").parse().expect("an id");
        let word = |name: &str| Name::new(parsed[name].as_str().expect("a text")).expect("a name");
        assert_eq!(subjects.command(&word("participant"), &word("operation")), vector["subject"], "{name}");
        assert_eq!(
            subjects.reply(&word("participant"), &Name::new("a-1").expect("a name")),
            parsed["reply_to"]
        );
        if let Some(traceparent) = vector["headers"][header::TRACEPARENT].as_str() {
            let effect = &id.effect;
            let span = trace::attempt_span(effect.saga, effect.step.as_str(), effect.direction, id.attempt);
            assert_eq!(trace::traceparent(effect.saga, span, true), traceparent, "{name}");
        }
        let read: CommandBody = serde_json::from_str(&body(vector)).expect("a body");
        assert_eq!(read.input.to_value(), parsed["input"], "{name}");
        assert_eq!(value(read.result.as_ref()), parsed["result"], "{name}");
        assert_eq!(value(read.saga_input.as_ref()), parsed["saga_input"], "{name}");
        let written = serde_json::to_string(&read).expect("json");
        assert_eq!(serde_json::from_str::<CommandBody>(&written).expect("a body"), read, "{name}");
    }
    for vector in each(&vectors, "invalid") {
        let reason = vector["reason"].as_str().expect("a reason");
        if matches!(reason, "malformed_body" | "too_deep") {
            let found = complaint::<CommandBody>(&body(vector));
            assert_eq!(found, Some(reason), "{}", vector["name"]);
        }
    }
}

#[test]
fn replies() {
    let (vectors, subjects) = (vectors(include_str!("../vectors/reply.json")), Subjects::default());
    for vector in each(&vectors, "valid") {
        let (name, parsed) = (&vector["name"], &vector["parsed"]);
        let subject = vector["subject"].as_str().expect("a subject");
        assert_eq!(subjects.participant_of_reply(subject), parsed["participant"].as_str(), "{name}");
        let read: ReplyBody = serde_json::from_str(&body(vector)).expect("a body");
        let outcome = Outcome::from(read);
        let told = match &outcome {
            Outcome::Ok { output, empty } => json!({ "output": output.to_value(), "empty": empty }),
            Outcome::Rejected { code, message, partial } => {
                json!({ "code": code, "message": message, "partial": partial })
            }
            Outcome::Failed { message, retry_after } => {
                json!({ "message": message, "retry_after_ms": retry_after.map(|after| after.0) })
            }
            Outcome::Working | Outcome::Tombstoned => json!({}),
            Outcome::TooLarge { .. } => panic!("{name}: only the door says so"),
        };
        assert_eq!(outcome.word(), parsed["outcome"], "{name}");
        for (field, told) in told.as_object().expect("an object") {
            assert_eq!(told, &parsed[field], "{name}: {field}");
        }
        let written = serde_json::to_string(&ReplyBody::from(outcome.clone())).expect("json");
        let again: ReplyBody = serde_json::from_str(&written).expect("a body");
        assert_eq!(Outcome::from(again), outcome, "{name}");
    }
    for vector in each(&vectors, "invalid") {
        let subject = vector["subject"].as_str().expect("a subject");
        match vector["reason"].as_str().expect("a reason") {
            "wrong_subject" => assert_eq!(subjects.participant_of_reply(subject), None, "{}", vector["name"]),
            // That an undo cannot be tombstoned needs the header.
            "malformed_body" if body(vector).contains("tombstoned") => {}
            reason @ ("malformed_body" | "too_deep") => {
                let found = complaint::<ReplyBody>(&body(vector));
                assert_eq!(found, Some(reason), "{}", vector["name"]);
            }
            "malformed_header" => {
                let command = vector["headers"][header::COMMAND].as_str().unwrap_or_default();
                assert!(command.parse::<CommandId>().is_err(), "{}", vector["name"]);
            }
            reason => assert_eq!(reason, "too_large", "{}", vector["name"]),
        }
    }
}

#[test]
fn starts() {
    let (vectors, subjects) = (vectors(include_str!("../vectors/start.json")), Subjects::default());
    for vector in each(&vectors, "valid") {
        let (name, parsed) = (&vector["name"], &vector["parsed"]);
        let subject = vector["subject"].as_str().expect("a subject");
        assert_eq!(subjects.definition_of_start(subject), parsed["definition"].as_str(), "{name}");
        assert_eq!(vector["headers"][header::KEY], parsed["key"], "{name}");
        assert_eq!(
            vector["headers"].get(header::REPLY_TO).unwrap_or(&Value::Null),
            &parsed["reply_to"],
            "{name}"
        );
        let read: StartBody = serde_json::from_str(&body(vector)).expect("a body");
        let told = json!({ "version": read.version, "input": read.input.to_value(), "tags": read.tags });
        for (field, told) in told.as_object().expect("an object") {
            assert_eq!(told, &parsed[field], "{name}: {field}");
        }
    }
    for vector in each(&vectors, "invalid") {
        let subject = vector["subject"].as_str().expect("a subject");
        match vector["reason"].as_str().expect("a reason") {
            "wrong_subject" => assert_eq!(subjects.definition_of_start(subject), None, "{}", vector["name"]),
            reason => {
                let found = complaint::<StartBody>(&body(vector));
                assert_eq!(found, Some(reason), "{}", vector["name"]);
            }
        }
    }
}

#[test]
fn signals() {
    let (vectors, subjects) = (vectors(include_str!("../vectors/signal.json")), Subjects::default());
    for vector in each(&vectors, "valid") {
        let (name, parsed) = (&vector["name"], &vector["parsed"]);
        let subject = vector["subject"].as_str().expect("a subject");
        let signal = subjects.name_of_signal(subject);
        assert_eq!(signal.as_ref().map(Name::as_str), parsed["name"].as_str(), "{name}");
        assert_eq!(signal.map(|signal| subjects.signal(&signal)).as_deref(), Some(subject), "{name}");
        assert_eq!(vector["headers"][header::KEY], parsed["key"], "{name}");
        let reply_to = vector["headers"].get(header::REPLY_TO).unwrap_or(&Value::Null);
        assert_eq!(reply_to, &parsed["reply_to"], "{name}");
        let read: SignalBody = serde_json::from_str(&body(vector)).expect("a body");
        assert_eq!(json!(read.saga_id), parsed["saga_id"], "{name}");
        assert_eq!(read.payload.to_value(), parsed["payload"], "{name}");
    }
    for vector in each(&vectors, "invalid") {
        let subject = vector["subject"].as_str().expect("a subject");
        match vector["reason"].as_str().expect("a reason") {
            "wrong_subject" => assert_eq!(subjects.name_of_signal(subject), None, "{}", vector["name"]),
            reason => {
                let found = complaint::<SignalBody>(&body(vector));
                assert_eq!(found, Some(reason), "{}", vector["name"]);
            }
        }
    }
}

#[test]
fn endings() {
    let (vectors, subjects) = (vectors(include_str!("../vectors/ended.json")), Subjects::default());
    for vector in each(&vectors, "valid") {
        let (name, parsed) = (&vector["name"], &vector["parsed"]);
        let read: EndedBody = serde_json::from_str(&body(vector)).expect("a body");
        assert_eq!(subjects.ended(&read.definition, &read.status), vector["subject"], "{name}");
        let told = json!({
            "saga_id": read.saga_id, "definition": read.definition, "version": read.version,
            "status": read.status, "cause": read.cause,
            "started_at_us": read.started_at.micros(), "ended_at_us": read.ended_at.micros(),
        });
        for (field, told) in told.as_object().expect("an object") {
            assert_eq!(told, &parsed[field], "{name}: {field}");
        }
    }
    for vector in each(&vectors, "invalid") {
        let found = complaint::<EndedBody>(&body(vector));
        assert_eq!(found, vector["reason"].as_str(), "{}", vector["name"]);
    }
}
