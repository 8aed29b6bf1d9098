//! A fleet of sensors that measure every minute, after real hourly series: the same readings in
//! every run.
//!
//! # Invariants
//! - A reading follows from the seed, its device and its minute alone, so any of them can be made
//!   again to check an answer.
//! - A device measures at most once a minute, within that minute, so its readings are in the order
//!   of their times.
//! - A value is a whole number of the sensor's steps: what is printed with the sensor's decimals
//!   parses to the same number.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use gis_import::formats::{Cell, Format, Item, Reader, Wanted};
use twin_core::history::{DAY_US, MINUTE_US};

use super::super::synthetic::Random;
use crate::failure::Failure;

/// Air in Kigali, hourly.
const AIR_FILE: &str = "rwanda/air_kigali_pm25_hourly.csv.gz";
const AIR_COLUMN: &str = "Raw Conc.";
/// Tanks, pumps and pipes of a water network, hourly.
const WATER_FILE: &str = "world/telemetry/batadal_training_2014_2016_labelled.csv.gz";
/// The first minute of a fleet: 2023-01-01T00:00Z.
pub(super) const START: i64 = 1_672_531_200_000_000;
pub(super) const MINUTES_A_DAY: u32 = 24 * 60;
const MINUTE_MS: i64 = MINUTE_US / 1_000;
/// Most minutes that a device is silent in one gap.
const GAP_MINUTES: u64 = 480;
/// One day in so many has a gap.
const GAP_DAYS: u64 = 25;
/// One reading in so many is missing by itself.
const MISSING: u64 = 500;
/// Minutes over which a value wanders off its hourly course and back.
const WANDER: u32 = 10;
/// Jitter of the clocks that have one, to either side.
const JITTER_MS: u64 = 2_000;

/// What a sensor measures, and how well.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kind {
    /// Columns whose name begins so.
    prefix: &'static str,
    decimals: u8,
    /// Noise as a share of the value, and beside it in the value's unit.
    relative: f64,
    absolute: f64,
}

const AIR: Kind = Kind {
    prefix: AIR_COLUMN,
    decimals: 1,
    relative: 0.03,
    absolute: 0.2,
};
/// Level of a tank (m), flow (l/s), pressure (m), and whether a pump runs.
const WATER: [Kind; 4] = [
    Kind {
        prefix: "L_",
        decimals: 2,
        relative: 0.0,
        absolute: 0.01,
    },
    Kind {
        prefix: "F_",
        decimals: 1,
        relative: 0.005,
        absolute: 0.0,
    },
    Kind {
        prefix: "P_",
        decimals: 1,
        relative: 0.0,
        absolute: 0.1,
    },
    Kind {
        prefix: "S_",
        decimals: 0,
        relative: 0.0,
        absolute: 0.0,
    },
];

/// A real series by the hour.
#[derive(Debug, Clone)]
struct Course {
    kind: Kind,
    hours: Arc<[f64]>,
}

/// A device of the fleet.
#[derive(Debug)]
struct Device {
    course: Course,
    /// Hour of the course that the first one is.
    phase: usize,
    factor: f64,
    /// Steps of the sensor in one unit.
    scale: f64,
    /// Milliseconds of the minute at which it measures, and whether these wobble.
    at_ms: i64,
    jitters: bool,
}

/// A reading of a device: its time in milliseconds since 1970, and the sensor's steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) device: u32,
    pub(super) ts_ms: i64,
    pub(super) steps: i32,
}

/// All devices.
#[derive(Debug)]
pub(super) struct Fleet {
    seed: u64,
    devices: Vec<Device>,
}

impl Fleet {
    /// A fleet after the series of a data folder.
    pub(super) fn load(data: &Path, devices: u32, seed: u64) -> Result<Self, Failure> {
        let air = courses(&data.join(AIR_FILE), &[AIR])?;
        let water = courses(&data.join(WATER_FILE), &WATER)?;
        Self::of(&air, &water, devices, seed)
    }

