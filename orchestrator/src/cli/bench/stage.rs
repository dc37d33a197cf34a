//! The installation under measurement: its servers, the orchestrator and the participants.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::stream::State;
use snorri_saga::ids::Name;
use snorri_saga::wire::Subjects;
use snorri_stack::{Options, Stack};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use super::http::{Connection, Post};
use super::process::{Child, Who, free_port};
use super::{Args, DEFINITION, Error, PARTICIPANT, STEPS, compensation_of, say};

/// How long the orchestrator may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// The names of the orchestrators; the first is there all the time.
const REPLICAS: [&str; 3] = ["bench-1", "bench-2", "bench-3"];

/// The installation. Everything in it ends when it is dropped.
pub(super) struct Stage {
    /// Before the servers, so that they end before them.
    pub(super) orchestrator: Child,
    pub(super) participants: Child,
    pub(super) address: SocketAddr,
    pub(super) client: Client,
    pub(super) subjects: Subjects,
    pub(super) began: String,
    admin: SocketAddr,
    lanes: Option<u32>,
    stream_replicas: usize,
    database_url: String,
    participants_url: String,
    nats_url: String,
    servers: Servers,
    /// Last, so that it goes when nobody uses it any more.
    folder: Folder,
}

/// The folder of logs and data, removed when it is dropped unless it is to be kept.
struct Folder {
    logs: PathBuf,
    keep: bool,
}

impl Folder {
    /// The servers' part of it.
    fn stack(&self) -> PathBuf {
        self.logs.join("stack")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            say(format_args!("logs and data are in {}", self.logs.display()));
            return;
        }
        // Their data may be elsewhere, where the servers' user can enter.
        if let Err(error) = Stack::wipe(&self.stack()) {
            tracing::warn!(%error, "the servers' folder could not be deleted");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.logs) {
            tracing::warn!(%error, "the logs could not be deleted");
        }
    }
}

/// Whose servers.
enum Servers {
    Private(Box<Stack>),
    Given,
}

impl Stage {
    /// Starts everything.
    pub(super) async fn set(args: &Args, beside: &Path, run: u32) -> Result<Self, Error> {
        let logs = beside.join(format!("bench-{}-{run}", std::process::id()));
        std::fs::create_dir_all(&logs)
            .map_err(|source| Error::Io { what: format!("make {}", logs.display()), source })?;
        let folder = Folder { logs, keep: args.keep };
        let (mut database_url, mut nats_url) = (args.postgres_url.clone(), args.nats_url.clone());
        let servers = if database_url.is_some() && nats_url.is_some() {
            Servers::Given
        } else {
            let options = Options { say: Arc::new(|line| say(line)), ..Options::new(folder.stack()) };
            Servers::Private(Box::new(Stack::start(&options)?))
        };
        let mut participants_url = database_url.clone();
        if let Servers::Private(stack) = &servers {
            if database_url.is_none() {
                stack.postgres.create_database("snorri", None)?;
                stack.postgres.create_database("participants", None)?;
                database_url = Some(stack.postgres.url("snorri"));
                participants_url = Some(stack.postgres.url("participants"));
            }
            nats_url.get_or_insert_with(|| stack.nats.url());
        }
        let (database_url, nats_url) = (database_url.unwrap_or_default(), nats_url.unwrap_or_default());
        let namespace = match servers {
            Servers::Private(_) => "snorri".to_owned(),
            Servers::Given => format!("bench-{}", std::process::id()),
        };
        let subjects = Subjects::new(Name::new(&namespace)?);
        let client = async_nats::ConnectOptions::new()
            .name("snorri bench")
            .connection_timeout(Duration::from_secs(5))
            .client_capacity(8192)
            .connect(&nats_url)
            .await
            .map_err(Error::nats)?;
        let (address, admin) = (free_address()?, free_address()?);
        let of = ToBe {
            database_url: &database_url,
            nats_url: &nats_url,
            subjects: &subjects,
            stream_replicas: args.stream_replicas,
            logs: &folder.logs,
        };
        let mut connection = PgConnection::connect(&database_url).await?;
        let began: String = sqlx::query_scalar("SELECT now()::text").fetch_one(&mut connection).await?;
        let orchestrator = of.orchestrator(REPLICAS[0], address, admin, args.lanes)?;
        let participants = of.participants(None)?;
        let mut stage = Self {
            orchestrator,
            participants,
            address,
            client,
            subjects,
            began,
            admin,
            lanes: args.lanes,
            stream_replicas: args.stream_replicas,
            database_url,
            participants_url: participants_url.unwrap_or_default(),
            nats_url,
            servers,
            folder,
        };
        submit_definition(stage.address, &mut stage.orchestrator, &mut stage.participants).await?;
        Ok(stage)
    }

