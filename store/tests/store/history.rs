//! History in its lasting form says what the readings said: against a map in memory, over restarts,
//! late readings, deleted twins and whatever order they come in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ontology::{Ontology, Value};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use store::{Keep, Retention, Settings, SurrealStore};
use twin_core::history::{Bucket, DAY_US, HOUR_US, MINUTE_US, gather, number, window_start};
use twin_core::store::{Store, StoreError};
use twin_core::{
    Commit, FollowEnd, Operation, Position, Principal, Put, Reading, Readings, Twin, TwinId,
};

use crate::damage::{reopen, tamper};
use crate::model::{id, ontology};

/// 2026-11-21T00:00Z.
const START: i64 = 20_778 * DAY_US;
const SECOND: i64 = 1_000_000;

thread_local! {
    /// Each test has its own time; its runtime lives on its thread.
    static NOW: AtomicI64 = const { AtomicI64::new(START) };
    static STEADY: AtomicI64 = const { AtomicI64::new(0) };
}

fn now() -> i64 {
    NOW.with(|now| now.load(Ordering::Relaxed))
}

fn steady() -> Duration {
    Duration::from_micros(
        STEADY
            .with(|steady| steady.load(Ordering::Relaxed))
            .cast_unsigned(),
    )
}

/// Time passes; below 0 the clock is set back.
fn advance(by: i64) {
    set_clock(now() + by);
    STEADY.with(|steady| steady.fetch_add(by.max(0), Ordering::Relaxed));
}

/// Somebody sets the clock.
fn set_clock(to: i64) {
    NOW.with(|now| now.store(to, Ordering::Relaxed));
}

struct World {
    folder: tempfile::TempDir,
    ontology: Arc<Ontology>,
    settings: Settings,
    store: Arc<SurrealStore>,
    twin: Twin,
    /// What each telemetry of each twin said at each time.
    said: BTreeMap<(TwinId, &'static str), BTreeMap<i64, Value>>,
}

async fn open(
    folder: &tempfile::TempDir,
    ontology: &Arc<Ontology>,
    settings: &Settings,
    every: Option<Duration>,
) -> (Arc<SurrealStore>, Twin) {
    let url = format!("rocksdb://{}", folder.path().display());
    let opened = SurrealStore::open(&url, "rw", Arc::clone(ontology), settings.clone()).await;
    let store = Arc::new(opened.unwrap());
    let settings = twin_core::Settings {
        clock: now,
        steady,
        tend_every: every,
        ..twin_core::Settings::default()
    };
    let shared = Arc::clone(&store) as Arc<dyn Store>;
    let twin = Twin::open(shared, Arc::clone(ontology), settings);
    (store, twin.await.unwrap())
}

impl World {
    async fn new(settings: Settings) -> Self {
        set_clock(START);
        let folder = tempfile::tempdir().unwrap();
        let ontology = ontology();
        let (store, twin) = open(&folder, &ontology, &settings, None).await;
        Self {
            folder,
            ontology,
            settings,
            store,
            twin,
            said: BTreeMap::new(),
        }
    }

    async fn restart(&mut self) {
        self.restart_tending(None).await;
    }

    /// Starts again, and tends at such intervals by itself.
    async fn restart_tending(&mut self, every: Option<Duration>) {
        self.twin.close().await;
        self.store.close().await.unwrap();
        (self.store, self.twin) = open(&self.folder, &self.ontology, &self.settings, every).await;
    }

    async fn commit(&self, operation: Operation) {
        let commit = Commit {
            principal: Principal::system("test"),
            idempotency: None,
            operations: vec![operation],
        };
        self.twin.commit(commit).await.unwrap();
    }

    async fn create(&self, twin: &str) {
        let put = Put {
            id: id(twin),
            class: "HealthFacility".into(),
            set: Vec::new(),
            geometry: None,
            expect: None,
        };
        self.commit(Operation::Upsert(put)).await;
    }

    async fn delete(&mut self, twin: &str) {
        self.said.retain(|(of, _), _| of.as_str() != twin);
        let delete = Operation::Delete {
            id: id(twin),
            expect: None,
            detach: true,
        };
        self.commit(delete).await;
    }

    async fn record(&mut self, twin: &str, telemetry: &'static str, said: &[(i64, Value)]) {
        let of = id(twin);
        let readings = said.iter().map(|(ts, value)| Reading {
            twin: of.clone(),
            telemetry: telemetry.into(),
            ts: Some(*ts),
            value: value.clone(),
        });
        let readings = Readings {
            principal: Principal::system("test"),
            readings: readings.collect(),
        };
        self.twin.record(readings).await.unwrap();
        let series = self.said.entry((of, telemetry)).or_default();
        series.extend(said.iter().cloned());
    }

