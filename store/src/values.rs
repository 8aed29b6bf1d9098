//! Values of the ontology as values of SurrealDB, and back by their schema.
//!
//! # Invariants
//! - `from_stored(schema, to_stored(v)) == v` for every value `v` of `schema`.
//! - A value that does not fit its schema is an error that names where it is.

use std::sync::Arc;

use ontology::{Property, Schema, Value};
use serde_json::Value as Json;
use surrealdb::types::{Array, Datetime, Number, Object, Value as Stored};

use crate::codec::NO_KEY;

const MICROS: i64 = 1_000_000;
const NANOS_PER_MICRO: u32 = 1_000;

/// A property's value as its field holds it: personal ones inside an envelope.
pub(crate) fn property_to_stored(property: &Property, value: &Value) -> Stored {
    if !property.personal {
        return to_stored(value);
    }
    let mut envelope = Object::new();
    envelope.insert("key", NO_KEY.to_owned());
    envelope.insert("value", to_stored(value));
    Stored::Object(envelope)
}

/// A property's value from its field.
pub(crate) fn property_from_stored(property: &Property, stored: Stored) -> Result<Value, String> {
    if !property.personal {
        return from_stored(&property.schema, stored);
    }
    let Stored::Object(mut envelope) = stored else {
        return Err(format!(
            "a personal value without its envelope: {}",
            shown(&stored)
        ));
    };
    match envelope.remove("key") {
        Some(Stored::String(key)) if key == NO_KEY => {}
        Some(Stored::String(key)) => {
            return Err(format!(
                "encrypted with key `{key}`, which is not known here"
            ));
        }
        _ => return Err("an envelope without the name of its key".to_owned()),
    }
    from_stored(
        &property.schema,
        envelope.remove("value").unwrap_or_default(),
    )
}

pub(crate) fn to_stored(value: &Value) -> Stored {
    match value {
        Value::Bool(value) => Stored::Bool(*value),
        Value::Int(value) => Stored::Number(Number::Int(*value)),
        Value::Double(value) => Stored::Number(Number::Float(*value)),
        Value::Text(text) | Value::Duration(text) => Stored::String(text.to_string()),
        Value::DateTime(micros) => datetime(*micros)
            // An instant outside the calendar, which no schema admits, would fail its field's type.
            .map_or(Stored::Number(Number::Int(*micros)), Stored::Datetime),
        Value::Date(_) | Value::Time(_) => json_to_stored(&value.to_json()),
        Value::List(items) => Stored::Array(items.iter().map(to_stored).collect()),
        Value::Object(members) => Stored::Object(
            members
                .iter()
                .map(|(name, value)| (name.to_string(), to_stored(value)))
                .collect(),
        ),
        Value::Geometry(json) => json_to_stored(json),
    }
}

fn datetime(micros: i64) -> Option<Datetime> {
    let nanos = u32::try_from(micros.rem_euclid(MICROS)).ok()? * NANOS_PER_MICRO;
    Datetime::from_timestamp(micros.div_euclid(MICROS), nanos)
}

