//! One saga's journal, read as plain JSON: what it says of the saga, told without the orchestrator's own types.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sqlx::types::time::OffsetDateTime;
use time::Duration;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{Findings, Invariant, Why};

/// A saga is given up when the next attempt would come after the time for going forwards: at most so long before it.
const PAUSE_MAX: Duration = Duration::seconds(30);

/// A row of the journal.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct JournalRow {
    pub(super) saga_id: Uuid,
    pub(super) seq: i32,
    pub(super) at: OffsetDateTime,
    pub(super) events: String,
}

/// What the journal of one saga comes to.
#[derive(Debug, Default)]
pub(super) struct Story {
    rows: i32,
    definition: Option<String>,
    version: Option<i64>,
    pub(super) key: Option<String>,
    forward_deadline: Option<OffsetDateTime>,
    deadline: Option<OffsetDateTime>,
    pub(super) started_at: Option<OffsetDateTime>,
    pub(super) ended_at: Option<OffsetDateTime>,
    end: Option<String>,
    is_compensating: bool,
    /// Why it was turned round, if it was.
    pub(super) why: Option<Why>,
    /// How many attempts of each step's action were sent.
    attempts: BTreeMap<String, u64>,
    /// The pivot was sent: what follows must be done, however late it is.
    is_past_pivot: bool,
    blocked: BTreeSet<String>,
}

/// The saga's row, which is only a projection.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct SagaRow {
    pub(super) id: Uuid,
    pub(super) definition: String,
    pub(super) version: i32,
    pub(super) status: String,
    pub(super) started_at: OffsetDateTime,
    pub(super) deadline: OffsetDateTime,
    pub(super) ended_at: Option<OffsetDateTime>,
}

impl Story {
    /// Reads the next row, in the order of `seq`.
    pub(super) fn read(&mut self, row: &JournalRow, findings: &mut Findings) {
        let saga = row.saga_id;
        let wrong = |findings: &mut Findings, what: String| {
            findings.wrong(Invariant::JournalAgrees, format!("saga {saga}, journal {}: {what}", row.seq));
        };
        self.rows += 1;
        if row.seq != self.rows {
            wrong(findings, format!("{} was expected: the journal has a gap", self.rows));
            self.rows = row.seq;
        }
        let events = match serde_json::from_str::<Value>(&row.events) {
            Ok(Value::Array(events)) if !events.is_empty() => events,
            _ => return wrong(findings, "the events are not a list, or an empty one".to_owned()),
        };
        for event in &events {
            // A fact without details is a word, any other an object with the word as its only key.
            let (kind, fields) = match event {
                Value::String(kind) => (kind.as_str(), &Value::Null),
                Value::Object(object) if object.len() == 1 => match object.iter().next() {
                    Some((kind, fields)) => (kind.as_str(), fields),
                    None => continue,
                },
                _ => {
                    wrong(findings, format!("an event that is none: {event}"));
                    continue;
                }
            };
            if (kind == "started") != self.started_at.is_none() {
                wrong(
                    findings,
                    format!(
                        "`{kind}` where the journal {}",
                        if kind == "started" { "has begun" } else { "begins" }
                    ),
                );
            }
            // A success that nobody waits for any more is written down whenever it comes; nothing else is.
            if self.ended_at.is_some() && kind != "late_reply" {
                wrong(findings, format!("`{kind}` after the end"));
            }
            if let Some(late) = self.tell(row.at, kind, fields) {
                findings.checked(Invariant::NoLateStep, 1);
                if late {
                    findings.wrong(
                        Invariant::NoLateStep,
                        format!(
                            "saga {saga}, journal {}: {} begins after the forward deadline",
                            row.seq,
                            text(fields, "step")
                        ),
                    );
                }
            }
        }
    }

    /// Takes one event in. Says of an action that begins before the pivot whether it begins too late.
    fn tell(&mut self, at: OffsetDateTime, kind: &str, fields: &Value) -> Option<bool> {
        match kind {
            "started" => {
                self.started_at = Some(at);
                self.definition = Some(text(fields, "definition"));
                self.version = fields.get("version").and_then(Value::as_i64);
                self.key = fields.get("key").and_then(Value::as_str).map(str::to_owned);
                self.forward_deadline = time_of(fields, "forward_deadline");
                self.deadline = time_of(fields, "deadline");
            }
            "sent" => {
                let is_action = text(fields, "direction") == "action";
                if is_action {
                    let attempt = fields.get("attempt").and_then(Value::as_u64).unwrap_or(0);
                    let most = self.attempts.entry(text(fields, "step")).or_default();
                    *most = attempt.max(*most);
                }
                let is_first = fields.get("attempt").and_then(Value::as_u64) == Some(1);
                self.is_past_pivot |= fields.get("pivot").and_then(Value::as_bool) == Some(true);
                let is_bound = !self.is_past_pivot;
                if is_action && is_first && is_bound {
                    return Some(self.forward_deadline.is_none_or(|deadline| at >= deadline));
                }
            }
            "compensation_began" => {
                self.is_compensating = true;
                self.why = Some(self.why_of(at, fields.get("cause").unwrap_or(&Value::Null)));
            }
            "blocked" => {
                self.blocked.insert(text(fields, "step"));
            }
            "unblocked" => {
                self.blocked.remove(&text(fields, "step"));
            }
            "ended" => {
                self.ended_at = Some(at);
                self.end = Some(text(fields, "end"));
            }
            _ => {}
        }
        None
    }

    /// Reads a cause: an object with its kind as the only key.
    fn why_of(&self, at: OffsetDateTime, cause: &Value) -> Why {
        let Some((kind, fields)) = cause.as_object().and_then(|cause| cause.iter().next()) else {
            return Why::default();
        };
        let step = text(fields, "step");
        Why {
            kind: kind.clone(),
            code: text(fields, "code"),
            attempts: self.attempts.get(&step).copied().unwrap_or(0),
            step,
            is_late: self.forward_deadline.is_some_and(|deadline| at + PAUSE_MAX >= deadline),
        }
    }

    /// The status that follows from the journal.
    fn status(&self) -> &str {
        match &self.end {
            Some(end) => end,
            None if !self.blocked.is_empty() => "blocked",
            None if self.is_compensating => "compensating",
            None => "running",
        }
    }

    /// Whether the saga's row says the same.
    pub(super) fn agrees(&self, row: &SagaRow, findings: &mut Findings) {
        findings.checked(Invariant::JournalAgrees, 1);
        let mut same = |what: &str, by_row: String, by_journal: String| {
            if by_row != by_journal {
                findings.wrong(
                    Invariant::JournalAgrees,
                    format!("saga {}: {what} is {by_row} by its row and {by_journal} by its journal", row.id),
                );
            }
        };
        let time = |time: Option<OffsetDateTime>| time.map_or("never".to_owned(), |time| time.to_string());
        same("the status", row.status.clone(), self.status().to_owned());
        same("the end", time(row.ended_at), time(self.ended_at));
        same("the beginning", time(Some(row.started_at)), time(self.started_at));
        same("the deadline", time(Some(row.deadline)), time(self.deadline));
        let by_journal =
            format!("{} {}", self.definition.as_deref().unwrap_or("?"), self.version.unwrap_or_default());
        same("the definition", format!("{} {}", row.definition, row.version), by_journal);
    }
}

fn text(fields: &Value, name: &str) -> String {
    fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn time_of(fields: &Value, name: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(fields.get(name)?.as_str()?, &Rfc3339).ok()
}
