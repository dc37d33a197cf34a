//! Replies from JetStream into the lanes. What cannot be used is kept aside with its reason and never
//! blocks the stream.

use std::sync::Arc;

use snorri_bus::headers::{BadReply, parse_reply};
use snorri_bus::{ConsumerSpec, Message, Next};
use snorri_saga::wire::{Outcome, Reply};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Item, Shared};
use crate::store::dead_letters::DeadLetter;

/// Consumes the replies to this replica until told to stop. `lost` is told when messages may be lost.
pub(crate) async fn run(engine: Engine, shared: Arc<Shared>, lost: Arc<Notify>, stop: CancellationToken) {
    let subjects = shared.bus.subjects();
    let spec = ConsumerSpec::new(
        subjects.replies_stream(),
        subjects.replica_consumer(&shared.replica),
        subjects.replies_to(&shared.replica),
    );
    let mut replies = shared.bus.consume(spec);
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = replies.next() => next,
        };
        match next {
            Next::Batch(messages) => take(&engine, &shared, messages).await,
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
    let mut aside = Vec::new();
    for message in messages {
        match read(shared, &message) {
            Ok(reply) => {
                let id = reply.command.effect.saga;
                engine.hand_over(id, Item::Reply(Box::new(reply), message)).await;
            }
            Err((reason, detail)) => aside.push((dead_letter(&message, reason, detail), message)),
        }
    }
    if aside.is_empty() {
        return;
    }
    let (letters, messages): (Vec<_>, Vec<_>) = aside.into_iter().unzip();
    for letter in &letters {
        tracing::warn!(
            subject = letter.subject,
            reason = letter.reason,
            detail = letter.detail,
            "a reply that cannot be used is kept aside"
        );
    }
    match shared.store.keep_aside(&letters).await {
        Ok(()) => {
            for (letter, message) in letters.iter().zip(&messages) {
                shared.metrics.dead_letter(letter.reason);
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

/// A message as it is kept aside.
pub(crate) fn dead_letter(message: &Message, reason: &'static str, detail: String) -> DeadLetter {
    let headers = message.headers().map_or_else(String::new, |headers| {
        headers
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}: {value}")))
            .take(64)
            .map(|line| line.chars().take(1000).collect::<String>())
            .collect::<Vec<_>>()
            .join("\n")
    });
    DeadLetter {
        subject: message.subject().to_owned(),
        reason,
        detail,
        headers,
        payload: message.payload().to_vec(),
    }
}
