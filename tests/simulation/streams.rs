//! The bus's server as data: streams, durable consumers, the duplicate window, and what may be lost of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use snorri_bus::Outgoing;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A stream, with the settings that matter.
#[derive(Debug)]
pub(crate) struct Stream {
    subjects: String,
    max_age: Duration,
    window: Duration,
    in_memory: bool,
    messages: BTreeMap<u64, Stored>,
    last: u64,
    ids: BTreeMap<String, Instant>,
    consumers: BTreeMap<String, Consumer>,
}

/// A stored message.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) message: Outgoing,
    pub(crate) at: Instant,
}

/// A durable consumer.
#[derive(Debug)]
struct Consumer {
    /// Tells one incarnation from the next.
    born: u64,
    filter: String,
    ack_wait: Duration,
    max_pending: usize,
    /// What was never delivered, and from when on it may be.
    queue: BTreeSet<(Instant, u64)>,
    /// What is to be delivered again, and when.
    again: BTreeSet<(Instant, u64)>,
    under_way: BTreeMap<u64, UnderWay>,
    /// What was acknowledged lately: a server that crashes forgets the newest of it.
    acked: BTreeMap<u64, Instant>,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    deliveries: u64,
    due: Instant,
}

/// A message as it is delivered.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) seq: u64,
    pub(crate) deliveries: u64,
    pub(crate) stored: Stored,
    pub(crate) born: u64,
}

/// The settings of a stream that is to be there.
#[derive(Debug, Clone)]
pub(crate) struct StreamSpec {
    pub(crate) name: String,
    pub(crate) subjects: String,
    pub(crate) max_age: Duration,
    pub(crate) window: Duration,
    pub(crate) in_memory: bool,
}

/// What came of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Stored,
    Duplicate,
    NoStream,
}

/// The server.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    all: BTreeMap<String, Stream>,
    births: u64,
    /// Told of what concerns a consumer, by its durable name.
    bells: BTreeMap<String, Arc<Notify>>,
}

