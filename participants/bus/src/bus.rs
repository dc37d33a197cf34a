//! The connection as everybody uses it, whatever carries its messages.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::jetstream::context::Context;
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use snorri_saga::wire::Subjects;

use crate::acks::PublishError;
use crate::jetstream::JetStream;
use crate::transport::{ConsumerSpec, Hearing, Next, Source, Transport};

/// How to connect.
#[derive(Debug, Clone)]
pub struct BusOptions {
    /// The servers' addresses, such as `nats://127.0.0.1:4222`; `tls://` for TLS. User and password (or a token
    /// alone) may stand in the first that has them: `nats://user:password@host`.
    pub servers: Vec<String>,
    /// A NATS credentials file.
    pub credentials: Option<PathBuf>,
    /// The connection's name, as the server's monitoring shows it.
    pub client_name: String,
    /// The subjects of this installation.
    pub subjects: Subjects,
    /// How many replicas a stream gets when it is created here. With one, a stream that a consumer misses in a
    /// cluster is waited for and not created.
    pub stream_replicas: usize,
}

impl BusOptions {
    /// The options for one server, with everything else as usual.
    pub fn new(server: impl Into<String>, client_name: impl Into<String>) -> Self {
        Self {
            servers: vec![server.into()],
            credentials: None,
            client_name: client_name.into(),
            subjects: Subjects::default(),
            stream_replicas: 1,
        }
    }
}

/// Why the bus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options are wrong: an address that cannot be read, no address, and such.
    #[error("cannot connect to NATS: {0}")]
    Connect(#[from] async_nats::ConnectError),
    /// The credentials file cannot be used.
    #[error("cannot use the NATS credentials {}: {source}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The client is closed.
    #[error("the NATS client is closed")]
    Closed,
    /// There is no connection just now.
    #[error("not connected to NATS")]
    NotConnected,
    /// The server is known to lose whole streams when it is killed.
    #[error("nats-server {0} loses whole streams when it is killed (fixed in 2.10.23): use another version")]
    ServerRefused(String),
    /// JetStream did not do what was asked.
    #[error("JetStream: {what}: {why}")]
    JetStream {
        /// What was asked.
        what: String,
        /// What it said.
        why: String,
    },
    /// Not all streams could be made.
    #[error("not all streams could be made")]
    SomeStreams {
        /// Those that were.
        made: Vec<String>,
        /// Why the first of the others was not.
        source: Box<Error>,
    },
}

impl Error {
    /// The streams that were made all the same.
    pub fn streams_made(self) -> Vec<String> {
        match self {
            Self::SomeStreams { made, .. } => made,
            _ => Vec::new(),
        }
    }
}

/// A message to be published.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Where it goes.
    pub subject: String,
    /// Its headers.
    pub headers: Option<HeaderMap>,
    /// Its body.
    pub payload: Bytes,
}

/// A connection to NATS, shared by all its clones. It reconnects by itself for as long as it takes.
#[derive(Debug, Clone)]
pub struct Bus {
    subjects: Arc<Subjects>,
    transport: Arc<dyn Transport>,
    /// The same, where it is JetStream.
    jetstream: Option<Arc<JetStream>>,
}

impl Bus {
    /// Prepares the connection and returns at once; the connection itself is made in the background, now
    /// or when a server comes up. Must be called inside a Tokio runtime.
    pub async fn connect(options: BusOptions) -> Result<Self, Error> {
        let jetstream = Arc::new(JetStream::connect(options).await?);
        Ok(Self {
            subjects: Arc::new(jetstream.subjects.clone()),
            transport: Arc::new(jetstream.clone()),
            jetstream: Some(jetstream),
        })
    }

    /// A bus whose messages something else carries, as the simulator's model does.
    pub fn over(transport: Arc<dyn Transport>, subjects: Subjects) -> Self {
        Self { subjects: Arc::new(subjects), transport, jetstream: None }
    }

    /// Whether there is a connection just now.
    pub fn is_connected(&self) -> bool {
        self.transport.is_connected()
    }

    /// Waits until there is a connection (or the client is closed). Cancel-safe.
    pub async fn connected(&self) {
        self.transport.connected().await;
    }

    /// A number that is another after each connection made or lost. To be read *before* the work that a
    /// change would spoil, and handed to [`Bus::link_changed`] after it.
    pub fn link_epoch(&self) -> u64 {
        self.transport.link_epoch()
    }

