//! GeoPackage: layers of features or attributes in one SQLite file.
//!
//! # Invariants
//! - Rows are read in order of their key, at most [`PAGE_ROWS`] or about [`PAGE_BYTES`] at a time.
//! - A geometry that cannot be read (curves, extended types, foreign reference systems) refuses its
//!   feature, with the reason; an empty one is none.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::ValueRef;

use super::crs::{Crs, HOW_TO_GIVE};
use super::error::FileError;
use super::sqlite::{Database, cell, quoted};
use super::wkb::rewrite;
use super::{
    Cell, Feature, Item, MAX_FEATURE_BYTES, Options, Place, RawGeometry, Wanted, check_columns,
};

/// Rows read at a time.
const PAGE_ROWS: i64 = 256;
/// Bytes of geometry after which a page ends.
const PAGE_BYTES: usize = 4 << 20;
/// Most layers that are looked at.
const MAX_LAYERS: usize = 10_000;
/// `GP10`, `GP11` and `GPKG`, by which a GeoPackage calls itself.
const APPLICATION_IDS: [i64; 3] = [0x4750_3130, 0x4750_3131, 0x4750_4b47];

const REFETCH: &str = "the file is damaged or no GeoPackage: fetch it again";

/// A layer being read.
pub struct GeoPackageReader {
    database: Database,
    statement: String,
    /// Columns in the order of the statement, behind key and geometry.
    columns: Vec<(Arc<str>, String)>,
    geometry: Option<Shapes>,
    page: VecDeque<Item>,
    /// The last key that was read.
    last: i64,
    expected: u64,
    count: u64,
    measures: u64,
    done: bool,
}

/// What the layer's geometries are.
struct Shapes {
    crs: Crs,
    srs: i64,
}

