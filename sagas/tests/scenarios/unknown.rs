//! What is not known, and what an undo knows: E01, E13.

use crate::story::story;

// E01: unknown is never rejected.

#[test]
fn e01_unknown_on_the_last_attempt_is_undone_first() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok {"hold":1}
        0s reserve action #1 succeeded: {"hold":1}
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > wait 3s
        1s pay action #1 timed out
        1s pay tried again at 1s100ms
        1s100ms pay action #2 sent, awaited until 2s100ms
          -> payments/pay pay.action.2.0 in 1s: {"order":7}
        2s100ms pay action #2 timed out
        2s100ms pay given up, in doubt
        2s100ms compensation began: pay was not answered on its last attempt
        2s100ms pay compensation #1 sent, awaited until 3s100ms
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo pay ok empty
        3s pay compensation #1 succeeded (it found nothing)
        3s reserve compensation #1 sent, awaited until 4s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result {"hold":1} saga {"order":7}
        > undo reserve ok
        3s reserve compensation #1 succeeded
        3s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e01_a_pivot_of_unknown_result_is_blocked_and_asked_again_under_the_same_effect() {
    story(
        r#"
        reserve: stock, undo release
        ship: shop, pivot, attempts 1

        0s started, forwards until 56s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > wait 3s
        1s ship action #1 timed out
        1s blocked at ship: unknown
        1s ship tried again at 2s123ms
        2s123ms ship action #2 sent, awaited until 3s123ms
          -> shop/ship ship.action.2.0 in 1s: {"order":7}
        > ship ok
        3s ship action #2 succeeded: null
        3s unblocked at ship
        3s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e01_a_step_with_no_undo_of_unknown_result_is_blocked_until_it_is_known() {
    story(
        r#"
        mail: letters, undo none, attempts 1
        pay: payments, undo refund

        0s started, forwards until 57s900ms, window until 1m
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > wait 3s
        1s mail action #1 timed out
        1s blocked at mail: unknown
        1s mail tried again at 2s163ms
        2s163ms mail action #2 sent, awaited until 3s163ms
          -> letters/mail mail.action.2.0 in 1s: {"order":7}
        > mail rejected no_address
        3s mail action #2 rejected: no_address
        3s unblocked at mail
        3s compensation began: mail was rejected (no_address): sorry
        3s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e01_failed_does_not_settle_an_earlier_attempt_that_is_unknown() {
    story(
        r#"
        ship: shop, pivot

        0s started, forwards until 59s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > wait 1200ms
        1s ship action #1 timed out
        1s ship tried again at 1s100ms
        1s100ms ship action #2 sent, awaited until 2s100ms
          -> shop/ship ship.action.2.0 in 1s: {"order":7}
        > ship failed
        1s200ms ship action #2 failed: busy
        1s200ms blocked at ship: unknown
        1s200ms ship tried again at 2s253ms
        > ship rejected sold_out
        1s200ms ship action #2 rejected: sold_out
        1s200ms unblocked at ship
        1s200ms compensation began: ship was rejected (sold_out): sorry
        1s200ms ended: compensated
          => ended compensated
        > wait 3s
        > ship rejected sold_out
          refused: the saga has ended
        = compensated
    "#,
    );
}

#[test]
fn e01_failed_does_not_settle_a_second_sending_of_the_attempt() {
    story(
        r#"
        ship: shop, pivot, attempts 1

        0s started, forwards until 59s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > resend
        0s ship sent again
          -> shop/ship ship.action.1.1 in 1s: {"order":7}
        > ship failed
        0s ship action #1 failed: busy
        0s blocked at ship: unknown
        0s ship tried again at 1s123ms
        > wait 2s
        1s123ms ship action #2 sent, awaited until 2s123ms
          -> shop/ship ship.action.2.0 in 1s: {"order":7}
        > ship ok
        2s ship action #2 succeeded: null
        2s unblocked at ship
        2s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e01_a_pivot_that_failed_on_every_attempt_is_not_unknown() {
    story(
        r#"
        reserve: stock, undo release
        ship: shop, pivot

        0s started, forwards until 56s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship failed
        0s ship action #1 failed: busy
        0s ship tried again at 100ms
        > wait 100ms
        100ms ship action #2 sent, awaited until 1s100ms
          -> shop/ship ship.action.2.0 in 1s: {"order":7}
        > ship failed
        100ms ship action #2 failed: busy
        100ms ship given up, not done
        100ms compensation began: ship failed on all its attempts: busy
        100ms reserve compensation #1 sent, awaited until 1s100ms
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve ok
        100ms reserve compensation #1 succeeded
        100ms ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e01_a_pivot_rejected_in_part_is_blocked_for_nothing_can_undo_it() {
    story(
        r#"
        reserve: stock, undo release
        ship: shop, pivot

        0s started, forwards until 56s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship rejected torn partial
        0s ship action #1 failed: rejected with an effect that may be left (torn): sorry
        0s blocked at ship: unknown
        0s ship tried again at 1s123ms
        > ship rejected torn partial
          refused: a later attempt is under way
        > cancel
          refused: the pivot was sent: the saga can only go forwards
        > wait 2s
        1s123ms ship action #2 sent, awaited until 2s123ms
          -> shop/ship ship.action.2.0 in 1s: {"order":7}
        > ship failed
        2s ship action #2 failed: busy
        2s ship tried again at 3s53ms
        > wait 2s
        3s53ms ship action #3 sent, awaited until 4s53ms
          -> shop/ship ship.action.3.0 in 1s: {"order":7}
        > ship rejected torn
        4s ship action #3 rejected: torn
        4s unblocked at ship
        4s compensation began: ship was rejected (torn): sorry
        4s reserve compensation #1 sent, awaited until 5s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve ok
        4s reserve compensation #1 succeeded
        4s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E13: what an undo sees.

#[test]
fn e13_an_undo_sees_the_request_the_result_and_the_sagas_input() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund, needs steps.reserve.output.hold
        ship: shop, undo recall

        0s started, forwards until 53s700ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok {"hold":1}
        0s reserve action #1 succeeded: {"hold":1}
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"it":1}
        > pay ok
        0s pay action #1 succeeded: null
        0s ship action #1 sent, awaited until 1s
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship rejected closed
        0s ship action #1 rejected: closed
        0s compensation began: ship was rejected (closed): sorry
        0s pay compensation #1 sent, awaited until 1s
          -> payments/refund pay.compensation.1.0 in 1s: {"it":1} result null saga {"order":7}
        > undo pay ok
        0s pay compensation #1 succeeded
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result {"hold":1} saga {"order":7}
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e13_of_an_unknown_result_an_undo_sees_none() {
    story(
        r#"
        pay: payments, undo refund, attempts 1

        0s started, forwards until 59s, window until 1m
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > wait 1s
        1s pay action #1 timed out
        1s pay given up, in doubt
        1s compensation began: pay was not answered on its last attempt
        1s pay compensation #1 sent, awaited until 2s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo pay ok empty
        1s pay compensation #1 succeeded (it found nothing)
        1s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}
