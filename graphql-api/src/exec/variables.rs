//! Variables of a request, coerced to the types that the operation declares.
//!
//! # Invariants
//! - A variable that is here fits its declared type as far as the type is a built-in scalar, an
//!   enumeration or a list of such; inputs of conditions, regions and scalars of ours are checked
//!   where they are used, and nowhere is an unchecked value trusted.

use async_graphql::parser::types::{BaseType, OperationDefinition, Type};
use serde_json::{Map, Value as Json};

use crate::error::Fault;

/// The coerced variables of one request.
pub(crate) type Variables = Map<String, Json>;

/// Deepest list type of a variable.
const MAX_LIST_DEPTH: usize = 8;

/// Coerces what the client sent. Variables that the operation does not declare are dropped.
pub(crate) fn coerce(
    operation: &OperationDefinition,
    given: &mut Map<String, Json>,
) -> Result<Variables, Fault> {
    let mut variables = Variables::new();
    for definition in &operation.variable_definitions {
        let definition = &definition.node;
        let name = definition.name.node.as_str();
        let ty = &definition.var_type.node;
        let refuse = |reason: String| {
            Fault::invalid(format!("variable `${name}` of type {ty}: {reason}"))
                .at(definition.name.pos)
        };
        match given.remove(name) {
            Some(value) => {
                let value = fit(ty, value, MAX_LIST_DEPTH).map_err(refuse)?;
                variables.insert(name.to_owned(), value);
            }
            None => match &definition.default_value {
                Some(default) => {
                    let default = default.node.clone().into_json();
                    let default = default.map_err(|error| refuse(error.to_string()))?;
                    let default = fit(ty, default, MAX_LIST_DEPTH).map_err(refuse)?;
                    variables.insert(name.to_owned(), default);
                }
                None if !ty.nullable => return Err(refuse("a value is required".to_owned())),
                None => {}
            },
        }
    }
    Ok(variables)
}

fn fit(ty: &Type, value: Json, depth: usize) -> Result<Json, String> {
    if value.is_null() {
        return if ty.nullable {
            Ok(value)
        } else {
            Err("null is not allowed".to_owned())
        };
    }
    match (&ty.base, value) {
        (BaseType::List(_), _) if depth == 0 => Err("lists nest too deep".to_owned()),
        (BaseType::List(element), Json::Array(items)) => items
            .into_iter()
            .map(|item| fit(element, item, depth - 1))
            .collect(),
        // A single value stands for a list of it.
        (BaseType::List(element), single) => {
            Ok(Json::Array(vec![fit(element, single, depth - 1)?]))
        }
        (BaseType::Named(name), value) => scalar(name.as_str(), value),
    }
}

fn scalar(name: &str, value: Json) -> Result<Json, String> {
    let fits = match name {
        "Int" => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        "Float" => value.is_number(),
        "String" | "Date" | "DateTime" | "Time" | "Duration" => value.is_string(),
        "Boolean" => value.is_boolean(),
        "ID" => match value {
            Json::Number(number) if number.is_i64() || number.is_u64() => {
                return Ok(Json::String(number.to_string()));
            }
            _ => value.is_string(),
        },
        _ => true,
    };
    if fits {
        Ok(value)
    } else {
        Err(format!("{} does not fit", shown(&value)))
    }
}

/// A value as an error shows it, cut short.
pub(crate) fn shown(value: &Json) -> String {
    const MAX_SHOWN: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= MAX_SHOWN {
        return format!("`{text}`");
    }
    let start: String = text.chars().take(MAX_SHOWN).collect();
    format!("`{start}…`")
}
