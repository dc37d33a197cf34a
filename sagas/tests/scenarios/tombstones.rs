//! The undo came before its action: E08.

use crate::story::story;

#[test]
fn e08_tombstoned_means_that_compensation_began() {
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
        > pay tombstoned
        0s pay is tombstoned
        0s compensation began: pay was compensated at its participant already
        0s pay compensation #1 sent, awaited until 1s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > pay tombstoned
          refused: a later attempt is under way
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
fn e08_a_tombstone_without_an_undo_means_not_done() {
    story(
        r#"
        reserve: stock, undo release
        mail: letters, undo none

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > mail tombstoned
        0s mail is tombstoned
        0s mail given up, not done
        0s compensation began: mail was compensated at its participant already
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
fn e08_a_tombstone_after_the_pivot_is_a_broken_contract_and_undoes_nothing() {
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
        > invoice tombstoned
        0s invoice action #1 failed: tombstoned
        0s blocked at invoice: retriable_fails
        0s invoice tried again at 934ms
        > invoice tombstoned
          refused: a later attempt is under way
        > wait 2s
        934ms invoice action #2 sent, awaited until 1s934ms
          -> books/invoice invoice.action.2.0 in 1s: {"order":7}
        1s934ms invoice action #2 timed out
        1s934ms invoice tried again at 3s40ms
        > invoice ok
        2s invoice action #2 succeeded: null
        2s unblocked at invoice
        2s ended: completed
          => ended completed
        = completed
    "#,
    );
}
