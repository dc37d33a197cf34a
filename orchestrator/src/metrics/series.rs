//! The series: what is registered, and the ones of each definition and participant, looked up once.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use snorri_saga::ids::{Direction, Name};
use snorri_saga::journal::{Cause, End};

use super::labels::{
    ByCause, ByCovered, ByDefinition, ByDirection, ByNeutralised, ByOutcome, ByReason, ByReply, ByRoute,
    ByStatus, ByVersion, NameLabel, TraceId,
};
use crate::telemetry::answers::AttemptOutcome;

/// The most definitions, and the most participants, that have series of their own. Anybody who may submit
/// definitions may invent names; the rest are counted as `other`.
const NAMES_MAX: usize = 1000;

/// From start to end. The default window, 300 s, is a bound of its own, and so is a participant's blink.
const SAGA_BUCKETS: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];
const STEP_BUCKETS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];
const IO_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
const HTTP_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Reasons are there from the start, at zero: an increase from nothing to one is no increase to Prometheus,
/// and the first dead letter would raise no alert.
const DEAD_LETTER_REASONS: [&str; 19] = [
    "wrong_subject",
    "malformed_header",
    "malformed_body",
    "too_deep",
    "never_sent",
    "wrong_participant",
    "unknown_saga",
    "bad_reply_to",
    "bad-request",
    "too-large",
    "too-deep",
    "unknown-definition",
    "key-reused",
    "invalid-input",
    "unknown-saga",
    "not-awaited",
    "ended",
    "saga-too-large",
    "internal",
];
const REFUSAL_REASONS: [&str; 7] =
    ["live_sagas", "live_bytes", "queue", "postgres", "rate", "requests", "waits"];
const IGNORED_REASONS: [&str; 6] =
    ["ended", "duplicate", "stale", "never_sent", "nothing_due", "unknown_saga"];

/// What a signal, and what a decision, may be answered.
const SIGNAL_OUTCOMES: [&str; 10] = [
    "taken",
    "kept",
    "replayed",
    "not_awaited",
    "ended",
    "key_reused",
    "too_large",
    "unknown_saga",
    "unavailable",
    "overloaded",
];
const DECISION_OUTCOMES: [&str; 9] = [
    "approved",
    "refused",
    "replayed",
    "decided",
    "not_awaited",
    "ended",
    "unknown_saga",
    "unavailable",
    "overloaded",
];

/// What may come of a submission, and how far it may have been explored.
const SUBMISSION_OUTCOMES: [&str; 8] =
    ["new", "same", "invalid", "unreadable", "too_large", "bad_request", "overloaded", "unavailable"];
const COVERED: [&str; 4] = ["all", "no_fault", "nothing", "violation"];

/// The kinds of causes; the code that a participant gave is no label, since it may be anything.
const CAUSES: [&str; 8] = [
    "rejected",
    "failed",
    "timed_out",
    "forward_budget",
    "not_sent",
    "cancelled",
    "tombstoned",
    "parent_undone",
];