impl std::fmt::Debug for GeoPackageReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GeoPackageReader")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl GeoPackageReader {
    pub(super) fn open(path: &Path, options: &Options, wanted: &Wanted) -> Result<Self, FileError> {
        let database = Database::open(path)?;
        let mut page = VecDeque::new();
        let mut application = 0;
        database.rows("", "PRAGMA application_id", &[], |row| {
            application = row.get(0)?;
            Ok(true)
        })?;
        if !database.has("gpkg_contents")? {
            let reason = "it is a database without gpkg_contents, so no GeoPackage";
            return Err(FileError::new(path, "", reason, REFETCH));
        }
        if !APPLICATION_IDS.contains(&application) {
            page.push_back(Item::Remark {
                kind: "no mark of a GeoPackage",
                reason: format!("its application id is {application}, not that of a GeoPackage"),
            });
        }
        let layer = layer(&database, options.layer.as_deref())?;
        let at = format!("layer {layer}");
        let columns = database.columns(&layer)?;
        let has = |name: &str| {
            columns
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        // What every row of a table has, by the first of its names that no column bears.
        let key = ["rowid", "_rowid_", "oid"]
            .into_iter()
            .find(|name| !has(name));
        let key = match key {
            Some(key) if database.has_rows(&layer)? => key.to_owned(),
            _ => {
                let reason = "the layer has no key: it is a view, or no table at all";
                let help = "copy it into a table with an integer primary key";
                return Err(FileError::new(path, at, reason, help));
            }
        };
        let names: Vec<Arc<str>> = columns.iter().map(|(name, _)| Arc::clone(name)).collect();
        let (column, geometry) = match shapes(&database, &layer)? {
            Some((column, srs)) if wanted.geometry => {
                let crs = crs(&database, &layer, srs, options, &mut page)?;
                (Some(column), Some(Shapes { crs, srs }))
            }
            None if wanted.geometry => {
                let reason = "the layer has attributes and no geometry";
                let help = "name a layer of features, or take no geometry from it";
                return Err(FileError::new(path, at, reason, help));
            }
            other => (other.map(|(column, _)| column), None),
        };
        check_columns(path, &names, wanted)?;
        let columns: Vec<(Arc<str>, String)> = columns
            .into_iter()
            .filter(|(name, _)| {
                let geometry = column.as_deref() == Some(&**name);
                !geometry && (wanted.columns.is_empty() || wanted.columns.contains(name))
            })
            .collect();
        let mut selected = vec![key.clone()];
        match column.as_deref().filter(|_| geometry.is_some()) {
            Some(column) => {
                let column = quoted(column);
                selected.push(format!("length({column})"));
                // Bytes beyond the limit are not even fetched.
                selected.push(format!(
                    "CASE WHEN length({column}) < {MAX_FEATURE_BYTES} THEN {column} END"
                ));
            }
            None => selected.extend(["0".to_owned(), "NULL".to_owned()]),
        }
        selected.extend(columns.iter().map(|(name, _)| quoted(name)));
        let table = quoted(&layer);
        let statement = format!(
            "SELECT {} FROM {table} WHERE {key} > ?1 ORDER BY {key} LIMIT {PAGE_ROWS}",
            selected.join(", ")
        );
        let mut expected = 0;
        database.rows(&at, &format!("SELECT count(*) FROM {table}"), &[], |row| {
            expected = row.get::<_, i64>(0)?;
            Ok(true)
        })?;
        let mut reader = Self {
            database,
            statement,
            columns,
            geometry,
            page,
            last: i64::MIN,
            expected: u64::try_from(expected).unwrap_or(0),
            count: 0,
            measures: 0,
            done: false,
        };
        // The least key of all has none before it.
        reader.first_key(&key, &table, &at)?;
        Ok(reader)
    }

    fn first_key(&mut self, key: &str, table: &str, at: &str) -> Result<(), FileError> {
        let mut first = None;
        let statement = format!("SELECT min({key}) FROM {table}");
        self.database.rows(at, &statement, &[], |row| {
            first = row.get(0)?;
            Ok(true)
        })?;
        match first {
            None => self.done = true,
            Some(i64::MIN) => {
                let reason = "a key is the least number there is";
                return Err(FileError::new(self.database.path(), at, reason, REFETCH));
            }
            Some(first) => self.last = first - 1,
        }
        Ok(())
    }

    pub(super) fn expected(&self) -> u64 {
        self.expected
    }

    pub(super) fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        loop {
            if let Some(item) = self.page.pop_front() {
                return Ok(Some(item));
            }
            if self.done {
                return Ok(None);
            }
            if let Err(error) = self.read_page() {
                self.done = true;
                self.page.clear();
                return Err(error);
            }
        }
    }

    fn read_page(&mut self) -> Result<(), FileError> {
        let at = format!("after feature {}", self.count);
        let (mut rows, mut bytes, mut whole) = (Vec::new(), 0_usize, true);
        let mut last = self.last;
        let columns = &self.columns;
        let shapes = self.geometry.as_ref();
        self.database
            .rows(&at, &self.statement, &[self.last], |row| {
                last = row.get(0)?;
                let length = row.get::<_, Option<i64>>(1)?.unwrap_or(0);
                let geometry = row.get_ref(2)?;
                bytes += usize::try_from(length).unwrap_or(0).min(MAX_FEATURE_BYTES);
                let row = read_row(row, last, length, geometry, shapes, columns)?;
                if let Ok((values, ..)) = &row {
                    bytes += values.values().map(Cell::held_bytes).sum::<usize>();
                }
                rows.push(row);
                whole = bytes < PAGE_BYTES;
                Ok(whole)
            })?;
        if whole && rows.len() < usize::try_from(PAGE_ROWS).unwrap_or(0) {
            self.done = true;
        }
        self.last = last;
        for row in rows {
            self.count += 1;
            let place = Place {
                feature: self.count,
                line: None,
            };
            self.page.push_back(match row {
                Ok((values, geometry, measures)) => {
                    self.measures += u64::from(measures);
                    Item::Feature(Feature {
                        place,
                        values,
                        geometry,
                    })
                }
                Err(reason) => Item::Refused { place, reason },
            });
        }
        if self.done && self.measures > 0 {
            let reason = format!("measures (M) of {} features are left out", self.measures);
            self.page.push_back(Item::Remark {
                kind: "measures are left out",
                reason,
            });
        }
        Ok(())
    }
}

