//! Values inside packed records: a tag byte and what it needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use ontology::Value;
use serde_json::Value as Json;

use super::bytes::{Reader, Writer};
use super::{CodecError, NO_KEY};

/// Deepest nesting that is decoded; twice and more what the ontology admits.
const MAX_DEPTH: usize = 48;

const FALSE: u8 = 0;
const TRUE: u8 = 1;
const INT: u8 = 2;
const DOUBLE: u8 = 3;
const TEXT: u8 = 4;
const DATE: u8 = 5;
const DATE_TIME: u8 = 6;
const TIME: u8 = 7;
const DURATION: u8 = 8;
const LIST: u8 = 9;
const OBJECT: u8 = 10;
const GEOMETRY: u8 = 11;
const ENVELOPE: u8 = 12;
const NULL: u8 = 13;

/// Writes a personal value: the name of the key that encrypts it and the value.
pub(super) fn write_personal(value: &Value, to: &mut Writer) {
    to.byte(ENVELOPE);
    to.text(NO_KEY);
    write(value, to);
}

pub(super) fn write(value: &Value, to: &mut Writer) {
    match value {
        Value::Bool(value) => to.byte(if *value { TRUE } else { FALSE }),
        Value::Int(value) => {
            to.byte(INT);
            to.signed(*value);
        }
        Value::Double(value) => {
            to.byte(DOUBLE);
            to.double(*value);
        }
        Value::Text(text) => {
            to.byte(TEXT);
            to.text(text);
        }
        Value::Date(days) => {
            to.byte(DATE);
            to.signed(i64::from(*days));
        }
        Value::DateTime(micros) => {
            to.byte(DATE_TIME);
            to.signed(*micros);
        }
        Value::Time(micros) => {
            to.byte(TIME);
            to.signed(*micros);
        }
        Value::Duration(text) => {
            to.byte(DURATION);
            to.text(text);
        }
        Value::List(items) => {
            to.byte(LIST);
            to.unsigned(items.len() as u64);
            for item in items.iter() {
                write(item, to);
            }
        }
        Value::Object(members) => {
            to.byte(OBJECT);
            to.unsigned(members.len() as u64);
            for (name, member) in members.iter() {
                to.text(name);
                write(member, to);
            }
        }
        Value::Geometry(json) => {
            to.byte(GEOMETRY);
            write_json(json, to);
        }
    }
}

/// Upper bound of the bytes that [`write`] takes, for an envelope too.
pub(super) fn bound(value: &Value) -> usize {
    const ENVELOPE_BYTES: usize = 8;
    ENVELOPE_BYTES + bound_inside(value)
}

fn bound_inside(value: &Value) -> usize {
    const SMALL: usize = 11;
    match value {
        Value::Text(text) | Value::Duration(text) => SMALL + text.len(),
        Value::List(items) => SMALL + items.iter().map(bound_inside).sum::<usize>(),
        Value::Object(members) => {
            let bytes =
                |(name, value): (&Arc<str>, &Value)| SMALL + name.len() + bound_inside(value);
            SMALL + members.iter().map(bytes).sum::<usize>()
        }
        Value::Geometry(json) => bound_json(json),
        _ => SMALL,
    }
}

fn bound_json(json: &Json) -> usize {
    const SMALL: usize = 11;
    match json {
        Json::String(text) => SMALL + text.len(),
        Json::Array(items) => SMALL + items.iter().map(bound_json).sum::<usize>(),
        Json::Object(members) => {
            let bytes = |(name, json): (&String, &Json)| SMALL + name.len() + bound_json(json);
            SMALL + members.iter().map(bytes).sum::<usize>()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => SMALL,
    }
}

/// JSON as the same tags, since its text form would not give every double back exactly.
fn write_json(json: &Json, to: &mut Writer) {
    match json {
        Json::Null => to.byte(NULL),
        Json::Bool(value) => to.byte(if *value { TRUE } else { FALSE }),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => {
                to.byte(INT);
                to.signed(value);
            }
            (None, Some(value)) if value.is_finite() => {
                to.byte(DOUBLE);
                to.double(value);
            }
            // Numbers beyond any double do not come from a schema.
            _ => to.byte(NULL),
        },
        Json::String(text) => {
            to.byte(TEXT);
            to.text(text);
        }
        Json::Array(items) => {
            to.byte(LIST);
            to.unsigned(items.len() as u64);
            for item in items {
                write_json(item, to);
            }
        }
        Json::Object(members) => {
            to.byte(OBJECT);
            to.unsigned(members.len() as u64);
            for (name, member) in members {
                to.text(name);
                write_json(member, to);
            }
        }
    }
}

/// Reads a value, out of its envelope if it is in one.
pub(super) fn read(from: &mut Reader<'_>) -> Result<Value, CodecError> {
    let mut ahead = from.clone();
    if ahead.byte()? == ENVELOPE {
        let key = ahead.text()?;
        if key != NO_KEY {
            return Err(CodecError::Key {
                key: key.chars().take(80).collect(),
            });
        }
        *from = ahead;
    }
    read_at(from, MAX_DEPTH)
}

fn read_at(from: &mut Reader<'_>, depth: usize) -> Result<Value, CodecError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(from.wrong("nested too deeply"));
    };
    Ok(match from.byte()? {
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        INT => Value::Int(from.signed()?),
        DOUBLE => Value::Double(from.double()?),
        TEXT => Value::Text(from.text()?.into()),
        DATE => {
            let days = i32::try_from(from.signed()?).ok();
            Value::Date(days.ok_or_else(|| from.wrong("a date beyond 32 bits"))?)
        }
        DATE_TIME => Value::DateTime(from.signed()?),
        TIME => Value::Time(from.signed()?),
        DURATION => Value::Duration(from.text()?.into()),
        LIST => {
            // Grown as items come: their count is only a claim.
            let mut items = Vec::new();
            for _ in 0..from.count()? {
                items.push(read_at(from, depth)?);
            }
            Value::List(Arc::new(items))
        }
        OBJECT => {
            let mut members = BTreeMap::new();
            for _ in 0..from.count()? {
                let name = from.text()?.into();
                members.insert(name, read_at(from, depth)?);
            }
            Value::Object(Arc::new(members))
        }
        GEOMETRY => Value::Geometry(Arc::new(read_json(from, depth)?)),
        _ => return Err(from.wrong("a kind of value that does not exist")),
    })
}

fn read_json(from: &mut Reader<'_>, depth: usize) -> Result<Json, CodecError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(from.wrong("nested too deeply"));
    };
    Ok(match from.byte()? {
        NULL => Json::Null,
        FALSE => Json::Bool(false),
        TRUE => Json::Bool(true),
        INT => Json::from(from.signed()?),
        DOUBLE => Json::from(from.double()?),
        TEXT => Json::from(from.text()?),
        LIST => {
            let mut items = Vec::new();
            for _ in 0..from.count()? {
                items.push(read_json(from, depth)?);
            }
            Json::Array(items)
        }
        OBJECT => {
            let mut members = serde_json::Map::new();
            for _ in 0..from.count()? {
                let name = from.text()?.to_owned();
                members.insert(name, read_json(from, depth)?);
            }
            Json::Object(members)
        }
        _ => return Err(from.wrong("a kind of JSON that does not exist")),
    })
}
