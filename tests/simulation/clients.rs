//! Those who start sagas, ask again when they do not know, and change their minds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use snorri::engine::{ActError, StartError, StartRequest};
use snorri::intake;
use snorri_bus::{Bus, Bytes, HeaderMap, Outgoing};
use snorri_saga::decide::Input;
use snorri_saga::ids::{Name, SagaId, StepKey};
use snorri_saga::json::Json;
use tokio::time::{Instant, sleep, timeout};

use crate::bus::{BusPort, Server};
use crate::orchestrators::Orchestrator;
use crate::process::{Kind, Process};
use crate::shape::{Shape, Work};
use crate::world::World;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What clients were told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The sagas that were accepted, with their keys.
    pub(crate) accepted: BTreeMap<SagaId, Option<String>>,
    /// What each key was answered with.
    pub(crate) keys: BTreeMap<String, BTreeSet<SagaId>>,
    /// Keys whose start the bus has acknowledged: they will be looked at.
    pub(crate) kept: BTreeSet<String>,
    /// How many clients are at work.
    pub(crate) at_work: usize,
    pub(crate) gave_up: u64,
    /// The signals that were taken, by their ids.
    pub(crate) signals: BTreeMap<SagaId, BTreeSet<String>>,
    /// The decisions that were taken.
    pub(crate) decisions: BTreeMap<SagaId, BTreeMap<String, bool>>,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Clients {
    world: Arc<World>,
    server: Arc<Server>,
    orchestrators: Vec<Orchestrator>,
    definitions: BTreeMap<String, Shape>,
    bus: Bus,
    told: Mutex<Told>,
}

/// One start that a client wants.
#[derive(Debug, Clone)]
struct Wish {
    definition: String,
    input: String,
    key: Option<String>,
    number: usize,
}

