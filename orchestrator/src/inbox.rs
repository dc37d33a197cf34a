//! Replies from JetStream into the lanes. What cannot be used is kept aside with its reason and never
//! blocks the stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use snorri_bus::headers::{BadReply, parse_reply};
use snorri_bus::{ConsumerSpec, Message, Next};
use snorri_saga::wire::{Outcome, Reply};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Item, Shared};
use crate::store::{self, dead_letters::DeadLetter};

/// How many dead letters of one reason are kept a minute. More are counted and thrown away: whoever sends
/// nonsense must not be able to fill the database, or the log.
const KEPT_A_MINUTE: u64 = 100;
const MINUTE: Duration = Duration::from_mins(1);
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
    sleep(MINUTE.mul_f64(rand::random_range(1.0..5.0))).await;
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
    let aside = Aside::default();
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
            Next::Batch(messages) => take(engine, shared, &aside, messages).await,
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

async fn take(engine: &Engine, shared: &Shared, aside: &Aside, messages: Vec<Message>) {
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
    match aside.keep(shared, letters).await {
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

/// Keeps messages aside, so many a minute of each reason, and says so once a minute.
#[derive(Debug, Default)]
pub(crate) struct Aside(Mutex<HashMap<&'static str, Counted>>);

/// What came for one reason since a minute began.
#[derive(Debug)]
struct Counted {
    since: Instant,
    kept: u64,
    not_kept: u64,
}

/// Whether a letter is kept.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is the first for a minute: with how many were not kept in the last one.
    KeptAloud(u64),
    Kept,
    NotKept,
}

impl Aside {
    /// Keeps what there is room for and counts all of it. On an error nothing is kept: they come again.
    pub(crate) async fn keep(&self, shared: &Shared, letters: Vec<DeadLetter>) -> Result<(), store::Error> {
        let reasons: Vec<&'static str> = letters.iter().map(|letter| letter.reason).collect();
        let mut kept = letters;
        kept.retain(|letter| match self.judge(letter.reason, Instant::now()) {
            Verdict::KeptAloud(not_kept) => {
                let DeadLetter { subject, reason, .. } = letter;
                tracing::warn!(
                    subject,
                    reason,
                    not_kept,
                    "a message that cannot be used is put aside; GET /v1/dead-letters has why"
                );
                true
            }
            Verdict::Kept => true,
            Verdict::NotKept => false,
        });
        if !kept.is_empty()
            && let Err(error) = shared.store.keep_aside(&kept).await
        {
            self.give_back(&kept);
            return Err(error);
        }
        for reason in reasons {
            shared.metrics.dead_letter(reason);
        }
        Ok(())
    }

    fn judge(&self, reason: &'static str, now: Instant) -> Verdict {
        // Nothing in there is ever half-written.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(counted) = all.get_mut(reason) else {
            all.insert(reason, Counted { since: now, kept: 1, not_kept: 0 });
            return Verdict::KeptAloud(0);
        };
        if now.duration_since(counted.since) >= MINUTE {
            let not_kept = counted.not_kept;
            *counted = Counted { since: now, kept: 1, not_kept: 0 };
            return Verdict::KeptAloud(not_kept);
        }
        if counted.kept < KEPT_A_MINUTE {
            counted.kept += 1;
            return Verdict::Kept;
        }
        counted.not_kept += 1;
        Verdict::NotKept
    }

    fn give_back(&self, letters: &[DeadLetter]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for letter in letters {
            if let Some(counted) = all.get_mut(letter.reason) {
                counted.kept = counted.kept.saturating_sub(1);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_minute_of_each_reason_are_kept_and_one_is_told_of() {
        let (aside, began) = (Aside::default(), Instant::now());
        assert_eq!(aside.judge("a", began), Verdict::KeptAloud(0));
        let later = began + Duration::from_secs(59);
        let verdicts: Vec<Verdict> = (0..1000).map(|_| aside.judge("a", later)).collect();
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Kept).count(), 99);
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::NotKept).count(), 901);
        assert_eq!(aside.judge("b", later), Verdict::KeptAloud(0), "each reason has its own room");
        assert_eq!(aside.judge("a", began + MINUTE), Verdict::KeptAloud(901));
        assert_eq!(aside.judge("a", began + MINUTE), Verdict::Kept);
    }
}
