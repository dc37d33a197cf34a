//! The audit finds what is wrong: each corruption is put there by hand.

use super::*;

/// A shop with one completed and one compensated order, and what the orchestrator says of them.
async fn shop_with_history() -> (Shop, HashMap<Uuid, EndStatus>) {
    let mut shop = Shop::open().await;
    let (good, bad) = (Uuid::from_u128(1), Uuid::from_u128(2));
    shop.run(good, &good_order()).await.expect("an order that works");
    let mut order = good_order();
    order["address"]["town"] = json!(crate::TOWN_UNKNOWN);
    shop.run(bad, &order).await.expect_err("no such town");
    let db = &mut shop.db;
    payments::release_hold(db, &mark(bad, "hold")).await.expect("released");
    inventory::release(db, &mark(bad, "reserve")).await.expect("released");
    orders::cancel(db, &mark(bad, "place")).await.expect("cancelled");
    let ends = HashMap::from([(good, EndStatus::Completed), (bad, EndStatus::Compensated)]);
    assert_eq!(shop.problems(Some(&ends)).await, Vec::<String>::new());
    (shop, ends)
}

/// Corrupts the books and expects a problem that says all these words.
async fn finds(sql: &'static str, words: &[&str]) {
    let (mut shop, ends) = shop_with_history().await;
    shop.sql(sql).await;
    let problems = shop.problems(Some(&ends)).await;
    assert!(
        problems.iter().any(|problem| words.iter().all(|word| problem.contains(word))),
        "{words:?} not in {problems:#?}"
    );
}

#[tokio::test]
async fn a_double_effect_is_found() {
    let (mut shop, ends) = shop_with_history().await;
    let saga = Uuid::from_u128(1);
    // The books do not forbid it: without the barrier, a second delivery does just this.
    payments::hold(&mut shop.db, &mark(saga, "hold"), &parse(&good_order())).await.expect("held again");
    let problems = shop.problems(Some(&ends)).await;
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("step hold: the action was applied 2 times"), "{problems:#?}");
}

#[tokio::test]
async fn a_double_undo_is_found() {
    let (mut shop, ends) = shop_with_history().await;
    payments::release_hold(&mut shop.db, &mark(Uuid::from_u128(2), "hold")).await.expect("released again");
    let problems = shop.problems(Some(&ends)).await;
    assert!(problems[0].contains("step hold: the compensation was applied 2 times"), "{problems:#?}");
}

#[tokio::test]
async fn an_effect_after_its_undo_is_found_though_no_end_is_known() {
    let (mut shop, _) = shop_with_history().await;
    inventory::reserve(&mut shop.db, &mark(Uuid::from_u128(2), "reserve"), &parse(&good_order()))
        .await
        .expect("reserved");
    let problems = shop.problems(None).await;
    assert!(
        problems.iter().any(|problem| problem.contains("applied after its compensation")),
        "{problems:#?}"
    );
}

#[tokio::test]
async fn an_undo_that_is_missing_is_found() {
    let mut shop = Shop::open().await;
    let saga = Uuid::from_u128(7);
    payments::hold(&mut shop.db, &mark(saga, "hold"), &parse(&good_order())).await.expect("held");
    let problems = shop.problems(Some(&HashMap::from([(saga, EndStatus::Compensated)]))).await;
    assert_eq!(problems, [format!("saga {saga} is compensated, and payments/hold is not undone")]);
    let open = shop.problems(Some(&HashMap::from([(saga, EndStatus::Open)]))).await;
    assert_eq!(open, Vec::<String>::new(), "a saga on its way is not judged");
}

#[tokio::test]
async fn an_undo_in_the_wrong_order_is_found() {
    let (mut shop, ends) = shop_with_history().await;
    shop.sql("UPDATE inventory.effects SET at = at + interval '1 min' WHERE direction = 'compensation'")
        .await;
    let problems = shop.problems(Some(&ends)).await;
    let saga = Uuid::from_u128(2);
    assert_eq!(
        problems,
        [format!("saga {saga} was undone in the order hold, place, reserve, and not hold, reserve, place")]
    );
}

#[tokio::test]
async fn an_undo_of_nothing_is_found() {
    let mut shop = Shop::open().await;
    shipping::cancel(&mut shop.db, &mark(Uuid::from_u128(8), "book")).await.expect("cancelled");
    let problems = shop.problems(None).await;
    assert!(problems[0].contains("without its action"), "{problems:#?}");
}

