//! The one place that asks SurrealDB, and says what its troubles mean for a store.
//!
//! # Invariants
//! - Text of statements is ours; whatever comes from outside is a bound, typed value.
//! - Only what is known to be the data's fault is a refusal; all else leaves the engine in doubt.

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::time::Duration;

pub(crate) use engine::{As, Row, unanswered};
pub use engine::{Log as EngineLog, OpenError as EngineError, Sync};
use engine::{Place, Receive};
use surrealdb::types::{
    Array, Error, Object, QueryError, RecordId, RecordIdKey, RecordIdKeyRange, Value, Variables,
};
use twin_core::store::StoreError;

use crate::history::Retention;
use crate::log::Keep;

/// Namespace of every realm's database.
pub(crate) const NAMESPACE: &str = "twin";

/// How the engine uses memory and disk.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of the cache of blocks read.
    pub block_cache_bytes: usize,
    /// Bytes of one buffer of writes in memory.
    pub write_buffer_bytes: usize,
    /// Most such buffers.
    pub write_buffers: usize,
    /// How much the engine writes into `LOG` in its folder.
    pub log: EngineLog,
    /// When commits are durable.
    pub sync: Sync,
    /// What is kept of the change log; twins are stored beside it.
    pub change: Keep,
    /// What is kept of the journal of readings; what goes was sealed into history before.
    pub journal: Keep,
    /// How long history is kept.
    pub retention: Retention,
    /// Blocks of a segment of history, and of a table of such, after which another is begun. Dropping
    /// a table costs time and memory by block.
    pub segment_blocks: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            block_cache_bytes: 256 << 20,
            write_buffer_bytes: 64 << 20,
            write_buffers: 4,
            log: EngineLog::Warn,
            sync: Sync::EveryCommit,
            change: Keep::default(),
            journal: Keep {
                bytes: Some(4 << 30),
                time: Some(Duration::from_hours(7 * 24)),
            },
            retention: Retention::default(),
            segment_blocks: 16_384,
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Neither `rocksdb://` nor `mem://`.
    #[error("`{url}` is not a store: give rocksdb://<folder> or mem://")]
    Url {
        /// What was given.
        url: String,
    },
    /// A realm's name that is none.
    #[error("`{realm}` is not a realm: a-z, 0-9 and hyphens, a letter first, at most 32")]
    Realm {
        /// What was given.
        realm: String,
    },
    /// The ontology uses a name that the tables need.
    #[error("{what} cannot be a table or field of the store: {reason}")]
    Name {
        /// The class, property or relationship.
        what: String,
        /// Why not.
        reason: &'static str,
    },
    /// SurrealDB cannot open it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It opened, and its tables could not be made.
    #[error("the store cannot be opened: {0}")]
    Tables(StoreError),
}

/// An open database of one realm.
#[derive(Debug)]
pub(crate) struct Database(engine::Engine);

