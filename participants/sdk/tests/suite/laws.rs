//! The laws of the port to the database, on Postgres and on the model of it that simulations use.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use snorri_participant::store::{
    Done, Postgres, Row, StepRows, Store, StoreError, Transaction, Turn, Turns, async_trait,
};
use snorri_participant::{SagaId, connect_pool};
use snorri_saga::ids::{CommandId, Direction, EffectId};
use sqlx::PgPool;
use tokio::time::timeout;
use uuid::Uuid;

use crate::barrier_model::Model;
use crate::rig::{name, saga, within};

/// A database, and a handler's way of writing into it.
#[async_trait]
trait World: Send + Sync {
    fn store(&self) -> Arc<dyn Store>;
    async fn write(&self, tx: &mut dyn Transaction, effect: &EffectId, amount: i64);
    /// What was written in the turns of an effect and committed.
    async fn written(&self, effect: &EffectId) -> Vec<i64>;
}

#[async_trait]
impl World for PgPool {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(Postgres::new(self.clone()))
    }

    async fn write(&self, tx: &mut dyn Transaction, effect: &EffectId, amount: i64) {
        let connection = tx.as_postgres().expect("Postgres").connection().await.expect("a savepoint");
        sqlx::query("INSERT INTO ledger (effect, amount) VALUES ($1, $2)")
            .bind(effect.to_string())
            .bind(amount)
            .execute(connection)
            .await
            .expect("written");
    }

    async fn written(&self, effect: &EffectId) -> Vec<i64> {
        sqlx::query_scalar("SELECT amount FROM ledger WHERE effect = $1 ORDER BY id")
            .bind(effect.to_string())
            .fetch_all(self)
            .await
            .expect("the ledger")
    }
}

#[async_trait]
impl World for Arc<Model<i64>> {
    fn store(&self) -> Arc<dyn Store> {
        self.clone()
    }

    async fn write(&self, _: &mut dyn Transaction, effect: &EffectId, amount: i64) {
        Model::write(self, effect, amount).expect("its turn");
    }

    async fn written(&self, effect: &EffectId) -> Vec<i64> {
        self.ledger().into_iter().filter(|(of, _)| of == effect).map(|(_, amount)| amount).collect()
    }
}

async fn postgres() -> impl World {
    let url = tokio::task::spawn_blocking(|| {
        snorri_stack::TestStack::get().and_then(|stack| stack.database("laws")).expect("a database")
    })
    .await
    .expect("joined");
    let pool = connect_pool(&url, 8).await.expect("a pool");
    snorri_participant::migrate(&pool).await.expect("migrated");
    sqlx::query(
        "CREATE TABLE ledger (id bigserial PRIMARY KEY, effect text NOT NULL, amount bigint NOT NULL)",
    )
    .execute(&pool)
    .await
    .expect("a ledger");
    pool
}

fn model() -> impl World {
    let model = Model::default();
    model.set_now(SystemTime::now());
    Arc::new(model)
}

macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        mod on_postgres {
            $(#[tokio::test]
            async fn $law() {
                super::$law(&super::postgres().await).await;
            })+
        }
        mod on_the_model {
            $(#[tokio::test(start_paused = true)]
            async fn $law() {
                super::$law(&super::model()).await;
            })+
        }
    };
}

mod failed;

laws! {
    a_turn_is_taken_once_and_its_answer_is_found_again,
    a_compensation_before_its_action_leaves_a_tombstone,
    a_compensation_after_its_action_finds_the_answer,
    a_turn_that_is_taken_back_leaves_nothing,
    nothing_is_left_of_a_transaction_that_is_rolled_back_or_dropped,
    what_is_not_committed_is_seen_by_its_own_transaction_only,
    a_second_taker_waits_for_the_first_ones_commit,
    a_second_taker_has_the_turn_after_a_rollback_or_a_drop,
    a_compensation_waits_for_its_action,
    the_wait_for_a_turn_has_an_end,
    batches_that_share_effects_do_not_wait_in_a_circle,
    each_turn_of_a_batch_counts_for_itself,
    completing_says_how_many_rows_were_there,
    rows_of_old_sagas_are_forgotten,
}

