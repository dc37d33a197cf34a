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
        = running
    "#,
    );
}
