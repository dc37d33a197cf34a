//! The audit finds what is wrong with the orchestrator's records: each corruption is put there by hand.

use super::*;
use crate::{Accepted, Findings, Invariant, Promise, Records, Why, audit_records};

/// The schema as the orchestrator makes it; its code is not used.
const SCHEMA: &str = include_str!("../../../../migrations/orchestrator/0001_sagas.sql");

/// A completed saga (1), a compensated one (2), and one whose last word was a late success (3).
const HISTORY: &str = r#"
INSERT INTO snorri.sagas (id, definition, version, status, tags, started_at, deadline, changed_at, ended_at, owner)
SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'order', 1, status, '{}', '2026-01-01 00:00:01.25Z',
       '2026-01-01 00:05:01.25Z', '2026-01-01 00:00:02.5Z', '2026-01-01 00:00:02.5Z', 'a'
FROM (VALUES (1, 'completed'), (2, 'compensated'), (3, 'compensated')) AS of (n, status);
INSERT INTO snorri.journal (saga_id, seq, at, replica, events)
SELECT id, 1, '2026-01-01 00:00:01.25Z', 'a', json_build_array(json_build_object('started', json_build_object(
    'definition', 'order', 'version', 1, 'forward_deadline', '2026-01-01T00:04:00Z',
    'deadline', '2026-01-01T00:05:01.25Z', 'input', 'anything', 'key', 'key-' || right(id::text, 1))),
    '{"sent":{"step":"place","direction":"action","attempt":1,"until":"2026-01-01T00:00:09Z"}}'::json)
FROM snorri.sagas;
INSERT INTO snorri.journal (saga_id, seq, at, replica, events)
SELECT id, 2, '2026-01-01 00:00:02.5Z', 'b', json_build_array('window_at_risk',
    json_build_object('ended', json_build_object('end', status))) FROM snorri.sagas;
INSERT INTO snorri.journal (saga_id, seq, at, replica, events)
SELECT id, 3, '2026-01-01 00:00:03Z', 'b', '[{"late_reply":{"step":"place","attempt":1,"neutralised":true}}]'
FROM snorri.sagas WHERE right(id::text, 1) = '3';
INSERT INTO snorri.start_keys (key, fingerprint, saga_id) SELECT 'key-' || right(id::text, 1), '', id FROM snorri.sagas;
INSERT INTO snorri.dead_letters (subject, reason, detail, headers, payload, bytes)
VALUES ('s', 'malformed', 'd', '', 'a planted letter', 16);
"#;

fn accepted() -> Vec<Accepted> {
    let saga = |n: u128| Accepted { key: format!("key-{n}"), saga: Uuid::from_u128(n) };
    vec![saga(1), saga(2), saga(3), saga(1)]
}

async fn records_after(sql: &'static str, accepted: &[Accepted]) -> Records {
    records_with(sql, Promise { accepted, poison: Some("planted"), downgraded: &[] }).await
}

async fn records_with(sql: &'static str, promise: Promise<'_>) -> Records {
    let url = database();
    let mut db = PgConnection::connect(&url).await.expect("connected");
    for sql in [SCHEMA, HISTORY, sql] {
        sqlx::raw_sql(sql).execute(&mut db).await.expect("executed");
    }
    audit_records(&url, promise).await.expect("audited")
}

/// Corrupts the records and expects a problem with this invariant that says these words, and no other problem.
async fn finds(sql: &'static str, expected: &[(Invariant, &str)]) {
    let Records { findings, .. } = records_after(sql, &accepted()).await;
    expect(&findings, expected);
}

fn expect(findings: &Findings, expected: &[(Invariant, &str)]) {
    let problems = findings.problems();
    for (invariant, words) in expected {
        assert!(
            problems.iter().any(|(of, text)| of == invariant && text.contains(words)),
            "{invariant}: {words} not in {problems:#?}"
        );
    }
    for (invariant, text) in problems {
        assert!(expected.iter().any(|(of, _)| of == invariant), "{invariant}: {text}");
    }
}

