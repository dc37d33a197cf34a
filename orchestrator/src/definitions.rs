//! The definitions in use: submitted, checked, stored, and cached for ever, since a version never changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use snorri_saga::definition::{Definition, Draft, Problem};
use snorri_saga::ids::Name;
use snorri_saga::json::fingerprint;

use crate::store::{self, Store};

/// How long the newest version of a name is taken from memory. Another replica may have a newer one: a
/// start right after a submission elsewhere may get the version before it.
const NEWEST_FOR: Duration = Duration::from_millis(500);
/// The most versions kept in memory.
const KEPT_MAX: usize = 10_000;
/// The largest text of a definition, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// A definition with its version.
#[derive(Debug, Clone)]
pub struct Versioned {
    /// The checked definition.
    pub definition: Definition,
    /// Its version.
    pub version: u32,
}

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
    /// The text is not a definition.
    #[error("the definition is not valid")]
    Invalid(Vec<Problem>),
    /// The text cannot be parsed.
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

type Key = (Name, u32);

#[derive(Debug, Default)]
struct Cache {
    versions: HashMap<Key, Arc<Versioned>>,
    newest: HashMap<String, (Instant, Arc<Versioned>)>,
}

/// The definitions in use.
#[derive(Debug)]
pub struct Definitions {
    store: Store,
    cache: Mutex<Cache>,
}

impl Definitions {
    /// Nothing cached yet.
    pub fn new(store: Store) -> Self {
        Self { store, cache: Mutex::default() }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // Nothing in there is ever half-written.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parses YAML (or JSON, which is YAML) and checks it.
    pub fn check(text: &str) -> Result<(Draft, Definition), Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::Unreadable(format!("{} bytes: at most {TEXT_BYTES_MAX}", text.len())));
        }
        let draft: Draft =
            serde_saphyr::from_str(text).map_err(|error| Error::Unreadable(error.to_string()))?;
        let definition = Definition::from_draft(&draft).map_err(Error::Invalid)?;
        Ok((draft, definition))
    }

    /// Checks and stores a definition. The same one again is the same version.
    pub async fn submit(&self, text: &str) -> Result<Submitted, Error> {
        let (draft, definition) = Self::check(text)?;
        self.store_checked(&draft, definition).await
    }

    /// The same for a definition that was read already.
    pub async fn submit_draft(&self, draft: &Draft) -> Result<Submitted, Error> {
        let definition = Definition::from_draft(draft).map_err(Error::Invalid)?;
        self.store_checked(draft, definition).await
    }

    async fn store_checked(&self, draft: &Draft, definition: Definition) -> Result<Submitted, Error> {
        let value = serde_json::to_value(draft).map_err(|error| Error::Unreadable(error.to_string()))?;
        let digest = fingerprint(&value);
        let (version, is_new) =
            self.store.submit_definition(&definition.name, &digest, &value.to_string()).await?;
        let versioned = Arc::new(Versioned { definition, version });
        self.keep(&versioned, true);
        Ok(Submitted { versioned, is_new, digest })
    }

    fn keep(&self, versioned: &Arc<Versioned>, is_newest: bool) {
        let name = versioned.definition.name.clone();
        let mut cache = self.cache();
        if cache.versions.len() >= KEPT_MAX {
            cache.versions.clear();
            cache.newest.clear();
        }
        if is_newest {
            cache.newest.insert(name.to_string(), (Instant::now(), versioned.clone()));
        }
        cache.versions.insert((name, versioned.version), versioned.clone());
    }

    /// A definition by name, in the given or the newest version.
    pub async fn get(&self, name: &str, version: Option<u32>) -> Result<Arc<Versioned>, Error> {
        {
            let cache = self.cache();
            match version {
                Some(version) => {
                    if let Ok(name) = Name::new(name)
                        && let Some(found) = cache.versions.get(&(name, version))
                    {
                        return Ok(found.clone());
                    }
                }
                None => {
                    if let Some((since, found)) = cache.newest.get(name)
                        && since.elapsed() < NEWEST_FOR
                    {
                        return Ok(found.clone());
                    }
                }
            }
        }
        let unknown = || Error::Unknown { name: name.chars().take(80).collect(), version };
        if Name::new(name).is_err() {
            return Err(unknown());
        }
        let stored = self.store.definition(name, version).await?.ok_or_else(unknown)?;
        let draft: Draft = serde_json::from_str(&stored.body)
            .map_err(|error| store::Error::Corrupt(format!("definition {name}: {error}")))?;
        let definition = Definition::from_draft(&draft)
            .map_err(|problems| store::Error::Corrupt(format!("definition {name}: {problems:?}")))?;
        let versioned = Arc::new(Versioned { definition, version: stored.version });
        self.keep(&versioned, version.is_none());
        Ok(versioned)
    }
}
