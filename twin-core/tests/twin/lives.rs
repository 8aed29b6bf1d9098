//! What a twin's deletion ends, how following ends, and what is kept of refused messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ontology::Value;
use twin_core::memory::{Fault, MemoryStore};
use twin_core::{
    Commit, DeadLetter, FollowEnd, Follower, Group, Idempotency, MAX_AHEAD, MAX_BEHIND,
    MAX_DETACHED, MAX_LETTER_BYTES, Operation, Position, Principal, Reading, Readings, Refusal,
    Settings, Twin, now_us,
};

use crate::world::{World, area, commit, delete, id, put, relate, station, unrelate};

fn latest(world: &World) -> Option<i64> {
    let view = world.twin.view();
    let twin = view.twin(&id("s"))?;
    let pm25 = view.class(twin).telemetry_index("pm25").unwrap();
    view.latest(twin, pm25).map(|latest| latest.ts)
}

async fn history(world: &World) -> Vec<(i64, u64)> {
    let view = world.twin.view();
    let twin = view.twin(&id("s")).unwrap();
    let all = i64::MIN..i64::MAX;
    let past = world.twin.history(&view, twin, "pm25", all, 100).await;
    let past = past.unwrap();
    past.iter()
        .map(|past| (past.ts, past.offset.unwrap()))
        .collect()
}

async fn next(follower: &mut Follower) -> Result<Arc<Group>, FollowEnd> {
    let next = tokio::time::timeout(Duration::from_secs(10), follower.next());
    next.await.expect("something follows or ends")
}

fn letter(payload: &[u8]) -> DeadLetter {
    DeadLetter {
        at: 7,
        client: "probe".into(),
        topic: "twin/rw/s/telemetry".into(),
        payload: Bytes::copy_from_slice(payload),
        size: payload.len() as u64,
        reason: "malformed_json".into(),
        detail: "no JSON".into(),
    }
}

#[tokio::test]
async fn a_twin_made_again_does_not_inherit_readings() {
    let mut world = World::new().await;
    world.commit(vec![station("s", 30.0, -2.0)]).await.unwrap();
    world.read("s", 50, 1.0).await.unwrap();
    world.commit(vec![delete("s", false)]).await.unwrap();
    world.commit(vec![station("s", 30.0, -2.0)]).await.unwrap();
    assert_eq!(latest(&world), None);
    world.restart().await;
    assert_eq!(latest(&world), None);
    assert_eq!(world.twin.loaded().orphan_readings, 1);
    assert_eq!(history(&world).await, []);

    world.read("s", 20, 1.0).await.unwrap();
    world.restart().await;
    assert_eq!(latest(&world), Some(20));
    assert_eq!(history(&world).await, [(20, 4)]);
}

#[tokio::test]
async fn readings_beside_a_delete_in_the_queue_stay_with_the_life_they_were_of() {
    // Many times, because what shares a group is a matter of timing.
    for _ in 0..50 {
        let mut world = World::new().await;
        world.commit(vec![station("s", 30.0, -2.0)]).await.unwrap();
        let again = commit(vec![delete("s", false), station("s", 30.0, -2.0)]);
        let (before, made, after) = tokio::join!(
            world.read("s", 50, 1.0),
            world.twin.commit(again),
            world.read("s", 20, 2.0),
        );
        let (before, made, after) = (before.unwrap(), made.unwrap(), after.unwrap());
        let offset = |receipt: &twin_core::Receipt| receipt.position.offset("main");
        assert!(offset(&before) < offset(&made) && offset(&made) <= offset(&after));
        assert_eq!(latest(&world), Some(20));
        world.restart().await;
        assert_eq!(latest(&world), Some(20));
        assert_eq!(history(&world).await.len(), 1);
    }
}

#[tokio::test]
async fn history_is_of_the_instant_of_its_view() {
    let world = World::new().await;
    world.commit(vec![station("s", 30.0, -2.0)]).await.unwrap();
    world.read("s", 1, 1.0).await.unwrap();
    let view = world.twin.view();
    world.read("s", 2, 1.0).await.unwrap();
    let twin = view.twin(&id("s")).unwrap();
    let past = world.twin.history(&view, twin, "pm25", 0..10, 10).await;
    let times: Vec<_> = past.unwrap().iter().map(|past| past.ts).collect();
    assert_eq!(times, [1]);
    assert_eq!(history(&world).await, [(1, 1), (2, 2)]);
}