#[tokio::test]
async fn a_completed_saga_with_a_step_missing_undone_or_of_nobody_is_found() {
    let (mut shop, mut ends) = shop_with_history().await;
    shop.sql(
        "DELETE FROM orders.effects WHERE operation = 'confirm';
         UPDATE shipping.shipments SET state = 'cancelled';
         INSERT INTO shipping.effects (saga, step, operation, direction)
         SELECT saga, step, operation, 'compensation' FROM shipping.effects",
    )
    .await;
    ends.remove(&Uuid::from_u128(2));
    let empty = Uuid::from_u128(9);
    ends.insert(empty, EndStatus::Completed);
    let problems = shop.problems(Some(&ends)).await.join("\n");
    for words in [
        "saga 00000000-0000-0000-0000-000000000001 (order) is completed, and orders/confirm was never applied",
        "saga 00000000-0000-0000-0000-000000000001 is completed, and shipping/book was undone",
        "saga 00000000-0000-0000-0000-000000000002 has effects, and the orchestrator does not know it",
        "saga 00000000-0000-0000-0000-000000000009",
    ] {
        assert!(problems.contains(words), "{words} not in {problems}");
    }
}

#[tokio::test]
async fn a_completed_saga_is_compared_with_its_own_plan_and_not_with_the_one_that_fits() {
    let (shop, mut ends) = shop_with_history().await;
    ends.insert(Uuid::from_u128(2), EndStatus::Unjudged);
    let good = Uuid::from_u128(1);
    let problems = shop.problems_of(Some(Sagas::of("transfer", &ends))).await.join("\n");
    for words in ["payments/deposit was never applied", "orders/place does not belong to it"] {
        let words = format!("saga {good} (transfer) is completed, and {words}");
        assert!(problems.contains(&words), "{words} not in {problems}");
    }
    let problems = shop.problems_of(Some(Sagas::of("another", &ends))).await;
    assert!(problems.iter().any(|problem| problem.contains("knows no plan of")), "{problems:?}");
}

#[tokio::test]
async fn money_made_or_lost_is_found() {
    finds(
        "UPDATE payments.accounts SET balance = balance + 1 WHERE customer = 'customer-0000'",
        &["cents on accounts, held and captured together", "30001 instead of 30000"],
    )
    .await;
    finds(
        "UPDATE payments.accounts SET balance = balance + CASE customer WHEN 'customer-0000' THEN 1 ELSE -1 END
         WHERE customer <> 'customer-0002'",
        &["customer-0000 has 10001 cents, and 10000 by the ledger"],
    )
    .await;
    finds("DELETE FROM payments.ledger WHERE account = 'revenue'", &["sum of the ledger"]).await;
    finds("DELETE FROM payments.ledger WHERE account = 'revenue'", &["the ledger's rows of", "-2500 cents"])
        .await;
    finds("UPDATE payments.accounts SET held = held + 5", &["cents held, by the holds and by the accounts"])
        .await;
    finds("DELETE FROM payments.accounts WHERE customer = 'customer-0002'", &["accounts: 2 instead of 3"])
        .await;
}

#[tokio::test]
async fn stock_made_or_lost_is_found() {
    finds(
        "UPDATE inventory.stock SET free = free - 1 WHERE sku = 'sku-003'",
        &["of sku-003 100 units were delivered, and 99 are there"],
    )
    .await;
    finds(
        "UPDATE inventory.stock SET free = free + 1, reserved = reserved - 1 WHERE sku = 'sku-002'",
        &["of sku-002 1 units are reserved on the shelf and 2 in the reservations"],
    )
    .await;
    finds("DELETE FROM inventory.stock WHERE sku = 'sku-003'", &["sku-003 with its 100 units is gone"]).await;
    finds("INSERT INTO inventory.stock VALUES ('gold', 5)", &["gold was never delivered"]).await;
}

#[tokio::test]
async fn books_that_disagree_with_the_journal_or_with_each_other_are_found() {
    finds("DELETE FROM shipping.shipments", &["1 actions in the journal, and 0 records"]).await;
    finds("DELETE FROM shipping.effects", &["0 actions in the journal, and 1 records"]).await;
    finds("UPDATE orders.orders SET amount_cents = 2499", &["2499 cents ordered, and 2500 cents captured"])
        .await;
    finds("UPDATE shipping.shipments SET units = 4", &["3 units ordered, and 4 units in the parcel"]).await;
    finds(
        "UPDATE orders.orders SET state = 'placed' WHERE state = 'cancelled'",
        &["1 compensations", "0 undone"],
    )
    .await;
}
