//! JSON into a tree. Not by way of YAML, which JSON nearly is: some escapes and long keys would not pass, and messages
//! would speak of indentation.

use std::borrow::Cow;
use std::collections::HashSet;

use snorri_saga::wire::limit;

use super::findings::{Finding, Findings};
use super::scalar;
use super::tree::{Data, Entry, Id, Span, Style, Tree};
use super::{VALUES_MAX, shown};

/// Why reading ends before the text does: it was said in the findings.
struct Stopped;

struct Reader<'a, 'f> {
    text: &'a str,
    at: usize,
    tree: Tree<'a>,
    findings: &'f mut Findings,
}

/// Reads the one value of a text.
pub(super) fn read<'a>(text: &'a str, findings: &mut Findings) -> Option<(Tree<'a>, Id)> {
    let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut reader = Reader { text, at, tree: Tree::default(), findings };
    let root = reader.document();
    root.ok().map(|root| (reader.tree, root))
}

impl<'a> Reader<'a, '_> {
    fn document(&mut self) -> Result<Id, Stopped> {
        self.blanks();
        if self.rest().is_empty() {
            return self.stop(
                "empty",
                "there is nothing in it",
                "a definition begins with its name: `{\"name\": ...`",
            );
        }
        let root = self.value(0)?;
        self.blanks();
        if !self.rest().is_empty() {
            return self.stop(
                "syntax",
                "something stands behind the end",
                "a file holds one definition: is a brace too much?",
            );
        }
        Ok(root)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// The character that is wrong, or the end.
    fn here(&self) -> Span {
        let length = self.rest().chars().next().map_or(0, char::len_utf8);
        Span::new(self.at, self.at + length)
    }

    fn stop<T>(&mut self, code: &'static str, message: impl Into<String>, mend: &str) -> Result<T, Stopped> {
        let span = self.here();
        self.findings.add(Finding::error(code, span, message).mend(mend));
        Err(Stopped)
    }

    fn add(&mut self, start: usize, data: Data<'a>) -> Result<Id, Stopped> {
        if self.tree.nodes.len() >= VALUES_MAX {
            let message = format!("there are more than {VALUES_MAX} values");
            return self.stop("too-large", message, "no definition needs so many");
        }
        Ok(self.tree.add(Span::new(start, self.at), data))
    }

    fn value(&mut self, depth: usize) -> Result<Id, Stopped> {
        if depth > limit::JSON_DEPTH_MAX {
            let message = format!("lists and objects nest deeper than {} levels", limit::JSON_DEPTH_MAX);
            return self.stop("too-deep", message, "no definition needs that: is a bracket wrong?");
        }
        let start = self.at;
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => {
                let text = self.string()?;
                self.add(start, Data::Text(text, Style::Double))
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'\'') => {
                self.stop("syntax", "JSON knows no single quotes", "write the text between double quotes")
            }
            Some(b'/' | b'#') => self.comment(),
            Some(b'}' | b']') => self.stop(
                "syntax",
                "a value is missing here",
                "write one, or leave out the `,` or `:` before it",
            ),
            None => self.stop("syntax", "the text ends where a value is missing", "write it"),
            Some(_) => self.word(),
        }
    }

    fn word(&mut self) -> Result<Id, Stopped> {
        let start = self.at;
        let length =
            self.rest().find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest().len());
        let data = match self.rest().get(..length).unwrap_or_default() {
            "null" => Data::Null,
            "true" => Data::Bool(true),
            "false" => Data::Bool(false),
            "" => return self.stop("syntax", "this is no value", "write a text between double quotes"),
            word => {
                let message = format!("`{}` is no value", shown(word));
                return self.stop("syntax", message, "write a text between double quotes");
            }
        };
        self.at += length;
        self.add(start, data)
    }

    fn number(&mut self) -> Result<Id, Stopped> {
        let start = self.at;
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let length = self.rest().find(|c: char| !is_part(c)).unwrap_or(self.rest().len());
        let text = self.rest().get(..length).unwrap_or_default();
        let span = Span::new(start, start + length);
        let is_json = serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok();
        if !is_json {
            let message = format!("`{}` is no number as JSON writes them", shown(text));
            self.findings.add(Finding::error("syntax", span, message).mend(
                "write it as 12, -0.5 or 1e3; a text, such as a duration, stands between double quotes",
            ));
            return Err(Stopped);
        }
        self.at += length;
        if let Err(why) = scalar::number(text) {
            self.findings.add(Finding::error("bad-number", span, why.message).mend(why.mend));
            return self.add(start, Data::Number(Cow::Borrowed("0")));
        }
        self.add(start, Data::Number(Cow::Borrowed(text)))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Stopped> {
        let start = self.at;
        let mut at = start + 1;
        let mut has_escapes = false;
        loop {
            match self.text.as_bytes().get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    at += 2;
                }
                Some(0..=0x1f) | None => {
                    return self.stop(
                        "syntax",
                        "a text in quotes is not closed in its line",
                        "close it with a `\"`; a line break in it is written `\\n`",
                    );
                }
                Some(_) => at += 1,
            }
        }
        let end = at + 1;
        let plain = self.text.get(start + 1..at).unwrap_or_default();
        let text = if has_escapes {
            let quoted = self.text.get(start..end).unwrap_or_default();
            match serde_json::from_str::<String>(quoted) {
                Ok(text) => Cow::Owned(text),
                Err(_) => {
                    return self.stop(
                        "syntax",
                        "there is an escape in this text that JSON does not know",
                        "write `\\\\` for a backslash, `\\\"` for a quote, `\\n` for a line break, `\\u00e9` for a character",
                    );
                }
            }
        } else {
            Cow::Borrowed(plain)
        };
        self.at = end;
        Ok(text)
    }

    fn list(&mut self, depth: usize) -> Result<Id, Stopped> {
        let start = self.at;
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return self.add(start, Data::List(items));
        }
        loop {
            self.blanks();
            items.push(self.value(depth + 1)?);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => {
                    return self.stop(
                        "syntax",
                        "in a list, a `,` or the `]` is missing here",
                        "write one of them",
                    );
                }
            }
        }
        self.at += 1;
        self.add(start, Data::List(items))
    }

    /// Where a field should begin, something else stands.
    fn no_name(&mut self) -> Result<Id, Stopped> {
        match self.peek() {
            None => self.stop("syntax", "the text ends inside an object", "close it with `}`"),
            Some(b'}') => self.stop(
                "syntax",
                "a field is missing here",
                "behind the last field stands no `,`: leave it out",
            ),
            Some(b'/' | b'#') => self.comment(),
            Some(_) => self.stop(
                "syntax",
                "the name of a field is missing here",
                "write it between double quotes: `\"name\": ...`",
            ),
        }
    }

    fn comment(&mut self) -> Result<Id, Stopped> {
        self.stop(
            "syntax",
            "JSON knows no comments",
            "leave it out, or write the definition in YAML, where comments begin with `#`",
        )
    }

    fn object(&mut self, depth: usize) -> Result<Id, Stopped> {
        let start = self.at;
        self.at += 1;
        let mut entries = Vec::new();
        let mut keys: HashSet<Cow<'a, str>> = HashSet::new();
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return self.add(start, Data::Map(entries));
        }
        loop {
            self.blanks();
            let from = self.at;
            if self.peek() != Some(b'"') {
                return self.no_name();
            }
            let name = self.string()?;
            let key = self.add(from, Data::Text(name.clone(), Style::Double))?;
            let span = self.tree.node(key).span;
            self.blanks();
            if self.peek() != Some(b':') {
                return self.stop(
                    "syntax",
                    "a `:` is missing here",
                    "write it between the field's name and its value",
                );
            }
            self.at += 1;
            self.blanks();
            let value = self.value(depth + 1)?;
            if keys.insert(name.clone()) {
                entries.push(Entry { key, value });
            } else {
                self.findings.add(
                    Finding::error("duplicate-field", span, format!("`{}` is said twice", shown(&name)))
                        .mend("leave one out: which one counts would be left to chance"),
                );
            }
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => {
                    return self.stop(
                        "syntax",
                        "in an object, a `,` or the `}` is missing here",
                        "write one of them",
                    );
                }
            }
        }
        self.at += 1;
        self.add(start, Data::Map(entries))
    }
}
