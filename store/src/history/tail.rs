//! The journal's end by series: what was not sealed yet is read once, not again for each question.
//!
//! It is made when it is asked for, so nothing of it costs a writer.
//!
//! # Invariants
//! - A tail holds the readings of exactly the offsets `from..upto`, each series in their order.
//! - It takes at most about [`TAIL_BYTES`]; where there is more to hold, it holds nothing, and each
//!   question reads the journal for itself until more of it was sealed.
//! - What was sealed is not in it: a tail begins where history ends.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use twin_core::store::{Series, StoreError};

use super::query::Wanted;
use crate::codec::{self, Row as _, SealedReading, SeriesParts};
use crate::commit::LaneRow;
use crate::database::damaged;
use crate::follow::located;
use crate::log::Kind;
use crate::surreal::SurrealStore;

/// Most bytes of readings that are held of one lane, about.
const TAIL_BYTES: usize = 64 << 20;
/// What a series costs beside its readings, about.
const SERIES_BYTES: usize = 256;

/// Readings of a lane that were not sealed yet.
#[derive(Debug, Default)]
pub(super) struct Tail {
    from: u64,
    upto: u64,
    bytes: usize,
    /// Whether there is more than may be held.
    full: bool,
    /// By telemetry and twin, whatever its class was.
    series: HashMap<Arc<str>, HashMap<Arc<str>, Vec<SealedReading>>>,
    /// Twin and telemetry of the series of the record that is read.
    here: Vec<(Arc<str>, Arc<str>)>,
}

impl Tail {
    fn starting(from: u64) -> Self {
        Self {
            from,
            upto: from,
            ..Self::default()
        }
    }

    fn begin(&mut self, series: &[SeriesParts]) {
        self.here.clear();
        let named = |[twin, _, telemetry]: &SeriesParts| (Arc::clone(twin), Arc::clone(telemetry));
        self.here.extend(series.iter().map(named));
    }

    fn push(&mut self, series: usize, reading: SealedReading) {
        if self.full || reading.offset < self.upto {
            return;
        }
        let (twin, telemetry) = &self.here[series];
        let twins = self.series.entry(Arc::clone(telemetry)).or_default();
        let readings = twins.entry(Arc::clone(twin)).or_insert_with(|| {
            self.bytes += SERIES_BYTES;
            Vec::new()
        });
        self.bytes += size_of::<SealedReading>() + reading.weight();
        readings.push(reading);
        if self.bytes > TAIL_BYTES {
            *self = Self {
                full: true,
                ..Self::starting(self.from)
            };
        }
    }

    /// Whether it holds all that was not sealed yet below an offset.
    fn reaches(&self, sealed: u64, before: u64) -> bool {
        self.from == sealed && self.upto >= before && !self.full
    }

    fn of(&self, wanted: &Wanted<'_>, from: u64) -> Vec<SealedReading> {
        let twins = self.series.get(wanted.telemetry);
        let readings = twins.and_then(|twins| twins.get(wanted.twin));
        let readings = readings.into_iter().flatten();
        let wanted = readings.filter(|reading| {
            (from..wanted.before).contains(&reading.offset) && wanted.ts.contains(&reading.ts)
        });
        wanted.cloned().collect()
    }
}

