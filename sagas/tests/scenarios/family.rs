//! Sub-sagas, as their parents see them: E01, E02, E03, E04, E07, E08, E16, E19.

use crate::story::story;

#[test]
fn a_sub_saga_runs_is_held_and_is_told_of_its_parents_end() {
    story(
        r#"
        ship: saga shipment, timeout 10s
        mail: letters, undo none, needs steps.ship.output.outputs

        0s started, forwards until 50s, window until 1m
        0s ship action #1 sent, awaited until 10s
          -> sub-saga shipment of ship to run within 10s
        > look
          running, due at 10s; waits for the sub-saga shipment to answer the action of ship (attempt 1, sent 2025-11-23T12:00:00Z, awaited until 2025-11-23T12:00:10Z)
        > ship ok {"saga_id":"x","outputs":{"pack":1}}
        0s ship action #1 succeeded: {"saga_id":"x","outputs":{"pack":1}}
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"it":{"pack":1}}
        > mail ok
        0s mail action #1 succeeded: null
        0s ended: completed
          -> sub-saga shipment of ship to end
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn a_sub_saga_that_is_refused_undoes_its_parent_and_not_itself() {
    story(
        r#"
        reserve: stock, undo release
        ship: saga shipment, timeout 10s

        0s started, forwards until 47s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship action #1 sent, awaited until 10s
          -> sub-saga shipment of ship to run within 10s
        > ship rejected no_boat
        0s ship action #1 rejected: no_boat
        0s compensation began: ship was rejected (no_boat): sorry
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn a_sub_saga_is_undone_with_its_parent_in_its_turn() {
    story(
        r#"
        reserve: stock, undo release
        ship: saga shipment, timeout 10s
        mail: letters, undo none

        0s started, forwards until 47s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship action #1 sent, awaited until 10s
          -> sub-saga shipment of ship to run within 10s
        > ship ok {"saga_id":"x","outputs":{}}
        0s ship action #1 succeeded: {"saga_id":"x","outputs":{}}
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > mail rejected closed
        0s mail action #1 rejected: closed
        0s compensation began: mail was rejected (closed): sorry
        0s ship compensation #1 sent, awaited until 10s
          -> sub-saga shipment of ship to be undone in 10s
        > undo ship ok
        0s ship compensation #1 succeeded
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn a_list_of_sub_sagas_is_held_one_by_one_and_all_are_told_of_the_end() {
    story(
        r#"
        input {"rows":["a","b"]}
        window 2m
        ship: saga shipment, timeout 10s, each 1 of input.rows

        0s started, forwards until 1m20s, window until 2m
        0s ship works on ["a","b"]
        0s ship:0 action #1 sent, awaited until 10s
          -> sub-saga shipment of ship:0 to run within 10s
        > ship:0 ok {"saga_id":"x","outputs":{}}
        0s ship:0 action #1 succeeded: {"saga_id":"x","outputs":{}}
        0s ship:1 action #1 sent, awaited until 10s
          -> sub-saga shipment of ship:1 to run within 10s
        > ship:1 ok {"saga_id":"y","outputs":{}}
        0s ship:1 action #1 succeeded: {"saga_id":"y","outputs":{}}
        0s ship action #0 succeeded
        0s ended: completed
          -> sub-saga shipment of ship:0 to end
          -> sub-saga shipment of ship:1 to end
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn a_list_of_sub_sagas_is_undone_in_reverse() {
    story(
        r#"
        input {"rows":["a","b"]}
        window 2m
        ship: saga shipment, timeout 10s, each 1 of input.rows
        mail: letters, undo none

        0s started, forwards until 1m20s, window until 2m
        0s ship works on ["a","b"]
        0s ship:0 action #1 sent, awaited until 10s
          -> sub-saga shipment of ship:0 to run within 10s
        > ship:0 ok {"saga_id":"x","outputs":{}}
        0s ship:0 action #1 succeeded: {"saga_id":"x","outputs":{}}
        0s ship:1 action #1 sent, awaited until 10s
          -> sub-saga shipment of ship:1 to run within 10s
        > ship:1 ok {"saga_id":"y","outputs":{}}
        0s ship:1 action #1 succeeded: {"saga_id":"y","outputs":{}}
        0s ship action #0 succeeded
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"rows":["a","b"]}
        > mail rejected closed
        0s mail action #1 rejected: closed
        0s compensation began: mail was rejected (closed): sorry
        0s ship:1 compensation #1 sent, awaited until 10s
          -> sub-saga shipment of ship:1 to be undone in 10s
        > undo ship:1 ok
        0s ship:1 compensation #1 succeeded
        0s ship:0 compensation #1 sent, awaited until 10s
          -> sub-saga shipment of ship:0 to be undone in 10s
        > undo ship:0 ok
        0s ship:0 compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E01: unknown.

#[test]
fn e01_a_sub_saga_that_does_not_answer_in_time_is_undone_because_it_may_be_under_way() {
    story(
        r"
        ship: saga shipment, timeout 10s

        0s started, forwards until 50s, window until 1m
        0s ship action #1 sent, awaited until 10s
          -> sub-saga shipment of ship to run within 10s
        > wait 10s
        10s ship action #1 timed out
        10s ship given up, in doubt
        10s compensation began: ship was not answered on its last attempt
        10s ship compensation #1 sent, awaited until 20s
          -> sub-saga shipment of ship to be undone in 10s
        > undo ship ok
        10s ship compensation #1 succeeded
        10s ended: compensated
          => ended compensated
        = compensated
    ",
    );
}

#[test]
fn e01_a_sub_saga_that_is_the_pivot_and_does_not_answer_is_asked_until_it_does() {
    story(
        r#"
        ship: saga shipment, timeout 10s, pivot
        mail: letters, retriable

        0s started, forwards until 49s, window until 1m
        0s ship action #1 sent, awaited until 10s, the pivot
          -> sub-saga shipment of ship to run within 10s
        > wait 11s
        10s ship action #1 timed out
        10s blocked at ship: unknown
        10s ship tried again at 11s123ms
        > look
          blocked, due at 11s123ms; waits for attempt 2 of the action of ship at 2025-11-23T12:00:11.123Z
        > ship ok {"saga_id":"x","outputs":{}}
        11s ship action #1 succeeded: {"saga_id":"x","outputs":{}}
        11s unblocked at ship
        11s mail action #1 sent, awaited until 12s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > mail ok
        11s mail action #1 succeeded: null
        11s ended: completed
          -> sub-saga shipment of ship to end
          => ended completed
        = completed
    "#,
    );
}

// E02: an undo takes long.

#[test]
fn e02_a_sub_saga_that_takes_long_to_be_undone_blocks_its_parent_and_is_asked_again() {
    story(
        r#"
        window 10m
        ship: saga shipment, timeout 1m
        mail: letters, undo none

        0s started, forwards until 9m, window until 10m
        0s ship action #1 sent, awaited until 1m
          -> sub-saga shipment of ship to run within 1m
        > ship ok {"saga_id":"x","outputs":{}}
        0s ship action #1 succeeded: {"saga_id":"x","outputs":{}}
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > mail rejected closed
        0s mail action #1 rejected: closed
        0s compensation began: mail was rejected (closed): sorry
        0s ship compensation #1 sent, awaited until 1m
          -> sub-saga shipment of ship to be undone in 1m
        > wait 62s
        1m ship compensation #1 timed out
        1m blocked at ship: compensation_fails
        1m ship tried again at 1m954ms
        1m954ms ship compensation #2 sent, awaited until 2m954ms
          -> sub-saga shipment of ship to be undone in 1m
        > undo ship ok
        1m2s ship compensation #2 succeeded
        1m2s unblocked at ship
        1m2s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E03: cancelling.

#[test]
fn e03_a_sub_saga_is_stopped_at_once_when_its_parent_is_cancelled() {
    story(
        r"
        ship: saga shipment, timeout 10s

        0s started, forwards until 50s, window until 1m
        0s ship action #1 sent, awaited until 10s
          -> sub-saga shipment of ship to run within 10s
        > cancel
        0s cancel requested by ann: a typo
        0s ship given up, in doubt
        0s compensation began: cancelled by ann: a typo
        0s ship compensation #1 sent, awaited until 10s
          -> sub-saga shipment of ship to be undone in 10s
        > ship rejected cancelled
          refused: a later attempt is under way
        > undo ship ok
        0s ship compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    ",
    );
}

// E04: a late answer.

#[test]
fn e04_a_sub_saga_that_is_done_after_its_undo_was_asked_is_late_and_undone() {
    story(
        r#"
        ship: saga shipment, timeout 10s

        0s started, forwards until 50s, window until 1m
        0s ship action #1 sent, awaited until 10s
          -> sub-saga shipment of ship to run within 10s
        > wait 10s
        10s ship action #1 timed out
        10s ship given up, in doubt
        10s compensation began: ship was not answered on its last attempt
        10s ship compensation #1 sent, awaited until 20s
          -> sub-saga shipment of ship to be undone in 10s
        > ship ok {"saga_id":"x","outputs":{}}
        10s ship #1 succeeded late, neutralised
        > ship ok {"saga_id":"x","outputs":{}}
          refused: the operation was answered already
        > undo ship ok
        10s ship compensation #1 succeeded
        10s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e04_a_sub_saga_that_did_not_hear_of_its_parents_end_is_told_again_and_it_alone() {
    story(
        r#"
        input {"rows":["a","b"]}
        window 2m
        ship: saga shipment, timeout 10s, each 2 of input.rows

        0s started, forwards until 1m40s, window until 2m
        0s ship works on ["a","b"]
        0s ship:0 action #1 sent, awaited until 10s
        0s ship:1 action #1 sent, awaited until 10s
          -> sub-saga shipment of ship:0 to run within 10s
          -> sub-saga shipment of ship:1 to run within 10s
        > ship:0 ok {"saga_id":"x","outputs":{}}
        0s ship:0 action #1 succeeded: {"saga_id":"x","outputs":{}}
        > ship:1 ok {"saga_id":"y","outputs":{}}
        0s ship:1 action #1 succeeded: {"saga_id":"y","outputs":{}}
        0s ship action #0 succeeded
        0s ended: completed
          -> sub-saga shipment of ship:0 to end
          -> sub-saga shipment of ship:1 to end
          => ended completed
        > ship:1 ok {"saga_id":"y","outputs":{}}
          -> sub-saga shipment of ship:1 to end
        = completed
    "#,
    );
}

#[test]
fn e04_a_sub_saga_that_is_held_though_its_parent_was_undone_is_undone() {
    story(
        r#"
        ship: saga shipment, timeout 10s
        mail: letters, undo none

        0s started, forwards until 50s, window until 1m
        0s ship action #1 sent, awaited until 10s
          -> sub-saga shipment of ship to run within 10s
        > ship ok {"saga_id":"x","outputs":{}}
        0s ship action #1 succeeded: {"saga_id":"x","outputs":{}}
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > mail rejected closed
        0s mail action #1 rejected: closed
        0s compensation began: mail was rejected (closed): sorry
        0s ship compensation #1 sent, awaited until 10s
          -> sub-saga shipment of ship to be undone in 10s
        > undo ship ok
        0s ship compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        > ship ok {"saga_id":"x","outputs":{}}
          -> sub-saga shipment of ship to be undone in 10s
        > undo ship ok
          refused: the operation was answered already
        = compensated
    "#,
    );
}

// E07: a branch fails beside a sub-saga.

#[test]
fn e07_a_sub_saga_beside_a_failure_is_stopped_and_the_others_are_awaited() {
    story(
        r#"
        ship: saga shipment, timeout 10s, after -
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -

        0s started, forwards until 50s, window until 1m
        0s ship action #1 sent, awaited until 10s
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
          -> sub-saga shipment of ship to run within 10s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
        > hotel rejected full
        0s hotel action #1 rejected: full
        0s stopping: hotel was rejected (full): sorry
        0s ship given up, in doubt
          -> sub-saga shipment of ship to be undone in 10s
        > flight ok
        0s flight action #1 succeeded: null
        0s compensation began: hotel was rejected (full): sorry
        0s flight compensation #1 sent, awaited until 1s
        0s ship compensation #1 sent, awaited until 10s
          -> airline/cancel flight.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
          -> sub-saga shipment of ship to be undone in 10s
        > undo ship ok
        0s ship compensation #1 succeeded
        > undo flight ok
        0s flight compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E08: an undo before its action.

#[test]
fn e08_a_sub_saga_that_was_never_there_is_fenced_off() {
    story(
        r"
        ship: saga shipment, timeout 10s

        0s started, forwards until 50s, window until 1m
        0s ship action #1 sent, awaited until 10s
          -> sub-saga shipment of ship to run within 10s
        > cancel
        0s cancel requested by ann: a typo
        0s ship given up, in doubt
        0s compensation began: cancelled by ann: a typo
        0s ship compensation #1 sent, awaited until 10s
          -> sub-saga shipment of ship to be undone in 10s
        > undo ship ok empty
        0s ship compensation #1 succeeded (it found nothing)
        0s ended: compensated
          => ended compensated
        > ship rejected parent_undone
          refused: the saga has ended
        = compensated
    ",
    );
}

// E16: a crash between commit and publish.

#[test]
fn e16_what_was_asked_is_asked_again() {
    story(
        r#"
        ship: saga shipment, timeout 10s

        0s started, forwards until 50s, window until 1m
        0s ship action #1 sent, awaited until 10s
          -> sub-saga shipment of ship to run within 10s
        > repeat
          -> sub-saga shipment of ship to run within 10s
        > resend
        0s ship sent again
          -> sub-saga shipment of ship to run within 10s
        > ship ok {"saga_id":"x","outputs":{}}
        0s ship action #1 succeeded: {"saga_id":"x","outputs":{}}
        0s ended: completed
          -> sub-saga shipment of ship to end
          => ended completed
        > repeat
          -> sub-saga shipment of ship to end
          => ended completed
        = completed
    "#,
    );
}

// E19: too large.

#[test]
fn e19_a_sub_saga_whose_outputs_are_too_large_is_undone() {
    story(
        r"
        ship: saga shipment, timeout 10s

        0s started, forwards until 50s, window until 1m
        0s ship action #1 sent, awaited until 10s
          -> sub-saga shipment of ship to run within 10s
        > ship ok large
        0s ship action #1 rejected: too_large, an effect may be left
        0s compensation began: ship was rejected (too_large): the output has 65538 bytes, at most 65536
        0s ship compensation #1 sent, awaited until 10s
          -> sub-saga shipment of ship to be undone in 10s
        > undo ship ok
        0s ship compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    ",
    );
}
