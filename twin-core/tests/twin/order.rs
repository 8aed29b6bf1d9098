//! Order, atomicity, durability before the answer, and following.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ontology::Value;
use twin_core::memory::Fault;
use twin_core::space::{Point, Region, Relation};
use twin_core::{
    Commit, Direction, Event, Expect, Idempotency, Operation, Position, Principal, Reading,
    Readings, Refusal, Step, traverse,
};

use crate::world::{World, area, commit, delete, expecting, id, put, relate, station, unrelate};

#[tokio::test]
async fn what_is_acknowledged_is_in_the_next_view() {
    let world = World::new().await;
    for n in 0..50 {
        let receipt = world.commit(vec![area("a", n)]).await.unwrap();
        let view = world.twin.view();
        let twin = view.twin(&id("a")).unwrap();
        assert_eq!(view.value_named(twin, "population"), Some(Value::Int(n)));
        assert_eq!(view.position(), receipt.position);
        assert_eq!(view.revision(twin), receipt.position);
    }
}

#[tokio::test]
async fn a_view_does_not_move() {
    let world = World::new().await;
    world.commit(vec![area("a", 1)]).await.unwrap();
    let view = world.twin.view();
    world
        .commit(vec![area("a", 2), area("b", 3)])
        .await
        .unwrap();
    world.commit(vec![delete("a", false)]).await.unwrap();
    let twin = view.twin(&id("a")).unwrap();
    assert_eq!(view.value_named(twin, "population"), Some(Value::Int(1)));
    assert_eq!(view.len(), 1);
    assert_eq!(world.twin.view().len(), 1);
}

#[tokio::test]
async fn a_refused_step_undoes_its_whole_commit_and_nothing_else() {
    let world = World::new().await;
    let bad = vec![area("a", 1), relate("a", "partOf", "nowhere")];
    let refused = world.commit(bad).await.unwrap_err();
    assert!(matches!(refused.reason(), Refusal::NotFound(twin) if *twin == id("nowhere")));
    assert_eq!(
        refused.to_string(),
        "operations[1]: there is no twin `nowhere`"
    );
    assert!(world.twin.view().is_empty());
    let many = (0..40).map(|n| {
        let name = format!("t{n}");
        let last = if n % 7 == 3 {
            relate(&name, "partOf", "nowhere")
        } else {
            area(&name, n)
        };
        world.twin.commit(commit(vec![area(&name, n), last]))
    });
    let answers = futures_util::future::join_all(many).await;
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_err(), n % 7 == 3, "{n}: {answer:?}");
        assert_eq!(
            world.twin.view().twin(&id(&format!("t{n}"))).is_none(),
            n % 7 == 3
        );
    }
}

#[tokio::test]
async fn a_group_that_the_store_refuses_is_split_until_the_culprit_stands_alone() {
    let world = World::new().await;
    world.store.fail(Some(Fault::RefuseTwin(id("t13"))));
    let many = (0..30).map(|n| world.twin.commit(commit(vec![area(&format!("t{n}"), n)])));
    let answers = futures_util::future::join_all(many).await;
    let refused: Vec<_> = (0..30).filter(|n| answers[*n].is_err()).collect();
    assert_eq!(refused, [13]);
    assert_eq!(world.twin.view().len(), 29);
    assert!(world.twin.stopped().is_none());
}

#[tokio::test]
async fn after_an_engine_failure_the_twin_reads_and_does_not_write() {
    let mut world = World::new().await;
    world.commit(vec![area("a", 1)]).await.unwrap();
    world.store.fail(Some(Fault::Engine));
    let lost = world.commit(vec![area("b", 1)]).await;
    assert!(matches!(lost, Err(Refusal::OutcomeUnknown(_))), "{lost:?}");
    world.store.fail(None);
    let later = world.commit(vec![area("c", 1)]).await;
    assert!(matches!(later, Err(Refusal::Unavailable(_))), "{later:?}");
    assert_eq!(world.twin.view().len(), 1);
    assert!(world.twin.stopped().is_some());
    world.restart().await;
    world.commit(vec![area("c", 1)]).await.unwrap();
    assert_eq!(world.twin.view().len(), 2);
}

