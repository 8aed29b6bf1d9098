//! SurrealDB as the store uses it: opened, asked and closed.
//!
//! It stands on the engine below the SDK, whose interface carries no promise of stability; everything
//! else only sees [`Engine`]. The SDK would hide what is needed here: statements parsed once, sessions of
//! a role, streams of rows that can be stopped.
//!
//! A crate of its own, because whoever awaits a future of SurrealDB compiles the engine inside it, which
//! takes minutes. So this file changes rarely, knows nothing of twins, and gives its futures away boxed.
//!
//! # Invariants
//! - Every commit is synced before it returns, unless [`Sync::Never`] was asked for.
//! - No statement is waited for longer than [`STATEMENT_WITHIN`].

#![forbid(unsafe_code)]
// SurrealDB's futures are nested deeply, and the compiler looks into all of them.
#![recursion_limit = "256"]

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use surrealdb::types::{Error, QueryError, Value, Variables};
use surrealdb_cnf::ConfigMap;
use surrealdb_core::ctx::CancelHandle;
use surrealdb_core::dbs::Session;
use surrealdb_core::kvs::{Datastore, QueryRequest};
use surrealdb_rpc::stream::QUERY_STREAM_BUFFER;
use surrealdb_rpc::{QueryResult, QueryStreamItem};

/// A statement that takes longer has failed. The engine waits without end for some things, such as the
/// number of a new table while its disk refuses writes; nothing that is asked here takes so long.
pub const STATEMENT_WITHIN: Duration = Duration::from_mins(10);

/// Commits that wait before they are synced together. Our committer already gathers, so a lone
/// commit must never wait for company.
const GROUPED_COMMIT_WAIT_THRESHOLD: usize = 4096;

/// How old a file may get before it is rewritten though nothing in it changed, so that what was deleted gives its
/// room back at last. SurrealDB's hour would rewrite years of history every hour; what is dropped in bulk is
/// compacted at once.
const PERIODIC_COMPACTION: Duration = Duration::from_hours(24);

/// Size of a file of large values, and the share of the oldest whose living values are moved so that their room comes
/// back. With SurrealDB's 256 MiB and half of all files, most of the work of a load is moving values that stay: 16 days
/// of 1,000 devices took 3.29 us of processor time a reading, with these 2.79, and the disk held the same.
const BLOB_FILE_BYTES: usize = 16 << 20;
const BLOB_GC_AGE_CUTOFF: f64 = 0.25;

/// Files of newly flushed rows that wait until they are merged into those below, and at how many writers are slowed down
/// and stopped. Merging rewrites all that lies below, as far as that is not more than 256 MiB, and SurrealDB does it for
/// every second file: with years of history more work than anything else. Each file that waits is looked into by every
/// read.
const LEVEL0_MERGE: usize = 8;
const LEVEL0_SLOWDOWN: usize = 20;
const LEVEL0_STOP: usize = 36;

/// How often, and how long each time, closing waits for what still runs.
const CLOSE_WAITS: usize = 1_000;
const CLOSE_WAIT: Duration = Duration::from_millis(5);

/// How memory and disk are used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of the cache of blocks read.
    pub block_cache_bytes: usize,
    /// Bytes of one buffer of writes in memory.
    pub write_buffer_bytes: usize,
    /// Most such buffers.
    pub write_buffers: usize,
    /// How much is written into `LOG` in its folder.
    pub log: Log,
    /// When commits are durable.
    pub sync: Sync,
}

/// How much the engine writes into `LOG` in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
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

/// Where the data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In memory, gone at the end.
    Memory,
    /// In files of `RocksDB` in a folder.
    Folder(&'a str),
}

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
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
    /// The engine refused.
    #[error("the store cannot be opened: {0}")]
    Engine(String),
}

/// As whom a statement runs.
#[derive(Debug, Clone, Copy)]
pub enum As {
    /// The store itself.
    Owner,
    /// A user who may only look.
    Reader,
}

/// A row of a stream.
#[derive(Debug)]
pub struct Row {
    /// Index of its statement.
    pub statement: usize,
    /// What it holds.
    pub value: Value,
    /// Whether the statement answers with a list, of which this is one.
    pub of_many: bool,
}

/// Takes the rows of a stream, and says whether it wants more.
pub type Receive<'a> = dyn FnMut(Row) -> ControlFlow<()> + Send + 'a;

