//! Many transactions at once: nobody blocks anybody for good, nothing is sold twice.

use std::sync::Arc;

use sqlx::postgres::PgPoolOptions;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_scarce_article_exactly_as_many_are_sold_as_there_are() {
    let world = World { stock_per_sku: 40, balance_per_customer: 50, customers: 2, skus: 3, stock_scarce: 7 };
    let shop = Shop::of(world).await;
    let pool = PgPoolOptions::new().max_connections(8).connect(&shop.url).await.expect("connected");
    let tasks: Vec<_> = (0..150_u128)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut db = pool.acquire().await.expect("a connection");
                let saga = Uuid::from_u128(n);
                // Two articles in either order: locks that are taken in the order of the lines would block.
                let lines = if n % 2 == 0 {
                    json!([{"sku": "sku-000", "quantity": 1}, {"sku": "sku-001", "quantity": 1}])
                } else {
                    json!([{"sku": "sku-001", "quantity": 1}, {"sku": "sku-000", "quantity": 1}])
                };
                let order = json!({"lines": lines, "customer": "customer-0001", "amount_cents": 1});
                let reserved = inventory::reserve(&mut db, &mark(saga, "reserve"), &parse(&order)).await;
                let held = payments::hold(&mut db, &mark(saga, "hold"), &parse(&order)).await;
                for no in [reserved.as_ref().err(), held.as_ref().err()].into_iter().flatten() {
                    assert!(["out_of_stock", "insufficient_funds"].contains(&code(no)), "{no}");
                }
                (u32::from(reserved.is_ok()), u32::from(held.is_ok()))
            })
        })
        .collect();
    let (mut reserved, mut held) = (0, 0);
    for task in tasks {
        let (one, other) = task.await.expect("no panic");
        reserved += one;
        held += other;
    }
    assert_eq!((reserved, held), (7, 50));
    assert_eq!(shop.problems(None).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_in_one_transaction_take_turns_and_never_deadlock() {
    let shop = Shop::of(World::for_orders(2000)).await;
    let pool = PgPoolOptions::new().max_connections(6).connect(&shop.url).await.expect("connected");
    let world = Arc::new(shop.world.clone());
    let tasks: Vec<_> = (0..6_u64)
        .map(|batch| {
            let (pool, world) = (pool.clone(), world.clone());
            tokio::spawn(async move {
                for round in 0..4 {
                    let mut tx = pool.begin().await.expect("a transaction");
                    for n in 0..40 {
                        let n = (batch * 4 + round) * 40 + n;
                        let order = crate::order(1, n, &world);
                        let at =
                            |step: &str| Mark { take_turns: true, ..mark(Uuid::from_u128(n.into()), step) };
                        let reserved = inventory::reserve(&mut tx, &at("reserve"), &parse(&order)).await;
                        let held = payments::hold(&mut tx, &at("hold"), &parse(&order)).await;
                        for no in [reserved.as_ref().err(), held.as_ref().err()].into_iter().flatten() {
                            code(no);
                        }
                        if reserved.is_ok() && n % 3 == 0 {
                            inventory::release(&mut tx, &at("reserve")).await.expect("released");
                        }
                        if held.is_ok() && n % 3 == 0 {
                            payments::release_hold(&mut tx, &at("hold")).await.expect("released");
                        }
                    }
                    tx.commit().await.expect("committed");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no deadlock");
    }
    assert_eq!(shop.problems(None).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transfers_to_and_fro_at_once_move_every_cent_once() {
    let shop = Shop::open().await;
    let pool = PgPoolOptions::new().max_connections(8).connect(&shop.url).await.expect("connected");
    let tasks: Vec<_> = (0..120_u128)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut db = pool.acquire().await.expect("a connection");
                let saga = Uuid::from_u128(n);
                let (from, to) = [("customer-0000", "customer-0001"), ("customer-0001", "customer-0000")]
                    [usize::from(n % 2 == 0)];
                let wish = parse(&json!({"customer": from, "amount_cents": 1}));
                let hold_id =
                    payments::hold(&mut db, &mark(saga, "hold"), &wish).await.expect("held").hold_id;
                let wish = payments::Deposit { hold_id, to: to.to_owned() };
                payments::deposit(&mut db, &mark(saga, "deposit"), &wish).await.expect("deposited");
                saga
            })
        })
        .collect();
    let mut ends = HashMap::new();
    for task in tasks {
        ends.insert(task.await.expect("no deadlock"), EndStatus::Completed);
    }
    let audit = audit(&Databases::one(&shop.url), &shop.world, Some(Sagas::of("transfer", &ends)))
        .await
        .expect("audited");
    assert_eq!(audit.problems, Vec::<String>::new());
    assert_eq!((audit.cents_on_accounts, audit.cents_held, audit.cents_captured), (30_000, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whole_orders_and_their_undoing_at_once_lose_no_unit_and_no_cent() {
    let world = World {
        customers: 2,
        skus: 4,
        stock_per_sku: 1000,
        stock_scarce: 1000,
        balance_per_customer: 1_000_000,
    };
    let shop = Shop::of(world).await;
    let pool = PgPoolOptions::new().max_connections(8).connect(&shop.url).await.expect("connected");
    let tasks: Vec<_> = (0..160_u128)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut db = pool.acquire().await.expect("a connection");
                let saga = Uuid::from_u128(n);
                let lines: Vec<Value> = [n, n * 3 + 1, n * 2 + 3]
                    .map(|place| json!({"sku": format!("sku-00{}", place % 4), "quantity": 2}))
                    .into();
                let order = json!({"lines": lines, "customer": "customer-0001", "amount_cents": 10});
                let reserved = inventory::reserve(&mut db, &mark(saga, "reserve"), &parse(&order))
                    .await
                    .expect("reserved");
                let held = payments::hold(&mut db, &mark(saga, "hold"), &parse(&order)).await.expect("held");
                if n % 2 == 0 {
                    payments::release_hold(&mut db, &mark(saga, "hold")).await.expect("released");
                    inventory::release(&mut db, &mark(saga, "reserve")).await.expect("released");
                    return (saga, EndStatus::Compensated);
                }
                let wish = payments::Capture { hold_id: held.hold_id };
                payments::capture(&mut db, &mark(saga, "capture"), &wish).await.expect("captured");
                let wish = inventory::Dispatch { reservation_id: reserved.reservation_id };
                inventory::dispatch(&mut db, &mark(saga, "dispatch"), &wish).await.expect("dispatched");
                (saga, EndStatus::Completed)
            })
        })
        .collect();
    let mut ends = HashMap::new();
    for task in tasks {
        ends.extend([task.await.expect("no deadlock")]);
    }
    let audit = audit(&Databases::one(&shop.url), &shop.world, Some(Sagas::of("pickup", &ends)))
        .await
        .expect("audited");
    assert_eq!(audit.problems, Vec::<String>::new());
    assert_eq!((audit.units_free, audit.units_reserved, audit.units_shipped), (4000 - 480, 0, 480));
    assert_eq!((audit.cents_on_accounts, audit.cents_held, audit.cents_captured), (1_999_200, 0, 800));
}
