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

#[test]
fn e17_each_step_says_how_far_it_is_and_what_went_wrong_last() {
    story(
        r#"
        reserve: stock, undo release
        quote: prices, read, attempts 1
        pay: payments, undo refund
        mail: letters, undo none, needs steps.pay.output.id

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > steps
          reserve acting
        > reserve failed
        0s reserve action #1 failed: busy
        0s reserve tried again at 100ms
        > wait 1100ms
        100ms reserve action #2 sent, awaited until 1s100ms
          -> stock/reserve reserve.action.2.0 in 1s: {"order":7}
        1s100ms reserve action #2 timed out
        1s100ms reserve given up, in doubt
        1s100ms compensation began: reserve was not answered on its last attempt
        1s100ms reserve compensation #1 sent, awaited until 2s100ms
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > steps
          reserve undoing (timed_out: no answer came in time)
        > reserve ok {"hold":1}
        1s100ms reserve #2 succeeded late, neutralised
        > steps
          reserve undoing (timed_out: no answer came in time)
        > undo reserve failed
        1s100ms reserve compensation #1 failed: busy
        1s100ms reserve tried again at 1s200ms
        > steps
          reserve undoing (failed: busy)
        > undo reserve ok
        1s100ms reserve compensation #1 succeeded
        1s100ms ended: compensated
          => ended compensated
        > steps
          reserve undone (failed: busy)
        = compensated
    "#,
    );
}

#[test]
fn e17_a_step_that_was_not_sent_says_why_and_one_without_effect_stays_not_done() {
    story(
        r#"
        quote: prices, read
        mail: letters, undo none, needs steps.quote.output.address

        0s started, forwards until 1m, window until 1m
        0s quote action #1 sent, awaited until 1s
          -> prices/quote quote.action.1.0 in 1s: {"order":7}
        > quote ok {}
        0s quote action #1 succeeded: {}
        0s mail not sent: `steps.quote.output.address` names nothing in this saga
        0s compensation began: mail could not be sent (bad_mapping): `steps.quote.output.address` names nothing in this saga
        0s ended: compensated
          => ended compensated
        > steps
          quote done
          mail not_done (bad_mapping: `steps.quote.output.address` names nothing in this saga)
        = compensated
    "#,
    );
    story(
        r#"
        mail: letters, undo none

        0s started, forwards until 1m, window until 1m
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"order":7}
        > mail rejected no_address
        0s mail action #1 rejected: no_address
        0s compensation began: mail was rejected (no_address): sorry
        0s ended: compensated
          => ended compensated
        > mail ok
        0s mail #1 succeeded late, neutralised
        > steps
          mail not_done (no_address: sorry)
        = compensated
    "#,
    );
}

#[test]
fn e17_what_is_known_to_be_there_waits_in_doubt_for_its_undo() {
    story(
        r#"
        reserve: stock, undo release
        ship: shop, undo recall

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship action #1 sent, awaited until 1s
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship rejected closed
        0s ship action #1 rejected: closed
        0s compensation began: ship was rejected (closed): sorry
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > ship ok
        0s ship #1 succeeded late, neutralised
        > steps
          reserve undoing
          ship in_doubt (closed: sorry)
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ship compensation #1 sent, awaited until 1s
          -> shop/recall ship.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > steps
          reserve undone
          ship undoing (closed: sorry)
        = compensating
    "#,
    );
}
