//! The door to what is durable: a small trait that the committer and loading need, no more.

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use crate::change::{EdgeState, Group, KeptReceipt, Recorded, TwinState};

/// What a lane's row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// The epoch of the writer that claimed it last.
    pub epoch: u64,
    /// First free offset.
    pub next: u64,
}

/// One thing read back at start. Twins come before the relationships that touch them.
#[derive(Debug)]
pub enum Loaded {
    /// A twin.
    Twin(TwinState),
    /// A relationship.
    Edge(EdgeState),
    /// The answer to an idempotency key.
    Receipt(KeptReceipt),
    /// A reading, in order of offsets; the last of a (twin, telemetry, ts) counts.
    Reading {
        /// The reading.
        reading: Recorded,
        /// When it arrived, microseconds since 1970.
        arrived: i64,
        /// Its offset.
        offset: u64,
    },
}

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another writer claimed the lane: this one must stop for good.
    #[error("another process writes lane `{lane}` now: stop this one, or the other")]
    Fenced {
        /// The lane.
        lane: String,
    },
    /// The store refused this transaction whole and goes on working: nothing of it is durable.
    #[error("the store refused the transaction: {0}")]
    Refused(String),
    /// The engine failed: what was asked may or may not be durable, and writing must stop until
    /// the store was opened again.
    #[error("the store failed: {0}")]
    Engine(String),
    /// What is stored is not what was written, or not of this ontology.
    #[error("stored data cannot be read: {0}")]
    Damaged(String),
}

/// Takes what is read back; an error ends the loading.
pub type Sink<'a> = dyn FnMut(Loaded) -> Result<(), StoreError> + Send + 'a;

/// What a follower reads from the store: whole groups as far as they are kept.
///
/// `rows`, `edges` and `receipts` of such a group are empty: a follower needs what happened, not
/// how it was written.
#[derive(Debug)]
pub enum Kept {
    /// Groups in order, the first holding the offset asked for; empty at the end of the lane.
    Groups(Vec<Group>),
    /// Retention has passed the offset; the oldest kept one stands here.
    Gap {
        /// Oldest offset that can be followed from.
        oldest: u64,
    },
}

/// A durable store of one realm.
pub trait Store: Send + Sync + Debug + 'static {
    /// Takes the lane over: raises its epoch, which fences out any earlier writer.
    fn claim<'a>(&'a self, lane: &'a str) -> BoxFuture<'a, Result<Lane, StoreError>>;

    /// Makes a group durable: synced when this returns `Ok`, and visible to other readers.
    fn commit<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Reads everything that is live back, in bounded pages.
    fn load<'a>(&'a self, sink: &'a mut Sink<'a>) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Groups of a lane from the one that holds offset `from`, at most about `max_bytes` of them
    /// (at least one group where there is one).
    fn groups<'a>(
        &'a self,
        lane: &'a str,
        from: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Kept, StoreError>>;

    /// Raw readings of one twin's telemetry with `from <= ts < to` (microseconds), sorted by time,
    /// one for each time, at most `limit` of them, oldest first.
    fn readings<'a>(
        &'a self,
        twin: &'a crate::id::TwinId,
        telemetry: &'a str,
        from: i64,
        to: i64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(i64, ontology::Value)>, StoreError>>;
}
