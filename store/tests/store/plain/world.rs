//! The twin that is held against the plain nation: steps become requests, answers and everything that
//! can be read are compared.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ontology::Ontology;
use store::{EngineError, Keep, OpenError, Retention, Settings, SurrealStore, Sync};
use surrealdb::Surreal;
use surrealdb::engine::local::{Db, RocksDb};
use surrealdb::types::Value as Stored;
use twin_core::history::DAY_US;
use twin_core::memory::MemoryStore;
use twin_core::store::Store;
use twin_core::{
    Commit, FollowEnd, Follower, Idempotency, Position, Principal, Readings, Receipt, Refusal,
    Twin, View,
};

use super::nation::{Answer, Nation};
use super::step::{Limit, Op, PLACES, Record, Step};
use super::structure::Told;
use super::{compare, request, told};
use crate::model::{ontology, point};

/// 2026-11-21T00:00Z.
const START: i64 = 20_778 * DAY_US;
/// Days that readings are kept as they came; none is later than a few.
pub(super) const READINGS_DAYS: u32 = 20;
/// Most things asked together, and most readings and operations of them.
const TOGETHER: usize = 64;
const ITEMS: usize = 1_000;
/// What happened is remembered so far back.
const REMEMBERED: usize = 50_000;
/// Most things that are followed at one check.
const FOLLOWED: usize = 2_000;

thread_local! {
    /// Each world has a thread, and so its own time.
    static NOW: AtomicI64 = const { AtomicI64::new(START) };
    static STEADY: AtomicI64 = const { AtomicI64::new(0) };
}

fn now() -> i64 {
    NOW.with(|now| now.load(Ordering::Relaxed))
}

/// Without this, retention would never believe the clock.
fn steady() -> Duration {
    let steady = STEADY.with(|steady| steady.load(Ordering::Relaxed));
    Duration::from_micros(steady.cast_unsigned())
}

pub(super) fn at(offset: u64) -> Position {
    Position::of(&"main".into(), offset)
}

pub(super) fn name(twin: u8) -> String {
    format!("t{twin:02}")
}

pub(super) fn place(number: u8) -> Arc<twin_core::space::Shape> {
    point(30.0 + f64::from(number) / 10.0, -2.0)
}

pub(super) fn places() -> impl Iterator<Item = u8> {
    0..PLACES
}

/// Which store the twin is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Memory,
    Surreal,
}

enum Request {
    Commit(Commit),
    Record(Readings),
}

/// What a run came to, so that it shows what it proves.
#[derive(Debug, Default)]
struct Sums {
    done: u64,
    refused: u64,
    repeated: u64,
    restarts: u64,
    checks: u64,
    gaps: u64,
    sealed: u64,
    settled: u64,
    dropped: u64,
}

/// A twin on a store that is open.
struct Open {
    twin: Twin,
    store: Option<Arc<SurrealStore>>,
    follower: Follower,
    /// Where it stood when it was opened: before that it remembers nothing by itself.
    opened: u64,
}

pub(super) struct World {
    folder: tempfile::TempDir,
    memory: Option<MemoryStore>,
    pub(super) ontology: Arc<Ontology>,
    limit: Limit,
    open: Option<Open>,
    pub(super) nation: Nation,
    requests: Vec<Request>,
    items: usize,
    /// Below this offset nothing can be followed.
    floor: u64,
    /// An instant that is held, and what it said.
    held: Option<(View, Vec<String>)>,
    sums: Sums,
}

fn keep(limit: Limit) -> Keep {
    match limit {
        Limit::None => Keep::default(),
        Limit::Bytes(bytes) => Keep {
            bytes: Some(bytes),
            time: None,
        },
        Limit::Hours(hours) => Keep {
            bytes: None,
            time: Some(Duration::from_hours(hours)),
        },
    }
}

