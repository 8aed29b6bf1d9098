//! Reading history back: one series, as it came or summed up.
//!
//! # Invariants
//! - Of readings of one time the one written last counts, wherever it stands: the journal's end
//!   before recent segments, those before days, and later parts of a day before earlier ones.
//! - Sums that were kept are used only where nothing was written since they were made and the windows
//!   asked for are made of whole ones; else they are made from the readings.
//! - Where retention dropped readings that are asked for, that is said, as far as sums of them tell.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use ontology::Schema;
use twin_core::history::{Bucket, DAY_US, HOUR_US, MINUTE_US, gather, number, window_start};
use twin_core::store::{PastReading, Series, StoreError};

use super::day_of;
use super::heads::{Head, LaneHistory, Level, Place};
use crate::codec::{Block, LastingReading, Row, SealedReading};
use crate::surreal::SurrealStore;

/// Times that a question is asked again because segments were merged while it was answered.
const RETRIES: usize = 3;

/// Blocks of a segment that are in memory at once, beside the rows that are wanted of them.
const BLOCKS_AT_ONCE: usize = 16;

/// Days whose sums are read together.
const DAYS_AT_ONCE: i64 = 64;

/// Which rows of segments.
pub(super) struct Wanted<'a> {
    pub(super) twin: &'a str,
    pub(super) telemetry: &'a str,
    /// The life of the twin; `None`: whichever, since it ended after the instant asked for.
    pub(super) life: Option<u64>,
    pub(super) ts: Range<i64>,
    pub(super) before: u64,
}

impl<'a> Wanted<'a> {
    /// Those of a block.
    fn rows<'b, R: Row + Clone>(&'b self, block: &'b Block<R>) -> impl Iterator<Item = R> + 'b {
        let runs = block.series().filter(|(series, _)| {
            *series.twin == *self.twin
                && *series.telemetry == *self.telemetry
                && self.life.is_none_or(|life| series.life == life)
        });
        let rows = runs.flat_map(|(_, rows)| rows);
        rows.filter(|row| self.ts.contains(&row.ts())).cloned()
    }

    fn of(series: &'a Series<'_>, born: u64) -> Self {
        Self {
            twin: series.twin.as_str(),
            telemetry: series.telemetry,
            // At `before` itself it was born at this instant, and nothing was read of it yet.
            life: (born <= series.before).then_some(born),
            ts: series.ts.clone(),
            before: series.before,
        }
    }
}

impl From<SealedReading> for PastReading {
    fn from(reading: SealedReading) -> Self {
        Self {
            ts: reading.ts,
            arrived: reading.arrived,
            offset: Some(reading.offset),
            value: reading.value,
        }
    }
}

impl From<LastingReading> for PastReading {
    fn from(reading: LastingReading) -> Self {
        Self {
            ts: reading.ts,
            arrived: reading.arrived(),
            offset: None,
            value: reading.value,
        }
    }
}

/// The oldest readings that were found, at most so many, one of a time, in order.
struct Found {
    readings: Vec<PastReading>,
    limit: usize,
}

impl Found {
    fn new(limit: usize) -> Self {
        Self {
            readings: Vec::new(),
            limit,
        }
    }

    /// Takes readings in that count less than those of their time that were found before; of several
    /// of one time the first counts.
    fn older(&mut self, rows: Vec<impl Row + Into<PastReading>>) {
        let mut rows: Vec<PastReading> = rows.into_iter().map(Into::into).collect();
        // Rows of one series are in order; several lives of a twin, or classes, are not.
        if !rows.is_sorted_by(|a, b| a.ts < b.ts) {
            rows.sort_by_key(|row| row.ts);
            rows.dedup_by_key(|row| row.ts);
        }
        let follows = match (self.readings.last(), rows.first()) {
            (Some(last), Some(first)) => last.ts < first.ts,
            _ => true,
        };
        self.readings.append(&mut rows);
        if !follows {
            // Stable, so those found before stand first.
            self.readings.sort_by_key(|reading| reading.ts);
            self.readings.dedup_by_key(|reading| reading.ts);
        }
        // Only the oldest count, so what falls out could not come back later.
        self.readings.truncate(self.limit);
    }

