//! What makes a geometry a shape: coordinates, rings, and the rules of OGC Simple Features.
//!
//! # Invariants
//! - [`structure`] comes first: the trees that [`validity`] searches exist only for paths that
//!   are not empty.
//! - Every fault names its ring and coordinate. Polygons and rings are counted from 0, ring 0
//!   being the outer one.

use super::error::ShapeError;
use super::locate::{Meeting, Side, Step, meet, on_edge, orient};
use super::paths::{Go, Kind, Tree, edge_bounds, visit};
use super::point::Point;
use super::shape::{MAX_DEPTH, MAX_VERTICES, Shape, polygons, ring};
use geo_types::{Coord, Geometry, GeometryCollection, LineString, Polygon};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Lines and polygons in place of geo's rectangles, triangles and single lines.
pub(super) fn plain(geometry: Geometry<f64>, depth: usize) -> Result<Geometry<f64>, ShapeError> {
    Ok(match geometry {
        Geometry::Line(line) => Geometry::LineString(line.into()),
        Geometry::Rect(rect) => Geometry::Polygon(rect.to_polygon()),
        Geometry::Triangle(triangle) => Geometry::Polygon(triangle.to_polygon()),
        Geometry::GeometryCollection(members) => {
            if depth >= MAX_DEPTH {
                return Err(ShapeError::TooDeep { limit: MAX_DEPTH });
            }
            let members: Result<Vec<_>, _> = members
                .0
                .into_iter()
                .map(|member| plain(member, depth + 1))
                .collect();
            Geometry::GeometryCollection(GeometryCollection(members?))
        }
        other => other,
    })
}

/// Checks counts, closure and ranges.
pub(super) fn structure(geometry: &Geometry<f64>) -> Result<(), ShapeError> {
    let (mut path_number, mut vertices) = (0_usize, 0_usize);
    let flow = visit(geometry, &mut |path| {
        let checked = (|| {
            vertices += path.coords.len();
            if vertices > MAX_VERTICES {
                return Err(ShapeError::TooManyVertices {
                    limit: MAX_VERTICES,
                });
            }
            for c in path.coords {
                Point::new(c.x, c.y)?;
            }
            let part = || part(path.kind, path_number);
            let Some(&first) = path.coords.first() else {
                return Err(ShapeError::Empty { part: part() });
            };
            let (found, needed) = match path.kind {
                Kind::Point => (1, 1),
                Kind::Line => (path.coords.len(), 2),
                Kind::Exterior | Kind::Interior => {
                    if path.coords.last() != Some(&first) {
                        return Err(ShapeError::Open {
                            part: part(),
                            lon: first.x,
                            lat: first.y,
                        });
                    }
                    let moves = path.coords.windows(2).filter(|w| w[0] != w[1]).count();
                    (moves + 1, 4)
                }
            };
            if found < needed {
                return Err(ShapeError::TooFewPoints {
                    part: part(),
                    found,
                    needed,
                });
            }
            path_number += 1;
            Ok(())
        })();
        checked.map_or_else(ControlFlow::Break, ControlFlow::Continue)
    });
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => empty_member(geometry),
    }
}

/// Refuses multi-geometries and collections without members, wherever they are.
fn empty_member(geometry: &Geometry<f64>) -> Result<(), ShapeError> {
    let members = match geometry {
        Geometry::MultiPoint(g) => g.0.len(),
        Geometry::MultiLineString(g) => g.0.len(),
        Geometry::MultiPolygon(g) => g.0.len(),
        Geometry::GeometryCollection(g) => {
            for member in &g.0 {
                empty_member(member)?;
            }
            g.0.len()
        }
        _ => 1,
    };
    if members == 0 {
        return Err(ShapeError::Empty {
            part: "the geometry".to_owned(),
        });
    }
    Ok(())
}

fn part(kind: Kind, number: usize) -> String {
    match kind {
        Kind::Point => format!("point {number}"),
        Kind::Line => format!("line {number}"),
        Kind::Exterior | Kind::Interior => format!("ring {number}"),
    }
}

/// Checks that the shape's lines lead somewhere and its areas are valid: rings simple, holes inside
/// and apart, insides connected, parts of a `MultiPolygon` apart.
pub(super) fn validity(shape: &Shape) -> Result<(), ShapeError> {
    lines(shape.geometry())?;
    areas(shape)
}

