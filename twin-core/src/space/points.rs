//! Points in small pages along a curve, under boxes that say where they are.
//!
//! # Invariants
//! - Entries are sorted by (place on the curve, key) over all pages, and each is there once.
//! - An extent holds everything under it, in degrees and in space.
//! - No page is empty; pages hold at most [`PAGE`] entries and inner nodes at most [`FAN`]
//!   branches, and all pages are equally deep.
//! - A clone shares everything; a change copies one node of each level.
//!
//! The curve is Hilbert's over longitude and latitude. It only decides which points share a page,
//! so neither its resolution nor its seams can make an answer wrong.

use super::index::Key;
use super::locate::Overlap;
use super::metric::{Spot, Vec3, gap};
use super::point::{Bounds, Point};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Most entries of a page.
const PAGE: usize = 64;
/// Most branches of an inner node.
const FAN: usize = 32;

/// Where an entry stands: on the curve, and among those of one place by key.
type Rank<K> = (u64, K);

/// A persistent set of points under keys.
#[derive(Clone, Debug)]
pub(super) struct Points<K> {
    root: Option<Branch<K>>,
    len: usize,
}

/// Where the points under a branch are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    pub(super) bounds: Bounds,
    least: Vec3,
    greatest: Vec3,
}

/// A node with what must be known to pass it by.
#[derive(Clone, Debug)]
pub(super) struct Branch<K> {
    first: Rank<K>,
    extent: Extent,
    node: Node<K>,
}

#[derive(Clone, Debug)]
enum Node<K> {
    Page(Arc<Page<K>>),
    Inner(Arc<Vec<Branch<K>>>),
}

/// Columns, because a search reads one or two of them.
#[derive(Clone, Debug)]
struct Page<K> {
    ranks: Vec<Rank<K>>,
    points: Vec<Point>,
    places: Vec<Vec3>,
}

/// What a branch leads to.
pub(super) enum Under<'t, K> {
    Branches(&'t [Branch<K>]),
    Entries(Entries<'t, K>),
}

/// The entries of one page.
pub(super) struct Entries<'t, K> {
    page: &'t Page<K>,
}

/// How a walk over points goes on with all that lie in a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// None of them is wanted.
    Past,
    /// Some may be: their parts are looked at, and at last the pages.
    Into,
    /// All are, and no part of them is looked at.
    Whole,
}

/// Points that lie together: a page of the index.
#[derive(Debug)]
pub struct PointPage<'t, K> {
    ranks: &'t [Rank<K>],
    points: &'t [Point],
    /// Whether the walk takes all of them, because of a box that is [`Look::Whole`].
    pub whole: bool,
}

impl<'t, K: Copy> PointPage<'t, K> {
    /// How many there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "no page is empty")]
    pub fn len(&self) -> usize {
        self.ranks.len()
    }

    /// Keys and positions.
    pub fn entries(&self) -> impl Iterator<Item = (K, Point)> + use<'t, K> {
        let keys = self.ranks.iter().map(|rank| rank.1);
        keys.zip(self.points.iter().copied())
    }
}

