//! Finds the shapes that lie in a region, hold a point, or are nearest to one.
//!
//! # Invariants
//! - A point has one entry in `points`; any other shape one in `shapes` for each cell of its cover.
//!   Entries of one resolution that descend from one cell are one range.
//! - `counts[r]` is the number of entries of shapes at resolution `r`.
//! - Searches return exactly what a test of every shape would, sorted.
//! - A clone shares all entries and is not affected by later changes of the original.

use super::cells::{
    FINEST, ball, boxes, cell_at, centre, cover, descendants, home, home_radians, reach,
};
use super::locate::{Overlap, overlap};
use super::metric::{R_MIN, SLACK, Spot, arc, gap, geodesic};
use super::near::surely_within;
use super::point::{Bounds, Point};
use super::points::{Branch, Look, PointPage, Points, Under};
use super::region::{Kind, Region, Relation, is_near};
use super::shape::Shape;
use h3o::{CellIndex, Resolution};
use imbl::OrdSet;
use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt::Debug;
use std::ops::{ControlFlow, Deref};

/// A search stops dividing cells with so few entries: testing them is cheaper.
const FEW: usize = 24;
/// A search divides cells down to this part of the region.
const GRAIN: f64 = 0.35;

/// What shapes are known by: small numbers, as rows of a table have.
pub trait Key: Copy + Ord + Debug {
    /// The number.
    fn number(self) -> usize;
}

