//! Parquet and GeoParquet, read in batches of rows, only the columns that are wanted.
//!
//! # Invariants
//! - At most `BATCH_ROWS` rows are decoded at a time.
//! - Every call into the libraries runs behind `catch_unwind`: they may panic on invalid files.
//! - Geometry is WKB; any other encoding is refused, and so is a system that is not known.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, LargeBinaryArray, RecordBatch,
};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, UInt64Type};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;

use super::crs::Crs;
use super::error::FileError;
use super::input::{Input, MAX_INFLATED_PARQUET_BYTES};
use super::wkb::rewrite;
use super::{
    Cell, Feature, Item, MAX_COLUMNS, MAX_FEATURE_BYTES, Options, Place, RawGeometry, Wanted,
    check_columns,
};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 256;

const REFETCH: &str = "the file is damaged or not Parquet: fetch it again or check its format";

/// A Parquet file being read.
pub struct ParquetReader {
    path: PathBuf,
    batches: Option<ParquetRecordBatchReader>,
    batch: Option<Batch>,
    geometry: Option<(String, Crs)>,
    expected: Option<u64>,
    count: u64,
}

struct Batch {
    columns: Vec<(Arc<str>, Column)>,
    geometry: Option<Binary>,
    rows: usize,
    next: usize,
}

/// A column as one of few types.
enum Column {
    Int(ArrayRef),
    Unsigned(ArrayRef),
    Float(ArrayRef),
    Bool(ArrayRef),
    Text(ArrayRef),
}

enum Binary {
    Small(BinaryArray),
    Large(LargeBinaryArray),
    View(BinaryViewArray),
}

impl std::fmt::Debug for ParquetReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetReader")
            .field("path", &self.path)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl ParquetReader {
    pub(super) fn open(path: &Path, options: &Options, wanted: &Wanted) -> Result<Self, FileError> {
        let mut input = Input::open_limited(path, MAX_INFLATED_PARQUET_BYTES)?;
        if input.is_gzip() {
            let mut inflated = Vec::new();
            if let Err(error) = input.read_to_end(&mut inflated) {
                return Err(input.failure(&error));
            }
            check_magic(path, inflated.get(..4).unwrap_or_default())?;
            Self::open_chunks(path, Bytes::from(inflated), options, wanted)
        } else {
            let mut magic = [0; 4];
            let read = input
                .read(&mut magic)
                .map_err(|error| input.failure(&error))?;
            check_magic(path, magic.get(..read).unwrap_or_default())?;
            let file = File::open(path).map_err(|error| input.failure(&error))?;
            Self::open_chunks(path, file, options, wanted)
        }
    }

    fn open_chunks<C: ChunkReader + 'static>(
        path: &Path,
        chunks: C,
        options: &Options,
        wanted: &Wanted,
    ) -> Result<Self, FileError> {
        let builder = guard(path, "footer", || {
            ParquetRecordBatchReaderBuilder::try_new(chunks)
        })?;
        let schema = Arc::clone(builder.schema());
        let names: Vec<Arc<str>> = schema
            .fields()
            .iter()
            .map(|f| Arc::from(f.name().as_str()))
            .collect();
        if names.len() > MAX_COLUMNS {
            return Err(FileError::new(
                path,
                "schema",
                format!(
                    "{} columns are more than the limit of {MAX_COLUMNS}",
                    names.len()
                ),
                "leave columns out",
            ));
        }
        check_columns(path, &names, wanted)?;
        let geometry = if wanted.geometry {
            let metadata = builder.metadata().file_metadata().key_value_metadata();
            let geo = metadata
                .and_then(|pairs| pairs.iter().find(|pair| pair.key == "geo"))
                .and_then(|pair| pair.value.as_deref());
            Some(geometry_column(path, geo, &names, options.crs.as_deref())?)
        } else {
            None
        };
        for field in schema.fields() {
            if wanted.columns.contains(field.name().as_str()) && target(field.data_type()).is_none()
            {
                return Err(FileError::new(
                    path,
                    format!("column `{}`", field.name()),
                    format!("values of type {} are not read", field.data_type()),
                    "store them as numbers, texts, truth values, dates or instants",
                ));
            }
        }
        let expected = u64::try_from(builder.metadata().file_metadata().num_rows()).ok();
        let roots: Vec<usize> = names
            .iter()
            .enumerate()
            .filter(|(_, name)| {
                let shapes = geometry
                    .as_ref()
                    .is_some_and(|(shapes, _)| **shapes == ***name);
                wanted.columns.contains(*name) || shapes
            })
            .map(|(index, _)| index)
            .collect();
        let batches = guard(path, "row group 1", || {
            let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
            builder
                .with_projection(mask)
                .with_batch_size(BATCH_ROWS)
                .build()
        })?;
        let (path, batches) = (path.to_owned(), Some(batches));
        Ok(Self {
            path,
            batches,
            batch: None,
            geometry,
            expected,
            count: 0,
        })
    }

    pub(super) fn expected(&self) -> Option<u64> {
        self.expected
    }

    pub(super) fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        loop {
            if let Some(batch) = &mut self.batch {
                if batch.next < batch.rows {
                    let row = batch.next;
                    batch.next += 1;
                    self.count += 1;
                    let place = Place {
                        feature: self.count,
                        line: None,
                    };
                    let crs = self.geometry.as_ref().map(|(_, crs)| crs);
                    return Ok(Some(batch.item(row, place, crs)));
                }
                self.batch = None;
            }
            let Some(batches) = &mut self.batches else {
                return Ok(None);
            };
            let at = format!("after row {}", self.count);
            let geometry = self.geometry.as_ref().map(|(name, _)| name.as_str());
            let next = guard(&self.path, &at, || match batches.next() {
                None => Ok(None),
                Some(Err(error)) => Err(error.to_string()),
                Some(Ok(batch)) => Batch::new(&batch, geometry).map(Some),
            });
            match next {
                Ok(Some(batch)) => self.batch = Some(batch),
                end => {
                    self.batches = None;
                    return end.map(|_| None);
                }
            }
        }
    }
}

