//! From a tree to a draft. All that is wrong with its shape is told at once, each with its place; what is wrong is left
//! out or taken as it was perhaps meant, so that the rest can be checked too.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};
use snorri_saga::expression::nearest;
use snorri_saga::json::pointer_part;
use snorri_saga::time::Millis;

use super::findings::{Finding, Findings};
use super::tree::{Data, Entry, Id, Span, Style, Tree};
use super::{Format, shown};

mod definition;

pub(super) use definition::definition;

/// The mappings whose fields are known.
pub(super) struct Shape {
    /// In words for people.
    title: &'static str,
    fields: &'static [&'static str],
    /// What others call a field, and what it is called here.
    others: &'static [(&'static str, &'static str)],
}

/// A place in the draft, as a chain of steps down from the root.
#[derive(Clone, Copy)]
pub(super) struct At<'p> {
    above: Option<&'p At<'p>>,
    segment: Segment<'p>,
}

#[derive(Clone, Copy)]
enum Segment<'p> {
    Root,
    Field(&'p str),
    Item(usize),
}

impl At<'_> {
    pub(super) const ROOT: At<'static> = At { above: None, segment: Segment::Root };

    fn field<'p>(&'p self, name: &'p str) -> At<'p> {
        At { above: Some(self), segment: Segment::Field(name) }
    }

    fn item(&self, nth: usize) -> At<'_> {
        At { above: Some(self), segment: Segment::Item(nth) }
    }

    fn pointer(&self) -> String {
        let mut pointer = self.above.map(At::pointer).unwrap_or_default();
        match self.segment {
            Segment::Root => {}
            Segment::Field(name) => {
                let _ = write!(pointer, "/{}", pointer_part(name));
            }
            Segment::Item(nth) => {
                let _ = write!(pointer, "/{nth}");
            }
        }
        pointer
    }
}

/// Decodes values, and says what is wrong with them.
pub(super) struct Decoder<'a, 't, 'f> {
    pub(super) tree: &'t Tree<'a>,
    pub(super) text: &'a str,
    pub(super) format: Format,
    pub(super) findings: &'f mut Findings,
    /// Places where the draft is not what the text says.
    pub(super) spoilt: Vec<String>,
}

/// A mapping's fields by the names that are known.
pub(super) struct Fields<'t> {
    found: Vec<(&'static str, Entry)>,
    tree: &'t Tree<'t>,
}

impl Fields<'_> {
    /// The field, if it is there and not empty.
    fn get(&self, name: &str) -> Option<Id> {
        let (_, entry) = self.found.iter().find(|(known, _)| *known == name)?;
        (!matches!(self.tree.node(entry.value).data, Data::Null)).then_some(entry.value)
    }
}

impl<'a: 't, 't> Decoder<'a, 't, '_> {
    fn error(
        &mut self,
        code: &'static str,
        span: Span,
        at: &At<'_>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let pointer = at.pointer();
        self.spoilt.push(pointer.clone());
        self.findings.add(Finding::error(code, span, message).at(pointer).mend(mend));
    }

    /// What a value is, for a message.
    fn kind(&self, id: Id) -> &'static str {
        match &self.tree.node(id).data {
            Data::Null => "nothing",
            Data::Bool(_) => "a truth value",
            Data::Number(_) => "a number",
            Data::Text(..) => "a text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    fn wrong_type(&mut self, id: Id, at: &At<'_>, expected: &str, mend: &str) {
        let span = self.tree.place_of(id);
        let name = match at.segment {
            Segment::Field(name) => format!("`{}`", shown(name)),
            Segment::Item(_) | Segment::Root => "this".to_owned(),
        };
        let kind = self.kind(id);
        self.error("wrong-type", span, at, format!("{name} is {expected}, not {kind}"), mend);
    }

