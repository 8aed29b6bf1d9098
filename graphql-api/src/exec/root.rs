//! The fields of the query root: what each asks for, compiled from its arguments.

use async_graphql::parser::types::SelectionSet;
use ontology::ClassId;
use serde_json::Value as Json;
use twin_core::space::{Point, Region, Relation};
use twin_core::{Step, TwinId, TwinRef, View};

use super::aggregate::{self, AggregatePlan};
use super::filter::Filter;
use super::letters::{self, LetterPlan, LettersPlan};
use super::order::{Order, Place};
use super::page::Clock;
use super::path::{self, PathPlan};
use super::plan::{Connection, Field, Planner, Twins, direction_named};
use super::region;
use super::search::{self, SearchPlan};
use super::select::{Merged, members};
use crate::error::{Code, Fault};
use crate::limits::{MAX_PAGE, MAX_TRAVERSAL_STARTS, MAX_TRAVERSAL_STEPS};

/// A field of the query root.
#[derive(Debug)]
pub(crate) enum Root<'q> {
    Typename,
    Position,
    /// A twin by id.
    Twin(Option<TwinRef>, Twins<'q>),
    List(Box<ListPlan<'q>>),
    Nearest(Box<NearestPlan<'q>>),
    Containing(Vec<TwinRef>, Twins<'q>),
    Traverse(Box<TraversePlan<'q>>),
    Path(Box<PathPlan<'q>>),
    Aggregate(Box<AggregatePlan<'q>>),
    Search(Box<SearchPlan<'q>>),
    Letters(Box<LettersPlan<'q>>),
    Letter(Box<LetterPlan<'q>>),
    /// Arguments that do not fit; whether the field may be null.
    Failed(Fault, bool),
}

/// Where twins have to be, and how.
pub(crate) type Within = (Region, Relation);

/// A list of a class.
#[derive(Debug)]
pub(crate) struct ListPlan<'q> {
    pub(crate) class: ClassId,
    pub(crate) filter: Option<Filter>,
    pub(crate) space: Option<Within>,
    pub(crate) order: Order,
    pub(crate) first: usize,
    pub(crate) after: Option<Place>,
    pub(crate) connection: Connection<'q>,
}

/// The twins nearest to a point.
#[derive(Debug)]
pub(crate) struct NearestPlan<'q> {
    pub(crate) class: ClassId,
    pub(crate) point: Point,
    pub(crate) k: usize,
    pub(crate) filter: Option<Filter>,
    pub(crate) fields: Vec<Field<'q, NearPart<'q>>>,
}

/// A field of `Near`.
#[derive(Debug)]
pub(crate) enum NearPart<'q> {
    Typename,
    Twin(Twins<'q>),
    Metres,
}

/// The ends of a path of steps.
#[derive(Debug)]
pub(crate) struct TraversePlan<'q> {
    pub(crate) from: Vec<TwinRef>,
    pub(crate) steps: Vec<Step>,
    /// What each step keeps of the twins it reaches.
    pub(crate) filters: Vec<Option<Filter>>,
    pub(crate) first: usize,
    pub(crate) after: Option<Place>,
    pub(crate) connection: Connection<'q>,
}

/// The plan of a query: its root fields in order.
pub(crate) fn plan<'q>(
    planner: Planner<'q>,
    view: &View,
    clock: &Clock,
    set: &'q SelectionSet,
) -> Vec<Field<'q, Root<'q>>> {
    planner.object(&[set], "Query", |merged| root(planner, view, clock, merged))
}

fn root<'q>(planner: Planner<'q>, view: &View, clock: &Clock, merged: &Merged<'q>) -> Root<'q> {
    let name = merged.name();
    clock.look();
    let planned = clock.check().and_then(|()| match name {
        "__typename" => Ok(Root::Typename),
        "position" => Ok(Root::Position),
        "twin" => twin(planner, view, merged),
        "nearest" => nearest(planner, merged),
        "containing" => containing(planner, view, clock, merged),
        "traverse" => traverse(planner, view, merged),
        "path" => path::plan(planner, view, merged).map(|plan| Root::Path(Box::new(plan))),
        "aggregate" => {
            let plan = aggregate::plan(planner, view, merged);
            plan.map(|plan| Root::Aggregate(Box::new(plan)))
        }
        "search" => search::plan(planner, view, merged),
        "deadLetters" => letters::page(planner, merged).map(|plan| Root::Letters(Box::new(plan))),
        "deadLetter" => letters::one(planner, merged).map(|plan| Root::Letter(Box::new(plan))),
        name => match planner.api.listed(name) {
            Some(class) => list(planner, view, merged, class),
            None => Err(Fault::unknown("field", name, [])),
        },
    });
    let nullable = matches!(name, "twin" | "path" | "deadLetter");
    planned.unwrap_or_else(|fault| Root::Failed(fault.at(merged.pos), nullable))
}

fn twin<'q>(planner: Planner<'q>, view: &View, merged: &Merged<'q>) -> Result<Root<'q>, Fault> {
    let id = planner.ask.required_text(merged.field, "id")?;
    let id = TwinId::new(&id).map_err(|error| Fault::invalid(error.to_string()))?;
    Ok(Root::Twin(view.twin(&id), Twins::new(merged.sets.clone())))
}

fn list<'q>(
    planner: Planner<'q>,
    view: &View,
    merged: &Merged<'q>,
    class: ClassId,
) -> Result<Root<'q>, Fault> {
    let (filter, space) = conditions(planner, view, merged, class)?;
    let order = planner.ask.argument(merged.field, "orderBy");
    let order = order.map(|order| Order::compile(planner.api, class, &order));
    let order = order.transpose()?.unwrap_or_default();
    let (first, after) = planner.page(merged)?;
    let after = after.map(|cursor| order.place_of(&cursor)).transpose()?;
    let connection = planner.connection(&merged.sets, planner.list_prefix(class));
    Ok(Root::List(Box::new(ListPlan {
        class,
        filter,
        space,
        order,
        first,
        after,
        connection,
    })))
}

/// `where` and `space` of a field.
pub(crate) fn conditions(
    planner: Planner<'_>,
    view: &View,
    merged: &Merged<'_>,
    class: ClassId,
) -> Result<(Option<Filter>, Option<Within>), Fault> {
    let argument = |name| planner.ask.argument(merged.field, name);
    let filter = argument("where").map(|given| Filter::compile(planner.api, class, &given));
    let space = argument("space").map(|space| region::compile(view, &space));
    Ok((filter.transpose()?, space.transpose()?))
}

fn nearest<'q>(planner: Planner<'q>, merged: &Merged<'q>) -> Result<Root<'q>, Fault> {
    let class = planner.ask.required_text(merged.field, "class")?;
    let class = planner.api.class_named(&class)?.id;
    let point = point_argument(planner, merged, "to")?;
    let k = planner
        .ask
        .count(merged.field, "k", DEFAULT_NEAREST, MAX_PAGE)?;
    let conditions = planner.ask.argument(merged.field, "where");
    let filter = conditions.map(|conditions| Filter::compile(planner.api, class, &conditions));
    let filter = filter.transpose()?;
    let fields = planner.object(&merged.sets, "Near", |part| match part.name() {
        "twin" => NearPart::Twin(Twins::new(part.sets.clone())),
        "metres" => NearPart::Metres,
        _ => NearPart::Typename,
    });
    Ok(Root::Nearest(Box::new(NearestPlan {
        class,
        point,
        k,
        filter,
        fields,
    })))
}

/// `k` where the query says nothing.
pub(crate) const DEFAULT_NEAREST: usize = 10;

fn containing<'q>(
    planner: Planner<'q>,
    view: &View,
    clock: &Clock,
    merged: &Merged<'q>,
) -> Result<Root<'q>, Fault> {
    let point = point_argument(planner, merged, "point")?;
    let class = match planner.ask.text(merged.field, "class")? {
        Some(name) => Some(planner.api.class_named(&name)?.id),
        None => None,
    };
    let found = view.containing_while(point, class, &|| clock.tick());
    clock.check()?;
    if found.len() > MAX_PAGE {
        return Err(Fault::too_costly(format!(
            "{} twins hold the point, and {MAX_PAGE} are the most of one answer: name a `class`",
            found.len()
        )));
    }
    Ok(Root::Containing(found, Twins::new(merged.sets.clone())))
}

fn traverse<'q>(planner: Planner<'q>, view: &View, merged: &Merged<'q>) -> Result<Root<'q>, Fault> {
    let list = |name, limit, named| list_argument(planner, merged, name, limit, named);
    let starts = list("from", MAX_TRAVERSAL_STARTS, "MAX_TRAVERSAL_STARTS")?;
    let from = starts.iter().map(|id| {
        let id = id
            .as_str()
            .ok_or_else(|| Fault::invalid("`from` holds ids"))?;
        existing(view, "from", id)
    });
    let from = from.collect::<Result<_, _>>()?;
    let steps = list("steps", MAX_TRAVERSAL_STEPS, "MAX_TRAVERSAL_STEPS")?;
    let steps = steps.iter().map(|step| one_step(planner, step));
    let steps = steps.collect::<Result<Vec<_>, _>>()?;
    let (steps, filters) = steps.into_iter().unzip();
    let (first, after) = planner.page(merged)?;
    let after = after
        .map(|cursor| Order::default().place_of(&cursor))
        .transpose()?;
    let connection = planner.connection(&merged.sets, planner.any_prefix());
    Ok(Root::Traverse(Box::new(TraversePlan {
        from,
        steps,
        filters,
        first,
        after,
        connection,
    })))
}

/// Entries of a list argument, at most so many; a single value stands for a list of it.
pub(crate) fn list_argument(
    planner: Planner<'_>,
    merged: &Merged<'_>,
    name: &str,
    limit: usize,
    named: &str,
) -> Result<Vec<Json>, Fault> {
    let items = match planner.ask.argument(merged.field, name) {
        None => Vec::new(),
        Some(Json::Array(items)) => items,
        Some(single) => vec![single],
    };
    if items.len() > limit {
        return Err(Fault::too_costly(format!(
            "`{name}` has {} entries, and {limit} are allowed ({named})",
            items.len()
        )));
    }
    Ok(items)
}

/// The twin that an argument names.
pub(crate) fn existing(view: &View, argument: &str, id: &str) -> Result<TwinRef, Fault> {
    view.find(id).ok_or_else(|| {
        let message = format!("`{argument}`: there is no twin `{id}`");
        Fault::new(Code::NotFound, message)
    })
}

fn one_step(planner: Planner<'_>, step: &Json) -> Result<(Step, Option<Filter>), Fault> {
    let known = ["relationship", "direction", "class", "where"];
    let step = members("a step", step, &known)?;
    let text = |name: &str| step.get(name).and_then(Json::as_str);
    let relationship =
        text("relationship").ok_or_else(|| Fault::invalid("a step names its `relationship`"))?;
    let class = text("class")
        .map(|name| planner.api.class_named(name))
        .transpose()?;
    let kind = planner.api.relationship_named(relationship)?;
    let direction = direction_named(text("direction"))?;
    let class = class.map(|class| class.id);
    let conditions = step.get("where").filter(|given| !given.is_null());
    let filter = conditions.map(|conditions| {
        let reached = class.or_else(|| planner.api.reached(kind, direction));
        Filter::compile(planner.api, reached, conditions)
    });
    let step = Step {
        relationship: kind.id,
        direction,
        class,
    };
    Ok((step, filter.transpose()?))
}

fn point_argument(planner: Planner<'_>, merged: &Merged<'_>, name: &str) -> Result<Point, Fault> {
    let value = planner.ask.argument(merged.field, name);
    let value = value.ok_or_else(|| Fault::invalid(format!("`{name}` is required")))?;
    region::point(name, &value)
}