#[tokio::test]
async fn a_reading_from_further_ahead_than_a_clock_may_be_is_refused() {
    let world = World::new().await;
    world.commit(vec![station("s", 30.0, -2.0)]).await.unwrap();
    let ahead = now_us() + MAX_AHEAD.as_micros() as i64;
    world.read("s", ahead, 1.0).await.unwrap();
    let refused = world
        .read("s", ahead + 3_600_000_000, 1.0)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("twin.max_ahead_secs"),
        "{refused}"
    );
    assert_eq!(latest(&world), Some(ahead));
}

#[tokio::test]
async fn following_ends_when_the_twin_closes_and_not_before_all_was_told() {
    let world = World::new().await;
    let mut follower = world.twin.follow(&Position::default()).unwrap();
    world.commit(vec![area("a", 1)]).await.unwrap();
    world.twin.close().await;
    assert_eq!(next(&mut follower).await.unwrap().next, 1);
    let end = next(&mut follower).await.unwrap_err();
    assert!(matches!(end, FollowEnd::Stopped(_)), "{end}");
}

#[tokio::test]
async fn a_position_of_the_future_cannot_be_followed() {
    let world = World::new().await;
    world.commit(vec![area("a", 1)]).await.unwrap();
    let ahead: Position = "main:2".parse().unwrap();
    let end = world.twin.follow(&ahead).unwrap_err();
    assert!(matches!(end, FollowEnd::Ahead { .. }), "{end}");
    assert!(world.twin.follow(&"main:1".parse().unwrap()).is_ok());
}

#[tokio::test]
async fn what_was_not_acknowledged_is_told_to_nobody() {
    let world = World::new().await;
    for n in 0..3 {
        world.commit(vec![area("a", n)]).await.unwrap();
    }
    // An engine that fails may have kept the group all the same, and shows it.
    world.store.fail(Some(Fault::EngineAfterKeeping));
    let lost = world.commit(vec![area("a", 99)]).await.unwrap_err();
    assert!(matches!(lost, Refusal::OutcomeUnknown(_)), "{lost}");
    for from in [0, 2, 3] {
        let from: Position = format!("main:{from}").parse().unwrap();
        let mut follower = world.twin.follow(&from).unwrap();
        let end = loop {
            match next(&mut follower).await {
                Ok(group) => assert!(group.next <= 3),
                Err(end) => break end,
            }
        };
        assert!(matches!(end, FollowEnd::Stopped(_)), "{end}");
    }
}

#[tokio::test]
async fn a_dead_letter_is_durable_before_it_is_answered() {
    let world = World::new().await;
    let position = world.twin.view().position();
    world.twin.bury(letter(b"{")).await.unwrap();
    let long = vec![b'x'; MAX_LETTER_BYTES + 1];
    world.twin.bury(letter(&long)).await.unwrap();
    let kept = MemoryStore::dead_letters(&world.store);
    assert_eq!(kept[0], letter(b"{"));
    assert_eq!(kept[1].payload.len(), MAX_LETTER_BYTES);
    assert_eq!(kept[1].size, long.len() as u64);
    assert_eq!(world.twin.view().position(), position, "it takes no offset");
    world.store.fail(Some(Fault::Engine));
    assert!(world.twin.bury(letter(b"{")).await.is_err());
}

#[tokio::test]
async fn a_repeat_in_the_same_group_gets_the_same_receipt() {
    for _ in 0..20 {
        let world = World::new().await;
        let ask = |population| {
            let idempotency = Some(Idempotency {
                key: "k".into(),
                hash: 1,
            });
            let commit = Commit {
                idempotency,
                ..commit(vec![area("a", population)])
            };
            world.twin.commit(commit)
        };
        let (first, again, other, third) = tokio::join!(
            ask(1),
            ask(1),
            world.commit(vec![area("b", 1), area("c", 1)]),
            ask(1),
        );
        other.unwrap();
        let first = first.unwrap();
        for repeat in [again.unwrap(), third.unwrap(), ask(1).await.unwrap()] {
            assert!(repeat.repeated);
            assert_eq!((&repeat.position, repeat.changes), (&first.position, 1));
        }
    }
}

