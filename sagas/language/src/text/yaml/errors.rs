//! What is wrong with a text that is not YAML, in words that a newcomer to YAML can do something with.

use granit_parser::ErrorKind;
use snorri_saga::wire::limit;

/// The code, what is wrong, and the mend.
pub(super) fn explained(kind: &ErrorKind) -> (&'static str, String, &'static str) {
    let said = |message: &str, mend| ("syntax", message.to_owned(), mend);
    match kind {
        ErrorKind::RecursionLimitExceeded => (
            "too-deep",
            format!("lists and mappings nest deeper than {} levels", limit::JSON_DEPTH_MAX),
            "no definition needs that: is a bracket or an indentation wrong?",
        ),
        ErrorKind::TabInIndentation
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => said("a tab stands where YAML wants spaces", "indent with spaces"),
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => said(
            "a `:` stands where no field can begin",
            "put a text with a colon in quotes; else the line is indented wrongly or the line before is not finished",
        ),
        ErrorKind::InvalidIndentation
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::MappingKeyNotAllowed
        | ErrorKind::InvalidFlowScalarIndent
        | ErrorKind::InvalidBlockScalarIndent
        | ErrorKind::InvalidQuotedScalarIndent => said(
            "this line is not indented as what it belongs to",
            "fields of one mapping, and dashes of one list, begin in the same column",
        ),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            said("a field's name has no `:` behind it", "write `name: value`, with a space behind the colon")
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
            said("a text in quotes is not closed", "close it with the quote that it begins with")
        }
        ErrorKind::UnclosedFlowCollection { open } => {
            ("syntax", format!("the `{open}` is not closed"), "close it, and indent what stands in it")
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => (
            "syntax",
            format!("a `{close}` closes what a `{open}` opened"),
            "let each bracket and brace be closed by its own",
        ),
        ErrorKind::MisplacedFlowCollectionEnd => {
            said("this closes what was not opened", "leave it out, or put the text in quotes")
        }
        ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping => {
            said("the text ends inside brackets or braces", "close them")
        }
        ErrorKind::ExpectedFlowMappingSeparator => said(
            "between braces, a `,` or the `}` is missing here",
            "write `{ action: cancel, timeout: 5s }`",
        ),
        ErrorKind::ExpectedFlowSequenceSeparator => {
            said("between brackets, a `,` or the `]` is missing here", "write `[hotel, flight]`")
        }
        ErrorKind::UnknownAnchor => said(
            "the alias names an anchor that is not there before it",
            "set it with `&name` before a value; a text that begins with `*` needs quotes",
        ),
        ErrorKind::UnexpectedCharacter { character } => (
            "syntax",
            format!("no text begins with `{}` without quotes", character.escape_default()),
            "put the text in quotes",
        ),
        ErrorKind::UnknownQuotedScalarEscape => said(
            "there is no such escape between double quotes",
            "write `\\\\` for a backslash, or use single quotes, in which it is an ordinary character",
        ),
        ErrorKind::InvalidTrailingDoubleQuotedScalar | ErrorKind::InvalidTrailingSingleQuotedScalar => said(
            "something stands behind a text in quotes",
            "put all of it in quotes; a quote in single quotes is written twice",
        ),
        other => {
            ("syntax", format!("this is not YAML: {other}"), "see what stands here and in the line before")
        }
    }
}
