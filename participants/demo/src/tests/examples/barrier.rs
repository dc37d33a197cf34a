//! The services at work on a real bus: each command is sent twice, and undos come before what they undo.

use snorri_bus::BusOptions;
use snorri_saga::ids::{Direction, EffectId, Name, SagaId};
use snorri_saga::json::Json;
use snorri_saga::wire::{CommandBody, Outcome, Subjects};
use snorri_stack::TestStack;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::tests::whole::Driver;
use crate::{ServiceConfig, Troubles, examples};

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// A call of an operation, and what it is given.
struct Call<'a> {
    saga: Uuid,
    step: &'a str,
    at: (&'a str, &'a str),
    direction: Direction,
}

async fn ask(driver: &mut Driver, call: Call<'_>, input: &Value) -> Outcome {
    let Call { saga, step, at: (participant, operation), direction } = call;
    let effect = EffectId { saga: SagaId(saga), step: step.parse().expect("a step"), direction };
    let body = CommandBody { input: Json::from_value(input), result: None, saga_input: None };
    driver.call(&name(participant), &name(operation), effect, body).await
}

async fn act(driver: &mut Driver, saga: Uuid, step: &str, at: (&str, &str), input: &Value) -> Value {
    let call = Call { saga, step, at, direction: Direction::Action };
    match ask(driver, call, input).await {
        Outcome::Ok { output, .. } => serde_json::from_str(output.get()).expect("JSON"),
        other => panic!("{at:?}: {other:?}"),
    }
}

/// Undoes, and says whether there was nothing to undo.
async fn undo(driver: &mut Driver, saga: Uuid, step: &str, at: (&str, &str), input: &Value) -> bool {
    let call = Call { saga, step, at, direction: Direction::Compensation };
    match ask(driver, call, input).await {
        Outcome::Ok { empty, .. } => empty,
        other => panic!("{at:?}: {other:?}"),
    }
}

