//! Sub-sagas that are stopped and bounded by their parents: E03, E06, E07.

use crate::story::story;

#[test]
fn e03_a_sub_saga_that_is_undone_while_under_way_awaits_nothing_beyond_what_its_parent_reckons_with() {
    story(
        r#"
        part of another
        window 30m
        c: cars, undo return, timeout 10m, back 1s, attempts 1

        0s started, forwards until 29m59s, window until 30m
        0s c action #1 sent, awaited until 10m
          -> cars/c c.action.1.0 in 10m: {"order":7}
        > parent undo in 1s
        0s asked to be undone until 1s
        0s stopping: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        0s c awaited until 1ms only
        > wait 500ms
        1ms c action #1 timed out
        1ms c given up, in doubt
        1ms compensation began: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        1ms c compensation #1 sent, awaited until 1s1ms
          -> cars/return c.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo c ok
        500ms c compensation #1 succeeded
        500ms ended: compensated
          -> parent, part compensation: ok null
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e03_a_sub_saga_that_is_undone_while_under_way_awaits_what_leaves_time_for_undoing() {
    story(
        r#"
        part of another
        window 30m
        a: cars, undo return, attempts 1
        c: cars, undo return, timeout 10m, back 1s, attempts 1
        d: cars, undo return, attempts 1

        0s started, forwards until 29m57s, window until 30m
        0s a action #1 sent, awaited until 1s
          -> cars/a a.action.1.0 in 1s: {"order":7}
        > a ok
        0s a action #1 succeeded: null
        0s c action #1 sent, awaited until 10m
          -> cars/c c.action.1.0 in 10m: {"order":7}
        > parent undo in 3s
        0s asked to be undone until 3s
        0s stopping: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        0s c awaited until 1s only
        > c working
          refused: nothing is due
        > wait 1s
        1s c action #1 timed out
        1s c given up, in doubt
        1s compensation began: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        1s c compensation #1 sent, awaited until 2s
          -> cars/return c.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo c ok
        1s c compensation #1 succeeded
        1s a compensation #1 sent, awaited until 2s
          -> cars/return a.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo a ok
        1s a compensation #1 succeeded
        1s ended: compensated
          -> parent, part compensation: ok null
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e03_a_sub_saga_that_is_stopping_already_is_cut_short_when_its_parent_asks() {
    story(
        r#"
        part of another
        window 30m
        c: cars, undo return, after -, timeout 10m, back 1s, attempts 1
        b: cars, undo return, after -, attempts 1

        0s started, forwards until 29m59s, window until 30m
        0s c action #1 sent, awaited until 10m
        0s b action #1 sent, awaited until 1s
          -> cars/c c.action.1.0 in 10m: {"order":7}
          -> cars/b b.action.1.0 in 1s: {"order":7}
        > b rejected none
        0s b action #1 rejected: none
        0s stopping: b was rejected (none): sorry
        > parent undo in 1s
        0s asked to be undone until 1s
        0s c awaited until 1ms only
        > wait 500ms
        1ms c action #1 timed out
        1ms c given up, in doubt
        1ms compensation began: b was rejected (none): sorry
        1ms c compensation #1 sent, awaited until 1s1ms
          -> cars/return c.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo c ok
        500ms c compensation #1 succeeded
        500ms ended: compensated
          -> parent, part compensation: ok null
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e06_a_sub_saga_that_is_begun_late_has_no_more_time_than_its_parent() {
    story(
        r#"
        part of another, within 5s
        window 30m
        c: cars, undo return, timeout 10m, back 1s, attempts 1
        d: cars, undo return, timeout 10m, back 1s, attempts 1

        0s started, forwards until 3s, window until 5s
        0s c action #1 sent, awaited until 4s
          -> cars/c c.action.1.0 in 4s: {"order":7}
        > wait 4s
        4s c action #1 timed out
        4s c given up, in doubt
        4s compensation began: the time for going forwards ran out at c
        4s c compensation #1 sent, awaited until 5s
          -> cars/return c.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo c ok
        4s c compensation #1 succeeded
        4s ended: compensated
          -> parent, part action: rejected forward_budget
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e06_a_sub_saga_for_which_there_is_no_time_begins_nothing() {
    story(
        r"
        part of another, within 1s
        window 30m
        c: cars, undo return, timeout 10m, back 1s, attempts 1

        0s started, forwards until 0s, window until 1s
        0s compensation began: the time for going forwards ran out at c
        0s ended: compensated
          -> parent, part action: rejected forward_budget
          => ended compensated
        = compensated
    ",
    );
}

#[test]
fn e06_a_sub_saga_under_way_does_not_say_twice_that_it_missed_its_window() {
    story(
        r#"
        part of another
        window 40s
        wait: signal, timeout 3s
        c: cars, undo return, back 30s, attempts 1

        0s started, forwards until 10s, window until 40s
        0s wait waits until 3s
        > signal wait s1 1
        0s signal wait came (s1): 1
        0s wait took the signal s1
        0s wait action #0 succeeded: 1
        0s c action #1 sent, awaited until 1s
          -> cars/c c.action.1.0 in 1s: {"order":7}
        > sleep 41s
        > wake
        41s c action #1 timed out
        41s c given up, in doubt
        41s compensation began: the time for going forwards ran out at c
        41s c compensation #1 sent, awaited until 1m11s
        41s window at risk
        41s window missed
          -> cars/return c.compensation.1.0 in 30s: {"order":7} saga {"order":7}
        > parent undo in 20s
        41s asked to be undone until 1m1s
        > wait 25s
        > undo c ok
        1m6s c compensation #1 succeeded
        1m6s ended: compensated
          -> parent, part compensation: ok null
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e07_a_sub_saga_is_stopped_at_once_and_again_after_a_crash() {
    story(
        r#"
        ship: saga shipment, timeout 10s, after -
        hotel: hotels, undo cancel, after -
        flight: airline, undo cancel, after -

        0s started, forwards until 50s, window until 1m
        0s ship action #1 sent, awaited until 10s
        0s hotel action #1 sent, awaited until 1s
        0s flight action #1 sent, awaited until 1s
          -> sub-saga shipment of ship to run within 10s
          -> hotels/hotel hotel.action.1.0 in 1s: {"order":7}
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
        > hotel rejected full
        0s hotel action #1 rejected: full
        0s stopping: hotel was rejected (full): sorry
        0s ship given up, in doubt
          -> sub-saga shipment of ship to be undone in 10s
        > repeat
          -> airline/flight flight.action.1.0 in 1s: {"order":7}
          -> sub-saga shipment of ship to be undone in 10s
        > undo ship ok
          refused: a later attempt is under way
        > resend
        0s flight sent again
          -> airline/flight flight.action.1.1 in 1s: {"order":7}
          -> sub-saga shipment of ship to be undone in 10s
        > flight ok
        0s flight action #1 succeeded: null
        0s compensation began: hotel was rejected (full): sorry
        0s flight compensation #1 sent, awaited until 1s
        0s ship compensation #1 sent, awaited until 10s
          -> airline/cancel flight.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
          -> sub-saga shipment of ship to be undone in 10s
        > undo ship ok
        0s ship compensation #1 succeeded
        > undo flight ok
        0s flight compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e07_a_sub_saga_that_did_not_answer_in_time_is_stopped_while_others_are_awaited() {
    story(
        r#"
        window 2m
        ship: saga shipment, timeout 10s, after -
        hotel: hotels, undo cancel, after -, timeout 30s

        0s started, forwards until 59s900ms, window until 2m
        0s ship action #1 sent, awaited until 10s
        0s hotel action #1 sent, awaited until 30s
          -> sub-saga shipment of ship to run within 10s
          -> hotels/hotel hotel.action.1.0 in 30s: {"order":7}
        > wait 10s
        10s ship action #1 timed out
        10s ship given up, in doubt
        10s stopping: ship was not answered on its last attempt
          -> sub-saga shipment of ship to be undone in 10s
        > hotel ok
        10s hotel action #1 succeeded: null
        10s compensation began: ship was not answered on its last attempt
        10s hotel compensation #1 sent, awaited until 40s
        10s ship compensation #1 sent, awaited until 20s
          -> hotels/cancel hotel.compensation.1.0 in 30s: {"order":7} result null saga {"order":7}
          -> sub-saga shipment of ship to be undone in 10s
        = compensating
    "#,
    );
}
