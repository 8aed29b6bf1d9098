//! Questions about the graph: following relationships over several hops.

use std::collections::BTreeSet;

use ontology::{ClassId, RelationshipId};

use crate::live::TwinRef;
use crate::view::{Direction, View};

/// Most twins one traversal visits.
pub const MAX_VISITED: usize = 1_000_000;

/// One hop of a traversal.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The relationship to follow.
    pub relationship: RelationshipId,
    /// Which way.
    pub direction: Direction,
    /// Keep only twins of this class, subclasses included.
    pub class: Option<ClassId>,
}

/// A traversal that would visit more than [`MAX_VISITED`] twins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the traversal visits more than {MAX_VISITED} twins (MAX_VISITED): start from fewer or filter earlier"
)]
pub struct TooMany;

/// The twins at the end of a path of steps from any of the starts, each once, sorted by id.
///
/// `keep` is asked about twins that a step reaches and whose class fits, with the step's place from
/// 0: those it declines are not followed. `go_on` is asked at every twin that is met; once it says
/// no, the traversal ends and what it answers means nothing.
pub fn traverse(
    view: &View,
    from: &[TwinRef],
    steps: &[Step],
    keep: impl Fn(usize, TwinRef) -> bool,
    go_on: impl Fn() -> bool,
) -> Result<Vec<TwinRef>, TooMany> {
    let mut front: BTreeSet<TwinRef> = from.iter().copied().collect();
    let mut visited = 0;
    for (place, step) in steps.iter().enumerate() {
        let mut next = BTreeSet::new();
        for twin in front {
            for related in view.related(twin, step.relationship, step.direction) {
                visited += 1;
                if visited > MAX_VISITED {
                    return Err(TooMany);
                }
                if !go_on() {
                    return Ok(Vec::new());
                }
                let fits = |class| view.ontology().is_a(view.class_id(related), class);
                if !next.contains(&related) && step.class.is_none_or(fits) && keep(place, related) {
                    next.insert(related);
                }
            }
        }
        front = next;
    }
    let mut found: Vec<_> = front.into_iter().collect();
    view.sort_by_id(&mut found);
    Ok(found)
}
