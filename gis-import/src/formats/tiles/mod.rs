//! Vector tiles as features: `PMTiles` and `MBTiles`, one zoom, one layer, pieces joined across tiles.
//!
//! Tiles are made for drawing: a feature that crosses a border stands in each tile with what lies in it
//! and a little beyond. So a layer is read whole, its pieces put together by the columns that the mapping
//! names (`join`), and only then given on. Without `join`, pieces with the same id and equal attributes
//! belong together where they meet.
//!
//! # Invariants
//! - A layer is held while it is joined: at most [`MAX_HELD_BYTES`], else the file is refused.
//! - A feature has one kind of geometry, that of its pieces with the most dimensions: a point among lines
//!   is a line that was too short to draw.
//! - What lies in no tile but the buffers of some is refused, with that reason.
//!
//! Positions are as exact as the grid of the tiles: at zoom 14 and 4,096 steps 0.6 m on the equator.

mod join;
mod mbtiles;
mod mvt;
mod pmtiles;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::FileError;
use super::wkb::Writer;
use super::{
    Cell, Feature, Format, Item, Options, Place, RawGeometry, ShapeKind as Kind, Wanted,
    check_columns,
};
use join::{Drawn, Grid, Position};

/// Most tiles of a zoom.
const MAX_TILES: usize = 4_000_000;
/// Most inflated bytes of a tile.
const MAX_TILE_BYTES: u64 = 8 << 20;
/// Most bytes of a layer that is held to be joined, as estimated.
const MAX_HELD_BYTES: usize = 1 << 30;
/// Estimated bytes of a feature and of a value beside their text.
const FEATURE_BYTES: usize = 200;
const VALUE_BYTES: usize = 48;
/// Names of layers in a message.
const NAMED_LAYERS: usize = 40;

/// A tile of a zoom and where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq)]
struct TileAt {
    x: u32,
    y: u32,
    offset: u64,
    length: u32,
}

fn must_be(tile: &TileAt) -> String {
    format!("tile in column {} and row {}", tile.x, tile.y)
}

/// Inflates gzip up to a limit.
fn inflated(bytes: &[u8], most: u64) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut from = flate2::read::MultiGzDecoder::new(bytes).take(most + 1);
    match from.read_to_end(&mut out) {
        Ok(_) if out.len() as u64 > most => Err(format!(
            "it inflates to more than the limit of {most} bytes"
        )),
        Ok(_) => Ok(out),
        Err(error) => Err(format!("it cannot be inflated: {error}")),
    }
}

#[derive(Debug)]
enum Source {
    PmTiles(Box<pmtiles::Archive>),
    MbTiles(Box<mbtiles::Tileset>),
}

impl Source {
    fn zooms(&self) -> (u8, u8) {
        match self {
            Self::PmTiles(archive) => archive.zooms(),
            Self::MbTiles(tileset) => tileset.zooms(),
        }
    }

    fn metadata(&mut self) -> Result<serde_json::Value, FileError> {
        match self {
            Self::PmTiles(archive) => archive.metadata(),
            Self::MbTiles(tileset) => tileset.metadata(),
        }
    }

    fn tiles(&mut self, zoom: u8) -> Result<Vec<TileAt>, FileError> {
        match self {
            Self::PmTiles(archive) => archive.tiles(zoom),
            Self::MbTiles(tileset) => tileset.tiles(zoom),
        }
    }

    fn tile(&mut self, tile: &TileAt) -> Result<Vec<u8>, FileError> {
        match self {
            Self::PmTiles(archive) => archive.tile(tile, MAX_TILE_BYTES),
            Self::MbTiles(tileset) => tileset.tile(tile, MAX_TILE_BYTES),
        }
    }
}

/// A layer of tiles being read.
#[derive(Debug)]
pub struct TilesReader {
    path: PathBuf,
    source: Source,
    layer: Arc<str>,
    zoom: u8,
    join: Vec<Arc<str>>,
    shape: Option<Kind>,
    wanted: Wanted,
    joined: Option<Joined>,
    done: bool,
}

/// The layer, joined.
#[derive(Debug, Default)]
struct Joined {
    extent: u32,
    groups: VecDeque<Group>,
    grid: Option<GridBox>,
    ready: VecDeque<Item>,
    count: u64,
    differing: u64,
    /// Features of no kind that the format knows.
    unknown: u64,
}

/// Hides the tiles from what is printed.
struct GridBox(Grid);

impl std::fmt::Debug for GridBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Grid")
    }
}

/// Pieces that belong together.
#[derive(Debug)]
struct Group {
    id: u64,
    kind: Kind,
    values: Vec<(Arc<str>, Cell)>,
    pieces: Vec<Drawn>,
    refused: Option<String>,
}

