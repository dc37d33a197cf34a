//! At the very instant, at the very byte: which side of a limit is in. E02, E06, E19.

use crate::story::story;

// E06: deadlines.

#[test]
fn e06_at_the_forward_deadline_nothing_more_begins() {
    let told = |slept: &str, then: &str| {
        story(&format!(
            r#"
        window 10s
        reserve: stock, undo release, timeout 2s
        pay: payments, undo none

        0s started, forwards until 5s900ms, window until 10s
        0s reserve action #1 sent, awaited until 2s
          -> stock/reserve reserve.action.1.0 in 2s: {{"order":7}}
        > sleep {slept}
        > reserve ok
        {slept} reserve action #1 succeeded: null
        {then}
    "#
        ));
    };
    told(
        "5s899ms",
        r#"5s899ms pay action #1 sent, awaited until 5s900ms
          -> payments/pay pay.action.1.0 in 1ms: {"order":7}
        = running"#,
    );
    told(
        "5s900ms",
        r#"5s900ms compensation began: the time for going forwards ran out at pay
        5s900ms reserve compensation #1 sent, awaited until 7s900ms
          -> stock/release reserve.compensation.1.0 in 2s: {"order":7} result null saga {"order":7}
        = compensating"#,
    );
}

#[test]
fn e06_no_attempt_is_planned_for_the_forward_deadline_itself() {
    let told = |after: &str, then: &str| {
        story(&format!(
            r#"
        window 10s
        quote: prices, read

        0s started, forwards until 10s, window until 10s
        0s quote action #1 sent, awaited until 1s
          -> prices/quote quote.action.1.0 in 1s: {{"order":7}}
        > quote failed after {after}
        0s quote action #1 failed: busy
        {then}
    "#
        ));
    };
    told("9999ms", "0s quote tried again at 9s999ms\n = running");
    told(
        "10s",
        "0s quote given up, not done
        0s compensation began: the time for going forwards ran out at quote
        0s ended: compensated
          => ended compensated
        = compensated",
    );
}

#[test]
fn e06_an_attempt_whose_wake_up_comes_at_the_forward_deadline_is_not_made() {
    let told = |slept: &str, then: &str| {
        story(&format!(
            r#"
        window 10s
        quote: prices, read

        0s started, forwards until 10s, window until 10s
        0s quote action #1 sent, awaited until 1s
          -> prices/quote quote.action.1.0 in 1s: {{"order":7}}
        > quote failed
        0s quote action #1 failed: busy
        0s quote tried again at 100ms
        > sleep {slept}
        > wake
        {then}
    "#
        ));
    };
    told(
        "9999ms",
        r#"9s999ms quote action #2 sent, awaited until 10s
        9s999ms window at risk
          -> prices/quote quote.action.2.0 in 1ms: {"order":7}
        = running"#,
    );
    told(
        "10s",
        "10s quote given up, not done
        10s compensation began: the time for going forwards ran out at quote
        10s window missed
        10s ended: compensated
          => ended compensated
        = compensated",
    );
}

#[test]
fn e06_an_end_at_the_last_instant_of_the_window_missed_it() {
    let told = |slept: &str, then: &str| {
        story(&format!(
            r#"
        window 10s
        ship: shop, pivot

        0s started, forwards until 9s, window until 10s
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {{"order":7}}
        > sleep {slept}
        > ship ok
        {slept} ship action #1 succeeded: null
        {then}
          => ended completed
        = completed
    "#
        ));
    };
    told("9s999ms", "9s999ms ended: completed");
    told("10s", "10s window missed\n 10s ended: completed");
}

#[test]
fn e06_a_heartbeat_counts_when_it_wins_more_than_a_quarter_of_the_timeout() {
    let told = |slept: &str, then: &str| {
        story(&format!(
            r#"
        reserve: stock, undo release, timeout 4s

        0s started, forwards until 51s900ms, window until 1m
        0s reserve action #1 sent, awaited until 4s
          -> stock/reserve reserve.action.1.0 in 4s: {{"order":7}}
        > sleep {slept}
        > reserve working
        {then}
        = running
    "#
        ));
    };
    told("1s", "refused: nothing is due");
    told("1001ms", "1s1ms reserve is at it, awaited until 5s1ms");
}

#[test]
fn e06_a_heartbeat_of_an_undo_counts_from_a_quarter_of_the_timeout_on() {
    let told = |slept: &str, then: &str| {
        story(&format!(
            r#"
        reserve: stock, undo release, timeout 4s
        pay: payments, undo none

        0s started, forwards until 51s900ms, window until 1m
        0s reserve action #1 sent, awaited until 4s
          -> stock/reserve reserve.action.1.0 in 4s: {{"order":7}}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {{"order":7}}
        > pay rejected no_funds
        0s pay action #1 rejected: no_funds
        0s compensation began: pay was rejected (no_funds): sorry
        0s reserve compensation #1 sent, awaited until 4s
          -> stock/release reserve.compensation.1.0 in 4s: {{"order":7}} result null saga {{"order":7}}
        > sleep {slept}
        > undo reserve working
        {then}
        = compensating
    "#
        ));
    };
    told("999ms", "refused: nothing is due");
    told("1s", "1s reserve is at it, awaited until 5s");
}