#[tokio::test]
async fn good_records_are_clean_and_counted() {
    let records = records_after("", &accepted()).await;
    expect(&records.findings, &[]);
    assert_eq!((records.completed, records.compensated, records.missed_window), (1, 2, 0));
    assert_eq!(records.seconds, [1.25, 1.25, 1.25]);
    assert_eq!((records.journal_rows, records.dead_letters["malformed"]), (7, 1));
    for (invariant, count) in [
        (Invariant::AcceptedExists, 4),
        (Invariant::AllEnded, 3),
        (Invariant::JournalAgrees, 3),
        (Invariant::OneKeyOneSaga, 3),
        (Invariant::NoLateStep, 3),
        (Invariant::DeadLettersExplained, 1),
    ] {
        assert_eq!(records.findings.count(invariant), count, "{invariant}");
    }
}

#[tokio::test]
async fn why_a_saga_was_turned_round_is_read_from_its_journal() {
    let why = async |events: &'static str| {
        let mut records = records_after(events, &accepted()).await;
        assert_eq!(records.whys.len(), 1);
        records.whys.remove(&Uuid::from_u128(2)).expect("it was turned round")
    };
    let refused = why(r#"UPDATE snorri.journal SET events = '[{"compensation_began":{"cause":{"rejected":
               {"step":"hold","code":"card_refused","message":"m"}}}},{"ended":{"end":"compensated"}}]'
           WHERE seq = 2 AND right(saga_id::text, 1) = '2'"#)
    .await;
    let (kind, step, code) = ("rejected".to_owned(), "hold".to_owned(), "card_refused".to_owned());
    assert_eq!(refused, Why { kind, code, step, attempts: 0, is_late: false });
    let late = why(
        r#"UPDATE snorri.journal SET at = '2026-01-01 00:03:45Z', events = '[
               {"sent":{"step":"place","direction":"action","attempt":2,"until":"2026-01-01T00:00:09Z"}},
               {"sent":{"step":"place","direction":"compensation","attempt":5,"until":"2026-01-01T00:00:09Z"}},
               {"compensation_began":{"cause":{"forward_budget":{"step":"place"}}}},{"ended":{"end":"compensated"}}]'
           WHERE seq = 2 AND right(saga_id::text, 1) = '2'"#,
    )
    .await;
    let (kind, step) = ("forward_budget".to_owned(), "place".to_owned());
    assert_eq!(late, Why { kind, code: String::new(), step, attempts: 2, is_late: true });
}

