//! What a lane takes next: of what is waiting, up to a batch, and what is begun before what is new.

use tokio::sync::mpsc;

use super::{BATCH_MAX, Item};

/// The starts that a batch takes while more is waiting than fits into it: about as many as there are in a batch of sagas
/// of three steps that are all moving.
const STARTS_MAX: usize = BATCH_MAX / 4;
/// The same while what is begun waits for more than the next batch.
const STARTS_MIN: usize = BATCH_MAX / 16;

/// A lane's two queues.
#[derive(Debug)]
pub(super) struct Queue {
    moves: mpsc::Receiver<Item>,
    starts: mpsc::Receiver<Item>,
}

impl Queue {
    pub(super) fn new(moves: mpsc::Receiver<Item>, starts: mpsc::Receiver<Item>) -> Self {
        Self { moves, starts }
    }

    /// Waits for at least one item and adds it, with all that waits behind it, up to a batch. Returns how many; none
    /// when both queues are closed and empty. Cancel-safe.
    pub(super) async fn take(&mut self, items: &mut Vec<Item>) -> usize {
        let piles_up = self.moves.len() > 2 * BATCH_MAX;
        let reserved = self.starts.len().min(if piles_up { STARTS_MIN } else { STARTS_MAX });
        // One is awaited; the rest is taken as it stands.
        let first = tokio::select! {
            biased;
            Some(item) = self.moves.recv() => item,
            Some(item) = self.starts.recv() => item,
            else => return 0,
        };
        items.push(first);
        let mut taken = 1;
        while taken < BATCH_MAX - reserved
            && let Ok(item) = self.moves.try_recv()
        {
            items.push(item);
            taken += 1;
        }
        while taken < BATCH_MAX
            && let Ok(item) = self.starts.try_recv()
        {
            items.push(item);
            taken += 1;
        }
        taken
    }

    /// Takes no more in; what waits is still to be taken.
    pub(super) fn close(&mut self) {
        self.moves.close();
        self.starts.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snorri_saga::ids::SagaId;

    fn item(n: u128) -> Item {
        Item::Woke(SagaId(uuid::Uuid::from_u128(n)))
    }

    struct Ends {
        queue: Queue,
        moves: mpsc::Sender<Item>,
        starts: mpsc::Sender<Item>,
    }

    fn ends() -> Ends {
        let (moves, begun) = mpsc::channel(4 * BATCH_MAX);
        let (starts, new) = mpsc::channel(4 * BATCH_MAX);
        Ends { queue: Queue::new(begun, new), moves, starts }
    }

    fn fill(queue: &mpsc::Sender<Item>, mark: u128, count: usize) {
        for _ in 0..count {
            queue.try_send(item(mark)).expect("room");
        }
    }

    /// How many moves and how many starts the next batch has.
    async fn next(ends: &mut Ends) -> (usize, usize) {
        let mut items = Vec::new();
        let taken = ends.queue.take(&mut items).await;
        assert_eq!(taken, items.len());
        let moves = items.iter().filter(|item| item.saga().0.as_u128() == 1).count();
        (moves, items.len() - moves)
    }

    #[tokio::test]
    async fn what_is_begun_goes_first_and_starts_are_never_shut_out() {
        let mut ends = ends();
        fill(&ends.moves, 1, 3);
        fill(&ends.starts, 2, 5);
        assert_eq!(next(&mut ends).await, (3, 5), "all of it where it fits");
        fill(&ends.starts, 2, 5);
        assert_eq!(next(&mut ends).await, (0, 5), "starts alone");
        fill(&ends.moves, 1, BATCH_MAX);
        fill(&ends.starts, 2, BATCH_MAX);
        assert_eq!(next(&mut ends).await, (BATCH_MAX - STARTS_MAX, STARTS_MAX));
        fill(&ends.moves, 1, 3 * BATCH_MAX);
        assert_eq!(next(&mut ends).await, (BATCH_MAX - STARTS_MIN, STARTS_MIN), "fewer when moves pile up");
    }

    /// The room for starts is measured before the wait: what comes while the lane idles is one batch without them at the
    /// most, and they lead the next one.
    #[tokio::test]
    async fn starts_that_come_while_the_lane_idles_wait_for_one_batch_at_the_most() {
        let mut ends = ends();
        let mut items = Vec::new();
        {
            let mut take = std::pin::pin!(ends.queue.take(&mut items));
            assert!(futures::poll!(&mut take).is_pending(), "there is nothing yet");
            fill(&ends.starts, 2, BATCH_MAX);
            fill(&ends.moves, 1, 2 * BATCH_MAX);
            assert_eq!(take.await, BATCH_MAX);
        }
        assert!(items.iter().all(|item| item.saga().0.as_u128() == 1), "the first batch is full of moves");
        assert_eq!(next(&mut ends).await, (BATCH_MAX - STARTS_MAX, STARTS_MAX), "the second has its starts");
    }

    #[tokio::test]
    async fn after_the_end_what_waits_is_taken_and_then_nothing() {
        let mut ends = ends();
        fill(&ends.moves, 1, 300);
        fill(&ends.starts, 2, 300);
        ends.queue.close();
        let mut left = (300, 300);
        loop {
            let (moves, starts) = next(&mut ends).await;
            if moves + starts == 0 {
                break;
            }
            left = (left.0 - moves, left.1 - starts);
        }
        assert_eq!(left, (0, 0));
    }
}
