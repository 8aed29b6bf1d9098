//! What each selection set means for twins of each class, worked out once per request.
//!
//! # Invariants
//! - A plan is made when the first twin of its class is written, and serves all others.
//! - A field whose arguments do not fit is planned as its failure: it fails wherever it is written,
//!   with the path it has there.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Pos;
use async_graphql::parser::types::SelectionSet;
use ontology::{ClassId, RelationshipId, Schema};
use twin_core::Direction;

use super::history::Aggregate;
use super::select::{Ask, Merged};
use super::variables::shown as shown_json;
use crate::api::{Api, Shown, TwinType, shown};
use crate::error::Fault;
use crate::limits::{DEFAULT_PAGE, MAX_PAGE, MIN_WINDOW};

/// What planning needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planner<'q> {
    pub(crate) api: &'q Api,
    pub(crate) ask: Ask<'q>,
}

/// A field of an answer: its key, ready to be written, and what it is.
#[derive(Debug)]
pub(crate) struct Field<'q, K> {
    pub(crate) key: &'q str,
    /// `"key":`
    pub(crate) head: Box<str>,
    pub(crate) pos: Pos,
    pub(crate) kind: K,
}

impl<'q, K> Field<'q, K> {
    fn new(merged: &Merged<'q>, kind: K) -> Self {
        let head = format!("\"{}\":", merged.key).into();
        Self {
            key: merged.key,
            head,
            pos: merged.pos,
            kind,
        }
    }
}

impl<'q, K> Field<'q, K> {
    /// The same field, its kind decided.
    pub(crate) fn map<L>(
        self,
        kind: impl FnOnce(K) -> Result<L, Fault>,
    ) -> Result<Field<'q, L>, Fault> {
        let Self {
            key,
            head,
            pos,
            kind: undecided,
        } = self;
        Ok(Field {
            key,
            head,
            pos,
            kind: kind(undecided).map_err(|fault| fault.at(pos))?,
        })
    }
}

/// What is asked of twins: plans by class, made when needed.
#[derive(Debug)]
pub(crate) struct Twins<'q> {
    sets: Vec<&'q SelectionSet>,
    plans: RefCell<Vec<(ClassId, TwinPlan<'q>)>>,
}

/// What is asked of twins of one class.
pub(crate) type TwinPlan<'q> = Rc<Vec<Field<'q, Member<'q>>>>;

/// A field of a twin.
#[derive(Debug)]
pub(crate) enum Member<'q> {
    Typename,
    Id,
    Class,
    Revision,
    Geometry,
    /// A property by column, shown as its schema says.
    Property(usize, Show<'q>),
    /// No such value in this class.
    Null,
    /// A telemetry by index.
    Reading(usize, Vec<Field<'q, ReadingPart<'q>>>),
    /// A single-valued relationship.
    One(RelationshipId, Twins<'q>),
    /// A connection of related twins.
    Related(RelatedPlan<'q>),
    /// Arguments that do not fit a field that cannot be null.
    Failed(Fault),
}

/// How a value is written.
#[derive(Debug)]
pub(crate) enum Show<'q> {
    /// By its own kind.
    Plain,
    /// An integer as text.
    BigInt,
    /// Some fields of an object.
    Object(Vec<Field<'q, Part<'q>>>),
    /// Each item of a list.
    List(Box<Self>),
}

/// A field of an object value.
#[derive(Debug)]
pub(crate) enum Part<'q> {
    Typename(String),
    Field(Arc<str>, Show<'q>),
}

/// A field of a reading.
#[derive(Debug)]
pub(crate) enum ReadingPart<'q> {
    Typename,
    Value,
    Unit,
    Ts,
    Arrived,
    History(HistoryPlan<'q>),
    /// Arguments that do not fit.
    Failed(Fault),
}

/// Which earlier readings, and what of them.
#[derive(Debug)]
pub(crate) struct HistoryPlan<'q> {
    /// Times of measurement, microseconds since 1970.
    pub(crate) ts: Range<i64>,
    pub(crate) first: usize,
    /// Length of windows and what becomes of their readings; without it readings come as they are.
    pub(crate) windows: Option<(Duration, Aggregate)>,
    pub(crate) fields: Vec<Field<'q, PastPart>>,
}

/// A field of `PastReading`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PastPart {
    Typename,
    Value,
    Unit,
    Ts,
    Arrived,
}

