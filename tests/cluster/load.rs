//! Orders in a steady stream, each repeated under its key until it is accepted; and the judgement afterwards: every
//! accepted saga is there, has ended as it must, and its effects are in the books once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use snorri_demo::{EndStatus, Expected, Sagas, World};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::rig::{Rig, SOON, eventually};

const ORDER: &str = include_str!("../../sagas/definitions/order.yaml");
/// What the steps of that are changed to: a busy machine must not be taken for a fault.
const TIMEOUT: (&str, &str) = ("timeout: 5s", "timeout: 10s");
/// Three attempts of the orders' and the parcels' steps, so that what is lost to a fault would be noticed. One is spent where a
/// command was on its way in the moment of the fault. Another one may be where the streams take messages again and a
/// participant's consumer has no leader for as long as the timeout: nobody else can see that.
const ATTEMPTS: (&str, &str) =
    ("compensation: cancel\n", "compensation: cancel\n    retry: { attempts: 3 }\n");
const SEED: u64 = 7;
/// How long a start is repeated.
const PATIENCE: Duration = Duration::from_mins(2);
/// So many of the accepted starts are asked for once more at the end.
const REPEATED: usize = 40;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// How long the load goes on before a fault, and after it.
pub(crate) fn a_while() -> Duration {
    Duration::from_secs(setting("SNORRI_CLUSTER_SECONDS", 3))
}

#[derive(Debug, Default)]
struct Seen {
    accepted: BTreeMap<u64, Uuid>,
    refused: u64,
    unanswered: u64,
    wrong: Vec<String>,
}

/// A client of all replicas.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    apis: Vec<String>,
    world: World,
    seen: Arc<Mutex<Seen>>,
}

