//! The metrics that matter, in Prometheus' words. One registry an orchestrator: nothing global.
//!
//! Everything on the way of a saga is an atomic or a short lock: the series of a definition and of a
//! participant are looked up once a fact and never built from text. What is read from elsewhere (the
//! process, the database) is read when somebody scrapes, or now and then by [`watch`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use snorri_saga::definition::Definition;
use snorri_saga::journal::Event;
use snorri_saga::saga::{Saga, Status};
use snorri_saga::time::{Millis, Timestamp};
use tokio::sync::Notify;

mod labels;
mod process;
mod series;
mod watch;

pub(crate) use watch::watch;

use crate::telemetry::answers::Answers;
use labels::{ByCovered, ByNeutralised, ByReason, ByReply, ByRoute, TraceId};
use series::{OfDefinition, OfParticipant, Series, cause_index};

/// The most lanes whose live sagas are counted; the settings allow no more.
const LANES_MAX: usize = 64;

/// All metrics of one orchestrator.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    series: Series,
    definitions: series::Bounded<OfDefinition>,
    participants: series::Bounded<OfParticipant>,
    /// How many live sagas each lane said it has; their sum is the gauge.
    lanes: [AtomicI64; LANES_MAX],
    /// A saga was blocked or moved again: the count in the database is worth a look.
    blocked_changed: Notify,
    lost_spans: Arc<LostSpans>,
}

/// The spans that were lost, counted by the tracer.
#[derive(Debug, Default)]
pub struct LostSpans(AtomicU64);

impl LostSpans {
    /// So many more were lost. Returns how many there were before.
    pub fn add(&self, count: u64) -> u64 {
        self.0.fetch_add(count, Ordering::Relaxed)
    }

    /// How many were lost so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let lost_spans = Arc::new(LostSpans::default());
        let mut registry = Registry::default();
        let series = Series::register(&mut registry);
        registry.register_collector(Box::new(process::Process::new(lost_spans.clone())));
        Self {
            registry,
            series,
            definitions: series::Bounded::default(),
            participants: series::Bounded::default(),
            lanes: std::array::from_fn(|_| AtomicI64::new(0)),
            blocked_changed: Notify::new(),
            lost_spans,
        }
    }
}

