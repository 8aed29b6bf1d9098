//! Well-known binary, read with bounds and written canonically.
//!
//! # Invariants
//! - Reading never reserves more than the bytes at hand could fill, never nests deeper than
//!   [`MAX_DEPTH`] and never panics.
//! - Writing is ISO, little-endian, without SRID: the same shape gives the same bytes.
//!
//! A solid is an ISO collection: its footprint, then a `PolyhedralSurface` for each kind of surface. That
//! type stands nowhere else, so no other collection is taken for one.
//!
//! Read by hand rather than with a library because the counts in the bytes are anyone's data and
//! heights are kept beside the 2D geometry.

use super::error::ShapeError;
use super::shape::{MAX_DEPTH, MAX_VERTICES, Shape};
use super::solid::{Builder, Position, Solid, Surface};
use geo_types::{
    Coord, Geometry, GeometryCollection, LineString, MultiLineString, MultiPoint, MultiPolygon,
    Point, Polygon,
};

/// SRID flag of extended WKB; any other reference system than WGS 84 is refused.
const SRID: u32 = 0x2000_0000;
/// Height flag of extended WKB.
const Z: u32 = 0x8000_0000;
/// Measure flag of extended WKB.
const M: u32 = 0x4000_0000;
/// EPSG code of WGS 84.
const WGS84: u32 = 4326;

const POLYGON: u32 = 3;
const COLLECTION: u32 = 7;
const POLYHEDRAL_SURFACE: u32 = 15;
/// Members of the collection that is a solid.
const SOLID_MEMBERS: usize = 1 + Surface::ALL.len();

/// A geometry and a height for each of its coordinates, where there are heights.
pub(super) type Flat = (Geometry<f64>, Option<Box<[f64]>>);

/// What stands in bytes, its rings not checked yet.
pub(super) struct Read {
    pub(super) geometry: Geometry<f64>,
    pub(super) heights: Option<Box<[f64]>>,
    pub(super) solid: Option<Box<Solid>>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Read, ShapeError> {
    let mut reader = Reader {
        bytes,
        at: 0,
        little: true,
        heights: Vec::new(),
        flat: false,
        left: MAX_VERTICES,
        solid: None,
    };
    let geometry = reader.geometry(0, None)?;
    if reader.at != bytes.len() {
        return Err(reader.fault("bytes follow the geometry".to_owned()));
    }
    let heights = match (reader.heights.is_empty(), reader.flat) {
        (true, _) => None,
        (false, false) => Some(reader.heights.into_boxed_slice()),
        (false, true) => return Err(ShapeError::MixedHeights),
    };
    if reader.solid.is_some() && heights.is_none() {
        return Err(ShapeError::MixedHeights);
    }
    Ok(Read {
        geometry,
        heights,
        solid: reader.solid.map(Box::new),
    })
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    little: bool,
    heights: Vec<f64>,
    /// Whether some position had no height.
    flat: bool,
    /// Vertices still allowed.
    left: usize,
    /// The solid that the geometry is the footprint of.
    solid: Option<Solid>,
}

impl Reader<'_> {
    fn fault(&self, reason: String) -> ShapeError {
        ShapeError::Wkb {
            reason,
            at: self.at,
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ShapeError> {
        let chunk = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>);
        let Some(&chunk) = chunk else {
            return Err(self.fault("the bytes end early".to_owned()));
        };
        self.at += N;
        Ok(chunk)
    }

    fn u32(&mut self) -> Result<u32, ShapeError> {
        let b = self.take()?;
        Ok(if self.little {
            u32::from_le_bytes(b)
        } else {
            u32::from_be_bytes(b)
        })
    }

    fn f64(&mut self) -> Result<f64, ShapeError> {
        let b = self.take()?;
        Ok(if self.little {
            f64::from_le_bytes(b)
        } else {
            f64::from_be_bytes(b)
        })
    }

    /// A count of things of at least `size` bytes each.
    fn count(&mut self, size: usize) -> Result<usize, ShapeError> {
        let count = self.u32()? as usize;
        let possible = (self.bytes.len() - self.at) / size;
        if count > possible {
            return Err(self.fault(format!(
                "{count} parts are announced and {possible} can follow"
            )));
        }
        Ok(count)
    }

    fn spend_vertex(&mut self) -> Result<(), ShapeError> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(ShapeError::TooManyVertices {
                limit: MAX_VERTICES,
            })?;
        Ok(())
    }

