//! GeoJSON: a `FeatureCollection` read feature by feature, or one feature a line.
//!
//! # Invariants
//! - The collection is never held: one feature's text is, at most `MAX_FEATURE_BYTES`.
//! - A feature of broken structure is refused; broken JSON ends the file, since nobody can know
//!   where the next feature begins (by lines: it is refused, since the next line is known).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::crs::Crs;
use super::error::FileError;
use super::input::Input;
use super::json_scan::Scanner;
use super::{Cell, Feature, Item, MAX_FEATURE_BYTES, Options, Place, RawGeometry};

/// Most bytes of a member of a collection that is not its features.
const MAX_MEMBER_BYTES: usize = 1 << 20;

/// A GeoJSON file being read.
#[derive(Debug)]
pub struct GeoJsonReader {
    scanner: Scanner,
    state: State,
    buffer: Vec<u8>,
    count: u64,
    crs: Crs,
    /// Whether the mapping says the system, so that the file's own word does not count.
    given: bool,
    /// What a member of the collection says.
    said: Option<Result<Crs, FileError>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the collection object, before a member or its end.
    Members { first: bool, features_seen: bool },
    /// In the features array.
    Features { first: bool },
    /// A feature a line.
    Lines,
    /// Nothing follows.
    Done,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    id: Option<serde_json::Value>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
    #[serde(borrow)]
    geometry: Option<&'a RawValue>,
}

impl GeoJsonReader {
    pub(super) fn collection(path: &Path, options: &Options) -> Result<Self, FileError> {
        let mut reader = Self::begin(path, options)?;
        if !reader.given {
            // It may stand behind the features, and they must not be taken for others before.
            let looked = Self::begin(path, options)?.look();
            if let Some(said) = looked {
                reader.crs = said?;
            }
        }
        Ok(reader)
    }

    fn begin(path: &Path, options: &Options) -> Result<Self, FileError> {
        let mut scanner = Scanner::new(Input::open(path)?);
        scanner.start()?;
        match scanner.peek()? {
            None => return Err(scanner.error("the file is empty", "fetch it again")),
            Some(b'{') => scanner.take(b'{')?,
            Some(_) => {
                return Err(scanner.error(
                    "this is not a GeoJSON object",
                    "GeoJSON begins with `{`: check the format of the file",
                ));
            }
        };
        let state = State::Members {
            first: true,
            features_seen: false,
        };
        Self::new(path, scanner, state, options)
    }

    pub(super) fn lines(path: &Path, options: &Options) -> Result<Self, FileError> {
        let mut scanner = Scanner::new(Input::open(path)?);
        scanner.start()?;
        Self::new(path, scanner, State::Lines, options)
    }

    fn new(
        path: &Path,
        scanner: Scanner,
        state: State,
        options: &Options,
    ) -> Result<Self, FileError> {
        let given = options.crs.as_deref().map(Crs::parse).transpose();
        let given =
            given.map_err(|reason| FileError::new(path, "crs of the mapping", reason, ""))?;
        Ok(Self {
            scanner,
            state,
            buffer: Vec::new(),
            count: 0,
            given: given.is_some(),
            said: None,
            crs: given.unwrap_or_else(Crs::wgs84),
        })
    }

