//! Rings into polygons by which lies in which.
//!
//! # Invariants
//! - Every ring is in exactly one polygon: a ring in an even number of others is an outer one, a ring in
//!   an odd number is a hole of the innermost of them.
//! - The work is bounded by [`MAX_STEPS`].
//!
//! Arithmetic is plain: rings that touch or cross may be sorted wrongly, and are then refused by the
//! exact check of the polygon that comes of it.

/// Most comparisons to sort the rings of one shape.
const MAX_STEPS: usize = 2_000_000_000;
const TOO_MANY: &str =
    "it has more rings, of more points, than can be sorted into polygons: split it";

/// A ring that may be closed or not.
#[derive(Debug)]
pub(super) struct Ring<'p> {
    points: &'p [(f64, f64)],
    /// Twice the area, negative where the ring runs clockwise.
    area: f64,
    /// West, south, east, north.
    bounds: [f64; 4],
}

/// Rings sorted into polygons.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Nested {
    /// For each polygon its outer ring and its holes, as numbers of rings; in order of the outer rings.
    pub(super) polygons: Vec<Vec<usize>>,
    /// Whether an outer ring runs against the clock or a hole with it.
    pub(super) turned: bool,
}

impl<'p> Ring<'p> {
    pub(super) fn new(points: &'p [(f64, f64)]) -> Self {
        let mut bounds = [
            f64::INFINITY,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NEG_INFINITY,
        ];
        for (x, y) in points {
            bounds = [
                bounds[0].min(*x),
                bounds[1].min(*y),
                bounds[2].max(*x),
                bounds[3].max(*y),
            ];
        }
        let (x0, y0) = points.first().copied().unwrap_or_default();
        let next = points.iter().skip(1).chain(points.first());
        let area = points
            .iter()
            .zip(next)
            .map(|(a, b)| (a.0 - x0) * (b.1 - y0) - (b.0 - x0) * (a.1 - y0))
            .sum();
        Self {
            points,
            area,
            bounds,
        }
    }

    fn may_hold(&self, other: &Self) -> bool {
        let ([west, south, east, north], inner) = (self.bounds, other.bounds);
        west <= inner[0] && south <= inner[1] && inner[2] <= east && inner[3] <= north
    }

    /// Whether a point is in the ring; `None` on its boundary.
    fn holds(&self, (x, y): (f64, f64)) -> Option<bool> {
        let mut inside = false;
        let next = self.points.iter().skip(1).chain(self.points.first());
        for (a, b) in self.points.iter().zip(next) {
            let side = (b.0 - a.0) * (y - a.1) - (b.1 - a.1) * (x - a.0);
            let in_box =
                a.0.min(b.0) <= x && x <= a.0.max(b.0) && a.1.min(b.1) <= y && y <= a.1.max(b.1);
            if in_box && side == 0.0 {
                return None;
            }
            if (a.1 > y) != (b.1 > y) && ((side > 0.0) == (b.1 > a.1)) {
                inside = !inside;
            }
        }
        Some(inside)
    }

    /// Whether the other ring lies in this one: by the first of its points, or of the middles of its
    /// edges, that is not on the boundary.
    fn encloses(&self, other: &Self, steps: &mut usize) -> Result<bool, String> {
        let next = other.points.iter().skip(1);
        let middles = other.points.iter().zip(next).map(|(a, b)| {
            let middle = |a: f64, b: f64| f64::midpoint(a, b);
            (middle(a.0, b.0), middle(a.1, b.1))
        });
        for point in other.points.iter().copied().chain(middles) {
            spend(steps, self.points.len())?;
            if let Some(inside) = self.holds(point) {
                return Ok(inside);
            }
        }
        Ok(false)
    }
}

fn spend(steps: &mut usize, cost: usize) -> Result<(), String> {
    *steps = steps.checked_sub(cost).ok_or(TOO_MANY)?;
    Ok(())
}

