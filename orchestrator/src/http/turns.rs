//! Places and turns for what takes long with definitions: reading, checking, exploring, comparing and drawing them. Whoever sends
//! many of them must leave memory, processors and the places of all requests to those who start sagas and speak to them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::problem::Problem;

/// How many requests may have a definition in their hands, which is up to 1 MiB. More are turned away before their body is read;
/// none waits, since whoever waits holds one of the places that all requests share.
const PLACES_MAX: usize = 32;
/// How many definitions are worked on at once: a large one takes a core for some time.
const TURNS_MAX: usize = 2;
/// How many are explored at once of those that are only checked, and how many of those that are submitted, each for as long as it
/// may: who checks a lot keeps nobody from submitting.
const EXPLORING_MAX: usize = 1;
/// How long a turn is waited for.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

/// What there is.
#[derive(Debug)]
pub(super) struct Turns {
    places: Semaphore,
    working: Arc<Semaphore>,
    checked: Arc<Semaphore>,
    submitted: Arc<Semaphore>,
}

/// What an exploration is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why {
    /// Somebody wants to know.
    Checked,
    /// The definition is to be stored.
    Submitted,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            places: Semaphore::new(PLACES_MAX),
            working: Arc::new(Semaphore::new(TURNS_MAX)),
            checked: Arc::new(Semaphore::new(EXPLORING_MAX)),
            submitted: Arc::new(Semaphore::new(EXPLORING_MAX)),
        }
    }
}

/// A request that has a place. It takes turns.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    turns: &'a Turns,
    _place: SemaphorePermit<'a>,
}

impl Turns {
    /// Takes a place, if there is one. To be done before the body is read.
    pub(super) fn place(&self) -> Result<Placed<'_>, Problem> {
        let place = self.places.try_acquire().map_err(|_| overloaded())?;
        Ok(Placed { turns: self, _place: place })
    }
}

impl Placed<'_> {
    /// Does what takes long beside the runtime's threads, which serve everybody.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = turn(&self.turns.working).await?;
        beside(turn, work).await
    }

    /// The same for an exploration.
    pub(super) async fn explore<T: Send + 'static>(
        &self,
        why: Why,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        // In this order: one that waits to explore keeps nobody from working.
        let exploring = turn(match why {
            Why::Checked => &self.turns.checked,
            Why::Submitted => &self.turns.submitted,
        });
        let exploring = exploring.await?;
        let turn = turn(&self.turns.working).await?;
        beside((exploring, turn), work).await
    }
}

async fn turn(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    match tokio::time::timeout(TURN_TIMEOUT, of.clone().acquire_owned()).await {
        Ok(turn) => turn.map_err(|_| Problem::shutting_down()),
        Err(_) => Err(overloaded()),
    }
}

async fn beside<T: Send + 'static>(
    turns: impl Send + 'static,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let working = tokio::task::spawn_blocking(move || {
        // Held to the end, even when nobody waits for it any more.
        let _turns = turns;
        work()
    });
    working.await.map_err(|error| {
        tracing::error!(%error, "a definition could not be read");
        Problem::internal("the definition could not be read; the log of this replica has the reason")
    })?
}

fn overloaded() -> Problem {
    Problem::overloaded("definitions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_place_is_turned_away_and_places_come_back() {
        let turns = Turns::default();
        let mut placed: Vec<_> = (0..PLACES_MAX).map(|_| turns.place().expect("a place")).collect();
        let refused = turns.place().expect_err("none is left");
        assert_eq!((refused.status(), refused.word()), (503, "overloaded"));
        placed.pop();
        assert!(turns.place().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_not_waited_for_without_end_and_checks_leave_one_to_submissions() {
        let turns = Turns::default();
        let placed = turns.place().expect("a place");
        // As an exploration that is under way holds them.
        let exploring = turn(&turns.checked).await.expect("a turn to explore");
        let first = turn(&turns.working).await.expect("a turn");
        assert_eq!(placed.work(|| Ok(2)).await.expect("another turn"), 2);
        assert_eq!(placed.explore(Why::Submitted, || Ok(2)).await.expect("a turn of its own"), 2);
        let refused = placed.explore(Why::Checked, || Ok(3)).await.expect_err("one at once");
        assert_eq!((refused.status(), refused.word()), (503, "overloaded"));
        let _second = turn(&turns.working).await.expect("a turn");
        let refused = placed.work(|| Ok(4)).await.expect_err("two at once");
        assert_eq!((refused.status(), refused.word()), (503, "overloaded"));
        drop((exploring, first));
        assert_eq!(placed.explore(Why::Checked, || Ok(5)).await.expect("they came back"), 5);
    }
}
