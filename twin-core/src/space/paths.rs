//! A geometry as a sequence of paths, each with a tree of boxes over runs of its edges.
//!
//! # Invariants
//! - [`visit`] yields the paths of a geometry always in the same order: the order of its trees.
//! - A run is [`RUN`] consecutive edges, a node above it [`FAN`] consecutive nodes, so every
//!   node is one connected stretch of one path and its box holds that stretch.
//! - A point is a path of one coordinate and one edge without length.

use super::metric::{Spot, Vec3, gap};
use super::point::{Bounds, Point};
use geo_types::{Coord, Geometry, Polygon};
use std::ops::{ControlFlow, Range};

/// Edges under a lowest node.
const RUN: usize = 16;
/// Nodes under a higher node.
const FAN: usize = 8;

/// What a path is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Point,
    Line,
    Exterior,
    Interior,
}

/// One point, line or ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'g> {
    pub(super) kind: Kind,
    pub(super) coords: &'g [Coord<f64>],
}

impl Path<'_> {
    pub(super) fn edges(&self) -> usize {
        (self.coords.len() - 1).max(1)
    }

    /// The ends of an edge; a point's one edge starts and ends in it.
    pub(super) fn edge(&self, i: usize) -> (Coord<f64>, Coord<f64>) {
        (
            self.coords[i],
            self.coords[(i + 1).min(self.coords.len() - 1)],
        )
    }
}

/// Calls `f` for every path of the geometry until it breaks.
pub(super) fn visit<'g, B, F>(geometry: &'g Geometry<f64>, f: &mut F) -> ControlFlow<B>
where
    F: FnMut(Path<'g>) -> ControlFlow<B>,
{
    match geometry {
        Geometry::Point(p) => {
            f(Path {
                kind: Kind::Point,
                coords: std::slice::from_ref(&p.0),
            })?;
        }
        Geometry::MultiPoint(points) => {
            for p in &points.0 {
                f(Path {
                    kind: Kind::Point,
                    coords: std::slice::from_ref(&p.0),
                })?;
            }
        }
        Geometry::LineString(line) => f(Path {
            kind: Kind::Line,
            coords: &line.0,
        })?,
        Geometry::MultiLineString(lines) => {
            for line in &lines.0 {
                f(Path {
                    kind: Kind::Line,
                    coords: &line.0,
                })?;
            }
        }
        Geometry::Polygon(p) => visit_polygon(p, f)?,
        Geometry::MultiPolygon(polygons) => {
            for p in &polygons.0 {
                visit_polygon(p, f)?;
            }
        }
        Geometry::GeometryCollection(members) => {
            for member in &members.0 {
                visit(member, f)?;
            }
        }
        // A shape's constructor turns these into lines and polygons.
        Geometry::Line(_) | Geometry::Rect(_) | Geometry::Triangle(_) => {}
    }
    ControlFlow::Continue(())
}

fn visit_polygon<'g, B, F>(polygon: &'g Polygon<f64>, f: &mut F) -> ControlFlow<B>
where
    F: FnMut(Path<'g>) -> ControlFlow<B>,
{
    f(Path {
        kind: Kind::Exterior,
        coords: &polygon.exterior().0,
    })?;
    for ring in polygon.interiors() {
        f(Path {
            kind: Kind::Interior,
            coords: &ring.0,
        })?;
    }
    ControlFlow::Continue(())
}

/// A stretch of a path: its box, and a ball in space that holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) bounds: Bounds,
    pub(super) centre: Vec3,
    pub(super) radius: f64,
}

impl Node {
    fn new(bounds: Bounds) -> Self {
        let spot = Spot::new(bounds.centre());
        // The way from the middle to any point of the box, straight in longitude/latitude, is no
        // longer than half the diagonal taken where the box is widest: nearest to the equator.
        let lat = if bounds.south <= 0.0 && bounds.north >= 0.0 {
            0.0
        } else {
            bounds.south.abs().min(bounds.north.abs())
        };
        let half_lon = (bounds.east - bounds.west).to_radians() / 2.0;
        let half_lat = (bounds.north - bounds.south).to_radians() / 2.0;
        let radius = super::metric::R_MAX * half_lat.hypot(half_lon * lat.to_radians().cos());
        Self {
            bounds,
            centre: spot.place,
            radius: radius + 1e-6,
        }
    }

    /// Metres in a straight line that anything in the node is away at least.
    pub(super) fn lower(&self, from: &Spot) -> f64 {
        gap(self.centre, from.place) - self.radius
    }
}

/// The trees of all paths of a geometry.
#[derive(Debug)]
pub(super) struct Trees {
    nodes: Vec<Node>,
    /// For each path, where its lowest nodes start.
    starts: Vec<u32>,
}

