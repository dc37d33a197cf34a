//! What is to be seen of a definition, before anything of it has a place: cards, arrows, words.

use snorri_saga::definition::{Definition, DraftStep, OnNoDecision, OnSilence, Step, StepKind, Work, Zone};
use snorri_saga::time::Millis;

use super::text::clean;
use crate::Subject;

/// The picture's content.
#[derive(Debug)]
pub(super) struct Scene {
    /// The definition's name.
    pub(super) title: String,
    /// Its version, its window, how many steps.
    pub(super) facts: String,
    /// What people wrote about it; may be empty.
    pub(super) about: String,
    /// The steps, as they are listed.
    pub(super) cards: Vec<Card>,
    /// Who waits for whom, without what follows from others.
    pub(super) arrows: Vec<Arrow>,
    /// The pivot.
    pub(super) pivot: Option<usize>,
}

/// A step.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) name: String,
    /// Its kind, or that it waits.
    pub(super) kind: &'static str,
    /// What is done.
    pub(super) what: String,
    /// How often, how long.
    pub(super) notes: Vec<String>,
    /// The condition.
    pub(super) when: Option<String>,
    /// What reverses it.
    pub(super) undo: Undo,
    pub(super) look: Look,
    /// It is run for each item.
    pub(super) is_stacked: bool,
    pub(super) zone: Zone,
}

/// What becomes of a step's effect on the way back.
#[derive(Debug, PartialEq)]
pub(super) enum Undo {
    /// It has none, or is behind the point of no return.
    Nothing,
    /// It stays.
    Stays,
    /// It is reversed.
    By(String),
}

/// How a card looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Work,
    Saga,
    Wait,
}

/// One step waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrow {
    pub(super) from: usize,
    pub(super) to: usize,
    /// If something fails, it is gone the other way: something before it is undone then.
    pub(super) leads_back: bool,
}

impl Scene {
    /// What is to be seen of a definition.
    pub(super) fn of(subject: Subject<'_>) -> Self {
        let Subject { draft, definition, version } = subject;
        let steps = definition.steps.iter().zip(&draft.steps).enumerate();
        let count = definition.steps.len();
        let mut facts = version.map(|version| format!("version {version}")).into_iter().collect::<Vec<_>>();
        facts.push(format!("window {}", short(definition.window)));
        facts.push(format!("{count} {}", if count == 1 { "step" } else { "steps" }));
        Self {
            title: definition.name.to_string(),
            facts: facts.join(" · "),
            about: clean(definition.description.as_deref().unwrap_or_default()),
            cards: steps.map(|(at, (step, draft))| a_card(definition, at, step, draft)).collect(),
            arrows: arrows(definition),
            pivot: definition.graph.pivot(),
        }
    }

    /// Whether anything leads back.
    pub(super) fn leads_back(&self) -> bool {
        self.arrows.iter().any(|arrow| arrow.leads_back)
    }

    /// Steps that begin at once.
    pub(super) fn firsts(&self) -> Vec<usize> {
        (0..self.cards.len()).filter(|at| !self.arrows.iter().any(|arrow| arrow.to == *at)).collect()
    }

    /// Steps that nobody waits for.
    pub(super) fn lasts(&self) -> Vec<usize> {
        (0..self.cards.len()).filter(|at| !self.arrows.iter().any(|arrow| arrow.from == *at)).collect()
    }

    /// All of it in words, for those who do not see it.
    pub(super) fn in_words(&self) -> String {
        let mut words = vec![format!("The saga {}: {}.", self.title, self.facts)];
        for (at, one) in self.cards.iter().enumerate() {
            let before: Vec<&str> = self
                .arrows
                .iter()
                .filter(|arrow| arrow.to == at)
                .filter_map(|arrow| self.cards.get(arrow.from))
                .map(|before| before.name.as_str())
                .collect();
            let after = if before.is_empty() {
                "at the start".to_owned()
            } else {
                format!("after {}", before.join(", "))
            };
            let when = one.when.as_ref().map(|when| format!(", {when}")).unwrap_or_default();
            let undo = match &one.undo {
                Undo::Nothing => String::new(),
                Undo::Stays => ", its effect stays".to_owned(),
                Undo::By(what) => format!(", undone by {what}"),
            };
            let what = std::iter::once(&one.what).chain(&one.notes).cloned().collect::<Vec<_>>().join(", ");
            words.push(format!("{} ({}), {after}{when}: {what}{undo}.", one.name, one.kind));
        }
        if let Some(pivot) = self.pivot.and_then(|at| self.cards.get(at)) {
            words.push(format!("Behind {} nothing is undone any more.", pivot.name));
        }
        words.join(" ")
    }
}

