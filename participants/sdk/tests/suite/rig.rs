//! A participant under test: a database and a prefix of its own, a ledger that its handlers write, and the
//! orchestrator's side of the wire in the test's hands.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use snorri_bus::headers::{self, CommandHeaders};
use snorri_bus::replies::parse_replies;
use snorri_bus::{ConsumerSpec, Consumption, Next, Outgoing};
use snorri_participant::{
    Bus, BusOptions, CancellationToken, Ctx, Error, Fail, Name, Participant, SagaId, Stats, Subjects, Undo,
    connect_pool,
};
use snorri_saga::ids::{CommandId, Direction, EffectId};
use snorri_saga::json::Json;
use snorri_saga::time::Millis;
use snorri_saga::trace;
use snorri_saga::wire::{CommandBody, Outcome};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::barrier_model::Model;

/// What a test's action is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) amount: i64,
    #[serde(default)]
    pub(crate) how: How,
}

/// How it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// Well.
    #[default]
    Well,
    /// It writes and then says no.
    Reject,
    /// It says no, and that something may be left.
    RejectPartly,
    /// It writes and then fails.
    Fail,
    /// It writes and then panics.
    Panic,
    /// It writes, and its output is too large.
    Large,
    /// It writes, tells that it began, and waits until it is told to go on.
    Wait,
    /// It runs a wrong statement and goes on as if nothing had happened.
    Swallow,
    /// It needs no transaction.
    Nothing,
    /// It fails on its first call only.
    FailOnce,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) number: i64,
}

/// What handlers share with the test.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) calls: AtomicU32,
    pub(crate) began: Notify,
    pub(crate) go_on: Notify,
    /// The database, when it is not Postgres.
    pub(crate) model: Option<Arc<Model<i64>>>,
}

async fn write(stage: &Stage, cx: &Ctx, amount: i64) -> Result<(), Fail> {
    if let Some(model) = &stage.model {
        return model.write(cx.effect_id(), amount).map_err(Fail::failed);
    }
    let mut tx = cx.tx().await?;
    sqlx::query("INSERT INTO ledger (saga, step, amount) VALUES ($1, $2, $3)")
        .bind(Uuid::from(cx.saga()))
        .bind(cx.step().as_str())
        .bind(amount)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

async fn act(stage: Arc<Stage>, cx: Ctx, wish: Wish) -> Result<serde_json::Value, Fail> {
    let call = stage.calls.fetch_add(1, Ordering::SeqCst);
    if wish.how == How::Nothing {
        return Ok(serde_json::json!({ "number": wish.amount }));
    }
    write(&stage, &cx, wish.amount).await?;
    match wish.how {
        How::Reject => return Err(Fail::rejected("no", "not like this")),
        How::RejectPartly => return Err(Fail::rejected("half", "half of it").partial()),
        How::Fail => return Err(Fail::failed("later perhaps").retry_after(Duration::from_secs(7))),
        How::FailOnce if call == 0 => return Err(Fail::failed("later perhaps")),
        How::Well | How::Nothing | How::FailOnce => {}
        How::Panic => panic!("the secret 4711"),
        How::Large => return Ok(serde_json::Value::String("x".repeat(70_000))),
        How::Wait => {
            stage.began.notify_one();
            stage.go_on.notified().await;
        }
        How::Swallow => {
            let mut tx = cx.tx().await?;
            let _ = sqlx::query("SELECT 1/0").execute(&mut *tx).await;
        }
    }
    Ok(serde_json::json!({ "number": wish.amount }))
}

async fn undo(stage: Arc<Stage>, cx: Ctx, undo: Undo<Wish, Done>) -> Result<(), Fail> {
    let call = stage.calls.fetch_add(1, Ordering::SeqCst);
    if undo.input.how == How::RejectPartly && call == 1 {
        return Err(Fail::rejected("cannot", "not undoable just now"));
    }
    let amount = undo.result.map_or(undo.input.amount, |result| result.number);
    write(&stage, &cx, -amount).await
}

/// One suite for both: each of these runs over Postgres, and over the model of it that simulations use.
macro_rules! on_both {
    ($($law:ident),+ $(,)?) => {
        mod on_postgres {
            $(#[tokio::test]
            async fn $law() {
                super::$law(crate::rig::Rig::new("law").await).await;
            })+
        }
        mod on_the_model {
            $(#[tokio::test]
            async fn $law() {
                super::$law(crate::rig::Rig::over_the_model().await).await;
            })+
        }
    };
}
pub(crate) use on_both;

/// The orchestrator's side, and the participant's database.
pub(crate) struct Rig {
    pub(crate) bus: Bus,
    pub(crate) pool: PgPool,
    pub(crate) stage: Arc<Stage>,
    replies: Consumption,
    /// Replies that came while another was awaited.
    kept: HashMap<String, Vec<Outcome>>,
    /// The address of a server that other tests use too.
    shared_server: Option<String>,
}

impl Drop for Rig {
    /// Leaves no streams on a server that others share. In a thread of its own, since this may be a panic.
    fn drop(&mut self) {
        let Some(nats) = self.shared_server.take() else { return };
        let subjects = self.bus.subjects().clone();
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let options = BusOptions { subjects: subjects.clone(), ..BusOptions::new(nats, "cleaner") };
                let Ok(bus) = Bus::connect(options).await else { return };
                let _ = tokio::time::timeout(Duration::from_secs(5), async {
                    bus.connected().await;
                    for stream in [
                        subjects.commands_stream(),
                        subjects.replies_stream(),
                        subjects.starts_stream(),
                        subjects.signals_stream(),
                        subjects.endings_stream(),
                    ] {
                        let _ = bus.jetstream().expect("jetstream").delete_stream(stream).await;
                    }
                })
                .await;
            });
            std::io::Result::Ok(())
        });
        let _ = cleaning.join();
    }
}