impl TilesReader {
    pub(super) fn open(
        path: &Path,
        format: Format,
        options: &Options,
        wanted: &Wanted,
    ) -> Result<Self, FileError> {
        let mut source = if format == Format::MbTiles {
            Source::MbTiles(Box::new(mbtiles::Tileset::open(path)?))
        } else {
            Source::PmTiles(Box::new(pmtiles::Archive::open(path)?))
        };
        if options.crs.is_some() {
            return Err(FileError::new(
                path,
                "crs of the mapping",
                "tiles are always in Web Mercator",
                "leave crs out",
            ));
        }
        let (least, greatest) = source.zooms();
        let zoom = options.zoom.unwrap_or(greatest);
        if !(least..=greatest).contains(&zoom) {
            return Err(FileError::new(
                path,
                "",
                format!("there are no tiles of zoom {zoom}"),
                format!("its zooms are {least} to {greatest}"),
            ));
        }
        let metadata = source.metadata()?;
        let layer = layer(path, &metadata, options.layer.as_deref())?;
        if let Some(columns) = columns(&metadata, &layer) {
            let mut needed = wanted.clone();
            needed.columns.extend(options.join.iter().cloned());
            check_columns(path, &columns, &needed)?;
        }
        Ok(Self {
            path: path.to_owned(),
            source,
            layer: layer.into(),
            zoom,
            join: options.join.clone(),
            shape: options.shape,
            wanted: wanted.clone(),
            joined: None,
            done: false,
        })
    }

    pub(super) fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        if self.done {
            return Ok(None);
        }
        if self.joined.is_none() {
            match self.gather() {
                Ok(joined) => self.joined = Some(joined),
                Err(error) => {
                    self.done = true;
                    return Err(error);
                }
            }
        }
        let (zoom, shape, geometry) = (self.zoom, self.shape, self.wanted.geometry);
        let split = self.join.is_empty();
        let Some(joined) = &mut self.joined else {
            return Ok(None);
        };
        loop {
            if let Some(item) = joined.ready.pop_front() {
                return Ok(Some(item));
            }
            match joined.groups.pop_front() {
                Some(group) => joined.release(group, zoom, shape, geometry, split),
                None => break,
            }
        }
        self.done = true;
        if joined.unknown > 0 {
            let reason = format!(
                "{} features are neither points nor lines nor areas, and are left out",
                joined.unknown
            );
            joined.unknown = 0;
            return Ok(Some(Item::Remark {
                kind: "features of no known kind",
                reason,
            }));
        }
        if joined.differing > 0 {
            let reason = format!(
                "{} features have pieces whose attributes differ; those of the first were taken",
                joined.differing
            );
            joined.differing = 0;
            return Ok(Some(Item::Remark {
                kind: "pieces that differ",
                reason,
            }));
        }
        Ok(None)
    }

    /// Reads all tiles and sorts their pieces.
    fn gather(&mut self) -> Result<Joined, FileError> {
        let tiles = self.source.tiles(self.zoom)?;
        let mut joined = Joined::default();
        let mut groups: Vec<Group> = Vec::new();
        let mut by_key: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut differ: BTreeSet<usize> = BTreeSet::new();
        let mut held = 0;
        for tile in &tiles {
            let bytes = self.source.tile(tile)?;
            let at = || must_be(tile);
            let layer = mvt::layer(&bytes, &self.layer).map_err(|reason| {
                FileError::new(
                    &self.path,
                    at(),
                    reason,
                    "the tile is damaged: fetch it again",
                )
            })?;
            let Some(layer) = layer else { continue };
            if joined.extent != 0 && joined.extent != layer.extent {
                let reason = format!(
                    "its grid has {} steps and that of others {}",
                    layer.extent, joined.extent
                );
                return Err(FileError::new(
                    &self.path,
                    at(),
                    reason,
                    "make the tiles anew",
                ));
            }
            joined.extent = layer.extent;
            joined.unknown += layer.unknown;
            for mut piece in layer.pieces {
                let key = key(&piece, &self.join);
                let missing = key.is_err();
                let key = key.unwrap_or_else(|number| number_key(number, groups.len()));
                if !self.wanted.columns.is_empty() && !self.join.is_empty() {
                    piece
                        .values
                        .retain(|(name, _)| self.wanted.columns.contains(name));
                }
                let number = *by_key.entry(key).or_insert(groups.len());
                held += piece
                    .parts
                    .iter()
                    .map(|part| part.len() * 8 + 24)
                    .sum::<usize>()
                    + 48;
                let drawn = Drawn {
                    tile: (tile.x, tile.y),
                    parts: piece.parts,
                };
                if let Some(group) = groups.get_mut(number) {
                    if group.values != piece.values {
                        differ.insert(number);
                    }
                    // What has fewer dimensions than its feature is a remnant of it.
                    if piece.kind > group.kind {
                        group.pieces.clear();
                        group.kind = piece.kind;
                    }
                    if piece.kind == group.kind {
                        group.pieces.push(drawn);
                    }
                } else {
                    // Its key holds the values by which it is joined once more.
                    let values = piece.values.iter();
                    let texts = values.map(|(_, value)| value.held_bytes()).sum::<usize>();
                    held += FEATURE_BYTES + piece.values.len() * VALUE_BYTES + texts * 2;
                    let refused = missing.then(|| {
                        let names: Vec<&str> = self.join.iter().map(|name| &**name).collect();
                        format!(
                            "it has no {}, by which its pieces are joined",
                            names.join(" or ")
                        )
                    });
                    groups.push(Group {
                        id: piece.id,
                        kind: piece.kind,
                        values: piece.values,
                        pieces: vec![drawn],
                        refused,
                    });
                }
                if held > MAX_HELD_BYTES {
                    return Err(FileError::new(
                        &self.path,
                        at(),
                        format!("the layer has more than {MAX_HELD_BYTES} bytes to be joined"),
                        "take a lower zoom, or cut the tiles into regions",
                    ));
                }
            }
        }
        joined.differing = differ.len() as u64;
        joined.groups = groups.into();
        joined.grid = Some(GridBox(Grid {
            extent: joined.extent,
            tiles: tiles.iter().map(|tile| (tile.x, tile.y)).collect(),
        }));
        Ok(joined)
    }
}