type Read = Result<(BTreeMap<Arc<str>, Cell>, Option<RawGeometry>, bool), String>;

fn read_row(
    row: &rusqlite::Row<'_>,
    key: i64,
    length: i64,
    geometry: ValueRef<'_>,
    shapes: Option<&Shapes>,
    columns: &[(Arc<str>, String)],
) -> rusqlite::Result<Read> {
    let mut values = BTreeMap::from([(Arc::from("$id"), Cell::Int(key))]);
    for (number, (name, declared)) in columns.iter().enumerate() {
        match cell(name, row.get_ref(3 + number)?, declared) {
            Ok(cell) => {
                values.insert(Arc::clone(name), cell);
            }
            Err(reason) => return Ok(Err(reason)),
        }
    }
    let Some(shapes) = shapes else {
        return Ok(Ok((values, None, false)));
    };
    Ok(match geometry {
        ValueRef::Null if length > 0 => Err(format!(
            "its geometry of {length} bytes is more than the limit of {MAX_FEATURE_BYTES}"
        )),
        ValueRef::Null => Ok((values, None, false)),
        ValueRef::Blob(bytes) => unpack(bytes, shapes).map(|shape| match shape {
            None => (values, None, false),
            Some((wkb, measures)) => (values, Some(RawGeometry::Wkb(wkb)), measures),
        }),
        _ => Err("its geometry is no bytes".to_owned()),
    })
}

/// WKB out of the envelope that a GeoPackage puts around it, in WGS 84, and whether it had measures;
/// `None` if it is empty.
fn unpack(bytes: &[u8], shapes: &Shapes) -> Result<Option<(Vec<u8>, bool)>, String> {
    let Some((&[b'G', b'P', version, flags, a, b, c, d], rest)) = bytes.split_first_chunk::<8>()
    else {
        return Err("its geometry does not begin as one of a GeoPackage does".to_owned());
    };
    if version != 0 {
        return Err(format!(
            "its geometry is of version {version}, which is not known"
        ));
    }
    if flags & 0x20 != 0 {
        let name = rest.get(..4).unwrap_or_default().escape_ascii().to_string();
        return Err(format!(
            "its geometry is of the extended type {name}, which is not read"
        ));
    }
    let srs = if flags & 1 == 1 {
        i32::from_le_bytes([a, b, c, d])
    } else {
        i32::from_be_bytes([a, b, c, d])
    };
    if i64::from(srs) != shapes.srs && !matches!(srs, 0 | -1) {
        return Err(format!(
            "its geometry is in the system {srs}, that of its layer is {}",
            shapes.srs
        ));
    }
    let envelope = match flags >> 1 & 7 {
        0 => 0,
        1 => 32,
        2 | 3 => 48,
        4 => 64,
        other => return Err(format!("its geometry has an envelope of kind {other}")),
    };
    let Some(wkb) = rest.get(envelope..) else {
        return Err("its geometry ends inside its envelope".to_owned());
    };
    let written = rewrite(wkb, &shapes.crs)?;
    let empty = written.empty || flags & 0x10 != 0;
    Ok((!empty).then_some((written.wkb, written.measures)))
}

