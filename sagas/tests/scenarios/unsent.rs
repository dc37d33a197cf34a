//! Requests that cannot be made: E15, E19.

use crate::story::story;

#[test]
fn e15_what_an_items_request_misses_behind_the_pivot_is_found_before_it() {
    story(
        r#"
        input {"rows":[{"to":"ann"},{}]}
        ship: shop, pivot
        mail: letters, retriable, each 2 of input.rows, needs item.to

        0s started, forwards until 57s, window until 1m
        0s mail not sent: item 1: `item.to` names nothing in this saga
        0s compensation began: mail could not be sent (bad_mapping): item 1: `item.to` names nothing in this saga
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e15_what_an_items_request_misses_behind_a_pivot_that_was_skipped_is_found_before_its_first_item() {
    story(
        r#"
        input {"rows":[{"to":"ann"},{}],"pay":false}
        reserve: stock, undo release
        ship: shop, pivot, when input.pay
        mail: letters, retriable, each 1 of input.rows, needs item.to

        0s started, forwards until 55s, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"rows":[{"to":"ann"},{}],"pay":false}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship skipped
        0s mail not sent: item 1: `item.to` names nothing in this saga
        0s compensation began: mail could not be sent (bad_mapping): item 1: `item.to` names nothing in this saga
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"rows":[{"to":"ann"},{}],"pay":false} result null saga {"rows":[{"to":"ann"},{}],"pay":false}
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e15_the_output_of_a_step_that_was_skipped_is_missed_before_the_pivot() {
    story(
        r#"
        input {"car":false}
        car: cars, undo return, when input.car
        ship: shop, pivot
        invoice: books, retriable, needs steps.car.output.id

        0s started, forwards until 56s900ms, window until 1m
        0s car skipped
        0s invoice not sent: `steps.car.output.id` names nothing in this saga
        0s compensation began: invoice could not be sent (bad_mapping): `steps.car.output.id` names nothing in this saga
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e15_the_output_of_a_step_that_was_skipped_is_missed_beside_what_is_still_to_come() {
    story(
        r#"
        input {"car":false}
        car: cars, undo return, when input.car
        ship: shop, pivot
        invoice: books, retriable, needs [steps.ship.output.id,steps.car.output.id]

        0s started, forwards until 56s900ms, window until 1m
        0s car skipped
        0s invoice not sent: `steps.car.output` names nothing in this saga (in `[steps.ship.output.id,steps.car.output.id]`)
        0s compensation began: invoice could not be sent (bad_mapping): `steps.car.output` names nothing in this saga (in `[steps.ship.output.id,steps.car.output.id]`)
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e15_who_asks_whether_a_step_was_skipped_misses_nothing() {
    story(
        r#"
        input {"car":false}
        car: cars, undo return, when input.car
        ship: shop, pivot
        invoice: books, retriable, needs has(steps.car.output) ? steps.car.output.id : steps.ship.output.id

        0s started, forwards until 56s900ms, window until 1m
        0s car skipped
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"car":false}
        > ship ok {"id":7}
        0s ship action #1 succeeded: {"id":7}
        0s invoice action #1 sent, awaited until 1s
          -> books/invoice invoice.action.1.0 in 1s: {"it":7}
        > invoice ok
        0s invoice action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_what_is_certainly_not_wanted_behind_the_pivot_misses_nothing() {
    story(
        r#"
        input {"car":false}
        ship: shop, pivot
        invoice: books, retriable, when steps.ship.output.ok && input.car, needs input.nowhere

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"car":false}
        > ship ok {"ok":true}
        0s ship action #1 succeeded: {"ok":true}
        0s invoice skipped
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_a_condition_that_certainly_fails_behind_the_pivot_is_found_before_it() {
    story(
        r"
        ship: shop, pivot
        invoice: books, retriable, when steps.ship.output.n + input.nowhere == 1

        0s started, forwards until 58s, window until 1m
        0s invoice not sent: `input.nowhere` names nothing in this saga (in `steps.ship.output.n + input.nowhere == 1`)
        0s compensation began: invoice could not be sent (bad_condition): `input.nowhere` names nothing in this saga (in `steps.ship.output.n + input.nowhere == 1`)
        0s ended: compensated
          => ended compensated
        = compensated
    ",
    );
}

#[test]
fn e19_a_request_behind_the_pivot_that_is_too_large_is_found_before_it() {
    story(
        r"
        ship: shop, pivot
        invoice: books, retriable, says 70000 bytes

        0s started, forwards until 58s, window until 1m
        0s invoice not sent: the request has more than 65536 bytes
        0s compensation began: invoice could not be sent (too_large): the request has more than 65536 bytes
        0s ended: compensated
          => ended compensated
        = compensated
    ",
    );
}

#[test]
fn e19_a_request_that_is_too_large_whatever_is_still_to_come_is_found_before_the_pivot() {
    story(
        r"
        ship: shop, pivot
        invoice: books, retriable, needs steps.ship.output, says 70000 bytes

        0s started, forwards until 58s, window until 1m
        0s invoice not sent: the request has more than 65536 bytes
        0s compensation began: invoice could not be sent (too_large): the request has more than 65536 bytes
        0s ended: compensated
          => ended compensated
        = compensated
    ",
    );
}

#[test]
fn e19_an_items_request_that_is_too_large_is_found_before_the_pivot() {
    story(
        r#"
        input {"rows":["a"]}
        ship: shop, pivot
        mail: letters, retriable, each 2 of input.rows, needs item, says 65536 bytes

        0s started, forwards until 57s, window until 1m
        0s mail not sent: item 0: the request has more than 65536 bytes
        0s compensation began: mail could not be sent (too_large): item 0: the request has more than 65536 bytes
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e19_behind_the_pivot_a_request_is_sent_though_the_saga_has_much_already() {
    story(
        r#"
        a: p, undo x
        b: p, undo x
        c: p, undo x
        d: p, undo x
        ship: shop, pivot
        invoice: books, retriable, needs steps.a.output

        0s started, forwards until 50s600ms, window until 1m
        0s a action #1 sent, awaited until 1s
          -> p/a a.action.1.0 in 1s: {"order":7}
        > a ok 65000 bytes
        0s a action #1 succeeded: (65000 bytes)
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
        > d ok 60000 bytes
        0s d action #1 succeeded: (60000 bytes)
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s invoice action #1 sent, awaited until 1s
          -> books/invoice invoice.action.1.0 in 1s: (65007 bytes)
        > invoice ok
        0s invoice action #1 succeeded
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_what_is_missing_only_behind_the_pivot_blocks_and_nothing_is_sent() {
    story(
        r#"
        ship: shop, pivot
        invoice: books, retriable, needs steps.ship.output.parcel

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s invoice not sent: `steps.ship.output.parcel` names nothing in this saga, made anew at 34s999ms
        0s blocked at invoice: retriable_fails
        > look
          blocked, due at 34s999ms; waits for attempt 1 of the action of invoice at 2025-11-23T12:00:34.999Z
        > invoice ok
          refused: no such command was sent
        > wait 1m
        34s999ms invoice tried again at 1m9s998ms
        54s window at risk
        1m window missed
        > resend
          nothing changes
        > repeat
          nothing is pending
        > steps
          ship done
          invoice acting (bad_mapping: `steps.ship.output.parcel` names nothing in this saga)
        = blocked
    "#,
    );
}

#[test]
fn e15_a_request_that_could_not_be_made_is_made_anew() {
    story(
        r#"
        ship: shop, pivot
        invoice: books, retriable, needs steps.ship.output.parcel

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s invoice not sent: `steps.ship.output.parcel` names nothing in this saga, made anew at 34s999ms
        0s blocked at invoice: retriable_fails
        > mend invoice
        > wait 35s
        34s999ms invoice action #1 sent, awaited until 35s999ms
          -> books/invoice invoice.action.1.0 in 1s: {"order":7}
        > invoice failed
        35s invoice action #1 failed: busy
        35s invoice tried again at 35s100ms
        > invoice rejected closed
          refused: a later attempt is under way
        > wait 2s
        35s100ms invoice action #2 sent, awaited until 36s100ms
          -> books/invoice invoice.action.2.0 in 1s: {"order":7}
        36s100ms invoice action #2 timed out
        36s100ms invoice tried again at 37s206ms
        > invoice ok
        37s invoice action #2 succeeded: null
        37s unblocked at invoice
        37s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_an_item_whose_request_cannot_be_made_behind_the_pivot_holds_up_no_other() {
    story(
        r#"
        input {"rows":[{"to":"a"},{"to":"b"},{"to":"a"}]}
        window 5m
        ship: shop, pivot
        mail: letters, retriable, each 2 of input.rows, needs steps.ship.output[item.to]

        0s started, forwards until 4m57s, window until 5m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"rows":[{"to":"a"},{"to":"b"},{"to":"a"}]}
        > ship ok {"a":1}
        0s ship action #1 succeeded: {"a":1}
        0s mail works on [{"to":"a"},{"to":"b"},{"to":"a"}]
        0s mail:0 action #1 sent, awaited until 1s
        0s mail:1 not sent: `steps.ship.output[item.to]` names nothing in this saga, made anew at 26s377ms
        0s blocked at mail:1: retriable_fails
          -> letters/mail mail:0.action.1.0 in 1s: {"it":1}
        > mail:0 ok
        0s mail:0 action #1 succeeded: null
        0s mail:2 action #1 sent, awaited until 1s
          -> letters/mail mail:2.action.1.0 in 1s: {"it":1}
        > mail:2 ok
        0s mail:2 action #1 succeeded: null
        > mend mail
        > wait 27s
        26s377ms mail:1 action #1 sent, awaited until 27s377ms
          -> letters/mail mail:1.action.1.0 in 1s: {"to":"b"}
        > mail:1 ok
        27s mail:1 action #1 succeeded: null
        27s unblocked at mail:1
        27s mail action #0 succeeded
        27s ended: completed
          => ended completed
        > mail:2 ok
          refused: the operation was answered already
        = completed
    "#,
    );
}

#[test]
fn e19_a_signals_payload_counts_once() {
    story(
        r#"
        a: p, undo x
        b: p, undo x
        c: p, undo x
        paid: signal, timeout 10s
        d: p, undo x, needs input.order

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
        0s paid waits until 10s
        > signal paid s1 "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
        0s signal paid came (s1): (202 bytes)
        0s paid took the signal s1
        0s paid action #0 succeeded: (202 bytes)
        0s d action #1 sent, awaited until 1s
          -> p/d d.action.1.0 in 1s: {"it":7}
        > d ok
        0s d action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}
