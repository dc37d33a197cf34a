//! The definitions in use: submitted, checked, stored, and cached for ever, since a version never changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use snorri_language::check::{File, Report, check};
use snorri_language::diagnostic::Diagnostic;
use snorri_language::input_schema::Mismatch;
use snorri_language::pin::Child;
use snorri_language::text::Format;
use snorri_saga::definition::{Definition, Draft, StepKind};
use snorri_saga::ids::Name;
use snorri_saga::json::{Json, fingerprint};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::store::definitions::Stored;
use crate::store::{self, Store};

mod begun;
mod family;
mod versioned;

pub use versioned::Versioned;

/// How long it is taken from memory which version of a name is the newest, and that a version is in force. Another replica
/// may have a newer one: a start right after a submission elsewhere may get the version before it. So may one right after
/// a removal elsewhere; its saga runs to its end.
const NEWEST_FOR: Duration = Duration::from_millis(500);
/// The most versions kept in memory.
const KEPT_MAX: usize = 10_000;

/// How many inputs are checked at once beside the runtime's threads.
const CHECKING_MAX: usize = 2;

/// Why there is no such definition.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody submitted it.
    #[error("there is no definition `{name}`{}", version.map(|v| format!(" in version {v}")).unwrap_or_default())]
    Unknown {
        /// The name asked for.
        name: String,
        /// The version asked for.
        version: Option<u32>,
    },
    /// It was removed.
    #[error("version {version} of the definition `{name}` was removed")]
    Removed {
        /// The name asked for.
        name: Name,
        /// The version asked for.
        version: u32,
    },
    /// The text is not a definition.
    #[error("the definition is not valid: {}", diagnostics.first().map(|found| found.message.as_str()).unwrap_or_default())]
    Invalid {
        /// What was found, warnings too.
        diagnostics: Vec<Diagnostic>,
        /// It has the shape of one: what is wrong is what it says.
        is_readable: bool,
    },
    /// The text is none.
    #[error("the text cannot be read: {0}")]
    Unreadable(String),
    /// Postgres.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What came of a submission.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The definition as it is in force.
    pub versioned: Arc<Versioned>,
    /// It is a new version.
    pub is_new: bool,
    /// The fingerprint of its canonical form.
    pub digest: [u8; 32],
}

/// A sub-saga's definition, and the version if one is asked for.
pub type Wanted = (String, Option<u32>);

/// The draft as it is stored and told from others. A participant's step always says its kind there, as it did before there
/// were steps that have none: an old text must not become a new version.
fn canonical(mut draft: Draft) -> Draft {
    for step in draft.steps.iter_mut().filter(|step| step.participant.is_some()) {
        step.kind.get_or_insert(StepKind::Compensatable);
    }
    draft
}

type Key = (Name, u32);

#[derive(Debug, Default)]
struct Cache {
    versions: HashMap<Key, Arc<Versioned>>,
    newest: HashMap<String, (Instant, Arc<Versioned>)>,
    /// When a version was last known to be in force.
    in_force: HashMap<Key, Instant>,
}

/// The definitions in use.
#[derive(Debug)]
pub struct Definitions {
    store: Arc<dyn Store>,
    cache: Mutex<Cache>,
    /// Turns at checking an input beside the runtime's threads.
    checking: Arc<Semaphore>,
    /// The same for sub-sagas, which must not wait behind the starts of others.
    checking_begun: Arc<Semaphore>,
}

impl Definitions {
    /// Nothing cached yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            cache: Mutex::default(),
            checking: Arc::new(Semaphore::new(CHECKING_MAX)),
            checking_begun: Arc::new(Semaphore::new(begun::CHECKING_MAX)),
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // Nothing in there is ever half-written.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a text of YAML that runs no sub-sagas.
    pub fn check(text: &str) -> Result<(Draft, Definition), Error> {
        let file = File { name: "definition.yaml", text, format: Format::Yaml };
        Self::checked(check(&[file], |_, _| None))
    }

    /// The draft, its sub-sagas pinned, and the definition of a checked text without errors.
    pub fn checked(report: Report) -> Result<(Draft, Definition), Error> {
        // A law that is broken is found after there was a definition.
        let is_sound = report.errors == 0;
        let Some(file) = report.files.into_iter().next() else {
            return Err(Error::Unreadable("there is no text".to_owned()));
        };
        match (file.draft, file.definition) {
            (Some(draft), Some(definition)) if is_sound => Ok((draft, definition)),
            _ => Err(Error::Invalid { diagnostics: file.diagnostics, is_readable: file.is_readable }),
        }
    }

    /// What a parent has to know of sub-sagas, of those that are there.
    pub async fn children(&self, wanted: &[Wanted]) -> Result<HashMap<Wanted, Child>, Error> {
        let mut children = HashMap::new();
        for (name, version) in wanted {
            if let Some(child) = self.child(name, *version).await? {
                children.insert((name.clone(), *version), child);
            }
        }
        Ok(children)
    }