impl Key for u32 {
    fn number(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
impl Key for usize {
    fn number(self) -> usize {
        self
    }
}

/// A key under a cell. `None` sorts before every key, so a cell alone is where its range starts.
type Entry<K> = (u64, Option<K>);

/// A persistent index of shapes: points in pages, all else by H3 cell.
#[derive(Clone, Debug)]
pub struct SpaceIndex<K: Key> {
    points: Points<K>,
    shapes: OrdSet<Entry<K>>,
    counts: [usize; 16],
    /// Shapes that are no points.
    covered: usize,
}

impl<K: Key> Default for SpaceIndex<K> {
    fn default() -> Self {
        Self {
            points: Points::default(),
            shapes: OrdSet::new(),
            counts: [0; 16],
            covered: 0,
        }
    }
}

impl<K: Key> SpaceIndex<K> {
    /// An index of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many shapes are in the index.
    pub fn len(&self) -> usize {
        self.points.len() + self.covered
    }

    /// Whether nothing is in the index.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many cells the index holds entries for, by resolution; points apart.
    pub fn cover_sizes(&self) -> [usize; 16] {
        self.counts
    }

    /// The cell of a point at the finest resolution.
    pub fn cell_of(p: Point) -> CellIndex {
        cell_at(p, FINEST)
    }

    /// Adds a shape under a key. Adding what is there changes nothing.
    pub fn insert(&mut self, key: K, shape: &Shape) {
        if let Some(p) = shape.is_point() {
            self.points.insert(key, p);
            return;
        }
        let mut added = false;
        for cell in cover(shape) {
            if self.shapes.insert((cell.into(), Some(key))).is_none() {
                self.counts[usize::from(u8::from(cell.resolution()))] += 1;
                added = true;
            }
        }
        self.covered += usize::from(added);
    }

    /// Takes out a shape; it must be the one that was inserted under the key. Taking out what is
    /// not there changes nothing.
    pub fn remove(&mut self, key: K, shape: &Shape) {
        if let Some(p) = shape.is_point() {
            self.points.remove(key, p);
            return;
        }
        let mut gone = false;
        for cell in cover(shape) {
            if self.shapes.remove(&(cell.into(), Some(key))).is_some() {
                self.counts[usize::from(u8::from(cell.resolution()))] -= 1;
                gone = true;
            }
        }
        self.covered -= usize::from(gone);
    }

    /// The keys of all shapes that lie so to the region, sorted.
    pub fn search<S: Deref<Target = Shape>>(
        &self,
        region: &Region,
        relation: Relation,
        shape_of: impl Fn(K) -> S,
    ) -> Vec<K> {
        self.search_while(region, relation, shape_of, || true)
    }

    /// Like [`SpaceIndex::search`]; `go_on` is asked before every test that takes long, and once it
    /// says no, the search ends with what it has.
    pub fn search_while<S: Deref<Target = Shape>>(
        &self,
        region: &Region,
        relation: Relation,
        shape_of: impl Fn(K) -> S,
        go_on: impl Fn() -> bool,
    ) -> Vec<K> {
        let mut keys = Vec::new();
        self.search_points(region, &go_on, &mut keys);
        if self.covered > 0 {
            let mut maybe = Vec::new();
            let resolutions: Vec<Resolution> = self.resolutions().collect();
            self.collect(region, Of::all(&resolutions), &mut maybe);
            maybe = once(maybe);
            keys.extend(
                maybe
                    .into_iter()
                    .take_while(|_| go_on())
                    .filter(|&key| region.matches(&shape_of(key), relation)),
            );
        }
        keys.sort_unstable();
        keys
    }

    /// The keys of all points in the region; exact, as a point that meets a region is within it.
    fn search_points(&self, region: &Region, go_on: &impl Fn() -> bool, keys: &mut Vec<K>) {
        match &region.kind {
            Kind::Box(bounds) => self.points.search(
                &|extent| {
                    if !bounds.overlaps(&extent.bounds) {
                        Overlap::Out
                    } else if bounds.covers(&extent.bounds) {
                        Overlap::In
                    } else {
                        Overlap::Cut
                    }
                },
                &|point, _| bounds.contains(point),
                keys,
            ),
            Kind::Area(area) => self.points.search(
                &|extent| overlap(area, &extent.bounds),
                &|point, _| go_on() && area.contains(point),
                keys,
            ),
            Kind::Radius {
                centre: from,
                metres,
            } => {
                // No geodesic is shorter than its chord, and up to a chord each is surely short
                // enough; between the two, which is a millimetre at 10 km, the geodesic decides.
                let (surely, at_most) = (surely_within(*metres), metres + SLACK);
                self.points.search(
                    &|extent| {
                        if extent.least_chord(from) > at_most {
                            Overlap::Out
                        } else if extent.greatest_chord(from) <= surely {
                            Overlap::In
                        } else {
                            Overlap::Cut
                        }
                    },
                    &|point, place| {
                        let chord = gap(from.place, place);
                        chord <= surely
                            || chord <= at_most && is_near(&Spot::new(point), from, *metres)
                    },
                    keys,
                );
            }
            Kind::Cells(cells) => {
                for &cell in &cells.members {
                    let resolution = cell.resolution();
                    let (one, other) = boxes(&centre(cell), reach(resolution));
                    let meets = |bounds: &Bounds| {
                        one.overlaps(bounds) || other.is_some_and(|other| other.overlaps(bounds))
                    };
                    self.points.search(
                        &|extent| {
                            if meets(&extent.bounds) {
                                Overlap::Cut
                            } else {
                                Overlap::Out
                            }
                        },
                        &|point, _| go_on() && cell_at(point, resolution) == cell,
                        keys,
                    );
                }
            }
        }
    }

    /// Walks over the points, and no other shapes, in an order that keeps neighbours together.
    /// `look` says how to go on with all that lie in a box, `take` is given those that are left,
    /// page by page until it breaks; both are handed the state of the walk.
    pub fn walk_points<W>(
        &self,
        state: &mut W,
        look: &impl Fn(&mut W, &Bounds) -> Look,
        take: &impl Fn(&mut W, PointPage<'_, K>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.points.walk(state, look, take)
    }

    /// How many points are in the index.
    pub fn points(&self) -> usize {
        self.points.len()
    }

    /// The least box that holds all points.
    pub fn bounds_of_points(&self) -> Option<Bounds> {
        self.points.bounds()
    }

    /// The keys of shapes, points apart, that may have a point in the box, sorted, as far as their
    /// covers are no finer than a resolution, and whether these are all. It takes one resolution
    /// of covers after another, which is largest shapes first, each wholly; the first by which
    /// there would be more than `most` is left out with all that are finer.
    ///
    /// A shape whose covers are finer than a resolution has no connected part wider than
    /// [`widest_below`](super::widest_below) it.
    pub fn shapes_near(&self, bounds: &Bounds, finest: Resolution, most: usize) -> (Vec<K>, bool) {
        /// More cells than nearly any cover has.
        const CELLS: usize = 32;
        let region = Region {
            kind: Kind::Box(*bounds),
        };
        let mut keys = Vec::new();
        for resolution in self.resolutions().filter(|r| *r <= finest) {
            let mut more = Vec::new();
            let limit = (most - keys.len()).saturating_mul(CELLS);
            let of = Of {
                resolutions: &[resolution],
                limit,
            };
            self.collect(&region, of, &mut more);
            if more.len() >= limit {
                return (keys, false);
            }
            // A shape has covers of one resolution only.
            more = once(more);
            if keys.len() + more.len() > most {
                return (keys, false);
            }
            keys.append(&mut more);
        }
        keys.sort_unstable();
        (keys, true)
    }

    /// The keys of all shapes that hold the point, their boundaries included, sorted.
    pub fn containing<S: Deref<Target = Shape>>(
        &self,
        p: Point,
        shape_of: impl Fn(K) -> S,
    ) -> Vec<K> {
        self.containing_while(p, shape_of, || true)
    }

    /// Like [`SpaceIndex::containing`]; `go_on` is asked before every test of a shape, and once it
    /// says no, the search ends with what it has.
    pub fn containing_while<S: Deref<Target = Shape>>(
        &self,
        p: Point,
        shape_of: impl Fn(K) -> S,
        go_on: impl Fn() -> bool,
    ) -> Vec<K> {
        let mut keys = Vec::new();
        self.points.search(
            &|extent| {
                if extent.bounds.contains(p) {
                    Overlap::Cut
                } else {
                    Overlap::Out
                }
            },
            &|point, _| point == p,
            &mut keys,
        );
        if self.covered > 0 {
            let mut maybe = Vec::new();
            let cell = cell_at(p, FINEST);
            for resolution in self.resolutions() {
                if let Some(cell) = cell.parent(resolution) {
                    maybe.extend(range(&self.shapes, (cell.into(), cell.into())));
                }
            }
            maybe = once(maybe);
            maybe.retain(|&key| go_on() && shape_of(key).contains(p));
            keys.append(&mut maybe);
        }
        keys.sort_unstable();
        keys
    }

    /// The `k` nearest shapes that `accept` takes, and all that are as far as the last of them,
    /// with their geodesic metres, sorted by metres and then key; fewer where there are fewer.
    /// `accept` may be asked about a key again.
    pub fn nearest<S: Deref<Target = Shape>>(
        &self,
        p: Point,
        k: usize,
        mut accept: impl FnMut(K) -> bool,
        shape_of: impl Fn(K) -> S,
    ) -> Vec<(K, f64)> {
        if k == 0 {
            return Vec::new();
        }
        let from = Spot::new(p);
        let mut queue = BinaryHeap::new();
        if let Some(root) = self.points.root() {
            queue.push(wait_under(root, &from));
        }
        let points = self.take_nearest(&from, k, f64::INFINITY, queue, &mut accept, &shape_of);
        if self.covered == 0 {
            return points;
        }
        if let Some((_, metres)) = points.get(k - 1) {
            // Nothing farther than the points counts, and what is nearer is owned around here.
            let roots = home(&from, metres / R_MIN + 1e-12);
            let limit = *metres;
            return self.nearest_under(&from, k, limit, &roots, &points, &mut accept, &shape_of);
        }
        let mut start = self.crowded(p, k);
        loop {
            // All that a cell and its neighbours do not own is farther than this.
            let limit = start.map_or(f64::INFINITY, |r| R_MIN * home_radians(r));
            let roots: Vec<CellIndex> = match start {
                Some(resolution) => home(&from, home_radians(resolution)),
                None => CellIndex::base_cells().collect(),
            };
            let found =
                self.nearest_under(&from, k, limit, &roots, &points, &mut accept, &shape_of);
            if found.len() >= k || start.is_none() {
                return found;
            }
            start = start.and_then(|r| Resolution::try_from(u8::from(r).saturating_sub(3)).ok());
            start = start.filter(|&r| r > Resolution::Zero);
        }
    }

    /// The finest resolution, of every second, at which the cell of the point owns `k` entries.
    fn crowded(&self, p: Point, k: usize) -> Option<Resolution> {
        let finest = cell_at(p, FINEST);
        let holds = |cell: CellIndex| {
            let mut left = k;
            for r in self.resolutions().filter(|&r| r >= cell.resolution()) {
                left -= range(&self.shapes, descendants(cell, r)).take(left).count();
            }
            left == 0
        };
        (1..=11_u8)
            .rev()
            .step_by(2)
            .filter_map(|r| Resolution::try_from(r).ok())
            .find(|&r| finest.parent(r).is_some_and(holds))
    }

    /// The nearest of some points and of the shapes under some cells, as far as `limit` metres.
    #[expect(clippy::too_many_arguments, reason = "one search, in two parts")]
    fn nearest_under<S: Deref<Target = Shape>>(
        &self,
        from: &Spot,
        k: usize,
        limit: f64,
        roots: &[CellIndex],
        points: &[(K, f64)],
        accept: &mut impl FnMut(K) -> bool,
        shape_of: &impl Fn(K) -> S,
    ) -> Vec<(K, f64)> {
        let mut queue: BinaryHeap<Waiting<'_, K>> = points
            .iter()
            .map(|&(key, least)| Waiting {
                least,
                what: What::Known(key),
            })
            .collect();
        let mut above = Vec::new();
        let resolutions: Vec<Resolution> = self.resolutions().collect();
        self.collect_above(roots, &resolutions, &mut above);
        for key in above {
            queue.push(Waiting {
                least: 0.0,
                what: What::Unseen(key),
            });
        }
        for resolution in self.resolutions() {
            let roots = roots
                .iter()
                .copied()
                .filter(|cell| cell.resolution() <= resolution);
            push_cells(&mut queue, &self.shapes, from, roots, resolution);
        }
        self.take_nearest(from, k, limit, queue, accept, shape_of)
    }

    /// Takes the nearest out of a queue, as far as `limit` metres.
    ///
    /// Everything waits in one queue under what its distance is at least; what comes out with its
    /// distance known is therefore the next nearest.
    fn take_nearest<'t, S: Deref<Target = Shape>>(
        &'t self,
        from: &Spot,
        k: usize,
        mut limit: f64,
        mut queue: BinaryHeap<Waiting<'t, K>>,
        accept: &mut impl FnMut(K) -> bool,
        shape_of: &impl Fn(K) -> S,
    ) -> Vec<(K, f64)> {
        let mut seen = BTreeSet::new();
        let mut best = Best::new(k);
        let mut nearest = Vec::new();
        while let Some(Waiting { least, what }) = queue.pop()
            && least <= limit
        {
            match what {
                What::Known(key) => {
                    nearest.push((key, least));
                    if nearest.len() == k {
                        limit = least;
                    }
                }
                What::Unseen(key) => {
                    if seen.insert(key) && accept(key) {
                        queue.push(wait_for(key, &shape_of(key), from));
                    }
                }
                What::Unmeasured(key) => {
                    let spot = shape_of(key).nearest_point(from);
                    let least = from.range(&spot).0;
                    queue.push(Waiting {
                        least,
                        what: What::Near(key, spot.point),
                    });
                }
                What::Near(key, at) => {
                    let metres = geodesic(from.point, at);
                    queue.push(Waiting {
                        least: metres,
                        what: What::Known(key),
                    });
                }
                What::Under(branch) => match branch.under() {
                    Under::Branches(branches) => {
                        let near = branches.iter().map(|branch| wait_under(branch, from));
                        queue.extend(near.filter(|waiting| waiting.least <= best.bound()));
                    }
                    Under::Entries(entries) => {
                        for (key, at, chord) in entries.chords(from) {
                            let least = at_least(chord);
                            if least <= best.bound() && accept(key) {
                                best.take(arc(chord) + SLACK);
                                let what = What::Near(key, at);
                                queue.push(Waiting { least, what });
                            }
                        }
                    }
                },
                What::Cell { cell, resolution } => {
                    let span = descendants(cell, resolution);
                    let few = range(&self.shapes, span).take(FEW + 1).count() <= FEW;
                    if let Some(finer) = cell
                        .resolution()
                        .succ()
                        .filter(|&r| !few && r <= resolution)
                    {
                        let children = cell.children(finer);
                        push_cells(&mut queue, &self.shapes, from, children, resolution);
                        continue;
                    }
                    for key in range(&self.shapes, span) {
                        if seen.insert(key) && accept(key) {
                            queue.push(wait_for(key, &shape_of(key), from));
                        }
                    }
                }
            }
        }
        nearest
    }

    fn resolutions(&self) -> impl Iterator<Item = Resolution> + '_ {
        Resolution::range(Resolution::Zero, FINEST)
            .filter(|&r| self.counts[usize::from(u8::from(r))] > 0)
    }

    /// All shapes, points apart, that could lie in the region, of those that are asked for.
    fn collect(&self, region: &Region, of: Of<'_>, maybe: &mut Vec<K>) {
        let (middle, radians) = match &region.kind {
            Kind::Box(bounds) => ball(bounds),
            Kind::Area(area) => ball(&area.bounds()),
            Kind::Radius { centre, metres } => (*centre, metres / R_MIN + 1e-12),
            Kind::Cells(cells) => {
                let mut around = BTreeSet::new();
                for cell in &cells.members {
                    around.extend(cell.grid_disk::<Vec<CellIndex>>(1));
                }
                let around: Vec<CellIndex> = around.into_iter().collect();
                self.collect_above(&around, of.resolutions, maybe);
                for cell in around {
                    self.take(cell, of, usize::MAX, maybe);
                }
                return;
            }
        };
        let roots = home(&middle, radians);
        self.collect_above(&roots, of.resolutions, maybe);
        for cell in roots {
            self.descend(region, radians * GRAIN, cell, of, maybe);
        }
    }

    /// Shapes whose covers are coarser than the cells.
    fn collect_above(&self, cells: &[CellIndex], resolutions: &[Resolution], maybe: &mut Vec<K>) {
        for &resolution in resolutions {
            let mut last = None;
            for cell in cells.iter().filter(|cell| cell.resolution() > resolution) {
                let above = cell.parent(resolution);
                // Sorted cells have sorted ancestors.
                if let Some(cell) = above.filter(|_| above != last) {
                    maybe.extend(range(&self.shapes, (cell.into(), cell.into())));
                }
                last = above;
            }
        }
    }

    /// Entries under a cell, at most so many of each resolution.
    fn take(&self, cell: CellIndex, of: Of<'_>, most: usize, maybe: &mut Vec<K>) {
        let finer = of.resolutions.iter().filter(|r| **r >= cell.resolution());
        for &resolution in finer {
            let most = most.min(of.limit.saturating_sub(maybe.len()));
            maybe.extend(range(&self.shapes, descendants(cell, resolution)).take(most));
        }
    }

    fn descend(
        &self,
        region: &Region,
        grain: f64,
        cell: CellIndex,
        of: Of<'_>,
        maybe: &mut Vec<K>,
    ) {
        let resolution = cell.resolution();
        let reach = reach(resolution);
        let divides = match region.overlap(&centre(cell), reach) {
            Overlap::Out => return,
            Overlap::In => false,
            Overlap::Cut => reach > grain,
        };
        let Some(finer) = resolution.succ().filter(|_| divides) else {
            self.take(cell, of, usize::MAX, maybe);
            return;
        };
        let before = maybe.len();
        self.take(cell, of, FEW + 1, maybe);
        if maybe.len() - before <= FEW {
            return;
        }
        maybe.truncate(before);
        if of.resolutions.contains(&resolution) {
            maybe.extend(range(&self.shapes, (cell.into(), cell.into())));
        }
        for child in cell.children(finer) {
            self.descend(region, grain, child, of, maybe);
        }
    }
}

/// Which entries of shapes are collected.
#[derive(Clone, Copy)]
struct Of<'r> {
    /// Of covers of these resolutions, sorted.
    resolutions: &'r [Resolution],
    /// So many at most.
    limit: usize,
}

