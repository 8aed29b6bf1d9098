//! Shapefiles: a `.shp` with its `.dbf`, `.prj`, `.cpg` and `.shx` beside it, in a folder or a zip.
//!
//! # Invariants
//! - Shapes and rows are read in step, one of each at a time.
//! - What is missing beside the `.shp` is told: without a coordinate system and none in the mapping the
//!   file is refused, without an encoding only UTF-8 is taken, without an index the shapes are found by
//!   reading one after the other.
//! - A shape whose bytes are damaged is refused by itself, as long as the next one can be found.
//! - Which ring is a hole is decided by which ring lies in which, not by their directions: many programs
//!   write them wrong.

use std::path::Path;

use encoding_rs::Encoding;

use super::archive::{Archive, Stream};
use super::crs::{Crs, HOW_TO_GIVE};
use super::dbf::{Row, Table, encoding};
use super::error::FileError;
use super::rings::{Ring, nest};
use super::wkb::Writer;
use super::{Feature, Item, MAX_FEATURE_BYTES, Options, Place, RawGeometry, Wanted, check_columns};

const HEADER_BYTES: usize = 100;
const FILE_CODE: i32 = 9994;
/// What a measure below this means: none.
const NO_DATA: f64 = -1e38;

const REFETCH: &str = "the file is damaged or no shapefile: fetch it again";

/// A shapefile being read.
pub struct ShapefileReader {
    shapes: Stream,
    index: Option<Stream>,
    table: Option<Table>,
    crs: Crs,
    geometry: bool,
    told: Vec<Item>,
    /// How long the file is, as its header says.
    bytes_said: u64,
    /// Rows of the table behind those that have a shape.
    rows_left: u32,
    count: u64,
    deleted: u64,
    turned: u64,
    done: bool,
}

impl std::fmt::Debug for ShapefileReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShapefileReader")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// The files of one shapefile.
struct Parts {
    shp: Stream,
    shx: Option<Stream>,
    dbf: Option<Stream>,
    prj: Option<Stream>,
    cpg: Option<Stream>,
}

impl Parts {
    fn open(path: &Path, layer: Option<&str>) -> Result<Self, FileError> {
        let zipped = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("zip") || e.eq_ignore_ascii_case("shz"));
        if zipped {
            Self::zipped(&Archive::open(path)?, layer)
        } else {
            Self::beside(path)
        }
    }

    /// The file and those with the same name and other endings, in any case.
    fn beside(path: &Path) -> Result<Self, FileError> {
        let part = |ending: &str| {
            let small = path.with_extension(ending);
            let large = path.with_extension(ending.to_ascii_uppercase());
            let found = [small, large].into_iter().find(|path| path.is_file());
            found.map(|path| Stream::plain(&path)).transpose()
        };
        Ok(Self {
            shp: Stream::plain(path)?,
            shx: part("shx")?,
            dbf: part("dbf")?,
            prj: part("prj")?,
            cpg: part("cpg")?,
        })
    }

    fn zipped(archive: &Archive, layer: Option<&str>) -> Result<Self, FileError> {
        let error =
            |reason: String, help: String| Err(FileError::new(archive.path(), "", reason, help));
        let bases: Vec<&str> = archive.names().filter_map(base).collect();
        let named = bases.join("`, `");
        let base = match (layer, &bases[..]) {
            (_, []) => {
                return error(
                    "the archive holds no .shp that can be read".to_owned(),
                    "pack the shapefile without a password, stored or deflated".to_owned(),
                );
            }
            (None, [only]) => only,
            (None, _) => {
                return error(
                    format!("the archive holds {} shapefiles", bases.len()),
                    format!("say which: layer = one of `{named}`"),
                );
            }
            (Some(layer), bases) => {
                let stem = |base: &str| base.rsplit('/').next().unwrap_or(base).to_owned();
                let found = bases.iter().find(|base| {
                    base.eq_ignore_ascii_case(layer) || stem(base).eq_ignore_ascii_case(layer)
                });
                let Some(found) = found else {
                    return error(
                        format!("the archive holds no shapefile `{layer}`"),
                        format!("name one of `{named}`"),
                    );
                };
                found
            }
        };
        let part = |ending: &str| archive.stream(&format!("{base}.{ending}"));
        let Some(shp) = part("shp")? else {
            return error(format!("`{base}.shp` cannot be read"), REFETCH.to_owned());
        };
        Ok(Self {
            shp,
            shx: part("shx")?,
            dbf: part("dbf")?,
            prj: part("prj")?,
            cpg: part("cpg")?,
        })
    }
}

