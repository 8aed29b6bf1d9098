//! Files as one stream of features, whatever their format.
//!
//! # Invariants
//! - A reader holds a bounded part of its file: one feature, one row or one batch of rows; of
//!   OpenStreetMap positions too, of tiles a layer, and of CityJSON a document, within limits of their own.
//! - A feature that cannot be read is an [`Item::Refused`] and the stream goes on; a file that
//!   cannot be read further is a [`FileError`] and the stream has ended.
//! - No input makes a reader panic: libraries that may are called behind `catch_unwind`.
//! - Feature numbers are consecutive from 1, refused features included.
//!
//! Geometry is handed on as it stands in the file, in WGS 84 where that says another system; whether it
//! is valid is decided later, off the thread that reads.

mod archive;
pub mod cityjson;
mod crs;
mod csv;
mod dbf;
mod error;
mod geojson;
mod geopackage;
mod input;
mod json_scan;
pub mod osm;
mod parquet;
mod rings;
mod shapefile;
mod sqlite;
#[cfg(test)]
mod tests;
mod tiles;
mod wkb;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use crs::Crs;
pub use error::FileError;
pub use input::{MAX_INFLATED_BYTES, MAX_INFLATED_PARQUET_BYTES};

/// Most bytes of one feature, one CSV row or one WKB geometry.
pub const MAX_FEATURE_BYTES: usize = 64 << 20;
/// Most columns of a table.
pub const MAX_COLUMNS: usize = 4096;

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A GeoJSON `FeatureCollection`.
    GeoJson,
    /// A GeoJSON feature on each line.
    GeoJsonLines,
    /// A table of delimited text with a header line.
    Csv {
        /// The byte between fields.
        delimiter: u8,
    },
    /// Parquet; GeoParquet where its metadata say so.
    Parquet,
    /// OpenStreetMap, as PBF or XML.
    Osm,
    /// A shapefile and what stands beside it, or a zip of them.
    Shapefile,
    /// A layer of a GeoPackage.
    GeoPackage,
    /// City objects in three dimensions: CityJSON, or `CityJSONSeq` where the name ends in `jsonl`.
    CityJson,
    /// A layer of vector tiles in a `PMTiles` archive.
    PmTiles,
    /// A layer of vector tiles in an `MBTiles` database.
    MbTiles,
}

/// Which of the formats' names a mapping may use, for its diagnostics.
pub const FORMAT_NAMES: [&str; 11] = [
    "cityjson",
    "csv",
    "geojson",
    "geojsonl",
    "geopackage",
    "mbtiles",
    "osm",
    "parquet",
    "pmtiles",
    "shapefile",
    "tsv",
];

impl Format {
    /// The format of a name that a mapping uses.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "csv" => Some(Self::Csv { delimiter: b',' }),
            "tsv" => Some(Self::Csv { delimiter: b'\t' }),
            "geojson" => Some(Self::GeoJson),
            "geojsonl" => Some(Self::GeoJsonLines),
            "osm" => Some(Self::Osm),
            "parquet" => Some(Self::Parquet),
            "shapefile" => Some(Self::Shapefile),
            "geopackage" => Some(Self::GeoPackage),
            "cityjson" => Some(Self::CityJson),
            "pmtiles" => Some(Self::PmTiles),
            "mbtiles" => Some(Self::MbTiles),
            _ => None,
        }
    }

    /// Whether a file's ending, `.gz` aside, is one that files of the format and of others have.
    pub fn may_be(self, path: &Path) -> bool {
        let ending = plain_name(path).and_then(|name| Some(name.rsplit_once('.')?.1.to_owned()));
        match ending.as_deref() {
            Some("json" | "jsonl" | "ndjson") => [
                Self::named("cityjson"),
                Self::named("geojson"),
                Self::named("geojsonl"),
            ]
            .contains(&Some(self)),
            _ => false,
        }
    }

    /// The format that a file's ending tells, `.gz` aside.
    pub fn of_path(path: &Path) -> Option<Self> {
        let name = plain_name(path)?;
        if [".city.json", ".city.jsonl"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            return Self::named("cityjson");
        }
        match name.rsplit_once('.')?.1 {
            "csv" => Self::named("csv"),
            "tsv" => Self::named("tsv"),
            "geojson" | "json" => Self::named("geojson"),
            "geojsonl" | "geojsons" | "ndjson" | "jsonl" => Self::named("geojsonl"),
            "osm" | "pbf" => Self::named("osm"),
            "parquet" | "geoparquet" => Self::named("parquet"),
            "shp" | "shz" | "zip" => Self::named("shapefile"),
            "gpkg" => Self::named("geopackage"),
            "cityjson" => Self::named("cityjson"),
            "pmtiles" => Self::named("pmtiles"),
            "mbtiles" => Self::named("mbtiles"),
            _ => None,
        }
    }
}

