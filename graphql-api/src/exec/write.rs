//! Mutations: what each field asks for, coerced through the model, and how its receipt is written.
//!
//! # Invariants
//! - A deed names nothing that the model does not have, and its values are of the model's schemas:
//!   what the frame could not check, because it stands in a variable, is checked here.
//! - null clears a property or a geometry; what is not named stays.

use std::sync::Arc;

use async_graphql::parser::types::{Field as Asked, SelectionSet};
use ontology::{Class, Property, Schema, Value};
use serde_json::{Map, Value as Json};
use twin_core::space::Shape;
use twin_core::{
    Commit, Expect, Idempotency, MAX_OPERATIONS, MAX_READINGS, Operation, Position, Principal, Put,
    Reading, Readings, Receipt, Refusal, TwinId, View,
};

use super::plan::{Field, Planner};
use super::select::{Ask, members, one_member};
use super::values::typed;
use super::variables::shown;
use super::{letters, meaning};
use crate::api::Api;
use crate::error::{Code, Fault};
use crate::limits::{MAX_IDEMPOTENCY_KEY_BYTES, MAX_MUTATIONS};

/// What one field of a mutation does.
#[derive(Debug)]
pub(crate) enum Deed {
    Commit(Commit),
    /// Checks, and changes nothing.
    Rehearse(Commit),
    Record(Readings),
    /// Takes the dead letter of this number in again.
    Retry(u64),
}

/// A field of the mutation root.
#[derive(Debug)]
pub(crate) enum Root<'q> {
    Typename,
    Do {
        asked: &'q Asked,
        receipt: Vec<Field<'q, ReceiptPart>>,
    },
}

/// A field of `Receipt`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReceiptPart {
    Typename,
    Position,
    Changes,
    Repeated,
}

/// What a field asks for when its turn comes.
#[derive(Debug)]
pub(crate) enum Turn {
    Typename,
    /// Something to do, or what is wrong with it.
    Do(Result<Deed, Fault>),
}

/// What became of one field.
#[derive(Debug)]
pub(crate) enum Done {
    Typename,
    Receipt(Receipt),
    Refused(Fault),
}

/// The fields of a mutation in order.
pub(crate) fn plan<'q>(
    planner: Planner<'q>,
    set: &'q SelectionSet,
) -> Result<Vec<Field<'q, Root<'q>>>, Fault> {
    let fields = planner.object(&[set], "Mutation", |merged| {
        if merged.name() == "__typename" {
            return Root::Typename;
        }
        Root::Do {
            asked: merged.field,
            receipt: planner.object(&merged.sets, "Receipt", |part| match part.name() {
                "position" => ReceiptPart::Position,
                "changes" => ReceiptPart::Changes,
                "repeated" => ReceiptPart::Repeated,
                _ => ReceiptPart::Typename,
            }),
        }
    });
    if fields.len() > MAX_MUTATIONS {
        return Err(Fault::too_costly(format!(
            "the request has {} mutations, and {MAX_MUTATIONS} are allowed (MAX_MUTATIONS): put \
             the operations into one `commit`",
            fields.len()
        )));
    }
    Ok(fields)
}

/// What a field of the mutation root asks for.
pub(crate) fn deed(
    planner: Planner<'_>,
    view: &View,
    principal: &Principal,
    asked: &Asked,
) -> Result<Deed, Fault> {
    let Planner { api, ask } = planner;
    let arguments = Arguments { ask, asked };
    let name = asked.name.node.as_str();
    let operations = match name {
        "record" => {
            let readings = readings(view, &arguments.list("readings")?)?;
            return Ok(Deed::Record(Readings {
                principal: principal.clone(),
                readings,
            }));
        }
        "retryDeadLetter" => {
            let id = ask.required_text(asked, "id")?;
            return Ok(Deed::Retry(letters::number("id", &id)?));
        }
        "commit" => operations(api, &arguments.list("operations")?)?,
        "deleteTwin" => vec![delete("", &arguments.given(&["id", "expect", "detach"]))?],
        "relate" => {
            let given = arguments.given(&[
                "source",
                "relationship",
                "target",
                "properties",
                "expect",
                "replace",
            ]);
            vec![relate(api, "", &given)?]
        }
        "unrelate" => {
            let given = arguments.given(&["source", "relationship", "target", "expect"]);
            vec![unrelate("", &given)?]
        }
        name => {
            let class = name
                .strip_prefix("upsert")
                .and_then(|name| api.ontology.class_named(name))
                .ok_or_else(|| Fault::unknown("mutation", name, []))?;
            let given = arguments.given(&["input", "expect"]);
            vec![Operation::Upsert(upsert(class, &given)?)]
        }
    };
    let idempotency = arguments.key(&operations)?;
    let commit = Commit {
        principal: principal.clone(),
        idempotency,
        operations,
    };
    if name == "commit" && arguments.flag("dryRun")? {
        return Ok(Deed::Rehearse(commit));
    }
    Ok(Deed::Commit(commit))
}

