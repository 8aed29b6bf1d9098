//! A feature into what is committed for it, by the rules of a mapping.
//!
//! # Invariants
//! - A [`Unit`] holds all twins of one feature, or there is none and a reason instead.
//! - A value that does not fit is left out and noted; an id, a geometry or a needed relationship
//!   that cannot be made refuses the feature.
//! - Nothing here panics: geometry is checked behind `catch_unwind`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ontology::{Schema, Value};
use twin_core::space::{Point, Shape, ShapeError};
use twin_core::{Put, TwinId, View};

use crate::formats::{Cell, Feature, Place, RawGeometry};
use crate::mapping::{
    Condition, GeometryFrom, Mapping, Per, Relate, Rule, Setting, Target, Template, ValueFrom,
};
use crate::report::Note;

/// Estimated bytes of an operation beside its geometry.
const OPERATION_BYTES: usize = 256;
/// Bytes of one vertex.
const VERTEX_BYTES: usize = 16;

/// What is committed for one feature.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) place: String,
    pub(crate) puts: Vec<(Per, Put)>,
    pub(crate) links: Vec<Link>,
}

/// A relationship of a unit.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) source: TwinId,
    pub(crate) name: Arc<str>,
    pub(crate) target: TwinId,
    pub(crate) optional: bool,
}

impl Unit {
    pub(crate) fn operations(&self) -> usize {
        self.puts.len() + self.links.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        let vertices: usize = self
            .puts
            .iter()
            .filter_map(|(_, put)| put.geometry.as_ref()?.as_ref())
            .map(|shape| shape.vertices())
            .sum();
        self.operations() * OPERATION_BYTES + vertices * VERTEX_BYTES
    }
}

/// What became of a feature.
#[derive(Debug)]
pub(crate) enum Built {
    Unit {
        unit: Unit,
        warnings: Vec<Note>,
    },
    /// Twins of the set as a whole, of no feature.
    Once(Unit),
    /// No rule is for it.
    Skipped,
    Refused(Note),
}

/// Why a feature is refused.
struct Fault {
    twin: Option<Arc<str>>,
    kind: &'static str,
    reason: String,
}

impl Fault {
    fn new(kind: &'static str, reason: impl Into<String>) -> Self {
        Self {
            twin: None,
            kind,
            reason: reason.into(),
        }
    }
}

/// What the mapping makes of a feature; `view` answers where things are.
pub(crate) fn build(mapping: &Mapping, feature: &Feature, view: &View) -> Built {
    let mut builder = Builder {
        mapping,
        feature,
        view,
        warnings: Vec::new(),
    };
    let mut unit = Unit {
        place: feature.place.to_string(),
        puts: Vec::new(),
        links: Vec::new(),
    };
    for rule in mapping.rules.iter().filter(|rule| rule.per != Per::Set) {
        if !rule.when.iter().all(|condition| builder.holds(condition)) {
            continue;
        }
        if let Err(Fault { twin, kind, reason }) = builder.rule(rule, &mut unit) {
            return Built::Refused(Note {
                place: unit.place,
                twin,
                kind,
                reason,
            });
        }
    }
    if unit.puts.is_empty() {
        return Built::Skipped;
    }
    Built::Unit {
        unit,
        warnings: builder.warnings,
    }
}

/// What the mapping makes once, before all features; `None` if it makes nothing.
pub(crate) fn build_set(mapping: &Mapping, view: &View) -> Option<Built> {
    let place = Place {
        feature: 0,
        line: None,
    };
    let feature = Feature {
        place,
        values: BTreeMap::new(),
        geometry: None,
    };
    let mut builder = Builder {
        mapping,
        feature: &feature,
        view,
        warnings: Vec::new(),
    };
    let mut unit = Unit {
        place: "the set".to_owned(),
        puts: Vec::new(),
        links: Vec::new(),
    };
    for rule in mapping.rules.iter().filter(|rule| rule.per == Per::Set) {
        if let Err(Fault { twin, kind, reason }) = builder.rule(rule, &mut unit) {
            return Some(Built::Refused(Note {
                place: unit.place,
                twin,
                kind,
                reason,
            }));
        }
    }
    (!unit.puts.is_empty()).then_some(Built::Once(unit))
}

struct Builder<'a> {
    mapping: &'a Mapping,
    feature: &'a Feature,
    view: &'a View,
    warnings: Vec<Note>,
}

