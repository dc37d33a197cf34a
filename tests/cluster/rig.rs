//! The servers and the processes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use snorri_demo::{Databases, Service, World};
use snorri_stack::{NatsCluster, Options, PostgresPair, Replication, Stack};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

/// How long a test waits for what must happen. Far longer than it takes: the machine may be busy with other tests.
pub(crate) const SOON: Duration = Duration::from_mins(1);
/// The names of the orchestrator's replicas.
const REPLICAS: [&str; 2] = ["a", "b"];
/// Many installations share one machine's disk.
const STREAM_BYTES: &str = "67108864";

/// One installation at a time: each has a dozen processes.
static TURN: Mutex<()> = Mutex::const_new(());

/// An orchestrator or a participant.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("killed");
    }
}

/// Waits until no other test has an installation.
pub(crate) async fn installation() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// An installation on several servers.
pub(crate) struct Rig {
    pub(crate) nats: Arc<NatsCluster>,
    pub(crate) pair: Arc<PostgresPair>,
    pub(crate) world: World,
    /// Where the REST APIs of the replicas are.
    pub(crate) apis: Vec<String>,
    admins: Vec<String>,
    processes: Vec<Process>,
    dir: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Rig {
    /// Everything up and ready.
    pub(crate) async fn up(hint: &'static str) -> Self {
        let mut rig = Self::servers(hint).await;
        rig.start_processes();
        rig.ready().await;
        rig
    }

    /// The servers only, with the databases in them.
    pub(crate) async fn servers(hint: &'static str) -> Self {
        let turn = installation().await;
        let began = Instant::now();
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{hint}-{}", std::process::id()));
        let options = |name: &str| Options { fsync: false, ..Options::new(dir.join(name)) };
        let (for_nats, for_postgres) = (options("nats"), options("postgres"));
        let nats = tokio::task::spawn_blocking(move || NatsCluster::start(&for_nats));
        let pair = tokio::task::spawn_blocking(move || {
            let pair = PostgresPair::start(&for_postgres, Replication::Synchronous)?;
            for name in Service::all().map(Service::name).into_iter().chain(["snorri"]) {
                pair.primary().create_database(name, None)?;
            }
            Ok::<_, snorri_stack::Error>(pair)
        });
        let pair = pair.await.expect("no panic").expect("a primary and a standby");
        let nats = nats.await.expect("no panic").expect("a cluster");
        std::fs::create_dir_all(dir.join("logs")).expect("a folder for logs");
        let world = World::for_orders(100_000);
        for service in Service::all() {
            snorri_demo::prepare(service, &pair.url(service.name()), &world).await.expect("books");
        }
        println!("{hint}: the servers were up after {:.1} s", began.elapsed().as_secs_f64());
        Self {
            nats: Arc::new(nats),
            pair: Arc::new(pair),
            world,
            apis: Vec::new(),
            admins: Vec::new(),
            processes: Vec::new(),
            dir,
            _turn: turn,
        }
    }

    /// Starts the orchestrators and the participants.
    pub(crate) fn start_processes(&mut self) {
        let nats = self.nats.urls().join(",");
        for name in REPLICAS {
            let (listen, admin) = (free_address(), free_address());
            let words = [
                ("serve", ""),
                ("--database-url", &self.pair.url("snorri")),
                ("--nats-url", &nats),
                ("--stream-replicas", "3"),
                ("--stream-bytes", STREAM_BYTES),
                ("--replica", name),
                ("--listen", &listen),
                ("--admin-listen", &admin),
                ("--log-format", "text"),
            ];
            self.processes.push(spawn(&self.dir, name, &words));
            self.apis.push(format!("http://{listen}"));
            self.admins.push(format!("http://{admin}"));
        }
        for service in Service::all() {
            let words = [
                ("participant", service.name()),
                ("--database-url", &self.pair.url(service.name())),
                ("--nats-url", &nats),
                ("--batch", "8"),
            ];
            self.processes.push(spawn(&self.dir, service.name(), &words));
        }
    }

    /// Waits until every replica of the orchestrator takes work.
    pub(crate) async fn ready(&self) {
        for admin in &self.admins {
            eventually("the orchestrator is ready", async || is_ready(admin).await.then_some(())).await;
        }
    }

    /// Waits until every replica of the orchestrator answers requests, ready or not.
    pub(crate) async fn answers(&self) {
        for api in &self.apis {
            eventually("the orchestrator answers", async || {
                reqwest::Client::builder()
                    .timeout(Duration::from_secs(5))
                    .build()
                    .expect("a client")
                    .get(format!("{api}/v1/definitions"))
                    .send()
                    .await
                    .is_ok_and(|answer| answer.status().is_success())
                    .then_some(())
            })
            .await;
        }
    }

    /// Waits until no replica of the orchestrator says that it takes work.
    pub(crate) async fn not_ready(&self) {
        for admin in &self.admins {
            eventually("the orchestrator says so", async || (!is_ready(admin).await).then_some(())).await;
        }
    }

    /// Does something to the Postgres servers.
    pub(crate) async fn with_pair<T: Send + 'static>(
        &self,
        work: impl FnOnce(&PostgresPair) -> Result<T, snorri_stack::Error> + Send + 'static,
    ) -> T {
        let pair = self.pair.clone();
        tokio::task::spawn_blocking(move || work(&pair)).await.expect("no panic").expect("it works")
    }