/// The name without `.shp`, where it ends so.
fn base(name: &str) -> Option<&str> {
    let (base, ending) = name.rsplit_once('.')?;
    let hidden = base
        .rsplit('/')
        .next()
        .is_some_and(|stem| stem.starts_with('.'));
    (ending.eq_ignore_ascii_case("shp") && !hidden && !name.starts_with("__MACOSX/"))
        .then_some(base)
}

impl ShapefileReader {
    pub(super) fn open(path: &Path, options: &Options, wanted: &Wanted) -> Result<Self, FileError> {
        let mut told = Vec::new();
        let mut tell =
            |kind: &'static str, reason: String| told.push(Item::Remark { kind, reason });
        let Parts {
            mut shp,
            shx,
            dbf,
            prj,
            cpg,
        } = Parts::open(path, options.layer.as_deref())?;
        let mut head = [0; HEADER_BYTES];
        shp.fill(&mut head, "the header")?;
        if i32::from_be_bytes([head[0], head[1], head[2], head[3]]) != FILE_CODE {
            return Err(shp.error("it does not begin as a shapefile does", REFETCH));
        }
        let words = u32::from_be_bytes([head[24], head[25], head[26], head[27]]);
        let kind = i32::from_le_bytes([head[32], head[33], head[34], head[35]]);
        if matches!(kind, 21 | 23 | 25 | 28) {
            let reason = "measures (M) of its shapes are left out".to_owned();
            tell("measures are left out", reason);
        }
        let crs = if wanted.geometry {
            crs(path, options, prj, &mut tell)?
        } else {
            Crs::wgs84()
        };
        let said = said_encoding(path, options, cpg)?;
        let table = dbf.map(|dbf| Table::open(dbf, said, wanted)).transpose()?;
        if let Some(table) = &table {
            check_columns(path, &table.names(), wanted)?;
            if !table.said() {
                let reason = "no .cpg says how texts are encoded: only UTF-8 is taken";
                tell("no encoding is said", reason.to_owned());
            }
        } else {
            check_columns(path, &[], wanted)?;
            let reason = "there is no .dbf: no attributes";
            tell("a part is missing", reason.to_owned());
        }
        let index = match shx {
            Some(mut index) => {
                let whole = index.fill_some(&mut [0; HEADER_BYTES])? == HEADER_BYTES;
                whole.then_some(index)
            }
            None => None,
        };
        if index.is_none() {
            let reason = "there is no .shx: shapes are found by reading one after the other";
            tell("a part is missing", reason.to_owned());
        }
        told.reverse();
        Ok(Self {
            shapes: shp,
            index,
            table,
            crs,
            geometry: wanted.geometry,
            told,
            bytes_said: u64::from(words) * 2,
            rows_left: 0,
            count: 0,
            deleted: 0,
            turned: 0,
            done: false,
        })
    }

