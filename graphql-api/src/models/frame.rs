//! Positions as metres east, north and up of an origin near them.
//!
//! # Invariants
//! - Distances are those of straight lines between the positions on and above the ellipsoid of WGS 84:
//!   nothing is stretched, whatever the latitude. "Up" is that of the origin: a kilometre away the ground is
//!   8 cm below it.

use twin_core::space::Position;

/// Semi-major axis of WGS 84 in metres.
const A: f64 = 6_378_137.0;
/// First eccentricity squared of WGS 84.
const E2: f64 = 0.006_694_379_990_141_316_5;

/// Axes at an origin.
#[derive(Debug)]
pub(super) struct Frame {
    origin: Position,
    /// The origin from the centre of the Earth.
    place: [f64; 3],
    /// East, north and up, of unit length.
    axes: [[f64; 3]; 3],
}

impl Frame {
    /// A frame in the middle of some positions, at the height of the lowest.
    pub(super) fn around(positions: &[Position]) -> Self {
        let mut least = [f64::INFINITY; 3];
        let mut greatest = [f64::NEG_INFINITY; 3];
        for position in positions {
            for axis in 0..3 {
                least[axis] = least[axis].min(position[axis]);
                greatest[axis] = greatest[axis].max(position[axis]);
            }
        }
        let middle = |axis: usize| f64::midpoint(least[axis], greatest[axis]);
        let origin = [middle(0), middle(1), least[2]];
        let (sin_lon, cos_lon) = origin[0].to_radians().sin_cos();
        let (sin_lat, cos_lat) = origin[1].to_radians().sin_cos();
        Self {
            origin,
            place: earth_centred(origin),
            axes: [
                [-sin_lon, cos_lon, 0.0],
                [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
                [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
            ],
        }
    }

    pub(super) fn origin(&self) -> Position {
        self.origin
    }

    /// Metres east, north and up.
    pub(super) fn local(&self, position: Position) -> [f64; 3] {
        let place = earth_centred(position);
        let from: [f64; 3] = std::array::from_fn(|axis| place[axis] - self.place[axis]);
        self.axes
            .map(|axis| axis[0] * from[0] + axis[1] * from[1] + axis[2] * from[2])
    }
}

/// Metres from the centre of the Earth.
fn earth_centred([lon, lat, height]: Position) -> [f64; 3] {
    let (sin_lon, cos_lon) = lon.to_radians().sin_cos();
    let (sin_lat, cos_lat) = lat.to_radians().sin_cos();
    let normal = A / (1.0 - E2 * sin_lat * sin_lat).sqrt();
    let across = (normal + height) * cos_lat;
    [
        across * cos_lon,
        across * sin_lon,
        (normal * (1.0 - E2) + height) * sin_lat,
    ]
}
