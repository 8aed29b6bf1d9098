//! The door for foreign values: JSON and text cells become typed values or a reason why not.
//!
//! # Invariants
//! - Nothing is coerced: an integer is an integral JSON number, a text is a JSON string. The one
//!   exception is `long`, which also takes the text form, since JSON clients often lack 64 bits.
//! - A double of `-0` is kept; comparing by `total_cmp` sees it as less than `0`.
//! - Depth is bounded by the schema's and by [`MAX_VALUE_DEPTH`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::diagnostics::closest;
use crate::schema::{EnumSchema, Field, GeometryKind, Misfit, Schema, Value};
use crate::value::{days_of, micros_of_day};

/// Deepest nesting of lists, objects and maps in a value; twice what DTDL lets a schema nest, since
/// a component adds its own levels.
pub(crate) const MAX_VALUE_DEPTH: usize = 20;

/// Values named in a refusal before the list is cut.
const VALUES_LISTED: usize = 12;

impl Schema {
    /// The typed value of a JSON value, or why it does not fit.
    pub fn parse(&self, json: &Json) -> Result<Value, Misfit> {
        self.parse_at(json, MAX_VALUE_DEPTH)
    }

    /// The typed value of a text cell (CSV, URL): bare text for scalars, JSON for the rest.
    pub fn parse_text(&self, text: &str) -> Result<Value, Misfit> {
        let json = match self {
            Self::String | Self::Date | Self::DateTime | Self::Time | Self::Duration => {
                Json::from(text)
            }
            Self::Enum(one_of) => match one_of.values.first().map(|first| &first.value) {
                Some(Value::Int(_)) => self.scalar_cell(text)?,
                _ => Json::from(text),
            },
            Self::Boolean | Self::Integer { .. } | Self::Long | Self::Double => {
                self.scalar_cell(text)?
            }
            Self::Object(_) | Self::Array(_) | Self::Map(_) | Self::Geometry(_) => {
                serde_json::from_str(text).map_err(|error| {
                    Misfit::new(format!("expected {} as JSON: {error}", self.name()))
                })?
            }
        };
        self.parse(&json)
    }

    fn scalar_cell(&self, text: &str) -> Result<Json, Misfit> {
        let text = text.trim();
        match serde_json::from_str(text) {
            Ok(json @ (Json::Bool(_) | Json::Number(_))) => Ok(json),
            _ => Err(Misfit::new(format!(
                "expected {}, found `{}`",
                self.name(),
                shortened(text)
            ))),
        }
    }

