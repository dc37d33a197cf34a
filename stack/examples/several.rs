//! Keeps a NATS cluster of three and a Postgres with a standby up until Enter is pressed, for trials by hand:
//!
//! ```text
//! cargo run -p snorri-stack --example several -- FOLDER [asynchronous]
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use snorri_stack::{NatsCluster, Options, PostgresPair, Replication};

fn main() -> Result<(), snorri_stack::Error> {
    let mut words = std::env::args().skip(1);
    let dir = words.next().map_or_else(|| PathBuf::from("target/several"), PathBuf::from);
    let replication = match words.next().as_deref() {
        Some("asynchronous") => Replication::Asynchronous,
        _ => Replication::Synchronous,
    };
    let options =
        |name: &str| Options { say: Arc::new(|line| println!("{line}")), ..Options::new(dir.join(name)) };
    let nats = NatsCluster::start(&options("nats"))?;
    let pair = PostgresPair::start(&options("postgres"), replication)?;
    pair.primary().create_database("snorri", None)?;
    println!(
        "--nats-url {} --stream-replicas 3 --database-url {}",
        nats.urls().join(","),
        pair.url("snorri")
    );
    println!(
        "the primary itself is {}, the standby {}",
        pair.primary().url("snorri"),
        pair.standby().url("snorri")
    );
    println!("Enter stops them.");
    let mut line = String::new();
    // Whatever ends the input ends the servers.
    drop(std::io::stdin().read_line(&mut line));
    Ok(())
}
