//! Selection sets made plain: fragments merged, `@skip` and `@include` decided, arguments resolved.
//!
//! # Invariants
//! - Fields come in the order of the query's text; fields of one response key are merged into the
//!   first, with all their selection sets (validation made sure that their arguments agree).

use async_graphql::parser::types::{Directive, ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::{Name, Pos, Positioned, Value as Constant};
use bytes::Bytes;
use ontology::{Schema, Value};
use serde_json::{Map, Value as Json};

use super::variables::{Variables, shown};
use crate::error::Fault;
use crate::limits::TEXT_BYTES_A_VALUE;

/// A request's document and variables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'q> {
    pub(crate) document: &'q ExecutableDocument,
    pub(crate) variables: &'q Variables,
}

/// One field of an answer.
#[derive(Debug)]
pub(crate) struct Merged<'q> {
    /// Its key in the answer.
    pub(crate) key: &'q str,
    pub(crate) field: &'q Field,
    pub(crate) pos: Pos,
    /// Selection sets of all fields merged into it.
    pub(crate) sets: Vec<&'q SelectionSet>,
}

impl<'q> Merged<'q> {
    pub(crate) fn name(&self) -> &'q str {
        self.field.name.node.as_str()
    }
}

/// A variable's stand-in.
#[expect(
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "the frame's callback has this form"
)]
fn named(name: Name) -> Result<Constant, std::convert::Infallible> {
    Ok(Constant::Binary(Bytes::copy_from_slice(name.as_bytes())))
}

impl<'q> Ask<'q> {
    /// The fields that selection sets ask of a type; `applies` decides about type conditions.
    pub(crate) fn fields(
        &self,
        sets: &[&'q SelectionSet],
        applies: &dyn Fn(&str) -> bool,
    ) -> Vec<Merged<'q>> {
        let mut merged = Vec::new();
        for set in sets {
            self.collect(set, applies, &mut merged);
        }
        merged
    }

    fn collect(
        &self,
        set: &'q SelectionSet,
        applies: &dyn Fn(&str) -> bool,
        merged: &mut Vec<Merged<'q>>,
    ) {
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => {
                    if !self.included(&field.node.directives) {
                        continue;
                    }
                    let key = field.node.response_key().node.as_str();
                    let set = &field.node.selection_set.node;
                    match merged.iter_mut().find(|other| other.key == key) {
                        Some(other) => other.sets.push(set),
                        None => merged.push(Merged {
                            key,
                            field: &field.node,
                            pos: field.pos,
                            sets: vec![set],
                        }),
                    }
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    if self.included(&fragment.node.directives)
                        && condition.is_none_or(|on| applies(on.node.on.node.as_str()))
                    {
                        self.collect(&fragment.node.selection_set.node, applies, merged);
                    }
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node.as_str();
                    if let Some(fragment) = self.document.fragments.get(name)
                        && self.included(&spread.node.directives)
                        && applies(fragment.node.type_condition.node.on.node.as_str())
                    {
                        self.collect(&fragment.node.selection_set.node, applies, merged);
                    }
                }
            }
        }
    }

    fn included(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().all(|directive| {
            let wanted = match directive.node.name.node.as_str() {
                "skip" => false,
                "include" => true,
                _ => return true,
            };
            let condition = directive
                .node
                .get_argument("if")
                .map(|value| value.node.clone());
            let value = condition
                .and_then(|literal| literal.into_const_with(named).ok())
                .and_then(|constant| self.resolve(constant));
            value
                .and_then(|value| value.as_bool())
                .is_none_or(|value| value == wanted)
        })
    }

    /// A constant with its variables filled in; `None` if it is a variable without a value.
    ///
    /// The type of literals cannot be named outside the frame, so variables stand in constants as
    /// the one kind that no literal makes.
    fn resolve(&self, constant: Constant) -> Option<Json> {
        Some(match constant {
            Constant::Binary(name) => {
                return self
                    .variables
                    .get(std::str::from_utf8(&name).ok()?)
                    .cloned();
            }
            Constant::Null => Json::Null,
            Constant::Number(number) => Json::Number(number),
            Constant::String(text) => Json::String(text),
            Constant::Boolean(value) => Json::Bool(value),
            Constant::Enum(name) => Json::String(name.to_string()),
            Constant::List(items) => {
                let item = |item| self.resolve(item).unwrap_or(Json::Null);
                Json::Array(items.into_iter().map(item).collect())
            }
            Constant::Object(members) => {
                let member = |(name, value): (Name, Constant)| {
                    Some((name.to_string(), self.resolve(value)?))
                };
                Json::Object(
                    members
                        .into_iter()
                        .filter_map(member)
                        .collect::<Map<_, _>>(),
                )
            }
        })
    }

    /// An argument's value; `None` if it was not given or is null.
    pub(crate) fn argument(&self, field: &Field, name: &str) -> Option<Json> {
        let literal = field.get_argument(name)?.node.clone();
        let constant = literal.into_const_with(named).ok()?;
        self.resolve(constant).filter(|value| !value.is_null())
    }

    /// An argument that is a text.
    pub(crate) fn text(&self, field: &Field, name: &str) -> Result<Option<String>, Fault> {
        match self.argument(field, name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(Json::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(Fault::invalid(format!(
                "`{name}` is a text, not {}",
                shown(&other)
            ))),
        }
    }

    /// An argument that is a text and has to be given.
    pub(crate) fn required_text(&self, field: &Field, name: &str) -> Result<String, Fault> {
        self.text(field, name)?
            .ok_or_else(|| Fault::invalid(format!("`{name}` is required")))
    }

    /// An argument that is a time, microseconds since 1970.
    pub(crate) fn instant(&self, field: &Field, name: &str) -> Result<Option<i64>, Fault> {
        let Some(value) = self.argument(field, name) else {
            return Ok(None);
        };
        match Schema::DateTime.parse(&value) {
            Ok(Value::DateTime(micros)) => Ok(Some(micros)),
            _ => Err(Fault::invalid(format!(
                "`{name}` is {}, not {}",
                Schema::DateTime.name(),
                shown(&value)
            ))),
        }
    }

    /// An argument that says how many, at most `limit`.
    pub(crate) fn count(
        &self,
        field: &Field,
        name: &str,
        default: usize,
        limit: usize,
    ) -> Result<usize, Fault> {
        let Some(value) = self.argument(field, name) else {
            return Ok(default);
        };
        let count = value
            .as_i64()
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| {
                Fault::invalid(format!(
                    "`{name}` is a whole number from 0 to {limit}, not {}",
                    shown(&value)
                ))
            })?;
        if count > limit {
            return Err(Fault::too_costly(format!(
                "`{name}` is {count}, and {limit} is the largest: take pages with `after`"
            )));
        }
        Ok(count)
    }
}

