//! Reading back what happened: groups of a lane, in order.
//!
//! # Invariants
//! - Groups come whole, without a gap between them.
//! - Whoever asks for what retention has passed is told so, never given less.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use surrealdb::types::{RecordId, RecordIdKey, RecordIdKeyRange, Value as Stored};
use twin_core::Group;
use twin_core::store::{Kept, StoreError};

use crate::codec::{self, CodecError, Header};
use crate::database::{damaged, offset_key, variables};
use crate::load::read_part;
use crate::log::{Kind, Tables};
use crate::surreal::SurrealStore;

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
            Err(error) => {
                // A table may have been dropped while it was read.
                let oldest = self.lane(lane).await?.map_or(0, |row| row.tables.floor());
                if from < oldest {
                    Ok(Kept::Gap { oldest })
                } else {
                    Err(error)
                }
            }
            read => read,
        }
    }

    async fn read_groups(
        &self,
        lane: &str,
        from: u64,
        max_bytes: usize,
    ) -> Result<Kept, StoreError> {
        let Some(row) = self.lane(lane).await? else {
            return Ok(Kept::Groups(Vec::new()));
        };
        let (next, tables) = (row.lane.next, row.tables);
        let oldest = tables.floor();
        if from >= next {
            return Ok(Kept::Groups(Vec::new()));
        }
        if from < oldest {
            return Ok(Kept::Gap { oldest });
        }
        let Some(mut start) = self.group_holding(lane, &tables, from).await? else {
            let place = format!("lane `{lane}` at offset {from}");
            return Err(damaged(&place, "neither changes nor readings are there"));
        };
        let lane: Arc<str> = lane.into();
        let mut groups = Vec::new();
        let mut left = max_bytes;
        while start < next && left > 0 {
            let mut window = Window::new(&lane, &tables);
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

    /// First offset of the group that holds an offset.
    async fn group_holding(
        &self,
        lane: &str,
        tables: &Tables,
        from: u64,
    ) -> Result<Option<u64>, StoreError> {
        for kind in Kind::ALL {
            // A group lies in one table, so it is in the last one that begins at or before it.
            let Some(table) = tables.between(kind, from, from + 1).pop() else {
                continue;
            };
            let table = kind.table(lane, table);
            let range = RecordIdKey::Range(Box::new(RecordIdKeyRange {
                start: Bound::Included(offset_key(lane, &[0])),
                end: Bound::Excluded(offset_key(lane, &[from + 1])),
            }));
            let vars = variables([("range", Stored::RecordId(RecordId::new(&*table, range)))]);
            let text = "SELECT id, b'' AS data FROM $range ORDER BY id DESC LIMIT 1";
            let Some(Stored::Array(mut found)) = self.database.run(text, vars).await?.pop() else {
                continue;
            };
            let Some(Stored::Object(row)) = found.pop() else {
                continue;
            };
            let (first, ..) = read_part(&table, row)?;
            let mut group = None;
            self.packed(kind, lane, tables, first..first + 1, |offset, bytes| {
                group =
                    Some(Header::of(bytes).map_err(|error| located(kind, lane, offset, &error))?);
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

    /// Reads records that begin within `from..to` into a window, up to about `max_bytes` of each
    /// table. The offset before which everything was read.
    async fn read_window(
        &self,
        window: &mut Window<'_>,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<u64, StoreError> {
        let lane = Arc::clone(&window.lane);
        let tables = window.tables;
        let mut end = to;
        let before = window.bytes;
        self.packed(Kind::Change, &lane, tables, from..to, |offset, bytes| {
            let record = codec::decode_changes(bytes, &self.ontology)
                .map_err(|error| located(Kind::Change, &lane, offset, &error))?;
            window.bytes += bytes.len();
            let next = record.header.next();
            window.group(&record.header).changes.extend(record.changes);
            Ok(stop_at(&mut end, next, window.bytes - before >= max_bytes))
        })
        .await?;
        let before = window.bytes;
        let until = end;
        self.packed(
            Kind::Journal,
            &lane,
            tables,
            from..until,
            |offset, bytes| {
                let record = codec::decode_readings(bytes, &self.ontology)
                    .map_err(|error| located(Kind::Journal, &lane, offset, &error))?;
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
            },
        )
        .await?;
        // Changes read beyond the readings' end belong to later windows.
        window.groups.retain(|first, _| *first < end);
        Ok(end)
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

pub(crate) fn located(kind: Kind, lane: &str, offset: u64, error: &CodecError) -> StoreError {
    let place = format!("{kind}:['{lane}', {offset}]");
    match error {
        CodecError::Unknown { what, name } => {
            StoreError::Foreign(format!("{what} `{name}` in {place}"))
        }
        _ => damaged(&place, error),
    }
}

/// Groups that are being put together from their records.
struct Window<'a> {
    lane: Arc<str>,
    tables: &'a Tables,
    groups: BTreeMap<u64, Group>,
    bytes: usize,
    /// What the ontology no longer has.
    missing: BTreeSet<String>,
}

impl<'a> Window<'a> {
    fn new(lane: &Arc<str>, tables: &'a Tables) -> Self {
        Self {
            lane: Arc::clone(lane),
            tables,
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
