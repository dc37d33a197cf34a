//! Expressions: what they are worth, what they are refused for, and that nothing makes them hang.

#[path = "expressions/generate.rs"]
mod generate;
#[path = "expressions/limits.rs"]
mod limits;
#[path = "expressions/oracle.rs"]
mod oracle;
#[path = "expressions/random.rs"]
mod random;
#[path = "expressions/saga.rs"]
mod saga;
#[path = "expressions/syntax.rs"]
mod syntax;
#[path = "expressions/types.rs"]
mod types;
#[path = "expressions/values.rs"]
mod values;