impl<K> Default for Points<K> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<K: Key> Points<K> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn root(&self) -> Option<&Branch<K>> {
        self.root.as_ref()
    }

    /// Adds a point; what is there already stays as it is.
    pub(super) fn insert(&mut self, key: K, point: Point) {
        let rank = (curve(point), key);
        let Some(root) = &mut self.root else {
            self.root = Some(Branch::page(Page::of(rank, point)));
            self.len = 1;
            return;
        };
        if root.has(rank) {
            return;
        }
        self.len += 1;
        if let Some(second) = root.insert(rank, &Spot::new(point)) {
            let first = root.clone();
            *root = Branch::inner(vec![first, second]);
        }
    }

    /// Takes a point out, if it is there.
    pub(super) fn remove(&mut self, key: K, point: Point) {
        let rank = (curve(point), key);
        let Some(root) = self.root.as_mut().filter(|root| root.has(rank)) else {
            return;
        };
        self.len -= 1;
        if self.len == 0 {
            self.root = None;
            return;
        }
        root.remove(rank);
        while let Node::Inner(branches) = &root.node
            && let [only] = &branches[..]
        {
            *root = only.clone();
        }
    }

    /// Collects the keys of all points in a region, unsorted. `overlap` says how the region lies
    /// to an extent: `Out` only where no point of it is in the region, `In` only where every one
    /// is.
    pub(super) fn search(
        &self,
        overlap: &impl Fn(&Extent) -> Overlap,
        has: &impl Fn(Point, Vec3) -> bool,
        found: &mut Vec<K>,
    ) {
        if let Some(root) = &self.root {
            root.search(overlap, has, found);
        }
    }

    /// Walks over the points, passing by what `look` says, page by page until `take` breaks.
    pub(super) fn walk<W>(
        &self,
        state: &mut W,
        look: &impl Fn(&mut W, &Bounds) -> Look,
        take: &impl Fn(&mut W, PointPage<'_, K>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match &self.root {
            Some(root) => root.walk(state, look, take),
            None => ControlFlow::Continue(()),
        }
    }

    /// The least box that holds all points.
    pub(super) fn bounds(&self) -> Option<Bounds> {
        self.root.as_ref().map(|root| root.extent.bounds)
    }

    /// Checks the invariants; for tests.
    #[cfg(test)]
    pub(super) fn validate(&self) {
        let mut ranks = Vec::new();
        if let Some(root) = &self.root {
            root.validate(&mut ranks);
        }
        assert_eq!(ranks.len(), self.len);
        assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]));
    }

    /// How many nodes are not shared with another set; for tests.
    #[cfg(test)]
    pub(super) fn own_nodes(&self, other: &Self) -> usize {
        fn all<K>(branch: &Branch<K>, nodes: &mut Vec<usize>) {
            match &branch.node {
                Node::Page(page) => nodes.push(Arc::as_ptr(page).addr()),
                Node::Inner(branches) => {
                    nodes.push(Arc::as_ptr(branches).addr());
                    branches.iter().for_each(|branch| all(branch, nodes));
                }
            }
        }
        let (mut own, mut others) = (Vec::new(), Vec::new());
        self.root.iter().for_each(|root| all(root, &mut own));
        other.root.iter().for_each(|root| all(root, &mut others));
        own.retain(|node| !others.contains(node));
        own.len()
    }
}

impl<K: Key> Branch<K> {
    fn page(page: Page<K>) -> Self {
        Self {
            first: page.ranks[0],
            extent: page.extent(),
            node: Node::Page(Arc::new(page)),
        }
    }

    fn inner(branches: Vec<Self>) -> Self {
        Self {
            first: branches[0].first,
            extent: extent_of(&branches),
            node: Node::Inner(Arc::new(branches)),
        }
    }

    /// Metres in a straight line that everything under the branch is away at least.
    pub(super) fn least_chord(&self, from: &Spot) -> f64 {
        self.extent.least_chord(from)
    }

