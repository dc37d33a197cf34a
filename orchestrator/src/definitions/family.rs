//! How many sagas a definition may become, with the sub-sagas that it is pinned to and theirs.

use std::collections::HashMap;
use std::sync::Arc;

use snorri_language::family::size;
use snorri_saga::definition::Work;
use snorri_saga::ids::Name;

use super::{Definitions, Error, Versioned};

impl Definitions {
    /// How many sagas one of this version may become at worst, with itself. A version never changes, nor do those that it is
    /// pinned to, removed or not: it is found out once.
    pub(super) async fn family(&self, versioned: &Arc<Versioned>) -> Result<u64, Error> {
        // Depth first, without recursion: a version waits here until those that it is pinned to are known.
        let mut open = vec![versioned.clone()];
        let mut known: HashMap<(Name, u32), u64> = HashMap::new();
        while let Some(of) = open.last().cloned() {
            let mut missing = Vec::new();
            if of.family.get().is_none() {
                for step in &of.definition.steps {
                    let Work::Saga { definition, version } = &step.work else { continue };
                    // One that waits already would be a circle, of a database that was put together by hand.
                    let waits =
                        |of: &Arc<Versioned>| of.definition.name == *definition && of.version == *version;
                    if known.contains_key(&(definition.clone(), *version)) || open.iter().any(waits) {
                        continue;
                    }
                    match self.get(definition.as_str(), Some(*version)).await {
                        Ok(child) => missing.push(child),
                        // The same: such a step never runs.
                        Err(Error::Unknown { .. }) => drop(known.insert((definition.clone(), *version), 0)),
                        Err(error) => return Err(error),
                    }
                }
            }
            if missing.is_empty() {
                let all = |name: &Name, version| known.get(&(name.clone(), version)).copied().unwrap_or(1);
                let family = *of.family.get_or_init(|| size(&of.definition, all));
                known.insert((of.definition.name.clone(), of.version), family);
                open.pop();
            } else {
                open.extend(missing);
            }
        }
        Ok(*versioned.family.get_or_init(|| 1))
    }
}