impl Joined {
    /// Makes the features of a group.
    fn release(
        &mut self,
        group: Group,
        zoom: u8,
        shape: Option<Kind>,
        geometry: bool,
        split: bool,
    ) {
        let Group {
            id,
            kind,
            values,
            pieces,
            refused,
        } = group;
        let Some(GridBox(grid)) = &self.grid else {
            return;
        };
        let mut cells: BTreeMap<Arc<str>, Cell> = values.into_iter().collect();
        if id != 0 {
            cells.insert(
                Arc::from("$id"),
                i64::try_from(id).map_or(Cell::Null, Cell::Int),
            );
        }
        let made = match (refused, shape) {
            (Some(reason), _) => Err(reason),
            (None, Some(shape)) if shape != kind => Err(format!(
                "the tiles keep only {} of what should be {}",
                named(kind),
                named(shape)
            )),
            // Pieces with an id are one feature, wherever they are.
            (None, _) => make(grid, kind, &pieces, zoom, split && id == 0),
        };
        let made = match made {
            Ok(made) if made.is_empty() => {
                Err("it lies only in the buffers of tiles, not in a tile itself".to_owned())
            }
            made => made,
        };
        let parts: Vec<Result<Option<RawGeometry>, String>> = match made {
            Err(reason) => vec![Err(reason)],
            Ok(made) => made
                .into_iter()
                .map(|wkb| Ok(geometry.then_some(RawGeometry::Wkb(wkb))))
                .collect(),
        };
        for part in parts {
            self.count += 1;
            let place = Place {
                feature: self.count,
                line: None,
            };
            self.ready.push_back(match part {
                Err(reason) => Item::Refused { place, reason },
                Ok(geometry) => Item::Feature(Feature {
                    place,
                    values: cells.clone(),
                    geometry,
                }),
            });
        }
    }
}

fn named(kind: Kind) -> &'static str {
    match kind {
        Kind::Point => "a point",
        Kind::Line => "a line",
        Kind::Area => "an area",
    }
}

/// The geometries of a group: one, or one for each part where it is not known that they belong together.
fn make(
    grid: &Grid,
    kind: Kind,
    pieces: &[Drawn],
    zoom: u8,
    split: bool,
) -> Result<Vec<Vec<u8>>, String> {
    let world = f64::from(grid.extent) * f64::from(1_u32 << zoom.min(31));
    let degrees = |(x, y): Position| {
        let lon = x / world * 360.0 - 180.0;
        let lat = (std::f64::consts::PI * (1.0 - 2.0 * y / world))
            .sinh()
            .atan()
            .to_degrees();
        (lon, lat)
    };
    let line = |line: &[Position], out: &mut Writer| {
        out.count(line.len());
        for point in line {
            let (lon, lat) = degrees(*point);
            out.position(lon, lat, None);
        }
    };
    let point = |at: &Position, out: &mut Writer| {
        out.head(1, false);
        let (lon, lat) = degrees(*at);
        out.position(lon, lat, None);
    };
    Ok(match kind {
        Kind::Point => written(&join::points(grid, pieces), 4, split, point),
        Kind::Line => written(&join::lines(grid, pieces), 5, split, |one, out| {
            out.head(2, false);
            line(one, out);
        }),
        Kind::Area => written(&join::areas(grid, pieces)?, 6, split, |rings, out| {
            out.head(3, false);
            out.count(rings.len());
            for ring in rings {
                line(ring, out);
            }
        }),
    })
}

