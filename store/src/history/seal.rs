//! Sealing: a range of the journal becomes a segment that is sorted by series.
//!
//! # Invariants
//! - A range ends where a record does, so every reading is sealed exactly once.
//! - A segment holds readings of one day of arrival, in memory bounded by [`SEAL_READINGS`] and
//!   [`SEAL_BYTES`].

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use twin_core::history::{Tend, Tended};
use twin_core::store::StoreError;

use super::heads::{Level, Place};
use super::settle::is_over;
use super::writer::{PackedBlock, Target};
use super::{Step, day_of};
use crate::codec::{self, Filler, Row as _, SealedReading, SeriesName, SeriesParts};
use crate::follow::located;
use crate::log::Kind;
use crate::surreal::SurrealStore;

/// A segment takes no further record once it has so many readings.
const SEAL_READINGS: usize = 200_000;
/// Nor once its values that are no numbers have so many bytes.
const SEAL_BYTES: usize = 64 << 20;
/// So many segments of one size become one of the next.
const FAN: usize = 8;

/// Readings of a range of the journal.
#[derive(Default)]
struct Range {
    known: HashMap<SeriesParts, u32>,
    names: Vec<SeriesParts>,
    /// Series by their index in the record that is read.
    here: Vec<u32>,
    rows: Vec<(u32, SealedReading)>,
    bytes: usize,
    /// Day of arrival of all.
    day: Option<i64>,
    /// A record arrived on another day: the range ends before it.
    ends: bool,
    next: u64,
}

impl Range {
    fn begin(&mut self, series: &[SeriesParts], arrived: i64) {
        let day = day_of(arrived);
        self.ends = *self.day.get_or_insert(day) != day;
        if self.ends {
            return;
        }
        self.here.clear();
        for parts in series {
            let index = *self.known.entry(parts.clone()).or_insert_with(|| {
                self.names.push(parts.clone());
                self.names.len() as u32 - 1
            });
            self.here.push(index);
        }
    }

    fn push(&mut self, series: usize, reading: SealedReading) {
        if !self.ends {
            self.bytes += reading.weight();
            self.rows.push((self.here[series], reading));
        }
    }

    /// The blocks of the range, and how many readings others replaced.
    fn blocks(mut self, lives: &HashMap<Arc<str>, u64>) -> (Vec<PackedBlock>, u64) {
        let mut order: Vec<u32> = (0..self.names.len() as u32).collect();
        let sorted = |index: &u32| {
            let [twin, class, telemetry] = &self.names[*index as usize];
            (class, telemetry, twin)
        };
        order.sort_unstable_by(|a, b| sorted(a).cmp(&sorted(b)));
        let mut ranks = vec![0_u32; order.len()];
        for (rank, index) in order.iter().enumerate() {
            ranks[*index as usize] = rank as u32;
        }
        let life = |series: u32, offset: u64| {
            let [twin, ..] = &self.names[series as usize];
            lives
                .get(twin)
                .copied()
                .filter(|born| offset >= *born)
                .unwrap_or(0)
        };
        self.rows.sort_unstable_by_key(|(series, reading)| {
            let life = life(*series, reading.offset);
            (ranks[*series as usize], life, reading.ts, reading.offset)
        });
        let mut packed = Vec::new();
        let mut filler = Filler::default();
        let mut replaced = 0;
        let mut name: Option<(u32, SeriesName)> = None;
        let mut rows = self.rows.into_iter().peekable();
        while let Some((series, reading)) = rows.next() {
            let life_of = life(series, reading.offset);
            let again = rows.peek().is_some_and(|(next, later)| {
                *next == series && later.ts == reading.ts && life(*next, later.offset) == life_of
            });
            if again {
                replaced += 1;
                continue;
            }
            let [twin, class, telemetry] = &self.names[series as usize];
            let current = match &mut name {
                Some((known, name)) if *known == series && name.life == life_of => name,
                other => {
                    let fresh = SeriesName {
                        class: Arc::clone(class),
                        telemetry: Arc::clone(telemetry),
                        twin: Arc::clone(twin),
                        life: life_of,
                    };
                    &mut other.insert((series, fresh)).1
                }
            };
            packed.extend(
                filler
                    .push(current, reading)
                    .as_ref()
                    .and_then(PackedBlock::of),
            );
        }
        packed.extend(filler.finish().as_ref().and_then(PackedBlock::of));
        (packed, replaced)
    }
}

