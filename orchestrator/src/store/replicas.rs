//! Who is alive, and whose sagas are taken over.

use snorri_saga::ids::{Name, SagaId};
use snorri_saga::saga::Status;
use snorri_saga::time::Timestamp;
use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Postgres};

/// What entering brings back.
#[derive(Debug, Clone, Copy)]
pub struct Entered {
    /// Postgres's clock.
    pub now: Timestamp,
    /// Up to when the ends that a predecessor of the same name committed are announced, if there was one.
    pub predecessor: Option<Timestamp>,
}

/// A replica that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Its name.
    pub name: Name,
    /// Its last heartbeat.
    pub last_seen: Timestamp,
    /// Up to when the ends that it committed are announced. Of a build that does not say so: its last heartbeat.
    pub announced_until: Timestamp,
    /// It said goodbye, or is gone for so long that it commits nothing any more: what it owes now is all.
    pub is_final: bool,
}

/// What a heartbeat says.
#[derive(Debug, Clone, Copy)]
pub struct Beat<'a> {
    /// Who says it.
    pub name: &'a Name,
    /// Which one of that name.
    pub incarnation: Uuid,
    /// Its binary's version.
    pub version: &'a str,
    /// Up to when the ends that it committed are announced.
    pub announced_until: Timestamp,
}

/// What a heartbeat brings back.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Postgres's clock.
    pub now: Timestamp,
    /// Another process runs under this replica's name.
    pub is_usurped: bool,
    /// Replicas whose heartbeat is old or that said goodbye, and that may have live sagas or owe announcements.
    pub dead: Vec<Gone>,
}

/// A live saga whose wake-up was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The saga.
    pub id: SagaId,
    /// It is put aside for a person.
    pub is_aside: bool,
}

/// A saga that was put aside and can be moved all the same: by another build, or after its journal was mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Well {
    /// The saga.
    pub id: SagaId,
    /// The sequence number of the last row at which it is so.
    pub seq: i32,
    /// How it stands.
    pub status: Status,
    /// Why it is blocked, if it is.
    pub blocked: Option<&'static str>,
}

/// A saga that is at rest for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resting {
    /// The saga.
    pub id: SagaId,
    /// The sequence number of the last row at which it is so.
    pub seq: i32,
    /// When it is to be looked at.
    pub wake_at: Timestamp,
}

impl Postgres {
    /// Enters this replica, anew if the name was there before. What it owes stays as it is until its first heartbeat, so
    /// that this can be repeated, and a death in between forgets nothing.
    pub async fn enter(&self, name: &Name, incarnation: Uuid, version: &str) -> Result<Entered, Error> {
        self.within(async {
            let row = sqlx::query(
                "-- enter
                INSERT INTO snorri.replicas AS r (name, incarnation, version, started_at, heartbeat_at)
                VALUES ($1, $2, $3, clock_timestamp(), clock_timestamp())
                ON CONFLICT (name) DO UPDATE SET incarnation = $2, version = $3, started_at = clock_timestamp(),
                    heartbeat_at = clock_timestamp(), left_at = NULL, announced_by = $2,
                    announced_until = CASE WHEN r.announced_by = r.incarnation THEN r.announced_until
                                           ELSE r.heartbeat_at END
                RETURNING clock_timestamp(), announced_until",
            )
            .bind(name.as_str())
            .bind(incarnation)
            .bind(version)
            .fetch_one(&self.upkeep)
            .await?;
            Ok(Entered {
                now: Timestamp::from_offset(row.try_get(0)?),
                predecessor: row.try_get::<Option<OffsetDateTime>, _>(1)?.map(Timestamp::from_offset),
            })
        })
        .await
    }

