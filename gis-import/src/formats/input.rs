//! Bytes of a file, inflated where it is gzip, with bounds and errors that name the place.
//!
//! # Invariants
//! - `inflated <= MAX_INFLATED_BYTES`: a small file cannot become an endless one.
//! - Gzip is told by its magic bytes; a name ending in `.gz` without them is refused.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::error::FileError;

/// Most bytes that a gzip file may inflate to.
pub const MAX_INFLATED_BYTES: u64 = 8 << 30;
/// Most bytes that a gzip file of Parquet may inflate to: that format needs all of it at hand.
pub const MAX_INFLATED_PARQUET_BYTES: u64 = 512 << 20;

const BUFFER_BYTES: usize = 64 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file's bytes.
pub(crate) struct Input {
    path: PathBuf,
    inner: Inner,
    /// Bytes given so far.
    given: u64,
    limit: u64,
}

enum Inner {
    Plain(BufReader<File>),
    Gzip(Box<BufReader<MultiGzDecoder<BufReader<File>>>>),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("path", &self.path)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl Input {
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_limited(path, MAX_INFLATED_BYTES)
    }

    pub(crate) fn open_limited(path: &Path, limit: u64) -> Result<Self, FileError> {
        let failed = |error: io::Error| {
            let help = match error.kind() {
                io::ErrorKind::NotFound => "check the path, or fetch the data set",
                io::ErrorKind::PermissionDenied => "make the file readable for this user",
                _ => "check that it is a readable file",
            };
            FileError::new(path, "", format!("cannot be opened: {error}"), help)
        };
        let mut plain = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(failed)?);
        let start = plain.fill_buf().map_err(failed)?;
        let inner = if start.starts_with(&GZIP_MAGIC) {
            Inner::Gzip(Box::new(BufReader::with_capacity(
                BUFFER_BYTES,
                MultiGzDecoder::new(plain),
            )))
        } else if path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("gz"))
        {
            return Err(FileError::new(
                path,
                "byte 0",
                "its name says gzip but it does not begin with 1f 8b",
                "fetch it again, or rename it without .gz if it is not compressed",
            ));
        } else {
            Inner::Plain(plain)
        };
        Ok(Self {
            path: path.to_owned(),
            inner,
            given: 0,
            limit,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_gzip(&self) -> bool {
        matches!(self.inner, Inner::Gzip(_))
    }

    /// What an error of reading means for whoever reads the message.
    pub(crate) fn error(path: &Path, given: u64, error: &io::Error) -> FileError {
        let at = format!("after byte {given}");
        match error.kind() {
            io::ErrorKind::UnexpectedEof => FileError::new(
                path,
                at,
                "the compressed data end too early: the file is cut off",
                "fetch it again",
            ),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => FileError::new(
                path,
                at,
                format!("the data are damaged: {error}"),
                "fetch the file again",
            ),
            io::ErrorKind::FileTooLarge => FileError::new(
                path,
                at,
                error.to_string(),
                "split it, or inflate it first if it is really that large",
            ),
            _ => FileError::new(
                path,
                at,
                format!("cannot be read: {error}"),
                "check the disk",
            ),
        }
    }

    pub(crate) fn failure(&self, error: &io::Error) -> FileError {
        Self::error(&self.path, self.given, error)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &mut self.inner {
            Inner::Plain(inner) => inner.fill_buf(),
            Inner::Gzip(inner) => {
                if self.given > self.limit {
                    return Err(io::Error::new(
                        io::ErrorKind::FileTooLarge,
                        format!("it inflates to more than the limit of {} bytes", self.limit),
                    ));
                }
                inner.fill_buf()
            }
        }
    }

    fn consume(&mut self, amount: usize) {
        self.given += amount as u64;
        match &mut self.inner {
            Inner::Plain(inner) => inner.consume(amount),
            Inner::Gzip(inner) => inner.consume(amount),
        }
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let taken = available.len().min(out.len());
        out[..taken].copy_from_slice(&available[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn write(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn several_gzip_members_are_one_stream() {
        let (_dir, path) = write("two.csv.gz", &[gz(b"one,"), gz(b"two")].concat());
        let mut text = String::new();
        Input::open(&path)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "one,two");
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let (_dir, path) = write("bomb.gz", &gz(&vec![0; 1 << 20]));
        let mut input = Input::open_limited(&path, 1000).unwrap();
        let error = io::copy(&mut input, &mut io::sink()).unwrap_err();
        let error = input.failure(&error).to_string();
        assert!(
            error.contains("more than the limit of 1000 bytes"),
            "{error}"
        );
    }

    #[test]
    fn a_name_in_gz_without_gzip_inside_is_refused() {
        let (_dir, path) = write("plain.csv.gz", b"a,b\n");
        let error = Input::open(&path).unwrap_err();
        assert!(
            error.reason.contains("does not begin with 1f 8b"),
            "{error}"
        );
    }

    #[test]
    fn a_cut_gzip_says_so_wherever_it_is_cut() {
        let text = (0..2000)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(",");
        let whole = gz(text.as_bytes());
        for cut in (2..whole.len()).step_by(37) {
            let (_dir, path) = write("cut.gz", &whole[..cut]);
            let mut input = Input::open(&path).unwrap();
            let error = io::copy(&mut input, &mut io::sink()).unwrap_err();
            assert!(input.failure(&error).help.contains("fetch"), "cut at {cut}");
        }
    }
}
