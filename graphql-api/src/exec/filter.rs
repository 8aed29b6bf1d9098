//! `where`: conditions compiled once per question and tested on columns.
//!
//! # Invariants
//! - Conditions side by side must all hold; an empty `where` holds for every twin, an empty `or`
//!   for none.
//! - An absent value fits `isNull: true` and `ne`, and nothing else.
//! - A condition on a relationship holds if some related twin fits.
//! - [`Filter::candidates`], where it answers, holds at least every twin that fits.

use ontology::{Class, ClassId, RelationshipId, Schema, Value};
use serde_json::Value as Json;
use twin_core::{Direction, TwinRef, View};

use super::page::Clock;
use super::select::members;
use super::values::typed;
use super::variables::shown;
use crate::api::Api;
use crate::error::Fault;
use crate::limits::{MAX_CONDITION_DEPTH, MAX_CONDITIONS, MAX_IN_VALUES};
use crate::schema::OWN_CONDITIONS;

/// Compiled conditions on twins of one class and its subclasses.
#[derive(Debug)]
pub(crate) struct Filter {
    root: Test,
}

#[derive(Debug)]
enum Test {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Id(Check),
    Property(Columns, Check),
    Related(RelationshipId, Box<Self>),
}

/// What is asked of one value.
#[derive(Debug)]
enum Check {
    Equal(Value),
    /// Sorted.
    OneOf(Vec<Value>),
    Greater(Value),
    Least(Value),
    Less(Value),
    Most(Value),
    StartsWith(String),
    Contains(String),
    Holds(Value),
    Absent(bool),
    Differs(Value),
}

/// Where a property or a telemetry stands in each of the classes that have it.
#[derive(Clone, Debug)]
pub(crate) struct Columns(Vec<(ClassId, u32)>);

impl Columns {
    /// Columns of a property of a class in that class and its subclasses.
    pub(crate) fn of(api: &Api, class: ClassId, name: &str) -> Self {
        Self::find(api, class, |class| class.property_index(name))
    }

    /// Places of a telemetry of a class in that class and its subclasses.
    pub(crate) fn of_telemetry(api: &Api, class: ClassId, name: &str) -> Self {
        Self::find(api, class, |class| class.telemetry_index(name))
    }

    fn find(api: &Api, class: ClassId, place: impl Fn(&Class) -> Option<usize>) -> Self {
        let classes = api.ontology.with_descendants(class);
        let column = |id| Some((id, place(api.class(id))? as u32));
        let mut columns: Vec<_> = classes.filter_map(column).collect();
        columns.sort_unstable();
        Self(columns)
    }

    /// Where it stands in one class.
    pub(crate) fn in_class(&self, class: ClassId) -> Option<usize> {
        let column = match self.0.as_slice() {
            [(only, column)] if *only == class => *column,
            many => many[many.binary_search_by_key(&class, |(id, _)| *id).ok()?].1,
        };
        Some(column as usize)
    }

    pub(crate) fn value(&self, view: &View, twin: TwinRef) -> Option<Value> {
        view.value(twin, self.in_class(view.class_id(twin))?)
    }
}

impl Filter {
    /// Compiles conditions on a class, on any where none is named.
    pub(crate) fn compile(
        api: &Api,
        class: impl Into<Option<ClassId>>,
        conditions: &Json,
    ) -> Result<Self, Fault> {
        let mut compiler = Compiler { api, conditions: 0 };
        Ok(Self {
            root: compiler.class(class.into(), conditions, MAX_CONDITION_DEPTH)?,
        })
    }

    /// Whether a twin of the class fits; once time is up the answer means nothing.
    pub(crate) fn admits(&self, view: &View, twin: TwinRef, clock: &Clock) -> bool {
        self.root.holds(view, twin, clock)
    }

    /// Twins that may fit, if the conditions lead to few of them: by id or by a related id.
    ///
    /// Once time is up they are not all there.
    pub(crate) fn candidates(&self, view: &View, clock: &Clock) -> Option<Vec<TwinRef>> {
        self.root.candidates(view, clock)
    }
}

impl Test {
    fn holds(&self, view: &View, twin: TwinRef, clock: &Clock) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(view, twin, clock)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(view, twin, clock)),
            Self::Not(test) => !test.holds(view, twin, clock),
            Self::Id(check) => check.holds_id(view.id(twin).as_str()),
            Self::Property(columns, check) => check.holds(columns.value(view, twin).as_ref()),
            // Conditions within conditions may lead to more twins than there are.
            Self::Related(relationship, test) => view
                .related(twin, *relationship, Direction::Out)
                .take_while(|_| clock.tick())
                .any(|related| test.holds(view, related, clock)),
        }
    }

    fn candidates(&self, view: &View, clock: &Clock) -> Option<Vec<TwinRef>> {
        match self {
            Self::All(tests) => tests.iter().find_map(|test| test.candidates(view, clock)),
            Self::Id(Check::Equal(Value::Text(id))) => Some(view.find(id).into_iter().collect()),
            Self::Id(Check::OneOf(ids)) => {
                let text = |id: &Value| match id {
                    Value::Text(id) => view.find(id),
                    _ => None,
                };
                Some(ids.iter().filter_map(text).collect())
            }
            Self::Related(relationship, test) => {
                let targets = test.candidates(view, clock)?;
                let sources = targets
                    .into_iter()
                    .flat_map(|target| view.related(target, *relationship, Direction::In));
                Some(sources.take_while(|_| clock.tick()).collect())
            }
            Self::Any(_) | Self::Not(_) | Self::Id(_) | Self::Property(..) => None,
        }
    }
}

