//! `GeoJSON` geometry objects, to and from.
//!
//! # Invariants
//! - Reading and writing are inverse for every shape, heights included.
//! - A fault names the place in the object, such as `coordinates[0][3]`.

use super::error::ShapeError;
use super::shape::{MAX_DEPTH, MAX_VERTICES, Shape};
use super::wkb::Flat;
use geo_types::{
    Coord, Geometry, GeometryCollection, LineString, MultiLineString, MultiPoint, MultiPolygon,
    Point, Polygon,
};
use serde_json::{Value, json};

pub(super) fn type_name(geometry: &Geometry<f64>) -> &'static str {
    match geometry {
        Geometry::Point(_) => "Point",
        Geometry::LineString(_) | Geometry::Line(_) => "LineString",
        Geometry::Polygon(_) | Geometry::Rect(_) | Geometry::Triangle(_) => "Polygon",
        Geometry::MultiPoint(_) => "MultiPoint",
        Geometry::MultiLineString(_) => "MultiLineString",
        Geometry::MultiPolygon(_) => "MultiPolygon",
        Geometry::GeometryCollection(_) => "GeometryCollection",
    }
}

pub(super) fn read(value: &Value) -> Result<Flat, ShapeError> {
    let mut reader = Reader {
        heights: Vec::new(),
        count: 0,
    };
    let geometry = reader.geometry(value, "", 0)?;
    let heights = match reader.heights.len() {
        0 => None,
        n if n == reader.count => Some(reader.heights.into_boxed_slice()),
        _ => return Err(ShapeError::MixedHeights),
    };
    Ok((geometry, heights))
}

#[derive(Default)]
struct Reader {
    heights: Vec<f64>,
    count: usize,
}

fn fault(reason: impl Into<String>, at: &str) -> ShapeError {
    let at = if at.is_empty() { "the top" } else { at };
    ShapeError::GeoJson {
        reason: reason.into(),
        at: at.to_owned(),
    }
}

fn list<'v>(value: &'v Value, at: &str) -> Result<&'v [Value], ShapeError> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| fault("a list is missing", at))
}

