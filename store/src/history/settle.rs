//! Settling: once a day of arrival is over, its readings go to the days that they speak of.
//!
//! Each day then has its readings for good, and their sums by hour, and by minute where that is
//! fewer. Readings that came late make a further part of an earlier day; sums of a series in a later
//! part are those of the whole day.
//!
//! # Invariants
//! - A day of arrival is settled whole, in one step: its recent segments go as the days' parts come.
//! - Memory is bounded by [`MAX_DAYS`] days that are written at once, two blocks each and more for
//!   sums; more days take more passes.
//! - What retention would drop at once is counted and not written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use twin_core::history::{
    Bucket, DAY_US, HOUR_US, MINUTE_US, Tend, Tended, gather, number, window_start,
};
use twin_core::store::StoreError;

use super::{Head, Level, PackedBlock, Place, SegmentWriter, Step, day_of, expired};
use crate::codec::{Filler, LastingReading, Row, SealedReading, SeriesName};
use crate::surreal::SurrealStore;

/// How long after its end a day of arrival is settled, microseconds: clocks are set back a little.
const GRACE_US: i64 = 10 * MINUTE_US;
/// Most days that are written in one pass.
const MAX_DAYS: usize = 400;
/// Sums by minute are kept of a series where they are at most one for so many readings, and where an
/// earlier part of the day may have some.
const PER_MINUTE: usize = 2;

/// A segment that is filled row by row.
struct Filling<'a, R> {
    filler: Filler<R>,
    writer: SegmentWriter<'a>,
}

impl<'a, R: Row> Filling<'a, R> {
    fn new(writer: SegmentWriter<'a>) -> Self {
        Self {
            filler: Filler::default(),
            writer,
        }
    }

    async fn push(&mut self, series: &SeriesName, row: R) -> Result<(), StoreError> {
        let full = self.filler.push(series, row);
        match full.as_ref().and_then(PackedBlock::of) {
            Some(packed) => self.writer.push(packed).await,
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<Option<(Head, Vec<u8>)>, StoreError> {
        if let Some(packed) = self.filler.finish().as_ref().and_then(PackedBlock::of) {
            self.writer.push(packed).await?;
        }
        self.writer.finish().await
    }
}

/// What is written of one day.
struct Day<'a> {
    /// By class, of classes that have tables of their own; the others share the empty name.
    readings: BTreeMap<Arc<str>, Filling<'a, LastingReading>>,
    minutes: Filling<'a, Bucket>,
    hours: Filling<'a, Bucket>,
    /// Parts of the day that were settled before.
    earlier: Vec<Arc<Head>>,
}

/// What is summed up: a series on a day.
struct Sums {
    series: SeriesName,
    day: i64,
    rows: usize,
    minutes: Vec<Bucket>,
    hours: Vec<Bucket>,
    /// The numbers themselves, where earlier parts have others to be put between them.
    points: Vec<(i64, f64)>,
}

impl Sums {
    fn of(series: &SeriesName, day: i64) -> Self {
        Self {
            series: series.clone(),
            day,
            rows: 0,
            minutes: Vec::new(),
            hours: Vec::new(),
            points: Vec::new(),
        }
    }

    fn add(&mut self, ts: i64, value: f64) {
        self.rows += 1;
        let bucket = Bucket::new(window_start(ts, MINUTE_US), value);
        gather(&mut self.minutes, &bucket, MINUTE_US);
        gather(&mut self.hours, &bucket, HOUR_US);
    }
}

/// Where what is settled goes.
#[derive(Clone, Copy)]
struct Target<'a> {
    store: &'a SurrealStore,
    lane: &'a str,
    part: u64,
    next: u64,
    today: i64,
}

impl<'a> Target<'a> {
    fn filling<R: Row>(
        self,
        level: Level,
        day: i64,
        class: &Arc<str>,
        tier: u64,
    ) -> Filling<'a, R> {
        let place = Place {
            level,
            day,
            part: self.part,
            tier,
        };
        let table = level.table(day, self.today, class);
        Filling::new(SegmentWriter::new(
            self.store, self.lane, place, &table, class, self.next,
        ))
    }
}

