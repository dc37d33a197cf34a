//! A saga as people see it: every step of its definition in order, and what it waits for in plain words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use snorri_saga::decide::forward_deadline;
use snorri_saga::definition::{Definition, Step, StepKind, Work};
use snorri_saga::ids::{Direction, Name, SagaId, StepKey};
use snorri_saga::journal::{Cause, Parent};
use snorri_saga::json::Json;
use snorri_saga::saga::{Failure, Saga, Signalled, StepRun, StepState, Wait};
use snorri_saga::time::Timestamp;

use crate::definitions::Versioned;
use crate::store::search::Line;

/// The word for a saga that this program cannot read or decide.
const QUARANTINED: &str = "quarantined";

/// A saga.
#[derive(Debug, Serialize)]
pub(super) struct SagaView<'a> {
    id: SagaId,
    definition: &'a str,
    version: u32,
    status: &'a str,
    started_at: Timestamp,
    forward_deadline: Timestamp,
    deadline: Timestamp,
    ended_at: Option<Timestamp>,
    /// From start to end; of one that has not ended there is none.
    duration_ms: Option<u64>,
    input: &'a Json,
    tags: &'a BTreeMap<String, String>,
    cause: Option<CauseView<'a>>,
    /// A cancellation that waits for the action under way to be answered.
    stopping: Option<CauseView<'a>>,
    blocked: Option<BlockedView<'a>>,
    /// Where else a person is needed.
    blocked_too: Vec<BlockedView<'a>>,
    at_risk: bool,
    window_missed: bool,
    waiting_for: Option<String>,
    trace_id: String,
    /// The step of another saga that it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a Parent>,
    /// The signals that came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signals: Vec<SignalView<'a>>,
    steps: Vec<StepView<'a>>,
}

#[derive(Debug, Serialize)]
struct CauseView<'a> {
    code: &'a str,
    step: Option<&'a str>,
    message: String,
}

#[derive(Debug, Serialize)]
struct BlockedView<'a> {
    step: Option<&'a str>,
    reason: &'a str,
    message: &'a str,
    since: Timestamp,
}

/// A signal that came.
#[derive(Debug, Serialize)]
struct SignalView<'a> {
    name: &'a str,
    id: &'a str,
    at: Timestamp,
    payload: &'a Json,
    /// The step that took it, if one has.
    taken_by: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct StepView<'a> {
    name: &'a str,
    /// What kind of work it is: `participant`, `saga`, `signal`, `approval` or `delay`.
    work: &'static str,
    participant: Option<&'a str>,
    action: Option<&'a str>,
    /// The sub-saga that it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    child: Option<SagaId>,
    kind: StepKind,
    state: StateWord,
    /// The attempts of the action so far.
    attempt: u32,
    /// An attempt of the action went unanswered: whether it happened is not known.
    unknown: bool,
    /// What the participant was asked, when it is not the saga's own input.
    request: Option<&'a Json>,
    output: Option<Cow<'a, Json>>,
    failure: Option<&'a Failure>,
    begun_at: Option<Timestamp>,
    changed_at: Option<Timestamp>,
    under_way: Option<FlightView>,
    compensation: Option<CompensationView<'a>>,
    /// Of a `for_each` step: what became of each item that was begun.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    iterations: Vec<StepView<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum StateWord {
    Begun(StepState),
    NotBegun(&'static str),
}

/// The attempt under way or planned.
#[derive(Debug, Serialize)]
struct FlightView {
    direction: Direction,
    attempt: u32,
    sent_at: Timestamp,
    /// Until when the answer is awaited.
    awaited_until: Option<Timestamp>,
    /// When it is tried again.
    retry_at: Option<Timestamp>,
}

/// What reverses the step.
#[derive(Debug, Serialize)]
struct CompensationView<'a> {
    action: &'a str,
    /// The attempt under way or planned.
    attempt: Option<u32>,
    /// When its first attempt was made.
    since: Option<Timestamp>,
}

impl<'a> SagaView<'a> {
    /// Puts it together. `line` is the projection: it alone knows of a quarantine.
    pub(super) fn new(saga: &'a Saga, versioned: &'a Versioned, line: Option<&Line>) -> Self {
        let definition = &versioned.definition;
        let quarantine =
            line.filter(|line| is_quarantined(line) && saga.ended_at.is_none()).map(|line| BlockedView {
                step: None,
                reason: QUARANTINED,
                message: "this program cannot move the saga; the replicas' logs have the reason",
                since: line.changed_at,
            });
        let is_quarantine = quarantine.is_some();
        let mut own = saga.blocked.iter().map(|blocked| BlockedView {
            step: Some(blocked.step.as_str()),
            reason: blocked.reason.as_str(),
            message: &blocked.message,
            since: blocked.since,
        });
        let (blocked, blocked_too) = match quarantine {
            Some(quarantine) => (Some(quarantine), own.collect()),
            None => (own.next(), own.collect()),
        };
        let status = if is_quarantine { "blocked" } else { saga.status().as_str() };
        Self {
            id: saga.id,
            definition: saga.definition.as_str(),
            version: saga.version,
            status,
            started_at: saga.started_at,
            forward_deadline: forward_deadline(definition, saga),
            deadline: saga.deadline,
            ended_at: saga.ended_at,
            duration_ms: saga.ended_at.map(|at| at.since(saga.started_at).0),
            input: &saga.input,
            tags: &saga.tags,
            cause: saga.cause.as_ref().map(cause),
            stopping: saga.stopping.as_ref().map(cause),
            blocked,
            blocked_too,
            at_risk: saga.at_risk,
            window_missed: saga.window_missed,
            waiting_for: saga.waiting_for(|step| definition.step(step).map(|(_, step)| step.counterpart())),
            trace_id: saga.id.0.simple().to_string(),
            parent: saga.parent.as_ref(),
            signals: saga.signals.iter().map(signal).collect(),
            steps: views(definition, saga),
        }
    }
}

