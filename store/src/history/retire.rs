//! Retention: segments whose time has passed are forgotten, and their tables dropped.
//!
//! # Invariants
//! - Time is what the keeper believes has passed; without any, nothing expires.
//! - A table goes whole, after nothing names it, and only by the writer of the lane.
//! - A table holds about as many blocks as a segment may, or one segment more: the engine drops a
//!   table row by row, in one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use twin_core::history::{Settle, Tended};
use twin_core::store::StoreError;

use super::heads::{LaneHistory, Level, Place};
use super::{Step, day_of, latest};
use crate::surreal::SurrealStore;

/// What is dropped together: a day of a level, of a class that has tables of its own.
fn of_day(history: &LaneHistory, place: Place) -> (Level, i64, Arc<str>) {
    let head = history.heads.get(&place);
    let class = head.map_or_else(|| "".into(), |head| Arc::clone(&head.class));
    (place.level, place.day, class)
}

/// Whether a table is one of those that segments stand in, by its name.
pub(super) fn is_segments(table: &str) -> bool {
    Level::ALL
        .iter()
        .any(|level| table.starts_with(&format!("_{}_", level.name())))
}

/// Whether what is kept for some days expired, by the time that has surely passed.
pub(super) fn expired(day: i64, passed: Option<i64>, keep: Option<u32>) -> bool {
    match (passed, keep) {
        (Some(passed), Some(days)) => day < day_of(passed).saturating_sub(i64::from(days)),
        _ => false,
    }
}

impl SurrealStore {
    /// Drops tables that the remaining heads do not name.
    pub(super) async fn drop_unnamed(
        &self,
        lane: &str,
        epoch: u64,
        tables: impl IntoIterator<Item = Arc<str>>,
    ) -> Result<u64, StoreError> {
        let mut dropped = 0;
        for table in tables {
            dropped += u64::from(self.drop_table(lane, epoch, &table).await?);
        }
        Ok(dropped)
    }

    /// Drops tables of history that no head of any lane names: a process ended between writing them
    /// and naming them, or between forgetting and dropping them.
    pub(super) async fn drop_forgotten_history(
        &self,
        lane: &str,
        epoch: u64,
        named: &[String],
    ) -> Result<(), StoreError> {
        for table in self.own_tables().await? {
            let ours = is_segments(&table) || latest::owns(&table);
            if ours && !named.contains(&table) {
                self.drop_table(lane, epoch, &table).await?;
            }
        }
        Ok(())
    }

    /// Forgets segments whose retention has passed, and drops their tables.
    pub(super) async fn retire(
        &self,
        settle: &Settle<'_>,
        tended: &mut Tended,
    ) -> Result<(), StoreError> {
        let retention = self.history.retention();
        let history = self.lane_history(settle.lane).await?;
        let mut whole: BTreeMap<Arc<str>, (bool, Vec<Place>)> = BTreeMap::new();
        for head in history.heads.values() {
            let keep = match head.place.level {
                Level::Recent => continue,
                Level::Day => retention.of(&head.class),
                Level::Minutes | Level::Hours => retention.sums,
            };
            let table = whole.entry(Arc::clone(&head.table));
            let (all, places) = table.or_insert((true, Vec::new()));
            *all &= expired(head.place.day, settle.passed, keep);
            places.push(head.place);
        }
        let expired = whole.values().filter(|(all, _)| *all);
        let days: BTreeSet<_> = (expired.flat_map(|(_, places)| places))
            .map(|place| of_day(&history, *place))
            .collect();
        // A part that stands in another table must not be taken for the whole day.
        let (mut tables, mut remove) = (BTreeSet::new(), Vec::new());
        for head in history.heads.values() {
            if days.contains(&of_day(&history, head.place)) {
                tables.insert(Arc::clone(&head.table));
                remove.push(head.place);
            }
        }
        if remove.is_empty() {
            return Ok(());
        }
        let step = Step {
            remove,
            ..Step::default()
        };
        self.step(settle.lane, settle.epoch, step).await?;
        tended.dropped += self.drop_unnamed(settle.lane, settle.epoch, tables).await?;
        Ok(())
    }
}
