//! Setting rows right from the change log.
//!
//! # Invariants
//! - Only a log that is whole is believed: from the first offset on, each record read, none missing.
//! - What is written is what the last change of a twin or relationship left, so a repair that was cut
//!   short is ended by another one.
//! - Nobody writes meanwhile: the twin is not open.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use surrealdb::types::{RecordId, RecordIdKey, Value};
use twin_core::store::StoreError;
use twin_core::{EdgeState, Event, TwinId, TwinState};

use crate::codec;
use crate::database::variables;
use crate::follow::located;
use crate::log::Kind;
use crate::rows::{edge_id, new_edge, new_twin};
use crate::surreal::SurrealStore;
use crate::verify::{Edge, Mends, Report, key};

/// What was set right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Twins whose rows were written again.
    pub twins: u64,
    /// Relationships of which the same holds.
    pub relationships: u64,
    /// Rows that no change had made, removed.
    pub removed: u64,
}

/// Things as the change log left them.
struct Last<'m> {
    mends: &'m Mends,
    /// Ids of rows that are removed, and with them relationships that touch them.
    removed: BTreeSet<&'m str>,
    /// With the lane of their revision.
    twins: BTreeMap<TwinId, (Arc<str>, TwinState)>,
    edges: BTreeMap<Edge, EdgeState>,
}

impl<'m> Last<'m> {
    fn new(mends: &'m Mends) -> Self {
        let key = |row: &'m RecordId| match &row.key {
            RecordIdKey::String(key) => Some(key.as_str()),
            _ => None,
        };
        Self {
            mends,
            removed: mends.strangers.iter().filter_map(key).collect(),
            twins: BTreeMap::new(),
            edges: BTreeMap::new(),
        }
    }

    fn apply(&mut self, lane: &Arc<str>, offset: u64, event: Event) {
        match event {
            Event::Created(state) | Event::Updated { after: state, .. } => {
                if self.mends.twins.contains(&state.id) {
                    self.twins
                        .insert(state.id.clone(), (Arc::clone(lane), state));
                }
            }
            Event::Deleted(state) => {
                self.twins.remove(&state.id);
            }
            Event::Related(edge) | Event::Rerelated { after: edge, .. } => {
                self.touch(&edge.source, offset);
                let key = key(&edge);
                let goes = |end: &TwinId| self.removed.contains(end.as_str());
                if self.mends.edges.contains(&key) || goes(&edge.source) || goes(&edge.target) {
                    self.edges.insert(key, edge);
                }
            }
            Event::Unrelated(edge) => {
                self.touch(&edge.source, offset);
                self.edges.remove(&key(&edge));
            }
        }
    }

    fn touch(&mut self, source: &TwinId, offset: u64) {
        if let Some((_, state)) = self.twins.get_mut(source) {
            state.revision = offset + 1;
        }
    }
}

impl SurrealStore {
    /// Writes the rows again that a report found to be others than the change log left, and removes
    /// those that no change made; at most [`MAX_MENDS`](crate::MAX_MENDS), in several transactions.
    ///
    /// Refused where the log is not whole: nobody knows then which is right. The twin must not be open.
    pub async fn repair(&self, report: &Report) -> Result<Repaired, StoreError> {
        if !report.whole_log || report.gaps {
            return Err(StoreError::Refused(
                "rows are set right from the change log, and it is not whole (some of it is damaged, \
                 missing or past its retention): restore a backup"
                    .to_owned(),
            ));
        }
        let mends = &report.mends;
        let mut last = Last::new(mends);
        for (lane, row) in self.lanes().await? {
            let whole = 0..i64::MAX.cast_unsigned();
            let each = |offset, bytes: &[u8]| {
                let record = codec::decode_changes(bytes, &self.ontology)
                    .map_err(|error| located(Kind::Change, &lane, offset, &error))?;
                for change in record.changes {
                    last.apply(&lane, change.offset, change.event);
                }
                Ok(ControlFlow::Continue(()))
            };
            self.packed(Kind::Change, &lane, &row.tables, whole, each)
                .await?;
        }
        let mut repaired = Repaired::default();
        // Before the rest: with the row of a twin SurrealDB removes the relationships that touch it.
        for row in &mends.strangers {
            self.mend("DELETE $id RETURN NONE", row, Value::None)
                .await?;
            repaired.removed += 1;
        }
        for (lane, state) in last.twins.values() {
            let row = new_twin(&self.ontology, lane, state)?;
            let id = crate::rows::twin_id(&self.ontology, state.class, &state.id);
            self.mend("UPSERT $id CONTENT $row RETURN NONE", &id, row)
                .await?;
            repaired.twins += 1;
        }
        for edge in last.edges.values() {
            let id = edge_id(&self.ontology, edge);
            let name = &self.ontology.relationship(edge.relationship).name;
            let text = format!(
                "BEGIN; DELETE $id RETURN NONE; INSERT RELATION INTO `{name}` $row RETURN NONE; COMMIT"
            );
            self.mend(&text, &id, new_edge(&self.ontology, edge))
                .await?;
            repaired.relationships += 1;
        }
        Ok(repaired)
    }

    async fn mend(&self, text: &str, id: &RecordId, row: Value) -> Result<(), StoreError> {
        let vars = variables([("id", Value::RecordId(id.clone())), ("row", row)]);
        self.database.run(text, vars).await.map(drop)
    }
}