/// The arguments of one field.
struct Arguments<'a> {
    ask: Ask<'a>,
    asked: &'a Asked,
}

impl Arguments<'_> {
    /// The named arguments that are given and not null, as one object.
    fn given(&self, names: &[&str]) -> Map<String, Json> {
        let value = |name: &&str| Some(((*name).to_owned(), self.ask.argument(self.asked, name)?));
        names.iter().filter_map(value).collect()
    }

    fn list(&self, name: &str) -> Result<Vec<Json>, Fault> {
        match self.ask.argument(self.asked, name) {
            Some(Json::Array(items)) => Ok(items),
            // A single value stands for a list of it.
            Some(single) => Ok(vec![single]),
            None => Err(Fault::invalid(format!("`{name}` is required"))),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Fault> {
        let given = self.given(&[name]);
        Members::new("", &given).flag(name)
    }

    fn key(&self, operations: &[Operation]) -> Result<Option<Idempotency>, Fault> {
        let Some(key) = self.ask.text(self.asked, "idempotencyKey")? else {
            return Ok(None);
        };
        if key.is_empty() {
            return Err(Fault::invalid("`idempotencyKey` is empty: leave it out"));
        }
        if key.len() > MAX_IDEMPOTENCY_KEY_BYTES {
            return Err(limited(
                "bytes of an idempotency key",
                key.len(),
                MAX_IDEMPOTENCY_KEY_BYTES,
                "MAX_IDEMPOTENCY_KEY_BYTES",
            ));
        }
        Ok(Some(Idempotency {
            key: key.into(),
            hash: meaning::of(operations),
        }))
    }
}

fn limited(what: &'static str, given: usize, limit: usize, name: &'static str) -> Fault {
    Fault::from(Refusal::Limited {
        what,
        given,
        limit,
        name,
    })
}

/// Members of an input object, and where it stands for messages.
struct Members<'a> {
    /// Empty for arguments, else such as `operations[3].upsert`.
    at: &'a str,
    given: &'a Map<String, Json>,
}

impl<'a> Members<'a> {
    fn new(at: &'a str, given: &'a Map<String, Json>) -> Self {
        Self { at, given }
    }

    fn path(&self, name: &str) -> String {
        if self.at.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.at)
        }
    }

    /// A member that is given and not null.
    fn get(&self, name: &str) -> Option<&'a Json> {
        self.given.get(name).filter(|value| !value.is_null())
    }

    fn required(&self, name: &str) -> Result<&'a Json, Fault> {
        self.get(name)
            .ok_or_else(|| Fault::invalid(format!("`{}` is required", self.path(name))))
    }

    fn text(&self, name: &str) -> Result<&'a str, Fault> {
        let value = self.required(name)?;
        value.as_str().ok_or_else(|| {
            Fault::invalid(format!(
                "`{}` is a text, not {}",
                self.path(name),
                shown(value)
            ))
        })
    }

    fn id(&self, name: &str) -> Result<TwinId, Fault> {
        let value = self.required(name)?;
        let id = match value {
            Json::Number(number) => TwinId::new(&number.to_string()),
            Json::String(text) => TwinId::new(text),
            other => {
                let message = format!("`{}` is an id, not {}", self.path(name), shown(other));
                return Err(Fault::invalid(message));
            }
        };
        id.map_err(|error| Fault::invalid(format!("`{}`: {error}", self.path(name))))
    }

    fn flag(&self, name: &str) -> Result<bool, Fault> {
        let Some(value) = self.get(name) else {
            return Ok(false);
        };
        value.as_bool().ok_or_else(|| {
            Fault::invalid(format!(
                "`{}` is true or false, not {}",
                self.path(name),
                shown(value)
            ))
        })
    }

    fn expect(&self) -> Result<Option<Expect>, Fault> {
        if self.get("expect").is_none() {
            return Ok(None);
        }
        let text = self.text("expect")?;
        if text == "absent" {
            return Ok(Some(Expect::Absent));
        }
        text.parse::<Position>()
            .map(|revision| Some(Expect::Revision(revision)))
            .map_err(|_not_a_revision| {
                Fault::invalid(format!(
                    "`{}` is a `revision` as the API shows it, or \"absent\"; not {}",
                    self.path("expect"),
                    shown(&Json::from(text))
                ))
            })
    }

    /// `None` leaves the geometry, `Some(None)` clears it.
    fn geometry(&self) -> Result<Option<Option<Arc<Shape>>>, Fault> {
        match self.given.get("geometry") {
            None => Ok(None),
            Some(Json::Null) => Ok(Some(None)),
            Some(json) => match Shape::from_geojson(json) {
                Ok(shape) => Ok(Some(Some(Arc::new(shape)))),
                Err(error) => Err(Fault::invalid(format!(
                    "`{}`: {error}",
                    self.path("geometry")
                ))),
            },
        }
    }
}