impl Check {
    fn holds(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Absent(wanted), value) => value.is_none() == *wanted,
            (Self::Differs(other), value) => value != Some(other),
            (Self::Equal(other), Some(value)) => value == other,
            (Self::OneOf(others), Some(value)) => others.binary_search(value).is_ok(),
            (Self::Greater(other), Some(value)) => value > other,
            (Self::Least(other), Some(value)) => value >= other,
            (Self::Less(other), Some(value)) => value < other,
            (Self::Most(other), Some(value)) => value <= other,
            (Self::StartsWith(start), Some(Value::Text(text))) => text.starts_with(start.as_str()),
            (Self::Contains(part), Some(Value::Text(text))) => text.contains(part.as_str()),
            (Self::Holds(item), Some(Value::List(items))) => items.contains(item),
            (_, None) | (Self::StartsWith(_) | Self::Contains(_) | Self::Holds(_), Some(_)) => {
                false
            }
        }
    }

    /// Like [`Check::holds`], without making a value of each id.
    fn holds_id(&self, id: &str) -> bool {
        let order = |other: &Value| match other {
            Value::Text(other) => id.cmp(other),
            _ => std::cmp::Ordering::Less,
        };
        match self {
            Self::Equal(other) => order(other).is_eq(),
            Self::Differs(other) => order(other).is_ne(),
            Self::OneOf(others) => others
                .binary_search_by(|other| order(other).reverse())
                .is_ok(),
            Self::Greater(other) => order(other).is_gt(),
            Self::Least(other) => order(other).is_ge(),
            Self::Less(other) => order(other).is_lt(),
            Self::Most(other) => order(other).is_le(),
            Self::StartsWith(start) => id.starts_with(start.as_str()),
            Self::Contains(part) => id.contains(part.as_str()),
            Self::Absent(wanted) => !wanted,
            Self::Holds(_) => false,
        }
    }
}

struct Compiler<'a> {
    api: &'a Api,
    conditions: usize,
}

