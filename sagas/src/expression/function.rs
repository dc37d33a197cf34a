//! The functions and macros that there are, and what is said about those that there are not.

use super::{nearest, shown};
use crate::told::Told;

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// `size(x)` or `x.size()`: of a text in characters, of a list in items, of an object in fields.
    Size,
    /// `text.contains(part)`.
    Contains,
    /// `text.startsWith(part)`.
    StartsWith,
    /// `text.endsWith(part)`.
    EndsWith,
    /// `int(x)` of a number (towards zero) or of a text of digits.
    Int,
    /// `double(x)` of a number or of a text.
    Double,
    /// `string(x)` of a number, a bool or a text.
    String,
}

impl Function {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Int => "int",
            Self::Double => "double",
            Self::String => "string",
        }
    }

    /// How it is written.
    fn usage(self) -> &'static str {
        match self {
            Self::Size => "size(x) or x.size()",
            Self::Contains => "text.contains(part)",
            Self::StartsWith => "text.startsWith(part)",
            Self::EndsWith => "text.endsWith(part)",
            Self::Int => "int(x)",
            Self::Double => "double(x)",
            Self::String => "string(x)",
        }
    }

    /// The function of that name, or what is said where there is none.
    pub(super) fn find(name: &str) -> Result<Self, Told> {
        match name {
            "size" => Ok(Self::Size),
            "contains" => Ok(Self::Contains),
            "startsWith" => Ok(Self::StartsWith),
            "endsWith" => Ok(Self::EndsWith),
            "int" => Ok(Self::Int),
            "double" => Ok(Self::Double),
            "string" => Ok(Self::String),
            _ => Err(unknown(name)),
        }
    }

    /// Whether it is written as it must be, with so many arguments in its parentheses; else how it is written.
    pub(super) fn fits(self, is_method: bool, arguments: usize) -> Result<Self, Told> {
        let fits = match self {
            Self::Size => arguments == usize::from(!is_method),
            Self::Contains | Self::StartsWith | Self::EndsWith => is_method && arguments == 1,
            Self::Int | Self::Double | Self::String => !is_method && arguments == 1,
        };
        if fits { Ok(self) } else { Err(format!("`{}` is written {}", self.name(), self.usage()).into()) }
    }
}

/// A macro over the items of a list or the keys of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

impl Macro {
    pub(super) fn find(name: &str) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "exists" => Some(Self::Exists),
            "exists_one" | "existsOne" => Some(Self::ExistsOne),
            "filter" => Some(Self::Filter),
            "map" => Some(Self::Map),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Exists => "exists",
            Self::ExistsOne => "exists_one",
            Self::Filter => "filter",
            Self::Map => "map",
        }
    }

    /// How it is written.
    pub(super) fn usage(self) -> &'static str {
        match self {
            Self::All => "list.all(x, condition)",
            Self::Exists => "list.exists(x, condition)",
            Self::ExistsOne => "list.exists_one(x, condition)",
            Self::Filter => "list.filter(x, condition)",
            Self::Map => "list.map(x, value) or list.map(x, condition, value)",
        }
    }
}

const NAMES: [&str; 13] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "int",
    "double",
    "string",
    "has",
    "all",
    "exists",
    "exists_one",
    "filter",
    "map",
];

/// What is said about a function that there is not.
fn unknown(name: &str) -> Told {
    let why = match name {
        "matches" | "find" | "findAll" | "replace" | "split" => {
            "regular expressions and rewriting of texts are left out"
        }
        "timestamp" | "duration" | "now" | "getFullYear" | "getMonth" | "getDate" | "getHours"
        | "getMinutes" => "an expression knows no time, so that it gives the same whenever it is evaluated",
        "rand" | "random" | "uuid" => "an expression gives the same whenever it is evaluated",
        "bytes" | "uint" | "dyn" | "type" => "there are the types that JSON has",
        _ => "",
    };
    let because = if why.is_empty() { String::new() } else { format!(" ({why})") };
    let mend = nearest::hint(name, NAMES, &format!("there are {}", NAMES.join(", ")));
    (format!("there is no function `{}`{because}", shown(name)), mend).into()
}