/// The operations of a commit.
fn operations(api: &Api, items: &[Json]) -> Result<Vec<Operation>, Fault> {
    if items.len() > MAX_OPERATIONS {
        return Err(limited(
            "operations of a commit",
            items.len(),
            MAX_OPERATIONS,
            "MAX_OPERATIONS",
        ));
    }
    let items = items.iter().enumerate();
    let operation = |(i, item)| operation(api, &format!("operations[{i}]"), item);
    items.map(operation).collect()
}

/// One operation of a commit; `at` is where it stands, for messages.
pub(crate) fn operation(api: &Api, at: &str, item: &Json) -> Result<Operation, Fault> {
    let kinds = ["upsert", "patch", "delete", "relate", "unrelate"];
    let (kind, value) = one_member(at, item, &kinds)?;
    let at = format!("{at}.{kind}");
    let known: &[&str] = match kind {
        "upsert" | "patch" => &["class", "id", "set", "geometry", "expect"],
        "delete" => &["id", "expect", "detach"],
        "relate" => &[
            "source",
            "relationship",
            "target",
            "properties",
            "expect",
            "replace",
        ],
        _ => &["source", "relationship", "target", "expect"],
    };
    let given = members(&format!("`{at}`"), value, known)?;
    match kind {
        "upsert" => Ok(Operation::Upsert(put(api, &at, given)?)),
        "patch" => Ok(Operation::Patch(put(api, &at, given)?)),
        "delete" => delete(&at, given),
        "relate" => relate(api, &at, given),
        _ => unrelate(&at, given),
    }
}

fn put(api: &Api, at: &str, given: &Map<String, Json>) -> Result<Put, Fault> {
    let given = Members::new(at, given);
    let class = api.class_named(given.text("class")?)?;
    let set = match given.get("set") {
        None => Vec::new(),
        Some(set) => {
            let path = given.path("set");
            let set = object(&path, set)?;
            properties_of(class, &path, set.iter())?
        }
    };
    Ok(Put {
        id: given.id("id")?,
        class: Arc::clone(&class.name),
        set,
        geometry: given.geometry()?,
        expect: given.expect()?,
    })
}

/// `upsert<Class>`: id and geometry stand among the properties, whose names never are those.
fn upsert(class: &Class, given: &Map<String, Json>) -> Result<Put, Fault> {
    let arguments = Members::new("", given);
    let input = Members::new("input", object("input", arguments.required("input")?)?);
    let set = input
        .given
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "id" | "geometry"));
    Ok(Put {
        id: input.id("id")?,
        class: Arc::clone(&class.name),
        set: properties_of(class, "input", set)?,
        geometry: input.geometry()?,
        expect: arguments.expect()?,
    })
}

fn delete(at: &str, given: &Map<String, Json>) -> Result<Operation, Fault> {
    let given = Members::new(at, given);
    Ok(Operation::Delete {
        id: given.id("id")?,
        expect: given.expect()?,
        detach: given.flag("detach")?,
    })
}

fn relate(api: &Api, at: &str, given: &Map<String, Json>) -> Result<Operation, Fault> {
    let given = Members::new(at, given);
    let kind = api.relationship_named(given.text("relationship")?)?;
    let set = match given.get("properties") {
        None => Vec::new(),
        Some(json) => {
            let path = given.path("properties");
            let what = || format!("property of relationship {}", kind.name);
            let set = object(&path, json)?.iter();
            set.map(|(name, json)| property(&kind.properties, &path, what, name, json))
                .collect::<Result<_, _>>()?
        }
    };
    Ok(Operation::Relate {
        source: given.id("source")?,
        name: Arc::clone(&kind.name),
        target: given.id("target")?,
        set,
        expect: given.expect()?,
        replace: given.flag("replace")?,
    })
}