/// How many values a field's arguments hold, given what each variable holds.
pub(crate) fn weight(field: &Field, of_variable: &dyn Fn(&str) -> u64) -> u64 {
    let literals = field
        .arguments
        .iter()
        .filter_map(|(_, literal)| literal.node.clone().into_const_with(named).ok());
    literals
        .map(|literal| weight_of(&literal, of_variable))
        .sum()
}

/// How many values a constant holds, its variables included.
fn weight_of(constant: &Constant, of_variable: &dyn Fn(&str) -> u64) -> u64 {
    match constant {
        Constant::Binary(name) => std::str::from_utf8(name).map_or(1, of_variable),
        Constant::String(text) => text_weight(text),
        Constant::List(items) => {
            let items = items.iter().map(|item| weight_of(item, of_variable));
            1 + items.sum::<u64>()
        }
        Constant::Object(members) => {
            let members = members.values().map(|value| weight_of(value, of_variable));
            1 + members.sum::<u64>()
        }
        Constant::Null | Constant::Number(_) | Constant::Boolean(_) | Constant::Enum(_) => 1,
    }
}

/// How many values a JSON value holds.
pub(crate) fn json_weight(json: &Json) -> u64 {
    match json {
        Json::String(text) => text_weight(text),
        Json::Array(items) => 1 + items.iter().map(json_weight).sum::<u64>(),
        Json::Object(members) => 1 + members.values().map(json_weight).sum::<u64>(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 1,
    }
}

fn text_weight(text: &str) -> u64 {
    1 + text.len() as u64 / TEXT_BYTES_A_VALUE
}

/// The members of an input object, all of them among `known`.
pub(crate) fn members<'v>(
    what: &str,
    value: &'v Json,
    known: &[&str],
) -> Result<&'v Map<String, Json>, Fault> {
    let members = value
        .as_object()
        .ok_or_else(|| Fault::invalid(format!("{what} is an object, not {}", shown(value))))?;
    for name in members.keys() {
        if !known.contains(&name.as_str()) {
            let what = format!("member of {what}");
            return Err(Fault::unknown(&what, name, known.iter().copied()));
        }
    }
    Ok(members)
}

/// The one member that an input object of alternatives has, and its name.
pub(crate) fn one_member<'v>(
    at: &str,
    value: &'v Json,
    known: &[&str],
) -> Result<(&'v str, &'v Json), Fault> {
    let members = members(&format!("`{at}`"), value, known)?;
    let mut given = members.iter().filter(|(_, value)| !value.is_null());
    match (given.next(), given.next()) {
        (Some((name, value)), None) => Ok((name, value)),
        _ => Err(Fault::invalid(format!(
            "`{at}` is exactly one of {}",
            known.join(", ")
        ))),
    }
}