/// Which related twins, and what of them.
#[derive(Debug)]
pub(crate) struct RelatedPlan<'q> {
    pub(crate) relationships: Vec<RelationshipId>,
    pub(crate) direction: Direction,
    pub(crate) class: Option<ClassId>,
    pub(crate) first: usize,
    pub(crate) after: Option<String>,
    pub(crate) connection: Connection<'q>,
}

/// What is asked of a connection.
#[derive(Debug)]
pub(crate) struct Connection<'q> {
    pub(crate) fields: Vec<Field<'q, ConnectionPart<'q>>>,
    /// Name without `Connection`.
    pub(crate) prefix: String,
    pub(crate) wants_total: bool,
}

/// A field of a connection.
#[derive(Debug)]
pub(crate) enum ConnectionPart<'q> {
    Typename,
    Total,
    Edges(Vec<Field<'q, EdgePart<'q>>>),
    Page(Vec<Field<'q, PagePart>>),
}

/// A field of an edge.
#[derive(Debug)]
pub(crate) enum EdgePart<'q> {
    Typename,
    Cursor,
    Node(Twins<'q>),
    Relationship,
    Direction,
    Properties,
}

/// A field of `PageInfo`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PagePart {
    Typename,
    HasNext,
    HasPrevious,
    Start,
    End,
}

impl<'q> Twins<'q> {
    pub(crate) fn new(sets: Vec<&'q SelectionSet>) -> Self {
        Self {
            sets,
            plans: RefCell::default(),
        }
    }

