//! Readings through the MQTT door: real clients over TCP, `QoS` 1, acknowledged after the commit; or the
//! same load sent to another broker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

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

/// Connections with single messages, and with packs.
const SINGLES: usize = 1_000;
const PACKERS: usize = 200;
const PACK: usize = 50;
/// Messages of a connection that wait for their acknowledgement where it does not wait for each.
const AHEAD: u16 = 20;
/// Publishes of each connection before anything is measured.
const WARM_UP: u64 = 20;
/// Time of the first reading.
const START: i64 = 1_700_000_000_000_000;

/// One way to publish.
#[derive(Debug, Clone, Copy)]
struct Way {
    connections: usize,
    in_flight: u16,
    pack: usize,
    /// The rate, and the time of an acknowledgement at half of it.
    figures: [&'static Figure; 2],
}

const WAYS: [Way; 3] = [
    Way {
        connections: SINGLES,
        in_flight: 1,
        pack: 1,
        figures: [&figure::READINGS, &figure::READINGS_P99],
    },
    Way {
        connections: SINGLES,
        in_flight: AHEAD,
        pack: 1,
        figures: [&figure::AHEAD, &figure::AHEAD_P99],
    },
    Way {
        connections: PACKERS,
        in_flight: 1,
        pack: PACK,
        figures: [&figure::PACKS, &figure::PACKS_P99],
    },
];

impl Way {
    /// Publishes of each connection in a run. A load is told how many, so the rate of the one before
    /// decides how long it takes.
    fn each(self, bench: &Bench, rate: f64) -> u64 {
        let publishes = rate / self.pack as f64 * bench.run_for.as_secs_f64();
        let each = (publishes / self.connections as f64).ceil() as u64;
        each.max(1)
    }

    fn data(self) -> String {
        let Self {
            connections,
            in_flight,
            pack,
            ..
        } = self;
        let statement = if pack == 1 {
            "a CREATE each".to_owned()
        } else {
            format!("an INSERT of {pack} each")
        };
        format!(
            "{connections} MQTT 3.1.1 connections over TCP, a device each, {in_flight} in flight, \
             {pack} a message; SurrealDB: {connections} tasks in process, {statement}"
        )
    }
}

/// All ways, one after another.
pub(crate) async fn all(bench: &Bench, stage: &Stage) -> Result<(), Failure> {
    if !WAYS.iter().any(|way| bench.wants_any(&way.figures)) {
        return Ok(());
    }
    let devices = register(stage).await?;
    let door = Door::open(stage, devices).await?;
    for way in WAYS {
        if bench.wants_any(&way.figures) {
            side_by_side(bench, stage, &door, way).await?;
        }
    }
    door.close().await
}

/// The same loads, sent to another broker: nothing of ours is measured but who publishes.
pub(crate) async fn elsewhere(bench: &Bench, broker: SocketAddr) -> Result<(), Failure> {
    let door = Door::elsewhere(bench, broker)?;
    for way in WAYS {
        let [rate, p99] = way.figures;
        if bench.wants_any(&way.figures) {
            let mut last = door.publish(way, WARM_UP, None).await?;
            let (mut rates, mut p99s) = (Vec::new(), Vec::new());
            for _ in 0..bench.runs {
                last = door.publish(way, way.each(bench, last.rate), None).await?;
                rates.push(last.rate);
                p99s.push(last.p99);
            }
            bench.show(rate, &format!("to {broker}: {}", way.data()), &rates, &[]);
            bench.show(p99, "publish to PUBACK at that rate", &p99s, &[]);
        }
    }
    Ok(())
}

async fn side_by_side(bench: &Bench, stage: &Stage, door: &Door, way: Way) -> Result<(), Failure> {
    let (ours, ours_p99) = door.runs(bench, way).await?;
    let (mut alone, mut alone_p99) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let done = record_alone(bench, stage, way).await?;
        alone.push(done.rate() * way.pack as f64);
        alone_p99.push(done.quantile(0.99));
    }
    let [rate, p99] = way.figures;
    bench.show(rate, &way.data(), &ours, &alone);
    let data = "publish to PUBACK at half of that rate; SurrealDB at its whole rate";
    bench.show(p99, data, &ours_p99, &alone_p99);
    Ok(())
}

