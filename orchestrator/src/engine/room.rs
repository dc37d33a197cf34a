//! Room for sub-sagas. Starts are refused once as many sagas are live as may be; a sub-saga may go a quarter beyond that, since
//! its parent is begun and can end only with it. Beyond that it is held back in the post, and its parent waits.
//!
//! One a second is begun all the same: where nothing but parents is live, which wait for sub-sagas that wait for room, nothing
//! else would ever make any.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use snorri_saga::decide::AskKind;
use tokio::time::Instant;

use super::batch::Work;
use super::lane::Lane;
use super::post::Letter;
use super::{Item, Shared};

/// How often a sub-saga is begun for which there is no room.
const WITHOUT_ROOM_EVERY: Duration = Duration::from_secs(1);

/// When a sub-saga was last begun for which there was no room.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<Option<Instant>>);

impl Room {
    /// Whether one may be begun without room.
    fn is_its_time(&self) -> bool {
        // Never half-written.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = last.is_none_or(|at| at.elapsed() >= WITHOUT_ROOM_EVERY);
        if is_time {
            *last = Some(Instant::now());
        }
        is_time
    }
}

fn and_a_quarter(limit: usize) -> usize {
    limit.saturating_add(limit / 4)
}

impl Shared {
    /// How many more sub-sagas may be begun.
    pub(super) fn room_for_sub_sagas(&self) -> usize {
        if self.live_bytes.load(Ordering::Relaxed) >= and_a_quarter(self.live_bytes_max) {
            return 0;
        }
        and_a_quarter(self.live_max).saturating_sub(self.live.load(Ordering::Relaxed))
    }
}

impl Lane {
    /// Takes out of the work on a saga that is not there what would begin it, if there is no room for it. `begun` is how
    /// many this round has begun already. Other lanes do the same at the same time: there may be some batches too many.
    pub(super) fn hold_back(&self, work: &mut Work, begun: &mut usize) {
        let begins = |item: &Item| matches!(item, Item::Ask(ask, ..) if matches!(ask.kind, AskKind::Run(_)));
        if !work.items.iter().any(begins) {
            return;
        }
        if self.shared.room_for_sub_sagas() > *begun || self.shared.room.is_its_time() {
            *begun += 1;
            return;
        }
        for item in std::mem::take(&mut work.items) {
            match item {
                Item::Ask(ask, _, owed) if matches!(ask.kind, AskKind::Run(_)) => {
                    self.shared.metrics.held_back();
                    self.shared.post.hold(Letter::Ask(*ask), &owed);
                }
                other => work.items.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_room_one_a_second_is_begun() {
        let room = Room::default();
        assert!(room.is_its_time());
        assert!(!room.is_its_time());
        tokio::time::advance(WITHOUT_ROOM_EVERY).await;
        assert!(room.is_its_time() && !room.is_its_time());
        assert_eq!((and_a_quarter(100_000), and_a_quarter(usize::MAX)), (125_000, usize::MAX));
    }
}
