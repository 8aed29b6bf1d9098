//! What is asked of a year, and what the answer must be.
//!
//! # Invariants
//! - Every source is asked the same questions, in the same order.
//! - Every answer is checked against the fleet: times and values of a day exactly, means within
//!   rounding. Checking is not in the time of an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use twin_core::history::{HOUR_US, MINUTE_US, window_start};

use super::super::synthetic::Random;
use super::Place;
use super::fleet::{Fleet, MINUTES_A_DAY, START};
use crate::failure::Failure;

const SEED: u64 = 12;
/// Days of one series that are asked for.
const DAYS: usize = 1_000;
/// Months that are asked for, and the series of each.
const MONTHS: usize = 20;
pub(super) const SERIES: usize = 100;
/// Most days of a month.
const MONTH: u32 = 30;
/// How often the newest are asked for.
const NEWEST: usize = 100;
/// Largest error of a mean, as a share of it or of one.
const ROUNDING: f64 = 1e-9;

/// A series on a day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Day {
    pub(super) device: u32,
    pub(super) day: u32,
}

/// Some series over some days.
#[derive(Debug)]
pub(super) struct Month {
    pub(super) devices: Vec<u32>,
    pub(super) first: u32,
    pub(super) days: u32,
}

/// Times in milliseconds since 1970, and values.
pub(super) type Points = Vec<(i64, f64)>;
/// The mean of each hour by device and by its beginning, milliseconds since 1970.
pub(super) type Hours = BTreeMap<(u32, i64), f64>;
/// The mean of the newest values by cell.
pub(super) type Cells = BTreeMap<String, f64>;

/// Somebody who knows the year. Answers say how long they took.
pub(super) trait Source {
    async fn day(&self, asked: Day) -> Result<(Duration, Points), Failure>;
    async fn month(&self, asked: &Month) -> Result<(Duration, Hours), Failure>;
    async fn newest(&self) -> Result<(Duration, Cells), Failure>;
}

/// How long answers took, in seconds.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) day_p50: f64,
    pub(super) day_p99: f64,
    pub(super) month: f64,
    pub(super) newest: f64,
}

/// All questions, with what is true.
pub(super) struct Questions<'a> {
    fleet: &'a Fleet,
    days: Vec<Day>,
    months: Vec<Month>,
    newest: Cells,
}

impl<'a> Questions<'a> {
    pub(super) fn new(fleet: &'a Fleet, places: &[Place], days: u32) -> Self {
        let mut random = Random::new(SEED);
        let devices = fleet.len() as u64;
        let day = |_| Day {
            device: random.below(devices) as u32,
            day: random.below(days.into()) as u32,
        };
        let asked_days = (0..DAYS).map(day).collect();
        let month = |_| {
            let long = MONTH.min(days);
            let first = random.below(u64::from(days - long) + 1) as u32;
            let from = random.below(devices);
            // Neighbours and others: as many as there are, none twice.
            let step = (devices / SERIES as u64).max(1);
            let count = SERIES.min(devices as usize) as u64;
            let mut devices: Vec<u32> = (0..count)
                .map(|number| ((from + number * step) % devices) as u32)
                .collect();
            devices.sort_unstable();
            Month {
                devices,
                first,
                days: long,
            }
        };
        let months = (0..MONTHS).map(month).collect();
        Self {
            fleet,
            days: asked_days,
            months,
            newest: newest(fleet, places, days),
        }
    }

    /// How many cells there are.
    pub(super) fn cells(&self) -> usize {
        self.newest.len()
    }

    /// Asks all of them.
    pub(super) async fn ask(&self, source: &impl Source) -> Result<Answers, Failure> {
        let mut days = Vec::with_capacity(DAYS);
        for asked in &self.days {
            let (took, found) = source.day(*asked).await?;
            days.push(took.as_secs_f64());
            self.check_day(*asked, &found)?;
        }
        let mut months = Vec::with_capacity(MONTHS);
        for asked in &self.months {
            let (took, found) = source.month(asked).await?;
            months.push(took.as_secs_f64());
            self.check_month(asked, &found)?;
        }
        let mut newest = Vec::with_capacity(NEWEST);
        for _ in 0..NEWEST {
            let (took, found) = source.newest().await?;
            newest.push(took.as_secs_f64());
            same("cell", &self.newest, &found)?;
        }
        Ok(Answers {
            day_p50: quantile(&mut days, 0.5),
            day_p99: quantile(&mut days, 0.99),
            month: quantile(&mut months, 0.5),
            newest: quantile(&mut newest, 0.5),
        })
    }

    fn check_day(&self, asked: Day, found: &Points) -> Result<(), Failure> {
        let from = asked.day * MINUTES_A_DAY;
        let samples = self
            .fleet
            .of_device(asked.device, from..from + MINUTES_A_DAY);
        let wanted: Points = samples
            .map(|sample| (sample.ts_ms, self.fleet.value(sample)))
            .collect();
        if wanted == *found {
            return Ok(());
        }
        let differs = (0..wanted.len().max(found.len())).find(|i| wanted.get(*i) != found.get(*i));
        let at = differs.unwrap_or(0);
        Err(Failure::failed(format!(
            "{asked:?} has {} readings and {} were answered; number {at} is {:?} and {:?} was answered",
            wanted.len(),
            found.len(),
            wanted.get(at),
            found.get(at),
        )))
    }

