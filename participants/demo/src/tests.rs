//! The books on a real Postgres: each operation and its undo, and what the audit sees.

use std::collections::HashMap;

use serde_json::{Value, json};
use snorri_stack::TestStack;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::books::{Mark, No};
use crate::{
    Databases, EndStatus, Sagas, Service, World, audit, inventory, orders, payments, prepare, shipping,
};

mod auditing;
mod definitions;
mod examples;
mod operations;
mod racing;
mod recording;
mod whole;

/// A new, empty database on the tests' server.
fn database() -> String {
    TestStack::get().and_then(|stack| stack.database("demo")).expect("a database")
}

/// A database of its own, with all four services in it.
struct Shop {
    url: String,
    world: World,
    db: PgConnection,
}

impl Shop {
    async fn open() -> Self {
        Self::of(World {
            customers: 3,
            skus: 4,
            stock_per_sku: 100,
            stock_scarce: 1,
            balance_per_customer: 10_000,
        })
        .await
    }

    async fn of(world: World) -> Self {
        let url = database();
        for service in Service::all() {
            prepare(service, &url, &world).await.expect("prepared");
        }
        let db = PgConnection::connect(&url).await.expect("connected");
        Self { url, world, db }
    }

    /// What is wrong, with all sagas orders.
    async fn problems(&self, orders: Option<&HashMap<Uuid, EndStatus>>) -> Vec<String> {
        self.problems_of(orders.map(|ends| Sagas::of("order", ends))).await
    }

    async fn problems_of(&self, sagas: Option<Sagas<'_>>) -> Vec<String> {
        audit(&Databases::one(&self.url), &self.world, sagas).await.expect("audited").problems
    }

    async fn sql(&mut self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.db).await.expect("executed");
    }

    /// Rows of all tables that operations write to, as one text.
    async fn everything(&mut self) -> String {
        sqlx::query_scalar(
            "SELECT concat(
                (SELECT json_agg(t ORDER BY sku) FROM inventory.stock t),
                (SELECT json_agg(t ORDER BY id) FROM inventory.reservations t),
                (SELECT json_agg(t ORDER BY customer) FROM payments.accounts t),
                (SELECT json_agg(t ORDER BY id) FROM payments.holds t),
                (SELECT json_agg(t ORDER BY id) FROM payments.ledger t),
                (SELECT json_agg(t ORDER BY id) FROM shipping.shipments t),
                (SELECT json_agg(t ORDER BY id) FROM orders.orders t),
                (SELECT json_agg(t) FROM (SELECT * FROM inventory.effects UNION ALL
                    SELECT * FROM payments.effects UNION ALL SELECT * FROM shipping.effects UNION ALL
                    SELECT * FROM orders.effects) t))",
        )
        .fetch_one(&mut self.db)
        .await
        .expect("read")
    }

    /// Runs the actions of an order, as far as they go. The names of the steps are those of `order.yaml`.
    async fn run(&mut self, saga: Uuid, order: &Value) -> Result<(), No> {
        let db = &mut self.db;
        orders::place(db, &mark(saga, "place"), &parse(order)).await?;
        inventory::reserve(db, &mark(saga, "reserve"), &parse(order)).await?;
        let hold_id = payments::hold(db, &mark(saga, "hold"), &parse(order)).await?.hold_id;
        let tracking = shipping::book(db, &mark(saga, "book"), &parse(order)).await?.tracking;
        let receipt =
            payments::capture(db, &mark(saga, "capture"), &payments::Capture { hold_id }).await?.receipt;
        let order_id = order["order_id"].as_str().expect("an id").to_owned();
        orders::confirm(db, &mark(saga, "confirm"), &orders::Confirm { order_id, receipt, tracking }).await?;
        Ok(())
    }
}

fn mark(saga: Uuid, step: &str) -> Mark {
    Mark { saga, step: step.to_owned(), take_turns: false }
}

fn parse<T: serde::de::DeserializeOwned>(order: &Value) -> T {
    serde_json::from_value(order.clone()).expect("an order")
}

fn good_order() -> Value {
    json!({
        "order_id": "o1", "customer": "customer-0001", "amount_cents": 2500, "card": "4242-4242",
        "lines": [{"sku": "sku-002", "quantity": 2}, {"sku": "sku-001", "quantity": 1}],
        "address": {"town": "oddi"}
    })
}

fn code(no: &No) -> &str {
    match no {
        No::Refused { code, .. } => code,
        other => panic!("{other}"),
    }
}