    /// Stores a definition that was checked. The same one again is the same version.
    pub async fn submit(&self, draft: Draft, definition: Definition) -> Result<Submitted, Error> {
        let value =
            serde_json::to_value(canonical(draft)).map_err(|error| Error::Unreadable(error.to_string()))?;
        let digest = fingerprint(&value);
        let (version, is_new) =
            self.store.submit_definition(&definition.name, &digest, &value.to_string()).await?;
        let versioned = Arc::new(Versioned::new(definition, version));
        self.keep(&versioned, true);
        Ok(Submitted { versioned, is_new, digest })
    }

    /// What a parent has to know of a sub-saga, as the store has it now: from memory it could be the one before, or one that was
    /// removed.
    async fn child(&self, name: &str, version: Option<u32>) -> Result<Option<Child>, Error> {
        let Ok(checked) = Name::new(name) else { return Ok(None) };
        let Some(stored) = self.store.definition(name, version).await? else { return Ok(None) };
        if stored.removed_at.is_some() {
            return Ok(None);
        }
        let known = self.cache().versions.get(&(checked, stored.version)).cloned();
        let versioned = known.map_or_else(|| self.take(&stored, false), Ok)?;
        let family = self.family(&versioned).await?;
        Ok(Some(Child { family, ..Child::of(&versioned.definition, stored.version) }))
    }

    /// What of an input does not fit the schema of its definition; nothing if all of it does, or if there is none.
    pub async fn mismatches(&self, versioned: &Arc<Versioned>, input: &Json) -> Vec<Mismatch> {
        Self::checked_in_turn(&self.checking, versioned, input).await
    }

    async fn checked_in_turn(
        turns: &Arc<Semaphore>,
        versioned: &Arc<Versioned>,
        input: &Json,
    ) -> Vec<Mismatch> {
        if versioned.fits_at_once(input) {
            return Vec::new();
        }
        let turn = turns.clone().acquire_owned().await;
        let (of, input) = (versioned.clone(), input.clone());
        let checking = tokio::task::spawn_blocking(move || {
            // Held to the end, even when nobody waits for it any more.
            let _turn = turn;
            of.mismatches(&input)
        });
        match checking.await {
            Ok(mismatches) => mismatches,
            // It panicked, or the runtime is about to end.
            Err(error) => {
                tracing::error!(%error, "an input could not be checked");
                let message = "it could not be checked; the log of this replica has the reason".to_owned();
                vec![Mismatch { pointer: String::new(), message }]
            }
        }
    }

    fn keep(&self, versioned: &Arc<Versioned>, is_newest: bool) {
        let name = versioned.definition.name.clone();
        let mut cache = self.cache();
        if cache.versions.len() >= KEPT_MAX {
            *cache = Cache::default();
        }
        // Whoever asked before a newer one was submitted may be answered after it.
        let is_newer = |(_, known): &(Instant, Arc<Versioned>)| known.version <= versioned.version;
        if is_newest && cache.newest.get(name.as_str()).is_none_or(is_newer) {
            cache.newest.insert(name.to_string(), (Instant::now(), versioned.clone()));
        }
        cache.versions.insert((name, versioned.version), versioned.clone());
    }

    /// A definition by name: the given version, removed or not, or the newest in force.
    pub async fn get(&self, name: &str, version: Option<u32>) -> Result<Arc<Versioned>, Error> {
        // What was the newest, when it has to be asked whether it still is.
        let mut last = None;
        {
            let mut cache = self.cache();
            match version {
                Some(version) => {
                    if let Ok(name) = Name::new(name)
                        && let Some(found) = cache.versions.get(&(name, version))
                    {
                        return Ok(found.clone());
                    }
                }
                None => {
                    if let Some((since, found)) = cache.newest.get_mut(name) {
                        if since.elapsed() < NEWEST_FOR {
                            return Ok(found.clone());
                        }
                        // One asks; those who come meanwhile go on with what there is.
                        *since = Instant::now();
                        last = Some(found.clone());
                    }
                }
            }
        }
        let stored = match self.ask(name, version).await {
            Err(error @ Error::Unknown { .. }) => {
                self.forget_newest(name, last.as_ref());
                return Err(error);
            }
            asked => asked?,
        };
        if let Some(last) = &last {
            if last.version == stored.version {
                return Ok(last.clone());
            }
            if last.version > stored.version {
                self.forget_newest(name, Some(last));
            }
        }
        self.take(&stored, version.is_none())
    }

