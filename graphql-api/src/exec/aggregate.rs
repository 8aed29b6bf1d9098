//! `aggregate`: groups of twins and what is measured of each, in one pass over a view.
//!
//! # Invariants
//! - Twins are taken in by id, so the same instant gives the same sums, to the last bit.
//! - Where a twin is, is its representative point: the point itself, one on a line, one inside an
//!   area. Which area holds it is decided by exact geometry; the cell is the one that owns it.
//! - Memory is bounded by [`MAX_GROUPS`], not by how many twins there are. Of a time, the windows of
//!   one series are held beside the groups.

use std::collections::HashMap;

use ontology::ClassId;
use serde_json::Value as Json;
use twin_core::View;

use super::during::During;
use super::filter::Filter;
use super::group::{Group, Part, compare, key_of};
use super::history::History;
use super::measure::{Measure, Measured, Tally};
use super::page::{Clock, each_fitting};
use super::plan::{Field, Planner, Twins};
use super::root::{Within, conditions, list_argument};
use super::select::{Ask, Merged};
use crate::api::Api;
use crate::error::{Code, Fault};
use crate::limits::{MAX_GROUP_KEYS, MAX_GROUPS, MAX_MEASURES};

/// Which twins, how grouped, what measured, and what of it.
#[derive(Debug)]
pub(crate) struct AggregatePlan<'q> {
    class: ClassId,
    filter: Option<Filter>,
    space: Option<Within>,
    pub(crate) by: Vec<Group>,
    pub(crate) measures: Vec<Measure>,
    /// The time whose readings are measured; without it the newest are.
    during: Option<During>,
    pub(crate) fields: Vec<Field<'q, RowPart<'q>>>,
}

/// A field of `AggregateRow`.
#[derive(Debug)]
pub(crate) enum RowPart<'q> {
    Typename,
    Group(Vec<Field<'q, KeyPart<'q>>>),
    Values,
}

/// A field of `GroupKey`.
#[derive(Debug)]
pub(crate) enum KeyPart<'q> {
    Typename,
    Value,
    Twin(Twins<'q>),
}

/// One group and its measures.
#[derive(Debug)]
pub(crate) struct AggregateRow {
    pub(crate) group: Box<[Part]>,
    pub(crate) values: Vec<Measured>,
}

pub(crate) fn plan<'q>(
    planner: Planner<'q>,
    view: &View,
    merged: &Merged<'q>,
) -> Result<AggregatePlan<'q>, Fault> {
    let api = planner.api;
    let class = planner.ask.required_text(merged.field, "class")?;
    let class = api.class_named(&class)?.id;
    let (filter, space) = conditions(planner, view, merged, class)?;
    let list = |name, limit, named| list_argument(planner, merged, name, limit, named);
    let by = list("by", MAX_GROUP_KEYS, "MAX_GROUP_KEYS")?;
    let by = by.iter().enumerate();
    let by = by.map(|(i, group)| Group::compile(api, class, i, group));
    let measures = list("measures", MAX_MEASURES, "MAX_MEASURES")?;
    let measures = measures.iter().enumerate();
    let measures = measures.map(|(i, measure)| Measure::compile(api, class, i, measure));
    let fields = planner.object(&merged.sets, "AggregateRow", |part| match part.name() {
        "group" => {
            RowPart::Group(
                planner.object(&part.sets, "GroupKey", |part| match part.name() {
                    "value" => KeyPart::Value,
                    "twin" => KeyPart::Twin(Twins::new(part.sets.clone())),
                    _ => KeyPart::Typename,
                }),
            )
        }
        "values" => RowPart::Values,
        _ => RowPart::Typename,
    });
    let by: Vec<_> = by.collect::<Result<_, _>>()?;
    let measures: Vec<_> = measures.collect::<Result<_, _>>()?;
    Ok(AggregatePlan {
        class,
        filter,
        space,
        during: During::plan(planner.ask, merged.field, &by, &measures)?,
        by,
        measures,
        fields,
    })
}

