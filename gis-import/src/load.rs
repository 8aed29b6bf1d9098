//! Units into batches, so many of them in flight, and everything counted.
//!
//! # Invariants
//! - Batches are handed on in the order of the source, at most [`BATCHES_IN_FLIGHT`] at a time, each
//!   of at most [`BATCH_OPERATIONS`] and about [`BATCH_BYTES`].
//! - What the twin says already is not written again: an import that was cut off goes on with what
//!   is missing, and a repeated one changes nothing.
//! - A relationship whose target is not there yet is tried again after everything else, so a
//!   source need not be sorted; at most [`MAX_DEFERRED`] wait.
//! - When the twin stops writing, loading stops: what was acknowledged is in the report.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{FuturesOrdered, Stream, StreamExt};
use twin_core::TwinId;

use crate::batch::{Outcome, Target, commit, commit_deferred, note};
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
/// Most relationships of a set's known twins that are remembered, so that each is asked for once.
const MAX_KNOWN_LINKS: usize = 1_000_000;

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

/// Commits everything that `source` gives; the report is the one given, filled in.
pub(crate) async fn load(
    target: &Target<'_>,
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
        linked: HashSet::new(),
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
                        in_flight.push_back(commit(target, batch));
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
        in_flight.push_back(commit(target, std::mem::take(&mut loader.pending)));
    }
    while let Some(outcome) = in_flight.next().await {
        loader.take(outcome);
        progress(loader.progress());
    }
    while !loader.deferred.is_empty() && !loader.stopped() {
        let rest = loader.deferred.len().saturating_sub(BATCH_OPERATIONS);
        let last = loader.deferred.split_off(rest);
        let outcome = commit_deferred(target, last).await;
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
    /// Relationships that features without twins of their own asked for.
    linked: HashSet<(TwinId, Arc<str>, TwinId)>,
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
                Built::Unit { mut unit, warnings } => {
                    self.report.read += 1;
                    self.link_once(&mut unit);
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
                Built::Remark(note) => self.report.warnings.add(note),
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

    /// Drops relationships of known twins that earlier features asked for: one may be said by
    /// thousands of features.
    fn link_once(&mut self, unit: &mut Unit) {
        if !unit.puts.is_empty() || self.linked.len() >= MAX_KNOWN_LINKS {
            return;
        }
        unit.links.retain(|link| {
            let Link {
                source,
                name,
                target,
                optional: _,
            } = link.clone();
            self.linked.insert((source, name, target))
        });
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
        let own = |place: usize| puts[place].0 == Per::Feature;
        let twice = (0..puts.len()).find(|place| {
            let same = |other: usize| own(other) && puts[other].1.id == puts[*place].1.id;
            own(*place) && (0..*place).any(same)
        });
        if let Some(twice) = twice {
            let reason = "two rules of the mapping give it this id; ids must differ".to_owned();
            return refuse(&puts[twice].1.id, "a duplicate id", reason);
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
            classes,
            related,
            already_related,
            changes,
            refused,
            warnings,
            deferred,
            stopped,
        } = outcome;
        for (class, counts) in classes {
            self.report.count(class, counts);
        }
        self.report.related += related;
        self.report.already_related += already_related;
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