    /// Waits until a connection was made or lost, or the client was closed, since [`Bus::link_epoch`] was
    /// `epoch`; what happened meanwhile counts. Cancel-safe.
    pub async fn link_changed(&self, epoch: u64) {
        self.transport.link_changed(epoch).await;
    }

    /// The subjects of this installation.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// The client underneath, for plain NATS. Nothing where something else carries the messages.
    pub fn client(&self) -> Option<&Client> {
        self.jetstream.as_ref().map(|jetstream| &jetstream.client)
    }

    /// JetStream's administration, with the bus's timeouts. Nothing where something else carries the messages.
    pub fn jetstream(&self) -> Option<&Context> {
        self.jetstream.as_ref().map(|jetstream| &jetstream.context)
    }

    /// The server's version, or nothing when there is no connection within two seconds. Warns of versions
    /// with known losses. Cancel-safe.
    pub async fn server_version(&self) -> Option<String> {
        match &self.jetstream {
            Some(jetstream) => jetstream.server_version().await,
            None => None,
        }
    }

    /// Sets how many bytes the stream of commands may hold when it is created from here, for all clones:
    /// 256 MiB unless told otherwise. Those of replies and starts get half of that, that of endings a quarter,
    /// that of signals an eighth.
    /// The server sets this room aside (in memory for the replies), so many installations on one small server,
    /// as in tests, need less. A full stream loses its oldest messages, and they are sent again when missed; those of
    /// starts and of signals refuse new ones instead.
    pub fn limit_streams(&self, bytes: u64) {
        if let Some(jetstream) = &self.jetstream {
            jetstream.stream_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// Creates the streams of this installation that do not exist, and returns their names. One that
    /// exists with other settings is reported in the log and left alone. Each is tried, whatever becomes of the others. Refuses
    /// servers that lose streams.
    pub async fn ensure_streams(&self) -> Result<Vec<String>, Error> {
        self.transport.ensure_streams().await
    }

    /// Deletes a durable consumer, for a replica that goes for good. One that is not there is no error.
    pub async fn delete_consumer(&self, stream: &str, durable: &str) -> Result<(), Error> {
        self.transport.delete_consumer(stream, durable).await
    }

    /// Publishes to JetStream and waits for all acknowledgements together, 4 seconds at most. One result a
    /// message, in order. Fails at once when there is no connection.
    ///
    /// Not cancel-safe in the strict sense: what was sent before a cancellation stays sent.
    pub async fn publish_all(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PublishError>> {
        self.transport.publish_all(messages).await
    }

    /// Publishes over plain NATS: sent or queued for sending, and nothing is known of its arrival.
    pub async fn publish_core(&self, message: Outgoing) -> Result<(), PublishError> {
        self.transport.publish_core(message).await
    }

    /// Starts to consume; nothing happens before the first [`Consumption::next`].
    pub fn consume(&self, spec: ConsumerSpec) -> Consumption {
        Consumption { batch_max: spec.batch_max, source: self.transport.consume(spec) }
    }

    /// Sends everything that is queued, 3 seconds at most.
    pub async fn flush(&self) -> Result<(), Error> {
        self.transport.flush().await
    }

    /// Sends what is queued and closes the connection for all clones, 10 seconds at most.
    pub async fn close(&self) {
        self.transport.close().await;
    }
}

/// An endless, self-repairing source of batches. Dropping it leaves the messages that were not returned yet
/// to be delivered again after `ack_wait`; [`Consumption::close`] hands them back at once.
#[derive(Debug)]
pub struct Consumption {
    source: Box<dyn Source>,
    batch_max: usize,
}

impl Consumption {
    /// Waits for at least one message and returns it with all that wait behind it, up to `batch_max`.
    /// Cancel-safe: no message is lost when the future is dropped.
    pub async fn next(&mut self) -> Next {
        self.next_up_to(self.batch_max).await
    }

    /// The same with another limit for this call. Cancel-safe.
    pub async fn next_up_to(&mut self, limit: usize) -> Next {
        self.source.next_up_to(limit.clamp(1, self.batch_max.max(1))).await
    }

    /// When it last heard from its server. Nothing where that cannot be told.
    pub fn hearing(&self) -> Option<Hearing> {
        self.source.hearing()
    }

    /// Stops: the messages that were received but not returned yet go back to the server, for others.
    pub async fn close(self) {
        self.source.close().await;
    }
}
