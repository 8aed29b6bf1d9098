//! The store of one realm: opening it, and the doors it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ontology::Ontology;
use surrealdb::types::Variables;
use twin_core::Group;
use twin_core::history::{Bucket, Settle, Tend, Tended};
use twin_core::store::{Kept, KeptLetter, Lane, PastReading, Series, Sink, Store, StoreError};

use crate::database::{Database, OpenError, Settings};
use crate::history::History;
use crate::lives::Lives;
use crate::log::Log;
use crate::tables;

/// A realm's store on SurrealDB.
///
/// [`SurrealStore::close`] it before its folder is opened again in this process.
#[derive(Debug)]
pub struct SurrealStore {
    pub(crate) database: Database,
    pub(crate) ontology: Arc<Ontology>,
    /// Queries of users that run now.
    pub(crate) querying: AtomicUsize,
    /// Number of the next dead letter.
    pub(crate) next_letter: AtomicU64,
    /// Receipts written since expired ones were deleted.
    pub(crate) receipts_since: AtomicUsize,
    pub(crate) log: Log,
    pub(crate) lives: Lives,
    pub(crate) history: History,
}

impl SurrealStore {
    /// Opens the store at `rocksdb://<folder>` or `mem://` and makes its tables fit the ontology.
    pub async fn open(
        url: &str,
        realm: &str,
        ontology: Arc<Ontology>,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let definitions = tables::definitions(&ontology)?;
        let database = Database::open(url, realm, &settings).await?;
        if let Err(error) = tables::define(&database, &definitions).await {
            // What matters is why it could not be opened.
            drop(database.close().await);
            return Err(OpenError::Tables(error));
        }
        Ok(Self {
            database,
            ontology,
            querying: AtomicUsize::new(0),
            next_letter: AtomicU64::new(0),
            receipts_since: AtomicUsize::new(0),
            lives: Lives::default(),
            log: Log::new(settings.change, settings.journal),
            history: History::new(settings.retention, settings.segment_blocks),
        })
    }

    /// Closes the store's files. Whatever is asked of it afterwards fails.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.database.close().await
    }

    /// Asks the engine whether it can still read.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.database
            .run("RETURN true", Variables::new())
            .await
            .map(drop)
    }
}

impl Store for SurrealStore {
    fn claim<'a>(&'a self, lane: &'a str) -> BoxFuture<'a, Result<Lane, StoreError>> {
        self.claim_lane(lane).boxed()
    }

    fn commit<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<(), StoreError>> {
        self.commit_group(group).boxed()
    }

    fn load<'a>(
        &'a self,
        now: i64,
        sink: &'a mut Sink<'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.load_all(now, sink).boxed()
    }

    fn groups<'a>(
        &'a self,
        lane: &'a str,
        from: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Kept, StoreError>> {
        self.groups_from(lane, from, max_bytes).boxed()
    }

    fn readings<'a>(
        &'a self,
        series: &'a Series<'a>,
    ) -> BoxFuture<'a, Result<Vec<PastReading>, StoreError>> {
        self.raw_readings(series).boxed()
    }

    fn buckets<'a>(
        &'a self,
        series: &'a Series<'a>,
        every: i64,
    ) -> BoxFuture<'a, Result<Vec<Bucket>, StoreError>> {
        self.summed(series, every).boxed()
    }

    fn tend<'a>(&'a self, tend: Tend<'a>) -> BoxFuture<'a, Result<Tended, StoreError>> {
        self.tend_lane(tend).boxed()
    }

    fn settle<'a>(&'a self, settle: Settle<'a>) -> BoxFuture<'a, Result<Tended, StoreError>> {
        self.settle_lane(settle).boxed()
    }

    fn dead_letters<'a>(
        &'a self,
        lane: &'a str,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<KeptLetter>, StoreError>> {
        self.letters(lane, before, limit).boxed()
    }
}