fn action_of(saga: SagaId, step: &str) -> EffectId {
    EffectId { saga, step: (&name(step)).into(), direction: Direction::Action }
}

fn action() -> EffectId {
    action_of(saga(), "pay")
}

fn undo_of(action: &EffectId) -> EffectId {
    EffectId { direction: Direction::Compensation, ..action.clone() }
}

fn done<'a>(effect: &'a EffectId, outcome: &'static str) -> Done<'a> {
    Done { effect, outcome, reply: format!("the reply to {effect}") }
}

/// The row that this leaves.
fn row(effect: &EffectId, outcome: &'static str) -> Row {
    let Done { reply, .. } = done(effect, outcome);
    Row { outcome: Some(outcome.to_owned()), reply: Some(reply), attempt: Some(1) }
}

/// The row of a turn that is had.
fn open(attempt: u32) -> Row {
    Row { attempt: Some(attempt), ..Row::default() }
}

fn tombstone() -> Row {
    Row { outcome: Some("tombstone".to_owned()), ..Row::default() }
}

/// An attempt of an effect. Its sending is of no importance.
fn attempt(effect: &EffectId, attempt: u32) -> CommandId {
    CommandId { effect: effect.clone(), attempt, sending: 7 }
}

/// The rows of a step.
fn rows(action: impl Into<Option<Row>>, compensation: impl Into<Option<Row>>) -> StepRows {
    StepRows { action: action.into(), compensation: compensation.into() }
}

const fn turns(action: Turn, compensation: Turn) -> Turns {
    Turns { action, compensation }
}

const NONE: Turns = turns(Turn::Past, Turn::Past);
const OWN: Turns = turns(Turn::First, Turn::Past);
const UNDO: Turns = turns(Turn::Past, Turn::First);
const BOTH: Turns = turns(Turn::First, Turn::First);

async fn begin(world: &impl World) -> Box<dyn Transaction> {
    world.store().begin().await.expect("begun")
}

async fn take(tx: &mut dyn Transaction, effect: &EffectId) -> Turns {
    tx.take_turns(&[&attempt(effect, 1)]).await.expect("an answer")[0]
}

/// Takes a turn, completes it and commits.
async fn through(world: &impl World, effect: &EffectId, outcome: &'static str) -> Turns {
    attempt_through(world, effect, 1, outcome).await
}

/// The same as a certain attempt.
async fn attempt_through(world: &impl World, effect: &EffectId, number: u32, outcome: &'static str) -> Turns {
    let mut tx = begin(world).await;
    let new = tx.take_turns(&[&attempt(effect, number)]).await.expect("an answer")[0];
    tx.end_turn(effect, true);
    assert_eq!(tx.complete(&[done(effect, outcome)]).await.expect("completed"), 1);
    tx.commit().await.expect("committed");
    new
}

/// What a new transaction finds: whether the turn is free, and the step's rows when it is taken.
async fn look(world: &impl World, effect: &EffectId) -> (Turns, StepRows) {
    look_as(world, effect, 1).await
}

/// The same as a certain attempt.
async fn look_as(world: &impl World, effect: &EffectId, number: u32) -> (Turns, StepRows) {
    let mut tx = begin(world).await;
    let new = tx.take_turns(&[&attempt(effect, number)]).await.expect("an answer")[0];
    let rows = tx.rows(&[effect]).await.expect("rows").remove(0);
    tx.rollback().await.expect("rolled back");
    (new, rows)
}