/// The layer of a name, or the only one.
fn layer(database: &Database, wanted: Option<&str>) -> Result<String, FileError> {
    let mut layers: Vec<String> = Vec::new();
    let statement = "SELECT table_name FROM gpkg_contents \
                     WHERE data_type IN ('features', 'attributes') ORDER BY table_name";
    database.rows("gpkg_contents", statement, &[], |row| {
        layers.push(row.get(0)?);
        Ok(layers.len() < MAX_LAYERS)
    })?;
    let named = layers.join("`, `");
    let error = |reason: String, help: String| {
        Err(FileError::new(
            database.path(),
            "gpkg_contents",
            reason,
            help,
        ))
    };
    match (wanted, &layers[..]) {
        (_, []) => error(
            "it has no layer of features".to_owned(),
            "fetch it again".to_owned(),
        ),
        (None, [only]) => Ok(only.clone()),
        (None, _) => error(
            format!("it has {} layers", layers.len()),
            format!("say which: layer = one of `{named}`"),
        ),
        (Some(wanted), layers) => {
            if let Some(found) = layers
                .iter()
                .find(|layer| layer.eq_ignore_ascii_case(wanted))
            {
                return Ok(found.clone());
            }
            let close = ontology::closest(wanted, layers.iter().map(String::as_str));
            let hint = close.map_or_else(
                || format!("name one of `{named}`"),
                |close| format!("did you mean `{close}`?"),
            );
            error(format!("there is no layer `{wanted}`"), hint)
        }
    }
}

/// The layer's column of geometry and its system.
fn shapes(database: &Database, layer: &str) -> Result<Option<(String, i64)>, FileError> {
    if !database.has("gpkg_geometry_columns")? {
        return Ok(None);
    }
    let mut found = None;
    let statement = "SELECT table_name, column_name, srs_id FROM gpkg_geometry_columns";
    database.rows("gpkg_geometry_columns", statement, &[], |row| {
        let table: String = row.get(0)?;
        if table.eq_ignore_ascii_case(layer) {
            found = Some((row.get(1)?, row.get(2)?));
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}

fn crs(
    database: &Database,
    layer: &str,
    srs: i64,
    options: &Options,
    told: &mut VecDeque<Item>,
) -> Result<Crs, FileError> {
    let at = format!("layer {layer}");
    let refuse =
        |reason: String, help: &str| Err(FileError::new(database.path(), &*at, reason, help));
    let (mut organisation, mut code, mut definition) = (String::new(), 0_i64, String::new());
    let statement = "SELECT organization, organization_coordsys_id, definition \
                     FROM gpkg_spatial_ref_sys WHERE srs_id = ?1";
    database.rows("gpkg_spatial_ref_sys", statement, &[srs], |row| {
        organisation = row.get::<_, Option<String>>(0)?.unwrap_or_default();
        code = row.get::<_, Option<i64>>(1)?.unwrap_or_default();
        definition = row.get::<_, Option<String>>(2)?.unwrap_or_default();
        Ok(false)
    })?;
    let known = srs != 0 && srs != -1 && !organisation.is_empty();
    if let Some(given) = options.crs.as_deref() {
        let crs = match Crs::parse(given) {
            Ok(crs) => crs,
            Err(reason) => return refuse(reason, ""),
        };
        if known {
            told.push_back(Item::Remark {
                kind: "another coordinate system",
                reason: format!(
                    "the mapping's {crs} was used instead of the layer's {organisation}:{code}"
                ),
            });
        }
        return Ok(crs);
    }
    if !known {
        let reason = format!("its coordinate system {srs} is undefined");
        return refuse(reason, HOW_TO_GIVE);
    }
    let registered = match u32::try_from(code) {
        Ok(code) if organisation.eq_ignore_ascii_case("EPSG") => Crs::from_epsg(code),
        _ => Err(format!(
            "its coordinate system {organisation}:{code} is not of EPSG"
        )),
    };
    match registered {
        Ok(crs) => Ok(crs),
        Err(reason) if definition.contains('[') => Crs::from_wkt(&definition)
            .or_else(|second| refuse(format!("{reason}; by its definition: {second}"), "")),
        Err(reason) => refuse(reason, HOW_TO_GIVE),
    }
}

#[cfg(test)]
mod tests;
