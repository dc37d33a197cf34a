//! Whether each saga's effects, over all services, are those of its end.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::plan::{Planned, Size, plan};
use super::{Ended, Page, Service};
use crate::audit::{Effect, Record};
use crate::{EndStatus, Findings, Invariant};

/// What is in all the books of one saga.
#[derive(Debug, Default)]
struct Left<'a> {
    effects: Vec<(Service, &'a Effect)>,
    records: Vec<(Service, &'a Record)>,
}

/// Compares each saga's effects with its end. Gives back how many sagas left any.
pub(super) fn judge(pages: &BTreeMap<Service, Page>, sagas: &[Ended], findings: &mut Findings) -> usize {
    let mut left: BTreeMap<Uuid, Left<'_>> = BTreeMap::new();
    for (service, page) in pages {
        for effect in &page.effects {
            left.entry(effect.saga).or_default().effects.push((*service, effect));
        }
        for record in &page.records {
            left.entry(record.saga).or_default().records.push((*service, record));
        }
    }
    let nothing = Left::default();
    for saga in sagas {
        let left = left.get(&saga.id).unwrap_or(&nothing);
        let plan = plan(&saga.definition, &saga.input);
        match (saga.status, plan) {
            (EndStatus::Unjudged | EndStatus::Open, _) => {}
            (_, None) => findings.wrong(
                Invariant::CompletedIsDone,
                format!("saga {}: the audit knows no plan of the definition {}", saga.id, saga.definition),
            ),
            (EndStatus::Completed, Some(plan)) => {
                findings.checked(Invariant::CompletedIsDone, 1);
                completed(saga, &plan, left, findings);
            }
            (EndStatus::Compensated, Some(plan)) => {
                findings.checked(Invariant::CompensatedIsUndone, 1);
                compensated(saga, &plan, left, findings);
            }
        }
    }
    let known: BTreeSet<Uuid> = sagas.iter().map(|saga| saga.id).collect();
    for saga in left.keys().filter(|saga| !known.contains(saga)) {
        findings.wrong(
            Invariant::AcceptedExists,
            format!("saga {saga} has effects, and the orchestrator does not know it"),
        );
    }
    left.len()
}

/// A completed saga has done all that its plan asks, as much as it asks, nothing else, and nothing is undone. (That
/// nothing is done twice holds within each service.)
fn completed(saga: &Ended, plan: &[Planned], left: &Left<'_>, findings: &mut Findings) {
    let mut wrong = |what: String| {
        findings.wrong(
            Invariant::CompletedIsDone,
            format!("saga {} ({}) is completed, and {what}", saga.id, saga.definition),
        );
    };
    let mut done = BTreeSet::new();
    for (service, effect) in &left.effects {
        if effect.is_action() {
            done.insert((*service, effect.operation.as_str(), effect.step.as_str()));
        } else {
            wrong(format!("{service}/{} of step {} was undone", effect.operation, effect.step));
        }
    }
    for Planned { service, operation, step, size, .. } in plan {
        if !done.remove(&(*service, operation, step)) {
            wrong(format!("{service}/{operation} of step {step} was never applied"));
        }
        let record = left.records.iter().find(|(of, record)| of == service && record.step == *step);
        let Some((_, record)) = record else { continue };
        let (found, expected) = match *size {
            Size::Any => continue,
            Size::Cents(cents) => (record.size, cents),
            Size::Units(units) => (record.units, units),
            Size::SumOf(steps) => (record.size, sum_of(left, steps)),
        };
        if found != expected {
            wrong(format!(
                "the record of {service}/{operation} of step {step} says {found} instead of {expected}"
            ));
        }
    }
    for (service, operation, step) in done {
        wrong(format!("{service}/{operation} of step {step} does not belong to it"));
    }
}

fn sum_of(left: &Left<'_>, steps: &[&str]) -> i64 {
    left.records
        .iter()
        .filter(|(_, record)| steps.contains(&record.step.as_str()))
        .map(|(_, record)| record.size)
        .sum()
}

/// In a compensated saga every action is undone, those that came later in the definition's graph first.
fn compensated(saga: &Ended, plan: &[Planned], left: &Left<'_>, findings: &mut Findings) {
    let mut wrong = |what: String| {
        findings.wrong(
            Invariant::CompensatedIsUndone,
            format!("saga {} ({}) is compensated, and {what}", saga.id, saga.definition),
        );
    };
    let undone: BTreeMap<(Service, &str), _> = left
        .effects
        .iter()
        .filter(|(_, effect)| !effect.is_action())
        .map(|(service, effect)| ((*service, effect.step.as_str()), effect.at))
        .collect();
    for (service, effect) in left.effects.iter().filter(|(_, effect)| effect.is_action()) {
        if !undone.contains_key(&(*service, effect.step.as_str())) {
            wrong(format!("{service}/{} of step {} is not undone", effect.operation, effect.step));
        }
    }
    // All services read the clock of one machine, and an undo is begun when those before it are committed.
    let at = |planned: &Planned| undone.get(&(planned.service, planned.step.as_str())).copied();
    for later in plan {
        for earlier in plan.iter().filter(|earlier| later.after.contains(&base(&earlier.step))) {
            if let (Some(of_later), Some(of_earlier)) = (at(later), at(earlier))
                && of_earlier < of_later
            {
                wrong(format!("{} was undone before {}", earlier.step, later.step));
            }
        }
    }
}

/// The step that an iteration is of.
fn base(step: &str) -> &str {
    step.split_once(':').map_or(step, |(step, _)| step)
}
