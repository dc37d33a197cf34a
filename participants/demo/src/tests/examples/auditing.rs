//! The audit finds what is wrong: each corruption is put there by hand.

use super::history::id;
use super::*;

/// Corrupts the books of a history without fault, and expects a problem that says all these words.
async fn finds(sql: &'static str, words: &[&str]) {
    let mut fair = Fair::with_history().await;
    fair.sql(sql).await;
    says(&fair, words).await;
}

async fn says(fair: &Fair, words: &[&str]) {
    let problems = fair.problems().await;
    assert!(
        problems.iter().any(|problem| words.iter().all(|word| problem.contains(word))),
        "{words:?} not in {problems:#?}"
    );
}

#[tokio::test]
async fn an_effect_that_is_there_twice_is_found_in_every_service() {
    let mut fair = Fair::with_history().await;
    let db = &mut fair.db;
    // The books do not forbid it: without the barrier, a second delivery does just this.
    let book = bookings::Book { customer: "anna".to_owned(), town: "oddi".to_owned(), units: 2, days: 3 };
    bookings::book(db, "hotels", &mark(id(1), "hotel"), &book).await.expect("again");
    let amount = |account: &str| banks::Amount { account: account.to_owned(), amount_cents: 2_500 };
    banks::hold(db, "bank_a", &mark(id(3), "hold"), &amount("a-001")).await.expect("again");
    banks::deposit(db, "bank_b", &mark(id(3), "deposit"), &amount("b-002")).await.expect("again");
    let create = parse(&json!({"name": "anna", "email": "a@b.is", "plan": "free"}));
    accounts::create(db, &mark(id(5), "create"), &create).await.expect("again");
    let letter = mail::Letter { to: "a@b.is".to_owned(), subject: String::new() };
    mail::send(db, &mark(id(5), "ask"), &letter).await.expect("again");
    let open = catalogue::Open { supplier: "edda".to_owned() };
    let import_id = catalogue::open(db, &mark(id(7), "open"), &open).await.expect("again").import_id;
    let put = catalogue::Put { import_id, sku: "harp".to_owned(), price_cents: 990 };
    catalogue::put(db, &mark(id(7), "rows:0"), &put).await.expect("again");
    for (service, step) in [
        ("hotels", "hotel"),
        ("bank-a", "hold"),
        ("bank-b", "deposit"),
        ("accounts", "create"),
        ("mail", "ask"),
        ("catalogue", "open"),
        ("catalogue", "rows:0"),
    ] {
        says(&fair, &[service, &format!("step {step}: the action was applied 2 times")]).await;
    }
    says(&fair, &["the banks: -2500 cents"]).await;
    says(&fair, &["2 accounts have the name anna"]).await;
    says(&fair, &["2 articles have the name harp"]).await;
}

#[tokio::test]
async fn an_undo_that_is_there_twice_or_of_nothing_or_missing_is_found() {
    let mut fair = Fair::with_history().await;
    let db = &mut fair.db;
    bookings::cancel(db, "cars", &mark(id(2), "car")).await.expect("again");
    banks::release(db, "bank_a", &mark(id(4), "hold")).await.expect("again");
    accounts::remove(db, &mark(id(6), "create")).await.expect("again");
    mail::retract(db, &mark(id(6), "ask")).await.expect("again");
    catalogue::remove(db, &mark(id(8), "rows:0")).await.expect("again");
    for step in ["car", "hold", "create", "ask", "rows:0"] {
        says(&fair, &[&format!("step {step}: the compensation was applied 2 times")]).await;
    }
    let mut fair = Fair::with_history().await;
    catalogue::discard(&mut fair.db, &mark(id(8), "never")).await.expect("nothing");
    says(&fair, &["step never: a compensation was applied without its action"]).await;
    finds(
        "DELETE FROM catalogue.effects WHERE step = 'rows:0' AND direction = 'compensation';
         UPDATE catalogue.articles SET state = 'staged' WHERE state = 'removed'",
        &["(import) is compensated, and catalogue/put of step rows:0 is not undone"],
    )
    .await;
}

