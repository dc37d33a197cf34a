//! Cores that are broken in one place each, made of the real one: it is lied to, or what it answers is changed.

use snorri_language::explore::Core;
use snorri_saga::decide::{self, Decision, Effect, Input, Refusal};
use snorri_saga::definition::{Definition, Graph};
use snorri_saga::journal::Event;
use snorri_saga::saga::{Phase, Saga};
use snorri_saga::time::Timestamp;

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
    /// What was committed and not sent is never sent.
    pub(crate) forgets: bool,
}

impl Broken {
    pub(crate) fn new(decide: fn(&Call<'_>) -> Came) -> Self {
        Self { decide, forgets: false }
    }
}

impl Core for Broken {
    fn decide(&self, definition: &Definition, saga: &Saga, input: &Input, now: Timestamp) -> Came {
        (self.decide)(&Call { definition, saga, input, now })
    }

    fn pending_effects(&self, definition: &Definition, saga: &Saga, now: Timestamp) -> Vec<Effect> {
        if self.forgets { Vec::new() } else { decide::pending_effects(definition, saga, now) }
    }
}

/// Nothing needs anything.
pub(crate) fn without_order(definition: &mut Definition) {
    let needs = vec![Vec::new(); definition.steps.len()];
    definition.graph = Graph::new(&needs, None).expect("no cycle");
}
