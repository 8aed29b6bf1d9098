//! Proving that what is stored agrees with itself: lanes, change log, journal, history, rows and
//! relationships.
//!
//! Rows are held against the change log by a fingerprint of all that they hold, so nothing of the
//! nation but ids and numbers is in memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use ontology::{ClassId, Ontology, RelationshipId};
use surrealdb::types::{Object, RecordId, Value};
use twin_core::store::StoreError;
use twin_core::{Change, EdgeState, Event, Position, TwinId, TwinState};

use crate::codec::{self, Header};
use crate::commit::LaneRow;
use crate::follow::located;
use crate::load::TWIN_ROW;
use crate::log::Kind;
use crate::rows::{read_edge, read_twin};
use crate::surreal::SurrealStore;

/// Findings that are told; more are counted.
pub const MAX_FINDINGS: usize = 1_000;

/// Rows that are set right at once; a further repair does the rest.
pub const MAX_MENDS: usize = 10_000;

/// Something stored that does not agree with the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, and where.
    pub what: String,
}

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Lanes and their next offsets.
    pub lanes: Vec<(Arc<str>, u64)>,
    /// Twins' rows read.
    pub twins: u64,
    /// Relationships read.
    pub relationships: u64,
    /// Structural changes read.
    pub changes: u64,
    /// Readings of the journal.
    pub readings: u64,
    /// Readings of sealed history; those that the journal still has stand in both.
    pub sealed_readings: u64,
    /// Readings of classes or telemetry that the ontology no longer has.
    pub foreign_readings: u64,
    /// Records of changes that speak of what the ontology no longer has.
    pub foreign_changes: u64,
    /// Whether the change log reaches back to the beginning and every record of it could be read, so
    /// that rows could be held against it.
    pub whole_log: bool,
    /// What does not agree, at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub further_findings: u64,
    /// Whether offsets of the log are missing, so that nobody knows what they changed.
    pub(crate) gaps: bool,
    /// What the change log can set right, at most [`MAX_MENDS`].
    pub(crate) mends: Mends,
}

/// What is to be done so that rows are what the change log says.
#[derive(Debug, Default)]
pub(crate) struct Mends {
    /// Twins whose row is missing or another one.
    pub(crate) twins: BTreeSet<TwinId>,
    /// Relationships of which the same holds.
    pub(crate) edges: BTreeSet<Edge>,
    /// Rows that no change made.
    pub(crate) strangers: Vec<RecordId>,
}

impl Mends {
    fn has_room(&self) -> bool {
        self.twins.len() + self.edges.len() + self.strangers.len() < MAX_MENDS
    }

    fn twin(&mut self, id: &TwinId) {
        if self.has_room() {
            self.twins.insert(id.clone());
        }
    }

    fn edge(&mut self, edge: &Edge) {
        if self.has_room() {
            self.edges.insert(edge.clone());
        }
    }

    fn stranger(&mut self, row: Option<RecordId>) {
        if self.has_room() {
            self.strangers.extend(row);
        }
    }
}

impl Report {
    /// Whether everything agrees.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.further_findings == 0
    }

    fn find(&mut self, what: impl Into<String>) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { what: what.into() });
        } else {
            self.further_findings += 1;
        }
    }

    /// Damage becomes a finding; trouble of the engine ends the check.
    fn damage(&mut self, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Damaged(what) => {
                self.find(what);
                Ok(())
            }
            other => Err(other),
        }
    }
}

/// Name, source and target of a relationship.
pub(crate) type Edge = (RelationshipId, TwinId, TwinId);

/// A twin as the change log left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    class: ClassId,
    revision: u64,
    content: u64,
}

impl Known {
    fn of(state: &TwinState, revision: u64, ontology: &Ontology) -> Self {
        Self {
            class: state.class,
            revision,
            content: codec::twin_fingerprint(state, ontology),
        }
    }
}

/// What the change log says there should be.
#[derive(Default)]
struct Expected {
    twins: HashMap<TwinId, Known>,
    /// Fingerprints of relationships.
    edges: HashMap<Edge, u64>,
}

