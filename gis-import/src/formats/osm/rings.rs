//! Rings from ways, and areas from rings.
//!
//! # Invariants
//! - Only where the lines run counts: not how they are cut into ways, in which order they stand,
//!   in which direction they go, nor what their roles say. What two ways have in common bounds
//!   nothing and is left out, so parts and holes that touch along a line become one.
//! - A ring passes no position twice. Every ring at even depth is an outer one, every other one a hole of
//!   the smallest ring around it.
//! - The same lines give the same bytes: rings start at their least position, outer ones run
//!   against the clock, holes with it, and all stand in order of their start.
//!
//! Where rings meet, edges that are neighbours by angle are joined, so rings never cross there: first
//! any neighbours, which tells what is inside, then those with the inside between them, so that every
//! polygon is of one piece. Lines that cross elsewhere are not looked for: whoever takes the area
//! checks that it is valid.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::element::At;

/// Most rings of one area.
pub const MAX_RINGS: usize = 20_000;
/// Open ends and ways that a message names.
const NAMED: usize = 3;

/// A way of an area.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) way: i64,
    /// Whether its role says that it bounds a hole.
    pub(super) inner: bool,
    pub(super) points: Vec<At>,
}

/// A ring without its closing position.
pub(super) type Ring = Vec<At>;

/// A polygon: its outer ring, then its holes.
pub(super) type Rings = Vec<Ring>;

/// Why lines are no area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Rings that do not close.
    Open(String),
    /// Nothing is left that encloses anything.
    Nothing,
    /// A hole without a ring around it, of a line whose role says that it bounds one.
    NoOuter(i64),
    /// More rings than the limit.
    TooMany,
}

/// The areas that lines enclose; `whole` where none of them is missing.
pub(super) fn assemble(lines: &[Line], whole: bool) -> Result<Vec<Rings>, Fault> {
    let edges = edges(lines);
    let (first, touching) = joints(&edges, lines, None)?;
    let mut rings = nest(walk(&edges, &first)?);
    if touching {
        let forward = insides(&edges, &rings);
        let (joints, _) = joints(&edges, lines, Some(&forward))?;
        rings = nest(walk(&edges, &joints)?);
    }
    if rings.is_empty() {
        return Err(Fault::Nothing);
    }
    // Without a line that bounds an outer ring, what is at the top is the hole of a ring that is missing.
    let line = |edge: &usize| &lines[edges[*edge].line];
    let hole = |ring: &Known| ring.edges.iter().all(|edge| line(edge).inner);
    let orphan = rings.iter().find(|ring| ring.depth == 0 && hole(ring));
    match orphan.and_then(|ring| ring.edges.first()) {
        Some(edge) if !whole => Err(Fault::NoOuter(line(edge).way)),
        _ => Ok(polygons(rings)),
    }
}

/// A piece of a line between two positions, the lesser first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    ends: [At; 2],
    /// Number of the line.
    line: usize,
}

/// The edges that stand an odd number of times, in order.
fn edges(lines: &[Line]) -> Vec<Edge> {
    let mut all = Vec::new();
    for (line, Line { points, .. }) in lines.iter().enumerate() {
        for pair in points.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            if a != b {
                let ends = [a.min(b), a.max(b)];
                all.push(Edge { ends, line });
            }
        }
    }
    all.sort_unstable();
    let runs = all.chunk_by(|a, b| a.ends == b.ends);
    runs.filter(|run| run.len() % 2 == 1)
        .map(|run| run[0])
        .collect()
}

/// For each end of each edge (twice the edge's number, plus one for its greater end) the end that
/// it is joined with, and whether more than two meet anywhere. `forward` says of each edge whether
/// the inside is to the left on the way to its greater end.
fn joints(
    edges: &[Edge],
    lines: &[Line],
    forward: Option<&[bool]>,
) -> Result<(Vec<usize>, bool), Fault> {
    let mut ends: Vec<(At, usize)> = Vec::with_capacity(edges.len() * 2);
    for (number, edge) in edges.iter().enumerate() {
        ends.push((edge.ends[0], number * 2));
        ends.push((edge.ends[1], number * 2 + 1));
    }
    ends.sort_unstable();
    let mut joints = vec![usize::MAX; ends.len()];
    let (mut open, mut touching) = (Vec::new(), false);
    for meeting in ends.chunk_by_mut(|a, b| a.0 == b.0) {
        if meeting.len() % 2 == 1 {
            open.push((meeting[0].0, lines[edges[meeting[0].1 / 2].line].way));
            continue;
        }
        if meeting.len() > 2 {
            touching = true;
            meeting.sort_by(|a, b| by_angle(toward(edges, *a), toward(edges, *b)));
            // Against the clock from an edge that has the inside to its left lies the inside.
            let inside_after =
                |end: usize, forward: &[bool]| forward[end / 2] == end.is_multiple_of(2);
            if forward.is_some_and(|forward| !inside_after(meeting[0].1, forward)) {
                meeting.rotate_left(1);
            }
        }
        for pair in meeting.chunks(2) {
            let (one, other) = (pair[0].1, pair[1].1);
            joints[one] = other;
            joints[other] = one;
        }
    }
    if open.is_empty() {
        return Ok((joints, touching));
    }
    let named: Vec<String> = open
        .iter()
        .take(NAMED)
        .map(|(at, way)| {
            let [lon, lat] = at.degrees();
            format!("[{lon}, {lat}] of way {way}")
        })
        .collect();
    let more = open.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Err(Fault::Open(format!("{}{more}", named.join(", "))))
}

