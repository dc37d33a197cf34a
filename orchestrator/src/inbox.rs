//! Replies from JetStream into the lanes. What cannot be used is kept aside with its reason and never
//! blocks the stream.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use snorri_bus::headers::BadReply;
use snorri_bus::replies::{Part, parse_replies};
use snorri_bus::{ConsumerSpec, Message, Next};
use snorri_saga::wire::{Outcome, Reply};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::aside::dead_letter;
use crate::delivery::Delivery;
use crate::engine::{Engine, Item, Shared};
use crate::store::dead_letters::DeadLetter;

/// How often old dead letters are deleted.
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// Consumes the replies to this replica until told to stop. `lost` is told when messages may be lost.
pub(crate) async fn run(engine: Engine, shared: Arc<Shared>, lost: Arc<Notify>, stop: CancellationToken) {
    tokio::select! {
        biased;
        () = consume(&engine, &shared, &lost, &stop) => {}
        () = forget(&shared) => {}
    }
}

/// Deletes old dead letters now and then.
async fn forget(shared: &Shared) {
    // Replicas that were started together do not do it together.
    sleep(Duration::from_mins(1).mul_f64(shared.dice.range(1.0..5.0))).await;
    loop {
        match shared.store.forget_dead_letters().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "old dead letters were deleted"),
            Err(error) => {
                tracing::debug!(error = error.chain(), "old dead letters could not be deleted");
            }
        }
        sleep(FORGET_EVERY).await;
    }
}

async fn consume(engine: &Engine, shared: &Shared, lost: &Notify, stop: &CancellationToken) {
    let subjects = shared.bus.subjects();
    let mut spec = ConsumerSpec::new(
        subjects.replies_stream(),
        subjects.replica_consumer(&shared.replica),
        subjects.replies_to(&shared.replica),
    );
    // A consumer that has to be made anew does not go through what was answered before this process began:
    // whatever is under way is sent again in any case.
    spec.deliver_from = SystemTime::now().checked_sub(Duration::from_secs(5));
    let mut replies = shared.bus.consume(spec);
    if let Some(hearing) = replies.hearing() {
        // A second call changes nothing: one replica has one inbox.
        let _ = shared.hearing.set(hearing);
    }
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = replies.next() => next,
        };
        match next {
            Next::Batch(messages) => take(engine, shared, messages).await,
            Next::Recreated => {
                tracing::warn!(
                    "the stream of replies was lost and is made anew; sending again what is under way"
                );
                lost.notify_one();
            }
            Next::Closed => break,
        }
    }
    replies.close().await;
}

async fn take(engine: &Engine, shared: &Shared, messages: Vec<Message>) {
    snorri_kill::point!(ReplyFetched, return);
    let mut letters = Vec::new();
    let mut deliveries = Vec::new();
    for message in messages {
        let parts =
            parse_replies(shared.bus.subjects(), message.subject(), message.headers(), message.payload());
        let delivery = Delivery::new(message, parts.len());
        for Part { text, reply } in parts {
            match counted(reply) {
                Ok(reply) => {
                    let id = reply.command.effect.saga;
                    engine.hand_over(id, Item::Reply(Box::new(reply), delivery.clone())).await;
                }
                Err(bad) => {
                    let detail = match bad.command() {
                        Some(command) => format!("{bad} (to {command})"),
                        None => bad.to_string(),
                    };
                    // Of a message of several only this one: the others count.
                    let letter = dead_letter(delivery.message(), bad.reason(), detail);
                    letters.push(DeadLetter { payload: text, ..letter });
                    deliveries.push(delivery.clone());
                }
            }
        }
    }
    if letters.is_empty() {
        return;
    }
    match shared.aside.keep(&*shared.store, &shared.metrics, letters).await {
        Ok(()) => {
            for delivery in deliveries {
                delivery.settle().await;
            }
        }
        // Not acknowledged: they come again when Postgres is back.
        Err(error) => {
            tracing::warn!(error = error.chain(), "dead letters could not be kept; they come again");
        }
    }
}

/// A reply that is too large counts: it was done, so it is an answer, one that has to be undone.
fn counted(reply: Result<Reply, BadReply>) -> Result<Reply, BadReply> {
    match reply {
        Err(BadReply::TooLarge { command, bytes }) => {
            Ok(Reply { command, outcome: Outcome::TooLarge { bytes } })
        }
        other => other,
    }
}
