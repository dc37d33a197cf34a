//! What a saga's steps did, by the participants' books, against how it ended.

use serde_json::Value;
use snorri_saga::ids::{Direction, EffectId};
use snorri_saga::journal::End;

use crate::audit::{Books, Story};
use crate::shape::{Shape, Step, Work};
use crate::world::World;

/// The effects of one saga against its end. Returns what its steps should have moved, and what they did.
pub(crate) fn check(world: &World, story: &Story<'_>, shape: &Shape, books: &Books) -> (i64, i64) {
    let (mut should, mut is) = (0, 0);
    let Some((end, _)) = story.end else { return (0, 0) };
    for step in &shape.steps {
        // Reads have no effect, and parts are sagas of their own.
        if step.kind == "read" || !matches!(step.work, Work::Participant(_)) {
            continue;
        }
        if story.skipped.contains(step.name.as_str()) {
            not_done(world, story, &step.name, books);
            continue;
        }
        for (key, amount) in keys(world, story, step, end) {
            let (one_should, one_is) = match end {
                End::Completed => completed(world, story, &key, amount, books),
                End::Compensated => compensated(world, story, step, &key, amount, books),
            };
            should += one_should;
            is += one_is;
        }
    }
    (should, is)
}

/// What the step is called on the wire, once or for each item, and the amount that it moves.
pub(crate) fn keys(world: &World, story: &Story<'_>, step: &Step, end: End) -> Vec<(String, i64)> {
    let amount = |value: Option<&Value>| value.and_then(|value| value.get("amount")?.as_i64()).unwrap_or(1);
    if !step.is_list {
        let input = serde_json::from_str::<Value>(story.started.input.get()).ok();
        return vec![(step.name.clone(), amount(input.as_ref()))];
    }
    let Some(items) = story.items.get(step.name.as_str()) else {
        if end == End::Completed {
            let (id, name) = (story.id, &step.name);
            world.violated("I4", format!("{id} is completed, and {name} worked on no list"));
        }
        return Vec::new();
    };
    let key = |(number, item): (usize, &Value)| (format!("{}:{number}", step.name), amount(Some(item)));
    items.iter().enumerate().map(key).collect()
}

fn not_done(world: &World, story: &Story<'_>, name: &str, books: &Books) {
    let is_of = |effect: &&EffectId| effect.saga == story.id && effect.step.step() == name;
    if let Some(effect) = books.entries.keys().find(is_of) {
        world.violated("I4", format!("{name} of {} was skipped, and {effect} took effect", story.id));
    }
}

fn completed(world: &World, story: &Story<'_>, key: &str, amount: i64, books: &Books) -> (i64, i64) {
    let id = story.id;
    let actions = books.of(id, key, Direction::Action);
    let undos = books.of(id, key, Direction::Compensation);
    if actions.is_empty() || !undos.is_empty() {
        let (done, undone) = (actions.len(), undos.len());
        world.violated("I4", format!("{id} is completed; {key} was done {done} times, undone {undone}"));
    }
    (amount, moved(actions, undos))
}

fn compensated(
    world: &World,
    story: &Story<'_>,
    step: &Step,
    key: &str,
    amount: i64,
    books: &Books,
) -> (i64, i64) {
    let id = story.id;
    let actions = books.of(id, key, Direction::Action);
    let undos = books.of(id, key, Direction::Compensation);
    let is_done = !actions.is_empty();
    let is_left = key.parse().is_ok_and(|step| {
        books.left.contains_key(&EffectId { saga: id, step, direction: Direction::Action })
    });
    if !step.has_undo {
        if is_done && step.kind != "compensatable" {
            world.violated("I5", format!("{id} is compensated; {key}, which nobody can undo, was done"));
        }
        return (if is_done { amount } else { 0 }, moved(actions, undos));
    }
    if (is_done || is_left) && undos.len() != 1 {
        let count = undos.len();
        world.violated("I5", format!("{id} is compensated; {key} was done, and undone {count} times"));
    }
    if let (Some(action), Some(undo)) = (actions.first(), undos.first())
        && action.input != undo.input
    {
        world.violated("E13", format!("{id}: {key} is undone by another input than it was done"));
    }
    (0, moved(actions, undos))
}

/// What the two moved together. What a rejection left is undone, and was never in the books.
fn moved(actions: &[crate::ledger::Entry], undos: &[crate::ledger::Entry]) -> i64 {
    let sum = |entries: &[crate::ledger::Entry]| entries.iter().map(|entry| entry.amount).sum::<i64>();
    if actions.is_empty() { 0 } else { sum(actions) - sum(undos) }
}