    /// Says that this replica is alive, and asks who is not. One that was away for so long that the others
    /// struck it off enters anew.
    pub async fn heartbeat(&self, beat: Beat<'_>, dead_after_ms: i64) -> Result<Heartbeat, Error> {
        self.within(async {
            let row = sqlx::query(
                "-- heartbeat
                WITH mine AS (
                    INSERT INTO snorri.replicas AS r
                        (name, incarnation, version, started_at, heartbeat_at, announced_until, announced_by)
                    VALUES ($1, $2, $4, clock_timestamp(), clock_timestamp(), $5, $2)
                    ON CONFLICT (name) DO UPDATE SET heartbeat_at = clock_timestamp(), left_at = NULL,
                        announced_until = $5, announced_by = $2
                    WHERE r.incarnation = $2
                    RETURNING name
                ), dead AS (
                    SELECT name, heartbeat_at,
                        coalesce(CASE WHEN announced_by = incarnation THEN announced_until END, heartbeat_at)
                            AS announced_until,
                        left_at IS NOT NULL OR heartbeat_at < clock_timestamp() - interval '40 seconds' AS is_final
                    FROM snorri.replicas
                    WHERE name <> $1 AND (left_at IS NOT NULL
                        OR heartbeat_at < clock_timestamp() - $3 * interval '1 millisecond')
                )
                SELECT clock_timestamp(), (SELECT count(*) FROM mine),
                       ARRAY(SELECT name FROM dead ORDER BY name),
                       ARRAY(SELECT heartbeat_at FROM dead ORDER BY name),
                       ARRAY(SELECT announced_until FROM dead ORDER BY name),
                       ARRAY(SELECT is_final FROM dead ORDER BY name)",
            )
            .bind(beat.name.as_str())
            .bind(beat.incarnation)
            .bind(dead_after_ms)
            .bind(beat.version)
            .bind(beat.announced_until.to_offset())
            .fetch_one(&self.beats)
            .await?;
            snorri_kill::point!(HeartbeatWritten, return Err(Error::injected()));
            let names: Vec<String> = row.try_get(2)?;
            let beats: Vec<OffsetDateTime> = row.try_get(3)?;
            let announced: Vec<OffsetDateTime> = row.try_get(4)?;
            let finals: Vec<bool> = row.try_get(5)?;
            let dead = names.iter().zip(beats).zip(announced).zip(finals);
            let dead = dead.filter_map(|(((name, seen), announced), is_final)| {
                Some(Gone {
                    name: Name::new(name).ok()?,
                    last_seen: Timestamp::from_offset(seen),
                    announced_until: Timestamp::from_offset(announced),
                    is_final,
                })
            });
            Ok(Heartbeat {
                now: Timestamp::from_offset(row.try_get(0)?),
                is_usurped: row.try_get::<i64, _>(1)? == 0,
                dead: dead.collect(),
            })
        })
        .await
    }

    /// Says goodbye, so that the others need not wait for the heartbeat to grow old.
    pub async fn leave(&self, name: &Name, incarnation: Uuid) -> Result<(), Error> {
        self.within(async {
            sqlx::query(
                "UPDATE snorri.replicas SET left_at = clock_timestamp() WHERE name = $1 AND incarnation = $2",
            )
            .bind(name.as_str())
            .bind(incarnation)
            .execute(&self.upkeep)
            .await?;
            Ok(())
        })
        .await
    }

    /// Takes over some of a dead replica's sagas of which something may be under way. Several takers get different ones. Those at
    /// rest keep their owner: nothing of them is out, and whoever looks at one when its wake-up comes owns it from then on. Of
    /// a replica that has come back since it was seen dead, none: two that both take a saga for theirs do each other's work.
    pub async fn take_over(&self, dead: &Name, taker: &Name, limit: i64) -> Result<Vec<SagaId>, Error> {
        self.within(async {
            let ids: Vec<Uuid> = sqlx::query_scalar(
                "-- take_over
                UPDATE snorri.sagas SET owner = $2 WHERE id IN (
                    SELECT id FROM snorri.sagas WHERE wake_at IS NOT NULL AND NOT resting AND owner = $1
                        AND NOT EXISTS (SELECT 1 FROM snorri.replicas WHERE name = $1 AND left_at IS NULL
                            AND heartbeat_at >= clock_timestamp() - interval '2 seconds')
                    LIMIT $3 FOR UPDATE SKIP LOCKED)
                RETURNING id",
            )
            .bind(dead.as_str())
            .bind(taker.as_str())
            .bind(limit)
            .fetch_all(&self.upkeep)
            .await?;
            Ok(ids.into_iter().map(SagaId).collect())
        })
        .await
    }

