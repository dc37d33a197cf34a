//! Conditions: what is skipped, and what happens where a condition cannot be evaluated: E06, E15.

use crate::story::story;

#[test]
fn what_is_skipped_is_not_run_and_not_undone_and_holds_nobody_up() {
    story(
        r#"
        reserve: stock, undo release
        gift: stock, undo unwrap, when input.order > 9
        pay: payments, undo refund

        0s started, forwards until 53s700ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s gift skipped
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > steps
          reserve done
          gift skipped
          pay acting
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
fn a_saga_all_of_whose_steps_are_skipped_is_completed_at_once() {
    story(
        r"
        gift: stock, undo unwrap, when input.order > 9
        pay: payments, undo refund, when input.order > 8

        0s started, forwards until 55s800ms, window until 1m
        0s gift skipped
        0s pay skipped
        0s ended: completed
          => ended completed
        = completed
    ",
    );
}

#[test]
fn a_step_that_was_skipped_has_no_output() {
    story(
        r#"
        gift: stock, undo unwrap, when input.order > 9
        card: stock, undo tear, when has(steps.gift.output)
        plain: stock, undo tear, when !has(steps.gift.output)

        0s started, forwards until 53s700ms, window until 1m
        0s gift skipped
        0s card skipped
        0s plain action #1 sent, awaited until 1s
          -> stock/plain plain.action.1.0 in 1s: {"order":7}
        > plain ok
        0s plain action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn a_condition_is_of_the_outputs_before_it() {
    story(
        r#"
        rate: risk, read
        check: people, undo forget, when steps.rate.output.score > 5
        pay: payments, undo refund, when steps.rate.output.score <= 5

        0s started, forwards until 55s800ms, window until 1m
        0s rate action #1 sent, awaited until 1s
          -> risk/rate rate.action.1.0 in 1s: {"order":7}
        > rate ok {"score":7}
        0s rate action #1 succeeded: {"score":7}
        0s check action #1 sent, awaited until 1s
          -> people/check check.action.1.0 in 1s: {"order":7}
        > check ok
        0s check action #1 succeeded: null
        0s pay skipped
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn a_condition_that_cannot_be_evaluated_stops_the_saga_and_what_ran_is_undone() {
    story(
        r#"
        rate: risk, undo forget
        pay: payments, undo refund, when steps.rate.output.score > 5

        0s started, forwards until 55s800ms, window until 1m
        0s rate action #1 sent, awaited until 1s
          -> risk/rate rate.action.1.0 in 1s: {"order":7}
        > rate ok {}
        0s rate action #1 succeeded: {}
        0s pay not sent: `steps.rate.output.score` names nothing in this saga (in `steps.rate.output.score > 5`)
        0s compensation began: pay could not be sent (bad_condition): `steps.rate.output.score` names nothing in this saga (in `steps.rate.output.score > 5`)
        0s rate compensation #1 sent, awaited until 1s
          -> risk/forget rate.compensation.1.0 in 1s: {"order":7} result {} saga {"order":7}
        > undo rate ok
        0s rate compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn a_condition_that_is_no_truth_stops_the_saga_too() {
    story(
        r"
        pay: payments, undo refund, when input.order

        0s started, forwards until 57s900ms, window until 1m
        0s pay not sent: `input.order` fails at byte 0: a condition is a bool, and this is int
        0s compensation began: pay could not be sent (bad_condition): `input.order` fails at byte 0: a condition is a bool, and this is int
        0s ended: compensated
          => ended compensated
        = compensated
    ",
    );
}

// E06: deadlines.

#[test]
fn e06_a_step_that_is_not_wanted_needs_no_time() {
    story(
        r#"
        window 10s
        reserve: stock, undo release
        gift: stock, undo unwrap, when input.order > 9

        0s started, forwards until 5s800ms, window until 10s
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > sleep 9s
        > reserve ok
        9s reserve action #1 succeeded: null
        9s gift skipped
        9s ended: completed
          => ended completed
        = completed
    "#,
    );
}

// E15: behind the pivot.

#[test]
fn e15_behind_the_pivot_a_condition_that_cannot_be_evaluated_counts_as_true() {
    story(
        r#"
        ship: shop, pivot
        bill: books, retriable, when steps.ship.output.total > 0

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok {}
        0s ship action #1 succeeded: {}
        0s bill action #1 sent, awaited until 1s
          -> books/bill bill.action.1.0 in 1s: {"order":7}
        > bill ok
        0s bill action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_a_condition_that_can_never_be_evaluated_is_found_before_the_pivot() {
    story(
        r#"
        rate: risk, undo forget
        ship: shop, pivot
        bill: books, retriable, when steps.rate.output.total > 0

        0s started, forwards until 56s900ms, window until 1m
        0s rate action #1 sent, awaited until 1s
          -> risk/rate rate.action.1.0 in 1s: {"order":7}
        > rate ok {}
        0s rate action #1 succeeded: {}
        0s bill not sent: `steps.rate.output.total` names nothing in this saga (in `steps.rate.output.total > 0`)
        0s compensation began: bill could not be sent (bad_condition): `steps.rate.output.total` names nothing in this saga (in `steps.rate.output.total > 0`)
        0s rate compensation #1 sent, awaited until 1s
          -> risk/forget rate.compensation.1.0 in 1s: {"order":7} result {} saga {"order":7}
        > undo rate ok
        0s rate compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e15_what_an_unwanted_step_behind_the_pivot_misses_stops_nobody() {
    story(
        r#"
        gift: stock, undo unwrap, when input.order > 9
        ship: shop, pivot
        card: letters, retriable, when has(steps.gift.output), needs steps.gift.output.text
        bill: books, retriable

        0s started, forwards until 56s900ms, window until 1m
        0s gift skipped
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s card skipped
        0s bill action #1 sent, awaited until 1s
          -> books/bill bill.action.1.0 in 1s: {"order":7}
        > bill ok
        0s bill action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_a_step_behind_the_pivot_whose_condition_is_still_to_come_must_not_miss_what_is_known() {
    story(
        r"
        ship: shop, pivot
        bill: books, retriable, when steps.ship.output.total > 0, needs input.address

        0s started, forwards until 58s, window until 1m
        0s bill not sent: `input.address` names nothing in this saga
        0s compensation began: bill could not be sent (bad_mapping): `input.address` names nothing in this saga
        0s ended: compensated
          => ended compensated
        = compensated
    ",
    );
}
