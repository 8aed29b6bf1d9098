//! The keeper: asks the store, again and again, to bring history into its lasting form.
//!
//! It writes what is its own (sealed history, newest readings, retention), beside the committer and
//! never in its way.
//!
//! # Invariants
//! - One call to the store runs at a time.
//! - What is tended was published: nothing that a failed commit left behind is kept.
//! - After an engine failure nothing is tended any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::committer::Shared;
use crate::history::{Tend, Tended};
use crate::store::{Store, StoreError};

/// How often history is tended where nothing else is set.
pub const TEND_EVERY: Duration = Duration::from_mins(5);
/// Readings after which history is tended early, so that a start never has many more to replay.
pub const TEND_READINGS: u64 = 1_000_000;
/// How often it is looked whether so many came.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Rows of a class whose newest readings are written together.
pub const LATEST_PAGE_ROWS: u32 = 1_024;

/// What tending did since the start.
#[derive(Debug, Default)]
pub struct KeeperCounters {
    /// Times that history was tended.
    pub rounds: AtomicU64,
    /// Times that it failed; each is tried again.
    pub failures: AtomicU64,
    /// Readings sealed.
    pub sealed: AtomicU64,
    /// Readings that another of the same series and time replaced when they were sealed.
    pub replaced: AtomicU64,
    /// Readings brought into their day.
    pub settled: AtomicU64,
    /// Readings of days that retention had passed before they came.
    pub expired: AtomicU64,
    /// Tables dropped by retention.
    pub dropped: AtomicU64,
    /// Offset below which nothing can be followed any more.
    pub floor: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Keeper {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    epoch: u64,
    clock: fn() -> i64,
    state: Mutex<State>,
    pub(crate) counters: KeeperCounters,
}

#[derive(Debug, Default)]
struct State {
    /// Offset up to which the newest readings are kept by this process; `None` before the first time.
    kept: Option<u64>,
    closed: bool,
}

impl Keeper {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        shared: Arc<Shared>,
        epoch: u64,
        clock: fn() -> i64,
    ) -> Self {
        Self {
            store,
            shared,
            epoch,
            clock,
            state: Mutex::default(),
            counters: KeeperCounters::default(),
        }
    }

    /// Tends at intervals, and early when much was recorded, until the committer ends.
    pub(crate) async fn run(self: Arc<Self>, every: Duration) {
        let mut stopped = self.shared.stopped.subscribe();
        loop {
            let recorded = || self.shared.counters.readings.load(Ordering::Relaxed);
            let due = recorded().saturating_add(TEND_READINGS);
            let early = async {
                while recorded() < due {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = early => {}
                // The sender lives in `shared`, so this cannot fail.
                _ = stopped.wait_for(Option::is_some) => return,
            }
            if let Err(error) = self.tend().await {
                tracing::warn!(%error, "history could not be tended; it is tried again");
            }
        }
    }

    pub(crate) async fn tend(&self) -> Result<Tended, StoreError> {
        let mut state = self.state.lock().await;
        let stopped = self.shared.stopped.borrow().clone();
        if let Some(reason) = stopped.or_else(|| state.closed.then(|| "it is closed".into())) {
            return Err(StoreError::Engine(reason.to_string()));
        }
        let live = self.shared.live.load_full();
        let tend = Tend {
            lane: &live.lane,
            epoch: self.epoch,
            upto: live.offset,
            now: (self.clock)(),
            latest: live.latest_pages(state.kept.unwrap_or(0), LATEST_PAGE_ROWS),
            complete: state.kept.is_none(),
        };
        let counters = &self.counters;
        counters.rounds.fetch_add(1, Ordering::Relaxed);
        match self.store.tend(tend).await {
            Ok(tended) => {
                state.kept = Some(live.offset);
                let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
                add(&counters.sealed, tended.sealed);
                add(&counters.replaced, tended.replaced);
                add(&counters.settled, tended.settled);
                add(&counters.expired, tended.expired);
                add(&counters.dropped, tended.dropped);
                counters.floor.store(tended.floor, Ordering::Relaxed);
                Ok(tended)
            }
            Err(error) => {
                counters.failures.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Waits for what runs; nothing is tended afterwards.
    pub(crate) async fn close(&self) {
        self.state.lock().await.closed = true;
    }
}
