//! Pages of lists: which twins, in which order, and whether there are more.
//!
//! # Invariants
//! - Walking a list by its cursors meets every twin that is there all along exactly once, however
//!   the data changes meanwhile: a page holds the first places after its cursor's.
//! - Memory is bounded by the page, not by the list, except where space or relationships already
//!   gave the whole list.

use std::cell::Cell;
use std::time::{Duration, Instant};

use ontology::{ClassId, RelationshipId};
use serde_json::Value as Json;
use twin_core::{Direction, TwinId, TwinRef, View};

use super::filter::Filter;
use super::order::{Order, Place, decode, encode};
use super::plan::RelatedPlan;
use super::root::{ListPlan, NearestPlan, TraversePlan, Within};
use crate::api::Api;
use crate::error::{Code, Fault};
use crate::limits::MAX_EXECUTION;

/// One row of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) twin: TwinRef,
    /// How it is related, in a list of related twins.
    pub(crate) via: Option<RelationshipId>,
}

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    pub(crate) has_next: bool,
    pub(crate) has_previous: bool,
    /// Counted only if it was asked for.
    pub(crate) total: usize,
}

/// Says when an answer has taken too long; asked once for each twin that is looked at.
#[derive(Debug)]
pub(crate) struct Clock {
    deadline: Instant,
    ticks: Cell<u32>,
    late: Cell<bool>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self::within(MAX_EXECUTION)
    }

    /// One whose time is up after so long.
    pub(crate) fn within(time: Duration) -> Self {
        Self {
            deadline: Instant::now() + time,
            ticks: Cell::new(0),
            late: Cell::new(false),
        }
    }

    /// One whose time is up.
    #[cfg(test)]
    pub(crate) fn late() -> Self {
        let clock = Self::start();
        clock.late.set(true);
        clock
    }

    /// Whether there is time left.
    pub(crate) fn tick(&self) -> bool {
        /// Asking the time costs about as much as looking at a twin.
        const EVERY: u32 = 256;
        let ticks = self.ticks.get().wrapping_add(1);
        self.ticks.set(ticks);
        if ticks.is_multiple_of(EVERY) && Instant::now() > self.deadline {
            self.late.set(true);
        }
        !self.late.get()
    }

    /// Asks the time at once: after a step that may have taken long by itself.
    pub(crate) fn look(&self) {
        if Instant::now() >= self.deadline {
            self.late.set(true);
        }
    }

    /// The time that is left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.late.get() {
            return Err(Fault::new(
                Code::Timeout,
                format!(
                    "the answer took longer than {} s (MAX_EXECUTION): ask for a smaller region, an id or fewer twins",
                    MAX_EXECUTION.as_secs()
                ),
            ));
        }
        Ok(())
    }
}

/// A page of a class's twins.
pub(crate) fn list(
    api: &Api,
    view: &View,
    plan: &ListPlan<'_>,
    clock: &Clock,
) -> Result<Page, Fault> {
    let ListPlan {
        class,
        filter,
        space,
        order,
        first,
        after,
        connection,
    } = plan;
    let wants_total = connection.wants_total;
    let fits = |twin: &TwinRef| fits(view, filter.as_ref(), *twin);
    let some = candidates(api, view, *class, filter.as_ref(), space.as_ref(), clock);
    let page = match some {
        Some(twins) => {
            let twins = twins.into_iter().filter(|twin| clock.tick() && fits(twin));
            if order.is_by_id() {
                by_id(
                    view,
                    twins.collect(),
                    after.as_ref().map(|place| &place.id),
                    *first,
                )
            } else {
                sorted(view, twins, order, after.as_ref(), *first)
            }
        }
        None if order.is_by_id() => {
            let after = after.as_ref().map(|place| &place.id);
            let scan = |after| {
                view.scan(*class, after)
                    .take_while(|_| clock.tick())
                    .filter(fits)
            };
            let mut rows: Vec<_> = scan(after).take(first + 1).collect();
            let has_next = rows.len() > *first;
            rows.truncate(*first);
            let total = match (wants_total, filter) {
                (false, _) => 0,
                (true, None) => view.count(*class),
                (true, Some(_)) => scan(None).count(),
            };
            Page {
                rows: plain(rows),
                has_next,
                has_previous: after.is_some(),
                total,
            }
        }
        None => {
            let twins = view
                .scan(*class, None)
                .take_while(|_| clock.tick())
                .filter(fits);
            sorted(view, twins, order, after.as_ref(), *first)
        }
    };
    clock.check()?;
    Ok(page)
}