impl Reader {
    fn geometry(
        &mut self,
        value: &Value,
        at: &str,
        depth: usize,
    ) -> Result<Geometry<f64>, ShapeError> {
        if depth > MAX_DEPTH {
            return Err(ShapeError::TooDeep { limit: MAX_DEPTH });
        }
        let kind = value.get("type").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| fault("\"type\" is missing or not a string", at))?;
        let member = if kind == "GeometryCollection" {
            "geometries"
        } else {
            "coordinates"
        };
        let place = if at.is_empty() {
            member.to_owned()
        } else {
            format!("{at}.{member}")
        };
        let inner = || {
            value
                .get(member)
                .ok_or_else(|| fault(format!("\"{member}\" is missing"), at))
        };
        Ok(match kind {
            "Point" => Geometry::Point(Point(self.coord(inner()?, &place)?)),
            "LineString" => Geometry::LineString(self.line(inner()?, &place)?),
            "Polygon" => Geometry::Polygon(self.polygon(inner()?, &place)?),
            "MultiPoint" => {
                Geometry::MultiPoint(MultiPoint(
                    self.many(inner()?, &place, |r, v, at| r.coord(v, at).map(Point))?,
                ))
            }
            "MultiLineString" => Geometry::MultiLineString(MultiLineString(self.many(
                inner()?,
                &place,
                Self::line,
            )?)),
            "MultiPolygon" => {
                Geometry::MultiPolygon(MultiPolygon(self.many(inner()?, &place, Self::polygon)?))
            }
            "GeometryCollection" => Geometry::GeometryCollection(GeometryCollection(self.many(
                inner()?,
                &place,
                |r, v, at| r.geometry(v, at, depth + 1),
            )?)),
            "Feature" | "FeatureCollection" => {
                return Err(fault(
                    format!("a {kind} is not a geometry; give its \"geometry\""),
                    at,
                ));
            }
            other => return Err(fault(format!("\"{other}\" is not a geometry type"), at)),
        })
    }

    fn many<T>(
        &mut self,
        value: &Value,
        at: &str,
        mut one: impl FnMut(&mut Self, &Value, &str) -> Result<T, ShapeError>,
    ) -> Result<Vec<T>, ShapeError> {
        let items = list(value, at)?;
        items
            .iter()
            .enumerate()
            .map(|(i, v)| one(self, v, &format!("{at}[{i}]")))
            .collect()
    }

    fn line(&mut self, value: &Value, at: &str) -> Result<LineString<f64>, ShapeError> {
        let positions = list(value, at)?;
        let mut coords = Vec::with_capacity(positions.len());
        for (i, position) in positions.iter().enumerate() {
            // The place is spelt out only for a fault: most lists of positions are long.
            let coord = self.coord(position, "").map_err(|error| match error {
                ShapeError::GeoJson { reason, .. } => fault(reason, &format!("{at}[{i}]")),
                other => other,
            })?;
            coords.push(coord);
        }
        Ok(LineString::new(coords))
    }

    fn polygon(&mut self, value: &Value, at: &str) -> Result<Polygon<f64>, ShapeError> {
        let mut rings = self.many(value, at, Self::line)?;
        for (i, ring) in rings.iter().enumerate() {
            // geo closes rings silently; data that is not closed is to be refused.
            if let (Some(first), Some(last)) = (ring.0.first(), ring.0.last())
                && first != last
            {
                return Err(ShapeError::Open {
                    part: format!("{at}[{i}]"),
                    lon: first.x,
                    lat: first.y,
                });
            }
        }
        if rings.is_empty() {
            return Err(ShapeError::Empty {
                part: at.to_owned(),
            });
        }
        let exterior = rings.remove(0);
        Ok(Polygon::new(exterior, rings))
    }

    fn coord(&mut self, value: &Value, at: &str) -> Result<Coord<f64>, ShapeError> {
        self.count += 1;
        if self.count > MAX_VERTICES {
            return Err(ShapeError::TooManyVertices {
                limit: MAX_VERTICES,
            });
        }
        let numbers = list(value, at)?;
        let number = |v: &Value| {
            v.as_f64()
                .ok_or_else(|| fault("a coordinate is not a number", at))
        };
        match numbers {
            [] => Err(ShapeError::Empty {
                part: "a position".to_owned(),
            }),
            [x, y] => Ok(Coord {
                x: number(x)?,
                y: number(y)?,
            }),
            [x, y, z] => {
                self.heights.push(number(z)?);
                Ok(Coord {
                    x: number(x)?,
                    y: number(y)?,
                })
            }
            _ => Err(fault("a position has two or three numbers", at)),
        }
    }
}

/// Appends the shape's text.
pub(super) fn write(shape: &Shape, out: &mut Vec<u8>) {
    out.reserve(64 + shape.vertices() * 40);
    Writer {
        out,
        heights: shape.heights(),
        at: 0,
    }
    .geometry(shape.geometry());
}

/// The shape as an object. Numbers go over as they are: through text, a parser that is not exact
/// would move them.
pub(super) fn value(shape: &Shape) -> Value {
    Maker {
        heights: shape.heights(),
        at: 0,
    }
    .geometry(shape.geometry())
}

struct Maker<'s> {
    heights: Option<&'s [f64]>,
    at: usize,
}