/// The way from an edge's end to its other one.
fn toward(edges: &[Edge], (at, end): (At, usize)) -> (i64, i64) {
    let other = edges[end / 2].ends[1 - end % 2];
    let difference = |to: i32, from: i32| i64::from(to) - i64::from(from);
    (difference(other.lon, at.lon), difference(other.lat, at.lat))
}

/// Directions against the clock, from east; exact.
fn by_angle(a: (i64, i64), b: (i64, i64)) -> Ordering {
    let below = |(x, y): (i64, i64)| y < 0 || y == 0 && x < 0;
    let cross = i128::from(a.0) * i128::from(b.1) - i128::from(a.1) * i128::from(b.0);
    below(a).cmp(&below(b)).then_with(|| 0.cmp(&cross))
}

/// The positions of a ring, each with the number of the edge that leads on from it.
type Traced = Vec<(At, usize)>;

/// Rings by way of the joints, each split where it comes by the same position again.
fn walk(edges: &[Edge], joints: &[usize]) -> Result<Vec<Traced>, Fault> {
    let mut rings = Vec::new();
    let mut seen = vec![false; edges.len()];
    for start in 0..edges.len() {
        if seen[start] {
            continue;
        }
        let mut trail: Traced = Vec::new();
        let mut places: HashMap<At, usize> = HashMap::new();
        let mut end = start * 2;
        while !seen[end / 2] {
            let edge = edges[end / 2];
            seen[end / 2] = true;
            let at = edge.ends[end % 2];
            if let Some(&place) = places.get(&at) {
                cut(&mut trail, &mut places, place, &mut rings)?;
            }
            places.insert(at, trail.len());
            trail.push((at, end / 2));
            // Over to the edge's other end, and on with the one that it is joined with.
            end = joints[end ^ 1];
        }
        cut(&mut trail, &mut places, 0, &mut rings)?;
    }
    Ok(rings)
}

/// Takes the end of a trail, from a place on, as a ring.
fn cut(
    trail: &mut Traced,
    places: &mut HashMap<At, usize>,
    place: usize,
    rings: &mut Vec<Traced>,
) -> Result<(), Fault> {
    let ring = trail.split_off(place);
    for (at, _) in &ring {
        places.remove(at);
    }
    if rings.len() >= MAX_RINGS {
        return Err(Fault::TooMany);
    }
    rings.push(ring);
    Ok(())
}

/// A ring beside what is asked of it again and again.
struct Known {
    ring: Ring,
    /// The edge that leads on from each position.
    edges: Vec<usize>,
    /// Twice the area, positive against the clock.
    area: i128,
    min: At,
    max: At,
    /// How many rings are around it.
    depth: usize,
    /// The smallest of them.
    parent: Option<usize>,
}

impl Known {
    fn new(traced: Traced) -> Self {
        let (ring, edges): (Ring, Vec<usize>) = traced.into_iter().unzip();
        let of = |pick: fn(&At) -> i32| {
            let values = || ring.iter().map(pick);
            (values().min().unwrap_or(0), values().max().unwrap_or(0))
        };
        let ((west, east), (south, north)) = (of(|at| at.lon), of(|at| at.lat));
        Self {
            edges,
            area: area(&ring),
            min: At {
                lon: west,
                lat: south,
            },
            max: At {
                lon: east,
                lat: north,
            },
            ring,
            depth: 0,
            parent: None,
        }
    }

    /// Whether it bounds its polygon on the outside.
    fn is_outer(&self) -> bool {
        self.depth.is_multiple_of(2)
    }

    fn may_hold(&self, other: &Self) -> bool {
        self.min.lon <= other.min.lon
            && self.min.lat <= other.min.lat
            && self.max.lon >= other.max.lon
            && self.max.lat >= other.max.lat
    }

