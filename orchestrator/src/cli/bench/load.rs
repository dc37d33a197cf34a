//! What is known of the sagas of one row: begun, accepted, ended; how long it took; whether each ended as it
//! must. All of it lives on one thread, so that the load generator costs little.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Every so many sagas one is rejected at its last step.
pub(super) const REJECTED_EVERY: u64 = 10;
/// The bytes of a saga's input.
const INPUT_BYTES: usize = 300;
/// The longest latency that is told from longer ones.
const LATENCY_MAX: Duration = Duration::from_mins(2);
/// The most complaints that are kept.
const COMPLAINTS_MAX: usize = 5;

/// A saga to be started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) number: u64,
    /// When it was to be started: in an open loop the plan's time, however late its turn came.
    pub(super) intended: Instant,
}

impl Ticket {
    /// Whether it is to be rejected at its last step.
    pub(super) fn is_rejected(self) -> bool {
        self.number % REJECTED_EVERY == REJECTED_EVERY - 1
    }

    /// The saga's input: 300 bytes, with the wish to be rejected in it.
    pub(super) fn input(self) -> String {
        let head = format!(r#"{{"order":{},"reject":{},"note":""#, self.number, self.is_rejected());
        let fill = INPUT_BYTES.saturating_sub(head.len() + 2);
        format!(r#"{head}{}"}}"#, "n".repeat(fill))
    }
}

/// How a saga ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// All steps were done.
    Completed,
    /// All steps were undone.
    Compensated,
    /// Anything else.
    Other,
}

/// Counts and latencies of one row.
#[derive(Debug)]
pub(super) struct Tally {
    /// From the start request to the announcement, in microseconds; of those that ended while it was measured.
    pub(super) end_to_end: Histogram<u64>,
    /// From the start request to its answer, in microseconds; of those answered while it was measured.
    pub(super) start: Histogram<u64>,
    pub(super) accepted: u64,
    pub(super) completed: u64,
    pub(super) compensated: u64,
    /// Ended in another way than their input asks for.
    pub(super) wrong: u64,
    /// Answered 429 or 503.
    pub(super) refused: u64,
    /// Of those: turned away for good, since nobody asked again.
    pub(super) turned_away: TurnedAway,
    /// Not answered, or answered with an error.
    pub(super) failed: u64,
    pub(super) complaints: Vec<String>,
    /// When the last one ended.
    pub(super) last_end: Option<Instant>,
}

/// Starts that were refused and not repeated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TurnedAway {
    /// Answered 429.
    pub(super) too_many: u64,
    /// Answered 503.
    pub(super) unavailable: u64,
    /// Of both, those without a `Retry-After`.
    pub(super) without_advice: u64,
    /// The connection broke, or nothing was answered in time: whether they were accepted is not known.
    pub(super) unanswered: u64,
}

impl Tally {
    fn new() -> Result<Self, hdrhistogram::CreationError> {
        let max = u64::try_from(LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
        let histogram = Histogram::new_with_bounds(1, max, 3)?;
        Ok(Self {
            end_to_end: histogram.clone(),
            start: histogram,
            accepted: 0,
            completed: 0,
            compensated: 0,
            wrong: 0,
            refused: 0,
            turned_away: TurnedAway::default(),
            failed: 0,
            complaints: Vec::new(),
            last_end: None,
        })
    }

    /// How many ended, in whatever way.
    pub(super) fn ended(&self) -> u64 {
        self.completed + self.compensated + self.wrong
    }
}

#[derive(Debug)]
struct Flight {
    ticket: Ticket,
    sent: Instant,
}

#[derive(Debug)]
struct Inner {
    queue: VecDeque<Ticket>,
    /// Accepted and not ended.
    flights: HashMap<Uuid, Flight>,
    /// Announced before their start was answered, or a second time.
    early: HashMap<Uuid, (Instant, Ending)>,
    /// Taken from the queue and not answered.
    asking: usize,
    next: u64,
    is_closed_loop: bool,
    is_measured: bool,
    /// When each saga ended, from the moment on when somebody wants to know.
    ends: Option<HashMap<Uuid, Instant>>,
    tally: Tally,
}

/// The load of one row. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Load {
    inner: Rc<RefCell<Inner>>,
    /// As many permits as there are tickets in the queue.
    waiting: Rc<Semaphore>,
    ended: Rc<Notify>,
}