impl Trees {
    pub(super) fn new(geometry: &Geometry<f64>) -> Self {
        let mut trees = Self {
            nodes: Vec::new(),
            starts: Vec::new(),
        };
        let done: ControlFlow<()> = visit(geometry, &mut |path| {
            trees.push(&path);
            ControlFlow::Continue(())
        });
        debug_assert!(done.is_continue());
        trees
    }

    fn push(&mut self, path: &Path<'_>) {
        let mut level = self.nodes.len();
        self.starts.push(level as u32);
        let edges = path.edges();
        for start in (0..edges).step_by(RUN) {
            let end = (start + RUN + 1).min(path.coords.len());
            self.nodes
                .push(Node::new(Bounds::of(&path.coords[start..end])));
        }
        while self.nodes.len() - level > 1 {
            let next = self.nodes.len();
            for start in (level..next).step_by(FAN) {
                let children = &self.nodes[start..(start + FAN).min(next)];
                let bounds = children.iter().fold(Bounds::NONE, |b, n| b.join(n.bounds));
                self.nodes.push(Node::new(bounds));
            }
            level = next;
        }
    }

    /// The tree of the path with this number in the order of [`visit`].
    pub(super) fn tree<'t>(&'t self, number: usize, path: Path<'t>) -> Tree<'t> {
        Tree {
            nodes: &self.nodes[self.starts[number] as usize..],
            path,
        }
    }
}

/// One path with its nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'t> {
    nodes: &'t [Node],
    pub(super) path: Path<'t>,
}

/// A place in a tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    level: u32,
    index: usize,
}

/// What a walk does after a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Go {
    Into,
    Past,
}

impl<'t> Tree<'t> {
    fn runs(&self) -> usize {
        self.path.edges().div_ceil(RUN)
    }

    pub(super) fn root(&self) -> Place {
        let (mut level, mut width) = (0, self.runs());
        while width > 1 {
            width = width.div_ceil(FAN);
            level += 1;
        }
        Place { level, index: 0 }
    }

    pub(super) fn node(&self, place: Place) -> &'t Node {
        let (mut offset, mut width) = (0, self.runs());
        for _ in 0..place.level {
            offset += width;
            width = width.div_ceil(FAN);
        }
        &self.nodes[offset + place.index]
    }

    /// The edges under a node.
    pub(super) fn edges(&self, place: Place) -> Range<usize> {
        let span = RUN * FAN.pow(place.level);
        place.index * span..((place.index + 1) * span).min(self.path.edges())
    }

    /// The nodes under a node; none under a lowest one.
    pub(super) fn children(&self, place: Place) -> impl Iterator<Item = Place> + use<> {
        let range = if place.level == 0 {
            0..0
        } else {
            let width = (1..place.level).fold(self.runs(), |width, _| width.div_ceil(FAN));
            place.index * FAN..((place.index + 1) * FAN).min(width)
        };
        let level = place.level.saturating_sub(1);
        range.map(move |index| Place { level, index })
    }

    pub(super) fn is_run(place: Place) -> bool {
        place.level == 0
    }

    /// Walks from a node down; `f` sees every node and its edges and says whether to go into it.
    /// A lowest node's edges are for `f` to handle.
    pub(super) fn walk<B, F>(&self, place: Place, f: &mut F) -> ControlFlow<B>
    where
        F: FnMut(&'t Node, Range<usize>, bool) -> ControlFlow<B, Go>,
    {
        let go = f(self.node(place), self.edges(place), Self::is_run(place))?;
        if go == Go::Into {
            for child in self.children(place) {
                self.walk(child, f)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Calls `f` with every edge whose box meets the given one.
    pub(super) fn edges_in<B>(
        &self,
        bounds: &Bounds,
        f: &mut impl FnMut(usize, Coord<f64>, Coord<f64>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.walk(self.root(), &mut |node, edges, run| {
            if !node.bounds.overlaps(bounds) {
                return ControlFlow::Continue(Go::Past);
            }
            if run {
                for i in edges {
                    let (a, b) = self.path.edge(i);
                    if edge_bounds(a, b).overlaps(bounds) {
                        f(i, a, b)?;
                    }
                }
            }
            ControlFlow::Continue(Go::Into)
        })
    }
}

pub(super) fn edge_bounds(a: Coord<f64>, b: Coord<f64>) -> Bounds {
    Bounds {
        west: a.x.min(b.x),
        south: a.y.min(b.y),
        east: a.x.max(b.x),
        north: a.y.max(b.y),
    }
}

/// The position of a coordinate that a shape's check has passed.
pub(super) fn position(c: Coord<f64>) -> Point {
    Point { lon: c.x, lat: c.y }
}
