//! Sagas that cannot be moved: each is tried by itself, and after the third failure put aside for a person,
//! so that it holds nobody else up.

use std::sync::Arc;
use std::time::Duration;

use snorri_saga::ids::SagaId;

use super::batch::Work;
use super::lane::Lane;
use super::post::{self, Letter};
use super::publisher::Job;
use super::{ActError, Debt, Item, Recall, StartError};
use crate::aside::dead_letter;
use crate::store;

/// After so many failures in a row a saga is put aside for a person.
const TROUBLES_MAX: u32 = 3;
/// How soon a saga is tried again whose journal could not be read,
const UNREADABLE: Duration = Duration::from_secs(1);
/// and one of which somebody else holds a row.
const HELD: Duration = Duration::from_secs(10);

impl Lane {
    /// An error that will not go away by waiting: each saga for itself, so that one cannot hold the others up.
    pub(super) async fn isolate(&mut self, works: Vec<Work>, error: &store::Error) -> Vec<Work> {
        if works.len() == 1 {
            let mut again = Vec::new();
            for work in works {
                if error.is_slow() {
                    self.retry_later(work, HELD, "somebody else holds a row of it");
                } else {
                    again.extend(self.in_trouble(work, &error.chain()).await);
                }
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
                // Somebody else holds a row of it, perhaps for long. The lane does not wait for that.
                Err((error, back)) if error.is_slow() => {
                    for work in back {
                        self.retry_later(work, HELD, "somebody else holds a row of it");
                    }
                }
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
        self.recall(work.id, work.owed);
        let mut job = Job::default();
        for item in work.items {
            match item {
                Item::Start(start) => {
                    let _ = start.done.send(Err(StartError::Broken(why.to_owned())));
                }
                Item::Act(_, act) => {
                    let _ = act.done.send(Err(ActError::Unavailable));
                }
                // Kept for the person. When the saga goes on, it asks again, and is answered from the barrier.
                Item::Reply(reply, delivery) => {
                    let detail = format!("its saga is put aside: {why} (to {})", reply.command);
                    job.keep_aside(dead_letter(delivery.message(), "quarantined", detail), delivery);
                }
                Item::Announce(id, recall) => self.recalls.later(id, recall),
                // What sagas say to each other is said again: the parent asks at each sweep and at the step's timeout, a
                // sub-saga that is well again asks what became of its parent.
                Item::Ask(..)
                | Item::Answer(..)
                | Item::Orphan(_)
                | Item::Woke(_)
                | Item::Swept(_)
                | Item::Resend(_) => {}
            }
        }
        self.publisher.publish(job).await;
        None
    }

    /// Its end was decided, and its commit may come into the journal after all of this: then nobody but this lane knows that it
    /// has to be announced.
    fn recall(&mut self, id: SagaId, owed: Option<Arc<Debt>>) {
        if let Some(debt) = owed {
            self.recalls.later(id, Recall::of(debt));
        }
    }

    /// One whose journal cannot be read.
    pub(super) fn put_back(&mut self, work: Work) {
        self.retry_later(work, UNREADABLE, "its journal cannot be read");
    }

    /// Puts the items of a saga that cannot be moved just now back: messages to NATS, people an error.
    fn retry_later(&mut self, work: Work, after: Duration, why: &'static str) {
        let id = work.id;
        self.recall(id, work.owed);
        for item in work.items {
            match item {
                Item::Reply(_, delivery) => {
                    tokio::spawn(async move { delivery.settle_later(after).await });
                }
                Item::Start(start) => {
                    let _ = start.done.send(Err(StartError::Unavailable));
                }
                Item::Act(_, act) => {
                    let _ = act.done.send(Err(ActError::Unavailable));
                }
                Item::Announce(id, recall) => self.recalls.later(id, recall),
                Item::Ask(ask, _, owed) => post::later(&self.shared, after, Letter::Ask(*ask), owed),
                Item::Answer(reply, owed) => {
                    post::later(&self.shared, after, Letter::Answer(*reply), owed);
                }
                // It asks again.
                Item::Orphan(_) | Item::Woke(_) | Item::Swept(_) | Item::Resend(_) => {}
            }
        }
        tracing::warn!(saga_id = %id, why, "a saga cannot be moved just now; tried again later");
    }
}