/// A participant that runs.
pub(crate) struct Running {
    pub(crate) stats: Arc<Stats>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Stops it in good order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        within("shutdown", self.task).await.expect("joined").expect("a good end");
    }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(elapsed) => panic!("{what} took too long: {elapsed}"),
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

impl Rig {
    pub(crate) async fn new(hint: &str) -> Self {
        let hint = hint.to_owned();
        let (url, nats, prefix) = tokio::task::spawn_blocking(move || {
            let stack = snorri_stack::TestStack::get().expect("a stack");
            let url = stack.database(&hint).expect("a database");
            (url, stack.nats_url.clone(), stack.prefix(&hint))
        })
        .await
        .expect("joined");
        let mut rig = Self::at(&url, &nats, &prefix).await;
        rig.shared_server = Some(nats);
        rig
    }

    /// Its participants have the model of a database instead of Postgres.
    pub(crate) async fn over_the_model() -> Self {
        let mut rig = Self::new("model").await;
        rig.stage = Arc::new(Stage { model: Some(Arc::default()), ..Stage::default() });
        rig
    }

    pub(crate) async fn at(postgres: &str, nats: &str, prefix: &str) -> Self {
        let pool = connect_pool(postgres, 12).await.expect("a pool");
        sqlx::query(
            "CREATE TABLE ledger (id bigserial PRIMARY KEY, saga uuid NOT NULL, step text NOT NULL, amount bigint NOT NULL)",
        )
        .execute(&pool)
        .await
        .expect("a ledger");
        let options = BusOptions { subjects: Subjects::new(name(prefix)), ..BusOptions::new(nats, "test") };
        let bus = Bus::connect(options).await.expect("a bus");
        // The shared server has little room, and many tests.
        bus.limit_streams(1024 * 1024);
        within("connection", bus.connected()).await;
        let mut rig = Self {
            replies: replies(&bus),
            bus,
            pool,
            stage: Arc::default(),
            kept: HashMap::new(),
            shared_server: None,
        };
        rig.ensure_streams().await;
        rig
    }

