//! Valid polygons from rings that rounding and clipping left in any state.
//!
//! # Invariants
//! - What comes out is valid as OGC Simple Features has it and as Mapbox Vector Tile 2.1 (4.3.4.4)
//!   asks: rings are simple, outer ones have a positive area by the surveyor's formula in units
//!   (y runs south, so they are drawn clockwise), holes a negative one and lie in their outer ring,
//!   which they touch in single points at most; insides are connected and do not overlap.
//! - It covers what the rings that came in cover by the even-odd rule, but for less than two units
//!   around edges that crossed where no vertex can be.
//! - Everything is decided in whole numbers, so it is exact and the same everywhere.
//!
//! Nearly all rings are sound as they are, and only that is looked at. The others are taken apart
//! into edges, which are split where they meet until they meet at their ends only; edges that stand
//! there twice divide nothing and go; and the faces that are left inside are walked around.

use std::collections::HashMap;
use std::ops::ControlFlow;

/// A position in units.
pub(crate) type At = [i32; 2];
/// A closed way that does not repeat its first position.
pub(crate) type Ring = Vec<At>;
/// An outer ring and its holes.
pub(crate) type Polygon = Vec<Ring>;

type Edge = (At, At);
/// Whether there is time left.
type GoOn<'c> = &'c dyn Fn() -> bool;

/// Splitting moves edges by half a unit, and so may make others meet. A few rounds settle what real
/// shapes come to; what has not settled then is given up.
const ROUNDS: usize = 32;
/// Below so many edges every pair is looked at.
const FEW: usize = 16;

/// The polygons of an area's rings; `None` if they cannot be told.
pub(crate) fn polygons(rings: Vec<Ring>) -> Option<Vec<Polygon>> {
    polygons_while(rings, &|| true)
}

/// Like [`polygons`]; `go_on` is asked again and again, and once it says no, the answer is `None`.
pub(crate) fn polygons_while(rings: Vec<Ring>, go_on: GoOn<'_>) -> Option<Vec<Polygon>> {
    let mut rings = rings;
    rings.retain_mut(tidy);
    if rings.is_empty() {
        return Some(Vec::new());
    }
    if let [ring] = &mut rings[..]
        && ring.len() <= FEW
    {
        // What nearly every building is.
        if is_convex(ring) || is_simple(ring) {
            if area(ring) < 0 {
                ring.reverse();
            }
            return Some(vec![rings]);
        }
    } else if is_sound(&rings, go_on) {
        return nested(rings, go_on);
    }
    let edges = noded(rings.iter().flat_map(|ring| around(ring)).collect(), go_on)?;
    let mut polygons = nested(loops(&edges, go_on)?, go_on)?;
    for polygon in &mut polygons {
        polygon.retain_mut(tidy);
    }
    Some(polygons)
}

/// Whether rings are a valid polygon as they are: an outer ring, then its holes. Vertices on a straight way do no
/// harm.
pub(crate) fn is_polygon(rings: &[Ring]) -> bool {
    if rings.iter().any(|ring| turns_back(ring)) {
        return false;
    }
    let mut tidied = rings.to_vec();
    tidied.retain_mut(tidy);
    let Some(outer) = tidied.first() else {
        return false;
    };
    let outer = area(outer).abs();
    tidied.len() == rings.len()
        && tidied.iter().skip(1).all(|hole| area(hole).abs() < outer)
        && is_sound(&tidied, &|| true)
        && nested(tidied, &|| true).is_some_and(|polygons| polygons.len() == 1)
}

/// Whether a ring stands still or goes back on itself anywhere.
fn turns_back(ring: &[At]) -> bool {
    let after = around(ring).skip(1).chain(around(ring).take(1));
    around(ring).zip(after).any(|((a, b), (_, c))| {
        let way = |axis: usize| {
            (i64::from(b[axis]) - i64::from(a[axis])) * (i64::from(c[axis]) - i64::from(b[axis]))
        };
        side(a, b, c) == 0 && way(0) + way(1) <= 0
    })
}

