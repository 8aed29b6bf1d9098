//! Checking history: every block is read, and held against what its segment says of it.

use std::collections::BTreeSet;

use twin_core::history::Bucket;
use twin_core::store::StoreError;

use super::heads::{Head, Level};
use super::retire::is_segments;
use crate::codec::{Entry, LastingReading, Row, SealedReading, SeriesName};
use crate::surreal::SurrealStore;

/// What the history of a lane holds.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Readings in it.
    pub(crate) readings: u64,
    /// What does not agree.
    pub(crate) findings: Vec<String>,
}

impl SurrealStore {
    pub(crate) async fn check_history(&self, lane: &str, next: u64) -> Result<Checked, StoreError> {
        let history = self.load_history(lane).await?;
        let mut checked = Checked::default();
        for (what, offset) in [("sealed", history.sealed), ("kept", history.kept)] {
            if offset > next {
                checked.findings.push(format!(
                    "lane `{lane}`: history is {what} up to {offset}, beyond its end {next}"
                ));
            }
        }
        if history.lost > 0 {
            let named: BTreeSet<_> = history.heads.values().map(|head| &*head.table).collect();
            let mut unnamed = self.own_tables().await?;
            unnamed.retain(|table| is_segments(table) && !named.contains(&**table));
            unnamed.sort_unstable();
            checked.findings.push(format!(
                "lane `{lane}`: {} segment(s) of its history lost their row, so what they hold cannot \
                 be asked; tables of history that no other row names: {}",
                history.lost,
                if unnamed.is_empty() {
                    "none".to_owned()
                } else {
                    unnamed.join(", ")
                }
            ));
        }
        for head in history.heads.values() {
            let outcome = match head.place.level {
                Level::Recent => self.check_segment::<SealedReading>(lane, head).await,
                Level::Day => self.check_segment::<LastingReading>(lane, head).await,
                Level::Minutes | Level::Hours => self.check_segment::<Bucket>(lane, head).await,
            };
            if matches!(head.place.level, Level::Recent | Level::Day) {
                checked.readings += head.rows;
            }
            match outcome {
                Ok(()) => {}
                Err(StoreError::Damaged(what) | StoreError::Refused(what)) => {
                    checked.findings.push(what);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(checked)
    }

    async fn check_segment<R: Row>(&self, lane: &str, head: &Head) -> Result<(), StoreError> {
        let index = self.index(lane, head).await?;
        let mut before: Option<(SeriesName, i64)> = None;
        let mut rows = 0;
        for (entry, number) in index.iter().zip(0_u64..) {
            let wrong = |what: &str| {
                let table = &head.table;
                StoreError::Damaged(format!(
                    "{table}: block {number} of part {}: {what}",
                    head.place.part
                ))
            };
            for block in self.blocks::<R>(lane, head, &[number]).await? {
                if Entry::of(&block).as_ref() != Some(entry) {
                    return Err(wrong("it holds something else than the index says"));
                }
                rows += block.rows.len() as u64;
                for (series, run) in block.series() {
                    for row in run {
                        let at = (series.clone(), row.ts());
                        if before.as_ref().is_some_and(|before| *before >= at) {
                            return Err(wrong("its rows are not in order"));
                        }
                        before = Some(at);
                    }
                }
            }
        }
        if rows == head.rows {
            Ok(())
        } else {
            let (table, known) = (&head.table, head.rows);
            Err(StoreError::Damaged(format!(
                "{table}: part {} has {rows} rows, and its head says {known}",
                head.place.part
            )))
        }
    }
}
