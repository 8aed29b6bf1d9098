//! What is made of a city object: its columns, and one of its geometries.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::CityJsonReader;
use super::geometry::{Body, Fault, Frame, UNUSABLE};
use super::scene::{GROUP, Next};
use super::wire::{MAX_CORNERS, Object};
use super::write::{self, Placing};
use crate::formats::crs::Crs;
use crate::formats::geojson::cell;
use crate::formats::{Cell, Feature, Place, RawGeometry};

/// Most geometries of one object.
pub const MAX_GEOMETRIES: usize = 64;

const LOD_TWICE: &str = "a level of detail that is there twice";
const NO_PART: &str = "a part that is not there";

/// What was made of an object's geometries.
struct Taken {
    geometry: RawGeometry,
    lod: String,
    kind: &'static str,
    /// The lowest height, and how far the highest is above it.
    heights: Option<(f64, f64)>,
    from: &'static str,
}

impl CityJsonReader {
    /// An object as a feature.
    pub(super) fn convert(&self, next: &Next, place: Place) -> Result<Feature, String> {
        let object = self.scene.object(&next.at)?;
        let kind = object.kind.as_deref().ok_or("it has no type")?;
        let mut values = BTreeMap::new();
        if let Some(attributes) = object.attributes {
            let attributes: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(attributes.get())
                    .map_err(|error| format!("its attributes are not an object: {error}"))?;
            for (name, value) in attributes {
                // An attribute cannot pass for what the reader says.
                if !name.starts_with('$') {
                    values.insert(Arc::from(name), cell(value));
                }
            }
        }
        let mut say = |name: &str, text: &str| {
            if !text.is_empty() {
                values.insert(Arc::from(name), Cell::Text(text.into()));
            }
        };
        say("$id", &next.id);
        say("$type", kind);
        say("$parent", self.parent(&object));
        let crs = self.crs.as_ref();
        let taken = crs.and_then(|crs| self.taken(crs, &object));
        if let Some(taken) = &taken {
            say("$lod", &taken.lod);
            say("$geometry", taken.kind);
            say("$from", taken.from);
        }
        if let Some((ground, height)) = taken.as_ref().and_then(|taken| taken.heights) {
            values.insert(Arc::from("$ground"), Cell::Float(ground));
            if height > 0.0 {
                values.insert(Arc::from("$height"), Cell::Float(height));
            }
        }
        Ok(Feature {
            place,
            values,
            geometry: taken.map(|taken| taken.geometry),
        })
    }

    /// What an object is a part of.
    fn parent<'o>(&self, object: &'o Object<'_>) -> &'o str {
        let parents = object.parents.as_deref().unwrap_or_default();
        let whole = match parents {
            [] | [_] => parents.first(),
            _ => parents.iter().find(|parent| !self.scene.is_group(parent)),
        };
        whole.map_or("", String::as_str)
    }

    /// The geometry of an object, or of its parts; `None` where it has neither.
    fn taken(&self, crs: &Crs, object: &Object<'_>) -> Option<Taken> {
        let (own, mut faults) = self.best(object);
        let parts = if own.as_ref().is_some_and(Body::rises) {
            Vec::new()
        } else {
            self.parts(object, &mut faults)
        };
        if own.is_none() && parts.is_empty() && faults.is_empty() {
            return None;
        }
        Some(self.put(crs, own.as_ref(), &parts, faults))
    }

