//! A message as it was delivered, and the ways to acknowledge it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;

use crate::bus::Inner;

/// A message delivered by JetStream. It is delivered again unless it is acknowledged in time.
///
/// The acknowledgements are sent and not awaited: one that is lost leads to another delivery, which
/// everything here has to cope with in any case. They wait only while the client's queue is full.
pub struct Message {
    pub(crate) raw: async_nats::Message,
    pub(crate) inner: Arc<Inner>,
    /// The connection that delivered it.
    pub(crate) epoch: u64,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payloads stay out of logs.
        write!(f, "Message({}, {} bytes)", self.raw.subject, self.raw.payload.len())
    }
}

impl Message {
    /// The subject that it was published on.
    pub fn subject(&self) -> &str {
        &self.raw.subject
    }

    /// All its headers.
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.raw.headers.as_ref()
    }

    /// One header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        crate::headers::get(self.headers()?, name)
    }

    /// The body. A clone is cheap.
    pub fn payload(&self) -> &Bytes {
        &self.raw.payload
    }

    /// How often it was delivered, from 1.
    pub fn delivered(&self) -> u64 {
        self.raw.reply.as_deref().and_then(|subject| ack_field(subject, DELIVERED)).unwrap_or(1)
    }

    /// When JetStream stored it, in nanoseconds since the Unix epoch by the server's clock.
    pub fn stored_at_nanos(&self) -> Option<u64> {
        ack_field(self.raw.reply.as_deref()?, STORED_AT)
    }

    /// How many messages wait behind it in the stream, for this consumer.
    pub fn waiting_behind(&self) -> Option<u64> {
        ack_field(self.raw.reply.as_deref()?, WAITING_BEHIND)
    }

    /// Done: not to be delivered again. Says whether the acknowledgement was queued for sending.
    pub async fn ack(&self) -> bool {
        self.answer(Bytes::from_static(b"+ACK")).await
    }

    /// Deliver it again, no sooner than after the delay.
    pub async fn nak_with_delay(&self, delay: Duration) {
        let body = if delay.is_zero() {
            Bytes::from_static(b"-NAK")
        } else {
            Bytes::from(format!(r#"-NAK {{"delay":{}}}"#, delay.as_nanos()))
        };
        self.answer(body).await;
    }

    /// Still at it: the time until the next delivery begins anew.
    pub async fn progress(&self) {
        self.answer(Bytes::from_static(b"+WPI")).await;
    }

    /// Never deliver it again, although it was not processed.
    pub async fn term(&self) {
        self.answer(Bytes::from_static(b"+TERM")).await;
    }

    async fn answer(&self, body: Bytes) -> bool {
        let Some(reply) = self.raw.reply.clone() else { return false };
        // Only on the connection that delivered it. After another one the message was perhaps delivered
        // again already; and when the store was lost meanwhile, its numbers begin anew, and this would
        // acknowledge somebody else's message.
        if !self.inner.is_connected() || self.inner.link.borrow().epoch != self.epoch {
            return false;
        }
        match self.inner.client.publish(reply, body).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "an acknowledgement was not sent");
                false
            }
        }
    }
}

/// The fields of an acknowledgement subject, counted from its end without the optional last token:
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`.
const DELIVERED: usize = 4;
const STORED_AT: usize = 7;
const WAITING_BEHIND: usize = 8;

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
            assert_eq!(ack_field(subject, WAITING_BEHIND), Some(7), "{subject}");
        }
        assert_eq!(ack_field("reply.to.somebody", DELIVERED), None);
    }
}
