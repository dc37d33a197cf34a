//! A saga and its parts: they end alike, and everything together is undone in the reverse order of the graphs.

use std::collections::{BTreeMap, BTreeSet};

use snorri_saga::ids::{Direction, SagaId};
use snorri_saga::journal::{End, Parent};

use crate::audit::{Books, Story};
use crate::effects;
use crate::shape::{Shape, Work};
use crate::world::World;

/// The first and the last undo of something, by their places among all writes.
type Span = (u64, u64);

/// Checks all sagas of which nothing was lost.
pub(crate) fn check(
    world: &World,
    sagas: &[(Story<'_>, Shape)],
    books: &Books,
    tainted: &BTreeSet<SagaId>,
    is_over: bool,
) {
    let by_id: BTreeMap<SagaId, &(Story<'_>, Shape)> = sagas.iter().map(|saga| (saga.0.id, saga)).collect();
    let mut parts: BTreeMap<SagaId, Vec<SagaId>> = BTreeMap::new();
    for (story, _) in sagas {
        let Some(parent) = &story.started.parent else { continue };
        if tainted.contains(&parent.saga) {
            continue;
        }
        match by_id.get(&parent.saga) {
            Some((of, shape)) => is_part(world, story, parent, of, shape),
            None => {
                world
                    .violated("F1", format!("{} is a part of {}, which is not there", story.id, parent.saga));
            }
        }
        parts.entry(parent.saga).or_default().push(story.id);
    }
    let spans = spans(sagas, books, &parts);
    for (story, shape) in sagas {
        if let Some((end, _)) = story.end {
            has_parts(world, story, shape, end, &by_id, is_over);
        }
        if matches!(story.end, Some((End::Compensated, _))) {
            is_in_reverse(world, story, shape, books, &spans);
        }
    }
}

/// A part is one of a step that has parts, has that step's definition, and does not end otherwise than its whole.
fn is_part(world: &World, part: &Story<'_>, parent: &Parent, of: &Story<'_>, shape: &Shape) {
    let (id, step) = (part.id, &parent.step);
    if parent.saga.child(step) != id {
        world.violated("F1", format!("{id} is not the part {step} of {}", parent.saga));
    }
    let is_of_step = shape.step(step.step()).is_some_and(|step| {
        matches!(&step.work, Work::Part(definition) if part.started.definition == *definition.as_str())
    });
    if !is_of_step {
        world.violated("F1", format!("{id} is a part of {}, whose step {step} is none", parent.saga));
    }
    if let (Some((end, _)), Some((whole, _))) = (part.end, of.end)
        && end != whole
    {
        world.violated("F1", format!("{id} is {end:?}, and {}, of which it is a part, {whole:?}", of.id));
    }
    if part.end.is_some_and(|(end, _)| end == End::Completed) && of.end.is_none() {
        world.violated("F1", format!("{id} is completed before {}, of which it is a part", of.id));
    }
}

/// A saga that is completed has all of its parts. When everything was given its time, they have ended too.
fn has_parts(
    world: &World,
    story: &Story<'_>,
    shape: &Shape,
    end: End,
    by_id: &BTreeMap<SagaId, &(Story<'_>, Shape)>,
    is_over: bool,
) {
    let steps = shape.steps.iter().filter(|step| matches!(step.work, Work::Part(_)));
    for step in steps.filter(|step| !story.skipped.contains(step.name.as_str())) {
        for (key, _) in effects::keys(world, story, step, end) {
            let Ok(key) = key.parse() else { continue };
            let part = by_id.get(&story.id.child(&key));
            if end == End::Completed && part.is_none() {
                world.violated("F1", format!("{} is completed, and has no part {key}", story.id));
            }
            if is_over && part.is_some_and(|part| part.0.end.is_none()) {
                world.violated("F1", format!("{} has ended, and its part {key} has not", story.id));
            }
        }
    }
}

/// The undos of each saga and of its parts together.
fn spans(
    sagas: &[(Story<'_>, Shape)],
    books: &Books,
    parts: &BTreeMap<SagaId, Vec<SagaId>>,
) -> BTreeMap<SagaId, Span> {
    let mut own: BTreeMap<SagaId, Span> = BTreeMap::new();
    for (effect, entries) in &books.entries {
        if effect.direction == Direction::Compensation {
            for entry in entries {
                join(
                    own.entry(effect.saga).or_insert((entry.order, entry.order)),
                    (entry.order, entry.order),
                );
            }
        }
    }
    let mut spans = BTreeMap::new();
    for (story, _) in sagas {
        let mut all = vec![story.id];
        let mut span: Option<Span> = None;
        while let Some(id) = all.pop() {
            if let Some(more) = own.get(&id) {
                join(span.get_or_insert(*more), *more);
            }
            all.extend(parts.get(&id).into_iter().flatten());
        }
        spans.extend(span.map(|span| (story.id, span)));
    }
    spans
}

fn join(span: &mut Span, more: Span) {
    *span = (span.0.min(more.0), span.1.max(more.1));
}

/// Nothing is undone before what needed it.
fn is_in_reverse(
    world: &World,
    story: &Story<'_>,
    shape: &Shape,
    books: &Books,
    spans: &BTreeMap<SagaId, Span>,
) {
    let undone: Vec<Option<Span>> = shape
        .steps
        .iter()
        .map(|step| {
            let mut span: Option<Span> = None;
            for (key, _) in effects::keys(world, story, step, End::Compensated) {
                let mut found: Vec<Span> = books
                    .of(story.id, &key, Direction::Compensation)
                    .iter()
                    .map(|entry| (entry.order, entry.order))
                    .collect();
                if matches!(step.work, Work::Part(_))
                    && let Ok(key) = key.parse()
                {
                    found.extend(spans.get(&story.id.child(&key)));
                }
                for more in found {
                    join(span.get_or_insert(more), more);
                }
            }
            span
        })
        .collect();
    for (at, step) in shape.steps.iter().enumerate() {
        let Some((_, last)) = undone.get(at).copied().flatten() else { continue };
        for before in &step.ancestors {
            if let Some((first, _)) = undone.get(*before).copied().flatten()
                && first < last
            {
                let name = shape.steps.get(*before).map_or("", |step| step.name.as_str());
                world.violated(
                    "I5",
                    format!("{}: {name} is undone before {}, which needed it", story.id, step.name),
                );
            }
        }
    }
}