fn devices() -> Result<Vec<TwinId>, Failure> {
    let ids = (0..SINGLES).map(|number| synthetic::id(&format!("bench:sensor:{number}")));
    ids.collect()
}

async fn register(stage: &Stage) -> Result<Vec<TwinId>, Failure> {
    let ids = devices()?;
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

/// An MQTT service.
struct Door {
    target: Target,
    devices: Vec<TwinId>,
    /// Time of the next load's first reading: none comes twice.
    start: AtomicI64,
    /// Ours, on a port of its own.
    served: Option<(oneshot::Sender<()>, tokio::task::JoinHandle<()>)>,
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
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
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
            served: Some((stop, server)),
        })
    }

    fn elsewhere(bench: &Bench, addr: SocketAddr) -> Result<Self, Failure> {
        Ok(Self {
            target: Target {
                addr,
                realm: bench.config.twin.realm.as_str().into(),
                v5: false,
                at_least_once: true,
                in_flight: 1,
            },
            devices: devices()?,
            start: AtomicI64::new(START),
            served: None,
        })
    }

    /// Rates, and the 99th percentiles of acknowledgements at half of each.
    async fn runs(&self, bench: &Bench, way: Way) -> Result<(Vec<f64>, Vec<f64>), Failure> {
        let mut last = self.publish(way, WARM_UP, None).await?.rate;
        let (mut rates, mut p99s) = (Vec::new(), Vec::new());
        for _ in 0..bench.runs {
            let each = way.each(bench, last);
            last = self.publish(way, each, None).await?.rate;
            rates.push(last);
            let messages = last / way.pack as f64 / 2.0;
            let every = Duration::from_secs_f64(way.connections as f64 / messages);
            let half = self.publish(way, (each / 2).max(2), Some(every)).await?;
            p99s.push(half.p99);
        }
        Ok((rates, p99s))
    }

    async fn publish(
        &self,
        way: Way,
        each: u64,
        every: Option<Duration>,
    ) -> Result<Published, Failure> {
        let readings = each * way.pack as u64 * way.connections as u64;
        let load = Load {
            connections: way.connections,
            publishes: each,
            pack: way.pack,
            devices: self.devices.clone(),
            telemetry: LEVEL.to_owned(),
            start: self.start.fetch_add(readings.cast_signed(), Relaxed),
            every,
        };
        let target = Target {
            in_flight: way.in_flight,
            ..self.target.clone()
        };
        let report = replay::load(&target, &load)
            .await
            .map_err(|error| Failure::failed(error.to_string()))?;
        let Report {
            sent,
            acknowledged,
            failed,
            elapsed,
            ..
        } = report;
        if acknowledged != sent || failed > 0 || report.readings != readings {
            return Err(Failure::failed(format!(
                "{acknowledged} of {sent} publishes were acknowledged, {failed} refused"
            )));
        }
        Ok(Published {
            rate: readings as f64 / elapsed.as_secs_f64(),
            p99: report.latency.quantile(0.99) as f64 / 1e6,
        })
    }

    async fn close(self) -> Result<(), Failure> {
        let Some((stop, server)) = self.served else {
            return Ok(());
        };
        // An error says that the server is gone already, which joining it shows.
        let _gone = stop.send(());
        let ended = server.await;
        ended.map_err(|error| Failure::failed(format!("the MQTT server ended: {error}")))
    }
}

async fn record_alone(bench: &Bench, stage: &Stage, way: Way) -> Result<Done, Failure> {
    static NEXT: AtomicI64 = AtomicI64::new(START);
    let peer = Arc::clone(&stage.peer);
    let pack = way.pack;
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
    loops(way.connections, bench.run_for, work).await
}
