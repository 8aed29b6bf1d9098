//! The keeper: asks the store, again and again, to bring history into its lasting form.
//!
//! It writes what is its own (sealed history, newest readings, retention), beside the committer and
//! never in its way. Settling whole days may take long, so it has a task of its own and never holds
//! sealing up.
//!
//! # Invariants
//! - One call of each kind to the store runs at a time.
//! - What is tended was published: nothing that a failed commit left behind is kept.
//! - After an engine failure nothing is tended any more.
//! - Retention goes by a time that the clock showed for [`BELIEVED_AFTER`]: a clock that jumps ahead
//!   and is set back before drops nothing. What has expired therefore stays up to twice as long
//!   longer, and the first such time after a start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::committer::Shared;
use crate::history::{Settle, Tend, Tended};
use crate::store::{Store, StoreError};

/// How often history is tended where nothing else is set.
pub const TEND_EVERY: Duration = Duration::from_mins(5);
/// Readings after which history is tended early, so that a start never has many more to replay.
pub const TEND_READINGS: u64 = 1_000_000;
/// How often it is looked whether so many came.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Rows of a class whose newest readings are written together.
pub const LATEST_PAGE_ROWS: u32 = 1_024;
/// How long the clock must have shown a time before retention goes by it.
pub const BELIEVED_AFTER: Duration = Duration::from_hours(1);

/// What tending did since the start.
#[derive(Debug, Default)]
pub struct KeeperCounters {
    /// Times that history was tended.
    pub rounds: AtomicU64,
    /// Times that it or settling failed; each is tried again.
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

/// The clocks of a machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    /// Time of day, microseconds since 1970; may be set.
    pub(crate) day: fn() -> i64,
    /// Time since some instant; never jumps.
    pub(crate) steady: fn() -> Duration,
}

#[derive(Debug)]
pub(crate) struct Keeper {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    epoch: u64,
    clocks: Clocks,
    state: Mutex<State>,
    /// Held while days are settled.
    settling: Mutex<()>,
    /// When history was tended last; settling follows.
    tended: watch::Sender<Round>,
    closed: AtomicBool,
    pub(crate) counters: KeeperCounters,
}

#[derive(Debug, Default)]
struct State {
    /// Offset up to which the newest readings are kept by this process; `None` before the first time.
    kept: Option<u64>,
    belief: Belief,
}

/// The time of a round, microseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    now: i64,
    passed: Option<i64>,
}

/// What is believed of the clock.
#[derive(Debug, Default)]
struct Belief {
    passed: Option<i64>,
    /// Since when it is watched, and the earliest time that it showed since.
    watched: Option<(Duration, i64)>,
}

impl Belief {
    /// Takes in what the clock shows now; the latest time that it showed for long enough.
    fn look(&mut self, now: i64, steady: Duration) -> Option<i64> {
        let (since, earliest) = self.watched.unwrap_or((steady, now));
        let earliest = earliest.min(now);
        self.watched = Some((since, earliest));
        if steady.saturating_sub(since) >= BELIEVED_AFTER {
            self.passed = Some(earliest);
            self.watched = Some((steady, now));
        }
        self.passed
    }
}

