//! Where a point lies in a geometry, and how two edges meet: the exact predicates everything
//! else is built on.
//!
//! # Invariants
//! - Every decision is a sign of `robust::orient2d` or a comparison of input coordinates; no
//!   coordinate is ever computed, so nothing is rounded.

use super::paths::{Go, Kind, Tree, edge_bounds};
use super::point::Bounds;
use super::shape::Shape;
use geo_types::Coord;
use std::ops::ControlFlow;

/// Where a point lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Inside,
    Boundary,
    Outside,
}

/// How two edges meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// No common point.
    Apart,
    /// They cross in a point inside both.
    Cross,
    /// An end of one lies on the other.
    Touch,
}

/// Sign of the area of the triangle: positive where `c` is left of the way from `a` to `b`.
pub(super) fn orient(a: Coord<f64>, b: Coord<f64>, c: Coord<f64>) -> f64 {
    let at = |c: Coord<f64>| robust::Coord { x: c.x, y: c.y };
    robust::orient2d(at(a), at(b), at(c))
}

/// Whether `p` lies on the edge, its ends included.
pub(super) fn on_edge(p: Coord<f64>, a: Coord<f64>, b: Coord<f64>) -> bool {
    edge_bounds(a, b).has(p) && orient(a, b, p) == 0.0
}

/// How the edges `a b` and `c d` meet.
pub(super) fn meet(a: Coord<f64>, b: Coord<f64>, c: Coord<f64>, d: Coord<f64>) -> Meeting {
    let (first, second) = (edge_bounds(a, b), edge_bounds(c, d));
    if !first.overlaps(&second) {
        return Meeting::Apart;
    }
    let (c_side, d_side) = (orient(a, b, c), orient(a, b, d));
    if (c_side > 0.0 && d_side > 0.0) || (c_side < 0.0 && d_side < 0.0) {
        return Meeting::Apart;
    }
    let (a_side, b_side) = (orient(c, d, a), orient(c, d, b));
    if (a_side > 0.0 && b_side > 0.0) || (a_side < 0.0 && b_side < 0.0) {
        return Meeting::Apart;
    }
    if c_side != 0.0 && d_side != 0.0 && a_side != 0.0 && b_side != 0.0 {
        return Meeting::Cross;
    }
    let touch = (c_side == 0.0 && first.has(c))
        || (d_side == 0.0 && first.has(d))
        || (a_side == 0.0 && second.has(a))
        || (b_side == 0.0 && second.has(b));
    if touch {
        Meeting::Touch
    } else {
        Meeting::Apart
    }
}

/// A point, moved by an infinitely small step from `at` toward `toward`; the point itself where
/// both are the same. Lets the open edge that leaves a boundary point be located without
/// computing a coordinate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) at: Coord<f64>,
    pub(super) toward: Coord<f64>,
}

impl Step {
    pub(super) fn here(at: Coord<f64>) -> Self {
        Self { at, toward: at }
    }

    fn still(&self) -> bool {
        self.at == self.toward
    }