    /// Whether the other ring, which does not cross this one, lies in it.
    fn holds(&self, other: &Self) -> bool {
        // A middle of an edge is on this ring only where the rings share a stretch, which leaves
        // those of other edges; positions alone may all be shared.
        let middles = sides(&other.ring).map(|(a, b)| {
            let sum = |a: i32, b: i32| i64::from(a) + i64::from(b);
            (sum(a.lon, b.lon), sum(a.lat, b.lat))
        });
        middles
            .map(|middle| side(&self.ring, middle))
            .find(|side| *side != Side::On)
            == Some(Side::Inside)
    }

    /// The ring from its least position on, against the clock or with it.
    fn turned(mut self, against: bool) -> Ring {
        if (self.area > 0) != against {
            self.ring.reverse();
        }
        let least = (0..self.ring.len()).min_by_key(|place| self.ring[*place]);
        self.ring.rotate_left(least.unwrap_or(0));
        self.ring
    }
}

/// The edges of a ring.
fn sides(ring: &[At]) -> impl Iterator<Item = (At, At)> + '_ {
    let next = ring.iter().cycle().skip(1);
    ring.iter().copied().zip(next.copied())
}

fn area(ring: &[At]) -> i128 {
    let wide = |at: At| (i128::from(at.lon), i128::from(at.lat));
    let cross = |(a, b)| {
        let ((ax, ay), (bx, by)) = (wide(a), wide(b));
        ax * by - bx * ay
    };
    sides(ring).map(cross).sum()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Inside,
    Outside,
    On,
}

/// On which side of a ring a position lies that is given in half units; exact.
fn side(ring: &[At], (x, y): (i64, i64)) -> Side {
    let mut inside = false;
    for (a, b) in sides(ring) {
        let (ax, ay) = (i64::from(a.lon) * 2, i64::from(a.lat) * 2);
        let (bx, by) = (i64::from(b.lon) * 2, i64::from(b.lat) * 2);
        if y < ay.min(by) || y > ay.max(by) {
            continue;
        }
        let cross =
            i128::from(bx - ax) * i128::from(y - ay) - i128::from(by - ay) * i128::from(x - ax);
        if cross == 0 && x >= ax.min(bx) && x <= ax.max(bx) {
            return Side::On;
        }
        // A ray to the east crosses the edge where it passes the height, its lower end included.
        if (ay > y) != (by > y) && (cross > 0) == (by > ay) {
            inside = !inside;
        }
    }
    if inside { Side::Inside } else { Side::Outside }
}

/// Rings with the ring around each, the largest first.
fn nest(traced: Vec<Traced>) -> Vec<Known> {
    let mut rings: Vec<Known> = traced.into_iter().map(Known::new).collect();
    // So the last ring before another one that holds it is the smallest that does.
    rings.sort_by(|a, b| {
        let size = |ring: &Known| ring.area.abs();
        size(b).cmp(&size(a)).then_with(|| a.min.cmp(&b.min))
    });
    for number in 0..rings.len() {
        let (before, from) = rings.split_at_mut(number);
        let Some(ring) = from.first_mut() else {
            continue;
        };
        ring.parent = before
            .iter()
            .rposition(|other| other.may_hold(ring) && other.holds(ring));
        ring.depth = ring.parent.map_or(0, |parent| before[parent].depth + 1);
    }
    rings
}

/// Of each edge whether the inside is to the left on the way to its greater end.
fn insides(edges: &[Edge], rings: &[Known]) -> Vec<bool> {
    let mut forward = vec![false; edges.len()];
    for ring in rings {
        let left = (ring.area > 0) == ring.is_outer();
        for (at, edge) in ring.ring.iter().zip(&ring.edges) {
            forward[*edge] = (edges[*edge].ends[0] == *at) == left;
        }
    }
    forward
}

/// Outer rings with their holes.
fn polygons(rings: Vec<Known>) -> Vec<Rings> {
    let mut polygons: Vec<(usize, Rings)> = Vec::new();
    let mut holes: Vec<(usize, Ring)> = Vec::new();
    for (number, ring) in rings.into_iter().enumerate() {
        match ring.parent {
            Some(parent) if !ring.is_outer() => holes.push((parent, ring.turned(false))),
            _ => polygons.push((number, vec![ring.turned(true)])),
        }
    }
    holes.sort_by(|a, b| a.1.cmp(&b.1));
    for (parent, hole) in holes {
        // Polygons stand in order of their numbers, and what is around a hole is an outer ring.
        if let Ok(place) = polygons.binary_search_by_key(&parent, |(number, _)| *number) {
            polygons[place].1.push(hole);
        }
    }
    let mut areas: Vec<Rings> = polygons.into_iter().map(|(_, rings)| rings).collect();
    areas.sort();
    areas
}
