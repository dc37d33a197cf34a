//! The consume loop: pulls from a durable consumer and repairs itself for as long as it takes.
//!
//! The server is asked for a number of messages; it sends them as they come, a heartbeat each second
//! while there are none, and a word when the request is over. Three things end the arrangement and lead to
//! a new one: another connection, a word that the consumer is gone, and silence (nothing else tells of a
//! server that was killed, or of a consumer that was deleted while the connection was down). Each time it
//! is looked up whether the consumer is still the one known; if not, what was in it is lost, and the
//! caller is told.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::{StatusCode, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::bus::{Inner, Link};
use crate::message::Message;
use crate::topology::{self, Born};

/// How long a request for messages stands.
const EXPIRES: Duration = Duration::from_secs(5);
/// How often the server says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a silence is believed to be chance.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How soon others get what is handed back. Not at once: the server would send it to the inbox that is
/// just being closed, and again only after `ack_wait`.
const HANDED_BACK_AFTER: Duration = Duration::from_millis(100);
/// The longest pause between two attempts to begin anew.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What to consume, and how.
#[derive(Debug, Clone)]
pub struct ConsumerSpec {
    /// The stream.
    pub stream: String,
    /// The durable consumer's name. Several processes that use the same one share its messages.
    pub durable: String,
    /// The one subject, wildcards allowed, that it takes from the stream.
    pub filter: String,
    /// The most messages that one call returns.
    pub batch_max: usize,
    /// The most messages asked for ahead of the calls. More keep the pipeline full; fewer leave more for
    /// the other processes that share the consumer.
    pub prefetch: usize,
    /// How long a message may remain unacknowledged before it is delivered again.
    pub ack_wait: Duration,
    /// The most unacknowledged messages, for all processes that share the consumer together.
    pub max_ack_pending: i64,
    /// When the consumer has to be created: begin with what comes from now on, instead of with all that
    /// is in the stream.
    pub deliver_new_only: bool,
    /// When the consumer has to be created: begin with what came into the stream at this time or later, by
    /// the server's clock, instead of with all that is in it. `deliver_new_only` comes before it.
    pub deliver_from: Option<SystemTime>,
}

impl ConsumerSpec {
    /// A consumer of everything that the filter matches, in batches of up to 256.
    pub fn new(stream: impl Into<String>, durable: impl Into<String>, filter: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            durable: durable.into(),
            filter: filter.into(),
            batch_max: 256,
            prefetch: 512,
            ack_wait: Duration::from_secs(20),
            max_ack_pending: 4096,
            deliver_new_only: false,
            deliver_from: None,
        }
    }
}

/// What [`Consumption::next`] returns.
#[derive(Debug)]
pub enum Next {
    /// What was waiting, at least one message.
    Batch(Vec<Message>),
    /// The consumer, and perhaps its stream, was gone and has been created anew, by this process or by
    /// another: whatever was in it is lost. Not said of the first creation.
    Recreated,
    /// The bus was closed.
    Closed,
}

/// An endless, self-repairing source of batches. Dropping it leaves the messages that were not returned yet
/// to be delivered again after `ack_wait`; [`Consumption::close`] hands them back at once.
#[derive(Debug)]
pub struct Consumption {
    inner: Arc<Inner>,
    spec: ConsumerSpec,
    pulling: Option<Pulling>,
    known: Option<Born>,
    recreated: bool,
    failures: u32,
    not_before: Option<Instant>,
}

impl Consumption {
    pub(crate) fn new(inner: Arc<Inner>, spec: ConsumerSpec) -> Self {
        Self { inner, spec, pulling: None, known: None, recreated: false, failures: 0, not_before: None }
    }

    /// Waits for at least one message and returns it with all that wait behind it, up to `batch_max`.
    /// Cancel-safe: no message is lost when the future is dropped.
    pub async fn next(&mut self) -> Next {
        self.next_up_to(self.spec.batch_max).await
    }