    /// The live sagas of a replica that started before the given time, page by page in the order of their ids.
    /// Those that are at rest for long are left out.
    pub async fn owned(
        &self,
        owner: &Name,
        started_before: Timestamp,
        after: Option<SagaId>,
        limit: i64,
    ) -> Result<Vec<SagaId>, Error> {
        self.within(async {
            let ids: Vec<Uuid> = sqlx::query_scalar(
                "-- owned
                SELECT id FROM snorri.sagas
                WHERE wake_at IS NOT NULL AND NOT resting AND owner = $1 AND id > $2 AND started_at < $4
                ORDER BY id LIMIT $3",
            )
            .bind(owner.as_str())
            .bind(after.map_or(Uuid::nil(), |id| id.0))
            .bind(limit)
            .bind(started_before.to_offset())
            .fetch_all(&self.upkeep)
            .await?;
            Ok(ids.into_iter().map(SagaId).collect())
        })
        .await
    }

    /// The sagas that a replica ended after this one, in the order of their ends, and before that time.
    pub async fn ended(
        &self,
        owner: &Name,
        after: (Timestamp, SagaId),
        before: Timestamp,
        limit: i64,
    ) -> Result<Vec<(Timestamp, SagaId)>, Error> {
        self.within(async {
            let rows: Vec<(OffsetDateTime, Uuid)> = sqlx::query_as(
                "-- ended
                SELECT ended_at, id FROM snorri.sagas
                WHERE owner = $1 AND ended_at >= $2 AND ended_at < $3 AND (ended_at, id) > ($2, $4)
                ORDER BY ended_at, id LIMIT $5",
            )
            .bind(owner.as_str())
            .bind(after.0.to_offset())
            .bind(before.to_offset())
            .bind(after.1.0)
            .bind(limit)
            .fetch_all(&self.upkeep)
            .await?;
            Ok(rows.into_iter().map(|(at, id)| (Timestamp::from_offset(at), SagaId(id))).collect())
        })
        .await
    }

    /// Strikes a dead replica off once nothing of it is left but what is at rest. Returns whether it did. One that was told to stop beats no more and
    /// may commit for 25 seconds yet (`replica.rs`): only after that is it final what it left.
    pub async fn forget(&self, dead: &Name) -> Result<bool, Error> {
        self.within(async {
            let result = sqlx::query(
                "-- forget
                DELETE FROM snorri.replicas r WHERE name = $1
                    AND (left_at IS NOT NULL OR heartbeat_at < clock_timestamp() - interval '40 seconds')
                    AND NOT EXISTS (SELECT 1 FROM snorri.sagas WHERE wake_at IS NOT NULL AND NOT resting AND owner = $1)",
            )
            .bind(dead.as_str())
            .execute(&self.upkeep)
            .await?;
            Ok(result.rows_affected() > 0)
        })
        .await
    }

    /// Claims live sagas whose wake-up is due and re-arms them. The net under everything else. A saga's owner
    /// goes first; ten seconds later anybody does. Who finds one at rest owns it: its owner may be long gone.
    pub async fn claim_due(&self, replica: &Name, limit: i64) -> Result<Vec<Due>, Error> {
        self.within(async {
            let due: Vec<(Uuid, bool)> = sqlx::query_as(
                "-- claim_due
                UPDATE snorri.sagas SET wake_at = now() + interval '30 seconds', resting = false,
                    owner = CASE WHEN resting THEN $1 ELSE owner END
                WHERE id IN (
                    SELECT id FROM snorri.sagas
                    WHERE wake_at <= now() AND (owner = $1 OR wake_at <= now() - interval '10 seconds')
                    ORDER BY wake_at LIMIT $2 FOR UPDATE SKIP LOCKED)
                RETURNING id, quarantine IS NOT NULL",
            )
            .bind(replica.as_str())
            .bind(limit)
            .fetch_all(&self.upkeep)
            .await?;
            Ok(due.into_iter().map(|(id, is_aside)| Due { id: SagaId(id), is_aside }).collect())
        })
        .await
    }

