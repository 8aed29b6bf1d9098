//! Units into commits: batches in flight, split until a culprit is refused alone, all counted.
//!
//! # Invariants
//! - Batches are handed to the twin in the order of the source, at most [`BATCHES_IN_FLIGHT`] at a
//!   time, each of at most [`BATCH_OPERATIONS`] and about [`BATCH_BYTES`].
//! - One refused unit never keeps another one out.
//! - A relationship whose target is not there yet is tried again after everything else, so a
//!   source need not be sorted; at most [`MAX_DEFERRED`] wait.
//! - When the twin stops writing, loading stops: what was acknowledged is in the report.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{FuturesOrdered, Stream, StreamExt};
use twin_core::{Commit, Operation, Position, Principal, Refusal, Twin, TwinId};

use crate::build::{Built, Link, Unit};
use crate::error::{Failure, ImportError};
use crate::mapping::Per;
use crate::report::{Note, Report};

/// Most operations of one batch.
pub const BATCH_OPERATIONS: usize = 1_000;
/// Estimated bytes at which a batch is full.
pub const BATCH_BYTES: usize = 4 << 20;
/// Batches that wait for the twin at a time.
pub const BATCHES_IN_FLIGHT: usize = 3;
/// Most relationships that wait for the end.
pub const MAX_DEFERRED: usize = 1_000_000;
/// Most twins of one set: their ids are kept to find duplicates.
pub const MAX_TWINS: usize = 20_000_000;

/// Who commits.
const PRINCIPAL: &str = "import";

/// How far an import is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Features read.
    pub read: u64,
    /// Features there are, where the format tells in advance.
    pub expected: Option<u64>,
    /// Twins that are durable.
    pub twins: u64,
    /// Features and relationships refused.
    pub refused: u64,
}

/// What became of a batch.
#[derive(Default)]
struct Outcome {
    created: u64,
    updated: u64,
    unchanged: u64,
    related: u64,
    changes: u64,
    refused: Vec<Note>,
    warnings: Vec<Note>,
    deferred: Vec<(String, Link)>,
    stopped: Option<Refusal>,
}