impl Maker<'_> {
    fn coord(&mut self, c: Coord<f64>) -> Value {
        let height = self.heights.and_then(|heights| heights.get(self.at));
        self.at += 1;
        [c.x, c.y]
            .into_iter()
            .chain(height.copied())
            .map(Value::from)
            .collect()
    }

    fn line(&mut self, line: &LineString<f64>) -> Value {
        line.0.iter().map(|&c| self.coord(c)).collect()
    }

    fn polygon(&mut self, polygon: &Polygon<f64>) -> Value {
        std::iter::once(polygon.exterior())
            .chain(polygon.interiors())
            .map(|ring| self.line(ring))
            .collect()
    }

    fn geometry(&mut self, geometry: &Geometry<f64>) -> Value {
        let coordinates: Value = match geometry {
            Geometry::Point(p) => self.coord(p.0),
            Geometry::LineString(line) => self.line(line),
            Geometry::Polygon(p) => self.polygon(p),
            Geometry::MultiPoint(g) => g.0.iter().map(|p| self.coord(p.0)).collect(),
            Geometry::MultiLineString(g) => g.0.iter().map(|line| self.line(line)).collect(),
            Geometry::MultiPolygon(g) => g.0.iter().map(|p| self.polygon(p)).collect(),
            Geometry::GeometryCollection(g) => {
                let members: Vec<Value> = g.0.iter().map(|member| self.geometry(member)).collect();
                return json!({"type": type_name(geometry), "geometries": members});
            }
            // A shape's constructor turns these into lines and polygons.
            Geometry::Line(_) | Geometry::Rect(_) | Geometry::Triangle(_) => Value::Null,
        };
        json!({"type": type_name(geometry), "coordinates": coordinates})
    }
}

struct Writer<'o, 's> {
    out: &'o mut Vec<u8>,
    heights: Option<&'s [f64]>,
    at: usize,
}

impl Writer<'_, '_> {
    fn list<T>(&mut self, items: &[T], mut one: impl FnMut(&mut Self, &T)) {
        self.out.push(b'[');
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            one(self, item);
        }
        self.out.push(b']');
    }

    fn number(&mut self, value: f64) {
        let start = self.out.len();
        // Does not fail: the target is a vector and the number finite.
        if serde_json::to_writer(&mut *self.out, &value).is_err() {
            self.out.truncate(start);
        }
    }

    fn coord(&mut self, c: Coord<f64>) {
        self.out.push(b'[');
        self.number(c.x);
        self.out.push(b',');
        self.number(c.y);
        if let Some(&height) = self.heights.and_then(|heights| heights.get(self.at)) {
            self.out.push(b',');
            self.number(height);
        }
        self.at += 1;
        self.out.push(b']');
    }

    fn line(&mut self, line: &LineString<f64>) {
        self.list(&line.0, |w, &c| w.coord(c));
    }

    fn polygon(&mut self, polygon: &Polygon<f64>) {
        self.out.push(b'[');
        self.line(polygon.exterior());
        for ring in polygon.interiors() {
            self.out.push(b',');
            self.line(ring);
        }
        self.out.push(b']');
    }

    fn geometry(&mut self, geometry: &Geometry<f64>) {
        self.out.extend_from_slice(b"{\"type\":\"");
        self.out.extend_from_slice(type_name(geometry).as_bytes());
        let member: &[u8] = match geometry {
            Geometry::GeometryCollection(_) => b"\",\"geometries\":",
            _ => b"\",\"coordinates\":",
        };
        self.out.extend_from_slice(member);
        match geometry {
            Geometry::Point(p) => self.coord(p.0),
            Geometry::LineString(line) => self.line(line),
            Geometry::Polygon(p) => self.polygon(p),
            Geometry::MultiPoint(g) => self.list(&g.0, |w, p| w.coord(p.0)),
            Geometry::MultiLineString(g) => self.list(&g.0, Self::line),
            Geometry::MultiPolygon(g) => self.list(&g.0, Self::polygon),
            Geometry::GeometryCollection(g) => self.list(&g.0, Self::geometry),
            // A shape's constructor turns these into lines and polygons.
            Geometry::Line(_) | Geometry::Rect(_) | Geometry::Triangle(_) => {
                self.out.extend_from_slice(b"[]");
            }
        }
        self.out.push(b'}');
    }
}
