//! The connection and what is sent over it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, ServerError};
use bytes::Bytes;
use snorri_saga::wire::Subjects;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::acks::{self, Acks, Flight, PublishError};
use crate::consume::{ConsumerSpec, Consumption};
use crate::topology;
use crate::version::{Verdict, judge};

/// How long one call of [`Bus::publish_all`] waits for its acknowledgements, all together.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(4);
/// The most messages of one client that wait for their acknowledgements at any time.
const IN_FLIGHT_MAX: usize = 1024;
/// The most of them that one flight takes, so that two callers can be under way together.
const FLIGHT_MAX: usize = 512;
/// How long an administrative request to JetStream may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How many bytes the stream of commands may hold unless told otherwise.
const STREAM_BYTES: u64 = 256 * 1024 * 1024;
/// How long closing may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

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

/// The state of the connection. The epoch counts its beginnings and ends, so that a change that was
/// slept through is noticed all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) epoch: u64,
    pub(crate) connected: bool,
    pub(crate) closed: bool,
}

impl Link {
    fn now(&mut self, connected: bool) {
        self.epoch += 1;
        self.connected = connected;
    }
}

/// A connection to NATS, shared by all its clones. It reconnects by itself for as long as it takes.
#[derive(Debug, Clone)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) context: Context,
    pub(crate) subjects: Subjects,
    pub(crate) stream_replicas: usize,
    pub(crate) stream_bytes: AtomicU64,
    pub(crate) link: watch::Receiver<Link>,
    told: Arc<watch::Sender<Link>>,
    acks: Arc<Acks>,
    sorter: AbortHandle,
    in_flight: Semaphore,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The task holds a subscription, and with it the client open.
        self.sorter.abort();
    }
}

impl Inner {
    /// Connected, and told so: before the news is here, the epoch is still that of the last connection.
    pub(crate) fn is_connected(&self) -> bool {
        self.link.borrow().connected && self.client.connection_state() == State::Connected
    }

    /// Waits until there is a connection, or the client is closed. Cancel-safe.
    pub(crate) async fn connected(&self) {
        let mut link = self.link.clone();
        let mut untold = 0;
        while !self.is_connected() && !link.borrow_and_update().closed {
            let news = timeout(Duration::from_millis(100), link.changed()).await;
            // The client drops its news when too much of it waits. Two seconds are no delay any more.
            if news.is_err() && self.client.connection_state() == State::Connected {
                untold += 1;
                if untold > 20 {
                    self.told.send_modify(|link| link.now(true));
                }
            }
        }
    }
}

