//! Merging segments: the rows of all of them in the order of history, each once.
//!
//! # Invariants
//! - Series come in order, and rows of a series in the order of their times.
//! - Of rows of one series and time the one of the latest segment is handed out; the others are
//!   counted.
//! - A block a segment is in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use twin_core::store::StoreError;

use super::heads::Head;
use super::writer::{Filling, SegmentWriter};
use crate::codec::{Entry, Row, SeriesName};
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
    /// What stands in which block, where it was looked at.
    index: Option<Arc<Vec<Entry>>>,
}

impl<R: Row> Cursor<'_, R> {
    /// Goes on to a series, without reading blocks that cannot hold it; what comes before is left
    /// out.
    async fn seek(&mut self, series: &SeriesName) -> Result<(), StoreError> {
        if self.index.is_none() {
            self.index = Some(self.store.index(self.lane, &self.head).await?);
        }
        loop {
            while self.series().is_some_and(|at| at < series) {
                let count = self.runs.pop().map_or(0, |(_, count)| count);
                self.rows.truncate(self.rows.len() - count);
            }
            if !self.rows.is_empty() {
                return Ok(());
            }
            let index = self.index.as_deref().map_or(&[][..], Vec::as_slice);
            let left = index.iter().skip(self.next_block as usize);
            self.next_block += left.take_while(|entry| entry.last < *series).count() as u64;
            match index.get(self.next_block as usize) {
                Some(entry) if entry.first <= *series => self.fill().await?,
                _ => return Ok(()),
            }
        }
    }

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
    pub(super) fn merge<'a, R: Row>(&'a self, lane: &'a str, heads: &[Arc<Head>]) -> Merge<'a, R> {
        let cursors = heads.iter().map(|head| Cursor {
            store: self,
            lane,
            head: Arc::clone(head),
            next_block: 0,
            runs: Vec::new(),
            rows: Vec::new(),
            index: None,
        });
        let empty: Arc<str> = "".into();
        Merge {
            cursors: cursors.collect(),
            active: Vec::new(),
            series: SeriesName {
                class: Arc::clone(&empty),
                telemetry: Arc::clone(&empty),
                twin: empty,
                life: 0,
            },
            replaced: 0,
        }
    }

    /// Writes the rows of segments as one; how many of them others replaced.
    pub(super) async fn rewrite<R: Row>(
        &self,
        segment: SegmentWriter<'_>,
        heads: &[Arc<Head>],
    ) -> Result<(Vec<(Head, Vec<u8>)>, u64), StoreError> {
        let mut merge = self.merge::<R>(segment.lane(), heads);
        let mut filling = Filling::new(segment);
        while let Some(row) = merge.next().await? {
            filling.push(merge.series(), row).await?;
        }
        Ok((filling.finish().await?, merge.replaced()))
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
        if self.active.is_empty() && !self.next_series().await? {
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

    /// The rows of a series by time, of one that comes after those asked for before.
    pub(super) async fn rows_of(
        &mut self,
        series: &SeriesName,
    ) -> Result<BTreeMap<i64, R>, StoreError> {
        let mut rows = BTreeMap::new();
        // Later segments come later, so what they say stays.
        for cursor in &mut self.cursors {
            cursor.seek(series).await?;
            while cursor.series() == Some(series) {
                if let Some(row) = cursor.take() {
                    rows.insert(row.ts(), row);
                }
                cursor.fill().await?;
            }
        }
        Ok(rows)
    }

    /// Turns to the next series; whether there is one.
    async fn next_series(&mut self) -> Result<bool, StoreError> {
        for cursor in &mut self.cursors {
            cursor.fill().await?;
        }
        let Some(least) = self.cursors.iter().filter_map(Cursor::series).min() else {
            return Ok(false);
        };
        self.series = least.clone();
        let cursors = self.cursors.iter().enumerate();
        let of_it = cursors.filter(|(_, cursor)| cursor.series() == Some(&self.series));
        self.active = of_it.map(|(index, _)| index).collect();
        Ok(true)
    }
}
