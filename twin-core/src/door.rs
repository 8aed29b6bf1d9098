//! The door: names become ids and columns, values are checked against the model, once.
//!
//! What leaves here is trusted: the committer checks only what order decides (does the twin exist,
//! is its class still the same, are there too many targets).

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ontology::{Class, ClassId, Ontology, Property, RelationshipId, Schema, Value};

use crate::change::{VALUE_BYTES, value_bytes};
use crate::commit::{
    Commit, Expect, MAX_COMMIT_BYTES, MAX_OPERATIONS, MAX_READINGS, Operation, Put, Readings,
    Refusal,
};
use crate::id::TwinId;
use crate::live::Live;
use crate::space::Shape;

/// Estimated bytes of an operation beside its values.
const OPERATION_BYTES: usize = 160;
/// Bytes of one vertex of a geometry.
const VERTEX_BYTES: usize = 16;

/// Values to set by column; `None` clears.
pub(crate) type Set = Vec<(usize, Option<Value>)>;

/// A checked operation.
#[derive(Debug)]
pub(crate) enum Step {
    Put {
        id: TwinId,
        class: ClassId,
        set: Set,
        geometry: Option<Option<Arc<Shape>>>,
        expect: Option<Expect>,
        must_exist: bool,
    },
    Delete {
        id: TwinId,
        expect: Option<Expect>,
        detach: bool,
    },
    Relate {
        source: TwinId,
        relationship: RelationshipId,
        target: TwinId,
        set: Set,
        expect: Option<Expect>,
        replace: bool,
    },
    Unrelate {
        source: TwinId,
        relationship: RelationshipId,
        target: TwinId,
        expect: Option<Expect>,
    },
}

/// A checked reading.
#[derive(Debug)]
pub(crate) struct ReadStep {
    pub(crate) twin: TwinId,
    pub(crate) class: ClassId,
    pub(crate) telemetry: u32,
    pub(crate) ts: i64,
    pub(crate) value: Value,
}

/// Checks a commit; answers its steps and its estimated bytes.
pub(crate) fn check_commit(
    ontology: &Ontology,
    commit: &Commit,
) -> Result<(Vec<Step>, usize), Refusal> {
    let given = commit.operations.len();
    if given > MAX_OPERATIONS {
        let (limit, name) = (MAX_OPERATIONS, "MAX_OPERATIONS");
        return Err(Refusal::Limited {
            what: "operations of a commit",
            given,
            limit,
            name,
        });
    }
    let mut bytes = 0;
    let mut steps = Vec::with_capacity(given);
    for (i, operation) in commit.operations.iter().enumerate() {
        let step = check_operation(ontology, operation)
            .map_err(|refusal| refusal.of("operations", i, given))?;
        bytes += step_bytes(&step);
        steps.push(step);
    }
    if bytes > MAX_COMMIT_BYTES {
        let (limit, name) = (MAX_COMMIT_BYTES, "MAX_COMMIT_BYTES");
        return Err(Refusal::Limited {
            what: "bytes of a commit",
            given: bytes,
            limit,
            name,
        });
    }
    Ok((steps, bytes))
}

