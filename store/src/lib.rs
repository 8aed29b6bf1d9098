//! The durable store on SurrealDB: the one room that speaks SurrealQL.
//!
//! Every class of the ontology is a typed table, every relationship name a relation table, and
//! beside them stand the change log, the journal of readings, receipts and the lane's row. A group
//! of the committer is one transaction ([`SurrealStore`]); packed records are read and written by
//! [`codec`].
//!
//! # Invariants
//! - A group is durable whole or not at all, and only while its writer's epoch holds the lane.
//! - Rows, relationships and change records agree at every commit.
//! - Values reach SurrealDB as bound, typed values, never as text of a statement.

#![forbid(unsafe_code)]

pub mod codec;
mod commit;
mod database;
mod follow;
mod history;
mod letters;
mod lives;
mod load;
mod log;
pub mod peer;
mod query;
mod repair;
mod rows;
mod shape;
mod surreal;
mod tables;
mod values;
mod verify;

pub use database::{EngineError, EngineLog, OpenError, Settings, Sync};
pub use history::Retention;
pub use log::{Keep, LogState};
pub use query::{Limits, MAX_QUERIES, MAX_QUERY_BYTES, QueryError};
pub use repair::Repaired;
pub use rows::MAX_SHAPE_BYTES;
pub use surreal::SurrealStore;
pub use verify::{Finding, MAX_FINDINGS, MAX_MENDS, Report};
