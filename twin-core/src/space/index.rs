//! Finds the shapes that lie in a region, hold a point, or are nearest to one.
//!
//! # Invariants
//! - A point has one entry, its cell at the finest resolution; any other shape one for each cell
//!   of its cover. Entries of one resolution that descend from one cell are one range.
//! - `counts[r]` is the number of entries of shapes at resolution `r`.
//! - Searches return exactly what a test of every shape would, sorted.
//! - A clone shares all entries and is not affected by later changes of the original.

use super::cells::{FINEST, ball, cell_at, centre, cover, descendants, home, home_radians, reach};
use super::locate::Overlap;
use super::metric::{R_MIN, Spot, geodesic};
use super::point::Point;
use super::region::{Kind, Region, Relation};
use super::shape::Shape;
use h3o::{CellIndex, Resolution};
use imbl::OrdSet;
use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt::Debug;
use std::ops::Deref;

/// A search stops dividing cells with so few entries: testing them is cheaper.
const FEW: usize = 24;
/// A search divides cells down to this part of the region.
const GRAIN: f64 = 0.35;

/// A key under a cell. `None` sorts before every key, so a cell alone is where its range starts.
type Entry<K> = (u64, Option<K>);

/// A persistent index of shapes by H3 cell.
#[derive(Clone, Debug)]
pub struct SpaceIndex<K: Copy + Ord + Debug> {
    points: OrdSet<Entry<K>>,
    shapes: OrdSet<Entry<K>>,
    counts: [usize; 16],
    len: usize,
}

impl<K: Copy + Ord + Debug> Default for SpaceIndex<K> {
    fn default() -> Self {
        Self {
            points: OrdSet::new(),
            shapes: OrdSet::new(),
            counts: [0; 16],
            len: 0,
        }
    }
}

/// What a search has found so far.
struct Found<K> {
    /// In the region without a test.
    sure: Vec<K>,
    /// To be tested.
    maybe: Vec<K>,
}

impl<K: Copy + Ord + Debug> SpaceIndex<K> {
    /// An index of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many shapes are in the index.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in the index.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many cells the index holds entries for, by resolution; points apart.
    pub fn cover_sizes(&self) -> [usize; 16] {
        self.counts
    }

    /// The cell at the resolution at which points are indexed.
    pub fn cell_of(p: Point) -> CellIndex {
        cell_at(p, FINEST)
    }

    /// Adds a shape under a key. Adding what is there changes nothing.
    pub fn insert(&mut self, key: K, shape: &Shape) {
        if let Some(p) = shape.is_point() {
            let added = self
                .points
                .insert((cell_at(p, FINEST).into(), Some(key)))
                .is_none();
            self.len += usize::from(added);
            return;
        }
        let mut added = false;
        for cell in cover(shape) {
            if self.shapes.insert((cell.into(), Some(key))).is_none() {
                self.counts[usize::from(u8::from(cell.resolution()))] += 1;
                added = true;
            }
        }
        self.len += usize::from(added);
    }