impl Keeper {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        shared: Arc<Shared>,
        epoch: u64,
        clocks: Clocks,
    ) -> Self {
        Self {
            store,
            shared,
            epoch,
            clocks,
            state: Mutex::default(),
            settling: Mutex::default(),
            tended: watch::Sender::new(Round::default()),
            closed: AtomicBool::new(false),
            counters: KeeperCounters::default(),
        }
    }

    /// Keeps the journal short at intervals, and early when much was recorded, until the committer
    /// ends.
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
            if let Err(error) = self.shorten().await {
                tracing::warn!(%error, "history could not be tended; it is tried again");
            }
        }
    }

    /// Settles after every time that history was tended, until the committer ends.
    pub(crate) async fn run_settling(self: Arc<Self>) {
        let mut stopped = self.shared.stopped.subscribe();
        let mut tended = self.tended.subscribe();
        loop {
            tokio::select! {
                // Neither sender ends before this does.
                _ = tended.changed() => {}
                _ = stopped.wait_for(Option::is_some) => return,
            }
            if let Err(error) = self.settle().await {
                tracing::warn!(%error, "history could not be settled; it is tried again");
            }
        }
    }

    /// Does all that is due: what one part cannot do does not stop the other.
    pub(crate) async fn tend(&self) -> Result<Tended, StoreError> {
        let shortened = self.shorten().await;
        let settled = self.settle().await;
        Ok(shortened?.and(settled?))
    }

    async fn shorten(&self) -> Result<Tended, StoreError> {
        let mut state = self.state.lock().await;
        self.check_running()?;
        let live = self.shared.live.load_full();
        let now = (self.clocks.day)();
        let passed = state.belief.look(now, (self.clocks.steady)());
        let tend = Tend {
            lane: &live.lane,
            epoch: self.epoch,
            upto: live.offset,
            now,
            passed,
            latest: live.latest_pages(state.kept.unwrap_or(0), LATEST_PAGE_ROWS),
            complete: state.kept.is_none(),
        };
        self.counters.rounds.fetch_add(1, Ordering::Relaxed);
        let tended = self.count(self.store.tend(tend).await);
        if let Ok(tended) = &tended {
            state.kept = Some(live.offset);
            let floor = &self.counters.floor;
            floor.store(tended.floor, Ordering::Relaxed);
        }
        // What could not be sealed is settled later, as a further part of its days.
        self.tended.send_replace(Round { now, passed });
        tended
    }

    async fn settle(&self) -> Result<Tended, StoreError> {
        let _alone = self.settling.lock().await;
        self.check_running()?;
        let Round { now, passed } = *self.tended.borrow();
        let settle = Settle {
            lane: &self.shared.live.load().lane.clone(),
            epoch: self.epoch,
            now,
            passed,
            stop: &self.closed,
        };
        self.count(self.store.settle(settle).await)
    }

    fn check_running(&self) -> Result<(), StoreError> {
        let stopped = self.shared.stopped.borrow().clone();
        let closed = self.closed.load(Ordering::Relaxed);
        match stopped.or_else(|| closed.then(|| "it is closed".into())) {
            Some(reason) => Err(StoreError::Engine(reason.to_string())),
            None => Ok(()),
        }
    }

    fn count(&self, outcome: Result<Tended, StoreError>) -> Result<Tended, StoreError> {
        let counters = &self.counters;
        let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
        match &outcome {
            Ok(tended) => {
                add(&counters.sealed, tended.sealed);
                add(&counters.replaced, tended.replaced);
                add(&counters.settled, tended.settled);
                add(&counters.expired, tended.expired);
                add(&counters.dropped, tended.dropped);
            }
            Err(_) => drop(add(&counters.failures, 1)),
        }
        outcome
    }

    /// Waits for what runs, which ends soon; nothing is tended afterwards.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        drop(self.state.lock().await);
        drop(self.settling.lock().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = crate::history::HOUR_US;
    const YEAR: i64 = 365 * crate::history::DAY_US;

    /// Looks at a clock every half hour; what is believed each time.
    fn look(shown: &[i64]) -> Vec<Option<i64>> {
        let mut belief = Belief::default();
        let steady = (0..).map(|i| i * BELIEVED_AFTER / 2);
        let looks = shown.iter().zip(steady);
        looks
            .map(|(now, steady)| belief.look(*now, steady))
            .collect()
    }

    #[test]
    fn a_time_is_believed_once_the_clock_showed_it_for_long_enough() {
        let shown: Vec<i64> = (0..5).map(|i| i * HOUR / 2).collect();
        assert_eq!(look(&shown), [None, None, Some(0), Some(0), Some(HOUR)]);
    }

    #[test]
    fn a_clock_that_jumps_ahead_and_is_set_back_is_not_believed() {
        for at in 0..8 {
            let real = |i: i64| i * HOUR / 2;
            let shown = |i| if i == at { real(i) + YEAR } else { real(i) };
            let shown: Vec<i64> = (0..8).map(shown).collect();
            let believed = look(&shown).into_iter().flatten();
            assert!(believed.max() < Some(YEAR), "{at}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_is_believed_in_time() {
        let shown = [YEAR, YEAR, YEAR, 0, 0, 0, 0];
        assert_eq!(look(&shown).last(), Some(&Some(0)));
    }
}
