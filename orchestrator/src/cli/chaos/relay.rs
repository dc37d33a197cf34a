//! A rogue relay: it hears every reply, and on command publishes many of them again, some several times, in any order;
//! and with them one message that is no reply at all, which must become a dead letter and nothing else.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, HeaderMap};
use futures::StreamExt as _;
use tokio::time::{sleep, timeout};

use super::dice::Dice;

/// How many replies are remembered; at 25 orders a second, those of the last half minute.
const HEARD_MAX: usize = 5000;
/// What tells a message that was made to be a dead letter.
pub(super) const POISON: &str = "poisoned by the chaos run";

#[derive(Debug, Clone)]
struct Heard {
    subject: String,
    headers: Option<HeaderMap>,
    payload: bytes::Bytes,
}

/// The relay.
#[derive(Debug)]
pub(super) struct Relay {
    nats: Client,
    heard: Mutex<VecDeque<Heard>>,
}

impl Relay {
    pub(super) fn new(nats: Client) -> Self {
        Self { nats, heard: Mutex::default() }
    }

    /// Listens for as long as it is polled.
    pub(super) async fn listen(&self) {
        loop {
            // The client connects again by itself, and subscribes again with it.
            if let Ok(mut replies) = self.nats.subscribe("snorri.reply.>").await {
                while let Some(message) = replies.next().await {
                    let subject = message.subject.to_string();
                    let heard = Heard { subject, headers: message.headers, payload: message.payload };
                    let mut all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                    if all.len() == HEARD_MAX {
                        all.pop_front();
                    }
                    all.push_back(heard);
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Publishes so many replies again within so long. Tells how many JetStream took.
    pub(super) async fn repeat(&self, replies: usize, within: Duration, dice: &mut Dice) -> usize {
        let mut chosen: Vec<Heard> = {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            (0..replies).filter_map(|_| heard.get(dice.below(heard.len())).cloned()).collect()
        };
        if let Some(Heard { subject, headers, .. }) = chosen.first().cloned() {
            let poison = Heard { subject, headers, payload: bytes::Bytes::from_static(POISON.as_bytes()) };
            chosen.push(poison);
        }
        dice.shuffle(&mut chosen);
        let context = async_nats::jetstream::new(self.nats.clone());
        let pause = within / u32::try_from(chosen.len().max(1)).unwrap_or(1);
        let mut taken = 0;
        for Heard { subject, headers, payload } in chosen {
            let headers = headers.unwrap_or_default();
            let published = context.publish_with_headers(subject, headers, payload).await;
            if let Ok(ack) = published
                && let Ok(Ok(_)) = timeout(Duration::from_secs(2), ack.into_future()).await
            {
                taken += 1;
            }
            sleep(pause).await;
        }
        taken
    }
}
