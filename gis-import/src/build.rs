//! A feature into what is committed for it, by the rules of a mapping.
//!
//! # Invariants
//! - A [`Unit`] holds all twins of one feature, or there is none and a reason instead.
//! - A value that does not fit is left out and noted; an id, a geometry or a needed relationship
//!   that cannot be made refuses the feature.
//! - Nothing here panics: geometry is checked behind `catch_unwind`.

mod links;
mod values;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use twin_core::space::{Shape, ShapeError};
use twin_core::{Put, TwinId, View};

use crate::formats::{Cell, Feature, Place, RawGeometry};
use crate::mapping::{Condition, Extent, GeometryFrom, Mapping, Per, Rule, Template, When};
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
            .map(|shape| shape.stored_vertices())
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
    /// Something about the file, of no feature.
    Remark(Note),
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
        if !builder.when(&rule.when) {
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
    if unit.operations() == 0 && builder.warnings.is_empty() {
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

    fn when(&self, when: &When) -> bool {
        when.holds(|condition| self.holds(condition))
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
        if rule.per == Per::Known {
            self.check_known(rule, id)?;
        }
        let geometry = match &rule.geometry {
            None => None,
            Some(from) => {
                let shape = self.shape(from)?;
                if shape.is_none() {
                    self.warn(id, "no geometry", "it has no geometry".to_owned());
                } else if let GeometryFrom::Feature(_) = from
                    && let Some(RawGeometry::Part { kind, reason, .. }) = &self.feature.geometry
                {
                    self.warn(id, kind, reason.clone());
                }
                Some(shape.map(Arc::new))
            }
        };
        let set = self.values(&rule.set, id);
        for relate in &rule.relates {
            if !self.when(&relate.when) {
                continue;
            }
            let shape = geometry.as_ref().and_then(Option::as_deref);
            for link in self.links(relate, id, shape) {
                match link {
                    Ok(link) => unit.links.push(link),
                    Err(fault) if relate.optional => {
                        let reason = format!("without {}: {}", relate.relationship, fault.reason);
                        self.warn(id, fault.kind, reason);
                    }
                    Err(fault) => return Err(fault),
                }
            }
        }
        if rule.per == Per::Known {
            return Ok(());
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

    /// The twin of a rule that makes none has to be there, of the rule's class.
    fn check_known(&self, rule: &Rule, id: &TwinId) -> Result<(), Fault> {
        let Some(twin) = self.view.twin(id) else {
            let reason = format!("there is no {} `{id}`", rule.class_name);
            return Err(Fault::new("a twin that is not there", reason));
        };
        let class = self.view.class(twin);
        if self.view.ontology().is_a(class.id, rule.class) {
            return Ok(());
        }
        let reason = format!("`{id}` is a {}, not a {}", class.name, rule.class_name);
        Err(Fault::new("a twin of another class", reason))
    }

    fn shape(&self, from: &GeometryFrom) -> Result<Option<Shape>, Fault> {
        let checked = match from {
            GeometryFrom::Feature(extent) => match &self.feature.geometry {
                None => return Ok(None),
                Some(raw) => {
                    let checked = parse(raw)?;
                    if let (Some(extent), Ok(shape)) = (extent, &checked) {
                        check_extent(*extent, shape)?;
                    }
                    if *extent == Some(Extent::Footprint) {
                        checked.map(|shape| shape.flat())
                    } else {
                        checked
                    }
                }
            },
            GeometryFrom::Columns { lon, lat } => match (self.degrees(lon)?, self.degrees(lat)?) {
                (None, None) => return Ok(None),
                (Some(lon), Some(lat)) => {
                    let (lon, lat) = self.placed(lon, lat)?;
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

    /// A position of two columns in degrees.
    fn placed(&self, lon: f64, lat: f64) -> Result<(f64, f64), Fault> {
        match self.mapping.positions() {
            None => Ok((lon, lat)),
            Some(crs) => crs
                .degrees(lon, lat)
                .map_err(|reason| Fault::new("a position out of range", reason)),
        }
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
}

fn check_extent(extent: Extent, shape: &Shape) -> Result<(), Fault> {
    let found = shape.type_name();
    let (fits, wanted) = match extent {
        Extent::Point => (shape.is_point().is_some(), "a point"),
        Extent::Line => (found.ends_with("LineString"), "a line"),
        Extent::Area | Extent::Footprint => (shape.is_area(), "an area"),
    };
    if fits {
        return Ok(());
    }
    let open = if wanted == "an area" && found == "LineString" {
        "; is its outline not closed?"
    } else {
        ""
    };
    let reason = format!("it is a {found}, and {wanted} is needed{open}");
    Err(Fault::new("a geometry of another kind", reason))
}

fn parse(raw: &RawGeometry) -> Result<Result<Shape, ShapeError>, Fault> {
    let parsed = catch_unwind(AssertUnwindSafe(|| match raw {
        RawGeometry::Wkb(wkb) | RawGeometry::Part { wkb, .. } => Ok(Shape::from_wkb(wkb)),
        RawGeometry::Lacking { kind, reason } => Err(Fault::new(kind, reason.clone())),
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