#[tokio::test]
async fn readings_without_a_time_do_not_replace_each_other() {
    let world = World::new().await;
    world.commit(vec![station("s", 30.0, -2.0)]).await.unwrap();
    let reading = |value| Reading {
        twin: id("s"),
        telemetry: "pm25".into(),
        ts: None,
        value: Value::Double(value),
    };
    let readings = Readings {
        principal: Principal::device(&id("s")),
        readings: vec![reading(1.0), reading(2.0), reading(3.0)],
    };
    let (one, two) = tokio::join!(
        world.twin.record(readings.clone()),
        world.twin.record(readings)
    );
    assert_eq!(one.unwrap().changes + two.unwrap().changes, 6);
    assert_eq!(history(&world).await.len(), 6);
}

#[tokio::test]
async fn few_words_cannot_make_changes_without_bound() {
    let world = World::new().await;
    let long: Arc<str> = "x".repeat(1 << 20).into();
    let name = |id: &str| put(id, "Area", &[("name", Value::Text(long.clone()))]);
    let made = vec![Operation::Upsert(name("long"))];
    world.commit(made).await.unwrap();
    let patches = (0..200).map(|n| area("long", n)).collect();
    let refused = world.commit(patches).await.unwrap_err();
    let Refusal::Limited { name, .. } = refused else {
        panic!("{refused}")
    };
    assert_eq!(name, "MAX_CHANGE_BYTES");

    let mut hub = vec![area("hub", 1)];
    for n in 0..=MAX_DETACHED {
        hub.push(area(&format!("part{n}"), 1));
        hub.push(relate(&format!("part{n}"), "partOf", "hub"));
    }
    world.commit(hub).await.unwrap();
    let refused = world.commit(vec![delete("hub", true)]).await.unwrap_err();
    assert!(refused.to_string().contains("MAX_DETACHED"), "{refused}");
    world
        .commit(vec![
            unrelate("part0", "partOf", "hub"),
            delete("hub", true),
        ])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_group_ends_where_its_changes_are_large() {
    let world = World::new().await;
    let long: Arc<str> = "x".repeat(1 << 20).into();
    let name = |id: &str| put(id, "Area", &[("name", Value::Text(long.clone()))]);
    let made = (0..8).map(|n| Operation::Upsert(name(&format!("t{n}"))));
    world.commit(made.collect()).await.unwrap();
    let mut follower = world.twin.follow(&world.twin.view().position()).unwrap();
    // Each of these few words changes 16 MiB with what was there before.
    let asked = (0..6).map(|n| {
        let operations = (0..8).map(|t| area(&format!("t{t}"), n)).collect();
        world.commit(operations)
    });
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(Result::is_ok));
    let end = world.twin.view().position().offset("main");
    while follower.offset() < end {
        let group = next(&mut follower).await.unwrap();
        assert!(group.changes.len() <= 16, "{}", group.changes.len());
    }
}

#[tokio::test]
async fn a_reading_from_further_behind_than_a_clock_may_be_is_refused() {
    const SECOND: i64 = 1_000_000;
    let mut world = World::new().await;
    world.commit(vec![station("s", 30.0, -2.0)]).await.unwrap();
    world.twin.close().await;
    let shared = Arc::new(world.store.clone());
    let twin = Twin::open(shared, Arc::clone(&world.ontology), Settings::default());
    world.twin = twin.await.unwrap();
    let behind = now_us() - MAX_BEHIND.as_micros() as i64;
    world.read("s", behind + 60 * SECOND, 1.0).await.unwrap();
    for (ts, days) in [(behind - SECOND, " 1 days "), (0, " days ")] {
        let refused = world.read("s", ts, 1.0).await.unwrap_err().to_string();
        for word in [days, "twin.max_behind_days", "battery"] {
            assert!(refused.contains(word), "{refused}");
        }
    }
    assert_eq!(latest(&world), Some(behind + 60 * SECOND));
}