    pub(super) fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        loop {
            if let Some(told) = self.told.pop() {
                return Ok(Some(told));
            }
            if self.done {
                return Ok(None);
            }
            match self.step() {
                Ok(Some(item)) => return Ok(Some(item)),
                Ok(None) if self.done => self.tell_at_end(),
                Ok(None) => {}
                Err(error) => {
                    self.done = true;
                    self.told.clear();
                    return Err(error);
                }
            }
        }
    }

    /// The next feature; `None` where there is none, or after a row that is deleted.
    fn step(&mut self) -> Result<Option<Item>, FileError> {
        let place = Place {
            feature: self.count + 1,
            line: None,
        };
        let shape = match self.next_shape()? {
            Found::End => {
                self.done = true;
                self.rows_left = match &mut self.table {
                    None => 0,
                    Some(table) => table.finish()?,
                };
                return Ok(None);
            }
            Found::Lost(reason) => {
                self.done = true;
                return Err(self.shapes.error(reason, REFETCH));
            }
            Found::Damaged(reason) => Err(reason),
            Found::Shape(bytes) => Ok(bytes),
        };
        let row = match &mut self.table {
            None => Row::Values(std::collections::BTreeMap::new()),
            Some(table) => table.next_row()?,
        };
        let refused = |reason: String| Ok(Some(Item::Refused { place, reason }));
        let values = match row {
            Row::Deleted => {
                self.deleted += 1;
                return Ok(None);
            }
            Row::Values(values) => values,
            Row::End => {
                self.count += 1;
                return refused("there is no row for it in the .dbf".to_owned());
            }
            Row::Refused(reason) => {
                self.count += 1;
                return refused(reason);
            }
        };
        self.count += 1;
        let bytes = match shape {
            Ok(bytes) => bytes,
            Err(reason) => return refused(reason),
        };
        let geometry = if self.geometry {
            match self.geometry(&bytes) {
                Ok(geometry) => geometry,
                Err(reason) => return refused(reason),
            }
        } else {
            None
        };
        Ok(Some(Item::Feature(Feature {
            place,
            values,
            geometry,
        })))
    }

    /// The bytes of the next shape.
    fn next_shape(&mut self) -> Result<Found, FileError> {
        let mut indexed = None;
        if let Some(index) = &mut self.index {
            let mut entry = [0; 8];
            let read = index.fill_some(&mut entry)?;
            if read < entry.len() {
                // Shapes may go on where an index was cut off.
                self.index = None;
            } else {
                let [a, b, c, d, e, f, g, h] = entry;
                let offset = u64::from(u32::from_be_bytes([a, b, c, d])) * 2;
                let length = u64::from(u32::from_be_bytes([e, f, g, h])) * 2;
                indexed = Some((offset, length));
            }
        }
        if let Some((offset, _)) = indexed {
            match offset.checked_sub(self.shapes.given()) {
                None => {
                    // The index is wrong, or shapes stand in another order: what follows is read
                    // in the order of the file.
                    self.index = None;
                    indexed = None;
                }
                Some(0) => {}
                Some(gap) => {
                    if !self.shapes.skip(gap)? {
                        let reason = format!("the index leads to byte {offset}, past the end");
                        return Ok(Found::Lost(reason));
                    }
                }
            }
        }
        let mut head = [0; 8];
        let read = self.shapes.fill_some(&mut head)?;
        if read < head.len() {
            let end = self.shapes.given();
            if let Some((offset, _)) = indexed {
                let reason = format!(
                    "the index names a shape at byte {offset}, and the file ends at byte {end}"
                );
                return Ok(Found::Lost(reason));
            }
            if end < self.bytes_said {
                let reason = format!(
                    "the header says {} bytes, and the file ends at byte {end}",
                    self.bytes_said
                );
                return Ok(Found::Lost(reason));
            }
            if read > 0 {
                self.told.push(Item::Remark {
                    kind: "bytes after the last shape",
                    reason: format!("{read} bytes follow the last shape and mean nothing"),
                });
            }
            return Ok(Found::End);
        }
        let [_, _, _, _, e, f, g, h] = head;
        let said = u64::from(u32::from_be_bytes([e, f, g, h])) * 2;
        let length = match indexed {
            Some((_, length)) => length,
            None => said,
        };
        if length > MAX_FEATURE_BYTES as u64 || length < 4 {
            let reason = format!("a shape of {length} bytes cannot be");
            if self.index.is_none() {
                return Ok(Found::Lost(reason));
            }
            return Ok(Found::Damaged(reason));
        }
        let mut bytes = Vec::new();
        let wanted = length as usize;
        bytes.resize(wanted, 0);
        let read = self.shapes.fill_some(&mut bytes)?;
        if read < wanted {
            return Ok(Found::Lost(format!(
                "a shape of {length} bytes is announced and {read} follow"
            )));
        }
        Ok(Found::Shape(bytes))
    }

    /// The geometry of a shape in WGS 84; `None` for the null shape.
    fn geometry(&mut self, bytes: &[u8]) -> Result<Option<RawGeometry>, String> {
        let mut shape = Shape { bytes, at: 0 };
        let kind = shape.int()?;
        let crs = &self.crs;
        let mut out = Writer::default();
        match kind {
            0 => return Ok(None),
            1 | 11 | 21 => {
                let (x, y) = (shape.float()?, shape.float()?);
                let height = if kind == 11 {
                    Some(shape.float()?)
                } else {
                    None
                };
                let (x, y) = crs.degrees(x, y)?;
                out.head(1, height.is_some());
                out.position(x, y, height.map(|h| crs.metres(h)));
            }
            8 | 18 | 28 => {
                shape.skip(32)?;
                let count = shape.count(16)?;
                let points = shape.points(count, crs)?;
                let heights = shape.heights(kind == 18, count, crs)?;
                if points.is_empty() {
                    return Ok(None);
                }
                out.head(4, heights.is_some());
                out.count(points.len());
                for (number, (x, y)) in points.iter().enumerate() {
                    out.head(1, heights.is_some());
                    out.position(*x, *y, height(heights.as_deref(), number));
                }
            }
            3 | 13 | 23 | 5 | 15 | 25 => {
                let parts = shape.parts(matches!(kind, 13 | 15), crs)?;
                let Some(parts) = parts else { return Ok(None) };
                if kind % 10 == 3 {
                    lines(&parts, &mut out);
                } else {
                    let turned = polygons(&parts, &mut out)?;
                    self.turned += u64::from(turned);
                }
            }
            31 => {
                return Err(
                    "a multipatch is a surface in space and no outline on the ground: export its footprint"
                        .to_owned(),
                );
            }
            other => return Err(format!("shape type {other} is not known")),
        }
        Ok(Some(RawGeometry::Wkb(out.finish())))
    }

    fn tell_at_end(&mut self) {
        let cut = self.table.as_ref().map_or(0, |table| table.cut);
        for (count, kind, what) in [
            (
                u64::from(self.rows_left),
                "rows without a shape",
                "rows of the .dbf stand behind the last that has a shape, and are left out",
            ),
            (
                self.deleted,
                "rows that are deleted",
                "rows are marked as deleted and left out",
            ),
            (
                self.turned,
                "rings in a wrong direction",
                "shapes have rings in a wrong direction; which are holes was told by where they lie",
            ),
            (
                cut,
                "texts that were cut",
                "texts end within a character, which was left out",
            ),
        ] {
            if count > 0 {
                let reason = format!("{count} {what}");
                self.told.push(Item::Remark { kind, reason });
            }
        }
    }
}

