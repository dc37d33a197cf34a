//! A process's place: who is running there just now, and how to get at it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use snorri_participant::CancellationToken;

use crate::process::{Kind, Process};
use crate::world::World;

/// A place for one process after the other, all of the same name.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) name: String,
    world: Arc<World>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    now: Option<Arc<Process>>,
    stop: Option<CancellationToken>,
    incarnation: u32,
    is_bus_up: bool,
    stays_dead: bool,
}

impl Slot {
    pub(crate) fn new(world: &Arc<World>, name: impl Into<String>) -> Self {
        let inner = Inner { is_bus_up: true, ..Inner::default() };
        Self { name: name.into(), world: world.clone(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next incarnation.
    pub(crate) fn begin(&self, kind: Kind) -> Arc<Process> {
        let mut inner = self.inner();
        inner.incarnation += 1;
        let name = format!("{}#{}", self.name, inner.incarnation);
        let process = Process::new(&self.world, name, kind, inner.is_bus_up);
        if self.world.is_healed() {
            process.spare();
        }
        inner.now = Some(process.clone());
        self.world.say(format_args!("{} begins", process.name));
        process
    }

    /// How it is told to stop gracefully.
    pub(crate) fn stop_with(&self, token: CancellationToken) {
        self.inner().stop = Some(token);
    }

    /// Whoever is running there.
    pub(crate) fn now(&self) -> Option<Arc<Process>> {
        self.inner().now.clone()
    }

    /// Tells it to stop gracefully.
    pub(crate) fn stop(&self) {
        if let Some(stop) = self.inner().stop.take() {
            self.world.say(format_args!("{} is told to stop", self.name));
            stop.cancel();
        }
    }

    /// It is killed, and nobody takes its place any more.
    pub(crate) fn dies_for_good(&self) {
        self.inner().stays_dead = true;
        if let Some(process) = self.now() {
            process.kill("for good");
        }
    }

    pub(crate) fn stays_dead(&self) -> bool {
        self.inner().stays_dead
    }

    /// Makes or cuts the way to the bus, for those that come too.
    pub(crate) fn set_link(&self, up: bool) {
        let process = {
            let mut inner = self.inner();
            inner.is_bus_up = up;
            inner.now.clone()
        };
        if let Some(process) = process {
            process.set_link(up);
        }
    }
}
