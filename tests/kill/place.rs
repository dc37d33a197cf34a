//! Where a case takes place: databases and subjects of its own on the servers that all cases share, the demo's books,
//! and the file that the point's hits are counted in.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use snorri_demo::{Databases, Service, ServiceConfig, Troubles, World};
use snorri_participant::{BusOptions, CancellationToken};
use snorri_saga::wire::Subjects;
use snorri_stack::TestStack;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinSet;

use crate::case::{Case, SAGAS, VICTIM};
use crate::support;

pub(crate) struct Place {
    pub(crate) of: support::Place,
    pub(crate) books: Databases,
    pub(crate) world: World,
    /// Of the orchestrator's database.
    pub(crate) db: PgPool,
    /// Logs, and the file of hits.
    pub(crate) dir: PathBuf,
    services: JoinSet<Result<(), snorri_demo::Error>>,
    stop: CancellationToken,
}

/// That the point was reached and acted at: by which process, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fired {
    pub(crate) pid: u32,
    pub(crate) at: SystemTime,
}

impl Fired {
    pub(crate) fn ago(&self) -> Duration {
        self.at.elapsed().unwrap_or_default()
    }
}

impl Place {
    pub(crate) async fn make(case: &Case) -> Self {
        let of = support::Place::shared("kill").await;
        let made = tokio::task::spawn_blocking(|| {
            let stack = TestStack::get().expect("the test servers");
            Service::all().map(|service| stack.database(service.name()).expect("a database"))
        });
        let [inventory, payments, shipping, orders] = made.await.expect("not cancelled");
        let books = Databases { inventory, payments, shipping, orders };
        let world = World::for_orders(SAGAS as u64);
        for service in Service::all() {
            snorri_demo::prepare(service, books.url(service), &world).await.expect("the books are opened");
        }
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kill").join(case.name());
        // Of an earlier run.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder");
        let db = PgPoolOptions::new().max_connections(2).connect_lazy(&of.database_url).expect("a pool");
        let (services, stop) = (JoinSet::new(), CancellationToken::new());
        let mut place = Self { of, books, world, db, dir, services, stop };
        for service in Service::all() {
            if !(case.is_of_participant() && service == VICTIM) {
                place.run_service(service);
            }
        }
        place
    }

    /// Runs one of the services in this process: it is not what dies.
    fn run_service(&mut self, service: Service) {
        let config = ServiceConfig {
            database_url: self.books.url(service).to_owned(),
            bus: BusOptions {
                subjects: Subjects::new(self.of.prefix.clone()),
                ..BusOptions::new(&self.of.nats_url, service.name())
            },
            troubles: Troubles::default(),
            batch: Some(64),
            concurrency: 2,
        };
        self.services.spawn(snorri_demo::run(service, config, self.stop.clone()));
    }

    pub(crate) fn hits_file(&self) -> PathBuf {
        self.dir.join("hits")
    }

    /// From now on the point's hits count.
    pub(crate) fn arm(&self) {
        std::fs::write(self.hits_file(), "").expect("written");
    }

    pub(crate) fn hits(&self) -> u64 {
        std::fs::metadata(self.hits_file()).map_or(0, |file| file.len())
    }

    pub(crate) fn fired(&self) -> Option<Fired> {
        let text = std::fs::read_to_string(self.dir.join("hits.fired")).ok()?;
        let (pid, ms) = text.split_once(' ')?;
        let at = UNIX_EPOCH + Duration::from_millis(ms.parse().ok()?);
        Some(Fired { pid: pid.parse().ok()?, at })
    }

    /// Stops the services and takes everything away. The logs stay.
    pub(crate) async fn clear(mut self) -> Result<(), String> {
        self.stop.cancel();
        while let Some(ended) = self.services.join_next().await {
            ended.map_err(|error| error.to_string())?.map_err(|error| format!("a service: {error}"))?;
        }
        let bus = self.of.bus("clear").await;
        let subjects = bus.subjects().clone();
        // They take room on the server that all tests share.
        for stream in [
            subjects.commands_stream(),
            subjects.replies_stream(),
            subjects.starts_stream(),
            subjects.signals_stream(),
            subjects.endings_stream(),
        ] {
            bus.jetstream()
                .expect("jetstream")
                .delete_stream(stream)
                .await
                .map_err(|error| error.to_string())?;
        }
        bus.close().await;
        self.db.close().await;
        let urls = Service::all().map(|service| self.books.url(service).to_owned());
        let dropped = tokio::task::spawn_blocking(move || {
            let stack = TestStack::get()?;
            urls.iter().chain([&self.of.database_url]).try_for_each(|url| {
                let name = url.rsplit('/').next().unwrap_or_default();
                let name = name.split('?').next().unwrap_or_default();
                stack.execute("postgres", &format!("DROP DATABASE \"{name}\" WITH (FORCE)"))
            })
        });
        dropped.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}
