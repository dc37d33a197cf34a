//! Branches and joins: E02, E06, E11, E13, E16.

use crate::story::story;

#[test]
fn branches_run_side_by_side_and_a_join_waits_for_all_of_them() {
    story(
        r#"
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -
        pay: payments, pivot, after hotel flight
        mail: letters, retriable, after pay
        points: club, retriable, after pay

        0s started, forwards until 56s900ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
        > flight ok {"seat":"1A"}
        0s flight action #1 succeeded: {"seat":"1A"}
        > hotel ok
        0s hotel action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s, the pivot
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay ok
        0s pay action #1 succeeded: null
        0s mail action #1 sent, awaited until 1s
        0s points action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
          -> club/points points.action.1.0 in 1s: {"order":7}
        > points ok
        0s points action #1 succeeded: null
        > mail ok
        0s mail action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

// E02: an undo fails again and again.

#[test]
fn e02_steps_are_undone_when_nothing_is_left_of_what_needed_them() {
    story(
        r#"
        a: p, undo x
        b: p, undo x, after a
        c: p, undo x, after a
        d: p, undo x, after b c
        e: p, undo x, after d

        0s started, forwards until 51s600ms, window until 1m
        0s a action #1 sent, awaited until 1s
          -> p/a a.action.1.0 in 1s: {"order":7}
        > a ok
        0s a action #1 succeeded: null
        0s b action #1 sent, awaited until 1s
        0s c action #1 sent, awaited until 1s
          -> p/b b.action.1.0 in 1s: {"order":7}
          -> p/c c.action.1.0 in 1s: {"order":7}
        > c ok
        0s c action #1 succeeded: null
        > b ok
        0s b action #1 succeeded: null
        0s d action #1 sent, awaited until 1s
          -> p/d d.action.1.0 in 1s: {"order":7}
        > d ok
        0s d action #1 succeeded: null
        0s e action #1 sent, awaited until 1s
          -> p/e e.action.1.0 in 1s: {"order":7}
        > e rejected no
        0s e action #1 rejected: no
        0s compensation began: e was rejected (no): sorry
        0s d compensation #1 sent, awaited until 1s
          -> p/x d.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo d ok
        0s d compensation #1 succeeded
        0s c compensation #1 sent, awaited until 1s
        0s b compensation #1 sent, awaited until 1s
          -> p/x c.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
          -> p/x b.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo c ok
        0s c compensation #1 succeeded
        > undo b ok
        0s b compensation #1 succeeded
        0s a compensation #1 sent, awaited until 1s
          -> p/x a.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo a ok
        0s a compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

/// What is stuck is its own branch, and what both branches needed.
#[test]
fn e02_one_stuck_undo_does_not_hold_up_the_others() {
    story(
        r#"
        first: p, undo x
        hotel: hotels, undo cancel, after first
        room: hotels, undo leave, after hotel
        flight: airline, undo cancel, after first
        seat: airline, undo leave, after flight
        pay: payments, undo refund, after room seat

        0s started, forwards until 51s600ms, window until 1m
        0s first action #1 sent, awaited until 1s
          -> p/first first.action.1.0 in 1s: {"order":7}
        > first ok
        0s first action #1 succeeded: null
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
        > hotel ok
        0s hotel action #1 succeeded: null
        0s room action #1 sent, awaited until 1s
          -> hotels/room room.action.1.0 in 1s: {"order":7}
        > flight ok
        0s flight action #1 succeeded: null
        0s seat action #1 sent, awaited until 1s
          -> airline/seat seat.action.1.0 in 1s: {"order":7}
        > room ok
        0s room action #1 succeeded: null
        > seat ok
        0s seat action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay rejected no_funds
        0s pay action #1 rejected: no_funds
        0s compensation began: pay was rejected (no_funds): sorry
        0s seat compensation #1 sent, awaited until 1s
        0s room compensation #1 sent, awaited until 1s
          -> airline/leave seat.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
          -> hotels/leave room.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo room rejected never
        0s room compensation #1 rejected: never
        0s blocked at room: compensation_rejected
        0s room tried again at 100ms
        > undo seat ok
        0s seat compensation #1 succeeded
        0s flight compensation #1 sent, awaited until 1s
          -> airline/cancel flight.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo flight ok
        0s flight compensation #1 succeeded
        > look
          blocked, due at 100ms; waits for attempt 2 of the compensation of room at 2025-11-23T12:00:00.1Z
        > undo room#1 ok
        0s room compensation #1 succeeded
        0s unblocked at room
        0s hotel compensation #1 sent, awaited until 1s
          -> hotels/cancel hotel.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo hotel ok
        0s hotel compensation #1 succeeded
        0s first compensation #1 sent, awaited until 1s
          -> p/x first.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo first ok
        0s first compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e02_several_undos_are_blocked_at_once_and_each_is_unblocked_by_its_own_answer() {
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
        > flight ok
        0s flight action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay rejected no_funds
        0s pay action #1 rejected: no_funds
        0s compensation began: pay was rejected (no_funds): sorry
        0s flight compensation #1 sent, awaited until 1s
        0s hotel compensation #1 sent, awaited until 1s
          -> airline/cancel flight.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
          -> hotels/cancel hotel.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo hotel rejected never
        0s hotel compensation #1 rejected: never
        0s blocked at hotel: compensation_rejected
        0s hotel tried again at 100ms
        > undo flight rejected never
        0s flight compensation #1 rejected: never
        0s blocked at flight: compensation_rejected
        0s flight tried again at 100ms
        > wait 2s
        100ms hotel compensation #2 sent, awaited until 1s100ms
        100ms flight compensation #2 sent, awaited until 1s100ms
          -> hotels/cancel hotel.compensation.2.0 in 1s: {"order":7} result null saga {"order":7}
          -> airline/cancel flight.compensation.2.0 in 1s: {"order":7} result null saga {"order":7}
        1s100ms hotel compensation #2 timed out
        1s100ms hotel tried again at 2s194ms
        1s100ms flight compensation #2 timed out
        1s100ms flight tried again at 2s248ms
        > undo flight ok
        2s flight compensation #2 succeeded
        2s unblocked at flight
        > look
          blocked, due at 2s194ms; waits for attempt 3 of the compensation of hotel at 2025-11-23T12:00:02.194Z
        > undo hotel ok
        2s hotel compensation #2 succeeded
        2s unblocked at hotel
        2s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E06: the forward budget.

/// The second branch has come to a step whose undo takes longer: the first one's answer is awaited less long from then on.
#[test]
fn e06_what_is_in_flight_is_awaited_less_long_when_more_has_run() {
    story(
        r#"
        window 24s
        slow: p, undo x, after -, timeout 6s, attempts 1
        quick: p, undo x, after -, timeout 6s, attempts 1
        next: p, undo x, after quick, timeout 4s, attempts 1

        0s started, forwards until 14s, window until 24s
        0s slow action #1 sent, awaited until 6s
        0s quick action #1 sent, awaited until 6s
          -> p/slow slow.action.1.0 in 6s: {"order":7}
          -> p/quick quick.action.1.0 in 6s: {"order":7}
        > wait 5s
        > slow working
        5s slow is at it, awaited until 11s
        > quick working
        5s quick is at it, awaited until 11s
        > wait 5s
        > slow working
        10s slow is at it, awaited until 16s
        > quick ok
        10s quick action #1 succeeded: null
        10s next action #1 sent, awaited until 14s
        10s slow awaited until 14s only
          -> p/next next.action.1.0 in 4s: {"order":7}
        > wait 4s
        14s slow action #1 timed out
        14s slow given up, in doubt
        14s stopping: the time for going forwards ran out at slow
        14s next action #1 timed out
        14s next given up, in doubt
        14s compensation began: the time for going forwards ran out at slow
        14s next compensation #1 sent, awaited until 18s
        14s slow compensation #1 sent, awaited until 20s
          -> p/x next.compensation.1.0 in 4s: {"order":7} saga {"order":7}
          -> p/x slow.compensation.1.0 in 6s: {"order":7} saga {"order":7}
        > undo slow ok
        14s slow compensation #1 succeeded
        > undo next ok
        14s next compensation #1 succeeded
        14s quick compensation #1 sent, awaited until 20s
          -> p/x quick.compensation.1.0 in 6s: {"order":7} result null saga {"order":7}
        > undo quick ok
        14s quick compensation #1 succeeded
        14s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

/// The same of an attempt that was planned for a time which is not there any more.
#[test]
fn e06_what_waits_for_its_next_attempt_is_given_up_earlier_when_more_has_run() {
    story(
        r#"
        window 31s
        slow: p, undo x, after -, timeout 6s, attempts 2
        quick: p, undo x, after -, timeout 6s, attempts 1
        next: p, undo x, after quick, timeout 9s, attempts 1

        0s started, forwards until 16s, window until 31s
        0s slow action #1 sent, awaited until 6s
        0s quick action #1 sent, awaited until 6s
          -> p/slow slow.action.1.0 in 6s: {"order":7}
          -> p/quick quick.action.1.0 in 6s: {"order":7}
        > slow failed after 17s
        0s slow action #1 failed: busy
        0s slow tried again at 17s
        > wait 1s
        > quick ok
        1s quick action #1 succeeded: null
        1s next action #1 sent, awaited until 10s
        1s slow awaited until 16s only
          -> p/next next.action.1.0 in 9s: {"order":7}
        > wait 6s
        > next working
        7s next is at it, awaited until 16s
        > wait 9s
        16s slow given up, in doubt
        16s stopping: the time for going forwards ran out at slow
        16s next action #1 timed out
        16s next given up, in doubt
        16s compensation began: the time for going forwards ran out at slow
        16s next compensation #1 sent, awaited until 25s
        16s slow compensation #1 sent, awaited until 22s
          -> p/x next.compensation.1.0 in 9s: {"order":7} saga {"order":7}
          -> p/x slow.compensation.1.0 in 6s: {"order":7} saga {"order":7}
        > undo slow ok
        16s slow compensation #1 succeeded
        > undo next ok
        16s next compensation #1 succeeded
        16s quick compensation #1 sent, awaited until 22s
          -> p/x quick.compensation.1.0 in 6s: {"order":7} result null saga {"order":7}
        > undo quick ok
        16s quick compensation #1 succeeded
        16s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e06_a_branch_that_has_no_time_left_stops_the_others_too() {
    story(
        r#"
        window 10s
        slow: p, undo x, after -, timeout 2s, attempts 1
        quick: p, undo x, after -, timeout 2s, attempts 1
        next: p, undo x, after quick, timeout 2s, attempts 1

        0s started, forwards until 6s, window until 10s
        0s slow action #1 sent, awaited until 2s
        0s quick action #1 sent, awaited until 2s
          -> p/slow slow.action.1.0 in 2s: {"order":7}
          -> p/quick quick.action.1.0 in 2s: {"order":7}
        > sleep 7s
        > quick ok
        7s quick action #1 succeeded: null
        7s stopping: the time for going forwards ran out at next
        > slow ok
        7s slow action #1 succeeded: null
        7s compensation began: the time for going forwards ran out at next
        7s quick compensation #1 sent, awaited until 9s
        7s slow compensation #1 sent, awaited until 9s
          -> p/x quick.compensation.1.0 in 2s: {"order":7} result null saga {"order":7}
          -> p/x slow.compensation.1.0 in 2s: {"order":7} result null saga {"order":7}
        > undo slow ok
        7s slow compensation #1 succeeded
        > undo quick ok
        7s quick compensation #1 succeeded
        7s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E11: clocks differ.

#[test]
fn e11_a_participant_is_told_how_long_is_left_and_no_time_of_day() {
    story(
        r#"
        ship: saga shipment, timeout 10s, after -
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -, timeout 3s

        0s started, forwards until 50s, window until 1m
        0s ship action #1 sent, awaited until 10s
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 3s
          -> sub-saga shipment of ship to run within 10s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 3s: {"order":7}
        > sleep 400ms
        > resend
        400ms ship sent again
        400ms hotel sent again
        400ms flight sent again
          -> sub-saga shipment of ship to run within 9s600ms
          -> hotels/hotel hotel.action.1.1 in 600ms: {"order":7}
          -> airline/flight flight.action.1.1 in 2s600ms: {"order":7}
        > flight rejected full
        400ms flight action #1 rejected: full
        400ms stopping: flight was rejected (full): sorry
        400ms ship given up, in doubt
          -> sub-saga shipment of ship to be undone in 10s
        > hotel ok
        400ms hotel action #1 succeeded: null
        400ms compensation began: flight was rejected (full): sorry
        400ms hotel compensation #1 sent, awaited until 1s400ms
        400ms ship compensation #1 sent, awaited until 10s400ms
          -> hotels/cancel hotel.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
          -> sub-saga shipment of ship to be undone in 10s
        > sleep 100ms
        > resend
        500ms ship sent again
        500ms hotel sent again
          -> sub-saga shipment of ship to be undone in 9s900ms
          -> hotels/cancel hotel.compensation.1.1 in 900ms: {"order":7} result null saga {"order":7}
        = compensating
    "#,
    );
}

// E13: what an undo sees.

#[test]
fn e13_each_branch_is_undone_with_its_own_request_and_result() {
    story(
        r#"
        hotel: hotels, undo cancel, after -, needs input.order
        flight: airline, undo cancel, after -
        pay: payments, undo refund, after hotel flight

        0s started, forwards until 55s800ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"it":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
        > hotel ok {"room":3}
        0s hotel action #1 succeeded: {"room":3}
        > flight ok {"seat":"1A"}
        0s flight action #1 succeeded: {"seat":"1A"}
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay rejected no_funds
        0s pay action #1 rejected: no_funds
        0s compensation began: pay was rejected (no_funds): sorry
        0s flight compensation #1 sent, awaited until 1s
        0s hotel compensation #1 sent, awaited until 1s
          -> airline/cancel flight.compensation.1.0 in 1s: {"order":7} result {"seat":"1A"} saga {"order":7}
          -> hotels/cancel hotel.compensation.1.0 in 1s: {"it":7} result {"room":3} saga {"order":7}
        = compensating
    "#,
    );
}

// E16: a crash between commit and publish.

#[test]
fn e16_all_that_is_in_flight_is_sent_again() {
    story(
        r#"
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -
        car: cars, undo return, after -

        0s started, forwards until 57s900ms, window until 1m
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
        0s car action #1 sent, awaited until 1s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
          -> cars/car car.action.1.0 in 1s: {"order":7}
        > car ok
        0s car action #1 succeeded: null
        > repeat
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
        > resend
        0s hotel sent again
        0s flight sent again
          -> hotels/hotel hotel.action.1.1 in 1s: {"order":7}
          -> airline/flight flight.action.1.1 in 1s: {"order":7}
        > flight ok
        0s flight action #1 succeeded: null
        > repeat
          -> hotels/hotel hotel.action.1.1 in 1s: {"order":7}
        > hotel ok
        0s hotel action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}