/// Every action that can be undone, with its undo, a step's name and an input.
fn undoable() -> [(&'static str, &'static str, &'static str, Value); 9] {
    let booking = json!({"customer": "anna", "town": "oddi"});
    [
        ("hotels", "book", "cancel", booking.clone()),
        ("flights", "book", "cancel", booking.clone()),
        ("cars", "book", "cancel", booking),
        ("payments", "hold", "release_hold", json!({"customer": "customer-0001", "amount_cents": 7})),
        ("bank-a", "hold", "release", json!({"account": "a-001", "amount_cents": 7})),
        ("bank-b", "hold", "release", json!({"account": "b-001", "amount_cents": 7})),
        ("accounts", "create", "remove", json!({"name": "olaf", "email": "o@b.is", "plan": "free"})),
        ("mail", "send", "retract", json!({"to": "o@b.is", "subject": "news"})),
        ("catalogue", "open", "discard", json!({"supplier": "edda"})),
    ]
}

async fn each_service_does_everything_once(batch: Option<usize>) {
    let mut fair = Fair::open().await;
    let stack = TestStack::get().expect("a stack");
    let subjects = Subjects::new(name(&stack.prefix("fair")));
    let bus =
        |name: &str| BusOptions { subjects: subjects.clone(), ..BusOptions::new(&stack.nats_url, name) };
    let mut driver = Driver::connect(bus("driver")).await;
    let shutdown = CancellationToken::new();
    let running: Vec<_> = Service::all()
        .into_iter()
        .map(|service| {
            let config = ServiceConfig {
                database_url: fair.url.clone(),
                bus: bus(service.name()),
                troubles: Troubles {
                    seed: 5,
                    slow: 0.1,
                    slow_ms: (1, 20),
                    fail: 0.1,
                    crash: 0.1,
                    abort: false,
                },
                batch,
                concurrency: 2,
            };
            tokio::spawn(examples::run(service, config, shutdown.clone()))
        })
        .collect();
    let driver_ = &mut driver;
    // Done and undone, each twice.
    for (service, action, compensation, input) in undoable() {
        let saga = Uuid::now_v7();
        act(driver_, saga, "step", (service, action), &input).await;
        assert!(!undo(driver_, saga, "step", (service, compensation), &input).await, "{service}");
    }
    // The undo comes first: there is nothing to undo, and the action never happens.
    for (service, action, compensation, input) in undoable() {
        let saga = Uuid::now_v7();
        assert!(undo(driver_, saga, "step", (service, compensation), &input).await, "{service}");
        let call = Call { saga, step: "step", at: (service, action), direction: Direction::Action };
        let outcome = ask(driver_, call, &input).await;
        assert!(matches!(outcome, Outcome::Tombstoned), "{service}: {outcome:?}");
    }
    for table in
        ["hotels.bookings", "bank_a.movements", "accounts.accounts", "mail.letters", "catalogue.imports"]
    {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let rows: i64 = sqlx::query_scalar(sql).fetch_one(&mut fair.db).await.expect("counted");
        assert_eq!(rows, 1, "{table}");
    }
    // What is for good, each twice.
    let transfer = Uuid::now_v7();
    let input = json!({"from": "a-001", "to": "b-001", "amount_cents": 70});
    let seen = act(driver_, transfer, "recipient", ("bank-b", "look"), &json!({"account": "b-001"})).await;
    assert_eq!(seen, json!({"account": "b-001"}));
    let amount = |account: &str| json!({"account": account, "amount_cents": 70});
    let held = act(driver_, transfer, "hold", ("bank-a", "hold"), &amount("a-001")).await;
    act(driver_, transfer, "deposit", ("bank-b", "deposit"), &amount("b-001")).await;
    act(driver_, transfer, "settle", ("bank-a", "settle"), &held).await;
    fair.ended(transfer, "bank-transfer", EndStatus::Completed, &input);

    let signup = Uuid::now_v7();
    let input = json!({"name": "olaf", "email": "o@b.is", "plan": "free"});
    let letter = json!({"to": "o@b.is", "subject": "news"});
    let created = act(driver_, signup, "create", ("accounts", "create"), &input).await;
    act(driver_, signup, "ask", ("mail", "send"), &letter).await;
    act(driver_, signup, "activate", ("accounts", "activate"), &created).await;
    act(driver_, signup, "welcome", ("mail", "notify"), &letter).await;
    fair.ended(signup, "signup", EndStatus::Completed, &input);

    let import = Uuid::now_v7();
    let opened = act(driver_, import, "open", ("catalogue", "open"), &json!({"supplier": "edda"})).await;
    let put = json!({"import_id": opened["import_id"], "sku": "harp", "price_cents": 990});
    act(driver_, import, "row", ("catalogue", "put"), &put).await;
    assert!(!undo(driver_, import, "row", ("catalogue", "remove"), &put).await);
    let publish = json!({"import_id": opened["import_id"], "articles": 0});
    act(driver_, import, "publish", ("catalogue", "publish"), &publish).await;
    shutdown.cancel();
    for service in running {
        service.await.expect("no panic").expect("a service that ends well");
    }
    driver.leave().await;
    // The others are not whole sagas: only what holds within each service is looked at.
    let others: Vec<Uuid> = sqlx::query_scalar(
        "SELECT saga FROM hotels.effects UNION SELECT saga FROM flights.effects UNION SELECT saga FROM cars.effects
         UNION SELECT saga FROM payments.effects UNION SELECT saga FROM bank_a.effects
         UNION SELECT saga FROM bank_b.effects UNION SELECT saga FROM accounts.effects
         UNION SELECT saga FROM mail.effects UNION SELECT saga FROM catalogue.effects",
    )
    .fetch_all(&mut fair.db)
    .await
    .expect("read");
    assert_eq!(others.len(), 9 + 3);
    for saga in others.into_iter().filter(|saga| ![transfer, signup].contains(saga)) {
        fair.ended(saga, "part", EndStatus::Unjudged, &Value::Null);
    }
    let audit = fair.audit().await;
    assert_eq!(audit.problems(), Vec::<&str>::new());
    assert_eq!((audit.actions, audit.compensations), (9 + 3 + 4 + 3, 9 + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_does_everything_once_with_one_command_in_each_transaction() {
    each_service_does_everything_once(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_does_everything_once_with_commands_in_batches() {
    each_service_does_everything_once(Some(64)).await;
}
