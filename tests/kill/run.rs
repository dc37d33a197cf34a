//! Runs cases side by side, each to its end, and says how each went.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;
use snorri_kill::{Action, HANG, Point};
use tokio::sync::Mutex;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::case::{Case, SAGAS};
use crate::fleet::Fleet;
use crate::judge::{Ends, count, judge, open};
use crate::load::Client;
use crate::place::Place;

/// The definition that the sagas run.
const ORDER: &str = include_str!("../../sagas/definitions/order.yaml");
/// The same as a part of another saga: its pivot, since an order has one itself.
const ERRAND: &str = "
name: errand
window: 10m
steps:
  - { name: order, saga: order, version: 1, kind: pivot, timeout: 5m }
";
/// How many cases run side by side: they mostly wait for time to pass.
const SIDE_BY_SIDE: usize = 6;
/// By when the point must have been reached.
const REACHED_WITHIN: Duration = Duration::from_mins(1);
/// By when all sagas must have ended after it: sooner than the nets under everything come to their help, which are the
/// sweep and the redelivery of commands, both after 30 s.
const RECOVERED_WITHIN: Duration = Duration::from_secs(27);
/// How long their end is waited for, to tell what was too slow from what never comes.
const ENDED_WITHIN: Duration = Duration::from_mins(2);
/// How often a case looks around.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How a case went well.
struct Went {
    /// From the point's action to the last saga's end.
    recovered: Duration,
    ends: Ends,
    took: Duration,
}

/// Runs the cases; fails with all that went wrong.
pub(crate) async fn all(cases: Vec<Case>) {
    LocalSet::new().run_until(side_by_side(cases)).await;
}

async fn side_by_side(cases: Vec<Case>) {
    let began = Instant::now();
    let total = cases.len();
    let mut running = futures::stream::iter(cases)
        .map(|case| async move {
            // In a task of its own, so that a panic is one case's failure.
            let went = spawn_local(one(case)).await;
            (case, went.unwrap_or_else(|error| Err(error.to_string())))
        })
        .buffer_unordered(SIDE_BY_SIDE);
    let mut failed = Vec::new();
    let mut slowest = Duration::ZERO;
    while let Some((case, went)) = running.next().await {
        let name = case.name();
        match went {
            Ok(Went { recovered, ends, took }) => {
                slowest = slowest.max(recovered);
                let Ends { completed, compensated, gave_up, .. } = ends;
                println!(
                    "{name:28} recovered in {:5.1} s  {completed:2} completed, {compensated:2} compensated \
                     (good ones: {gave_up:?})  case: {:5.1} s",
                    recovered.as_secs_f64(),
                    took.as_secs_f64()
                );
            }
            Err(why) => {
                println!("{name:28} FAILED: {why}");
                failed.push(name);
            }
        }
    }
    println!(
        "{total} cases of {SAGAS} sagas in {:.0} s, the slowest recovery {:.1} s",
        began.elapsed().as_secs_f64(),
        slowest.as_secs_f64()
    );
    assert!(
        failed.is_empty(),
        "{} of {total} cases failed: {failed:?}; the processes' logs are in {}/kill",
        failed.len(),
        env!("CARGO_TARGET_TMPDIR")
    );
}

async fn one(case: Case) -> Result<Went, String> {
    let began = Instant::now();
    let place = Arc::new(Place::make(&case).await);
    if case.is_armed_early() {
        place.arm();
    }
    let fleet = Arc::new(Mutex::new(Fleet::start(&case, &place)));
    let orders = case.orders(&place.world);
    let supervised = async {
        loop {
            if let Err(why) = fleet.lock().await.look_after(&place) {
                return why;
            }
            sleep(LOOK_EVERY).await;
        }
    };
    let ids = tokio::select! {
        ids = to_the_end(&case, &place, &fleet, &orders) => ids?,
        why = supervised => return Err(why),
    };
    let ends = judge(&case, &place, &orders, &ids).await?;
    let fired = place.fired().ok_or("it was there a moment ago")?;
    let fleet = Arc::into_inner(fleet).ok_or("the fleet is still in use")?.into_inner();
    if case.action == Action::Kill && !fleet.died_at_the_point {
        return Err("no process was killed at the point".to_owned());
    }
    fleet.end().await?;
    Arc::into_inner(place).ok_or("the place is still in use")?.clear().await?;
    let recovered = ends.last.duration_since(fired.at).unwrap_or_default();
    let stood_still = if matches!(case.action, Action::Hang | Action::Stop) { HANG } else { Duration::ZERO };
    let limit = RECOVERED_WITHIN + stood_still;
    if recovered > limit {
        return Err(format!("it recovered after {recovered:.1?} only, more than {limit:?}"));
    }
    Ok(Went { recovered, ends, took: began.elapsed() })
}

