//! Subscriptions: which changes are followed, and how one of them is written.
//!
//! # Invariants
//! - A twin in an event is what the change itself says, never what a view says later; so what no
//!   change holds (relationships, readings) is refused before the first event.

use std::collections::HashSet;
use std::sync::Arc;

use async_graphql::parser::types::SelectionSet;
use ontology::{ClassId, Ontology};
use serde_json::Value as Json;
use twin_core::{EdgeState, Position, Principal, Recorded, TwinId, TwinState, View};

use super::plan::{Field, Member, Planner, Twins};
use super::select::Merged;
use super::variables::shown;
use crate::api::ChangeKind;
use crate::error::Fault;
use crate::limits::MAX_IN_VALUES;

/// Which changes are followed.
#[derive(Debug)]
pub(crate) struct Watch {
    class: Option<ClassId>,
    ids: Option<HashSet<TwinId>>,
}

/// A field of `Change`.
#[derive(Debug)]
pub(crate) enum ChangePart<'q> {
    Typename,
    Position,
    Kind,
    At,
    Principal,
    Id,
    Class,
    Before(Twins<'q>),
    After(Twins<'q>),
    Relationship(Vec<Field<'q, EdgePart>>),
    Reading(Vec<Field<'q, RecordedPart>>),
}

/// A field of `ChangedRelationship`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EdgePart {
    Typename,
    Name,
    Source,
    Target,
    Properties,
    Before,
}

/// A field of `RecordedReading`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RecordedPart {
    Typename,
    Telemetry,
    Value,
    Unit,
    Ts,
    Arrived,
}

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) lane: &'a Arc<str>,
    /// The offset right after the change.
    pub(crate) next: u64,
    pub(crate) kind: ChangeKind,
    /// When it arrived, microseconds since 1970, and who did it.
    pub(crate) origin: Option<(i64, &'a Principal)>,
    pub(crate) subject: Subject<'a>,
}

impl Event<'_> {
    /// Right after the change.
    pub(crate) fn position(&self) -> Position {
        Position::of(self.lane, self.next)
    }
}

/// What changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// Nothing did: the subscription ends.
    None,
    Twin {
        before: Option<&'a TwinState>,
        after: Option<&'a TwinState>,
    },
    Relationship {
        before: Option<&'a EdgeState>,
        after: Option<&'a EdgeState>,
    },
    Reading(&'a Recorded),
}

impl<'a> Subject<'a> {
    /// The twin that changed: of a relationship its source.
    pub(crate) fn twin(self) -> Option<(&'a TwinId, ClassId)> {
        match self {
            Self::None => None,
            Self::Twin { before, after } => after.or(before).map(|twin| (&twin.id, twin.class)),
            Self::Relationship { before, after } => after
                .or(before)
                .map(|edge| (&edge.source, edge.source_class)),
            Self::Reading(reading) => Some((&reading.twin, reading.class)),
        }
    }
}

impl Watch {
    pub(crate) fn admits(&self, ontology: &Ontology, id: &TwinId, class: ClassId) -> bool {
        let Self {
            class: wanted,
            ids: among,
        } = self;
        wanted.is_none_or(|wanted| ontology.is_a(class, wanted))
            && among.as_ref().is_none_or(|ids| ids.contains(id))
    }
}

/// What a subscription asks for: its one field, and what of each change.
pub(crate) fn plan<'q>(
    planner: Planner<'q>,
    set: &'q SelectionSet,
) -> Result<Field<'q, Vec<Field<'q, ChangePart<'q>>>>, Fault> {
    let one = || Fault::invalid("a subscription has exactly one field, and it is `changes`");
    let mut fields = planner.object(&[set], "Subscription", |merged| {
        (merged.name() == "changes")
            .then(|| planner.object(&merged.sets, "Change", |part| change_part(planner, part)))
    });
    let (Some(field), true) = (fields.pop(), fields.is_empty()) else {
        return Err(one());
    };
    field.map(|parts| parts.ok_or_else(one))
}