#[tokio::test]
async fn a_second_writer_fences_the_first_out() {
    let world = World::new().await;
    let mut other = World::new().await;
    other.store = world.store.clone();
    other.restart().await;
    other.commit(vec![area("a", 1)]).await.unwrap();
    let fenced = world.commit(vec![area("a", 2)]).await;
    assert!(
        matches!(fenced, Err(Refusal::OutcomeUnknown(_))),
        "{fenced:?}"
    );
    other.commit(vec![area("a", 3)]).await.unwrap();
}

#[tokio::test]
async fn names_and_values_are_checked_with_a_suggestion() {
    let world = World::new().await;
    let refused =
        |operation| async { world.commit(vec![operation]).await.unwrap_err().to_string() };
    let text = refused(Operation::Upsert(put("a", "Aera", &[]))).await;
    assert!(text.contains("`Area`"), "{text}");
    let population = [("poplation", Value::Int(1))];
    let text = refused(Operation::Upsert(put("a", "Area", &population))).await;
    assert!(
        text.contains("`population`") && text.contains("property of Area"),
        "{text}"
    );
    let text = refused(Operation::Upsert(put(
        "a",
        "Area",
        &[("population", Value::Double(0.5))],
    )))
    .await;
    assert!(
        text.contains("population") && text.contains("integer"),
        "{text}"
    );
    let text = refused(relate("a", "partof", "b")).await;
    assert!(text.contains("`partOf`"), "{text}");
    let text = refused(Operation::Patch(put("a", "Area", &[]))).await;
    assert!(text.contains("no twin `a`"), "{text}");
    assert_eq!(world.twin.counters().refused.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn relationships_keep_the_models_rules() {
    let world = World::new().await;
    let operations = vec![
        area("a", 1),
        area("b", 2),
        area("c", 3),
        station("s", 30.0, -2.0),
        relate("a", "partOf", "b"),
    ];
    world.commit(operations).await.unwrap();
    let second = world
        .commit(vec![relate("a", "partOf", "c")])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        second.contains("admits 1") && second.contains("`b`"),
        "{second}"
    );
    let wrong = world
        .commit(vec![relate("b", "partOf", "s")])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains("leads to a Area") && wrong.contains("Station"),
        "{wrong}"
    );
    let none = world
        .commit(vec![relate("s", "partOf", "a")])
        .await
        .unwrap_err()
        .to_string();
    assert!(none.contains("no relationship `partOf`"), "{none}");
    let held = world
        .commit(vec![delete("b", false)])
        .await
        .unwrap_err()
        .to_string();
    assert!(held.contains("detach"), "{held}");
    let receipt = world.commit(vec![delete("b", true)]).await.unwrap();
    assert_eq!(receipt.changes, 2, "the relationship and the twin");
    let again = world
        .commit(vec![unrelate("a", "partOf", "c")])
        .await
        .unwrap();
    assert_eq!(again.changes, 0);
}

#[tokio::test]
async fn a_traversal_ends_when_it_is_told_to() {
    let world = World::new().await;
    let mut operations = vec![area("top", 1)];
    for i in 0..10 {
        let part = format!("part{i}");
        operations.push(area(&part, 1));
        operations.push(relate(&part, "partOf", "top"));
    }
    world.commit(operations).await.unwrap();
    let view = world.twin.view();
    let step = Step {
        relationship: view.ontology().relationship_named("partOf").unwrap().id,
        direction: Direction::In,
        class: None,
    };
    let top = [view.twin(&id("top")).unwrap()];
    let all = traverse(&view, &top, &[step], |_, _| true, || true).unwrap();
    assert_eq!(all.len(), 10);
    let asked = Cell::new(0);
    let go_on = || asked.replace(asked.get() + 1) < 3;
    traverse(&view, &top, &[step, step], |_, _| true, go_on).unwrap();
    assert_eq!(asked.get(), 4);
}

