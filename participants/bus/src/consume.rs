//! The consume loop: pulls from a durable consumer and repairs itself for as long as it takes.
//!
//! The server is asked for a number of messages; it sends them as they come, a heartbeat each second
//! while there are none, and a word when the request is over. Three things end the arrangement and lead to
//! a new one: another connection, a word that the consumer is gone, and silence (nothing else tells of a
//! server that was killed, or of a consumer that was deleted while the connection was down). Each time it
//! is looked up whether the consumer is still the one known; if not, what was in it is lost, and the
//! caller is told.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::jetstream::{JetStream, Link};
use crate::message::Message;
use crate::topology::{self, Born};
use crate::transport::{ConsumerSpec, Hearing, Next, Source};

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

/// The loop over one durable consumer.
#[derive(Debug)]
pub(crate) struct Pull {
    inner: Arc<JetStream>,
    spec: ConsumerSpec,
    pulling: Option<Pulling>,
    known: Option<Born>,
    recreated: bool,
    failures: u32,
    not_before: Option<Instant>,
    hearing: Hearing,
}

impl Pull {
    pub(crate) fn new(inner: Arc<JetStream>, spec: ConsumerSpec) -> Self {
        Self {
            inner,
            spec,
            pulling: None,
            known: None,
            recreated: false,
            failures: 0,
            not_before: None,
            hearing: Hearing::deaf(),
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
        match Pulling::begin(&self.inner, &self.spec, link, epoch, self.hearing.clone()).await {
            Some(pulling) => self.pulling = Some(pulling),
            None => self.pause(),
        }
    }
}

#[async_trait]
impl Source for Pull {
    fn hearing(&self) -> Option<Hearing> {
        Some(self.hearing.clone())
    }

    async fn next_up_to(&mut self, limit: usize) -> Next {
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

    async fn close(mut self: Box<Self>) {
        if let Some(mut pulling) = self.pulling.take() {
            let _ = pulling.subscriber.unsubscribe().await;
            while let Some(Some(message)) = unconstrained(pulling.subscriber.next()).now_or_never() {
                if message.status.is_none() {
                    let message = Message::of_jetstream(message, self.inner.clone(), pulling.epoch);
                    message.nak_with_delay(HANDED_BACK_AFTER).await;
                }
            }
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
    hearing: Hearing,
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
        inner: &JetStream,
        spec: &ConsumerSpec,
        link: watch::Receiver<Link>,
        epoch: u64,
        hearing: Hearing,
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
            hearing,
            ended: None,
        })
    }

    async fn batch(&mut self, inner: &Arc<JetStream>, limit: usize) -> Result<Vec<Message>, Ended> {
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
        batch.push(Message::of_jetstream(first, inner.clone(), self.epoch));
        // Only what is here already. `unconstrained`, because the scheduler's budget would otherwise end
        // the batch at some 128 messages.
        while batch.len() < limit {
            let Some(message) = unconstrained(self.subscriber.next()).now_or_never() else { break };
            match self.sort(message) {
                Arrived::Message(message) => {
                    batch.push(Message::of_jetstream(message, inner.clone(), self.epoch));
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
    async fn ask(&mut self, inner: &JetStream) {
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
        if matches!(message.status, None | Some(StatusCode::OK | StatusCode::IDLE_HEARTBEAT)) {
            self.hearing.heard();
        }
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