/// What stands where the next shape is looked for.
enum Found {
    Shape(Vec<u8>),
    /// It is damaged, and the next one can be found.
    Damaged(String),
    /// Nobody knows where the next one is.
    Lost(String),
    End,
}

fn crs(
    path: &Path,
    options: &Options,
    prj: Option<Stream>,
    tell: &mut impl FnMut(&'static str, String),
) -> Result<Crs, FileError> {
    let given = options.crs.as_deref().map(Crs::parse).transpose();
    let given = given.map_err(|reason| FileError::new(path, "crs of the mapping", reason, ""))?;
    let said = prj.map(Stream::small).transpose()?;
    match (given, said) {
        (Some(crs), None) => {
            tell(
                "a part is missing",
                format!("there is no .prj: {crs} is what the mapping says"),
            );
            Ok(crs)
        }
        (Some(crs), Some(_)) => {
            let reason = format!("the mapping's {crs} was used instead of what the .prj says");
            tell("another coordinate system", reason);
            Ok(crs)
        }
        (None, Some(said)) => {
            Crs::from_wkt(&said).map_err(|reason| FileError::new(path, ".prj", reason, ""))
        }
        (None, None) => Err(FileError::new(
            path,
            "",
            "there is no .prj, so nobody knows which coordinate system it is in",
            HOW_TO_GIVE,
        )),
    }
}

fn said_encoding(
    path: &Path,
    options: &Options,
    cpg: Option<Stream>,
) -> Result<Option<&'static Encoding>, FileError> {
    if let Some(name) = &options.encoding {
        return encoding(name).map(Some).ok_or_else(|| {
            let reason = format!("there is no encoding `{name}`");
            FileError::new(
                path,
                "encoding of the mapping",
                reason,
                "such as UTF-8 or ISO-8859-1",
            )
        });
    }
    let Some(cpg) = cpg else { return Ok(None) };
    let name = cpg.small()?;
    let name = name.trim_start_matches('\u{feff}').trim();
    if name.is_empty() {
        return Ok(None);
    }
    encoding(name).map(Some).ok_or_else(|| {
        let name: String = name.chars().take(40).collect();
        FileError::new(
            path,
            ".cpg",
            format!("the encoding `{name}` is not known"),
            "say encoding = \"…\" in [[file]], such as windows-1252",
        )
    })
}

fn height(heights: Option<&[f64]>, number: usize) -> Option<f64> {
    heights.map(|heights| heights.get(number).copied().unwrap_or_default())
}

/// Lines or rings with what belongs to each of their positions.
struct PartsOf {
    points: Vec<(f64, f64)>,
    heights: Option<Vec<f64>>,
    /// Where each part begins; ascending.
    starts: Vec<usize>,
}

