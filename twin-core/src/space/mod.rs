//! Space: checked geometry, exact predicates and the index that finds candidates for them.
//!
//! # Invariants
//! - Coordinates are WGS 84 longitude and latitude in degrees; edges are straight in
//!   longitude/latitude; distances are geodesic metres; a boundary counts as inside.
//! - A [`Shape`] that exists is valid: finite, in range, not empty, rings closed and simple.
//! - Cells and pages are the index and never the answer: [`SpaceIndex`] proposes candidates, and
//!   [`Region::matches`], [`Shape::contains`] and [`Shape::distance`] decide, or bounds that imply
//!   what they would say. An index search equals the same test over all shapes.
//! - Nothing here does I/O, and no input panics.
//!
//! Predicates are exact in the sense of adaptive arithmetic: orientation signs are those of the
//! real numbers that the coordinates denote. Distances to edges are good to 1e-9 of their length
//! up to 500 km; beyond, the nearest point of an edge is the one nearest in a straight line
//! through the Earth, which makes a distance too long by some 1e-7 of it. Distances between
//! points are good to 15 nanometres everywhere.

mod cells;
mod check;
mod error;
mod geojson;
mod index;
mod locate;
mod metric;
mod near;
mod paths;
mod point;
mod points;
mod region;
mod relate;
mod shape;
mod solid;
#[cfg(test)]
mod testing;
mod wkb;

pub use cells::widest_below;
pub use error::{RegionError, ShapeError};
pub use h3o::{CellIndex, Resolution};
pub use index::{Key, SpaceIndex};
pub use point::{Bounds, Point};
pub use points::{Look, PointPage};
pub use region::{MAX_CELLS, MAX_METRES, Region, Relation};
pub use shape::{MAX_DEPTH, MAX_VERTICES, Shape};
pub use solid::{Face, Position, Solid, Surface};
