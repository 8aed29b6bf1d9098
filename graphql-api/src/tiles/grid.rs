//! Where a place is on the map: tiles of the Web Mercator pyramid, and units within one of them.
//!
//! # Invariants
//! - Units: a tile is [`EXTENT`] units wide and high, x runs east and y runs south from its
//!   north-west corner. A tile holds what is at least 0 and less than [`EXTENT`], so every place
//!   between the edges of the map is in exactly one tile of a zoom.
//! - Two tiles of a zoom see one place at positions that differ by whole tiles, up to the rounding
//!   of doubles, which is below a thousandth of a unit at every zoom.
//!
//! Formulas: spherical Mercator as in EPSG:3857, tiles numbered as in the OGC's `WebMercatorQuad`
//! (x from 180 degrees west, y from the north).

use std::f64::consts::{PI, TAU};

use twin_core::space::Bounds;

/// Units of a tile's side.
pub(crate) const EXTENT: i64 = 4_096;
/// Units around a tile that areas and lines go on for, so that strokes do not end at its edge: 8
/// pixels of a tile that is drawn 512 pixels wide.
pub(crate) const BUFFER: i64 = 64;
/// Latitude where the square map ends.
pub(crate) const EDGE_LAT: f64 = 85.051_128_779_806_59;
/// Beyond, a latitude would be too far away to be drawn towards; the map ends before.
const FARTHEST_LAT: f64 = 89.5;

/// A position in units, before it is rounded.
pub(crate) type Spot = [f64; 2];

/// A tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) z: u8,
    pub(crate) x: u32,
    pub(crate) y: u32,
}

/// The units of one tile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) tile: Tile,
    /// Units around the Earth at this zoom.
    around: f64,
    /// Where the tile begins, in units of the whole map.
    origin: Spot,
    /// Units of a degree of longitude, and of longitude 0.
    east: [f64; 2],
    near: Series,
}

/// Southern units of latitudes near the middle of a tile as a sum of powers, which takes a tenth of
/// the time of a logarithm.
#[derive(Clone, Copy, Debug)]
struct Series {
    /// The middle, in degrees.
    lat: f64,
    /// Degrees around it within which the sum is off by less than [`OFF`].
    reach: f64,
    /// Units by powers of radians.
    terms: [f64; 5],
}

/// Units that a series may be off.
const OFF: f64 = 1e-6;
/// Units that [`Grid::vertex`] and [`Grid::spot`] are apart at most, rounding included.
const OFF_AT_MOST: f64 = 1e-3;

impl Grid {
    pub(crate) fn new(tile: Tile) -> Self {
        let unit = EXTENT as f64;
        let mut grid = Self {
            tile,
            around: unit * f64::from(1_u32 << tile.z),
            origin: [f64::from(tile.x) * unit, f64::from(tile.y) * unit],
            east: [0.0; 2],
            near: Series {
                lat: 0.0,
                reach: -1.0,
                terms: [0.0; 5],
            },
        };
        grid.east = [grid.around / 360.0, grid.around / 2.0 - grid.origin[0]];
        grid.near = grid.series();
        grid
    }

    /// Taylor's series of the inverse Gudermannian function, whose derivatives are sums of powers of
    /// tangent and secant.
    fn series(&self) -> Series {
        let Bounds { south, north, .. } = self.bounds(0.0);
        let lat = f64::midpoint(south, north);
        let (t, s) = (lat.to_radians().tan(), lat.to_radians().cos().recip());
        let unit = -self.around / TAU;
        let terms = [
            self.spot(0.0, lat)[1],
            unit * s,
            unit * s * t / 2.0,
            unit * (s * t.powi(2) + s.powi(3)) / 6.0,
            unit * (s * t.powi(3) + 5.0 * s.powi(3) * t) / 24.0,
        ];
        // The next term, and as much again for those after it.
        let fifth = s * t.powi(4) + 18.0 * s.powi(3) * t.powi(2) + 5.0 * s.powi(5);
        let next = 2.0 * unit.abs() * fifth / 120.0;
        let reach = (OFF / next).powf(0.2).to_degrees();
        Series { lat, reach, terms }
    }

