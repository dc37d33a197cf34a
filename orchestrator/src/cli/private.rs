//! A private installation on this machine: Postgres, nats-server, an orchestrator and the demo's
//! participants, each a process of its own, all their data in one folder. For `demo` and `dev`; its parts for `chaos`.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use snorri_demo::{Service, World};
use snorri_stack::{Options, Stack};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How long a part may take to be up.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// Why the private installation does not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Stack(#[from] snorri_stack::Error),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("the demo's books: {0}")]
    Demo(#[from] snorri_demo::Error),
    #[error("{what} was not up within {UP_WITHIN:?}; its log: {}", log.display())]
    NotUp { what: String, log: PathBuf },
    #[error("{0}")]
    Api(String),
}

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}

/// What to bring up.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The folder of all data.
    pub(crate) dir: PathBuf,
    /// Whether missing programs may be installed.
    pub(crate) install: bool,
    /// Pleasant ports, used when they are free.
    pub(crate) listen: Option<u16>,
    pub(crate) admin: Option<u16>,
    pub(crate) postgres: Option<u16>,
    pub(crate) nats: Option<u16>,
    /// The world of the participants' books, opened when they are new.
    pub(crate) world: World,
    /// The shares of actions that fail, are slow, and kill their participant.
    pub(crate) troubles: Shares,
    /// Passed on to the orchestrator and the participants.
    pub(crate) otlp_endpoint: Option<String>,
}

/// How often something goes wrong at the participants, each a share of 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shares {
    pub(crate) fail: f64,
    pub(crate) slow: f64,
    pub(crate) crash: f64,
}

/// One of our processes. It ends with this one: it notices that its standard input closes.
#[derive(Debug)]
struct Process {
    name: String,
    child: Child,
}

/// A private installation that is up.
#[derive(Debug)]
pub(crate) struct Private {
    pub(crate) stack: Arc<Stack>,
    pub(crate) api: String,
    pub(crate) admin: String,
    plan: Plan,
    listen: SocketAddr,
    admin_listen: SocketAddr,
    orchestrator: Option<Process>,
    participants: Vec<Process>,
}

impl Private {
    /// Brings everything up. `say` is told what is done.
    pub(crate) async fn start(plan: Plan, say: fn(&str)) -> Result<Self, Error> {
        let stack = servers(&plan.dir, plan.install, (plan.postgres, plan.nats), say).await?;
        let listen = free(plan.listen)?;
        let admin_listen = free(plan.admin)?;
        let mut private = Self {
            stack,
            api: format!("http://{listen}"),
            admin: format!("http://{admin_listen}"),
            plan,
            listen,
            admin_listen,
            orchestrator: None,
            participants: Vec::new(),
        };
        make_database(&private.stack, "snorri").await?;
        for service in Service::all() {
            make_database(&private.stack, service.name()).await?;
            snorri_demo::prepare(service, &private.database(service.name()), &private.plan.world).await?;
        }
        private.start_orchestrator()?;
        for service in Service::all() {
            private.start_participant(service)?;
        }
        private.ready().await?;
        Ok(private)
    }

    /// The address of one of the installation's databases.
    pub(crate) fn database(&self, name: &str) -> String {
        self.stack.postgres.url(name)
    }

    /// Starts the orchestrator, on the same ports each time.
    pub(crate) fn start_orchestrator(&mut self) -> Result<(), Error> {
        let args = Serve {
            database_url: self.database("snorri"),
            nats_url: self.stack.nats.url(),
            listen: self.listen,
            admin_listen: self.admin_listen,
            replica: "private",
            otlp_endpoint: self.plan.otlp_endpoint.as_deref(),
        };
        let child = spawn(&own_program()?, &self.plan.dir, "orchestrator", &args.args())?;
        self.orchestrator = Some(Process { name: "orchestrator".to_owned(), child });
        Ok(())
    }