/// Whether a subject matches a filter with wildcards.
pub(crate) fn matches(filter: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    for token in filter.split('.') {
        match (token, subject.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(part)) if token == part => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

impl Streams {
    /// What rings when there is news for a consumer.
    pub(crate) fn bell(&mut self, durable: &str) -> Arc<Notify> {
        self.bells.entry(durable.to_owned()).or_default().clone()
    }

    /// Everybody looks again.
    pub(crate) fn ring_all(&self) {
        for bell in self.bells.values() {
            bell.notify_waiters();
        }
    }

    fn ring(&self, durable: &str) {
        if let Some(bell) = self.bells.get(durable) {
            bell.notify_waiters();
        }
    }

    /// Creates a stream that is missing, and says whether it did.
    pub(crate) fn ensure_stream(&mut self, spec: &StreamSpec) -> bool {
        if self.all.contains_key(&spec.name) {
            return false;
        }
        let stream = Stream {
            subjects: spec.subjects.clone(),
            max_age: spec.max_age,
            window: spec.window,
            in_memory: spec.in_memory,
            messages: BTreeMap::new(),
            last: 0,
            ids: BTreeMap::new(),
            consumers: BTreeMap::new(),
        };
        self.all.insert(spec.name.clone(), stream);
        true
    }

    /// Stores a message. `ready` is when consumers may have it.
    pub(crate) fn publish(&mut self, message: &Outgoing, ready: Instant, forgets: bool) -> Published {
        let now = Instant::now();
        let found = self.all.values_mut().find(|stream| matches(&stream.subjects, &message.subject));
        let Some(stream) = found else { return Published::NoStream };
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
        if let Some(id) = id {
            let known = stream.ids.insert(id.as_str().to_owned(), now);
            if let Some(at) = known
                && now.duration_since(at) < stream.window
                && !forgets
            {
                stream.ids.insert(id.as_str().to_owned(), at);
                return Published::Duplicate;
            }
        }
        stream.last += 1;
        let seq = stream.last;
        stream.messages.insert(seq, Stored { message: message.clone(), at: now });
        let mut rings = Vec::new();
        for (name, consumer) in &mut stream.consumers {
            if matches(&consumer.filter, &message.subject) {
                consumer.queue.insert((ready, seq));
                rings.push(name.clone());
            }
        }
        for name in rings {
            self.ring(&name);
        }
        Published::Stored
    }

    /// The incarnation of a consumer, if it is there.
    pub(crate) fn find_consumer(&self, stream: &str, durable: &str) -> Option<u64> {
        self.all.get(stream)?.consumers.get(durable).map(|consumer| consumer.born)
    }

    /// Creates a consumer that begins with what was stored at that time or later. Nothing without its stream.
    pub(crate) fn create_consumer(
        &mut self,
        stream: &str,
        durable: &str,
        filter: &str,
        ack_wait: Duration,
        max_pending: usize,
        from: Option<Instant>,
    ) -> Option<u64> {
        let stream = self.all.get_mut(stream)?;
        self.births += 1;
        let queue = stream
            .messages
            .iter()
            .filter(|(_, stored)| {
                matches(filter, &stored.message.subject) && from.is_none_or(|from| stored.at >= from)
            })
            .map(|(seq, stored)| (stored.at, *seq))
            .collect();
        let consumer = Consumer {
            born: self.births,
            filter: filter.to_owned(),
            ack_wait,
            max_pending,
            queue,
            again: BTreeSet::new(),
            under_way: BTreeMap::new(),
            acked: BTreeMap::new(),
        };
        stream.consumers.insert(durable.to_owned(), consumer);
        Some(self.births)
    }

    pub(crate) fn delete_consumer(&mut self, stream: &str, durable: &str) -> bool {
        let gone = self.all.get_mut(stream).is_some_and(|one| one.consumers.remove(durable).is_some());
        self.ring(durable);
        gone
    }

    pub(crate) fn delete_stream(&mut self, name: &str) -> bool {
        let gone = self.all.remove(name).is_some();
        self.ring_all();
        gone
    }

    /// The names of the streams, and of the consumers with their streams.
    pub(crate) fn names(&self) -> (Vec<String>, Vec<(String, String)>) {
        let consumers = self
            .all
            .iter()
            .flat_map(|(stream, of)| of.consumers.keys().map(|name| (stream.clone(), name.clone())));
        (self.all.keys().cloned().collect(), consumers.collect())
    }

    /// The next message of a consumer, or when there may be one.
    pub(crate) fn next(&mut self, stream: &str, durable: &str) -> Result<Delivery, Option<Instant>> {
        let now = Instant::now();
        let Some(of) = self.all.get_mut(stream) else { return Err(None) };
        let (messages, max_age) = (&of.messages, of.max_age);
        let Some(consumer) = of.consumers.get_mut(durable) else { return Err(None) };
        loop {
            let again = consumer.again.first().copied();
            // New ones only while not too many are under way; old ones always.
            let is_full = consumer.under_way.len() >= consumer.max_pending;
            let fresh = consumer.queue.first().copied().filter(|_| !is_full);
            let first = match (again, fresh) {
                (Some(again), _) if again.0 <= now => again,
                (_, Some(fresh)) if fresh.0 <= now => fresh,
                (again, fresh) => return Err(again.into_iter().chain(fresh).map(|(at, _)| at).min()),
            };
            let (_, seq) = first;
            if !consumer.again.remove(&first) {
                consumer.queue.remove(&first);
            }
            let before = consumer.under_way.get(&seq).copied();
            // An entry that an acknowledgement or a later deadline has overtaken.
            if consumer.acked.contains_key(&seq) || before.is_some_and(|before| before.due > now) {
                continue;
            }
            let Some(stored) = messages.get(&seq).filter(|one| now.duration_since(one.at) < max_age) else {
                consumer.under_way.remove(&seq);
                continue;
            };
            let deliveries = before.map_or(0, |before| before.deliveries) + 1;
            let due = now + consumer.ack_wait;
            consumer.under_way.insert(seq, UnderWay { deliveries, due });
            consumer.again.insert((due, seq));
            return Ok(Delivery { seq, deliveries, stored: stored.clone(), born: consumer.born });
        }
    }

    fn consumer(&mut self, stream: &str, durable: &str, born: u64) -> Option<&mut Consumer> {
        let consumer = self.all.get_mut(stream)?.consumers.get_mut(durable)?;
        (consumer.born == born).then_some(consumer)
    }

    /// Done: acknowledged or terminated.
    pub(crate) fn done(&mut self, stream: &str, durable: &str, born: u64, seq: u64) {
        if let Some(consumer) = self.consumer(stream, durable, born)
            && consumer.under_way.remove(&seq).is_some()
        {
            consumer.acked.insert(seq, Instant::now());
            self.ring(durable);
        }
    }

    /// To be delivered again then.
    pub(crate) fn again(&mut self, stream: &str, durable: &str, born: u64, seq: u64, after: Duration) {
        let due = Instant::now() + after;
        if let Some(consumer) = self.consumer(stream, durable, born)
            && let Some(under_way) = consumer.under_way.get_mut(&seq)
        {
            under_way.due = due;
            consumer.again.insert((due, seq));
            self.ring(durable);
        }
    }

    /// Still at it.
    pub(crate) fn progress(&mut self, stream: &str, durable: &str, born: u64, seq: u64) {
        if let Some(consumer) = self.consumer(stream, durable, born) {
            let due = Instant::now() + consumer.ack_wait;
            if let Some(under_way) = consumer.under_way.get_mut(&seq) {
                under_way.due = due;
                consumer.again.insert((due, seq));
            }
        }
    }

    /// The server crashed and lost what it had not written yet: the newest messages, and the newest
    /// acknowledgements. Returns how many messages.
    pub(crate) fn lose_tail(&mut self, since: Instant) -> usize {
        let mut lost = 0;
        for stream in self.all.values_mut() {
            let before = stream.messages.len();
            stream.messages.retain(|_, stored| stored.at < since);
            lost += before - stream.messages.len();
            for consumer in stream.consumers.values_mut() {
                let forgotten: Vec<u64> =
                    consumer.acked.iter().filter(|(_, at)| **at >= since).map(|(seq, _)| *seq).collect();
                for seq in forgotten {
                    consumer.acked.remove(&seq);
                    consumer.queue.insert((Instant::now(), seq));
                }
            }
        }
        self.ring_all();
        lost
    }

    /// The server was restarted: what was only in memory is gone.
    pub(crate) fn lose_memory(&mut self) {
        self.all.retain(|_, stream| !stream.in_memory);
        self.ring_all();
    }

    /// The server's store is gone.
    pub(crate) fn wipe(&mut self) {
        self.all.clear();
        self.ring_all();
    }

    /// The duplicate window is lost, as after some restarts.
    pub(crate) fn forget_ids(&mut self) {
        for stream in self.all.values_mut() {
            stream.ids.clear();
        }
    }
}
