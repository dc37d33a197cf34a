//! Publish acknowledgements: one inbox for the whole client, one slot a message, one wake-up a batch.
//!
//! A batch of messages is a [`Flight`]. Its messages carry `<inbox>.<flight>.<slot>` as their reply
//! subject; one task sorts what comes back into the slots. A flight that is given up leaves nothing
//! behind, and an answer that comes later finds nobody and is dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{StatusCode, Subscriber};
use futures::StreamExt as _;
use tokio::sync::Notify;

/// Why a message is not known to be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Nothing was sent: there is no connection.
    #[error("not connected to NATS")]
    NotConnected,
    /// Nothing was sent: too much is in flight already and did not clear in time.
    #[error("too many messages are in flight")]
    Busy,
    /// The answer did not come, or the connection was lost before it: the message may be stored, or may be
    /// stored later.
    #[error("no acknowledgement in time; the message may be stored")]
    Unknown,
    /// No stream takes this subject (or JetStream has no leader for it just now).
    #[error("no stream answers for the subject")]
    NoStream,
    /// JetStream refused the message.
    #[error("JetStream refused the message: {description} ({code})")]
    Refused {
        /// JetStream's error code, such as 10077.
        code: u64,
        /// Its words.
        description: String,
    },
    /// The message is larger than the server takes.
    #[error("the message is larger than the server takes")]
    TooLarge,
    /// The subject or a header cannot be sent.
    #[error("the message cannot be sent: {0}")]
    Invalid(String),
}

type Slot = Option<Result<(), PublishError>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while one of these locks is held leaves nothing half-done that matters.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All flights of one client.
#[derive(Debug)]
pub(crate) struct Acks {
    inbox: String,
    next: AtomicU64,
    flights: Mutex<HashMap<u64, Arc<Shared>>>,
}

#[derive(Debug)]
struct Shared {
    slots: Mutex<Slots>,
    done: Notify,
}

#[derive(Debug)]
struct Slots {
    of: Vec<Slot>,
    missing: usize,
}

impl Shared {
    fn set(&self, slot: usize, result: Result<(), PublishError>) {
        let mut slots = lock(&self.slots);
        let Some(place) = slots.of.get_mut(slot) else { return };
        if place.is_some() {
            return;
        }
        *place = Some(result);
        slots.missing -= 1;
        if slots.missing == 0 {
            self.done.notify_one();
        }
    }
}

impl Acks {
    pub(crate) fn new(inbox: String) -> Arc<Self> {
        Arc::new(Self { inbox, next: AtomicU64::new(0), flights: Mutex::new(HashMap::new()) })
    }

    /// What the task behind [`sort`] must subscribe to.
    pub(crate) fn wildcard(&self) -> String {
        format!("{}.*.*", self.inbox)
    }

    /// Opens a flight of so many messages.
    pub(crate) fn open(self: &Arc<Self>, messages: usize) -> Flight {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            slots: Mutex::new(Slots { of: vec![None; messages], missing: messages }),
            done: Notify::new(),
        });
        lock(&self.flights).insert(id, shared.clone());
        Flight { acks: self.clone(), id, shared }
    }

    fn landed(&self, subject: &str, result: Result<(), PublishError>) {
        let Some((flight, slot)) = subject
            .strip_prefix(self.inbox.as_str())
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(flight, slot)| Some((flight.parse::<u64>().ok()?, slot.parse::<usize>().ok()?)))
        else {
            return;
        };
        let shared = lock(&self.flights).get(&flight).cloned();
        if let Some(shared) = shared {
            shared.set(slot, result);
        }
    }
}

/// Sorts acknowledgements into their flights until the subscription ends.
pub(crate) async fn sort(acks: Arc<Acks>, mut subscriber: Subscriber) {
    while let Some(message) = subscriber.next().await {
        acks.landed(&message.subject, answer(message.status, &message.payload));
    }
}

