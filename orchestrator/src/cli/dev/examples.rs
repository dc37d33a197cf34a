//! The example definitions and their services, so that each of them can be started at once in `snorri dev`.

use std::time::Duration;

use snorri_demo::examples::{Service, World, prepare, run};
use snorri_demo::{ServiceConfig, Troubles};
use snorri_participant::{BusOptions, CancellationToken};
use tokio::task::JoinSet;

use super::super::demo::Client;
use super::super::private::{Error, Private, make_database};

/// The database of all their books.
const DATABASE: &str = "examples";
/// Before a service that ended is begun again.
const PAUSE: Duration = Duration::from_secs(1);

macro_rules! definitions {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../../sagas/definitions/", $name, ".yaml")))),*]
    };
}

/// All of them, each behind its sub-sagas.
pub(super) const DEFINITIONS: [(&str, &str); 10] = definitions![
    "order",
    "pickup",
    "transfer",
    "travel",
    "bank-transfer",
    "signup",
    "import",
    "trip",
    "payment",
    "holiday",
];

/// The services of the examples, as tasks of this process. Payments is the demo's, and runs already.
pub(super) struct Examples {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

pub(super) fn services() -> impl Iterator<Item = Service> {
    Service::all().into_iter().filter(|service| *service != Service::Payments)
}

impl Examples {
    /// Opens the books, starts the services, and submits the definitions.
    pub(super) async fn open(private: &Private, client: &Client) -> Result<Self, Error> {
        make_database(&private.stack, DATABASE).await?;
        let database_url = private.database(DATABASE);
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for service in services() {
            prepare(service, &database_url, &World::default()).await?;
            let (database_url, nats, stop) = (database_url.clone(), private.stack.nats.url(), stop.clone());
            tasks.spawn(async move {
                while !stop.is_cancelled() {
                    let config = ServiceConfig {
                        database_url: database_url.clone(),
                        bus: BusOptions::new(&nats, service.name()),
                        troubles: Troubles::default(),
                        batch: None,
                        concurrency: 4,
                    };
                    if let Err(error) = run(service, config, stop.clone()).await {
                        eprintln!("  · {service} ended and is started anew: {error}");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        for (_, text) in DEFINITIONS {
            client.submit(text).await?;
        }
        Ok(Self { tasks, stop })
    }

    /// Ends the services; what they work on is finished.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}