impl PartsOf {
    fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let ends = self
            .starts
            .iter()
            .skip(1)
            .copied()
            .chain([self.points.len()]);
        self.starts
            .iter()
            .copied()
            .zip(ends)
            .map(|(from, to)| from..to)
    }

    fn write(&self, range: std::ops::Range<usize>, out: &mut Writer) {
        out.count(range.len());
        for number in range {
            if let Some((x, y)) = self.points.get(number) {
                out.position(*x, *y, height(self.heights.as_deref(), number));
            }
        }
    }
}

fn lines(parts: &PartsOf, out: &mut Writer) {
    let heights = parts.heights.is_some();
    let ranges: Vec<_> = parts.ranges().filter(|range| !range.is_empty()).collect();
    if ranges.len() != 1 {
        out.head(5, heights);
        out.count(ranges.len());
    }
    for range in ranges {
        out.head(2, heights);
        parts.write(range, out);
    }
}

/// Writes rings as polygons; whether some ring had a wrong direction.
fn polygons(parts: &PartsOf, out: &mut Writer) -> Result<bool, String> {
    let heights = parts.heights.is_some();
    let ranges: Vec<_> = parts.ranges().filter(|range| !range.is_empty()).collect();
    let rings: Vec<Ring<'_>> = ranges
        .iter()
        .filter_map(|range| parts.points.get(range.clone()).map(Ring::new))
        .collect();
    let nested = nest(&rings)?;
    if nested.polygons.len() != 1 {
        out.head(6, heights);
        out.count(nested.polygons.len());
    }
    for polygon in &nested.polygons {
        out.head(3, heights);
        out.count(polygon.len());
        for ring in polygon {
            if let Some(range) = ranges.get(*ring) {
                parts.write(range.clone(), out);
            }
        }
    }
    Ok(nested.turned)
}

struct Shape<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Shape<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let chunk = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>);
        let Some(&chunk) = chunk else {
            return Err(format!("the shape ends early, at byte {}", self.at));
        };
        self.at += N;
        Ok(chunk)
    }

    fn int(&mut self) -> Result<i32, String> {
        Ok(i32::from_le_bytes(self.take()?))
    }

    fn float(&mut self) -> Result<f64, String> {
        Ok(f64::from_le_bytes(self.take()?))
    }

    fn skip(&mut self, bytes: usize) -> Result<(), String> {
        self.at = self.at.saturating_add(bytes);
        if self.at > self.bytes.len() {
            return Err(format!(
                "the shape ends early, at byte {}",
                self.bytes.len()
            ));
        }
        Ok(())
    }

    /// A count of things of at least `size` bytes each.
    fn count(&mut self, size: usize) -> Result<usize, String> {
        let count = self.int()?;
        let possible = (self.bytes.len() - self.at) / size;
        match usize::try_from(count) {
            Ok(count) if count <= possible => Ok(count),
            _ => Err(format!(
                "{count} parts are announced and {possible} can follow"
            )),
        }
    }

    fn points(&mut self, count: usize, crs: &Crs) -> Result<Vec<(f64, f64)>, String> {
        (0..count)
            .map(|_| {
                let (x, y) = (self.float()?, self.float()?);
                crs.degrees(x, y)
            })
            .collect()
    }

    fn heights(&mut self, has: bool, count: usize, crs: &Crs) -> Result<Option<Vec<f64>>, String> {
        if !has {
            return Ok(None);
        }
        // Their range stands in front.
        self.skip(16)?;
        let mut heights = Vec::new();
        for _ in 0..count {
            let height = self.float()?;
            heights.push(if height > NO_DATA {
                crs.metres(height)
            } else {
                0.0
            });
        }
        Ok(Some(heights))
    }

    fn parts(&mut self, has_heights: bool, crs: &Crs) -> Result<Option<PartsOf>, String> {
        self.skip(32)?;
        let parts = self.count(4)?;
        let points = self.count(16)?;
        let mut starts = Vec::with_capacity(parts);
        for _ in 0..parts {
            let start = self.int()?;
            let start = usize::try_from(start).ok().filter(|start| *start <= points);
            let ascending = start.filter(|start| starts.last().is_none_or(|last| last <= start));
            starts.push(ascending.ok_or("its parts begin where there are no points")?);
        }
        if parts == 0 || points == 0 {
            return Ok(None);
        }
        if starts.first() != Some(&0) {
            return Err("its first part does not begin with its first point".to_owned());
        }
        let points = self.points(points, crs)?;
        let heights = self.heights(has_heights, points.len(), crs)?;
        Ok(Some(PartsOf {
            points,
            heights,
            starts,
        }))
    }
}

#[cfg(test)]
mod tests;
