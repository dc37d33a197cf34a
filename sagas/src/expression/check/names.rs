//! The types of names, fields and plain paths.

use super::presence::below;
use super::{Checked, Checker};
use crate::expression::scope::Scope;
use crate::expression::types::{Fields, Type};
use crate::expression::{BadExpression, Span, nearest, shown};

/// The most names that a message lists.
const LISTED_MAX: usize = 20;

/// Checks a plain path of a template: where it begins, and the fields it goes through.
pub(crate) fn check_path(
    scope: &Scope,
    text: &str,
    root: PathRoot<'_>,
    fields: &[String],
) -> Result<Checked, Vec<BadExpression>> {
    let mut checker = Checker::new(scope, text);
    // How a condition that asked for it names it.
    let mut known = match root {
        PathRoot::Input => "input".to_owned(),
        PathRoot::Output(step) => below("steps", step),
        PathRoot::Item(name) => name.to_owned(),
    };
    let (mut ty, mut end) = match root {
        PathRoot::Input => (scope.input().clone(), "input".len()),
        PathRoot::Output(step) => {
            let end = "steps..output".len() + step.len();
            (checker.output(step, Span { start: 0, end }), end)
        }
        PathRoot::Item(name) => (checker.free(name, 0), name.len()),
    };
    for field in fields {
        let at = end + 1;
        end = at + field.len();
        known = below(&known, field);
        let item = if let Type::List(item) = &ty { Some(item.as_ref().clone()) } else { None };
        ty = if let Some(item) = item.filter(|_| field.parse::<usize>().is_ok()) {
            item
        } else {
            let asked = checker.present.contains(&known);
            checker.field(&ty, field, at, Span { start: 0, end }, asked)
        };
    }
    if checker.errors.is_empty() {
        Ok(Checked { ty, warnings: checker.warnings })
    } else {
        Err(checker.errors)
    }
}

/// Where a plain path begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PathRoot<'p> {
    Input,
    Output(&'p str),
    Item(&'p str),
}

impl Checker<'_> {
    /// An error about a name that there is not.
    fn unknown(&mut self, offset: usize, what: &str, name: &str, known: &[&str]) {
        let there_is = format!("there is {}", listed(known));
        // The nearest word is looked for once: that takes time, and one slip explains the others.
        let mend = if self.errors.is_empty() {
            nearest::hint(name, known.iter().copied(), &there_is)
        } else {
            there_is
        };
        self.error(offset, (what, mend));
    }

    pub(super) fn known_step(&mut self, step: &str, at: usize) -> Option<(Type, bool)> {
        if let Some((ty, may_be_skipped)) = self.scope.output(step) {
            return Some((ty.clone(), may_be_skipped));
        }
        let known: Vec<&str> = self.scope.steps().collect();
        self.unknown(at, &format!("no step `{}` certainly ends before this", shown(step)), step, &known);
        None
    }

    pub(super) fn output(&mut self, step: &str, span: Span) -> Type {
        let Some((ty, may_be_skipped)) = self.known_step(step, span.start) else { return Type::Any };
        if may_be_skipped && !self.present.contains(&below("steps", step)) {
            let (name, part) = (shown(step), self.part(span));
            self.warn(
                span.start,
                (
                    format!("the step `{name}` may be skipped, and has no output then"),
                    format!("ask `has({part})` first"),
                ),
            );
        }
        ty
    }

    pub(super) fn free(&mut self, name: &str, at: usize) -> Type {
        if let Some(ty) = self.scope.free(name) {
            return ty;
        }
        let roots = self.scope.roots();
        let what = match name {
            "index" => "`index` is the place of an item, and this is in no `for_each`".to_owned(),
            name => format!("nothing is called `{}` here", shown(name)),
        };
        self.unknown(at, &what, name, &roots);
        Type::Any
    }

    /// The type of a field. `at` is where its name stands, `span` the whole selection.
    pub(super) fn field(&mut self, object: &Type, field: &str, at: usize, span: Span, asked: bool) -> Type {
        let Some(fields) = self.fields(object, field, at) else { return Type::Any };
        let part = self.part(span);
        let is_there = asked || fields.required.contains(field);
        match (fields.declared.get(field), &fields.others) {
            (Some(ty), _) => {
                if !is_there {
                    self.warn(
                        at,
                        (
                            format!("`{part}` is not required and may be missing"),
                            format!("ask `has({part})` first"),
                        ),
                    );
                }
                ty.clone()
            }
            (None, Some(others)) => {
                if **others == Type::Any {
                    self.warn(
                        at,
                        (
                            format!("`{part}` is not declared by the schema, and nothing is known of it"),
                            match nearest(field, fields.declared.keys().map(String::as_str)) {
                                Some(near) => format!("did you mean `{near}`? If not, declare it"),
                                None => "declare it".to_owned(),
                            },
                        ),
                    );
                } else if !is_there {
                    self.warn(at, (format!("`{part}` may be missing"), format!("ask `has({part})` first")));
                }
                others.as_ref().clone()
            }
            (None, None) => {
                self.no_field(fields, field, at);
                Type::Any
            }
        }
    }

    /// The fields of an object, if it is known to be one.
    fn fields<'t>(&mut self, object: &'t Type, field: &str, at: usize) -> Option<&'t Fields> {
        match object {
            Type::Any | Type::Nothing => None,
            Type::Object(fields) => Some(fields),
            Type::List(_) => {
                self.error(at, (format!("a list has no field `{}`", shown(field)), "an item is written [0]"));
                None
            }
            ty @ (Type::Null | Type::Bool | Type::Int | Type::Double | Type::Number | Type::String) => {
                self.error(at, format!("{ty} has no field `{}`", shown(field)));
                None
            }
        }
    }

    fn no_field(&mut self, fields: &Fields, field: &str, at: usize) {
        let known: Vec<&str> = fields.declared.keys().map(String::as_str).collect();
        self.unknown(at, &format!("there is no field `{}`", shown(field)), field, &known);
    }

    /// What `has` asks for must be possible.
    pub(super) fn asked(&mut self, object: &Type, field: &str, of: Span) {
        if let Some(fields) = self.fields(object, field, of.end)
            && fields.others.is_none()
            && !fields.declared.contains_key(field)
        {
            self.no_field(fields, field, of.end);
        }
    }
}

/// Names for a message.
fn listed(names: &[&str]) -> String {
    let some: Vec<_> = names.iter().copied().take(LISTED_MAX).map(shown).collect();
    match (some.is_empty(), names.len() > LISTED_MAX) {
        (true, _) => "nothing".to_owned(),
        (false, false) => some.join(", "),
        (false, true) => format!("{}, …", some.join(", ")),
    }
}
