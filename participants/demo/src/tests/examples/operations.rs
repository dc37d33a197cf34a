//! Each operation keeps the books, its undo restores them, and a refusal leaves nothing.

use super::history::id;
use super::*;
use crate::examples::{SUPPLIER_UNKNOWN, TOWN_WITHOUT_FLIGHTS};

fn wish(town: &str, units: i64, days: i64) -> bookings::Book {
    bookings::Book { customer: "anna".to_owned(), town: town.to_owned(), units, days }
}

fn amount(account: &str, amount_cents: i64) -> banks::Amount {
    banks::Amount { account: account.to_owned(), amount_cents }
}

impl Fair {
    /// Rows of all tables that operations write to, as one text.
    async fn everything(&mut self) -> String {
        let mut text = String::new();
        for (schema, tables) in [
            ("hotels", &["capacity", "bookings", "effects"][..]),
            ("flights", &["capacity", "bookings", "effects"]),
            ("bank_a", &["accounts", "movements", "ledger", "effects"]),
            ("bank_b", &["accounts", "movements", "ledger", "effects"]),
            ("accounts", &["accounts", "effects"]),
            ("mail", &["letters", "effects"]),
            ("catalogue", &["imports", "articles", "effects"]),
        ] {
            for table in tables {
                let sql = format!(
                    "SELECT coalesce(json_agg(t ORDER BY t::text)::text, '') FROM {schema}.{table} t"
                );
                let sql = sqlx::AssertSqlSafe(sql);
                text.push_str(
                    &sqlx::query_scalar::<_, String>(sql).fetch_one(&mut self.db).await.expect("read"),
                );
            }
        }
        text
    }
}

#[tokio::test]
async fn the_whole_history_is_in_the_audit_and_leaves_the_books_balanced() {
    let mut fair = Fair::with_history().await;
    let audit = fair.audit().await;
    assert!(audit.is_clean());
    // Of the second holiday its trips alone left anything, of the first also itself and its payment.
    assert_eq!(audit.sagas_with_effects, 8 + 4 + 2);
    assert_eq!((audit.actions, audit.compensations), (39, 13), "{audit}");
    assert!(audit.to_string().contains("problems  none"), "{audit}");
    assert_eq!(fair.number("SELECT sum(booked)::bigint FROM hotels.capacity").await, 2 + 2);
    assert_eq!(fair.number("SELECT balance FROM bank_a.accounts WHERE account = 'a-001'").await, 7_500);
    assert_eq!(fair.number("SELECT balance FROM bank_b.accounts WHERE account = 'b-002'").await, 12_500);
    assert_eq!(fair.number("SELECT count(*) FROM accounts.accounts WHERE state = 'active'").await, 1);
    assert_eq!(fair.number("SELECT count(*) FROM catalogue.articles WHERE state = 'listed'").await, 2);
}

