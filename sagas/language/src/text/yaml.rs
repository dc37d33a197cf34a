//! YAML 1.2 into a tree. What it may take is limited: a small text may name itself so often that its value is huge, and
//! may nest so deep that whoever walks through it falls.

use std::borrow::Cow;
use std::collections::HashSet;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use snorri_saga::definition::STEPS_MAX;
use snorri_saga::wire::limit;

use super::findings::{Finding, Findings};
use super::scalar::{self, Scalar};
use super::tree::{Data, Entry, Id, Span, Style, Tree};
use super::{TEXT_BYTES_MAX, VALUES_MAX, shown};

mod errors;

/// The most anchors, each of which is kept to the end.
const ANCHORS_MAX: usize = 1000;
/// The most aliases, merges included.
const ALIASES_MAX: usize = 5000;
/// The most values that all aliases together stand for.
const ALIASED_VALUES_MAX: usize = 20_000;
/// The most text that all aliases together stand for, in bytes.
const ALIASED_BYTES_MAX: usize = 4 * TEXT_BYTES_MAX;
/// So many steps are read, so that what is wrong with the first ones is told, too.
const STEPS_READ_MAX: usize = 1000;
/// The most fields that merges may put into mappings.
const MERGED_MAX: usize = 20_000;

/// What an anchored value would be if each alias in it were written out.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    values: usize,
    bytes: usize,
    height: usize,
}

impl Extent {
    fn join(&mut self, part: Self) {
        self.values = self.values.saturating_add(part.values);
        self.bytes = self.bytes.saturating_add(part.bytes);
        self.height = self.height.max(part.height + 1);
    }
}

/// A list or a mapping that is not closed yet.
struct Open<'a> {
    span: Span,
    anchor: usize,
    extent: Extent,
    parts: Parts<'a>,
}

enum Parts<'a> {
    List(Vec<Id>),
    Map { entries: Vec<Entry>, keys: HashSet<Cow<'a, str>>, key: Option<Id>, merged: Vec<Id> },
}

/// Why reading ends before the text does: it was said in the findings.
struct Stopped;

struct Reader<'a, 'f> {
    text: &'a str,
    tree: Tree<'a>,
    findings: &'f mut Findings,
    open: Vec<Open<'a>>,
    root: Option<Id>,
    /// By anchor; of one that is open still, nothing.
    anchors: Vec<(usize, Id, Extent)>,
    aliases: usize,
    aliased: Extent,
    merged: usize,
    documents: usize,
}

/// Reads the one document of a text.
pub(super) fn read<'a>(text: &'a str, findings: &mut Findings) -> Option<(Tree<'a>, Id)> {
    let options = granit_parser::options! {
        flow_nesting_limit: limit::JSON_DEPTH_MAX,
        block_nesting_limit: limit::JSON_DEPTH_MAX,
    };
    let mut reader = Reader {
        text,
        tree: Tree::default(),
        findings,
        open: Vec::new(),
        root: None,
        anchors: Vec::new(),
        aliases: 0,
        aliased: Extent::default(),
        merged: 0,
        documents: 0,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let took = match event {
            Ok((event, span)) => {
                let bytes = span.byte_range().unwrap_or_default();
                reader.take(event, Span::new(bytes.start, bytes.end))
            }
            Err(error) => reader.broken(&error),
        };
        if took.is_err() {
            return None;
        }
    }
    let Some(root) = reader.root else {
        let mend = "a definition begins with its name: `name: order`";
        reader.findings.add(Finding::error("empty", Span::new(0, 0), "there is nothing in it").mend(mend));
        return None;
    };
    Some((reader.tree, root))
}

