//! Bytes of packed records: a growing writer and a reader that trusts nothing.
//!
//! # Invariants
//! - Numbers are LEB128 varints (signed ones zigzag first), doubles eight bytes little-endian.
//! - The reader never reads past its end and never allocates more than the bytes it was given
//!   could hold.

use std::sync::Arc;

use super::CodecError;

/// Writes a record.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(super) fn signed(&mut self, value: i64) {
        self.unsigned(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub(super) fn double(&mut self, value: f64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.unsigned(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// The record with its checksum.
    pub(super) fn seal(mut self) -> Vec<u8> {
        let sum = crc32(&self.bytes);
        self.bytes.extend_from_slice(&sum.to_le_bytes());
        self.bytes
    }
}

/// Bytes of the checksum at a record's end.
const SUM_BYTES: usize = 4;

/// Reads a record; every error names the byte it happened at.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of a sealed record, after its checksum was found right.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let Some(body) = bytes.len().checked_sub(SUM_BYTES) else {
            return Err(CodecError::Truncated { at: bytes.len() });
        };
        let (body, sum) = bytes.split_at(body);
        if crc32(body).to_le_bytes() == *sum {
            Ok(Self { bytes: body, at: 0 })
        } else {
            Err(CodecError::Checksum { bytes: bytes.len() })
        }
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn wrong(&self, what: &'static str) -> CodecError {
        CodecError::Malformed { at: self.at, what }
    }

    pub(super) fn byte(&mut self) -> Result<u8, CodecError> {
        let byte = *self
            .bytes
            .get(self.at)
            .ok_or(CodecError::Truncated { at: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, CodecError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.wrong("a number larger than 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.wrong("a number longer than 64 bits"))
    }

    pub(super) fn signed(&mut self) -> Result<i64, CodecError> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    pub(super) fn double(&mut self) -> Result<f64, CodecError> {
        let mut eight = [0; 8];
        eight.copy_from_slice(self.take(8)?);
        let value = f64::from_le_bytes(eight);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(self.wrong("a number that is not finite"))
        }
    }

    /// A count of things of at least one byte each, so it cannot exceed what is left.
    pub(super) fn count(&mut self) -> Result<usize, CodecError> {
        let count = self.unsigned()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.left() => Ok(count),
            _ => Err(self.wrong("more items than bytes are left")),
        }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let end = self
            .at
            .checked_add(count)
            .filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(CodecError::Truncated { at: self.at });
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let count = self.count()?;
        self.take(count)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, CodecError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes)
            .ok()
            .ok_or_else(|| self.wrong("a text that is not UTF-8"))
    }

    /// Errors unless everything was read.
    pub(super) fn finish(&self) -> Result<(), CodecError> {
        if self.left() == 0 {
            Ok(())
        } else {
            Err(self.wrong("bytes after the record's end"))
        }
    }
}

/// Names written once a record: 0 and the text at first use, 1 + its index after that.
#[derive(Debug, Default)]
pub(super) struct NameWriter<'a> {
    known: std::collections::HashMap<&'a str, u64>,
}

impl<'a> NameWriter<'a> {
    pub(super) fn write(&mut self, name: &'a str, to: &mut Writer) {
        if let Some(index) = self.known.get(name) {
            to.unsigned(index + 1);
        } else {
            self.known.insert(name, self.known.len() as u64);
            to.unsigned(0);
            to.text(name);
        }
    }
}

/// The names of a record as they are met.
#[derive(Debug, Default)]
pub(super) struct NameReader {
    known: Vec<Arc<str>>,
}

impl NameReader {
    pub(super) fn read(&mut self, from: &mut Reader<'_>) -> Result<Arc<str>, CodecError> {
        match from.unsigned()? {
            0 => {
                let name: Arc<str> = from.text()?.into();
                self.known.push(Arc::clone(&name));
                Ok(name)
            }
            index => usize::try_from(index - 1)
                .ok()
                .and_then(|index| self.known.get(index))
                .cloned()
                .ok_or_else(|| from.wrong("a name that was not written before")),
        }
    }
}

const TABLE: [[u32; 256]; 8] = tables();

/// Tables of CRC-32 (IEEE 802.3), eight bytes at a time.
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0_u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0xedb8_8320
            } else {
                sum >> 1
            };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut slice = 1;
    while slice < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

/// CRC-32 (IEEE 802.3) of some bytes.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let low = sum ^ u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        let [a, b, c, d] = low.to_le_bytes().map(usize::from);
        sum = TABLE[7][a]
            ^ TABLE[6][b]
            ^ TABLE[5][c]
            ^ TABLE[4][d]
            ^ TABLE[3][usize::from(chunk[4])]
            ^ TABLE[2][usize::from(chunk[5])]
            ^ TABLE[1][usize::from(chunk[6])]
            ^ TABLE[0][usize::from(chunk[7])];
    }
    for byte in chunks.remainder() {
        sum = (sum >> 8) ^ TABLE[0][((sum ^ u32::from(*byte)) & 0xff) as usize];
    }
    !sum
}