/// Runs what may panic on an invalid file.
fn guard<T, E: std::fmt::Display>(
    path: &Path,
    at: &str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, FileError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(FileError::new(path, at, error.to_string(), REFETCH)),
        Err(_) => Err(FileError::new(
            path,
            at,
            "the content makes no sense",
            REFETCH,
        )),
    }
}

fn check_magic(path: &Path, start: &[u8]) -> Result<(), FileError> {
    if start == b"PAR1" {
        return Ok(());
    }
    Err(FileError::new(
        path,
        "byte 0",
        "it does not begin with PAR1, so it is not Parquet",
        REFETCH,
    ))
}

/// The column of WKB and its system, as the file's `geo` metadata name them.
fn geometry_column(
    path: &Path,
    geo: Option<&str>,
    names: &[Arc<str>],
    given: Option<&str>,
) -> Result<(String, Crs), FileError> {
    let error =
        |reason: String, help: &str| Err(FileError::new(path, "geo metadata", reason, help));
    let Some(geo) = geo else {
        return error(
            "there are none, so the file names no geometry".to_owned(),
            "write it as GeoParquet, or take the geometry from columns in the mapping",
        );
    };
    let geo: serde_json::Value = match serde_json::from_str(geo) {
        Ok(geo) => geo,
        Err(bad) => return error(format!("they are not JSON: {bad}"), "write the file again"),
    };
    let Some(name) = geo
        .get("primary_column")
        .and_then(serde_json::Value::as_str)
    else {
        return error(
            "they name no primary_column".to_owned(),
            "write the file again",
        );
    };
    if !names.iter().any(|known| **known == *name) {
        return error(
            format!("their column `{name}` does not exist"),
            "write the file again",
        );
    }
    let column = geo.get("columns").and_then(|columns| columns.get(name));
    let member = |key: &str| column.and_then(|c| c.get(key));
    let encoding = member("encoding")
        .and_then(serde_json::Value::as_str)
        .unwrap_or("(none)");
    if encoding != "WKB" {
        return error(
            format!("column `{name}` is encoded as {encoding}"),
            "only WKB is read: write it with geometry_encoding WKB",
        );
    }
    if member("edges").is_some_and(|edges| edges != "planar") {
        return error(
            format!("the edges of `{name}` are not planar"),
            "edges must be straight in longitude/latitude: densify them",
        );
    }
    if let Some(given) = given {
        return match Crs::parse(given) {
            Ok(crs) => Ok((name.to_owned(), crs)),
            Err(reason) => error(reason, ""),
        };
    }
    match member("crs") {
        None => Ok((name.to_owned(), Crs::wgs84())),
        Some(crs) if is_wgs84(crs) => Ok((name.to_owned(), Crs::wgs84())),
        Some(serde_json::Value::Null) => error(
            format!("the coordinate system of `{name}` is given as unknown"),
            "say it in the mapping: crs = \"OGC:CRS84\" if it is longitude/latitude in WGS 84",
        ),
        Some(crs) => match Crs::parse(&code(crs)) {
            Ok(crs) => Ok((name.to_owned(), crs)),
            Err(reason) => {
                let known = crs
                    .get("name")
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or("unnamed");
                error(
                    format!("the coordinates of `{name}` are in {known}: {reason}"),
                    "",
                )
            }
        },
    }
}

/// Authority and code of PROJJSON, as a text.
fn code(crs: &serde_json::Value) -> String {
    let part = |pointer: &str| match crs.pointer(pointer) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    format!("{}:{}", part("/id/authority"), part("/id/code"))
}

/// Whether PROJJSON is longitude/latitude in WGS 84 (GeoParquet fixes the order of the axes).
fn is_wgs84(crs: &serde_json::Value) -> bool {
    let authority = crs
        .pointer("/id/authority")
        .and_then(serde_json::Value::as_str);
    let code = crs.pointer("/id/code").map(|code| match code.as_str() {
        Some(text) => text.to_owned(),
        None => code.to_string(),
    });
    match (authority, code.as_deref()) {
        (Some("OGC"), Some("CRS84" | "CRS84h")) | (Some("EPSG"), Some("4326" | "4979")) => true,
        (Some(_), Some(_)) => false,
        _ => crs
            .get("name")
            .and_then(serde_json::Value::as_str)
            .is_some_and(|name| name.starts_with("WGS 84") && !name.contains('/')),
    }
}

