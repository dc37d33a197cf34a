//! Messages that could not be used, kept aside with the reason.

use bytes::Bytes;
use sqlx::Row;

use snorri_saga::time::Timestamp;

use super::{Error, Postgres};

/// The most of a dead letter's payload that is kept, in bytes.
pub const PAYLOAD_KEPT_MAX: usize = 64 * 1024;
/// The most dead letters that are kept; of more the oldest are deleted.
const KEPT_MAX: i64 = 100_000;
/// How many are deleted at once.
const FORGOTTEN_AT_ONCE: i64 = 2000;

/// A message that could not be used.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Where it came from.
    pub subject: String,
    /// A stable word for the reason.
    pub reason: &'static str,
    /// A sentence for people.
    pub detail: String,
    /// Its headers, as text.
    pub headers: String,
    /// Its payload.
    pub payload: Bytes,
}

/// A dead letter as it is listed: without its payload.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Listed {
    /// Its number.
    pub id: i64,
    /// When it came.
    pub at: Timestamp,
    /// Where it came from.
    pub subject: String,
    /// A stable word for the reason.
    pub reason: String,
    /// A sentence for people.
    pub detail: String,
    /// The size of its payload.
    pub bytes: i64,
}

impl Postgres {
    /// Keeps messages aside. They are acked only after this.
    pub async fn keep_aside(&self, letters: &[DeadLetter]) -> Result<(), Error> {
        self.within(async {
            let text = |text: &str| text.replace('\0', "\u{fffd}");
            let subjects: Vec<String> = letters.iter().map(|letter| text(&letter.subject)).collect();
            let reasons: Vec<&str> = letters.iter().map(|letter| letter.reason).collect();
            let details: Vec<String> = letters.iter().map(|letter| text(&letter.detail)).collect();
            let headers: Vec<String> = letters.iter().map(|letter| text(&letter.headers)).collect();
            let payloads: Vec<&[u8]> = letters
                .iter()
                .map(|letter| letter.payload.get(..PAYLOAD_KEPT_MAX).unwrap_or(&letter.payload))
                .collect();
            let sizes: Vec<i64> =
                letters.iter().map(|letter| i64::try_from(letter.payload.len()).unwrap_or(i64::MAX)).collect();
            sqlx::query(
                "-- keep_aside
                INSERT INTO snorri.dead_letters (subject, reason, detail, headers, payload, bytes)
                SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::int8[])",
            )
            .bind(subjects)
            .bind(reasons)
            .bind(details)
            .bind(headers)
            .bind(payloads)
            .bind(sizes)
            .execute(&self.upkeep)
            .await?;
            Ok(())
        })
        .await
    }

    /// Deletes those older than seven days, and the oldest if there are too many. Returns how many.
    pub async fn forget_dead_letters(&self) -> Result<u64, Error> {
        let mut forgotten = 0;
        loop {
            // From the oldest on, by the key: there is no index of times, and none is needed.
            let deleted = self
                .within(async {
                    let done = sqlx::query(
                        "-- forget_dead_letters
                    DELETE FROM snorri.dead_letters WHERE id = ANY (ARRAY(
                        SELECT id FROM (SELECT id, at FROM snorri.dead_letters ORDER BY id LIMIT $2) AS oldest
                        WHERE at < now() - interval '7 days'
                           OR id <= (SELECT max(id) FROM snorri.dead_letters) - $1
                    ))",
                    )
                    .bind(KEPT_MAX)
                    .bind(FORGOTTEN_AT_ONCE)
                    .execute(&self.upkeep)
                    .await?;
                    Ok(done.rows_affected())
                })
                .await?;
            forgotten += deleted;
            if deleted == 0 {
                return Ok(forgotten);
            }
        }
    }

    /// The newest dead letters, before the given number.
    pub async fn dead_letters(&self, before: Option<i64>, limit: i64) -> Result<Vec<Listed>, Error> {
        self.within(async {
            let rows = sqlx::query(
                "-- dead_letters
                SELECT id, at, subject, reason, detail, bytes FROM snorri.dead_letters
                WHERE $1::int8 IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
            )
            .bind(before)
            .bind(limit)
            .fetch_all(&self.api)
            .await?;
            rows.iter()
                .map(|row| {
                    Ok(Listed {
                        id: row.try_get(0)?,
                        at: Timestamp::from_offset(row.try_get(1)?),
                        subject: row.try_get(2)?,
                        reason: row.try_get(3)?,
                        detail: row.try_get(4)?,
                        bytes: row.try_get(5)?,
                    })
                })
                .collect()
        })
        .await
    }
}
