//! The twin: the four verbs `commit`, `record`, `view`, `follow` over one store and one lane.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ontology::Ontology;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::commit::{Commit, Readings, Receipt, Refusal};
use crate::committer::{
    Committer, Counters, PERMIT_BYTES, QUEUE_BYTES, QUEUE_REQUESTS, Receipts, Request, Shared, Work,
};
use crate::door::{self, Interner};
use crate::follow::Follower;
use crate::id::{Position, Principal};
use crate::live::{Latest, Live};
use crate::store::{Loaded, Store, StoreError};
use crate::view::View;

/// Groups that a follower may be behind before it is served from the store.
pub const FOLLOW_GROUPS: usize = 64;

/// How a twin is opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the lane that this process writes.
    pub lane: Arc<str>,
    /// Time of day in microseconds since 1970; injected so that tests own it.
    pub clock: fn() -> i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lane: "main".into(),
            clock: now_us,
        }
    }
}

/// Microseconds since 1970 by the machine's clock.
pub fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
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
    loaded: LoadReport,
    settings: Settings,
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
        let mut interner = Interner::default();
        let mut sink = |item| take(&mut live, &mut receipts, &mut loaded, &mut interner, item);
        store.load(&mut sink).await?;
        let shared = Arc::new(Shared {
            offset: watch::Sender::new(live.offset),
            live: ArcSwap::from_pointee(live),
            groups: broadcast::Sender::new(FOLLOW_GROUPS),
            stopped: watch::Sender::new(None),
            counters: Counters::default(),
        });
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
            loaded,
            settings,
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
        let live = self.inner.shared.live.load_full();
        let (steps, _) = door::check_commit(&live.ontology, commit)?;
        crate::committer::dry_run(live, &commit.principal, &steps)
    }

    /// Records readings, all or none. Durable and visible to [`Twin::view`] when it answers.
    pub async fn record(&self, readings: Readings) -> Result<Receipt, Refusal> {
        let live = self.inner.shared.live.load_full();
        let (steps, bytes) = self.counted(door::check_readings(&live, &readings))?;
        self.ask(readings.principal, Work::Record(steps), bytes)
            .await
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
    pub fn follow(&self, from: &Position) -> Follower {
        let from = from.offset(&self.inner.settings.lane);
        let lane = Arc::clone(&self.inner.settings.lane);
        let groups = self.inner.shared.groups.subscribe();
        Follower::new(groups, Arc::clone(&self.inner.store), lane, from)
    }

    /// The store behind the twin, for raw history.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
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
        let task = lock(&self.inner.task).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the committer ended badly");
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
        let at = (self.inner.settings.clock)();
        let request = Request {
            principal,
            work,
            bytes,
            at,
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
            refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
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

/// Takes one loaded thing into the live twin.
fn take(
    live: &mut Live,
    receipts: &mut Receipts,
    report: &mut LoadReport,
    interner: &mut Interner,
    item: Loaded,
) -> Result<(), StoreError> {
    match item {
        Loaded::Twin(mut state) => {
            if live.find(state.id.as_str()).is_some() {
                return Err(StoreError::Damaged(format!(
                    "twin `{}` is stored twice",
                    state.id
                )));
            }
            if let Some(values) = Arc::get_mut(&mut state.values) {
                values
                    .iter_mut()
                    .flatten()
                    .for_each(|value| interner.share(value));
            }
            live.insert(&state);
            report.twins += 1;
        }
        Loaded::Edge(edge) => {
            let find = |id: &crate::id::TwinId| {
                live.find(id.as_str()).ok_or_else(|| {
                    let name = &live.ontology.relationship(edge.relationship).name;
                    StoreError::Damaged(format!(
                        "relationship `{}` {name} `{}` is stored, and twin `{id}` is not",
                        edge.source, edge.target
                    ))
                })
            };
            let (source, target) = (find(&edge.source)?, find(&edge.target)?);
            live.relate(edge.relationship, source, target, edge.values);
            report.relationships += 1;
        }
        Loaded::Receipt(receipt) => receipts.insert(receipt),
        Loaded::Reading {
            reading,
            arrived,
            offset,
        } => {
            report.readings += 1;
            match live.find(reading.twin.as_str()) {
                Some(twin) if twin.class == reading.class => {
                    let latest = Latest {
                        ts: reading.ts,
                        arrived,
                        offset,
                        value: reading.value,
                    };
                    live.read(twin, reading.telemetry as usize, latest);
                }
                _ => report.orphan_readings += 1,
            }
        }
    }
    Ok(())
}
