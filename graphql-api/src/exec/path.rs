//! `path`: the shortest way between two twins, and what is asked of it.

use ontology::{RelationshipKind, Schema};
use twin_core::{Direction, Path, PathError, TwinRef, View, Way, shortest_path};

use super::page::Clock;
use super::plan::{Field, Planner, Twins, direction_named};
use super::root::{existing, list_argument};
use super::select::Merged;
use crate::error::{Code, Fault};
use crate::limits::{MAX_PATH_RELATIONSHIPS, MAX_PATH_TWINS};

/// Which path, and what of it.
#[derive(Debug)]
pub(crate) struct PathPlan<'q> {
    start: TwinRef,
    end: TwinRef,
    over: Vec<Way>,
    /// Both ways if `None`.
    direction: Option<Direction>,
    pub(crate) fields: Vec<Field<'q, PathPart<'q>>>,
}

/// A field of `Path`.
#[derive(Debug)]
pub(crate) enum PathPart<'q> {
    Typename,
    Twins(Twins<'q>),
    Relationships(Vec<Field<'q, LinkPart>>),
    Total,
}

/// A field of `PathRelationship`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LinkPart {
    Typename,
    Name,
    Source,
    Target,
    Weight,
    Properties,
}

pub(crate) fn plan<'q>(
    planner: Planner<'q>,
    view: &View,
    merged: &Merged<'q>,
) -> Result<PathPlan<'q>, Fault> {
    let end = |name| existing(view, name, &planner.ask.required_text(merged.field, name)?);
    let named = (MAX_PATH_RELATIONSHIPS, "MAX_PATH_RELATIONSHIPS");
    let over = list_argument(planner, merged, "over", named.0, named.1)?;
    if over.is_empty() {
        let message = "`over` is empty: name the relationships that the path may take";
        return Err(Fault::invalid(message));
    }
    let weight = planner.ask.text(merged.field, "weight")?;
    let way = |name: &serde_json::Value| {
        let name = name
            .as_str()
            .ok_or_else(|| Fault::invalid("`over` holds names of relationships"))?;
        let kind = planner.api.relationship_named(name)?;
        let weight = weight.as_deref().map(|weight| weight_of(kind, weight));
        Ok(Way {
            relationship: kind.id,
            weight: weight.transpose()?,
        })
    };
    let over = over.iter().map(way).collect::<Result<_, Fault>>()?;
    let direction = planner.ask.text(merged.field, "direction")?;
    let direction = direction.map(|name| direction_named(Some(&name)));
    let fields = planner.object(&merged.sets, "Path", |part| match part.name() {
        "twins" => PathPart::Twins(Twins::new(part.sets.clone())),
        "relationships" => {
            PathPart::Relationships(planner.object(&part.sets, "PathRelationship", |part| {
                match part.name() {
                    "name" => LinkPart::Name,
                    "source" => LinkPart::Source,
                    "target" => LinkPart::Target,
                    "weight" => LinkPart::Weight,
                    "properties" => LinkPart::Properties,
                    _ => LinkPart::Typename,
                }
            }))
        }
        "total" => PathPart::Total,
        _ => PathPart::Typename,
    });
    Ok(PathPlan {
        start: end("from")?,
        end: end("to")?,
        over,
        direction: direction.transpose()?,
        fields,
    })
}

/// The column of a relationship's weight.
fn weight_of(kind: &RelationshipKind, weight: &str) -> Result<usize, Fault> {
    let column = kind.properties.iter().position(|p| *p.name == *weight);
    let column = column.ok_or_else(|| {
        let known = kind.properties.iter().map(|property| &*property.name);
        let what = format!("`weight`: property of relationship {}", kind.name);
        Fault::unknown(&what, weight, known)
    })?;
    let schema = &kind.properties[column].schema;
    if !is_number(schema) {
        return Err(Fault::invalid(format!(
            "`weight`: `{weight}` of relationship {} is {}, not a number",
            kind.name,
            schema.name()
        )));
    }
    Ok(column)
}

/// Whether values of a schema are numbers.
pub(crate) fn is_number(schema: &Schema) -> bool {
    matches!(
        schema,
        Schema::Integer { .. } | Schema::Long | Schema::Double
    )
}

/// Looks for the path.
pub(crate) fn find(view: &View, plan: &PathPlan<'_>, clock: &Clock) -> Result<Option<Path>, Fault> {
    let PathPlan {
        start,
        end,
        over,
        direction,
        fields: _,
    } = plan;
    let found = shortest_path(view, *start, *end, over, *direction, || clock.tick());
    let found = found.map_err(|error| {
        let code = match error {
            PathError::Negative { .. } => Code::InvalidInput,
            _ => Code::TooCostly,
        };
        Fault::new(code, error.to_string())
    })?;
    clock.check()?;
    match &found {
        Some(path) if path.twins.len() > MAX_PATH_TWINS => Err(Fault::too_costly(format!(
            "the path has {} twins, and {MAX_PATH_TWINS} are the most of one answer \
             (MAX_PATH_TWINS): ask for parts of it, between twins that lie nearer",
            path.twins.len()
        ))),
        _ => Ok(found),
    }
}
