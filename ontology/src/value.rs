//! How typed values compare and how they look as JSON.
//!
//! # Invariants
//! - Equality, order and hash agree: doubles compare by `total_cmp` and hash by their bits.
//! - For every value `v` of a schema `s`: `s.parse(&v.to_json()) == Ok(v)`.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jiff::civil;
use serde_json::Value as Json;

use crate::schema::Value;

impl Value {
    /// Rank of the kind, for the order between values of different schemas.
    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) => 1,
            Self::Double(_) => 2,
            Self::Text(_) => 3,
            Self::Date(_) => 4,
            Self::DateTime(_) => 5,
            Self::Time(_) => 6,
            Self::Duration(_) => 7,
            Self::List(_) => 8,
            Self::Object(_) => 9,
            Self::Geometry(_) => 10,
        }
    }

    /// The value as JSON. Integers of any width are numbers here; where a client cannot hold 64
    /// bits, the caller writes them as text.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Double(value) => Json::from(*value),
            Self::Text(text) | Self::Duration(text) => Json::from(&**text),
            Self::Date(days) => Json::from(date_text(*days)),
            Self::DateTime(micros) => Json::from(instant_text(*micros)),
            Self::Time(micros) => Json::from(time_text(*micros)),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Object(fields) => Json::Object(
                fields
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_json()))
                    .collect(),
            ),
            Self::Geometry(geometry) => Json::clone(geometry),
        }
    }
}

/// Day 0 of [`Value::Date`].
const EPOCH: civil::Date = civil::date(1970, 1, 1);

/// Days since 1970-01-01.
pub(crate) fn days_of(date: civil::Date) -> i32 {
    date.duration_since(EPOCH).as_hours().div_euclid(24) as i32
}

/// Microseconds since midnight.
pub(crate) fn micros_of_day(time: civil::Time) -> i64 {
    i64::try_from(time.duration_since(civil::Time::midnight()).as_micros()).unwrap_or(0)
}

/// A day outside the calendar's years cannot come from [`crate::Schema::parse`]; one made otherwise
/// shows as its number.
fn date_text(days: i32) -> String {
    EPOCH
        .checked_add(jiff::SignedDuration::from_hours(i64::from(days) * 24))
        .map_or_else(|_| days.to_string(), |date| date.to_string())
}

/// RFC 3339 in UTC, with as many decimals as needed, at most six. An instant outside the calendar's
/// years, which no parse makes, shows as its number.
fn instant_text(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros)
        .map_or_else(|_| micros.to_string(), |instant| instant.to_string())
}

/// The length of an ISO 8601 duration whose length is always the same: one of weeks, days of 24
/// hours, hours, minutes and seconds. `None` for others, and for negative ones.
pub fn exact_duration(text: &str) -> Option<std::time::Duration> {
    let span: jiff::Span = text.parse().ok()?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    std::time::Duration::try_from(span.to_duration(days).ok()?).ok()
}

fn time_text(micros: i64) -> String {
    civil::Time::midnight()
        .checked_add(jiff::SignedDuration::from_micros(micros))
        .map_or_else(|_| micros.to_string(), |time| time.to_string())
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) | (Self::Duration(a), Self::Duration(b)) => a.cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b))
            | (Self::DateTime(a), Self::DateTime(b))
            | (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (Self::List(a), Self::List(b)) => a.cmp(b),
            (Self::Object(a), Self::Object(b)) => a.cmp(b),
            (Self::Geometry(a), Self::Geometry(b)) => {
                if Arc::ptr_eq(a, b) {
                    Ordering::Equal
                } else {
                    compare_json(a, b)
                }
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Self::Bool(value) => value.hash(state),
            Self::Int(value) | Self::DateTime(value) | Self::Time(value) => value.hash(state),
            Self::Double(value) => value.to_bits().hash(state),
            Self::Text(text) | Self::Duration(text) => text.hash(state),
            Self::Date(days) => days.hash(state),
            Self::List(items) => items.hash(state),
            Self::Object(fields) => fields.hash(state),
            Self::Geometry(geometry) => hash_json(geometry, state),
        }
    }
}

fn json_rank(json: &Json) -> u8 {
    match json {
        Json::Null => 0,
        Json::Bool(_) => 1,
        Json::Number(_) => 2,
        Json::String(_) => 3,
        Json::Array(_) => 4,
        Json::Object(_) => 5,
    }
}

/// Numbers of geometries are coordinates, so they compare and hash as doubles.
fn number(number: &serde_json::Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

fn compare_json(a: &Json, b: &Json) -> Ordering {
    match (a, b) {
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::Number(a), Json::Number(b)) => number(a).total_cmp(&number(b)),
        (Json::String(a), Json::String(b)) => a.cmp(b),
        (Json::Array(a), Json::Array(b)) => a
            .iter()
            .zip(b)
            .map(|(a, b)| compare_json(a, b))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| a.len().cmp(&b.len())),
        (Json::Object(a), Json::Object(b)) => {
            let (a, b) = (sorted_members(a), sorted_members(b));
            a.iter()
                .zip(&b)
                .map(|((ka, va), (kb, vb))| ka.cmp(kb).then_with(|| compare_json(va, vb)))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => json_rank(a).cmp(&json_rank(b)),
    }
}

fn hash_json<H: Hasher>(json: &Json, state: &mut H) {
    json_rank(json).hash(state);
    match json {
        Json::Null => {}
        Json::Bool(value) => value.hash(state),
        Json::Number(value) => number(value).to_bits().hash(state),
        Json::String(text) => text.hash(state),
        Json::Array(items) => {
            items.len().hash(state);
            for item in items {
                hash_json(item, state);
            }
        }
        Json::Object(members) => {
            members.len().hash(state);
            for (key, value) in sorted_members(members) {
                key.hash(state);
                hash_json(value, state);
            }
        }
    }
}

fn sorted_members(object: &serde_json::Map<String, Json>) -> Vec<(&String, &Json)> {
    let mut members: Vec<_> = object.iter().collect();
    members.sort_by_key(|(key, _)| *key);
    members
}
