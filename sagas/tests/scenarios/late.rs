//! What comes late: E04.

use crate::story::story;

#[test]
fn e04_a_late_success_is_journalled_once_and_its_output_goes_with_the_undo() {
    story(
        r#"
        pay: payments, undo refund, attempts 1

        0s started, forwards until 59s, window until 1m
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > wait 1s
        1s pay action #1 timed out
        1s pay given up, in doubt
        1s compensation began: pay was not answered on its last attempt
        1s pay compensation #1 sent, awaited until 2s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > pay ok {"id":9}
        1s pay #1 succeeded late, neutralised
        > pay ok {"id":9}
          refused: the operation was answered already
        > undo pay failed
        1s pay compensation #1 failed: busy
        1s pay tried again at 2s196ms
        > wait 100ms
        > undo pay ok
        1s100ms pay compensation #1 succeeded
        1s100ms ended: compensated
          => ended compensated
        > pay ok {"id":9}
          refused: the operation was answered already
        = compensated
    "#,
    );
}

#[test]
fn e04_a_late_success_after_the_undo_changes_no_end() {
    story(
        r#"
        pay: payments, undo refund, attempts 1

        0s started, forwards until 59s, window until 1m
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > wait 1s
        1s pay action #1 timed out
        1s pay given up, in doubt
        1s compensation began: pay was not answered on its last attempt
        1s pay compensation #1 sent, awaited until 2s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo pay ok
        1s pay compensation #1 succeeded
        1s ended: compensated
          => ended compensated
        > pay ok
        1s pay #1 succeeded late, neutralised
        > pay ok
          refused: the operation was answered already
        > wait 1h
        = compensated
    "#,
    );
}

#[test]
fn e04_a_late_success_in_spite_of_the_fence_is_not_neutralised() {
    story(
        r#"
        pay: payments, undo refund, attempts 1

        0s started, forwards until 59s, window until 1m
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > wait 1s
        1s pay action #1 timed out
        1s pay given up, in doubt
        1s compensation began: pay was not answered on its last attempt
        1s pay compensation #1 sent, awaited until 2s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo pay ok empty
        1s pay compensation #1 succeeded (it found nothing)
        1s ended: compensated
          => ended compensated
        > pay ok
        1s pay #1 succeeded late, NOT NEUTRALISED
        = compensated
    "#,
    );
}

#[test]
fn e04_a_success_after_its_own_rejection_is_undone_too_while_there_is_time() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > wait 1100ms
        1s pay action #1 timed out
        1s pay tried again at 1s100ms
        1s100ms pay action #2 sent, awaited until 2s100ms
          -> payments/pay pay.action.2.0 in 1s: {"order":7}
        > pay rejected no_funds
        1s100ms pay action #2 rejected: no_funds
        1s100ms compensation began: pay was rejected (no_funds): sorry
        1s100ms reserve compensation #1 sent, awaited until 2s100ms
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > pay#1 ok {"id":9}
        1s100ms pay #1 succeeded late, neutralised
        > undo reserve ok
        1s100ms reserve compensation #1 succeeded
        1s100ms pay compensation #1 sent, awaited until 2s100ms
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} result {"id":9} saga {"order":7}
        > undo pay ok
        1s100ms pay compensation #1 succeeded
        1s100ms ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e04_a_late_read_leaves_nothing_to_neutralise() {
    story(
        r#"
        quote: prices, read, attempts 1

        0s started, forwards until 1m, window until 1m
        0s quote action #1 sent, awaited until 1s
          -> prices/quote quote.action.1.0 in 1s: {"order":7}
        > wait 1s
        1s quote action #1 timed out
        1s quote given up, not done
        1s compensation began: quote was not answered on its last attempt
        1s ended: compensated
          => ended compensated
        > quote ok
        1s quote #1 succeeded late, neutralised
        = compensated
    "#,
    );
}

#[test]
fn e04_an_answer_to_what_was_never_sent_is_no_fact() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve#2 ok
          refused: no such command was sent
        > pay ok
          refused: no such command was sent
        > undo reserve ok
          refused: no such command was sent
        > reserve rejected sold_out
        0s reserve action #1 rejected: sold_out
        0s compensation began: reserve was rejected (sold_out): sorry
        0s ended: compensated
          => ended compensated
        > reserve#2 ok
          refused: no such command was sent
        = compensated
    "#,
    );
}

#[test]
fn e04_a_reply_to_another_saga_is_not_taken() {
    story(
        r#"
        reserve: stock, undo release

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > other reserve ok
          refused: no such command was sent
        = running
    "#,
    );
}

