//! Groups go in, and what they say comes out: at once, after a restart, and to followers.

use std::sync::Arc;

use ontology::{Ontology, Value};
use serde_json::json;
use store::{Limits, SurrealStore};
use twin_core::history::DAY_US;
use twin_core::store::{Kept, Lane, Series, Store, StoreError};
use twin_core::{
    DeadLetter, EdgeState, EdgeWrite, Event, Group, Idempotency, KeptReceipt, MAX_DEAD_LETTERS,
    RECEIPT_LIFE_US, RowWrite, TwinState, Values,
};

use crate::model::{self, Held, add, edge, group, held, held_by, ontology, open, record, twin};

/// A village, a facility with every kind of value, and the facility located in the village.
fn first_group(ontology: &Ontology, epoch: u64) -> (Group, TwinState, TwinState, EdgeState) {
    let mut first = group(epoch, 0);
    let square = Some(model::disc(30.0, -2.0, 12));
    let village = twin(
        ontology,
        "Village",
        "rw:village:1",
        json!({"name": "Kinyinya", "population": 812}),
        square,
        1,
    );
    let place = Some(model::point(30.06, -1.95));
    let facility = twin(
        ontology,
        "HealthFacility",
        "rw:facility:1",
        model::everything(),
        place,
        3,
    );
    let located = model::with_since(
        &edge(ontology, "locatedIn", &facility, &village),
        Some(10_000),
    );
    add(&mut first, Event::Created(village.clone()));
    add(
        &mut first,
        Event::Created(TwinState {
            revision: 2,
            ..facility.clone()
        }),
    );
    add(&mut first, Event::Related(located.clone()));
    // Relating touched the source, so its row ends with that revision.
    first.rows[1] = RowWrite::Insert(facility.clone());
    (first, village, facility, located)
}

fn assert_twins(held: &Held, expected: &[&TwinState]) {
    assert_eq!(held.twins.len(), expected.len(), "{:?}", held.twins);
    for expected in expected {
        let found = held
            .twins
            .iter()
            .find(|t| t.id == expected.id)
            .expect("stored");
        assert!(
            model::same_twin(found, expected),
            "{found:?} is not {expected:?}"
        );
    }
}

async fn ask(store: &SurrealStore, text: &str) -> serde_json::Value {
    let none = serde_json::Map::new();
    store
        .query(text, &none, Limits::default())
        .await
        .unwrap()
        .pop()
        .unwrap_or_default()
}

async fn everything_round_trips(store: &SurrealStore, ontology: &Ontology) {
    let Lane { epoch, next } = store.claim("main").await.unwrap();
    assert_eq!((epoch, next), (1, 0));
    let (first, village, facility, located) = first_group(ontology, epoch);
    store.commit(&first).await.unwrap();
    let now = held(store).await;
    assert_twins(&now, &[&village, &facility]);
    assert!(model::same_edge(&now.edges[0], &located));

    // Properties and geometry are changed, cleared and left alone; the relationship changes.
    let mut second = group(epoch, first.next);
    let mut values = facility.values.to_vec();
    let column = |name: &str| ontology.class(facility.class).property_index(name).unwrap();
    values[column("beds")] = Some(Value::Int(-1));
    for cleared in ["name", "tags", "telephone", "checked", "contact"] {
        values[column(cleared)] = None;
    }
    let changed = TwinState {
        values: values.into(),
        revision: 4,
        ..facility.clone()
    };
    add(
        &mut second,
        Event::Updated {
            before: facility.clone(),
            after: changed.clone(),
        },
    );
    let moved = TwinState {
        geometry: Some(model::point(29.0, -1.0)),
        revision: 5,
        ..village.clone()
    };
    add(
        &mut second,
        Event::Updated {
            before: village.clone(),
            after: moved.clone(),
        },
    );
    let relocated = model::with_since(&located, None);
    add(
        &mut second,
        Event::Rerelated {
            before: located.clone(),
            after: relocated.clone(),
        },
    );
    store.commit(&second).await.unwrap();
    let now = held(store).await;
    assert_twins(&now, &[&changed, &moved]);
    assert!(model::same_edge(&now.edges[0], &relocated));

    // The relationship and its source go, the geometry of the village too.
    let mut third = group(epoch, second.next);
    add(&mut third, Event::Unrelated(relocated));
    add(&mut third, Event::Deleted(changed));
    let bare = TwinState {
        geometry: None,
        revision: third.next + 1,
        ..moved.clone()
    };
    add(
        &mut third,
        Event::Updated {
            before: moved,
            after: bare.clone(),
        },
    );
    store.commit(&third).await.unwrap();
    let now = held(store).await;
    assert_twins(&now, &[&bare]);
    assert!(now.edges.is_empty());

    let Kept::Groups(groups) = store.groups("main", 0, usize::MAX).await.unwrap() else {
        panic!()
    };
    assert_eq!(groups.len(), 3);
    for (kept, written) in groups.iter().zip([&first, &second, &third]) {
        assert_eq!(
            (kept.first, kept.next, kept.at),
            (written.first, written.next, written.at)
        );
        assert_eq!(kept.changes.len(), written.changes.len());
        for (a, b) in kept.changes.iter().zip(&written.changes) {
            assert!(model::same_event(&a.event, &b.event), "{a:?} is not {b:?}");
        }
    }
}