    fn parse_at(&self, json: &Json, depth: usize) -> Result<Value, Misfit> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Misfit::new(format!(
                "nested deeper than {MAX_VALUE_DEPTH} levels"
            )));
        };
        match self {
            Self::Boolean => json
                .as_bool()
                .map(Value::Bool)
                .ok_or_else(|| self.misfit(json)),
            Self::Integer { min, max } => match integral(json) {
                Some(value) if (*min..=*max).contains(&value) => Ok(Value::Int(value)),
                _ => Err(self.misfit(json)),
            },
            Self::Long => integral(json)
                .or_else(|| json.as_str().and_then(|text| text.parse().ok()))
                .map(Value::Int)
                .ok_or_else(|| self.misfit(json)),
            Self::Double => match json.as_f64() {
                Some(value) if value.is_finite() => Ok(Value::Double(value)),
                _ => Err(self.misfit(json)),
            },
            Self::String => self.text(json).map(|text| Value::Text(text.into())),
            Self::Date => {
                let date: jiff::civil::Date = self.temporal(json)?;
                Ok(Value::Date(days_of(date)))
            }
            Self::DateTime => {
                let instant: jiff::Timestamp = self.temporal(json)?;
                Ok(Value::DateTime(instant.as_microsecond()))
            }
            Self::Time => {
                let time: jiff::civil::Time = self.temporal(json)?;
                Ok(Value::Time(micros_of_day(time)))
            }
            Self::Duration => {
                let text = self.text(json)?;
                // jiff also reads its own friendly form ("2h 30m"), which is not ISO 8601.
                if !text.trim_start_matches(['+', '-']).starts_with(['P', 'p']) {
                    return Err(self.misfit(json));
                }
                let span: jiff::Span = self.temporal(json)?;
                Ok(Value::Duration(span.to_string().into()))
            }
            Self::Enum(one_of) => enumerated(one_of, json),
            Self::Object(fields) => self.object(fields, json, depth),
            Self::Array(element) => {
                let items = json.as_array().ok_or_else(|| self.misfit(json))?;
                let values: Result<Vec<_>, Misfit> = items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| {
                        element
                            .parse_at(item, depth)
                            .map_err(|e| e.under(&format!("[{i}]")))
                    })
                    .collect();
                Ok(Value::List(Arc::new(values?)))
            }
            Self::Map(value) => {
                let members = json.as_object().ok_or_else(|| self.misfit(json))?;
                let values: Result<BTreeMap<Arc<str>, _>, Misfit> = members
                    .iter()
                    .map(|(key, member)| {
                        let value = value
                            .parse_at(member, depth)
                            .map_err(|e| e.under(&format!(".{key}")))?;
                        Ok((key.as_str().into(), value))
                    })
                    .collect();
                Ok(Value::Object(Arc::new(values?)))
            }
            Self::Geometry(kind) => {
                check_geometry(*kind, json)?;
                Ok(Value::Geometry(Arc::new(json.clone())))
            }
        }
    }

    fn misfit(&self, json: &Json) -> Misfit {
        Misfit::new(format!(
            "expected {}, found {}",
            self.name(),
            described(json)
        ))
    }

    fn text<'a>(&self, json: &'a Json) -> Result<&'a str, Misfit> {
        json.as_str().ok_or_else(|| self.misfit(json))
    }

    fn temporal<T: std::str::FromStr<Err = jiff::Error>>(&self, json: &Json) -> Result<T, Misfit> {
        let text = self.text(json)?;
        text.parse()
            .map_err(|error| Misfit::new(format!("expected {}: {error}", self.name())))
    }

    fn object(&self, fields: &[Field], json: &Json, depth: usize) -> Result<Value, Misfit> {
        let members = json.as_object().ok_or_else(|| self.misfit(json))?;
        let mut values = BTreeMap::new();
        for (key, member) in members {
            let Some(field) = fields.iter().find(|field| *field.name == **key) else {
                let suggestion = closest(key, fields.iter().map(|field| &*field.name));
                return Err(Misfit::new("no such field")
                    .suggesting(suggestion)
                    .under(&format!(".{key}")));
            };
            let value = field
                .schema
                .parse_at(member, depth)
                .map_err(|e| e.under(&format!(".{key}")))?;
            values.insert(Arc::clone(&field.name), value);
        }
        Ok(Value::Object(Arc::new(values)))
    }
}

fn enumerated(one_of: &EnumSchema, json: &Json) -> Result<Value, Misfit> {
    let found = one_of
        .values
        .iter()
        .find(|candidate| match &candidate.value {
            Value::Int(value) => integral(json) == Some(*value),
            Value::Text(text) => json.as_str() == Some(text),
            _ => false,
        });
    if let Some(found) = found {
        return Ok(found.value.clone());
    }
    let mut listed: Vec<String> = one_of
        .values
        .iter()
        .take(VALUES_LISTED)
        .map(|v| v.value.to_json().to_string())
        .collect();
    if one_of.values.len() > VALUES_LISTED {
        listed.push(format!("{} more", one_of.values.len() - VALUES_LISTED));
    }
    let reason = format!(
        "expected one of {}, found {}",
        listed.join(", "),
        described(json)
    );
    let texts = one_of
        .values
        .iter()
        .filter_map(|candidate| match &candidate.value {
            Value::Text(text) => Some(&**text),
            _ => None,
        });
    Err(Misfit::new(reason).suggesting(json.as_str().and_then(|text| closest(text, texts))))
}

