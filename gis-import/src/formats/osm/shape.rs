//! Geometry of objects: points, lines and areas from nodes, ways and relations.
//!
//! # Invariants
//! - What the file lacks is told: a line goes on without it, an area is refused unless what is there
//!   closes.
//! - Bytes are well-known binary of degrees that are exact to 1e-7.

use std::collections::BTreeSet;

use super::area;
use super::element::{At, Body, Element, Kind, Member};
use super::index::{self, Index};
use super::rings::{self, Fault, Line, MAX_RINGS, Rings};
use crate::formats::RawGeometry;
use crate::formats::wkb::Writer;

/// Ids that a message names.
const NAMED: usize = 3;

/// Kinds of what is wrong, by which a report counts.
const NO_POSITION: &str = "a node without a position";
const NODES_MISSING: &str = "nodes that the file lacks";
const WAYS_MISSING: &str = "ways that the file lacks";
const OPEN: &str = "a ring that is not closed";
const NO_AREA: &str = "ways that enclose nothing";
const NO_SHAPE: &str = "a relation without a shape of its own";
const TOO_SHORT: &str = "a way of fewer than two positions";

/// The geometry of an object.
pub(super) fn geometry(element: &Element, index: &Index) -> RawGeometry {
    match &element.body {
        Body::Node(Some(at)) => RawGeometry::Wkb(point(*at)),
        Body::Node(None) => lacking(
            NO_POSITION,
            "it has no longitude and latitude, or they are out of range",
        ),
        Body::Way(refs) => way(element, refs, index),
        Body::Relation(members) if index::is_area(element) => area_of(members, index),
        Body::Relation(_) => {
            let of = match element.tag("type") {
                "" => "without a type".to_owned(),
                kind => format!("of the type `{kind}`"),
            };
            let reason = format!(
                "a relation {of} has no shape of its own, as a multipolygon or boundary has"
            );
            lacking(NO_SHAPE, reason)
        }
    }
}

fn lacking(kind: &'static str, reason: impl Into<String>) -> RawGeometry {
    RawGeometry::Lacking {
        kind,
        reason: reason.into(),
    }
}

/// Ids for a message: the first ones, and how many more there are.
fn named(what: &str, ids: impl IntoIterator<Item = i64>) -> String {
    let ids: Vec<i64> = ids.into_iter().collect();
    let first: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
    let more = ids.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{what} {}{more}", first.join(", "))
}

fn way(element: &Element, refs: &[i64], index: &Index) -> RawGeometry {
    let places: Vec<Option<At>> = refs.iter().map(|node| index.at(*node)).collect();
    let gone = || {
        let pairs = refs.iter().zip(&places);
        pairs.filter(|(_, at)| at.is_none()).map(|(node, _)| *node)
    };
    let missing = gone().count();
    let closed = refs.len() > 2 && refs.first() == refs.last();
    if closed && area::is_area(&element.tags) {
        if let Some(members) = index.silent(element.id) {
            match area_of(members, index) {
                whole @ RawGeometry::Wkb(_) => return whole,
                // The way's own ring is right but for the holes.
                RawGeometry::Part { reason, .. } | RawGeometry::Lacking { reason, .. }
                    if missing == 0 =>
                {
                    return match enclosed(element.id, places) {
                        RawGeometry::Wkb(wkb) => RawGeometry::Part {
                            wkb,
                            kind: WAYS_MISSING,
                            reason: format!("without its holes: {reason}"),
                        },
                        other => other,
                    };
                }
                _ => {}
            }
        }
        if missing > 0 {
            let nodes = named("node", gone());
            let reason = format!(
                "{missing} of its {} nodes are not in the file: {nodes}",
                refs.len()
            );
            return lacking(NODES_MISSING, reason);
        }
        return enclosed(element.id, places);
    }
    line(refs.len(), &places, missing, || named("node", gone()))
}

/// The area within one closed way.
fn enclosed(way: i64, places: Vec<Option<At>>) -> RawGeometry {
    let line = Line {
        way,
        inner: false,
        points: places.into_iter().flatten().collect(),
    };
    match rings::assemble(&[line], true) {
        Ok(areas) => RawGeometry::Wkb(polygons(&areas)),
        Err(fault) => refused(fault, ""),
    }
}

/// What is there of a line, in pieces where nodes are missing.
fn line(
    nodes: usize,
    places: &[Option<At>],
    missing: usize,
    gone: impl Fn() -> String,
) -> RawGeometry {
    let pieces: Vec<Vec<At>> = places
        .split(Option::is_none)
        .map(|piece| {
            let mut piece: Vec<At> = piece.iter().copied().flatten().collect();
            piece.dedup();
            piece
        })
        .filter(|piece| piece.len() > 1)
        .collect();
    if pieces.is_empty() && missing == 0 {
        return lacking(
            TOO_SHORT,
            format!("its {nodes} nodes are at fewer than two positions"),
        );
    }
    if pieces.is_empty() {
        let reason = format!(
            "{missing} of its {nodes} nodes are not in the file: {}",
            gone()
        );
        return lacking(NODES_MISSING, reason);
    }
    let wkb = lines(&pieces);
    if missing == 0 {
        return RawGeometry::Wkb(wkb);
    }
    RawGeometry::Part {
        wkb,
        kind: NODES_MISSING,
        reason: format!(
            "without {missing} of its {nodes} nodes, which are not in the file: {}",
            gone()
        ),
    }
}