async fn a_turn_is_taken_once_and_its_answer_is_found_again(world: &impl World) {
    let effect = action();
    assert_eq!(through(world, &effect, "ok").await, OWN);
    let expected = rows(row(&effect, "ok"), None);
    assert_eq!(look(world, &effect).await, (NONE, expected.clone()));
    assert_eq!(look(world, &effect).await, (NONE, expected));
    // Another step of the same saga, and the same step of another, are their own.
    assert_eq!(through(world, &action_of(effect.saga, "ship"), "ok").await, OWN);
    assert_eq!(through(world, &action(), "ok").await, OWN);
}

async fn a_compensation_before_its_action_leaves_a_tombstone(world: &impl World) {
    let effect = action();
    let undo = undo_of(&effect);
    assert_eq!(through(world, &undo, "empty").await, BOTH);
    let expected = rows(tombstone(), row(&undo, "empty"));
    assert_eq!(look(world, &effect).await, (NONE, expected.clone()));
    assert_eq!(look(world, &undo).await, (NONE, expected));
}

async fn a_compensation_after_its_action_finds_the_answer(world: &impl World) {
    let effect = action();
    let undo = undo_of(&effect);
    through(world, &effect, "partial").await;
    let found = rows(row(&effect, "partial"), open(1));
    assert_eq!(look(world, &undo).await, (UNDO, found));
    assert_eq!(through(world, &undo, "ok").await, UNDO);
    let both = rows(row(&effect, "partial"), row(&undo, "ok"));
    assert_eq!(look(world, &effect).await, (NONE, both.clone()));
    assert_eq!(look(world, &undo).await, (NONE, both));
}

async fn a_turn_that_is_taken_back_leaves_nothing(world: &impl World) {
    let (kept, gone) = (action(), action());
    let mut tx = begin(world).await;
    let both = [attempt(&kept, 1), attempt(&gone, 1)];
    assert_eq!(tx.take_turns(&both.each_ref()).await.expect("turns"), [OWN, OWN]);
    world.write(&mut *tx, &kept, 1).await;
    tx.end_turn(&kept, true);
    world.write(&mut *tx, &gone, 2).await;
    tx.end_turn(&gone, false);
    assert_eq!(tx.complete(&[done(&kept, "ok")]).await.expect("completed"), 1);
    tx.take_back(&[&gone]).await.expect("taken back");
    tx.commit().await.expect("committed");
    assert_eq!((world.written(&kept).await, world.written(&gone).await), (vec![1], vec![]));
    assert_eq!(look(world, &kept).await.0, NONE);
    assert_eq!(through(world, &gone, "ok").await, OWN);
    // Of an undo only its own row: the action's answer stays.
    let undo = undo_of(&kept);
    let mut tx = begin(world).await;
    assert_eq!(take(&mut *tx, &undo).await, UNDO);
    tx.take_back(&[&undo]).await.expect("taken back");
    tx.commit().await.expect("committed");
    let expected = rows(row(&kept, "ok"), None);
    assert_eq!(look(world, &kept).await, (NONE, expected));
}

async fn nothing_is_left_of_a_transaction_that_is_rolled_back_or_dropped(world: &impl World) {
    for dropped in [false, true] {
        let effect = action();
        let mut tx = begin(world).await;
        take(&mut *tx, &effect).await;
        world.write(&mut *tx, &effect, 1).await;
        tx.end_turn(&effect, true);
        tx.complete(&[done(&effect, "ok")]).await.expect("completed");
        if dropped {
            drop(tx);
        } else {
            tx.rollback().await.expect("rolled back");
        }
        assert_eq!(through(world, &effect, "rejected").await, OWN);
        assert_eq!(world.written(&effect).await, Vec::<i64>::new());
    }
}

async fn what_is_not_committed_is_seen_by_its_own_transaction_only(world: &impl World) {
    let effect = action();
    let (mut tx, mut other) = (begin(world).await, begin(world).await);
    take(&mut *tx, &effect).await;
    world.write(&mut *tx, &effect, 1).await;
    tx.end_turn(&effect, true);
    tx.complete(&[done(&effect, "ok")]).await.expect("completed");
    let done = rows(row(&effect, "ok"), None);
    assert_eq!(tx.rows(&[&effect]).await.expect("rows"), std::slice::from_ref(&done));
    assert_eq!(other.rows(&[&effect]).await.expect("rows"), [StepRows::default()]);
    assert_eq!(world.written(&effect).await, Vec::<i64>::new());
    tx.commit().await.expect("committed");
    // The other one's next call sees it, though it began before.
    assert_eq!(other.rows(&[&effect]).await.expect("rows"), [done]);
    assert_eq!(world.written(&effect).await, [1]);
}