fn fits(view: &View, filter: Option<&Filter>, twin: TwinRef) -> bool {
    filter.is_none_or(|filter| filter.admits(view, twin))
}

/// Twins of a class among which all are that fit, by id, where something leads to them; a few by id
/// or relationship beat a search in space, and that beats a scan.
fn candidates(
    api: &Api,
    view: &View,
    class: ClassId,
    filter: Option<&Filter>,
    space: Option<&Within>,
    clock: &Clock,
) -> Option<Vec<TwinRef>> {
    let some = filter.and_then(|filter| filter.candidates(view, clock));
    let some = some.map(|mut twins| {
        twins.retain(|twin| api.ontology.is_a(view.class_id(*twin), class));
        if let Some((region, relation)) = space {
            twins.retain(|twin| {
                clock.tick()
                    && view
                        .shape(*twin)
                        .is_some_and(|shape| region.matches(shape, *relation))
            });
        }
        sort_by_id(view, &mut twins);
        twins
    });
    some.or_else(|| {
        space
            .map(|(region, relation)| view.search_while(class, region, *relation, &|| clock.tick()))
    })
}

/// Hands all twins of a class that fit to `each`, by id; it ends early when `each` fails or time is
/// up.
pub(crate) fn each_fitting(
    api: &Api,
    view: &View,
    class: ClassId,
    filter: Option<&Filter>,
    space: Option<&Within>,
    clock: &Clock,
    mut each: impl FnMut(TwinRef) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut one = |twin| {
        if !clock.tick() {
            return clock.check();
        }
        if fits(view, filter, twin) {
            each(twin)?;
        }
        Ok(())
    };
    match candidates(api, view, class, filter, space, clock) {
        Some(twins) => twins.into_iter().try_for_each(&mut one)?,
        None => view.scan(class, None).try_for_each(&mut one)?,
    }
    clock.check()
}

fn plain(twins: Vec<TwinRef>) -> Vec<Row> {
    twins
        .into_iter()
        .map(|twin| Row { twin, via: None })
        .collect()
}

fn sort_by_id(view: &View, twins: &mut Vec<TwinRef>) {
    view.sort_by_id(twins);
    twins.dedup();
}

/// A page of twins that are sorted by id.
fn by_id(view: &View, twins: Vec<TwinRef>, after: Option<&TwinId>, first: usize) -> Page {
    let start = after.map_or(0, |after| {
        twins.partition_point(|twin| view.id(*twin) <= after)
    });
    let total = twins.len();
    let rows: Vec<_> = twins.into_iter().skip(start).take(first).collect();
    let has_next = start + rows.len() < total;
    Page {
        rows: plain(rows),
        has_next,
        has_previous: after.is_some(),
        total,
    }
}

/// The first places after a cursor in an order, without sorting what the page does not hold.
fn sorted(
    view: &View,
    twins: impl Iterator<Item = TwinRef>,
    order: &Order,
    after: Option<&Place>,
    first: usize,
) -> Page {
    let keep = first + 1;
    let mut total = 0;
    let mut best: Vec<(Place, TwinRef)> = Vec::new();
    // The worst place that can still be on the page.
    let mut worst: Option<Place> = None;
    for twin in twins {
        total += 1;
        let place = order.place(view, twin);
        if after.is_some_and(|after| order.compare(&place, after).is_le())
            || worst
                .as_ref()
                .is_some_and(|worst| order.compare(&place, worst).is_gt())
        {
            continue;
        }
        best.push((place, twin));
        if best.len() >= 2 * keep {
            best.select_nth_unstable_by(keep - 1, |a, b| order.compare(&a.0, &b.0));
            best.truncate(keep);
            worst = best.last().map(|(place, _)| place.clone());
        }
    }
    best.sort_unstable_by(|a, b| order.compare(&a.0, &b.0));
    let has_next = best.len() > first;
    best.truncate(first);
    let rows = plain(best.into_iter().map(|(_, twin)| twin).collect());
    Page {
        rows,
        has_next,
        has_previous: after.is_some(),
        total,
    }
}