    /// Whether nothing at or after a time can be among them any more.
    fn is_full_before(&self, ts: i64) -> bool {
        self.readings.len() >= self.limit && self.readings.last().is_some_and(|last| last.ts < ts)
    }
}

impl SurrealStore {
    pub(crate) async fn raw_readings(
        &self,
        series: &Series<'_>,
    ) -> Result<Vec<PastReading>, StoreError> {
        if series.ts.is_empty() || series.limit == 0 {
            return Ok(Vec::new());
        }
        let mut tries = 0;
        loop {
            match self.find_readings(series).await {
                Err(StoreError::Damaged(_) | StoreError::Refused(_)) if tries < RETRIES => {
                    tries += 1;
                }
                Ok(found) => return Ok(found.readings),
                Err(error) => return Err(error),
            }
        }
    }

    async fn find_readings(&self, series: &Series<'_>) -> Result<Found, StoreError> {
        let mut found = Found::new(series.limit);
        for lane in &*self.lane_names().await? {
            let history = self.lane_history(lane).await?;
            let born = self.born(lane, series.twin).await?;
            let wanted = Wanted::of(series, born);
            self.find_young(lane, &history, series, &wanted, &mut found)
                .await?;
            let (first, last) = (day_of(series.ts.start), day_of(series.ts.end - 1));
            let mut days: BTreeMap<i64, Vec<&Arc<Head>>> = BTreeMap::new();
            for head in history.days(Level::Day, first, last) {
                days.entry(head.place.day).or_default().push(head);
            }
            // Days that have sums and no readings.
            for head in history.days(Level::Hours, first, last) {
                days.entry(head.place.day).or_default();
            }
            for (day, parts) in days {
                if found.is_full_before(day.saturating_mul(DAY_US)) {
                    break;
                }
                let mut settled = false;
                for head in parts.iter().rev() {
                    let rows = self.wanted::<LastingReading>(lane, head, &wanted).await?;
                    settled |= !rows.is_empty();
                    found.older(rows);
                }
                if !settled && series.ts.start > i64::MIN {
                    let none = parts.is_empty();
                    self.check_dropped(lane, &history, day, none, &wanted)
                        .await?;
                }
            }
        }
        Ok(found)
    }

    /// What was not settled yet: the end of the journal, and recent segments.
    async fn find_young(
        &self,
        lane: &str,
        history: &LaneHistory,
        series: &Series<'_>,
        wanted: &Wanted<'_>,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let mut unsealed = self.unsealed(lane, history.sealed, series, wanted).await?;
        // What was written last counts, so it comes first.
        unsealed.reverse();
        found.older(unsealed);
        let mut recent: Vec<_> = history.of(Level::Recent).collect();
        recent.sort_by_key(|head| head.place.part);
        for head in recent.into_iter().rev() {
            let mut rows = self.wanted::<SealedReading>(lane, head, wanted).await?;
            rows.retain(|row| row.offset < wanted.before);
            found.older(rows);
        }
        Ok(())
    }

