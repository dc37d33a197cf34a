//! What sub-sagas need of definitions: without waiting where that is possible, and never behind the starts of others.

use std::sync::Arc;

use snorri_language::input_schema::Mismatch;
use snorri_saga::ids::Name;
use snorri_saga::json::Json;

use super::{Definitions, Versioned};

/// How many inputs of sub-sagas are checked at once.
pub(super) const CHECKING_MAX: usize = 1;

impl Definitions {
    /// A version of a definition, if it is in memory, and if it is known in no time that it takes this input.
    pub fn fitting_at_once(&self, name: &Name, version: u32, input: Option<&Json>) -> Option<Arc<Versioned>> {
        let versioned = self.cache().versions.get(&(name.clone(), version)).cloned()?;
        input.is_none_or(|input| versioned.fits_at_once(input)).then_some(versioned)
    }

    /// What of a sub-saga's input does not fit the schema of its definition. It has a turn of its own.
    pub async fn mismatches_of_begun(&self, versioned: &Arc<Versioned>, input: &Json) -> Vec<Mismatch> {
        Self::checked_in_turn(&self.checking_begun, versioned, input).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Nothing is asked of it here.
    fn definitions() -> Definitions {
        let store = crate::store::Postgres::connect("postgres://nobody@localhost:1/none", 1).expect("lazy");
        Definitions::new(Arc::new(store))
    }

    #[tokio::test]
    async fn a_sub_saga_does_not_wait_behind_the_starts_of_others() {
        let definitions = definitions();
        let text = "name: one\ninput: {type: integer}\nsteps: [{name: a, participant: p, compensation: u}]";
        let (_, definition) = Definitions::check(text).expect("a definition");
        let versioned = Arc::new(Versioned::new(definition, 1));
        // All turns of starts are taken.
        let turns = u32::try_from(super::super::CHECKING_MAX).expect("few");
        let _taken = definitions.checking.acquire_many(turns).await.expect("turns");
        let input = Json::parse("\"x\"").expect("json");
        let check = definitions.mismatches_of_begun(&versioned, &input);
        let found = tokio::time::timeout(Duration::from_secs(20), check).await.expect("it has its own turn");
        assert_eq!(found.len(), 1);
    }
}