/// Commits everything that `source` gives; the report is the one given, filled in.
pub(crate) async fn load(
    twin: &Twin,
    report: Report,
    expected: Option<u64>,
    source: impl Stream<Item = Result<Vec<Built>, ImportError>>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, Failure> {
    let begun = Instant::now();
    let mut loader = Loader {
        report,
        expected,
        seen: HashSet::new(),
        pending: Vec::new(),
        pending_operations: 0,
        pending_bytes: 0,
        deferred: Vec::new(),
        error: None,
    };
    let mut source = std::pin::pin!(source.fuse());
    let mut in_flight = FuturesOrdered::new();
    loop {
        let room = in_flight.len() < BATCHES_IN_FLIGHT && loader.error.is_none();
        // Both are polled: batches go on while the next one is being built.
        tokio::select! {
            biased;
            Some(outcome) = in_flight.next(), if !in_flight.is_empty() => {
                loader.take(outcome);
            }
            chunk = source.next(), if room => match chunk {
                Some(Ok(built)) => {
                    for batch in loader.accept(built) {
                        in_flight.push_back(commit(twin, batch));
                    }
                }
                Some(Err(error)) => loader.error = Some(error),
                None => break,
            },
            else => break,
        }
        progress(loader.progress());
    }
    if !loader.stopped() && !loader.pending.is_empty() {
        in_flight.push_back(commit(twin, std::mem::take(&mut loader.pending)));
    }
    while let Some(outcome) = in_flight.next().await {
        loader.take(outcome);
        progress(loader.progress());
    }
    while !loader.deferred.is_empty() && !loader.stopped() {
        let rest = loader.deferred.len().saturating_sub(BATCH_OPERATIONS);
        let last = loader.deferred.split_off(rest);
        let outcome = commit_deferred(twin, last).await;
        loader.take(outcome);
        progress(loader.progress());
    }
    let Loader {
        mut report, error, ..
    } = loader;
    report.elapsed = begun.elapsed();
    match error {
        None => Ok(report),
        Some(error) => Err(Failure {
            error,
            report: Box::new(report),
        }),
    }
}

struct Loader {
    report: Report,
    expected: Option<u64>,
    seen: HashSet<TwinId>,
    pending: Vec<Unit>,
    pending_operations: usize,
    pending_bytes: usize,
    deferred: Vec<(String, Link)>,
    error: Option<ImportError>,
}

impl Loader {
    fn progress(&self) -> Progress {
        Progress {
            read: self.report.read,
            expected: self.expected,
            twins: self.report.twins(),
            refused: self.report.refused.count,
        }
    }

    /// Whether the twin itself has stopped; a file that ended early stops no commits.
    fn stopped(&self) -> bool {
        matches!(self.error, Some(ImportError::Stopped(_)))
    }

    /// Counts what was built and returns the batches that became full.
    fn accept(&mut self, built: Vec<Built>) -> Vec<Vec<Unit>> {
        let mut full = Vec::new();
        for one in built {
            match one {
                Built::Once(unit) => self.add(unit, &mut full),
                Built::Unit { unit, warnings } => {
                    self.report.read += 1;
                    for warning in warnings {
                        self.report.warnings.add(warning);
                    }
                    match self.without_duplicates(unit) {
                        Ok((shared, unit)) => {
                            self.add(shared, &mut full);
                            self.add(unit, &mut full);
                        }
                        Err(note) => self.report.refused.add(note),
                    }
                }
                Built::Skipped => {
                    self.report.read += 1;
                    self.report.skipped += 1;
                }
                Built::Refused(note) => {
                    self.report.read += 1;
                    self.report.refused.add(note);
                }
            }
        }
        full
    }

    fn add(&mut self, unit: Unit, full: &mut Vec<Vec<Unit>>) {
        let (operations, bytes) = (unit.operations(), unit.bytes());
        if operations == 0 {
            return;
        }
        let too_many = self.pending_operations + operations > BATCH_OPERATIONS;
        if !self.pending.is_empty() && (too_many || self.pending_bytes + bytes > BATCH_BYTES) {
            full.push(std::mem::take(&mut self.pending));
            (self.pending_operations, self.pending_bytes) = (0, 0);
        }
        self.pending_operations += operations;
        self.pending_bytes += bytes;
        self.pending.push(unit);
    }

    /// The unit without twins that others made already, or why it is a duplicate.
    ///
    /// Twins that it shares with others stand apart, in front: they must not be refused with it.
    fn without_duplicates(&mut self, unit: Unit) -> Result<(Unit, Unit), Note> {
        let Unit { place, puts, links } = unit;
        let refuse = |id: &TwinId, kind, reason| {
            let twin = Some(Arc::from(id.as_str()));
            Err(Note {
                place: place.clone(),
                twin,
                kind,
                reason,
            })
        };
        if self.seen.len() + puts.len() > MAX_TWINS
            && let Some((_, put)) = puts.first()
        {
            let reason = format!("the set has more twins than the limit of {MAX_TWINS}: split it");
            return refuse(&put.id, "too many twins", reason);
        }
        let taken = puts
            .iter()
            .find(|(per, put)| *per == Per::Feature && self.seen.contains(&put.id));
        if let Some((_, put)) = taken {
            let reason = "an earlier feature has this id; ids must differ".to_owned();
            return refuse(&put.id, "a duplicate id", reason);
        }
        let new = puts
            .into_iter()
            .filter(|(_, put)| self.seen.insert(put.id.clone()));
        let (own, shared) = new.partition(|(per, _)| *per == Per::Feature);
        let shared = Unit {
            place: place.clone(),
            puts: shared,
            links: Vec::new(),
        };
        Ok((
            shared,
            Unit {
                place,
                puts: own,
                links,
            },
        ))
    }

    fn take(&mut self, outcome: Outcome) {
        let Outcome {
            created,
            updated,
            unchanged,
            related,
            changes,
            refused,
            warnings,
            deferred,
            stopped,
        } = outcome;
        self.report.created += created;
        self.report.updated += updated;
        self.report.unchanged += unchanged;
        self.report.related += related;
        self.report.changes += changes;
        for note in refused {
            self.report.refused.add(note);
        }
        for note in warnings {
            self.report.warnings.add(note);
        }
        for (place, link) in deferred {
            if self.deferred.len() < MAX_DEFERRED {
                self.deferred.push((place, link));
            } else {
                let limit = "more relationships wait for their target than MAX_DEFERRED; sort the \
                             source so that targets come first";
                self.report.refused.add(note(place, &link, limit));
            }
        }
        if let Some(refusal) = stopped
            && !self.stopped()
        {
            self.error = Some(ImportError::Stopped(refusal));
        }
    }
}

fn note(place: String, link: &Link, reason: impl std::fmt::Display) -> Note {
    let Link {
        source,
        name,
        target,
        optional: _,
    } = link;
    Note {
        place,
        twin: Some(source.as_str().into()),
        kind: "a relationship that cannot be",
        reason: format!("without {name} to {target}: {reason}"),
    }
}

fn operations(units: &[Unit]) -> Vec<Operation> {
    let puts = units.iter().flat_map(|unit| &unit.puts);
    let puts = puts.map(|(_, put)| Operation::Upsert(put.clone()));
    // Relationships come last, so that twins of one batch may relate to each other either way.
    puts.chain(units.iter().flat_map(|unit| &unit.links).map(relate))
        .collect()
}

fn relate(link: &Link) -> Operation {
    let Link {
        source,
        name,
        target,
        optional: _,
    } = link.clone();
    Operation::Relate {
        source,
        name,
        target,
        set: Vec::new(),
        expect: None,
        replace: true,
    }
}

/// Whether the twin stopped, as opposed to this commit being refused.
fn stops(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Unavailable(_) | Refusal::OutcomeUnknown(_)
    )
}

