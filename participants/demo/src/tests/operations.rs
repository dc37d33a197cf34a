//! Each operation keeps the books, its undo restores them, and a refusal leaves nothing.

use super::*;

#[tokio::test]
async fn a_whole_order_keeps_the_books_and_its_numbers_are_in_the_audit() {
    let mut shop = Shop::open().await;
    let saga = Uuid::from_u128(1);
    shop.run(saga, &good_order()).await.expect("an order that works");
    let ends = HashMap::from([(saga, EndStatus::Completed)]);
    let audit = audit(&Databases::one(&shop.url), &shop.world, Some(Sagas::of("order", &ends)))
        .await
        .expect("audited");
    assert_eq!(audit.problems, Vec::<String>::new());
    assert_eq!((audit.orders_confirmed, audit.parcels_booked, audit.holds_open), (1, 1, 0));
    assert_eq!((audit.units_reserved, audit.units_free, audit.units_shipped), (3, 298, 0));
    assert_eq!((audit.cents_captured, audit.cents_held, audit.cents_on_accounts), (2500, 0, 27_500));
    assert_eq!((audit.actions, audit.compensations, audit.sagas_with_effects), (6, 0, 1));
    assert!(audit.to_string().contains("25.00 captured, 0.00 held by 0 holds"), "{audit}");
}

#[tokio::test]
async fn undoing_the_steps_gives_back_every_unit_and_cent() {
    let mut shop = Shop::open().await;
    let (saga, order) = (Uuid::from_u128(2), good_order());
    let db = &mut shop.db;
    orders::place(db, &mark(saga, "place"), &parse(&order)).await.expect("placed");
    inventory::reserve(db, &mark(saga, "reserve"), &parse(&order)).await.expect("reserved");
    payments::hold(db, &mark(saga, "hold"), &parse(&order)).await.expect("held");
    shipping::book(db, &mark(saga, "book"), &parse(&order)).await.expect("booked");
    shipping::cancel(db, &mark(saga, "book")).await.expect("cancelled");
    payments::release_hold(db, &mark(saga, "hold")).await.expect("released");
    inventory::release(db, &mark(saga, "reserve")).await.expect("released");
    orders::cancel(db, &mark(saga, "place")).await.expect("cancelled");
    let ends = HashMap::from([(saga, EndStatus::Compensated)]);
    let audit = audit(&Databases::one(&shop.url), &shop.world, Some(Sagas::of("order", &ends)))
        .await
        .expect("audited");
    assert_eq!(audit.problems, Vec::<String>::new());
    assert_eq!((audit.units_free, audit.units_reserved), (301, 0));
    assert_eq!((audit.cents_on_accounts, audit.cents_held, audit.cents_captured), (30_000, 0, 0));
    assert_eq!((audit.orders_cancelled, audit.parcels_cancelled), (1, 1));
    assert_eq!((audit.actions, audit.compensations), (4, 4));
}

