//! Why a file cannot be read: which file, where in it, what is wrong and how to mend it.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file that cannot be read, or not further than the place it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// Where in it: `line 3`, `byte 120`, `row group 2`; empty for the file as a whole.
    pub at: String,
    /// What is wrong.
    pub reason: String,
    /// How to mend it.
    pub help: String,
}

impl FileError {
    pub(crate) fn new(
        file: &Path,
        at: impl Into<String>,
        reason: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            file: file.to_owned(),
            at: at.into(),
            reason: reason.into(),
            help: help.into(),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            at,
            reason,
            help,
        } = self;
        write!(f, "{}", file.display())?;
        if !at.is_empty() {
            write!(f, ", {at}")?;
        }
        write!(f, ": {reason}")?;
        if !help.is_empty() {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

impl std::error::Error for FileError {}
