//! From tokens to the syntax tree: a recursive descent with a climb over the precedences. Recursion is counted, and
//! so is the height of the tree, which is what evaluation recurses over.

use std::sync::Arc;

use super::function::{Function, Macro};
use super::syntax::{Kind, Node, Operator};
use super::token::{self, Token};
use super::{
    BadExpression, COMPREHENSIONS_MAX, DEPTH_MAX, HEIGHT_MAX, NODES_MAX, References, SOURCE_BYTES_MAX, Span,
    shown,
};
use crate::told::Told;

mod words;

/// Parses a source. Also answers what it refers to.
pub(super) fn parse(source: &str) -> Result<(Node, References), BadExpression> {
    if source.len() > SOURCE_BYTES_MAX {
        let told =
            (format!("{} bytes", source.len()), format!("an expression has at most {SOURCE_BYTES_MAX}"));
        return Err(bad(SOURCE_BYTES_MAX, told));
    }
    let mut parser = Parser {
        tokens: token::tokens(source)?,
        at: 0,
        nodes: 0,
        depth: 0,
        locals: Vec::new(),
        references: References::default(),
    };
    if source.trim().is_empty() {
        return Err(bad(0, "there is no expression"));
    }
    let root = parser.expression()?;
    match parser.peek() {
        Token::End => Ok((root, parser.references)),
        token @ (Token::Name(_)
        | Token::Step(_)
        | Token::Int(_)
        | Token::Double(_)
        | Token::Text(_)
        | Token::Symbol(_)) => {
            Err(bad(parser.span().start, format!("expected an operator or the end, found {}", token.shown())))
        }
    }
}

struct Parser<'s> {
    tokens: Vec<(Token<'s>, Span)>,
    at: usize,
    nodes: usize,
    depth: usize,
    /// The variables of the comprehensions around.
    locals: Vec<&'s str>,
    references: References,
}