impl<'a> Reader<'a, '_> {
    fn stop(
        &mut self,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Result<(), Stopped> {
        self.findings.add(Finding::error(code, span, message).mend(mend));
        Err(Stopped)
    }

    fn take(&mut self, event: Event<'a>, span: Span) -> Result<(), Stopped> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.stop(
                        Span::new(span.start, span.start + 3),
                        "several-documents",
                        "a second document begins here",
                        "a file holds one definition: give each a file of its own",
                    );
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let data = self.scalar(text, style, tag.as_deref(), span)?;
                let bytes = match &data {
                    Data::Text(text, _) | Data::Number(text) => text.len(),
                    Data::Null | Data::Bool(_) | Data::List(_) | Data::Map(_) => 5,
                };
                let id = self.add(span, data)?;
                self.put(id, anchor, Extent { values: 1, bytes, height: 0 }, span)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.untagged(tag.as_deref(), "seq", span)?;
                self.begin(span, anchor, Parts::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.untagged(tag.as_deref(), "map", span)?;
                let (entries, keys, merged) = (Vec::new(), HashSet::new(), Vec::new());
                self.begin(span, anchor, Parts::Map { entries, keys, key: None, merged })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            _ => Ok(()),
        }
    }

    fn add(&mut self, span: Span, data: Data<'a>) -> Result<Id, Stopped> {
        if self.tree.nodes.len() >= VALUES_MAX {
            self.stop(
                span,
                "too-large",
                format!("there are more than {VALUES_MAX} values"),
                "no definition needs so many",
            )?;
        }
        Ok(self.tree.add(span, data))
    }

    fn scalar(
        &mut self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<Data<'a>, Stopped> {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        let is_tagged_text = match tag {
            None => false,
            Some(tag) if tag.is_yaml_core_schema_tag("str") => true,
            Some(tag) => {
                let shown = shown(&tag.original());
                return self
                    .stop(
                        span,
                        "yaml-tag",
                        format!("the YAML tag `{shown}` means nothing here"),
                        "leave it out: a text in quotes is a text, and the rest is told by how it is written",
                    )
                    .map(|()| Data::Null);
            }
        };
        if style != Style::Plain || is_tagged_text {
            return Ok(Data::Text(text, style));
        }
        match scalar::plain(&text) {
            Scalar::Null => Ok(Data::Null),
            Scalar::Bool(value) => Ok(Data::Bool(value)),
            Scalar::Number(number) => Ok(Data::Number(Cow::Owned(number))),
            Scalar::Text => Ok(Data::Text(text, Style::Plain)),
            Scalar::NotANumber(why) => {
                self.findings.add(Finding::error("bad-number", span, why.message).mend(why.mend));
                Ok(Data::Number(Cow::Borrowed("0")))
            }
        }
    }

    fn untagged(&mut self, tag: Option<&Tag>, core: &str, span: Span) -> Result<(), Stopped> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema_tag(core) => {
                let shown = shown(&tag.original());
                let start = Span::new(span.start, span.start + 1);
                self.stop(
                    start,
                    "yaml-tag",
                    format!("the YAML tag `{shown}` means nothing here"),
                    "leave it out",
                )
            }
            Some(_) | None => Ok(()),
        }
    }

    fn begin(&mut self, span: Span, anchor: usize, parts: Parts<'a>) -> Result<(), Stopped> {
        if self.open.len() >= limit::JSON_DEPTH_MAX {
            return self.too_deep(Span::new(span.start, span.start + 1));
        }
        self.open.push(Open { span, anchor, extent: Extent { values: 1, ..Extent::default() }, parts });
        Ok(())
    }

    fn too_deep(&mut self, span: Span) -> Result<(), Stopped> {
        self.stop(
            span,
            "too-deep",
            format!("lists and mappings nest deeper than {} levels", limit::JSON_DEPTH_MAX),
            "no definition needs that: is a bracket or an indentation wrong?",
        )
    }

    fn end(&mut self, span: Span) -> Result<(), Stopped> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let whole = Span::new(open.span.start, span.end);
        let data = match open.parts {
            Parts::List(items) => Data::List(items),
            Parts::Map { mut entries, keys, merged, .. } => {
                self.merge(&mut entries, &keys, &merged)?;
                Data::Map(entries)
            }
        };
        let id = self.add(whole, data)?;
        self.put(id, open.anchor, open.extent, whole)
    }

    /// A value is whole: it goes into what it is a part of.
    fn put(&mut self, id: Id, anchor: usize, extent: Extent, span: Span) -> Result<(), Stopped> {
        if anchor > 0 {
            if self.anchors.len() >= ANCHORS_MAX {
                return self.stop(
                    span,
                    "too-many-aliases",
                    format!("there are more than {ANCHORS_MAX} anchors"),
                    "write the values out",
                );
            }
            self.anchors.push((anchor, id, extent));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(id);
            return Ok(());
        };
        open.extent.join(extent);
        let (entries, keys, key, merged) = match &mut open.parts {
            Parts::List(items) => {
                items.push(id);
                let is_far_too_long =
                    items.len() > STEPS_READ_MAX && self.open.len() == 2 && self.is_in_steps();
                if is_far_too_long {
                    return self.stop(
                        span,
                        "too-many-steps",
                        format!("more than {STEPS_READ_MAX} steps, the rest is not even read"),
                        format!("at most {STEPS_MAX}; a sub-saga or `for_each` may do the work of many"),
                    );
                }
                return Ok(());
            }
            Parts::Map { entries, keys, key, merged } => (entries, keys, key, merged),
        };
        let Some(name) = key.take() else {
            return self.key(id, span);
        };
        let text = match &self.tree.node(name).data {
            Data::Text(text, style) => (text.clone(), *style),
            _ => (Cow::Borrowed(""), Style::Plain),
        };
        if text == (Cow::Borrowed("<<"), Style::Plain) {
            merged.push(id);
        } else if keys.insert(text.0.clone()) {
            entries.push(Entry { key: name, value: id });
        } else {
            let span = self.tree.node(name).span;
            self.findings.add(
                Finding::error("duplicate-field", span, format!("`{}` is said twice", shown(&text.0)))
                    .mend("leave one out: which one counts would be left to chance"),
            );
        }
        Ok(())
    }

    /// Whether what is open is the value of the definition's `steps`.
    fn is_in_steps(&self) -> bool {
        let Some(Open { parts: Parts::Map { key: Some(key), .. }, .. }) = self.open.first() else {
            return false;
        };
        matches!(&self.tree.node(*key).data, Data::Text(text, _) if text == "steps")
    }

    /// A key is read. Whatever it looks like, it is a text.
    fn key(&mut self, id: Id, span: Span) -> Result<(), Stopped> {
        let text: Cow<'a, str> = match &self.tree.node(id).data {
            Data::Text(..) => Cow::Borrowed(""),
            Data::Null | Data::Bool(_) | Data::Number(_) => {
                Cow::Borrowed(self.text.get(span.start..span.end).unwrap_or_default())
            }
            Data::List(_) | Data::Map(_) => {
                return self.stop(
                    Span::new(span.start, span.start + 1),
                    "bad-key",
                    "a list or a mapping is no name of a field",
                    "write the field's name before the `:`; a text that begins with a bracket or a brace needs quotes",
                );
            }
        };
        let at = usize::try_from(id.0).unwrap_or(usize::MAX);
        if let Some(node) = self.tree.nodes.get_mut(at)
            && !matches!(node.data, Data::Text(..))
        {
            node.data = Data::Text(text, Style::Plain);
        }
        if let Some(Open { parts: Parts::Map { key, .. }, .. }) = self.open.last_mut() {
            *key = Some(id);
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stopped> {
        let Some((_, id, extent)) = self.anchors.iter().rev().find(|(known, ..)| *known == anchor).copied()
        else {
            return self.stop(
                span,
                "bad-alias",
                "the alias stands for a value that it is itself a part of",
                "write out what is meant",
            );
        };
        self.aliases += 1;
        self.aliased.join(extent);
        let is_key = matches!(self.open.last(), Some(Open { parts: Parts::Map { key: None, .. }, .. }));
        if is_key {
            return self.stop(span, "bad-key", "an alias is no name of a field", "write the name out");
        }
        if self.aliases > ALIASES_MAX
            || self.aliased.values > ALIASED_VALUES_MAX
            || self.aliased.bytes > ALIASED_BYTES_MAX
        {
            return self.stop(
                span,
                "too-many-aliases",
                format!(
                    "the aliases up to here stand for more than {ALIASED_VALUES_MAX} values or {ALIASED_BYTES_MAX} bytes"
                ),
                "no definition needs so many: write the values out",
            );
        }
        if self.open.len() + extent.height > limit::JSON_DEPTH_MAX {
            return self.too_deep(span);
        }
        self.put(id, 0, extent, span)
    }

    /// Fields that are merged in count where the mapping does not say them itself.
    fn merge(
        &mut self,
        entries: &mut Vec<Entry>,
        keys: &HashSet<Cow<'a, str>>,
        merged: &[Id],
    ) -> Result<(), Stopped> {
        if merged.is_empty() {
            return Ok(());
        }
        let mut keys = keys.clone();
        for id in merged {
            let node = self.tree.node(*id);
            let span = node.span;
            let maps = match &node.data {
                Data::Map(_) => vec![*id],
                Data::List(items) => items.clone(),
                Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(..) => Vec::new(),
            };
            let all_maps = maps.iter().all(|map| matches!(self.tree.node(*map).data, Data::Map(_)));
            if maps.is_empty() || !all_maps {
                return self.stop(
                    span,
                    "bad-merge",
                    "what `<<` merges in is no mapping",
                    "name one, or a list of them: `<<: *defaults`",
                );
            }
            for map in maps {
                let Data::Map(more) = self.tree.node(map).data.clone() else { continue };
                self.merged += more.len();
                if self.merged > MERGED_MAX {
                    return self.stop(
                        span,
                        "too-many-aliases",
                        format!("`<<` merges more than {MERGED_MAX} fields in"),
                        "write them out",
                    );
                }
                for entry in more {
                    if let Data::Text(key, _) = &self.tree.node(entry.key).data
                        && keys.insert(key.clone())
                    {
                        entries.push(entry);
                    }
                }
            }
        }
        Ok(())
    }

    fn broken(&mut self, error: &ScanError) -> Result<(), Stopped> {
        let at = error.marker().byte_offset().unwrap_or(0);
        let (code, message, mend) = errors::explained(error.kind());
        // The tab itself, where the scanner has not come to it yet.
        let tab =
            self.text.get(at..).and_then(|rest| rest.find('\t')).filter(|_| message.starts_with("a tab"));
        let at = at + tab.unwrap_or(0);
        let length = self.text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        self.stop(Span::new(at, at + length), code, message, mend)
    }
}
