//! Reading back what happened: groups of a lane in order, and raw readings of one series.
//!
//! # Invariants
//! - Groups come whole, without a gap between them.
//! - Of several readings of one series and time, the one written last counts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use surrealdb::types::{RecordId, RecordIdKey, RecordIdKeyRange, Value as Stored};
use twin_core::Group;
use twin_core::store::{Kept, PastReading, Series, StoreError};

use crate::codec::{self, CodecError, Header};
use crate::engine::{damaged, offset_key, variables};
use crate::load::read_part;
use crate::surreal::SurrealStore;
use crate::tables::{CHANGE, JOURNAL};

/// Offsets looked at in one go; a group longer than this is read on to its end.
const WINDOW: u64 = 4096;

impl SurrealStore {
    pub(crate) async fn groups_from(
        &self,
        lane: &str,
        from: u64,
        max_bytes: usize,
    ) -> Result<Kept, StoreError> {
        match self.read_groups(lane, from, max_bytes).await {
            Err(StoreError::Foreign(what)) => Ok(Kept::Foreign { what }),
            read => read,
        }
    }

    async fn read_groups(
        &self,
        lane: &str,
        from: u64,
        max_bytes: usize,
    ) -> Result<Kept, StoreError> {
        let next = self.lane(lane).await?.map_or(0, |lane| lane.next);
        if from >= next {
            return Ok(Kept::Groups(Vec::new()));
        }
        let Some(mut start) = self.group_holding(lane, from).await? else {
            return Ok(Kept::Gap {
                oldest: self.oldest(lane).await?.unwrap_or(next),
            });
        };
        let lane: Arc<str> = lane.into();
        let mut groups = Vec::new();
        let mut left = max_bytes;
        while start < next && left > 0 {
            let mut window = Window::new(&lane);
            let end = self
                .read_window(&mut window, start, (start + WINDOW).min(next), left)
                .await?;
            // The last group may reach beyond what was read.
            if let Some(last) = window.unfinished(end) {
                if window.groups.len() > 1 {
                    window.groups.pop_last();
                } else {
                    self.read_window(&mut window, end, last, usize::MAX).await?;
                }
            }
            if !window.missing.is_empty() {
                let missing: Vec<_> = window.missing.into_iter().collect();
                return Err(StoreError::Foreign(missing.join(", ")));
            }
            if window.groups.is_empty() {
                let place = format!("lane `{lane}` from offset {start}");
                return Err(damaged(&place, "neither changes nor readings are there"));
            }
            left = left.saturating_sub(window.bytes);
            for group in window.groups.into_values() {
                if group.first != start || !group.validate() {
                    let place = format!("lane `{lane}` from offset {start}");
                    return Err(damaged(&place, "changes or readings are missing"));
                }
                start = group.next;
                groups.push(group);
            }
        }
        Ok(Kept::Groups(groups))
    }

    /// First offset of the group that holds an offset, unless it is no longer kept.
    async fn group_holding(&self, lane: &str, from: u64) -> Result<Option<u64>, StoreError> {
        for table in [CHANGE, JOURNAL] {
            let range = RecordIdKey::Range(Box::new(RecordIdKeyRange {
                start: Bound::Included(offset_key(lane, &[0])),
                end: Bound::Excluded(offset_key(lane, &[from + 1])),
            }));
            let vars = variables([("range", Stored::RecordId(RecordId::new(table, range)))]);
            let text = "SELECT id, b'' AS data FROM $range ORDER BY id DESC LIMIT 1";
            let Some(Stored::Array(mut found)) = self.engine.run(text, vars).await?.pop() else {
                continue;
            };
            let Some(Stored::Object(row)) = found.pop() else {
                continue;
            };
            let (first, ..) = read_part(table, row)?;
            let mut group = None;
            self.packed(table, lane, first, first + 1, |offset, bytes| {
                group =
                    Some(Header::of(bytes).map_err(|error| located(table, lane, offset, &error))?);
                Ok(ControlFlow::Break(()))
            })
            .await?;
            if let Some(header) = group
                && (header.group_first..header.group_next).contains(&from)
            {
                return Ok(Some(header.group_first));
            }
        }
        Ok(None)
    }

    /// Oldest offset that can be followed from.
    async fn oldest(&self, lane: &str) -> Result<Option<u64>, StoreError> {
        let mut oldest: Option<u64> = None;
        for table in [CHANGE, JOURNAL] {
            let mut begins = None;
            self.packed(table, lane, 0, i64::MAX.cast_unsigned(), |offset, bytes| {
                begins =
                    Some(Header::of(bytes).map_err(|error| located(table, lane, offset, &error))?);
                Ok(ControlFlow::Break(()))
            })
            .await?;
            // A group that lost its beginning cannot be followed; the next one can.
            let begins = begins.map(|h| {
                if h.first == h.group_first {
                    h.first
                } else {
                    h.group_next
                }
            });
            oldest = oldest.into_iter().chain(begins).min();
        }
        Ok(oldest)
    }

