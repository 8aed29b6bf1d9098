//! The twin's side of a year: a store of its own under a clock that the readings move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ontology::Value;
use serde_json::{Map, Value as Json};
use store::{Limits, SurrealStore};
use tokio::task::JoinHandle;
use twin_core::history::{DAY_US, HOUR_US, MINUTE_US, Tended};
use twin_core::store::StoreError;
use twin_core::{Operation, Principal, Put, Reading, Readings, Receipt, Refusal, Twin};

use super::super::measure::cpu_seconds;
use super::super::synthetic::{self, BATCH, LEVEL, SENSOR};
use super::super::{Bench, stage};
use super::fleet::{Fleet, MINUTES_A_DAY, START, Sample, day_start};
use super::{Place, Size, disk};
use crate::config::Config;
use crate::failure::Failure;
use crate::nation;

/// Readings after which history is tended, beside recording.
const TEND_READINGS: u64 = 150_000;
/// Minutes after midnight at which the day before is settled.
const SETTLED_BY: u32 = 11;
/// Longest time until the disk of what retention passed comes back.
const SHRINKING: Duration = Duration::from_mins(5);
/// How often history is tended meanwhile.
const TENDING: Duration = Duration::from_secs(1);
/// Longest time that a sum over a month of blocks may take.
const COUNTING: Duration = Duration::from_mins(10);

/// Time of day of the twin, microseconds since 1970.
static CLOCK: AtomicI64 = AtomicI64::new(START);

fn clock() -> i64 {
    CLOCK.load(Relaxed)
}

/// A clock that never jumps goes as fast: retention believes a time of day once this one says that it
/// was shown for an hour.
fn steady() -> Duration {
    Duration::from_micros((clock() - START).unsigned_abs())
}

/// A twin that is given the year.
pub(super) struct Recorded {
    config: Config,
    pub(super) twin: Twin,
    store: Arc<SurrealStore>,
}

/// What recording took.
pub(super) struct Took {
    pub(super) readings: u64,
    pub(super) elapsed: Duration,
    /// Of it in making the readings up; the rest waits for that.
    pub(super) making: Duration,
    /// Of it at the end, when nothing was recorded any more.
    pub(super) settling: Duration,
    /// Seconds of processor time.
    pub(super) cpu: f64,
}

/// Bytes of blocks of one kind of history.
pub(super) struct Blocks {
    pub(super) days: u64,
    pub(super) minutes: u64,
    pub(super) hours: u64,
}

impl Recorded {
    /// An empty twin with its sensors.
    pub(super) async fn open(bench: &Bench, places: &[Place]) -> Result<Self, Failure> {
        CLOCK.store(START, Relaxed);
        let mut config = stage::config(bench)?;
        config.twin.dir = bench.folder.join("year");
        let recorded = Self::of(config).await?;
        for places in places.chunks(BATCH as usize) {
            let sensor = |place: &Place| {
                Operation::Upsert(Put {
                    id: place.id.clone(),
                    class: SENSOR.into(),
                    set: Vec::new(),
                    geometry: Some(Some(Arc::new(place.point.into()))),
                    expect: None,
                })
            };
            let commit = synthetic::commit(places.iter().map(sensor).collect());
            recorded
                .twin
                .commit(commit)
                .await
                .map_err(|refusal| refused(&refusal))?;
        }
        Ok(recorded)
    }

    async fn of(config: Config) -> Result<Self, Failure> {
        let ontology = nation::ontology(&config.twin.seeds)?;
        let store = nation::store(&config, &ontology).await?;
        let settings = twin_core::Settings {
            clock,
            steady,
            tend_every: None,
            ..twin_core::Settings::default()
        };
        let twin = Twin::open(Arc::clone(&store) as _, ontology, settings).await?;
        Ok(Self {
            config,
            twin,
            store,
        })
    }

