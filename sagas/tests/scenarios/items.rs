//! Items of a list beside each other, and undone: E02, E03, E04, E07, E12, E13.

use crate::story::story;

// E02: undoing items.

#[test]
fn e02_items_are_undone_in_reverse_so_many_at_once() {
    story(
        r#"
        input {"rows":["a","b","c"]}
        load: store, undo drop, each 2 of input.rows
        mail: letters, undo none

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
        > load:1 ok
        0s load:1 action #1 succeeded: null
        > load:2 ok
        0s load:2 action #1 succeeded: null
        0s load action #0 succeeded
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"rows":["a","b","c"]}
        > mail rejected closed
        0s mail action #1 rejected: closed
        0s compensation began: mail was rejected (closed): sorry
        0s load:2 compensation #1 sent, awaited until 1s
        0s load:1 compensation #1 sent, awaited until 1s
          -> store/drop load:2.compensation.1.0 in 1s: "c" result null saga {"rows":["a","b","c"]}
          -> store/drop load:1.compensation.1.0 in 1s: "b" result null saga {"rows":["a","b","c"]}
        > undo load:1 ok
        0s load:1 compensation #1 succeeded
        0s load:0 compensation #1 sent, awaited until 1s
          -> store/drop load:0.compensation.1.0 in 1s: "a" result null saga {"rows":["a","b","c"]}
        > undo load:2 ok
        0s load:2 compensation #1 succeeded
        > undo load:0 ok
        0s load:0 compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e02_one_item_whose_undo_is_stuck_does_not_hold_up_the_others() {
    story(
        r#"
        input {"rows":["a","b","c"]}
        load: store, undo drop, each 2 of input.rows
        mail: letters, undo none

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
        > load:1 ok
        0s load:1 action #1 succeeded: null
        > load:2 ok
        0s load:2 action #1 succeeded: null
        0s load action #0 succeeded
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: {"rows":["a","b","c"]}
        > mail rejected closed
        0s mail action #1 rejected: closed
        0s compensation began: mail was rejected (closed): sorry
        0s load:2 compensation #1 sent, awaited until 1s
        0s load:1 compensation #1 sent, awaited until 1s
          -> store/drop load:2.compensation.1.0 in 1s: "c" result null saga {"rows":["a","b","c"]}
          -> store/drop load:1.compensation.1.0 in 1s: "b" result null saga {"rows":["a","b","c"]}
        > undo load:2 rejected never
        0s load:2 compensation #1 rejected: never
        0s blocked at load:2: compensation_rejected
        0s load:2 tried again at 100ms
        > undo load:1 ok
        0s load:1 compensation #1 succeeded
        0s load:0 compensation #1 sent, awaited until 1s
          -> store/drop load:0.compensation.1.0 in 1s: "a" result null saga {"rows":["a","b","c"]}
        > undo load:0 ok
        0s load:0 compensation #1 succeeded
        > look
          blocked, due at 100ms; waits for attempt 2 of the compensation of load:2 at 2025-11-23T12:00:00.1Z
        > undo load:2 ok
        0s load:2 compensation #1 succeeded
        0s unblocked at load:2
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e02_what_the_list_needed_is_undone_after_its_last_item() {
    story(
        r#"
        input {"rows":["a","b"]}
        open: store, undo close
        load: store, undo drop, each 2 of input.rows

        0s started, forwards until 53s700ms, window until 1m
        0s open action #1 sent, awaited until 1s
          -> store/open open.action.1.0 in 1s: {"rows":["a","b"]}
        > open ok
        0s open action #1 succeeded: null
        0s load works on ["a","b"]
        0s load:0 action #1 sent, awaited until 1s
        0s load:1 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: "a"
          -> store/load load:1.action.1.0 in 1s: "b"
        > load:0 ok
        0s load:0 action #1 succeeded: null
        > load:1 rejected bad
        0s load:1 action #1 rejected: bad
        0s load given up, not done
        0s compensation began: load:1 was rejected (bad): sorry
        0s load:0 compensation #1 sent, awaited until 1s
          -> store/drop load:0.compensation.1.0 in 1s: "a" result null saga {"rows":["a","b"]}
        > undo load:0 ok
        0s load:0 compensation #1 succeeded
        0s open compensation #1 sent, awaited until 1s
          -> store/close open.compensation.1.0 in 1s: {"rows":["a","b"]} result null saga {"rows":["a","b"]}
        > undo open ok
        0s open compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E03: cancelling.

#[test]
fn e03_a_cancellation_begins_no_further_item() {
    story(
        r#"
        input {"rows":["a","b","c"]}
        load: store, undo drop, each 1 of input.rows

        0s started, forwards until 51s600ms, window until 1m
        0s load works on ["a","b","c"]
        0s load:0 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: "a"
        > load:0 ok
        0s load:0 action #1 succeeded: null
        0s load:1 action #1 sent, awaited until 1s
          -> store/load load:1.action.1.0 in 1s: "b"
        > cancel
        0s cancel requested by ann: a typo
        > load:1 ok
        0s load:1 action #1 succeeded: null
        0s load given up, not done
        0s compensation began: cancelled by ann: a typo
        0s load:1 compensation #1 sent, awaited until 1s
          -> store/drop load:1.compensation.1.0 in 1s: "b" result null saga {"rows":["a","b","c"]}
        > undo load:1 ok
        0s load:1 compensation #1 succeeded
        0s load:0 compensation #1 sent, awaited until 1s
          -> store/drop load:0.compensation.1.0 in 1s: "a" result null saga {"rows":["a","b","c"]}
        > undo load:0 ok
        0s load:0 compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E04: a late success.

#[test]
fn e04_a_late_success_of_one_item_is_a_fact_of_that_item() {
    story(
        r#"
        input {"rows":["a","b"]}
        race
        load: store, undo drop, each 2 of input.rows

        0s started, forwards until 55s800ms, window until 1m
        0s load works on ["a","b"]
        0s load:0 action #1 sent, awaited until 1s
        0s load:1 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: "a"
          -> store/load load:1.action.1.0 in 1s: "b"
        > load:0 rejected bad
        0s load:0 action #1 rejected: bad
        0s stopping: load:0 was rejected (bad): sorry
        0s load:1 given up, in doubt
        0s load given up, not done
        0s compensation began: load:0 was rejected (bad): sorry
        0s load:1 compensation #1 sent, awaited until 1s
          -> store/drop load:1.compensation.1.0 in 1s: "b" saga {"rows":["a","b"]}
        > load:1 ok 11
        0s load:1 #1 succeeded late, neutralised
        > load:1 ok 11
          refused: the operation was answered already
        > undo load:1 ok
        0s load:1 compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        > load:1 ok 11
          refused: the operation was answered already
        = compensated
    "#,
    );
}

// E07: an item fails while others are in flight.

#[test]
fn e07_an_item_that_is_refused_lets_those_in_flight_end_and_begins_no_other() {
    story(
        r#"
        input {"rows":["a","b","c","d"]}
        load: store, undo drop, each 2 of input.rows

        0s started, forwards until 55s800ms, window until 1m
        0s load works on ["a","b","c","d"]
        0s load:0 action #1 sent, awaited until 1s
        0s load:1 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: "a"
          -> store/load load:1.action.1.0 in 1s: "b"
        > load:0 rejected bad
        0s load:0 action #1 rejected: bad
        0s stopping: load:0 was rejected (bad): sorry
        > load:1 ok 11
        0s load:1 action #1 succeeded: 11
        0s load given up, not done
        0s compensation began: load:0 was rejected (bad): sorry
        0s load:1 compensation #1 sent, awaited until 1s
          -> store/drop load:1.compensation.1.0 in 1s: "b" result 11 saga {"rows":["a","b","c","d"]}
        > undo load:1 ok
        0s load:1 compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e07_racing_items_are_fenced_off_at_once() {
    story(
        r#"
        input {"rows":["a","b","c"]}
        race
        load: store, undo drop, each 2 of input.rows

        0s started, forwards until 55s800ms, window until 1m
        0s load works on ["a","b","c"]
        0s load:0 action #1 sent, awaited until 1s
        0s load:1 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: "a"
          -> store/load load:1.action.1.0 in 1s: "b"
        > load:0 rejected bad
        0s load:0 action #1 rejected: bad
        0s stopping: load:0 was rejected (bad): sorry
        0s load:1 given up, in doubt
        0s load given up, not done
        0s compensation began: load:0 was rejected (bad): sorry
        0s load:1 compensation #1 sent, awaited until 1s
          -> store/drop load:1.compensation.1.0 in 1s: "b" saga {"rows":["a","b","c"]}
        > undo load:1 ok empty
        0s load:1 compensation #1 succeeded (it found nothing)
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

// E12: attempts that overlap.

#[test]
fn e12_either_attempt_of_an_item_counts() {
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
        > load:0 ok
        0s load:0 action #1 succeeded: null
        > wait 1100ms
        1s load:1 action #1 timed out
        1s load:1 tried again at 1s100ms
        1s100ms load:1 action #2 sent, awaited until 2s100ms
          -> store/load load:1.action.2.0 in 1s: "b"
        > load:1#1 ok 11
        1s100ms load:1 action #1 succeeded: 11
        1s100ms load action #0 succeeded
        1s100ms ended: completed
          => ended completed
        > load:1#2 ok 11
          refused: the operation was answered already
        = completed
    "#,
    );
}

// E13: what an undo sees.

#[test]
fn e13_the_undo_of_an_item_sees_its_own_item_and_result() {
    story(
        r#"
        input {"rows":["a","b"]}
        load: store, undo drop, each 1 of input.rows

        0s started, forwards until 51s600ms, window until 1m
        0s load works on ["a","b"]
        0s load:0 action #1 sent, awaited until 1s
          -> store/load load:0.action.1.0 in 1s: "a"
        > load:0 ok 10
        0s load:0 action #1 succeeded: 10
        0s load:1 action #1 sent, awaited until 1s
          -> store/load load:1.action.1.0 in 1s: "b"
        > load:1 rejected bad partial
        0s load:1 action #1 rejected: bad, an effect may be left
        0s load given up, not done
        0s compensation began: load:1 was rejected (bad): sorry
        0s load:1 compensation #1 sent, awaited until 1s
          -> store/drop load:1.compensation.1.0 in 1s: "b" saga {"rows":["a","b"]}
        = compensating
    "#,
    );
}
