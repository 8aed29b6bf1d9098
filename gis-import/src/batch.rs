//! Batches into commits: split until a culprit is refused alone, and what became of each part.
//!
//! # Invariants
//! - One refused unit never keeps another one out.
//! - A dry run goes the same way, on a copy of the twin that is thrown away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use twin_core::{Commit, Operation, Principal, Refusal, Trial, Twin, TwinId, View};

use crate::build::{Link, Unit};
use crate::difference::Difference;
use crate::report::{Counts, Note};

/// Who commits.
const PRINCIPAL: &str = "import";

/// Where commits go.
pub(crate) enum Target<'a> {
    /// To the twin.
    Twin(&'a Twin),
    /// To a copy of it.
    Trial(Mutex<Tried<'a>>),
}

/// A copy of the twin, and who hears what would change.
pub(crate) struct Tried<'a> {
    pub(crate) trial: &'a mut Trial,
    pub(crate) tell: &'a mut (dyn FnMut(&Difference) + Send),
}

impl Target<'_> {
    pub(crate) fn view(&self) -> View {
        match self {
            Self::Twin(twin) => twin.view(),
            Self::Trial(tried) => {
                let tried = tried.lock().unwrap_or_else(PoisonError::into_inner);
                tried.trial.view()
            }
        }
    }

    /// Commits; answers how many changes that made.
    async fn send(&self, operations: Vec<Operation>) -> Result<u64, Refusal> {
        let commit = Commit {
            principal: Principal::system(PRINCIPAL),
            idempotency: None,
            operations,
        };
        match self {
            Self::Twin(twin) => twin.commit(commit).await.map(|receipt| receipt.changes),
            Self::Trial(tried) => {
                let mut tried = tried.lock().unwrap_or_else(PoisonError::into_inner);
                let Tried { trial, tell } = &mut *tried;
                let changes = trial.commit(&commit)?;
                let view = trial.view();
                for change in &changes {
                    tell(&Difference::of(&change.event, view.ontology()));
                }
                Ok(changes.len() as u64)
            }
        }
    }
}

/// What became of a batch.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) classes: BTreeMap<Arc<str>, Counts>,
    pub(crate) related: u64,
    pub(crate) already_related: u64,
    pub(crate) changes: u64,
    pub(crate) refused: Vec<Note>,
    pub(crate) warnings: Vec<Note>,
    pub(crate) deferred: Vec<(String, Link)>,
    pub(crate) stopped: Option<Refusal>,
}

pub(crate) fn note(place: String, link: &Link, reason: impl std::fmt::Display) -> Note {
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

/// Commits a batch, or the parts of it that can be.
pub(crate) async fn commit(target: &Target<'_>, batch: Vec<Unit>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        let before = target.view();
        match target.send(operations(&part)).await {
            Ok(changes) => {
                outcome.changes += changes;
                outcome.count_twins(&part, &before, &target.view());
                outcome.count_links(part.iter().flat_map(|unit| &unit.links), &before);
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
pub(crate) async fn commit_deferred(target: &Target<'_>, links: Vec<(String, Link)>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut parts = vec![links];
    while let Some(mut part) = parts.pop() {
        let before = target.view();
        let operations = part.iter().map(|(_, link)| relate(link)).collect();
        match target.send(operations).await {
            Ok(changes) => {
                outcome.changes += changes;
                outcome.count_links(part.iter().map(|(_, link)| link), &before);
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

impl Outcome {
    /// Counts the twins of a part that was committed between two instants.
    fn count_twins(&mut self, part: &[Unit], before: &View, after: &View) {
        let revision = |view: &View, id: &TwinId| view.twin(id).map(|twin| view.revision(twin));
        for (_, put) in part.iter().flat_map(|unit| &unit.puts) {
            let counts = self.classes.entry(Arc::clone(&put.class)).or_default();
            match revision(before, &put.id) {
                None => counts.created += 1,
                was if was == revision(after, &put.id) => counts.unchanged += 1,
                Some(_) => counts.updated += 1,
            }
        }
    }

    /// Counts relationships that are there now, and those that were there before.
    fn count_links<'l>(&mut self, links: impl Iterator<Item = &'l Link>, before: &View) {
        for link in links {
            let there = || {
                let relationship = before.ontology().relationship_named(&link.name)?.id;
                let (source, target) = (before.twin(&link.source)?, before.twin(&link.target)?);
                before.relationship(relationship, source, target)
            };
            self.related += 1;
            self.already_related += u64::from(there().is_some());
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