    fn coord(&mut self, z: bool) -> Result<Coord<f64>, ShapeError> {
        self.spend_vertex()?;
        let c = Coord {
            x: self.f64()?,
            y: self.f64()?,
        };
        if z {
            let height = self.f64()?;
            if !height.is_finite() {
                return Err(self.fault("a height is not a finite number".to_owned()));
            }
            self.heights.push(height);
        } else {
            self.flat = true;
        }
        Ok(c)
    }

    fn line(&mut self, z: bool) -> Result<LineString<f64>, ShapeError> {
        let count = self.count(if z { 24 } else { 16 })?;
        let coords: Result<Vec<_>, _> = (0..count).map(|_| self.coord(z)).collect();
        Ok(LineString::new(coords?))
    }

    fn polygon(&mut self, z: bool) -> Result<Polygon<f64>, ShapeError> {
        let count = self.count(4)?;
        let mut rings = Vec::new();
        for _ in 0..count {
            let ring = self.line(z)?;
            // geo closes rings silently; data that is not closed is to be refused.
            if ring.0.first() != ring.0.last() {
                let c = ring.0[0];
                let part = format!("ring {}", rings.len());
                return Err(ShapeError::Open {
                    part,
                    lon: c.x,
                    lat: c.y,
                });
            }
            rings.push(ring);
        }
        if rings.is_empty() {
            return Err(ShapeError::Empty {
                part: "a polygon".to_owned(),
            });
        }
        let exterior = rings.remove(0);
        Ok(Polygon::new(exterior, rings))
    }

    /// The type of what begins here, and whether it has heights.
    fn head(&mut self) -> Result<(u32, bool), ShapeError> {
        self.little = match self.take::<1>()? {
            [0] => false,
            [1] => true,
            [other] => return Err(self.fault(format!("{other} is not a byte order"))),
        };
        let code = self.u32()?;
        let (base, thousands) = (
            (code & !(SRID | Z | M)) % 1000,
            (code & !(SRID | Z | M)) / 1000,
        );
        let z = code & Z != 0 || thousands == 1;
        if code & M != 0 || thousands > 1 {
            return Err(self.fault("measures (M) are not supported".to_owned()));
        }
        if code & SRID != 0 {
            let srid = self.u32()?;
            if srid != WGS84 {
                return Err(self.fault(format!("SRID {srid} is not WGS 84 (4326)")));
            }
        }
        Ok((base, z))
    }