    /// The finest geometry of an object that can be used, and what is wrong with any of them.
    fn best(&self, object: &Object<'_>) -> (Option<Body>, Vec<Fault>) {
        let frame = Frame {
            vertices: &self.scene.vertices,
            transform: &self.transform,
            templates: &self.templates,
        };
        let (mut best, mut faults): (Option<Body>, Vec<Fault>) = (None, Vec::new());
        let texts = object.geometry.as_deref().unwrap_or_default();
        if texts.len() > MAX_GEOMETRIES {
            let reason = format!(
                "of its {} geometries MAX_GEOMETRIES = {MAX_GEOMETRIES} were looked at",
                texts.len()
            );
            faults.push((UNUSABLE, reason));
        }
        let named = |number: usize, lod: &str| match (texts.len(), lod) {
            (1, _) => String::new(),
            (_, "") => format!("geometry {}: ", number + 1),
            (_, lod) => format!("geometry {} (LoD {lod}): ", number + 1),
        };
        let mut seen: Vec<(String, &'static str)> = Vec::new();
        for (number, text) in texts.iter().take(MAX_GEOMETRIES).enumerate() {
            let mut body = match frame.read(text.get()) {
                Ok(body) => body,
                Err((lod, reason)) => {
                    faults.push((UNUSABLE, format!("{}it {reason}", named(number, &lod))));
                    continue;
                }
            };
            let name = named(number, &body.lod);
            for (kind, reason) in std::mem::take(&mut body.faults) {
                faults.push((kind, format!("{name}{reason}")));
            }
            // A solid beside surfaces is no second one.
            let level = (body.lod.clone(), body.kind);
            if !body.lod.is_empty() && seen.contains(&level) {
                let reason = "its level of detail is that of an earlier geometry";
                faults.push((LOD_TWICE, format!("{name}{reason}")));
            }
            seen.push(level);
            if best.as_ref().is_none_or(|best| is_better(&body, best)) {
                best = Some(body);
            }
        }
        (best, faults)
    }

    /// What can be used of the geometries of an object's children.
    fn parts(&self, object: &Object<'_>, faults: &mut Vec<Fault>) -> Vec<Body> {
        let mut parts = Vec::new();
        let (mut corners, mut missing) = (0, Vec::new());
        if object.kind.as_deref() == Some(GROUP) {
            return parts;
        }
        for child in object.children.iter().flatten() {
            let Some(at) = self.scene.child(child) else {
                missing.push(child);
                continue;
            };
            if let Err(reason) = self.scene.spend(at) {
                faults.push((UNUSABLE, reason));
                break;
            }
            // What is wrong with a part is told where the part is read.
            let part = self.scene.object(at).ok();
            let Some(part) = part.and_then(|part| self.best(&part).0) else {
                continue;
            };
            corners += part.corners;
            if corners > MAX_CORNERS {
                let reason =
                    format!("its parts have more than MAX_CORNERS = {MAX_CORNERS} corners");
                faults.push((UNUSABLE, reason));
                break;
            }
            parts.push(part);
        }
        if let Some(first) = missing.first() {
            let (first, count): (String, _) = (first.chars().take(80).collect(), missing.len());
            let reason = format!("{count} of its children are not there, the first is `{first}`");
            faults.push((NO_PART, reason));
        }
        parts
    }

    /// Puts a geometry, or the footprint of parts, where it is.
    fn put(&self, crs: &Crs, own: Option<&Body>, parts: &[Body], mut faults: Vec<Fault>) -> Taken {
        let transform = &self.transform;
        let place = Placing { transform, crs };
        let part_faces: Vec<_> = parts.iter().filter_map(Body::faces).collect();
        let of_parts = write::heights(&place, &part_faces);
        let (wkb, lod, kind, from) = if let Some(body) = own {
            let wkb = write::body(&place, body).map_err(Some);
            (wkb, body.lod.clone(), body.kind, "own")
        } else if let Some(first) = parts.iter().find(|part| part.faces().is_some()) {
            let wkb = write::area(&place, &part_faces, None).map_err(Some);
            (wkb, first.lod.clone(), "", "parts")
        } else {
            let reason = || (UNUSABLE, "its parts have no faces".to_owned());
            let unplaced = faults.is_empty().then(reason);
            (Err(unplaced), String::new(), "", "own")
        };
        let heights = match own {
            None => of_parts,
            // A flat outline below parts that rise: they say how high it all is.
            Some(body) if body.faces().is_some() && !body.rises() && of_parts.is_some() => of_parts,
            Some(body) => {
                let faces = body.faces();
                faces.and_then(|faces| write::heights(&place, &[faces]))
            }
        };
        let geometry = match wkb {
            Ok(wkb) => match joined(&faults) {
                None => RawGeometry::Wkb(wkb),
                Some((kind, reason)) => RawGeometry::Part { wkb, kind, reason },
            },
            Err(unplaced) => {
                if let Some(fault) = unplaced {
                    faults.insert(0, fault);
                }
                let (kind, reason) = joined(&faults).unwrap_or((UNUSABLE, String::new()));
                RawGeometry::Lacking { kind, reason }
            }
        };
        Taken {
            geometry,
            lod,
            kind,
            heights,
            from,
        }
    }
}

/// Whether a geometry is finer than another, or as fine and a closed solid where that is none.
fn is_better(one: &Body, other: &Body) -> bool {
    let (fine, coarse) = (fineness(&one.lod), fineness(&other.lod));
    fine > coarse || fine == coarse && one.is_closed() && !other.is_closed()
}

/// How fine a level of detail is; one that nobody states is the coarsest.
fn fineness(lod: &str) -> f64 {
    let stated = lod.parse().ok().filter(|lod: &f64| lod.is_finite());
    stated.unwrap_or(-1.0)
}

/// All that is wrong as one, under the kind of the first.
fn joined(faults: &[Fault]) -> Option<Fault> {
    let kind = faults.first()?.0;
    let reasons: Vec<&str> = faults.iter().map(|(_, reason)| &**reason).collect();
    Some((kind, reasons.join("; ")))
}
