//! Sub-sagas, from their own side: E03, E06, E08, E12, E15, E16.

use crate::story::story;

#[test]
fn a_part_is_held_when_its_steps_are_done_and_ends_when_its_parent_ends() {
    story(
        r#"
        part of another
        pack: stock, undo unpack

        0s started, forwards until 57s900ms, window until 1m
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > pack ok {"box":1}
        0s pack action #1 succeeded: {"box":1}
        0s held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":{"box":1}}}
        > look
          running, due at 1m; waits for the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, to end (all its steps are done)
        > parent ends
        0s ended: completed
          => ended completed
        > parent ends
          refused: the saga has ended
        = completed
    "#,
    );
}

#[test]
fn a_part_that_is_held_is_undone_with_its_parent() {
    story(
        r#"
        part of another
        pack: stock, undo unpack
        load: boats, undo unload

        0s started, forwards until 55s800ms, window until 1m
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > pack ok
        0s pack action #1 succeeded: null
        0s load action #1 sent, awaited until 1s
          -> boats/load load.action.1.0 in 1s: {"order":7}
        > load ok
        0s load action #1 succeeded: null
        0s held
          -> parent, part action: ok (86 bytes)
        > parent undo
        0s asked to be undone until 20s
        0s compensation began: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        0s load compensation #1 sent, awaited until 1s
          -> boats/unload load.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo load ok
        0s load compensation #1 succeeded
        0s pack compensation #1 sent, awaited until 1s
          -> stock/unpack pack.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo pack ok
        0s pack compensation #1 succeeded
        0s ended: compensated
          -> parent, part compensation: ok null
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn a_part_that_fails_is_undone_by_itself_and_refused() {
    story(
        r#"
        part of another
        pack: stock, undo unpack
        load: boats, undo unload

        0s started, forwards until 55s800ms, window until 1m
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > pack ok
        0s pack action #1 succeeded: null
        0s load action #1 sent, awaited until 1s
          -> boats/load load.action.1.0 in 1s: {"order":7}
        > load rejected full
        0s load action #1 rejected: full
        0s compensation began: load was rejected (full): sorry
        0s pack compensation #1 sent, awaited until 1s
          -> stock/unpack pack.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo pack ok
        0s pack compensation #1 succeeded
        0s ended: compensated
          -> parent, part action: rejected full
          => ended compensated
        > parent run
          -> parent, part action: rejected full
        > parent undo
          -> parent, part compensation: ok null
        = compensated
    "#,
    );
}

#[test]
fn a_part_cannot_end_before_it_is_done() {
    story(
        r#"
        part of another
        pack: stock, undo unpack

        0s started, forwards until 57s900ms, window until 1m
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > parent ends
          refused: no such command was sent
        > pack ok
        0s pack action #1 succeeded: null
        0s held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > parent ends
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

// E03: cancelling.

#[test]
fn e03_a_part_that_is_held_is_not_cancelled_by_itself() {
    story(
        r#"
        part of another
        pack: stock, undo unpack

        0s started, forwards until 57s900ms, window until 1m
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > pack ok
        0s pack action #1 succeeded: null
        0s held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > cancel
          refused: its steps are all done, and it is a part of another saga, which decides what becomes of it
        > parent ends
        0s ended: completed
          => ended completed
        > cancel
          refused: the saga has ended
        = completed
    "#,
    );
}

#[test]
fn e03_a_part_under_way_may_be_cancelled_by_itself() {
    story(
        r#"
        part of another
        pack: stock, undo unpack

        0s started, forwards until 57s900ms, window until 1m
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > cancel
        0s cancel requested by ann: a typo
        > pack ok
        0s pack action #1 succeeded: null
        0s compensation began: cancelled by ann: a typo
        0s pack compensation #1 sent, awaited until 1s
          -> stock/unpack pack.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo pack ok
        0s pack compensation #1 succeeded
        0s ended: compensated
          -> parent, part action: rejected cancelled
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e03_a_part_that_is_asked_to_be_undone_while_it_runs_begins_nothing_more() {
    story(
        r#"
        part of another
        pack: stock, undo unpack
        load: boats, undo unload

        0s started, forwards until 55s800ms, window until 1m
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > parent undo
        0s asked to be undone until 20s
        0s stopping: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        > pack ok
        0s pack action #1 succeeded: null
        0s compensation began: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        0s pack compensation #1 sent, awaited until 1s
          -> stock/unpack pack.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo pack ok
        0s pack compensation #1 succeeded
        0s ended: compensated
          -> parent, part compensation: ok null
          => ended compensated
        = compensated
    "#,
    );
}

// E06: deadlines.

#[test]
fn e06_a_part_that_is_held_beyond_its_window_was_done_in_time() {
    story(
        r#"
        part of another
        window 30s
        pack: stock, undo unpack

        0s started, forwards until 27s900ms, window until 30s
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > pack ok
        0s pack action #1 succeeded: null
        0s held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > sleep 40s
        > parent ends
        40s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e06_a_part_is_undone_in_a_window_of_its_own() {
    story(
        r#"
        part of another
        window 10s
        pack: stock, undo unpack

        0s started, forwards until 7s900ms, window until 10s
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > pack ok
        0s pack action #1 succeeded: null
        0s held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > sleep 15s
        > parent undo
        15s asked to be undone until 35s
        15s compensation began: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        15s pack compensation #1 sent, awaited until 16s
          -> stock/unpack pack.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > wait 1s
        16s pack compensation #1 timed out
        16s pack tried again at 16s100ms
        > look
          compensating, due at 16s100ms; waits for attempt 2 of the compensation of pack at 2025-11-23T12:00:16.1Z
        > undo pack ok
        16s pack compensation #1 succeeded
        16s ended: compensated
          -> parent, part compensation: ok null
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e06_a_part_that_hears_nothing_asks_its_parent_and_ever_less_often() {
    story(
        r#"
        part of another
        window 30s
        pack: stock, undo unpack

        0s started, forwards until 27s900ms, window until 30s
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > pack ok
        0s pack action #1 succeeded: null
        0s held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > wait 2m
        30s asked its parent
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        1m30s asked its parent
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > parent ends
        2m ended: completed
          => ended completed
        = completed
    "#,
    );
}

/// E16: a failover that loses transactions lost the saga that it is a part of.
#[test]
fn e16_a_part_whose_parent_is_not_there_is_undone_when_that_was_seen_twice() {
    story(
        r#"
        part of another
        window 30s
        pack: stock, undo unpack

        0s started, forwards until 27s900ms, window until 30s
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > pack ok
        0s pack action #1 succeeded: null
        0s held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > wait 30s
        30s asked its parent
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > parent lost
          refused: nothing is due
        > wait 1m
        1m30s asked its parent
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > parent lost
        1m30s asked to be undone until 1m32s100ms
        1m30s compensation began: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        1m30s pack compensation #1 sent, awaited until 1m31s
          -> stock/unpack pack.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo pack ok
        1m30s pack compensation #1 succeeded
        1m30s ended: compensated
          -> parent, part compensation: ok null
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e16_a_part_behind_its_pivot_whose_parent_is_not_there_is_completed() {
    story(
        r#"
        part of another
        window 30s
        pay: bank, pivot

        0s started, forwards until 29s, window until 30s
        0s pay action #1 sent, awaited until 1s, the pivot
          -> bank/pay pay.action.1.0 in 1s: {"order":7}
        > pay ok
        0s pay action #1 succeeded: null
        0s held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pay":null}}
        > wait 90s
        30s asked its parent
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pay":null}}
        1m30s asked its parent
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pay":null}}
        > parent lost
        1m30s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e06_a_part_with_a_long_window_asks_its_parent_after_ten_minutes() {
    story(
        r#"
        part of another
        window 30d
        pack: stock, undo unpack

        0s started, forwards until 719h59m57s900ms, window until 30d
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > pack ok
        0s pack action #1 succeeded: null
        0s held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > wait 10m
        10m asked its parent
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > parent ends
        10m ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn e06_a_part_that_was_not_woken_for_long_asks_its_parent_once_and_not_for_each_time_missed() {
    story(
        r#"
        part of another
        window 30s
        pack: stock, undo unpack

        0s started, forwards until 27s900ms, window until 30s
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > sleep 1m
        > pack ok
        1m pack action #1 succeeded: null
        1m held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > wake
          refused: nothing is due
        > wait 30s
        1m30s asked its parent
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > sleep 24h
        > wake
        24h1m30s asked its parent
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > wake
          refused: nothing is due
        > look
          running, due at 24h3m30s; waits for the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, to end (all its steps are done)
        = running
    "#,
    );
}

// E08: an undo before its action.

#[test]
fn e08_a_part_that_is_asked_to_be_undone_before_it_was_there_never_runs() {
    story(
        r"
        part of another, undone before it began
        pack: stock, undo unpack

        0s started, forwards until 57s900ms, window until 1m
        0s asked to be undone until 1m
        0s compensation began: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        0s ended: compensated
          -> parent, part compensation: ok null (nothing was there)
          => ended compensated
        > parent run
          -> parent, part compensation: ok null (nothing was there)
        > parent undo
          -> parent, part compensation: ok null (nothing was there)
        > repeat
          -> parent, part compensation: ok null (nothing was there)
          => ended compensated
        > cancel
          refused: the saga has ended
        = compensated
    ",
    );
}

// E12: asked twice.

#[test]
fn e12_a_part_that_is_asked_twice_is_there_once() {
    story(
        r#"
        part of another
        pack: stock, undo unpack

        0s started, forwards until 57s900ms, window until 1m
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > parent run
          refused: the operation was answered already
        > pack ok
        0s pack action #1 succeeded: null
        0s held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > parent run
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > parent undo
        0s asked to be undone until 20s
        0s compensation began: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        0s pack compensation #1 sent, awaited until 1s
          -> stock/unpack pack.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > parent undo
          refused: the operation was answered already
        > undo pack ok
        0s pack compensation #1 succeeded
        0s ended: compensated
          -> parent, part compensation: ok null
          => ended compensated
        > parent undo
          -> parent, part compensation: ok null
        > parent run
          -> parent, part compensation: ok null
        = compensated
    "#,
    );
}

// E15: the pivot.

#[test]
fn e15_a_part_is_never_undone_over_its_own_pivot() {
    story(
        r#"
        part of another
        ship: shop, pivot
        bill: books, retriable

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s bill action #1 sent, awaited until 1s
          -> books/bill bill.action.1.0 in 1s: {"order":7}
        > parent undo
          refused: the pivot was sent: the saga can only go forwards
        > bill ok
        0s bill action #1 succeeded: null
        0s held
          -> parent, part action: ok (86 bytes)
        > parent undo
          refused: the pivot was sent: the saga can only go forwards
        > parent ends
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
}

// E16: a crash between commit and publish.

#[test]
fn e16_what_was_answered_is_answered_again() {
    story(
        r#"
        part of another
        pack: stock, undo unpack

        0s started, forwards until 57s900ms, window until 1m
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > pack ok
        0s pack action #1 succeeded: null
        0s held
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > repeat
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > resend
          -> parent, part action: ok {"saga_id":"01936d3e-7f0a-7000-8000-000000000001","outputs":{"pack":null}}
        > parent undo
        0s asked to be undone until 20s
        0s compensation began: the saga 01936d3e-7f0a-7000-8000-000000000009, of which it is a part, is undone
        0s pack compensation #1 sent, awaited until 1s
          -> stock/unpack pack.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > repeat
          -> stock/unpack pack.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo pack ok
        0s pack compensation #1 succeeded
        0s ended: compensated
          -> parent, part compensation: ok null
          => ended compensated
        > repeat
          -> parent, part compensation: ok null
          => ended compensated
        = compensated
    "#,
    );
}

/// A failover lost that this saga began it, and it went another way then.
#[test]
fn e16_a_part_that_its_ended_parent_knows_nothing_of_is_undone() {
    story(
        r#"
        pack: stock, undo unpack
        ship: saga shipment, timeout 10s

        0s started, forwards until 47s900ms, window until 1m
        0s pack action #1 sent, awaited until 1s
          -> stock/pack pack.action.1.0 in 1s: {"order":7}
        > pack rejected sold_out
        0s pack action #1 rejected: sold_out
        0s compensation began: pack was rejected (sold_out): sorry
        0s ended: compensated
          => ended compensated
        > ship#1 ok
          -> sub-saga shipment of ship to be undone in 10s
        = compensated
    "#,
    );
}
