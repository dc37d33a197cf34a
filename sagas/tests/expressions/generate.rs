//! Random expressions that mean something: a stream of choices is read as an expression of a wanted type. An empty
//! stream is the simplest expression, so that a failure shrinks by shrinking the stream.

/// A type to write an expression of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Double,
    Text,
    /// A list of ints.
    Ints,
    /// A list of objects with the fields of [`INPUT`]'s rows.
    Rows,
    /// One of these objects. Only the variable of a macro is one.
    Row,
    /// Any of them.
    Anything,
}

/// The input that the expressions are about: a schema it conforms to, and which says everything of it, is [`SCHEMA`].
pub(crate) const INPUT: &str = r#"{"i":7,"j":-3,"zero":0,"d":2.5,"e":-0.25,"s":"Grüße","t":"b","u":"","yes":true,"no":false,
    "ints":[3,1,2],"none":[],"rows":[{"n":1,"name":"a","ok":true},{"n":2,"name":"b","ok":false},{"n":3,"name":"c","ok":true}],
    "deep":{"er":{"i":40}}}"#;

/// What is always true of [`INPUT`].
pub(crate) const SCHEMA: &str = r##"{"type":"object","additionalProperties":false,
    "required":["i","j","zero","d","e","s","t","u","yes","no","ints","none","rows","deep"],
    "properties":{"i":{"$ref":"#/$defs/int"},"j":{"$ref":"#/$defs/int"},"zero":{"$ref":"#/$defs/int"},
        "d":{"type":"number"},"e":{"type":"number"},"s":{"type":"string"},"t":{"type":"string"},"u":{"type":"string"},
        "yes":{"type":"boolean"},"no":{"type":"boolean"},
        "ints":{"type":"array","items":{"$ref":"#/$defs/int"}},"none":{"type":"array","items":{"$ref":"#/$defs/int"}},
        "rows":{"type":"array","items":{"type":"object","additionalProperties":false,"required":["n","name","ok"],
            "properties":{"n":{"type":"integer"},"name":{"type":"string"},"ok":{"type":"boolean"},"note":{"type":"string"}}}},
        "deep":{"type":"object","required":["er"],"properties":{"er":{"type":"object","required":["i"],
            "properties":{"i":{"type":"integer"}}}}}},
    "$defs":{"int":{"type":"integer"}}}"##;

/// Reads a stream of choices.
pub(crate) struct Writer<'c> {
    choices: std::slice::Iter<'c, u8>,
    /// The variables of the macros around, with their types.
    locals: Vec<(&'static str, Kind)>,
    /// Now and then something of another type than is wanted.
    pub(crate) careless: bool,
}

impl<'c> Writer<'c> {
    pub(crate) fn new(choices: &'c [u8]) -> Self {
        Self { choices: choices.iter(), locals: Vec::new(), careless: false }
    }

