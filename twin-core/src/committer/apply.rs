//! One commit applied to a copy of the live twin: the rules that only order can decide.

use std::sync::Arc;

use ontology::{ClassId, RelationshipId, Value};

use super::group::Touched;
use crate::change::{Change, Event, TwinState, Values};
use crate::commit::{Expect, Refusal};
use crate::door::{Set, Step};
use crate::id::{Position, Principal, TwinId};
use crate::live::{Edges, Live, TwinRef};
use crate::space::Shape;

/// Most relationships that one delete detaches. The store needs some milliseconds for each, and
/// nobody else writes meanwhile.
pub const MAX_DETACHED: usize = 500;
/// Most twins and relationships that one commit removes, for the same reason.
pub const MAX_REMOVALS: usize = 1_000;
/// Most changes that one commit makes, detached relationships included.
pub const MAX_CHANGES: usize = 100_000;
/// Most estimated bytes of the changes that one commit makes. Each keeps its twin as it stood
/// before, so few words may change much.
pub const MAX_CHANGE_BYTES: usize = 128 << 20;

/// A commit in the making; dropped whole if a step is refused.
pub(super) struct Attempt<'a> {
    pub(super) live: Live,
    pub(super) touched: Touched,
    pub(super) changes: Vec<Change>,
    /// Estimated bytes of the changes.
    pub(super) bytes: usize,
    /// Twins and relationships removed.
    removals: usize,
    principal: &'a Principal,
    first: u64,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(live: &Live, principal: &'a Principal, first: u64) -> Self {
        Self {
            live: live.clone(),
            touched: Touched::default(),
            changes: Vec::new(),
            bytes: 0,
            removals: 0,
            principal,
            first,
        }
    }

    pub(super) fn apply(&mut self, step: &Step) -> Result<(), Refusal> {
        if self.changes.len() > MAX_CHANGES {
            return Err(Refusal::Limited {
                what: "changes of a commit",
                given: self.changes.len(),
                limit: MAX_CHANGES,
                name: "MAX_CHANGES",
            });
        }
        if self.removals > MAX_REMOVALS {
            return Err(Refusal::Limited {
                what: "twins and relationships that a commit removes",
                given: self.removals,
                limit: MAX_REMOVALS,
                name: "MAX_REMOVALS",
            });
        }
        if self.bytes > MAX_CHANGE_BYTES {
            return Err(Refusal::Limited {
                what: "bytes of a commit's changes, each with what was there before",
                given: self.bytes,
                limit: MAX_CHANGE_BYTES,
                name: "MAX_CHANGE_BYTES",
            });
        }
        match step {
            Step::Put {
                id,
                class,
                set,
                geometry,
                expect,
                must_exist,
            } => self.put(
                id,
                *class,
                set,
                geometry.as_ref(),
                expect.as_ref(),
                *must_exist,
            ),
            Step::Delete { id, expect, detach } => self.delete(id, expect.as_ref(), *detach),
            Step::Relate {
                source,
                relationship,
                target,
                set,
                expect,
                replace,
            } => {
                let ends = (self.existing(source)?, self.existing(target)?);
                self.expect(source, Some(ends.0), expect.as_ref())?;
                self.relate(*relationship, ends, set, *replace)
            }
            Step::Unrelate {
                source,
                relationship,
                target,
                expect,
            } => {
                let ends = (self.existing(source)?, self.existing(target)?);
                self.expect(source, Some(ends.0), expect.as_ref())?;
                if self.live.edges(*relationship).get(ends.0, ends.1).is_some() {
                    self.unrelate(*relationship, ends.0, ends.1);
                }
                Ok(())
            }
        }
    }

    fn put(
        &mut self,
        id: &TwinId,
        class: ClassId,
        set: &Set,
        geometry: Option<&Option<Arc<Shape>>>,
        expect: Option<&Expect>,
        must_exist: bool,
    ) -> Result<(), Refusal> {
        let found = self.live.find(id.as_str());
        self.expect(id, found, expect)?;
        let Some(twin) = found else {
            if must_exist {
                return Err(Refusal::NotFound(id.clone()));
            }
            let columns = self.live.ontology.class(class).properties.len();
            let values = with(&vec![None; columns], set);
            let geometry = geometry.cloned().flatten();
            let revision = self.next_revision();
            let state = TwinState {
                id: id.clone(),
                class,
                values,
                geometry,
                revision,
            };
            self.live.insert(&state);
            self.touched.twins.insert(id.clone());
            self.push(Event::Created(state));
            return Ok(());
        };
        if twin.class != class {
            let (is, given) = (self.class_name(twin.class), self.class_name(class));
            return Err(Refusal::Conflict(format!(
                "`{id}` is a {is}, not a {given}: a twin keeps its class; delete it first"
            )));
        }
        let before = self.live.state(twin);
        let geometry = match geometry {
            None => before.geometry.clone(),
            // An equal geometry keeps the known one, so that nothing is stored or indexed again.
            Some(Some(new)) => match &before.geometry {
                Some(known) if known == new => Some(Arc::clone(known)),
                _ => Some(Arc::clone(new)),
            },
            Some(None) => None,
        };
        let values = with(&before.values, set);
        let revision = self.next_revision();
        let after = TwinState {
            id: id.clone(),
            class,
            values,
            geometry,
            revision,
        };
        if !after.same_as(&before) {
            self.live.update(twin, &after);
            self.touched.twins.insert(id.clone());
            self.push(Event::Updated { before, after });
        }
        Ok(())
    }

    fn delete(
        &mut self,
        id: &TwinId,
        expect: Option<&Expect>,
        detach: bool,
    ) -> Result<(), Refusal> {
        let twin = self.existing(id)?;
        self.expect(id, Some(twin), expect)?;
        let touching: Vec<_> = self.live.touching(twin).take(MAX_DETACHED + 1).collect();
        if touching.len() > MAX_DETACHED {
            let (given, limit, name) = (touching.len(), MAX_DETACHED, "MAX_DETACHED");
            return Err(Refusal::Limited {
                what: "relationships to detach",
                given,
                limit,
                name,
            });
        }
        if let Some((relationship, source, target)) = touching.first()
            && !detach
        {
            return Err(Refusal::Violation(format!(
                "`{id}` has {} relationship(s), such as `{}` {} `{}`: unrelate them first, or \
                 delete with `detach: true`",
                touching.len(),
                self.live.id(*source),
                self.live.ontology.relationship(*relationship).name,
                self.live.id(*target),
            )));
        }
        for (relationship, source, target) in touching {
            self.unrelate(relationship, source, target);
        }
        let before = self.live.state(twin);
        self.live.remove(twin);
        self.touched.twins.insert(id.clone());
        self.push(Event::Deleted(before));
        Ok(())
    }

    fn relate(
        &mut self,
        relationship: RelationshipId,
        (source, target): (TwinRef, TwinRef),
        set: &Set,
        replace: bool,
    ) -> Result<(), Refusal> {
        let ontology = Arc::clone(&self.live.ontology);
        let kind = ontology.relationship(relationship);
        let source_class = ontology.class(source.class);
        let Some(rule) = source_class.relationship_by_id(relationship) else {
            return Err(Refusal::Violation(format!(
                "a {} has no relationship `{}`",
                source_class.name, kind.name
            )));
        };
        if let Some(wanted) = rule.target
            && !ontology.is_a(target.class, wanted)
        {
            return Err(Refusal::Violation(format!(
                "`{}` of a {} leads to a {}, and `{}` is a {}",
                kind.name,
                source_class.name,
                ontology.class(wanted).name,
                self.live.id(target),
                ontology.class(target.class).name,
            )));
        }
        let known = self.live.edges(relationship).get(source, target).cloned();
        if known.is_none()
            && let Some(max) = rule.max
        {
            let others: Vec<_> = self
                .live
                .edges(relationship)
                .targets(source)
                .take(max as usize)
                .collect();
            if others.len() >= max as usize {
                if !replace {
                    return Err(Refusal::Violation(format!(
                        "`{}` of `{}` admits {max} target(s) and has `{}`: unrelate it first",
                        kind.name,
                        self.live.id(source),
                        self.live.id(others[0]),
                    )));
                }
                for other in others {
                    self.unrelate(relationship, source, other);
                }
            }
        }
        let none = Edges::no_values();
        let base: &[Option<Value>] = known.as_deref().unwrap_or(&none);
        let columns = kind.properties.len();
        let padded: Vec<_> = base
            .iter()
            .cloned()
            .chain(std::iter::repeat(None))
            .take(columns)
            .collect();
        let values = with(&padded, set);
        if known.as_ref() == Some(&values) {
            return Ok(());
        }
        let after = self.live.edge_state(relationship, source, target, &values);
        let event = match known {
            None => Event::Related(after),
            Some(known) => {
                let before = self.live.edge_state(relationship, source, target, &known);
                Event::Rerelated { before, after }
            }
        };
        self.live.relate(relationship, source, target, values);
        self.touch_edge(relationship, source, target);
        self.push(event);
        Ok(())
    }

    fn unrelate(&mut self, relationship: RelationshipId, source: TwinRef, target: TwinRef) {
        let Some(values) = self.live.edges(relationship).get(source, target).cloned() else {
            return;
        };
        let before = self.live.edge_state(relationship, source, target, &values);
        self.touch_edge(relationship, source, target);
        self.live.unrelate(relationship, source, target);
        self.push(Event::Unrelated(before));
    }

    /// Marks a relationship and gives its source the revision of the change to come.
    fn touch_edge(&mut self, relationship: RelationshipId, source: TwinRef, target: TwinRef) {
        let (from, to) = (self.live.id(source).clone(), self.live.id(target).clone());
        self.live.set_revision(source, self.next_revision());
        self.touched.twins.insert(from.clone());
        self.touched.edges.insert((relationship, from, to));
    }

    fn existing(&self, id: &TwinId) -> Result<TwinRef, Refusal> {
        self.live
            .find(id.as_str())
            .ok_or_else(|| Refusal::NotFound(id.clone()))
    }

    fn expect(
        &self,
        id: &TwinId,
        found: Option<TwinRef>,
        expect: Option<&Expect>,
    ) -> Result<(), Refusal> {
        match (expect, found) {
            (None, _) | (Some(Expect::Absent), None) => Ok(()),
            (Some(Expect::Absent), Some(_)) => Err(Refusal::Conflict(format!(
                "`{id}` is expected to be absent and exists"
            ))),
            (Some(Expect::Revision(revision)), None) => Err(Refusal::Conflict(format!(
                "`{id}` is expected at revision {revision} and does not exist"
            ))),
            (Some(Expect::Revision(revision)), Some(twin)) => {
                let stands = self.live.table(twin.class).revision(twin.row);
                let stands = Position::of(&self.live.lane, stands);
                if stands == *revision {
                    return Ok(());
                }
                Err(Refusal::Conflict(format!(
                    "`{id}` is expected at revision {revision} and stands at {stands}: read it again"
                )))
            }
        }
    }

    fn class_name(&self, class: ClassId) -> &str {
        &self.live.ontology.class(class).name
    }

    /// The revision that the next change gives.
    fn next_revision(&self) -> u64 {
        self.first + self.changes.len() as u64 + 1
    }

    fn push(&mut self, event: Event) {
        let offset = self.first + self.changes.len() as u64;
        let change = Change {
            offset,
            principal: self.principal.clone(),
            event,
        };
        let removal = matches!(change.event, Event::Deleted(_) | Event::Unrelated(_));
        self.removals += usize::from(removal);
        self.bytes += change.bytes();
        self.changes.push(change);
    }
}

fn with(base: &[Option<Value>], set: &Set) -> Values {
    let mut values = base.to_vec();
    for (column, value) in set {
        values[*column].clone_from(value);
    }
    values.into()
}
