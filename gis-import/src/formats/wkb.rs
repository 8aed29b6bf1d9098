//! Well-known binary of anyone's making into ISO WKB in WGS 84.
//!
//! # Invariants
//! - What is written is little-endian ISO WKB without SRID and without measures, and holds the vertices
//!   that were read, each moved by the coordinate system.
//! - Nothing is reserved that the bytes at hand could not fill; nesting is bounded; nothing panics.
//!
//! Whether the geometry is valid is not asked here.

use super::crs::Crs;

/// Most levels of geometries within geometries.
const MAX_NESTING: usize = 16;
/// Flags of extended WKB.
const EWKB_Z: u32 = 0x8000_0000;
const EWKB_M: u32 = 0x4000_0000;
const EWKB_SRID: u32 = 0x2000_0000;

const CURVES: &str =
    "only straight edges are read: straighten it, for example with ogr2ogr -nlt CONVERT_TO_LINEAR";

/// A geometry as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    pub(super) wkb: Vec<u8>,
    /// Whether measures were left out.
    pub(super) measures: bool,
    /// Whether it has no vertex.
    pub(super) empty: bool,
}

/// Writes a geometry anew in WGS 84.
pub(super) fn rewrite(bytes: &[u8], crs: &Crs) -> Result<Written, String> {
    let mut rewriter = Rewriter {
        bytes,
        at: 0,
        little: true,
        crs,
        out: Vec::with_capacity(bytes.len()),
        measures: false,
        vertices: 0,
    };
    rewriter.geometry(0, None)?;
    if rewriter.at != bytes.len() {
        return Err(format!("bytes follow the geometry at byte {}", rewriter.at));
    }
    Ok(Written {
        wkb: rewriter.out,
        measures: rewriter.measures,
        empty: rewriter.vertices == 0,
    })
}

/// What a position has beside its place.
#[derive(Clone, Copy)]
struct Extra {
    height: bool,
    measure: bool,
}

impl Extra {
    fn size(self) -> usize {
        16 + 8 * (usize::from(self.height) + usize::from(self.measure))
    }
}

struct Rewriter<'b> {
    bytes: &'b [u8],
    at: usize,
    little: bool,
    crs: &'b Crs,
    out: Vec<u8>,
    measures: bool,
    vertices: usize,
}

impl Rewriter<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let chunk = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>);
        let Some(&chunk) = chunk else {
            return Err(format!("the geometry ends early, at byte {}", self.at));
        };
        self.at += N;
        Ok(chunk)
    }

    fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.take()?;
        Ok(if self.little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    }

    fn f64(&mut self) -> Result<f64, String> {
        let bytes = self.take()?;
        Ok(if self.little {
            f64::from_le_bytes(bytes)
        } else {
            f64::from_be_bytes(bytes)
        })
    }

    /// A count of things of at least `size` bytes, copied.
    fn count(&mut self, size: usize) -> Result<usize, String> {
        let count = self.u32()?;
        let possible = (self.bytes.len() - self.at) / size;
        if count as usize > possible {
            return Err(format!(
                "{count} parts are announced at byte {} and {possible} can follow",
                self.at
            ));
        }
        self.out.extend_from_slice(&count.to_le_bytes());
        Ok(count as usize)
    }

    fn position(&mut self, extra: Extra) -> Result<(), String> {
        let (x, y) = (self.f64()?, self.f64()?);
        let height = if extra.height {
            Some(self.f64()?)
        } else {
            None
        };
        if extra.measure {
            self.f64()?;
            self.measures = true;
        }
        // How a point without a place is written.
        let (x, y) = if x.is_nan() && y.is_nan() {
            (x, y)
        } else {
            self.vertices += 1;
            self.crs.degrees(x, y)?
        };
        self.out.extend_from_slice(&x.to_le_bytes());
        self.out.extend_from_slice(&y.to_le_bytes());
        if let Some(height) = height {
            let metres = self.crs.metres(height);
            self.out.extend_from_slice(&metres.to_le_bytes());
        }
        Ok(())
    }

    fn line(&mut self, extra: Extra) -> Result<(), String> {
        for _ in 0..self.count(extra.size())? {
            self.position(extra)?;
        }
        Ok(())
    }

    /// A geometry; within a multi-geometry only of the one `kind`.
    fn geometry(&mut self, depth: usize, kind: Option<u32>) -> Result<(), String> {
        if depth > MAX_NESTING {
            return Err(format!("it nests deeper than {MAX_NESTING} levels"));
        }
        self.little = match self.take::<1>()? {
            [0] => false,
            [1] => true,
            [other] => return Err(format!("{other} is not a byte order, at byte {}", self.at)),
        };
        let code = self.u32()?;
        let plain = code & !(EWKB_Z | EWKB_M | EWKB_SRID);
        let (base, thousands) = (plain % 1000, plain / 1000);
        if thousands > 3 {
            return Err(format!("geometry type {code} is not known"));
        }
        let extra = Extra {
            height: code & EWKB_Z != 0 || matches!(thousands, 1 | 3),
            measure: code & EWKB_M != 0 || matches!(thousands, 2 | 3),
        };
        if code & EWKB_SRID != 0 {
            // The file says its system; a number in each geometry could only repeat it.
            self.u32()?;
        }
        if kind.is_some_and(|kind| kind != base) {
            return Err(format!(
                "a part of type {base} is in a multi-geometry of others"
            ));
        }
        if let Some(name) = curve(base) {
            return Err(format!("it is a {name}, and {CURVES}"));
        }
        self.out.push(1);
        let written = base + if extra.height { 1000 } else { 0 };
        self.out.extend_from_slice(&written.to_le_bytes());
        match base {
            1 => self.position(extra),
            2 => self.line(extra),
            3 => {
                for _ in 0..self.count(4)? {
                    self.line(extra)?;
                }
                Ok(())
            }
            4..=7 => {
                // The least any geometry takes: byte order, type, count.
                let count = self.count(9)?;
                let outer = self.little;
                for _ in 0..count {
                    self.geometry(depth + 1, (base < 7).then_some(base - 3))?;
                    self.little = outer;
                }
                Ok(())
            }
            other => Err(format!("geometry type {other} is not known")),
        }
    }
}

