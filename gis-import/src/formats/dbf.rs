//! dBASE tables: the attributes beside a shapefile.
//!
//! # Invariants
//! - A text is decoded by the encoding that the file or the mapping says; where nobody says one, only
//!   UTF-8 is taken, and a row of other bytes is refused rather than guessed.
//! - One row is held at a time.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use super::archive::Stream;
use super::error::FileError;
use super::{Cell, MAX_COLUMNS, Wanted};

const HEADER_BYTES: usize = 32;
const FIELD_BYTES: usize = 32;
const HEADER_END: u8 = 0x0d;
const DELETED: u8 = b'*';
/// Language drivers of dBASE that mean Windows code page 1252.
const DRIVERS_1252: [u8; 3] = [0x03, 0x57, 0x58];

/// How the texts of a table are encoded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Texts {
    /// By what the file or the mapping says.
    Said(&'static Encoding),
    /// Nobody says it.
    Unsaid,
}

/// The encoding of a name as it stands in `.cpg` files and mappings.
pub(super) fn encoding(name: &str) -> Option<&'static Encoding> {
    let name = name.trim().to_ascii_lowercase();
    if let Some(known) = Encoding::for_label(name.as_bytes()) {
        return Some(known);
    }
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    let bare = |prefixes: &[&str]| {
        prefixes.iter().any(|prefix| {
            name.strip_prefix(prefix).is_some_and(|rest| {
                rest.chars()
                    .all(|c| c.is_ascii_digit() || " -_".contains(c))
            })
        })
    };
    let label = match &*digits {
        "65001" => "utf-8".to_owned(),
        "88591" => "iso-8859-1".to_owned(),
        _ if digits.starts_with("8859") => format!("iso-8859-{}", digits.get(4..)?),
        "87" if name.starts_with("ldid") => "windows-1252".to_owned(),
        "932" => "shift_jis".to_owned(),
        "936" => "gbk".to_owned(),
        "949" => "euc-kr".to_owned(),
        "950" => "big5".to_owned(),
        _ if bare(&["", "cp", "ansi", "ansi ", "windows"]) => format!("windows-{digits}"),
        _ => return None,
    };
    Encoding::for_label(label.as_bytes())
}

struct Field {
    name: Arc<str>,
    kind: u8,
    at: usize,
    length: usize,
    wanted: bool,
}

/// A table being read.
pub(super) struct Table {
    stream: Stream,
    fields: Vec<Field>,
    row: Vec<u8>,
    left: u32,
    texts: Texts,
    /// Texts that were cut in the middle of a character.
    pub(super) cut: u64,
}

/// A row of a table.
pub(super) enum Row {
    Values(BTreeMap<Arc<str>, Cell>),
    Deleted,
    Refused(String),
    End,
}

