//! The live twin: what the changes so far say, in memory, one immutable instant at a time.
//!
//! # Invariants
//! - A published [`Live`] never changes; a clone costs a few reference counts (every part is a
//!   persistent structure), and changing a clone copies only the pages it touches.
//! - `ids` holds exactly the twins of all tables; a [`TwinRef`] is meaningful only together with
//!   the `Live` it came from, because rows of deleted twins are used again.
//! - Both directions of `edges` hold the same pairs, and both ends exist.
//!
//! Does no I/O and checks no rule: the door and the committer did.

mod column;
mod edges;
mod table;
mod vector;

use std::sync::Arc;

use imbl::HashMap;
use ontology::{ClassId, Ontology, RelationshipId, Value};

pub use self::column::ValueRef;
pub(crate) use self::edges::Edges;
pub use self::table::Latest;
pub(crate) use self::table::Table;
use crate::change::{EdgeState, Recorded, TwinState, Values};
use crate::history::{KeptLatest, LatestPage};
use crate::id::TwinId;

/// A twin within one [`Live`]: its class and its row there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TwinRef {
    pub(crate) class: ClassId,
    pub(crate) row: u32,
}

/// One instant of the nation.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) ontology: Arc<Ontology>,
    pub(crate) lane: Arc<str>,
    /// Everything below this offset has happened.
    pub(crate) offset: u64,
    /// For each class the offset at which twins of exactly that class last changed, or at which
    /// they were loaded.
    changed: Vec<u64>,
    ids: HashMap<TwinId, TwinRef>,
    tables: Vec<Arc<Table>>,
    edges: Vec<Arc<Edges>>,
}

impl Live {
    pub(crate) fn new(ontology: Arc<Ontology>, lane: Arc<str>, offset: u64) -> Self {
        let tables = ontology
            .classes()
            .iter()
            .map(|class| Arc::new(Table::new(class)))
            .collect();
        let edges = ontology
            .relationships()
            .iter()
            .map(|_| Arc::new(Edges::default()))
            .collect();
        Self {
            changed: vec![offset; ontology.classes().len()],
            ontology,
            lane,
            offset,
            ids: HashMap::new(),
            tables,
            edges,
        }
    }

    /// Ends a group of changes that began from `base`: the instant is the one before `next`.
    pub(crate) fn advance(&mut self, base: &Self, next: u64) {
        self.offset = next;
        let tables = self.tables.iter().zip(&base.tables);
        for (changed, (table, before)) in self.changed.iter_mut().zip(tables) {
            // Whoever changes a table copies it first.
            if !Arc::ptr_eq(table, before) {
                *changed = next;
            }
        }
    }

    /// The offset at which twins of exactly this class last changed.
    pub(crate) fn changed(&self, class: ClassId) -> u64 {
        self.changed[class.0 as usize]
    }

    pub(crate) fn find(&self, id: &str) -> Option<TwinRef> {
        self.ids.get(id).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn table(&self, class: ClassId) -> &Table {
        &self.tables[class.0 as usize]
    }

    pub(crate) fn edges(&self, relationship: RelationshipId) -> &Edges {
        &self.edges[relationship.0 as usize]
    }

    pub(crate) fn id(&self, twin: TwinRef) -> &TwinId {
        self.table(twin.class).id(twin.row)
    }

    /// The twin's structural state.
    pub(crate) fn state(&self, twin: TwinRef) -> TwinState {
        let table = self.table(twin.class);
        TwinState {
            id: table.id(twin.row).clone(),
            class: twin.class,
            values: table.values(twin.row),
            geometry: table.own_shape(twin.row).cloned(),
            revision: table.revision(twin.row),
        }
    }

    pub(crate) fn edge_state(
        &self,
        relationship: RelationshipId,
        source: TwinRef,
        target: TwinRef,
        values: &Values,
    ) -> EdgeState {
        EdgeState {
            relationship,
            source: self.id(source).clone(),
            source_class: source.class,
            target: self.id(target).clone(),
            target_class: target.class,
            values: Arc::clone(values),
        }
    }

    /// Every relationship that touches the twin, as (relationship, source, target).
    pub(crate) fn touching(
        &self,
        twin: TwinRef,
    ) -> impl Iterator<Item = (RelationshipId, TwinRef, TwinRef)> + '_ {
        self.ontology.relationships().iter().flat_map(move |kind| {
            let edges = self.edges(kind.id);
            // A twin related to itself stands in both directions and is named once.
            let out = edges
                .targets(twin)
                .map(move |target| (kind.id, twin, target));
            let into = edges
                .sources(twin)
                .filter(move |source| *source != twin)
                .map(move |source| (kind.id, source, twin));
            out.chain(into)
        })
    }