/// A duration as people write it: whole days as days.
fn short(span: Millis) -> String {
    let day = 86_400_000;
    if span.0 >= 2 * day && span.0.is_multiple_of(day) {
        format!("{}d", span.0 / day)
    } else {
        span.to_string()
    }
}

fn attempts(timeout: Millis, attempts: u32) -> String {
    match attempts {
        1 => format!("up to {}", short(timeout)),
        more => format!("{} × {more} attempts", short(timeout)),
    }
}

fn a_card(definition: &Definition, at: usize, step: &Step, draft: &DraftStep) -> Card {
    let (look, what) = match &step.work {
        Work::Participant { participant, action } => (Look::Work, format!("{participant} · {action}")),
        Work::Saga { definition, version } => (Look::Saga, format!("saga {definition}, version {version}")),
        Work::Signal { name, .. } => (Look::Wait, format!("waits for the signal {name}")),
        Work::Approval { .. } => (Look::Wait, "waits for a person's yes or no".to_owned()),
        Work::Delay => (Look::Wait, format!("waits {}", short(step.timeout))),
    };
    let up_to = |then: &str| format!("up to {}, then {then}", short(step.timeout));
    let mut notes = Vec::new();
    if let (Some(each), Some(written)) = (&step.for_each, &draft.for_each) {
        let items = match &written.items {
            serde_json::Value::String(text) => expression(text),
            list => list.to_string(),
        };
        notes.push(format!("for each {} of {}", each.name, clean(&items)));
        notes.push(format!("{} at once, at most {}", each.concurrency, each.max));
    }
    notes.extend(match &step.work {
        Work::Participant { .. } if step.kind == StepKind::Retriable => {
            Some(format!("{}, until it succeeds", short(step.timeout)))
        }
        Work::Participant { .. } | Work::Saga { .. } => Some(attempts(step.timeout, step.retry.attempts)),
        Work::Signal { on_timeout: OnSilence::Fail, .. } => Some(up_to("it fails")),
        Work::Signal { on_timeout: OnSilence::Continue, .. } => Some(up_to("goes on")),
        Work::Approval { on_timeout: OnNoDecision::Reject } => Some(up_to("no")),
        Work::Approval { on_timeout: OnNoDecision::Approve } => Some(up_to("yes")),
        Work::Delay => None,
    });
    let undo = match (&step.compensation, &step.work) {
        (Some(undo), Work::Saga { .. }) => {
            Undo::By(format!("its own compensations · {}", attempts(undo.timeout, undo.retry.attempts)))
        }
        (Some(undo), _) => {
            Undo::By(format!("{} · {}", undo.action, attempts(undo.timeout, undo.retry.attempts)))
        }
        (None, _) if step.kind == StepKind::Compensatable => Undo::Stays,
        (None, _) => Undo::Nothing,
    };
    Card {
        name: step.name.to_string(),
        kind: match (look, step.kind) {
            (Look::Wait, _) => "wait",
            (_, StepKind::Compensatable) => "compensatable",
            (_, StepKind::Pivot) => "pivot",
            (_, StepKind::Retriable) => "retriable",
            (_, StepKind::Read) => "read",
        },
        what,
        notes,
        when: draft.when.as_ref().map(|when| format!("if {}", clean(when))),
        undo,
        look,
        is_stacked: step.for_each.is_some(),
        zone: definition.graph.zone(at),
    }
}

/// What stands between `${{` and `}}`.
fn expression(text: &str) -> String {
    let inner = text.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
    inner.unwrap_or(text).trim().to_owned()
}

/// Who waits for whom. What follows from others is left out: who waits for the last of three waits for all three.
fn arrows(definition: &Definition) -> Vec<Arrow> {
    let graph = &definition.graph;
    let has_undo = |at: usize| definition.steps.get(at).is_some_and(|step| step.compensation.is_some());
    let undone = |at: usize| {
        has_undo(at) || (0..definition.steps.len()).any(|one| has_undo(one) && graph.ancestors(at).has(one))
    };
    let mut arrows = Vec::new();
    for to in 0..definition.steps.len() {
        for from in graph.needs(to) {
            let is_implied = graph.needs(to).iter().any(|other| graph.ancestors(*other).has(*from));
            if !is_implied {
                let leads_back = graph.zone(to) != Zone::Behind && undone(*from);
                arrows.push(Arrow { from: *from, to, leads_back });
            }
        }
    }
    arrows
}