/// The name of a file in small letters, without `.gz`.
fn plain_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    Some(name.strip_suffix(".gz").unwrap_or(&name).to_owned())
}

/// Where a feature stands in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the feature or row, from 1.
    pub feature: u64,
    /// Line where it starts, in text formats.
    pub line: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "feature {} (line {line})", self.feature),
            None => write!(f, "feature {}", self.feature),
        }
    }
}

/// One value of a feature.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number; finite.
    Float(f64),
    /// A text.
    Text(Arc<str>),
    /// A list or object.
    Json(Arc<serde_json::Value>),
}

impl Cell {
    /// About how many bytes it holds beside itself.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
            Self::Text(text) => text.len(),
            Self::Json(value) => json_bytes(value),
        }
    }
}

fn json_bytes(value: &serde_json::Value) -> usize {
    /// About what a value takes beside its text.
    const VALUE_BYTES: usize = 32;
    VALUE_BYTES
        + match value {
            serde_json::Value::String(text) => text.len(),
            serde_json::Value::Array(items) => items.iter().map(json_bytes).sum(),
            serde_json::Value::Object(members) => {
                let members = members.iter();
                members
                    .map(|(name, value)| name.len() + json_bytes(value))
                    .sum()
            }
            _ => 0,
        }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
            Self::Json(value) => value.fmt(f),
        }
    }
}

/// A geometry as the file has it.
#[derive(Debug, Clone, PartialEq)]
pub enum RawGeometry {
    /// Well-known binary.
    Wkb(Vec<u8>),
    /// The text of a GeoJSON geometry object; syntactically JSON.
    GeoJson(Box<str>),
    /// Less than the whole: the file lacks pieces of it.
    Part {
        /// What is there, as well-known binary.
        wkb: Vec<u8>,
        /// What is counted together.
        kind: &'static str,
        /// What is missing.
        reason: String,
    },
    /// None: the file lacks what it is made of.
    Lacking {
        /// What is counted together.
        kind: &'static str,
        /// What is missing.
        reason: String,
    },
}

/// One feature or row.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Where it stands.
    pub place: Place,
    /// Its values by column; a GeoJSON feature's own `id` is `$id`.
    pub values: BTreeMap<Arc<str>, Cell>,
    /// Its geometry, if it has one.
    pub geometry: Option<RawGeometry>,
}

/// What a reader gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A feature.
    Feature(Feature),
    /// A feature that cannot be read.
    Refused {
        /// Where it stands.
        place: Place,
        /// What is wrong with it.
        reason: String,
    },
    /// Something about the file as a whole that its reader should know; no feature.
    Remark {
        /// What is counted together.
        kind: &'static str,
        /// What there is to know.
        reason: String,
    },
}

/// The kind of shape that a feature has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShapeKind {
    /// Points.
    Point,
    /// Lines.
    Line,
    /// Areas.
    Area,
}

impl ShapeKind {
    /// The kind of a name that a mapping uses.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "point" => Some(Self::Point),
            "line" => Some(Self::Line),
            "area" => Some(Self::Area),
            _ => None,
        }
    }
}

/// What is said of a file where its format leaves it open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The layer, in files of several.
    pub layer: Option<Arc<str>>,
    /// The coordinate system, instead of what the file says or does not say.
    pub crs: Option<Arc<str>>,
    /// The encoding of texts, where a format leaves it to other files.
    pub encoding: Option<Arc<str>>,
    /// The zoom, in tiles; the highest where none is said.
    pub zoom: Option<u8>,
    /// Columns by which pieces in several tiles are one feature.
    pub join: Vec<Arc<str>>,
    /// The shape that features of tiles should have; others are refused.
    pub shape: Option<ShapeKind>,
}

impl Options {
    /// What is said that means nothing to a format, by its key in a mapping.
    pub(crate) fn useless(&self, format: Format) -> Option<&'static str> {
        let tiles = matches!(format, Format::PmTiles | Format::MbTiles);
        let layers = tiles || matches!(format, Format::Shapefile | Format::GeoPackage);
        let Self {
            layer,
            crs,
            encoding,
            zoom,
            join,
            shape,
        } = self;
        [
            ("layer", layer.is_some() && !layers),
            ("crs", crs.is_some() && tiles),
            (
                "encoding",
                encoding.is_some() && format != Format::Shapefile,
            ),
            ("zoom", zoom.is_some() && !tiles),
            ("join", !join.is_empty() && !tiles),
            ("shape", shape.is_some() && !tiles),
        ]
        .into_iter()
        .find_map(|(key, useless)| useless.then_some(key))
    }
}

