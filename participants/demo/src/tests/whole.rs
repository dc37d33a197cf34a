//! The services at work on a real bus, moved by the smallest orchestrator there can be: it reads
//! `order.yaml`, sends every command twice, and remembers nothing.

use std::time::Duration;

use snorri_bus::headers::{CommandHeaders, command_body, command_headers};
use snorri_bus::replies::parse_replies;
use snorri_bus::{Bus, BusOptions, ConsumerSpec, Consumption, Next, Outgoing};
use snorri_saga::definition::{Definition, Draft, Step};
use snorri_saga::expression::{Facts, Names};
use snorri_saga::ids::{CommandId, Direction, EffectId, Name, SagaId};
use snorri_saga::json::Json;
use snorri_saga::time::Millis;
use snorri_saga::wire::{CommandBody, Outcome, Subjects};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{Expected, ServiceConfig, Troubles, expected, order};

/// One who asks services by the bus, as an orchestrator does.
pub(super) struct Driver {
    bus: Bus,
    replies: Consumption,
    reply_to: (Name, Subjects),
    definition: Definition,
    /// How long an answer is awaited.
    patience: Duration,
}

impl Driver {
    pub(super) async fn connect(options: BusOptions) -> Self {
        let subjects = options.subjects.clone();
        let bus = Bus::connect(options).await.expect("a bus");
        bus.connected().await;
        bus.ensure_streams().await.expect("streams");
        let replica = Name::new("driver").expect("a name");
        let replies = bus.consume(ConsumerSpec::new(
            subjects.replies_stream(),
            subjects.replica_consumer(&replica),
            subjects.replies_to(&replica),
        ));
        let text = include_str!("../../../../sagas/definitions/order.yaml");
        let draft: Draft = serde_saphyr::from_str(text).expect("a draft");
        let definition = Definition::from_draft(&draft).expect("a definition");
        let patience = Duration::from_secs(20);
        Self { bus, replies, reply_to: (replica, subjects), definition, patience }
    }

    /// Takes the streams away: they reserve room on the server that the tests share.
    pub(super) async fn leave(self) {
        let subjects = &self.reply_to.1;
        for stream in [
            subjects.commands_stream(),
            subjects.replies_stream(),
            subjects.starts_stream(),
            subjects.signals_stream(),
            subjects.endings_stream(),
        ] {
            self.bus.jetstream().expect("jetstream").delete_stream(stream).await.expect("deleted");
        }
    }

    /// One operation until its outcome is final, each attempt sent twice.
    pub(super) async fn call(
        &mut self,
        participant: &Name,
        operation: &Name,
        effect: EffectId,
        body: CommandBody,
    ) -> Outcome {
        let (replica, subjects) = &self.reply_to;
        let reply_to = subjects.reply(participant, replica);
        for attempt in 1..=5 {
            let sent = [0, 1].map(|sending| {
                let id = CommandId { effect: effect.clone(), attempt, sending };
                let headers = command_headers(&CommandHeaders {
                    id: &id,
                    budget: Millis::secs(5),
                    reply_to: &reply_to,
                    traceparent: None,
                });
                let subject = subjects.command(participant, operation);
                Outgoing { subject, headers: Some(headers), payload: command_body(&body) }
            });
            for result in self.bus.publish_all(sent.into()).await {
                result.expect("published");
            }
            loop {
                let next = tokio::time::timeout(self.patience, self.replies.next_up_to(1)).await;
                let Ok(next) = next else { break };
                let Next::Batch(messages) = next else { continue };
                let message = messages.first().expect("a message");
                message.ack().await;
                let replies =
                    parse_replies(subjects, message.subject(), message.headers(), message.payload());
                // Of several replies in one message at most one is to this attempt, or some that it is at work.
                let mine = replies
                    .into_iter()
                    .map(|part| part.reply.expect("a reply"))
                    .filter(|reply| reply.command.effect == effect && reply.command.attempt == attempt)
                    .find(|reply| reply.outcome != Outcome::Working);
                match mine.map(|reply| reply.outcome) {
                    None => {}
                    Some(Outcome::Failed { .. }) => break,
                    Some(outcome) => return outcome,
                }
            }
        }
        panic!("{effect} failed five times");
    }