    /// A geometry; within a multi-geometry only the one `kind`.
    fn geometry(&mut self, depth: usize, kind: Option<u32>) -> Result<Geometry<f64>, ShapeError> {
        if depth > MAX_DEPTH {
            return Err(ShapeError::TooDeep { limit: MAX_DEPTH });
        }
        let (base, z) = self.head()?;
        if kind.is_some_and(|kind| kind != base) {
            return Err(self.fault(format!(
                "a part of type {base} is in a multi-geometry of others"
            )));
        }
        // The least any geometry can take: byte order, type, count.
        let members = |reader: &mut Self, kind: Option<u32>| -> Result<Vec<_>, ShapeError> {
            let count = reader.count(9)?;
            let outer = reader.little;
            let mut members = Vec::new();
            for _ in 0..count {
                members.push(reader.geometry(depth + 1, kind)?);
                reader.little = outer;
            }
            Ok(members)
        };
        Ok(match base {
            1 => {
                let c = self.coord(z)?;
                if c.x.is_nan() && c.y.is_nan() {
                    return Err(ShapeError::Empty {
                        part: "a point".to_owned(),
                    });
                }
                Geometry::Point(Point(c))
            }
            2 => Geometry::LineString(self.line(z)?),
            3 => Geometry::Polygon(self.polygon(z)?),
            4 => Geometry::MultiPoint(MultiPoint(only(members(self, Some(1))?))),
            5 => Geometry::MultiLineString(MultiLineString(only(members(self, Some(2))?))),
            6 => Geometry::MultiPolygon(MultiPolygon(only(members(self, Some(3))?))),
            COLLECTION => self.collection(depth)?,
            POLYHEDRAL_SURFACE => {
                return Err(self.fault(format!(
                    "a PolyhedralSurface stands only in a collection of {SOLID_MEMBERS}, behind the footprint of its solid"
                )));
            }
            other => return Err(self.fault(format!("geometry type {other} is not supported"))),
        })
    }
}

impl Reader<'_> {
    /// The members of a collection, or the footprint of the solid that it is.
    fn collection(&mut self, depth: usize) -> Result<Geometry<f64>, ShapeError> {
        // The least any geometry can take: byte order, type, count.
        let count = self.count(9)?;
        let outer = self.little;
        let mut members = Vec::new();
        for number in 0..count {
            if (depth, number, count) == (0, 1, SOLID_MEMBERS) && self.is_surface_next() {
                return self.solid(members.pop());
            }
            members.push(self.geometry(depth + 1, None)?);
            self.little = outer;
        }
        Ok(Geometry::GeometryCollection(GeometryCollection(members)))
    }

    fn is_surface_next(&mut self) -> bool {
        let (at, little) = (self.at, self.little);
        let found = self.head();
        (self.at, self.little) = (at, little);
        found.is_ok_and(|(base, _)| base == POLYHEDRAL_SURFACE)
    }

    /// The surfaces of a solid, behind its footprint.
    fn solid(&mut self, footprint: Option<Geometry<f64>>) -> Result<Geometry<f64>, ShapeError> {
        let footprint = footprint
            .filter(|on| matches!(on, Geometry::Polygon(_) | Geometry::MultiPolygon(_)))
            .ok_or_else(|| ShapeError::Solid {
                reason: "stands on no area".to_owned(),
            })?;
        let mut faces = Builder::default();
        for surface in Surface::ALL {
            let (base, _) = self.head()?;
            if base != POLYHEDRAL_SURFACE {
                return Err(self.fault(format!(
                    "a part of type {base} is where the solid's {} surfaces should be",
                    surface.name()
                )));
            }
            let count = self.count(9)?;
            let outer = self.little;
            for _ in 0..count {
                self.face(surface, &mut faces)?;
                self.little = outer;
            }
        }
        self.solid = Some(faces.finish()?);
        Ok(footprint)
    }

    fn face(&mut self, surface: Surface, faces: &mut Builder) -> Result<(), ShapeError> {
        let (base, z) = self.head()?;
        if base != POLYGON {
            return Err(self.fault(format!("a part of type {base} is among faces")));
        }
        if !z {
            return Err(ShapeError::MixedHeights);
        }
        for _ in 0..self.count(4)? {
            let count = self.count(24)?;
            let mut first = None;
            for number in 1..=count {
                let position = self.position()?;
                let first = *first.get_or_insert(position);
                if number < count {
                    faces.position(position)?;
                } else if position != first {
                    return Err(self.fault("the ring of a face is not closed".to_owned()));
                }
            }
            faces.end_ring()?;
        }
        faces.end_face(surface)
    }

    fn position(&mut self) -> Result<Position, ShapeError> {
        self.spend_vertex()?;
        Ok([self.f64()?, self.f64()?, self.f64()?])
    }
}

