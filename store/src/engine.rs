//! The one place that opens SurrealDB and runs statements on it.
//!
//! It stands on the engine below the SDK, whose interface carries no promise of stability; the
//! rest of this crate only sees [`Engine`]. The SDK would hide what is needed here: statements
//! parsed once, sessions of a role, streams of rows that can be stopped.
//!
//! Futures of SurrealDB are nested deeply, so they are boxed here, and made once: whoever awaits them
//! would be compiled with all of them inside.
//!
//! # Invariants
//! - Text of statements is ours; whatever comes from outside is a bound, typed value.
//! - Every commit is synced before it returns, unless [`Sync::Never`] was asked for.

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use surrealdb::types::{
    Array, Error, Object, QueryError, RecordId, RecordIdKey, RecordIdKeyRange, Value, Variables,
};
use surrealdb_cnf::ConfigMap;
use surrealdb_core::ctx::CancelHandle;
use surrealdb_core::dbs::Session;
use surrealdb_core::kvs::{Datastore, QueryRequest};
use surrealdb_rpc::stream::QUERY_STREAM_BUFFER;
use surrealdb_rpc::{QueryResult, QueryStreamItem};
use twin_core::store::StoreError;

use crate::history::Retention;
use crate::log::Keep;

/// Namespace of every realm's database.
pub(crate) const NAMESPACE: &str = "twin";

/// Commits that wait before they are synced together. Our committer already gathers, so a lone
/// commit must never wait for company.
const GROUPED_COMMIT_WAIT_THRESHOLD: usize = 4096;

/// A statement that takes longer has failed. The engine waits without end for some things, such as the
/// number of a new table while its disk refuses writes; nothing that is asked here takes so long.
const STATEMENT_WITHIN: Duration = Duration::from_mins(10);

/// How often, and how long each time, closing waits for what still runs.
const CLOSE_WAITS: usize = 1_000;
const CLOSE_WAIT: Duration = Duration::from_millis(5);

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

/// How much the engine writes into `LOG` in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineLog {
    /// What failed.
    Error,
    /// What may come to fail, too.
    Warn,
    /// Every flush and compaction, too.
    Info,
}

/// When commits are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before they are answered.
    EveryCommit,
    /// When the operating system likes: a power cut loses the last ones. For measurements.
    Never,
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
    /// Another process has the folder open.
    #[error("{folder} is in use by another process: stop it, or ask it by its address")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// No room to open it.
    #[error("{folder} cannot be opened, its disk is full: free some space first ({reason})")]
    DiskFull {
        /// The folder.
        folder: String,
        /// What the system said.
        reason: String,
    },
    /// The folder cannot be used.
    #[error("{folder} cannot be opened: {reason}; check that it exists and can be written to")]
    Folder {
        /// The folder.
        folder: String,
        /// What the system said.
        reason: String,
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
    /// The engine refused.
    #[error("the store cannot be opened: {0}")]
    Engine(String),
}

/// An open database of one realm.
pub(crate) struct Engine {
    /// None once it was closed: the files are free only when nothing holds the datastore.
    datastore: RwLock<Option<Arc<Datastore>>>,
    owner: Session,
    reader: Session,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("realm", &self.owner.db)
            .finish_non_exhaustive()
    }
}

/// As whom a statement runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum As {
    /// The store itself.
    Owner,
    /// A user who may only look.
    Reader,
}

