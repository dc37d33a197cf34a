//! The audit of the examples: reads the books of all services and says whether every effect happened exactly once. It
//! shares no code with the orchestrator, and with the services only the names of their tables; what a saga's end
//! means for the books is written down here a second time (`plan.rs`).
//!
//! Every service is read in one snapshot. While sagas are on their way the snapshots do not fit together, so that what
//! holds between services is checked when all sagas have ended.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use uuid::Uuid;

use super::{Service, World, sql};
use crate::audit::{FINAL, Page, within};
use crate::{EndStatus, Error, Findings};

mod books;
mod ends;
mod families;
mod plan;

/// The databases of the services; they may be one and the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Databases(BTreeMap<Service, String>);

impl Databases {
    /// All services in one database, each in its own schema.
    pub fn one(url: &str) -> Self {
        Self::of(|_| url.to_owned())
    }

    /// Each service in the database that the function gives.
    pub fn of(url: impl Fn(Service) -> String) -> Self {
        Self(Service::all().into_iter().map(|service| (service, url(service))).collect())
    }

    /// The database of a service.
    pub fn url(&self, service: Service) -> &str {
        self.0.get(&service).map(String::as_str).unwrap_or_default()
    }
}

/// A saga that the orchestrator accepted: a start of somebody's, or the child of another saga.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The saga.
    pub id: Uuid,
    /// The name of its definition.
    pub definition: String,
    /// How it ended.
    pub status: EndStatus,
    /// Its input.
    pub input: Value,
}

/// What the audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Sagas that left an effect in any of the books.
    pub sagas_with_effects: usize,
    /// Actions applied.
    pub actions: usize,
    /// Compensations applied.
    pub compensations: usize,
    /// What was looked at, and what is wrong.
    pub findings: Findings,
}

impl Audit {
    /// What is wrong, each in a sentence.
    pub fn problems(&self) -> Vec<&str> {
        self.findings.problems().iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.problems().is_empty()
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { actions, compensations, sagas_with_effects, .. } = self;
        writeln!(
            f,
            "effects   {actions} actions and {compensations} compensations of {sagas_with_effects} sagas"
        )?;
        match self.problems().len() {
            0 => writeln!(f, "problems  none: the books balance, every effect is there once"),
            count => {
                writeln!(f, "problems  {count}")?;
                self.problems().iter().try_for_each(|problem| writeln!(f, "  - {problem}"))
            }
        }
    }
}

/// Audits the books. `world` is what they were opened with; `sagas` are all that the orchestrator accepted, of whatever
/// definition, the children of others among them.
pub async fn audit(databases: &Databases, world: &World, sagas: &[Ended]) -> Result<Audit, Error> {
    let mut findings = Findings::default();
    let mut pages = BTreeMap::new();
    let mut clearing = 0;
    for service in Service::all() {
        let options: PgConnectOptions = databases.url(service).parse()?;
        let mut connection = options.connect().await?;
        let mut tx = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        match service {
            Service::Hotels | Service::Cars => {
                books::capacity(&mut tx, service, world.towns(true), &mut findings).await?;
            }
            Service::Flights => {
                books::capacity(&mut tx, service, world.towns(false), &mut findings).await?;
            }
            Service::BankA | Service::BankB => {
                clearing += books::bank(&mut tx, service, world, &mut findings).await?;
            }
            Service::Accounts => books::accounts(&mut tx, &mut findings).await?,
            Service::Catalogue => books::catalogue(&mut tx, &mut findings).await?,
            Service::Payments | Service::Mail => {}
        }
        let page = match records(service) {
            Some(records) => read(&mut tx, service, records).await?,
            None => crate::audit::payments(&mut tx, &world.shop, &mut findings).await?,
        };
        tx.rollback().await?;
        connection.close().await?;
        within(service.name(), &page, finals(service), &mut findings);
        books::states(service, &page, &mut findings);
        pages.insert(service, page);
    }
    if sagas.iter().all(|saga| saga.status != EndStatus::Open) {
        books::cleared(clearing, &mut findings);
    }
    let effects = ends::judge(&pages, sagas, &mut findings);
    families::judge(sagas, &mut findings);
    let lines = || pages.values().flat_map(|page| &page.effects);
    Ok(Audit {
        sagas_with_effects: effects,
        actions: lines().filter(|effect| effect.is_action()).count(),
        compensations: lines().filter(|effect| !effect.is_action()).count(),
        findings,
    })
}

/// The operations of a service that nothing undoes, and that change a record which is there instead of writing one.
fn finals(service: Service) -> &'static [&'static str] {
    match service {
        Service::Payments => &FINAL,
        Service::BankA | Service::BankB => &["settle"],
        Service::Accounts => &["activate"],
        Service::Catalogue => &["publish"],
        Service::Hotels | Service::Flights | Service::Cars | Service::Mail => &[],
    }
}

/// What reads the rows that a service's actions wrote; nothing for payments, which the demo's audit reads.
fn records(service: Service) -> Option<&'static str> {
    Some(match service {
        Service::Payments => return None,
        Service::Hotels | Service::Flights | Service::Cars => {
            "SELECT saga, step, state, price_cents AS size, units FROM __books__.bookings ORDER BY id"
        }
        Service::BankA | Service::BankB => {
            "SELECT saga, step, state, amount_cents AS size, 0::bigint AS units FROM __books__.movements ORDER BY id"
        }
        Service::Accounts => {
            "SELECT saga, step, state, 0::bigint AS size, 0::bigint AS units FROM __books__.accounts ORDER BY id"
        }
        Service::Mail => {
            "SELECT saga, step, state, 0::bigint AS size, 0::bigint AS units FROM __books__.letters ORDER BY id"
        }
        Service::Catalogue => {
            "SELECT saga, step, state, coalesce(articles, 0) AS size, 0::bigint AS units FROM __books__.imports
             UNION ALL
             SELECT saga, step, state, price_cents, 0 FROM __books__.articles"
        }
    })
}

async fn read(db: &mut PgConnection, service: Service, records: &str) -> Result<Page, Error> {
    let effects = "SELECT saga, step, operation, direction, at FROM __books__.effects ORDER BY id";
    Ok(Page {
        records: sqlx::query_as(sql(service.schema(), records)).fetch_all(&mut *db).await?,
        effects: sqlx::query_as(sql(service.schema(), effects)).fetch_all(&mut *db).await?,
    })
}