impl Load {
    /// A load with so many sagas in flight from now on; each end begins the next. With none, nothing begins
    /// by itself.
    pub(super) fn begin(in_flight: usize) -> Result<Self, hdrhistogram::CreationError> {
        let inner = Inner {
            queue: VecDeque::new(),
            flights: HashMap::new(),
            early: HashMap::new(),
            asking: 0,
            next: 0,
            is_closed_loop: in_flight > 0,
            is_measured: false,
            ends: None,
            tally: Tally::new()?,
        };
        let load = Self {
            inner: Rc::new(RefCell::new(inner)),
            waiting: Rc::new(Semaphore::new(0)),
            ended: Rc::default(),
        };
        for _ in 0..in_flight {
            load.plan(Instant::now());
        }
        Ok(load)
    }

    /// Plans one more saga.
    pub(super) fn plan(&self, intended: Instant) {
        let mut inner = self.inner.borrow_mut();
        let number = inner.next;
        inner.next += 1;
        inner.queue.push_back(Ticket { number, intended });
        self.waiting.add_permits(1);
    }

    /// The next saga to be started. In a closed loop it is intended for the moment it is taken.
    pub(super) async fn take(&self) -> Ticket {
        loop {
            if let Ok(permit) = self.waiting.acquire().await {
                permit.forget();
            }
            let mut inner = self.inner.borrow_mut();
            if let Some(mut ticket) = inner.queue.pop_front() {
                inner.asking += 1;
                if inner.is_closed_loop {
                    ticket.intended = Instant::now();
                }
                return ticket;
            }
        }
    }

    /// A start was accepted.
    pub(super) fn accepted(&self, ticket: Ticket, saga: Uuid) {
        let now = Instant::now();
        let mut inner = self.inner.borrow_mut();
        inner.asking = inner.asking.saturating_sub(1);
        inner.tally.accepted += 1;
        if inner.is_measured {
            record(&mut inner.tally.start, now - ticket.intended);
        }
        let flight = Flight { ticket, sent: ticket.intended };
        match inner.early.remove(&saga) {
            Some((at, ending)) => self.land(&mut inner, saga, &flight, at, ending),
            None => drop(inner.flights.insert(saga, flight)),
        }
    }

    /// A start was refused for now; it is tried again.
    pub(super) fn refused(&self) {
        self.inner.borrow_mut().tally.refused += 1;
    }

    /// A start was answered 429 or 503, and nobody repeats it.
    pub(super) fn turned_away(&self, status: u16, has_advice: bool) {
        let mut inner = self.inner.borrow_mut();
        inner.asking = inner.asking.saturating_sub(1);
        inner.tally.refused += 1;
        let away = &mut inner.tally.turned_away;
        *(if status == 429 { &mut away.too_many } else { &mut away.unavailable }) += 1;
        away.without_advice += u64::from(!has_advice);
    }

    /// A start was not answered, and nobody repeats it.
    pub(super) fn unanswered(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.asking = inner.asking.saturating_sub(1);
        inner.tally.turned_away.unanswered += 1;
    }

    /// A start came to nothing. Another one takes its place.
    pub(super) fn failed(&self, why: impl Into<String>) {
        let mut inner = self.inner.borrow_mut();
        inner.asking = inner.asking.saturating_sub(1);
        inner.tally.failed += 1;
        if inner.tally.complaints.len() < COMPLAINTS_MAX {
            inner.tally.complaints.push(why.into());
        }
        self.replace(&mut inner);
    }

    /// A saga's end was announced. Announcements may come twice.
    pub(super) fn announced(&self, saga: Uuid, ending: Ending) {
        let now = Instant::now();
        let mut inner = self.inner.borrow_mut();
        match inner.flights.remove(&saga) {
            Some(flight) => self.land(&mut inner, saga, &flight, now, ending),
            None => drop(inner.early.insert(saga, (now, ending))),
        }
    }

    fn land(&self, inner: &mut Inner, saga: Uuid, flight: &Flight, at: Instant, ending: Ending) {
        let is_rejected = flight.ticket.is_rejected();
        match ending {
            Ending::Completed if !is_rejected => inner.tally.completed += 1,
            Ending::Compensated if is_rejected => inner.tally.compensated += 1,
            _ => inner.tally.wrong += 1,
        }
        if inner.is_measured {
            record(&mut inner.tally.end_to_end, at - flight.sent);
        }
        inner.tally.last_end = Some(at);
        if let Some(ends) = &mut inner.ends {
            ends.insert(saga, at);
        }
        self.replace(inner);
        self.ended.notify_one();
    }

    fn replace(&self, inner: &mut Inner) {
        if inner.is_closed_loop {
            let number = inner.next;
            inner.next += 1;
            inner.queue.push_back(Ticket { number, intended: Instant::now() });
            self.waiting.add_permits(1);
        }
    }

