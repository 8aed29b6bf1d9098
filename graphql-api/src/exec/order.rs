//! `orderBy` and cursors: a place in a list that survives changes of the data.
//!
//! # Invariants
//! - The order is total: after the named properties comes the id, and ids are unique.
//! - Absent values come last, whichever way a property is sorted.
//! - A cursor holds the order it was made for and the sort keys and id of its twin, so paging goes
//!   on at the right place even if that twin is gone.

use std::cmp::Ordering;

use ontology::{ClassId, Schema, Value};
use serde_json::Value as Json;
use twin_core::{TwinId, TwinRef, View};

use super::filter::Columns;
use super::select::members;
use super::variables::shown;
use crate::api::Api;
use crate::error::Fault;
use crate::limits::MAX_ORDER_KEYS;
use crate::schema::is_ordered;

/// How a list is sorted; by id if it names no property.
#[derive(Debug, Default)]
pub(crate) struct Order {
    keys: Vec<Key>,
    /// The order as a text, to recognise cursors of another one.
    spec: String,
    /// Whether ids go down.
    ids_down: bool,
}

#[derive(Debug)]
struct Key {
    columns: Columns,
    schema: Schema,
    down: bool,
}

/// A place in a list: sort keys and id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) keys: Vec<Option<Value>>,
    pub(crate) id: TwinId,
}

impl Order {
    /// Compiles `orderBy`.
    pub(crate) fn compile(api: &Api, class: ClassId, order_by: &Json) -> Result<Self, Fault> {
        let class = api.class(class);
        let single = std::slice::from_ref(order_by);
        let items = order_by.as_array().map_or(single, Vec::as_slice);
        if items.len() > MAX_ORDER_KEYS {
            return Err(Fault::too_costly(format!(
                "`orderBy` names {} properties, and {MAX_ORDER_KEYS} are allowed (MAX_ORDER_KEYS)",
                items.len()
            )));
        }
        let sortable = class
            .properties
            .iter()
            .filter(|p| is_ordered(&p.schema))
            .map(|p| &*p.name);
        let known: Vec<&str> = std::iter::once("id").chain(sortable).collect();
        let mut order = Self::default();
        for item in items {
            let item = members("`orderBy`", item, &known)?;
            let mut item = item.iter();
            let (Some((name, direction)), None) = (item.next(), item.next()) else {
                return Err(Fault::invalid(
                    "an entry of `orderBy` names exactly one property",
                ));
            };
            let down = match direction.as_str() {
                Some("ASC") => false,
                Some("DESC") => true,
                _ => {
                    return Err(Fault::invalid(format!(
                        "`orderBy.{name}` is ASC or DESC, not {}",
                        shown(direction)
                    )));
                }
            };
            order.spec.push_str(name);
            order.spec.push(if down { '-' } else { '+' });
            if name == "id" {
                order.ids_down = down;
                // Nothing after a unique key matters.
                break;
            }
            if let Some(property) = class.property(name) {
                let columns = Columns::of(api, class.id, name);
                order.keys.push(Key {
                    columns,
                    schema: property.schema.clone(),
                    down,
                });
            }
        }
        Ok(order)
    }

    /// Whether it is the order in which twins are stored.
    pub(crate) fn is_by_id(&self) -> bool {
        self.keys.is_empty() && !self.ids_down
    }

    /// Where a twin stands.
    pub(crate) fn place(&self, view: &View, twin: TwinRef) -> Place {
        let keys = self
            .keys
            .iter()
            .map(|key| key.columns.value(view, twin))
            .collect();
        Place {
            keys,
            id: view.id(twin).clone(),
        }
    }

    pub(crate) fn compare(&self, a: &Place, b: &Place) -> Ordering {
        for (i, key) in self.keys.iter().enumerate() {
            let order = match (&a.keys[i], &b.keys[i]) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(a), Some(b)) if key.down => b.cmp(a),
                (Some(a), Some(b)) => a.cmp(b),
            };
            if order.is_ne() {
                return order;
            }
        }
        if self.ids_down {
            b.id.cmp(&a.id)
        } else {
            a.id.cmp(&b.id)
        }
    }

    /// The cursor of a place.
    pub(crate) fn cursor(&self, place: &Place) -> String {
        if self.keys.is_empty() {
            // The common list, without building a value: neither part needs an escape.
            return encode(format!("[\"{}\",[],\"{}\"]", self.spec, place.id).as_bytes());
        }
        let keys = self
            .keys
            .iter()
            .zip(&place.keys)
            .map(|(key, value)| match value {
                None => Json::Null,
                // As text: not every client that decodes a cursor keeps 64 bits, and ours is exact.
                Some(Value::Int(number)) if key.schema == Schema::Long => {
                    Json::from(number.to_string())
                }
                Some(value) => value.to_json(),
            });
        let keys = Json::Array(keys.collect());
        let whole = serde_json::json!([self.spec, keys, place.id.as_str()]);
        encode(whole.to_string().as_bytes())
    }

    /// The place of a cursor made by [`Order::cursor`] of the same order.
    pub(crate) fn place_of(&self, cursor: &str) -> Result<Place, Fault> {
        let wrong = |reason: &str| {
            Fault::invalid(format!(
                "`after`: {reason}; give back a cursor of the same list, or leave it out to start over"
            ))
        };
        let broken = || wrong("this is not a cursor");
        let bytes = decode(cursor).ok_or_else(broken)?;
        let whole: Json = serde_json::from_slice(&bytes).map_err(|_not_json| broken())?;
        let (Some(spec), Some(keys), Some(id)) =
            (whole[0].as_str(), whole[1].as_array(), whole[2].as_str())
        else {
            return Err(broken());
        };
        if spec != self.spec || keys.len() != self.keys.len() {
            return Err(wrong("this is a cursor of a list in another order"));
        }
        let key = |(key, json): (&Key, &Json)| match json {
            Json::Null => Ok(None),
            json => key.schema.parse(json).map(Some).map_err(|_misfit| broken()),
        };
        let keys = self
            .keys
            .iter()
            .zip(keys)
            .map(key)
            .collect::<Result<_, _>>()?;
        let id = TwinId::new(id).map_err(|_name| broken())?;
        Ok(Place { keys, id })
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 for URLs (RFC 4648, section 5), without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..=chunk.len() {
            let index = (group >> (18 - 6 * i)) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

/// What [`encode`] made of some bytes; `None` if it made none such.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        if chunk.len() == 1 {
            return None;
        }
        let mut group = 0_u32;
        for i in 0..4 {
            let digit = match chunk.get(i) {
                Some(digit) => ALPHABET.iter().position(|known| known == digit)?,
                None => 0,
            };
            group = group << 6 | digit as u32;
        }
        let [_, a, b, c] = group.to_be_bytes();
        bytes.extend(&[a, b, c][..chunk.len() - 1]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_is_the_standards_own() {
        assert_eq!(encode(b"Hello?>"), "SGVsbG8_Pg");
        assert_eq!(decode("SGVsbG8_Pg").unwrap(), b"Hello?>");
        assert_eq!(decode("S"), None);
        assert_eq!(decode("SG=="), None);
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decode(&encode(&bytes)).unwrap(), bytes);
        }
    }
}
