//! What faces cover, seen from above.
//!
//! # Invariants
//! - Corners of faces that lie on the outline of the footprint are corners of it, to the whole number.
//! - The same faces in the same order give the same footprint.

use std::panic::{AssertUnwindSafe, catch_unwind};

use i_overlay::core::fill_rule::FillRule;
use i_overlay::core::overlay::{IntOverlayOptions, Overlay, ShapeType};
use i_overlay::core::overlay_rule::OverlayRule;
use i_overlay::core::solver::Solver;
use i_overlay::i_float::int::point::IntPoint;
use twin_core::space::Surface;

use super::geometry::{Face, Faces};

/// Most steps of the grid that an object may reach over, each way.
const MAX_STEPS: i64 = 1 << 29;

/// A polygon of rings in whole numbers: the outer one, then holes; each ends where it begins.
pub(super) type Polygon = Vec<Vec<(i64, i64)>>;

/// The footprint of an object: of its ground surfaces where the file says which they are; else of the faces
/// of a closed solid that look down; else of all its faces.
pub(super) fn footprint(all: &[&Faces]) -> Result<Vec<Polygon>, String> {
    type Choice = fn(&Faces, &Face) -> bool;
    let choices: [Choice; 3] = [
        |faces, face| faces.said && face.surface == Surface::Ground,
        |faces, face| faces.closed && face.normal[2] < 0.0,
        |_, _| true,
    ];
    // Each object for itself: parts of a building need not be made alike.
    let mut chosen: Vec<(&Faces, &Face)> = Vec::new();
    for faces in all {
        for choice in choices {
            let fits = faces
                .all
                .iter()
                .filter(|face| face.covers() && choice(faces, face));
            let before = chosen.len();
            chosen.extend(fits.map(|face| (*faces, face)));
            if chosen.len() > before {
                break;
            }
        }
    }
    let work = || unite(&chosen);
    // The library may panic on geometry that nobody tried before.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err("its faces cannot be united, seen from above: they make no sense".to_owned())
    })
}

fn unite(faces: &[(&Faces, &Face)]) -> Result<Vec<Polygon>, String> {
    let corners = || {
        faces.iter().flat_map(|(faces, face)| {
            let corners = face.rings.iter().flatten();
            corners.map(move |corner| faces.vertices[*corner as usize])
        })
    };
    let (Some(west), Some(south)) = (
        corners().map(|[x, _, _]| x).min(),
        corners().map(|[_, y, _]| y).min(),
    ) else {
        return Err("its faces cover nothing, seen from above".to_owned());
    };
    let far = |[x, y, _]: [i64; 3]| (x - west).max(y - south) >= MAX_STEPS;
    if corners().any(far) {
        return Err(format!(
            "it reaches over more than {MAX_STEPS} steps of its transform's scale"
        ));
    }
    let options = IntOverlayOptions {
        preserve_input_collinear: true,
        preserve_output_collinear: true,
        ogc: true,
        ..IntOverlayOptions::default()
    };
    let mut overlay: Overlay<i32> = Overlay::new_custom(64, options, Solver::default());
    for (faces, face) in faces {
        for (number, ring) in face.rings.iter().enumerate() {
            let mut points: Vec<IntPoint<i32>> = ring
                .iter()
                .map(|corner| {
                    let [x, y, _] = faces.vertices[*corner as usize];
                    // Within MAX_STEPS, as was looked at above.
                    IntPoint::new((x - west) as i32, (y - south) as i32)
                })
                .collect();
            // Holes run against their outer ring, and outer rings all the same way round.
            if (area(&points) > 0) != (number == 0) {
                points.reverse();
            }
            overlay.add_contour(&points, ShapeType::Subject);
        }
    }
    let united = overlay.overlay(OverlayRule::Subject, FillRule::NonZero);
    let closed = |ring: &Vec<IntPoint<i32>>| {
        let place = |point: &IntPoint<i32>| (west + i64::from(point.x), south + i64::from(point.y));
        let mut ring: Vec<(i64, i64)> = ring.iter().map(place).collect();
        ring.extend(ring.first().copied());
        ring
    };
    let polygons: Vec<Polygon> = united
        .iter()
        .map(|shape| shape.iter().map(closed).collect())
        .collect();
    if polygons.is_empty() {
        return Err("its faces cover nothing, seen from above".to_owned());
    }
    Ok(polygons)
}

/// Twice the area of a ring, positive where it runs against the clock.
fn area(ring: &[IntPoint<i32>]) -> i128 {
    let next = ring.iter().skip(1).chain(ring.first());
    let cross = |(a, b): (&IntPoint<i32>, &IntPoint<i32>)| {
        i128::from(a.x) * i128::from(b.y) - i128::from(b.x) * i128::from(a.y)
    };
    ring.iter().zip(next).map(cross).sum()
}
