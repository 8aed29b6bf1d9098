//! Merging segments: the rows of all of them in the order of history, each once.
//!
//! # Invariants
//! - Series come in order, and rows of a series in the order of their times.
//! - Of rows of one series and time the one of the latest segment is handed out; the others are
//!   counted.
//! - A block a segment is in memory.

use std::sync::Arc;

use twin_core::store::StoreError;

use super::Head;
use crate::codec::{Row, SeriesName};
use crate::surreal::SurrealStore;

/// Rows of segments, merged.
pub(super) struct Merge<'a, R> {
    /// In the order of the segments.
    cursors: Vec<Cursor<'a, R>>,
    /// Those whose next row is of the series that is handed out.
    active: Vec<usize>,
    series: SeriesName,
    replaced: u64,
}

/// The place in one segment.
struct Cursor<'a, R> {
    store: &'a SurrealStore,
    lane: &'a str,
    head: Arc<Head>,
    next_block: u64,
    /// The runs of the block that is read, the next one last, and their rows in the same order.
    runs: Vec<(SeriesName, usize)>,
    rows: Vec<R>,
}

impl<R: Row> Cursor<'_, R> {
    /// Makes sure that a row is at hand, unless the segment is at its end.
    async fn fill(&mut self) -> Result<(), StoreError> {
        if self.rows.is_empty() && self.next_block < self.head.blocks {
            let mut blocks = self
                .store
                .blocks::<R>(self.lane, &self.head, &[self.next_block])
                .await?;
            self.next_block += 1;
            if let Some(mut block) = blocks.pop() {
                block.runs.reverse();
                block.rows.reverse();
                (self.runs, self.rows) = (block.runs, block.rows);
            }
        }
        Ok(())
    }

    fn series(&self) -> Option<&SeriesName> {
        self.runs.last().map(|(series, _)| series)
    }

    fn ts(&self) -> Option<i64> {
        self.rows.last().map(Row::ts)
    }

    fn take(&mut self) -> Option<R> {
        if let Some((_, left)) = self.runs.last_mut() {
            *left -= 1;
            if *left == 0 {
                self.runs.pop();
            }
        }
        self.rows.pop()
    }
}

impl SurrealStore {
    /// The rows of segments, which are given in the order in which they count.
    pub(super) async fn merge<'a, R: Row>(
        &'a self,
        lane: &'a str,
        heads: &[Arc<Head>],
    ) -> Result<Merge<'a, R>, StoreError> {
        let mut cursors = Vec::with_capacity(heads.len());
        for head in heads {
            let mut cursor = Cursor {
                store: self,
                lane,
                head: Arc::clone(head),
                next_block: 0,
                runs: Vec::new(),
                rows: Vec::new(),
            };
            cursor.fill().await?;
            cursors.push(cursor);
        }
        let empty: Arc<str> = "".into();
        Ok(Merge {
            cursors,
            active: Vec::new(),
            series: SeriesName {
                class: Arc::clone(&empty),
                telemetry: Arc::clone(&empty),
                twin: empty,
                life: 0,
            },
            replaced: 0,
        })
    }
}

impl<R: Row> Merge<'_, R> {
    /// The series of the row that was handed out last.
    pub(super) fn series(&self) -> &SeriesName {
        &self.series
    }

    /// Rows that later ones replaced, so far.
    pub(super) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// The next row.
    pub(super) async fn next(&mut self) -> Result<Option<R>, StoreError> {
        if self.active.is_empty() && !self.next_series() {
            return Ok(None);
        }
        let times = self.active.iter().filter_map(|i| self.cursors[*i].ts());
        let Some(earliest) = times.min() else {
            return Ok(None);
        };
        let mut found = None;
        let mut index = 0;
        while index < self.active.len() {
            let cursor = &mut self.cursors[self.active[index]];
            if cursor.ts() != Some(earliest) {
                index += 1;
                continue;
            }
            // Later segments come later, so the last one stays.
            if found.is_some() {
                self.replaced += 1;
            }
            found = cursor.take();
            cursor.fill().await?;
            if cursor.series() == Some(&self.series) {
                index += 1;
            } else {
                self.active.remove(index);
            }
        }
        Ok(found)
    }

    /// Turns to the next series; whether there is one.
    fn next_series(&mut self) -> bool {
        let Some(least) = self.cursors.iter().filter_map(Cursor::series).min() else {
            return false;
        };
        self.series = least.clone();
        let cursors = self.cursors.iter().enumerate();
        let of_it = cursors.filter(|(_, cursor)| cursor.series() == Some(&self.series));
        self.active = of_it.map(|(index, _)| index).collect();
        true
    }
}
