//! After the pivot, and what is too large: E15, E19.

use crate::story::story;

// E15: failure after the pivot.

#[test]
fn e15_a_retriable_step_goes_on_in_the_slow_lane_and_nothing_is_undone() {
    story(
        r#"
        reserve: stock, undo release
        ship: shop, pivot
        invoice: books, retriable

        0s started, forwards until 56s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s invoice action #1 sent, awaited until 1s
          -> books/invoice invoice.action.1.0 in 1s: {"order":7}
        > invoice failed
        0s invoice action #1 failed: busy
        0s invoice tried again at 100ms
        > wait 100ms
        100ms invoice action #2 sent, awaited until 1s100ms
          -> books/invoice invoice.action.2.0 in 1s: {"order":7}
        > invoice failed
        100ms invoice action #2 failed: busy
        100ms invoice tried again at 1s206ms
        > wait 2s
        1s206ms invoice action #3 sent, awaited until 2s206ms
          -> books/invoice invoice.action.3.0 in 1s: {"order":7}
        > invoice failed
        2s100ms invoice action #3 failed: busy
        2s100ms blocked at invoice: retriable_fails
        2s100ms invoice tried again at 3s244ms
        > wait 3s
        3s244ms invoice action #4 sent, awaited until 4s244ms
          -> books/invoice invoice.action.4.0 in 1s: {"order":7}
        4s244ms invoice action #4 timed out
        4s244ms invoice tried again at 5s107ms
        > invoice ok
        5s100ms invoice action #4 succeeded: null
        5s100ms unblocked at invoice
        5s100ms ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_a_retriable_step_that_is_rejected_blocks_once_and_is_asked_again() {
    story(
        r#"
        ship: shop, pivot
        invoice: books, retriable

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s invoice action #1 sent, awaited until 1s
          -> books/invoice invoice.action.1.0 in 1s: {"order":7}
        > invoice rejected closed
        0s invoice action #1 failed: rejected (closed): sorry
        0s blocked at invoice: retriable_fails
        0s invoice tried again at 934ms
        > invoice rejected closed
          refused: a later attempt is under way
        > wait 2s
        934ms invoice action #2 sent, awaited until 1s934ms
          -> books/invoice invoice.action.2.0 in 1s: {"order":7}
        1s934ms invoice action #2 timed out
        1s934ms invoice tried again at 3s40ms
        > invoice#1 rejected closed
          refused: a later attempt is under way
        > invoice ok
        2s invoice action #2 succeeded: null
        2s unblocked at invoice
        2s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_a_read_after_the_pivot_must_succeed_too() {
    story(
        r#"
        ship: shop, pivot
        status: shop, read

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s status action #1 sent, awaited until 1s
          -> shop/status status.action.1.0 in 1s: {"order":7}
        > status rejected gone
        0s status action #1 failed: rejected (gone): sorry
        0s blocked at status: retriable_fails
        0s status tried again at 1s195ms
        > wait 2s
        1s195ms status action #2 sent, awaited until 2s195ms
          -> shop/status status.action.2.0 in 1s: {"order":7}
        > status ok
        2s status action #2 succeeded: null
        2s unblocked at status
        2s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_what_is_missing_behind_the_pivot_is_found_before_it() {
    story(
        r#"
        reserve: stock, undo release
        ship: shop, pivot
        invoice: books, retriable, needs input.address

        0s started, forwards until 56s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s invoice not sent: `input.address` names nothing in this saga
        0s compensation began: invoice could not be sent (bad_mapping): `input.address` names nothing in this saga
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
fn e15_what_is_missing_right_behind_a_pivot_that_comes_first_is_found_too() {
    story(
        r"
        ship: shop, pivot
        invoice: books, retriable, needs input.address

        0s started, forwards until 58s, window until 1m
        0s invoice not sent: `input.address` names nothing in this saga
        0s compensation began: invoice could not be sent (bad_mapping): `input.address` names nothing in this saga
        0s ended: compensated
          => ended compensated
        = compensated
    ",
    );
}

// E19: too large.

#[test]
fn e19_an_output_that_is_too_large_is_a_rejection_of_that_step_alone_and_undone() {
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
        > pay ok large
        0s pay action #1 rejected: too_large, an effect may be left
        0s compensation began: pay was rejected (too_large): the output has 65538 bytes, at most 65536
        0s pay compensation #1 sent, awaited until 1s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > pay ok large
          refused: the operation was answered already
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
fn e19_after_the_pivot_a_step_counts_without_its_output() {
    story(
        r#"
        ship: shop, pivot
        invoice: books, retriable

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok large
        0s ship action #1 succeeded
        0s invoice action #1 sent, awaited until 1s
          -> books/invoice invoice.action.1.0 in 1s: {"order":7}
        > invoice ok
        0s invoice action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e19_an_answer_past_the_pivot_that_was_too_large_to_be_read_counts_as_done() {
    story(
        r#"
        ship: shop, pivot
        invoice: books, retriable

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship large
        0s ship action #1 succeeded
        0s invoice action #1 sent, awaited until 1s
          -> books/invoice invoice.action.1.0 in 1s: {"order":7}
        > invoice ok
        0s invoice action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e19_an_answer_before_the_pivot_that_was_too_large_to_be_read_is_undone() {
    story(
        r#"
        reserve: stock, undo release

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve large
        0s reserve action #1 rejected: too_large, an effect may be left
        0s compensation began: reserve was rejected (too_large): the reply has 70000 bytes, which is more than a reply may have
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        = compensating
    "#,
    );
}

#[test]
fn e19_a_request_that_is_too_large_is_not_sent() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund
        mail: letters, undo none, needs steps.pay.output
        print: letters, undo none, needs steps.pay.output

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok full
        0s reserve action #1 succeeded: (65536 bytes)
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay ok full
        0s pay action #1 succeeded: (65536 bytes)
        0s mail not sent: the request has more than 65536 bytes
        0s compensation began: mail could not be sent (too_large): the request has more than 65536 bytes
        0s pay compensation #1 sent, awaited until 1s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} result (65536 bytes) saga {"order":7}
        > mail ok full
          refused: no such command was sent
        > undo pay ok
        0s pay compensation #1 succeeded
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result (65536 bytes) saga {"order":7}
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e19_all_payloads_of_a_saga_together_have_a_limit() {
    story(
        r#"
        a: p, undo x, needs input.order
        b: p, undo x
        c: p, undo x
        d: p, undo x, needs input.order

        0s started, forwards until 51s600ms, window until 1m
        0s a action #1 sent, awaited until 1s
          -> p/a a.action.1.0 in 1s: {"it":7}
        > a ok full
        0s a action #1 succeeded: (65536 bytes)
        0s b action #1 sent, awaited until 1s
          -> p/b b.action.1.0 in 1s: {"order":7}
        > b ok full
        0s b action #1 succeeded: (65536 bytes)
        0s c action #1 sent, awaited until 1s
          -> p/c c.action.1.0 in 1s: {"order":7}
        > c ok full
        0s c action #1 succeeded: (65536 bytes)
        0s d action #1 sent, awaited until 1s
          -> p/d d.action.1.0 in 1s: {"it":7}
        > d ok full
        0s d action #1 rejected: too_large, an effect may be left
        0s compensation began: d was rejected (too_large): the saga's payloads exceed 262144 bytes together
        0s d compensation #1 sent, awaited until 1s
          -> p/x d.compensation.1.0 in 1s: {"it":7} saga {"order":7}
        > d ok full
          refused: the operation was answered already
        = compensating
    "#,
    );
}