#[test]
fn e04_a_pivot_that_succeeds_after_its_rejection_is_not_neutralised() {
    story(
        r#"
        reserve: stock, undo release
        ship: shop, pivot

        0s started, forwards until 56s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s ship action #1 sent, awaited until 1s, the pivot
          -> shop/ship ship.action.1.0 in 1s: {"order":7}
        > ship rejected sold_out
        0s ship action #1 rejected: sold_out
        0s compensation began: ship was rejected (sold_out): sorry
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > ship failed
          refused: a later attempt is under way
        > ship ok {"parcel":3}
        0s ship #1 succeeded late, NOT NEUTRALISED
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}

#[test]
fn e04_a_success_after_its_own_rejection_is_not_neutralised_once_the_saga_has_ended() {
    story(
        r#"
        pay: payments, undo refund

        0s started, forwards until 57s900ms, window until 1m
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay rejected no_funds
        0s pay action #1 rejected: no_funds
        0s compensation began: pay was rejected (no_funds): sorry
        0s ended: compensated
          => ended compensated
        > pay failed
          refused: the saga has ended
        > pay ok
        0s pay #1 succeeded late, NOT NEUTRALISED
        = compensated
    "#,
    );
}

#[test]
fn e04_a_late_success_of_what_is_never_undone_may_stay() {
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
        = compensated
    "#,
    );
}

#[test]
fn e04_a_late_output_that_is_too_large_does_not_go_with_the_undo() {
    story(
        r#"
        pay: payments, undo refund, attempts 1

        0s started, forwards until 59s, window until 1m
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > wait 1s
        1s pay action #1 timed out
        1s pay given up, in doubt
        1s compensation began: pay was not answered on its last attempt
        1s pay compensation #1 sent, awaited until 2s
          -> payments/refund pay.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > pay ok large
        1s pay #1 succeeded late, neutralised
        > resend
        1s pay sent again
          -> payments/refund pay.compensation.1.1 in 1s: {"order":7} saga {"order":7}
        = compensating
    "#,
    );
}

#[test]
fn e04_a_success_that_comes_again_after_its_undo_is_a_duplicate() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok {"hold":1}
        0s reserve action #1 succeeded: {"hold":1}
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay rejected no_funds
        0s pay action #1 rejected: no_funds
        0s compensation began: pay was rejected (no_funds): sorry
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result {"hold":1} saga {"order":7}
        > reserve ok {"hold":1}
          refused: the operation was answered already
        > undo reserve ok
        0s reserve compensation #1 succeeded
        0s ended: compensated
          => ended compensated
        > reserve ok {"hold":1}
          refused: the operation was answered already
        > undo reserve#1 ok
          refused: the operation was answered already
        = compensated
    "#,
    );
}

#[test]
fn e04_an_undo_that_found_nothing_of_what_is_known_to_be_done_leaves_it_behind() {
    story(
        r#"
        reserve: stock, undo release
        pay: payments, undo refund

        0s started, forwards until 55s800ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve ok
        0s reserve action #1 succeeded: null
        0s pay action #1 sent, awaited until 1s
          -> payments/pay pay.action.1.0 in 1s: {"order":7}
        > pay rejected no_funds
        0s pay action #1 rejected: no_funds
        0s compensation began: pay was rejected (no_funds): sorry
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} result null saga {"order":7}
        > undo reserve ok empty
        0s reserve compensation #1 succeeded (it found nothing)
        0s reserve #1 succeeded late, NOT NEUTRALISED
        0s ended: compensated
          => ended compensated
        > undo reserve ok empty
          refused: the operation was answered already
        > reserve ok
          refused: the operation was answered already
        = compensated
    "#,
    );
}

#[test]
fn e04_an_undo_that_found_nothing_of_what_succeeded_late_leaves_it_behind() {
    story(
        r#"
        reserve: stock, undo release, attempts 1

        0s started, forwards until 59s, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > wait 1s
        1s reserve action #1 timed out
        1s reserve given up, in doubt
        1s compensation began: reserve was not answered on its last attempt
        1s reserve compensation #1 sent, awaited until 2s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > reserve ok {"hold":1}
        1s reserve #1 succeeded late, neutralised
        > undo reserve ok empty
        1s reserve compensation #1 succeeded (it found nothing)
        1s reserve #1 succeeded late, NOT NEUTRALISED
        1s ended: compensated
          => ended compensated
        > reserve ok {"hold":1}
          refused: the operation was answered already
        = compensated
    "#,
    );
}

#[test]
fn e04_an_undo_may_find_nothing_of_what_was_partly_refused() {
    story(
        r#"
        reserve: stock, undo release

        0s started, forwards until 57s900ms, window until 1m
        0s reserve action #1 sent, awaited until 1s
          -> stock/reserve reserve.action.1.0 in 1s: {"order":7}
        > reserve rejected no_stock partial
        0s reserve action #1 rejected: no_stock, an effect may be left
        0s compensation began: reserve was rejected (no_stock): sorry
        0s reserve compensation #1 sent, awaited until 1s
          -> stock/release reserve.compensation.1.0 in 1s: {"order":7} saga {"order":7}
        > undo reserve ok empty
        0s reserve compensation #1 succeeded (it found nothing)
        0s ended: compensated
          => ended compensated
        = compensated
    "#,
    );
}
