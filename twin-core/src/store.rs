//! The door to what is durable: a small trait that the committer and loading need, no more.

use std::fmt::Debug;
use std::ops::Range;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ontology::Value;

use crate::change::{DeadLetter, EdgeState, Group, KeptReceipt, Recorded, TwinState};
use crate::history::{Bucket, DAY_US, HOUR_US, Settle, Tend, Tended, gather, number, window_start};
use crate::id::TwinId;

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
    /// A twin was deleted, and perhaps made again: its readings below the offset are of a life that
    /// ended. Comes before the readings.
    Ended {
        /// The twin.
        twin: TwinId,
        /// Offset below which a reading is of the earlier life.
        offset: u64,
    },
    /// Readings that cannot be shown any more, because the ontology lost their class or telemetry.
    Foreign {
        /// How many.
        readings: u64,
    },
    /// A reading; of several of a (twin, telemetry, ts) the last counts. Those written since the
    /// newest were kept apart come after these, in the order of their offsets.
    Reading {
        /// The reading.
        reading: Recorded,
        /// When it arrived, microseconds since 1970.
        arrived: i64,
        /// Its offset.
        offset: u64,
    },
}

/// The day of a time, as it is written.
fn day(ts: i64) -> String {
    let days = i32::try_from(ts.div_euclid(DAY_US)).unwrap_or_default();
    let date = Value::Date(days).to_json();
    date.as_str().unwrap_or_default().to_owned()
}

fn kept_from(since: Option<i64>) -> String {
    since.map_or_else(String::new, |ts| format!(", or from {} on", day(ts)))
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
    /// Retention dropped readings that are asked for, and kept sums of them.
    #[error(
        "the readings of {} were dropped by retention, and only their sums by {unit} are kept: ask \
         for windows that are whole {unit}s and for times that begin and end with one{}",
        day(*.from), kept_from(*.since),
        unit = if *.every < HOUR_US { "minute" } else { "hour" }
    )]
    Coarse {
        /// Where the first day begins of which they were dropped, microseconds since 1970.
        from: i64,
        /// Windows that can be asked for are multiples of so many microseconds.
        every: i64,
        /// Where the first day begins from which on readings are kept, if there is one.
        since: Option<i64>,
    },
    /// What is stored speaks of something that the ontology no longer has.
    #[error("the ontology no longer has {0}: add it back to its pack")]
    Foreign(String),
    /// What is stored is not what was written, or not of this ontology.
    #[error("stored data cannot be read: {0}")]
    Damaged(String),
}

/// Takes what is read back; an error ends the loading.
pub type Sink<'a> = dyn FnMut(Loaded) -> Result<(), StoreError> + Send + 'a;

/// What a follower reads from the store: whole groups as far as they are kept.
///
/// `rows`, `edges`, `receipts` and `dead_letters` of such a group are empty: a follower needs what
/// happened, not how it was written.
#[derive(Debug)]
pub enum Kept {
    /// Groups in order, the first holding the offset asked for; empty at the end of the lane.
    Groups(Vec<Group>),
    /// Retention has passed the offset; the oldest kept one stands here.
    Gap {
        /// Oldest offset that can be followed from.
        oldest: u64,
    },
    /// What follows the offset speaks of classes or telemetry that the ontology no longer has.
    Foreign {
        /// What is missing.
        what: String,
    },
}

/// A reading as history has it.
#[derive(Debug, Clone, PartialEq)]
pub struct PastReading {
    /// When it was measured, microseconds since 1970.
    pub ts: i64,
    /// When it arrived, microseconds since 1970; of readings from before today, to the second.
    pub arrived: i64,
    /// Its offset in the lane, while it is known: history for good keeps none.
    pub offset: Option<u64>,
    /// The value.
    pub value: Value,
}

/// Which raw readings are asked for.
#[derive(Debug, Clone)]
pub struct Series<'a> {
    /// The twin.
    pub twin: &'a TwinId,
    /// Name of the telemetry.
    pub telemetry: &'a str,
    /// Times of measurement, microseconds since 1970.
    pub ts: Range<i64>,
    /// Only readings with offsets below this one, so that the answer is of one instant.
    pub before: u64,
    /// Most readings.
    pub limit: usize,
}

/// A dead letter as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLetter {
    /// Its number: later ones have higher ones, and none is given twice.
    pub number: u64,
    /// The message.
    pub letter: DeadLetter,
}

/// A durable store of one realm.
pub trait Store: Send + Sync + Debug + 'static {
    /// Takes the lane over: raises its epoch, which fences out any earlier writer.
    fn claim<'a>(&'a self, lane: &'a str) -> BoxFuture<'a, Result<Lane, StoreError>>;

    /// Makes a group durable: synced when this returns `Ok`, and visible to other readers.
    fn commit<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Reads everything that is live back, in bounded pages; receipts that have expired by `now`,
    /// microseconds since 1970, may be left out.
    fn load<'a>(
        &'a self,
        now: i64,
        sink: &'a mut Sink<'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Groups of a lane from the one that holds offset `from`, at most about `max_bytes` of them
    /// (at least one group where there is one).
    fn groups<'a>(
        &'a self,
        lane: &'a str,
        from: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Kept, StoreError>>;

    /// Raw readings of a series, oldest first. Of several of one time the one written last counts;
    /// readings from before the twin was last deleted do not.
    ///
    /// Where retention dropped some of them this is [`StoreError::Coarse`], unless everything is asked
    /// for, from `i64::MIN` on: that begins where readings are kept.
    fn readings<'a>(
        &'a self,
        series: &'a Series<'a>,
    ) -> BoxFuture<'a, Result<Vec<PastReading>, StoreError>>;

    /// The readings of a series summed up by windows of `every` microseconds, oldest first, at most
    /// `series.limit` windows. A value that is no number counts in none.
    ///
    /// Where retention dropped the readings and the windows cannot be made of the sums it kept, this is
    /// [`StoreError::Coarse`], as for [`Store::readings`].
    fn buckets<'a>(
        &'a self,
        series: &'a Series<'a>,
        every: i64,
    ) -> BoxFuture<'a, Result<Vec<Bucket>, StoreError>> {
        async move {
            let all = Series {
                limit: usize::MAX,
                ..series.clone()
            };
            let mut buckets = Vec::new();
            for reading in self.readings(&all).await? {
                if let Some(value) = number(&reading.value) {
                    let bucket = Bucket::new(window_start(reading.ts, every), value);
                    gather(&mut buckets, &bucket, every);
                }
            }
            buckets.truncate(series.limit);
            Ok(buckets)
        }
        .boxed()
    }

    /// Keeps the journal short: the newest readings apart, the others in history, and dropped what
    /// retention has passed.
    ///
    /// Called again and again while commits go on; only one call runs at a time. A store that keeps
    /// everything as it was written has nothing to do.
    fn tend<'a>(&'a self, _tend: Tend<'a>) -> BoxFuture<'a, Result<Tended, StoreError>> {
        async { Ok(Tended::default()) }.boxed()
    }

    /// Brings history of days of arrival that are over into its lasting form, and drops what
    /// retention has passed of it.
    ///
    /// May take long, and runs beside [`Store::tend`]; only one call runs at a time.
    fn settle<'a>(&'a self, _settle: Settle<'a>) -> BoxFuture<'a, Result<Tended, StoreError>> {
        async { Ok(Tended::default()) }.boxed()
    }

    /// Dead letters of a lane with numbers below `before`, of the last so many of these numbers,
    /// newest first.
    fn dead_letters<'a>(
        &'a self,
        lane: &'a str,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<KeptLetter>, StoreError>>;
}
