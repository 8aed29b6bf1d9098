//! A boundary in three dimensions, which a shape may carry beside its footprint.
//!
//! # Invariants
//! - Faces stand in the order of [`Surface::ALL`], those of one kind in the order they were given in.
//! - A face is an outer ring and its holes. A ring has three corners at least and does not repeat its
//!   first one at its end.
//! - Positions are in range and finite, and each is held once, however many faces meet there.
//! - A solid is carried and drawn, never used in a predicate. Nobody asks here whether it is closed, or lies
//!   over its footprint.

use std::collections::HashMap;
use std::ops::Range;

use super::error::ShapeError;
use super::point::Point;

/// Longitude and latitude in degrees, height in metres.
pub type Position = [f64; 3];

/// What a face of a solid is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Surface {
    /// What it stands on.
    Ground,
    /// An outer wall, with what is in it.
    Wall,
    /// The roof.
    Roof,
    /// Anything else, or nobody said.
    Other,
}

impl Surface {
    /// All there are, in the order that faces stand in.
    pub const ALL: [Self; 4] = [Self::Ground, Self::Wall, Self::Roof, Self::Other];

    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ground => "ground",
            Self::Wall => "wall",
            Self::Roof => "roof",
            Self::Other => "other",
        }
    }
}

/// The faces of a solid.
#[derive(Clone, Debug, PartialEq)]
pub struct Solid {
    positions: Box<[Position]>,
    /// Numbers of positions, ring after ring.
    corners: Box<[u32]>,
    /// Where each ring ends among the corners.
    rings: Box<[u32]>,
    /// Where each face ends among the rings.
    faces: Box<[u32]>,
    /// Where each kind of surface ends among the faces.
    surfaces: [u32; Surface::ALL.len()],
}

/// One face of a solid.
#[derive(Clone, Debug)]
pub struct Face<'s> {
    /// What it is a part of.
    pub surface: Surface,
    solid: &'s Solid,
    rings: Range<usize>,
}

impl<'s> Face<'s> {
    /// Its outer ring, then its holes: numbers of the solid's positions, the first not repeated.
    pub fn rings(&self) -> impl Iterator<Item = &'s [u32]> + use<'s> {
        let solid = self.solid;
        self.rings
            .clone()
            .map(move |ring| &solid.corners[span(&solid.rings, ring)])
    }
}

impl Solid {
    /// A solid of faces, each of its rings: the outer one, then holes. A ring may repeat its first position
    /// at its end.
    ///
    /// # Errors
    /// There is no face, or the first of them that is none and why.
    pub fn new(
        faces: impl IntoIterator<Item = (Surface, Vec<Vec<Position>>)>,
    ) -> Result<Self, ShapeError> {
        let mut faces: Vec<_> = faces.into_iter().collect();
        faces.sort_by_key(|(surface, _)| *surface);
        let mut builder = Builder::default();
        for (surface, rings) in faces {
            for mut ring in rings {
                if ring.len() > 1 && ring.first() == ring.last() {
                    ring.pop();
                }
                for position in &ring {
                    builder.position(*position)?;
                }
                builder.end_ring()?;
            }
            builder.end_face(surface)?;
        }
        builder.finish()
    }

    /// Its faces, in order.
    pub fn faces(&self) -> impl Iterator<Item = Face<'_>> {
        Surface::ALL
            .into_iter()
            .flat_map(move |surface| self.of(surface))
    }

    /// Its faces of one kind, in order.
    pub fn of(&self, surface: Surface) -> impl ExactSizeIterator<Item = Face<'_>> {
        span(&self.surfaces, surface as usize).map(move |face| Face {
            surface,
            solid: self,
            rings: span(&self.faces, face),
        })
    }

    /// The positions that rings name.
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// How many positions all rings have, those that close them included: what is written.
    pub(super) fn written(&self) -> usize {
        self.corners.len() + self.rings.len()
    }

    /// The lowest height.
    pub(super) fn lowest(&self) -> f64 {
        let heights = self.positions.iter().map(|[_, _, height]| *height);
        heights.fold(f64::INFINITY, f64::min)
    }
}

/// What lies between the end before a number and its own.
fn span(ends: &[u32], number: usize) -> Range<usize> {
    let start = number.checked_sub(1).map_or(0, |before| ends[before]);
    start as usize..ends[number] as usize
}

/// Faces one after the other; whoever builds bounds how many positions there are.
#[derive(Default)]
pub(super) struct Builder {
    positions: Vec<Position>,
    corners: Vec<u32>,
    rings: Vec<u32>,
    faces: Vec<u32>,
    surfaces: [u32; Surface::ALL.len()],
    known: HashMap<[u64; 3], u32>,
}

impl Builder {
    fn fault(&self, reason: &str) -> ShapeError {
        ShapeError::Solid {
            reason: format!("has a face ({}) {reason}", self.faces.len()),
        }
    }

    /// The next position of the ring at hand.
    pub(super) fn position(&mut self, [lon, lat, height]: Position) -> Result<(), ShapeError> {
        Point::new(lon, lat)?;
        if !height.is_finite() {
            return Err(self.fault("with a height that is no finite number"));
        }
        // Zero's sign means nothing and would make two of one position.
        let position = [lon + 0.0, lat + 0.0, height + 0.0];
        let next = self.positions.len() as u32;
        let number = *self.known.entry(position.map(f64::to_bits)).or_insert(next);
        if number == next {
            self.positions.push(position);
        }
        self.corners.push(number);
        Ok(())
    }

    /// The ring at hand has all its corners.
    pub(super) fn end_ring(&mut self) -> Result<(), ShapeError> {
        let begun = self.rings.last().map_or(0, |end| *end as usize);
        let ring = &self.corners[begun..];
        let next = ring.iter().skip(1).chain(ring.first());
        if ring.iter().zip(next).filter(|(a, b)| a != b).count() < 3 {
            return Err(self.fault("with a ring of fewer than three positions"));
        }
        self.rings.push(self.corners.len() as u32);
        Ok(())
    }

    /// The face at hand has all its rings; kinds of surfaces come in their order.
    pub(super) fn end_face(&mut self, surface: Surface) -> Result<(), ShapeError> {
        if self.faces.last().copied().unwrap_or(0) as usize == self.rings.len() {
            return Err(self.fault("without a ring"));
        }
        self.faces.push(self.rings.len() as u32);
        for end in &mut self.surfaces[surface as usize..] {
            *end = self.faces.len() as u32;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Solid, ShapeError> {
        let Self {
            positions,
            corners,
            rings,
            faces,
            surfaces,
            known: _,
        } = self;
        if faces.is_empty() {
            return Err(ShapeError::Solid {
                reason: "has no face".to_owned(),
            });
        }
        Ok(Solid {
            positions: positions.into(),
            corners: corners.into(),
            rings: rings.into(),
            faces: faces.into(),
            surfaces,
        })
    }
}