/// A turn that is being waited for.
type Waiting = tokio::task::JoinHandle<(Box<dyn Transaction>, Result<Vec<Turns>, StoreError>)>;

/// Takes a turn in a task of its own, and is sure that it has to wait.
async fn wait_for(world: &impl World, effect: &EffectId) -> Waiting {
    wait_as(world, effect, 1).await
}

/// The same as a certain attempt.
async fn wait_as(world: &impl World, effect: &EffectId, number: u32) -> Waiting {
    let (mut tx, command) = (begin(world).await, attempt(effect, number));
    let mut waiting = tokio::spawn(async move {
        let new = tx.take_turns(&[&command]).await;
        (tx, new)
    });
    let early = timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "it does not wait");
    waiting
}

async fn a_second_taker_waits_for_the_first_ones_commit(world: &impl World) {
    let effect = action();
    let mut first = begin(world).await;
    take(&mut *first, &effect).await;
    let second = wait_for(world, &effect).await;
    first.end_turn(&effect, true);
    first.complete(&[done(&effect, "ok")]).await.expect("completed");
    first.commit().await.expect("committed");
    let (mut second, new) = within("the second", second).await.expect("joined");
    assert_eq!(new.expect("an answer"), [NONE]);
    let found = rows(row(&effect, "ok"), None);
    assert_eq!(second.rows(&[&effect]).await.expect("rows"), [found]);
}

async fn a_second_taker_has_the_turn_after_a_rollback_or_a_drop(world: &impl World) {
    for dropped in [false, true] {
        let effect = action();
        let mut first = begin(world).await;
        take(&mut *first, &effect).await;
        let second = wait_for(world, &effect).await;
        if dropped {
            drop(first);
        } else {
            first.rollback().await.expect("rolled back");
        }
        let (_, new) = within("the second", second).await.expect("joined");
        assert_eq!(new.expect("an answer"), [OWN]);
    }
}

async fn a_compensation_waits_for_its_action(world: &impl World) {
    for committed in [true, false] {
        let effect = action();
        let mut first = begin(world).await;
        take(&mut *first, &effect).await;
        let second = wait_for(world, &undo_of(&effect)).await;
        if committed {
            first.end_turn(&effect, true);
            first.complete(&[done(&effect, "ok")]).await.expect("completed");
            first.commit().await.expect("committed");
        } else {
            first.rollback().await.expect("rolled back");
        }
        let (_, new) = within("the undo", second).await.expect("joined");
        assert_eq!(new.expect("an answer"), [if committed { UNDO } else { BOTH }]);
    }
}

async fn the_wait_for_a_turn_has_an_end(world: &impl World) {
    let effect = action();
    let mut first = begin(world).await;
    take(&mut *first, &effect).await;
    let second = wait_for(world, &effect).await;
    let (second, new) = within("the second", second).await.expect("joined");
    let error = new.expect_err("an error");
    let sqlstate = match &error {
        StoreError::Sql(error) => error.as_database_error().and_then(sqlx::error::DatabaseError::code),
        _ => None,
    };
    // What Postgres calls lock_not_available.
    assert!(matches!(error, StoreError::Contended(_)) || sqlstate.as_deref() == Some("55P03"), "{error:?}");
    second.rollback().await.expect("rolled back");
    // The first is none the worse for it.
    first.end_turn(&effect, true);
    first.complete(&[done(&effect, "ok")]).await.expect("completed");
    first.commit().await.expect("committed");
}