#[tokio::test]
async fn groups_round_trip_in_memory() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    everything_round_trips(&store, &ontology).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_round_trip_on_disk_and_survive_reopening() {
    let ontology = ontology();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("rocksdb://{}", folder.path().display());
    let store = open(&url, &ontology).await;
    everything_round_trips(&store, &ontology).await;
    let before = held(&store).await;
    store.close().await.unwrap();

    let store = open(&url, &ontology).await;
    let after = held(&store).await;
    assert_twins(&after, &before.twins.iter().collect::<Vec<_>>());
    assert_eq!(
        store.claim("main").await.unwrap(),
        Lane { epoch: 2, next: 9 }
    );
    let report = store.verify().await.unwrap();
    assert!(report.is_sound() && report.whole_log, "{report:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_earlier_writer_is_fenced_out_and_leaves_nothing() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let old = store.claim("main").await.unwrap();
    let new = store.claim("main").await.unwrap();
    assert_eq!(new.epoch, old.epoch + 1);
    let (by_old, ..) = first_group(&ontology, old.epoch);
    let refused = store.commit(&by_old).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Fenced { ref lane } if lane == "main"),
        "{refused:?}"
    );
    assert!(held(&store).await.twins.is_empty());
    let (by_new, ..) = first_group(&ontology, new.epoch);
    store.commit(&by_new).await.unwrap();
    // The same offsets a second time are not the lane's next ones.
    let again = store.commit(&by_new).await.unwrap_err();
    assert!(matches!(again, StoreError::Fenced { .. }), "{again:?}");
}

#[tokio::test]
async fn a_value_of_another_type_is_refused_whole() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let (mut bad, ..) = first_group(&ontology, epoch);
    let class = ontology.class_named("HealthFacility").unwrap();
    let RowWrite::Insert(state) = &mut bad.rows[1] else {
        panic!()
    };
    let mut values = state.values.to_vec();
    values[class.property_index("beds").unwrap()] = Some(Value::Text("many".into()));
    state.values = values.into();
    let refused = store.commit(&bad).await.unwrap_err();
    let StoreError::Refused(why) = &refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("beds"), "{why}");
    assert!(held(&store).await.twins.is_empty());
    // The store goes on, at the same offset.
    let (good, ..) = first_group(&ontology, epoch);
    store.commit(&good).await.unwrap();
}

