//! A clock that jumps: a day ahead, and back. Order is the lane's and never the clock's, so nothing is
//! lost, repeated or turned round.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ontology::Value;
use twin_core::history::{DAY_US, HOUR_US, MINUTE_US};
use twin_core::memory::MemoryStore;
use twin_core::{
    Commit, DeadLetter, Idempotency, Position, Principal, Reading, Readings, Receipt, Refusal,
    Settings, Twin,
};

use crate::world::{area, commit, id, ontology, station};

const START: i64 = 20_000 * DAY_US;

thread_local! {
    static NOW: AtomicI64 = const { AtomicI64::new(START) };
}

fn now() -> i64 {
    NOW.with(|now| now.load(Ordering::Relaxed))
}

fn set(to: i64) {
    NOW.with(|now| now.store(to, Ordering::Relaxed));
}

async fn open(store: &MemoryStore) -> Twin {
    let settings = Settings {
        clock: now,
        tend_every: None,
        ..Settings::default()
    };
    let store = Arc::new(store.clone());
    Twin::open(store, ontology(), settings).await.unwrap()
}

async fn read(twin: &Twin, ts: Option<i64>, pm25: f64) -> Result<Receipt, Refusal> {
    let reading = Reading {
        twin: id("s"),
        telemetry: "pm25".into(),
        ts,
        value: Value::Double(pm25),
    };
    let principal = Principal::device(&id("s"));
    let readings = vec![reading];
    twin.record(Readings {
        principal,
        readings,
    })
    .await
}

async fn under_key(twin: &Twin, population: i64) -> Receipt {
    let idempotency = Idempotency {
        key: "k".into(),
        hash: 1,
    };
    let commit = Commit {
        idempotency: Some(idempotency),
        ..commit(vec![area("a", population)])
    };
    twin.commit(commit).await.unwrap()
}

async fn bury(twin: &Twin, payload: &'static [u8]) {
    let letter = DeadLetter {
        at: now(),
        client: "probe".into(),
        topic: "twin/rw/s/telemetry".into(),
        payload: Bytes::from_static(payload),
        size: payload.len() as u64,
        reason: "malformed_json".into(),
        detail: "no JSON".into(),
    };
    twin.bury(letter).await.unwrap();
}

/// Values of the station's history, by time.
async fn history(twin: &Twin) -> Vec<(i64, Value)> {
    let view = twin.view();
    let station = view.find("s").unwrap();
    let all = i64::MIN..i64::MAX;
    let past = twin
        .history(&view, station, "pm25", all, 100)
        .await
        .unwrap();
    past.into_iter().map(|past| (past.ts, past.value)).collect()
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_loses_nothing() {
    set(START);
    let store = MemoryStore::new(ontology());
    let twin = open(&store).await;
    twin.commit(commit(vec![station("s", 30.0, -2.0)]))
        .await
        .unwrap();
    let first = under_key(&twin, 1).await;
    let mut positions = vec![first.position.clone()];
    // Right, ahead, before the beginning, and right again.
    let mut values = 0.0;
    let jumps = [0, 20 * HOUR_US, -2 * DAY_US, MINUTE_US];
    for jump in jumps {
        set(START + jump);
        values += 1.0;
        let own = read(&twin, Some(now() - 1), values).await.unwrap();
        values += 1.0;
        let arrival = read(&twin, None, values).await.unwrap();
        positions.extend([own.position, arrival.position]);
        let again = under_key(&twin, 1).await;
        assert!(again.repeated);
        assert_eq!(again.position, first.position);
        bury(&twin, b"?").await;
        twin.tend().await.unwrap();
    }
    assert!(
        positions
            .windows(2)
            .all(|pair| pair[0].offset("main") < pair[1].offset("main"))
    );
    // A reading without a time of its own comes after those before it, whatever the clock says.
    let past = history(&twin).await;
    let arrivals = |values: [f64; 4]| {
        let time = |value| {
            past.iter()
                .find(|(_, v)| *v == Value::Double(value))
                .unwrap()
                .0
        };
        values.map(time)
    };
    assert_eq!(past.len(), 8);
    assert!(arrivals([2.0, 4.0, 6.0, 8.0]).is_sorted());
    assert_eq!(
        arrivals([1.0, 3.0, 5.0, 7.0]),
        jumps.map(|jump| START + jump - 1)
    );
    // Followers hear it in the order of the lane, from the first on.
    let end = twin.view().position().offset("main");
    let mut follower = twin.follow(&Position::of(&"main".into(), 0)).unwrap();
    while follower.offset() < end {
        let begins = follower.offset();
        let next = tokio::time::timeout(Duration::from_secs(10), follower.next());
        assert_eq!(next.await.unwrap().unwrap().first, begins);
    }
    let letters = twin.dead_letters(u64::MAX, 10).await.unwrap();
    assert!(letters.len() == 4 && letters.is_sorted_by(|a, b| a.number > b.number));
    // A restart under a clock that is behind changes none of it.
    twin.close().await;
    set(START - 3 * DAY_US);
    let twin = open(&store).await;
    assert_eq!(twin.view().position().offset("main"), end);
    assert_eq!(history(&twin).await, past);
    assert!(under_key(&twin, 1).await.repeated);
    read(&twin, Some(now()), 0.5).await.unwrap();
    assert_eq!(history(&twin).await.len(), 9);
}

#[tokio::test]
async fn a_key_that_a_wrong_clock_forgot_is_a_new_one() {
    set(START);
    let twin = open(&MemoryStore::new(ontology())).await;
    let first = under_key(&twin, 1).await;
    set(START + 2 * DAY_US);
    let second = under_key(&twin, 2).await;
    assert!(!second.repeated && second.position != first.position);
    // Back in time it answers with the newest receipt, never with one it forgot.
    set(START);
    let third = under_key(&twin, 3).await;
    assert!(third.repeated);
    assert_eq!(third.position, second.position);
}
