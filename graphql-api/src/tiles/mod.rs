//! Vector tiles: what a class looks like on one tile of the map, at one instant.
//!
//! # Invariants
//! - A tile is a function of a view, a layer and a tile's number; the same give the same bytes.
//!   Knows no HTTP.
//! - A point is in exactly one tile of a zoom. A line or an area is in every tile that it reaches
//!   into, cut [`BUFFER`] units around it.
//! - What stands up from the ground, that is an area whose class has a number `height`, is from zoom
//!   [`WHOLE_FROM`] on given whole, and to exactly one tile, as long as it is not wider or higher
//!   than a quarter of one: to the tile that holds its first vertex. Who asks for `whole=false` gets it cut
//!   like everything else. Solids are
//!   built from whole outlines, and are not cut at the edge of a tile when they are drawn; flat
//!   areas are, so a village that were in one tile only would lose what lies beside it.
//! - Neighbours do not tear: areas are simplified by rounding each vertex by itself to steps of
//!   [`Tile::step`] units of the whole map, so that an edge which two areas or two tiles share is the
//!   same in both; vertices that are left on a straight line then change nothing and go. Lines are
//!   simplified between their ends.
//! - What is left out is counted: what is too small to be seen at the zoom, as far as it was looked
//!   at, and what is beyond a limit, smallest first.
//!
//! ```text
//! index ─► candidates ─► degrees to units, rounded ─► clip ─► mend ─► mvt
//! points, too many of them ─► cells, counted ───────────────────────────┘
//! ```

mod cells;
mod clip;
#[cfg(test)]
mod decode;
mod grid;
mod layer;
mod line;
mod mvt;
mod offer;
mod style;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use geo_types::{Coord, Geometry, LineString, Polygon};
use twin_core::space::{Bounds, Look, Resolution, Shape, widest_below};
use twin_core::{TwinRef, View};

use self::clip::{Square, Wide};
pub(crate) use self::grid::Tile;
use self::grid::{BUFFER, EXTENT, Grid, Spot, holds};
pub(crate) use self::layer::{Asked, Layer};
use self::mvt::{Kind, Tag, Writer};
pub(crate) use self::offer::{layers, tile_json};
pub(crate) use self::style::{Theme, style};
use crate::api::Api;
use crate::error::{Code, Fault};
use crate::exec::Clock;
use crate::limits::{
    MAX_TILE_BYTES, MAX_TILE_CANDIDATES, MAX_TILE_FEATURES, MAX_TILE_POINTS, MAX_TILE_TIME,
    MAX_TILE_VERTICES,
};
use crate::mend::{self, At, Ring};

/// Says of an `ETag` by which rules its tile was made; another number whenever they change.
pub(crate) const RULES: u32 = 2;
/// Zoom from which what stands up is given whole.
const WHOLE_FROM: u8 = 13;
/// The largest of it, as a part of a tile's side.
const WHOLE_PART: f64 = 0.25;
/// Keys of cells that count points.
const CELL_KEYS: [&str; 3] = ["cell", "count", "mean"];

/// A tile as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub(crate) bytes: Vec<u8>,
    pub(crate) features: u64,
    /// Twins that would be there but for a limit, or that are too small to be seen; there may be more
    /// of the latter.
    pub(crate) dropped: u64,
}

/// Draws a layer on a tile.
pub(crate) fn draw(api: &Api, view: &View, layer: &Layer, tile: Tile) -> Result<Drawn, Fault> {
    let clock = Clock::within(MAX_TILE_TIME);
    let mut canvas = Canvas {
        api,
        view,
        layer,
        grid: Grid::new(tile),
        square: Square {
            low: -BUFFER,
            high: EXTENT + BUFFER,
        },
        writer: Writer::new(&api.class(layer.class).name),
        drawn: Drawn::default(),
        vertices: 0,
        scratch: Vec::new(),
    };
    let keys = layer.keys(&mut canvas.writer);
    canvas.shapes(&keys, &clock);
    canvas.points(&keys, &clock);
    clock.look();
    if !clock.tick() {
        return Err(Fault::new(
            Code::Timeout,
            format!(
                "the tile took longer than {} s (MAX_TILE_TIME): ask for a deeper zoom",
                MAX_TILE_TIME.as_secs()
            ),
        ));
    }
    canvas.drawn.bytes = canvas.writer.tile();
    Ok(canvas.drawn)
}

/// The number of a twin's feature: FNV-1a of its id in 64 bits, folded to the 53 that JavaScript
/// holds. Two of a tile may share one, once in some hundred million tiles of ten thousand; the
/// value `id` is what leads back to the twin.
pub(crate) fn feature_id(id: &str) -> u64 {
    const BITS: u32 = 53;
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash >> BITS) ^ (hash & ((1 << BITS) - 1))
}

