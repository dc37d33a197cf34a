//! Headers and bodies: how a command and a reply look as messages, and how they are read back.
//! All of it is pure.

use std::fmt::Write as _;

use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use snorri_saga::ids::{CommandId, Direction, EffectId, Name};
use snorri_saga::json::{Json, deeper_than};
use snorri_saga::time::Millis;
use snorri_saga::wire::{
    CommandBody, Outcome, OutcomeWord, PROTOCOL_VERSION, Reply, ReplyBody, Subjects, header, limit,
};

use crate::bus::Outgoing;

/// What a reply's body may have beside its output.
const REPLY_EXTRA_BYTES_MAX: usize = 16 * 1024;
/// A body is one level deeper than the payload in it.
pub(crate) const BODY_DEPTH_MAX: usize = limit::JSON_DEPTH_MAX + 1;

// As constants, they are neither validated nor copied at each use.
const MESSAGE_ID: HeaderName = HeaderName::from_static(header::MESSAGE_ID);
const PROTOCOL: HeaderName = HeaderName::from_static(header::PROTOCOL);
const EFFECT: HeaderName = HeaderName::from_static(header::EFFECT);
const BUDGET_MS: HeaderName = HeaderName::from_static(header::BUDGET_MS);
const REPLY_TO: HeaderName = HeaderName::from_static(header::REPLY_TO);
const REPLIES_MAX: HeaderName = HeaderName::from_static(header::REPLIES_MAX);
const COMMAND: HeaderName = HeaderName::from_static(header::COMMAND);
const TRACEPARENT: HeaderName = HeaderName::from_static(header::TRACEPARENT);

/// The first value of a header, or nothing when it is missing or the name cannot be one.
pub fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    first(Some(headers), name.parse().ok()?)
}

pub(crate) fn first(headers: Option<&HeaderMap>, name: HeaderName) -> Option<&str> {
    headers?.get(name).map(async_nats::HeaderValue::as_str)
}

/// What goes into a command's headers beside its id.
#[derive(Debug, Clone, Copy)]
pub struct CommandHeaders<'a> {
    /// The command.
    pub id: &'a CommandId,
    /// How long the answer is waited for.
    pub budget: Millis,
    /// Where to answer.
    pub reply_to: &'a str,
    /// W3C trace context.
    pub traceparent: Option<&'a str>,
}

/// The headers of a command.
pub fn command_headers(of: &CommandHeaders<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(PROTOCOL, PROTOCOL_VERSION);
    headers.insert(EFFECT, of.id.effect.to_string());
    headers.insert(BUDGET_MS, of.budget.0.to_string());
    headers.insert(REPLY_TO, one_line(of.reply_to));
    headers.insert(REPLIES_MAX, limit::REPLIES_MAX.to_string());
    if let Some(traceparent) = of.traceparent {
        headers.insert(TRACEPARENT, one_line(traceparent));
    }
    headers.insert(MESSAGE_ID, of.id.to_string());
    headers
}

/// A header's value ends at a line break; nothing that is sent may have one.
fn one_line(text: &str) -> &str {
    text.split(['\r', '\n']).next().unwrap_or_default()
}

