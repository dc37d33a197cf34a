//! The words that metrics, documents, alerts and other people's programs know: changing one breaks somebody. And the
//! sentences that people are shown.

use serde_json::{Value, json};
use snorri_saga::decide::Refusal;
use snorri_saga::ids::{Direction, Name};
use snorri_saga::journal::{BlockedReason, Cause};
use snorri_saga::saga::Status;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("JSON")
}

#[test]
fn a_status_has_one_word_everywhere() {
    let words = ["running", "compensating", "blocked", "completed", "compensated"];
    assert_eq!(Status::ALL.map(Status::as_str), words);
    assert_eq!(Status::ALL.map(|status| status.to_string()), words);
    assert_eq!(Status::ALL.map(|status| json(&status)), words);
    assert_eq!(Status::ALL.map(Status::is_end), [false, false, false, true, true]);
}

#[test]
fn a_direction_has_one_word_everywhere() {
    for (direction, word) in [(Direction::Action, "action"), (Direction::Compensation, "compensation")] {
        assert_eq!((direction.as_str(), direction.to_string().as_str()), (word, word));
        assert_eq!(json(&direction), word);
        assert_eq!(word.parse(), Ok(direction));
    }
}

#[test]
fn a_reason_to_be_blocked_has_one_word_everywhere() {
    for (reason, word) in [
        (BlockedReason::Unknown, "unknown"),
        (BlockedReason::CompensationFails, "compensation_fails"),
        (BlockedReason::CompensationRejected, "compensation_rejected"),
        (BlockedReason::RetriableFails, "retriable_fails"),
    ] {
        assert_eq!((reason.as_str(), json(&reason)), (word, json!(word)));
    }
}

#[test]
fn an_input_that_changes_nothing_is_counted_by_a_word() {
    for (refusal, word) in [
        (Refusal::Ended, "ended"),
        (Refusal::Duplicate, "duplicate"),
        (Refusal::Stale, "stale"),
        (Refusal::NeverSent, "never_sent"),
        (Refusal::PastPivot, "past_pivot"),
        (Refusal::NothingDue, "nothing_due"),
    ] {
        assert_eq!(refusal.word(), word);
    }
}

/// Each with its code, which the announcement of the end carries, its step and its sentence.
#[test]
fn a_cause_says_what_was_wrong_where_and_why() {
    let (step, code, message) = (name("pay"), "no_funds".to_owned(), "sorry".to_owned());
    let causes = [
        (
            Cause::Rejected { step: step.clone(), code: code.clone(), message: message.clone() },
            "no_funds",
            Some("pay"),
            "pay was rejected (no_funds): sorry",
        ),
        (
            Cause::Failed { step: step.clone(), message: message.clone() },
            "failed",
            Some("pay"),
            "pay failed on all its attempts: sorry",
        ),
        (
            Cause::TimedOut { step: step.clone() },
            "timed_out",
            Some("pay"),
            "pay was not answered on its last attempt",
        ),
        (
            Cause::ForwardBudget { step: step.clone() },
            "forward_budget",
            Some("pay"),
            "the time for going forwards ran out at pay",
        ),
        (
            Cause::NotSent { step: step.clone(), code: "bad_mapping".to_owned(), message },
            "bad_mapping",
            Some("pay"),
            "pay could not be sent (bad_mapping): sorry",
        ),
        (
            Cause::Cancelled { by: "ann".to_owned(), reason: "a typo".to_owned() },
            "cancelled",
            None,
            "cancelled by ann: a typo",
        ),
        (
            Cause::Tombstoned { step },
            "tombstoned",
            Some("pay"),
            "pay was compensated at its participant already",
        ),
    ];
    for (cause, code, step, sentence) in causes {
        assert_eq!(
            (cause.code(), cause.step().map(Name::as_str), cause.to_string().as_str()),
            (code, step, sentence)
        );
    }
}