#[tokio::test]
async fn an_undo_in_the_wrong_order_is_found_and_one_beside_another_is_not() {
    finds(
        "UPDATE accounts.effects SET at = at - interval '1 min' WHERE direction = 'compensation'",
        &["(signup) is compensated, and create was undone before ask"],
    )
    .await;
    finds(
        "UPDATE catalogue.effects SET at = at - interval '1 min' WHERE operation = 'open' AND direction = 'compensation'",
        &["(import) is compensated, and open was undone before rows:0"],
    )
    .await;
    // Hotel, flight and car need each other not.
    let mut fair = Fair::with_history().await;
    fair.sql("UPDATE hotels.effects SET at = at + interval '1 min' WHERE direction = 'compensation'").await;
    assert_eq!(fair.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_completed_saga_with_something_missing_undone_or_too_much_is_found() {
    finds(
        "DELETE FROM mail.effects WHERE step = 'welcome'",
        &["(signup)", "mail/notify of step welcome was never applied"],
    )
    .await;
    finds(
        "INSERT INTO cars.effects (saga, step, operation, direction)
         SELECT saga, step, operation, 'compensation' FROM cars.effects WHERE step = 'car' ORDER BY id LIMIT 1",
        &["(travel) is completed, and cars/book of step car was undone"],
    )
    .await;
    let mut fair = Fair::with_history().await;
    fair.sagas[0].input["car"] = json!(false);
    says(&fair, &["(travel) is completed, and cars/book of step car does not belong to it"]).await;
    let mut fair = Fair::with_history().await;
    fair.sagas.retain(|saga| saga.id != id(7));
    says(&fair, &["has effects, and the orchestrator does not know it"]).await;
    fair.ended(id(7), "another", EndStatus::Completed, &Value::Null);
    says(&fair, &["the audit knows no plan of the definition another"]).await;
}

#[tokio::test]
async fn amounts_that_are_not_those_of_the_input_are_found() {
    let changed = async |saga: u128, field: &str, value: Value, words: &[&str]| {
        let mut fair = Fair::with_history().await;
        let saga = fair.sagas.iter_mut().find(|of| of.id == id(saga)).expect("there");
        *saga.input.pointer_mut(field).expect("a field") = value;
        says(&fair, words).await;
    };
    changed(1, "/travellers", json!(3), &["hotels/book of step hotel says 2 instead of 3"]).await;
    changed(3, "/amount_cents", json!(2_499), &["bank-b/deposit of step deposit says 2500 instead of 2499"])
        .await;
    changed(7, "/rows/1/price_cents", json!(1), &["catalogue/put of step rows:1 says 990 instead of 1"])
        .await;
    changed(
        903,
        "/amount_cents",
        json!(1),
        &["(payment)", "payments/hold of step hold says 180000 instead of 1"],
    )
    .await;
    finds(
        "UPDATE flights.bookings SET price_cents = price_cents + 1 WHERE step = 'flight'",
        &["(travel) is completed, and the record of payments/hold of step hold says"],
    )
    .await;
}

#[tokio::test]
async fn children_that_ended_otherwise_than_their_parent_are_found() {
    let ends = async |saga: u128, status: EndStatus, words: &[&str]| {
        let mut fair = Fair::with_history().await;
        fair.sagas.iter_mut().find(|of| of.id == id(saga)).expect("there").status = status;
        says(&fair, words).await;
    };
    ends(1002, EndStatus::Completed, &["holiday b-2: 1 trips are completed instead of 0"]).await;
    ends(1003, EndStatus::Completed, &["holiday b-2: 180000 cents are paid instead of 0"]).await;
    ends(901, EndStatus::Compensated, &["holiday b-1: 1 trips are completed instead of 2"]).await;
    ends(9, EndStatus::Compensated, &["holiday b-1: 1 payments are completed instead of 0"]).await;
    // One that has not ended is not judged.
    let mut fair = Fair::with_history().await;
    fair.sagas.iter_mut().find(|of| of.id == id(9)).expect("there").status = EndStatus::Open;
    assert_eq!(fair.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn books_that_do_not_balance_are_found() {
    finds(
        "UPDATE hotels.capacity SET free = free + 1 WHERE town = 'oddi'",
        &["hotels: oddi began with 5 units, and has 6"],
    )
    .await;
    finds(
        "UPDATE flights.capacity SET free = free + 1, booked = booked - 1 WHERE town = 'oddi'",
        &["flights: in oddi 1 units are booked, and 2 by the bookings"],
    )
    .await;
    finds("DELETE FROM cars.capacity WHERE town = 'bergen'", &["cars: bergen with its 5 units is gone"])
        .await;
    finds(
        "INSERT INTO cars.capacity VALUES ('thule', 7, 0, 1)",
        &["cars: thule began with 0 units, and has 7"],
    )
    .await;
    finds(
        "UPDATE bank_b.accounts SET balance = balance + 1 WHERE account = 'b-001'",
        &["bank-b: b-001 has 10001 cents, and 10000 by the ledger"],
    )
    .await;
    finds(
        "UPDATE bank_a.accounts SET held = 5 WHERE account = 'a-002'",
        &["bank-a: a-002 has 5 cents held, and 0"],
    )
    .await;
    finds(
        "DELETE FROM bank_a.ledger WHERE account = 'clearing'",
        &["bank-a: the sum of the ledger is -2500 cents"],
    )
    .await;
    finds(
        "INSERT INTO bank_b.ledger (account, amount_cents) VALUES ('opening', -1), ('clearing', 1)",
        &["bank-b: the opening is -20001 cents instead of -20000"],
    )
    .await;
    finds(
        "UPDATE bank_b.movements SET account = 'b-closed'",
        &["bank-b: money was moved on b-closed, which is closed"],
    )
    .await;
    finds("UPDATE payments.accounts SET balance = balance + 1 WHERE customer = 'customer-0000'", &["500001"])
        .await;
}

#[tokio::test]
async fn states_that_no_operation_led_to_are_found() {
    finds(
        "UPDATE accounts.accounts SET state = 'pending' WHERE state = 'active'",
        &["accounts:", "`activate` is 1 times in the journal, and 0 records are active"],
    )
    .await;
    finds(
        "UPDATE bank_a.movements SET state = 'settled' WHERE state = 'released'",
        &["bank-a:", "`settle` is 0 times in the journal, and 1 records are settled"],
    )
    .await;
    finds(
        "UPDATE catalogue.articles SET state = 'staged' WHERE sku = 'harp'",
        &["catalogue: the import", "is published with 2 articles, of which 1 are staged and 1 listed"],
    )
    .await;
    finds(
        "UPDATE catalogue.articles SET state = 'listed' WHERE sku = 'lyre'",
        &["catalogue: the import", "is discarded with 0 articles, of which 0 are staged and 1 listed"],
    )
    .await;
    finds(
        "DELETE FROM mail.letters WHERE state = 'retracted'",
        &["mail:", "1 actions in the journal, and 0 records"],
    )
    .await;
}