/// Checks readings, each measured `within` the times that are taken; answers them and their
/// estimated bytes.
///
/// A reading without a time gets the next of `arrivals`.
pub(crate) fn check_readings(
    live: &Live,
    readings: &Readings,
    within: &RangeInclusive<i64>,
    arrivals: impl Fn() -> i64,
) -> Result<(Vec<ReadStep>, usize), Refusal> {
    let given = readings.readings.len();
    if given > MAX_READINGS {
        let (limit, name) = (MAX_READINGS, "MAX_READINGS");
        return Err(Refusal::Limited {
            what: "readings of one call",
            given,
            limit,
            name,
        });
    }
    let mut bytes = 0;
    let mut steps = Vec::with_capacity(given);
    for (i, reading) in readings.readings.iter().enumerate() {
        let located = |refusal: Refusal| refusal.of("readings", i, given);
        let twin = live
            .find(reading.twin.as_str())
            .ok_or_else(|| located(Refusal::NotFound(reading.twin.clone())))?;
        let class = live.ontology.class(twin.class);
        let index = class.telemetry_index(&reading.telemetry).ok_or_else(|| {
            let names = class.telemetry.iter().map(|t| &*t.name);
            located(unknown(
                format!("telemetry of {}", class.name),
                &reading.telemetry,
                names,
            ))
        })?;
        let schema = &class.telemetry[index].schema;
        admit(schema, &reading.value).map_err(|reason| {
            located(Refusal::Invalid {
                at: reading.telemetry.to_string(),
                reason,
            })
        })?;
        if let Some(ts) = reading.ts {
            admit_time(ts, within).map_err(|reason| {
                located(Refusal::Invalid {
                    at: format!("ts of {}", reading.telemetry),
                    reason,
                })
            })?;
        }
        bytes += OPERATION_BYTES + value_bytes(&reading.value);
        steps.push(ReadStep {
            twin: reading.twin.clone(),
            class: twin.class,
            telemetry: index as u32,
            ts: reading.ts.unwrap_or_else(&arrivals),
            value: reading.value.clone(),
        });
    }
    Ok((steps, bytes))
}

/// Whether a time lies within those that are taken; the reason where it does not.
fn admit_time(ts: i64, within: &RangeInclusive<i64>) -> Result<(), String> {
    let seconds = |beyond: u64| beyond.div_ceil(1_000_000);
    let shown = Value::DateTime(ts).to_json();
    if ts > *within.end() {
        Err(format!(
            "{shown} lies {} s further ahead of this server's clock than twin.max_ahead_secs \
             allows: set the clock that measured it, and send UTC",
            seconds(ts.abs_diff(*within.end()))
        ))
    } else if ts < *within.start() {
        Err(format!(
            "{shown} lies {} days further behind this server's clock than twin.max_behind_days \
             allows: set the clock that measured it (one without a battery begins anew in 1970), \
             or raise that setting for readings that are really so old",
            seconds(ts.abs_diff(*within.start())).div_ceil(86_400)
        ))
    } else {
        Ok(())
    }
}

fn check_operation(ontology: &Ontology, operation: &Operation) -> Result<Step, Refusal> {
    match operation {
        Operation::Upsert(put) => check_put(ontology, put, false),
        Operation::Patch(put) => check_put(ontology, put, true),
        Operation::Delete { id, expect, detach } => Ok(Step::Delete {
            id: id.clone(),
            expect: expect.clone(),
            detach: *detach,
        }),
        Operation::Relate {
            source,
            name,
            target,
            set,
            expect,
            replace,
        } => {
            let relationship = relationship(ontology, name)?;
            let properties = &ontology.relationship(relationship).properties;
            Ok(Step::Relate {
                source: source.clone(),
                relationship,
                target: target.clone(),
                set: check_set(properties, set, || {
                    format!("property of relationship {name}")
                })?,
                expect: expect.clone(),
                replace: *replace,
            })
        }
        Operation::Unrelate {
            source,
            name,
            target,
            expect,
        } => Ok(Step::Unrelate {
            source: source.clone(),
            relationship: relationship(ontology, name)?,
            target: target.clone(),
            expect: expect.clone(),
        }),
    }
}

fn check_put(ontology: &Ontology, put: &Put, must_exist: bool) -> Result<Step, Refusal> {
    let class = class(ontology, &put.class)?;
    Ok(Step::Put {
        id: put.id.clone(),
        class: class.id,
        set: check_set(&class.properties, &put.set, || {
            format!("property of {}", class.name)
        })?,
        geometry: put.geometry.clone(),
        expect: put.expect.clone(),
        must_exist,
    })
}

