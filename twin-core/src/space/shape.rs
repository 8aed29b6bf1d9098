//! A checked geometry and the questions it answers.
//!
//! # Invariants
//! - Every constructor checks, so a `Shape` is never empty, out of range or invalid.
//! - `bounds` is the box of `geometry`; `trees`, once built, are those of `geometry`.
//! - `heights`, where there are any, has one entry for each coordinate in the order of the
//!   geometry's paths. Heights are carried, never used in a predicate.
//! - A shape with a `solid` is an area with heights: the solid's footprint, which all predicates go by.

use super::error::ShapeError;
use super::locate::{Side, Step};
use super::metric::{Spot, geodesic};
use super::paths::{Kind, Tree, Trees, visit};
use super::point::{Bounds, Point};
use super::solid::Solid;
use super::{check, geojson, near, wkb};
use geo_types::{Coord, Geometry, LineString};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// Most vertices of one geometry, those of its solid's faces included: several times those of a province
/// surveyed in full detail.
pub const MAX_VERTICES: usize = 1_000_000;
/// Most levels of collections within collections.
pub const MAX_DEPTH: usize = 16;

/// A valid geometry in WGS 84; immutable and meant to be shared.
pub struct Shape {
    geometry: Geometry<f64>,
    heights: Option<Box<[f64]>>,
    /// Boxed, because few shapes have one.
    solid: Option<Box<Solid>>,
    bounds: Bounds,
    trees: OnceLock<Box<Trees>>,
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shape")
            .field("type", &self.type_name())
            .field("vertices", &self.vertices())
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl Clone for Shape {
    fn clone(&self) -> Self {
        // The trees are cheap to build again, and most clones are never asked.
        let shape = Self::assemble(self.geometry.clone(), self.heights.clone());
        Self {
            solid: self.solid.clone(),
            ..shape
        }
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        self.geometry == other.geometry
            && self.heights == other.heights
            && self.solid == other.solid
    }
}

impl From<Point> for Shape {
    fn from(p: Point) -> Self {
        Self::assemble(Geometry::Point(p.coord().into()), None)
    }
}

impl Shape {
    /// Checks a geometry. Rectangles, triangles and single lines become polygons and line
    /// strings.
    pub fn from_geo(geometry: Geometry<f64>) -> Result<Self, ShapeError> {
        Self::with_heights(geometry, None)
    }

    pub(super) fn with_heights(
        geometry: Geometry<f64>,
        heights: Option<Box<[f64]>>,
    ) -> Result<Self, ShapeError> {
        let geometry = check::plain(geometry, 0)?;
        check::structure(&geometry)?;
        let shape = Self::assemble(geometry, heights);
        check::validity(&shape)?;
        Ok(shape)
    }

    /// A shape without the check that rings are simple, for geometry that is valid by
    /// construction or was checked when it was stored.
    pub(super) fn assemble(geometry: Geometry<f64>, heights: Option<Box<[f64]>>) -> Self {
        let mut bounds = Bounds::NONE;
        let all: ControlFlow<()> = visit(&geometry, &mut |path| {
            bounds = bounds.join(Bounds::of(path.coords));
            ControlFlow::Continue(())
        });
        debug_assert!(all.is_continue());
        Self {
            geometry,
            heights,
            solid: None,
            bounds,
            trees: OnceLock::new(),
        }
    }

    /// Reads a `GeoJSON` geometry object. Third numbers of positions are kept as heights, further
    /// ones are refused.
    pub fn from_geojson(value: &serde_json::Value) -> Result<Self, ShapeError> {
        let (geometry, heights) = geojson::read(value)?;
        Self::with_heights(geometry, heights)
    }

    /// The geometry as a `GeoJSON` object.
    pub fn to_geojson(&self) -> serde_json::Value {
        geojson::value(self)
    }

    /// Appends the geometry as `GeoJSON` text.
    pub fn write_geojson(&self, out: &mut Vec<u8>) {
        geojson::write(self, out);
    }

    /// Reads well-known binary (ISO or extended, either byte order) and checks it.
    ///
    /// A solid is a collection of an area, its footprint, and a `PolyhedralSurface` for each
    /// [`Surface`](super::Surface), any of which may be empty; all of it has heights.
    pub fn from_wkb(bytes: &[u8]) -> Result<Self, ShapeError> {
        let wkb::Read {
            geometry,
            heights,
            solid,
        } = wkb::read(bytes)?;
        let shape = Self::with_heights(geometry, heights)?;
        Ok(Self { solid, ..shape })
    }

