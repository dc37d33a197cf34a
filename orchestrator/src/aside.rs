//! Messages that cannot be used: kept aside with the reason, so many a minute, and said aloud once a minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use snorri_bus::Message;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::store::{self, Store, dead_letters::DeadLetter};

/// How many dead letters of one reason are kept a minute. More are counted and thrown away: whoever sends
/// nonsense must not be able to fill the database, or the log.
const KEPT_A_MINUTE: u64 = 100;
const MINUTE: Duration = Duration::from_mins(1);
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
    pub(crate) async fn keep(
        &self,
        store: &dyn Store,
        metrics: &Metrics,
        letters: Vec<DeadLetter>,
    ) -> Result<(), store::Error> {
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
            && let Err(error) = store.keep_aside(&kept).await
        {
            self.give_back(&kept);
            return Err(error);
        }
        for reason in reasons {
            metrics.dead_letter(reason);
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
        payload: message.payload().clone(),
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
