//! A line of `/log`: what one change says, as the subscription `changes` says it.

use std::sync::Arc;

use ontology::{Ontology, RelationshipKind, Value};
use serde::Serialize;
use twin_core::{Position, TwinState, Values};

use crate::exec::{Event, Subject, untyped, write_json};

/// Appends an event as a JSON object and the end of its line. What would be null is left out.
pub(super) fn write(out: &mut Vec<u8>, ontology: &Ontology, event: &Event<'_>) {
    let mut line = Object::begin(out);
    line.member("position", &event.position().to_string());
    line.member("kind", event.kind.as_str());
    if let Some((at, principal)) = event.origin {
        line.member("at", &instant(at));
        line.member("principal", principal.as_str());
    }
    if let Some((id, class)) = event.subject.twin() {
        line.member("id", id.as_str());
        line.member("class", &*ontology.class(class).name);
    }
    match event.subject {
        Subject::None => {}
        Subject::Twin { before, after } => {
            for (name, state) in [("before", before), ("after", after)] {
                if let Some(state) = state {
                    twin(line.name(name), ontology, event.lane, state);
                }
            }
        }
        Subject::Relationship { before, after } => {
            if let Some(edge) = after.or(before) {
                let kind = ontology.relationship(edge.relationship);
                let mut part = Object::begin(line.name("relationship"));
                part.member("name", &*kind.name);
                part.member("source", edge.source.as_str());
                part.member("target", edge.target.as_str());
                for (name, edge) in [("properties", after), ("before", before)] {
                    if let Some(edge) = edge.filter(|edge| edge.values.iter().any(Option::is_some))
                    {
                        properties(part.name(name), kind, &edge.values);
                    }
                }
                part.end();
            }
        }
        Subject::Reading(reading) => {
            let class = ontology.class(reading.class);
            let telemetry = class.telemetry.get(reading.telemetry as usize);
            let mut part = Object::begin(line.name("reading"));
            if let Some(telemetry) = telemetry {
                part.member("telemetry", &*telemetry.name);
            }
            part.member("value", &reading.value.to_json());
            if let Some(unit) = telemetry.and_then(|telemetry| telemetry.unit.as_deref()) {
                part.member("unit", unit);
            }
            part.member("ts", &instant(reading.ts));
            part.end();
        }
    }
    line.end();
    out.push(b'\n');
}

fn twin(out: &mut Vec<u8>, ontology: &Ontology, lane: &Arc<str>, state: &TwinState) {
    let TwinState {
        id,
        class,
        values,
        geometry,
        revision,
    } = state;
    let class = ontology.class(*class);
    let mut part = Object::begin(out);
    part.member("id", id.as_str());
    part.member("class", &*class.name);
    part.member("revision", &Position::of(lane, *revision).to_string());
    if let Some(shape) = geometry {
        shape.write_geojson(part.name("geometry"));
    }
    for (property, value) in class.properties.iter().zip(values.iter()) {
        if let Some(value) = value {
            part.member(&property.name, &untyped(&property.schema, value));
        }
    }
    part.end();
}

/// Properties of a relationship, which have no type in the API.
fn properties(out: &mut Vec<u8>, kind: &RelationshipKind, values: &Values) {
    let mut part = Object::begin(out);
    for (property, value) in kind.properties.iter().zip(values.iter()) {
        if let Some(value) = value {
            part.member(&property.name, &value.to_json());
        }
    }
    part.end();
}

fn instant(micros: i64) -> serde_json::Value {
    Value::DateTime(micros).to_json()
}

/// A JSON object as it is written.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    any: bool,
}

impl<'o> Object<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, any: false }
    }

    /// Begins a member; its value is to be appended.
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if self.any {
            self.out.push(b',');
        }
        self.any = true;
        write_json(self.out, name);
        self.out.push(b':');
        self.out
    }

    fn member<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        write_json(self.name(name), value);
    }

    fn end(self) {
        self.out.push(b'}');
    }
}