    fn to_be(&self) -> ToBe<'_> {
        ToBe {
            database_url: &self.database_url,
            nats_url: &self.nats_url,
            subjects: &self.subjects,
            stream_replicas: self.stream_replicas,
            logs: &self.folder.logs,
        }
    }

    /// Starts the orchestrator, which was killed, once more: the same name, the same ports.
    pub(super) fn restart_orchestrator(&mut self) -> Result<(), Error> {
        self.orchestrator = self.to_be().orchestrator(REPLICAS[0], self.address, self.admin, self.lanes)?;
        Ok(())
    }

    /// Starts two more orchestrators beside the one that is there, and waits until they take work.
    pub(super) async fn more_orchestrators(&mut self) -> Result<Vec<Replica>, Error> {
        let mut replicas = Vec::new();
        for name in REPLICAS.into_iter().skip(1) {
            let address = free_address()?;
            let child = self.to_be().orchestrator(name, address, free_address()?, self.lanes)?;
            replicas.push(Replica { name, address, child });
        }
        for replica in &mut replicas {
            submit_definition(replica.address, &mut replica.child, &mut self.participants).await?;
        }
        Ok(replicas)
    }

    /// Starts one of the two processes of the floor.
    pub(super) fn floor(
        &self,
        name: &'static str,
        part: &str,
        subjects: &Subjects,
        sizes: &str,
    ) -> Result<Child, Error> {
        let args = words(&[
            ("bench-floor", part),
            ("--nats-url", &self.nats_url),
            ("--namespace", subjects.prefix().as_str()),
            ("--database-url", &self.database_url),
            ("--sizes", sizes),
        ]);
        Child::start_with_input(name, &args, &self.folder.logs.join("floor.log"))
    }

    /// Replaces the participants by such with the barrier in their own database, or without.
    pub(super) fn replace_participants(&mut self, with_barrier: bool) -> Result<(), Error> {
        self.participants.kill();
        let url = with_barrier.then_some(self.participants_url.as_str());
        self.participants = self.to_be().participants(url)?;
        Ok(())
    }

    /// Something took too long.
    pub(super) fn late(&self, what: &str, limit: Duration) -> Error {
        Error::Late { what: what.to_owned(), seconds: limit.as_secs(), tail: self.orchestrator.tail() }
    }

    /// Who is measured, by name.
    pub(super) fn processes(&self) -> Vec<(&'static str, Who)> {
        let (postgres, nats) = match &self.servers {
            Servers::Private(stack) => (stack.postgres.pid(), stack.nats.pid()),
            Servers::Given => (None, None),
        };
        vec![
            ("orchestrator", Who::One(self.orchestrator.pid())),
            ("participants", Who::One(self.participants.pid())),
            ("nats-server", nats.map_or(Who::Unknown, Who::One)),
            ("postgres", postgres.map_or(Who::Unknown, Who::Family)),
            ("load generator", Who::One(std::process::id())),
        ]
    }

    /// Deletes the streams of another installation on these servers.
    pub(super) async fn delete_streams(&self, subjects: &Subjects) {
        delete_streams(self.client.clone(), subjects).await;
    }

    /// What is in a stream.
    pub(super) async fn stream_state(&self, stream: &str) -> Result<State, Error> {
        let context = async_nats::jetstream::new(self.client.clone());
        let stream = context.get_stream(stream).await.map_err(Error::nats)?;
        Ok(stream.cached_info().state.clone())
    }

    /// A connection to the orchestrator's database.
    pub(super) async fn database(&self) -> Result<PgConnection, Error> {
        Ok(PgConnection::connect(&self.database_url).await?)
    }

    /// Ends everything and removes what it left behind.
    pub(super) async fn strike(self) {
        let Self { orchestrator, participants, client, subjects, servers, folder, .. } = self;
        drop((orchestrator, participants));
        if matches!(servers, Servers::Given) {
            delete_streams(client, &subjects).await;
        }
        drop(servers);
        drop(folder);
    }
}

