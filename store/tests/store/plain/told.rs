//! What followers are told, in the words of the plain nation.

use std::collections::BTreeMap;

use ontology::{Ontology, Value};
use twin_core::{EdgeState, Event, Group, TwinId, TwinState};

use super::compare::place_of;
use super::step::{CLASSES, PROPERTIES, RELATIONSHIPS};
use super::structure::{Being, Relation, Told};

fn number(id: &TwinId) -> u8 {
    id.as_str().trim_start_matches('t').parse().unwrap()
}

fn being(state: &TwinState, ontology: &Ontology) -> Being {
    let class = ontology.class(state.class);
    let properties = class.properties.iter().zip(&*state.values);
    let properties = properties.filter_map(|(property, value)| {
        let known = PROPERTIES.into_iter().find(|name| *name == &*property.name);
        Some((known.unwrap_or("?"), value.clone()?))
    });
    Being {
        class: CLASSES
            .into_iter()
            .find(|name| *name == &*class.name)
            .unwrap(),
        properties: properties.collect(),
        place: state.geometry.as_ref().map(|shape| place_of(shape)),
        revision: Some(state.revision),
    }
}

fn relation(edge: &EdgeState, ontology: &Ontology) -> (Relation, Option<i32>) {
    let kind = &ontology.relationship(edge.relationship).name;
    let name = RELATIONSHIPS
        .into_iter()
        .find(|name| *name == &**kind)
        .unwrap();
    (
        (name, number(&edge.source), number(&edge.target)),
        since(&edge.values),
    )
}

/// The day that a relationship's properties say.
pub(super) fn since(values: &[Option<Value>]) -> Option<i32> {
    match values {
        [Some(Value::Date(day))] => Some(*day),
        [None] | [] => None,
        other => panic!("{other:?}"),
    }
}

/// What happened in a group, one after another.
pub(super) fn of(group: &Group, ontology: &Ontology) -> Vec<Told> {
    assert!(group.validate());
    let mut told: Vec<Told> = group
        .changes
        .iter()
        .map(|change| {
            let mut source = 0;
            let text = match &change.event {
                Event::Created(state) => {
                    assert_eq!(state.revision, change.offset + 1);
                    format!(
                        "created {}: {}",
                        number(&state.id),
                        being(state, ontology).text()
                    )
                }
                Event::Updated { before, after } => {
                    assert_eq!(after.revision, change.offset + 1);
                    let (was, is) = (being(before, ontology), being(after, ontology));
                    format!(
                        "updated {}: {} -> {}",
                        number(&after.id),
                        was.text(),
                        is.text()
                    )
                }
                Event::Deleted(state) => {
                    format!(
                        "deleted {}: {}",
                        number(&state.id),
                        being(state, ontology).text()
                    )
                }
                Event::Related(edge) => {
                    let (relation, day) = relation(edge, ontology);
                    format!("related {relation:?} since {day:?}")
                }
                Event::Rerelated { before, after } => {
                    let (_, was) = relation(before, ontology);
                    let (relation, is) = relation(after, ontology);
                    format!("rerelated {relation:?} {was:?} -> {is:?}")
                }
                Event::Unrelated(edge) => {
                    let (relation, day) = relation(edge, ontology);
                    source = relation.1;
                    format!("unrelated {relation:?} since {day:?}")
                }
            };
            let text = format!("{} {text}", change.principal);
            Told {
                at: group.at,
                text,
                together: None,
                source,
            }
        })
        .collect();
    let mut recorders = group
        .recorders
        .iter()
        .flat_map(|(who, count)| (0..*count).map(move |_| who));
    told.extend(group.readings.iter().map(|reading| {
        let class = ontology.class(reading.class);
        let telemetry = &class.telemetry[reading.telemetry as usize].name;
        let (who, twin) = (recorders.next().unwrap(), number(&reading.twin));
        let value = reading.value.to_json();
        let text = format!("{who} read {twin} {telemetry} {value} at {}", reading.ts);
        Told {
            at: group.at,
            text,
            together: None,
            source: 0,
        }
    }));
    told
}

/// Holds what was told from an offset on against what happened; answers the revisions of sources
/// whose relationships went together with others. Where it is not `whole`, some that went together
/// with the first or the last may be left out.
pub(super) fn same(
    expected: &[&Told],
    mut found: Vec<Told>,
    from: u64,
    whole: bool,
) -> BTreeMap<u8, u64> {
    assert_eq!(expected.len(), found.len(), "things told from {from}");
    let mut revisions = BTreeMap::new();
    let mut i = 0;
    while i < expected.len() {
        let together = expected[i].together;
        let run = match together {
            None => 1,
            Some(_) => expected[i..]
                .iter()
                .take_while(|told| told.together == together)
                .count(),
        };
        let mut wanted = expected[i..i + run].to_vec();
        if together.is_some() {
            for (told, offset) in found[i..i + run].iter().zip(from + i as u64..) {
                revisions.insert(told.source, offset + 1);
            }
            wanted.sort_by(|a, b| a.text.cmp(&b.text));
            found[i..i + run].sort_by(|a, b| a.text.cmp(&b.text));
        }
        let whole = whole || together.is_none() || i > 0 && i + run < expected.len();
        for ((wanted, found), offset) in
            wanted.iter().zip(&found[i..i + run]).zip(from + i as u64..)
        {
            let same = wanted.at == found.at && (wanted.text == found.text || !whole);
            assert!(same, "at {offset}: {found:?}, not {wanted:?}");
        }
        i += run;
    }
    revisions
}