fn unrelate(at: &str, given: &Map<String, Json>) -> Result<Operation, Fault> {
    let given = Members::new(at, given);
    Ok(Operation::Unrelate {
        source: given.id("source")?,
        name: given.text("relationship")?.into(),
        target: given.id("target")?,
        expect: given.expect()?,
    })
}

fn object<'v>(at: &str, json: &'v Json) -> Result<&'v Map<String, Json>, Fault> {
    json.as_object()
        .ok_or_else(|| Fault::invalid(format!("`{at}` is an object, not {}", shown(json))))
}

/// A property and what it is set to; `None` clears it.
type Setting = (Arc<str>, Option<Value>);

fn properties_of<'v>(
    class: &Class,
    at: &str,
    set: impl Iterator<Item = (&'v String, &'v Json)>,
) -> Result<Vec<Setting>, Fault> {
    let what = || format!("property of {}", class.name);
    let one = |(name, json): (&String, &Json)| {
        let instead = if class.relationship(name).is_some() {
            Some(("a relationship", "relate"))
        } else {
            class.telemetry_index(name).map(|_| ("telemetry", "record"))
        };
        if let Some((kind, mutation)) = instead {
            return Err(Fault::invalid(format!(
                "`{at}.{name}` is {kind} of {}, not a property: use `{mutation}`",
                class.name
            )));
        }
        property(&class.properties, at, what, name, json)
    };
    set.map(one).collect()
}

/// A property of a sorted list and its value.
fn property(
    properties: &[Property],
    at: &str,
    what: impl Fn() -> String,
    name: &str,
    json: &Json,
) -> Result<Setting, Fault> {
    let known = properties.binary_search_by(|property| (*property.name).cmp(name));
    let property = known.map_or_else(
        |_absent| {
            let names = properties.iter().map(|property| &*property.name);
            Err(Fault::unknown(&what(), name, names))
        },
        |column| Ok(&properties[column]),
    )?;
    let value = match json {
        Json::Null => None,
        json => Some(fitted(&format!("{at}.{name}"), &property.schema, json)?),
    };
    Ok((Arc::clone(&property.name), value))
}

/// A value of a schema, or where it does not fit.
fn fitted(at: &str, schema: &Schema, json: &Json) -> Result<Value, Fault> {
    typed(schema, json).map_err(|misfit| {
        let inner = if misfit.path == "." { "" } else { &misfit.path };
        let mut fault = Fault::invalid(format!("`{at}{inner}`: {}", misfit.reason));
        fault.suggestion = misfit.suggestion;
        fault
    })
}

fn readings(view: &View, items: &[Json]) -> Result<Vec<Reading>, Fault> {
    if items.len() > MAX_READINGS {
        return Err(limited(
            "readings of one call",
            items.len(),
            MAX_READINGS,
            "MAX_READINGS",
        ));
    }
    let reading = |(i, item): (usize, &Json)| {
        let at = format!("readings[{i}]");
        let known = ["twin", "telemetry", "ts", "value"];
        let given = Members::new(&at, members(&format!("`{at}`"), item, &known)?);
        let id = given.id("twin")?;
        let twin = view.twin(&id).ok_or_else(|| {
            let message = format!("`{at}.twin`: there is no twin `{id}`");
            Fault::new(Code::NotFound, message)
        })?;
        let class = view.class(twin);
        let name = given.text("telemetry")?;
        let index = class.telemetry_index(name).ok_or_else(|| {
            let names = class.telemetry.iter().map(|telemetry| &*telemetry.name);
            Fault::unknown(&format!("telemetry of {}", class.name), name, names)
        })?;
        let telemetry = &class.telemetry[index];
        let ts = given.get("ts").map(|ts| {
            let ts = fitted(&given.path("ts"), &Schema::DateTime, ts)?;
            match ts {
                Value::DateTime(micros) => Ok(micros),
                other => Err(Fault::invalid(format!(
                    "`{at}.ts` is an instant, not {}",
                    other.to_json()
                ))),
            }
        });
        let value = fitted(
            &given.path("value"),
            &telemetry.schema,
            given.required("value")?,
        )?;
        Ok(Reading {
            twin: id,
            telemetry: Arc::clone(&telemetry.name),
            ts: ts.transpose()?,
            value,
        })
    };
    items.iter().enumerate().map(reading).collect()
}