    /// A number below `n`: 0 once the choices are used up.
    fn pick(&mut self, n: usize) -> usize {
        self.choices.next().map_or(0, |choice| usize::from(*choice) % n)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.pick(of.len())]
    }

    /// An expression of the type, with at most so many levels.
    pub(crate) fn expression(&mut self, kind: Kind, levels: usize) -> String {
        let kind = match kind {
            Kind::Anything => {
                [Kind::Bool, Kind::Int, Kind::Double, Kind::Text, Kind::Ints, Kind::Rows][self.pick(6)]
            }
            _ if self.careless && self.pick(24) == 23 => return self.expression(Kind::Anything, levels),
            kind => kind,
        };
        if levels == 0 || self.pick(5) == 0 {
            return self.leaf(kind);
        }
        let below = levels - 1;
        match kind {
            Kind::Bool => self.bool(below),
            Kind::Int => self.int(below),
            Kind::Double => self.double(below),
            Kind::Text => self.text(below),
            Kind::Ints => self.ints(below),
            Kind::Rows | Kind::Row | Kind::Anything => self.rows(below),
        }
    }

    fn leaf(&mut self, kind: Kind) -> String {
        let local = self.locals.iter().rev().find(|(_, found)| *found == kind).map(|(name, _)| *name);
        if let Some(name) = local.filter(|_| self.pick(2) == 0) {
            return name.to_owned();
        }
        if let Some((name, _)) = self.locals.iter().rev().find(|(_, found)| *found == Kind::Row).copied() {
            match kind {
                Kind::Int if self.pick(2) == 0 => return format!("{name}.n"),
                Kind::Text if self.pick(2) == 0 => return format!("{name}.name"),
                Kind::Bool if self.pick(2) == 0 => return format!("{name}.ok"),
                _ => {}
            }
        }
        match kind {
            Kind::Bool => self.one(&["true", "false", "input.yes", "input.no", "input.rows[1].ok"]),
            Kind::Int => self.one(&[
                "0",
                "1",
                "-1",
                "2",
                "10",
                "input.i",
                "input.j",
                "input.zero",
                "input.deep.er.i",
                "input.ints[0]",
                "9223372036854775807",
                "-9223372036854775808",
                "0x10",
                "input.rows[0].n",
                "input[\"i\"]",
            ]),
            Kind::Double => self.one(&["0.5", "1.5", "-2.25", "0.0", "1e3", "input.d", "input.e", "1.0"]),
            Kind::Text => self.one(&[
                "'a'",
                "\"b\"",
                "''",
                "'Grüße'",
                "input.s",
                "input.t",
                "input.u",
                "'12'",
                "'-7'",
                "'x\\n\\'y'",
                "input.rows[2].name",
                "r'\\n'",
                "'1.5'",
            ]),
            Kind::Ints => self.one(&["[]", "[1]", "[1, 2, 3]", "input.ints", "input.none", "[input.i, 1]"]),
            Kind::Rows | Kind::Row | Kind::Anything => {
                self.one(&["input.rows", "[{'n': 5, 'name': 'z', 'ok': true}]"])
            }
        }
        .to_owned()
    }

    fn bool(&mut self, below: usize) -> String {
        match self.pick(12) {
            0 => format!(
                "({}) && ({})",
                self.expression(Kind::Bool, below),
                self.expression(Kind::Bool, below)
            ),
            1 => format!(
                "({}) || ({})",
                self.expression(Kind::Bool, below),
                self.expression(Kind::Bool, below)
            ),
            2 => format!("!({})", self.expression(Kind::Bool, below)),
            3 => {
                let kind = [Kind::Int, Kind::Double, Kind::Text, Kind::Bool][self.pick(4)];
                let operator = self.one(&["<", "<=", ">", ">="]);
                format!("({}) {operator} ({})", self.expression(kind, below), self.expression(kind, below))
            }
            4 => {
                let kind = [Kind::Int, Kind::Double, Kind::Text, Kind::Bool, Kind::Ints][self.pick(5)];
                let operator = self.one(&["==", "!="]);
                format!("({}) {operator} ({})", self.expression(kind, below), self.expression(kind, below))
            }
            5 => {
                format!("({}) in ({})", self.expression(Kind::Int, below), self.expression(Kind::Ints, below))
            }
            6 => {
                let method = self.one(&["contains", "startsWith", "endsWith"]);
                format!(
                    "({}).{method}({})",
                    self.expression(Kind::Text, below),
                    self.expression(Kind::Text, below)
                )
            }
            7 => {
                self.macro_over(Kind::Ints, &["all", "exists", "exists_one"], (Kind::Bool, Kind::Bool), below)
            }
            8 => {
                self.macro_over(Kind::Rows, &["all", "exists", "exists_one"], (Kind::Bool, Kind::Bool), below)
            }
            9 => self
                .one(&["has(input.i)", "has(input.deep.er)", "'i' in input", "'x' in input.deep"])
                .to_owned(),
            10 => self.conditional(Kind::Bool, below),
            // Precedence, without parentheses.
            _ => {
                let (a, b, c) = (self.leaf(Kind::Int), self.leaf(Kind::Int), self.leaf(Kind::Bool));
                let first = self.one(&["+", "-", "*"]);
                let second = self.one(&["||", "&&"]);
                format!("{a} {first} {b} < {b} && !{c} {second} {a} == {b}")
            }
        }
    }

    fn int(&mut self, below: usize) -> String {
        match self.pick(8) {
            0..=2 => {
                let operator = self.one(&["+", "-", "*", "/", "%"]);
                format!(
                    "({}) {operator} ({})",
                    self.expression(Kind::Int, below),
                    self.expression(Kind::Int, below)
                )
            }
            3 => format!("-({})", self.expression(Kind::Int, below)),
            4 => {
                let kind = [Kind::Text, Kind::Ints, Kind::Rows][self.pick(3)];
                let inner = self.expression(kind, below);
                if self.pick(2) == 0 { format!("size({inner})") } else { format!("({inner}).size()") }
            }
            5 => {
                let kind = [Kind::Text, Kind::Int, Kind::Double][self.pick(3)];
                format!("int({})", self.expression(kind, below))
            }
            6 => format!("({})[{}]", self.expression(Kind::Ints, below), self.expression(Kind::Int, below)),
            _ => self.conditional(Kind::Int, below),
        }
    }

    fn double(&mut self, below: usize) -> String {
        match self.pick(5) {
            0 | 1 => {
                let operator = self.one(&["+", "-", "*", "/"]);
                format!(
                    "({}) {operator} ({})",
                    self.expression(Kind::Double, below),
                    self.expression(Kind::Double, below)
                )
            }
            2 => format!("-({})", self.expression(Kind::Double, below)),
            3 => format!("double({})", self.expression(Kind::Int, below)),
            _ => self.conditional(Kind::Double, below),
        }
    }

    fn text(&mut self, below: usize) -> String {
        match self.pick(4) {
            0 | 1 => {
                format!("({}) + ({})", self.expression(Kind::Text, below), self.expression(Kind::Text, below))
            }
            2 => format!("string({})", self.expression(Kind::Int, below)),
            _ => self.conditional(Kind::Text, below),
        }
    }

    fn ints(&mut self, below: usize) -> String {
        match self.pick(6) {
            0 => format!("[{}, {}]", self.expression(Kind::Int, below), self.expression(Kind::Int, below)),
            1 => {
                format!("({}) + ({})", self.expression(Kind::Ints, below), self.expression(Kind::Ints, below))
            }
            2 => self.macro_over(Kind::Ints, &["filter"], (Kind::Bool, Kind::Ints), below),
            3 => self.macro_over(Kind::Ints, &["map"], (Kind::Int, Kind::Ints), below),
            4 => self.macro_over(Kind::Rows, &["map"], (Kind::Int, Kind::Ints), below),
            _ => self.conditional(Kind::Ints, below),
        }
    }

    fn rows(&mut self, below: usize) -> String {
        match self.pick(3) {
            0 => self.macro_over(Kind::Rows, &["filter"], (Kind::Bool, Kind::Rows), below),
            1 => {
                format!("({}) + ({})", self.expression(Kind::Rows, below), self.expression(Kind::Rows, below))
            }
            _ => self.conditional(Kind::Rows, below),
        }
    }

    fn conditional(&mut self, kind: Kind, below: usize) -> String {
        let condition = self.expression(Kind::Bool, below);
        format!("({condition}) ? ({}) : ({})", self.expression(kind, below), self.expression(kind, below))
    }

    fn macro_over(
        &mut self,
        range: Kind,
        names: &[&'static str],
        (body, result): (Kind, Kind),
        below: usize,
    ) -> String {
        let Some(variable) = ["x", "y"].get(self.locals.len()) else { return self.leaf(result) };
        let list = self.expression(range, below);
        let name = self.one(names);
        self.locals.push((variable, if range == Kind::Ints { Kind::Int } else { Kind::Row }));
        let body = self.expression(body, below.min(2));
        self.locals.pop();
        format!("({list}).{name}({variable}, {body})")
    }
}
