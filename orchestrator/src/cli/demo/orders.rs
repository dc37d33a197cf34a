//! A stream of orders, with progress on the screen, and with faults if they are asked for.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use snorri_demo::World;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::api::{Client, SagaView};
use super::{Args, Error, Private};

/// Faults during the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) kill_every: Option<Duration>,
    pub(crate) wipe_nats: u64,
}

/// What became of the orders.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) ended: Vec<SagaView>,
    pub(crate) took: Duration,
    pub(crate) kills: u64,
    pub(crate) wipes: u64,
    pub(crate) revived: u64,
}

/// Runs the orders.
pub(crate) async fn run(
    private: &mut Private,
    client: &Client,
    args: &Args,
    world: &World,
    faults: Faults,
) -> Result<Run, Error> {
    println!("  {} orders, {} at a time:\n", args.orders, args.in_flight);
    let began = Instant::now();
    let (tell, mut told) = mpsc::channel::<Result<SagaView, Error>>(1024);
    let (load, world, seed, orders) = (client.clone(), Arc::new(world.clone()), args.seed, args.orders);
    let in_flight = usize::try_from(args.in_flight).unwrap_or(32);
    let loader = tokio::spawn(async move {
        futures::stream::iter(1..=orders)
            .for_each_concurrent(in_flight, |n| {
                let (load, world, tell) = (load.clone(), world.clone(), tell.clone());
                async move {
                    let order = snorri_demo::order(seed, n, &world);
                    let result = async {
                        let id = load.start(&format!("demo-{seed}-{n}"), &order).await?;
                        load.ended(&id).await
                    };
                    // An error means that the demo is over.
                    let _ = tell.send(result.await).await;
                }
            })
            .await;
    });
    let mut run = Run::default();
    let mut tick = interval(Duration::from_millis(100));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_kill = faults.kill_every.map(|every| Instant::now() + every);
    let mut progress = Progress::new(orders);
    while (run.ended.len() as u64) < orders {
        tokio::select! {
            saga = told.recv() => match saga {
                Some(Ok(saga)) => run.ended.push(saga),
                Some(Err(error)) => {
                    loader.abort();
                    return Err(error);
                }
                None => break,
            },
            _ = tick.tick() => {
                progress.show(&run, began.elapsed(), false);
                run.revived += private.revive_participants()? as u64;
                if next_kill.is_some_and(|at| Instant::now() >= at) {
                    private.kill_orchestrator().await;
                    private.start_orchestrator()?;
                    run.kills += 1;
                    next_kill = faults.kill_every.map(|every| Instant::now() + every);
                }
                let share = run.ended.len() as u64 * (faults.wipe_nats + 1) / orders.max(1);
                if run.wipes < faults.wipe_nats && share > run.wipes {
                    private.wipe_nats().await?;
                    run.wipes += 1;
                }
            }
        }
    }
    run.took = began.elapsed();
    progress.show(&run, run.took, true);
    private.ready().await?;
    Ok(run)
}

/// A line that is written over on a terminal, and a line now and then elsewhere.
struct Progress {
    orders: u64,
    is_terminal: bool,
    said: u64,
}

impl Progress {
    fn new(orders: u64) -> Self {
        Self { orders, is_terminal: std::io::stdout().is_terminal(), said: 0 }
    }

    fn show(&mut self, run: &Run, took: Duration, is_last: bool) {
        let done = run.ended.len() as u64;
        let tenth = done * 10 / self.orders.max(1);
        if !self.is_terminal && !is_last && tenth <= self.said {
            return;
        }
        self.said = tenth;
        let mut statuses: HashMap<&str, u64> = HashMap::new();
        for saga in &run.ended {
            *statuses.entry(saga.status.as_str()).or_default() += 1;
        }
        let count = |status: &str| statuses.get(status).copied().unwrap_or(0);
        let filled = usize::try_from(done * 30 / self.orders.max(1)).unwrap_or(0);
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(30 - filled.min(30)));
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = done as f64 / took.as_secs_f64().max(0.001);
        let faults = if run.kills + run.wipes > 0 {
            format!(" · killed {}× · NATS wiped {}×", run.kills, run.wipes)
        } else {
            String::new()
        };
        let line = format!(
            "    {bar} {done}/{}  {} completed · {} compensated · {rate:.0}/s{faults}",
            self.orders,
            count("completed"),
            count("compensated"),
        );
        if self.is_terminal {
            print!("\r{line}\x1b[K");
            // A screen that is gone is no reason to stop.
            let _ = std::io::stdout().flush();
        } else {
            println!("{line}");
        }
        if is_last {
            println!("{}", if self.is_terminal { "\n" } else { "" });
        }
    }
}