/// A page of twins that a twin is related to, by (id, relationship).
pub(crate) fn related(
    api: &Api,
    view: &View,
    twin: TwinRef,
    plan: &RelatedPlan<'_>,
    clock: &Clock,
) -> Result<Page, Fault> {
    let after = plan.after.as_deref().map(related_place).transpose()?;
    let mut rows = Vec::new();
    let mut total = 0;
    for relationship in &plan.relationships {
        for other in view.related(twin, *relationship, plan.direction) {
            if !clock.tick() {
                break;
            }
            if plan
                .class
                .is_some_and(|class| !api.ontology.is_a(view.class_id(other), class))
            {
                continue;
            }
            total += 1;
            let passed = after.as_ref().is_some_and(|(id, name)| {
                let kind = &api.ontology.relationship(*relationship).name;
                (view.id(other), &**kind) <= (id, name.as_str())
            });
            if !passed {
                rows.push(Row {
                    twin: other,
                    via: Some(*relationship),
                });
            }
        }
    }
    clock.check()?;
    // Relationship ids are sorted by name.
    let compare = |a: &Row, b: &Row| view.by_id(a.twin, b.twin).then(a.via.cmp(&b.via));
    let keep = plan.first + 1;
    if rows.len() > keep {
        rows.select_nth_unstable_by(keep - 1, compare);
        rows.truncate(keep);
    }
    rows.sort_unstable_by(compare);
    let has_next = rows.len() > plan.first;
    rows.truncate(plan.first);
    Ok(Page {
        rows,
        has_next,
        has_previous: after.is_some(),
        total,
    })
}

/// The cursor of a related twin.
pub(crate) fn related_cursor(api: &Api, view: &View, row: Row) -> String {
    let name = row
        .via
        .map_or("", |via| &api.ontology.relationship(via).name);
    encode(
        serde_json::json!(["~", name, view.id(row.twin).as_str()])
            .to_string()
            .as_bytes(),
    )
}

fn related_place(cursor: &str) -> Result<(TwinId, String), Fault> {
    let place = decode(cursor).and_then(|bytes| {
        let whole: Json = serde_json::from_slice(&bytes).ok()?;
        let id = TwinId::new(whole[2].as_str()?).ok()?;
        (whole[0].as_str()? == "~").then_some((id, whole[1].as_str()?.to_owned()))
    });
    place.ok_or_else(|| {
        Fault::invalid(
            "`after`: this is not a cursor of a list of related twins; leave it out to start over",
        )
    })
}

/// A page of the ends of a traversal.
pub(crate) fn traverse(view: &View, plan: &TraversePlan<'_>, clock: &Clock) -> Result<Page, Fault> {
    // Once time is up nothing is kept, so that the traversal is over soon.
    let keep = |place: usize, twin| {
        let filter = plan.filters.get(place).and_then(Option::as_ref);
        clock.tick() && fits(view, filter, twin)
    };
    let found = twin_core::traverse(view, &plan.from, &plan.steps, keep, || clock.tick())
        .map_err(|error| Fault::too_costly(error.to_string()))?;
    clock.check()?;
    Ok(by_id(
        view,
        found,
        plan.after.as_ref().map(|place| &place.id),
        plan.first,
    ))
}

/// The nearest twins with their distance.
pub(crate) fn nearest(
    view: &View,
    plan: &NearestPlan<'_>,
    clock: &Clock,
) -> Result<Vec<(TwinRef, f64)>, Fault> {
    // Once time is up everything fits, so that the search is over soon; its answer is not used.
    let fits = |twin| {
        !clock.tick()
            || plan
                .filter
                .as_ref()
                .is_none_or(|filter| filter.admits(view, twin))
    };
    let found = view.nearest(plan.class, plan.point, plan.k, fits);
    clock.check()?;
    Ok(found)
}

/// Which way a list of related twins was followed, as the API says it.
pub(crate) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Out => "OUT",
        Direction::In => "IN",
    }
}
