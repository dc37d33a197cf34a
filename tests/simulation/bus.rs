//! The transport of one process over the model of the bus's server: at least once, in any order, and not always true.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use snorri_bus::{
    Acknowledge, Answer, ConsumerSpec, Error, Message, Next, Outgoing, PublishError, Source, Transport,
};
use snorri_saga::wire::Subjects;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bug::Bug;
use crate::fault::Fault;
use crate::process::Process;
use crate::store::Database;
use crate::streams::{Delivery, Published, StreamSpec, Streams};
use crate::world::World;

/// How long the real bus waits for the acknowledgements of a publication.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(4);
/// When the model began, in nanoseconds since the Unix epoch.
const BEGIN_NANOS: u64 = 1_750_000_000_000_000_000;

/// The server, and who hears it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) world: Arc<World>,
    pub(crate) database: Arc<Database>,
    pub(crate) subjects: Subjects,
    streams: Mutex<Streams>,
    /// What was sent to inboxes, by plain NATS.
    inboxes: Mutex<BTreeMap<String, VecDeque<Outgoing>>>,
    began: Instant,
}

impl Server {
    pub(crate) fn new(world: &Arc<World>, database: &Arc<Database>) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            database: database.clone(),
            subjects: Subjects::default(),
            streams: Mutex::default(),
            inboxes: Mutex::default(),
            began: Instant::now(),
        })
    }

    pub(crate) fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inboxes(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<Outgoing>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what came into an inbox.
    pub(crate) fn take_answer(&self, inbox: &str) -> Option<Outgoing> {
        self.inboxes().get_mut(inbox)?.pop_front()
    }

    /// The streams as the real bus makes them.
    fn wanted(&self) -> Vec<StreamSpec> {
        let of = |name, subjects, minutes: u64, window, in_memory| StreamSpec {
            name,
            subjects,
            max_age: Duration::from_secs(60 * minutes),
            window: Duration::from_secs(window),
            in_memory,
        };
        let subjects = &self.subjects;
        vec![
            of(subjects.commands_stream(), subjects.commands_all(), 15, 60, false),
            of(subjects.replies_stream(), subjects.replies_all(), 15, 120, true),
            of(subjects.starts_stream(), subjects.starts_all(), 24 * 60, 120, false),
            of(subjects.signals_stream(), subjects.signals_all(), 24 * 60, 120, false),
            of(subjects.endings_stream(), subjects.ended_all(), 15, 120, false),
        ]
    }

    fn ensure_streams(&self) -> Vec<String> {
        let mut streams = self.streams();
        let wanted = self.wanted();
        let made = wanted.into_iter().filter(|spec| streams.ensure_stream(spec));
        made.map(|spec| spec.name).collect()
    }

    fn store(&self, by: &Process, message: &Outgoing) -> Published {
        let world = &self.world;
        let mut late = world.ms(0, world.plan.latency_ms);
        if world.strikes(Fault::BusReorder) {
            late += world.ms(0, 3_000);
        }
        let is_reply = message.subject.starts_with("snorri.reply.");
        let is_ending = message.subject.starts_with("snorri.ended.");
        if (is_reply && world.bug == Some(Bug::RepliesDropped))
            || (is_ending && world.bug == Some(Bug::AnnouncementsDropped))
        {
            return Published::Stored;
        }
        let mut message = message.clone();
        if world.bug == Some(Bug::AttemptsAlike)
            && let Some(headers) = &mut message.headers
            && let Some(id) = headers.get("Nats-Msg-Id").map(|id| id.as_str().to_owned())
        {
            let alike: Vec<&str> = id.split('.').take(3).collect();
            headers.insert("Nats-Msg-Id", alike.join("."));
        }
        let published = self.streams().publish(&message, Instant::now() + late, false);
        if published != Published::NoStream {
            self.database.checks.stored(&self.database.tables(), &by.name, &message);
        }
        published
    }
}

