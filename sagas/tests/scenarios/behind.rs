//! Branches behind the pivot, a pivot that is skipped, and one that is a sub-saga: E15.

use crate::story::story;

// E15: failure after the pivot.

#[test]
fn e15_branches_behind_the_pivot_block_and_go_on_each_for_itself() {
    story(
        r#"
        ship: shop, pivot, after -
        mail: letters, retriable, after ship
        bill: books, retriable, after ship
        end: books, retriable, after mail bill

        0s started, forwards until 57s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s mail action #1 sent, awaited until 1s
        0s bill action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
          -> books/bill bill.action.1.0 in 1s: {"order":7}
        > mail rejected closed
        0s mail action #1 failed: rejected (closed): sorry
        0s blocked at mail: retriable_fails
        0s mail tried again at 1s163ms
        > bill rejected closed
        0s bill action #1 failed: rejected (closed): sorry
        0s blocked at bill: retriable_fails
        0s bill tried again at 1s161ms
        > look
          blocked, due at 1s161ms; waits for attempt 2 of the action of mail at 2025-11-23T12:00:01.163Z; attempt 2 of the action of bill at 2025-11-23T12:00:01.161Z
        > bill ok
        0s bill action #1 succeeded: null
        0s unblocked at bill
        > mail ok
        0s mail action #1 succeeded: null
        0s unblocked at mail
        0s end action #1 sent, awaited until 1s
          -> books/end end.action.1.0 in 1s: {"order":7}
        > end ok
        0s end action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_where_the_pivot_is_skipped_the_first_step_behind_it_is_the_point_of_no_return() {
    story(
        r#"
        reserve: stock, undo release
        ship: shop, pivot, when input.order > 9
        look: shop, read
        bill: books, retriable

        0s started, forwards until 56s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship skipped
        0s look action #1 sent, awaited until 1s, the pivot
          -> shop/look look.action.1.0 in 1s: {"order":7}
        > look rejected gone
        0s look action #1 failed: rejected (gone): sorry
        0s blocked at look: retriable_fails
        0s look tried again at 1s61ms
        > cancel
          refused: the pivot was sent: the saga can only go forwards
        > look ok
        0s look action #1 succeeded: null
        0s unblocked at look
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
fn e15_behind_a_pivot_that_was_skipped_what_cannot_be_sent_is_found_before_there_is_no_way_back() {
    story(
        r#"
        reserve: stock, undo release
        ship: shop, pivot, when input.order > 9
        bill: books, retriable, needs input.address

        0s started, forwards until 56s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship skipped
        0s bill not sent: `input.address` names nothing in this saga
        0s compensation began: bill could not be sent (bad_mapping): `input.address` names nothing in this saga
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
fn e15_a_wait_behind_a_pivot_that_was_skipped_is_past_it() {
    story(
        r#"
        reserve: stock, undo release
        ship: shop, pivot, when input.order > 9
        pause: delay, timeout 2s
        bill: books, retriable

        0s started, forwards until 56s, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship skipped
        0s pause waits until 2s, past the pivot
        > cancel
          refused: the pivot was sent: the saga can only go forwards
        > wait 2s
        2s pause action #0 succeeded: null
        2s bill action #1 sent, awaited until 3s
          -> books/bill bill.action.1.0 in 1s: {"order":7}
        > bill ok
        2s bill action #1 succeeded: null
        2s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_a_sub_saga_that_is_the_pivot_is_told_of_the_end_and_never_undone() {
    story(
        r#"
        reserve: stock, undo release
        ship: saga shipment, timeout 10s, pivot
        mail: letters, retriable

        0s started, forwards until 47s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship action #1 sent, awaited until 10s, the pivot
          -> sub-saga shipment of ship to run within 10s
        > ship ok {"saga_id":"x","outputs":{}}
        0s ship action #1 succeeded: {"saga_id":"x","outputs":{}}
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > cancel
          refused: the pivot was sent: the saga can only go forwards
        > mail rejected closed
        0s mail action #1 failed: rejected (closed): sorry
        0s blocked at mail: retriable_fails
        0s mail tried again at 1s163ms
        > mail ok
        0s mail action #1 succeeded: null
        0s unblocked at mail
        0s ended: completed
          -> sub-saga shipment of ship to end
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_a_sub_saga_that_is_the_pivot_and_is_refused_undoes_what_was_before_it() {
    story(
        r#"
        reserve: stock, undo release
        ship: saga shipment, timeout 10s, pivot

        0s started, forwards until 47s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship action #1 sent, awaited until 10s, the pivot
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
fn e15_a_step_of_many_attempts_is_blocked_after_three_and_no_pause_is_longer_than_the_slow_lanes() {
    story(
        r#"
        window 10m
        ship: shop, pivot
        invoice: books, retriable, attempts 100, backoff 1h

        0s started, forwards until 9m58s, window until 10m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s invoice action #1 sent, awaited until 1s
          -> books/invoice invoice.action.1.0 in 1s: {"order":7}
        > invoice failed
        0s invoice action #1 failed: busy
        0s invoice tried again at 30s
        > wait 30s
        30s invoice action #2 sent, awaited until 31s
          -> books/invoice invoice.action.2.0 in 1s: {"order":7}
        > invoice failed after 1h
        30s invoice action #2 failed: busy
        30s invoice tried again at 1m
        > wait 30s
        1m invoice action #3 sent, awaited until 1m1s
          -> books/invoice invoice.action.3.0 in 1s: {"order":7}
        > invoice failed
        1m invoice action #3 failed: busy
        1m blocked at invoice: retriable_fails
        1m invoice tried again at 1m30s
        > wait 30s
        1m30s invoice action #4 sent, awaited until 1m31s
          -> books/invoice invoice.action.4.0 in 1s: {"order":7}
        > invoice ok
        1m30s invoice action #4 succeeded: null
        1m30s unblocked at invoice
        1m30s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_a_step_that_is_tried_for_a_minute_is_blocked_before_its_third_attempt() {
    story(
        r#"
        window 10m
        ship: shop, pivot
        invoice: books, retriable, timeout 70s, attempts 100

        0s started, forwards until 8m49s, window until 10m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s invoice action #1 sent, awaited until 1m10s
          -> books/invoice invoice.action.1.0 in 1m10s: {"order":7}
        > wait 71s
        1m10s invoice action #1 timed out
        1m10s blocked at invoice: retriable_fails
        1m10s invoice tried again at 1m10s100ms
        1m10s100ms invoice action #2 sent, awaited until 2m20s100ms
          -> books/invoice invoice.action.2.0 in 1m10s: {"order":7}
        > invoice ok
        1m11s invoice action #2 succeeded: null
        1m11s unblocked at invoice
        1m11s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e09_a_pivot_of_which_a_part_is_left_is_blocked_whatever_word_its_participant_has_for_it() {
    story(
        r#"
        ship: shop, pivot
        invoice: books, retriable

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship rejected too_large partial
        0s ship action #1 failed: rejected with an effect that may be left (too_large): sorry
        0s blocked at ship: unknown
        0s ship tried again at 1s123ms
        > wait 2s
        1s123ms ship action #2 sent, awaited until 2s123ms
          -> shop/ship ship.action.2.0 in 1s: {"order":7}
        > ship ok
        2s ship action #2 succeeded: null
        2s unblocked at ship
        2s invoice action #1 sent, awaited until 3s
          -> books/invoice invoice.action.1.0 in 1s: {"order":7}
        = running
    "#,
    );
}