impl Clients {
    pub(crate) fn new(
        server: &Arc<Server>,
        orchestrators: &[Orchestrator],
        definitions: BTreeMap<String, Shape>,
    ) -> Arc<Self> {
        let process = Process::new(&server.world, "a client", Kind::Client, true);
        let bus = Bus::over(BusPort::new(server, &process), server.subjects.clone());
        Arc::new(Self {
            world: server.world.clone(),
            server: server.clone(),
            orchestrators: orchestrators.to_vec(),
            definitions,
            bus,
            told: Mutex::default(),
        })
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts all sagas, spread over the time; returns when all clients have begun.
    pub(crate) async fn run(self: Arc<Self>) {
        let world = &self.world;
        let over = u64::try_from(world.plan.starts_over.as_millis()).unwrap_or(0);
        let mut times: Vec<Duration> = (0..world.plan.sagas).map(|_| world.ms(0, over)).collect();
        times.sort_unstable();
        self.told().at_work = times.len();
        let began = Instant::now();
        for (number, at) in times.into_iter().enumerate() {
            tokio::time::sleep_until(began + at).await;
            let one = self.clone();
            tokio::spawn(async move {
                one.one(number).await;
                one.told().at_work -= 1;
            });
        }
    }

    async fn one(&self, number: usize) {
        let world = &self.world;
        let names: Vec<&String> = self.definitions.keys().collect();
        let definition = world.pick(&names).copied().cloned().unwrap_or_default();
        let note = if world.chance(world.plan.large_inputs) { "y".repeat(50_000) } else { String::new() };
        let rows: Vec<Value> = (0..world.below(5)).map(|_| json!({"amount": world.below(100)})).collect();
        let input = json!({
            "amount": world.below(100), "order": format!("o{number}"), "note": note, "rows": rows,
            "odd": number % 2 == 1
        });
        let over_nats = world.chance(world.plan.over_nats);
        let keyed = world.chance(world.plan.keyed);
        let key = keyed.then(|| format!("k{number}"));
        let wish = Wish { definition, input: input.to_string(), key, number };
        let id = if over_nats { self.over_nats(&wish).await } else { self.over_rest(&wish).await };
        if let Some(id) = id {
            self.act_on(id, &wish.definition, rows.len()).await;
        }
        // A client that is not sure asks again although it was answered.
        if wish.key.is_some() && world.chance(0.2) {
            sleep(world.ms(0, 20_000)).await;
            self.over_rest(&wish).await;
        }
        if let Some(id) = id
            && world.chance(world.plan.cancels)
        {
            sleep(world.ms(0, 15_000)).await;
            self.cancel(id).await;
        }
    }

    fn accepted(&self, wish: &Wish, id: SagaId, by: &str) {
        self.world.say(format_args!("accepted {id} as {} by {by}", wish.number));
        let mut told = self.told();
        told.accepted.insert(id, wish.key.clone());
        if let Some(key) = &wish.key {
            let answers = told.keys.entry(key.clone()).or_default();
            answers.insert(id);
        }
    }

    /// By a door, as `POST /v1/sagas` does it. Without a key it is asked once: nobody can know whether it was done.
    async fn over_rest(&self, wish: &Wish) -> Option<SagaId> {
        let tries = if wish.key.is_some() { 12 } else { 1 };
        for _ in 0..tries {
            if let Some((id, by)) = self.ask(wish).await {
                self.accepted(wish, id, &by);
                return Some(id);
            }
            sleep(self.world.ms(200, 5_000)).await;
        }
        self.told().gave_up += 1;
        None
    }

    async fn ask(&self, wish: &Wish) -> Option<(SagaId, String)> {
        let open: Vec<_> = self.orchestrators.iter().filter_map(Orchestrator::door).collect();
        let door = self.world.pick(&open)?.clone();
        let input = Json::parse(&wish.input).ok()?;
        let asked = async {
            let versioned = door.definitions.get(&wish.definition, None).await.ok()?;
            let key = wish.key.clone().map(|key| intake::keyed(key, &wish.definition, None, &input));
            let key = key.transpose().ok()?;
            let tags = BTreeMap::from([("number".to_owned(), wish.number.to_string())]);
            let request = StartRequest { versioned, input, tags, key, traceparent: None };
            match door.engine.start(request, PATIENCE).await {
                Ok(started) => Some(started.id),
                Err(error @ (StartError::KeyReused(_) | StartError::Broken(_))) => {
                    self.world.violated("I12", format!("the start {} is refused: {error}", wish.number));
                    None
                }
                Err(_) => None,
            }
        };
        // An answer that comes from the dead does not arrive.
        let id = timeout(PATIENCE + Duration::from_secs(1), asked).await.ok().flatten()?;
        Some((id, door.by))
    }

    /// Over the bus, until it is acknowledged; then the answer is waited for.
    async fn over_nats(&self, wish: &Wish) -> Option<SagaId> {
        let inbox = format!("_INBOX.c{}", wish.number);
        let mut headers = HeaderMap::new();
        if let Some(key) = &wish.key {
            headers.insert("Snorri-Key", key.as_str());
        }
        headers.insert("Snorri-Reply-To", inbox.as_str());
        let definition = Name::new(&wish.definition).ok()?;
        let message = Outgoing {
            subject: self.server.subjects.start(&definition),
            headers: Some(headers),
            payload: Bytes::from(format!(r#"{{"input":{}}}"#, wish.input)),
        };
        let tries = if wish.key.is_some() { 12 } else { 1 };
        let mut is_kept = false;
        for _ in 0..tries {
            is_kept = self.bus.publish_all(vec![message.clone()]).await.iter().all(Result::is_ok);
            if is_kept {
                break;
            }
            sleep(self.world.ms(200, 5_000)).await;
        }
        if let Some(key) = wish.key.clone().filter(|_| is_kept) {
            self.told().kept.insert(key);
        }
        for _ in 0..120 {
            if let Some(answer) = self.server.take_answer(&inbox) {
                return self.read(wish, &answer);
            }
            sleep(Duration::from_millis(500)).await;
        }
        None
    }

    fn read(&self, wish: &Wish, answer: &Outgoing) -> Option<SagaId> {
        let body: Value = serde_json::from_slice(&answer.payload).ok()?;
        let id = body.get("saga_id").and_then(Value::as_str).and_then(|id| id.parse().ok());
        match id {
            Some(id) => self.accepted(wish, id, "the bus"),
            None => self.world.violated("I12", format!("the start {} is refused: {body}", wish.number)),
        }
        id
    }

    /// Gives the signals and makes the decisions that a saga and its parts wait for: early or late, twice, or never.
    async fn act_on(&self, id: SagaId, definition: &str, rows: usize) {
        let mut sagas = vec![(id, definition)];
        while let Some((id, definition)) = sagas.pop() {
            let Some(shape) = self.definitions.get(definition) else { continue };
            for step in &shape.steps {
                match &step.work {
                    Work::Part(part) => {
                        let keys = if step.is_list {
                            (0..rows).map(|row| format!("{}:{row}", step.name)).collect()
                        } else {
                            vec![step.name.clone()]
                        };
                        let keys = keys.iter().filter_map(|key| key.parse::<StepKey>().ok());
                        sagas.extend(keys.map(|key| (id.child(&key), part.as_str())));
                    }
                    Work::Signal => self.signal(id, &step.name).await,
                    Work::Approval => self.decide(id, &step.name).await,
                    Work::Participant(_) | Work::Delay => {}
                }
            }
        }
    }

    async fn signal(&self, id: SagaId, step: &str) {
        let world = &self.world;
        if world.chance(0.15) {
            return;
        }
        sleep(world.ms(0, 8_000)).await;
        let Ok(name) = Name::new(step) else { return };
        let times = if world.chance(0.3) { 2 } else { 1 };
        let key = format!("{id}-{step}");
        for _ in 0..times {
            let payload = Json::from_value(&json!({"by": "a client"}));
            let input = Input::Signal { name: name.clone(), id: key.clone(), payload };
            if self.act(id, input).await {
                world.say(format_args!("the signal {key} is taken"));
                self.told().signals.entry(id).or_default().insert(key.clone());
            }
        }
    }

    async fn decide(&self, id: SagaId, step: &str) {
        let world = &self.world;
        if world.chance(0.15) {
            return;
        }
        let Ok(name) = Name::new(step) else { return };
        let approve = world.chance(0.75);
        // Before it is asked for, nobody can decide.
        for _ in 0..4 {
            sleep(world.ms(0, 4_000)).await;
            let (by, comment) = ("a client".to_owned(), "as agreed".to_owned());
            let input = Input::Decide { step: name.clone(), approve, by, comment };
            if self.act(id, input).await {
                world.say(format_args!("{step} of {id} is decided"));
                self.told().decisions.entry(id).or_default().insert(step.to_owned(), approve);
                return;
            }
        }
    }

    /// Asks something of a saga, once, at one of the doors. `true`: it was done.
    async fn act(&self, id: SagaId, input: Input) -> bool {
        let open: Vec<_> = self.orchestrators.iter().filter_map(Orchestrator::door).collect();
        let Some(door) = self.world.pick(&open).cloned() else { return false };
        let asked = door.engine.act(id, input, PATIENCE);
        let answer = timeout(PATIENCE + Duration::from_secs(1), asked).await;
        matches!(answer, Ok(Ok(_)))
    }

    async fn cancel(&self, id: SagaId) {
        for _ in 0..5 {
            let open: Vec<_> = self.orchestrators.iter().filter_map(Orchestrator::door).collect();
            if let Some(door) = self.world.pick(&open).cloned() {
                let (by, reason) = ("a client".to_owned(), "changed its mind".to_owned());
                let asked = door.engine.act(id, Input::Cancel { by, reason }, PATIENCE);
                match timeout(PATIENCE + Duration::from_secs(1), asked).await {
                    Ok(Ok(_) | Err(ActError::Refused(..))) => {
                        self.world.say(format_args!("cancelled {id}, or too late"));
                        return;
                    }
                    Ok(Err(ActError::Unknown(_))) if !self.server.database.checks.tainted().contains(&id) => {
                        self.world.violated("I1", format!("{id} was accepted, and nobody knows it"));
                        return;
                    }
                    _ => {}
                }
            }
            sleep(self.world.ms(200, 5_000)).await;
        }
    }
}
