//! A process: a handle in front of its ports, at which it is killed, paused and cut off.
//!
//! From the moment of a kill no port call of that incarnation has an effect or returns. Between two port calls a process
//! does nothing that anybody else could see, so a crash anywhere between them is one at the next call: drawn before
//! the effect of a call or after it, this is a crash at every await.

use std::future::pending;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::fault::Fault;
use crate::world::World;

/// What kind of process it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Orchestrator,
    Participant,
    /// Those who start sagas: never killed.
    Client,
}

/// The connection to the bus, as the client library would tell of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) up: bool,
    pub(crate) epoch: u64,
}

/// One incarnation of a process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) world: Arc<World>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    state: Mutex<State>,
    /// Told when it dies.
    pub(crate) died: Notify,
    /// Told when the connection to the bus is made or lost. No `watch`: it wakes those who wait in an order of its own.
    link_changed: Notify,
}

#[derive(Debug)]
struct State {
    link: Link,
    dead: bool,
    paused_until: Option<Instant>,
    store_cut_until: Option<Instant>,
    spared: bool,
}

impl Process {
    pub(crate) fn new(world: &Arc<World>, name: impl Into<String>, kind: Kind, up: bool) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            name: name.into(),
            kind,
            state: Mutex::new(State {
                link: Link { up, epoch: 1 },
                dead: false,
                paused_until: None,
                store_cut_until: None,
                spared: kind == Kind::Client,
            }),
            died: Notify::new(),
            link_changed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Ends it, here and now.
    pub(crate) fn kill(&self, why: &str) {
        if std::mem::replace(&mut self.state().dead, true) {
            return;
        }
        self.world.say(format_args!("{} is killed: {why}", self.name));
        self.died.notify_one();
    }

    /// Ends it silently, when it was told to stop and did.
    pub(crate) fn retire(&self) {
        self.state().dead = true;
    }

    /// It is not killed by chance from now on.
    pub(crate) fn spare(&self) {
        self.state().spared = true;
    }

    pub(crate) fn pause(&self, time: Duration) {
        self.world.say(format_args!("{} is paused for {} ms", self.name, time.as_millis()));
        self.state().paused_until = Some(Instant::now() + time);
    }

    pub(crate) fn cut_store(&self, time: Duration) {
        self.world.say(format_args!(
            "{} is cut off from its database for {} ms",
            self.name,
            time.as_millis()
        ));
        self.state().store_cut_until = Some(Instant::now() + time);
    }

    /// Whether it cannot reach its database.
    pub(crate) fn is_store_cut(&self) -> bool {
        self.state().store_cut_until.is_some_and(|until| until > Instant::now())
    }

    /// Ends pauses and partitions.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.paused_until = None;
        state.store_cut_until = None;
    }

    /// Makes or loses the connection to the bus.
    pub(crate) fn set_link(&self, up: bool) {
        {
            let mut state = self.state();
            if state.link.up == up {
                return;
            }
            state.link = Link { up, epoch: state.link.epoch + 1 };
        }
        self.link_changed.notify_waiters();
    }

    pub(crate) fn link_now(&self) -> Link {
        self.state().link
    }

    /// Waits for a connection of which this holds. Cancel-safe.
    pub(crate) async fn link_is(&self, holds: impl Fn(Link) -> bool) {
        loop {
            let mut changed = pin!(self.link_changed.notified());
            changed.as_mut().enable();
            if holds(self.link_now()) {
                return;
            }
            changed.await;
        }
    }

    /// Before a call's effect. Does not return to the dead, and returns late to the paused.
    pub(crate) async fn enter(&self, call: &str) {
        self.maybe_die("before", call);
        self.alive().await;
    }

    /// After a call's effect.
    pub(crate) async fn leave(&self, call: &str) {
        self.maybe_die("after", call);
        self.alive().await;
    }

    fn maybe_die(&self, when: &str, call: &str) {
        let fault = match self.kind {
            Kind::Orchestrator => Fault::OrchestratorKilled,
            Kind::Participant => Fault::ParticipantKilled,
            Kind::Client => return,
        };
        let may_die = {
            let state = self.state();
            !state.dead && !state.spared
        };
        if may_die && self.world.strikes(fault) {
            self.kill(&format!("{when} {call}"));
        }
    }

    /// Returns as soon as it is neither dead nor paused.
    pub(crate) async fn alive(&self) {
        loop {
            let until = {
                let state = self.state();
                if state.dead {
                    None
                } else {
                    match state.paused_until {
                        Some(until) if until > Instant::now() => Some(until),
                        _ => return,
                    }
                }
            };
            match until {
                None => pending::<()>().await,
                Some(until) => {
                    // A heal may end the pause sooner.
                    let step = until.min(Instant::now() + Duration::from_secs(1));
                    sleep_until(step).await;
                }
            }
        }
    }
}