/// Parts as one geometry, of several parts where it has them, or each by itself.
fn written<T>(
    parts: &[T],
    several: u32,
    split: bool,
    write: impl Fn(&T, &mut Writer),
) -> Vec<Vec<u8>> {
    let single = |part: &T| {
        let mut out = Writer::default();
        write(part, &mut out);
        out.finish()
    };
    match parts {
        [] => Vec::new(),
        [only] => vec![single(only)],
        parts if split => parts.iter().map(single).collect(),
        parts => {
            let mut out = Writer::default();
            out.head(several, false);
            out.count(parts.len());
            for part in parts {
                write(part, &mut out);
            }
            vec![out.finish()]
        }
    }
}

/// What pieces of one feature have in common; a number for one that has no value to be joined by.
fn key(piece: &mvt::Piece, join: &[Arc<str>]) -> Result<Vec<u8>, u64> {
    let mut key = Vec::new();
    let mut add = |cell: &Cell| {
        key.push(match cell {
            Cell::Null => 0,
            Cell::Bool(_) => 1,
            Cell::Int(_) | Cell::Float(_) => 2,
            Cell::Text(_) | Cell::Json(_) => 3,
        });
        let text = cell.to_string();
        key.extend((text.len() as u64).to_le_bytes());
        key.extend(text.as_bytes());
    };
    if join.is_empty() {
        add(&Cell::Text(format!("{} {:?}", piece.id, piece.kind).into()));
        for (name, cell) in &piece.values {
            add(&Cell::Text(Arc::clone(name)));
            add(cell);
        }
        return Ok(key);
    }
    for name in join {
        let found = piece.values.iter().find(|(known, _)| known == name);
        match found {
            None | Some((_, Cell::Null)) => return Err(piece.id),
            Some((_, cell)) => add(cell),
        }
    }
    Ok(key)
}

/// A key that no other piece has.
fn number_key(id: u64, number: usize) -> Vec<u8> {
    let mut key = vec![u8::MAX];
    key.extend(id.to_le_bytes());
    key.extend((number as u64).to_le_bytes());
    key
}

/// The layer of a name, or the only one, as far as the metadata tell.
fn layer(
    path: &Path,
    metadata: &serde_json::Value,
    wanted: Option<&str>,
) -> Result<String, FileError> {
    let layers: Vec<&str> = metadata
        .get("vector_layers")
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|layer| layer.get("id")?.as_str())
        .collect();
    let named = || {
        let names: Vec<&str> = layers.iter().copied().take(NAMED_LAYERS).collect();
        names.join("`, `")
    };
    let error = |reason: String, help: String| Err(FileError::new(path, "metadata", reason, help));
    match (wanted, &layers[..]) {
        (Some(wanted), []) => Ok(wanted.to_owned()),
        (Some(wanted), layers) if layers.contains(&wanted) => Ok(wanted.to_owned()),
        (Some(wanted), layers) => {
            let close = ontology::closest(wanted, layers.iter().copied());
            let help = close.map_or_else(
                || format!("name one of `{}`", named()),
                |close| format!("did you mean `{close}`?"),
            );
            error(format!("there is no layer `{wanted}`"), help)
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => error(
            "they do not say which layers there are".to_owned(),
            "say which: layer = \"…\"".to_owned(),
        ),
        (None, layers) => error(
            format!("there are {} layers", layers.len()),
            format!("say which: layer = one of `{}`", named()),
        ),
    }
}

/// The columns of a layer, where the metadata tell them.
fn columns(metadata: &serde_json::Value, layer: &str) -> Option<Vec<Arc<str>>> {
    let layers = metadata.get("vector_layers")?.as_array()?;
    let of = |known: &&serde_json::Value| known.get("id").is_some_and(|id| id == layer);
    let fields = layers.iter().find(of)?.get("fields")?.as_object()?;
    (!fields.is_empty()).then(|| fields.keys().map(|name| Arc::from(name.as_str())).collect())
}

#[cfg(test)]
mod tests;
