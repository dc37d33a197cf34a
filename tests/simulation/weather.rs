//! What goes wrong by itself, at times: outages, losses, partitions, pauses, clock jumps.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::bus::Server;
use crate::fault::Fault;
use crate::participants::Services;
use crate::process_slot::Slot;
use crate::store::Database;
use crate::world::World;

/// Everything that weather can strike.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    pub(crate) world: Arc<World>,
    pub(crate) database: Arc<Database>,
    pub(crate) server: Arc<Server>,
    pub(crate) services: Arc<Services>,
    pub(crate) orchestrators: Vec<Slot>,
    pub(crate) participants: Vec<Slot>,
}

/// What strikes at times and not at calls.
const AT_TIMES: &[Fault] = &[
    Fault::StoreAway,
    Fault::StoreReadOnly,
    Fault::StoreFailover,
    Fault::StoreClock,
    Fault::BusForgetsIds,
    Fault::BusTailLost,
    Fault::BusWiped,
    Fault::BusRestarted,
    Fault::BusStreamDeleted,
    Fault::BusConsumerDeleted,
    Fault::BusCut,
    Fault::StoreCut,
    Fault::OrchestratorStopped,
    Fault::OrchestratorPaused,
    Fault::ParticipantStopped,
    Fault::ParticipantPaused,
    Fault::DatabaseAway,
];

impl Weather {
    /// Lets all of it come, each kind at its own rate, until all heals.
    pub(crate) fn begin(&self) {
        for fault in AT_TIMES {
            let rate = self.world.plan.rate(*fault);
            if rate > 0.0 {
                let (weather, fault) = (self.clone(), *fault);
                tokio::spawn(async move { weather.keep(fault, rate).await });
            }
        }
    }

    async fn keep(&self, fault: Fault, rate: f64) {
        // Spread evenly around the rate, the first one soon: a kind that is on should be seen.
        let mean = 3_600_000.0 / rate;
        let mut first = true;
        loop {
            let share = f64::from(u32::try_from(self.world.below(2_000)).unwrap_or(0)) / 1_000.0;
            let pause = mean * share * if std::mem::take(&mut first) { 0.3 } else { 1.0 };
            sleep(Duration::from_secs_f64(pause / 1_000.0)).await;
            if self.world.is_healed() {
                return;
            }
            self.world.count(fault);
            self.strike(fault).await;
        }
    }

    async fn strike(&self, fault: Fault) {
        let world = &self.world;
        match fault {
            Fault::StoreAway => self.database.go_away(world.ms(500, 45_000)),
            Fault::StoreReadOnly => self.database.go_read_only(world.ms(500, 20_000)),
            Fault::StoreFailover => {
                let away = world.ms(500, 8_000);
                self.database.go_away(away);
                self.database.fail_over(1 + world.below(30));
                self.server.database.checks.taken_over(0);
            }
            Fault::StoreClock => {
                let ms = i64::try_from(world.ms(1_000, 600_000).as_millis()).unwrap_or(0);
                self.database.jump(if world.chance(0.5) { ms } else { -ms });
            }
            Fault::BusForgetsIds => self.server.streams().forget_ids(),
            Fault::BusTailLost => {
                let since = world.ms(0, 120_000);
                self.everybody_cut(world.ms(100, 3_000), |weather| {
                    let from = Instant::now().checked_sub(since).unwrap_or_else(Instant::now);
                    let lost = weather.server.streams().lose_tail(from);
                    weather.world.say(format_args!("the bus lost {lost} acknowledged messages"));
                })
                .await;
            }
            Fault::BusWiped => {
                self.everybody_cut(world.ms(100, 10_000), |weather| {
                    weather.server.streams().wipe();
                    weather.world.say(format_args!("the bus lost everything"));
                })
                .await;
            }
            Fault::BusRestarted => {
                self.everybody_cut(world.ms(100, 20_000), |weather| {
                    weather.server.streams().lose_memory();
                    weather.world.say(format_args!("the bus was restarted"));
                })
                .await;
            }
            Fault::BusStreamDeleted => {
                let (streams, _) = self.server.streams().names();
                if let Some(name) = world.pick(&streams) {
                    world.say(format_args!("the stream {name} is deleted"));
                    self.server.streams().delete_stream(name);
                }
            }
            Fault::BusConsumerDeleted => {
                let (_, consumers) = self.server.streams().names();
                if let Some((stream, name)) = world.pick(&consumers) {
                    world.say(format_args!("the consumer {name} is deleted"));
                    self.server.streams().delete_consumer(stream, name);
                }
            }
            Fault::BusCut => {
                if let Some(slot) = self.anybody() {
                    let time = world.ms(200, 30_000);
                    world.say(format_args!(
                        "{} is cut off from the bus for {} ms",
                        slot.name,
                        time.as_millis()
                    ));
                    slot.set_link(false);
                    let (slot, world) = (slot.clone(), world.clone());
                    tokio::spawn(async move {
                        sleep(time).await;
                        if !world.is_healed() {
                            slot.set_link(true);
                        }
                    });
                }
            }
            Fault::StoreCut => {
                if let Some(process) = self.anybody().and_then(Slot::now) {
                    process.cut_store(world.ms(200, 30_000));
                }
            }
            Fault::OrchestratorStopped => self.stop_one(&self.orchestrators),
            Fault::ParticipantStopped => self.stop_one(&self.participants),
            Fault::OrchestratorPaused => self.pause_one(&self.orchestrators),
            Fault::ParticipantPaused => self.pause_one(&self.participants),
            Fault::DatabaseAway => {
                if let Some(ledger) = world.pick(&self.services.ledgers) {
                    world.say(format_args!("a participant's database is away"));
                    ledger.go_away(Some(world.ms(500, 30_000)));
                }
            }
            _ => {}
        }
    }

    fn anybody(&self) -> Option<&Slot> {
        let all = self.orchestrators.len() + self.participants.len();
        self.orchestrators.iter().chain(&self.participants).nth(self.world.below(all))
    }

    fn stop_one(&self, of: &[Slot]) {
        if let Some(slot) = self.world.pick(of) {
            slot.stop();
        }
    }

    fn pause_one(&self, of: &[Slot]) {
        if let Some(process) = self.world.pick(of).and_then(Slot::now) {
            process.pause(self.world.ms(1_000, 60_000));
        }
    }

    async fn everybody_cut(&self, time: Duration, then: impl FnOnce(&Self)) {
        for slot in self.orchestrators.iter().chain(&self.participants) {
            slot.set_link(false);
        }
        then(self);
        sleep(time).await;
        for slot in self.orchestrators.iter().chain(&self.participants) {
            slot.set_link(true);
        }
    }

    /// All heals; who was to stay dead, dies.
    pub(crate) fn heal(&self) {
        use crate::plan::StaysDead;
        self.world.heal();
        self.database.heal();
        for ledger in &self.services.ledgers {
            ledger.go_away(None);
        }
        for slot in self.orchestrators.iter().chain(&self.participants) {
            slot.set_link(true);
            if let Some(process) = slot.now() {
                process.heal();
                process.spare();
            }
        }
        let dead = match self.world.plan.stays_dead {
            StaysDead::Nobody => None,
            StaysDead::Orchestrator => self.orchestrators.last(),
            StaysDead::ParticipantReplica => self.participants.iter().rfind(|slot| slot.name.ends_with("-1")),
        };
        if let Some(slot) = dead {
            slot.dies_for_good();
        }
        self.server.streams().ring_all();
    }
}