/// Sorts rings into polygons.
pub(super) fn nest(rings: &[Ring<'_>]) -> Result<Nested, String> {
    nest_within(rings, MAX_STEPS)
}

fn nest_within(rings: &[Ring<'_>], mut steps: usize) -> Result<Nested, String> {
    // Only a larger ring can hold a smaller one.
    let mut by_size: Vec<usize> = (0..rings.len()).collect();
    by_size.sort_by(|a, b| rings[*b].area.abs().total_cmp(&rings[*a].area.abs()));
    let mut depth = vec![0_usize; rings.len()];
    let mut innermost = vec![None; rings.len()];
    for (position, ring) in by_size.iter().copied().enumerate() {
        spend(&mut steps, position)?;
        for larger in by_size.iter().copied().take(position) {
            if rings[larger].may_hold(&rings[ring])
                && rings[larger].encloses(&rings[ring], &mut steps)?
            {
                depth[ring] += 1;
                // The last one found is the smallest that holds it.
                innermost[ring] = Some(larger);
            }
        }
    }
    let mut nested = Nested::default();
    let mut polygon_of = vec![None; rings.len()];
    for (number, ring) in rings.iter().enumerate() {
        let outer = depth[number].is_multiple_of(2);
        let clockwise = ring.area < 0.0;
        nested.turned |= ring.area != 0.0 && outer != clockwise;
        if outer {
            polygon_of[number] = Some(nested.polygons.len());
            nested.polygons.push(vec![number]);
        }
    }
    for number in (0..rings.len()).filter(|number| depth[*number] % 2 == 1) {
        let outer = innermost[number].and_then(|outer: usize| polygon_of[outer]);
        match outer.and_then(|outer: usize| nested.polygons.get_mut(outer)) {
            Some(polygon) => polygon.push(number),
            // Rings that cross: the exact check will say so.
            None => nested.polygons.push(vec![number]),
        }
    }
    Ok(nested)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f64, y: f64, half: f64, clockwise: bool) -> Vec<(f64, f64)> {
        let mut points = vec![
            (x - half, y - half),
            (x - half, y + half),
            (x + half, y + half),
            (x + half, y - half),
            (x - half, y - half),
        ];
        if !clockwise {
            points.reverse();
        }
        points
    }

    fn sorted(rings: &[Vec<(f64, f64)>]) -> Nested {
        let rings: Vec<Ring<'_>> = rings.iter().map(|ring| Ring::new(ring)).collect();
        nest(&rings).unwrap()
    }

    #[test]
    fn holes_and_islands_are_found_whatever_their_direction() {
        for turn in [false, true] {
            let rings = [
                square(0.0, 0.0, 10.0, true),  // land
                square(100.0, 0.0, 5.0, true), // more land
                square(0.0, 0.0, 5.0, turn),   // a lake
                square(0.0, 0.0, 2.0, true),   // an island in it
                square(0.0, 0.0, 1.0, turn),   // a pond on that
                square(100.0, 0.0, 1.0, turn), // a lake
            ];
            let nested = sorted(&rings);
            assert_eq!(nested.polygons, [vec![0, 2], vec![1, 5], vec![3, 4]]);
            assert_eq!(nested.turned, turn);
        }
    }

    #[test]
    fn a_hole_that_touches_its_outline_is_its_hole() {
        let outer = square(0.0, 0.0, 10.0, true);
        let hole = vec![(-10.0, 0.0), (0.0, -5.0), (0.0, 5.0), (-10.0, 0.0)];
        assert_eq!(sorted(&[outer, hole]).polygons, [vec![0, 1]]);
    }

    #[test]
    fn rings_without_end_are_refused() {
        let rings: Vec<_> = (0..2_000)
            .map(|n| square(0.0, 0.0, 1.0 + f64::from(n), true))
            .collect();
        let rings: Vec<Ring<'_>> = rings.iter().map(|ring| Ring::new(ring)).collect();
        assert!(
            nest_within(&rings, 1_000_000)
                .unwrap_err()
                .contains("split it")
        );
    }
}
