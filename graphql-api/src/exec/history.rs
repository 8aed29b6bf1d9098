//! Earlier readings, asked of the store while an answer is written.
//!
//! # Invariants
//! - Only an answer that is written off the network's threads asks: the thread waits for the store.
//! - What is answered is of the answer's own view: no reading that arrived after it.

mod letters;

use std::ops::Range;
use std::time::Duration;

use ontology::Value;
use tokio::runtime::Handle;
use tokio::time::timeout;
use twin_core::history::Bucket;
use twin_core::store::StoreError;
use twin_core::{Twin, TwinRef, View};

use super::page::Clock;
use super::plan::HistoryPlan;
use crate::error::{Code, Fault};
use crate::limits::{MAX_AGGREGATE_SERIES, MAX_AGGREGATE_WINDOWS, MAX_SERIES};

/// One entry of a history: a reading, or what became of those of a window.
#[derive(Debug)]
pub(crate) struct Past {
    /// When it was measured, or where the window begins, microseconds since 1970.
    pub(crate) ts: i64,
    /// When it arrived; `None` for a window.
    pub(crate) arrived: Option<i64>,
    pub(crate) value: Value,
}

/// What becomes of the readings of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Count,
    Extremes,
    Last,
    Max,
    Mean,
    Min,
    Sum,
}

impl Aggregate {
    /// All of them, with their names and what they say.
    pub(crate) const ALL: [(&'static str, Self, &'static str); 7] = [
        ("COUNT", Self::Count, "How many readings there are."),
        (
            "EXTREMES",
            Self::Extremes,
            "The smallest value and then the largest one, for plots: two entries a window, one where \
             they are the same.",
        ),
        ("LAST", Self::Last, "The value of the last one."),
        ("MAX", Self::Max, "The largest value."),
        ("MEAN", Self::Mean, "The mean of the values."),
        ("MIN", Self::Min, "The smallest value."),
        ("SUM", Self::Sum, "The sum of the values."),
    ];

    fn of(self, bucket: &Bucket, to: &mut Vec<Past>) {
        let mut push = |value| {
            to.push(Past {
                ts: bucket.start,
                arrived: None,
                value,
            });
        };
        match self {
            Self::Count => push(Value::Int(i64::try_from(bucket.count).unwrap_or(i64::MAX))),
            Self::Extremes => {
                push(Value::Double(bucket.min));
                if bucket.min < bucket.max {
                    push(Value::Double(bucket.max));
                }
            }
            Self::Last => push(Value::Double(bucket.last)),
            Self::Max => push(Value::Double(bucket.max)),
            Self::Mean => push(Value::Double(bucket.mean())),
            Self::Min => push(Value::Double(bucket.min)),
            Self::Sum => push(Value::Double(bucket.sum)),
        }
    }
}

/// The door to earlier readings, for one answer.
#[derive(Debug)]
pub(crate) struct History {
    twin: Twin,
    runtime: Handle,
    /// Series that were read for fields.
    read: usize,
    /// Series that were read for aggregates.
    summed: usize,
}

impl History {
    /// For an answer that is written on a thread that may wait.
    pub(crate) fn new(twin: Twin, runtime: Handle) -> Self {
        Self {
            twin,
            runtime,
            read: 0,
            summed: 0,
        }
    }

    /// Readings of a twin's telemetry, or what became of those of each window, oldest first.
    pub(crate) fn readings(
        &mut self,
        view: &View,
        twin: TwinRef,
        telemetry: &str,
        plan: &HistoryPlan<'_>,
        clock: &Clock,
    ) -> Result<Vec<Past>, Fault> {
        self.read += 1;
        if self.read > MAX_SERIES {
            return Err(Fault::too_costly(format!(
                "the answer asks for the history of more than {MAX_SERIES} series (MAX_SERIES): \
                 ask for fewer twins at once"
            )));
        }
        let ts = plan.ts.clone();
        let readings = async {
            let mut found = Vec::new();
            if let Some((every, aggregate)) = plan.windows {
                let buckets = self
                    .twin
                    .buckets(view, twin, telemetry, ts, every, plan.first)
                    .await?;
                for bucket in buckets {
                    aggregate.of(&bucket, &mut found);
                }
            } else {
                let readings = self
                    .twin
                    .history(view, twin, telemetry, ts, plan.first)
                    .await?;
                found.extend(readings.into_iter().map(|reading| Past {
                    ts: reading.ts,
                    arrived: Some(reading.arrived),
                    value: reading.value,
                }));
            }
            Ok::<_, StoreError>(found)
        };
        self.wait(clock, readings)
    }

    /// A twin's readings summed up by windows, oldest first.
    pub(crate) fn windows(
        &mut self,
        view: &View,
        twin: TwinRef,
        telemetry: &str,
        ts: Range<i64>,
        every: Duration,
        clock: &Clock,
    ) -> Result<Vec<Bucket>, Fault> {
        self.summed += 1;
        if self.summed > MAX_AGGREGATE_SERIES {
            return Err(Fault::too_costly(format!(
                "the answer sums up the history of more than {MAX_AGGREGATE_SERIES} series \
                 (MAX_AGGREGATE_SERIES): ask in parts with `where` or `space`"
            )));
        }
        // Series that are in memory are read without a wait that could run out of time.
        clock.look();
        clock.check()?;
        let most = MAX_AGGREGATE_WINDOWS;
        let buckets = self.twin.buckets(view, twin, telemetry, ts, every, most);
        self.wait(clock, buckets)
    }

    /// Waits for the store, as long as the answer may take.
    fn wait<T>(
        &self,
        clock: &Clock,
        found: impl Future<Output = Result<Vec<T>, StoreError>>,
    ) -> Result<Vec<T>, Fault> {
        let left = clock.left();
        // Made inside the runtime, which owns the timer.
        match self.runtime.block_on(async { timeout(left, found).await }) {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error @ StoreError::Coarse { .. })) => Err(Fault::invalid(error.to_string())),
            Ok(Err(error)) => Err(Fault::new(
                Code::Unavailable,
                format!("history cannot be read: {error}"),
            )),
            Err(_elapsed) => {
                clock.look();
                clock.check().map(|()| Vec::new())
            }
        }
    }
}