fn check_set(
    properties: &[Property],
    set: &[(Arc<str>, Option<Value>)],
    what: impl Fn() -> String,
) -> Result<Set, Refusal> {
    let mut checked: Set = Vec::with_capacity(set.len());
    for (name, value) in set {
        let column = properties
            .binary_search_by(|p| (*p.name).cmp(name))
            .map_err(|_absent| unknown(what(), name, properties.iter().map(|p| &*p.name)))?;
        if let Some(value) = value {
            admit(&properties[column].schema, value).map_err(|reason| Refusal::Invalid {
                at: name.to_string(),
                reason,
            })?;
        }
        if checked.iter().any(|(earlier, _)| *earlier == column) {
            let reason = "is set twice".to_owned();
            return Err(Refusal::Invalid {
                at: name.to_string(),
                reason,
            });
        }
        checked.push((column, value.clone()));
    }
    Ok(checked)
}

/// The class of a name, or a refusal that suggests a close one.
pub(crate) fn class<'o>(ontology: &'o Ontology, name: &str) -> Result<&'o Class, Refusal> {
    ontology.class_named(name).ok_or_else(|| {
        unknown(
            "class".to_owned(),
            name,
            ontology.classes().iter().map(|c| &*c.name),
        )
    })
}

fn relationship(ontology: &Ontology, name: &str) -> Result<RelationshipId, Refusal> {
    ontology
        .relationship_named(name)
        .map(|kind| kind.id)
        .ok_or_else(|| {
            let names = ontology.relationships().iter().map(|kind| &*kind.name);
            unknown("relationship".to_owned(), name, names)
        })
}

fn unknown<'a>(what: String, name: &str, known: impl Iterator<Item = &'a str>) -> Refusal {
    let suggestion = ontology::closest(name, known).map(str::to_owned);
    Refusal::UnknownName {
        what,
        name: name.chars().take(120).collect(),
        suggestion,
    }
}

/// Whether a typed value fits a schema; the reason where it does not.
pub(crate) fn admit(schema: &Schema, value: &Value) -> Result<(), String> {
    let fits = match (schema, value) {
        (Schema::Boolean, Value::Bool(_))
        | (Schema::Long, Value::Int(_))
        | (Schema::String, Value::Text(_))
        | (Schema::Date, Value::Date(_))
        | (Schema::DateTime, Value::DateTime(_))
        | (Schema::Time, Value::Time(_))
        | (Schema::Duration, Value::Duration(_)) => true,
        (Schema::Integer { min, max }, Value::Int(v)) => min <= v && v <= max,
        (Schema::Double, Value::Double(v)) => v.is_finite(),
        // Nested schemas: what the value prints as must parse to the value itself, so every level
        // is checked by the same rules and no other kind of value slips through.
        _ => {
            let parsed = schema
                .parse(&value.to_json())
                .map_err(|misfit| misfit.to_string())?;
            parsed == *value
        }
    };
    if fits {
        Ok(())
    } else {
        Err(format!(
            "{} does not fit {}",
            value.to_json(),
            schema.name()
        ))
    }
}

fn step_bytes(step: &Step) -> usize {
    let set_bytes = |set: &Set| -> usize {
        set.iter()
            .map(|(_, value)| value.as_ref().map_or(VALUE_BYTES, value_bytes))
            .sum()
    };
    OPERATION_BYTES
        + match step {
            Step::Put { set, geometry, .. } => {
                let shape = geometry.as_ref().and_then(Option::as_ref);
                set_bytes(set) + shape.map_or(0, |shape| shape.stored_vertices() * VERTEX_BYTES)
            }
            Step::Relate { set, .. } => set_bytes(set),
            Step::Delete { .. } | Step::Unrelate { .. } => 0,
        }
}

/// Shares equal short texts, so that a million `"Public"` take the room of one.
///
/// Bounded: past [`Interner::MAX_TEXTS`] new texts are simply not shared.
#[derive(Debug, Default)]
pub(crate) struct Interner(HashSet<Arc<str>>);

impl Interner {
    const MAX_TEXTS: usize = 65_536;
    const MAX_BYTES: usize = 64;

    pub(crate) fn share(&mut self, value: &mut Value) {
        if let Value::Text(text) = value
            && text.len() <= Self::MAX_BYTES
        {
            if let Some(known) = self.0.get(text) {
                *text = Arc::clone(known);
            } else if self.0.len() < Self::MAX_TEXTS {
                self.0.insert(Arc::clone(text));
            }
        }
    }
}
