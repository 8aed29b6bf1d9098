//! Twins and relationships as rows of their tables, and back.

use std::sync::Arc;

use ontology::{Ontology, Property};
use surrealdb::types::{Array, Bytes, Object, RecordId, RecordIdKey, Value};
use twin_core::store::StoreError;
use twin_core::{EdgeState, Position, TwinId, TwinState, Values};

use crate::database::damaged;
use crate::shape;
use crate::tables::{EDGE_FIELDS, TWIN_FIELDS};
use crate::values::{property_from_stored, property_to_stored, record_id_text};

/// Largest geometry of one row, as WKB. Far above a province at full resolution; it bounds what a
/// single row asks of the engine's memory.
pub const MAX_SHAPE_BYTES: usize = 32 << 20;

/// The record id of a twin.
pub(crate) fn twin_id(ontology: &Ontology, class: ontology::ClassId, id: &TwinId) -> RecordId {
    RecordId::new(ontology.class(class).name.to_string(), id.as_str())
}

/// The record id of a relationship: its ends decide it, so there is one for each pair.
pub(crate) fn edge_id(ontology: &Ontology, edge: &EdgeState) -> RecordId {
    let ends = [&edge.source, &edge.target].map(|end| Value::String(end.as_str().to_owned()));
    let key = RecordIdKey::Array(Array::from(Vec::from(ends)));
    RecordId::new(
        ontology.relationship(edge.relationship).name.to_string(),
        key,
    )
}

/// Whether absent values are written too, to clear what stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Omitted,
    Cleared,
}

fn properties(row: &mut Object, properties: &[Property], values: &Values, absent: Absent) {
    for (property, value) in properties.iter().zip(values.iter()) {
        match value {
            Some(value) => {
                row.insert(&*property.name, property_to_stored(property, value));
            }
            None if absent == Absent::Cleared => {
                row.insert(&*property.name, Value::None);
            }
            None => {}
        }
    }
}

fn place(row: &mut Object, state: &TwinState) -> Result<(), StoreError> {
    let Some(shape) = &state.geometry else {
        for field in ["geometry", "shape", "cell"] {
            row.insert(field, Value::None);
        }
        return Ok(());
    };
    let wkb = shape::wkb(shape);
    if wkb.len() > MAX_SHAPE_BYTES {
        return Err(StoreError::Refused(format!(
            "the geometry of `{}` takes {} bytes, more than the limit of {MAX_SHAPE_BYTES} \
             (MAX_SHAPE_BYTES): simplify it",
            state.id,
            wkb.len()
        )));
    }
    row.insert("geometry", Value::Geometry(shape::planar(shape)));
    row.insert("shape", Value::Bytes(Bytes::from(wkb)));
    row.insert("cell", shape::cell(shape));
    Ok(())
}

/// The whole row of a new twin.
pub(crate) fn new_twin(
    ontology: &Ontology,
    lane: &Arc<str>,
    state: &TwinState,
) -> Result<Value, StoreError> {
    let class = ontology.class(state.class);
    let mut row = Object::new();
    row.insert(
        "id",
        Value::RecordId(twin_id(ontology, state.class, &state.id)),
    );
    row.insert("revision", Position::of(lane, state.revision).to_string());
    properties(&mut row, &class.properties, &state.values, Absent::Omitted);
    if state.geometry.is_some() {
        place(&mut row, state)?;
    }
    Ok(Value::Object(row))
}

/// What a twin's row becomes: all its properties, and its geometry if that is another one.
pub(crate) fn changed_twin(
    ontology: &Ontology,
    lane: &Arc<str>,
    state: &TwinState,
    geometry: bool,
) -> Result<Value, StoreError> {
    let class = ontology.class(state.class);
    let mut row = Object::new();
    row.insert("revision", Position::of(lane, state.revision).to_string());
    properties(&mut row, &class.properties, &state.values, Absent::Cleared);
    if geometry {
        place(&mut row, state)?;
    }
    Ok(changed(twin_id(ontology, state.class, &state.id), row))
}

/// The row of a new relationship.
pub(crate) fn new_edge(ontology: &Ontology, edge: &EdgeState) -> Value {
    let mut row = Object::new();
    row.insert("id", Value::RecordId(edge_id(ontology, edge)));
    row.insert(
        "in",
        Value::RecordId(twin_id(ontology, edge.source_class, &edge.source)),
    );
    row.insert(
        "out",
        Value::RecordId(twin_id(ontology, edge.target_class, &edge.target)),
    );
    let kind = ontology.relationship(edge.relationship);
    properties(&mut row, &kind.properties, &edge.values, Absent::Omitted);
    Value::Object(row)
}