    /// Where a vertex is, to a millionth of a unit.
    pub(crate) fn vertex(&self, lon: f64, lat: f64) -> Spot {
        let off = lat - self.near.lat;
        if off.abs() > self.near.reach {
            return self.spot(lon, lat);
        }
        let off = off.to_radians();
        let sum = |sum: f64, term: &f64| sum * off + term;
        [
            lon * self.east[0] + self.east[1],
            self.near.terms.iter().rev().fold(0.0, sum),
        ]
    }

    /// Where a place is.
    pub(crate) fn spot(&self, lon: f64, lat: f64) -> Spot {
        let sin = lat.clamp(-FARTHEST_LAT, FARTHEST_LAT).to_radians().sin();
        let east = lon / 360.0 + 0.5;
        let south = 0.5 - ((1.0 + sin) / (1.0 - sin)).ln() / (2.0 * TAU);
        [
            east * self.around - self.origin[0],
            south * self.around - self.origin[1],
        ]
    }

    /// Whether the tile holds a vertex. Each is in one tile of a zoom.
    pub(crate) fn holds_vertex(&self, lon: f64, lat: f64) -> bool {
        let near = self.vertex(lon, lat);
        let edge = |at: f64| at.abs().min((at - EXTENT as f64).abs()) < 2.0 * OFF_AT_MOST;
        // What is next to an edge is placed as each tile places it.
        if near.into_iter().any(edge) {
            return holds(self.spot(lon, lat));
        }
        holds(near)
    }

    /// The box of longitudes and latitudes of the tile and so many units around it.
    pub(crate) fn bounds(&self, around: f64) -> Bounds {
        let lon =
            |x: f64| ((x + self.origin[0]) / self.around * 360.0 - 180.0).clamp(-180.0, 180.0);
        let lat = |y: f64| {
            let south = (y + self.origin[1]) / self.around;
            (PI * (1.0 - 2.0 * south)).sinh().atan().to_degrees()
        };
        let far = EXTENT as f64 + around;
        Bounds {
            west: lon(-around),
            south: lat(far),
            east: lon(far),
            north: lat(-around),
        }
    }

    /// Radians on the ground that a unit is at least, in the tile and so many units around it.
    pub(crate) fn least_unit(&self, around: f64) -> f64 {
        let Bounds { south, north, .. } = self.bounds(around);
        TAU / self.around * south.abs().max(north.abs()).to_radians().cos()
    }

    /// Units of the least box around a box of degrees, where they are: west, north, east, south.
    pub(crate) fn units(&self, bounds: &Bounds) -> [f64; 4] {
        let [west, north] = self.vertex(bounds.west, bounds.north);
        let [east, south] = self.vertex(bounds.east, bounds.south);
        [west, north, east, south]
    }
}

impl Tile {
    /// The tile, if there is one of that number.
    pub(crate) fn new(z: u8, x: u32, y: u32) -> Option<Self> {
        let side = 1_u32.checked_shl(z.into())?;
        (x < side && y < side).then_some(Self { z, x, y })
    }

    /// The steps that vertices of areas are rounded to at a zoom, in units: half a pixel and less of
    /// a tile drawn 512 pixels wide, and nothing is left out from zoom 14 on.
    pub(crate) fn step(self) -> i64 {
        match self.z {
            0..=9 => 8,
            10..=12 => 4,
            13 => 2,
            _ => 1,
        }
    }
}

