//! A message as it was delivered, and the ways to acknowledge it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;

use crate::bus::Outgoing;
use crate::jetstream::JetStream;
use crate::transport::{Acknowledge, Answer};

/// A message delivered by JetStream. It is delivered again unless it is acknowledged in time.
///
/// The acknowledgements are sent and not awaited: one that is lost leads to another delivery, which
/// everything here has to cope with in any case. They wait only while the client's queue is full.
pub struct Message(Origin);

enum Origin {
    JetStream {
        raw: async_nats::Message,
        jetstream: Arc<JetStream>,
        /// The connection that delivered it.
        epoch: u64,
    },
    Other {
        raw: Outgoing,
        /// How often it was delivered, from 1.
        delivered: u64,
        /// When it was stored, in nanoseconds since the Unix epoch.
        stored_at: u64,
        acknowledge: Box<dyn Acknowledge>,
    },
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payloads stay out of logs.
        write!(f, "Message({}, {} bytes)", self.subject(), self.payload().len())
    }
}

impl Message {
    pub(crate) fn of_jetstream(raw: async_nats::Message, jetstream: Arc<JetStream>, epoch: u64) -> Self {
        Self(Origin::JetStream { raw, jetstream, epoch })
    }

    /// A message that something else than JetStream delivers, for the `delivered`th time (from 1). `stored_at` is in
    /// nanoseconds since the Unix epoch.
    pub fn new(raw: Outgoing, delivered: u64, stored_at: u64, acknowledge: Box<dyn Acknowledge>) -> Self {
        Self(Origin::Other { raw, delivered, stored_at, acknowledge })
    }

    /// The subject that it was published on.
    pub fn subject(&self) -> &str {
        match &self.0 {
            Origin::JetStream { raw, .. } => &raw.subject,
            Origin::Other { raw, .. } => &raw.subject,
        }
    }

    /// All its headers.
    pub fn headers(&self) -> Option<&HeaderMap> {
        match &self.0 {
            Origin::JetStream { raw, .. } => raw.headers.as_ref(),
            Origin::Other { raw, .. } => raw.headers.as_ref(),
        }
    }

    /// One header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        crate::headers::get(self.headers()?, name)
    }

    /// The body. A clone is cheap.
    pub fn payload(&self) -> &Bytes {
        match &self.0 {
            Origin::JetStream { raw, .. } => &raw.payload,
            Origin::Other { raw, .. } => &raw.payload,
        }
    }

    /// How often it was delivered, from 1.
    pub fn delivered(&self) -> u64 {
        match &self.0 {
            Origin::JetStream { raw, .. } => of_subject(raw, DELIVERED).unwrap_or(1),
            Origin::Other { delivered, .. } => *delivered,
        }
    }

    /// When JetStream stored it, in nanoseconds since the Unix epoch by the server's clock.
    pub fn stored_at_nanos(&self) -> Option<u64> {
        match &self.0 {
            Origin::JetStream { raw, .. } => of_subject(raw, STORED_AT),
            Origin::Other { stored_at, .. } => Some(*stored_at),
        }
    }

    /// Done: not to be delivered again. Says whether the acknowledgement was queued for sending.
    pub async fn ack(&self) -> bool {
        self.answer(Answer::Ack).await
    }

    /// Deliver it again, no sooner than after the delay.
    pub async fn nak_with_delay(&self, delay: Duration) {
        self.answer(Answer::Nak(delay)).await;
    }

    /// Still at it: the time until the next delivery begins anew.
    pub async fn progress(&self) {
        self.answer(Answer::Progress).await;
    }

    /// Never deliver it again, although it was not processed.
    pub async fn term(&self) {
        self.answer(Answer::Term).await;
    }

    async fn answer(&self, answer: Answer) -> bool {
        match &self.0 {
            Origin::JetStream { raw, jetstream, epoch } => {
                let Some(reply) = raw.reply.clone() else { return false };
                // Only on the connection that delivered it. After another one the message was perhaps delivered
                // again already; and when the store was lost meanwhile, its numbers begin anew, and this would
                // acknowledge somebody else's message.
                if !jetstream.is_connected() || jetstream.link.borrow().epoch != *epoch {
                    return false;
                }
                match jetstream.client.publish(reply, words(answer)).await {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::debug!(%error, "an acknowledgement was not sent");
                        false
                    }
                }
            }
            Origin::Other { acknowledge, .. } => acknowledge.answer(answer).await,
        }
    }
}

/// An answer in JetStream's words.
fn words(answer: Answer) -> Bytes {
    match answer {
        Answer::Ack => Bytes::from_static(b"+ACK"),
        Answer::Nak(Duration::ZERO) => Bytes::from_static(b"-NAK"),
        Answer::Nak(delay) => Bytes::from(format!(r#"-NAK {{"delay":{}}}"#, delay.as_nanos())),
        Answer::Progress => Bytes::from_static(b"+WPI"),
        Answer::Term => Bytes::from_static(b"+TERM"),
    }
}

/// The fields of an acknowledgement subject, counted from its end without the optional last token:
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`.
const DELIVERED: usize = 4;
const STORED_AT: usize = 7;

fn of_subject(raw: &async_nats::Message, field: usize) -> Option<u64> {
    ack_field(raw.reply.as_deref()?, field)
}

fn ack_field(subject: &str, field: usize) -> Option<u64> {
    let tokens = subject.split('.').count();
    // Nine tokens in the old form; from eleven on, domain and account come first.
    let shift = match tokens {
        9 => 0,
        11.. => 2,
        _ => return None,
    };
    subject.split('.').nth(field + shift)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_subject_is_read_in_both_forms() {
        let old = "$JS.ACK.S.C.3.100.50.1700000000000000000.7";
        let new = "$JS.ACK.hub.ACC.S.C.3.100.50.1700000000000000000.7.x";
        for subject in [old, new] {
            assert_eq!(ack_field(subject, DELIVERED), Some(3), "{subject}");
            assert_eq!(ack_field(subject, STORED_AT), Some(1_700_000_000_000_000_000), "{subject}");
        }
        assert_eq!(ack_field("reply.to.somebody", DELIVERED), None);
    }
}