#[tokio::test]
async fn a_refusal_names_its_reason_and_leaves_nothing() {
    let mut shop = Shop::open().await;
    let before = shop.everything().await;
    let with = |field: &str, value: Value| {
        let mut order = good_order();
        *order.pointer_mut(field).expect("a field") = value;
        order
    };
    let saga = Uuid::from_u128(3);
    for (order, expected) in [
        (with("/lines/0/quantity", json!(101)), "out_of_stock"),
        // Together more than there is, though no line alone is; and the other line is not reserved either.
        (
            with(
                "/lines",
                json!([{"sku": "sku-002", "quantity": 60}, {"sku": "sku-001", "quantity": 1},
                                  {"sku": "sku-002", "quantity": 60}]),
            ),
            "out_of_stock",
        ),
        (with("/lines/1/sku", json!("unicorn")), "sku_unknown"),
        (with("/lines", json!([])), "bad_order"),
        (with("/lines/0/quantity", json!(0)), "bad_order"),
        (with("/lines/0/quantity", json!(-5)), "bad_order"),
    ] {
        let no = inventory::reserve(&mut shop.db, &mark(saga, "reserve"), &parse(&order)).await;
        assert_eq!(code(&no.expect_err("refused")), expected, "{order}");
    }
    for (order, expected) in [
        (with("/amount_cents", json!(10_001)), "insufficient_funds"),
        (with("/card", json!(crate::CARD_REFUSED)), "card_refused"),
        (with("/customer", json!("nobody")), "customer_unknown"),
        (with("/amount_cents", json!(-1)), "bad_amount"),
        (with("/amount_cents", json!(0)), "bad_amount"),
    ] {
        let no = payments::hold(&mut shop.db, &mark(saga, "hold"), &parse(&order)).await;
        assert_eq!(code(&no.expect_err("refused")), expected, "{order}");
    }
    let order = with("/address/town", json!(crate::TOWN_UNKNOWN));
    let no = shipping::book(&mut shop.db, &mark(saga, "book"), &parse(&order)).await.expect_err("refused");
    assert_eq!(code(&no), "address_unknown");
    let order = with("/amount_cents", json!(0));
    let no = orders::place(&mut shop.db, &mark(saga, "place"), &parse(&order)).await.expect_err("refused");
    assert_eq!(code(&no), "bad_order");
    assert_eq!(shop.everything().await, before);
    assert_eq!(
        shop.problems(Some(&HashMap::from([(saga, EndStatus::Compensated)]))).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn what_another_saga_holds_or_what_is_closed_cannot_be_used() {
    let mut shop = Shop::open().await;
    let (mine, other, order) = (Uuid::from_u128(4), Uuid::from_u128(5), good_order());
    let held = payments::hold(&mut shop.db, &mark(mine, "hold"), &parse(&order)).await.expect("held");
    let reserved =
        inventory::reserve(&mut shop.db, &mark(mine, "reserve"), &parse(&order)).await.expect("reserved");
    let before = shop.everything().await;
    let db = &mut shop.db;
    let capture = payments::Capture { hold_id: held.hold_id };
    let deposit = payments::Deposit { hold_id: held.hold_id, to: "customer-0002".to_owned() };
    let dispatch = inventory::Dispatch { reservation_id: reserved.reservation_id };
    let step = mark(other, "x");
    assert_eq!(code(&payments::capture(db, &step, &capture).await.expect_err("not its own")), "hold_unknown");
    assert_eq!(code(&payments::deposit(db, &step, &deposit).await.expect_err("not its own")), "hold_unknown");
    let no = inventory::dispatch(db, &step, &dispatch).await.expect_err("not its own");
    assert_eq!(code(&no), "reservation_unknown");
    let confirm =
        orders::Confirm { order_id: "o1".to_owned(), receipt: String::new(), tracking: String::new() };
    assert_eq!(code(&orders::confirm(db, &step, &confirm).await.expect_err("none")), "order_unknown");
    assert_eq!(shop.everything().await, before);
    let db = &mut shop.db;
    payments::capture(db, &mark(mine, "capture"), &capture).await.expect("captured");
    assert_eq!(
        code(&payments::capture(db, &mark(mine, "again"), &capture).await.expect_err("closed")),
        "hold_unknown"
    );
    inventory::dispatch(db, &mark(mine, "dispatch"), &dispatch).await.expect("dispatched");
    assert_eq!(
        shop.problems_of(Some(Sagas::of("pickup", &HashMap::from([(mine, EndStatus::Completed)])))).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_transfer_moves_money_and_refuses_a_recipient_it_does_not_know() {
    let mut shop = Shop::open().await;
    let saga = Uuid::from_u128(6);
    let wish = parse(&json!({"customer": "customer-0001", "amount_cents": 700}));
    let hold_id = payments::hold(&mut shop.db, &mark(saga, "hold"), &wish).await.expect("held").hold_id;
    let before = shop.everything().await;
    for to in ["nobody", "customer-0001"] {
        let wish = payments::Deposit { hold_id, to: to.to_owned() };
        let no = payments::deposit(&mut shop.db, &mark(saga, "deposit"), &wish).await.expect_err("refused");
        assert_eq!(code(&no), "recipient_unknown");
    }
    assert_eq!(shop.everything().await, before);
    let wish = payments::Deposit { hold_id, to: "customer-0000".to_owned() };
    payments::deposit(&mut shop.db, &mark(saga, "deposit"), &wish).await.expect("deposited");
    let balances: Vec<(i64, i64)> =
        sqlx::query_as("SELECT balance, held FROM payments.accounts ORDER BY customer")
            .fetch_all(&mut shop.db)
            .await
            .expect("read");
    assert_eq!(balances, [(10_700, 0), (9300, 0), (10_000, 0)]);
    assert_eq!(
        shop.problems_of(Some(Sagas::of("transfer", &HashMap::from([(saga, EndStatus::Completed)])))).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn preparing_again_and_at_once_changes_nothing() {
    let url = database();
    let world = World::for_orders(10);
    for service in Service::all() {
        let (a, b, c) = tokio::join!(
            prepare(service, &url, &world),
            prepare(service, &url, &world),
            prepare(service, &url, &world)
        );
        for result in [a, b, c, prepare(service, &url, &world).await] {
            result.expect("prepared");
        }
    }
    let problems = audit(&Databases::one(&url), &world, None).await.expect("audited").problems;
    assert_eq!(problems, Vec::<String>::new());
}
