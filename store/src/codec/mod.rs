//! Packed records of the change log and the journal of readings.
//!
//! Sealed history stands in blocks ([`Block`]), which hold readings by series instead of by arrival.
//!
//! A record holds consecutive changes, or consecutive readings, of one group of the committer. It
//! names classes, properties and twins by text, so it outlives the ontology it was written under:
//! a class that is gone is an error that says so, a property that is gone is left out.
//!
//! # Invariants
//! - A record begins with its format's number and ends with a CRC-32 of everything before it.
//! - Decoding never panics, and allocates in proportion to the bytes given.
//! - Values of personal properties stand inside an envelope with a key's name.
//! - A record stays within [`MAX_RECORD_BYTES`] unless one change alone is larger.

mod block;
mod bytes;
mod change;
mod fingerprint;
mod journal;
mod latest;
mod value;

pub use block::{
    BLOCK_ROWS, BLOCK_VALUE_BYTES, Block, Entry, Filler, LastingReading, Row, SERIES_ROWS,
    SealedReading, SeriesName, decode_index, encode_index,
};
pub use change::{ChangeRecord, decode_changes, encode_changes};
pub(crate) use fingerprint::{edge_fingerprint, twin_fingerprint};
pub(crate) use journal::read_all;
pub use journal::{
    JournalRecord, SeriesParts, Span, decode_readings, encode_readings, read_series,
};
pub use latest::{decode_latest, encode_latest};

use bytes::{Reader, Writer};

/// Bytes a packed record aims to stay within; what is larger is stored in parts of this size.
pub const MAX_RECORD_BYTES: usize = 4 << 20;

/// Name of the key of values that are not encrypted.
pub(crate) const NO_KEY: &str = "none";

/// A packed record and its place.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Offset of its first change or reading.
    pub first: u64,
    /// The record.
    pub bytes: Vec<u8>,
}

/// Why bytes are not a packed record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// It ends too early.
    #[error("the record ends at byte {at}, in the middle of something")]
    Truncated {
        /// Where.
        at: usize,
    },
    /// Its bytes are not those that were written.
    #[error("the checksum of {bytes} bytes is wrong: the stored bytes were altered or lost")]
    Checksum {
        /// Length of the record.
        bytes: usize,
    },
    /// It is not written as this format is.
    #[error("at byte {at}: {what}")]
    Malformed {
        /// Where.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// It was written by a newer program, or is no record at all.
    #[error("the record's format is {found}, this program reads {known}: use a newer program")]
    Format {
        /// First byte of the record.
        found: u8,
        /// What was expected.
        known: u8,
    },
    /// It speaks of something that the ontology does not have.
    #[error("it holds {what} `{name}`, which the ontology no longer has: add it back to its pack")]
    Unknown {
        /// A class, relationship or telemetry.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A personal value under a key that this program does not have.
    #[error("a personal value is encrypted with key `{key}`, which is not known here")]
    Key {
        /// The key's name.
        key: String,
    },
}

/// What a record says about the group it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// First offset of the group.
    pub group_first: u64,
    /// First offset after the group.
    pub group_next: u64,
    /// Offset of the record's first change or reading.
    pub first: u64,
    /// How many changes or readings it holds.
    pub count: u64,
    /// Epoch of the writer.
    pub epoch: u64,
    /// When the group arrived, microseconds since 1970.
    pub at: i64,
}

impl Header {
    /// The header of a record of changes or of readings; its checksum is checked too.
    pub fn of(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut from = Reader::open(bytes)?;
        let format = match bytes.first() {
            Some(&change::FORMAT) => change::FORMAT,
            _ => journal::FORMAT,
        };
        Self::read(format, &mut from)
    }

    /// First offset after the record.
    pub fn next(&self) -> u64 {
        self.first + self.count
    }

    fn write(&self, format: u8, to: &mut Writer) {
        to.byte(format);
        to.unsigned(self.group_first);
        to.unsigned(self.group_next - self.group_first);
        to.unsigned(self.first - self.group_first);
        to.unsigned(self.count);
        to.unsigned(self.epoch);
        to.signed(self.at);
    }

    fn read(format: u8, from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let found = from.byte()?;
        if found != format {
            return Err(CodecError::Format {
                found,
                known: format,
            });
        }
        let wrong = |from: &Reader<'_>| from.wrong("offsets that do not lie inside the group");
        let group_first = from.unsigned()?;
        let length = from.unsigned()?;
        let before = from.unsigned()?;
        let count = from.count()? as u64;
        let (epoch, at) = (from.unsigned()?, from.signed()?);
        let Some(group_next) = group_first.checked_add(length) else {
            return Err(wrong(from));
        };
        let inside = before.checked_add(count).is_some_and(|end| end <= length);
        // Offsets are 64-bit signed in the store.
        if !inside || i64::try_from(group_next).is_err() {
            return Err(wrong(from));
        }
        Ok(Self {
            group_first,
            group_next,
            first: group_first + before,
            count,
            epoch,
            at,
        })
    }
}
