//! Settling: once a day of arrival is over, its readings go to the days that they speak of.
//!
//! Each day then has its readings for good, and their sums by hour, and by minute where that is
//! fewer. Readings that came late make a further part of an earlier day; sums of a series in a later
//! part are those of the whole day.
//!
//! # Invariants
//! - A day of arrival is settled whole, in one step: its recent segments go as the days' parts come.
//! - Memory is bounded by [`MAX_DAYS`] days and parts of days that are written or read at once, two
//!   blocks each and more for sums; more take more passes.
//! - What retention would drop at once is counted and not written, nor is what comes so late that the
//!   readings of its series and day were dropped already: sums of it alone would hide those kept of all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use twin_core::history::{
    Bucket, DAY_US, HOUR_US, MINUTE_US, Settle, Tended, gather, number, window_start,
};
use twin_core::store::StoreError;

use super::heads::{Head, LaneHistory, Level, Place};
use super::merge::Merge;
use super::query::Wanted;
use super::retire::expired;
use super::writer::{Filling, Target};
use super::{Step, day_of};
use crate::codec::{LastingReading, Row, SERIES_ROWS, SealedReading, SeriesName};
use crate::surreal::SurrealStore;

/// How long after its end a day of arrival is settled, microseconds: clocks are set back a little.
const GRACE_US: i64 = 10 * MINUTE_US;
/// Most days that are written in one pass, each earlier part of one counted as another.
const MAX_DAYS: usize = 400;
/// Sums by minute are kept of a series where they are at most one for so many readings, and where an
/// earlier part of the day may have some.
const PER_MINUTE: usize = 2;

/// What is written of one day.
struct Day<'a> {
    /// By class, of classes that have tables of their own; the others share the empty name.
    readings: BTreeMap<Arc<str>, Filling<'a, LastingReading>>,
    minutes: Filling<'a, Bucket>,
    hours: Filling<'a, Bucket>,
    /// Parts of the day that were settled before, if there are any.
    earlier: Option<Merge<'a, LastingReading>>,
}

/// What is summed up: a series on a day.
struct Sums {
    series: SeriesName,
    day: i64,
    rows: usize,
    minutes: Vec<Bucket>,
    hours: Vec<Bucket>,
    /// The values themselves, where earlier parts have others to be put between them; `None` for one
    /// that is no number.
    points: Vec<(i64, Option<f64>)>,
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

/// What one settling has in hand.
pub(super) struct Settling<'a> {
    to: Target<'a>,
    part: u64,
    next: u64,
    /// Number of each class that has tables of its own.
    tiers: BTreeMap<Arc<str>, u64>,
    days: BTreeMap<i64, Day<'a>>,
    /// Parts that were there before.
    before: BTreeMap<i64, Vec<Arc<Head>>>,
}

/// Begins a segment of a part of a day.
fn filling<'a, R: Row>(
    to: Target<'a>,
    part: u64,
    next: u64,
    (level, day, tier): (Level, i64, u64),
    class: &Arc<str>,
) -> Filling<'a, R> {
    let place = Place {
        level,
        day,
        part,
        tier,
    };
    Filling::new(to.segment(place, class, next))
}

impl<'a> Settling<'a> {
    /// Writes a further part of days; of some there were parts `before`.
    pub(super) fn new(
        to: Target<'a>,
        part: u64,
        next: u64,
        before: BTreeMap<i64, Vec<Arc<Head>>>,
    ) -> Self {
        Self {
            to,
            part,
            next,
            tiers: BTreeMap::new(),
            days: BTreeMap::new(),
            before,
        }
    }

