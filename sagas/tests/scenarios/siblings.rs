//! What becomes of siblings: a branch fails, or the saga is cancelled, while others are in flight: E03, E04, E07.

use crate::story::story;

// E03: cancelling.

#[test]
fn e03_a_cancellation_waits_for_all_that_is_in_flight() {
    story(
        r#"
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -
        pay: payments, undo refund, after hotel flight

        0s started, forwards until 55s800ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
        > hotel ok
        0s hotel action #1 succeeded: null
        > cancel
        0s cancel requested by ann: a typo
        > flight ok
        0s flight action #1 succeeded: null
        0s compensation began: cancelled by ann: a typo
        0s flight compensation #1 sent, awaited until 1s
        0s hotel compensation #1 sent, awaited until 1s
          -> airline/cancel flight.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
          -> hotels/cancel hotel.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo hotel ok
        0s hotel compensation #1 succeeded
        > cancel
          nothing changes
        > undo flight ok
        0s flight compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E04: a late success.

#[test]
fn e04_a_success_after_its_own_rejection_is_undone_though_siblings_are_still_awaited() {
    story(
        r#"
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -, timeout 5s

        0s started, forwards until 49s900ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 5s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 5s: {"order":7}
        > wait 1s
        1s hotel action #1 timed out
        1s hotel tried again at 1s100ms
        > wait 200ms
        1s100ms hotel action #2 sent, awaited until 2s100ms
          -> hotels/hotel hotel.action.2.0 in 1s: {"order":7}
        > hotel#2 rejected full
        1s200ms hotel action #2 rejected: full
        1s200ms stopping: hotel was rejected (full): sorry
        > hotel#1 ok {"room":3}
        1s200ms hotel #1 succeeded late, neutralised
        > flight ok
        1s200ms flight action #1 succeeded: null
        1s200ms compensation began: hotel was rejected (full): sorry
        1s200ms flight compensation #1 sent, awaited until 6s200ms
        1s200ms hotel compensation #1 sent, awaited until 2s200ms
          -> airline/cancel flight.compensation.1.0 in 5s: {"order":7} result null saga {"order":7}
          -> hotels/cancel hotel.compensation.1.0 in 1s: {"order":7} result {"room":3} saga {"order":7}
        > undo flight ok
        1s200ms flight compensation #1 succeeded
        > undo hotel ok
        1s200ms hotel compensation #1 succeeded
        1s200ms ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E07: a branch fails while siblings are in flight.

#[test]
fn e07_siblings_in_flight_are_awaited_and_nothing_new_begins() {
    story(
        r#"
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -
        seat: airline, undo leave, after flight
        car: cars, undo return, after -

        0s started, forwards until 55s800ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
        0s car action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
          -> cars/car car.action.1.0 in 1s: {"order":7}
        > hotel rejected full
        0s hotel action #1 rejected: full
        0s stopping: hotel was rejected (full): sorry
        > flight ok {"seat":"1A"}
        0s flight action #1 succeeded: {"seat":"1A"}
        > look
          running, due at 1s; waits for cars to answer the action of car (attempt 1, sent 2025-11-23T12:00:00Z, awaited until 2025-11-23T12:00:01Z)
        > car ok
        0s car action #1 succeeded: null
        0s compensation began: hotel was rejected (full): sorry
        0s car compensation #1 sent, awaited until 1s
        0s flight compensation #1 sent, awaited until 1s
          -> cars/return car.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
          -> airline/cancel flight.compensation.1.0 in 1s: {"order":7} result {"seat":"1A"} saga {"order":7}
        > undo car ok
        0s car compensation #1 succeeded
        > undo flight ok
        0s flight compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e07_a_sibling_that_is_never_answered_is_undone_because_it_may_have_happened() {
    story(
        r#"
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -

        0s started, forwards until 57s900ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
        > hotel rejected full
        0s hotel action #1 rejected: full
        0s stopping: hotel was rejected (full): sorry
        > wait 1s
        1s flight action #1 timed out
        1s flight given up, in doubt
        1s compensation began: hotel was rejected (full): sorry
        1s flight compensation #1 sent, awaited until 2s
          -> airline/cancel flight.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo flight ok empty
        1s flight compensation #1 succeeded (it found nothing)
        1s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e07_a_sibling_that_waits_for_its_next_attempt_is_not_tried_again() {
    story(
        r#"
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -
        look: airline, read, after -

        0s started, forwards until 57s900ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
        0s look action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
          -> airline/look look.action.1.0 in 1s: {"order":7}
        > flight failed
        0s flight action #1 failed: busy
        0s flight tried again at 100ms
        > look failed
        0s look action #1 failed: busy
        0s look tried again at 100ms
        > hotel rejected full
        0s hotel action #1 rejected: full
        0s stopping: hotel was rejected (full): sorry
        0s flight given up, in doubt
        0s look given up, not done
        0s compensation began: hotel was rejected (full): sorry
        0s flight compensation #1 sent, awaited until 1s
          -> airline/cancel flight.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo flight ok empty
        0s flight compensation #1 succeeded (it found nothing)
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e07_a_sibling_whose_effect_may_stay_is_asked_for_its_result_no_more() {
    story(
        r#"
        hotel: hotels, undo cancel, after -
        mail: letters, undo none, after -

        0s started, forwards until 57s900ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s mail action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > wait 1s
        1s hotel action #1 timed out
        1s hotel tried again at 1s100ms
        1s mail action #1 timed out
        1s mail tried again at 1s100ms
        > hotel rejected full
        1s hotel action #1 rejected: full
        1s stopping: hotel was rejected (full): sorry
        1s mail given up, in doubt
        1s compensation began: hotel was rejected (full): sorry
        1s ended: compensated
          => ended compensated
        > wait 2s
        > look
          compensated
        > mail ok
        3s mail #1 succeeded late, neutralised
        = compensated
    "#,
    );
}

#[test]
fn e07_racing_siblings_are_fenced_off_at_once() {
    story(
        r#"
        race
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -
        look: airline, read, after -

        0s started, forwards until 57s900ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
        0s look action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
          -> airline/look look.action.1.0 in 1s: {"order":7}
        > hotel rejected full
        0s hotel action #1 rejected: full
        0s stopping: hotel was rejected (full): sorry
        0s flight given up, in doubt
        0s look given up, not done
        0s compensation began: hotel was rejected (full): sorry
        0s flight compensation #1 sent, awaited until 1s
          -> airline/cancel flight.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > flight ok {"seat":"1A"}
        0s flight #1 succeeded late, neutralised
        > look ok
        0s look #1 succeeded late, neutralised
        > undo flight ok
        0s flight compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e07_racing_a_sibling_that_cannot_be_undone_is_awaited_all_the_same() {
    story(
        r#"
        race
        hotel: hotels, undo cancel, after -
        mail: letters, undo none, after -
        flight: airline, undo cancel, after -

        0s started, forwards until 57s900ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s mail action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
        > hotel rejected full
        0s hotel action #1 rejected: full
        0s stopping: hotel was rejected (full): sorry
        0s flight given up, in doubt
        > mail ok
        0s mail action #1 succeeded: null
        0s compensation began: hotel was rejected (full): sorry
        0s flight compensation #1 sent, awaited until 1s
          -> airline/cancel flight.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo flight ok empty
        0s flight compensation #1 succeeded (it found nothing)
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e07_the_first_failure_is_the_cause() {
    story(
        r#"
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -

        0s started, forwards until 57s900ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
        > hotel rejected full
        0s hotel action #1 rejected: full
        0s stopping: hotel was rejected (full): sorry
        > flight rejected cancelled
        0s flight action #1 rejected: cancelled
        0s compensation began: hotel was rejected (full): sorry
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e07_money_is_given_back_while_nobody_knows_of_a_postcard() {
    story(
        r#"
        hold: payments, undo release, after -
        postcard: mail, undo none, after -, attempts 1

        0s started, forwards until 57s900ms, window until 1m
        0s hold action #1 sent, awaited until 1s
        0s postcard action #1 sent, awaited until 1s
          -> payments/hold hold.action.1.0 in 1s: {"order":7}
          -> mail/postcard postcard.action.1.0 in 1s: {"order":7}
        > hold ok
        0s hold action #1 succeeded: null
        > wait 1s
        1s postcard action #1 timed out
        1s blocked at postcard: unknown
        1s postcard tried again at 1s932ms
        > look
          blocked, due at 1s932ms; waits for attempt 2 of the action of postcard at 2025-11-23T12:00:01.932Z
        > cancel
        1s cancel requested by ann: a typo
        1s postcard given up, in doubt
        1s unblocked at postcard
        1s compensation began: cancelled by ann: a typo
        1s hold compensation #1 sent, awaited until 2s
          -> payments/release hold.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo hold ok
        1s hold compensation #1 succeeded
        1s ended: compensated
          => ended compensated
        > postcard ok
        1s postcard #1 succeeded late, neutralised
        = compensated
    "#,
    );
}

#[test]
fn e07_what_cannot_be_undone_is_awaited_to_its_timeout_and_then_let_go() {
    story(
        r#"
        hold: payments, undo release, after -
        postcard: mail, undo none, after -, timeout 5s

        0s started, forwards until 57s900ms, window until 1m
        0s hold action #1 sent, awaited until 1s
        0s postcard action #1 sent, awaited until 5s
          -> payments/hold hold.action.1.0 in 1s: {"order":7}
          -> mail/postcard postcard.action.1.0 in 5s: {"order":7}
        > hold rejected no_funds
        0s hold action #1 rejected: no_funds
        0s stopping: hold was rejected (no_funds): sorry
        > wait 5s
        5s postcard action #1 timed out
        5s postcard given up, in doubt
        5s compensation began: hold was rejected (no_funds): sorry
        5s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}
