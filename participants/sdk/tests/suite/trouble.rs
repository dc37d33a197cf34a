//! A participant among servers that come and go.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use snorri_bus::{Bus, BusOptions};
use snorri_saga::json::Json;
use snorri_stack::{Options, Stack, StopMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Command, How, Rig, ok, saga, undone, within};

/// Servers of its own, for a test that ill-treats them.
struct Private {
    rig: Rig,
    stack: Option<Stack>,
    dir: PathBuf,
}

impl Private {
    async fn new(hint: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("snorri-sdk-{hint}-{}", std::process::id()));
        let folder = dir.clone();
        let stack = tokio::task::spawn_blocking(move || {
            Stack::start(&Options { fsync: false, ..Options::new(folder) }).expect("a stack")
        })
        .await
        .expect("joined");
        let rig = Rig::at(&stack.postgres.url("postgres"), &stack.nats.url(), "snorri").await;
        Self { rig, stack: Some(stack), dir }
    }

    fn stack(&self) -> &Stack {
        self.stack.as_ref().expect("a stack")
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        drop(self.stack.take());
        drop(Stack::wipe(&self.dir));
    }
}

#[tokio::test]
async fn a_reply_lost_after_the_commit_is_sent_when_the_command_comes_again() {
    let mut rig = Rig::new("lost_reply").await;
    let running = rig.start();
    // With nowhere to go, the reply is lost just as with a crash between commit and reply.
    rig.bus
        .jetstream()
        .expect("jetstream")
        .delete_stream(rig.bus.subjects().replies_stream())
        .await
        .expect("deleted");
    let command = Command::action(saga(), "pay", 5, How::Well);
    rig.send(std::slice::from_ref(&command)).await;
    within("the commit", async {
        while rig.ledger(command.saga()).await != (1, 5) || running.stats.snapshot().unanswered == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    rig.ensure_streams().await;
    assert_eq!(rig.reply(&command).await, ok(5));
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 1);
    assert_eq!(running.stats.snapshot().duplicates, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_at_work_and_answers_it() {
    let mut rig = Rig::new("shutdown").await;
    let running = rig.run(rig.participant().concurrency(1));
    let (first, second) =
        (Command::action(saga(), "pay", 5, How::Wait), Command::action(saga(), "pay", 6, How::Well));
    rig.send(&[first.clone(), second.clone()]).await;
    within("the first", rig.stage.began.notified()).await;
    running.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!running.task.is_finished());
    rig.stage.go_on.notify_one();
    within("the end", running.task).await.expect("joined").expect("a good end");
    assert_eq!(rig.reply(&first).await, ok(5));
    assert_eq!(rig.ledger(second.saga()).await, (0, 0));
    // The next process has the second at once, not only after the first one's time for it is over.
    let before = Instant::now();
    let running = rig.start();
    assert_eq!(rig.reply(&second).await, ok(6));
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    running.stop().await;
}

#[tokio::test]
async fn a_restart_of_postgres_costs_no_attempt_and_no_effect() {
    let mut private = Private::new("postgres").await;
    let running = private.rig.start();
    let first = Command::action(saga(), "pay", 1, How::Well);
    assert_eq!(private.rig.ask(&first).await, ok(1));
    private.stack().postgres.stop(StopMode::Immediate);
    let commands: Vec<Command> =
        (0..20).map(|number| Command::action(saga(), "pay", number, How::Well)).collect();
    private.rig.send(&commands).await;
    private.rig.send(&[first.undo()]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    private.stack().postgres.start_again().expect("started");
    let before = Instant::now();
    // Each is answered once and well: nobody was told of the trouble.
    for (command, number) in commands.iter().zip(0..) {
        assert_eq!(private.rig.reply(command).await, ok(number));
        assert_eq!(private.rig.ledger(command.saga()).await, (1, number));
    }
    assert_eq!(private.rig.reply(&first.undo()).await, undone(false));
    assert_eq!(private.rig.ledger(first.saga()).await, (2, 0));
    // By being handed back and not by being forgotten: the server's own time for that is 30 seconds.
    assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
    assert_eq!(running.stats.snapshot().failed, 0);
    running.stop().await;
}

/// A way to Postgres whose links can go half open: neither closed nor carrying anything.
struct Frozen {
    url: String,
    /// Links opened before this number of them carry nothing any more.
    before: Arc<AtomicUsize>,
    opened: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Frozen {
    async fn before(postgres: &str) -> Self {
        let target = postgres.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
        let target = target.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (before, opened) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let url = postgres.replace(&target, &address);
        let (frozen, count) = (before.clone(), opened.clone());
        let task = tokio::spawn(async move {
            let mut links = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let far = TcpStream::connect(&target).await.expect("Postgres");
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                links.spawn(carry(from_near, to_far, number, frozen.clone()));
                links.spawn(carry(from_far, to_near, number, frozen.clone()));
            }
        });
        Self { url, before, opened, task }
    }

    /// All links that there are go half open; new ones work.
    fn freeze(&self) {
        self.before.store(self.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: usize, frozen: Arc<AtomicUsize>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if number < frozen.load(Ordering::SeqCst) {
            // The one end says nothing to the other, not even that it is gone.
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_half_open_link_to_postgres_does_not_keep_its_place_in_the_pool() {
    let mut rig = Rig::new("half_open").await;
    let address: String = {
        let options = rig.pool.connect_options();
        let database = options.get_database().expect("a database");
        format!("postgres://snorri@{}:{}/{database}", options.get_host(), options.get_port())
    };
    let way = Frozen::before(&address).await;
    // One place: if it is not given back, nothing goes on.
    let pool = snorri_participant::connect_pool(&way.url, 1).await.expect("a pool");
    let running = rig.run(rig.participant().database(pool).concurrency(1));
    let stuck = Command::action(saga(), "pay", 5, How::Wait);
    rig.send(std::slice::from_ref(&stuck)).await;
    within("the action", rig.stage.began.notified()).await;
    way.freeze();
    rig.stage.go_on.notify_one();
    let begun = Instant::now();
    assert_eq!(rig.ask(&Command::action(saga(), "pay", 6, How::Well)).await, ok(6));
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    running.stop().await;
}

#[tokio::test]
async fn nats_restarted_and_its_store_lost_during_work() {
    let mut private = Private::new("nats").await;
    let running = private.rig.start();
    let first = Command::action(saga(), "pay", 5, How::Wait);
    private.rig.send(std::slice::from_ref(&first)).await;
    within("the first", private.rig.stage.began.notified()).await;
    private.stack().nats.kill();
    private.stack().nats.wipe_store().expect("wiped");
    // The work goes on and is committed; its reply has nowhere to go.
    private.rig.stage.go_on.notify_one();
    within("the commit", async {
        while private.rig.ledger(first.saga()).await != (1, 5) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    private.stack().nats.start_again().expect("started");
    within("reconnection", private.rig.bus.connected()).await;
    private.rig.ensure_streams().await;
    // The orchestrator's wake-up sends it again; the barrier knows the answer.
    let mut again = first.clone();
    again.id.sending = 1;
    assert_eq!(private.rig.ask(&again).await, ok(5));
    assert_eq!(private.rig.ledger(first.saga()).await, (1, 5));
    assert_eq!(private.rig.ask(&Command::action(saga(), "pay", 6, How::Well)).await, ok(6));
    running.stop().await;
}

#[tokio::test]
async fn a_participant_may_start_before_its_servers() {
    let mut private = Private::new("early").await;
    private.stack().postgres.stop(StopMode::Fast);
    private.stack().nats.kill();
    let participant = private.rig.participant();
    let bus = Bus::connect(BusOptions::new(private.stack().nats.url(), "early")).await.expect("a bus");
    let shutdown = snorri_participant::CancellationToken::new();
    let token = shutdown.clone();
    let task = tokio::spawn(async move { participant.run_on(&bus, token).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    private.stack().nats.start_again().expect("started");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!task.is_finished());
    private.stack().postgres.start_again().expect("started");
    within("reconnection", private.rig.bus.connected()).await;
    assert_eq!(private.rig.ask(&Command::action(saga(), "pay", 6, How::Well)).await, ok(6));
    shutdown.cancel();
    within("the end", task).await.expect("joined").expect("a good end");
}

#[tokio::test]
async fn an_upgrade_waits_for_what_the_version_before_is_at_and_keeps_its_rows() {
    let mut rig = Rig::new("upgrade").await;
    let old = Command::action(saga(), "pay", 5, How::Well);
    snorri_participant::migrate(&rig.pool).await.expect("migrated");
    // As it was before failures were kept, with a row of that time.
    sqlx::raw_sql(
        "ALTER TABLE snorri_participant.barrier DROP COLUMN attempt, DROP CONSTRAINT barrier_outcome_check,
             ADD CONSTRAINT barrier_outcome_check
                 CHECK (outcome IN ('ok', 'rejected', 'partial', 'empty', 'tombstone'));
         DELETE FROM snorri_participant.migrations WHERE version = 2",
    )
    .execute(&rig.pool)
    .await
    .expect("the version before");
    let insert = "INSERT INTO snorri_participant.barrier (saga_id, step, undo, outcome, reply)
                  VALUES ($1, 'pay', false, 'ok', '{\"outcome\":\"ok\",\"output\":{\"number\":5}}')";
    sqlx::query(insert).bind(old.saga().0).execute(&rig.pool).await.expect("a row");
    // One of its handlers takes its time, and has the table.
    let mut slow = rig.pool.begin().await.expect("begun");
    sqlx::query(insert).bind(saga().0).execute(&mut *slow).await.expect("a row");
    let running = rig.start();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!running.task.is_finished(), "it has given up");
    slow.commit().await.expect("committed");
    assert_eq!(rig.ask(&old).await, ok(5));
    assert_eq!(rig.stage.calls.load(Ordering::SeqCst), 0);
    let failing = Command::action(saga(), "pay", 6, How::Fail);
    assert_eq!(rig.ask(&failing).await.word(), "failed");
    assert_eq!(rig.barrier_rows(failing.saga()).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn rows_older_than_the_retention_are_forgotten_and_younger_ones_are_not() {
    let mut rig = Rig::new("retention").await;
    snorri_participant::migrate(&rig.pool).await.expect("migrated");
    // A saga of eight days ago, by its id.
    let old = {
        let now = uuid::Uuid::now_v7().as_u128();
        snorri_participant::SagaId(uuid::Uuid::from_u128(now - ((8 * 86_400_000_u128) << 80)))
    };
    sqlx::query("INSERT INTO snorri_participant.barrier (saga_id, step, undo, outcome, reply) VALUES ($1, 's', false, 'ok', '{}')")
        .bind(old.0)
        .execute(&rig.pool)
        .await
        .expect("a row");
    let running = rig.start();
    let young = Command::action(saga(), "pay", 5, How::Well);
    assert_eq!(rig.ask(&young).await, ok(5));
    within("the old row's end", async {
        while rig.barrier_rows(old).await != 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(rig.barrier_rows(young.saga()).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn an_undo_is_given_the_result_that_the_saga_knows() {
    let mut rig = Rig::new("result").await;
    let running = rig.start();
    let action = Command::action(saga(), "pay", 5, How::Well);
    assert_eq!(rig.ask(&action).await, ok(5));
    let mut undo = action.undo();
    undo.body.result = Some(Json::parse(r#"{"number":4}"#).expect("json"));
    undo.body.saga_input = Some(Json::parse("{}").expect("json"));
    assert_eq!(rig.ask(&undo).await, undone(false));
    assert_eq!(rig.ledger(action.saga()).await, (2, 1));
    running.stop().await;
}
