//! Warnings: what is accepted, and probably not what was meant. Each names its place and the mend, and none is about
//! taste: a definition that says what it means has no warning.

use snorri_saga::definition::{Definition, Draft, DraftStep};

use crate::text::{Finding, Findings, Places, shown};

mod schema;
mod steps;
mod texts;
mod times;

/// What is looked at.
pub(crate) struct Subject<'a> {
    /// The draft as it is written, before its sub-sagas are pinned.
    pub(crate) written: &'a Draft,
    /// The definition, if it is one.
    pub(crate) definition: Option<&'a Definition>,
    /// Where its parts stand.
    pub(crate) places: &'a Places<'a>,
}

/// Looks for everything that is probably not meant.
pub(crate) fn lint(subject: &Subject<'_>, findings: &mut Findings) {
    schema::lint(subject, findings);
    texts::lint(subject, findings);
    steps::lint(subject, findings);
    times::lint(subject, findings);
}

impl Subject<'_> {
    fn steps(&self) -> impl Iterator<Item = (String, &DraftStep)> {
        self.written.steps.iter().enumerate().map(|(nth, step)| (format!("/steps/{nth}"), step))
    }

    fn warn(
        &self,
        findings: &mut Findings,
        code: &'static str,
        pointer: &str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let span = self.places.of(pointer, None);
        findings.add(Finding::warning(code, span, message).at(pointer).mend(mend));
    }

    /// The same for what a field is called.
    fn warn_key(
        &self,
        findings: &mut Findings,
        code: &'static str,
        pointer: &str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let span = self.places.key(pointer);
        findings.add(Finding::warning(code, span, message).at(pointer).mend(mend));
    }
}