    /// The same with another limit for this call. Cancel-safe.
    pub async fn next_up_to(&mut self, limit: usize) -> Next {
        let limit = limit.clamp(1, self.spec.batch_max.max(1));
        loop {
            if std::mem::take(&mut self.recreated) {
                return Next::Recreated;
            }
            let Some(pulling) = &mut self.pulling else {
                if self.inner.link.borrow().closed {
                    return Next::Closed;
                }
                self.rebuild().await;
                continue;
            };
            match pulling.batch(&self.inner, limit).await {
                Ok(batch) => {
                    self.failures = 0;
                    return Next::Batch(batch);
                }
                Err(ended) => {
                    // A minute of heartbeats is no failure to remember.
                    if pulling.begun.elapsed() > Duration::from_mins(1) {
                        self.failures = 0;
                    }
                    tracing::debug!(consumer = self.spec.durable, reason = ended.0, "pulling begins anew");
                    self.pulling = None;
                    self.pause();
                }
            }
        }
    }

    /// Stops: the messages that were received but not returned yet go back to the server, for others.
    pub async fn close(mut self) {
        if let Some(mut pulling) = self.pulling.take() {
            let _ = pulling.subscriber.unsubscribe().await;
            while let Some(Some(message)) = unconstrained(pulling.subscriber.next()).now_or_never() {
                if message.status.is_none() {
                    let message = Message { raw: message, inner: self.inner.clone(), epoch: pulling.epoch };
                    message.nak_with_delay(HANDED_BACK_AFTER).await;
                }
            }
        }
    }

    /// The pause before the next attempt: none at first, then up to two seconds.
    fn pause(&mut self) {
        let full = match self.failures {
            0 => Duration::ZERO,
            failures => Duration::from_millis(25 << failures.min(7)).min(PAUSE_MAX),
        };
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + full.mul_f64(rand::random_range(0.5..=1.0)));
    }

    /// One attempt to begin anew. Cancel-safe: what it learnt is kept as soon as it is known.
    async fn rebuild(&mut self) {
        if let Some(not_before) = self.not_before {
            sleep_until(not_before).await;
        }
        self.inner.connected().await;
        // Taken before anything is asked, so that a connection lost in between is noticed.
        let link = self.inner.link.clone();
        let epoch = link.borrow().epoch;
        match topology::ensure_consumer(&self.inner, &self.spec).await {
            Ok(born) => {
                self.recreated |= self.known.as_ref().is_some_and(|known| *known != born);
                self.known = Some(born);
            }
            Err(error) => {
                if self.failures % 16 == 3 {
                    tracing::warn!(%error, consumer = self.spec.durable, "cannot consume; trying again");
                }
                self.pause();
                return;
            }
        }
        match Pulling::begin(&self.inner, &self.spec, link, epoch).await {
            Some(pulling) => self.pulling = Some(pulling),
            None => self.pause(),
        }
    }
}