    pub(super) fn under(&self) -> Under<'_, K> {
        match &self.node {
            Node::Page(page) => Under::Entries(Entries { page }),
            Node::Inner(branches) => Under::Branches(branches),
        }
    }

    fn has(&self, rank: Rank<K>) -> bool {
        match &self.node {
            Node::Page(page) => page.ranks.binary_search(&rank).is_ok(),
            Node::Inner(branches) => branches[place_in(branches, rank)].has(rank),
        }
    }

    /// Adds what is not there; answers the second half where there was no room.
    fn insert(&mut self, rank: Rank<K>, spot: &Spot) -> Option<Self> {
        self.first = self.first.min(rank);
        self.extent = self.extent.join(Extent::of(spot.point, spot.place));
        let second = match &mut self.node {
            Node::Page(page) => {
                let page = Arc::make_mut(page);
                let second = (page.ranks.len() >= PAGE).then(|| page.split());
                let Some(mut second) = second else {
                    page.insert(rank, spot);
                    return None;
                };
                if rank < second.ranks[0] {
                    page.insert(rank, spot);
                } else {
                    second.insert(rank, spot);
                }
                self.extent = page.extent();
                Self::page(second)
            }
            Node::Inner(branches) => {
                let branches = Arc::make_mut(branches);
                let at = place_in(branches, rank);
                let second = branches[at].insert(rank, spot)?;
                branches.insert(at + 1, second);
                if branches.len() <= FAN {
                    return None;
                }
                let second = branches.split_off(FAN / 2);
                self.extent = extent_of(branches);
                Self::inner(second)
            }
        };
        Some(second)
    }

    /// Takes out what is there; the caller takes out a branch that it leaves empty.
    fn remove(&mut self, rank: Rank<K>) {
        match &mut self.node {
            Node::Page(page) => {
                let page = Arc::make_mut(page);
                if let Ok(at) = page.ranks.binary_search(&rank) {
                    page.ranks.remove(at);
                    page.points.remove(at);
                    page.places.remove(at);
                }
                if let Some(first) = page.ranks.first() {
                    self.first = *first;
                    self.extent = page.extent();
                }
            }
            Node::Inner(branches) => {
                let branches = Arc::make_mut(branches);
                let at = place_in(branches, rank);
                branches[at].remove(rank);
                // A pair that has become small is one node again, so that pages which many
                // points left do not stay behind nearly empty.
                let left = if at + 1 < branches.len() {
                    at
                } else {
                    at.saturating_sub(1)
                };
                if branches[at].size() == 0 {
                    branches.remove(at);
                } else if left + 1 < branches.len()
                    && branches[left].size() + branches[left + 1].size()
                        <= branches[left].room() / 2
                {
                    let second = branches.remove(left + 1);
                    branches[left].append(second);
                }
                if let Some(first) = branches.first() {
                    self.first = first.first;
                    self.extent = extent_of(branches);
                }
            }
        }
    }

    /// Entries of a page, branches of an inner node.
    fn size(&self) -> usize {
        match &self.node {
            Node::Page(page) => page.ranks.len(),
            Node::Inner(branches) => branches.len(),
        }
    }

    fn room(&self) -> usize {
        match &self.node {
            Node::Page(_) => PAGE,
            Node::Inner(_) => FAN,
        }
    }

    /// Takes over what the next branch of the same level holds.
    fn append(&mut self, next: Self) {
        self.extent = self.extent.join(next.extent);
        match (&mut self.node, next.node) {
            (Node::Page(page), Node::Page(other)) => {
                let page = Arc::make_mut(page);
                page.ranks.extend_from_slice(&other.ranks);
                page.points.extend_from_slice(&other.points);
                page.places.extend_from_slice(&other.places);
            }
            (Node::Inner(branches), Node::Inner(others)) => {
                Arc::make_mut(branches).extend_from_slice(&others);
            }
            (Node::Page(_), Node::Inner(_)) | (Node::Inner(_), Node::Page(_)) => {
                debug_assert!(false, "all pages are equally deep");
            }
        }
    }

    fn search(
        &self,
        overlap: &impl Fn(&Extent) -> Overlap,
        has: &impl Fn(Point, Vec3) -> bool,
        found: &mut Vec<K>,
    ) {
        match overlap(&self.extent) {
            Overlap::Out => {}
            Overlap::In => self.take(found),
            Overlap::Cut => match &self.node {
                Node::Page(page) => {
                    let entries = page.ranks.iter().zip(&page.points).zip(&page.places);
                    for (((_, key), point), place) in entries {
                        if has(*point, *place) {
                            found.push(*key);
                        }
                    }
                }
                Node::Inner(branches) => {
                    for branch in branches.iter() {
                        branch.search(overlap, has, found);
                    }
                }
            },
        }
    }

    fn walk<W>(
        &self,
        state: &mut W,
        look: &impl Fn(&mut W, &Bounds) -> Look,
        take: &impl Fn(&mut W, PointPage<'_, K>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let whole = match look(state, &self.extent.bounds) {
            Look::Past => return ControlFlow::Continue(()),
            Look::Into => false,
            Look::Whole => true,
        };
        match &self.node {
            Node::Inner(branches) if !whole => branches
                .iter()
                .try_for_each(|branch| branch.walk(state, look, take)),
            _ => self.pages(whole, &mut |page| take(state, page)),
        }
    }

    /// Gives every page under it until `take` breaks.
    fn pages(
        &self,
        whole: bool,
        take: &mut impl FnMut(PointPage<'_, K>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match &self.node {
            Node::Page(page) => take(PointPage {
                ranks: &page.ranks,
                points: &page.points,
                whole,
            }),
            Node::Inner(branches) => branches
                .iter()
                .try_for_each(|branch| branch.pages(whole, take)),
        }
    }

    fn take(&self, found: &mut Vec<K>) {
        match &self.node {
            Node::Page(page) => found.extend(page.ranks.iter().map(|rank| rank.1)),
            Node::Inner(branches) => branches.iter().for_each(|branch| branch.take(found)),
        }
    }

    #[cfg(test)]
    fn validate(&self, ranks: &mut Vec<Rank<K>>) -> usize {
        assert!(self.size() > 0 && self.size() <= self.room());
        let before = ranks.len();
        let depth = match &self.node {
            Node::Page(page) => {
                assert_eq!(self.extent, page.extent());
                assert_eq!(
                    (page.points.len(), page.places.len()),
                    (self.size(), self.size())
                );
                ranks.extend_from_slice(&page.ranks);
                0
            }
            Node::Inner(branches) => {
                assert_eq!(self.extent, extent_of(branches));
                let depths: Vec<usize> = branches.iter().map(|b| b.validate(ranks)).collect();
                assert!(depths.iter().all(|depth| *depth == depths[0]));
                depths[0] + 1
            }
        };
        assert_eq!(self.first, ranks[before]);
        depth
    }
}