    #[expect(
        clippy::float_cmp,
        reason = "exact: the same input coordinate or another"
    )]
    fn is_below(&self, c: Coord<f64>) -> bool {
        c.y > self.at.y || (c.y == self.at.y && self.toward.y < self.at.y)
    }

    /// Side of the edge that the moved point is on.
    fn side_of(&self, a: Coord<f64>, b: Coord<f64>) -> f64 {
        let side = orient(a, b, self.at);
        // On the line, the direction decides, and the line's other points say which it is.
        if side == 0.0 && !self.still() {
            orient(a, b, self.toward)
        } else {
            side
        }
    }

    /// Whether the moved point, known to be on the edge's line, is on the edge.
    #[expect(clippy::float_cmp, reason = "exact: a vertical edge has one longitude")]
    fn on(&self, a: Coord<f64>, b: Coord<f64>) -> bool {
        if !edge_bounds(a, b).has(self.at) {
            return false;
        }
        if self.still() {
            return true;
        }
        if a == b {
            return false;
        }
        let leaves = |end: Coord<f64>, other: Coord<f64>| {
            self.at == end
                && if end.x == other.x {
                    (self.toward.y > end.y) != (other.y > end.y)
                } else {
                    (self.toward.x > end.x) != (other.x > end.x)
                }
        };
        !leaves(a, b) && !leaves(b, a)
    }

    /// Whether a ray to the east crosses the path an odd number of times; none where the point
    /// is on the path.
    fn is_odd(&self, tree: &Tree<'_>) -> Option<bool> {
        let mut odd = false;
        let at = self.at;
        let flow = tree.walk(tree.root(), &mut |node, edges, run| {
            let Bounds {
                west,
                south,
                east,
                north,
            } = node.bounds;
            if at.y < south || at.y > north || at.x > east {
                return ControlFlow::Continue(Go::Past);
            }
            if at.x < west {
                // The stretch is connected and wholly to the east: how often it crosses, odd or
                // even, shows in its ends.
                let first = tree.path.edge(edges.start).0;
                let last = tree.path.edge(edges.end - 1).1;
                odd ^= self.is_below(first) != self.is_below(last);
                return ControlFlow::Continue(Go::Past);
            }
            if run {
                for i in edges {
                    let (a, b) = tree.path.edge(i);
                    if self.crosses(a, b)? {
                        odd = !odd;
                    }
                }
            }
            ControlFlow::Continue(Go::Into)
        });
        flow.is_continue().then_some(odd)
    }

    /// Whether a ray to the east crosses the edge; breaks where the point is on it.
    fn crosses(&self, a: Coord<f64>, b: Coord<f64>) -> ControlFlow<(), bool> {
        let at = self.at;
        if (at.x > a.x && at.x > b.x) || (at.y > a.y && at.y > b.y) || (at.y < a.y && at.y < b.y) {
            return ControlFlow::Continue(false);
        }
        let rises = self.is_below(b);
        let straddles = self.is_below(a) != rises;
        if at.x < a.x && at.x < b.x {
            return ControlFlow::Continue(straddles);
        }
        let side = self.side_of(a, b);
        if side == 0.0 {
            return if self.on(a, b) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(false)
            };
        }
        ControlFlow::Continue(straddles && (side > 0.0) == rises)
    }

    /// Where the moved point lies in the shape. On a point or a line is on the boundary.
    pub(super) fn locate(&self, shape: &Shape) -> Side {
        if !shape.bounds().has(self.at) {
            return Side::Outside;
        }
        let mut odd = false;
        // A polygon's holes are looked at only where its outer ring's box holds the point.
        let mut skip = false;
        let flow = shape.each(&mut |tree| {
            let root = tree.node(tree.root());
            match tree.path.kind {
                Kind::Exterior => {
                    if odd {
                        return ControlFlow::Break(Side::Inside);
                    }
                    skip = !root.bounds.has(self.at);
                }
                Kind::Interior => {}
                Kind::Point | Kind::Line => {
                    if odd {
                        return ControlFlow::Break(Side::Inside);
                    }
                    skip = false;
                }
            }
            if skip || !root.bounds.has(self.at) {
                return ControlFlow::Continue(());
            }
            match self.is_odd(&tree) {
                None => return ControlFlow::Break(Side::Boundary),
                Some(turn) if matches!(tree.path.kind, Kind::Exterior | Kind::Interior) => {
                    odd ^= turn;
                }
                Some(_) => {}
            }
            ControlFlow::Continue(())
        });
        match flow {
            ControlFlow::Break(side) => side,
            ControlFlow::Continue(()) if odd => Side::Inside,
            ControlFlow::Continue(()) => Side::Outside,
        }
    }
}

/// How a box lies to a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    /// No common point.
    Out,
    /// The box lies wholly in the shape.
    In,
    /// Some edge or point of the shape is in the box.
    Cut,
}

/// How a box lies to a shape, exactly.
pub(super) fn overlap(shape: &Shape, bounds: &Bounds) -> Overlap {
    if !shape.bounds().overlaps(bounds) {
        return Overlap::Out;
    }
    if bounds.covers(&shape.bounds()) {
        return Overlap::Cut;
    }
    let corners = bounds.corners();
    let cut = shape.each(&mut |tree| {
        tree.walk(tree.root(), &mut |node, edges, run| {
            if !node.bounds.overlaps(bounds) {
                return ControlFlow::Continue(Go::Past);
            }
            if bounds.covers(&node.bounds) {
                return ControlFlow::Break(());
            }
            if run {
                for i in edges {
                    let (a, b) = tree.path.edge(i);
                    if bounds.has(a) || bounds.has(b) || crosses_box(a, b, bounds, &corners) {
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(Go::Into)
        })
    });
    if cut.is_break() {
        Overlap::Cut
    } else if Step::here(corners[0]).locate(shape) == Side::Outside {
        Overlap::Out
    } else {
        Overlap::In
    }
}

/// Whether an edge with both ends outside the box has a point in it: the corners are not all on
/// one side of its line, or one is on it.
fn crosses_box(a: Coord<f64>, b: Coord<f64>, bounds: &Bounds, corners: &[Coord<f64>; 4]) -> bool {
    if !edge_bounds(a, b).overlaps(bounds) {
        return false;
    }
    let (mut left, mut right) = (false, false);
    for &corner in corners {
        let side = orient(a, b, corner);
        left |= side >= 0.0;
        right |= side <= 0.0;
    }
    left && right
}
