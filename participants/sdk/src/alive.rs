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
/// A command tells at most so often that it is being worked on,
const PULSE_LEAST: Duration = Duration::from_millis(50);
/// and after its first signs of life at most so often: enough for a timeout of a second. Without this, commands that are
/// sent again while everything is slow cost more signs of life than work, and keep everything slow.
const PULSE_CALM: Duration = Duration::from_millis(333);
/// One that was sent again tells at most so often.
const PULSE_AGAIN: Duration = Duration::from_secs(1);

/// When the next sign of life of a command is due.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    next: Instant,
    gap: Duration,
}

impl Pulse {
    /// A third of the command's budget, so that two may be late. That of a command which was sent again is only what is
    /// left of its time, and says nothing of its timeout.
    fn of(budget: Duration, is_again: bool, now: Instant) -> Self {
        let least = if is_again { PULSE_AGAIN } else { PULSE_LEAST };
        let gap = (budget / 3).clamp(least, PROGRESS);
        Self { next: now + gap, gap }
    }

    fn beat(&mut self, now: Instant) {
        if self.gap < PULSE_CALM {
            self.gap = (self.gap * 2).min(PULSE_CALM);
        }
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
                        pulse.beat(next);
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

    /// The signs of life of one command in so long.
    fn beats(budget: Duration, is_again: bool, within: Duration) -> u32 {
        let began = Instant::now();
        let mut pulse = Pulse::of(budget, is_again, began);
        let mut count = 0;
        while pulse.next <= began + within {
            pulse.beat(pulse.next);
            count += 1;
        }
        count
    }

    #[test]
    fn a_timeout_of_a_second_or_more_is_told_thrice_and_no_budget_is_no_storm() {
        let seconds = Duration::from_secs;
        for timeout in [1, 2, 5, 20] {
            assert_eq!(beats(seconds(timeout), false, seconds(timeout)), 3, "{timeout} s");
        }
        assert_eq!(beats(seconds(600), true, seconds(60)), 6, "the server is told often enough");
        for budget in [0, 10, 150] {
            let count = beats(Duration::from_millis(budget), false, seconds(10));
            assert!((28..=33).contains(&count), "{budget} ms: {count}");
            assert_eq!(beats(Duration::from_millis(budget), true, seconds(10)), 10, "{budget} ms, again");
        }
    }
}