#[tokio::test]
async fn a_relationship_without_its_ends_is_refused() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let (whole, _, _, located) = first_group(&ontology, epoch);
    let mut alone = group(epoch, 0);
    add(&mut alone, Event::Related(located));
    let refused = store.commit(&alone).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
    store.commit(&whole).await.unwrap();
}

#[tokio::test]
async fn the_same_relationship_twice_is_refused() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let (first, _, _, located) = first_group(&ontology, epoch);
    store.commit(&first).await.unwrap();
    let mut again = group(epoch, first.next);
    add(&mut again, Event::Related(located));
    let refused = store.commit(&again).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
}

#[tokio::test]
async fn readings_come_back_in_order_and_the_last_of_a_time_counts() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let (mut first, ..) = first_group(&ontology, epoch);
    let facility = "rw:facility:1";
    record(
        &mut first,
        &ontology,
        facility,
        "pm25",
        30,
        Value::Double(3.0),
    );
    record(
        &mut first,
        &ontology,
        facility,
        "status",
        10,
        Value::Text("ok".into()),
    );
    record(
        &mut first,
        &ontology,
        facility,
        "pm25",
        10,
        Value::Double(1.0),
    );
    store.commit(&first).await.unwrap();
    let mut second = group(epoch, first.next);
    record(
        &mut second,
        &ontology,
        facility,
        "pm25",
        20,
        Value::Double(2.0),
    );
    record(
        &mut second,
        &ontology,
        facility,
        "pm25",
        10,
        Value::Double(1.5),
    );
    store.commit(&second).await.unwrap();

    let now = held(&store).await;
    let offsets: Vec<u64> = now.readings.iter().map(|(_, offset)| *offset).collect();
    assert_eq!(offsets, [3, 4, 5, 6, 7]);
    for ((found, _), written) in now
        .readings
        .iter()
        .zip(first.readings.iter().chain(&second.readings))
    {
        assert!(model::same_reading(found, written));
    }
    let twin = model::id(facility);
    let ask = async |from, to, limit| -> Vec<(i64, Value)> {
        let series = Series {
            twin: &twin,
            telemetry: "pm25",
            ts: from..to,
            before: u64::MAX >> 1,
            limit,
        };
        let found = store.readings(&series).await.unwrap();
        found
            .into_iter()
            .map(|past| (past.ts, past.value))
            .collect()
    };
    let doubles = |pairs: &[(i64, f64)]| -> Vec<(i64, Value)> {
        pairs
            .iter()
            .map(|(ts, v)| (*ts, Value::Double(*v)))
            .collect()
    };
    assert_eq!(
        ask(0, 100, 10).await,
        doubles(&[(10, 1.5), (20, 2.0), (30, 3.0)])
    );
    assert_eq!(ask(0, 100, 2).await, doubles(&[(10, 1.5), (20, 2.0)]));
    assert_eq!(ask(20, 30, 10).await, doubles(&[(20, 2.0)]));
    assert_eq!(ask(31, 100, 10).await, []);

    let Kept::Groups(groups) = store.groups("main", 4, usize::MAX).await.unwrap() else {
        panic!()
    };
    assert_eq!(
        groups.iter().map(|g| (g.first, g.next)).collect::<Vec<_>>(),
        [(0, 6), (6, 8)]
    );
    assert_eq!(groups[0].readings.len(), 3);
    assert_eq!(groups[0].recorders, first.recorders);
    let report = store.verify().await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.changes, report.readings), (3, 5));
}