    /// A definition for a start: the given version, if it is in force, or the newest that is.
    pub async fn in_force(&self, name: &str, version: Option<u32>) -> Result<Arc<Versioned>, Error> {
        let (Some(number), Ok(checked)) = (version, Name::new(name)) else {
            return self.get(name, version).await;
        };
        let key = (checked, number);
        {
            let mut cache = self.cache();
            let found = cache.versions.get(&key).cloned();
            if let (Some(found), Some(since)) = (found, cache.in_force.get_mut(&key)) {
                if since.elapsed() < NEWEST_FOR {
                    return Ok(found);
                }
                // As above.
                *since = Instant::now();
            }
        }
        let stored = self.ask(name, version).await?;
        if stored.removed_at.is_some() {
            self.forget(&key.0, number);
            return Err(Error::Removed { name: key.0, version: number });
        }
        let known = self.cache().versions.get(&key).cloned();
        let versioned = known.map_or_else(|| self.take(&stored, false), Ok)?;
        self.cache().in_force.insert(key, Instant::now());
        Ok(versioned)
    }

    /// Does not start a version any more without having asked for it.
    pub fn forget(&self, name: &Name, version: u32) {
        let mut cache = self.cache();
        cache.in_force.remove(&(name.clone(), version));
        if cache.newest.get(name.as_str()).is_some_and(|(_, newest)| newest.version == version) {
            cache.newest.remove(name.as_str());
        }
    }

    /// What was the newest is not any more, and none is newer: it was removed. Whoever submitted one meanwhile knows better.
    fn forget_newest(&self, name: &str, last: Option<&Arc<Versioned>>) {
        let mut cache = self.cache();
        let is_last =
            |(_, known): &(Instant, Arc<Versioned>)| last.is_some_and(|last| Arc::ptr_eq(known, last));
        if cache.newest.get(name).is_some_and(is_last) {
            cache.newest.remove(name);
        }
    }

    async fn ask(&self, name: &str, version: Option<u32>) -> Result<Stored, Error> {
        let unknown = || Error::Unknown { name: name.chars().take(80).collect(), version };
        if Name::new(name).is_err() {
            return Err(unknown());
        }
        self.store.definition(name, version).await?.ok_or_else(unknown)
    }

    fn take(&self, stored: &Stored, is_newest: bool) -> Result<Arc<Versioned>, Error> {
        let (_, definition) = Self::read_stored(stored)?;
        let versioned = Arc::new(Versioned::new(definition, stored.version));
        self.keep(&versioned, is_newest);
        Ok(versioned)
    }

    /// Reads a definition that is stored, as it was written and as it was checked.
    pub fn read_stored(stored: &Stored) -> Result<(Draft, Definition), Error> {
        Ok(restored(&stored.name, &stored.body)?)
    }
}

/// A definition as it was stored. It was judged when it was submitted: its sagas run on it whatever the rules are today.
fn restored(name: &str, body: &str) -> Result<(Draft, Definition), store::Error> {
    let draft: Draft = serde_json::from_str(body)
        .map_err(|error| store::Error::Corrupt(format!("definition {name}: {error}")))?;
    let definition = Definition::from_stored(&draft)
        .map_err(|problems| store::Error::Corrupt(format!("definition {name}: {problems:?}")))?;
    Ok((draft, definition))
}

#[cfg(test)]
mod tests {
    use snorri_saga::time::Millis;

    use super::*;

    #[test]
    fn what_is_refused_is_answered_in_few_bytes() {
        let steps = "- {name: a, participant: p}\n".repeat(37_000);
        let refused = Definitions::check(&format!("name: order\nsteps:\n{steps}")).expect_err("refused");
        let answer = crate::problem::Problem::from(refused).to_json().to_string();
        assert!(answer.len() < 100_000, "a refusal of {} bytes", answer.len());
    }

    #[test]
    fn one_that_was_found_to_break_a_law_is_refused() {
        let text = "name: order\nsteps:\n- {name: a, participant: p, compensation: u}\n";
        let file = File { name: "order", text, format: Format::Yaml };
        let mut report = snorri_language::check::check(&[file], |_, _| None);
        report.explore(&snorri_language::explore::Bounds::default(), &|| std::time::Duration::ZERO);
        assert!(Definitions::checked(report.clone()).is_ok());
        // As an exploration reports it: beside a definition that could be read.
        report.errors = 1;
        assert!(matches!(Definitions::checked(report), Err(Error::Invalid { .. })));
    }

    #[test]
    fn a_stored_definition_is_not_judged_again() {
        let body = r#"{"name":"order","window":"1s","steps":[{"name":"pay","participant":"bank","compensation":"refund"}]}"#;
        assert!(Definitions::check(body).is_err(), "the window is too small");
        let (_, definition) = restored("order", body).expect("what is stored");
        assert_eq!(definition.window, Millis::secs(1));
    }

    #[test]
    fn as_many_steps_as_there_may_be_are_taken() {
        let many = (0..200)
            .map(|n| format!("- {{name: s{n}, participant: p, compensation: u}}\n"))
            .collect::<Vec<_>>()
            .concat();
        assert!(Definitions::check(&format!("name: order\nwindow: 7d\nsteps:\n{many}")).is_ok());
    }
}
