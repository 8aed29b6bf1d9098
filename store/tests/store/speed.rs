//! How long commits take, and dropping tables; run by hand with `--ignored --nocapture`.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use surrealdb::Surreal;
use surrealdb::engine::local::{Db, RocksDb};
use surrealdb::types::{Array, Bytes, Object, RecordId, Value};
use twin_core::store::Store as _;
use twin_core::{Event, RowWrite, TwinState};

use crate::model::{self, add, edge, group, open, record, twin};

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: usize| times[times.len() * share / 100];
    format!("p50 {:?}, p99 {:?}", at(50), at(99))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, proves nothing"]
async fn commits() {
    let ontology = model::ontology();
    let folder = tempfile::tempdir().unwrap();
    let store = open(&format!("rocksdb://{}", folder.path().display()), &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let mut next = 0;
    let set = json!({"name": "Kacyiru", "beds": 12, "open": true, "tier": "post"});

    let village = twin(&ontology, "Village", "v", json!({"name": "v"}), None, 0);
    let mut first = group(epoch, next);
    add(&mut first, Event::Created(village.clone()));
    store.commit(&first).await.unwrap();
    next = first.next;

    let mut times = Vec::new();
    for i in 0..1_000 {
        let place = Some(model::point(30.0, -2.0));
        let facility = twin(
            &ontology,
            "HealthFacility",
            &format!("f:{i}"),
            set.clone(),
            place,
            next + 1,
        );
        let mut small = group(epoch, next);
        add(&mut small, Event::Created(facility.clone()));
        add(
            &mut small,
            Event::Related(edge(&ontology, "locatedIn", &facility, &village)),
        );
        let start = Instant::now();
        store.commit(&small).await.unwrap();
        times.push(start.elapsed());
        next = small.next;
    }
    println!("a twin with a point and an edge: {}", percentiles(times));

    let mut times = Vec::new();
    for i in 0..500 {
        let place = Some(model::point(30.0, -2.0));
        let before = twin(
            &ontology,
            "HealthFacility",
            &format!("f:{i}"),
            set.clone(),
            place,
            next,
        );
        let mut small = group(epoch, next);
        add(
            &mut small,
            Event::Updated {
                before: before.clone(),
                after: TwinState {
                    revision: next,
                    ..before
                },
            },
        );
        let start = Instant::now();
        store.commit(&small).await.unwrap();
        times.push(start.elapsed());
        next = small.next;
    }
    println!("an update: {}", percentiles(times));

    for rows in [500_u64, 2_000] {
        let (mut inserting, mut relating, mut updating) =
            (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for round in 0..4 {
            let mut many = group(epoch, next);
            let twins: Vec<TwinState> = (0..rows)
                .map(|i| {
                    let place = Some(model::point(30.0, -2.0));
                    let name = format!("m:{rows}:{round}:{i}");
                    twin(
                        &ontology,
                        "HealthFacility",
                        &name,
                        set.clone(),
                        place,
                        next + i,
                    )
                })
                .collect();
            for twin in &twins {
                add(&mut many, Event::Created(twin.clone()));
            }
            let start = Instant::now();
            store.commit(&many).await.unwrap();
            inserting += start.elapsed();
            next = many.next;

            let mut many = group(epoch, next);
            for twin in &twins {
                add(
                    &mut many,
                    Event::Related(edge(&ontology, "locatedIn", twin, &village)),
                );
            }
            let start = Instant::now();
            store.commit(&many).await.unwrap();
            relating += start.elapsed();
            next = many.next;

            let mut many = group(epoch, next);
            for twin in &twins {
                many.rows.push(RowWrite::Update {
                    state: twin.clone(),
                    geometry: false,
                });
            }
            let start = Instant::now();
            store.commit(&many).await.unwrap();
            updating += start.elapsed();
        }
        let rate = |time: Duration| (4 * rows) as f64 / time.as_secs_f64();
        println!(
            "groups of {rows}: {:.0} inserts/s, {:.0} edges/s, {:.0} updates/s",
            rate(inserting),
            rate(relating),
            rate(updating)
        );
    }

    for readings in [1, 500, 10_000] {
        let rounds = if readings == 1 { 500 } else { 20 };
        let mut times = Vec::new();
        for _ in 0..rounds {
            let mut many = group(epoch, next);
            for i in 0..readings {
                let name = format!("f:{}", i % 200);
                record(
                    &mut many,
                    &ontology,
                    &name,
                    "pm25",
                    i64::from(i),
                    ontology::Value::Double(31.4),
                );
            }
            let start = Instant::now();
            store.commit(&many).await.unwrap();
            times.push(start.elapsed());
            next = many.next;
        }
        println!("groups of {readings} readings: {}", percentiles(times));
    }
    let start = Instant::now();
    let held = model::held(&store).await;
    println!(
        "loaded {} twins, {} edges, {} readings in {:?}",
        held.twins.len(),
        held.edges.len(),
        held.readings.len(),
        start.elapsed()
    );
    store.close().await.unwrap();
}

/// Bytes of the files of a folder.
fn disk(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    files
        .map(|file| file.metadata().map_or(0, |m| m.len()))
        .sum()
}

/// Most and present memory of this process, as the system tells it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let lines = status
        .lines()
        .filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"));
    lines.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, proves nothing"]
async fn dropped_tables() {
    for rows in [8_192_u64, 16_384, 50_000] {
        let folder = tempfile::tempdir().unwrap();
        let db: Surreal<Db> = Surreal::new::<RocksDb>(folder.path().to_str().unwrap())
            .await
            .unwrap();
        db.use_ns("twin").use_db("rw").await.unwrap();
        let mut seed = 7_u64;
        for first in (0..rows).step_by(64) {
            let rows: Vec<Value> = (first..(first + 64).min(rows))
                .map(|i| {
                    let noise = std::iter::repeat_with(|| {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        seed.to_le_bytes()
                    });
                    let data: Vec<u8> = noise.take(1_024).flatten().collect();
                    let mut row = Object::new();
                    row.insert("id", Value::RecordId(RecordId::new("_day", i as i64)));
                    row.insert("data", Value::Bytes(Bytes::from(data)));
                    Value::Object(row)
                })
                .collect();
            let insert = db.query("INSERT INTO _day $rows RETURN NONE");
            let rows = Value::Array(Array::from(rows));
            insert.bind(("rows", rows)).await.unwrap().check().unwrap();
        }
        println!(
            "{rows} rows: {} MB, {}",
            disk(folder.path()) >> 20,
            memory()
        );
        let start = Instant::now();
        db.query("REMOVE TABLE _day")
            .await
            .unwrap()
            .check()
            .unwrap();
        println!("  dropped in {:?}, {}", start.elapsed(), memory());
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            println!(
                "  after {:?}: {} MB",
                start.elapsed(),
                disk(folder.path()) >> 20
            );
        }
        let start = Instant::now();
        let text = "DEFINE TABLE _day; ALTER TABLE _day COMPACT; REMOVE TABLE _day";
        db.query(text).await.unwrap().check().unwrap();
        println!(
            "  compacted in {:?}: {} MB",
            start.elapsed(),
            disk(folder.path()) >> 20
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
        println!("  then: {} MB", disk(folder.path()) >> 20);
    }
}
