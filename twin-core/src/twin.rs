//! The twin: the four verbs `commit`, `record`, `view`, `follow` over one store and one lane.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use ontology::Ontology;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::change::{DeadLetter, EdgeState, MAX_LETTER_BYTES, Recorded, TwinState};
use crate::commit::{Commit, Readings, Receipt, Refusal};
use crate::committer::{
    Committer, Counters, PERMIT_BYTES, QUEUE_BYTES, QUEUE_REQUESTS, Receipts, Request, Shared,
    Trial, Work,
};
use crate::door::{self, Interner};
use crate::follow::{CATCH_UP_READERS, FollowEnd, Follower, Recent};
use crate::history::{Bucket, Tended};
use crate::id::{Position, Principal, TwinId};
use crate::keeper::{Clocks, Keeper, KeeperCounters, TEND_EVERY};
use crate::live::{Latest, Live, TwinRef};
use crate::store::{KeptLetter, Loaded, PastReading, Series, Store, StoreError};
use crate::view::View;

/// Furthest that the time of a reading may be ahead of the clock, where nothing else is set. Clocks
/// set over the network are within a second; those set by hand within minutes.
pub const MAX_AHEAD: Duration = Duration::from_mins(5);

/// Furthest that the time of a reading may lie behind the clock, where nothing else is set: ten
/// years, so that what was kept elsewhere can be brought in.
pub const MAX_BEHIND: Duration = Duration::from_hours(3_660 * 24);

/// Readers of history at the same time; the others wait, so that writers keep the store.
pub const HISTORY_READERS: usize = 2;

/// How a twin is opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the lane that this process writes.
    pub lane: Arc<str>,
    /// Time of day in microseconds since 1970; injected so that tests own it.
    pub clock: fn() -> i64,
    /// Time since some instant, by a clock that nobody sets; injected for the same reason.
    pub steady: fn() -> Duration,
    /// Furthest that the time of a reading may be ahead of the clock. One from further ahead would
    /// stay the latest until its time has come.
    pub max_ahead: Duration,
    /// Furthest that it may lie behind the clock. A clock that began anew in 1970 would otherwise
    /// make days that nobody lived.
    pub max_behind: Duration,
    /// How often history is brought into its lasting form; `None`: only when it is asked for.
    pub tend_every: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lane: "main".into(),
            clock: now_us,
            steady: steady_now,
            max_ahead: MAX_AHEAD,
            max_behind: MAX_BEHIND,
            tend_every: Some(TEND_EVERY),
        }
    }
}

/// Microseconds since 1970 by the machine's clock.
pub fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// Time since it was first asked for, by the machine's monotonic clock.
pub fn steady_now() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

/// What loading found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Twins read back.
    pub twins: u64,
    /// Relationships read back.
    pub relationships: u64,
    /// Readings replayed.
    pub readings: u64,
    /// Readings of twins that are gone since.
    pub orphan_readings: u64,
    /// Readings whose class or telemetry the ontology no longer has, or whose value no longer fits.
    pub foreign_readings: u64,
}

/// A live twin of one realm. Cheap to clone; all clones are the same twin.
#[derive(Clone, Debug)]
pub struct Twin {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    /// Taken when the twin closes.
    queue: std::sync::Mutex<Option<mpsc::Sender<Request>>>,
    room: Arc<Semaphore>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
    keeper: Arc<Keeper>,
    loaded: LoadReport,
    settings: Settings,
    /// The last time of arrival that was given to a reading, microseconds since 1970.
    arrivals: AtomicI64,
    /// Those who read history at the same time.
    historians: Semaphore,
}

