//! The installation under fire: the servers, the orchestrators and the participants, a proxy on each link between
//! them, and a supervisor that starts anew what ended by itself.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Serialize;
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
            own_ends: std::sync::Mutex::default(),
        }
    }

    fn ended_by_itself(&self, status: ExitStatus) {
        self.own_ends.lock().unwrap_or_else(PoisonError::into_inner).push(status);
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
        let args = serve.args();
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
mod tests {
    use super::*;

    fn run(script: &str) -> Child {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", script]).kill_on_drop(true).spawn().expect("a shell")
    }

    async fn member(role: Role, script: &str) -> Member {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
        let proxy = async || Proxy::start(nobody).await.expect("a proxy");
        let member = Member::new("it".to_owned(), role, (proxy().await, proxy().await), Vec::new());
        {
            let mut state = member.state.lock().await;
            state.child = Some(run(script));
            state.is_kept_away = false;
        }
        member
    }

    fn orchestrator() -> Role {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
        Role::Orchestrator { listen: nobody, admin: nobody }
    }

    /// Looks after it until it was started anew.
    async fn revived(member: &Member) {
        while member.own_ends().is_empty() {
            member.revive(|_| Ok(run("sleep 60"))).expect("started");
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn an_orchestrator_that_ends_by_itself_is_wrong_and_a_participant_is_not() {
        let died = member(orchestrator(), "exit 7").await;
        revived(&died).await;
        assert_eq!(unwanted_end(&died).as_deref(), Some("it ended by itself: exit status: 7; see its log"));
        let crashed = member(Role::Participant(Service::Orders), "exit 7").await;
        revived(&crashed).await;
        assert_eq!(unwanted_end(&crashed), None);
    }

    #[tokio::test]
    async fn what_the_run_itself_ends_is_not_wrong() {
        for is_killed in [true, false] {
            let member = member(orchestrator(), "exec sleep 60").await;
            let status = if is_killed { member.kill().await } else { member.end().await };
            assert!(status.is_some_and(|status| was_killed(status) == is_killed), "{status:?}");
            member.revive(|_| Ok(run("exit 7"))).expect("kept away");
            assert_eq!((unwanted_end(&member), member.pid().await), (None, None));
        }
    }

    #[tokio::test]
    async fn an_end_just_before_a_kill_or_instead_of_an_orderly_one_is_wrong_all_the_same() {
        let early = member(orchestrator(), "exit 7").await;
        // The child is gone, and nobody has looked yet.
        let pid = early.pid().await.expect("it was started");
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
        };
        while !is_gone() {
            sleep(Duration::from_millis(5)).await;
        }
        early.kill().await;
        assert!(unwanted_end(&early).is_some_and(|why| why.contains("exit status: 7")));
        let up = std::env::temp_dir().join(format!("snorri-fleet-{}", std::process::id()));
        let script = format!("trap 'exit 9' TERM; : > {}; while :; do sleep 0.02; done", up.display());
        let late = member(orchestrator(), &script).await;
        while !up.exists() {
            sleep(Duration::from_millis(5)).await;
        }
        late.end().await;
        std::fs::remove_file(&up).expect("deleted");
        assert!(unwanted_end(&late).is_some_and(|why| why.contains("exit status: 9")));
    }
}