/// The members as the one type that the reader has made sure they are.
fn only<T: TryFrom<Geometry<f64>>>(members: Vec<Geometry<f64>>) -> Vec<T> {
    members
        .into_iter()
        .filter_map(|member| T::try_from(member).ok())
        .collect()
}

pub(super) fn write(shape: &Shape) -> Vec<u8> {
    let heights = shape.heights();
    let mut writer = Writer {
        out: Vec::with_capacity(32 + shape.stored_vertices() * 24),
        heights,
        at: 0,
    };
    if let Some(solid) = shape.solid() {
        writer.head(COLLECTION as usize);
        writer.u32(SOLID_MEMBERS);
        writer.geometry(shape.geometry());
        writer.surfaces(solid);
    } else {
        writer.geometry(shape.geometry());
    }
    writer.out
}

struct Writer<'s> {
    out: Vec<u8>,
    heights: Option<&'s [f64]>,
    at: usize,
}

impl Writer<'_> {
    fn u32(&mut self, value: usize) {
        // A shape has at most MAX_VERTICES vertices, hence parts.
        self.out.extend_from_slice(&(value as u32).to_le_bytes());
    }

    fn head(&mut self, kind: usize) {
        self.out.push(1);
        self.u32(if self.heights.is_some() {
            kind + 1000
        } else {
            kind
        });
    }

    fn coord(&mut self, c: Coord<f64>) {
        self.out.extend_from_slice(&c.x.to_le_bytes());
        self.out.extend_from_slice(&c.y.to_le_bytes());
        if let Some(height) = self.heights.and_then(|heights| heights.get(self.at)) {
            self.out.extend_from_slice(&height.to_le_bytes());
        }
        self.at += 1;
    }

    fn line(&mut self, line: &LineString<f64>) {
        self.u32(line.0.len());
        for &c in &line.0 {
            self.coord(c);
        }
    }

    fn polygon(&mut self, polygon: &Polygon<f64>) {
        self.head(3);
        self.u32(1 + polygon.interiors().len());
        self.line(polygon.exterior());
        for ring in polygon.interiors() {
            self.line(ring);
        }
    }

    fn surfaces(&mut self, solid: &Solid) {
        for surface in Surface::ALL {
            let faces = solid.of(surface);
            self.head(POLYHEDRAL_SURFACE as usize);
            self.u32(faces.len());
            for face in faces {
                self.head(POLYGON as usize);
                self.u32(face.rings().count());
                for ring in face.rings() {
                    self.u32(ring.len() + 1);
                    for corner in ring.iter().chain(ring.first()) {
                        for number in solid.positions()[*corner as usize] {
                            self.out.extend_from_slice(&number.to_le_bytes());
                        }
                    }
                }
            }
        }
    }

    fn geometry(&mut self, geometry: &Geometry<f64>) {
        match geometry {
            Geometry::Point(p) => {
                self.head(1);
                self.coord(p.0);
            }
            Geometry::LineString(line) => {
                self.head(2);
                self.line(line);
            }
            Geometry::Polygon(p) => self.polygon(p),
            Geometry::MultiPoint(points) => {
                self.head(4);
                self.u32(points.0.len());
                for p in &points.0 {
                    self.head(1);
                    self.coord(p.0);
                }
            }
            Geometry::MultiLineString(lines) => {
                self.head(5);
                self.u32(lines.0.len());
                for line in &lines.0 {
                    self.head(2);
                    self.line(line);
                }
            }
            Geometry::MultiPolygon(polygons) => {
                self.head(6);
                self.u32(polygons.0.len());
                for p in &polygons.0 {
                    self.polygon(p);
                }
            }
            Geometry::GeometryCollection(members) => {
                self.head(7);
                self.u32(members.0.len());
                for member in &members.0 {
                    self.geometry(member);
                }
            }
            // A shape's constructor turns these into lines and polygons.
            Geometry::Line(_) | Geometry::Rect(_) | Geometry::Triangle(_) => {}
        }
    }
}