    /// Records every minute of all sensors, tends beside it, and settles every day once it is over.
    pub(super) async fn record(
        &self,
        fleet: &Fleet,
        places: &[Place],
        size: Size,
    ) -> Result<Took, Failure> {
        let Size { days, pack, .. } = size;
        let telemetry: Arc<str> = LEVEL.into();
        let (begun, cpu) = (Instant::now(), cpu_seconds("self")?);
        let (mut samples, mut making) = (Vec::new(), Duration::ZERO);
        let (mut count, mut untended, mut settle) = (0, 0, MINUTES_A_DAY + SETTLED_BY);
        let mut recording: Option<JoinHandle<Result<Receipt, Refusal>>> = None;
        let mut tending: Option<JoinHandle<Result<Tended, StoreError>>> = None;
        for first in (0..days * MINUTES_A_DAY).step_by(pack as usize) {
            let from = Instant::now();
            samples.clear();
            let minute = first + pack;
            for minute in first..minute {
                fleet.minute(minute, &mut samples);
            }
            making += from.elapsed();
            let reading = |sample: &Sample| Reading {
                twin: places[sample.device as usize].id.clone(),
                telemetry: Arc::clone(&telemetry),
                ts: Some(sample.ts_ms * 1_000),
                value: Value::Double(fleet.value(*sample)),
            };
            let readings = Readings {
                principal: Principal::system("bench"),
                readings: samples.iter().map(reading).collect(),
            };
            if let Some(before) = recording.take() {
                recorded(before).await?;
            }
            // What is recorded now arrives at the end of its last minute, and nothing else waits.
            CLOCK.store(START + i64::from(minute) * MINUTE_US - 1, Relaxed);
            count += samples.len() as u64;
            untended += samples.len() as u64;
            let twin = self.twin.clone();
            recording = Some(tokio::spawn(async move { twin.record(readings).await }));
            if untended >= TEND_READINGS || minute >= settle {
                untended = 0;
                while settle <= minute {
                    settle += MINUTES_A_DAY;
                }
                if let Some(before) = tending.take() {
                    tended(before).await?;
                }
                let twin = self.twin.clone();
                tending = Some(tokio::spawn(async move { twin.tend().await }));
            }
        }
        if let Some(last) = recording {
            recorded(last).await?;
        }
        let settling = Instant::now();
        if let Some(last) = tending {
            tended(last).await?;
        }
        CLOCK.store(day_start(days) + i64::from(SETTLED_BY) * MINUTE_US, Relaxed);
        self.twin.tend().await?;
        let found = self.twin.tended().settled.load(Relaxed);
        if found != count {
            return Err(Failure::failed(format!(
                "{count} readings were recorded and {found} settled"
            )));
        }
        Ok(Took {
            readings: count,
            elapsed: begun.elapsed(),
            making,
            settling: settling.elapsed(),
            cpu: cpu_seconds("self")? - cpu,
        })
    }

    /// Closes the twin and opens it again, which empties the engine's log.
    pub(super) async fn reopen(self) -> Result<Self, Failure> {
        let config = self.config.clone();
        self.close().await?;
        Self::of(config).await
    }

    pub(super) async fn close(self) -> Result<(), Failure> {
        self.twin.close().await;
        Ok(self.store.close().await?)
    }

    /// Bytes of the blocks of history, as they are handed to the engine.
    pub(super) async fn blocks(&self) -> Result<Blocks, Failure> {
        let mut blocks = Blocks {
            days: 0,
            minutes: 0,
            hours: 0,
        };
        let info = self.query("INFO FOR DB").await?;
        let tables = info.get("tables").and_then(Json::as_object);
        for table in tables.into_iter().flat_map(Map::keys) {
            let kind = match table.split('_').nth(1) {
                Some("day") => &mut blocks.days,
                Some("minutes") => &mut blocks.minutes,
                Some("hours") => &mut blocks.hours,
                _ => continue,
            };
            let text = format!("RETURN math::sum((SELECT VALUE bytes::len(data) FROM `{table}`))");
            *kind += self.query(&text).await?.as_u64().unwrap_or(0);
        }
        Ok(blocks)
    }

    async fn query(&self, text: &str) -> Result<Json, Failure> {
        let limits = Limits {
            timeout: COUNTING,
            ..Limits::default()
        };
        let answers = self.store.query(text, &Map::new(), limits).await;
        let answers = answers.map_err(|error| Failure::failed(format!("{text}: {error}")))?;
        Ok(answers.into_iter().next().unwrap_or_default())
    }

    /// Lets retention pass all readings but not their sums. Answers how many tables went.
    pub(super) async fn retain_sums(&self, days: u32) -> Result<u64, Failure> {
        self.store.retain(store::Retention {
            readings: Some(1),
            ..store::Retention::default()
        });
        // The last month too must lie behind.
        CLOCK.store(day_start(days) + 40 * DAY_US, Relaxed);
        let seen = self.twin.tend().await?.dropped;
        CLOCK.fetch_add(2 * HOUR_US, Relaxed);
        Ok(seen + self.twin.tend().await?.dropped)
    }

    /// The folder's bytes once they are at most so many, and how long that took; `None` where they did
    /// not become so few.
    pub(super) async fn shrunk(&self, at_most: u64) -> Result<(u64, Option<Duration>), Failure> {
        // As a twin that runs does.
        let tending = async {
            loop {
                tokio::time::sleep(TENDING).await;
                self.twin.tend().await?;
            }
        };
        tokio::select! {
            shrunk = disk::shrunk(&self.config.twin.dir, at_most, SHRINKING) => shrunk,
            failed = tending => failed,
        }
    }

    /// The folder's bytes once the engine works on it no more, and how long that took.
    pub(super) async fn quiet(&self) -> Result<(u64, Duration), Failure> {
        disk::quiet(&self.config.twin.dir).await
    }
}

async fn recorded(task: JoinHandle<Result<Receipt, Refusal>>) -> Result<(), Failure> {
    let done = task.await;
    let done = done.map_err(|error| Failure::failed(format!("recording ended: {error}")))?;
    done.map(drop).map_err(|refusal| refused(&refusal))
}

async fn tended(task: JoinHandle<Result<Tended, StoreError>>) -> Result<(), Failure> {
    let done = task.await;
    let done = done.map_err(|error| Failure::failed(format!("tending ended: {error}")))?;
    done.map(drop).map_err(Failure::from)
}

fn refused(refusal: &Refusal) -> Failure {
    Failure::failed(refusal.to_string())
}