/// The most groups that an `aggregate` can answer with; what is wrong with it is said elsewhere.
pub(crate) fn most_groups(
    api: &Api,
    view: &View,
    ask: Ask<'_>,
    field: &async_graphql::parser::types::Field,
) -> (u64, u64) {
    let class = ask.text(field, "class").ok().flatten();
    let class = class.and_then(|name| api.class_named(&name).ok());
    let Some(class) = class.map(|class| class.id) else {
        return (0, 0);
    };
    let by = match ask.argument(field, "by") {
        None => Vec::new(),
        Some(Json::Array(items)) => items,
        Some(single) => vec![single],
    };
    let keys = by.len() as u64;
    let by = by.iter().map(|group| Group::compile(api, class, 0, group));
    let by: Vec<_> = by.filter_map(Result::ok).collect();
    let most = by.iter().map(|group| group.most(api, view, class));
    let most = most.fold(1, u64::saturating_mul);
    // A twin is in one group, or in one of each window.
    let twins = view.count(class).max(1) as u64;
    let windows = During::most_windows(ask, field, &by);
    let most = most.min(twins).saturating_mul(windows);
    (most.min(MAX_GROUPS as u64), keys)
}

/// Groups of the twins that fit, sorted.
pub(crate) fn rows(
    api: &Api,
    view: &View,
    plan: &AggregatePlan<'_>,
    clock: &Clock,
    history: Option<&mut History>,
) -> Result<Vec<AggregateRow>, Fault> {
    let AggregatePlan {
        class,
        filter,
        space,
        by,
        measures,
        during,
        fields: _,
    } = plan;
    let fresh = || measures.iter().map(Measure::tally).collect::<Vec<Tally>>();
    let mut groups: HashMap<Box<[Part]>, Vec<Tally>> = HashMap::new();
    if by.is_empty() {
        // Of no twins there is something to say, too.
        groups.insert(Box::default(), fresh());
    }
    let mut key = Vec::with_capacity(by.len());
    let (filter, space) = (filter.as_ref(), space.as_ref());
    let mut gather = |key: &[Part], take: &dyn Fn(&Measure, &mut Tally)| {
        if !groups.contains_key(key) {
            if groups.len() == MAX_GROUPS {
                return Err(Fault::too_costly(format!(
                    "there are more than {MAX_GROUPS} groups (MAX_GROUPS): group by larger cells, \
                     areas or windows, or ask in parts with `where` or `space`"
                )));
            }
            groups.insert(key.into(), fresh());
        }
        if let Some(tallies) = groups.get_mut(key) {
            for (measure, tally) in measures.iter().zip(tallies) {
                take(measure, tally);
            }
        }
        Ok(())
    };
    let mut history = during.as_ref().and(history);
    each_fitting(api, view, *class, filter, space, clock, |twin| {
        key_of(view, by, twin, clock, &mut key);
        let Some(during) = during else {
            return gather(&key, &|measure, tally| measure.take(view, twin, tally));
        };
        let Some(history) = &mut history else {
            let message = "history was not counted in the cost of the question";
            return Err(Fault::new(Code::Internal, message));
        };
        during.each(view, twin, history, clock, |name, bucket, first| {
            if let Some((place, _)) = during.window {
                key[place] = Part::Window(bucket.start);
            }
            gather(&key, &|measure, tally| {
                measure.take_window(name, bucket, first, tally);
            })
        })
    })?;
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_unstable_by(|(a, _), (b, _)| compare(api, view, a, b));
    let row = |(group, tallies): (_, Vec<Tally>)| {
        let values = measures.iter().zip(&tallies);
        let values = values.map(|(measure, tally)| measure.result(tally));
        Ok(AggregateRow {
            group,
            values: values.collect::<Result<_, Fault>>()?,
        })
    };
    groups.into_iter().map(row).collect()
}
