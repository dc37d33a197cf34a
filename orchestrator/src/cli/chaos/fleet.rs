//! The installation under fire: the servers, the orchestrators and the participants, a proxy on each link between
//! them, and a supervisor that starts anew what ended by itself.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Serialize;
use snorri::store::Postgres;
use snorri_demo::{Databases, Service, World};
use snorri_stack::{Signal, Stack, send_signal};
use tokio::process::Child;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::super::private::{
    Error, Serve, Shares, free, io, make_database, participant_args, servers, spawn,
};
use super::plan::Server;
use super::proxy::Proxy;

/// How long a process may take until it takes work.
const UP_WITHIN: Duration = Duration::from_mins(1);
/// How long a process may take to end in order.
const END_WITHIN: Duration = Duration::from_secs(20);
/// The number of the signal that asks to end.
const SIGTERM: i32 = 15;
/// How often the supervisor looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many replicas of each participant there are.
pub(super) const REPLICAS: usize = 2;

/// What the installation is made of.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) dir: PathBuf,
    pub(super) install: bool,
    pub(super) orchestrators: usize,
    pub(super) world: World,
    pub(super) troubles: Shares,
    /// This build's file, and the other's.
    pub(super) program: PathBuf,
    pub(super) previous: Option<PathBuf>,
}

/// Which build a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Build {
    This,
    Previous,
}

impl Build {
    pub(super) fn other(self) -> Self {
        match self {
            Self::This => Self::Previous,
            Self::Previous => Self::This,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Orchestrator { listen: SocketAddr, admin: SocketAddr },
    Participant(Service),
}

/// One of the processes, whether it runs just now or not.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) role: Role,
    postgres: Proxy,
    nats: Proxy,
    args: Vec<String>,
    state: Mutex<State>,
    /// Faults that are on it just now.
    pub(super) impaired: AtomicU32,
    /// The older build took the place of this one, under the same name.
    was_downgraded: AtomicBool,
    /// How it ended each time that nobody asked it to.
    own_ends: std::sync::Mutex<Vec<ExitStatus>>,
}

#[derive(Debug)]
struct State {
    child: Option<Child>,
    build: Build,
    /// A fault keeps it away; the supervisor does not start it.
    is_kept_away: bool,
}

impl State {
    /// How it ended, if it did; it is gone then.
    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }
}

impl Member {
    fn new(name: String, role: Role, (postgres, nats): (Proxy, Proxy), args: Vec<String>) -> Self {
        let state = State { child: None, build: Build::This, is_kept_away: true };
        Self {
            name,
            role,
            postgres,
            nats,
            args,
            state: Mutex::new(state),
            impaired: AtomicU32::new(0),
            was_downgraded: AtomicBool::new(false),
            own_ends: std::sync::Mutex::default(),
        }
    }

    fn ended_by_itself(&self, status: ExitStatus) {
        self.own_ends.lock().unwrap_or_else(PoisonError::into_inner).push(status);
    }

    fn is_replaced_by(&self, build: Build) {
        if build == Build::Previous {
            self.was_downgraded.store(true, Ordering::Relaxed);
        }
    }

    /// How it ended each time that nobody asked it to.
    pub(super) fn own_ends(&self) -> Vec<ExitStatus> {
        self.own_ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts it anew if it ended by itself.
    fn revive(&self, start: impl FnOnce(Build) -> Result<Child, Error>) -> Result<(), Error> {
        // Whoever holds it is about to start or to end it, and looks itself.
        let Ok(mut state) = self.state.try_lock() else { return Ok(()) };
        if let Some(status) = state.ended() {
            self.ended_by_itself(status);
        }
        if state.child.is_none() && !state.is_kept_away {
            state.child = Some(start(state.build)?);
        }
        Ok(())
    }

    pub(super) fn link(&self, server: Server) -> &Proxy {
        match server {
            Server::Postgres => &self.postgres,
            Server::Nats => &self.nats,
        }
    }

    /// The process id, while it runs.
    pub(super) async fn pid(&self) -> Option<u32> {
        self.state.lock().await.child.as_ref().and_then(Child::id)
    }

    /// The same without waiting: nothing while it is being started or ended.
    pub(super) fn pid_now(&self) -> Option<u32> {
        self.state.try_lock().ok()?.child.as_ref().and_then(Child::id)
    }

    pub(super) async fn build(&self) -> Build {
        self.state.lock().await.build
    }

    /// Kills it (-9) and keeps it away. Tells how it ended, if it was still there.
    pub(super) async fn kill(&self) -> Option<ExitStatus> {
        let mut state = self.state.lock().await;
        state.is_kept_away = true;
        if let Some(status) = state.ended() {
            self.ended_by_itself(status);
            return None;
        }
        let mut child = state.child.take()?;
        // It may end by itself at this very moment; its status tells.
        let _ = child.start_kill();
        let status = child.wait().await.ok()?;
        if !was_killed(status) {
            self.ended_by_itself(status);
        }
        Some(status)
    }

    /// Ends it in order, by force if that takes too long, and keeps it away. Tells how it ended, if it was still there.
    pub(super) async fn end(&self) -> Option<ExitStatus> {
        let mut state = self.state.lock().await;
        state.is_kept_away = true;
        if let Some(status) = state.ended() {
            self.ended_by_itself(status);
            return None;
        }
        let mut child = state.child.take()?;
        if let Some(pid) = child.id() {
            send_signal(pid, Signal::Terminate);
        }
        if let Ok(status) = timeout(END_WITHIN, child.wait()).await {
            let status = status.ok()?;
            // One that is only just beginning may not know the signal yet, and dies of it.
            if !status.success() && status.signal() != Some(SIGTERM) {
                self.ended_by_itself(status);
            }
            return Some(status);
        }
        let _ = child.start_kill();
        child.wait().await.ok()
    }
}

/// Whether a process ended by `kill -9`.
pub(super) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}

