//! A text as a tree of values that know where they stand. Both readers make it, the one of YAML and the one of JSON.

use std::borrow::Cow;

/// A part of the text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }
}

/// A value's number in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) u32);

/// How a text is written, which says where its characters stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// YAML without quotes.
    Plain,
    /// YAML in single quotes.
    Single,
    /// In double quotes, as in JSON.
    Double,
    /// A block of YAML: `|` or `>`.
    Block,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data<'a> {
    Null,
    Bool(bool),
    /// Its digits, as JSON writes them.
    Number(Cow<'a, str>),
    Text(Cow<'a, str>, Style),
    List(Vec<Id>),
    /// In the order of the text; no key is there twice.
    Map(Vec<Entry>),
}

/// A field of a mapping.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Entry {
    /// A text.
    pub(crate) key: Id,
    pub(crate) value: Id,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node<'a> {
    pub(crate) span: Span,
    pub(crate) data: Data<'a>,
}

/// A text's values. A value that is named by an alias is there once, so a small text is a small tree.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Tree<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
}

static NOTHING: Node<'static> = Node { span: Span { start: 0, end: 0 }, data: Data::Null };

impl<'a> Tree<'a> {
    /// Puts a value in. The root is the last one.
    pub(crate) fn add(&mut self, span: Span, data: Data<'a>) -> Id {
        self.nodes.push(Node { span, data });
        Id(u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX))
    }

    pub(crate) fn node(&self, id: Id) -> &Node<'a> {
        usize::try_from(id.0).ok().and_then(|at| self.nodes.get(at)).unwrap_or(&NOTHING)
    }

    /// A key's text.
    pub(crate) fn key(&self, entry: Entry) -> &str {
        match &self.node(entry.key).data {
            Data::Text(text, _) => text,
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::List(_) | Data::Map(_) => "",
        }
    }

    /// The field of that name.
    pub(crate) fn field(&self, map: Id, name: &str) -> Option<Entry> {
        match &self.node(map).data {
            Data::Map(entries) => entries.iter().find(|entry| self.key(**entry) == name).copied(),
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(..) | Data::List(_) => None,
        }
    }

    /// Whether a value has more than so many parts, itself one of them.
    pub(crate) fn is_larger(&self, id: Id, most: usize) -> bool {
        let mut left = vec![id];
        let mut count = 0;
        while let Some(id) = left.pop() {
            count += 1;
            if count > most {
                return true;
            }
            match &self.node(id).data {
                Data::List(items) => left.extend(items.iter().take(most + 1)),
                Data::Map(entries) => left.extend(entries.iter().take(most + 1).map(|entry| entry.value)),
                Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(..) => {}
            }
        }
        false
    }

    /// What of a value is underlined: a scalar itself; of what has parts, its key, or the first part's key.
    fn mark(&self, key: Option<Id>, value: Id) -> Span {
        let node = self.node(value);
        match (&node.data, key) {
            (Data::Null, Some(key)) if node.span.start == node.span.end => self.node(key).span,
            (Data::List(_) | Data::Map(_), Some(key)) => self.node(key).span,
            (Data::List(_) | Data::Map(_), None) => self.first(value),
            (Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(..), _) => node.span,
        }
    }

    /// Where a value stands, or where it begins if it has parts.
    pub(crate) fn place_of(&self, id: Id) -> Span {
        self.mark(None, id)
    }

    /// The place where a mapping or a list begins: its first key, or the first character.
    fn first(&self, value: Id) -> Span {
        let node = self.node(value);
        match &node.data {
            Data::Map(entries) => {
                match entries.iter().find(|entry| self.node(entry.key).span.start >= node.span.start) {
                    Some(entry) => self.node(entry.key).span,
                    None => Span::new(node.span.start, node.span.start + 1),
                }
            }
            Data::List(_) => Span::new(node.span.start, node.span.start + 1),
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(..) => node.span,
        }
    }

    /// The value that a JSON pointer leads to, with its key; or as far as it leads, with what is left of it.
    fn follow<'p>(&self, root: Id, pointer: &'p str) -> (Option<Id>, Id, Option<&'p str>) {
        let (mut key, mut value) = (None, root);
        for segment in pointer.split('/').skip(1) {
            let name = segment.replace("~1", "/").replace("~0", "~");
            let next = match &self.node(value).data {
                Data::Map(_) => self.field(value, &name).map(|entry| (Some(entry.key), entry.value)),
                Data::List(items) => {
                    name.parse::<usize>().ok().and_then(|at| items.get(at)).map(|item| (None, *item))
                }
                Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(..) => None,
            };
            match next {
                Some((next_key, next)) => (key, value) = (next_key, next),
                None => return (key, value, Some(segment)),
            }
        }
        (key, value, None)
    }

    /// The value that a JSON pointer leads to.
    pub(crate) fn at(&self, root: Id, pointer: &str) -> Option<Id> {
        match self.follow(root, pointer) {
            (_, value, None) => Some(value),
            (_, _, Some(_)) => None,
        }
    }

    /// Where the value stands that a JSON pointer leads to. Of a field that is left out: where it is missing. That is the
    /// name of what it is missing in, or where that begins.
    pub(crate) fn place(&self, root: Id, pointer: &str) -> Span {
        let (key, value, rest) = self.follow(root, pointer);
        if rest.is_none() {
            return self.mark(key, value);
        }
        if let Some(name) = self.field(value, "name") {
            return self.mark(Some(name.key), name.value);
        }
        match key {
            Some(key) => self.node(key).span,
            None => self.first(value),
        }
    }

    /// Where the key stands of the field that a JSON pointer leads to.
    pub(crate) fn key_place(&self, root: Id, pointer: &str) -> Span {
        match self.follow(root, pointer) {
            (Some(key), _, None) => self.node(key).span,
            _ => self.place(root, pointer),
        }
    }
}
