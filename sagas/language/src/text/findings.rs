//! What is found while a text is read and checked: with its place in bytes, before lines and columns are counted.

use super::tree::Span;
use crate::diagnostic::Severity;

/// The most findings that are told of one text.
const FINDINGS_MAX: usize = 100;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) code: &'static str,
    pub(crate) span: Span,
    pub(crate) pointer: String,
    pub(crate) message: String,
    pub(crate) mend: Option<String>,
}

impl Finding {
    pub(crate) fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        let (severity, pointer) = (Severity::Error, String::new());
        Self { severity, code, span, pointer, message: message.into(), mend: None }
    }

    pub(crate) fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    pub(crate) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = pointer.into();
        self
    }

    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }
}

/// All that was found, up to a limit for each severity: a hundred warnings do not hide an error.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Finding>,
    errors: usize,
    warnings: usize,
}

impl Findings {
    pub(crate) fn add(&mut self, finding: Finding) {
        let (count, what) = match finding.severity {
            Severity::Error => (&mut self.errors, "errors"),
            Severity::Warning => (&mut self.warnings, "warnings"),
        };
        *count += 1;
        match *count {
            0..=FINDINGS_MAX => self.found.push(finding),
            count if count == FINDINGS_MAX + 1 => self.found.push(Finding {
                code: "too-many-findings",
                message: format!("more than {FINDINGS_MAX} {what}, the rest is not listed"),
                mend: Some("mend these first".to_owned()),
                ..finding
            }),
            _ => {}
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether errors are counted only, and no longer kept.
    pub(crate) fn is_full(&self) -> bool {
        self.errors > FINDINGS_MAX
    }

    /// In the order of the text.
    pub(crate) fn into_sorted(mut self) -> Vec<Finding> {
        self.found.sort_by_key(|finding| (finding.span.start, finding.severity));
        self.found
    }
}
