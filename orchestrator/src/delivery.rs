//! A delivered message of replies: acknowledged when the last reply in it is settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use snorri_bus::Message;

/// One delivery, shared by the replies in it. One that is never settled leaves the message unacknowledged: all of it is
/// delivered again, and what was settled already changes nothing then.
#[derive(Debug)]
pub(crate) struct Delivery {
    message: Message,
    /// How many of its replies are not settled yet.
    open: AtomicUsize,
    /// One of them is wanted again.
    is_wanted: AtomicBool,
}

impl Delivery {
    /// A delivery with so many replies in it.
    pub(crate) fn new(message: Message, replies: usize) -> Arc<Self> {
        Arc::new(Self { message, open: AtomicUsize::new(replies), is_wanted: AtomicBool::new(false) })
    }

    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    /// Done with one of its replies. Says whether the message is acknowledged with that.
    pub(crate) async fn settle(&self) -> bool {
        let is_done = self.is_last() && !self.is_wanted.load(Ordering::Acquire);
        if is_done {
            self.message.ack().await;
        }
        is_done
    }

    /// One of its replies is wanted again, after a while; at the latest when the message's time to be acknowledged
    /// is over.
    pub(crate) async fn settle_later(&self, delay: Duration) {
        self.is_wanted.store(true, Ordering::Release);
        self.is_last();
        self.message.nak_with_delay(delay).await;
    }

    fn is_last(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }
}
