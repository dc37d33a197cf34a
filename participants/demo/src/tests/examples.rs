//! The examples' books on a real Postgres: each operation and its undo, and what the audit sees.

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{code, database, mark, parse};
use crate::EndStatus;
use crate::examples::{
    Audit, Databases, Ended, Service, World, accounts, audit, banks, bookings, catalogue, mail, prepare,
};
use crate::payments;

mod auditing;
mod barrier;
mod definitions;
mod history;
mod operations;

/// A database of its own, with all services of the examples in it, and the sagas that ran there.
struct Fair {
    url: String,
    world: World,
    db: PgConnection,
    sagas: Vec<Ended>,
}

impl Fair {
    async fn open() -> Self {
        let world = World {
            shop: crate::World {
                customers: 3,
                balance_per_customer: 500_000,
                ..crate::World::for_orders(10)
            },
            units_per_town: 5,
            bank_accounts: 2,
            cents_per_bank_account: 10_000,
        };
        let url = database();
        for service in Service::all() {
            prepare(service, &url, &world).await.expect("prepared");
        }
        let db = PgConnection::connect(&url).await.expect("connected");
        Self { url, world, db, sagas: Vec::new() }
    }

    async fn audit(&self) -> Audit {
        audit(&Databases::one(&self.url), &self.world, &self.sagas).await.expect("audited")
    }

    async fn problems(&self) -> Vec<String> {
        self.audit().await.problems().into_iter().map(str::to_owned).collect()
    }

    async fn sql(&mut self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.db).await.expect("executed");
    }

    async fn number(&mut self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.db).await.expect("read")
    }

    /// The orchestrator says that this saga ended.
    fn ended(&mut self, id: Uuid, definition: &str, status: EndStatus, input: &Value) {
        self.sagas.push(Ended { id, definition: definition.to_owned(), status, input: input.clone() });
    }
}
