//! What somebody outside says to a saga that waits, over REST and over NATS: signals and decisions. The limits, what came
//! of it, and in plain words why it was not taken. Whether it is taken is decided by the core.

use std::time::Duration;

use serde::Serialize;
use snorri_saga::decide::{Input, Refusal};
use snorri_saga::definition::{Definition, Work};
use snorri_saga::ids::{Name, SagaId, StepKey};
use snorri_saga::json::Json;
use snorri_saga::saga::{Phase, Saga, StepState};
use snorri_saga::wire::limit;

use crate::definitions::Definitions;
use crate::engine::{ActError, Acted, Engine};
use crate::metrics::Metrics;
use crate::problem::Problem;

/// The largest body of a signal, in bytes: its payload and some room.
pub(crate) const SIGNAL_BYTES_MAX: usize = limit::PAYLOAD_BYTES_MAX + 4 * 1024;
/// The most names that are listed where none of them was meant.
const LISTED_MAX: usize = 20;

/// A signal on its way to a saga.
#[derive(Debug)]
pub(crate) struct Signal {
    pub(crate) saga: SagaId,
    pub(crate) name: Name,
    /// The idempotency key.
    pub(crate) key: String,
    pub(crate) payload: Json,
}

/// What came of a signal.
#[derive(Debug, Serialize)]
pub(crate) struct SignalView {
    /// The saga.
    pub(crate) saga_id: SagaId,
    status: &'static str,
    name: Name,
    /// The idempotency key: the sender's, or the one that was made.
    key: String,
    /// The step that took it; without one it is kept until a step waits for it.
    pub(crate) taken_by: Option<StepKey>,
    /// The same signal came before.
    pub(crate) replayed: bool,
}

/// A decision on its way to a saga.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) saga: SagaId,
    pub(crate) step: Name,
    pub(crate) approve: bool,
    pub(crate) by: String,
    pub(crate) comment: String,
}

/// Why something was not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// Not now: the same again may be.
    Later(Problem),
    /// It never will be, or not as the saga stands.
    Never(Problem),
}

impl From<NotTaken> for Problem {
    fn from(not_taken: NotTaken) -> Self {
        match not_taken {
            NotTaken::Later(problem) | NotTaken::Never(problem) => problem,
        }
    }
}

/// What speaks to sagas that wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acts<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) definitions: &'a Definitions,
    pub(crate) metrics: &'a Metrics,
}

impl Acts<'_> {
    /// Gives a saga a signal. `within` is how long the caller waits.
    pub(crate) async fn signal(&self, signal: Signal, within: Duration) -> Result<SignalView, NotTaken> {
        let Signal { saga, name, key, payload } = signal;
        if payload.len() > limit::PAYLOAD_BYTES_MAX {
            self.metrics.signal("too_large");
            let problem = Problem::too_large("`payload`", payload.len(), limit::PAYLOAD_BYTES_MAX);
            return Err(NotTaken::Never(problem));
        }
        let input = Input::Signal { name: name.clone(), id: key.clone(), payload };
        let acted = self.engine.act(saga, input, within).await;
        let Acted { saga, is_replay } = match acted {
            Ok(acted) => acted,
            Err(error) => {
                self.metrics.signal(word(&error));
                return Err(self
                    .refused(error, |definition, saga| signal_unwanted(definition, saga, &name))
                    .await);
            }
        };
        let taken_by =
            saga.signals.iter().find(|known| known.id == key).and_then(|known| known.taken_by.clone());
        self.metrics.signal(match (is_replay, &taken_by) {
            (true, _) => "replayed",
            (false, Some(_)) => "taken",
            (false, None) => "kept",
        });
        let status = saga.status().as_str();
        Ok(SignalView { saga_id: saga.id, status, name, key, taken_by, replayed: is_replay })
    }

    /// Gives a saga a person's decision. `within` is how long the caller waits.
    pub(crate) async fn decide(&self, decision: Decision, within: Duration) -> Result<Acted, NotTaken> {
        let Decision { saga, step, approve, by, comment } = decision;
        let input = Input::Decide { step: step.clone(), approve, by, comment };
        match self.engine.act(saga, input, within).await {
            Ok(acted) => {
                self.metrics.decision(match (acted.is_replay, approve) {
                    (true, _) => "replayed",
                    (false, true) => "approved",
                    (false, false) => "refused",
                });
                Ok(acted)
            }
            Err(error) => {
                self.metrics.decision(word(&error));
                Err(self.refused(error, |definition, saga| decision_unwanted(definition, saga, &step)).await)
            }
        }
    }

    /// The problem document; of what nothing waits for, with the reason.
    async fn refused(
        &self,
        error: ActError,
        why: impl FnOnce(&Definition, &Saga) -> (String, bool),
    ) -> NotTaken {
        match error {
            ActError::Unavailable | ActError::Overloaded(_) => NotTaken::Later(error.into()),
            ActError::Refused(saga, Refusal::NotAwaited) => {
                let versioned = self.definitions.get(saga.definition.as_str(), Some(saga.version)).await;
                let (detail, is_early) = match versioned {
                    Ok(versioned) => why(&versioned.definition, &saga),
                    Err(_) => (Refusal::NotAwaited.to_string(), false),
                };
                let problem = Problem::not_awaited(&detail)
                    .with("saga_id", saga.id.to_string().into())
                    .with("current_state", saga.status().as_str().into())
                    .with("too_early", is_early.into());
                NotTaken::Never(problem)
            }
            ActError::Unknown(_) | ActError::Refused(..) => NotTaken::Never(error.into()),
        }
    }
}

