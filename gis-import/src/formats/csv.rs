//! Delimited text with a header line.
//!
//! # Invariants
//! - Every field is UTF-8; a row that is not is refused with its line and the byte.
//! - An empty field is no value.
//! - A row is at most `MAX_FEATURE_BYTES`, so that a quote nobody closes cannot fill the memory.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::FileError;
use super::input::Input;
use super::{Cell, Feature, Item, MAX_COLUMNS, MAX_FEATURE_BYTES, Place, Wanted, check_columns};

/// A table being read.
#[derive(Debug)]
pub struct CsvReader {
    path: PathBuf,
    rows: csv::Reader<Metered>,
    /// Bytes read since the last row ended.
    since_row: Arc<AtomicU64>,
    header: Vec<Arc<str>>,
    record: csv::ByteRecord,
    count: u64,
    done: bool,
}

/// Stops reading in the middle of a row that is too long.
#[derive(Debug)]
struct Metered {
    input: Input,
    since_row: Arc<AtomicU64>,
}

impl Read for Metered {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.since_row.load(Ordering::Relaxed) > MAX_FEATURE_BYTES as u64 {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!(
                    "a row is more than the limit of {MAX_FEATURE_BYTES} bytes; is a quote not closed?"
                ),
            ));
        }
        let read = self.input.read(out)?;
        self.since_row.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl CsvReader {
    pub(super) fn open(path: &Path, delimiter: u8, wanted: &Wanted) -> Result<Self, FileError> {
        let since_row = Arc::new(AtomicU64::new(0));
        let input = Metered {
            input: Input::open(path)?,
            since_row: Arc::clone(&since_row),
        };
        let rows = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(input);
        let mut reader = Self {
            path: path.to_owned(),
            rows,
            since_row,
            header: Vec::new(),
            record: csv::ByteRecord::new(),
            count: 0,
            done: false,
        };
        reader.read_header(wanted)?;
        Ok(reader)
    }

    fn read_header(&mut self, wanted: &Wanted) -> Result<(), FileError> {
        let error = |path: &Path, reason: String, help: &str| {
            Err(FileError::new(path, "line 1", reason, help))
        };
        if !self.read_row()? {
            return error(
                &self.path,
                "the file is empty".to_owned(),
                "a header line is needed",
            );
        }
        let first = self.record.get(0).unwrap_or_default();
        if first.starts_with(&[0xff, 0xfe]) || first.starts_with(&[0xfe, 0xff]) {
            return error(
                &self.path,
                "the text is UTF-16".to_owned(),
                "save it as UTF-8",
            );
        }
        if self.record.iter().any(|field| field.contains(&0)) {
            return error(
                &self.path,
                "the header holds zero bytes, so this is not a text file".to_owned(),
                "check the format of the file",
            );
        }
        if self.record.len() > MAX_COLUMNS {
            let reason = format!(
                "{} columns are more than the limit of {MAX_COLUMNS}",
                self.record.len()
            );
            return error(&self.path, reason, "leave columns out");
        }
        for (index, field) in self.record.iter().enumerate() {
            let name: Arc<str> = match std::str::from_utf8(field) {
                Ok(name) => name.trim().into(),
                Err(bad) => {
                    let reason = not_utf8(&format!("name of column {}", index + 1), field, bad);
                    return error(&self.path, reason, UTF8_HELP);
                }
            };
            if !name.is_empty() && self.header.contains(&name) {
                let reason = format!("two columns are called `{name}`");
                return error(&self.path, reason, "rename one of them");
            }
            self.header.push(name);
        }
        check_columns(&self.path, &self.header, wanted)
    }

    /// Reads the next row into `record`; `false` at the end.
    fn read_row(&mut self) -> Result<bool, FileError> {
        // The reader of rows reads ahead, so what it holds already counts for the next row too:
        // the limit is exact up to one buffer.
        self.since_row.store(0, Ordering::Relaxed);
        let at = self.rows.position().byte();
        match self.rows.read_byte_record(&mut self.record) {
            Ok(more) => Ok(more),
            Err(error) => {
                let text = error.to_string();
                Err(match error.into_kind() {
                    csv::ErrorKind::Io(error) => Input::error(&self.path, at, &error),
                    _ => FileError::new(&self.path, format!("byte {at}"), text, "mend the row"),
                })
            }
        }
    }

    pub(super) fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        if self.done {
            return Ok(None);
        }
        match self.read_row() {
            Ok(true) => {}
            end => {
                self.done = true;
                return end.map(|_| None);
            }
        }
        self.count += 1;
        let line = self.record.position().map(csv::Position::line);
        let place = Place {
            feature: self.count,
            line,
        };
        if self.record.len() != self.header.len() {
            let reason = format!(
                "the row has {} fields where the header has {}",
                self.record.len(),
                self.header.len()
            );
            return Ok(Some(Item::Refused { place, reason }));
        }
        let mut values = BTreeMap::new();
        for (name, field) in self.header.iter().zip(&self.record) {
            let cell = match std::str::from_utf8(field) {
                Ok("") => Cell::Null,
                Ok(text) => Cell::Text(text.into()),
                Err(bad) => {
                    let reason = format!(
                        "{}; {UTF8_HELP}",
                        not_utf8(&format!("column `{name}`"), field, bad)
                    );
                    return Ok(Some(Item::Refused { place, reason }));
                }
            };
            values.insert(Arc::clone(name), cell);
        }
        Ok(Some(Item::Feature(Feature {
            place,
            values,
            geometry: None,
        })))
    }
}

const UTF8_HELP: &str =
    "convert the file to UTF-8, for example with `iconv -f LATIN1 -t UTF-8` if it is Latin-1";

fn not_utf8(what: &str, field: &[u8], bad: std::str::Utf8Error) -> String {
    let at = bad.valid_up_to();
    let byte = field.get(at).copied().unwrap_or_default();
    format!("{what}: byte {} (0x{byte:02x}) is not UTF-8", at + 1)
}