fn curve(base: u32) -> Option<&'static str> {
    Some(match base {
        8 => "CircularString",
        9 => "CompoundCurve",
        10 => "CurvePolygon",
        11 => "MultiCurve",
        12 => "MultiSurface",
        13 => "Curve",
        14 => "Surface",
        15 => "PolyhedralSurface",
        16 => "TIN",
        17 => "Triangle",
        _ => return None,
    })
}

/// Writes ISO WKB from positions, little-endian.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(super) fn head(&mut self, kind: u32, heights: bool) {
        self.out.push(1);
        let kind = if heights { kind + 1000 } else { kind };
        self.out.extend_from_slice(&kind.to_le_bytes());
    }

    pub(super) fn count(&mut self, count: usize) {
        // Callers bound their parts by the bytes of a feature, far below this.
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.out.extend_from_slice(&count.to_le_bytes());
    }

    pub(super) fn position(&mut self, x: f64, y: f64, height: Option<f64>) {
        self.out.extend_from_slice(&x.to_le_bytes());
        self.out.extend_from_slice(&y.to_le_bytes());
        if let Some(height) = height {
            self.out.extend_from_slice(&height.to_le_bytes());
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(code: u32, numbers: &[f64], big: bool) -> Vec<u8> {
        let mut bytes = vec![u8::from(!big)];
        if big {
            bytes.extend(code.to_be_bytes());
            for number in numbers {
                bytes.extend(number.to_be_bytes());
            }
        } else {
            bytes.extend(code.to_le_bytes());
            for number in numbers {
                bytes.extend(number.to_le_bytes());
            }
        }
        bytes
    }

    fn expected(code: u32, numbers: &[f64]) -> Vec<u8> {
        point(code, numbers, false)
    }

    #[test]
    fn measures_are_left_out_and_heights_stay() {
        let crs = Crs::wgs84();
        for big in [false, true] {
            for (code, numbers, want, measures) in [
                (1, vec![30.0, -2.0], expected(1, &[30.0, -2.0]), false),
                (
                    1001,
                    vec![30.0, -2.0, 9.0],
                    expected(1001, &[30.0, -2.0, 9.0]),
                    false,
                ),
                (
                    2001,
                    vec![30.0, -2.0, 5.0],
                    expected(1, &[30.0, -2.0]),
                    true,
                ),
                (
                    3001,
                    vec![30.0, -2.0, 9.0, 5.0],
                    expected(1001, &[30.0, -2.0, 9.0]),
                    true,
                ),
                (
                    EWKB_Z | EWKB_M | 1,
                    vec![30.0, -2.0, 9.0, 5.0],
                    expected(1001, &[30.0, -2.0, 9.0]),
                    true,
                ),
            ] {
                let written = rewrite(&point(code, &numbers, big), &crs).unwrap();
                assert_eq!(
                    (written.wkb, written.measures, written.empty),
                    (want, measures, false)
                );
            }
        }
    }

    #[test]
    fn what_has_no_vertex_is_empty() {
        let crs = Crs::wgs84();
        let nan = point(1, &[f64::NAN, f64::NAN], false);
        assert!(rewrite(&nan, &crs).unwrap().empty);
        let mut line = vec![1, 2, 0, 0, 0];
        line.extend(0_u32.to_le_bytes());
        assert!(rewrite(&line, &crs).unwrap().empty);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let crs = Crs::wgs84();
        let told = |bytes: &[u8]| rewrite(bytes, &crs).unwrap_err();
        assert!(told(&[]).contains("ends early"));
        assert!(told(&[2, 1, 0, 0, 0]).contains("not a byte order"));
        assert!(told(&[1, 10, 0, 0, 0, 0, 0, 0, 0]).contains("CurvePolygon"));
        assert!(told(&[1, 2, 0, 0, 0, 255, 255, 255, 255]).contains("can follow"));
        let mut long = point(1, &[1.0, 2.0], false);
        long.push(0);
        assert!(told(&long).contains("follow the geometry"));
        // Collections within collections beyond any use.
        let mut deep = Vec::new();
        for _ in 0..40 {
            deep.extend([1, 7, 0, 0, 0, 1, 0, 0, 0]);
        }
        deep.extend(point(1, &[1.0, 2.0], false));
        assert!(told(&deep).contains("nests deeper"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            rewrite(&bytes, &Crs::wgs84()).ok();
        }
    }
}
