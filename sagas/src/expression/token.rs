//! From the source to tokens, each with its place. One pass, no recursion, at most one token for each byte.

use super::{BadExpression, Span, shown};
use crate::told::Told;

/// A token of CEL.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'s> {
    /// A name, or a word that is reserved.
    Name(&'s str),
    /// The name of a step, behind `steps.`: it may have hyphens and begin with a digit.
    Step(&'s str),
    /// A whole number without its sign: only the parser knows whether `-` belongs to it.
    Int(u64),
    /// A number with a fraction or an exponent.
    Double(f64),
    /// A text, its escapes resolved.
    Text(String),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// Behind the last one.
    End,
}

impl Token<'_> {
    /// How a message calls it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Name(name) | Self::Step(name) => format!("`{}`", shown(name)),
            Self::Int(_) | Self::Double(_) => "a number".to_owned(),
            Self::Text(_) => "a text".to_owned(),
            Self::Symbol(symbol) => format!("`{symbol}`"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// The longer ones first.
const SYMBOLS: [&str; 25] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}", ";",
];

/// All tokens, the last of them [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<(Token<'_>, Span)>, BadExpression> {
    let mut lexer = Lexer { source, at: 0, tokens: Vec::new() };
    while lexer.one()? {}
    lexer.tokens.push((Token::End, Span { start: source.len(), end: source.len() }));
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    tokens: Vec<(Token<'s>, Span)>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or("")
    }

    /// Takes what begins here and satisfies the condition.
    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'s str {
        let rest = self.rest();
        let taken = rest.find(|c| !belongs(c)).and_then(|end| rest.get(..end)).unwrap_or(rest);
        self.at += taken.len();
        taken
    }

    fn push(&mut self, token: Token<'s>, start: usize) {
        self.tokens.push((token, Span { start, end: self.at }));
    }

    /// Reads the next token. Answers whether there was one.
    fn one(&mut self) -> Result<bool, BadExpression> {
        self.take(char::is_whitespace);
        while self.rest().starts_with("//") {
            self.take(|c| c != '\n');
            self.take(char::is_whitespace);
        }
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok(false) };
        let second = self.rest().chars().nth(1);
        if self.behind_steps() && (first.is_ascii_alphanumeric() || first == '_') {
            let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            self.push(Token::Step(name), start);
        } else if is_quote(first) {
            self.text(start, false)?;
        } else if matches!(first, 'r' | 'R' | 'b' | 'B') && second.is_some_and(is_quote) {
            if matches!(first, 'b' | 'B') {
                return Err(bad(
                    start,
                    ("bytes are not supported, since JSON has none", "write a text, without the `b`"),
                ));
            }
            self.at += 1;
            self.text(start, true)?;
        } else if first.is_ascii_alphabetic() || first == '_' {
            let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
            self.push(Token::Name(name), start);
        } else if first.is_ascii_digit() || self.fraction() {
            self.number(start)?;
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
            self.at += symbol.len();
            self.push(Token::Symbol(symbol), start);
        } else {
            return Err(bad(
                start,
                match first {
                    '=' => ("`=` is no operator", "write `==` to compare").into(),
                    '&' => ("`&` is no operator", "write `&&`").into(),
                    '|' => ("`|` is no operator", "write `||`").into(),
                    '`' => {
                        let mend = "write a text in quotes, and a field with an unusual name as `[\"name\"]`";
                        Told::from(("a backtick is nothing that CEL knows", mend))
                    }
                    c if c.is_alphanumeric() => Told::from((
                        format!("`{c}` cannot be in a name, which has a-z, A-Z, 0-9 and `_`"),
                        "write a field with another name as `[\"name\"]`",
                    )),
                    c => format!("`{}` is nothing that CEL knows", c.escape_default()).into(),
                },
            ));
        }
        Ok(true)
    }

    /// The last two tokens are `steps` and `.`, and `steps` is no field of something.
    fn behind_steps(&self) -> bool {
        let mut last = self.tokens.iter().rev().map(|(token, _)| token);
        last.next() == Some(&Token::Symbol("."))
            && last.next() == Some(&Token::Name("steps"))
            && last.next() != Some(&Token::Symbol("."))
    }

    /// Whether a number such as `.5` begins here. Behind a value and without a space, a `.` selects.
    fn fraction(&self) -> bool {
        let mut ahead = self.rest().chars();
        let digit = ahead.next() == Some('.') && ahead.next().is_some_and(|c| c.is_ascii_digit());
        digit
            && !self.tokens.last().is_some_and(|(token, span)| {
                let value = match token {
                    Token::Name(_) | Token::Step(_) | Token::Text(_) | Token::Int(_) | Token::Double(_) => {
                        true
                    }
                    Token::Symbol(symbol) => matches!(*symbol, ")" | "]" | "}"),
                    Token::End => false,
                };
                value && span.end == self.at
            })
    }

    fn number(&mut self, start: usize) -> Result<(), BadExpression> {
        let too_large = || bad(start, ("the number has more than 64 bits", "write it as a text"));
        let token = if self.rest().starts_with("0x") || self.rest().starts_with("0X") {
            self.at += 2;
            let digits = self.take(|c| c.is_ascii_hexdigit());
            if digits.is_empty() {
                return Err(bad(start, "a hexadecimal number has digits behind `0x`"));
            }
            Token::Int(u64::from_str_radix(digits, 16).map_err(|_| too_large())?)
        } else {
            self.take(|c| c.is_ascii_digit());
            let mut whole = true;
            let mut ahead = self.rest().chars();
            if ahead.next() == Some('.') && ahead.next().is_some_and(|c| c.is_ascii_digit()) {
                whole = false;
                self.at += 1;
                self.take(|c| c.is_ascii_digit());
            }
            if self.rest().starts_with(['e', 'E']) {
                whole = false;
                self.at += 1;
                if self.rest().starts_with(['+', '-']) {
                    self.at += 1;
                }
                if self.take(|c| c.is_ascii_digit()).is_empty() {
                    return Err(bad(start, "the exponent of a number has digits behind `e`"));
                }
            }
            let text = self.source.get(start..self.at).unwrap_or("");
            if whole {
                Token::Int(text.parse().map_err(|_| too_large())?)
            } else {
                let value: f64 = text.parse().map_err(|_| bad(start, "not a number"))?;
                if !value.is_finite() {
                    return Err(bad(start, "the number is beyond what a double holds"));
                }
                Token::Double(value)
            }
        };
        match self.rest().chars().next() {
            Some('u' | 'U') => Err(bad(start, ("unsigned integers are not supported", "leave the `u` out"))),
            Some(c) if c.is_alphanumeric() || c == '_' => Err(bad(
                self.at,
                "a number ends here, and a name cannot begin without a space or an operator",
            )),
            _ => {
                self.push(token, start);
                Ok(())
            }
        }
    }

    fn text(&mut self, start: usize, raw: bool) -> Result<(), BadExpression> {
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| self.rest().starts_with(quote));
        let quote = quote.unwrap_or("\"");
        let unended = || bad(start, ("the text does not end", format!("it needs a closing {quote}")));
        self.at += quote.len();
        let mut text = String::new();
        loop {
            if self.rest().starts_with(quote) {
                self.at += quote.len();
                self.push(Token::Text(text), start);
                return Ok(());
            }
            let at = self.at;
            let c = self.rest().chars().next().ok_or_else(unended)?;
            self.at += c.len_utf8();
            match c {
                '\\' if !raw => text.push(self.escape(at)?),
                '\n' | '\r' if quote.len() == 1 => {
                    return Err(bad(
                        start,
                        ("the text does not end on its line", "use three quotes for a longer one"),
                    ));
                }
                c => text.push(c),
            }
        }
    }

    /// The character that an escape stands for. The backslash is taken already.
    fn escape(&mut self, start: usize) -> Result<char, BadExpression> {
        let unknown = || {
            bad(
                start,
                (
                    "this escape is not known",
                    "known are \\\\ \\\" \\' \\` \\? \\a \\b \\f \\n \\r \\t \\v \\x \\u \\U and three octal digits",
                ),
            )
        };
        let c = self.rest().chars().next().ok_or_else(unknown)?;
        self.at += c.len_utf8();
        let (digits, radix) = match c {
            '\\' | '"' | '\'' | '`' | '?' => return Ok(c),
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\u{b}'),
            'x' | 'X' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='3' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return Err(unknown()),
        };
        let code = self.rest().get(..digits).filter(|code| code.chars().all(|c| c.is_digit(radix)));
        let code =
            code.ok_or_else(|| bad(start, format!("this escape has {digits} digits of base {radix}")))?;
        self.at += digits;
        u32::from_str_radix(code, radix)
            .ok()
            .and_then(char::from_u32)
            .ok_or_else(|| bad(start, "this escape names no character"))
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'')
}

fn bad(offset: usize, told: impl Into<Told>) -> BadExpression {
    BadExpression::new(offset, told)
}