    pub(crate) async fn ensure_streams(&mut self) {
        within("streams", async {
            while let Err(error) = self.bus.ensure_streams().await {
                eprintln!("{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }

    /// The participant, not yet running.
    pub(crate) fn participant(&self) -> Participant {
        let (acting, undoing) = (self.stage.clone(), self.stage.clone());
        let participant = Participant::new("ledger").expect("a name");
        let participant = match &self.stage.model {
            Some(model) => participant.store(model.clone()),
            None => participant.database(self.pool.clone()),
        };
        participant
            .action("write", move |cx, wish: Wish| act(acting.clone(), cx, wish))
            .compensation("erase", move |cx, wish| undo(undoing.clone(), cx, wish))
    }

    pub(crate) fn run(&self, participant: Participant) -> Running {
        let (stats, shutdown, bus) = (participant.stats(), CancellationToken::new(), self.bus.clone());
        let token = shutdown.clone();
        let task = tokio::spawn(async move { participant.run_on(&bus, token).await });
        Running { stats, shutdown, task }
    }

    pub(crate) fn start(&self) -> Running {
        self.run(self.participant())
    }

    /// Sends commands to their operations.
    pub(crate) async fn send(&self, commands: &[Command]) {
        let messages = commands.iter().map(|command| command.message(self.bus.subjects())).collect();
        for result in self.bus.publish_all(messages).await {
            result.expect("published");
        }
    }

    /// The next reply to a command. `working` is passed over.
    pub(crate) async fn reply(&mut self, command: &Command) -> Outcome {
        loop {
            let outcome = self.word(command).await;
            if outcome != Outcome::Working {
                return outcome;
            }
        }
    }

    /// The next message about a command, `working` included.
    pub(crate) async fn word(&mut self, command: &Command) -> Outcome {
        let wanted = command.id.to_string();
        within(&format!("the reply to {wanted}"), async {
            loop {
                if let Some(kept) = self.kept.get_mut(&wanted).filter(|kept| !kept.is_empty()) {
                    return kept.remove(0);
                }
                let Next::Batch(batch) = self.replies.next().await else { continue };
                for message in batch {
                    message.ack().await;
                    let subjects = self.bus.subjects();
                    assert_eq!(subjects.participant_of_reply(message.subject()), Some("ledger"));
                    let replies =
                        parse_replies(subjects, message.subject(), message.headers(), message.payload());
                    for reply in replies {
                        let reply = reply.reply.expect("a reply");
                        self.kept.entry(reply.command.to_string()).or_default().push(reply.outcome);
                    }
                }
            }
        })
        .await
    }

    /// Sends a command and returns the reply.
    pub(crate) async fn ask(&mut self, command: &Command) -> Outcome {
        self.send(std::slice::from_ref(command)).await;
        self.reply(command).await
    }

    /// What a saga has in the ledger: how many entries, and their sum.
    pub(crate) async fn ledger(&self, saga: SagaId) -> (i64, i64) {
        if let Some(model) = &self.stage.model {
            let entries = model.ledger().into_iter().filter(|(effect, _)| effect.saga == saga);
            return entries.fold((0, 0), |(count, sum), (_, amount)| (count + 1, sum + amount));
        }
        sqlx::query_as("SELECT count(*), coalesce(sum(amount), 0)::bigint FROM ledger WHERE saga = $1")
            .bind(saga.0)
            .fetch_one(&self.pool)
            .await
            .expect("the ledger")
    }

    /// How many rows the barrier has for a saga.
    pub(crate) async fn barrier_rows(&self, saga: SagaId) -> i64 {
        if let Some(model) = &self.stage.model {
            return model.rows().keys().map(|effect| i64::from(effect.saga == saga)).sum();
        }
        sqlx::query_scalar("SELECT count(*) FROM snorri_participant.barrier WHERE saga_id = $1")
            .bind(saga.0)
            .fetch_one(&self.pool)
            .await
            .expect("the barrier")
    }
}

fn replies(bus: &Bus) -> Consumption {
    let (subjects, replica) = (bus.subjects(), name("test"));
    bus.consume(ConsumerSpec::new(
        subjects.replies_stream(),
        subjects.replica_consumer(&replica),
        subjects.replies_to(&replica),
    ))
}

/// A command as the orchestrator would send it.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) id: CommandId,
    pub(crate) operation: &'static str,
    pub(crate) body: CommandBody,
    pub(crate) budget: Millis,
}

impl Command {
    /// The action of a step.
    pub(crate) fn action(saga: SagaId, step: &str, amount: i64, how: How) -> Self {
        let input = Json::from_value(&serde_json::to_value(Wish { amount, how }).expect("json"));
        let effect = EffectId { saga, step: (&name(step)).into(), direction: Direction::Action };
        Self {
            id: CommandId { effect, attempt: 1, sending: 0 },
            operation: "write",
            body: CommandBody { input, result: None, saga_input: None },
            budget: Millis::secs(20),
        }
    }

    /// Its compensation, when the action's result is not known.
    pub(crate) fn undo(&self) -> Self {
        let mut undo = self.clone();
        undo.id.effect.direction = Direction::Compensation;
        undo.id.attempt = 1;
        undo.operation = "erase";
        undo
    }

    /// The next attempt.
    pub(crate) fn again(&self) -> Self {
        let mut again = self.clone();
        again.id.attempt += 1;
        again
    }

    pub(crate) fn saga(&self) -> SagaId {
        self.id.effect.saga
    }

    pub(crate) fn message(&self, subjects: &Subjects) -> Outgoing {
        let participant = name("ledger");
        let effect = &self.id.effect;
        let span = trace::attempt_span(effect.saga, effect.step.as_str(), effect.direction, self.id.attempt);
        let traceparent = trace::traceparent(effect.saga, span, true);
        Outgoing {
            subject: subjects.command(&participant, &name(self.operation)),
            headers: Some(headers::command_headers(&CommandHeaders {
                id: &self.id,
                budget: self.budget,
                reply_to: &subjects.reply(&participant, &name("test")),
                traceparent: Some(&traceparent),
            })),
            payload: headers::command_body(&self.body),
        }
    }
}

/// A new saga.
pub(crate) fn saga() -> SagaId {
    SagaId(Uuid::now_v7())
}

/// An `ok` with the usual output.
pub(crate) fn ok(number: i64) -> Outcome {
    let output = Json::from_value(&serde_json::json!({ "number": number }));
    Outcome::Ok { output, empty: false }
}

/// The `ok` of an undo.
pub(crate) fn undone(empty: bool) -> Outcome {
    Outcome::Ok { output: Json::null(), empty }
}
