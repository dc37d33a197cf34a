//! The participants: the SDK's real loop and its real barrier, over a model of the database and of the bus, with
//! handlers that do whatever the seed says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use snorri_bus::Bus;
use snorri_participant::{CancellationToken, Ctx, Fail, Participant, Undo};
use snorri_saga::ids::EffectId;
use tokio::time::sleep;

use crate::bug::Bug;
use crate::bus::{BusPort, Server};
use crate::fault::Fault;
use crate::ledger::{Entry, Ledger, LedgerPort};
use crate::process::{Kind, Process};
use crate::process_slot::Slot;
use crate::world::World;

/// The operations that every participant has. `book` is undone by `unbook`.
pub(crate) const BOOK: &str = "book";
pub(crate) const UNBOOK: &str = "unbook";
/// The point of no return: done, or refused.
pub(crate) const PAY: &str = "pay";
/// What must succeed after it.
pub(crate) const SHIP: &str = "ship";
/// No effect.
pub(crate) const LOOK: &str = "look";
/// The same behind the pivot, where nobody may refuse.
pub(crate) const PEEK: &str = "peek";

/// The name of a participant.
pub(crate) fn name(number: usize) -> String {
    format!("p{number}")
}

/// What all participants share.
#[derive(Debug)]
pub(crate) struct Services {
    world: Arc<World>,
    server: Arc<Server>,
    /// One database a participant.
    pub(crate) ledgers: Vec<Ledger>,
    /// Effects that rejections left outside of any transaction, each with its place among all writes.
    left: Mutex<BTreeMap<EffectId, u64>>,
    order: AtomicU64,
}

impl Services {
    pub(crate) fn new(world: &Arc<World>, server: &Arc<Server>) -> Arc<Self> {
        // With a barrier for each replica there are more of them; see `TurnsShared`.
        let count: usize = world.plan.participants.iter().map(|one| one.replicas).sum();
        Arc::new(Self {
            world: world.clone(),
            server: server.clone(),
            ledgers: (0..count.max(world.plan.participants.len())).map(|_| Ledger::new()).collect(),
            left: Mutex::default(),
            order: AtomicU64::new(1),
        })
    }

    /// What rejections left.
    pub(crate) fn left(&self) -> BTreeMap<EffectId, u64> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of a participant's database.
    fn ledger_of(&self, participant: usize, replica: usize) -> usize {
        if self.world.bug != Some(Bug::TurnsShared) || replica == 0 {
            return participant;
        }
        let participants = self.world.plan.participants.len();
        let others = self.world.plan.participants.iter().take(participant).filter(|one| one.replicas > 1);
        participants + others.count()
    }

    /// Runs one replica until its process dies, or until it is told to stop.
    pub(crate) async fn run(
        self: Arc<Self>,
        participant: usize,
        replica: usize,
        process: Arc<Process>,
        stop: CancellationToken,
    ) {
        let Some(plan) = self.world.plan.participants.get(participant).copied() else { return };
        let Some(ledger) = self.ledgers.get(self.ledger_of(participant, replica)).cloned() else { return };
        let bus = Bus::over(BusPort::new(&self.server, &process), self.server.subjects.clone());
        let port = LedgerPort { ledger: ledger.clone(), process: process.clone() };
        let Ok(sdk) = Participant::new(&name(participant)) else { return };
        let mut sdk = sdk.store(Arc::new(port));
        for operation in [BOOK, PAY, SHIP, LOOK, PEEK] {
            let handlers =
                Handlers { services: self.clone(), process: process.clone(), ledger: ledger.clone() };
            sdk = sdk.action(operation, move |cx, input| {
                let handlers = handlers.clone();
                async move { handlers.act(operation, cx, input).await }
            });
        }
        let handlers = Handlers { services: self.clone(), process: process.clone(), ledger };
        sdk = sdk.compensation(UNBOOK, move |cx, undo| {
            let handlers = handlers.clone();
            async move { handlers.undo(cx, undo).await }
        });
        sdk = match plan.batch {
            Some(max) => sdk.batch(max),
            None => sdk.concurrency(plan.concurrency),
        };
        let ended = tokio::spawn(async move { sdk.run_on(&bus, stop).await });
        let abort = ended.abort_handle();
        tokio::select! {
            biased;
            () = process.died.notified() => abort.abort(),
            ended = ended => {
                if let Ok(Err(error)) = ended {
                    self.world.violated("I2", format!("{} ended: {error}", process.name));
                }
            }
        }
        process.retire();
    }
}

