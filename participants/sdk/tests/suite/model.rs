//! A participant over another store than a Postgres.

use std::sync::Arc;
use std::time::Duration;

use snorri_participant::store::{Store, Turn};
use snorri_participant::{Participant, Undo};
use snorri_saga::wire::Outcome;

use crate::barrier_model::Model;
use crate::rig::{Command, Done, How, Rig, Wish, ok, saga, within};

#[tokio::test]
async fn a_handler_that_asks_for_a_transaction_of_postgres_has_failed() {
    let mut rig = Rig::new("no_postgres").await;
    let model: Arc<Model<i64>> = Arc::default();
    let participant = Participant::new("ledger")
        .expect("a name")
        .store(model.clone())
        .action("write", async |cx, wish: Wish| {
            let _tx = cx.tx().await?;
            Ok(Done { number: wish.amount })
        })
        .compensation("erase", async |_, _: Undo<Wish, Done>| Ok(()));
    let running = rig.run(participant);
    let command = Command::action(saga(), "pay", 5, How::Well);
    let Outcome::Failed { message, .. } = rig.ask(&command).await else { panic!("a failure") };
    assert!(message.contains("no Postgres"), "{message}");
    assert_eq!(model.rows()[&command.id.effect].outcome.as_deref(), Some("failed"));
    assert!(model.ledger().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn nothing_goes_on_when_a_participants_future_is_dropped() {
    let mut rig = Rig::over_the_model().await;
    let model = rig.stage.model.clone().expect("a model");
    let participant = rig.participant();
    let running = rig.run(participant);
    let (quick, stuck) =
        (Command::action(saga(), "pay", 5, How::Well), Command::action(saga(), "pay", 6, How::Wait));
    assert_eq!(rig.ask(&quick).await, ok(5));
    rig.send(std::slice::from_ref(&stuck)).await;
    within("the action", rig.stage.began.notified()).await;
    let store: Arc<dyn Store> = model.clone();
    // As when the process is killed in the middle of a command.
    running.task.abort();
    assert!(running.task.await.expect_err("aborted").is_cancelled());
    // Here, in the stage and in the rig's hands; none in a task.
    within("the end of its tasks", async {
        while Arc::strong_count(&store) > 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!((rig.barrier_rows(stuck.saga()).await, rig.ledger(stuck.saga()).await), (0, (0, 0)));
    // The turn is free for the next process.
    let mut tx = store.begin().await.expect("begun");
    let new = tx.take_turns(&[&stuck.id]).await.expect("an answer");
    assert_eq!(new[0].action, Turn::First);
}