    /// A whole saga, to its end.
    async fn run(&mut self, saga: Uuid, order: &Value) -> Result<(), String> {
        let saga = SagaId(saga);
        let order = Json::from_value(order);
        let mut done: Vec<(usize, Json, Json)> = Vec::new();
        let steps = self.definition.steps.clone();
        let effect = |at: usize, direction| EffectId { saga, step: (&steps[at].name).into(), direction };
        for (at, step) in steps.iter().enumerate() {
            let output = |name: &str| {
                done.iter().find(|(at, ..)| steps[*at].name == *name).map(|(.., output)| output.clone())
            };
            let input = match &step.input {
                Some(template) => {
                    let facts = Facts { id: saga, definition: "order", version: 1 };
                    let names = Names { input: &order, output: &output, each: None, saga: facts };
                    template.resolve(&names, 64 * 1024).expect("filled in")
                }
                None => order.clone(),
            };
            let body = CommandBody { input: input.clone(), result: None, saga_input: None };
            match self
                .call(called(step), step.action().expect("an action"), effect(at, Direction::Action), body)
                .await
            {
                Outcome::Ok { output, .. } => done.push((at, input, output)),
                Outcome::Rejected { code, .. } => {
                    for (at, input, output) in done.into_iter().rev() {
                        let undo = steps[at].compensation.as_ref().expect("a compensation");
                        let body =
                            CommandBody { input, result: Some(output), saga_input: Some(order.clone()) };
                        let effect = effect(at, Direction::Compensation);
                        let outcome = self.call(called(&steps[at]), &undo.action, effect, body).await;
                        assert!(matches!(outcome, Outcome::Ok { empty: false, .. }), "{outcome:?}");
                    }
                    return Err(code);
                }
                other => panic!("{other:?}"),
            }
        }
        Ok(())
    }
}