/// A line has two points at least that differ. Not a matter of [`structure`], which stored shapes
/// pass too: what was stored before this was asked can still be read.
fn lines(geometry: &Geometry<f64>) -> Result<(), ShapeError> {
    let mut number = 0;
    let flow = visit(geometry, &mut |path| {
        if path.kind == Kind::Line && path.coords.windows(2).all(|w| w[0] == w[1]) {
            return ControlFlow::Break(ShapeError::TooFewPoints {
                part: part(path.kind, number),
                found: 1,
                needed: 2,
            });
        }
        number += 1;
        ControlFlow::Continue(())
    });
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn areas(shape: &Shape) -> Result<(), ShapeError> {
    match shape.geometry() {
        Geometry::Polygon(_) | Geometry::MultiPolygon(_) => Areas::new(shape).check(),
        Geometry::GeometryCollection(members) => {
            for member in &members.0 {
                let area = matches!(
                    member,
                    Geometry::Polygon(_)
                        | Geometry::MultiPolygon(_)
                        | Geometry::GeometryCollection(_)
                );
                if area {
                    areas(&Shape::assemble(member.clone(), None))?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Bits of a coordinate, as a key; zero's sign does not matter.
fn key(c: Coord<f64>) -> (u64, u64) {
    ((c.x + 0.0).to_bits(), (c.y + 0.0).to_bits())
}

/// The rings of an areal shape and where they touch.
struct Areas<'s> {
    shape: &'s Shape,
    trees: Vec<Tree<'s>>,
    /// For each ring, its polygon and its number in it.
    names: Vec<(usize, usize)>,
    /// For each touching pair of rings, the lesser first, the points they share.
    touches: BTreeMap<(usize, usize), Vec<Coord<f64>>>,
}

impl<'s> Areas<'s> {
    fn new(shape: &'s Shape) -> Self {
        let (mut trees, mut names) = (Vec::new(), Vec::new());
        let all: ControlFlow<()> = shape.each(&mut |tree| {
            let name = match (tree.path.kind, names.last()) {
                (Kind::Interior, Some(&(polygon, ring))) => (polygon, ring + 1),
                (_, Some(&(polygon, _))) => (polygon + 1, 0),
                (_, None) => (0, 0),
            };
            names.push(name);
            trees.push(tree);
            ControlFlow::Continue(())
        });
        debug_assert!(all.is_continue());
        Self {
            shape,
            trees,
            names,
            touches: BTreeMap::new(),
        }
    }

    fn name(&self, ring: usize) -> String {
        let (polygon, number) = self.names[ring];
        if matches!(self.shape.geometry(), Geometry::MultiPolygon(_)) {
            format!("ring {number} of polygon {polygon}")
        } else {
            format!("ring {number}")
        }
    }

    fn fault(&self, rings: &[usize], rule: &'static str, c: Coord<f64>) -> ShapeError {
        let names: Vec<String> = rings.iter().map(|&r| self.name(r)).collect();
        ShapeError::Invalid {
            part: names.join(" and "),
            rule,
            lon: c.x,
            lat: c.y,
        }
    }

    fn check(mut self) -> Result<(), ShapeError> {
        for ring in 0..self.trees.len() {
            self.check_simple(ring)?;
        }
        let pairs = self.overlapping_pairs();
        for &(a, b) in &pairs {
            self.find_touches(a, b)?;
        }
        self.check_sides(&pairs)?;
        self.check_connected()
    }

    /// A ring meets itself only where one edge follows the other.
    fn check_simple(&self, number: usize) -> Result<(), ShapeError> {
        let tree = self.trees[number];
        let path = tree.path;
        let flow = tree.walk(tree.root(), &mut |node, edges, run| {
            if !run {
                return ControlFlow::Continue(Go::Into);
            }
            tree.edges_in(&node.bounds, &mut |j, c, d| {
                let near = edge_bounds(c, d);
                for i in edges.start..edges.end.min(j) {
                    let (a, b) = path.edge(i);
                    if a == b || c == d || !edge_bounds(a, b).overlaps(&near) {
                        continue;
                    }
                    if meet(a, b, c, d) == Meeting::Apart {
                        continue;
                    }
                    // Edges may repeat a point between them.
                    let follows = b == c && path.coords[i + 1..=j].iter().all(|&p| p == b);
                    let precedes = d == a
                        && path.coords[j + 1..]
                            .iter()
                            .chain(&path.coords[..=i])
                            .all(|&p| p == a);
                    let spike = |from, corner, to| {
                        orient(from, corner, to) == 0.0
                            && (on_edge(from, corner, to) || on_edge(to, from, corner))
                    };
                    if follows && !spike(a, b, d) || precedes && !spike(c, d, b) {
                        continue;
                    }
                    let at = [c, d].into_iter().find(|&p| on_edge(p, a, b));
                    return ControlFlow::Break(at.unwrap_or(if on_edge(a, c, d) { a } else { b }));
                }
                ControlFlow::Continue(())
            })?;
            ControlFlow::Continue(Go::Past)
        });
        match flow {
            ControlFlow::Break(at) => Err(self.fault(&[number], "meets itself", at)),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// Pairs of rings whose boxes meet, found by sweeping from west to east.
    fn overlapping_pairs(&self) -> Vec<(usize, usize)> {
        let bounds: Vec<_> = self.trees.iter().map(|t| t.node(t.root()).bounds).collect();
        let mut order: Vec<usize> = (0..bounds.len()).collect();
        order.sort_by(|&a, &b| bounds[a].west.total_cmp(&bounds[b].west));
        let mut pairs = Vec::new();
        for (position, &a) in order.iter().enumerate() {
            for &b in &order[position + 1..] {
                if bounds[b].west > bounds[a].east {
                    break;
                }
                if bounds[a].overlaps(&bounds[b]) {
                    pairs.push((a.min(b), a.max(b)));
                }
            }
        }
        pairs
    }

    /// Two rings may share single points, and never cross or run along each other.
    fn find_touches(&mut self, first: usize, second: usize) -> Result<(), ShapeError> {
        let (one, two) = (self.trees[first], self.trees[second]);
        let common = two.node(two.root()).bounds;
        let mut points = Vec::new();
        let flow = one.walk(one.root(), &mut |node, edges, run| {
            if !node.bounds.overlaps(&common) {
                return ControlFlow::Continue(Go::Past);
            }
            if run {
                two.edges_in(&node.bounds, &mut |_, c, d| {
                    for i in edges.clone() {
                        let (a, b) = one.path.edge(i);
                        let shared = match meet(a, b, c, d) {
                            Meeting::Apart => continue,
                            Meeting::Cross => return ControlFlow::Break(("cross", c)),
                            Meeting::Touch => shared_points(a, b, c, d),
                        };
                        points.extend_from_slice(&shared);
                        if shared.len() > 1 {
                            return ControlFlow::Break(("share a stretch", shared[0]));
                        }
                    }
                    ControlFlow::Continue(())
                })?;
            }
            ControlFlow::Continue(Go::Into)
        });
        if let ControlFlow::Break((rule, at)) = flow {
            return Err(self.fault(&[first, second], rule, at));
        }
        if !points.is_empty() {
            points.sort_by_key(|&c| key(c));
            points.dedup_by_key(|c| key(*c));
            self.touches.insert((first, second), points);
        }
        Ok(())
    }

    /// Holes lie in their outer ring and not in each other; polygons lie outside each other.
    fn check_sides(&self, pairs: &[(usize, usize)]) -> Result<(), ShapeError> {
        let mut met = std::collections::BTreeSet::new();
        for &(a, b) in pairs {
            met.insert((a, b));
            let ((polygon_a, ring_a), (polygon_b, ring_b)) = (self.names[a], self.names[b]);
            if polygon_a == polygon_b {
                if ring_a == 0 {
                    self.expect(
                        b,
                        a,
                        Side::Inside,
                        "do not nest: the hole leaves its outer ring",
                    )?;
                } else {
                    self.expect(b, a, Side::Outside, "are holes that overlap")?;
                    self.expect(a, b, Side::Outside, "are holes that overlap")?;
                }
            } else if ring_a == 0 && ring_b == 0 {
                self.expect_apart(a, b)?;
                self.expect_apart(b, a)?;
            }
        }
        // A hole whose box does not even meet the outer ring's.
        let mut outer = 0;
        for (ring, &(_, number)) in self.names.iter().enumerate() {
            if number == 0 {
                outer = ring;
            } else if !met.contains(&(outer, ring)) {
                let at = self.trees[ring].path.coords[0];
                return Err(self.fault(&[outer, ring], "do not nest: the hole lies outside", at));
            }
        }
        Ok(())
    }

    /// Every start of a stretch of `ring` must be on this side of the area within `other`.
    fn expect(
        &self,
        ring: usize,
        other: usize,
        side: Side,
        rule: &'static str,
    ) -> Result<(), ShapeError> {
        let outline = LineString::new(self.trees[other].path.coords.to_vec());
        let area = Shape::assemble(Geometry::Polygon(Polygon::new(outline, Vec::new())), None);
        self.expect_side(ring, other, &area, side, rule)
    }

    /// The outer ring must be outside the other polygon (it may be in a hole of it).
    fn expect_apart(&self, ring: usize, other: usize) -> Result<(), ShapeError> {
        let (polygon, _) = self.names[other];
        let Some(polygon) = polygons(self.shape.geometry()).nth(polygon) else {
            return Ok(());
        };
        let area = Shape::assemble(Geometry::Polygon(polygon.clone()), None);
        self.expect_side(
            ring,
            other,
            &area,
            Side::Outside,
            "are polygons that overlap",
        )
    }

    fn expect_side(
        &self,
        ring: usize,
        other: usize,
        area: &Shape,
        side: Side,
        rule: &'static str,
    ) -> Result<(), ShapeError> {
        let coords = &self.trees[ring].path.coords;
        let first = coords[0];
        // Rings do not cross, so a stretch between two touching points is on one side; the ring
        // starts anew at its first point and wherever it touches.
        let mut starts = vec![first];
        let touched = self.touches.get(&(ring.min(other), ring.max(other)));
        starts.extend(touched.into_iter().flatten().copied());
        if Step::here(first).locate(area) == side && starts.len() == 1 {
            return Ok(());
        }
        for pair in coords.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let near = edge_bounds(a, b);
            for &at in starts
                .iter()
                .filter(|&&at| near.has(at) && on_edge(at, a, b))
            {
                for toward in [a, b] {
                    let side_there = (Step { at, toward }).locate(area);
                    if toward != at && side_there != side {
                        return Err(self.fault(&[other, ring], rule, at));
                    }
                }
            }
        }
        Ok(())
    }

    /// Rings that touch in a circle cut the inside in two: the graph of rings and the points
    /// where they touch must be a forest.
    fn check_connected(&self) -> Result<(), ShapeError> {
        let mut groups = Groups::default();
        let mut points: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        let mut links = std::collections::BTreeSet::new();
        for (&(a, b), touched) in &self.touches {
            if self.names[a].0 != self.names[b].0 {
                continue;
            }
            for &c in touched {
                let next = self.trees.len() + points.len();
                let point = *points.entry(key(c)).or_insert(next);
                for ring in [a, b] {
                    if links.insert((ring, point)) && !groups.join(ring, point) {
                        return Err(self.fault(&[a, b], "cut the inside in two", c));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The distinct points that two touching edges share: one, or the ends of a common stretch.
fn shared_points(a: Coord<f64>, b: Coord<f64>, c: Coord<f64>, d: Coord<f64>) -> Vec<Coord<f64>> {
    let mut shared: Vec<Coord<f64>> = Vec::with_capacity(2);
    let on = [(a, c, d), (b, c, d), (c, a, b), (d, a, b)];
    for (p, from, to) in on {
        if on_edge(p, from, to) && !shared.contains(&p) {
            shared.push(p);
        }
    }
    shared
}

/// Disjoint sets, merged step by step.
#[derive(Default)]
struct Groups {
    parents: BTreeMap<usize, usize>,
}

impl Groups {
    fn root(&mut self, mut node: usize) -> usize {
        while let Some(&parent) = self.parents.get(&node) {
            // Halving the way keeps long chains short.
            if let Some(&above) = self.parents.get(&parent) {
                self.parents.insert(node, above);
            }
            node = parent;
        }
        node
    }

    /// Whether the two were apart before.
    fn join(&mut self, a: usize, b: usize) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            self.parents.insert(a, b);
        }
        a != b
    }
}

/// A polygon from an outline, closed if it is not.
pub(super) fn outline(coords: Vec<Coord<f64>>) -> Polygon<f64> {
    Polygon::new(ring(coords), Vec::new())
}