async fn batches_that_share_effects_do_not_wait_in_a_circle(world: &impl World) {
    for _ in 0..20 {
        let effects: Vec<EffectId> = (0..8).map(|_| action()).collect();
        assert_eq!(race_in_batches(world, effects, Turn::First).await, 8);
    }
}

/// Two batches do the second attempts of the same effects at once, one of them in reverse order. Returns how many turns of
/// this kind they had together.
async fn race_in_batches(world: &impl World, effects: Vec<EffectId>, wanted: Turn) -> usize {
    let batch = |effects: Vec<EffectId>, store: Arc<dyn Store>| {
        tokio::spawn(async move {
            let commands: Vec<CommandId> = effects.iter().map(|effect| attempt(effect, 2)).collect();
            let mut tx = store.begin().await.expect("begun");
            let new = tx.take_turns(&commands.iter().collect::<Vec<_>>()).await.expect("turns");
            let taken: Vec<Done<'_>> = effects
                .iter()
                .zip(&new)
                .filter(|(_, new)| new.action == wanted)
                .map(|(effect, _)| done(effect, "ok"))
                .collect();
            tx.complete(&taken).await.expect("completed");
            tx.commit().await.expect("committed");
            taken.len()
        })
    };
    let reversed = effects.iter().rev().cloned().collect();
    let (one, other) = (batch(effects, world.store()), batch(reversed, world.store()));
    within("one", one).await.expect("joined") + within("other", other).await.expect("joined")
}

async fn each_turn_of_a_batch_counts_for_itself(world: &impl World) {
    // All ways in which three turns can be kept, undone or leave nothing written.
    for case in 0..27 {
        let turns: Vec<(EffectId, u8)> =
            [case % 3, case / 3 % 3, case / 9].into_iter().map(|how| (action(), how)).collect();
        let mut tx = begin(world).await;
        let effects: Vec<&EffectId> = turns.iter().map(|(effect, _)| effect).collect();
        let commands: Vec<CommandId> = effects.iter().map(|effect| attempt(effect, 1)).collect();
        tx.take_turns(&commands.iter().collect::<Vec<_>>()).await.expect("turns");
        for (effect, how) in &turns {
            if *how != 2 {
                world.write(&mut *tx, effect, 1).await;
                world.write(&mut *tx, effect, 2).await;
            }
            tx.end_turn(effect, *how == 0);
        }
        let done: Vec<Done<'_>> = effects.iter().map(|effect| done(effect, "ok")).collect();
        assert_eq!(tx.complete(&done).await.expect("completed"), 3);
        tx.commit().await.expect("committed");
        for (effect, how) in &turns {
            let expected = if *how == 0 { vec![1, 2] } else { vec![] };
            assert_eq!(world.written(effect).await, expected, "{case}");
            assert_eq!(look(world, effect).await.0, NONE);
        }
    }
}

async fn completing_says_how_many_rows_were_there(world: &impl World) {
    let (there, missing) = (action(), action());
    let mut tx = begin(world).await;
    take(&mut *tx, &there).await;
    assert_eq!(tx.complete(&[done(&there, "ok"), done(&missing, "ok")]).await.expect("completed"), 1);
}

async fn rows_of_old_sagas_are_forgotten(world: &impl World) {
    let week = Duration::from_hours(7 * 24);
    let aged = |days: u128| SagaId(Uuid::from_u128(Uuid::now_v7().as_u128() - ((days * 86_400_000) << 80)));
    let (old, young) = (action_of(aged(8), "pay"), action_of(aged(6), "pay"));
    through(world, &old, "ok").await;
    through(world, &young, "ok").await;
    let store = world.store();
    assert!(store.now() > SystemTime::UNIX_EPOCH);
    assert_eq!(store.forget_old(week).await.expect("forgotten"), 1);
    assert_eq!(store.forget_old(week).await.expect("forgotten"), 0);
    assert_eq!((look(world, &old).await.0, look(world, &young).await.0), (OWN, NONE));
}