#[tokio::test]
async fn an_accepted_saga_that_is_gone_is_found() {
    finds(
        "DELETE FROM snorri.sagas WHERE status = 'completed'; DELETE FROM snorri.start_keys WHERE key = 'key-1';
         DELETE FROM snorri.journal WHERE right(saga_id::text, 1) = '1'",
        &[
            (Invariant::AcceptedExists, "saga 00000000-0000-0000-0000-000000000001 (key-1)"),
            (Invariant::OneKeyOneSaga, "the key is unknown"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_saga_that_has_not_ended_and_one_that_missed_its_window_are_found() {
    let live = "UPDATE snorri.sagas SET status = 'blocked', ended_at = NULL, wake_at = now() + interval '5 s'
                WHERE status = 'completed';
                UPDATE snorri.journal SET events = '[{\"blocked\":{\"step\":\"confirm\"}}]'
                WHERE right(saga_id::text, 1) = '1' AND seq = 2;";
    let records = records_after(live, &accepted()).await;
    expect(&records.findings, &[(Invariant::AllEnded, "has not ended: it is blocked")]);
    assert_eq!((records.missed_window, records.completed), (1, 0));
    let late = "UPDATE snorri.sagas SET deadline = '2026-01-01 00:00:02Z' WHERE status = 'completed';
                UPDATE snorri.journal SET events = replace(events::text, '00:05:01.25Z', '00:00:02Z')::json
                WHERE right(saga_id::text, 1) = '1' AND seq = 1";
    let records = records_after(late, &accepted()).await;
    expect(&records.findings, &[]);
    assert_eq!(records.missed_window, 1);
}

#[tokio::test]
async fn a_journal_with_a_gap_or_two_ends_or_something_after_its_end_is_found() {
    finds(
        "UPDATE snorri.journal SET seq = 4 WHERE seq = 3",
        &[(Invariant::JournalAgrees, "journal 4: 3 was expected")],
    )
    .await;
    finds(
        r#"UPDATE snorri.journal SET events = '[{"ended":{"end":"compensated"}}]' WHERE seq = 3"#,
        &[(Invariant::JournalAgrees, "`ended` after the end")],
    )
    .await;
    finds(
        r#"UPDATE snorri.journal SET events = '[{"sent":{"step":"hold","direction":"compensation","attempt":1}}]'
           WHERE seq = 3"#,
        &[(Invariant::JournalAgrees, "`sent` after the end")],
    )
    .await;
    finds(
        "UPDATE snorri.journal SET events = '[]' WHERE seq = 3",
        &[(Invariant::JournalAgrees, "not a list")],
    )
    .await;
    finds(
        "INSERT INTO snorri.journal SELECT saga_id, 4, at, replica, events FROM snorri.journal
         WHERE seq = 1 AND right(saga_id::text, 1) = '3'",
        &[
            (Invariant::JournalAgrees, "`started` where the journal has begun"),
            (Invariant::JournalAgrees, "after the end"),
        ],
    )
    .await;
    finds(
        "UPDATE snorri.journal SET events = '[17, {\"started\":{}, \"ended\":{}}]' WHERE seq = 3",
        &[(Invariant::JournalAgrees, "an event that is none: 17")],
    )
    .await;
}

#[tokio::test]
async fn a_row_that_disagrees_with_its_journal_is_found() {
    for (sql, words) in [
        (
            "UPDATE snorri.sagas SET status = 'completed'",
            "the status is completed by its row and compensated",
        ),
        ("UPDATE snorri.sagas SET ended_at = now()", "the end is"),
        ("UPDATE snorri.sagas SET started_at = started_at - interval '1 s'", "the beginning is"),
        ("UPDATE snorri.sagas SET deadline = deadline + interval '1 s'", "the deadline is"),
        ("UPDATE snorri.sagas SET version = 2", "the definition is order 2 by its row and order 1"),
        ("DELETE FROM snorri.journal WHERE right(saga_id::text, 1) = '2'", "has a row and no journal"),
    ] {
        let Records { findings, .. } = records_after(sql, &[]).await;
        assert!(
            findings.of(Invariant::JournalAgrees).any(|text| text.contains(words)),
            "{words}: {findings:#?}"
        );
    }
    let gone = "DELETE FROM snorri.sagas WHERE status = 'completed'";
    finds(
        gone,
        &[
            (Invariant::JournalAgrees, "has a journal and no row"),
            (Invariant::AcceptedExists, "does not exist"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_live_saga_without_a_wake_up_or_with_an_overdue_one_is_found() {
    let live = "UPDATE snorri.journal SET events = '[\"window_at_risk\"]' WHERE seq >= 2;";
    let overdue = "UPDATE snorri.journal SET events = '[\"window_at_risk\"]' WHERE seq >= 2;
        UPDATE snorri.sagas SET status = 'running', ended_at = NULL, wake_at = now() - interval '11 s'";
    finds(overdue, &[(Invariant::LiveHasWake, "more than 10 s ago"), (Invariant::AllEnded, "it is running")])
        .await;
    assert!(overdue.starts_with(live));
    finds(
        "ALTER TABLE snorri.sagas DROP CONSTRAINT live_sagas_wake;
         UPDATE snorri.sagas SET wake_at = now() + interval '5 s' WHERE status = 'completed'",
        &[
            (Invariant::LiveHasWake, "has lost a check"),
            (Invariant::LiveHasWake, "is completed, and its wake-up says otherwise"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_key_with_two_sagas_or_with_none_is_found() {
    finds(
        "UPDATE snorri.journal SET events = replace(events::text, 'key-2', 'key-1')::json",
        &[
            (Invariant::OneKeyOneSaga, "the key key-1 began saga"),
            (Invariant::OneKeyOneSaga, "the key key-2 stands for saga"),
        ],
    )
    .await;
    let mut answers = accepted();
    answers.push(Accepted { key: "key-1".to_owned(), saga: Uuid::from_u128(2) });
    let Records { findings, .. } = records_after("", &answers).await;
    expect(
        &findings,
        &[(
            Invariant::OneKeyOneSaga,
            "the key key-1 was answered with saga 00000000-0000-0000-0000-000000000002; the key stands for saga",
        )],
    );
    finds(
        "DELETE FROM snorri.start_keys WHERE key = 'key-3'",
        &[(Invariant::OneKeyOneSaga, "is forgotten"), (Invariant::OneKeyOneSaga, "the key is unknown")],
    )
    .await;
}

#[tokio::test]
async fn a_step_that_begins_too_late_and_a_dead_letter_of_nobody_are_found() {
    finds(
        "UPDATE snorri.journal SET events = replace(events::text, '00:04:00Z', '00:00:01Z')::json WHERE seq = 1",
        &[(Invariant::NoLateStep, "place begins after the forward deadline")],
    )
    .await;
    // After the pivot there is no way back, so what follows begins whenever it can.
    finds(
        r#"UPDATE snorri.journal SET events = '[{"sent":{"step":"capture","direction":"action","attempt":1,"pivot":true}},
               {"sent":{"step":"confirm","direction":"action","attempt":1}}, {"ended":{"end":"completed"}}]'
           WHERE seq = 2 AND right(saga_id::text, 1) = '1';
           UPDATE snorri.journal SET at = '2026-01-01 00:04:30Z' WHERE seq = 2 AND right(saga_id::text, 1) = '1';
           UPDATE snorri.sagas SET ended_at = '2026-01-01 00:04:30Z' WHERE status = 'completed'"#,
        &[],
    )
    .await;
    finds(
        "UPDATE snorri.dead_letters SET payload = 'of somebody else'",
        &[(Invariant::DeadLettersExplained, "dead letter 1 on s: malformed: d")],
    )
    .await;
}

#[tokio::test]
async fn a_message_of_several_replies_may_be_unread_by_a_downgraded_replica_and_nothing_else_may() {
    const UNREAD: &str = r#"INSERT INTO snorri.dead_letters (subject, reason, detail, headers, payload, bytes)
        VALUES ('snorri.reply.payments.one', 'malformed_header', 'Snorri-Command is missing', 'Snorri-Replies: 2',
                '[{"command":"c","reply":{"outcome":"working"}}]', 47);"#;
    let accepted = accepted();
    let one = ["one".to_owned()];
    let downgraded = Promise { accepted: &accepted, poison: Some("planted"), downgraded: &one };
    let wrong = (Invariant::DeadLettersExplained, "dead letter 2 on ");
    let records = records_with(UNREAD, downgraded).await;
    expect(&records.findings, &[]);
    assert_eq!((records.unread_batches, records.findings.count(Invariant::DeadLettersExplained)), (1, 2));
    // Nobody was downgraded, or another replica was.
    for downgraded in [&[][..], &["another".to_owned()], &["payments".to_owned()]] {
        let records =
            records_with(UNREAD, Promise { accepted: &accepted, poison: Some("planted"), downgraded }).await;
        expect(&records.findings, &[wrong]);
        assert_eq!(records.unread_batches, 0);
    }
    // Anything but such a message.
    for other in [
        "UPDATE snorri.dead_letters SET headers = 'Snorri-Command: Snorri-Replies' WHERE id = 2",
        "UPDATE snorri.dead_letters SET headers = '' WHERE id = 2",
        "UPDATE snorri.dead_letters SET reason = 'malformed_batch' WHERE id = 2",
        "UPDATE snorri.dead_letters SET subject = 'snorri.start.one' WHERE id = 2",
        "UPDATE snorri.dead_letters SET payload = '{}' WHERE id = 2",
    ] {
        let sql: &'static str = Box::leak(format!("{UNREAD} {other}").into_boxed_str());
        let records = records_with(sql, downgraded).await;
        expect(&records.findings, &[wrong]);
        assert_eq!(records.unread_batches, 0, "{other}");
    }
}