/// What one settling has in hand.
struct Settling<'a> {
    to: Target<'a>,
    /// Number of each class that has tables of its own.
    tiers: BTreeMap<Arc<str>, u64>,
    days: BTreeMap<i64, Day<'a>>,
    /// Parts that were there before.
    before: BTreeMap<i64, Vec<Arc<Head>>>,
}

impl<'a> Settling<'a> {
    fn day(&mut self, day: i64) -> &mut Day<'a> {
        let (to, before) = (self.to, &mut self.before);
        self.days.entry(day).or_insert_with(|| Day {
            readings: BTreeMap::new(),
            minutes: to.filling(Level::Minutes, day, &"".into(), 0),
            hours: to.filling(Level::Hours, day, &"".into(), 0),
            earlier: before.remove(&day).unwrap_or_default(),
        })
    }

    async fn reading(
        &mut self,
        series: &SeriesName,
        own: bool,
        day: i64,
        reading: LastingReading,
    ) -> Result<(), StoreError> {
        let class: Arc<str> = if own {
            Arc::clone(&series.class)
        } else {
            "".into()
        };
        let count = self.tiers.len() as u64 + 1;
        let tier = if own {
            *self.tiers.entry(Arc::clone(&class)).or_insert(count)
        } else {
            0
        };
        let to = self.to;
        let readings = &mut self.day(day).readings;
        let filling = readings
            .entry(class)
            .or_insert_with_key(|class| to.filling(Level::Day, day, class, tier));
        filling.push(series, reading).await
    }

    /// Writes the sums of a series on a day.
    async fn sums(&mut self, mut sums: Sums) -> Result<(), StoreError> {
        let Target { store, lane, .. } = self.to;
        let day = self.day(sums.day);
        // What an earlier part says of the series must not be taken for all there is.
        let again = !sums.points.is_empty();
        if again {
            let mut points: BTreeMap<i64, f64> = BTreeMap::new();
            for head in &day.earlier {
                for row in store
                    .rows_of::<LastingReading>(lane, head, &sums.series)
                    .await?
                {
                    match number(&row.value) {
                        Some(value) => points.insert(row.ts, value),
                        None => points.remove(&row.ts),
                    };
                }
            }
            points.extend(sums.points.drain(..));
            (sums.rows, sums.minutes, sums.hours) = (0, Vec::new(), Vec::new());
            for (ts, value) in points {
                sums.add(ts, value);
            }
        }
        for bucket in sums.hours {
            day.hours.push(&sums.series, bucket).await?;
        }
        if again || sums.rows >= PER_MINUTE * sums.minutes.len() {
            for bucket in sums.minutes {
                day.minutes.push(&sums.series, bucket).await?;
            }
        }
        Ok(())
    }

    async fn finish(self) -> Result<Vec<(Head, Vec<u8>)>, StoreError> {
        let mut heads = Vec::new();
        for day in self.days.into_values() {
            for filling in day.readings.into_values() {
                heads.extend(filling.finish().await?);
            }
            heads.extend(day.minutes.finish().await?);
            heads.extend(day.hours.finish().await?);
        }
        Ok(heads)
    }
}

impl SurrealStore {
    /// Settles the days of arrival that are over.
    pub(super) async fn settle(
        &self,
        tend: &Tend<'_>,
        today: i64,
        tended: &mut Tended,
    ) -> Result<(), StoreError> {
        loop {
            let history = self.lane_history(tend.lane).await?;
            let Some(first) = history.of(Level::Recent).next() else {
                return Ok(());
            };
            let day = first.place.day;
            if tend.now < (day + 1).saturating_mul(DAY_US).saturating_add(GRACE_US) {
                return Ok(());
            }
            self.settle_day(tend, day, today, tended).await?;
        }
    }