    /// Takes out a shape; it must be the one that was inserted under the key. Taking out what is
    /// not there changes nothing.
    pub fn remove(&mut self, key: K, shape: &Shape) {
        if let Some(p) = shape.is_point() {
            let gone = self
                .points
                .remove(&(cell_at(p, FINEST).into(), Some(key)))
                .is_some();
            self.len -= usize::from(gone);
            return;
        }
        let mut gone = false;
        for cell in cover(shape) {
            if self.shapes.remove(&(cell.into(), Some(key))).is_some() {
                self.counts[usize::from(u8::from(cell.resolution()))] -= 1;
                gone = true;
            }
        }
        self.len -= usize::from(gone);
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

    /// Like [`SpaceIndex::search`]; `go_on` is asked before every test of a shape, and once it says
    /// no, the search ends with what it has.
    pub fn search_while<S: Deref<Target = Shape>>(
        &self,
        region: &Region,
        relation: Relation,
        shape_of: impl Fn(K) -> S,
        go_on: impl Fn() -> bool,
    ) -> Vec<K> {
        let mut found = Found {
            sure: Vec::new(),
            maybe: Vec::new(),
        };
        self.collect(region, &mut found);
        let Found {
            sure: mut keys,
            mut maybe,
        } = found;
        maybe.sort_unstable();
        maybe.dedup();
        keys.extend(
            maybe
                .into_iter()
                .take_while(|_| go_on())
                .filter(|&key| region.matches(&shape_of(key), relation)),
        );
        keys.sort_unstable();
        keys
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
        let cell = cell_at(p, FINEST);
        let mut keys: Vec<K> = range(&self.points, (cell.into(), cell.into())).collect();
        for resolution in self.resolutions() {
            if let Some(cell) = cell.parent(resolution) {
                keys.extend(range(&self.shapes, (cell.into(), cell.into())));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|&key| go_on() && shape_of(key).contains(p));
        keys
    }

    /// The `k` nearest shapes that `accept` takes, with their geodesic metres, sorted by metres
    /// and then key; fewer where there are fewer. `accept` may be asked about a key again.
    pub fn nearest<S: Deref<Target = Shape>>(
        &self,
        p: Point,
        k: usize,
        mut accept: impl FnMut(K) -> bool,
        shape_of: impl Fn(K) -> S,
    ) -> Vec<(K, f64)> {
        let from = Spot::new(p);
        let mut start = self.crowded(p, k);
        loop {
            // All that a cell and its neighbours do not own is farther than this.
            let limit = start.map_or(f64::INFINITY, |r| R_MIN * home_radians(r));
            let roots: Vec<CellIndex> = match start {
                Some(resolution) => home(&from, home_radians(resolution)),
                None => CellIndex::base_cells().collect(),
            };
            let found = self.nearest_under(&from, k, limit, &roots, &mut accept, &shape_of);
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
            let mut left = k - range(&self.points, descendants(cell, FINEST))
                .take(k)
                .count();
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

    /// The nearest under some cells, as far as `limit` metres.
    fn nearest_under<S: Deref<Target = Shape>>(
        &self,
        from: &Spot,
        k: usize,
        limit: f64,
        roots: &[CellIndex],
        accept: &mut impl FnMut(K) -> bool,
        shape_of: &impl Fn(K) -> S,
    ) -> Vec<(K, f64)> {
        let mut queue = BinaryHeap::new();
        let mut seen = BTreeSet::new();
        let mut nearest = Vec::new();
        let mut above = Found {
            sure: Vec::new(),
            maybe: Vec::new(),
        };
        self.collect_above(roots, &mut above);
        for key in above.maybe {
            if seen.insert(key) && accept(key) {
                queue.push(wait_for(key, &shape_of(key), from));
            }
        }
        if !self.points.is_empty() {
            push_cells(
                &mut queue,
                &self.points,
                from,
                roots.iter().copied(),
                FINEST,
                true,
            );
        }
        for resolution in self.resolutions() {
            let roots = roots
                .iter()
                .copied()
                .filter(|cell| cell.resolution() <= resolution);
            push_cells(&mut queue, &self.shapes, from, roots, resolution, false);
        }
        // Everything waits in one queue under what its distance is at least; what comes out with
        // its distance known is therefore the next nearest.
        while nearest.len() < k
            && let Some(Waiting { least, what }) = queue.pop()
            && least <= limit
        {
            match what {
                What::Known(key) => nearest.push((key, least)),
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
                What::Cell {
                    cell,
                    resolution,
                    points,
                } => {
                    let entries = if points { &self.points } else { &self.shapes };
                    let span = descendants(cell, resolution);
                    let few = range(entries, span).take(FEW + 1).count() <= FEW;
                    if let Some(finer) = cell
                        .resolution()
                        .succ()
                        .filter(|&r| !few && r <= resolution)
                    {
                        let children = cell.children(finer);
                        push_cells(&mut queue, entries, from, children, resolution, points);
                        continue;
                    }
                    for key in range(entries, span) {
                        if (points || seen.insert(key)) && accept(key) {
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

    /// All that could lie in the region.
    fn collect(&self, region: &Region, found: &mut Found<K>) {
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
                self.collect_above(&around, found);
                for cell in around {
                    self.take(cell, found);
                }
                return;
            }
        };
        let roots = home(&middle, radians);
        self.collect_above(&roots, found);
        for cell in roots {
            self.descend(region, radians * GRAIN, cell, found);
        }
    }

    /// Shapes whose covers are coarser than the cells.
    fn collect_above(&self, cells: &[CellIndex], found: &mut Found<K>) {
        for resolution in self.resolutions() {
            let mut last = None;
            for cell in cells.iter().filter(|cell| cell.resolution() > resolution) {
                let above = cell.parent(resolution);
                // Sorted cells have sorted ancestors.
                if let Some(cell) = above.filter(|_| above != last) {
                    found
                        .maybe
                        .extend(range(&self.shapes, (cell.into(), cell.into())));
                }
                last = above;
            }
        }
    }

    /// All entries under a cell, to be tested.
    fn take(&self, cell: CellIndex, found: &mut Found<K>) {
        found
            .maybe
            .extend(range(&self.points, descendants(cell, FINEST)));
        self.take_shapes(cell, usize::MAX, found);
    }

    /// Entries of shapes under a cell, at most so many of each resolution.
    fn take_shapes(&self, cell: CellIndex, most: usize, found: &mut Found<K>) {
        for resolution in self.resolutions().filter(|&r| r >= cell.resolution()) {
            found
                .maybe
                .extend(range(&self.shapes, descendants(cell, resolution)).take(most));
        }
    }

    fn descend(&self, region: &Region, grain: f64, cell: CellIndex, found: &mut Found<K>) {
        let resolution = cell.resolution();
        let reach = reach(resolution);
        match region.overlap(&centre(cell), reach) {
            Overlap::Out => return,
            Overlap::In => {
                found
                    .sure
                    .extend(range(&self.points, descendants(cell, FINEST)));
                self.take_shapes(cell, usize::MAX, found);
                return;
            }
            Overlap::Cut => {}
        }
        let Some(finer) = resolution.succ().filter(|_| reach > grain) else {
            self.take(cell, found);
            return;
        };
        let before = found.maybe.len();
        if !self.points.is_empty() {
            found
                .maybe
                .extend(range(&self.points, descendants(cell, FINEST)).take(FEW + 1));
        }
        self.take_shapes(cell, FEW + 1, found);
        if found.maybe.len() - before <= FEW {
            return;
        }
        found.maybe.truncate(before);
        if self.counts[usize::from(u8::from(resolution))] > 0 {
            found
                .maybe
                .extend(range(&self.shapes, (cell.into(), cell.into())));
        }
        for child in cell.children(finer) {
            self.descend(region, grain, child, found);
        }
    }
}

/// The keys of a range of cells.
fn range<K: Copy + Ord + Debug>(
    entries: &OrdSet<Entry<K>>,
    (least, greatest): (u64, u64),
) -> impl Iterator<Item = K> + '_ {
    entries
        .range((least, None)..(greatest + 1, None))
        .filter_map(|entry| entry.1)
}

/// Something whose distance is at least `least`.
struct Waiting<K> {
    least: f64,
    what: What<K>,
}

enum What<K> {
    Cell {
        cell: CellIndex,
        resolution: Resolution,
        points: bool,
    },
    /// Only the ball around it has been looked at.
    Unmeasured(K),
    /// Its nearest position is known.
    Near(K, Point),
    /// `least` is its distance.
    Known(K),
}

impl<K: Ord> Waiting<K> {
    /// At one distance, what may still turn out as near comes before what is known.
    fn rank(&self) -> (u8, Option<&K>) {
        match &self.what {
            What::Cell { .. } => (0, None),
            What::Unmeasured(key) | What::Near(key, _) => (1, Some(key)),
            What::Known(key) => (2, Some(key)),
        }
    }
}

impl<K: Ord> Ord for Waiting<K> {
    /// The greatest is the nearest, as a heap gives it first.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .least
            .total_cmp(&self.least)
            .then_with(|| other.rank().cmp(&self.rank()))
    }
}

impl<K: Ord> PartialOrd for Waiting<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> PartialEq for Waiting<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord> Eq for Waiting<K> {}

fn wait_for<K>(key: K, shape: &Shape, from: &Spot) -> Waiting<K> {
    if let Some(p) = shape.is_point() {
        return Waiting {
            least: from.range(&Spot::new(p)).0,
            what: What::Near(key, p),
        };
    }
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

fn wait_at<K>(from: &Spot, cell: CellIndex, resolution: Resolution, points: bool) -> Waiting<K> {
    let (least, _) = from.range_to_ball(&centre(cell), reach(cell.resolution()));
    Waiting {
        least,
        what: What::Cell {
            cell,
            resolution,
            points,
        },
    }
}

/// Queues those cells that own entries of a resolution.
fn push_cells<K: Copy + Ord + Debug>(
    queue: &mut BinaryHeap<Waiting<K>>,
    entries: &OrdSet<Entry<K>>,
    from: &Spot,
    cells: impl Iterator<Item = CellIndex>,
    resolution: Resolution,
    points: bool,
) {
    for cell in cells {
        let (least, greatest) = descendants(cell, resolution);
        // One look-up, where a range would make two.
        let next = entries.get_next(&(least, None));
        if next.is_some_and(|entry| entry.0 <= greatest) {
            queue.push(wait_at(from, cell, resolution, points));
        }
    }
}
