//! The wire: what crosses the broker, as JSON and headers. `docs/protocol.md` is this file in prose, and
//! `sagas/vectors/` its test vectors. Additive only: a removed or changed field is a new version.

use serde::{Deserialize, Serialize};

use crate::ids::{CommandId, Name};
use crate::json::Json;
use crate::time::{Millis, Timestamp};

/// The version of this protocol, in the header [`header::PROTOCOL`] of every command.
pub const PROTOCOL_VERSION: &str = "1";

/// The names of the headers. NATS headers are case-sensitive.
pub mod header {
    /// The command's id; JetStream drops a second message with the same one in its duplicate window.
    pub const MESSAGE_ID: &str = "Nats-Msg-Id";
    /// The version of the protocol.
    pub const PROTOCOL: &str = "Snorri-Protocol";
    /// On an ending: the saga's id.
    pub const SAGA: &str = "Snorri-Saga";
    /// The idempotency key of the effect: the same on every attempt.
    pub const EFFECT: &str = "Snorri-Effect";
    /// How long the orchestrator waits for the answer, in milliseconds from the sending. A duration and
    /// not an instant: clocks differ.
    pub const BUDGET_MS: &str = "Snorri-Budget-Ms";
    /// The subject to answer on. (JetStream owns the message's own reply field.)
    pub const REPLY_TO: &str = "Snorri-Reply-To";
    /// On a command: how many replies one message to that subject may hold. Without it: one.
    pub const REPLIES_MAX: &str = "Snorri-Replies-Max";
    /// On a reply: the id of the command that it answers.
    pub const COMMAND: &str = "Snorri-Command";
    /// On a message of several replies: how many. Each names its command itself.
    pub const REPLIES: &str = "Snorri-Replies";
    /// On a start and on a signal: the idempotency key.
    pub const KEY: &str = "Snorri-Key";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
}

/// The limits of the wire. Refused at the door, so that no message that was accepted can be unsendable.
pub mod limit {
    /// The largest single payload (a saga's input, a step's request, a step's output), in bytes.
    pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
    /// The most that all payloads of one saga may have together, in bytes.
    pub const SAGA_BYTES_MAX: usize = 256 * 1024;
    /// The deepest nesting of objects and lists in a payload.
    pub const JSON_DEPTH_MAX: usize = 64;
    /// The most replies that one message may hold.
    pub const REPLIES_MAX: usize = 64;
    /// The most bytes that a message of several replies may have.
    pub const REPLIES_BYTES_MAX: usize = 256 * 1024;
    /// The longest `message` of a reply that is kept, in characters; the rest is cut.
    pub const MESSAGE_CHARS_MAX: usize = 1000;
}

/// The subjects and streams of one installation. The prefix (default `snorri`) lets several share a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    prefix: Name,
}

impl Default for Subjects {
    fn default() -> Self {
        Self { prefix: Name::new("snorri").expect("`snorri` is a name") }
    }
}

impl Subjects {
    /// The subjects below the given prefix.
    pub fn new(prefix: Name) -> Self {
        Self { prefix }
    }

    /// The prefix itself.
    pub fn prefix(&self) -> &Name {
        &self.prefix
    }

    fn stream(&self, kind: &str) -> String {
        format!("{}_{kind}", self.prefix.as_str().to_uppercase())
    }

    /// The stream of commands.
    pub fn commands_stream(&self) -> String {
        self.stream("COMMANDS")
    }

    /// The stream of replies.
    pub fn replies_stream(&self) -> String {
        self.stream("REPLIES")
    }

    /// The stream of starts.
    pub fn starts_stream(&self) -> String {
        self.stream("STARTS")
    }

    /// The stream of endings.
    pub fn endings_stream(&self) -> String {
        self.stream("ENDINGS")
    }

    /// Where a command goes.
    pub fn command(&self, participant: &Name, operation: &Name) -> String {
        format!("{}.command.{participant}.{operation}", self.prefix)
    }

    /// All commands of one participant.
    pub fn commands_of(&self, participant: &Name) -> String {
        format!("{}.command.{participant}.>", self.prefix)
    }

    /// All commands.
    pub fn commands_all(&self) -> String {
        format!("{}.command.>", self.prefix)
    }

    /// Where a participant answers a command that the given replica sent.
    pub fn reply(&self, participant: &Name, replica: &Name) -> String {
        format!("{}.reply.{participant}.{replica}", self.prefix)
    }

    /// All replies to one replica.
    pub fn replies_to(&self, replica: &Name) -> String {
        format!("{}.reply.*.{replica}", self.prefix)
    }

    /// All replies.
    pub fn replies_all(&self) -> String {
        format!("{}.reply.>", self.prefix)
    }