impl Builder<'_> {
    /// The column's value, `None` where there is none by the mapping's account.
    fn cell(&self, column: &str) -> Option<&Cell> {
        match self.feature.values.get(column)? {
            Cell::Null => None,
            Cell::Text(text) if self.mapping.is_null(text.trim()) => None,
            cell @ (Cell::Int(_) | Cell::Float(_)) if self.mapping.is_null(&cell.to_string()) => {
                None
            }
            cell => Some(cell),
        }
    }

    fn text(&self, column: &str) -> Option<String> {
        self.cell(column)
            .map(|cell| cell.to_string().trim().to_owned())
    }

    fn holds(&self, condition: &Condition) -> bool {
        let Condition { column, texts, is } = condition;
        let text = self.text(column).unwrap_or_default();
        texts.iter().any(|one| **one == *text) == *is
    }

    fn fill(&self, template: &Template) -> Result<String, Fault> {
        template.fill(|column| self.text(column)).map_err(|column| {
            Fault::new(
                "a column of an id has no value",
                format!("column `{column}` has no value"),
            )
        })
    }

    fn twin_id(&self, template: &Template) -> Result<TwinId, Fault> {
        let text = self.fill(template)?;
        TwinId::new(&text).map_err(|error| Fault::new("not a twin id", error.to_string()))
    }

    fn warn(&mut self, twin: &TwinId, kind: &'static str, reason: String) {
        let place = self.feature.place.to_string();
        self.warnings.push(Note {
            place,
            twin: Some(twin.as_str().into()),
            kind,
            reason,
        });
    }

    fn rule(&mut self, rule: &Rule, unit: &mut Unit) -> Result<(), Fault> {
        let id = self.twin_id(&rule.id)?;
        self.twin(rule, &id, unit).map_err(|fault| Fault {
            twin: Some(id.as_str().into()),
            ..fault
        })
    }

    fn twin(&mut self, rule: &Rule, id: &TwinId, unit: &mut Unit) -> Result<(), Fault> {
        let geometry = match &rule.geometry {
            None => None,
            Some(from) => {
                let shape = self.shape(from)?;
                if shape.is_none() {
                    self.warn(id, "no geometry", "it has no geometry".to_owned());
                }
                Some(shape.map(Arc::new))
            }
        };
        let mut set = Vec::with_capacity(rule.set.len());
        for setting in &rule.set {
            set.push((Arc::clone(&setting.property), self.value(setting, id)));
        }
        for relate in &rule.relates {
            if !relate.when.iter().all(|condition| self.holds(condition)) {
                continue;
            }
            let shape = geometry.as_ref().and_then(Option::as_deref);
            match self.link(relate, id, shape) {
                Ok(link) => unit.links.push(link),
                Err(fault) if relate.optional => {
                    let reason = format!("without {}: {}", relate.relationship, fault.reason);
                    self.warn(id, fault.kind, reason);
                }
                Err(fault) => return Err(fault),
            }
        }
        let class = Arc::clone(&rule.class_name);
        unit.puts.push((
            rule.per,
            Put {
                id: id.clone(),
                class,
                set,
                geometry,
                expect: None,
            },
        ));
        Ok(())
    }

    fn shape(&self, from: &GeometryFrom) -> Result<Option<Shape>, Fault> {
        let checked = match from {
            GeometryFrom::Feature => match &self.feature.geometry {
                None => return Ok(None),
                Some(raw) => parse(raw)?,
            },
            GeometryFrom::Columns { lon, lat } => match (self.degrees(lon)?, self.degrees(lat)?) {
                (None, None) => return Ok(None),
                (Some(lon), Some(lat)) => {
                    Shape::from_geo(geo_types::Geometry::Point(geo_types::Point::new(lon, lat)))
                }
                _ => {
                    let reason = format!("only one of `{lon}` and `{lat}` has a value");
                    return Err(Fault::new("half a position", reason));
                }
            },
        };
        checked.map(Some).map_err(|error| {
            let kind = match error {
                ShapeError::OutOfRange { .. } => "a position out of range",
                ShapeError::Wkb { .. } | ShapeError::GeoJson { .. } => "not a geometry",
                _ => "an invalid geometry",
            };
            Fault::new(kind, error.to_string())
        })
    }

    fn degrees(&self, column: &str) -> Result<Option<f64>, Fault> {
        match self.cell(column) {
            None => Ok(None),
            Some(Cell::Int(value)) => Ok(Some(*value as f64)),
            Some(Cell::Float(value)) => Ok(Some(*value)),
            Some(other) => other.to_string().trim().parse().map(Some).map_err(|error| {
                let reason = format!("`{other}` in column `{column}` are no degrees: {error}");
                Fault::new("not a number of degrees", reason)
            }),
        }
    }

    fn value(&mut self, setting: &Setting, id: &TwinId) -> Option<Value> {
        let Setting {
            property,
            schema,
            from,
        } = setting;
        match from {
            ValueFrom::Constant(value) => Some(value.clone()),
            ValueFrom::Template(template) => {
                let text = template.fill(|column| self.text(column)).ok()?;
                self.fit(property, schema.parse_text(&text), id)
            }
            ValueFrom::Column {
                column,
                map: Some(map),
                ..
            } => {
                let text = self.text(column)?;
                if let Some(value) = map.get(text.as_str()) {
                    return Some(value.clone());
                }
                let reason = format!("without {property}: the mapping has no value for `{text}`");
                self.warn(id, "a value that the mapping does not know", reason);
                None
            }
            ValueFrom::Column {
                column,
                map: None,
                factor,
            } => {
                let cell = self.cell(column)?.clone();
                let parsed = convert(&cell, schema, *factor);
                self.fit(property, parsed, id)
            }
        }
    }

    fn fit(
        &mut self,
        property: &str,
        parsed: Result<Value, ontology::Misfit>,
        id: &TwinId,
    ) -> Option<Value> {
        match parsed {
            Ok(value) => Some(value),
            Err(misfit) => {
                let reason = format!("without {property}: {}", misfit.reason);
                self.warn(id, "a value that does not fit the model", reason);
                None
            }
        }
    }

    fn link(&self, relate: &Relate, id: &TwinId, shape: Option<&Shape>) -> Result<Link, Fault> {
        let Relate {
            when: _,
            relationship,
            target,
            optional,
        } = relate;
        let (source, target) = match target {
            Target::Id(template) => (id.clone(), self.twin_id(template)?),
            Target::From(template) => (self.twin_id(template)?, id.clone()),
            Target::Within { class, name } => {
                let Some(shape) = shape else {
                    let reason = format!("no {name} can hold what has no position");
                    return Err(Fault::new("no position", reason));
                };
                let at: Point = shape.representative();
                // Sorted by id, and the contract gives ties to the lowest.
                let found = self.view.containing(at, Some(*class));
                let Some(holder) = found.first() else {
                    let reason = format!("no {name} holds [{}, {}]", at.lon, at.lat);
                    return Err(Fault::new("in no area of the kind", reason));
                };
                (id.clone(), self.view.id(*holder).clone())
            }
        };
        Ok(Link {
            source,
            name: Arc::clone(relationship),
            target,
            optional: *optional,
        })
    }
}

