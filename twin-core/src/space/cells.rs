//! H3 cells as a tree: which points a cell owns, where they can lie, and which cells cover a
//! shape.
//!
//! # Invariants
//! - A cell **owns** the points whose finest cell descends from it. Children are not inside
//!   their parents geometrically, so ownership, not outline, is what the index speaks of:
//!   the cells of one resolution own every point exactly once.
//! - Every point that a cell owns is within [`reach`] of its centre.
//! - A cover owns every point of its shape.

use super::locate::{Overlap, overlap};
use super::metric::Spot;
use super::point::{Bounds, Point};
use super::shape::Shape;
use h3o::{CellIndex, LatLng, Resolution};

/// Covers are refined while they have fewer cells than this; one refinement takes them to some
/// three times as many.
const REFINE_BELOW: usize = 8;
/// No cover is finer: such cells are a few metres wide.
const FINEST_COVER: Resolution = Resolution::Thirteen;
/// Farthest owned point from a cell's centre, in average edge lengths of the resolution. H3's
/// largest hexagons reach 1.10, and what a cell owns bulges 5 % beyond its hexagon.
const REACH: f64 = 1.2;
/// A ball of so many average edge lengths is owned by the cell of its centre and the neighbours:
/// where H3's cells are smallest, beside the pentagons, it takes 0.77 to leave them.
const HOME: f64 = 0.6;

/// The resolution at which points are indexed.
pub(super) const FINEST: Resolution = Resolution::Fifteen;

/// The cell of a point. A checked position is one for H3 too.
pub(super) fn cell_at(p: Point, resolution: Resolution) -> CellIndex {
    LatLng::new(p.lat, p.lon).map_or_else(
        |_| CellIndex::first(resolution),
        |at| at.to_cell(resolution),
    )
}

/// Radians from a cell's centre within which all that it owns lies.
pub(super) fn reach(resolution: Resolution) -> f64 {
    REACH * resolution.edge_length_rads()
}

pub(super) fn centre(cell: CellIndex) -> Spot {
    let at = LatLng::from(cell);
    Spot::new(Point {
        lon: at.lng().clamp(-180.0, 180.0),
        lat: at.lat().clamp(-90.0, 90.0),
    })
}

/// A ball around a box: its centre and radians.
pub(super) fn ball(bounds: &Bounds) -> (Spot, f64) {
    let lat = if bounds.south <= 0.0 && bounds.north >= 0.0 {
        0.0
    } else {
        bounds.south.abs().min(bounds.north.abs())
    };
    let half_lon = (bounds.east - bounds.west).to_radians() / 2.0;
    let half_lat = (bounds.north - bounds.south).to_radians() / 2.0;
    let radians = half_lat.hypot(half_lon * lat.to_radians().cos());
    (Spot::new(bounds.centre()), radians + 1e-12)
}

/// Boxes that together hold the ball: two where it lies across the antimeridian.
pub(super) fn boxes(centre: &Spot, radians: f64) -> (Bounds, Option<Bounds>) {
    // A little more than the angle, for rounding.
    let degrees = radians.to_degrees() * (1.0 + 1e-9) + 1e-9;
    let Point { lon, lat } = centre.point;
    let (south, north) = (lat - degrees, lat + degrees);
    let around = |west, east| Bounds {
        west,
        south: south.max(-90.0),
        east,
        north: north.min(90.0),
    };
    if south <= -90.0 || north >= 90.0 {
        return (around(-180.0, 180.0), None);
    }
    let ratio = radians.sin() / lat.to_radians().cos();
    let half = if ratio < 1.0 {
        ratio.asin().to_degrees() * (1.0 + 1e-9) + 1e-9
    } else {
        180.0
    };
    let (west, east) = (lon - half, lon + half);
    if half >= 180.0 {
        (around(-180.0, 180.0), None)
    } else if west < -180.0 {
        (around(-180.0, east), Some(around(west + 360.0, 180.0)))
    } else if east > 180.0 {
        (around(west, 180.0), Some(around(-180.0, east - 360.0)))
    } else {
        (around(west, east), None)
    }
}

/// Radians of the balls that [`home`] covers at a resolution.
pub(super) fn home_radians(resolution: Resolution) -> f64 {
    HOME * resolution.edge_length_rads()
}

/// Cells of one resolution that together own a ball: few, and not much larger than it.
pub(super) fn home(centre: &Spot, radians: f64) -> Vec<CellIndex> {
    let fitting = Resolution::range(Resolution::Zero, FINEST)
        .take_while(|r| radians <= home_radians(*r))
        .last();
    match fitting {
        Some(resolution) => {
            let mut cells: Vec<CellIndex> = cell_at(centre.point, resolution).grid_disk(1);
            cells.sort_unstable();
            cells
        }
        None => CellIndex::base_cells().collect(),
    }
}

/// How the shape lies to what a cell can own: never `Out` where they have a point in common,
/// `In` only where all the cell owns is in the shape.
pub(super) fn overlap_ball(shape: &Shape, centre: &Spot, radians: f64) -> Overlap {
    let (first, second) = boxes(centre, radians);
    let one = overlap(shape, &first);
    match second.map(|second| overlap(shape, &second)) {
        None => one,
        Some(other) if one == other => one,
        Some(_) => Overlap::Cut,
    }
}

/// Cells of one resolution that own every point of the shape; sorted.
pub(super) fn cover(shape: &Shape) -> Vec<CellIndex> {
    if let Some(p) = shape.is_point() {
        return vec![cell_at(p, FINEST)];
    }
    let (middle, radians) = ball(&shape.bounds());
    let touches = |cell: &CellIndex| {
        overlap_ball(shape, &centre(*cell), reach(cell.resolution())) != Overlap::Out
    };
    let mut cells = home(&middle, radians);
    cells.retain(touches);
    while cells.len() < REFINE_BELOW
        && let Some(finer) = cells.first().and_then(|cell| cell.resolution().succ())
        && finer <= FINEST_COVER
    {
        cells = cells
            .iter()
            .flat_map(|cell| cell.children(finer))
            .filter(touches)
            .collect();
    }
    cells
}

/// Radians that no connected part of a shape exceeds whose cover is finer than a resolution: a
/// cover is refined only while it has fewer than [`REFINE_BELOW`] cells, each of which reaches so
/// far to both sides of its centre; and the cells of [`home`], with which it begins, own a ball
/// that is no larger.
pub fn widest_below(resolution: Resolution) -> f64 {
    2.0 * REFINE_BELOW as f64 * reach(resolution)
}

/// The raw indices, at a resolution as fine or finer, of all that descends from a cell: least
/// and greatest.
pub(super) fn descendants(cell: CellIndex, resolution: Resolution) -> (u64, u64) {
    /// Where the resolution stands in an H3 index.
    const RESOLUTION_BIT: u32 = 52;
    let (own, to) = (u8::from(cell.resolution()), u8::from(resolution));
    let digits = (1_u64 << (3 * u32::from(to.saturating_sub(own)))) - 1;
    let mask = digits << (3 * u32::from(15 - to));
    let bits = (u64::from(cell) & !(0xF << RESOLUTION_BIT)) | (u64::from(to) << RESOLUTION_BIT);
    (bits & !mask, bits | mask)
}
