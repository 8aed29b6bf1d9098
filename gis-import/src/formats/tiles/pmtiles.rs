//! `PMTiles` 3: an archive of tiles with a directory.
//!
//! # Invariants
//! - Directories are read as far as they hold the wanted zoom, at most [`MAX_DIRECTORY_BYTES`] each and
//!   [`MAX_LEVELS`] deep; tiles are at most [`MAX_TILES`].
//! - Every offset is checked against the length of the file before anything is read there.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::super::error::FileError;
use super::{MAX_TILES, TileAt, inflated, must_be};

const MAGIC: &[u8] = b"PMTiles";
const VERSION: u8 = 3;
const HEADER_BYTES: usize = 127;
/// Most bytes of an inflated directory.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;
/// Most bytes of the inflated metadata.
const MAX_METADATA_BYTES: u64 = 16 << 20;
/// Most directories below one another.
const MAX_LEVELS: usize = 4;
/// Most directories that are read.
const MAX_DIRECTORIES: usize = 100_000;
/// Deepest zoom: beyond it a position in the row of all tiles does not fit 64 bits.
const MAX_ZOOM: u8 = 31;

const REFETCH: &str = "the archive is damaged: fetch it again";

/// An archive, opened.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    path: std::path::PathBuf,
    length: u64,
    header: Header,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    root: Range,
    metadata: Range,
    leaves: Range,
    tiles: Range,
    inside: u8,
    packing: u8,
    least_zoom: u8,
    greatest_zoom: u8,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    offset: u64,
    length: u64,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let error = |reason: String, help: &str| FileError::new(path, "header", reason, help);
        let cannot = |e: std::io::Error| error(format!("cannot be read: {e}"), "check the path");
        let mut file = File::open(path).map_err(cannot)?;
        let length = file.metadata().map_err(cannot)?.len();
        let mut bytes = [0; HEADER_BYTES];
        if length < HEADER_BYTES as u64 {
            return Err(error(
                "the file is too short for an archive".to_owned(),
                REFETCH,
            ));
        }
        file.read_exact(&mut bytes).map_err(cannot)?;
        if !bytes.starts_with(MAGIC) {
            return Err(error("it does not begin with PMTiles".to_owned(), REFETCH));
        }
        if bytes[7] != VERSION {
            let reason = format!("version {} of PMTiles is not read", bytes[7]);
            return Err(error(
                reason,
                "convert it to version 3, for example with `pmtiles convert`",
            ));
        }
        let number = |at: usize| {
            let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk);
            chunk.copied().map_or(0, u64::from_le_bytes)
        };
        let range = |at: usize| Range {
            offset: number(at),
            length: number(at + 8),
        };
        let header = Header {
            root: range(8),
            metadata: range(24),
            leaves: range(40),
            tiles: range(56),
            inside: bytes[97],
            packing: bytes[98],
            least_zoom: bytes[100],
            greatest_zoom: bytes[101],
        };
        if bytes[99] != 1 {
            let what = match bytes[99] {
                2 => "PNG images",
                3 => "JPEG images",
                4 => "WebP images",
                5 => "AVIF images",
                _ => "of an unknown type",
            };
            return Err(error(
                format!("its tiles are {what}"),
                "only vector tiles (MVT) hold features",
            ));
        }
        for (packing, what) in [(header.inside, "directories"), (header.packing, "tiles")] {
            if !matches!(packing, 1 | 2) {
                return Err(error(
                    format!("its {what} are compressed in the way {packing}, which is not read"),
                    "write it without compression or with gzip",
                ));
            }
        }
        if header.greatest_zoom > MAX_ZOOM || header.least_zoom > header.greatest_zoom {
            let (least, greatest) = (header.least_zoom, header.greatest_zoom);
            return Err(error(
                format!("zooms {least} to {greatest} cannot be"),
                REFETCH,
            ));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            length,
            header,
        })
    }

    pub(super) fn zooms(&self) -> (u8, u8) {
        (self.header.least_zoom, self.header.greatest_zoom)
    }

    fn error(&self, at: &str, reason: impl Into<String>) -> FileError {
        FileError::new(&self.path, at, reason, REFETCH)
    }

    fn read(&mut self, at: &str, range: Range, most: u64) -> Result<Vec<u8>, FileError> {
        let Range { offset, length } = range;
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.length) {
            let reason = format!("{length} bytes at {offset} are past the end of the file");
            return Err(self.error(at, reason));
        }
        if length > most {
            return Err(self.error(
                at,
                format!("{length} bytes are more than the limit of {most}"),
            ));
        }
        let mut bytes = vec![0; length as usize];
        let read = self
            .file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.read_exact(&mut bytes));
        match read {
            Ok(()) => Ok(bytes),
            Err(error) => Err(self.error(at, format!("cannot be read: {error}"))),
        }
    }

    fn unpacked(&mut self, at: &str, range: Range, most: u64) -> Result<Vec<u8>, FileError> {
        let bytes = self.read(at, range, most)?;
        if self.header.inside == 2 {
            return inflated(&bytes, most).map_err(|reason| self.error(at, reason));
        }
        Ok(bytes)
    }

    /// What the archive says of itself.
    pub(super) fn metadata(&mut self) -> Result<serde_json::Value, FileError> {
        if self.header.metadata.length == 0 {
            return Ok(serde_json::Value::Null);
        }
        let bytes = self.unpacked("metadata", self.header.metadata, MAX_METADATA_BYTES)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| self.error("metadata", format!("they are not JSON: {error}")))
    }

    /// The tiles of a zoom, in the order of the archive.
    pub(super) fn tiles(&mut self, zoom: u8) -> Result<Vec<TileAt>, FileError> {
        let first = first_of(zoom);
        let end = first_of(zoom + 1);
        let mut tiles = Vec::new();
        let mut waiting = vec![(self.header.root, 0_usize)];
        let mut directories = 0;
        while let Some((range, level)) = waiting.pop() {
            directories += 1;
            if level >= MAX_LEVELS || directories > MAX_DIRECTORIES {
                return Err(self.error("directory", "its directories lead into each other"));
            }
            let bytes = self.unpacked("directory", range, MAX_DIRECTORY_BYTES)?;
            let entries = entries(&bytes).map_err(|reason| self.error("directory", reason))?;
            let mut leaves = Vec::new();
            for (number, entry) in entries.iter().enumerate() {
                if entry.run == 0 {
                    let next = entries.get(number + 1).map_or(u64::MAX, |next| next.id);
                    if next > first && entry.id < end {
                        let offset = self.header.leaves.offset.checked_add(entry.offset);
                        let offset = offset.unwrap_or(u64::MAX);
                        leaves.push((
                            Range {
                                offset,
                                length: u64::from(entry.length),
                            },
                            level + 1,
                        ));
                    }
                    continue;
                }
                let last = entry.id.saturating_add(u64::from(entry.run));
                let (from, to) = (entry.id.max(first), last.min(end));
                if from >= to {
                    continue;
                }
                if to - from > (MAX_TILES - tiles.len()) as u64 {
                    let reason = format!("it has more tiles of the zoom than {MAX_TILES}");
                    return Err(self.error("directory", reason));
                }
                for id in from..to {
                    let (x, y) = place(id - first, zoom);
                    let offset = self.header.tiles.offset.checked_add(entry.offset);
                    tiles.push(TileAt {
                        x,
                        y,
                        offset: offset.unwrap_or(u64::MAX),
                        length: entry.length,
                    });
                }
            }
            // The last pushed is the next read, and order is that of the archive.
            waiting.extend(leaves.into_iter().rev());
        }
        Ok(tiles)
    }

    /// The inflated bytes of a tile.
    pub(super) fn tile(&mut self, tile: &TileAt, most: u64) -> Result<Vec<u8>, FileError> {
        let at = must_be(tile);
        let range = Range {
            offset: tile.offset,
            length: u64::from(tile.length),
        };
        let bytes = self.read(&at, range, most)?;
        if self.header.packing == 2 {
            return inflated(&bytes, most).map_err(|reason| self.error(&at, reason));
        }
        Ok(bytes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    id: u64,
    /// 0 for a directory below.
    run: u32,
    length: u32,
    offset: u64,
}

/// The entries of a directory: five columns of numbers, one after the other.
fn entries(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let mut rest = bytes;
    let mut number = || -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, after) = rest.split_first().ok_or("it ends early")?;
            rest = after;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number has more than 64 bits".to_owned())
    };
    let count = number()?;
    // Each takes a byte at least in each of the four columns.
    if count > bytes.len() as u64 / 4 {
        return Err(format!(
            "{count} entries are announced and fewer can follow"
        ));
    }
    let mut entries = Vec::with_capacity(count as usize);
    let mut id = 0_u64;
    for _ in 0..count {
        id = id
            .checked_add(number()?)
            .ok_or("its tiles have no number")?;
        entries.push(Entry {
            id,
            run: 0,
            length: 0,
            offset: 0,
        });
    }
    let narrow = |value: u64| u32::try_from(value).map_err(|_big| "a number is too large");
    for entry in &mut entries {
        entry.run = narrow(number()?)?;
    }
    for entry in &mut entries {
        entry.length = narrow(number()?)?;
    }
    let mut after = None;
    for entry in &mut entries {
        entry.offset = match (number()?, after) {
            // It follows the one before.
            (0, Some(after)) => after,
            (0, None) => return Err("its first entry follows nothing".to_owned()),
            (offset, _) => offset - 1,
        };
        let end = entry.offset.checked_add(u64::from(entry.length));
        after = Some(end.ok_or("an entry is past all bytes")?);
    }
    Ok(entries)
}