    fn check_month(&self, asked: &Month, found: &Hours) -> Result<(), Failure> {
        let from = asked.first * MINUTES_A_DAY;
        let minutes = from..from + asked.days * MINUTES_A_DAY;
        let mut sums: BTreeMap<(u32, i64), (u32, f64)> = BTreeMap::new();
        for device in &asked.devices {
            for sample in self.fleet.of_device(*device, minutes.clone()) {
                let hour = window_start(sample.ts_ms, HOUR_US / 1_000);
                let (count, sum) = sums.entry((*device, hour)).or_default();
                *count += 1;
                *sum += self.fleet.value(sample);
            }
        }
        let means = sums.into_iter();
        let means = means.map(|(hour, (count, sum))| (hour, sum / f64::from(count)));
        same("hour", &means.collect(), found)
    }
}

/// The mean of the last values of each cell's devices.
fn newest(fleet: &Fleet, places: &[Place], days: u32) -> Cells {
    let mut sums: BTreeMap<String, (u32, f64)> = BTreeMap::new();
    for (place, device) in places.iter().zip(0..) {
        let mut minutes = (0..days * MINUTES_A_DAY).rev();
        let last = minutes.find_map(|minute| fleet.of_device(device, minute..minute + 1).next());
        if let Some(last) = last {
            let (count, sum) = sums.entry(place.cell.to_string()).or_default();
            *count += 1;
            *sum += fleet.value(last);
        }
    }
    let mean = |(cell, (count, sum)): (String, (u32, f64))| (cell, sum / f64::from(count));
    sums.into_iter().map(mean).collect()
}

fn same<K: Ord + std::fmt::Debug>(
    what: &str,
    wanted: &BTreeMap<K, f64>,
    found: &BTreeMap<K, f64>,
) -> Result<(), Failure> {
    let near = |a: f64, b: f64| (a - b).abs() <= ROUNDING * a.abs().max(1.0);
    let keys = wanted.keys().chain(found.keys());
    let mut differing = keys.filter(|key| match (wanted.get(key), found.get(key)) {
        (Some(wanted), Some(found)) => !near(*wanted, *found),
        _ => true,
    });
    match differing.next() {
        None => Ok(()),
        Some(key) => Err(Failure::failed(format!(
            "the mean of {what} {key:?} is {:?}, and {:?} was answered ({} and {} in all)",
            wanted.get(key),
            found.get(key),
            wanted.len(),
            found.len(),
        ))),
    }
}

/// Where the minutes of some days begin and end, microseconds since 1970.
pub(super) fn span(first: u32, days: u32) -> std::ops::Range<i64> {
    let at = |day: u32| START + i64::from(day * MINUTES_A_DAY) * MINUTE_US;
    at(first)..at(first + days)
}

fn quantile(times: &mut [f64], share: f64) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    let rank = (times.len() as f64 * share).ceil() as usize;
    times.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::{fleet, place};
    use super::*;

    /// Answers from the fleet itself, or with one value moved.
    struct Fake<'a> {
        questions: &'a Questions<'a>,
        off: f64,
    }

    impl Source for Fake<'_> {
        async fn day(&self, asked: Day) -> Result<(Duration, Points), Failure> {
            let from = asked.day * MINUTES_A_DAY;
            let fleet = self.questions.fleet;
            let samples = fleet.of_device(asked.device, from..from + MINUTES_A_DAY);
            let points = samples.map(|sample| (sample.ts_ms, fleet.value(sample)));
            Ok((Duration::from_millis(1), points.collect()))
        }

        async fn month(&self, asked: &Month) -> Result<(Duration, Hours), Failure> {
            let mut hours: BTreeMap<(u32, i64), Vec<f64>> = BTreeMap::new();
            for device in &asked.devices {
                for day in asked.first..asked.first + asked.days {
                    let day = Day {
                        device: *device,
                        day,
                    };
                    for (ts, value) in self.day(day).await?.1 {
                        let hour = ts - ts % 3_600_000;
                        hours.entry((*device, hour)).or_default().push(value);
                    }
                }
            }
            let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
            let hours = hours.into_iter().map(|(hour, values)| (hour, mean(values)));
            Ok((Duration::from_millis(2), hours.collect()))
        }

        async fn newest(&self) -> Result<(Duration, Cells), Failure> {
            let mut cells = self.questions.newest.clone();
            for value in cells.values_mut() {
                *value += self.off;
            }
            Ok((Duration::from_millis(3), cells))
        }
    }

    #[tokio::test]
    async fn right_answers_pass_and_a_wrong_one_does_not() {
        let fleet = fleet::small(5);
        let places: Vec<_> = (0..5).map(|number| place(number).unwrap()).collect();
        let questions = Questions::new(&fleet, &places, 3);
        let source = |off| Fake {
            questions: &questions,
            off,
        };
        let answers = questions.ask(&source(0.0)).await.unwrap();
        assert_eq!((answers.day_p50, answers.month), (0.001, 0.002));
        assert!(questions.ask(&source(0.1)).await.is_err());
        let asked = Day { device: 1, day: 1 };
        let (_, mut points) = source(0.0).day(asked).await.unwrap();
        points.pop();
        assert!(questions.check_day(asked, &points).is_err());
    }

    #[test]
    fn a_month_names_no_series_twice() {
        for devices in [1, 7, 100, 250] {
            let fleet = fleet::small(devices);
            let questions = Questions::new(&fleet, &[], 40);
            for month in &questions.months {
                let mut seen = month.devices.clone();
                seen.dedup();
                assert_eq!(seen.len(), devices.min(100) as usize);
                assert!(month.first + month.days <= 40);
            }
        }
    }
}