/// The word of what was not taken, in metrics.
fn word(error: &ActError) -> &'static str {
    match error {
        ActError::Unknown(_) => "unknown_saga",
        ActError::Refused(_, refusal) => refusal.word(),
        ActError::Unavailable => "unavailable",
        ActError::Overloaded(_) => "overloaded",
    }
}

/// Names for people: some of them, and `none` for none.
fn listed<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    let mut names: Vec<&str> = names.map(Name::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(LISTED_MAX);
    names.truncate(LISTED_MAX);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

/// Why nothing waits for a signal, and whether it only came too early, which a signal never does: it is kept.
fn signal_unwanted(definition: &Definition, saga: &Saga, name: &Name) -> (String, bool) {
    let signals = || {
        definition.steps.iter().filter_map(|step| match &step.work {
            Work::Signal { name, .. } => Some(name),
            Work::Participant { .. } | Work::Saga { .. } | Work::Approval { .. } | Work::Delay => None,
        })
    };
    let detail = if signals().all(|known| known != name) {
        format!(
            "no step of `{}` waits for a signal `{name}`; its signals are: {}",
            definition.name,
            listed(signals())
        )
    } else if saga.phase == Phase::Backward || saga.stopping.is_some() {
        "the saga is being undone, and waits for no signal any more".to_owned()
    } else {
        format!("every step that waits for a signal `{name}` has had one, is skipped, or is over")
    };
    (detail, false)
}

/// Why nothing waits for a decision, and whether it only came too early.
fn decision_unwanted(definition: &Definition, saga: &Saga, name: &Name) -> (String, bool) {
    let approvals = definition
        .steps
        .iter()
        .filter(|step| matches!(step.work, Work::Approval { .. }))
        .map(|step| &step.name);
    let is_one = approvals.clone().any(|known| known == name);
    if !is_one {
        let detail = format!(
            "`{name}` is no approval of `{}`; its approvals are: {}",
            definition.name,
            listed(approvals)
        );
        return (detail, false);
    }
    match saga.step(name.as_str()).map(|run| run.state) {
        None if saga.phase == Phase::Forward && saga.stopping.is_none() => {
            (format!("the saga has not come to `{name}` yet: say it again when it waits for it"), true)
        }
        None => (format!("the saga is being undone, and will not come to `{name}`"), false),
        Some(StepState::Skipped) => (format!("the condition of `{name}` was false: it is skipped"), false),
        // It was begun in the same round, behind the decision.
        Some(StepState::Acting) => (
            format!("the saga came to `{name}` at this very moment: say it again, it waits for it now"),
            true,
        ),
        Some(_) => (format!("`{name}` is over"), false),
    }
}

#[cfg(test)]
mod tests {
    use snorri_saga::decide::{StartInput, start as start_saga};
    use snorri_saga::time::Timestamp;

    use super::*;

    #[test]
    fn a_decision_that_comes_as_its_step_begins_came_too_early_and_not_too_late() {
        let text = "name: order\nsteps:\n- {name: review, approval: {timeout: 1m}}\n";
        let (_, definition) = Definitions::check(text).expect("a definition");
        let start = StartInput {
            id: SagaId(uuid::Uuid::nil()),
            version: 1,
            input: Json::null(),
            tags: [].into(),
            key: None,
            traceparent: None,
            parent: None,
        };
        let saga = start_saga(&definition, start, Timestamp(0)).saga;
        let step = Name::new("review").expect("a name");
        assert_eq!(saga.step("review").map(|run| run.state), Some(StepState::Acting));
        assert!(decision_unwanted(&definition, &saga, &step).1);
    }

    #[test]
    fn names_are_listed_once_and_not_without_end() {
        let names: Vec<Name> = (0..30).map(|n| Name::new(&format!("s{n:02}")).expect("a name")).collect();
        assert_eq!(listed(names.iter().take(0)), "none");
        assert_eq!(listed(names.iter().take(2).chain(names.iter().take(1))), "s00, s01");
        assert!(listed(names.iter()).ends_with("s19 and 10 more"));
    }
}