#[tokio::test]
async fn a_refusal_names_its_reason_and_leaves_nothing() {
    let mut fair = Fair::with_history().await;
    let before = fair.everything().await;
    let at = |step: &str| mark(id(99), step);
    let db = &mut fair.db;
    for (books, wish, expected) in [
        ("hotels", wish("atlantis", 1, 1), "town_unknown"),
        ("flights", wish(TOWN_WITHOUT_FLIGHTS, 1, 1), "full"),
        ("hotels", wish("oddi", 6, 1), "full"),
        ("hotels", wish("oddi", 0, 1), "bad_booking"),
        ("hotels", wish("oddi", 1, 400), "bad_booking"),
    ] {
        let no = bookings::book(db, books, &at("hotel"), &wish).await.expect_err("refused");
        assert_eq!(code(&no), expected, "{wish:?}");
    }
    for (wish, expected) in [
        (amount("a-009", 1), "account_unknown"),
        (amount("a-closed", 1), "account_closed"),
        (amount("a-002", 10_001), "insufficient_funds"),
        (amount("a-002", 0), "bad_amount"),
        (amount("a-002", i64::MAX), "bad_amount"),
    ] {
        let no = banks::hold(db, "bank_a", &at("hold"), &wish).await.expect_err("refused");
        assert_eq!(code(&no), expected, "{wish:?}");
    }
    for (account, expected) in [("b-009", "account_unknown"), ("b-closed", "account_closed")] {
        let no = banks::look(db, "bank_b", &banks::Look { account: account.to_owned() }).await;
        assert_eq!(code(&no.expect_err("refused")), expected);
        let no = banks::deposit(db, "bank_b", &at("deposit"), &amount(account, 1)).await;
        assert_eq!(code(&no.expect_err("refused")), expected);
    }
    let seen = banks::look(db, "bank_b", &banks::Look { account: "b-001".to_owned() }).await;
    assert_eq!(seen.expect("open").account, "b-001");
    for (name, email, expected) in
        [("anna", "x@b.is", "name_taken"), ("olaf", "b.is", "bad_account"), ("", "x@b.is", "bad_account")]
    {
        let wish = parse(&json!({"name": name, "email": email, "plan": "free"}));
        let no = accounts::create(db, &at("create"), &wish).await.expect_err("refused");
        assert_eq!(code(&no), expected);
    }
    for to in ["anna@nowhere.invalid", "anna@invalid", "anna", "@b.is", "anna@"] {
        let letter = mail::Letter { to: to.to_owned(), subject: String::new() };
        let no = mail::send(db, &at("ask"), &letter).await.expect_err("refused");
        assert_eq!(code(&no), "address_unknown", "{to}");
    }
    let open = catalogue::Open { supplier: SUPPLIER_UNKNOWN.to_owned() };
    let no = catalogue::open(db, &at("open"), &open).await.expect_err("refused");
    assert_eq!(code(&no), "supplier_unknown");
    assert_eq!(fair.everything().await, before);
    assert_eq!(fair.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_another_sagas_or_is_closed_cannot_be_used() {
    let mut fair = Fair::with_history().await;
    let db = &mut fair.db;
    let held = banks::hold(db, "bank_a", &mark(id(20), "hold"), &amount("a-002", 5)).await.expect("held");
    let wish = parse(&json!({"name": "olaf", "email": "o@b.is", "plan": "free"}));
    let created = accounts::create(db, &mark(id(20), "create"), &wish).await.expect("created");
    let open = catalogue::Open { supplier: "edda".to_owned() };
    let import_id = catalogue::open(db, &mark(id(20), "open"), &open).await.expect("opened").import_id;
    let before = fair.everything().await;
    let other = mark(id(21), "x");
    let db = &mut fair.db;
    let settle = banks::Settle { hold_id: held.hold_id };
    assert_eq!(
        code(&banks::settle(db, "bank_a", &other, &settle).await.expect_err("not its own")),
        "hold_unknown"
    );
    let activate = accounts::Activate { account_id: created.account_id };
    assert_eq!(
        code(&accounts::activate(db, &other, &activate).await.expect_err("not its own")),
        "account_unknown"
    );
    let put = |sku: &str| catalogue::Put { import_id, sku: sku.to_owned(), price_cents: 5 };
    assert_eq!(
        code(&catalogue::put(db, &other, &put("flute")).await.expect_err("not its own")),
        "import_unknown"
    );
    let publish = |articles| catalogue::Publish { import_id, articles };
    let no = catalogue::publish(db, &other, &publish(0)).await.expect_err("not its own");
    assert_eq!(code(&no), "import_unknown");
    // Its own, and not all there.
    let no = catalogue::publish(db, &mark(id(20), "publish"), &publish(1)).await.expect_err("not complete");
    assert_eq!(code(&no), "incomplete");
    let no =
        catalogue::put(db, &mark(id(20), "rows:0"), &catalogue::Put { price_cents: 0, ..put("flute") }).await;
    assert_eq!(code(&no.expect_err("bad")), "bad_article");
    assert_eq!(fair.everything().await, before);
    // Closed: what is settled, active or published is so for good.
    let db = &mut fair.db;
    banks::settle(db, "bank_a", &mark(id(20), "settle"), &settle).await.expect("settled");
    let no = banks::settle(db, "bank_a", &mark(id(20), "again"), &settle).await.expect_err("closed");
    assert_eq!(code(&no), "hold_unknown");
    catalogue::put(db, &mark(id(20), "rows:0"), &put("flute")).await.expect("put");
    catalogue::publish(db, &mark(id(20), "publish"), &publish(1)).await.expect("published");
    let no = catalogue::put(db, &mark(id(20), "rows:1"), &put("pipe")).await.expect_err("closed");
    assert_eq!(code(&no), "import_unknown");
}

#[tokio::test]
async fn a_name_that_was_given_back_can_be_taken_again() {
    let mut fair = Fair::with_history().await;
    let db = &mut fair.db;
    let wish = parse(&json!({"name": "egil", "email": "e@b.is", "plan": "free"}));
    accounts::create(db, &mark(id(30), "create"), &wish).await.expect("it was removed");
    let open = catalogue::Open { supplier: "edda".to_owned() };
    let import_id = catalogue::open(db, &mark(id(31), "open"), &open).await.expect("opened").import_id;
    let put = catalogue::Put { import_id, sku: "lyre".to_owned(), price_cents: 5 };
    catalogue::put(db, &mark(id(31), "rows:0"), &put).await.expect("it was removed");
}

#[tokio::test]
async fn behind_the_pivot_a_letter_to_nobody_is_done_all_the_same() {
    let mut fair = Fair::open().await;
    let letter = mail::Letter { to: "anna@nowhere.invalid".to_owned(), subject: String::new() };
    mail::notify(&mut fair.db, &mark(id(1), "confirm"), &letter).await.expect("written down");
    assert_eq!(fair.number("SELECT count(*) FROM mail.letters WHERE state = 'bounced'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_gets_the_name_and_as_many_the_rooms_as_there_are() {
    let fair = Fair::open().await;
    let pool =
        sqlx::postgres::PgPoolOptions::new().max_connections(8).connect(&fair.url).await.expect("connected");
    let tasks: Vec<_> = (0..40_u128)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut db = pool.acquire().await.expect("a connection");
                let create = parse(&json!({"name": "anna", "email": "a@b.is", "plan": "free"}));
                let created = accounts::create(&mut db, &mark(id(n), "create"), &create).await;
                let booked =
                    bookings::book(&mut db, "hotels", &mark(id(n), "hotel"), &wish("oddi", 1, 1)).await;
                for no in [created.as_ref().err(), booked.as_ref().err()].into_iter().flatten() {
                    assert!(["name_taken", "full"].contains(&code(no)), "{no}");
                }
                (u32::from(created.is_ok()), u32::from(booked.is_ok()))
            })
        })
        .collect();
    let (mut created, mut booked) = (0, 0);
    for task in tasks {
        let (one, other) = task.await.expect("no panic");
        created += one;
        booked += other;
    }
    assert_eq!((created, booked), (1, 5));
}

#[tokio::test]
async fn preparing_again_and_at_once_changes_nothing() {
    let fair = Fair::with_history().await;
    for service in Service::all() {
        let again = || prepare(service, &fair.url, &fair.world);
        let (one, other) = tokio::join!(again(), again());
        one.and(other).expect("prepared");
    }
    assert_eq!(fair.problems().await, Vec::<String>::new());
}