/// The installation. All of it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) members: Vec<Member>,
    pub(super) stack: Arc<Stack>,
    wanted: Wanted,
}

impl Fleet {
    /// Brings everything up.
    pub(super) async fn start(wanted: Wanted, say: fn(&str)) -> Result<Self, Error> {
        let stack = servers(&wanted.dir, wanted.install, (None, None), say).await?;
        make_database(&stack, "snorri").await?;
        if wanted.previous.is_some() {
            migrate(&stack.postgres.url("snorri")).await?;
        }
        for service in Service::all() {
            make_database(&stack, service.name()).await?;
            snorri_demo::prepare(service, &stack.postgres.url(service.name()), &wanted.world).await?;
        }
        let mut fleet = Self { members: Vec::new(), stack, wanted };
        for number in 0..fleet.wanted.orchestrators {
            fleet.add_orchestrator(number).await?;
        }
        for service in Service::all() {
            for number in 0..REPLICAS {
                fleet.add_participant(service, number).await?;
            }
        }
        for (place, member) in fleet.members.iter().enumerate() {
            // With two builds every other process begins with the older one.
            let build =
                if fleet.wanted.previous.is_some() && place % 2 == 1 { Build::Previous } else { Build::This };
            fleet.launch(member, build).await?;
        }
        fleet.ready().await?;
        Ok(fleet)
    }

    async fn links(&self) -> Result<(Proxy, Proxy), Error> {
        let proxy = async |port: u16| {
            Proxy::start(([127, 0, 0, 1], port).into()).await.map_err(io("cannot start a proxy"))
        };
        Ok((proxy(self.stack.postgres.port()).await?, proxy(self.stack.nats.port()).await?))
    }

    fn urls(database: &str, postgres: &Proxy, nats: &Proxy) -> (String, String) {
        (format!("postgres://snorri@{}/{database}", postgres.address), format!("nats://{}", nats.address))
    }

    async fn add_orchestrator(&mut self, number: usize) -> Result<(), Error> {
        let (postgres, nats) = self.links().await?;
        let (listen, admin) = (free(None)?, free(None)?);
        let name = format!("orchestrator-{}", number + 1);
        let (database_url, nats_url) = Self::urls("snorri", &postgres, &nats);
        let serve = Serve {
            database_url,
            nats_url,
            listen,
            admin_listen: admin,
            replica: &name,
            otlp_endpoint: None,
        };
        let mut args = serve.args();
        if self.wanted.previous.is_some() {
            args.extend(["--migrate", "check"].map(str::to_owned));
        }
        self.add(name, Role::Orchestrator { listen, admin }, (postgres, nats), args);
        Ok(())
    }

    async fn add_participant(&mut self, service: Service, number: usize) -> Result<(), Error> {
        let (postgres, nats) = self.links().await?;
        let (database_url, nats_url) = Self::urls(service.name(), &postgres, &nats);
        let args = participant_args(service, (&database_url, &nats_url), self.wanted.troubles, None);
        let name = format!("{service}-{}", number + 1);
        self.add(name, Role::Participant(service), (postgres, nats), args);
        Ok(())
    }

    fn add(&mut self, name: String, role: Role, links: (Proxy, Proxy), args: Vec<String>) {
        self.members.push(Member::new(name, role, links, args));
    }

    /// The file of a build.
    pub(super) fn program(&self, build: Build) -> &Path {
        match (build, &self.wanted.previous) {
            (Build::Previous, Some(previous)) => previous,
            _ => &self.wanted.program,
        }
    }

    /// Starts the other build in the place of a process that was ended.
    pub(super) async fn replace(&self, member: &Member, build: Build) -> Result<(), Error> {
        // Before it runs: what it cannot read may be waiting for it.
        member.is_replaced_by(build);
        self.launch(member, build).await
    }

    /// Upgrades the participants that are left, one by one. The older SDK repeats failures that the newer one kept, to
    /// retries and to undos alike, so that nobody may stay half way.
    pub(super) async fn upgrade_participants(&self) -> Result<(), Error> {
        for member in &self.members {
            if matches!(member.role, Role::Participant(_)) && member.build().await == Build::Previous {
                member.end().await;
                self.replace(member, Build::This).await?;
            }
        }
        Ok(())
    }