    /// The fields of a mapping. One that is not known is told, and taken for the one that was perhaps meant.
    fn fields(&mut self, id: Id, at: &At<'_>, shape: &Shape) -> Option<Fields<'t>> {
        let tree = self.tree;
        let Data::Map(entries) = &tree.node(id).data else {
            let message = format!("{} is a mapping, not {}", shape.title, self.kind(id));
            let mend = format!("its fields are {}", listed(shape.fields));
            self.error("wrong-type", tree.place_of(id), at, message, mend);
            return None;
        };
        let mut found: Vec<(&'static str, Entry)> = Vec::new();
        let mut unknown = Vec::new();
        for entry in entries {
            let name = tree.key(*entry);
            match shape.fields.iter().find(|known| **known == name) {
                Some(known) => {
                    if matches!(tree.node(entry.value).data, Data::Null) {
                        let span = tree.node(entry.key).span;
                        self.findings.add(
                            Finding::warning(
                                "no-value",
                                span,
                                format!("`{known}` has no value and counts as left out"),
                            )
                            .at(at.field(known).pointer())
                            .mend("give it one, or leave it out"),
                        );
                    }
                    found.push((known, *entry));
                }
                None => unknown.push(*entry),
            }
        }
        for entry in unknown {
            self.unknown(entry, at, shape, &mut found);
        }
        Some(Fields { found, tree })
    }

    fn unknown(&mut self, entry: Entry, at: &At<'_>, shape: &Shape, found: &mut Vec<(&'static str, Entry)>) {
        if self.findings.is_full() {
            return;
        }
        let name = self.tree.key(entry);
        let lower = name.to_ascii_lowercase().replace('-', "_");
        let other = shape.others.iter().find(|(other, _)| *other == lower).map(|(_, known)| *known);
        let near = shape.fields.iter().find(|known| **known == lower).copied();
        let near = near.or(other).or_else(|| {
            let near = nearest(name, shape.fields.iter().copied())?;
            shape.fields.iter().find(|known| **known == near).copied()
        });
        let mend = match near {
            Some(near) if other == Some(near) => format!("it is called `{near}` here"),
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its fields are {}", listed(shape.fields)),
        };
        let span = self.tree.node(entry.key).span;
        let message = format!("{} has no field `{}`", shape.title, shown(name));
        self.error("unknown-field", span, &at.field(name), message, mend);
        if let Some(near) = near
            && !found.iter().any(|(known, _)| *known == near)
        {
            // What is wrong with its value is told with the name that it has.
            self.spoilt.push(at.field(near).pointer());
            found.push((near, entry));
        }
    }

    fn missing(&mut self, id: Id, at: &At<'_>, name: &'static str, shape: &Shape, mend: &str) {
        let span = self.tree.place(id, &format!("/{name}"));
        self.error(
            "missing-field",
            span,
            &at.field(name),
            format!("{} needs the field `{name}`", shape.title),
            mend,
        );
    }

    /// A text. In YAML a number or a truth value without quotes is taken for the text that it looks like.
    fn string(&mut self, id: Id, at: &At<'_>) -> Option<String> {
        let tree = self.tree;
        let node = tree.node(id);
        match &node.data {
            Data::Text(text, _) => Some(text.clone().into_owned()),
            Data::Bool(_) | Data::Number(_) if self.format == Format::Yaml => {
                let text = self.text.get(node.span.start..node.span.end).unwrap_or_default();
                let kind = self.kind(id);
                self.findings.add(
                    Finding::warning(
                        "text-without-quotes",
                        node.span,
                        format!("a text is meant, and without quotes `{}` is {kind}", shown(text)),
                    )
                    .at(at.pointer())
                    .mend("put it in quotes"),
                );
                Some(text.to_owned())
            }
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::List(_) | Data::Map(_) => {
                self.wrong_type(id, at, "a text", "write a text");
                None
            }
        }
    }

    fn duration(&mut self, id: Id, at: &At<'_>) -> Option<Millis> {
        let tree = self.tree;
        let node = tree.node(id);
        match &node.data {
            Data::Text(text, _) => match Millis::parse(text) {
                Ok(span) => Some(span),
                Err(_) if text.parse::<u32>().is_ok() => self.without_unit(text, node.span, at),
                Err(_) => {
                    let message = format!("`{}` is no duration", shown(text));
                    let mend = "write whole numbers and their units, such as 250ms, 10s, 5m, 1h or 1m30s; at most 366d";
                    self.error("bad-duration", node.span, at, message, mend);
                    None
                }
            },
            Data::Number(number) => self.without_unit(number, node.span, at),
            Data::Null | Data::Bool(_) | Data::List(_) | Data::Map(_) => {
                self.wrong_type(id, at, "a duration", "write a number and its unit, such as 10s");
                None
            }
        }
    }

    fn without_unit(&mut self, number: &str, span: Span, at: &At<'_>) -> Option<Millis> {
        let message = format!("`{}` is a duration without a unit", shown(number));
        let mend = match number.parse::<u32>() {
            Ok(number) => format!("write the unit: `{number}s` for seconds, `{number}ms` for milliseconds"),
            Err(_) => "write a whole number and its unit, such as 1500ms".to_owned(),
        };
        self.error("bad-duration", span, at, message, mend);
        None
    }

    fn number(&mut self, id: Id, at: &At<'_>) -> Option<&'t str> {
        let tree = self.tree;
        match &tree.node(id).data {
            Data::Number(number) => Some(number),
            Data::Text(text, style) if *style != Style::Plain && text.parse::<f64>().is_ok() => {
                self.wrong_type(id, at, "a number", "write it without quotes");
                None
            }
            _ => {
                self.wrong_type(id, at, "a number", "write a number");
                None
            }
        }
    }

    fn whole(&mut self, id: Id, at: &At<'_>) -> Option<u32> {
        let number = self.number(id, at)?;
        if let Ok(number) = number.parse::<u32>() {
            return Some(number);
        }
        let span = self.tree.node(id).span;
        let message = format!("`{}` is no number of this kind", shown(number));
        self.error("bad-number", span, at, message, "write a whole number from 0 to 4294967295");
        None
    }

    fn fraction(&mut self, id: Id, at: &At<'_>) -> Option<f64> {
        self.number(id, at)?.parse().ok()
    }

    /// One of some words.
    fn choice<T: Copy>(&mut self, id: Id, at: &At<'_>, what: &str, words: &[(&'static str, T)]) -> Option<T> {
        let tree = self.tree;
        let names: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
        let Data::Text(text, _) = &tree.node(id).data else {
            self.wrong_type(id, at, &format!("one of {}", listed(&names)), "write one of these words");
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.as_ref()) {
            return Some(*value);
        }
        let near = nearest(text, names.iter().copied());
        let mend = match near {
            Some(near) => format!("did you mean `{near}`? There is {}", listed(&names)),
            None => format!("use one of {}", listed(&names)),
        };
        let message = format!("there is no {what} `{}`", shown(text));
        self.error("unknown-word", tree.node(id).span, at, message, mend);
        // What was perhaps meant, so that nothing is told that follows from the slip.
        words.iter().find(|(word, _)| Some(*word) == near).map(|(_, value)| *value)
    }

