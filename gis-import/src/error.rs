//! Why an import ended early.

use std::fmt;
use std::path::PathBuf;

use twin_core::Refusal;

use crate::formats::FileError;
use crate::report::Report;

/// Why an import could not begin, or not go on to its end.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read, or not further.
    #[error(transparent)]
    File(#[from] FileError),
    /// None of the files that may hold the set exists.
    #[error("there is no file of the set {set}: looked for {}", list(.tried))]
    NoFile {
        /// The set.
        set: String,
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// The set is read from a file that has to be named to it.
    #[error("the set {0} is read from a file that is named to it, and none was")]
    FileNotGiven(String),
    /// The ontology lacks what a built-in set needs.
    #[error("the ontology has no {0}: load the packs of seeds/ontology")]
    Model(&'static str),
    /// A population needs a place to live.
    #[error("there are no villages for people to live in: import the administrative areas first")]
    NoVillages,
    /// The twin stopped writing.
    #[error("the import stopped: {0}")]
    Stopped(Refusal),
    /// The process is ending.
    #[error("the import was interrupted; the same import again goes on where it stopped")]
    Interrupted,
}

fn list(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "nothing, because no data folder is given".to_owned();
    }
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// An import that ended early, and what it had done until then.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: ImportError,
    /// What is durable all the same.
    pub report: Box<Report>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if self.report.read > 0 {
            write!(f, "\nuntil then: {}", self.report)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Its own text is told already.
        std::error::Error::source(&self.error)
    }
}

impl miette::Diagnostic for Failure {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("import::failed"))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match &self.error {
            ImportError::NoFile { .. } => Some(Box::new(
                "fetch the data set, or name its folder with --data",
            )),
            // What helps with a file is told with what is wrong in it.
            _ => None,
        }
    }
}
