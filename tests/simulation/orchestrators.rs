//! The orchestrators: `snorri::replica::Replica`, as it runs in production, over the models.

use std::sync::{Arc, Mutex, PoisonError};

use snorri::definitions::Definitions;
use snorri::dice::Dice;
use snorri::engine::Engine;
use snorri::metrics::Metrics;
use snorri::replica::{Ended, Limits, Ports, Replica};
use snorri::telemetry::Tracer;
use snorri_bus::Bus;
use snorri_participant::CancellationToken;
use snorri_saga::ids::Name;
use tokio::time::{sleep, timeout};

use crate::bus::{BusPort, Server};
use crate::process::Kind;
use crate::process_slot::Slot;
use crate::store::{Database, StorePort};

/// The door of one orchestrator, while it is open.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) engine: Engine,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) by: String,
}

/// One orchestrator's place.
#[derive(Debug, Clone)]
pub(crate) struct Orchestrator {
    pub(crate) slot: Slot,
    door: Arc<Mutex<Option<Door>>>,
}

impl Orchestrator {
    pub(crate) fn new(slot: Slot) -> Self {
        Self { slot, door: Arc::default() }
    }

    /// The way in, if it is running.
    pub(crate) fn door(&self) -> Option<Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open(&self, door: Option<Door>) {
        *self.door.lock().unwrap_or_else(PoisonError::into_inner) = door;
    }

    /// Runs it, and runs it again whenever it has ended.
    pub(crate) async fn keep(self, database: Arc<Database>, server: Arc<Server>) {
        let world = database.world.clone();
        loop {
            let process = self.slot.begin(Kind::Orchestrator);
            let stop = CancellationToken::new();
            self.slot.stop_with(stop.clone());
            let ports = Ports {
                name: Name::new(&self.slot.name).expect("the simulator's names are names"),
                store: StorePort::new(&database, &process),
                bus: Bus::over(BusPort::new(&server, &process), server.subjects.clone()),
                metrics: Arc::new(Metrics::default()),
                tracer: Arc::new(Tracer::default()),
                dice: Dice::seeded(world.number()),
                limits: Limits {
                    lanes: world.plan.lanes,
                    live_sagas: 10_000,
                    live_bytes: 1 << 30,
                    starts_per_second: 0,
                },
            };
            let started = tokio::select! {
                biased;
                () = process.died.notified() => None,
                started = Replica::start(ports) => Some(started),
            };
            match started {
                None => {}
                Some(Err(error)) => world.violated("I2", format!("{} cannot start: {error}", process.name)),
                Some(Ok(mut replica)) => {
                    let (engine, definitions) = (replica.engine.clone(), replica.definitions.clone());
                    self.open(Some(Door { engine, definitions, by: process.name.clone() }));
                    tokio::select! {
                        biased;
                        () = process.died.notified() => replica.abort(),
                        ended = replica.failed() => {
                            match ended {
                                // A predecessor's entry that was carried out late: it ends, and comes again.
                                Ended::Usurped(_) => {
                                    world.say(format_args!("{} was usurped", process.name));
                                }
                                Ended::Died(part) => {
                                    world.violated("I2", format!("{part} of {} died", process.name));
                                }
                            }
                            replica.abort();
                        }
                        () = stop.cancelled() => {
                            // A supervisor gives it its time, and kills it then.
                            tokio::select! {
                                biased;
                                () = process.died.notified() => {}
                                ended = timeout(std::time::Duration::from_secs(40), replica.shut_down()) => {
                                    let how = if ended.is_ok() { "has stopped" } else { "is stopped by force" };
                                    world.say(format_args!("{} {how}", process.name));
                                }
                            }
                        }
                    }
                    self.open(None);
                }
            }
            process.retire();
            if self.slot.stays_dead() {
                return;
            }
            sleep(world.rest()).await;
            // It may have been decided meanwhile.
            if self.slot.stays_dead() {
                return;
            }
        }
    }
}