pub(crate) fn from_stored(schema: &Schema, stored: Stored) -> Result<Value, String> {
    match (schema, stored) {
        (Schema::Boolean, Stored::Bool(value)) => Ok(Value::Bool(value)),
        (
            Schema::Integer { .. } | Schema::Long | Schema::Enum(_),
            Stored::Number(Number::Int(value)),
        ) => Ok(Value::Int(value)),
        (Schema::Double, Stored::Number(Number::Float(value))) => Ok(Value::Double(value)),
        (Schema::Double, Stored::Number(Number::Int(value))) => Ok(Value::Double(value as f64)),
        (Schema::String | Schema::Enum(_), Stored::String(text)) => Ok(Value::Text(text.into())),
        (Schema::Duration, Stored::String(text)) => Ok(Value::Duration(text.into())),
        (Schema::DateTime, Stored::Datetime(instant)) => {
            Ok(Value::DateTime(instant.timestamp_micros()))
        }
        (Schema::Date | Schema::Time, Stored::String(text)) => schema
            .parse(&Json::from(text))
            .map_err(|misfit| misfit.to_string()),
        (Schema::Array(element), Stored::Array(items)) => {
            let items: Result<Vec<_>, _> = items
                .into_iter()
                .map(|item| from_stored(element, item))
                .collect();
            Ok(Value::List(Arc::new(items?)))
        }
        (Schema::Map(value), Stored::Object(members)) => {
            let members: Result<_, String> = members
                .into_iter()
                .map(|(name, member)| Ok((name.into(), from_stored(value, member)?)))
                .collect();
            Ok(Value::Object(Arc::new(members?)))
        }
        (Schema::Object(fields), Stored::Object(members)) => {
            let members: Result<_, String> = members
                .into_iter()
                .map(|(name, member)| {
                    let field = fields.iter().find(|field| *field.name == *name);
                    let field = field.ok_or_else(|| format!("no field `{name}` in the model"))?;
                    let value = from_stored(&field.schema, member);
                    Ok((
                        Arc::clone(&field.name),
                        value.map_err(|e| format!(".{name}: {e}"))?,
                    ))
                })
                .collect();
            Ok(Value::Object(Arc::new(members?)))
        }
        (Schema::Geometry(_), stored @ Stored::Object(_)) => {
            Ok(Value::Geometry(Arc::new(stored_to_json(stored))))
        }
        (schema, stored) => Err(format!(
            "expected {}, found {}",
            schema.name(),
            shown(&stored)
        )),
    }
}

fn shown(stored: &Stored) -> String {
    /// Longest value shown.
    const SHOWN: usize = 80;
    format!("{stored:?}").chars().take(SHOWN).collect()
}

/// JSON as SurrealDB's values; GeoJSON stays an object.
pub(crate) fn json_to_stored(json: &Json) -> Stored {
    match json {
        Json::Null => Stored::Null,
        Json::Bool(value) => Stored::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Stored::Number(Number::Int(value)),
            (None, Some(value)) => Stored::Number(Number::Float(value)),
            (None, None) => Stored::Null,
        },
        Json::String(text) => Stored::String(text.clone()),
        Json::Array(items) => Stored::Array(Array::from(
            items.iter().map(json_to_stored).collect::<Vec<_>>(),
        )),
        Json::Object(members) => Stored::Object(
            members
                .iter()
                .map(|(name, member)| (name.clone(), json_to_stored(member)))
                .collect(),
        ),
    }
}

/// SurrealDB's values as JSON: record ids as `Table:⟨id⟩`, geometry as GeoJSON, bytes as their
/// number.
pub(crate) fn stored_to_json(stored: Stored) -> Json {
    match stored {
        Stored::None | Stored::Null => Json::Null,
        Stored::Bool(value) => Json::Bool(value),
        Stored::Number(Number::Int(value)) => Json::from(value),
        Stored::Number(Number::Float(value)) => Json::from(value),
        Stored::Number(Number::Decimal(value)) => Json::from(value.to_string()),
        Stored::String(text) => Json::String(text),
        Stored::Bytes(bytes) => Json::from(format!("<{} bytes>", bytes.len())),
        Stored::Datetime(instant) => Json::from(instant.to_string()),
        Stored::RecordId(id) => Json::from(record_id_text(&id)),
        Stored::Array(items) => items.into_iter().map(stored_to_json).collect(),
        Stored::Set(items) => items.into_iter().map(stored_to_json).collect(),
        Stored::Object(members) => Json::Object(
            members
                .into_iter()
                .map(|(name, member)| (name, stored_to_json(member)))
                .collect(),
        ),
        Stored::Geometry(geometry) => stored_to_json(Stored::Object(geometry.as_object())),
        other => {
            use surrealdb::types::ToSql as _;
            Json::from(other.to_sql())
        }
    }
}

/// `Table:⟨id⟩`, as the documents and examples write it.
pub(crate) fn record_id_text(id: &surrealdb::types::RecordId) -> String {
    use surrealdb::types::{RecordIdKey, ToSql as _};
    match &id.key {
        RecordIdKey::String(key) => format!("{}:⟨{key}⟩", id.table.as_str()),
        key => format!("{}:{}", id.table.as_str(), key.to_sql()),
    }
}
