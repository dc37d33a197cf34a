//! The primary is lost, exchanged, or left alone by its standby. The participants' databases are on the same two
//! servers, so that they change with it.

use std::time::Duration;

use snorri_stack::PostgresPair;
use tokio::time::{Instant, sleep, sleep_until};

use crate::load::{Load, a_while};
use crate::rig::{Rig, eventually};

/// Longer than it takes, by what a busy machine adds; what it took is printed.
const LIMIT: Duration = Duration::from_secs(40);

fn say(what: &str, (accepted, ended): (Duration, Duration)) {
    println!("  {what}: a start was accepted after {accepted:.1?}, its saga ended after {ended:.1?}");
    assert!(ended < LIMIT, "{what}: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_killed_and_its_standby_promoted() {
    let rig = Rig::up("pg-killed").await;
    let load = Load::begin(&rig).await;
    sleep(a_while()).await;
    rig.with_pair(|pair| {
        pair.primary().kill();
        pair.promote()?;
        pair.switch();
        Ok(())
    })
    .await;
    say("promoted after a kill", load.probe(1).await);
    sleep(a_while()).await;
    load.judge(&rig).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_was_demoted_and_still_answers_is_left_as_soon_as_the_address_leads_elsewhere() {
    let rig = Rig::up("pg-exchange").await;
    let load = Load::begin(&rig).await;
    sleep(a_while()).await;
    rig.with_pair(PostgresPair::exchange).await;
    // The address leads to what was the primary, which answers and takes no writes.
    eventually("there are connections to it", async || (rig.pair.address().connections() > 0).then_some(()))
        .await;
    rig.not_ready().await;
    let refused = load.refused();
    eventually("starts are refused meanwhile", async || (load.refused() > refused + 20).then_some(())).await;
    // As DNS does it: what is connected stays connected.
    rig.with_pair(|pair| {
        pair.address().switch(pair.primary().port());
        Ok(())
    })
    .await;
    say("the address leads to the new primary", load.probe(1).await);
    sleep(a_while()).await;
    load.judge(&rig).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primarys_host_falls_silent_and_its_standby_is_promoted() {
    let rig = Rig::up("pg-silent").await;
    let load = Load::begin(&rig).await;
    sleep(a_while()).await;
    // Nobody closes the connections to it: no packet comes back, as from a host that lost its power.
    rig.with_pair(|pair| {
        pair.primary().pause();
        pair.promote()?;
        pair.address().switch(pair.primary().port());
        Ok(())
    })
    .await;
    say("promoted after silence", load.probe(1).await);
    // It comes back, and thinks that it is the primary still. Without its standby it can answer no commit.
    rig.with_pair(|pair| {
        pair.standby().resume();
        Ok(())
    })
    .await;
    sleep(a_while()).await;
    load.judge(&rig).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_is_lost_and_commits_wait_for_it() {
    let rig = Rig::up("pg-standby").await;
    let load = Load::begin(&rig).await;
    sleep(a_while()).await;
    rig.with_pair(|pair| {
        pair.standby().kill();
        Ok(())
    })
    .await;
    let lost = Instant::now();
    eventually("starts are refused", async || (load.refused() > 20).then_some(())).await;
    println!("  the standby was killed: starts are refused after {:.1?}", lost.elapsed());
    // The time without it is the test's subject: longer than any unit of work may take.
    sleep_until(lost + Duration::from_secs(14)).await;
    rig.with_pair(|pair| pair.standby().start_again()).await;
    say("the standby came back", load.probe(1).await);
    load.judge(&rig).await;
    rig.end().await;
}
