//! Sagas that cannot be moved: each is tried by itself, and after the third failure put aside for a person,
//! so that it holds nobody else up.

use std::time::Duration;

use super::batch::Work;
use super::lane::Lane;
use super::{CancelError, Item, StartError};
use crate::store;

/// After so many failures in a row a saga is put aside for a person.
const TROUBLES_MAX: u32 = 3;

impl Lane {
    /// An error that will not go away by waiting: each saga for itself, so that one cannot hold the others up.
    pub(super) async fn isolate(&mut self, works: Vec<Work>, error: &store::Error) -> Vec<Work> {
        if works.len() == 1 {
            let mut again = Vec::new();
            for work in works {
                again.extend(self.in_trouble(work, &error.chain()).await);
            }
            return again;
        }
        tracing::warn!(
            lane = self.number,
            error = error.chain(),
            "a batch failed; each saga is tried by itself"
        );
        let mut again = Vec::new();
        for work in works {
            match self.round(vec![work], false).await {
                Ok(back) => again.extend(back),
                Err((error, back)) if error.is_transient() => again.extend(back),
                Err((error, back)) => {
                    for work in back {
                        if let Some(work) = self.in_trouble(work, &error.chain()).await {
                            again.push(work);
                        }
                    }
                }
            }
        }
        again
    }

    /// Counts a failure. After the third the saga is put aside, and its items are answered.
    pub(super) async fn in_trouble(&mut self, work: Work, why: &str) -> Option<Work> {
        let count = self.troubles.entry(work.id).or_default();
        *count += 1;
        tracing::error!(saga_id = %work.id, count = *count, why, "a saga cannot be moved");
        if *count < TROUBLES_MAX {
            return Some(work);
        }
        self.troubles.remove(&work.id);
        if let Err(error) = self.shared.store.quarantine(work.id, why).await {
            tracing::error!(saga_id = %work.id, error = error.chain(), "cannot be put aside; it is tried again");
            return Some(work);
        }
        self.shared.metrics.quarantined();
        for item in work.items {
            match item {
                Item::Start(start) => {
                    let _ = start.done.send(Err(StartError::Broken(why.to_owned())));
                }
                Item::Cancel(_, cancel) => {
                    let _ = cancel.done.send(Err(CancelError::Unavailable));
                }
                // Not acknowledged: delivered again, and by then it may be mended.
                Item::Reply(_, delivery) => delivery.settle_later(Duration::from_mins(1)).await,
                Item::Woke(_) | Item::Swept(_) | Item::Resend(_) => {}
            }
        }
        None
    }

    /// Puts the items of a saga that cannot be read just now back: messages to NATS, people an error.
    pub(super) fn retry_later(work: Work) {
        let id = work.id;
        for item in work.items {
            match item {
                Item::Reply(_, delivery) => {
                    tokio::spawn(async move { delivery.settle_later(Duration::from_secs(1)).await });
                }
                Item::Start(start) => {
                    let _ = start.done.send(Err(StartError::Broken("its journal cannot be read".to_owned())));
                }
                Item::Cancel(_, cancel) => {
                    let _ = cancel.done.send(Err(CancelError::Unavailable));
                }
                Item::Woke(_) | Item::Swept(_) | Item::Resend(_) => {}
            }
        }
        tracing::warn!(saga_id = %id, "its journal cannot be read; tried again later");
    }
}
