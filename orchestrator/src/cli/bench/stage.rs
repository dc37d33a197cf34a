//! The installation under measurement: its servers, the orchestrator and the participants.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::Client;
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
const REPLICA: &str = "bench-1";

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
    pub(super) async fn set(args: &Args, beside: &Path) -> Result<Self, Error> {
        let logs = beside.join(format!("bench-{}", std::process::id()));
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
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (address, admin) = (local(free_port()?), local(free_port()?));
        let of = ToBe {
            database_url: &database_url,
            nats_url: &nats_url,
            subjects: &subjects,
            stream_replicas: args.stream_replicas,
            logs: &folder.logs,
        };
        let mut connection = PgConnection::connect(&database_url).await?;
        let began: String = sqlx::query_scalar("SELECT now()::text").fetch_one(&mut connection).await?;
        let orchestrator = of.orchestrator(address, admin, args.lanes)?;
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
        stage.submit_definition().await?;
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
        self.orchestrator = self.to_be().orchestrator(self.address, self.admin, self.lanes)?;
        Ok(())
    }

    /// Replaces the participants by such with the barrier in their own database, or without.
    pub(super) fn replace_participants(&mut self, with_barrier: bool) -> Result<(), Error> {
        self.participants.kill();
        let url = with_barrier.then_some(self.participants_url.as_str());
        self.participants = self.to_be().participants(url)?;
        Ok(())
    }

    /// Submits the definition, as soon as the orchestrator answers.
    async fn submit_definition(&mut self) -> Result<(), Error> {
        let definition = definition();
        let post = Post {
            path: "/v1/definitions",
            content_type: "application/yaml",
            key: None,
            body: definition.as_bytes(),
        };
        let mut connection = Connection::new(self.address);
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            self.orchestrator.check()?;
            self.participants.check()?;
            match connection.post(post).await {
                Ok(answer) if matches!(answer.status, 200 | 201) => return Ok(()),
                Ok(answer) if answer.status != 503 => {
                    let body = String::from_utf8_lossy(answer.body).into_owned();
                    return Err(Error::Refused { what: "the definition", status: answer.status, body });
                }
                Ok(_) | Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
                Ok(_) | Err(_) => return Err(self.late("the orchestrator's start", READY_LIMIT)),
            }
        }
    }

    /// Something took too long.
    pub(super) fn late(&self, what: &str, limit: Duration) -> Error {
        Error::Late { what: what.to_owned(), seconds: limit.as_secs(), tail: self.orchestrator.tail() }
    }

    /// Who is measured, by name.
    pub(super) fn processes(&self) -> [(&'static str, Who); 5] {
        let (postgres, nats) = match &self.servers {
            Servers::Private(stack) => (stack.postgres.pid(), stack.nats.pid()),
            Servers::Given => (None, None),
        };
        [
            ("orchestrator", Who::One(self.orchestrator.pid())),
            ("participants", Who::One(self.participants.pid())),
            ("nats-server", nats.map_or(Who::Unknown, Who::One)),
            ("postgres", postgres.map_or(Who::Unknown, Who::Family)),
            ("load generator", Who::One(std::process::id())),
        ]
    }

    /// How many sagas of this run Postgres has, and how many of them have not ended.
    pub(super) async fn sagas_in_postgres(&self) -> Result<(u64, u64), Error> {
        let mut connection = PgConnection::connect(&self.database_url).await?;
        let (all, live): (i64, i64) = sqlx::query_as(
            "SELECT count(*), count(*) FILTER (WHERE ended_at IS NULL) FROM snorri.sagas
             WHERE definition = $1 AND started_at >= $2::timestamptz",
        )
        .bind(DEFINITION)
        .bind(&self.began)
        .fetch_one(&mut connection)
        .await?;
        Ok((u64::try_from(all).unwrap_or(0), u64::try_from(live).unwrap_or(0)))
    }

    /// How long after the given time the last saga ended, by Postgres's clock, in seconds.
    pub(super) async fn last_end_after(&self, time: SystemTime) -> Result<Option<f64>, Error> {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut connection = PgConnection::connect(&self.database_url).await?;
        let seconds: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM max(ended_at))::float8 - $3 FROM snorri.sagas
             WHERE definition = $1 AND started_at >= $2::timestamptz",
        )
        .bind(DEFINITION)
        .bind(&self.began)
        .bind(since_epoch)
        .fetch_one(&mut connection)
        .await?;
        Ok(seconds)
    }

    /// The servers' versions.
    pub(super) async fn versions(&self) -> Result<(String, String), Error> {
        let mut connection = PgConnection::connect(&self.database_url).await?;
        let postgres: String =
            sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(&mut connection).await?;
        Ok((postgres, self.client.server_info().version))
    }

    /// Ends everything and removes what it left behind.
    pub(super) async fn strike(self) {
        let Self { orchestrator, participants, client, subjects, servers, folder, .. } = self;
        drop((orchestrator, participants));
        if matches!(servers, Servers::Given) {
            let context = async_nats::jetstream::new(client);
            for stream in [
                subjects.commands_stream(),
                subjects.replies_stream(),
                subjects.starts_stream(),
                subjects.endings_stream(),
            ] {
                if let Err(error) = context.delete_stream(&stream).await {
                    tracing::warn!(%error, stream, "the stream could not be deleted");
                }
            }
        }
        drop(servers);
        drop(folder);
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
            ("--replica", REPLICA),
            ("--namespace", self.subjects.prefix().as_str()),
            ("--stream-replicas", &self.stream_replicas.to_string()),
        ]);
        if let Some(lanes) = lanes {
            args.extend(words(&[("--lanes", &lanes.to_string())]));
        }
        Child::start("orchestrator", &args, &self.logs.join("orchestrator.log"))
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