    async fn history(
        &self,
        twin: &str,
        telemetry: &str,
        ts: std::ops::Range<i64>,
        limit: usize,
    ) -> Vec<(i64, Value)> {
        let view = self.twin.view();
        let of = view.find(twin).unwrap();
        let found = self.twin.history(&view, of, telemetry, ts, limit).await;
        found
            .unwrap()
            .into_iter()
            .map(|past| (past.ts, past.value))
            .collect()
    }

    async fn buckets(
        &self,
        twin: &str,
        telemetry: &str,
        ts: std::ops::Range<i64>,
        every: i64,
    ) -> Vec<Bucket> {
        let view = self.twin.view();
        let of = view.find(twin).unwrap();
        let every = Duration::from_micros(every.cast_unsigned());
        let found = self.twin.buckets(&view, of, telemetry, ts, every, 10_000);
        found.await.unwrap()
    }

    /// Holds everything against the map.
    async fn check(&self) {
        for ((twin, telemetry), series) in &self.said {
            let twin = twin.as_str();
            let all: Vec<_> = series
                .iter()
                .map(|(ts, value)| (*ts, value.clone()))
                .collect();
            let found = self
                .history(twin, telemetry, i64::MIN..i64::MAX, usize::MAX)
                .await;
            assert_eq!(found, all, "{twin} {telemetry}");
            let first = self.history(twin, telemetry, i64::MIN..i64::MAX, 3).await;
            assert_eq!(first, all[..all.len().min(3)], "{twin} {telemetry}");
            let view = self.twin.view();
            let of = view.find(twin).unwrap();
            let class = self.ontology.class_named("HealthFacility").unwrap();
            let latest = view.latest(of, class.telemetry_index(telemetry).unwrap());
            let latest = latest.map(|latest| (latest.ts, latest.value.clone()));
            assert_eq!(latest.as_ref(), all.last(), "{twin} {telemetry}");
            for (every, from, to) in [
                (HOUR_US, START - 3 * DAY_US, START + 9 * DAY_US),
                (
                    MINUTE_US,
                    START - DAY_US + 17 * SECOND,
                    START + 40 * MINUTE_US,
                ),
                (DAY_US, START - 2 * DAY_US + 5 * HOUR_US, START + 3 * DAY_US),
                (7 * HOUR_US, i64::MIN, i64::MAX),
                (11 * SECOND, START - HOUR_US, START + HOUR_US),
            ] {
                let mut sums = Vec::new();
                for (ts, value) in series.range(from..to) {
                    if let Some(value) = number(value) {
                        let sum = Bucket::new(window_start(*ts, every), value);
                        gather(&mut sums, &sum, every);
                    }
                }
                let found = self.buckets(twin, telemetry, from..to, every).await;
                assert_eq!(found.len(), sums.len(), "{twin} {telemetry} by {every}");
                for (found, sum) in found.iter().zip(&sums) {
                    // Sums of sums differ in the last bits.
                    assert!((found.sum - sum.sum).abs() <= 1e-9 * sum.sum.abs().max(1.0));
                    assert_eq!(Bucket { sum: 0.0, ..*found }, Bucket { sum: 0.0, ..*sum });
                }
            }
        }
        let report = self.store.verify().await.unwrap();
        assert!(report.is_sound(), "{report:?}");
    }

    async fn tend(&self) {
        self.twin.tend().await.unwrap();
    }

    /// Tends until what the clock shows now is believed.
    async fn believe(&self) {
        self.tend().await;
        advance(HOUR_US);
        self.tend().await;
    }

    async fn heads(&self) -> usize {
        let none = serde_json::Map::new();
        let text = "SELECT VALUE id FROM _segment";
        let rows = self
            .store
            .query(text, &none, store::Limits::default())
            .await;
        rows.unwrap().pop().unwrap().as_array().unwrap().len()
    }

