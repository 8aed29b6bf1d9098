//! Shapes as the store keeps them: WKB, the planar geometry of SurrealDB, and the cell.

use std::sync::Arc;

use surrealdb::types::Geometry;
use twin_core::space::{Shape, SpaceIndex};

/// The shape as WKB, with heights.
pub(crate) fn wkb(shape: &Shape) -> Vec<u8> {
    shape.to_wkb()
}

/// Upper bound of the bytes of [`wkb`], without writing them.
pub(crate) fn wkb_bound(shape: &Shape) -> usize {
    /// A coordinate with its height, and its share of the headers of parts.
    const VERTEX: usize = 40;
    const HEADERS: usize = 128;
    HEADERS + VERTEX * shape.stored_vertices()
}

/// A shape from WKB that [`wkb`] wrote.
pub(crate) fn from_wkb(bytes: &[u8]) -> Result<Arc<Shape>, String> {
    Shape::from_stored_wkb(bytes)
        .map(Arc::new)
        .map_err(|error| error.to_string())
}

/// The shape without heights, for SurrealQL.
pub(crate) fn planar(shape: &Shape) -> Geometry {
    geometry(shape.geometry())
}

fn geometry(shape: &geo_types::Geometry<f64>) -> Geometry {
    use geo_types::Geometry as Geo;
    match shape.clone() {
        Geo::Point(point) => Geometry::Point(point),
        Geo::Line(line) => Geometry::Line(vec![line.start, line.end].into()),
        Geo::LineString(line) => Geometry::Line(line),
        Geo::Polygon(polygon) => Geometry::Polygon(polygon),
        Geo::MultiPoint(points) => Geometry::MultiPoint(points),
        Geo::MultiLineString(lines) => Geometry::MultiLine(lines),
        Geo::MultiPolygon(polygons) => Geometry::MultiPolygon(polygons),
        Geo::GeometryCollection(all) => Geometry::Collection(all.iter().map(geometry).collect()),
        Geo::Rect(rect) => Geometry::Polygon(rect.to_polygon()),
        Geo::Triangle(triangle) => Geometry::Polygon(triangle.to_polygon()),
    }
}

/// The cell of a position inside the shape, as H3 writes it.
pub(crate) fn cell(shape: &Shape) -> String {
    SpaceIndex::<u32>::cell_of(shape.representative()).to_string()
}
