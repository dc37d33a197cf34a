//! The definitions in use: submitted, checked, stored, and cached for ever, since a version never changes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use snorri_language::check::sub_sagas;
use snorri_language::input_schema::{BadSchema, InputSchema, Mismatch};
use snorri_language::pin::{Child, pin};
use snorri_saga::definition::{Definition, Draft, Problem, STEPS_MAX, StepKind};
use snorri_saga::ids::Name;
use snorri_saga::json::{Json, fingerprint};
use snorri_saga::template::Template;
use snorri_saga::wire::limit;
use tokio::sync::Semaphore;
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

/// Larger inputs are checked beside the runtime's threads: what takes a millisecond keeps others waiting.
const CHECKED_INLINE_MAX: usize = 4 * 1024;
/// How many larger inputs are checked at once.
const CHECKING_MAX: usize = 2;

/// How many definitions are checked at once.
const SUBMITTING_MAX: usize = 2;

/// A definition with its version.
#[derive(Debug)]
pub struct Versioned {
    /// The checked definition.
    pub definition: Definition,
    /// Its version.
    pub version: u32,
    /// Its input's schema, compiled when the first input is checked.
    schema: OnceLock<Option<Result<InputSchema, BadSchema>>>,
}

impl Versioned {
    /// A definition with its version.
    pub fn new(definition: Definition, version: u32) -> Self {
        Self { definition, version, schema: OnceLock::new() }
    }

    /// What of an input does not fit the definition's schema. Takes a processor for as long as it takes.
    fn mismatches(&self, input: &Json) -> Vec<Mismatch> {
        let of_all = |message: String| vec![Mismatch { pointer: String::new(), message }];
        let compile = || self.definition.input.as_deref().map(InputSchema::compile);
        let schema = match self.schema.get_or_init(compile) {
            None => return Vec::new(),
            Some(Ok(schema)) => schema,
            // It was compiled when it was submitted, by a build that took it.
            Some(Err(error)) => return of_all(format!("the definition's schema cannot be used: {error}")),
        };
        match serde_json::from_str(input.get()) {
            Ok(value) => schema.validate(&value),
            // Raw JSON may hold what no value can (half a surrogate pair).
            Err(error) => of_all(format!("it cannot be read: {error}")),
        }
    }
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

/// What a draft names as sub-sagas, as far as it is there.
type Children = HashMap<(String, Option<u32>), Child>;

/// Pins the sub-sagas of a draft and checks all of it.
fn pinned(draft: &mut Draft, children: &Children) -> Result<Definition, Error> {
    let mut problems = pin(draft, |name, version| children.get(&(name.to_owned(), version)).cloned());
    if let Some(schema) = draft.input.as_ref().filter(|schema| schema.is_object())
        && let Err(BadSchema { pointer, message }) = InputSchema::compile(schema)
    {
        let pointer = format!("/input{pointer}");
        problems.push(Problem { pointer, offset: None, code: "bad-input-schema", message, mend: None });
    }
    match Definition::from_draft(draft) {
        Ok(definition) if problems.is_empty() => return Ok(definition),
        Ok(_) => {}
        Err(more) => {
            problems.extend(more.into_iter().filter(|problem| !is_of_unknown(draft, &problem.pointer)));
        }
    }
    Err(Error::Invalid(problems))
}

/// Whether a problem is a consequence: a sub-saga that is not there has no version and no times.
fn is_of_unknown(draft: &Draft, pointer: &str) -> bool {
    let mut parts = pointer.strip_prefix("/steps/").unwrap_or_default().split('/');
    let step = parts.next().and_then(|nth| draft.steps.get(nth.parse::<usize>().ok()?));
    let is_unknown =
        step.is_some_and(|step| step.saga.is_some() && (step.version.is_none() || step.timeout.is_none()));
    is_unknown && matches!(parts.next(), Some("version" | "timeout" | "compensation"))
}

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
    /// Turns at checking a large input.
    checking: Arc<Semaphore>,
    /// Turns at checking a definition.
    submitting: Arc<Semaphore>,
}