impl Compiler<'_> {
    /// Conditions on twins of a class, of any class if `None`.
    fn class(
        &mut self,
        class: Option<ClassId>,
        conditions: &Json,
        depth: usize,
    ) -> Result<Test, Fault> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Fault::too_costly(format!(
                "`where` nests deeper than {MAX_CONDITION_DEPTH} (MAX_CONDITION_DEPTH)"
            )));
        };
        let model = class.map(|class| self.api.class(class));
        let what = model.map_or_else(
            || "TwinWhere".to_owned(),
            |class| format!("{}Where", class.name),
        );
        let members = conditions.as_object().ok_or_else(|| {
            Fault::invalid(format!("{what} is an object, not {}", shown(conditions)))
        })?;
        let mut tests = Vec::new();
        for (name, condition) in members {
            if condition.is_null() {
                continue;
            }
            self.conditions += 1;
            if self.conditions > MAX_CONDITIONS {
                return Err(Fault::too_costly(format!(
                    "`where` has more than {MAX_CONDITIONS} conditions (MAX_CONDITIONS): use `in`"
                )));
            }
            tests.push(match name.as_str() {
                "id" => all(self.checks("id", None, condition)?, Test::Id),
                "not" => Test::Not(Box::new(self.class(class, condition, depth)?)),
                "or" => {
                    let alternatives = match condition {
                        Json::Array(alternatives) => alternatives.as_slice(),
                        single => std::slice::from_ref(single),
                    };
                    let compile = |one| self.class(class, one, depth);
                    Test::Any(alternatives.iter().map(compile).collect::<Result<_, _>>()?)
                }
                name => self.member(model, &what, name, condition, depth)?,
            });
        }
        Ok(if tests.len() == 1 {
            tests.remove(0)
        } else {
            Test::All(tests)
        })
    }

    fn member(
        &mut self,
        class: Option<&Class>,
        what: &str,
        name: &str,
        condition: &Json,
        depth: usize,
    ) -> Result<Test, Fault> {
        if let Some(class) = class {
            if let Some(property) = class.property(name) {
                let columns = Columns::of(self.api, class.id, name);
                let checks = self.checks(name, Some(&property.schema), condition)?;
                return Ok(all(checks, |check| Test::Property(columns.clone(), check)));
            }
            if let Some(relationship) = class.relationship(name) {
                let inner = self.class(relationship.target, condition, depth)?;
                return Ok(Test::Related(relationship.id, Box::new(inner)));
            }
        }
        let properties = class
            .into_iter()
            .flat_map(|class| class.properties.iter().map(|p| &*p.name));
        let relationships = class
            .into_iter()
            .flat_map(|class| class.relationships.iter().map(|r| &*r.name));
        let known = OWN_CONDITIONS
            .iter()
            .copied()
            .chain(properties)
            .chain(relationships);
        Err(Fault::unknown(&format!("condition of {what}"), name, known))
    }

    /// The checks of one filter; `schema` is `None` for ids.
    fn checks(
        &mut self,
        name: &str,
        schema: Option<&Schema>,
        condition: &Json,
    ) -> Result<Vec<Check>, Fault> {
        let operators = operators(schema);
        let mut checks = Vec::new();
        for (operator, operand) in members(&format!("`where.{name}`"), condition, &operators)? {
            self.conditions += 1;
            if operand.is_null() {
                return Err(Fault::invalid(format!(
                    "`where.{name}.{operator}` is null: leave it out, or ask `isNull: true`"
                )));
            }
            let refuse = |reason: &dyn std::fmt::Display| {
                Fault::invalid(format!("`where.{name}.{operator}`: {reason}"))
            };
            let value = |schema: Option<&Schema>, json: &Json| match schema {
                None => json
                    .as_str()
                    .map(|id| Value::Text(id.into()))
                    .ok_or_else(|| refuse(&format!("expected an id, found {}", shown(json)))),
                Some(schema) => typed(schema, json).map_err(|misfit| {
                    let mut fault = refuse(&misfit);
                    fault.suggestion = misfit.suggestion;
                    fault
                }),
            };
            let text = || {
                operand
                    .as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| refuse(&format!("expected a text, found {}", shown(operand))))
            };
            match operator.as_str() {
                "eq" => checks.push(Check::Equal(value(schema, operand)?)),
                "ne" => checks.push(Check::Differs(value(schema, operand)?)),
                "gt" => checks.push(Check::Greater(value(schema, operand)?)),
                "gte" => checks.push(Check::Least(value(schema, operand)?)),
                "lt" => checks.push(Check::Less(value(schema, operand)?)),
                "lte" => checks.push(Check::Most(value(schema, operand)?)),
                "startsWith" => checks.push(Check::StartsWith(text()?)),
                "contains" => checks.push(match schema {
                    Some(Schema::Array(element)) => Check::Holds(value(Some(element), operand)?),
                    _ => Check::Contains(text()?),
                }),
                "isNull" => {
                    let wanted = operand.as_bool();
                    checks.push(Check::Absent(wanted.ok_or_else(|| {
                        refuse(&format!("expected true or false, found {}", shown(operand)))
                    })?));
                }
                "between" => match operand.as_array().map(Vec::as_slice) {
                    Some([least, most]) => {
                        checks.push(Check::Least(value(schema, least)?));
                        checks.push(Check::Most(value(schema, most)?));
                    }
                    _ => return Err(refuse(&"expected two values, the least and the most")),
                },
                _ => {
                    let items = match operand {
                        Json::Array(items) => items.as_slice(),
                        single => std::slice::from_ref(single),
                    };
                    if items.len() > MAX_IN_VALUES {
                        return Err(Fault::too_costly(format!(
                            "`where.{name}.in` has {} values, and {MAX_IN_VALUES} are allowed (MAX_IN_VALUES)",
                            items.len()
                        )));
                    }
                    let values = items.iter().map(|item| value(schema, item));
                    let mut values = values.collect::<Result<Vec<_>, _>>()?;
                    values.sort_unstable();
                    values.dedup();
                    checks.push(Check::OneOf(values));
                }
            }
        }
        Ok(checks)
    }
}

fn all(checks: Vec<Check>, test: impl Fn(Check) -> Test) -> Test {
    let mut tests: Vec<_> = checks.into_iter().map(test).collect();
    if tests.len() == 1 {
        tests.remove(0)
    } else {
        Test::All(tests)
    }
}

/// The operators of a schema's filter, as the schema of the API offers them.
fn operators(schema: Option<&Schema>) -> Vec<&'static str> {
    let equal = ["eq", "ne", "in", "isNull"];
    let ordered = ["gt", "gte", "lt", "lte", "between"];
    let text = ["startsWith", "contains"];
    match schema {
        None | Some(Schema::String) => [&equal[..], &ordered, &text].concat(),
        Some(Schema::Array(_)) => vec!["contains", "isNull"],
        Some(Schema::Object(_) | Schema::Map(_) | Schema::Geometry(_)) => vec!["isNull"],
        Some(Schema::Boolean) => equal.to_vec(),
        Some(schema @ Schema::Enum(_)) => match crate::api::shown(schema) {
            crate::api::Shown::Enum(_) => equal.to_vec(),
            crate::api::Shown::Scalar("String") => [&equal[..], &ordered, &text].concat(),
            _ => [&equal[..], &ordered].concat(),
        },
        Some(_) => [&equal[..], &ordered].concat(),
    }
}
