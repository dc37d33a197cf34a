//! Parameters of queries and paths. What is not known is refused by its name: a misspelt filter must not
//! silently list everything.

use axum::extract::Query;
use axum::http::Uri;
use snorri_saga::ids::{Name, SagaId};

use crate::problem::Problem;

/// The longest value, in bytes.
const VALUE_BYTES_MAX: usize = 600;
/// The most parameters of one query.
const PARAMS_MAX: usize = 64;

/// The parameters of a query.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query that takes the given parameters and no others.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Problem::bad_request(&format!("the query cannot be read: {error}")))?;
        if pairs.len() > PARAMS_MAX {
            return Err(Problem::bad_request(&format!("{} parameters: at most {PARAMS_MAX}", pairs.len())));
        }
        for (name, value) in &pairs {
            if !known.contains(&name.as_str()) {
                let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Problem::bad_parameter(name, &format!("not known here; known are: {list}")));
            }
            // Postgres takes no U+0000.
            if value.is_empty() || value.len() > VALUE_BYTES_MAX || value.contains('\0') {
                let text = format!("needs 1 to {VALUE_BYTES_MAX} bytes without U+0000");
                return Err(Problem::bad_parameter(name, &text));
            }
        }
        Ok(Self(pairs))
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may be there once.
    pub(super) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Problem> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Problem::bad_parameter(name, "may be there once only"));
        }
        Ok(first)
    }

    /// A parameter made into something, with what it should have been when it cannot.
    pub(super) fn parsed<'a, T>(
        &'a self,
        name: &'a str,
        parse: impl FnOnce(&str) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, Problem> {
        match self.one(name)? {
            None => Ok(None),
            Some(text) => parse(text).map(Some).ok_or_else(|| {
                let shown: String = text.chars().take(80).collect();
                Problem::bad_parameter(name, &format!("`{shown}` is not {expected}"))
            }),
        }
    }

    /// How many to list.
    pub(super) fn limit(&self, default: u16, limit_max: u16) -> Result<u16, Problem> {
        let parse = |text: &str| text.parse::<u16>().ok().filter(|limit| (1..=limit_max).contains(limit));
        Ok(self.parsed("limit", parse, &format!("a number from 1 to {limit_max}"))?.unwrap_or(default))
    }
}

/// A saga's id in a path.
pub(super) fn saga_id(text: &str) -> Result<SagaId, Problem> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(80).collect();
        Problem::bad_parameter("id", &format!("`{shown}` is not a saga's id, which is a UUID"))
    })
}

/// A name in a path.
pub(super) fn name(parameter: &str, text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(|error| Problem::bad_parameter(parameter, &error.to_string()))
}

/// Splits one more than the page off, and says where the next page begins.
pub(super) fn page<T>(rows: &mut Vec<T>, limit: u16, cursor: impl FnOnce(&T) -> String) -> Option<String> {
    if rows.len() <= usize::from(limit) {
        return None;
    }
    rows.truncate(usize::from(limit));
    rows.last().map(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Result<Params, Problem> {
        Params::of(&format!("/x?{query}").parse().expect("a uri"), &["limit", "tag"])
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_known_ones() {
        let problem = params("limt=3").expect_err("unknown");
        assert_eq!(problem.detail(), "`limt`: not known here; known are: limit, tag");
        assert_eq!(problem.to_json()["parameter"], "limt");
    }

    #[test]
    fn a_limit_is_in_its_range() {
        assert_eq!(params("").expect("params").limit(50, 500).expect("a limit"), 50);
        assert_eq!(params("limit=500").expect("params").limit(50, 500).expect("a limit"), 500);
        for bad in ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=1&limit=2"] {
            let result = params(bad).and_then(|params| params.limit(50, 500));
            assert_eq!(result.expect_err(bad).status(), 400);
        }
    }

    #[test]
    fn a_value_that_postgres_cannot_take_is_refused() {
        assert_eq!(params("tag=a%00b").expect_err("U+0000").status(), 400);
        assert_eq!(params("tag=").expect_err("empty").status(), 400);
        assert_eq!(params(&format!("tag={}", "a".repeat(601))).expect_err("long").status(), 400);
    }

    #[test]
    fn a_page_ends_where_the_next_begins() {
        let mut rows = vec![3, 2, 1];
        assert_eq!(page(&mut rows, 2, ToString::to_string), Some("2".to_owned()));
        assert_eq!(rows, [3, 2]);
        assert_eq!(page(&mut rows, 2, ToString::to_string), None);
    }
}