/// The edges of a ring.
fn around(ring: &[At]) -> impl Iterator<Item = Edge> + '_ {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(a, b)| (*a, *b))
}

/// Twice the area of the triangle; positive where `c` is left of the way from `a` to `b`, y up.
fn side(a: At, b: At, c: At) -> i64 {
    let [ax, ay] = a.map(i64::from);
    let [bx, by] = b.map(i64::from);
    let [cx, cy] = c.map(i64::from);
    (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
}

/// Twice the area by the surveyor's formula.
pub(crate) fn area(ring: &[At]) -> i64 {
    let terms = around(ring)
        .map(|(a, b)| i64::from(a[0]) * i64::from(b[1]) - i64::from(b[0]) * i64::from(a[1]));
    terms.sum()
}

/// Takes out vertices that change nothing: repeated ones, those on a straight way, and the tips of
/// spikes. Answers whether a ring is left.
fn tidy(ring: &mut Ring) -> bool {
    let straight = |a, b, c| side(a, b, c) == 0;
    let mut kept = 0;
    for place in 0..ring.len() {
        let at = ring[place];
        while kept > 1 && straight(ring[kept - 2], ring[kept - 1], at) {
            kept -= 1;
        }
        if kept == 0 || ring[kept - 1] != at {
            ring[kept] = at;
            kept += 1;
        }
    }
    ring.truncate(kept);
    // The same over the seam.
    let mut first = 0;
    while let [a, b, .., y, z] = ring[first..] {
        if straight(y, z, a) {
            ring.pop();
        } else if straight(z, a, b) {
            first += 1;
        } else {
            break;
        }
    }
    ring.drain(..first);
    match ring[..] {
        [a, b, c] => !straight(a, b, c),
        _ => ring.len() > 3,
    }
}

/// Whether a tidied ring turns one way only and goes around once, so that it is simple.
fn is_convex(ring: &[At]) -> bool {
    let [.., y, z] = *ring else {
        return false;
    };
    let (mut a, mut b) = (y, z);
    let (mut eastward, mut reversals) = (b[0] > a[0], 0);
    let mut left = None;
    for &c in ring {
        let turn = side(a, b, c) > 0;
        if *left.get_or_insert(turn) != turn {
            return false;
        }
        if c[0] != b[0] {
            reversals += u32::from(eastward != (c[0] > b[0]));
            eastward = c[0] > b[0];
        }
        (a, b) = (b, c);
    }
    reversals <= 2
}

/// Whether a tidied ring of few vertices is simple.
fn is_simple(ring: &[At]) -> bool {
    let count = ring.len();
    let edge = |i: usize| (ring[i], ring[if i + 1 == count { 0 } else { i + 1 }]);
    (0..count).all(|one| {
        // Neighbours meet in their common end; tidied, they have no other point in common.
        let last = if one == 0 { count - 1 } else { count };
        (one + 2..last).all(|other| {
            let (first, second) = (edge(one), edge(other));
            !boxes_meet(first, second) || !have_common_point(first, second)
        })
    })
}

fn boxes_meet((a, b): Edge, (c, d): Edge) -> bool {
    let meet = |axis: usize| {
        a[axis].min(b[axis]) <= c[axis].max(d[axis]) && c[axis].min(d[axis]) <= a[axis].max(b[axis])
    };
    meet(0) && meet(1)
}

/// Whether tidied rings are simple and have no point in common; not where there was no time to tell.
fn is_sound(rings: &[Ring], go_on: GoOn<'_>) -> bool {
    let edges: Vec<Edge> = rings.iter().flat_map(|ring| around(ring)).collect();
    let mut first = 0;
    // Where the ring of each edge begins, and how long it is.
    let mut ring_of = Vec::with_capacity(edges.len());
    for ring in rings {
        ring_of.extend(std::iter::repeat_n((first, ring.len()), ring.len()));
        first += ring.len();
    }
    let flow = each_near(&edges, go_on, &mut |one, other| {
        let (first, len) = ring_of[one];
        let gap = one.abs_diff(other);
        // Neighbours meet in their common end; tidied, they have no other point in common.
        let neighbours = ring_of[other].0 == first && (gap == 1 || gap == len - 1);
        if !neighbours && have_common_point(edges[one], edges[other]) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    flow.is_continue()
}

/// Calls `f` for every pair of edges whose boxes meet, until it or the time breaks.
fn each_near(
    edges: &[Edge],
    go_on: GoOn<'_>,
    f: &mut impl FnMut(usize, usize) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let span = |edge: &Edge, axis: usize| {
        let (a, b) = (edge.0[axis], edge.1[axis]);
        (a.min(b), a.max(b))
    };
    let apart = |one: (i32, i32), other: (i32, i32)| one.1 < other.0 || other.1 < one.0;
    if edges.len() <= FEW {
        for one in 0..edges.len() {
            for other in one + 1..edges.len() {
                let near = |axis| !apart(span(&edges[one], axis), span(&edges[other], axis));
                if near(0) && near(1) {
                    f(one, other)?;
                }
            }
        }
        return ControlFlow::Continue(());
    }
    let mut order: Vec<((i32, i32), usize)> =
        edges.iter().map(|edge| span(edge, 0)).zip(0..).collect();
    order.sort_unstable();
    for (place, &((_, right), one)) in order.iter().enumerate() {
        if !go_on() {
            return ControlFlow::Break(());
        }
        let height = span(&edges[one], 1);
        let nearby = order[place + 1..].iter();
        for &(_, other) in nearby.take_while(|((left, _), _)| *left <= right) {
            if !apart(height, span(&edges[other], 1)) {
                f(one, other)?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Whether edges whose boxes meet have a point in common.
fn have_common_point((a, b): Edge, (c, d): Edge) -> bool {
    let same = |one: i64, other: i64| one.signum() * other.signum() > 0;
    !same(side(a, b, c), side(a, b, d)) && !same(side(c, d, a), side(c, d, b))
}

/// Edges that meet at their ends only and divide the same, each once from its lesser end; `None` if
/// they do not settle.
fn noded(edges: Vec<Edge>, go_on: GoOn<'_>) -> Option<Vec<Edge>> {
    let mut edges = odd(edges);
    for _ in 0..ROUNDS {
        let mut cuts: Vec<(usize, At)> = Vec::new();
        let all = each_near(&edges, go_on, &mut |one, other| {
            meet((one, edges[one]), (other, edges[other]), &mut cuts);
            ControlFlow::Continue(())
        });
        if all.is_break() {
            return None;
        }
        if cuts.is_empty() {
            return Some(edges);
        }
        let along = |(edge, at): &(usize, At)| {
            let (a, b) = edges[*edge];
            let way = |axis: usize| {
                (i64::from(at[axis]) - i64::from(a[axis]))
                    * (i64::from(b[axis]) - i64::from(a[axis]))
            };
            (*edge, way(0) + way(1), *at)
        };
        cuts.sort_unstable_by_key(along);
        cuts.dedup();
        let mut cuts = cuts.into_iter().peekable();
        let mut parts = Vec::with_capacity(edges.len() * 2);
        for (number, (a, b)) in edges.iter().enumerate() {
            let mut from = *a;
            while let Some((_, at)) = cuts.next_if(|(edge, _)| *edge == number) {
                parts.push((from, at));
                from = at;
            }
            parts.push((from, *b));
        }
        edges = odd(parts);
    }
    None
}

/// Edges that stand there an odd number of times, once each from the lesser end, sorted.
fn odd(mut edges: Vec<Edge>) -> Vec<Edge> {
    edges.retain(|(a, b)| a != b);
    for edge in &mut edges {
        *edge = (edge.0.min(edge.1), edge.0.max(edge.1));
    }
    edges.sort_unstable();
    let runs = edges.chunk_by(|one, other| one == other);
    let odd = runs.filter(|run| run.len() % 2 == 1);
    odd.map(|run| run[0]).collect()
}

/// Where two edges have to be split.
fn meet((one, (a, b)): (usize, Edge), (other, (c, d)): (usize, Edge), cuts: &mut Vec<(usize, At)>) {
    let (at_c, at_d) = (side(a, b, c), side(a, b, d));
    let (at_a, at_b) = (side(c, d, a), side(c, d, b));
    let within = |at: At, (a, b): Edge| {
        let between =
            |axis: usize| a[axis].min(b[axis]) <= at[axis] && at[axis] <= a[axis].max(b[axis]);
        at != a && at != b && between(0) && between(1)
    };
    for (on, at, edge, number) in [
        (at_c, c, (a, b), one),
        (at_d, d, (a, b), one),
        (at_a, a, (c, d), other),
        (at_b, b, (c, d), other),
    ] {
        if on == 0 && within(at, edge) {
            cuts.push((number, at));
        }
    }
    let crosses = |one: i64, other: i64| one.signum() * other.signum() < 0;
    if crosses(at_c, at_d) && crosses(at_a, at_b) {
        let share = at_a as f64 / (at_a - at_b) as f64;
        let met = [0, 1].map(|axis| {
            let way = f64::from(b[axis]) - f64::from(a[axis]);
            (f64::from(a[axis]) + share * way).round() as i32
        });
        for (number, (from, to)) in [(one, (a, b)), (other, (c, d))] {
            if met != from && met != to {
                cuts.push((number, met));
            }
        }
    }
}

/// The simple ways around the faces that are inside, by the even-odd rule, with the inside to
/// their left, y up. Edges meet at their ends only.
fn loops(edges: &[Edge], go_on: GoOn<'_>) -> Option<Vec<Ring>> {
    // Half-edge 2k is edge k from its lesser end, 2k + 1 the way back.
    let ends = |half: usize| {
        let (a, b) = edges[half / 2];
        if half.is_multiple_of(2) {
            (a, b)
        } else {
            (b, a)
        }
    };
    let turn = |half: &usize| {
        let (from, to) = ends(*half);
        (
            i64::from(to[0]) - i64::from(from[0]),
            i64::from(to[1]) - i64::from(from[1]),
        )
    };
    let is_lower = |(x, y): (i64, i64)| y < 0 || (y == 0 && x < 0);
    // All ways out of a vertex stand together, in their order to the left.
    let mut out: Vec<usize> = (0..edges.len() * 2).collect();
    out.sort_unstable_by(|one, other| {
        let (first, second) = (turn(one), turn(other));
        let by_angle = is_lower(first).cmp(&is_lower(second)).then_with(|| {
            let cross = first.0 * second.1 - first.1 * second.0;
            0.cmp(&cross)
        });
        ends(*one).0.cmp(&ends(*other).0).then(by_angle)
    });
    let mut place = vec![0; out.len()];
    for (i, half) in out.iter().enumerate() {
        place[*half] = i;
    }
    // Around a face to the left, the next way is the first one to the right of the way back.
    let next = |half: usize| {
        let back = half ^ 1;
        let at = place[back];
        let same = |i: usize| ends(out[i]).0 == ends(back).0;
        if let Some(before) = at.checked_sub(1).filter(|i| same(*i)) {
            return out[before];
        }
        let rest = out[at..].iter();
        let rest = rest.take_while(|half| ends(**half).0 == ends(back).0);
        rest.last().copied().unwrap_or(back)
    };
    let beside = [0, 1].map(|axis| Spans::new(edges.iter().map(|(a, b)| [a[axis], b[axis]])));
    let mut seen = vec![false; out.len()];
    let mut rings = Vec::new();
    for start in 0..out.len() {
        if seen[start] {
            continue;
        }
        if !go_on() {
            return None;
        }
        let mut way = Vec::new();
        let mut half = start;
        while !seen[half] {
            seen[half] = true;
            way.push(ends(half).0);
            half = next(half);
        }
        if has_inside_left(edges, &beside, start / 2, ends(start)) {
            split(&way, &mut rings);
        }
    }
    Some(rings)
}

/// Spans of whole numbers, found by a number in them.
struct Spans {
    least: i32,
    /// Binary logarithm of how many numbers a bucket is wide.
    width: u32,
    /// The spans that reach into each bucket.
    buckets: Vec<Vec<u32>>,
}

impl Spans {
    fn new(spans: impl Iterator<Item = [i32; 2]>) -> Self {
        let spans: Vec<[i32; 2]> = spans.map(|[a, b]| [a.min(b), a.max(b)]).collect();
        let least = spans.iter().map(|span| span[0]).min().unwrap_or(0);
        let greatest = spans.iter().map(|span| span[1]).max().unwrap_or(0);
        let bucket = |at: i32, width: u32| (at.abs_diff(least) >> width) as usize;
        // As many buckets as there are spans, or fewer, so that a span is in four of them on average at most.
        let mut width = 0;
        let most = spans.len().max(1);
        while width < 31
            && (bucket(greatest, width) >= most || {
                let ends = |[a, b]: &[i32; 2]| bucket(*b, width) - bucket(*a, width) + 1;
                spans.iter().map(ends).sum::<usize>() > most * 4
            })
        {
            width += 1;
        }
        let mut buckets = vec![Vec::new(); bucket(greatest, width) + 1];
        for (number, [a, b]) in (0..).zip(&spans) {
            for bucket in &mut buckets[bucket(*a, width)..=bucket(*b, width)] {
                bucket.push(number);
            }
        }
        Self {
            least,
            width,
            buckets,
        }
    }

    /// The spans that a number may lie in.
    fn around(&self, at: i32) -> impl Iterator<Item = usize> + '_ {
        let place = at.checked_sub(self.least).filter(|place| *place >= 0);
        let bucket = place.and_then(|place| self.buckets.get((place >> self.width) as usize));
        bucket.into_iter().flatten().map(|number| *number as usize)
    }
}

/// Whether what is just left of a half-edge is inside: a ray from its middle counts the others.
fn has_inside_left(edges: &[Edge], beside: &[Spans; 2], own: usize, (from, to): Edge) -> bool {
    // Of twice the size, a middle is a whole number. The ray runs east, from a level edge south.
    let level = from[1] == to[1];
    let axis = usize::from(!level);
    let middle = [from[0] + to[0], from[1] + to[1]];
    let others = beside[axis].around(middle[axis].div_euclid(2));
    let crossed = others.filter(|number| *number != own).filter(|number| {
        let (a, b) = edges[*number];
        let (a, b) = if a[axis] < b[axis] { (a, b) } else { (b, a) };
        let (a, b) = (a.map(|v| 2 * v), b.map(|v| 2 * v));
        if middle[axis] < a[axis] || middle[axis] >= b[axis] {
            return false;
        }
        let turn = side(a, b, middle);
        if level { turn < 0 } else { turn > 0 }
    });
    let beyond = crossed.count() % 2 == 1;
    let left_is_beyond = if level {
        to[0] > from[0]
    } else {
        to[1] < from[1]
    };
    beyond == left_is_beyond
}

/// Splits a closed way where it comes to a vertex again.
fn split(way: &[At], rings: &mut Vec<Ring>) {
    let mut path: Ring = Vec::new();
    let mut place: HashMap<At, usize> = HashMap::new();
    for &at in way {
        if let Some(&before) = place.get(&at) {
            let ring = path.split_off(before);
            for at in &ring {
                place.remove(at);
            }
            rings.push(ring);
        }
        place.insert(at, path.len());
        path.push(at);
    }
    rings.push(path);
}

/// Outer rings with their holes, of simple rings that have single vertices in common at most.
fn nested(rings: Vec<Ring>, go_on: GoOn<'_>) -> Option<Vec<Polygon>> {
    let areas: Vec<i64> = rings.iter().map(|ring| area(ring).abs()).collect();
    let extents: Vec<[[i32; 2]; 2]> = rings
        .iter()
        .map(|ring| [0, 1].map(|axis| extent(ring, axis)))
        .collect();
    let high = Spans::new(extents.iter().map(|extent| extent[1]));
    let parent = |number: usize| {
        let (a, b) = (rings[number][0], rings[number][1]);
        let middle = [a[0] + b[0], a[1] + b[1]];
        let [x, y] = middle.map(|at| at.div_euclid(2));
        let around = high.around(y).filter(|other| {
            let [west, east] = extents[*other][0];
            *other != number
                && areas[*other] > areas[number]
                && (west..=east).contains(&x)
                && is_in(middle, &rings[*other])
        });
        let around: Vec<usize> = around.collect();
        // Within an odd number of others is a hole, of the smallest of them.
        let hole = around.len() % 2 == 1;
        let smallest = around.into_iter().min_by_key(|other| areas[*other]);
        smallest.filter(|_| hole)
    };
    let mut parents = vec![None; rings.len()];
    if rings.len() > 1 {
        for (number, of) in parents.iter_mut().enumerate() {
            if !go_on() {
                return None;
            }
            *of = parent(number);
        }
    }
    let turned = |ring: Ring, positive: bool| {
        let mut ring = ring;
        if (area(&ring) > 0) != positive {
            ring.reverse();
        }
        ring
    };
    let mut place = vec![0; rings.len()];
    let mut polygons: Vec<Polygon> = Vec::new();
    let mut holes = Vec::new();
    for (number, (ring, parent)) in rings.into_iter().zip(parents).enumerate() {
        if let Some(parent) = parent {
            holes.push((parent, turned(ring, false)));
        } else {
            place[number] = polygons.len();
            polygons.push(vec![turned(ring, true)]);
        }
    }
    for (parent, hole) in holes {
        polygons[place[parent]].push(hole);
    }
    Some(polygons)
}

/// The least and the greatest of a ring along an axis.
fn extent(ring: &[At], axis: usize) -> [i32; 2] {
    ring.iter()
        .fold([i32::MAX, i32::MIN], |[least, greatest], at| {
            [least.min(at[axis]), greatest.max(at[axis])]
        })
}

/// Whether a position, given twice as large, is in a ring; it is not on it.
fn is_in(twice: At, ring: &[At]) -> bool {
    let mut inside = false;
    for (a, b) in around(ring) {
        let (a, b) = if a[1] < b[1] { (a, b) } else { (b, a) };
        if twice[1] < 2 * a[1] || twice[1] >= 2 * b[1] {
            continue;
        }
        inside ^= side(a.map(|v| 2 * v), b.map(|v| 2 * v), twice) > 0;
    }
    inside
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_convex_is_simple(ring in prop::collection::vec((0..6_i32, 0..6_i32), 3..9)) {
            let mut ring: Ring = ring.into_iter().map(|(x, y)| [x, y]).collect();
            prop_assume!(tidy(&mut ring));
            prop_assert!(!is_convex(&ring) || is_simple(&ring), "{:?}", ring);
        }

        #[test]
        fn what_lies_on_a_circle_is_convex(
            angles in prop::collection::btree_set(0..360_i32, 3..12), backward: bool,
        ) {
            let at = |angle: &i32| {
                let (sin, cos) = f64::from(*angle).to_radians().sin_cos();
                [(cos * 1e6).round() as i32, (sin * 1e6).round() as i32]
            };
            let mut ring: Ring = angles.iter().map(at).collect();
            if backward {
                ring.reverse();
            }
            prop_assert!(tidy(&mut ring) && is_convex(&ring), "{:?}", ring);
        }
    }
}