    async fn tables(&self, prefix: &str) -> Vec<String> {
        let none = serde_json::Map::new();
        let info = self
            .store
            .query("INFO FOR DB", &none, store::Limits::default())
            .await;
        let info = info.unwrap().pop().unwrap();
        let tables = info["tables"].as_object().unwrap().keys();
        tables
            .filter(|table| table.starts_with(prefix))
            .cloned()
            .collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Record {
        twin: usize,
        telemetry: usize,
        start: i64,
        every: i64,
        count: usize,
    },
    Reborn(usize),
    Advance(i64),
    Tend,
    Restart,
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    let start = prop_oneof![
        4 => -2 * HOUR_US..=0,
        1 => -3 * DAY_US..=0,
    ];
    let record = (0_usize..3, 0_usize..2, start, 1_i64..400, 1_usize..700);
    prop_oneof![
        8 => record.prop_map(|(twin, telemetry, start, every, count)| Step::Record {
            twin, telemetry, start, every: every * SECOND / 7, count,
        }),
        1 => (0_usize..3).prop_map(Step::Reborn),
        2 => (0..2 * DAY_US).prop_map(Step::Advance),
        4 => Just(Step::Tend),
        1 => Just(Step::Restart),
        2 => Just(Step::Check),
    ]
}

const TWINS: [&str; 3] = ["rw:facility:1", "rw:facility:2", "rw:facility:20"];

async fn run(steps: Vec<Step>, segment_blocks: u64) {
    let settings = Settings {
        segment_blocks,
        ..Settings::default()
    };
    let mut world = World::new(settings).await;
    for twin in TWINS {
        world.create(twin).await;
    }
    let mut salt = 0_i64;
    for step in steps {
        match step {
            Step::Record {
                twin,
                telemetry,
                start,
                every,
                count,
            } => {
                salt += 1;
                let start = now() + start;
                let times = (0..count as i64).map(|i| start + i * every);
                let times = times.take_while(|ts| *ts <= now());
                let telemetry = ["pm25", "status"][telemetry];
                let said: Vec<_> = times
                    .map(|ts| {
                        let n = (ts / SECOND + salt) % 1_000;
                        let value = match telemetry {
                            "pm25" => Value::Double(n as f64 / 10.0),
                            _ => Value::Text(["on", "off", "fault"][n as usize % 3].into()),
                        };
                        (ts, value)
                    })
                    .collect();
                if !said.is_empty() {
                    world.record(TWINS[twin], telemetry, &said).await;
                }
            }
            Step::Reborn(twin) => {
                world.delete(TWINS[twin]).await;
                world.create(TWINS[twin]).await;
            }
            Step::Advance(by) => advance(by),
            Step::Tend => world.tend().await,
            Step::Restart => world.restart().await,
            Step::Check => world.check().await,
        }
    }
    world.check().await;
    // Everything settled says the same.
    world.tend().await;
    advance(2 * DAY_US);
    world.tend().await;
    world.check().await;
    world.restart().await;
    world.check().await;
    world.store.close().await.unwrap();
}

#[test]
fn history_says_what_the_readings_said_whatever_happens_between() {
    let config = Config {
        cases: 8,
        failure_persistence: None,
        max_shrink_iters: 40,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Segments that end after a block or a few, too.
    let sizes = prop_oneof![Just(1_u64), Just(3), Just(16_384)];
    TestRunner::new(config)
        .run(
            &(prop::collection::vec(step(), 1..25), sizes),
            |(steps, size)| {
                runtime.block_on(run(steps, size));
                Ok(())
            },
        )
        .unwrap();
}

/// A value a minute through a day.
fn minutes(day: i64) -> Vec<(i64, Value)> {
    let start = day * DAY_US;
    let value = |i: i64| {
        (
            start + i * MINUTE_US,
            Value::Double((i % 300) as f64 / 10.0),
        )
    };
    (0..24 * 60).map(value).collect()
}

#[tokio::test]
async fn many_segments_become_few_and_a_day_settles_into_one() {
    let mut world = World::new(Settings::default()).await;
    world.create("rw:facility:1").await;
    let first = START / DAY_US;
    for said in minutes(first).chunks(24) {
        set_clock(said.last().unwrap().0);
        world.record("rw:facility:1", "pm25", said).await;
        world.tend().await;
    }
    // 60 segments in eights: 7 of eight and 4 single ones.
    assert_eq!(world.heads().await, 11);
    world.check().await;
    assert_eq!(world.tables("_recent_").await, ["_recent_2026_11_21"]);
    advance(DAY_US);
    world.tend().await;
    // Readings and hours; minutes would be as many as the readings.
    assert_eq!(world.heads().await, 2);
    assert!(world.tables("_recent_").await.is_empty());
    assert_eq!(world.tables("_day_").await, ["_day_2026_11"]);
    assert_eq!(world.tables("_hours_").await, ["_hours_2026"]);
    world.check().await;
    // What comes late is a part of its own, and the day's sums are those of all.
    let late = [(START + 90 * SECOND, Value::Double(1e6))];
    world.record("rw:facility:1", "pm25", &late).await;
    world.check().await;
    advance(DAY_US);
    world.tend().await;
    // Its minutes are kept, whatever they are worth: an earlier part might have had some.
    assert_eq!(world.heads().await, 5);
    world.check().await;
    let hours = world
        .buckets("rw:facility:1", "pm25", START..START + HOUR_US, HOUR_US)
        .await;
    assert_eq!((hours[0].count, hours[0].max), (61, 1e6));
}

#[tokio::test]
async fn late_readings_count_in_minutes_that_were_summed_before() {
    let mut world = World::new(Settings::default()).await;
    world.create("rw:facility:1").await;
    let at = |i: i64, every: i64| (START + i * every, Value::Double(i as f64));
    let dense: Vec<_> = (0..10).map(|i| at(i, 30 * SECOND)).collect();
    advance(HOUR_US);
    world.record("rw:facility:1", "pm25", &dense).await;
    advance(DAY_US);
    world.tend().await;
    assert_eq!(world.tables("_minutes_").await, ["_minutes_2026_11"]);
    // Few a minute, so by themselves they would not be summed up.
    let late: Vec<_> = (10..13).map(|i| at(i, 10 * MINUTE_US)).collect();
    world.record("rw:facility:1", "pm25", &late).await;
    world.check().await;
    advance(DAY_US);
    world.tend().await;
    let minutes = world
        .buckets("rw:facility:1", "pm25", START..START + DAY_US, MINUTE_US)
        .await;
    assert_eq!(minutes.len(), 8);
    world.check().await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_costs_no_reading() {
    let mut world = World::new(Settings::default()).await;
    world.create("rw:facility:1").await;
    let said = |i: i64| vec![(START - HOUR_US + i * SECOND, Value::Double(i as f64))];
    advance(DAY_US);
    world.record("rw:facility:1", "pm25", &said(1)).await;
    world.tend().await;
    advance(-DAY_US);
    world.record("rw:facility:1", "pm25", &said(2)).await;
    world.tend().await;
    world.check().await;
    // The later arrivals are of the earlier day, so they settle first.
    advance(DAY_US + HOUR_US);
    world.tend().await;
    world.check().await;
    advance(DAY_US);
    world.tend().await;
    world.check().await;
    let hour = START - HOUR_US..START;
    let hours = world.buckets("rw:facility:1", "pm25", hour, HOUR_US).await;
    assert_eq!(hours.iter().map(|hour| hour.count).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn retention_drops_whole_tables_and_keeps_sums_longer() {
    let settings = Settings {
        retention: Retention {
            readings: Some(40),
            classes: BTreeMap::new(),
            sums: Some(1_000),
        },
        ..Settings::default()
    };
    let mut world = World::new(settings).await;
    world.create("rw:facility:1").await;
    let first = START / DAY_US;
    for day in [0, 45, 80] {
        set_clock((first + day + 1) * DAY_US - 1);
        world
            .record("rw:facility:1", "pm25", &minutes(first + day))
            .await;
        advance(DAY_US);
        world.believe().await;
    }
    // All of November's days are more than 40 days ago; January's is not.
    let tables = world.tables("_day_").await;
    assert_eq!(tables, ["_day_2027_01", "_day_2027_02"]);
    let hours = world
        .buckets("rw:facility:1", "pm25", START..START + DAY_US, HOUR_US)
        .await;
    assert_eq!(
        hours.iter().map(|hour| hour.count).collect::<Vec<_>>(),
        [60; 24]
    );
    // What retention would drop at once is counted, not kept.
    world
        .record("rw:facility:1", "pm25", &[(START + 1, Value::Double(0.0))])
        .await;
    advance(DAY_US);
    let tended = world.twin.tend().await.unwrap();
    assert_eq!((tended.expired, tended.settled), (1, 0));
    assert_eq!(world.tables("_day_").await, tables);
    // Nor by a process that does not believe its clock yet: its sums would hide those of the whole day.
    world
        .record("rw:facility:1", "pm25", &[(START + 2, Value::Double(0.0))])
        .await;
    world.restart().await;
    advance(DAY_US);
    let tended = world.twin.tend().await.unwrap();
    assert_eq!((tended.expired, tended.settled), (1, 0));
    let again = world
        .buckets("rw:facility:1", "pm25", START..START + DAY_US, HOUR_US)
        .await;
    assert_eq!(again, hours);
    // What another series says late of that day is all there is of it.
    world.create("rw:facility:2").await;
    world
        .record("rw:facility:2", "pm25", &[(START + 2, Value::Double(0.0))])
        .await;
    world.restart().await;
    advance(DAY_US);
    let tended = world.twin.tend().await.unwrap();
    assert_eq!((tended.expired, tended.settled), (0, 1));
    let report = world.store.verify().await.unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test]
async fn a_part_of_a_day_is_not_left_when_the_rest_of_it_goes() {
    let settings = Settings {
        retention: Retention {
            readings: Some(3),
            ..Retention::default()
        },
        // Two days a table.
        segment_blocks: 2,
        ..Settings::default()
    };
    let mut world = World::new(settings).await;
    world.create("rw:facility:1").await;
    let first = START / DAY_US;
    for day in 0..3 {
        set_clock((first + day + 1) * DAY_US - 1);
        let mut said = minutes(first + day);
        if day == 2 {
            // Late, and so in the table of later days.
            said.push((START + 7, Value::Double(1.0)));
        }
        world.record("rw:facility:1", "pm25", &said).await;
        advance(HOUR_US);
        world.tend().await;
    }
    assert_eq!(
        world.tables("_day_").await,
        ["_day_2026_11", "_day_2026_11_1"]
    );
    world.check().await;
    // The first table's days have passed, the other's have not.
    set_clock((first + 5) * DAY_US + HOUR_US);
    world.believe().await;
    world.believe().await;
    assert_eq!(world.tables("_day_").await, ["_day_2026_11_1"]);
    let view = world.twin.view();
    let of = view.find("rw:facility:1").unwrap();
    let day = START..START + DAY_US;
    let found = world.twin.history(&view, of, "pm25", day, 10_000).await;
    assert!(matches!(found, Err(StoreError::Coarse { .. })), "{found:?}");
    let last = START + 2 * DAY_US;
    let found = world.history("rw:facility:1", "pm25", last..last + DAY_US, 10_000);
    assert_eq!(found.await, minutes(first + 2));
}

#[tokio::test]
async fn a_twin_made_again_in_the_commit_that_deleted_it_has_no_history() {
    let mut world = World::new(Settings::default()).await;
    world.create("rw:facility:1").await;
    advance(DAY_US - 1);
    let said = minutes(START / DAY_US);
    world.record("rw:facility:1", "pm25", &said[..100]).await;
    world.tend().await;
    world.record("rw:facility:1", "pm25", &said[100..]).await;
    for settled in [false, true] {
        let before = world.twin.view();
        let again = vec![
            Operation::Delete {
                id: id("rw:facility:1"),
                expect: None,
                detach: true,
            },
            Operation::Upsert(Put {
                id: id("rw:facility:1"),
                class: "HealthFacility".into(),
                set: Vec::new(),
                geometry: None,
                expect: None,
            }),
        ];
        let commit = Commit {
            principal: Principal::system("test"),
            idempotency: None,
            operations: again,
        };
        world.twin.commit(commit).await.unwrap();
        let all = i64::MIN..i64::MAX;
        let found = world.history("rw:facility:1", "pm25", all.clone(), usize::MAX);
        assert_eq!(found.await, [], "settled: {settled}");
        let sums = world.buckets("rw:facility:1", "pm25", all.clone(), HOUR_US);
        assert_eq!(sums.await, [], "settled: {settled}");
        // Who looked before it still sees what was.
        let of = before.find("rw:facility:1").unwrap();
        let was = world.twin.history(&before, of, "pm25", all, usize::MAX);
        assert_eq!(was.await.unwrap().len(), said.len());
        world.said.clear();
        world.record("rw:facility:1", "pm25", &said).await;
        advance(HOUR_US);
        world.tend().await;
    }
}

#[tokio::test]
async fn a_class_may_keep_its_readings_for_another_time() {
    let settings = Settings {
        retention: Retention {
            readings: None,
            classes: BTreeMap::from([("HealthFacility".to_owned(), Some(1))]),
            sums: None,
        },
        ..Settings::default()
    };
    let mut world = World::new(settings).await;
    world.create("rw:facility:1").await;
    set_clock(START + DAY_US - 1);
    world
        .record("rw:facility:1", "pm25", &minutes(START / DAY_US))
        .await;
    advance(DAY_US);
    world.tend().await;
    assert_eq!(world.tables("_day_").await, ["_day_2026_11_HealthFacility"]);
    world.check().await;
    advance(DAY_US);
    world.believe().await;
    assert!(world.tables("_day_").await.is_empty());
}

#[tokio::test]
async fn the_log_is_trimmed_only_behind_what_was_sealed_and_says_gap() {
    let settings = Settings {
        journal: Keep {
            bytes: Some(16_000),
            time: None,
        },
        ..Settings::default()
    };
    let mut world = World::new(settings).await;
    world.create("rw:facility:1").await;
    let day = START / DAY_US;
    advance(DAY_US - 1);
    for said in minutes(day).chunks(10) {
        world.record("rw:facility:1", "pm25", said).await;
    }
    // Nothing was sealed, so nothing may go.
    let before = world.tables("_journal").await.len();
    assert!(before > 16, "{before}");
    world.check().await;
    world.tend().await;
    let after = world.tables("_journal").await.len();
    assert!((2..=19).contains(&after), "{after}");
    world.check().await;
    let start = Position::of(&"main".into(), 0);
    let ended = world.twin.follow(&start).unwrap().next().await;
    // The newest groups are still in memory; a restart forgets them.
    assert!(ended.is_ok() || matches!(ended, Err(FollowEnd::Gap { .. })));
    world.restart().await;
    world.check().await;
    let ended = world.twin.follow(&start).unwrap().next().await;
    let Err(FollowEnd::Gap { oldest }) = ended else {
        panic!("{ended:?}");
    };
    let mut follower = world
        .twin
        .follow(&Position::of(&"main".into(), oldest))
        .unwrap();
    assert_eq!(follower.next().await.unwrap().first, oldest);
    // The limit can be changed while it runs.
    world.store.keep(
        Keep::default(),
        Keep {
            bytes: Some(1),
            time: None,
        },
    );
    world
        .record("rw:facility:1", "pm25", &[(now(), Value::Double(3.0))])
        .await;
    world.tend().await;
    assert_eq!(world.tables("_journal").await.len(), 1);
    world.check().await;
}

/// A world whose readings of one day are sealed, closed again.
async fn closed_with_a_sealed_day() -> World {
    let mut world = World::new(Settings::default()).await;
    world.create("rw:facility:1").await;
    advance(DAY_US - 1);
    world
        .record("rw:facility:1", "pm25", &minutes(START / DAY_US))
        .await;
    world.tend().await;
    world.twin.close().await;
    world.store.close().await.unwrap();
    world
}

#[tokio::test]
async fn damaged_history_is_found_and_located() {
    let world = closed_with_a_sealed_day().await;
    let folder = world.folder.path();
    tamper(folder, "UPDATE _recent_2026_11_21 SET data = <bytes>'no'").await;
    let store = reopen(folder, &world.ontology).await;
    let report = store.verify().await.unwrap();
    assert!(!report.is_sound());
    let found = &report.findings[0].what;
    assert!(found.contains("_recent_2026_11_21:['main'"), "{found}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_lost_segment_is_noticed_and_its_table_kept() {
    let mut world = closed_with_a_sealed_day().await;
    tamper(world.folder.path(), "DELETE _segment").await;
    let opened = reopen(world.folder.path(), &world.ontology).await;
    opened.close().await.unwrap();
    // A start drops tables that nobody names, but not where a name may be what is missing; and what
    // is sealed later does not hide it.
    world.restart().await;
    let later = [(START + 3 * DAY_US, Value::Double(1.0))];
    advance(3 * DAY_US);
    world.record("rw:facility:1", "pm25", &later).await;
    world.tend().await;
    assert!(
        (world.tables("_recent_").await).contains(&"_recent_2026_11_21".to_owned()),
        "{:?}",
        world.tables("_recent_").await
    );
    let report = world.store.verify().await.unwrap();
    let [found] = &report.findings[..] else {
        panic!("{:?}", report.findings);
    };
    for part in ["lane `main`", "1 segment", "_recent_2026_11_21"] {
        assert!(found.what.contains(part), "{found:?}");
    }
}

#[tokio::test]
async fn what_retention_dropped_is_said_where_sums_cannot_answer() {
    let settings = Settings {
        retention: Retention {
            readings: Some(40),
            classes: BTreeMap::new(),
            sums: None,
        },
        ..Settings::default()
    };
    let mut world = World::new(settings).await;
    for twin in &TWINS[..2] {
        world.create(twin).await;
    }
    let (first, later) = (START / DAY_US, START / DAY_US + 80);
    for day in [first, later] {
        set_clock((day + 1) * DAY_US - 1);
        world.record(TWINS[0], "pm25", &minutes(day)).await;
        let status = Value::Text("on".into());
        world
            .record(TWINS[0], "status", &[(day * DAY_US, status)])
            .await;
        advance(DAY_US);
        world.believe().await;
    }
    let view = world.twin.view();
    let of = view.find(TWINS[0]).unwrap();
    let day = START..START + DAY_US;
    let cut = START + 17 * SECOND..START + DAY_US;
    let asked = [
        (day.clone(), Some(MINUTE_US)),
        (cut.clone(), Some(HOUR_US)),
        (START + HOUR_US..i64::MAX, Some(90 * MINUTE_US)),
        (i64::MIN..START + 17 * SECOND, Some(HOUR_US)),
        (cut, None),
        (START..i64::MAX, None),
    ];
    for (ts, every) in asked {
        let refused = if let Some(every) = every {
            let every = Duration::from_micros(every.cast_unsigned());
            let found = world.twin.buckets(&view, of, "pm25", ts.clone(), every, 9);
            found.await.err()
        } else {
            let found = world.twin.history(&view, of, "pm25", ts.clone(), 9);
            found.await.err()
        };
        let refused = refused.unwrap_or_else(|| panic!("{ts:?} {every:?}"));
        let StoreError::Coarse { from, every, since } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((from, every), (START, HOUR_US));
        assert_eq!(since, Some(later * DAY_US));
        for word in ["2026-11-21", "whole hours", "2027-02-09"] {
            assert!(refused.to_string().contains(word), "{refused}");
        }
    }
    let status = world
        .twin
        .history(&view, of, "status", day.clone(), 9)
        .await;
    assert!(
        matches!(status, Err(StoreError::Coarse { .. })),
        "{status:?}"
    );
    // What the sums answer is answered, also where something came since; and so is what is kept.
    let hours = |twin: &'static str, day: i64| {
        let ts = day * DAY_US..(day + 1) * DAY_US;
        world.buckets(twin, "pm25", ts, HOUR_US)
    };
    assert_eq!(hours(TWINS[0], first).await.len(), 24);
    assert_eq!(hours(TWINS[0], later).await.len(), 24);
    // Of a twin that said nothing, nothing was dropped.
    assert!(hours(TWINS[1], first).await.is_empty());
    assert!(
        world
            .history(TWINS[1], "pm25", day.clone(), 9)
            .await
            .is_empty()
    );
    let all = world.history(TWINS[0], "pm25", i64::MIN..i64::MAX, 9).await;
    assert_eq!(all, minutes(later)[..9]);
    world
        .record(TWINS[0], "pm25", &[(START + 1, Value::Double(9.0))])
        .await;
    let hours = world.buckets(TWINS[0], "pm25", day, HOUR_US).await;
    assert_eq!(hours.len(), 24);
}

#[tokio::test]
async fn sealing_and_settling_run_beside_each_other() {
    let mut world = World::new(Settings::default()).await;
    for twin in TWINS {
        world.create(twin).await;
    }
    // Whatever waits gives way to them, and the clock is set back now and then.
    world.restart_tending(Some(Duration::from_millis(1))).await;
    for i in 0..60 {
        let by = if i % 7 == 6 { -DAY_US } else { 5 * HOUR_US };
        advance(by);
        for twin in TWINS {
            let times = (0..200).map(|n| now() - n * 3 * SECOND);
            let said = times.map(|ts| (ts, Value::Double((ts / SECOND % 1_000) as f64)));
            let said: Vec<_> = said.collect();
            world.record(twin, "pm25", &said).await;
        }
    }
    advance(2 * DAY_US);
    world.tend().await;
    world.restart().await;
    world.tend().await;
    assert!(world.tables("_recent_").await.is_empty());
    world.check().await;
}

#[tokio::test]
async fn a_writer_that_lost_its_lane_writes_no_history() {
    let mut world = World::new(Settings::default()).await;
    world.create("rw:facility:1").await;
    advance(HOUR_US);
    let said = [(START, Value::Double(1.0))];
    world.record("rw:facility:1", "pm25", &said).await;
    world.tend().await;
    let shared = Arc::clone(&world.store) as Arc<dyn Store>;
    let settings = twin_core::Settings {
        clock: now,
        steady,
        tend_every: None,
        ..twin_core::Settings::default()
    };
    let successor = Twin::open(shared, Arc::clone(&world.ontology), settings);
    let successor = successor.await.unwrap();
    advance(2 * DAY_US);
    let refused = world.twin.tend().await;
    assert!(
        matches!(refused, Err(StoreError::Fenced { .. })),
        "{refused:?}"
    );
    assert!(world.tables("_day_").await.is_empty());
    world.twin = successor;
    world.tend().await;
    assert_eq!(world.tables("_day_").await.len(), 1);
    world.check().await;
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_drops_nothing() {
    let settings = Settings {
        retention: Retention {
            readings: Some(10),
            classes: BTreeMap::new(),
            sums: Some(10),
        },
        journal: Keep {
            bytes: None,
            time: Some(Duration::from_hours(240)),
        },
        ..Settings::default()
    };
    let mut world = World::new(settings).await;
    world.create("rw:facility:1").await;
    set_clock(START + DAY_US - 1);
    world
        .record("rw:facility:1", "pm25", &minutes(START / DAY_US))
        .await;
    advance(DAY_US);
    world.believe().await;
    let tables = world.tables("_").await;
    let real = now();
    set_clock(real + 400 * DAY_US);
    let late = [(START + 1, Value::Double(2.0))];
    world.record("rw:facility:1", "pm25", &late).await;
    advance(HOUR_US - SECOND);
    world.tend().await;
    advance(2 * DAY_US - 3 * HOUR_US);
    set_clock(real + HOUR_US);
    let tended = world.twin.tend().await.unwrap();
    assert_eq!((tended.dropped, tended.expired), (0, 0));
    for table in tables.iter().filter(|table| !table.starts_with("_latest")) {
        assert!(world.tables(table).await.contains(table), "{table}");
    }
    world.check().await;
    // What has really passed goes all the same.
    set_clock(real + 60 * DAY_US);
    world.believe().await;
    world.believe().await;
    assert!(world.tables("_day_2026").await.is_empty());
}

#[tokio::test]
async fn late_parts_of_a_day_become_one() {
    let mut world = World::new(Settings::default()).await;
    for twin in TWINS {
        world.create(twin).await;
    }
    set_clock(START + DAY_US - 1);
    let day = minutes(START / DAY_US);
    world.record(TWINS[0], "pm25", &day).await;
    world
        .record(TWINS[1], "status", &[(START, Value::Text("on".into()))])
        .await;
    for late in 0..40_i64 {
        advance(DAY_US);
        // The same times again and again: the latest part counts.
        let said = |n: i64| {
            (
                START + (late % 5 + n) * MINUTE_US,
                Value::Double((late * n) as f64),
            )
        };
        let said: Vec<_> = (0..3).map(said).collect();
        world.record(TWINS[late as usize % 3], "pm25", &said).await;
        let status = Value::Text(format!("late {late}").into());
        world.record(TWINS[1], "status", &[(START, status)]).await;
        world.tend().await;
        assert!(world.heads().await <= 3 * 8 + 2, "{late}");
    }
    advance(DAY_US);
    world.tend().await;
    world.check().await;
    world.restart().await;
    world.check().await;
}

#[tokio::test]
async fn tables_that_a_killed_process_left_go_with_the_next_start() {
    let settings = Settings {
        journal: Keep {
            bytes: Some(1),
            time: None,
        },
        ..Settings::default()
    };
    let mut world = World::new(settings).await;
    world.create("rw:facility:1").await;
    advance(HOUR_US);
    for i in 0..3 {
        let said = [(START + i, Value::Double(1.0))];
        world.record("rw:facility:1", "pm25", &said).await;
    }
    world.tend().await;
    world.twin.close().await;
    world.store.close().await.unwrap();
    // Taken off the list, and not dropped.
    let left = "CREATE _journal:['main', 1] SET data = <bytes>'x'; \
                CREATE _journal_main_2:['main', 2] SET data = <bytes>'x'; \
                CREATE _day_2020_01:['main', 0, 0, 0, 0] SET data = <bytes>'x'";
    tamper(world.folder.path(), left).await;
    let opened = reopen(world.folder.path(), &world.ontology).await;
    opened.close().await.unwrap();
    world.restart().await;
    let tables = world.tables("_journal").await;
    assert_eq!(tables.len(), 1, "{tables:?}");
    assert_ne!(tables, ["_journal"]);
    assert!(world.tables("_day_").await.is_empty());
    world.check().await;
}
