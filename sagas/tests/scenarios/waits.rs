//! Delays and signals: E19.

use crate::story::story;

#[test]
fn a_delay_waits_its_time_and_sends_nothing() {
    story(
        r#"
        pause: delay, timeout 5s
        pay: payments, undo refund

        0s started, forwards until 57s900ms, window until 1m
        0s pause waits until 5s
        > look
          running, due at 5s; waits for the clock at pause (since 2025-11-23T12:00:00Z, until 2025-11-23T12:00:05Z)
        > wait 5s
        5s pause action #0 succeeded: null
        5s pay action #1 sent, awaited until 6s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay ok
        5s pay action #1 succeeded: null
        5s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn a_signal_is_waited_for_and_its_payload_is_the_output() {
    story(
        r#"
        paid: signal, timeout 20s
        ship: shop, undo return, needs steps.paid.output.sum

        0s started, forwards until 57s900ms, window until 1m
        0s paid waits until 20s
        > signal paid s1 {"sum":3}
        0s signal paid came (s1): {"sum":3}
        0s paid took the signal s1
        0s paid action #0 succeeded: {"sum":3}
        0s ship action #1 sent, awaited until 1s
          -> shop/ship ship.action.1.0 in 1s: {"it":3}
        > ship ok
        0s ship action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e05_a_signals_key_stands_for_that_signal_and_no_other() {
    story(
        r#"
        paid: signal, timeout 20s
        sent: signal, timeout 20s

        0s started, forwards until 1m, window until 1m
        0s paid waits until 20s
        > signal paid s1 {"sum":3}
        0s signal paid came (s1): {"sum":3}
        0s paid took the signal s1
        0s paid action #0 succeeded: {"sum":3}
        0s sent waits until 20s
        > signal paid s1 {"sum":3}
          nothing changes
        > signal paid s1 {"sum":4}
          refused: the idempotency key was used for another signal
        > signal sent s1 {"sum":3}
          refused: the idempotency key was used for another signal
        > signal sent s2
        0s signal sent came (s2): null
        0s sent took the signal s2
        0s sent action #0 succeeded: null
        0s ended: completed
          => ended completed
        > signal paid s1 {"sum":3}
          nothing changes
        > signal paid s3
          refused: the saga has ended
        = completed
    "#,
    );
}

#[test]
fn a_signal_that_comes_before_its_step_is_kept_for_it() {
    story(
        r#"
        reserve: stock, undo release
        paid: signal, timeout 20s
        ship: shop, undo return, needs steps.paid.output

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > signal paid s1 3
        0s signal paid came (s1): 3
        > reserve ok
        0s reserve action #1 succeeded: null
        0s paid waits until 20s
        0s paid took the signal s1
        0s paid action #0 succeeded: 3
        0s ship action #1 sent, awaited until 1s
          -> shop/ship ship.action.1.0 in 1s: {"it":3}
        > ship ok
        0s ship action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn the_same_signal_twice_counts_once_and_another_one_is_not_waited_for() {
    story(
        r#"
        reserve: stock, undo release
        paid: signal, timeout 20s

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > signal paid s1 3
        0s signal paid came (s1): 3
        > signal paid s1 3
          nothing changes
        > signal paid s2 4
          refused: no step waits for it
        > reserve ok
        0s reserve action #1 succeeded: null
        0s paid waits until 20s
        0s paid took the signal s1
        0s paid action #0 succeeded: 3
        0s ended: completed
          => ended completed
        > signal paid s1 3
          nothing changes
        > signal paid s3 5
          refused: the saga has ended
        = completed
    "#,
    );
}

#[test]
fn a_signal_that_no_step_waits_for_is_refused() {
    story(
        r#"
        reserve: stock, undo release
        paid: signal, timeout 20s, when input.order > 9
        ship: shop, undo return

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > signal sent s1
          refused: no step waits for it
        > reserve ok
        0s reserve action #1 succeeded: null
        0s paid skipped
        0s ship action #1 sent, awaited until 1s
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > signal paid s1
          refused: no step waits for it
        = running
    "#,
    );
}

#[test]
fn a_signal_that_does_not_come_in_time_fails_its_step() {
    story(
        r#"
        reserve: stock, undo release
        paid: signal, timeout 20s

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s paid waits until 20s
        > wait 20s
        20s paid action #0 rejected: signal_timed_out
        20s compensation began: paid was rejected (signal_timed_out): the signal paid did not come within 20s
        20s reserve compensation #1 sent, awaited until 21s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > signal paid s1
          refused: no step waits for it
        > undo reserve ok
        20s reserve compensation #1 succeeded
        20s ended: compensated
          => ended compensated
        > signal paid s1
          refused: the saga has ended
        = compensated
    "#,
    );
}

#[test]
fn a_signal_that_does_not_come_in_time_may_have_a_default() {
    story(
        r#"
        paid: signal?, timeout 20s
        ship: shop, undo return, needs steps.paid.output

        0s started, forwards until 57s900ms, window until 1m
        0s paid waits until 20s
        > wait 20s
        20s paid action #0 succeeded: "none"
        20s ship action #1 sent, awaited until 21s
          -> shop/ship ship.action.1.0 in 1s: {"it":"none"}
        > signal paid s1
          refused: no step waits for it
        > ship ok
        20s ship action #1 succeeded: null
        20s ended: completed
          => ended completed
        = completed
    "#,
    );
}

// E19: too large.

#[test]
fn e19_a_signal_for_which_a_saga_has_no_room_is_refused() {
    story(
        r#"
        a: p, undo x
        b: p, undo x
        c: p, undo x
        d: p, undo x
        paid: signal, timeout 20s

        0s started, forwards until 51s600ms, window until 1m
        0s a action #1 sent, awaited until 1s
          -> p/a a.action.1.0 in 1s: {"order":7}
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
          -> p/d d.action.1.0 in 1s: {"order":7}
        > d ok 65500 bytes
        0s d action #1 succeeded: (65500 bytes)
        0s paid waits until 20s
        > signal paid s1 "0123456789012345678901234567890123456789"
          refused: the saga's payloads would be too large together
        > signal paid s1 1
        0s signal paid came (s1): 1
        0s paid took the signal s1
        0s paid action #0 succeeded: 1
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}
