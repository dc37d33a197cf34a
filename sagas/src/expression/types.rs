//! The types of expressions, and what a JSON Schema says about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

/// What is known about a value before any saga runs. Its parts are shared: a large schema is as cheap to pass on as a
/// small one.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Type {
    /// Nothing is known.
    #[default]
    Any,
    /// What the items of an empty list are: none, and so of every type. It stands nowhere else.
    Nothing,
    /// Null.
    Null,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A number that counts as a fraction, even where it has none.
    Double,
    /// A number: an int or a double, by its value.
    Number,
    /// A text.
    String,
    /// A list of items of one type.
    List(Arc<Type>),
    /// An object.
    Object(Arc<Fields>),
}

/// What is known about the fields of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields {
    /// Those that are declared.
    pub declared: BTreeMap<String, Type>,
    /// Those that are always there.
    pub required: BTreeSet<String>,
    /// What others are; none if there are no others.
    pub others: Option<Arc<Type>>,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Nothing => "nothing",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Double => "double",
            Self::Number => "number",
            Self::String => "string",
            Self::List(item) if matches!(**item, Self::Any | Self::Nothing) => "list",
            Self::List(item) => return write!(f, "list of {item}"),
            Self::Object(_) => "object",
        })
    }
}

/// How many schemas a `$ref` may lead through, one inside the other.
const REFS_MAX: usize = 16;
/// How many parts of a schema are looked at. A schema that refers to itself twice has no end.
const PARTS_MAX: usize = 5000;
/// How many fields an object may have to be compared with another one field by field.
const JOINED_MAX: usize = 64;
/// How deep types nest. What is deeper is any.
const DEPTH_MAX: usize = 32;

impl Type {
    /// What a JSON Schema says, as far as this looks: `type`, `properties`, `required`, `additionalProperties`,
    /// `patternProperties`, `items`, `prefixItems`, `enum`, `const` and `$ref` inside the document. What it does not understand is
    /// [`Type::Any`], never something that a value could contradict.
    pub fn of_schema(schema: &Value) -> Self {
        Reader { document: schema, parts: PARTS_MAX }.read(schema, DEPTH_MAX, REFS_MAX)
    }

    /// The type of the items, if it is a list: what a `for_each` over it calls by the name of its items.
    #[must_use]
    pub fn item(&self) -> Self {
        if let Self::List(item) = self { item.taken() } else { Self::Any }
    }

    /// The type of a value that is known.
    fn of_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::List(Arc::new(Self::Any)),
            Value::Object(_) => Self::open_object(),
        }
    }

    /// An object of which nothing else is known.
    pub(super) fn open_object() -> Self {
        Self::Object(Arc::new(Fields { others: Some(Arc::new(Self::Any)), ..Fields::default() }))
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double | Self::Number)
    }

    /// The type of an item that is taken out of a list of these.
    pub(super) fn taken(&self) -> Self {
        if *self == Self::Nothing { Self::Any } else { self.clone() }
    }

    /// The type of what is one or the other.
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::Object(left), Self::Object(right)) => {
                if Arc::ptr_eq(&left, &right) {
                    Self::Object(left)
                } else {
                    left.join(&right)
                }
            }
            (Self::List(left), Self::List(right)) => {
                if Arc::ptr_eq(&left, &right) {
                    return Self::List(left);
                }
                Self::List(Arc::new(left.as_ref().clone().join(right.as_ref().clone())))
            }
            (Self::Null, Self::Null) => Self::Null,
            (Self::Bool, Self::Bool) => Self::Bool,
            (Self::Int, Self::Int) => Self::Int,
            (Self::Double, Self::Double) => Self::Double,
            (Self::String, Self::String) => Self::String,
            (left, right) if left.is_number() && right.is_number() => Self::Number,
            _ => Self::Any,
        }
    }

    /// Whether a value can be of both types.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(left), Self::List(right)) => left.meets(right),
            (Self::Any | Self::Nothing, _)
            | (_, Self::Any | Self::Nothing)
            | (Self::Object(_), Self::Object(_))
            | (Self::Null, Self::Null)
            | (Self::Bool, Self::Bool)
            | (Self::String, Self::String) => true,
            (left, right) => left.is_number() && right.is_number(),
        }
    }
}

