//! JetStream as the transport: the connection and what is sent over it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::{Client, ConnectOptions, Event, ServerError};
use async_trait::async_trait;
use snorri_saga::wire::Subjects;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::acks::{self, Acks, Flight, PublishError};
use crate::bus::{BusOptions, Error, Outgoing};
use crate::consume::Pull;
use crate::topology;
use crate::transport::{ConsumerSpec, Source, Transport};
use crate::version::{Verdict, judge};

/// How long one call of `publish_all` waits for its acknowledgements, all together.
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

/// A connection to NATS with JetStream.
#[derive(Debug)]
pub(crate) struct JetStream {
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

impl Drop for JetStream {
    fn drop(&mut self) {
        // The task holds a subscription, and with it the client open.
        self.sorter.abort();
    }
}

impl JetStream {
    /// Prepares the connection and returns at once; the connection itself is made in the background, now
    /// or when a server comes up. Must be called inside a Tokio runtime.
    pub(crate) async fn connect(options: BusOptions) -> Result<Self, Error> {
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
        })
    }

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

    /// The server's version, or nothing when there is no connection within two seconds. Warns of versions
    /// with known losses. Cancel-safe.
    pub(crate) async fn server_version(&self) -> Option<String> {
        let _ = timeout(Duration::from_secs(2), self.connected()).await;
        let version = self.client.try_server_info()?.version;
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

    async fn fly(&self, messages: Vec<Outgoing>, deadline: Instant) -> Vec<Result<(), PublishError>> {
        if !self.is_connected() {
            return vec![Err(PublishError::NotConnected); messages.len()];
        }
        let total = messages.len();
        let wanted = u32::try_from(total).unwrap_or(u32::MAX);
        let Ok(Ok(_permits)) = timeout_at(deadline, self.in_flight.acquire_many(wanted)).await else {
            return vec![Err(PublishError::Busy); total];
        };
        // Of the connection that carries them, which may be another than the one before the wait.
        let mut link = self.link.clone();
        let epoch = link.borrow_and_update().epoch;
        let flight = self.acks.open(total);
        let mut sent = 0;
        let under_way = async {
            for (slot, message) in messages.into_iter().enumerate() {
                snorri_kill::point!(PublishMid if slot > 0 => after self.client.flush(), return);
                self.send(&flight, slot, message).await;
                sent = slot + 1;
            }
            snorri_kill::point!(PublishSent => after self.client.flush(), return);
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
        let client = &self.client;
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
}

#[async_trait]
impl Transport for Arc<JetStream> {
    fn is_connected(&self) -> bool {
        JetStream::is_connected(self)
    }

    async fn connected(&self) {
        JetStream::connected(self).await;
    }

    fn link_epoch(&self) -> u64 {
        self.link.borrow().epoch
    }

    async fn link_changed(&self, epoch: u64) {
        // The sender is kept beside the receiver, so there is no other end.
        let _ = self.link.clone().wait_for(|link| link.epoch != epoch).await;
    }

    async fn ensure_streams(&self) -> Result<Vec<String>, Error> {
        topology::ensure_streams(self).await
    }

    async fn delete_consumer(&self, stream: &str, durable: &str) -> Result<(), Error> {
        topology::delete_consumer(self, stream, durable).await
    }

    async fn publish_all(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PublishError>> {
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

    async fn publish_core(&self, message: Outgoing) -> Result<(), PublishError> {
        if !JetStream::is_connected(self) {
            return Err(PublishError::NotConnected);
        }
        let sending = async {
            match message.headers {
                Some(headers) => {
                    self.client.publish_with_headers(message.subject, headers, message.payload).await
                }
                None => self.client.publish(message.subject, message.payload).await,
            }
        };
        match timeout(PUBLISH_TIMEOUT, sending).await {
            Ok(result) => result.map_err(|error| cannot_send(&error)),
            Err(_) => Err(PublishError::Busy),
        }
    }

    fn consume(&self, spec: ConsumerSpec) -> Box<dyn Source> {
        Box::new(Pull::new(self.clone(), spec))
    }

    async fn flush(&self) -> Result<(), Error> {
        match timeout(REQUEST_TIMEOUT, self.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::NotConnected),
        }
    }

    async fn close(&self) {
        let mut link = self.link.clone();
        if self.flush().await.is_err() || self.client.drain().await.is_err() {
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
