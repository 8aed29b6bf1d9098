//! `MBTiles`: tiles in an SQLite database.
//!
//! # Invariants
//! - Only columns, rows and sizes of the wanted zoom are held; a tile's bytes are fetched when it is read.

use std::path::Path;

use super::super::error::FileError;
use super::super::sqlite::Database;
use super::{MAX_TILES, TileAt, inflated, must_be};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Most bytes of the description of layers.
const MAX_METADATA_BYTES: usize = 16 << 20;
/// Deepest zoom.
const MAX_ZOOM: i64 = 30;

const REFETCH: &str = "the file is damaged or no MBTiles: fetch it again";

pub(super) struct Tileset {
    database: Database,
    zooms: (u8, u8),
    zoom: u8,
}

impl std::fmt::Debug for Tileset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tileset").finish_non_exhaustive()
    }
}

impl Tileset {
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let database = Database::open(path)?;
        let error = |reason: String, help: &str| Err(FileError::new(path, "", reason, help));
        for table in ["metadata", "tiles"] {
            if !database.has(table)? {
                return error(
                    format!("it has no table `{table}`, so it is no MBTiles"),
                    REFETCH,
                );
            }
        }
        let (mut least, mut greatest) = (None, None);
        let statement = "SELECT min(zoom_level), max(zoom_level) FROM tiles";
        database.rows("tiles", statement, &[], |row| {
            (least, greatest) = (row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?);
            Ok(false)
        })?;
        let (Some(least), Some(greatest)) = (least, greatest) else {
            return error("it has no tiles".to_owned(), REFETCH);
        };
        if least < 0 || greatest > MAX_ZOOM {
            return error(format!("zooms {least} to {greatest} cannot be"), REFETCH);
        }
        let zooms = (least as u8, greatest as u8);
        let tileset = Self {
            database,
            zooms,
            zoom: zooms.1,
        };
        let format = tileset.value("format")?;
        if !matches!(
            format.as_deref(),
            None | Some("pbf" | "mvt" | "application/x-protobuf")
        ) {
            return error(
                format!("its tiles are {}", format.unwrap_or_default()),
                "only vector tiles (pbf) hold features",
            );
        }
        Ok(tileset)
    }

    pub(super) fn zooms(&self) -> (u8, u8) {
        self.zooms
    }

    fn value(&self, name: &str) -> Result<Option<String>, FileError> {
        let mut found = None;
        self.database
            .rows("metadata", "SELECT name, value FROM metadata", &[], |row| {
                if row.get_ref(0)?.as_str().is_ok_and(|known| known == name) {
                    let value = row.get_ref(1)?.as_str().unwrap_or_default();
                    if value.len() <= MAX_METADATA_BYTES {
                        found = Some(value.to_owned());
                    }
                }
                Ok(found.is_none())
            })?;
        Ok(found)
    }

    /// What the tileset says of its layers.
    pub(super) fn metadata(&self) -> Result<serde_json::Value, FileError> {
        let text = self.value("json")?.unwrap_or_default();
        // Without it the layers are not known beforehand, no more.
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    pub(super) fn tiles(&mut self, zoom: u8) -> Result<Vec<TileAt>, FileError> {
        self.zoom = zoom;
        let mut tiles = Vec::new();
        let side = 1_i64 << zoom;
        let mut outside = None;
        let statement = "SELECT tile_column, tile_row, length(tile_data) FROM tiles \
                         WHERE zoom_level = ?1 ORDER BY tile_column, tile_row DESC";
        self.database
            .rows("tiles", statement, &[i64::from(zoom)], |row| {
                let (x, up): (i64, i64) = (row.get(0)?, row.get(1)?);
                let length = row.get::<_, Option<i64>>(2)?.unwrap_or(0);
                if !(0..side).contains(&x) || !(0..side).contains(&up) {
                    outside = Some((x, up));
                    return Ok(false);
                }
                // Rows count from the south.
                tiles.push(TileAt {
                    x: x as u32,
                    y: (side - 1 - up) as u32,
                    offset: 0,
                    length: u32::try_from(length).unwrap_or(u32::MAX),
                });
                Ok(tiles.len() <= MAX_TILES)
            })?;
        let error = |reason: String| {
            Err(FileError::new(
                self.database.path(),
                "tiles",
                reason,
                REFETCH,
            ))
        };
        if let Some((x, up)) = outside {
            return error(format!(
                "there is no column {x} and row {up} at zoom {zoom}"
            ));
        }
        if tiles.len() > MAX_TILES {
            return error(format!("it has more tiles of the zoom than {MAX_TILES}"));
        }
        Ok(tiles)
    }

    /// The inflated bytes of a tile.
    pub(super) fn tile(&mut self, tile: &TileAt, most: u64) -> Result<Vec<u8>, FileError> {
        let at = must_be(tile);
        let refuse =
            |reason: String| Err(FileError::new(self.database.path(), &*at, reason, REFETCH));
        if u64::from(tile.length) > most {
            return refuse(format!(
                "{} bytes are more than the limit of {most}",
                tile.length
            ));
        }
        let mut bytes = None;
        let up = (1_i64 << self.zoom) - 1 - i64::from(tile.y);
        let statement = "SELECT tile_data FROM tiles \
                         WHERE zoom_level = ?1 AND tile_column = ?2 AND tile_row = ?3";
        let place = [i64::from(self.zoom), i64::from(tile.x), up];
        self.database.rows(&at, statement, &place, |row| {
            bytes = row.get_ref(0)?.as_blob().ok().map(<[u8]>::to_vec);
            Ok(false)
        })?;
        match bytes {
            Some(bytes) if bytes.starts_with(&GZIP_MAGIC) => inflated(&bytes, most).or_else(refuse),
            Some(bytes) => Ok(bytes),
            None => refuse("it is no bytes".to_owned()),
        }
    }
}