#[tokio::test]
async fn replacing_a_single_valued_relationship_moves_it() {
    let world = World::new().await;
    world
        .commit(vec![
            area("a", 1),
            area("b", 2),
            area("c", 3),
            relate("a", "partOf", "b"),
        ])
        .await
        .unwrap();
    let Operation::Relate {
        source,
        name,
        target,
        set,
        expect,
        ..
    } = relate("a", "partOf", "c")
    else {
        unreachable!()
    };
    let moved = Operation::Relate {
        source,
        name,
        target,
        set,
        expect,
        replace: true,
    };
    world.commit(vec![moved]).await.unwrap();
    let view = world.twin.view();
    let part_of = view.ontology().relationship_named("partOf").unwrap().id;
    let find = |text| view.twin(&id(text)).unwrap();
    assert_eq!(
        view.related(find("a"), part_of, Direction::Out)
            .collect::<Vec<_>>(),
        [find("c")]
    );
    assert_eq!(view.related(find("b"), part_of, Direction::In).count(), 0);
}

#[tokio::test]
async fn expectations_decide_races() {
    let world = World::new().await;
    let first = world
        .commit(vec![expecting(area("a", 1), Expect::Absent)])
        .await
        .unwrap();
    let again = world
        .commit(vec![expecting(area("a", 1), Expect::Absent)])
        .await;
    assert!(matches!(again, Err(Refusal::Conflict(_))));
    let right = Expect::Revision(first.position.clone());
    let second = world
        .commit(vec![expecting(area("a", 2), right.clone())])
        .await
        .unwrap();
    assert!(matches!(
        world.commit(vec![expecting(area("a", 3), right)]).await,
        Err(Refusal::Conflict(_))
    ));
    // Deleting and creating again never brings an old revision back.
    world.commit(vec![delete("a", false)]).await.unwrap();
    world.commit(vec![area("a", 2)]).await.unwrap();
    let old = Expect::Revision(second.position);
    assert!(matches!(
        world.commit(vec![expecting(area("a", 4), old)]).await,
        Err(Refusal::Conflict(_))
    ));
}

#[tokio::test]
async fn an_idempotency_key_answers_with_the_first_receipt() {
    let mut world = World::new().await;
    let keyed = |hash, population| Commit {
        idempotency: Some(Idempotency {
            key: "k1".into(),
            hash,
        }),
        ..commit(vec![area("a", population)])
    };
    let first = world.twin.commit(keyed(7, 1)).await.unwrap();
    world.commit(vec![area("a", 99)]).await.unwrap();
    for restarted in [false, true] {
        let again = world.twin.commit(keyed(7, 1)).await.unwrap();
        assert!(again.repeated, "restarted: {restarted}");
        assert_eq!((again.changes, &again.position), (1, &first.position));
        let other = world.twin.commit(keyed(8, 2)).await;
        assert!(matches!(other, Err(Refusal::Conflict(_))), "{other:?}");
        let foreign = Commit {
            principal: Principal::new("user:other").unwrap(),
            ..keyed(9, 99)
        };
        assert!(!world.twin.commit(foreign).await.unwrap().repeated || restarted);
        world.restart().await;
    }
    let view = world.twin.view();
    let twin = view.twin(&id("a")).unwrap();
    assert_eq!(view.value_named(twin, "population"), Some(Value::Int(99)));
}

#[tokio::test]
async fn the_same_again_changes_nothing() {
    let world = World::new().await;
    let all = || {
        vec![
            area("a", 1),
            area("b", 2),
            station("s", 30.0, -2.0),
            relate("a", "partOf", "b"),
        ]
    };
    assert_eq!(world.commit(all()).await.unwrap().changes, 4);
    let position = world.twin.view().position();
    let again = world.commit(all()).await.unwrap();
    assert_eq!((again.changes, world.twin.view().position()), (0, position));
}