impl World {
    pub(super) async fn new(kind: Kind) -> Self {
        NOW.with(|now| now.store(START, Ordering::Relaxed));
        STEADY.with(|steady| steady.store(0, Ordering::Relaxed));
        let ontology = ontology();
        let memory = (kind == Kind::Memory).then(|| MemoryStore::new(Arc::clone(&ontology)));
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            memory,
            ontology,
            limit: Limit::None,
            open: None,
            nation: Nation::default(),
            requests: Vec::new(),
            items: 0,
            floor: 0,
            held: None,
            sums: Sums::default(),
        };
        world.nation.now = START;
        world.open().await;
        world
    }

    fn opened(&self) -> &Open {
        self.open.as_ref().unwrap()
    }

    pub(super) fn twin(&self) -> &Twin {
        &self.opened().twin
    }

    pub(super) fn store(&self) -> Option<&Arc<SurrealStore>> {
        self.opened().store.as_ref()
    }

    async fn open_store(&self) -> Arc<SurrealStore> {
        const TRIES: usize = 500;
        let url = format!("rocksdb://{}", self.folder.path().display());
        for _ in 0..TRIES {
            let settings = Settings {
                // What power cuts take is another test's.
                sync: Sync::Never,
                change: keep(self.limit),
                journal: keep(self.limit),
                retention: Retention {
                    readings: Some(READINGS_DAYS),
                    ..Retention::default()
                },
                ..Settings::default()
            };
            let ontology = Arc::clone(&self.ontology);
            match SurrealStore::open(&url, "rw", ontology, settings).await {
                Ok(store) => return Arc::new(store),
                // What was dropped without closing ends soon.
                Err(OpenError::Engine(EngineError::InUse { .. })) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
        panic!("still in use");
    }

    async fn open(&mut self) {
        let (store, shared): (_, Arc<dyn Store>) = if let Some(memory) = &self.memory {
            (None, Arc::new(memory.clone()))
        } else {
            let store = self.open_store().await;
            (Some(Arc::clone(&store)), store)
        };
        let settings = twin_core::Settings {
            clock: now,
            steady,
            tend_every: None,
            ..twin_core::Settings::default()
        };
        let twin = Twin::open(shared, Arc::clone(&self.ontology), settings)
            .await
            .unwrap();
        let opened = self.nation.next();
        assert_eq!(twin.view().position(), at(opened));
        let structure = &self.nation.structure;
        let loaded = twin.loaded();
        assert_eq!(loaded.twins, structure.beings.len() as u64);
        assert_eq!(loaded.relationships, structure.relations.len() as u64);
        let follower = twin.follow(&twin.view().position()).unwrap();
        self.nation.restarted();
        self.open = Some(Open {
            twin,
            store,
            follower,
            opened,
        });
    }

    pub(super) async fn close(&mut self) {
        self.held = None;
        let Open { twin, store, .. } = self.open.take().unwrap();
        twin.close().await;
        if let Some(store) = store {
            store.close().await.unwrap();
        }
    }

    pub(super) async fn step(&mut self, step: Step) {
        if !step.is_request() || self.requests.len() >= TOGETHER || self.items >= ITEMS {
            self.ask().await;
        }
        match step {
            Step::Commit(who, ops, key) => self.commit(who, &ops, key),
            Step::Record(record) => self.record(&record),
            Step::Wait => {}
            Step::Advance(by) => {
                NOW.with(|now| now.fetch_add(by, Ordering::Relaxed));
                STEADY.with(|steady| steady.fetch_add(by, Ordering::Relaxed));
                self.nation.now = now();
                if by > DAY_US / 4 {
                    // Nothing waits longer in a twin that runs.
                    self.tend().await;
                }
            }
            Step::Tend => self.tend().await,
            Step::Limit(limit) => {
                self.limit = limit;
                if let Some(store) = self.store() {
                    store.keep(keep(limit), keep(limit));
                }
            }
            Step::Restart => {
                self.sums.restarts += 1;
                self.close().await;
                self.open().await;
            }
            Step::Drop => {
                self.sums.restarts += 1;
                self.held = None;
                self.open = None;
                self.open().await;
            }
            Step::Check(choice) => self.check(choice).await,
            Step::Verify => self.verify().await,
        }
    }

    /// Everything is done, kept and agrees.
    pub(super) async fn end(&mut self) {
        self.ask().await;
        self.check(0).await;
        self.tend().await;
        self.verify().await;
        self.close().await;
        self.open().await;
        self.check(1).await;
        println!("{:?}", self.sums);
    }

    fn commit(&mut self, who: u8, ops: &[Op], key: Option<u8>) {
        if self.requests.is_empty() {
            self.nation.begin();
        }
        let operations = ops
            .iter()
            .map(|op| request::operation(op, self.nation.want(op)))
            .collect();
        // The same key with as many operations is the same request to whoever says so.
        let key = key.map(|key| (key, ops.len() as u64));
        self.nation.commit(who, ops, key);
        let idempotency = key.map(|(key, hash)| Idempotency {
            key: format!("k{key}").into(),
            hash,
        });
        let principal = Principal::new(&format!("user:{who}")).unwrap();
        self.requests.push(Request::Commit(Commit {
            principal,
            idempotency,
            operations,
        }));
        self.items += ops.len() * 2;
    }

    fn record(&mut self, record: &Record) {
        if self.requests.is_empty() {
            self.nation.begin();
        }
        let readings = request::readings(record, &self.nation.times(record));
        self.requests.push(Request::Record(readings));
        self.nation.record(record);
        self.items += usize::from(record.count);
    }

    /// Asks for everything that waits, together, and holds the answers and what happened against the
    /// nation.
    async fn ask(&mut self) {
        let requests = std::mem::take(&mut self.requests);
        if requests.is_empty() {
            return;
        }
        self.items = 0;
        self.nation.finish();
        let twin = self.twin().clone();
        let requests = requests.into_iter();
        let mut asked: Vec<BoxFuture<'_, Result<Receipt, Refusal>>> = requests
            .map(|request| match request {
                Request::Commit(commit) => twin.commit(commit).boxed(),
                Request::Record(readings) => twin.record(readings).boxed(),
            })
            .collect();
        let mut answers: Vec<_> = asked.iter().map(|_| None).collect();
        // All of them stand in the queue before the committer takes the first.
        let first = poll_fn(|context| {
            for (asked, answer) in asked.iter_mut().zip(&mut answers) {
                if let Poll::Ready(ready) = asked.as_mut().poll(context) {
                    *answer = Some(ready);
                }
            }
            Poll::Ready(())
        });
        tokio::task::unconstrained(first).await;
        let expected = std::mem::take(&mut self.nation.answers);
        assert_eq!(asked.len(), expected.len());
        for answer in &expected {
            let sums = &mut self.sums;
            let sum = match answer {
                Ok(answer) if answer.repeated => &mut sums.repeated,
                Ok(_) => &mut sums.done,
                Err(_) => &mut sums.refused,
            };
            *sum += 1;
        }
        for ((asked, answer), expected) in asked.into_iter().zip(answers).zip(expected) {
            let answer = match answer {
                Some(answer) => answer,
                None => asked.await,
            };
            let said = match &answer {
                Ok(receipt) => Ok(Answer {
                    position: receipt.position.offset("main"),
                    changes: receipt.changes,
                    repeated: receipt.repeated,
                }),
                Err(refusal) => Err(compare::refused(refusal)),
            };
            assert_eq!(said, expected, "{answer:?}");
        }
        let open = self.open.as_mut().unwrap();
        let from = open.follower.offset();
        let mut found = Vec::new();
        while open.follower.offset() < self.nation.next() {
            let group = open.follower.next().await.unwrap();
            found.extend(told::of(&group, &self.ontology));
        }
        let expected: Vec<&Told> = self.nation.told(from, usize::MAX).collect();
        let revisions = told::same(&expected, found, from, true);
        self.nation.learn(&revisions);
        // What can be followed is remembered, up to a limit.
        self.nation.forget(REMEMBERED);
    }

    async fn tend(&mut self) {
        let tended = self.twin().tend().await.unwrap();
        self.sums.sealed += tended.sealed;
        self.sums.settled += tended.settled;
        self.sums.dropped += tended.dropped;
        assert!(tended.floor >= self.floor, "the floor sank: {tended:?}");
        assert!(tended.floor <= self.nation.next(), "{tended:?}");
        if let Limit::Hours(hours) = self.limit {
            let young = now() - Duration::from_hours(hours).as_micros() as i64;
            let first = tended.floor.max(self.nation.log_first);
            let passed = self.nation.told(
                self.nation.log_first,
                (first - self.nation.log_first) as usize,
            );
            let early = { passed }.find(|told| told.at > young);
            // What an earlier limit had passed is gone all the same.
            assert!(
                early.is_none() || tended.floor == self.floor,
                "too young to go: {early:?}"
            );
        }
        self.floor = tended.floor;
    }

    async fn verify(&self) {
        if let Some(store) = self.store() {
            let report = store.verify().await.unwrap();
            assert!(report.is_sound(), "{report:?}");
        }
    }

    /// Holds everything against the nation.
    async fn check(&mut self, choice: u32) {
        self.sums.checks += 1;
        let view = self.twin().view();
        assert_eq!(view.position(), at(self.nation.next()));
        let described = compare::described(&view);
        assert_eq!(described, compare::of(&self.nation.structure));
        if let Some((held, said)) = self.held.replace((view, described)) {
            assert_eq!(
                compare::described(&held),
                said,
                "an instant that was held moved"
            );
        }
        let counters = self.twin().counters();
        let counted = [&counters.changes, &counters.readings, &counters.duplicates];
        let counted = counted.map(|counter| counter.load(Ordering::Relaxed));
        let Nation {
            changes,
            readings,
            duplicates,
            ..
        } = self.nation;
        assert_eq!(counted, [changes, readings, duplicates]);
        compare::series(self, choice).await;
        self.follow(choice).await;
    }

    /// Follows from somewhere: everything comes, or nothing where the floor says so.
    async fn follow(&mut self, choice: u32) {
        let next = self.nation.next();
        let spots = [
            u64::from(choice) % (next + 1),
            self.floor + u64::from(choice) % (next - self.floor + 1),
            self.floor.saturating_sub(1),
        ];
        for from in spots {
            let mut follower = self.twin().follow(&at(from)).unwrap();
            if from < self.floor && from < self.opened().opened {
                match follower.next().await {
                    Err(FollowEnd::Gap { oldest }) if oldest == self.floor => {
                        self.sums.gaps += 1;
                        continue;
                    }
                    other => panic!("from {from}, below {}: {other:?}", self.floor),
                }
            }
            // Below the floor a twin still tells what it remembers itself.
            if from < self.nation.log_first || from < self.floor {
                continue;
            }
            let end = next.min(from + FOLLOWED as u64);
            let mut found = Vec::new();
            while follower.offset() < end {
                let begins = follower.offset();
                let group = follower.next().await.unwrap();
                let skipped = begins.saturating_sub(group.first) as usize;
                found.extend(told::of(&group, &self.ontology).into_iter().skip(skipped));
            }
            let expected: Vec<&Told> = self.nation.told(from, found.len()).collect();
            told::same(&expected, found, from, false);
        }
    }

    /// Every record of every table, byte for byte, as another program reads them.
    pub(super) async fn records(&mut self) -> BTreeMap<String, String> {
        self.close().await;
        let folder = self.folder.path().to_str().unwrap();
        let db: Surreal<Db> = Surreal::new::<RocksDb>(folder).await.unwrap();
        db.use_ns("twin").use_db("rw").await.unwrap();
        let info: Stored = db.query("INFO FOR DB").await.unwrap().take(0).unwrap();
        let Stored::Object(info) = &info else {
            panic!("{info:?}");
        };
        let Some(Stored::Object(tables)) = info.get("tables") else {
            panic!("{info:?}");
        };
        let mut records = BTreeMap::new();
        for table in tables.keys() {
            let text = format!("SELECT * FROM `{table}`");
            let rows: Stored = db.query(text).await.unwrap().take(0).unwrap();
            records.insert(table.clone(), format!("{rows:?}"));
        }
        drop(db);
        self.open().await;
        records
    }
}
