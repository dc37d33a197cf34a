//! What may carry the bus's messages. JetStream does; the simulator's model does in its place, so that the
//! loops above it can be run under every fault on one thread. Whatever it promises, it may break: at least
//! once, in any order, and what was acknowledged may be lost; but it must say so where this page says so.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::acks::PublishError;
use crate::bus::{Error, Outgoing};
use crate::message::Message;

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

/// What [`Consumption::next`](crate::Consumption::next) returns.
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

/// What carries messages. The methods are those of [`Bus`](crate::Bus), and described there.
#[async_trait]
pub trait Transport: Debug + Send + Sync {
    /// Whether there is a connection just now.
    fn is_connected(&self) -> bool;
    /// Waits until there is one. Cancel-safe.
    async fn connected(&self);
    /// Another number after each connection made or lost.
    fn link_epoch(&self) -> u64;
    /// Waits until the epoch is another than the one given. Cancel-safe.
    async fn link_changed(&self, epoch: u64);
    /// Creates the streams that do not exist, and returns their names.
    async fn ensure_streams(&self) -> Result<Vec<String>, Error>;
    /// Deletes a durable consumer. One that is not there is no error.
    async fn delete_consumer(&self, stream: &str, durable: &str) -> Result<(), Error>;
    /// Stores messages in their streams. One result a message, in order. An error leaves it open whether
    /// the message was stored.
    async fn publish_all(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PublishError>>;
    /// Sends a message and knows nothing of its arrival.
    async fn publish_core(&self, message: Outgoing) -> Result<(), PublishError>;
    /// Starts to consume; nothing happens before the first call of the source.
    fn consume(&self, spec: ConsumerSpec) -> Box<dyn Source>;
    /// Sends everything that is queued.
    async fn flush(&self) -> Result<(), Error>;
    /// Sends what is queued and closes the connection.
    async fn close(&self);
}

/// When a source last heard from its server: a message, or only that it is still there. While it hears nothing, the
/// silence of those who would answer through it says nothing about them.
#[derive(Debug, Clone)]
pub struct Hearing(Arc<Mutex<Option<Instant>>>);

impl Hearing {
    /// Nothing heard yet.
    pub fn deaf() -> Self {
        Self(Arc::default())
    }

    /// Something was heard.
    pub fn heard(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether anything was heard within so long.
    pub fn within(&self, time: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() <= time)
    }
}

/// An endless, self-repairing source of batches.
#[async_trait]
pub trait Source: Debug + Send {
    /// When it last heard from its server. Nothing where that cannot be told.
    fn hearing(&self) -> Option<Hearing> {
        None
    }

    /// Waits for at least one message and returns it with those that wait behind it, up to the limit.
    /// Cancel-safe.
    async fn next_up_to(&mut self, limit: usize) -> Next;
    /// Stops, and hands back what was received but not returned.
    async fn close(self: Box<Self>);
}

/// What the receiver of a message says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done: not to be delivered again.
    Ack,
    /// To be delivered again, no sooner than after the delay.
    Nak(Duration),
    /// Still at it: the time until the next delivery begins anew.
    Progress,
    /// Never to be delivered again, although it was not processed.
    Term,
}

/// Takes the answers to one delivery of a message.
#[async_trait]
pub trait Acknowledge: Send + Sync {
    /// Says whether the answer was queued for sending. It may be lost all the same.
    async fn answer(&self, answer: Answer) -> bool;
}