/// A tile that is being drawn.
struct Canvas<'c> {
    api: &'c Api,
    view: &'c View,
    layer: &'c Layer,
    grid: Grid,
    square: Square,
    writer: Writer,
    drawn: Drawn,
    vertices: usize,
    /// Room that one shape after another uses.
    scratch: Vec<Wide>,
}

impl Canvas<'_> {
    /// Draws lines and areas, largest first, so that smaller ones lie on top.
    fn shapes(&mut self, keys: &[mvt::Key], clock: &Clock) {
        let around = BUFFER as f64;
        let bounds = self.grid.bounds(around);
        let (view, class) = (self.view, self.layer.class);
        let finest = self.finest();
        let (found, all) = view.shapes_near(class, &bounds, finest, MAX_TILE_CANDIDATES);
        if !all {
            // Those that were not looked at, at least.
            let looked_at = found.len().min(MAX_TILE_CANDIDATES);
            self.drawn.dropped += (MAX_TILE_CANDIDATES + 1 - looked_at) as u64;
        }
        let size = |shape: &Shape| shape.bounds().width() + shape.bounds().height();
        let sized = found.into_iter().filter_map(|twin| {
            let shape = view.shape(twin)?;
            Some((size(shape), twin, &**shape))
        });
        let mut sized: Vec<(f64, TwinRef, &Shape)> = sized.collect();
        // Stable: of one size they stay sorted by id.
        sized.sort_by(|one, other| other.0.total_cmp(&one.0));
        let beyond = sized.len().saturating_sub(MAX_TILE_FEATURES);
        sized.truncate(MAX_TILE_FEATURES);
        self.drawn.dropped += beyond as u64;
        let count = sized.len();
        for (done, (_, twin, shape)) in sized.into_iter().enumerate() {
            if self.is_full() {
                self.drawn.dropped += (count - done) as u64;
                return;
            }
            if !clock.tick() {
                return;
            }
            self.shape(twin, shape, keys, clock);
        }
    }

    /// The finest covers of shapes that can be seen at the zoom.
    fn finest(&self) -> Resolution {
        let seen = self.grid.tile.step() as f64 * self.grid.least_unit(BUFFER as f64);
        Resolution::range(Resolution::Zero, Resolution::Fifteen)
            .find(|resolution| widest_below(*resolution) <= seen)
            .unwrap_or(Resolution::Fifteen)
    }

    fn is_full(&self) -> bool {
        self.vertices >= MAX_TILE_VERTICES || self.writer.bytes() >= MAX_TILE_BYTES
    }

    fn shape(&mut self, twin: TwinRef, shape: &Shape, keys: &[mvt::Key], clock: &Clock) {
        let bounds = shape.bounds();
        let [west, north, east, south] = self.grid.units(&bounds);
        let (width, height) = (east - west, south - north);
        let quarter = EXTENT as f64 * WHOLE_PART;
        let whole = self.grid.tile.z >= WHOLE_FROM
            && width.max(height) <= quarter
            && self.layer.tall.contains(&self.view.class_id(twin));
        let first = if whole {
            first_vertex(shape.geometry())
        } else {
            None
        };
        if first.is_some_and(|first| !self.grid.holds_vertex(first.x, first.y)) {
            return;
        }
        let whole = first.is_some();
        let mut parts = Parts {
            grid: &self.grid,
            square: (!whole).then_some(self.square),
            inner: (!whole).then(|| self.grid.bounds((BUFFER + self.grid.tile.step()) as f64)),
            step: self.grid.tile.step(),
            points: Vec::new(),
            lines: Vec::new(),
            rings: Vec::new(),
            scratch: &mut self.scratch,
        };
        let small = width.max(height) < parts.step as f64;
        if !small || matches!(shape.geometry(), Geometry::MultiPoint(_)) {
            parts.take(shape.geometry());
        }
        let Parts {
            points,
            lines,
            rings,
            ..
        } = parts;
        let polygons = mend::polygons_while(rings, &|| clock.tick()).unwrap_or_default();
        let id = feature_id(self.view.id(twin).as_str());
        let mut seen = false;
        for kind in [Kind::Areas, Kind::Lines, Kind::Points] {
            match kind {
                Kind::Areas => {
                    for polygon in &polygons {
                        self.vertices += polygon.iter().map(Vec::len).sum::<usize>();
                        self.writer.polygon(polygon);
                    }
                }
                Kind::Lines => {
                    for line in &lines {
                        self.vertices += line.len();
                        self.writer.line(line);
                    }
                }
                Kind::Points if points.is_empty() => {}
                Kind::Points => self.writer.points(&points),
            }
            if self.writer.has_drawn() {
                self.layer
                    .tag(self.api, self.view, twin, keys, &mut self.writer);
                self.writer.end(id, kind);
                self.drawn.features += 1;
                seen = true;
            }
        }
        let tile = 0.0..EXTENT as f64;
        let middle_is_here = tile.contains(&f64::midpoint(west, east))
            && tile.contains(&f64::midpoint(north, south));
        // One whose middle is elsewhere is counted there.
        if !seen && middle_is_here {
            self.drawn.dropped += 1;
        }
    }

    /// Draws points, or what counts them.
    fn points(&mut self, keys: &[mvt::Key], clock: &Clock) {
        let bounds = self.grid.bounds(1.0);
        let grid = &self.grid;
        let mut found: Vec<(TwinRef, Spot)> = Vec::new();
        let look = |_: &mut Vec<_>, others: &Bounds| {
            if bounds.overlaps(others) {
                Look::Into
            } else {
                Look::Past
            }
        };
        let walk = self
            .view
            .walk_points(self.layer.class, &mut found, &look, &|found, page| {
                if !clock.tick() {
                    return ControlFlow::Break(());
                }
                for (twin, point) in page.twins().filter(|(_, point)| bounds.contains(*point)) {
                    // East and west end in one meridian.
                    let lon = if point.lon >= 180.0 {
                        -180.0
                    } else {
                        point.lon
                    };
                    let spot = grid.spot(lon, point.lat);
                    if holds(spot) {
                        found.push((twin, spot));
                    }
                }
                if found.len() > MAX_TILE_POINTS {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
        if walk.is_break() {
            if found.len() > MAX_TILE_POINTS {
                self.cells(clock);
            }
            return;
        }
        let mut twins: Vec<TwinRef> = found.iter().map(|(twin, _)| *twin).collect();
        self.view.sort_by_id(&mut twins);
        found.sort_unstable_by_key(|(twin, _)| *twin);
        for (done, twin) in twins.iter().enumerate() {
            if self.is_full() {
                self.drawn.dropped += (twins.len() - done) as u64;
                return;
            }
            let Ok(place) = found.binary_search_by_key(twin, |(twin, _)| *twin) else {
                continue;
            };
            let id = feature_id(self.view.id(*twin).as_str());
            self.writer.points(&[rounded_in(found[place].1)]);
            self.layer
                .tag(self.api, self.view, *twin, keys, &mut self.writer);
            self.writer.end(id, Kind::Points);
            self.drawn.features += 1;
        }
    }

    /// Draws cells in place of points.
    fn cells(&mut self, clock: &Clock) {
        let cells = cells::count(self.view, self.layer, &self.grid, clock);
        let [cell_key, count_key, mean_key] = CELL_KEYS.map(|name| self.writer.key(name));
        let tile = self.grid.bounds(0.0);
        let middle = f64::midpoint(tile.west, tile.east);
        for (cell, tally) in cells {
            let corners = cells::corners(cell);
            // The copy of the cell that is nearest: the map ends where longitudes begin again.
            let turns = corners
                .first()
                .map_or(0.0, |corner| ((middle - corner[0]) / 360.0).round());
            let ring: Vec<Wide> = corners
                .iter()
                .map(|[lon, lat]| rounded_to(self.grid.spot(lon + 360.0 * turns, *lat), 1))
                .collect();
            let polygons = mend::polygons(vec![self.square.ring(&ring)]).unwrap_or_default();
            if polygons.is_empty() {
                continue;
            }
            for polygon in &polygons {
                self.writer.polygon(polygon);
            }
            self.writer.tag(cell_key, Tag::Text(&cell.to_string()));
            self.writer
                .tag(count_key, Tag::Int(tally.count.cast_signed()));
            if tally.has_values {
                self.writer.tag(mean_key, Tag::Double(tally.values.mean()));
            }
            self.writer.end(cells::feature_id(cell), Kind::Areas);
            self.drawn.features += 1;
        }
    }
}

/// The first vertex of an area; `None` of anything else.
fn first_vertex(geometry: &Geometry<f64>) -> Option<Coord<f64>> {
    match geometry {
        Geometry::Polygon(polygon) => polygon.exterior().0.first().copied(),
        Geometry::MultiPolygon(polygons) => {
            let first = polygons.0.first()?;
            first.exterior().0.first().copied()
        }
        Geometry::GeometryCollection(members) => members.0.iter().find_map(first_vertex),
        _ => None,
    }
}

fn rounded([x, y]: Spot) -> At {
    [x.round() as i32, y.round() as i32]
}

/// Where a point of the tile is drawn: within it, as renderers leave out what lies on its far edges.
fn rounded_in(spot: Spot) -> At {
    rounded(spot).map(|at| at.min(EXTENT as i32 - 1))
}

fn rounded_to(spot: Spot, step: i64) -> Wide {
    // A power of two, so nothing is lost.
    let size = step as f64;
    spot.map(|v| (v / size).round() as i64 * step)
}

/// What a geometry comes to on a tile.
struct Parts<'g> {
    grid: &'g Grid,
    /// What is cut to; nothing is cut without it.
    square: Option<Square>,
    /// The square in degrees and a little more: vertices far outside are passed by.
    inner: Option<Bounds>,
    step: i64,
    points: Vec<At>,
    lines: Vec<Ring>,
    rings: Vec<Ring>,
    /// The vertices of the ring at hand.
    scratch: &'g mut Vec<Wide>,
}

impl Parts<'_> {
    fn take(&mut self, geometry: &Geometry<f64>) {
        match geometry {
            Geometry::Point(point) => self.point(point.0),
            Geometry::MultiPoint(points) => points.0.iter().for_each(|point| self.point(point.0)),
            Geometry::LineString(line) => self.line(line),
            Geometry::MultiLineString(lines) => lines.0.iter().for_each(|line| self.line(line)),
            Geometry::Polygon(polygon) => self.polygon(polygon),
            Geometry::MultiPolygon(polygons) => {
                polygons.0.iter().for_each(|polygon| self.polygon(polygon));
            }
            Geometry::GeometryCollection(members) => {
                members.0.iter().for_each(|member| self.take(member));
            }
            // A shape has none of these.
            Geometry::Line(_) | Geometry::Rect(_) | Geometry::Triangle(_) => {}
        }
    }

    fn point(&mut self, at: Coord<f64>) {
        let spot = self.grid.spot(at.x, at.y);
        if holds(spot) {
            self.points.push(rounded_in(spot));
        }
    }

    fn line(&mut self, line: &LineString<f64>) {
        let spot = |at: &Coord<f64>| self.grid.vertex(at.x, at.y);
        let spots: Vec<Spot> = if self.step > 1 {
            // Simplified before it is cut, so that the pieces of two tiles meet.
            let all = line.0.iter().map(spot).collect();
            line::simplified(all, self.step as f64 / 2.0)
        } else {
            self.nearby(&line.0, false).map(spot).collect()
        };
        let mut pieces = Vec::new();
        match self.square {
            Some(square) => square.line(&spots, &mut pieces),
            None => pieces.push(spots),
        }
        for piece in pieces {
            let mut line: Ring = piece.into_iter().map(rounded).collect();
            line.dedup();
            if line.len() > 1 {
                self.lines.push(line);
            }
        }
    }

    fn polygon(&mut self, polygon: &Polygon<f64>) {
        let rings = std::iter::once(polygon.exterior()).chain(polygon.interiors());
        for ring in rings {
            let coords = ring.0.split_last().map_or(&ring.0[..], |(_, open)| open);
            let mut wide = std::mem::take(self.scratch);
            wide.clear();
            for at in self.nearby(coords, true) {
                let at = rounded_to(self.grid.vertex(at.x, at.y), self.step);
                if wide.last() != Some(&at) {
                    wide.push(at);
                }
            }
            let all_in = |square: &Square| wide.iter().all(|at| square.has(*at));
            let ring = match self.square.filter(|square| !all_in(square)) {
                Some(square) => square.ring(&wide),
                None => wide.iter().map(|at| at.map(|v| v as i32)).collect(),
            };
            *self.scratch = wide;
            if ring.len() > 2 {
                self.rings.push(ring);
            }
        }
    }

    /// The vertices of a way but for those that lie far outside between two others that lie outside
    /// on the same side: what is cut to the square is the same without them.
    fn nearby<'l>(
        &self,
        way: &'l [Coord<f64>],
        closed: bool,
    ) -> impl Iterator<Item = &'l Coord<f64>> + use<'l> {
        let inner = self.inner;
        let code = move |at: &Coord<f64>| {
            inner.map_or(0, |inner| {
                u8::from(at.x < inner.west)
                    | u8::from(at.x > inner.east) << 1
                    | u8::from(at.y < inner.south) << 2
                    | u8::from(at.y > inner.north) << 3
            })
        };
        let mut before = 0;
        way.iter().enumerate().filter_map(move |(place, at)| {
            let own = code(at);
            if own != 0 && place > 0 {
                let next = match way.get(place + 1) {
                    Some(next) => Some(next),
                    None if closed => way.first(),
                    None => None,
                };
                if next.is_some_and(|next| before & own & code(next) != 0) {
                    return None;
                }
            }
            before = own;
            Some(at)
        })
    }
}