impl Fields {
    /// What is known of an object that is one or the other. Objects inside them are not looked into: that would take
    /// time in the size of their schemas, for each operator of an expression.
    fn join(&self, other: &Self) -> Type {
        if self.declared.len().max(other.declared.len()) > JOINED_MAX {
            return Type::open_object();
        }
        let flat = |ty: &Type| if let Type::Object(_) | Type::List(_) = ty { Type::Any } else { ty.clone() };
        // Of a field that one of them does not declare, it says what it says of all others; or it has none.
        let beside = |ty: &Type, others: &Option<Arc<Type>>| match others {
            Some(others) => flat(ty).join(flat(others)),
            None => ty.clone(),
        };
        let mut declared: BTreeMap<String, Type> =
            self.declared.iter().map(|(name, ty)| (name.clone(), beside(ty, &other.others))).collect();
        for (name, ty) in &other.declared {
            let joined = match self.declared.get(name) {
                Some(Type::Object(left)) if matches!(ty, Type::Object(right) if Arc::ptr_eq(left, right)) => {
                    ty.clone()
                }
                Some(left) => flat(left).join(flat(ty)),
                None => beside(ty, &self.others),
            };
            declared.insert(name.clone(), joined);
        }
        let others = match (&self.others, &other.others) {
            (None, None) => None,
            _ => Some(Arc::new(Type::Any)),
        };
        let required = self.required.intersection(&other.required).cloned().collect();
        Type::Object(Arc::new(Self { declared, required, others }))
    }
}

struct Reader<'s> {
    document: &'s Value,
    parts: usize,
}