impl Engine {
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
        let (path, folder) = match url.split_once("://") {
            Some(("mem", _)) => ("memory".to_owned(), String::new()),
            Some(("rocksdb", folder)) if !folder.is_empty() && !folder.contains('?') => {
                prepare(folder)?;
                (rocksdb_path(folder, settings), folder.to_owned())
            }
            _ => {
                return Err(OpenError::Url {
                    url: url.chars().take(200).collect(),
                });
            }
        };
        let failed = |error: String| explain(&folder, error);
        let datastore = start(&path, settings).await.map_err(&failed)?;
        let engine = Self {
            datastore: RwLock::new(Some(datastore)),
            owner: Session::owner().with_ns(NAMESPACE).with_db(realm),
            reader: Session::viewer().with_ns(NAMESPACE).with_db(realm),
        };
        let define = format!(
            "DEFINE NAMESPACE IF NOT EXISTS {NAMESPACE}; DEFINE DATABASE IF NOT EXISTS `{realm}`"
        );
        engine
            .run(&define, Variables::new())
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok(engine)
    }

    /// Ends background work and closes the files, so that they can be opened again.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        let taken = self
            .datastore
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(datastore) = taken else {
            return Ok(());
        };
        let closed = shut_down(&datastore).await;
        // What still runs holds the files; it was cancelled and ends soon.
        for _ in 0..CLOSE_WAITS {
            if Arc::strong_count(&datastore) == 1 {
                break;
            }
            tokio::time::sleep(CLOSE_WAIT).await;
        }
        closed.map_err(|error| StoreError::Engine(format!("closing: {error}")))
    }

    fn datastore(&self) -> Result<Arc<Datastore>, Error> {
        let datastore = self
            .datastore
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // In the engine's own words, so that it is judged as its other troubles are.
        datastore.ok_or_else(|| Error::internal("The datastore is shutting down".to_owned()))
    }

    fn session(&self, who: As) -> &Session {
        match who {
            As::Owner => &self.owner,
            As::Reader => &self.reader,
        }
    }

    /// Runs statements; the values of all of them, or the error that matters.
    pub(crate) fn run<'a>(
        &'a self,
        text: &'a str,
        vars: Variables,
    ) -> BoxFuture<'a, Result<Vec<Value>, StoreError>> {
        async move {
            let values = self.attempt(text, vars).await;
            values.map_err(|error| failure(&error))
        }
        .boxed()
    }

    /// Runs statements whose failure the caller judges.
    pub(crate) fn attempt<'a>(
        &'a self,
        text: &'a str,
        vars: Variables,
    ) -> BoxFuture<'a, Result<Vec<Value>, Error>> {
        async move {
            let request = QueryRequest::new(text, &self.owner).with_variables(Some(vars));
            let datastore = self.datastore()?;
            match tokio::time::timeout(STATEMENT_WITHIN, datastore.run(request)).await {
                Ok(answered) => values(answered?),
                Err(_) => Err(Error::internal(unanswered(STATEMENT_WITHIN))),
            }
        }
        .boxed()
    }

    /// Runs statements and hands their rows over as they come, each with its statement's index,
    /// until the receiver has enough. The engine reads ahead by a few batches, not more.
    pub(crate) fn stream<'a>(
        &'a self,
        who: As,
        text: &'a str,
        vars: Variables,
        each: &'a mut Receive<'_, Row>,
    ) -> BoxFuture<'a, Result<(), Streamed>> {
        async move {
            let cancel = CancelHandle::new();
            let request = QueryRequest::new(text, self.session(who))
                .with_variables(Some(vars))
                .with_cancel(cancel.clone());
            let (sender, items) = surrealdb_core::channel::bounded(QUERY_STREAM_BUFFER);
            let datastore = self.datastore().map_err(Streamed::Statement)?;
            let job = datastore
                .run_streaming(request, sender)
                .map_err(Streamed::Statement)?;
            drop(datastore);
            // Dropped early, by an error or a caller that gave up waiting, this stops the execution.
            let _stop = StopOnDrop(cancel);
            let running = tokio::spawn(job.run);
            loop {
                let Ok(item) = tokio::time::timeout(STATEMENT_WITHIN, items.recv()).await else {
                    return Err(Streamed::Statement(Error::internal(unanswered(
                        STATEMENT_WITHIN,
                    ))));
                };
                let Ok(item) = item else { break };
                let flow = match item {
                    QueryStreamItem::Rows { index, values } => {
                        let mut flow = ControlFlow::Continue(());
                        for value in values {
                            flow = each(Row {
                                statement: index,
                                value,
                                of_many: true,
                            })?;
                            if flow.is_break() {
                                break;
                            }
                        }
                        flow
                    }
                    QueryStreamItem::Value { index, value } => each(Row {
                        statement: index,
                        value,
                        of_many: false,
                    })?,
                    QueryStreamItem::Finished {
                        error: Some(error), ..
                    } if !is_echo(&error) => {
                        return Err(Streamed::Statement(error));
                    }
                    QueryStreamItem::Finished { .. } => ControlFlow::Continue(()),
                };
                if flow.is_break() {
                    return Ok(());
                }
            }
            match running.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(Streamed::Statement(error)),
                Err(error) => {
                    Err(StoreError::Engine(format!("a query ended badly: {error}")).into())
                }
            }
        }
        .boxed()
    }

    /// Hands over the rows of `SELECT <fields> FROM <table>` in the order of their ids, from the
    /// one after `after`, at most about `page` of them. Whether there may be more.
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
        let mut rows = |row: Row| match row.value {
            Value::Object(row) => each(row),
            other => Err(damaged(
                table,
                format!("a row that is no object: {other:?}"),
            )),
        };
        let streamed = self.stream(As::Owner, &text, vars, &mut rows);
        streamed.await.map_err(StoreError::from)
    }
}

/// Takes what a stream hands over, and says whether it wants more.
pub(crate) type Receive<'a, T> = dyn FnMut(T) -> Result<ControlFlow<()>, StoreError> + Send + 'a;

/// A row of a stream.
#[derive(Debug)]
pub(crate) struct Row {
    /// Index of its statement.
    pub(crate) statement: usize,
    pub(crate) value: Value,
    /// Whether the statement answers with a list, of which this is one.
    pub(crate) of_many: bool,
}

/// Why a stream ended early.
#[derive(Debug)]
pub(crate) enum Streamed {
    /// The statement failed.
    Statement(Error),
    /// Its receiver did.
    Receiver(StoreError),
}

impl From<StoreError> for Streamed {
    fn from(error: StoreError) -> Self {
        Self::Receiver(error)
    }
}