impl Database {
    pub(crate) async fn open(
        url: &str,
        realm: &str,
        settings: &Settings,
    ) -> Result<Self, OpenError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let begins = realm.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || realm.len() > 32 || !realm.bytes().all(plain) {
            return Err(OpenError::Realm {
                realm: realm.chars().take(80).collect(),
            });
        }
        let place = match url.split_once("://") {
            Some(("mem", _)) => Place::Memory,
            Some(("rocksdb", folder)) if !folder.is_empty() && !folder.contains('?') => {
                Place::Folder(folder)
            }
            _ => {
                return Err(OpenError::Url {
                    url: url.chars().take(200).collect(),
                });
            }
        };
        let settings = engine::Settings {
            block_cache_bytes: settings.block_cache_bytes,
            write_buffer_bytes: settings.write_buffer_bytes,
            write_buffers: settings.write_buffers,
            log: settings.log,
            sync: settings.sync,
        };
        let engine = engine::Engine::open(place, NAMESPACE, realm, &settings).await?;
        Ok(Self(engine))
    }

    /// Ends background work and closes the files, so that they can be opened again.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        let closed = self.0.close().await;
        closed.map_err(|error| StoreError::Engine(format!("closing: {error}")))
    }

    /// Runs statements; the values of all of them, or the error that matters.
    pub(crate) async fn run(&self, text: &str, vars: Variables) -> Result<Vec<Value>, StoreError> {
        self.attempt(text, vars)
            .await
            .map_err(|error| failure(&error))
    }

    /// Runs statements whose failure the caller judges.
    pub(crate) async fn attempt(&self, text: &str, vars: Variables) -> Result<Vec<Value>, Error> {
        self.0.run(text, vars).await
    }

    /// Runs statements and hands their rows over as they come, until the receiver has enough.
    pub(crate) async fn stream(
        &self,
        who: As,
        text: &str,
        vars: Variables,
        each: &mut Receive<'_>,
    ) -> Result<(), Error> {
        self.0.stream(who, text, vars, each).await
    }

    /// Hands over the rows of `SELECT <fields> FROM <table>` whose ids lie within bounds, in the order
    /// of their ids, until the receiver has enough.
    ///
    /// Paging is by stopping the stream: a LIMIT is not pushed down into a range of ids, so each
    /// page would read the rest of the table.
    pub(crate) async fn page<F>(
        &self,
        fields: &str,
        table: &str,
        bounds: (Bound<RecordIdKey>, Bound<RecordIdKey>),
        mut each: F,
    ) -> Result<(), StoreError>
    where
        F: FnMut(Object) -> Result<ControlFlow<()>, StoreError> + Send,
    {
        let (start, end) = bounds;
        let range = RecordIdKey::Range(Box::new(RecordIdKeyRange { start, end }));
        let vars = variables([("range", Value::RecordId(RecordId::new(table, range)))]);
        let text = format!("SELECT {fields} FROM $range");
        let mut failed = None;
        let mut rows = |row: Row| {
            let taken = match row.value {
                Value::Object(row) => each(row),
                other => Err(damaged(
                    table,
                    format!("a row that is no object: {other:?}"),
                )),
            };
            taken.unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        };
        let streamed = self.stream(As::Owner, &text, vars, &mut rows).await;
        match failed {
            Some(error) => Err(error),
            None => streamed.map_err(|error| failure(&error)),
        }
    }
}

/// Whether a commit met another one: nothing of it is durable and it may be tried again.
pub(crate) fn is_conflict(error: &Error) -> bool {
    matches!(error.query_details(), Some(QueryError::TransactionConflict))
}

/// What a failure means for a writer. Only what is known to be the data's fault is a refusal: that
/// leaves nothing behind and its message may be given up. All else leaves the engine in doubt, and
/// taking it for a refusal would let a reading be acknowledged that is nowhere.
pub(crate) fn failure(error: &Error) -> StoreError {
    let text = error.to_string();
    let of_the_data = error.is_validation()
        || error.is_already_exists()
        || error.is_not_found()
        || error.is_thrown()
        || text.contains("Couldn't coerce value for field");
    if of_the_data && !text.contains("Cannot COMMIT") {
        StoreError::Refused(text)
    } else {
        StoreError::Engine(text)
    }
}

pub(crate) fn damaged(place: &str, what: impl fmt::Display) -> StoreError {
    StoreError::Damaged(format!("{place}: {what}"))
}

/// Bound variables of a statement.
pub(crate) fn variables<const N: usize>(pairs: [(&str, Value); N]) -> Variables {
    let mut vars = Variables::new();
    for (name, value) in pairs {
        vars.insert(name, value);
    }
    vars
}

/// The key of a record at an offset of a lane: `[lane, offset]`, or `[lane, offset, part]`.
pub(crate) fn offset_key(lane: &str, numbers: &[u64]) -> RecordIdKey {
    let mut key = vec![Value::String(lane.to_owned())];
    key.extend(numbers.iter().map(|number| int(*number)));
    RecordIdKey::Array(Array::from(key))
}

/// An unsigned number as SurrealDB's signed integer. Offsets and epochs never come near its end.
pub(crate) fn int(number: u64) -> Value {
    Value::Number(i64::try_from(number).unwrap_or(i64::MAX).into())
}
