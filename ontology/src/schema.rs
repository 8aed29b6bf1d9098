//! Schemas and the values they admit: the one place where foreign JSON becomes a typed value.
//!
//! # Invariants
//! - A [`Value`] made by [`Schema::parse`] fits its schema; nothing after that checks it again.
//! - Doubles are finite. Instants are microseconds since 1970-01-01T00:00:00Z.
//! - `Value` orders totally within one schema (`Double` by `total_cmp`), so it can be an index key.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What values a property, telemetry or field takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Schema {
    /// `true` or `false`.
    Boolean,
    /// 32-bit signed (DTDL integer; also byte and short, with their range).
    Integer {
        /// Smallest admitted value.
        min: i64,
        /// Largest admitted value.
        max: i64,
    },
    /// 64-bit signed; a string in the API's `BigInt`.
    Long,
    /// Finite 64-bit float (DTDL double, float and decimal).
    Double,
    /// UTF-8 text.
    String,
    /// A calendar day, `2025-01-31`.
    Date,
    /// An instant, RFC 3339 outside, microseconds inside.
    DateTime,
    /// A wall-clock time, `08:30:00`.
    Time,
    /// An ISO 8601 duration.
    Duration,
    /// One of named values; stored as the value's text or number.
    Enum(Arc<EnumSchema>),
    /// Named fields.
    Object(Arc<Vec<Field>>),
    /// A list of one schema.
    Array(Arc<Schema>),
    /// Values of one schema by text key.
    Map(Arc<Schema>),
    /// A GeoJSON geometry of one type (`point`, `lineString`, `polygon`, `multi…`).
    Geometry(GeometryKind),
}

/// The geometry types of DTDL's geospatial schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeometryKind {
    /// GeoJSON Point.
    Point,
    /// GeoJSON `MultiPoint`.
    MultiPoint,
    /// GeoJSON `LineString`.
    LineString,
    /// GeoJSON `MultiLineString`.
    MultiLineString,
    /// GeoJSON Polygon.
    Polygon,
    /// GeoJSON `MultiPolygon`.
    MultiPolygon,
}

/// An enumeration.
#[derive(Debug, Clone, PartialEq)]
pub struct EnumSchema {
    /// Name for the API's enum type, where the model names the schema.
    pub name: Option<Arc<str>>,
    /// The admitted values, in the model's order.
    pub values: Vec<EnumValue>,
}

/// One value of an enumeration.
#[derive(Debug, Clone, PartialEq)]
pub struct EnumValue {
    /// Name in the model.
    pub name: Arc<str>,
    /// What stands in data.
    pub value: Value,
    /// Description of the model.
    pub description: Arc<str>,
}

/// A field of an object schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Name in the model and in data.
    pub name: Arc<str>,
    /// Description of the model.
    pub description: Arc<str>,
    /// What values it takes.
    pub schema: Schema,
}

/// A typed value.
#[derive(Debug, Clone)]
pub enum Value {
    /// Boolean.
    Bool(bool),
    /// Integer, long, or an integer enumeration's value.
    Int(i64),
    /// Double; finite.
    Double(f64),
    /// String, or a text enumeration's value.
    Text(Arc<str>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00Z.
    DateTime(i64),
    /// Microseconds since midnight.
    Time(i64),
    /// An ISO 8601 duration in its normal text form.
    Duration(Arc<str>),
    /// Array.
    List(Arc<Vec<Value>>),
    /// Object or map.
    Object(Arc<BTreeMap<Arc<str>, Value>>),
    /// A geometry as its GeoJSON object.
    Geometry(Arc<serde_json::Value>),
}

/// Why a value does not fit its schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Misfit {
    /// Where inside the value, `.` for the value itself, else `.field[3]`.
    pub path: String,
    /// What is wrong and what was expected.
    pub reason: String,
    /// A close name that may have been meant.
    pub suggestion: Option<String>,
}

impl Misfit {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            path: ".".to_owned(),
            reason: reason.into(),
            suggestion: None,
        }
    }

    pub(crate) fn suggesting(mut self, suggestion: Option<&str>) -> Self {
        self.suggestion = suggestion.map(str::to_owned);
        self
    }

    /// The misfit as seen from the value that holds this one under `step` (`.field` or `[3]`).
    pub(crate) fn under(mut self, step: &str) -> Self {
        let inner = if self.path == "." { "" } else { &*self.path };
        self.path = format!("{step}{inner}");
        self
    }
}

impl GeometryKind {
    /// The `type` member of its GeoJSON objects.
    pub fn geojson_type(self) -> &'static str {
        match self {
            Self::Point => "Point",
            Self::MultiPoint => "MultiPoint",
            Self::LineString => "LineString",
            Self::MultiLineString => "MultiLineString",
            Self::Polygon => "Polygon",
            Self::MultiPolygon => "MultiPolygon",
        }
    }
}

impl Schema {
    /// What it takes, in a few words: `an integer from 0 to 255`.
    pub fn name(&self) -> String {
        match self {
            Self::Boolean => "true or false".to_owned(),
            Self::Integer { min, max } => format!("an integer from {min} to {max}"),
            Self::Long => "a 64-bit integer".to_owned(),
            Self::Double => "a finite number".to_owned(),
            Self::String => "a text".to_owned(),
            Self::Date => "a date like 2025-01-31".to_owned(),
            Self::DateTime => "an instant like 2025-01-31T08:30:00Z".to_owned(),
            Self::Time => "a time of day like 08:30:00".to_owned(),
            Self::Duration => "an ISO 8601 duration like PT30M".to_owned(),
            Self::Enum(one_of) => match &one_of.name {
                Some(name) => format!("a value of {name}"),
                None => "one of a list of values".to_owned(),
            },
            Self::Object(_) => "an object".to_owned(),
            Self::Array(element) => format!("a list, each {}", element.name()),
            Self::Map(value) => format!("a map, each value {}", value.name()),
            Self::Geometry(kind) => format!("a GeoJSON {}", kind.geojson_type()),
        }
    }
}