impl From<Streamed> for StoreError {
    fn from(streamed: Streamed) -> Self {
        match streamed {
            Streamed::Statement(error) => failure(&error),
            Streamed::Receiver(error) => error,
        }
    }
}

struct StopOnDrop(CancelHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.trip();
    }
}

/// Starts an engine; what is wrong in its own words.
fn start<'a>(path: &'a str, settings: &Settings) -> BoxFuture<'a, Result<Arc<Datastore>, String>> {
    let builder = Datastore::builder()
        .with_config(config(settings))
        // Maintenance writes, and a write before the version's key would make a new folder look
        // like one of an older program.
        .without_maintenance_tasks();
    async move {
        let datastore = builder.build_with_path(path).await;
        let datastore = datastore.map_err(|error| format!("{error:#}"))?;
        let version = datastore.check_version().await;
        version.map_err(|error| format!("{error:#}"))?;
        let started = datastore.bootstrap().await;
        started.map_err(|error| format!("{error:#}"))?;
        datastore.start_maintenance_tasks();
        Ok(datastore)
    }
    .boxed()
}

fn shut_down(datastore: &Datastore) -> BoxFuture<'_, Result<(), String>> {
    async { (datastore.shutdown().await).map_err(|error| format!("{error:#}")) }.boxed()
}

fn config(settings: &Settings) -> ConfigMap {
    let log = match settings.log {
        EngineLog::Error => "error",
        EngineLog::Warn => "warn",
        EngineLog::Info => "info",
    };
    ConfigMap::empty()
        .with_key_value("rocksdb_storage_log_level", log.to_owned())
        .with_key_value(
            "rocksdb_block_cache_size",
            settings.block_cache_bytes.to_string(),
        )
        .with_key_value(
            "rocksdb_write_buffer_size",
            settings.write_buffer_bytes.to_string(),
        )
        .with_key_value(
            "rocksdb_max_write_buffer_number",
            settings.write_buffers.to_string(),
        )
        .with_key_value(
            "rocksdb_grouped_commit_wait_threshold",
            GROUPED_COMMIT_WAIT_THRESHOLD.to_string(),
        )
}

fn rocksdb_path(folder: &str, settings: &Settings) -> String {
    let sync = match settings.sync {
        Sync::EveryCommit => "every",
        Sync::Never => "never",
    };
    format!("rocksdb://{folder}?sync={sync}")
}

/// Makes the folder, so that what is wrong with it is said in the system's words.
///
/// RocksDB makes durable what is in its folder, not the folder: until its parent is synced, a power
/// cut may take all of it. Nothing is promised of a folder without a database in it, so that is when.
fn prepare(folder: &str) -> Result<(), OpenError> {
    let path = Path::new(folder);
    let make = || {
        let mut new: Vec<&Path> = path.ancestors().take_while(|part| !part.exists()).collect();
        std::fs::create_dir_all(path)?;
        if new.is_empty() && !path.join("CURRENT").exists() {
            new.push(path);
        }
        for parent in new.into_iter().filter_map(Path::parent) {
            let relative = parent.as_os_str().is_empty();
            let parent = if relative { Path::new(".") } else { parent };
            std::fs::File::open(parent)?.sync_all()?;
        }
        Ok(())
    };
    make().map_err(|error: std::io::Error| explain(folder, error.to_string()))
}

fn explain(folder: &str, reason: String) -> OpenError {
    let folder = folder.to_owned();
    let lower = reason.to_lowercase();
    if folder.is_empty() {
        OpenError::Engine(reason)
    } else if lower.contains("lock") && lower.contains("resource temporarily unavailable")
        || lower.contains("lock hold by current process")
    {
        OpenError::InUse { folder }
    } else if lower.contains("no space left") {
        OpenError::DiskFull { folder, reason }
    } else if [
        "permission denied",
        "not a directory",
        "file exists",
        "read-only",
    ]
    .iter()
    .any(|known| lower.contains(known))
    {
        OpenError::Folder { folder, reason }
    } else {
        OpenError::Engine(reason)
    }
}

/// Whether an error only says that another one happened.
fn is_echo(error: &Error) -> bool {
    matches!(
        error.query_details(),
        Some(QueryError::NotExecuted | QueryError::Cancelled)
    ) && !error.message().starts_with("Cannot COMMIT")
}

/// The values of all statements, or the error that caused the others.
fn values(results: Vec<QueryResult>) -> Result<Vec<Value>, Error> {
    let mut values = Vec::with_capacity(results.len());
    let mut failed: Option<Error> = None;
    for result in results {
        match (result.result, &failed) {
            (Ok(value), _) => values.push(value),
            (Err(error), None) => failed = Some(error),
            (Err(error), Some(known)) if is_echo(known) => failed = Some(error),
            (Err(_), Some(_)) => {}
        }
    }
    match failed {
        None => Ok(values),
        Some(error) => Err(error),
    }
}

/// What is said of a statement that did not end in time.
pub(crate) fn unanswered(within: Duration) -> String {
    let seconds = within.as_secs();
    format!(
        "SurrealDB did not answer within {seconds} s: its disk may be failing or full, see its log"
    )
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
