//! A store in memory that fails on command: for tests, and for looking at a nation without a disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ontology::{Ontology, RelationshipId};

use crate::change::{
    DeadLetter, EdgeState, EdgeWrite, Group, KeptReceipt, MAX_DEAD_LETTERS, RowWrite, TwinState,
};
use crate::id::TwinId;
use crate::store::{Kept, KeptLetter, Lane, Loaded, PastReading, Series, Sink, Store, StoreError};

/// What the next commit does instead of succeeding.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Refuses every group that touches a twin of this id.
    RefuseTwin(TwinId),
    /// Fails the next commit as an engine does; nothing of it is kept.
    Engine,
    /// Fails like an engine whose disk took the group and could not say so.
    EngineAfterKeeping,
}

/// A store in memory. Clones share what is stored, so a clone can be opened again.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    ontology: Arc<Ontology>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    lanes: HashMap<String, Lane>,
    twins: BTreeMap<TwinId, TwinState>,
    edges: BTreeMap<(RelationshipId, TwinId, TwinId), EdgeState>,
    receipts: Vec<KeptReceipt>,
    groups: Vec<Group>,
    dead_letters: Vec<DeadLetter>,
    fault: Option<Fault>,
    commits: u64,
    forgotten: Option<Forgotten>,
}

/// What followers find of groups that the store no longer shows.
#[derive(Debug)]
struct Forgotten {
    /// Oldest offset that can be followed from.
    oldest: u64,
    /// What the ontology lacks; `None` where retention has passed.
    foreign: Option<String>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(ontology: Arc<Ontology>) -> Self {
        Self {
            ontology,
            state: Arc::default(),
        }
    }

    /// Makes the store fail from now on; `None` heals it.
    pub fn fail(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// The dead letters that were made durable, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.lock().dead_letters.clone()
    }

    /// Lets followers find nothing before an offset: as after retention, or, with a name, as after
    /// the ontology lost it.
    pub fn forget(&self, oldest: u64, foreign: Option<&str>) {
        self.lock().forgotten = Some(Forgotten {
            oldest,
            foreign: foreign.map(str::to_owned),
        });
    }

    /// How many groups were made durable.
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, group: &Group) -> Result<(), StoreError> {
        let mut state = self.lock();
        let fault = state.fault.clone();
        match &fault {
            Some(Fault::Engine) => return Err(StoreError::Engine("made to fail".to_owned())),
            Some(Fault::RefuseTwin(id)) if touches(group, id) => {
                return Err(StoreError::Refused(format!("made to refuse {id}")));
            }
            _ => {}
        }
        let lane = state.lanes.get_mut(&*group.lane);
        match lane {
            Some(lane) if lane.epoch == group.epoch && lane.next == group.first => {
                lane.next = group.next;
            }
            _ => {
                return Err(StoreError::Fenced {
                    lane: group.lane.to_string(),
                });
            }
        }
        for edge in &group.edges {
            if let EdgeWrite::Delete(edge) = edge {
                state.edges.remove(&key(edge));
            }
        }
        for row in &group.rows {
            match row {
                RowWrite::Insert(twin) | RowWrite::Update { state: twin, .. } => {
                    state.twins.insert(twin.id.clone(), twin.clone());
                }
                RowWrite::Delete { id, .. } => {
                    state.twins.remove(id);
                }
            }
        }
        for edge in &group.edges {
            if let EdgeWrite::Insert(edge) | EdgeWrite::Update(edge) = edge {
                state.edges.insert(key(edge), edge.clone());
            }
        }
        state.receipts.extend(group.receipts.iter().cloned());
        state.commits += 1;
        state
            .dead_letters
            .extend(group.dead_letters.iter().cloned());
        state.groups.push(group.clone().told());
        if matches!(fault, Some(Fault::EngineAfterKeeping)) {
            return Err(StoreError::Engine("made to fail after keeping".to_owned()));
        }
        Ok(())
    }
}

fn key(edge: &EdgeState) -> (RelationshipId, TwinId, TwinId) {
    (edge.relationship, edge.source.clone(), edge.target.clone())
}

fn touches(group: &Group, id: &TwinId) -> bool {
    group.rows.iter().any(|row| match row {
        RowWrite::Insert(twin) | RowWrite::Update { state: twin, .. } => twin.id == *id,
        RowWrite::Delete { id: deleted, .. } => deleted == id,
    }) || group.readings.iter().any(|reading| reading.twin == *id)
}

