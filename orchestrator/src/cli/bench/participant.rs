//! `snorri bench-participant`: a participant that does nothing, as fast as the SDK lets it.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use snorri_participant::{
    BusOptions, CancellationToken, Ctx, Fail, Name, Participant, Subjects, Undo, connect_pool,
};

use super::{Error, PARTICIPANT, STEPS, compensation_of};
use crate::cli::{fail, logs, relay_runtime};

/// The arguments of `snorri bench-participant`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where NATS is
    #[arg(long)]
    nats_url: String,
    /// The first token of all subjects and streams
    #[arg(long)]
    namespace: String,
    /// Its own database; with one there is a barrier
    #[arg(long)]
    database_url: Option<String>,
    /// How many commands are worked on at a time; with a database, in one transaction
    #[arg(long, default_value_t = 256)]
    at_once: usize,
}

/// The only thing of an order that matters here.
#[derive(Debug, Deserialize)]
struct Order {
    reject: bool,
}

/// About a hundred bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    receipt: String,
}

impl Receipt {
    fn new() -> Self {
        Self { receipt: "0123456789".repeat(9) }
    }
}

/// Runs it until it is killed.
pub(crate) fn run(args: Args) -> ExitCode {
    logs::init(logs::Format::Text, "info");
    let runtime = match relay_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error),
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

async fn serve(args: Args) -> Result<(), Error> {
    let mut participant = Participant::new(PARTICIPANT)?;
    for (position, step) in STEPS.into_iter().enumerate() {
        let is_last = position + 1 == STEPS.len();
        participant = participant
            .action(step, move |_: Ctx, order: Order| async move {
                if is_last && order.reject {
                    return Err(Fail::rejected(
                        "every_tenth",
                        "every tenth saga is rejected at its last step",
                    ));
                }
                Ok(Receipt::new())
            })
            .compensation(&compensation_of(step), |_: Ctx, _: Undo<Order, Receipt>| async { Ok(()) });
    }
    participant = match &args.database_url {
        Some(url) => participant.database(connect_pool(url, 3).await?).batch(args.at_once),
        None => participant.concurrency(args.at_once),
    };
    let bus = BusOptions {
        subjects: Subjects::new(Name::new(&args.namespace)?),
        ..BusOptions::new(args.nats_url, "snorri bench participant")
    };
    participant.run(bus, CancellationToken::new()).await?;
    Ok(())
}
