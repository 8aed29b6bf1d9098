//! Compaction: late parts of a day become one.
//!
//! # Invariants
//! - Only parts that follow each other are put together, up to the latest, so what counts more still
//!   does. A part that is larger than all after it together stays: what is written again stays in its
//!   table until retention drops it, and so it is about as much as what came late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use twin_core::history::{Bucket, Settle, Tended};
use twin_core::store::StoreError;

use super::heads::{Head, LaneHistory, Level, Place};
use super::settle::Settling;
use super::writer::Target;
use super::{Step, day_of};
use crate::codec::LastingReading;
use crate::surreal::SurrealStore;

/// Parts of a day that are left beside each other.
const PARTS: usize = 8;

/// The parts of a day that are to be put together, of one that has too many.
fn crowded(history: &LaneHistory) -> Option<Vec<Arc<Head>>> {
    let mut days: BTreeMap<(Level, i64), BTreeMap<u64, u64>> = BTreeMap::new();
    let lasting = history.heads.values();
    for head in lasting.filter(|head| head.place.level != Level::Recent) {
        let Place {
            level, day, part, ..
        } = head.place;
        let parts = days.entry((level, day)).or_default();
        *parts.entry(part).or_default() += head.rows;
    }
    let ((level, day), parts) = days.into_iter().find(|(_, parts)| parts.len() > PARTS)?;
    let (mut first, mut after) = (u64::MAX, 0);
    for (taken, (part, rows)) in parts.into_iter().rev().enumerate() {
        if taken >= 2 && rows > after {
            break;
        }
        (first, after) = (part, after + rows);
    }
    let heads = history.days(level, day, day);
    let heads = heads.filter(|head| head.place.part >= first);
    Some(heads.cloned().collect())
}

impl SurrealStore {
    /// Puts parts of days together as far as they are many.
    pub(super) async fn compact(
        &self,
        settle: &Settle<'_>,
        tended: &mut Tended,
    ) -> Result<(), StoreError> {
        while !settle.stop.load(Ordering::Relaxed) {
            let history = self.lane_history(settle.lane).await?;
            let Some(heads) = crowded(&history) else {
                break;
            };
            let Some(last) = heads.last() else { break };
            let to = Target {
                store: self,
                lane: settle.lane,
                epoch: settle.epoch,
                today: day_of(settle.now),
            };
            let (part, next) = (history.next_part(), last.next);
            let add = if last.place.level == Level::Day {
                let retention = self.history.retention();
                let mut settling = Settling::new(to, part, next, BTreeMap::new());
                let mut merge = self.merge::<LastingReading>(settle.lane, &heads);
                while let Some(reading) = merge.next().await? {
                    let series = merge.series();
                    let own = retention.has_own(&series.class);
                    settling
                        .reading(series, own, last.place.day, reading)
                        .await?;
                }
                tended.replaced += merge.replaced();
                settling.finish().await?
            } else {
                let place = Place {
                    part,
                    tier: 0,
                    ..last.place
                };
                let segment = to.segment(place, &last.class, next);
                self.rewrite::<Bucket>(segment, &heads).await?.0
            };
            let step = Step {
                add,
                remove: heads.iter().map(|head| head.place).collect(),
                ..Step::default()
            };
            self.step(settle.lane, settle.epoch, step).await?;
            let tables: BTreeSet<_> = heads.iter().map(|head| Arc::clone(&head.table)).collect();
            self.drop_unnamed(settle.lane, settle.epoch, tables).await?;
        }
        Ok(())
    }
}
