//! Files that stand alone or in a zip archive, as streams of bytes.
//!
//! # Invariants
//! - A stream gives at most its limit; an entry that inflates to more is refused, and one whose check
//!   sum differs is told when it ends.
//! - An archive has at most [`MAX_ENTRIES`] entries; nothing of it is held but their names.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::error::FileError;
use super::input::MAX_INFLATED_BYTES;

/// Most entries of a zip archive.
const MAX_ENTRIES: usize = 10_000;
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes of a small file that is read whole.
const SMALL_BYTES: u64 = 64 << 10;
const REFETCH: &str = "the archive is damaged: fetch it again";

/// Most bytes of the list of entries.
const MAX_DIRECTORY_BYTES: u64 = 16 << 20;
/// Bytes of the record at the end of an archive, without the comment that may follow it.
const END_BYTES: usize = 22;
const END_MARK: [u8; 4] = *b"PK\x05\x06";
/// Bytes of an entry of the list, without its name.
const ENTRY_BYTES: usize = 46;
const ENTRY_MARK: [u8; 4] = *b"PK\x01\x02";
/// Bytes in front of an entry's data, without its name.
const LOCAL_BYTES: usize = 30;
const LOCAL_MARK: [u8; 4] = *b"PK\x03\x04";
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// An entry of an archive.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    /// Where its header stands.
    at: u64,
    packed: u64,
    deflated: bool,
    checksum: u32,
}

/// A zip archive. Read by hand: of a library only the list of entries would be wanted.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let mut file = open(path)?;
        let entries = directory(&mut file).and_then(|bytes| entries(&bytes));
        match entries {
            Ok(entries) => Ok(Self {
                path: path.to_owned(),
                entries,
            }),
            Err(reason) => Err(FileError::new(path, "", reason, REFETCH)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the entries that can be read.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.name)
    }

    /// The entry of a name in any case.
    pub(super) fn stream(&self, name: &str) -> Result<Option<Stream>, FileError> {
        let same = |entry: &&Entry| entry.name.eq_ignore_ascii_case(name);
        let Some(entry) = self.entries.iter().find(same) else {
            return Ok(None);
        };
        let mut file = open(&self.path)?;
        if let Err(reason) = seek_data(&mut file, entry.at) {
            return Err(FileError::new(
                &self.path,
                format!("entry {name}"),
                reason,
                REFETCH,
            ));
        }
        let packed = BufReader::with_capacity(BUFFER_BYTES, file.take(entry.packed));
        let inner = if entry.deflated {
            Inner::Deflated(Box::new(DeflateDecoder::new(packed)))
        } else {
            Inner::Stored(packed)
        };
        Ok(Some(Stream {
            path: self.path.clone(),
            entry: Some(entry.name.clone()),
            inner: Checked {
                inner,
                crc: Crc::new(),
                checksum: Some(entry.checksum),
            },
            given: 0,
            limit: MAX_INFLATED_BYTES,
        }))
    }
}

/// The list of entries, which the record at the end of the file points to.
fn directory(file: &mut File) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| format!("it cannot be read: {error}");
    let length = file.seek(SeekFrom::End(0)).map_err(cannot)?;
    let tail = length.min((END_BYTES + usize::from(u16::MAX)) as u64);
    let mut end = vec![0; tail as usize];
    file.seek(SeekFrom::Start(length - tail)).map_err(cannot)?;
    file.read_exact(&mut end).map_err(cannot)?;
    let found = end
        .windows(END_BYTES)
        .rposition(|bytes| bytes.starts_with(&END_MARK));
    let Some(record) = found.and_then(|at| end.get(at..)) else {
        return Err("it is no zip archive, or is cut off".to_owned());
    };
    let count = u16_at(record, 10);
    let (size, offset) = (u32_at(record, 12), u32_at(record, 16));
    if count == u16::MAX || size == u32::MAX || offset == u32::MAX {
        return Err("it is an archive of the large kind (zip64), which is not read".to_owned());
    }
    if usize::from(count) > MAX_ENTRIES {
        return Err(format!(
            "{count} entries are more than the limit of {MAX_ENTRIES}"
        ));
    }
    let (size, offset) = (u64::from(size), u64::from(offset));
    if size > MAX_DIRECTORY_BYTES || offset + size > length {
        return Err("its list of entries is not where it should be".to_owned());
    }
    let mut bytes = vec![0; size as usize];
    file.seek(SeekFrom::Start(offset)).map_err(cannot)?;
    file.read_exact(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// The entries that can be read: files that are stored or deflated, without a password.
fn entries(mut bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<ENTRY_BYTES>() {
        if !head.starts_with(&ENTRY_MARK) {
            return Err("its list of entries is damaged".to_owned());
        }
        let (flags, method) = (u16_at(head, 8), u16_at(head, 10));
        let lengths = [28, 30, 32].map(|at| usize::from(u16_at(head, at)));
        let (Some(name), Some(after)) = (
            rest.get(..lengths[0]),
            rest.get(lengths.iter().sum::<usize>()..),
        ) else {
            return Err("its list of entries is cut off".to_owned());
        };
        bytes = after;
        let name = String::from_utf8_lossy(name).into_owned();
        let locked = flags & 1 == 1;
        if !locked && matches!(method, STORED | DEFLATED) && !name.ends_with('/') {
            entries.push(Entry {
                name,
                at: u64::from(u32_at(head, 42)),
                packed: u64::from(u32_at(head, 20)),
                deflated: method == DEFLATED,
                checksum: u32_at(head, 16),
            });
        }
        if entries.len() > MAX_ENTRIES {
            return Err(format!("more entries than the limit of {MAX_ENTRIES}"));
        }
    }
    Ok(entries)
}

/// Goes to where the data of an entry begin, behind its header.
fn seek_data(file: &mut File, at: u64) -> Result<(), String> {
    let mut head = [0; LOCAL_BYTES];
    let read = file
        .seek(SeekFrom::Start(at))
        .and_then(|_| file.read_exact(&mut head));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if !head.starts_with(&LOCAL_MARK) {
        return Err("does not begin where the list of entries says".to_owned());
    }
    let further = i64::from(u16_at(&head, 26)) + i64::from(u16_at(&head, 28));
    let gone = file.seek(SeekFrom::Current(further));
    gone.map_err(|error| format!("cannot be read: {error}"))?;
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk);
    chunk.copied().map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk);
    chunk.copied().map_or(0, u32::from_le_bytes)
}

fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "check the path, or fetch the data set",
            io::ErrorKind::PermissionDenied => "make the file readable for this user",
            _ => "check that it is a readable file",
        };
        FileError::new(path, "", format!("cannot be opened: {error}"), help)
    })
}

enum Inner {
    Plain(BufReader<File>),
    Stored(BufReader<io::Take<File>>),
    Deflated(Box<DeflateDecoder<BufReader<io::Take<File>>>>),
}

struct Checked {
    inner: Inner,
    crc: Crc,
    checksum: Option<u32>,
}

impl Read for Checked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.inner {
            Inner::Plain(inner) => return inner.read(out),
            Inner::Stored(inner) => inner.read(out)?,
            Inner::Deflated(inner) => inner.read(out)?,
        };
        self.crc.update(out.get(..read).unwrap_or_default());
        if read == 0
            && !out.is_empty()
            && let Some(checksum) = self.checksum.take()
            && checksum != self.crc.sum()
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the check sum of the entry differs",
            ));
        }
        Ok(read)
    }
}

/// A file being read from its beginning.
pub(super) struct Stream {
    path: PathBuf,
    entry: Option<String>,
    inner: Checked,
    given: u64,
    limit: u64,
}

impl Stream {
    /// A file that stands alone.
    pub(super) fn plain(path: &Path) -> Result<Self, FileError> {
        let file = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            entry: None,
            inner: Checked {
                inner: Inner::Plain(BufReader::with_capacity(BUFFER_BYTES, file)),
                crc: Crc::new(),
                checksum: None,
            },
            given: 0,
            limit: u64::MAX,
        })
    }

    /// Bytes given so far.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// An error at the place reached so far.
    pub(super) fn error(&self, reason: impl Into<String>, help: impl Into<String>) -> FileError {
        let at = match &self.entry {
            Some(entry) => format!("entry {entry}, byte {}", self.given),
            None => format!("byte {}", self.given),
        };
        FileError::new(&self.path, at, reason, help)
    }

    pub(super) fn failure(&self, error: &io::Error) -> FileError {
        let help = match error.kind() {
            io::ErrorKind::FileTooLarge => "unpack the archive if it is really that large",
            _ => "check the disk, or fetch the file again",
        };
        self.error(format!("cannot be read: {error}"), help)
    }

    /// Fills the buffer, or says inside of what the file ends.
    pub(super) fn fill(&mut self, out: &mut [u8], what: &str) -> Result<(), FileError> {
        match self.read_exact(out) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.error(format!("the file ends inside {what}"), "fetch it again"))
            }
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Reads until the buffer is full or the file ends.
    pub(super) fn fill_some(&mut self, out: &mut [u8]) -> Result<usize, FileError> {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(&error)),
            }
        }
        Ok(filled)
    }

    /// Goes on `bytes` further; whether the file is that long.
    pub(super) fn skip(&mut self, bytes: u64) -> Result<bool, FileError> {
        let skipped = io::copy(&mut self.by_ref().take(bytes), &mut io::sink());
        let skipped = skipped.map_err(|error| self.failure(&error))?;
        Ok(skipped == bytes)
    }

    /// The whole of a small file, as text where it is one.
    pub(super) fn small(mut self) -> Result<String, FileError> {
        let mut bytes = Vec::new();
        let read = self.by_ref().take(SMALL_BYTES).read_to_end(&mut bytes);
        read.map_err(|error| self.failure(&error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.given += read as u64;
        if self.given > self.limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it inflates to more than the limit of {} bytes", self.limit),
            ));
        }
        Ok(read)
    }
}