/// The body of a command, as bytes.
pub fn command_body(body: &CommandBody) -> Bytes {
    // Written by hand: the parts are JSON text already.
    let mut text = String::with_capacity(
        body.input.len()
            + body.result.as_ref().map_or(0, Json::len)
            + body.saga_input.as_ref().map_or(0, Json::len)
            + 64,
    );
    text.push_str(r#"{"input":"#);
    text.push_str(body.input.get());
    if let Some(result) = &body.result {
        text.push_str(r#","result":"#);
        text.push_str(result.get());
    }
    if let Some(saga_input) = &body.saga_input {
        text.push_str(r#","saga_input":"#);
        text.push_str(saga_input.get());
    }
    text.push('}');
    Bytes::from(text)
}

/// A command as a participant received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedCommand {
    /// Its id.
    pub id: CommandId,
    /// What is to be done.
    pub operation: Name,
    /// How long the orchestrator waits for the answer, from the sending.
    pub budget: Millis,
    /// Where to answer; below this participant's own reply subjects.
    pub reply_to: String,
    /// How many replies one message to there may hold.
    pub replies_max: usize,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Its body.
    pub body: CommandBody,
}

impl ReceivedCommand {
    /// The effect, the business idempotency key.
    pub fn effect(&self) -> &EffectId {
        &self.id.effect
    }
}

/// Why a command is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {text}")]
pub struct BadCommand {
    /// `wrong_subject`, `unsupported_protocol`, `malformed_header`, `malformed_body`, `too_large` or `too_deep`.
    pub reason: &'static str,
    /// What is wrong, for people.
    pub text: String,
}

fn bad_command(reason: &'static str, text: impl Into<String>) -> BadCommand {
    BadCommand { reason, text: text.into() }
}

/// How long to wait for an answer when a command does not say so.
const BUDGET_DEFAULT: Millis = Millis::secs(30);

/// Reads a command that the given participant received.
pub fn parse_command(
    subjects: &Subjects,
    participant: &Name,
    subject: &str,
    headers: Option<&HeaderMap>,
    payload: &[u8],
) -> Result<ReceivedCommand, BadCommand> {
    let operation = subject
        .strip_prefix(subjects.prefix().as_str())
        .and_then(|rest| rest.strip_prefix(".command."))
        .and_then(|rest| rest.strip_prefix(participant.as_str()))
        .and_then(|rest| rest.strip_prefix('.'))
        .ok_or_else(|| {
            bad_command("wrong_subject", format!("`{}` is no command for here", short(subject)))
        })?;
    let operation = Name::new(operation).map_err(|error| bad_command("wrong_subject", error.to_string()))?;

    let required = |name: HeaderName| {
        let text = name.to_string();
        first(headers, name).ok_or_else(|| bad_command("malformed_header", format!("{text} is missing")))
    };
    let protocol = first(headers, PROTOCOL).unwrap_or(PROTOCOL_VERSION);
    if protocol != PROTOCOL_VERSION {
        let text = format!("protocol {}, spoken here: {PROTOCOL_VERSION}", short(protocol));
        return Err(bad_command("unsupported_protocol", text));
    }
    let id: CommandId = required(MESSAGE_ID)?
        .parse()
        .map_err(|error| bad_command("malformed_header", format!("{MESSAGE_ID}: {error}")))?;
    let budget = match first(headers, BUDGET_MS) {
        None => BUDGET_DEFAULT,
        Some(text) => text.parse().map(Millis).map_err(|_| {
            bad_command(
                "malformed_header",
                format!("{BUDGET_MS}: `{}` is no number of milliseconds", short(text)),
            )
        })?,
    };
    let reply_to = required(REPLY_TO)?;
    // Whoever can write a command must not be able to make this participant answer for another.
    if subjects.participant_of_reply(reply_to) != Some(participant.as_str()) {
        let text = format!("{REPLY_TO}: `{}` is not a reply subject of {participant}", short(reply_to));
        return Err(bad_command("wrong_subject", text));
    }
    let body = parse_command_body(payload)?;
    Ok(ReceivedCommand {
        id,
        operation,
        budget,
        reply_to: reply_to.to_owned(),
        // One that cannot be read is a promise not given.
        replies_max: first(headers, REPLIES_MAX)
            .and_then(|text| text.parse().ok())
            .unwrap_or(1)
            .clamp(1, limit::REPLIES_MAX),
        traceparent: first(headers, TRACEPARENT).map(str::to_owned),
        body,
    })
}

fn parse_command_body(payload: &[u8]) -> Result<CommandBody, BadCommand> {
    if payload.len() > limit::SAGA_BYTES_MAX {
        let text = format!("{} bytes, allowed are {}", payload.len(), limit::SAGA_BYTES_MAX);
        return Err(bad_command("too_large", text));
    }
    if deeper_than(payload, BODY_DEPTH_MAX) {
        let text = format!("nested deeper than {} levels", limit::JSON_DEPTH_MAX);
        return Err(bad_command("too_deep", text));
    }
    let body: CommandBody = serde_json::from_slice(payload)
        .map_err(|error| bad_command("malformed_body", without_data(&error)))?;
    let payloads = [
        ("input", Some(&body.input)),
        ("result", body.result.as_ref()),
        ("saga_input", body.saga_input.as_ref()),
    ];
    for (name, payload) in payloads {
        if let Some(payload) = payload.filter(|payload| payload.len() > limit::PAYLOAD_BYTES_MAX) {
            let text =
                format!("{name} has {} bytes, allowed are {}", payload.len(), limit::PAYLOAD_BYTES_MAX);
            return Err(bad_command("too_large", text));
        }
    }
    Ok(body)
}

/// Where a JSON text is wrong, without a word of the text itself.
pub(crate) fn without_data(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "not of the expected form",
        serde_json::error::Category::Eof => "the JSON text ends too early",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "not JSON",
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}

pub(crate) fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// A reply as a message.
pub fn reply(reply_to: &str, command: &CommandId, outcome: &Outcome) -> Outgoing {
    reply_with_body(reply_to, command, reply_body(outcome))
}

/// A reply as a message, with a body that was made before by [`reply_body`].
pub fn reply_with_body(reply_to: &str, command: &CommandId, body: Bytes) -> Outgoing {
    let mut headers = HeaderMap::new();
    // No message id: a participant's answer to a second delivery must not be taken for a duplicate.
    headers.insert(COMMAND, command.to_string());
    Outgoing { subject: reply_to.to_owned(), headers: Some(headers), payload: body }
}

/// The body of a reply, as bytes.
pub fn reply_body(outcome: &Outcome) -> Bytes {
    if let Outcome::Ok { output, empty } = outcome {
        // The most frequent one, and its output is JSON text already.
        let mut text = String::with_capacity(output.len() + 48);
        let _ = write!(text, r#"{{"outcome":"ok","output":{}"#, output.get());
        if *empty {
            text.push_str(r#","empty":true"#);
        }
        text.push('}');
        return Bytes::from(text);
    }
    // Strings, numbers and booleans: writing them cannot fail.
    Bytes::from(serde_json::to_vec(&ReplyBody::from(outcome.clone())).unwrap_or_default())
}

/// Why a reply is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// It came on a subject that names no participant.
    #[error("wrong_subject: {0}")]
    WrongSubject(String),
    /// The header that names the command is missing or cannot be read.
    #[error("malformed_header: {0}")]
    MalformedHeader(String),
    /// It says to be several replies and is none.
    #[error("malformed_batch: {0}")]
    MalformedBatch(String),
    /// The body is no reply.
    #[error("malformed_body: {text}")]
    MalformedBody {
        /// The command that it says to answer.
        command: CommandId,
        /// What is wrong.
        text: String,
    },
    /// The body nests too deep.
    #[error("too_deep: nested deeper than {} levels", limit::JSON_DEPTH_MAX)]
    TooDeep {
        /// The command that it says to answer.
        command: CommandId,
    },
    /// The output is too large. This one counts as `rejected (too_large)` of its step.
    #[error("too_large: {bytes} bytes, allowed are {}", limit::PAYLOAD_BYTES_MAX)]
    TooLarge {
        /// The command that it answers.
        command: CommandId,
        /// The size.
        bytes: usize,
    },
}

impl BadReply {
    /// The reason as a word, for metrics and dead letters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::WrongSubject(_) => "wrong_subject",
            Self::MalformedHeader(_) => "malformed_header",
            Self::MalformedBatch(_) => "malformed_batch",
            Self::MalformedBody { .. } => "malformed_body",
            Self::TooDeep { .. } => "too_deep",
            Self::TooLarge { .. } => "too_large",
        }
    }

    /// The command that the reply names, when it names one.
    pub fn command(&self) -> Option<&CommandId> {
        match self {
            Self::WrongSubject(_) | Self::MalformedHeader(_) | Self::MalformedBatch(_) => None,
            Self::MalformedBody { command, .. }
            | Self::TooDeep { command }
            | Self::TooLarge { command, .. } => Some(command),
        }
    }
}

/// Reads a reply. Who may answer which command is for the caller to check, with
/// [`Subjects::participant_of_reply`].
pub fn parse_reply(
    subjects: &Subjects,
    subject: &str,
    headers: Option<&HeaderMap>,
    payload: &[u8],
) -> Result<Reply, BadReply> {
    if subjects.participant_of_reply(subject).is_none() {
        return Err(BadReply::WrongSubject(format!("`{}` is not a reply subject", short(subject))));
    }
    let command: CommandId = first(headers, COMMAND)
        .ok_or_else(|| BadReply::MalformedHeader(format!("{COMMAND} is missing")))?
        .parse()
        .map_err(|error| BadReply::MalformedHeader(format!("{COMMAND}: {error}")))?;
    parse_body(command, payload)
}

/// Reads the body of the reply to a command.
pub(crate) fn parse_body(command: CommandId, payload: &[u8]) -> Result<Reply, BadReply> {
    if payload.len() > limit::PAYLOAD_BYTES_MAX + REPLY_EXTRA_BYTES_MAX {
        return Err(BadReply::TooLarge { command, bytes: payload.len() });
    }
    if deeper_than(payload, BODY_DEPTH_MAX) {
        return Err(BadReply::TooDeep { command });
    }
    let body: ReplyBody = match serde_json::from_slice(payload) {
        Ok(body) => body,
        Err(error) => return Err(BadReply::MalformedBody { command, text: without_data(&error) }),
    };
    if let Some(bytes) = body.output.as_ref().map(Json::len).filter(|bytes| *bytes > limit::PAYLOAD_BYTES_MAX)
    {
        return Err(BadReply::TooLarge { command, bytes });
    }
    if body.outcome == OutcomeWord::Tombstoned && command.effect.direction == Direction::Compensation {
        let text = "`tombstoned` answers actions only".to_owned();
        return Err(BadReply::MalformedBody { command, text });
    }
    Ok(Reply { command, outcome: body.into() })
}
