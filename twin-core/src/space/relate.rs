//! Whether two shapes meet, and whether one lies in another; exactly.
//!
//! # Invariants
//! - Decisions rest on [`super::locate`] alone, so they are those of real arithmetic on the
//!   coordinates as given.
//! - `covers(a, b)` implies `intersects(a, b)`.

use super::locate::{Meeting, Side, Step, meet, on_edge};
use super::paths::{Go, Kind, edge_bounds};
use super::point::Bounds;
use super::shape::{Shape, polygons};
use geo_types::Coord;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn has(shape: &Shape, c: Coord<f64>) -> bool {
    Step::here(c).locate(shape) != Side::Outside
}

/// Calls `f` with every edge of the shape whose box meets the given one.
fn edges_in<B>(
    shape: &Shape,
    bounds: &Bounds,
    f: &mut impl FnMut(Coord<f64>, Coord<f64>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    shape.each(&mut |tree| tree.edges_in(bounds, &mut |_, a, b| f(a, b)))
}

/// Whether the shapes have a point in common.
pub(super) fn intersects(a: &Shape, b: &Shape) -> bool {
    if !a.bounds().overlaps(&b.bounds()) {
        return false;
    }
    if let Some(p) = a.is_point() {
        return b.contains(p);
    }
    if let Some(p) = b.is_point() {
        return a.contains(p);
    }
    // Without meeting edges, a part lies wholly in the other shape or wholly outside.
    part_starts_in(a, b) || part_starts_in(b, a) || edges_meet(a, b)
}

fn part_starts_in(a: &Shape, b: &Shape) -> bool {
    a.each(&mut |tree| {
        if tree.path.kind != Kind::Interior && has(b, tree.path.coords[0]) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .is_break()
}

fn edges_meet(a: &Shape, b: &Shape) -> bool {
    let common = b.bounds();
    a.each(&mut |tree| {
        tree.walk(tree.root(), &mut |node, edges, run| {
            if !node.bounds.overlaps(&common) {
                return ControlFlow::Continue(Go::Past);
            }
            if run {
                edges_in(b, &node.bounds, &mut |c, d| {
                    let near = edge_bounds(c, d);
                    for i in edges.clone() {
                        let (e, f) = tree.path.edge(i);
                        if edge_bounds(e, f).overlaps(&near) && meet(e, f, c, d) != Meeting::Apart {
                            return ControlFlow::Break(());
                        }
                    }
                    ControlFlow::Continue(())
                })?;
            }
            ControlFlow::Continue(Go::Into)
        })
    })
    .is_break()
}

/// Whether every point of `inner` lies in `area` (a Polygon or `MultiPolygon`) or on its boundary.
pub(super) fn covers(area: &Shape, inner: &Shape) -> bool {
    if !area.bounds().covers(&inner.bounds()) {
        return false;
    }
    if let Some(p) = inner.is_point() {
        return area.contains(p);
    }
    covers_edges(area, inner) && (!inner.has_area() || covers_insides(area, inner))
}

/// Whether all points and edges of `inner` lie in `area`.
fn covers_edges(area: &Shape, inner: &Shape) -> bool {
    inner
        .each(&mut |tree| {
            tree.walk(tree.root(), &mut |node, edges, run| {
                let near = edges_in(area, &node.bounds, &mut |_, _| ControlFlow::Break(()));
                if near.is_continue() {
                    // No boundary nearby: the stretch is on one side, and one point tells which.
                    return if has(area, tree.path.edge(edges.start).0) {
                        ControlFlow::Continue(Go::Past)
                    } else {
                        ControlFlow::Break(())
                    };
                }
                if run {
                    for i in edges {
                        let (a, b) = tree.path.edge(i);
                        if !covers_edge(area, a, b) {
                            return ControlFlow::Break(());
                        }
                    }
                }
                ControlFlow::Continue(Go::Into)
            })
        })
        .is_continue()
}

/// Whether an edge lies in the area: its boundary cuts the edge into pieces that do not meet it
/// but at their ends, and each piece is located by the step that starts it.
fn covers_edge(area: &Shape, a: Coord<f64>, b: Coord<f64>) -> bool {
    let starts_inside = |at| at == b || Step { at, toward: b }.locate(area) != Side::Outside;
    if !has(area, a) || !has(area, b) || !starts_inside(a) {
        return false;
    }
    edges_in(area, &edge_bounds(a, b), &mut |c, d| {
        let leaves = match meet(a, b, c, d) {
            Meeting::Apart => false,
            Meeting::Cross => true,
            Meeting::Touch => {
                (on_edge(c, a, b) && !starts_inside(c)) || (on_edge(d, a, b) && !starts_inside(d))
            }
        };
        if leaves {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .is_continue()
}

/// Whether the insides of `inner`'s polygons lie in `area`, its rings being known to.
fn covers_insides(area: &Shape, inner: &Shape) -> bool {
    // A hole of the area, or a gap between its parts, would bring a boundary into the inside.
    let strictly_in = |step: Step| step.locate(inner) == Side::Inside;
    let pierced = edges_in(area, &inner.bounds(), &mut |c, d| {
        if strictly_in(Step::here(c))
            || strictly_in(Step::here(d))
            || (c != d && strictly_in(Step { at: c, toward: d }))
        {
            return ControlFlow::Break(());
        }
        edges_in(inner, &edge_bounds(c, d), &mut |a, b| {
            for at in [a, b] {
                if at != d && on_edge(at, c, d) && strictly_in(Step { at, toward: d }) {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })
    });
    if pierced.is_break() {
        return false;
    }
    // Now each inside is wholly in the area or wholly out of it (it may fill a hole exactly).
    polygons(inner.geometry()).all(|polygon| {
        let ring = polygon.exterior();
        if ring
            .0
            .iter()
            .any(|&c| Step::here(c).locate(area) == Side::Inside)
        {
            return true;
        }
        // geo's algorithm can panic on extreme input; a ring without a computable inside point is
        // thinner than a coordinate can resolve.
        let inside = catch_unwind(AssertUnwindSafe(|| {
            geo::InteriorPoint::interior_point(polygon)
        }));
        inside.ok().flatten().is_none_or(|p| has(area, p.0))
    })
}
