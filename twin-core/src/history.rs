//! Readings summed up by windows of time, and what the store is asked to keep in lasting form.
//!
//! # Invariants
//! - Windows are aligned to 1970-01-01T00:00Z: the one of a time `t` begins at the greatest multiple
//!   of its length that is not after `t`.
//! - A bucket holds at least one reading; what follows from none (a mean of nothing) cannot be asked.

use std::sync::atomic::AtomicBool;

use ontology::{ClassId, Value};

use crate::change::Recorded;

/// Microseconds of a minute.
pub const MINUTE_US: i64 = 60_000_000;
/// Microseconds of an hour.
pub const HOUR_US: i64 = 60 * MINUTE_US;
/// Microseconds of a day.
pub const DAY_US: i64 = 24 * HOUR_US;

/// The readings of one window of time, summed up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Where the window begins, microseconds since 1970.
    pub start: i64,
    /// Readings in it.
    pub count: u64,
    /// The smallest value.
    pub min: f64,
    /// The largest one.
    pub max: f64,
    /// The sum of all, added in the order of time.
    pub sum: f64,
    /// The value of the last one.
    pub last: f64,
}

impl Bucket {
    /// A window with its first reading.
    pub fn new(start: i64, value: f64) -> Self {
        Self {
            start,
            count: 1,
            min: value,
            max: value,
            sum: value,
            last: value,
        }
    }

    /// Takes in a bucket of the same window whose readings are all later.
    pub fn append(&mut self, later: &Self) {
        self.count += later.count;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.sum += later.sum;
        self.last = later.last;
    }

    /// The mean of the values.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// Where the window of a time begins; lengths below one microsecond count as one.
pub fn window_start(ts: i64, every: i64) -> i64 {
    ts.saturating_sub(ts.rem_euclid(every.max(1)))
}

/// The number that a reading's value is, if it can be summed up. Booleans count as 0 and 1.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Double(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        _ => None,
    }
}

/// Appends a bucket of later readings to buckets in order: to the last one, if it falls into the
/// same window of a length, else as a new one.
pub fn gather(buckets: &mut Vec<Bucket>, later: &Bucket, every: i64) {
    let start = window_start(later.start, every);
    match buckets.last_mut() {
        Some(last) if last.start == start => last.append(later),
        _ => buckets.push(Bucket { start, ..*later }),
    }
}

/// Newest readings that are written together: those of neighbouring twins of a class.
///
/// A page is replaced whole by the next one of its class and number.
#[derive(Debug, Clone)]
pub struct LatestPage {
    /// The class.
    pub class: ClassId,
    /// Number of the page.
    pub page: u32,
    /// The newest reading of each telemetry of each twin.
    pub readings: Vec<KeptLatest>,
}

/// The newest reading of a twin's telemetry.
#[derive(Debug, Clone)]
pub struct KeptLatest {
    /// The reading.
    pub reading: Recorded,
    /// When it arrived, microseconds since 1970.
    pub arrived: i64,
    /// Its offset.
    pub offset: u64,
}

/// What the store is given to keep its journal short.
#[derive(Debug)]
pub struct Tend<'a> {
    /// The lane.
    pub lane: &'a str,
    /// The writer's epoch.
    pub epoch: u64,
    /// Everything below this offset is durable and published.
    pub upto: u64,
    /// Time of day, microseconds since 1970.
    pub now: i64,
    /// A time that has surely passed, by which retention goes; `None` while none is known.
    pub passed: Option<i64>,
    /// The newest readings at `upto`: all of them, or only the pages that changed since the last
    /// time.
    pub latest: Vec<LatestPage>,
    /// Whether `latest` is all of them.
    pub complete: bool,
}

/// What the store is given to bring days of arrival that are over into their lasting form.
#[derive(Debug, Clone, Copy)]
pub struct Settle<'a> {
    /// The lane.
    pub lane: &'a str,
    /// The writer's epoch.
    pub epoch: u64,
    /// Time of day, microseconds since 1970.
    pub now: i64,
    /// A time that has surely passed, by which retention goes; `None` while none is known.
    pub passed: Option<i64>,
    /// Once this is set, settling ends soon; what it had not finished is begun again another time.
    pub stop: &'a AtomicBool,
}

/// What tending and settling did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tended {
    /// Readings sealed.
    pub sealed: u64,
    /// Readings that another of the same series and time replaced.
    pub replaced: u64,
    /// Readings brought into their day.
    pub settled: u64,
    /// Readings of days that retention had passed before they came; they are not kept.
    pub expired: u64,
    /// Tables dropped by retention.
    pub dropped: u64,
    /// Offset below which nothing can be followed any more; 0 where it was not looked at.
    pub floor: u64,
}

impl Tended {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            sealed: self.sealed + other.sealed,
            replaced: self.replaced + other.replaced,
            settled: self.settled + other.settled,
            expired: self.expired + other.expired,
            dropped: self.dropped + other.dropped,
            floor: self.floor.max(other.floor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_at_multiples_of_their_length_before_1970_too() {
        assert_eq!(window_start(0, HOUR_US), 0);
        assert_eq!(window_start(HOUR_US - 1, HOUR_US), 0);
        assert_eq!(window_start(-1, HOUR_US), -HOUR_US);
        assert_eq!(window_start(i64::MIN, DAY_US), i64::MIN);
        assert_eq!(window_start(5, 0), 5);
    }

    #[test]
    fn readings_gather_in_their_windows() {
        let mut buckets = Vec::new();
        for (ts, value) in [(0, 4.0), (30, 1.0), (59, 7.0), (60, 2.0)] {
            gather(&mut buckets, &Bucket::new(ts, value), 60);
        }
        let first = Bucket {
            start: 0,
            count: 3,
            min: 1.0,
            max: 7.0,
            sum: 12.0,
            last: 7.0,
        };
        assert_eq!(buckets, [first, Bucket::new(60, 2.0)]);
        assert!((buckets[0].mean() - 4.0).abs() < f64::EPSILON);
    }
}
