//! Those who wait for a saga's end: woken when this replica commits it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use snorri_saga::ids::SagaId;
use tokio::sync::Notify;

/// Who waits for which saga.
#[derive(Debug, Default)]
pub struct Waiters {
    sagas: Mutex<HashMap<SagaId, Arc<Notify>>>,
}

impl Waiters {
    /// Registers interest *before* the state is looked up, so that an end in between is not missed.
    pub fn on(self: &Arc<Self>, id: SagaId) -> Waiting {
        let notify = self.lock().entry(id).or_default().clone();
        Waiting { waiters: self.clone(), id, notify }
    }

    pub(crate) fn ended(&self, id: SagaId) {
        if let Some(notify) = self.lock().remove(&id) {
            notify.notify_waiters();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SagaId, Arc<Notify>>> {
        // The map is never half-written.
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits. Dropping it strikes it off.
#[derive(Debug)]
pub struct Waiting {
    waiters: Arc<Waiters>,
    id: SagaId,
    notify: Arc<Notify>,
}

impl Waiting {
    /// Resolves when this replica commits the end. Made before the look-up, awaited after it.
    pub fn ended(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut sagas = self.waiters.lock();
        // Two holders are the map's and ours: nobody else waits.
        if sagas.get(&self.id).is_some_and(|other| Arc::ptr_eq(other, &self.notify))
            && Arc::strong_count(&self.notify) <= 2
        {
            sagas.remove(&self.id);
        }
    }
}