/// An open database.
pub struct Engine {
    /// None once it was closed: the files are free only when nothing holds the datastore.
    datastore: RwLock<Option<Arc<Datastore>>>,
    owner: Session,
    reader: Session,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("database", &self.owner.db)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens a database of a namespace, both plain names, and makes what is not there.
    pub fn open<'a>(
        place: Place<'a>,
        namespace: &'a str,
        database: &'a str,
        settings: &'a Settings,
    ) -> BoxFuture<'a, Result<Self, OpenError>> {
        async move {
            let (path, folder) = match place {
                Place::Memory => ("memory".to_owned(), ""),
                Place::Folder(folder) => {
                    prepare(folder)?;
                    (rocksdb_path(folder, settings), folder)
                }
            };
            let failed = |error: String| explain(folder, error);
            let datastore = start(&path, settings).await.map_err(failed)?;
            let engine = Self {
                datastore: RwLock::new(Some(datastore)),
                owner: Session::owner().with_ns(namespace).with_db(database),
                reader: Session::viewer().with_ns(namespace).with_db(database),
            };
            let define = format!(
                "DEFINE NAMESPACE IF NOT EXISTS `{namespace}`; \
                 DEFINE DATABASE IF NOT EXISTS `{database}`"
            );
            let defined = engine.run(&define, Variables::new()).await;
            defined.map_err(|error| failed(error.to_string()))?;
            Ok(engine)
        }
        .boxed()
    }

    /// Ends background work and closes the files, so that they can be opened again; what was wrong, in
    /// the engine's words.
    pub fn close(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            let taken = self
                .datastore
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let Some(datastore) = taken else {
                return Ok(());
            };
            let closed = datastore.shutdown().await;
            // What still runs holds the files; it was cancelled and ends soon.
            for _ in 0..CLOSE_WAITS {
                if Arc::strong_count(&datastore) == 1 {
                    break;
                }
                tokio::time::sleep(CLOSE_WAIT).await;
            }
            closed.map_err(|error| format!("{error:#}"))
        }
        .boxed()
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
    pub fn run<'a>(
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
    pub fn stream<'a>(
        &'a self,
        who: As,
        text: &'a str,
        vars: Variables,
        each: &'a mut Receive<'_>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let cancel = CancelHandle::new();
            let request = QueryRequest::new(text, self.session(who))
                .with_variables(Some(vars))
                .with_cancel(cancel.clone());
            let (sender, items) = surrealdb_core::channel::bounded(QUERY_STREAM_BUFFER);
            let datastore = self.datastore()?;
            let job = datastore.run_streaming(request, sender)?;
            drop(datastore);
            // Dropped early, by an error or a caller that gave up waiting, this stops the execution.
            let _stop = StopOnDrop(cancel);
            let running = tokio::spawn(job.run);
            loop {
                let Ok(item) = tokio::time::timeout(STATEMENT_WITHIN, items.recv()).await else {
                    return Err(Error::internal(unanswered(STATEMENT_WITHIN)));
                };
                let Ok(item) = item else { break };
                let flow = match item {
                    QueryStreamItem::Rows { index, values } => {
                        values.into_iter().try_for_each(|value| {
                            each(Row {
                                statement: index,
                                value,
                                of_many: true,
                            })
                        })
                    }
                    QueryStreamItem::Value { index, value } => each(Row {
                        statement: index,
                        value,
                        of_many: false,
                    }),
                    QueryStreamItem::Finished {
                        error: Some(error), ..
                    } if !is_echo(&error) => return Err(error),
                    QueryStreamItem::Finished { .. } => ControlFlow::Continue(()),
                };
                if flow.is_break() {
                    return Ok(());
                }
            }
            match running.await {
                Ok(ended) => ended.map(drop),
                Err(error) => Err(Error::internal(format!("a query ended badly: {error}"))),
            }
        }
        .boxed()
    }
}

struct StopOnDrop(CancelHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.trip();
    }
}

/// Index of the first statement that may write; the engine's words where they cannot be parsed.
pub fn first_write(text: &str) -> Result<Option<usize>, String> {
    let parsed = surrealdb_core::syn::parse(text).map_err(|error| error.to_string())?;
    let mut statements = parsed.expressions.iter();
    Ok(statements.position(|statement| !statement.read_only()))
}

/// Starts an engine; what is wrong in its own words.
async fn start(path: &str, settings: &Settings) -> Result<Arc<Datastore>, String> {
    let builder = Datastore::builder()
        .with_config(config(settings))
        // Maintenance writes, and a write before the version's key would make a new folder look
        // like one of an older program.
        .without_maintenance_tasks();
    let datastore = builder.build_with_path(path).await;
    let datastore = datastore.map_err(|error| format!("{error:#}"))?;
    let version = datastore.check_version().await;
    version.map_err(|error| format!("{error:#}"))?;
    let started = datastore.bootstrap().await;
    started.map_err(|error| format!("{error:#}"))?;
    datastore.start_maintenance_tasks();
    Ok(datastore)
}

fn config(settings: &Settings) -> ConfigMap {
    let log = match settings.log {
        Log::Error => "error",
        Log::Warn => "warn",
        Log::Info => "info",
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
        .with_key_value(
            "rocksdb_periodic_compaction_seconds",
            PERIODIC_COMPACTION.as_secs().to_string(),
        )
        .with_key_value("rocksdb_file_compaction_trigger", LEVEL0_MERGE.to_string())
        .with_key_value(
            "rocksdb_level0_slowdown_writes_trigger",
            LEVEL0_SLOWDOWN.to_string(),
        )
        .with_key_value(
            "rocksdb_level0_stop_writes_trigger",
            LEVEL0_STOP.to_string(),
        )
        .with_key_value("rocksdb_blob_file_size", BLOB_FILE_BYTES.to_string())
        .with_key_value("rocksdb_blob_gc_age_cutoff", BLOB_GC_AGE_CUTOFF.to_string())
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
pub fn unanswered(within: Duration) -> String {
    let seconds = within.as_secs();
    format!(
        "SurrealDB did not answer within {seconds} s: its disk may be failing or full, see its log"
    )
}
