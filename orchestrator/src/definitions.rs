//! The definitions in use: submitted, checked, stored, and cached for ever, since a version never changes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use snorri_saga::definition::{Definition, Draft, Problem, STEPS_MAX};
use snorri_saga::ids::Name;
use snorri_saga::json::fingerprint;
use snorri_saga::template::Template;
use snorri_saga::wire::limit;
use tokio::time::Instant;

use crate::store::definitions::Stored;
use crate::store::{self, Store};

/// How long it is taken from memory which version of a name is the newest, and that a version is in force. Another replica
/// may have a newer one: a start right after a submission elsewhere may get the version before it. So may one right after
/// a removal elsewhere; its saga runs to its end.
const NEWEST_FOR: Duration = Duration::from_millis(500);
/// The most versions kept in memory.
const KEPT_MAX: usize = 10_000;
/// Beyond so many bytes a step's name is not even looked at.
const STEP_NAME_BYTES_MAX: usize = 256;
/// The most references to steps that are not there whose places are told.
const STRAY_MAX: usize = 100;
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
    /// It was removed.
    #[error("version {version} of the definition `{name}` was removed")]
    Removed {
        /// The name asked for.
        name: Name,
        /// The version asked for.
        version: u32,
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

/// What reading a text of YAML may take: a small text may name itself so often that its value is huge.
fn yaml() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_anchors: 1000,
            max_aliases: 5000,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: 4 * TEXT_BYTES_MAX,
            max_total_scalar_bytes: 4 * TEXT_BYTES_MAX,
            max_depth: limit::JSON_DEPTH_MAX,
            flow_nesting_limit: limit::JSON_DEPTH_MAX,
            max_documents: 1,
            max_nodes: 250_000,
            max_events: 600_000,
            max_merge_keys: 1000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 32,
        },
    }
}

/// How many expressions of the steps' inputs refer to a step that is no earlier one.
fn stray(draft: &Draft) -> usize {
    let mut earlier: HashSet<&str> = HashSet::new();
    let mut stray = 0;
    for step in draft.steps.iter().take(STEPS_MAX) {
        let template = step.input.as_ref().and_then(|input| Template::parse(input).ok());
        if let Some(template) = template {
            stray += template.steps_referred_to().iter().filter(|name| !earlier.contains(*name)).count();
        }
        earlier.insert(&step.name);
    }
    stray
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
}