    fn of(air: &[Course], water: &[Course], devices: u32, seed: u64) -> Result<Self, Failure> {
        // A quarter each: air, levels, flows, pressures; every twentieth device tells of a pump.
        let kinds = [&[AIR][..], &WATER[..]].concat();
        let by_kind: Vec<Vec<&Course>> = kinds
            .iter()
            .map(|kind| {
                let all = air.iter().chain(water);
                all.filter(|course| course.kind == *kind).collect()
            })
            .collect();
        if let Some(place) = by_kind.iter().position(Vec::is_empty) {
            return Err(Failure::failed(format!(
                "no series of the data folder moves whose name begins with `{}`",
                kinds[place].prefix
            )));
        }
        let device = |number: u32| {
            let mut random = Random::new(mix(seed, u64::from(number), 0));
            let kind = if number % 20 == 19 { 4 } else { number % 4 };
            let courses = &by_kind[kind as usize];
            let course = courses[random.below(courses.len() as u64) as usize].clone();
            let clock = random.below(10);
            Device {
                phase: random.below(course.hours.len() as u64) as usize,
                factor: if course.kind.decimals == 0 {
                    1.0
                } else {
                    0.7 + 0.6 * random.share()
                },
                scale: f64::from(10_u32.pow(course.kind.decimals.into())),
                // Half are asked on the minute, a third measure at a second of their own.
                at_ms: if clock < 5 {
                    0
                } else {
                    random.below(60).cast_signed() * 1_000
                },
                jitters: clock >= 8,
                course,
            }
        };
        Ok(Self {
            seed,
            devices: (0..devices).map(device).collect(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }

    /// How many decimals a device's values have.
    pub(super) fn decimals(&self, device: u32) -> u8 {
        self.devices[device as usize].course.kind.decimals
    }

    /// The number that a reading says.
    pub(super) fn value(&self, sample: Sample) -> f64 {
        f64::from(sample.steps) / self.devices[sample.device as usize].scale
    }

    /// What all devices measure in one minute, added to what is there.
    pub(super) fn minute(&self, minute: u32, to: &mut Vec<Sample>) {
        to.extend((0..self.devices.len() as u32).filter_map(|device| self.sample(device, minute)));
    }

    /// What one device measures in some minutes.
    pub(super) fn of_device(
        &self,
        device: u32,
        minutes: Range<u32>,
    ) -> impl Iterator<Item = Sample> {
        minutes.filter_map(move |minute| self.sample(device, minute))
    }

    fn sample(&self, number: u32, minute: u32) -> Option<Sample> {
        let device = &self.devices[number as usize];
        let own = mix(self.seed, u64::from(number), u64::from(minute) + 1);
        if own.is_multiple_of(MISSING) || self.gap(number, minute) {
            return None;
        }
        let Course { kind, hours } = &device.course;
        let hour = device.phase + (minute / 60) as usize;
        let before = hours[hour % hours.len()];
        let value = if kind.decimals == 0 {
            before
        } else {
            let after = hours[(hour + 1) % hours.len()];
            let course = before + (after - before) * f64::from(minute % 60) / 60.0;
            let noise = kind.relative * course.abs() + kind.absolute;
            let wander = |at: u32| swing(mix(self.seed ^ WANDERS, u64::from(number), at.into()));
            let (from, to) = (wander(minute / WANDER), wander(minute / WANDER + 1));
            let slow = from + (to - from) * f64::from(minute % WANDER) / f64::from(WANDER);
            (course + noise * (slow + 0.5 * swing(own))) * device.factor
        };
        let wobble = if device.jitters {
            (own >> 40) % (2 * JITTER_MS + 1)
        } else {
            JITTER_MS
        };
        let at = device.at_ms + wobble.cast_signed() - JITTER_MS.cast_signed();
        Some(Sample {
            device: number,
            ts_ms: START / 1_000 + i64::from(minute) * MINUTE_MS + at.clamp(0, MINUTE_MS - 1),
            steps: (value * device.scale).round() as i32,
        })
    }

    /// Whether a device is silent for a while. A gap ends with its day.
    fn gap(&self, number: u32, minute: u32) -> bool {
        let (day, minute) = (minute / MINUTES_A_DAY, minute % MINUTES_A_DAY);
        let drawn = mix(self.seed ^ GAPS, u64::from(number), day.into());
        if !drawn.is_multiple_of(GAP_DAYS) {
            return false;
        }
        let from = ((drawn >> 16) % u64::from(MINUTES_A_DAY)) as u32;
        let long = 10 + ((drawn >> 40) % (GAP_MINUTES - 10)) as u32;
        (from..from + long).contains(&minute)
    }
}

/// Apart from a device's own draws.
const WANDERS: u64 = 0x5741_4e44_4552_5321;
const GAPS: u64 = 0x4741_5053_4741_5053;

/// A number that looks random, of three.
fn mix(seed: u64, device: u64, at: u64) -> u64 {
    Random::new(seed ^ (device << 40) ^ at.wrapping_mul(0xd6e8_feb8_6659_fd93)).next()
}

/// Between -1 and 1, mostly near 0: the difference of two even draws.
fn swing(drawn: u64) -> f64 {
    let part = |bits: u64| (bits & 0xff_ffff) as f64 / f64::from(1 << 24);
    part(drawn) - part(drawn >> 24)
}

/// Microseconds at which a day of the fleet begins.
pub(super) fn day_start(day: u32) -> i64 {
    START + i64::from(day) * DAY_US
}

/// The columns of a file that begin as one of the kinds, and that move. Of hours without a value the
/// last one counts.
fn courses(path: &Path, kinds: &[Kind]) -> Result<Vec<Course>, Failure> {
    let unreadable = |error: gis_import::formats::FileError| {
        Failure::usage(format!(
            "{error}; the sensors of the year follow it: name the folder of source data with \
             --data or TWIN_DATA"
        ))
    };
    let format = Format::Csv { delimiter: b',' };
    let mut reader = Reader::open(path, format, &Wanted::default()).map_err(unreadable)?;
    let mut columns: Vec<(Arc<str>, Kind, Vec<f64>)> = Vec::new();
    while let Some(item) = reader.next_item().map_err(unreadable)? {
        let Item::Feature(row) = item else { continue };
        if columns.is_empty() {
            let kind = |name: &str| kinds.iter().find(|kind| name.starts_with(kind.prefix));
            let known = (row.values.keys())
                .filter_map(|name| Some((Arc::clone(name), *kind(name)?, Vec::new())));
            columns = known.collect();
        }
        for (name, _, hours) in &mut columns {
            let value = match row.values.get(name) {
                Some(Cell::Float(value)) => Some(*value),
                Some(Cell::Int(value)) => Some(*value as f64),
                Some(Cell::Text(text)) => text.trim().parse().ok(),
                _ => None,
            };
            // Monitors write -999 for what they could not measure.
            let value = value.filter(|value: &f64| value.is_finite() && *value > -900.0);
            let last = hours.last().copied().unwrap_or(0.0);
            hours.push(value.unwrap_or(last));
        }
    }
    let moves = |hours: &[f64]| hours.iter().any(|value| *value != hours[0]);
    columns.retain(|(_, _, hours)| moves(hours));
    let course = |(_, kind, hours): (Arc<str>, Kind, Vec<f64>)| Course {
        kind,
        hours: hours.into(),
    };
    Ok(columns.into_iter().map(course).collect())
}

#[cfg(test)]
pub(super) fn small(devices: u32) -> Fleet {
    let course = |kind: Kind, swing: f64| Course {
        kind,
        hours: (0..48_u32)
            .map(|hour| (f64::from(hour % 24) - 12.0).abs() * swing)
            .collect(),
    };
    let mut water: Vec<_> = WATER.map(|kind| course(kind, 0.5)).into();
    water[3].hours = [0.0, 1.0].into();
    Fleet::of(&[course(AIR, 4.0)], &water, devices, 1).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_the_same_every_time_and_lies_in_its_minute() {
        let (fleet, again) = (small(40), small(40));
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for minute in 0..MINUTES_A_DAY {
            one.clear();
            other.clear();
            fleet.minute(minute, &mut one);
            again.minute(minute, &mut other);
            assert_eq!(one, other);
            let start = START / 1_000 + i64::from(minute) * MINUTE_MS;
            for sample in &one {
                assert!((start..start + MINUTE_MS).contains(&sample.ts_ms));
                let of_it = fleet.of_device(sample.device, minute..minute + 1);
                assert_eq!(of_it.collect::<Vec<_>>(), [*sample]);
            }
        }
    }

    #[test]
    fn there_are_gaps_and_few_readings_are_missing() {
        let fleet = small(100);
        let days = 10 * MINUTES_A_DAY;
        let found: usize = (0..100)
            .map(|device| fleet.of_device(device, 0..days).count())
            .sum();
        let share = found as f64 / f64::from(100 * days);
        assert!((0.97..0.998).contains(&share), "{share}");
        let longest = |device| {
            let times: Vec<_> = fleet.of_device(device, 0..days).collect();
            times
                .windows(2)
                .map(|two| two[1].ts_ms - two[0].ts_ms)
                .max()
        };
        let longest = (0..100).filter_map(longest).max().unwrap();
        assert!(longest > 60 * MINUTE_MS, "{longest}");
    }

    #[test]
    fn a_value_is_what_its_decimals_say() {
        let fleet = small(20);
        for device in 0..20 {
            for sample in fleet.of_device(device, 0..200) {
                let decimals = usize::from(fleet.decimals(device));
                let text = format!("{:.decimals$}", fleet.value(sample));
                assert_eq!(text.parse::<f64>().unwrap(), fleet.value(sample));
            }
        }
    }
}