impl Bus {
    /// Prepares the connection and returns at once; the connection itself is made in the background, now
    /// or when a server comes up. Must be called inside a Tokio runtime.
    pub async fn connect(options: BusOptions) -> Result<Self, Error> {
        let (told, link) = watch::channel(Link { epoch: 0, connected: false, closed: false });
        let told = Arc::new(told);
        let teller = told.clone();
        let mut connect = ConnectOptions::new()
            .name(&options.client_name)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(reconnect_delay)
            .connection_timeout(Duration::from_secs(2))
            .request_timeout(Some(REQUEST_TIMEOUT))
            .ping_interval(Duration::from_secs(5))
            .client_capacity(8192)
            .subscription_capacity(64 * 1024)
            .event_callback(move |event| {
                on_event(&event, &teller);
                std::future::ready(())
            });
        if let Some(path) = options.credentials {
            connect = match connect.credentials_file(&path).await {
                Ok(connect) => connect,
                Err(source) => return Err(Error::Credentials { path, source }),
            };
        }
        // The client library leaves what stands in the addresses unused.
        match options.servers.iter().find_map(|server| user_in(server)) {
            Some((user, Some(password))) => connect = connect.user_and_password(user, password),
            Some((token, None)) => connect = connect.token(token),
            None => {}
        }
        let client = connect.connect(options.servers).await?;
        let context = ContextBuilder::new().timeout(REQUEST_TIMEOUT).build(client.clone());
        let acks = Acks::new(client.new_inbox());
        let subscriber = client.subscribe(acks.wildcard()).await.map_err(|_| Error::Closed)?;
        let sorter = tokio::spawn(acks::sort(acks.clone(), subscriber)).abort_handle();
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                context,
                subjects: options.subjects,
                stream_replicas: options.stream_replicas,
                stream_bytes: AtomicU64::new(STREAM_BYTES),
                link,
                told,
                acks,
                sorter,
                in_flight: Semaphore::new(IN_FLIGHT_MAX),
            }),
        })
    }

    /// Whether there is a connection just now.
    pub fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    /// Waits until there is a connection (or the client is closed). Cancel-safe.
    pub async fn connected(&self) {
        self.inner.connected().await;
    }

    /// A number that is another after each connection made or lost. To be read *before* the work that a
    /// change would spoil, and handed to [`Bus::link_changed`] after it.
    pub fn link_epoch(&self) -> u64 {
        self.inner.link.borrow().epoch
    }

    /// Waits until a connection was made or lost, or the client was closed, since [`Bus::link_epoch`] was
    /// `epoch`; what happened meanwhile counts. Cancel-safe.
    pub async fn link_changed(&self, epoch: u64) {
        // The sender is kept beside the receiver, so there is no other end.
        let _ = self.inner.link.clone().wait_for(|link| link.epoch != epoch).await;
    }

    /// The subjects of this installation.
    pub fn subjects(&self) -> &Subjects {
        &self.inner.subjects
    }

    /// The client underneath, for plain NATS.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// JetStream's administration, with the bus's timeouts.
    pub fn jetstream(&self) -> &Context {
        &self.inner.context
    }

    /// The server's version, or nothing when there is no connection within two seconds. Warns of versions
    /// with known losses. Cancel-safe.
    pub async fn server_version(&self) -> Option<String> {
        let _ = timeout(Duration::from_secs(2), self.connected()).await;
        let version = self.inner.client.try_server_info()?.version;
        match judge(&version) {
            Verdict::Fine => {}
            Verdict::Old => {
                tracing::warn!(version, "this nats-server has known losses; 2.10.23 or later is advised");
            }
            Verdict::Refused => {
                tracing::error!(version, "this nats-server loses whole streams when it is killed");
            }
        }
        Some(version)
    }

    /// Sets how many bytes the stream of commands may hold when it is created from here, for all clones:
    /// 256 MiB unless told otherwise. Those of replies and starts get half of that, that of endings a quarter.
    /// The server sets this room aside (in memory for the replies), so many installations on one small server,
    /// as in tests, need less. A full stream loses its oldest messages, and they are sent again when missed; that of
    /// starts refuses new ones instead.
    pub fn limit_streams(&self, bytes: u64) {
        self.inner.stream_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Creates the streams of this installation that do not exist, and returns their names. One that
    /// exists with other settings is reported in the log and left alone. Refuses servers that lose streams.
    pub async fn ensure_streams(&self) -> Result<Vec<String>, Error> {
        topology::ensure_streams(&self.inner).await
    }

    /// Deletes a durable consumer, for a replica that goes for good. One that is not there is no error.
    pub async fn delete_consumer(&self, stream: &str, durable: &str) -> Result<(), Error> {
        topology::delete_consumer(&self.inner, stream, durable).await
    }

    /// Publishes to JetStream and waits for all acknowledgements together, 4 seconds at most. One result a
    /// message, in order. Fails at once when there is no connection.
    ///
    /// Not cancel-safe in the strict sense: what was sent before a cancellation stays sent.
    pub async fn publish_all(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PublishError>> {
        let deadline = Instant::now() + PUBLISH_TIMEOUT;
        let mut results = Vec::with_capacity(messages.len());
        let mut messages = messages.into_iter();
        loop {
            let flight: Vec<Outgoing> = messages.by_ref().take(FLIGHT_MAX).collect();
            if flight.is_empty() {
                return results;
            }
            results.append(&mut self.fly(flight, deadline).await);
        }
    }

    async fn fly(&self, messages: Vec<Outgoing>, deadline: Instant) -> Vec<Result<(), PublishError>> {
        let inner = &*self.inner;
        let mut link = inner.link.clone();
        let epoch = link.borrow_and_update().epoch;
        if !inner.is_connected() {
            return vec![Err(PublishError::NotConnected); messages.len()];
        }
        let total = messages.len();
        let wanted = u32::try_from(total).unwrap_or(u32::MAX);
        let Ok(Ok(_permits)) = timeout_at(deadline, inner.in_flight.acquire_many(wanted)).await else {
            return vec![Err(PublishError::Busy); total];
        };
        let flight = inner.acks.open(total);
        let mut sent = 0;
        let under_way = async {
            for (slot, message) in messages.into_iter().enumerate() {
                self.send(&flight, slot, message).await;
                sent = slot + 1;
            }
            // An acknowledgement never survives its connection: waiting longer would be in vain.
            tokio::select! {
                biased;
                () = flight.all() => {}
                _ = link.wait_for(|now| now.epoch != epoch) => {}
            }
        };
        let _ = timeout_at(deadline, under_way).await;
        for slot in sent..total {
            flight.settle(slot, PublishError::Busy);
        }
        flight.land(&PublishError::Unknown)
    }

    async fn send(&self, flight: &Flight, slot: usize, message: Outgoing) {
        let client = &self.inner.client;
        let reply = flight.reply_subject(slot);
        let result = match message.headers {
            Some(headers) => {
                client.publish_with_reply_and_headers(message.subject, reply, headers, message.payload).await
            }
            None => client.publish_with_reply(message.subject, reply, message.payload).await,
        };
        if let Err(error) = result {
            flight.settle(slot, cannot_send(&error));
        }
    }

    /// Publishes over plain NATS: sent or queued for sending, and nothing is known of its arrival.
    pub async fn publish_core(&self, message: Outgoing) -> Result<(), PublishError> {
        if !self.is_connected() {
            return Err(PublishError::NotConnected);
        }
        let client = &self.inner.client;
        let sending = async {
            match message.headers {
                Some(headers) => client.publish_with_headers(message.subject, headers, message.payload).await,
                None => client.publish(message.subject, message.payload).await,
            }
        };
        match timeout(PUBLISH_TIMEOUT, sending).await {
            Ok(result) => result.map_err(|error| cannot_send(&error)),
            Err(_) => Err(PublishError::Busy),
        }
    }

    /// Starts to consume; nothing happens before the first [`Consumption::next`].
    pub fn consume(&self, spec: ConsumerSpec) -> Consumption {
        Consumption::new(self.inner.clone(), spec)
    }

    /// Sends everything that is queued, 3 seconds at most.
    pub async fn flush(&self) -> Result<(), Error> {
        match timeout(REQUEST_TIMEOUT, self.inner.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::NotConnected),
        }
    }

    /// Sends what is queued and closes the connection for all clones, 10 seconds at most.
    pub async fn close(&self) {
        let mut link = self.inner.link.clone();
        if self.flush().await.is_err() || self.inner.client.drain().await.is_err() {
            return;
        }
        let _ = timeout(CLOSE_TIMEOUT, link.wait_for(|now| now.closed)).await;
    }
}

