//! `space`: a region from exactly one of box, radius, polygon, cells and inside.

use std::sync::Arc;

use serde_json::Value as Json;
use twin_core::View;
use twin_core::space::{Point, Region, Relation, Shape};

use super::select::members;
use super::variables::shown;
use crate::error::{Code, Fault};

const KINDS: [&str; 5] = ["box", "radius", "polygon", "cells", "inside"];

/// The region and relation that a `space` input means.
pub(crate) fn compile(view: &View, space: &Json) -> Result<(Region, Relation), Fault> {
    let known = ["box", "radius", "polygon", "cells", "inside", "relation"];
    let space = members("`space`", space, &known)?;
    let mut given = KINDS.iter().filter_map(|kind| {
        space
            .get(*kind)
            .filter(|value| !value.is_null())
            .map(|value| (*kind, value))
    });
    let (Some((kind, value)), None) = (given.next(), given.next()) else {
        return Err(Fault::invalid(format!(
            "`space` takes exactly one of {}",
            KINDS.join(", ")
        )));
    };
    let relation = match space.get("relation").filter(|value| !value.is_null()) {
        None => Relation::Intersects,
        Some(value) => match value.as_str() {
            Some("INTERSECTS") => Relation::Intersects,
            Some("WITHIN") => Relation::Within,
            _ => {
                let message = format!(
                    "`space.relation` is INTERSECTS or WITHIN, not {}",
                    shown(value)
                );
                return Err(Fault::invalid(message));
            }
        },
    };
    let region = match kind {
        "box" => boxed(value),
        "radius" => radius(value),
        "polygon" => {
            let shape = Shape::from_geojson(value);
            let shape = shape.map_err(|e| Fault::invalid(format!("`space.polygon`: {e}")))?;
            Region::polygon(Arc::new(shape)).map_err(|e| refuse(kind, &e))
        }
        "cells" => cells(value),
        _ => inside(view, value),
    };
    Ok((region?, relation))
}

fn refuse(kind: &str, reason: &dyn std::fmt::Display) -> Fault {
    Fault::invalid(format!("`space.{kind}`: {reason}"))
}

fn boxed(value: &Json) -> Result<Region, Fault> {
    let numbers = value
        .as_array()
        .map(|items| items.iter().map(Json::as_f64).collect::<Vec<_>>());
    match numbers.as_deref() {
        Some([Some(west), Some(south), Some(east), Some(north)]) => {
            Region::bbox(*west, *south, *east, *north).map_err(|e| refuse("box", &e))
        }
        _ => Err(refuse(
            "box",
            &format!(
                "expected [west, south, east, north], found {}",
                shown(value)
            ),
        )),
    }
}

fn radius(value: &Json) -> Result<Region, Fault> {
    let radius = members("`space.radius`", value, &["center", "metres"])?;
    let centre = radius
        .get("center")
        .ok_or_else(|| refuse("radius", &"`center` is required"))?;
    let centre = point("space.radius.center", centre)?;
    let metres = radius.get("metres").and_then(Json::as_f64);
    let metres = metres.ok_or_else(|| refuse("radius", &"`metres` is a number"))?;
    Region::radius(centre, metres).map_err(|e| refuse("radius", &e))
}

fn cells(value: &Json) -> Result<Region, Fault> {
    let single = std::slice::from_ref(value);
    let items = value.as_array().map_or(single, Vec::as_slice);
    let cell = |item: &Json| {
        let wrong = || refuse("cells", &format!("{} is no H3 cell", shown(item)));
        item.as_str()
            .ok_or_else(wrong)?
            .parse()
            .map_err(|_not_a_cell| wrong())
    };
    let cells = items.iter().map(cell).collect::<Result<Vec<_>, Fault>>()?;
    Region::cells(cells).map_err(|e| refuse("cells", &e))
}

fn inside(view: &View, value: &Json) -> Result<Region, Fault> {
    let id = value
        .as_str()
        .ok_or_else(|| refuse("inside", &"expected the id of a twin"))?;
    let missing = |what: &str| Fault::new(Code::NotFound, format!("`space.inside`: {what} `{id}`"));
    let twin = view.find(id).ok_or_else(|| missing("there is no twin"))?;
    let shape = view
        .shape(twin)
        .ok_or_else(|| missing("it is not known where it is:"))?;
    Region::polygon(Arc::clone(shape)).map_err(|e| refuse("inside", &e))
}

/// A point from `{lon, lat}`.
pub(crate) fn point(what: &str, value: &Json) -> Result<Point, Fault> {
    let what = format!("`{what}`");
    let point = members(&what, value, &["lon", "lat"])?;
    let number = |name: &str| {
        let number = point.get(name).and_then(Json::as_f64);
        number.ok_or_else(|| Fault::invalid(format!("{what}: `{name}` is a number of degrees")))
    };
    Point::new(number("lon")?, number("lat")?).map_err(|e| Fault::invalid(format!("{what}: {e}")))
}
