//! A hash of what a commit means, kept with its receipt for as long as an idempotency key lives.
//!
//! # Invariants
//! - Equal operations hash equally, however they were written: by variables or literals, by `commit`
//!   or by a field for one operation, in whatever order properties were named.
//! - The hash is kept in the store: it is FNV-1a over the bytes written here, so it does not depend
//!   on the compiler, and another way to write them makes repeats of older requests conflicts.

use ontology::Value;
use serde_json::Value as Json;
use twin_core::{Expect, Operation, Put};

/// The hash of operations in their order.
pub(crate) fn of(operations: &[Operation]) -> u64 {
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    hash.count(operations.len());
    for operation in operations {
        hash.operation(operation);
    }
    hash.0
}

/// FNV-1a, 64 bits.
struct Hash(u64);

impl Hash {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn tag(&mut self, tag: u8) {
        self.bytes(&[tag]);
    }

    fn count(&mut self, count: usize) {
        self.bytes(&(count as u64).to_le_bytes());
    }

    /// Its length first, so that two texts side by side never read as two others.
    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.bytes(text.as_bytes());
    }

    fn operation(&mut self, operation: &Operation) {
        match operation {
            Operation::Upsert(put) => self.put(b'u', put),
            Operation::Patch(put) => self.put(b'p', put),
            Operation::Delete { id, expect, detach } => {
                self.tag(b'd');
                self.text(id.as_str());
                self.expect(expect.as_ref());
                self.tag(u8::from(*detach));
            }
            Operation::Relate {
                source,
                name,
                target,
                set,
                expect,
                replace,
            } => {
                self.tag(b'r');
                self.text(source.as_str());
                self.text(name);
                self.text(target.as_str());
                self.set(set);
                self.expect(expect.as_ref());
                self.tag(u8::from(*replace));
            }
            Operation::Unrelate {
                source,
                name,
                target,
                expect,
            } => {
                self.tag(b'n');
                self.text(source.as_str());
                self.text(name);
                self.text(target.as_str());
                self.expect(expect.as_ref());
            }
        }
    }

    fn put(&mut self, tag: u8, put: &Put) {
        let Put {
            id,
            class,
            set,
            geometry,
            expect,
        } = put;
        self.tag(tag);
        self.text(id.as_str());
        self.text(class);
        self.set(set);
        match geometry {
            None => self.tag(0),
            Some(None) => self.tag(1),
            Some(Some(shape)) => {
                let wkb = shape.to_wkb();
                self.tag(2);
                self.count(wkb.len());
                self.bytes(&wkb);
            }
        }
        self.expect(expect.as_ref());
    }

    fn expect(&mut self, expect: Option<&Expect>) {
        match expect {
            None => self.tag(0),
            Some(Expect::Absent) => self.tag(1),
            Some(Expect::Revision(position)) => {
                self.tag(2);
                self.text(&position.to_string());
            }
        }
    }

    fn set(&mut self, set: &[(std::sync::Arc<str>, Option<Value>)]) {
        let mut sorted: Vec<_> = set.iter().collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.count(sorted.len());
        for (name, value) in sorted {
            self.text(name);
            match value {
                None => self.tag(0),
                Some(value) => self.value(value),
            }
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => {
                self.tag(1);
                self.tag(u8::from(*value));
            }
            Value::Int(value) => self.number(2, *value),
            Value::Double(value) => self.number(3, value.to_bits().cast_signed()),
            Value::Text(text) => {
                self.tag(4);
                self.text(text);
            }
            Value::Date(days) => self.number(5, i64::from(*days)),
            Value::DateTime(micros) => self.number(6, *micros),
            Value::Time(micros) => self.number(7, *micros),
            Value::Duration(text) => {
                self.tag(8);
                self.text(text);
            }
            Value::List(items) => {
                self.tag(9);
                self.count(items.len());
                for item in items.iter() {
                    self.value(item);
                }
            }
            Value::Object(fields) => {
                self.tag(10);
                self.count(fields.len());
                for (name, value) in fields.iter() {
                    self.text(name);
                    self.value(value);
                }
            }
            Value::Geometry(json) => {
                self.tag(11);
                self.json(json);
            }
        }
    }

    fn number(&mut self, tag: u8, number: i64) {
        self.tag(tag);
        self.bytes(&number.to_le_bytes());
    }

    /// A GeoJSON value; its numbers are coordinates.
    fn json(&mut self, json: &Json) {
        match json {
            Json::Null => self.tag(0),
            Json::Bool(value) => {
                self.tag(1);
                self.tag(u8::from(*value));
            }
            Json::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                self.number(2, number.to_bits().cast_signed());
            }
            Json::String(text) => {
                self.tag(3);
                self.text(text);
            }
            Json::Array(items) => {
                self.tag(4);
                self.count(items.len());
                for item in items {
                    self.json(item);
                }
            }
            Json::Object(members) => {
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_by_key(|(name, _)| *name);
                self.tag(5);
                self.count(sorted.len());
                for (name, member) in sorted {
                    self.text(name);
                    self.json(member);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use twin_core::TwinId;

    use super::*;

    fn put(set: Vec<(&str, Option<Value>)>) -> Operation {
        Operation::Upsert(Put {
            id: TwinId::new("c:1").unwrap(),
            class: "Clinic".into(),
            set: set.into_iter().map(|(n, v)| (n.into(), v)).collect(),
            geometry: None,
            expect: None,
        })
    }

    #[test]
    fn the_order_of_names_does_not_matter_and_everything_else_does() {
        let (a, b) = (("a", Some(Value::Int(1))), ("b", None));
        let first = of(&[put(vec![a.clone(), b.clone()])]);
        assert_eq!(first, of(&[put(vec![b.clone(), a.clone()])]));
        for other in [
            vec![],
            vec![put(vec![a.clone()])],
            vec![put(vec![("a", Some(Value::Double(1.0))), b.clone()])],
            vec![put(vec![("a", None), b.clone()])],
            vec![put(vec![a.clone(), b.clone()]), put(vec![a, b])],
        ] {
            assert_ne!(first, of(&other), "{other:?}");
        }
    }

    #[test]
    fn members_of_a_geometry_have_no_order() {
        let geometry = |json: Json| of(&[put(vec![("g", Some(Value::Geometry(json.into())))])]);
        let one = geometry(json!({"type": "Point", "coordinates": [30, -2.0]}));
        let same = geometry(json!({"coordinates": [30.0, -2], "type": "Point"}));
        assert_eq!(one, same);
    }

    /// Receipts outlive the process: another number here makes repeats of kept requests conflicts.
    #[test]
    fn the_hash_of_a_kept_request_stays() {
        let kept = 0x9805_099a_c366_4c87;
        assert_eq!(of(&[put(vec![("beds", Some(Value::Int(12)))])]), kept);
    }
}
