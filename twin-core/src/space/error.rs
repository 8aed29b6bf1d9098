//! What can be wrong with a geometry or a region, where, and how to mend it.
//!
//! # Invariants
//! - A variant exists only where a caller could act differently; the text alone is enough to
//!   find the fault in the source data.

use thiserror::Error;

/// Why a geometry is refused.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ShapeError {
    /// A longitude, latitude or height is not a finite number in its range.
    #[error(
        "coordinate [{lon}, {lat}] is not a WGS 84 position: longitude must be within -180 to 180 and latitude within -90 to 90, in that order; check the axis order and the coordinate system"
    )]
    OutOfRange {
        /// The longitude as given.
        lon: f64,
        /// The latitude as given.
        lat: f64,
    },
    /// There is no coordinate where one is needed.
    #[error("{part} is empty; leave the geometry out instead")]
    Empty {
        /// The part that is empty.
        part: String,
    },
    /// A line or ring has too few points.
    #[error("{part} has {found} distinct points in a row, and needs at least {needed}")]
    TooFewPoints {
        /// The line or ring.
        part: String,
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
    },
    /// A ring does not end where it starts.
    #[error(
        "{part} is not closed: it starts at [{lon}, {lat}] and ends elsewhere; repeat the first position at the end"
    )]
    Open {
        /// The ring.
        part: String,
        /// Longitude of its first point.
        lon: f64,
        /// Latitude of its first point.
        lat: f64,
    },
    /// More vertices than the limit.
    #[error("the geometry has more than {limit} vertices; simplify or split it")]
    TooManyVertices {
        /// The limit.
        limit: usize,
    },
    /// Collections nested deeper than the limit.
    #[error("geometry collections are nested deeper than {limit} levels; flatten them")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// An areal geometry breaks a rule of OGC Simple Features.
    #[error(
        "{part} {rule} at [{lon}, {lat}]; repair the geometry (make valid) before importing it"
    )]
    Invalid {
        /// The ring or rings at fault.
        part: String,
        /// The rule it breaks, as a verb phrase.
        rule: &'static str,
        /// Longitude of the fault.
        lon: f64,
        /// Latitude of the fault.
        lat: f64,
    },
    /// Some positions have a height and some have none.
    #[error("some positions have a height and some have none; give one to all or to none")]
    MixedHeights,
    /// A solid that is none, or that has nothing to stand on.
    #[error(
        "the solid {reason}; it needs faces of three positions or more, all with heights, and an area as its footprint"
    )]
    Solid {
        /// What is wrong, as a verb phrase.
        reason: String,
    },
    /// A `GeoJSON` value is not a geometry.
    #[error("not a GeoJSON geometry: {reason} at {at}")]
    GeoJson {
        /// What is wrong.
        reason: String,
        /// A path such as `coordinates[0][3]`.
        at: String,
    },
    /// Bytes are not well-known binary.
    #[error("not well-known binary: {reason} at byte {at}")]
    Wkb {
        /// What is wrong.
        reason: String,
        /// Offset of the fault.
        at: usize,
    },
}

/// Why a region is refused.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum RegionError {
    /// A position is out of range.
    #[error(transparent)]
    Position(#[from] ShapeError),
    /// A box whose edges are in the wrong order.
    #[error(
        "a box is [west, south, east, north] with west <= east and south <= north, not [{west}, {south}, {east}, {north}]; ask twice for a box over the antimeridian"
    )]
    Box {
        /// As given.
        west: f64,
        /// As given.
        south: f64,
        /// As given.
        east: f64,
        /// As given.
        north: f64,
    },
    /// A radius that is negative, not a number or too large.
    #[error("a radius is between 0 and {limit} metres, not {metres}")]
    Radius {
        /// As given.
        metres: f64,
        /// The limit.
        limit: f64,
    },
    /// A point, line or collection where an area is needed.
    #[error("a region must be a Polygon or MultiPolygon, not a {found}")]
    NotAnArea {
        /// What was given.
        found: &'static str,
    },
    /// No cell, or too many.
    #[error("a region of cells needs 1 to {limit} cells, not {found}")]
    Cells {
        /// How many were given.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Cells of different resolutions.
    #[error("cells of a region must have one resolution; found {first} and {other}")]
    MixedCells {
        /// Resolution of the first cell.
        first: u8,
        /// Another resolution found.
        other: u8,
    },
}
