//! Reading: from the text of a definition, YAML or JSON, to a draft, with everything that is wrong with its shape and the
//! place of each part.

use snorri_saga::definition::Draft;

mod decode;
mod findings;
mod json;
mod lines;
mod scalar;
mod tree;
mod yaml;

pub use lines::Position;

pub(crate) use findings::{Finding, Findings};
pub(crate) use lines::Lines;
pub(crate) use tree::{Id, Span, Tree};

/// The largest text of a definition, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The most values in one text.
const VALUES_MAX: usize = 250_000;
/// The most characters of a text of people's in a message.
const SHOWN_MAX: usize = 80;

/// What a definition is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2. JSON is YAML, too, apart from some rarities.
    Yaml,
    /// JSON.
    Json,
}

impl Format {
    /// By a file's name: `.json` is JSON.
    pub fn of(file: &str) -> Self {
        let extension = file.rsplit_once('.').map(|(_, extension)| extension);
        if extension.is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            Self::Json
        } else {
            Self::Yaml
        }
    }
}

/// A text that was read.
pub(crate) struct Reading<'a> {
    pub(crate) lines: Lines<'a>,
    pub(crate) places: Places<'a>,
    pub(crate) draft: Option<Draft>,
    pub(crate) findings: Findings,
    /// Places where the draft is not what the text says: what else is found there is a consequence.
    pub(crate) spoilt: Vec<String>,
}

/// Where the parts of a text stand.
pub(crate) struct Places<'a> {
    text: &'a str,
    tree: Option<(Tree<'a>, Id)>,
}

impl Places<'_> {
    /// Where the value stands that a JSON pointer leads to, from that byte of its text on.
    pub(crate) fn of(&self, pointer: &str, offset: Option<usize>) -> Span {
        let Some((tree, root)) = &self.tree else { return Span::default() };
        let whole = tree.place(*root, pointer);
        let inside = offset.and_then(|offset| {
            let node = tree.node(tree.at(*root, pointer)?);
            let tree::Data::Text(value, style) = &node.data else { return None };
            let at = lines::source_of(self.text, node.span, *style, value, offset);
            Some(Span::new(at, self.word(at).min(node.span.end)))
        });
        inside.unwrap_or(whole)
    }

    /// Whether the text has a value there, be it nothing.
    pub(crate) fn has(&self, pointer: &str) -> bool {
        self.tree.as_ref().is_some_and(|(tree, root)| tree.at(*root, pointer).is_some())
    }

    /// Where the key of a field stands.
    pub(crate) fn key(&self, pointer: &str) -> Span {
        self.tree.as_ref().map_or_else(Span::default, |(tree, root)| tree.key_place(*root, pointer))
    }

    /// The end of the word that begins there, or of the one character.
    fn word(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let word = rest.get(..length).unwrap_or_default().trim_end_matches('.');
        let first = rest.chars().next().map_or(0, char::len_utf8);
        at + word.len().max(first)
    }
}

/// Reads a text.
pub(crate) fn read(text: &str, format: Format) -> Reading<'_> {
    let mut findings = Findings::default();
    let reading = |tree, draft, findings, spoilt| Reading {
        lines: Lines::new(text),
        places: Places { text, tree },
        draft,
        findings,
        spoilt,
    };
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the text has {} bytes", text.len());
        let mend = format!("at most {TEXT_BYTES_MAX}");
        findings.add(Finding::error("too-large", Span::default(), message).mend(mend));
        return reading(None, None, findings, Vec::new());
    }
    let tree = match format {
        Format::Yaml => yaml::read(text, &mut findings),
        Format::Json => json::read(text, &mut findings),
    };
    let Some((tree, root)) = tree else { return reading(None, None, findings, Vec::new()) };
    nul(&tree, &mut findings);
    let (draft, spoilt) = {
        let mut decoder =
            decode::Decoder { tree: &tree, text, format, findings: &mut findings, spoilt: Vec::new() };
        (decode::definition(&mut decoder, root), decoder.spoilt)
    };
    reading(Some((tree, root)), draft, findings, spoilt)
}

/// Postgres and people's terminals take no U+0000, and no definition needs one.
fn nul(tree: &Tree<'_>, findings: &mut Findings) {
    for node in &tree.nodes {
        if let tree::Data::Text(text, _) = &node.data
            && text.contains('\0')
        {
            findings.add(
                Finding::error("nul-character", node.span, "the text has the character U+0000")
                    .mend("leave it out"),
            );
        }
    }
}

/// A text of people's, cut to what fits into a message, on one line.
pub(crate) fn shown(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    if text.chars().nth(SHOWN_MAX).is_some() {
        text.chars().take(SHOWN_MAX).map(clean).chain(['…']).collect()
    } else {
        text.chars().map(clean).collect()
    }
}

#[cfg(test)]
mod tests {
    use snorri_saga::definition::{
        DraftApproval, DraftCompensation, DraftCompensationFields, DraftForEach, DraftSignal, DraftStep,
        OnNoDecision, OnSilence, SiblingFailure, StepKind,
    };
    use snorri_saga::retry::RetryPolicy;
    use snorri_saga::time::Millis;

