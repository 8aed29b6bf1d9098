//! A geometry of a city object: points, lines, or faces with what each is a part of.
//!
//! # Invariants
//! - Vertices stay whole numbers; those at one place are one, whatever their numbers in the file.
//! - A face has an outer ring and an area; what has none is left out and told.
//! - What is wrong with a geometry that can be used all the same is among its faults.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;
use twin_core::space::Surface;

use super::semantics::{Surfaces, by_direction};
use super::wire::{self, MAX_NUMBER, Nested, Transform, Vertex};
use crate::formats::MAX_FEATURE_BYTES;

/// Most corners of templates that are put where objects stand, of one file: a line says with few bytes to put
/// many.
pub const MAX_PLACED_CORNERS: usize = 1 << 30;

/// Kinds of what is wrong, by which a report counts.
const OPEN: &str = "a solid that is not closed";
const NO_FLOOR: &str = "a solid without a floor";
const NO_AREA: &str = "faces without an area";
pub(super) const UNUSABLE: &str = "a geometry that cannot be used";

/// Something wrong: what is counted together, and what it is.
pub(super) type Fault = (&'static str, String);

/// What a geometry is made of.
#[derive(Debug)]
pub(super) enum Form {
    Points(Vec<Vertex>),
    Lines(Vec<Vec<Vertex>>),
    Faces(Faces),
}

/// A geometry that can be used.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) kind: &'static str,
    pub(super) lod: String,
    pub(super) form: Form,
    /// How many corners its boundaries have.
    pub(super) corners: usize,
    pub(super) faults: Vec<Fault>,
}

impl Body {
    pub(super) fn faces(&self) -> Option<&Faces> {
        match &self.form {
            Form::Faces(faces) => Some(faces),
            Form::Points(_) | Form::Lines(_) => None,
        }
    }

    /// Whether its highest vertex is above its lowest.
    pub(super) fn rises(&self) -> bool {
        self.faces().is_some_and(|faces| {
            let (low, high) = faces.span();
            high > low
        })
    }

    /// Whether it bounds a solid, and leaves no gap in it.
    pub(super) fn is_closed(&self) -> bool {
        self.faces().is_some_and(|faces| faces.closed)
    }
}

/// Faces of surfaces or solids.
#[derive(Debug, Default)]
pub(super) struct Faces {
    pub(super) vertices: Vec<Vertex>,
    pub(super) all: Vec<Face>,
    /// Whether they bound a solid, and leave no gap in it.
    pub(super) closed: bool,
    /// Whether the file says what each face is a part of.
    pub(super) said: bool,
}

#[derive(Debug)]
pub(super) struct Face {
    pub(super) surface: Surface,
    /// Numbers of vertices; the outer ring, then holes, none of which repeats its first.
    pub(super) rings: Vec<Vec<u32>>,
    /// Twice its area on each of the planes that face east, north and up; it looks that way.
    pub(super) normal: [f64; 3],
}

impl Face {
    /// Whether it covers anything, seen from above.
    pub(super) fn covers(&self) -> bool {
        self.normal[2] != 0.0
    }
}

impl Faces {
    /// The lowest and the highest whole number of a height.
    pub(super) fn span(&self) -> (i64, i64) {
        let rings = self.all.iter().flat_map(|face| &face.rings).flatten();
        let heights = rings.map(|corner| self.vertices[*corner as usize][2]);
        heights.fold((i64::MAX, i64::MIN), |(low, high), z| {
            (low.min(z), high.max(z))
        })
    }
}

/// Templates of a file, each or why it cannot be used.
#[derive(Debug, Default)]
pub(super) struct Templates {
    all: Vec<Result<Template, String>>,
    vertices: Vec<[f64; 3]>,
    /// Corners that were put where objects stand.
    placed: Cell<usize>,
}

#[derive(Debug)]
struct Template {
    kind: Kind,
    lod: String,
    nested: Nested<u32>,
    surfaces: Surfaces,
}

/// A type of geometry with its own boundaries.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    /// Levels of lists of its boundaries.
    levels: usize,
    solid: bool,
}

const KINDS: [Kind; 7] = [
    kind("MultiPoint", 1, false),
    kind("MultiLineString", 2, false),
    kind("MultiSurface", 3, false),
    kind("CompositeSurface", 3, false),
    kind("Solid", 4, true),
    kind("MultiSolid", 5, true),
    kind("CompositeSolid", 5, true),
];

const fn kind(name: &'static str, levels: usize, solid: bool) -> Kind {
    Kind {
        name,
        levels,
        solid,
    }
}