impl Metrics {
    /// The type of what [`Metrics::render`] returns, for the HTTP header.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Everything as OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a text cannot fail; a collector that does would be a bug, and half a page is none.
            Err(_) => "# EOF\n".to_owned(),
        }
    }

    /// A transition was committed.
    pub fn committed(
        &self,
        before: Option<&Saga>,
        after: &Saga,
        definition: &Definition,
        events: &[Event],
        at: Timestamp,
    ) {
        let mut answers = Answers::new(before);
        for event in events {
            if let Some(answer) = answers.next(event, at)
                && let Some((_, step)) = definition.step(answer.step.step())
                && let Some(participant) = step.participant()
            {
                let of = self.participants.get(participant, |name| self.series.of_participant(name));
                let of = of.direction(answer.direction);
                of.outcome(answer.outcome).inc();
                // Silence has no duration, and of a late answer it is not known which sending it answers.
                if answer.is_answer()
                    && let Some(sent_at) = answer.sent_at
                {
                    of.duration.observe(seconds(sent_at, at));
                }
            }
            match event {
                Event::Started(_) => {
                    self.definition(after).started.inc();
                }
                Event::CompensationBegan { cause } => {
                    self.definition(after).cause(&self.series, cause_index(cause)).inc();
                }
                Event::Ended { end } => {
                    let ended = self.definition(after);
                    let (count, duration) = ended.ended(&self.series, *end);
                    count.inc();
                    let when = UNIX_EPOCH + Duration::from_micros(u64::try_from(at.micros()).unwrap_or(0));
                    duration.observe(seconds(after.started_at, at), Some(TraceId(after.id)), Some(when));
                }
                Event::WindowAtRisk => {
                    self.series.windows_at_risk.inc();
                }
                Event::WindowMissed => {
                    self.series.windows_missed.inc();
                }
                Event::LateReply { step, attempt, neutralised, .. } => {
                    let word = if *neutralised { "true" } else { "false" };
                    self.series.late_replies.get_or_create(&ByNeutralised { neutralised: word }).inc();
                    if !neutralised {
                        // What was done stays done, and nothing undoes it: nobody but a person can mend that.
                        tracing::error!(
                            saga_id = %after.id,
                            %step,
                            attempt,
                            "a success came too late and is not undone: a person must look at it"
                        );
                    }
                }
                Event::Blocked { .. }
                | Event::Unblocked { .. }
                | Event::Sent { .. }
                | Event::SentAgain { .. }
                | Event::Skipped { .. }
                | Event::Listed { .. }
                | Event::Waiting { .. }
                | Event::Signalled { .. }
                | Event::SignalTaken { .. }
                | Event::Decided { .. }
                | Event::Curtailed { .. }
                | Event::Stopping { .. }
                | Event::Held
                | Event::AskedParent
                | Event::UndoAsked { .. }
                | Event::Working { .. }
                | Event::Succeeded { .. }
                | Event::Rejected { .. }
                | Event::Failed { .. }
                | Event::TimedOut { .. }
                | Event::RetryPlanned { .. }
                | Event::Tombstoned { .. }
                | Event::NotSent { .. }
                | Event::GaveUp { .. }
                | Event::CancelRequested { .. } => {}
            }
        }
        let was_blocked = before.is_some_and(|before| before.status() == Status::Blocked);
        if was_blocked != (after.status() == Status::Blocked) {
            self.blocked_changed.notify_one();
        }
    }

    fn definition(&self, saga: &Saga) -> Arc<OfDefinition> {
        self.definitions.get(&saga.definition, |name| self.series.of_definition(name))
    }

    /// A batch of so many transitions took so long to commit.
    #[expect(clippy::cast_precision_loss, reason = "a batch has at most some hundreds")]
    pub fn batch(&self, size: usize, seconds: f64) {
        self.series.commit_seconds.observe(seconds);
        self.series.commit_batch_size.observe(size as f64);
    }

    /// Commands and announcements took so long to be acknowledged; those of so many sagas were not.
    pub fn published(&self, _count: usize, failed: usize, seconds: f64) {
        self.series.publish_seconds.observe(seconds);
        if failed > 0 {
            self.series.publish_failures.inc_by(failed as u64);
        }
    }

    /// An input changed nothing.
    pub fn ignored(&self, reason: &'static str) {
        self.series.replies_ignored.get_or_create(&ByReason { reason }).inc();
    }

    /// A message was kept aside.
    pub fn dead_letter(&self, reason: &'static str) {
        self.series.dead_letters.get_or_create(&ByReason { reason }).inc();
    }

    /// A start was refused.
    pub fn refused(&self, reason: &'static str) {
        self.series.starts_refused.get_or_create(&ByReason { reason }).inc();
    }

    /// A signal came, over REST or NATS.
    pub fn signal(&self, outcome: &'static str) {
        self.series.signals.get_or_create(&ByReply { outcome }).inc();
    }

    /// Somebody decided on an approval.
    pub fn decision(&self, outcome: &'static str) {
        self.series.decisions.get_or_create(&ByReply { outcome }).inc();
    }

    /// A definition was submitted.
    pub fn submission(&self, outcome: &'static str) {
        self.series.submissions.get_or_create(&ByReply { outcome }).inc();
    }

    /// A definition that was submitted or checked was explored, so far and so long.
    pub fn explored(&self, covered: &'static str, seconds: f64) {
        self.series.exploration_seconds.get_or_create(&ByCovered { covered }).observe(seconds);
    }

    /// So many sagas of one other replica were taken over.
    pub fn taken_over(&self, count: usize) {
        self.series.takeovers.inc();
        self.series.sagas_taken_over.inc_by(count as u64);
    }

    /// A saga lost its race for the next row.
    pub fn lost_race(&self) {
        self.series.races_lost.inc();
    }

    /// So many live sagas are in this replica's memory.
    pub fn live(&self, lane: usize, count: usize) {
        let Some(slot) = self.lanes.get(lane) else { return };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        // Only its lane writes a slot, so the differences add up to the sum.
        let before = slot.swap(count, Ordering::Relaxed);
        if before != count {
            self.series.sagas_live.inc_by(count - before);
        }
    }

    /// So many sagas are blocked, of all replicas together, by the database's count.
    pub fn blocked(&self, count: i64) {
        self.series.sagas_blocked.set(count);
    }

    /// So many sagas are at rest, of all replicas together, by the database's count.
    pub fn resting(&self, count: i64) {
        self.series.sagas_resting.set(count);
    }

    /// Postgres answers or does not.
    pub fn postgres_up(&self, up: bool) {
        self.series.postgres_up.set(i64::from(up));
    }

    /// For how long the oldest end waits to be announced.
    pub fn announcements_owed(&self, since: Millis) {
        self.series.announcements_owed.set(i64::try_from(since.0 / 1000).unwrap_or(i64::MAX));
    }

    /// Whether NATS is connected.
    pub fn nats_up(&self, up: bool) {
        self.series.nats_up.set(i64::from(up));
    }

    /// So many letters between sagas and their sub-sagas wait.
    pub fn letters_waiting(&self, count: usize) {
        self.series.letters_waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// So many of them were dropped, since too many wait.
    pub fn letters_dropped(&self, count: usize) {
        self.series.letters_dropped.inc_by(count as u64);
    }

    /// A sub-saga was not begun, for want of room.
    pub fn held_back(&self) {
        self.series.sub_sagas_held_back.inc();
    }

    /// A saga cannot be read or decided.
    pub fn quarantined(&self) {
        self.series.quarantined.inc();
    }

    /// A request was answered. The route is the pattern and never the path.
    pub fn http(&self, route: &'static str, status: u16, seconds: f64) {
        self.series.http_requests.get_or_create(&ByRoute { route, status }).observe(seconds);
    }

    /// Where the tracer counts the spans that it lost.
    pub fn lost_spans(&self) -> Arc<LostSpans> {
        self.lost_spans.clone()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a duration of 285 years would be the first to lose a microsecond"
)]
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.micros().saturating_sub(from.micros()).max(0) as f64 / 1e6
}

#[cfg(test)]
mod tests;
