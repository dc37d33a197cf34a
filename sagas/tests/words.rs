//! The words that metrics, documents, alerts, permissions and other people's programs know: changing one breaks somebody.
//! The subjects, streams and consumers are those of `docs/protocol.md`.

use serde_json::{Value, json};
use snorri_saga::decide::Refusal;
use snorri_saga::ids::{Direction, Name, StepKey};
use snorri_saga::journal::{BlockedReason, Cause};
use snorri_saga::saga::Status;
use snorri_saga::wire::Subjects;

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
        (Refusal::NotAwaited, "not_awaited"),
        (Refusal::Decided, "decided"),
        (Refusal::KeyReused, "key_reused"),
        (Refusal::TooLarge, "too_large"),
        (Refusal::Held, "held"),
    ] {
        assert_eq!(refusal.word(), word);
    }
}

/// Each with its code, which the announcement of the end carries, its step and its sentence.
#[test]
fn a_cause_says_what_was_wrong_where_and_why() {
    let (step, code, message) = (StepKey::from(&name("pay")), "no_funds".to_owned(), "sorry".to_owned());
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
            (cause.code(), cause.step().map(StepKey::as_str), cause.to_string().as_str()),
            (code, step, sentence)
        );
    }
}

#[test]
fn the_subjects_are_those_of_the_protocol() {
    let subjects = Subjects::default();
    let (inventory, reserve, order, replica) =
        (name("inventory"), name("reserve"), name("order"), name("a-1"));
    let all = [
        (subjects.command(&inventory, &reserve), "snorri.command.inventory.reserve"),
        (subjects.commands_of(&inventory), "snorri.command.inventory.>"),
        (subjects.commands_all(), "snorri.command.>"),
        (subjects.reply(&inventory, &replica), "snorri.reply.inventory.a-1"),
        (subjects.replies_to(&replica), "snorri.reply.*.a-1"),
        (subjects.replies_all(), "snorri.reply.>"),
        (subjects.start(&order), "snorri.start.order"),
        (subjects.starts_all(), "snorri.start.*"),
        (subjects.signal(&name("paid")), "snorri.signal.paid"),
        (subjects.signals_all(), "snorri.signal.*"),
        (subjects.ended(&order, "completed"), "snorri.ended.order.completed"),
        (subjects.ended_all(), "snorri.ended.>"),
    ];
    for (subject, expected) in all {
        assert_eq!(subject, expected);
    }
}

#[test]
fn the_streams_and_consumers_are_those_of_the_protocol() {
    let subjects = Subjects::default();
    assert_eq!(
        [
            subjects.commands_stream(),
            subjects.replies_stream(),
            subjects.starts_stream(),
            subjects.signals_stream(),
            subjects.endings_stream()
        ],
        ["SNORRI_COMMANDS", "SNORRI_REPLIES", "SNORRI_STARTS", "SNORRI_SIGNALS", "SNORRI_ENDINGS"]
    );
    assert_eq!(subjects.participant_consumer(&name("inventory")), "participant-inventory");
    assert_eq!(subjects.replica_consumer(&name("a-1")), "replica-a-1");
    assert_eq!((subjects.starts_consumer(), subjects.signals_consumer()), ("starts", "signals"));
}

#[test]
fn two_installations_share_a_server_and_no_subject() {
    let (ours, theirs) = (Subjects::default(), Subjects::new(name("test")));
    assert_eq!((ours.prefix().as_str(), theirs.prefix().as_str()), ("snorri", "test"));
    assert_eq!(theirs.commands_stream(), "TEST_COMMANDS");
    let reply = theirs.reply(&name("payments"), &name("a-1"));
    assert_eq!(reply, "test.reply.payments.a-1");
    assert_eq!(theirs.participant_of_reply(&reply), Some("payments"));
    assert_eq!(ours.participant_of_reply(&reply), None);
    let start = theirs.start(&name("order"));
    assert_eq!(theirs.definition_of_start(&start), Some("order"));
    assert_eq!(ours.definition_of_start(&start), None);
}

#[test]
fn a_start_names_one_definition() {
    let subjects = Subjects::default();
    for other in ["snorri.start.", "snorri.start", "snorri.start.a.b", "snorri.reply.order"] {
        assert_eq!(subjects.definition_of_start(other), None, "{other}");
    }
}

#[test]
fn a_signals_subject_names_one_signal() {
    let subjects = Subjects::default();
    assert_eq!(subjects.name_of_signal("snorri.signal.paid"), Some(name("paid")));
    for other in
        ["snorri.signal.", "snorri.signal", "snorri.signal.a.b", "snorri.start.paid", "snorri.signal.A"]
    {
        assert_eq!(subjects.name_of_signal(other), None, "{other}");
    }
}