/// The place of a cause among [`CAUSES`].
pub(super) fn cause_index(cause: &Cause) -> usize {
    match cause {
        Cause::Rejected { .. } => 0,
        Cause::Failed { .. } => 1,
        Cause::TimedOut { .. } => 2,
        Cause::ForwardBudget { .. } => 3,
        Cause::NotSent { .. } => 4,
        Cause::Cancelled { .. } => 5,
        Cause::Tombstoned { .. } => 6,
        Cause::Parent { .. } => 7,
    }
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
type SagaHistogram = HistogramWithExemplars<TraceId>;

/// Everything that is registered.
#[derive(Debug)]
pub(super) struct Series {
    sagas_started: Family<ByDefinition, Counter>,
    sagas_ended: Family<ByStatus, Counter>,
    saga_causes: Family<ByCause, Counter>,
    saga_duration: Family<ByStatus, SagaHistogram, fn() -> SagaHistogram>,
    step_attempts: Family<ByOutcome, Counter>,
    step_duration: Histograms<ByDirection>,
    pub(super) sagas_live: Gauge,
    pub(super) sagas_blocked: Gauge,
    pub(super) sagas_resting: Gauge,
    pub(super) windows_at_risk: Counter,
    pub(super) windows_missed: Counter,
    pub(super) dead_letters: Family<ByReason, Counter>,
    pub(super) replies_ignored: Family<ByReason, Counter>,
    pub(super) late_replies: Family<ByNeutralised, Counter>,
    pub(super) commit_seconds: Histogram,
    pub(super) commit_batch_size: Histogram,
    pub(super) publish_seconds: Histogram,
    pub(super) publish_failures: Counter,
    pub(super) http_requests: Histograms<ByRoute>,
    pub(super) starts_refused: Family<ByReason, Counter>,
    pub(super) signals: Family<ByReply, Counter>,
    pub(super) decisions: Family<ByReply, Counter>,
    pub(super) submissions: Family<ByReply, Counter>,
    pub(super) exploration_seconds: Histograms<ByCovered>,
    pub(super) takeovers: Counter,
    pub(super) sagas_taken_over: Counter,
    pub(super) races_lost: Counter,
    pub(super) quarantined: Counter,
    pub(super) letters_waiting: Gauge,
    pub(super) letters_dropped: Counter,
    pub(super) sub_sagas_held_back: Counter,
    pub(super) postgres_up: Gauge,
    pub(super) nats_up: Gauge,
    pub(super) announcements_owed: Gauge,
}

impl Series {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let series = Self {
            sagas_started: Family::default(),
            sagas_ended: Family::default(),
            saga_causes: Family::default(),
            saga_duration: Family::new_with_constructor(|| {
                HistogramWithExemplars::new(SAGA_BUCKETS.into_iter())
            }),
            step_attempts: Family::default(),
            step_duration: Family::new_with_constructor(|| Histogram::new(STEP_BUCKETS)),
            sagas_live: Gauge::default(),
            sagas_blocked: Gauge::default(),
            sagas_resting: Gauge::default(),
            windows_at_risk: Counter::default(),
            windows_missed: Counter::default(),
            dead_letters: Family::default(),
            replies_ignored: Family::default(),
            late_replies: Family::default(),
            commit_seconds: Histogram::new(IO_BUCKETS),
            commit_batch_size: Histogram::new(BATCH_BUCKETS),
            publish_seconds: Histogram::new(IO_BUCKETS),
            publish_failures: Counter::default(),
            http_requests: Family::new_with_constructor(|| Histogram::new(HTTP_BUCKETS)),
            starts_refused: Family::default(),
            signals: Family::default(),
            decisions: Family::default(),
            submissions: Family::default(),
            exploration_seconds: Family::new_with_constructor(|| Histogram::new(IO_BUCKETS)),
            takeovers: Counter::default(),
            sagas_taken_over: Counter::default(),
            races_lost: Counter::default(),
            quarantined: Counter::default(),
            letters_waiting: Gauge::default(),
            letters_dropped: Counter::default(),
            sub_sagas_held_back: Counter::default(),
            postgres_up: Gauge::default(),
            nats_up: Gauge::default(),
            announcements_owed: Gauge::default(),
        };
        series.start_at_zero();
        series.enter_sagas(registry);
        series.enter_engine(registry);
        registry.register(
            "snorri_build",
            "The version that runs",
            Info::new(ByVersion { version: env!("CARGO_PKG_VERSION") }),
        );
        series
    }

    fn start_at_zero(&self) {
        for (family, reasons) in [
            (&self.dead_letters, DEAD_LETTER_REASONS.as_slice()),
            (&self.starts_refused, REFUSAL_REASONS.as_slice()),
            (&self.replies_ignored, IGNORED_REASONS.as_slice()),
        ] {
            for reason in reasons {
                drop(family.get_or_create(&ByReason { reason }));
            }
        }
        for (family, outcomes) in [
            (&self.signals, SIGNAL_OUTCOMES.as_slice()),
            (&self.decisions, DECISION_OUTCOMES.as_slice()),
            (&self.submissions, SUBMISSION_OUTCOMES.as_slice()),
        ] {
            for outcome in outcomes {
                drop(family.get_or_create(&ByReply { outcome }));
            }
        }
        for covered in COVERED {
            drop(self.exploration_seconds.get_or_create(&ByCovered { covered }));
        }
        for neutralised in ["true", "false"] {
            drop(self.late_replies.get_or_create(&ByNeutralised { neutralised }));
        }
    }

    fn enter_sagas(&self, to: &mut Registry) {
        to.register("snorri_sagas_started", "Sagas that were accepted", self.sagas_started.clone());
        to.register("snorri_sagas_ended", "Sagas that ended, by how", self.sagas_ended.clone());
        to.register("snorri_saga_causes", "Sagas that turned round, by why", self.saga_causes.clone());
        to.register(
            "snorri_sagas_resting",
            "Sagas that wait for long and are in no memory, of all replicas together (take the max, not the sum)",
            self.sagas_resting.clone(),
        );
        to.register("snorri_signals", "Signals that came, by what was answered", self.signals.clone());
        to.register(
            "snorri_decisions",
            "Decisions on approvals that came, by what was answered",
            self.decisions.clone(),
        );
        to.register(
            "snorri_saga_duration_seconds",
            "Time from a saga's start to its end",
            self.saga_duration.clone(),
        );
        to.register("snorri_sagas_live", "Live sagas in this replica's memory", self.sagas_live.clone());
        to.register(
            "snorri_sagas_blocked",
            "Sagas that wait for a person, of all replicas together (take the max, not the sum)",
            self.sagas_blocked.clone(),
        );
        to.register(
            "snorri_step_attempts",
            "Attempts of steps, by what came of them; unknown is no answer in time",
            self.step_attempts.clone(),
        );
        to.register(
            "snorri_step_duration_seconds",
            "Time from a command to its answer",
            self.step_duration.clone(),
        );
        to.register(
            "snorri_saga_windows_at_risk",
            "Sagas that were live when nine tenths of their window were gone",
            self.windows_at_risk.clone(),
        );
        to.register(
            "snorri_saga_windows_missed",
            "Sagas that were live at the end of their window",
            self.windows_missed.clone(),
        );
    }

    fn enter_engine(&self, to: &mut Registry) {
        to.register("snorri_dead_letters", "Messages that were put aside", self.dead_letters.clone());
        to.register("snorri_replies_ignored", "Replies that changed nothing", self.replies_ignored.clone());
        to.register(
            "snorri_late_replies",
            "Successes that came after compensation began, by whether their effect is undone or may stay",
            self.late_replies.clone(),
        );
        to.register("snorri_commit_seconds", "Time of one commit", self.commit_seconds.clone());
        to.register("snorri_commit_batch_size", "Transitions in one commit", self.commit_batch_size.clone());
        to.register(
            "snorri_publish_seconds",
            "Time until JetStream acknowledged one batch of messages",
            self.publish_seconds.clone(),
        );
        to.register(
            "snorri_publish_failures",
            "Sagas whose messages were not acknowledged and are sent again",
            self.publish_failures.clone(),
        );
        to.register("snorri_http_requests_seconds", "Time of one request", self.http_requests.clone());
        to.register("snorri_starts_refused", "Starts that were not accepted", self.starts_refused.clone());
        to.register(
            "snorri_submissions",
            "Definitions that were submitted, by what came of it",
            self.submissions.clone(),
        );
        to.register(
            "snorri_exploration_seconds",
            "Time of exploring one definition, by what was covered; nothing is a definition with too many ways to run",
            self.exploration_seconds.clone(),
        );
        to.register("snorri_takeovers", "Replicas that were taken over from", self.takeovers.clone());
        to.register(
            "snorri_sagas_taken_over",
            "Live sagas that were taken over",
            self.sagas_taken_over.clone(),
        );
        to.register(
            "snorri_races_lost",
            "Transitions that another writer was faster with; they were decided again",
            self.races_lost.clone(),
        );
        to.register(
            "snorri_quarantined",
            "Sagas that were put aside because they cannot be read or decided",
            self.quarantined.clone(),
        );
        to.register(
            "snorri_letters_waiting",
            "What sagas and their sub-sagas say to each other and what is not handed over yet",
            self.letters_waiting.clone(),
        );
        to.register(
            "snorri_letters_dropped",
            "The same, dropped because too much waits; it is said again later",
            self.letters_dropped.clone(),
        );
        to.register(
            "snorri_sub_sagas_held_back",
            "Times that a sub-saga was not begun yet because this replica has too many live sagas",
            self.sub_sagas_held_back.clone(),
        );
        to.register("snorri_postgres_up", "1 when Postgres takes commits", self.postgres_up.clone());
        to.register("snorri_nats_up", "1 when NATS is connected", self.nats_up.clone());
        to.register(
            "snorri_announcements_owed_seconds",
            "For how long ends wait to be announced",
            self.announcements_owed.clone(),
        );
    }

    pub(super) fn of_definition(&self, name: &Name) -> OfDefinition {
        let definition = NameLabel(name.clone());
        OfDefinition {
            started: self.sagas_started.get_or_create_owned(&ByDefinition { definition }),
            name: name.clone(),
            completed: OnceLock::new(),
            compensated: OnceLock::new(),
            causes: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    pub(super) fn of_participant(&self, name: &Name) -> OfParticipant {
        let of = |direction: Direction| {
            let direction = direction.as_str();
            let counter = |outcome: AttemptOutcome| {
                let participant = NameLabel(name.clone());
                let outcome = outcome.as_str();
                self.step_attempts.get_or_create_owned(&ByOutcome { participant, direction, outcome })
            };
            let participant = NameLabel(name.clone());
            OfDirection {
                outcomes: AttemptOutcome::ALL.map(counter),
                duration: self.step_duration.get_or_create_owned(&ByDirection { participant, direction }),
            }
        };
        OfParticipant { action: of(Direction::Action), compensation: of(Direction::Compensation) }
    }
}

/// The series of one definition. Those that not every definition needs come into being when it does.
#[derive(Debug)]
pub(super) struct OfDefinition {
    name: Name,
    pub(super) started: Counter,
    completed: OnceLock<(Counter, SagaHistogram)>,
    compensated: OnceLock<(Counter, SagaHistogram)>,
    causes: [OnceLock<Counter>; CAUSES.len()],
}

impl OfDefinition {
    pub(super) fn ended(&self, series: &Series, end: End) -> &(Counter, SagaHistogram) {
        let (slot, status) = match end {
            End::Completed => (&self.completed, "completed"),
            End::Compensated => (&self.compensated, "compensated"),
        };
        slot.get_or_init(|| {
            let labels = ByStatus { definition: NameLabel(self.name.clone()), status };
            let count = series.sagas_ended.get_or_create_owned(&labels);
            (count, series.saga_duration.get_or_create_owned(&labels))
        })
    }

    /// `index` is from [`cause_index`].
    pub(super) fn cause(&self, series: &Series, index: usize) -> Counter {
        let new = || {
            let definition = NameLabel(self.name.clone());
            let cause = CAUSES.get(index).copied().unwrap_or("other");
            series.saga_causes.get_or_create_owned(&ByCause { definition, cause })
        };
        self.causes.get(index).map_or_else(new, |slot| slot.get_or_init(new).clone())
    }
}

/// The series of one participant.
#[derive(Debug)]
pub(super) struct OfParticipant {
    action: OfDirection,
    compensation: OfDirection,
}

impl OfParticipant {
    pub(super) fn direction(&self, direction: Direction) -> &OfDirection {
        match direction {
            Direction::Action => &self.action,
            Direction::Compensation => &self.compensation,
        }
    }
}

/// The series of one participant's actions or compensations.
#[derive(Debug)]
pub(super) struct OfDirection {
    outcomes: [Counter; AttemptOutcome::ALL.len()],
    pub(super) duration: Histogram,
}

impl OfDirection {
    pub(super) fn outcome(&self, outcome: AttemptOutcome) -> &Counter {
        let [ok, rejected, failed, unknown, tombstoned] = &self.outcomes;
        match outcome {
            AttemptOutcome::Ok => ok,
            AttemptOutcome::Rejected => rejected,
            AttemptOutcome::Failed => failed,
            AttemptOutcome::Unknown => unknown,
            AttemptOutcome::Tombstoned => tombstoned,
        }
    }
}

/// Series by name, at most [`NAMES_MAX`] and one for the rest.
#[derive(Debug)]
pub(super) struct Bounded<V> {
    known: RwLock<HashMap<Name, Arc<V>>>,
    rest: OnceLock<Arc<V>>,
}

impl<V> Default for Bounded<V> {
    fn default() -> Self {
        Self { known: RwLock::default(), rest: OnceLock::new() }
    }
}

impl<V> Bounded<V> {
    pub(super) fn get(&self, name: &Name, new: impl Fn(&Name) -> V) -> Arc<V> {
        {
            // Nothing in there is ever half-written.
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = known.get(name) {
                return found.clone();
            }
            if known.len() >= NAMES_MAX {
                let rest = || Arc::new(Name::new("other").map_or_else(|_| new(name), |other| new(&other)));
                return self.rest.get_or_init(rest).clone();
            }
        }
        // Lanes that come here at once may overshoot the limit by as many.
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(name.clone()).or_insert_with(|| Arc::new(new(name))).clone()
    }
}
