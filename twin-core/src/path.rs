//! The shortest path between two twins over named relationships.
//!
//! # Invariants
//! - No other path has a smaller total; of those with the same total none has fewer relationships.
//! - Of those that are left the answer is the same on every machine: seen from the end, each twin
//!   comes from the one of the lowest id, over the relationship of the lowest name, along before
//!   against its direction.
//! - The work is bounded by [`MAX_VISITED`], the memory by what was visited.

use std::cmp::{Ordering, Reverse};
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};

use ontology::{RelationshipId, Value};

use crate::graph::MAX_VISITED;
use crate::id::TwinId;
use crate::live::TwinRef;
use crate::view::{Direction, View};

/// A relationship that a path may take.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The relationship.
    pub relationship: RelationshipId,
    /// Column of its numeric property that says how far it leads; without it each counts 1. One
    /// without a value there is not taken.
    pub weight: Option<usize>,
}

/// One relationship of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// The relationship.
    pub relationship: RelationshipId,
    /// Where it starts, whichever way the path takes it.
    pub source: TwinRef,
    /// Where it ends.
    pub target: TwinRef,
    /// What it adds to the total.
    pub weight: f64,
}

/// A path from one twin to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// The twins in order, both ends included.
    pub twins: Vec<TwinRef>,
    /// The relationships between them, one less.
    pub links: Vec<Link>,
    /// Sum of the weights from the start on; how many relationships where none is named.
    pub total: f64,
}

/// Why no path was looked for to the end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It would take more than [`MAX_VISITED`] relationships to look at.
    #[error(
        "the search for a path looks at more than {MAX_VISITED} relationships (MAX_VISITED): name \
         fewer relationships, or one direction"
    )]
    TooMany,
    /// A weight below 0, with which going round in circles would be the shortest.
    #[error(
        "relationship `{start}` {name} `{end}` has the weight {weight}: weights of a path are 0 or \
         more, so mend it or name another weight"
    )]
    Negative {
        /// Its source.
        start: TwinId,
        /// Its name.
        name: String,
        /// Its target.
        end: TwinId,
        /// The weight.
        weight: f64,
    },
}

/// How far a twin is from the start.
#[derive(Clone, Copy, Debug)]
struct Far {
    total: f64,
    links: u32,
}

impl Ord for Far {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_total = self.total.total_cmp(&other.total);
        by_total.then(self.links.cmp(&other.links))
    }
}

impl PartialOrd for Far {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Far {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Far {}

/// A twin that was reached: how far it is, and from where.
#[derive(Clone, Copy, Debug)]
struct Reached {
    far: Far,
    /// `None` for the start.
    from: Option<(TwinRef, Link)>,
}

/// The shortest path between two twins over relationships of some names, followed in one direction
/// or, where none is named, in both; `None` if there is none.
///
/// `go_on` is asked at every relationship that is looked at; once it says no, the search ends and
/// what it answers means nothing.
pub fn shortest_path(
    view: &View,
    start: TwinRef,
    end: TwinRef,
    over: &[Way],
    direction: Option<Direction>,
    go_on: impl Fn() -> bool,
) -> Result<Option<Path>, PathError> {
    let both = [Direction::Out, Direction::In];
    let directions = both
        .into_iter()
        .filter(|way| direction.is_none_or(|only| only == *way));
    let nowhere = Far {
        total: 0.0,
        links: 0,
    };
    let first = Reached {
        far: nowhere,
        from: None,
    };
    let mut reached = HashMap::from([(start, first)]);
    let mut open = BinaryHeap::from([Reverse((nowhere, start))]);
    let mut visited = 0;
    while let Some(Reverse((far, twin))) = open.pop() {
        if reached.get(&twin).is_none_or(|known| known.far != far) {
            continue; // A shorter way to it was found since.
        }
        if twin == end {
            return Ok(Some(retrace(&reached, end, far.total)));
        }
        for way in over {
            for direction in directions.clone() {
                for other in view.related(twin, way.relationship, direction) {
                    visited += 1;
                    if visited > MAX_VISITED {
                        return Err(PathError::TooMany);
                    }
                    if !go_on() {
                        return Ok(None);
                    }
                    let (source, target) = match direction {
                        Direction::Out => (twin, other),
                        Direction::In => (other, twin),
                    };
                    let Some(weight) = weight(view, *way, source, target)? else {
                        continue;
                    };
                    let far = Far {
                        total: far.total + weight,
                        links: far.links + 1,
                    };
                    if !far.total.is_finite() {
                        continue; // Beyond every number is not reached.
                    }
                    let link = Link {
                        relationship: way.relationship,
                        source,
                        target,
                        weight,
                    };
                    let next = Reached {
                        far,
                        from: Some((twin, link)),
                    };
                    match reached.entry(other) {
                        Entry::Vacant(place) => {
                            place.insert(next);
                            open.push(Reverse((far, other)));
                        }
                        Entry::Occupied(mut known) => match far.cmp(&known.get().far) {
                            Ordering::Less => {
                                known.insert(next);
                                open.push(Reverse((far, other)));
                            }
                            Ordering::Equal if precedes(view, &next, known.get()) => {
                                known.insert(next);
                            }
                            Ordering::Equal | Ordering::Greater => {}
                        },
                    }
                }
            }
        }
    }
    Ok(None)
}

/// Whether the first of two ways that are equally far is the one to be answered.
fn precedes(view: &View, one: &Reached, other: &Reached) -> bool {
    let (Some((a, link)), Some((b, than))) = (one.from, other.from) else {
        return false;
    };
    // Relationship ids are sorted by name.
    let order = view
        .by_id(a, b)
        .then(link.relationship.cmp(&than.relationship))
        .then((link.source != a).cmp(&(than.source != b)));
    order.is_lt()
}

/// What a relationship adds; `None` if it has no value.
fn weight(
    view: &View,
    way: Way,
    source: TwinRef,
    target: TwinRef,
) -> Result<Option<f64>, PathError> {
    let Some(column) = way.weight else {
        return Ok(Some(1.0));
    };
    let values = view.relationship(way.relationship, source, target);
    let weight = match values.and_then(|values| values.get(column)) {
        Some(Some(Value::Int(whole))) => *whole as f64,
        Some(Some(Value::Double(number))) => *number,
        _ => return Ok(None),
    };
    if weight < 0.0 {
        let kind = view.ontology().relationship(way.relationship);
        return Err(PathError::Negative {
            start: view.id(source).clone(),
            name: kind.name.to_string(),
            end: view.id(target).clone(),
            weight,
        });
    }
    Ok(Some(weight))
}

fn retrace(reached: &HashMap<TwinRef, Reached>, end: TwinRef, total: f64) -> Path {
    let (mut twins, mut links) = (vec![end], Vec::new());
    let mut here = end;
    while let Some((twin, link)) = reached.get(&here).and_then(|known| known.from) {
        twins.push(twin);
        links.push(link);
        here = twin;
    }
    twins.reverse();
    links.reverse();
    Path {
        twins,
        links,
        total,
    }
}