    /// From now on, or no longer, latencies count.
    pub(super) fn measure(&self, is_measured: bool) {
        self.inner.borrow_mut().is_measured = is_measured;
    }

    /// Nothing new begins.
    pub(super) fn stop(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.is_closed_loop = false;
        inner.queue.clear();
    }

    /// How many wait for their turn.
    pub(super) fn queued(&self) -> usize {
        self.inner.borrow().queue.len()
    }

    /// From now on it is remembered when each saga ends.
    pub(super) fn remember_ends(&self) {
        self.inner.borrow_mut().ends = Some(HashMap::new());
    }

    /// When the last of these ended, if all of them have since [`Self::remember_ends`].
    pub(super) fn last_end_of(&self, sagas: &[Uuid]) -> Option<Instant> {
        let inner = self.inner.borrow();
        let ends = inner.ends.as_ref()?;
        let all: Option<Vec<Instant>> = sagas.iter().map(|saga| ends.get(saga).copied()).collect();
        all?.into_iter().max()
    }

    /// The latencies since the last time, end to end and of starts; they are forgotten here.
    pub(super) fn take_latencies(&self) -> (Histogram<u64>, Histogram<u64>) {
        let tally = &mut self.inner.borrow_mut().tally;
        let taken = (tally.end_to_end.clone(), tally.start.clone());
        tally.end_to_end.reset();
        tally.start.reset();
        taken
    }

    /// How many are accepted or asked for, and not ended.
    pub(super) fn under_way(&self) -> usize {
        let inner = self.inner.borrow();
        inner.flights.len() + inner.asking
    }

    /// Waits until everything that was planned has ended, or the time is over; says whether it has.
    pub(super) async fn drain(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.queued() + self.under_way() > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::select! {
                () = self.ended.notified() => {}
                () = sleep(Duration::from_millis(50)) => {}
            }
        }
        true
    }

    /// Looks at the counts and latencies.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Tally) -> T) -> T {
        look(&self.inner.borrow().tally)
    }
}

fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_has_300_bytes_and_every_tenth_wants_to_be_rejected() {
        for number in [0, 9, 10, 19, 123_456_789] {
            let input = Ticket { number, intended: Instant::now() }.input();
            assert_eq!(input.len(), INPUT_BYTES);
            let value: serde_json::Value = serde_json::from_str(&input).expect("json");
            assert_eq!(value["reject"], number % 10 == 9);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_planned_and_not_begun_is_waited_for() {
        let load = Load::begin(0).expect("a load");
        load.plan(Instant::now());
        assert!(!load.drain(Duration::from_millis(1)).await);
        load.stop();
        assert!(load.drain(Duration::from_millis(1)).await);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_was_turned_away_is_no_longer_under_way() {
        let load = Load::begin(0).expect("a load");
        for _ in 0..4 {
            load.plan(Instant::now());
            load.take().await;
        }
        assert_eq!((load.queued(), load.under_way()), (0, 4));
        load.turned_away(429, true);
        load.turned_away(503, false);
        load.unanswered();
        assert_eq!(load.under_way(), 1);
        let away = TurnedAway { too_many: 1, unavailable: 1, without_advice: 1, unanswered: 1 };
        assert_eq!(load.read(|tally| (tally.turned_away, tally.refused, tally.failed)), (away, 2, 0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_last_end_of_some_is_known_when_all_of_them_have_ended() {
        let load = Load::begin(2).expect("a load");
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        load.accepted(load.take().await, a);
        load.accepted(load.take().await, b);
        load.remember_ends();
        load.announced(a, Ending::Completed);
        assert!(load.last_end_of(&[a]).is_some());
        assert_eq!(load.last_end_of(&[a, b]), None);
        load.announced(b, Ending::Completed);
        assert!(load.last_end_of(&[a, b]) >= load.last_end_of(&[a]));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_counts_once_whenever_it_is_announced() {
        let load = Load::begin(2).expect("a load");
        load.measure(true);
        let (first, second) = (load.take().await, load.take().await);
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        load.announced(a, Ending::Completed);
        load.accepted(first, a);
        load.announced(a, Ending::Completed);
        load.accepted(second, b);
        load.stop();
        assert_eq!(load.under_way(), 1);
        assert!(!load.drain(Duration::from_millis(1)).await);
        load.announced(b, Ending::Compensated);
        assert!(load.drain(Duration::from_millis(1)).await);
        assert_eq!(load.read(|tally| (tally.accepted, tally.completed, tally.wrong)), (2, 1, 1));
        assert_eq!(load.read(|tally| tally.end_to_end.len()), 2);
    }
}