impl Store for MemoryStore {
    fn claim<'a>(&'a self, lane: &'a str) -> BoxFuture<'a, Result<Lane, StoreError>> {
        let mut state = self.lock();
        let entry = state
            .lanes
            .entry(lane.to_owned())
            .or_insert(Lane { epoch: 0, next: 0 });
        entry.epoch += 1;
        let claimed = *entry;
        async move { Ok(claimed) }.boxed()
    }

    fn commit<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            // As a real store does, let others run while it "syncs".
            tokio::task::yield_now().await;
            self.apply(group)
        }
        .boxed()
    }

    fn load<'a>(
        &'a self,
        _now: i64,
        sink: &'a mut Sink<'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let state = self.lock();
            for twin in state.twins.values() {
                sink(Loaded::Twin(twin.clone()))?;
            }
            for edge in state.edges.values() {
                sink(Loaded::Edge(edge.clone()))?;
            }
            for receipt in &state.receipts {
                sink(Loaded::Receipt(receipt.clone()))?;
            }
            for group in &state.groups {
                for twin in group.deleted() {
                    sink(Loaded::Ended {
                        twin: twin.clone(),
                        offset: group.first_reading(),
                    })?;
                }
            }
            for group in &state.groups {
                for (reading, offset) in group.readings.iter().zip(group.first_reading()..) {
                    let reading = reading.clone();
                    sink(Loaded::Reading {
                        reading,
                        arrived: group.at,
                        offset,
                    })?;
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn groups<'a>(
        &'a self,
        lane: &'a str,
        from: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Kept, StoreError>> {
        /// A rough size is enough here: the bound is about memory of a real store's reader.
        const ITEM_BYTES: usize = 256;
        let state = self.lock();
        if let Some(Forgotten { oldest, foreign }) = &state.forgotten
            && from < *oldest
        {
            let oldest = *oldest;
            let kept = match foreign.clone() {
                Some(what) => Kept::Foreign { what },
                None => Kept::Gap { oldest },
            };
            return async move { Ok(kept) }.boxed();
        }
        let mut bytes = 0;
        let groups = state
            .groups
            .iter()
            .filter(|group| *group.lane == *lane && group.next > from)
            .take_while(|group| {
                let fits = bytes <= max_bytes;
                bytes += ITEM_BYTES * (group.changes.len() + group.readings.len());
                fits
            })
            .cloned()
            .collect();
        async move { Ok(Kept::Groups(groups)) }.boxed()
    }

    fn readings<'a>(
        &'a self,
        series: &'a Series<'a>,
    ) -> BoxFuture<'a, Result<Vec<PastReading>, StoreError>> {
        let state = self.lock();
        let ends = state
            .groups
            .iter()
            .filter(|group| group.first < series.before)
            .filter(|group| group.deleted().any(|twin| twin == series.twin));
        let born = ends.map(Group::first_reading).max().unwrap_or(0);
        let mut found = BTreeMap::new();
        for group in &state.groups {
            for (reading, offset) in group.readings.iter().zip(group.first_reading()..) {
                let class = self.ontology.class(reading.class);
                let name = &class.telemetry[reading.telemetry as usize].name;
                if reading.twin == *series.twin
                    && **name == *series.telemetry
                    && series.ts.contains(&reading.ts)
                    && (born..series.before).contains(&offset)
                {
                    let past = PastReading {
                        ts: reading.ts,
                        arrived: group.at,
                        offset: Some(offset),
                        value: reading.value.clone(),
                    };
                    found.insert(reading.ts, past);
                }
            }
        }
        async move { Ok(found.into_values().take(series.limit).collect()) }.boxed()
    }

    fn dead_letters<'a>(
        &'a self,
        _lane: &'a str,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<KeptLetter>, StoreError>> {
        let state = self.lock();
        let letters = state.dead_letters.iter().enumerate().rev();
        let letters = letters.take(MAX_DEAD_LETTERS as usize);
        let letters = letters
            .map(|(number, letter)| KeptLetter {
                number: number as u64,
                letter: letter.clone(),
            })
            .filter(|kept| kept.number < before);
        let letters = letters.take(limit).collect();
        async move { Ok(letters) }.boxed()
    }
}