/// Starts the sagas, brings the point about, and waits until all is over.
async fn to_the_end(
    case: &Case,
    place: &Place,
    fleet: &Mutex<Fleet>,
    orders: &[Value],
) -> Result<Vec<Uuid>, String> {
    let client = Client::new(fleet, if case.has_families() { "errand" } else { "order" });
    client.submit(ORDER).await?;
    if case.has_families() {
        client.submit(ERRAND).await?;
    }
    let ids = bring_about(case, place, fleet, &client, orders).await?;
    wait(REACHED_WITHIN, "the point is reached", async || Ok(place.fired().is_some())).await?;
    let of_each = if case.has_families() { 2 } else { 1 };
    let total = i64::try_from(orders.len() * of_each).unwrap_or(i64::MAX);
    let all_ended = wait(ENDED_WITHIN, "all sagas end", async || {
        // More sagas than orders are told of by the judge.
        let (sagas, ended) = count(place).await?;
        Ok(sagas >= total && sagas == ended)
    });
    if let Err(why) = all_ended.await {
        return Err(format!("{why}; open:\n    {}", open(place).await));
    }
    if matches!(case.action, Action::Hang | Action::Stop) {
        // What stood still goes on when everything is over, and must do no harm.
        let is_over = || place.fired().is_some_and(|fired| fired.ago() > HANG + Duration::from_secs(2));
        wait(HANG * 2, "the hang is over", async || Ok(is_over())).await?;
    }
    if case.action == Action::Kill {
        wait(REACHED_WITHIN, "the killed process is seen to be dead", async || {
            Ok(fleet.lock().await.died_at_the_point)
        })
        .await?;
    }
    Ok(ids)
}

/// Starts the sagas, and does what leads to the point if the sagas alone do not.
async fn bring_about(
    case: &Case,
    place: &Place,
    fleet: &Mutex<Fleet>,
    client: &Client<'_>,
    orders: &[Value],
) -> Result<Vec<Uuid>, String> {
    let under_way = wait(REACHED_WITHIN, "sagas are under way", async || Ok(client.accepted() >= 8));
    match case.point {
        Point::HeartbeatWritten => {
            let arm = async {
                under_way.await?;
                place.arm();
                Ok(())
            };
            tokio::try_join!(client.start_all(orders, None), arm).map(|(ids, ())| ids)
        }
        Point::SweepClaimed => {
            place.arm();
            let make_due = async {
                under_way.await?;
                // Sagas are due half a minute after their start; here it is now.
                wait(REACHED_WITHIN, "a sweep claims sagas", async || {
                    sqlx::query(
                        "UPDATE snorri.sagas SET wake_at = now() - interval '11 seconds' WHERE ended_at IS NULL",
                    )
                    .execute(&place.db)
                    .await
                    .map_err(|error| error.to_string())?;
                    Ok(place.fired().is_some())
                })
                .await
            };
            tokio::try_join!(client.start_all(orders, None), make_due).map(|(ids, ())| ids)
        }
        Point::Draining => {
            place.arm();
            let shut_down = async {
                under_way.await?;
                wait(REACHED_WITHIN, "a replica drains", async || {
                    fleet.lock().await.shut_down("a");
                    Ok(place.fired().is_some())
                })
                .await
            };
            tokio::try_join!(client.start_all(orders, None), shut_down).map(|(ids, ())| ids)
        }
        Point::TakeoverClaimed => {
            place.arm();
            let mut ids = Vec::new();
            let rounds = usize::try_from(case.hit).unwrap_or(1);
            for (round, orders) in orders.chunks(orders.len().div_ceil(rounds)).enumerate() {
                let name = format!("doomed-{round}");
                fleet.lock().await.add_replica(&name, place);
                ids.extend(client.start_all(orders, Some(&name)).await?);
                fleet.lock().await.doom(&name);
                wait(REACHED_WITHIN, "its sagas are taken over", async || Ok(place.hits() > round as u64))
                    .await?;
            }
            Ok(ids)
        }
        _ if case.is_armed_late() => {
            let arm = async {
                wait(REACHED_WITHIN, "some sagas have ended", async || Ok(count(place).await?.1 >= 3))
                    .await?;
                place.arm();
                Ok(())
            };
            tokio::try_join!(client.start_all(orders, None), arm).map(|(ids, ())| ids)
        }
        _ => {
            if !case.is_armed_early() {
                place.arm();
            }
            client.start_all(orders, None).await
        }
    }
}

/// Looks again and again until it is so.
async fn wait(
    within: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<bool, String>,
) -> Result<(), String> {
    let until = Instant::now() + within;
    while !look().await? {
        if Instant::now() > until {
            return Err(format!("in vain for {within:?}: {what}"));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}