    use super::*;

    /// Every field there is: one that is added must be read, too.
    fn whole() -> Draft {
        let retry =
            RetryPolicy { attempts: 7, backoff: Millis(70), factor: 1.5, cap: Millis(700), jitter: 0.7 };
        let step = DraftStep {
            name: "a".to_owned(),
            needs: Some(vec!["b".to_owned()]),
            when: Some("input.x > 0".to_owned()),
            for_each: Some(DraftForEach {
                items: serde_json::json!([1, "two", null]),
                name: Some("row".to_owned()),
                concurrency: Some(4),
                max: Some(9),
            }),
            participant: Some("p".to_owned()),
            action: Some("do".to_owned()),
            saga: Some("s".to_owned()),
            version: Some(3),
            signal: Some(DraftSignal {
                name: Some("paid".to_owned()),
                timeout: Millis(1000),
                on_timeout: Some(OnSilence::Continue),
                default: Some(serde_json::json!({"amount": 12.5})),
            }),
            approval: Some(DraftApproval { timeout: Millis(2000), on_timeout: Some(OnNoDecision::Approve) }),
            delay: Some(Millis(3000)),
            kind: Some(StepKind::Retriable),
            compensation: Some(DraftCompensation::Long(DraftCompensationFields {
                action: Some("undo".to_owned()),
                timeout: Some(Millis(4000)),
                retry: Some(retry),
            })),
            timeout: Some(Millis(5000)),
            retry: Some(retry),
            input: Some(
                serde_json::json!({"a/b~c": ["${{ input.x }}", true, -1.25e3, 12_345_678_901_234_567_890_u64]}),
            ),
        };
        Draft {
            name: "everything".to_owned(),
            description: Some("é \"quoted\"\n😀".to_owned()),
            window: Some(Millis(60_000)),
            tags: [("k".to_owned(), "v".to_owned())].into(),
            input: Some(serde_json::json!({"type": "object"})),
            on_sibling_failure: Some(SiblingFailure::Race),
            steps: vec![step, DraftStep { name: "b".to_owned(), ..DraftStep::default() }],
        }
    }

    #[test]
    fn every_field_is_read_from_both_formats() {
        let text = serde_json::to_string_pretty(&whole()).expect("JSON");
        for format in [Format::Json, Format::Yaml] {
            let reading = read(&text, format);
            assert!(!reading.findings.has_errors(), "{:?}", reading.findings);
            assert_eq!(reading.draft.as_ref(), Some(&whole()), "{format:?}");
        }
    }

    #[test]
    fn every_part_is_found_where_it_stands() {
        let text = "# first\nname: order\ntags: { \"a/b\": \"x\" }\nsteps:\n  - name: pay\n    needs: [ b,  c ]\n    retry:\n      attempts: 3\n  - &x\n    delay: 5s\n  - *x\n";
        let reading = read(text, Format::Yaml);
        let at = |pointer: &str| {
            let place = reading.places.of(pointer, None);
            let start = reading.lines.position(place.start);
            (start.line, start.column, text.get(place.start..place.end).unwrap_or("?"))
        };
        assert_eq!(at("/name"), (2, 7, "order"));
        assert_eq!(at("/tags/a~1b"), (3, 16, "\"x\""));
        assert_eq!(at("/tags"), (3, 1, "tags"));
        assert_eq!(at("/steps/0/needs/1"), (6, 18, "c"));
        assert_eq!(at("/steps/0/retry"), (7, 5, "retry"));
        assert_eq!(at("/steps/0/retry/attempts"), (8, 17, "3"));
        // An alias is what it stands for.
        assert_eq!(at("/steps/2/delay"), (10, 12, "5s"));
        // What is not there is missing in what it would be a part of.
        assert_eq!(at("/steps/0/compensation/retry"), (5, 11, "pay"));
        assert_eq!(at("/steps/1/name"), (10, 5, "delay"));
        assert_eq!(at("/window"), (2, 7, "order"));
        assert_eq!(at("/steps/7"), (4, 1, "steps"));
    }

    #[test]
    fn what_yaml_merges_in_counts_where_nothing_else_is_said() {
        let text = "name: a\nsteps:\n- &one { name: x, participant: p, action: one }\n- { <<: *one, name: y }\n- { name: z, <<: [*one, { timeout: 3s, action: two }] }\n";
        let reading = read(text, Format::Yaml);
        let steps = reading.draft.expect("a draft").steps;
        let said = |step: &DraftStep| (step.name.clone(), step.action.clone(), step.timeout);
        let one = Some("one".to_owned());
        assert_eq!(
            steps.iter().map(said).collect::<Vec<_>>(),
            [
                ("x".to_owned(), one.clone(), None),
                ("y".to_owned(), one.clone(), None),
                ("z".to_owned(), one, Some(Millis(3000)))
            ]
        );
    }
}