impl Templates {
    pub(super) fn read(wire: wire::Templates<'_>) -> Self {
        let read = |text: &&RawValue| -> Result<Template, String> {
            if text.get().len() > MAX_FEATURE_BYTES {
                return Err(format!(
                    "it is more than MAX_FEATURE_BYTES = {MAX_FEATURE_BYTES} bytes"
                ));
            }
            let geometry: wire::Geometry<'_> =
                serde_json::from_str(text.get()).map_err(|error| error.to_string())?;
            let kind = kind_of(&geometry)?;
            let nested = boundaries(&geometry, kind)?;
            Ok(Template {
                kind,
                lod: lod(&geometry),
                surfaces: Surfaces::read(&geometry, kind.levels, &nested),
                nested,
            })
        };
        Self {
            all: wire.templates.0.iter().map(read).collect(),
            vertices: wire.vertices.0,
            placed: Cell::new(0),
        }
    }

    /// Whether so many corners more may be put where objects stand.
    fn spend(&self, corners: usize) -> Result<(), String> {
        self.placed.set(self.placed.get().saturating_add(corners));
        if self.placed.get() > MAX_PLACED_CORNERS {
            return Err(format!(
                "is of a template, and more than MAX_PLACED_CORNERS = {MAX_PLACED_CORNERS} corners of such were placed"
            ));
        }
        Ok(())
    }
}

/// What a geometry's numbers of vertices refer to.
pub(super) struct Frame<'f> {
    pub(super) vertices: &'f [Vertex],
    pub(super) transform: &'f Transform,
    pub(super) templates: &'f Templates,
}