#[tokio::test]
async fn readings_are_latest_by_time_and_move_their_twin() {
    let mut world = World::new().await;
    world.commit(vec![station("s", 30.0, -2.0)]).await.unwrap();
    for (ts, value) in [(10, 1.0), (30, 3.0), (20, 2.0), (30, 3.5)] {
        world.read("s", ts, value).await.unwrap();
    }
    let moved = serde_json::json!({"type": "Point", "coordinates": [29.5, -1.5]});
    let reading = Reading {
        twin: id("s"),
        telemetry: "location".into(),
        ts: None,
        value: Value::Geometry(Arc::new(moved)),
    };
    let principal = Principal::device(&id("s"));
    world
        .twin
        .record(Readings {
            principal,
            readings: vec![reading],
        })
        .await
        .unwrap();
    let counters = world.twin.counters();
    assert_eq!(
        counters.duplicates.load(Ordering::Relaxed),
        1,
        "one repeats a time"
    );
    for _ in 0..2 {
        let view = world.twin.view();
        let twin = view.twin(&id("s")).unwrap();
        let pm25 = view.class(twin).telemetry_index("pm25").unwrap();
        assert_eq!(view.latest(twin, pm25).unwrap().value, Value::Double(3.5));
        let class = view.class_id(twin);
        let at = |lon, lat| Region::radius(Point::new(lon, lat).unwrap(), 100.0).unwrap();
        assert_eq!(
            view.search(class, &at(29.5, -1.5), Relation::Intersects),
            [twin]
        );
        assert_eq!(
            view.search(class, &at(30.0, -2.0), Relation::Intersects),
            []
        );
        world.restart().await;
    }
    let unknown = world.read("nobody", 1, 1.0).await;
    assert!(matches!(unknown, Err(Refusal::NotFound(_))));
}

#[tokio::test]
async fn a_follower_sees_every_change_once_in_order_from_any_position() {
    let mut world = World::new().await;
    world.commit(vec![station("s", 30.0, -2.0)]).await.unwrap();
    for n in 0..400 {
        world
            .commit(vec![area(&format!("t{}", n % 9), n)])
            .await
            .unwrap();
        if n % 3 == 0 {
            world.read("s", n, 1.0).await.unwrap();
        }
        if n == 200 {
            world.restart().await;
        }
    }
    let end = world.twin.view().position();
    for from in [0, 1, 77, 333, end.offset("main") - 1] {
        let start: Position = format!("main:{from}").parse().unwrap();
        let mut follower = world.twin.follow(&start).unwrap();
        let mut next = from;
        while next < end.offset("main") {
            let group = tokio::time::timeout(Duration::from_secs(5), follower.next())
                .await
                .unwrap()
                .unwrap();
            for change in group.changes.iter().filter(|change| change.offset >= from) {
                assert_eq!(change.offset, next);
                if let Event::Updated { before, after } = &change.event {
                    assert!(before.revision < after.revision);
                }
                next += 1;
            }
            let readings = (group.first_reading()..).zip(&group.readings);
            for (offset, _) in readings.filter(|(offset, _)| *offset >= from) {
                assert_eq!(offset, next);
                next += 1;
            }
        }
    }
}

#[tokio::test]
async fn a_follower_that_sleeps_loses_nothing_and_holds_nobody_back() {
    let world = World::new().await;
    let mut follower = world.twin.follow(&Position::default()).unwrap();
    for n in 0..1_000 {
        world.commit(vec![area("a", n)]).await.unwrap();
    }
    let mut seen = 0;
    while seen < 1_000 {
        let group = tokio::time::timeout(Duration::from_secs(5), follower.next())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(group.first, seen);
        seen = group.next;
    }
}

#[tokio::test]
async fn a_reader_can_wait_for_a_position() {
    let world = World::new().await;
    let next: Position = "main:1".parse().unwrap();
    assert!(
        world
            .twin
            .view_at_least(&next, Duration::from_millis(5))
            .await
            .is_none()
    );
    let waiting = world.twin.view_at_least(&next, Duration::from_secs(5));
    let (view, receipt) = tokio::join!(waiting, world.commit(vec![area("a", 1)]));
    assert!(view.unwrap().twin(&id("a")).is_some());
    receipt.unwrap();
}

#[tokio::test]
async fn closing_answers_what_waits_and_refuses_what_comes() {
    let world = World::new().await;
    let waiting: Vec<_> = (0..20)
        .map(|n| {
            let twin = world.twin.clone();
            tokio::spawn(async move { twin.commit(commit(vec![area(&format!("t{n}"), n)])).await })
        })
        .collect();
    tokio::task::yield_now().await;
    world.twin.close().await;
    let mut done = 0;
    for task in waiting {
        match task.await.unwrap() {
            Ok(_) => done += 1,
            Err(Refusal::Unavailable(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(world.twin.view().len(), done);
    assert!(matches!(
        world.commit(vec![area("z", 1)]).await,
        Err(Refusal::Unavailable(_))
    ));
}