/// One process's connection.
#[derive(Debug, Clone)]
pub(crate) struct BusPort {
    server: Arc<Server>,
    process: Arc<Process>,
}

impl BusPort {
    pub(crate) fn new(server: &Arc<Server>, process: &Arc<Process>) -> Arc<Self> {
        Arc::new(Self { server: server.clone(), process: process.clone() })
    }

    fn publish_one(&self, message: &Outgoing) -> Result<(), PublishError> {
        let world = &self.server.world;
        if world.strikes(Fault::BusRefused) {
            let description = "maximum bytes exceeded".to_owned();
            return Err(PublishError::Refused { code: 10_077, description });
        }
        if world.strikes(Fault::BusUnknown) {
            return Err(PublishError::Unknown);
        }
        if world.strikes(Fault::BusLate) {
            let (late, message) = (world.ms(4_000, 30_000), message.clone());
            let (server, process) = (self.server.clone(), self.process.clone());
            tokio::spawn(async move {
                sleep(late).await;
                server.store(&process, &message);
            });
            return Err(PublishError::Unknown);
        }
        match self.server.store(&self.process, message) {
            Published::NoStream => Err(PublishError::NoStream),
            _ if world.strikes(Fault::BusAmbiguous) => Err(PublishError::Unknown),
            Published::Stored | Published::Duplicate => Ok(()),
        }
    }
}

#[async_trait]
impl Transport for BusPort {
    fn is_connected(&self) -> bool {
        self.process.link_now().up
    }

    async fn connected(&self) {
        self.process.link_is(|link| link.up).await;
        self.process.alive().await;
    }

    fn link_epoch(&self) -> u64 {
        self.process.link_now().epoch
    }

    async fn link_changed(&self, epoch: u64) {
        self.process.link_is(|link| link.epoch != epoch).await;
        self.process.alive().await;
    }

    async fn ensure_streams(&self) -> Result<Vec<String>, Error> {
        self.process.enter("ensure_streams").await;
        sleep(self.server.world.ms(0, self.server.world.plan.latency_ms)).await;
        if !self.is_connected() {
            self.process.leave("ensure_streams").await;
            return Err(Error::NotConnected);
        }
        if self.process.is_dead() {
            self.process.alive().await;
        }
        let made = self.server.ensure_streams();
        if !made.is_empty() {
            self.server.world.say(format_args!("{} makes the streams {made:?}", self.process.name));
        }
        self.process.leave("ensure_streams").await;
        Ok(made)
    }

    async fn delete_consumer(&self, stream: &str, durable: &str) -> Result<(), Error> {
        self.process.enter("delete_consumer").await;
        if !self.is_connected() {
            return Err(Error::NotConnected);
        }
        if self.server.streams().delete_consumer(stream, durable) {
            self.server.world.say(format_args!("{} deletes the consumer {durable}", self.process.name));
        }
        self.process.leave("delete_consumer").await;
        Ok(())
    }