async fn send(twin: &Twin, operations: Vec<Operation>) -> Result<u64, Refusal> {
    let principal = Principal::system(PRINCIPAL);
    let commit = Commit {
        principal,
        idempotency: None,
        operations,
    };
    twin.commit(commit).await.map(|receipt| receipt.changes)
}

/// Commits a batch, or the parts of it that can be.
async fn commit(twin: &Twin, batch: Vec<Unit>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        let before = revisions(twin, &part);
        match send(twin, operations(&part)).await {
            Ok(changes) => {
                outcome.changes += changes;
                outcome.related += part.iter().map(|unit| unit.links.len() as u64).sum::<u64>();
                outcome.count(&before, &revisions(twin, &part));
            }
            Err(refusal) if stops(&refusal) => {
                outcome.stopped = Some(refusal);
                return outcome;
            }
            Err(_) if part.len() > 1 => {
                let second = part.split_off(part.len() / 2);
                parts.extend([second, part]);
            }
            Err(refusal) => {
                let Some(unit) = part.pop() else { continue };
                if unit.puts.is_empty() || unit.links.is_empty() {
                    outcome.refuse(unit, &refusal);
                    continue;
                }
                // The twins alone may do: the targets may come later in the source.
                let Unit { place, puts, links } = unit;
                outcome
                    .deferred
                    .extend(links.into_iter().map(|link| (place.clone(), link)));
                parts.push(vec![Unit {
                    place,
                    puts,
                    links: Vec::new(),
                }]);
            }
        }
    }
    outcome
}

/// Relates what waited for its target.
async fn commit_deferred(twin: &Twin, links: Vec<(String, Link)>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut parts = vec![links];
    while let Some(mut part) = parts.pop() {
        match send(twin, part.iter().map(|(_, link)| relate(link)).collect()).await {
            Ok(changes) => {
                outcome.changes += changes;
                outcome.related += part.len() as u64;
            }
            Err(refusal) if stops(&refusal) => {
                outcome.stopped = Some(refusal);
                return outcome;
            }
            Err(_) if part.len() > 1 => {
                let second = part.split_off(part.len() / 2);
                parts.extend([second, part]);
            }
            Err(refusal) => {
                for (place, link) in part {
                    let note = note(place, &link, &refusal);
                    let notes = if link.optional {
                        &mut outcome.warnings
                    } else {
                        &mut outcome.refused
                    };
                    notes.push(note);
                }
            }
        }
    }
    outcome
}

/// Where each twin of a part stands, `None` for one that does not exist.
fn revisions(twin: &Twin, part: &[Unit]) -> Vec<Option<Position>> {
    let view = twin.view();
    let puts = part.iter().flat_map(|unit| &unit.puts);
    puts.map(|(_, put)| view.twin(&put.id).map(|found| view.revision(found)))
        .collect()
}

impl Outcome {
    fn count(&mut self, before: &[Option<Position>], after: &[Option<Position>]) {
        for (before, after) in before.iter().zip(after) {
            match before {
                None => self.created += 1,
                Some(_) if before == after => self.unchanged += 1,
                Some(_) => self.updated += 1,
            }
        }
    }

    /// A unit of twins alone or of relationships alone was refused.
    fn refuse(&mut self, unit: Unit, refusal: &Refusal) {
        let Unit { place, puts, links } = unit;
        let twins_gone = !puts.is_empty();
        if let Some((_, put)) = puts.first() {
            let kind = match refusal.reason() {
                Refusal::Limited { .. } => "more than a limit allows",
                Refusal::Violation(_) => "a rule of the model",
                _ => "refused by the twin",
            };
            // Relationships of a refused twin are part of it, not refusals of their own.
            self.deferred
                .retain(|(_, link)| !puts.iter().any(|(_, put)| put.id == link.source));
            let twin = Some(put.id.as_str().into());
            self.refused.push(Note {
                place: place.clone(),
                twin,
                kind,
                reason: refusal.to_string(),
            });
        }
        if !twins_gone {
            self.deferred
                .extend(links.into_iter().map(|link| (place.clone(), link)));
        }
    }
}