    fn list(&mut self, id: Id, at: &At<'_>, expected: &str, mend: &str) -> Option<&'t [Id]> {
        let tree = self.tree;
        if let Data::List(items) = &tree.node(id).data {
            return Some(items);
        }
        self.wrong_type(id, at, expected, mend);
        None
    }

    /// A value that has a limit: one that is larger is not even looked at.
    fn limited(&mut self, id: Id, at: &At<'_>, most: usize, what: &str) -> Option<Value> {
        if !self.tree.is_larger(id, most) {
            return Some(self.value(id));
        }
        let span = self.tree.place_of(id);
        self.error("too-large", span, at, format!("{what} has more than {most} values"), "make it smaller");
        None
    }

    /// Any value.
    fn value(&self, id: Id) -> Value {
        match &self.tree.node(id).data {
            Data::Null => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Number(number) => serde_json::from_str::<Number>(number).map_or(Value::Null, Value::Number),
            Data::Text(text, _) => Value::String(text.clone().into_owned()),
            Data::List(items) => Value::Array(items.iter().map(|item| self.value(*item)).collect()),
            Data::Map(entries) => {
                let mut fields = Map::new();
                for entry in entries {
                    fields.insert(self.tree.key(*entry).to_owned(), self.value(entry.value));
                }
                Value::Object(fields)
            }
        }
    }
}

/// Words for a message.
fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
