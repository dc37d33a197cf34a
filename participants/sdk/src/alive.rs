//! Signs of life: what takes its time says so, to JetStream, so that it is not delivered again, and to the orchestrator, so
//! that the step's timeout begins anew.

use std::time::Duration;

use snorri_bus::headers;
use snorri_bus::replies::Batch;
use snorri_saga::wire::Outcome;
use tokio::time::{Instant, sleep_until};

use crate::run::Shared;
use crate::work::Job;

/// How often the server is told that a command is still being worked on.
const PROGRESS: Duration = Duration::from_secs(10);
/// A command tells at most so often that it is being worked on.
const PULSE_LEAST: Duration = Duration::from_millis(50);
/// One whose budget says little, because there was little left of it, tells its first sign of life at once and then so
/// often: enough for a timeout of a second. Otherwise commands that are sent again while everything is slow would cost more
/// signs of life than work, and keep everything slow.
const PULSE_CALM: Duration = Duration::from_millis(333);

/// When the next sign of life of a command is due.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    next: Instant,
    gap: Duration,
}

impl Pulse {
    /// A third of the command's budget, so that two may be late. That of a command which was sent again is only what is
    /// left of its time, and says nothing of its timeout; nor does one that is shorter than anybody could keep.
    fn of(budget: Duration, is_again: bool, now: Instant) -> Self {
        let third = (budget / 3).min(PROGRESS);
        if is_again || third < PULSE_LEAST {
            return Self { next: now + PULSE_LEAST, gap: PULSE_CALM };
        }
        Self { next: now + third, gap: third }
    }

    /// From now on, and not from when it was due: what is late is not made up for.
    fn beat(&mut self, now: Instant) {
        self.next = now + self.gap;
    }
}

/// Runs a piece of work, and tells that the commands are being worked on for as long as it takes. Each in its own
/// rhythm: one command with little time left must not make all others of its batch tell as often.
pub(crate) async fn alive<T>(shared: &Shared, jobs: &[Job], work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let mut pulses: Vec<Pulse> = jobs
        .iter()
        .map(|job| Pulse::of(job.command.budget.to_std(), job.command.id.sending > 0, began))
        .collect();
    tokio::pin!(work);
    loop {
        let next = pulses.iter().map(|pulse| pulse.next).min().unwrap_or(began + PROGRESS);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep_until(next) => {
                let due: Vec<&Job> = jobs
                    .iter()
                    .zip(&mut pulses)
                    .filter(|(_, pulse)| pulse.next <= next)
                    .map(|(job, pulse)| {
                        pulse.beat(Instant::now());
                        job
                    })
                    .collect();
                snorri_kill::point!(AtWork, continue);
                tell(shared, &due).await;
            }
        }
    }
}

/// Gives a sign of life of each command, as many as fit in one message: a batch that is held up has many.
async fn tell(shared: &Shared, due: &[&Job]) {
    let working = headers::reply_body(&Outcome::Working);
    let mut batch: Option<(&str, Batch)> = None;
    for job in due {
        job.message.progress().await;
        let command = &job.command;
        let id = command.id.to_string();
        if command.replies_max == 1 {
            // Nobody is worse off without it than before.
            let _ = shared
                .bus
                .publish_core(headers::reply(&command.reply_to, &command.id, &Outcome::Working))
                .await;
            continue;
        }
        let fits = batch.as_ref().is_some_and(|(to, batch)| {
            *to == command.reply_to && batch.has_room(&id, &working, command.replies_max)
        });
        if !fits {
            let full = batch.replace((&command.reply_to, Batch::new(&command.reply_to)));
            if let Some((_, full)) = full {
                let _ = shared.bus.publish_core(full.into_message()).await;
            }
        }
        if let Some((_, batch)) = &mut batch {
            batch.add(&id, &working);
        }
    }
    if let Some((_, batch)) = batch {
        let _ = shared.bus.publish_core(batch.into_message()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the signs of life of one command come, in milliseconds, if each is told so late.
    fn beats(budget_ms: u64, is_again: bool, within_ms: u64, late_ms: u64) -> Vec<u128> {
        let began = Instant::now();
        let mut pulse = Pulse::of(Duration::from_millis(budget_ms), is_again, began);
        let mut beats = Vec::new();
        while pulse.next <= began + Duration::from_millis(within_ms) {
            beats.push((pulse.next - began).as_millis());
            pulse.beat(pulse.next + Duration::from_millis(late_ms));
        }
        beats
    }

    #[test]
    fn a_timeout_is_told_thrice_however_short_and_no_budget_is_no_storm() {
        for timeout in [150, 300, 999, 1000, 5000, 20_000] {
            let beats = beats(timeout, false, 10 * timeout, 0);
            assert!(beats.len() >= 30, "{timeout} ms: {beats:?}");
        }
        assert_eq!(beats(600_000, false, 60_000, 0).len(), 6, "the server is told often enough");
        for budget in [0, 10, 149] {
            assert_eq!(beats(budget, false, 10_000, 0).len(), 30, "{budget} ms");
        }
        for budget in [0, 149, 1000, 600_000] {
            let beats = beats(budget, true, 10_000, 0);
            assert_eq!((beats[0], beats.len()), (50, 30), "{budget} ms, sent again");
        }
    }

    #[test]
    fn what_is_late_is_not_made_up_for() {
        assert_eq!(beats(999, false, 20_000, 4000), [333, 4666, 8999, 13_332, 17_665]);
    }
}