fn change_part<'q>(planner: Planner<'q>, part: &Merged<'q>) -> ChangePart<'q> {
    match part.name() {
        "position" => ChangePart::Position,
        "kind" => ChangePart::Kind,
        "at" => ChangePart::At,
        "principal" => ChangePart::Principal,
        "id" => ChangePart::Id,
        "class" => ChangePart::Class,
        "before" => ChangePart::Before(Twins::new(part.sets.clone())),
        "after" => ChangePart::After(Twins::new(part.sets.clone())),
        "relationship" => {
            let of = |name: &str| match name {
                "name" => EdgePart::Name,
                "source" => EdgePart::Source,
                "target" => EdgePart::Target,
                "properties" => EdgePart::Properties,
                "before" => EdgePart::Before,
                _ => EdgePart::Typename,
            };
            ChangePart::Relationship(
                planner.object(&part.sets, "ChangedRelationship", |part| of(part.name())),
            )
        }
        "reading" => {
            let of = |name: &str| match name {
                "telemetry" => RecordedPart::Telemetry,
                "value" => RecordedPart::Value,
                "unit" => RecordedPart::Unit,
                "ts" => RecordedPart::Ts,
                "arrived" => RecordedPart::Arrived,
                _ => RecordedPart::Typename,
            };
            ChangePart::Reading(
                planner.object(&part.sets, "RecordedReading", |part| of(part.name())),
            )
        }
        _ => ChangePart::Typename,
    }
}

/// Which changes a subscription follows, and from where.
pub(crate) fn watch(
    planner: Planner<'_>,
    view: &View,
    set: &SelectionSet,
) -> Result<(Watch, Position), Fault> {
    let planned = plan(planner, set)?;
    for part in &planned.kind {
        if let ChangePart::Before(twins) | ChangePart::After(twins) = &part.kind {
            refuse_unknowable(planner, part.key, twins)?;
        }
    }
    let asked = planner.ask.fields(&[set], &|name| name == "Subscription");
    let Some(asked) = asked.first() else {
        return Err(Fault::invalid("a subscription has exactly one field"));
    };
    let fail = |fault: Fault| fault.at(asked.pos);
    let class = planner.ask.text(asked.field, "class").map_err(fail)?;
    let class = class.map(|name| planner.api.class_named(&name).map(|class| class.id));
    let ids = planner.ask.argument(asked.field, "ids");
    let ids = ids.map(|ids| some_ids(&ids));
    let watch = Watch {
        class: class.transpose().map_err(fail)?,
        ids: ids.transpose().map_err(fail)?,
    };
    let now = view.position();
    let from = match planner.ask.text(asked.field, "after").map_err(fail)? {
        None => now,
        Some(text) => {
            let after: Position = text
                .parse()
                .map_err(|error| fail(Fault::invalid(format!("`after`: {error}"))))?;
            let ahead = |(lane, offset): &(Arc<str>, u64)| *offset > now.offset(lane);
            if after.lanes().iter().any(ahead) {
                return Err(fail(Fault::invalid(format!(
                    "`after`: {after} is ahead of this twin, which stands at {now}: it is not a \
                     position of this twin"
                ))));
            }
            after
        }
    };
    Ok((watch, from))
}

fn some_ids(json: &Json) -> Result<HashSet<TwinId>, Fault> {
    let items = match json {
        Json::Array(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    if items.len() > MAX_IN_VALUES {
        return Err(Fault::too_costly(format!(
            "`ids` has {} values, and {MAX_IN_VALUES} are allowed (MAX_IN_VALUES)",
            items.len()
        )));
    }
    let id = |item: &Json| {
        let wrong = || Fault::invalid(format!("`ids`: {} is no id of a twin", shown(item)));
        TwinId::new(item.as_str().ok_or_else(wrong)?).map_err(|_not_an_id| wrong())
    };
    items.iter().map(id).collect()
}

/// Refuses what a change does not hold of its twin.
fn refuse_unknowable<'q>(planner: Planner<'q>, key: &str, twins: &Twins<'q>) -> Result<(), Fault> {
    for class in planner.api.ontology.classes() {
        for field in twins.plan(planner, class.id).iter() {
            match &field.kind {
                Member::Reading(..) | Member::One(..) | Member::Related(_) => {
                    return Err(Fault::invalid(format!(
                        "`{key}.{}`: a change holds the twin's properties, not its relationships \
                         and readings: ask for them with `twin(id:)`",
                        field.key
                    ))
                    .at(field.pos));
                }
                Member::Failed(fault) => return Err(fault.clone().at(field.pos)),
                Member::Typename
                | Member::Id
                | Member::Class
                | Member::Revision
                | Member::Geometry
                | Member::Property(..)
                | Member::Null => {}
            }
        }
    }
    Ok(())
}