    /// What is asked of twins of a class.
    pub(crate) fn plan(&self, planner: Planner<'q>, class: ClassId) -> TwinPlan<'q> {
        let mut plans = self.plans.borrow_mut();
        if let Some((_, plan)) = plans.iter().find(|(known, _)| *known == class) {
            return Rc::clone(plan);
        }
        let plan = Rc::new(planner.twin(&self.sets, class));
        plans.push((class, Rc::clone(&plan)));
        plan
    }
}

impl<'q> Planner<'q> {
    fn twin(self, sets: &[&'q SelectionSet], class: ClassId) -> Vec<Field<'q, Member<'q>>> {
        let applies = |name: &str| self.api.applies(name, class);
        let fields = self.ask.fields(sets, &applies);
        fields
            .into_iter()
            .map(|merged| {
                let member = self.member(class, &merged);
                Field::new(&merged, member)
            })
            .collect()
    }

    fn member(self, class: ClassId, merged: &Merged<'q>) -> Member<'q> {
        let model = self.api.class(class);
        match merged.name() {
            "__typename" => Member::Typename,
            "id" => Member::Id,
            "class" => Member::Class,
            "label" => match self.api.label(class) {
                Some(column) => Member::Property(column, Show::Plain),
                None => Member::Null,
            },
            "revision" => Member::Revision,
            "geometry" => Member::Geometry,
            "related" => self
                .related(merged)
                .map_or_else(Member::Failed, Member::Related),
            name => {
                if let Some(column) = model.property_index(name) {
                    let property = &model.properties[column];
                    let owner = &self.api.class(property.declared_by).name;
                    let show = self.show(owner, name, &property.schema, &merged.sets);
                    Member::Property(column, show)
                } else if let Some(index) = model.telemetry_index(name) {
                    Member::Reading(index, self.reading(&merged.sets))
                } else if let Some(relationship) = model.relationship(name) {
                    if relationship.max == Some(1) {
                        Member::One(relationship.id, Twins::new(merged.sets.clone()))
                    } else {
                        let ids = vec![relationship.id];
                        let node = self.api.target(relationship.target);
                        let prefix = self.api.type_name(node);
                        self.related_by(merged, ids, Direction::Out, None, prefix)
                            .map_or_else(Member::Failed, Member::Related)
                    }
                } else {
                    Member::Failed(Fault::unknown("field", name, []).at(merged.pos))
                }
            }
        }
    }

    fn related(self, merged: &Merged<'q>) -> Result<RelatedPlan<'q>, Fault> {
        let fail = |fault: Fault| fault.at(merged.pos);
        let relationships = match self.ask.text(merged.field, "relationship").map_err(fail)? {
            Some(name) => vec![self.api.relationship_named(&name).map_err(fail)?.id],
            None => self
                .api
                .ontology
                .relationships()
                .iter()
                .map(|kind| kind.id)
                .collect(),
        };
        let class = match self.ask.text(merged.field, "class").map_err(fail)? {
            Some(name) => Some(self.api.class_named(&name).map_err(fail)?.id),
            None => None,
        };
        let direction = self.ask.text(merged.field, "direction").map_err(fail)?;
        let direction = direction_named(direction.as_deref()).map_err(fail)?;
        self.related_by(
            merged,
            relationships,
            direction,
            class,
            "Related".to_owned(),
        )
    }

    fn related_by(
        self,
        merged: &Merged<'q>,
        relationships: Vec<RelationshipId>,
        direction: Direction,
        class: Option<ClassId>,
        prefix: String,
    ) -> Result<RelatedPlan<'q>, Fault> {
        let (first, after) = self.page(merged)?;
        let connection = self.connection(&merged.sets, prefix);
        Ok(RelatedPlan {
            relationships,
            direction,
            class,
            first,
            after,
            connection,
        })
    }

    /// `first` and `after` of a connection.
    pub(crate) fn page(self, merged: &Merged<'q>) -> Result<(usize, Option<String>), Fault> {
        let first = self
            .ask
            .count(merged.field, "first", DEFAULT_PAGE, MAX_PAGE);
        let first = first.map_err(|fault| fault.at(merged.pos))?;
        let after = self
            .ask
            .text(merged.field, "after")
            .map_err(|fault| fault.at(merged.pos))?;
        Ok((first, after))
    }

    fn show(
        self,
        owner: &str,
        member: &str,
        schema: &Schema,
        sets: &[&'q SelectionSet],
    ) -> Show<'q> {
        match (shown(schema), schema) {
            (Shown::Scalar("BigInt"), _) => Show::BigInt,
            (Shown::List(_), Schema::Array(element)) => {
                Show::List(Box::new(self.show(owner, member, element, sets)))
            }
            (Shown::Object, Schema::Object(fields)) => {
                let name = crate::schema::object_name(owner, member);
                let applies = |condition: &str| condition == name;
                let asked = self.ask.fields(sets, &applies).into_iter();
                let parts = asked.map(|merged| {
                    let field = fields.iter().find(|field| *field.name == *merged.name());
                    let part = match field {
                        Some(field) => {
                            let show = self.show(&name, &field.name, &field.schema, &merged.sets);
                            Part::Field(Arc::clone(&field.name), show)
                        }
                        None => Part::Typename(name.clone()),
                    };
                    Field::new(&merged, part)
                });
                Show::Object(parts.collect())
            }
            _ => Show::Plain,
        }
    }

    fn reading(self, sets: &[&'q SelectionSet]) -> Vec<Field<'q, ReadingPart<'q>>> {
        self.object(sets, "Reading", |part| match part.name() {
            "value" => ReadingPart::Value,
            "unit" => ReadingPart::Unit,
            "ts" => ReadingPart::Ts,
            "arrived" => ReadingPart::Arrived,
            "history" => match self.history(part) {
                Ok(plan) => ReadingPart::History(plan),
                Err(fault) => ReadingPart::Failed(fault),
            },
            _ => ReadingPart::Typename,
        })
    }

    fn history(self, merged: &Merged<'q>) -> Result<HistoryPlan<'q>, Fault> {
        let from = self.ask.instant(merged.field, "from")?;
        let from = from.ok_or_else(|| Fault::invalid("`from` is required"))?;
        let to = self.ask.instant(merged.field, "to")?.unwrap_or(i64::MAX);
        let first = self.ask.count(merged.field, "first", MAX_PAGE, MAX_PAGE)?;
        let windows = self.windows(merged)?;
        let fields = self.object(&merged.sets, "PastReading", |part| match part.name() {
            "value" => PastPart::Value,
            "unit" => PastPart::Unit,
            "ts" => PastPart::Ts,
            "arrived" => PastPart::Arrived,
            _ => PastPart::Typename,
        });
        Ok(HistoryPlan {
            ts: from..to,
            first,
            windows,
            fields,
        })
    }

    fn windows(self, merged: &Merged<'q>) -> Result<Option<(Duration, Aggregate)>, Fault> {
        let aggregate = self.ask.argument(merged.field, "aggregate");
        let Some(every) = self.ask.argument(merged.field, "every") else {
            return match aggregate {
                None => Ok(None),
                Some(_) => Err(Fault::invalid(
                    "`aggregate` needs `every`, the length of its windows, such as \"PT1H\"",
                )),
            };
        };
        let length = window_length(&every)?;
        let aggregate = aggregate.as_ref().and_then(serde_json::Value::as_str);
        let named = Aggregate::ALL
            .into_iter()
            .find(|(name, ..)| Some(*name) == aggregate);
        Ok(Some((length, named.map_or(Aggregate::Mean, |(_, a, _)| a))))
    }

    /// What is asked of a connection whose types begin with `prefix`.
    pub(crate) fn connection(self, sets: &[&'q SelectionSet], prefix: String) -> Connection<'q> {
        let own = format!("{prefix}Connection");
        let mut wants_total = false;
        let asked = self
            .ask
            .fields(sets, &|condition| condition == own)
            .into_iter();
        let fields = asked.map(|merged| {
            let part = match merged.name() {
                "totalCount" => {
                    wants_total = true;
                    ConnectionPart::Total
                }
                "edges" => ConnectionPart::Edges(self.edges(&merged.sets, &prefix)),
                "pageInfo" => ConnectionPart::Page(self.page_info(&merged.sets)),
                _ => ConnectionPart::Typename,
            };
            Field::new(&merged, part)
        });
        let fields = fields.collect();
        Connection {
            fields,
            prefix,
            wants_total,
        }
    }

    fn edges(self, sets: &[&'q SelectionSet], prefix: &str) -> Vec<Field<'q, EdgePart<'q>>> {
        let own = format!("{prefix}Edge");
        let asked = self
            .ask
            .fields(sets, &|condition| condition == own)
            .into_iter();
        let part = |merged: &Merged<'q>| match merged.name() {
            "cursor" => EdgePart::Cursor,
            "node" => EdgePart::Node(Twins::new(merged.sets.clone())),
            "relationship" => EdgePart::Relationship,
            "direction" => EdgePart::Direction,
            "properties" => EdgePart::Properties,
            _ => EdgePart::Typename,
        };
        asked
            .map(|merged| Field::new(&merged, part(&merged)))
            .collect()
    }

    pub(crate) fn page_info(self, sets: &[&'q SelectionSet]) -> Vec<Field<'q, PagePart>> {
        let asked = self
            .ask
            .fields(sets, &|condition| condition == "PageInfo")
            .into_iter();
        let part = |name: &str| match name {
            "hasNextPage" => PagePart::HasNext,
            "hasPreviousPage" => PagePart::HasPrevious,
            "startCursor" => PagePart::Start,
            "endCursor" => PagePart::End,
            _ => PagePart::Typename,
        };
        asked
            .map(|merged| Field::new(&merged, part(merged.name())))
            .collect()
    }

    /// Fields that an object type of ours is asked for, each with what `kind` makes of it.
    pub(crate) fn object<K>(
        self,
        sets: &[&'q SelectionSet],
        name: &str,
        mut kind: impl FnMut(&Merged<'q>) -> K,
    ) -> Vec<Field<'q, K>> {
        let asked = self
            .ask
            .fields(sets, &|condition| condition == name)
            .into_iter();
        asked
            .map(|merged| Field::new(&merged, kind(&merged)))
            .collect()
    }

    /// The name of the types of a list of a class.
    pub(crate) fn list_prefix(self, class: ClassId) -> String {
        self.api.type_name(self.api.twins_of(class))
    }

    /// The name of the types of lists of any twins.
    pub(crate) fn any_prefix(self) -> String {
        self.api.type_name(TwinType::Twin)
    }
}

/// OUT or IN; OUT if nothing is said.
pub(crate) fn direction_named(name: Option<&str>) -> Result<Direction, Fault> {
    match name {
        None | Some("OUT") => Ok(Direction::Out),
        Some("IN") => Ok(Direction::In),
        Some(other) => Err(Fault::unknown("direction", other, ["OUT", "IN"])),
    }
}

/// How long windows are.
pub(crate) fn window_length(every: &serde_json::Value) -> Result<Duration, Fault> {
    let length = every.as_str().and_then(ontology::exact_duration);
    length.filter(|length| *length >= MIN_WINDOW).ok_or_else(|| {
        Fault::invalid(format!(
            "`every` is an ISO 8601 duration of weeks, days, hours, minutes or seconds, at least {} \
             s, such as \"PT15M\", not {}",
            MIN_WINDOW.as_secs(),
            shown_json(every)
        ))
    })
}