/// The handlers of one process.
#[derive(Clone)]
struct Handlers {
    services: Arc<Services>,
    process: Arc<Process>,
    ledger: Ledger,
}

impl Handlers {
    async fn think(&self) -> Result<(), Fail> {
        let world = &self.services.world;
        self.process.enter("a handler").await;
        if world.strikes(Fault::HandlerSlow) {
            sleep(world.ms(500, 20_000)).await;
        }
        if world.strikes(Fault::HandlerHangs) {
            sleep(world.ms(30_000, 120_000)).await;
        }
        if world.strikes(Fault::HandlerPanics) {
            // Without the hook, which would print it.
            std::panic::resume_unwind(Box::new("a handler's bug"));
        }
        if world.strikes(Fault::HandlerFails) {
            let fail = Fail::failed("not now");
            return Err(if world.chance(0.3) { fail.retry_after(world.ms(100, 5_000)) } else { fail });
        }
        self.process.alive().await;
        Ok(())
    }

    fn write(&self, effect: &EffectId, input: &Value) -> Result<(), Fail> {
        let order = self.services.order.fetch_add(1, Ordering::Relaxed);
        let amount = input.get("amount").and_then(Value::as_i64).unwrap_or(1);
        let entry = Entry { order, input: input.to_string(), amount };
        self.ledger.model.write(effect, entry).map_err(Fail::failed)
    }

    async fn act(&self, operation: &'static str, cx: Ctx, input: Value) -> Result<Value, Fail> {
        let world = &self.services.world;
        self.think().await?;
        let effect = cx.effect_id();
        if ![SHIP, PEEK].contains(&operation) && world.strikes(Fault::HandlerRejects) {
            return Err(Fail::rejected("no", "for a reason"));
        }
        if ![LOOK, PEEK].contains(&operation) {
            self.write(effect, &input)?;
        }
        if operation == BOOK && world.strikes(Fault::HandlerPartial) {
            let order = self.services.order.fetch_add(1, Ordering::Relaxed);
            self.services.left.lock().unwrap_or_else(PoisonError::into_inner).insert(effect.clone(), order);
            return Err(Fail::rejected("half", "one of two").partial());
        }
        let large = if world.chance(world.plan.large_inputs) { "x".repeat(40_000) } else { String::new() };
        self.process.enter("a handler's end").await;
        Ok(json!({"ref": effect.to_string(), "attempt": cx.attempt(), "large": large}))
    }

    async fn undo(&self, cx: Ctx, undo: Undo<Value, Value>) -> Result<(), Fail> {
        let world = &self.services.world;
        self.think().await?;
        if world.chance(0.3) && world.strikes(Fault::HandlerRejects) {
            return Err(Fail::rejected("no", "which no undo may say"));
        }
        if let Some(result) = &undo.result
            && result.get("ref").and_then(Value::as_str).is_none()
        {
            world.violated("E13", format!("{} is given a result that is not the action's", cx.effect_id()));
        }
        self.write(cx.effect_id(), &undo.input)?;
        self.process.enter("a handler's end").await;
        Ok(())
    }
}

/// A participant's replica as it lives on: started, killed, started again.
pub(crate) async fn keep(services: Arc<Services>, participant: usize, replica: usize, slot: Slot) {
    let world = services.world.clone();
    loop {
        let process = slot.begin(Kind::Participant);
        let stop = CancellationToken::new();
        slot.stop_with(stop.clone());
        services.clone().run(participant, replica, process.clone(), stop).await;
        process.retire();
        if slot.stays_dead() {
            return;
        }
        sleep(world.rest()).await;
        // It may have been decided meanwhile.
        if slot.stays_dead() {
            return;
        }
    }
}
