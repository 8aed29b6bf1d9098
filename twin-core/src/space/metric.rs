//! Metres on the ellipsoid: the geodesic distance, and cheap bounds that nearly always make it
//! unnecessary.
//!
//! # Invariants
//! - For two spots, `lower <= geodesic <= upper`.
//!
//! Why the bounds hold. A straight line is the shortest curve, so the chord through the Earth is
//! never longer than the geodesic. A geodesic is nowhere more curved than the meridian at the
//! equator (radius [`R_MIN`]), so by Schur's comparison theorem a circle of that radius over the
//! same chord has the longer arc. And lengths on the ellipsoid lie between [`R_MIN`] and
//! [`R_MAX`] times lengths on the unit sphere of surface normals, since both radii of curvature
//! do. Chord and arc differ by 1 mm at 10 km, so a radius query needs the geodesic only for
//! points within that millimetre.

use super::point::Point;
use geographiclib_rs::{Geodesic, InverseGeodesic};
use std::sync::LazyLock;

/// Least radius of curvature of WGS 84 in metres: the meridian at the equator.
pub(super) const R_MIN: f64 = 6_335_439.0;
/// Greatest radius of curvature of WGS 84 in metres: at the poles.
pub(super) const R_MAX: f64 = 6_399_594.0;
/// Semi-major axis of WGS 84 in metres.
const A: f64 = 6_378_137.0;
/// First eccentricity squared of WGS 84.
const E2: f64 = 0.006_694_379_990_141_316_5;
/// Metres that rounding may move a bound; a thousand times what it does.
pub(super) const SLACK: f64 = 1e-6;
/// Metres up to which the chord is the better lower bound.
const FAR: f64 = 1e6;

static WGS84: LazyLock<Geodesic> = LazyLock::new(Geodesic::wgs84);

/// Geodesic metres between two positions.
pub(super) fn geodesic(a: Point, b: Point) -> f64 {
    WGS84.inverse(a.lat, a.lon, b.lat, b.lon)
}

pub(super) type Vec3 = [f64; 3];

#[inline]
pub(super) fn gap(a: Vec3, b: Vec3) -> f64 {
    let (x, y, z) = (a[0] - b[0], a[1] - b[1], a[2] - b[2]);
    (x * x + y * y + z * z).sqrt()
}

/// A position with its place in space, computed once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) point: Point,
    /// Surface normal: the position on the unit sphere that H3 uses.
    pub(super) normal: Vec3,
    /// Metres from the centre of the Earth.
    pub(super) place: Vec3,
}

impl Spot {
    pub(super) fn new(point: Point) -> Self {
        let (sin_lat, cos_lat) = point.lat.to_radians().sin_cos();
        let (sin_lon, cos_lon) = point.lon.to_radians().sin_cos();
        let normal = [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat];
        let n = A / (1.0 - E2 * sin_lat * sin_lat).sqrt();
        let place = [n * normal[0], n * normal[1], n * (1.0 - E2) * normal[2]];
        Self {
            point,
            normal,
            place,
        }
    }

    pub(super) fn chord(&self, other: &Self) -> f64 {
        gap(self.place, other.place)
    }

    /// Angle between the normals in radians.
    pub(super) fn angle(&self, other: &Self) -> f64 {
        2.0 * (gap(self.normal, other.normal) / 2.0).min(1.0).asin()
    }

    /// What the geodesic metres are at least and at most.
    pub(super) fn range(&self, other: &Self) -> (f64, f64) {
        let chord = self.chord(other);
        let (mut lower, mut upper) = (chord, arc(chord));
        if chord > FAR {
            let angle = self.angle(other);
            lower = lower.max(R_MIN * angle);
            upper = upper.min(R_MAX * angle);
        }
        ((lower - SLACK).max(0.0), upper + SLACK)
    }

    /// What the geodesic metres to anything within `radians` of a centre are at least and at
    /// most.
    pub(super) fn range_to_ball(&self, centre: &Self, radians: f64) -> (f64, f64) {
        let (lower, upper) = self.range(centre);
        let radius = R_MAX * radians;
        let mut least = lower.min(self.chord(centre)) - radius;
        if lower > FAR {
            least = least.max(R_MIN * (self.angle(centre) - radians));
        }
        ((least - SLACK).max(0.0), upper + radius + SLACK)
    }
}

/// Whether a point of an interval of geodesic lengths can be decided against a limit.
pub(super) fn decide((lower, upper): (f64, f64), limit: f64) -> Option<bool> {
    if upper <= limit {
        Some(true)
    } else if lower > limit {
        Some(false)
    } else {
        None
    }
}

/// The longest that a geodesic over this chord can be.
pub(super) fn arc(chord: f64) -> f64 {
    let half = chord / (2.0 * R_MIN);
    // Near the antipode the comparison says nothing; the caller's other bound holds there.
    if half < 0.9 {
        2.0 * R_MIN * half.asin()
    } else {
        std::f64::consts::PI * R_MAX
    }
}

/// How far, in metres, a curve that is straight in longitude/latitude can leave the straight
/// line in space between its ends: an eighth of the greatest second derivative.
pub(super) fn sag(a: Point, b: Point) -> f64 {
    let lon = (a.lon - b.lon).abs().to_radians();
    let lat = (a.lat - b.lat).abs().to_radians();
    // Along a parallel the turn shrinks with its radius; without that, an edge along a pole
    // would seem to bend though it has no length.
    let least = if (a.lat < 0.0) == (b.lat < 0.0) {
        a.lat.abs().min(b.lat.abs())
    } else {
        0.0
    };
    let turn = lat * lat + 2.0 * lat * lon + lon * lon * least.to_radians().cos();
    // 6.5e6 exceeds every radius of curvature together with its rate of change.
    6.5e6 * turn / 8.0
}
