//! `aggregate` of a time: what twins measured in it, window by window.
//!
//! # Invariants
//! - Series are read in the order of twins and of names, so the same instant gives the same sums.
//! - At most [`MAX_AGGREGATE_SERIES`](crate::limits::MAX_AGGREGATE_SERIES) series of
//!   [`MAX_AGGREGATE_WINDOWS`] windows are read, and the windows of one are held at a time.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::Field;
use twin_core::history::{Bucket, window_start};
use twin_core::{TwinRef, View};

use super::group::Group;
use super::history::History;
use super::measure::Measure;
use super::page::Clock;
use super::select::Ask;
use crate::error::Fault;
use crate::limits::MAX_AGGREGATE_WINDOWS;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Readings of which time, by which windows.
#[derive(Debug)]
pub(crate) struct During {
    /// Microseconds since 1970; not empty.
    ts: Range<i64>,
    /// Which entry of `by` is the window, and how long it is; without one all of the time is one
    /// group.
    pub(crate) window: Option<(usize, Duration)>,
    /// Names of what is measured, each once.
    telemetry: Vec<Arc<str>>,
}

impl During {
    /// The time that an aggregate asks about, if it asks about one.
    pub(crate) fn plan(
        ask: Ask<'_>,
        field: &Field,
        by: &[Group],
        measures: &[Measure],
    ) -> Result<Option<Self>, Fault> {
        let (from, to) = (ask.instant(field, "from")?, ask.instant(field, "to")?);
        let mut windows = by.iter().enumerate().filter_map(window);
        let window = windows.next();
        if windows.next().is_some() {
            return Err(Fault::invalid("`by` names `every` more than once"));
        }
        let (Some(from), Some(to)) = (from, to) else {
            let timed = window.is_some() || measures.iter().any(Measure::is_of_time);
            if timed || from.is_some() || to.is_some() {
                let message = "`every` and `readings` ask about a time: give both `from` and `to`";
                return Err(Fault::invalid(message));
            }
            return Ok(None);
        };
        if from >= to {
            return Err(Fault::invalid("`from` is not before `to`"));
        }
        let mut telemetry = BTreeSet::new();
        for (place, measure) in measures.iter().enumerate() {
            if measure.is_of_property() {
                return Err(Fault::invalid(format!(
                    "`measures[{place}]` is of a property: with `from` and `to` only telemetry is \
                     measured"
                )));
            }
            telemetry.extend(measure.telemetry().cloned());
        }
        if telemetry.is_empty() {
            return Err(Fault::invalid(
                "with `from` and `to` at least one of `measures` names a telemetry",
            ));
        }
        let during = Self {
            ts: from..to,
            window,
            telemetry: telemetry.into_iter().collect(),
        };
        let windows = touched(&during.ts, during.every());
        if windows > MAX_AGGREGATE_WINDOWS as u64 {
            return Err(Fault::too_costly(format!(
                "from `from` to `to` there are {windows} windows, and {MAX_AGGREGATE_WINDOWS} are \
                 allowed (MAX_AGGREGATE_WINDOWS): ask for longer windows or less time"
            )));
        }
        Ok(Some(during))
    }

    /// In how many windows a twin can have readings; what is wrong with them is said elsewhere.
    pub(crate) fn most_windows(ask: Ask<'_>, field: &Field, by: &[Group]) -> u64 {
        let instant = |name| ask.instant(field, name).ok().flatten();
        let window = by.iter().enumerate().find_map(window);
        match (instant("from"), instant("to"), window) {
            (Some(from), Some(to), Some((_, every))) if from < to => touched(&(from..to), every),
            _ => 1,
        }
    }

    /// Reads what a twin measured: of each telemetry the windows, and whether the twin has none
    /// before in that group.
    pub(crate) fn each(
        &self,
        view: &View,
        twin: TwinRef,
        history: &mut History,
        clock: &Clock,
        mut each: impl FnMut(&str, &Bucket, bool) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut seen = BTreeSet::new();
        for name in &self.telemetry {
            let index = view.class(twin).telemetry_index(name);
            // What has no newest reading has none.
            if index.and_then(|index| view.latest(twin, index)).is_none() {
                continue;
            }
            let (ts, every) = (self.ts.clone(), self.every());
            for bucket in history.windows(view, twin, name, ts, every, clock)? {
                let first = seen.insert(self.window.map(|_| bucket.start));
                each(name, &bucket, first)?;
            }
        }
        Ok(())
    }

    /// How long the windows are that are asked of the store. Without one it is whole days that are as
    /// long as all of the time, since windows of whole hours are made of the sums that are kept.
    fn every(&self) -> Duration {
        let all = Duration::from_micros(self.ts.end.abs_diff(self.ts.start));
        let days = all.as_secs() / DAY + 1;
        self.window
            .map_or(Duration::from_secs(days * DAY), |(_, every)| every)
    }
}

fn window((place, group): (usize, &Group)) -> Option<(usize, Duration)> {
    match group {
        Group::Window(every) => Some((place, *every)),
        _ => None,
    }
}

/// How many windows of a length a time that is not empty touches.
fn touched(ts: &Range<i64>, every: Duration) -> u64 {
    let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1);
    let (first, last) = (
        window_start(ts.start, every),
        window_start(ts.end - 1, every),
    );
    last.abs_diff(first) / every.unsigned_abs() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_windows_is_asked_for_in_whole_days() {
        const SECOND: i64 = 1_000_000;
        for span in [1, SECOND, 86_400 * SECOND, 1_461 * 86_400 * SECOND + 7] {
            let during = During {
                ts: 3_601 * SECOND..3_601 * SECOND + span,
                window: None,
                telemetry: Vec::new(),
            };
            let every = during.every();
            assert_eq!(every.as_secs() % DAY, 0);
            assert!(every.as_micros() >= u128::from(span.unsigned_abs()));
            assert!(touched(&during.ts, every) <= 2);
        }
    }

    #[test]
    fn windows_are_counted_where_the_time_touches_them() {
        let every = Duration::from_micros(10);
        for (ts, count) in [
            (0..1, 1),
            (0..10, 1),
            (0..11, 2),
            (9..11, 2),
            (-1..1, 2),
            (-10..30, 4),
        ] {
            assert_eq!(touched(&ts, every), count, "{ts:?}");
        }
        let all = touched(&(i64::MIN..i64::MAX), Duration::from_secs(1));
        assert!(all > MAX_AGGREGATE_WINDOWS as u64);
    }
}
