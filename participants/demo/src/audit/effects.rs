//! Whether every effect happened exactly once: within each service, and for each saga over all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::{Effect, EndStatus, Findings, Invariant, Page, Sagas};
use crate::Service;

/// The operations of the definitions that the demo knows: what a completed saga has done.
const PLANS: [(&str, &[&str]); 3] = [
    (
        "order",
        &[
            "inventory/reserve",
            "orders/confirm",
            "orders/place",
            "payments/capture",
            "payments/hold",
            "shipping/book",
        ],
    ),
    ("transfer", &["payments/deposit", "payments/hold"]),
    ("pickup", &["inventory/dispatch", "inventory/reserve", "payments/capture", "payments/hold"]),
];

/// The operations that nothing undoes.
pub(crate) const FINAL: [&str; 4] = ["capture", "deposit", "dispatch", "confirm"];

/// The states of records that were undone.
const UNDONE: [&str; 5] = ["released", "cancelled", "removed", "retracted", "discarded"];

/// What is known of one step of one saga.
#[derive(Debug, Default)]
struct Tally {
    actions: u32,
    compensations: u32,
    /// An action was written after a compensation.
    late: bool,
    records: u32,
    records_undone: u32,
}

/// What holds within one service at any time, also while sagas are on their way: nothing twice, nothing
/// after its compensation, no compensation of nothing, and the records agree with the journal. `finals` are the
/// operations that nothing undoes, and that change a record which is there instead of writing one.
pub(crate) fn within(service: &str, page: &Page, finals: &[&str], problems: &mut Findings) {
    let mut tallies: BTreeMap<(Uuid, &str), Tally> = BTreeMap::new();
    for Effect { saga, step, operation, direction, .. } in &page.effects {
        let tally = tallies.entry((*saga, step)).or_default();
        if direction == "action" {
            tally.actions += 1;
            tally.late |= tally.compensations > 0;
        } else {
            tally.compensations += 1;
        }
        // Only these write a record of their own; the final ones change one that is there.
        if finals.contains(&operation.as_str()) {
            tally.records += 1;
        }
    }
    for record in &page.records {
        let tally = tallies.entry((record.saga, &record.step)).or_default();
        tally.records += 1;
        if UNDONE.contains(&record.state.as_str()) {
            tally.records_undone += 1;
        }
    }
    for ((saga, step), tally) in tallies {
        let Tally { actions, compensations, late, records, records_undone } = tally;
        for invariant in [Invariant::OneEffect, Invariant::NothingAfterUndo, Invariant::NoUndoOfNothing] {
            problems.checked(invariant, 1);
        }
        let mut say = |invariant, what: String| {
            problems.wrong(invariant, format!("{service}: saga {saga}, step {step}: {what}"));
        };
        if actions > 1 {
            say(Invariant::OneEffect, format!("the action was applied {actions} times"));
        }
        if compensations > 1 {
            say(Invariant::OneEffect, format!("the compensation was applied {compensations} times"));
        }
        if compensations > 0 && actions == 0 {
            say(Invariant::NoUndoOfNothing, "a compensation was applied without its action".to_owned());
        }
        if late {
            say(Invariant::NothingAfterUndo, "the action was applied after its compensation".to_owned());
        }
        if records != actions {
            say(
                Invariant::OneEffect,
                format!("{actions} actions in the journal, and {records} records of them in the books"),
            );
        }
        if records_undone != compensations {
            say(
                Invariant::OneEffect,
                format!(
                    "{compensations} compensations in the journal, and {records_undone} undone in the books"
                ),
            );
        }
    }
    for effect in page.effects.iter().filter(|effect| effect.direction != "action") {
        if finals.contains(&effect.operation.as_str()) {
            problems.wrong(
                Invariant::CompletedIsDone,
                format!("{service}: saga {}: `{}` was undone", effect.saga, effect.operation),
            );
        }
    }
}

/// Compares each saga's effects over all services with its end. Gives back how many sagas left any.
pub(super) fn across(
    pages: &BTreeMap<Service, Page>,
    sagas: Option<Sagas<'_>>,
    problems: &mut Findings,
) -> u64 {
    let mut effects: BTreeMap<Uuid, Vec<(Service, &Effect)>> = BTreeMap::new();
    for (service, page) in pages {
        for effect in &page.effects {
            effects.entry(effect.saga).or_default().push((*service, effect));
        }
    }
    let Some(Sagas { definition, ends: sagas }) = sagas else { return effects.len() as u64 };
    let sizes = Sizes::of(pages);
    let ordered: BTreeMap<Uuid, EndStatus> = sagas.iter().map(|(saga, status)| (*saga, *status)).collect();
    for (saga, status) in ordered {
        let effects = effects.get(&saga).map(Vec::as_slice).unwrap_or_default();
        match status {
            EndStatus::Completed => {
                problems.checked(Invariant::CompletedIsDone, 1);
                completed(saga, definition, effects, problems);
                sizes.agree(saga, problems);
            }
            EndStatus::Compensated => {
                problems.checked(Invariant::CompensatedIsUndone, 1);
                compensated(saga, effects, problems);
            }
            EndStatus::Unjudged | EndStatus::Open => {}
        }
    }
    for saga in effects.keys().filter(|saga| !sagas.contains_key(saga)) {
        problems.wrong(
            Invariant::AcceptedExists,
            format!("saga {saga} has effects, and the orchestrator does not know it"),
        );
    }
    effects.len() as u64
}

