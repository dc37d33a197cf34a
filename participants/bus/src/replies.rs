//! Several replies in one message. A message costs the broker the same whatever is in it, so that many replies to the same
//! orchestrator are much cheaper together: one publish, one delivery, one acknowledgement.
//!
//! The body is a list: `[{"command":"<id>","reply":{...}}, ...]`, each `reply` what the body of a single one would be.

use std::borrow::Cow;

use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use snorri_saga::ids::CommandId;
use snorri_saga::json::deeper_than;
use snorri_saga::wire::{Reply, Subjects, header, limit};

use crate::bus::Outgoing;
use crate::headers::{BODY_DEPTH_MAX, BadReply, first, parse_body, parse_reply, short, without_data};

const REPLIES: HeaderName = HeaderName::from_static(header::REPLIES);
/// What stands around one reply in a batch, beside the command's id.
const AROUND_BYTES: usize = r#"{"command":"","reply":},"#.len();

/// Collects replies to one subject into one message.
#[derive(Debug)]
pub struct Batch {
    subject: String,
    text: Vec<u8>,
    replies: usize,
}

impl Batch {
    /// An empty one.
    pub fn new(reply_to: &str) -> Self {
        Self { subject: reply_to.to_owned(), text: vec![b'['], replies: 0 }
    }

    /// Whether one more reply with a body of that many bytes may come in.
    pub fn has_room(&self, command: &str, body: &Bytes, replies_max: usize) -> bool {
        let bytes = self.text.len() + command.len() + body.len() + AROUND_BYTES;
        self.replies < replies_max.min(limit::REPLIES_MAX) && bytes <= limit::REPLIES_BYTES_MAX
    }