fn signal(signal: &Signalled) -> SignalView<'_> {
    SignalView {
        name: signal.name.as_str(),
        id: &signal.id,
        at: signal.at,
        payload: &signal.payload,
        taken_by: signal.taken_by.as_ref().map(StepKey::as_str),
    }
}

/// Whether the projection says that this program cannot move the saga.
pub(super) fn is_quarantined(line: &Line) -> bool {
    line.ended_at.is_none() && line.blocked_reason.as_deref() == Some(QUARANTINED)
}

fn cause(cause: &Cause) -> CauseView<'_> {
    CauseView { code: cause.code(), step: cause.step().map(StepKey::as_str), message: cause.to_string() }
}

fn views<'a>(definition: &'a Definition, saga: &'a Saga) -> Vec<StepView<'a>> {
    let mut views = Vec::with_capacity(definition.steps.len());
    for step in &definition.steps {
        let mut of_step = view(step, saga.step(step.name.as_str()), saga);
        let is_iteration =
            |run: &&StepRun| run.key.number().is_some() && run.key.step() == step.name.as_str();
        if step.for_each.is_some() {
            let items: Vec<&StepRun> = saga.steps.iter().filter(is_iteration).collect();
            if let StateWord::Begun(state) = of_step.state {
                of_step.state = StateWord::Begun(of_list(state, &items));
            }
            of_step.output = saga.output(step.name.as_str()).map(Cow::Owned);
            of_step.iterations = items.into_iter().map(|run| view(step, Some(run), saga)).collect();
        }
        views.push(of_step);
    }
    views
}

/// A list that was done is what its items are by now: each of them is undone by itself.
fn of_list(state: StepState, items: &[&StepRun]) -> StepState {
    let any = |is: fn(StepState) -> bool| items.iter().any(|item| is(item.state));
    let is_left = any(|state| matches!(state, StepState::Done | StepState::InDoubt));
    let is_gone = any(|state| matches!(state, StepState::Undone | StepState::Fenced));
    match state {
        StepState::Done if any(|state| state == StepState::Undoing) => StepState::Undoing,
        StepState::Done if is_gone && is_left => StepState::Undoing,
        StepState::Done if is_gone => StepState::Undone,
        other => other,
    }
}

fn view<'a>(step: &'a Step, run: Option<&'a StepRun>, saga: &Saga) -> StepView<'a> {
    let flight = run.and_then(|run| run.flight);
    let undo = flight.filter(|flight| flight.direction == Direction::Compensation);
    StepView {
        name: run.map_or(step.name.as_str(), |run| run.key.as_str()),
        work: match &step.work {
            Work::Participant { .. } => "participant",
            Work::Saga { .. } => "saga",
            Work::Signal { .. } => "signal",
            Work::Approval { .. } => "approval",
            Work::Delay => "delay",
        },
        participant: step.participant().map(Name::as_str),
        action: step.action().map(Name::as_str),
        child: match (&step.work, run) {
            // Of a list each item has a sub-saga of its own.
            (Work::Saga { .. }, Some(run)) if step.for_each.is_none() || run.key.number().is_some() => {
                Some(saga.id.child(&run.key))
            }
            _ => None,
        },
        kind: step.kind,
        state: run.map_or(StateWord::NotBegun("pending"), |run| StateWord::Begun(run.state)),
        attempt: run.map_or(0, |run| run.attempts),
        unknown: run.is_some_and(|run| run.unknown),
        request: run.and_then(|run| run.request.as_ref()),
        output: run.and_then(|run| run.output.as_ref()).map(Cow::Borrowed),
        failure: run.and_then(|run| run.failure.as_ref()),
        begun_at: run.map(|run| run.begun_at),
        changed_at: run.map(|run| run.changed_at),
        under_way: flight.map(|flight| {
            let (awaited_until, retry_at) = match flight.wait {
                Wait::Reply(at) | Wait::Time(at) => (Some(at), None),
                Wait::Retry(at) => (None, Some(at)),
            };
            FlightView {
                direction: flight.direction,
                attempt: flight.attempt,
                sent_at: flight.sent_at,
                awaited_until,
                retry_at,
            }
        }),
        compensation: step.compensation.as_ref().map(|compensation| CompensationView {
            action: compensation.action.as_str(),
            attempt: undo.map(|flight| flight.attempt),
            since: undo.map(|flight| flight.since),
        }),
        iterations: Vec::new(),
    }
}
