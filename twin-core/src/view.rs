//! One instant of the nation, for as long as it is held: every question goes through it.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

use ontology::{Class, ClassId, Ontology, RelationshipId, Value};

use crate::change::Values;
use crate::id::{Position, TwinId};
use crate::live::{Latest, Live, TwinRef, ValueRef};
use crate::space::{Bounds, Look, Point, PointPage, Region, Relation, Resolution, Shape};

/// Which way a relationship is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From source to target.
    Out,
    /// From target to source.
    In,
}

/// How many twins of a class there are on the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// Twins that are at one point.
    pub points: usize,
    /// Twins that have any other shape.
    pub shapes: usize,
}

/// Twins of one class whose points lie together.
#[derive(Debug)]
pub struct TwinPage<'v> {
    class: ClassId,
    page: PointPage<'v, u32>,
}

impl<'v> TwinPage<'v> {
    /// How many there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "no page is empty")]
    pub fn len(&self) -> usize {
        self.page.len()
    }

    /// Whether the walk takes all of them, because of a box that is [`Look::Whole`].
    pub fn whole(&self) -> bool {
        self.page.whole
    }

    /// The twins and where they are.
    pub fn twins(&self) -> impl Iterator<Item = (TwinRef, Point)> + use<'v> {
        let class = self.class;
        let entries = self.page.entries();
        entries.map(move |(row, point)| (TwinRef { class, row }, point))
    }
}

/// An immutable instant; cheap to take and to clone.
#[derive(Clone, Debug)]
pub struct View {
    pub(crate) live: Arc<Live>,
}

impl View {
    /// The ontology the twin was opened with.
    pub fn ontology(&self) -> &Arc<Ontology> {
        &self.live.ontology
    }

    /// The instant: everything before this position has happened, nothing after.
    pub fn position(&self) -> Position {
        Position::of(&self.live.lane, self.live.offset)
    }

    /// How many twins there are.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many twins of a class there are, subclasses included.
    pub fn count(&self, class: ClassId) -> usize {
        self.ontology()
            .with_descendants(class)
            .map(|c| self.live.table(c).len())
            .sum()
    }

    /// How many relationships of a name there are.
    pub fn count_relationships(&self, relationship: RelationshipId) -> usize {
        self.live.edges(relationship).len()
    }

    /// The twin of an id.
    pub fn twin(&self, id: &TwinId) -> Option<TwinRef> {
        self.live.find(id.as_str())
    }

    /// The twin of an id given as text; a text that is no id names no twin.
    pub fn find(&self, id: &str) -> Option<TwinRef> {
        self.live.find(id)
    }

    /// The id of a twin.
    pub fn id(&self, twin: TwinRef) -> &TwinId {
        self.live.id(twin)
    }

    /// The class of a twin.
    pub fn class(&self, twin: TwinRef) -> &Class {
        self.ontology().class(twin.class)
    }