impl Definitions {
    /// Nothing cached yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
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
        let draft: Draft = serde_saphyr::from_str_with_options(text, yaml())
            .map_err(|error| Error::Unreadable(error.to_string()))?;
        let definition = Self::checked(&draft)?;
        Ok((draft, definition))
    }

    /// Checks and stores a definition. The same one again is the same version.
    pub async fn submit(&self, text: &str) -> Result<Submitted, Error> {
        let (draft, definition) = Self::check(text)?;
        self.store_checked(&draft, definition).await
    }

    /// The same for a definition that was read already.
    pub async fn submit_draft(&self, draft: &Draft) -> Result<Submitted, Error> {
        let definition = Self::checked(draft)?;
        self.store_checked(draft, definition).await
    }

    fn checked(draft: &Draft) -> Result<Definition, Error> {
        // What is wrong with one step may be said with another's name: a huge one would be said 200 times.
        let longest = draft.steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
        if longest > STEP_NAME_BYTES_MAX {
            return Err(Error::Unreadable(format!("a step's name has {longest} bytes")));
        }
        let stray = stray(draft);
        if stray > STRAY_MAX {
            // Each would be told with the names of all steps.
            let message =
                format!("{stray} expressions refer to the output of steps that are no earlier ones");
            return Err(Error::Invalid(vec![Problem {
                pointer: "/steps".to_owned(),
                offset: None,
                code: "stray-references",
                message,
                mend: None,
            }]));
        }
        Definition::from_draft(draft).map_err(Error::Invalid)
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
        let (_, definition) = Self::read(stored)?;
        let versioned = Arc::new(Versioned { definition, version: stored.version });
        self.keep(&versioned, is_newest);
        Ok(versioned)
    }

    /// Reads a definition that is stored, as it was written and as it was checked.
    pub fn read(stored: &Stored) -> Result<(Draft, Definition), Error> {
        let Stored { name, body, .. } = stored;
        let draft: Draft = serde_json::from_str(body)
            .map_err(|error| store::Error::Corrupt(format!("definition {name}: {error}")))?;
        let definition = Definition::from_draft(&draft)
            .map_err(|problems| store::Error::Corrupt(format!("definition {name}: {problems:?}")))?;
        Ok((draft, definition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_input(input: &str) -> String {
        format!("name: order\nsteps:\n- name: a\n  participant: p\n  compensation: u\n  input: {input}\n")
    }

    fn is_refused(what: &str, text: &str) {
        let began = Instant::now();
        let refused = Definitions::check(text).map(|_| ()).expect_err(what);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 }), "{what}: {took:?}");
        let answer = crate::problem::Problem::from(refused).to_json().to_string();
        assert!(answer.len() < 100_000, "{what}: a refusal of {} bytes", answer.len());
    }

    #[test]
    fn hostile_texts_are_refused_at_once() {
        // Each list names the one before nine times: nine to the power of nine.
        let mut bomb = vec![format!("l0: &l0 [{}]", ["x"; 9].join(","))];
        bomb.extend((1..9).map(|n| format!("l{n}: &l{n} [{}]", vec![format!("*l{}", n - 1); 9].join(","))));
        is_refused("aliases of aliases", &with_input(&format!("{{{}}}", bomb.join(", "))));
        let long = "x".repeat(900_000);
        let aliases = vec!["*a"; 90].join(",");
        is_refused("aliases of a long text", &with_input(&format!("[&a {long}, {aliases}]")));
        let anchors = (0..99).map(|n| format!("&a{n} {}", "x".repeat(9000))).collect::<Vec<_>>().join(",");
        let aliases = (0..990).map(|n| format!("*a{}", n % 99)).collect::<Vec<_>>().join(",");
        is_refused("ten aliases of each anchor", &with_input(&format!("[{anchors},{aliases}]")));
        let merges = vec!["{<<: *a}"; 50_000].join(",");
        is_refused("merges", &with_input(&format!("[&a {{b: c}}, {merges}]")));

        let steps = "- {}\n".repeat(200_000);
        is_refused("empty steps", &format!("name: order\nsteps:\n{steps}"));
        let steps = "- {name: a, participant: p}\n".repeat(37_000);
        is_refused("as many steps as fit", &format!("name: order\nsteps:\n{steps}"));
        let steps = "- {name: a, participant: p}\n".repeat(1_000_000);
        is_refused("a million steps", &format!("name: order\nsteps:\n{steps}"));

        let list = vec!["1"; 100_000].join(",");
        is_refused("a template of 100,000 entries", &with_input(&format!("[{list}]")));
        let map = (0..100_000).map(|n| format!("{n}: 1")).collect::<Vec<_>>().join(", ");
        is_refused("a template of 100,000 fields", &with_input(&format!("{{{map}}}")));

        is_refused("deep lists", &with_input(&format!("{}{}", "[".repeat(64), "]".repeat(64))));
        is_refused("very deep lists", &with_input(&"[".repeat(500_000)));
        let blocks = (0..64).map(|n| format!("{}a:", "  ".repeat(n + 2))).collect::<Vec<_>>().join("\n");
        is_refused("deep blocks", &with_input(&format!("\n{blocks} 1")));
        is_refused("dashes", &with_input(&format!("\n    {}x", "- ".repeat(400_000))));
        is_refused("many documents", &"---\na\n".repeat(100_000));
        let names = (0..200).map(|_| format!("- {{name: {}, participant: p}}\n", "x".repeat(5000)));
        let more = "- {name: b, participant: p, kind: pivot}\n".repeat(199);
        let huge = format!("- {{name: {long}, participant: p, kind: pivot}}\n{more}");
        is_refused("a huge name that others are told of", &format!("name: order\nsteps:\n{huge}"));
        let stray = vec!["\"${{ steps.q.output }}\""; 900].join(",");
        let many = (0..150)
            .map(|n| format!("- {{name: {}{n}, participant: p}}\n", "x".repeat(60)))
            .collect::<Vec<_>>()
            .concat();
        let ends = (0..40)
            .map(|n| format!("- {{name: z{n}, participant: p, input: [{stray}]}}\n"))
            .collect::<Vec<_>>()
            .concat();
        is_refused("references to nothing", &format!("name: order\nsteps:\n{many}{ends}"));
        is_refused("long names", &format!("name: order\nsteps:\n{}", names.collect::<String>()));
    }

    #[test]
    fn aliases_have_their_use() {
        let text = "name: order\nsteps:\n- {name: a, participant: p, compensation: u, retry: &r {attempts: 3}}\n\
                    - {name: b, participant: p, compensation: u, retry: *r}\n";
        assert!(Definitions::check(text).is_ok());
        let many = (0..200)
            .map(|n| format!("- {{name: s{n}, participant: p, compensation: u}}\n"))
            .collect::<Vec<_>>()
            .concat();
        assert!(Definitions::check(&format!("name: order\nwindow: 7d\nsteps:\n{many}")).is_ok());
    }
}
