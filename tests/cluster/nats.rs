//! Members of the NATS cluster are lost.

use std::time::Duration;

use async_nats::jetstream::context::Context;
use snorri_saga::wire::Subjects;
use tokio::time::{Instant, sleep_until};

use crate::load::{Load, a_while};
use crate::rig::{Rig, eventually};

/// The streams of an installation.
fn streams() -> [String; 5] {
    let subjects = Subjects::default();
    [
        subjects.commands_stream(),
        subjects.replies_stream(),
        subjects.starts_stream(),
        subjects.signals_stream(),
        subjects.endings_stream(),
    ]
}

/// The server that leads a stream.
async fn leader(jetstream: &Context, stream: &str) -> Option<String> {
    let mut stream = jetstream.get_stream(stream).await.ok()?;
    stream.info().await.ok()?.cluster.as_ref()?.leader.clone()
}

/// Every stream has three replicas, and so has every consumer.
async fn everything_is_on_three_servers(jetstream: &Context) {
    use futures::TryStreamExt as _;
    for name in streams() {
        eventually("the stream is on three servers", async || {
            let mut stream = jetstream.get_stream(&name).await.ok()?;
            let info = stream.info().await.ok()?;
            assert_eq!(info.config.num_replicas, 3, "{name}");
            let cluster = info.cluster.as_ref()?;
            cluster.leader.as_ref()?;
            (cluster.replicas.len() == 2 && cluster.replicas.iter().all(|peer| peer.current)).then_some(())
        })
        .await;
        eventually("its consumers are on three servers", async || {
            let stream = jetstream.get_stream(&name).await.ok()?;
            let consumers: Vec<_> = stream.consumers().try_collect().await.ok()?;
            let on_three = |consumer: &async_nats::jetstream::consumer::Info| {
                consumer.cluster.as_ref().is_some_and(|cluster| cluster.replicas.len() == 2)
            };
            consumers.iter().all(on_three).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_the_streams_is_lost_under_load() {
    let rig = Rig::up("nats-leader").await;
    let load = Load::begin(&rig).await;
    let jetstream = rig.jetstream().await;
    everything_is_on_three_servers(&jetstream).await;
    for stream in [Subjects::default().commands_stream(), Subjects::default().replies_stream()] {
        tokio::time::sleep(a_while()).await;
        let leader = eventually("a leader", async || leader(&jetstream, &stream).await).await;
        let killed = leader.clone();
        rig.with_nats(move |nats| {
            nats.node(&killed).expect("a member").kill();
            Ok(())
        })
        .await;
        let (accepted, ended) = load.probe(1).await;
        println!(
            "  the leader of {stream} was killed: a start was accepted after {accepted:.1?}, its saga ended after {ended:.1?}"
        );
        assert!(ended < Duration::from_secs(40), "{ended:?}");
        rig.with_nats(move |nats| nats.node(&leader).expect("a member").start_again()).await;
        everything_is_on_three_servers(&jetstream).await;
    }
    load.judge(&rig).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_are_lost_and_starts_are_still_accepted() {
    let mut rig = Rig::servers("nats-quorum").await;
    // No leader yet: nobody can make a stream.
    kill_two(&rig).await;
    rig.start_processes();
    rig.answers().await;
    let load = Load::begin(&rig).await;
    let before = load.accepted(1).await;
    rig.with_nats(|nats| nats.nodes().iter().try_for_each(snorri_stack::Nats::start_again)).await;
    let (_, ended) = load.probe(2).await;
    println!("  the cluster came after the orchestrators: the first saga ended {ended:.1?} after it");
    let jetstream = rig.jetstream().await;
    everything_is_on_three_servers(&jetstream).await;

    tokio::time::sleep(a_while()).await;
    kill_two(&rig).await;
    let lost = Instant::now();
    let during = load.accepted(3).await;
    println!("  two of three were killed: a start was accepted after {:.1?}", lost.elapsed());
    // The time without a quorum is the test's subject: longer than both attempts of a step take.
    sleep_until(lost + Duration::from_secs(24)).await;
    rig.with_nats(|nats| {
        let gone = nats.nodes().iter().find(|node| node.pid().is_none());
        gone.map_or(Ok(()), snorri_stack::Nats::start_again)
    })
    .await;
    let (accepted, ended) = load.probe(4).await;
    println!("  one came back: a start was accepted after {accepted:.1?}, its saga ended after {ended:.1?}");
    assert!(ended < Duration::from_secs(40), "{ended:?}");
    rig.with_nats(|nats| nats.nodes().iter().try_for_each(snorri_stack::Nats::start_again)).await;
    load.judge(&rig).await;
    assert_ne!(before, during);
    rig.end().await;
}

async fn kill_two(rig: &Rig) {
    rig.with_nats(|nats| {
        nats.nodes().iter().take(2).for_each(snorri_stack::Nats::kill);
        Ok(())
    })
    .await;
}