/// Whether the tile holds a position.
pub(crate) fn holds([x, y]: Spot) -> bool {
    let inside = 0.0..EXTENT as f64;
    inside.contains(&x) && inside.contains(&y)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn corners_of_the_map_are_where_they_belong() {
        let world = Grid::new(Tile::new(0, 0, 0).unwrap());
        let near = |a: Spot, b: Spot| (a[0] - b[0]).abs() < 1e-6 && (a[1] - b[1]).abs() < 1e-6;
        assert!(near(world.spot(-180.0, EDGE_LAT), [0.0, 0.0]));
        assert!(near(world.spot(180.0, -EDGE_LAT), [4096.0, 4096.0]));
        assert!(near(world.spot(0.0, 0.0), [2048.0, 2048.0]));
        let bounds = world.bounds(0.0);
        assert!((bounds.north - EDGE_LAT).abs() < 1e-9 && (bounds.south + EDGE_LAT).abs() < 1e-9);
        // A known tile: Kigali's centre at zoom 14.
        let kigali = Grid::new(Tile::new(14, 9560, 8280).unwrap());
        let at = kigali.spot(30.06, -1.94);
        assert!(holds(at), "{at:?}");
        assert_eq!(Tile::new(3, 8, 0), None);
        assert_eq!(Tile::new(40, 0, 0), None);
    }

    proptest! {
        #[test]
        fn a_vertex_is_where_its_place_is(
            lon in -179.0..179.0_f64, lat in -85.0..85.0_f64, z in 0_u8..=22,
            east in -2.0..2.0_f64, north in -1.0..1.0_f64,
        ) {
            let world = Grid::new(Tile { z, x: 0, y: 0 });
            let at = world.spot(lon, lat).map(|v| (v / EXTENT as f64).floor() as u32);
            let grid = Grid::new(Tile::new(z, at[0], at[1]).unwrap());
            // Some tiles away, and within.
            let tile = 360.0 / f64::from(1_u32 << z);
            let (lon, lat) = (lon + east * tile, lat + north * tile);
            let (exact, found) = (grid.spot(lon, lat), grid.vertex(lon, lat));
            prop_assert!((exact[0] - found[0]).abs() < 1e-4);
            prop_assert!((exact[1] - found[1]).abs() < 1e-4, "{:?} {:?}", exact, found);
        }

        #[test]
        fn a_vertex_next_to_a_corner_is_in_one_tile(
            z in 2_u8..=22, at in (0.1..0.9_f64, 0.1..0.9_f64),
            (east, south) in (-0.005..0.005_f64, -0.005..0.005_f64),
        ) {
            let across = f64::from(1_u32 << z);
            let [x, y] = [at.0, at.1].map(|share| (share * across) as u32);
            prop_assume!(x > 0 && y > 0);
            let corner = Grid::new(Tile::new(z, x, y).unwrap()).bounds(0.0);
            let unit = 360.0 / across / EXTENT as f64;
            let lat = corner.north - south * unit * corner.north.to_radians().cos();
            let lon = corner.west + east * unit;
            let tiles = [x - 1, x].into_iter().flat_map(|x| [[x, y - 1], [x, y]]);
            let grids = tiles.map(|[x, y]| Grid::new(Tile::new(z, x, y).unwrap()));
            prop_assert_eq!(grids.filter(|grid| grid.holds_vertex(lon, lat)).count(), 1);
        }

        #[test]
        fn a_place_is_in_one_tile_of_a_zoom_and_within_its_box(
            lon in -180.0..179.999_f64, lat in -85.0..85.0_f64, z in 0_u8..=22,
        ) {
            let world = Grid::new(Tile { z, x: 0, y: 0 });
            let [x, y] = world.spot(lon, lat);
            let at = |v: f64| (v / EXTENT as f64).floor();
            let mut found = 0;
            for dx in -1..=1 {
                for dy in -1..=1 {
                    let (x, y) = (at(x) as i64 + dx, at(y) as i64 + dy);
                    let Some(tile) = u32::try_from(x).ok().zip(u32::try_from(y).ok())
                        .and_then(|(x, y)| Tile::new(z, x, y)) else { continue };
                    let grid = Grid::new(tile);
                    if holds(grid.spot(lon, lat)) {
                        found += 1;
                        let bounds = grid.bounds(1.0);
                        prop_assert!(bounds.west <= lon && lon <= bounds.east);
                        prop_assert!(bounds.south <= lat && lat <= bounds.north);
                    }
                }
            }
            prop_assert_eq!(found, 1);
        }
    }
}
