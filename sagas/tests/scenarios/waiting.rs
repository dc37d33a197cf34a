//! Approvals, and what ends a wait before its time: E03, E06, E07, E15, E16, E17.

use crate::story::story;

#[test]
fn an_approval_that_is_given_says_by_whom() {
    story(
        r#"
        boss: approval, timeout 20s
        ship: shop, undo return, needs steps.boss.output

        0s started, forwards until 57s900ms, window until 1m
        0s boss waits until 20s
        > approve boss
        0s boss approved by ann: fine
        0s boss action #0 succeeded: {"approved":true,"by":"ann","comment":"fine"}
        0s ship action #1 sent, awaited until 1s
          -> shop/ship ship.action.1.0 in 1s: {"it":{"approved":true,"by":"ann","comment":"fine"}}
        > approve boss
          nothing changes
        > refuse boss
          refused: it was decided otherwise already
        > ship ok
        0s ship action #1 succeeded: null
        0s ended: completed
          => ended completed
        > approve boss
          nothing changes
        = completed
    "#,
    );
}

#[test]
fn an_approval_that_is_refused_undoes_the_saga() {
    story(
        r#"
        reserve: stock, undo release
        boss: approval, timeout 20s

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s boss waits until 20s
        > refuse boss
        0s boss refused by ann: too dear
        0s boss action #0 rejected: not_approved
        0s compensation began: boss was rejected (not_approved): ann said no: too dear
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > refuse boss
          nothing changes
        > approve boss
          refused: it was decided otherwise already
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        > refuse boss
          nothing changes
        > approve boss
          refused: it was decided otherwise already
        = compensated
    "#,
    );
}

