//! The three kinds of objects of OpenStreetMap, as both encodings give them.
//!
//! # Invariants
//! - A position is in range; units are 1e-7 degrees, as the OSM database keeps them, so positions
//!   that were equal there are equal here.

use std::sync::Arc;

use super::super::MAX_COLUMNS;

/// Most tags of one object.
pub(super) const MAX_TAGS: usize = MAX_COLUMNS;
/// Most nodes of one way, and most members of one relation.
pub const MAX_MEMBERS: usize = twin_core::space::MAX_VERTICES;

/// Units of a position in one degree.
const UNITS: f64 = 1e7;
const MAX_LON: i64 = 1_800_000_000;
const MAX_LAT: i64 = 900_000_000;

/// A position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct At {
    pub(super) lon: i32,
    pub(super) lat: i32,
}

impl At {
    /// The position of a longitude and latitude in units, `None` out of range.
    pub(super) fn new(lon: i64, lat: i64) -> Option<Self> {
        if lon.abs() > MAX_LON || lat.abs() > MAX_LAT {
            return None;
        }
        Some(Self {
            lon: i32::try_from(lon).ok()?,
            lat: i32::try_from(lat).ok()?,
        })
    }

    /// The same from degrees, rounded to the next unit.
    pub(super) fn from_degrees(lon: f64, lat: f64) -> Option<Self> {
        // What is not finite or far too large becomes an integer that is out of range.
        let units = |degrees: f64| (degrees * UNITS).round() as i64;
        if lon.is_nan() || lat.is_nan() {
            return None;
        }
        Self::new(units(lon), units(lat))
    }

    /// Longitude and latitude in degrees.
    pub(super) fn degrees(self) -> [f64; 2] {
        [f64::from(self.lon) / UNITS, f64::from(self.lat) / UNITS]
    }
}

/// Keys and values, in the order of the file.
pub(super) type Tags = Vec<(Arc<str>, Arc<str>)>;

/// What a member of a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Node,
    Way,
    Relation,
}

impl Kind {
    /// The word that OSM has for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Way => "way",
            Self::Relation => "relation",
        }
    }
}

/// A member of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) id: i64,
    /// Whether its role says that it bounds a hole.
    pub(super) inner: bool,
}

/// The role of a way that bounds a hole.
pub(super) const INNER: &str = "inner";

/// What an object is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// Where a node is; `None` out of range, or where the file does not say.
    Node(Option<At>),
    /// The nodes of a way.
    Way(Vec<i64>),
    /// The members of a relation.
    Relation(Vec<Member>),
}

/// A node, way or relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) id: i64,
    pub(super) tags: Tags,
    pub(super) body: Body,
    /// Line where it starts, in XML.
    pub(super) line: Option<u64>,
}

impl Element {
    pub(super) fn kind(&self) -> Kind {
        match self.body {
            Body::Node(_) => Kind::Node,
            Body::Way(_) => Kind::Way,
            Body::Relation(_) => Kind::Relation,
        }
    }

    /// The value of a key, empty where there is none.
    pub(super) fn tag(&self, key: &str) -> &str {
        tag(&self.tags, key)
    }
}

/// The value of a key, empty where there is none.
pub(super) fn tag<'t>(tags: &'t Tags, key: &str) -> &'t str {
    let found = tags.iter().find(|(known, _)| **known == *key);
    found.map_or("", |(_, value)| value)
}

/// Which objects a pass over the file needs; others may be left unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All of them.
    All,
    /// Relations alone.
    Relations,
}
