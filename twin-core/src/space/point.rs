//! A position and a box in longitude/latitude.
//!
//! # Invariants
//! - `Point`: `-180 <= lon <= 180`, `-90 <= lat <= 90`, both finite.
//! - `Bounds`: `west <= east`, `south <= north`.

use super::cells;
use super::error::ShapeError;
use geo_types::Coord;
use h3o::{CellIndex, Resolution};

/// A WGS 84 position in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Longitude in degrees, east positive.
    pub lon: f64,
    /// Latitude in degrees, north positive.
    pub lat: f64,
}

impl Point {
    /// A position, if it is one.
    pub fn new(lon: f64, lat: f64) -> Result<Self, ShapeError> {
        // Written so that NaN is refused.
        if (-180.0..=180.0).contains(&lon) && (-90.0..=90.0).contains(&lat) {
            Ok(Self { lon, lat })
        } else {
            Err(ShapeError::OutOfRange { lon, lat })
        }
    }

    /// The H3 cell that owns the position: every position has exactly one at each resolution.
    pub fn cell(self, resolution: Resolution) -> CellIndex {
        cells::cell_at(self, resolution)
    }

    pub(super) fn coord(self) -> Coord<f64> {
        Coord {
            x: self.lon,
            y: self.lat,
        }
    }
}

impl From<Coord<f64>> for Point {
    fn from(c: Coord<f64>) -> Self {
        Self { lon: c.x, lat: c.y }
    }
}

/// A closed box in longitude/latitude; its edges belong to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Least longitude.
    pub west: f64,
    /// Least latitude.
    pub south: f64,
    /// Greatest longitude.
    pub east: f64,
    /// Greatest latitude.
    pub north: f64,
}

impl Bounds {
    /// The box of coordinates, which must not be empty to be meaningful.
    pub(super) fn of(coords: &[Coord<f64>]) -> Self {
        let mut b = Self::NONE;
        for c in coords {
            b.west = b.west.min(c.x);
            b.east = b.east.max(c.x);
            b.south = b.south.min(c.y);
            b.north = b.north.max(c.y);
        }
        b
    }

    /// Holds nothing; the neutral element of [`Bounds::join`].
    pub(super) const NONE: Self = Self {
        west: f64::INFINITY,
        south: f64::INFINITY,
        east: f64::NEG_INFINITY,
        north: f64::NEG_INFINITY,
    };

    /// The least box that holds both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            west: self.west.min(other.west),
            south: self.south.min(other.south),
            east: self.east.max(other.east),
            north: self.north.max(other.north),
        }
    }

    /// Whether the boxes have a point in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.west <= other.east
            && other.west <= self.east
            && self.south <= other.north
            && other.south <= self.north
    }

    /// Whether the other box lies wholly in this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.west <= other.west
            && other.east <= self.east
            && self.south <= other.south
            && other.north <= self.north
    }

    /// Degrees from west to east.
    pub fn width(&self) -> f64 {
        self.east - self.west
    }

    /// Degrees from south to north.
    pub fn height(&self) -> f64 {
        self.north - self.south
    }

    /// Whether the point lies in the box.
    pub fn contains(&self, p: Point) -> bool {
        self.has(p.coord())
    }

    pub(super) fn has(&self, c: Coord<f64>) -> bool {
        self.west <= c.x && c.x <= self.east && self.south <= c.y && c.y <= self.north
    }

    pub(super) fn centre(&self) -> Point {
        Point {
            lon: f64::midpoint(self.west, self.east),
            lat: f64::midpoint(self.south, self.north),
        }
    }

    /// South-west, south-east, north-east, north-west.
    pub(super) fn corners(&self) -> [Coord<f64>; 4] {
        [
            Coord {
                x: self.west,
                y: self.south,
            },
            Coord {
                x: self.east,
                y: self.south,
            },
            Coord {
                x: self.east,
                y: self.north,
            },
            Coord {
                x: self.west,
                y: self.north,
            },
        ]
    }
}