impl Definitions {
    /// Nothing cached yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let turns = |most| Arc::new(Semaphore::new(most));
        Self {
            store,
            cache: Mutex::default(),
            checking: turns(CHECKING_MAX),
            submitting: turns(SUBMITTING_MAX),
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // Nothing in there is ever half-written.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parses YAML (or JSON, which is YAML).
    pub fn read(text: &str) -> Result<Draft, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::Unreadable(format!("{} bytes: at most {TEXT_BYTES_MAX}", text.len())));
        }
        let draft: Draft = serde_saphyr::from_str_with_options(text, yaml())
            .map_err(|error| Error::Unreadable(error.to_string()))?;
        Self::check_size(&draft)?;
        Ok(draft)
    }

    /// Parses YAML and checks it, sub-sagas apart.
    pub fn check(text: &str) -> Result<(Draft, Definition), Error> {
        let draft = Self::read(text)?;
        let definition = Definition::from_draft(&draft).map_err(Error::Invalid)?;
        Ok((draft, definition))
    }

    /// Checks and stores a definition, its sub-sagas pinned to the versions that are the newest now. The same one again is
    /// the same version.
    pub async fn submit_draft(&self, draft: &Draft) -> Result<Submitted, Error> {
        Self::check_size(draft)?;
        let mut draft = draft.clone();
        let mut children = HashMap::new();
        for (name, version) in sub_sagas(&draft) {
            if let Some(child) = self.child(name, version).await? {
                children.insert((name.to_owned(), version), child);
            }
        }
        // A large one takes a core for some time, and the runtime's threads serve everybody.
        let turn = self.submitting.clone().acquire_owned().await;
        let checking = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let definition = pinned(&mut draft, &children)?;
            let value = serde_json::to_value(canonical(draft))
                .map_err(|error| Error::Unreadable(error.to_string()))?;
            Ok::<_, Error>((definition, fingerprint(&value), value.to_string()))
        });
        let (definition, digest, body) = checking.await.map_err(|error| {
            store::Error::Corrupt(format!("the definition could not be checked: {error}"))
        })??;
        let (version, is_new) = self.store.submit_definition(&definition.name, &digest, &body).await?;
        let versioned = Arc::new(Versioned::new(definition, version));
        self.keep(&versioned, true);
        Ok(Submitted { versioned, is_new, digest })
    }

    /// What a parent has to know of a sub-saga, as the store has it now.
    async fn child(&self, name: &str, version: Option<u32>) -> Result<Option<Child>, Error> {
        if Name::new(name).is_err() {
            return Ok(None);
        }
        let version = match version {
            Some(version) => version,
            // From memory it could be the one before.
            None => match self.store.definition(name, None).await? {
                Some(newest) => newest.version,
                None => return Ok(None),
            },
        };
        match self.in_force(name, Some(version)).await {
            Ok(versioned) => Ok(Some(Child::of(&versioned.definition, version))),
            Err(Error::Unknown { .. } | Error::Removed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What of an input does not fit the schema of its definition; nothing if all of it does, or if there is none.
    pub async fn mismatches(&self, versioned: &Arc<Versioned>, input: &Json) -> Vec<Mismatch> {
        if versioned.definition.input.is_none() {
            return Vec::new();
        }
        if input.len() <= CHECKED_INLINE_MAX {
            return versioned.mismatches(input);
        }
        let turn = self.checking.clone().acquire_owned().await;
        let (of, large) = (versioned.clone(), input.clone());
        let checking = tokio::task::spawn_blocking(move || {
            // Held to the end, even when nobody waits for it any more.
            let _turn = turn;
            of.mismatches(&large)
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

    /// Refuses what could be refused only at length.
    fn check_size(draft: &Draft) -> Result<(), Error> {
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
        Ok(())
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