impl<'r> Of<'r> {
    fn all(resolutions: &'r [Resolution]) -> Self {
        Self {
            resolutions,
            limit: usize::MAX,
        }
    }
}

/// The keys of a range of cells.
fn range<K: Key>(
    entries: &OrdSet<Entry<K>>,
    (least, greatest): (u64, u64),
) -> impl Iterator<Item = K> + '_ {
    entries
        .range((least, None)..(greatest + 1, None))
        .filter_map(|entry| entry.1)
}

/// Each key once, sorted.
fn once<K: Key>(mut keys: Vec<K>) -> Vec<K> {
    /// A bit for each row costs less than sorting what stands there again and again, unless there are
    /// so many more rows than keys.
    const ROWS_A_KEY: usize = 256;
    let rows = keys.iter().map(|key| key.number() + 1).max();
    if let Some(rows) = rows.filter(|rows| *rows <= keys.len() * ROWS_A_KEY) {
        let mut seen = vec![0_u64; rows.div_ceil(64)];
        keys.retain(|key| {
            let (word, bit) = (key.number() / 64, 1 << (key.number() % 64));
            let new = seen[word] & bit == 0;
            seen[word] |= bit;
            new
        });
        keys.sort_unstable();
    } else {
        keys.sort_unstable();
        keys.dedup();
    }
    keys
}