impl Expected {
    fn apply(&mut self, change: &Change, ontology: &Ontology) {
        let revision = change.offset + 1;
        match &change.event {
            Event::Created(state) | Event::Updated { after: state, .. } => {
                let known = Known::of(state, revision, ontology);
                self.twins.insert(state.id.clone(), known);
            }
            Event::Deleted(state) => {
                self.twins.remove(&state.id);
            }
            Event::Related(edge) | Event::Rerelated { after: edge, .. } => {
                self.touch(&edge.source, revision);
                let content = codec::edge_fingerprint(edge, ontology);
                self.edges.insert(key(edge), content);
            }
            Event::Unrelated(edge) => {
                self.touch(&edge.source, revision);
                self.edges.remove(&key(edge));
            }
        }
    }

    fn touch(&mut self, source: &TwinId, revision: u64) {
        if let Some(known) = self.twins.get_mut(source) {
            known.revision = revision;
        }
    }
}

pub(crate) fn key(edge: &EdgeState) -> Edge {
    let EdgeState {
        relationship,
        source,
        target,
        ..
    } = edge;
    (*relationship, source.clone(), target.clone())
}

fn record_id(row: &Object) -> Option<RecordId> {
    match row.get("id") {
        Some(Value::RecordId(id)) => Some(id.clone()),
        _ => None,
    }
}

impl SurrealStore {
    /// Reads everything and says where it does not agree.
    pub async fn verify(&self) -> Result<Report, StoreError> {
        let mut report = Report {
            whole_log: true,
            ..Report::default()
        };
        let mut expected = Expected::default();
        for (lane, row) in self.lanes().await? {
            self.verify_lane(&lane, &row, &mut report, &mut expected)
                .await?;
            let history = self.check_history(&lane, row.lane.next).await?;
            report.sealed_readings += history.readings;
            for finding in history.findings {
                report.find(finding);
            }
            report.lanes.push((lane, row.lane.next));
        }
        self.verify_rows(&mut report, &mut expected).await?;
        Ok(report)
    }