    /// The class of a twin, as id.
    #[expect(
        clippy::unused_self,
        reason = "reads like the other questions about a twin"
    )]
    pub fn class_id(&self, twin: TwinRef) -> ClassId {
        twin.class
    }

    /// Position of the twin's last structural change.
    pub fn revision(&self, twin: TwinRef) -> Position {
        Position::of(
            &self.live.lane,
            self.live.table(twin.class).revision(twin.row),
        )
    }

    /// A property by its column in the twin's class.
    pub fn value(&self, twin: TwinRef, column: usize) -> Option<Value> {
        self.live.value(twin, column)
    }

    /// What [`View::value`] answers, without a copy of it.
    pub fn value_ref(&self, twin: TwinRef, column: usize) -> Option<ValueRef<'_>> {
        self.live.table(twin.class).value_ref(twin.row, column)
    }

    /// A property by name; `None` where the class has none of that name, too.
    pub fn value_named(&self, twin: TwinRef, name: &str) -> Option<Value> {
        self.class(twin)
            .property_index(name)
            .and_then(|column| self.value(twin, column))
    }

    /// Where the twin is.
    pub fn shape(&self, twin: TwinRef) -> Option<&Arc<Shape>> {
        self.live.table(twin.class).shape(twin.row)
    }

    /// The newest reading of a telemetry, by its index in the twin's class.
    pub fn latest(&self, twin: TwinRef, telemetry: usize) -> Option<&Latest> {
        self.live.table(twin.class).latest(twin.row, telemetry)
    }

    /// Twins of a class and its subclasses by id, from the first id after `after`.
    pub fn scan<'a>(
        &'a self,
        class: ClassId,
        after: Option<&TwinId>,
    ) -> impl Iterator<Item = TwinRef> + 'a {
        let mut runs: Vec<_> = self
            .ontology()
            .with_descendants(class)
            .map(|class| (class, self.live.table(class).rows_after(after).peekable()))
            .collect();
        std::iter::from_fn(move || {
            // Few classes, so a look at each head beats a heap.
            let mut least: Option<(usize, &TwinId)> = None;
            for (i, (_, run)) in runs.iter_mut().enumerate() {
                if let Some((id, _)) = run.peek()
                    && least.is_none_or(|(_, other)| *id < other)
                {
                    least = Some((i, id));
                }
            }
            let (i, _) = least?;
            let (class, run) = &mut runs[i];
            run.next().map(|(_, row)| TwinRef { class: *class, row })
        })
    }

    /// Twins of a class without its subclasses, in no order: quicker than [`View::scan`] where every
    /// one is looked at.
    pub fn of_class(&self, class: ClassId) -> impl Iterator<Item = TwinRef> + '_ {
        let rows = self.live.table(class).live_rows();
        rows.map(move |row| TwinRef { class, row })
    }

    /// Twins that a twin is related to, unordered.
    pub fn related(
        &self,
        twin: TwinRef,
        relationship: RelationshipId,
        direction: Direction,
    ) -> impl Iterator<Item = TwinRef> + '_ {
        let edges = self.live.edges(relationship);
        let (out, into) = match direction {
            Direction::Out => (Some(edges.targets(twin)), None),
            Direction::In => (None, Some(edges.sources(twin))),
        };
        out.into_iter().flatten().chain(into.into_iter().flatten())
    }

    /// Properties of a relationship, by column of its kind; `None` if there is no such one.
    pub fn relationship(
        &self,
        relationship: RelationshipId,
        source: TwinRef,
        target: TwinRef,
    ) -> Option<&Values> {
        self.live.edges(relationship).get(source, target)
    }

    /// Twins of a class and its subclasses in a region, sorted by id.
    pub fn search(&self, class: ClassId, region: &Region, relation: Relation) -> Vec<TwinRef> {
        self.search_while(class, region, relation, &|| true)
    }

    /// Like [`View::search`]; `go_on` is asked before every test of a shape, and once it says no,
    /// the search ends with what it has.
    pub fn search_while(
        &self,
        class: ClassId,
        region: &Region,
        relation: Relation,
        go_on: &dyn Fn() -> bool,
    ) -> Vec<TwinRef> {
        self.each_space(class, |table, shape_of| {
            table
                .space()
                .search_while(region, relation, shape_of, go_on)
        })
    }

    /// The position after which no twin of a class, or of its subclasses, changed any more: what
    /// is said of them alone is the same at every later instant that answers this position.
    pub fn changed(&self, class: ClassId) -> Position {
        let classes = self.ontology().with_descendants(class);
        let offsets = classes.map(|class| self.live.changed(class));
        Position::of(&self.live.lane, offsets.max().unwrap_or(self.live.offset))
    }

    /// How many twins of exactly this class are on the map.
    pub fn located(&self, class: ClassId) -> Located {
        let space = self.live.table(class).space();
        Located {
            points: space.points(),
            shapes: space.len() - space.points(),
        }
    }

    /// The least box that holds all twins of a class and its subclasses. Looks at each that is no
    /// point.
    pub fn bounds(&self, class: ClassId) -> Option<Bounds> {
        let boxes = self.ontology().with_descendants(class).flat_map(|class| {
            let table = self.live.table(class);
            let has_shapes = self.located(class).shapes > 0;
            let rows = 0..if has_shapes { table.rows() as u32 } else { 0 };
            let shapes = rows.filter_map(move |row| Some(table.shape(row)?.bounds()));
            table.space().bounds_of_points().into_iter().chain(shapes)
        });
        boxes.reduce(Bounds::join)
    }

    /// Walks over the points of a class and its subclasses, in an order that keeps neighbours of
    /// one class together. `look` says how to go on with all that lie in a box, `take` is given
    /// those that are left, page by page until it breaks; both are handed the state of the walk.
    pub fn walk_points<W>(
        &self,
        class: ClassId,
        state: &mut W,
        look: &impl Fn(&mut W, &Bounds) -> Look,
        take: &impl Fn(&mut W, TwinPage<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.ontology()
            .with_descendants(class)
            .try_for_each(|class| {
                let space = self.live.table(class).space();
                space.walk_points(state, look, &|state, page| {
                    take(state, TwinPage { class, page })
                })
            })
    }

    /// Twins of a class and its subclasses that are no points and whose boxes meet a box, sorted by
    /// id, and whether these are all; see [`SpaceIndex::shapes_near`] for `finest` and `most`,
    /// which counts for each class.
    ///
    /// [`SpaceIndex::shapes_near`]: crate::space::SpaceIndex::shapes_near
    pub fn shapes_near(
        &self,
        class: ClassId,
        bounds: &Bounds,
        finest: Resolution,
        most: usize,
    ) -> (Vec<TwinRef>, bool) {
        let (mut found, mut all) = (Vec::new(), true);
        for class in self.ontology().with_descendants(class) {
            let table = self.live.table(class);
            let (rows, complete) = table.space().shapes_near(bounds, finest, most);
            all &= complete;
            let meets = |row: &u32| shape_of(table, *row).bounds().overlaps(bounds);
            let rows = rows.into_iter().filter(meets);
            found.extend(rows.map(|row| TwinRef { class, row }));
        }
        self.sort_by_id(&mut found);
        (found, all)
    }

    /// Twins of a class (of any, if `None`) whose shape holds the point, sorted by id.
    pub fn containing(&self, point: Point, class: Option<ClassId>) -> Vec<TwinRef> {
        self.containing_while(point, class, &|| true)
    }

    /// Like [`View::containing`]; `go_on` is asked before every test of a shape, and once it says
    /// no, the search ends with what it has.
    pub fn containing_while(
        &self,
        point: Point,
        class: Option<ClassId>,
        go_on: &dyn Fn() -> bool,
    ) -> Vec<TwinRef> {
        let find = |table: &'_ crate::live::Table, shape_of: ShapeOf<'_>| {
            table.space().containing_while(point, shape_of, go_on)
        };
        match class {
            Some(class) => self.each_space(class, find),
            None => self.in_spaces(self.ontology().classes().iter().map(|c| c.id), find),
        }
    }

    /// The `k` twins of a class nearest to a point that `accept` admits, with geodesic metres,
    /// sorted by (metres, id).
    pub fn nearest(
        &self,
        class: ClassId,
        point: Point,
        k: usize,
        mut accept: impl FnMut(TwinRef) -> bool,
    ) -> Vec<(TwinRef, f64)> {
        let mut found = Vec::new();
        for class in self.ontology().with_descendants(class) {
            let table = self.live.table(class);
            // The index breaks ties by row, the contract by id; so all that tie come.
            let near = table.space().nearest(
                point,
                k,
                |row| accept(TwinRef { class, row }),
                |row| shape_of(table, row),
            );
            found.extend(near.into_iter().map(|(row, m)| (TwinRef { class, row }, m)));
        }
        found.sort_by(|(a, near), (b, far)| near.total_cmp(far).then_with(|| self.by_id(*a, *b)));
        found.truncate(k);
        found
    }

    /// Compares two twins by id.
    pub fn by_id(&self, a: TwinRef, b: TwinRef) -> Ordering {
        self.id(a).cmp(self.id(b))
    }

    /// Sorts twins by id.
    pub fn sort_by_id(&self, twins: &mut [TwinRef]) {
        // Ids of one source begin alike. What follows nearly always decides within eight bytes,
        // which are compared here, where the ids would have to be fetched again and again.
        let ids: Vec<&[u8]> = twins
            .iter()
            .map(|twin| self.id(*twin).as_str().as_bytes())
            .collect();
        let Some(first) = ids.first() else {
            return;
        };
        // Ids lie all over memory: touched in so small a loop, many are fetched at a time.
        std::hint::black_box(ids.iter().fold(0, |all, id| all ^ id[0]));
        let mut differ = vec![0; first.len()];
        for id in &ids {
            for ((differ, a), b) in differ.iter_mut().zip(*first).zip(*id) {
                *differ |= a ^ b;
            }
        }
        let shortest = ids.iter().map(|id| id.len()).min().unwrap_or_default();
        let differ = differ.iter().take(shortest);
        let alike = differ.take_while(|differ| **differ == 0).count();
        let mut sorted: Vec<(u64, &[u8], TwinRef)> = ids
            .iter()
            .zip(&*twins)
            .map(|(id, twin)| (eight(id, alike), *id, *twin))
            .collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        for (twin, (_, _, in_order)) in twins.iter_mut().zip(sorted) {
            *twin = in_order;
        }
    }

    fn each_space(
        &self,
        class: ClassId,
        find: impl Fn(&crate::live::Table, ShapeOf<'_>) -> Vec<u32>,
    ) -> Vec<TwinRef> {
        self.in_spaces(self.ontology().with_descendants(class), find)
    }

    fn in_spaces(
        &self,
        classes: impl Iterator<Item = ClassId>,
        find: impl Fn(&crate::live::Table, ShapeOf<'_>) -> Vec<u32>,
    ) -> Vec<TwinRef> {
        let mut found = Vec::new();
        for class in classes {
            let table = self.live.table(class);
            let rows = find(table, &|row| shape_of(table, row));
            found.extend(rows.into_iter().map(|row| TwinRef { class, row }));
        }
        self.sort_by_id(&mut found);
        found
    }
}

/// Eight bytes of an id from a place on, as a number that compares as they do.
fn eight(id: &[u8], from: usize) -> u64 {
    // No byte of an id is 0, so a shorter one comes first.
    let mut bytes = [0; 8];
    let rest = id.get(from..).unwrap_or_default();
    let count = rest.len().min(bytes.len());
    bytes[..count].copy_from_slice(&rest[..count]);
    u64::from_be_bytes(bytes)
}

type ShapeOf<'a> = &'a dyn Fn(u32) -> &'a Shape;

#[expect(
    clippy::expect_used,
    reason = "the index holds a row exactly if it has a shape"
)]
fn shape_of(table: &crate::live::Table, row: u32) -> &Shape {
    table.shape(row).expect("an indexed row has a shape")
}