#[tokio::test]
async fn followers_get_every_group_once_whatever_the_page() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let mut bounds = vec![0];
    for i in 0..40_u64 {
        let mut next = group(epoch, *bounds.last().unwrap());
        for change in 0..i % 3 {
            let name = format!("v:{i}:{change}");
            let at = next.next;
            add(
                &mut next,
                Event::Created(twin(
                    &ontology,
                    "Village",
                    &name,
                    json!({"name": name}),
                    None,
                    at,
                )),
            );
        }
        for ts in 0..=i64::try_from(i % 4).unwrap() {
            record(
                &mut next,
                &ontology,
                "rw:facility:1",
                "pm25",
                ts,
                Value::Double(1.0),
            );
        }
        store.commit(&next).await.unwrap();
        bounds.push(next.next);
    }
    let end = *bounds.last().unwrap();
    for max_bytes in [1, 300, 5_000, usize::MAX] {
        let (mut at, mut seen) = (0, vec![0]);
        while at < end {
            let Kept::Groups(groups) = store.groups("main", at, max_bytes).await.unwrap() else {
                panic!()
            };
            assert!(!groups.is_empty());
            for group in &groups {
                assert_eq!(group.first, at);
                assert!(group.validate());
                at = group.next;
                seen.push(at);
            }
        }
        assert_eq!(seen, bounds);
    }
    for from in 0..end {
        let Kept::Groups(groups) = store.groups("main", from, 1).await.unwrap() else {
            panic!()
        };
        assert!((groups[0].first..groups[0].next).contains(&from));
    }
    assert!(matches!(store.groups("main", end, 1).await.unwrap(), Kept::Groups(g) if g.is_empty()));
    assert!(matches!(store.groups("other", 0, 1).await.unwrap(), Kept::Groups(g) if g.is_empty()));
}