    pub(super) fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        let result = self.step();
        if result.is_err() {
            self.state = State::Done;
        }
        result
    }

    fn step(&mut self) -> Result<Option<Item>, FileError> {
        loop {
            match self.state {
                State::Done => return Ok(None),
                State::Lines => {
                    // RFC 8142 puts a record separator in front of each text.
                    while self.scanner.take(0x1e)? {}
                    if self.scanner.peek()?.is_none() {
                        self.state = State::Done;
                        return Ok(None);
                    }
                    return self.feature().map(Some);
                }
                State::Members {
                    first,
                    features_seen,
                } => self.member(first, features_seen)?,
                State::Features { first } => {
                    if self.next_in_list(first)? {
                        return self.feature().map(Some);
                    }
                }
            }
        }
    }

    /// What the collection says of its coordinate system. What is wrong with it otherwise is told to whoever reads it.
    fn look(mut self) -> Option<Result<Crs, FileError>> {
        while self.said.is_none() {
            let went_on = match self.state {
                State::Members {
                    first,
                    features_seen,
                } => self.member(first, features_seen),
                State::Features { first } => self.pass(first),
                State::Lines | State::Done => break,
            };
            if went_on.is_err() {
                break;
            }
        }
        self.said
    }

    /// Passes by a feature, or the end of the list.
    fn pass(&mut self, first: bool) -> Result<(), FileError> {
        if self.next_in_list(first)? {
            self.scanner
                .capture(&mut self.buffer, MAX_FEATURE_BYTES, "a feature")?;
        }
        Ok(())
    }

    /// Whether another feature follows in the list.
    fn next_in_list(&mut self, first: bool) -> Result<bool, FileError> {
        if self.scanner.take(b']')? {
            self.state = State::Members {
                first: false,
                features_seen: true,
            };
            return Ok(false);
        }
        if !first && !self.scanner.take(b',')? {
            return Err(match self.scanner.peek()? {
                None => self.scanner.cut_off("the list of features"),
                Some(_) => self
                    .scanner
                    .error("no comma or `]` after a feature", "mend the JSON here"),
            });
        }
        self.state = State::Features { first: false };
        Ok(true)
    }

    fn member(&mut self, first: bool, features_seen: bool) -> Result<(), FileError> {
        if self.scanner.take(b'}')? {
            if !features_seen {
                return Err(self.scanner.error(
                    "the object has no `features`",
                    "a FeatureCollection is needed; for one feature a line name the format geojsonl",
                ));
            }
            if self.scanner.peek()?.is_some() {
                return Err(self.scanner.error(
                    "something follows the end of the collection",
                    "cut it off, or name the format geojsonl if each line is a feature",
                ));
            }
            self.state = State::Done;
            return Ok(());
        }
        if !first && !self.scanner.take(b',')? {
            return Err(match self.scanner.peek()? {
                None => self.scanner.cut_off("the collection"),
                Some(_) => self
                    .scanner
                    .error("no comma or `}` after a member", "mend the JSON here"),
            });
        }
        self.scanner
            .capture(&mut self.buffer, MAX_MEMBER_BYTES, "the name of a member")?;
        let name: String = self.parse_buffer("the name of a member")?;
        if !self.scanner.take(b':')? {
            return Err(match self.scanner.peek()? {
                None => self.scanner.cut_off("the collection"),
                Some(_) => self
                    .scanner
                    .error("no `:` after a name", "mend the JSON here"),
            });
        }
        if name == "features" {
            if features_seen {
                return Err(self
                    .scanner
                    .error("`features` stands twice", "merge the lists"));
            }
            if !self.scanner.take(b'[')? {
                return Err(self
                    .scanner
                    .error("`features` is not a list", "mend the JSON here"));
            }
            self.state = State::Features { first: true };
            return Ok(());
        }
        self.scanner.capture(
            &mut self.buffer,
            MAX_MEMBER_BYTES,
            "a member of the collection",
        )?;
        let value: serde_json::Value = self.parse_buffer("a member of the collection")?;
        match &*name {
            "type" if value != "FeatureCollection" => Err(self.scanner.error(
                format!("the type is {value}, not FeatureCollection"),
                if value == "CityJSON" {
                    "name the format cityjson, or the file .city.json"
                } else {
                    "only FeatureCollections are read; for one feature a line name the format geojsonl"
                },
            )),
            "crs" if !self.given && !value.is_null() => {
                let crs = Crs::parse(&crs_name(&value));
                self.said = Some(crs.map_err(|reason| self.scanner.error(reason, "")));
                self.state = State::Members {
                    first: false,
                    features_seen,
                };
                Ok(())
            }
            _ => {
                self.state = State::Members {
                    first: false,
                    features_seen,
                };
                Ok(())
            }
        }
    }

    fn parse_buffer<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T, FileError> {
        serde_json::from_slice(&self.buffer).map_err(|error| {
            self.scanner
                .error(format!("{what} is not JSON: {error}"), "mend it")
        })
    }

    fn feature(&mut self) -> Result<Item, FileError> {
        self.scanner.peek()?;
        self.count += 1;
        let place = Place {
            feature: self.count,
            line: Some(self.scanner.line()),
        };
        if self.state == State::Lines {
            self.scanner
                .capture_line(&mut self.buffer, MAX_FEATURE_BYTES)?;
        } else {
            self.scanner
                .capture(&mut self.buffer, MAX_FEATURE_BYTES, "a feature")?;
        }
        match serde_json::from_slice::<Wire<'_>>(&self.buffer) {
            Ok(wire) => Ok(match convert(&wire, place, &self.crs) {
                Ok(feature) => Item::Feature(feature),
                Err(reason) => Item::Refused { place, reason },
            }),
            Err(error) if error.is_data() => Ok(Item::Refused {
                place,
                reason: format!("not a GeoJSON feature: {error}"),
            }),
            Err(error) if self.state == State::Lines => Ok(Item::Refused {
                place,
                reason: format!("not JSON: {error}"),
            }),
            Err(error) => {
                // The parser counts lines inside the feature; the reader wants those of the file.
                let line = place.line.unwrap_or(1) + error.line().saturating_sub(1) as u64;
                let mut failure = self.scanner.error(
                    format!("feature {} is not JSON: {error}", self.count),
                    "mend it at this line, or leave the feature out",
                );
                failure.at = format!("line {line}");
                Err(failure)
            }
        }
    }
}