    async fn verify_lane(
        &self,
        lane: &Arc<str>,
        row: &LaneRow,
        report: &mut Report,
        expected: &mut Expected,
    ) -> Result<(), StoreError> {
        let (next, tables) = (row.lane.next, &row.tables);
        let whole = 0..i64::MAX.cast_unsigned();
        let mut covered: Vec<(u64, u64)> = Vec::new();
        let mut cover = |header: &Header| covered.push((header.first, header.next()));
        self.packed(
            Kind::Change,
            lane,
            tables,
            whole.clone(),
            |offset, bytes| {
                match codec::decode_changes(bytes, &self.ontology) {
                    Ok(record) => {
                        cover(&record.header);
                        report.changes += record.header.count;
                        for change in &record.changes {
                            expected.apply(change, &self.ontology);
                        }
                    }
                    Err(error) => match (
                        located(Kind::Change, lane, offset, &error),
                        Header::of(bytes),
                    ) {
                        (StoreError::Foreign(_), Ok(header)) => {
                            cover(&header);
                            report.changes += header.count;
                            report.foreign_changes += 1;
                        }
                        (error, _) => {
                            report.whole_log = false;
                            report.damage(error)?;
                        }
                    },
                }
                Ok(ControlFlow::Continue(()))
            },
        )
        .await?;
        self.packed(Kind::Journal, lane, tables, whole, |offset, bytes| {
            match codec::decode_readings(bytes, &self.ontology) {
                Ok(record) => {
                    cover(&record.header);
                    report.readings += record.header.count;
                    let known = record.readings.iter().flatten().count() as u64;
                    report.foreign_readings += record.header.count - known;
                }
                Err(error) => report.damage(located(Kind::Journal, lane, offset, &error))?,
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        covered.sort_unstable();
        // Below the floor one of the two logs was dropped, so there may be gaps.
        covered.retain(|(first, _)| *first >= tables.floor());
        let begin = covered.first().map_or(next, |(first, _)| *first);
        if begin > tables.floor() {
            report.gaps = true;
            let floor = tables.floor();
            report.find(format!(
                "lane `{lane}`: its log begins at {begin}, its row says {floor}"
            ));
        }
        // What rows should be is only known where every change could be read.
        let first = tables.change.first().map_or(0, |table| table.first);
        report.whole_log &= first == 0 && report.foreign_changes == 0;
        let mut at = begin;
        for (first, after) in covered {
            if first != at {
                report.gaps = true;
                report.find(format!(
                    "lane `{lane}`: offsets from {at} to {first} are missing or doubled"
                ));
            }
            at = after;
        }
        if at != next {
            report.gaps = true;
            report.find(format!(
                "lane `{lane}`: its log ends at {at}, its row says {next}"
            ));
        }
        Ok(())
    }

    async fn verify_rows(
        &self,
        report: &mut Report,
        expected: &mut Expected,
    ) -> Result<(), StoreError> {
        let mut seen: HashSet<TwinId> = HashSet::new();
        for class in self.ontology.classes() {
            self.rows(TWIN_ROW, &class.name, |row| {
                report.twins += 1;
                let record = record_id(&row);
                match read_twin(&self.ontology, class, row) {
                    Ok((twin, revision)) => {
                        self.verify_twin(report, expected, record, &twin, &revision);
                        if !seen.insert(twin.id.clone()) {
                            report.find(format!("`{}` is stored under two classes", twin.id));
                        }
                        Ok(())
                    }
                    Err(error) => {
                        report.mends.stranger(record);
                        report.damage(error)
                    }
                }
            })
            .await?;
        }
        for kind in self.ontology.relationships() {
            self.rows("*", &kind.name, |row| {
                report.relationships += 1;
                let record = record_id(&row);
                match read_edge(&self.ontology, kind, row) {
                    Ok(edge) => {
                        for end in [&edge.source, &edge.target] {
                            if !seen.contains(end) {
                                let name = &kind.name;
                                report
                                    .find(format!("`{name}` touches `{end}`, which is not there"));
                            }
                        }
                        self.verify_edge(report, expected, record, &edge);
                        Ok(())
                    }
                    Err(error) => {
                        report.mends.stranger(record);
                        report.damage(error)
                    }
                }
            })
            .await?;
        }
        if report.whole_log {
            expected.twins.keys().for_each(|id| report.mends.twin(id));
            expected
                .edges
                .keys()
                .for_each(|edge| report.mends.edge(edge));
            let mut missing: Vec<_> = expected.twins.keys().map(|id| format!("`{id}`")).collect();
            missing.extend(expected.edges.keys().map(|edge| self.says(edge)));
            missing.sort();
            for missing in missing {
                report.find(format!("{missing} is in the change log, but not stored"));
            }
        }
        Ok(())
    }

    fn verify_twin(
        &self,
        report: &mut Report,
        expected: &mut Expected,
        record: Option<RecordId>,
        twin: &TwinState,
        revision: &Position,
    ) {
        let id = &twin.id;
        let next = |lane: &str| {
            let known = report.lanes.iter().find(|(known, _)| **known == *lane);
            known.map_or(0, |(_, next)| *next)
        };
        if revision.lanes().iter().any(|(lane, at)| *at > next(lane)) {
            report.find(format!("`{id}` has revision {revision}, not reached yet"));
        }
        let due = expected.twins.get(id).copied();
        let of_class = due.filter(|due| due.class == twin.class);
        if of_class.is_some() {
            expected.twins.remove(id);
        }
        if !report.whole_log {
            return;
        }
        let Some(due) = of_class else {
            report.find(format!("`{id}` is stored, but no change made it"));
            report.mends.stranger(record);
            return;
        };
        if due.revision != twin.revision {
            let due = due.revision;
            report.find(format!(
                "`{id}` has revision {revision}, its last change left {due}"
            ));
        } else if due != Known::of(twin, twin.revision, &self.ontology) {
            report.find(format!(
                "`{id}` holds something else than its last change left"
            ));
        } else {
            return;
        }
        report.mends.twin(id);
    }

    fn verify_edge(
        &self,
        report: &mut Report,
        expected: &mut Expected,
        record: Option<RecordId>,
        edge: &EdgeState,
    ) {
        let key = key(edge);
        let due = expected.edges.remove(&key);
        if !report.whole_log {
            return;
        }
        match due {
            None => {
                report.find(format!(
                    "{} is stored, but no change made it",
                    self.says(&key)
                ));
                report.mends.stranger(record);
            }
            Some(due) if due != codec::edge_fingerprint(edge, &self.ontology) => {
                let text = self.says(&key);
                report.find(format!(
                    "{text} holds something else than its last change left"
                ));
                report.mends.edge(&key);
            }
            Some(_) => {}
        }
    }

    fn says(&self, (relationship, source, target): &Edge) -> String {
        let name = &self.ontology.relationship(*relationship).name;
        format!("`{source}` {name} `{target}`")
    }
}