/// What a column is cast to, `None` for types that are not read.
fn target(from: &DataType) -> Option<DataType> {
    use DataType as D;
    Some(match from {
        D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 => D::Int64,
        D::UInt64 => D::UInt64,
        D::Float16 | D::Float32 => D::Float32,
        D::Float64 | D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) => D::Float64,
        D::Boolean => D::Boolean,
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Date32 | D::Timestamp(..) | D::Null => D::Utf8,
        D::Dictionary(_, value) => return target(value),
        _ => return None,
    })
}

impl Batch {
    fn new(batch: &RecordBatch, geometry: Option<&str>) -> Result<Self, String> {
        let mut columns = Vec::with_capacity(batch.num_columns());
        let mut shapes = None;
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            if geometry == Some(field.name().as_str()) {
                shapes = Some(Binary::new(array)?);
                continue;
            }
            let to = target(field.data_type())
                .ok_or_else(|| format!("column `{}` cannot be read", field.name()))?;
            let cast = arrow::compute::cast(array, &to)
                .map_err(|error| format!("column `{}`: {error}", field.name()))?;
            let column = match to {
                DataType::Int64 => Column::Int(cast),
                DataType::UInt64 => Column::Unsigned(cast),
                DataType::Float32 | DataType::Float64 => Column::Float(cast),
                DataType::Boolean => Column::Bool(cast),
                _ => Column::Text(cast),
            };
            columns.push((Arc::from(field.name().as_str()), column));
        }
        Ok(Self {
            columns,
            geometry: shapes,
            rows: batch.num_rows(),
            next: 0,
        })
    }

    fn item(&self, row: usize, place: Place, crs: Option<&Crs>) -> Item {
        let mut values = BTreeMap::new();
        for (name, column) in &self.columns {
            values.insert(Arc::clone(name), column.cell(row));
        }
        let geometry = self.geometry.as_ref().and_then(|shapes| shapes.get(row));
        if let Some(bytes) = geometry
            && bytes.len() > MAX_FEATURE_BYTES
        {
            let reason = format!(
                "its geometry of {} bytes is more than the limit of {MAX_FEATURE_BYTES}",
                bytes.len()
            );
            return Item::Refused { place, reason };
        }
        let geometry = match (geometry, crs.filter(|crs| !crs.is_wgs84())) {
            (None, _) => None,
            (Some(bytes), None) => Some(RawGeometry::Wkb(bytes.to_vec())),
            (Some(bytes), Some(crs)) => match rewrite(bytes, crs) {
                Ok(written) => Some(RawGeometry::Wkb(written.wkb)),
                Err(reason) => return Item::Refused { place, reason },
            },
        };
        Item::Feature(Feature {
            place,
            values,
            geometry,
        })
    }
}

impl Column {
    fn cell(&self, row: usize) -> Cell {
        let (Self::Int(array)
        | Self::Unsigned(array)
        | Self::Float(array)
        | Self::Bool(array)
        | Self::Text(array)) = self;
        if array.is_null(row) {
            return Cell::Null;
        }
        match self {
            Self::Int(array) => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
            Self::Unsigned(array) => {
                let value = array.as_primitive::<UInt64Type>().value(row);
                // Beyond 63 bits the digits are kept as text.
                i64::try_from(value)
                    .map_or_else(|_| Cell::Text(value.to_string().into()), Cell::Int)
            }
            Self::Float(array) => {
                let value = match array.data_type() {
                    // Through text, so that 0.1 in 32 bits stays 0.1.
                    DataType::Float32 => {
                        let narrow = array.as_primitive::<Float32Type>().value(row);
                        narrow.to_string().parse().unwrap_or(f64::from(narrow))
                    }
                    _ => array.as_primitive::<Float64Type>().value(row),
                };
                if value.is_finite() {
                    Cell::Float(value)
                } else {
                    Cell::Null
                }
            }
            Self::Bool(array) => Cell::Bool(array.as_boolean().value(row)),
            Self::Text(array) => Cell::Text(array.as_string::<i32>().value(row).into()),
        }
    }
}

impl Binary {
    fn new(array: &ArrayRef) -> Result<Self, String> {
        match array.data_type() {
            DataType::Binary => Ok(Self::Small(array.as_binary::<i32>().clone())),
            DataType::LargeBinary => Ok(Self::Large(array.as_binary::<i64>().clone())),
            DataType::BinaryView => Ok(Self::View(array.as_binary_view().clone())),
            other => Err(format!("the geometry column holds {other}, not bytes")),
        }
    }

    fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Small(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Large(array) => array.is_valid(row).then(|| array.value(row)),
            Self::View(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }
}