    fn day(&mut self, day: i64) -> &mut Day<'a> {
        let (to, part, next) = (self.to, self.part, self.next);
        let before = &mut self.before;
        self.days.entry(day).or_insert_with(|| Day {
            readings: BTreeMap::new(),
            minutes: filling(to, part, next, (Level::Minutes, day, 0), &"".into()),
            hours: filling(to, part, next, (Level::Hours, day, 0), &"".into()),
            earlier: (before.remove(&day)).map(|heads| to.store.merge(to.lane, &heads)),
        })
    }

    pub(super) async fn reading(
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
        let (to, part, next) = (self.to, self.part, self.next);
        let readings = &mut self.day(day).readings;
        let filling = readings
            .entry(class)
            .or_insert_with_key(|class| filling(to, part, next, (Level::Day, day, tier), class));
        filling.push(series, reading).await
    }

    /// Writes the sums of a series on a day.
    async fn sums(&mut self, mut sums: Sums) -> Result<(), StoreError> {
        let day = self.day(sums.day);
        // What an earlier part says of the series must not be taken for all there is.
        let again = match &mut day.earlier {
            Some(earlier) if !sums.points.is_empty() => {
                let rows = earlier.rows_of(&sums.series).await?;
                let mut points: BTreeMap<i64, Option<f64>> = (rows.into_iter())
                    .map(|(ts, row)| (ts, number(&row.value)))
                    .collect();
                points.extend(sums.points.drain(..));
                (sums.rows, sums.minutes, sums.hours) = (0, Vec::new(), Vec::new());
                for (ts, value) in points {
                    if let Some(value) = value {
                        sums.add(ts, value);
                    }
                }
                true
            }
            _ => false,
        };
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

    pub(super) async fn finish(self) -> Result<Vec<(Head, Vec<u8>)>, StoreError> {
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
    /// Settles the days of arrival that are over, and puts late parts of days together.
    pub(super) async fn settle_days(
        &self,
        settle: &Settle<'_>,
        tended: &mut Tended,
    ) -> Result<(), StoreError> {
        while !settle.stop.load(Ordering::Relaxed) {
            let history = self.lane_history(settle.lane).await?;
            let first = history.of(Level::Recent).next();
            let first = first.map(|head| head.place.day);
            let Some(day) = first.filter(|day| is_over(*day, settle.now)) else {
                return self.compact(settle, tended).await;
            };
            self.settle_day(settle, day, tended).await?;
        }
        Ok(())
    }

    async fn settle_day(
        &self,
        settle: &Settle<'_>,
        arrival: i64,
        tended: &mut Tended,
    ) -> Result<(), StoreError> {
        let history = self.lane_history(settle.lane).await?;
        let mut recent: Vec<_> = history
            .days(Level::Recent, arrival, arrival)
            .cloned()
            .collect();
        recent.sort_by_key(|head| head.place.part);
        let mut step = Step {
            remove: recent.iter().map(|head| head.place).collect(),
            ..Step::default()
        };
        let days = self.days_of(settle.lane, &recent).await?;
        let rows: u64 = recent.iter().map(|head| head.rows).sum();
        let blocks = rows / (days.len().max(1) * SERIES_ROWS) as u64 + 1;
        // Days of one pass share tables, which must not become much larger than a segment.
        let at_once = (self.history.segment_blocks / blocks).max(1);
        let mut done = Tended::default();
        for days in passes(&days, &history, at_once as usize) {
            let written = self.settle_pass(settle, &recent, days).await?;
            let Some((written, pass)) = written else {
                return Ok(()); // Told to stop: what nothing names is not there.
            };
            step.add.extend(written);
            done = Tended {
                settled: done.settled + pass.settled,
                expired: done.expired + pass.expired,
                ..pass
            };
        }
        self.step(settle.lane, settle.epoch, step).await?;
        *tended = tended.and(done);
        // What is being sealed into one of these tables is not named yet.
        let _alone = self.history.recent.lock().await;
        let first = Level::Recent.table(arrival, arrival, "", 0);
        let tables = self.history.tables_from(&first);
        self.drop_unnamed(settle.lane, settle.epoch, tables).await?;
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

    /// Writes what recent segments say of some days; days come in order. What it came to counts all
    /// that was replaced, of other days too. `None` if it was to stop.
    async fn settle_pass(
        &self,
        settle: &Settle<'_>,
        recent: &[Arc<Head>],
        days: &[i64],
    ) -> Result<Option<(Vec<(Head, Vec<u8>)>, Tended)>, StoreError> {
        let mut tended = Tended::default();
        let (Some(first), Some(last)) = (days.first(), days.last()) else {
            return Ok(Some((Vec::new(), tended)));
        };
        let retention = self.history.retention();
        let history = self.lane_history(settle.lane).await?;
        let mut before: BTreeMap<i64, Vec<Arc<Head>>> = BTreeMap::new();
        for head in history.days(Level::Day, *first, *last) {
            before
                .entry(head.place.day)
                .or_default()
                .push(Arc::clone(head));
        }
        let to = Target {
            store: self,
            lane: settle.lane,
            epoch: settle.epoch,
            today: day_of(settle.now),
        };
        let part = (history.next_part()).max(recent.first().map_or(0, |head| head.place.part));
        let next = recent.last().map_or(0, |head| head.next);
        let mut settling = Settling::new(to, part, next, before);
        let mut merge = self.merge::<SealedReading>(settle.lane, recent);
        let mut sums: Option<Sums> = None;
        let mut gone: Option<(SeriesName, i64, bool)> = None;
        while let Some(reading) = merge.next().await? {
            if settle.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let day = day_of(reading.ts);
            if day < *first || day > *last {
                continue;
            }
            let series = merge.series();
            let known = (gone.as_ref()).filter(|(of, on, _)| *on == day && of == series);
            let is_gone = if let Some((.., gone)) = known {
                *gone
            } else {
                let is = expired(day, settle.passed, retention.of(&series.class))
                    || self.was_dropped(settle.lane, &history, series, day).await?;
                gone = Some((series.clone(), day, is));
                is
            };
            if is_gone {
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
            if let Some(sums) = &mut sums {
                let value = number(&reading.value);
                if let Some(value) = value {
                    sums.add(reading.ts, value);
                }
                if settling.day(day).earlier.is_some() {
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
        tended.replaced = merge.replaced();
        Ok(Some((settling.finish().await?, tended)))
    }

    /// Whether retention dropped the readings of a series on a day, as far as kept sums tell.
    async fn was_dropped(
        &self,
        lane: &str,
        history: &LaneHistory,
        series: &SeriesName,
        day: i64,
    ) -> Result<bool, StoreError> {
        if history.days(Level::Hours, day, day).next().is_none() {
            return Ok(false);
        }
        let start = day.saturating_mul(DAY_US);
        let wanted = Wanted {
            twin: &series.twin,
            telemetry: &series.telemetry,
            life: Some(series.life),
            ts: start..start.saturating_add(DAY_US),
            before: u64::MAX,
        };
        let none = history.days(Level::Day, day, day).next().is_none();
        match self.check_dropped(lane, history, day, none, &wanted).await {
            Ok(()) => Ok(false),
            Err(StoreError::Coarse { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Whether a day of arrival is over, so that it is settled and nothing else.
pub(super) fn is_over(day: i64, now: i64) -> bool {
    now >= (day.saturating_add(1))
        .saturating_mul(DAY_US)
        .saturating_add(GRACE_US)
}

/// Days in order, cut into what is settled in one pass, at most so many days.
fn passes<'a>(mut days: &'a [i64], history: &LaneHistory, at_once: usize) -> Vec<&'a [i64]> {
    let mut passes = Vec::new();
    while !days.is_empty() {
        let (mut weight, mut count) = (0, 0);
        while let Some(day) = days.get(count) {
            weight += 1 + history.days(Level::Day, *day, *day).count();
            if count > 0 && (weight > MAX_DAYS || count >= at_once) {
                break;
            }
            count += 1;
        }
        let (pass, rest) = days.split_at(count);
        passes.push(pass);
        days = rest;
    }
    passes
}
