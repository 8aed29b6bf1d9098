//! The forms in which JSON-LD lets a model write one and the same literal.
//!
//! # Invariants
//! - Unwrapping never changes a literal; what is no literal in any form stays as it is.

use jsonc_parser::ast::{Object, Value as Ast};

/// How the datatypes of XML Schema are named.
const XSD_PREFIXES: &[&str] = &["xsd:", "http://www.w3.org/2001/XMLSchema#"];

/// The literal that JSON-LD lets a model wrap in a list of one or in an object with `@value`.
/// What is wrapped otherwise stays as it is, and is then no literal.
pub(super) fn plain<'a>(value: &'a Ast<'a>) -> &'a Ast<'a> {
    let inner = match value {
        Ast::Array(array) => match &*array.elements {
            [one] => one,
            _ => value,
        },
        _ => value,
    };
    let unwrapped = match inner {
        Ast::Object(object) => value_object(object),
        Ast::Array(_) => None,
        literal => Some(literal),
    };
    unwrapped.unwrap_or(value)
}

/// The literal of an object with `@value`, where its `@type` is the literal's own.
fn value_object<'a>(object: &'a Object<'a>) -> Option<&'a Ast<'a>> {
    let literal = &object.get("@value")?.value;
    let natural = match literal {
        Ast::StringLit(_) => "string",
        Ast::NumberLit(_) => "integer",
        Ast::BooleanLit(_) => "boolean",
        _ => return None,
    };
    let only_keywords = object
        .properties
        .iter()
        .all(|p| p.name.as_str().starts_with('@'));
    let fits = match object.get("@type").map(|property| &property.value) {
        None => true,
        Some(Ast::StringLit(datatype)) => {
            let name = XSD_PREFIXES
                .iter()
                .find_map(|prefix| datatype.value.strip_prefix(prefix));
            name == Some(natural)
        }
        Some(_) => false,
    };
    (only_keywords && fits).then_some(literal)
}

/// A JSON-LD set: one value stands for a list of one.
pub(super) fn one_or_many<'a>(value: &'a Ast<'a>) -> Vec<&'a Ast<'a>> {
    match value {
        Ast::Array(array) => array.elements.iter().collect(),
        one => vec![one],
    }
}

pub(super) fn number(value: &Ast<'_>) -> Option<i64> {
    value
        .as_number_lit()
        .and_then(|literal| literal.value.parse().ok())
}

/// Whether a text has the form of a BCP 47 language tag.
pub(super) fn is_language_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    (2..=8).contains(&first.len())
        && first.chars().all(|c| c.is_ascii_alphabetic())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric())
        })
}