/// The number of the first tile of a zoom: all tiles of the zooms above come before it.
fn first_of(zoom: u8) -> u64 {
    // 1 + 4 + 16 + …
    ((1_u128 << (2 * u32::from(zoom))) / 3) as u64
}

/// Column and row of a place on the Hilbert curve of a zoom.
fn place(mut at: u64, zoom: u8) -> (u32, u32) {
    let (mut x, mut y) = (0_u64, 0_u64);
    for level in 0..u32::from(zoom) {
        let side = 1_u64 << level;
        let right = 1 & (at / 2);
        let down = 1 & (at ^ right);
        if down == 0 {
            if right == 1 {
                x = side - 1 - x;
                y = side - 1 - y;
            }
            std::mem::swap(&mut x, &mut y);
        }
        x += side * right;
        y += side * down;
        at /= 4;
    }
    (x as u32, y as u32)
}

#[cfg(test)]
pub(super) mod writing {
    //! Archives for tests: one root directory, tiles and directory plain.

    use super::{HEADER_BYTES, MAGIC, first_of, place};

    fn varint(mut value: u64, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    /// Packs tiles of a zoom by column and row.
    pub(in super::super) fn archive(
        zoom: u8,
        metadata: &str,
        tiles: &[((u32, u32), Vec<u8>)],
    ) -> Vec<u8> {
        let side = 1_u64 << zoom;
        let mut numbered: Vec<(u64, &Vec<u8>)> = Vec::new();
        for at in 0..side * side {
            let (x, y) = place(at, zoom);
            if let Some((_, bytes)) = tiles.iter().find(|(xy, _)| *xy == (x, y)) {
                numbered.push((first_of(zoom) + at, bytes));
            }
        }
        let mut directory = Vec::new();
        varint(numbered.len() as u64, &mut directory);
        let mut before = 0;
        for (id, _) in &numbered {
            varint(id - before, &mut directory);
            before = *id;
        }
        for _ in &numbered {
            varint(1, &mut directory);
        }
        for (_, bytes) in &numbered {
            varint(bytes.len() as u64, &mut directory);
        }
        for number in 0..numbered.len() {
            varint(u64::from(number == 0), &mut directory);
        }
        let mut out = MAGIC.to_vec();
        out.push(3);
        let data: usize = numbered.iter().map(|(_, bytes)| bytes.len()).sum();
        let root = HEADER_BYTES as u64;
        let meta = root + directory.len() as u64;
        let at = meta + metadata.len() as u64;
        for number in [
            root,
            directory.len() as u64,
            meta,
            metadata.len() as u64,
            at,
            0,
            at,
            data as u64,
            0,
            0,
            0,
        ] {
            out.extend(number.to_le_bytes());
        }
        out.extend([1, 1, 1, 1, zoom, zoom]);
        out.resize(HEADER_BYTES, 0);
        out.extend(directory);
        out.extend(metadata.as_bytes());
        for (_, bytes) in numbered {
            out.extend(bytes);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_numbered_along_the_curve_of_the_specification() {
        assert_eq!(
            [first_of(0), first_of(1), first_of(2), first_of(3)],
            [0, 1, 5, 21]
        );
        // The examples of the specification: 1/0/0, 1/0/1, 1/1/1, 1/1/0 and 12/3423/1763.
        assert_eq!(
            [0, 1, 2, 3].map(|at| place(at, 1)),
            [(0, 0), (0, 1), (1, 1), (1, 0)]
        );
        assert_eq!(place(19_078_479 - first_of(12), 12), (3423, 1763));
    }

    #[test]
    fn a_directory_that_cannot_be_is_refused() {
        assert!(entries(&[]).is_err());
        assert!(entries(&[200, 1]).is_err());
        assert!(
            entries(&[1, 0, 1, 1, 0])
                .unwrap_err()
                .contains("follows nothing")
        );
        let one = entries(&[1, 5, 1, 7, 1]).unwrap();
        assert_eq!(
            one,
            [Entry {
                id: 5,
                run: 1,
                length: 7,
                offset: 0
            }]
        );
    }
}