impl<'t, K: Copy> Entries<'t, K> {
    /// Keys and positions, with the metres in a straight line that they are away.
    pub(super) fn chords(self, from: &Spot) -> impl Iterator<Item = (K, Point, f64)> + use<'t, K> {
        let place = from.place;
        let Page {
            ranks,
            points,
            places,
        } = self.page;
        let entries = ranks.iter().zip(points).zip(places);
        entries.map(move |((rank, point), at)| (rank.1, *point, gap(place, *at)))
    }
}

impl<K: Copy + Ord> Page<K> {
    fn of(rank: Rank<K>, point: Point) -> Self {
        Self {
            ranks: vec![rank],
            points: vec![point],
            places: vec![Spot::new(point).place],
        }
    }

    fn extent(&self) -> Extent {
        let entries = self.points.iter().zip(&self.places);
        entries.fold(Extent::NONE, |all, (point, place)| {
            all.join(Extent::of(*point, *place))
        })
    }

    fn insert(&mut self, rank: Rank<K>, spot: &Spot) {
        /// Grows to a page's size and never beyond.
        fn put<T>(column: &mut Vec<T>, at: usize, value: T) {
            if column.len() == column.capacity() {
                column.reserve_exact(column.len().clamp(1, PAGE - column.len()));
            }
            column.insert(at, value);
        }
        let at = self.ranks.partition_point(|other| *other < rank);
        put(&mut self.ranks, at, rank);
        put(&mut self.points, at, spot.point);
        put(&mut self.places, at, spot.place);
    }

    fn split(&mut self) -> Self {
        let at = self.ranks.len() / 2;
        Self {
            ranks: self.ranks.split_off(at),
            points: self.points.split_off(at),
            places: self.places.split_off(at),
        }
    }
}

impl Extent {
    /// Holds nothing; the neutral element of [`Extent::join`].
    const NONE: Self = Self {
        bounds: Bounds::NONE,
        least: [f64::INFINITY; 3],
        greatest: [f64::NEG_INFINITY; 3],
    };

    fn of(point: Point, place: Vec3) -> Self {
        Self {
            bounds: Bounds {
                west: point.lon,
                south: point.lat,
                east: point.lon,
                north: point.lat,
            },
            least: place,
            greatest: place,
        }
    }

    fn join(self, other: Self) -> Self {
        let pick = |a: Vec3, b: Vec3, f: fn(f64, f64) -> f64| {
            [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2])]
        };
        Self {
            bounds: self.bounds.join(other.bounds),
            least: pick(self.least, other.least, f64::min),
            greatest: pick(self.greatest, other.greatest, f64::max),
        }
    }

    /// Metres in a straight line to the nearest place of the box.
    pub(super) fn least_chord(&self, from: &Spot) -> f64 {
        let p = from.place;
        gap(
            p,
            [0, 1, 2].map(|i| p[i].max(self.least[i]).min(self.greatest[i])),
        )
    }

    /// Metres in a straight line to the farthest place of the box.
    pub(super) fn greatest_chord(&self, from: &Spot) -> f64 {
        let p = from.place;
        let far = |i: usize| {
            (p[i] - self.least[i])
                .abs()
                .max((p[i] - self.greatest[i]).abs())
        };
        gap([far(0), far(1), far(2)], [0.0; 3])
    }
}

/// The branch that a rank belongs under.
fn place_in<K: Ord + Copy>(branches: &[Branch<K>], rank: Rank<K>) -> usize {
    branches
        .partition_point(|branch| branch.first <= rank)
        .saturating_sub(1)
}

fn extent_of<K>(branches: &[Branch<K>]) -> Extent {
    branches
        .iter()
        .fold(Extent::NONE, |all, branch| all.join(branch.extent))
}

/// Where a position is on Hilbert's curve, to a centimetre.
fn curve(p: Point) -> u64 {
    /// Parts of the circle.
    const PARTS: f64 = 4_294_967_296.0;
    let mut x = ((p.lon + 180.0) / 360.0 * PARTS) as u32;
    // One scale both ways, so that pages are as wide as they are high.
    let mut y = ((p.lat + 90.0) / 360.0 * PARTS) as u32;
    let mut code = 0;
    for bit in (0..32).rev() {
        let (right, upper) = ((x >> bit) & 1, (y >> bit) & 1);
        code = code << 2 | u64::from((3 * right) ^ upper);
        if upper == 0 {
            if right == 1 {
                (x, y) = (!x, !y);
            }
            (x, y) = (y, x);
        }
    }
    code
}