impl SurrealStore {
    /// The readings of a series at and after an offset that were not sealed when history was `sealed`,
    /// in order of offsets.
    pub(super) async fn unsealed(
        &self,
        lane: &str,
        sealed: u64,
        series: &Series<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<SealedReading>, StoreError> {
        let from = wanted.life.unwrap_or(0).max(sealed);
        if from >= series.before {
            return Ok(Vec::new());
        }
        {
            let tails = self.history.tails.lock().await;
            if let Some(tail) = tails
                .get(lane)
                .filter(|tail| tail.reaches(sealed, series.before))
            {
                return Ok(tail.of(wanted, from));
            }
        }
        let Some(row) = self.lane(lane).await? else {
            return Ok(Vec::new());
        };
        let begins = row.tables.of(Kind::Journal).first();
        if begins.is_some_and(|table| table.first > from) {
            // It was sealed and trimmed since the history at hand was looked at.
            return Err(damaged(
                lane,
                format!("the journal no longer reaches back to {from}"),
            ));
        }
        let mut tails = self.history.tails.lock().await;
        let tail = tails.entry(lane.into()).or_default();
        if tail.from > sealed {
            // A question that began before what is held was made: it reads for itself.
            drop(tails);
            return self.read_unsealed(lane, &row, from, series).await;
        }
        if tail.from < sealed {
            *tail = Tail::starting(sealed);
        }
        self.read_tail(lane, &row, tail, series.before).await?;
        if !tail.full {
            return Ok(tail.of(wanted, from));
        }
        drop(tails);
        self.read_unsealed(lane, &row, from, series).await
    }

    /// Reads on to an offset, unless there is too much.
    async fn read_tail(
        &self,
        lane: &str,
        row: &LaneRow,
        tail: &mut Tail,
        before: u64,
    ) -> Result<(), StoreError> {
        if tail.full || tail.upto >= before {
            return Ok(());
        }
        let span = tail.upto..before;
        self.packed(Kind::Journal, lane, &row.tables, span, |offset, bytes| {
            let read = codec::read_all(
                bytes,
                tail,
                |tail, series, _, _| tail.begin(series),
                Tail::push,
            );
            let header = read.map_err(|error| located(Kind::Journal, lane, offset, &error))?;
            if tail.full {
                return Ok(ControlFlow::Break(()));
            }
            tail.upto = header.next();
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        tail.upto = tail.upto.max(before);
        Ok(())
    }

    async fn read_unsealed(
        &self,
        lane: &str,
        row: &LaneRow,
        from: u64,
        series: &Series<'_>,
    ) -> Result<Vec<SealedReading>, StoreError> {
        let mut found = Vec::new();
        let span = from..series.before;
        self.packed(Kind::Journal, lane, &row.tables, span, |offset, bytes| {
            codec::read_series(bytes, series, |reading| found.push(reading))
                .map_err(|error| located(Kind::Journal, lane, offset, &error))?;
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use ontology::Value;

    use super::*;

    const WANTED: Wanted<'_> = Wanted {
        twin: "rw:a",
        telemetry: "note",
        life: None,
        ts: 0..1,
        before: u64::MAX,
    };

    fn reading(offset: u64, text: &Arc<str>) -> SealedReading {
        SealedReading {
            ts: 0,
            arrived: 0,
            offset,
            value: Value::Text(Arc::clone(text)),
        }
    }

    #[test]
    fn a_tail_that_would_be_too_much_holds_nothing() {
        let mut tail = Tail::starting(7);
        tail.begin(&[["rw:a".into(), "Station".into(), "note".into()]]);
        let text: Arc<str> = "x".repeat(1 << 20).into();
        for offset in 7..7 + 63 {
            tail.push(0, reading(offset, &text));
        }
        assert_eq!(tail.of(&WANTED, 0).len(), 63);
        assert_eq!(tail.of(&WANTED, 60).len(), 10);
        tail.push(0, reading(70, &text));
        assert!(tail.full && tail.of(&WANTED, 0).is_empty());
        tail.push(0, reading(71, &text));
        assert!(tail.of(&WANTED, 0).is_empty());
    }

    #[test]
    fn a_record_that_is_read_again_counts_once() {
        let mut tail = Tail::starting(0);
        tail.begin(&[["rw:a".into(), "Station".into(), "note".into()]]);
        let text: Arc<str> = "x".into();
        tail.push(0, reading(0, &text));
        tail.upto = 1;
        tail.push(0, reading(0, &text));
        tail.push(0, reading(1, &text));
        let offsets = tail
            .of(&WANTED, 0)
            .into_iter()
            .map(|reading| reading.offset);
        assert_eq!(offsets.collect::<Vec<_>>(), [0, 1]);
    }
}
