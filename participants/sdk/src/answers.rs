//! Answers on their way out. Whatever is ready goes together: several replies to the same orchestrator in one message,
//! several messages in one flight, and the commands are acknowledged when their replies are stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use snorri_bus::headers::{ReceivedCommand, reply_with_body};
use snorri_bus::replies::Batch;
use snorri_bus::{Bytes, Message, Outgoing};
use tokio::sync::mpsc;

use crate::run::Shared;
use crate::stats::Stats;

/// How many answers may wait. More make the commands at work wait, and they keep others from being pulled.
const WAITING_MAX: usize = 1024;
/// The most answers that one flight takes.
const FLIGHT_MAX: usize = 256;
/// How many flights are under way at once: a second one takes off while the first is being acknowledged; what comes
/// meanwhile goes together with the third.
const FLIGHTS_MAX: usize = 2;
/// How soon a command comes again whose reply was not taken.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The answer to a command.
pub(crate) struct Answer {
    pub(crate) command: Arc<ReceivedCommand>,
    pub(crate) body: Bytes,
    /// What is to be acknowledged once the answer is stored. Nothing where it is acknowledged already.
    pub(crate) message: Option<Message>,
}

/// Where answers are handed over.
#[derive(Clone)]
pub(crate) struct Answers(mpsc::Sender<Answer>);

impl Answers {
    /// Hands an answer over, waiting while too many wait.
    pub(crate) async fn tell(&self, answer: Answer) {
        // An error means that the participant was dropped: the command comes again.
        let _ = self.0.send(answer).await;
    }
}

/// The way to tell answers, and the loop that does it: it ends when all the [`Answers`] are gone and told.
pub(crate) fn channel(shared: Arc<Shared>) -> (Answers, impl Future<Output = ()>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Answers(sender), run(shared, receiver))
}

async fn run(shared: Arc<Shared>, mut waiting: mpsc::Receiver<Answer>) {
    let mut flights = FuturesUnordered::new();
    let mut ready = Vec::with_capacity(FLIGHT_MAX);
    loop {
        tokio::select! {
            biased;
            Some(()) = flights.next(), if !flights.is_empty() => {}
            taken = waiting.recv_many(&mut ready, FLIGHT_MAX), if flights.len() < FLIGHTS_MAX => {
                if taken == 0 {
                    break;
                }
                gather(&mut waiting, &mut ready).await;
                flights.push(fly(&shared, std::mem::take(&mut ready)));
            }
        }
    }
    while flights.next().await.is_some() {}
}

/// Adds the answers of those that are at work and ready to run. Commands that came together are done one after the other, so
/// without it the first answer would fly alone, the second one too, and all others wait until one of them has landed. It
/// lets others go first, once, and waits for nobody.
async fn gather<T>(waiting: &mut mpsc::Receiver<T>, ready: &mut Vec<T>) {
    tokio::task::yield_now().await;
    while ready.len() < FLIGHT_MAX
        && let Ok(answer) = waiting.try_recv()
    {
        ready.push(answer);
    }
}

/// A message, and the commands that it answers.
struct Packed {
    outgoing: Outgoing,
    commands: Vec<Option<Message>>,
}

/// Puts answers to the same subject together, as many as the one who asked takes in one message.
fn pack(answers: Vec<Answer>) -> Vec<Packed> {
    let mut by_subject: BTreeMap<String, Vec<Answer>> = BTreeMap::new();
    let mut packed = Vec::new();
    for answer in answers {
        if answer.command.replies_max > 1 {
            // Most have one reader: the name is copied once for each message, not for each answer.
            match by_subject.get_mut(&answer.command.reply_to) {
                Some(together) => together.push(answer),
                None => {
                    by_subject.insert(answer.command.reply_to.clone(), vec![answer]);
                }
            }
        } else {
            packed.push(alone(answer));
        }
    }
    for (subject, mut together) in by_subject {
        if together.len() == 1 {
            packed.extend(together.pop().map(alone));
            continue;
        }
        let mut batch = Batch::new(&subject);
        let mut commands = Vec::new();
        for answer in together {
            let id = answer.command.id.to_string();
            if !batch.has_room(&id, &answer.body, answer.command.replies_max) && !commands.is_empty() {
                let full = std::mem::replace(&mut batch, Batch::new(&subject));
                packed
                    .push(Packed { outgoing: full.into_message(), commands: std::mem::take(&mut commands) });
            }
            batch.add(&id, &answer.body);
            commands.push(answer.message);
        }
        packed.push(Packed { outgoing: batch.into_message(), commands });
    }
    packed
}

fn alone(answer: Answer) -> Packed {
    let Answer { command, body, message } = answer;
    Packed { outgoing: reply_with_body(&command.reply_to, &command.id, body), commands: vec![message] }
}

/// Publishes answers, and acknowledges the commands whose answers are stored.
async fn fly(shared: &Shared, answers: Vec<Answer>) {
    let (outgoing, commands): (Vec<Outgoing>, Vec<_>) =
        pack(answers).into_iter().map(|packed| (packed.outgoing, packed.commands)).unzip();
    let results = shared.bus.publish_all(outgoing).await;
    snorri_kill::point!(Replied, return);
    for (commands, result) in commands.into_iter().zip(results) {
        for message in commands {
            match (message, &result) {
                (Some(message), Ok(())) => {
                    message.ack().await;
                }
                (message, Err(error)) => {
                    Stats::count(&shared.stats.unanswered);
                    tracing::debug!(%error, "a reply was not taken");
                    if let Some(message) = message {
                        message.nak_with_delay(AGAIN_AFTER).await;
                    }
                }
                (None, Ok(())) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn answers_of_those_that_are_ready_fly_together_and_nobody_is_waited_for() {
        let (sender, mut waiting) = mpsc::channel(2 * FLIGHT_MAX);
        let mut ready = vec![0];
        for number in 1..=2 {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(number).await.expect("somebody listens") });
        }
        gather(&mut waiting, &mut ready).await;
        assert_eq!(ready, [0, 1, 2]);
        // The sender is still there, and sends no more.
        gather(&mut waiting, &mut ready).await;
        assert_eq!(ready.len(), 3);
        for number in 0..2 * FLIGHT_MAX {
            sender.try_send(number).expect("there is room");
        }
        gather(&mut waiting, &mut ready).await;
        assert_eq!((ready.len(), waiting.len()), (FLIGHT_MAX, FLIGHT_MAX + 3));
    }
}
