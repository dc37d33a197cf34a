//! Undoing: E02, E09.

use crate::story::story;

// E02: an undo that fails again and again.

#[test]
fn e02_three_failures_block_and_the_slow_lane_goes_on_without_end() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
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
        > undo reserve failed
        0s reserve compensation #1 failed: busy
        0s reserve tried again at 100ms
        > wait 100ms
        100ms reserve compensation #2 sent, awaited until 1s100ms
          -> stock/release reserve.compensation.2.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve failed
        100ms reserve compensation #2 failed: busy
        100ms reserve tried again at 1s259ms
        > wait 1500ms
        1s259ms reserve compensation #3 sent, awaited until 2s259ms
          -> stock/release reserve.compensation.3.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve failed
        1s600ms reserve compensation #3 failed: busy
        1s600ms blocked at reserve: compensation_fails
        1s600ms reserve tried again at 2s642ms
        > wait 2s
        2s642ms reserve compensation #4 sent, awaited until 3s642ms
          -> stock/release reserve.compensation.4.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve failed
        3s600ms reserve compensation #4 failed: busy
        3s600ms reserve tried again at 4s403ms
        > wait 1m
        4s403ms reserve compensation #5 sent, awaited until 5s403ms
          -> stock/release reserve.compensation.5.0 in 1s: {"order":7} result null saga {"order":7}
        5s403ms reserve compensation #5 timed out
        5s403ms reserve tried again at 7s152ms
        7s152ms reserve compensation #6 sent, awaited until 8s152ms
          -> stock/release reserve.compensation.6.0 in 1s: {"order":7} result null saga {"order":7}
        8s152ms reserve compensation #6 timed out
        8s152ms reserve tried again at 11s430ms
        11s430ms reserve compensation #7 sent, awaited until 12s430ms
          -> stock/release reserve.compensation.7.0 in 1s: {"order":7} result null saga {"order":7}
        12s430ms reserve compensation #7 timed out
        12s430ms reserve tried again at 17s710ms
        17s710ms reserve compensation #8 sent, awaited until 18s710ms
          -> stock/release reserve.compensation.8.0 in 1s: {"order":7} result null saga {"order":7}
        18s710ms reserve compensation #8 timed out
        18s710ms reserve tried again at 33s63ms
        33s63ms reserve compensation #9 sent, awaited until 34s63ms
          -> stock/release reserve.compensation.9.0 in 1s: {"order":7} result null saga {"order":7}
        34s63ms reserve compensation #9 timed out
        34s63ms reserve tried again at 55s683ms
        54s window at risk
        55s683ms reserve compensation #10 sent, awaited until 56s683ms
          -> stock/release reserve.compensation.10.0 in 1s: {"order":7} result null saga {"order":7}
        56s683ms reserve compensation #10 timed out
        56s683ms reserve tried again at 1m25s21ms
        1m window missed
        > undo reserve ok
        1m3s600ms reserve compensation #10 succeeded
        1m3s600ms unblocked at reserve
        1m3s600ms ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e02_an_undo_that_is_rejected_is_blocked_at_once() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
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
        > undo reserve rejected never
        0s reserve compensation #1 rejected: never
        0s blocked at reserve: compensation_rejected
        0s reserve tried again at 100ms
        > undo reserve rejected never
          refused: a later attempt is under way
        > wait 100ms
        100ms reserve compensation #2 sent, awaited until 1s100ms
          -> stock/release reserve.compensation.2.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve ok
        100ms reserve compensation #2 succeeded
        100ms unblocked at reserve
        100ms ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e02_a_rejection_is_worse_news_than_the_failures_before_it() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
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
        > wait 5500ms
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
        > undo reserve rejected never
        5s500ms reserve compensation #4 rejected: never
        5s500ms blocked at reserve: compensation_rejected
        5s500ms reserve tried again at 6s303ms
        > wait 5s
        6s303ms reserve compensation #5 sent, awaited until 7s303ms
          -> stock/release reserve.compensation.5.0 in 1s: {"order":7} result null saga {"order":7}
        7s303ms reserve compensation #5 timed out
        7s303ms reserve tried again at 9s52ms
        9s52ms reserve compensation #6 sent, awaited until 10s52ms
          -> stock/release reserve.compensation.6.0 in 1s: {"order":7} result null saga {"order":7}
        10s52ms reserve compensation #6 timed out
        10s52ms reserve tried again at 13s330ms
        > undo reserve tombstoned
          refused: a later attempt is under way
        > wait 9s
        13s330ms reserve compensation #7 sent, awaited until 14s330ms
          -> stock/release reserve.compensation.7.0 in 1s: {"order":7} result null saga {"order":7}
        14s330ms reserve compensation #7 timed out
        14s330ms reserve tried again at 19s610ms
        > undo reserve ok
        19s500ms reserve compensation #7 succeeded
        19s500ms unblocked at reserve
        19s500ms ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e02_the_slow_lane_keeps_to_what_the_participant_asks() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
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
        > undo reserve failed after 2s
        0s reserve compensation #1 failed: busy
        0s reserve tried again at 100ms
        > wait 100ms
        100ms reserve compensation #2 sent, awaited until 1s100ms
          -> stock/release reserve.compensation.2.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve failed after 30s
        100ms reserve compensation #2 failed: busy
        100ms reserve tried again at 30s100ms
        > wait 30s
        30s100ms reserve compensation #3 sent, awaited until 31s100ms
          -> stock/release reserve.compensation.3.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve working
          refused: nothing is due
        > undo reserve ok
        30s100ms reserve compensation #3 succeeded
        30s100ms ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e02_unblocked_by_its_answer_the_saga_undoes_the_rest() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund
        ship: shop, undo recall

        0s started, forwards until 53s700ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay ok
        0s pay action #1 succeeded: null
        0s ship action #1 sent, awaited until 1s
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship rejected closed
        0s ship action #1 rejected: closed
        0s compensation began: ship was rejected (closed): sorry
        0s pay compensation #1 sent, awaited until 1s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo pay rejected never
        0s pay compensation #1 rejected: never
        0s blocked at pay: compensation_rejected
        0s pay tried again at 100ms
        > wait 100ms
        100ms pay compensation #2 sent, awaited until 1s100ms
          -> payments/refund pay.compensation.2.0 in 1s: {"order":7} result null saga {"order":7}
        > undo pay ok
        100ms pay compensation #2 succeeded
        100ms unblocked at pay
        100ms reserve compensation #1 sent, awaited until 1s100ms
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        = compensating
    "#,
    );
}