async fn orders_end_as_they_must(batch: Option<usize>) {
    let shop = Shop::of(World::for_orders(100)).await;
    let stack = TestStack::get().expect("a stack");
    let subjects = Subjects::new(Name::new(&stack.prefix("demo")).expect("a name"));
    let bus =
        |name: &str| BusOptions { subjects: subjects.clone(), ..BusOptions::new(&stack.nats_url, name) };
    let mut driver = Driver::connect(bus("driver")).await;
    let shutdown = CancellationToken::new();
    let troubles = Troubles { seed: 3, slow: 0.05, slow_ms: (1, 20), fail: 0.03, crash: 0.03, abort: false };
    let running: Vec<_> = Service::all()
        .into_iter()
        .map(|service| {
            let config = ServiceConfig {
                database_url: shop.url.clone(),
                bus: bus(service.name()),
                troubles: troubles.clone(),
                batch,
                concurrency: 4,
            };
            tokio::spawn(crate::run(service, config, shutdown.clone()))
        })
        .collect();
    let mut orders: Vec<Value> = (0..1000).map(|n| order(1, n, &shop.world)).collect();
    // One of everything that can happen, and some that simply work.
    let good = orders.first().cloned().expect("an order");
    let mut kinds = std::collections::HashSet::new();
    let mut plain = 0;
    orders.retain(|order| {
        plain += 1;
        plain < 20
            || kinds.insert(format!("{:?} {:?}", expected(order), order.get("trouble").map(Value::to_string)))
    });
    orders.truncate(45);
    for trouble in [
        json!({"inventory": "crash", "payments": "fail:2"}),
        json!({"inventory": "crash", "orders": "fail:2", "payments": "slow:30", "shipping": "strike"}),
        json!({"orders": "closed_today"}),
    ] {
        let mut order = good.clone();
        order["trouble"] = trouble;
        orders.push(order);
    }
    let mut ends = HashMap::new();
    for order in &orders {
        // The time in it counts: the barrier forgets sagas of long ago.
        let saga = Uuid::now_v7();
        let end = driver.run(saga, order).await;
        ends.insert(saga, if end.is_ok() { EndStatus::Completed } else { EndStatus::Compensated });
        match expected(order) {
            Some(Expected::Completed) => assert_eq!(end, Ok(()), "{order}"),
            Some(Expected::Compensated { code }) => assert_eq!(end, Err(code), "{order}"),
            None => {}
        }
    }
    shutdown.cancel();
    for service in running {
        service.await.expect("no panic").expect("a service that ends well");
    }
    driver.leave().await;
    let audit = audit(&Databases::one(&shop.url), &shop.world, Some(Sagas::of("order", &ends)))
        .await
        .expect("audited");
    assert_eq!(audit.problems, Vec::<String>::new());
    assert_eq!(audit.holds_open + audit.orders_open, 0);
    assert!(audit.orders_confirmed > 20 && audit.compensations > 5, "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_end_as_they_must_with_one_command_in_each_transaction() {
    orders_end_as_they_must(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_end_as_they_must_with_commands_in_batches() {
    orders_end_as_they_must(Some(64)).await;
}

/// What the next test starts as a process of its own.
#[tokio::test]
#[ignore = "ends its process"]
async fn inventory_that_crashes() {
    let var = |name: &str| std::env::var(name).expect("set by the test that starts this one");
    let subjects = Subjects::new(Name::new(&var("DEMO_TEST_PREFIX")).expect("a name"));
    let config = ServiceConfig {
        database_url: var("DEMO_TEST_DATABASE"),
        bus: BusOptions { subjects, ..BusOptions::new(var("DEMO_TEST_NATS"), "inventory") },
        troubles: Troubles { abort: true, ..Troubles::default() },
        batch: None,
        concurrency: 2,
    };
    crate::run(Service::Inventory, config, CancellationToken::new()).await.expect("a service");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_crashes_before_its_commit_leaves_nothing_and_then_does_it_once() {
    let mut shop = Shop::open().await;
    let stack = TestStack::get().expect("a stack");
    let prefix = stack.prefix("demo");
    let subjects = Subjects::new(Name::new(&prefix).expect("a name"));
    let options = BusOptions { subjects, ..BusOptions::new(&stack.nats_url, "driver") };
    let mut driver = Driver::connect(options).await;
    driver.patience = Duration::from_secs(3);
    let start = || {
        std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "tests::whole::inventory_that_crashes"])
            .env("DEMO_TEST_PREFIX", &prefix)
            .env("DEMO_TEST_DATABASE", &shop.url)
            .env("DEMO_TEST_NATS", &stack.nats_url)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("started")
    };
    let mut first = start();
    let (mut second, crashed) = (None, std::sync::Arc::new(std::sync::Mutex::new(None)));
    let saga = Uuid::now_v7();
    let mut order = good_order();
    order["trouble"] = json!({"inventory": "crash"});
    let name = |text| Name::new(text).expect("a name");
    let (participant, operation) = (name("inventory"), name("reserve"));
    let effect = EffectId { saga: SagaId(saga), step: (&operation).into(), direction: Direction::Action };
    let body = CommandBody { input: Json::from_value(&order), result: None, saga_input: None };
    let watch = async {
        loop {
            if let Some(status) = first.try_wait().expect("a status") {
                *crashed.lock().expect("no panic") = Some(status);
                second = Some(start());
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let outcome = tokio::select! {
        outcome = driver.call(&participant, &operation, effect, body) => outcome,
        () = watch => panic!("it ends never"),
    };
    for mut child in [Some(first), second].into_iter().flatten() {
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
    driver.leave().await;
    assert!(matches!(outcome, Outcome::Ok { .. }), "{outcome:?}");
    let status = crashed.lock().expect("no panic").expect("the first process crashed");
    assert!(!status.success(), "{status}");
    assert_eq!(shop.problems(None).await, Vec::<String>::new());
    let effects: i64 = sqlx::query_scalar("SELECT count(*) FROM inventory.effects")
        .fetch_one(&mut shop.db)
        .await
        .expect("counted");
    assert_eq!(effects, 1);
}

fn called(step: &Step) -> &Name {
    step.participant().expect("a participant")
}