fn cannot_send(error: &async_nats::PublishError) -> PublishError {
    match error.kind() {
        async_nats::PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge,
        async_nats::PublishErrorKind::InvalidSubject => PublishError::Invalid(error.to_string()),
        async_nats::PublishErrorKind::Send => PublishError::NotConnected,
    }
}

/// The user and the password in an address, if any.
fn user_in(server: &str) -> Option<(String, Option<String>)> {
    let address: async_nats::ServerAddr = server.parse().ok()?;
    let user = address.username()?;
    Some((plain(user), address.password().map(plain)))
}

/// Undoes the percent-encoding of a part of an address.
fn plain(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            bytes.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// 10 ms, doubled up to 2 s, and up to half of it less at random, so that clients do not come back in step.
fn reconnect_delay(attempts: usize) -> Duration {
    let step = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(8);
    let full = Duration::from_millis(10 << step).min(Duration::from_secs(2));
    full.mul_f64(rand::random_range(0.5..=1.0))
}

fn on_event(event: &Event, told: &watch::Sender<Link>) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("the connection to NATS is lost; reconnecting"),
        Event::Closed => tracing::debug!("the connection to NATS is closed"),
        Event::ServerError(ServerError::AuthorizationViolation) => {
            tracing::error!("NATS refuses these credentials; trying again");
        }
        Event::ServerError(error) => tracing::error!(%error, "NATS reports an error"),
        Event::ClientError(error) => tracing::warn!(%error, "the NATS client reports an error"),
        Event::SlowConsumer(_) => tracing::error!("a NATS subscription overflowed and lost messages"),
        Event::LameDuckMode => tracing::info!("the NATS server is about to leave"),
        Event::Draining => {}
    }
    match event {
        Event::Connected => told.send_modify(|link| link.now(true)),
        Event::Disconnected => told.send_modify(|link| link.now(false)),
        Event::Closed => told.send_modify(|link| {
            link.now(false);
            link.closed = true;
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_taken_from_the_address() {
        let found = |server| user_in(server).map(|(user, password)| (user, password.unwrap_or_default()));
        let some = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(found("nats://me:p%40ss%2@host:4222"), some("me", "p@ss%2"));
        assert_eq!(found("nats://token@host"), some("token", ""));
        assert_eq!(found("nats://host:4222"), None);
        assert_eq!(found("host"), None);
    }

    #[test]
    fn reconnecting_never_waits_longer_than_two_seconds_nor_spins() {
        for attempts in [0, 1, 2, 8, 9, 1_000_000, usize::MAX] {
            let delay = reconnect_delay(attempts);
            assert!(delay >= Duration::from_millis(5) && delay <= Duration::from_secs(2), "{delay:?}");
        }
        assert!(reconnect_delay(100) >= Duration::from_secs(1));
    }
}
