//! What each face of a geometry is a part of.

use serde_json::value::RawValue;
use twin_core::space::Surface;

use super::geometry::Fault;
use super::wire::{self, Nested};

const MISFIT: &str = "semantics that do not fit";
/// Below this share of its area, seen from above, a face is a wall: it stands steeper than 60 degrees.
const STEEP: f64 = 0.5;

/// What semantics say.
#[derive(Debug, Clone, Default)]
pub(super) struct Surfaces {
    /// For each face; none where the file says nothing that fits.
    pub(super) of: Option<Vec<Surface>>,
    pub(super) fault: Option<Fault>,
}

impl Surfaces {
    /// Those of a geometry whose boundaries have so many levels of lists.
    pub(super) fn read(
        geometry: &wire::Geometry<'_>,
        levels: usize,
        boundaries: &Nested<u32>,
    ) -> Self {
        // Points and lines have no faces.
        let Some(text) = geometry.semantics.filter(|_| levels > 2) else {
            return Self::default();
        };
        match said(text, levels - 2, boundaries) {
            Ok(of) => Self { of, fault: None },
            Err(reason) => Self {
                of: None,
                fault: Some((MISFIT, reason)),
            },
        }
    }
}

fn said(
    text: &RawValue,
    levels: usize,
    boundaries: &Nested<u32>,
) -> Result<Option<Vec<Surface>>, String> {
    let semantics: wire::Semantics<'_> = serde_json::from_str(text.get())
        .map_err(|error| format!("its semantics are none: {error}"))?;
    let Some(values) = semantics.values else {
        return Ok(None);
    };
    let marks: Nested<Option<u32>> = Nested::read(values, levels)
        .map_err(|error| format!("its semantics do not follow its boundaries: {error}"))?;
    let kinds: Vec<Surface> = semantics.surfaces.iter().map(surface).collect();
    let of = of_faces(&marks, levels, boundaries)?
        .into_iter()
        .map(|mark| match mark {
            None => Some(Surface::Other),
            Some(mark) => kinds.get(mark as usize).copied(),
        });
    let of: Option<Vec<Surface>> = of.collect();
    match of {
        Some(of) => Ok(Some(of)),
        None => Err("its semantics name a surface that they do not describe".to_owned()),
    }
}

/// The mark of each face.
fn of_faces(
    marks: &Nested<Option<u32>>,
    levels: usize,
    boundaries: &Nested<u32>,
) -> Result<Vec<Option<u32>>, String> {
    let mut spread = Spread {
        marks,
        boundaries,
        of: Vec::new(),
        nulls: 0,
    };
    // A list that is empty without being null is none that fits.
    if spread.list(levels - 1, 0, 0) && spread.nulls <= marks.nulls {
        return Ok(spread.of);
    }
    let (count, faces) = (marks.leaves.len(), boundaries.ends[1].len());
    Err(if marks.nulls == 0 && count != faces {
        format!("its semantics are of {count} faces, and it has {faces}")
    } else {
        "its semantics stand in other lists than its faces".to_owned()
    })
}

/// Marks, list by list beside the faces that they are of.
struct Spread<'s> {
    marks: &'s Nested<Option<u32>>,
    boundaries: &'s Nested<u32>,
    of: Vec<Option<u32>>,
    nulls: usize,
}

impl Spread<'_> {
    /// Whether a list of marks fits that list of shells or faces; rings and corners have no marks.
    fn list(&mut self, level: usize, marks: usize, faces: usize) -> bool {
        let ends = self.end(level + 2, faces);
        let marks = self.marks.span(level, marks);
        let faces = self.boundaries.span(level + 2, faces);
        if marks.is_empty() && !faces.is_empty() {
            // Null stands for nulls all the way down.
            self.nulls += 1;
            self.of.resize(ends, None);
            return true;
        }
        if marks.len() != faces.len() {
            return false;
        }
        if level == 0 {
            self.of.extend_from_slice(&self.marks.leaves[marks]);
            return true;
        }
        marks
            .zip(faces)
            .all(|(marks, faces)| self.list(level - 1, marks, faces))
    }

    /// How many faces there are up to the end of a list.
    fn end(&self, level: usize, number: usize) -> usize {
        let mut end = number + 1;
        for level in (2..=level).rev() {
            let last = end.checked_sub(1);
            end = last.map_or(0, |last| self.boundaries.ends[level][last] as usize);
        }
        end
    }
}

fn surface(kind: &wire::Kind<'_>) -> Surface {
    match kind.kind.as_deref() {
        Some("GroundSurface") => Surface::Ground,
        Some("WallSurface" | "Window" | "Door") => Surface::Wall,
        Some("RoofSurface") => Surface::Roof,
        _ => Surface::Other,
    }
}

/// What a face on the outside of a solid is, by where it looks.
pub(super) fn by_direction(normal: [f64; 3]) -> Surface {
    let [x, y, z] = normal;
    let length = x.hypot(y).hypot(z);
    if z > STEEP * length {
        Surface::Roof
    } else if z < -STEEP * length {
        Surface::Ground
    } else {
        Surface::Wall
    }
}
