//! Parts of the world that can be asked about, and the exact test of a shape against them.
//!
//! # Invariants
//! - A `Region` that exists is meaningful: box edges in order, radius in range, polygon areal,
//!   cells of one resolution; limits kept.
//! - `Within` implies `Intersects`.
//!
//! A point is in an H3 cell where H3 says so. Lines and areas are tested against the cell's
//! outline with edges straight in longitude/latitude, which leaves H3's own by less than a
//! thousandth of the cell at country scale.

use super::cells::{boxes, cell_at, centre, overlap_ball};
use super::check;
use super::error::RegionError;
use super::locate::{Overlap, overlap};
use super::metric::{Spot, decide, geodesic};
use super::near::{all_near, nearest, surely_within};
use super::paths::position;
use super::point::{Bounds, Point};
use super::relate::{covers, intersects};
use super::shape::Shape;
use geo_types::{Coord, Geometry, MultiPolygon};
use h3o::{CellIndex, LatLng};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Longest radius: a little more than half the way around the Earth.
pub const MAX_METRES: f64 = 20_040_000.0;
/// Most cells of a region.
pub const MAX_CELLS: usize = 10_000;

/// How a shape must lie to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They have a point in common.
    Intersects,
    /// Every point of the shape is in the region.
    Within,
}

/// A part of the world, checked.
#[derive(Clone, Debug)]
pub struct Region {
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Box(Bounds),
    Radius { centre: Spot, metres: f64 },
    Area(Arc<Shape>),
    Cells(Cells),
}

/// Cells of one resolution with their outlines.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    pub(super) members: BTreeSet<CellIndex>,
    outlines: Arc<[Shape]>,
}

impl Region {
    /// A box, its edges included.
    pub fn bbox(west: f64, south: f64, east: f64, north: f64) -> Result<Self, RegionError> {
        Point::new(west, south)?;
        Point::new(east, north)?;
        if west > east || south > north {
            return Err(RegionError::Box {
                west,
                south,
                east,
                north,
            });
        }
        Ok(Self {
            kind: Kind::Box(Bounds {
                west,
                south,
                east,
                north,
            }),
        })
    }

    /// All that is at most so many geodesic metres from a point.
    pub fn radius(centre: Point, metres: f64) -> Result<Self, RegionError> {
        Point::new(centre.lon, centre.lat)?;
        if !(0.0..=MAX_METRES).contains(&metres) {
            return Err(RegionError::Radius {
                metres,
                limit: MAX_METRES,
            });
        }
        Ok(Self {
            kind: Kind::Radius {
                centre: Spot::new(centre),
                metres,
            },
        })
    }

    /// A Polygon or `MultiPolygon`, its boundary included.
    pub fn polygon(shape: Arc<Shape>) -> Result<Self, RegionError> {
        if !shape.is_area() {
            return Err(RegionError::NotAnArea {
                found: shape.type_name(),
            });
        }
        Ok(Self {
            kind: Kind::Area(shape),
        })
    }

    /// H3 cells of one resolution.
    pub fn cells(cells: Vec<CellIndex>) -> Result<Self, RegionError> {
        let found = cells.len();
        let Some(first) = cells.first().filter(|_| found <= MAX_CELLS) else {
            return Err(RegionError::Cells {
                found,
                limit: MAX_CELLS,
            });
        };
        let resolution = first.resolution();
        if let Some(other) = cells.iter().find(|cell| cell.resolution() != resolution) {
            let (first, other) = (resolution.into(), other.resolution().into());
            return Err(RegionError::MixedCells { first, other });
        }
        let members: BTreeSet<CellIndex> = cells.into_iter().collect();
        let outlines = members.iter().map(|&cell| outline(cell)).collect();
        Ok(Self {
            kind: Kind::Cells(Cells { members, outlines }),
        })
    }

    /// Whether the shape lies so to the region; exact, and what an index search must equal.
    pub fn matches(&self, shape: &Shape, relation: Relation) -> bool {
        match (&self.kind, relation) {
            (Kind::Box(bounds), Relation::Intersects) => overlap(shape, bounds) != Overlap::Out,
            (Kind::Box(bounds), Relation::Within) => bounds.covers(&shape.bounds()),
            (Kind::Radius { centre, metres }, Relation::Intersects) => {
                touches(shape, centre, *metres)
            }
            (Kind::Radius { centre, metres }, Relation::Within) => within(shape, centre, *metres),
            (Kind::Area(area), Relation::Intersects) => intersects(area, shape),
            (Kind::Area(area), Relation::Within) => covers(area, shape),
            (Kind::Cells(cells), _) => cells.matches(shape, relation),
        }
    }

    /// How the region lies to a ball: never `Out` where they have a point in common, `In` only
    /// where the whole ball is in the region.
    pub(super) fn overlap(&self, centre: &Spot, radians: f64) -> Overlap {
        match &self.kind {
            Kind::Box(bounds) => {
                let (first, second) = boxes(centre, radians);
                let parts = || std::iter::once(&first).chain(&second);
                if !parts().any(|part| part.overlaps(bounds)) {
                    Overlap::Out
                } else if parts().all(|part| bounds.covers(part)) {
                    Overlap::In
                } else {
                    Overlap::Cut
                }
            }
            Kind::Radius {
                centre: middle,
                metres,
            } => {
                let (lower, upper) = middle.range_to_ball(centre, radians);
                match decide((lower, upper), *metres) {
                    Some(false) => Overlap::Out,
                    Some(true) => Overlap::In,
                    None => Overlap::Cut,
                }
            }
            Kind::Area(area) => overlap_ball(area, centre, radians),
            Kind::Cells(_) => Overlap::Cut,
        }
    }
}

