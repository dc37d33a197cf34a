//! One step for each item of a list: E06, E15, E16, E19.

use crate::story::story;

#[test]
fn items_are_worked_on_so_many_at_once_and_their_outputs_are_a_list_in_their_order() {
    story(
        r#"
        input {"rows":["a","b","c"]}
        load: store, undo drop, each 2 of input.rows
        mail: letters, undo none, needs steps.load.output

        0s started, forwards until 55s800ms, window until 1m
        0s load works on ["a","b","c"]
        0s load:0 action #1 sent, awaited until 1s
        0s load:1 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: "a"
          -> store/load load:1.action.1.0 in 1s: "b"
        > load:1 ok 11
        0s load:1 action #1 succeeded: 11
        0s load:2 action #1 sent, awaited until 1s
          -> store/load load:2.action.1.0 in 1s: "c"
        > load:2 ok 12
        0s load:2 action #1 succeeded: 12
        > load:0 ok 10
        0s load:0 action #1 succeeded: 10
        0s load action #0 succeeded
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"it":[10,11,12]}
        > steps
          load done
          load:0 done
          load:1 done
          load:2 done
          mail acting
        > mail ok
        0s mail action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn an_empty_list_is_done_at_once_and_its_output_is_an_empty_list() {
    story(
        r#"
        input {"rows":[]}
        load: store, undo drop, each 2 of input.rows
        mail: letters, undo none, needs steps.load.output

        0s started, forwards until 55s800ms, window until 1m
        0s load works on []
        0s load action #0 succeeded
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"it":[]}
        > mail ok
        0s mail action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn an_item_has_a_name_and_a_number_in_expressions() {
    story(
        r#"
        input {"rows":[{"id":"a"},{"id":"b"}]}
        load: store, undo drop, each 1 of input.rows, needs item.id + "/" + string(index)

        0s started, forwards until 51s600ms, window until 1m
        0s load works on [{"id":"a"},{"id":"b"}]
        0s load:0 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: {"it":"a/0"}
        > load:0 ok
        0s load:0 action #1 succeeded: null
        0s load:1 action #1 sent, awaited until 1s
          -> store/load load:1.action.1.0 in 1s: {"it":"b/1"}
        = running
    "#,
    );
}

#[test]
fn an_item_that_failed_is_tried_again_by_itself() {
    story(
        r#"
        input {"rows":["a","b"]}
        load: store, undo drop, each 2 of input.rows

        0s started, forwards until 55s800ms, window until 1m
        0s load works on ["a","b"]
        0s load:0 action #1 sent, awaited until 1s
        0s load:1 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: "a"
          -> store/load load:1.action.1.0 in 1s: "b"
        > load:1 failed
        0s load:1 action #1 failed: busy
        0s load:1 tried again at 100ms
        > load:0 ok
        0s load:0 action #1 succeeded: null
        > wait 100ms
        100ms load:1 action #2 sent, awaited until 1s100ms
          -> store/load load:1.action.2.0 in 1s: "b"
        > load:1 ok
        100ms load:1 action #2 succeeded: null
        100ms load action #0 succeeded
        100ms ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn what_is_no_list_stops_the_saga() {
    story(
        r#"
        input {"rows":7}
        load: store, undo drop, each 2 of input.rows

        0s started, forwards until 55s800ms, window until 1m
        0s load not sent: the items of load are no list
        0s compensation began: load could not be sent (bad_mapping): the items of load are no list
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E06: the forward budget.

#[test]
fn e06_no_item_is_begun_after_the_forward_deadline() {
    story(
        r#"
        input {"rows":["a","b"]}
        window 30s
        load: store, undo drop, each 1 of input.rows

        0s started, forwards until 21s600ms, window until 30s
        0s load works on ["a","b"]
        0s load:0 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: "a"
        > sleep 25s
        > load:0 ok
        25s load:0 action #1 succeeded: null
        25s load given up, not done
        25s compensation began: the time for going forwards ran out at load:1
        25s load:0 compensation #1 sent, awaited until 26s
          -> store/drop load:0.compensation.1.0 in 1s: "a" result null saga {"rows":["a","b"]}
        > undo load:0 ok
        25s load:0 compensation #1 succeeded
        25s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E15: behind the pivot.

#[test]
fn e15_an_item_behind_the_pivot_is_tried_until_it_is_done() {
    story(
        r#"
        input {"rows":["a","b"]}
        ship: shop, pivot
        mail: letters, retriable, each 2 of input.rows

        0s started, forwards until 57s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"rows":["a","b"]}
        > ship ok
        0s ship action #1 succeeded: null
        0s mail works on ["a","b"]
        0s mail:0 action #1 sent, awaited until 1s
        0s mail:1 action #1 sent, awaited until 1s
          -> letters/mail mail:0.action.1.0 in 1s: "a"
          -> letters/mail mail:1.action.1.0 in 1s: "b"
        > mail:0 rejected closed
        0s mail:0 action #1 failed: rejected (closed): sorry
        0s blocked at mail:0: retriable_fails
        0s mail:0 tried again at 1s164ms
        > mail:1 ok
        0s mail:1 action #1 succeeded: null
        > look
          blocked, due at 1s164ms; waits for attempt 2 of the action of mail:0 at 2025-11-23T12:00:01.164Z
        > wait 1s
        > mail:0 ok
        1s mail:0 action #1 succeeded: null
        1s unblocked at mail:0
        1s mail action #0 succeeded
        1s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e15_a_list_behind_the_pivot_that_is_too_long_is_found_before_it() {
    story(
        r#"
        input {"rows":[1,2,3,4,5]}
        ship: shop, pivot
        mail: letters, retriable, each 2 of input.rows

        0s started, forwards until 57s, window until 1m
        0s mail not sent: mail has 5 items, at most 4
        0s compensation began: mail could not be sent (too_many_items): mail has 5 items, at most 4
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E16: a crash between commit and publish.

#[test]
fn e16_the_items_in_flight_are_sent_again() {
    story(
        r#"
        input {"rows":["a","b","c"]}
        load: store, undo drop, each 2 of input.rows

        0s started, forwards until 55s800ms, window until 1m
        0s load works on ["a","b","c"]
        0s load:0 action #1 sent, awaited until 1s
        0s load:1 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: "a"
          -> store/load load:1.action.1.0 in 1s: "b"
        > load:0 ok
        0s load:0 action #1 succeeded: null
        0s load:2 action #1 sent, awaited until 1s
          -> store/load load:2.action.1.0 in 1s: "c"
        > repeat
          -> store/load load:1.action.1.0 in 1s: "b"
          -> store/load load:2.action.1.0 in 1s: "c"
        > resend
        0s load:1 sent again
        0s load:2 sent again
          -> store/load load:1.action.1.1 in 1s: "b"
          -> store/load load:2.action.1.1 in 1s: "c"
        = running
    "#,
    );
}

// E19: too large.

#[test]
fn e19_a_list_that_is_too_long_is_not_worked_on() {
    story(
        r#"
        input {"rows":[1,2,3,4,5]}
        open: store, undo close
        load: store, undo drop, each 2 of input.rows

        0s started, forwards until 53s700ms, window until 1m
        0s open action #1 sent, awaited until 1s
          -> store/open open.action.1.0 in 1s: {"rows":[1,2,3,4,5]}
        > open ok
        0s open action #1 succeeded: null
        0s load not sent: load has 5 items, at most 4
        0s compensation began: load could not be sent (too_many_items): load has 5 items, at most 4
        0s open compensation #1 sent, awaited until 1s
          -> store/close open.compensation.1.0 in 1s: {"rows":[1,2,3,4,5]} result null saga {"rows":[1,2,3,4,5]}
        > undo open ok
        0s open compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e19_the_outputs_of_items_count_together() {
    story(
        r#"
        input {"rows":["a","b","c","d"]}
        load: store, undo drop, each 1 of input.rows

        0s started, forwards until 51s600ms, window until 1m
        0s load works on ["a","b","c","d"]
        0s load:0 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: "a"
        > load:0 ok full
        0s load:0 action #1 succeeded: (65536 bytes)
        0s load:1 action #1 sent, awaited until 1s
          -> store/load load:1.action.1.0 in 1s: "b"
        > load:1 ok full
        0s load:1 action #1 succeeded: (65536 bytes)
        0s load:2 action #1 sent, awaited until 1s
          -> store/load load:2.action.1.0 in 1s: "c"
        > load:2 ok full
        0s load:2 action #1 succeeded: (65536 bytes)
        0s load:3 action #1 sent, awaited until 1s
          -> store/load load:3.action.1.0 in 1s: "d"
        > load:3 ok full
        0s load:3 action #1 rejected: too_large, an effect may be left
        0s load given up, not done
        0s compensation began: load:3 was rejected (too_large): the saga's payloads exceed 262144 bytes together
        0s load:3 compensation #1 sent, awaited until 1s
          -> store/drop load:3.compensation.1.0 in 1s: "d" saga {"rows":["a","b","c","d"]}
        > undo load:3 ok
        0s load:3 compensation #1 succeeded
        0s load:2 compensation #1 sent, awaited until 1s
          -> store/drop load:2.compensation.1.0 in 1s: "c" result (65536 bytes) saga {"rows":["a","b","c","d"]}
        > undo load:2 ok
        0s load:2 compensation #1 succeeded
        0s load:1 compensation #1 sent, awaited until 1s
          -> store/drop load:1.compensation.1.0 in 1s: "b" result (65536 bytes) saga {"rows":["a","b","c","d"]}
        > undo load:1 ok
        0s load:1 compensation #1 succeeded
        0s load:0 compensation #1 sent, awaited until 1s
          -> store/drop load:0.compensation.1.0 in 1s: "a" result (65536 bytes) saga {"rows":["a","b","c","d"]}
        > undo load:0 ok
        0s load:0 compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}
