//! Plain paths: picked from a payload as it is.

use serde_json::Value;

use crate::expression::{
    BadExpression, Checked, Missing, PathRoot, Payloads, SOURCE_BYTES_MAX, Scope, ToCome, check_path,
    variable,
};

/// A path into the saga's input, into a step's output or into the item of a `for_each`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    /// Where the path begins in its text, in bytes.
    pub(super) offset: usize,
    root: Root,
    fields: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    Input,
    /// The output of that step.
    Output(String),
    /// The item of that name.
    Item(String),
}

impl Path {
    /// The path that a source is. What is no path may still be an expression.
    pub(super) fn parse(source: &str, offset: usize) -> Option<Self> {
        if source.len() > SOURCE_BYTES_MAX {
            return None;
        }
        let plain = |field: &str| {
            !field.is_empty() && field.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        };
        let mut parts = source.split('.');
        let root = match parts.next()? {
            "input" => Root::Input,
            "steps" => {
                let step = parts.next().filter(|step| plain(step))?;
                parts.next().filter(|word| *word == "output")?;
                Root::Output(step.to_owned())
            }
            name => {
                variable(name).ok()?;
                Root::Item(name.to_owned())
            }
        };
        let fields: Vec<String> = parts.map(str::to_owned).collect();
        let is_path = fields.iter().all(|field| plain(field));
        is_path.then(|| Self { text: source.to_owned(), offset, root, fields })
    }

    /// The step whose output it leads into.
    pub(super) fn step(&self) -> Option<&str> {
        match &self.root {
            Root::Output(step) => Some(step),
            Root::Input | Root::Item(_) => None,
        }
    }

    /// What is wrong with it, by names and types.
    pub(super) fn check(&self, scope: &Scope) -> Result<Checked, Vec<BadExpression>> {
        let root = match &self.root {
            Root::Input => PathRoot::Input,
            Root::Output(step) => PathRoot::Output(step),
            Root::Item(name) => PathRoot::Item(name),
        };
        check_path(scope, &self.text, root, &self.fields)
    }

    /// The payload that it leads into, if it is there.
    pub(super) fn payload<'a>(&self, payloads: &'a mut Payloads<'_>) -> Option<&'a Value> {
        match &self.root {
            Root::Input => {
                payloads.load_input();
                Some(payloads.input())
            }
            Root::Output(step) => {
                payloads.load_output(step);
                payloads.output(step)
            }
            Root::Item(name) => {
                payloads.load_item();
                payloads.item(name)
            }
        }
    }

    /// What it names in its payload.
    pub(super) fn pick<'a>(&self, root: &'a Value) -> Result<&'a Value, Missing> {
        self.fields
            .iter()
            .try_fold(root, |value, field| match value {
                Value::Array(items) => items.get(field.parse::<usize>().ok()?),
                Value::Object(fields) => fields.get(field),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            })
            .ok_or_else(|| self.missing())
    }

    /// Whether what it leads into is not there yet and may still come.
    pub(super) fn may_come(&self, to_come: ToCome<'_>) -> bool {
        match &self.root {
            Root::Input => false,
            Root::Output(step) => to_come(step),
            Root::Item(_) => true,
        }
    }

    pub(super) fn missing(&self) -> Missing {
        Missing { path: self.text.clone(), within: None }
    }
}