    async fn settle_day(
        &self,
        tend: &Tend<'_>,
        arrival: i64,
        today: i64,
        tended: &mut Tended,
    ) -> Result<(), StoreError> {
        let history = self.lane_history(tend.lane).await?;
        let recent: Vec<_> = history
            .days(Level::Recent, arrival, arrival)
            .cloned()
            .collect();
        let mut step = Step {
            remove: recent.iter().map(|head| head.place).collect(),
            ..Step::default()
        };
        let days = self.days_of(tend.lane, &recent).await?;
        for days in days.chunks(MAX_DAYS) {
            step.add
                .extend(self.settle_pass(tend, &recent, days, today, tended).await?);
        }
        self.step(tend.lane, tend.epoch, step).await?;
        let tables: BTreeSet<Arc<str>> =
            recent.iter().map(|head| Arc::clone(&head.table)).collect();
        self.drop_unnamed(&tables.into_iter().collect::<Vec<_>>())
            .await?;
        Ok(())
    }

    /// The days that segments speak of, in order; more than there are, where that is few enough.
    async fn days_of(&self, lane: &str, heads: &[Arc<Head>]) -> Result<Vec<i64>, StoreError> {
        let first = heads
            .iter()
            .map(|head| day_of(head.from))
            .min()
            .unwrap_or(0);
        let last = heads.iter().map(|head| day_of(head.to)).max().unwrap_or(-1);
        if last.saturating_sub(first) < MAX_DAYS as i64 {
            return Ok((first..=last).collect());
        }
        let mut days = BTreeSet::new();
        for head in heads {
            for number in 0..head.blocks {
                for block in self.blocks::<SealedReading>(lane, head, &[number]).await? {
                    days.extend(block.rows.iter().map(|row| day_of(row.ts)));
                }
            }
        }
        Ok(days.into_iter().collect())
    }

    /// Writes what recent segments say of some days; days come in order.
    async fn settle_pass(
        &self,
        tend: &Tend<'_>,
        recent: &[Arc<Head>],
        days: &[i64],
        today: i64,
        tended: &mut Tended,
    ) -> Result<Vec<(Head, Vec<u8>)>, StoreError> {
        let (Some(first), Some(last)) = (days.first(), days.last()) else {
            return Ok(Vec::new());
        };
        let retention = self.history.retention();
        let history = self.lane_history(tend.lane).await?;
        let mut before: BTreeMap<i64, Vec<Arc<Head>>> = BTreeMap::new();
        for head in history.days(Level::Day, *first, *last) {
            before
                .entry(head.place.day)
                .or_default()
                .push(Arc::clone(head));
        }
        let mut settling = Settling {
            to: Target {
                store: self,
                lane: tend.lane,
                part: (history.next_part()).max(recent.first().map_or(0, |head| head.place.part)),
                next: recent.last().map_or(0, |head| head.next),
                today,
            },
            tiers: BTreeMap::new(),
            days: BTreeMap::new(),
            before,
        };
        let mut merge = self.merge::<SealedReading>(tend.lane, recent).await?;
        let mut sums: Option<Sums> = None;
        while let Some(reading) = merge.next().await? {
            let day = day_of(reading.ts);
            if day < *first || day > *last {
                continue;
            }
            let series = merge.series();
            if expired(day, today, retention.of(&series.class)) {
                tended.expired += 1;
                continue;
            }
            if sums
                .as_ref()
                .is_none_or(|sums| sums.day != day || sums.series != *series)
            {
                if let Some(done) = sums.take() {
                    settling.sums(done).await?;
                }
                sums = Some(Sums::of(series, day));
            }
            if let (Some(sums), Some(value)) = (&mut sums, number(&reading.value)) {
                sums.add(reading.ts, value);
                if !settling.day(day).earlier.is_empty() {
                    sums.points.push((reading.ts, value));
                }
            }
            let own = retention.has_own(&series.class);
            settling.reading(series, own, day, reading.into()).await?;
            tended.settled += 1;
        }
        if let Some(done) = sums.take() {
            settling.sums(done).await?;
        }
        tended.replaced += merge.replaced();
        settling.finish().await
    }
}
