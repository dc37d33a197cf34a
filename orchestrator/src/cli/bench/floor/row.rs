//! The row of the table: a closed loop over the two processes of the floor.

use std::process::ChildStdin;
use std::time::Duration;

use async_nats::Subscriber;
use futures::{FutureExt as _, StreamExt as _};
use snorri_saga::ids::Name;
use snorri_saga::wire::Subjects;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{NAME, Place, Sizes};
use crate::cli::bench::load::{Ending, Load, Tally};
use crate::cli::bench::process::{Child, Who};
use crate::cli::bench::report::RowReport;
use crate::cli::bench::rows::{DRAIN_LIMIT, FIRST_LIMIT, WARM_UP, account};
use crate::cli::bench::stage::Stage;
use crate::cli::bench::starters::Tasks;
use crate::cli::bench::watch::Watch;
use crate::cli::bench::{Error, say};

/// What the floor imitates.
#[derive(Debug, Clone)]
pub(in crate::cli::bench) struct Shape(pub(super) Sizes);

/// So many sagas in flight, each end begins the next. The two processes end with the row.
pub(in crate::cli::bench) async fn floor(
    stage: &Stage,
    shape: &Shape,
    in_flight: usize,
    span: Duration,
) -> Result<RowReport, Error> {
    let name = format!("{in_flight} in flight, bare I/O: the floor");
    say(format_args!("{name} …"));
    let subjects = Subjects::new(Name::new(&format!("{}-floor", stage.subjects.prefix()))?);
    let endings = subjects.ended(&Name::new(NAME)?, "*");
    let endings = stage.client.subscribe(endings).await.map_err(Error::nats)?;
    stage.client.flush().await.map_err(Error::nats)?;
    let sizes = serde_json::to_string(&shape.0).map_err(|error| Error::Floor(error.to_string()))?;
    let mut responder = stage.floor("floor's participants", "responder", &subjects, &sizes)?;
    let mut driver = stage.floor("floor's orchestrator", "driver", &subjects, &sizes)?;
    let Some(input) = driver.take_input() else {
        return Err(Error::Floor("the driver has no input".to_owned()));
    };
    let load = Load::begin(in_flight)?;
    let mut tasks = Tasks::new();
    listen(&mut tasks, &load, endings);
    start(&mut tasks, &load, input)?;
    let result = measure(stage, &load, span, &mut driver, &mut responder).await;
    drop(tasks);
    drop((driver, responder));
    stage.delete_streams(&subjects).await;
    stage.drop_floor().await?;
    let mut row = result?;
    row.name = name;
    row.floor_in_flight = Some(in_flight);
    row.say();
    Ok(row)
}

async fn measure(
    stage: &Stage,
    load: &Load,
    span: Duration,
    driver: &mut Child,
    responder: &mut Child,
) -> Result<RowReport, Error> {
    let deadline = Instant::now() + FIRST_LIMIT;
    while load.read(Tally::ended) == 0 {
        driver.check()?;
        responder.check()?;
        if Instant::now() > deadline {
            return Err(stage.late("the floor's first saga", FIRST_LIMIT));
        }
        sleep(Duration::from_millis(20)).await;
    }
    sleep(WARM_UP).await;
    let mut processes = stage.processes();
    for (name, who) in &mut processes {
        match *name {
            "orchestrator" => *who = Who::One(driver.pid()),
            "participants" => *who = Who::One(responder.pid()),
            _ => {}
        }
    }
    let watch = Watch::begin(processes, load);
    sleep(span).await;
    let mut row = watch.end();
    load.stop();
    let has_ended = load.drain(DRAIN_LIMIT).await;
    driver.check()?;
    responder.check()?;
    account(load, has_ended, DRAIN_LIMIT, &mut row);
    // Nobody answers a start here.
    row.start = None;
    Ok(row)
}

/// Hands the starts to the driver, as many at a time as there are.
fn start(tasks: &mut Tasks, load: &Load, input: ChildStdin) -> Result<(), Error> {
    let io = |source| Error::Io { what: "write the starts".to_owned(), source };
    let mut input = pipe::Sender::from_owned_fd(input.into()).map_err(io)?;
    let load = load.clone();
    tasks.spawn_local(async move {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let mut ticket = Some(load.take().await);
            while let Some(one) = ticket {
                let saga = Uuid::now_v7();
                load.accepted(one, saga);
                let place = Place { saga, sent: 0, is_rejected: one.is_rejected() };
                bytes.extend_from_slice(&place.write());
                ticket = load.take().now_or_never();
            }
            if let Err(error) = input.write_all(&bytes).await {
                // The driver is gone; what it had never ends, and the row says so.
                tracing::warn!(%error, "the floor takes no more starts");
                return;
            }
        }
    });
    Ok(())
}

fn listen(tasks: &mut Tasks, load: &Load, mut endings: Subscriber) {
    let load = load.clone();
    tasks.spawn_local(async move {
        while let Some(message) = endings.next().await {
            let Some(place) = Place::read(&message.payload) else { continue };
            let ending =
                if message.subject.ends_with("completed") { Ending::Completed } else { Ending::Compensated };
            load.announced(place.saga, ending);
        }
    });
}
