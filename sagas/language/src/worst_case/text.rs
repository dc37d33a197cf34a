//! The worst case for people.

use std::fmt::Write as _;

use snorri_saga::time::Millis;

use super::{Path, Sum, Term, WorstCase};
use crate::diagnostic::Paint;

/// The most terms that one line lists.
const TERMS_MAX: usize = 40;

impl WorstCase {
    /// As a small table: the parts, what each is the sum of, and the paths if there is more than one.
    pub fn render(&self, paint: Paint) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} {} of the window's {}, {} to spare",
            paint.bold("worst case"),
            paint.bold(&self.total.to_string()),
            self.window,
            self.spare
        );
        let rows = self.rows();
        let names = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        let times = rows.iter().map(|(_, time, _)| time.to_string().len()).max().unwrap_or(0);
        for (name, time, terms) in rows {
            let _ = writeln!(text, "  {name:names$}  {:>times$}  {terms}", time.to_string());
        }
        for term in self.detailed() {
            let name = term.compensation.as_ref().unwrap_or(&term.step);
            let arithmetic = term.arithmetic.as_deref().unwrap_or_default();
            let line = format!("  {name} = {} = {arithmetic}", term.time);
            let _ = writeln!(text, "{}", paint.dim(&line));
        }
        if self.paths_in_all > 1 {
            self.paths(&mut text, paint);
        }
        text
    }

    fn rows(&self) -> Vec<(&'static str, Millis, String)> {
        let mut rows = Vec::new();
        let mut parts = Vec::new();
        let first = if self.pivot.is_some() { "before the pivot" } else { "going forwards" };
        rows.push((first, self.before.total, self.before.shown()));
        parts.push(self.before.total.to_string());
        if let Some(pivot) = &self.pivot {
            rows.push(("the pivot", pivot.time, pivot.shown()));
            parts.push(pivot.time.to_string());
        }
        if self.behind.terms.is_empty() {
            rows.push(("undoing it all", self.undoing.total, self.undoing.shown()));
            parts.push(self.undoing.total.to_string());
        } else {
            rows.push(("behind the pivot", self.behind.total, self.behind.shown()));
            rows.push(("or undoing it all", self.undoing.total, self.undoing.shown()));
            parts.push(format!("the longer of {} and {}", self.behind.total, self.undoing.total));
        }
        rows.push(("in all", self.total, parts.join(" + ")));
        rows
    }

    /// The terms that are more than one timeout, each once.
    fn detailed(&self) -> Vec<&Term> {
        let sums = [&self.before, &self.behind, &self.undoing];
        let mut terms: Vec<&Term> = Vec::new();
        for term in sums.into_iter().flat_map(|sum| &sum.terms).chain(&self.pivot) {
            let is_known = terms.iter().any(|known| {
                known.compensation == term.compensation
                    && known.arithmetic == term.arithmetic
                    && known.time == term.time
            });
            if term.arithmetic.is_some() && !is_known && terms.len() < TERMS_MAX {
                terms.push(term);
            }
        }
        terms
    }

    fn paths(&self, text: &mut String, paint: Paint) {
        let more = self.paths_in_all.saturating_sub(u64::try_from(self.paths.len()).unwrap_or(0));
        let rest = match more {
            0 => String::new(),
            more => format!(", the longest; {more} more"),
        };
        let _ = writeln!(text, "{} {}{rest}", paint.bold("paths"), self.paths.len());
        let times = self.paths.iter().map(|path| path.total.to_string().len()).max().unwrap_or(0);
        for path in &self.paths {
            let _ = writeln!(text, "  {:>times$}  {}", path.total.to_string(), path.shown());
            let _ = writeln!(text, "  {:>times$}  {}", "", paint.dim(&path.arithmetic()));
        }
    }
}

impl Path {
    fn shown(&self) -> String {
        let shown: Vec<&str> = self.steps.iter().take(TERMS_MAX).map(String::as_str).collect();
        let more = if self.steps.len() > TERMS_MAX { " > ..." } else { "" };
        format!("{}{more}", shown.join(" > "))
    }

    fn arithmetic(&self) -> String {
        let mut parts = vec![self.before.to_string()];
        if self.pivot.0 > 0 {
            parts.push(format!("pivot {}", self.pivot));
        }
        match (self.behind.0, self.undoing.0) {
            (0, 0) => {}
            (0, _) => parts.push(format!("undoing {}", self.undoing)),
            (_, 0) => parts.push(format!("behind {}", self.behind)),
            _ => parts.push(format!("the longer of behind {} and undoing {}", self.behind, self.undoing)),
        }
        parts.join(" + ")
    }
}

impl Sum {
    fn shown(&self) -> String {
        if self.terms.is_empty() {
            return "nothing".to_owned();
        }
        let more = if self.terms.len() > TERMS_MAX { " + ..." } else { "" };
        let shown: Vec<String> = self.terms.iter().take(TERMS_MAX).map(Term::shown).collect();
        format!("{}{more}", shown.join(" + "))
    }
}

impl Term {
    fn shown(&self) -> String {
        format!("{} {}", self.compensation.as_ref().unwrap_or(&self.step), self.time)
    }
}
