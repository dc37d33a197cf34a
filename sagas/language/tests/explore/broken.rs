//! Cores that are broken in one place each, made of the real one: it is lied to, or what it answers is changed.

use snorri_language::explore::Core;
use snorri_saga::decide::{self, Decision, Effect, Input, Refusal};
use snorri_saga::definition::{Definition, Graph, Step};
use snorri_saga::journal::Event;
use snorri_saga::saga::{Phase, Saga};
use snorri_saga::time::Timestamp;
use snorri_saga::wire::EndedBody;

/// What the core is called with.
pub(crate) struct Call<'a> {
    pub(crate) definition: &'a Definition,
    pub(crate) saga: &'a Saga,
    pub(crate) input: &'a Input,
    pub(crate) now: Timestamp,
}

type Came = Result<Decision, Refusal>;

impl Call<'_> {
    /// What the real core answers.
    pub(crate) fn real(&self) -> Came {
        decide::decide(self.definition, self.saga, self.input, self.now)
    }

    /// The real core believes in another definition.
    pub(crate) fn with_definition(&self, change: impl FnOnce(&mut Definition)) -> Came {
        let mut definition = self.definition.clone();
        change(&mut definition);
        decide::decide(&definition, self.saga, self.input, self.now)
    }

    /// The real core is told another input.
    pub(crate) fn with_input(&self, input: &Input) -> Came {
        decide::decide(self.definition, self.saga, input, self.now)
    }

    /// The real core believes in another state; what it records is then true of the real one.
    pub(crate) fn with_saga(&self, change: impl FnOnce(&mut Saga)) -> Came {
        let mut saga = self.saga.clone();
        change(&mut saga);
        let decision = decide::decide(self.definition, &saga, self.input, self.now)?;
        Ok(self.recording(decision.events, decision.effects))
    }

    /// A decision with these facts.
    pub(crate) fn recording(&self, events: Vec<Event>, effects: Vec<Effect>) -> Decision {
        let mut saga = self.saga.clone();
        for event in &events {
            saga.evolve(self.now, event);
        }
        Decision { events, effects, saga }
    }

    /// Whether something is undone by it.
    pub(crate) fn undoes(&self) -> bool {
        let begins = |decision: &Decision| {
            decision.events.iter().any(|event| matches!(event, Event::CompensationBegan { .. }))
        };
        self.saga.phase == Phase::Backward || self.real().as_ref().is_ok_and(begins)
    }
}

/// A core that answers as it is told to.
pub(crate) struct Broken {
    pub(crate) decide: fn(&Call<'_>) -> Came,
    /// What a takeover sends of what was committed and perhaps not sent.
    pub(crate) pending: fn(Vec<Effect>) -> Vec<Effect>,
}

impl Broken {
    pub(crate) fn new(decide: fn(&Call<'_>) -> Came) -> Self {
        Self { decide, pending: |effects| effects }
    }
}

impl Core for Broken {
    fn decide(&self, definition: &Definition, saga: &Saga, input: &Input, now: Timestamp) -> Came {
        (self.decide)(&Call { definition, saga, input, now })
    }

    fn pending_effects(&self, definition: &Definition, saga: &Saga, now: Timestamp) -> Vec<Effect> {
        (self.pending)(decide::pending_effects(definition, saga, now))
    }
}

/// The step is another one.
pub(crate) fn change(definition: &mut Definition, step: &str, change: impl FnOnce(&mut Step)) {
    if let Some(step) = definition.steps.iter_mut().find(|of| of.name == *step) {
        change(step);
    }
}

/// What says that this saga has ended.
pub(crate) fn announcement(call: &Call<'_>, status: &str) -> Effect {
    Effect::Announce(Box::new(EndedBody {
        saga_id: call.saga.id,
        definition: call.saga.definition.clone(),
        version: call.saga.version,
        status: status.to_owned(),
        started_at: call.saga.started_at,
        ended_at: call.now,
        cause: None,
    }))
}

/// Nothing needs anything.
pub(crate) fn without_order(definition: &mut Definition) {
    let needs = vec![Vec::new(); definition.steps.len()];
    definition.graph = Graph::new(&needs, None).expect("no cycle");
}
