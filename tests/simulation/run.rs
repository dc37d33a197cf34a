//! One simulation from its seed to its verdict.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::audit::{Audit, Totals};
use crate::bug::Bug;
use crate::bus::Server;
use crate::check::Seen;
use crate::clients::Clients;
use crate::definitions::{self, Drawn};
use crate::fault::Fault;
use crate::orchestrators::Orchestrator;
use crate::participants::{self, Services};
use crate::plan::{Mode, Plan};
use crate::process_slot::Slot;
use crate::shape::Shape;
use crate::store::Database;
use crate::weather::Weather;
use crate::world::{Violation, World};

/// How long after all has healed a saga may take.
const AFTER_HEAL: Duration = Duration::from_mins(5);
/// How long nothing is left to do before a simulation is over: late messages may still come, and must change nothing.
const QUIET: Duration = Duration::from_secs(45);

/// What a simulation came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) violations: Vec<Violation>,
    pub(crate) counts: BTreeMap<Fault, u64>,
    pub(crate) totals: Totals,
    pub(crate) seen: Seen,
    /// The hash of its log, and how long that was.
    pub(crate) fingerprint: (u64, u64),
    pub(crate) virtual_time: Duration,
    plan: Plan,
    lines: Vec<String>,
}

impl Outcome {
    /// Everything that is needed to understand it and to have it again.
    pub(crate) fn report(&self) -> String {
        let mut text = format!("\n=== seed {} failed ===\n{}\nthe last events:\n", self.seed, self.plan);
        for line in &self.lines {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "violations:");
        for violation in &self.violations {
            let _ = writeln!(text, "  {violation}");
        }
        let _ = writeln!(text, "to have it again: SNORRI_SIM_SEED={} .ci/simulate", self.seed);
        text
    }
}

/// Runs the simulation of a seed.
pub(crate) fn seed(seed: u64) -> Outcome {
    plan(Plan::of(seed), None)
}

/// Runs a simulation by its parameters, with a bug in the models or without one.
pub(crate) fn plan(plan: Plan, bug: Option<Bug>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    let outcome = runtime.block_on(simulate(plan, bug));
    // Some tasks of processes that were killed wait for ever.
    runtime.shutdown_background();
    outcome
}

async fn simulate(plan: Plan, bug: Option<Bug>) -> Outcome {
    let world = World::new(plan.clone(), bug);
    let database = Database::new(&world);
    let server = Server::new(&world, &database);
    let services = Services::new(&world, &server);
    let definitions = submit_definitions(&world, &database);

    let orchestrators: Vec<Orchestrator> = (0..plan.orchestrators)
        .map(|number| Orchestrator::new(Slot::new(&world, format!("o{number}"))))
        .collect();
    for one in &orchestrators {
        tokio::spawn(one.clone().keep(database.clone(), server.clone()));
    }
    let mut slots = Vec::new();
    for (number, one) in plan.participants.iter().enumerate() {
        for replica in 0..one.replicas {
            let slot = Slot::new(&world, format!("{}-{replica}", participants::name(number)));
            tokio::spawn(participants::keep(services.clone(), number, replica, slot.clone()));
            slots.push(slot);
        }
    }
    let clients = Clients::new(&server, &orchestrators, definitions);
    tokio::spawn(clients.clone().run());
    let weather = Weather {
        world: world.clone(),
        database: database.clone(),
        server: server.clone(),
        services: services.clone(),
        orchestrators: orchestrators.iter().map(|one| one.slot.clone()).collect(),
        participants: slots,
    };
    weather.begin();

    let is_over = watch(&weather, &clients).await;
    let audit = Audit { world: &world, database: &database, services: &services, clients: &clients, is_over };
    let totals = audit.run();
    world.say(format_args!("over: {totals:?}"));
    Outcome {
        seed: plan.seed,
        violations: world.violations(),
        counts: world.counts(),
        totals,
        seen: database.checks.seen(),
        fingerprint: world.fingerprint(),
        virtual_time: world.elapsed(),
        plan,
        lines: world.last_lines(),
    }
}

fn submit_definitions(world: &Arc<World>, database: &Arc<Database>) -> BTreeMap<String, Shape> {
    let now = database.now();
    let mut shapes = BTreeMap::new();
    for Drawn { name, body, .. } in definitions::draw_all(world) {
        world.say(format_args!("definition {body}"));
        database.tables().submit_definition(&name, [0; 32], &body, now);
        shapes.insert(name, Shape::of(&body));
    }
    shapes
}

fn is_anything_live(database: &Database) -> bool {
    database.tables().live().any(|(id, _)| !database.checks.is_torn(id))
}

/// Waits for the end. Says whether everything was given its time.
async fn watch(weather: &Weather, clients: &Arc<Clients>) -> bool {
    let (world, plan) = (&weather.world, &weather.world.plan);
    let began = Instant::now();
    let mut quiet_since: Option<Instant> = None;
    let mut healed_at: Option<Instant> = None;
    loop {
        sleep(Duration::from_secs(1)).await;
        if world.violations().len() > 5 {
            return false;
        }
        if began.elapsed() >= plan.chaos_for && healed_at.is_none() {
            if plan.mode == Mode::Safety {
                return false;
            }
            weather.heal();
            healed_at = Some(Instant::now());
        }
        let Some(healed_at) = healed_at else { continue };
        let is_idle = clients.told().at_work == 0 && !is_anything_live(&weather.database);
        quiet_since = if is_idle { quiet_since.or(Some(Instant::now())) } else { None };
        if quiet_since.is_some_and(|since| since.elapsed() >= QUIET) {
            return true;
        }
        let from = healed_at.max(began + plan.starts_over);
        if from.elapsed() >= AFTER_HEAL + weather.database.jumped_back() && from <= Instant::now() {
            return true;
        }
    }
}
