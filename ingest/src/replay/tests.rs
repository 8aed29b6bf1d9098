use std::sync::Mutex;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use twin_core::{DeadLetter, Position, Readings, Receipt, Refusal};

use super::*;
use crate::testing::{kind, station};
use crate::{Config, Counters, Known, Recorder, Server, Tell};

#[derive(Default)]
struct Fake {
    times: Mutex<Vec<i64>>,
}

struct Handle(Arc<Fake>);

impl Recorder for Handle {
    fn known(&self, _: &TwinId) -> Known {
        Known::Device(kind())
    }

    fn record(&self, readings: Readings) -> BoxFuture<'static, Result<Receipt, Refusal>> {
        let mut times = self.0.times.lock().unwrap();
        times.extend(readings.readings.iter().filter_map(|reading| reading.ts));
        let changes = readings.readings.len() as u64;
        Box::pin(std::future::ready(Ok(Receipt {
            position: Position::default(),
            changes,
            repeated: false,
        })))
    }

    fn desired(&self, _: &TwinId) -> Option<Bytes> {
        None
    }

    fn watch_desired(&self, _: Tell) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn bury(&self, _letter: DeadLetter) -> BoxFuture<'static, Result<(), Refusal>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

async fn serve(v5: bool, at_least_once: bool) -> (Target, Arc<Fake>, Arc<Counters>) {
    let fake = Arc::new(Fake::default());
    let recorder = Arc::new(Handle(Arc::clone(&fake)));
    let any = "127.0.0.1:0".parse().unwrap();
    let mut config = Config::default();
    // Times of readings are small numbers here.
    config.limits.payload.max_behind = Duration::MAX;
    let server = Server::bind(any, config, recorder).await.unwrap();
    let target = Target {
        addr: server.local_addr(),
        realm: "rw".into(),
        v5,
        at_least_once,
        in_flight: 4,
    };
    let counters = server.counters();
    tokio::spawn(server.run(std::future::pending()));
    (target, fake, counters)
}

fn hours(count: i64) -> impl Iterator<Item = Result<Air, SourceError>> {
    (0..count).map(|hour| {
        Ok(Air {
            ts: hour * 3_600_000_000,
            pm25: hour as f64,
        })
    })
}

#[tokio::test]
async fn a_replay_sends_every_reading_once_in_every_version_and_qos() {
    for v5 in [false, true] {
        for at_least_once in [false, true] {
            let (target, fake, counters) = serve(v5, at_least_once).await;
            let cancel = CancellationToken::new();
            let report = replay(&target, &station(), hours(100), None, &cancel)
                .await
                .unwrap();
            let acknowledged = if at_least_once { 100 } else { 0 };
            assert_eq!((report.sent, report.readings, report.failed), (100, 100, 0));
            assert_eq!(
                (report.acknowledged, report.latency.total()),
                (acknowledged, acknowledged)
            );
            while counters.accepted() < 100 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let expected: Vec<_> = hours(100).map(|air| air.unwrap().ts).collect();
            assert_eq!(*fake.times.lock().unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn a_speed_paces_and_a_cancel_ends() {
    let (target, _, _) = serve(false, true).await;
    let cancel = CancellationToken::new();
    // Ten milliseconds an hour.
    let report = replay(&target, &station(), hours(11), Some(360_000.0), &cancel)
        .await
        .unwrap();
    assert_eq!(report.acknowledged, 11);
    assert!(
        report.elapsed >= Duration::from_millis(95),
        "{:?}",
        report.elapsed
    );
    let soon = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        soon.cancel();
    });
    let report = replay(&target, &station(), hours(100), Some(1.0), &cancel)
        .await
        .unwrap();
    assert_eq!(report.acknowledged, 1);
}

#[tokio::test]
async fn a_load_has_a_time_for_every_reading() {
    let (target, fake, counters) = serve(true, true).await;
    let load_of = Load {
        connections: 3,
        publishes: 20,
        pack: 5,
        devices: vec![station()],
        telemetry: "pm25".to_owned(),
        start: 1_700_000_000_000_000,
        every: None,
    };
    let report = load(&target, &load_of).await.unwrap();
    assert_eq!((report.acknowledged, report.readings), (60, 300));
    let times: std::collections::BTreeSet<_> = fake.times.lock().unwrap().iter().copied().collect();
    assert_eq!(times.len(), 300);
    assert_eq!(counters.readings(), 300);
    let single = Load {
        pack: 1,
        connections: 1,
        publishes: 3,
        ..load_of
    };
    assert_eq!(load(&target, &single).await.unwrap().acknowledged, 3);
    assert_eq!(counters.accepted(), 63);
    // Paced, three publishes take two waits at least.
    let every = Duration::from_millis(50);
    let paced = Load {
        every: Some(every),
        ..single
    };
    let report = load(&target, &paced).await.unwrap();
    assert_eq!(report.acknowledged, 3);
    assert!(report.elapsed >= 2 * every, "{:?}", report.elapsed);
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (mut target, _, _) = serve(false, true).await;
    target.addr = free;
    let cancel = CancellationToken::new();
    let error = replay(&target, &station(), hours(1), None, &cancel)
        .await
        .unwrap_err();
    assert!(matches!(error, ReplayError::Unreachable { .. }), "{error}");
}

#[test]
fn seconds_are_exact() {
    assert_eq!(seconds(1_732_180_000_125_000), "1732180000.125000");
    assert_eq!(seconds(-1), "-0.000001");
}

#[tokio::test]
async fn a_replay_can_run_in_a_task_of_its_own() {
    let (target, _, _) = serve(false, true).await;
    let running = tokio::spawn(async move {
        let (air, _) = read_air(std::path::Path::new("/nowhere.csv"))?;
        replay(&target, &station(), air, None, &CancellationToken::new()).await
    });
    assert!(matches!(
        running.await.unwrap(),
        Err(ReplayError::Source(_))
    ));
}
