//! Whether the children of holidays ended as their parents did. A holiday and its children have its booking's number in
//! their inputs, so that the books need not be told who started whom.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Ended;
use crate::{EndStatus, Findings, Invariant};

#[derive(Debug, Default)]
struct Family<'a> {
    parents: Vec<&'a Ended>,
    trips: Vec<&'a Ended>,
    payments: Vec<&'a Ended>,
}

/// Of each booking as many children are completed as its completed holidays have, and no others; and they are paid in
/// full.
pub(super) fn judge(sagas: &[Ended], findings: &mut Findings) {
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    for saga in sagas {
        let Some(booking) = saga.input.get("booking").and_then(Value::as_str) else { continue };
        let family = families.entry(booking).or_default();
        match saga.definition.as_str() {
            "holiday" => family.parents.push(saga),
            "trip" => family.trips.push(saga),
            "payment" => family.payments.push(saga),
            _ => {}
        }
    }
    let has_ended = |family: &Family<'_>| {
        let mut all = family.parents.iter().chain(&family.trips).chain(&family.payments);
        all.all(|saga| matches!(saga.status, EndStatus::Completed | EndStatus::Compensated))
    };
    // Trips and payments may be started without a holiday, by whoever likes to.
    for (booking, family) in families {
        if family.parents.is_empty() || !has_ended(&family) {
            continue;
        }
        findings.checked(Invariant::CompletedIsDone, 1);
        let is_completed = |saga: &&&Ended| saga.status == EndStatus::Completed;
        let completed = |of: &[&Ended]| of.iter().filter(is_completed).count();
        let parents: Vec<&&Ended> = family.parents.iter().filter(is_completed).collect();
        let travellers: usize = parents.iter().map(|parent| travellers(parent)).sum();
        let owed: i64 = parents
            .iter()
            .map(|parent| {
                let each = number(parent, "price_cents_each");
                each.saturating_mul(i64::try_from(self::travellers(parent)).unwrap_or(i64::MAX))
            })
            .sum();
        let paid: i64 =
            family.payments.iter().filter(is_completed).map(|saga| number(saga, "amount_cents")).sum();
        for (what, found, expected) in [
            ("trips", completed(&family.trips), travellers),
            ("payments", completed(&family.payments), parents.len()),
        ] {
            if found != expected {
                findings.wrong(
                    Invariant::CompletedIsDone,
                    format!(
                        "holiday {booking}: {found} {what} are completed instead of {expected}, with {} of {} \
                         holidays completed",
                        parents.len(),
                        family.parents.len()
                    ),
                );
            }
        }
        if paid != owed {
            findings.wrong(
                Invariant::CompletedIsDone,
                format!("holiday {booking}: {paid} cents are paid instead of {owed}"),
            );
        }
    }
}

fn travellers(holiday: &Ended) -> usize {
    holiday.input.get("travellers").and_then(Value::as_array).map_or(0, Vec::len)
}

fn number(saga: &Ended, field: &str) -> i64 {
    saga.input.get(field).and_then(Value::as_i64).unwrap_or(0)
}
