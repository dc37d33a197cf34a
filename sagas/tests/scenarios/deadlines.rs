//! Time and attempts: E06, E12, E16.

use crate::story::story;

// E06: deadlines.

#[test]
fn e06_the_deadline_never_stops_an_unwind() {
    story(
        r#"
        window 10s
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 5s800ms, window until 10s
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay rejected no_funds
        0s pay action #1 rejected: no_funds
        0s compensation began: pay was rejected (no_funds): sorry
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > wait 12s
        1s reserve compensation #1 timed out
        1s reserve tried again at 1s100ms
        1s100ms reserve compensation #2 sent, awaited until 2s100ms
          -> stock/release reserve.compensation.2.0 in 1s: {"order":7} result null saga {"order":7}
        2s100ms reserve compensation #2 timed out
        2s100ms reserve tried again at 3s259ms
        3s259ms reserve compensation #3 sent, awaited until 4s259ms
          -> stock/release reserve.compensation.3.0 in 1s: {"order":7} result null saga {"order":7}
        4s259ms reserve compensation #3 timed out
        4s259ms blocked at reserve: compensation_fails
        4s259ms reserve tried again at 5s301ms
        5s301ms reserve compensation #4 sent, awaited until 6s301ms
          -> stock/release reserve.compensation.4.0 in 1s: {"order":7} result null saga {"order":7}
        6s301ms reserve compensation #4 timed out
        6s301ms reserve tried again at 7s104ms
        7s104ms reserve compensation #5 sent, awaited until 8s104ms
          -> stock/release reserve.compensation.5.0 in 1s: {"order":7} result null saga {"order":7}
        8s104ms reserve compensation #5 timed out
        8s104ms reserve tried again at 9s853ms
        9s window at risk
        9s853ms reserve compensation #6 sent, awaited until 10s853ms
          -> stock/release reserve.compensation.6.0 in 1s: {"order":7} result null saga {"order":7}
        10s window missed
        10s853ms reserve compensation #6 timed out
        10s853ms reserve tried again at 14s131ms
        > undo reserve ok
        12s reserve compensation #6 succeeded
        12s unblocked at reserve
        12s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e06_an_end_after_the_window_says_so_though_no_wake_up_came() {
    story(
        r#"
        window 10s
        ship: shop, pivot, timeout 9s

        0s started, forwards until 1s, window until 10s
        0s ship action #1 sent, awaited until 9s, the pivot
          -> shop/ship ship.action.1.0 in 9s: {"order":7}
        > ship working
          refused: nothing is due
        > wait 8s
        > ship working
        8s ship is at it, awaited until 17s
        > sleep 8s
        > ship ok
        16s ship action #1 succeeded: null
        16s window missed
        16s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e06_an_action_is_awaited_no_longer_than_the_forward_deadline() {
    story(
        r#"
        window 6s
        reserve: stock, undo release, timeout 1500ms, attempts 1
        pay: payments, undo refund, timeout 1s, attempts 1

        0s started, forwards until 3s500ms, window until 6s
        0s reserve action #1 sent, awaited until 1s500ms
          -> stock/reserve reserve.action.1.0 in 1s500ms: {"order":7}
        > wait 1400ms
        > reserve working
        1s400ms reserve is at it, awaited until 2s900ms
        > wait 1200ms
        > reserve working
        2s600ms reserve is at it, awaited until 4s100ms
        > wait 900ms
        > reserve working
        3s500ms reserve is at it, awaited until 4s500ms
        > wait 1s
        4s500ms reserve action #1 timed out
        4s500ms reserve given up, in doubt
        4s500ms compensation began: the time for going forwards ran out at reserve
        4s500ms reserve compensation #1 sent, awaited until 6s
          -> stock/release reserve.compensation.1.0 in 1s500ms: {"order":7} saga {"order":7}
        > undo reserve ok
        4s500ms reserve compensation #1 succeeded
        4s500ms ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e06_a_retry_whose_wake_up_came_after_the_forward_deadline_is_not_made() {
    story(
        r#"
        window 6s
        reserve: stock, undo release, timeout 1500ms

        0s started, forwards until 2s900ms, window until 6s
        0s reserve action #1 sent, awaited until 1s500ms
          -> stock/reserve reserve.action.1.0 in 1s500ms: {"order":7}
        > reserve failed
        0s reserve action #1 failed: busy
        0s reserve tried again at 100ms
        > sleep 5s
        > wake
        5s reserve given up, in doubt
        5s compensation began: the time for going forwards ran out at reserve
        5s reserve compensation #1 sent, awaited until 6s500ms
          -> stock/release reserve.compensation.1.0 in 1s500ms: {"order":7} saga {"order":7}
        > undo reserve ok empty
        5s reserve compensation #1 succeeded (it found nothing)
        5s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e06_nor_is_one_of_a_pivot_which_blocks_since_its_result_is_unknown() {
    story(
        r#"
        window 6s
        ship: shop, pivot, timeout 1500ms

        0s started, forwards until 4s500ms, window until 6s
        0s ship action #1 sent, awaited until 1s500ms, the pivot
          -> shop/ship ship.action.1.0 in 1s500ms: {"order":7}
        > wait 1500ms
        1s500ms ship action #1 timed out
        1s500ms ship tried again at 1s600ms
        > sleep 5s
        > wake
        6s500ms blocked at ship: unknown
        6s500ms ship tried again at 7s623ms
        6s500ms window at risk
        6s500ms window missed
        > ship ok
        6s500ms ship action #1 succeeded: null
        6s500ms unblocked at ship
        6s500ms ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e06_an_answer_after_the_forward_deadline_starts_nothing_more() {
    story(
        r#"
        window 6s
        reserve: stock, undo release
        pay: payments, undo none

        0s started, forwards until 3s900ms, window until 6s
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > sleep 5s
        > reserve ok
        5s reserve action #1 succeeded: null
        5s compensation began: the time for going forwards ran out at pay
        5s reserve compensation #1 sent, awaited until 6s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve ok
        5s reserve compensation #1 succeeded
        5s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e06_a_heartbeat_of_the_slow_lane_counts_after_the_forward_deadline_too() {
    story(
        r#"
        window 2s
        mail: letters, undo none, attempts 1

        0s started, forwards until 2s, window until 2s
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > wait 1s
        1s mail action #1 timed out
        1s blocked at mail: unknown
        1s mail tried again at 2s163ms
        > wait 1200ms
        1s800ms window at risk
        2s window missed
        2s163ms mail action #2 sent, awaited until 3s163ms
          -> letters/mail mail.action.2.0 in 1s: {"order":7}
        > mail working
          refused: nothing is due
        > sleep 900ms
        > mail working
        3s100ms mail is at it, awaited until 4s100ms
        > mail ok
        3s100ms mail action #2 succeeded: null
        3s100ms unblocked at mail
        3s100ms ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e06_a_participant_that_asks_for_a_pause_gets_it() {
    story(
        r#"
        reserve: stock, undo release

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve failed after 5s
        0s reserve action #1 failed: busy
        0s reserve tried again at 5s
        > wait 5s
        5s reserve action #2 sent, awaited until 6s
          -> stock/reserve reserve.action.2.0 in 1s: {"order":7}
        > reserve ok
        5s reserve action #2 succeeded: null
        5s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e06_no_attempt_is_planned_beyond_the_forward_deadline() {
    story(
        r#"
        window 10s
        ship: shop, pivot

        0s started, forwards until 9s, window until 10s
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship failed after 20s
        0s ship action #1 failed: busy
        0s ship given up, not done
        0s compensation began: the time for going forwards ran out at ship
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E12: two attempts of one action overlap.

#[test]
fn e12_either_attempt_counts_and_the_other_is_a_duplicate() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > wait 1100ms
        1s reserve action #1 timed out
        1s reserve tried again at 1s100ms
        1s100ms reserve action #2 sent, awaited until 2s100ms
          -> stock/reserve reserve.action.2.0 in 1s: {"order":7}
        > reserve#1 ok {"hold":1}
        1s100ms reserve action #1 succeeded: {"hold":1}
        1s100ms pay action #1 sent, awaited until 2s100ms
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > reserve#2 ok {"hold":1}
          refused: the operation was answered already
        > pay failed
        1s100ms pay action #1 failed: busy
        1s100ms pay tried again at 1s200ms
        > pay failed
          refused: a later attempt is under way
        > pay ok
        1s100ms pay action #1 succeeded: null
        1s100ms ended: completed
          => ended completed
        > pay ok
          refused: the operation was answered already
        = completed
    "#,
    );
}

#[test]
fn e12_an_older_attempt_cannot_fail_the_newer_one() {
    story(
        r#"
        reserve: stock, undo release

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > wait 1100ms
        1s reserve action #1 timed out
        1s reserve tried again at 1s100ms
        1s100ms reserve action #2 sent, awaited until 2s100ms
          -> stock/reserve reserve.action.2.0 in 1s: {"order":7}
        > reserve#1 failed
          refused: a later attempt is under way
        > reserve#1 working
          refused: a later attempt is under way
        > reserve#2 ok
        1s100ms reserve action #2 succeeded: null
        1s100ms ended: completed
          => ended completed
        = completed
    "#,
    );
}

// E16: what is under way is sent again.

#[test]
fn e16_sent_again_the_attempt_has_another_message_id() {
    story(
        r#"
        reserve: stock, undo release

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > resend
        0s reserve sent again
          -> stock/reserve reserve.action.1.1 in 1s: {"order":7}
        > wait 400ms
        > resend
        400ms reserve sent again
          -> stock/reserve reserve.action.1.2 in 600ms: {"order":7}
        > reserve ok
        400ms reserve action #1 succeeded: null
        400ms ended: completed
          => ended completed
        > resend
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e16_what_waits_for_its_next_attempt_is_not_sent_again() {
    story(
        r#"
        reserve: stock, undo release

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve failed
        0s reserve action #1 failed: busy
        0s reserve tried again at 100ms
        > resend
          nothing changes
        > wait 100ms
        100ms reserve action #2 sent, awaited until 1s100ms
          -> stock/reserve reserve.action.2.0 in 1s: {"order":7}
        > reserve ok
        100ms reserve action #2 succeeded: null
        100ms ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e16_what_a_crash_kept_from_being_published_is_published_with_the_same_ids() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > sleep 300ms
        > repeat
          -> stock/reserve reserve.action.1.0 in 700ms: {"order":7}
        > resend
        300ms reserve sent again
          -> stock/reserve reserve.action.1.1 in 700ms: {"order":7}
        > repeat
          -> stock/reserve reserve.action.1.1 in 700ms: {"order":7}
        > reserve ok {"hold":1}
        300ms reserve action #1 succeeded: {"hold":1}
        300ms pay action #1 sent, awaited until 1s300ms
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay failed
        300ms pay action #1 failed: busy
        300ms pay tried again at 400ms
        > repeat
          nothing is pending
        > pay rejected no_funds
        300ms pay action #1 rejected: no_funds
        300ms compensation began: pay was rejected (no_funds): sorry
        300ms reserve compensation #1 sent, awaited until 1s300ms
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result {"hold":1} saga {"order":7}
        > repeat
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result {"hold":1} saga {"order":7}
        > undo reserve ok
        300ms reserve compensation #1 succeeded
        300ms ended: compensated
          => ended compensated
        > repeat
          => ended compensated
        = compensated
    "#,
    );
}