/// The area that the ways among some members enclose.
fn area_of(members: &[Member], index: &Index) -> RawGeometry {
    let (mut lines, mut seen) = (Vec::new(), BTreeSet::new());
    let (mut ways_gone, mut nodes_gone) = (Vec::new(), Vec::new());
    for member in members.iter().filter(|member| member.kind == Kind::Way) {
        // A way that stands twice would cancel itself.
        if !seen.insert(member.id) {
            continue;
        }
        let Some(refs) = index.way(member.id) else {
            ways_gone.push(member.id);
            continue;
        };
        let mut points = Vec::with_capacity(refs.len());
        for node in refs {
            match index.at(*node) {
                Some(at) => points.push(at),
                None => nodes_gone.push(*node),
            }
        }
        lines.push(Line {
            way: member.id,
            inner: member.inner,
            points,
        });
    }
    if seen.is_empty() {
        return lacking(NO_AREA, "none of its members is a way");
    }
    if !nodes_gone.is_empty() {
        let nodes = format!("{} nodes of its ways", nodes_gone.len());
        // A line that leaps over a missing node would enclose something else.
        let reason = format!(
            "{nodes} are not in the file ({})",
            named("node", nodes_gone)
        );
        return lacking(NODES_MISSING, reason);
    }
    let gone = if ways_gone.is_empty() {
        String::new()
    } else {
        let ways = format!("{} of its {} ways", ways_gone.len(), seen.len());
        format!("{ways} are not in the file ({})", named("way", ways_gone))
    };
    match rings::assemble(&lines, gone.is_empty()) {
        Ok(areas) if gone.is_empty() => RawGeometry::Wkb(polygons(&areas)),
        Ok(areas) => RawGeometry::Part {
            wkb: polygons(&areas),
            kind: WAYS_MISSING,
            reason: format!("only the rings that are whole: {gone}"),
        },
        Err(fault) => refused(fault, &gone),
    }
}

/// Why lines are no area; what the file lacks says more than that they are not closed.
fn refused(fault: Fault, gone: &str) -> RawGeometry {
    let tail = if gone.is_empty() {
        String::new()
    } else {
        format!("; {gone}")
    };
    match fault {
        Fault::Open(ends) if gone.is_empty() => {
            let reason =
                format!("its ring is not closed: open ends are {ends}; close it at the source");
            lacking(OPEN, reason)
        }
        Fault::Open(ends) => lacking(
            WAYS_MISSING,
            format!("its ring is not closed: open ends are {ends}{tail}"),
        ),
        Fault::Nothing if gone.is_empty() => lacking(
            NO_AREA,
            "its ways enclose nothing, or only what other ones take away",
        ),
        Fault::Nothing => lacking(
            WAYS_MISSING,
            format!("what is there encloses nothing{tail}"),
        ),
        Fault::NoOuter(way) => lacking(
            WAYS_MISSING,
            format!("nothing is around the hole of way {way}{tail}"),
        ),
        Fault::TooMany => lacking(
            "more rings than the limit",
            format!("it has more than MAX_RINGS = {MAX_RINGS} rings; split it"),
        ),
    }
}

const POINT: u32 = 1;
const LINE_STRING: u32 = 2;
const POLYGON: u32 = 3;
const MULTI_LINE_STRING: u32 = 5;
const MULTI_POLYGON: u32 = 6;

fn positions<'p>(out: &mut Writer, places: impl IntoIterator<Item = &'p At>) {
    for at in places {
        let [lon, lat] = at.degrees();
        out.position(lon, lat, None);
    }
}

fn point(at: At) -> Vec<u8> {
    let mut out = Writer::default();
    out.head(POINT, false);
    positions(&mut out, [&at]);
    out.finish()
}

fn lines(pieces: &[Vec<At>]) -> Vec<u8> {
    let mut out = Writer::default();
    if pieces.len() != 1 {
        out.head(MULTI_LINE_STRING, false);
        out.count(pieces.len());
    }
    for piece in pieces {
        out.head(LINE_STRING, false);
        out.count(piece.len());
        positions(&mut out, piece);
    }
    out.finish()
}

pub(super) fn polygons(areas: &[Rings]) -> Vec<u8> {
    let mut out = Writer::default();
    if areas.len() != 1 {
        out.head(MULTI_POLYGON, false);
        out.count(areas.len());
    }
    for rings in areas {
        out.head(POLYGON, false);
        out.count(rings.len());
        for ring in rings {
            out.count(ring.len() + 1);
            positions(&mut out, ring.iter().chain(ring.first()));
        }
    }
    out.finish()
}