/// Something whose distance is at least `least`.
struct Waiting<'t, K> {
    least: f64,
    what: What<'t, K>,
}

enum What<'t, K> {
    /// Points.
    Under(&'t Branch<K>),
    Cell {
        cell: CellIndex,
        resolution: Resolution,
    },
    /// A shape that nobody was asked about yet.
    Unseen(K),
    /// Only the ball around it has been looked at.
    Unmeasured(K),
    /// Its nearest position is known.
    Near(K, Point),
    /// `least` is its distance.
    Known(K),
}

impl<K: Ord> Waiting<'_, K> {
    /// At one distance, what may still turn out as near comes before what is known.
    fn rank(&self) -> (u8, Option<&K>) {
        match &self.what {
            What::Under(_) | What::Cell { .. } => (0, None),
            What::Unseen(key) | What::Unmeasured(key) | What::Near(key, _) => (1, Some(key)),
            What::Known(key) => (2, Some(key)),
        }
    }
}

impl<K: Ord> Ord for Waiting<'_, K> {
    /// The greatest is the nearest, as a heap gives it first.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .least
            .total_cmp(&self.least)
            .then_with(|| other.rank().cmp(&self.rank()))
    }
}

impl<K: Ord> PartialOrd for Waiting<'_, K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> PartialEq for Waiting<'_, K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord> Eq for Waiting<'_, K> {}