    async fn publish_all(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PublishError>> {
        self.process.enter("publish").await;
        let world = &self.server.world;
        let link = self.process.link_now();
        if !link.up {
            return messages.iter().map(|_| Err(PublishError::NotConnected)).collect();
        }
        sleep(world.ms(0, world.plan.latency_ms)).await;
        if self.process.is_dead() {
            self.process.alive().await;
        }
        let mut results = Vec::with_capacity(messages.len());
        for message in &messages {
            // The connection may have been lost on the way: then nobody knows what arrived.
            let is_lost = self.process.link_now() != link;
            let result = match is_lost {
                true if world.chance(0.5) => Err(PublishError::Unknown),
                true => self.publish_one(message).and(Err(PublishError::Unknown)),
                false => self.publish_one(message),
            };
            let id =
                message.headers.as_ref().and_then(|of| of.get("Nats-Msg-Id").or(of.get("Snorri-Command")));
            let id = id.map_or("", |id| id.as_str());
            world.say(format_args!(
                "{} publishes {} {id}{}",
                self.process.name,
                message.subject,
                result.as_ref().err().map(|error| format!(": {error}")).unwrap_or_default()
            ));
            results.push(result);
        }
        if results.iter().any(|result| result == &Err(PublishError::Unknown)) {
            sleep(PUBLISH_TIMEOUT).await;
        } else {
            sleep(world.ms(0, world.plan.latency_ms)).await;
        }
        self.process.leave("publish").await;
        results
    }

    async fn publish_core(&self, message: Outgoing) -> Result<(), PublishError> {
        self.process.enter("publish_core").await;
        if !self.is_connected() {
            return Err(PublishError::NotConnected);
        }
        let world = &self.server.world;
        if world.strikes(Fault::BusUnknown) {
            return Ok(());
        }
        if message.subject.starts_with("_INBOX.") {
            self.server.inboxes().entry(message.subject.clone()).or_default().push_back(message);
        } else {
            self.server.store(&self.process, &message);
        }
        self.process.leave("publish_core").await;
        Ok(())
    }

    fn consume(&self, spec: ConsumerSpec) -> Box<dyn Source> {
        // The real one takes the time from the machine's clock, a little before its process began.
        let from = match (spec.deliver_new_only, spec.deliver_from) {
            (true, _) => Some(Instant::now()),
            (false, Some(_)) => {
                Some(Instant::now().checked_sub(Duration::from_secs(5)).unwrap_or(self.server.began))
            }
            (false, None) => None,
        };
        Box::new(Pull { port: self.clone(), spec, from, known: None, failures: 0, begun: false })
    }

    async fn flush(&self) -> Result<(), Error> {
        self.process.alive().await;
        if self.is_connected() { Ok(()) } else { Err(Error::NotConnected) }
    }

    async fn close(&self) {
        self.process.alive().await;
    }
}

/// A source over one durable consumer. It repairs itself, and says so as the real one does.
#[derive(Debug)]
struct Pull {
    port: BusPort,
    spec: ConsumerSpec,
    from: Option<Instant>,
    known: Option<u64>,
    failures: u32,
    begun: bool,
}

impl Pull {
    /// The consumer's incarnation; made where it is missing, with its stream.
    fn ensure(&self) -> u64 {
        let ConsumerSpec { stream, durable, .. } = &self.spec;
        let server = &self.port.server;
        let found = server.streams().find_consumer(stream, durable);
        if let Some(born) = found {
            return born;
        }
        let spec = server.wanted().into_iter().find(|spec| spec.name == *stream);
        let mut streams = server.streams();
        if let Some(spec) = spec
            && streams.ensure_stream(&spec)
        {
            server.world.say(format_args!("{} makes the stream {stream}", self.port.process.name));
        }
        let max_pending = usize::try_from(self.spec.max_ack_pending).unwrap_or(usize::MAX);
        let born = streams.create_consumer(
            stream,
            durable,
            &self.spec.filter,
            self.spec.ack_wait,
            max_pending,
            self.from,
        );
        server.world.say(format_args!("{} makes the consumer {durable}", self.port.process.name));
        born.unwrap_or(0)
    }