    /// The orchestrators in whose place, and under whose name, the older build was started.
    pub(super) fn downgraded(&self) -> Vec<String> {
        self.members.iter().filter(|member| is_downgraded(member)).map(|member| member.name.clone()).collect()
    }

    /// Starts a process that is not there, from the given build, and lets the supervisor look after it.
    pub(super) async fn launch(&self, member: &Member, build: Build) -> Result<(), Error> {
        let mut state = member.state.lock().await;
        state.build = build;
        state.is_kept_away = false;
        if state.child.is_none() {
            state.child = Some(spawn(self.program(build), &self.wanted.dir, &member.name, &member.args)?);
        }
        Ok(())
    }

    /// Starts anew what ended by itself, for as long as it is polled.
    pub(super) async fn supervise(&self) -> Result<(), Error> {
        loop {
            for member in &self.members {
                member.revive(|build| {
                    spawn(self.program(build), &self.wanted.dir, &member.name, &member.args)
                })?;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The REST addresses of the orchestrators.
    pub(super) fn apis(&self) -> Vec<String> {
        let api = |member: &Member| match member.role {
            Role::Orchestrator { listen, .. } => Some(format!("http://{listen}")),
            Role::Participant(_) => None,
        };
        self.members.iter().filter_map(api).collect()
    }

    pub(super) fn databases(&self) -> Databases {
        let url = |service: Service| self.stack.postgres.url(service.name());
        Databases {
            inventory: url(Service::Inventory),
            payments: url(Service::Payments),
            shipping: url(Service::Shipping),
            orders: url(Service::Orders),
        }
    }

    /// Waits until all orchestrators take work.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        let until = Instant::now() + UP_WITHIN;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| Error::Api(error.to_string()))?;
        for member in &self.members {
            let Role::Orchestrator { admin, .. } = member.role else { continue };
            let url = format!("http://{admin}/readyz");
            while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                if Instant::now() > until {
                    let log = self.log(member);
                    return Err(Error::NotUp { what: member.name.clone(), log });
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    fn log(&self, member: &Member) -> PathBuf {
        self.wanted.dir.join("logs").join(format!("{}.log", member.name))
    }

    /// How often a process of ours says in its log that it panicked.
    pub(super) fn panics(&self) -> Vec<String> {
        let panicked = |member: &&Member| {
            std::fs::read(self.log(member))
                .is_ok_and(|log| log.windows(b"panicked at".len()).any(|words| words == b"panicked at"))
        };
        self.members.iter().filter(panicked).map(|member| member.name.clone()).collect()
    }

    /// What is wrong with the ends of processes: see [`unwanted_end`].
    pub(super) fn unwanted_ends(&self) -> Vec<String> {
        self.members.iter().filter_map(unwanted_end).collect()
    }

    /// Whether the processes alone would let work be done: an orchestrator and one of each service are unhurt.
    pub(super) fn can_work(&self) -> bool {
        let is_whole = |member: &&Member| member.impaired.load(Ordering::Relaxed) == 0;
        let whole: Vec<Role> = self.members.iter().filter(is_whole).map(|member| member.role).collect();
        whole.iter().any(|role| matches!(role, Role::Orchestrator { .. }))
            && Service::all().iter().all(|service| whole.contains(&Role::Participant(*service)))
    }

    /// Ends everything, the servers last.
    pub(super) async fn stop(self) {
        // All at once: the last ones would otherwise wait for the first.
        futures::future::join_all(self.members.iter().map(Member::end)).await;
        let stack = self.stack.clone();
        drop(self);
        let _ = tokio::task::spawn_blocking(move || drop(stack)).await;
    }
}

/// An upgrade begins with the schema, and replicas only check it: so they do in production, where both builds are there.
async fn migrate(url: &str) -> Result<(), Error> {
    let failed = |error: snorri::store::Error| Error::Api(format!("the schema: {}", error.chain()));
    let store = Postgres::connect(url, 1).map_err(failed)?;
    store.migrate().await.map_err(failed)?;
    store.close().await;
    Ok(())
}

/// Whether it is an orchestrator in whose place the older build was started, whatever runs now.
fn is_downgraded(member: &Member) -> bool {
    matches!(member.role, Role::Orchestrator { .. }) && member.was_downgraded.load(Ordering::Relaxed)
}

/// What is wrong with how a process ended: the participants crash on purpose, an orchestrator never ends unless it is
/// told to or killed.
fn unwanted_end(member: &Member) -> Option<String> {
    let ends = member.own_ends();
    if matches!(member.role, Role::Participant(_)) || ends.is_empty() {
        return None;
    }
    let how: Vec<String> = ends.iter().map(ExitStatus::to_string).collect();
    Some(format!("{} ended by itself: {}; see its log", member.name, how.join(", ")))
}

#[cfg(test)]
mod tests;
