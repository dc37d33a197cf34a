//! Times that cannot come to pass: a timeout that the window ends before, an attempt for which there is no time, a window
//! without a moment to spare.

use snorri_saga::definition::graph::Set;
use snorri_saga::definition::{Definition, Step, WINDOW_DEFAULT, Work, Zone};
use snorri_saga::time::Millis;

use super::{Findings, Subject};

/// What a step's messages and commits may well take on a busy day, beside its own times.
const OVERHEAD: Millis = Millis(100);

pub(super) fn lint(subject: &Subject<'_>, findings: &mut Findings) {
    let window = subject.written.window.unwrap_or(WINDOW_DEFAULT);
    for (at, step) in subject.steps() {
        let times = [
            ("timeout", step.timeout),
            ("delay", step.delay),
            ("signal/timeout", step.signal.as_ref().map(|signal| signal.timeout)),
            ("approval/timeout", step.approval.as_ref().map(|approval| approval.timeout)),
        ];
        for (field, time) in times {
            if let Some(time) = time.filter(|time| *time > window) {
                subject.warn(
                    findings,
                    "longer-than-window",
                    &format!("{at}/{field}"),
                    format!("{time} is longer than the window of {window}, in which the whole saga ends"),
                    "shorten it, or widen the `window`",
                );
            }
        }
    }
    if let Some(definition) = subject.definition {
        overhead(subject, findings, definition);
        for (at, step) in definition.steps.iter().enumerate() {
            attempts(subject, findings, definition, at, step);
        }
    }
}

/// The worst case is a sum of timeouts and waits. Messages and commits take time, too.
fn overhead(subject: &Subject<'_>, findings: &mut Findings, definition: &Definition) {
    let worst = definition.worst_case();
    let afterwards =
        if worst.behind_millis() > worst.unwind_millis() { worst.behind.len() } else { worst.unwind.len() };
    let steps = worst.before.len() + usize::from(worst.pivot.is_some()) + afterwards;
    let wanted = Millis(OVERHEAD.0.saturating_mul(steps as u64));
    let spare = definition.window.minus(worst.total());
    if worst.total() <= definition.window && spare < wanted {
        subject.warn(
            findings,
            "tight-window",
            "/window",
            format!(
                "the worst case leaves {spare} of the window of {}: messages and commits take time, too, \
                 and a saga that takes all of its times ends a moment late",
                definition.window
            ),
            format!("leave at least {wanted}, that is {OVERHEAD} for each step in turn: widen the `window`, or shorten timeouts or waits"),
        );
    }
}

/// Attempts for which there is no time, even if everything else takes none.
fn attempts(subject: &Subject<'_>, findings: &mut Findings, definition: &Definition, at: usize, step: &Step) {
    let policy = step.retry;
    let is_sent = matches!(step.work, Work::Participant { .. } | Work::Saga { .. });
    if !is_sent || policy.attempts < 2 {
        return;
    }
    if definition.graph.zone(at) == Zone::Behind {
        behind(subject, findings, definition, at, step);
        return;
    }
    let (budget, why) = budget(definition, at, step);
    let place = place(subject, at);
    let fitting = fitting(step, budget);
    if fitting < policy.attempts {
        let message = match fitting {
            0 | 1 => format!("`{}` is never tried a second time", step.name),
            some => format!("`{}` is tried {some} times at most, not {} times", step.name, policy.attempts),
        };
        subject.warn(
            findings,
            "retry-without-time",
            &place,
            format!("{message}: even if each attempt fails at once, the pauses do not fit into the {budget} that it has ({why})"),
            "shorten the pauses, lower `attempts`, or widen the `window`",
        );
    } else if step.timeout.plus(step.retry.pause_at_least(1)) >= budget {
        subject.warn(
            findings,
            "no-retry-after-timeout",
            &place,
            format!(
                "after an attempt that timed out there is no second one: {} and the pause do not fit into the {budget} \
                 that `{}` has ({why})",
                step.timeout, step.name
            ),
            "shorten its `timeout`, set `attempts: 1`, or widen the `window`",
        );
    }
}

/// Where the attempts of a step are said.
fn place(subject: &Subject<'_>, at: usize) -> String {
    let retry = format!("/steps/{at}/retry");
    let fields = ["attempts", "backoff"].map(|field| format!("{retry}/{field}"));
    fields.into_iter().find(|field| subject.places.has(field)).unwrap_or(retry)
}

/// Behind the pivot the attempts of the policy are made whatever the time is.
fn behind(subject: &Subject<'_>, findings: &mut Findings, definition: &Definition, at: usize, step: &Step) {
    let policy = step.retry;
    let pauses =
        (1..policy.attempts).fold(Millis(0), |sum, attempt| sum.plus(policy.pause_at_least(attempt)));
    if pauses > definition.window {
        subject.warn(
            findings,
            "retry-past-window",
            &place(subject, at),
            format!(
                "`{}` is tried {} times with pauses of {pauses} at least, and the window of {} is over by then",
                step.name, policy.attempts, definition.window
            ),
            "shorten the pauses, or lower `attempts`: behind the pivot it is tried until it succeeds all the same",
        );
    }
}

/// How long a step may be tried at best: everything before it took no time, delays excepted.
fn budget(definition: &Definition, at: usize, step: &Step) -> (Millis, String) {
    let ancestors = definition.graph.ancestors(at);
    let delays = definition.graph.heaviest_weight(|other| {
        let is_delay = definition.steps.get(other).is_some_and(|step| matches!(step.work, Work::Delay));
        if ancestors.has(other) && is_delay {
            definition.steps.get(other).map_or(0, |step| step.timeout.0)
        } else {
            0
        }
    });
    let mut undone: Set = ancestors;
    let (kept, what) = if definition.graph.zone(at) == Zone::Pivot {
        let after = definition.unwind_of(&undone).max(definition.behind_pivot());
        (step.forward_worst().plus(after), "for the pivot itself and what follows it")
    } else {
        undone.add(at);
        (definition.unwind_of(&undone), "kept for undoing")
    };
    let budget = definition.window.minus(Millis(delays)).minus(kept);
    let delays = if delays > 0 { format!(" less {} of delays", Millis(delays)) } else { String::new() };
    (budget, format!("the window of {}{delays} less {kept} {what}", definition.window))
}

/// How many attempts can begin.
fn fitting(step: &Step, budget: Millis) -> u32 {
    let mut begins = Millis(0);
    for attempt in 1..step.retry.attempts {
        begins = begins.plus(step.retry.pause_at_least(attempt));
        if begins >= budget {
            return attempt;
        }
    }
    step.retry.attempts
}