    fn message(&self, delivery: Delivery) -> Message {
        let Delivery { seq, deliveries, stored, born } = delivery;
        let since = stored.at.duration_since(self.port.server.began);
        let stored_at = BEGIN_NANOS + u64::try_from(since.as_nanos()).unwrap_or(0);
        // Two messages of one millisecond are told apart, as on a real server.
        let stored_at = stored_at + seq % 1_000_000;
        let handle = Handle {
            port: self.port.clone(),
            stream: self.spec.stream.clone(),
            durable: self.spec.durable.clone(),
            born,
            seq,
            epoch: self.port.process.link_now().epoch,
        };
        Message::new(stored.message, deliveries, stored_at, Box::new(handle))
    }
}

#[async_trait]
impl Source for Pull {
    async fn next_up_to(&mut self, limit: usize) -> Next {
        let (server, process) = (self.port.server.clone(), self.port.process.clone());
        let world = server.world.clone();
        loop {
            self.port.connected().await;
            if self.known.is_none()
                || server.streams().find_consumer(&self.spec.stream, &self.spec.durable) != self.known
            {
                // Noticed after a while, unless it is the first time.
                let pause = if std::mem::replace(&mut self.begun, true) {
                    world.ms(20, 3_500)
                } else {
                    Duration::ZERO
                };
                sleep(pause).await;
                process.enter("ensure_consumer").await;
                if !process.link_now().up {
                    continue;
                }
                let born = self.ensure();
                let is_news = self.known.is_some_and(|known| known != born);
                self.known = Some(born);
                self.failures = 0;
                if is_news {
                    world.say(format_args!(
                        "{}: the consumer {} was made anew",
                        process.name, self.spec.durable
                    ));
                    return Next::Recreated;
                }
            }
            let bell = server.streams().bell(&self.spec.durable);
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let mut batch = Vec::new();
            let mut wait_until = None;
            while batch.len() < limit {
                let next = server.streams().next(&self.spec.stream, &self.spec.durable);
                match next {
                    Ok(_) if world.strikes(Fault::BusLostDelivery) => {}
                    Ok(delivery) => {
                        if world.strikes(Fault::BusDuplicate) {
                            // Again before long, whatever becomes of this delivery.
                            let mut streams = server.streams();
                            let ConsumerSpec { stream, durable, .. } = &self.spec;
                            streams.again(stream, durable, delivery.born, delivery.seq, world.ms(0, 500));
                        }
                        if world.bug == Some(Bug::AckOnDelivery) {
                            let ConsumerSpec { stream, durable, .. } = &self.spec;
                            server.streams().done(stream, durable, delivery.born, delivery.seq);
                        }
                        batch.push(self.message(delivery));
                    }
                    Err(when) => {
                        wait_until = when;
                        break;
                    }
                }
            }
            if !batch.is_empty() {
                world.say(format_args!("{} takes {} of {}", process.name, batch.len(), self.spec.durable));
                // No await between the taking and the return: cancelled here, they would be lost until `ack_wait`.
                return Next::Batch(batch);
            }
            let epoch = process.link_now().epoch;
            // A silence is looked into now and then, as the real one does.
            let patience = Instant::now() + Duration::from_secs(30);
            tokio::select! {
                biased;
                () = &mut rung => {}
                () = self.port.link_changed(epoch) => {}
                () = sleep_until(wait_until.unwrap_or(patience).min(patience)) => {}
            }
        }
    }

    async fn close(self: Box<Self>) {
        self.port.process.alive().await;
    }
}

/// Takes the answers to one delivery.
struct Handle {
    port: BusPort,
    stream: String,
    durable: String,
    born: u64,
    seq: u64,
    epoch: u64,
}

#[async_trait]
impl Acknowledge for Handle {
    async fn answer(&self, answer: Answer) -> bool {
        let process = &self.port.process;
        process.enter("an acknowledgement").await;
        let link = process.link_now();
        if !link.up || link.epoch != self.epoch {
            return false;
        }
        let world = &self.port.server.world;
        if !world.strikes(Fault::BusLostAck) {
            let mut streams = self.port.server.streams();
            let (stream, durable) = (self.stream.as_str(), self.durable.as_str());
            match answer {
                Answer::Ack | Answer::Term => streams.done(stream, durable, self.born, self.seq),
                Answer::Nak(delay) => streams.again(stream, durable, self.born, self.seq, delay),
                Answer::Progress => streams.progress(stream, durable, self.born, self.seq),
            }
        }
        process.leave("an acknowledgement").await;
        true
    }
}