/// What a relationship's row becomes.
pub(crate) fn changed_edge(ontology: &Ontology, edge: &EdgeState) -> Value {
    let mut row = Object::new();
    let kind = ontology.relationship(edge.relationship);
    properties(&mut row, &kind.properties, &edge.values, Absent::Cleared);
    changed(edge_id(ontology, edge), row)
}

fn changed(id: RecordId, row: Object) -> Value {
    let mut change = Object::new();
    change.insert("id", Value::RecordId(id));
    change.insert("set", Value::Object(row));
    Value::Object(change)
}

/// A row that cannot be read, and where it stands.
fn misread(row: &RecordId, what: impl std::fmt::Display) -> StoreError {
    damaged(&record_id_text(row), what)
}

/// The twin of a row, and the lane its revision speaks of.
pub(crate) fn read_twin(
    ontology: &Ontology,
    class: &ontology::Class,
    mut row: Object,
) -> Result<(TwinState, Position), StoreError> {
    let Some(Value::RecordId(id)) = row.remove("id") else {
        return Err(damaged(&class.name, "a row without an id"));
    };
    let RecordIdKey::String(key) = &id.key else {
        return Err(misread(&id, "its id is no text"));
    };
    let twin = TwinId::new(key).map_err(|error| misread(&id, error))?;
    let revision = match row.remove("revision") {
        Some(Value::String(text)) => text
            .parse::<Position>()
            .map_err(|error| misread(&id, error))?,
        _ => return Err(misread(&id, "its revision is missing")),
    };
    let [(_, offset)] = revision.lanes() else {
        return Err(misread(
            &id,
            format!("its revision `{revision}` names more than one lane"),
        ));
    };
    let offset = *offset;
    let geometry = match row.remove("shape") {
        None | Some(Value::None) => None,
        Some(Value::Bytes(bytes)) => {
            let shape = shape::from_wkb(&bytes);
            Some(shape.map_err(|error| misread(&id, format!("its shape: {error}")))?)
        }
        Some(_) => return Err(misread(&id, "its shape is no bytes")),
    };
    let values = read_properties(&id, &class.properties, row, &TWIN_FIELDS)?;
    debug_assert_eq!(ontology.class(class.id).name, class.name);
    Ok((
        TwinState {
            id: twin,
            class: class.id,
            values,
            geometry,
            revision: offset,
        },
        revision,
    ))
}

/// The relationship of a row.
pub(crate) fn read_edge(
    ontology: &Ontology,
    kind: &ontology::RelationshipKind,
    mut row: Object,
) -> Result<EdgeState, StoreError> {
    let Some(Value::RecordId(id)) = row.remove("id") else {
        return Err(damaged(&kind.name, "a row without an id"));
    };
    let mut end = |field: &str| {
        let Some(Value::RecordId(end)) = row.remove(field) else {
            return Err(misread(&id, format!("its `{field}` is missing")));
        };
        let table = end.table.as_str();
        let class = ontology.class_named(table).ok_or_else(|| {
            misread(
                &id,
                format!("its `{field}` is of class `{table}`, which the ontology lacks"),
            )
        })?;
        match &end.key {
            RecordIdKey::String(key) => Ok((
                TwinId::new(key).map_err(|error| misread(&id, error))?,
                class.id,
            )),
            _ => Err(misread(
                &id,
                format!("its `{field}` has an id that is no text"),
            )),
        }
    };
    let (source, source_class) = end("in")?;
    let (target, target_class) = end("out")?;
    let values = read_properties(&id, &kind.properties, row, &EDGE_FIELDS)?;
    let relationship = kind.id;
    Ok(EdgeState {
        relationship,
        source,
        source_class,
        target,
        target_class,
        values,
    })
}

fn read_properties(
    id: &RecordId,
    properties: &[Property],
    row: Object,
    others: &[&str],
) -> Result<Values, StoreError> {
    let mut values = vec![None; properties.len()];
    for (name, stored) in row {
        if matches!(stored, Value::None) || others.contains(&&*name) {
            continue;
        }
        let column = properties.binary_search_by(|property| (*property.name).cmp(&name));
        let Ok(column) = column else {
            return Err(misread(
                id,
                format!(
                    "it has a value of `{name}`, which its class no longer has: add the property \
                     back to its pack, or clear it everywhere first"
                ),
            ));
        };
        let value = property_from_stored(&properties[column], stored);
        values[column] =
            Some(value.map_err(|error| misread(id, format!("its `{name}`: {error}")))?);
    }
    Ok(values.into())
}