fn parse(raw: &RawGeometry) -> Result<Result<Shape, ShapeError>, Fault> {
    let parsed = catch_unwind(AssertUnwindSafe(|| match raw {
        RawGeometry::Wkb(bytes) => Ok(Shape::from_wkb(bytes)),
        RawGeometry::GeoJson(text) => match serde_json::from_str(text) {
            Ok(value) => Ok(Shape::from_geojson(&value)),
            Err(error) => Err(Fault::new("not a geometry", format!("not JSON: {error}"))),
        },
    }));
    parsed.unwrap_or_else(|_| {
        let reason = "its geometry makes no sense to the checker; repair it (make valid)";
        Err(Fault::new("an invalid geometry", reason))
    })
}

fn convert(cell: &Cell, schema: &Schema, factor: Option<f64>) -> Result<Value, ontology::Misfit> {
    if let Some(factor) = factor {
        let text = cell.to_string();
        if let Ok(number) = text.trim().parse::<f64>() {
            let scaled = number * factor;
            let whole = !matches!(schema, Schema::Double);
            return schema.parse_text(&if whole { scaled.round() } else { scaled }.to_string());
        }
    }
    match cell {
        Cell::Null => schema.parse(&serde_json::Value::Null),
        Cell::Bool(value) => schema.parse(&(*value).into()),
        Cell::Json(value) => schema.parse(value),
        // Numbers are texts to a text property: codes are often numbers in files.
        Cell::Int(_) | Cell::Float(_) | Cell::Text(_) => schema.parse_text(cell.to_string().trim()),
    }
}