    /// Adds a reply, whose body was made by [`reply_body`](crate::headers::reply_body).
    pub fn add(&mut self, command: &str, body: &Bytes) {
        if self.replies > 0 {
            self.text.push(b',');
        }
        // An id has no character that JSON would escape.
        self.text.extend_from_slice(br#"{"command":""#);
        self.text.extend_from_slice(command.as_bytes());
        self.text.extend_from_slice(br#"","reply":"#);
        self.text.extend_from_slice(body);
        self.text.push(b'}');
        self.replies += 1;
    }

    /// The message.
    pub fn into_message(mut self) -> Outgoing {
        self.text.push(b']');
        let mut headers = HeaderMap::new();
        headers.insert(REPLIES, self.replies.to_string());
        Outgoing { subject: self.subject, headers: Some(headers), payload: Bytes::from(self.text) }
    }
}

#[derive(Deserialize)]
struct Element<'a> {
    #[serde(borrow)]
    command: Cow<'a, str>,
    #[serde(borrow)]
    reply: &'a RawValue,
}

/// One reply of a message.
#[derive(Debug)]
pub struct Part {
    /// Its text: the message's, or the part of it that is this reply's.
    pub text: Bytes,
    /// What it says.
    pub reply: Result<Reply, BadReply>,
}

/// Reads the reply, or the replies, in a message: at least one part, each judged by itself. Who may answer which command
/// is for the caller to check, with [`Subjects::participant_of_reply`].
pub fn parse_replies(
    subjects: &Subjects,
    subject: &str,
    headers: Option<&HeaderMap>,
    payload: &Bytes,
) -> Vec<Part> {
    let whole = |reply| vec![Part { text: payload.clone(), reply }];
    if first(headers, REPLIES).is_none() {
        return whole(parse_reply(subjects, subject, headers, payload));
    }
    if subjects.participant_of_reply(subject).is_none() {
        return whole(Err(BadReply::WrongSubject(format!("`{}` is not a reply subject", short(subject)))));
    }
    // The elements are found without a look into them, which takes no depth. How many there are the message's size limits.
    let elements: Vec<&RawValue> = match serde_json::from_slice(payload) {
        Ok(elements) => elements,
        Err(error) => return whole(Err(BadReply::MalformedBatch(without_data(&error)))),
    };
    if elements.is_empty() {
        return whole(Err(BadReply::MalformedBatch("an empty list".to_owned())));
    }
    elements
        .into_iter()
        .map(|element| Part {
            text: payload.slice_ref(element.get().as_bytes()),
            reply: parse_element(element.get()),
        })
        .collect()
}

fn parse_element(text: &str) -> Result<Reply, BadReply> {
    // An object around the body.
    if deeper_than(text.as_bytes(), BODY_DEPTH_MAX + 1) {
        return Err(BadReply::MalformedBatch(format!("nested deeper than {} levels", limit::JSON_DEPTH_MAX)));
    }
    let Element { command, reply } =
        serde_json::from_str(text).map_err(|error| BadReply::MalformedBatch(without_data(&error)))?;
    let command: CommandId =
        command.parse().map_err(|error| BadReply::MalformedBatch(format!("command: {error}")))?;
    parse_body(command, reply.get().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::reply_body;
    use snorri_saga::json::Json;
    use snorri_saga::wire::Outcome;

    const SUBJECT: &str = "snorri.reply.payments.one";

    fn command(n: u32) -> String {
        format!("01936d3e-7f0a-7000-8000-000000000001.charge.action.{n}.0")
    }

    fn parse(message: &Outgoing) -> Vec<Result<Reply, BadReply>> {
        let parts =
            parse_replies(&Subjects::default(), &message.subject, message.headers.as_ref(), &message.payload);
        parts.into_iter().map(|part| part.reply).collect()
    }

    #[test]
    fn what_goes_in_comes_out() {
        let bodies = [
            Outcome::Ok { output: Json::parse(r#"{"a":[1e999,"x"]}"#).expect("json"), empty: false },
            Outcome::Rejected { code: "no".to_owned(), message: "\"quoted\"\n".to_owned(), partial: false },
            Outcome::Working,
        ];
        let mut batch = Batch::new(SUBJECT);
        for (n, outcome) in (1..).zip(&bodies) {
            let body = reply_body(outcome);
            assert!(batch.has_room(&command(n), &body, 3));
            batch.add(&command(n), &body);
        }
        assert!(!batch.has_room(&command(4), &Bytes::from_static(b"{}"), 3), "three were allowed");
        let replies = parse(&batch.into_message());
        assert_eq!(replies.len(), 3);
        for ((n, outcome), reply) in (1..).zip(bodies).zip(replies) {
            assert_eq!(reply, Ok(Reply { command: command(n).parse().expect("an id"), outcome }));
        }
    }

    #[test]
    fn a_batch_has_an_end() {
        let mut batch = Batch::new(SUBJECT);
        let body = reply_body(&Outcome::Working);
        let mut added = 0;
        while batch.has_room(&command(1), &body, usize::MAX) {
            batch.add(&command(1), &body);
            added += 1;
        }
        assert_eq!(added, limit::REPLIES_MAX);
        let large = Bytes::from(vec![b'x'; limit::REPLIES_BYTES_MAX]);
        assert!(!Batch::new(SUBJECT).has_room(&command(1), &large, usize::MAX));
    }

    #[test]
    fn one_bad_reply_is_bad_alone_and_a_bad_batch_is_told_as_a_whole() {
        let batch = |text: &str| {
            let mut message = Batch::new(SUBJECT).into_message();
            message.payload = Bytes::copy_from_slice(text.as_bytes());
            parse(&message)
        };
        let (good, id) = (r#"{"outcome":"working"}"#, command(1));
        let element = |reply: &str| format!(r#"{{"command":"{id}","reply":{reply}}}"#);
        let deep = format!(r#"{{"outcome":"ok","output":{}{}}}"#, "[".repeat(80), "]".repeat(80));
        let escaped = element(good).replace("charge", r"\u0063harge");
        for bad in [
            element(r#"{"outcome":"perhaps"}"#),
            element(&deep),
            element(&format!(r#"{{"outcome":"ok","output":"{}"}}"#, "x".repeat(limit::PAYLOAD_BYTES_MAX))),
            format!(r#"{{"command":"x","reply":{good}}}"#),
            format!(r#"{{"reply":{good}}}"#),
            "7".to_owned(),
        ] {
            let what: String = bad.chars().take(60).collect();
            let told = batch(&format!("[{},{bad},{escaped}]", element(good)));
            assert!(matches!(told.as_slice(), [Ok(_), Err(_), Ok(_)]), "{what}: {told:?}");
        }
        for bad in ["", "[]", "{}", "[1", &"[".repeat(200)] {
            let told = batch(bad);
            let what: String = bad.chars().take(40).collect();
            assert!(matches!(told.as_slice(), [Err(BadReply::MalformedBatch(_))]), "{what}: {told:?}");
        }
        let mut elsewhere = Batch::new("snorri.ended.order.completed").into_message();
        elsewhere.payload = Bytes::from_static(b"[]");
        assert!(matches!(parse(&elsewhere).as_slice(), [Err(BadReply::WrongSubject(_))]));
    }

    #[test]
    fn each_part_has_its_own_text() {
        let mut batch = Batch::new(SUBJECT);
        for n in [1, 2] {
            batch.add(&command(n), &reply_body(&Outcome::Working));
        }
        let message = batch.into_message();
        let parts = parse_replies(&Subjects::default(), SUBJECT, message.headers.as_ref(), &message.payload);
        for (n, part) in (1..).zip(parts) {
            let text = format!(r#"{{"command":"{}","reply":{{"outcome":"working"}}}}"#, command(n));
            assert_eq!(part.text, text);
        }
    }
}
