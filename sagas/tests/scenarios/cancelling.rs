//! What is not wanted any more: E03.

use crate::story::story;

#[test]
fn e03_a_cancellation_waits_for_the_action_under_way_then_undoes_all() {
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
        > cancel
        0s cancel requested by ann: a typo
        > cancel
          nothing changes
        > pay ok
        0s pay action #1 succeeded: null
        0s compensation began: cancelled by ann: a typo
        0s pay compensation #1 sent, awaited until 1s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > cancel
          nothing changes
        > undo pay ok
        0s pay compensation #1 succeeded
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > cancel
          nothing changes
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        > cancel
          refused: the saga has ended
        = compensated
    "#,
    );
}

#[test]
fn e03_a_cancellation_does_not_wait_for_an_attempt_that_is_only_planned() {
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
        > pay failed
        0s pay action #1 failed: busy
        0s pay tried again at 100ms
        > cancel
        0s cancel requested by ann: a typo
        0s pay given up, in doubt
        0s compensation began: cancelled by ann: a typo
        0s pay compensation #1 sent, awaited until 1s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo pay ok empty
        0s pay compensation #1 succeeded (it found nothing)
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
fn e03_a_cancellation_starts_no_further_attempt() {
    story(
        r#"
        reserve: stock, undo release

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > cancel
        0s cancel requested by ann: a typo
        > reserve failed
        0s reserve action #1 failed: busy
        0s reserve given up, in doubt
        0s compensation began: cancelled by ann: a typo
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo reserve ok empty
        0s reserve compensation #1 succeeded (it found nothing)
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e03_from_the_pivot_on_a_cancellation_is_refused() {
    story(
        r#"
        ship: shop, pivot
        invoice: books, retriable

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > cancel
          refused: the pivot was sent: the saga can only go forwards
        > ship ok
        0s ship action #1 succeeded: null
        0s invoice action #1 sent, awaited until 1s
          -> books/invoice invoice.action.1.0 in 1s: {"order":7}
        > cancel
          refused: the pivot was sent: the saga can only go forwards
        > invoice ok
        0s invoice action #1 succeeded: null
        0s ended: completed
          => ended completed
        > cancel
          refused: the saga has ended
        = completed
    "#,
    );
}

#[test]
fn e03_a_cancellation_does_not_wait_for_the_result_of_a_step_whose_effect_may_stay() {
    story(
        r#"
        mail: letters, undo none

        0s started, forwards until 1m, window until 1m
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > wait 1050ms
        1s mail action #1 timed out
        1s mail tried again at 1s100ms
        > cancel
        1s50ms cancel requested by ann: a typo
        1s50ms mail given up, in doubt
        1s50ms compensation began: cancelled by ann: a typo
        1s50ms ended: compensated
          => ended compensated
        > wait 50ms
        > mail failed
          refused: the saga has ended
        > wait 2s
        > mail ok
        3s100ms mail #1 succeeded late, neutralised
        = compensated
    "#,
    );
}

#[test]
fn e03_an_attempt_that_is_only_planned_is_given_up_at_once_where_nothing_can_be_left() {
    // Every attempt said `failed`, which promises that nothing is left, and there is no undo.
    story(
        r#"
        mail: letters, undo none

        0s started, forwards until 1m, window until 1m
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > mail failed
        0s mail action #1 failed: busy
        0s mail tried again at 100ms
        > cancel
        0s cancel requested by ann: a typo
        0s mail given up, not done
        0s compensation began: cancelled by ann: a typo
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
    // A read has no effect, whether it was answered or not.
    story(
        r#"
        quote: prices, read

        0s started, forwards until 1m, window until 1m
        0s quote action #1 sent, awaited until 1s
          -> prices/quote quote.action.1.0 in 1s: {"order":7}
        > wait 1050ms
        1s quote action #1 timed out
        1s quote tried again at 1s100ms
        > cancel
        1s50ms cancel requested by ann: a typo
        1s50ms quote given up, not done
        1s50ms compensation began: cancelled by ann: a typo
        1s50ms ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}