    /// Does something to the nats-servers.
    pub(crate) async fn with_nats<T: Send + 'static>(
        &self,
        work: impl FnOnce(&NatsCluster) -> Result<T, snorri_stack::Error> + Send + 'static,
    ) -> T {
        let nats = self.nats.clone();
        tokio::task::spawn_blocking(move || work(&nats)).await.expect("no panic").expect("it works")
    }

    /// Where the participants' books are.
    pub(crate) fn books(&self) -> Databases {
        let url = |service: Service| self.pair.url(service.name());
        Databases {
            inventory: url(Service::Inventory),
            payments: url(Service::Payments),
            shipping: url(Service::Shipping),
            orders: url(Service::Orders),
        }
    }

    /// A NATS client of the test's own.
    pub(crate) async fn jetstream(&self) -> async_nats::jetstream::Context {
        let client = async_nats::connect(self.nats.urls()).await.expect("a connection to NATS");
        async_nats::jetstream::new(client)
    }

    /// Ends everything. A process that ended before is a failure.
    pub(crate) async fn end(mut self) {
        for process in &mut self.processes {
            let ended = process.child.try_wait().expect("can be looked at");
            assert!(ended.is_none(), "{} ended by itself: {ended:?}", process.name);
        }
        for process in &mut self.processes {
            process.kill().await;
        }
        let Self { nats, pair, dir, .. } = self;
        let ended = tokio::task::spawn_blocking(move || {
            drop((nats, pair));
            for name in ["nats", "postgres"] {
                Stack::wipe(&dir.join(name)).expect("the folder is deleted");
            }
            std::fs::remove_dir_all(&dir).expect("the folder is deleted");
        });
        ended.await.expect("no panic");
    }
}

async fn is_ready(admin: &str) -> bool {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().expect("a client");
    client.get(format!("{admin}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success())
}

/// Starts `snorri` with these words; its log is in the folder `logs`.
pub(crate) fn spawn(dir: &Path, name: &str, words: &[(&str, &str)]) -> Process {
    let log = File::create(dir.join("logs").join(format!("{name}.log"))).expect("a log");
    let words = words.iter().flat_map(|(name, value)| [*name, *value]).filter(|word| !word.is_empty());
    let child = Command::new(env!("CARGO_BIN_EXE_snorri"))
        .args(words)
        .arg("--until-stdin-closes")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    Process { name: name.to_owned(), child }
}

/// An address that is free just now. Below the ports that connections take for themselves, of which there are hundreds
/// here: a replica that is started again must find its own port free.
pub(crate) fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    (0..1000)
        .map(|_| 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000)
        .map(|port| format!("127.0.0.1:{port}"))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .expect("a free port")
}

/// Looks again and again until it is so.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "in vain: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