    /// The participant that a reply's subject names. NATS permissions make it true. Nothing for a subject that
    /// could not be published on: one with white space or a wildcard in it.
    pub fn participant_of_reply<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let mut parts = subject.strip_prefix(self.prefix.as_str())?.strip_prefix(".reply.")?.split('.');
        let (participant, replica) = (parts.next()?, parts.next()?);
        let names = Name::new(participant).is_ok() && Name::new(replica).is_ok();
        if parts.next().is_some() || !names { None } else { Some(participant) }
    }

    /// Where a start goes.
    pub fn start(&self, definition: &Name) -> String {
        format!("{}.start.{definition}", self.prefix)
    }

    /// All starts.
    pub fn starts_all(&self) -> String {
        format!("{}.start.*", self.prefix)
    }

    /// The definition that a start's subject names.
    pub fn definition_of_start<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let name = subject.strip_prefix(self.prefix.as_str())?.strip_prefix(".start.")?;
        if name.is_empty() || name.contains('.') { None } else { Some(name) }
    }

    /// The stream of signals.
    pub fn signals_stream(&self) -> String {
        self.stream("SIGNALS")
    }

    /// Where a signal goes.
    pub fn signal(&self, name: &Name) -> String {
        format!("{}.signal.{name}", self.prefix)
    }

    /// All signals.
    pub fn signals_all(&self) -> String {
        format!("{}.signal.*", self.prefix)
    }

    /// The signal that a signal's subject names.
    pub fn name_of_signal(&self, subject: &str) -> Option<Name> {
        let name = subject.strip_prefix(self.prefix.as_str())?.strip_prefix(".signal.")?;
        Name::new(name).ok()
    }

    /// Where the end of a saga is announced.
    pub fn ended(&self, definition: &Name, status: &str) -> String {
        format!("{}.ended.{definition}.{status}", self.prefix)
    }

    /// All endings.
    pub fn ended_all(&self) -> String {
        format!("{}.ended.>", self.prefix)
    }

    /// The durable consumer of a participant's commands.
    pub fn participant_consumer(&self, participant: &Name) -> String {
        format!("participant-{participant}")
    }

    /// The durable consumer of a replica's replies.
    pub fn replica_consumer(&self, replica: &Name) -> String {
        format!("replica-{replica}")
    }

    /// The durable consumer of starts, shared by all replicas.
    pub fn starts_consumer(&self) -> &'static str {
        "starts"
    }

    /// The durable consumer of signals, shared by all replicas.
    pub fn signals_consumer(&self) -> &'static str {
        "signals"
    }
}

/// The body of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandBody {
    /// What the step was asked to do: the same for the action and for its compensation.
    pub input: Json,
    /// With a compensation: the action's output, or nothing when the action's result is not known.
    #[serde(default, deserialize_with = "crate::json::present", skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// With a compensation: the saga's own input.
    #[serde(default, deserialize_with = "crate::json::present", skip_serializing_if = "Option::is_none")]
    pub saga_input: Option<Json>,
}

/// The body of a reply, as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyBody {
    /// What came of it.
    pub outcome: OutcomeWord,
    /// With `ok`: the output, any JSON.
    #[serde(default, deserialize_with = "crate::json::present", skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// With `ok` to a compensation: there was nothing to undo, and the action can no longer apply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty: bool,
    /// With `rejected`: a stable word for the reason, such as `out_of_stock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// With `rejected`, `failed` and `working`: a sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// With `rejected`: an effect may be left and must be undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// With `failed`: try again no sooner than in so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The outcomes as words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeWord {
    /// Done.
    Ok,
    /// A final no, for a business reason. No effect is left (unless `partial`).
    Rejected,
    /// Not now, try again. No effect is left, and this command will not apply later.
    Failed,
    /// Still at it: the step's timeout begins anew.
    Working,
    /// The barrier holds a compensation of this action: the action did not run and never will.
    Tombstoned,
}

/// What came of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done, with its output.
    Ok {
        /// The output.
        output: Json,
        /// A compensation found nothing to undo and fenced the action off.
        empty: bool,
    },
    /// A final no.
    Rejected {
        /// A stable word for the reason.
        code: String,
        /// A sentence for people.
        message: String,
        /// An effect may be left and must be undone.
        partial: bool,
    },
    /// It was done, and its answer was too large to be read. Only the door says so: no participant has a word for it.
    TooLarge {
        /// How large it was.
        bytes: usize,
    },
    /// Not now, try again.
    Failed {
        /// A sentence for people.
        message: String,
        /// No sooner than in.
        retry_after: Option<Millis>,
    },
    /// Still at it.
    Working,
    /// The action was compensated before it ran, or after.
    Tombstoned,
}

impl Outcome {
    /// The word used on the wire, in metrics and in traces.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ok { .. } => "ok",
            Self::Rejected { .. } | Self::TooLarge { .. } => "rejected",
            Self::Failed { .. } => "failed",
            Self::Working => "working",
            Self::Tombstoned => "tombstoned",
        }
    }
}

/// What to say of an answer that was too large to be read.
pub(crate) fn too_large_to_read(bytes: usize) -> String {
    format!("the reply has {bytes} bytes, which is more than a reply may have")
}