    /// The rows of a segment that are wanted.
    async fn wanted<R: Row + Clone>(
        &self,
        lane: &str,
        head: &Arc<Head>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<R>, StoreError> {
        let mut rows = self.wanted_of(lane, &[head], wanted).await?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// The rows of some segments that are wanted, for each segment.
    async fn wanted_of<R: Row + Clone>(
        &self,
        lane: &str,
        heads: &[&Arc<Head>],
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Vec<R>>, StoreError> {
        let blocks = self.blocks_that_hold(lane, heads, wanted).await?;
        let mut rows: Vec<Vec<R>> = heads.iter().map(|_| Vec::new()).collect();
        for some in blocks.chunks(BLOCKS_AT_ONCE) {
            let ids: Vec<(&Head, u64)> = (some.iter())
                .map(|(of, number)| (&**heads[*of], *number))
                .collect();
            let read = self.blocks_of::<R>(lane, &ids).await?;
            for ((of, _), block) in some.iter().zip(&read) {
                rows[*of].extend(wanted.rows(block));
            }
        }
        Ok(rows)
    }

    /// Blocks of some segments that may hold what is wanted: which segment, and the block's number.
    async fn blocks_that_hold(
        &self,
        lane: &str,
        heads: &[&Arc<Head>],
        wanted: &Wanted<'_>,
    ) -> Result<Vec<(usize, u64)>, StoreError> {
        let Range { start, end } = wanted.ts;
        let mut blocks: Vec<(usize, u64)> = Vec::new();
        for (of, head) in heads.iter().enumerate() {
            if head.to < start || head.from >= end {
                continue;
            }
            let index = self.index(lane, head).await?;
            let numbers = index.iter().zip(0_u64..).filter(|(entry, _)| {
                let holds = entry.may_hold(wanted.twin, wanted.telemetry);
                holds && entry.to >= start && entry.from < end
            });
            blocks.extend(numbers.map(|(_, number)| (of, number)));
        }
        Ok(blocks)
    }

    pub(crate) async fn summed(
        &self,
        series: &Series<'_>,
        every: i64,
    ) -> Result<Vec<Bucket>, StoreError> {
        if series.ts.is_empty() || series.limit == 0 {
            return Ok(Vec::new());
        }
        let mut tries = 0;
        loop {
            match self.sum_up(series, every).await {
                Err(StoreError::Damaged(_) | StoreError::Refused(_)) if tries < RETRIES => {
                    tries += 1;
                }
                summed => return summed,
            }
        }
    }

    async fn sum_up(&self, series: &Series<'_>, every: i64) -> Result<Vec<Bucket>, StoreError> {
        let mut buckets = Vec::new();
        // One lane a realm is written so far; several would have to be merged by time.
        for lane in &*self.lane_names().await? {
            let history = self.lane_history(lane).await?;
            let born = self.born(lane, series.twin).await?;
            let wanted = Wanted::of(series, born);
            let mut young = Found::new(usize::MAX);
            self.find_young(lane, &history, series, &wanted, &mut young)
                .await?;
            let (first, last) = (day_of(series.ts.start), day_of(series.ts.end - 1));
            let mut days: BTreeSet<i64> = young
                .readings
                .iter()
                .map(|found| day_of(found.ts))
                .collect();
            let written: BTreeSet<i64> = days.clone();
            for level in [Level::Day, Level::Minutes, Level::Hours] {
                days.extend(history.days(level, first, last).map(|head| head.place.day));
            }
            let mut sums: BTreeMap<i64, Vec<Bucket>> = BTreeMap::new();
            let mut ahead = i64::MIN;
            for day in days {
                if buckets.len() > series.limit {
                    break;
                }
                if day >= ahead {
                    ahead = day.saturating_add(DAYS_AT_ONCE);
                    let whole = |level: Level| {
                        (history.days(level, day, last.min(ahead - 1)))
                            .filter(|head| {
                                let day = head.place.day;
                                !written.contains(&day)
                                    && level_for(every, &series.ts, day) == Some(level)
                            })
                            .collect::<Vec<_>>()
                    };
                    for level in [Level::Minutes, Level::Hours] {
                        sums.extend(self.sums_of(lane, &whole(level), &wanted).await?);
                    }
                }
                let kept = sums.remove(&day).unwrap_or_default();
                if !kept.is_empty() {
                    for sum in &kept {
                        gather(&mut buckets, sum, every);
                    }
                    continue;
                }
                let points = self.points(lane, &history, day, &wanted).await?;
                let cut = level_for(HOUR_US, &series.ts, day).is_none();
                if points.is_empty() && (series.ts.start > i64::MIN || cut) {
                    let dropped = self
                        .check_dropped(lane, &history, day, false, &wanted)
                        .await;
                    // What came so late is not kept either, once the day of its arrival is over.
                    let kept = match level_for(every, &series.ts, day) {
                        Some(level) if dropped.is_err() => {
                            self.kept_sums(lane, &history, level, day, &wanted).await?
                        }
                        _ => Vec::new(),
                    };
                    if kept.is_empty() {
                        dropped?;
                    } else {
                        for sum in &kept {
                            gather(&mut buckets, sum, every);
                        }
                        continue;
                    }
                }
                for (ts, value) in with_young(points, day, &young) {
                    let bucket = Bucket::new(window_start(ts, every), value);
                    gather(&mut buckets, &bucket, every);
                }
            }
        }
        buckets.truncate(series.limit);
        Ok(buckets)
    }

    /// The sums that were kept of a series on a day.
    async fn kept_sums(
        &self,
        lane: &str,
        history: &LaneHistory,
        level: Level,
        day: i64,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Bucket>, StoreError> {
        let heads: Vec<_> = history.days(level, day, day).collect();
        let mut sums = self.sums_of(lane, &heads, wanted).await?;
        Ok(sums.remove(&day).unwrap_or_default())
    }

    /// The sums of a series in segments, which come in order, by day: of each day those of the latest
    /// part that has any, which may stand in several segments.
    async fn sums_of(
        &self,
        lane: &str,
        heads: &[&Arc<Head>],
        wanted: &Wanted<'_>,
    ) -> Result<BTreeMap<i64, Vec<Bucket>>, StoreError> {
        let mut found: BTreeMap<i64, (u64, Vec<Bucket>)> = BTreeMap::new();
        let blocks = self.blocks_that_hold(lane, heads, wanted).await?;
        for some in blocks.chunks(BLOCKS_AT_ONCE) {
            let ids: Vec<(&Head, u64)> = (some.iter())
                .map(|(of, number)| (&**heads[*of], *number))
                .collect();
            for ((head, _), block) in ids.iter().zip(self.sum_blocks(lane, &ids).await?) {
                let mut sums = wanted.rows(&block).peekable();
                if sums.peek().is_none() {
                    continue;
                }
                let Place { day, part, .. } = head.place;
                let (of, known) = found.entry(day).or_default();
                if *of != part {
                    (*of, *known) = (part, Vec::new());
                }
                known.extend(sums);
            }
        }
        Ok(found
            .into_iter()
            .map(|(day, (_, sums))| (day, sums))
            .collect())
    }

    /// Blocks of sums, of those asked for before from memory: each holds many series, and whoever asks
    /// for one often asks for its neighbours.
    async fn sum_blocks(
        &self,
        lane: &str,
        wanted: &[(&Head, u64)],
    ) -> Result<Vec<Arc<Block<Bucket>>>, StoreError> {
        let key = |(head, number): &(&Head, u64)| (Arc::from(lane), head.place, *number);
        let mut blocks: Vec<_> = (wanted.iter())
            .map(|block| self.history.sums(&key(block)))
            .collect();
        let known = blocks.iter().zip(wanted);
        let missing: Vec<_> = known
            .filter(|(known, _)| known.is_none())
            .map(|(_, block)| *block)
            .collect();
        let mut read = self.blocks_of(lane, &missing).await?.into_iter();
        for (known, block) in blocks.iter_mut().zip(wanted) {
            if known.is_none() {
                *known = read.next().map(Arc::new);
                if let Some(read) = known {
                    self.history.remember_sums(key(block), read);
                }
            }
        }
        Ok(blocks.into_iter().flatten().collect())
    }

    /// The values of a series on a day that were settled, by time; `None` for what is no number.
    async fn points(
        &self,
        lane: &str,
        history: &LaneHistory,
        day: i64,
        wanted: &Wanted<'_>,
    ) -> Result<BTreeMap<i64, Option<f64>>, StoreError> {
        let mut points = BTreeMap::new();
        for head in history.days(Level::Day, day, day) {
            for row in self.wanted::<LastingReading>(lane, head, wanted).await? {
                points.insert(row.ts, number(&row.value));
            }
        }
        Ok(points)
    }

    /// Makes sure that where no reading of a series is found on a day there was none, as far as that
    /// is known: sums stay longer. Of what is no number there are no sums; of that nothing is known
    /// where the day has no readings of any series, `none`, but sums of some.
    pub(super) async fn check_dropped(
        &self,
        lane: &str,
        history: &LaneHistory,
        day: i64,
        none: bool,
        wanted: &Wanted<'_>,
    ) -> Result<(), StoreError> {
        let at = |ts| Wanted {
            ts,
            twin: wanted.twin,
            telemetry: wanted.telemetry,
            life: wanted.life,
            before: wanted.before,
        };
        // A day is dropped whole, so one that has any was not; the sums of hours that the question cuts
        // may be of readings outside it.
        let start = day.saturating_mul(DAY_US);
        let whole = at(start..start.saturating_add(DAY_US));
        for head in history.days(Level::Day, day, day) {
            let rows = self.wanted::<LastingReading>(lane, head, &whole).await?;
            if !rows.is_empty() {
                return Ok(());
            }
        }
        let around = at(window_start(wanted.ts.start, HOUR_US)..wanted.ts.end);
        let (hours, minutes) = (Level::Hours, Level::Minutes);
        let sums = self.kept_sums(lane, history, hours, day, &around).await?;
        if sums.is_empty() && !(none && self.is_never_summed(wanted.telemetry)) {
            return Ok(());
        }
        let minutes = self.kept_sums(lane, history, minutes, day, &around).await?;
        let later = at(i64::MIN..i64::MAX);
        let mut since = None;
        for head in history.days(Level::Day, day.saturating_add(1), i64::MAX) {
            let found = self.wanted::<LastingReading>(lane, head, &later).await?;
            if !found.is_empty() {
                since = Some(head.place.day.saturating_mul(DAY_US));
                break;
            }
        }
        Err(StoreError::Coarse {
            from: start,
            every: if minutes.is_empty() {
                HOUR_US
            } else {
                MINUTE_US
            },
            since,
        })
    }

    /// Whether no class has a telemetry of that name whose values are numbers.
    fn is_never_summed(&self, telemetry: &str) -> bool {
        let classes = self.ontology.classes().iter();
        let mut named = classes.filter_map(|class| {
            let index = class.telemetry_index(telemetry)?;
            Some(&class.telemetry[index].schema)
        });
        !named.any(|schema| {
            matches!(
                schema,
                Schema::Boolean | Schema::Integer { .. } | Schema::Long | Schema::Double
            )
        })
    }
}

/// The numbers among settled values of a day and those that were not settled yet, by time.
fn with_young(
    mut points: BTreeMap<i64, Option<f64>>,
    day: i64,
    young: &Found,
) -> impl Iterator<Item = (i64, f64)> {
    let start = day.saturating_mul(DAY_US);
    let end = start.saturating_add(DAY_US);
    let first = young.readings.partition_point(|found| found.ts < start);
    let young = young.readings[first..].iter();
    let young = young.take_while(|found| found.ts < end);
    points.extend(young.map(|found| (found.ts, number(&found.value))));
    points.into_iter().filter_map(|(ts, n)| Some((ts, n?)))
}

/// The level whose sums windows of a length are made of, if a range cuts none of a day apart.
fn level_for(every: i64, ts: &Range<i64>, day: i64) -> Option<Level> {
    let (level, length) = match every {
        every if every % HOUR_US == 0 => (Level::Hours, HOUR_US),
        every if every % MINUTE_US == 0 => (Level::Minutes, MINUTE_US),
        _ => return None,
    };
    let start = day.saturating_mul(DAY_US);
    let end = start.saturating_add(DAY_US);
    let whole = |at: i64| at <= start || at >= end || window_start(at, length) == at;
    (whole(ts.start) && whole(ts.end)).then_some(level)
}