    /// Reads bytes that [`Shape::to_wkb`] wrote, without checking again that rings are simple:
    /// the caller answers for the bytes being ours. All other checks are made.
    pub fn from_stored_wkb(bytes: &[u8]) -> Result<Self, ShapeError> {
        let wkb::Read {
            geometry,
            heights,
            solid,
        } = wkb::read(bytes)?;
        let geometry = check::plain(geometry, 0)?;
        check::structure(&geometry)?;
        let shape = Self::assemble(geometry, heights);
        Ok(Self { solid, ..shape })
    }

    /// The shape, an area, as the footprint of a solid. Where it has no heights it gets the solid's lowest.
    ///
    /// # Errors
    /// It is no area, or has more vertices with the solid than a geometry may have.
    pub fn with_solid(self, solid: Solid) -> Result<Self, ShapeError> {
        if !self.is_area() {
            let reason = format!("stands on a {}", self.type_name());
            return Err(ShapeError::Solid { reason });
        }
        let vertices = self.vertices();
        if vertices + solid.written() > MAX_VERTICES {
            return Err(ShapeError::TooManyVertices {
                limit: MAX_VERTICES,
            });
        }
        let level = || vec![solid.lowest(); vertices].into();
        let heights = self.heights.unwrap_or_else(level);
        Ok(Self {
            heights: Some(heights),
            solid: Some(Box::new(solid)),
            ..self
        })
    }

    /// The shape without heights and solid.
    #[must_use]
    pub fn flat(&self) -> Self {
        Self::assemble(self.geometry.clone(), None)
    }

    /// The geometry as ISO well-known binary, little-endian.
    pub fn to_wkb(&self) -> Vec<u8> {
        wkb::write(self)
    }

    /// The geometry in longitude/latitude.
    pub fn geometry(&self) -> &Geometry<f64> {
        &self.geometry
    }

    /// A height in metres for each coordinate in order, where the source gave them.
    pub fn heights(&self) -> Option<&[f64]> {
        self.heights.as_deref()
    }

    /// Its boundary in three dimensions, where the source gave one.
    pub fn solid(&self) -> Option<&Solid> {
        self.solid.as_deref()
    }

    /// The least box that holds the shape.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// A position in the shape: inside for an area, on it for a line.
    pub fn representative(&self) -> Point {
        if let Some(p) = self.is_point() {
            return p;
        }
        // geo's algorithm can panic on extreme input; a vertex is always in the shape.
        let inner = catch_unwind(AssertUnwindSafe(|| {
            geo::InteriorPoint::interior_point(&self.geometry).map(|p| Point::from(p.0))
        }));
        match inner {
            Ok(Some(p)) if self.contains(p) => p,
            _ => Point::from(self.first()),
        }
    }

    /// The position, where the shape is one point.
    pub fn is_point(&self) -> Option<Point> {
        match &self.geometry {
            Geometry::Point(p) => Some(Point::from(p.0)),
            _ => None,
        }
    }

    /// Whether the shape is a Polygon or `MultiPolygon`.
    pub fn is_area(&self) -> bool {
        matches!(
            self.geometry,
            Geometry::Polygon(_) | Geometry::MultiPolygon(_)
        )
    }

    /// How many coordinates the shape has, the closing ones of rings included.
    pub fn vertices(&self) -> usize {
        let mut count = 0;
        let all: ControlFlow<()> = visit(&self.geometry, &mut |path| {
            count += path.coords.len();
            ControlFlow::Continue(())
        });
        debug_assert!(all.is_continue());
        count
    }

    /// How many coordinates the shape is stored with: its own and those of its solid's rings.
    pub fn stored_vertices(&self) -> usize {
        let solid = self.solid.as_deref();
        self.vertices() + solid.map_or(0, Solid::written)
    }

    /// The `GeoJSON` name of the geometry's type.
    pub fn type_name(&self) -> &'static str {
        geojson::type_name(&self.geometry)
    }

    /// Whether the point lies in the shape or on its boundary, exactly.
    pub fn contains(&self, p: Point) -> bool {
        Step::here(p.coord()).locate(self) != Side::Outside
    }