impl<'s> Reader<'s> {
    fn read(&mut self, schema: &'s Value, depth: usize, refs: usize) -> Type {
        let Value::Object(schema) = schema else { return Type::Any };
        let (Some(depth), Some(parts)) = (depth.checked_sub(1), self.parts.checked_sub(1)) else {
            return Type::Any;
        };
        self.parts = parts;
        if let Some(name) = schema.get("type") {
            return self.named(name, schema, depth, refs);
        }
        if let Some(value) = schema.get("const") {
            return Type::of_value(value);
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return values.iter().map(Type::of_value).reduce(Type::join).unwrap_or_default();
        }
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|path| self.target(path));
        match (target, refs.checked_sub(1)) {
            // The reference itself is no level of the type.
            (Some(target), Some(refs)) => self.read(target, depth + 1, refs),
            _ => Type::Any,
        }
    }

    fn named(&mut self, name: &Value, schema: &'s Map<String, Value>, depth: usize, refs: usize) -> Type {
        match name.as_str() {
            Some("null") => Type::Null,
            Some("boolean") => Type::Bool,
            Some("integer") => Type::Int,
            Some("number") => Type::Number,
            Some("string") => Type::String,
            Some("array") => {
                let item = match schema.get("items") {
                    Some(items) if !schema.contains_key("prefixItems") => self.read(items, depth, refs),
                    _ => Type::Any,
                };
                Type::List(Arc::new(item))
            }
            Some("object") => Type::Object(Arc::new(self.fields(schema, depth, refs))),
            // Several types, perhaps all the same.
            _ => match name.as_array().map(Vec::as_slice) {
                Some([only]) if only.is_string() => self.named(only, schema, depth, refs),
                _ => Type::Any,
            },
        }
    }

    fn fields(&mut self, schema: &'s Map<String, Value>, depth: usize, refs: usize) -> Fields {
        let mut fields = Fields::default();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            fields.declared.insert(name.clone(), self.read(property, depth, refs));
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        fields.required = required.filter_map(Value::as_str).map(str::to_owned).collect();
        fields.others = match (schema.get("additionalProperties"), schema.contains_key("patternProperties")) {
            (Some(Value::Bool(false)), false) => None,
            (Some(others), false) => Some(Arc::new(self.read(others, depth, refs))),
            (None, false) | (_, true) => Some(Arc::new(Type::Any)),
        };
        fields
    }

    /// What a reference inside the document leads to.
    fn target(&self, path: &str) -> Option<&'s Value> {
        self.document.pointer(path.strip_prefix('#')?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(schema: &Value) -> Type {
        Type::of_schema(schema)
    }

    #[test]
    fn a_schema_says_what_a_value_is() {
        for (schema, ty) in [
            (json!(true), Type::Any),
            (json!({}), Type::Any),
            (json!({"type": "null"}), Type::Null),
            (json!({"type": "boolean"}), Type::Bool),
            (json!({"type": "integer"}), Type::Int),
            (json!({"type": "number"}), Type::Number),
            (json!({"type": "string", "enum": ["a"]}), Type::String),
            (json!({"type": ["string"]}), Type::String),
            (json!({"type": ["string", "null"]}), Type::Any),
            (json!({"type": "what"}), Type::Any),
            (json!({"const": "a"}), Type::String),
            (json!({"enum": ["a", "b"]}), Type::String),
            (json!({"enum": [1, 2.5]}), Type::Number),
            (json!({"enum": ["a", 1]}), Type::Any),
            (json!({"enum": []}), Type::Any),
            (json!({"anyOf": [{"type": "string"}]}), Type::Any),
            (json!({"properties": {"a": {"type": "string"}}}), Type::Any),
            (json!({"type": "array"}), Type::List(Arc::new(Type::Any))),
            (json!({"type": "array", "items": {"type": "string"}}), Type::List(Arc::new(Type::String))),
            (
                json!({"type": "array", "items": {"type": "string"}, "prefixItems": [true]}),
                Type::List(Arc::new(Type::Any)),
            ),
            (
                json!({"type": "array", "items": {"$ref": "#/$defs/t"}, "$defs": {"t": {"type": "integer"}}}),
                Type::List(Arc::new(Type::Int)),
            ),
            (json!({"$ref": "#/$defs/none"}), Type::Any),
            (json!({"$ref": "other.json"}), Type::Any),
            (json!({"type": "object"}), Type::open_object()),
        ] {
            assert_eq!(of(&schema), ty, "{schema}");
        }
    }

    #[test]
    fn an_object_knows_its_fields_those_that_are_always_there_and_whether_there_are_others() {
        let fields = |extra: Value| {
            let mut schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}});
            schema.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
            let Type::Object(fields) = of(&schema) else { panic!("{schema}") };
            fields.as_ref().clone()
        };
        let open = fields(json!({}));
        assert_eq!(
            open.declared,
            BTreeMap::from([("a".to_owned(), Type::String), ("b".to_owned(), Type::Int)])
        );
        assert_eq!(open.required, BTreeSet::from(["a".to_owned()]));
        assert_eq!(open.others, Some(Arc::new(Type::Any)));
        assert_eq!(fields(json!({"additionalProperties": false})).others, None);
        let typed = fields(json!({"additionalProperties": {"type": "boolean"}}));
        assert_eq!(typed.others, Some(Arc::new(Type::Bool)));
        let pattern = fields(json!({"additionalProperties": false, "patternProperties": {"^x": true}}));
        assert_eq!(pattern.others, Some(Arc::new(Type::Any)));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let mut ty = of(&json!({"type": "object", "properties": {"next": {"$ref": "#"}}}));
        let mut levels = 0;
        while let Type::Object(fields) = ty {
            levels += 1;
            ty = fields.declared.get("next").expect("the next one").clone();
        }
        assert_eq!((ty, levels), (Type::Any, 17), "the first, and one for each reference");
        let wide = json!({"type": "object", "properties": {"l": {"$ref": "#"}, "r": {"$ref": "#"}}});
        assert!(matches!(of(&wide), Type::Object(_)), "2^16 parts would be too many");
        let circle = json!({"$ref": "#"});
        assert_eq!(of(&circle), Type::Any);
    }
}