#[test]
fn an_approval_that_nobody_gives_is_refused() {
    story(
        r#"
        reserve: stock, undo release
        boss: approval, timeout 20s

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s boss waits until 20s
        > wait 20s
        20s boss action #0 rejected: approval_timed_out
        20s compensation began: boss was rejected (approval_timed_out): nobody decided within 20s
        20s reserve compensation #1 sent, awaited until 21s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > approve boss
          refused: no step waits for it
        > undo reserve ok
        20s reserve compensation #1 succeeded
        20s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn an_approval_that_nobody_refuses_may_be_given() {
    story(
        r#"
        boss: approval?, timeout 20s
        ship: shop, undo return, needs steps.boss.output

        0s started, forwards until 57s900ms, window until 1m
        0s boss waits until 20s
        > wait 20s
        20s boss action #0 succeeded: {"approved":true,"by":null,"comment":"nobody decided within 20s"}
        20s ship action #1 sent, awaited until 21s
          -> shop/ship ship.action.1.0 in 1s: {"it":{"approved":true,"by":null,"comment":"nobody decided within 20s"}}
        > refuse boss
          refused: no step waits for it
        > approve boss
          refused: no step waits for it
        > ship ok
        20s ship action #1 succeeded: null
        20s ended: completed
          => ended completed
        = completed
    "#,
    );
}

#[test]
fn what_is_not_asked_yet_or_is_no_approval_cannot_be_decided() {
    story(
        r#"
        reserve: stock, undo release
        boss: approval, timeout 20s

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > approve boss
          refused: no step waits for it
        > approve reserve
          refused: no step waits for it
        > approve nobody
          refused: no step waits for it
        = running
    "#,
    );
}

// E03: cancelling.

#[test]
fn e03_a_cancellation_ends_a_wait_at_once() {
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
        > cancel
        0s cancel requested by ann: a typo
        0s paid given up, not done
        0s compensation began: cancelled by ann: a typo
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > signal paid s1
          refused: no step waits for it
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e03_while_a_cancellation_awaits_an_answer_no_signal_is_taken_any_more() {
    story(
        r#"
        reserve: stock, undo release, after -
        paid: signal, timeout 20s, after -
        sent: signal, timeout 20s, after paid

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
        0s paid waits until 20s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > cancel
        0s cancel requested by ann: a typo
        0s paid given up, not done
        > signal sent s1
          refused: no step waits for it
        > signal paid s1
          refused: no step waits for it
        > reserve ok
        0s reserve action #1 succeeded: null
        0s compensation began: cancelled by ann: a typo
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        = compensating
    "#,
    );
}

#[test]
fn e03_behind_the_pivot_a_wait_is_not_cancelled() {
    story(
        r#"
        ship: shop, pivot
        pause: delay, timeout 5s

        0s started, forwards until 54s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s pause waits until 5s
        > cancel
          refused: the pivot was sent: the saga can only go forwards
        > wait 5s
        5s pause action #0 succeeded: null
        5s ended: completed
          => ended completed
        = completed
    "#,
    );
}

// E06: deadlines.

/// Whatever it says of silence: the time for going forwards is over.
#[test]
fn e06_a_wait_that_is_cut_short_by_the_forward_deadline_undoes_the_saga() {
    story(
        r#"
        window 22s
        reserve: stock, undo release, timeout 5s, attempts 1
        paid: signal?, timeout 12s

        0s started, forwards until 17s, window until 22s
        0s reserve action #1 sent, awaited until 5s
          -> stock/reserve reserve.action.1.0 in 5s: {"order":7}
        > wait 4s
        > reserve working
        4s reserve is at it, awaited until 9s
        > wait 4s
        > reserve ok
        8s reserve action #1 succeeded: null
        8s paid waits until 17s
        > wait 9s
        17s paid given up, not done
        17s compensation began: the time for going forwards ran out at paid
        17s reserve compensation #1 sent, awaited until 22s
          -> stock/release reserve.compensation.1.0 in 5s: {"order":7} result null saga {"order":7}
        > undo reserve ok
        17s reserve compensation #1 succeeded
        17s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e06_a_wait_is_looked_at_before_the_window_closes() {
    story(
        r#"
        window 10s
        ship: shop, pivot
        paid: signal?, timeout 7s
        bill: books, retriable

        0s started, forwards until 1s, window until 10s
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > sleep 1s
        > ship ok
        1s ship action #1 succeeded: null
        1s paid waits until 8s
        > wait 9s
        8s paid action #0 succeeded: "none"
        8s bill action #1 sent, awaited until 9s
          -> books/bill bill.action.1.0 in 1s: {"order":7}
        9s bill action #1 timed out
        9s bill tried again at 9s100ms
        9s window at risk
        9s100ms bill action #2 sent, awaited until 10s100ms
          -> books/bill bill.action.2.0 in 1s: {"order":7}
        10s window missed
        = running
    "#,
    );
}

// E07: a branch fails while another one waits.

#[test]
fn e07_a_failing_branch_ends_the_waits_beside_it() {
    story(
        r#"
        reserve: stock, undo release, after -
        boss: approval, timeout 20s, after -
        pause: delay, timeout 20s, after -

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
        0s boss waits until 20s
        0s pause waits until 20s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve rejected sold_out
        0s reserve action #1 rejected: sold_out
        0s stopping: reserve was rejected (sold_out): sorry
        0s boss given up, not done
        0s pause given up, not done
        0s compensation began: reserve was rejected (sold_out): sorry
        0s ended: compensated
          => ended compensated
        > approve boss
          refused: the saga has ended
        > refuse boss
          refused: the saga has ended
        = compensated
    "#,
    );
}

#[test]
fn e07_a_refusal_awaits_what_is_in_flight_beside_it() {
    story(
        r#"
        reserve: stock, undo release, after -
        boss: approval, timeout 20s, after -

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
        0s boss waits until 20s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > refuse boss
        0s boss refused by ann: too dear
        0s boss action #0 rejected: not_approved
        0s stopping: boss was rejected (not_approved): ann said no: too dear
        > reserve ok
        0s reserve action #1 succeeded: null
        0s compensation began: boss was rejected (not_approved): ann said no: too dear
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

// E15: behind the pivot.

#[test]
fn e15_a_wait_behind_the_pivot_goes_on_after_silence() {
    story(
        r#"
        ship: shop, pivot
        paid: signal?, timeout 5s
        bill: books, retriable

        0s started, forwards until 53s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s paid waits until 5s
        > wait 5s
        5s paid action #0 succeeded: "none"
        5s bill action #1 sent, awaited until 6s
          -> books/bill bill.action.1.0 in 1s: {"order":7}
        > bill ok
        5s bill action #1 succeeded: null
        5s ended: completed
          => ended completed
        = completed
    "#,
    );
}

// E16: a crash between commit and publish.

#[test]
fn e16_of_what_only_waits_nothing_is_sent_again() {
    story(
        r"
        paid: signal, timeout 20s

        0s started, forwards until 1m, window until 1m
        0s paid waits until 20s
        > repeat
          nothing is pending
        > resend
          nothing changes
        > signal paid s1
        0s signal paid came (s1): null
        0s paid took the signal s1
        0s paid action #0 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    ",
    );
}

// E17: what is waited for.

#[test]
fn e17_a_saga_that_waits_says_for_what_and_until_when() {
    story(
        r"
        paid: signal, timeout 20s, after -
        boss: approval, timeout 21s, after -
        pause: delay, timeout 22s, after -

        0s started, forwards until 1m, window until 1m
        0s paid waits until 20s
        0s boss waits until 21s
        0s pause waits until 22s
        > look
          running, due at 20s; waits for the signal paid at paid (since 2025-11-23T12:00:00Z, until 2025-11-23T12:00:20Z); a person at boss (since 2025-11-23T12:00:00Z, until 2025-11-23T12:00:21Z); the clock at pause (since 2025-11-23T12:00:00Z, until 2025-11-23T12:00:22Z)
        > steps
          paid acting
          boss acting
          pause acting
        = running
    ",
    );
}