    /// Geodesic metres to the nearest point of the shape; 0 in it.
    pub fn distance(&self, p: Point) -> f64 {
        if self.contains(p) {
            return 0.0;
        }
        geodesic(p, self.nearest_point(&Spot::new(p)).point)
    }

    /// The point of the shape's points and edges nearest in a straight line.
    pub(super) fn nearest_point(&self, from: &Spot) -> Spot {
        near::nearest(self, from, f64::INFINITY, 0.0)
            .unwrap_or_else(|| Spot::new(Point::from(self.first())))
    }

    /// A distance that the shape's points and edges are away at least; quick.
    pub(super) fn least_distance(&self, from: &Spot) -> f64 {
        let mut least = f64::INFINITY;
        let all: ControlFlow<()> = self.each(&mut |tree| {
            least = least.min(tree.node(tree.root()).lower(from));
            ControlFlow::Continue(())
        });
        debug_assert!(all.is_continue());
        least.max(0.0)
    }

    /// Geodesic area in square metres; 0 without an area.
    pub fn area_m2(&self) -> f64 {
        match &self.geometry {
            Geometry::Polygon(_) | Geometry::MultiPolygon(_) | Geometry::GeometryCollection(_) => {
                polygons(&self.geometry).map(area_m2).sum()
            }
            _ => 0.0,
        }
    }

    /// Geodesic length of lines, or of the rings of areas, in metres. Edges are measured as the
    /// shortest way between their ends.
    pub fn length_m(&self) -> f64 {
        let mut metres = 0.0;
        let all: ControlFlow<()> = visit(&self.geometry, &mut |path| {
            for pair in path.coords.windows(2) {
                metres += geodesic(Point::from(pair[0]), Point::from(pair[1]));
            }
            ControlFlow::Continue(())
        });
        debug_assert!(all.is_continue());
        metres
    }

    /// Calls `f` for each path with its tree until it breaks.
    pub(super) fn each<'s, B, F>(&'s self, f: &mut F) -> ControlFlow<B>
    where
        F: FnMut(Tree<'s>) -> ControlFlow<B>,
    {
        let trees = self
            .trees
            .get_or_init(|| Box::new(Trees::new(&self.geometry)));
        let mut number = 0;
        visit(&self.geometry, &mut |path| {
            number += 1;
            f(trees.tree(number - 1, path))
        })
    }

    /// The first coordinate.
    pub(super) fn first(&self) -> Coord<f64> {
        let first = visit(&self.geometry, &mut |path| {
            ControlFlow::Break(path.coords[0])
        });
        match first {
            ControlFlow::Break(c) => c,
            // Not reached: a shape is not empty.
            ControlFlow::Continue(()) => Coord { x: 0.0, y: 0.0 },
        }
    }

    /// Whether the shape has a part of the kind that has an inside.
    pub(super) fn has_area(&self) -> bool {
        visit(&self.geometry, &mut |path| {
            if path.kind == Kind::Exterior {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .is_break()
    }
}

/// Geodesic area of a polygon whose rings run in any direction.
fn area_m2(polygon: &geo_types::Polygon<f64>) -> f64 {
    let ring = |ring: &LineString<f64>| {
        let ring = geo_types::Polygon::new(ring.clone(), Vec::new());
        geo::GeodesicArea::geodesic_area_signed(&ring).abs()
    };
    let holes: f64 = polygon.interiors().iter().map(ring).sum();
    ring(polygon.exterior()) - holes
}

/// All polygons of a geometry, in order.
pub(super) fn polygons(
    geometry: &Geometry<f64>,
) -> Box<dyn Iterator<Item = &geo_types::Polygon<f64>> + '_> {
    match geometry {
        Geometry::Polygon(p) => Box::new(std::iter::once(p)),
        Geometry::MultiPolygon(ps) => Box::new(ps.0.iter()),
        Geometry::GeometryCollection(members) => Box::new(members.0.iter().flat_map(polygons)),
        _ => Box::new(std::iter::empty()),
    }
}

/// A closed ring from positions that may not repeat the first.
pub(super) fn ring(coords: Vec<Coord<f64>>) -> LineString<f64> {
    let mut line = LineString::new(coords);
    line.close();
    line
}