impl Frame<'_> {
    /// Reads a geometry; where it cannot be used, its level of detail as far as it is known, and why.
    pub(super) fn read(&self, text: &str) -> Result<Body, (String, String)> {
        let geometry: wire::Geometry<'_> = serde_json::from_str(text)
            .map_err(|error| (String::new(), format!("is no geometry: {error}")))?;
        let lod = lod(&geometry);
        let read = if geometry.kind.as_deref() == Some("GeometryInstance") {
            self.instance(&geometry)
        } else {
            self.own(&geometry, lod.clone())
        };
        read.map_err(|reason| (lod, reason))
    }

    fn own(&self, geometry: &wire::Geometry<'_>, lod: String) -> Result<Body, String> {
        let kind = kind_of(geometry)?;
        let nested = boundaries(geometry, kind)?;
        let surfaces = Surfaces::read(geometry, kind.levels, &nested);
        let find = |corner: u32| {
            let there = self.vertices.get(corner as usize).copied();
            there.ok_or_else(|| missing(corner, self.vertices.len()))
        };
        self.body(kind, lod, &nested, surfaces, find)
    }

    /// A template where an object stands.
    fn instance(&self, geometry: &wire::Geometry<'_>) -> Result<Body, String> {
        let number = geometry.template.ok_or("names no template")?;
        let template = match self.templates.all.get(number) {
            Some(Ok(template)) => template,
            Some(Err(reason)) => {
                return Err(format!(
                    "is of template {number}, which cannot be used: {reason}"
                ));
            }
            None => {
                let count = self.templates.all.len();
                return Err(format!("is of template {number}, and there are {count}"));
            }
        };
        let matrix = geometry
            .matrix
            .ok_or("has no transformationMatrix of 16 numbers")?;
        let at = boundaries(geometry, KINDS[0])?;
        let [at] = at.leaves[..] else {
            return Err("does not stand at one vertex".to_owned());
        };
        let at = *self
            .vertices
            .get(at as usize)
            .ok_or_else(|| missing(at, self.vertices.len()))?;
        self.templates.spend(template.nested.leaves.len())?;
        let known = &self.templates.vertices;
        let find = |corner: u32| {
            let vertex = known.get(corner as usize);
            let vertex = vertex.ok_or_else(|| missing(corner, known.len()))?;
            self.placed(&matrix, *vertex, at)
        };
        let surfaces = template.surfaces.clone();
        self.body(
            template.kind,
            template.lod.clone(),
            &template.nested,
            surfaces,
            find,
        )
    }

    /// A vertex of a template, turned, and moved to where its object stands.
    fn placed(
        &self,
        matrix: &[f64; 16],
        [x, y, z]: [f64; 3],
        at: Vertex,
    ) -> Result<Vertex, String> {
        let mut placed = at;
        for ((number, row), scale) in placed
            .iter_mut()
            .zip(matrix.chunks(4))
            .zip(self.transform.scale)
        {
            let moved = row[0] * x + row[1] * y + row[2] * z + row[3];
            let steps = if scale == 0.0 {
                0.0
            } else {
                (moved / scale).round()
            };
            if steps.is_nan() || steps.abs() > MAX_NUMBER as f64 {
                return Err("is turned out of what can be counted".to_owned());
            }
            *number += steps as i64;
        }
        Ok(placed)
    }

    fn body(
        &self,
        kind: Kind,
        lod: String,
        nested: &Nested<u32>,
        surfaces: Surfaces,
        find: impl Fn(u32) -> Result<Vertex, String>,
    ) -> Result<Body, String> {
        let mut faults = Vec::new();
        let form = match kind.levels {
            1 => {
                let points: Result<Vec<Vertex>, String> =
                    nested.leaves.iter().map(|corner| find(*corner)).collect();
                Form::Points(points?)
            }
            2 => Form::Lines(self.lines(nested, find)?),
            _ => Form::Faces(self.faces(kind, nested, surfaces, find, &mut faults)?),
        };
        let (empty, seen) = match &form {
            Form::Points(points) => (points.is_empty(), true),
            Form::Lines(lines) => (lines.is_empty(), true),
            Form::Faces(Faces { all, .. }) => (all.is_empty(), all.iter().any(Face::covers)),
        };
        if empty {
            return Err("has nothing in it".to_owned());
        }
        if !seen {
            return Err("covers nothing, seen from above".to_owned());
        }
        Ok(Body {
            kind: kind.name,
            lod,
            form,
            corners: nested.leaves.len(),
            faults,
        })
    }

    fn faces(
        &self,
        kind: Kind,
        nested: &Nested<u32>,
        surfaces: Surfaces,
        find: impl Fn(u32) -> Result<Vertex, String>,
        faults: &mut Vec<Fault>,
    ) -> Result<Faces, String> {
        let mut faces = Faces {
            said: surfaces.of.is_some(),
            ..Faces::default()
        };
        faults.extend(surfaces.fault);
        let mut known: HashMap<Vertex, u32> = HashMap::new();
        // How often an edge is walked from its lesser end, less how often from the other.
        let mut edges: BTreeMap<(u32, u32), i64> = BTreeMap::new();
        let mut without_area = 0_usize;
        let outer = outer_shells(kind, nested);
        let all = nested.ends[1].len();
        for number in 0..all {
            let mut rings = Vec::new();
            for ring in nested.span(1, number) {
                let mut corners: Vec<u32> = Vec::new();
                for corner in &nested.leaves[nested.span(0, ring)] {
                    let vertex = find(*corner)?;
                    let next = faces.vertices.len() as u32;
                    let corner = *known.entry(vertex).or_insert(next);
                    if corner == next {
                        faces.vertices.push(vertex);
                    }
                    // The same place again is no edge.
                    if corners.last() != Some(&corner) {
                        corners.push(corner);
                    }
                }
                while corners.len() > 1 && corners.first() == corners.last() {
                    corners.pop();
                }
                for (from, to) in pairs(&corners) {
                    let way = if from < to { 1 } else { -1 };
                    *edges.entry((from.min(to), from.max(to))).or_default() += way;
                }
                rings.push(corners);
            }
            let has_area = |ring: &Vec<u32>| area(&faces.vertices, ring) != [0; 3];
            if !rings.first().is_some_and(has_area) {
                without_area += 1;
                continue;
            }
            rings.retain(has_area);
            let normal = self.normal(&faces.vertices, &rings);
            let surface = match &surfaces.of {
                Some(said) => said.get(number).copied().unwrap_or(Surface::Other),
                None if kind.solid && outer(number) => by_direction(normal),
                None => Surface::Other,
            };
            faces.all.push(Face {
                surface,
                rings,
                normal,
            });
        }
        if without_area > 0 {
            let reason =
                format!("{without_area} of its {all} faces enclose nothing and are left out");
            faults.push((NO_AREA, reason));
        }
        if kind.solid {
            let lowest = faces.span().0;
            let is_low = |corner: &u32| faces.vertices[*corner as usize][2] == lowest;
            let (mut open, mut floor) = (0_usize, true);
            for ((from, to), _) in edges.iter().filter(|(_, ways)| **ways != 0) {
                open += 1;
                floor &= is_low(from) && is_low(to);
            }
            if open > 0 {
                let (kind, which) = if floor {
                    (NO_FLOOR, ", all at its lowest height,")
                } else {
                    (OPEN, "")
                };
                let all = edges.len();
                let reason =
                    format!("{open} of its {all} edges{which} have faces on one side only");
                faults.push((kind, reason));
            }
            faces.closed = open == 0;
        }
        Ok(faces)
    }

    fn lines(
        &self,
        nested: &Nested<u32>,
        find: impl Fn(u32) -> Result<Vertex, String>,
    ) -> Result<Vec<Vec<Vertex>>, String> {
        // What a scale of zero makes of it is one place.
        let [x, y, _] = self.transform.scale.map(|scale| scale != 0.0);
        let apart = |a: &Vertex, b: &Vertex| (x && a[0] != b[0]) || (y && a[1] != b[1]);
        let mut lines = Vec::new();
        for line in 0..nested.ends[0].len() {
            let corners = &nested.leaves[nested.span(0, line)];
            let line: Result<Vec<Vertex>, String> =
                corners.iter().map(|corner| find(*corner)).collect();
            let line = line?;
            if !line.iter().any(|vertex| apart(vertex, &line[0])) {
                return Err(format!(
                    "has a line whose {} vertices are in one place, seen from above",
                    line.len()
                ));
            }
            lines.push(line);
        }
        Ok(lines)
    }

    /// Twice the area of rings on three planes, in the units of the coordinate system.
    fn normal(&self, vertices: &[Vertex], rings: &[Vec<u32>]) -> [f64; 3] {
        let [x, y, z] = self.transform.scale;
        let mut sum = [0.0; 3];
        for ring in rings {
            let area = area(vertices, ring).map(|area| area as f64);
            sum[0] += area[0] * y * z;
            sum[1] += area[1] * z * x;
            sum[2] += area[2] * x * y;
        }
        sum
    }
}