/// The integer of an integral JSON number; `3.0` is one, `3.5` and `1e300` are not.
fn integral(json: &Json) -> Option<i64> {
    /// Beyond 2^53 a double no longer says which integer was meant.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(value) = json.as_i64() {
        return Some(value);
    }
    match json {
        Json::Number(number) if number.is_f64() => {
            let value = number.as_f64()?;
            (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
        }
        _ => None,
    }
}

/// Characters of a foreign value shown in a refusal.
const SHOWN_CHARS: usize = 40;

fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn described(json: &Json) -> String {
    match json {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(value) => value.to_string(),
        Json::String(text) => format!("the text \"{}\"", shortened(text)),
        Json::Array(_) => "a list".to_owned(),
        Json::Object(_) => "an object".to_owned(),
    }
}

/// How many list levels stand above a position in a geometry's coordinates.
fn list_levels(kind: GeometryKind) -> u8 {
    match kind {
        GeometryKind::Point => 0,
        GeometryKind::MultiPoint | GeometryKind::LineString => 1,
        GeometryKind::MultiLineString | GeometryKind::Polygon => 2,
        GeometryKind::MultiPolygon => 3,
    }
}

fn check_geometry(kind: GeometryKind, json: &Json) -> Result<(), Misfit> {
    let expected = kind.geojson_type();
    let members = json.as_object().ok_or_else(|| {
        Misfit::new(format!(
            "expected a GeoJSON {expected}, found {}",
            described(json)
        ))
    })?;
    let found = members.get("type").unwrap_or(&Json::Null);
    if found.as_str() != Some(expected) {
        let reason = format!("expected \"{expected}\", found {}", described(found));
        return Err(Misfit::new(reason).under(".type"));
    }
    for key in members.keys() {
        if !matches!(key.as_str(), "type" | "coordinates" | "bbox") {
            return Err(
                Misfit::new("a GeoJSON geometry has no such member").under(&format!(".{key}"))
            );
        }
    }
    let coordinates = members.get("coordinates").unwrap_or(&Json::Null);
    check_coordinates(kind, list_levels(kind), coordinates).map_err(|e| e.under(".coordinates"))
}

fn check_coordinates(kind: GeometryKind, levels: u8, json: &Json) -> Result<(), Misfit> {
    if levels == 0 {
        return check_position(json);
    }
    let items = json
        .as_array()
        .ok_or_else(|| Misfit::new(format!("expected a list, found {}", described(json))))?;
    for (i, item) in items.iter().enumerate() {
        check_coordinates(kind, levels - 1, item).map_err(|e| e.under(&format!("[{i}]")))?;
    }
    let innermost = levels == 1;
    match kind {
        GeometryKind::LineString | GeometryKind::MultiLineString if innermost => {
            if items.len() < 2 {
                return Err(Misfit::new("a line needs at least two positions"));
            }
        }
        GeometryKind::Polygon | GeometryKind::MultiPolygon if innermost => {
            if items.len() < 4 || items.first() != items.last() {
                return Err(Misfit::new(
                    "a ring needs at least four positions, the last the same as the first",
                ));
            }
        }
        _ => {
            if items.is_empty() {
                return Err(Misfit::new(
                    "an empty geometry has no place; leave the value out",
                ));
            }
        }
    }
    Ok(())
}

fn check_position(json: &Json) -> Result<(), Misfit> {
    const SHAPE: &str = "a position is [longitude, latitude] or [longitude, latitude, height]";
    let numbers: Option<Vec<f64>> = json
        .as_array()
        .and_then(|items| items.iter().map(Json::as_f64).collect());
    match numbers.as_deref() {
        Some([lon, lat] | [lon, lat, _]) => {
            if !(-180.0..=180.0).contains(lon) {
                return Err(
                    Misfit::new(format!("longitude {lon} is outside -180 to 180")).under("[0]"),
                );
            }
            if !(-90.0..=90.0).contains(lat) {
                return Err(
                    Misfit::new(format!("latitude {lat} is outside -90 to 90")).under("[1]")
                );
            }
            Ok(())
        }
        _ => Err(Misfit::new(format!("{SHAPE}, found {}", described(json)))),
    }
}

#[cfg(test)]
mod tests;
