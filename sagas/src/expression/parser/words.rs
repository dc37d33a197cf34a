//! Expressions that begin with a word: literals, the names of payloads, `has`, functions.

use std::sync::Arc;

use super::{Parser, bad};
use crate::expression::function::{Function, Macro};
use crate::expression::syntax::{Fact, Kind, Node};
use crate::expression::token::Token;
use crate::expression::{BadExpression, Span, TAKEN, nearest, shown};
use crate::told::Told;

impl<'s> Parser<'s> {
    pub(super) fn name(&mut self, name: &'s str, span: Span) -> Result<Node, BadExpression> {
        if self.is("(") {
            return if name == "has" { self.has(span) } else { self.function(name, span) };
        }
        let kind = match name {
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            "null" => Kind::Null,
            "input" => {
                self.references.input = true;
                Kind::Input
            }
            "steps" => return self.output(span),
            "saga" => return self.fact(span),
            name if TAKEN.contains(&name) && name != "index" => {
                return Err(bad(
                    span.start,
                    format!("`{name}` is a word that CEL reserves, and names nothing"),
                ));
            }
            name => {
                if let Some(level) = self.locals.iter().rposition(|local| *local == name) {
                    Kind::Local(level)
                } else {
                    self.references.each |= name != "index";
                    Kind::Free(Arc::from(name))
                }
            }
        };
        if self.is("{") {
            return Err(bad(
                self.span().start,
                "an object is written {\"field\": value}, without a type before it",
            ));
        }
        self.node(span, kind)
    }

    /// `.name`, or `["name"]`.
    fn member(&mut self, of: &str) -> Result<(String, Span), BadExpression> {
        if self.eat(".") {
            let (token, span) = self.next();
            return match token {
                Token::Name(name) | Token::Step(name) => Ok((name.to_owned(), span)),
                Token::Int(_) | Token::Double(_) | Token::Text(_) | Token::Symbol(_) | Token::End => {
                    Err(bad(span.start, format!("expected a name behind `{of}.`, found {}", token.shown())))
                }
            };
        }
        if self.eat("[") {
            let (token, span) = self.next();
            let Token::Text(name) = token else {
                return Err(bad(
                    span.start,
                    (
                        format!("what stands behind `{of}` must be known before any saga runs"),
                        "write a text in quotes",
                    ),
                ));
            };
            self.expect("]", "to close the bracket")?;
            return Ok((name, span));
        }
        let place = self.span().start;
        Err(bad(place, (format!("`{of}` alone is no value"), format!("write {}", usage(of)))))
    }

    fn output(&mut self, start: Span) -> Result<Node, BadExpression> {
        let (step, _) = self.member("steps")?;
        let (word, span) = self.member(&format!("steps.{}", shown(&step)))?;
        if word != "output" {
            let message = format!("`{}`: only a step's `output` can be referred to", shown(&word));
            return Err(bad(span.start, (message, format!("write {}", usage("steps")))));
        }
        let step: Arc<str> = Arc::from(step);
        if !self.references.steps.contains(&step) {
            self.references.steps.push(Arc::clone(&step));
        }
        self.node(Span { start: start.start, end: self.end() }, Kind::Output(step))
    }

    fn fact(&mut self, start: Span) -> Result<Node, BadExpression> {
        let (word, span) = self.member("saga")?;
        let fact = Fact::of_word(&word).ok_or_else(|| {
            let there_is = format!("it has {}", Fact::WORDS.join(", "));
            let mend = nearest::hint(&word, Fact::WORDS, &there_is);
            bad(span.start, (format!("`saga` has no `{}`", shown(&word)), mend))
        })?;
        self.node(Span { start: start.start, end: self.end() }, Kind::Fact(fact))
    }

    /// Where the last token ended.
    fn end(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(0, |(_, span)| span.end)
    }

    fn has(&mut self, start: Span) -> Result<Node, BadExpression> {
        self.at += 1;
        let argument = self.expression()?;
        let end = self.expect(")", "to close `has`")?;
        let span = Span { start: start.start, end };
        let start = argument.span.start;
        if let Kind::Select { of, field } = argument.kind {
            self.node(span, Kind::Has { of, field })
        } else if let Kind::Output(step) = argument.kind {
            self.node(span, Kind::HasOutput(step))
        } else {
            Err(bad(start, ("`has` asks for a field", "write has(a.field) or has(a[\"field\"])")))
        }
    }

    fn function(&mut self, name: &str, span: Span) -> Result<Node, BadExpression> {
        self.at += 1;
        let misused = |told: Told| bad(span.start, told);
        if let Some(kind) = Macro::find(name) {
            return Err(bad(span.start, format!("`{name}` is written {}", kind.usage())));
        }
        // Whether there is such a function is said first, whatever its arguments.
        let function = Function::find(name).map_err(misused)?;
        let (arguments, end) = self.list(")")?;
        let function = function.fits(false, arguments.len()).map_err(misused)?;
        self.node(Span { start: span.start, end }, Kind::Call { function, arguments })
    }
}

fn usage(of: &str) -> &'static str {
    match of {
        "saga" => "saga.id, saga.definition or saga.version",
        _ => "steps.<step>.output",
    }
}
