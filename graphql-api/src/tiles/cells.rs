//! Many points as H3 cells that count them.
//!
//! # Invariants
//! - A cell's count is that of all points of the layer that it owns, on this tile and beside it; so
//!   every tile that a cell reaches into says the same of it.
//! - Which cell owns a point is what H3 says, always: a cell's outline decides only for points that
//!   are farther inside of it than outlines can be wrong.
//! - All tiles of a zoom have cells of one resolution.

use std::collections::{BTreeMap, HashMap};
use std::f64::consts::TAU;
use std::ops::ControlFlow;

use twin_core::View;
use twin_core::space::{Bounds, CellIndex, Look, Point, Resolution};

use super::grid::{BUFFER, Grid};
use super::layer::Layer;
use crate::exec::{Clock, Sum};

/// Edges of a cell's hexagon that a tile is wide, at the equator and at most: cells are some twenty
/// to fifty pixels wide on a tile that is drawn 512 pixels wide.
const EDGES: f64 = 40.0;
/// How far a cell reaches from its centre, in average edges of its resolution: twice as far as the
/// corners of the largest hexagons.
const REACH: f64 = 2.4;
/// Part of the way to the centre that a point has to be inside of an outline to count as owned, for
/// each radian of the cell's edge and by the tangent of the latitude. Sides are straight on the globe
/// and drawn straight in longitude and latitude, which parts them by 0.15 of that.
const MARGIN: f64 = 0.4;
/// The least such part, for what rounding does.
const LEAST_MARGIN: f64 = 5e-4;
/// Beyond, outlines say nothing: degrees of longitude become too narrow.
const FARTHEST_LAT: f64 = 60.0;
/// A wider outline, in degrees, lies across the antimeridian.
const WIDEST: f64 = 60.0;
/// Outlines that are tried before H3 is asked. Points come along a curve, so the next one is nearly
/// always in the cell of one of the last.
const TRIED: usize = 4;

/// What is known of the points of a cell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    /// Of those that have a value.
    pub(crate) values: Sum,
    pub(crate) has_values: bool,
}

/// The cells of a tile and what they count, by index.
pub(crate) fn count(
    view: &View,
    layer: &Layer,
    grid: &Grid,
    clock: &Clock,
) -> BTreeMap<CellIndex, Tally> {
    let resolution = resolution(grid.tile.z);
    let mut count = Count {
        resolution,
        areas: gathered(grid, resolution),
        outlines: HashMap::new(),
        last: Vec::new(),
        whole: CellIndex::first(resolution),
        cells: HashMap::new(),
    };
    // Cut short only when time is up, which is the caller's to see.
    let _cut_short = view.walk_points(layer.class, &mut count, &Count::look, &|count, page| {
        if page.whole() && layer.value.is_none() {
            let cell = count.whole;
            count.cells.entry(cell).or_default().count += page.len() as u64;
            return if clock.tick() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            };
        }
        for (twin, point) in page.twins() {
            if !clock.tick() {
                return ControlFlow::Break(());
            }
            let cell = if page.whole() {
                count.whole
            } else {
                count.cell_of(point)
            };
            let tally = count.cells.entry(cell).or_default();
            tally.count += 1;
            let number = layer
                .value
                .as_ref()
                .and_then(|value| value.number(view, twin));
            if let Some(number) = number {
                tally.values.add(number);
                tally.has_values = true;
            }
        }
        ControlFlow::Continue(())
    });
    count.cells.into_iter().collect()
}

/// The resolution of cells at a zoom.
pub(crate) fn resolution(z: u8) -> Resolution {
    let tile = TAU / f64::from(1_u32 << z);
    let fitting = Resolution::range(Resolution::Zero, Resolution::Fifteen)
        .take_while(|r| r.edge_length_rads() * EDGES >= tile);
    fitting.last().unwrap_or(Resolution::Zero)
}

/// Boxes that hold all that cells own which reach into a tile: two across the antimeridian.
fn gathered(grid: &Grid, resolution: Resolution) -> Vec<Bounds> {
    let tile = grid.bounds(BUFFER as f64);
    let reach = (2.0 * REACH * resolution.edge_length_rads()).to_degrees();
    let (south, north) = (tile.south - reach, tile.north + reach);
    let farthest = south.abs().max(north.abs());
    let beside = if farthest < 89.0 {
        reach / farthest.to_radians().cos()
    } else {
        360.0
    };
    let (west, east) = (tile.west - beside, tile.east + beside);
    let area = |west: f64, east: f64| Bounds {
        west: west.max(-180.0),
        south: south.max(-90.0),
        east: east.min(180.0),
        north: north.min(90.0),
    };
    if east - west >= 360.0 {
        vec![area(-180.0, 180.0)]
    } else if west < -180.0 {
        vec![area(-180.0, east), area(west + 360.0, 180.0)]
    } else if east > 180.0 {
        vec![area(west, 180.0), area(-180.0, east - 360.0)]
    } else {
        vec![area(west, east)]
    }
}