/// One more orchestrator.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) child: Child,
}

fn free_address() -> Result<SocketAddr, Error> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))
}

/// The streams of an installation.
pub(super) fn streams(subjects: &Subjects) -> [String; 5] {
    [
        subjects.commands_stream(),
        subjects.replies_stream(),
        subjects.starts_stream(),
        subjects.signals_stream(),
        subjects.endings_stream(),
    ]
}

async fn delete_streams(client: Client, subjects: &Subjects) {
    let context = async_nats::jetstream::new(client);
    for stream in streams(subjects) {
        if let Err(error) = context.delete_stream(&stream).await {
            tracing::warn!(%error, stream, "the stream could not be deleted");
        }
    }
}

/// Submits the definition, as soon as the orchestrator answers.
async fn submit_definition(
    address: SocketAddr,
    orchestrator: &mut Child,
    participants: &mut Child,
) -> Result<(), Error> {
    let definition = definition();
    let post = Post {
        path: "/v1/definitions",
        content_type: "application/yaml",
        key: None,
        body: definition.as_bytes(),
    };
    let mut connection = Connection::new(address);
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        orchestrator.check()?;
        participants.check()?;
        match connection.post(post).await {
            Ok(answer) if matches!(answer.status, 200 | 201) => return Ok(()),
            Ok(answer) if answer.status != 503 => {
                let body = String::from_utf8_lossy(answer.body).into_owned();
                return Err(Error::Refused { what: "the definition", status: answer.status, body });
            }
            Ok(_) | Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
            Ok(_) | Err(_) => {
                return Err(Error::Late {
                    what: "the orchestrator's start".to_owned(),
                    seconds: READY_LIMIT.as_secs(),
                    tail: orchestrator.tail(),
                });
            }
        }
    }
}

/// What a child process has to be told.
struct ToBe<'a> {
    database_url: &'a str,
    nats_url: &'a str,
    subjects: &'a Subjects,
    stream_replicas: usize,
    logs: &'a Path,
}

impl ToBe<'_> {
    fn orchestrator(
        &self,
        replica: &str,
        address: SocketAddr,
        admin: SocketAddr,
        lanes: Option<u32>,
    ) -> Result<Child, Error> {
        let mut args = words(&[
            ("serve", ""),
            ("--database-url", self.database_url),
            ("--nats-url", self.nats_url),
            ("--listen", &address.to_string()),
            ("--admin-listen", &admin.to_string()),
            ("--replica", replica),
            ("--namespace", self.subjects.prefix().as_str()),
            ("--stream-replicas", &self.stream_replicas.to_string()),
        ]);
        if let Some(lanes) = lanes {
            args.extend(words(&[("--lanes", &lanes.to_string())]));
        }
        Child::start("orchestrator", &args, &self.logs.join(format!("{replica}.log")))
    }

    fn participants(&self, database_url: Option<&str>) -> Result<Child, Error> {
        let mut args = words(&[
            ("bench-participant", ""),
            ("--nats-url", self.nats_url),
            ("--namespace", self.subjects.prefix().as_str()),
        ]);
        if let Some(url) = database_url {
            args.extend(words(&[("--database-url", url)]));
        }
        Child::start("participants", &args, &self.logs.join("participants.log"))
    }
}

fn words(pairs: &[(&str, &str)]) -> Vec<String> {
    let all = pairs.iter().flat_map(|(name, value)| [*name, *value]);
    all.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The definition: three steps, each with a compensation, everything else as usual.
fn definition() -> String {
    let steps = STEPS.into_iter().map(|step| {
        let undo = compensation_of(step);
        format!("  - name: {step}\n    participant: {PARTICIPANT}\n    compensation: {undo}\n")
    });
    format!("name: {DEFINITION}\nwindow: 5m\nsteps:\n{}", steps.collect::<String>())
}