fn convert(wire: &Wire<'_>, place: Place, crs: &Crs) -> Result<Feature, String> {
    let Wire {
        kind,
        id,
        properties,
        geometry,
    } = wire;
    match kind.as_deref() {
        Some("Feature") => {}
        Some(other) => return Err(format!("its type is `{other}`, not `Feature`")),
        None => return Err("it has no type; a feature says \"type\": \"Feature\"".to_owned()),
    }
    let mut values = BTreeMap::new();
    if let Some(properties) = properties {
        let properties: Option<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(properties.get())
                .map_err(|error| format!("its properties are not an object: {error}"))?;
        for (name, value) in properties.into_iter().flatten() {
            values.insert(Arc::from(name), cell(value));
        }
    }
    if let Some(id) = id {
        values.insert(Arc::from("$id"), cell(id.clone()));
    }
    let geometry = geometry
        .map(RawValue::get)
        .filter(|text| *text != "null")
        .map(|text| {
            if crs.is_wgs84() {
                Ok(text.into())
            } else {
                crs.geojson(text)
            }
        })
        .transpose()?
        .map(RawGeometry::GeoJson);
    Ok(Feature {
        place,
        values,
        geometry,
    })
}

pub(super) fn cell(value: serde_json::Value) -> Cell {
    match value {
        serde_json::Value::Null => Cell::Null,
        serde_json::Value::Bool(value) => Cell::Bool(value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Cell::Int(value),
            (None, Some(value)) if value.is_finite() => Cell::Float(value),
            // Digits beyond 64 bits keep their meaning as text.
            _ => Cell::Text(number.to_string().into()),
        },
        serde_json::Value::String(text) => Cell::Text(text.into()),
        other => Cell::Json(Arc::new(other)),
    }
}

fn crs_name(crs: &serde_json::Value) -> String {
    let name = crs
        .pointer("/properties/name")
        .and_then(serde_json::Value::as_str);
    name.map_or_else(|| crs.to_string().chars().take(80).collect(), str::to_owned)
}
