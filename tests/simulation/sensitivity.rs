//! Does the simulator find bugs? Each test puts one into the models, where an adapter or an engine that was wrong would have
//! it, and demands that within some seeds an invariant breaks, and which; and that the same run without the bug is clean, so
//! that it was the bug that was found.

use std::collections::BTreeSet;

use crate::bug::Bug;
use crate::fault::Fault;
use crate::plan::{Mode, Plan, StaysDead};
use crate::run;

/// How many seeds a bug may stay hidden.
const SEEDS: u64 = 12;

/// Runs seeds with a bug until one of the invariants breaks.
fn is_found(bug: Bug, invariants: &[&str], tune: impl Fn(Plan) -> Plan) {
    let mut others = BTreeSet::new();
    for seed in 1..=SEEDS {
        let plan = tune(Plan { sagas: 60, stays_dead: StaysDead::Nobody, ..Plan::of(seed) });
        let outcome = run::plan(plan.clone(), Some(bug));
        for violation in &outcome.violations {
            if invariants.contains(&violation.invariant) {
                println!("{bug:?} is found by seed {seed}: {violation}");
                is_innocent(plan);
                return;
            }
            others.insert(violation.invariant);
        }
    }
    panic!("{bug:?} breaks none of {invariants:?} in {SEEDS} seeds (others: {others:?})");
}

/// The control: what was done to the plan for the bug's sake breaks nothing by itself.
fn is_innocent(plan: Plan) {
    let outcome = run::plan(plan, None);
    assert!(outcome.violations.is_empty(), "not the bug alone: {}", outcome.report());
}

fn as_it_is(plan: Plan) -> Plan {
    plan
}

/// Answers are lost and replicas race: what the guards of the journal are for.
fn racing(plan: Plan) -> Plan {
    plan.with(Fault::StoreAmbiguous, 0.05).with(Fault::StoreLate, 0.02).with(Fault::BusDuplicate, 0.1)
}

fn to_the_end(plan: Plan) -> Plan {
    Plan { mode: Mode::Liveness, ..plan }
}

#[test]
fn a_journal_that_takes_two_rows_for_one_place() {
    is_found(Bug::TwoWriters, &["I9", "I11"], racing);
}

#[test]
fn a_loser_that_is_told_that_it_won() {
    is_found(Bug::LoserWins, &["I11"], racing);
}

#[test]
fn a_commit_that_was_never_made() {
    is_found(Bug::CommitLies, &["I1", "I11"], as_it_is);
}

#[test]
fn idempotency_keys_that_nobody_looks_at() {
    is_found(Bug::KeysIgnored, &["I12"], |plan| Plan { keyed: 0.9, ..racing(plan) });
}

#[test]
fn starts_that_are_acknowledged_before_the_commit() {
    is_found(Bug::AckOnDelivery, &["I1"], |plan| {
        let plan = Plan { over_nats: 1.0, keyed: 0.9, ..to_the_end(plan) };
        plan.only(&[(Fault::OrchestratorKilled, 0.01)])
    });
}

#[test]
fn replies_that_are_thrown_away() {
    is_found(Bug::RepliesDropped, &["I2"], |plan| to_the_end(plan).only(&[]));
}

#[test]
fn announcements_that_are_thrown_away() {
    is_found(Bug::AnnouncementsDropped, &["A1"], to_the_end);
}

#[test]
fn a_heartbeat_that_forgets_what_is_owed() {
    is_found(Bug::DebtsForgotten, &["A1"], |plan| {
        to_the_end(plan).with(Fault::OrchestratorKilled, 0.01).with(Fault::BusRefused, 0.2)
    });
}

#[test]
fn a_takeover_and_a_sweep_that_tell_nobody() {
    is_found(Bug::ClaimsSwallowed, &["I2"], |plan| to_the_end(plan).with(Fault::OrchestratorKilled, 0.01));
}

#[test]
fn an_undo_that_leaves_no_tombstone() {
    is_found(Bug::NoTombstone, &["I5", "I6"], |plan| {
        let plan = plan.with(Fault::BusReorder, 0.3).with(Fault::BusDuplicate, 0.2);
        plan.with(Fault::ParticipantPaused, 120.0).with(Fault::HandlerFails, 0.3)
    });
}

#[test]
fn a_failure_that_is_answered_and_not_kept() {
    is_found(Bug::FailureForgotten, &["I5"], |plan| {
        plan.with(Fault::HandlerFails, 0.5).with(Fault::BusLostAck, 0.3)
    });
}

#[test]
fn two_turns_at_once() {
    is_found(Bug::TurnsShared, &["I3", "I5", "I6", "I7"], |plan| {
        let mut plan = plan.with(Fault::BusDuplicate, 0.3).with(Fault::BusLostAck, 0.2);
        for participant in &mut plan.participants {
            participant.replicas = 2;
        }
        plan
    });
}

#[test]
fn a_barrier_that_forgets() {
    is_found(Bug::BarrierForgets, &["I3", "B1"], |plan| plan.with(Fault::BusDuplicate, 0.2));
}

#[test]
fn a_participants_commit_that_was_never_made() {
    is_found(Bug::DatabaseLies, &["I4", "I5"], as_it_is);
}

#[test]
fn message_ids_without_the_attempt() {
    is_found(Bug::AttemptsAlike, &["I2"], |plan| {
        to_the_end(plan).only(&[(Fault::HandlerFails, 0.5), (Fault::BusLostDelivery, 0.1)])
    });
}

#[test]
fn an_event_that_loses_a_field() {
    is_found(Bug::FieldLost, &["I9"], |plan| plan.with(Fault::HandlerFails, 0.3));
}

/// Commits that are carried out after their caller gave up: what follows from them must go out all the same, and soon.
#[test]
fn a_commit_that_comes_late_loses_neither_command_nor_announcement() {
    for seed in 1..=SEEDS {
        let plan = Plan { sagas: 100, stays_dead: StaysDead::Nobody, ..to_the_end(Plan::of(seed)) };
        let outcome = run::plan(plan.only(&[(Fault::StoreLate, 0.03)]), None);
        assert!(outcome.violations.is_empty(), "{}", outcome.report());
    }
}

/// Replicas die all the time, and NATS refuses much of what they publish: who comes after them pays what they owe.
#[test]
fn announcements_outlive_the_replicas_that_owe_them() {
    for seed in 1..=SEEDS {
        let plan = Plan { sagas: 100, stays_dead: StaysDead::Nobody, ..to_the_end(Plan::of(seed)) };
        let faults =
            [(Fault::OrchestratorKilled, 0.02), (Fault::BusRefused, 0.2), (Fault::StoreAmbiguous, 0.05)];
        let outcome = run::plan(plan.only(&faults), None);
        assert!(outcome.violations.is_empty(), "{}", outcome.report());
    }
}