impl SurrealStore {
    /// Seals the journal up to an offset.
    pub(super) async fn seal(
        &self,
        tend: &Tend<'_>,
        tended: &mut Tended,
    ) -> Result<(), StoreError> {
        loop {
            let sealed = self.lane_history(tend.lane).await?.sealed;
            if sealed >= tend.upto {
                return Ok(());
            }
            let range = self.read_range(tend.lane, sealed, tend.upto).await?;
            let (next, day) = (range.next, range.day.unwrap_or_default());
            let twins = range.names.iter().map(|[twin, ..]| twin).collect();
            let lives = self.births(tend.lane, &twins).await?;
            let count = range.rows.len() as u64;
            let (packed, replaced) = off_the_network(move || range.blocks(&lives)).await?;
            let place = Place {
                level: Level::Recent,
                day,
                part: sealed,
                tier: 0,
            };
            let _writing = self.history.recent.lock().await;
            let mut writer = self.target(tend).segment(place, &"".into(), next);
            for block in packed {
                writer.push(block).await?;
            }
            let step = Step {
                add: writer.finish().await?,
                sealed: Some(next),
                ..Step::default()
            };
            self.step(tend.lane, tend.epoch, step).await?;
            tended.sealed += count;
            tended.replaced += replaced;
        }
    }

    fn target<'a>(&'a self, tend: &Tend<'a>) -> Target<'a> {
        Target {
            store: self,
            lane: tend.lane,
            epoch: tend.epoch,
            today: day_of(tend.now),
        }
    }

    /// Merges segments of every day of arrival that is not over, as far as they are many.
    pub(super) async fn merge_all(
        &self,
        tend: &Tend<'_>,
        tended: &mut Tended,
    ) -> Result<(), StoreError> {
        let history = self.lane_history(tend.lane).await?;
        let days: BTreeSet<i64> = (history.of(Level::Recent))
            .map(|head| head.place.day)
            .filter(|day| !is_over(*day, tend.now))
            .collect();
        for day in days {
            while self.merge_recent(tend, day, tended).await? {}
        }
        Ok(())
    }

    async fn read_range(&self, lane: &str, from: u64, to: u64) -> Result<Range, StoreError> {
        let mut range = Range {
            next: to,
            ..Range::default()
        };
        let Some(row) = self.lane(lane).await? else {
            return Ok(range);
        };
        self.packed(
            Kind::Journal,
            lane,
            &row.tables,
            from..to,
            |offset, bytes| {
                let header = codec::read_all(
                    bytes,
                    &mut range,
                    |range, series, header, _| range.begin(series, header.at),
                    Range::push,
                );
                let header =
                    header.map_err(|error| located(Kind::Journal, lane, offset, &error))?;
                if range.ends {
                    range.next = header.first;
                    return Ok(ControlFlow::Break(()));
                }
                if range.rows.len() >= SEAL_READINGS || range.bytes >= SEAL_BYTES {
                    range.next = header.next();
                    return Ok(ControlFlow::Break(()));
                }
                Ok(ControlFlow::Continue(()))
            },
        )
        .await?;
        Ok(range)
    }

    /// Merges the newest segments of a day of arrival if they are as many as [`FAN`] of one size;
    /// whether they were.
    async fn merge_recent(
        &self,
        tend: &Tend<'_>,
        day: i64,
        tended: &mut Tended,
    ) -> Result<bool, StoreError> {
        let history = self.lane_history(tend.lane).await?;
        let heads: Vec<_> = history.days(Level::Recent, day, day).cloned().collect();
        let Some(last) = heads.last() else {
            return Ok(false);
        };
        let tier = last.place.tier;
        let alike = heads
            .iter()
            .rev()
            .take_while(|head| head.place.tier == tier);
        let alike = alike.count();
        let heads = &heads[heads.len() - alike..];
        let blocks: u64 = heads.iter().map(|head| head.blocks).sum();
        let Some(first) = heads.first().filter(|_| alike >= FAN) else {
            return Ok(false);
        };
        if blocks > self.history.segment_blocks {
            return Ok(false);
        }
        let place = Place {
            tier: tier + 1,
            ..first.place
        };
        let _writing = self.history.recent.lock().await;
        let segment = self.target(tend).segment(place, &"".into(), last.next);
        let (add, replaced) = self.rewrite::<SealedReading>(segment, heads).await?;
        tended.replaced += replaced;
        let step = Step {
            add,
            remove: heads.iter().map(|head| head.place).collect(),
            ..Step::default()
        };
        self.step(tend.lane, tend.epoch, step).await?;
        Ok(true)
    }
}

/// Runs what computes for long where it holds up no connection.
async fn off_the_network<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::Engine(format!("sealing ended badly: {error}")))
}
