//! Proving that what is stored agrees with itself: lanes, change log, journal, history, rows and
//! relationships.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use ontology::RelationshipId;
use twin_core::store::StoreError;
use twin_core::{Change, EdgeState, Event, TwinId};

use crate::codec::{self, Header};
use crate::commit::LaneRow;
use crate::follow::located;
use crate::load::TWIN_ROW;
use crate::log::Kind;
use crate::rows::{read_edge, read_twin};
use crate::surreal::SurrealStore;

/// Findings that are told; more are counted.
pub const MAX_FINDINGS: usize = 1_000;

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
    /// Whether the change log reaches back to the beginning, so that rows could be held against it.
    pub whole_log: bool,
    /// What does not agree, at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub further_findings: u64,
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

type Edge = (RelationshipId, TwinId, TwinId);

/// What the change log says there should be.
#[derive(Default)]
struct Expected {
    /// Revision of each twin.
    twins: HashMap<TwinId, u64>,
    edges: HashSet<Edge>,
}

impl Expected {
    fn apply(&mut self, change: Change) {
        let revision = change.offset + 1;
        match change.event {
            Event::Created(state) | Event::Updated { after: state, .. } => {
                self.twins.insert(state.id, revision);
            }
            Event::Deleted(state) => {
                self.twins.remove(&state.id);
            }
            Event::Related(edge) => {
                self.touch(&edge.source, revision);
                self.edges.insert(key(edge));
            }
            Event::Rerelated { after: edge, .. } => self.touch(&edge.source, revision),
            Event::Unrelated(edge) => {
                self.touch(&edge.source, revision);
                self.edges.remove(&key(edge));
            }
        }
    }

    fn touch(&mut self, source: &TwinId, revision: u64) {
        if let Some(known) = self.twins.get_mut(source) {
            *known = revision;
        }
    }
}

fn key(edge: EdgeState) -> Edge {
    (edge.relationship, edge.source, edge.target)
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
                        for change in record.changes {
                            expected.apply(change);
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
                        (error, _) => report.damage(error)?,
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
                report.find(format!(
                    "lane `{lane}`: offsets from {at} to {first} are missing or doubled"
                ));
            }
            at = after;
        }
        if at != next {
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
                match read_twin(&self.ontology, class, row) {
                    Ok((twin, revision)) => {
                        let next = |lane: &str| {
                            report
                                .lanes
                                .iter()
                                .find(|(l, _)| **l == *lane)
                                .map_or(0, |(_, n)| *n)
                        };
                        let ahead = revision.lanes().iter().any(|(lane, at)| *at > next(lane));
                        let id = &twin.id;
                        if ahead {
                            report.find(format!("`{id}` has revision {revision}, not reached yet"));
                        }
                        match expected.twins.remove(id) {
                            Some(due) if due != twin.revision && report.whole_log => {
                                report.find(format!(
                                    "`{id}` has revision {revision}, its last change left {due}"
                                ));
                            }
                            None if report.whole_log => {
                                report.find(format!("`{id}` is stored, but no change made it"));
                            }
                            _ => {}
                        }
                        if !seen.insert(twin.id.clone()) {
                            report.find(format!("`{}` is stored under two classes", twin.id));
                        }
                        Ok(())
                    }
                    Err(error) => report.damage(error),
                }
            })
            .await?;
        }
        for kind in self.ontology.relationships() {
            self.rows("*", &kind.name, |row| {
                report.relationships += 1;
                match read_edge(&self.ontology, kind, row) {
                    Ok(edge) => {
                        for end in [&edge.source, &edge.target] {
                            if !seen.contains(end) {
                                let name = &kind.name;
                                report
                                    .find(format!("`{name}` touches `{end}`, which is not there"));
                            }
                        }
                        let (name, source, target) = (&kind.name, &edge.source, &edge.target);
                        let text = format!("`{source}` {name} `{target}`");
                        if !expected.edges.remove(&key(edge)) && report.whole_log {
                            report.find(format!("{text} is stored, but no change made it"));
                        }
                        Ok(())
                    }
                    Err(error) => report.damage(error),
                }
            })
            .await?;
        }
        if report.whole_log {
            let mut missing: Vec<_> = expected.twins.keys().map(|id| format!("`{id}`")).collect();
            missing.extend(expected.edges.iter().map(|(relationship, source, target)| {
                let name = &self.ontology.relationship(*relationship).name;
                format!("`{source}` {name} `{target}`")
            }));
            missing.sort();
            for missing in missing {
                report.find(format!("{missing} is in the change log, but not stored"));
            }
        }
        Ok(())
    }
}