/// A count under way.
struct Count {
    resolution: Resolution,
    areas: Vec<Bounds>,
    /// `None` where an outline says nothing.
    outlines: HashMap<CellIndex, Option<Outline>>,
    /// Cells of the last points, latest first.
    last: Vec<CellIndex>,
    /// The cell that owns all under the box that was looked at last.
    whole: CellIndex,
    cells: HashMap<CellIndex, Tally>,
}

impl Count {
    fn look(&mut self, bounds: &Bounds) -> Look {
        if !self.areas.iter().any(|area| area.overlaps(bounds)) {
            return Look::Past;
        }
        let corners = [
            (bounds.west, bounds.south),
            (bounds.east, bounds.south),
            (bounds.east, bounds.north),
            (bounds.west, bounds.north),
        ];
        let middle = Point {
            lon: f64::midpoint(bounds.west, bounds.east),
            lat: f64::midpoint(bounds.south, bounds.north),
        };
        let cell = self.cell_of(middle);
        let outline = self.outlines.get(&cell).and_then(Option::as_ref);
        // An outline is convex, so it holds a box whose corners it holds.
        let holds = |outline: &Outline| corners.iter().all(|(lon, lat)| outline.holds(*lon, *lat));
        if outline.is_some_and(holds) {
            self.whole = cell;
            Look::Whole
        } else {
            Look::Into
        }
    }

    /// The cell that owns a point.
    fn cell_of(&mut self, point: Point) -> CellIndex {
        let holds = |cell: &CellIndex| {
            let outline = self.outlines.get(cell).and_then(Option::as_ref);
            outline.is_some_and(|outline| outline.holds(point.lon, point.lat))
        };
        if let Some(place) = self.last.iter().position(holds) {
            self.last.swap(0, place);
            return self.last[0];
        }
        let cell = point.cell(self.resolution);
        self.outlines
            .entry(cell)
            .or_insert_with(|| Outline::of(cell));
        self.last.retain(|other| *other != cell);
        self.last.truncate(TRIED - 1);
        self.last.insert(0, cell);
        cell
    }
}

/// The sides of a cell, moved inwards.
#[derive(Debug)]
struct Outline {
    /// Of each side `a`, `b` and `c`: a point is inside where `a * lon + b * lat >= c`.
    sides: Vec<[f64; 3]>,
}

impl Outline {
    /// `None` near the poles, across the antimeridian, and of pentagons.
    fn of(cell: CellIndex) -> Option<Self> {
        let corners = corners(cell);
        let least = |pick: fn(&[f64; 2]) -> f64| corners.iter().map(pick).fold(f64::MAX, f64::min);
        let most = |pick: fn(&[f64; 2]) -> f64| corners.iter().map(pick).fold(f64::MIN, f64::max);
        let (west, east) = (least(|c| c[0]), most(|c| c[0]));
        let (south, north) = (least(|c| c[1]), most(|c| c[1]));
        let near = south >= -FARTHEST_LAT && north <= FARTHEST_LAT && east - west <= WIDEST;
        if !near || west < -180.0 || east > 180.0 || cell.is_pentagon() {
            return None;
        }
        let bulge = south.abs().max(north.abs()).to_radians().tan() + 0.1;
        let margin = (MARGIN * bulge * cell.resolution().edge_length_rads()).max(LEAST_MARGIN);
        let count = corners.len() as f64;
        let middle = [0, 1].map(|axis| corners.iter().map(|c| c[axis]).sum::<f64>() / count);
        let next = corners.iter().cycle().skip(1);
        let sides = corners.iter().zip(next).map(|(from, to)| {
            // The inside is to the left.
            let (a, b) = (from[1] - to[1], to[0] - from[0]);
            let edge = a * from[0] + b * from[1];
            let centre = a * middle[0] + b * middle[1];
            [a, b, edge + margin * (centre - edge)]
        });
        Some(Self {
            sides: sides.collect(),
        })
    }

    fn holds(&self, lon: f64, lat: f64) -> bool {
        let inside = |[a, b, c]: &[f64; 3]| a * lon + b * lat >= *c;
        self.sides.iter().all(inside)
    }
}

/// The corners of a cell, counter-clockwise seen from above, in degrees. Longitudes are connected:
/// across the antimeridian they go beyond 180.
pub(crate) fn corners(cell: CellIndex) -> Vec<[f64; 2]> {
    let mut corners: Vec<[f64; 2]> = Vec::new();
    for corner in cell.boundary().iter() {
        let near = corners.first().map_or(corner.lng(), |first| first[0]);
        let turns = ((near - corner.lng()) / 360.0).round();
        corners.push([corner.lng() + 360.0 * turns, corner.lat()]);
    }
    corners
}

/// The number of a cell's feature: its index without what all cells of a resolution have alike,
/// which leaves 52 bits.
pub(crate) fn feature_id(cell: CellIndex) -> u64 {
    u64::from(cell) & ((1 << 52) - 1)
}