    pub(crate) fn insert(&mut self, state: &TwinState) -> TwinRef {
        let table = Arc::make_mut(&mut self.tables[state.class.0 as usize]);
        let twin = TwinRef {
            class: state.class,
            row: table.insert(state),
        };
        let earlier = self.ids.insert(state.id.clone(), twin);
        debug_assert!(earlier.is_none(), "{} was there already", state.id);
        twin
    }

    pub(crate) fn update(&mut self, twin: TwinRef, state: &TwinState) {
        Arc::make_mut(&mut self.tables[twin.class.0 as usize]).update(twin.row, state);
    }

    pub(crate) fn set_revision(&mut self, twin: TwinRef, revision: u64) {
        Arc::make_mut(&mut self.tables[twin.class.0 as usize]).set_revision(twin.row, revision);
    }

    /// Removes a twin that no relationship touches.
    pub(crate) fn remove(&mut self, twin: TwinRef) {
        debug_assert!(
            self.touching(twin).next().is_none(),
            "{} is still related",
            self.id(twin)
        );
        let table = Arc::make_mut(&mut self.tables[twin.class.0 as usize]);
        let id = table.remove(twin.row);
        self.ids.remove(&id);
    }

    pub(crate) fn relate(
        &mut self,
        relationship: RelationshipId,
        source: TwinRef,
        target: TwinRef,
        values: Values,
    ) {
        Arc::make_mut(&mut self.edges[relationship.0 as usize]).insert(source, target, values);
    }

    pub(crate) fn unrelate(
        &mut self,
        relationship: RelationshipId,
        source: TwinRef,
        target: TwinRef,
    ) {
        Arc::make_mut(&mut self.edges[relationship.0 as usize]).remove(source, target);
    }

    /// Takes a reading in; answers whether one of the same time was there.
    pub(crate) fn read(&mut self, twin: TwinRef, telemetry: usize, latest: Latest) -> bool {
        let table = Arc::make_mut(&mut self.tables[twin.class.0 as usize]);
        table.read(twin.row, telemetry, latest)
    }

    pub(crate) fn value(&self, twin: TwinRef, column: usize) -> Option<Value> {
        self.table(twin.class).value(twin.row, column)
    }

    /// Newest readings by pages of neighbouring rows: the pages that hold one at or after an offset.
    pub(crate) fn latest_pages(&self, since: u64, rows: u32) -> Vec<LatestPage> {
        let classes = self.ontology.classes().iter();
        let pages = classes.flat_map(|class| {
            let table = self.table(class.id);
            let count = (table.rows() as u32).div_ceil(rows);
            (0..count).filter_map(move |page| {
                let rows = page * rows..((page + 1) * rows).min(table.rows() as u32);
                let newest = |row| (0..class.telemetry.len()).map(move |t| (row, t));
                let all = || rows.clone().flat_map(newest);
                let latest = |(row, t): (u32, usize)| table.latest(row, t);
                if !all().filter_map(latest).any(|l| l.offset >= since) {
                    return None;
                }
                let readings = all().filter_map(|(row, telemetry)| {
                    let latest = table.latest(row, telemetry)?;
                    Some(KeptLatest {
                        reading: Recorded {
                            twin: table.id(row).clone(),
                            class: class.id,
                            telemetry: telemetry as u32,
                            ts: latest.ts,
                            value: latest.value.clone(),
                        },
                        arrived: latest.arrived,
                        offset: latest.offset,
                    })
                });
                Some(LatestPage {
                    class: class.id,
                    page,
                    readings: readings.collect(),
                })
            })
        });
        pages.collect()
    }
}
