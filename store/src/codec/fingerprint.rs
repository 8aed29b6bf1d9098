//! A number that says of two states whether they are the same, without holding either.
//!
//! # Invariants
//! - Equal states have equal fingerprints, however they were stored: members of JSON in any order,
//!   numbers of it whole or not. Others have different ones, but for one chance in 2^64.
//! - It holds within one process.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use ontology::{Ontology, Property, Value};
use serde_json::Value as Json;
use twin_core::{EdgeState, TwinState, Values};

use crate::shape;

/// Of everything that a twin is, its revision apart.
pub(crate) fn twin_fingerprint(state: &TwinState, ontology: &Ontology) -> u64 {
    let TwinState {
        id,
        class,
        values: of,
        geometry,
        revision: _,
    } = state;
    let class = ontology.class(*class);
    let mut hasher = DefaultHasher::new();
    (id.as_str(), &*class.name).hash(&mut hasher);
    values(&class.properties, of, &mut hasher);
    geometry.as_deref().map(shape::wkb).hash(&mut hasher);
    hasher.finish()
}

/// Of everything that a relationship is.
pub(crate) fn edge_fingerprint(edge: &EdgeState, ontology: &Ontology) -> u64 {
    let EdgeState {
        relationship,
        source,
        source_class,
        target,
        target_class,
        values: of,
    } = edge;
    let kind = ontology.relationship(*relationship);
    let class = |class| &*ontology.class(class).name;
    let mut hasher = DefaultHasher::new();
    (&*kind.name, source.as_str(), class(*source_class)).hash(&mut hasher);
    (target.as_str(), class(*target_class)).hash(&mut hasher);
    values(&kind.properties, of, &mut hasher);
    hasher.finish()
}

/// Names and values of those that are set.
fn values(properties: &[Property], values: &Values, to: &mut DefaultHasher) {
    for (property, of) in properties.iter().zip(values.iter()) {
        if let Some(of) = of {
            property.name.hash(to);
            value(of, to);
        }
    }
}

fn value(of: &Value, to: &mut DefaultHasher) {
    std::mem::discriminant(of).hash(to);
    match of {
        Value::Bool(of) => of.hash(to),
        Value::Int(of) | Value::DateTime(of) | Value::Time(of) => of.hash(to),
        Value::Double(of) => double(*of, to),
        Value::Text(of) | Value::Duration(of) => of.hash(to),
        Value::Date(of) => of.hash(to),
        Value::List(items) => {
            items.len().hash(to);
            for item in items.iter() {
                value(item, to);
            }
        }
        Value::Object(members) => {
            members.len().hash(to);
            for (name, member) in members.iter() {
                name.hash(to);
                value(member, to);
            }
        }
        Value::Geometry(of) => json(of, to),
    }
}

fn json(of: &Json, to: &mut DefaultHasher) {
    std::mem::discriminant(of).hash(to);
    match of {
        Json::Null => {}
        Json::Bool(of) => of.hash(to),
        Json::Number(of) => double(of.as_f64().unwrap_or_default(), to),
        Json::String(of) => of.hash(to),
        Json::Array(items) => {
            items.len().hash(to);
            for item in items {
                json(item, to);
            }
        }
        Json::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            members.len().hash(to);
            for (name, member) in members {
                name.hash(to);
                json(member, to);
            }
        }
    }
}

/// Zero has two forms that are equal.
fn double(of: f64, to: &mut DefaultHasher) {
    (of + 0.0).to_bits().hash(to);
}
