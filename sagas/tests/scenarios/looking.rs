//! What people are shown while a saga goes on: E17, as far as the core knows it.

use crate::story::story;

#[test]
fn e17_a_saga_says_in_plain_words_what_it_waits_for() {
    story(
        r#"
        window 10s
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 5s800ms, window until 10s
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > look
          running, due at 1s; waits for stock to answer the action of reserve (attempt 1, sent 2025-11-23T12:00:00Z, awaited until 2025-11-23T12:00:01Z)
        > wait 1s
        1s reserve action #1 timed out
        1s reserve tried again at 1s100ms
        > look
          running, due at 1s100ms; waits for attempt 2 of the action of reserve at 2025-11-23T12:00:01.1Z
        > reserve#1 ok
        1s reserve action #1 succeeded: null
        1s pay action #1 sent, awaited until 2s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay rejected no_funds
        1s pay action #1 rejected: no_funds
        1s compensation began: pay was rejected (no_funds): sorry
        1s reserve compensation #1 sent, awaited until 2s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > look
          compensating, due at 2s; waits for stock to answer the compensation of reserve (attempt 1, sent 2025-11-23T12:00:01Z, awaited until 2025-11-23T12:00:02Z)
        > undo reserve rejected never
        1s reserve compensation #1 rejected: never
        1s blocked at reserve: compensation_rejected
        1s reserve tried again at 1s100ms
        > look
          blocked, due at 1s100ms; waits for attempt 2 of the compensation of reserve at 2025-11-23T12:00:01.1Z
        > undo reserve ok
        1s reserve compensation #1 succeeded
        1s unblocked at reserve
        1s ended: compensated
          => ended compensated
        > look
          compensated
        = compensated
    "#,
    );
}

#[test]
fn e17_a_saga_that_waits_for_long_is_looked_at_before_its_window_closes() {
    story(
        r#"
        window 10s
        ship: shop, pivot, timeout 9500ms

        0s started, forwards until 500ms, window until 10s
        0s ship action #1 sent, awaited until 9s500ms, the pivot
          -> shop/ship ship.action.1.0 in 9s500ms: {"order":7}
        > look
          running, due at 9s; waits for shop to answer the action of ship (attempt 1, sent 2025-11-23T12:00:00Z, awaited until 2025-11-23T12:00:09.5Z)
        > wait 9s
        9s window at risk
        > ship working
        9s ship is at it, awaited until 18s500ms
        > look
          running, due at 10s; waits for shop to answer the action of ship (attempt 1, sent 2025-11-23T12:00:00Z, awaited until 2025-11-23T12:00:18.5Z)
        > wait 1s
        10s window missed
        > look
          running, due at 18s500ms; waits for shop to answer the action of ship (attempt 1, sent 2025-11-23T12:00:00Z, awaited until 2025-11-23T12:00:18.5Z)
        = running
    "#,
    );
}