impl Twin {
    /// Claims the lane, loads what the store holds and starts the committer.
    pub async fn open(
        store: Arc<dyn Store>,
        ontology: Arc<Ontology>,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let lane = store.claim(&settings.lane).await?;
        let mut live = Live::new(ontology, Arc::clone(&settings.lane), lane.next);
        let mut receipts = Receipts::default();
        let mut loaded = LoadReport::default();
        let mut loading = Loading {
            live: &mut live,
            receipts: &mut receipts,
            report: &mut loaded,
            interner: Interner::default(),
            ended: HashMap::new(),
        };
        let now = (settings.clock)();
        store.load(now, &mut |item| loading.take(item)).await?;
        if loaded.foreign_readings > 0 {
            tracing::warn!(
                readings = loaded.foreign_readings,
                "readings in the journal fit no telemetry of this ontology and are not shown"
            );
        }
        let shared = Arc::new(Shared {
            offset: watch::Sender::new(live.offset),
            live: ArcSwap::from_pointee(live),
            recent: Recent::default(),
            catching_up: Semaphore::new(CATCH_UP_READERS),
            stopped: watch::Sender::new(None),
            counters: Counters::default(),
        });
        let keeper = Arc::new(Keeper::new(
            Arc::clone(&store),
            Arc::clone(&shared),
            lane.epoch,
            Clocks {
                day: settings.clock,
                steady: settings.steady,
            },
        ));
        if let Some(every) = settings.tend_every {
            tokio::spawn(Arc::clone(&keeper).run_settling());
            tokio::spawn(Arc::clone(&keeper).run(every));
        }
        let (sender, queue) = mpsc::channel(QUEUE_REQUESTS);
        let committer = Committer {
            store: Arc::clone(&store),
            shared: Arc::clone(&shared),
            epoch: lane.epoch,
            queue,
            receipts,
            clock: settings.clock,
        };
        let task = tokio::spawn(committer.run());
        let inner = Inner {
            shared,
            store,
            queue: std::sync::Mutex::new(Some(sender)),
            room: Arc::new(Semaphore::new(QUEUE_BYTES / PERMIT_BYTES)),
            task: std::sync::Mutex::new(Some(task)),
            keeper,
            loaded,
            settings,
            arrivals: AtomicI64::new(i64::MIN),
            historians: Semaphore::new(HISTORY_READERS),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Changes structure, atomically. Durable and visible to [`Twin::view`] when it answers.
    pub async fn commit(&self, commit: Commit) -> Result<Receipt, Refusal> {
        let live = self.inner.shared.live.load_full();
        let (steps, bytes) = self.counted(door::check_commit(&live.ontology, &commit))?;
        let work = Work::Commit {
            steps,
            idempotency: commit.idempotency,
        };
        self.ask(commit.principal, work, bytes).await
    }

    /// Takes a commit through every check, against this instant, and changes nothing.
    ///
    /// Answers how many changes it would make.
    pub fn dry_run(&self, commit: &Commit) -> Result<u64, Refusal> {
        self.trial()
            .commit(commit)
            .map(|changes| changes.len() as u64)
    }

    /// A copy of this instant on which several commits can be tried.
    pub fn trial(&self) -> Trial {
        Trial::new(self.inner.shared.live.load_full())
    }

    /// Records readings, all or none. Durable and visible to [`Twin::view`] when it answers.
    pub async fn record(&self, readings: Readings) -> Result<Receipt, Refusal> {
        let live = self.inner.shared.live.load_full();
        let settings = &self.inner.settings;
        let micros = |bound: Duration| i64::try_from(bound.as_micros()).unwrap_or(i64::MAX);
        let now = (settings.clock)();
        let oldest = now.saturating_sub(micros(settings.max_behind));
        let newest = now.saturating_add(micros(settings.max_ahead));
        let (steps, bytes) = self.counted(door::check_readings(
            &live,
            &readings,
            &(oldest..=newest),
            || self.arrival(),
        ))?;
        self.ask(readings.principal, Work::Record(steps), bytes)
            .await
    }

    /// Keeps a refused message. Durable when it answers; only the newest
    /// [`MAX_DEAD_LETTERS`](crate::MAX_DEAD_LETTERS) are kept, and of a long payload its beginning.
    pub async fn bury(&self, mut letter: DeadLetter) -> Result<(), Refusal> {
        if letter.payload.len() > MAX_LETTER_BYTES {
            // A copy, so that the short beginning does not hold the whole.
            letter.payload = Bytes::copy_from_slice(&letter.payload[..MAX_LETTER_BYTES]);
        }
        let bytes = letter.payload.len() + letter.topic.len() + letter.detail.len();
        let work = Work::Bury(Box::new(letter));
        self.ask(Principal::system("dead-letters"), work, bytes)
            .await
            .map(drop)
    }

    /// Refused messages that are kept, newest first: of the last so many numbers below `before` those
    /// that there are.
    pub async fn dead_letters(
        &self,
        before: u64,
        limit: usize,
    ) -> Result<Vec<KeptLetter>, StoreError> {
        // An error says that the semaphore was closed, which nobody does.
        let _reading = self.inner.historians.acquire().await.ok();
        let lane = &self.inner.settings.lane;
        self.inner.store.dead_letters(lane, before, limit).await
    }

    /// This instant.
    pub fn view(&self) -> View {
        View {
            live: self.inner.shared.live.load_full(),
        }
    }

    /// The first instant at or after a position, waiting for it at most so long.
    ///
    /// `None` if it was not reached in time.
    pub async fn view_at_least(&self, position: &Position, patience: Duration) -> Option<View> {
        let wanted = position.offset(&self.inner.settings.lane);
        let mut offset = self.inner.shared.offset.subscribe();
        let reached = offset.wait_for(|offset| *offset >= wanted);
        match tokio::time::timeout(patience, reached).await {
            Ok(Ok(_)) => Some(self.view()),
            _ => None,
        }
    }

    /// Everything that happens from a position on, in order; from the store while far behind.
    ///
    /// Refuses a position that the twin has not reached.
    pub fn follow(&self, from: &Position) -> Result<Follower, FollowEnd> {
        let lane = Arc::clone(&self.inner.settings.lane);
        let offset = from.offset(&lane);
        if offset > *self.inner.shared.offset.borrow() {
            let (position, stands) = (from.clone(), self.view().position());
            return Err(FollowEnd::Ahead { position, stands });
        }
        let shared = Arc::clone(&self.inner.shared);
        Ok(Follower::new(
            shared,
            Arc::clone(&self.inner.store),
            lane,
            offset,
        ))
    }

    /// Raw readings of a twin's telemetry with `ts` (microseconds since 1970) in the range, oldest
    /// first, one for each time, at most so many: as they stood at this view.
    ///
    /// Empty where the twin has no telemetry of that name.
    pub async fn history(
        &self,
        view: &View,
        twin: TwinRef,
        telemetry: &str,
        ts: Range<i64>,
        limit: usize,
    ) -> Result<Vec<PastReading>, StoreError> {
        let series = Series {
            twin: view.id(twin),
            telemetry,
            ts,
            before: view.live.offset,
            limit,
        };
        // An error says that the semaphore was closed, which nobody does.
        let _reading = self.inner.historians.acquire().await.ok();
        self.inner.store.readings(&series).await
    }

    /// A twin's readings summed up by windows of `every` microseconds, oldest first, at most so many
    /// windows: as they stood at this view. Windows without a reading are left out.
    ///
    /// Empty where the twin has no telemetry of that name, or one that is no number.
    pub async fn buckets(
        &self,
        view: &View,
        twin: TwinRef,
        telemetry: &str,
        ts: Range<i64>,
        every: Duration,
        limit: usize,
    ) -> Result<Vec<Bucket>, StoreError> {
        let series = Series {
            twin: view.id(twin),
            telemetry,
            ts,
            before: view.live.offset,
            limit,
        };
        let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
        // An error says that the semaphore was closed, which nobody does.
        let _reading = self.inner.historians.acquire().await.ok();
        self.inner.store.buckets(&series, every.max(1)).await
    }

    /// Brings history into its lasting form now: keeps the journal short, then settles. One call runs
    /// at a time; others wait for it.
    pub async fn tend(&self) -> Result<Tended, StoreError> {
        self.inner.keeper.tend().await
    }

    /// What tending did since the start.
    pub fn tended(&self) -> &KeeperCounters {
        &self.inner.keeper.counters
    }

    /// What loading found.
    pub fn loaded(&self) -> LoadReport {
        self.inner.loaded
    }

    /// What was committed since the start.
    pub fn counters(&self) -> &Counters {
        &self.inner.shared.counters
    }

    /// Requests that wait for the committer, and the limit.
    pub fn queue(&self) -> (usize, usize) {
        let queue = lock(&self.inner.queue);
        (
            queue.as_ref().map_or(0, |q| QUEUE_REQUESTS - q.capacity()),
            QUEUE_REQUESTS,
        )
    }

    /// Why the twin does not write any more; `None` while it does.
    pub fn stopped(&self) -> Option<Arc<str>> {
        self.inner.shared.stopped.borrow().clone()
    }

    /// Answers all that waits, then stops writing. Later commits are refused; reading goes on.
    pub async fn close(&self) {
        drop(lock(&self.inner.queue).take());
        self.inner.keeper.close().await;
        let task = lock(&self.inner.task).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the committer ended badly");
        }
    }

    /// The time of arrival of a reading that has none of its own. No two are the same: the later
    /// would replace the earlier.
    fn arrival(&self) -> i64 {
        let now = (self.inner.settings.clock)();
        let next = |last: i64| Some(now.max(last.saturating_add(1)));
        let order = Ordering::Relaxed;
        match self.inner.arrivals.fetch_update(order, order, next) {
            Ok(last) | Err(last) => now.max(last.saturating_add(1)),
        }
    }

    async fn ask(
        &self,
        principal: Principal,
        work: Work,
        bytes: usize,
    ) -> Result<Receipt, Refusal> {
        let closed = || Refusal::Unavailable("it is closed".to_owned());
        let queue = lock(&self.inner.queue).clone().ok_or_else(closed)?;
        let permits = bytes
            .div_ceil(PERMIT_BYTES)
            .clamp(1, QUEUE_BYTES / PERMIT_BYTES) as u32;
        let room = Arc::clone(&self.inner.room)
            .acquire_many_owned(permits)
            .await
            .map_err(|_closed| closed())?;
        let (answer, answered) = oneshot::channel();
        let request = Request {
            principal,
            work,
            bytes,
            answer,
            _room: room,
        };
        queue.send(request).await.map_err(|_gone| closed())?;
        drop(queue);
        let lost = |_| Refusal::OutcomeUnknown("the committer ended".to_owned());
        answered.await.map_err(lost)?
    }

    fn counted<T>(&self, checked: Result<T, Refusal>) -> Result<T, Refusal> {
        if checked.is_err() {
            let refused = &self.inner.shared.counters.refused;
            refused.fetch_add(1, Ordering::Relaxed);
        }
        checked
    }
}

/// A lock held for a few instructions by code that cannot panic; a poisoned one is still whole.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What is loaded, as it grows.
struct Loading<'a> {
    live: &'a mut Live,
    receipts: &'a mut Receipts,
    report: &'a mut LoadReport,
    interner: Interner,
    /// Offsets below which readings are of an earlier life of a twin that was deleted.
    ended: HashMap<TwinId, u64>,
}

