//! What an aggregate groups twins by.

use std::cell::LazyCell;
use std::cmp::Ordering;
use std::time::Duration;

use ontology::{ClassId, Schema, Value};
use serde_json::Value as Json;
use twin_core::space::{CellIndex, Point, Resolution};
use twin_core::{TwinRef, View};

use super::filter::Columns;
use super::page::Clock;
use super::plan::window_length;
use super::select::one_member;
use super::variables::shown as shown_json;
use crate::api::{Api, Shown, shown};
use crate::error::Fault;
use crate::limits::MAX_GROUPS;

/// One entry of `by`.
#[derive(Debug)]
pub(crate) enum Group {
    Class,
    Property {
        columns: Columns,
        schema: Schema,
    },
    /// By twins of this class that hold them.
    Area(ClassId),
    Cell(Resolution),
    /// By windows of this length, in which they measured something.
    Window(Duration),
}

/// What twins of a group have in common, for one entry of `by`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Class(ClassId),
    Value(Value),
    Area(TwinRef),
    Cell(CellIndex),
    /// Where the window begins, microseconds since 1970.
    Window(i64),
    Absent,
}

impl Group {
    pub(crate) fn compile(
        api: &Api,
        class: ClassId,
        place: usize,
        json: &Json,
    ) -> Result<Self, Fault> {
        let at = format!("by[{place}]");
        let known = ["class", "property", "area", "cell", "every"];
        let (kind, value) = one_member(&at, json, &known)?;
        let wrong = |what: &str| {
            let found = shown_json(value);
            Fault::invalid(format!("`{at}.{kind}` is {what}, not {found}"))
        };
        let text = |what| value.as_str().ok_or_else(|| wrong(what));
        match kind {
            "class" if value.as_bool() == Some(true) => Ok(Self::Class),
            "class" => Err(wrong("true")),
            "property" => property(api, class, &at, text("the name of a property")?),
            "area" => Ok(Self::Area(
                api.class_named(text("the name of a class")?)?.id,
            )),
            "every" => Ok(Self::Window(window_length(value)?)),
            _ => {
                let resolution = value.as_u64().and_then(|n| u8::try_from(n).ok());
                let resolution = resolution.and_then(|n| Resolution::try_from(n).ok());
                let what = "a resolution of H3, from 0 to 15";
                resolution.map(Self::Cell).ok_or_else(|| wrong(what))
            }
        }
    }

    /// Most groups that it can part twins into.
    pub(crate) fn most(&self, api: &Api, view: &View, class: ClassId) -> u64 {
        let known = match self {
            Self::Class => api.class(class).descendants.len() + 1,
            Self::Area(area) => view.count(*area) + 1,
            Self::Property { schema, .. } => match schema {
                Schema::Boolean => 3,
                Schema::Enum(one_of) => one_of.values.len() + 1,
                _ => MAX_GROUPS,
            },
            Self::Cell(_) => MAX_GROUPS,
            // It parts no twins; `During` says how many there are.
            Self::Window(_) => 1,
        };
        known as u64
    }

    /// Whether whole values are texts in the API.
    pub(crate) fn is_wide(&self) -> bool {
        matches!(self, Self::Property { schema, .. } if shown(schema) == Shown::Scalar("BigInt"))
    }
}

fn property(api: &Api, class: ClassId, at: &str, name: &str) -> Result<Group, Fault> {
    let model = api.class(class);
    let groups = |schema: &Schema| {
        matches!(
            schema,
            Schema::Boolean
                | Schema::Integer { .. }
                | Schema::Long
                | Schema::String
                | Schema::Date
                | Schema::Enum(_)
        )
    };
    let property = model.property(name).ok_or_else(|| {
        let known = model.properties.iter().filter(|p| groups(&p.schema));
        let what = format!("`{at}.property`: property of {}", model.name);
        Fault::unknown(&what, name, known.map(|property| &*property.name))
    })?;
    if !groups(&property.schema) {
        return Err(Fault::invalid(format!(
            "`{at}.property`: `{name}` of {} is {}; twins are grouped by truth values, whole numbers, \
             texts, dates and enumerations",
            model.name,
            property.schema.name()
        )));
    }
    Ok(Group::Property {
        columns: Columns::of(api, class, name),
        schema: property.schema.clone(),
    })
}

/// The group of a twin, into `key`.
pub(crate) fn key_of(view: &View, by: &[Group], twin: TwinRef, clock: &Clock, key: &mut Vec<Part>) {
    let place: LazyCell<Option<Point>, _> =
        LazyCell::new(|| view.shape(twin).map(|shape| shape.representative()));
    key.clear();
    key.extend(by.iter().map(|group| {
        let part = match group {
            Group::Class => Some(Part::Class(view.class_id(twin))),
            Group::Property { columns, .. } => columns.value(view, twin).map(Part::Value),
            Group::Area(class) => place.and_then(|point| {
                let areas = view.containing_while(point, Some(*class), &|| clock.tick());
                // Sorted by id, so the first is the lowest.
                areas.first().copied().map(Part::Area)
            }),
            Group::Cell(resolution) => place.map(|point| Part::Cell(point.cell(*resolution))),
            // Said by what was measured, see `During`.
            Group::Window(_) => None,
        };
        part.unwrap_or(Part::Absent)
    }));
}

/// The order of groups: by value, areas by id; absent ones last.
pub(crate) fn compare(api: &Api, view: &View, a: &[Part], b: &[Part]) -> Ordering {
    let parts = a.iter().zip(b).map(|(a, b)| match (a, b) {
        (Part::Class(a), Part::Class(b)) => api.class(*a).name.cmp(&api.class(*b).name),
        (Part::Value(a), Part::Value(b)) => a.cmp(b),
        (Part::Area(a), Part::Area(b)) => view.by_id(*a, *b),
        (Part::Cell(a), Part::Cell(b)) => a.cmp(b),
        (Part::Window(a), Part::Window(b)) => a.cmp(b),
        (a, b) => (*a == Part::Absent).cmp(&(*b == Part::Absent)),
    });
    parts.fold(Ordering::Equal, Ordering::then)
}