/// Why an arrangement with the server ended.
#[derive(Debug)]
struct Ended(&'static str);

/// One arrangement with the server: an inbox and the requests that deliver into it.
#[derive(Debug)]
struct Pulling {
    subscriber: Subscriber,
    inbox: String,
    subject: String,
    prefetch: usize,
    /// How many messages were asked for and neither taken out of the inbox nor called off.
    pending: usize,
    asked_at: Instant,
    heard_at: Instant,
    begun: Instant,
    clock: Interval,
    link: watch::Receiver<Link>,
    epoch: u64,
    ended: Option<&'static str>,
}

/// What came into the inbox.
enum Arrived {
    Message(async_nats::Message),
    Heartbeat,
    /// So many messages of a request will not come any more.
    CalledOff(usize),
    Ended(&'static str),
}

impl Pulling {
    async fn begin(
        inner: &Inner,
        spec: &ConsumerSpec,
        link: watch::Receiver<Link>,
        epoch: u64,
    ) -> Option<Self> {
        let inbox = inner.client.new_inbox();
        let subscriber = inner.client.subscribe(inbox.clone()).await.ok()?;
        let mut clock = interval(Duration::from_millis(500));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = Instant::now();
        Some(Self {
            subscriber,
            inbox,
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", spec.stream, spec.durable),
            prefetch: spec.prefetch.max(1),
            pending: 0,
            asked_at: now,
            heard_at: now,
            begun: now,
            clock,
            link,
            epoch,
            ended: None,
        })
    }

    async fn batch(&mut self, inner: &Arc<Inner>, limit: usize) -> Result<Vec<Message>, Ended> {
        let first = loop {
            if let Some(reason) = self.ended {
                return Err(Ended(reason));
            }
            self.ask(inner).await;
            let epoch = self.epoch;
            let woken = tokio::select! {
                biased;
                message = self.subscriber.next() => Some(message),
                // A client that is gone for good shows as the subscription's end.
                _ = self.link.wait_for(|now| now.epoch != epoch) => return Err(Ended("another connection")),
                _ = self.clock.tick() => None,
            };
            let Some(message) = woken else {
                self.check_silence()?;
                continue;
            };
            match self.sort(message) {
                Arrived::Message(message) => break message,
                other => self.note(&other),
            }
        };
        let mut batch = Vec::with_capacity(limit.min(self.pending + 1));
        batch.push(Message { raw: first, inner: inner.clone(), epoch: self.epoch });
        // Only what is here already. `unconstrained`, because the scheduler's budget would otherwise end
        // the batch at some 128 messages.
        while batch.len() < limit {
            let Some(message) = unconstrained(self.subscriber.next()).now_or_never() else { break };
            match self.sort(message) {
                Arrived::Message(message) => {
                    batch.push(Message { raw: message, inner: inner.clone(), epoch: self.epoch });
                }
                other => self.note(&other),
            }
            if self.ended.is_some() {
                break;
            }
        }
        // So that the server sends the next ones while these are worked on. When the queue is full just
        // now, the next call asks.
        if self.ended.is_none() {
            let _ = unconstrained(self.ask(inner)).now_or_never();
        }
        Ok(batch)
    }

    /// Asks for more when half of what was asked for has come. Cancel-safe: asked or not asked.
    async fn ask(&mut self, inner: &Inner) {
        // By our own clock too: not every server says how many messages of a request will not come.
        if self.asked_at.elapsed() > EXPIRES + HEARTBEAT / 2 {
            self.pending = 0;
        }
        if self.pending > self.prefetch / 2 {
            return;
        }
        let count = self.prefetch - self.pending;
        let request = format!(
            r#"{{"batch":{count},"expires":{},"idle_heartbeat":{}}}"#,
            EXPIRES.as_nanos(),
            HEARTBEAT.as_nanos()
        );
        let sent = inner
            .client
            .publish_with_reply(self.subject.clone(), self.inbox.clone(), Bytes::from(request))
            .await;
        match sent {
            Ok(()) => {
                let now = Instant::now();
                (self.asked_at, self.heard_at) = (now, now);
                self.pending += count;
            }
            Err(_) => self.ended = Some("the client is closed"),
        }
    }

    fn check_silence(&self) -> Result<(), Ended> {
        if self.heard_at.elapsed() > SILENCE_MAX { Err(Ended("silence")) } else { Ok(()) }
    }

    fn sort(&mut self, message: Option<async_nats::Message>) -> Arrived {
        let Some(message) = message else { return Arrived::Ended("the subscription ended") };
        self.heard_at = Instant::now();
        match message.status {
            None | Some(StatusCode::OK) => {
                self.pending = self.pending.saturating_sub(1);
                Arrived::Message(message)
            }
            Some(StatusCode::IDLE_HEARTBEAT) => Arrived::Heartbeat,
            Some(StatusCode::NO_RESPONDERS) => Arrived::Ended("JetStream does not answer"),
            Some(StatusCode::TIMEOUT | StatusCode::REQUEST_TERMINATED) => {
                match (message.description.as_deref(), left_of_request(&message)) {
                    (Some("Consumer Deleted"), _) => Arrived::Ended("the consumer was deleted"),
                    (_, Some(left)) => Arrived::CalledOff(left),
                    // Such as too many waiting requests: asking again at once would spin.
                    (_, None) => Arrived::Ended("the request was refused"),
                }
            }
            Some(_) => Arrived::Ended("an unexpected status"),
        }
    }

    fn note(&mut self, arrived: &Arrived) {
        match arrived {
            Arrived::CalledOff(left) => self.pending = self.pending.saturating_sub(*left),
            Arrived::Ended(reason) => self.ended = Some(reason),
            Arrived::Message(_) | Arrived::Heartbeat => {}
        }
    }
}

fn left_of_request(message: &async_nats::Message) -> Option<usize> {
    message.headers.as_ref()?.get("Nats-Pending-Messages")?.as_str().parse().ok()
}