impl<'s> Parser<'s> {
    fn peek(&self) -> &Token<'s> {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn ahead(&self, by: usize) -> Option<&(Token<'s>, Span)> {
        self.tokens.get(self.at + by)
    }

    fn span(&self) -> Span {
        let last = self.tokens.last().map_or(Span { start: 0, end: 0 }, |(_, span)| *span);
        self.tokens.get(self.at).map_or(last, |(_, span)| *span)
    }

    fn next(&mut self) -> (Token<'s>, Span) {
        let taken = (self.peek().clone(), self.span());
        self.at += 1;
        taken
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let is = self.is(symbol);
        self.at += usize::from(is);
        is
    }

    /// Takes the symbol. Answers where it ends.
    fn expect(&mut self, symbol: &str, context: &str) -> Result<usize, BadExpression> {
        let span = self.span();
        if self.eat(symbol) {
            Ok(span.end)
        } else {
            Err(bad(span.start, format!("expected `{symbol}` {context}, found {}", self.peek().shown())))
        }
    }

    fn node(&mut self, span: Span, kind: Kind) -> Result<Node, BadExpression> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(bad(
                span.start,
                (format!("more than {NODES_MAX} parts"), "take some of it into a step of its own"),
            ));
        }
        let height = kind.height() + 1;
        if height > HEIGHT_MAX {
            let message = format!("more than {HEIGHT_MAX} operators and fields, one after the other");
            return Err(bad(span.end, message));
        }
        Ok(Node { span, kind, height })
    }

    /// One level deeper, if there is one.
    fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, BadExpression>,
    ) -> Result<T, BadExpression> {
        if self.depth >= DEPTH_MAX {
            return Err(too_deep(self.span().start));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn expression(&mut self) -> Result<Node, BadExpression> {
        self.nested(Self::conditional)
    }

    fn conditional(&mut self) -> Result<Node, BadExpression> {
        let condition = self.binary(0)?;
        if !self.eat("?") {
            return Ok(condition);
        }
        let then = self.nested(|parser| parser.binary(0))?;
        self.expect(":", "and what is given otherwise")?;
        let otherwise = self.expression()?;
        let span = Span { start: condition.span.start, end: otherwise.span.end };
        let kind = Kind::Conditional {
            condition: Box::new(condition),
            then: Box::new(then),
            otherwise: Box::new(otherwise),
        };
        self.node(span, kind)
    }

    /// Operators that bind at least as strongly, all from the left.
    fn binary(&mut self, least: u8) -> Result<Node, BadExpression> {
        let mut left = self.unary()?;
        loop {
            let symbol = match self.peek() {
                Token::Symbol(symbol) => symbol,
                Token::Name("in") => "in",
                Token::Name(_)
                | Token::Step(_)
                | Token::Int(_)
                | Token::Double(_)
                | Token::Text(_)
                | Token::End => return Ok(left),
            };
            left = match (symbol, Operator::of_symbol(symbol)) {
                ("||", _) if least == 0 => self.chain(left, "||", 1)?,
                ("&&", _) if least <= 1 => self.chain(left, "&&", 2)?,
                (_, Some((operator, strength))) if strength >= least => {
                    let at = self.span().start;
                    self.at += 1;
                    let right = self.binary(strength + 1)?;
                    let span = Span { start: left.span.start, end: right.span.end };
                    let (left, right) = (Box::new(left), Box::new(right));
                    self.node(span, Kind::Binary { operator, at, left, right })?
                }
                _ => return Ok(left),
            };
        }
    }

    /// All operands with `||`, or with `&&`, between them: one node, however many there are.
    fn chain(&mut self, first: Node, symbol: &str, least: u8) -> Result<Node, BadExpression> {
        let (start, mut end) = (first.span.start, first.span.end);
        let mut operands = vec![first];
        while self.eat(symbol) {
            let operand = self.binary(least)?;
            end = operand.span.end;
            operands.push(operand);
        }
        let kind = if symbol == "||" { Kind::Or(operands) } else { Kind::And(operands) };
        self.node(Span { start, end }, kind)
    }

    fn unary(&mut self) -> Result<Node, BadExpression> {
        let start = self.span().start;
        if self.eat("!") {
            let operand = self.nested(Self::unary)?;
            return self.node(Span { start, end: operand.span.end }, Kind::Not(Box::new(operand)));
        }
        if !self.eat("-") {
            let primary = self.primary()?;
            return self.selections(primary);
        }
        match *self.peek() {
            Token::Int(magnitude) => {
                let end = self.span().end;
                self.at += 1;
                let value = 0_i64.checked_sub_unsigned(magnitude).ok_or_else(|| too_large(start))?;
                let literal = self.node(Span { start, end }, Kind::Int(value))?;
                self.selections(literal)
            }
            Token::Double(value) => {
                let end = self.span().end;
                self.at += 1;
                let literal = self.node(Span { start, end }, Kind::Double(-value))?;
                self.selections(literal)
            }
            Token::Name(_) | Token::Step(_) | Token::Text(_) | Token::Symbol(_) | Token::End => {
                let operand = self.nested(Self::unary)?;
                self.node(Span { start, end: operand.span.end }, Kind::Negative(Box::new(operand)))
            }
        }
    }

    fn primary(&mut self) -> Result<Node, BadExpression> {
        let (token, span) = self.next();
        let kind = match token {
            Token::Int(magnitude) => Kind::Int(i64::try_from(magnitude).map_err(|_| too_large(span.start))?),
            Token::Double(value) => Kind::Double(value),
            Token::Text(text) => Kind::Text(Arc::from(text)),
            Token::Name(name) => return self.name(name, span),
            Token::Symbol("(") => {
                let inner = self.expression()?;
                let end = self.expect(")", "to close the parenthesis")?;
                // The place of a parenthesised expression is that of the whole; it is no part of its own.
                return Ok(Node { span: Span { start: span.start, end }, ..inner });
            }
            Token::Symbol("[") => {
                let (items, end) = self.list("]")?;
                return self.node(Span { start: span.start, end }, Kind::List(items));
            }
            Token::Symbol("{") => return self.map(span.start),
            Token::Step(_) | Token::Symbol(_) | Token::End => {
                return Err(bad(span.start, format!("expected a value, found {}", token.shown())));
            }
        };
        self.node(span, kind)
    }

    /// Expressions up to the closing bracket, a comma between them and perhaps behind the last.
    fn list(&mut self, close: &str) -> Result<(Vec<Node>, usize), BadExpression> {
        let mut items = Vec::new();
        while !self.is(close) {
            items.push(self.expression()?);
            if !self.eat(",") {
                break;
            }
        }
        let end = self.expect(close, "or `,`")?;
        Ok((items, end))
    }

    fn map(&mut self, start: usize) -> Result<Node, BadExpression> {
        let mut entries = Vec::new();
        while !self.is("}") {
            let key = self.expression()?;
            self.expect(":", "and the field's value")?;
            entries.push((key, self.expression()?));
            if !self.eat(",") {
                break;
            }
        }
        let end = self.expect("}", "or `,`")?;
        self.node(Span { start, end }, Kind::Map(entries))
    }

    /// What stands behind a value: fields, items, methods.
    fn selections(&mut self, first: Node) -> Result<Node, BadExpression> {
        let mut value = first;
        loop {
            if self.eat(".") {
                let (token, span) = self.next();
                let Token::Name(name) = token else {
                    let message = if let Token::Int(at) = token {
                        format!("an item of a list is written [{at}]")
                    } else {
                        format!("expected a field's name behind `.`, found {}", token.shown())
                    };
                    return Err(bad(span.start, message));
                };
                if self.eat("(") {
                    value = self.method(value, name, span)?;
                    continue;
                }
                if matches!(name, "in" | "true" | "false" | "null") {
                    return Err(bad(
                        span.start,
                        (format!("`{name}` is a word of CEL"), format!("write the field as [\"{name}\"]")),
                    ));
                }
                self.refuse_hyphen(name, span)?;
                let span = Span { start: value.span.start, end: span.end };
                value = self.node(span, Kind::Select { of: Box::new(value), field: Arc::from(name) })?;
            } else if self.eat("[") {
                let at = self.expression()?;
                let end = self.expect("]", "to close the bracket")?;
                let span = Span { start: value.span.start, end };
                let of = Box::new(value);
                let kind = if let Kind::Text(field) = at.kind {
                    // `a["b"]` is `a.b` in other words, and is from here on.
                    Kind::Select { of, field }
                } else {
                    Kind::Index { of, at: Box::new(at) }
                };
                value = self.node(span, kind)?;
            } else {
                return Ok(value);
            }
        }
    }

    /// `input.line-2` would be a subtraction to CEL and a field to those who wrote it. It is neither.
    fn refuse_hyphen(&self, name: &str, span: Span) -> Result<(), BadExpression> {
        let shown = shown(name);
        let touches = |by: usize, end: usize| self.ahead(by).filter(|(_, span)| span.start == end);
        let Some((Token::Symbol("-"), hyphen)) = touches(0, span.end) else { return Ok(()) };
        match touches(1, hyphen.end) {
            Some((Token::Name(_) | Token::Int(_) | Token::Double(_), _)) => Err(bad(
                span.start,
                (
                    format!("`{shown}-` could be a name or a subtraction"),
                    format!(
                        "put spaces around `-` to subtract, and write a field with a hyphen as [\"{shown}-...\"]"
                    ),
                ),
            )),
            _ => Ok(()),
        }
    }

    fn method(&mut self, receiver: Node, name: &'s str, span: Span) -> Result<Node, BadExpression> {
        let start = receiver.span.start;
        if let Some(kind) = Macro::find(name) {
            return self.comprehension(receiver, kind, span);
        }
        // Whether there is such a function is said first, whatever its arguments.
        let misused = |told: Told| bad(span.start, told);
        let function = Function::find(name).map_err(misused)?;
        let (mut arguments, end) = self.list(")")?;
        let function = function.fits(true, arguments.len()).map_err(misused)?;
        arguments.insert(0, receiver);
        self.node(Span { start, end }, Kind::Call { function, arguments })
    }

    fn comprehension(&mut self, range: Node, kind: Macro, span: Span) -> Result<Node, BadExpression> {
        let misused = |at: usize| bad(at, format!("`{}` is written {}", kind.name(), kind.usage()));
        let (token, place) = self.next();
        let Token::Name(variable) = token else { return Err(misused(place.start)) };
        if let Err(told) = super::variable(variable) {
            return Err(bad(place.start, told));
        }
        if self.locals.len() >= COMPREHENSIONS_MAX {
            let message = format!("macros over lists nest at most {COMPREHENSIONS_MAX} deep");
            return Err(bad(span.start, message));
        }
        if !self.eat(",") {
            return Err(misused(self.span().start));
        }
        self.locals.push(variable);
        let arguments = self.list(")");
        self.locals.pop();
        let (mut arguments, end) = arguments?;
        let (filter, body) = match (kind, arguments.len()) {
            (_, 1) => (None, arguments.pop()),
            (Macro::Map, 2) => {
                let body = arguments.pop();
                (arguments.pop().map(Box::new), body)
            }
            _ => (None, None),
        };
        let body = Box::new(body.ok_or_else(|| misused(span.start))?);
        let start = range.span.start;
        self.node(Span { start, end }, Kind::Comprehension { kind, range: Box::new(range), filter, body })
    }
}

fn too_deep(offset: usize) -> BadExpression {
    bad(offset, format!("nests deeper than {DEPTH_MAX} levels"))
}

fn too_large(offset: usize) -> BadExpression {
    bad(offset, ("the number has more than 64 bits", "write it as a text"))
}

fn bad(offset: usize, told: impl Into<Told>) -> BadExpression {
    BadExpression::new(offset, told)
}