    /// Takes the marks of sagas away that were put aside and can be moved all the same, unless they have moved since: what moves
    /// one sets its row right by itself.
    pub async fn take_back(&self, sagas: &[Well]) -> Result<(), Error> {
        self.within(async {
            let ids: Vec<Uuid> = sagas.iter().map(|saga| saga.id.0).collect();
            let seqs: Vec<i32> = sagas.iter().map(|saga| saga.seq).collect();
            let statuses: Vec<&str> = sagas.iter().map(|saga| saga.status.as_str()).collect();
            let blocked: Vec<Option<&str>> = sagas.iter().map(|saga| saga.blocked).collect();
            sqlx::query(
                "-- take_back
                UPDATE snorri.sagas AS t SET quarantine = NULL, status = u.status, blocked_reason = u.blocked,
                    changed_at = now()
                FROM UNNEST($1::uuid[], $2::int4[], $3::text[], $4::text[]) AS u (id, seq, status, blocked)
                WHERE t.id = u.id AND t.quarantine IS NOT NULL AND t.ended_at IS NULL
                    AND NOT EXISTS (SELECT 1 FROM snorri.journal j WHERE j.saga_id = u.id AND j.seq > u.seq)",
            )
            .bind(ids)
            .bind(seqs)
            .bind(statuses)
            .bind(blocked)
            .execute(&self.upkeep)
            .await?;
            Ok(())
        })
        .await
    }

    /// Sets the wake-ups of sagas that are at rest, unless they have moved since. A row that somebody is writing is left: that
    /// saga moves. The rows are locked by a statement of their own, so that the next one sees what was committed before.
    pub async fn rest(&self, sagas: &[Resting]) -> Result<(), Error> {
        self.within(async {
            let mut work = self.upkeep.begin().await?;
            let ids: Vec<Uuid> = sagas.iter().map(|saga| saga.id.0).collect();
            let locked: Vec<Uuid> = sqlx::query_scalar(
                "-- rest_lock
                SELECT id FROM snorri.sagas WHERE id = ANY ($1) AND wake_at IS NOT NULL ORDER BY id
                FOR UPDATE SKIP LOCKED",
            )
            .bind(ids)
            .fetch_all(&mut *work)
            .await?;
            let sagas: Vec<&Resting> = sagas.iter().filter(|saga| locked.contains(&saga.id.0)).collect();
            let ids: Vec<Uuid> = sagas.iter().map(|saga| saga.id.0).collect();
            let seqs: Vec<i32> = sagas.iter().map(|saga| saga.seq).collect();
            let wakes: Vec<OffsetDateTime> = sagas.iter().map(|saga| saga.wake_at.to_offset()).collect();
            sqlx::query(
                "-- rest
                UPDATE snorri.sagas AS t SET wake_at = u.wake_at, resting = true
                FROM UNNEST($1::uuid[], $2::int4[], $3::timestamptz[]) AS u (id, seq, wake_at)
                WHERE t.id = u.id AND t.quarantine IS NULL
                    AND NOT EXISTS (SELECT 1 FROM snorri.journal j WHERE j.saga_id = u.id AND j.seq > u.seq)",
            )
            .bind(ids)
            .bind(seqs)
            .bind(wakes)
            .execute(&mut *work)
            .await?;
            work.commit().await?;
            Ok(())
        })
        .await
    }
}