impl Loading<'_> {
    fn take(&mut self, item: Loaded) -> Result<(), StoreError> {
        match item {
            Loaded::Twin(state) => self.twin(state)?,
            Loaded::Edge(edge) => self.edge(edge)?,
            Loaded::Receipt(receipt) => self.receipts.insert(receipt),
            Loaded::Ended { twin, offset } => {
                let ended = self.ended.entry(twin).or_default();
                *ended = offset.max(*ended);
            }
            Loaded::Foreign { readings } => {
                self.report.readings += readings;
                self.report.foreign_readings += readings;
            }
            Loaded::Reading {
                reading,
                arrived,
                offset,
            } => self.reading(reading, arrived, offset),
        }
        Ok(())
    }

    fn twin(&mut self, mut state: TwinState) -> Result<(), StoreError> {
        if self.live.find(state.id.as_str()).is_some() {
            let id = state.id;
            return Err(StoreError::Damaged(format!("twin `{id}` is stored twice")));
        }
        if let Some(values) = Arc::get_mut(&mut state.values) {
            let values = values.iter_mut().flatten();
            values.for_each(|value| self.interner.share(value));
        }
        self.live.insert(&state);
        self.report.twins += 1;
        Ok(())
    }

    fn edge(&mut self, edge: EdgeState) -> Result<(), StoreError> {
        let find = |id: &TwinId| {
            self.live.find(id.as_str()).ok_or_else(|| {
                let name = &self.live.ontology.relationship(edge.relationship).name;
                StoreError::Damaged(format!(
                    "relationship `{}` {name} `{}` is stored, and twin `{id}` is not",
                    edge.source, edge.target
                ))
            })
        };
        let (source, target) = (find(&edge.source)?, find(&edge.target)?);
        self.live
            .relate(edge.relationship, source, target, edge.values);
        self.report.relationships += 1;
        Ok(())
    }

    fn reading(&mut self, reading: Recorded, arrived: i64, offset: u64) {
        self.report.readings += 1;
        let ended = self.ended.get(&reading.twin).copied().unwrap_or(0);
        let twin = self.live.find(reading.twin.as_str());
        let Some(twin) = twin.filter(|twin| twin.class == reading.class && ended <= offset) else {
            self.report.orphan_readings += 1;
            return;
        };
        let telemetry = reading.telemetry as usize;
        let schema = &self.live.ontology.class(twin.class).telemetry[telemetry].schema;
        if door::admit(schema, &reading.value).is_err() {
            self.report.foreign_readings += 1;
            return;
        }
        let latest = Latest {
            ts: reading.ts,
            arrived,
            offset,
            value: reading.value,
        };
        self.live.read(twin, telemetry, latest);
    }
}
