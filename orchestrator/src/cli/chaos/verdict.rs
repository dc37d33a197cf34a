//! Whether a run proves anything: its faults must have hit, there must have been work to hurt, and every promise must have
//! been looked at.

use snorri_demo::{Findings, Invariant};

use super::nemesis::Carried;
use super::plan::Planned;

/// Of a hundred planned faults, so many must be evidenced.
const EVIDENCED_PERCENT: usize = 90;
/// Of a hundred faults, so many must have found enough sagas under way.
const BUSY_PERCENT: usize = 90;
/// Of a hundred sagas, so many must have been compensated.
const COMPENSATED_PERCENT: u64 = 10;

/// What a run came to, as far as its worth depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) plan: &'a [Planned],
    pub(super) carried: &'a [Carried],
    /// Starts a second.
    pub(super) rate: u64,
    pub(super) ended: u64,
    pub(super) compensated: u64,
    /// What the audit looked at.
    pub(super) findings: &'a Findings,
}

/// Sagas that must be under way at a fault: a twentieth of a second's starts, and at least one.
pub(super) fn in_flight_least(rate: u64) -> u64 {
    (rate / 20).max(1)
}

/// The reasons for which a run is invalid; none if it is valid.
pub(super) fn invalid_because(run: Run<'_>) -> Vec<String> {
    let Run { plan, carried, rate, ended, compensated, findings } = run;
    let mut reasons = Vec::new();
    if plan.is_empty() {
        reasons.push("no fault was planned: the window is too short".to_owned());
    }
    let evidenced = carried.iter().filter(|fault| fault.evidence.is_some()).count();
    if evidenced * 100 < plan.len() * EVIDENCED_PERCENT {
        reasons.push(format!("{evidenced} of {} planned faults are evidenced", plan.len()));
    }
    let mut kinds: Vec<_> = plan.iter().map(|fault| fault.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        if !carried.iter().any(|fault| fault.kind == kind && fault.evidence.is_some()) {
            reasons.push(format!("no fault of the kind \"{}\" is evidenced", kind.word()));
        }
    }
    let least = in_flight_least(rate);
    let busy = carried.iter().filter(|fault| fault.in_flight >= least).count();
    if busy * 100 < carried.len() * BUSY_PERCENT {
        reasons.push(format!("{busy} of {} faults found {least} or more sagas under way", carried.len()));
    }
    if ended == 0 || compensated * 100 < ended * COMPENSATED_PERCENT {
        reasons.push(format!("{compensated} of {ended} sagas were compensated"));
    }
    for invariant in Invariant::ALL {
        // Whether there are dead letters depends on what the loss of a store left of them.
        let may_be_idle = invariant == Invariant::DeadLettersExplained;
        if !may_be_idle && findings.count(invariant) == 0 {
            reasons.push(format!("{invariant} ({}) was never looked at", invariant.says()));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::plan::{Cast, draw};
    use super::*;

    fn plan() -> Vec<Planned> {
        let cast = Cast { orchestrators: 3, participants: 8, services: 4, flips: false };
        draw(1, Duration::from_secs(90), cast)
    }

    fn carried(plan: &[Planned]) -> Vec<Carried> {
        let fault = |(number, fault): (usize, &Planned)| Carried {
            number,
            kind: fault.kind,
            at_whom: String::new(),
            what: String::new(),
            from: 0.0,
            to: 1.0,
            in_flight: 5,
            evidence: Some("seen".to_owned()),
        };
        (1..).zip(plan).map(fault).collect()
    }

    fn reasons(plan: &[Planned], carried: &[Carried], ended: u64, compensated: u64) -> String {
        let findings = looked_at(|_| true);
        invalid_because(Run { plan, carried, rate: 40, ended, compensated, findings: &findings }).join("; ")
    }

    fn looked_at(is_checked: impl Fn(Invariant) -> bool) -> Findings {
        let mut findings = Findings::default();
        for invariant in Invariant::ALL.into_iter().filter(|invariant| is_checked(*invariant)) {
            findings.checked(invariant, 1);
        }
        findings
    }

    #[test]
    fn a_promise_that_nobody_looked_at_makes_it_invalid() {
        let plan = plan();
        let carried = carried(&plan);
        for unseen in Invariant::ALL {
            let findings = looked_at(|invariant| invariant != unseen);
            let run = Run {
                plan: &plan,
                carried: &carried,
                rate: 40,
                ended: 100,
                compensated: 10,
                findings: &findings,
            };
            let reasons = invalid_because(run).join("; ");
            if unseen == Invariant::DeadLettersExplained {
                assert_eq!(reasons, "", "a run may have none");
            } else {
                assert!(reasons.starts_with(&format!("{unseen} (")), "{unseen}: {reasons}");
            }
        }
    }

    #[test]
    fn a_run_whose_faults_hit_while_there_was_work_is_valid() {
        let plan = plan();
        assert_eq!(reasons(&plan, &carried(&plan), 100, 10), "");
    }

    #[test]
    fn one_without_evidence_without_work_or_without_compensations_is_not() {
        let plan = plan();
        let mut idle = carried(&plan);
        for fault in idle.iter_mut().take(2) {
            fault.in_flight = 1;
        }
        assert!(reasons(&plan, &idle, 100, 10).contains("found 2 or more sagas under way"));
        assert_eq!(reasons(&plan, &carried(&plan), 100, 9), "9 of 100 sagas were compensated");
        assert_eq!(reasons(&plan, &carried(&plan), 0, 0), "0 of 0 sagas were compensated");
        let mut unseen = carried(&plan);
        for fault in unseen.iter_mut().take(2) {
            fault.evidence = None;
        }
        assert!(reasons(&plan, &unseen, 100, 10).contains("planned faults are evidenced"));
        assert!(reasons(&plan, &[], 100, 10).contains("0 of"));
        assert!(reasons(&[], &[], 100, 10).contains("no fault was planned"));
    }

    #[test]
    fn a_kind_that_was_never_seen_makes_it_invalid_even_if_nearly_all_others_were() {
        let plan = plan();
        let mut most = carried(&plan);
        let relay = most.iter_mut().find(|fault| fault.kind == super::super::plan::Kind::Relay).expect("one");
        relay.evidence = None;
        assert!(reasons(&plan, &most, 100, 10).contains("\"replies repeated in disorder\" is evidenced"));
    }
}