/// Cut to its length, and without the one character that Postgres takes in no text.
fn cut(text: Option<String>) -> String {
    let text = text.unwrap_or_default().replace('\0', "\u{fffd}");
    match text.char_indices().nth(limit::MESSAGE_CHARS_MAX) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

impl From<ReplyBody> for Outcome {
    fn from(body: ReplyBody) -> Self {
        match body.outcome {
            OutcomeWord::Ok => Self::Ok { output: body.output.unwrap_or_else(Json::null), empty: body.empty },
            OutcomeWord::Rejected => Self::Rejected {
                code: cut(Some(body.code.unwrap_or_else(|| "rejected".to_owned()))),
                message: cut(body.message),
                partial: body.partial,
            },
            OutcomeWord::Failed => Self::Failed {
                message: cut(body.message),
                retry_after: body.retry_after_ms.map(|ms| Millis(ms.min(3_600_000))),
            },
            OutcomeWord::Working => Self::Working,
            OutcomeWord::Tombstoned => Self::Tombstoned,
        }
    }
}

impl From<Outcome> for ReplyBody {
    fn from(outcome: Outcome) -> Self {
        let empty = Self {
            outcome: OutcomeWord::Ok,
            output: None,
            empty: false,
            code: None,
            message: None,
            partial: false,
            retry_after_ms: None,
        };
        match outcome {
            Outcome::Ok { output, empty: fenced } => Self { output: Some(output), empty: fenced, ..empty },
            Outcome::Rejected { code, message, partial } => Self {
                outcome: OutcomeWord::Rejected,
                code: Some(code),
                message: Some(message),
                partial,
                ..empty
            },
            // It never goes out; if it did, that would say the same.
            Outcome::TooLarge { bytes } => Self {
                outcome: OutcomeWord::Rejected,
                code: Some("too_large".to_owned()),
                message: Some(too_large_to_read(bytes)),
                partial: true,
                ..empty
            },
            Outcome::Failed { message, retry_after } => Self {
                outcome: OutcomeWord::Failed,
                message: Some(message),
                retry_after_ms: retry_after.map(|after| after.0),
                ..empty
            },
            Outcome::Working => Self { outcome: OutcomeWord::Working, ..empty },
            Outcome::Tombstoned => Self { outcome: OutcomeWord::Tombstoned, ..empty },
        }
    }
}

/// A reply with the command that it answers, parsed from its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The command answered.
    pub command: CommandId,
    /// What came of it.
    pub outcome: Outcome,
}

/// The body of a start, over NATS; over REST it has the definition's name beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    /// The definition's version; the newest when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The saga's input, any JSON.
    #[serde(default = "Json::null")]
    pub input: Json,
    /// Words to find the saga by.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub tags: std::collections::BTreeMap<String, String>,
}

/// The body of a signal, over NATS; over REST the saga is in the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalBody {
    /// The saga that it is for.
    pub saga_id: crate::ids::SagaId,
    /// What it says, any JSON.
    #[serde(default = "Json::null")]
    pub payload: Json,
}

/// The body of the announcement that a saga ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedBody {
    /// The saga.
    pub saga_id: crate::ids::SagaId,
    /// Its definition.
    pub definition: Name,
    /// The definition's version.
    pub version: u32,
    /// `completed`, `compensated` or `closed`.
    pub status: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Why it was not completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_subject_names_its_participant_and_nothing_else_passes() {
        let subjects = Subjects::default();
        let name = |text| Name::new(text).expect("a name");
        let subject = subjects.reply(&name("payments"), &name("a-1"));
        assert_eq!(subjects.participant_of_reply(&subject), Some("payments"));
        for other in [
            "snorri.reply.payments",
            "snorri.reply.a.b.c",
            "other.reply.a.b",
            "snorri.reply..b",
            "snorri.reply.a.",
            "snorri.reply.a.b ",
            "snorri.reply.a.b\t",
            "snorri.reply.a.*",
            "snorri.reply.a.>",
            "snorri.reply.*.b",
        ] {
            assert_eq!(subjects.participant_of_reply(other), None, "{other}");
        }
    }

    #[test]
    fn a_result_that_is_null_is_told_from_a_result_that_is_not_known() {
        let body = |result| CommandBody { input: Json::null(), result, saga_input: None };
        for (body, text) in
            [(body(None), r#"{"input":null}"#), (body(Some(Json::null())), r#"{"input":null,"result":null}"#)]
        {
            assert_eq!(serde_json::to_string(&body).expect("JSON"), text);
            assert_eq!(serde_json::from_str::<CommandBody>(text).expect("a command"), body);
        }
    }

    #[test]
    fn a_very_long_message_is_cut_and_not_refused() {
        let body: ReplyBody = serde_json::from_value(serde_json::json!({
            "outcome": "failed", "message": "é".repeat(5000), "retry_after_ms": u64::MAX
        }))
        .expect("a reply");
        let Outcome::Failed { message, retry_after } = body.into() else { panic!("failed") };
        assert_eq!(message.chars().count(), limit::MESSAGE_CHARS_MAX);
        assert_eq!(retry_after, Some(Millis::secs(3600)));
    }

    #[test]
    fn a_code_that_postgres_would_refuse_is_mended() {
        let body: ReplyBody =
            serde_json::from_str(r#"{"outcome": "rejected", "code": "a\u0000b"}"#).expect("a reply");
        let Outcome::Rejected { code, .. } = body.into() else { panic!("rejected") };
        assert_eq!(code, "a\u{fffd}b");
    }
}