    /// Reads records that begin within `from..to` into a window, up to about `max_bytes` of each
    /// table. The offset before which everything was read.
    async fn read_window(
        &self,
        window: &mut Window,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<u64, StoreError> {
        let lane = Arc::clone(&window.lane);
        let mut end = to;
        let before = window.bytes;
        self.packed(CHANGE, &lane, from, to, |offset, bytes| {
            let record = codec::decode_changes(bytes, &self.ontology)
                .map_err(|error| located(CHANGE, &lane, offset, &error))?;
            window.bytes += bytes.len();
            let next = record.header.next();
            window.group(&record.header).changes.extend(record.changes);
            Ok(stop_at(&mut end, next, window.bytes - before >= max_bytes))
        })
        .await?;
        let before = window.bytes;
        let until = end;
        self.packed(JOURNAL, &lane, from, until, |offset, bytes| {
            let record = codec::decode_readings(bytes, &self.ontology)
                .map_err(|error| located(JOURNAL, &lane, offset, &error))?;
            window.bytes += bytes.len();
            let next = record.header.next();
            window.missing.extend(record.missing);
            let group = window.group(&record.header);
            group.readings.extend(record.readings.into_iter().flatten());
            for (principal, length) in record.recorders {
                match group.recorders.last_mut() {
                    Some((last, run)) if *last == principal => *run += length,
                    _ => group.recorders.push((principal, length)),
                }
            }
            Ok(stop_at(&mut end, next, window.bytes - before >= max_bytes))
        })
        .await?;
        // Changes read beyond the readings' end belong to later windows.
        window.groups.retain(|first, _| *first < end);
        Ok(end)
    }

    pub(crate) async fn raw_readings(
        &self,
        series: &Series<'_>,
    ) -> Result<Vec<PastReading>, StoreError> {
        let mut found: BTreeMap<i64, PastReading> = BTreeMap::new();
        if series.ts.is_empty() || series.limit == 0 {
            return Ok(Vec::new());
        }
        for (lane, _) in self.lanes().await? {
            let born = self.born(&lane, series.twin).await?;
            // Deleted after this instant: its life then is the one that is asked for.
            let from = if born < series.before { born } else { 0 };
            self.packed(JOURNAL, &lane, from, series.before, |offset, bytes| {
                codec::read_series(bytes, series, |reading| {
                    found.insert(reading.ts, reading);
                    // Only the oldest count, so what falls out now could not come back later.
                    if found.len() > series.limit {
                        found.pop_last();
                    }
                })
                .map_err(|error| located(JOURNAL, &lane, offset, &error))?;
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        }
        Ok(found.into_values().collect())
    }
}

fn stop_at(end: &mut u64, next: u64, full: bool) -> ControlFlow<()> {
    if full {
        *end = next.min(*end);
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

pub(crate) fn located(table: &str, lane: &str, offset: u64, error: &CodecError) -> StoreError {
    let place = format!("{table}:['{lane}', {offset}]");
    match error {
        CodecError::Unknown { what, name } => {
            StoreError::Foreign(format!("{what} `{name}` in {place}"))
        }
        _ => damaged(&place, error),
    }
}

/// Groups that are being put together from their records.
struct Window {
    lane: Arc<str>,
    groups: BTreeMap<u64, Group>,
    bytes: usize,
    /// What the ontology no longer has.
    missing: BTreeSet<String>,
}

impl Window {
    fn new(lane: &Arc<str>) -> Self {
        Self {
            lane: Arc::clone(lane),
            groups: BTreeMap::new(),
            bytes: 0,
            missing: BTreeSet::new(),
        }
    }

    fn group(&mut self, header: &Header) -> &mut Group {
        self.groups
            .entry(header.group_first)
            .or_insert_with(|| Group {
                lane: Arc::clone(&self.lane),
                epoch: header.epoch,
                first: header.group_first,
                next: header.group_next,
                at: header.at,
                rows: Vec::new(),
                edges: Vec::new(),
                changes: Vec::new(),
                readings: Vec::new(),
                recorders: Vec::new(),
                receipts: Vec::new(),
                dead_letters: Vec::new(),
            })
    }

    /// The end of the last group, if it lies beyond what was read.
    fn unfinished(&self, read: u64) -> Option<u64> {
        self.groups
            .last_key_value()
            .map(|(_, group)| group.next)
            .filter(|next| *next > read)
    }
}