pub(super) fn is_near(spot: &Spot, centre: &Spot, metres: f64) -> bool {
    decide(centre.range(spot), metres)
        .unwrap_or_else(|| geodesic(centre.point, spot.point) <= metres)
}

/// Whether some point of the shape is at most so far.
fn touches(shape: &Shape, centre: &Spot, metres: f64) -> bool {
    if let Some(p) = shape.is_point() {
        return is_near(&Spot::new(p), centre, metres);
    }
    // Beyond half the way around, the chord cannot tell; everything nearer than it is a candidate.
    let found = nearest(shape, centre, metres + 1e-6, surely_within(metres));
    found.is_some_and(|spot| is_near(&spot, centre, metres)) || shape.contains(centre.point)
}

/// Whether every point of the shape is at most so far.
fn within(shape: &Shape, centre: &Spot, metres: f64) -> bool {
    if let Some(p) = shape.is_point() {
        return is_near(&Spot::new(p), centre, metres);
    }
    // A boundary within the circle has its inside there too, unless that is the other side of
    // the Earth, which then holds the antipode.
    let Point { lon, lat } = centre.point;
    let antipode = Point {
        lon: if lon > 0.0 { lon - 180.0 } else { lon + 180.0 },
        lat: -lat,
    };
    all_near(shape, centre, metres, &|spot| is_near(spot, centre, metres))
        && (geodesic(centre.point, antipode) <= metres || !shape.contains(antipode))
}

impl Cells {
    fn matches(&self, shape: &Shape, relation: Relation) -> bool {
        if let Some(p) = shape.is_point() {
            return self.has(p);
        }
        match relation {
            Relation::Intersects => self.outlines.iter().any(|cell| intersects(cell, shape)),
            Relation::Within => self.covers(shape),
        }
    }

    fn cell(&self, p: Point) -> Option<CellIndex> {
        let resolution = self.members.first()?.resolution();
        Some(cell_at(p, resolution)).filter(|cell| self.members.contains(cell))
    }

    fn has(&self, p: Point) -> bool {
        self.cell(p).is_some()
    }

    fn covers(&self, shape: &Shape) -> bool {
        let edges = shape.each(&mut |tree| {
            for i in 0..tree.path.edges() {
                let (a, b) = tree.path.edge(i);
                if !self.has_edge(position(a), position(b)) {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        // With its boundary in the cells, an area could leave them only for a gap between them,
        // and a gap has a cell that neighbours a member.
        let gap = || {
            shape.has_area()
                && self.members.iter().any(|cell| {
                    let around: Vec<CellIndex> = cell.grid_disk(1);
                    around.into_iter().any(|next| {
                        !self.members.contains(&next) && shape.contains(centre(next).point)
                    })
                })
        };
        edges.is_continue() && !gap()
    }

    /// Whether an edge lies in the cells: its pieces do, which are halved until both ends are in
    /// one cell (cells are convex) or the piece is below a tenth of a millimetre.
    fn has_edge(&self, a: Point, b: Point) -> bool {
        let (Some(first), Some(last)) = (self.cell(a), self.cell(b)) else {
            return false;
        };
        if first == last || (a.lon - b.lon).abs() + (a.lat - b.lat).abs() < 1e-9 {
            return true;
        }
        let middle = Point {
            lon: f64::midpoint(a.lon, b.lon),
            lat: f64::midpoint(a.lat, b.lat),
        };
        self.has_edge(a, middle) && self.has_edge(middle, b)
    }
}

/// The outline of a cell. Over the antimeridian it is drawn on both sides, beyond 180 degrees,
/// where no data is; around a pole it is drawn along it.
fn outline(cell: CellIndex) -> Shape {
    let middle = LatLng::from(cell).lng();
    let mut coords: Vec<Coord<f64>> = Vec::new();
    for vertex in cell.boundary().iter() {
        // Each longitude is taken nearest to the one before, so that the ring is connected.
        let near = coords.last().map_or(middle, |last| last.x);
        let turns = ((near - vertex.lng()) / 360.0).round();
        coords.push(Coord {
            x: vertex.lng() + 360.0 * turns,
            y: vertex.lat(),
        });
    }
    if let (Some(&first), Some(&last)) = (coords.first(), coords.last()) {
        let round = last.x + ((first.x - last.x) - 360.0 * ((first.x - last.x) / 360.0).round());
        if (round - first.x).abs() > 180.0 {
            let pole = if first.y > 0.0 { 90.0 } else { -90.0 };
            coords.push(Coord {
                x: round,
                y: first.y,
            });
            coords.push(Coord { x: round, y: pole });
            coords.push(Coord {
                x: first.x,
                y: pole,
            });
        }
    }
    let copies = [-360.0, 0.0, 360.0].into_iter().filter_map(|shift| {
        let moved: Vec<Coord<f64>> = coords
            .iter()
            .map(|c| Coord {
                x: c.x + shift,
                y: c.y,
            })
            .collect();
        let bounds = Bounds::of(&moved);
        (bounds.west <= 180.0 && bounds.east >= -180.0).then(|| check::outline(moved))
    });
    Shape::assemble(Geometry::MultiPolygon(MultiPolygon(copies.collect())), None)
}