/// Whether an encoding of this name is known.
pub(crate) fn is_encoding(name: &str) -> bool {
    dbf::encoding(name).is_some()
}

/// What a caller needs of a file, so that a reader can leave the rest unread.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Columns that must be there.
    pub columns: BTreeSet<Arc<str>>,
    /// Whether geometry is used.
    pub geometry: bool,
}

/// A file being read.
#[derive(Debug)]
pub enum Reader {
    /// GeoJSON, as a collection or by lines.
    GeoJson(geojson::GeoJsonReader),
    /// Delimited text.
    Csv(csv::CsvReader),
    /// Parquet.
    Parquet(Box<parquet::ParquetReader>),
    /// OpenStreetMap.
    Osm(Box<osm::OsmReader>),
    /// A shapefile.
    Shapefile(Box<shapefile::ShapefileReader>),
    /// A layer of a GeoPackage.
    GeoPackage(Box<geopackage::GeoPackageReader>),
    /// City objects.
    CityJson(Box<cityjson::CityJsonReader>),
    /// A layer of vector tiles.
    Tiles(Box<tiles::TilesReader>),
}

impl Reader {
    /// Opens a file; `.gz` is inflated while it is read.
    ///
    /// # Errors
    /// The file is not there, is not what its format says, or lacks a wanted column.
    pub fn open(path: &Path, format: Format, wanted: &Wanted) -> Result<Self, FileError> {
        Self::open_with(path, format, &Options::default(), wanted)
    }

    /// Opens a file of which something is said beside its format.
    ///
    /// # Errors
    /// As [`Reader::open`], and what is said does not fit the file.
    pub fn open_with(
        path: &Path,
        format: Format,
        options: &Options,
        wanted: &Wanted,
    ) -> Result<Self, FileError> {
        match format {
            Format::GeoJson => geojson::GeoJsonReader::collection(path, options).map(Self::GeoJson),
            Format::GeoJsonLines => geojson::GeoJsonReader::lines(path, options).map(Self::GeoJson),
            Format::Csv { delimiter } => {
                csv::CsvReader::open(path, delimiter, wanted).map(Self::Csv)
            }
            Format::Parquet => parquet::ParquetReader::open(path, options, wanted)
                .map(|r| Self::Parquet(Box::new(r))),
            Format::Shapefile => shapefile::ShapefileReader::open(path, options, wanted)
                .map(|r| Self::Shapefile(Box::new(r))),
            Format::GeoPackage => geopackage::GeoPackageReader::open(path, options, wanted)
                .map(|r| Self::GeoPackage(Box::new(r))),
            Format::CityJson => cityjson::CityJsonReader::open(path, options, wanted)
                .map(|r| Self::CityJson(Box::new(r))),
            Format::PmTiles | Format::MbTiles => {
                tiles::TilesReader::open(path, format, options, wanted)
                    .map(|r| Self::Tiles(Box::new(r)))
            }
            Format::Osm => osm::OsmReader::open(path, wanted).map(|r| Self::Osm(Box::new(r))),
        }
    }

    /// How many features there are, where the format tells before they are read.
    pub fn expected(&self) -> Option<u64> {
        match self {
            Self::GeoJson(_) | Self::Csv(_) | Self::Shapefile(_) | Self::Tiles(_) => None,
            Self::Parquet(reader) => reader.expected(),
            Self::Osm(reader) => Some(reader.expected()),
            Self::GeoPackage(reader) => Some(reader.expected()),
            Self::CityJson(reader) => reader.expected(),
        }
    }

    /// The next feature; `None` at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read further.
    pub fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        match self {
            Self::GeoJson(reader) => reader.next_item(),
            Self::Csv(reader) => reader.next_item(),
            Self::Parquet(reader) => reader.next_item(),
            Self::Osm(reader) => reader.next_item(),
            Self::Shapefile(reader) => reader.next_item(),
            Self::GeoPackage(reader) => reader.next_item(),
            Self::CityJson(reader) => reader.next_item(),
            Self::Tiles(reader) => reader.next_item(),
        }
    }
}

/// Refuses a file that lacks a column the caller needs.
fn check_columns(path: &Path, has: &[Arc<str>], wanted: &Wanted) -> Result<(), FileError> {
    let missing: Vec<&str> = wanted
        .columns
        .iter()
        .filter(|w| !has.contains(*w))
        .map(|w| &**w)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = missing
        .iter()
        .map(
            |name| match ontology::closest(name, has.iter().map(|h| &**h)) {
                Some(close) => format!("`{name}` (did you mean `{close}`?)"),
                None => format!("`{name}`"),
            },
        )
        .collect();
    Err(FileError::new(
        path,
        "header",
        format!("there is no column {}", named.join(", ")),
        format!("name columns the file has: {}", has.join(", ")),
    ))
}