#[tokio::test]
async fn receipts_come_back_while_they_are_young() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    // The twin's time, which need not be the machine's.
    let now = 20_000 * DAY_US;
    let day = RECEIPT_LIFE_US;
    for (key, at) in [
        ("old", now - day - 1_000_000),
        ("young", now),
        ("young", now + 1),
    ] {
        let mut with_receipt = group(epoch, 0);
        with_receipt.at = at;
        with_receipt.receipts.push(KeptReceipt {
            principal: model::ada(),
            idempotency: Idempotency {
                key: key.into(),
                hash: u64::MAX - 1,
            },
            offset: 0,
            changes: 0,
            at,
        });
        store.commit(&with_receipt).await.unwrap();
    }
    store.claim("main").await.unwrap();
    let receipts = held_by(&store, now + 2).await.receipts;
    assert_eq!(receipts.len(), 2);
    assert_eq!(&*receipts[0].idempotency.key, "young");
    assert_eq!(receipts[0].idempotency.hash, u64::MAX - 1);
    assert_eq!((receipts[0].at, receipts[1].at), (now, now + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_geometry_larger_than_a_record_is_kept_in_parts() {
    let ontology = ontology();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("rocksdb://{}", folder.path().display());
    let store = open(&url, &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let mut large = group(epoch, 0);
    let province = twin(
        &ontology,
        "Area",
        "rw:province:1",
        json!({"name": "East"}),
        Some(model::disc(30.0, -2.0, 600_000)),
        0,
    );
    add(&mut large, Event::Created(province.clone()));
    let small = twin(
        &ontology,
        "Area",
        "rw:province:2",
        json!({"name": "West"}),
        Some(model::disc(29.0, -2.0, 100)),
        1,
    );
    add(&mut large, Event::Created(small.clone()));
    store.commit(&large).await.unwrap();
    assert_twins(&held(&store).await, &[&province, &small]);
    let Kept::Groups(groups) = store.groups("main", 0, 1).await.unwrap() else {
        panic!()
    };
    let Event::Created(found) = &groups[0].changes[0].event else {
        panic!()
    };
    assert!(model::same_twin(found, &province));
    let parts = ask(&store, "SELECT VALUE bytes::len(data) FROM _change").await;
    assert_eq!(parts.as_array().unwrap().len(), 4, "{parts}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_geometry_beyond_the_limit_is_refused_by_name() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let vertices = u32::try_from(store::MAX_SHAPE_BYTES / 16 + 1).unwrap();
    let Some(shape) = oversized(vertices) else {
        return;
    };
    let mut large = group(epoch, 0);
    add(
        &mut large,
        Event::Created(twin(&ontology, "Area", "a", json!({}), Some(shape), 0)),
    );
    let refused = store.commit(&large).await.unwrap_err();
    assert!(refused.to_string().contains("MAX_SHAPE_BYTES"), "{refused}");
}

/// A shape beyond the store's limit, unless no shape may be that large.
fn oversized(vertices: u32) -> Option<Arc<twin_core::space::Shape>> {
    let points: Vec<(f64, f64)> = (0..vertices).map(|i| (f64::from(i) * 1e-7, 0.0)).collect();
    let line: geo_types::LineString<f64> = points.into_iter().collect();
    twin_core::space::Shape::from_geo(line.into())
        .ok()
        .map(Arc::new)
}

#[tokio::test]
async fn many_rows_are_read_back_over_several_pages() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let mut first = 0;
    for batch in 0..9 {
        let mut many = group(epoch, first);
        for i in 0..2_500 {
            let at = many.next;
            let name = format!("v:{:05}", batch * 2_500 + i);
            add(
                &mut many,
                Event::Created(twin(&ontology, "Village", &name, json!({}), None, at)),
            );
        }
        store.commit(&many).await.unwrap();
        first = many.next;
    }
    let twins = held(&store).await.twins;
    assert_eq!(twins.len(), 22_500);
    assert!(twins.windows(2).all(|pair| pair[0].id < pair[1].id));
}

#[tokio::test]
async fn values_are_absent_when_they_were_never_set() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let mut bare = group(epoch, 0);
    let a = twin(&ontology, "HealthFacility", "a", json!({}), None, 0);
    add(&mut bare, Event::Created(a.clone()));
    // An edge between facilities, of a relationship without a target class.
    let serves = EdgeState {
        values: Values::from([]),
        ..edge(&ontology, "serves", &a, &a)
    };
    bare.edges.push(EdgeWrite::Insert(serves.clone()));
    store.commit(&bare).await.unwrap();
    let now = held(&store).await;
    assert_twins(&now, &[&a]);
    assert!(model::same_edge(&now.edges[0], &serves));
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_of_a_deleted_twin_are_of_an_earlier_life() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let state = |revision| twin(&ontology, "HealthFacility", "f", json!({}), None, revision);
    let read = |group: &mut Group, ts| {
        record(group, &ontology, "f", "pm25", ts, Value::Double(1.0));
    };
    let mut born = group(epoch, 0);
    add(&mut born, Event::Created(state(1)));
    read(&mut born, 10);
    store.commit(&born).await.unwrap();
    for life in 1..=2_u64 {
        let mut again = group(epoch, 2 * life);
        add(&mut again, Event::Deleted(state(1)));
        store.commit(&again).await.unwrap();
        let mut born = group(epoch, again.next);
        add(&mut born, Event::Created(state(again.next + 1)));
        store.commit(&born).await.unwrap();
    }
    let mut last = group(epoch, 6);
    read(&mut last, 5);
    store.commit(&last).await.unwrap();

    let now = held(&store).await;
    assert_eq!(now.ended, [(model::id("f"), 5)]);
    let twin = model::id("f");
    let offsets = async |before| -> Vec<u64> {
        let series = Series {
            twin: &twin,
            telemetry: "pm25",
            ts: 0..100,
            before,
            limit: 10,
        };
        let found = store.readings(&series).await.unwrap();
        found.into_iter().map(|past| past.offset.unwrap()).collect()
    };
    assert_eq!(offsets(7).await, [6]);
    assert!(offsets(6).await.is_empty(), "before it was measured again");
    assert_eq!(offsets(2).await, [1], "before it was deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_dead_letters_are_kept_over_a_restart() {
    let ontology = ontology();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("rocksdb://{}", folder.path().display());
    let numbers = async |store: &SurrealStore| -> Vec<u64> {
        let query = "SELECT VALUE number FROM _dead_letter ORDER BY number";
        let limits = Limits::default();
        let found = store.query(query, &serde_json::Map::new(), limits).await;
        serde_json::from_value(found.unwrap().remove(0)).unwrap()
    };
    let mut next = 0;
    let mut bury = async |store: &SurrealStore, epoch, count: u64| {
        let mut letters = group(epoch, 0);
        letters.dead_letters = (next..next + count).map(letter).collect();
        next += count;
        store.commit(&letters).await.unwrap();
    };
    let store = open(&url, &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    bury(&store, epoch, 3).await;
    store.close().await.unwrap();

    let store = open(&url, &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    bury(&store, epoch, MAX_DEAD_LETTERS - 2).await;
    assert_eq!(
        numbers(&store).await,
        (1..=MAX_DEAD_LETTERS).collect::<Vec<_>>()
    );
    bury(&store, epoch, MAX_DEAD_LETTERS + 5).await;
    let kept = numbers(&store).await;
    assert_eq!(kept.len() as u64, MAX_DEAD_LETTERS);
    assert_eq!(kept.last(), Some(&(2 * MAX_DEAD_LETTERS + 5)));
    let query = "SELECT * FROM _dead_letter WHERE number = 20001";
    let found = store
        .query(query, &serde_json::Map::new(), Limits::default())
        .await;
    let row = found.unwrap()[0][0].clone();
    assert_eq!(row["topic"], "t/20001");
    assert_eq!(row["payload"], "{");
    assert_eq!(row["at"], "1970-01-01T00:00:00.000007Z");

    let read = async |before, limit| -> Vec<u64> {
        let found = store.dead_letters("main", before, limit).await.unwrap();
        for kept in &found {
            assert_eq!(kept.letter, letter(kept.number));
        }
        found.into_iter().map(|kept| kept.number).collect()
    };
    assert_eq!(read(u64::MAX, 3).await, [20_005, 20_004, 20_003]);
    // Over the place where the numbers begin again.
    assert_eq!(read(20_002, 4).await, [20_001, 20_000, 19_999, 19_998]);
    assert_eq!(read(10_008, 10).await, [10_007, 10_006]);
    assert_eq!(read(10_006, 10).await, [] as [u64; 0]);
    assert_eq!(read(0, 10).await, [] as [u64; 0]);
    store.close().await.unwrap();
}

fn letter(number: u64) -> DeadLetter {
    DeadLetter {
        at: 7,
        client: "probe".into(),
        topic: format!("t/{number}").into(),
        // Some are text and some are not.
        payload: if number.is_multiple_of(2) {
            b"\xff\x00".as_slice().into()
        } else {
            b"{".as_slice().into()
        },
        size: 1,
        reason: "malformed_json".into(),
        detail: "no JSON".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_receipts_go_while_the_twin_runs() {
    let ontology = ontology();
    let store = open("mem://", &ontology).await;
    let epoch = store.claim("main").await.unwrap().epoch;
    let keep = async |at: i64, count: u64| {
        let mut kept = group(epoch, 0);
        kept.at = at;
        kept.receipts = (0..count)
            .map(|n| KeptReceipt {
                principal: model::ada(),
                idempotency: Idempotency {
                    key: format!("{at}-{n}").into(),
                    hash: n,
                },
                offset: 0,
                changes: 0,
                at,
            })
            .collect();
        store.commit(&kept).await.unwrap();
    };
    let left = async || -> u64 {
        let query = "RETURN count(SELECT id FROM _receipt)";
        let none = serde_json::Map::new();
        let found = store.query(query, &none, Limits::default()).await;
        found.unwrap()[0].as_u64().unwrap()
    };
    // The twin's time, which need not be the machine's.
    let now = 20_000 * DAY_US;
    keep(now - RECEIPT_LIFE_US - 1_000_000, 40).await;
    keep(now, 5).await;
    assert_eq!(left().await, 45, "too few came to look for expired ones");
    keep(now + 1, 5).await;
    assert_eq!(left().await, 10);
}