/// What the `k` best candidates are away at most, in order.
struct Best {
    metres: Vec<f64>,
    k: usize,
}

impl Best {
    fn new(k: usize) -> Self {
        Self {
            metres: Vec::new(),
            k,
        }
    }

    /// Nothing farther is among the `k` nearest.
    fn bound(&self) -> f64 {
        let last = self.metres.last().filter(|_| self.metres.len() >= self.k);
        last.copied().unwrap_or(f64::INFINITY)
    }

    fn take(&mut self, metres: f64) {
        if metres < self.bound() {
            self.metres.truncate(self.k - 1);
            let at = self.metres.partition_point(|other| *other <= metres);
            self.metres.insert(at, metres);
        }
    }
}

/// What a geodesic over a chord is at least.
fn at_least(chord: f64) -> f64 {
    (chord - SLACK).max(0.0)
}

fn wait_under<'t, K: Key>(branch: &'t Branch<K>, from: &Spot) -> Waiting<'t, K> {
    Waiting {
        least: at_least(branch.least_chord(from)),
        what: What::Under(branch),
    }
}

fn wait_for<'t, K>(key: K, shape: &Shape, from: &Spot) -> Waiting<'t, K> {
    if shape.contains(from.point) {
        return Waiting {
            least: 0.0,
            what: What::Known(key),
        };
    }
    // Most shapes under a cell turn out too far by their balls alone.
    Waiting {
        least: shape.least_distance(from),
        what: What::Unmeasured(key),
    }
}

/// Queues those cells that own entries of a resolution.
fn push_cells<K: Key>(
    queue: &mut BinaryHeap<Waiting<'_, K>>,
    shapes: &OrdSet<Entry<K>>,
    from: &Spot,
    cells: impl Iterator<Item = CellIndex>,
    resolution: Resolution,
) {
    for cell in cells {
        let (least, greatest) = descendants(cell, resolution);
        // One look-up, where a range would make two.
        let next = shapes.get_next(&(least, None));
        if next.is_some_and(|entry| entry.0 <= greatest) {
            let (least, _) = from.range_to_ball(&centre(cell), reach(cell.resolution()));
            queue.push(Waiting {
                least,
                what: What::Cell { cell, resolution },
            });
        }
    }
}
