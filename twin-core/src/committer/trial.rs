//! What commits would do: one after another on a copy of an instant that nobody else sees.
//!
//! # Invariants
//! - The rules are those of a commit, by the same code; nothing is ever written.
//! - A refused commit leaves no trace.

use std::sync::Arc;

use ontology::Ontology;

use super::apply::{Attempt, MAX_CHANGE_BYTES, MAX_CHANGES};
use crate::change::Change;
use crate::commit::{Commit, Refusal};
use crate::door;
use crate::live::Live;
use crate::view::View;

/// A copy of an instant to try commits on. It grows with what they would change.
#[derive(Debug)]
pub struct Trial {
    live: Arc<Live>,
    /// Changes so far, and about how many bytes they are.
    changes: usize,
    bytes: usize,
}

impl Trial {
    /// A trial on a twin that holds nothing yet.
    pub fn empty(ontology: Arc<Ontology>) -> Self {
        Self::new(Arc::new(Live::new(ontology, "trial".into(), 0)))
    }

    pub(crate) fn new(live: Arc<Live>) -> Self {
        Self {
            live,
            changes: 0,
            bytes: 0,
        }
    }

    /// Refuses to go on once everything tried is more than one commit may change: for those who try
    /// what a stranger sends.
    pub fn room(&self) -> Result<(), Refusal> {
        for (what, given, limit, name) in [
            ("changes tried", self.changes, MAX_CHANGES, "MAX_CHANGES"),
            (
                "bytes of changes tried",
                self.bytes,
                MAX_CHANGE_BYTES,
                "MAX_CHANGE_BYTES",
            ),
        ] {
            if given > limit {
                return Err(Refusal::Limited {
                    what,
                    given,
                    limit,
                    name,
                });
            }
        }
        Ok(())
    }

    /// The instant with everything that was tried.
    pub fn view(&self) -> View {
        View {
            live: Arc::clone(&self.live),
        }
    }

    /// Tries a commit; answers the changes it would make, numbered as if nobody else wrote.
    ///
    /// # Errors
    /// What the twin would refuse it for; idempotency keys are not looked at.
    pub fn commit(&mut self, commit: &Commit) -> Result<Vec<Change>, Refusal> {
        let (steps, _bytes) = door::check_commit(&self.live.ontology, commit)?;
        let mut attempt = Attempt::new(&self.live, &commit.principal, self.live.offset);
        for (i, step) in steps.iter().enumerate() {
            let applied = attempt.apply(step);
            applied.map_err(|refusal| refusal.of("operations", i, steps.len()))?;
        }
        let Attempt {
            mut live, changes, ..
        } = attempt;
        let next = live.offset + changes.len() as u64;
        live.advance(&self.live, next);
        self.changes += changes.len();
        self.bytes += changes.iter().map(Change::bytes).sum::<usize>();
        self.live = Arc::new(live);
        Ok(changes)
    }
}