    fn start_participant(&mut self, service: Service) -> Result<(), Error> {
        let args = participant_args(
            service,
            (&self.database(service.name()), &self.stack.nats.url()),
            self.plan.troubles,
            self.plan.otlp_endpoint.as_deref(),
        );
        let child = spawn(&own_program()?, &self.plan.dir, service.name(), &args)?;
        let process = Process { name: service.name().to_owned(), child };
        self.participants.retain(|other| other.name != service.name());
        self.participants.push(process);
        Ok(())
    }

    /// Kills the orchestrator as a power cut would.
    pub(crate) async fn kill_orchestrator(&mut self) {
        if let Some(mut process) = self.orchestrator.take() {
            // It may have ended by itself; either way it is gone.
            let _ = process.child.kill().await;
        }
    }

    /// Starts participants that crashed anew, as a supervisor would.
    pub(crate) fn revive_participants(&mut self) -> Result<usize, Error> {
        let mut gone = Vec::new();
        for process in &mut self.participants {
            if matches!(process.child.try_wait(), Ok(Some(_)))
                && let Ok(service) = process.name.parse::<Service>()
            {
                gone.push(service);
            }
        }
        for service in &gone {
            self.start_participant(*service)?;
        }
        Ok(gone.len())
    }

    /// Starts the orchestrator anew if it ended. Returns whether it did.
    pub(crate) fn revive_orchestrator(&mut self) -> Result<bool, Error> {
        let is_gone = match &mut self.orchestrator {
            Some(process) => matches!(process.child.try_wait(), Ok(Some(_))),
            None => true,
        };
        if is_gone {
            self.start_orchestrator()?;
        }
        Ok(is_gone)
    }

    /// Kills nats-server, deletes its store, and starts it again.
    pub(crate) async fn wipe_nats(&self) -> Result<(), Error> {
        let stack = self.stack.clone();
        let wiped = tokio::task::spawn_blocking(move || {
            stack.nats.kill();
            stack.nats.wipe_store()?;
            stack.nats.start_again()
        });
        wiped.await.map_err(|error| Error::Api(error.to_string()))??;
        Ok(())
    }

    /// Waits until the orchestrator takes work.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let until = Instant::now() + UP_WITHIN;
        let url = format!("{}/readyz", self.admin);
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| Error::Api(error.to_string()))?;
        loop {
            if let Ok(answer) = client.get(&url).send().await
                && answer.status().is_success()
            {
                return Ok(());
            }
            if Instant::now() > until {
                let log = self.plan.dir.join("logs/orchestrator.log");
                return Err(Error::NotUp { what: "the orchestrator".to_owned(), log });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops everything, the servers last.
    pub(crate) async fn stop(mut self) {
        let mut children: Vec<Child> = self
            .participants
            .drain(..)
            .chain(self.orchestrator.take())
            .map(|process| process.child)
            .collect();
        for child in &mut children {
            drop(child.stdin.take());
        }
        for mut child in children {
            // What does not end in time is killed when it is dropped.
            let _ = tokio::time::timeout(Duration::from_secs(15), child.wait()).await;
        }
        let stack = self.stack.clone();
        drop(self);
        let _ = tokio::task::spawn_blocking(move || drop(stack)).await;
    }
}

/// Starts the two servers in a folder, each on the wanted port if that is free, and makes the folder of logs.
pub(crate) async fn servers(
    dir: &Path,
    install: bool,
    (pg_port, nats_port): (Option<u16>, Option<u16>),
    say: fn(&str),
) -> Result<Arc<Stack>, Error> {
    std::fs::create_dir_all(dir.join("logs")).map_err(io(format!("cannot make {}", dir.display())))?;
    let dir = dir.join("servers");
    let options = Options { dir, install, fsync: true, pg_port, nats_port, say: Arc::new(say) };
    let stack = tokio::task::spawn_blocking(move || Stack::start(&options)).await;
    Ok(Arc::new(stack.map_err(|error| Error::Api(error.to_string()))??))
}

/// Makes a database unless it is there.
pub(crate) async fn make_database(stack: &Arc<Stack>, name: &'static str) -> Result<(), Error> {
    let stack = stack.clone();
    let made = tokio::task::spawn_blocking(move || {
        let sql = format!("SELECT 1 FROM pg_database WHERE datname = '{name}'");
        if stack.postgres.query("postgres", &sql)?.is_empty() {
            stack.postgres.create_database(name, None)?;
        }
        Ok::<(), snorri_stack::Error>(())
    });
    made.await.map_err(|error| Error::Api(error.to_string()))??;
    Ok(())
}

/// What an orchestrator's process is told.
#[derive(Debug)]
pub(crate) struct Serve<'a> {
    pub(crate) database_url: String,
    pub(crate) nats_url: String,
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) replica: &'a str,
    pub(crate) otlp_endpoint: Option<&'a str>,
}

