//! Postgres as the engine's store: each method where its table family is.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use snorri_saga::ids::{Name, SagaId};
use snorri_saga::time::Timestamp;
use uuid::Uuid;

use super::dead_letters::DeadLetter;
use super::journal::{Loaded, Transition};
use super::replicas::{Beat, Due, Entered, Heartbeat, Resting, Well};
use super::{Error, Postgres, Store, definitions};

#[async_trait]
impl Store for Postgres {
    async fn commit(&self, replica: &Name, batch: Vec<Transition<'_>>) -> Result<HashSet<SagaId>, Error> {
        self.commit(replica, batch).await
    }

    async fn load(&self, ids: &[SagaId]) -> Result<BTreeMap<SagaId, Result<Loaded, Error>>, Error> {
        self.load(ids).await
    }

    async fn start_key(&self, key: &str) -> Result<Option<(SagaId, Vec<u8>)>, Error> {
        self.start_key(key).await
    }

    async fn quarantine(&self, id: SagaId, why: &str) -> Result<(), Error> {
        self.quarantine(id, why).await
    }

    async fn submit_definition(
        &self,
        name: &Name,
        digest: &[u8; 32],
        body: &str,
    ) -> Result<(u32, bool), Error> {
        self.submit_definition(name, digest, body).await
    }

    async fn definition(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<definitions::Stored>, Error> {
        self.definition(name, version).await
    }

    async fn keep_aside(&self, letters: &[DeadLetter]) -> Result<(), Error> {
        self.keep_aside(letters).await
    }

    async fn forget_dead_letters(&self) -> Result<u64, Error> {
        self.forget_dead_letters().await
    }

    async fn enter(&self, name: &Name, incarnation: Uuid, version: &str) -> Result<Entered, Error> {
        self.enter(name, incarnation, version).await
    }

    async fn heartbeat(&self, beat: Beat<'_>, dead_after_ms: i64) -> Result<Heartbeat, Error> {
        self.heartbeat(beat, dead_after_ms).await
    }

    async fn leave(&self, name: &Name, incarnation: Uuid) -> Result<(), Error> {
        self.leave(name, incarnation).await
    }

    async fn take_over(&self, dead: &Name, taker: &Name, limit: i64) -> Result<Vec<SagaId>, Error> {
        self.take_over(dead, taker, limit).await
    }

    async fn owned(
        &self,
        owner: &Name,
        started_before: Timestamp,
        after: Option<SagaId>,
        limit: i64,
    ) -> Result<Vec<SagaId>, Error> {
        self.owned(owner, started_before, after, limit).await
    }

    async fn ended(
        &self,
        owner: &Name,
        after: (Timestamp, SagaId),
        before: Timestamp,
        limit: i64,
    ) -> Result<Vec<(Timestamp, SagaId)>, Error> {
        self.ended(owner, after, before, limit).await
    }

    async fn forget(&self, dead: &Name) -> Result<bool, Error> {
        self.forget(dead).await
    }

    async fn take_back(&self, sagas: &[Well]) -> Result<(), Error> {
        self.take_back(sagas).await
    }

    async fn claim_due(&self, replica: &Name, limit: i64) -> Result<Vec<Due>, Error> {
        self.claim_due(replica, limit).await
    }

    async fn rest(&self, sagas: &[Resting]) -> Result<(), Error> {
        self.rest(sagas).await
    }
}