/// A completed saga has done all that its definition's plan asks, nothing else, and nothing is undone.
fn completed(saga: Uuid, name: &str, effects: &[(Service, &Effect)], problems: &mut Findings) {
    let mut done = BTreeSet::new();
    for (service, effect) in effects {
        if effect.direction == "action" {
            done.insert(format!("{service}/{}", effect.operation));
        } else {
            problems.wrong(
                Invariant::CompletedIsDone,
                format!("saga {saga} is completed, and {service}/{} was undone", effect.operation),
            );
        }
    }
    let Some((_, plan)) = PLANS.iter().find(|(of, _)| *of == name) else {
        problems.wrong(
            Invariant::CompletedIsDone,
            format!("saga {saga} is completed, and the audit knows no plan of the definition {name}"),
        );
        return;
    };
    let plan: BTreeSet<String> = plan.iter().map(|&operation| operation.to_owned()).collect();
    for operation in plan.difference(&done) {
        problems.wrong(
            Invariant::CompletedIsDone,
            format!("saga {saga} ({name}) is completed, and {operation} was never applied"),
        );
    }
    for operation in done.difference(&plan) {
        problems.wrong(
            Invariant::CompletedIsDone,
            format!("saga {saga} ({name}) is completed, and {operation} does not belong to it"),
        );
    }
}

/// In a compensated saga every action is undone, the last one first, and none is final. (That nothing is undone twice holds
/// within each service.)
fn compensated(saga: Uuid, effects: &[(Service, &Effect)], problems: &mut Findings) {
    let undone: BTreeSet<(Service, &str)> = effects
        .iter()
        .filter(|(_, effect)| effect.direction != "action")
        .map(|(service, effect)| (*service, effect.step.as_str()))
        .collect();
    for (service, effect) in effects.iter().filter(|(_, effect)| effect.direction == "action") {
        if !undone.contains(&(*service, effect.step.as_str())) {
            problems.wrong(
                Invariant::CompensatedIsUndone,
                format!("saga {saga} is compensated, and {service}/{} is not undone", effect.operation),
            );
        }
    }
    let by_time = |is_action: bool| {
        let of = effects.iter().filter(|(_, effect)| (effect.direction == "action") == is_action);
        let mut of: Vec<_> = of.map(|(_, effect)| (effect.at, effect.step.as_str())).collect();
        of.sort_unstable();
        of.into_iter().map(|(_, step)| step)
    };
    // All services read the clock of one machine, and a step is begun when the one before it is committed.
    let mut expected: Vec<&str> =
        by_time(true).filter(|step| undone.iter().any(|(_, of)| of == step)).collect();
    expected.reverse();
    let found: Vec<&str> = by_time(false).collect();
    if expected.len() == found.len() && expected != found {
        let (expected, found) = (expected.join(", "), found.join(", "));
        problems.wrong(
            Invariant::CompensatedIsUndone,
            format!("saga {saga} was undone in the order {found}, and not {expected}"),
        );
    }
}

/// What the services wrote down about one saga, to be compared: each learned it by its own command.
struct Sizes(HashMap<Uuid, BTreeMap<&'static str, i64>>);

impl Sizes {
    fn of(pages: &BTreeMap<Service, Page>) -> Self {
        let mut sizes: HashMap<Uuid, BTreeMap<&'static str, i64>> = HashMap::new();
        for (service, page) in pages {
            for record in &page.records {
                let of = sizes.entry(record.saga).or_default();
                match (service, record.state.as_str()) {
                    (Service::Orders, "confirmed") => {
                        of.insert("cents ordered", record.size);
                        of.insert("units ordered", record.units);
                    }
                    (Service::Inventory, "reserved" | "shipped") => {
                        of.insert("units reserved", record.size);
                    }
                    (Service::Shipping, "booked") => {
                        of.insert("units in the parcel", record.size);
                    }
                    (Service::Payments, "captured") => {
                        of.insert("cents captured", record.size);
                    }
                    _ => {}
                }
            }
        }
        Self(sizes)
    }

    fn agree(&self, saga: Uuid, problems: &mut Findings) {
        let Some(of) = self.0.get(&saga) else { return };
        for (ordered, got) in [
            ("cents ordered", "cents captured"),
            ("units ordered", "units reserved"),
            ("units ordered", "units in the parcel"),
        ] {
            if let (Some(expected), Some(found)) = (of.get(ordered), of.get(got))
                && expected != found
            {
                problems.wrong(
                    Invariant::CompletedIsDone,
                    format!("saga {saga}: {expected} {ordered}, and {found} {got}"),
                );
            }
        }
    }
}
