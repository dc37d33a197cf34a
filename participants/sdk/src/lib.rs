//! The participant SDK: a service's side of its sagas, with effects exactly once.
//!
//! A participant is two functions for each step: one that does something and one that undoes it. The SDK
//! brings the commands to them and the answers back, and keeps a *barrier* in the service's own Postgres, in
//! the same transaction as the service's own writes. With it an action happens once however often its command
//! comes; an undo happens once, finds nothing to do when the action never ran, and keeps it from running later.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use snorri_participant::{BusOptions, CancellationToken, Ctx, Fail, Participant, Undo, connect_pool};
//! use uuid::Uuid;
//!
//! #[derive(Deserialize)]
//! struct Reserve { sku: String, quantity: i64 }
//! #[derive(Serialize, Deserialize)]
//! struct Reserved { reservation: Uuid }
//!
//! async fn reserve(cx: Ctx, wish: Reserve) -> Result<Reserved, Fail> {
//!     let mut tx = cx.tx().await?; // the barrier's rows are in the same transaction
//!     let taken = sqlx::query("UPDATE stock SET free = free - $2 WHERE sku = $1 AND free >= $2")
//!         .bind(&wish.sku).bind(wish.quantity).execute(&mut *tx).await?.rows_affected();
//!     if taken == 0 {
//!         return Err(Fail::rejected("out_of_stock", "not enough of it in stock"));
//!     }
//!     Ok(Reserved { reservation: cx.saga().into() })
//! }
//!
//! async fn release(cx: Ctx, undo: Undo<Reserve, Reserved>) -> Result<(), Fail> {
//!     let mut tx = cx.tx().await?;
//!     sqlx::query("UPDATE stock SET free = free + $2 WHERE sku = $1")
//!         .bind(&undo.input.sku).bind(undo.input.quantity).execute(&mut *tx).await?;
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let pool = connect_pool("postgres://localhost/inventory", 40).await?;
//!     let shutdown = CancellationToken::new();
//!     Participant::new("inventory")?
//!         .database(pool)
//!         .action("reserve", reserve)
//!         .compensation("release", release)
//!         .concurrency(32)
//!         .run(BusOptions::new("nats://localhost:4222", "inventory"), shutdown)
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! # What a handler may count on, and what it must do
//!
//! * What it writes through [`Ctx::tx`] counts exactly when its answer does. A rejected or failed handler leaves
//!   nothing behind there.
//! * It may be called again after it failed, or after a crash before the commit. What it does *outside* of the
//!   transaction (an HTTP call, say) must therefore be idempotent: hand [`Ctx::effect_id`] on as the key.
//! * Of an effect outside of the transaction the barrier knows only what was committed. After a crash before the commit (also
//!   of a [`partial`](Fail::partial) rejection), or after [`Fail::failed`], the saga may turn round without another attempt, and the undo's
//!   handler is *not called*: the barrier finds no action, answers `empty`, and the effect stays. So let a step of its own
//!   come first, whose action does nothing outside and whose undo asks the other service by the effect's key and undoes what it finds;
//!   or have the other service hold with a time limit what a later step confirms.
//! * A failure is stored like any other answer: that attempt does not run again, however often its command comes; the
//!   next one does. A participant without a database can promise less: there a failed command whose acknowledgement is lost may run
//!   again, so its operations must be idempotent and bear that.
//! * [`Fail::rejected`] is final and promises that no effect is left; with [`Fail::partial`] the step is undone.
//!   Everything else is "try again": [`Fail::failed`], a database error by `?`, a panic.
//! * While it runs the orchestrator is told so each third of the step's budget, so the budget is about silence and
//!   not about duration. Five minutes are the end in any case.
//! * When the database is away, commands wait in NATS and no attempt is used up.

mod alive;
mod answers;
mod barrier;
mod ctx;
mod database;
mod fail;
mod gate;
mod handler;
mod lease;
mod participant;
mod postgres;
mod retention;
mod run;
mod stats;
pub mod store;
pub mod telemetry;
mod work;

pub use ctx::{Ctx, Tx};
pub use database::{connect_pool, migrate};
pub use fail::Fail;
pub use handler::Undo;
pub use participant::{Error, Participant};
pub use stats::{Stats, StatsSnapshot};

pub use snorri_bus::{Bus, BusOptions, PublishError};
pub use snorri_saga::ids::{EffectId, Name, SagaId};
pub use snorri_saga::json::Json;
pub use snorri_saga::wire::Subjects;
pub use tokio_util::sync::CancellationToken;