/// Reads JetStream's answer to a publish.
fn answer(status: Option<StatusCode>, payload: &[u8]) -> Result<(), PublishError> {
    if status == Some(StatusCode::NO_RESPONDERS) {
        return Err(PublishError::NoStream);
    }
    // The answer to a stored message begins with its stream's name; parsing it would tell no more.
    if payload.starts_with(br#"{"stream""#) {
        return Ok(());
    }
    let value: serde_json::Value = serde_json::from_slice(payload).map_err(|_| PublishError::Unknown)?;
    match value.get("error") {
        None if value.get("seq").is_some() => Ok(()),
        None => Err(PublishError::Unknown),
        Some(error) => {
            let code = error.get("err_code").and_then(serde_json::Value::as_u64).unwrap_or_default();
            let description = error.get("description").and_then(serde_json::Value::as_str);
            // 10059: stream not found.
            if code == 10059 {
                return Err(PublishError::NoStream);
            }
            let description = description.unwrap_or_default().chars().take(200).collect();
            Err(PublishError::Refused { code, description })
        }
    }
}

/// The slots of one batch. Dropping it forgets the batch.
#[derive(Debug)]
pub(crate) struct Flight {
    acks: Arc<Acks>,
    id: u64,
    shared: Arc<Shared>,
}

impl Flight {
    /// The reply subject of the message in the given slot.
    pub(crate) fn reply_subject(&self, slot: usize) -> String {
        format!("{}.{}.{slot}", self.acks.inbox, self.id)
    }

    /// Settles a slot from this side, because its message could not be sent.
    pub(crate) fn settle(&self, slot: usize, error: PublishError) {
        self.shared.set(slot, Err(error));
    }

    /// Waits until all slots are settled. Cancel-safe.
    pub(crate) async fn all(&self) {
        loop {
            if lock(&self.shared.slots).missing == 0 {
                return;
            }
            self.shared.done.notified().await;
        }
    }

    /// Closes the flight: the slots in order, with the given error where no answer came.
    pub(crate) fn land(self, missing: &PublishError) -> Vec<Result<(), PublishError>> {
        let slots = std::mem::take(&mut lock(&self.shared.slots).of);
        slots.into_iter().map(|slot| slot.unwrap_or_else(|| Err(missing.clone()))).collect()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        lock(&self.acks.flights).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(answer(None, br#"{"stream":"S","seq":7}"#), Ok(()));
        assert_eq!(answer(None, br#"{"stream":"S","seq":7,"duplicate":true}"#), Ok(()));
        assert_eq!(answer(Some(StatusCode::NO_RESPONDERS), b""), Err(PublishError::NoStream));
        assert_eq!(
            answer(None, br#"{"error":{"code":503,"err_code":10077,"description":"full"},"seq":0}"#),
            Err(PublishError::Refused { code: 10077, description: "full".to_owned() })
        );
        assert_eq!(answer(None, b"nonsense"), Err(PublishError::Unknown));
    }

    #[tokio::test]
    async fn a_flight_ends_when_each_slot_is_settled_once_and_leaves_nothing_behind() {
        let acks = Acks::new("_INBOX.a".to_owned());
        let flight = acks.open(3);
        acks.landed(&flight.reply_subject(2), Ok(()));
        acks.landed(&flight.reply_subject(2), Err(PublishError::NoStream));
        acks.landed("_INBOX.a.0.99", Ok(()));
        acks.landed("_INBOX.a.x.0", Ok(()));
        flight.settle(0, PublishError::TooLarge);
        acks.landed(&flight.reply_subject(1), Ok(()));
        flight.all().await;
        let late = flight.reply_subject(0);
        assert_eq!(flight.land(&PublishError::Unknown), vec![Err(PublishError::TooLarge), Ok(()), Ok(())]);
        assert!(lock(&acks.flights).is_empty());
        acks.landed(&late, Ok(()));
    }

    #[test]
    fn what_was_not_answered_is_unknown() {
        let acks = Acks::new("_INBOX.a".to_owned());
        let flight = acks.open(2);
        acks.landed(&flight.reply_subject(1), Ok(()));
        assert_eq!(flight.land(&PublishError::Unknown), vec![Err(PublishError::Unknown), Ok(())]);
    }
}
