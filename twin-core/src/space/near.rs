//! The nearest point of a shape, and whether all of it is near: searches over the trees by
//! straight-line distance in space.
//!
//! # Invariants
//! - [`nearest`] is within a ten-millionth of a metre, or 1e-9 of the distance, of the least
//!   straight-line distance to the shape's points and edges.
//! - An edge is split only while its bend could matter, and each split quarters the bend, so the
//!   searches end.

use super::metric::{R_MIN, Spot, Vec3, gap, sag};
use super::paths::{Kind, Place, Tree, position};
use super::point::Point;
use super::shape::Shape;
use std::ops::ControlFlow;

/// Metres below which two distances are taken as equal while searching.
const TOLERANCE: f64 = 1e-7;
/// The same as a part of the distance.
const PART: f64 = 1e-9;

/// The greatest chord whose arc is surely no longer than `metres`; negative where none is.
pub(super) fn surely_within(metres: f64) -> f64 {
    let half = metres / (2.0 * R_MIN);
    // Beyond, the comparison behind `metric::arc` says nothing.
    if half < 1.1 {
        2.0 * R_MIN * half.sin() - 2e-6
    } else {
        -1.0
    }
}

struct Search<'s> {
    from: &'s Spot,
    best: f64,
    at: Option<Spot>,
    /// Nothing nearer than this is asked for.
    enough: f64,
}

/// The point of the shape's points and edges that is nearest in a straight line, if one is nearer
/// than `limit` metres; any one nearer than `enough` ends the search.
pub(super) fn nearest(shape: &Shape, from: &Spot, limit: f64, enough: f64) -> Option<Spot> {
    let mut search = Search {
        from,
        best: limit,
        at: None,
        enough,
    };
    let flow = shape.each(&mut |tree| search.descend(&tree, tree.root()));
    debug_assert!(flow.is_continue() || search.best <= enough);
    search.at
}

impl Search<'_> {
    fn descend(&mut self, tree: &Tree<'_>, place: Place) -> ControlFlow<()> {
        if tree.node(place).lower(self.from) >= self.best {
            return ControlFlow::Continue(());
        }
        if Tree::is_run(place) {
            return self.run(tree, place);
        }
        let mut children: Vec<(f64, Place)> = tree
            .children(place)
            .map(|c| (tree.node(c).lower(self.from), c))
            .collect();
        children.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, child) in children {
            self.descend(tree, child)?;
        }
        ControlFlow::Continue(())
    }

    fn run(&mut self, tree: &Tree<'_>, place: Place) -> ControlFlow<()> {
        let edges = tree.edges(place);
        let mut start = Spot::new(position(tree.path.edge(edges.start).0));
        self.look(&start)?;
        if tree.path.kind == Kind::Point {
            return ControlFlow::Continue(());
        }
        for i in edges {
            let end = Spot::new(position(tree.path.edge(i).1));
            self.look(&end)?;
            self.edge(&start, &end)?;
            start = end;
        }
        ControlFlow::Continue(())
    }

    fn look(&mut self, spot: &Spot) -> ControlFlow<()> {
        let chord = self.from.chord(spot);
        if chord < self.best {
            self.best = chord;
            self.at = Some(*spot);
            if chord <= self.enough {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn edge(&mut self, a: &Spot, b: &Spot) -> ControlFlow<()> {
        let bend = sag(a.point, b.point);
        let (t, straight) = to_line(self.from.place, a.place, b.place);
        let reach = self.best - TOLERANCE.max(PART * self.best);
        if straight - bend >= reach {
            return ControlFlow::Continue(());
        }
        let middle = between(a.point, b.point, 0.5);
        if t > 0.0 && t < 1.0 {
            self.look(&Spot::new(between(a.point, b.point, t)))?;
        }
        if bend < TOLERANCE || middle == a.point || middle == b.point {
            return ControlFlow::Continue(());
        }
        let middle = Spot::new(middle);
        self.look(&middle)?;
        if t < 0.5 {
            self.edge(a, &middle)?;
            self.edge(&middle, b)
        } else {
            self.edge(&middle, b)?;
            self.edge(a, &middle)
        }
    }
}

fn between(a: Point, b: Point, t: f64) -> Point {
    Point {
        lon: a.lon + (b.lon - a.lon) * t,
        lat: a.lat + (b.lat - a.lat) * t,
    }
}

/// Where on the straight line in space from `a` to `b` the point nearest to `p` is, and how far.
fn to_line(p: Vec3, a: Vec3, b: Vec3) -> (f64, f64) {
    let way = [b[0] - a[0], b[1] - a[1], b[2] - a[2]];
    let off = [p[0] - a[0], p[1] - a[1], p[2] - a[2]];
    let dot = |x: Vec3, y: Vec3| x[0] * y[0] + x[1] * y[1] + x[2] * y[2];
    let length2 = dot(way, way);
    let t = if length2 > 0.0 {
        (dot(off, way) / length2).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (
        t,
        gap(p, [a[0] + t * way[0], a[1] + t * way[1], a[2] + t * way[2]]),
    )
}

/// Whether all points and edges of the shape are within `metres`, where `is_near` decides for a
/// point.
pub(super) fn all_near(
    shape: &Shape,
    from: &Spot,
    metres: f64,
    is_near: &impl Fn(&Spot) -> bool,
) -> bool {
    let surely = surely_within(metres);
    let far =
        shape.each(&mut |tree| all_near_under(&tree, tree.root(), from, surely, metres, is_near));
    far.is_continue()
}

fn all_near_under(
    tree: &Tree<'_>,
    place: Place,
    from: &Spot,
    surely: f64,
    metres: f64,
    is_near: &impl Fn(&Spot) -> bool,
) -> ControlFlow<()> {
    let node = tree.node(place);
    if gap(node.centre, from.place) + node.radius <= surely {
        return ControlFlow::Continue(());
    }
    if node.lower(from) > metres {
        return ControlFlow::Break(());
    }
    if !Tree::is_run(place) {
        for child in tree.children(place) {
            all_near_under(tree, child, from, surely, metres, is_near)?;
        }
        return ControlFlow::Continue(());
    }
    let slack = (10.0 * TOLERANCE).max(PART * metres);
    let mut previous: Option<Spot> = None;
    for i in tree.edges(place) {
        let (a, b) = tree.path.edge(i);
        let start = previous.unwrap_or_else(|| Spot::new(position(a)));
        let end = Spot::new(position(b));
        if !is_near(&start)
            || !is_near(&end)
            || !edge_near(&start, &end, from, surely, slack, is_near)
        {
            return ControlFlow::Break(());
        }
        previous = Some(end);
    }
    ControlFlow::Continue(())
}

/// Whether an edge is near all along, both ends being near.
fn edge_near(
    a: &Spot,
    b: &Spot,
    from: &Spot,
    surely: f64,
    slack: f64,
    is_near: &impl Fn(&Spot) -> bool,
) -> bool {
    let bend = sag(a.point, b.point);
    if bend <= slack || from.chord(a).max(from.chord(b)) + bend <= surely {
        return true;
    }
    let middle = Spot::new(between(a.point, b.point, 0.5));
    is_near(&middle)
        && edge_near(a, &middle, from, surely, slack, is_near)
        && edge_near(&middle, b, from, surely, slack, is_near)
}
