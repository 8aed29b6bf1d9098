//! Geographic files and tables into commits: formats, declarative mappings, a report of everything
//! that was refused, and a synthetic population.
//!
//! ```text
//! file ─► Reader (one stream of features) ─► Mapping (rules) ─► units ─► commits ─► Report
//! ```
//!
//! # Invariants
//! - Memory does not grow with a file: chunks, batches and waiting relationships are bounded. Of tiles a
//!   layer is held to be joined, of CityJSON a document, up to named limits.
//! - No input panics, and one bad feature never stops a set.
//! - The same input twice changes nothing the second time.
//!
//! Knows no HTTP, no MQTT and no terminal.

#![forbid(unsafe_code)]

mod batch;
mod build;
mod difference;
mod error;
pub mod formats;
mod import;
mod load;
pub mod mapping;
mod population;
mod report;
#[cfg(test)]
mod tests;

pub use difference::{Difference, Edit, Relation};
pub use error::{Failure, ImportError};
pub use import::{dry_run, import};
pub use load::{
    BATCH_BYTES, BATCH_OPERATIONS, BATCHES_IN_FLIGHT, MAX_DEFERRED, MAX_TWINS, Progress,
};
pub use mapping::{Folders, Mapping, MappingError};
pub use population::{DEFAULT_PERSONS, MAX_HOMES, MAX_PERSONS, Population, populate};
pub use report::{Counts, LISTED_IN_TEXT, MAX_LISTED, MAX_REASONS, Note, Notes, Report};