// E02: an undo that does not come about.

#[test]
fn e02_after_a_minute_to_the_millisecond_an_undo_is_blocked_after_one_attempt() {
    let told = |slept: &str, then: &str| {
        story(&format!(
            r#"
        window 10m
        reserve: stock, undo release, timeout 2m
        pay: payments, undo none

        0s started, forwards until 5m59s900ms, window until 10m
        0s reserve action #1 sent, awaited until 2m
          -> stock/reserve reserve.action.1.0 in 2m: {{"order":7}}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {{"order":7}}
        > pay rejected no_funds
        0s pay action #1 rejected: no_funds
        0s compensation began: pay was rejected (no_funds): sorry
        0s reserve compensation #1 sent, awaited until 2m
          -> stock/release reserve.compensation.1.0 in 2m: {{"order":7}} result null saga {{"order":7}}
        > sleep {slept}
        > undo reserve failed
        {then}
    "#
        ));
    };
    told(
        "59999ms",
        "59s999ms reserve compensation #1 failed: busy
        59s999ms reserve tried again at 1m99ms
        = compensating",
    );
    told(
        "1m",
        "1m reserve compensation #1 failed: busy
        1m blocked at reserve: compensation_fails
        1m reserve tried again at 1m100ms
        = blocked",
    );
}

// E19: too large.

#[test]
fn e19_payloads_that_fill_a_saga_to_the_byte_are_kept() {
    let told = |bytes: &str, then: &str| {
        story(&format!(
            r#"
        a: p, undo x
        b: p, undo x
        c: p, undo x
        d: p, undo x

        0s started, forwards until 51s600ms, window until 1m
        0s a action #1 sent, awaited until 1s
          -> p/a a.action.1.0 in 1s: {{"order":7}}
        > a ok full
        0s a action #1 succeeded: (65536 bytes)
        0s b action #1 sent, awaited until 1s
          -> p/b b.action.1.0 in 1s: {{"order":7}}
        > b ok full
        0s b action #1 succeeded: (65536 bytes)
        0s c action #1 sent, awaited until 1s
          -> p/c c.action.1.0 in 1s: {{"order":7}}
        > c ok full
        0s c action #1 succeeded: (65536 bytes)
        0s d action #1 sent, awaited until 1s
          -> p/d d.action.1.0 in 1s: {{"order":7}}
        > d ok {bytes} bytes
        {then}
    "#
        ));
    };
    // The input has 11 of them.
    told(
        "65525",
        "0s d action #1 succeeded: (65525 bytes)
        0s ended: completed
          => ended completed
        = completed",
    );
    told(
        "65526",
        r#"0s d action #1 rejected: too_large, an effect may be left
        0s compensation began: d was rejected (too_large): the saga's payloads exceed 262144 bytes together
        0s d compensation #1 sent, awaited until 1s
          -> p/x d.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        = compensating"#,
    );
}

#[test]
fn e19_a_request_that_a_saga_has_no_room_for_is_not_sent() {
    story(
        r#"
        a: p, undo x
        b: p, undo x
        c: p, undo x
        d: p, undo x
        mail: letters, undo none, needs steps.a.output

        0s started, forwards until 51s600ms, window until 1m
        0s a action #1 sent, awaited until 1s
          -> p/a a.action.1.0 in 1s: {"order":7}
        > a ok 60000 bytes
        0s a action #1 succeeded: (60000 bytes)
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
        > d ok
        0s d action #1 succeeded: null
        0s mail action #1 sent, awaited until 1s
          -> letters/mail mail.action.1.0 in 1s: (60007 bytes)
        > mail ok
        0s mail action #1 succeeded: null
        0s ended: completed
          => ended completed
        = completed
    "#,
    );
    story(
        r#"
        a: p, undo x
        b: p, undo x
        c: p, undo x
        d: p, undo none
        mail: letters, undo none, needs steps.a.output

        0s started, forwards until 53s700ms, window until 1m
        0s a action #1 sent, awaited until 1s
          -> p/a a.action.1.0 in 1s: {"order":7}
        > a ok 60000 bytes
        0s a action #1 succeeded: (60000 bytes)
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
        > d ok 20000 bytes
        0s d action #1 succeeded: (20000 bytes)
        0s mail not sent: the saga's payloads exceed 262144 bytes together
        0s compensation began: mail could not be sent (too_large): the saga's payloads exceed 262144 bytes together
        0s c compensation #1 sent, awaited until 1s
          -> p/x c.compensation.1.0 in 1s: {"order":7} result (65536 bytes) saga {"order":7}
        = compensating
    "#,
    );
}

#[test]
fn e02_who_asks_for_an_hour_is_asked_again_after_half_a_minute() {
    story(
        r#"
        ship: shop, pivot
        invoice: books, retriable

        0s started, forwards until 58s, window until 1m
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship ok
        0s ship action #1 succeeded: null
        0s invoice action #1 sent, awaited until 1s
          -> books/invoice invoice.action.1.0 in 1s: {"order":7}
        > invoice failed after 1h
        0s invoice action #1 failed: busy
        0s invoice tried again at 30s
        = running
    "#,
    );
}