fn missing(corner: u32, count: usize) -> String {
    format!("names vertex {corner}, and there are {count}")
}

fn pairs(ring: &[u32]) -> impl Iterator<Item = (u32, u32)> + '_ {
    let next = ring.iter().skip(1).chain(ring.first());
    let pairs = ring.iter().copied().zip(next.copied());
    pairs.filter(|(from, to)| from != to)
}

/// Twice the area of a ring on the planes that face along each axis, exactly.
fn area(vertices: &[Vertex], ring: &[u32]) -> [i128; 3] {
    let mut sum = [0; 3];
    let Some(first) = ring.first().map(|corner| vertices[*corner as usize]) else {
        return sum;
    };
    let from_first = |corner: u32| {
        let vertex = vertices[corner as usize];
        [0, 1, 2].map(|axis| i128::from(vertex[axis]) - i128::from(first[axis]))
    };
    for (a, b) in pairs(ring) {
        let (a, b) = (from_first(a), from_first(b));
        sum[0] += a[1] * b[2] - a[2] * b[1];
        sum[1] += a[2] * b[0] - a[0] * b[2];
        sum[2] += a[0] * b[1] - a[1] * b[0];
    }
    sum
}

/// Whether a face is on the outside of its solid, and not around a cavity in it.
fn outer_shells(kind: Kind, nested: &Nested<u32>) -> impl Fn(usize) -> bool + use<> {
    let mut outer = Vec::new();
    if kind.solid {
        for solid in 0..nested.ends[3].len() {
            let shells = nested.span(3, solid);
            outer.extend(shells.start..shells.end.min(shells.start + 1));
        }
    }
    let spans: Vec<_> = outer.iter().map(|shell| nested.span(2, *shell)).collect();
    move |face| {
        // Shells come in order, so do their faces.
        let before = spans.partition_point(|span| span.end <= face);
        spans.get(before).is_some_and(|span| span.contains(&face))
    }
}

fn kind_of(geometry: &wire::Geometry<'_>) -> Result<Kind, String> {
    let name = geometry.kind.as_deref().unwrap_or_default();
    let known = KINDS.iter().find(|kind| kind.name == name);
    known.copied().ok_or_else(|| {
        let name: String = name.chars().take(40).collect();
        format!("is of the type `{name}`, which CityJSON does not have")
    })
}

fn boundaries(geometry: &wire::Geometry<'_>, kind: Kind) -> Result<Nested<u32>, String> {
    let text = geometry.boundaries.ok_or("has no boundaries")?;
    let unfit = |what: String| format!("has boundaries that are none of a {}: {what}", kind.name);
    let nested = Nested::read(text, kind.levels).map_err(|error| unfit(error.to_string()))?;
    if nested.nulls > 0 {
        return Err(unfit("a list of theirs is null".to_owned()));
    }
    Ok(nested)
}

/// A level of detail, written as a text or as a number.
fn lod(geometry: &wire::Geometry<'_>) -> String {
    let text = geometry.lod.map_or("", RawValue::get);
    text.trim_matches('"').chars().take(20).collect()
}