impl Table {
    pub(super) fn open(
        mut stream: Stream,
        said: Option<&'static Encoding>,
        wanted: &Wanted,
    ) -> Result<Self, FileError> {
        let mut head = [0; HEADER_BYTES];
        stream.fill(&mut head, "the header of the table")?;
        let left = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let header_bytes = usize::from(u16::from_le_bytes([head[8], head[9]]));
        let row_bytes = usize::from(u16::from_le_bytes([head[10], head[11]]));
        let texts = match said {
            Some(said) => Texts::Said(said),
            None if DRIVERS_1252.contains(&head[29]) => Texts::Said(WINDOWS_1252),
            None => Texts::Unsaid,
        };
        let damaged = |stream: &Stream, reason: String| {
            stream.error(
                reason,
                "the table is damaged or no dBASE table: fetch it again",
            )
        };
        if header_bytes < HEADER_BYTES + 1 || row_bytes == 0 {
            return Err(damaged(
                &stream,
                format!("a header of {header_bytes} bytes and rows of {row_bytes} make no table"),
            ));
        }
        let mut rest = vec![0; header_bytes - HEADER_BYTES];
        stream.fill(&mut rest, "the columns of the table")?;
        let mut fields: Vec<Field> = Vec::new();
        let mut lengths = Vec::new();
        for field in rest.chunks_exact(FIELD_BYTES) {
            if field[0] == HEADER_END || field[0] == 0 {
                break;
            }
            if fields.len() >= MAX_COLUMNS {
                let reason = format!("more columns than the limit of {MAX_COLUMNS}");
                return Err(damaged(&stream, reason));
            }
            let name = field[..11]
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default();
            let encoding = match texts {
                Texts::Said(said) => said,
                Texts::Unsaid => UTF_8,
            };
            let name = encoding.decode_without_bom_handling(name).0.trim().into();
            let short = usize::from(field[16]);
            // Some programs put the high byte of a long text into its decimals.
            let long = if field[11] == b'C' {
                short + (usize::from(field[17]) << 8)
            } else {
                short
            };
            lengths.push((short, long));
            fields.push(Field {
                name,
                kind: field[11],
                at: 0,
                length: 0,
                wanted: false,
            });
        }
        let long: usize = lengths.iter().map(|(_, long)| long).sum();
        let mut at = 1;
        for (field, (short, length)) in fields.iter_mut().zip(lengths) {
            field.at = at;
            field.length = if long < row_bytes { length } else { short };
            at += field.length;
        }
        if at > row_bytes {
            let reason = format!("columns of {at} bytes do not fit rows of {row_bytes}");
            return Err(damaged(&stream, reason));
        }
        let mut table = Self {
            stream,
            fields,
            row: vec![0; row_bytes],
            left,
            texts,
            cut: 0,
        };
        table.want(wanted)?;
        Ok(table)
    }

    fn want(&mut self, wanted: &Wanted) -> Result<(), FileError> {
        let all = wanted.columns.is_empty();
        for field in &mut self.fields {
            field.wanted = all || wanted.columns.contains(&field.name);
            let read = b"CNFLDIBO+".contains(&field.kind);
            if read {
                continue;
            }
            if field.wanted && !all {
                let kind = field.kind.escape_ascii().to_string();
                return Err(self.stream.error(
                    format!(
                        "column `{}` is of type {kind}, which is not read",
                        field.name
                    ),
                    "store it as a text, a number or a day",
                ));
            }
            field.wanted = false;
        }
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.fields
            .iter()
            .map(|field| Arc::clone(&field.name))
            .collect()
    }

    pub(super) fn said(&self) -> bool {
        matches!(self.texts, Texts::Said(_))
    }

    /// Reads on to the end, where an archive tells whether what was read is whole; how many rows were left.
    pub(super) fn finish(&mut self) -> Result<u32, FileError> {
        let left = std::mem::take(&mut self.left);
        match io::copy(&mut self.stream, &mut io::sink()) {
            Ok(_) => Ok(left),
            Err(error) => Err(self.stream.failure(&error)),
        }
    }

    pub(super) fn next_row(&mut self) -> Result<Row, FileError> {
        if self.left == 0 {
            return Ok(Row::End);
        }
        self.left -= 1;
        match self.stream.read_exact(&mut self.row) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.left = 0;
                return Ok(Row::End);
            }
            Err(error) => return Err(self.stream.failure(&error)),
        }
        if self.row[0] == DELETED {
            return Ok(Row::Deleted);
        }
        let mut values = BTreeMap::new();
        for field in self.fields.iter().filter(|field| field.wanted) {
            let bytes = self
                .row
                .get(field.at..field.at + field.length)
                .unwrap_or_default();
            match cell(field, bytes, self.texts) {
                Ok((value, cut)) => {
                    self.cut += u64::from(cut);
                    values.insert(Arc::clone(&field.name), value);
                }
                Err(reason) => return Ok(Row::Refused(reason)),
            }
        }
        Ok(Row::Values(values))
    }
}

