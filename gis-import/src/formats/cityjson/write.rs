//! Geometries of city objects as well-known binary in WGS 84.

use twin_core::space::Surface;

use super::footprint::footprint;
use super::geometry::{Body, Faces, Fault, Form, UNUSABLE};
use super::wire::{Transform, Vertex};
use crate::formats::crs::Crs;
use crate::formats::wkb::Writer;

const NO_PLACE: &str = "a position that the coordinate system lacks";

const POINT: u32 = 1;
const LINE_STRING: u32 = 2;
const POLYGON: u32 = 3;
const MULTI_POINT: u32 = 4;
const MULTI_LINE_STRING: u32 = 5;
const MULTI_POLYGON: u32 = 6;
const COLLECTION: u32 = 7;
const POLYHEDRAL_SURFACE: u32 = 15;

/// Where whole numbers are.
pub(super) struct Placing<'p> {
    pub(super) transform: &'p Transform,
    pub(super) crs: &'p Crs,
}

impl Placing<'_> {
    fn scaled(&self, axis: usize, number: i64) -> f64 {
        number as f64 * self.transform.scale[axis] + self.transform.translate[axis]
    }

    fn metres(&self, z: i64) -> f64 {
        self.crs.metres(self.scaled(2, z))
    }

    fn position(&self, [x, y, z]: Vertex) -> Result<[f64; 3], Fault> {
        let (x, y, height) = (self.scaled(0, x), self.scaled(1, y), self.metres(z));
        let (lon, lat) = self
            .crs
            .degrees(x, y)
            .map_err(|reason| (NO_PLACE, reason))?;
        if height.is_finite() {
            Ok([lon, lat, height])
        } else {
            Err((NO_PLACE, format!("its height is {height}")))
        }
    }
}

/// The lowest height of faces, and how far the highest is above it, in metres.
pub(super) fn heights(place: &Placing<'_>, all: &[&Faces]) -> Option<(f64, f64)> {
    let spans = all.iter().map(|faces| faces.span());
    let (low, high) = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    let (low, high) = (place.metres(low), place.metres(high));
    let heights = (low, high - low);
    // A transform may reach beyond all numbers.
    heights.1.is_finite().then_some(heights)
}

pub(super) fn body(place: &Placing<'_>, body: &Body) -> Result<Vec<u8>, Fault> {
    match &body.form {
        Form::Points(points) => {
            let points: Vec<_> = points.iter().map(|point| vec![*point]).collect();
            parts(place, MULTI_POINT, POINT, &points)
        }
        Form::Lines(lines) => parts(place, MULTI_LINE_STRING, LINE_STRING, lines),
        Form::Faces(faces) => {
            let (low, high) = faces.span();
            let solid = (place.metres(high) > place.metres(low)).then_some(faces);
            area(place, &[faces], solid)
        }
    }
}

/// Points or lines.
fn parts(place: &Placing<'_>, kind: u32, of: u32, parts: &[Vec<Vertex>]) -> Result<Vec<u8>, Fault> {
    let mut out = Writer::default();
    out.head(kind, true);
    out.count(parts.len());
    for part in parts {
        out.head(of, true);
        if of != POINT {
            out.count(part.len());
        }
        for vertex in part {
            let [lon, lat, height] = place.position(*vertex)?;
            out.position(lon, lat, Some(height));
        }
    }
    Ok(out.finish())
}

/// The footprint of faces at their lowest height, with the solid on it where there is one.
pub(super) fn area(
    place: &Placing<'_>,
    all: &[&Faces],
    solid: Option<&Faces>,
) -> Result<Vec<u8>, Fault> {
    let polygons = footprint(all).map_err(|reason| (UNUSABLE, reason))?;
    let low = all.iter().map(|faces| faces.span().0).min().unwrap_or(0);
    let mut out = Writer::default();
    if solid.is_some() {
        out.head(COLLECTION, true);
        out.count(1 + Surface::ALL.len());
    }
    if polygons.len() != 1 {
        out.head(MULTI_POLYGON, true);
        out.count(polygons.len());
    }
    for polygon in &polygons {
        out.head(POLYGON, true);
        out.count(polygon.len());
        for ring in polygon {
            out.count(ring.len());
            for (x, y) in ring {
                let [lon, lat, height] = place.position([*x, *y, low])?;
                out.position(lon, lat, Some(height));
            }
        }
    }
    if let Some(faces) = solid {
        surfaces(place, faces, &mut out)?;
    }
    Ok(out.finish())
}

fn surfaces(place: &Placing<'_>, faces: &Faces, out: &mut Writer) -> Result<(), Fault> {
    let positions = faces.vertices.iter().map(|vertex| place.position(*vertex));
    let positions = positions.collect::<Result<Vec<_>, _>>()?;
    for surface in Surface::ALL {
        let of: Vec<_> = faces
            .all
            .iter()
            .filter(|face| face.surface == surface)
            .collect();
        out.head(POLYHEDRAL_SURFACE, true);
        out.count(of.len());
        for face in of {
            out.head(POLYGON, true);
            out.count(face.rings.len());
            for ring in &face.rings {
                out.count(ring.len() + 1);
                for corner in ring.iter().chain(ring.first()) {
                    let [lon, lat, height] = positions[*corner as usize];
                    out.position(lon, lat, Some(height));
                }
            }
        }
    }
    Ok(())
}
