//! A face into triangles.
//!
//! # Invariants
//! - The triangles cover what the face covers, holes left out; none is without an area. Of a face whose rings
//!   cross or touch they cover what an odd number of rings goes around, in its plane.
//! - Seen from where the face looks to, each runs against the clock.
//!
//! The library that cuts runs without end on rings that cross, so it is given none: whether they do is decided
//! exactly, in whole numbers, and those that do are mended first.

use std::panic::{AssertUnwindSafe, catch_unwind};

use geo::TriangulateEarcut as _;
use geo_types::{Coord, LineString, Polygon};

use crate::mend::{self, At, Ring};

/// Twice the area in square metres up to which a ring is a line. Positions are exact to some nanometres, so
/// rounding gives a line of hundreds of metres less than this.
const LEAST_AREA: f64 = 1e-6;
/// Steps from the first corner of a face to the farthest one, along each axis of its plane: so many that products
/// of two ways are whole numbers which a double holds.
const STEPS: f64 = 16_777_216.0;

/// Triangles of a face.
#[derive(Debug)]
pub(super) struct Cut {
    /// The direction the face looks in, of unit length.
    pub(super) normal: [f64; 3],
    /// The corners of the face, ring after ring, or those that it got by being mended.
    pub(super) places: Vec<[f64; 3]>,
    /// By numbers of places.
    pub(super) triangles: Vec<[u32; 3]>,
}

/// The axes of a face's plane, at its first corner.
struct Plane {
    origin: [f64; 3],
    across: [f64; 3],
    along: [f64; 3],
    /// Metres of a step.
    step: f64,
}

/// Cuts a face of its rings, the outer one first; `None` where it has no area.
pub(super) fn cut(rings: &[Vec<[f64; 3]>]) -> Option<Cut> {
    let outer = rings.first()?;
    // Of the outer ring alone: holes lie in its plane.
    let area = doubled(outer);
    let length = dot(area, area).sqrt();
    if length.is_nan() || length <= LEAST_AREA {
        return None;
    }
    let normal = area.map(|part| part / length);
    let plane = Plane::of(normal, rings)?;
    let flat: Vec<Ring> = rings.iter().map(|ring| plane.flat(ring)).collect();
    let (places, triangles) = if mend::is_polygon(&flat) {
        (rings.concat(), ears(&flat)?)
    } else {
        let (mut places, mut triangles) = (Vec::new(), Vec::new());
        for polygon in mend::polygons(flat)? {
            let first = places.len() as u32;
            let cut = ears(&polygon)?.into_iter();
            triangles.extend(cut.map(|triangle| triangle.map(|corner| first + corner)));
            places.extend(polygon.iter().flatten().map(|at| plane.raised(*at)));
        }
        (places, triangles)
    };
    (!triangles.is_empty()).then_some(Cut {
        normal,
        places,
        triangles,
    })
}

/// The triangles of a valid polygon, by numbers of its corners.
fn ears(rings: &[Ring]) -> Option<Vec<[u32; 3]>> {
    let line = |ring: &Ring| -> LineString<f64> {
        let closed = ring.iter().chain(ring.first());
        closed
            .map(|[x, y]| Coord {
                x: f64::from(*x),
                y: f64::from(*y),
            })
            .collect()
    };
    let (outer, holes) = rings.split_first()?;
    let polygon = Polygon::new(line(outer), holes.iter().map(line).collect());
    // Each ring has one number more there: that of the position that closes it.
    let (mut numbers, mut next) = (Vec::new(), 0);
    for ring in rings {
        let first = next;
        next += ring.len() as u32;
        numbers.extend(first..next);
        numbers.push(first);
    }
    let corners = rings.concat();
    // The library may panic on geometry that nobody tried before.
    let cut = catch_unwind(AssertUnwindSafe(|| polygon.earcut_triangles_raw())).ok()?;
    let mut triangles = Vec::new();
    for triple in cut.triangle_indices.chunks_exact(3) {
        let number = |place: usize| numbers.get(*triple.get(place)?).copied();
        let (a, b, c) = (number(0)?, number(1)?, number(2)?);
        let turn = mend::area(&[a, b, c].map(|number| corners[number as usize]));
        if turn > 0 {
            triangles.push([a, b, c]);
        } else if turn < 0 {
            triangles.push([a, c, b]);
        }
    }
    Some(triangles)
}

impl Plane {
    /// The plane that a normal stands on, so that a ring which looks along it runs against the clock.
    fn of(normal: [f64; 3], rings: &[Vec<[f64; 3]>]) -> Option<Self> {
        // The axis that is least along the normal.
        let least = (0..3).min_by(|a, b| normal[*a].abs().total_cmp(&normal[*b].abs()))?;
        let mut axis = [0.0; 3];
        axis[least] = 1.0;
        let across = cross(axis, normal);
        let length = dot(across, across).sqrt();
        let across = across.map(|part| part / length);
        let mut plane = Self {
            origin: *rings.first()?.first()?,
            across,
            along: cross(normal, across),
            step: 1.0,
        };
        let ways = rings.iter().flatten().flat_map(|corner| plane.way(*corner));
        plane.step = ways.fold(0.0, |far: f64, way| far.max(way.abs())) / STEPS;
        (plane.step > 0.0).then_some(plane)
    }

    /// Steps across and along.
    fn way(&self, corner: [f64; 3]) -> [f64; 2] {
        let from: [f64; 3] = std::array::from_fn(|axis| corner[axis] - self.origin[axis]);
        [dot(from, self.across), dot(from, self.along)].map(|metres| metres / self.step)
    }

    fn flat(&self, ring: &[[f64; 3]]) -> Ring {
        let flat = |corner: &[f64; 3]| self.way(*corner).map(|steps| steps.round() as i32);
        ring.iter().map(flat).collect()
    }

    fn raised(&self, at: At) -> [f64; 3] {
        let [across, along] = at.map(|steps| f64::from(steps) * self.step);
        std::array::from_fn(|axis| {
            self.origin[axis] + across * self.across[axis] + along * self.along[axis]
        })
    }
}

/// Twice the area of a ring, as the direction that it looks in.
fn doubled(ring: &[[f64; 3]]) -> [f64; 3] {
    let Some(first) = ring.first() else {
        return [0.0; 3];
    };
    let from_first =
        |corner: &[f64; 3]| -> [f64; 3] { std::array::from_fn(|axis| corner[axis] - first[axis]) };
    ring.windows(2).fold([0.0; 3], |sum: [f64; 3], edge| {
        let part = cross(from_first(&edge[0]), from_first(&edge[1]));
        std::array::from_fn(|axis| sum[axis] + part[axis])
    })
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}