#[cfg(test)]
mod tests {
    use ontology::{Pack, Source};

    use super::*;
    use crate::change::TwinState;

    #[test]
    fn twins_are_sorted_by_id_wherever_their_ids_differ() {
        let model = r#"{"@context": "dtmi:dtdl:context;3", "@id": "dtmi:test:Thing;1",
            "@type": "Interface", "contents": []}"#;
        let source = Source {
            pack: Arc::new(Pack::named("test")),
            file: "Thing.json".to_owned(),
            text: model.to_owned(),
        };
        let (ontology, _) = Ontology::compile(&[source]).unwrap();
        let class = ontology.classes()[0].id;
        let mut live = Live::new(Arc::new(ontology), "main".into(), 0);
        // Beyond eight bytes, by length alone, within the common beginning, and not at all alike.
        let ids = [
            "a:123456789",
            "a:123456788",
            "a:1234567",
            "a:12345678",
            "a:1",
            "a:",
            "a",
            "b",
            "A~",
        ];
        let insert = |id: &&str| {
            live.insert(&TwinState {
                id: TwinId::new(id).unwrap(),
                class,
                values: Arc::from([]),
                geometry: None,
                revision: 1,
            })
        };
        let twins: Vec<TwinRef> = ids.iter().map(insert).collect();
        let view = View {
            live: Arc::new(live),
        };
        for first in 0..ids.len() {
            for last in first..=ids.len() {
                let mut sorted = twins[first..last].to_vec();
                view.sort_by_id(&mut sorted);
                let sorted: Vec<&str> = sorted.iter().map(|t| view.id(*t).as_str()).collect();
                let mut expected = ids[first..last].to_vec();
                expected.sort_unstable();
                assert_eq!(sorted, expected);
            }
        }
    }
}
