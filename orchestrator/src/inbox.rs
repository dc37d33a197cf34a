//! Replies from JetStream into the lanes. What cannot be used is kept aside with its reason and never
//! blocks the stream.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use snorri_bus::headers::{BadReply, parse_reply};
use snorri_bus::{ConsumerSpec, Message, Next};
use snorri_saga::wire::{Outcome, Reply};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::aside::dead_letter;
use crate::engine::{Engine, Item, Shared};

/// How often old dead letters are deleted.
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// Consumes the replies to this replica until told to stop. `lost` is told when messages may be lost.
pub(crate) async fn run(engine: Engine, shared: Arc<Shared>, lost: Arc<Notify>, stop: CancellationToken) {
    tokio::select! {
        () = consume(&engine, &shared, &lost, &stop) => {}
        () = forget(&shared) => {}
    }
}

/// Deletes old dead letters now and then.
async fn forget(shared: &Shared) {
    // Replicas that were started together do not do it together.
    sleep(Duration::from_mins(1).mul_f64(rand::random_range(1.0..5.0))).await;
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
    let mut unusable = Vec::new();
    for message in messages {
        match read(shared, &message) {
            Ok(reply) => {
                let id = reply.command.effect.saga;
                engine.hand_over(id, Item::Reply(Box::new(reply), message)).await;
            }
            Err((reason, detail)) => unusable.push((dead_letter(&message, reason, detail), message)),
        }
    }
    if unusable.is_empty() {
        return;
    }
    let (letters, messages): (Vec<_>, Vec<_>) = unusable.into_iter().unzip();
    match shared.aside.keep(&shared.store, &shared.metrics, letters).await {
        Ok(()) => {
            for message in &messages {
                message.term().await;
            }
        }
        // Not acknowledged: they come again when Postgres is back.
        Err(error) => {
            tracing::warn!(error = error.chain(), "dead letters could not be kept; they come again");
        }
    }
}

fn read(shared: &Shared, message: &Message) -> Result<Reply, (&'static str, String)> {
    match parse_reply(shared.bus.subjects(), message.subject(), message.headers(), message.payload()) {
        Ok(reply) => Ok(reply),
        // It was done, so it counts as an answer: one that has to be undone.
        Err(BadReply::TooLarge { command, bytes }) => Ok(Reply {
            command,
            outcome: Outcome::Rejected {
                code: "too_large".to_owned(),
                message: format!("the reply has {bytes} bytes, which is more than a reply may have"),
                partial: true,
            },
        }),
        Err(bad) => Err((bad.reason(), bad.to_string())),
    }
}