impl Serve<'_> {
    /// As the arguments of `snorri`.
    pub(crate) fn args(&self) -> Vec<String> {
        let (listen, admin_listen) = (self.listen.to_string(), self.admin_listen.to_string());
        let mut args = vec!["serve", "--database-url", &self.database_url, "--nats-url", &self.nats_url];
        args.extend(["--listen", &listen, "--admin-listen", &admin_listen, "--replica", self.replica]);
        args.push("--until-stdin-closes");
        if let Some(endpoint) = self.otlp_endpoint {
            args.extend(["--otlp-endpoint", endpoint]);
        }
        args.into_iter().map(str::to_owned).collect()
    }
}

/// The arguments of `snorri` that run one of the demo's services; `at` is its database and NATS.
pub(crate) fn participant_args(
    service: Service,
    at: (&str, &str),
    troubles: Shares,
    otlp_endpoint: Option<&str>,
) -> Vec<String> {
    let Shares { fail, slow, crash } = troubles;
    let [fail, slow, crash] = [fail, slow, crash].map(|share| share.to_string());
    let mut args = vec!["participant", service.name(), "--database-url", at.0, "--nats-url", at.1];
    args.extend(["--until-stdin-closes", "--fail", &fail, "--slow", &slow, "--crash", &crash]);
    if let Some(endpoint) = otlp_endpoint {
        args.extend(["--otlp-endpoint", endpoint]);
    }
    args.into_iter().map(str::to_owned).collect()
}

/// The file of the program that runs.
pub(crate) fn own_program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(io("cannot find this program's own file"))
}

/// Starts a process of the installation, its output appended to a log of that name. It ends when its standard
/// input closes, so with this process.
pub(crate) fn spawn(program: &Path, dir: &Path, name: &str, args: &[String]) -> Result<Child, Error> {
    let log = dir.join("logs").join(format!("{name}.log"));
    let out = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(io(format!("cannot write {}", log.display())))?;
    let err = out.try_clone().map_err(io(format!("cannot write {}", log.display())))?;
    let mut command = Command::new(program);
    // What the user has set for a production of his own must not reach this one.
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SNORRI_")) {
        command.env_remove(key);
    }
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(out)
        .stderr(err)
        .kill_on_drop(true)
        // Ctrl-C in the terminal reaches this process only, which stops the others in order. A frozen one whose
        // parent is killed is ended by the kernel, since it is the only one of its group.
        .process_group(0)
        .spawn()
        .map_err(io(format!("cannot start {name}")))
}

/// The wanted port if it is free, or any that is.
pub(crate) fn free(wanted: Option<u16>) -> Result<SocketAddr, Error> {
    let any = || TcpListener::bind(("127.0.0.1", 0));
    let listener = match wanted {
        Some(port) => TcpListener::bind(("127.0.0.1", port)).or_else(|_| any()),
        None => any(),
    };
    listener.and_then(|listener| listener.local_addr()).map_err(io("no free port"))
}

/// Resolves when standard input closes: the process that started this one is gone.
pub(crate) async fn stdin_closed() {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut sink = std::io::sink();
        let _ = std::io::copy(&mut std::io::stdin(), &mut sink);
        let _ = tell.send(());
    });
    let _ = told.await;
}
