//! Readings through the MQTT door: real clients over TCP, `QoS` 1, acknowledged after the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Instant;

use ingest::replay::{self, Load, Report, Target};
use ingest::{Server, TwinRecorder};
use store::peer::PeerReading;
use tokio::sync::oneshot;
use twin_core::{Operation, Put, TwinId};

use super::Bench;
use super::figure::{self, Figure};
use super::measure::{Done, loops};
use super::stage::Stage;
use super::synthetic::{self, LEVEL, SENSOR};
use crate::failure::Failure;

const CONNECTIONS: usize = 200;
const PACK: usize = 50;
/// Publishes of each connection before anything is measured.
const WARM_UP: u64 = 20;
/// Time of the first reading.
const START: i64 = 1_700_000_000_000_000;

/// Single messages, then packs.
pub(crate) async fn all(bench: &Bench, stage: &Stage) -> Result<(), Failure> {
    let single = [&figure::READINGS, &figure::READINGS_P99];
    let packs = [&figure::PACKS, &figure::PACKS_P99];
    let [single_wanted, packs_wanted] = [&single, &packs].map(|figures| bench.wants_any(figures));
    if !single_wanted && !packs_wanted {
        return Ok(());
    }
    let devices = register(stage).await?;
    let door = Door::open(stage, devices).await?;
    if single_wanted {
        let data = format!(
            "{CONNECTIONS} MQTT 3.1.1 connections over TCP, a device each, one message in flight; \
             SurrealDB: {CONNECTIONS} tasks in process, one CREATE each"
        );
        side_by_side(bench, stage, &door, 1, &single, &data).await?;
    }
    if packs_wanted {
        let data = format!(
            "{CONNECTIONS} connections, one pack in flight; SurrealDB: {CONNECTIONS} tasks in \
             process, an INSERT of {PACK} each"
        );
        side_by_side(bench, stage, &door, PACK, &packs, &data).await?;
    }
    door.close().await
}

async fn side_by_side(
    bench: &Bench,
    stage: &Stage,
    door: &Door,
    pack: usize,
    [rate, p99]: &[&'static Figure; 2],
    data: &str,
) -> Result<(), Failure> {
    let mut last = door.publish(WARM_UP, pack).await?;
    let (mut ours, mut ours_p99) = (Vec::new(), Vec::new());
    let (mut alone, mut alone_p99) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        // A load is told how many publishes, so the last one's rate decides how long it takes.
        let publishes = last.rate / pack as f64 * bench.run_for.as_secs_f64();
        let each = (publishes / CONNECTIONS as f64).ceil() as u64;
        last = door.publish(each.max(1), pack).await?;
        ours.push(last.rate);
        ours_p99.push(last.p99);
        let done = record_alone(bench, stage, pack).await?;
        alone.push(done.rate() * pack as f64);
        alone_p99.push(done.quantile(0.99));
    }
    bench.show(rate, data, &ours, &alone);
    bench.show(p99, "publish to PUBACK at that load", &ours_p99, &alone_p99);
    Ok(())
}

async fn register(stage: &Stage) -> Result<Vec<TwinId>, Failure> {
    let ids = (0..CONNECTIONS).map(|number| synthetic::id(&format!("bench:sensor:{number}")));
    let ids: Vec<_> = ids.collect::<Result<_, _>>()?;
    let sensor = |id: &TwinId| {
        Operation::Upsert(Put {
            id: id.clone(),
            class: SENSOR.into(),
            set: Vec::new(),
            geometry: None,
            expect: None,
        })
    };
    let commit = synthetic::commit(ids.iter().map(sensor).collect());
    let receipt = stage.nation.twin.commit(commit).await;
    receipt.map_err(|refusal| Failure::failed(refusal.to_string()))?;
    Ok(ids)
}

/// The MQTT service on a port of its own.
struct Door {
    target: Target,
    devices: Vec<TwinId>,
    /// Time of the next load's first reading: none comes twice.
    start: AtomicI64,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
}

/// What a load reached.
struct Published {
    rate: f64,
    p99: f64,
}

impl Door {
    async fn open(stage: &Stage, devices: Vec<TwinId>) -> Result<Self, Failure> {
        let realm: Arc<str> = stage.nation.config.twin.realm.as_str().into();
        let config = ingest::Config {
            realm: Arc::clone(&realm),
            ..Default::default()
        };
        let recorder = TwinRecorder::new(stage.nation.twin.clone())
            .map_err(|error| Failure::failed(error.to_string()))?;
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(address, config, Arc::new(recorder))
            .await
            .map_err(|error| Failure::failed(error.to_string()))?;
        let target = Target {
            addr: server.local_addr(),
            realm,
            v5: false,
            at_least_once: true,
            in_flight: 1,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(server.run(async move {
            // A sender that is gone stops the server too.
            drop(stopped.await);
        }));
        Ok(Self {
            target,
            devices,
            start: AtomicI64::new(START),
            stop,
            server,
        })
    }

    async fn publish(&self, each: u64, pack: usize) -> Result<Published, Failure> {
        let readings = each * pack as u64 * CONNECTIONS as u64;
        let load = Load {
            connections: CONNECTIONS,
            publishes: each,
            pack,
            devices: self.devices.clone(),
            telemetry: LEVEL.to_owned(),
            start: self.start.fetch_add(readings.cast_signed(), Relaxed),
        };
        // From before the first CONNECT: what the connections cost is in the rate.
        let begun = Instant::now();
        let report = replay::load(&self.target, &load)
            .await
            .map_err(|error| Failure::failed(error.to_string()))?;
        let elapsed = begun.elapsed().as_secs_f64();
        let Report {
            sent,
            acknowledged,
            failed,
            ..
        } = report;
        if acknowledged != sent || failed > 0 || report.readings != readings {
            return Err(Failure::failed(format!(
                "{acknowledged} of {sent} publishes were acknowledged, {failed} refused"
            )));
        }
        Ok(Published {
            rate: readings as f64 / elapsed,
            p99: report.latency.quantile(0.99) as f64 / 1e6,
        })
    }

    async fn close(self) -> Result<(), Failure> {
        // An error says that the server is gone already, which joining it shows.
        let _gone = self.stop.send(());
        let ended = self.server.await;
        ended.map_err(|error| Failure::failed(format!("the MQTT server ended: {error}")))
    }
}

async fn record_alone(bench: &Bench, stage: &Stage, pack: usize) -> Result<Done, Failure> {
    static NEXT: AtomicI64 = AtomicI64::new(START);
    let peer = Arc::clone(&stage.peer);
    let work = move |worker: usize, _| {
        let peer = Arc::clone(&peer);
        async move {
            let device = format!("bench:sensor:{worker}");
            let first = NEXT.fetch_add(pack as i64, Relaxed);
            let reading = |ts: i64| PeerReading {
                device: &device,
                telemetry: LEVEL,
                ts,
                value: (ts % 1_000) as f64 / 10.0,
            };
            if pack == 1 {
                peer.record(&reading(first)).await?;
            } else {
                let pack: Vec<_> = (first..first + pack as i64).map(reading).collect();
                peer.record_pack(&pack).await?;
            }
            Ok(())
        }
    };
    loops(CONNECTIONS, bench.run_for, work).await
}