/// A value, and whether it was cut within a character.
fn cell(field: &Field, bytes: &[u8], texts: Texts) -> Result<(Cell, bool), String> {
    let number = || {
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        text.trim_matches(['\0', ' ']).to_owned()
    };
    let cell = match field.kind {
        b'C' => {
            let text = trimmed(bytes);
            if text.is_empty() {
                return Ok((Cell::Null, false));
            }
            return decode(&field.name, text, text.len() == bytes.len(), texts);
        }
        b'N' | b'F' => {
            let text = number();
            if text.is_empty() || text.starts_with('*') {
                Cell::Null
            } else if let Ok(whole) = text.parse() {
                Cell::Int(whole)
            } else {
                match text.parse::<f64>() {
                    Ok(number) if number.is_finite() => Cell::Float(number),
                    _ => Cell::Text(text.into()),
                }
            }
        }
        b'L' => match bytes.first() {
            Some(b'T' | b't' | b'Y' | b'y') => Cell::Bool(true),
            Some(b'F' | b'f' | b'N' | b'n') => Cell::Bool(false),
            _ => Cell::Null,
        },
        b'D' => {
            let text = number();
            match (text.get(..4), text.get(4..6), text.get(6..8)) {
                _ if text.is_empty() || text.chars().all(|c| c == '0') => Cell::Null,
                (Some(year), Some(month), Some(day)) if text.len() == 8 => {
                    Cell::Text(format!("{year}-{month}-{day}").into())
                }
                _ => Cell::Text(text.into()),
            }
        }
        b'I' | b'+' => match bytes.first_chunk() {
            Some(bytes) => Cell::Int(i64::from(i32::from_le_bytes(*bytes))),
            None => Cell::Null,
        },
        _ => match bytes.first_chunk() {
            Some(bytes) if f64::from_le_bytes(*bytes).is_finite() => {
                Cell::Float(f64::from_le_bytes(*bytes))
            }
            _ => Cell::Null,
        },
    };
    Ok((cell, false))
}

/// Without what fills the column up.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    text.trim_ascii_end()
}

fn decode(name: &str, text: &[u8], full: bool, texts: Texts) -> Result<(Cell, bool), String> {
    let taken = |text: &str| Cell::Text(text.into());
    let utf8 = match texts {
        Texts::Said(said) if said != UTF_8 => {
            return match said.decode_without_bom_handling_and_without_replacement(text) {
                Some(text) => Ok((taken(&text), false)),
                None => Err(format!(
                    "column `{name}` is not {}: check what the .cpg or the mapping says",
                    said.name()
                )),
            };
        }
        _ => std::str::from_utf8(text),
    };
    match utf8 {
        Ok(text) => Ok((taken(text), false)),
        // A text that fills its column may end within a character.
        Err(bad) if full && bad.error_len().is_none() => {
            let whole = text.get(..bad.valid_up_to()).unwrap_or_default();
            Ok((taken(&String::from_utf8_lossy(whole)), true))
        }
        Err(bad) => {
            let byte = text.get(bad.valid_up_to()).copied().unwrap_or_default();
            let why = match texts {
                Texts::Said(_) => "is not UTF-8 as the .cpg or the mapping says",
                Texts::Unsaid => {
                    "is not UTF-8, and no .cpg says what it is: say encoding = \"ISO-8859-1\" (or another) in [[file]]"
                }
            };
            Err(format!(
                "column `{name}`: byte {} (0x{byte:02x}) {why}",
                bad.valid_up_to() + 1
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_have_many_names() {
        for (name, known) in [
            ("UTF-8", "UTF-8"),
            ("utf8\n", "UTF-8"),
            ("65001", "UTF-8"),
            ("ISO-8859-1", "windows-1252"),
            ("ISO 88591", "windows-1252"),
            ("8859_1", "windows-1252"),
            ("88592", "ISO-8859-2"),
            ("1252", "windows-1252"),
            ("CP1252", "windows-1252"),
            ("ANSI 1251", "windows-1251"),
            ("LDID/87", "windows-1252"),
            ("932", "Shift_JIS"),
        ] {
            assert_eq!(encoding(name).map(Encoding::name), Some(known), "{name}");
        }
        for name in ["", "OEM", "CP437", "gibberish 12"] {
            assert!(encoding(name).is_none(), "{name}");
        }
    }
}