#[test]
fn e02_a_minute_of_trying_blocks_before_the_third_attempt() {
    story(
        r#"
        window 10m
        reserve: stock, undo release, timeout 40s
        pay: payments, undo refund

        0s started, forwards until 8m37s800ms, window until 10m
        0s reserve action #1 sent, awaited until 40s
          -> stock/reserve reserve.action.1.0 in 40s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay rejected no_funds
        0s pay action #1 rejected: no_funds
        0s compensation began: pay was rejected (no_funds): sorry
        0s reserve compensation #1 sent, awaited until 40s
          -> stock/release reserve.compensation.1.0 in 40s: {"order":7} result null saga {"order":7}
        > wait 81s
        40s reserve compensation #1 timed out
        40s reserve tried again at 40s100ms
        40s100ms reserve compensation #2 sent, awaited until 1m20s100ms
          -> stock/release reserve.compensation.2.0 in 40s: {"order":7} result null saga {"order":7}
        1m20s100ms reserve compensation #2 timed out
        1m20s100ms blocked at reserve: compensation_fails
        1m20s100ms reserve tried again at 1m21s259ms
        = blocked
    "#,
    );
}

#[test]
fn e02_an_undo_is_tried_again_by_its_own_policy_and_an_older_attempt_cannot_fail_the_newer_one() {
    story(
        r#"
        reserve: stock, undo release, pause 300ms
        pay: payments, undo refund

        0s started, forwards until 55s600ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve failed
        0s reserve action #1 failed: busy
        0s reserve tried again at 100ms
        > reserve ok
        0s reserve action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay rejected no_funds
        0s pay action #1 rejected: no_funds
        0s compensation began: pay was rejected (no_funds): sorry
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve failed
        0s reserve compensation #1 failed: busy
        0s reserve tried again at 300ms
        > undo reserve failed
          refused: a later attempt is under way
        > wait 300ms
        300ms reserve compensation #2 sent, awaited until 1s300ms
          -> stock/release reserve.compensation.2.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve#1 failed
          refused: a later attempt is under way
        > undo reserve#3 ok
          refused: no such command was sent
        > undo reserve#1 ok
        300ms reserve compensation #1 succeeded
        300ms ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E09: a rejected step.

#[test]
fn e09_a_rejected_step_is_not_undone() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
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
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e09_a_step_rejected_in_part_is_undone() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay rejected no_funds partial
        0s pay action #1 rejected: no_funds, an effect may be left
        0s compensation began: pay was rejected (no_funds): sorry
        0s pay compensation #1 sent, awaited until 1s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo pay ok
        0s pay compensation #1 succeeded
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
fn e02_no_pause_that_is_asked_for_within_the_policy_is_longer_than_the_window_reckons_with() {
    story(
        r#"
        reserve: stock, undo release, attempts 3, pause 1s
        pay: payments, undo none

        0s started, forwards until 54s, window until 1m
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
        > undo reserve failed after 30s
        0s reserve compensation #1 failed: busy
        0s reserve tried again at 1s
        > wait 1s
        1s reserve compensation #2 sent, awaited until 2s
          -> stock/release reserve.compensation.2.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve failed after 30s
        1s reserve compensation #2 failed: busy
        1s reserve tried again at 3s
        > wait 2s
        3s reserve compensation #3 sent, awaited until 4s
          -> stock/release reserve.compensation.3.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve failed after 30s
        3s reserve compensation #3 failed: busy
        3s blocked at reserve: compensation_fails
        3s reserve tried again at 33s
        > wait 30s
        33s reserve compensation #4 sent, awaited until 34s
          -> stock/release reserve.compensation.4.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve ok
        33s reserve compensation #4 succeeded
        33s unblocked at reserve
        33s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}