/// A stream of orders under way.
pub(crate) struct Load {
    client: Client,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Client {
    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The n-th order. Without trouble on purpose: attempts are to be lost to the faults of the test, or not at all.
    fn order(&self, n: u64) -> Value {
        let mut order = snorri_demo::order(SEED, n, &self.world);
        order.as_object_mut().expect("an object").remove("trouble");
        order
    }

    /// Starts the n-th order, at one replica after the other until one accepts it.
    async fn start(&self, n: u64) -> Option<Uuid> {
        let body = json!({"definition": "order", "input": self.order(n)});
        let until = Instant::now() + PATIENCE;
        for api in self.apis.iter().cycle().skip(usize::try_from(n).unwrap_or(0) % self.apis.len()) {
            let request =
                self.http.post(format!("{api}/v1/sagas")).header("idempotency-key", format!("load-{n}"));
            match request.json(&body).send().await {
                Ok(answer) if answer.status().is_success() => {
                    let body: Value = answer.json().await.unwrap_or_default();
                    if let Some(id) = body["id"].as_str().and_then(|id| id.parse().ok()) {
                        self.note(|seen| {
                            let before = seen.accepted.insert(n, id);
                            if before.is_some_and(|before| before != id) {
                                seen.wrong.push(format!("start {n} became {before:?} and {id}"));
                            }
                        });
                        return Some(id);
                    }
                }
                Ok(answer) if answer.status().as_u16() == 503 => self.note(|seen| {
                    seen.refused += 1;
                    if !answer.headers().contains_key("retry-after") {
                        seen.wrong.push(format!("start {n} was refused without Retry-After"));
                    }
                }),
                Ok(answer) => {
                    let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
                    self.note(|seen| seen.wrong.push(format!("start {n} was answered {status}: {text}")));
                    return None;
                }
                Err(_) => self.note(|seen| seen.unanswered += 1),
            }
            if Instant::now() > until {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.note(|seen| seen.wrong.push(format!("start {n} was never accepted")));
        None
    }

    async fn ended(&self, id: Uuid) -> Option<Value> {
        let api = self.apis.first()?;
        let answer = self.http.get(format!("{api}/v1/sagas/{id}")).send().await.ok()?;
        let saga: Value = answer.json().await.ok()?;
        saga["ended_at"].is_string().then_some(saga)
    }
}

impl Load {
    /// Submits the definition, and starts orders at a steady rate until [`Load::judge`].
    pub(crate) async fn begin(rig: &Rig) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(15)).build().expect("a client");
        let client = Client { http, apis: rig.apis.clone(), world: rig.world.clone(), seen: Arc::default() };
        eventually("the definition is taken", async || {
            let url = format!("{}/v1/definitions", client.apis.first()?);
            let post = client.http.post(url).header("content-type", "application/yaml");
            let post = post.body(ORDER.replace(TIMEOUT.0, TIMEOUT.1).replace(ATTEMPTS.0, ATTEMPTS.1));
            post.send().await.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(client.clone(), stop.clone()));
        Self { client, stop, task }
    }

    /// Starts one order more, and says how long it took until it was accepted, and until it had ended.
    pub(crate) async fn probe(&self, n: u64) -> (Duration, Duration) {
        let began = Instant::now();
        // One that is completed, and of no scarce article.
        let n = (PROBES + 1000 * n..PROBES + 1000 * (n + 1))
            .find(|n| snorri_demo::expected(&self.client.order(*n)) == Some(Expected::Completed))
            .expect("most are");
        let id = self.client.start(n).await.expect("it is accepted");
        let accepted = began.elapsed();
        eventually("the probe ends", async || self.client.ended(id).await).await;
        (accepted, began.elapsed())
    }

    /// Starts one order more, and waits only until it is accepted.
    pub(crate) async fn accepted(&self, n: u64) -> Uuid {
        self.client.start(PROBES + 1000 * n).await.expect("it is accepted")
    }

    /// How many starts were refused with the advice to come again.
    pub(crate) fn refused(&self) -> u64 {
        self.client.seen.lock().unwrap_or_else(PoisonError::into_inner).refused
    }

    /// Ends the load, waits until everything accepted has ended, and looks whether all is right.
    pub(crate) async fn judge(self, rig: &Rig) {
        let Self { client, stop, task } = self;
        stop.cancel();
        timeout(PATIENCE, task).await.expect("all starts are answered").expect("no panic");
        let stopped = Instant::now();
        let seen = std::mem::take(&mut *client.seen.lock().unwrap_or_else(PoisonError::into_inner));
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        let url = rig.pair.url("snorri");
        let ends = eventually("every saga has ended", async || {
            let ends = timeout(SOON, ends(&url)).await.ok()?.ok()?;
            ends.values().all(|(status, _)| *status != EndStatus::Open).then_some(ends)
        })
        .await;
        let drained = stopped.elapsed();
        let mut wrong = Vec::new();
        for (n, id) in &seen.accepted {
            let Some((status, cause)) = ends.get(id) else {
                wrong.push(format!("{id} was accepted and is not there"));
                continue;
            };
            let is_right = match snorri_demo::expected(&client.order(*n)) {
                None => matches!(status, EndStatus::Completed | EndStatus::Compensated),
                Some(Expected::Completed) => *status == EndStatus::Completed,
                Some(Expected::Compensated { code }) => {
                    *status == EndStatus::Compensated && cause.as_ref() == Some(&code)
                }
            };
            if !is_right {
                wrong.push(format!("{id} ended {status:?} because of {cause:?}"));
            }
        }
        for (n, id) in seen.accepted.iter().rev().take(REPEATED) {
            let again = client.start(*n).await;
            if again != Some(*id) {
                wrong.push(format!("the start of {id} was repeated, and answered {again:?}"));
            }
        }
        assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), wrong.iter().take(20).collect::<Vec<_>>());
        let sagas: HashMap<Uuid, EndStatus> = ends.iter().map(|(id, (status, _))| (*id, *status)).collect();
        let audit = snorri_demo::audit(&rig.books(), &rig.world, Some(Sagas::of("order", &sagas)))
            .await
            .expect("an audit");
        assert!(audit.is_clean(), "{audit}");
        let compensated = sagas.values().filter(|status| **status == EndStatus::Compensated).count();
        println!(
            "  {} accepted ({} refused with Retry-After, {} unanswered, all repeated), {compensated} compensated, \
             {} attempts more than one a step; all ended {:.1} s after the load; books clean",
            seen.accepted.len(),
            seen.refused,
            seen.unanswered,
            attempts_burnt(&url).await,
            drained.as_secs_f64(),
        );
    }
}

/// Orders of probes have numbers from here on.
const PROBES: u64 = 1_000_000;

async fn run(client: Client, stop: CancellationToken) {
    let rate = setting("SNORRI_CLUSTER_RATE", 5).clamp(1, 5000);
    let mut tick = interval(Duration::from_micros(1_000_000 / rate));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut starts = JoinSet::new();
    for n in 0.. {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = tick.tick() => {}
        }
        while starts.try_join_next().is_some() {}
        let client = client.clone();
        starts.spawn(async move { client.start(n).await });
    }
    starts.join_all().await;
}

type Ends = HashMap<Uuid, (EndStatus, Option<String>)>;

async fn ends(url: &str) -> Result<Ends, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let rows = sqlx::query("SELECT id, status, cause FROM snorri.sagas").fetch_all(&mut connection).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, (EndStatus::from_word(row.try_get(1)?), row.try_get(2)?))))
        .collect()
}

/// How many attempts of actions were made beyond the first, over all sagas.
async fn attempts_burnt(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    sqlx::query_scalar(
        "SELECT count(*) FROM snorri.journal, json_array_elements(events) AS event
         WHERE (event->'sent'->>'attempt')::int > 1",
    )
    .fetch_one(&mut connection)
    .await
    .expect("a number")
}
